package mask

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// Operation (脱敏算子) transforms one column.
type Operation interface {
	// Apply gives a new array of as many rows; the caller releases it.
	Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error)
	// Run is Apply with a count.
	Run(mem memory.Allocator, a arrow.Array) (arrow.Array, Count, error)
	// Type gives the type of the result for a column of type in; false if the operation does not take it.
	Type(in arrow.DataType) (arrow.DataType, bool)
}

// Count (脱敏计数) says what happened to the values of a column. Values that are in neither number were null, empty or left as
// they are because the operation had nothing to hide in them; one that already reads as its own mask may count as masked.
type Count struct {
	Masked int64 `json:"masked"` // 已脱敏: hidden as the operation says
	Failed int64 `json:"failed"` // 失败即全遮: did not fit, hidden whole
}

// Add adds c to another count.
func (c Count) Add(o Count) Count { return Count{c.Masked + o.Masked, c.Failed + o.Failed} }

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "mask", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

func wrongType(what string, a arrow.Array) error {
	return invalid("column", fmt.Sprintf("%s does not take type %s", what, a.DataType()))
}

// validity gives the null bitmap of a result whose rows are a's, from bit 0; nil without nulls. The caller releases it.
func validity(mem memory.Allocator, a arrow.Array) *memory.Buffer {
	if a.NullN() == 0 {
		return nil
	}
	if b := a.Data().Buffers()[0]; a.Data().Offset() == 0 {
		b.Retain()
		return b
	}
	b := memory.NewResizableBuffer(mem)
	b.Resize((a.Len() + 7) / 8)
	clear(b.Bytes())
	bitutil.CopyBitmap(a.NullBitmapBytes(), a.Data().Offset(), a.Len(), b.Bytes(), 0)
	return b
}

func release(all ...*memory.Buffer) {
	for _, b := range all {
		if b != nil {
			b.Release()
		}
	}
}
