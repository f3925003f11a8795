package node

import (
	"bytes"
	"context"
	"encoding/hex"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/push"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// wanted is what a question waits for from a unit that is no party (mpc/push): the rows never come here, nor to any one zone.
type wanted struct {
	says push.Body
	by   *sm.VerifyKey
	unit sandbox.PartyID
}

// pushedRecord is the domain's file of a push, until its run is joined or the question ends: with another party's it is the rows.
type pushedRecord struct {
	Digest string
	File   []byte
}

// pushWanted gives what a planned question's unit pushes; nil where nothing is.
func (n *Node) pushWanted(q *questionRecord, p mpc.Plan) (*wanted, error) {
	form, err := parseForm(q.Shared.Question)
	if err != nil || form.line == nil {
		return nil, err
	}
	says, by, ok, err := push.Of(form.line, p)
	if err != nil || !ok {
		return nil, err
	}
	return &wanted{says, by, form.line.Inputs()[0].Unit}, nil
}

// PushShared takes the domain's shares of what a unit pushed for a planned question; see api.Sharer. A push that is none is refused while its unit is
// there to mend it. The agency may bring it for the unit, but not put another in its place.
func (n *Node) PushShared(ctx context.Context, c api.Caller, id sandbox.QuestionID, b []byte) error {
	want, plan, err := n.pushFor(ctx, c, id)
	if err != nil {
		return err
	}
	digest, err := push.Check(bytes.NewReader(b), string(want.says.Dataset), want.says, want.by, 0, n.keys.DecryptKey()) // without the lock
	if err != nil {
		return err
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	fail := func(kind sandbox.Kind, rule, hint string) error {
		return &sandbox.Error{Op: "shares push", Kind: kind, Object: string(id), Detail: rule, Hint: hint}
	}
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return err
	}
	p, err := mpc.ParsePlan(q.Shared.Plan)
	if err != nil {
		return err
	}
	used, err := n.store.Counter(ctx, joinedOf(p.Job))
	switch {
	case err != nil:
		return err
	case q.State != stateComputing || used > 0:
		return fail(sandbox.Conflict, "its run was joined, or it waits no more", "opdomain query show "+string(id))
	case !bytes.Equal(plan, q.Shared.Plan):
		return fail(sandbox.Conflict, "the question was planned anew meanwhile", "have the unit push for the new plan")
	case !n.now().Before(p.Expires):
		return fail(sandbox.Expired, "the plan expired before the domain joined it", "whoever asked asks the same question again, and the unit pushes for the new plan")
	case c.Party.ID != want.unit && q.Shared.Pushed != nil && q.Shared.Pushed.Digest != digest:
		return fail(sandbox.Conflict, "another push of the unit is there", "its unit replaces it")
	}
	if q.Shared.Pushed != nil && q.Shared.Pushed.Digest == digest { // brought once more: nothing to put on record
		return nil
	}
	name, err := hex.DecodeString(digest)
	if err != nil {
		return err
	}
	next := *q.Shared
	next.Pushed = &pushedRecord{Digest: digest, File: bytes.Clone(b)}
	return n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		q.Shared = &next
		tx.record(attest.SharesPushed, "question/"+string(q.ID), attest.SharesPushedBody{Question: q.ID, Plan: q.Shared.Digest, Dataset: want.says.Dataset, Push: name}, agency, unitsOf(q.Spec.Scenario))
		return n.saveQuestion(ctx, q)
	})
}

// pushFor gives what a planned question waits for, to the unit that pushes it and to the agency. Others are not told that the question is there.
func (n *Node) pushFor(ctx context.Context, c api.Caller, id sandbox.QuestionID) (want *wanted, plan []byte, err error) {
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return nil, nil, err
	}
	if n.cfg.Shares != nil && q.Shared != nil {
		p, err := mpc.ParsePlan(q.Shared.Plan)
		if err != nil {
			return nil, nil, err
		}
		if want, err = n.pushWanted(&q, p); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case want != nil && (c.Party.Role == sandbox.Agency || c.Party.ID == want.unit):
		return want, q.Shared.Plan, nil
	case c.Party.Role == sandbox.Agency:
		return nil, nil, &sandbox.Error{Op: "shares push", Kind: sandbox.Conflict, Object: string(id), Detail: "no rows of the question are pushed"}
	}
	return nil, nil, &sandbox.Error{Op: "shares push", Kind: sandbox.NotFound, Object: string(id)}
}

// pushedShares opens the domain's shares for a run; Conflict where the unit has not pushed.
func (n *Node) pushedShares(q *questionRecord, p mpc.Plan) (agg.Pushed, error) {
	want, err := n.pushWanted(q, p)
	if err != nil || want == nil {
		return nil, err
	}
	if q.Shared.Pushed == nil {
		return nil, &sandbox.Error{Op: "shares", Kind: sandbox.Conflict, Object: string(q.ID), Detail: "the unit of " + string(want.says.Dataset) + " has not pushed its shares to the domain's party",
			Hint: "have it run opdomain-party push for this plan, and opdomain mpc push " + string(q.ID) + " --in FILE"}
	}
	return push.Read(bytes.NewReader(q.Shared.Pushed.File), string(want.says.Dataset), want.says, want.by, 0, n.keys.DecryptKey())
}
