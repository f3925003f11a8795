package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// packable makes a column of a type by name, of few values in a narrow range.
func packable(kind string, nullable bool) arrow.Field {
	types := map[string]arrow.DataType{"text": arrow.BinaryTypes.String, "int": arrow.PrimitiveTypes.Int64, "day": arrow.FixedWidthTypes.Date32, "subject": subjectType}
	return arrow.Field{Name: "c", Type: types[kind], Nullable: nullable}
}

// build appends values by number; a negative one is a null.
func build(mem memory.Allocator, f arrow.Field, values []int, base int64, spell func(int) string) arrow.Array {
	b := array.NewBuilder(mem, f.Type)
	defer b.Release()
	for _, v := range values {
		switch b := b.(type) {
		case *array.StringBuilder:
			if v < 0 {
				b.AppendNull()
			} else {
				b.Append(spell(v))
			}
		case *array.Int64Builder:
			if v < 0 {
				b.AppendNull()
			} else {
				b.Append(base + int64(v))
			}
		case *array.Date32Builder:
			if v < 0 {
				b.AppendNull()
			} else {
				b.Append(arrow.Date32(base) + arrow.Date32(v))
			}
		case *array.FixedSizeBinaryBuilder:
			b.Append(binary.BigEndian.AppendUint64(make([]byte, 8, 16), uint64(v)))
		}
	}
	return b.NewArray()
}

// spelled gives the plain texts of a coded column, everything else as it is.
func spelled(a arrow.Array) arrow.Array {
	d, ok := a.(*array.Dictionary)
	if !ok {
		a.Retain()
		return a
	}
	if runs, ok := d.Dictionary().(*array.FixedSizeBinary); ok {
		b := array.NewFixedSizeBinaryBuilder(memory.DefaultAllocator, subjectType)
		defer b.Release()
		for i := range d.Len() {
			b.Append(runs.Value(d.GetValueIndex(i)))
		}
		return b.NewArray()
	}
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	words := d.Dictionary().(*array.String)
	for i := range d.Len() {
		if d.IsNull(i) {
			b.AppendNull()
		} else {
			b.Append(words.Value(d.GetValueIndex(i)))
		}
	}
	return b.NewArray()
}

// TestPack: what is packed is shorter than it was and comes back as it was, slices and nulls too, in one allocator's memory.
func TestPack(t *testing.T) {
	packed := map[string]int{}
	p := packer{}
	sandboxtest.Until(t, func() bool { return len(packed) == 4 }, func(r *rapid.T) {
		kind := rapid.SampledFrom([]string{"text", "int", "day", "subject"}).Draw(r, "kind")
		nulls := kind != "subject" && rapid.Bool().Draw(r, "nulls")
		f := packable(kind, nulls)
		rows := rapid.IntRange(1, 3000).Draw(r, "rows")
		distinct := rapid.SampledFrom([]int{1, 2, 200, 256, 257, 1000, 70000}).Draw(r, "distinct")
		seed, often := rapid.Int64Range(1, 1<<20).Draw(r, "seed"), rapid.IntRange(1, 5).Draw(r, "often")
		values := make([]int, rows)
		for i := range values {
			values[i] = int((int64(i)*seed + int64(i)/7) % int64(distinct))
			if kind == "subject" {
				values[i] = i / often
			}
			if nulls && i%often == 0 {
				values[i] = -1
			}
		}
		base := rapid.SampledFrom([]int64{-100_000, 0, 19_000}).Draw(r, "base")
		if kind == "int" {
			base = rapid.SampledFrom([]int64{-1 << 63, 0, 1<<63 - 1 - 70_000}).Draw(r, "base of ints")
		}
		width := rapid.IntRange(0, 40).Draw(r, "length")
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(r, 0)
		whole := build(memory.DefaultAllocator, f, values, base, func(v int) string { return strings.Repeat("区", v%3) + fmt.Sprintf("%0*d", width, v) })
		from := rapid.IntRange(0, rows-1).Draw(r, "from")
		a := array.NewSlice(whole, int64(from), int64(rows))
		b, st, ok := p.pack(nil, f, a)
		if n := describe(a); n.Nulls != st.Nulls || (n.Min == nil) != (st.Min == nil) || n.Min != nil && (*n.Min != *st.Min || *n.Max != *st.Max) || string(n.Low) != string(st.Low) || string(n.High) != string(st.High) {
			r.Fatal("the description of a packed column is another")
		}
		plain, err := batch.Encode(nil, array.NewRecord(arrow.NewSchema([]arrow.Field{f}, nil), []arrow.Array{a}, int64(a.Len())))
		if err != nil {
			r.Fatal(err)
		}
		if !ok {
			if len(b) != 0 {
				r.Fatal("bytes of what was not packed")
			}
			return
		}
		packed[kind]++
		if len(b) >= len(plain) {
			r.Fatalf("%d bytes packed, %d plain", len(b), len(plain))
		}
		for _, coded := range []bool{false, true} {
			got, rule := unpack(mem, memory.NewBufferBytes(b), f, int64(a.Len()), coded)
			if rule != "" {
				r.Fatal(rule)
			}
			if codes := arrow.TypeEqual(got.DataType(), batch.CodedText) || arrow.TypeEqual(got.DataType(), batch.CodedSubject); codes != (coded && (kind == "text" || kind == "subject")) {
				r.Fatal("codes where they were asked for, texts else")
			}
			text := spelled(got)
			if !array.Equal(a, text) || got.NullN() != a.NullN() {
				r.Fatal("another column came back")
			}
			text.Release()
			got.Release()
		}
	})
}

// packedSeeds are packed columns of every form and width.
func packedSeeds(t testing.TB) map[string][]byte {
	out := map[string][]byte{}
	for _, kind := range []string{"text", "int", "day", "subject"} {
		for _, distinct := range []int{1, 5, 300, 66_000} {
			for _, nulls := range []bool{false, true} {
				f := packable(kind, nulls)
				values := make([]int, 1200)
				for i := range values {
					values[i] = i * 77 % distinct
					if kind == "subject" {
						values[i] = i / 5
					}
					if nulls && i%4 == 0 {
						values[i] = -1
					}
				}
				p := packer{}
				if b, _, ok := p.pack(nil, f, build(memory.DefaultAllocator, f, values, 7, func(v int) string { return fmt.Sprintf("value-%07d", v) })); ok {
					out[fmt.Sprintf("%s,%d,%v", kind, distinct, nulls)] = b
				}
			}
		}
	}
	if len(out) < 16 {
		t.Fatalf("%d seeds", len(out))
	}
	return out
}

// readThrough touches every value, so that an index out of place is met here.
func readThrough(a arrow.Array) (n int) {
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		switch a := a.(type) {
		case *array.Dictionary:
			n += len(a.Dictionary().ValueStr(a.GetValueIndex(i)))
		default:
			n += len(a.ValueStr(i))
		}
	}
	return n
}

// FuzzUnpack: no bytes end the process, and what is accepted can be read whole, as texts and as codes alike.
func FuzzUnpack(f *testing.F) {
	for name, b := range packedSeeds(f) {
		kind, _, _ := strings.Cut(name, ",")
		f.Add(kind, strings.HasSuffix(name, "true"), b)
	}
	f.Fuzz(func(t *testing.T, kind string, nulls bool, b []byte) {
		field := packable(kind, nulls)
		if field.Type == nil || len(b) < packHead || len(b) > 1<<16 {
			return
		}
		b = append(make([]byte, 0, len(b)), b...) // aligned
		rows := int64(binary.LittleEndian.Uint32(b[8:]))
		if rows > 1<<13 {
			rows = 1 << 13
		}
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(t, 0)
		plain, rule := unpack(mem, memory.NewBufferBytes(b), field, rows, false)
		coded, again := unpack(mem, memory.NewBufferBytes(b), field, rows, true)
		if rule == "" {
			readThrough(plain)
			defer plain.Release()
		}
		if again == "" {
			readThrough(coded)
			defer coded.Release()
		}
		if rule != again && again != "" {
			t.Fatal("texts are given, their codes are not")
		}
		if rule == "" {
			text := spelled(coded)
			defer text.Release()
			if !array.Equal(text, plain) {
				t.Fatal("codes and texts differ")
			}
		}
	})
}

// TestHostilePack: what a sealed file states falsely is Tampered, naming the column and the rule.
func TestHostilePack(t *testing.T) {
	p, seeds := looseFile(t), packedSeeds(t)
	u32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	tail := func(back int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[len(b)-back] = v; return b }
	}
	for n, c := range []struct {
		seed   string
		change func([]byte) []byte
		rule   string
	}{
		{"text,5,false", tail(1, 5), ruleCode},
		{"text,300,false", tail(1, 0xff), ruleCode},
		{"text,5,true", func(b []byte) []byte { b[len(b)-1200] = 1; return b }, ruleNullSet},
		{"text,1,false", u32(16, 1<<31), ruleWithin},
		{"text,5,false", u32(packHead+8, 4), "the dictionary is a batch of texts"},
		{"text,5,false", func(b []byte) []byte { b[5] = 4; return b }, ruleWithin},
		{"text,5,false", func(b []byte) []byte { b[5] = 3; return b }, "a code has 0, 1, 2 or 4 bytes"},
		{"text,5,false", func(b []byte) []byte { b[4] = formNumbers; return b }, "a column is packed in a form of its type"},
		{"text,5,false", u32(12, 1), "nulls only where the schema allows them, at most one a row"},
		{"int,5,true", u32(12, 17), "the validity bitmap has the stated number of nulls"},
		{"int,5,false", u32(8, 1199), "a packed batch has the rows of the manifest, at most 65536"},
		{"int,5,false", u32(20, 0x7fffffff), ""}, // another base: authentic bytes say which
		{"int,300,false", func(b []byte) []byte { binary.LittleEndian.PutUint64(b[16:], 1<<63-9); return b }, ruleNumber},
		{"day,5,false", u32(20, 1), ruleNumber},
		{"day,300,false", u32(16, 0x7ffffff0), ruleNumber},
		{"subject,1,false", u32(16, 1<<20), "a run of a subject has rows"},
		{"subject,1,false", u32(16, 3), "every run of a subject begins once, the first in the first row"},
		{"subject,1,false", func(b []byte) []byte { b[packHead+16*240] &^= 1; return b }, "every run of a subject begins once, the first in the first row"},
		{"int,5,false", func(b []byte) []byte { return b[:len(b)-8] }, "a packed batch has a head and its stated length"},
	} {
		kind, _, _ := strings.Cut(c.seed, ",")
		field := packable(kind, strings.HasSuffix(c.seed, "true"))
		b, ok := seeds[c.seed]
		if !ok {
			t.Fatalf("no seed %s", c.seed)
		}
		b = c.change(append([]byte(nil), b...))
		plain := append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...)
		path := filepath.Join(t.TempDir(), fmt.Sprint(n))
		id := sealFile(t, path, p, plain, func(left int) int { return left })
		file, err := openSealed(durable.OS(), path, p, id[:])
		if err != nil {
			t.Fatal(err)
		}
		scan := &columnScan{file: file, schema: arrow.NewSchema([]arrow.Field{field}, nil)}
		scan.whole()
		ctx, stop := context.WithCancel(context.Background())
		var wait sync.WaitGroup
		scan.start(ctx, &wait, 1)
		a, err := scan.batch(ctx, memory.DefaultAllocator, 0, 1200, true)
		if c.rule == "" {
			if err != nil {
				t.Errorf("%s %d: %v", c.seed, n, err)
			} else {
				a.Release()
			}
		} else if e := (*sandbox.Error)(nil); !errors.As(err, &e) || e.Kind != sandbox.Tampered || !strings.Contains(e.Detail, c.rule) || !strings.HasSuffix(e.Object, " loose") {
			t.Errorf("%s %d: %v, want the rule %q", c.seed, n, err, c.rule)
		}
		stop()
		wait.Wait()
		_ = file.Close()
		scan.forget()
	}
}

// TestEarlierVersion: a version whose batches are all plain, as the first ones were, reads as a packed one does.
func TestEarlierVersion(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	sizes := map[bool]int64{}
	for i, plain := range []bool{true, false} {
		w := staged(t, v, sandbox.RunID(fmt.Sprintf("run-%d", i)), 5000, 5000)
		w.plain = plain
		s, err := w.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := same(v, s, everyColumn, 5000, 5000); err != nil {
			t.Fatalf("plain %v: %v", plain, err)
		}
		st, err := v.statistics(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, ends := range st.Ends {
			sizes[plain] += ends[len(ends)-1]
		}
		r, err := v.Scan(ctx, memory.DefaultAllocator, s, []string{"note", "paid"})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Select(batch.Selection{Coded: true}); err != nil {
			t.Fatal(err)
		}
		rows := 0
		for {
			rec, err := r.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			coded := arrow.TypeEqual(rec.Schema().Field(0).Type, batch.CodedText)
			if coded == plain || !arrow.TypeEqual(rec.Column(0).DataType(), rec.Schema().Field(0).Type) {
				t.Fatalf("plain %v: texts come coded %v", plain, coded)
			}
			words := spelled(rec.Column(0)).(*array.String)
			for k := range words.Len() {
				if i := rows + k; words.IsNull(k) != (i%3 == 0) || i%3 != 0 && words.Value(k) != strings.Repeat("言", i%40) {
					t.Fatalf("plain %v: row %d is another", plain, i)
				}
			}
			rows += words.Len()
			rec.Release()
		}
		if rows != 10000 {
			t.Fatalf("%d rows", rows)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if 4*sizes[false] > 3*sizes[true] {
		t.Errorf("%d bytes packed of %d", sizes[false], sizes[true])
	}
}
