package vault

import (
	"encoding/binary"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// spreader copies batches into the buckets of an order, as one record: rows are read and written in sequence, and those
// that will stand together stand near each other afterwards. Fetching each row from the batch it came in missed the caches
// for every cell; bringing together one bucket after another did too, reading every batch once for each.
type spreader struct {
	gatherer // for its buffers, which serve every spill of a writer
	bucket   []uint16
	place    []uint32
}

// spreadColumn is a column that is being copied.
type spreadColumn struct {
	buffers [3]*memory.Buffer
	valid   []byte
	nulls   int
	next    []int32 // of text, by bucket: where the next one goes
	ends    []int32 // and where its texts end
}

// spread gives the rows of the batches by bucket. The pseudonyms are the order's own, sorted already.
func (s *spreader) spread(h *held, o *order) arrow.Record {
	n := h.rows()
	if len(s.place) < h.longest {
		s.bucket, s.place = make([]uint16, h.longest), make([]uint32, h.longest)
	}
	cols := make([]spreadColumn, s.schema.NumFields()-1)
	for c := range cols {
		s.prepare(c, &cols[c], h, o)
	}
	next := make([]uint32, len(o.ends))
	for b := range o.ends[1:] {
		next[b+1] = uint32(o.ends[b])
	}
	for i, rec := range h.recs {
		for r := range h.who[i] {
			b := binary.BigEndian.Uint64(h.who[i][r][:8]) >> o.low
			s.bucket[r], s.place[r] = uint16(b), next[b]
			next[b]++
		}
		for c := range cols {
			s.copy(&cols[c], rec.Column(c))
		}
	}
	arrays := make([]arrow.Array, 0, len(cols)+1)
	for c := range cols {
		x := &cols[c]
		buffers := x.buffers[:2]
		if x.buffers[2] != nil {
			buffers = x.buffers[:]
		}
		data := array.NewData(s.schema.Field(c).Type, n, buffers, nil, x.nulls, 0)
		for _, b := range buffers {
			if b != nil {
				b.Release()
			}
		}
		arrays = append(arrays, array.MakeFromData(data))
		data.Release()
	}
	data := array.NewData(subjectType, n, []*memory.Buffer{nil, memory.NewBufferBytes(pseudonymBytes(o.who))}, nil, 0, 0)
	arrays = append(arrays, array.NewFixedSizeBinaryData(data))
	data.Release()
	rec := array.NewRecord(s.schema, arrays, int64(n))
	for _, a := range arrays {
		a.Release()
	}
	return rec
}

// prepare gives a column its buffers.
func (s *spreader) prepare(c int, x *spreadColumn, h *held, o *order) {
	n := h.rows()
	for _, rec := range h.recs {
		x.nulls += rec.Column(c).NullN()
	}
	if x.nulls > 0 {
		x.buffers[0] = s.buffer(c, 0, (n+7)/8)
		x.valid = x.buffers[0].Bytes()
		clear(x.valid)
	}
	switch t := s.schema.Field(c).Type.(type) {
	case *arrow.BooleanType:
		x.buffers[1] = s.buffer(c, 1, (n+7)/8)
		clear(x.buffers[1].Bytes())
	case *arrow.StringType:
		x.next, x.ends = make([]int32, len(o.ends)), make([]int32, len(o.ends))
		for i, rec := range h.recs {
			offsets := rec.Column(c).(*array.String).ValueOffsets()
			for r := range h.who[i] {
				x.ends[binary.BigEndian.Uint64(h.who[i][r][:8])>>o.low] += offsets[r+1] - offsets[r]
			}
		}
		size := int32(0)
		for b, k := range x.ends {
			x.next[b], size = size, size+k
			x.ends[b] = size
		}
		x.buffers[1], x.buffers[2] = s.buffer(c, 1, 4*(n+1)), s.buffer(c, 2, int(size))
		cut := arrow.Int32Traits.CastFromBytes(x.buffers[1].Bytes())
		cut[n] = size
	case arrow.FixedWidthDataType:
		x.buffers[1] = s.buffer(c, 1, n*t.BitWidth()/8)
	}
}

// copy takes one batch's column to where its rows go.
func (s *spreader) copy(x *spreadColumn, a arrow.Array) {
	place := s.place[:a.Len()]
	if x.nulls > 0 {
		all, valid, offset := a.NullN() == 0, a.NullBitmapBytes(), a.Data().Offset()
		for r, at := range place {
			if all || bitutil.BitIsSet(valid, offset+r) {
				x.valid[at/8] |= 1 << (at % 8)
			}
		}
	}
	out := x.buffers[1].Bytes()
	switch a := a.(type) {
	case *array.Int64:
		scatter(arrow.Int64Traits.CastFromBytes(out), a.Int64Values(), place)
	case *array.Date32:
		scatter(arrow.Date32Traits.CastFromBytes(out), a.Date32Values(), place)
	case *array.Boolean:
		for r, at := range place {
			if a.Value(r) {
				out[at/8] |= 1 << (at % 8)
			}
		}
	case *array.String:
		x.texts(a, place, s.bucket)
	}
}

func scatter[T any](out, from []T, place []uint32) {
	for r, at := range place {
		out[at] = from[r]
	}
}

func (x *spreadColumn) texts(a *array.String, place []uint32, bucket []uint16) {
	starts, out := arrow.Int32Traits.CastFromBytes(x.buffers[1].Bytes()), x.buffers[2].Bytes()
	offsets := a.ValueOffsets()
	var b []byte
	if values := a.Data().Buffers()[2]; values != nil {
		b = values.Bytes()
	}
	for r, at := range place {
		k := bucket[r]
		from, to, end := int(offsets[r]), int(x.next[k]), int(x.ends[k])
		n := int(offsets[r+1]) - from
		starts[at] = int32(to)
		x.next[k] = int32(to + n)
		if n <= shortText && from+shortText <= len(b) && to+shortText <= end {
			*(*[shortText]byte)(out[to:]) = *(*[shortText]byte)(b[from:]) // what is too much, the bucket's next text covers
		} else {
			copy(out[to:to+n], b[from:])
		}
	}
}

// kept is the memory that stays for the next spill.
func (s *spreader) kept() (n int64) {
	for _, b := range s.buffers {
		if b != nil {
			n += int64(b.Cap())
		}
	}
	return n
}
