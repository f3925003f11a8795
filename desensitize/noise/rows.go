package noise

import (
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Sample (抽样) is a draw of rows without replacement; the same rows are taken of every column of a table.
type Sample struct{ rows []int32 }

// NewSample draws size of total rows, every subset alike; order is kept.
func NewSample(total, size int, rand io.Reader) (*Sample, error) {
	if total > 1<<31-1 {
		return nil, refuse("sample", "size", "at most 2^31-1 rows")
	}
	s, err := NewSelector(int64(total), int64(size), rand)
	if err != nil {
		return nil, err
	}
	rows, err := s.Next(total)
	return &Sample{rows}, err
}

// Selector (抽样器) draws rows of a table that comes batch by batch, without replacement, every subset of the size alike (Knuth,
// algorithm S). One goroutine calls it, in the order of the rows.
type Selector struct {
	left, wanted int64
	source       *source
}

// NewSelector takes the number of rows there are and of those wanted.
func NewSelector(total, size int64, rand io.Reader) (*Selector, error) {
	if total < 0 || size < 0 || size > total || rand == nil {
		return nil, refuse("sample", "size", "0 to the number of rows, and a reader")
	}
	return &Selector{total, size, &source{r: rand}}, nil
}

// Next gives the rows drawn of the next n, counted from the first of them; Invalid where there are more rows than were
// counted.
func (s *Selector) Next(n int) ([]int32, error) {
	if int64(n) > s.left {
		return nil, refuse("sample", "rows", "as many rows as were counted")
	}
	rows := make([]int32, 0, min(int64(n), s.wanted))
	for i := range n {
		if s.wanted == 0 || s.source.err != nil {
			break
		}
		if s.source.below(uint64(s.left-int64(i))) < uint64(s.wanted) {
			rows = append(rows, int32(i))
			s.wanted--
		}
	}
	s.left -= int64(n)
	return rows, s.source.err
}

// Rows are the rows drawn, ascending. Not to be changed.
func (o *Sample) Rows() []int32 { return o.rows }

// Masked is always 0.
func (o *Sample) Masked() int64 { return 0 }

// Apply takes the rows of a column; Invalid for one that is shorter than the last of them.
func (o *Sample) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	if n := len(o.rows); n > 0 && int(o.rows[n-1]) >= a.Len() {
		return nil, refuse("sample", "column", "the column has fewer rows than were counted")
	}
	return Take(mem, a, o.rows)
}

// Shuffle (乱序置换) permutes the values of a column among the rows that are not null: the multiset of values is kept, and what a row
// said is no longer beside its other columns.
type Shuffle struct{ rand io.Reader }

// NewShuffle takes the randomness; each Apply draws anew, so columns are shuffled apart. Calls are made one at a time.
func NewShuffle(rand io.Reader) (*Shuffle, error) {
	if rand == nil {
		return nil, unread("shuffle")
	}
	return &Shuffle{rand}, nil
}

// Masked is always 0.
func (o *Shuffle) Masked() int64 { return 0 }

// Apply shuffles a column (Fisher, Yates).
func (o *Shuffle) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	rows := make([]int32, a.Len())
	places := make([]int32, 0, a.Len()-a.NullN())
	for i := range rows {
		rows[i] = int32(i)
		if a.IsValid(i) {
			places = append(places, int32(i))
		}
	}
	s := &source{r: o.rand}
	for i := len(places) - 1; i > 0; i-- {
		p, q := places[i], places[s.below(uint64(i+1))]
		rows[p], rows[q] = rows[q], rows[p]
	}
	if s.err != nil {
		return nil, s.err
	}
	return Take(mem, a, rows)
}

// Take gives the rows of a fixed-width, Boolean, String or dictionary column in the order asked for; rows are of the column.
// Arrow v17's own does not do dictionaries.
func Take(mem memory.Allocator, a arrow.Array, rows []int32) (arrow.Array, error) {
	switch a := a.(type) {
	case *array.Boolean:
		b := array.NewBooleanBuilder(mem)
		defer b.Release()
		b.Reserve(len(rows))
		for _, r := range rows {
			if a.IsNull(int(r)) {
				b.AppendNull()
			} else {
				b.Append(a.Value(int(r)))
			}
		}
		return b.NewArray(), nil
	case *array.String:
		b := array.NewStringBuilder(mem)
		defer b.Release()
		b.Reserve(len(rows))
		for _, r := range rows {
			if a.IsNull(int(r)) {
				b.AppendNull()
			} else {
				b.Append(a.Value(int(r)))
			}
		}
		return b.NewArray(), nil
	case *array.Dictionary:
		indices, err := Take(mem, a.Indices(), rows)
		if err != nil {
			return nil, err
		}
		defer indices.Release()
		return array.NewDictionaryArray(a.DataType(), indices, a.Dictionary()), nil
	}
	t, ok := a.DataType().(arrow.FixedWidthDataType)
	if !ok || t.BitWidth()%8 != 0 || t.BitWidth() == 0 {
		return nil, refuse("take", "column", "takes fixed-width values, booleans, utf8 or a dictionary")
	}
	width := t.BitWidth() / 8
	d := a.Data()
	v := &values{mem: mem, n: len(rows), data: memory.NewResizableBuffer(mem)}
	defer v.release()
	v.data.Resize(len(rows) * width)
	if len(rows) > 0 {
		in, out := d.Buffers()[1].Bytes()[d.Offset()*width:], v.data.Bytes()
		for i, r := range rows {
			copy(out[i*width:(i+1)*width], in[int(r)*width:])
		}
	}
	if a.NullN() > 0 {
		v.bitmap()
		for i, r := range rows {
			if a.IsValid(int(r)) {
				bitutil.SetBit(v.valid.Bytes(), i)
			} else {
				v.nulls++
			}
		}
	}
	return v.array(a.DataType()), nil
}
