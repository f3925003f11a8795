package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
)

// checks is how many random questions a run asks, unless the command line says otherwise.
const checks = "200"

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", checks); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// drawnTable is a table with values of both programs: nil, string, bool, or int64 (numbers, days since 1970).
type drawnTable struct {
	set  catalog.Dataset
	rows [][]any // by column; the subject's number first
}

func opaque(id sandbox.DatasetID, columns []catalog.Column, bins ...catalog.Bin) catalog.Dataset {
	for i := range columns {
		columns[i].Grade = 2
	}
	return catalog.Dataset{ID: id, Unit: "u", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: append([]catalog.Column{{Name: "who", Type: catalog.Text, Grade: 2}}, columns...), Bins: bins}
}

func drawnSets() map[sandbox.DatasetID]catalog.Dataset {
	groups := func(g ...catalog.Group) []catalog.Group { return g }
	return map[sandbox.DatasetID]catalog.Dataset{
		"stays": opaque("stays", []catalog.Column{
			{Name: "code", Type: catalog.Text, Nullable: true, Public: true},
			{Name: "day", Type: catalog.Date, Nullable: true, Public: true},
			{Name: "born", Type: catalog.Date},
			{Name: "fee", Type: catalog.Money, Nullable: true, Public: true},
			{Name: "nights", Type: catalog.Int, Public: true},
			{Name: "rate", Type: catalog.Number, Scale: 3, Nullable: true, Public: true},
			{Name: "paid", Type: catalog.Bool, Nullable: true, Public: true},
			{Name: "place", Type: catalog.Text, Nullable: true, JoinKey: true},
			{Name: "wing", Type: catalog.Int, Nullable: true, JoinKey: true}},
			catalog.Bin{ID: "chapter", Column: "code", Kind: catalog.Prefix, Groups: groups(catalog.Group{Label: "I", Codes: []string{"I"}}, catalog.Group{Label: "stroke", Codes: []string{"I6", "I63.9"}})},
			catalog.Bin{ID: "list", Column: "code", Kind: catalog.Codes, Groups: groups(catalog.Group{Label: "a", Codes: []string{"I63.9", "B"}}, catalog.Group{Label: "b", Codes: []string{"missing"}})},
			catalog.Bin{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{0, 18, 60}, At: "2025-02-28"},
			catalog.Bin{ID: "leap", Column: "born", Kind: catalog.Age, Edges: []int64{1, 4}, At: "2024-02-29"},
			catalog.Bin{ID: "year", Column: "day", Kind: catalog.Year},
			catalog.Bin{ID: "size", Column: "fee", Kind: catalog.Amount, Edges: []int64{-5, 0, 100}}),
		"people": opaque("people", []catalog.Column{
			{Name: "street", Type: catalog.Text, Nullable: true, Public: true, JoinKey: true},
			{Name: "born", Type: catalog.Date, Nullable: true},
			{Name: "income", Type: catalog.Money, Nullable: true}},
			catalog.Bin{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{18}, At: "2025-06-30"}),
		"places": opaque("places", []catalog.Column{
			{Name: "place", Type: catalog.Text, Nullable: true, JoinKey: true},
			{Name: "wing", Type: catalog.Int, Nullable: true, JoinKey: true},
			{Name: "level", Type: catalog.Int, Public: true},
			{Name: "rent", Type: catalog.Money, Nullable: true}}),
		"streets": opaque("streets", []catalog.Column{
			{Name: "street", Type: catalog.Text, JoinKey: true},
			{Name: "zone", Type: catalog.Text, Public: true}}),
	}
}

// drawTables draws rows in which values collide, nulls are common and keys stand several times.
func drawTables(t *rapid.T) map[sandbox.DatasetID]*drawnTable {
	oneOf := map[string][]any{
		"code": {"I", "I6", "I63.9", "I63", "B", "missing", "other", "", "C-a-long-code"}, "place": {"p", "q", "", "a place with a long name"}, "street": {"k", "m", "a street with a long name"},
		"born": {int64(19782), int64(19781), int64(19417), int64(19416), int64(20148), int64(-20000), int64(0), int64(12000), int64(15000)}, "zone": {"n", "s", "missing"},
	}
	span := map[string][2]int64{"day": {17000, 20600}, "fee": {-200, 200}, "nights": {-2, 3}, "rate": {-1500, 1500}, "wing": {0, 2}, "income": {0, 90}, "level": {1, 3}, "rent": {-9, 9}}
	out := map[sandbox.DatasetID]*drawnTable{}
	for _, in := range []struct {
		id      sandbox.DatasetID
		most    int
		ordered bool
	}{{"stays", 40, rapid.Bool().Draw(t, "in order")}, {"people", 15, false}, {"places", 10, false}, {"streets", 5, false}} {
		x := &drawnTable{set: drawnSets()[in.id]}
		who := int64(0)
		for range rapid.IntRange(0, in.most).Draw(t, string(in.id)) {
			if who = min(9, who+rapid.Int64Range(0, 1).Draw(t, "next")); !in.ordered {
				who = rapid.Int64Range(0, 9).Draw(t, "who")
			}
			row := []any{who}
			for _, c := range x.set.Columns[1:] {
				var v any
				if !c.Nullable || rapid.IntRange(0, 4).Draw(t, c.Name+" missing") > 0 {
					switch s, ok := span[c.Name]; {
					case ok:
						v = rapid.Int64Range(s[0], s[1]).Draw(t, c.Name)
					case c.Type == catalog.Bool:
						v = rapid.Bool().Draw(t, c.Name)
					default:
						v = rapid.SampledFrom(oneOf[c.Name]).Draw(t, c.Name)
					}
				}
				row = append(row, v)
			}
			x.rows = append(x.rows, row)
		}
		out[in.id] = x
	}
	return out
}

// drawSpec draws a question.
func drawSpec(t *rapid.T) query.Spec {
	s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "stays"}}}
	labels := map[string][]string{
		"v.code": {"I", "I63.9", "missing", "other"}, "v.code chapter": {"I", "stroke", "other", "missing"}, "v.code list": {"a", "b", "other"}, "v.day year": {"2020", "2025", "missing"},
		"v.day": {"2020-01-01", "missing"}, "v.born age": {"<0", "18-60", "≥60"}, "v.born leap": {"<1", "1-4"}, "v.fee size": {"<-5", "≥100", "missing"}, "v.fee": {"0.05", "-1.00", "missing"},
		"v.nights": {"0", "-2"}, "v.rate": {"0.000", "-0.001", "missing"}, "v.paid": {"true", "missing"},
	}
	values := []string{"v.fee", "v.nights", "v.rate"}
	join := func() query.JoinKind { return rapid.SampledFrom([]query.JoinKind{"", query.LeftJoin}).Draw(t, "join") }
	if rapid.Bool().Draw(t, "people") {
		s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v", Join: join()})
		labels["p.street"], labels["p.born age"] = []string{"k", "missing"}, []string{"<18", "missing"}
		values = append(values, "p.income")
		if rapid.Bool().Draw(t, "streets") {
			s.Inputs = append(s.Inputs, query.Input{Alias: "z", Dataset: "streets", With: "p", Join: join(), On: []query.Key{{Left: "street", Right: "street"}}})
			labels["z.zone"] = []string{"n", "missing"}
		}
	}
	if rapid.Bool().Draw(t, "places") {
		s.Inputs = append(s.Inputs, query.Input{Alias: "h", Dataset: "places", With: "v", Join: join(), On: []query.Key{{Left: "place", Right: "place"}, {Left: "wing", Right: "wing"}},
			Subject: rapid.IntRange(0, 3).Draw(t, "same subject") == 0})
		labels["h.level"] = []string{"1", "2"}
		values = append(values, "h.rent")
	}
	var refs []string
	for ref := range labels {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	for range rapid.IntRange(0, 2).Draw(t, "filters") {
		ref := rapid.SampledFrom(refs).Draw(t, "filter")
		col, bin, _ := strings.Cut(ref, " ")
		s.Filters = append(s.Filters, query.Filter{Column: col, Bin: sandbox.BinID(bin), Not: rapid.Bool().Draw(t, "not"),
			In: rapid.SliceOfNDistinct(rapid.SampledFrom(labels[ref]), 1, -1, rapid.ID[string]).Draw(t, "in")})
	}
	for n, ref := range rapid.SliceOfNDistinct(rapid.SampledFrom(refs), 0, 3, rapid.ID[string]).Draw(t, "dimensions") {
		col, bin, _ := strings.Cut(ref, " ")
		s.Dimensions = append(s.Dimensions, query.Dimension{Column: col, Bin: sandbox.BinID(bin), As: fmt.Sprint("d", n)})
	}
	for n := range rapid.IntRange(1, 4).Draw(t, "measures") {
		m := drawMeasure(t, values, refs)
		m.As = fmt.Sprint("m", n)
		with := s
		if with.Measures = append(slices.Clone(s.Measures), m); with.Validate() == nil { // a measure stands once
			s = with
		}
	}
	return s
}

func drawMeasure(t *rapid.T, values, refs []string) query.Measure {
	m := query.Measure{Func: rapid.SampledFrom(sandbox.MeasureFuncs).Filter(func(f sandbox.MeasureFunc) bool { return f != sandbox.Plain }).Draw(t, "function")}
	columns := rapid.SliceOfNDistinct(rapid.SampledFrom(values), 3, 3, rapid.ID[string]).Draw(t, "columns")
	switch m.Func {
	case sandbox.Count, sandbox.Subjects:
	case sandbox.Distinct, sandbox.Histogram:
		bins := slices.DeleteFunc(slices.Clone(refs), func(r string) bool {
			return m.Func == sandbox.Histogram && (!strings.Contains(r, " ") || strings.HasSuffix(r, " year"))
		})
		var bin string
		m.Column, bin, _ = strings.Cut(rapid.SampledFrom(bins).Draw(t, "labels"), " ")
		m.Bin = sandbox.BinID(bin)
	case sandbox.Quantile:
		m.Column, m.Q = columns[0], rapid.SampledFrom([]int{1, 250, 333, 500, 900, 999}).Draw(t, "q")
	case sandbox.Dot:
		m.Column, m.With = columns[0], columns[1:rapid.IntRange(1, 2).Draw(t, "factors")]
	case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
		m.Column, m.With = columns[0], columns[1:2]
	case sandbox.Linear:
		m.Column, m.With = columns[0], columns[1:rapid.IntRange(2, 3).Draw(t, "regressors")]
	case sandbox.Logistic:
		m.Column, m.With = "v.paid", columns[:rapid.IntRange(1, 2).Draw(t, "regressors")]
	default:
		m.Column = columns[0]
	}
	return m
}

// create makes the table in DuckDB.
func (x *drawnTable) create(ctx context.Context, db *sql.DB) error {
	cols := []string{"_s BIGINT"}
	for _, c := range x.set.Columns[1:] {
		cols = append(cols, fmt.Sprintf("%q %s", c.Name, map[catalog.Type]string{catalog.Text: "VARCHAR", catalog.Date: "DATE", catalog.Bool: "BOOLEAN"}[c.Type]))
		if c.Type == catalog.Int || c.Type == catalog.Money || c.Type == catalog.Number {
			cols[len(cols)-1] += "BIGINT"
		}
	}
	text := fmt.Sprintf("CREATE OR REPLACE TABLE %s (%s);", x.set.ID, strings.Join(cols, ", "))
	var rows []string
	for _, row := range x.rows {
		var values []string
		for i, v := range row {
			switch v := v.(type) {
			case nil:
				values = append(values, "NULL")
			case string:
				values = append(values, quoted(v))
			default:
				if values = append(values, fmt.Sprint(v)); x.set.Columns[i].Type == catalog.Date {
					values[i] = fmt.Sprintf("DATE '1970-01-01' + (%d)", v)
				}
			}
		}
		rows = append(rows, "("+strings.Join(values, ", ")+")")
	}
	if len(rows) > 0 {
		text += fmt.Sprintf(" INSERT INTO %s VALUES %s", x.set.ID, strings.Join(rows, ", "))
	}
	_, err := db.ExecContext(ctx, text)
	return err
}

// records gives the table to the engine in batches of so many rows.
func (x *drawnTable) records(size int) []arrow.Record {
	fields := append(batch.Schema(x.set).Fields()[1:], arrow.Field{Name: columnar.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	out := []arrow.Record{b.NewRecord()} // an empty batch stands first
	for n, row := range x.rows {
		for i, v := range row[1:] {
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				appendOr(f, f.Append, v)
			case *array.Int64Builder:
				appendOr(f, f.Append, v)
			case *array.BooleanBuilder:
				appendOr(f, f.Append, v)
			case *array.Date32Builder:
				appendOr(f, func(d int64) { f.Append(arrow.Date32(d)) }, v)
			}
		}
		var p [16]byte
		binary.LittleEndian.PutUint64(p[4:], uint64(row[0].(int64)+1)*0x9e3779b97f4a7c15)
		b.Field(len(fields) - 1).(*array.FixedSizeBinaryBuilder).Append(p[:])
		if (n+1)%size == 0 || n == len(x.rows)-1 {
			out = append(out, b.NewRecord())
		}
	}
	return out
}

func appendOr[T any](b array.Builder, add func(T), v any) {
	if v == nil {
		b.AppendNull()
		return
	}
	add(v.(T))
}

// beta lists the coefficients of a logistic regression by cell, or nothing where no cell has any.
func beta(a *sandbox.Answer, at, n int) string {
	var rows []string
	for i := range a.Cells {
		c := &a.Cells[i]
		if c.Missing(at) {
			continue
		}
		cols := []string{fmt.Sprintf("%d AS cell", i)}
		for d, l := range c.Labels {
			cols = append(cols, fmt.Sprintf("%s AS d%d", quoted(l), d))
		}
		for k := range n {
			cols = append(cols, fmt.Sprintf("%d / 1e6 AS b%d", c.Values[at+k], k))
		}
		rows = append(rows, "SELECT "+strings.Join(cols, ", "))
	}
	return strings.Join(rows, " UNION ALL ")
}

// TestEngineEqualsDuckDB asks random questions of both programs: every measure, joins of both kinds, missing values, dates and bins. Values
// and evidence of every cell agree as held says. DuckDB has no logistic regression: it is given the engine's coefficients and finds
// the likelihood's derivatives zero within their rounding.
func TestEngineEqualsDuckDB(t *testing.T) {
	ctx := t.Context()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "SET threads = 1"); err != nil {
		t.Fatal(err)
	}
	sets := drawnSets()
	var all []catalog.Dataset
	for _, d := range sets {
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	seen, logistic := map[sandbox.MeasureFunc]int{}, 0
	rapid.Check(t, func(t *rapid.T) {
		tables, s := drawTables(t), drawSpec(t)
		d, reasons := query.Derive(s, sets, listed(all...))
		if !d.Complete() {
			t.Fatalf("refused: %+v", reasons)
		}
		plan := columnar.Plan{Derivation: d}
		for _, in := range s.Inputs {
			if err := tables[in.Dataset].create(ctx, db); err != nil {
				t.Fatal(err)
			}
			plan.Inputs = append(plan.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
		}
		size := rapid.IntRange(1, 50).Draw(t, "batch")
		a, err := columnar.Run(ctx, memory.DefaultAllocator, plan, func(_ context.Context, id sandbox.DatasetID, _ []string) (batch.Reader, error) {
			return &records{all: tables[id].records(size)}, nil
		}, columnar.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		tr := &translator{s, d, sets}
		if len(a.Cells) == 0 {
			var n int
			if err := db.QueryRowContext(ctx, "SELECT count(*) FROM ("+tr.joined()+")").Scan(&n); err != nil || n != 0 {
				t.Fatalf("the engine has no group, DuckDB %d rows (%v)", n, err)
			}
			return
		}
		if err := held(ctx, db, tr.sql(), d, a); err != nil {
			t.Fatalf("%v\n%s", err, tr.sql())
		}
		at := 0
		for j, m := range s.Measures {
			seen[m.Func] += len(a.Cells)
			if m.Func == sandbox.Logistic {
				logistic += converged(ctx, t, db, tr, a, j, at)
			}
			for at < len(d.Outputs()) && d.Outputs()[at].Measure == j {
				at++
			}
		}
	})
	for _, f := range sandbox.MeasureFuncs {
		if f != sandbox.Plain && seen[f] == 0 {
			t.Errorf("no drawn question had a cell with %s", f)
		}
	}
	if logistic == 0 {
		t.Error("no drawn question had coefficients of a logistic regression")
	}
}

// converged holds the coefficients of measure j, whose outputs begin at at, and gives how many cells had any.
func converged(ctx context.Context, t *rapid.T, db *sql.DB, tr *translator, a *sandbox.Answer, j, at int) (n int) {
	k := 1 + len(tr.s.Measures[j].With)
	b := beta(a, at, k)
	if b == "" {
		return 0
	}
	rows, err := db.QueryContext(ctx, tr.scores(j, b))
	if err != nil {
		t.Fatalf("%v\n%s", err, tr.scores(j, b))
	}
	defer rows.Close()
	row, ptr := make([]float64, 2*k), make([]any, 2*k)
	for i := range row {
		ptr[i] = &row[i]
	}
	for ; rows.Next(); n++ {
		if err := rows.Scan(ptr...); err != nil {
			t.Fatal(err)
		}
		for i := range k {
			if row[2*i] > row[2*i+1] {
				t.Fatalf("measure %d: the likelihood still rises along coefficient %d", j, i)
			}
		}
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	return n
}

// TestHeldTellsApart asks DuckDB slightly other questions: each is told apart from the engine's on some drawn tables, so agreement says
// something.
func TestHeldTellsApart(t *testing.T) {
	ctx := t.Context()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	sets := drawnSets()
	var all []catalog.Dataset
	for _, d := range sets {
		all = append(all, d)
	}
	type asked struct {
		tables map[sandbox.DatasetID]*drawnTable
		s      query.Spec
	}
	questions := rapid.Custom(func(t *rapid.T) asked { return asked{drawTables(t), drawSpec(t)} })
	others := [][2]string{{"var_samp", "var_pop"}, {"stddev_samp", "stddev_pop"}, {"covar_samp", "covar_pop"}, {"THEN corr(", "THEN -corr("}, {"avg(", "max("},
		{"min(x", "max(x"}, {"max(x", "min(x"}, {"quantile_disc", "quantile_cont"}, {"count(DISTINCT y", "count(y"}, {"count(DISTINCT s)", "count(s)"}, {"count(*) AS n", "count(*) + 1 AS n"},
		{" LEFT JOIN ", " JOIN "}, {"starts_with(", "contains("}, {"regr_slope", "regr_intercept"}, {"::DOUBLE / ", "::DOUBLE / 2 / "}, {"nullif(", "coalesce(1 + "}, {"NOT IN", "IN"},
		{" <= v", " < v"}, {" >= v", " > v"}, {"THEN 1 ELSE 0 END) FILTER", "THEN 2 ELSE 0 END) FILTER"}, {"(2, 28) <", "(2, 28) <="}, {"(2, 29) <", "(2, 28) <"},
		{" IS NOT NULL", " IS NOT NULL AND false"}, {"coalesce(sum(x", "1 + coalesce(sum(x"}, {"list_sort(list(c0)", "list_sort(list(-c0)"}, {" < t", " <= t"}, {" > t", " >= t"},
		{"least(h", "least(1 + h"}}
	found := make([]bool, len(others))
	for seed := 0; seed < 3000 && slices.Contains(found, false); seed++ {
		q := questions.Example(seed)
		d, _ := query.Derive(q.s, sets, listed(all...))
		tr := &translator{q.s, d, sets}
		text := tr.sql()
		var which []int
		for i, o := range others {
			if !found[i] && strings.Contains(text, o[0]) {
				which = append(which, i)
			}
		}
		if len(which) == 0 {
			continue
		}
		plan := columnar.Plan{Derivation: d}
		for _, in := range q.s.Inputs {
			if err := q.tables[in.Dataset].create(ctx, db); err != nil {
				t.Fatal(err)
			}
			plan.Inputs = append(plan.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
		}
		a, err := columnar.Run(ctx, memory.DefaultAllocator, plan, func(_ context.Context, id sandbox.DatasetID, _ []string) (batch.Reader, error) {
			return &records{all: q.tables[id].records(7)}, nil
		}, columnar.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range which {
			err := held(ctx, db, strings.ReplaceAll(text, others[i][0], others[i][1]), d, a)
			if found[i] = err != nil; found[i] && !strings.Contains(err.Error(), "the two answers differ") && !strings.Contains(err.Error(), "the engine") {
				t.Fatalf("%q: %v", others[i][1], err)
			}
		}
	}
	for i, ok := range found {
		if !ok {
			t.Errorf("no drawn table tells %q from %q", others[i][0], others[i][1])
		}
	}
}
