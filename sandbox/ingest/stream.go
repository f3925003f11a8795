package ingest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"golang.org/x/sync/semaphore"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

// stream is one stream of a run on its way: a goroutine reads payloads, workers check them, and the goroutine of Receive
// stages them in order.
type stream struct {
	intake *Intake
	push   Push
	stage  *stage
	schema *arrow.Schema
	from   wire.Chain // batches the run had before this stream

	own        *semaphore.Weighted
	closing    *wire.Closing // set by the reader, before it closes the queue
	duplicates int64         // by the reader
}

// part is one batch on its way. A worker fills the lower half and closes done.
type part struct {
	number int64
	body   []byte

	done     chan struct{}
	leaf     [sm.Size]byte
	rec      arrow.Record // nil when no row is left
	sent     int64        // rows before any was left out
	subjects []sandbox.Pseudonym
	rejected int64
	err      error
}

func (p *part) release() {
	if p.rec != nil {
		p.rec.Release()
		p.rec = nil
	}
}

// run reads to the closing of the run.
func (s *stream) run(ctx context.Context) (wire.Closing, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.own = semaphore.NewWeighted(s.intake.config.MaxInFlight)
	// Channels hold pointers; what bounds the queue is the bytes that the parts hold.
	work, queue := make(chan *part), make(chan *part, 1024)
	ended := make(chan error, 1)
	go func() {
		defer close(work)
		err := s.read(ctx, work, queue)
		ended <- err
		close(queue)
	}()
	var workers sync.WaitGroup
	for range s.intake.config.Workers {
		workers.Go(func() {
			for p := range work {
				s.check(p)
				close(p.done)
			}
		})
	}
	err := s.write(ctx, queue)
	if err != nil {
		stop()
	}
	// After a stop the reader may still wait for the connection; what is on its way is released when it ends.
	var rerr error
	select {
	case rerr = <-ended:
	case <-ctx.Done():
		go s.discard(queue)
		if err == nil {
			err = ctx.Err()
		}
		return wire.Closing{}, err
	}
	s.discard(queue)
	workers.Wait()
	s.stage.at.Duplicates += s.duplicates
	if err == nil {
		err = rerr
	}
	if err != nil {
		return wire.Closing{}, err
	}
	return *s.closing, s.whole(*s.closing)
}

// discard releases the parts that nobody stages.
func (s *stream) discard(queue <-chan *part) {
	for p := range queue {
		<-p.done
		s.drop(p)
	}
}

func (s *stream) drop(p *part) {
	p.release()
	n := int64(len(p.body))
	s.own.Release(n)
	s.intake.total.Release(n)
}

func (s *stream) broken(n int64, rule, hint string) error {
	return &sandbox.Error{Op: "ingest", Kind: sandbox.Conflict, Object: string(s.push.Dataset.ID), Detail: fmt.Sprintf("batch %d: %s", n, rule), Hint: hint}
}

// read turns frames into parts until the closing. Errors leave the run open, except what the payloads themselves say.
func (s *stream) read(ctx context.Context, work, queue chan<- *part) error {
	next := s.from.N + 1
	again := wire.Chain{} // of batches that come again from the first on
	for {
		b, err := s.push.Frames.Next()
		if err == io.EOF {
			if s.closing == nil {
				return s.broken(next, "the stream ends without the run's closing", "open the run again and go on")
			}
			return nil
		}
		if err != nil {
			return err
		}
		p, err := wire.ParsePayload(b)
		if err != nil {
			return err
		}
		switch {
		case s.closing != nil:
			return s.broken(next, "nothing follows the closing", "")
		case p.Kind == wire.Abandon:
			return refusal(&sandbox.Error{Op: "ingest", Kind: sandbox.Conflict, Object: string(s.push.Dataset.ID), Detail: "the sender gave the run up: its source is at fault"})
		case p.Kind == wire.Close:
			if p.Batch != next-1 {
				return s.broken(p.Batch, fmt.Sprintf("the closing counts other batches than the %d that came", next-1), "open the run again and go on")
			}
			c, err := wire.ParseClosing(p.Body)
			if err != nil {
				return err
			}
			s.closing = &c
			continue
		case p.Batch < next:
			// Late or sent again. From the first batch on, its content can be held to what was kept.
			s.duplicates++
			if p.Batch == again.N+1 && p.Batch <= s.from.N {
				again.Add(wire.Leaf(p.Body))
				if again.N == s.from.N && again.Sum != s.from.Sum {
					return s.broken(p.Batch, "other content than the run's batches before it", "send the changed table as a new run")
				}
			}
			continue
		case p.Batch > next:
			return s.broken(p.Batch, fmt.Sprintf("batch %d is missing before it", next), "open the run again and go on from the batch it stands at")
		}
		if p.Batch > s.intake.config.Limits.Batches {
			return s.intake.tooLarge(s.push.Dataset.ID)
		}
		item, err := s.take(ctx, p)
		if err != nil {
			return err
		}
		select { // queue first: what is in work is always in queue, so nothing a worker did is lost
		case queue <- item:
		case <-ctx.Done():
			s.drop(item)
			return ctx.Err()
		}
		select {
		case work <- item:
		case <-ctx.Done():
			item.err = ctx.Err()
			close(item.done)
			return ctx.Err()
		}
		next++
	}
}

// take waits until the part's bytes fit the bounds and copies them out of the frame.
func (s *stream) take(ctx context.Context, p wire.Payload) (*part, error) {
	n := int64(len(p.Body))
	if err := s.own.Acquire(ctx, n); err != nil {
		return nil, err
	}
	if err := s.intake.total.Acquire(ctx, n); err != nil {
		s.own.Release(n)
		return nil, err
	}
	// Not from a pool: the vault keeps a batch, which reads from these bytes, until it is sorted.
	return &part{number: p.Batch, body: bytes.Clone(p.Body), done: make(chan struct{})}, nil
}

// check decodes one part and gives its rows their pseudonyms.
func (s *stream) check(p *part) {
	d := &s.push.Dataset
	p.leaf = wire.Leaf(p.body)
	rec, err := batch.Decode(s.intake.mem, s.schema, p.body, s.intake.config.Limits.Batch)
	if err != nil {
		p.err = refusal(fmt.Errorf("ingest %s: batch %d: %w", d.ID, p.number, err))
		return
	}
	p.rec, p.sent = rec, rec.NumRows()
	col := rec.Column(s.schema.FieldIndices(d.Subject)[0]).(*array.String)
	p.subjects = make([]sandbox.Pseudonym, 0, col.Len())
	var keep []bool // nil while every row is
	mac := s.intake.subjects.session()
	for i := range col.Len() {
		id, ok := mac.pseudonym(d.SubjectKind, col.Value(i))
		switch {
		case ok && keep == nil:
			p.subjects = append(p.subjects, id)
		case ok:
			p.subjects, keep[i] = append(p.subjects, id), true
		case s.push.Rows != wire.Skip:
			p.err = refusal(&sandbox.Error{Op: "ingest", Kind: sandbox.Invalid, Object: string(d.ID),
				Detail: fmt.Sprintf("batch %d, row %d of it, column %s: %s", p.number, i+1, d.Subject, subjectRule(d.SubjectKind)),
				Hint:   "correct the row at its source; nothing of this push was kept"})
			return
		default:
			if keep == nil {
				keep = make([]bool, col.Len())
				for k := range i {
					keep[k] = true
				}
			}
			p.rejected++
		}
	}
	if keep != nil {
		p.rec, err = only(s.intake, rec, keep)
		rec.Release()
		if err != nil {
			p.err = err
		}
	} else if p.sent == 0 {
		p.release()
	}
}

// only gives the rows of rec that keep marks; nil for none.
func only(in *Intake, rec arrow.Record, keep []bool) (arrow.Record, error) {
	var runs []arrow.Record
	defer func() {
		for _, r := range runs {
			r.Release()
		}
	}()
	for i := 0; i < len(keep); {
		j := i
		for j < len(keep) && keep[j] == keep[i] {
			j++
		}
		if keep[i] {
			runs = append(runs, rec.NewSlice(int64(i), int64(j)))
		}
		i = j
	}
	if len(runs) == 0 {
		return nil, nil
	}
	var cols []arrow.Array
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	var rows int64
	for i := range rec.NumCols() {
		parts := make([]arrow.Array, len(runs))
		for k, r := range runs {
			parts[k] = r.Column(int(i))
		}
		c, err := array.Concatenate(parts, in.mem)
		if err != nil {
			return nil, &sandbox.Error{Op: "ingest", Kind: sandbox.Internal, Object: rec.ColumnName(int(i)), Detail: "rows cannot be left out of this column"}
		}
		cols, rows = append(cols, c), int64(c.Len())
	}
	return array.NewRecord(rec.Schema(), cols, rows), nil
}

// write stages the parts in their order.
func (s *stream) write(ctx context.Context, queue <-chan *part) error {
	for {
		select {
		case p, ok := <-queue:
			if !ok {
				return nil
			}
			select {
			case <-p.done:
			case <-ctx.Done():
				go func() { <-p.done; s.drop(p) }()
				return ctx.Err()
			}
			err := s.put(ctx, p)
			s.drop(p)
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *stream) put(ctx context.Context, p *part) error {
	if p.err != nil {
		return p.err
	}
	if p.sent > s.intake.config.Limits.Rows-s.stage.at.Rows {
		return s.intake.tooLarge(s.push.Dataset.ID)
	}
	next, kept := s.stage.at, int64(0)
	if p.rec != nil {
		kept = p.rec.NumRows()
	}
	next.add(p.sent, kept, int64(len(p.body)))
	next.Chain.Add(p.leaf)
	if p.rejected > 0 {
		next.Rejected = wire.AddRejections(append([]wire.Rejection(nil), next.Rejected...), wire.Rejection{Column: s.push.Dataset.Subject, Rule: subjectRule(s.push.Dataset.SubjectKind), Rows: p.rejected})
	}
	return s.stage.put(ctx, p.rec, p.subjects, next, int64(len(p.body)))
}

// whole holds the run to what its sender says it is.
func (s *stream) whole(c wire.Closing) error {
	var left int64
	for _, r := range s.stage.at.Rejected {
		left += r.Rows
	}
	if c.Batches != s.stage.at.Chain.N || !bytes.Equal(c.Digest, s.stage.at.Chain.Sum[:]) || c.Rows != s.stage.at.Rows+left {
		return s.broken(c.Batches, "the closing describes other batches than those that came", "send the table as a new run")
	}
	return nil
}
