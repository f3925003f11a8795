package mask

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/arrow/scalar"
	"golang.org/x/text/unicode/norm"
)

// Redaction (屏蔽) gives every value the same fate: null, or a constant.
type Redaction struct {
	value    scalar.Scalar // nil: null
	keepNull bool
}

// Redact makes every row null. The column must be allowed nulls.
func Redact() *Redaction { return &Redaction{} }

// ConstantText (常量替换) writes one text in the place of every value; nulls stay. A text is UTF-8 and at most 1024 bytes.
func ConstantText(v string) (*Redaction, error) {
	if len(v) > 1024 || !norm.NFC.IsNormalString(v) || !validUTF8(v) {
		return nil, invalid("constant", "a constant is UTF-8 in NFC and has at most 1024 bytes")
	}
	return &Redaction{value: scalar.NewStringScalar(v), keepNull: true}, nil
}

// ConstantInt writes one number, in the column's stored unit, in the place of every value; nulls stay.
func ConstantInt(v int64) *Redaction {
	return &Redaction{value: scalar.NewInt64Scalar(v), keepNull: true}
}

// ConstantDate writes one date in the place of every value; nulls stay.
func ConstantDate(v arrow.Date32) *Redaction {
	return &Redaction{value: scalar.NewDate32Scalar(v), keepNull: true}
}

// ConstantBool writes one truth value in the place of every value; nulls stay.
func ConstantBool(v bool) *Redaction {
	return &Redaction{value: scalar.NewBooleanScalar(v), keepNull: true}
}

// Type takes any column when it redacts, else one of the constant's type. A dictionary of texts becomes plain text.
func (r *Redaction) Type(in arrow.DataType) (arrow.DataType, bool) {
	if d, ok := in.(*arrow.DictionaryType); ok {
		in = d.ValueType
	}
	if r.value == nil {
		switch in.ID() {
		case arrow.STRING, arrow.INT64, arrow.DATE32, arrow.BOOL:
			return in, true
		}
		return in, false
	}
	return in, arrow.TypeEqual(in, r.value.DataType())
}

// Apply redacts a column.
func (r *Redaction) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	out, _, err := r.Run(mem, a)
	return out, err
}

// Run redacts a column and counts.
func (r *Redaction) Run(mem memory.Allocator, a arrow.Array) (arrow.Array, Count, error) {
	t, ok := r.Type(a.DataType())
	if !ok {
		return nil, Count{}, wrongType("redaction", a)
	}
	nulls := nullsOf(a)
	count := Count{Masked: int64(a.Len() - nulls)}
	if r.value == nil {
		return array.MakeArrayOfNull(mem, t, a.Len()), count, nil
	}
	out, err := scalar.MakeArrayFromScalar(r.value, a.Len(), mem)
	if err != nil {
		return nil, Count{}, invalid("column", "a constant of the column's type")
	}
	if nulls == 0 {
		return out, count, nil
	}
	if nulls == a.NullN() {
		b := validity(mem, a)
		defer b.Release()
		return withNulls(out, b, nulls), count, nil
	}
	defer out.Release()
	return nil, Count{}, invalid("column", "a dictionary whose values are null has no constant")
}

// withNulls gives out, which it releases, under another null bitmap.
func withNulls(out arrow.Array, nulls *memory.Buffer, n int) arrow.Array {
	buffers := append([]*memory.Buffer{nulls}, out.Data().Buffers()[1:]...)
	data := array.NewData(out.DataType(), out.Len(), buffers, nil, n, 0)
	defer data.Release()
	defer out.Release()
	return array.MakeFromData(data)
}

// nullsOf counts nulls, those of a dictionary's values included.
func nullsOf(a arrow.Array) int {
	d, ok := a.(*array.Dictionary)
	if !ok || d.Dictionary().NullN() == 0 {
		return a.NullN()
	}
	n := 0
	for i := range d.Len() {
		if d.IsNull(i) || d.Dictionary().IsNull(d.GetValueIndex(i)) {
			n++
		}
	}
	return n
}
