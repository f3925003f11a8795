package child

import (
	"bytes"
	"io"
	"math/big"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow/decimal256"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
)

// pageRows is the number of values of a column decoded at once.
const pageRows = 1024

// parquetTable gives the rows of all row groups in their order, page by page. Columns are read one by one over the library's readers of
// column chunks: its own way to Arrow records links a remote procedure service and a compute engine, 30 MB of program.
type parquetTable struct {
	file    *file.Reader
	head    []string
	columns []parquetColumn

	group int
	left  int64 // rows of the group
	row   int64
}

// parquetColumn is one field of the schema.
type parquetColumn struct {
	leaf int       // its leaf column
	rule wire.Rule // not 0: it is not read
	open func(file.ColumnChunkReader) (func(w *wire.Writer) error, error)
	put  func(w *wire.Writer) error // of the row group
}

func openParquet(data []byte, _ string, mem int64) (source, error) {
	magic := []byte("PAR1")
	switch {
	case bytes.HasSuffix(data, []byte("PARE")):
		return nil, &wire.Fault{Rule: wire.Encrypted}
	case !bytes.HasPrefix(data, magic):
		return nil, &wire.Fault{Rule: wire.Malformed}
	case len(data) < 12 || !bytes.HasSuffix(data, magic):
		return nil, &wire.Fault{Rule: wire.Truncated}
	}
	props := parquet.NewReaderProperties(newBudget(mem / 2))
	props.BufferedStreamEnabled = true
	f, err := file.NewParquetReader(bytes.NewReader(data), file.WithReadProps(props))
	if err != nil {
		return nil, err
	}
	sc := f.MetaData().Schema
	t := &parquetTable{file: f, group: -1}
	leaf := 0
	for i := range sc.Root().NumFields() {
		field := sc.Root().Field(i)
		c := parquetColumn{leaf: leaf, rule: wire.Composite}
		for leaf < sc.NumColumns() && sc.ColumnRoot(leaf) == field {
			leaf++
		}
		if leaf == c.leaf+1 && field.Type() == schema.Primitive {
			if d := sc.Column(c.leaf); d.MaxRepetitionLevel() == 0 && d.MaxDefinitionLevel() <= 1 {
				c.open, c.rule = columnReader(d)
			}
		}
		t.head, t.columns = append(t.head, field.Name()), append(t.columns, c)
	}
	if leaf != sc.NumColumns() {
		return nil, &wire.Fault{Rule: wire.Malformed}
	}
	var rows int64
	for i := range f.NumRowGroups() {
		n := f.MetaData().RowGroup(i).NumRows()
		if n < 0 || rows+n < rows {
			return nil, &wire.Fault{Rule: wire.Malformed}
		}
		rows += n
	}
	if f.NumRows() != rows {
		return nil, &wire.Fault{Rule: wire.Malformed}
	}
	return t, nil
}

func (t *parquetTable) header() []string { return t.head }

func (t *parquetTable) next(w *wire.Writer) error {
	for t.left == 0 {
		if t.group++; t.group == t.file.NumRowGroups() {
			return errEnd
		}
		if err := t.enter(); err != nil {
			return err
		}
	}
	t.left--
	t.row++
	w.Row(t.row)
	for _, c := range t.columns {
		if c.rule != 0 {
			w.Unfit(c.rule)
		} else if err := c.put(w); err != nil {
			return err
		}
		if w.Size() > wire.MaxRow {
			return &wire.Fault{Rule: wire.Long, Row: t.row}
		}
	}
	return nil
}

// enter opens the columns of the next row group.
func (t *parquetTable) enter() error {
	g := t.file.RowGroup(t.group)
	t.left = g.NumRows()
	for i := range t.columns {
		c := &t.columns[i]
		if c.rule != 0 {
			continue
		}
		meta, err := g.MetaData().ColumnChunk(c.leaf)
		if err != nil {
			return err
		}
		if meta.NumValues() != t.left { // of a column without lists: one value a row
			return &wire.Fault{Rule: wire.Malformed, Row: t.row + 1, Field: i + 1}
		}
		r, err := g.Column(c.leaf)
		if err != nil {
			return err
		}
		if c.put, err = c.open(r); err != nil {
			return err
		}
	}
	return nil
}

// chunk gives the values of one column chunk in their order. What they refer to is good until the next page, and so they are written
// before more is read.
type chunk[T any] struct {
	in     file.ColumnChunkReader
	read   func(n int64, values []T, levels, _ []int16) (int64, int, error)
	text   func(w *wire.Writer, v T)
	top    int16 // level of a value that is there
	values []T
	levels []int16
	at, n  int // levels
	value  int
	got    int
}

func (c *chunk[T]) put(w *wire.Writer) error {
	if c.at == c.n {
		if !c.in.HasNext() {
			if err := c.in.Err(); err != nil && err != io.EOF {
				return err
			}
			return io.ErrUnexpectedEOF
		}
		n, got, err := c.read(pageRows, c.values, c.levels, nil)
		if err != nil {
			return err
		}
		if n <= 0 || n > pageRows || got < 0 || int64(got) > n {
			return io.ErrUnexpectedEOF
		}
		c.at, c.n, c.value, c.got = 0, int(n), 0, got
	}
	there := c.top == 0 || c.levels[c.at] == c.top
	c.at++
	if !there {
		w.Missing()
		return nil
	}
	if c.value == c.got {
		return io.ErrUnexpectedEOF
	}
	c.text(w, c.values[c.value])
	c.value++
	return nil
}

type opener = func(file.ColumnChunkReader) (func(w *wire.Writer) error, error)

// opened gives an opener for a type of reader; another type at run time is a broken file.
func opened[R interface {
	file.ColumnChunkReader
	ReadBatch(n int64, values []T, levels, repeated []int16) (int64, int, error)
}, T any](d *schema.Column, text func(w *wire.Writer, v T)) opener {
	return func(r file.ColumnChunkReader) (func(w *wire.Writer) error, error) {
		typed, ok := r.(R)
		if !ok {
			return nil, &wire.Fault{Rule: wire.Malformed}
		}
		c := &chunk[T]{in: typed, read: typed.ReadBatch, text: text, top: d.MaxDefinitionLevel(), values: make([]T, pageRows), levels: make([]int16, pageRows)}
		return c.put, nil
	}
}

// integers gives the opener of 32 or 64 bits.
func integers(d *schema.Column, text func(w *wire.Writer, v int64)) opener {
	if d.PhysicalType() == parquet.Types.Int32 {
		return opened[*file.Int32ColumnChunkReader](d, func(w *wire.Writer, v int32) { text(w, int64(v)) })
	}
	return opened[*file.Int64ColumnChunkReader](d, text)
}

// bytesOf gives the opener of byte arrays, of any or of one length.
func bytesOf(d *schema.Column, text func(w *wire.Writer, v []byte)) opener {
	if d.PhysicalType() == parquet.Types.ByteArray {
		return opened[*file.ByteArrayColumnChunkReader](d, func(w *wire.Writer, v parquet.ByteArray) { text(w, v) })
	}
	return opened[*file.FixedLenByteArrayColumnChunkReader](d, func(w *wire.Writer, v parquet.FixedLenByteArray) { text(w, v) })
}

// columnReader gives how a leaf column is read, or the rule that says why not.
func columnReader(d *schema.Column) (opener, wire.Rule) {
	integer := d.PhysicalType() == parquet.Types.Int32 || d.PhysicalType() == parquet.Types.Int64
	array := d.PhysicalType() == parquet.Types.ByteArray || d.PhysicalType() == parquet.Types.FixedLenByteArray
	switch l := d.LogicalType().(type) {
	case schema.StringLogicalType, schema.EnumLogicalType:
		if !array {
			return nil, wire.Kind
		}
		return bytesOf(d, func(w *wire.Writer, v []byte) { w.Bytes(v) }), 0
	case *schema.DecimalLogicalType:
		scale := int(l.Scale())
		if scale < 0 || scale > 76 {
			return nil, wire.Kind
		}
		if integer {
			return integers(d, func(w *wire.Writer, v int64) { w.Text(scaled(big.NewInt(v), scale)) }), 0
		}
		if array {
			return bytesOf(d, func(w *wire.Writer, v []byte) {
				if len(v) == 0 || len(v) > 32 {
					w.Unfit(wire.BadCell)
					return
				}
				w.Text(scaled(signed(v), scale))
			}), 0
		}
	case schema.DateLogicalType:
		if d.PhysicalType() == parquet.Types.Int32 {
			return integers(d, func(w *wire.Writer, v int64) { calendar(w, time.Unix(v*86400, 0).UTC(), "2006-01-02") }), 0
		}
	case schema.TemporalLogicalType:
		unit := map[schema.TimeUnitType]time.Duration{schema.TimeUnitMillis: time.Millisecond, schema.TimeUnitMicros: time.Microsecond, schema.TimeUnitNanos: time.Nanosecond}[l.TimeUnit()]
		if !integer || unit == 0 {
			return nil, wire.Kind
		}
		if _, clock := l.(*schema.TimeLogicalType); clock { // of a day, in whatever zone
			return integers(d, func(w *wire.Writer, v int64) {
				if v < 0 || v >= int64(24*time.Hour/unit) {
					w.Unfit(wire.Span)
					return
				}
				w.Text(time.Unix(0, v*int64(unit)).UTC().Format("15:04:05.999999999"))
			}), 0
		}
		if l.IsAdjustedToUTC() {
			return nil, wire.Instant
		}
		per := int64(time.Second / unit)
		return integers(d, func(w *wire.Writer, v int64) {
			s, rest := v/per, v%per
			if rest < 0 {
				s, rest = s-1, rest+per
			}
			calendar(w, time.Unix(s, rest*int64(unit)).UTC(), "2006-01-02 15:04:05.999999999")
		}), 0
	case *schema.IntLogicalType:
		if integer && l.IsSigned() {
			return integers(d, func(w *wire.Writer, v int64) { w.Text(strconv.FormatInt(v, 10)) }), 0
		}
		if integer {
			mask := ^uint64(0)
			if d.PhysicalType() == parquet.Types.Int32 {
				mask = 1<<32 - 1
			}
			return integers(d, func(w *wire.Writer, v int64) { w.Text(strconv.FormatUint(uint64(v)&mask, 10)) }), 0
		}
	case schema.NullLogicalType:
		if integer {
			return integers(d, func(w *wire.Writer, _ int64) { w.Missing() }), 0
		}
	case schema.NoLogicalType, schema.UnknownLogicalType:
		switch d.PhysicalType() {
		case parquet.Types.Boolean:
			return opened[*file.BooleanColumnChunkReader](d, func(w *wire.Writer, v bool) { w.Text(strconv.FormatBool(v)) }), 0
		case parquet.Types.Int32, parquet.Types.Int64:
			return integers(d, func(w *wire.Writer, v int64) { w.Text(strconv.FormatInt(v, 10)) }), 0
		case parquet.Types.Float:
			return opened[*file.Float32ColumnChunkReader](d, func(w *wire.Writer, v float32) { float(w, float64(v), 32) }), 0
		case parquet.Types.Double:
			return opened[*file.Float64ColumnChunkReader](d, func(w *wire.Writer, v float64) { float(w, v, 64) }), 0
		case parquet.Types.Int96:
			return nil, wire.Instant
		}
		return nil, wire.Binary
	}
	return nil, wire.Kind
}

// calendar writes a time whose year has four digits.
func calendar(w *wire.Writer, t time.Time, form string) {
	if t.Year() < 1 || t.Year() > 9999 {
		w.Unfit(wire.NoDay)
		return
	}
	w.Text(t.Format(form))
}

// signed reads a number in two's complement, big end first.
func signed(b []byte) *big.Int {
	v := new(big.Int).SetBytes(b)
	if b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

func scaled(v *big.Int, scale int) string { return decimal256.FromBigInt(v).ToString(int32(scale)) }
