package child

import (
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
)

// records gives the rows of record batches.
type records struct {
	schema *arrow.Schema
	read   func() (arrow.Record, error) // the next batch; errEnd after the last

	texts []put // of the schema's fields; nil: not read
	head  []string
	batch arrow.Record
	at    int
	row   int64
	cells []func(w *wire.Writer, i int) // of the batch
}

// put gives how a column's values are written.
type put func(arrow.Array) func(w *wire.Writer, i int)

func (r *records) header() []string {
	if r.head == nil {
		for _, f := range r.schema.Fields() {
			r.head = append(r.head, f.Name)
			r.texts = append(r.texts, textOf(f.Type))
		}
	}
	return r.head
}

func (r *records) next(w *wire.Writer) error {
	for r.batch == nil || r.at == int(r.batch.NumRows()) {
		rec, err := r.read()
		if err != nil {
			return err
		}
		r.batch, r.at = rec, 0
		if err := r.bind(); err != nil {
			return err
		}
	}
	r.row++
	w.Row(r.row)
	for _, c := range r.cells {
		c(w, r.at)
		if w.Size() > wire.MaxRow {
			return &wire.Fault{Rule: wire.Long, Row: r.row}
		}
	}
	r.at++
	return nil
}

// bind ties the batch's columns to the schema's fields.
func (r *records) bind() error {
	r.cells = r.cells[:0]
	column := 0
	for i, text := range r.texts {
		if text == nil {
			rule := wire.Kind
			switch t := r.schema.Field(i).Type.(type) {
			case arrow.NestedType:
				rule = wire.Composite
			case arrow.BinaryDataType:
				rule = wire.Binary
			case *arrow.FixedSizeBinaryType:
				rule = wire.Binary
			case *arrow.TimestampType:
				if t.TimeZone != "" {
					rule = wire.Instant
				}
			}
			r.cells = append(r.cells, func(w *wire.Writer, _ int) { w.Unfit(rule) })
			column++
			continue
		}
		if column >= int(r.batch.NumCols()) {
			return &wire.Fault{Rule: wire.Malformed}
		}
		a := r.batch.Column(column)
		column++
		if a.Len() != int(r.batch.NumRows()) || !arrow.TypeEqual(a.DataType(), r.schema.Field(i).Type) {
			return &wire.Fault{Rule: wire.Malformed}
		}
		write := text(a)
		r.cells = append(r.cells, func(w *wire.Writer, i int) {
			if a.IsNull(i) {
				w.Missing()
				return
			}
			write(w, i)
		})
	}
	if column != int(r.batch.NumCols()) {
		return &wire.Fault{Rule: wire.Malformed}
	}
	return nil
}

// texts gives a put for a type of array by its text.
func texts[A arrow.Array](f func(a A, i int) string) put {
	return func(a arrow.Array) func(*wire.Writer, int) {
		typed := a.(A)
		return func(w *wire.Writer, i int) { w.Text(f(typed, i)) }
	}
}

// floats gives a put for floating point.
func floats[A arrow.Array](bits int, f func(a A, i int) float64) put {
	return func(a arrow.Array) func(*wire.Writer, int) {
		typed := a.(A)
		return func(w *wire.Writer, i int) { float(w, f(typed, i), bits) }
	}
}

// times gives a put for what a calendar of four digits of a year holds.
func times[A arrow.Array](form string, f func(a A, i int) time.Time) put {
	return func(a arrow.Array) func(*wire.Writer, int) {
		typed := a.(A)
		return func(w *wire.Writer, i int) { calendar(w, f(typed, i), form) }
	}
}

// textOf gives how a type is written, or nil where it is not read.
func textOf(t arrow.DataType) put {
	switch t := t.(type) {
	case *arrow.NullType:
		return func(arrow.Array) func(*wire.Writer, int) { return func(w *wire.Writer, _ int) { w.Missing() } }
	case *arrow.BooleanType:
		return texts(func(a *array.Boolean, i int) string {
			if a.Value(i) {
				return "true"
			}
			return "false"
		})
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Int64Type, *arrow.Uint8Type, *arrow.Uint16Type, *arrow.Uint32Type, *arrow.Uint64Type:
		return texts(func(a arrow.Array, i int) string { return a.ValueStr(i) })
	case *arrow.Float32Type:
		return floats(32, func(a *array.Float32, i int) float64 { return float64(a.Value(i)) })
	case *arrow.Float64Type:
		return floats(64, func(a *array.Float64, i int) float64 { return a.Value(i) })
	case *arrow.Decimal128Type:
		if t.Scale < 0 || t.Scale > 38 {
			return nil
		}
		return texts(func(a *array.Decimal128, i int) string { return a.Value(i).ToString(t.Scale) })
	case *arrow.Decimal256Type:
		if t.Scale < 0 || t.Scale > 76 {
			return nil
		}
		return texts(func(a *array.Decimal256, i int) string { return a.Value(i).ToString(t.Scale) })
	case *arrow.StringType:
		return texts(func(a *array.String, i int) string { return a.Value(i) })
	case *arrow.LargeStringType:
		return texts(func(a *array.LargeString, i int) string { return a.Value(i) })
	case *arrow.StringViewType:
		return texts(func(a *array.StringView, i int) string { return a.Value(i) })
	case *arrow.Date32Type:
		return times("2006-01-02", func(a *array.Date32, i int) time.Time { return time.Unix(int64(a.Value(i))*86400, 0).UTC() })
	case *arrow.Date64Type:
		return times("2006-01-02", func(a *array.Date64, i int) time.Time { return time.UnixMilli(int64(a.Value(i))).UTC() })
	case *arrow.Time32Type:
		return times("15:04:05.999999999", func(a *array.Time32, i int) time.Time { return a.Value(i).ToTime(t.Unit) })
	case *arrow.Time64Type:
		return times("15:04:05.999999999", func(a *array.Time64, i int) time.Time { return a.Value(i).ToTime(t.Unit) })
	case *arrow.TimestampType:
		if t.TimeZone != "" {
			return nil
		}
		return times("2006-01-02 15:04:05.999999999", func(a *array.Timestamp, i int) time.Time { return a.Value(i).ToTime(t.Unit) })
	case *arrow.DictionaryType:
		if _, ok := t.ValueType.(*arrow.StringType); !ok {
			return nil
		}
		return func(a arrow.Array) func(*wire.Writer, int) {
			d := a.(*array.Dictionary)
			values := d.Dictionary().(*array.String)
			return func(w *wire.Writer, i int) {
				v := d.GetValueIndex(i)
				if values.IsNull(v) {
					w.Missing()
					return
				}
				w.Text(values.Value(v))
			}
		}
	}
	return nil
}

// budget is Go's memory up to a bound, past which it panics: the alternative is the end of the process without a reason.
type budget struct {
	memory.Allocator
	mu       sync.Mutex
	now, max int64
}

func newBudget(bytes int64) *budget { return &budget{Allocator: memory.NewGoAllocator(), max: bytes} }

func (b *budget) take(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 && (int64(n) > b.max || b.now+int64(n) > b.max) {
		panic(overBudget{})
	}
	b.now += int64(n)
}

func (b *budget) Allocate(size int) []byte {
	b.take(size)
	return b.Allocator.Allocate(size)
}

func (b *budget) Reallocate(size int, old []byte) []byte {
	b.take(size - len(old))
	return b.Allocator.Reallocate(size, old)
}

func (b *budget) Free(old []byte) {
	b.take(-len(old))
	b.Allocator.Free(old)
}
