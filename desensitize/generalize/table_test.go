package generalize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

func read(t testing.TB, name, text string) *Hierarchy {
	t.Helper()
	h, err := ReadHierarchy(strings.NewReader(text), name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// small is a table of two quasi-identifiers and one secret.
func small(t testing.TB) *plainTable {
	return &plainTable{quasi: []string{"q0", "q1"}, sensitive: "s",
		hier: []*Hierarchy{read(t, "q0.csv", "a;x;*\nb;x;*\nc;y;*\nd;y;*"), read(t, "q1.csv", "1;*\n2;*")},
		rows: [][]string{{"a", "1", "5"}, {"b", "1", "6"}, {"c", "1", "7"}, {"d", "1", "8"}, {"d", "2", "9"}, {"", "2", "9"}}}
}

func TestTableRefusals(t *testing.T) {
	h := read(t, "h.csv", "a;*\nb;*")
	is := func(err error, kind sandbox.Kind, want string) {
		t.Helper()
		if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %s %q", err, kind, want)
		}
		if strings.Contains(fmt.Sprint(err), "canary") {
			t.Error("the error shows a value")
		}
	}
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "1 to 32 quasi-identifiers"},
		{Config{Quasi: []Quasi{{"q", nil}}}, "has a hierarchy"},
		{Config{Quasi: []Quasi{{"q", h}, {"q", h}}}, "named once"},
		{Config{Quasi: []Quasi{{"q", h}}, Sensitive: []string{"q"}}, "named once"},
		{Config{Quasi: []Quasi{{"q", h}}, MaxClasses: -1}, "bound"},
	} {
		_, err := NewTable(c.cfg)
		is(err, sandbox.Invalid, c.want)
	}
	table := func(cfg Config) *Table {
		t.Helper()
		cfg.Quasi = []Quasi{{"q", h}}
		out, err := NewTable(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	is(table(Config{}).Add(record(t, []string{"q"}, [][]string{{"a"}, {"canary"}})), sandbox.Invalid, "column q row 2")
	is(table(Config{}).Add(record(t, []string{"other"}, [][]string{{"a"}})), sandbox.NotFound, "column q")
	is(table(Config{MaxClasses: 1}).Add(record(t, []string{"q"}, [][]string{{"a"}, {"b"}})), sandbox.TooLarge, "more than 1 distinct")
	is(table(Config{}).AddPopulation(record(t, []string{"q"}, [][]string{{"a"}})), sandbox.Invalid, "made without one")
	is(table(Config{}).Freeze(), sandbox.Invalid, "no rows")
	people := table(Config{Population: true})
	if err := errors.Join(people.Add(record(t, []string{"q"}, [][]string{{"a"}, {"a"}})), people.AddPopulation(record(t, []string{"q"}, [][]string{{"a"}, {"b"}}))); err != nil {
		t.Fatal(err)
	}
	is(people.Freeze(), sandbox.Invalid, "does not contain the table")

	frozen := table(Config{Sensitive: []string{"s"}})
	rec := record(t, []string{"q", "s"}, [][]string{{"a", "canary"}, {"b", ""}})
	if err := frozen.Add(rec); err != nil {
		t.Fatal(err)
	}
	if err := frozen.Freeze(); err != nil {
		t.Fatal(err)
	}
	is(frozen.Add(rec), sandbox.Conflict, "frozen")
	for _, c := range []struct {
		goal Goal
		want string
	}{
		{Goal{}, "no model asks"}, {Goal{K: 1}, "no model asks"}, {Goal{K: -1}, "k is 1 or more"}, {Goal{K: 2, Suppression: 1.1}, "share from 0 to 1"},
		{Goal{K: 2, Metric: "canary"}, "no such metric"}, {Goal{KMap: 2}, "population"}, {Goal{Presence: &Presence{0, 1}}, "population"},
		{Goal{K: 2, MaxNodes: -1}, "bounds"},
		{Goal{Diversity: []Diversity{{"q", Distinct, 2, 0}}}, "not among the sensitive"}, {Goal{Diversity: []Diversity{{"s", "canary", 2, 0}}}, "distinct, entropy or recursive"},
		{Goal{Diversity: []Diversity{{"s", Distinct, 1.5, 0}}}, "whole"}, {Goal{Diversity: []Diversity{{"s", Recursive, 2, 0}}}, "c of recursive"}, {Goal{Diversity: []Diversity{{"s", Entropy, 0.5, 0}}}, "l is 1 or more"},
		{Goal{Closeness: []Closeness{{"s", 2, Equal, nil}}}, "t is from 0 to 1"}, {Goal{Closeness: []Closeness{{"s", 0.1, "canary", nil}}}, "equal or ordered"},
		{Goal{Closeness: []Closeness{{"s", 0.1, Ordered, nil}}}, "missing values have no place"},
	} {
		_, err := frozen.Search(context.Background(), c.goal)
		is(err, sandbox.Invalid, c.want)
		is(frozen.Check(c.goal), sandbox.Invalid, c.want)
		if err := table(Config{Sensitive: []string{"s"}}).Check(c.goal); len(c.goal.Closeness) == 0 || c.goal.Closeness[0].T != 0.1 || c.goal.Closeness[0].Distance != Ordered {
			is(err, sandbox.Invalid, c.want) // before any row
		}
	}
	_, err := frozen.Search(context.Background(), Goal{K: 3})
	is(err, sandbox.Conflict, "no generalisation satisfies it")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = frozen.Search(ctx, Goal{K: 2})
	is(err, sandbox.Unavailable, "ended before")
	if s := fmt.Sprintf("%v %+v %#v", frozen, frozen, frozen); strings.Contains(s, "canary") {
		t.Error("a table prints values")
	}

	wide := Config{}
	deep := read(t, "deep.csv", "a;a;a;a;a;a;a;a;a;a;a;a;a;a;a;*")
	row := []string{}
	for i := range 7 {
		wide.Quasi = append(wide.Quasi, Quasi{fmt.Sprint("q", i), deep})
		row = append(row, "a")
	}
	big, err := NewTable(wide)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"q0", "q1", "q2", "q3", "q4", "q5", "q6"}
	if err := big.Add(record(t, names, [][]string{row})); err != nil {
		t.Fatal(err)
	}
	is(big.Freeze(), sandbox.TooLarge, "generalisations to choose among")
}

// TestOrderedByList ranks text by a given list.
func TestOrderedByList(t *testing.T) {
	d := dictionary{name: "s", code: map[string]uint32{"low": 0, "high": 1, "mid": 2}, values: []string{"low", "high", "mid"}, missing: -1}
	rank, err := d.order([]string{"low", "mid", "never seen", "high"})
	if err != nil || !slices.Equal(rank, []uint32{0, 2, 1}) {
		t.Errorf("%v, %v", rank, err)
	}
	for _, list := range [][]string{nil, {"low", "mid"}, {"low", "mid", "high", "low"}} {
		if _, err := d.order(list); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%d listed: %v", len(list), err)
		}
	}
}

// TestStoppedSearchSaysSo: a bound on nodes gives a solution that is not called optimal.
func TestStoppedSearchSaysSo(t *testing.T) {
	p := small(t)
	table := p.table(t)
	s, err := table.Search(context.Background(), Goal{K: 2, Suppression: 0.5, MaxNodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s.Search.Proven || s.Search.Evaluated != 1 || !slices.Equal(s.Levels, []int{2, 1}) {
		t.Errorf("%+v", s)
	}
	whole, err := table.Search(context.Background(), Goal{K: 2, Suppression: 0.5})
	if err != nil || !whole.Search.Proven || whole.Value >= s.Value {
		t.Errorf("%+v, %v", whole, err)
	}
}

// TestUnknownAsStar lets a value outside the hierarchy be "*", a class of its own until everything is.
func TestUnknownAsStar(t *testing.T) {
	h := read(t, "h.csv", "a;x;*\nb;x;*")
	table, err := NewTable(Config{Quasi: []Quasi{{"q", h}}, UnknownAsStar: true})
	if err != nil {
		t.Fatal(err)
	}
	rec := record(t, []string{"q", "id", "note"}, [][]string{{"a", "1", "n"}, {"b", "2", "n"}, {"canary", "3", "n"}, {"other", "4", "n"}, {"", "5", "n"}})
	if err := table.Add(rec); err != nil {
		t.Fatal(err)
	}
	s, err := table.Search(context.Background(), Goal{K: 2, Suppression: 0.2, Metric: Height})
	if err != nil {
		t.Fatal(err)
	}
	r, err := table.Release(s, "note")
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Apply(memory.NewGoAllocator(), rec)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(texts(out)); got != "[[x n] [x n] [* n] [* n]]" {
		t.Errorf("published %s", got)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestReleaseHoldsTheRows: a second reading with other rows, fewer, more, or another secret, ends in Conflict.
func TestReleaseHoldsTheRows(t *testing.T) {
	p := small(t)
	table := p.table(t)
	s, err := table.Search(context.Background(), Goal{K: 2, Suppression: 0.4})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"q0", "q1", "s"}
	change := func(f func(rows [][]string) [][]string) [][]string {
		rows := [][]string{}
		for _, r := range p.rows {
			rows = append(rows, slices.Clone(r))
		}
		return f(rows)
	}
	for name, rows := range map[string][][]string{
		"fewer":    change(func(r [][]string) [][]string { return r[1:] }),
		"more":     change(func(r [][]string) [][]string { return append(r, r[0]) }),
		"other":    change(func(r [][]string) [][]string { r[0][0] = "d"; r[0][1] = "2"; return r }),
		"unknown":  change(func(r [][]string) [][]string { r[0][0] = "canary"; return r }),
		"missing":  change(func(r [][]string) [][]string { r[0][1] = ""; return r }),
		"secret":   change(func(r [][]string) [][]string { r[0][2] = "8"; return r }),
		"repeated": change(func(r [][]string) [][]string { r[0][2] = "6"; return r }),
		"secret's": change(func(r [][]string) [][]string { r[0][2] = "canary"; return r }),
	} {
		r, err := table.Release(s)
		if err != nil {
			t.Fatal(err)
		}
		out, err := r.Apply(memory.NewGoAllocator(), record(t, names, rows))
		if err == nil {
			out.Release()
			err = r.Close()
		}
		if !errors.Is(err, sandbox.Conflict) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without secrets too, a row too many is not published: it is refused where it comes.
	bare := small(t)
	bare.sensitive = ""
	few := bare.table(t)
	if s, err = few.Search(context.Background(), Goal{K: 2, Suppression: 0.4}); err != nil {
		t.Fatal(err)
	}
	r, err := few.Release(s)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := r.Apply(memory.NewGoAllocator(), record(t, names, append(slices.Clone(bare.rows), bare.rows[0]))); out != nil || !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a row too many: %v", err)
	}
	if _, err := table.Release(&Solution{Levels: []int{0, 9}}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("levels of another table: %v", err)
	}
	for _, keep := range []string{"q0", "s", ""} {
		if _, err := table.Release(s, keep); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("kept twice: %v", err)
		}
	}
}

// TestMissingAndEmptyCannotBeTold: where a hierarchy lists the empty value, missing and empty text are one class and come out
// alike.
func TestMissingAndEmptyCannotBeTold(t *testing.T) {
	h := read(t, "h.csv", "a;*\n;*")
	table, err := NewTable(Config{Quasi: []Quasi{{"q", h}}})
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewStringBuilder(memory.NewGoAllocator())
	b.AppendValues([]string{"a", "a", "", ""}, []bool{true, true, true, false})
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "q", Type: arrow.BinaryTypes.String, Nullable: true}}, nil), []arrow.Array{b.NewArray()}, 4)
	if err := table.Add(rec); err != nil {
		t.Fatal(err)
	}
	s, err := table.Search(context.Background(), Goal{K: 2})
	if err != nil || s.Levels[0] != 0 {
		t.Fatalf("%v, %v", s, err)
	}
	r, err := table.Release(s)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Apply(memory.NewGoAllocator(), rec)
	if err != nil {
		t.Fatal(err)
	}
	if out.Column(0).NullN() != 2 {
		t.Errorf("%d of 2 are missing in the output", out.Column(0).NullN())
	}
}

// TestWideKeys uses so many codes that a class's key needs several words; every node is held against plain counting.
func TestWideKeys(t *testing.T) {
	p := &plainTable{}
	state := uint32(7)
	next := func(n uint32) uint32 { state = state*1664525 + 1013904223; return state >> 8 % n }
	var lines []string
	for v := range 300 {
		lines = append(lines, fmt.Sprintf("v%d;g%d;*", v, v%2))
	}
	h := read(t, "wide.csv", strings.Join(lines, "\n"))
	for d := range 9 {
		p.quasi, p.hier = append(p.quasi, fmt.Sprint("q", d)), append(p.hier, h)
	}
	for i := range 400 {
		row := []string{}
		for range p.quasi {
			v := uint32(i) % 300
			if next(2) == 0 {
				v = next(300)
			}
			row = append(row, fmt.Sprintf("v%d", v))
		}
		p.rows = append(p.rows, append(row, ""))
	}
	s, err := p.table(t).newSearch(Goal{K: 2, Suppression: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s.f.words < 2 {
		t.Fatalf("keys have %d words; the test wants two", s.f.words)
	}
	for at := 0; at < len(s.marks); at += 97 {
		levels := s.levels(at)
		ints := []int{}
		for _, l := range levels {
			ints = append(ints, int(l))
		}
		var want, got []int
		for _, rows := range p.group(p.rows, ints) {
			want = append(want, len(rows))
		}
		cl := s.classesOf(levels)
		for _, n := range cl.count {
			got = append(got, int(n))
		}
		s.keep(cl)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Fatalf("levels %v: %d classes, plain counting gives %d", levels, len(got), len(want))
		}
	}
}

// TestSearchesSideBySide: one frozen table is searched by several goroutines; the race detector watches.
func TestSearchesSideBySide(t *testing.T) {
	p := small(t)
	table := p.table(t)
	if err := table.Freeze(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, m := range []Metric{Discernibility, AverageClass, Height, EntropyLoss} {
		wg.Go(func() {
			g := Goal{K: 2, Suppression: 0.4, Metric: m, Diversity: []Diversity{{"s", Distinct, 2, 0}}}
			want, _ := p.optimum(g)
			s, err := table.Search(context.Background(), g)
			if err != nil || s.Value-want > 1e-9 || want-s.Value > 1e-9 {
				t.Errorf("%s: %v, %v, want %g", m, s, err, want)
				return
			}
			if out := release(t, p, table, s); p.holds(g, s.Levels, out) != nil {
				t.Errorf("%s: the output does not hold", m)
			}
		})
	}
	wg.Wait()
}
