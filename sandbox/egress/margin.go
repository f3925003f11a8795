package egress

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// margins (边际) lists the cells of every margin of the table: for each set of dimensions, the cells that agree on them. The
// empty set is the whole table, all dimensions but one are its lines; single cells have been judged.
func (c *Checked) margins() [][]int {
	dims := len(c.answer.Dimensions)
	var out [][]int
	for fixed := range 1<<dims - 1 {
		by := map[string]int{}
		for i := range c.answer.Cells {
			var key []byte
			for d, l := range c.answer.Cells[i].Labels {
				if fixed>>d&1 == 1 {
					key = append(binary.AppendUvarint(key, uint64(len(l))), l...)
				}
			}
			at, ok := by[string(key)]
			if !ok {
				at = len(out)
				by[string(key)] = at
				out = append(out, nil)
			}
			out[at] = append(out[at], i)
		}
	}
	return out
}

// cover suppresses further cells until the suppressed ones are safe from the totals of every margin, and gives the cells it
// added. unsafe are the rules each cell breaks. Each round hides at least one more cell, so it ends; false when a table has
// too many suppressed cells to say.
func (c *Checked) cover(unsafe [][]string) ([]int, bool) {
	margins := c.margins()
	var added []int
	for {
		more := c.together(margins)
		if len(more) == 0 {
			var ok bool
			if more, ok = c.apart(margins, unsafe); !ok {
				return nil, false
			}
		}
		if len(more) == 0 {
			return added, true
		}
		added = append(added, more...)
	}
}

// together looks at each margin: the suppressed cells in it, taken together, must pass the primary rules, else its smallest
// published cell joins them.
func (c *Checked) together(margins [][]int) (added []int) {
	for _, m := range margins {
		hidden, shown := c.sides(m)
		// With nothing left to hide, the margin is suppressed whole and has no published part to subtract from a total.
		if len(hidden) == 0 || len(shown) == 0 || c.passes(hidden) {
			continue
		}
		c.hidden[shown[0]] = true
		added = append(added, shown[0])
	}
	return added
}

// tries bounds how many cells are tried to hide one better.
const tries = 16

// apart looks at all margins at once: no cell that breaks a rule may follow from their totals and the published cells as
// the one solution of the equations. If one does, the smallest cell is hidden that leaves it open, else the smallest of all.
func (c *Checked) apart(margins [][]int, unsafe [][]string) (added []int, ok bool) {
	all := make([]int, len(c.hidden))
	for i := range all {
		all[i] = i
	}
	for {
		known, ok := c.determined(margins)
		if !ok {
			return nil, false
		}
		_, shown := c.sides(all)
		at := slices.IndexFunc(known, func(i int) bool { return len(unsafe[i]) > 0 })
		if at < 0 || len(shown) == 0 {
			return added, true
		}
		best := shown[0]
		for _, i := range shown[:min(tries, len(shown))] {
			c.hidden[i] = true
			now, ok := c.determined(margins)
			c.hidden[i] = false
			if !ok {
				return nil, false
			}
			if !slices.Contains(now, known[at]) {
				best = i
				break
			}
		}
		c.hidden[best] = true
		added = append(added, best)
	}
}

// sides gives the suppressed and the published cells among some, the published ones smallest first.
func (c *Checked) sides(cells []int) (hidden, shown []int) {
	for _, i := range cells {
		if c.hidden[i] {
			hidden = append(hidden, i)
		} else {
			shown = append(shown, i)
		}
	}
	slices.SortStableFunc(shown, func(a, b int) int {
		return cmp.Compare(len(c.answer.Cells[a].Contributors), len(c.answer.Cells[b].Contributors))
	})
	return hidden, shown
}

func (c *Checked) passes(cells []int) bool {
	return len(judge(of(c.answer, cells), c.answer.Measures, c.params)) == 0
}

// maxAudit bounds the multiplications of one elimination.
const maxAudit = 200_000_000

// determined gives the suppressed cells that are the one solution of the equations "the suppressed cells of this margin add
// up to what its total leaves". The total of a margin that is suppressed whole and breaks a rule itself is never
// published and gives no equation. Gauss–Jordan elimination in the field of 2^61−1 elements: a cell is known exactly when
// its row is reduced to it alone.
func (c *Checked) determined(margins [][]int) (cells []int, ok bool) {
	column := map[int]int{}
	for i, h := range c.hidden {
		if h {
			column[i] = len(cells)
			cells = append(cells, i)
		}
	}
	var equations [][]uint64
	seen := map[string]bool{}
	for _, m := range margins {
		hidden, shown := c.sides(m)
		if len(hidden) == 0 || len(shown) == 0 && !c.passes(hidden) {
			continue
		}
		var key []byte
		for _, i := range hidden {
			key = binary.AppendUvarint(key, uint64(i))
		}
		if seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		eq := make([]uint64, len(cells))
		for _, i := range hidden {
			eq[column[i]] = 1
		}
		equations = append(equations, eq)
		if len(equations)*min(len(equations), len(cells)) > maxAudit/len(cells) {
			return nil, false
		}
	}
	var known []int
	for _, eq := range eliminate(equations) {
		at, n := 0, 0
		for k, v := range eq {
			if v != 0 {
				at, n = k, n+1
			}
		}
		if n == 1 {
			known = append(known, cells[at])
		}
	}
	slices.Sort(known)
	return known, true
}

// prime is 2^61−1.
const prime = 1<<61 - 1

func times(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	s := lo&prime + (hi<<3 | lo>>61)
	if s >= prime {
		s -= prime
	}
	return s
}

// inverse is a^(p−2).
func inverse(a uint64) uint64 {
	out := uint64(1)
	for e := uint64(prime - 2); e > 0; e >>= 1 {
		if e&1 == 1 {
			out = times(out, a)
		}
		a = times(a, a)
	}
	return out
}

// eliminate brings equations into reduced row echelon form; it uses their memory.
func eliminate(equations [][]uint64) (reduced [][]uint64) {
	var pivots []int
	subtract := func(from, row []uint64, n uint64) {
		for k, v := range row {
			if v != 0 {
				if from[k] += prime - times(n, v); from[k] >= prime {
					from[k] -= prime
				}
			}
		}
	}
	for _, eq := range equations {
		for r, row := range reduced {
			if n := eq[pivots[r]]; n != 0 {
				subtract(eq, row, n)
			}
		}
		pivot := slices.IndexFunc(eq, func(v uint64) bool { return v != 0 })
		if pivot < 0 {
			continue
		}
		n := inverse(eq[pivot])
		for k := range eq {
			eq[k] = times(eq[k], n)
		}
		for _, row := range reduced {
			if n := row[pivot]; n != 0 {
				subtract(row, eq, n)
			}
		}
		reduced, pivots = append(reduced, eq), append(pivots, pivot)
	}
	return reduced
}
