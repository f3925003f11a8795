package query

import (
	"bytes"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// noised adds noise rules to the list of the tests, by dataset.column.
func noised(add map[string]sandbox.Noise) []sandbox.ListItem {
	list := rules()
	for i := range list {
		for j := range list[i].Columns {
			list[i].Columns[j].Noise = add[string(list[i].Dataset)+"."+list[i].Columns[j].Column]
		}
	}
	return list
}

func TestNoiseRules(t *testing.T) {
	dp := sandbox.Noise{Kind: sandbox.NoiseDP, Release: sandbox.Privacy{Epsilon: 1_000_000, Delta: 1000}}
	bounded, tight := dp, dp
	bounded.Bound = 500
	tight.Release.Epsilon = 1000
	counts := []Measure{{As: "n", Func: sandbox.Count}, {As: "p", Func: sandbox.Subjects}}
	sum := append(slices.Clone(counts), Measure{As: "s", Func: sandbox.Sum, Column: "c.amount"})
	mean := append(slices.Clone(counts), Measure{As: "m", Func: sandbox.Mean, Column: "c.amount"})
	for _, c := range []struct {
		name     string
		rules    map[string]sandbox.Noise
		measures []Measure
		kind     sandbox.NoiseKind
		code     string
	}{
		{"nobody asks", nil, mean, "", ""},
		{"rounded counts", map[string]sandbox.Noise{"persons.sex": {Kind: sandbox.NoiseRounded}}, counts, sandbox.NoiseRounded, ""},
		{"the strictest of two", map[string]sandbox.Noise{"persons.sex": {Kind: sandbox.NoiseRounded}, "claims.person_id": {Kind: sandbox.NoisePerturbed}}, counts, sandbox.NoisePerturbed, ""},
		{"a sum beside rounded counts", map[string]sandbox.Noise{"persons.sex": {Kind: sandbox.NoiseRounded}}, sum, sandbox.NoiseRounded, "noise.func"},
		{"a mean beside perturbed counts", map[string]sandbox.Noise{"persons.sex": {Kind: sandbox.NoisePerturbed}}, mean, sandbox.NoisePerturbed, "noise.func"},
		{"counts under dp", map[string]sandbox.Noise{"claims.person_id": dp}, counts, sandbox.NoiseDP, ""},
		{"a sum without its bound", map[string]sandbox.Noise{"claims.person_id": dp}, sum, sandbox.NoiseDP, "noise.bound"},
		{"a bounded sum", map[string]sandbox.Noise{"claims.person_id": tight, "claims.amount": bounded}, sum, sandbox.NoiseDP, ""},
		{"a mean under dp", map[string]sandbox.Noise{"claims.amount": bounded}, mean, sandbox.NoiseDP, "noise.func"},
	} {
		s := good()
		s.Measures, s.Having, s.Top = c.measures, nil, nil
		s.Inputs = slices.Clone(s.Inputs)
		for i := range s.Measures {
			if s.Measures[i].Column != "" {
				s.Measures[i].Column = s.Inputs[0].Alias + ".amount"
			}
		}
		d, reasons := Derive(s, data(), noised(c.rules))
		code := ""
		if len(reasons) > 0 {
			code = reasons[0].Code
		}
		if d.Noise.Kind != c.kind || code != c.code || len(reasons) > 1 || d.Complete() != (c.code == "") {
			t.Errorf("%s: %s, %+v", c.name, d.Noise.Kind, reasons)
		}
		for _, r := range reasons {
			if r.Change == "" || r.Article == "" {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
		if c.name == "a bounded sum" && (d.NoiseBound(s.Measures[2]) != 500 || d.NoiseBound(s.Measures[0]) != 1 || d.Noise.Release.Epsilon != 1000 || d.Noise.Bound != 0) {
			t.Errorf("%+v, bound %d", d.Noise, d.NoiseBound(s.Measures[2]))
		}
	}
}

// TestSame: what a question draws noise for does not follow its form, and follows all that changes its rows, groups or measures.
func TestSame(t *testing.T) {
	base := good()
	versions := make([]uint64, len(base.Inputs))
	for i := range versions {
		versions[i] = 7
	}
	want := base.Same(versions)
	if len(want.Measures) != len(base.Measures) || len(want.Order) != len(base.Dimensions) {
		t.Fatalf("%d measures, %d labels", len(want.Measures), len(want.Order))
	}
	again := good()
	again.Scenario, again.Purpose, again.Having, again.Top = "s-other", "other", nil, &Top{By: "x", K: 3}
	slices.Reverse(again.Measures)
	slices.Reverse(again.Filters)
	slices.Reverse(again.Dimensions)
	for i := range again.Measures {
		again.Measures[i].As += "'"
	}
	for i := range again.Dimensions {
		again.Dimensions[i].As += "'"
	}
	for i := range again.Inputs {
		again.Inputs[i].Version = 7
	}
	got := again.Same(versions)
	if !bytes.Equal(got.Table, want.Table) {
		t.Errorf("%s\n%s", got.Table, want.Table)
	}
	for i := range want.Measures {
		if !bytes.Equal(got.Measures[len(want.Measures)-1-i], want.Measures[i]) {
			t.Errorf("measure %d", i)
		}
	}
	for k := range want.Order {
		if again.Dimensions[got.Order[k]].Column != base.Dimensions[want.Order[k]].Column {
			t.Errorf("label %d", k)
		}
	}
	for name, change := range map[string]func(*Spec, []uint64){
		"another version":  func(_ *Spec, v []uint64) { v[0] = 8 },
		"another filter":   func(s *Spec, _ []uint64) { s.Filters = s.Filters[1:] },
		"another grouping": func(s *Spec, _ []uint64) { s.Dimensions = s.Dimensions[1:] },
	} {
		s, v := good(), slices.Clone(versions)
		change(&s, v)
		if x := s.Same(v); bytes.Equal(x.Table, want.Table) || bytes.Equal(x.Measures[0], want.Measures[0]) {
			t.Errorf("%s is the same", name)
		}
	}
	seen := map[string]bool{string(want.Table): true}
	for _, m := range want.Measures {
		if seen[string(m)] {
			t.Error("two measures are the same")
		}
		seen[string(m)] = true
	}
}
