package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
	"github.com/opdomain/opdomain/sandbox/quality"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// stage is what the vault holds of a run that is not committed, with the point of the run it stands at. The point is sealed
// together with what is durable, so that neither can be there without the other.
type stage struct {
	w     *vault.Writer
	empty arrow.Record // in the place of a batch of which no row is kept
	at    Progress
	next  Progress // as at, with the batch that is being written
	bytes int64    // since the last durable point
	every int64
	ended bool
	facts func() facts // at the commit: what was found in the rows that are stored
}

// stage takes up what is durable of a run, or begins it.
func (in *Intake) stage(ctx context.Context, p Push) (*stage, error) {
	d := p.Dataset
	w, err := in.vault.Resume(ctx, d.ID, p.Run)
	if errors.Is(err, sandbox.NotFound) {
		w, err = in.vault.Begin(ctx, d.Unit, d.ID, p.Run, batch.Schema(d), declared(d))
	}
	if err != nil {
		return nil, err
	}
	st := &stage{w: w, every: in.config.Durable}
	if err := st.read(d.ID); err != nil {
		return nil, errors.Join(err, w.Suspend())
	}
	schema := w.Schema()
	cols := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		b := array.NewBuilder(in.mem, f.Type)
		cols[i] = b.NewArray()
		b.Release()
	}
	st.empty = array.NewRecord(schema, cols, 0)
	for _, c := range cols {
		c.Release()
	}
	w.Mark(func() []byte {
		m := mark{Progress: st.next}
		if st.facts != nil {
			f := st.facts()
			m.Facts = &f
		}
		b, err := json.Marshal(m)
		if err != nil { // numbers and texts only
			return nil
		}
		return b
	})
	return st, nil
}

// read takes the point from a resumed run.
func (s *stage) read(d sandbox.DatasetID) error {
	if m := s.w.Marked(); len(m) > 0 {
		if err := json.Unmarshal(m, &s.at); err != nil || s.at.Chain.N != s.w.Durable() {
			return &sandbox.Error{Op: "ingest: resume", Kind: sandbox.Tampered, Object: string(d), Detail: "the stage's mark is not of its batches", Hint: "push again under a new run id"}
		}
	}
	s.next = s.at
	return nil
}

// Standing gives where the next stream of a run goes on, as far as it is durable.
func (in *Intake) Standing(ctx context.Context, d sandbox.DatasetID, run sandbox.RunID) (Progress, error) {
	w, err := in.vault.Resume(ctx, d, run)
	if errors.Is(err, sandbox.NotFound) {
		return Progress{}, nil
	}
	if err != nil {
		return Progress{}, err
	}
	st := &stage{w: w}
	err = errors.Join(st.read(d), w.Suspend())
	return st.at, err
}

// Drop throws away what waits of a run.
func (in *Intake) Drop(d sandbox.DatasetID, run sandbox.RunID) error { return in.vault.Drop(d, run) }

// put stages one batch and goes on to the point behind it.
func (s *stage) put(ctx context.Context, rec arrow.Record, subjects []sandbox.Pseudonym, next Progress, bytes int64) error {
	if rec == nil {
		rec, subjects = s.empty, nil
	}
	s.next = next
	if err := s.w.Write(ctx, rec, subjects); err != nil {
		s.next = s.at
		return err
	}
	s.at = next
	if s.bytes += bytes; s.bytes < s.every {
		return nil
	}
	s.bytes = 0
	return s.w.Flush(ctx)
}

// suspend makes everything durable and leaves the run to be resumed.
func (s *stage) suspend(ctx context.Context) error {
	if s.ended {
		return nil
	}
	s.end()
	return errors.Join(s.w.Flush(context.WithoutCancel(ctx)), s.w.Suspend())
}

// commit makes the run the current version. The detectors and the quality counts see the rows as they are stored, and the
// version itself keeps what they found: who takes it up after a crash knows it too.
func (s *stage) commit(ctx context.Context, d catalog.Dataset, closing wire.Closing) (vault.Snapshot, facts, error) {
	sampler := classify.NewSampler(d)
	counts, err := quality.New(d)
	if err != nil {
		return vault.Snapshot{}, facts{}, err
	}
	s.w.Observe(func(rec arrow.Record) error {
		sampler.Observe(rec)
		return counts.Observe(rec)
	})
	s.facts = sync.OnceValue(func() facts {
		return facts{Read: closing.Read, Unused: closing.Unused, Findings: sampler.Grade(), Quality: counts.Report()}
	})
	s.end()
	s.next = s.at
	s.next.Rejected = wire.AddRejections(s.at.Rejected, closing.Rejected...)
	snap, err := s.w.Commit(ctx)
	if err != nil {
		return snap, facts{}, err
	}
	s.at = s.next
	return snap, s.facts(), nil
}

func (s *stage) abort() error {
	s.end()
	return s.w.Abort()
}

func (s *stage) end() {
	if !s.ended {
		s.ended = true
		s.empty.Release()
	}
}
