package vault

import (
	"bytes"
	"context"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// Straight has the writer store each batch in the version's columns at once, for rows that come in the order of their subjects,
// as a version's own do: they are sealed once, whatever their number, and one batch is in memory. It is called before the first
// Write. Batches are stored as they come, of 1 to batch.MaxRows rows; one out of order is refused, and ends the writer. There are no
// durable points: Flush is refused, and Suspend keeps no rows.
func (w *Writer) Straight() error {
	if w.done || w.straight || w.batches > 0 || len(w.runs) > 0 {
		return &sandbox.Error{Op: "vault: write", Kind: sandbox.Conflict, Object: string(w.m.Dataset), Detail: "rows are stored straight from the first one on"}
	}
	w.straight = true
	w.err = w.create()
	return w.err
}

// direct stores one batch, whose schema and nulls were checked.
func (w *Writer) direct(ctx context.Context, rec arrow.Record, subjects []sandbox.Pseudonym) error {
	if !inOrder(subjects) || w.rows > 0 && bytes.Compare(w.lastSubject[:], subjects[0][:]) > 0 || len(subjects) > batch.MaxRows {
		return &sandbox.Error{Op: "vault: write", Kind: sandbox.Invalid, Object: string(w.m.Dataset), Detail: "rows that are stored straight come in the order of their subjects, in batches of bounded size"}
	}
	if err := w.store(rec); err != nil {
		return err
	}
	w.lastSubject = subjects[len(subjects)-1]
	w.rows += rec.NumRows()
	w.batches++
	return ctx.Err()
}
