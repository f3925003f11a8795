package columnar

import (
	"encoding/binary"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// inputBatch is one record batch with the columns a run needs.
type inputBatch struct {
	dataset string
	names   []string
	cols    []column
	rows    int

	first    uint64   // ordinal of the first row of a batch of the scanned input
	ordinals []uint64 // of each row, where they do not follow each other
}

// ordinal gives a row's place among those of the scanned input.
func (b *inputBatch) ordinal(i int32) uint64 {
	if b.ordinals != nil {
		return b.ordinals[i]
	}
	return b.first + uint64(i)
}

// column is a view of one Arrow array's buffers, valid until the batch is released. One of the value fields is set.
type column struct {
	desc   *catalog.Column // nil for SubjectColumn
	object string
	ints   []int64
	days   []int32
	offs   []int32
	data   []byte // text bytes, or 16-byte pseudonyms
	truth  []byte // bitmap of a bool column
	valid  []byte // validity bitmap, nil when there is no null
	off    int    // offset of both bitmaps

	codes  []uint16 // of texts and pseudonyms that come as a dictionary, which offs and data are of then
	words  int      // of the dictionary
	serial uint64   // of the batch, among all of a run
}

func (c *column) load(a arrow.Array, rows int) error {
	c.ints, c.days, c.offs, c.data, c.truth, c.valid, c.off = nil, nil, nil, nil, nil, nil, a.Data().Offset()
	c.codes, c.words = nil, 0
	c.serial++
	if a.Len() != rows {
		return fail(sandbox.Tampered, c.object, "columns of a batch have equal length")
	}
	if a.NullN() > 0 {
		if c.desc == nil || !c.desc.Nullable {
			return fail(sandbox.Tampered, c.object, "a column that is not nullable has no nulls")
		}
		c.valid = a.NullBitmapBytes()
	}
	ok := false
	switch a := a.(type) {
	case *array.Int64:
		ok = c.desc != nil && (c.desc.Type == catalog.Int || c.desc.Type == catalog.Money || c.desc.Type == catalog.Number)
		c.ints = a.Int64Values()
	case *array.Date32:
		ok = c.desc != nil && c.desc.Type == catalog.Date
		c.days = unsafeDays(a.Date32Values())
	case *array.String:
		ok = c.desc != nil && c.desc.Type == catalog.Text
		c.offs = a.ValueOffsets()
		if b := a.Data().Buffers()[2]; b != nil {
			c.data = b.Bytes()
		}
	case *array.Dictionary:
		ok = c.loadCodes(a, rows)
	case *array.Boolean:
		ok = c.desc != nil && c.desc.Type == catalog.Bool
		if b := a.Data().Buffers()[1]; b != nil {
			c.truth = b.Bytes()
		}
	case *array.FixedSizeBinary:
		w := a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth
		b := a.Data().Buffers()[1]
		ok = c.desc == nil && w == 16 && b != nil
		if ok {
			c.data = b.Bytes()[16*c.off:][:16*rows]
		}
	}
	if !ok {
		return fail(sandbox.Tampered, c.object, "a column has the type the catalogue describes")
	}
	return nil
}

func (c *column) null(i int32) bool {
	return c.valid != nil && !bitutil.BitIsSet(c.valid, c.off+int(i))
}

// word gives a non-text value as an integer.
func (c *column) word(i int32) int64 {
	switch {
	case c.ints != nil:
		return c.ints[i]
	case c.days != nil:
		return int64(c.days[i])
	case bitutil.BitIsSet(c.truth, c.off+int(i)):
		return 1
	}
	return 0
}

// subject gives a pseudonym as two words.
func (c *column) subject(i int32) (uint64, uint64) {
	if c.codes != nil {
		i = int32(c.codes[i])
	}
	p := c.data[16*int(i):][:16]
	return binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
}

func putPseudonym(p *sandbox.Pseudonym, a, b uint64) {
	binary.LittleEndian.PutUint64(p[:], a)
	binary.LittleEndian.PutUint64(p[8:], b)
}
