package vault

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox/batch"
)

// A packed batch is one batch of one column, all integers little endian:
//
//	offset  size  field
//	0       4     magic "ODP1"
//	4       1     form: 1 texts, 2 numbers, 3 subjects
//	5       1     bytes of a code: 0, 1, 2, of numbers also 4
//	6       2     zero
//	8       4     rows, at most batch.MaxRows
//	12      4     nulls
//	16      8     texts: length of the dictionary; numbers: the least, int64; subjects: how many runs of rows
//	24      8     length of all
//	32      …     each padded with zeros to 8 bytes:
//	                validity bitmap, where there are nulls, which have code 0
//	                texts: the dictionary, a batch of one text column without nulls as package batch encodes it; codes
//	                numbers: what each is above the least, as a code
//	                subjects: 16 bytes a run; a bitmap of the rows that begin one
//
// Codes of no bytes are all 0. What a hostile file states is checked before it is used, like everything package batch reads.
const (
	packHead     = 32
	formTexts    = 1
	formNumbers  = 2
	formSubjects = 3
	// maxExpanded bounds what the texts of a packed batch take when they stand for themselves.
	maxExpanded = 1 << 28
)

var packMagic = [4]byte{'O', 'D', 'P', '1'}

func padded(n int) int { return (n + 7) &^ 7 }

// packer packs the batches of one column. Its scratch holds texts of the last one.
type packer struct {
	seed  maphash.Seed
	slots []uint32 // hash → code+1
	sums  []uint32 // of each entry's hash
	offs  []int32
	data  []byte
	codes []uint16 // by row
}

// forget clears what it holds of the data.
func (p *packer) forget() {
	clear(p.data[:cap(p.data)])
	clear(p.codes[:cap(p.codes)])
	clear(p.offs[:cap(p.offs)])
}

// pack appends a packed and describes it; false, with dst as it was, where that would be no shorter than the encoding of package batch, or where
// that would refuse it.
func (p *packer) pack(dst []byte, f arrow.Field, a arrow.Array) ([]byte, columnStatistics, bool) {
	if _, text := a.(*array.String); !text {
		st := describe(a)
		if a.Len() == 0 || a.Len() > batch.MaxRows || a.NullN() > 0 && !f.Nullable {
			return dst, st, false
		}
		ok := false
		switch a := a.(type) {
		case *array.Int64:
			dst, ok = packNumbers(dst, a, a.Int64Values(), st)
		case *array.Date32:
			dst, ok = packNumbers(dst, a, a.Date32Values(), st)
		case *array.FixedSizeBinary:
			dst, ok = packSubjects(dst, a)
		}
		return dst, st, ok
	}
	s := a.(*array.String)
	if a.Len() > 0 && a.Len() <= batch.MaxRows && (a.NullN() == 0 || f.Nullable) && p.tabulate(s) {
		dictionary := p.dictionary()
		defer dictionary.Release()
		st := describe(dictionary)
		st.Nulls = a.NullN()
		if dictionary.Len() <= maxValues && len(p.data) <= maxValueBytes {
			st.Texts = make([][]byte, dictionary.Len())
			for i := range st.Texts {
				st.Texts[i] = bytes.Clone(p.data[p.offs[i]:p.offs[i+1]])
			}
		}
		out, ok := p.packTexts(dst, s, dictionary)
		return out, st, ok
	}
	return dst, describe(a), false
}

// appendPackHead gives the head, and the validity where there are nulls.
func appendPackHead(dst []byte, form, width byte, a arrow.Array, own uint64) []byte {
	dst = append(dst, packMagic[:]...)
	dst = append(dst, form, width, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(a.Len()))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(a.NullN()))
	dst = binary.LittleEndian.AppendUint64(dst, own)
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	if a.NullN() > 0 {
		at := len(dst)
		dst = append(dst, make([]byte, padded((a.Len()+7)/8))...)
		bitutil.CopyBitmap(a.NullBitmapBytes(), a.Data().Offset(), a.Len(), dst[at:], 0)
	}
	return dst
}

// packEnd pads what was appended since start and writes its length.
func packEnd(dst []byte, start int) []byte {
	dst = append(dst, make([]byte, padded(len(dst)-start)-(len(dst)-start))...)
	binary.LittleEndian.PutUint64(dst[start+24:], uint64(len(dst)-start))
	return dst
}

// codeWidth gives the bytes that codes up to one take; 8 for more than four.
func codeWidth(highest uint64) int {
	switch n := bits.Len64(highest); {
	case n == 0:
		return 0
	case n <= 8:
		return 1
	case n <= 16:
		return 2
	case n <= 32:
		return 4
	}
	return 8
}

func packNumbers[T int64 | arrow.Date32](dst []byte, a arrow.Array, v []T, st columnStatistics) ([]byte, bool) {
	least, width := int64(0), 0
	if st.Min != nil {
		least, width = *st.Min, codeWidth(uint64(*st.Max)-uint64(*st.Min))
	}
	if width >= int(unsafe.Sizeof(*new(T))) {
		return dst, false
	}
	start := len(dst)
	dst = appendPackHead(dst, formNumbers, byte(width), a, uint64(least))
	at := len(dst)
	dst = append(dst, make([]byte, width*len(v))...)
	switch codes := dst[at:]; width {
	case 1:
		for i, x := range v {
			codes[i] = byte(int64(x) - least)
		}
	case 2:
		for i, x := range v {
			binary.LittleEndian.PutUint16(codes[2*i:], uint16(int64(x)-least))
		}
	case 4:
		for i, x := range v {
			binary.LittleEndian.PutUint32(codes[4*i:], uint32(int64(x)-least))
		}
	}
	clearNulls(dst[at:], width, a)
	return packEnd(dst, start), true
}

// clearNulls gives nulls the code 0.
func clearNulls(codes []byte, width int, a arrow.Array) {
	if a.NullN() == 0 || width == 0 {
		return
	}
	for i := range a.Len() {
		if a.IsNull(i) {
			clear(codes[width*i : width*(i+1)])
		}
	}
}

func packSubjects(dst []byte, a *array.FixedSizeBinary) ([]byte, bool) {
	rows := a.Len()
	if a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth != 16 || a.NullN() > 0 {
		return dst, false
	}
	raw := a.Data().Buffers()[1].Bytes()[16*a.Data().Offset():][:16*rows]
	runs := 1
	for i := 16; i < len(raw); i += 16 {
		if [16]byte(raw[i:]) != [16]byte(raw[i-16:]) {
			runs++
		}
	}
	if packHead+16*runs+padded((rows+7)/8) >= 40+16*rows {
		return dst, false
	}
	start := len(dst)
	dst = appendPackHead(dst, formSubjects, 0, a, uint64(runs))
	at := len(dst)
	dst = append(dst, make([]byte, 16*runs+(rows+7)/8)...)
	begins := dst[at+16*runs:]
	for i := range rows {
		if i == 0 || [16]byte(raw[16*i:]) != [16]byte(raw[16*i-16:]) {
			copy(dst[at:], raw[16*i:16*i+16])
			at += 16
			bitutil.SetBit(begins, i)
		}
	}
	return packEnd(dst, start), true
}

// tabulate numbers the texts of a column as they come; false where too few come again.
func (p *packer) tabulate(a *array.String) bool {
	if p.slots == nil {
		p.seed, p.slots = maphash.MakeSeed(), make([]uint32, 2*batch.MaxRows)
	}
	clear(p.slots)
	p.sums, p.data, p.offs, p.codes = p.sums[:0], p.data[:0], append(p.offs[:0], 0), p.codes[:0]
	var b []byte
	if values := a.Data().Buffers()[2]; values != nil {
		b = values.Bytes()
	}
	offsets, nulls := a.ValueOffsets(), a.NullN() > 0
	last, code := []byte(nil), uint32(0)
	for i := range a.Len() {
		if nulls && a.IsNull(i) {
			p.codes = append(p.codes, 0)
			continue
		}
		if offsets[i] < 0 || offsets[i+1] < offsets[i] || int(offsets[i+1]) > len(b) {
			return false
		}
		if text := b[offsets[i]:offsets[i+1]]; last == nil || !bytes.Equal(text, last) {
			var ok bool
			if code, ok = p.code(text, i); !ok {
				return false
			}
			last = text
		}
		p.codes = append(p.codes, uint16(code))
	}
	return true
}

// code numbers one text of row i; false where the entries are too many for the rows so far.
func (p *packer) code(text []byte, i int) (uint32, bool) {
	h := maphash.Bytes(p.seed, text)
	mask, sum := uint64(len(p.slots)-1), uint32(h>>32)
	for at := h & mask; ; at = (at + 1) & mask {
		c := p.slots[at]
		if c == 0 {
			n := len(p.sums)
			if n >= 1024 && 2*n > i || len(p.data)+len(text) > maxExpanded {
				return 0, false
			}
			p.slots[at] = uint32(n + 1)
			p.sums, p.data = append(p.sums, sum), append(p.data, text...)
			p.offs = append(p.offs, int32(len(p.data)))
			return uint32(n), true
		}
		if k := c - 1; p.sums[k] == sum && bytes.Equal(p.data[p.offs[k]:p.offs[k+1]], text) {
			return k, true
		}
	}
}

// dictionary is the texts in the order of their codes; it is of the scratch.
func (p *packer) dictionary() *array.String {
	offs := unsafe.Slice((*byte)(unsafe.Pointer(&p.offs[0])), 4*len(p.offs))
	d := array.NewData(arrow.BinaryTypes.String, len(p.sums), []*memory.Buffer{nil, memory.NewBufferBytes(offs), memory.NewBufferBytes(p.data)}, nil, 0, 0)
	defer d.Release()
	return array.NewStringData(d)
}

var dictionarySchema = arrow.NewSchema([]arrow.Field{{Name: "dictionary", Type: arrow.BinaryTypes.String}}, nil)

func (p *packer) packTexts(dst []byte, a *array.String, dictionary *array.String) ([]byte, bool) {
	width := codeWidth(uint64(max(1, len(p.sums)) - 1))
	expanded, rows := len(a.ValueBytes()), a.Len()
	if expanded > maxExpanded || packHead+40+padded(4*len(p.offs))+padded(len(p.data))+padded(width*rows) >= 40+padded(4*(rows+1))+padded(expanded) {
		return dst, false
	}
	start := len(dst)
	out := appendPackHead(dst, formTexts, byte(width), a, 0)
	at := len(out)
	rec := array.NewRecord(dictionarySchema, []arrow.Array{dictionary}, int64(dictionary.Len()))
	defer rec.Release()
	out, err := batch.Encode(out, rec)
	if err != nil { // package batch says why, of the whole
		return dst, false
	}
	binary.LittleEndian.PutUint64(out[start+16:], uint64(len(out)-at))
	switch width {
	case 1:
		for _, c := range p.codes {
			out = append(out, byte(c))
		}
	case 2:
		out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&p.codes[0])), 2*len(p.codes))...)
	}
	return packEnd(out, start), true
}
