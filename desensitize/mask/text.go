package mask

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/text/unicode/norm"

	"github.com/opdomain/opdomain/sandbox"
)

// Style (遮盖样式) is what stands in the place of hidden characters.
type Style struct {
	Mark  rune // one of Marks; 0: '*'
	Width int  // marks for each hidden run, whatever its length, up to 64; 0: as many as characters were hidden
}

// Marks are the characters that may stand for hidden ones. None joins with a neighbour under NFC, and none is part of a value
// that people read.
const Marks = "*#_＊●■×○"

func (s Style) filled() (Style, error) {
	if s.Mark == 0 {
		s.Mark = '*'
	}
	if !slices.Contains([]rune(Marks), s.Mark) {
		return s, invalid("mark", "a mark is one of "+Marks)
	}
	if s.Width < 0 || s.Width > 64 {
		return s, invalid("width", "a hidden run becomes 1 to 64 marks, or 0 for its own length")
	}
	return s, nil
}

// hide appends the marks for a hidden run of n characters.
func (s Style) hide(dst []byte, n int) []byte {
	if s.Width > 0 && n > 0 {
		n = s.Width
	}
	if s.Mark < utf8.RuneSelf {
		at := len(dst)
		dst = dst[:at+n] // reserved by the kernel
		fill(dst[at:], uint64(s.Mark)*0x0101010101010101)
		return dst
	}
	for range n {
		dst = utf8.AppendRune(dst, s.Mark)
	}
	return dst
}

// count is what hide needs to know of how many characters v has.
func (s Style) count(v []byte) int {
	if s.Width > 0 {
		return min(len(v), 1)
	}
	return utf8.RuneCount(v)
}

// bound is how long the result for n bytes may be: each byte kept or its mark of at most 3 bytes, or every second character a
// hidden run of its own.
func (s Style) bound(n int) int { return 4*n + 3*s.Width*(n/2+1) }

// fill writes a byte that is repeated in word over d.
func fill(d []byte, word uint64) {
	switch n := len(d); {
	case n >= 8:
		for at := 0; at+8 <= n; at += 8 {
			binary.LittleEndian.PutUint64(d[at:], word)
		}
		binary.LittleEndian.PutUint64(d[n-8:], word)
	case n >= 4:
		binary.LittleEndian.PutUint32(d, uint32(word))
		binary.LittleEndian.PutUint32(d[n-4:], uint32(word))
	default:
		for i := range d {
			d[i] = byte(word)
		}
	}
}

// shape is one text pattern. mask appends what v becomes, in at most Style.bound bytes, and every hidden run through Style.hide,
// and says whether v fits; what it appended for a value that does not fit is dropped. v is not empty, valid UTF-8 and NFC.
type shape interface {
	mask(dst, v []byte, s Style) ([]byte, bool)
}

// Text (文本脱敏) is an operation on text columns, made by one of the constructors of this package.
type Text struct {
	name  string
	style Style
	shape shape
	keep  *keep // the same shape again, where whole buffers have a faster path
}

func newText(name string, style Style, p shape) (*Text, error) {
	style, err := style.filled()
	if err != nil {
		return nil, err
	}
	t := &Text{name: name, style: style, shape: p}
	if k, ok := p.(keep); ok && style.Width == 0 && style.Mark < utf8.RuneSelf {
		t.keep = &k
	}
	return t, nil
}

// Type takes utf8 and dictionaries of it.
func (t *Text) Type(in arrow.DataType) (arrow.DataType, bool) {
	if d, ok := in.(*arrow.DictionaryType); ok {
		return in, d.ValueType.ID() == arrow.STRING
	}
	return in, in.ID() == arrow.STRING
}

// Apply masks a column.
func (t *Text) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	out, _, err := t.Run(mem, a)
	return out, err
}

// Run masks a column and counts.
func (t *Text) Run(mem memory.Allocator, a arrow.Array) (arrow.Array, Count, error) {
	switch a := a.(type) {
	case *array.String:
		if t.keep != nil {
			if out, count, ok := t.keep.ascii(mem, a, byte(t.style.Mark)); ok {
				return out, count, nil
			}
		}
		return t.rows(mem, a, nil)
	case *array.Dictionary:
		if values, ok := a.Dictionary().(*array.String); ok {
			return t.dictionary(mem, a, values)
		}
	}
	return nil, Count{}, wrongType(t.name, a)
}

// What one value became.
const (
	untouched = iota
	masked
	failed
)

// rows masks value by value; fate, where asked for, says what became of each row.
func (t *Text) rows(mem memory.Allocator, a *array.String, fate []byte) (arrow.Array, Count, error) {
	var count Count
	out := newTextBuilder(mem, a.Len(), len(a.ValueBytes()))
	defer out.release()
	offs, raw := a.ValueOffsets(), a.ValueBytes()
	nulls, plain := a.NullN() > 0, isASCII(raw)
	var scratch []byte
	for i := range a.Len() {
		if nulls && a.IsNull(i) {
			out.end(i)
			continue
		}
		v := raw[offs[i]-offs[0] : offs[i+1]-offs[0]]
		if len(v) == 0 {
			out.end(i)
			continue
		}
		valid := true
		if !plain && !inert(v) {
			if valid = utf8.Valid(v); valid && !norm.NFC.IsNormal(v) {
				scratch = norm.NFC.Append(scratch[:0], v...)
				v = scratch
			}
		}
		if !out.reserve(t.style.bound(len(v))) {
			return nil, Count{}, &sandbox.Error{Op: "mask", Kind: sandbox.TooLarge, Object: "column", Detail: "the text of one batch has at most 2 GiB"}
		}
		at, what := len(out.data), byte(failed)
		if valid {
			if d, ok := t.shape.mask(out.data, v, t.style); ok {
				what = masked
				if out.data = d; len(d)-at == len(v) && string(d[at:]) == string(v) {
					what = untouched
				}
			}
		}
		switch what {
		case masked:
			count.Masked++
		case failed:
			count.Failed++
			out.data = t.style.hide(out.data[:at], utf8.RuneCount(v))
		}
		if fate != nil {
			fate[i] = what
		}
		out.end(i)
	}
	clear(scratch[:cap(scratch)])
	return out.array(validity(mem, a), a.NullN()), count, nil
}

// textBuilder writes offsets and bytes of a text array into memory of an allocator.
type textBuilder struct {
	offsets, bytes *memory.Buffer
	ends           []int32
	data           []byte // of bytes, as far as it is written
}

func newTextBuilder(mem memory.Allocator, rows, size int) *textBuilder {
	b := &textBuilder{offsets: memory.NewResizableBuffer(mem), bytes: memory.NewResizableBuffer(mem)}
	b.offsets.Resize(4 * (rows + 1))
	b.ends = arrow.Int32Traits.CastFromBytes(b.offsets.Bytes())
	b.ends[0] = 0
	b.bytes.Resize(size)
	b.data = b.bytes.Bytes()[:0]
	return b
}

// reserve makes room for n more bytes; false when the array could not address them.
func (b *textBuilder) reserve(n int) bool {
	if cap(b.data)-len(b.data) >= n {
		return true
	}
	used := len(b.data)
	if used > math.MaxInt32-n {
		return false
	}
	b.bytes.Resize(used + max(n, used/2))
	b.data = b.bytes.Bytes()[:used]
	return true
}

func (b *textBuilder) end(row int) { b.ends[row+1] = int32(len(b.data)) }

// array takes over the null bitmap.
func (b *textBuilder) array(nulls *memory.Buffer, n int) arrow.Array {
	b.bytes.ResizeNoShrink(len(b.data))
	data := array.NewData(arrow.BinaryTypes.String, len(b.ends)-1, []*memory.Buffer{nulls, b.offsets, b.bytes}, nil, n, 0)
	defer data.Release()
	release(nulls)
	return array.NewStringData(data)
}

func (b *textBuilder) release() { release(b.offsets, b.bytes) }

// inert says of a value of ASCII and common Chinese characters and marks that it is valid UTF-8 in NFC: none of them joins
// with another. Of other values it says nothing.
func inert(v []byte) bool {
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case c < utf8.RuneSelf:
			i++
		case c >= 0xe4 && c <= 0xe9 && i+2 < len(v) && v[i+1]&0xc0 == 0x80 && v[i+2]&0xc0 == 0x80: // U+4000 to U+9FFF
			i += 3
		case c == 0xc2 && i+1 < len(v) && v[i+1] == 0xb7: // ·
			i += 2
		default:
			return false
		}
	}
	return true
}

func isASCII(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 64 {
		p := b[:64]
		w := binary.LittleEndian.Uint64(p) | binary.LittleEndian.Uint64(p[8:]) | binary.LittleEndian.Uint64(p[16:]) | binary.LittleEndian.Uint64(p[24:])
		x := binary.LittleEndian.Uint64(p[32:]) | binary.LittleEndian.Uint64(p[40:]) | binary.LittleEndian.Uint64(p[48:]) | binary.LittleEndian.Uint64(p[56:])
		if (w|x)&high != 0 {
			return false
		}
		b = b[64:]
	}
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&high != 0 {
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
