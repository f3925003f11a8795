package columnar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// selecting gives texts as codes and leaves out what it may, by bounds as close as the store's or wider.
type selecting struct {
	*slicedReader
	mem   memory.Allocator
	what  batch.Selection
	plain bool // texts come as they are
	skips bool
	wide  int64 // what bounds are too wide by; texts have no list then
	out   *int  // batches left out
}

func (r *selecting) Select(s batch.Selection) error { r.what = s; return nil }

func (r *selecting) Next(ctx context.Context) (arrow.Record, error) {
	for {
		rec, err := r.slicedReader.Next(ctx)
		if err != nil {
			return nil, err
		}
		if r.skips && r.what.Useless != nil && rec.NumRows() > 0 && slices.ContainsFunc(rec.Columns(), func(a arrow.Array) bool {
			i := slices.IndexFunc(rec.Columns(), func(b arrow.Array) bool { return a == b })
			return rec.ColumnName(i) != SubjectColumn && r.what.Useless(rec.ColumnName(i), extentOf(a, r.wide))
		}) {
			*r.out++
			rec.Release()
			continue
		}
		if r.plain || !r.what.Coded {
			return rec, nil
		}
		defer rec.Release()
		fields, cols := rec.Schema().Fields(), slices.Clone(rec.Columns())
		for i, a := range cols {
			if s, ok := a.(*array.String); ok {
				cols[i] = codedText(r.mem, s, true)
			} else if s, ok := a.(*array.FixedSizeBinary); ok {
				cols[i] = codedSubjects(r.mem, s)
			} else {
				continue
			}
			defer cols[i].Release()
			fields[i].Type = cols[i].DataType()
		}
		return array.NewRecord(arrow.NewSchema(fields, nil), cols, rec.NumRows()), nil
	}
}

// codedText codes texts; with idle, its dictionary begins with a text that no row has and has one twice.
func codedText(mem memory.Allocator, a *array.String, idle bool) arrow.Array {
	words, codes := array.NewStringBuilder(mem), array.NewUint16Builder(mem)
	defer words.Release()
	defer codes.Release()
	at, n := map[string]uint16{}, uint16(0)
	if idle && a.NullN() < a.Len() {
		words.Append("a text of no row")
		n++
	}
	for i := range a.Len() {
		if a.IsNull(i) {
			codes.AppendNull()
			continue
		}
		k, ok := at[a.Value(i)]
		if !ok || idle && n == 3 {
			k = n
			at[a.Value(i)] = k
			words.Append(a.Value(i))
			n++
		}
		codes.Append(k)
	}
	w, c := words.NewArray(), codes.NewArray()
	defer w.Release()
	defer c.Release()
	return array.NewDictionaryArray(batch.CodedText, c, w)
}

// codedSubjects codes pseudonyms by their runs.
func codedSubjects(mem memory.Allocator, a *array.FixedSizeBinary) arrow.Array {
	runs, codes := array.NewFixedSizeBinaryBuilder(mem, a.DataType().(*arrow.FixedSizeBinaryType)), array.NewUint16Builder(mem)
	defer runs.Release()
	defer codes.Release()
	for i := range a.Len() {
		if i == 0 || string(a.Value(i)) != string(a.Value(i-1)) {
			runs.Append(a.Value(i))
		}
		codes.Append(uint16(runs.Len() - 1))
	}
	r, c := runs.NewArray(), codes.NewArray()
	defer r.Release()
	defer c.Release()
	return array.NewDictionaryArray(batch.CodedSubject, c, r)
}

func extentOf(a arrow.Array, wide int64) batch.Extent {
	e := batch.Extent{Rows: a.Len(), Nulls: a.NullN()}
	if e.Nulls == e.Rows {
		return e
	}
	bound := func(v int64) {
		low, high := v-wide, v+wide
		if e.Least == nil || low < *e.Least {
			e.Least = &low
		}
		if e.Most == nil || high > *e.Most {
			e.Most = &high
		}
	}
	var texts []string
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		switch a := a.(type) {
		case *array.Int64:
			bound(a.Value(i))
		case *array.Date32:
			bound(int64(a.Value(i)))
		case *array.Boolean:
			if bound(0); a.Value(i) {
				bound(1)
			}
		case *array.String:
			texts = append(texts, a.Value(i))
		}
	}
	if len(texts) > 0 {
		cut := func(s string) []byte { return []byte(s[:min(len(s), 16)]) }
		e.Low, e.High = cut(slices.Min(texts)), cut(slices.Max(texts))
		slices.Sort(texts)
		for _, s := range slices.Compact(texts) {
			if wide == 0 {
				e.Texts = append(e.Texts, []byte(s))
			}
		}
	}
	return e
}

// TestSelectionDoesNotShow: codes for texts and batches left out change no bit of an answer, its evidence included.
func TestSelectionDoesNotShow(t *testing.T) {
	left, cells := 0, 0
	sandboxtest.Until(t, func() bool { return left > 0 && cells > 0 }, func(t *rapid.T) {
		tables, s := genTables(t), genSpec(t)
		sizes := rapid.SliceOfN(rapid.IntRange(1, 6), 1, 20).Draw(t, "batches")
		wide := rapid.SampledFrom([]int64{0, 0, 1, 100}).Draw(t, "wide")
		answer := func(plain, skips bool) string {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			open := 0
			from := opener(mem, tables, sizes, &open)
			a, err := Run(context.Background(), mem, plan(t, s), func(ctx context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
				r, err := from(ctx, ds, columns)
				if err != nil {
					return nil, err
				}
				return &selecting{slicedReader: r.(*slicedReader), mem: mem, plain: plain, skips: skips, wide: wide, out: &left}, nil
			}, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if mem.CurrentAlloc() != 0 || open != 0 {
				t.Fatalf("%d bytes and %d readers left", mem.CurrentAlloc(), open)
			}
			cells += len(a.Cells)
			return render(a) + fmt.Sprint(a.Population)
		}
		want := answer(true, false)
		for _, how := range [][2]bool{{false, false}, {true, true}, {false, true}} {
			if got := answer(how[0], how[1]); got != want {
				t.Fatalf("plain texts %v, batches left out %v:\n%s\nwithout:\n%s", how[0], how[1], got, want)
			}
		}
	})
}

// TestRefuses: what a filter makes of bounds, where it leaves a batch out and where it may not.
func TestRefuses(t *testing.T) {
	p := func(v int64) *int64 { return &v }
	day := func(least, most int64) batch.Extent { return batch.Extent{Rows: 9, Least: p(least), Most: p(most)} }
	nulls := func(e batch.Extent, n int) batch.Extent { e.Nulls = n; return e }
	text := func(low, high string, all ...string) batch.Extent {
		e := batch.Extent{Rows: 9, Low: []byte(low), High: []byte(high)}
		for _, s := range all {
			e.Texts = append(e.Texts, []byte(s))
		}
		return e
	}
	for n, c := range []struct {
		column, bin string
		not         bool
		in          []string
		e           batch.Extent
		refuses     bool
	}{
		{"v.day", "year", false, []string{"2020"}, day(18262, 18627), false}, // its first and last day
		{"v.day", "year", false, []string{"2020"}, day(18628, 20000), true},
		{"v.day", "year", false, []string{"2020"}, day(0, 18261), true},
		{"v.day", "year", false, []string{"2020"}, day(0, 30000), false},
		{"v.day", "year", true, []string{"2020"}, day(18262, 18627), true},
		{"v.day", "year", true, []string{"2020"}, day(18262, 18628), false},
		{"v.day", "year", false, []string{"2020", "missing"}, nulls(day(0, 0), 1), false},
		{"v.day", "year", false, []string{"2020"}, nulls(day(0, 0), 1), true},
		{"v.day", "year", true, []string{"1970"}, nulls(day(0, 0), 1), false}, // a null is not 1970
		{"v.day", "year", true, []string{"1970", "missing"}, nulls(day(0, 0), 1), true},
		{"v.day", "year", false, []string{"2020"}, batch.Extent{Rows: 9}, false}, // nothing is known
		{"v.day", "year", false, []string{"2020"}, batch.Extent{Rows: 9, Nulls: 9}, true},
		{"v.day", "year", false, []string{"2020"}, nulls(day(0, 0), -1), false},
		{"v.day", "year", false, []string{"2020"}, day(9, 0), false}, // not bounds
		{"v.day", "", false, []string{"2020-01-01"}, day(18262, 18262), false},
		{"v.day", "", false, []string{"2020-01-01"}, day(18263, 99999), true},
		{"v.day", "", true, []string{"2020-01-01"}, day(18262, 18262), true},
		{"v.day", "", true, []string{"2020-01-01"}, day(18262, 18263), false},
		{"v.cost", "size", false, []string{"≥100"}, day(-9, 99), true},
		{"v.cost", "size", false, []string{"≥100"}, day(-9, 100), false},
		{"v.cost", "size", true, []string{"≥100"}, day(100, 1<<62), true},
		{"v.cost", "size", false, []string{"<-5"}, day(-5, 3), true},
		{"v.born", "age", false, []string{"18-60"}, day(15000, 18000), true}, // babies
		{"v.born", "age", false, []string{"18-60"}, day(-1000, 18000), false},
		{"v.born", "age", false, []string{"≥60"}, day(-1000, 18000), true},
		{"v.night", "", false, []string{"true"}, day(0, 0), true},
		{"v.night", "", false, []string{"true"}, day(0, 1), false},
		{"v.beds", "", true, []string{"0", "1"}, day(0, 1), true},
		{"v.beds", "", true, []string{"0", "2"}, day(0, 2), false},
		{"v.icd", "", false, []string{"J10"}, text("A", "J"), true},
		{"v.icd", "", false, []string{"J10"}, text("A", "K"), false},
		{"v.icd", "", false, []string{"J10"}, text("A", "K", "A", "J", "K"), true},
		{"v.icd", "", true, []string{"J10"}, text("J10", "J10", "J10"), true},
		{"v.icd", "", true, []string{"J10"}, text("J10", "J10"), false}, // longer ones may begin so
		{"v.icd", "", false, []string{"J10"}, text("", ""), false},
		{"v.icd", "", false, []string{"Z-long-code-1-and-more"}, text("Z-long-code-1-an", "Z-long-code-1-an"), false},
		{"v.icd", "chapter", false, []string{"J"}, text("J1", "J9"), false},
		{"v.icd", "chapter", false, []string{"J"}, text("K", "Z"), true},
		{"v.icd", "chapter", false, []string{"J"}, text("A", "I999"), true},
		{"v.icd", "chapter", false, []string{"flu"}, text("J10.5", "J2"), false},
		{"v.icd", "chapter", false, []string{"flu"}, text("J12", "J2"), true},
		{"v.icd", "chapter", false, []string{"other"}, text("J12", "J2"), false},
		{"v.icd", "chapter", false, []string{"other"}, text("J12", "J2", "J12", "J2"), true},
		{"v.icd", "list", false, []string{"a"}, text("K", "Z"), true},
		{"v.icd", "list", false, []string{"a"}, text("A", "A"), false},
	} {
		s := question()
		s.Filters = []query.Filter{{Column: c.column, Bin: sandbox.BinID(c.bin), In: c.in, Not: c.not}}
		r, err := newRun(memory.DefaultAllocator, plan(t, s), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		x := r.newScanner()
		if got := x.useless(c.column[2:], c.e); got != c.refuses {
			t.Errorf("%d: %s %s %v: left out %v", n, c.column, c.bin, c.in, got)
		}
		if x.useless("cos", c.e) || x.useless(SubjectColumn, c.e) {
			t.Errorf("%d: left out for another column", n)
		}
		x.free()
		r.free()
	}
}

// TestHostileCodes: a code beyond its dictionary, and a dictionary of another shape, are Tampered.
func TestHostileCodes(t *testing.T) {
	codes := func(v ...uint16) arrow.Array {
		b := array.NewUint16Builder(memory.DefaultAllocator)
		b.AppendValues(v, nil)
		return b.NewArray()
	}
	words := func(nulls bool, v ...string) arrow.Array {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		if b.AppendValues(v, nil); nulls {
			b.AppendNull()
		}
		return b.NewArray()
	}
	of := func(c, w arrow.Array) arrow.Array {
		d := array.NewDataWithDictionary(batch.CodedText, 2, c.Data().Buffers(), 0, 0, w.Data().(*array.Data))
		return array.NewDictionaryData(d) // unchecked
	}
	icd := visits().Columns[1]
	for name, a := range map[string]arrow.Array{
		"a code beyond":    of(codes(0, 2), words(false, "a", "b")),
		"far beyond":       of(codes(0xffff, 0), words(false, "a", "b")),
		"no dictionary":    of(codes(0, 0), words(false)),
		"a null entry":     of(codes(0, 1), words(true, "a")),
		"wider codes":      array.NewDictionaryArray(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint8, ValueType: arrow.BinaryTypes.String}, mustUint8(0, 1), words(false, "a", "b")),
		"codes of numbers": array.NewDictionaryArray(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: arrow.PrimitiveTypes.Int64}, codes(0, 0), mustInt64(7)),
	} {
		c := column{desc: &icd, object: "visits.icd"}
		if err := c.load(a, 2); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := column{desc: &icd, object: "visits.icd"}
	if err := c.load(of(codes(0, 1), words(false, "a", "b")), 2); err != nil {
		t.Error(err)
	}
	subjects := codedSubjects(memory.DefaultAllocator, build16(1, 2))
	beyond := array.NewDictionaryData(array.NewDataWithDictionary(batch.CodedSubject, 2, codes(0, 2).Data().Buffers(), 0, 0, build16(1, 2).Data().(*array.Data)))
	for name, x := range map[string]struct {
		c column
		a arrow.Array
	}{"texts for pseudonyms": {column{object: "visits._subject"}, of(codes(0, 1), words(false, "a", "b"))}, "pseudonyms for texts": {column{desc: &icd, object: "visits.icd"}, subjects},
		"a run beyond": {column{object: "visits._subject"}, beyond}} {
		if err := x.c.load(x.a, 2); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c = column{object: "visits._subject"}
	if err := c.load(subjects, 2); err != nil {
		t.Error(err)
	}
}

func mustUint8(v ...uint8) arrow.Array {
	b := array.NewUint8Builder(memory.DefaultAllocator)
	b.AppendValues(v, nil)
	return b.NewArray()
}

func mustInt64(v ...int64) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.AppendValues(v, nil)
	return b.NewArray()
}

func build16(v ...byte) *array.FixedSizeBinary {
	b := array.NewFixedSizeBinaryBuilder(memory.DefaultAllocator, &arrow.FixedSizeBinaryType{ByteWidth: 16})
	for _, x := range v {
		b.Append([]byte{15: x})
	}
	return b.NewFixedSizeBinaryArray()
}
