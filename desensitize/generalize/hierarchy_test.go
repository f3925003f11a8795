package generalize

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

func TestHierarchyFaultsNameTheLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "h.csv: invalid: the file is empty"},
		{"no parent", "canary\n", "h.csv line 1: invalid: no level"},
		{"short line", "a;x;*\ncanary;x\n", "h.csv line 2: invalid: 1 levels where line 1 has 2"},
		{"long line", "a;x;*\ncanary;x;*;*\n", "h.csv line 2: invalid: 3 levels where line 1 has 2"},
		{"hole", "a;x;*\n\ncanary;;*\n", "h.csv line 3: invalid: level 1 is empty: a hole"},
		{"twice", "canary;x;*\nb;x;*\ncanary;x;*\n", "h.csv line 3: invalid: its value is on line 1 already"},
		{"two parents", "a;canary;x;*\nb;canary;y;*\n", "h.csv line 2: invalid: level 2 is not a function of level 1: line 1 gives"},
		{"quote", "a;x\nb;\"canary\n", "h.csv line 2: invalid: a quoted field is not closed"},
		{"bytes", "a;x\n\xffcanary;x\n", "h.csv line 2: invalid: it is not UTF-8"},
		{"deep", strings.Repeat("canary;", MaxHierarchyLevels) + "*", "h.csv line 1: invalid: at most 32 levels"},
	} {
		h, err := ReadHierarchy(strings.NewReader(c.text), "h.csv")
		if h != nil || !errors.Is(err, sandbox.Invalid) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("%s: the error shows a value", c.name)
		}
	}
}

func TestHierarchyForms(t *testing.T) {
	h, err := ReadHierarchy(strings.NewReader("\xef\xbb\xbfa;x;*\r\n\"b;c\";\"y \"\"z\";*\r\n;无;*\n"), "h.csv")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		v     string
		level int
		want  string
		ok    bool
	}{{"a", 0, "a", true}, {"a", 1, "x", true}, {"b;c", 1, `y "z`, true}, {"b;c", 2, "*", true}, {"", 1, "无", true}, {"canary", 0, "*", false}, {"canary", 1, "*", false}, {"a", 9, "*", false}} {
		if got, ok := h.Append(nil, c.v, c.level); string(got) != c.want || ok != c.ok {
			t.Errorf("level %d: %q, %v; want %q, %v", c.level, got, ok, c.want, c.ok)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", h, h, h); strings.Contains(s, "x") || !strings.Contains(s, "3 levels") {
		t.Errorf("it prints as %s", s)
	}
}

// TestRules walks values of each built-in rule through all levels; what does not fit is "*" at every level.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		rule string
		v    string
		want string // levels from 1, or "" where the value does not fit
	}{
		{"area", "440309", "440300 440000 *"}, // 龙华区
		{"area", "110101", "110100 110000 *"},
		{"area", "440309001", "440300 440000 *"}, {"area", "440309001003", "440300 440000 *"}, {"area", "44030900100", ""},
		{"town", "440309001003", "440309001 440309 440300 440000 *"}, {"town", "440309001", "440309001 440309 440300 440000 *"}, {"town", "440309", ""},
		{"area", "4403091", ""}, {"area", "44030x", ""}, {"area", "040309", ""}, {"area", "", ""}, {"area", "４４０３０９", ""},
		{"icd10", "E11.900", "E11 E10-E14 IV *"},
		{"icd10", "E11", "E11 E10-E14 IV *"},
		{"icd10", "C50.9", "C50 C50-C50 II *"},
		{"icd10", "D48", "D48 D37-D48 II *"}, {"icd10", "D50", "D50 D50-D53 III *"},
		{"icd10", "H59", "H59 H55-H59 VII *"}, {"icd10", "H60", "H60 H60-H62 VIII *"},
		{"icd10", "X12", "X12 W00-X59 XX *"}, {"icd10", "X59", "X59 W00-X59 XX *"}, {"icd10", "Z99.2", "Z99 Z80-Z99 XXI *"},
		{"icd10", "U07.1", "U07 U00-U49 XXII *"}, {"icd10", "A17.0†", "A17 A15-A19 I *"}, {"icd10", "G01*", "G01 G00-G09 VI *"},
		{"icd10", "I10.x00", "I10 I10-I15 IX *"}, {"icd10", "E119", "E11 E10-E14 IV *"},
		{"icd10", "e11", ""}, {"icd10", "E1", ""}, {"icd10", "E11.", ""}, {"icd10", "E11.9 rash", ""}, {"icd10", "A10", ""}, {"icd10", "", ""}, {"icd10", "糖尿病", ""},
		{"industry", "2710", "271 27 C *"}, {"industry", "C2710", "271 27 C *"}, {"industry", "0111", "011 01 A *"}, {"industry", "9700", "970 97 T *"},
		{"industry", "8411", "841 84 Q *"}, {"industry", "4400", "440 44 D *"}, {"industry", "I6510", "651 65 I *"},
		{"industry", "A2710", ""}, {"industry", "0011", ""}, {"industry", "9811", ""}, {"industry", "271", ""}, {"industry", "27100", ""},
		{"age:5,10,20", "0", "0-4 0-9 0-19 *"}, {"age:5,10,20", "39", "35-39 30-39 20-39 *"}, {"age:5,10,20", "150", "150-154 150-159 140-159 *"},
		{"age:5,10,20,≥80", "79", "75-79 70-79 60-79 *"}, {"age:5,10,20,≥80", "80", "≥80 ≥80 ≥80 *"}, {"age:5,10,20,≥80", "103", "≥80 ≥80 ≥80 *"},
		{"age:5", "151", ""}, {"age:5", "-1", ""}, {"age:5", "07", ""}, {"age:5", "3.5", ""},
		{"date", "2024-02-29", "2024-02 2024 2020-2029 *"}, {"date", "1999-12-31", "1999-12 1999 1990-1999 *"},
		{"date", "2023-02-29", ""}, {"date", "2024-2-29", ""}, {"date", "20240229", ""},
	} {
		h, err := Rule(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for l := 1; l < h.Levels(); l++ {
			label, ok := h.Append(nil, c.v, l)
			if ok != (c.want != "") {
				t.Errorf("%s case %q level %d: known is %v", c.rule, c.want, l, ok)
			}
			got = append(got, string(label))
		}
		want := c.want
		if want == "" {
			want = strings.TrimSpace(strings.Repeat("* ", h.Levels()-1))
			if at0, ok := h.Append(nil, c.v, 0); ok || string(at0) != "*" {
				t.Errorf("%s: a value that does not fit passes at level 0", c.rule)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", c.rule, got, want)
		}
	}
	for _, bad := range []string{"", "nosuch", "age:", "age:5,7", "age:10,5", "age:5,≥7", "age:≥80", "age:5,≥80,10", "age:1", "age:0", "age:5,x"} {
		if h, err := Rule(bad); h != nil || !errors.Is(err, sandbox.Invalid) {
			t.Errorf("rule %q: %v", bad, err)
		}
	}
}

// TestICDTable holds the blocks to be ascending, disjoint and each inside one chapter.
func TestICDTable(t *testing.T) {
	chapter := func(category string) int {
		for i, c := range icdChapters {
			if category <= c.last {
				return i
			}
		}
		return -1
	}
	for i, b := range icdBlocks {
		first, last := b[:3], b[4:]
		if first > last || i > 0 && first <= icdBlocks[i-1][4:] {
			t.Errorf("block %s is out of order", b)
		}
		if chapter(first) < 0 || chapter(first) != chapter(last) {
			t.Errorf("block %s lies in two chapters", b)
		}
	}
	for i := 1; i < len(icdChapters); i++ {
		if icdChapters[i].last <= icdChapters[i-1].last {
			t.Errorf("chapter %s is out of order", icdChapters[i].name)
		}
	}
}

// TestRulesNestLaw: each level of a built-in rule is a function of the one before.
func TestRulesNestLaw(t *testing.T) {
	draw := map[string]*rapid.Generator[string]{
		"area":            rapid.StringMatching(`[1-6][0-4][0-2][0-9][0-2][0-9]`),
		"icd10":           rapid.StringMatching(`[A-Z][0-9][0-9](\.[0-9])?`),
		"industry":        rapid.StringMatching(`[0-9][0-9][0-3][0-3]`),
		"age:5,10,20,≥80": rapid.StringMatching(`[1-9][0-9]?`),
		"date":            rapid.StringMatching(`(19|20)[0-2][0-9]-(01|12)-[0-2][0-9]`),
	}
	for name, g := range draw {
		h, err := Rule(name)
		if err != nil {
			t.Fatal(err)
		}
		parents := make([]map[string]string, h.Levels())
		for l := range parents {
			parents[l] = map[string]string{}
		}
		rapid.Check(t, func(t *rapid.T) {
			v := g.Draw(t, "value")
			before, _ := h.Append(nil, v, 0)
			for l := 1; l < h.Levels(); l++ {
				label, _ := h.Append(nil, v, l)
				if said, ok := parents[l][string(before)]; ok && said != string(label) {
					t.Fatalf("%s: a label of level %d has two parents", name, l-1)
				}
				parents[l][string(before)] = string(label)
				before = label
			}
			if string(before) != Star {
				t.Fatalf("%s does not end with *", name)
			}
		})
	}
}

// TestColumn: shape and nulls kept for every type taken, slices honoured, dictionaries stay dictionaries, unknown values "*".
func TestColumn(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	ages, err := AgeBands(80, 10)
	if err != nil {
		t.Fatal(err)
	}
	valid := []bool{true, true, false, true, true, true}
	build := func(f func() arrow.Array) arrow.Array { return f() }
	columns := map[string]arrow.Array{
		"string": build(func() arrow.Array {
			b := array.NewStringBuilder(mem)
			defer b.Release()
			b.AppendValues([]string{"7", "12", "?", "85", "canary", "151"}, valid)
			return b.NewArray()
		}),
		"large": build(func() arrow.Array {
			b := array.NewLargeStringBuilder(mem)
			defer b.Release()
			b.AppendValues([]string{"7", "12", "?", "85", "canary", "151"}, valid)
			return b.NewArray()
		}),
		"int64": build(func() arrow.Array {
			b := array.NewInt64Builder(mem)
			defer b.Release()
			b.AppendValues([]int64{7, 12, 0, 85, -3, 151}, valid)
			return b.NewArray()
		}),
		"int32": build(func() arrow.Array {
			b := array.NewInt32Builder(mem)
			defer b.Release()
			b.AppendValues([]int32{7, 12, 0, 85, -3, 151}, valid)
			return b.NewArray()
		}),
		"dictionary": build(func() arrow.Array {
			b := array.NewDictionaryBuilder(mem, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
			defer b.Release()
			for i, v := range []string{"7", "12", "", "85", "canary", "151"} {
				if !valid[i] {
					b.AppendNull()
				} else if err := b.AppendString(v); err != nil {
					t.Fatal(err)
				}
			}
			return b.NewArray()
		}),
	}
	for name, in := range columns {
		for level, want := range [][]string{{"7", "12", "-", "85", "*", "*"}, {"0-9", "10-19", "-", "≥80", "*", "*"}, {"*", "*", "-", "*", "*", "*"}} {
			c, err := NewColumn(ages, level)
			if err != nil {
				t.Fatal(err)
			}
			for _, cut := range [][2]int64{{0, 6}, {1, 5}, {2, 2}} {
				slice := array.NewSlice(in, cut[0], cut[1])
				out, err := c.Apply(mem, slice)
				if err != nil {
					t.Fatal(err)
				}
				if out.Len() != slice.Len() || out.NullN() != slice.NullN() {
					t.Errorf("%s: %d rows and %d nulls of %d and %d", name, out.Len(), out.NullN(), slice.Len(), slice.NullN())
				}
				for i := range out.Len() {
					got := "-"
					if out.IsValid(i) {
						got = out.ValueStr(i)
					}
					if got != want[int(cut[0])+i] {
						t.Errorf("%s level %d row %d: %s, want %s", name, level, i, got, want[int(cut[0])+i])
					}
				}
				if name == "dictionary" && out.DataType().ID() != arrow.DICTIONARY {
					t.Error("a dictionary became plain")
				}
				out.Release()
				slice.Release()
			}
		}
		in.Release()
	}
	for _, level := range []int{-1, 3} {
		if _, err := NewColumn(ages, level); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("level %d: %v", level, err)
		}
	}
	if _, err := (Column{}).Apply(mem, nil); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("an unbound column: %v", err)
	}
	b := array.NewFloat64Builder(mem)
	floats := b.NewArray()
	b.Release()
	defer floats.Release()
	c, _ := NewColumn(ages, 1)
	if _, err := c.Apply(mem, floats); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a column of numbers: %v", err)
	}
	dates := array.NewDate32Builder(mem)
	dates.Append(arrow.Date32FromTime(arrow.Timestamp(1709164800).ToTime(arrow.Second)))
	day := dates.NewArray()
	dates.Release()
	defer day.Release()
	c, _ = NewColumn(Dates(), 2)
	out, err := c.Apply(mem, day)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Release()
	if out.ValueStr(0) != "2024" {
		t.Errorf("a day becomes %s", out.ValueStr(0))
	}
}

// TestColumnLaw: a column gives, row by row, what its hierarchy says of each value, however many values there are.
func TestColumnLaw(t *testing.T) {
	ages, err := AgeBands(90, 3)
	if err != nil {
		t.Fatal(err)
	}
	file := read(t, "h.csv", "a;x;*\n;none;*\nb;y;*\n00000001;long label of the first;*\n00000010;z;*")
	values := map[*Hierarchy]*rapid.Generator[string]{
		file:    rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "00000001", "00000010"}), rapid.StringMatching(`[01]{8}`), rapid.String()),
		ages:    rapid.StringMatching(`[0-9]{1,3}`),
		Dates(): rapid.StringMatching(`(19|20)[0-9][0-9]-(0[1-9]|1[0-2])-[0-3][0-9]`),
	}
	for h, g := range values {
		rapid.Check(t, func(t *rapid.T) {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			in := rapid.SliceOfN(g, 0, 50).Draw(t, "values")
			level := rapid.IntRange(0, h.Levels()-1).Draw(t, "level")
			b := array.NewStringBuilder(mem)
			for range rapid.IntRange(1, 80).Draw(t, "times") {
				b.AppendValues(in, nil)
				b.AppendNull()
			}
			whole := b.NewArray()
			b.Release()
			col := array.NewSlice(whole, int64(rapid.IntRange(0, whole.Len()).Draw(t, "from")), int64(whole.Len()))
			c, err := NewColumn(h, level)
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.Apply(mem, col)
			if err != nil {
				t.Fatal(err)
			}
			for i := range col.Len() {
				want, _ := h.Append(nil, col.(*array.String).Value(i), level)
				if col.IsNull(i) != out.IsNull(i) || col.IsValid(i) && out.(*array.String).Value(i) != string(want) {
					t.Fatalf("%v level %d: row %d differs", h, level, i)
				}
			}
			out.Release()
			col.Release()
			whole.Release()
			if mem.CurrentAlloc() != 0 {
				t.Fatal("memory was not given back")
			}
		})
	}
}

// TestColumnAllocatesPerBatch: a longer batch costs no more allocations than its buffers' growth.
func TestColumnAllocatesPerBatch(t *testing.T) {
	mem := memory.NewGoAllocator()
	table := read(t, "h.csv", "7;young;*\n70;old;*")
	ages, err := AgeBands(80, 5, 10)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 10_000
	text, numbers := array.NewStringBuilder(mem), array.NewInt64Builder(mem)
	for i := range rows {
		text.Append([]string{"7", "70", "700"}[i%3])
		numbers.Append(int64(i % 100))
	}
	for name, c := range map[string]struct {
		h *Hierarchy
		a arrow.Array
	}{"file": {table, text.NewArray()}, "rule": {ages, numbers.NewArray()}} {
		op, err := NewColumn(c.h, 1)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(3, func() {
			out, err := op.Apply(mem, c.a)
			if err != nil {
				t.Fatal(err)
			}
			out.Release()
		}); n > 100 {
			t.Errorf("%s: %.0f allocations for %d rows", name, n, rows)
		}
	}
}

func FuzzReadHierarchy(f *testing.F) {
	for _, s := range []string{"a;x;*\nb;x;*\n", "\"a\";\"x;y\";*", "a;x\nb;y\n", ";x;*\n", "a;;*", "a;x;*\na;x;*", "\xef\xbb\xbfa;*", "a;x;p\nb;x;q\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ReadHierarchy(strings.NewReader(text), "h.csv")
		if err != nil {
			var e *sandbox.Error
			if !errors.As(err, &e) || h != nil {
				t.Fatalf("not a refusal of ours: %v", err)
			}
			return
		}
		parents := make([]map[string]string, h.Levels())
		for l := range parents {
			parents[l] = map[string]string{}
		}
		for v := range h.table {
			before := v
			for l := 1; l < h.Levels(); l++ {
				label, ok := h.Append(nil, v, l)
				if !ok || len(label) == 0 {
					t.Fatal("a hole was let through")
				}
				if said, ok := parents[l][before]; ok && said != string(label) {
					t.Fatal("a level that is no function was let through")
				}
				parents[l][before] = string(label)
				before = string(label)
			}
		}
	})
}
