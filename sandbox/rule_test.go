package sandbox

import (
	"reflect"
	"slices"
	"testing"
)

func TestRuleAllows(t *testing.T) {
	rule := func(u ...Use) ColumnRule { return ColumnRule{Column: "c", Uses: u, Funcs: []MeasureFunc{Sum}} }
	for _, c := range []struct {
		name   string
		rule   ColumnRule
		allows []Use
	}{
		{"nothing listed", rule(), nil},
		{"none", rule(UseNone), nil},
		{"none beside others", rule(UseGroup, UseNone, UsePlain, UseReveal), nil},
		{"a hidden key", rule(UseJoin), []Use{UseJoin}},
		{"a revealed key", rule(UseReveal), []Use{UseJoin, UseReveal}},
		{"measured", rule(UseAggregate), []Use{UseAggregate}},
		{"plain", rule(UsePlain), []Use{UseJoin, UseReveal, UseGroup, UseFilter, UseAggregate, UseCompare, UsePlain}},
		{"with consent", rule(UseConsent), []Use{UseConsent}},
		{"of a Map", rule(UseMap), []Use{UseMap}},
		{"of a Map as it is", rule(UseMapRaw), []Use{UseMap, UseMapRaw}},
	} {
		var got []Use
		for _, u := range Uses {
			if c.rule.Allows(u) {
				got = append(got, u)
			}
		}
		if !slices.Equal(got, c.allows) {
			t.Errorf("%s: %v, want %v", c.name, got, c.allows)
		}
		for _, f := range MeasureFuncs {
			want := c.rule.Allows(UseAggregate) && (f == Sum || slices.Contains(c.rule.Uses, UsePlain))
			if c.rule.AllowsFunc(f) != want {
				t.Errorf("%s: %s is %v", c.name, f, !want)
			}
		}
	}
	r := rule(UseGroup)
	if !r.AllowsParty("anyone") {
		t.Error("a rule for every party refuses one")
	}
	if r.Grantees = []PartyID{"op"}; !r.AllowsParty("op") || r.AllowsParty("other") || r.AllowsParty("") {
		t.Error("a rule for one party")
	}
}

// TestRuleWithin takes the widest rule down the grades: nothing comes back that a lower grade refused.
func TestRuleWithin(t *testing.T) {
	widest := ColumnRule{Column: "c", Uses: slices.Clone(Uses[1:]), Funcs: MeasureFuncs, Compares: MaxCompares, Structural: true, MinSubjects: 20, MaxShare: 40}
	for _, c := range []struct {
		grade      Grade
		uses       []Use
		compares   int
		structural bool
	}{
		{Grade1, []Use{UseJoin, UseReveal, UseGroup, UseFilter, UseAggregate, UseCompare, UseConsent, UseMap, UseMapRaw, UsePlain}, 8, true},
		{Grade2, []Use{UseJoin, UseReveal, UseGroup, UseFilter, UseAggregate, UseCompare, UseConsent, UseMap, UseMapRaw}, 4, true},
		{Grade3, []Use{UseJoin, UseGroup, UseFilter, UseAggregate, UseCompare, UseConsent, UseMap, UseMapRaw}, 2, false},
		{Grade4, []Use{UseJoin, UseGroup, UseFilter, UseAggregate, UseCompare, UseConsent, UseMap, UseMapRaw}, 2, false},
	} {
		got := widest.Within(c.grade)
		for _, u := range Uses {
			if got.Allows(u) != slices.Contains(c.uses, u) {
				t.Errorf("grade %d: %s is %v", c.grade, u, got.Allows(u))
			}
		}
		if got.Compares != c.compares || got.Structural != c.structural || got.MinSubjects != 20 || got.MaxShare != 40 {
			t.Errorf("grade %d: %+v", c.grade, got)
		}
	}
	for _, c := range []struct {
		grade Grade
		rule  ColumnRule
		want  int
	}{
		{Grade1, ColumnRule{Uses: []Use{UseGroup}}, 4},
		{Grade2, ColumnRule{Uses: []Use{UseGroup}}, 2},
		{Grade3, ColumnRule{Uses: []Use{UseGroup}}, 1},
		{Grade2, ColumnRule{Uses: []Use{UseGroup}, Compares: 1}, 1},
		{Grade2, ColumnRule{Uses: []Use{UseGroup}, Compares: 8}, 2},
		{Grade3, ColumnRule{Uses: []Use{UseGroup, UseCompare}}, 2},
		{Grade3, ColumnRule{Uses: []Use{UseGroup, UseCompare}, Compares: 1}, 1},
	} {
		if got := c.rule.Within(c.grade).Compares; got != c.want {
			t.Errorf("grade %d %+v: %d groupings", c.grade, c.rule, got)
		}
	}
	if r := (ColumnRule{Uses: []Use{UseReveal}}).Within(Grade3); !r.Allows(UseJoin) || r.Allows(UseReveal) {
		t.Error("a key that may not be revealed is joined hidden")
	}
	if r := (ColumnRule{Uses: []Use{UsePlain}}).Within(Grade1); !r.Structural {
		t.Error("the extremes of a plain column are hidden")
	}
}

// TestRuleText changes each field of a rule: those who decide on it must see the difference.
func TestRuleText(t *testing.T) {
	r := ColumnRule{Column: "c", Uses: []Use{UseAggregate, UseGroup}, Funcs: []MeasureFunc{Sum, Max}, Grantees: []PartyID{"op", "partner"}, MinSubjects: 20, MaxShare: 60, PPercent: 15, Prior: 40, MaxBits: 500,
		NoFilterOn: []string{"a.b", "a.c"}, Compares: 2, PerDay: 9, Structural: true,
		Noise: Noise{Kind: NoiseDP, Release: Privacy{1_500_000, 7}, Budget: Privacy{3_000_000, 70}, Bound: 900, Rows: 3, Cells: 2}}
	want := "aggregate, group (sum, max); for op, partner only; at least 20 people a cell; at most 60% of a cell with its largest; its largest is not told to 15%; all is known to 40% beforehand; at most 500 bits a result; never selected or weighed by a.b, a.c; " +
		"at most 2 groupings a question; at most 9 groupings a day; its extremes may leave; " +
		"leaves under differential privacy, ε 1.500000, δ 7·10⁻¹² a release, ε 3.000000, δ 70·10⁻¹² in all, a person's sum in a cell up to 900, 3 rows and 2 cells of a person"
	if got := r.Text(); got != want {
		t.Errorf("%s\n%s", got, want)
	}
	typ := reflect.TypeFor[ColumnRule]()
	for i := range typ.NumField() {
		x := r
		f := reflect.ValueOf(&x).Elem().Field(i)
		if typ.Field(i).Name == "Column" {
			continue
		}
		f.SetZero()
		if x.Text() == want {
			t.Errorf("%s is not said", typ.Field(i).Name)
		}
	}
	noise := reflect.TypeFor[Noise]()
	for i := range noise.NumField() {
		x := r
		reflect.ValueOf(&x.Noise).Elem().Field(i).SetZero()
		if x.Text() == want {
			t.Errorf("noise: %s is not said", noise.Field(i).Name)
		}
	}
	if got := (ColumnRule{}).Text(); got != "nothing" {
		t.Error(got)
	}
}
