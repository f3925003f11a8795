package audit

import (
	"cmp"
	"math/bits"
	"slices"
)

// cut is a condition that every safe pattern meets: the weights of the literals that hold come to at least what is asked. A literal is that a
// cell is hidden, or that it is not.
type cut struct {
	literals []literal
	atLeast  int64
}

type literal struct {
	cell   int // of the choice
	weight int64
	shown  bool
}

// Bounds of the search for a cheapest pattern. They count steps, not time: the same table always gets the same pattern.
const (
	defaultSearch = 64
	maxRounds     = 400
	maxSteps      = 20_000_000 // conditions' literals looked at, over all rounds
)

// cheapest looks for a pattern of least cost (最小代价): conditions that every safe pattern meets are collected (a cut per breach,
// from the dual of the search that found it), the cheapest pattern that meets them is audited, and what it breaks becomes
// further conditions; the first that passes is the cheapest of all. What the rounds do not finish leaves a bound.
// Source: Fischetti and Salazar-González (2001).
func (p *protector) cheapest() error {
	p.r.Bound = p.least()
	m := &master{place: make([]int, len(p.hidden))}
	for c := range p.t.Cells {
		m.place[c] = -1
		if p.t.Cells[c].Status != Primary && !p.t.Cells[c].Fixed {
			m.place[c] = len(m.choice)
			m.choice, m.cost = append(m.choice, c), append(m.cost, p.t.Cells[c].Cost)
		}
	}
	best := int64(0)
	for _, c := range m.choice {
		if p.hidden[c] {
			best = add(best, p.t.Cells[c].Cost)
		}
	}
	limit := p.o.Search
	if limit == 0 {
		limit = defaultSearch
	}
	if best == 0 || best <= p.r.Bound {
		p.r.Bound, p.r.Optimal = best, true
		return nil
	}
	if len(m.choice) > limit {
		return nil
	}
	// Where whole numbers reach less than fractions, an audit may be stricter than it must be, and excludes too much for a proof.
	gaps, bound := p.a.gaps, p.r.Bound
	defer func() {
		if p.a.gaps > gaps {
			p.r.Bound, p.r.Optimal = bound, false
		}
	}()
	for range maxRounds {
		y, cost, ok := m.solve(best)
		if !ok {
			break
		}
		if p.r.Bound = max(p.r.Bound, min(cost, best)); y == nil {
			p.r.Bound, p.r.Optimal = best, true
			break
		}
		hidden := make([]bool, len(p.hidden))
		for c, cell := range p.t.Cells {
			hidden[c] = cell.Status == Primary || m.place[c] >= 0 && y[m.place[c]]
		}
		keep := p.hidden
		p.hidden = hidden
		found, err := p.a.examine(hidden, p.status(), true)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			p.added = slices.DeleteFunc(p.listed(hidden), func(c int) bool { return p.t.Cells[c].Status == Primary })
			p.r.Bound, p.r.Optimal = cost, true
			return nil
		}
		p.hidden = keep
		for _, b := range found {
			m.cuts = append(m.cuts, p.cut(m, b, hidden))
		}
	}
	return nil
}

// listed lists hidden cells in order.
func (p *protector) listed(hidden []bool) (out []int) {
	for c, h := range hidden {
		if h {
			out = append(out, c)
		}
	}
	return out
}

// least bounds the cost from below: an equation with one primary cell to protect, or whose primary cells are unsafe together, hides one more;
// equations without a common cell each do.
func (p *protector) least() int64 {
	type ask struct {
		equation int
		cost     int64
	}
	var asks []ask
	for e, q := range p.t.Equations {
		var cells []int
		least, shown, need, mixed := endless, false, false, false
		for _, x := range q.Terms {
			c := p.t.Cells[x.Cell]
			mixed = mixed || x.Times != q.Terms[0].Times
			switch {
			case c.Status == Primary:
				cells = append(cells, x.Cell)
				for l := range p.t.Layers {
					n, b, v := p.t.Layers[l].Needs[x.Cell], p.t.Layers[l].bound(x.Cell), p.t.Layers[l].Values[x.Cell]
					need = need || min(n.Up, b.Upper-v) > 0 || min(n.Down, v-b.Lower) > 0 || min(n.Width, b.Upper-b.Lower) > 0
				}
			default:
				shown = true
				if !c.Fixed {
					least = min(least, c.Cost)
				}
			}
		}
		slices.Sort(cells)
		if shown && least < endless && len(cells) > 0 && (len(cells) == 1 && need || !mixed && !p.a.safe(cells)) {
			asks = append(asks, ask{e, least})
		}
	}
	slices.SortStableFunc(asks, func(a, b ask) int { return cmp.Compare(b.cost, a.cost) })
	taken := make([]bool, len(p.t.Cells))
	var out int64
next:
	for _, a := range asks {
		terms := p.t.Equations[a.equation].Terms
		for _, x := range terms {
			if taken[x.Cell] && p.t.Cells[x.Cell].Status != Primary {
				continue next
			}
		}
		for _, x := range terms {
			taken[x.Cell] = true
		}
		out = add(out, a.cost)
	}
	return out
}

// cut turns a breach into a condition: for an equation, that its hidden cells are not these; for an interval, what the dual says must be hidden. Where
// neither applies, the pattern itself is excluded.
func (p *protector) cut(m *master, b breach, hidden []bool) cut {
	if b.equation >= 0 {
		c := cut{atLeast: 1}
		for _, x := range p.t.Equations[b.equation].Terms {
			if v := m.place[x.Cell]; v >= 0 {
				c.literals = append(c.literals, literal{v, 1, hidden[x.Cell]})
			}
		}
		return c
	}
	if b.cells == nil {
		if c, ok := p.dual(m, b, hidden); ok {
			return c
		}
	}
	c := cut{atLeast: 1}
	for v, cell := range m.choice {
		c.literals = append(c.literals, literal{v, 1, hidden[cell]})
	}
	return c
}

// always prepares the system of every cell that may be hidden, of equations that hold in every pattern.
func (p *protector) always() (*system, error) {
	if p.sure != nil {
		return p.sure, nil
	}
	var equations [][]Term
	for _, q := range p.t.Equations {
		var all []int
		for _, x := range q.Terms {
			all = append(all, x.Cell)
		}
		slices.Sort(all)
		if q.Right != nil || p.a.safe(all) {
			equations = append(equations, q.Terms)
		}
	}
	var cells []int
	for c := range p.t.Cells {
		if !p.t.Cells[c].Fixed {
			cells = append(cells, c)
		}
	}
	p.sure, _ = newSystem(len(p.t.Cells), equations, cells)
	var err error
	p.dualed, err = newTableau(p.sure, &p.a.work, p.a.limit)
	return p.sure, err
}

// dual says what must be hidden for a cell to reach as far as it must: with the multipliers of the search that did not get
// there, the cell's move is a sum over others, each of which adds at most its room, and only while it is hidden.
func (p *protector) dual(m *master, b breach, hidden []bool) (cut, bool) {
	s, err := p.always()
	if err != nil {
		return cut{}, false
	}
	r := p.a.room(b.layer, s.cells)
	full := room{slices.Clone(r.up), slices.Clone(r.down)}
	at := -1
	for u, c := range s.cells {
		if c == b.cell {
			at = u
		}
		if b.view >= 0 {
			for _, k := range p.t.Views[b.view] {
				if k.Cell == c {
					r.up[u], r.down[u] = p.a.narrowed(b.layer, k, r.up[u], r.down[u])
				}
			}
		}
		full.up[u], full.down[u] = r.up[u], r.down[u]
		if !hidden[c] {
			r.up[u], r.down[u] = 0, 0
		}
	}
	weights := map[int]int64{}
	one := func(dir, want, most int64) (left int64, ok bool) {
		if _, err := p.dualed.climb(at, dir, want, r, nil, &p.a.work, p.a.limit); err != nil {
			return 0, false
		}
		row, den := p.dualed.row[at], p.dualed.den
		if row < 0 || den != 1 || bits.Len64(uint64(most)) > 60 {
			return 0, false
		}
		left = most
		for u, v := range p.dualed.rows[row] {
			if v == 0 || u == at {
				continue
			}
			g, space := v, full.down[u]
			if v*dir < 0 {
				space = full.up[u]
			}
			g = max(g, -g)
			w := most
			if space <= most/g {
				w = space * g
			}
			if v := m.place[s.cells[u]]; v >= 0 {
				weights[v] = min(most, weights[v]+w)
			} else if left -= w; left < 0 {
				return 0, false
			}
		}
		return left, true
	}
	want, ok := one(b.dir, max(b.want, b.width), max(b.want, b.width))
	if ok && b.width > 0 {
		used := b.width - want
		if want, ok = one(-b.dir, b.width, b.width); ok {
			want -= used
		}
	}
	if !ok || want <= 0 {
		return cut{}, false
	}
	c := cut{atLeast: want}
	held := int64(0)
	for v := range m.choice {
		if w := min(weights[v], want); w > 0 {
			c.literals = append(c.literals, literal{v, w, false})
			if hidden[m.choice[v]] {
				held = add(held, w)
			}
		}
	}
	return c, held < want // it must exclude this pattern
}

// master is the choice of cells to hide under the conditions known so far.
type master struct {
	choice []int // cells
	place  []int // per cell: its place in choice, or −1
	cost   []int64
	cuts   []cut

	best  int64
	found []bool
	state []int8 // per choice: 0 open, 1 hidden, −1 shown
	steps int64
}

// solve gives the cheapest choice below a cost; nil when there is none, and false when it took too many steps.
func (m *master) solve(below int64) (y []bool, cost int64, ok bool) {
	m.best, m.found = below, nil
	m.state = make([]int8, len(m.choice))
	m.search(0)
	return m.found, m.best, m.steps <= maxSteps
}

func (l literal) holds(state int8) bool { return l.shown && state < 0 || !l.shown && state > 0 }

// search decides one more cell. spent is the cost of those hidden.
func (m *master) search(spent int64) {
	if m.steps++; m.steps > maxSteps {
		return
	}
	var undo []int
	defer func() {
		for _, v := range undo {
			m.state[v] = 0
		}
	}()
	// Whatever a condition leaves no choice about.
	for again := true; again; {
		again = false
		for _, c := range m.cuts {
			have, open := int64(0), int64(0)
			m.steps += int64(len(c.literals))
			for _, l := range c.literals {
				if m.state[l.cell] == 0 {
					open = add(open, l.weight)
				} else if l.holds(m.state[l.cell]) {
					have = add(have, l.weight)
				}
			}
			if have >= c.atLeast {
				continue
			}
			if add(have, open) < c.atLeast {
				return
			}
			for _, l := range c.literals {
				if m.state[l.cell] == 0 && add(have, open)-l.weight < c.atLeast && open < endless {
					undo = append(undo, l.cell)
					m.state[l.cell] = 1
					if l.shown {
						m.state[l.cell] = -1
					} else {
						spent = add(spent, m.cost[l.cell])
					}
					again = true
					open -= l.weight
					have = add(have, l.weight)
				}
			}
		}
	}
	bound, pick := m.bound(spent)
	if bound >= m.best {
		return
	}
	if pick < 0 { // every condition is met: the rest is shown
		m.best = spent
		m.found = make([]bool, len(m.choice))
		for v, s := range m.state {
			m.found[v] = s > 0
		}
		return
	}
	for _, s := range []int8{1, -1} {
		m.state[pick] = s
		if s > 0 {
			m.search(add(spent, m.cost[pick]))
		} else {
			m.search(spent)
		}
	}
	m.state[pick] = 0
}

// bound gives a cost that the conditions not yet met come to at least, and a cell to decide. Conditions count together when they have
// no open cell in common.
func (m *master) bound(spent int64) (cost int64, pick int) {
	used := make([]bool, len(m.choice))
	pick, cost = -1, spent
	fewest := 1 << 30
	for _, c := range m.cuts {
		missing := c.atLeast
		m.steps += 4 * int64(len(c.literals))
		var open []literal
		for _, l := range c.literals {
			if m.state[l.cell] == 0 {
				open = append(open, l)
			} else if l.holds(m.state[l.cell]) {
				missing -= min(l.weight, missing)
			}
		}
		if missing <= 0 {
			continue
		}
		price := func(l literal) int64 {
			if l.shown {
				return 0
			}
			return m.cost[l.cell]
		}
		// The least price for what is missing, in fractions: by price per weight.
		slices.SortStableFunc(open, func(a, b literal) int {
			h1, l1 := bits.Mul64(uint64(price(a)), uint64(b.weight))
			h2, l2 := bits.Mul64(uint64(price(b)), uint64(a.weight))
			return cmp.Or(cmp.Compare(h1, h2), cmp.Compare(l1, l2))
		})
		if len(open) < fewest {
			fewest, pick = len(open), open[0].cell
		}
		if slices.ContainsFunc(open, func(l literal) bool { return used[l.cell] }) {
			continue
		}
		for _, l := range open {
			used[l.cell] = true
		}
		for _, l := range open {
			if l.weight >= missing {
				hi, lo := bits.Mul64(uint64(price(l)), uint64(missing))
				q, rest := bits.Div64(hi, lo, uint64(l.weight))
				if rest > 0 {
					q++
				}
				cost = add(cost, int64(q))
				break
			}
			cost = add(cost, price(l))
			missing -= l.weight
		}
	}
	return cost, pick
}
