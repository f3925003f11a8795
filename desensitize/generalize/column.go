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
	if c.h == nil {
		return nil, bad("column", "it is bound to no hierarchy", "make it with NewColumn")
	}
	if d, ok := a.(*array.Dictionary); ok {
		values, err := c.Apply(mem, d.Dictionary())
		if err != nil {
			return nil, err
		}
		defer values.Release()
		t := &arrow.DictionaryType{IndexType: d.DataType().(*arrow.DictionaryType).IndexType, ValueType: values.DataType()}
		return array.NewDictionaryArray(t, d.Indices(), values), nil
	}
	value, err := valuesOf(a)
	if err != nil {
		return nil, err
	}
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.Reserve(a.Len())
	var label []byte
	for i := range a.Len() {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		label, _ = c.h.Append(label[:0], value(i), c.level)
		b.BinaryBuilder.Append(label)
	}
	return b.NewStringArray(), nil
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
