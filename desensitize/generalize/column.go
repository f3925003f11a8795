package generalize

import (
	"fmt"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// Column (列泛化) is a column operation: one level of one hierarchy.
type Column struct {
	h     *Hierarchy
	level int
}

// NewColumn binds a level, from 0 to h.Levels()-1.
func NewColumn(h *Hierarchy, level int) (Column, error) {
	if h == nil {
		return Column{}, bad("column", "no hierarchy", "")
	}
	if level < 0 || level >= h.levels {
		return Column{}, bad("column of hierarchy "+h.name, fmt.Sprintf("the level is 0 to %d", h.levels-1), "")
	}
	return Column{h, level}, nil
}

// Apply gives a generalised copy of a: text of the same length with the same nulls; a dictionary-encoded column stays one,
// with its dictionary generalised once. Text, dictionaries of text, int32, int64 and date32 (as 2006-01-02) are taken. A
// value the hierarchy does not know becomes "*". The caller releases the result.
func (c Column) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	out, _, err := c.Counted(mem, a)
	return out, err
}

// Counted is Apply, and counts the values that the hierarchy does not know; of a dictionary, its entries.
func (c Column) Counted(mem memory.Allocator, a arrow.Array) (out arrow.Array, unknown int64, err error) {
	if c.h == nil {
		return nil, 0, bad("column", "it is bound to no hierarchy", "make it with NewColumn")
	}
	if d, ok := a.(*array.Dictionary); ok {
		values, unknown, err := c.Counted(mem, d.Dictionary())
		if err != nil {
			return nil, 0, err
		}
		defer values.Release()
		t := &arrow.DictionaryType{IndexType: d.DataType().(*arrow.DictionaryType).IndexType, ValueType: values.DataType()}
		return array.NewDictionaryArray(t, d.Indices(), values), unknown, nil
	}
	value, err := valuesOf(a)
	if err != nil {
		return nil, 0, err
	}
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.Reserve(a.Len())
	m := memo{c: c}
	for i := range a.Len() {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		label, known := m.label(value(i))
		if !known {
			unknown++
		}
		b.BinaryBuilder.Append(label)
	}
	return b.NewStringArray(), unknown, nil
}

// memo remembers labels of values lately seen in one batch: real columns repeat few values, and comparing one is several times
// faster than a map's hash or a date's parsing.
type memo struct {
	c    Column
	seen [256]struct {
		value string
		label []byte // in kept
		known bool
	}
	fresh, kept []byte
}

// maxMemo bounds the labels kept; a column of many values is not remembered on.
const maxMemo = 16 << 10

func (m *memo) label(v string) (label []byte, known bool) {
	e := &m.seen[mixed(v)]
	if e.label != nil && e.value == v {
		return e.label, e.known
	}
	m.fresh, known = m.c.h.Append(m.fresh[:0], v, m.c.level)
	if m.kept == nil {
		m.kept = make([]byte, 0, maxMemo)
	}
	if start := len(m.kept); start+len(m.fresh) <= maxMemo {
		m.kept = append(m.kept, m.fresh...)
		e.value, e.label, e.known = v, m.kept[start:], known
	}
	return m.fresh, known
}

// mixed picks a place by the length and the outer bytes.
func mixed(v string) uint8 {
	n := len(v)
	if n == 0 {
		return 0
	}
	x := uint64(n)*0x9e3779b97f4a7c15 ^ uint64(v[0])<<24 ^ uint64(v[n-1])<<16 ^ uint64(v[n/2])<<8 ^ uint64(v[n-1-n/4])
	x *= 0xbf58476d1ce4e5b9
	return uint8(x >> 56)
}

// valuesOf gives the text of each row without an allocation a row: text as it lies in the batch, other types written into
// one string for all rows.
func valuesOf(a arrow.Array) (func(row int) string, error) {
	switch a := a.(type) {
	case *array.String:
		return a.Value, nil
	case *array.LargeString:
		return a.Value, nil
	}
	text, err := reader(a)
	if err != nil {
		return nil, err
	}
	all, ends := make([]byte, 0, 8*a.Len()), make([]int, a.Len()+1)
	for i := range a.Len() {
		if a.IsValid(i) {
			all = text(all, i)
		}
		ends[i+1] = len(all)
	}
	one := string(all)
	return func(row int) string { return one[ends[row]:ends[row+1]] }, nil
}

// reader gives the text of one row of a column, appended to dst. Rows that are null are not asked for.
func reader(a arrow.Array) (func(dst []byte, row int) []byte, error) {
	switch a := a.(type) {
	case *array.String:
		return func(dst []byte, row int) []byte { return append(dst, a.Value(row)...) }, nil
	case *array.LargeString:
		return func(dst []byte, row int) []byte { return append(dst, a.Value(row)...) }, nil
	case *array.Int64:
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, a.Value(row), 10) }, nil
	case *array.Int32:
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, int64(a.Value(row)), 10) }, nil
	case *array.Date32:
		return func(dst []byte, row int) []byte { return a.Value(row).ToTime().AppendFormat(dst, time.DateOnly) }, nil
	}
	return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.Invalid, Object: "column of type " + a.DataType().Name(), Detail: "text, int32, int64 and date32 are generalised"}
}
