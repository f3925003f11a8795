package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/ingest"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// recover opens the domain, or leaves it waiting: a log behind what witnesses have seen is a named error, and as long as too
// few of them answer to know, nothing is touched and no request is taken.
func (n *Node) recover(ctx context.Context) error {
	if err := n.founded(); err != nil {
		return err
	}
	err := n.confirm(ctx)
	if errors.Is(err, sandbox.Unavailable) && n.admitting.Load() == waits {
		return nil
	}
	return err
}

// takeOn brings store, log and vault together after a crash: events left in the outbox are appended, a version the vault
// committed is made visible, a vault behind the store is a named error. Runs that were open stay open, as far as their stages
// are durable.
func (n *Node) takeOn(ctx context.Context) error {
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
	if err := n.eraseViews(ctx); err != nil {
		return err
	}
	if err := n.takeUpRules(ctx); err != nil {
		return err
	}
	if err := n.endLostSums(ctx); err != nil {
		return err
	}
	if err := n.endLostJoints(ctx); err != nil {
		return err
	}
	if err := n.endStoppedShares(ctx); err != nil {
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
	all, err := n.everyDataset(ctx)
	if err != nil {
		return err
	}
	// The index is made while the vault's marks are read, which is waiting for the file system.
	type marked struct {
		vault.Mark
		err error
	}
	marks := make([]marked, len(all))
	var both sync.WaitGroup
	both.Go(func() {
		for i := range all {
			n.index.Put(&all[i])
		}
	})
	both.Go(func() {
		for i := range all {
			marks[i].Mark, marks[i].err = n.vault.Mark(all[i].ID)
		}
	})
	both.Wait()
	for i := range all {
		d := &all[i]
		m, err := marks[i].Mark, marks[i].err
		switch {
		case errors.Is(err, sandbox.NotFound) && d.Version == 0:
			continue
		case errors.Is(err, sandbox.NotFound):
			return &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: string(d.ID), Detail: fmt.Sprintf("the catalogue is at version %d, the vault has none: the dataset's folder was removed", d.Version),
				Hint: "put vault/" + string(d.ID) + " back, or bring the domain back from a backup: opdomain restore"}
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
			if err := n.takeUpVersion(ctx, snap); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeUpVersion makes a version visible that the vault committed just before a crash, with what was found in it. Nobody knows
// what stands in a version that does not say so: it is taken for the strictest grade until a person confirms another.
func (n *Node) takeUpVersion(ctx context.Context, snap vault.Snapshot) error {
	r, _, err := n.docs.pushes.Get(ctx, string(snap.Run))
	if err != nil {
		return err
	}
	rules, err := n.rulesInForce(ctx)
	if err != nil {
		return err
	}
	res, found, err := ingest.Committed(snap)
	res.Findings = levels(rules.Rules, res.Findings)
	rep := report(r, res)
	switch {
	case errors.Is(err, sandbox.NotFound):
		rep = api.PushReport{Run: snap.Run, Dataset: snap.Dataset, Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}
	case err != nil:
		return err
	case found:
		return n.committed(ctx, domainIdentity, snap, rep, res.Findings, &res.Quality)
	}
	d, _, err := n.docs.datasets.Get(ctx, string(snap.Dataset))
	if err != nil {
		return err
	}
	var unknown []classify.ColumnFinding
	for _, c := range d.Columns {
		unknown = append(unknown, classify.ColumnFinding{Column: c.Name, Finding: classify.Unknown})
	}
	return n.committed(ctx, domainIdentity, snap, rep, unknown, nil)
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

// Check reads every sealed file of the vault and the ledger, holds the vault to the catalogue and to the receipts of pushes,
// and gives every fault it finds, named, with the number of datasets it looked at.
func (n *Node) Check(ctx context.Context) (datasets int, faults []error) {
	expect, err := n.expected(ctx)
	if err != nil {
		return 0, []error{err}
	}
	faults = n.withoutErasedViews(ctx, n.vault.Check(ctx, expect))
	if err := n.populations.load(ctx, n, true); err != nil {
		faults = append(faults, err)
	}
	return len(expect), faults
}

// expected is what the vault's current versions must be at least. The catalogue is read first: a push that commits meanwhile
// makes the vault newer, which is as good.
func (n *Node) expected(ctx context.Context) (map[sandbox.DatasetID]vault.Expected, error) {
	all, err := n.Datasets(ctx, api.Caller{})
	if err != nil {
		return nil, err
	}
	expect := make(map[sandbox.DatasetID]vault.Expected)
	for _, d := range all {
		if d.Version == 0 {
			continue
		}
		x := vault.Expected{Version: d.Version}
		if _, _, err := n.docs.erasures.Get(ctx, erasureID(d.ID, d.Version)); err == nil {
			x.Erased = true
		} else if !errors.Is(err, sandbox.NotFound) {
			return nil, err
		}
		// Which run made the version, the vault says; what that run left, its receipt. A version that no receipt speaks of has no
		// manifest to equal.
		if m, err := n.vault.Mark(d.ID); err == nil && x.Erased {
			_, _ = hex.Decode(x.Manifest[:], []byte(m.Manifest)) // the receipt's run cannot be read any more
		} else if snap, err := n.vault.Head(d.ID); err == nil {
			p, _, err := n.docs.pushes.Get(ctx, string(snap.Run))
			if err != nil && !errors.Is(err, sandbox.NotFound) {
				return nil, err
			}
			if r := p.Push.Report; err == nil && r != nil && r.Dataset == d.ID && r.Version == d.Version {
				copy(x.Manifest[:], r.Manifest)
			}
		}
		expect[d.ID] = x
	}
	return expect, nil
}
