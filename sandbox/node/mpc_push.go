package node

import (
	"bytes"
	"context"

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
	set  sandbox.DatasetID
	unit sandbox.PartyID
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
	return &wanted{says, by, says.Dataset, form.line.Inputs()[0].Unit}, nil
}

// open reads the domain's shares of a push.
func (w *wanted) open(n *Node, b []byte) (agg.Pushed, error) {
	return push.Read(bytes.NewReader(b), "push of "+string(w.set), w.says, w.by, 0, n.keys.DecryptKey())
}

// PushShared takes the domain's shares of what a unit pushed for a planned question; see api.Sharer. They are opened once here, so that a push that
// is none is refused while its unit is there to mend it, and again for the run.
func (n *Node) PushShared(ctx context.Context, c api.Caller, id sandbox.QuestionID, b []byte) error {
	n.asking.Lock()
	defer n.asking.Unlock()
	fail := func(kind sandbox.Kind, rule, hint string) error {
		return &sandbox.Error{Op: "shares push", Kind: kind, Object: string(id), Detail: rule, Hint: hint}
	}
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return err
	}
	if q.Shared == nil || n.cfg.Shares == nil {
		return fail(sandbox.NotFound, "a question that waits for its parties", "")
	}
	p, err := mpc.ParsePlan(q.Shared.Plan)
	if err != nil {
		return err
	}
	want, err := n.pushWanted(&q, p)
	if err != nil {
		return err
	}
	if c.Party.Role != sandbox.Agency && (want == nil || c.Party.ID != want.unit) { // others are not told that it is there
		return fail(sandbox.NotFound, "a question that waits for its parties", "")
	}
	used, err := n.store.Counter(ctx, joinedOf(p.Job))
	switch {
	case err != nil:
		return err
	case want == nil:
		return fail(sandbox.Conflict, "no rows of the question are pushed", "")
	case q.State != stateComputing || used > 0:
		return fail(sandbox.Conflict, "its run was joined, or it waits no more", "opdomain query show "+string(id))
	case !n.now().Before(p.Expires):
		return fail(sandbox.Expired, "the plan expired before the domain joined it", "whoever asked asks the same question again, and the unit pushes for the new plan")
	}
	if _, err := want.open(n, b); err != nil {
		return err
	}
	next := *q.Shared
	next.Pushed = bytes.Clone(b)
	return n.change(ctx, c.Identity.ID, func(ctx context.Context, _ *change) error {
		q.Shared = &next
		return n.saveQuestion(ctx, q)
	})
}

// pushedShares opens the domain's shares for a run; Conflict where the unit has not pushed.
func (n *Node) pushedShares(q *questionRecord, p mpc.Plan) (agg.Pushed, error) {
	want, err := n.pushWanted(q, p)
	if err != nil || want == nil {
		return nil, err
	}
	if len(q.Shared.Pushed) == 0 {
		return nil, &sandbox.Error{Op: "shares", Kind: sandbox.Conflict, Object: string(q.ID), Detail: "the unit of " + string(want.set) + " has not pushed its shares to the domain's party",
			Hint: "have it run opdomain-party push for this plan, and opdomain mpc push " + string(q.ID) + " --in FILE"}
	}
	return want.open(n, q.Shared.Pushed)
}
