package egress

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

var dataset = []DatasetColumn{{"area", scan.Label}, {"amount", scan.Amount}, {"who", scan.Token}}

func encoded(t testing.TB, rows ...[]string) []byte {
	t.Helper()
	b, err := EncodeDataset("q-1", dataset, rows)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func items(t testing.TB, c sandbox.Class) (out []ItemResult) {
	t.Helper()
	l, err := ChecklistOf(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range l.Items {
		out = append(out, ItemResult{ID: x.ID, Pass: true, ZH: x.Term, EN: x.Must})
	}
	return out
}

func product(t testing.TB, items []ItemResult) *Product {
	t.Helper()
	p, err := NewProduct(Made{Class: sandbox.ClassE, Question: "q-1", Result: encoded(t, []string{"4403", "-1.50", "t1"}, []string{"4401", "2.00", "t2"}), Items: items, Evidence: map[string]int{"k": 10}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ofClassE is a submitted data set that needs the unit's signature.
func ofClassE(t testing.TB) Review {
	t.Helper()
	return Submit(Submission{Question: "q-1", Class: sandbox.ClassE, Author: "id-operator", Recipient: "id-operator", Datasets: []sandbox.DatasetID{"claims"}, Policy: "policy/1",
		Now: now, Expires: now.AddDate(0, 0, 5), Owners: []sandbox.PartyID{unit.ID}}, product(t, items(t, sandbox.ClassE)))
}

var third = sandbox.Party{ID: "unit-b", Role: sandbox.Unit}

func TestDataSetIsOneEncoding(t *testing.T) {
	a := encoded(t, []string{"b", "1", ""}, []string{"a,\"x\"", "2", "t"})
	if b := encoded(t, []string{"a,\"x\"", "2", "t"}, []string{"b", "1", ""}); !bytes.Equal(a, b) {
		t.Error("the order of rows shows")
	}
	d, err := DecodeDataset(a)
	if err != nil || d.CSV != "area,amount,who\n\"a,\"\"x\"\"\",2,t\nb,1,\n" {
		t.Fatalf("%v %v", d.CSV == "", err)
	}
	for name, change := range map[string][2]string{
		"quoted without need": {`b,1,`, `\"b\",1,`}, "another order": {"area,amount,who\\n", "area,amount,who\\nz,1,\\n"}, "a space": {`"rows":2`, `"rows": 2`},
		"another number of rows": {`"rows":2`, `"rows":3`}, "another header": {"area,amount", "aree,amount"}, "a carriage return": {`b,1,\n`, `b,1,\r\n`},
		"no last line end": {`b,1,\n`, `b,1,`}, "an unseen character": {`b,1,`, "b\u200b,1,"}, "a formula": {`b,1,`, `=b,1,`}, "a role of its own": {`"label"`, `"any"`}, "free text": {`"label"`, `"text"`},
	} {
		other := strings.Replace(string(a), change[0], change[1], 1)
		if other == string(a) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := DecodeDataset([]byte(other)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, rows := range map[string][][]string{"short": {{"a", "1"}}, "long": {{"a", "1", "t", "u"}}, "formula": {{"@a", "1", "t"}}, "plus": {{"a", "+1", "t"}}, "minus of text": {{"-a", "1", "t"}},
		"double space": {{"a  b", "1", "t"}}, "no text": {{"a\xff", "1", "t"}}} {
		if _, err := EncodeDataset("q-1", dataset, rows); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A product is what the form of its class takes, for its question, without identifiers; and every item of the class's list is held.
func TestProduct(t *testing.T) {
	good := Made{Class: sandbox.ClassE, Question: "q-1", Result: encoded(t, []string{"4403", "1", "t1"}), Items: items(t, sandbox.ClassE)}
	for name, x := range map[string]struct {
		edit func(*Made)
		kind sandbox.Kind
	}{
		"an unknown class":         {func(m *Made) { m.Class = "G" }, sandbox.Denied},
		"class A":                  {func(m *Made) { m.Class = sandbox.ClassA }, sandbox.Denied},
		"class B":                  {func(m *Made) { m.Class = sandbox.ClassB }, sandbox.Denied},
		"a class without a form":   {func(m *Made) { m.Class = sandbox.ClassC }, sandbox.Denied},
		"another question":         {func(m *Made) { m.Question = "q-2" }, sandbox.Denied},
		"other bytes":              {func(m *Made) { m.Result = append(m.Result, '\n') }, sandbox.Invalid},
		"an identifier":            {func(m *Made) { m.Result = encoded(t, []string{"13800138000", "1", "t1"}) }, sandbox.Withheld},
		"evidence that is no text": {func(m *Made) { m.Evidence = func() {} }, sandbox.Internal},
	} {
		m := good
		m.Result = bytes.Clone(good.Result)
		x.edit(&m)
		if p, err := NewProduct(m); !errors.Is(err, x.kind) || p != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := Submission{Question: "q-1", Class: sandbox.ClassE, Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5)}
	all := items(t, sandbox.ClassE)
	failed := append([]ItemResult{}, all...)
	failed[1] = ItemResult{ID: all[1].ID, EN: "the words of what failed"}
	for name, x := range map[string]struct {
		items []ItemResult
		cause string
	}{"nothing checked": {nil, "was not checked"}, "one not checked": {all[1:], "item " + all[0].ID}, "one failed": {failed, "the words of what failed"},
		"one twice": {append(append([]ItemResult{}, all...), all[0]), "does not have"}} {
		if r := Submit(s, product(t, x.items)); r.State != Withheld || r.Result != nil || !strings.Contains(r.Cause, x.cause) {
			t.Errorf("%s: %s %q", name, r.State, r.Cause)
		}
	}
	if r := Submit(s, product(t, all)); r.State != InReview {
		t.Errorf("%s %q", r.State, r.Cause)
	}
	s.Question = "q-2"
	if r := Submit(s, product(t, all)); r.State != Withheld {
		t.Errorf("submitted for another question: %s", r.State)
	}
	s.Question, s.Class = "q-1", sandbox.ClassA
	if r := Submit(s, product(t, all)); r.State != Withheld {
		t.Errorf("submitted as class A: %s", r.State)
	}
	s.Class = sandbox.ClassE
	if r := Submit(s, claims(t, people(0, 12, "a")).check("q-1")); r.State != Withheld {
		t.Errorf("an aggregate as class E: %s", r.State)
	}
	// A template of class A does not release it.
	s.Template = &Template{}
	if r := Submit(s, product(t, all)); r.State != InReview || r.Template != "" {
		t.Errorf("under a template: %s", r.State)
	}
}

// What needs its owner's signature does not leave on votes alone.
func TestOwnerSigns(t *testing.T) {
	r := ofClassE(t)
	if len(r.Unsigned()) != 1 {
		t.Fatal(r.Unsigned())
	}
	for name, x := range map[string]struct {
		who   sandbox.Identity
		party sandbox.Party
		kind  sandbox.Kind
	}{
		"a reviewer of the unit": {reviewer(unit), unit, sandbox.Denied},
		"another unit":           {sandbox.Identity{ID: "id-x", Party: third.ID, Duty: sandbox.Officer}, third, sandbox.Denied},
		"the agency":             {lead, agency, sandbox.Denied},
		"its author":             {asker, operator, sandbox.Denied},
	} {
		if got, err := do(r, Endorse, x.who, x.party, now); !errors.Is(err, x.kind) || len(got.Unsigned()) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	half := cast(t, r, third, true)
	e := Electorate{Voter: reviewer(agency), VoterParty: agency, Author: operator, Recipient: operator}
	if got, err := half.Cast(vote(half, true), e, now); !errors.Is(err, sandbox.Conflict) || got.State != Partial || !strings.Contains(err.Error(), "owner signs") {
		t.Errorf("the agency's vote before the owner's signature: %s %v", got.State, err)
	}
	signed := done(t, half, Endorse, owner, unit)
	if len(signed.Unsigned()) != 0 || signed.State != Partial {
		t.Fatal(signed.State)
	}
	if _, err := do(signed, Endorse, owner, unit, now); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("signed twice: %v", err)
	}
	two := cast(t, signed, agency, true)
	if _, a, err := two.Release(now, Present{Policy: "policy/1", Revoked: nobody}); err != nil || a.Class() != sandbox.ClassE || !a.Covers(two.Result, now) {
		t.Errorf("%v", err)
	}
	gone := func(id sandbox.IdentityID) bool { return id == owner.ID }
	if _, _, err := two.Release(now, Present{Policy: "policy/1", Revoked: gone}); !errors.Is(err, sandbox.Denied) || !strings.Contains(err.Error(), "signed for the owner") {
		t.Errorf("the owner's identity was revoked: %v", err)
	}
	// Kept reviews are held against all of it once more.
	for name, change := range map[string]func(*Review){
		"no signature":           func(r *Review) { r.Acts = nil },
		"of another round":       func(r *Review) { r.Acts = append([]Act{}, r.Acts...); r.Acts[0].Round = 7 },
		"of nobody":              func(r *Review) { r.Acts = append([]Act{}, r.Acts...); r.Acts[0].By = "" },
		"another class":          func(r *Review) { r.Class = sandbox.ClassD },
		"class A":                func(r *Review) { r.Class = sandbox.ClassA },
		"an item that failed":    func(r *Review) { r.Items = append([]ItemResult{}, r.Items...); r.Items[0].Pass = false },
		"no items":               func(r *Review) { r.Items = nil },
		"votes on another class": func(r *Review) { r.Votes = append([]Vote{}, r.Votes...); r.Votes[0].Class = sandbox.ClassA },
		"other bytes":            func(r *Review) { r.Result = encoded(t, []string{"4404", "1", "t1"}) },
		"no encoding of a class": func(r *Review) { r.Result = []byte("{}"); r.Digest = Digest(r.Result) },
	} {
		x := two
		change(&x)
		if _, a, err := x.Release(now, Present{Policy: "policy/1", Revoked: nobody}); !errors.Is(err, sandbox.Denied) || a != (Approval{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A signature counts for its round: what is returned and resubmitted is signed anew.
	back := done(t, signed, Return, reviewer(agency), agency)
	again := done(t, back, Resubmit, asker, operator)
	if len(again.Unsigned()) != 1 {
		t.Error("a signature outlives its round")
	}
	// It is the veto of nobody else: an owner may still refuse.
	if no := done(t, signed, Veto, owner, unit); no.State != Rejected {
		t.Error(no.State)
	}
	// Nothing needs it: nobody signs.
	plain := submitted(t)
	if _, err := do(plain, Endorse, owner, unit, now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("class A: %v", err)
	}
}

// The page's evidence has the items in both languages, and never a row.
func TestPackOfAProduct(t *testing.T) {
	b, err := ofClassE(t).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"items"`, `"evidence":{"k":10}`, `"unsigned":["unit-a"]`, "去标识数据集", "unit-a"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("the pack lacks %s", want)
		}
	}
	if bytes.Contains(b, []byte("4403")) || bytes.Contains(b, []byte("cells published")) {
		t.Error("the pack shows rows, or cells that are none")
	}
}
