package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// recover brings store, log and vault together after a crash: events left in the outbox are appended, a version the vault
// committed is made visible, a vault behind the store, or a log behind what witnesses have seen, is a named error. Runs that
// were open stay open, as far as their stages are durable.
func (n *Node) recover(ctx context.Context) error {
	if err := n.founded(); err != nil {
		return err
	}
	if err := n.align(ctx); err != nil {
		return err
	}
	if size := n.evidence.Log().Size(); size > 0 {
		last, err := n.evidence.Event(size - 1)
		if err == nil {
			n.passed(last.Event.At)
		} else if !errors.Is(err, sandbox.Expired) {
			return err
		}
	}
	if err := n.behind(ctx); err != nil {
		return err
	}
	if err := n.sayRestored(ctx); err != nil {
		return err
	}
	if err := n.takeUp(ctx); err != nil {
		return err
	}
	if err := n.dropStages(ctx); err != nil {
		return err
	}
	if err := n.goOnErasing(ctx); err != nil {
		return err
	}
	waiting, err := n.docs.questions.List(ctx, listState(stateReview))
	if err == nil {
		n.queueAge(waiting)
	}
	return err
}

// takeUp compares every dataset's version with the vault's, without opening any.
func (n *Node) takeUp(ctx context.Context) error {
	all, err := n.Datasets(ctx, api.Caller{})
	if err != nil {
		return err
	}
	for _, d := range all {
		m, err := n.vault.Mark(d.ID)
		switch {
		case errors.Is(err, sandbox.NotFound) && d.Version == 0:
			continue
		case err != nil:
			return err
		case m.Version < d.Version:
			return &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: string(d.ID),
				Detail: fmt.Sprintf("the vault is at version %d, the catalogue at %d: an older folder was put back", m.Version, d.Version)}
		case m.Version > d.Version:
			snap, err := n.vault.Head(d.ID)
			if err != nil {
				return err
			}
			rep := api.PushReport{Run: snap.Run, Dataset: d.ID, Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}
			if err := n.committed(ctx, domainIdentity, snap, rep, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropStages removes what the vault has staged of runs that are not open.
func (n *Node) dropStages(ctx context.Context) error {
	stages, err := n.vault.Stages()
	if err != nil {
		return err
	}
	for _, s := range stages {
		r, _, err := n.docs.pushes.Get(ctx, string(s.Run))
		switch {
		case err == nil && r.Push.State == pushOpen && r.Push.Dataset == s.Dataset:
			continue
		case err != nil && !errors.Is(err, sandbox.NotFound):
			return err
		}
		if err := n.vault.Drop(s.Dataset, s.Run); err != nil {
			return err
		}
	}
	return nil
}

// Check reads every sealed file of the vault and the ledger and gives every fault it finds, named.
func (n *Node) Check(ctx context.Context) []error {
	faults := n.vault.Check(ctx, nil)
	if _, err := n.populations.live(ctx, n); err != nil {
		faults = append(faults, err)
	}
	return faults
}
