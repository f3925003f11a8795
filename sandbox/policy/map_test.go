package policy

import (
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// mapping is a Map over three columns of claims, each allowed as its grade asks: hospital of grade 1, amount of grade 2, icd10 of grade 3.
func mapping(t testing.TB) (Facts, query.MapUse) {
	f := facts(t)
	f.Lacks = map[string]string{"W": ""}
	rules := f.Scenarios["sc-1"].List[0].Columns
	rules[0].Uses = append(rules[0].Uses, sandbox.UseMapRaw)
	rules[1].Uses = append(rules[1].Uses, sandbox.UseMap)
	rules[2].Uses = append(rules[2].Uses, sandbox.UseMap)
	return f, query.MapUse{Scenario: "sc-1", Purpose: "health-planning", Dataset: "claims", Groups: []string{"band"}, Cells: 3,
		Columns: []catalog.Column{{Name: "hospital", Type: catalog.Text}, {Name: "amount", Type: catalog.Money}, {Name: "icd10", Type: catalog.Text}},
		Outputs: []sandbox.Measure{{Name: "subjects", Func: sandbox.Subjects}, {Name: "yields", Func: sandbox.Count}, {Name: "cost", Func: sandbox.Sum}}}
}

func rule(f *Facts, column string) *sandbox.ColumnRule {
	list := f.Scenarios["sc-1"].List[0].Columns
	return &list[slices.IndexFunc(list, func(r sandbox.ColumnRule) bool { return r.Column == column })]
}

func TestDecideMap(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Facts, *query.MapUse)
		want   []string
		column string // of the first reason
	}{
		{"as granted", func(*Facts, *query.MapUse) {}, nil, ""},
		{"by a unit", func(f *Facts, _ *query.MapUse) { f.Asker = sandbox.Party{ID: "unit-med", Role: sandbox.Unit} }, []string{CodeRole}, ""},
		{"by another operator", func(f *Facts, _ *query.MapUse) { f.Asker.ID = "op-2" }, []string{CodeParty}, ""},
		{"no such scenario", func(_ *Facts, u *query.MapUse) { u.Scenario = "sc-9" }, []string{CodeScenario}, ""},
		{"another purpose", func(_ *Facts, u *query.MapUse) { u.Purpose = "marketing" }, []string{CodePurpose}, ""},
		{"after the term", func(f *Facts, _ *query.MapUse) { f.Now = end.UTC() }, []string{CodeExpired}, ""},
		{"class A not granted", func(f *Facts, _ *query.MapUse) { f.Scenarios["sc-1"].Classes = []sandbox.Class{sandbox.ClassD} }, []string{CodeClass}, ""},
		{"a dataset that is not listed", func(_ *Facts, u *query.MapUse) { u.Dataset = "others" }, []string{"dataset.not-listed"}, "others"},
		{"rows of the asker's own", func(f *Facts, _ *query.MapUse) { f.Asker.Affiliates = []sandbox.PartyID{"unit-med"} }, []string{"dataset.own"}, "claims"},
		{"a column that is not listed", func(_ *Facts, u *query.MapUse) { u.Columns[0].Name = "ward" }, []string{"column.not-listed"}, "claims.ward"},
		{"who a subject is", func(f *Facts, u *query.MapUse) {
			u.Columns[0].Name = "person"
			f.Scenarios["sc-1"].List[0].Columns = append(f.Scenarios["sc-1"].List[0].Columns, sandbox.ColumnRule{Column: "person", Uses: []sandbox.Use{sandbox.UseMap}})
		}, []string{"column.subject"}, "claims.person"},
		{"not for a Map", func(f *Facts, _ *query.MapUse) { rule(f, "hospital").Uses = []sandbox.Use{sandbox.UseGroup} }, []string{"column.use"}, "claims.hospital"},
		{"plain is not for a Map", func(f *Facts, _ *query.MapUse) { rule(f, "hospital").Uses = []sandbox.Use{sandbox.UsePlain} }, []string{"column.use"}, "claims.hospital"},
		{"given to another", func(f *Facts, _ *query.MapUse) { rule(f, "amount").Grantees = []sandbox.PartyID{"partner"} }, []string{"column.grantee"}, "claims.amount"},
		{"another type", func(_ *Facts, u *query.MapUse) { u.Columns[1].Type = catalog.Int }, []string{"map.column"}, "claims.amount"},
		{"grade 3 without the owner's word", func(f *Facts, _ *query.MapUse) { rule(f, "icd10").Uses = []sandbox.Use{sandbox.UseMap} }, []string{CodeForm}, "claims.icd10"},
		{"personal without the owner's word", func(f *Facts, _ *query.MapUse) { f.Datasets["claims"].Columns[3].Personal = true }, []string{CodeForm}, "claims.hospital"},
		{"grade 4", func(f *Facts, _ *query.MapUse) { f.Datasets["claims"].Columns[1].Detected = sandbox.Grade4 }, []string{CodeGrade}, "claims.icd10"},
		{"operator-hosted", func(f *Facts, _ *query.MapUse) { f.Hosting = sandbox.P2 }, []string{CodeGrade, CodeGrade}, "claims.icd10"},
		{"operator-hosted, firms", func(f *Facts, u *query.MapUse) {
			f.Hosting, u.Dataset, u.Columns = sandbox.P2, "firms", []catalog.Column{{Name: "turnover", Type: catalog.Money}}
			f.Scenarios["sc-1"].List[1].Columns[1].Uses = append(f.Scenarios["sc-1"].List[1].Columns[1].Uses, sandbox.UseMap)
		}, nil, ""},
		{"the district tightens", func(f *Facts, _ *query.MapUse) { f.Profile.Engine.MaxGradeP1.Value = sandbox.Grade2 }, []string{CodeGrade, CodeGrade}, "claims.icd10"},
		{"a layer is missing", func(f *Facts, _ *query.MapUse) { f.Lacks["W"] = "landlock: level 1" }, []string{CodeTier}, ""},
		{"no jail", func(f *Facts, _ *query.MapUse) { f.Lacks = nil }, []string{CodeTier}, ""},
		{"another tier does not do", func(f *Facts, _ *query.MapUse) { f.Lacks = map[string]string{"Wp": "", "T1": ""} }, []string{CodeTier}, ""},
		{"two groupings of grade 3", func(_ *Facts, u *query.MapUse) { u.Groups = []string{"a", "b"} }, []string{"column.compares"}, "claims.icd10"},
		{"two, and the owner lets it compare", func(f *Facts, u *query.MapUse) {
			u.Groups = []string{"a", "b"}
			rule(f, "icd10").Uses = append(rule(f, "icd10").Uses, sandbox.UseCompare)
		}, nil, ""},
		{"never selected by what it also sees", func(f *Facts, _ *query.MapUse) { rule(f, "amount").NoFilterOn = []string{"claims.icd10"} }, []string{"column.no-filter-on"}, "claims.amount"},
		{"never selected by what it does not see", func(f *Facts, _ *query.MapUse) { rule(f, "amount").NoFilterOn = []string{"claims.ward"} }, nil, ""},
		{"differential privacy", func(f *Facts, _ *query.MapUse) {
			rule(f, "amount").Noise = sandbox.Noise{Kind: sandbox.NoiseDP, Release: sandbox.Privacy{Epsilon: 1, Delta: 1}, Budget: sandbox.Privacy{Epsilon: 9, Delta: 9}}
		}, []string{"map.noise"}, "claims"},
		{"compared enough today", func(f *Facts, _ *query.MapUse) {
			rule(f, "amount").PerDay, f.Compared = 3, map[string]int64{"claims.amount": 3}
		}, []string{CodePerDay}, "claims.amount"},
		{"budget spent", func(f *Facts, _ *query.MapUse) { f.BitsUsed = f.Profile.Bits.PerGrant.Value }, []string{CodeBits}, ""},
		{"no facts", func(f *Facts, _ *query.MapUse) { *f = Facts{} }, []string{CodeIncomplete}, ""},
		{"nothing declared", func(_ *Facts, u *query.MapUse) { u.Columns = nil }, []string{"question.invalid"}, ""},
	} {
		f, u := mapping(t)
		c.change(&f, &u)
		d, derived, terms := DecideMap(f, u)
		sound(t, c.name, d)
		if got := codes(d); !slices.Equal(got, c.want) || len(c.want) > 0 && d.Reasons[0].Column != c.column {
			t.Errorf("%s: %+v, want %v on %q", c.name, d.Reasons, c.want, c.column)
		}
		if derived.Complete() {
			t.Errorf("%s: the domain engine would run it", c.name)
		}
		if d.Engine == sandbox.Domain || d.Class == sandbox.ClassB || terms.Tier != "W" {
			t.Errorf("%s: %+v %+v", c.name, d, terms)
		}
		if x, e, _ := ExplainMap(f, u); x.Allow != d.Allow || e.Engine.Here && !d.Allow {
			t.Errorf("%s: explained as %+v, %+v", c.name, x, e.Engine)
		}
	}
	f, u := mapping(t)
	if _, e, _ := ExplainMap(f, u); !slices.Equal(e.Inputs[0].Opens, []string{"amount", "hospital", "icd10"}) || len(e.Outputs) != 3 || e.Cost.Cells != 3 || e.Highest != sandbox.Grade3 {
		t.Errorf("%+v", e)
	}
}

// TestMapMatrix says the line of the matrix once more, in words: raw to grade 2; above, a view, or raw with the owner's signature where the agency
// hosts; never grade 4; and the jail's tier.
func TestMapMatrix(t *testing.T) {
	for _, c := range []struct {
		hosting      sandbox.Hosting
		grade        sandbox.Grade
		personal     bool
		form, signed Form
		tier         string
	}{
		{sandbox.P1, 1, false, Raw, "", "W"}, {sandbox.P1, 2, false, Raw, "", "W"}, {sandbox.P1, 3, false, View, Raw, "W"}, {sandbox.P1, 1, true, View, Raw, "W"}, {sandbox.P1, 4, false, "", "", ""},
		{sandbox.P2, 1, false, Raw, "", "W"}, {sandbox.P2, 2, false, Raw, "", "W"}, {sandbox.P2, 3, false, "", "", ""}, {sandbox.P2, 2, true, "", "", ""}, {sandbox.P2, 4, false, "", "", ""},
	} {
		r := Matrix(sandbox.Map, sandbox.ClassA, c.hosting, c.grade, c.personal)
		if r.Form != c.form || r.Signed != c.signed || r.Least(sandbox.Map) != c.tier || r.Allow != (c.form != "") {
			t.Errorf("%s grade %d personal %v: %+v in %q", c.hosting, c.grade, c.personal, r, r.Least(sandbox.Map))
		}
	}
	for g := sandbox.Grade1; g <= sandbox.Grade4; g++ {
		want := map[sandbox.Grade]string{1: "T1", 2: "T1", 3: "T2"}[g]
		if got := Matrix(sandbox.Opaque, sandbox.ClassD, sandbox.P1, g, false).Least(sandbox.Opaque); got != want {
			t.Errorf("opaque, grade %d: %q", g, got)
		}
		if got := Matrix(sandbox.Domain, sandbox.ClassA, sandbox.P1, g, false).Least(sandbox.Domain); got != "" {
			t.Errorf("domain engine, grade %d: %q", g, got)
		}
	}
}
