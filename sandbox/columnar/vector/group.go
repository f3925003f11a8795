package vector

import "math/bits"

// Cell (分组累计) is the rows of one group and the sum of their values.
type Cell struct{ Sum, Rows int64 }

// Code (标签代码) is how a column names a row's group: a number below the number of groups.
type Code interface{ ~uint16 | ~uint32 }

// Group counts every row of sel in the cell of its code and adds its value there. False when a cell's sum leaves 64 bits on its
// way; what the cells hold then means nothing.
func Group[C Code](cells []Cell, codes []C, values []int64, sel []int32) bool {
	over := int64(0)
	for _, i := range sel {
		v := values[i]
		c := &cells[codes[i]]
		sum := c.Sum + v
		over |= (sum ^ c.Sum) & (sum ^ v)
		c.Sum = sum
		c.Rows++
	}
	return over >= 0
}

// GroupAll does the same for all rows.
func GroupAll[C Code](cells []Cell, codes []C, values []int64) bool {
	over := int64(0)
	values = values[:len(codes)]
	for i, code := range codes {
		v := values[i]
		c := &cells[code]
		sum := c.Sum + v
		over |= (sum ^ c.Sum) & (sum ^ v)
		c.Sum = sum
		c.Rows++
	}
	return over >= 0
}

// Rows counts every row of sel in the place of its code. Where values can be missing, Group takes the rows that have one and Rows those
// that have none: Term.Valid and Term.Null tell them apart in masks, far below what a test in every row costs.
func Rows[C Code](counts []int64, codes []C, sel []int32) {
	for _, i := range sel {
		counts[codes[i]]++
	}
}

// Merge adds the cells of another part, as many. False when a sum leaves 64 bits.
func Merge(cells, part []Cell) bool {
	over := int64(0)
	part = part[:len(cells)]
	for i := range cells {
		c, p := &cells[i], &part[i]
		sum := c.Sum + p.Sum
		over |= (sum ^ c.Sum) & (sum ^ p.Sum)
		*c = Cell{sum, c.Rows + p.Rows}
	}
	return over >= 0
}

// Sum (总和) is an exact sum of int64 in 128 bits: it does not depend on the order of rows, and fewer than 2^63 of them cannot leave it.
type Sum struct {
	hi int64
	lo uint64
}

// Add adds one value.
func (s *Sum) Add(v int64) {
	lo, carry := bits.Add64(s.lo, uint64(v), 0)
	s.lo, s.hi = lo, s.hi+v>>63+int64(carry)
}

// Int64 gives the sum, and false when it is over 64 bits.
func (s Sum) Int64() (int64, bool) { return int64(s.lo), s.hi == int64(s.lo)>>63 }

// Total adds to s the values of the rows from…from+n-1 that meet all terms, and gives how many they are. values stand by row; sel is
// scratch with room for n. Values have no nulls, or a term with their validity.
func (k Kernels) Total(s *Sum, terms []Term, from, n int, values []int64, sel []int32) int {
	rows := 0
	for done := 0; done < n; done += chunk {
		m := min(chunk, n-done)
		if k.level == avx512 {
			rows += totalWide(s, terms, from+done, m, values)
			continue
		}
		part := k.Where(terms, from+done, m, sel)
		total := *s
		for _, i := range part {
			total.Add(values[i])
		}
		*s = total
		rows += len(part)
	}
	return rows
}
