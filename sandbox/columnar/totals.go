package columnar

import (
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// totals adds pairs up to cells in one pass over them in the order of subjects.
type totals struct {
	cells    []total
	measures []source
	everyone bool // some measure counts every row, so that every subject contributes
	dims     int

	contributors  []uint32  // of all cells, one cell after the other
	contributions [][]int64 // by measure, likewise
}

// total is one cell on the way.
type total struct {
	begin, end int // its part of contributors
	rows       int64
	sums       []wide // by measure
	nonMissing []int64
}

// wide is a 128-bit sum: the order of subjects cannot make it overflow on its way.
type wide struct {
	hi int64
	lo uint64
}

func (w *wide) add(v int64) {
	lo, carry := bits.Add64(w.lo, uint64(v), 0)
	w.lo = lo
	w.hi += v>>63 + int64(carry)
}

// source says where a measure's contribution is among a pair's words.
type source struct {
	fn   sandbox.MeasureFunc
	sum  int // word, 0 for count and subjects
	rows int // word of the non-missing rows; 0, the word of all rows, if none can be missing
}

func (r *run) newTotals() *totals {
	e, n := r.ev, len(r.d.Spec.Measures)
	t := &totals{cells: make([]total, r.scanner.grouper.n), dims: len(r.dims), contributors: make([]uint32, e.n)}
	for m, f := range r.d.Spec.Measures {
		s := source{fn: f.Func}
		if slot := r.slotOf[m]; slot < 0 {
			t.everyone = true
		} else if s.sum = e.at[slot]; e.counted[slot] {
			s.rows = s.sum + 1
		}
		t.measures = append(t.measures, s)
		t.contributions = append(t.contributions, make([]int64, e.n))
	}
	for i := range e.n {
		t.cells[e.keys.at(i)[0]>>32].end++
	}
	at, sums, counts := 0, make([]wide, n*len(t.cells)), make([]int64, n*len(t.cells))
	for c := range t.cells {
		x := &t.cells[c]
		at, x.begin, x.end = at+x.end, at, at
		x.sums, x.nonMissing = sums[c*n:][:n:n], counts[c*n:][:n:n]
	}
	return t
}

// add adds one pair.
func (t *totals) add(key uint64, words []uint64) {
	x := &t.cells[key>>32]
	x.rows += int64(words[0])
	contributes := t.everyone
	for m, s := range t.measures {
		v := int64(words[s.sum])
		if s.fn == sandbox.Subjects {
			v = 1
		}
		t.contributions[m][x.end] = v
		x.sums[m].add(v)
		n := int64(words[s.rows])
		x.nonMissing[m] += n
		contributes = contributes || n > 0
	}
	if contributes { // otherwise the next pair takes its place
		t.contributors[x.end] = uint32(key)
		x.end++
	}
}

// cell writes cell c.
func (t *totals) cell(out *sandbox.Cell, c int, measures []query.Measure) error {
	x := &t.cells[c]
	*out = sandbox.Cell{Labels: make([]string, t.dims), Values: make([]int64, len(t.measures)), Rows: x.rows, NonMissing: x.nonMissing,
		Contributors: t.contributors[x.begin:x.end:x.end], Contributions: make([][]int64, len(t.measures))}
	for m, s := range t.measures {
		out.Contributions[m] = t.contributions[m][x.begin:x.end:x.end]
		w := x.sums[m]
		if w.hi != int64(w.lo)>>63 {
			return fail(sandbox.TooLarge, "measure "+measures[m].As, "a sum stays within 64 bits")
		}
		if out.Values[m] = int64(w.lo); s.fn == sandbox.Mean {
			out.Values[m] = mean(int64(w.lo), x.nonMissing[m])
		}
	}
	return nil
}

// mean divides, rounding half away from zero; 0 over nothing.
func mean(sum, n int64) int64 {
	if n == 0 {
		return 0
	}
	q, rest := sum/n, sum%n
	if rest < 0 {
		if -rest >= n+rest {
			q--
		}
	} else if rest >= n-rest {
		q++
	}
	return q
}
