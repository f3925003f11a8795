package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
)

// batchRows is how many rows one call masks.
const batchRows = 32 << 10

// reused hands the same memory out again, as DuckDB's vectors are: a line measures the operation, not the operating system's pages.
type reused struct{ free map[int][][]byte }

func (r *reused) Allocate(size int) []byte {
	if all := r.free[size]; len(all) > 0 {
		r.free[size] = all[:len(all)-1]
		return all[len(all)-1]
	}
	return memory.DefaultAllocator.Allocate(size)
}

func (r *reused) Reallocate(size int, b []byte) []byte {
	if size <= len(b) {
		return b[:size]
	}
	out := r.Allocate(size)
	copy(out, b)
	return out
}

func (r *reused) Free(b []byte) { r.free[len(b)] = append(r.free[len(b)], b) }

// masks are the lines of masking an 18-character number 6 + ******** + 4: a copy of the bytes first, ours last.
func masks(ctx context.Context, db *sql.DB, rows int) ([]line, error) {
	if _, err := db.ExecContext(ctx, fmt.Sprintf(`CREATE TABLE t AS SELECT '440305' || lpad((19000101 + i %% 10000)::VARCHAR, 8, '0') || lpad((i %% 10000)::VARCHAR, 4, '0') AS id FROM range(%d) r(i)`, rows)); err != nil {
		return nil, err
	}
	var ids []arrow.Array
	size := 0
	for at := 0; at < rows; at += batchRows {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		for i := at; i < min(at+batchRows, rows); i++ {
			b.Append(fmt.Sprintf("440305%08d%04d", 19000101+i%10000, i%10000))
		}
		a := b.NewArray()
		size += len(a.(*array.String).ValueBytes())
		ids = append(ids, a)
	}
	op, err := mask.Keep(6, 4, mask.Style{})
	if err != nil {
		return nil, err
	}
	const expr = `left(id, 6) || '********' || right(id, 4)`
	if err := agree(ctx, db, expr, op, ids[0]); err != nil {
		return nil, err
	}
	from := make([]byte, size)
	for i := range from {
		from[i] = byte(i)
	}
	to := make([]byte, size)
	mem := &reused{map[int][][]byte{}}
	statement := func(text string) func(context.Context) error {
		return func(ctx context.Context) error {
			var n any
			return db.QueryRowContext(ctx, text).Scan(&n)
		}
	}
	return []line{
		{name: "memcpy of the column's bytes", run: func(context.Context) error { copy(to, from); return nil }},
		{name: "DuckDB: left || stars || right, folded by max(length)", run: statement(`SELECT max(length(` + expr + `)) FROM t`)},
		{name: "DuckDB: concat(left, stars, right), folded", run: statement(`SELECT max(length(concat(left(id, 6), '********', right(id, 4)))) FROM t`)},
		{name: "DuckDB: substring || stars || substring, folded", run: statement(`SELECT max(length(substring(id, 1, 6) || '********' || substring(id, 15, 4))) FROM t`)},
		{name: "DuckDB: regexp_replace, folded", run: statement(`SELECT max(length(regexp_replace(id, '^(.{6}).{8}(.{4})$', '\1********\2'))) FROM t`)},
		{name: "DuckDB: left || stars || right into a table", run: func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, `CREATE OR REPLACE TEMP TABLE m AS SELECT `+expr+` AS id FROM t`)
			return err
		}},
		{name: "this project: mask.Keep(6, 4), Arrow in and out", run: func(context.Context) error {
			for _, a := range ids {
				m, err := op.Apply(mem, a)
				if err != nil {
					return err
				}
				m.Release()
			}
			return nil
		}},
	}, nil
}

// agree holds both to the same result over one batch.
func agree(ctx context.Context, db *sql.DB, expr string, op mask.Operation, a arrow.Array) error {
	got, err := op.Apply(memory.DefaultAllocator, a)
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, fmt.Sprintf(`SELECT %s FROM t LIMIT %d`, expr, a.Len()))
	if err != nil {
		return err
	}
	defer rows.Close()
	i := 0
	for ; rows.Next(); i++ {
		var s string
		if err := rows.Scan(&s); err != nil {
			return err
		}
		if got.(*array.String).Value(i) != s {
			return fmt.Errorf("row %d: the two masks differ", i)
		}
	}
	if i != a.Len() {
		return fmt.Errorf("%d rows of %d were compared", i, a.Len())
	}
	return rows.Err()
}
