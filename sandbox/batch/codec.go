package batch

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

var magic = [4]byte{'O', 'D', 'B', '1'}

const (
	headSize  = 24
	entrySize = 16
)

// MaxRows (单批行数上限) is how many rows a batch has unless Limits say otherwise; what a sender keeps to.
const MaxRows = 1 << 16

// Limits (解码限额) bound one decoded batch. Zero means the default.
type Limits struct {
	Rows  int // default MaxRows
	Bytes int // of the encoding; default 64 MiB
}

func (l Limits) rows() int {
	if l.Rows <= 0 {
		return MaxRows
	}
	return l.Rows
}

func (l Limits) bytes() int {
	if l.Bytes <= 0 {
		return 64 << 20
	}
	return l.Bytes
}

func bad(column, rule string) error {
	return &sandbox.Error{Op: "batch: decode", Kind: sandbox.Invalid, Object: column, Detail: rule}
}

func pad(n int) int { return (n + 7) &^ 7 }

// Encode appends the encoding of rec to dst. The record may be a slice of a larger one. What Decode would refuse is refused
// here, Invalid naming the column: a type other than those of Schema and fixed-size binary, text that is not UTF-8, a null
// in a column that is not nullable.
func Encode(dst []byte, rec arrow.Record) ([]byte, error) {
	rows, cols := int(rec.NumRows()), int(rec.NumCols())
	start := len(dst)
	dst = append(dst, magic[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(cols))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(rows))
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = append(dst, make([]byte, cols*entrySize)...)
	for i := range cols {
		a, f := rec.Column(i), rec.Schema().Field(i)
		entry := start + headSize + i*entrySize
		binary.LittleEndian.PutUint64(dst[entry:], uint64(a.NullN()))
		rule := ""
		if a.NullN() > 0 && !f.Nullable {
			rule = ruleNulls
		} else {
			dst, rule = appendColumn(dst, start, entry, a)
		}
		if rule != "" {
			return nil, &sandbox.Error{Op: "batch: encode", Kind: sandbox.Invalid, Object: f.Name, Detail: rule}
		}
	}
	binary.LittleEndian.PutUint64(dst[start+16:], uint64(len(dst)-start))
	return dst, nil
}

const (
	ruleNulls = "nulls only where the schema allows them, at most one a row"
	ruleUTF8  = "text is valid UTF-8"
)

// appendColumn gives the rule that a breaks, or "".
func appendColumn(dst []byte, start, entry int, a arrow.Array) ([]byte, string) {
	rows := a.Len()
	nulls := a.NullN() > 0
	if nulls {
		dst = appendBits(dst, rows, a.NullBitmapBytes(), a.Data().Offset())
		dst = padFrom(dst, start)
	}
	rule := ""
	switch a := a.(type) {
	case *array.String:
		dst, rule = appendText(dst, start, entry, a, nulls)
	case *array.Int64:
		dst = appendWords(dst, a.Int64Values(), a, nulls)
	case *array.Date32:
		dst = appendWords(dst, a.Date32Values(), a, nulls)
	case *array.Boolean:
		at := len(dst)
		if rows > 0 {
			dst = appendBits(dst, rows, a.Data().Buffers()[1].Bytes(), a.Data().Offset())
		}
		if nulls {
			for i := range rows {
				if a.IsNull(i) {
					bitutil.ClearBit(dst[at:], i)
				}
			}
		}
	case *array.FixedSizeBinary:
		if nulls {
			return nil, ruleFixed
		}
		w := a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth
		if rows > 0 {
			from := a.Data().Offset() * w
			dst = append(dst, a.Data().Buffers()[1].Bytes()[from:from+rows*w]...)
		}
	default:
		return nil, fmt.Sprintf("type %s has no encoding", a.DataType())
	}
	return padFrom(dst, start), rule
}

const ruleFixed = "fixed-size binary columns have no nulls"

// appendText writes offsets from zero and the values behind them; what a null slot covers is left out.
func appendText(dst []byte, start, entry int, a *array.String, nulls bool) ([]byte, string) {
	if !nulls {
		return appendWholeText(dst, start, entry, a)
	}
	rows := a.Len()
	dst = slices.Grow(dst, 4*(rows+1))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	end, cut := 0, false
	for i := range rows {
		if a.IsValid(i) {
			v := a.Value(i)
			cut = cut || len(v) > 0 && !utf8.RuneStart(v[0])
			if end += len(v); end > maxText {
				return nil, ruleText
			}
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(end))
	}
	dst = padFrom(dst, start)
	binary.LittleEndian.PutUint64(dst[entry+8:], uint64(end))
	from := len(dst)
	dst = slices.Grow(dst, end)
	for i := range rows {
		if a.IsValid(i) {
			dst = append(dst, a.Value(i)...)
		}
	}
	if cut || !utf8.Valid(dst[from:]) {
		return nil, ruleUTF8
	}
	return dst, ""
}

const (
	maxText  = 1<<31 - 1 // bytes that int32 offsets reach
	ruleText = "the text of one batch has at most 2 GiB"
	ruleRise = "offsets rise and stay within the data"
)

// appendWholeText is appendText where nothing is null: offsets and values are copied whole.
func appendWholeText(dst []byte, start, entry int, a *array.String) ([]byte, string) {
	offsets, data := []int32{0}, []byte(nil)
	if a.Len() > 0 {
		offsets, data = a.ValueOffsets()[:a.Len()+1], a.ValueBytes()
	}
	odd := int32(0) // negative where one is below the one before it
	for i, next := range offsets[1:] {
		odd |= next - offsets[i]
	}
	if odd < 0 {
		return nil, ruleRise
	}
	at := len(dst)
	dst = append(dst, unsafe.Slice((*byte)(unsafe.Pointer(&offsets[0])), 4*len(offsets))...)
	for base, i := offsets[0], 0; base != 0 && i < len(offsets); i++ {
		binary.LittleEndian.PutUint32(dst[at+4*i:], uint32(offsets[i]-base))
	}
	dst = padFrom(dst, start)
	binary.LittleEndian.PutUint64(dst[entry+8:], uint64(len(data)))
	dst = append(dst, data...)
	if !validTexts(data, offsets, offsets[0]) {
		return nil, ruleUTF8
	}
	return dst, ""
}

// validTexts says whether data is UTF-8 and every value of it begins with a character. The offsets rise to its length, from base.
func validTexts[T int32 | uint32](data []byte, offsets []T, base T) bool {
	if isASCII(data) {
		return true
	}
	if !validUTF8(data) {
		return false
	}
	for _, at := range offsets {
		if at -= base; int(at) < len(data) && !utf8.RuneStart(data[at]) {
			return false
		}
	}
	return true
}

func isASCII(b []byte) bool {
	const high = 0x8080808080808080
	for ; len(b) >= 32; b = b[32:] {
		p := b[:32]
		if (binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:])|binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:]))&high != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// validUTF8 is utf8.Valid, faster on Chinese: two characters of three bytes are looked at in one word, but for U+0800 to U+0FFF and those beside the
// surrogates.
func validUTF8(b []byte) bool {
	i := 0
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		switch first, second := byte(x), byte(x>>24); {
		case x&0x8080808080808080 == 0:
			i += 8
		case first < utf8.RuneSelf:
			i++
		case x&0xc0c0f0 != 0x8080e0 || first == 0xe0 || first == 0xed:
			return utf8.Valid(b[i:])
		case x&0xc0c0f0_000000 == 0x8080e0_000000 && second != 0xe0 && second != 0xed:
			i += 6
		default:
			i += 3
		}
	}
	return utf8.Valid(b[i:])
}

// appendWords copies fixed-width values whole (little-endian machines only, which is what Arrow buffers are), then
// clears null slots so that they carry nothing.
func appendWords[T int64 | arrow.Date32](dst []byte, v []T, a arrow.Array, nulls bool) []byte {
	width := int(unsafe.Sizeof(*new(T)))
	at := len(dst)
	if len(v) > 0 {
		dst = append(dst, unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*width)...)
	}
	if nulls {
		for i := range v {
			if a.IsNull(i) {
				clear(dst[at+i*width : at+(i+1)*width])
			}
		}
	}
	return dst
}

// appendBits copies n bits of src from an offset, unused bits zero.
func appendBits(dst []byte, n int, src []byte, offset int) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, (n+7)/8)...)
	bitutil.CopyBitmap(src, offset, n, dst[at:], 0)
	return dst
}

func padFrom(dst []byte, start int) []byte {
	for (len(dst)-start)%8 != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// Decode reads one encoded batch of the given schema. Every fault is Invalid naming the column and the rule, TooLarge if
// over lim. A non-nullable column with nulls is a fault.
func Decode(_ memory.Allocator, schema *arrow.Schema, b []byte, lim Limits) (arrow.Record, error) {
	return decode(nil, schema, b, lim)
}

// DecodeBuffer is Decode over a buffer that the record's columns hold: it is freed when the last of them is released. The caller
// keeps its own reference.
func DecodeBuffer(b *memory.Buffer, schema *arrow.Schema, lim Limits) (arrow.Record, error) {
	return decode(b, schema, b.Bytes(), lim)
}

func decode(whole *memory.Buffer, schema *arrow.Schema, b []byte, lim Limits) (arrow.Record, error) {
	if len(b) > lim.bytes() {
		return nil, &sandbox.Error{Op: "batch: decode", Kind: sandbox.TooLarge, Object: "batch", Detail: fmt.Sprintf("at most %d bytes", lim.bytes())}
	}
	cols := schema.NumFields()
	if len(b) < headSize+cols*entrySize || [4]byte(b[:4]) != magic {
		return nil, bad("header", "magic and a header for every column")
	}
	if binary.LittleEndian.Uint32(b[4:]) != uint32(cols) {
		return nil, bad("header", fmt.Sprintf("the schema has %d columns", cols))
	}
	if cols == 0 && binary.LittleEndian.Uint64(b[8:]) != 0 {
		return nil, bad("header", "rows need a column")
	}
	rows64 := binary.LittleEndian.Uint64(b[8:])
	if rows64 > uint64(lim.rows()) {
		return nil, &sandbox.Error{Op: "batch: decode", Kind: sandbox.TooLarge, Object: "batch", Detail: fmt.Sprintf("at most %d rows", lim.rows())}
	}
	if binary.LittleEndian.Uint64(b[16:]) != uint64(len(b)) {
		return nil, bad("header", "the stated length is the length of the bytes")
	}
	if uintptr(unsafe.Pointer(&b[0]))%8 != 0 {
		whole, b = nil, append(make([]byte, 0, len(b)), b...) // Go aligns allocations of this size to 8 bytes
	}
	d := decoder{whole: whole, b: b, at: headSize + cols*entrySize, rows: int(rows64)}
	arrays := make([]arrow.Array, 0, cols)
	defer func() {
		for _, a := range arrays {
			a.Release()
		}
	}()
	for i := range cols {
		f := schema.Field(i)
		entry := b[headSize+i*entrySize:]
		a, err := d.column(f, binary.LittleEndian.Uint64(entry), binary.LittleEndian.Uint64(entry[8:]))
		if err != nil {
			return nil, err
		}
		arrays = append(arrays, a)
	}
	if d.at != len(b) {
		return nil, bad("batch", "nothing follows the last column")
	}
	return array.NewRecord(schema, arrays, int64(d.rows)), nil
}

type decoder struct {
	whole    *memory.Buffer // that b is of; nil: b belongs to the arrays
	b        []byte
	at, rows int
}

// take gives the next n bytes and checks that the padding behind them is zero.
func (d *decoder) take(column string, n int) ([]byte, error) {
	if n < 0 || pad(n) > len(d.b)-d.at {
		return nil, bad(column, "its buffers lie within the batch")
	}
	out := d.b[d.at : d.at+n : d.at+n]
	for _, z := range d.b[d.at+n : d.at+pad(n)] {
		if z != 0 {
			return nil, bad(column, "padding is zero")
		}
	}
	d.at += pad(n)
	return out, nil
}

// buffer makes a part of b an Arrow buffer.
func (d *decoder) buffer(part []byte) *memory.Buffer {
	if d.whole == nil || len(part) == 0 {
		return memory.NewBufferBytes(part)
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(d.b)))
	return memory.SliceBuffer(d.whole, int(at), len(part))
}

func (d *decoder) bitmap(column string) ([]byte, error) {
	out, err := d.take(column, (d.rows+7)/8)
	if err == nil && d.rows%8 != 0 && out[len(out)-1]>>(d.rows%8) != 0 {
		err = bad(column, "unused bits of a bitmap are zero")
	}
	return out, err
}

func (d *decoder) column(f arrow.Field, nulls, length uint64) (arrow.Array, error) {
	if nulls > uint64(d.rows) || nulls > 0 && !f.Nullable {
		return nil, bad(f.Name, ruleNulls)
	}
	var valid []byte
	if nulls > 0 {
		var err error
		if valid, err = d.bitmap(f.Name); err != nil {
			return nil, err
		}
		set := 0
		for _, x := range valid {
			set += bits.OnesCount8(x)
		}
		if set != d.rows-int(nulls) {
			return nil, bad(f.Name, "the validity bitmap has the stated number of nulls")
		}
	}
	_, text := f.Type.(*arrow.StringType)
	if !text && length != 0 {
		return nil, bad(f.Name, "only text has a data length")
	}
	buffers := []*memory.Buffer{nil}
	if valid != nil {
		buffers[0] = d.buffer(valid)
	}
	defer func() {
		for _, b := range buffers {
			if b != nil {
				b.Release() // the array has its own reference
			}
		}
	}()
	add := func(b []byte) { buffers = append(buffers, d.buffer(b)) }
	switch t := f.Type.(type) {
	case *arrow.StringType:
		offsets, data, err := d.text(f.Name, valid, length)
		if err != nil {
			return nil, err
		}
		add(offsets)
		add(data)
	case *arrow.BooleanType:
		v, err := d.bitmap(f.Name)
		if err != nil {
			return nil, err
		}
		for i := range valid {
			if v[i]&^valid[i] != 0 {
				return nil, bad(f.Name, "null slots are zero")
			}
		}
		add(v)
	case *arrow.FixedSizeBinaryType:
		if valid != nil {
			return nil, bad(f.Name, ruleFixed)
		}
		v, err := d.fixed(f.Name, nil, t.ByteWidth)
		if err != nil {
			return nil, err
		}
		add(v)
	case *arrow.Int64Type, *arrow.Date32Type:
		v, err := d.fixed(f.Name, valid, t.(arrow.FixedWidthDataType).BitWidth()/8)
		if err != nil {
			return nil, err
		}
		add(v)
	default:
		return nil, bad(f.Name, fmt.Sprintf("type %s has no encoding", f.Type))
	}
	data := array.NewData(f.Type, d.rows, buffers, nil, int(nulls), 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// fixed gives the values of a fixed-width column.
func (d *decoder) fixed(column string, valid []byte, width int) ([]byte, error) {
	v, err := d.take(column, width*d.rows)
	if err == nil && valid != nil && !zeroNulls(v, valid, width, d.rows) {
		err = bad(column, "null slots are zero")
	}
	return v, err
}

func zeroNulls(v, valid []byte, width, rows int) bool {
	for i := range rows {
		if bitutil.BitIsSet(valid, i) {
			continue
		}
		for _, x := range v[i*width : (i+1)*width] {
			if x != 0 {
				return false
			}
		}
	}
	return true
}

// text validates offsets (from zero, rising, ending at the stated length, equal across nulls) and that every value is
// UTF-8: the data is as a whole, and no value begins inside a character.
func (d *decoder) text(column string, valid []byte, length uint64) (offsets, data []byte, err error) {
	if length > maxText {
		return nil, nil, bad(column, "its buffers lie within the batch")
	}
	if offsets, err = d.take(column, 4*(d.rows+1)); err != nil {
		return nil, nil, err
	}
	if data, err = d.take(column, int(length)); err != nil {
		return nil, nil, err
	}
	ends := unsafe.Slice((*uint32)(unsafe.Pointer(&offsets[0])), d.rows+1) // aligned: buffers begin at multiples of 8
	if ends[0] != 0 {
		return nil, nil, bad(column, "offsets start at zero")
	}
	last, odd := uint32(0), uint32(0)
	for _, next := range ends[1:] { // the highest bit: one over 2^31 or below the one before it
		odd |= next | (next - last)
		last = next
	}
	if odd>>31 != 0 || uint64(last) > length {
		return nil, nil, bad(column, ruleRise)
	}
	for i := range valid { // of eight slots
		for k := 8 * i; valid[i] != 0xff && k < min(8*i+8, d.rows); k++ {
			if valid[i]>>(k%8)&1 == 0 && ends[k] != ends[k+1] {
				return nil, nil, bad(column, "null slots are empty")
			}
		}
	}
	if uint64(last) != length {
		return nil, nil, bad(column, "the last offset is the length of the data")
	}
	if !validTexts(data, ends, 0) {
		return nil, nil, bad(column, ruleUTF8)
	}
	return offsets, data, nil
}
