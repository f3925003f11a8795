package node

import (
	"context"
	"errors"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// Pushes lists the open runs: a unit's own, or all for the agency and auditors.
func (n *Node) Pushes(ctx context.Context, c api.Caller) ([]api.Push, error) {
	whose := ownerFilter(c.Party)
	whose.State = pushOpen
	rows, err := n.docs.pushes.List(ctx, whose)
	out := []api.Push{}
	for _, r := range rows {
		out = append(out, r.Value.Push)
	}
	return out, err
}

// AbandonPush ends an open run for good: a stream under way stops, its stage is dropped, and the refusal is evidence. The
// refusal comes first: a crash behind it leaves a stage that is dropped at the next start.
func (n *Node) AbandonPush(ctx context.Context, c api.Caller, run sandbox.RunID) (api.Push, error) {
	fail := func(kind sandbox.Kind, rule, hint string) (api.Push, error) {
		return api.Push{}, &sandbox.Error{Op: "push: abandon", Kind: kind, Object: string(run), Detail: rule, Hint: hint}
	}
	r, _, err := n.docs.pushes.Get(ctx, string(run))
	if errors.Is(err, sandbox.NotFound) || err == nil && r.Party != c.Party.ID && c.Party.Role != sandbox.Agency {
		return fail(sandbox.NotFound, "no such run", "opdomain ingest list shows those that are open")
	}
	if err != nil {
		return api.Push{}, err
	}
	if err := n.refuseOpen(ctx, c, r); err != nil {
		return api.Push{}, err
	}
	was := r.Push.State
	if r, _, err = n.docs.pushes.Get(ctx, string(run)); err != nil {
		return api.Push{}, err
	}
	if was != pushOpen || r.Push.State != pushRefused {
		return fail(sandbox.Conflict, "the run is "+r.Push.State+" and not open", "")
	}
	n.cfg.Metrics.Job("push", pushRefused)
	return r.Push, n.intake.Drop(r.Push.Dataset, run)
}

// refuseOpen refuses an open run at a moment when no stream of it flows, and lets none begin.
func (n *Node) refuseOpen(ctx context.Context, c api.Caller, r pushRecord) error {
	run := r.Push.Run
	for {
		if err := n.endStream(ctx, run); err != nil {
			return err
		}
		done, err := func() (bool, error) {
			n.streamMu.Lock() // no opening and no frames meanwhile
			defer n.streamMu.Unlock()
			if n.begun(run) {
				return false, nil
			}
			if err := n.recordRefusal(ctx, c.Identity.ID, r, ruleAbandoned); err != nil {
				return false, err
			}
			delete(n.streams, run)
			return true, nil
		}()
		if done || err != nil {
			return err
		}
	}
}
