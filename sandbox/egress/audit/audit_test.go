package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox/sandboxtest"
	"pgregory.net/rapid"
)

// cross gives the labels of every cell of a cross table.
func cross(sides ...int) (labels [][]string) {
	labels = [][]string{{}}
	for _, n := range sides {
		var next [][]string
		for _, l := range labels {
			for i := range n {
				next = append(next, append(slices.Clone(l), fmt.Sprintf("%03d", i)))
			}
		}
		labels = next
	}
	return labels
}

// large is a table of amounts with some primary cells, each of one contributor.
func large(seed uint64, primary int, sides ...int) Table {
	rnd := rand.New(rand.NewPCG(seed, 1))
	labels := cross(sides...)
	n := len(labels)
	t := Table{Cells: make([]Cell, n), Equations: Margins(labels), Layers: []Layer{{Name: "amount", Values: make([]int64, n), Needs: make([]Need, n), NonNegative: true}}}
	l := &t.Layers[0]
	for i := range n {
		l.Values[i] = int64(rnd.IntN(1000))
		t.Cells[i].Cost = l.Values[i]
	}
	for _, i := range rnd.Perm(n)[:primary] {
		v := int64(1 + rnd.IntN(50))
		l.Values[i] = v
		t.Cells[i] = Cell{Status: Primary, Cost: v}
		l.Needs[i] = Need{Up: v/5 + 1, Down: v/5 + 1}
		t.Views = append(t.Views, View{{Cell: i, Sole: true}})
	}
	return t
}

// tiny draws a table small enough to be enumerated: of one, two or three dimensions, some with a hierarchy, with zeros, negative values
// or bounds, contributors who know their part, and totals that are cells or known beside the table.
func tiny(t *rapid.T, wide bool) Table {
	shapes := [][]int{{3}, {5}, {2, 2}, {2, 3}, {3, 3}, {2, 2, 2}, {4, 2}}
	if wide {
		shapes = append(shapes, []int{4, 4}, []int{3, 2, 2}, []int{3, 3, 2})
	}
	sides := rapid.SampledFrom(shapes).Draw(t, "sides")
	labels := cross(sides...)
	var levels [][]Level
	if sides[0] >= 3 && rapid.Bool().Draw(t, "hierarchy") {
		levels = [][]Level{{{"000": "g0", "001": "g0", "002": "g1", "003": "g1", "004": "g1"}}}
	}
	n := len(labels)
	out := Table{Cells: make([]Cell, n), Equations: Margins(labels, levels...)}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "weighted sums") {
		var q Equation // that somebody published besides
		for i := range n {
			if times := rapid.SampledFrom([]int64{0, 0, 1, 2, 3, -1}).Draw(t, "times"); times != 0 {
				q.Terms = append(q.Terms, Term{i, times})
			}
		}
		if len(q.Terms) > 0 {
			out.Equations = append(out.Equations, q)
		}
	}
	layers := rapid.IntRange(1, 2).Draw(t, "layers")
	for k := range layers {
		l := Layer{Name: fmt.Sprint("layer ", k), Values: make([]int64, n), Needs: make([]Need, n), NonNegative: true}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			l.NonNegative = false
			l.Bounds = make([]Bound, n)
			for i := range n {
				l.Bounds[i] = Bound{-4, 5}
			}
		case 1:
			l.Bounds = make([]Bound, n)
			for i := range n {
				l.Bounds[i] = Bound{0, 6}
			}
		}
		for i := range n {
			l.Values[i] = int64(rapid.SampledFrom([]int{0, 0, 1, 2, 3, 5}).Draw(t, "value"))
			if !l.NonNegative && rapid.Bool().Draw(t, "negative") {
				l.Values[i] = -min(l.Values[i], 4)
			}
		}
		out.Layers = append(out.Layers, l)
	}
	if n <= 6 && len(out.Equations) == len(Margins(labels, levels...)) && rapid.Bool().Draw(t, "safe") {
		values := out.Layers[0].Values
		out.Safe = func(cells []int) bool {
			sum := int64(0)
			for _, c := range cells {
				sum += values[c]
			}
			return sum >= 3
		}
	}
	for i := range n {
		out.Cells[i].Cost = int64(rapid.IntRange(0, 9).Draw(t, "cost"))
		if rapid.IntRange(0, 9).Draw(t, "primary") > 2 {
			continue
		}
		out.Cells[i].Status = Primary
		for k := range out.Layers {
			out.Layers[k].Needs[i] = rapid.SampledFrom([]Need{{}, {Up: 1, Down: 1}, {Up: 2}, {Down: 1}, {Width: 2}, {Up: 1, Width: 3}}).Draw(t, "need")
		}
		if rapid.Bool().Draw(t, "sole") {
			k := Knowledge{Cell: i, Sole: rapid.Bool().Draw(t, "alone"), Own: make([]int64, layers)}
			for l := range k.Own {
				k.Own[l] = rapid.Int64Range(0, max(0, out.Layers[l].Values[i])).Draw(t, "own")
			}
			out.Views = append(out.Views, View{k})
		}
	}
	return out
}

// oracle enumerates every table of whole numbers that agrees with what is published, by its own reading of the equations.
type oracle struct {
	t      *Table
	hidden []int
	layer  int
	lower  []int64
	upper  []int64
	x      []int64
	lo, up []int64
	found  int
}

func enumerate(t *Table, hidden []bool, layer, view int) *oracle {
	o := &oracle{t: t, layer: layer, x: slices.Clone(t.Layers[layer].Values)}
	l := &t.Layers[layer]
	most := int64(0)
	for i, h := range hidden {
		if h {
			o.hidden = append(o.hidden, i)
			most += max(l.Values[i], 0)
		}
	}
	for _, i := range o.hidden {
		lo, up := int64(0), most+1 // no total leaves room for more
		if t.Safe != nil {
			up = l.Values[i] + 4 // more than any need: some totals may not be known
		}
		if l.Bounds != nil {
			lo, up = l.Bounds[i].Lower, min(l.Bounds[i].Upper, up+20)
		} else if !l.NonNegative {
			panic("open layers are not enumerated")
		}
		if view >= 0 {
			for _, k := range t.Views[view] {
				if k.Cell == i && k.Sole {
					lo, up = l.Values[i], l.Values[i]
				} else if k.Cell == i && l.NonNegative {
					lo = max(lo, k.Own[layer])
				}
			}
		}
		o.lower, o.upper = append(o.lower, lo), append(o.upper, up)
		o.lo, o.up = append(o.lo, 1<<40), append(o.up, -1<<40)
	}
	o.next(0)
	return o
}

func (o *oracle) next(at int) {
	if at == len(o.hidden) {
		o.found++
		for k, i := range o.hidden {
			o.lo[k], o.up[k] = min(o.lo[k], o.x[i]), max(o.up[k], o.x[i])
		}
		return
	}
	for v := o.lower[at]; v <= o.upper[at]; v++ {
		o.x[o.hidden[at]] = v
		if o.fits(at) {
			o.next(at + 1)
		}
	}
	o.x[o.hidden[at]] = 0
}

// fits holds each equation against what the cells not yet tried can still come to.
func (o *oracle) fits(at int) bool {
	for _, q := range o.t.Equations {
		if o.silent(q) {
			continue
		}
		var sum, want, low, high int64
		for _, x := range q.Terms {
			want += x.Times * o.t.Layers[o.layer].Values[x.Cell]
			k := slices.Index(o.hidden, x.Cell)
			if k <= at {
				sum += x.Times * o.x[x.Cell]
				continue
			}
			a, b := x.Times*o.lower[k], x.Times*o.upper[k]
			low, high = low+min(a, b), high+max(a, b)
		}
		if sum+low > want || sum+high < want {
			return false
		}
	}
	return true
}

// silent says whether a margin that is hidden whole is unsafe itself, so that its total is never published.
func (o *oracle) silent(q Equation) bool {
	var cells []int
	for _, x := range q.Terms {
		if x.Times != q.Terms[0].Times || !slices.Contains(o.hidden, x.Cell) {
			return false
		}
		cells = append(cells, x.Cell)
	}
	return q.Right == nil && o.t.Safe != nil && !o.t.Safe(cells)
}

// gives says which margin's hidden cells are unsafe together, −1: none.
func gives(table *Table, hidden []bool) int {
	for e, q := range table.Equations {
		var cells []int
		mixed := false
		for _, x := range q.Terms {
			if hidden[x.Cell] {
				mixed = mixed || len(cells) > 0 && x.Times != table.times(e, cells[0])
				cells = append(cells, x.Cell)
			}
		}
		if table.Safe != nil && !mixed && len(cells) > 0 && len(cells) < len(q.Terms) && !table.Safe(cells) {
			return e
		}
	}
	return -1
}

func (t *Table) times(e, cell int) int64 {
	for _, x := range t.Equations[e].Terms {
		if x.Cell == cell {
			return x.Times
		}
	}
	return 0
}

func hiddenOf(r *Report) []bool {
	h := make([]bool, len(r.Status))
	for i, s := range r.Status {
		h[i] = s != Published
	}
	return h
}

// Whole intervals are those of an enumeration: exactly in a network, and no narrower in other tables, where fractions count; those proven for a
// width are no wider than an enumeration's.
func TestIntervalsAreThoseOfAnEnumeration(t *testing.T) {
	networks, others, checked := 0, 0, 0
	sandboxtest.Until(t, func() bool { return networks > 0 && others > 0 }, func(t *rapid.T) {
		table := tiny(t, false)
		table.Views, table.Safe = nil, nil
		for i := range table.Cells {
			if table.Cells[i].Status == Published && rapid.IntRange(0, 2).Draw(t, "secondary") == 0 {
				table.Cells[i].Status = Secondary
			}
			if table.Cells[i].Status == Primary {
				for k := range table.Layers {
					table.Layers[k].Needs[i] = Need{Up: 2, Down: 2, Width: 3}
				}
			}
		}
		whole, err := Protect(table, Options{Keep: true, Whole: true})
		if err != nil {
			t.Fatal(err)
		}
		proven, err := Protect(table, Options{Keep: true})
		if err != nil {
			t.Fatal(err)
		}
		a := newAuditor(&table)
		a.open(hiddenOf(whole))
		for layer := range table.Layers {
			o := enumerate(&table, hiddenOf(whole), layer, -1)
			if o.found == 0 {
				t.Fatal("the truth is not enumerated")
			}
			for n, x := range whole.Intervals {
				if x.Layer != table.Layers[layer].Name {
					continue
				}
				k := slices.Index(o.hidden, x.Cell)
				checked++
				if a.flow != nil {
					networks++
					if x.Lower != o.lo[k] || x.Upper != o.up[k] {
						t.Fatalf("cell %d: interval [%d, %d], enumerated [%d, %d]", x.Cell, x.Lower, x.Upper, o.lo[k], o.up[k])
					}
				} else {
					others++
					if x.Lower > o.lo[k] || x.Upper < o.up[k] {
						t.Fatalf("cell %d: interval [%d, %d] is narrower than enumerated [%d, %d]", x.Cell, x.Lower, x.Upper, o.lo[k], o.up[k])
					}
				}
				if p := proven.Intervals[n]; p.Lower < o.lo[k] || p.Upper > o.up[k] {
					t.Fatalf("cell %d: proven [%d, %d], enumerated [%d, %d]", x.Cell, p.Lower, p.Upper, o.lo[k], o.up[k])
				}
			}
		}
	})
}

// wideEnough holds a pattern against the needs by enumeration, in the view of everybody and of each contributor.
func wideEnough(table *Table, hidden []bool) string {
	if e := gives(table, hidden); e >= 0 {
		return fmt.Sprintf("equation %d: what is hidden of it is unsafe together", e)
	}
	for layer := range table.Layers {
		l := &table.Layers[layer]
		for view := -1; view < len(table.Views); view++ {
			var o *oracle
			for i, c := range table.Cells {
				n := l.Needs[i]
				if c.Status != Primary || n == (Need{}) {
					continue
				}
				if o == nil {
					o = enumerate(table, hidden, layer, view)
				}
				b, x := l.bound(i), l.Values[i]
				if view >= 0 {
					for _, k := range table.Views[view] {
						if k.Cell == i && k.Sole {
							b = Bound{x, x}
						} else if k.Cell == i && l.NonNegative {
							b.Lower = max(b.Lower, k.Own[layer])
						}
					}
				}
				at := slices.Index(o.hidden, i)
				up, down := min(n.Up, b.Upper-x), min(n.Down, x-b.Lower)
				width := min(n.Width, b.Upper-b.Lower)
				if o.up[at] < x+up || o.lo[at] > x-down || o.up[at]-o.lo[at] < width {
					return fmt.Sprintf("layer %d, view %d, cell %d: [%d, %d] around %d, needs %v", layer, view, i, o.lo[at], o.up[at], x, n)
				}
			}
		}
	}
	return ""
}

func TestProtectedCellsAreWideEnough(t *testing.T) {
	protected, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		table := tiny(t, false)
		r, err := Protect(table, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Refusal != nil {
			// Only if not even hiding everything is enough.
			all := make([]bool, len(table.Cells))
			for i := range all {
				all[i] = true
			}
			if a := newAuditor(&table); wideEnough(&table, all) == "" {
				a.open(all)
				if a.flow != nil && (table.Safe == nil || r.Refusal.Rule != RuleTotals) { // sums of two from several margins are not tried here
					t.Fatalf("refused (%s) although hiding everything is safe", r.Refusal.Rule)
				}
			}
			refused++
			return
		}
		for i, s := range r.Status {
			if (table.Cells[i].Status == Primary) != (s == Primary) {
				t.Fatalf("cell %d changed its status to %s", i, s)
			}
		}
		if fault := wideEnough(&table, hiddenOf(r)); fault != "" {
			t.Fatal(fault)
		}
		if r.Smallest() < 1000 {
			t.Fatalf("smallest interval ÷ required is %d ‰", r.Smallest())
		}
		if r.Bound > r.Cost || r.Optimal && r.Bound != r.Cost {
			t.Fatalf("cost %d, bound %d, optimal %v", r.Cost, r.Bound, r.Optimal)
		}
		protected++
	})
	t.Logf("%d protected, %d refused", protected, refused)
}

// The cheapest pattern is the cheapest of all patterns, each tried.
func TestCheapestIsTheCheapest(t *testing.T) {
	proven, bounded := 0, 0
	sandboxtest.Until(t, func() bool { return proven >= bounded }, func(t *rapid.T) {
		table := tiny(t, false)
		if len(table.Cells) > 8 {
			return // too many patterns to try each; what is proven is counted below
		}
		if len(table.Cells) > 5 {
			table.Safe = nil
		}
		r, err := Protect(table, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var free []int
		for i, c := range table.Cells {
			if c.Status != Primary {
				free = append(free, i)
			}
		}
		best := int64(-1)
		for mask := range 1 << len(free) {
			hidden := make([]bool, len(table.Cells))
			cost := int64(0)
			for i, c := range table.Cells {
				hidden[i] = c.Status == Primary
			}
			for b, i := range free {
				if mask>>b&1 == 1 {
					hidden[i] = true
					cost += table.Cells[i].Cost
				}
			}
			if (best < 0 || cost < best) && wideEnough(&table, hidden) == "" {
				best = cost
			}
		}
		switch {
		case table.Safe != nil && r.Refusal == nil && r.Cost >= best: // sums of two that follow from several margins are not tried here
		case best < 0 && r.Refusal == nil:
			t.Fatal("a table that cannot be protected is certified")
		case r.Refusal != nil:
		case r.Cost < best || r.Bound > best:
			t.Fatalf("cost %d, bound %d, cheapest %d", r.Cost, r.Bound, best)
		case r.Optimal:
			proven++
			if r.Cost != best {
				t.Fatalf("cost %d is called the least, cheapest is %d", r.Cost, best)
			}
		default:
			bounded++
		}
	})
	t.Logf("%d proven the cheapest, %d with a bound", proven, bounded)
}

// Both engines give the same interval of the same cell, in larger tables than can be enumerated.
func TestNetworkAndSimplexAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := large(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 8).Draw(t, "primary"), rapid.IntRange(2, 7).Draw(t, "rows"), rapid.IntRange(4, 7).Draw(t, "columns"))
		hidden := make([]bool, len(table.Cells))
		for i, c := range table.Cells {
			hidden[i] = c.Status == Primary
		}
		a := newAuditor(&table)
		a.open(hidden)
		if a.flow == nil {
			t.Fatal("a two-way table is no network")
		}
		lp, err := newTableau(a.s, &a.work, a.limit)
		if err != nil {
			t.Fatal(err)
		}
		for u := range a.s.cells {
			for _, dir := range []int64{1, -1} {
				_, byFlow := a.flow.farthest(u, dir, Far, a.rooms[0], &a.work)
				m, bySimplex, top, err := lp.farthest(u, dir, Far, a.rooms[0], &a.work, a.limit)
				if err != nil || byFlow != bySimplex || byFlow != top || !a.s.holds(m, a.rooms[0]) {
					t.Fatalf("unknown %d, direction %d: flow %d, simplex %d (%d), %v", u, dir, byFlow, bySimplex, top, err)
				}
			}
		}
	})
}

// A hierarchy in one dimension of two keeps a table a network; lines that are hidden whole and whose total is not published do too.
func TestTwoWayTablesAreNetworks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		labels := cross(4, rapid.IntRange(2, 4).Draw(t, "columns"))
		levels := [][]Level{{{"000": "a", "001": "a", "002": "b", "003": "b"}}}
		table := Table{Cells: make([]Cell, len(labels)), Equations: Margins(labels, levels...), Layers: []Layer{{Name: "x", Values: make([]int64, len(labels)), Needs: make([]Need, len(labels)), NonNegative: true}}}
		hidden := make([]bool, len(labels))
		for i := range hidden {
			hidden[i] = rapid.Bool().Draw(t, "hidden")
		}
		a := newAuditor(&table)
		a.open(hidden)
		if a.flow == nil {
			t.Fatalf("no network: %v of %v", a.s.rows, a.s.cells)
		}
	})
}
