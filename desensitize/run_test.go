package desensitize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/token"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// seedOf is a key that draws follow from.
func seedOf(b byte) token.Key {
	k, ok := keyring{"seed": b}.Key("seed")
	if !ok {
		panic("no key")
	}
	return k
}

const drawnPlan = `
plan: drawn
version: 1
dataset: claims
columns:
  - {column: person, op: resident-id}
  - {column: name, op: shuffle}
  - {column: icd10, op: pram, categories: [I10.X00, J20], stay: "0.5"}
  - {column: amount, op: micro, k: 7}
  - {column: day, op: shuffle}
  - {column: note, op: drop}
  - {column: site, op: noise, law: laplace, scale: "8", step: "1"}
`

// viewed runs a plan over batches of n rows and gives the view a line a row, beside the sites of the rows it came from.
func viewed(t *testing.T, text string, seed byte, s Stream, batches, n int) (lines []string, from []int64, rep Report) {
	t.Helper()
	pipe, d := Compile(parsed(t, text), claims(), Options{Keys: keyring{"joint": 1}, Seed: seedOf(seed)})
	if !d.Allow {
		t.Fatal(d.Reasons)
	}
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	s.Mem = mem
	var again []*table
	s.Again = func(_ context.Context, columns []string) (batch.Reader, error) {
		if len(columns) == 0 {
			t.Error("a reading of no column")
		}
		again = append(again, rows(mem, batches, n))
		return again[len(again)-1], nil
	}
	s.Sink = func(in, out arrow.Record) error {
		if in.NumRows() != out.NumRows() || in.NumRows() == 0 {
			return fmt.Errorf("%d rows beside %d", in.NumRows(), out.NumRows())
		}
		for i := range int(out.NumRows()) {
			var line []string
			for _, c := range out.Columns() {
				line = append(line, strings.Clone(c.ValueStr(i)))
			}
			lines = append(lines, strings.Join(line, "|"))
			from = append(from, in.Column(6).(*array.Int64).Value(i))
		}
		return nil
	}
	src := rows(mem, batches, n)
	rep, err := pipe.Run(t.Context(), src, s)
	if err != nil {
		t.Fatal(err)
	}
	src.release()
	for _, a := range again {
		a.release()
	}
	if n := mem.CurrentAlloc(); n != 0 {
		t.Errorf("%d bytes were not released", n)
	}
	return lines, from, rep
}

// fields gives a field of each line.
func fields(lines []string, k int) (out []string) {
	for _, l := range lines {
		out = append(out, strings.Split(l, "|")[k])
	}
	return out
}

// TestDrawsFollowFromTheKey: the same key, plan and table give the same view however many work at it; another key, table or version of
// the plan gives other draws.
func TestDrawsFollowFromTheKey(t *testing.T) {
	one, _, _ := viewed(t, drawnPlan, 1, Stream{Table: "claims 1", Workers: 1}, 12, 30)
	for range 3 {
		if many, _, _ := viewed(t, drawnPlan, 1, Stream{Table: "claims 1", Workers: 8}, 12, 30); !slices.Equal(one, many) {
			t.Fatal("a second run gives another view")
		}
	}
	for what, other := range map[string][]string{
		"key":     first(viewed(t, drawnPlan, 2, Stream{Table: "claims 1"}, 12, 30)),
		"table":   first(viewed(t, drawnPlan, 1, Stream{Table: "claims 2"}, 12, 30)),
		"version": first(viewed(t, strings.Replace(drawnPlan, "version: 1", "version: 2", 1), 1, Stream{Table: "claims 1"}, 12, 30)),
	} {
		for k, column := range map[int]string{2: "pram", 4: "shuffle", 5: "noise"} {
			if slices.Equal(fields(one, k), fields(other, k)) {
				t.Errorf("another %s draws the same %s", what, column)
			}
		}
	}
	// Batches of a column draw apart: the noise of one is not that of the next.
	noise := fields(one, 5)
	same := 0
	for i := range 30 {
		var a, b int
		_, _ = fmt.Sscan(noise[i], &a)
		_, _ = fmt.Sscan(noise[30+i], &b)
		if a-i == b-30-i {
			same++
		}
	}
	if same > 15 {
		t.Errorf("%d of 30 draws of two batches are the same", same)
	}
}

func first[A, B, C any](a A, _ B, _ C) A { return a }

// TestWholeColumns: micro-aggregation and shuffling reach over batches: batches of three rows have groups of seven, the multiset of
// the whole column stays and its places do not.
func TestWholeColumns(t *testing.T) {
	lines, from, rep := viewed(t, drawnPlan, 1, Stream{Table: "claims 1", Workers: 4}, 40, 3)
	if rep.Rows != 120 || rep.Source != 0 || rep.Columns[3].Masked < 90 || rep.Columns[3].Failed != 0 || rep.Columns[4].Masked < 90 {
		t.Errorf("%+v", rep)
	}
	means := map[string][]int64{}
	for i, m := range fields(lines, 3) {
		means[m] = append(means[m], from[i]*10_000+4_999)
	}
	for m, of := range means {
		sum := int64(0)
		for _, x := range of {
			sum += x
		}
		if len(of) < 7 || len(of) > 13 || fmt.Sprint(sum/int64(len(of))) != m {
			t.Errorf("%d rows have the mean %s", len(of), m)
		}
	}
	var was []string
	moved := 0
	for i, d := range fields(lines, 4) {
		is := array.NewDate32Builder(memory.DefaultAllocator)
		is.Append(arrow.Date32(from[i] % 28))
		s := is.NewArray().ValueStr(0)
		if was = append(was, s); s != d {
			moved++
		}
	}
	now := fields(lines, 4)
	slices.Sort(was)
	slices.Sort(now)
	if !slices.Equal(was, now) || moved < 90 {
		t.Errorf("%d of 120 dates moved", moved)
	}
	// Fewer rows than a group has keep no value, and are counted as failed.
	lines, _, rep = viewed(t, drawnPlan, 1, Stream{Table: "claims 1"}, 2, 3)
	if rep.Columns[3].Failed != 6 || rep.Columns[3].Masked != 0 || fields(lines, 3)[0] != "(null)" {
		t.Errorf("%+v", rep.Columns[3])
	}
}

// TestSampled: as many rows as the plan says, in their order, the whole table's where there are no more; the report counts both, and
// columns made from the whole table are those of the rows kept.
func TestSampled(t *testing.T) {
	all, _, _ := viewed(t, drawnPlan, 1, Stream{Table: "claims 1"}, 10, 20)
	for sample, want := range map[string]int64{"{rows: 37}": 37, `{share: "0.25"}`: 50, "{rows: 1000}": 200, `{share: "0.001"}`: 0} {
		text := drawnPlan + "sample: " + sample + "\n"
		for _, known := range []int64{0, 200} {
			lines, from, rep := viewed(t, text, 1, Stream{Table: "claims 1", Rows: known, Workers: 3}, 10, 20)
			if int64(len(lines)) != want || rep.Rows != want || rep.Source != 200 || !slices.IsSorted(from) || len(slices.Compact(from)) != len(lines) {
				t.Errorf("%s: %d rows, %+v", sample, len(lines), rep)
			}
			for i, m := range fields(lines, 3) {
				if m != fields(all, 3)[from[i]] {
					t.Fatalf("%s: row %d has not its own mean", sample, i)
				}
			}
		}
	}
	// Without columns that are needed whole the rows are counted, or known; a known number that is not so ends the run.
	text := strings.NewReplacer("op: micro, k: 7", `op: round, to: "100"`, "{column: name, op: shuffle}", "{column: name, op: name}", "{column: day, op: shuffle}", "{column: day, op: drop}").Replace(drawnPlan) + "sample: {rows: 5}\n"
	for _, known := range []int64{0, 40} {
		if lines, _, rep := viewed(t, text, 1, Stream{Table: "claims 1", Rows: known}, 4, 10); len(lines) != 5 || rep.Source != 40 {
			t.Errorf("%d rows of %d", len(lines), rep.Source)
		}
	}
	pipe, _ := Compile(parsed(t, text), claims(), Options{Seed: seedOf(1)})
	none := func(arrow.Record, arrow.Record) error { return nil }
	for what, c := range map[string]struct {
		s    Stream
		kind sandbox.Kind
	}{
		"fewer rows":       {Stream{Table: "claims 1", Rows: 50, Sink: none}, sandbox.Conflict},
		"more rows":        {Stream{Table: "claims 1", Rows: 30, Sink: none}, sandbox.Conflict},
		"no second time":   {Stream{Table: "claims 1", Sink: none}, sandbox.Invalid},
		"no name of table": {Stream{Rows: 40, Sink: none}, sandbox.Invalid},
	} {
		src := rows(memory.DefaultAllocator, 4, 10)
		if _, err := pipe.Run(t.Context(), src, c.s); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A single batch cannot be shown to anyone by a plan of this kind.
	if _, _, err := pipe.Apply(memory.DefaultAllocator, rows(memory.DefaultAllocator, 1, 1).recs[0], nil); !errors.Is(err, sandbox.Invalid) || pipe.Rowwise() {
		t.Error(err)
	}
}

// TestDrawnRefusals: what is wrong with a step that draws is said before a row is read.
func TestDrawnRefusals(t *testing.T) {
	for change, code := range map[[2]string]string{
		{`stay: "0.5"`, `stay: "1"`}:                                                               "plan.parameter",
		{`stay: "0.5"`, `stay: "half"`}:                                                            "plan.parameter",
		{`stay: "0.5"`, `matrix: [["0.5", "0.5"]]`}:                                                "plan.parameter",
		{`stay: "0.5"`, `matrix: [["0.5", "0.4"], ["0.5", "0.5"]]`}:                                "plan.parameter",
		{`stay: "0.5"`, `matrix: [["0.5", "0.5"], ["0", "1"]]`}:                                    "plan.parameter",
		{"categories: [I10.X00, J20], ", "categories: [I10.X00], "}:                                "plan.parameter",
		{"categories: [I10.X00, J20], ", "categories: [I10.X00, I10.X00], "}:                       "plan.parameter",
		{"op: micro, k: 7", "op: micro, k: 2"}:                                                     "plan.parameter",
		{"op: micro, k: 7", "op: micro, k: 1001"}:                                                  "plan.parameter",
		{"op: micro, k: 7", "op: shuffle, k: 7"}:                                                   "plan.parameter",
		{"op: micro, k: 7", "op: limit"}:                                                           "plan.parameter",
		{"{column: day, op: shuffle}", "{column: day, op: pram, categories: [a, b], stay: '0.5'}"}: "plan.type",
		{"{column: name, op: shuffle}", "{column: name, op: micro, k: 3}"}:                         "plan.type",
		{"{column: person, op: resident-id}", "{column: person, op: shuffle}"}:                     "plan.shuffled",
	} {
		text := strings.Replace(drawnPlan, change[0], change[1], 1)
		if text == drawnPlan {
			t.Fatalf("%v changes nothing", change)
		}
		if pipe, d := Compile(parsed(t, text), claims(), Options{Seed: seedOf(1)}); pipe != nil || d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != code || d.Reasons[0].Change == "" {
			t.Errorf("%s: %+v", change[1], d.Reasons)
		}
	}
	// Without a key nothing is drawn, and the sample neither.
	_, d := Compile(parsed(t, drawnPlan+"sample: {rows: 5}\n"), claims(), Options{})
	var without []string
	for _, r := range d.Reasons {
		if r.Code == "plan.randomness" {
			without = append(without, r.Column)
		}
	}
	slices.Sort(without)
	if d.Allow || !slices.Equal(without, []string{"", "claims.day", "claims.icd10", "claims.name", "claims.site"}) {
		t.Errorf("%+v", d.Reasons)
	}
	for _, sample := range []string{"{}", "{rows: -1}", "{rows: 3, share: '0.1'}", "{share: '1'}", "{share: x}", "{share: '0'}"} {
		if _, err := Parse("plan", []byte(drawnPlan+"sample: "+sample+"\n")); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("sample %s: %v", sample, err)
		}
	}
}

// TestTooMuchIsRefused: a column that is too long to hold is refused with the limit named.
func TestTooMuchIsRefused(t *testing.T) {
	pipe, d := Compile(parsed(t, drawnPlan), claims(), Options{Seed: seedOf(1)})
	if !d.Allow {
		t.Fatal(d.Reasons)
	}
	mem := memory.NewGoAllocator()
	src := rows(mem, 1, 1)
	long := rows(mem, 1, 1).recs[0]
	b := array.NewStringBuilder(mem)
	b.Append(strings.Repeat("x", 1<<20))
	name := b.NewArray()
	columns := slices.Clone(long.Columns())
	columns[1] = name
	wide := array.NewRecord(long.Schema(), columns, 1)
	again := &table{}
	for range MaxHeld>>20 + 1 {
		again.recs = append(again.recs, wide)
	}
	_, err := pipe.Run(t.Context(), src, Stream{Table: "x", Again: func(context.Context, []string) (batch.Reader, error) { return again, nil }, Sink: func(_, _ arrow.Record) error { return nil }})
	var e *sandbox.Error
	if !errors.As(err, &e) || e.Kind != sandbox.TooLarge || e.Object != "name" || e.Detail != "shuffled columns have at most 256 MiB together" {
		t.Error(err)
	}
}
