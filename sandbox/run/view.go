package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	Column   string             // with Number, of those only the rows with this number: what the person allowed
	Number   string
	Workers  int // batches at once; 0: as many as processors
}

// String keeps the number out of logs.
func (View) String() string { return "view(redacted)" }

// GoString keeps the number out of %#v.
func (View) GoString() string { return "view(redacted)" }

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
	open := func(ctx context.Context, columns []string) (batch.Reader, error) {
		if w.Subject == nil {
			r, err := v.Scan(ctx, mem, snap, columns)
			if err != nil {
				return nil, missing(w.Source, err)
			}
			return r, nil
		}
		for _, c := range []string{columnar.SubjectColumn, w.Column} {
			if c != "" && !slices.Contains(columns, c) {
				columns = append(columns, c)
			}
		}
		r, err := v.ScanSubject(ctx, mem, snap, columns, *w.Subject)
		if err != nil {
			return nil, missing(w.Source, err)
		}
		return &rowsOf{Scanner: r, view: w}, nil
	}
	src, err := open(ctx, append(w.Pipeline.Reads(), columnar.SubjectColumn))
	if err != nil {
		return vault.Snapshot{}, report, err
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
	s := desensitize.Stream{Mem: mem, Workers: w.Workers, Table: fmt.Sprintf("%s version %d", w.Source.Dataset, w.Source.Version), Again: open, Subjects: pseudonyms,
		Sink: func(in, out arrow.Record) error {
			who, err := pseudonyms(in)
			if err != nil {
				return err
			}
			return to.Write(ctx, out, who)
		}}
	if w.Subject == nil {
		s.Rows = snap.Rows
	}
	report, err = w.Pipeline.Run(ctx, src, s)
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

// rowsOf leaves the rows of one subject, and of one number of theirs where the view names one.
type rowsOf struct {
	*vault.Scanner
	view    View
	waiting []arrow.Record // slices of the batch at hand
}

// Next gives the next of those rows that stand together.
func (r *rowsOf) Next(ctx context.Context) (arrow.Record, error) {
	for len(r.waiting) == 0 {
		rec, err := r.Scanner.Next(ctx)
		if err != nil {
			return nil, err
		}
		err = r.cut(rec)
		rec.Release()
		if err != nil {
			return nil, err
		}
	}
	out := r.waiting[0]
	r.waiting = r.waiting[1:]
	return out, nil
}

// cut parts the wanted rows of a batch from the others.
func (r *rowsOf) cut(rec arrow.Record) error {
	who, err := pseudonyms(rec)
	if err != nil {
		return err
	}
	var number *array.String
	if r.view.Column != "" {
		if at := rec.Schema().FieldIndices(r.view.Column); len(at) == 1 {
			number, _ = rec.Column(at[0]).(*array.String)
		}
		if number == nil {
			return &sandbox.Error{Op: "run: view", Kind: sandbox.Invalid, Object: r.view.Column, Detail: "a claim number column is text"}
		}
	}
	wanted := func(i int) bool {
		return who[i] == *r.view.Subject && (number == nil || number.IsValid(i) && number.Value(i) == r.view.Number)
	}
	for i := 0; i < len(who); i++ {
		from := i
		for i < len(who) && wanted(i) {
			i++
		}
		if i > from {
			r.waiting = append(r.waiting, rec.NewSlice(int64(from), int64(i)))
		}
	}
	return nil
}

// Close lets go of what was not read.
func (r *rowsOf) Close() error {
	for _, rec := range r.waiting {
		rec.Release()
	}
	r.waiting = nil
	return r.Scanner.Close()
}
