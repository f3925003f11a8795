package columnar

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar/vector"
	"github.com/opdomain/opdomain/sandbox/query"
)

// filter keeps rows by the label of one column. Where the labels that pass are a few intervals of amounts or days, values are compared
// and no row is labelled.
type filter struct {
	col   int // position in the input's batch
	coder *coder
	in    map[string]bool
	not   bool
	pass  []uint8 // by code
	state int8    // 0 not looked at yet; 1 the values that do not pass are those of gaps; -1 they are not known as such
	gaps  []interval
}

// interval is the values from lo to hi, both inclusive.
type interval struct {
	lo, hi int64
	pass   bool
}

// maxGaps bounds how many comparisons a value is worth: labelling costs about as much as four.
const maxGaps = 4

// allows gives whether a code passes, as 0 or 1.
func (f *filter) allows(code uint32) uint8 {
	for n := len(f.pass); n < len(f.coder.names); n++ {
		p := uint8(0)
		if f.passes(f.coder.names[n]) {
			p = 1
		}
		f.pass = append(f.pass, p)
	}
	return f.pass[code]
}

func (f *filter) passes(label string) bool { return f.in[label] != f.not }

// terms adds conditions on a batch's values that hold for the rows that pass. False when labels must be looked at.
func (f *filter) terms(b *inputBatch, out []vector.Term) ([]vector.Term, bool) {
	c := &b.cols[f.col]
	if c.ints == nil && c.days == nil || c.valid != nil && f.passes(catalog.Missing) {
		return out, false
	}
	if f.state == 0 {
		f.state = -1
		if bands := f.bands(); bands != nil {
			f.gaps = gaps(bands)
			if len(f.gaps) <= maxGaps {
				f.state = 1
			}
		}
	}
	if f.state < 0 {
		return out, false
	}
	if c.valid != nil {
		out = append(out, vector.Term{}.Valid(c.valid, c.off))
	}
	for _, g := range f.gaps {
		if c.ints != nil {
			out = append(out, outside(vector.IntsBetween, vector.IntsOutside, c.ints, g, math.MinInt64, math.MaxInt64))
		} else {
			out = append(out, outside(vector.DaysBetween, vector.DaysOutside, c.days, g, math.MinInt32, math.MaxInt32))
		}
	}
	return out, true
}

// outside gives the condition that a value is not in a gap, which may go on behind the greatest value with the least.
func outside[T int32 | int64](between, outside func([]T, T, T) vector.Term, v []T, g interval, least, most T) vector.Term {
	lo, hi := T(g.lo), T(g.hi)
	switch {
	case lo <= hi:
		return outside(v, lo, hi)
	case lo == least || hi == most: // not made by gaps
		return between(v, 1, 0)
	}
	return between(v, hi+1, lo-1)
}

// bands gives intervals in their order, without gaps between them, that together are all values of the column, and which of them pass;
// nil when labels are not intervals.
func (f *filter) bands() []interval {
	k := f.coder
	switch k.kind {
	case byEdges:
		return banded(k.edges, func(n int) bool { return f.allows(k.codes[n]) == 1 })
	case byAge:
		firsts := make([]int64, len(k.edges)) // the first day on which one age less is reached
		for i, e := range k.edges {
			firsts[len(k.edges)-1-i] = max(e, math.MinInt32-1) + 1
			if e >= math.MaxInt32 {
				firsts[len(k.edges)-1-i] = math.MaxInt32 + 1
			}
		}
		return within32(banded(firsts, func(n int) bool { return f.allows(k.codes[len(k.edges)-n]) == 1 }))
	case byYear:
		return within32(f.years())
	case byWord:
		if k.desc.Type == catalog.Bool || !k.closed {
			return nil
		}
		out := f.points()
		if k.desc.Type == catalog.Date {
			return within32(out)
		}
		return out
	}
	return nil
}

// banded gives the bands that edges in rising order cut, each beginning with its edge.
func banded(edges []int64, pass func(n int) bool) []interval {
	out := []interval{{math.MinInt64, math.MaxInt64, pass(0)}}
	for n, e := range edges {
		last := &out[len(out)-1]
		if e == last.lo { // nothing is below the edge, or between two
			last.pass = pass(n + 1)
			continue
		}
		last.hi = e - 1
		out = append(out, interval{e, math.MaxInt64, pass(n + 1)})
	}
	return out
}

// years gives the bands of a year bin: years have their number for a label, days before year 1 and after 9999 another.
func (f *filter) years() []interval {
	const last = 9999
	begin := func(y int) int64 { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay }
	named := make([]bool, last+1)
	for l := range f.in {
		if y, err := strconv.Atoi(l); err == nil && y >= 1 && y <= last && strconv.Itoa(y) == l {
			named[y] = f.in[l]
		}
	}
	other := f.passes(catalog.Other)
	out := []interval{{math.MinInt64, begin(1) - 1, other}}
	for y := 1; y <= last; y++ {
		if pass := named[y] != f.not; pass != out[len(out)-1].pass {
			out[len(out)-1].hi = begin(y) - 1
			out = append(out, interval{begin(y), 0, pass})
		}
	}
	out[len(out)-1].hi = begin(last+1) - 1
	return append(out, interval{begin(last + 1), math.MaxInt64, other})
}

// points gives the bands of public numbers or dates, of which few are named.
func (f *filter) points() []interval {
	var values []int64
	for l := range f.in {
		if v, ok := query.Value(f.coder.desc, l); ok && f.in[l] {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	var edges []int64
	var pass []bool
	for _, v := range slices.Compact(values) {
		if n := len(edges); n > 0 && edges[n-1] == v {
			edges, pass = edges[:n-1], pass[:n-1]
		}
		edges, pass = append(edges, v), append(pass, !f.not)
		if v < math.MaxInt64 {
			edges, pass = append(edges, v+1), append(pass, f.not)
		}
	}
	return banded(edges, func(n int) bool {
		if n == 0 {
			return f.passes(rest)
		}
		return pass[n-1]
	})
}

// within32 cuts bands to what a date can be.
func within32(bands []interval) []interval {
	var out []interval
	for _, b := range bands {
		b.lo, b.hi = max(b.lo, math.MinInt32), min(b.hi, math.MaxInt32)
		if b.lo <= b.hi {
			out = append(out, b)
		}
	}
	return out
}

// gaps gives the intervals of values that do not pass; the last one may end before it begins: it goes on with the least value.
func gaps(bands []interval) []interval {
	var out []interval
	for i, b := range bands {
		switch {
		case b.pass:
		case i > 0 && !bands[i-1].pass:
			out[len(out)-1].hi = b.hi
		default:
			out = append(out, b)
		}
	}
	if n := len(out); n > 1 && out[0].lo == bands[0].lo && out[n-1].hi == bands[len(bands)-1].hi {
		out[n-1].hi = out[0].hi
		out = out[1:]
	}
	return out
}

// apply narrows sel in place.
func (f *filter) apply(k vector.Kernels, b *inputBatch, sel []int32, codes []uint32) ([]int32, error) {
	var buf [maxGaps + 1]vector.Term
	terms, ok := f.terms(b, buf[:0])
	if !ok {
		return f.byCode(b, sel, codes)
	}
	for i := range terms {
		sel = k.Keep(&terms[i], sel)
	}
	return sel, nil
}

// byCode does so by the labels of the rows.
func (f *filter) byCode(b *inputBatch, sel []int32, codes []uint32) ([]int32, error) {
	c := &b.cols[f.col]
	if c.codes != nil && c.valid == nil && (f.coder.kind == byPrefix || f.coder.kind == byExact) {
		return f.byEntry(c, sel), nil
	}
	if err := f.coder.encode(c, sel, codes); err != nil {
		return nil, err
	}
	if len(f.coder.names) > 0 {
		f.allows(0)
	}
	return vector.KeepCodes(sel, codes, f.pass), nil
}
