package run

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// EachRow reads columns of a version row by row, as people write them: money in yuan, dates 2006-01-02, nulls empty; with whose row each is. The
// row is valid until each returns.
func EachRow(ctx context.Context, mem memory.Allocator, v *vault.Vault, s vault.Snapshot, columns []catalog.Column, each func(row []string, who sandbox.Pseudonym) error) (err error) {
	names := []string{columnar.SubjectColumn}
	for _, c := range columns {
		names = append(names, c.Name)
	}
	r, err := v.Scan(ctx, mem, s, names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	row := make([]string, len(columns))
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		who, err := pseudonyms(rec)
		for i := 0; err == nil && i < len(who); i++ {
			for k := range columns {
				at := rec.Schema().FieldIndices(columns[k].Name)
				if len(at) != 1 {
					err = &sandbox.Error{Op: "run: rows", Kind: sandbox.Internal, Object: columns[k].Name, Detail: "the scan gives each column once"}
					break
				}
				row[k] = ""
				switch c := rec.Column(at[0]).(type) {
				case *array.String:
					if c.IsValid(i) {
						row[k] = c.Value(i)
					}
				case *array.Int64:
					if c.IsValid(i) {
						row[k] = query.Label(&columns[k], c.Value(i))
					}
				case *array.Date32:
					if c.IsValid(i) {
						row[k] = query.Label(&columns[k], int64(c.Value(i)))
					}
				case *array.Boolean:
					if c.IsValid(i) {
						row[k] = "false"
						if c.Value(i) {
							row[k] = "true"
						}
					}
				default:
					err = &sandbox.Error{Op: "run: rows", Kind: sandbox.Internal, Object: columns[k].Name, Detail: "a column of a type that is not written"}
				}
			}
			if err == nil {
				err = each(row, who[i])
			}
		}
		rec.Release()
		if err != nil {
			return err
		}
	}
}

// Rows reads the current version of a view whole: the caller has bounded it.
func Rows(ctx context.Context, mem memory.Allocator, v *vault.Vault, view sandbox.DatasetID, columns []catalog.Column) (rows [][]string, who []sandbox.Pseudonym, err error) {
	s, err := v.Head(view)
	if err != nil {
		return nil, nil, err
	}
	err = EachRow(ctx, mem, v, s, columns, func(row []string, w sandbox.Pseudonym) error {
		rows, who = append(rows, append([]string(nil), row...)), append(who, w)
		return nil
	})
	return rows, who, err
}
