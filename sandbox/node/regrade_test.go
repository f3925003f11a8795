package node

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/policy"
)

// stricter gives the rules in force under another name, with other grades for some kinds.
func (o *office) stricter(version string, grades map[classify.Kind]sandbox.Grade) *api.GradingRules {
	o.Helper()
	r, err := o.n.GradingRules(o.Context(), o.agency.Caller)
	if err != nil {
		o.Fatal(err)
	}
	r.Version = version
	for i := range r.Levels {
		if g, ok := grades[classify.Kind(r.Levels[i].Kind)]; ok {
			r.Levels[i].Level.Grade = g
		}
	}
	return &r
}

// TestRegradeUnderOtherRules: a preview changes nothing; what rises is in force at once, what falls is not; verdicts on what is graded
// as before stand; grants are listed and stopped; a further version can be put in force, the same one cannot.
func TestRegradeUnderOtherRules(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	o.push("run-1", found("code", classify.ICD10), found("kind", classify.Enterprise))
	o.confirm("code", "a published code list", lower)
	o.confirm("kind", "registered names are public", lower)
	s := o.granted("sc-1")
	next := o.stricter("national-2027", map[classify.Kind]sandbox.Grade{classify.ICD10: 4})
	size := o.n.evidence.Log().Size()
	p, err := o.n.Regrade(ctx, o.agency.Caller, api.RegradeRequest{Rules: next, Preview: true})
	if err != nil || !p.Preview || len(p.Fields) != 1 || p.Fields[0].Column != "code" || p.Fields[0].Old.Grade != 3 || p.Fields[0].New.Grade != 4 || p.Fields[0].Before != 1 || p.Fields[0].After != 4 || p.Kept != 1 ||
		len(p.Affected) != 1 || p.Affected[0].Grant != s.Grant.ID || !p.Affected[0].Stop {
		t.Fatalf("preview: %+v %v", p, err)
	}
	if _, x := o.column("code"); x.Level.Grade != 1 || o.n.evidence.Log().Size() != size || !o.explain("sc-1").Decision.Allow {
		t.Fatal("a preview changed something")
	}
	short := *next
	short.Levels = short.Levels[1:]
	twice := *next
	twice.Levels = append(slices.Clone(next.Levels), next.Levels[0])
	low := *o.stricter("low", map[classify.Kind]sandbox.Grade{classify.Mobile: 2})
	for name, r := range map[string]*api.GradingRules{"a kind without level": &short, "a kind twice": &twice, "personal below 3": &low, "no version": o.stricter("", nil), "words as version": o.stricter("rules of 2027", nil)} {
		if _, err := o.n.Regrade(ctx, o.agency.Caller, api.RegradeRequest{Rules: r}); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := o.n.Regrade(ctx, o.agency.Caller, api.RegradeRequest{Rules: o.stricter(classify.Version, map[classify.Kind]sandbox.Grade{classify.ICD10: 4})}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("other rules under the same version: %v", err)
	}
	if _, err := o.n.Regrade(ctx, o.agency.Caller, api.RegradeRequest{}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the program's rules are in force: %v", err)
	}
	got, err := o.n.Regrade(ctx, o.agency.Caller, api.RegradeRequest{Rules: next})
	if err != nil || got.Preview || got.By != "agency" || len(got.Fields) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	o.restart()
	if all, x := o.column("code"); all.Rules != "national-2027" || !x.Open || x.Level.Grade != 4 || x.Verdict != nil {
		t.Errorf("%+v %+v", all, x)
	}
	if _, x := o.column("kind"); x.Open || x.Level.Grade != 1 || x.Verdict == nil || x.Verdict.Rules != "national-2027" {
		t.Errorf("a verdict on what is graded as before fell: %+v", x)
	}
	if got := reasons(o.explain("sc-1")); !slices.Equal(got, []string{policy.CodeGrade + " ds-c.code", policy.CodeRaised + " ds-c.code"}) {
		t.Errorf("%v", got)
	}
	body := o.last(attest.ClassificationRegraded).(*attest.ClassificationRegradedBody)
	if body.From != classify.Version || body.To != "national-2027" || len(body.Columns) != 1 || len(body.Affected) != 1 || !body.Affected[0].Stop {
		t.Errorf("evidence: %+v", body)
	}
	o.push("run-2", found("code", classify.ICD10), found("kind", classify.Enterprise))
	if all, x := o.column("code"); all.Open != 1 || x.Proposal.Level.Grade != 4 {
		t.Errorf("a push under the agency's rules: %+v %+v", all, x)
	}
	o.confirm("code", "still a published code list", lower)
	if !o.explain("sc-1").Decision.Allow {
		t.Error("a verdict under the rules in force does not count")
	}

	// Milder: listed, not in force, open for a verdict that says why.
	got, err = o.n.Regrade(ctx, o.agency.Caller, api.RegradeRequest{Rules: o.stricter("national-2028", map[classify.Kind]sandbox.Grade{classify.Enterprise: 1, classify.ICD10: 3})})
	if err != nil || len(got.Fields) != 2 || got.Kept != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	if _, x := o.column("code"); !x.Open || x.Level.Grade != 3 {
		t.Errorf("%+v", x)
	}
	back, err := o.n.Regrade(ctx, o.agency.Caller, api.RegradeRequest{})
	if err != nil || back.To != classify.Version {
		t.Errorf("back to the program's rules: %+v %v", back, err)
	}
	for who, want := range map[*seat]int{&o.agency: 3, &o.unit: 3, &o.other: 3} {
		list, err := o.n.Regradings(ctx, who.Caller)
		if err != nil || len(list) != want {
			t.Fatalf("%s: %d, %v", who.Party.ID, len(list), err)
		}
		if fields := len(list[0].Fields); (fields == 0) != (who == &o.other) || (len(list[0].Affected) == 0) != (who == &o.other) {
			t.Errorf("%s sees %d fields, %d grants", who.Party.ID, fields, len(list[0].Affected))
		}
	}
	o.audit()
	closed(t, o.n)
}

// TestRulesOfTheNextProgram: a domain that a program with other detectors opens is graded by its rules, once; the agency's own rules stay.
func TestRulesOfTheNextProgram(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	o.push("run-1", found("code", classify.USCC))
	before := func(version string, own bool, icd sandbox.Grade) {
		t.Helper()
		r := rulesRecord{Rules: classify.Current(), Detectors: "classify-0", Own: own}
		r.Rules.Version = version
		l := r.Rules.Levels[classify.USCC]
		l.Grade = icd
		r.Rules.Levels[classify.USCC] = l
		if own { // a kind that its detectors did not know
			delete(r.Rules.Levels, classify.Mobile)
		}
		if err := o.n.keepRules(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	before("classify-0", false, 1)
	set, _, err := o.n.docs.gradings.Get(ctx, "ds-c")
	if err != nil {
		t.Fatal(err)
	}
	set.Findings[0].Grade = 1
	if err := o.n.keepGrading(ctx, "unit", set); err != nil {
		t.Fatal(err)
	}
	o.restart()
	o.restart()
	r, err := o.n.rulesInForce(ctx)
	if err != nil || r.Rules.Version != classify.Version || r.Detectors != classify.Version {
		t.Errorf("%s, %s, %v", r.Rules.Version, r.Detectors, err)
	}
	if c := kinds(t, o.n, attest.RulesAdopted); c != 1 {
		t.Errorf("adopted %d times", c)
	}
	if b := o.last(attest.ClassificationRegraded).(*attest.ClassificationRegradedBody); b.From != "classify-0" || b.Columns[0].Old != 1 || b.Columns[0].New != 2 {
		t.Errorf("%+v", b)
	}
	before("agency-1", true, 2)
	o.restart()
	if r, err = o.n.rulesInForce(ctx); err != nil || r.Rules.Version != "agency-1-with-"+classify.Version || !r.Own || r.Rules.Levels[classify.Mobile].Grade != 3 {
		t.Errorf("own rules: %s, %+v, %v", r.Rules.Version, r.Rules.Levels[classify.Mobile], err)
	}
	before(strings.Repeat("a", 64), true, 2)
	o.restart()
	if r, err = o.n.rulesInForce(ctx); err != nil || len(r.Rules.Version) != 64 || !strings.HasSuffix(r.Rules.Version, classify.Version) {
		t.Errorf("a long name: %s, %v", r.Rules.Version, err)
	}
	closed(t, o.n)
}
