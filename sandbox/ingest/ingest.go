// Package ingest takes one push (数据汇聚) from its sealed frames into the vault: one function, one call per stage.
//
//	frames → record batches → schema and subject checks → detectors → pseudonyms → vault → commit
//
// A push is all or nothing: any failure aborts the staged version and the dataset keeps the version it had. Errors name
// the dataset, the batch and row, the column and the rule, never a value. Memory is one frame, one batch and the
// detectors' samples, whatever the size of the push.
//
// It does not authenticate the sender (the caller verified the opening's signature), does not decide grades finally (the
// stricter of declared and detected applies at once; a person confirms), and reads no Parquet or Arrow IPC.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Frames (数据帧) yields opened frame payloads; io.EOF only after an authenticated last frame.
type Frames interface {
	Next() ([]byte, error)
}

// Limits (入库限额) bound one push. Zero means the default.
type Limits struct {
	Batch   batch.Limits
	Rows    int64 // of one push, default 2^32
	Batches int64 // default 2^24
}

func (l Limits) filled() Limits {
	if l.Rows <= 0 {
		l.Rows = 1 << 32
	}
	if l.Batches <= 0 {
		l.Batches = 1 << 24
	}
	return l
}

// Push (推送) is what one call takes in.
type Push struct {
	Run     sandbox.RunID
	Dataset catalog.Dataset
	Frames  Frames
}

// Report (入库报告) is what a push did. Sealed counts the bytes of the opened frames.
type Report struct {
	Snapshot vault.Snapshot
	Rows     int64
	Sealed   int64
	Findings []classify.ColumnFinding
}

// Receive takes one push into the vault.
func Receive(ctx context.Context, mem memory.Allocator, p Push, v *vault.Vault, subjects *Pseudonymizer, lim Limits) (rep Report, err error) {
	d := p.Dataset
	if c, ok := d.Column(d.Subject); !ok || c.Type != catalog.Text {
		return Report{}, &sandbox.Error{Op: "ingest", Kind: sandbox.Invalid, Object: string(d.ID), Detail: "the protected subject is a text column"}
	}
	schema := batch.Schema(d)
	w, err := v.Begin(ctx, d.Unit, d.ID, p.Run, schema, declared(d))
	if err != nil {
		return Report{}, err
	}
	committed := false
	defer func() { // also when a panic passes: the dataset must not stay locked
		if !committed {
			err = errors.Join(err, w.Abort())
		}
	}()
	lim = lim.filled()
	in := intake{push: p, schema: schema, writer: w, subjects: subjects, sampler: classify.NewSampler(d), limits: lim}
	for n := int64(1); ; n++ {
		payload, err := p.Frames.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Report{}, err
		}
		if n > lim.Batches {
			return Report{}, in.tooLarge()
		}
		if err := in.batch(ctx, mem, payload, n); err != nil {
			return Report{}, err
		}
	}
	if in.rows == 0 {
		return Report{}, &sandbox.Error{Op: "ingest", Kind: sandbox.Invalid, Object: string(d.ID), Detail: "a push has at least one row",
			Hint: "an empty push would replace the current version by nothing"}
	}
	snap, err := w.Commit(ctx)
	if err != nil {
		return Report{}, err
	}
	committed = true
	return Report{Snapshot: snap, Rows: in.rows, Sealed: in.sealed, Findings: in.sampler.Grade()}, nil
}

// declared is the strictest grade the owner declared; the version key is bound to it.
func declared(d catalog.Dataset) sandbox.Grade {
	g := sandbox.Grade1
	for _, c := range d.Columns {
		g = max(g, c.Effective())
	}
	return g
}

type intake struct {
	push     Push
	schema   *arrow.Schema
	writer   *vault.Writer
	subjects *Pseudonymizer
	sampler  *classify.Sampler
	limits   Limits

	rows, sealed int64
	pseudonyms   []sandbox.Pseudonym
}

func (in *intake) batch(ctx context.Context, mem memory.Allocator, payload []byte, n int64) error {
	rec, err := batch.Decode(mem, in.schema, payload, in.limits.Batch)
	if err != nil {
		return fmt.Errorf("ingest %s: batch %d: %w", in.push.Dataset.ID, n, err)
	}
	defer rec.Release()
	in.sealed += int64(len(payload))
	if rec.NumRows() > in.limits.Rows-in.rows {
		return in.tooLarge()
	}
	if rec.NumRows() == 0 {
		return nil
	}
	col := rec.Column(in.schema.FieldIndices(in.push.Dataset.Subject)[0]).(*array.String)
	in.pseudonyms = in.pseudonyms[:0]
	for i := range col.Len() {
		p, ok := in.subjects.Pseudonym(in.push.Dataset.SubjectKind, col.Value(i))
		if !ok {
			return &sandbox.Error{Op: "ingest", Kind: sandbox.Invalid, Object: string(in.push.Dataset.ID),
				Detail: fmt.Sprintf("batch %d, row %d, column %s: %s", n, in.rows+int64(i)+1, in.push.Dataset.Subject, subjectRule(in.push.Dataset.SubjectKind)),
				Hint:   "correct the row at its source; nothing of this push was kept"}
		}
		in.pseudonyms = append(in.pseudonyms, p)
	}
	in.sampler.Observe(rec)
	if err := in.writer.Write(ctx, rec, in.pseudonyms); err != nil {
		return err
	}
	in.rows += rec.NumRows()
	return nil
}

func (in *intake) tooLarge() error {
	return &sandbox.Error{Op: "ingest", Kind: sandbox.TooLarge, Object: string(in.push.Dataset.ID),
		Detail: fmt.Sprintf("a push has at most %d batches and %d rows", in.limits.Batches, in.limits.Rows)}
}
