package egress

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/consent"
)

var (
	now      = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	operator = sandbox.Party{ID: "operator", Role: sandbox.Operator}
	unit     = sandbox.Party{ID: "unit-a", Role: sandbox.Unit}
	agency   = sandbox.Party{ID: "agency", Role: sandbox.Agency}
)

func reviewer(p sandbox.Party) sandbox.Identity {
	return sandbox.Identity{ID: sandbox.IdentityID("id-" + p.ID), Party: p.ID, Duty: sandbox.Reviewer}
}

func submitted(t testing.TB) Review {
	t.Helper()
	c := claims(t, slices.Concat(people(0, 12, "a"), people(20, 3, "b"), people(40, 8, "c"))).check("q-1")
	return Submit(Submission{Question: "q-1", Author: "id-operator", Recipient: "id-operator", Datasets: []sandbox.DatasetID{"claims"}, Policy: "policy/1",
		Now: now, Expires: now.AddDate(0, 0, 5)}, c)
}

func vote(r Review, approve bool) attest.Vote {
	v := attest.Vote{Question: r.Question, Class: r.Class, Round: r.Round, Result: r.Digest, Recipient: r.Recipient, Expires: r.Expires, Policy: r.Policy, Approve: approve, At: now}
	if !approve {
		v.Reason = "too fine"
	}
	return v
}

func cast(t testing.TB, r Review, by sandbox.Party, approve bool) Review {
	t.Helper()
	out, err := r.Cast(vote(r, approve), Electorate{Voter: reviewer(by), VoterParty: by, Author: operator, Recipient: operator}, now)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTwoVotesApprove(t *testing.T) {
	r := submitted(t)
	if r.State != InReview || r.Step() != 0 {
		t.Fatalf("starts as %s", r.State)
	}
	one := cast(t, r, unit, true)
	if one.State != Partial || one.Step() != 1 || len(r.Votes) != 0 {
		t.Fatalf("after one vote: %s, %d", one.State, one.Step())
	}
	if _, err := one.approval(now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("one vote approves: %v", err)
	}
	two := cast(t, one, agency, true)
	a, err := two.approval(now)
	if two.State != Approved || err != nil {
		t.Fatalf("after two votes: %s, %v", two.State, err)
	}
	if a.Question() != "q-1" || a.Class() != sandbox.ClassA || a.Recipient() != "id-operator" || !a.Expires().Equal(r.Expires) || a.Policy() != "policy/1" || a.Consent() != "" {
		t.Errorf("%+v", a)
	}
	if !a.Covers(r.Result, now) || a.Covers(append(slices.Clone(r.Result), ' '), now) || a.Covers(nil, now) || a.Covers(r.Result, r.Expires) || !a.Covers(r.Result, r.Expires.Add(-1)) {
		t.Error("the approval covers other bytes or another time")
	}
	if _, err := two.approval(r.Expires); !errors.Is(err, sandbox.Denied) {
		t.Errorf("approved past its expiry: %v", err)
	}
	sent := released(t, two)
	if _, err := sent.approval(now); err == nil {
		t.Error("a released result is approved once more")
	}
	if _, err := sent.Sent(); err == nil {
		t.Error("a result is released twice")
	}
	if (Approval{}).Covers(nil, now) || (Approval{}).Covers(r.Result, now) {
		t.Error("the zero approval covers something")
	}
}

// released sends an approved review.
func released(t testing.TB, r Review) Review {
	t.Helper()
	out, _, err := r.Release(now, Present{Policy: r.Policy, Revoked: nobody})
	if err == nil {
		out, err = out.Sent()
	}
	if err != nil || out.State != Released {
		t.Fatalf("%s, %v", out.State, err)
	}
	return out
}

func nobody(sandbox.IdentityID) bool { return false }

// One refusal stops a result, whoever gives it, and the agency's reviewer votes without knowing of the first.
func TestARefusalIsAVeto(t *testing.T) {
	for name, c := range map[string]struct {
		first, second bool
		want          State
	}{"the first": {false, true, Conflicted}, "the second": {true, false, Conflicted}, "both": {false, false, Rejected}} {
		one := cast(t, submitted(t), unit, c.first)
		if one.State != Partial {
			t.Errorf("%s: the state after the first vote tells it: %s", name, one.State)
		}
		r := cast(t, one, agency, c.second)
		if r.State != c.want {
			t.Errorf("%s: %s", name, r.State)
		}
		if _, err := r.approval(now); err == nil {
			t.Errorf("%s: approved", name)
		}
		if _, _, err := r.Release(now, Present{Policy: r.Policy, Revoked: nobody}); err == nil {
			t.Errorf("%s: released", name)
		}
		if _, err := r.Cast(vote(r, true), Electorate{Voter: reviewer(sandbox.Party{ID: "unit-b"}), VoterParty: sandbox.Party{ID: "unit-b", Role: sandbox.Unit}, Author: operator, Recipient: operator}, now); !errors.Is(err, sandbox.Conflict) {
			t.Errorf("%s: a further vote: %v", name, err)
		}
	}
}

func TestCastRefuses(t *testing.T) {
	unitB, friend := sandbox.Party{ID: "unit-b", Role: sandbox.Unit}, sandbox.Party{ID: "friend", Role: sandbox.Partner, Affiliates: []sandbox.PartyID{"operator"}}
	sister := operator
	sister.Affiliates = []sandbox.PartyID{"unit-a"}
	type vt = *attest.Vote
	for _, c := range []struct {
		name   string
		after  []sandbox.Party // who approved before
		by     sandbox.Party
		kind   sandbox.Kind
		change func(*attest.Vote, *Electorate, *time.Time)
	}{
		{"an officer", nil, unit, sandbox.Denied, func(_ vt, e *Electorate, _ *time.Time) { e.Voter.Duty = sandbox.Officer }},
		{"an identity of another party", nil, unit, sandbox.Denied, func(_ vt, e *Electorate, _ *time.Time) { e.Voter.Party = "unit-b" }},
		{"the author's party", nil, operator, sandbox.Denied, nil},
		{"an affiliate of the author", nil, friend, sandbox.Denied, nil},
		{"a party the recipient names its affiliate", nil, unit, sandbox.Denied, func(_ vt, e *Electorate, _ *time.Time) { e.Recipient = sister }},
		{"a party the author names its affiliate", nil, unit, sandbox.Denied, func(_ vt, e *Electorate, _ *time.Time) { e.Author = sister }},
		{"an insurer", nil, sandbox.Party{ID: "insurer", Role: sandbox.Insurer}, sandbox.Denied, nil},
		{"a person", nil, sandbox.Party{ID: "person", Role: sandbox.Subject}, sandbox.Denied, nil},
		{"about another round", nil, unit, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Round = 1 }},
		{"about another question", nil, unit, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Question = "q-2" }},
		{"about another result", nil, unit, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Result = Digest([]byte("{}")) }},
		{"about no result", nil, unit, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Result = nil }},
		{"for another recipient", nil, unit, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Recipient = "id-other" }},
		{"for longer", nil, unit, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Expires = v.Expires.Add(time.Second) }},
		{"under another policy", nil, unit, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Policy = "policy/0" }},
		{"too late", nil, unit, sandbox.Expired, func(_ vt, _ *Electorate, at *time.Time) { *at = now.AddDate(0, 0, 5) }},
		{"from the future", nil, unit, sandbox.Invalid, func(v vt, _ *Electorate, _ *time.Time) { v.At = now.Add(2 * time.Minute) }},
		{"from before", nil, unit, sandbox.Invalid, func(v vt, _ *Electorate, _ *time.Time) { v.At = now.Add(-2 * time.Minute) }},
		{"a refusal without a reason", nil, unit, sandbox.Invalid, func(v vt, _ *Electorate, _ *time.Time) { v.Approve = false }},
		{"a long reason", nil, unit, sandbox.Invalid, func(v vt, _ *Electorate, _ *time.Time) { v.Reason = strings.Repeat("x", 4097) }},
		{"the agency first", nil, agency, sandbox.Conflict, nil},
		{"the agency refuses first", nil, agency, sandbox.Conflict, func(v vt, _ *Electorate, _ *time.Time) { v.Approve, v.Reason = false, "no" }},
		{"the same reviewer twice", []sandbox.Party{unit}, unit, sandbox.Conflict, nil},
		{"a colleague of the first", []sandbox.Party{unit}, unit, sandbox.Conflict, func(_ vt, e *Electorate, _ *time.Time) { e.Voter.ID = "id-colleague" }},
		{"another unit second", []sandbox.Party{unit}, unitB, sandbox.Denied, nil},
		{"a third vote", []sandbox.Party{unit, agency}, unitB, sandbox.Conflict, nil},
	} {
		r := submitted(t)
		for _, p := range c.after {
			r = cast(t, r, p, true)
		}
		v, e, at := vote(r, true), Electorate{Voter: reviewer(c.by), VoterParty: c.by, Author: operator, Recipient: operator}, now
		if c.change != nil {
			c.change(&v, &e, &at)
		}
		got, err := r.Cast(v, e, at)
		if sandbox.KindOf(err) != c.kind || err == nil {
			t.Errorf("%s: %v, want %s", c.name, err, c.kind)
		}
		if got.State != r.State || len(got.Votes) != len(r.Votes) {
			t.Errorf("%s: the vote counts", c.name)
		}
	}
}

// A review that comes back changed from where it was kept approves nothing.
func TestApprovalHoldsVotesAgainstTheReview(t *testing.T) {
	two := cast(t, cast(t, submitted(t), unit, true), agency, true)
	b, err := json.Marshal(two)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Review){
		"other bytes":          func(r *Review) { r.Result = []byte("{}") },
		"other bytes, digest":  func(r *Review) { r.Result, r.Digest = []byte("{}"), Digest([]byte("{}")) },
		"another recipient":    func(r *Review) { r.Recipient = "id-other" },
		"a later expiry":       func(r *Review) { r.Expires = r.Expires.AddDate(1, 0, 0) },
		"another policy":       func(r *Review) { r.Policy = "policy/0" },
		"another question":     func(r *Review) { r.Question = "q-2" },
		"a vote missing":       func(r *Review) { r.Votes = r.Votes[:1] },
		"one vote twice":       func(r *Review) { r.Votes[1] = r.Votes[0] },
		"one party twice":      func(r *Review) { r.Votes[1].Party = r.Votes[0].Party },
		"one reviewer twice":   func(r *Review) { r.Votes[1].By = r.Votes[0].By },
		"a refusal among them": func(r *Review) { r.Votes[1].Approve = false },
		"not yet approved":     func(r *Review) { r.State = Partial },
	} {
		var r Review
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		if _, err := r.approval(now); err != nil {
			t.Fatalf("unchanged: %v", err)
		}
		change(&r)
		if _, err := r.approval(now); !errors.Is(err, sandbox.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReviewsExpire(t *testing.T) {
	r := submitted(t)
	one := cast(t, r, unit, true)
	two := cast(t, one, agency, true)
	sent := released(t, two)
	withheld := Withhold(Submission{Question: "q-2", Expires: r.Expires}, nil, nil, "not computed")
	for _, c := range []struct {
		r    Review
		want State
	}{{r, Expired}, {one, Expired}, {two, Expired}, {sent, Expired}, {cast(t, cast(t, r, unit, false), agency, false), Rejected}, {withheld, Withheld}} {
		if at := c.r.At(r.Expires.Add(-1)); at.State != c.r.State {
			t.Errorf("%s a moment before: %s", c.r.State, at.State)
		}
		if at := c.r.At(r.Expires); at.State != c.want {
			t.Errorf("%s at its expiry: %s, want %s", c.r.State, at.State, c.want)
		}
	}
}

// A withheld answer keeps no outgoing bytes; its reason is in the pack.
func TestWithheldHasNoResult(t *testing.T) {
	c := claims(t, people(0, 12, "a")).check("q-2")
	r := Withhold(Submission{Question: "q-2", Now: now, Expires: now.Add(time.Hour)}, c, &Finding{Earlier: "q-1", Cell: 0, Against: 0, People: 1, Rule: "r"}, "cause")
	if r.State != Withheld || r.Result != nil || r.Digest != nil {
		t.Error("a withheld answer can be read")
	}
	if _, err := r.Cast(vote(r, true), Electorate{Voter: reviewer(unit), VoterParty: unit, Author: operator, Recipient: operator}, now); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a withheld answer is voted on: %v", err)
	}
	b, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"q-1", "cause", `"people":12`, "1 cells, 0 suppressed", "不予应答"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the pack lacks %s", want)
		}
	}
	b, err = submitted(t).Pack()
	if err != nil || !strings.Contains(string(b), "3 cells, 2 suppressed") {
		t.Errorf("%v %s", err, b)
	}
}

// Only what Check wrote is submitted.
func TestSubmitWithholdsOtherBytes(t *testing.T) {
	c := claims(t, people(0, 12, "a")).check("q-1")
	c.Result = append(slices.Clone(c.Result), ' ')
	for _, c := range []*Checked{c, {}, {Result: []byte("{}")}} {
		if r := Submit(Submission{Question: "q-1"}, c); r.State != Withheld || r.Result != nil {
			t.Errorf("submitted as %s", r.State)
		}
	}
}

func consented(t testing.TB) (consent.Record, consent.ClaimCheck, sandbox.Identity, []byte) {
	t.Helper()
	salt := []byte("0123456789abcdef")
	claim, err := consent.Commitment(salt, []byte("claim-1"))
	if err != nil {
		t.Fatal(err)
	}
	rec := consent.Record{State: consent.Given, Receipt: attest.Receipt{ID: "c-1", Subject: "id-person", Grantee: "insurer", Scenario: "sc-1", Purpose: "settlement",
		Dataset: "claims", Fields: []string{"icd10", "amount"}, Claim: claim, NotBefore: now, NotAfter: now.AddDate(0, 1, 0), MaxUses: 1}}
	check := consent.ClaimCheck{Subject: "id-person", Grantee: "insurer", Scenario: "sc-1", Purpose: "settlement", Dataset: "claims", Fields: []string{"amount", "icd10"}, Claim: claim, At: now}
	b, err := EncodeRecord("q-9", check.Fields, []string{"12.00", "I10"})
	if err != nil {
		t.Fatal(err)
	}
	return rec, check, sandbox.Identity{ID: "id-insurer", Party: "insurer"}, b
}

func TestFromConsent(t *testing.T) {
	rec, check, to, b := consented(t)
	a, err := FromConsent(rec, check, "q-9", to, b, now.Add(time.Hour), "policy/1")
	if err != nil {
		t.Fatal(err)
	}
	if a.Class() != sandbox.ClassB || a.Consent() != "c-1" || a.Recipient() != "id-insurer" || !a.Covers(b, now) || a.Covers(b, now.Add(time.Hour)) {
		t.Errorf("%+v", a)
	}
	for name, change := range map[string]func(*consent.Record, *consent.ClaimCheck, *sandbox.Identity, *[]byte){
		"no consent": func(r *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, _ *[]byte) { *r = consent.Record{} },
		"revoked": func(r *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, _ *[]byte) {
			r.State = consent.Revoked
		},
		"used up": func(r *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, _ *[]byte) { r.Uses = 1 },
		"over": func(r *consent.Record, c *consent.ClaimCheck, _ *sandbox.Identity, _ *[]byte) {
			c.At = r.Receipt.NotAfter
		},
		"another person": func(_ *consent.Record, c *consent.ClaimCheck, _ *sandbox.Identity, _ *[]byte) { c.Subject = "id-other" },
		"another recipient": func(_ *consent.Record, _ *consent.ClaimCheck, to *sandbox.Identity, _ *[]byte) {
			to.Party = "insurer-2"
		},
		"a field more": func(_ *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, b *[]byte) {
			*b, _ = EncodeRecord("q-9", []string{"amount", "icd10", "name"}, []string{"1", "2", "3"})
		},
		"other fields": func(_ *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, b *[]byte) {
			*b, _ = EncodeRecord("q-9", []string{"amount", "name"}, []string{"1", "2"})
		},
		"another question": func(_ *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, b *[]byte) {
			*b, _ = EncodeRecord("q-8", []string{"amount", "icd10"}, []string{"1", "2"})
		},
		"statistics": func(_ *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, b *[]byte) {
			*b = claims(t, people(0, 12, "a")).check("q-9").Result
		},
		"any bytes": func(_ *consent.Record, _ *consent.ClaimCheck, _ *sandbox.Identity, b *[]byte) { *b = []byte("x") },
	} {
		rec, check, to, b := consented(t)
		change(&rec, &check, &to, &b)
		if a, err := FromConsent(rec, check, "q-9", to, b, now.Add(time.Hour), "policy/1"); !errors.Is(err, sandbox.Denied) || a.Covers(b, now) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Errors of the gate name rules; they never carry a label or a value.
func TestErrorsCarryNoValues(t *testing.T) {
	r := submitted(t)
	v := vote(r, false)
	v.Reason = ""
	_, err := r.Cast(v, Electorate{Voter: reviewer(unit), VoterParty: unit, Author: operator, Recipient: operator}, now)
	if s := fmt.Sprint(err); !strings.HasPrefix(s, "egress: vote q-1: invalid") {
		t.Error(s)
	}
}
