package node

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Gatekeeper = (*Node)(nil)

// Act carries out a signed act on a review; see egress.Review.Do for who may do what. It is not there for who can neither see the
// review nor is its author. The author gets no more back than who asks after the question.
func (n *Node) Act(ctx context.Context, c api.Caller, id sandbox.QuestionID, st attest.Statement) (api.Review, error) {
	var a attest.ReviewAct
	if err := signed(c, st, attest.ContextReviewAct, &a); err != nil {
		return api.Review{}, err
	}
	if err := n.mayAct(ctx, c, id); err != nil {
		return api.Review{}, err
	}
	var err error
	if egress.Move(a.Act) == egress.Resubmit {
		err = n.resubmit(ctx, c, id, st, a)
	} else {
		err = n.act(ctx, c, id, st, a)
	}
	if err != nil {
		return api.Review{}, err
	}
	q, err := n.reviewed(ctx, id)
	if err != nil {
		return api.Review{}, err
	}
	v, ok, err := n.view(ctx, c, q)
	if err != nil || ok {
		return v, err
	}
	seen := n.seen(q, n.now())
	return api.Review{ID: id, Class: q.Review.Class, State: seen.State, Round: q.Review.Round, Author: q.Review.Author, Recipient: q.Review.Recipient, Comment: seen.Comment}, nil
}

func (n *Node) mayAct(ctx context.Context, c api.Caller, id sandbox.QuestionID) error {
	q, err := n.reviewed(ctx, id)
	if err != nil {
		return err
	}
	if q.Review.Author == c.Identity.ID {
		return nil
	}
	if _, ok, err := n.view(ctx, c, q); err != nil || !ok {
		return &sandbox.Error{Op: "review", Kind: sandbox.NotFound, Object: string(id), Err: err}
	}
	return nil
}

func (n *Node) act(ctx context.Context, c api.Caller, id sandbox.QuestionID, st attest.Statement, a attest.ReviewAct) error {
	released, class := false, sandbox.Class("")
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		q, err := n.reviewed(ctx, id)
		if err != nil {
			return err
		}
		class = q.Review.Class
		if err := n.do(ctx, tx, c, &q, a); err != nil {
			return err
		}
		if q.Review.State == egress.Approved {
			to, _, err := n.Identity(ctx, q.Review.Recipient)
			if err != nil {
				return err
			}
			if released, err = n.deliver(ctx, tx, &q, to, &st); err != nil {
				return err
			}
			return n.saveQuestion(ctx, q)
		}
		q.First = nil
		n.moved(tx, &q, &st, n.followers(&q, a)...)
		return n.saveQuestion(ctx, q)
	})
	if err == nil && released {
		n.cfg.Metrics.Released(class)
	}
	return err
}

// followers are who an act is shown to: its asker too, unless the review was never more to them than one code, or the act names the
// digest of a result that has not left.
func (n *Node) followers(q *questionRecord, a attest.ReviewAct) []audienceName {
	if q.Release == "" && len(a.Result) > 0 || egress.State(a.State) == egress.Quarantined {
		return []audienceName{agency, unitsOf(q.Spec.Scenario)}
	}
	return q.audiences()
}

// do carries out an act on a review that is not saved yet.
func (n *Node) do(ctx context.Context, tx *change, c api.Caller, q *questionRecord, a attest.ReviewAct) error {
	e, err := n.electorate(ctx, c, q)
	if err != nil {
		return err
	}
	next, err := q.Review.Do(a, e, tx.at)
	if err != nil {
		return err
	}
	q.Review = &next
	return nil
}

// electorate is who an act is judged against. An author whose identity was revoked stays of its party.
func (n *Node) electorate(ctx context.Context, c api.Caller, q *questionRecord) (egress.Electorate, error) {
	e := egress.Electorate{Voter: c.Identity, VoterParty: c.Party}
	for _, x := range []struct {
		id sandbox.IdentityID
		to *sandbox.Party
	}{{q.Review.Author, &e.Author}, {q.Review.Recipient, &e.Recipient}} {
		k, err := n.known(ctx, x.id)
		if err != nil {
			return e, err
		}
		*x.to = k.party
	}
	for _, in := range q.Inputs {
		d, _, err := n.docs.datasets.Get(ctx, string(in.Dataset))
		if err != nil {
			return e, err
		}
		e.Owners = append(e.Owners, d.Unit)
	}
	return e, nil
}

// resubmit decides, computes and checks a returned question anew, under the rules that are now in force; its votes begin anew.
func (n *Node) resubmit(ctx context.Context, c api.Caller, id sandbox.QuestionID, st attest.Statement, a attest.ReviewAct) error {
	n.asking.Lock()
	defer n.asking.Unlock()
	q, err := n.reviewed(ctx, id)
	if err != nil {
		return err
	}
	e, err := n.electorate(ctx, c, &q)
	if err != nil {
		return err
	}
	at := n.now()
	if _, err := q.Review.Do(a, e, at); err != nil { // before anything is computed
		return err
	}
	if q.Joint != nil {
		return &sandbox.Error{Op: "resubmit", Kind: sandbox.Denied, Object: string(id), Detail: "scores are read once, and the key is gone", Hint: "withdraw it, and run the model over another result"}
	}
	if q.Leave != nil {
		return n.resubmitDataset(ctx, c, &q, st, at)
	}
	if q.Opaque != nil {
		return n.resubmitOpaque(ctx, c, &q, st, at)
	}
	if q.Map != nil {
		return n.resubmitMap(ctx, c, &q, st, at)
	}
	f, _, err := n.facts(ctx, c, q.Spec, at)
	if err != nil {
		return err
	}
	decision, derived := n.decide(f, q.Spec, q.Decision.Class)
	if !decision.Allow {
		return &sandbox.Error{Op: "resubmit", Kind: sandbox.Denied, Object: string(id), Detail: "the question is no longer admitted: " + first(reasonCodes(decision), "policy"), Hint: "ask it again; the refusal says what would pass"}
	}
	return n.compute(ctx, c, derived, &q, &st)
}

func reasonCodes(d sandbox.Decision) (out []string) {
	for _, r := range d.Reasons {
		out = append(out, r.Code)
	}
	return out
}

// resubmitted makes the author's act inside the change that submits anew.
func (n *Node) resubmitted(ctx context.Context, tx *change, c api.Caller, q *questionRecord, st attest.Statement, sub *egress.Submission) error {
	var a attest.ReviewAct
	if err := signed(c, st, attest.ContextReviewAct, &a); err != nil {
		return err
	}
	cur, err := n.reviewed(ctx, q.ID)
	if err != nil {
		return err
	}
	cur.Ledger, cur.Leave, cur.Opaque, cur.First = q.Ledger, q.Leave, q.Opaque, nil
	if err := n.do(ctx, tx, c, &cur, a); err != nil {
		return err
	}
	n.moved(tx, &cur, &st, cur.audiences()...)
	*q, sub.Of = cur, cur.Review
	return nil
}

// present is what holds now of what a release rests on.
func (n *Node) present(ctx context.Context, q *questionRecord) (egress.Present, error) {
	p := egress.Present{Policy: n.policyVersion()}
	shut := map[sandbox.IdentityID]bool{}
	var rests []sandbox.IdentityID // on whom
	for _, v := range q.Review.Votes {
		rests = append(rests, v.By)
	}
	for _, a := range q.Review.Acts {
		if a.Move == egress.Endorse {
			rests = append(rests, a.By)
		}
	}
	for _, id := range rests {
		_, _, err := n.docs.revocations.Get(ctx, string(id))
		if err != nil && !errors.Is(err, sandbox.NotFound) {
			return p, err
		}
		shut[id] = err == nil
	}
	p.Revoked = func(id sandbox.IdentityID) bool { return shut[id] }
	if q.Review.Template != "" {
		t, _, err := n.docs.templates.Get(ctx, string(q.Review.Template))
		if err != nil && !errors.Is(err, sandbox.NotFound) {
			return p, err
		}
		if err == nil {
			p.Template = &t
		}
	}
	return p, nil
}

const sourceGone = "the result that the scores are made of does not stand any more 所依据的结果已失效: withdraw it"

const policyChanged = "the policy has changed since the result was checked 审核规则已变更: resubmit it"

func (n *Node) lapse(tx *change, q *questionRecord, st *attest.Statement) error {
	return n.lapsed(tx, q, st, policyChanged)
}

func (n *Node) lapsed(tx *change, q *questionRecord, st *attest.Statement, reason string) error {
	next, err := q.Review.Lapse(reason)
	if err != nil {
		return err
	}
	q.Review = &next
	n.moved(tx, q, st, q.audiences()...)
	return nil
}

// due says whether time alone moves a review.
func (n *Node) due(q questionRecord, at time.Time) bool {
	return q.Review != nil && (q.Review.At(at).State != q.Review.State || q.Review.State == egress.AutoApproved && !at.Before(q.Review.Slot))
}

// arrive does what time has brought to a review: an expiry, or the release of what a template approved. One whose template no
// longer holds comes before reviewers.
func (n *Node) arrive(ctx context.Context, id sandbox.QuestionID) error {
	released, class := false, sandbox.Class("")
	err := n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
		q, err := n.reviewed(ctx, id)
		if err != nil || !n.due(q, tx.at) {
			return err
		}
		class = q.Review.Class
		if at := q.Review.At(tx.at); at.State != q.Review.State {
			was := q.Review.State
			q.Review, q.First = &at, nil
			to := q.audiences()
			if was == egress.Quarantined {
				to = []audienceName{agency, unitsOf(q.Spec.Scenario)}
			}
			n.moved(tx, &q, nil, to...)
			return n.saveQuestion(ctx, q)
		}
		to, _, err := n.Identity(ctx, q.Review.Recipient)
		if err == nil {
			released, err = n.deliver(ctx, tx, &q, to, nil)
		}
		if k := sandbox.KindOf(err); err != nil && (k == sandbox.Denied || k == sandbox.Expired) {
			err = n.lapse(tx, &q, nil)
		}
		if err != nil {
			return err
		}
		return n.saveQuestion(ctx, q)
	})
	if err == nil && released {
		n.cfg.Metrics.Released(class)
	}
	return err
}

// arriveAll does for every review what time has brought.
func (n *Node) arriveAll(ctx context.Context) error {
	rows, err := n.docs.questions.List(ctx, listState(stateReview))
	if err != nil {
		return err
	}
	now := n.now()
	for _, r := range rows {
		if n.due(r.Value, now) {
			err = errors.Join(err, n.arrive(ctx, r.Value.ID))
		}
	}
	return err
}

// standingRelease refuses what was revoked after it left.
func (n *Node) standingRelease(ctx context.Context, r releaseRecord) error {
	q, _, err := n.docs.questions.Get(ctx, string(r.Info.Question))
	if errors.Is(err, sandbox.NotFound) { // of class B
		return nil
	}
	if err == nil && q.Review != nil && q.Review.State == egress.Revoked {
		err = &sandbox.Error{Op: "release", Kind: sandbox.Expired, Object: string(r.Info.ID), Detail: "the agency revoked it", Hint: "opdomain query show " + string(q.ID) + " tells why"}
	}
	return err
}

// templateUse is what a question is to a template.
func templateUse(s query.Spec) egress.TemplateUse {
	digest := sm.Sum(s.Canonical())
	u := egress.TemplateUse{Scenario: s.Scenario, Spec: digest[:]}
	for _, m := range s.Measures {
		u.Measures = append(u.Measures, measured(s, m))
	}
	return u
}

// measured names what is measured by datasets, not by the aliases of one question: sum(ds-claims.amount).
func measured(s query.Spec, m query.Measure) string {
	var columns []string
	for _, c := range append([]string{m.Column}, m.With...) {
		alias, column, ok := strings.Cut(c, ".")
		if i := slices.IndexFunc(s.Inputs, func(in query.Input) bool { return in.Alias == alias }); ok && i >= 0 {
			columns = append(columns, string(s.Inputs[i].Dataset)+"."+column)
		}
	}
	return string(m.Func) + "(" + strings.Join(columns, ", ") + ")"
}

// templateFor finds the template that may release an answer, and draws whether it is reviewed afterwards. The draw is keyed, so that
// nobody tells before.
func (n *Node) templateFor(ctx context.Context, tx *change, q *questionRecord, sub *egress.Submission) (*egress.Template, error) {
	if q.Decision.Class != sandbox.ClassA || q.Map != nil || q.Joint != nil {
		return nil, nil // reviewers, always
	}
	rows, err := n.docs.templates.List(ctx, store.Filter{Owner: string(q.Spec.Scenario)})
	if err != nil {
		return nil, err
	}
	sub.Asked = templateUse(q.Spec)
	held := egress.Review{Class: q.Decision.Class, Recipient: sub.Recipient, Policy: sub.Policy}
	for _, r := range rows {
		t := r.Value
		if t.Admits(sub.Asked, held, tx.at) != nil {
			continue
		}
		draw := sm.HMAC(n.questionKey, sm.Frame([]byte("sample"), []byte(t.ID), []byte(q.ID)))
		if len(t.Spec) > 0 {
			sub.Salt = q.Salt
		}
		sub.Template, sub.Sampled = &t, int(binary.BigEndian.Uint32(draw[:4])%100) < t.Sample
		return &t, nil
	}
	return nil, nil
}

// useTemplate counts a use, in the change that approves by it.
func (n *Node) useTemplate(ctx context.Context, t egress.Template) error {
	cur, rev, err := n.docs.templates.Get(ctx, string(t.ID))
	if err != nil {
		return err
	}
	if cur.Used != t.Used || !cur.Stopped.IsZero() {
		return &sandbox.Error{Op: "template", Kind: sandbox.Conflict, Object: string(t.ID), Detail: "it was used or stopped meanwhile"}
	}
	cur.Used++
	_, err = n.docs.templates.Update(ctx, string(t.ID), rev, string(t.Scenario), "signed", cur)
	return err
}

// SignTemplate takes a standing template the agency signed.
func (n *Node) SignTemplate(ctx context.Context, c api.Caller, st attest.Statement) (api.Template, error) {
	var s attest.StandingTemplate
	if err := signed(c, st, attest.ContextTemplate, &s); err != nil {
		return api.Template{}, err
	}
	if _, _, err := n.docs.scenarios.Get(ctx, string(s.Scenario)); err != nil {
		return api.Template{}, err
	}
	if _, p, err := n.Identity(ctx, s.Recipient); err != nil || p.Role != sandbox.Operator && p.Role != sandbox.Partner {
		return api.Template{}, &sandbox.Error{Op: "template: sign", Kind: sandbox.Invalid, Object: string(s.ID), Detail: "its recipient is an enrolled identity that may ask"}
	}
	var t egress.Template
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		var err error
		if t, err = egress.NewTemplate(s, c.Identity, c.Party, n.policyVersion(), tx.at); err != nil {
			return err
		}
		tx.record(attest.TemplateSigned, "template/"+string(t.ID), attest.TemplateSignedBody{Statement: st}, agency, partiesOf(t.Scenario))
		return n.docs.templates.Insert(ctx, string(t.ID), string(t.Scenario), "signed", t)
	})
	return shownTemplate(t), err
}

// StopTemplate ends a template at once: what waits for its slot comes before reviewers.
func (n *Node) StopTemplate(ctx context.Context, c api.Caller, id sandbox.TemplateID, st attest.Statement) (api.Template, error) {
	var s attest.TemplateStop
	if err := signed(c, st, attest.ContextTemplateStop, &s); err != nil {
		return api.Template{}, err
	}
	if s.Template != id {
		return api.Template{}, &sandbox.Error{Op: "template: stop", Kind: sandbox.Conflict, Object: string(id), Detail: "the statement is about another template"}
	}
	var t egress.Template
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		cur, rev, err := n.docs.templates.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if t, err = cur.Stop(s, c.Identity, c.Party, tx.at); err != nil {
			return err
		}
		tx.record(attest.TemplateStopped, "template/"+string(id), attest.TemplateStoppedBody{Statement: st}, agency, partiesOf(t.Scenario))
		_, err = n.docs.templates.Update(ctx, string(id), rev, string(t.Scenario), "stopped", t)
		return err
	})
	return shownTemplate(t), err
}

func shownTemplate(t egress.Template) api.Template {
	return api.Template{ID: t.ID, Scenario: t.Scenario, Spec: t.Spec, Measures: t.Measures, Recipient: t.Recipient, Budget: t.Budget, Used: t.Used, Sample: t.Sample, Slot: t.Slot,
		Policy: t.Policy, Expires: t.Expires, By: t.By, Stopped: t.Stopped, Reason: t.Reason}
}

// Templates lists the standing templates: for the agency and auditors all, else those of the caller's scenarios.
func (n *Node) Templates(ctx context.Context, c api.Caller) ([]api.Template, error) {
	rows, err := n.docs.templates.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	var mine []sandbox.ScenarioID
	if !supervises(c.Party) {
		all, err := n.Scenarios(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			mine = append(mine, s.ID)
		}
	}
	out := []api.Template{}
	for _, r := range rows {
		if supervises(c.Party) || slices.Contains(mine, r.Value.Scenario) {
			out = append(out, shownTemplate(r.Value))
		}
	}
	return out, nil
}
