package vault

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/sandbox"
)

// compare holds two pseudonyms against each other; on eight bytes at once it takes a third of bytes.Compare.
func compare(a, b *sandbox.Pseudonym) int {
	x, y := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])
	if x == y {
		x, y = binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// inOrder says whether no row stands before one of a smaller pseudonym.
func inOrder(who []sandbox.Pseudonym) bool {
	for i := 1; i < len(who); i++ {
		if compare(&who[i-1], &who[i]) > 0 {
			return false
		}
	}
	return true
}

// held is the rows that are in no run yet, in batches as they came; none is empty.
type held struct {
	recs      []arrow.Record
	who       [][]sandbox.Pseudonym
	ends      []int // rows up to the end of each
	longest   int
	bytes     int64
	scattered bool // they did not come in the order of their pseudonyms
}

func (h *held) rows() int {
	if len(h.ends) == 0 {
		return 0
	}
	return h.ends[len(h.ends)-1]
}

// follow says whether rows that come next keep the order.
func (h *held) follow(who []sandbox.Pseudonym) bool {
	if h.scattered {
		return false
	}
	if len(h.who) > 0 {
		last := h.who[len(h.who)-1]
		if compare(&last[len(last)-1], &who[0]) > 0 {
			return false
		}
	}
	return inOrder(who)
}

// add takes a batch over.
func (h *held) add(rec arrow.Record, who []sandbox.Pseudonym, bytes int64) {
	h.recs, h.who, h.ends = append(h.recs, rec), append(h.who, who), append(h.ends, h.rows()+len(who))
	h.longest = max(h.longest, len(who))
	h.bytes += bytes
}

// find gives the batch of a row and its place there.
func (h *held) find(row int) (source, place int) {
	source = sort.SearchInts(h.ends, row+1)
	return source, row - h.ends[source] + len(h.who[source])
}

// stretches gives the rows from one to another as parts of batches.
func (h *held) stretches(from, to int, into []stretch) []stretch {
	for source, place := h.find(from); from < to; source, place = source+1, 0 {
		n := min(len(h.who[source])-place, to-from)
		into = append(into, stretch{source, place, place + n})
		from += n
	}
	return into
}

// drain lets the rows go.
func (h *held) drain() {
	for _, r := range h.recs {
		r.Release()
	}
	clear(h.recs)
	clear(h.who)
	*h = held{recs: h.recs[:0], who: h.who[:0], ends: h.ends[:0]}
}

// order is the rows of several batches by pseudonym, then by arrival. They are spread over buckets of the first bits, in
// which they stay as they arrived, and each bucket is sorted in the cache. There a row is one word: as many leading bits of
// its pseudonym as there is room for, then its place among the spread rows, so that words sort by pseudonym and, of one, by
// arrival. What the leading bits do not tell apart is compared whole afterwards; of random pseudonyms that is next to
// nothing.
type order struct {
	rows []uint64 // words
	who  []sandbox.Pseudonym
	ends []int // of the buckets
	low  int   // the bits below those of the bucket
	mask uint64

	spare    []uint64 // of one bucket
	spareWho []sandbox.Pseudonym
}

// orderSize is what order takes of memory for a row.
const orderSize = 8 + 16

// bucketRows is about half of what a bucket holds: a column of it stays in a core's own cache.
const bucketRows = 1 << 13

// sort brings batches into order, over what is there from an earlier sort.
func (o *order) sort(h *held) {
	n := h.rows()
	if cap(o.rows) < n {
		o.rows, o.who = make([]uint64, n), make([]sandbox.Pseudonym, n)
	}
	o.rows, o.who = o.rows[:n], o.who[:n]
	largest := o.spread(h)
	if len(o.spare) < largest {
		o.spare, o.spareWho = make([]uint64, largest), make([]sandbox.Pseudonym, largest)
	}
	from := 0
	for _, end := range o.ends {
		o.bucket(from, end)
		from = end
	}
}

// spread puts the rows into buckets and gives the size of the largest.
func (o *order) spread(h *held) (largest int) {
	n := len(o.rows)
	o.low = 64 - min(bits.Len(uint(n/(2*bucketRows))), 12)
	next := make([]int, 1<<(64-o.low))
	for _, who := range h.who {
		for r := range who {
			next[binary.BigEndian.Uint64(who[r][:8])>>o.low]++
		}
	}
	o.ends = o.ends[:0]
	at := 0
	for i, k := range next {
		next[i], at, largest = at, at+k, max(largest, k)
		o.ends = append(o.ends, at)
	}
	o.mask = 1<<bits.Len(uint(n)) - 1
	for _, who := range h.who {
		for r := range who {
			hi := binary.BigEndian.Uint64(who[r][:8])
			i := next[hi>>o.low]
			next[hi>>o.low]++
			o.rows[i] = hi&^o.mask | uint64(i)
			o.who[i] = who[r]
		}
	}
	return largest
}

// radixRows is from how many rows on a radix sort wins.
const radixRows = 512

// bucket sorts one bucket and its pseudonyms.
func (o *order) bucket(from, end int) {
	rows, who := o.rows[from:end], o.who[from:end]
	if len(rows) < radixRows {
		slices.Sort(rows)
	} else {
		radix(rows, o.spare[:len(rows)], o.low)
		insert(rows)
	}
	wrong, before, sorted := false, uint64(0), o.spareWho[:len(who)]
	for i, e := range rows {
		sorted[i] = who[int(e&o.mask)-from]
		if i > 0 && e^before <= o.mask && sorted[i] != sorted[i-1] {
			wrong = true
		}
		before = e
	}
	copy(who, sorted)
	if wrong {
		settle(rows, who, o.mask)
	}
}

// radix sorts by about as many bits below a first one as a row number has, in two passes from the lower ones up.
func radix(rows, spare []uint64, below int) {
	width := min(bits.Len(uint(len(rows)))/2+1, 12)
	low, high := below-2*width, below-width
	var lows, highs [1 << 12]uint32
	digit := uint64(1)<<width - 1
	for _, e := range rows {
		lows[e>>low&digit]++
		highs[e>>high&digit]++
	}
	a, b := uint32(0), uint32(0)
	for i := range digit + 1 {
		lows[i], a = a, a+lows[i]
		highs[i], b = b, b+highs[i]
	}
	for _, e := range rows {
		at := &lows[e>>low&digit]
		spare[*at] = e
		*at++
	}
	for _, e := range spare {
		at := &highs[e>>high&digit]
		rows[*at] = e
		*at++
	}
}

// insert ends the sort of what is nearly in order; pseudonyms that are not random can be far from it.
func insert(a []uint64) {
	budget := 4 * len(a)
	for i := 1; i < len(a); i++ {
		x := a[i]
		if a[i-1] <= x {
			continue
		}
		j := i
		for ; j > 0 && a[j-1] > x; j-- {
			a[j] = a[j-1]
		}
		a[j] = x
		if budget -= i - j; budget < 0 {
			slices.Sort(a)
			return
		}
	}
}

// settle puts right what the leading bits do not tell apart.
func settle(rows []uint64, who []sandbox.Pseudonym, mask uint64) {
	type row struct {
		word uint64
		who  sandbox.Pseudonym
	}
	var group []row
	for from, to := 0, 0; from < len(rows); from = to {
		for to = from + 1; to < len(rows) && rows[to]^rows[from] <= mask; to++ {
		}
		if inOrder(who[from:to]) {
			continue
		}
		group = group[:0]
		for i := from; i < to; i++ {
			group = append(group, row{rows[i], who[i]})
		}
		slices.SortStableFunc(group, func(x, y row) int { return compare(&x.who, &y.who) })
		for i, r := range group {
			rows[from+i], who[from+i] = r.word, r.who
		}
	}
	clear(group[:cap(group)])
}

// forget clears what was sorted.
func (o *order) forget() {
	clear(o.rows[:cap(o.rows)])
	clear(o.who[:cap(o.who)])
	clear(o.spare)
	clear(o.spareWho)
	*o = order{}
}

// lineup is the rows in memory in the order of their pseudonyms: as they came, or as order has them.
type lineup struct {
	held   *held
	order  *order
	spread arrow.Record // by bucket, where there is an order
	gather gatherer
	parts  []stretch
}

// same says whether a row is the subject's of the row before it.
func (l *lineup) same(row int) bool {
	if l.held.scattered {
		return l.order.who[row] == l.order.who[row-1]
	}
	s, at := l.held.find(row)
	if at > 0 {
		return l.held.who[s][at] == l.held.who[s][at-1]
	}
	before := l.held.who[s-1]
	return l.held.who[s][0] == before[len(before)-1]
}

// take gives the rows from one to another as one record.
func (l *lineup) take(from, to int) arrow.Record {
	if l.held.scattered {
		return l.gather.rows(l.order.rows[from:to], l.order.who[from:to])
	}
	l.parts = l.held.stretches(from, to, l.parts[:0])
	return l.gather.stretches(l.parts)
}

// forget clears the buffers and lets them go.
func (l *lineup) forget() {
	if l.spread != nil {
		l.spread.Release()
	}
	l.gather.forget()
}
