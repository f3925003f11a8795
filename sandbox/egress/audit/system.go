package audit

import (
	"cmp"
	"slices"
)

// system is what is known about some cells, the unknowns: equations over what they may differ by from the truth. The truth
// itself, a difference of zero, solves them, so right-hand sides are not needed.
type system struct {
	cells []int // of the table, per unknown
	rows  [][]entry
	of    [][]entry // per unknown: the rows it is in
	all   [][]entry // per unknown: the equations it is in, none dropped
}

// entry is a coefficient: of an unknown in a row, or of a row in an unknown's column.
type entry struct {
	at    int
	times int64
}

// newSystem leaves the unknowns of the equations and drops those that follow from others in plain sight: an equation that holds another
// one whole is what is left without it. Totals of totals go this way. The network is nil if the system is none.
func newSystem(n int, equations [][]Term, unknown []int) (*system, *network) {
	s := &system{cells: unknown, all: make([][]entry, len(unknown))}
	index := make([]int, n)
	for i := range index {
		index[i] = -1
	}
	for u, c := range unknown {
		index[c] = u
	}
	var rows []line
	for place, q := range equations {
		var row []entry
		for _, x := range q {
			if index[x.Cell] >= 0 {
				row = append(row, entry{index[x.Cell], x.Times})
			}
		}
		if len(row) > 0 {
			slices.SortFunc(row, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
			rows = append(rows, line{row, place})
			for _, e := range row {
				s.all[e.at] = append(s.all[e.at], entry{place, e.times})
			}
		}
	}
	given := slices.Clone(rows)
	s.set(reduce(rows, len(unknown)))
	if g, ok := newNetwork(s); ok {
		return s, g
	}
	// In the order given, lines before totals, what follows from those before may be dropped as well.
	if len(given)*min(len(given), len(unknown)) <= maxDrop/max(1, len(unknown)) {
		other := &system{cells: unknown, all: s.all}
		other.set(independent(given, len(unknown)))
		if g, ok := newNetwork(other); ok {
			return other, g
		}
	}
	return s, nil
}

// maxDrop bounds the steps spent on rows that follow from others.
const maxDrop = 50_000_000

func (s *system) set(rows [][]entry) {
	s.rows, s.of = rows, make([][]entry, len(s.cells))
	for r, row := range rows {
		for _, e := range row {
			s.of[e.at] = append(s.of[e.at], entry{r, e.times})
		}
	}
}

// independent keeps the rows that do not follow from those before, in the field of 2^61−1 elements. Should one follow there and not
// among whole numbers, a move against it fails its proof, which is against all rows.
func independent(rows []line, n int) (out [][]entry) {
	var reduced [][]uint64
	var pivots []int
	for _, l := range rows {
		dense := make([]uint64, n)
		for _, e := range l.row {
			dense[e.at] = residue(e.times)
		}
		for r, row := range reduced {
			f := dense[pivots[r]]
			if f == 0 {
				continue
			}
			f = prime - f
			for u, v := range row {
				if v != 0 {
					dense[u] = plus(dense[u], times(f, v))
				}
			}
		}
		at := slices.IndexFunc(dense, func(v uint64) bool { return v != 0 })
		if at < 0 {
			continue
		}
		inv := inverse(dense[at])
		for u := range dense {
			dense[u] = times(dense[u], inv)
		}
		reduced, pivots, out = append(reduced, dense), append(pivots, at), append(out, l.row)
	}
	return out
}

// line is an equation on its way into a system, with its place among those given: margins of one kind stand together.
type line struct {
	row   []entry
	place int
}

// reduce subtracts from each row, the longest first, shorter rows that lie in it whole and have no cell in common. Which ones is tried from
// each row that the first cell is in, and of the others the nearest is taken; what leaves least is kept.
func reduce(rows []line, n int) [][]entry {
	slices.SortStableFunc(rows, func(a, b line) int { return cmp.Compare(len(a.row), len(b.row)) })
	var kept []line
	holds := make([][]int, n) // per unknown: kept rows
	left := make([]int64, n)
	// covers subtracts kept row h if it lies whole in what is left.
	covers := func(h int) bool {
		part := kept[h].row
		sign := int64(1)
		if left[part[0].at] == -part[0].times {
			sign = -1
		}
		for _, p := range part {
			if left[p.at] != sign*p.times {
				return false
			}
		}
		for _, p := range part {
			left[p.at] = 0
		}
		return true
	}
	for _, l := range rows {
		best := l.row
		for _, seed := range holds[l.row[0].at] {
			for _, e := range l.row {
				left[e.at] = e.times
			}
			near := func(a, b int) int {
				return cmp.Or(cmp.Compare(abs(kept[a].place-kept[seed].place), abs(kept[b].place-kept[seed].place)), cmp.Compare(a, b))
			}
			for _, e := range l.row {
				if left[e.at] == 0 {
					continue
				}
				choice := slices.Clone(holds[e.at])
				slices.SortFunc(choice, near)
				for _, h := range choice {
					if covers(h) {
						break
					}
				}
			}
			var rest []entry
			for _, e := range l.row {
				if left[e.at] != 0 {
					rest = append(rest, e)
					left[e.at] = 0
				}
			}
			if len(rest) < len(best) {
				best = rest
			}
			if len(best) == 0 {
				break
			}
		}
		if len(best) == 0 {
			continue
		}
		for _, e := range best {
			holds[e.at] = append(holds[e.at], len(kept))
		}
		kept = append(kept, line{best, l.place})
	}
	out := make([][]entry, len(kept))
	for i, l := range kept {
		out[i] = l.row
	}
	return out
}

func abs(x int) int { return max(x, -x) }

// move is a difference to the truth of few unknowns, by unknown in their order: what one alternative table has otherwise.
type move []entry

func (m move) at(u int) int64 {
	i, ok := slices.BinarySearchFunc(m, u, func(e entry, u int) int { return cmp.Compare(e.at, u) })
	if !ok {
		return 0
	}
	return m[i].times
}

// room is how far unknowns may move from the truth; endless and more is without bound.
type room struct{ up, down []int64 }

// endless is twice what two bounded values differ by.
const endless = int64(1) << 62

// holds proves a move: it solves every equation given and stays within the room. Whatever a solver did, no interval is called
// wider than the moves that pass here.
func (s *system) holds(m move, r room) bool {
	sums := map[int]*total{}
	for _, e := range m {
		if e.times > r.up[e.at] || -e.times > r.down[e.at] {
			return false
		}
		for _, x := range s.all[e.at] {
			t := sums[x.at]
			if t == nil {
				t = new(total)
				sums[x.at] = t
			}
			t.add(e.times, x.times)
		}
	}
	for _, t := range sums {
		if !t.zero() {
			return false
		}
	}
	return true
}
