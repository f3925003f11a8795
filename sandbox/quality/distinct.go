package quality

import (
	"math/bits"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// MaxKeys (键数上限) bounds how many different keys are kept before the sample is halved.
const MaxKeys = 1 << 19

// distinct counts different hashes. The table is open addressing, at most half full; when more than most are in it, only hashes
// with one more zero bit at their end are kept: the sample depends on the keys alone, not on their order.
type distinct struct {
	table []uint64 // 0: free
	n     int
	most  int
	shift int       // hashes with so many zero bits at their end are kept
	rows  [65]int64 // by the zero bits at the end of their hash
	zero  bool      // the hash 0 was seen
}

func newDistinct(most int) distinct { return distinct{most: most} }

func (d *distinct) add(hashes []uint64) {
	for _, h := range hashes {
		zeros := bits.TrailingZeros64(h)
		d.rows[zeros]++
		if zeros >= d.shift {
			d.put(h)
		}
	}
}

func (d *distinct) put(h uint64) {
	if h == 0 {
		d.zero = true
		return
	}
	if len(d.table) < 2*(d.n+1) {
		d.rehash(max(1024, 2*len(d.table)))
	}
	if d.place(h); d.n > d.most {
		d.shift++
		d.rehash(len(d.table))
	}
}

// place enters a hash that is not there yet.
func (d *distinct) place(h uint64) {
	mask := uint64(len(d.table) - 1)
	i := (h >> 20) & mask // the low bits are alike in a sample
	for ; d.table[i] != 0; i = (i + 1) & mask {
		if d.table[i] == h {
			return
		}
	}
	d.table[i] = h
	d.n++
}

// rehash makes a table of another size with what is still in the sample.
func (d *distinct) rehash(size int) {
	old := d.table
	d.table, d.n = make([]uint64, size), 0
	for _, h := range old {
		if h != 0 && bits.TrailingZeros64(h) >= d.shift {
			d.place(h)
		}
	}
}

// fraction gives the different keys of the rows in the sample.
func (d *distinct) fraction() catalog.Fraction {
	f := catalog.Fraction{Good: int64(d.n)}
	if d.zero {
		f.Good++
	}
	for _, n := range d.rows[d.shift:] {
		f.Of += n
	}
	return f
}

const nullHash = 0x9ae16a3b2f90404f

// hashColumn mixes one column into the rows' hashes: null, empty and 0 differ, and so do two columns with swapped values.
func hashColumn(h []uint64, a arrow.Array) {
	nulls := a.NullN() > 0
	switch a := a.(type) {
	case *array.String:
		offs, bytes := textOf(a)
		for i := range h {
			if nulls && a.IsNull(i) {
				h[i] = mix(h[i], nullHash)
			} else {
				h[i] = mix(h[i], xxh3.Hash(bytes[offs[i]:offs[i+1]]))
			}
		}
	case *array.Int64:
		hashValues(h, a.Int64Values(), a, nulls)
	case *array.Date32:
		hashValues(h, a.Date32Values(), a, nulls)
	case *array.Boolean:
		for i := range h {
			if nulls && a.IsNull(i) {
				h[i] = mix(h[i], nullHash)
			} else {
				h[i] = mix(h[i], mix(uint64(b2i(a.Value(i))), nullHash))
			}
		}
	}
}

func hashValues[T ~int64 | ~int32](h []uint64, v []T, a arrow.Array, nulls bool) {
	for i, x := range v {
		if nulls && a.IsNull(i) {
			h[i] = mix(h[i], nullHash)
		} else {
			h[i] = mix(h[i], mix(uint64(x), nullHash))
		}
	}
}

// mix folds the 128-bit product of two words, each masked by its own constant.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	return high ^ low
}
