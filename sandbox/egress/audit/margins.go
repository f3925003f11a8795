package audit

import (
	"encoding/binary"
	"slices"
)

// Level (层级) is one coarsening of a dimension: the group of each label. A label without a group is its own.
type Level map[string]string

// Margins gives the equations of a cross table (交叉表边际): for every choice of a level per dimension, its labels themselves,
// one of the coarser levels or the whole, the cells that agree on it come to a total that is no cell of the table. Labels are per
// cell, one a dimension; levels are per dimension, from fine to coarse, and may be missing. Finer margins come first. The single
// cells themselves are no margin, and equal ones are given once.
func Margins(labels [][]string, levels ...[]Level) []Equation {
	if len(labels) == 0 || len(labels[0]) == 0 {
		return nil
	}
	dims := len(labels[0])
	depth := make([]int, dims)
	for d := range depth {
		depth[d] = 2
		if d < len(levels) {
			depth[d] += len(levels[d])
		}
	}
	var out []Equation
	seen := map[string]bool{}
	for _, choice := range choices(depth) {
		by := map[string]int{}
		var found []Equation
		for i, l := range labels {
			var key []byte
			for d, c := range choice {
				name := l[d]
				if c == depth[d]-1 {
					continue
				}
				if c > 0 {
					if g, ok := levels[d][c-1][name]; ok {
						name = g
					}
				}
				key = append(binary.AppendUvarint(key, uint64(len(name))), name...)
			}
			at, ok := by[string(key)]
			if !ok {
				at = len(found)
				by[string(key)] = at
				found = append(found, Equation{})
			}
			found[at].Terms = append(found[at].Terms, Term{i, 1})
		}
		for _, q := range found {
			var key []byte
			for _, x := range q.Terms {
				key = binary.AppendUvarint(key, uint64(x.Cell))
			}
			if !seen[string(key)] {
				seen[string(key)] = true
				out = append(out, q)
			}
		}
	}
	return out
}

// choices lists every level per dimension but all the finest, fewest steps of coarsening first.
func choices(depth []int) [][]int {
	out := [][]int{{}}
	for _, n := range depth {
		var next [][]int
		for _, c := range out {
			for l := range n {
				next = append(next, append(slices.Clone(c), l))
			}
		}
		out = next
	}
	sum := func(c []int) (s int) {
		for _, l := range c {
			s += l
		}
		return s
	}
	slices.SortStableFunc(out, func(a, b []int) int { return sum(a) - sum(b) })
	return out[1:]
}
