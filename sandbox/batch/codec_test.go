package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// every has a column of each type, with and without nulls, and the fixed-size binary the vault adds.
func every() *arrow.Schema {
	d := catalog.Dataset{ID: "ds-t", Columns: []catalog.Column{
		{Name: "t", Type: catalog.Text}, {Name: "tn", Type: catalog.Text, Nullable: true},
		{Name: "i", Type: catalog.Int}, {Name: "m", Type: catalog.Money, Nullable: true},
		{Name: "d", Type: catalog.Date}, {Name: "dn", Type: catalog.Date, Nullable: true},
		{Name: "b", Type: catalog.Bool}, {Name: "bn", Type: catalog.Bool, Nullable: true},
	}}
	return arrow.NewSchema(append(Schema(d).Fields(), arrow.Field{Name: "f", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}}), nil)
}

func draw(t *rapid.T, mem memory.Allocator, schema *arrow.Schema, rows int) arrow.Record {
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	for i, f := range schema.Fields() {
		for range rows {
			if f.Nullable && rapid.Bool().Draw(t, "null") {
				b.Field(i).AppendNull()
				continue
			}
			switch fb := b.Field(i).(type) {
			case *array.StringBuilder:
				fb.Append(rapid.StringN(0, 5, 12).Draw(t, "text"))
			case *array.Int64Builder:
				fb.Append(rapid.Int64().Draw(t, "int"))
			case *array.Date32Builder:
				fb.Append(arrow.Date32(rapid.Int32().Draw(t, "date")))
			case *array.BooleanBuilder:
				fb.Append(rapid.Bool().Draw(t, "bool"))
			case *array.FixedSizeBinaryBuilder:
				fb.Append(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "fixed"))
			}
		}
	}
	return b.NewRecord()
}

// TestRoundTrip is the codec's law: a record, whole or a slice of a larger one, is what comes back, and encodes to the
// same bytes again.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(failer{t}, 0)
		schema := every()
		rows := rapid.IntRange(0, 20).Draw(t, "rows")
		whole := draw(t, mem, schema, rows)
		defer whole.Release()
		from := rapid.IntRange(0, rows).Draw(t, "from")
		rec := whole.NewSlice(int64(from), int64(rapid.IntRange(from, rows).Draw(t, "to")))
		defer rec.Release()
		prefix := []byte(strings.Repeat("x", rapid.IntRange(0, 9).Draw(t, "prefix")))
		enc, err := Encode(bytes.Clone(prefix), rec)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(enc, prefix) {
			t.Fatal("Encode does not append")
		}
		got, err := Decode(mem, schema, enc[len(prefix):], Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer got.Release()
		if !array.RecordEqual(rec, got) {
			t.Fatal("a batch came back changed")
		}
		again, err := Encode(nil, got)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, enc[len(prefix):]) {
			t.Fatal("a batch has two encodings")
		}
	})
}

type failer struct{ *rapid.T }

func (failer) Helper() {}

// sample is a small record with a value of every type.
func sample(t testing.TB) (*arrow.Schema, []byte) {
	t.Helper()
	schema := every()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range schema.Fields() {
		for row := range 5 {
			switch fb := b.Field(i).(type) {
			case *array.StringBuilder:
				fb.Append(strings.Repeat("文a", row))
			case *array.Int64Builder:
				fb.Append(int64(row) << 40)
			case *array.Date32Builder:
				fb.Append(arrow.Date32(row))
			case *array.BooleanBuilder:
				fb.Append(row%2 == 0)
			case *array.FixedSizeBinaryBuilder:
				fb.Append(bytes.Repeat([]byte{byte(row)}, 16))
			}
		}
		if schema.Field(i).Nullable {
			b.Field(i).AppendNull()
		} else if fb, ok := b.Field(i).(*array.FixedSizeBinaryBuilder); ok {
			fb.Append(make([]byte, 16))
		} else {
			b.Field(i).AppendEmptyValue()
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	enc, err := Encode(nil, rec)
	if err != nil {
		t.Fatal(err)
	}
	return schema, enc
}

// TestDecodeCutsAndAdditions feeds every truncation and an addition.
func TestDecodeCutsAndAdditions(t *testing.T) {
	schema, enc := sample(t)
	for n := range enc {
		if rec, err := Decode(nil, schema, enc[:n], Limits{}); !errors.Is(err, sandbox.Invalid) {
			t.Fatalf("%d of %d bytes: %v, %v", n, len(enc), rec != nil, err)
		}
	}
	for _, extra := range []int{1, 8} {
		long := append(bytes.Clone(enc), make([]byte, extra)...)
		binary.LittleEndian.PutUint64(long[16:], uint64(len(long)))
		if _, err := Decode(nil, schema, long, Limits{}); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%d bytes behind the last column: %v", extra, err)
		}
	}
}

// TestDecodeOneEncoding changes every byte: what still decodes must encode to exactly the changed bytes, so that nothing
// travels in padding, null slots or unused bits.
func TestDecodeOneEncoding(t *testing.T) {
	schema, enc := sample(t)
	for i := range enc {
		for _, x := range []byte{1, 0x80, 0xff} {
			b := bytes.Clone(enc)
			b[i] ^= x
			rec, err := Decode(nil, schema, b, Limits{})
			if err != nil {
				if k := sandbox.KindOf(err); k != sandbox.Invalid && k != sandbox.TooLarge {
					t.Fatalf("byte %d: %v", i, err)
				}
				continue
			}
			again, err := Encode(nil, rec)
			rec.Release()
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("byte %d changed by %#x decodes to a batch with another encoding (%v)", i, x, err)
			}
		}
	}
}

// TestDecodeRules names the rule of each fault.
func TestDecodeRules(t *testing.T) {
	text := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	strict := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.BinaryTypes.String}}, nil)
	ints := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	bools := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.FixedWidthTypes.Boolean, Nullable: true}}, nil)
	fixed := arrow.NewSchema([]arrow.Field{{Name: "c", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}, Nullable: true}}, nil)
	float := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.PrimitiveTypes.Float64}}, nil)
	offsets := func(o ...uint32) []byte {
		var b []byte
		for _, x := range o {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		return b
	}
	for _, c := range []struct {
		name   string
		schema *arrow.Schema
		b      []byte
		rule   string
	}{
		{"another magic", text, append([]byte("ODB2"), raw(0, 0, 0, offsets(0))[4:]...), "magic"},
		{"no column entry", text, raw(0, 0, 0)[:24], "a header for every column"},
		{"offset not from zero", text, raw(1, 0, 1, offsets(1, 1), []byte("a")), "start at zero"},
		{"falling offsets", text, raw(2, 0, 2, offsets(0, 2, 1), []byte("ab")), "rise"},
		{"offset past the data", text, raw(1, 0, 1, offsets(0, 2), []byte("a")), "within the data"},
		{"data nobody owns", text, raw(1, 0, 2, offsets(0, 1), []byte("ab")), "last offset"},
		{"no UTF-8", text, raw(1, 0, 1, offsets(0, 1), []byte{0xff}), "UTF-8"},
		{"a rune over two values", text, raw(2, 0, 2, offsets(0, 1, 2), []byte("é")), "UTF-8"},
		{"text in a null", text, raw(2, 1, 1, []byte{2}, offsets(0, 1, 1), []byte("a")), "null slots are empty"},
		{"a length for numbers", ints, raw(1, 0, 8, make([]byte, 8)), "only text"},
		{"number in a null", ints, raw(2, 1, 0, []byte{2}, offsets(1, 0, 1, 0)), "null slots are zero"},
		{"true in a null", bools, raw(2, 1, 0, []byte{2}, []byte{1}), "null slots are zero"},
		{"unused bits of booleans", bools, raw(2, 0, 0, []byte{4}), "unused bits"},
		{"unused bits of validity", ints, raw(2, 1, 0, []byte{6}, make([]byte, 16)), "unused bits"},
		{"other number of nulls", ints, raw(3, 1, 0, []byte{1}, make([]byte, 24)), "stated number of nulls"},
		{"more nulls than rows", ints, raw(1, 2, 0, []byte{0}, make([]byte, 8)), "nulls only where"},
		{"nulls not allowed", strict, raw(1, 1, 0, []byte{0}, offsets(0, 0)), "nulls only where"},
		{"nulls in pseudonyms", fixed, raw(1, 1, 0, []byte{0}, make([]byte, 16)), "no nulls"},
		{"more rows than bytes", ints, raw(60000, 0, 0, make([]byte, 8)), "within the batch"},
		{"longer text than bytes", text, raw(1, 0, 1<<62, offsets(0, 1)), "within the batch"},
		{"unknown type", float, raw(1, 0, 0, make([]byte, 8)), "no encoding"},
		{"padding", text, func() []byte { b := raw(1, 0, 1, offsets(0, 1), []byte("a")); b[len(b)-1] = 1; return b }(), "padding"},
		{"rows without columns", arrow.NewSchema(nil, nil), raw0(3), "rows need a column"},
	} {
		_, err := Decode(nil, c.schema, c.b, Limits{})
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(fmt.Sprint(err), c.rule) {
			t.Errorf("%s: %v, want a rule with %q", c.name, err, c.rule)
		}
	}
}

// raw builds the encoding of a one-column batch from its parts.
func raw(rows, nulls, length uint64, buffers ...[]byte) []byte {
	b := append([]byte("ODB1"), 1, 0, 0, 0)
	for _, x := range []uint64{rows, 0, nulls, length} {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	for _, x := range buffers {
		b = padFrom(append(b, x...), 0)
	}
	binary.LittleEndian.PutUint64(b[16:], uint64(len(b)))
	return b
}

func raw0(rows uint64) []byte {
	b := append([]byte("ODB1"), 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, rows)
	return binary.LittleEndian.AppendUint64(b, 24)
}

func TestDecodeLimits(t *testing.T) {
	schema, enc := sample(t)
	for _, c := range []struct {
		lim Limits
		ok  bool
	}{{Limits{Rows: 5}, false}, {Limits{Rows: 6}, true}, {Limits{Bytes: len(enc) - 1}, false}, {Limits{Bytes: len(enc)}, true}} {
		rec, err := Decode(nil, schema, enc, c.lim)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, sandbox.TooLarge) {
			t.Errorf("%+v: %v", c.lim, err)
		}
		if rec != nil {
			rec.Release()
		}
	}
	over := raw(1<<16+1, 0, 0, make([]byte, 8<<16+8))
	if _, err := Decode(nil, arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.PrimitiveTypes.Int64}}, nil), over, Limits{}); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("rows over the default: %v", err)
	}
}

// TestDecodeMemory: headers that promise much cost no memory beyond the bytes that came.
func TestDecodeMemory(t *testing.T) {
	schema, enc := sample(t)
	for i := 8; i < headSize+9*entrySize; i += 8 {
		for _, x := range []uint64{1 << 16, 1 << 30, 1 << 40, 1<<63 - 1, 1<<64 - 8} {
			b := bytes.Clone(enc)
			binary.LittleEndian.PutUint64(b[i:], x)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Decode(nil, schema, b, Limits{Rows: 1 << 40})
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Errorf("field at %d set to %d is accepted", i, x)
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > uint64(len(b))+1<<16 {
				t.Errorf("field at %d set to %d: %d bytes took %d bytes of memory", i, x, len(b), spent)
			}
		}
	}
}

// TestDecodeAliasesAligned shows that an aligned input is not copied and an unaligned one is.
func TestDecodeAliasesAligned(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.PrimitiveTypes.Int64}}, nil)
	space := make([]byte, 128)
	if uintptr(unsafe.Pointer(&space[0]))%8 != 0 {
		t.Fatal("a slice of 128 bytes is not aligned")
	}
	for shift, want := range map[int]int64{0: 7, 1: 0} {
		b := append(space[:shift:128], raw(1, 0, 0, make([]byte, 8))...)[shift:]
		rec, err := Decode(nil, schema, b, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-8] = 7
		if got := rec.Column(0).(*array.Int64).Value(0); got != want {
			t.Errorf("shift %d: the array shows %d after the input changed", shift, got)
		}
		rec.Release()
	}
}

// TestEncodeRefuses what Decode would not read back.
func TestEncodeRefuses(t *testing.T) {
	one := func(f arrow.Field, fill func(array.Builder)) arrow.Record {
		schema := arrow.NewSchema([]arrow.Field{f}, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer b.Release()
		fill(b.Field(0))
		return b.NewRecord()
	}
	for name, rec := range map[string]arrow.Record{
		"UTF-8":       one(arrow.Field{Name: "c", Type: arrow.BinaryTypes.String}, func(b array.Builder) { b.(*array.StringBuilder).Append("a\xff") }),
		"valid UTF-8": one(arrow.Field{Name: "c", Type: arrow.BinaryTypes.String}, func(b array.Builder) { b.(*array.StringBuilder).AppendValues([]string{"\xc3", "\xa9"}, nil) }),
		"nulls only":  one(arrow.Field{Name: "c", Type: arrow.PrimitiveTypes.Int64}, func(b array.Builder) { b.AppendNull() }),
		"no nulls":    one(arrow.Field{Name: "c", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}, Nullable: true}, func(b array.Builder) { b.AppendNull() }),
		"no encoding": one(arrow.Field{Name: "c", Type: arrow.PrimitiveTypes.Float64}, func(b array.Builder) { b.(*array.Float64Builder).Append(1) }),
	} {
		_, err := Encode(nil, rec)
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), " c:") {
			t.Errorf("%s: %v", name, err)
		}
		rec.Release()
	}
}

// TestEncodeClearsNulls: what a producer left in a null slot does not travel.
func TestEncodeClearsNulls(t *testing.T) {
	ones := bytes.Repeat([]byte{0xff}, 16)
	for _, ty := range []arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Boolean, arrow.BinaryTypes.String} {
		values := []*memory.Buffer{memory.NewBufferBytes([]byte{1}), memory.NewBufferBytes(ones)} // the second of two rows is null
		if ty == arrow.BinaryTypes.String {
			values = []*memory.Buffer{values[0], memory.NewBufferBytes([]byte{0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0}), memory.NewBufferBytes([]byte("abc"))}
		}
		data := array.NewData(ty, 2, values, nil, 1, 0)
		a := array.MakeFromData(data)
		schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: ty, Nullable: true}}, nil)
		rec := array.NewRecord(schema, []arrow.Array{a}, 2)
		enc, err := Encode(nil, rec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(nil, schema, enc, Limits{})
		if err != nil {
			t.Errorf("%s: %v", ty, err)
			continue
		}
		if !got.Column(0).IsNull(1) || !array.RecordEqual(got, rec) {
			t.Errorf("%s: a batch came back changed", ty)
		}
	}
}

// FuzzDecode: any bytes give a typed error, or a batch whose encoding they are.
func FuzzDecode(f *testing.F) {
	schema, enc := sample(f)
	f.Add(enc)
	f.Add(enc[:24])
	f.Add(raw(1, 0, 1, []byte{0, 0, 0, 0, 1, 0, 0, 0}, []byte("a")))
	f.Add([]byte(nil))
	text := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []*arrow.Schema{schema, text} {
			rec, err := Decode(nil, s, b, Limits{})
			if err != nil {
				if k := sandbox.KindOf(err); k != sandbox.Invalid && k != sandbox.TooLarge {
					t.Fatal(err)
				}
				continue
			}
			again, err := Encode(nil, rec)
			rec.Release()
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("accepted bytes are not an encoding: %v", err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	_, rec := wide(b)
	defer rec.Release()
	var buf []byte
	for b.Loop() {
		var err error
		if buf, err = Encode(buf[:0], rec); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
}

func BenchmarkDecode(b *testing.B) {
	schema, rec := wide(b)
	defer rec.Release()
	buf, err := Encode(nil, rec)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		got, err := Decode(nil, schema, buf, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		got.Release()
	}
}

// wide is 16,384 rows of text, number, date and a nullable number.
func wide(b *testing.B) (*arrow.Schema, arrow.Record) {
	schema := Schema(catalog.Dataset{ID: "ds-b", Columns: []catalog.Column{{Name: "t", Type: catalog.Text}, {Name: "m", Type: catalog.Money},
		{Name: "d", Type: catalog.Date}, {Name: "n", Type: catalog.Int, Nullable: true}}})
	rb := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer rb.Release()
	for i := range 1 << 14 {
		rb.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("code-%06d", i))
		rb.Field(1).(*array.Int64Builder).Append(int64(i))
		rb.Field(2).(*array.Date32Builder).Append(arrow.Date32(i))
		if i%10 == 0 {
			rb.Field(3).AppendNull()
		} else {
			rb.Field(3).(*array.Int64Builder).Append(int64(i))
		}
	}
	return schema, rb.NewRecord()
}

// TestValidUTF8 is the standard library's answer, whatever stands beside what.
func TestValidUTF8(t *testing.T) {
	pieces := []string{"a", "abcd", "é", "深", "圳市", "\u0800", "\u0fff", "\u1000", "\ud7ff", "\ue000", "\uffff", "𠮷", "\xe6", "\xe6\xb7", "\x80", "\xe0\x80\x80", "\xed\xa0\x80",
		"\xc0\x80", "\xf5\x80\x80\x80", "\xe6\xb7\x41", "\xe6\x41\x80", "·"}
	rapid.Check(t, func(rt *rapid.T) {
		b := []byte(strings.Join(rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(rt, "text"), ""))
		if validUTF8(b) != utf8.Valid(b) {
			rt.Fatalf("%x", b)
		}
		if isASCII(b) != !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf }) {
			rt.Fatalf("ASCII: %x", b)
		}
	})
}

// TestTextOffsets: offsets that fall are refused when written, and each fault of them when read.
func TestTextOffsets(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}}, nil)
	record := func(offsets []int32, text string) arrow.Record {
		data := array.NewData(arrow.BinaryTypes.String, len(offsets)-1, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets)), memory.NewBufferBytes([]byte(text))}, nil, 0, 0)
		return array.NewRecord(schema, []arrow.Array{array.NewStringData(data)}, int64(len(offsets)-1))
	}
	if _, err := Encode(nil, record([]int32{0, 4, 2, 6}, "abcdef")); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
	if _, err := Encode(nil, record([]int32{0, 1, 3}, "深")); !errors.Is(err, sandbox.Invalid) {
		t.Error("a character cut in two:", err)
	}
	good, err := Encode(nil, record([]int32{0, 4, 4, 6}, "abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(memory.DefaultAllocator, schema, good, Limits{}); err != nil {
		t.Fatal(err)
	}
	const first = headSize + entrySize
	for _, c := range []struct {
		at   int
		to   uint32
		rule string
	}{{0, 1, "offsets start at zero"}, {1, 5, ruleRise}, {2, 3, ruleRise}, {2, 7, ruleRise}, {2, 1 << 31, ruleRise}, {3, 5, "the last offset is the length of the data"}, {3, 7, ruleRise}} {
		b := slices.Clone(good)
		binary.LittleEndian.PutUint32(b[first+4*c.at:], c.to)
		if _, err := Decode(memory.DefaultAllocator, schema, b, Limits{}); err == nil || !strings.Contains(err.Error(), c.rule) {
			t.Errorf("offset %d as %d: %v", c.at, c.to, err)
		}
	}
}
