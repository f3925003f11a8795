package node

import (
	"context"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// outgoing runs the gate of a class and submits what it made, or withholds it.
func (n *Node) outgoing(ctx context.Context, c api.Caller, q *questionRecord, st *attest.Statement, params egress.Params, gate func(context.Context) gated) error {
	ctx = context.WithoutCancel(ctx) // an asker who hangs up learns nothing and saves nothing
	at := n.now()
	sub := egress.Submission{Question: q.ID, Class: q.Decision.Class, Author: q.Asker, Recipient: q.Asker, Role: c.Party.Role, Policy: n.policyVersion(), Now: at.UTC(),
		Expires: at.UTC().AddDate(0, 0, n.profile.Release.ApprovalDays.Value).Truncate(time.Second)}
	sub.Appeal = sub.Expires.Sub(sub.Now) // as long as a vote counts
	for _, in := range q.Inputs {
		sub.Datasets = append(sub.Datasets, in.Dataset)
	}
	sub.Params = params
	found := gate(ctx)
	sub.Owners = found.owners
	id, err := n.newID("r")
	if err != nil {
		return err
	}
	next := *q
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		*q = next
		if st != nil {
			if err := n.resubmitted(ctx, tx, c, q, *st, &sub); err != nil {
				return err
			}
		}
		if found.record != nil {
			found.record(tx)
		}
		tx.record(attest.RunComputed, "question/"+string(q.ID), attest.RunComputedBody{Question: q.ID, Run: sandbox.RunID(id), Inputs: n.inside(q.Inputs)}, q.audiences()...)
		if found.ran != nil {
			tx.record(attest.AlgorithmRan, "algorithm/"+string(algorithmID(found.ran.Name, found.ran.Version)), *found.ran, agency, unitsOf(q.Spec.Scenario))
		}
		return n.submit(ctx, tx, q, sub, found)
	})
	if err != nil {
		return err
	}
	if q.Review.State == egress.Withheld || q.Review.State == egress.Quarantined {
		n.cfg.Metrics.Refused(sandbox.CodeWithheld)
	}
	n.cfg.Metrics.Job("question", string(q.Review.State))
	return nil
}

// gated is what the gate found: an answer that may come before reviewers, or why not.
type gated struct {
	checked *egress.Checked // of class A
	product *egress.Product // of another class
	owners  []sandbox.PartyID
	finding *egress.Finding
	entry   sandbox.QuestionID // in the ledger
	cause   string
	hit     error // content that is quarantined

	uncertified string

	ran    *attest.AlgorithmRanBody // of foreign code
	record func(*change)            // of a run over shares: how it ended
}

func (g gated) outgoing() egress.Outgoing {
	if g.product != nil {
		return g.product
	}
	return g.checked
}

// submit puts what the gate found before reviewers, under a standing template, or withholds it. The verdict is evidence.
func (n *Node) submit(ctx context.Context, tx *change, q *questionRecord, sub egress.Submission, found gated) error {
	var template *egress.Template
	var review egress.Review
	switch {
	case found.hit != nil:
		review = egress.Isolate(sub, found.hit)
	case found.cause != "": // fails closed: the asker sees one code, reviewers and owners the cause
		review = egress.Withhold(sub, found.checked, found.finding, found.cause)
	default:
		var err error
		if template, err = n.templateFor(ctx, tx, q, &sub); err != nil {
			return err
		}
		sub.Uncertified = found.uncertified
		review = egress.Submit(sub, found.outgoing())
	}
	q.State, q.Review = stateReview, &review
	if found.entry != "" {
		q.Ledger = append(slices.Clone(q.Ledger), found.entry)
	}
	body := attest.EgressCheckedBody{Question: q.ID, Verdict: "pass", Result: review.Digest, Policy: review.Policy, Owners: review.Owners}
	to := q.audiences()
	if len(review.Digest) == 0 {
		body.Verdict, to = "withheld", []audienceName{agency, unitsOf(q.Spec.Scenario)}
	}
	for _, cell := range review.Cells {
		body.Suppressed = body.Suppressed || cell.Suppressed
	}
	tx.record(attest.EgressChecked, "question/"+string(q.ID), body, agency, unitsOf(q.Spec.Scenario))
	n.moved(tx, q, nil, to...)
	if review.Template != "" {
		if err := n.useTemplate(ctx, *template); err != nil {
			return err
		}
	}
	return n.saveQuestion(ctx, *q)
}
