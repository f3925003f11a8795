package noise

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

func refuse(op, object, detail string) error {
	return &sandbox.Error{Op: "noise: " + op, Kind: sandbox.Invalid, Object: object, Detail: detail}
}

// values is a fixed-width result: values and a validity bitmap, allocated when a row is null.
type values struct {
	mem         memory.Allocator
	data, valid *memory.Buffer
	n, nulls    int
}

// newValues makes room for a column like a, with a's nulls.
func newValues(mem memory.Allocator, a arrow.Array, width int) *values {
	v := &values{mem: mem, n: a.Len(), nulls: a.NullN(), data: memory.NewResizableBuffer(mem)}
	v.data.Resize(v.n * width)
	if v.nulls > 0 {
		v.bitmap()
		bitutil.CopyBitmap(a.NullBitmapBytes(), a.Data().Offset(), v.n, v.valid.Bytes(), 0)
	}
	return v
}

func (v *values) bitmap() {
	v.valid = memory.NewResizableBuffer(v.mem)
	v.valid.Resize(int(bitutil.BytesForBits(int64(v.n))))
	clear(v.valid.Bytes())
}

// drop makes row i, so far valid, null.
func (v *values) drop(i int) {
	if v.valid == nil {
		v.bitmap()
		bitutil.SetBitsTo(v.valid.Bytes(), 0, int64(v.n), true)
	}
	bitutil.ClearBit(v.valid.Bytes(), i)
	v.nulls++
}

func (v *values) release() {
	v.data.Release()
	if v.valid != nil {
		v.valid.Release()
	}
}

func (v *values) array(t arrow.DataType) arrow.Array {
	d := array.NewData(t, v.n, []*memory.Buffer{v.valid, v.data}, nil, v.nulls, 0)
	defer d.Release()
	return array.MakeFromData(d)
}

// numbers applies an operation to an Int64 or Float64 column. A function gives false for a value it cannot treat.
func numbers(op string, mem memory.Allocator, a arrow.Array, ints func(int64) (int64, bool), floats func(float64) (float64, bool)) (out arrow.Array, masked int64, err error) {
	switch a := a.(type) {
	case *array.Int64:
		v := newValues(mem, a, 8)
		defer v.release()
		masked = each(v, a, a.Int64Values(), arrow.Int64Traits.CastFromBytes(v.data.Bytes()), ints)
		return v.array(a.DataType()), masked, nil
	case *array.Float64:
		v := newValues(mem, a, 8)
		defer v.release()
		masked = each(v, a, a.Float64Values(), arrow.Float64Traits.CastFromBytes(v.data.Bytes()), floats)
		return v.array(a.DataType()), masked, nil
	}
	return nil, 0, refuse(op, "column", "takes int64 or float64")
}

func each[T int64 | float64](v *values, a arrow.Array, in, out []T, f func(T) (T, bool)) (masked int64) {
	whole := a.NullN() == 0
	for i, x := range in {
		var y T
		if whole || a.IsValid(i) {
			var ok bool
			if y, ok = f(x); !ok {
				y = 0
				v.drop(i)
				masked++
			}
		}
		out[i] = y
	}
	return masked
}
