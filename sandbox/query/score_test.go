package query

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

func scored(x Score) Spec {
	return Spec{Scenario: "s", Purpose: "p", Inputs: []Input{{Alias: "c", Dataset: "claims"}},
		Dimensions: []Dimension{{Score: &x, As: "band"}}, Measures: []Measure{{Func: sandbox.Subjects, As: "people"}}}
}

func points(v int64, in ...string) Points { return Points{In: in, Value: v} }

// TestScoreIsGrouping: each part of a score is a use of its column, counted and refused like a grouping by it.
func TestScoreIsGrouping(t *testing.T) {
	in, list := attacked()
	ok := Score{Parts: []Part{{"c.icd10", "chapter", []Points{points(10, "呼吸")}}, {"c.ward", "", []Points{points(5, "a", "b")}}}, Edges: []int64{5, 10}}
	d, reasons := Derive(scored(ok), in, list)
	if !d.Complete() || !slices.Equal(d.Inputs[0].Needed, []string{"icd10", "ward"}) {
		t.Fatalf("%+v, opens %v", reasons, d.Inputs[0].Needed)
	}
	if e := d.Explain(); e.Cost.Cells != 3 || e.Columns[0].Compares != 1 {
		t.Errorf("%d cells, %+v", e.Cost.Cells, e.Columns)
	}
	for name, c := range map[string]struct {
		change func(*Score)
		code   string
	}{
		"not a public column":  {func(x *Score) { x.Parts[0].Bin = "" }, "column.not-public"},
		"unknown bin":          {func(x *Score) { x.Parts[0].Bin = "exact" }, "bin.unknown"},
		"another column's bin": {func(x *Score) { x.Parts[0].Bin = "size" }, "bin.column"},
		"label of no bin":      {func(x *Score) { x.Parts[0].Points[0].In[0] = "J10" }, "score.label"},
		"subject":              {func(x *Score) { x.Parts[0] = Part{"c.person", "", []Points{points(1, "x")}} }, "column.subject"},
		"not listed so":        {func(x *Score) { x.Parts[0] = Part{"c.fund", "", []Points{points(1, "1.00")}} }, "column.use"},
		"two bins of a column": {func(x *Score) { x.Parts[1] = Part{"c.icd10", "letter", []Points{points(1, "A")}} }, "column.compares"},
	} {
		x := Score{Edges: ok.Edges}
		for _, p := range ok.Parts {
			x.Parts = append(x.Parts, Part{p.Column, p.Bin, []Points{points(p.Points[0].Value, slices.Clone(p.Points[0].In)...)}})
		}
		c.change(&x)
		_, reasons := Derive(scored(x), in, list)
		if !slices.ContainsFunc(reasons, func(r sandbox.Reason) bool { return r.Code == c.code && r.Change != "" }) {
			t.Errorf("%s: %+v, not %s", name, reasons, c.code)
		}
	}
	// fund may not be selected by ward: not through a score either.
	s := scored(Score{Parts: []Part{{"c.ward", "", []Points{points(1, "a")}}}, Edges: []int64{1}})
	s.Measures = []Measure{{Func: sandbox.Sum, Column: "c.fund", As: "fund"}}
	if _, reasons := Derive(s, in, list); len(reasons) != 1 || reasons[0].Code != "column.no-filter-on" {
		t.Errorf("%+v", reasons)
	}
}

func TestScoreForm(t *testing.T) {
	long := make([]string, MaxLabels+1)
	for i := range long {
		long[i] = string(rune('一' + i))
	}
	for name, x := range map[string]Score{
		"no part":           {Edges: []int64{1}},
		"no edge":           {Parts: []Part{{"c.ward", "", []Points{points(1, "a")}}}},
		"falling edges":     {Parts: []Part{{"c.ward", "", []Points{points(1, "a")}}}, Edges: []int64{2, 2}},
		"no points":         {Parts: []Part{{"c.ward", "", nil}}, Edges: []int64{1}},
		"label twice":       {Parts: []Part{{"c.ward", "", []Points{points(1, "a"), points(2, "a")}}}, Edges: []int64{1}},
		"too many labels":   {Parts: []Part{{"c.ward", "", []Points{points(1, long...)}}}, Edges: []int64{1}},
		"part twice":        {Parts: []Part{{"c.ward", "", []Points{points(1, "a")}}, {"c.ward", "", []Points{points(1, "b")}}}, Edges: []int64{1}},
		"points too large":  {Parts: []Part{{"c.ward", "", []Points{points(maxPoints+1, "a")}}}, Edges: []int64{1}},
		"scale":             {Parts: []Part{{"c.ward", "", []Points{points(1, "a")}}}, Edges: []int64{1}, Scale: 10},
		"column of nothing": {Parts: []Part{{"x.ward", "", []Points{points(1, "a")}}}, Edges: []int64{1}},
	} {
		if err := scored(x).Validate(); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := scored(Score{Parts: []Part{{"c.ward", "", []Points{points(1, "a")}}}, Edges: []int64{1}})
	s.Dimensions[0].Column = "c.ward"
	if s.Validate() == nil {
		t.Error("a column beside a score")
	}
	s = scored(Score{Parts: []Part{{"c.ward", "", []Points{points(1, "a")}}}, Edges: []int64{1}})
	s.Dimensions = append(s.Dimensions, s.Dimensions[0])
	s.Dimensions[1].As = "again"
	if s.Validate() == nil {
		t.Error("the same score twice")
	}
}

func TestScoreCanonical(t *testing.T) {
	a := scored(Score{Parts: []Part{{"c.ward", "", []Points{points(1, "b", "a"), points(0, "z")}}, {"c.icd10", "chapter", []Points{points(2, "呼吸"), points(1, "other")}}}, Edges: []int64{1}})
	b := scored(Score{Parts: []Part{{"x.icd10", "chapter", []Points{points(1, "other"), points(2, "呼吸")}}, {"x.ward", "", []Points{points(1, "a"), points(1, "b")}}}, Edges: []int64{1}})
	b.Inputs[0].Alias = "x"
	if !bytes.Equal(a.Canonical(), b.Canonical()) {
		t.Errorf("%s\n%s", a.Canonical(), b.Canonical())
	}
	again, err := Decode(a.Canonical())
	if err != nil || !bytes.Equal(again.Canonical(), a.Canonical()) {
		t.Error(err)
	}
	b.Dimensions[0].Score.Edges = []int64{2}
	if bytes.Equal(a.Canonical(), b.Canonical()) {
		t.Error("another edge is another question")
	}
}

func TestBands(t *testing.T) {
	x := Score{Edges: []int64{-150, 0, 25}, Scale: 2}
	if got := strings.Join(x.Bands(), " "); got != "<-1.50 -1.50-0.00 0.00-0.25 ≥0.25" {
		t.Error(got)
	}
	for sum, band := range map[int64]int{-151: 0, -150: 1, -1: 1, 0: 2, 24: 2, 25: 3, 99: 3} {
		if x.Band(sum) != band {
			t.Error(sum, x.Band(sum))
		}
	}
}
