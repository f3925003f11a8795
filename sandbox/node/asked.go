package node

import (
	"context"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/store"
)

// seen is a question as its asker sees it at a time.
func (n *Node) seen(q questionRecord, at time.Time) api.Question {
	out := api.Question{ID: q.ID, Scenario: q.Spec.Scenario, State: q.State, Decision: q.Decision, Release: q.Release, Asked: q.Asked}
	if q.State == stateWithheld { // its asker was shut out in a run with others: no review of it is
		out.Code = sandbox.CodeWithheld
	}
	if q.Shared != nil && q.State == stateComputing {
		out.Shares, _ = q.Shared.terms() // of what was planned here
	}
	if q.Review != nil {
		out.Round = q.Review.Round
		switch r := q.Review.At(at); r.State {
		case egress.Released:
			out.State = stateReleased
		case egress.Rejected:
			out.State, out.AppealUntil = stateDeclined, r.AppealUntil
		case egress.Expired:
			out.State = stateExpired
		case egress.Returned:
			out.State, out.Comment = stateReturned, r.Comment
		case egress.Withdrawn:
			out.State = stateWithdrawn
		case egress.Revoked:
			out.State, out.Notice = stateRevoked, r.Notice
		case egress.Withheld, egress.Quarantined:
			out.State, out.Code = stateWithheld, sandbox.CodeWithheld
		default:
			out.State = stateInReview
		}
	}
	return out
}

// Questions lists the questions of the caller's party; the agency, auditors and owning units see all that concern them.
func (n *Node) Questions(ctx context.Context, c api.Caller) ([]api.Question, error) {
	rows, err := n.docs.questions.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := []api.Question{}
	for _, r := range rows {
		ok, err := n.concerns(ctx, c, r.Value)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, n.seen(r.Value, n.now()))
		}
	}
	return out, nil
}

// Question gives one question that concerns the caller.
func (n *Node) Question(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.Question, error) {
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return api.Question{}, err
	}
	ok, err := n.concerns(ctx, c, q)
	if err == nil && !ok {
		err = &sandbox.Error{Op: "question", Kind: sandbox.NotFound, Object: string(id)}
	}
	if err == nil && n.due(q, n.now()) { // its slot has come: who asks does not wait for the next round
		if err = n.arrive(ctx, id); err == nil {
			q, _, err = n.docs.questions.Get(ctx, string(id))
		}
	}
	if err != nil {
		return api.Question{}, err
	}
	return n.seen(q, n.now()), nil
}

// concerns says whether a question is the caller's own, about its data, or under its supervision.
func (n *Node) concerns(ctx context.Context, c api.Caller, q questionRecord) (bool, error) {
	if q.Party == c.Party.ID || c.Party.Role == sandbox.Agency || c.Party.Role == sandbox.Auditor {
		return true, nil
	}
	some, _, err := n.owns(ctx, c.Party, q.Inputs)
	return some, err
}

// owns says whether some and whether all of the inputs are a unit's own.
func (n *Node) owns(ctx context.Context, p sandbox.Party, inputs []sandbox.InputVersion) (some, all bool, err error) {
	if p.Role != sandbox.Unit {
		return false, false, nil
	}
	all = len(inputs) > 0
	for _, in := range inputs {
		d, _, err := n.docs.datasets.Get(ctx, string(in.Dataset))
		if err != nil {
			return false, false, err
		}
		some = some || d.Unit == p.ID
		all = all && d.Unit == p.ID
	}
	return some, all, nil
}

// policyVersion names the rules decisions are made under.
func (n *Node) policyVersion() string { return policy.Version(n.profile) }
