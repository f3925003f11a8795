package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"runtime"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/duckdb/duckdb-go/v2"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
)

// peer is one question of a published benchmark in both languages.
//
// with gives, in columns named so: l0, l1 … the labels; p the distinct subjects; v0, v1 … the outputs; t0, t1 … the largest two
// contributions to each; h0, h1 … the thinner side of outputs that are not sums. It may also give n, the rows; k0, k1 … the rows with no
// input missing; c0, c1 … all contributions, ascending. Columns it does not give are not compared.
type peer struct {
	name  string
	spec  query.Spec
	plain string // as published, without evidence
	with  string // with the same evidence
	// exact turns with into a text over the view of integers, beside the table's name; nil: nothing more.
	exact *strings.Replacer
	// more checks what the outputs lead to beyond themselves; nil: nothing.
	more func(context.Context, *sql.DB, *sandbox.Answer) error
}

// fixture is a table both programs hold. DuckDB holds it twice: as published, which is timed, and as a view of the same values in
// the scaled integers of the catalogue, where sums are exact and are held to the engine's.
type fixture struct {
	dataset catalog.Dataset
	table   string // as published
	exact   string // view of integers
	records []arrow.Record
}

func (f *fixture) release() {
	for _, r := range f.records {
		r.Release()
	}
	f.records = nil
	runtime.GC()
}

// listed is a scenario's list that lets a question use every column in every way but as rows.
func listed(sets ...catalog.Dataset) []sandbox.ListItem {
	var out []sandbox.ListItem
	for _, d := range sets {
		item := sandbox.ListItem{Dataset: d.ID}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Funcs: sandbox.MeasureFuncs,
				Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
		}
		out = append(out, item)
	}
	return out
}

// ask is a question over one dataset under the alias "x".
func ask(d catalog.Dataset, filters []query.Filter, dims []query.Dimension, measures ...query.Measure) query.Spec {
	return query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "x", Dataset: d.ID}}, Filters: filters, Dimensions: dims, Measures: measures}
}

// by groups by public columns themselves.
func by(columns ...string) []query.Dimension {
	var out []query.Dimension
	for _, c := range columns {
		out = append(out, query.Dimension{Column: "x." + c, As: "by " + c})
	}
	return out
}

func of(f sandbox.MeasureFunc, column string, with ...string) query.Measure {
	m := query.Measure{Func: f, As: strings.Join(append([]string{string(f), column}, with...), " ")}
	if column != "" {
		m.Column = "x." + column
	}
	for _, w := range with {
		m.With = append(m.With, "x."+w)
	}
	if f == sandbox.Quantile {
		m.Q = 500
	}
	return m
}

// evidently writes a question whose evidence comes from one grouping by label and subject: inner computes what a subject adds, outer
// puts them together.
func evidently(from, where string, labels []string, inner, outer string) string {
	var first, names []string
	for i, l := range labels {
		first, names = append(first, fmt.Sprintf("%s AS l%d", l, i)), append(names, l)
	}
	group := ""
	if len(labels) > 0 {
		group = " GROUP BY " + strings.Join(labels, ", ")
	}
	return fmt.Sprintf("SELECT %s FROM (SELECT %s FROM %s %s GROUP BY %s)%s",
		strings.Join(append(first, "count(*) AS p", outer), ", "), strings.Join(append(names, "subject", inner), ", "), from, where,
		strings.Join(append(slices.Clone(labels), "subject"), ", "), group)
}

// answered runs the engine on one core.
func (f *fixture) answered(ctx context.Context, d query.Derivation, lim columnar.Limits) (*sandbox.Answer, error) {
	plan := columnar.Plan{Derivation: d, Inputs: []sandbox.InputVersion{{Dataset: f.dataset.ID, Version: 1}}}
	return columnar.Run(ctx, memory.DefaultAllocator, plan, func(context.Context, sandbox.DatasetID, []string) (batch.Reader, error) {
		return &records{all: f.records}, nil
	}, lim)
}

// wide are the limits of the measurements; the product's own are the defaults.
var wide = columnar.Limits{MaxCells: 1 << 24}

// tabled writes a row of a table of peers: values are compared first, a difference is an error.
func (f *fixture) tabled(ctx context.Context, db *sql.DB, out io.Writer, p peer, layout string, rows, repeat int) error {
	d, reasons := query.Derive(p.spec, map[sandbox.DatasetID]catalog.Dataset{f.dataset.ID: f.dataset}, listed(f.dataset))
	if !d.Complete() {
		return fmt.Errorf("%s is refused: %s", p.name, reasons[0].Code)
	}
	a, err := f.answered(ctx, d, columnar.Limits{})
	limits := "yes"
	if sandbox.KindOf(err) == sandbox.TooLarge {
		limits = "no: " + told(err)
		a, err = f.answered(ctx, d, wide)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	cells := len(a.Cells)
	text := strings.ReplaceAll(p.with, "FROM "+f.table+" ", "FROM "+f.exact+" ")
	if p.exact != nil {
		text = p.exact.Replace(text)
	}
	if err := held(ctx, db, text, d, a); err != nil {
		return fmt.Errorf("%s, %s: %w", p.name, layout, err)
	}
	if p.more != nil {
		if err := p.more(ctx, db, a); err != nil {
			return fmt.Errorf("%s, %s: %w", p.name, layout, err)
		}
	}
	a = nil
	ours := func(ctx context.Context) error {
		_, err := f.answered(ctx, d, wide)
		return err
	}
	var rates []float64
	for _, run := range []func(context.Context) error{drained(db, p.plain), drained(db, p.with), ours} {
		rate, err := best(ctx, run, rows, repeat)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		rates = append(rates, rate)
	}
	fmt.Fprintf(out, "| %s | %s | %d | %s | %.1f | %.1f | %.1f | %.2f | %.2f |\n", p.name, layout, cells, limits, rates[0]/1e6, rates[1]/1e6, rates[2]/1e6, rates[2]/rates[1], rates[2]/rates[0])
	return nil
}

const peerHead = "| question | subjects | groups | within the default limits | DuckDB | DuckDB, with evidence | engine, with evidence | ÷ DuckDB with evidence | ÷ DuckDB without |\n|---|---|---:|---|---:|---:|---:|---:|---:|\n"

// told gives what an error of the engine says, without the place.
func told(err error) string {
	var e *sandbox.Error
	if errors.As(err, &e) {
		for e.Err != nil {
			if inner := (*sandbox.Error)(nil); errors.As(e.Err, &inner) {
				e = inner
				continue
			}
			break
		}
		return e.Detail
	}
	return err.Error()
}

// units gives for every output by how much DuckDB's value over integers in the columns' scaled units is multiplied to be in the
// output's unit.
func units(d query.Derivation) []float64 {
	scale := func(ref string) int {
		alias, name, _ := strings.Cut(ref, ".")
		for _, in := range d.Inputs {
			if in.Alias == alias {
				c, _ := in.Described.Column(name)
				switch c.Type {
				case catalog.Money:
					return 2
				case catalog.Number:
					return c.Scale
				}
			}
		}
		return 0
	}
	var out []float64
	for _, o := range d.Outputs() {
		m, u := d.Spec.Measures[o.Measure], 1.0
		switch o.Func {
		case sandbox.StdDev:
			u = 1e3
		case sandbox.Correlation:
			u = 1e6
		case sandbox.Ratio:
			u = 1e6 * math.Pow10(scale(m.With[0])-scale(m.Column))
		case sandbox.Linear:
			if o.Part == query.PartIntercept {
				u = 1e6 * math.Pow10(-scale(m.Column))
			} else if o.Part != query.PartDF {
				w := slices.IndexFunc(m.With, func(w string) bool { _, n, _ := strings.Cut(w, "."); return n == o.Part })
				u = 1e6 * math.Pow10(scale(m.With[w])-scale(m.Column))
			}
		}
		out = append(out, u)
	}
	return out
}

// equal compares a value with DuckDB's. Integers are equal. What DuckDB computes in double precision agrees within half a unit of the
// output, which the engine's rounding may take, and a part in 10^9 of the value, which the other's may.
func equal(ours int64, none bool, theirs any, unit float64) bool {
	switch v := theirs.(type) {
	case nil:
		return none
	case int64:
		return !none && unit == 1 && v == ours
	case int32:
		return !none && unit == 1 && int64(v) == ours
	case *big.Int:
		return !none && unit == 1 && v.IsInt64() && v.Int64() == ours
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return none
		}
		return !none && math.Abs(v*unit-float64(ours)) <= 0.5+1e-9*math.Abs(float64(ours))+1e-6
	case duckdb.Decimal:
		return !none && unit == 1 && v.Scale == 0 && v.Value.IsInt64() && v.Value.Int64() == ours
	}
	return false
}

// held compares the engine's answer with DuckDB's.
func held(ctx context.Context, db *sql.DB, text string, d query.Derivation, a *sandbox.Answer) error {
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	cells := make(map[string]*sandbox.Cell, len(a.Cells))
	for i := range a.Cells {
		cells[strings.Join(a.Cells[i].Labels, "\x1f")] = &a.Cells[i]
	}
	unit := units(d)
	row, ptr := make([]any, len(names)), make([]any, len(names))
	for i := range row {
		ptr[i] = &row[i]
	}
	n, compared := 0, 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(ptr...); err != nil {
			return err
		}
		var labels []string
		for i, name := range names {
			if name[0] == 'l' {
				labels = append(labels, fmt.Sprint(row[i]))
			}
		}
		c := cells[strings.Join(labels, "\x1f")]
		if c == nil {
			return fmt.Errorf("group %d of DuckDB is none of the engine's", n)
		}
		for i, name := range names {
			var m int
			if strings.ContainsRune("vthkc", rune(name[0])) {
				if _, err := fmt.Sscan(name[1:], &m); err != nil || m >= len(c.Values) {
					return fmt.Errorf("column %s names no output", name)
				}
			}
			ok := true
			switch name[0] {
			case 'p':
				ok = equal(int64(len(c.Contributors)), false, row[i], 1)
			case 'v':
				ok = equal(c.Values[m], c.Missing(m), row[i], unit[m])
			case 'n':
				ok = equal(c.Rows, false, row[i], 1)
			case 'k':
				ok = equal(c.NonMissing[m], false, row[i], 1)
			case 'c':
				all, _ := row[i].([]any)
				mine := slices.Sorted(slices.Values(c.Contributions[m]))
				ok = len(all) == len(mine)
				for j := range mine {
					ok = ok && equal(mine[j], false, all[j], 1)
				}
			case 'h':
				ok = equal(c.Thin[m], false, row[i], 1)
			case 't':
				top, _ := row[i].([]any)
				x, y := largest(c.Contributions[m])
				ok = len(top) > 0 && equal(x, false, top[0], 1) && (len(top) == 1 && len(c.Contributors) == 1 || len(top) == 2 && equal(y, false, top[1], 1))
			}
			if compared++; !ok {
				return fmt.Errorf("group %d: the two answers differ in %s", n, name)
			}
		}
	}
	if n != len(a.Cells) || compared == 0 {
		return fmt.Errorf("the engine has %d groups, DuckDB %d", len(a.Cells), n)
	}
	return rows.Err()
}

func largest(v []int64) (x, y int64) {
	x, y = math.MinInt64, math.MinInt64
	for _, e := range v {
		if e > x {
			x, y = e, x
		} else {
			y = max(y, e)
		}
	}
	return x, y
}

// printed makes a part of a function that gives its text.
func printed(text func(context.Context, *sql.DB, int, int) (string, error)) func(context.Context, *sql.DB, io.Writer, int, int) error {
	return func(ctx context.Context, db *sql.DB, out io.Writer, rows, repeat int) error {
		s, err := text(ctx, db, rows, repeat)
		fmt.Fprint(out, s)
		return err
	}
}

// published are the parts over tables of published benchmarks, in the order of a whole run.
var published = []string{"dbbench", "lineitem"}

// part runs one part by its name.
func part(ctx context.Context, db *sql.DB, out io.Writer, rows, repeat int, name string) error {
	run, ok := map[string]func(context.Context, *sql.DB, io.Writer, int, int) error{"kernels": printed(kernels), "questions": printed(engine), "dbbench": dbBenchmark, "lineitem": tpch, "stream": streamed}[name]
	if !ok {
		return fmt.Errorf("no part is called %q", name)
	}
	return run(ctx, db, out, rows, repeat)
}
