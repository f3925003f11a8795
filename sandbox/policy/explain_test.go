package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// The engine follows from grade and hosting; what no engine of this release may do is named all the same.
func TestChoose(t *testing.T) {
	sum := func(s *query.Spec) {
		s.Dimensions, s.Measures = nil, []query.Measure{{Func: sandbox.Sum, Column: "c.amount", As: "cost"}}
	}
	for _, c := range []struct {
		name   string
		change func(*Facts, *query.Spec)
		engine sandbox.Engine
		here   bool
		column string
	}{
		{"personal data on the agency's machine", func(*Facts, *query.Spec) {}, sandbox.Domain, true, ""},
		{"personal data on the operator's", func(f *Facts, _ *query.Spec) { f.Hosting = sandbox.P2 }, sandbox.MPC, false, "claims.icd10"},
		{"the same, a sum over one table", func(f *Facts, s *query.Spec) { f.Hosting = sandbox.P2; sum(s) }, sandbox.HE, false, "claims.person"},
		{"the same, a mean of people", func(f *Facts, s *query.Spec) {
			f.Hosting = sandbox.P2
			sum(s)
			s.Measures = append(s.Measures, query.Measure{Func: sandbox.Subjects, As: "people"})
		}, sandbox.MPC, false, "claims.person"},
		{"firms on the operator's", func(f *Facts, s *query.Spec) { f.Hosting, *s = sandbox.P2, aboutFirms() }, sandbox.Domain, true, ""},
		{"grade 4 found at the last push", func(f *Facts, _ *query.Spec) { f.Datasets["claims"].Columns[1].Detected = sandbox.Grade4 }, sandbox.MPC, false, "claims.icd10"},
		{"the district tightens", func(f *Facts, s *query.Spec) {
			f.Profile.Engine.MaxGradeP1.Value = sandbox.Grade1
			*s = aboutFirms()
		}, sandbox.HE, false, "firms.turnover"},
	} {
		f, s := facts(t), spec()
		c.change(&f, &s)
		decision, x := Explain(f, s)
		if x.Engine.Engine != c.engine || x.Engine.Here != c.here || x.Engine.Why == "" || c.here != decision.Allow {
			t.Errorf("%s: %+v, %v", c.name, x.Engine, decision)
		}
		if c.column != "" && !slices.Contains(x.Engine.Columns, c.column) {
			t.Errorf("%s: for %v, not for %s", c.name, x.Engine.Columns, c.column)
		}
		if !c.here && !strings.Contains(x.Text(), "not in this release") {
			t.Errorf("%s: %s", c.name, x.Text())
		}
	}
}

// A list is for the parties of its scenario: to others nothing of it is explained.
func TestExplainIsForTheParties(t *testing.T) {
	for name, change := range map[string]func(*Facts, *query.Spec){
		"another operator": func(f *Facts, _ *query.Spec) { f.Asker.ID = "op-2" },
		"a unit":           func(f *Facts, _ *query.Spec) { f.Asker = sandbox.Party{ID: "unit-med", Role: sandbox.Unit} },
		"no scenario":      func(_ *Facts, s *query.Spec) { s.Scenario = "sc-9" },
	} {
		f, s := facts(t), spec()
		change(&f, &s)
		d, x := Explain(f, s)
		if d.Allow || len(x.Columns)+len(x.Inputs)+len(x.Outputs) > 0 || x.Engine.Engine != "" {
			t.Errorf("%s: %+v", name, x)
		}
	}
	if d, _ := Explain(Facts{}, query.Spec{}); d.Allow {
		t.Error("nothing is allowed")
	}
}

// What a question says before data does not depend on data: the rows a version has are no part of it.
func TestExplainUsesNoCounts(t *testing.T) {
	f, s := facts(t), spec()
	_, a := Explain(f, s)
	d := f.Datasets["claims"]
	d.Rows, d.Version = 12_345_678, 7
	f.Datasets["claims"] = d
	if _, b := Explain(f, s); a.Text() != b.Text() {
		t.Errorf("%s\n%s", a.Text(), b.Text())
	}
	d.Card.Volume = 3 << 20
	f.Datasets["claims"] = d
	_, b := Explain(f, s)
	if b.Cost.Rows != 3<<20 || b.Cost.Bytes != 3<<20*(16+16+8) || b.Cost.Cells != 2 || !strings.Contains(b.Text(), "3145728 rows declared, 120 MiB in all; at most 2 cells of 2 outputs; data renewed daily") {
		t.Errorf("%+v\n%s", b.Cost, b.Text())
	}
}

func TestRulesBindTheAsker(t *testing.T) {
	rule := func(f *Facts, column int) *sandbox.ColumnRule { return &f.Scenarios["sc-1"].List[0].Columns[column] }
	for _, c := range []struct {
		name   string
		change func(*Facts, *query.Spec)
		want   []string
	}{
		{"given to the operator", func(f *Facts, _ *query.Spec) { rule(f, 1).Grantees = []sandbox.PartyID{"op"} }, nil},
		{"given to the partner, asked by the operator", func(f *Facts, _ *query.Spec) { rule(f, 1).Grantees = []sandbox.PartyID{"partner"} }, []string{CodeGrantee}},
		{"given to the operator, asked by the partner", func(f *Facts, _ *query.Spec) {
			rule(f, 1).Grantees, f.Asker = []sandbox.PartyID{"op"}, sandbox.Party{ID: "partner", Role: sandbox.Partner}
		}, []string{CodeGrantee}},
		{"the asker's affiliate supplies the rows", func(f *Facts, _ *query.Spec) { f.Asker.Affiliates = []sandbox.PartyID{"unit-med"} }, []string{"dataset.own"}},
		{"groupings left today", func(f *Facts, _ *query.Spec) {
			rule(f, 0).PerDay, f.Compared = 3, map[string]int64{"claims.icd10": 2}
		}, nil},
		{"groupings spent today", func(f *Facts, _ *query.Spec) {
			rule(f, 0).PerDay, f.Compared = 3, map[string]int64{"claims.icd10": 3}
		}, []string{CodePerDay}},
		{"a counter below zero", func(f *Facts, _ *query.Spec) {
			rule(f, 0).PerDay, f.Compared = 3, map[string]int64{"claims.icd10": -1}
		}, []string{CodePerDay}},
		{"spent, and the question compares nothing", func(f *Facts, s *query.Spec) {
			rule(f, 0).PerDay, f.Compared = 3, map[string]int64{"claims.icd10": 3}
			s.Dimensions = nil
		}, nil},
	} {
		f, s := facts(t), spec()
		c.change(&f, &s)
		d, derived := Evaluate(f, s)
		sound(t, c.name, d)
		if got := codes(d); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if d.Allow && !derived.Complete() {
			t.Errorf("%s: allowed without a derivation", c.name)
		}
	}
}

func TestClaimFieldsAreGivenToParties(t *testing.T) {
	f, q := facts(t), claim(t)
	f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Insurer}
	f.Scenarios["sc-1"].List[0].Columns[1].Grantees = []sandbox.PartyID{"op"}
	if got := codes(DecideClaim(f, q)); !slices.Equal(got, []string{CodeGrantee}) {
		t.Errorf("%v", got)
	}
}

func BenchmarkExplain(b *testing.B) {
	f, s := facts(b), spec()
	b.ReportAllocs()
	for b.Loop() {
		if d, x := Explain(f, s); !d.Allow || x.Text() == "" {
			b.Fatal("refused")
		}
	}
}
