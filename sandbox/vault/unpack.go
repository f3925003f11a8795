package vault

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox/batch"
)

func isPacked(b []byte) bool { return len(b) >= 4 && [4]byte(b) == packMagic }

// unpacker reads one packed batch. A rule that it gives is one that the bytes break.
type unpacker struct {
	whole   *memory.Buffer
	b       []byte
	at      int
	mem     memory.Allocator
	field   arrow.Field
	rows    int
	nulls   int
	valid   []byte
	width   int
	own     uint64
	buffers []*memory.Buffer // the array's, once it is made
}

const (
	ruleWithin  = "the parts of a packed batch fill it"
	ruleCode    = "a code stands for an entry of the dictionary"
	ruleNullSet = "nulls have code 0"
	ruleNumber  = "a packed number is one of its column's type"
)

// unpack gives the column of a packed batch of so many rows; coded, texts and pseudonyms as dictionaries.
func unpack(mem memory.Allocator, whole *memory.Buffer, f arrow.Field, rows int64, coded bool) (_ arrow.Array, rule string) {
	u := &unpacker{whole: whole, b: whole.Bytes(), at: packHead, mem: mem, field: f, rows: int(rows)}
	defer func() {
		for _, b := range u.buffers {
			if b != nil {
				b.Release() // the array has its own reference
			}
		}
	}()
	if len(u.b) < packHead || !isPacked(u.b) || uint64(len(u.b)) != binary.LittleEndian.Uint64(u.b[24:]) || u.b[6] != 0 || u.b[7] != 0 {
		return nil, "a packed batch has a head and its stated length"
	}
	if rows < 1 || rows > batch.MaxRows || int64(binary.LittleEndian.Uint32(u.b[8:])) != rows {
		return nil, "a packed batch has the rows of the manifest, at most 65536"
	}
	u.nulls, u.width, u.own = int(binary.LittleEndian.Uint32(u.b[12:])), int(u.b[5]), binary.LittleEndian.Uint64(u.b[16:])
	if u.nulls > u.rows || u.nulls > 0 && !f.Nullable {
		return nil, "nulls only where the schema allows them, at most one a row"
	}
	if u.width > 4 || u.width == 3 {
		return nil, "a code has 0, 1, 2 or 4 bytes"
	}
	if u.nulls > 0 {
		set := 0
		if u.valid, rule = u.bitmap(); rule != "" {
			return nil, rule
		}
		for _, x := range u.valid {
			set += bits.OnesCount8(x)
		}
		if set != u.rows-u.nulls {
			return nil, "the validity bitmap has the stated number of nulls"
		}
		u.buffers = append(u.buffers, u.slice(u.valid))
	} else {
		u.buffers = append(u.buffers, nil)
	}
	switch form := u.b[4]; {
	case form == formTexts && f.Type.ID() == arrow.STRING:
		return u.texts(coded)
	case form == formNumbers && f.Type.ID() == arrow.INT64:
		rule = unpackNumbers[int64](u, math.MaxInt64, math.MinInt64)
	case form == formNumbers && f.Type.ID() == arrow.DATE32:
		rule = unpackNumbers[int32](u, math.MaxInt32, math.MinInt32)
	case form == formSubjects && arrow.TypeEqual(f.Type, subjectType) && u.nulls == 0 && u.width == 0:
		return u.subjects(coded)
	default:
		return nil, "a column is packed in a form of its type"
	}
	if rule != "" {
		return nil, rule
	}
	return u.array(f.Type, nil), ""
}

func (u *unpacker) array(t arrow.DataType, dictionary arrow.ArrayData) arrow.Array {
	var d *array.Data
	if dictionary == nil {
		d = array.NewData(t, u.rows, u.buffers, nil, u.nulls, 0)
	} else {
		d = array.NewDataWithDictionary(t, u.rows, u.buffers, u.nulls, 0, dictionary.(*array.Data))
	}
	defer d.Release()
	return array.MakeFromData(d)
}

// take gives the next n bytes and checks that the padding behind them is zero.
func (u *unpacker) take(n int) ([]byte, string) {
	if n < 0 || n > len(u.b)-u.at || padded(n) > len(u.b)-u.at {
		return nil, ruleWithin
	}
	out := u.b[u.at : u.at+n : u.at+n]
	for _, z := range u.b[u.at+n : u.at+padded(n)] {
		if z != 0 {
			return nil, "padding is zero"
		}
	}
	u.at += padded(n)
	return out, ""
}

func (u *unpacker) bitmap() ([]byte, string) {
	out, rule := u.take((u.rows + 7) / 8)
	if rule == "" && u.rows%8 != 0 && out[len(out)-1]>>(u.rows%8) != 0 {
		rule = "unused bits of a bitmap are zero"
	}
	return out, rule
}

// codes gives the codes, the last part.
func (u *unpacker) codes() ([]byte, string) {
	out, rule := u.take(u.rows * u.width)
	switch {
	case rule != "":
	case u.at != len(u.b):
		rule = ruleWithin
	case u.valid != nil && u.width > 0:
		for i := range u.rows {
			if bitutil.BitIsSet(u.valid, i) {
				continue
			}
			for _, x := range out[i*u.width : (i+1)*u.width] {
				if x != 0 {
					return nil, ruleNullSet
				}
			}
		}
	}
	return out, rule
}

// slice makes a part of the batch a buffer.
func (u *unpacker) slice(part []byte) *memory.Buffer {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(u.b)))
	return memory.SliceBuffer(u.whole, int(at), len(part))
}

// buffer makes a new one of n bytes.
func (u *unpacker) buffer(n int) *memory.Buffer {
	b := memory.NewBufferWithAllocator(u.mem.Allocate(n), u.mem)
	u.buffers = append(u.buffers, b)
	return b
}

func numbers[T any](b []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(*new(T))))
}

func unpackNumbers[T int64 | int32](u *unpacker, most, fewest int64) string {
	codes, rule := u.codes()
	if rule != "" {
		return rule
	}
	least := int64(u.own)
	if least < fewest || least > most {
		return ruleNumber
	}
	out := numbers[T](u.buffer(u.rows * int(unsafe.Sizeof(*new(T)))).Bytes())
	highest := uint64(0)
	switch u.width {
	case 0:
		for i := range out {
			out[i] = T(least)
		}
	case 1:
		highest = widen(out, codes, T(least))
	case 2:
		highest = widen(out, numbers[uint16](codes), T(least))
	case 4:
		highest = widen(out, numbers[uint32](codes), T(least))
	}
	if highest > uint64(most)-uint64(least) { // as a bound; no code itself may be
		for i, v := range out {
			if int64(v) < least && (u.valid == nil || bitutil.BitIsSet(u.valid, i)) {
				return ruleNumber
			}
		}
	}
	if u.valid != nil {
		for i := range out {
			if !bitutil.BitIsSet(u.valid, i) {
				out[i] = 0
			}
		}
	}
	return ""
}

// widen adds codes to the least number, and gives a bound of them: the bits of all.
func widen[T int64 | int32, C uint8 | uint16 | uint32](out []T, codes []C, least T) uint64 {
	codes = codes[:len(out)]
	all := C(0)
	for i, c := range codes {
		out[i] = least + T(c)
		all |= c
	}
	return uint64(all)
}

// subjects gives the pseudonyms, or the number of each row's run.
func (u *unpacker) subjects(coded bool) (arrow.Array, string) {
	if u.own == 0 || u.own > uint64(u.rows) {
		return nil, "a run of a subject has rows"
	}
	runs, rule := u.take(16 * int(u.own))
	if rule != "" {
		return nil, rule
	}
	begins, rule := u.bitmap()
	if rule != "" {
		return nil, rule
	}
	set := 0
	for _, x := range begins {
		set += bits.OnesCount8(x)
	}
	if u.at != len(u.b) || set != int(u.own) || begins[0]&1 == 0 {
		return nil, "every run of a subject begins once, the first in the first row"
	}
	if coded {
		run, bit := ^uint16(0), uint16(0) // of the row before the first
		out := numbers[uint16](u.buffer(2 * u.rows).Bytes())
		for i := range out {
			if bit >>= 1; i%8 == 0 {
				bit = uint16(begins[i/8])
			}
			run += bit & 1
			out[i] = run
		}
		entries := u.slice(runs)
		defer entries.Release()
		d := array.NewData(subjectType, int(u.own), []*memory.Buffer{nil, entries}, nil, 0, 0)
		defer d.Release()
		return u.array(batch.CodedSubject, d), ""
	}
	out, run := u.buffer(16*u.rows).Bytes(), -1
	for i := range u.rows {
		run += int(begins[i>>3] >> (i & 7) & 1)
		*(*[16]byte)(out[16*i:]) = *(*[16]byte)(runs[16*run:])
	}
	return u.array(subjectType, nil), ""
}

// texts gives the texts, or their codes.
func (u *unpacker) texts(coded bool) (arrow.Array, string) {
	if u.own > uint64(len(u.b)-u.at) || u.own%8 != 0 || u.width > 2 {
		return nil, ruleWithin
	}
	part, rule := u.take(int(u.own))
	if rule != "" {
		return nil, rule
	}
	codes, rule := u.codes()
	if rule != "" {
		return nil, rule
	}
	if len(part) == 0 {
		return nil, ruleWithin
	}
	inner := u.slice(part)
	defer inner.Release()
	rec, err := batch.DecodeBuffer(inner, dictionarySchema, batch.Limits{Rows: u.rows, Bytes: len(part)})
	if err != nil {
		return nil, "the dictionary is a batch of texts"
	}
	defer rec.Release()
	dictionary := rec.Column(0).(*array.String)
	wide, rule := u.wide(codes, dictionary.Len())
	if rule != "" {
		return nil, rule
	}
	if !coded {
		defer wide.Release()
		return u.spell(numbers[uint16](wide.Bytes()), dictionary)
	}
	u.buffers = append(u.buffers, wide)
	return u.array(batch.CodedText, dictionary.Data()), ""
}

// wide gives the codes in two bytes each, all of them below n but those of nulls.
func (u *unpacker) wide(codes []byte, n int) (*memory.Buffer, string) {
	if n == 0 && u.nulls < u.rows {
		return nil, ruleCode
	}
	highest := uint16(0)
	if u.width == 2 {
		for _, c := range numbers[uint16](codes) {
			highest = max(highest, c)
		}
		if int(highest) >= n && highest > 0 {
			return nil, ruleCode
		}
		return u.slice(codes), ""
	}
	b := memory.NewBufferWithAllocator(u.mem.Allocate(2*u.rows), u.mem)
	out := numbers[uint16](b.Bytes())
	if u.width == 0 {
		clear(out)
	} else {
		for i, c := range codes[:len(out)] {
			out[i] = uint16(c)
			highest = max(highest, uint16(c))
		}
	}
	if int(highest) >= n && highest > 0 {
		b.Release()
		return nil, ruleCode
	}
	return b, ""
}

// spell gives the texts that codes stand for.
func (u *unpacker) spell(codes []uint16, dictionary *array.String) (arrow.Array, string) {
	from, data := []int32{0, 0}, []byte(nil)
	if dictionary.Len() > 0 {
		from, data = dictionary.ValueOffsets(), dictionary.ValueBytes()
	}
	ends := numbers[int32](u.buffer(4 * (u.rows + 1)).Bytes())
	end := int64(0)
	ends[0] = 0
	for i, c := range codes {
		if u.valid == nil || bitutil.BitIsSet(u.valid, i) {
			end += int64(from[c+1] - from[c])
		}
		if end > maxExpanded {
			return nil, "the texts of a packed batch take at most 256 MiB"
		}
		ends[i+1] = int32(end)
	}
	const word = 16
	longest := int32(0)
	for k := range len(from) - 1 {
		longest = max(longest, from[k+1]-from[k])
	}
	// Texts of a word are stored whole: what is too much is written over by the next.
	room := memory.NewBufferWithAllocator(u.mem.Allocate(int(end)+word), u.mem)
	defer room.Release()
	out := room.Bytes()
	if longest <= word {
		words := make([][word]byte, len(from)-1)
		for k := range words {
			copy(words[k][:], data[from[k]:from[k+1]])
		}
		for i, c := range codes {
			if ends[i+1] > ends[i] {
				*(*[word]byte)(out[ends[i]:]) = words[c]
			}
		}
		clear(out[end:])
	} else {
		for i, c := range codes {
			if ends[i+1] > ends[i] {
				copy(out[ends[i]:ends[i+1]], data[from[c]:from[c+1]])
			}
		}
	}
	u.buffers = append(u.buffers, memory.SliceBuffer(room, 0, int(end)))
	return u.array(arrow.BinaryTypes.String, nil), ""
}
