package token

import (
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// Masked stands for a value that does not fit its format. It has no digits and does not show the value's length.
const Masked = "***"

// maxColumn bounds the bytes of a result: offsets are int32.
const maxColumn = 1<<31 - 1

// texts is a column seen as texts: row i is data[offsets[i]:offsets[i+1]].
type texts struct {
	offsets []int32
	data    []byte
	nulls   int
	valid   []byte // bitmap, nil without nulls
	shift   int    // of row 0 in valid
}

func (t *texts) len() int { return len(t.offsets) - 1 }

func (t *texts) row(i int) []byte { return t.data[t.offsets[i]:t.offsets[i+1]] }

func (t *texts) null(i int) bool { return t.valid != nil && !bitutil.BitIsSet(t.valid, t.shift+i) }

// encoder turns texts into a column of strings.
type encoder interface {
	encode(w *writer, t *texts) error
}

// textsOf sees a String column in place; empty columns may come without buffers.
func textsOf(s *array.String) *texts {
	t := &texts{offsets: []int32{0}, nulls: s.NullN()}
	if s.Len() == 0 {
		return t
	}
	d := s.Data()
	t.offsets = s.ValueOffsets()[:s.Len()+1]
	if b := d.Buffers()[2]; b != nil {
		t.data = b.Bytes()
	}
	if t.nulls > 0 {
		t.valid, t.shift = s.NullBitmapBytes(), d.Offset()
	}
	return t
}

// decimals writes an Int64 column as decimal texts; nulls are empty.
func decimals(a *array.Int64) *texts {
	t := &texts{offsets: make([]int32, 1, a.Len()+1), data: make([]byte, 0, 12*a.Len()), nulls: a.NullN()}
	if t.nulls > 0 {
		t.valid, t.shift = a.NullBitmapBytes(), a.Data().Offset()
	}
	for i, x := range a.Int64Values() {
		if !t.null(i) {
			t.data = strconv.AppendInt(t.data, x, 10)
		}
		t.offsets = append(t.offsets, int32(len(t.data)))
	}
	return t
}

func refuse(op, detail string) error {
	return &sandbox.Error{Op: "token: " + op, Kind: sandbox.Invalid, Object: "column", Detail: detail}
}

// toText applies e and gives strings, or a dictionary of strings for a dictionary.
func toText(op string, mem memory.Allocator, a arrow.Array, e encoder) (arrow.Array, error) {
	switch a := a.(type) {
	case *array.String:
		return encode(op, mem, textsOf(a).normalised(), e)
	case *array.Int64:
		if a.Len() > maxColumn/20 {
			return nil, refuse(op, "too many rows for one column")
		}
		return encode(op, mem, decimals(a), e)
	case *array.Dictionary:
		return dictionary(op, mem, a, e)
	}
	return nil, refuse(op, "takes utf8, int64 or a dictionary of utf8")
}

// toKind is toText, and an Int64 column stays one: texts that are no number become null.
func toKind(op string, mem memory.Allocator, a arrow.Array, e encoder) (arrow.Array, error) {
	out, err := toText(op, mem, a, e)
	if _, ok := a.(*array.Int64); !ok || err != nil {
		return out, err
	}
	defer out.Release()
	b := array.NewInt64Builder(mem)
	defer b.Release()
	s := out.(*array.String)
	b.Reserve(s.Len())
	for i := range s.Len() {
		if x, err := strconv.ParseInt(s.Value(i), 10, 64); err == nil && s.IsValid(i) {
			b.UnsafeAppend(x)
		} else {
			b.UnsafeAppendBoolToBitmap(false)
		}
	}
	return b.NewInt64Array(), nil
}

// dictionary replaces the values and keeps the indices. Values no row uses are replaced, and counted, too.
func dictionary(op string, mem memory.Allocator, a *array.Dictionary, e encoder) (arrow.Array, error) {
	values, ok := a.Dictionary().(*array.String)
	if !ok {
		return nil, refuse(op, "takes utf8, int64 or a dictionary of utf8")
	}
	out, err := encode(op, mem, textsOf(values).normalised(), e)
	if err != nil {
		return nil, err
	}
	defer out.Release()
	kind := *a.DataType().(*arrow.DictionaryType)
	kind.ValueType = arrow.BinaryTypes.String
	return array.NewDictionaryArray(&kind, a.Indices(), out), nil
}

func encode(op string, mem memory.Allocator, t *texts, e encoder) (arrow.Array, error) {
	w := &writer{op: op, mem: mem}
	defer w.release()
	w.begin(t)
	if err := e.encode(w, t); err != nil {
		return nil, err
	}
	return w.finish(), nil
}

// writer builds a string column of known row count into raw buffers. Rows are put in order.
type writer struct {
	op                   string
	mem                  memory.Allocator
	valid, offsets, data *memory.Buffer
	ends                 []int32
	out                  []byte
	n, at, rows, nulls   int
}

func (w *writer) begin(t *texts) {
	w.rows, w.nulls = t.len(), t.nulls
	w.offsets, w.data = memory.NewResizableBuffer(w.mem), memory.NewResizableBuffer(w.mem)
	w.offsets.Resize((w.rows + 1) * arrow.Int32SizeBytes)
	w.ends = arrow.Int32Traits.CastFromBytes(w.offsets.Bytes())
	w.ends[0] = 0
	if t.nulls > 0 {
		w.valid = memory.NewResizableBuffer(w.mem)
		w.valid.Resize(int(bitutil.BytesForBits(int64(w.rows))))
		clear(w.valid.Bytes())
		bitutil.CopyBitmap(t.valid, t.shift, w.rows, w.valid.Bytes(), 0)
	}
}

// grow makes room for n more bytes; TooLarge where offsets would not hold them.
func (w *writer) grow(n int) error {
	if n > maxColumn-w.at {
		return &sandbox.Error{Op: "token: " + w.op, Kind: sandbox.TooLarge, Object: "column", Detail: "the result is over 2 GiB", Hint: "use smaller batches"}
	}
	if w.at+n > len(w.out) {
		w.data.Resize(min(max(w.at+n, 2*len(w.out)), maxColumn))
		w.out = w.data.Bytes()
	}
	return nil
}

// next gives the n bytes of the next row; grow has made room.
func (w *writer) next(n int) []byte {
	b := w.out[w.at : w.at+n : w.at+n]
	w.at += n
	w.n++
	w.ends[w.n] = int32(w.at)
	return b
}

func (w *writer) mask() { copy(w.next(len(Masked)), Masked) }

// drop makes the next row null.
func (w *writer) drop() {
	if w.valid == nil {
		w.valid = memory.NewResizableBuffer(w.mem)
		w.valid.Resize(int(bitutil.BytesForBits(int64(w.rows))))
		clear(w.valid.Bytes())
		bitutil.SetBitsTo(w.valid.Bytes(), 0, int64(w.rows), true)
	}
	bitutil.ClearBit(w.valid.Bytes(), w.n)
	w.nulls++
	w.next(0)
}

func (w *writer) finish() arrow.Array {
	w.data.Resize(w.at)
	d := array.NewData(arrow.BinaryTypes.String, w.rows, []*memory.Buffer{w.valid, w.offsets, w.data}, nil, w.nulls, 0)
	defer d.Release()
	return array.NewStringData(d)
}

func (w *writer) release() {
	for _, b := range []*memory.Buffer{w.valid, w.offsets, w.data} {
		if b != nil {
			b.Release()
		}
	}
}
