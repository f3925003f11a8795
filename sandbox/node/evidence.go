package node

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// publishEvery is how often the published checkpoint changes: seen event by event, the size of the log would tell anyone
// what happens inside, such as whether a claim was answered.
const publishEvery = time.Minute

// Checkpoint gives the published checkpoint: the log's last one as of the last full minute, or of the first request after
// it.
func (n *Node) Checkpoint(context.Context) (string, error) {
	n.publish.Lock()
	defer n.publish.Unlock()
	if slot := n.now().Truncate(publishEvery); n.published == "" || slot.After(n.publishedAt) {
		n.published, n.publishedAt = n.evidence.Log().Checkpoint().String(), slot
	}
	return n.published, nil
}

// maxReplay bounds how much of the log is read to decide whether a party may see one event: what it may see depends on what
// went before. The agency and auditors need none of it.
const maxReplay = 1 << 16

// Proof proves that an entry is in the log; with the event, if it is asked for and the caller's party may see it.
func (n *Node) Proof(ctx context.Context, c api.Caller, index uint64, event bool) ([]byte, error) {
	if event {
		if err := n.mayName(ctx, c, index); err != nil {
			return nil, err
		}
	}
	p, err := n.evidence.Prove(index, event)
	if err != nil {
		return nil, err
	}
	return p.Encode()
}

// mayName says whether the caller's party may see the event of an entry. One it may not see is like one that is not there.
func (n *Node) mayName(ctx context.Context, c api.Caller, index uint64) error {
	hidden := &sandbox.Error{Op: "evidence: prove", Kind: sandbox.NotFound, Object: "event", Detail: "your party sees no event in this entry", Hint: "ask for the proof without the event"}
	if index >= n.evidence.Log().Size() {
		return hidden
	}
	visible, err := n.audience(ctx, c)
	if err != nil {
		return err
	}
	first := uint64(0)
	if supervises(c.Party) {
		first = index
	} else if index >= maxReplay {
		return &sandbox.Error{Op: "evidence: prove", Kind: sandbox.TooLarge, Object: "event", Detail: "what your party may see this far behind in the log is found by reading all of it",
			Hint: "export your party's bundle, or ask for the proof without the event"}
	}
	sees := false
	for i := first; i <= index; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := n.evidence.Event(i)
		switch {
		case err == nil:
			sees = visible(e.Event)
		case errors.Is(err, sandbox.Expired): // erased: only who sees everything learns that
			sees = supervises(c.Party)
		default:
			return err
		}
	}
	if !sees {
		return hidden
	}
	return nil
}

// Growth proves that a checkpoint the caller kept is a prefix of the log.
func (n *Node) Growth(_ context.Context, _ api.Caller, r api.GrowthRequest) ([]byte, error) {
	old, err := tlog.ParseNote(r.Checkpoint) // with co-signatures or without
	if err != nil {
		return nil, err
	}
	g, err := n.evidence.ProveGrowth(old.Checkpoint)
	if err != nil {
		return nil, err
	}
	return g.Encode()
}

// Audit reads the whole log: every record, tile and signature, and the rules over all events. See attest.Recorder.Audit.
func (n *Node) Audit(ctx context.Context, progress func(done, total uint64)) (attest.AuditReport, error) {
	n.erasing.RLock()
	defer n.erasing.RUnlock()
	return n.evidence.Audit(ctx, progress)
}

// EraseEvidence erases the payloads of entries under a rule or an order that reason names; their hashes and every proof stay.
func (n *Node) EraseEvidence(ctx context.Context, reason string, indices []uint64) error {
	n.erasing.Lock() // an audit must not come between the erasure and the event that names it
	defer n.erasing.Unlock()
	return n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
		due, err := n.evidence.EraseFor(ctx, tx.at, tx.actor, reason, indices...)
		tx.events = append(tx.events, due...)
		return err
	})
}

// Bundle writes the evidence bundle of the caller's party. That it was exported is evidence too, recorded first.
func (n *Node) Bundle(ctx context.Context, c api.Caller, w io.Writer) error {
	err := n.change(ctx, c.Identity.ID, func(_ context.Context, tx *change) error {
		tx.record(attest.BundleExported, "bundle/"+string(c.Party.ID), attest.BundleExportedBody{Audience: string(c.Party.ID), Size: n.evidence.Log().Size()}, agency, toParty(c.Party.ID))
		return nil
	})
	if err != nil {
		return err
	}
	visible, err := n.audience(ctx, c)
	if err != nil {
		return err
	}
	return n.evidence.WriteBundle(ctx, w, n.desc.Domain, string(c.Party.ID), visible)
}
