// Package push is the sending side of a push (数据推送): a source's record batches, encoded by package batch, in the sealed
// frames of package attest/channel. A batch that does not fit one frame is cut in halves until it does; a single row that
// does not fit is an error naming its dataset. It keeps one batch in memory.
//
// It opens no connection and signs nothing: the caller made the opening and carries the bytes.
package push

import (
	"context"
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
	var err error
	if s.buf, err = batch.Encode(s.buf[:0], rec); err != nil {
		return err
	}
	n := rec.NumRows()
	if len(s.buf) > channel.MaxFrame {
		if n == 1 {
			return &sandbox.Error{Op: "push", Kind: sandbox.TooLarge, Object: "row", Detail: "one row has at most 1 MiB"}
		}
		for _, half := range []arrow.Record{rec.NewSlice(0, n/2), rec.NewSlice(n/2, n)} {
			err := s.batch(half)
			half.Release()
			if err != nil {
				return err
			}
		}
		return nil
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
