package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
	"github.com/opdomain/opdomain/sandbox/vault"
)

const (
	rowsPerSubject = 10
	regions        = 300
	firstDay       = 18262 // 2020-01-01
	days           = 1096  // to 2022-12-31
	prime          = 4294967291
)

// draw gives the k-th number of row i, below n: the same arithmetic as drawn writes for DuckDB, within 63 bits up to 10^9 rows.
func draw(i, k, n int64) int64 { return (i + 1) * factors[k] % prime % n }

var factors = [...]int64{2654435761, 2246822519, 3266489917, 668265263, 374761393}

func drawn(k, n int64) string {
	return fmt.Sprintf("((i + 1) * %d %% %d %% %d)", factors[k], int64(prime), n)
}

// claims is the table of the questions: a person's rows, a region of 300, a day of three years, an amount in fen. key is the person's
// number once more, as a public key, for the question that groups by a million of them.
func claims() catalog.Dataset {
	return catalog.Dataset{ID: "claims", Unit: "unit", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 2},
			{Name: "region", Type: catalog.Text, Grade: 2, Public: true},
			{Name: "day", Type: catalog.Date, Grade: 2},
			{Name: "amount", Type: catalog.Money, Grade: 2},
			{Name: "key", Type: catalog.Int, Grade: 2, Public: true},
		},
		Bins: []catalog.Bin{
			{ID: "year", Column: "day", Kind: catalog.Year},
			{ID: "size", Column: "amount", Kind: catalog.Amount, Edges: []int64{10000}},
		}}
}

// layout says in which order the rows of a person stand.
type layout struct {
	name      string
	clustered bool
	draw      func(i, subjects int64) int64
	sql       func(subjects int64) string
	// pseudonym gives the first half of a person's.
	pseudonym func(who, subjects uint64) uint64
}

var layouts = []layout{
	{"clustered, as the vault keeps them", true, func(i, _ int64) int64 { return i / rowsPerSubject }, func(int64) string { return fmt.Sprintf("(i // %d)", rowsPerSubject) },
		func(who, subjects uint64) uint64 { return math.MaxUint64 / subjects * who }},
	{"scattered", false, func(i, n int64) int64 { return draw(i, 0, n) }, func(n int64) string { return drawn(0, n) },
		func(who, _ uint64) uint64 { return (who + 1) * 0x9e3779b97f4a7c15 }},
}

// regionOf is the home region of a person in nine rows of ten.
func regionOf(i, who int64) int64 {
	if draw(i, 1, 10) == 0 {
		return draw(i, 2, regions)
	}
	return who * 7919 % regions
}

// load makes one table in both programs.
func load(ctx context.Context, db *sql.DB, l layout, rows int) ([]arrow.Record, error) {
	subjects := int64(max(1, rows/rowsPerSubject))
	if _, err := db.ExecContext(ctx, `CREATE OR REPLACE TABLE claims AS `+claimsSQL(l.sql(subjects), subjects, 0, int64(rows))); err != nil {
		return nil, err
	}
	names := make([]string, regions)
	for r := range names {
		names[r] = fmt.Sprintf("4403%03d", r)
	}
	fields := append(batch.Schema(claims()).Fields()[1:], arrow.Field{Name: columnar.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	var out []arrow.Record
	var p [16]byte
	for i := range int64(rows) {
		who := min(l.draw(i, subjects), subjects-1)
		b.Field(0).(*array.StringBuilder).Append(names[regionOf(i, who)])
		b.Field(1).(*array.Date32Builder).Append(arrow.Date32(firstDay + draw(i, 3, days)))
		b.Field(2).(*array.Int64Builder).Append(draw(i, 4, 20000))
		b.Field(3).(*array.Int64Builder).Append(who)
		// A keyed pseudonym looks random; a version is kept in their order.
		binary.BigEndian.PutUint64(p[:], l.pseudonym(uint64(who), uint64(subjects)))
		binary.BigEndian.PutUint64(p[8:], uint64(who+1)*0xc2b2ae3d27d4eb4f)
		b.Field(4).(*array.FixedSizeBinaryBuilder).Append(p[:])
		if (i+1)%batchRows == 0 || i == int64(rows)-1 {
			out = append(out, b.NewRecord())
		}
	}
	return out, nil
}

// records reads prepared batches.
type records struct {
	all []arrow.Record
	at  int
}

func (r *records) Schema() *arrow.Schema { return r.all[0].Schema() }

func (r *records) Next(context.Context) (arrow.Record, error) {
	if r.at == len(r.all) {
		return nil, io.EOF
	}
	r.at++
	r.all[r.at-1].Retain()
	return r.all[r.at-1], nil
}

func (r *records) Close() error { return nil }

// question is one question in both languages. DuckDB's text gives the label, the rows and the sum of each group in its first columns.
type question struct {
	name string
	spec query.Spec
	text string // without evidence
	with string // with the same evidence
}

// evident wraps a question in what the gate needs of every cell: distinct subjects, and the largest two of them. inner groups by
// the label and the subject.
func evident(label, where string) string {
	by := ""
	if label != "''" {
		by = label + ", "
	}
	return `SELECT l, sum(n)::BIGINT, sum(s)::BIGINT, count(*), max(s, 2), max(n, 2) FROM (SELECT ` + label + ` AS l, subject, count(*) AS n, sum(amount)::BIGINT AS s FROM claims ` +
		where + ` GROUP BY ` + by + `subject) GROUP BY l`
}

func questions() []question {
	one := []query.Input{{Alias: "c", Dataset: "claims"}}
	sums := []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: "c.amount", As: "sum"}}
	third := []query.Filter{{Column: "c.day", Bin: "year", In: []string{"2020", "2021"}}, {Column: "c.amount", Bin: "size", In: []string{"≥10000"}}}
	const where = `WHERE day < DATE '2022-01-01' AND amount >= 10000`
	spec := func(f []query.Filter, d ...query.Dimension) query.Spec {
		return query.Spec{Scenario: "s", Purpose: "p", Inputs: one, Filters: f, Dimensions: d, Measures: sums}
	}
	region := query.Dimension{Column: "c.region", As: "region"}
	return []question{
		{"filter day and amount (33% pass), group by 300 regions, count + sum", spec(third, region),
			`SELECT region, count(*), sum(amount)::BIGINT FROM claims ` + where + ` GROUP BY region`, evident("region", where)},
		{"no filter, group by 300 regions, count + sum", spec(nil, region),
			`SELECT region, count(*), sum(amount)::BIGINT FROM claims GROUP BY region`, evident("region", "")},
		{"filter day and amount, one cell (Q6 shape)", spec(third),
			`SELECT '', count(*), sum(amount)::BIGINT FROM claims ` + where, evident("''", where)},
		{"group by year × size (Q1 shape, 8 cells)", spec(nil, query.Dimension{Column: "c.day", Bin: "year", As: "year"}, query.Dimension{Column: "c.amount", Bin: "size", As: "size"}),
			`SELECT year(day) || CASE WHEN amount < 10000 THEN '<10000' ELSE '≥10000' END AS l, count(*), sum(amount)::BIGINT FROM claims GROUP BY year(day), amount < 10000`,
			`SELECT y || CASE WHEN a THEN '<10000' ELSE '≥10000' END AS l, sum(n)::BIGINT, sum(s)::BIGINT, count(*), max(s, 2), max(n, 2) FROM (SELECT year(day) AS y, amount < 10000 AS a, subject, count(*) AS n, sum(amount)::BIGINT AS s FROM claims GROUP BY year(day), amount < 10000, subject) GROUP BY y, a`},
		{"group by a key of a tenth as many values as rows", spec(nil, query.Dimension{Column: "c.key", As: "key"}),
			`SELECT key::VARCHAR, count(*), sum(amount)::BIGINT FROM claims GROUP BY key`, evident("key", "")},
	}
}

// engine measures the questions beside DuckDB.
func engine(ctx context.Context, db *sql.DB, rows, repeat int) (string, error) {
	var out strings.Builder
	fmt.Fprintf(&out, "\n## Questions, %d rows of %d subjects\n\nA person's number, a region of %d as text, a day of three years, an amount in fen; DuckDB has them in a native table in memory and "+
		"groups by an integer subject, the engine in Arrow batches with pseudonyms of 16 bytes. Evidence: for each group the distinct subjects and what each of them adds; DuckDB keeps only the count of "+
		"subjects and the largest two, the engine every subject's part. Rates are Mrows a second of processor time.\n\n"+
		"| question | subjects | DuckDB | DuckDB, with evidence | engine, with evidence | ÷ DuckDB with evidence | ÷ DuckDB without |\n|---|---|---:|---:|---:|---:|---:|\n", rows, max(1, rows/rowsPerSubject), regions)
	d := claims()
	list := []sandbox.ListItem{{Dataset: d.ID}}
	for _, c := range d.Columns {
		list[0].Columns = append(list[0].Columns, sandbox.ColumnRule{Column: c.Name, Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum, sandbox.Mean}})
	}
	last := ""
	for _, l := range layouts {
		recs, err := load(ctx, db, l, rows)
		if err != nil {
			return "", err
		}
		for _, q := range questions() {
			derived, reasons := query.Derive(q.spec, map[sandbox.DatasetID]catalog.Dataset{d.ID: d}, list)
			if !derived.Complete() {
				return "", fmt.Errorf("%s is refused: %s", q.name, reasons[0].Code)
			}
			plan := columnar.Plan{Derivation: derived, Inputs: []sandbox.InputVersion{{Dataset: d.ID, Version: 1}}}
			var answer *sandbox.Answer
			ours := func(ctx context.Context) (err error) {
				answer, err = columnar.Run(ctx, memory.DefaultAllocator, plan, func(context.Context, sandbox.DatasetID, []string) (batch.Reader, error) {
					return &records{all: recs}, nil
				},
					columnar.Limits{MaxCells: 1 << 24})
				return err
			}
			if err := ours(ctx); err != nil {
				return "", err
			}
			if err := same(ctx, db, q.with, answer); err != nil {
				return "", fmt.Errorf("%s, %s: %w", q.name, l.name, err)
			}
			rates := []float64{}
			for _, run := range []func(context.Context) error{drained(db, q.text), drained(db, q.with), ours} {
				rate, err := best(ctx, run, rows, repeat)
				if err != nil {
					return "", err
				}
				rates = append(rates, rate)
			}
			fmt.Fprintf(&out, "| %s | %s | %.1f | %.1f | %.1f | %.2f | %.2f |\n", q.name, l.name, rates[0]/1e6, rates[1]/1e6, rates[2]/1e6, rates[2]/rates[1], rates[2]/rates[0])
		}
		if l.clustered {
			lines, err := stored(ctx, db, recs, rows, repeat, list)
			if err != nil {
				return "", err
			}
			last = lines
		}
		for _, r := range recs {
			r.Release()
		}
		runtime.GC()
	}
	return out.String() + last, nil
}

// stored measures the same questions from files: DuckDB's Parquet in plain, and a version in the vault under SM4-GCM, on one core.
func stored(ctx context.Context, db *sql.DB, recs []arrow.Record, rows, repeat int, list []sandbox.ListItem) (string, error) {
	dir, err := os.MkdirTemp("", "opdomain-peers-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	parquet := filepath.Join(dir, "claims.parquet")
	if _, err := db.ExecContext(ctx, `COPY claims TO '`+parquet+`' (FORMAT parquet)`); err != nil {
		return "", err
	}
	k, err := keys.Create(filepath.Join(dir, "keys"), []byte("benchmark"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		return "", err
	}
	defer k.Close()
	v, err := vault.Open(filepath.Join(dir, "vault"), k, rand.Reader)
	if err != nil {
		return "", err
	}
	d := claims()
	w, err := v.Begin(ctx, d.Unit, d.ID, "run-1", batch.Schema(d), sandbox.Grade2)
	if err != nil {
		return "", err
	}
	for _, rec := range recs {
		cols := make([]arrow.Array, 0, rec.NumCols())
		empty := array.NewStringBuilder(memory.DefaultAllocator)
		who := make([]sandbox.Pseudonym, rec.NumRows())
		for i := range who {
			empty.Append("")
			copy(who[i][:], rec.Column(4).(*array.FixedSizeBinary).Value(i))
		}
		cols = append(cols, empty.NewArray())
		cols = append(cols, rec.Columns()[:4]...)
		if err := w.Write(ctx, array.NewRecord(batch.Schema(d), cols, rec.NumRows()), who); err != nil {
			return "", errors.Join(err, w.Abort())
		}
	}
	if _, err := w.Commit(ctx); err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nThe same table from files: Parquet in plain (snappy), and a version in the vault under SM4-GCM (%s), clustered; all cores.\n\n"+
		"| question | DuckDB, Parquet | DuckDB, Parquet, with evidence | vault, with evidence | ÷ DuckDB with evidence | ÷ DuckDB without |\n|---|---:|---:|---:|---:|---:|\n", sm.GCMEngine())
	for _, q := range questions() {
		derived, _ := query.Derive(q.spec, map[sandbox.DatasetID]catalog.Dataset{d.ID: d}, list)
		ours := func(ctx context.Context) error {
			_, err := run.Answer(ctx, memory.DefaultAllocator, v, derived, []sandbox.InputVersion{{Dataset: d.ID, Version: 1}}, columnar.Limits{MaxCells: 1 << 24})
			return err
		}
		from := func(text string) string {
			return strings.ReplaceAll(text, "FROM claims", "FROM read_parquet('"+parquet+"')")
		}
		var rates []float64
		for _, run := range []func(context.Context) error{drained(db, from(q.text)), drained(db, from(q.with)), ours} {
			rate, err := best(ctx, run, rows, repeat)
			if err != nil {
				return "", err
			}
			rates = append(rates, rate)
		}
		fmt.Fprintf(&out, "| %s | %.1f | %.1f | %.1f | %.2f | %.2f |\n", q.name, rates[0]/1e6, rates[1]/1e6, rates[2]/1e6, rates[2]/rates[1], rates[2]/rates[0])
	}
	return out.String(), nil
}

// drained runs a question inside DuckDB: its groups are counted there, so that no row crosses into Go.
func drained(db *sql.DB, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, `CREATE OR REPLACE TEMP TABLE answer AS `+text)
		return err
	}
}

// same holds DuckDB's groups to the engine's: rows, sums, subjects and the largest two.
func same(ctx context.Context, db *sql.DB, text string, a *sandbox.Answer) error {
	if err := drained(db, text)(ctx); err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, `SELECT l::VARCHAR, #2, #3, #4, #5[1], coalesce(#5[2], 0) FROM answer ORDER BY l::VARCHAR`)
	if err != nil {
		return err
	}
	defer rows.Close()
	cells := slices.SortedFunc(slices.Values(a.Cells), func(x, y sandbox.Cell) int {
		return strings.Compare(strings.Join(x.Labels, ""), strings.Join(y.Labels, ""))
	})
	i := 0
	for ; rows.Next(); i++ {
		var l string
		var n, s, subjects, top, second int64
		if err := rows.Scan(&l, &n, &s, &subjects, &top, &second); err != nil {
			return err
		}
		if i >= len(cells) {
			return fmt.Errorf("the engine has %d groups, DuckDB more", len(cells))
		}
		c := cells[i]
		var x, y int64
		for _, v := range c.Contributions[1] {
			if v > x {
				x, y = v, x
			} else {
				y = max(y, v)
			}
		}
		if strings.Join(c.Labels, "") != l || c.Values[0] != n || c.Values[1] != s || int64(len(c.Contributors)) != subjects || x != top || y != second {
			return fmt.Errorf("group %d: the two answers differ", i)
		}
	}
	if i != len(cells) {
		return fmt.Errorf("the engine has %d groups, DuckDB %d", len(cells), i)
	}
	return rows.Err()
}
