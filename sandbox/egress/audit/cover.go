package audit

import (
	"cmp"
	"errors"
	"slices"
)

// Options (审计选项) of a run; the zero value audits, hides more where needed, and looks for a cheapest pattern as far as Search allows.
type Options struct {
	Keep   bool // only audit the pattern given: nothing is hidden or shown again
	Whole  bool // find the whole interval of every primary cell, instead of as much of it as it must have
	Search int  // cells up to which a cheapest pattern is looked for; 0: 64; −1: never

	Work int64 // steps after which a table is too large to certify; 0: a thousand million
}

// Protect audits a table's pattern and hides more cells until it is safe (二次抑制): in the view of everybody and of each contributor in
// Views, every primary cell's feasible interval is as wide as needed in every layer, and whatever hidden cells are known
// together passes Safe. An error is a table that is none; a refusal is a pattern that cannot be certified.
func Protect(t Table, o Options) (*Report, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	p := &protector{t: &t, o: o, a: newAuditor(&t), r: &Report{Status: make([]Status, len(t.Cells))}, hidden: make([]bool, len(t.Cells))}
	if o.Work > 0 {
		p.a.limit = o.Work
	}
	for i, c := range t.Cells {
		p.r.Status[i], p.hidden[i] = c.Status, c.Status != Published
	}
	if len(t.Cells) > MaxCells {
		p.r.Refusal = &Refusal{RuleTooLarge, changeFewer}
		return p.r, nil
	}
	err := p.run()
	p.r.Solved, p.r.Reused = p.a.solved, p.a.reused
	var refused *refusedError
	switch {
	case errors.Is(err, errWork):
		p.r.Refusal = &Refusal{RuleTooLarge, changeFewer}
	case errors.As(err, &refused):
		p.r.Refusal = &refused.Refusal
	case err != nil:
		return nil, err
	}
	return p.r, nil
}

// refusedError carries a refusal up to Protect.
type refusedError struct{ Refusal }

func (e *refusedError) Error() string { return e.Rule }

// protector hides cells of one table.
type protector struct {
	t      *Table
	o      Options
	a      *auditor
	r      *Report
	hidden []bool
	added  []int

	whole *system // of all cells that may be hidden, where it is a network
	graph *network
	table *tableau
	idle  string

	sure   *system // as whole, of equations that hold in every pattern
	dualed *tableau
	at     []int
}

func (p *protector) run() error {
	if p.o.Keep {
		found, err := p.a.examine(p.hidden, p.r.Status, true)
		if err != nil {
			return err
		}
		if err := p.intervals(); err != nil {
			return err
		}
		if len(found) > 0 {
			return &refusedError{p.refusal(found[0])}
		}
		return p.cost()
	}
	if err := p.cover(); err != nil {
		return err
	}
	if err := p.spare(); err != nil {
		return err
	}
	if err := p.cheapest(); err != nil {
		return err
	}
	// The pattern as it leaves is audited once more, whatever was searched on the way.
	found, err := p.a.examine(p.hidden, p.status(), false)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return &refusedError{p.refusal(found[0])}
	}
	p.r.Status = p.status()
	p.r.Added = p.added
	if err := p.intervals(); err != nil {
		return err
	}
	return p.cost()
}

func (p *protector) cost() error {
	p.r.Cost = 0
	for i, s := range p.r.Status {
		if s == Secondary {
			p.r.Cost = add(p.r.Cost, p.t.Cells[i].Cost)
		}
	}
	return nil
}

// add stays at the end of the range.
func add(a, b int64) int64 { return min(min(a, endless)+min(b, endless), endless) }

func (p *protector) refusal(b breach) Refusal {
	fixed := slices.ContainsFunc(p.t.Cells, func(c Cell) bool { return c.Fixed })
	switch {
	case b.equation >= 0 || b.cells != nil:
		if fixed {
			return Refusal{RuleFixed, changeWhole}
		}
		return Refusal{RuleTotals, changeWhole}
	case fixed:
		return Refusal{RuleFixed, changeWhole}
	}
	return Refusal{RuleNarrow, changeWhole}
}

// status gives the pattern's.
func (p *protector) status() []Status {
	out := make([]Status, len(p.hidden))
	for i, h := range p.hidden {
		if h {
			out[i] = Secondary
			if p.t.Cells[i].Status == Primary {
				out[i] = Primary
			}
		}
	}
	return out
}

// cover hides cells until nothing is given away. Each round hides at least one more, so it ends.
func (p *protector) cover() error {
	for {
		status := p.status()
		found, err := p.a.examine(p.hidden, status, false)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		more := p.remedy(found[0])
		if len(more) == 0 {
			if more = p.cheap(nil); len(more) == 0 {
				return &refusedError{p.refusal(found[0])}
			}
			more = more[:1]
		}
		for _, c := range more {
			p.hidden[c] = true
			p.added = append(p.added, c)
		}
	}
}

// cheap lists the cells that can still be hidden, of some equations or of all, the cheapest first.
func (p *protector) cheap(equations []int) []int {
	var out []int
	take := func(c int) {
		if !p.hidden[c] && !p.t.Cells[c].Fixed {
			out = append(out, c)
		}
	}
	if equations == nil {
		for c := range p.t.Cells {
			take(c)
		}
	}
	for _, e := range equations {
		for _, x := range p.t.Equations[e].Terms {
			take(x.Cell)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	slices.SortStableFunc(out, func(x, y int) int { return cmp.Compare(p.t.Cells[x].Cost, p.t.Cells[y].Cost) })
	return out
}

// tries bounds how many cells are tried to hide one better.
const tries = 16

// remedy gives cells to hide against a breach; none if it knows no other than to go on with the cheapest.
func (p *protector) remedy(b breach) []int {
	switch {
	case b.equation >= 0:
		choice := p.cheap([]int{b.equation})
		for _, c := range choice[:min(tries, len(choice))] {
			p.hidden[c] = true
			cells, _, _ := p.a.sides(b.equation, p.hidden)
			ok := p.a.safe(cells)
			p.hidden[c] = false
			if ok {
				return []int{c}
			}
		}
		return choice[:min(1, len(choice))]
	case b.cells != nil:
		var near []int
		for _, c := range b.cells {
			near = append(near, p.a.in[c]...)
		}
		choice := p.cheap(near)
		for _, c := range choice[:min(tries, len(choice))] {
			p.hidden[c] = true
			p.a.open(p.hidden)
			found, err := p.a.sums(p.status())
			p.hidden[c] = false
			if err == nil && !slices.ContainsFunc(found, func(x breach) bool { return slices.Equal(x.cells, b.cells) }) {
				return []int{c}
			}
		}
		return choice[:min(1, len(choice))]
	}
	if more := p.path(b); len(more) > 0 {
		return more
	}
	choice := p.cheap(p.a.in[b.cell])
	return choice[:min(1, len(choice))]
}

// all prepares the system of every cell that may be hidden.
func (p *protector) all() {
	if p.whole != nil && p.idle == p.a.idle {
		return
	}
	var cells []int
	p.at = make([]int, len(p.t.Cells))
	for i, c := range p.t.Cells {
		p.at[i] = -1
		if !c.Fixed {
			p.at[i] = len(cells)
			cells = append(cells, i)
		}
	}
	var equations [][]Term
	for e, q := range p.t.Equations {
		if p.a.known(e, p.hidden) {
			equations = append(equations, q.Terms)
		}
	}
	p.idle, p.table = p.a.idle, nil
	p.whole, p.graph = newSystem(len(p.t.Cells), equations, cells)
}

// roomOf is the room of every cell that may be hidden, were it hidden, in a view.
func (p *protector) roomOf(layer, view int) room {
	r := p.a.room(layer, p.whole.cells)
	if view >= 0 {
		for _, k := range p.t.Views[view] {
			if u := p.at[k.Cell]; u >= 0 {
				r.up[u], r.down[u] = p.a.narrowed(layer, k, r.up[u], r.down[u])
			}
		}
	}
	return r
}

// path looks for the cheapest cells along which a cell that is too narrow can move: a shortest path in a network, else
// what a simplex search that prefers cheap cells touches.
func (p *protector) path(b breach) (more []int) {
	p.all()
	r := p.roomOf(b.layer, b.view)
	cost := make([]int64, len(p.whole.cells))
	for u, c := range p.whole.cells {
		if !p.hidden[c] {
			cost[u] = 1 + p.t.Cells[c].Cost
		}
	}
	if p.graph != nil {
		for want := b.want; want > 0; want /= 2 {
			arcs, ok := p.graph.cheapest(p.at[b.cell], b.dir, want, r, cost)
			if !ok {
				continue
			}
			for _, u := range arcs {
				if c := p.whole.cells[u]; !p.hidden[c] {
					more = append(more, c)
				}
			}
			if len(more) > 0 {
				slices.Sort(more)
				return slices.Compact(more)
			}
		}
		return nil
	}
	if p.table == nil {
		var err error
		if p.table, err = newTableau(p.whole, &p.a.work, p.a.limit); err != nil {
			p.table = nil
			return nil
		}
	}
	at, err := p.table.climb(p.at[b.cell], b.dir, b.want, r, cost, &p.a.work, p.a.limit)
	if err != nil {
		p.table = nil
		return nil
	}
	for u, x := range at {
		if c := p.whole.cells[u]; x != nil && x.Sign() != 0 && !p.hidden[c] {
			more = append(more, c)
		}
	}
	return more
}

// maxSpare bounds the work of showing cells again, a tenth of what an audit may take.
const maxSpare = maxWork / 10

// spare shows hidden cells again, the dearest first, where the pattern stays safe without them.
func (p *protector) spare() error {
	order := slices.Clone(p.added)
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(p.t.Cells[y].Cost, p.t.Cells[x].Cost) })
	start := p.a.work
	for _, c := range order {
		if p.a.work-start > maxSpare {
			break
		}
		p.hidden[c] = false
		found, err := p.a.examine(p.hidden, p.status(), false)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			p.hidden[c] = true
		}
	}
	p.added = slices.DeleteFunc(p.added, func(c int) bool { return !p.hidden[c] })
	return nil
}

// intervals writes what each primary cell is proven to reach.
func (p *protector) intervals() error {
	a := p.a
	for layer := range p.t.Layers {
		l := &p.t.Layers[layer]
		for u, cell := range a.s.cells {
			if p.r.Status[cell] != Primary || l.Needs[cell] == (Need{}) {
				continue
			}
			x := Interval{Cell: cell, Layer: l.Name, Whole: p.o.Whole}
			n := a.need(layer, -1, cell)
			up, down := int64(0), int64(0)
			var err error
			if p.o.Whole {
				if _, _, up, err = a.solve(u, 1, Far, a.rooms[layer]); err == nil {
					_, _, down, err = a.solve(u, -1, Far, a.rooms[layer])
				}
			} else if up, err = a.reach(layer, -1, cell, 1, max(n.Up, n.Width), p.hidden); err == nil {
				down, err = a.reach(layer, -1, cell, -1, max(n.Down, n.Width-up), p.hidden)
			}
			if err != nil {
				return err
			}
			x.Lower, x.Upper = l.Values[cell]-down, l.Values[cell]+up
			if p.o.Whole {
				x.NoLow, x.NoHigh = down >= Far, up >= Far
			}
			x.Ratio = ratio(n, up, down)
			for _, view := range a.concerned(layer, cell) {
				n := a.need(layer, view, cell)
				up, err := a.reach(layer, view, cell, 1, max(n.Up, n.Width), p.hidden)
				if err != nil {
					return err
				}
				down, err := a.reach(layer, view, cell, -1, max(n.Down, n.Width-up), p.hidden)
				if err != nil {
					return err
				}
				x.Ratio = min(x.Ratio, ratio(n, up, down))
			}
			p.r.Intervals = append(p.r.Intervals, x)
		}
	}
	return nil
}

// ratio is the least of what is reached ÷ needed, in permille, at most a million.
func ratio(n Need, up, down int64) int {
	least := int64(1_000_000)
	of := func(reached, needed int64) {
		if needed <= 0 {
			return
		}
		for reached > 1<<50 || needed > 1<<50 {
			reached, needed = reached>>1, (needed+1)>>1
		}
		least = min(least, reached*1000/needed)
	}
	of(up, n.Up)
	of(down, n.Down)
	of(add(max(up, 0), max(down, 0)), n.Width)
	return int(least)
}
