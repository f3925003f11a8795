package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/ingest"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// contextStream is what a unit signs a push opening under.
const contextStream = "opdomain/stream/v1"

// States of a push.
const (
	pushOpen      = "open" // opening accepted, frames not all read yet
	pushCommitted = "committed"
	pushRefused   = "refused" // nothing of it was kept; a retry is a new run
)

// How long an opening waits for its frames, and how old it may be when it arrives.
const openingAge = 10 * time.Minute

// pushLimits bound one push; memory is one frame, one batch and the detectors' samples.
var pushLimits = ingest.Limits{Batch: batch.Limits{Rows: 1 << 16}, Rows: 1 << 32, Batches: 1 << 24}

// pushRecord is a push as the store keeps it.
type pushRecord struct {
	Push  api.Push
	Party sandbox.PartyID
}

// pendingPush is an opening that waits for its frames: its stream secret lives in memory only.
type pendingPush struct {
	opening []byte
	secret  *channel.Secret
	opened  time.Time
}

// OpenPush accepts the signed opening of a push for a dataset of the caller's own.
func (n *Node) OpenPush(ctx context.Context, c api.Caller, o api.PushOpening) (api.Push, error) {
	op, err := channel.ParseOpening(o.Opening)
	if err != nil {
		return api.Push{}, err
	}
	refuse := func(kind sandbox.Kind, rule, hint string) (api.Push, error) {
		return api.Push{}, &sandbox.Error{Op: "push: open", Kind: kind, Object: string(op.Dataset), Detail: rule, Hint: hint}
	}
	key, err := sm.ParseVerifyKey(c.Identity.SignKey)
	if err != nil {
		return api.Push{}, err
	}
	if err := key.Verify(contextStream, o.Opening, o.Signature); err != nil || op.From != c.Identity.ID {
		return refuse(sandbox.Unsigned, "the opening is signed by the identity that sends it", "")
	}
	if op.To != domainIdentity || op.Domain != n.desc.Domain {
		return refuse(sandbox.Invalid, "the opening names this domain", "read /v1/domain again")
	}
	now := n.cfg.Now()
	if age := now.Sub(op.Created); age > openingAge || age < -time.Minute {
		return refuse(sandbox.Expired, "an opening is at most ten minutes old and not from the future", "make a new opening; check the clock")
	}
	if err := sandbox.CheckID("run", string(op.Run)); err != nil {
		return api.Push{}, err
	}
	d, _, err := n.docs.datasets.Get(ctx, string(op.Dataset))
	if err != nil {
		return api.Push{}, err
	}
	if d.Unit != c.Party.ID {
		return refuse(sandbox.Denied, "a unit pushes to its own datasets only", "")
	}
	if digest := schemaDigest(d); !slices.Equal(op.SchemaDigest, digest[:]) {
		return refuse(sandbox.Conflict, "schema drift: the schema of the push is not the registered one",
			"register the changed table as a new dataset; nothing was taken in")
	}
	secret, err := op.Unwrap(n.keys.DecryptKey())
	if err != nil {
		return refuse(sandbox.Invalid, "the stream secret is sealed to this domain's encryption key", "read /v1/domain again")
	}
	digest := sm.Sum(o.Opening)
	p := api.Push{Run: op.Run, Dataset: op.Dataset, State: pushOpen, OpeningDigest: digest[:]}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.docs.pushes.Insert(ctx, string(op.Run), string(c.Party.ID), p.State, pushRecord{p, c.Party.ID}); err != nil {
		if errors.Is(err, sandbox.Conflict) {
			return refuse(sandbox.Conflict, "this run id was used before", "a committed push is not repeated; retry a failed one under a new run id")
		}
		return api.Push{}, err
	}
	for run, old := range n.pushes {
		if now.Sub(old.opened) > openingAge {
			delete(n.pushes, run)
		}
	}
	n.pushes[op.Run] = &pendingPush{opening: o.Opening, secret: secret, opened: now}
	return p, nil
}

// Push says where a push of the caller's own stands.
func (n *Node) Push(ctx context.Context, c api.Caller, run sandbox.RunID) (api.Push, error) {
	r, _, err := n.docs.pushes.Get(ctx, string(run))
	if err == nil && r.Party != c.Party.ID {
		err = &sandbox.Error{Op: "push", Kind: sandbox.NotFound, Object: string(run)}
	}
	return r.Push, err
}

// ReceivePush reads the frames of an opened push into the vault and commits it, or keeps nothing of it.
func (n *Node) ReceivePush(ctx context.Context, c api.Caller, run sandbox.RunID, body io.Reader) (api.PushReport, error) {
	p, err := n.Push(ctx, c, run)
	if err != nil {
		return api.PushReport{}, err
	}
	n.mu.Lock()
	pending := n.pushes[run]
	delete(n.pushes, run) // frames are read once; whatever happens, a retry has a new run id and a new key
	n.mu.Unlock()
	if pending == nil || n.cfg.Now().Sub(pending.opened) > openingAge {
		return api.PushReport{}, &sandbox.Error{Op: "push", Kind: sandbox.Conflict, Object: string(run), Detail: "no opening waits for these frames",
			Hint: "open the push again under a new run id"}
	}
	d, _, err := n.docs.datasets.Get(ctx, string(p.Dataset))
	if err != nil {
		return api.PushReport{}, err
	}
	frames, err := channel.NewReader(body, pending.secret, pending.opening)
	if err != nil {
		return api.PushReport{}, n.refusePush(ctx, c, p, err)
	}
	rep, err := ingest.Receive(ctx, n.mem, ingest.Push{Run: run, Dataset: d, Frames: frames}, n.vault, n.subjects, pushLimits)
	if err != nil {
		return api.PushReport{}, n.refusePush(ctx, c, p, err)
	}
	out := api.PushReport{Run: run, Dataset: p.Dataset, Version: rep.Snapshot.Version, Rows: rep.Rows, Sealed: rep.Sealed, Manifest: rep.Snapshot.Manifest[:]}
	for _, f := range rep.Findings {
		out.Findings = append(out.Findings, api.Finding{Column: f.Column, Finding: string(f.Finding), Grade: f.Grade})
	}
	if err := n.committed(ctx, c.Identity.ID, rep.Snapshot, out, rep.Findings); err != nil {
		return api.PushReport{}, err
	}
	n.cfg.Metrics.Pushed(rep.Rows, rep.Sealed)
	n.cfg.Metrics.Job("push", pushCommitted)
	return out, nil
}

// committed makes a version that the vault already holds visible to questions, with its evidence. It is also how a
// version committed just before a crash is taken up at the next start.
func (n *Node) committed(ctx context.Context, actor sandbox.IdentityID, snap vault.Snapshot, rep api.PushReport, findings []classify.ColumnFinding) error {
	return n.change(ctx, actor, func(ctx context.Context, tx *change) error {
		d, rev, err := n.docs.datasets.Get(ctx, string(snap.Dataset))
		if err != nil {
			return err
		}
		if d.Version >= snap.Version {
			return nil
		}
		d = classify.Apply(d, findings)
		d.Version, d.Rows = snap.Version, snap.Rows
		var grades []attest.ColumnGrade
		for _, col := range d.Columns {
			grades = append(grades, attest.ColumnGrade{Column: col.Name, Declared: col.Grade, Detected: col.Detected, Finding: col.Finding})
		}
		if _, err := n.docs.datasets.Update(ctx, string(d.ID), rev, string(d.Unit), "committed", d); err != nil {
			return err
		}
		p, rev, err := n.docs.pushes.Get(ctx, string(snap.Run))
		if err != nil {
			return err
		}
		p.Push.State, p.Push.Report = pushCommitted, &rep
		if _, err := n.docs.pushes.Update(ctx, string(snap.Run), rev, string(p.Party), pushCommitted, p); err != nil {
			return err
		}
		tx.record(attest.IngestCommitted, "dataset/"+string(d.ID), attest.IngestCommittedBody{Dataset: d.ID, Run: snap.Run, Version: snap.Version,
			Rows: snap.Rows, Manifest: snap.Manifest[:], Key: snap.Key, KeyCommitment: snap.KeyCommitment[:], Grades: grades})
		return nil
	})
}

// refusePush records that nothing of a push was kept and why, and gives the cause back.
func (n *Node) refusePush(ctx context.Context, c api.Caller, p api.Push, cause error) error {
	// The sender may be gone: the refusal is recorded all the same.
	ctx = context.WithoutCancel(ctx)
	n.cfg.Metrics.Job("push", pushRefused)
	return errors.Join(cause, n.recordRefusal(ctx, c.Identity.ID, p, string(sandbox.KindOf(cause))))
}

func (n *Node) recordRefusal(ctx context.Context, actor sandbox.IdentityID, p api.Push, rule string) error {
	return n.change(ctx, actor, func(ctx context.Context, tx *change) error {
		r, rev, err := n.docs.pushes.Get(ctx, string(p.Run))
		if err != nil {
			return err
		}
		r.Push.State = pushRefused
		if _, err := n.docs.pushes.Update(ctx, string(p.Run), rev, string(r.Party), pushRefused, r); err != nil {
			return err
		}
		tx.record(attest.IngestRefused, "dataset/"+string(p.Dataset), attest.IngestRefusedBody{Dataset: p.Dataset, Run: p.Run, Rule: rule})
		return nil
	})
}

// recover brings store and vault together after a crash: events left in the outbox are appended, a version the vault
// committed is made visible, a vault behind the store is a named error.
func (n *Node) recover(ctx context.Context) error {
	if err := n.founded(); err != nil {
		return err
	}
	n.mu.Lock()
	err := n.drain(ctx)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if err := n.aligned(ctx); err != nil {
		return err
	}
	all, err := n.Datasets(ctx, api.Caller{})
	if err != nil {
		return err
	}
	for _, d := range all {
		snap, err := n.vault.Head(d.ID)
		switch {
		case errors.Is(err, sandbox.NotFound) && d.Version == 0:
			continue
		case err != nil:
			return err
		case snap.Version < d.Version:
			return &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: string(d.ID),
				Detail: fmt.Sprintf("the vault is at version %d, the catalogue at %d: an older folder was put back", snap.Version, d.Version)}
		case snap.Version > d.Version:
			rep := api.PushReport{Run: snap.Run, Dataset: d.ID, Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}
			if err := n.committed(ctx, domainIdentity, snap, rep, nil); err != nil {
				return err
			}
		}
	}
	if err := n.interrupted(ctx); err != nil {
		return err
	}
	waiting, err := n.docs.questions.List(ctx, listState(stateReview))
	if err == nil {
		n.queueAge(waiting)
	}
	return err
}

// Check reads every sealed file of the vault and the ledger and gives every fault it finds, named.
func (n *Node) Check(ctx context.Context) []error {
	faults := n.vault.Check(ctx, nil)
	if _, err := n.populations.live(ctx, n); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// interrupted ends the pushes that were open when the process died: their stream secrets are gone, nothing of them was
// kept, and a retry is a new run.
func (n *Node) interrupted(ctx context.Context) error {
	rows, err := n.docs.pushes.List(ctx, listState(pushOpen))
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := n.recordRefusal(ctx, domainIdentity, r.Value.Push, "interrupted"); err != nil {
			return err
		}
	}
	return nil
}
