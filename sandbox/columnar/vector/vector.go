// Package vector is the engine's kernels over columns (向量化算子): filters that write selection vectors, masks over validity bits, and
// sums and counts by group, each in pure Go and, where it is built so, in the processor's vector instructions.
//
// A row is its position in a column, an int32. A selection vector is rows that rise, each standing once. Columns are slices of
// int32 (dates, in days), int64 (amounts, in the column's scaled unit) and uint16 or uint32 (codes of labels); validity is Arrow's
// bitmap, least bit first, from any bit on. Masks are words of 64 rows, least bit first.
//
// Twins: Go is pure Go, the default build and the reference. With GOEXPERIMENT=simd on amd64 there are also twins for AVX2 and AVX-512,
// written with simd/archsimd; Best chooses by what the processor says. All twins give the same bits for the same input, tests hold them to
// it on random batches. simd/archsimd is outside the Go 1 promise: that build is one a site chooses.
//
//	GOEXPERIMENT=simd go build ./cmd/opdomain
//
// Promises: nothing is allocated; a sum over 64 bits is reported and never wraps silently; a code or row outside its column panics
// as an index does and touches nothing else. Nothing here decides or refuses: callers turn a false into their error.
//
// Gathers and scatters are not among the vector instructions of simd/archsimd in Go 1.26, so that grouping is a scalar loop in every
// twin: what differs is how rows are chosen. Go assembly would reach the default build too, but would be a third text of every kernel
// to review. Cells of their own for every second row, and two conditions in one loop, were tried in pure Go and were no faster.
package vector

// Kernels (算子集) is one twin of the kernels. The zero value is Go.
type Kernels struct{ level level }

type level uint8

const (
	pure level = iota
	avx2
	avx512
)

// Go is the twin in pure Go.
var Go = Kernels{}

// Best gives the fastest twin that this build has and this processor runs.
func Best() Kernels { return Kernels{best} }

// Twins gives every twin that this build has and this processor runs, Go first.
func Twins() []Kernels {
	var out []Kernels
	for l := pure; l <= best; l++ {
		out = append(out, Kernels{l})
	}
	return out
}

func (k Kernels) String() string {
	return [...]string{"pure Go", "archsimd AVX2", "archsimd AVX-512"}[k.level]
}

// Set (取值集合) is the codes, or the days from a base on, that pass. It does not change once made.
type Set struct {
	base  uint32
	pass  []uint8    // one more than there are: the last stands for everything outside and is 0
	words [16]uint32 // the same as bits, if there are at most small
}

const small = 16 * 32 // codes whose bits fit a register of 512

// NewSet makes the set of base+i for which pass[i] is 1, not 0; nothing else passes. It keeps no reference to pass.
func NewSet(base int32, pass []uint8) *Set {
	s := &Set{base: uint32(base), pass: make([]uint8, len(pass)+1)}
	for i, p := range pass {
		s.pass[i] = p & 1
		if i < small {
			s.words[i/32] |= uint32(p&1) << (i % 32)
		}
	}
	return s
}

// Term (条件) is one condition on one column. A null does not meet it. The zero value is met by every row.
type Term struct {
	kind  kind
	ints  []int64
	days  []int32
	codes []uint32
	lo    int64 // of a range; it may go on behind the greatest number with the least
	span  uint64
	set   *Set
	valid []byte // bitmap; nil when there is no null
	off   int
	null  bool // the bits must be 0
}

type kind uint8

const (
	always kind = iota
	never
	intRange
	dayRange
	daySet
	codeSet
)

// IntsBetween is met by the rows whose value is from lo to hi, both inclusive.
func IntsBetween(v []int64, lo, hi int64) Term {
	if lo > hi {
		return Term{kind: never}
	}
	return Term{kind: intRange, ints: v, lo: lo, span: uint64(hi) - uint64(lo)}
}

// DaysBetween is met by the rows whose value is from lo to hi, both inclusive.
func DaysBetween(v []int32, lo, hi int32) Term {
	if lo > hi {
		return Term{kind: never}
	}
	return Term{kind: dayRange, days: v, lo: int64(lo), span: uint64(uint32(hi) - uint32(lo))}
}

// IntsOutside is met by the rows whose value is below lo or above hi.
func IntsOutside(v []int64, lo, hi int64) Term {
	if lo > hi {
		return Term{}
	}
	return circle(Term{kind: intRange, ints: v, lo: hi + 1, span: uint64(lo) - uint64(hi) - 2}, uint64(lo)-uint64(hi) == 1)
}

// DaysOutside is met by the rows whose value is below lo or above hi.
func DaysOutside(v []int32, lo, hi int32) Term {
	if lo > hi {
		return Term{}
	}
	return circle(Term{kind: dayRange, days: v, lo: int64(hi + 1), span: uint64(uint32(lo) - uint32(hi) - 2)}, uint32(lo)-uint32(hi) == 1)
}

// circle gives the term of a range that goes on behind the greatest number with the least, unless nothing is left of it.
func circle(t Term, none bool) Term {
	if none {
		return Term{kind: never}
	}
	return t
}

// DaysIn is met by the rows whose value is in s.
func DaysIn(v []int32, s *Set) Term { return Term{kind: daySet, days: v, set: s} }

// CodesIn is met by the rows whose code is in s.
func CodesIn(v []uint32, s *Set) Term { return Term{kind: codeSet, codes: v, set: s} }

// Valid adds the column's validity bitmap, row 0 at bit off. A nil bitmap has no nulls.
func (t Term) Valid(bitmap []byte, off int) Term {
	t.valid, t.off = bitmap, off
	return t
}

// Null is met by the rows without a value in a validity bitmap, row 0 at bit off. A nil bitmap has no nulls.
func Null(bitmap []byte, off int) Term {
	if bitmap == nil {
		return Term{kind: never}
	}
	return Term{valid: bitmap, off: off, null: true}
}

// chunk is how many rows are filtered at once: masks and selections of so many stay in the first cache.
const chunk = 1024

// Where writes to sel, which has room for n, the rows from…from+n-1 that meet all terms, and gives that part of sel.
func (k Kernels) Where(terms []Term, from, n int, sel []int32) []int32 {
	at := 0
	for done := 0; done < n; done += chunk {
		m := min(chunk, n-done)
		if k.level == pure {
			at += whereGo(terms, from+done, m, sel[at:])
		} else {
			at += k.whereWide(terms, from+done, m, sel[at:])
		}
	}
	return sel[:at]
}

// Keep keeps of sel, in place and in any order, the rows that meet t. It is the same loop in every twin.
func (k Kernels) Keep(t *Term, sel []int32) []int32 {
	sel = keep(t, sel)
	if t.valid != nil {
		sel = sel[:keepBits(sel, t.valid, t.off, t.null)]
	}
	return sel
}

// keep does so by what t says of values, not of validity.
func keep(t *Term, sel []int32) []int32 {
	switch t.kind {
	case never:
		return sel[:0]
	case intRange:
		return sel[:keepInts(sel, t.ints, t.lo, t.span)]
	case dayRange:
		return sel[:keepDays(sel, t.days, int32(t.lo), uint32(t.span))]
	case daySet:
		return sel[:keepSet(sel, t.days, t.set)]
	case codeSet:
		return sel[:keepSet(sel, t.codes, t.set)]
	}
	return sel
}

// Fill writes from, from+1, … to sel.
func Fill(sel []int32, from int) {
	for len(sel) >= 8 {
		s := (*[8]int32)(sel)
		f := int32(from)
		s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7] = f, f+1, f+2, f+3, f+4, f+5, f+6, f+7
		sel, from = sel[8:], from+8
	}
	for i := range sel {
		sel[i] = int32(from + i)
	}
}
