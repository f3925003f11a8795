// Package push is the sending side of a push (数据推送): a source's record batches, encoded by package batch, in the sealed
// frames of package attest/channel. A batch that is over batch.MaxRows or does not fit one frame is cut in halves until it
// does; a single row that does not fit is an error naming its number; a batch without rows is left out. It keeps one batch
// in memory.
//
// It opens no connection and signs nothing: the caller made the opening and carries the bytes.
package push

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// Send writes every batch of src to w as the frames of one stream and ends it. progress, if not nil, is told the rows sent
// so far. When src fails the stream is left without its last frame, so its reader keeps nothing of it.
func Send(ctx context.Context, w io.Writer, secret *channel.Secret, opening []byte, src connectors.Source, progress func(rows int64)) error {
	out, err := channel.NewWriter(w, secret, opening)
	if err != nil {
		return err
	}
	s := sender{out: out, progress: progress}
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		err = s.batch(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

type sender struct {
	out      *channel.Writer
	progress func(int64)
	buf      []byte
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
	if s.buf, err = batch.Encode(s.buf[:0], rec); err != nil {
		return err
	}
	if len(s.buf) > channel.MaxFrame {
		if n == 1 {
			return &sandbox.Error{Op: "push", Kind: sandbox.TooLarge, Object: fmt.Sprintf("row %d", s.rows+1), Detail: "one row has at most 1 MiB"}
		}
		return s.halves(rec)
	}
	if err := s.out.WriteFrame(s.buf); err != nil {
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
