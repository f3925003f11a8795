package audit

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// row is one line of cells and its total as a cell.
func row(values ...int64) Table {
	t := Table{Layers: []Layer{{Name: "people", NonNegative: true}}}
	var q Equation
	sum := int64(0)
	for i, v := range append(values, 0) {
		if i == len(values) {
			v = sum
			q.Terms = append(q.Terms, Term{i, -1})
		} else {
			q.Terms = append(q.Terms, Term{i, 1})
		}
		sum += v
		t.Cells = append(t.Cells, Cell{Cost: v})
		t.Layers[0].Values, t.Layers[0].Needs = append(t.Layers[0].Values, v), append(t.Layers[0].Needs, Need{})
	}
	q.Right = []int64{0}
	t.Equations = []Equation{q}
	return t
}

func TestBadTablesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*Table)
	}{
		{"total", "inconsistent margins", func(t *Table) { t.Layers[0].Values[3]++ }},
		{"negative", "layer people, cell 1: invalid: a negative value", func(t *Table) { t.Layers[0].Values[1] = -1 }},
		{"duplicate", "cell 2: invalid: duplicate cell", func(t *Table) { t.Cells[1].Key, t.Cells[2].Key = "a", "a" }},
		{"huge", "values are within", func(t *Table) { t.Layers[0].Values[1] = math.MaxInt64 }},
		{"least", "values are within", func(t *Table) { t.Layers[0].NonNegative = false; t.Layers[0].Values[1] = math.MinInt64 }},
		{"no layer", "has a layer", func(t *Table) { t.Layers = nil }},
		{"short", "a value, a need and bounds per cell", func(t *Table) { t.Layers[0].Needs = nil }},
		{"status", "unknown status", func(t *Table) { t.Cells[0].Status = 7 }},
		{"fixed", "not suppressed", func(t *Table) { t.Cells[0].Fixed, t.Cells[0].Status = true, Secondary }},
		{"cost", "a cost", func(t *Table) { t.Cells[0].Cost = -1 }},
		{"twice", "each once", func(t *Table) { t.Equations[0].Terms[1].Cell = 0 }},
		{"nowhere", "cells of the table", func(t *Table) { t.Equations[0].Terms[1].Cell = 9 }},
		{"multiplier", "whole number up to", func(t *Table) { t.Equations[0].Terms[1].Times = 1 << 40 }},
		{"view", "view 0", func(t *Table) { t.Views = []View{{{Cell: -1}}} }},
		{"part", "one value per layer", func(t *Table) { t.Views = []View{{{Cell: 0}}} }},
		{"bounds", "within its bounds", func(t *Table) { t.Layers[0].Bounds = make([]Bound, 4) }},
		{"need", "a need is", func(t *Table) { t.Layers[0].Needs[0].Up = -1 }},
	} {
		x := row(3, 20, 30)
		c.change(&x)
		_, err := Protect(x, Options{})
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), 0.001, 1 << 60} {
		if _, err := Scaled(x, 2); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%v is taken for a number of two places", x)
		}
	}
	if n, err := Scaled(-12.34, 2); err != nil || n != -1234 {
		t.Error(n, err)
	}
}

// What an audit does not finish, or no pattern achieves, is refused and certifies nothing.
func TestRefusals(t *testing.T) {
	x := row(3, 20, 30)
	x.Cells[0].Status, x.Layers[0].Needs[0] = Primary, Need{Width: 10}
	r, err := Protect(x, Options{Work: 10})
	if err != nil || r.Refusal == nil || r.Refusal.Rule != RuleTooLarge || r.Refusal.Change != changeFewer {
		t.Errorf("%+v %v", r, err)
	}
	if r, err = Protect(x, Options{Keep: true}); err != nil || r.Refusal == nil || r.Refusal.Rule != RuleNarrow || r.Smallest() != 0 {
		t.Errorf("%+v %v", r, err)
	}
	if r, err = Protect(x, Options{}); err != nil || r.Refusal != nil || r.Cost != 20 || !r.Optimal || r.Smallest() < 1000 {
		t.Errorf("%+v %v", r, err)
	}
	for i := 1; i < 4; i++ {
		x.Cells[i].Fixed = true
	}
	if r, err = Protect(x, Options{}); err != nil || r.Refusal == nil || r.Refusal.Rule != RuleFixed {
		t.Errorf("%+v %v", r, err)
	}
	many := Table{Cells: make([]Cell, MaxCells+1), Layers: []Layer{{Values: make([]int64, MaxCells+1), Needs: make([]Need, MaxCells+1)}}}
	if r, err = Protect(many, Options{}); err != nil || r.Refusal == nil || r.Refusal.Rule != RuleTooLarge {
		t.Errorf("%+v %v", r, err)
	}
}

// Two tables with a cell in common protect it in both.
func TestLinkedTablesAreAuditedTogether(t *testing.T) {
	a, b := row(3, 20, 30), row(3, 40, 50, 25)
	a.Cells[0], b.Cells[0] = Cell{Key: "shared", Status: Primary}, Cell{Key: "shared"}
	a.Layers[0].Needs[0] = Need{Width: 10}
	alone, err := Protect(a, Options{})
	if err != nil || alone.Refusal != nil || len(alone.Added) != 1 {
		t.Fatal(alone, err)
	}
	x, err := Join(a, b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Protect(x, Options{})
	if err != nil || r.Refusal != nil || r.Cost != 20+25 || !r.Optimal {
		t.Errorf("%+v %v", r, err)
	}
	// In the first table alone hidden, the second gives it away.
	for i, s := range alone.Status {
		x.Cells[i].Status = s
	}
	if r, err := Protect(x, Options{Keep: true}); err != nil || r.Refusal == nil {
		t.Errorf("%+v %v", r, err)
	}
	b.Layers[0].Values[0], b.Layers[0].Values[4] = 4, 119
	if _, err := Join(a, b); err == nil || !strings.Contains(err.Error(), "inconsistent tables") {
		t.Error(err)
	}
	b = row(3, 40)
	b.Cells[0] = Cell{Key: "shared", Fixed: true}
	if x, err = Join(a, b); err != nil || x.Cells[0].Status != Published {
		t.Errorf("a cell published before is hidden: %v", err)
	}
}

// A singleton knows its own value: two cells hide each other from everybody, not from the one person in one of them.
func TestSingletonsKnowTheirOwn(t *testing.T) {
	x := row(1, 1, 30, 40)
	for i := range 2 {
		x.Cells[i].Status, x.Layers[0].Needs[i] = Primary, Need{Up: 1}
	}
	r, err := Protect(x, Options{})
	if err != nil || r.Refusal != nil || len(r.Added) != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	x.Views = []View{{{Cell: 0, Sole: true}}, {{Cell: 1, Sole: true}}}
	if r, err = Protect(x, Options{}); err != nil || r.Refusal != nil || r.Cost != 30 || !r.Optimal {
		t.Errorf("%+v %v", r, err)
	}
}

// Hidden cells that are known together must be safe together, in one margin or from several.
func TestSumsThatFollowAreSafe(t *testing.T) {
	// Two rows of three: x and y of row 0 are hidden with x and y of row 1; rows and columns give x0+y0, x0+x1, x0−y1.
	labels := cross(2, 3)
	x := Table{Cells: make([]Cell, 6), Equations: Margins(labels), Layers: []Layer{{Name: "n", Values: []int64{3, 12, 40, 12, 3, 40}, Needs: make([]Need, 6), NonNegative: true}}}
	for i := range x.Cells {
		x.Cells[i].Cost = x.Layers[0].Values[i]
	}
	x.Cells[0].Status, x.Cells[4].Status = Primary, Primary
	size := func(cells []int) (n int64) {
		for _, c := range cells {
			n += x.Layers[0].Values[c]
		}
		return n
	}
	x.Safe = func(cells []int) bool { return size(cells) >= 20 }
	r, err := Protect(x, Options{})
	if err != nil || r.Refusal != nil {
		t.Fatal(r, err)
	}
	for e, q := range x.Equations {
		var cells []int
		for _, y := range q.Terms {
			if r.Status[y.Cell] != Published {
				cells = append(cells, y.Cell)
			}
		}
		// The total of a margin that is hidden whole and unsafe is not published either.
		if len(cells) > 0 && len(cells) < len(q.Terms) && size(cells) < 20 {
			t.Errorf("equation %d gives away cells that are unsafe together", e)
		}
	}
	// A further equation that tells the two small ones together: 0 + 4.
	x.Equations = append(x.Equations, Equation{Terms: []Term{{0, 1}, {4, 1}, {2, 1}}}, Equation{Terms: []Term{{0, 1}, {1, 1}, {3, 1}, {4, 1}, {5, 2}}})
	if r, err = Protect(x, Options{}); err != nil {
		t.Fatal(err)
	}
	if r.Refusal == nil && r.Status[2] == Published {
		t.Error("two small cells whose sum follows are left")
	}
}

// The bounds that needs come from, by hand.
func TestNeeds(t *testing.T) {
	r := Rules{Threshold: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}
	for _, c := range []struct {
		parts     []int64
		otherwise bool
		want      int64
	}{
		{[]int64{900, 50, 30, 20}, false, 56}, // p%: 90 − 50; (2,90): ⌈950/0.9⌉ − 1000
		{[]int64{900, 40, 30}, false, 75},     // p%: 90 − 30 = 60; (2,90): ⌈940/0.9⌉ − 970
		{[]int64{-900, 40, 30}, false, 75},
		{[]int64{100, 100, 100}, false, 0},
		{[]int64{100, 100, 100}, true, 10},
		{[]int64{0, 0}, true, 1},
		{nil, true, 1},
	} {
		if n := r.Amount(Contributions(c.parts, 2), c.otherwise); n != (Need{Up: c.want, Down: c.want}) {
			t.Errorf("%v: %+v, want %d", c.parts, n, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.Int64()).Draw(t, "parts")
		a := Contributions(parts, 3)
		if n := r.Amount(a, true); n.Up < 1 || n.Up > Far || len(a.Tops) > 3 {
			t.Fatalf("%+v of %d parts", n, len(parts))
		}
	})
}

// No solver is believed: a move that breaks an equation, or a bound, proves nothing.
func TestMovesAreProven(t *testing.T) {
	x := row(3, 20, 30)
	a := newAuditor(&x)
	a.open([]bool{true, true, true, true})
	r := a.rooms[0]
	for _, c := range []struct {
		m    move
		want bool
	}{
		{move{{0, 5}, {1, -5}}, true},
		{move{{0, 5}, {3, 5}}, true},
		{move{{0, 5}, {1, -4}}, false},
		{move{{0, -4}, {1, 4}}, false},
		{move{{0, 1 << 61}, {3, 1 << 61}}, true},
	} {
		if got := a.s.holds(c.m, r); got != c.want {
			t.Errorf("%v: %v", c.m, got)
		}
	}
}
