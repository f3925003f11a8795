package vault

import (
	"math/bits"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// stretch is rows of one source that stand together.
type stretch struct{ source, from, to int }

// gatherer brings rows of several records of one schema together, as one record whose last column is the pseudonyms. Its
// buffers are used again for the next record unless apart: fresh memory for each cost as much as the copy.
type gatherer struct {
	schema  *arrow.Schema
	mem     memory.Allocator
	sources []arrow.Record
	address address
	apart   bool // a record lives on when the next is gathered

	buffers []*memory.Buffer // three a column
	starts  []uint32         // of texts
}

// address is where a word holds the source and the place of a row.
type address struct {
	mask    uint64 // both
	rowMask uint64 // the place
	rowBits uint
}

// picked is what a record is made of: single rows, or stretches.
type picked struct {
	rows      []uint64
	who       []sandbox.Pseudonym // of the rows
	stretches []stretch
	n         int
}

// rows gives single rows as one record, which reads from who until it is released.
func (g *gatherer) rows(rows []uint64, who []sandbox.Pseudonym) arrow.Record {
	return g.record(picked{rows: rows, who: who, n: len(rows)})
}

// stretches gives stretches as one record. One stretch is not copied.
func (g *gatherer) stretches(all []stretch) arrow.Record {
	if len(all) == 1 {
		s := all[0]
		rec := g.sources[s.source].NewSlice(int64(s.from), int64(s.to))
		for _, c := range rec.Columns() {
			c.NullN() // counted on demand, which the goroutines that seal the columns must not do
		}
		return rec
	}
	p := picked{stretches: all}
	for _, s := range all {
		p.n += s.to - s.from
	}
	return g.record(p)
}

func (g *gatherer) record(p picked) arrow.Record {
	cols := make([]arrow.Array, g.schema.NumFields())
	for c := range cols {
		switch t := g.schema.Field(c).Type; t.ID() {
		case arrow.STRING:
			cols[c] = g.text(c, p)
		case arrow.INT64:
			cols[c] = g.finish(c, p, fixed[uint64](g, c, p))
		case arrow.DATE32:
			cols[c] = g.finish(c, p, fixed[uint32](g, c, p))
		case arrow.BOOL:
			values := g.bits(c, 1, p, func(a arrow.Array) []byte { return a.Data().Buffers()[1].Bytes() })
			cols[c] = g.finish(c, p, values)
		default:
			if p.who != nil {
				cols[c] = g.finish(c, p, memory.NewBufferBytes(pseudonymBytes(p.who)))
			} else {
				cols[c] = g.finish(c, p, fixed[sandbox.Pseudonym](g, c, p))
			}
		}
	}
	rec := array.NewRecord(g.schema, cols, int64(p.n))
	for _, a := range cols {
		a.Release()
	}
	return rec
}

// buffer gives the k-th buffer of a column.
func (g *gatherer) buffer(c, k, size int) *memory.Buffer {
	if g.apart {
		b := memory.NewResizableBuffer(g.mem)
		b.Resize(size)
		return b
	}
	if g.buffers == nil {
		g.buffers = make([]*memory.Buffer, 3*g.schema.NumFields())
	}
	b := g.buffers[3*c+k]
	if b == nil {
		b = memory.NewResizableBuffer(g.mem)
		g.buffers[3*c+k] = b
	}
	if b.Cap() < size {
		b.Reserve(size + size/8)
	}
	b.ResizeNoShrink(size)
	b.Retain()
	return b
}

// forget clears the buffers and lets them go.
func (g *gatherer) forget() {
	for _, b := range g.buffers {
		if b != nil {
			clear(b.Buf())
			b.Release()
		}
	}
	g.buffers = nil
}

// cells gives the values of a fixed-width column.
func cells[T uint64 | uint32 | sandbox.Pseudonym](a arrow.Array) []T {
	if a.Len() == 0 {
		return nil
	}
	b := a.Data().Buffers()[1].Bytes()[a.Data().Offset()*int(unsafe.Sizeof(*new(T))):]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), a.Len())
}

func pseudonymBytes(who []sandbox.Pseudonym) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(who))), 16*len(who))
}

func fixed[T uint64 | uint32 | sandbox.Pseudonym](g *gatherer, c int, p picked) *memory.Buffer {
	from := make([][]T, len(g.sources))
	for i, s := range g.sources {
		from[i] = cells[T](s.Column(c))
	}
	b := g.buffer(c, 1, p.n*int(unsafe.Sizeof(*new(T))))
	out := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b.Bytes()))), p.n)
	a := g.address
	for i, e := range p.rows {
		out[i] = from[e&a.mask>>a.rowBits][e&a.rowMask]
	}
	for _, s := range p.stretches {
		out = out[copy(out, from[s.source][s.from:s.to]):]
	}
	return b
}

// bits gathers a bitmap of each source; where there is none, every bit is set.
func (g *gatherer) bits(c, k int, p picked, of func(arrow.Array) []byte) *memory.Buffer {
	type bitmap struct {
		bits   []byte
		offset int
	}
	from := make([]bitmap, len(g.sources))
	for i, s := range g.sources {
		from[i] = bitmap{of(s.Column(c)), s.Column(c).Data().Offset()}
	}
	b := g.buffer(c, k, (p.n+7)/8)
	out := b.Bytes()
	if p.n > 0 {
		out[len(out)-1] = 0
	}
	a, one := g.address, byte(0)
	for i, e := range p.rows {
		m, bit := &from[e&a.mask>>a.rowBits], byte(1)
		if m.bits != nil {
			at := uint(m.offset) + uint(e&a.rowMask)
			bit = m.bits[at/8] >> (at % 8) & 1
		}
		one |= bit << (i % 8)
		if i%8 == 7 || i == p.n-1 {
			out[i/8], one = one, 0
		}
	}
	at := 0
	for _, s := range p.stretches {
		m, n := &from[s.source], s.to-s.from
		if m.bits == nil {
			bitutil.SetBitsTo(out, int64(at), int64(n), true)
		} else {
			bitutil.CopyBitmap(m.bits, m.offset+s.from, n, out, at)
		}
		at += n
	}
	return b
}

// valid gives the validity bits of a column, or none when nothing is null.
func (g *gatherer) valid(c int, p picked) (*memory.Buffer, int) {
	some := false
	for _, s := range g.sources {
		some = some || s.Column(c).NullN() > 0
	}
	if !some {
		return nil, 0
	}
	b := g.bits(c, 0, p, func(a arrow.Array) []byte {
		if a.NullN() == 0 {
			return nil
		}
		return a.NullBitmapBytes()
	})
	return b, p.n - bitutil.CountSetBits(b.Bytes(), 0, p.n)
}

// shortText is what a text is copied by at once. The buffer of texts has as much room behind the last.
const shortText = 16

func (g *gatherer) text(c int, p picked) arrow.Array {
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
	offsets := g.buffer(c, 1, 4*(p.n+1))
	ends := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	ends[0] = 0
	size, i := int32(0), 0
	for _, s := range p.stretches {
		o := from[s.source].offsets[s.from : s.to+1]
		shift := size - o[0]
		part := ends[i+1 : i+len(o)]
		for k, end := range o[1:] {
			part[k] = end + shift
		}
		i, size = i+len(part), o[len(part)]+shift
	}
	if len(g.starts) < len(p.rows) {
		g.starts = make([]uint32, 1<<bits.Len(uint(len(p.rows))))
	}
	starts := g.starts[:len(p.rows)]
	a := g.address
	for i, e := range p.rows {
		o, r := from[e&a.mask>>a.rowBits].offsets, e&a.rowMask
		start := o[r]
		size += o[r+1] - start
		starts[i], ends[i+1] = uint32(start), size
	}
	values := g.buffer(c, 2, int(size)+shortText)
	out := values.Bytes()
	for _, s := range p.stretches {
		o := from[s.source].offsets
		out = out[copy(out, from[s.source].bytes[o[s.from]:o[s.to]]):]
	}
	for i, e := range p.rows {
		b, start, at := from[e&a.mask>>a.rowBits].bytes, int(starts[i]), int(ends[i])
		if n := int(ends[i+1]) - at; n <= shortText && start+shortText <= len(b) {
			*(*[shortText]byte)(out[at:]) = *(*[shortText]byte)(b[start:]) // what is too much, the next text covers
		} else {
			copy(out[at:at+n], b[start:])
		}
	}
	valid, nulls := g.valid(c, p)
	data := array.NewData(arrow.BinaryTypes.String, p.n, []*memory.Buffer{valid, offsets, values}, nil, nulls, 0)
	defer data.Release()
	for _, x := range []*memory.Buffer{valid, offsets, values} {
		if x != nil {
			x.Release()
		}
	}
	return array.NewStringData(data)
}

// finish makes a column of its values and their validity.
func (g *gatherer) finish(c int, p picked, values *memory.Buffer) arrow.Array {
	valid, nulls := (*memory.Buffer)(nil), 0
	if g.schema.Field(c).Nullable {
		valid, nulls = g.valid(c, p)
	}
	data := array.NewData(g.schema.Field(c).Type, p.n, []*memory.Buffer{valid, values}, nil, nulls, 0)
	defer data.Release()
	if valid != nil {
		valid.Release()
	}
	values.Release()
	return array.MakeFromData(data)
}
