package push

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

// Transport (推送通道) carries a run's messages to the domain.
type Transport interface {
	// Open sends a signed opening and gives the domain's answer.
	Open(ctx context.Context, opening []byte) (wire.Standing, error)
	// Frames sends one stream's bytes and gives the run's report. It reads body to its end, or closes it.
	Frames(ctx context.Context, opening []byte, run sandbox.RunID, body io.ReadCloser) (wire.Report, error)
}

// Plan (推送计划) is one run.
type Plan struct {
	// Opening makes a new opening with a new secret: every stream has its own.
	Opening func() (wire.Opening, *channel.Secret, error)
	// Source opens the table, the same at every call.
	Source func(context.Context) (connectors.Source, error)
	// Tries bounds the streams, default 8. First is the wait before the second, default 1 s; each later one is twice as long,
	// at most a minute.
	Tries int
	First time.Duration
	Sleep func(context.Context, time.Duration) error
	// Progress, if not nil, is told the rows read so far, those that stand already included.
	Progress func(rows int64)
}

// Run sends one run until it is committed, the data or the domain refuse it, or the tries are used up. A run that was
// committed before gives the same report, if the source reads as it did then; Conflict if it does not: the rows were not taken.
func Run(ctx context.Context, t Transport, p Plan) (wire.Report, error) {
	if p.Tries <= 0 {
		p.Tries = 8
	}
	if p.First <= 0 {
		p.First = time.Second
	}
	wait := p.First
	for try := 1; ; try++ {
		rep, err := once(ctx, t, p)
		if err == nil || !again(err) || try == p.Tries || ctx.Err() != nil {
			return rep, err
		}
		if serr := p.Sleep(ctx, wait); serr != nil {
			return wire.Report{}, errors.Join(err, serr)
		}
		wait = min(2*wait, time.Minute)
	}
}

// again says whether another stream may help: the connection, the domain or a stream that came out of step, not the table.
func again(err error) bool {
	e := (*sandbox.Error)(nil)
	if !errors.As(err, &e) {
		return !errors.Is(err, context.Canceled)
	}
	return e.Kind == sandbox.Unavailable || e.Kind == sandbox.Tampered
}

// once is one opening and its stream.
func once(ctx context.Context, t Transport, p Plan) (_ wire.Report, err error) {
	src, err := p.Source(ctx) // first: a table that cannot be read opens no run
	if err != nil {
		return wire.Report{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	o, secret, err := p.Opening()
	if err != nil {
		return wire.Report{}, err
	}
	text := o.Encode()
	standing, err := t.Open(ctx, text)
	if err != nil {
		return wire.Report{}, err
	}
	if standing.State == wire.Committed {
		rep := wire.Report{Run: standing.Run, Dataset: standing.Dataset}
		if standing.Report != nil {
			rep = *standing.Report
		}
		return rep, committed(ctx, src, standing)
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		serr := send(ctx, w, secret, text, src, standing, p.Progress)
		if faulty(serr) {
			w.Close() // the frames end with an abandon, which must arrive
		} else {
			w.CloseWithError(serr)
		}
		sent <- serr
	}()
	rep, err := t.Frames(ctx, text, o.Stream.Run, r)
	r.CloseWithError(io.ErrClosedPipe)
	if serr := <-sent; serr != nil && !errors.Is(serr, io.ErrClosedPipe) {
		return wire.Report{}, serr // the source's own fault names file, line, column and rule
	}
	return rep, err
}

// committed holds a source to a run that is committed: its batches are read and digested, and none is sent.
func committed(ctx context.Context, src connectors.Source, standing wire.Standing) error {
	other := func(rule string) error {
		return &sandbox.Error{Op: "push", Kind: sandbox.Conflict, Object: string(standing.Run), Detail: "this run committed other content: " + rule, Hint: "send it as a new run"}
	}
	if len(standing.Prefix) == 0 {
		return other("what it holds is not known any more")
	}
	s := sender{from: wire.Standing{ResumeFrom: math.MaxInt64}} // the domain has all there is
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		err = s.batch(rec)
		rec.Release()
		if err != nil {
			return err
		}
		if s.chain.N > standing.ResumeFrom {
			return other("the source has more batches")
		}
	}
	if s.chain.N < standing.ResumeFrom {
		return other("the source has fewer batches")
	}
	if !bytes.Equal(s.chain.Sum[:], standing.Prefix) {
		return other("the source reads differently")
	}
	return nil
}
