package node

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// sharing is the run over shares that this process takes part in. There is one at a time: the domain listens for its zones at one address,
// and a table is compared with those of all earlier runs before the next begins.
type sharing struct {
	mu     sync.Mutex
	live   *sharedRun
	closed bool
}

// sharedRun (多方计算运行) is the domain's part in one run, from its joining to the submission of what opened.
type sharedRun struct {
	question sandbox.QuestionID
	stop     context.CancelFunc
	done     chan struct{}
	err      error // why its end is not on record; read after done
}

// begin takes the place of the one run.
func (s *sharing) begin(q sandbox.QuestionID) (context.Context, *sharedRun, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fail := func(kind sandbox.Kind, rule, hint string) error {
		return &sandbox.Error{Op: "shares", Kind: kind, Object: string(q), Detail: rule, Hint: hint}
	}
	switch {
	case s.closed:
		return nil, nil, fail(sandbox.Unavailable, "the domain stops", "run it when it serves again")
	case s.live != nil && s.live.question == q:
		return nil, nil, fail(sandbox.Conflict, "the domain takes part in it now", "opdomain query show "+string(q))
	case s.live != nil:
		return nil, nil, fail(sandbox.Conflict, "the domain takes part in one run at a time", "run it when "+string(s.live.question)+" has ended")
	}
	ctx, stop := context.WithCancel(context.Background()) // no request's: its caller does not wait for it
	s.live = &sharedRun{question: q, stop: stop, done: make(chan struct{})}
	return ctx, s.live, nil
}

func (s *sharing) end(r *sharedRun) {
	s.mu.Lock()
	s.live = nil
	s.mu.Unlock()
	r.stop()
	close(r.done)
}

// runs says whether a question is what is run now.
func (s *sharing) runs(q sandbox.QuestionID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live != nil && s.live.question == q
}

// close stops the run, which ends at all parties by an abort, and waits until its end is on record.
func (s *sharing) close() {
	s.mu.Lock()
	s.closed = true
	r := s.live
	s.mu.Unlock()
	if r != nil {
		r.stop()
		<-r.done
	}
}

// RunShared has the domain take part in a planned question's run, once, with its owner's approval; see api.Sharer. It returns once the domain
// has joined: what opens is submitted when the run ends, or withheld, and the asker sees the uniform code whatever ended it; the rule is
// evidence for agency and units. Rights, thresholds and versions are judged when it joins and again when outputs have opened.
func (n *Node) RunShared(ctx context.Context, c api.Caller, id sandbox.QuestionID, approval attest.Statement) (api.Question, error) {
	q, _, err := n.beginShared(ctx, c, id, approval)
	return q, err
}

// ComputeShared is RunShared, and waits for the end. A ctx that ends first ends the waiting, not the run.
func (n *Node) ComputeShared(ctx context.Context, c api.Caller, id sandbox.QuestionID, approval attest.Statement) (api.Question, error) {
	q, r, err := n.beginShared(ctx, c, id, approval)
	if err != nil || r == nil {
		return q, err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return q, ctx.Err()
	}
	if r.err != nil {
		return q, r.err
	}
	rec, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return q, err
	}
	return n.seen(rec, n.now()), nil
}

// beginShared joins; the run is nil where the question ended before a link is made.
func (n *Node) beginShared(ctx context.Context, c api.Caller, id sandbox.QuestionID, approval attest.Statement) (out api.Question, live *sharedRun, err error) {
	ctx = context.WithoutCancel(ctx) // a caller who hangs up stops nothing half-way
	n.asking.Lock()
	defer n.asking.Unlock()
	q, err := n.planned(ctx, c, id)
	if err != nil {
		return api.Question{}, nil, err
	}
	running, r, err := n.sharing.begin(id)
	if err != nil {
		return api.Question{}, nil, err
	}
	defer func() {
		if live == nil {
			n.sharing.end(r)
		}
	}()
	p, err := mpc.ParsePlan(q.Shared.Plan)
	if err != nil {
		return api.Question{}, nil, err
	}
	if again, err := n.expiredShared(ctx, q); err != nil {
		return api.Question{}, nil, err
	} else if again {
		return api.Question{}, nil, &sandbox.Error{Op: "shares", Kind: sandbox.Expired, Object: string(id), Detail: "the plan expired before the domain joined it", Hint: "whoever asked asks the same question again: it is planned anew"}
	}
	used, err := n.store.Counter(ctx, joinedOf(p.Job))
	if err != nil {
		return api.Question{}, nil, err
	}
	// What was joined is put on record as aborted: nothing runs, so nobody approves.
	if d, _ := mpc.Decide(p, p.Parties[0].ID, []attest.Statement{approval}, n.now()); !d.Allow && used == 0 {
		return api.Question{}, nil, &sandbox.Error{Op: "shares", Kind: sandbox.Denied, Object: string(id), Detail: d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
	}
	now, err := n.sharedRights(ctx, q)
	if err != nil {
		return api.Question{}, nil, err
	}
	if now.revoked {
		ended := n.unreadShares(q, sandbox.Expired, revokedAsker)
		if used > 0 {
			ended = n.abortedShares(q, attest.SharesOpening, string(sandbox.Expired), revokedAsker)
		}
		return api.Question{}, nil, n.orphaned(ctx, c, *q, ended.record)
	}
	var pushed agg.Pushed
	if used == 0 && now.refused == "" {
		if pushed, err = n.pushedShares(q, p); err != nil {
			return api.Question{}, nil, err
		}
	}
	first := true // durable before a link is made: a run that a stop ended is not joined again
	if err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		used, err := n.store.Counter(ctx, joinedOf(p.Job))
		if first = used == 0; err == nil && first {
			_, err = n.store.Add(ctx, joinedOf(p.Job), 1, 1)
		}
		for _, in := range q.Inputs {
			if err == nil && first {
				_, err = n.store.Add(ctx, sharedOf(in.Dataset), 1, math.MaxInt64)
			}
		}
		if err == nil && q.Shared.Pushed != nil { // a plan is joined once, and the shares are at hand
			joined := *q.Shared
			joined.Pushed = nil
			q.Shared = &joined
			err = n.saveQuestion(ctx, *q)
		}
		return err
	}); err != nil {
		return api.Question{}, nil, err
	}
	var form *sharedForm
	var rows sharedRows
	over := func() (ended gated, yes bool) {
		if !first {
			return n.stoppedShares(q), true
		}
		if now.refused != "" {
			return n.unreadShares(q, sandbox.Denied, now.refused), true
		}
		var why []sandbox.Reason
		if form, why = n.sharesForm(now.facts, n.fixed(now.derived, q)); len(why) > 0 || form.digest() != p.Question {
			return n.unreadShares(q, sandbox.Conflict, "thresholds, descriptions or versions changed since it was planned"), true
		}
		if why, err := n.beside(ctx, form, q.Spec, q.Inputs, q.Party, q.ID); err != nil {
			return n.failedShares(q, attest.SharesBeforeOpening, err), true
		} else if why != nil {
			return n.unreadShares(q, sandbox.Withheld, why.Rule), true
		}
		var rule string
		var err error
		if rows, rule, err = n.ownRows(ctx, form, q, p, now.params.MinSubjects); err != nil {
			return n.failedShares(q, attest.SharesBeforeOpening, err), true
		}
		rows.pushed = pushed
		return n.abortedShares(q, attest.SharesBeforeOpening, string(sandbox.Withheld), rule), rule != ""
	}
	if ended, yes := over(); yes {
		if err := n.outgoing(ctx, now.by, q, nil, now.params, func(context.Context) gated { return ended }); err != nil {
			return api.Question{}, nil, err
		}
		return n.seen(*q, n.now()), nil, nil
	}
	go func() {
		defer n.sharing.end(r)
		cells, cert, opening, err := n.runShared(running, form, p, approval, rows) // without the lock: questions are asked and computed meanwhile
		r.err = n.endShared(context.WithoutCancel(running), c, id, func(q *questionRecord, then sharedRights) gated {
			stage := attest.SharesBeforeOpening
			if opening {
				stage = attest.SharesOpening
			}
			if err != nil {
				return n.failedShares(q, stage, err)
			}
			return n.gateShared(form, now, then, q, p, cells, cert)
		})
	}()
	return n.seen(*q, n.now()), r, nil
}

// EndShared (撤销多方计算) withdraws a planned question before the domain joins its run: on record, by whom. What was charged stays charged; asked again
// it is another question. See api.Sharer.
func (n *Node) EndShared(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.Question, error) {
	n.asking.Lock()
	defer n.asking.Unlock()
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err == nil && c.Party.Role != sandbox.Agency && c.Party.ID != q.Party { // others are not told that it is there
		err = &sandbox.Error{Op: "shares", Kind: sandbox.NotFound, Object: string(id)}
	}
	if err != nil {
		return api.Question{}, err
	}
	conflict := func(rule string) error {
		return &sandbox.Error{Op: "shares", Kind: sandbox.Conflict, Object: string(id), Detail: rule, Hint: "opdomain query show " + string(id)}
	}
	if q.Shared == nil || q.State != stateComputing {
		return api.Question{}, conflict("a question over shares that was not run yet")
	}
	p, err := mpc.ParsePlan(q.Shared.Plan)
	if err != nil {
		return api.Question{}, err
	}
	if used, err := n.store.Counter(ctx, joinedOf(p.Job)); err != nil {
		return api.Question{}, err
	} else if used > 0 || n.sharing.runs(id) {
		return api.Question{}, conflict("what the domain has joined runs to its end")
	}
	by := "its asker's party"
	if c.Party.ID != q.Party {
		by = "the agency"
	}
	next := q
	next.State = stateWithdrawn
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		q = next
		n.unreadShares(&q, sandbox.Conflict, "the question was withdrawn by "+by).record(tx)
		return n.saveQuestion(ctx, q)
	})
	if err != nil {
		return api.Question{}, err
	}
	n.cfg.Metrics.Job("question", stateWithdrawn)
	return n.seen(q, n.now()), nil
}

// stoppedShares is the end of a run that the domain stopped in: how far it came nobody knows.
func (n *Node) stoppedShares(q *questionRecord) gated {
	return n.abortedShares(q, attest.SharesOpening, string(sandbox.Conflict), "the domain stopped in the run, and a plan is joined once")
}

// endStoppedShares puts the end of runs on record that the domain was in when it stopped: nobody waits for them any more. A domain that opens
// without its zones leaves them to a start with them, since it does not know which rows are outside.
func (n *Node) endStoppedShares(ctx context.Context) error {
	if n.cfg.Shares == nil {
		return nil
	}
	rows, err := n.docs.questions.List(ctx, listState(stateComputing))
	if err != nil {
		return err
	}
	for _, r := range rows {
		q := r.Value
		if q.Shared == nil || n.sharing.runs(q.ID) {
			continue
		}
		p, err := mpc.ParsePlan(q.Shared.Plan)
		if err != nil {
			return err
		}
		if used, err := n.store.Counter(ctx, joinedOf(p.Job)); err != nil {
			return err
		} else if used == 0 {
			continue
		}
		now, err := n.sharedRights(ctx, &q)
		if err != nil {
			return err
		}
		ended := n.stoppedShares(&q)
		if now.revoked {
			err = n.unsubmitted(ctx, domainIdentity, q, ended.record)
		} else {
			err = n.outgoing(ctx, now.by, &q, nil, now.params, func(context.Context) gated { return ended })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// endShared judges the rights again and submits what the gate makes of a run that ended. It is called by nobody's request: a fault of the domain
// withholds the question, and ends nothing else.
func (n *Node) endShared(ctx context.Context, officer api.Caller, id sandbox.QuestionID, judge func(*questionRecord, sharedRights) gated) (err error) {
	gate := func(q *questionRecord, then sharedRights) (out gated) {
		defer func() {
			if recover() != nil { // what it says may hold values
				out = n.abortedShares(q, attest.SharesOpening, string(sandbox.Internal), "a step failed in the domain")
			}
		}()
		return judge(q, then)
	}
	defer func() {
		if recover() != nil {
			err = &sandbox.Error{Op: "shares", Kind: sandbox.Internal, Object: string(id), Detail: "its end is on record", Hint: "the next start of the domain puts it there"}
		}
	}()
	n.asking.Lock()
	defer n.asking.Unlock()
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return err
	}
	if q.State != stateComputing {
		return &sandbox.Error{Op: "shares", Kind: sandbox.Conflict, Object: string(id), Detail: "its end is on record already"}
	}
	then, err := n.sharedRights(ctx, &q)
	if err != nil {
		return err
	}
	if then.revoked {
		return n.orphaned(ctx, officer, q, gate(&q, then).record)
	}
	return n.outgoing(ctx, then.by, &q, nil, then.params, func(context.Context) gated { return gate(&q, then) })
}

// orphaned ends a question whose asker was shut out: nothing is submitted, how its run ended is evidence by the officer who had it made, and it is
// computing no more.
func (n *Node) orphaned(ctx context.Context, officer api.Caller, q questionRecord, record func(*change)) error {
	if err := n.unsubmitted(ctx, officer.Identity.ID, q, record); err != nil {
		return err
	}
	return &sandbox.Error{Op: "shares", Kind: sandbox.Expired, Object: string(q.ID), Detail: revokedAsker}
}

func (n *Node) unsubmitted(ctx context.Context, by sandbox.IdentityID, q questionRecord, record func(*change)) error {
	q.State = stateWithheld
	if q.Shared != nil && q.Shared.Pushed != nil {
		ended := *q.Shared
		ended.Pushed = nil
		q.Shared = &ended
	}
	return n.change(ctx, by, func(ctx context.Context, tx *change) error {
		record(tx)
		return n.saveQuestion(ctx, q)
	})
}

// sharedRights is what is decided of a planned question again: rules, grants, versions and who is shut out may have changed since.
type sharedRights struct {
	by      api.Caller // whose submission it is
	facts   policy.Facts
	derived query.Derivation
	params  egress.Params
	revoked bool
	refused string // "" where it would be allowed now
}

const revokedAsker = "who asked was revoked, and nobody else submits it"

func (n *Node) sharedRights(ctx context.Context, q *questionRecord) (out sharedRights, err error) {
	asker, err := n.known(ctx, q.Asker)
	if err != nil {
		return out, err
	}
	out.by, out.revoked = api.Caller{Identity: asker.identity, Party: asker.party}, asker.revoked
	if out.facts, _, err = n.facts(ctx, out.by, q.Spec, n.now()); err != nil {
		return out, err
	}
	var decision sandbox.Decision
	decision, out.derived = n.decide(out.facts, q.Spec, sandbox.ClassA)
	// Its bits and comparisons of the day were charged when it was accepted.
	decision.Reasons = slices.DeleteFunc(decision.Reasons, func(r sandbox.Reason) bool { return r.Code == policy.CodeBits || r.Code == policy.CodePerDay })
	out.params = n.thresholds(out.derived)
	switch {
	case out.revoked:
		out.refused = revokedAsker
	case len(decision.Reasons) > 0 || !out.derived.Complete():
		out.refused = "the question is no longer allowed: " + strings.Join(reasonCodes(decision), ", ")
	}
	return out, nil
}

// failedShares is abortedShares by what an error tells.
func (n *Node) failedShares(q *questionRecord, stage string, err error) gated {
	kind, rule := string(sandbox.KindOf(err)), "a step failed in the domain"
	if a := (*wire.Abort)(nil); errors.As(err, &a) {
		kind, rule = string(a.Kind), a.Rule
	} else if e := (*sandbox.Error)(nil); errors.As(err, &e) {
		rule = e.Op + ": " + e.Detail
	}
	return n.abortedShares(q, stage, kind, rule)
}

// gateShared gives the gate what opened, under what was decided when the domain joined and under what holds now. The certificate goes on
// record whatever the gate says.
func (n *Node) gateShared(form *sharedForm, joined, then sharedRights, q *questionRecord, p mpc.Plan, cells sharedCells, cert []byte) gated {
	out := gated{record: func(tx *change) {
		tx.record(attest.SharesComputed, "question/"+string(q.ID), attest.SharesComputedBody{Question: q.ID, Plan: q.Shared.Digest, Certificate: cert}, agency, unitsOf(q.Spec.Scenario))
	}}
	if then.refused != "" {
		out.cause = "withheld after the run: " + then.refused
		return out
	}
	params := joined.params.Stricter(then.params)
	var err error
	if out.checked, err = egress.CheckShared(q.ID, form.answer(joined.derived, q, p, cells), params); err != nil {
		out.cause = err.Error()
		if egress.HardHit(err) {
			out.hit = err
		}
		return out
	}
	out.uncertified = "it was computed over shares: nobody holds whom its cells are of, so that it was compared with no earlier answer"
	return out
}
