package main

import (
	"context"
	"errors"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

// hinted is an error with a hint of this command's own, printed behind the one that the error may have.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// askWait bounds how long the domain is asked where a run stands that broke off.
const askWait = 5 * time.Second

// brokenOff adds to the error of a push how its run goes on, if it can: the domain says whether the run is still there. One
// that cannot be asked is taken to have it.
func (s *session) brokenOff(ctx context.Context, run sandbox.RunID, err error) error {
	on := &hinted{err, "go on with --run " + string(run)}
	if ctx.Err() != nil { // interrupted
		return on
	}
	ctx, stop := context.WithTimeout(ctx, askWait)
	defer stop()
	p, aerr := result[api.Push](s.api.GetPush(ctx, run))
	switch {
	case errors.Is(aerr, sandbox.NotFound), errors.Is(aerr, sandbox.Denied): // it was never opened
		return err
	case aerr == nil && wire.State(p.State) == wire.Refused:
		return err
	case aerr == nil && wire.State(p.State) == wire.Committed && errors.Is(err, sandbox.Conflict): // other rows than these
		return err
	}
	return on
}
