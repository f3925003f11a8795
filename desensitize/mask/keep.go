package mask

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// keep leaves the first and last characters.
type keep struct{ first, last int }

// maxKept bounds the characters that Keep and Truncate leave.
const maxKept = 1 << 16

// Keep (保留首尾) leaves the first and last characters of a value and hides those between. A value without one between does not
// fit. Keep of nothing hides every value whole, which is no failure then.
func Keep(first, last int, s Style) (*Text, error) {
	if first < 0 || last < 0 || first > maxKept || last > maxKept {
		return nil, invalid("keep", "0 to 65536 characters at either end")
	}
	return newText("keep", s, keep{first, last})
}

func (k keep) mask(dst, v []byte, s Style) ([]byte, bool) {
	n := utf8.RuneCount(v)
	hidden := n - k.first - k.last
	if hidden <= 0 {
		return dst, false
	}
	from, to := k.first, len(v)-k.last
	if n != len(v) {
		from, to = ahead(v, k.first), behind(v, k.last)
	}
	dst = append(dst, v[:from]...)
	dst = s.hide(dst, hidden)
	return append(dst, v[to:]...), true
}

// ahead gives the bytes of the first n characters, behind where the last n begin.
func ahead(v []byte, n int) (at int) {
	for range n {
		_, size := utf8.DecodeRune(v[at:])
		at += size
	}
	return at
}

func behind(v []byte, n int) int {
	at := len(v)
	for range n {
		_, size := utf8.DecodeLastRune(v[:at])
		at -= size
	}
	return at
}

// block is how many rows are copied, looked at and marked before the next ones: their bytes stay in the nearest cache.
const block = 1024

// ascii masks a column of ASCII whole: lengths stay, so offsets are shared, bytes are copied and marks written over them. It
// gives false at the first byte that is not ASCII.
func (k keep) ascii(mem memory.Allocator, a *array.String, mark byte) (arrow.Array, Count, bool) {
	n := a.Len()
	if n == 0 {
		return nil, Count{}, false
	}
	offs, raw := a.ValueOffsets(), a.ValueBytes()
	base := offs[0]
	size := int(offs[n] - base)
	out := memory.NewResizableBuffer(mem)
	defer out.Release()
	out.Resize(size + 8) // the last store of a row may reach over its end
	dst := out.Bytes()
	m := marker{keep: k, word: uint64(mark) * 0x0101010101010101}
	nulls := a.NullN() > 0
	for at := 0; at < n; at += block {
		end := min(at+block, n)
		from, to := int(offs[at]-base), int(offs[end]-base)
		copy(dst[from:to], raw[from:to])
		if !isASCII(dst[from:to]) {
			return nil, Count{}, false
		}
		width := int(offs[at+1] - offs[at])
		if !nulls && fixed(offs[at:end+1], width) {
			m.fixed(dst[from:to+8], end-at, width)
			continue
		}
		for i := at; i < end; i++ {
			v := dst[offs[i]-base : offs[i+1]-base]
			if nulls && a.IsNull(i) {
				fill(v, m.word) // nothing of what it covers stays
				continue
			}
			m.one(v)
		}
	}
	out.ResizeNoShrink(size)
	offsets := a.Data().Buffers()[1]
	if a.Data().Offset() == 0 && base == 0 {
		offsets.Retain()
	} else {
		offsets = memory.NewResizableBuffer(mem)
		offsets.Resize(4 * (n + 1))
		for i, o := range offs {
			arrow.Int32Traits.CastFromBytes(offsets.Bytes())[i] = o - base
		}
	}
	valid := validity(mem, a)
	data := array.NewData(arrow.BinaryTypes.String, n, []*memory.Buffer{valid, offsets, out}, nil, a.NullN(), 0)
	defer data.Release()
	release(offsets, valid)
	return array.NewStringData(data), m.count, true
}

// fixed says whether every value has one width.
func fixed(offs []int32, width int) bool {
	if width <= 0 {
		return false
	}
	off, w, odd := offs[0], int32(width), int32(0)
	rest := offs[1:]
	for len(rest) >= 4 {
		// In Go ^ and | bind alike: without its brackets two wrong widths could cancel out.
		odd |= (rest[0] ^ (off + w)) | (rest[1] ^ (off + 2*w)) | (rest[2] ^ (off + 3*w)) | (rest[3] ^ (off + 4*w))
		off += 4 * w
		rest = rest[4:]
	}
	for _, o := range rest {
		off += w
		odd |= o ^ off
	}
	return odd == 0
}

// marker writes marks over copied values.
type marker struct {
	keep
	word  uint64
	count Count
}

func (m *marker) one(v []byte) {
	switch from, to := m.first, len(v)-m.last; {
	case len(v) == 0:
	case from >= to:
		fill(v, m.word)
		m.count.Failed++
	default:
		fill(v[from:to], m.word)
		m.count.Masked++
	}
}

// fixed marks rows of one width; d has 8 bytes more than they take.
func (m *marker) fixed(d []byte, rows, width int) {
	from, n := m.first, width-m.first-m.last
	if n <= 0 {
		from, n = 0, width
		m.count.Failed += int64(rows)
	} else {
		m.count.Masked += int64(rows)
	}
	word, at := m.word, from
	switch {
	case n == 8:
		for range rows {
			binary.LittleEndian.PutUint64(d[at:], word)
			at += width
		}
	case n < 8:
		low := uint64(1)<<(8*n) - 1
		for range rows {
			p := d[at : at+8]
			binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)&^low|word&low)
			at += width
		}
	case n <= 16:
		for range rows {
			binary.LittleEndian.PutUint64(d[at:], word)
			binary.LittleEndian.PutUint64(d[at+n-8:], word)
			at += width
		}
	default:
		for range rows {
			fill(d[at:at+n], word)
			at += width
		}
	}
}

// truncate leaves the first characters.
type truncate struct{ n int }

// Truncate (截断) cuts a text to its first n characters; a shorter one stays as it is.
func Truncate(n int) (*Text, error) {
	if n < 1 || n > maxKept {
		return nil, invalid("truncate", "1 to 65536 characters stay")
	}
	return newText("truncate", Style{}, truncate{n})
}

func (t truncate) mask(dst, v []byte, _ Style) ([]byte, bool) {
	if len(v) > t.n && utf8.RuneCount(v) > t.n {
		v = v[:ahead(v, t.n)]
	}
	return append(dst, v...), true
}
