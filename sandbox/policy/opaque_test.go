package policy

import (
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/grant"
)

func opaqueFacts(t testing.TB) Facts {
	f := facts(t)
	f.Engine = sandbox.Opaque
	g := scenario("sc-1")
	g.Classes = []sandbox.Class{sandbox.ClassA, sandbox.ClassB, sandbox.ClassD, sandbox.ClassF}
	g.List[1].Columns = []sandbox.ColumnRule{{Column: "trade", Uses: []sandbox.Use{sandbox.UsePlain}}, {Column: "turnover", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}, MinSubjects: 25, MaxBits: 900}}
	f.Scenarios = map[sandbox.ScenarioID]*grant.Scenario{"sc-1": g}
	return f
}

func clusters() OpaqueQuestion {
	return OpaqueQuestion{Scenario: "sc-1", Purpose: "health-planning", Class: sandbox.ClassF, Dataset: "firms", Columns: []string{"trade"}, Carries: 500}
}

// TestDecideOpaque: each rule is seen to refuse, with its code, beside what passes.
func TestDecideOpaque(t *testing.T) {
	view := func(k int, columns ...string) func(*Facts, *OpaqueQuestion) {
		return func(_ *Facts, q *OpaqueQuestion) { q.View, q.KAnon, q.Columns = true, k, columns }
	}
	claims := func(k int, columns ...string) func(*Facts, *OpaqueQuestion) {
		return func(f *Facts, q *OpaqueQuestion) { view(k, columns...)(f, q); q.Dataset = "claims" }
	}
	for name, c := range map[string]struct {
		change func(*Facts, *OpaqueQuestion)
		code   string
		tier   int
		form   Form
	}{
		"raw, grade 1":           {func(*Facts, *OpaqueQuestion) {}, "", 1, Raw},
		"a model":                {func(_ *Facts, q *OpaqueQuestion) { q.Class = sandbox.ClassD }, "", 1, Raw},
		"a view, grade 2":        {view(0, "trade", "turnover"), "", 1, View},
		"k-anonymous, of people": {claims(10, "amount"), "", 2, KAnon},
		"raw, grade 2":           {func(_ *Facts, q *OpaqueQuestion) { q.Columns = []string{"turnover"} }, CodeForm, 0, ""},
		"a view of people":       {claims(0, "amount"), CodeForm, 0, ""},
		"raw, not plain": {func(f *Facts, _ *OpaqueQuestion) {
			f.Scenarios["sc-1"].List[1].Columns[0].Uses = []sandbox.Use{sandbox.UseGroup}
		}, CodeUse, 0, ""},
		"an aggregate":        {func(_ *Facts, q *OpaqueQuestion) { q.Class = sandbox.ClassA }, CodeEngine, 0, ""},
		"a class not granted": {func(f *Facts, _ *OpaqueQuestion) { f.Scenarios["sc-1"].Classes = []sandbox.Class{sandbox.ClassA} }, CodeClass, 0, ""},
		"another purpose":     {func(_ *Facts, q *OpaqueQuestion) { q.Purpose = "other" }, CodePurpose, 0, ""},
		"not listed":          {func(_ *Facts, q *OpaqueQuestion) { q.Dataset = "ghosts" }, CodeDataset, 0, ""},
		"a column not listed": {view(0, "firm"), CodeColumn, 0, ""},
		"no such column":      {view(0, "ghost"), CodeUnknown, 0, ""},
		"another's column": {func(f *Facts, _ *OpaqueQuestion) {
			f.Scenarios["sc-1"].List[1].Columns[0].Grantees = []sandbox.PartyID{"partner"}
		}, CodeGrantee, 0, ""},
		"a noisy column": {func(f *Facts, _ *OpaqueQuestion) {
			f.Scenarios["sc-1"].List[1].Columns[0].Noise.Kind = sandbox.NoiseRounded
		}, CodeForm, 0, ""},
		"an operator's domain":       {func(f *Facts, q *OpaqueQuestion) { claims(10, "amount")(f, q); f.Hosting = sandbox.P2 }, CodeGrade, 0, ""},
		"grade 4":                    {func(f *Facts, q *OpaqueQuestion) { claims(10, "amount")(f, q); regrade(f, "claims", "amount", 4) }, CodeGrade, 0, ""},
		"a subject of grade 4":       {func(f *Facts, _ *OpaqueQuestion) { regrade(f, "firms", "firm", 4) }, CodeGrade, 0, ""},
		"an insurer":                 {func(f *Facts, _ *OpaqueQuestion) { f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Insurer} }, CodeRole, 0, ""},
		"a stranger":                 {func(f *Facts, _ *OpaqueQuestion) { f.Asker = sandbox.Party{ID: "op-2", Role: sandbox.Operator} }, CodeParty, 0, ""},
		"an affiliate of the unit":   {func(f *Facts, _ *OpaqueQuestion) { f.Asker.Affiliates = []sandbox.PartyID{"unit-trade"} }, CodeParty, 0, ""},
		"no scenario":                {func(_ *Facts, q *OpaqueQuestion) { q.Scenario = "sc-9" }, CodeScenario, 0, ""},
		"more than the owner allows": {func(f *Facts, q *OpaqueQuestion) { view(0, "trade", "turnover")(f, q); q.Carries = 901 }, CodeBits, 0, ""},
		"more than is left":          {func(f *Facts, q *OpaqueQuestion) { q.Carried = f.Profile.Bits.Carried.Value - 499 }, CodeBits, 0, ""},
		"asked too often":            {func(f *Facts, _ *OpaqueQuestion) { f.BitsUsed = f.Profile.Bits.PerGrant.Value }, CodeBits, 0, ""},
		"charged, nothing is left": {func(f *Facts, q *OpaqueQuestion) {
			q.Charged, q.Carried, f.BitsUsed = true, f.Profile.Bits.Carried.Value, f.Profile.Bits.PerGrant.Value
		}, "", 1, Raw},
		"charged, more than the owner allows": {func(f *Facts, q *OpaqueQuestion) {
			view(0, "trade", "turnover")(f, q)
			q.Charged, q.Carries = true, 901
		}, CodeBits, 0, ""},
		"charged, not listed": {func(_ *Facts, q *OpaqueQuestion) { q.Charged, q.Dataset = true, "ghosts" }, CodeDataset, 0, ""},
		"raised since":        {func(f *Facts, q *OpaqueQuestion) { raised(f); q.View = true }, CodeRaised, 0, ""},
		"no clock":            {func(f *Facts, _ *OpaqueQuestion) { f.Profile = nil }, CodeIncomplete, 0, ""},
	} {
		f, q := opaqueFacts(t), clusters()
		c.change(&f, &q)
		d, terms := DecideOpaque(f, q)
		if d.Allow != (c.code == "") || !d.Allow && !slices.Contains(codes(d), c.code) || d.Engine != sandbox.Opaque {
			t.Errorf("%s: %v %v, want %q", name, d.Allow, d.Reasons, c.code)
		}
		if d.Allow && (terms.Tier != c.tier || terms.Form != c.form) {
			t.Errorf("%s: %+v", name, terms)
		}
		for _, r := range d.Reasons {
			if r.Rule == "" || r.Article == "" || r.Change == "" {
				t.Errorf("%s: half a reason %+v", name, r)
			}
		}
	}
	f, q := opaqueFacts(t), clusters()
	view(0, "trade", "turnover")(&f, &q)
	if _, terms := DecideOpaque(f, q); terms.MinSubjects != 25 || terms.MaxBits != 900 || terms.Grade != 2 {
		t.Errorf("the owners' thresholds: %+v", terms)
	}
}

func regrade(f *Facts, id sandbox.DatasetID, column string, g sandbox.Grade) {
	d := f.Datasets[id]
	d.Columns = slices.Clone(d.Columns)
	i := slices.IndexFunc(d.Columns, func(c catalog.Column) bool { return c.Name == column })
	d.Columns[i].Grade = g
	f.Datasets[id] = d
}

// raised lifts a column over the level it was listed at.
func raised(f *Facts) {
	g := f.Scenarios["sc-1"]
	g.Grades = []grant.ListedGrade{{Dataset: "firms", Column: "trade", Grade: 1}}
	regrade(f, "firms", "trade", 2)
}
