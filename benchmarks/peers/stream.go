package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

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
	streamSubjects = 1_000_000
	streamPart     = 5_000_000 // rows that DuckDB makes at a time
)

// claimsSQL makes rows from to to-1 of claims in DuckDB; who writes the subject of row i.
func claimsSQL(who string, subjects, from, to int64) string {
	return fmt.Sprintf(`SELECT who AS subject, '4403' || lpad((CASE WHEN %s = 0 THEN %s ELSE who * 7919 %% %d END)::VARCHAR, 3, '0') AS region,
			DATE '2020-01-01' + %s::INTEGER AS day, %s AS amount, who AS key
		FROM (SELECT i, least(%s, %d) AS who FROM range(%d, %d) r(i))`,
		drawn(1, 10), drawn(2, regions), regions, drawn(3, days), drawn(4, 20000), who, subjects-1, from, to)
}

// generated makes the batches of claims as they are asked for, in the order of their subjects, and keeps none.
type generated struct {
	rows, per, subjects, at int64
	names                   []string
	b                       *array.RecordBuilder
	spent                   time.Duration // processor time of making them
}

func newGenerated(rows, subjects int64) *generated {
	g := &generated{rows: rows, subjects: subjects, per: max(1, rows/subjects)}
	for r := range regions {
		g.names = append(g.names, fmt.Sprintf("4403%03d", r))
	}
	fields := append(batch.Schema(claims()).Fields()[1:], arrow.Field{Name: columnar.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	g.b = array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	return g
}

func (g *generated) Schema() *arrow.Schema { return g.b.Schema() }

func (g *generated) Next(ctx context.Context) (arrow.Record, error) {
	if g.at == g.rows {
		return nil, io.EOF
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	before := processorTime()
	defer func() { g.spent += processorTime() - before }()
	region, day := g.b.Field(0).(*array.StringBuilder), g.b.Field(1).(*array.Date32Builder)
	amount, key, subject := g.b.Field(2).(*array.Int64Builder), g.b.Field(3).(*array.Int64Builder), g.b.Field(4).(*array.FixedSizeBinaryBuilder)
	g.b.Reserve(batchRows)
	var p [16]byte
	for end := min(g.at+batchRows, g.rows); g.at < end; g.at++ {
		i := g.at
		who := min(i/g.per, g.subjects-1)
		region.Append(g.names[regionOf(i, who)])
		day.Append(arrow.Date32(firstDay + draw(i, 3, days)))
		amount.Append(draw(i, 4, 20000))
		key.Append(who)
		pseudonymOf(layouts[0], who, g.subjects, &p)
		subject.Append(p[:])
	}
	return g.b.NewRecord(), nil
}

func (g *generated) Close() error { g.b.Release(); return nil }

// sealedClaims writes the rows of a stream into a vault, a batch at a time.
func sealedClaims(ctx context.Context, v *vault.Vault, g *generated) error {
	defer g.Close()
	d := claims()
	w, err := v.Begin(ctx, d.Unit, d.ID, "run-1", batch.Schema(d), sandbox.Grade2)
	if err != nil {
		return err
	}
	texts := array.NewStringBuilder(memory.DefaultAllocator)
	defer texts.Release()
	for {
		rec, err := g.Next(ctx)
		if err == io.EOF {
			_, err := w.Commit(ctx)
			return err
		}
		if err != nil {
			return errors.Join(err, w.Abort())
		}
		who := make([]sandbox.Pseudonym, rec.NumRows())
		for i := range who {
			texts.Append("")
			copy(who[i][:], rec.Column(4).(*array.FixedSizeBinary).Value(i))
		}
		empty := texts.NewArray()
		whole := array.NewRecord(batch.Schema(d), append([]arrow.Array{empty}, rec.Columns()[:4]...), rec.NumRows())
		err = w.Write(ctx, whole, who)
		whole.Release()
		empty.Release()
		rec.Release()
		if err != nil {
			return errors.Join(err, w.Abort())
		}
	}
}

// streamed measures the two main questions over more rows than should be in memory at once: DuckDB from a database file and from
// Parquet, the engine from a stream that is made while it reads and from the vault. Its directory holds about 60 bytes a row.
func streamed(ctx context.Context, _ *sql.DB, out io.Writer, rows, repeat int) error {
	dir, err := os.MkdirTemp("", "opdomain-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	subjects := int64(min(streamSubjects, rows))
	db, err := sql.Open("duckdb", filepath.Join(dir, "claims.duckdb"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, set := range []string{"SET threads = 1", "SET memory_limit = '4GB'", "SET temp_directory = '" + filepath.Join(dir, "spill") + "'",
		"SET autoinstall_known_extensions = false", "SET autoload_known_extensions = false"} {
		if _, err := db.ExecContext(ctx, set); err != nil {
			return err
		}
	}
	who := fmt.Sprintf("(i // %d)", max(1, int64(rows)/subjects))
	for from := int64(0); from < int64(rows); from += streamPart {
		text := "INSERT INTO claims "
		if from == 0 {
			text = "CREATE TABLE claims AS "
		}
		if _, err := db.ExecContext(ctx, text+claimsSQL(who, subjects, from, min(from+streamPart, int64(rows)))); err != nil {
			return err
		}
	}
	parquet := filepath.Join(dir, "claims.parquet")
	if _, err := db.ExecContext(ctx, `CHECKPOINT; COPY claims TO '`+parquet+`' (FORMAT parquet)`); err != nil {
		return err
	}
	k, err := keys.Create(filepath.Join(dir, "keys"), []byte("benchmark"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		return err
	}
	defer k.Close()
	v, err := vault.Open(filepath.Join(dir, "vault"), k, rand.Reader)
	if err != nil {
		return err
	}
	if err := sealedClaims(ctx, v, newGenerated(int64(rows), subjects)); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## The main two questions, %d rows of %d subjects\n\nThe table of the questions above with %d rows a person, in the order of the persons. DuckDB reads a database file, %d MB, with 4 GB of memory, and Parquet (snappy), "+
		"%d MB; the engine a stream of batches that is made while it reads, whose making is measured and taken off, and the vault under SM4-GCM (%s), %d MB, on %d cores. A batch made just before is in the cache, one from memory would not be. "+
		"Values are compared first. Rates are Mrows a second of processor time.\n\n"+
		"| question | DuckDB | DuckDB, with evidence | engine, with evidence | ÷ DuckDB with evidence | ÷ DuckDB without | DuckDB, Parquet, with evidence | vault, with evidence | ÷ Parquet with evidence |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
		rows, subjects, max(1, int64(rows)/subjects), sized(filepath.Join(dir, "claims.duckdb")), sized(parquet), sm.GCMEngine(), sized(filepath.Join(dir, "vault")), runtime.GOMAXPROCS(0))
	d := claims()
	for _, q := range questions()[:2] {
		derived, reasons := query.Derive(q.spec, map[sandbox.DatasetID]catalog.Dataset{d.ID: d}, listed(d))
		if !derived.Complete() {
			return fmt.Errorf("%s is refused: %s", q.name, reasons[0].Code)
		}
		version := []sandbox.InputVersion{{Dataset: d.ID, Version: 1}}
		generate := func(ctx context.Context) (*sandbox.Answer, time.Duration, error) {
			g := newGenerated(int64(rows), subjects)
			a, err := columnar.Run(ctx, memory.DefaultAllocator, columnar.Plan{Derivation: derived, Inputs: version}, func(context.Context, sandbox.DatasetID, []string) (batch.Reader, error) {
				return g, nil
			}, columnar.Limits{})
			return a, g.spent, err
		}
		a, _, err := generate(ctx)
		if err != nil {
			return err
		}
		if err := same(ctx, db, q.with, a); err != nil {
			return fmt.Errorf("%s, generated: %w", q.name, err)
		}
		if a, err = run.Answer(ctx, memory.DefaultAllocator, v, derived, version, columnar.Limits{}); err != nil {
			return err
		}
		if err := same(ctx, db, q.with, a); err != nil {
			return fmt.Errorf("%s, vault: %w", q.name, err)
		}
		a = nil
		from := strings.ReplaceAll(q.with, "FROM claims", "FROM read_parquet('"+parquet+"')")
		var rates []float64
		for _, run := range []func(context.Context) error{drained(db, q.text), drained(db, q.with), drained(db, from), func(ctx context.Context) error {
			_, err := run.Answer(ctx, memory.DefaultAllocator, v, derived, version, columnar.Limits{})
			return err
		}} {
			rate, err := best(ctx, run, rows, repeat)
			if err != nil {
				return err
			}
			rates = append(rates, rate)
		}
		ours := 0.0
		for range repeat {
			runtime.GC()
			before := processorTime()
			_, spent, err := generate(ctx)
			if err != nil {
				return err
			}
			ours = max(ours, float64(rows)/(processorTime()-before-spent).Seconds())
		}
		fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f | %.2f | %.2f | %.1f | %.1f | %.2f |\n", q.name, rates[0]/1e6, rates[1]/1e6, ours/1e6, ours/rates[1], ours/rates[0], rates[2]/1e6, rates[3]/1e6, rates[3]/rates[2])
	}
	return nil
}

// sized gives what a file, or the files below a directory, hold in MB.
func sized(path string) (mb int64) {
	_ = filepath.WalkDir(path, func(_ string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if info, err := e.Info(); err == nil {
				mb += info.Size()
			}
		}
		return nil
	})
	return mb >> 20
}
