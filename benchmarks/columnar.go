package main

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

const (
	batchRows      = 32 << 10
	rowsPerSubject = 10
	regions        = 300
	firstDay       = 18262 // 2020-01-01
)

// claims is a table of the shape the engine meets most: codes, a date, an amount, one person's rows.
func claims() catalog.Dataset {
	var chapters []catalog.Group
	for c := 'A'; c <= 'U'; c++ {
		chapters = append(chapters, catalog.Group{Label: "chapter " + string(c), Codes: []string{string(c)}})
	}
	return catalog.Dataset{ID: "claims", Unit: "unit", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 2},
			{Name: "region", Type: catalog.Text, Grade: 2, Public: true},
			{Name: "icd10", Type: catalog.Text, Grade: 2},
			{Name: "day", Type: catalog.Date, Grade: 2},
			{Name: "amount", Type: catalog.Money, Grade: 2},
			{Name: "refund", Type: catalog.Money, Grade: 2, Nullable: true},
		},
		Bins: []catalog.Bin{
			{ID: "chapter", Column: "icd10", Kind: catalog.Prefix, Groups: chapters},
			{ID: "year", Column: "day", Kind: catalog.Year},
			{ID: "size", Column: "amount", Kind: catalog.Amount, Edges: []int64{10000}},
		}}
}

// persons is looked up by subject.
func persons() catalog.Dataset {
	return catalog.Dataset{ID: "persons", Unit: "unit", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 2},
			{Name: "born", Type: catalog.Date, Grade: 2},
		},
		Bins: []catalog.Bin{{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{18, 35, 60, 80}, At: "2026-01-01"}}}
}

// table is a dataset in memory.
type table struct {
	described catalog.Dataset
	schema    *arrow.Schema
	records   []arrow.Record
}

// columns gives a reader over the named columns, as a vault would.
func (t *table) columns(names []string) (batch.Reader, error) {
	r := &reader{}
	var fields []arrow.Field
	for _, name := range names {
		at := t.schema.FieldIndices(name)
		if len(at) != 1 {
			return nil, fmt.Errorf("no column %s", name)
		}
		fields = append(fields, t.schema.Field(at[0]))
	}
	r.schema = arrow.NewSchema(fields, nil)
	for _, rec := range t.records {
		var cols []arrow.Array
		for _, name := range names {
			cols = append(cols, rec.Column(t.schema.FieldIndices(name)[0]))
		}
		r.records = append(r.records, array.NewRecord(r.schema, cols, rec.NumRows()))
	}
	return r, nil
}

// bytes counts the Arrow bytes of the named columns.
func (t *table) bytes(names ...string) int64 {
	n := int64(0)
	for _, rec := range t.records {
		for _, name := range names {
			for _, b := range rec.Column(t.schema.FieldIndices(name)[0]).Data().Buffers() {
				if b != nil {
					n += int64(b.Len())
				}
			}
		}
	}
	return n
}

// reader gives prepared records, any number of times.
type reader struct {
	schema  *arrow.Schema
	records []arrow.Record
	at      int
}

func (r *reader) Schema() *arrow.Schema { return r.schema }

func (r *reader) Next(context.Context) (arrow.Record, error) {
	if r.at == len(r.records) {
		return nil, io.EOF
	}
	rec := r.records[r.at]
	r.at++
	rec.Retain()
	return rec, nil
}

func (r *reader) Close() error { r.at = 0; return nil }

// pseudonym stands for a keyed pseudonym: 16 bytes that look random.
func pseudonym(n int) []byte {
	r := rand.NewPCG(uint64(n), 0x9e3779b97f4a7c15)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, r.Uint64()), r.Uint64())
}

// inOrder stands for the pseudonyms of a version, which is kept in their order.
func inOrder(n int) []byte {
	return binary.LittleEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(n)<<24), rand.NewPCG(uint64(n), 1).Uint64())
}

// generate builds the tables; subject gives the subject of each row. Nine rows in ten are in the subject's home region.
func generate(rows int, subject func(row int) int, pseudonym func(int) []byte) map[sandbox.DatasetID]*table {
	rng := rand.New(rand.NewPCG(7, 7))
	c := &table{described: claims()}
	build(c, rows, func(b *array.RecordBuilder, who int) {
		b.Field(0).(*array.StringBuilder).Append("")
		region := who * 7919 % regions
		if rng.IntN(10) == 0 {
			region = rng.IntN(regions)
		}
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("4403%02d", region))
		b.Field(2).(*array.StringBuilder).Append(string(rune('A'+rng.IntN(26))) + fmt.Sprintf("%02d.%d", rng.IntN(100), rng.IntN(10)))
		b.Field(3).(*array.Date32Builder).Append(arrow.Date32(firstDay + rng.IntN(3*365)))
		b.Field(4).(*array.Int64Builder).Append(rng.Int64N(20000))
		if rng.IntN(8) == 0 {
			b.Field(5).(*array.Int64Builder).AppendNull()
		} else {
			b.Field(5).(*array.Int64Builder).Append(rng.Int64N(500))
		}
	}, subject, pseudonym)
	p := &table{described: persons()}
	build(p, max(1, rows/rowsPerSubject), func(b *array.RecordBuilder, _ int) {
		b.Field(0).(*array.StringBuilder).Append("")
		b.Field(1).(*array.Date32Builder).Append(arrow.Date32(rng.IntN(firstDay)))
	}, func(row int) int { return row }, pseudonym)
	return map[sandbox.DatasetID]*table{"claims": c, "persons": p}
}

func build(t *table, rows int, fill func(b *array.RecordBuilder, who int), subject func(row int) int, pseudonym func(int) []byte) {
	fields := append(batch.Schema(t.described).Fields(), arrow.Field{Name: columnar.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	t.schema = arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, t.schema)
	defer b.Release()
	for row := range rows {
		who := subject(row)
		fill(b, who)
		b.Field(len(fields) - 1).(*array.FixedSizeBinaryBuilder).Append(pseudonym(who))
		if (row+1)%batchRows == 0 || row == rows-1 {
			t.records = append(t.records, b.NewRecord())
		}
	}
}

// questions are the shapes measured; each names the columns of claims it touches.
func questions() []struct {
	name string
	spec query.Spec
} {
	one := []query.Input{{Alias: "c", Dataset: "claims"}}
	sums := []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: "c.amount", As: "sum"}}
	q := func(in []query.Input, f []query.Filter, d []query.Dimension, m []query.Measure) query.Spec {
		return query.Spec{Scenario: "s", Purpose: "p", Inputs: in, Filters: f, Dimensions: d, Measures: m}
	}
	third := []query.Filter{{Column: "c.day", Bin: "year", In: []string{"2020", "2021"}}, {Column: "c.amount", Bin: "size", In: []string{"≥10000"}}}
	region := []query.Dimension{{Column: "c.region", As: "region"}}
	return []struct {
		name string
		spec query.Spec
	}{
		{"filter year and amount (33% pass), group by 300 regions, count + sum", q(one, third, region, sums)},
		{"no filter, group by 300 regions, count + sum", q(one, nil, region, sums)},
		{"group by 22 disease chapters, sum + mean of a nullable column", q(one, nil, []query.Dimension{{Column: "c.icd10", Bin: "chapter", As: "d"}},
			append(sums, query.Measure{Func: sandbox.Mean, Column: "c.refund", As: "mean"}))},
		{"join persons by subject, group by chapter × age band, count + sum", q(append(one[:1:1], query.Input{Alias: "p", Dataset: "persons", With: "c"}), nil,
			[]query.Dimension{{Column: "c.icd10", Bin: "chapter", As: "d"}, {Column: "p.born", Bin: "age", As: "a"}}, sums)},
	}
}

// columnarCases measures every question over clustered and over scattered subjects.
func columnarCases(rows int) ([]benchmark, error) {
	subjects := max(1, rows/rowsPerSubject)
	rng := rand.New(rand.NewPCG(1, 2))
	var out []benchmark
	clustered := func(row int) int { return min(row/rowsPerSubject, subjects-1) }
	for _, layout := range []struct {
		name      string
		subject   func(row int) int
		pseudonym func(int) []byte
	}{
		{"clustered", clustered, pseudonym},
		{"in order", clustered, inOrder},
		{"scattered", func(int) int { return rng.IntN(subjects) }, pseudonym},
	} {
		tables := generate(rows, layout.subject, layout.pseudonym)
		for _, q := range questions() {
			b, err := engineCase(q.name+"; "+layout.name, q.spec, tables, 1)
			if err != nil {
				return nil, err
			}
			out = append(out, b)
			if layout.name == "in order" {
				if b, err = engineCase(q.name+"; in order, in parts on all cores", q.spec, tables, runtime.GOMAXPROCS(0)); err != nil {
					return nil, err
				}
				out = append(out, b)
			}
			if layout.name == "scattered" && len(q.spec.Inputs) > 1 {
				spilled, err := spilledCases(b, q.name, q.spec, tables)
				if err != nil {
					return nil, err
				}
				out = append(out, spilled...)
			}
		}
	}
	return out, nil
}

// everything lists every column of the tables for every use.
func everything(in map[sandbox.DatasetID]catalog.Dataset) []sandbox.ListItem {
	var list []sandbox.ListItem
	for id, d := range in {
		item := sandbox.ListItem{Dataset: id}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name,
				Uses:  []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate},
				Funcs: []sandbox.MeasureFunc{sandbox.Sum, sandbox.Mean}})
		}
		list = append(list, item)
	}
	return list
}

// spilledCases are a question whose join, or join and pairs, do not fit in the memory they have: a byte for each scanned row, and 16.
func spilledCases(b benchmark, name string, spec query.Spec, tables map[sandbox.DatasetID]*table) ([]benchmark, error) {
	var out []benchmark
	for _, c := range []struct {
		what string
		lim  columnar.Limits
	}{
		{"join spilled", columnar.Limits{MaxBuildBytes: b.rows}},
		{"join and pairs spilled", columnar.Limits{MaxBuildBytes: b.rows, MaxPairBytes: 16 * b.rows}},
	} {
		x, err := limitedCase(name+"; scattered, "+c.what, spec, tables, 1, c.lim, true)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// sealedOnDisk gives the vault's spill in a folder of its own, and a function that removes it.
func sealedOnDisk() (columnar.Spill, func() error, error) {
	dir, err := os.MkdirTemp("", "opdomain-spill-")
	if err != nil {
		return nil, nil, err
	}
	s, err := vault.SpillIn(nil, dir, cryptorand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return func() (columnar.SpillFile, error) { return s.Create() }, func() error { return errors.Join(s.Close(), os.RemoveAll(dir)) }, nil
}

// partRows is how many rows are one part, as package run cuts them.
const partRows = 1 << 18

// engineCase prepares one question so that a run is nothing but the engine, on so many goroutines.
func engineCase(name string, spec query.Spec, tables map[sandbox.DatasetID]*table, workers int) (benchmark, error) {
	return limitedCase(name, spec, tables, workers, columnar.Limits{}, false)
}

// limitedCase does so within limits, and with a disk to spill to.
func limitedCase(name string, spec query.Spec, tables map[sandbox.DatasetID]*table, workers int, lim columnar.Limits, spills bool) (benchmark, error) {
	described := map[sandbox.DatasetID]catalog.Dataset{}
	for id, t := range tables {
		described[id] = t.described
	}
	d, reasons := query.Derive(spec, described, everything(described))
	if !d.Complete() {
		return benchmark{}, fmt.Errorf("benchmarks: %s is refused: %s", name, reasons[0].Code)
	}
	plan := columnar.Plan{Derivation: d}
	b := benchmark{name: name}
	readers := map[sandbox.DatasetID]batch.Reader{}
	for i, in := range d.Inputs {
		plan.Inputs = append(plan.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
		names := in.Needed
		if in.Subject {
			names = append(names[:len(names):len(names)], columnar.SubjectColumn)
		}
		t := tables[in.Dataset]
		r, err := t.columns(names)
		if err != nil {
			return benchmark{}, err
		}
		readers[in.Dataset] = r
		b.bytes += t.bytes(names...)
		b.batches += len(t.records)
		if i == 0 {
			for _, rec := range t.records {
				b.rows += int(rec.NumRows())
			}
		}
	}
	open := func(_ context.Context, ds sandbox.DatasetID, _ []string) (batch.Reader, error) {
		return readers[ds], nil
	}
	src := columnar.Source{Open: open}
	if workers > 1 {
		whole := readers[d.Inputs[0].Dataset].(*reader)
		const batches = partRows / batchRows
		src.Parts = (len(whole.records) + batches - 1) / batches
		src.OpenPart = func(_ context.Context, _ sandbox.DatasetID, _ []string, part int) (batch.Reader, error) {
			return &reader{schema: whole.schema, records: whole.records[part*batches : min(len(whole.records), (part+1)*batches)]}, nil
		}
	}
	b.run = func(ctx context.Context) (err error) {
		src := src
		if spills {
			spill, remove, err := sealedOnDisk()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, remove()) }()
			src.Spill = spill
		}
		_, err = columnar.Execute(ctx, memory.DefaultAllocator, plan, src, lim, columnar.Goroutines{Workers: workers})
		return err
	}
	return b, nil
}
