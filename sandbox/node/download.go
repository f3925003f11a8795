package node

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// Bounds of handing out one release (下载期限与次数): what is fetched again and again is not the recipient's any more. The hour begins with the first
// download, so that a recipient who is away does not lose it; until then the approval's own expiry holds. Source: the gate's state table.
const (
	downloadFor = time.Hour
	downloads   = 10
)

// Release gives a sealed envelope to its recipient's party, and counts it. Once its downloads or their hour are over the release is expired: asked
// again, the question is reviewed anew.
func (n *Node) Release(ctx context.Context, c api.Caller, id sandbox.ReleaseID) (json.RawMessage, error) {
	r, _, err := n.docs.releases.Get(ctx, string(id))
	if err == nil && r.Party != c.Party.ID {
		err = &sandbox.Error{Op: "release", Kind: sandbox.NotFound, Object: string(id)}
	}
	if err == nil {
		err = n.standingRelease(ctx, r)
	}
	if err == nil {
		err = n.proven(ctx) // it leaves when a quorum of witnesses has seen that it does
	}
	if err != nil {
		return nil, err
	}
	var envelope json.RawMessage
	over := false
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		envelope, over = nil, false
		cur, rev, err := n.docs.releases.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if err := n.standingRelease(ctx, cur); err != nil { // revoked meanwhile
			return err
		}
		if over = cur.Fetched >= downloads || !cur.First.IsZero() && !tx.at.Before(cur.First.Add(downloadFor)); over {
			return n.spent(ctx, tx, cur)
		}
		if cur.Fetched++; cur.First.IsZero() {
			cur.First = tx.at
		}
		envelope = cur.Envelope
		_, err = n.docs.releases.Update(ctx, string(id), rev, string(cur.Party), string(cur.Info.Class), cur)
		return err
	})
	if err == nil && over {
		err = &sandbox.Error{Op: "release", Kind: sandbox.Expired, Object: string(id), Detail: "it was downloaded as often, or as long ago, as it may be", Hint: "ask the question again: it is reviewed anew"}
	}
	if err != nil {
		return nil, err
	}
	return envelope, nil
}

// spent ends the review of a release that is not handed out any more. One of class B has none.
func (n *Node) spent(ctx context.Context, tx *change, r releaseRecord) error {
	q, _, err := n.docs.questions.Get(ctx, string(r.Info.Question))
	if errors.Is(err, sandbox.NotFound) || err == nil && (q.Review == nil || q.Review.State != egress.Released) {
		return nil
	}
	if err != nil {
		return err
	}
	next, err := q.Review.Spend()
	if err != nil {
		return err
	}
	q.Review = &next
	n.moved(tx, &q, nil, q.audiences()...)
	return n.saveQuestion(ctx, q)
}
