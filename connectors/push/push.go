// Package push is the sending side of a push (数据推送): a source's record batches, encoded by package batch and numbered as
// sandbox/ingest/wire lays down, in the sealed frames of package attest/channel. A batch that is over batch.MaxRows or does
// not fit one frame is cut in halves until it does; a single row that does not fit is an error naming its number; a batch
// without rows is left out. It keeps one batch in memory.
//
// Run carries a whole run over as many streams as it takes: a connection that breaks is followed by a new opening with a new
// secret, and the source is read again up to the batch where the domain stands. The digest of what was read again must be
// the domain's; a source that has changed meanwhile is a Conflict and needs a new run, also when the run was committed. Tries are bounded, waits double, and
// waiting is the caller's function.
//
// It opens no connection and signs nothing: the caller's Transport does.
package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

// Send writes every batch of src to w as the frames of one stream, closes the run and ends the stream. progress, if not
// nil, is told the rows sent so far. When src itself is at fault the domain is told to give the run up.
func Send(ctx context.Context, w io.Writer, secret *channel.Secret, opening []byte, src connectors.Source, progress func(rows int64)) error {
	return send(ctx, w, secret, opening, src, wire.Standing{}, progress)
}

// send goes on behind the batches that stand.
func send(ctx context.Context, w io.Writer, secret *channel.Secret, opening []byte, src connectors.Source, from wire.Standing, progress func(rows int64)) error {
	out, err := channel.NewWriter(w, secret, opening)
	if err != nil {
		return err
	}
	s := sender{out: out, from: from, progress: progress}
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = s.batch(rec)
			rec.Release()
		}
		if err != nil {
			if faulty(err) { // best effort: without it the run only waits until it is too old
				_ = errors.Join(out.WriteFrame(wire.AppendHeader(nil, wire.Abandon, s.chain.N)), out.Close())
			}
			return err
		}
	}
	if s.chain.N < from.ResumeFrom {
		return changed("it has fewer batches than were sent before")
	}
	return s.close(src)
}

// faulty says that the table itself cannot be sent, now or later.
func faulty(err error) bool {
	e := (*sandbox.Error)(nil)
	return errors.As(err, &e) && (e.Kind == sandbox.Invalid || e.Kind == sandbox.TooLarge)
}

func changed(rule string) error {
	return &sandbox.Error{Op: "push: resume", Kind: sandbox.Conflict, Object: "source", Detail: "the source has changed since the run began: " + rule, Hint: "start a new run"}
}

type sender struct {
	out      *channel.Writer
	from     wire.Standing
	progress func(int64)
	buf      []byte
	chain    wire.Chain
	rows     int64
}

func (s *sender) batch(rec arrow.Record) error {
	n := rec.NumRows()
	if n == 0 {
		return nil
	}
	if n > batch.MaxRows {
		return s.halves(rec)
	}
	var err error
	if s.buf, err = batch.Encode(wire.AppendHeader(s.buf[:0], wire.Batch, s.chain.N+1), rec); err != nil {
		return err
	}
	if len(s.buf) > channel.MaxFrame {
		if n == 1 {
			return &sandbox.Error{Op: "push", Kind: sandbox.TooLarge, Object: fmt.Sprintf("row %d", s.rows+1), Detail: "one row has at most 1 MiB"}
		}
		return s.halves(rec)
	}
	s.chain.Add(wire.Leaf(s.buf[wire.HeaderSize:]))
	if s.chain.N <= s.from.ResumeFrom { // the domain has it
		if s.chain.N == s.from.ResumeFrom && string(s.chain.Sum[:]) != string(s.from.Prefix) {
			return changed("what was sent before reads differently now")
		}
	} else if err := s.out.WriteFrame(s.buf); err != nil {
		return err
	}
	s.rows += n
	if s.progress != nil {
		s.progress(s.rows)
	}
	return nil
}

func (s *sender) halves(rec arrow.Record) error {
	n := rec.NumRows()
	for _, cut := range [][2]int64{{0, n / 2}, {n / 2, n}} {
		half := rec.NewSlice(cut[0], cut[1])
		err := s.batch(half)
		half.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// close says what the run was and ends the stream.
func (s *sender) close(src connectors.Source) error {
	read, _ := src.Counts()
	c := wire.Closing{Batches: s.chain.N, Rows: s.rows, Digest: s.chain.Sum[:], Read: read}
	if r, ok := src.(connectors.Rejecter); ok {
		for _, x := range r.Rejected() {
			c.Rejected = wire.AddRejections(c.Rejected, wire.Rejection(x))
		}
	}
	if u, ok := src.(connectors.Surplus); ok {
		c.Unused = bounded(u.Unused())
	}
	b, err := c.Encode()
	if err != nil {
		return &sandbox.Error{Op: "push", Kind: sandbox.Internal, Object: "closing", Err: err}
	}
	if err := s.out.WriteFrame(append(wire.AppendHeader(nil, wire.Close, c.Batches), b...)); err != nil {
		return err
	}
	return s.out.Close()
}

// bounded keeps what a closing says about headers within its bounds; where some are left out, the last one says how many.
func bounded(headers []string) []string {
	headers = slices.Clone(headers)
	for i, h := range headers {
		if h == "" || len(h) > wire.MaxHeader {
			headers[i] = "a header of another length"
		}
	}
	if over := len(headers) - wire.MaxUnused; over > 0 {
		headers = append(headers[:wire.MaxUnused-1], fmt.Sprintf("%d more", over+1))
	}
	return headers
}
