package audit

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Interval (可行区间) is what everybody can at least not exclude for a hidden cell: alternative tables with these values and all
// that is published were found and proven, so that the true interval is no narrower. Whole says that it is the interval
// itself, with fractions allowed where a table is no network. Without a lower or upper end it is open.
type Interval struct {
	Cell   int    `json:"cell"`
	Layer  string `json:"layer"`
	Lower  int64  `json:"lower"`
	Upper  int64  `json:"upper"`
	NoLow  bool   `json:"no_lower,omitempty"`
	NoHigh bool   `json:"no_upper,omitempty"`
	Whole  bool   `json:"whole,omitempty"`
	Ratio  int    `json:"ratio_permille"` // least of what it reaches ÷ what it must reach, in every view; 1000 and more is protected
}

// Refusal (不予认证) says why a pattern is not certified, and the smallest change that might be.
type Refusal struct {
	Rule   string `json:"rule"`
	Change string `json:"change"`
}

// Why a pattern is not certified.
const (
	RuleTooLarge = "too large to certify"                   // 规模过大，无法认证
	RuleNarrow   = "a suppressed cell is too narrow"        // 区间过窄
	RuleTotals   = "totals give suppressed cells away"      // 合计泄露
	RuleFixed    = "earlier releases give the answer away"  // 历史发布泄露
	changeFewer  = "ask with fewer categories"              // 减少分类
	changeWhole  = "suppress the table, or ask with others" // 整表抑制或更换分类
)

// Bounds of one audit. Work counts elementary steps, so that the same table is certified or refused on every machine.
const (
	MaxCells = 20_000
	maxWork  = 1_000_000_000
)

// Report (审计报告) is what became of a table's cells and why.
type Report struct {
	Status    []Status   // per cell
	Added     []int      // cells hidden to protect others, in the order they were chosen
	Cost      int64      // of them
	Bound     int64      // no safe pattern costs less
	Optimal   bool       // Cost is the least
	Intervals []Interval // of primary cells, per layer in which they need protection
	Refusal   *Refusal   // not certified; nothing else of the report may be relied on
	Solved    int        // searches that were run
	Reused    int        // intervals proven by an alternative table another search had found
}

// Smallest gives the least interval ÷ required in permille, 1000 at most when nothing is hidden.
func (r *Report) Smallest() int {
	least := 1000
	for i, x := range r.Intervals {
		if i == 0 || x.Ratio < least {
			least = x.Ratio
		}
	}
	return least
}

// breach is a way in which a pattern gives something away.
type breach struct {
	equation int   // whose hidden cells together are unsafe, or −1
	cells    []int // whose sum follows and is unsafe, or nil
	cell     int   // whose interval is too narrow
	layer    int
	view     int // −1: everybody's
	dir      int64
	want     int64
	width    int64 // of a sliding need: what both directions must come to
}

// proof names what a move proves: that in a layer and view a cell reaches this far in a direction.
type proof struct {
	layer, view, cell int
	up                bool
}

// auditor holds one table's patterns against it. Moves found for one pattern serve the next while their cells stay hidden.
type auditor struct {
	t       *Table
	work    int64
	limit   int64
	solved  int
	reused  int
	gaps    int            // searches whose whole move fell short of the fractional one, and of what was asked
	moves   map[proof]move // by cells of the table
	idle    string         // equations that say nothing in the pattern the moves are for
	judged  map[string]bool
	in      [][]int // per cell: equations
	private [][]int // per cell: views that know of it
	terms   int64   // of all equations

	s      *system
	index  []int // per cell: its unknown, or −1
	flow   *network
	lp     *tableau
	rooms  []room
	viewed map[[2]int]room
}

func newAuditor(t *Table) *auditor {
	a := &auditor{t: t, limit: maxWork, moves: map[proof]move{}, judged: map[string]bool{}, in: make([][]int, len(t.Cells)), private: make([][]int, len(t.Cells))}
	for e, q := range t.Equations {
		a.terms += int64(len(q.Terms))
		for _, x := range q.Terms {
			a.in[x.Cell] = append(a.in[x.Cell], e)
		}
	}
	for v, view := range t.Views {
		for _, k := range view {
			a.private[k.Cell] = append(a.private[k.Cell], v)
		}
	}
	return a
}

// safe remembers what Safe says.
func (a *auditor) safe(cells []int) bool {
	if a.t.Safe == nil {
		return true
	}
	key := make([]byte, 0, 4*len(cells))
	for _, c := range cells {
		key = binary.AppendUvarint(key, uint64(c))
	}
	ok, known := a.judged[string(key)]
	if !known {
		ok = a.t.Safe(cells)
		a.judged[string(key)] = ok
	}
	return ok
}

// sides gives the hidden cells of an equation if all have one sign, sorted, and whether it has others.
func (a *auditor) sides(e int, hidden []bool) (cells []int, shown, mixed bool) {
	var sign int64
	for _, x := range a.t.Equations[e].Terms {
		switch {
		case !hidden[x.Cell]:
			shown = true
		default:
			mixed = mixed || sign != 0 && sign != x.Times
			sign = x.Times
			cells = append(cells, x.Cell)
		}
	}
	slices.Sort(cells)
	return cells, shown, mixed
}

// known says whether an equation tells anything: a total that is no cell, of cells that are all hidden, is not published if it is unsafe.
func (a *auditor) known(e int, hidden []bool) bool {
	if a.t.Equations[e].Right != nil {
		return true
	}
	cells, shown, mixed := a.sides(e, hidden)
	return shown || mixed || a.safe(cells)
}

// open prepares the system of a pattern.
func (a *auditor) open(hidden []bool) {
	var unknown []int
	a.index = make([]int, len(hidden))
	for i, h := range hidden {
		a.index[i] = -1
		if h {
			a.index[i] = len(unknown)
			unknown = append(unknown, i)
		}
	}
	var equations [][]Term
	idle := []byte{}
	for e := range a.t.Equations {
		if a.known(e, hidden) {
			equations = append(equations, a.t.Equations[e].Terms)
		} else {
			idle = binary.AppendUvarint(idle, uint64(e))
		}
	}
	if string(idle) != a.idle {
		clear(a.moves)
		a.idle = string(idle)
	}
	a.s, a.flow = newSystem(len(hidden), equations, unknown)
	a.work += int64(len(hidden)) + 40*a.terms
	a.lp, a.rooms, a.viewed = nil, nil, map[[2]int]room{}
	for k := range a.t.Layers {
		a.rooms = append(a.rooms, a.room(k, unknown))
	}
}

// room gives how far cells may move in a layer, to whoever contributes to none.
func (a *auditor) room(layer int, cells []int) room {
	l := &a.t.Layers[layer]
	r := room{make([]int64, len(cells)), make([]int64, len(cells))}
	for u, c := range cells {
		b := l.bound(c)
		r.up[u], r.down[u] = b.Upper-l.Values[c], l.Values[c]-b.Lower
		if b.Upper == Far {
			r.up[u] = endless
		}
		if b.Lower == -Far {
			r.down[u] = endless
		}
	}
	return r
}

// seen narrows the room to what a contributor does not know.
func (a *auditor) seen(layer, view int) room {
	if view < 0 {
		return a.rooms[layer]
	}
	if r, ok := a.viewed[[2]int{layer, view}]; ok {
		return r
	}
	r := room{slices.Clone(a.rooms[layer].up), slices.Clone(a.rooms[layer].down)}
	for _, k := range a.t.Views[view] {
		if u := a.index[k.Cell]; u >= 0 {
			r.up[u], r.down[u] = a.narrowed(layer, k, r.up[u], r.down[u])
		}
	}
	if len(a.viewed) > 256 {
		clear(a.viewed)
	}
	a.work += int64(len(r.up))
	a.viewed[[2]int{layer, view}] = r
	return r
}

func (a *auditor) narrowed(layer int, k Knowledge, up, down int64) (int64, int64) {
	if k.Sole {
		return 0, 0
	}
	if l := &a.t.Layers[layer]; l.NonNegative {
		down = min(down, max(0, l.Values[k.Cell]-k.Own[layer]))
	}
	return up, down
}

// solve searches for the farthest an unknown moves; got is what a whole move reaches, top what a fractional one would.
func (a *auditor) solve(u int, dir, want int64, r room) (m move, got, top int64, err error) {
	a.solved++
	a.work += 500
	if a.flow != nil {
		m, got = a.flow.farthest(u, dir, want, r, &a.work)
		top = got
	} else {
		if a.lp == nil {
			if a.lp, err = newTableau(a.s, &a.work, a.limit); err != nil {
				return nil, 0, 0, err
			}
		}
		if m, got, top, err = a.lp.farthest(u, dir, want, r, &a.work, a.limit); err != nil {
			return nil, 0, 0, err
		}
		if got < top {
			a.gaps++
		}
	}
	if a.work > a.limit {
		return nil, 0, 0, errWork
	}
	if !a.s.holds(m, r) { // never; but no interval rests on the search alone
		return nil, 0, top, nil
	}
	return m, got, top, nil
}

// reach says how far a cell is proven to move, at most as far as asked.
func (a *auditor) reach(layer, view, cell int, dir, want int64, hidden []bool) (int64, error) {
	if want <= 0 {
		return 0, nil
	}
	p := proof{layer, view, cell, dir > 0}
	for _, v := range []int{-1, view} {
		q := p
		q.view = v
		m, ok := a.moves[q]
		if !ok {
			continue
		}
		if got := m.at(cell) * dir; got >= want && a.serves(m, layer, view, hidden) {
			a.reused++
			return want, nil
		}
	}
	m, got, _, err := a.solve(a.index[cell], dir, want, a.seen(layer, view))
	if err != nil {
		return 0, err
	}
	for i := range m {
		m[i].at = a.s.cells[m[i].at]
	}
	for _, e := range m {
		if view >= 0 && e.at != cell {
			continue // few others ask in this view; proofs for everybody serve most of them
		}
		q := proof{layer, view, e.at, e.times > 0}
		if old, ok := a.moves[q]; e.at == cell || !ok || !a.serves(old, layer, view, hidden) {
			a.moves[q] = m
		}
	}
	return min(got, want), nil
}

// serves says whether a move found before is one in this pattern and view.
func (a *auditor) serves(m move, layer, view int, hidden []bool) bool {
	for _, e := range m {
		if !hidden[e.at] {
			return false
		}
	}
	if view < 0 {
		return true
	}
	for _, k := range a.t.Views[view] {
		d := m.at(k.Cell)
		if d == 0 {
			continue
		}
		if up, down := a.narrowed(layer, k, endless, endless); d > up || -d > down {
			return false
		}
	}
	return true
}

// need gives what a cell's interval must reach in a view, as far as what is known beforehand leaves room.
func (a *auditor) need(layer, view, cell int) Need {
	l := &a.t.Layers[layer]
	n := l.Needs[cell]
	if n == (Need{}) {
		return n
	}
	r := a.rooms[layer]
	up, down := r.up[a.index[cell]], r.down[a.index[cell]]
	if view >= 0 {
		for _, k := range a.t.Views[view] {
			if k.Cell == cell {
				up, down = a.narrowed(layer, k, up, down)
			}
		}
	}
	n.Up, n.Down = min(n.Up, up), min(n.Down, down)
	if up < endless && down < endless {
		n.Width = min(n.Width, up+down)
	}
	return n
}

// examine looks for breaches of a pattern: the first one, or all.
func (a *auditor) examine(hidden []bool, status []Status, all bool) (found []breach, err error) {
	for e := range a.t.Equations {
		if b, ok := a.together(e, hidden); ok {
			if found = append(found, b); !all {
				return found, nil
			}
		}
	}
	if a.open(hidden); a.work > a.limit {
		return nil, errWork
	}
	for layer := range a.t.Layers {
		for _, cell := range a.s.cells {
			if status[cell] != Primary {
				continue
			}
			b, ok, err := a.narrow(layer, -1, cell, hidden)
			for _, view := range a.concerned(layer, cell) {
				if ok || err != nil {
					break
				}
				b, ok, err = a.narrow(layer, view, cell, hidden)
			}
			if err != nil {
				return nil, err
			}
			if ok {
				if found = append(found, b); !all {
					return found, nil
				}
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	more, err := a.sums(status)
	if len(more) > 0 && !all {
		more = more[:1]
	}
	return more, err
}

// concerned lists the views in which what proves a cell wide to everybody may not hold: those that know a cell of it.
func (a *auditor) concerned(layer, cell int) []int {
	if len(a.t.Views) == 0 || a.t.Layers[layer].Needs[cell] == (Need{}) {
		return nil
	}
	views := slices.Clone(a.private[cell])
	for _, up := range []bool{true, false} {
		for _, e := range a.moves[proof{layer, -1, cell, up}] {
			views = append(views, a.private[e.at]...)
		}
	}
	slices.Sort(views)
	a.work += 20 * int64(len(views))
	return slices.Compact(views)
}

// together judges the hidden cells of an equation, whose sum is what the total leaves.
func (a *auditor) together(e int, hidden []bool) (breach, bool) {
	cells, shown, mixed := a.sides(e, hidden)
	if len(cells) == 0 || mixed || a.t.Safe == nil || !shown && a.t.Equations[e].Right == nil || a.safe(cells) {
		return breach{}, false
	}
	return breach{equation: e, cell: -1}, true
}

// narrow says whether a cell's interval is too narrow in a view.
func (a *auditor) narrow(layer, view, cell int, hidden []bool) (breach, bool, error) {
	n := a.need(layer, view, cell)
	if n == (Need{}) {
		return breach{}, false, nil
	}
	b := breach{equation: -1, cell: cell, layer: layer, view: view}
	up, err := a.reach(layer, view, cell, 1, max(n.Up, n.Width), hidden)
	if err != nil {
		return b, false, err
	}
	if up < n.Up {
		b.dir, b.want = 1, n.Up
		return b, true, nil
	}
	want := max(n.Down, n.Width-up)
	down, err := a.reach(layer, view, cell, -1, want, hidden)
	if err != nil {
		return b, false, err
	}
	switch {
	case down < n.Down:
		b.dir, b.want = -1, n.Down
	case up+down < n.Width:
		b.dir, b.want, b.width = 1, n.Width-down, n.Width
		if r := a.seen(layer, view); r.up[a.index[cell]] < b.want {
			b.dir, b.want = -1, n.Width-up
		}
	default:
		return b, false, nil
	}
	return b, true, nil
}

// prime is 2^61−1: sums that follow are looked for in the field of so many elements, where some other pair looks like one
// once in 2^61 cases and is then hidden better than it need be.
const prime = 1<<61 - 1

// sums looks for primary cells that follow exactly, and for two hidden cells whose sum does: together they must be safe. One solution of the
// equations is drawn at random; what follows is the same in all of them.
func (a *auditor) sums(status []Status) ([]breach, error) {
	if a.t.Safe == nil {
		return nil, nil
	}
	if a.lp == nil {
		var err error
		if a.lp, err = newTableau(a.s, &a.work, a.limit); err != nil {
			return nil, err
		}
	}
	d := a.lp.draw()
	by := map[uint64][]int{}
	var out []breach
	for u, v := range d {
		if v == 0 {
			if c := a.s.cells[u]; !a.safe([]int{c}) {
				out = append(out, breach{equation: -1, cell: -1, cells: []int{c}})
			}
			continue
		}
		for _, w := range by[prime-v] {
			pair := []int{a.s.cells[w], a.s.cells[u]}
			if (status[pair[0]] == Primary || status[pair[1]] == Primary) && !a.safe(pair) {
				out = append(out, breach{equation: -1, cell: -1, cells: pair})
			}
		}
		by[v] = append(by[v], u)
	}
	slices.SortFunc(out, func(x, y breach) int { return cmp.Or(len(x.cells)-len(y.cells), slices.Compare(x.cells, y.cells)) })
	return out, nil
}
