package consent

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

var (
	zone   = time.FixedZone("Asia/Shanghai", 8*3600)
	now    = time.Date(2026, 3, 2, 9, 0, 0, 0, zone)
	person = sandbox.Identity{ID: "id-person", Party: "person"}
	limits = Limits{MaxDays: 365, MaxUses: 10, Methods: []string{"sm2-signature"}}
)

func claim(t testing.TB, no string) []byte {
	t.Helper()
	c, err := Commitment([]byte("0123456789abcdef"), []byte(no))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func receipt(t testing.TB) attest.Receipt {
	return attest.Receipt{ID: "c-1", Subject: "id-person", Grantee: "insurer", Unit: "unit-med", Scenario: "sc-1", Purpose: "claim-settlement", Dataset: "claims",
		Fields: []string{"icd10", "amount"}, Claim: claim(t, "claim-1"), NotBefore: now, NotAfter: now.AddDate(0, 1, 0), MaxUses: 2,
		Notice: make([]byte, DigestSize), NoticeVersion: "v1", Language: "zh-CN", Method: "sm2-signature", At: now}
}

func given(t testing.TB) Record {
	t.Helper()
	r, err := Give(receipt(t), person, "unit-med", limits, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func question(t testing.TB) ClaimCheck {
	return ClaimCheck{Subject: "id-person", Grantee: "insurer", Scenario: "sc-1", Purpose: "claim-settlement", Dataset: "claims",
		Fields: []string{"amount"}, Claim: claim(t, "claim-1"), At: now.Add(time.Hour)}
}

func TestGiveRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*attest.Receipt)
		place  string
		kind   sandbox.Kind
	}{
		"for another person": {func(r *attest.Receipt) { r.Subject = "id-other" }, "id-person", sandbox.Denied},
		"id":                 {func(r *attest.Receipt) { r.ID = "" }, "consent", sandbox.Invalid},
		"grantee":            {func(r *attest.Receipt) { r.Grantee = "" }, "grantee", sandbox.Invalid},
		"purpose":            {func(r *attest.Receipt) { r.Purpose = "any purpose" }, "purpose", sandbox.Invalid},
		"scenario":           {func(r *attest.Receipt) { r.Scenario = "" }, "scenario", sandbox.Invalid},
		"another owner":      {func(r *attest.Receipt) { r.Unit = "unit-other" }, "unit", sandbox.Invalid},
		"no fields":          {func(r *attest.Receipt) { r.Fields = nil }, "fields", sandbox.Invalid},
		"too many fields": {func(r *attest.Receipt) {
			r.Fields = nil
			for i := range MaxFields + 1 {
				r.Fields = append(r.Fields, fmt.Sprintf("f%d", i))
			}
		}, "fields", sandbox.Invalid},
		"long language":     {func(r *attest.Receipt) { r.Language = strings.Repeat("z", 17) }, "language", sandbox.Invalid},
		"field twice":       {func(r *attest.Receipt) { r.Fields = []string{"amount", "amount"} }, "fields", sandbox.Invalid},
		"all fields":        {func(r *attest.Receipt) { r.Fields = []string{"*"} }, "fields", sandbox.Invalid},
		"no claim":          {func(r *attest.Receipt) { r.Claim = nil }, "claim", sandbox.Invalid},
		"no notice":         {func(r *attest.Receipt) { r.Notice = nil }, "notice", sandbox.Invalid},
		"no notice version": {func(r *attest.Receipt) { r.NoticeVersion = "" }, "notice version", sandbox.Invalid},
		"no language":       {func(r *attest.Receipt) { r.Language = "" }, "language", sandbox.Invalid},
		"by phone":          {func(r *attest.Receipt) { r.Method = "phone" }, "method", sandbox.Invalid},
		"term backwards":    {func(r *attest.Receipt) { r.NotBefore, r.NotAfter = now.Add(2*time.Hour), now.Add(2*time.Hour) }, "not_after", sandbox.Invalid},
		"term too long":     {func(r *attest.Receipt) { r.NotAfter = r.NotBefore.Add(365*24*time.Hour + time.Second) }, "not_after", sandbox.Invalid},
		"term over":         {func(r *attest.Receipt) { r.NotBefore, r.NotAfter = now.Add(-time.Hour), now }, "not_after", sandbox.Invalid},
		"no uses":           {func(r *attest.Receipt) { r.MaxUses = 0 }, "max_uses", sandbox.Invalid},
		"too many uses":     {func(r *attest.Receipt) { r.MaxUses = 11 }, "max_uses", sandbox.Invalid},
		"future":            {func(r *attest.Receipt) { r.At = now.Add(2 * Skew) }, "at", sandbox.Invalid},
		"old":               {func(r *attest.Receipt) { r.At = now.Add(-25 * time.Hour) }, "at", sandbox.Invalid},
	} {
		r := receipt(t)
		c.change(&r)
		_, err := Give(r, person, "unit-med", limits, now)
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.Object != c.place {
			t.Errorf("%s: %v does not name %s as %s", name, err, c.place, c.kind)
		}
	}
	long := receipt(t)
	long.NotAfter = long.NotBefore.Add(365 * 24 * time.Hour)
	if _, err := Give(long, person, "unit-med", limits, now); err != nil {
		t.Errorf("a term of exactly the longest: %v", err)
	}
}

// One wrong thing at a time: the code says which.
func TestCheckNamesWhatDiffers(t *testing.T) {
	if reason, ok := Check(given(t), question(t)); !ok || reason != (sandbox.Reason{}) {
		t.Fatalf("the consented question is refused: %+v", reason)
	}
	end := receipt(t).NotAfter
	for _, c := range []struct {
		name, code string
		change     func(*Record, *ClaimCheck)
	}{
		{"no consent", CodeNone, func(r *Record, _ *ClaimCheck) { *r = Record{} }},
		{"no consent, no claim", CodeNone, func(r *Record, q *ClaimCheck) { *r, *q = Record{}, ClaimCheck{} }},
		{"no id", CodeNone, func(r *Record, _ *ClaimCheck) { r.Receipt.ID = "" }},
		{"another patient", CodeSubject, func(_ *Record, q *ClaimCheck) { q.Subject = "id-other" }},
		{"another insurer", CodeGrantee, func(_ *Record, q *ClaimCheck) { q.Grantee = "insurer-2" }},
		{"another scenario", CodeScenario, func(_ *Record, q *ClaimCheck) { q.Scenario = "sc-2" }},
		{"another purpose", CodePurpose, func(_ *Record, q *ClaimCheck) { q.Purpose = "marketing" }},
		{"another dataset", CodeDataset, func(_ *Record, q *ClaimCheck) { q.Dataset = "persons" }},
		{"another claim", CodeClaim, func(_ *Record, q *ClaimCheck) { q.Claim = claim(t, "claim-2") }},
		{"no claim", CodeClaim, func(_ *Record, q *ClaimCheck) { q.Claim = nil }},
		{"no field", CodeFields, func(_ *Record, q *ClaimCheck) { q.Fields = nil }},
		{"a field too many", CodeFields, func(_ *Record, q *ClaimCheck) { q.Fields = []string{"amount", "hospital", "icd10"} }},
		{"revoked", CodeRevoked, func(r *Record, _ *ClaimCheck) { r.State, r.Revoked = Revoked, now }},
		{"revoked in part", CodeRevoked, func(r *Record, _ *ClaimCheck) { r.Revoked = now }},
		{"unknown state", CodeRevoked, func(r *Record, _ *ClaimCheck) { r.State = "" }},
		{"a second early", CodeNotYet, func(_ *Record, q *ClaimCheck) { q.At = now.Add(-time.Second) }},
		{"a nanosecond early", CodeNotYet, func(_ *Record, q *ClaimCheck) { q.At = now.Add(-1) }},
		{"first second", "", func(_ *Record, q *ClaimCheck) { q.At = now.UTC() }},
		{"last second", "", func(_ *Record, q *ClaimCheck) { q.At = end.Add(-time.Second).In(time.FixedZone("", -11*3600)) }},
		{"its end", CodeExpired, func(_ *Record, q *ClaimCheck) { q.At = end }},
		{"its end elsewhere", CodeExpired, func(_ *Record, q *ClaimCheck) { q.At = end.In(time.FixedZone("", -11*3600)) }},
		{"last use", "", func(r *Record, _ *ClaimCheck) { r.Uses = 1 }},
		{"used up", CodeUses, func(r *Record, _ *ClaimCheck) { r.Uses = 2 }},
	} {
		r, q := given(t), question(t)
		c.change(&r, &q)
		reason, ok := Check(r, q)
		if reason.Code != c.code || ok != (c.code == "") {
			t.Errorf("%s: %q, want %q", c.name, reason.Code, c.code)
		}
		if !ok && (reason.Rule == "" || reason.Article == "" || reason.Change == "") {
			t.Errorf("%s: the reason lacks rule, article or change: %+v", c.name, reason)
		}
	}
	q := question(t)
	q.Fields = []string{"amount", "hospital"}
	if reason, _ := Check(given(t), q); reason.Column != "claims.hospital" {
		t.Errorf("the field at fault is %q", reason.Column)
	}
}

// Break any set of things: the code told is the first broken one in the published order.
func TestCheckOrder(t *testing.T) {
	breaks := []func(*Record, *ClaimCheck){
		func(r *Record, _ *ClaimCheck) { r.Receipt.Claim = nil },
		func(_ *Record, q *ClaimCheck) { q.Subject = "x" },
		func(_ *Record, q *ClaimCheck) { q.Grantee = "x" },
		func(_ *Record, q *ClaimCheck) { q.Scenario = "x" },
		func(_ *Record, q *ClaimCheck) { q.Purpose = "x" },
		func(_ *Record, q *ClaimCheck) { q.Dataset = "x" },
		func(_ *Record, q *ClaimCheck) { q.Claim = []byte("x") },
		func(_ *Record, q *ClaimCheck) { q.Fields = []string{"x"} },
		func(r *Record, _ *ClaimCheck) { r.State = Revoked },
		func(_ *Record, q *ClaimCheck) { q.At = now.Add(-time.Hour) },
		func(_ *Record, q *ClaimCheck) { q.At = now.AddDate(2, 0, 0) },
		func(r *Record, _ *ClaimCheck) { r.Uses = 99 },
	}
	if len(breaks) != len(Order()) {
		t.Fatal("a check of the order is not broken here")
	}
	rapid.Check(t, func(rt *rapid.T) {
		r, q, want := given(t), question(t), ""
		for i := range breaks {
			// The last one applied wins where two set the same field, so "expired" hides "not yet" and is applied first.
			if k := len(breaks) - 1 - i; rapid.Bool().Draw(rt, Order()[k]) {
				breaks[k](&r, &q)
				want = Order()[k]
			}
		}
		if reason, _ := Check(r, q); reason.Code != want {
			rt.Fatalf("%q, want %q", reason.Code, want)
		}
	})
}

func TestRevoke(t *testing.T) {
	r := given(t)
	at := now.Add(time.Minute)
	v := attest.Revocation{Consent: "c-1", At: at}
	if _, err := Revoke(r, v, sandbox.Identity{ID: "id-other"}, at); !errors.Is(err, sandbox.Denied) {
		t.Error(err)
	}
	if _, err := Revoke(r, attest.Revocation{Consent: "c-2", At: at}, person, at); !errors.Is(err, sandbox.Conflict) {
		t.Error(err)
	}
	if _, err := Revoke(r, attest.Revocation{Consent: "c-1", At: at.Add(2 * Skew)}, person, at); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
	gone, err := Revoke(r, v, person, at)
	if err != nil || gone.State != Revoked || !gone.Revoked.Equal(at) || r.State != Given {
		t.Fatal(gone, err)
	}
	q := question(t)
	q.At = at
	if reason, ok := Check(gone, q); ok || reason.Code != CodeRevoked {
		t.Error("a revoked consent still answers in the same second")
	}
	if _, err := Use(gone, at); !errors.Is(err, sandbox.Conflict) {
		t.Error(err)
	}
	if _, err := Revoke(gone, v, person, at); !errors.Is(err, sandbox.Conflict) {
		t.Error(err)
	}
}

func TestUse(t *testing.T) {
	r := given(t)
	for want := 1; want <= 2; want++ {
		var err error
		if r, err = Use(r, now); err != nil || r.Uses != want {
			t.Fatal(r.Uses, err)
		}
	}
	if n, err := Use(r, now); !errors.Is(err, sandbox.Conflict) || n.Uses != 2 {
		t.Error(err)
	}
	if _, err := Use(given(t), receipt(t).NotAfter); !errors.Is(err, sandbox.Expired) {
		t.Error(err)
	}
	if _, err := Use(given(t), now.Add(-time.Second)); !errors.Is(err, sandbox.Conflict) {
		t.Error(err)
	}
	if _, err := Use(Record{}, now); err == nil {
		t.Error("the zero record is usable")
	}
}

func TestCommitment(t *testing.T) {
	salt := []byte("0123456789abcdef")
	a, _ := Commitment(salt, []byte("claim-1"))
	for name, c := range map[string][2]string{
		"another claim": {string(salt), "claim-2"},
		"another salt":  {"0123456789abcdeF", "claim-1"},
		"moved edge":    {string(salt) + "c", "laim-1"},
	} {
		if b, err := Commitment([]byte(c[0]), []byte(c[1])); err != nil || slices.Equal(a, b) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string][2]string{
		"short salt": {"0123456789abcde", "claim-1"}, "long salt": {strings.Repeat("s", 65), "claim-1"},
		"no claim": {string(salt), ""}, "long claim": {string(salt), strings.Repeat("c", MaxClaim+1)},
	} {
		if _, err := Commitment([]byte(c[0]), []byte(c[1])); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecordIsAValue(t *testing.T) {
	r := receipt(t)
	rec, err := Give(r, person, "unit-med", limits, now)
	if err != nil {
		t.Fatal(err)
	}
	r.Fields[0], r.Claim[0] = "hospital", ^r.Claim[0]
	if !reflect.DeepEqual(rec.Receipt, receipt(t)) {
		t.Error("changing the caller's receipt changed the record")
	}
}
