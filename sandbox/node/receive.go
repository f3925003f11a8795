package node

import (
	"context"
	"errors"
	"io"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/ingest"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
	"github.com/opdomain/opdomain/sandbox/store"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// ownerFilter selects what a party may see of documents that units own.
func ownerFilter(p sandbox.Party) store.Filter {
	if supervises(p) {
		return store.Filter{}
	}
	return store.Filter{Owner: string(p.ID)}
}

// ReceivePush reads one stream of an open run into the vault and commits the run when it is whole. A fault of the data
// refuses the run; after any other end it stays open for a further opening.
func (n *Node) ReceivePush(ctx context.Context, c api.Caller, run sandbox.RunID, body io.Reader) (api.PushReport, error) {
	if _, err := n.ownPush(ctx, c, run); err != nil {
		return api.PushReport{}, err
	}
	caller := ctx
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	opening, secret, end := n.take(run, stop)
	if secret == nil {
		return api.PushReport{}, &sandbox.Error{Op: "push", Kind: sandbox.Conflict, Object: string(run), Detail: "no opening waits for these frames", Hint: "open the push again"}
	}
	defer end()
	r, _, err := n.docs.pushes.Get(ctx, string(run))
	if err != nil {
		return api.PushReport{}, err
	}
	if r.Push.State != pushOpen {
		return api.PushReport{}, &sandbox.Error{Op: "push", Kind: sandbox.Conflict, Object: string(run), Detail: "the run is " + r.Push.State, Hint: "ask where it stands: opdomain ingest show " + string(run)}
	}
	op, err := wire.ParseOpening(r.First)
	if err != nil {
		return api.PushReport{}, err
	}
	d, _, err := n.docs.datasets.Get(ctx, string(r.Push.Dataset))
	if err != nil {
		return api.PushReport{}, err
	}
	if d, err = n.drifted(ctx, c, d, op); err != nil {
		return api.PushReport{}, err
	}
	frames, err := channel.NewReader(body, secret, opening)
	if err != nil {
		return api.PushReport{}, err
	}
	rules, err := n.rulesInForce(ctx)
	if err != nil {
		return api.PushReport{}, err
	}
	res, err := n.intake.Receive(ctx, ingest.Push{Run: run, Dataset: d, Rows: op.Rows, Frames: frames, Ready: func(ctx context.Context) error {
		_, _, err := n.Identity(ctx, c.Identity.ID) // revoked while its rows came in
		return err
	}})
	if errors.Is(err, context.Canceled) && caller.Err() == nil { // by endStream
		return api.PushReport{}, &sandbox.Error{Op: "push", Kind: sandbox.Conflict, Object: string(run), Detail: "a later opening of the run, or its end, stopped this stream"}
	}
	if refused := (*ingest.Refusal)(nil); errors.As(err, &refused) {
		return api.PushReport{}, n.refusePush(ctx, c, r, refused.Err)
	}
	if err != nil {
		return api.PushReport{}, err
	}
	res.Findings = levels(rules.Rules, res.Findings)
	out := report(r, res)
	// The version stands: that its sender went away changes nothing.
	if err := n.committed(context.WithoutCancel(ctx), c.Identity.ID, res.Snapshot, out, res.Findings, &res.Quality); err != nil {
		return api.PushReport{}, err
	}
	n.cfg.Metrics.Pushed(res.Progress.Rows, res.Progress.Bytes)
	n.cfg.Metrics.Job("push", pushCommitted)
	return out, nil
}

// take claims the opening that waits for a run's frames: frames of one opening are read once.
func (n *Node) take(run sandbox.RunID, stop context.CancelFunc) (opening []byte, secret *channel.Secret, end func()) {
	n.streamMu.Lock()
	defer n.streamMu.Unlock()
	s := n.streams[run]
	if s == nil || s.secret == nil || s.done != nil || n.now().Sub(s.opened) > openingAge {
		return nil, nil, nil
	}
	secret, s.secret = s.secret, nil
	s.stop, s.done = stop, make(chan struct{})
	return s.opening, secret, func() {
		n.streamMu.Lock()
		defer n.streamMu.Unlock()
		close(s.done)
		if n.streams[run] == s {
			delete(n.streams, run)
		}
	}
}

func report(r pushRecord, res ingest.Result) api.PushReport {
	p, s := res.Progress, res.Snapshot
	out := api.PushReport{Run: s.Run, Dataset: s.Dataset, Version: s.Version, Rows: p.Rows, Sealed: p.Bytes, Manifest: s.Manifest[:],
		Read: res.Read, Unused: res.Unused, Batches: p.Chain.N, Digest: p.Chain.Sum[:], Streams: p.Streams, Duplicates: p.Duplicates, Began: r.Opened.UTC()}
	for _, x := range p.Rejected {
		out.Rejected = append(out.Rejected, api.Rejection{Column: x.Column, Rule: x.Rule, Rows: x.Rows})
	}
	for _, f := range res.Findings {
		if f.Finding == "" { // a column in which nothing was found
			continue
		}
		out.Findings = append(out.Findings, api.Finding{Column: f.Column, Finding: string(f.Finding), Grade: f.Grade})
	}
	return out
}

// committed makes a version that the vault already holds visible to questions, with its evidence. It is also how a
// version committed just before a crash is taken up at the next start.
func (n *Node) committed(ctx context.Context, actor sandbox.IdentityID, snap vault.Snapshot, rep api.PushReport, findings []classify.ColumnFinding, counts *catalog.Quality) error {
	defer n.reindex(ctx, snap.Dataset)
	return n.change(ctx, actor, func(ctx context.Context, tx *change) error {
		d, rev, err := n.docs.datasets.Get(ctx, string(snap.Dataset))
		if err != nil {
			return err
		}
		was := d
		if d.Version >= snap.Version {
			return nil
		}
		p, prev, err := n.docs.pushes.Get(ctx, string(snap.Run))
		if err != nil {
			return err
		}
		op, err := wire.ParseOpening(p.First)
		if err != nil {
			return err
		}
		if d, err = n.drifted(ctx, api.Caller{}, d, op); err != nil {
			return err
		}
		d, open, err := n.settle(ctx, d, snap.Version, findings)
		if err != nil {
			return err
		}
		hit, err := n.affected(ctx, tx.at, moved(was, d))
		if err != nil {
			return err
		}
		d.Version, d.Rows = snap.Version, snap.Rows
		if counts != nil {
			if err := n.docs.quality.Insert(ctx, factID(d.ID, "v", d.Version), string(d.Unit), string(d.ID), *counts); err != nil {
				return err
			}
		}
		if drift := catalog.Compare(was.Schema(), d.Schema()); len(drift.Changes) > 0 {
			if d.Revision = max(d.Revision, 1) + 1; was.Revision == 0 {
				was.Revision = 1
				if _, err := n.keepRevision(ctx, was, []string{"registered"}, actor, tx.at); err != nil {
					return err
				}
			}
			var changed []string
			for _, x := range drift.Changes {
				changed = append(changed, x.String())
			}
			if _, err := n.keepRevision(ctx, d, changed, actor, tx.at); err != nil {
				return err
			}
		}
		var grades []attest.ColumnGrade
		for _, col := range d.Columns {
			grades = append(grades, attest.ColumnGrade{Column: col.Name, Declared: col.Grade, Detected: col.Detected, Finding: col.Finding, Personal: col.Personal})
		}
		if _, err := n.docs.datasets.Update(ctx, string(d.ID), rev, string(d.Unit), "committed", d); err != nil {
			return err
		}
		rep.Ended = tx.at
		p.Push.State, p.Push.Report = pushCommitted, &rep
		p.Push.ResumeFrom, p.Push.Prefix = 0, nil
		if _, err := n.docs.pushes.Update(ctx, string(snap.Run), prev, string(p.Party), pushCommitted, p); err != nil {
			return err
		}
		if err := n.renewed(ctx, d, tx.at); err != nil {
			return err
		}
		tx.record(attest.IngestCommitted, "dataset/"+string(d.ID), attest.IngestCommittedBody{Dataset: d.ID, Run: snap.Run, Version: snap.Version,
			Rows: snap.Rows, Manifest: snap.Manifest[:], Key: snap.Key, KeyCommitment: snap.KeyCommitment[:], Grades: grades,
			Open: open, Affected: named(hit)}, agency, toParty(d.Unit))
		return nil
	})
}

// refusePush records that nothing of a push was kept and why, and gives the cause back.
func (n *Node) refusePush(ctx context.Context, c api.Caller, r pushRecord, cause error) error {
	// The sender may be gone: the refusal is recorded all the same.
	ctx = context.WithoutCancel(ctx)
	n.cfg.Metrics.Job("push", pushRefused)
	rule := string(sandbox.KindOf(cause))
	if vault.Full(cause) {
		rule = ruleNoRoom
	}
	return errors.Join(cause, n.recordRefusal(ctx, c.Identity.ID, r, rule))
}

func (n *Node) recordRefusal(ctx context.Context, actor sandbox.IdentityID, p pushRecord, rule string) error {
	return n.change(ctx, actor, func(ctx context.Context, tx *change) error {
		r, rev, err := n.docs.pushes.Get(ctx, string(p.Push.Run))
		if err != nil || r.Push.State != pushOpen {
			return err
		}
		r.Push.State, r.Push.Rule = pushRefused, rule
		if _, err := n.docs.pushes.Update(ctx, string(p.Push.Run), rev, string(r.Party), pushRefused, r); err != nil {
			return err
		}
		tx.record(attest.IngestRefused, "dataset/"+string(r.Push.Dataset), attest.IngestRefusedBody{Dataset: r.Push.Dataset, Run: r.Push.Run, Rule: rule}, agency, toParty(r.Party))
		return nil
	})
}
