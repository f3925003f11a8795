package run

import (
	"context"
	"errors"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// View (脱敏视图) is what a sealed view is made of: a version, a compiled plan, and the place in the vault it gets, which no
// catalogue lists. A view is derived for one use and erased with it: its key is its own, and destroying that key, then
// Collect, ends it.
type View struct {
	ID       sandbox.DatasetID // of the view in the vault; a new one for each use
	Run      sandbox.RunID     // the use
	Unit     sandbox.PartyID   // whose key-encrypting key the view's key is under: the source's owner
	Source   sandbox.InputVersion
	Pipeline *desensitize.Pipeline
	Subject  *sandbox.Pseudonym // on route B: only this person's rows
	Workers  int                // batches at once; 0: as many as processors
}

// SealView reads the columns that the plan needs, desensitises them and commits the result to the vault under a key of its own,
// clustered as the source is. Only those columns are opened. When it fails nothing is kept and the key is gone. A view of one
// subject is for route B alone: a pipeline of that route gives no view of others' rows.
func SealView(ctx context.Context, mem memory.Allocator, v *vault.Vault, w View) (vault.Snapshot, desensitize.Report, error) {
	report := w.Pipeline.Report()
	if (report.Route.Kind == desensitize.Authorised) != (w.Subject != nil) {
		return vault.Snapshot{}, report, &sandbox.Error{Op: "run: view", Kind: sandbox.Invalid, Object: string(w.ID), Detail: "a view on a subject's authorisation holds that subject's rows, and no other view names one"}
	}
	snap, err := v.Snapshot(w.Source.Dataset, w.Source.Version)
	if err != nil {
		return vault.Snapshot{}, report, missing(w.Source, err)
	}
	columns := append(w.Pipeline.Reads(), columnar.SubjectColumn)
	var src batch.Reader
	if w.Subject != nil {
		var r *vault.Scanner
		r, err = v.ScanSubject(ctx, mem, snap, columns, *w.Subject)
		src = &rowsOf{r, *w.Subject}
	} else {
		src, err = v.Scan(ctx, mem, snap, columns)
	}
	if err != nil {
		return vault.Snapshot{}, report, missing(w.Source, err)
	}
	defer src.Close()
	grade := sandbox.Grade1
	for _, c := range w.Pipeline.Columns() {
		grade = max(grade, c.Grade)
	}
	to, err := v.Begin(ctx, w.Unit, w.ID, w.Run, w.Pipeline.Schema(), grade)
	if err != nil {
		return vault.Snapshot{}, report, err
	}
	if err := to.Straight(); err != nil { // the source is clustered
		return vault.Snapshot{}, report, errors.Join(err, to.Abort())
	}
	report, err = w.Pipeline.Run(ctx, src, desensitize.Stream{Mem: mem, Workers: w.Workers, Subjects: pseudonyms, Sink: func(in, out arrow.Record) error {
		who, err := pseudonyms(in)
		if err != nil {
			return err
		}
		return to.Write(ctx, out, who)
	}})
	var view vault.Snapshot
	if err == nil {
		view, err = to.Commit(ctx)
	}
	if err != nil {
		return vault.Snapshot{}, report, errors.Join(err, to.Abort())
	}
	return view, report, nil
}

// pseudonyms copies whose row each is.
func pseudonyms(rec arrow.Record) ([]sandbox.Pseudonym, error) {
	if at := rec.Schema().FieldIndices(columnar.SubjectColumn); len(at) == 1 {
		if a, ok := rec.Column(at[0]).(*array.FixedSizeBinary); ok && a.NullN() == 0 && a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth == len(sandbox.Pseudonym{}) {
			out := make([]sandbox.Pseudonym, a.Len())
			for i := range out {
				copy(out[i][:], a.Value(i))
			}
			return out, nil
		}
	}
	return nil, &sandbox.Error{Op: "run: view", Kind: sandbox.Internal, Object: columnar.SubjectColumn, Detail: "the scan gives a pseudonym for each row"}
}

// rowsOf leaves one subject's rows of each batch, which stand together.
type rowsOf struct {
	*vault.Scanner
	subject sandbox.Pseudonym
}

// Next gives the subject's rows of the next batch that has any.
func (r *rowsOf) Next(ctx context.Context) (arrow.Record, error) {
	for {
		rec, err := r.Scanner.Next(ctx)
		if err != nil {
			return nil, err
		}
		who, err := pseudonyms(rec)
		from, to := 0, 0
		for i, w := range who {
			if w == r.subject {
				if to == 0 {
					from = i
				}
				to = i + 1
			}
		}
		var out arrow.Record
		if err == nil && to > from {
			for _, w := range who[from:to] {
				if w != r.subject {
					err = &sandbox.Error{Op: "run: view", Kind: sandbox.Tampered, Object: columnar.SubjectColumn, Detail: "a version holds each subject's rows together"}
				}
			}
			out = rec.NewSlice(int64(from), int64(to))
		}
		rec.Release()
		if err != nil && out != nil {
			out.Release()
			out = nil
		}
		if err != nil || out != nil {
			return out, err
		}
	}
}
