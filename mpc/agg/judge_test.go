package agg

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// drawCrowd draws visits of many people, so that rules are met and broken: everybody alike, one who dominates, or drawn amounts.
func drawCrowd(t *rapid.T) *world {
	w := &world{data: map[sandbox.DatasetID]*dryrun.Data{}, s: Setting{Adversary: share.SemiHonest, Thresholds: Thresholds{MinSubjects: rapid.IntRange(3, 6).Draw(t, "k"),
		DominanceN: rapid.IntRange(1, 2).Draw(t, "n"), DominanceK: rapid.IntRange(30, 99).Draw(t, "share"), PPercent: rapid.IntRange(1, 100).Draw(t, "p"),
		Prior: rapid.SampledFrom([]int{0, 40, 100}).Draw(t, "q")}}}
	kind := rapid.IntRange(0, 5).Draw(t, "amounts")
	amount := func() any {
		switch kind {
		case 0:
			return int64(7)
		case 1:
			return int64(0)
		case 2:
			return rapid.Int64Range(-3, 3).Draw(t, "amount")
		case 3:
			return rapid.SampledFrom([]any{nil, int64(5), int64(5), int64(-5), int64(300)}).Draw(t, "amount")
		}
		return rapid.Int64Range(0, 40).Draw(t, "amount")
	}
	v := &dryrun.Data{Set: visitSet()}
	people := rapid.IntRange(2, 40).Draw(t, "people")
	labels := []any{"A", "J", nil}[:rapid.IntRange(1, 3).Draw(t, "kinds of label")]
	for n := range rapid.IntRange(people, people+10).Draw(t, "visits") {
		v.Subjects = append(v.Subjects, pseudonymOf(n%people))
		v.Rows = append(v.Rows, []any{nil, rapid.SampledFrom(labels).Draw(t, "icd"), nil, int64(0), amount(), rapid.Int64Range(-2, 3).Draw(t, "beds"),
			rapid.SampledFrom([]any{nil, int64(-4), int64(9), int64(10)}).Draw(t, "index"), rapid.SampledFrom([]any{true, false}).Draw(t, "night"), nil, nil})
	}
	w.data["visits"] = v
	w.s.Labels = map[string][]string{"visits.icd": {"A", "J"}, "visits.beds": {"-2", "-1", "0", "1", "2", "3"}}
	item := sandbox.ListItem{Dataset: "visits"}
	for _, c := range v.Set.Columns {
		item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Compares: sandbox.MaxCompares, Funcs: sandbox.MeasureFuncs,
			Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
	}
	w.list = append(w.list, item)
	w.deal("visits", 60, 0, 1)
	return w
}

// gate lists, by labels, the cells of a plain answer that the gate's primary rules let leave.
func (w *world) gate(t failing, a *sandbox.Answer) map[string]*sandbox.Cell {
	p := w.s.Thresholds
	params := egress.Params{MinSubjects: p.MinSubjects, DominanceN: p.DominanceN, DominanceK: p.DominanceK, PPercent: p.PPercent, Prior: p.Prior}
	out := map[string]*sandbox.Cell{}
	for i := range a.Cells {
		one := *a
		one.Cells = a.Cells[i : i+1]
		one.Shown = sandbox.Shown{}
		checked, err := egress.Check("q-1", &one, params)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(checked.Cells[0].Rules, func(r string) bool { return r != egress.RuleSecondary }) {
			out[fmt.Sprint(a.Cells[i].Labels)] = &a.Cells[i]
		}
	}
	return out
}

// TestRules: the cells that are shown are those that the gate's primary rules let leave, and nothing of the others opens.
func TestRules(t *testing.T) {
	shown, hidden := 0, map[string]bool{}
	sandboxtest.Until(t, func() bool { return shown >= 10 && len(hidden) >= 5 }, func(t *rapid.T) {
		w := drawCrowd(t)
		s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}}}
		if rapid.Bool().Draw(t, "grouped") {
			s.Dimensions = []query.Dimension{{Column: "v.icd", Bin: "list", As: "d"}}
		}
		for n := range rapid.IntRange(1, 2).Draw(t, "measures") {
			m := drawMeasure(t, []string{"v.cost", "v.beds", "v.index"}, []string{"v.icd list", "v.cost size", "v.beds"})
			m.As = fmt.Sprint("m", n)
			with := s
			if with.Measures = append(slices.Clone(s.Measures), m); with.Validate() == nil {
				s = with
			}
		}
		d := w.derive(t, s)
		a := w.plain(t, d)
		want := w.gate(t, a)
		cells, _ := w.run(t, d, false)
		for _, c := range cells {
			x, may := want[fmt.Sprint(c.Labels)]
			if c.Shown != may {
				t.Fatalf("cell %q is shown: %v, at the gate: %v", c.Labels, c.Shown, may)
			}
			if !may {
				hidden[string(s.Measures[0].Func)] = true
				if c.Values != nil || c.Listed {
					t.Fatalf("something opened of cell %q, which may not be shown", c.Labels)
				}
				continue
			}
			shown++
			for m := range a.Measures {
				if x.Missing(m) != (c.None != nil && c.None[m]) || !x.Missing(m) && x.Values[m] != c.Values[m] {
					t.Fatalf("cell %q, output %s differs", c.Labels, a.Measures[m].Name)
				}
			}
		}
	})
}

// TestLeftOut: a histogram that leaves out a few, whose label is missing, is not shown, whether people are counted by rows or not.
func TestLeftOut(t *testing.T) {
	for _, counted := range []bool{false, true} {
		for missing := range 5 {
			w, s := fixed()
			for i, row := range w.data["visits"].Rows {
				if row[1] = "J10.1"; i%2 == 0 {
					row[1] = "missing"
				}
				if i < missing {
					row[1] = nil
				}
			}
			w.deal("visits", 16, 0, 1)
			s.Measures = []query.Measure{{Func: sandbox.Histogram, Column: "v.icd", Bin: "list", As: "h"}, {Func: sandbox.Count, As: "n"}}
			if !counted {
				s.Measures = s.Measures[:1]
			}
			d := w.derive(t, s)
			cells, _ := w.run(t, d, false)
			if want := missing == 0 || missing >= 3; cells[0].Shown != want || len(w.gate(t, w.plain(t, d))) == 1 != want {
				t.Errorf("counted %v, %d left out: shown %v", counted, missing, cells[0].Shown)
			}
		}
	}
}

// TestTop: of the cells that may leave, those that the question's conditions select, in the order that the columnar engine's gate gives them.
func TestTop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawCrowd(t)
		w.s.Thresholds.DominanceK, w.s.Thresholds.PPercent = 99, 1
		s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}}, Dimensions: []query.Dimension{{Column: "v.beds", As: "d"}, {Column: "v.night", As: "e"}},
			Measures: []query.Measure{{Func: sandbox.Mean, Column: "v.beds", As: "mean"}, {Func: sandbox.Count, As: "n"}, {Func: sandbox.Subjects, As: "who"}, {Func: sandbox.Sum, Column: "v.cost", As: "cost"}}}
		s.Measures = s.Measures[1+rapid.IntRange(-1, 0).Draw(t, "with a mean"):]
		if rapid.Bool().Draw(t, "having") {
			s.Having = []query.Having{{Measure: "who", AtLeast: rapid.Int64Range(1, 6).Draw(t, "at least")}}
		}
		if rapid.Bool().Draw(t, "top") {
			s.Top = &query.Top{By: rapid.SampledFrom([]string{"n", "who", "cost"}).Draw(t, "by"), K: rapid.IntRange(1, 4).Draw(t, "first")}
		}
		d := w.derive(t, s)
		a := w.plain(t, d)
		var want []string
		var left []*sandbox.Cell
		for i := range a.Cells { // they stand in the order of their labels
			if c := w.gate(t, a)[fmt.Sprint(a.Cells[i].Labels)]; c != nil {
				left = append(left, c)
			}
		}
		at := func(name string) int {
			return slices.IndexFunc(a.Measures, func(m sandbox.Measure) bool { return m.Name == name })
		}
		for _, h := range s.Having {
			left = slices.DeleteFunc(left, func(c *sandbox.Cell) bool { return c.Values[at(h.Measure)] < h.AtLeast })
		}
		if s.Top != nil {
			slices.SortStableFunc(left, func(x, y *sandbox.Cell) int { return int(y.Values[at(s.Top.By)] - x.Values[at(s.Top.By)]) })
			left = left[:min(s.Top.K, len(left))]
		}
		for _, c := range left {
			want = append(want, fmt.Sprint(c.Labels))
		}
		cells, _ := w.run(t, d, false)
		var got []string
		for _, c := range cells {
			if c.Listed {
				got = append(got, fmt.Sprint(c.Labels))
			} else if c.Values != nil {
				t.Fatalf("something opened of cell %q, which is not listed", c.Labels)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("listed %q, want %q", got, want)
		}
	})
}
