package columnar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

func visits() catalog.Dataset {
	return catalog.Dataset{ID: "visits", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 2},
			{Name: "icd", Type: catalog.Text, Grade: 2, Nullable: true, Public: true},
			{Name: "day", Type: catalog.Date, Grade: 2, Nullable: true, Public: true},
			{Name: "born", Type: catalog.Date, Grade: 2},
			{Name: "cost", Type: catalog.Money, Grade: 2, Nullable: true, Public: true},
			{Name: "beds", Type: catalog.Int, Grade: 2, Public: true},
			{Name: "index", Type: catalog.Number, Scale: 3, Grade: 2, Nullable: true, Public: true},
			{Name: "night", Type: catalog.Bool, Grade: 2, Nullable: true, Public: true},
			{Name: "site", Type: catalog.Text, Grade: 2, Nullable: true, JoinKey: true},
			{Name: "ward", Type: catalog.Int, Grade: 2, Nullable: true, JoinKey: true},
		},
		Bins: []catalog.Bin{
			{ID: "chapter", Column: "icd", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "J", Codes: []string{"J"}}, {Label: "flu", Codes: []string{"J10", "J11"}}, {Label: "long", Codes: []string{"Z-long-code"}}}},
			{ID: "list", Column: "icd", Kind: catalog.Codes, Groups: []catalog.Group{{Label: "a", Codes: []string{"J10.1", "A"}}, {Label: "b", Codes: []string{"missing"}}}},
			{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{0, 18, 60}, At: "2025-02-28"},
			{ID: "leap", Column: "born", Kind: catalog.Age, Edges: []int64{1, 4}, At: "2024-02-29"},
			{ID: "wide", Column: "born", Kind: catalog.Age, Edges: []int64{-20000000, 1, 900, 20000000}, At: "2024-02-29"},
			{ID: "year", Column: "day", Kind: catalog.Year},
			{ID: "size", Column: "cost", Kind: catalog.Amount, Edges: []int64{-5, 0, 100}},
		}}
}

func people() catalog.Dataset {
	return catalog.Dataset{ID: "people", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 2},
			{Name: "street", Type: catalog.Text, Grade: 2, Nullable: true, Public: true, JoinKey: true},
			{Name: "born", Type: catalog.Date, Grade: 2, Nullable: true},
			{Name: "income", Type: catalog.Money, Grade: 2, Nullable: true},
		},
		Bins: []catalog.Bin{{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{18}, At: "2025-06-30"}, {ID: "year", Column: "born", Kind: catalog.Year}}}
}

// relatives is another dataset of the same columns.
func relatives() catalog.Dataset {
	d := people()
	d.ID = "relatives"
	return d
}

func sites() catalog.Dataset {
	return catalog.Dataset{ID: "sites", Unit: "u", Frequency: catalog.Daily, Subject: "owner", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "owner", Type: catalog.Text, Grade: 2},
			{Name: "site", Type: catalog.Text, Grade: 1, Nullable: true, JoinKey: true},
			{Name: "ward", Type: catalog.Int, Grade: 1, Nullable: true, JoinKey: true},
			{Name: "street", Type: catalog.Text, Grade: 1, Nullable: true, JoinKey: true, Public: true},
			{Name: "level", Type: catalog.Int, Grade: 1, Public: true},
			{Name: "fee", Type: catalog.Money, Grade: 1, Nullable: true},
		}}
}

func streets() catalog.Dataset {
	return catalog.Dataset{ID: "streets", Unit: "u", Frequency: catalog.Daily, Subject: "owner", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "owner", Type: catalog.Text, Grade: 2},
			{Name: "street", Type: catalog.Text, Grade: 1, JoinKey: true},
			{Name: "zone", Type: catalog.Text, Grade: 1, Public: true},
		}}
}

func described() map[sandbox.DatasetID]catalog.Dataset {
	return map[sandbox.DatasetID]catalog.Dataset{"visits": visits(), "people": people(), "relatives": relatives(), "sites": sites(), "streets": streets()}
}

// everything lists every column for every use.
func everything(in map[sandbox.DatasetID]catalog.Dataset) []sandbox.ListItem {
	var list []sandbox.ListItem
	for id, d := range in {
		item := sandbox.ListItem{Dataset: id}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name,
				Uses:  []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare},
				Funcs: sandbox.MeasureFuncs})
		}
		list = append(list, item)
	}
	return list
}

func plan(t interface{ Fatalf(string, ...any) }, s query.Spec) Plan {
	d, reasons := query.Derive(s, described(), everything(described()))
	if len(reasons) > 0 {
		t.Fatalf("refused: %+v", reasons)
	}
	p := Plan{Derivation: d}
	for _, in := range s.Inputs {
		p.Inputs = append(p.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 3})
	}
	return p
}

// pseudonym rises with n while it is small, and does not with its first bits alone.
func pseudonym(n int) sandbox.Pseudonym {
	return sandbox.Pseudonym{byte(n * 19), byte(n), byte(n >> 8), 15: byte(n * 7)}
}

// same takes the engine's coefficient of a logistic regression for the oracle's where they differ in the last place: they are
// iterated in floating point, in another order of rows.
func same(got, want *sandbox.Answer) {
	if len(got.Cells) != len(want.Cells) {
		return
	}
	for c := range want.Cells {
		for m, x := range got.Measures {
			g, w := &got.Cells[c], &want.Cells[c]
			if x.Func != sandbox.Logistic || len(g.Values) != len(w.Values) {
				continue
			}
			if d := g.Values[m] - w.Values[m]; d == 1 || d == -1 {
				w.Values[m] = g.Values[m]
			}
		}
	}
}

func TestEngineEqualsOracle(t *testing.T) {
	cells := 0
	sandboxtest.Until(t, func() bool { return cells > 0 }, func(t *rapid.T) {
		tables, s := genTables(t), genSpec(t)
		want := oracle(s, tables)
		for range 2 { // two cuts into batches, one answer
			sizes := rapid.SliceOfN(rapid.IntRange(0, 70), 1, 6).Draw(t, "batches")
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			open := 0
			a, err := Run(context.Background(), mem, plan(t, s), opener(mem, tables, sizes, &open), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			same(a, want)
			if got, want := render(a), render(want); got != want {
				t.Fatalf("engine:\n%s\noracle:\n%s", got, want)
			}
			if mem.CurrentAlloc() != 0 || open != 0 {
				t.Fatalf("%d bytes and %d readers left", mem.CurrentAlloc(), open)
			}
			cells += len(a.Cells)
		}
	})
}

// TestManyPieces crosses piece and table boundaries: thousands of rows, subjects and public labels.
func TestManyPieces(t *testing.T) {
	v, p := &table{ds: visits()}, &table{ds: people()}
	for n := range 9000 {
		who := n * 31 % 4001
		icd := any(fmt.Sprintf("C%d", n*17%1500))
		if n%3 == 0 {
			icd = fmt.Sprintf("a long public code %d", n%1700)
		}
		v.rows = append(v.rows, map[string]any{"person": "x", "icd": icd, "day": nil, "born": int64(n), "cost": int64(n%77 - 11), "beds": int64(n % 5),
			"index": nil, "night": nil, "site": nil, "ward": nil})
		v.subjects = append(v.subjects, sandbox.Pseudonym{0: byte(who), 1: byte(who >> 8)})
	}
	for n := range 4000 {
		p.rows = append(p.rows, map[string]any{"person": "x", "street": fmt.Sprintf("street %d", n%300), "born": int64(n), "income": nil})
		p.subjects = append(p.subjects, sandbox.Pseudonym{0: byte(n), 1: byte(n >> 8)})
	}
	tables := map[sandbox.DatasetID]*table{"visits": v, "people": p}
	dims := []query.Dimension{{Column: "v.icd", As: "a"}, {Column: "p.street", As: "b"}, {Column: "v.beds", As: "c"}}
	s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}, {Alias: "p", Dataset: "people", With: "v"}},
		Measures: []query.Measure{{Func: sandbox.Sum, Column: "v.cost", As: "m"}}}
	for n := range len(dims) + 1 {
		s.Dimensions = dims[:n]
		want := render(oracle(s, tables))
		for _, lim := range []Limits{{}, {MaxCells: 1 << 24}} { // the second makes the space of three dimensions pass 64 bits
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			open := 0
			a, err := Run(context.Background(), mem, plan(t, s), opener(mem, tables, []int{1, 3000, 5000}, &open), lim)
			if err != nil {
				t.Fatal(err)
			}
			if render(a) != want {
				t.Errorf("%d dimensions differ from the oracle", n)
			}
			mem.AssertSize(t, 0)
		}
	}
}

func question(dims ...query.Dimension) query.Spec {
	return query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}}, Dimensions: dims,
		Measures: []query.Measure{{Func: sandbox.Sum, Column: "v.cost", As: "sum"}, {Func: sandbox.Mean, Column: "v.cost", As: "mean"}}}
}

func measuring(m query.Measure) query.Spec {
	s := question()
	m.As = "m"
	s.Measures = []query.Measure{m}
	return s
}

func visit(who int, cost any) (map[string]any, sandbox.Pseudonym) {
	return map[string]any{"person": "x", "icd": "J", "day": nil, "born": int64(0), "cost": cost, "beds": int64(who), "index": nil, "night": nil, "site": "s1", "ward": int64(1)}, pseudonym(who)
}

func visitTable(costs ...any) map[sandbox.DatasetID]*table {
	v := &table{ds: visits()}
	for n, c := range costs {
		row, who := visit(n, c)
		v.rows, v.subjects = append(v.rows, row), append(v.subjects, who)
	}
	return map[sandbox.DatasetID]*table{"visits": v}
}

func run1(t *testing.T, s query.Spec, tables map[sandbox.DatasetID]*table, lim Limits) (*sandbox.Answer, error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	open := 0
	a, err := Run(context.Background(), mem, plan(t, s), opener(mem, tables, []int{5}, &open), lim)
	if open != 0 {
		t.Errorf("%d readers left open", open)
	}
	return a, err
}

func TestMeanRoundsHalfAwayFromZero(t *testing.T) {
	for _, c := range []struct {
		costs []any
		want  int64
	}{
		{[]any{int64(1), int64(2)}, 2},
		{[]any{int64(-1), int64(-2)}, -2},
		{[]any{int64(1), int64(0), int64(0)}, 0},
		{[]any{int64(-1), int64(0)}, -1},
		{[]any{int64(5), nil}, 5},
		{[]any{nil}, 0},
		{[]any{int64(math.MinInt64), int64(0), int64(0)}, -3074457345618258603},
	} {
		a, err := run1(t, question(), visitTable(c.costs...), Limits{})
		if err != nil || a.Cells[0].Values[1] != c.want {
			t.Errorf("%v: %v, %v", c.costs, a, err)
		}
	}
}

func TestMissingInputsMakeNoContributor(t *testing.T) {
	a, err := run1(t, question(), visitTable(int64(4), nil, int64(6)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c := a.Cells[0]
	if c.Rows != 3 || c.NonMissing[0] != 2 || fmt.Sprint(c.Contributors) != "[0 2]" || len(a.Population) != 3 {
		t.Errorf("rows %d, non-missing %d, contributors %d", c.Rows, c.NonMissing, c.Contributors)
	}
	if a.Measures[0] != (sandbox.Measure{Name: "sum", Func: sandbox.Sum, Unit: "元", Scale: 2}) {
		t.Errorf("%+v", a.Measures[0])
	}
	if a.Inputs[0] != (sandbox.InputVersion{Dataset: "visits", Version: 3}) {
		t.Errorf("%+v", a.Inputs)
	}
}

func TestSumOverflowIsAnError(t *testing.T) {
	// Of one subject, and of the cell over subjects; sums that only pass 64 bits on the way between subjects are exact.
	v := visitTable(int64(math.MaxInt64), int64(1))
	v["visits"].subjects[1] = v["visits"].subjects[0]
	if _, err := run1(t, question(), v, Limits{}); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("one subject: %v", err)
	}
	if _, err := run1(t, question(), visitTable(int64(math.MinInt64), int64(-1)), Limits{}); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("two subjects: %v", err)
	}
	a, err := run1(t, question(), visitTable(int64(math.MaxInt64), int64(5), int64(-5)), Limits{})
	if err != nil || a.Cells[0].Values[0] != math.MaxInt64 {
		t.Errorf("three subjects: %v", err)
	}
}

func TestLimits(t *testing.T) {
	s := question(query.Dimension{Column: "v.beds", As: "d"})
	join := s
	join.Inputs = append(join.Inputs[:1:1], query.Input{Alias: "p", Dataset: "people", With: "v"})
	tables := visitTable(int64(1), int64(200), int64(-3))
	tables["people"] = &table{ds: people()}
	for n := range 3 {
		tables["people"].rows = append(tables["people"].rows, map[string]any{"person": "x", "street": nil, "born": nil, "income": nil})
		tables["people"].subjects = append(tables["people"].subjects, pseudonym(n))
	}
	for _, c := range []struct {
		s    query.Spec
		lim  Limits
		kind sandbox.Kind
	}{
		{s, Limits{MaxCells: 2}, sandbox.TooLarge},
		{s, Limits{MaxSubjects: 2}, sandbox.TooLarge},
		{s, Limits{MaxPairs: 2}, sandbox.TooLarge},
		{question(query.Dimension{Column: "v.cost", Bin: "size", As: "d"}, query.Dimension{Column: "v.born", Bin: "age", As: "e"}), Limits{MaxCells: 1}, sandbox.TooLarge},
		{join, Limits{MaxBuildRows: 2}, sandbox.TooLarge},
		{s, Limits{MaxCells: -1}, sandbox.Invalid},
		{s, Limits{MaxPairs: 1 << 31}, sandbox.Invalid},
		{join, Limits{MaxBuildBytes: 1000}, sandbox.TooLarge},
		{measuring(query.Measure{Func: sandbox.Quantile, Column: "v.cost", Q: 500}), Limits{MaxValues: 2}, sandbox.TooLarge},
		{measuring(query.Measure{Func: sandbox.Distinct, Column: "v.beds"}), Limits{MaxValues: 2}, sandbox.TooLarge},
	} {
		if _, err := run1(t, c.s, tables, c.lim); !errors.Is(err, c.kind) {
			t.Errorf("%+v: %v", c.lim, err)
		}
	}
	if _, err := run1(t, join, tables, Limits{MaxCells: 3, MaxSubjects: 3, MaxPairs: 3, MaxBuildRows: 3}); err != nil {
		t.Errorf("at the limits: %v", err)
	}
}

func TestPlanMustBeComplete(t *testing.T) {
	none := func(context.Context, sandbox.DatasetID, []string) (batch.Reader, error) {
		t.Error("an input was opened")
		return nil, io.EOF
	}
	mem := memory.NewGoAllocator()
	if _, err := Run(context.Background(), mem, Plan{}, none, Limits{}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("zero plan: %v", err)
	}
	refused, _ := query.Derive(question(), described(), nil)
	if _, err := Run(context.Background(), mem, Plan{Derivation: refused}, none, Limits{}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("refused: %v", err)
	}
	p := plan(t, question())
	p.Inputs = nil
	if _, err := Run(context.Background(), mem, p, none, Limits{}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no versions: %v", err)
	}
	s := question()
	s.Inputs[0].Version = 2
	if _, err := Run(context.Background(), mem, plan(t, s), none, Limits{}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("another version: %v", err)
	}
}

// badReader gives one batch, then an error.
type badReader struct {
	schema *arrow.Schema
	rec    arrow.Record
	err    error
}

func (r *badReader) Schema() *arrow.Schema { return r.schema }

func (r *badReader) Next(context.Context) (arrow.Record, error) {
	if r.rec != nil {
		rec := r.rec
		r.rec = nil
		return rec, nil
	}
	return nil, r.err
}

func (r *badReader) Close() error { return nil }

func TestBatchesMustBeAsDescribed(t *testing.T) {
	good := visitTable(int64(1), int64(2))["visits"]
	build := func(change func(cols []arrow.Array, fields []arrow.Field)) func(mem memory.Allocator) *badReader {
		return func(mem memory.Allocator) *badReader {
			rec := good.record(mem)
			defer rec.Release()
			cols, fields := slices.Clone(rec.Columns()), rec.Schema().Fields()
			change(cols, fields)
			schema := arrow.NewSchema(fields, nil)
			return &badReader{schema: schema, rec: array.NewRecord(schema, cols, 2), err: io.EOF}
		}
	}
	binaries := func(mem memory.Allocator, width int) arrow.Array {
		b := array.NewFixedSizeBinaryBuilder(mem, &arrow.FixedSizeBinaryType{ByteWidth: width})
		defer b.Release()
		b.Append(make([]byte, width))
		b.Append(make([]byte, width))
		return b.NewArray()
	}
	nulls := func(mem memory.Allocator) arrow.Array {
		return array.MakeArrayOfNull(mem, &arrow.FixedSizeBinaryType{ByteWidth: 16}, 2)
	}
	const cost, born, beds, subject = 4, 3, 5, 10
	for name, open := range map[string]func(mem memory.Allocator) *badReader{
		"wrong type": build(func(c []arrow.Array, f []arrow.Field) {
			c[cost], f[cost].Type = c[born], f[born].Type
		}),
		"number for a date": build(func(c []arrow.Array, f []arrow.Field) {
			c[born], f[born].Type = c[beds], f[beds].Type
		}),
		"column absent":  build(func(c []arrow.Array, f []arrow.Field) { f[cost].Name = "price" }),
		"column twice":   build(func(c []arrow.Array, f []arrow.Field) { f[beds].Name = "cost" }),
		"subject absent": build(func(c []arrow.Array, f []arrow.Field) { f[subject].Name = "s" }),
		"subject narrow": build(func(c []arrow.Array, f []arrow.Field) {
			c[subject], f[subject].Type = c[0], f[0].Type
		}),
		"subject of 8 bytes": func(mem memory.Allocator) *badReader {
			short := binaries(mem, 8)
			defer short.Release()
			return build(func(c []arrow.Array, f []arrow.Field) { c[subject], f[subject].Type = short, short.DataType() })(mem)
		},
		"dictionary for a number": func(mem memory.Allocator) *badReader {
			typ := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.PrimitiveTypes.Int64}
			i := array.NewInt32Data(array.NewData(arrow.PrimitiveTypes.Int32, 2, []*memory.Buffer{nil, memory.NewBufferBytes([]byte{255, 255, 255, 127, 0, 0, 0, 128})}, nil, 0, 0))
			v := array.NewInt64Data(array.NewData(arrow.PrimitiveTypes.Int64, 1, []*memory.Buffer{nil, memory.NewBufferBytes(make([]byte, 8))}, nil, 0, 0))
			hostile := array.NewDictionaryArray(typ, i, v)
			return build(func(c []arrow.Array, f []arrow.Field) { c[cost], f[cost].Type = hostile, typ })(mem)
		},
		"bytes for a number": build(func(c []arrow.Array, f []arrow.Field) { c[cost], f[cost].Type = c[subject], f[subject].Type }),
		"subject null": func(mem memory.Allocator) *badReader {
			null := nulls(mem)
			defer null.Release()
			return build(func(c []arrow.Array, f []arrow.Field) { c[subject] = null })(mem)
		},
		"cut short": func(memory.Allocator) *badReader {
			r := build(func([]arrow.Array, []arrow.Field) {})(memory.NewGoAllocator())
			r.err = &sandbox.Error{Op: "vault", Kind: sandbox.Tampered, Object: "visits"}
			return r
		},
	} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		r := open(mem)
		s := question(query.Dimension{Column: "v.born", Bin: "age", As: "d"})
		_, err := Run(context.Background(), mem, plan(t, s), func(context.Context, sandbox.DatasetID, []string) (batch.Reader, error) { return r, nil }, Limits{})
		if !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
		if r.rec != nil {
			r.rec.Release()
		}
		mem.AssertSize(t, 0)
	}
}

func TestOpensOnlyNeededColumns(t *testing.T) {
	s := question(query.Dimension{Column: "p.born", Bin: "age", As: "d"})
	s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v"})
	var asked []string
	tables := visitTable(int64(1))
	tables["people"] = &table{ds: people()}
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	open := 0
	inner := opener(mem, tables, []int{1}, &open)
	_, err := Run(context.Background(), mem, plan(t, s), func(ctx context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
		asked = append(asked, fmt.Sprint(ds, columns))
		return inner(ctx, ds, columns)
	}, Limits{})
	if want := "[people[born _subject] visits[cost _subject]]"; err != nil || fmt.Sprint(asked) != want {
		t.Errorf("opened %v, want %s; %v", asked, want, err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	open := 0
	_, err := Run(ctx, memory.NewGoAllocator(), plan(t, question()), opener(memory.NewGoAllocator(), visitTable(int64(1)), []int{1}, &open), Limits{})
	if !errors.Is(err, context.Canceled) || open != 0 {
		t.Errorf("%v, %d open", err, open)
	}
}
