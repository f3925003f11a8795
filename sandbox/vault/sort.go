package vault

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// rowKey is a row's pseudonym and where the row stands: source in the high half, row in the low one. Pseudonyms are random,
// so a sort by their first bytes spreads evenly.
type rowKey struct {
	hi, lo uint64
	at     uint64
}

const rowKeySize = 24

func keyOf(p *sandbox.Pseudonym, source, row int) rowKey {
	return rowKey{binary.BigEndian.Uint64(p[:8]), binary.BigEndian.Uint64(p[8:]), uint64(source)<<32 | uint64(row)}
}

func compareKeys(a, b rowKey) int {
	if a.hi != b.hi {
		return cmp.Compare(a.hi, b.hi)
	}
	if a.lo != b.lo {
		return cmp.Compare(a.lo, b.lo)
	}
	return cmp.Compare(a.at, b.at)
}

func (k rowKey) same(o rowKey) bool { return k.hi == o.hi && k.lo == o.lo }

func (k rowKey) pseudonym() (p sandbox.Pseudonym) {
	binary.BigEndian.PutUint64(p[:8], k.hi)
	binary.BigEndian.PutUint64(p[8:], k.lo)
	return p
}

const (
	bucketBits = 16
	buckets    = 1 << bucketBits
)

// sortKeys puts the rows of several batches into one order, by pseudonym, then by arrival: one pass spreads them over
// buckets of the first bits, then each bucket is sorted in the cache. Rows that come in order already are only copied. into
// is written over and given back, grown when it is too small.
func sortKeys(chunks [][]rowKey, into []rowKey) []rowKey {
	n, ordered := 0, true
	var last rowKey
	for _, c := range chunks {
		for i := range c {
			ordered = ordered && (n+i == 0 || compareKeys(last, c[i]) <= 0)
			last = c[i]
		}
		n += len(c)
	}
	if cap(into) < n {
		into = make([]rowKey, n)
	}
	into = into[:n]
	if ordered || n < buckets/8 {
		at := 0
		for _, c := range chunks {
			at += copy(into[at:], c)
		}
		if !ordered {
			slices.SortFunc(into, compareKeys)
		}
		return into
	}
	ends := make([]uint32, buckets)
	for _, c := range chunks {
		for i := range c {
			ends[c[i].hi>>(64-bucketBits)]++
		}
	}
	sum := uint32(0)
	for i, k := range ends {
		ends[i] = sum
		sum += k
	}
	for _, c := range chunks {
		for i := range c {
			b := c[i].hi >> (64 - bucketBits)
			into[ends[b]] = c[i]
			ends[b]++
		}
	}
	from := uint32(0)
	for _, end := range ends {
		if end-from > 1 {
			slices.SortFunc(into[from:end], compareKeys)
		}
		from = end
	}
	return into
}

// gatherer brings rows of several records of one schema together in a new order.
type gatherer struct {
	schema  *arrow.Schema
	mem     memory.Allocator
	sources []arrow.Record
}

// gather gives the rows that order names, as one record. The last column of a source is its pseudonyms.
func (g *gatherer) gather(order []rowKey) arrow.Record {
	cols := make([]arrow.Array, g.schema.NumFields())
	for c := range cols {
		switch g.schema.Field(c).Type.ID() {
		case arrow.STRING:
			cols[c] = g.text(c, order)
		case arrow.INT64:
			cols[c] = words(g, c, order, func(a arrow.Array) []int64 { return a.(*array.Int64).Int64Values() })
		case arrow.DATE32:
			cols[c] = words(g, c, order, func(a arrow.Array) []arrow.Date32 { return a.(*array.Date32).Date32Values() })
		case arrow.BOOL:
			cols[c] = g.bools(c, order)
		default:
			cols[c] = g.pseudonyms(c, order)
		}
	}
	rec := array.NewRecord(g.schema, cols, int64(len(order)))
	for _, a := range cols {
		a.Release()
	}
	return rec
}

// valid gives the validity bits of a column, or none when nothing is null.
func (g *gatherer) valid(c int, order []rowKey) (*memory.Buffer, int) {
	some := false
	for _, s := range g.sources {
		some = some || s.Column(c).NullN() > 0
	}
	if !some {
		return nil, 0
	}
	b := memory.NewResizableBuffer(g.mem)
	b.Resize(int(bitutil.BytesForBits(int64(len(order)))))
	bits, nulls := b.Bytes(), 0
	clear(bits)
	for i, k := range order {
		if g.sources[k.at>>32].Column(c).IsValid(int(uint32(k.at))) {
			bitutil.SetBit(bits, i)
		} else {
			nulls++
		}
	}
	return b, nulls
}

func words[T int64 | arrow.Date32](g *gatherer, c int, order []rowKey, of func(arrow.Array) []T) arrow.Array {
	from := make([][]T, len(g.sources))
	for i, s := range g.sources {
		from[i] = of(s.Column(c))
	}
	b := memory.NewResizableBuffer(g.mem)
	t := g.schema.Field(c).Type
	width := t.(arrow.FixedWidthDataType).BitWidth() / 8
	b.Resize(len(order) * width)
	var out []T
	switch any(out).(type) {
	case []int64:
		out = any(arrow.Int64Traits.CastFromBytes(b.Bytes())).([]T)
	default:
		out = any(arrow.Date32Traits.CastFromBytes(b.Bytes())).([]T)
	}
	for i, k := range order {
		out[i] = from[k.at>>32][uint32(k.at)]
	}
	valid, nulls := g.valid(c, order)
	return g.finish(t, len(order), nulls, valid, b)
}

func (g *gatherer) bools(c int, order []rowKey) arrow.Array {
	b := memory.NewResizableBuffer(g.mem)
	b.Resize(int(bitutil.BytesForBits(int64(len(order)))))
	bits := b.Bytes()
	clear(bits)
	for i, k := range order {
		if a := g.sources[k.at>>32].Column(c).(*array.Boolean); a.IsValid(int(uint32(k.at))) && a.Value(int(uint32(k.at))) {
			bitutil.SetBit(bits, i)
		}
	}
	valid, nulls := g.valid(c, order)
	return g.finish(arrow.FixedWidthTypes.Boolean, len(order), nulls, valid, b)
}

func (g *gatherer) pseudonyms(c int, order []rowKey) arrow.Array {
	b := memory.NewResizableBuffer(g.mem)
	b.Resize(len(order) * 16)
	out := b.Bytes()
	for i, k := range order {
		binary.BigEndian.PutUint64(out[16*i:], k.hi)
		binary.BigEndian.PutUint64(out[16*i+8:], k.lo)
	}
	return g.finish(subjectType, len(order), 0, nil, b)
}

func (g *gatherer) text(c int, order []rowKey) arrow.Array {
	type source struct {
		offsets []int32
		bytes   []byte
	}
	from := make([]source, len(g.sources))
	for i, s := range g.sources {
		a := s.Column(c).(*array.String)
		from[i].offsets = a.ValueOffsets()
		if b := a.Data().Buffers()[2]; b != nil {
			from[i].bytes = b.Bytes()
		}
	}
	ends := memory.NewResizableBuffer(g.mem)
	ends.Resize(4 * (len(order) + 1))
	at := arrow.Int32Traits.CastFromBytes(ends.Bytes())
	at[0] = 0
	size := int32(0)
	for i, k := range order {
		o := from[k.at>>32].offsets
		r := uint32(k.at)
		size += o[r+1] - o[r]
		at[i+1] = size
	}
	b := memory.NewResizableBuffer(g.mem)
	b.Resize(int(size))
	out := b.Bytes()
	for i, k := range order {
		s := &from[k.at>>32]
		r := uint32(k.at)
		copy(out[at[i]:at[i+1]], s.bytes[s.offsets[r]:s.offsets[r+1]])
	}
	valid, nulls := g.valid(c, order)
	data := array.NewData(arrow.BinaryTypes.String, len(order), []*memory.Buffer{valid, ends, b}, nil, nulls, 0)
	defer data.Release()
	for _, x := range []*memory.Buffer{valid, ends, b} {
		if x != nil {
			x.Release()
		}
	}
	return array.NewStringData(data)
}

func (g *gatherer) finish(t arrow.DataType, n, nulls int, valid, b *memory.Buffer) arrow.Array {
	data := array.NewData(t, n, []*memory.Buffer{valid, b}, nil, nulls, 0)
	defer data.Release()
	if valid != nil {
		valid.Release()
	}
	b.Release()
	return array.MakeFromData(data)
}
