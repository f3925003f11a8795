package api

import (
	"context"
	"errors"
	"io"

	"github.com/opdomain/opdomain/sandbox"
)

// statusGone is how a call is logged and counted whose caller went away before its answer: no fault of the domain. No
// registered status says it; this one is customary.
const statusGone = 499

// severed is the error of a call whose caller went away.
type severed struct{ cause *sandbox.Error }

func (s *severed) Error() string { return s.cause.Error() }

func (s *severed) Unwrap() error { return s.cause }

// severance is what reading a body gave when its connection ended.
type severance struct{ err error }

// watch notes when a body ends early. What a bound says is no such end.
func (c *call) watch(body io.Reader) io.Reader { return &watched{body, c} }

type watched struct {
	io.Reader
	call *call
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if err != nil && err != io.EOF && !errors.Is(err, sandbox.TooLarge) {
		w.call.cut.CompareAndSwap(nil, severance{err})
	}
	return n, err
}

// gone says whether err is that the caller went away, and no fault that was found beside it.
func (c *call) gone(ctx context.Context, err error) bool {
	s, cut := c.cut.Load().(severance)
	return cut && errors.Is(err, s.err) || (cut || ctx.Err() != nil) && errors.Is(err, context.Canceled)
}
