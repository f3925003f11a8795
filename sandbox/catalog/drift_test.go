package catalog

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Schema)
		want   []string
		passes bool
	}{
		"the same":          {func(*Schema) {}, nil, true},
		"a nullable column": {func(s *Schema) { s.Columns = append(s.Columns, Field{Name: "note", Type: Text, Nullable: true}) }, []string{"note: add-nullable, text"}, true},
		"a nullable in front": {func(s *Schema) {
			s.Columns = append([]Field{{Name: "note", Type: Number, Scale: 2, Nullable: true}}, s.Columns...)
		}, []string{"note: add-nullable, number(2)"}, true},
		"a required column":    {func(s *Schema) { s.Columns = append(s.Columns, Field{Name: "note", Type: Text}) }, []string{"note: add-required, text"}, false},
		"a column less":        {func(s *Schema) { s.Columns = s.Columns[:3] }, []string{"amount: remove, was money"}, false},
		"a column renamed":     {func(s *Schema) { s.Columns[3].Name = "fee" }, []string{"fee: add-required, money", "amount: remove, was money"}, false},
		"may be missing":       {func(s *Schema) { s.Columns[3].Nullable = true }, []string{"amount: allow-missing, required to nullable"}, true},
		"may not be missing":   {func(s *Schema) { s.Columns[1].Nullable = false }, []string{"icd10: forbid-missing, nullable to required"}, false},
		"the subject missing":  {func(s *Schema) { s.Columns[0].Nullable = true }, []string{"person_id: subject, required to nullable"}, false},
		"money to text":        {func(s *Schema) { s.Columns[3].Type = Text }, []string{"amount: retype, money to text"}, false},
		"date to text":         {func(s *Schema) { s.Columns[2].Type = Text }, []string{"birth_date: retype, date to text"}, false},
		"money to number":      {func(s *Schema) { s.Columns[3].Type, s.Columns[3].Scale = Number, 2 }, []string{"amount: retype, money to number(2)"}, false},
		"another order":        {func(s *Schema) { s.Columns[2], s.Columns[3] = s.Columns[3], s.Columns[2] }, []string{"birth_date: reorder, column 3 to behind a later one"}, false},
		"another subject":      {func(s *Schema) { s.Subject = "icd10" }, []string{"table: subject, person_id resident-id to icd10 resident-id"}, false},
		"another subject kind": {func(s *Schema) { s.Kind = Opaque }, []string{"table: subject"}, false},
		"another dataset":      {func(s *Schema) { s.Dataset = "ds-other" }, []string{"table: dataset, ds-claims to ds-other"}, false},
		"both at once": {func(s *Schema) {
			s.Columns = append(s.Columns, Field{Name: "note", Type: Text, Nullable: true})
			s.Columns[3].Type = Text
		}, []string{"amount: retype", "note: add-nullable"}, false},
	} {
		d := valid()
		old, now := d.Schema(), d.Schema()
		c.change(&now)
		got := Compare(old, now)
		if got.Passes() != c.passes || len(got.Changes) != len(c.want) {
			t.Errorf("%s: %s, passes %v", name, got, got.Passes())
			continue
		}
		for i, w := range c.want {
			if !strings.HasPrefix(got.Changes[i].String(), w) {
				t.Errorf("%s: %q, want %q", name, got.Changes[i], w)
			}
		}
	}
}

// TestWidens is the order of types, pair by pair.
func TestWidens(t *testing.T) {
	n := func(scale int) Field { return Field{Type: Number, Scale: scale} }
	of := func(t Type) Field { return Field{Type: t} }
	all := []Field{of(Text), of(Int), of(Money), of(Date), of(Bool), n(0), n(2), n(9)}
	wide := map[[2]int]bool{{4, 1}: true, {4, 5}: true, {4, 6}: true, {4, 7}: true, {1, 5}: true, {1, 6}: true, {1, 7}: true, {5, 6}: true, {5, 7}: true, {6, 7}: true}
	for i, a := range all {
		for j, b := range all {
			if got := Widens(a, b); got != (i == j || wide[[2]int{i, j}]) {
				t.Errorf("%s to %s: %v", a.typeName(), b.typeName(), got)
			}
		}
	}
}

func drawSchema(t *rapid.T, label string) Schema {
	s := Schema{Dataset: "ds", Subject: "s", Kind: Opaque, Columns: []Field{{Name: "s", Type: Text}}}
	for _, name := range []string{"a", "b", "c"} {
		f := Field{Name: name, Type: rapid.SampledFrom([]Type{"", Bool, Int, Number, Number, Text, Date}).Draw(t, label+name), Nullable: rapid.Bool().Draw(t, "nullable")}
		if f.Type == "" {
			continue
		}
		if f.Type == Number {
			f.Scale = rapid.IntRange(0, 2).Draw(t, "scale")
		}
		s.Columns = append(s.Columns, f)
	}
	if rapid.IntRange(0, 9).Draw(t, "swap") == 0 && len(s.Columns) > 2 {
		s.Columns[1], s.Columns[2] = s.Columns[2], s.Columns[1]
	}
	return s
}

// later draws a schema that often passes from s.
func later(t *rapid.T, s Schema, label string) Schema {
	out := s
	out.Columns = slices.Clone(s.Columns)
	for i := range out.Columns[1:] {
		f := &out.Columns[1+i]
		if rapid.Bool().Draw(t, label) {
			f.Nullable = true
		}
		if f.Type == Bool && rapid.Bool().Draw(t, label) {
			f.Type = Int
		}
		if (f.Type == Int || f.Type == Number) && rapid.Bool().Draw(t, label) {
			f.Type, f.Scale = Number, min(f.Scale+rapid.IntRange(0, 2).Draw(t, "more"), 9)
		}
	}
	if rapid.Bool().Draw(t, label+" added") {
		at := rapid.IntRange(0, len(out.Columns)).Draw(t, "at")
		out.Columns = slices.Insert(out.Columns, at, Field{Name: "n" + label, Type: Date, Nullable: rapid.IntRange(0, 4).Draw(t, "null") > 0})
	}
	return out
}

// TestDriftLaws: no change from itself; what passes in two steps passes in one; two schemas that pass both ways differ in
// nothing.
func TestDriftLaws(t *testing.T) {
	chains := 0
	sandboxtest.Until(t, func() bool { return chains >= 10 }, func(t *rapid.T) {
		a := drawSchema(t, "a")
		b, c := later(t, a, "b"), Schema{}
		if c = later(t, b, "c"); rapid.IntRange(0, 3).Draw(t, "wild") == 0 {
			b, c = drawSchema(t, "wild b"), drawSchema(t, "wild c")
		}
		if d := Compare(a, a); len(d.Changes) != 0 || !d.Passes() {
			t.Fatalf("a schema differs from itself: %s", d)
		}
		ab, bc, ac := Compare(a, b), Compare(b, c), Compare(a, c)
		if ab.Passes() && bc.Passes() {
			chains++
			if !ac.Passes() {
				t.Fatalf("%s and %s pass, together %s does not", ab, bc, ac)
			}
		}
		if ab.Passes() && Compare(b, a).Passes() && !bytes.Equal(a.Encode(), b.Encode()) {
			t.Fatalf("both ways pass and differ: %s", ab)
		}
		if (len(ab.Changes) == 0) != bytes.Equal(a.Encode(), b.Encode()) {
			t.Fatalf("a difference of the canonical bytes is a change: %s", ab)
		}
	})
}

func TestAdopt(t *testing.T) {
	d := valid()
	d.Columns = append(d.Columns, Column{Name: "flag", Type: Bool, Grade: 1, Public: true, Title: "标志"})
	s := d.Schema()
	s.Columns[4].Type = Int
	s.Columns[3].Nullable = true
	s.Columns = append(s.Columns, Field{Name: "declared", Type: Text, Nullable: true}, Field{Name: "silent", Type: Text, Nullable: true})
	got, err := d.Adopt(s, []Column{{Name: "declared", Title: "说明", Type: Text, Grade: 2, JoinKey: true, Public: true, Nullable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := got.Column("declared"); c.Grade != 2 || c.Title != "说明" || c.JoinKey || c.Public || !c.Nullable {
		t.Errorf("a declared new column is %+v", c)
	}
	if c, _ := got.Column("silent"); c.Grade != sandbox.Grade4 {
		t.Errorf("a new column that nobody described is %+v", c)
	}
	if c, _ := got.Column("flag"); c.Type != Int || c.Public || c.Title != "标志" {
		t.Errorf("a widened column is %+v", c)
	}
	if c, _ := d.Column("flag"); c.Type != Bool || !c.Public {
		t.Error("the old description changed")
	}
	if string(got.Unit) != "unit-med" || len(got.Bins) != 4 {
		t.Error("the description lost a part")
	}

	bad := d.Schema()
	bad.Columns[3].Type = Text
	if _, err := d.Adopt(bad, nil); !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "amount: retype, money to text") {
		t.Errorf("a change that does not pass: %v", err)
	}
	d.Columns[4] = Column{Name: "flag", Type: Int, Grade: 1}
	d.Bins = append(d.Bins, Bin{ID: "flags", Column: "flag", Kind: Amount, Edges: []int64{1}})
	wide := d.Schema()
	wide.Columns[4].Type, wide.Columns[4].Scale = Number, 2
	if _, err := d.Adopt(wide, nil); !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "bin flags") {
		t.Errorf("a bin's column widened: %v", err)
	}
}

func TestParseSchema(t *testing.T) {
	d := valid()
	good := d.Schema().Encode()
	s, err := ParseSchema(good)
	if err != nil || !bytes.Equal(s.Encode(), good) {
		t.Fatalf("%v", err)
	}
	for name, c := range map[string]struct {
		in   []byte
		kind sandbox.Kind
	}{
		"empty":         {nil, sandbox.Invalid},
		"not canonical": {append([]byte(" "), good...), sandbox.Invalid},
		"more":          {append(bytes.Clone(good), '{'), sandbox.Invalid},
		"unknown field": {bytes.Replace(good, []byte(`"dataset"`), []byte(`"owner":"x","dataset"`), 1), sandbox.Invalid},
		"unknown type":  {bytes.Replace(good, []byte(`"money"`), []byte(`"float"`), 1), sandbox.Invalid},
		"no subject":    {bytes.Replace(good, []byte(`"subject":"person_id"`), []byte(`"subject":"amount"`), 1), sandbox.Invalid},
		"too large":     {make([]byte, MaxSchema+1), sandbox.TooLarge},
	} {
		if _, err := ParseSchema(c.in); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParseSchema: what parses is what its encoding says, and no two schemas make Compare fail.
func FuzzParseSchema(f *testing.F) {
	d := valid()
	f.Add(d.Schema().Encode())
	f.Add([]byte(`{"dataset":"ds","subject":"s","kind":"opaque","columns":[{"name":"s","type":"text","scale":0,"nullable":false}]}`))
	f.Add([]byte(`{"dataset":"ds","subject":"s","kind":"opaque","columns":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSchema(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Encode(), b) {
			t.Fatal("a schema has two encodings")
		}
		d := valid()
		_ = Compare(d.Schema(), s).String()
		if len(Compare(s, s).Changes) != 0 {
			t.Fatal("a schema differs from itself")
		}
	})
}

func TestDue(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		f         Frequency
		last, due string
	}{
		{Daily, "2026-02-28 09:30", "2026-03-01 11:30"},
		{Weekly, "2026-12-28 00:00", "2027-01-04 02:00"},
		{Monthly, "2026-01-31 08:00", "2026-02-28 10:00"},
		{Monthly, "2024-01-31 08:00", "2024-02-29 10:00"},
		{Monthly, "2026-12-15 08:00", "2027-01-15 10:00"},
		{Quarterly, "2025-11-30 08:00", "2026-02-28 10:00"},
		{HalfYear, "2025-08-31 08:00", "2026-02-28 10:00"},
		{Yearly, "2024-02-29 08:00", "2025-02-28 10:00"},
	} {
		want := at(c.due)
		due, late := Due(c.f, at(c.last), want, 2*time.Hour)
		if !due.Equal(want) || late {
			t.Errorf("%s after %s: %s, late %v", c.f, c.last, due, late)
		}
		if _, late := Due(c.f, at(c.last), want.Add(time.Second), 2*time.Hour); !late {
			t.Errorf("%s after %s is not late a second later", c.f, c.last)
		}
	}
	for _, f := range []Frequency{Once, Irregular} {
		if due, late := Due(f, at("2000-01-01 00:00"), at("2026-01-01 00:00"), 0); late || !due.IsZero() {
			t.Errorf("%s is due %s", f, due)
		}
	}
}
