package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/store"
)

// carriedSum is a sum whose epoch goes on, with the messages of the step and of the one before: units come for them when they like. A step of the
// gate is taken by whoever brought the last message that it waits for; while it is, stepping is set and the Sum is that caller's alone.
type carriedSum struct {
	mu       sync.Mutex // guards all but what is the stepping caller's
	stepping bool
	sum      *Sum // nil: it is being begun
	plan     *he.Plan
	kind     he.Kind // of the messages that the step waits for
	due      time.Time
	held     map[he.Kind]map[int][]byte // encoded, by sender
	coming   map[int]bool               // whose message is being read
}

func sumError(kind sandbox.Kind, id sandbox.QuestionID, rule, hint string) error {
	return &sandbox.Error{Op: "sum", Kind: kind, Object: string(id), Detail: rule, Hint: hint}
}

// claim makes the caller the one who does something with a question's sum; done ends that.
func (s *sums) claim(id sandbox.QuestionID) (x *carriedSum, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x = s.live[id]
	if x == nil {
		if s.live == nil {
			s.live = map[sandbox.QuestionID]*carriedSum{}
		}
		x = &carriedSum{}
		s.live[id] = x
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stepping {
		return nil, nil, sumError(sandbox.Conflict, id, "a step of it is being taken", "try again")
	}
	x.stepping = true
	return x, sync.OnceFunc(func() { s.settled(id, x) }), nil
}

// settled ends a claim. A sum stays as long as its epoch goes on, or its end is not on record.
func (s *sums) settled(id sandbox.QuestionID, x *carriedSum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stepping = false
	if x.sum != nil && !x.sum.ended {
		return
	}
	x.kind, x.held, x.plan = 0, nil, nil
	if x.sum == nil || x.sum.done || x.sum.owed == nil && !x.sum.read {
		delete(s.live, id)
	}
}

// hold gives a claimed sum its Sum.
func (x *carriedSum) hold(s *Sum) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sum = s
}

func (s *sums) find(id sandbox.QuestionID) *carriedSum {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[id]
}

func (s *sums) all() (ids []sandbox.QuestionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.live {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// stepTime bounds an engine's work in one of the gate's steps, which depends on the plan alone: one that hangs ends the epoch.
const stepTime = 10 * time.Minute

func (s *sums) work(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.bound != nil {
		return s.bound(ctx)
	}
	return context.WithTimeout(ctx, stepTime)
}

// broke is deferred: a fault of the domain ends the epoch and nothing else. What was read by then is TendSums' to withhold.
func (s *Sum) broke(ctx context.Context, err *error) {
	if recover() == nil { // what it says may hold values
		return
	}
	if *err = sumError(sandbox.Internal, s.q.ID, "the gate takes its step", ""); !s.read {
		_ = s.failed(ctx, *err)
	}
}

// carry takes the gate's first step of an epoch that just began; x is the caller's.
func (n *Node) carry(ctx context.Context, x *carriedSum, s *Sum) (err error) {
	defer s.broke(ctx, &err)
	ctx, cancel := n.sums.work(ctx)
	defer cancel()
	own, err := s.Commit(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sum = s
	if err != nil {
		return err
	}
	x.plan, x.kind, x.due = s.plan, he.Commitment, n.now().Add(n.cfg.Sums.or().Begin)
	x.held, x.coming = map[he.Kind]map[int][]byte{he.Commitment: {len(s.plan.Units): he.AppendMessage(nil, own)}}, map[int]bool{}
	return nil
}

// missing are the units whose message of the step is not there. Callers hold mu.
func (x *carriedSum) missing() (out []int) {
	for _, i := range x.plan.Senders(x.kind) {
		if i < len(x.plan.Units) && x.held[x.kind][i] == nil {
			out = append(out, i)
		}
	}
	return out
}

// messages parses what is held of a kind.
func (x *carriedSum) messages(kind he.Kind) (out []*he.Message, err error) {
	for _, i := range x.plan.Senders(kind) {
		m, err := he.ParseMessage(x.held[kind][i])
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// step is what the gate does once everybody has sent their message of a step; x is the caller's. What ends the epoch is on record and not the
// caller's to see.
func (n *Node) step(ctx context.Context, x *carriedSum) (err error) {
	s, kind, gate := x.sum, x.kind, len(x.plan.Units)
	defer s.broke(ctx, &err)
	ctx, cancel := n.sums.work(ctx)
	defer cancel()
	in, err := x.messages(kind)
	if err != nil {
		return err
	}
	next := map[int][]byte{}
	switch kind {
	case he.Commitment:
		var own *he.Message
		if own, err = s.Reveal(ctx, in); err == nil {
			next[gate] = he.AppendMessage(nil, own)
		}
	case he.KeyShare:
		if x.plan.Next(kind) != he.RelinShare {
			err = s.Key(ctx, in)
			break
		}
		var own *he.Message
		if own, err = s.Relinearize(ctx, in); err == nil {
			next[gate] = he.AppendMessage(nil, own)
		}
	case he.RelinShare:
		err = s.Key(ctx, in)
	case he.Share:
		var contributions []*he.Message
		if contributions, err = x.messages(he.Contribution); err == nil {
			_, err = s.Open(ctx, contributions, in)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil || s.ended {
		return err
	}
	delete(x.held, x.plan.Before(kind))
	x.kind = x.plan.Next(kind)
	x.held[x.kind], x.due = next, n.now().Add(n.cfg.Sums.or().Step)
	return nil
}

// TakeSumMessage reads a unit's message of the step that goes on, and takes the gate's step when it was the last. A unit that sends two different
// messages of one step ends the epoch.
func (n *Node) TakeSumMessage(ctx context.Context, c api.Caller, at api.SumAddress, digest [sm.Size]byte, body io.Reader) (api.Sum, error) {
	x, plan, from, err := n.taking(ctx, c, at)
	if err != nil {
		return api.Sum{}, err
	}
	kind := he.Kind(at.Kind)
	m, b, err := n.received(plan, kind, from, at.Question, digest, body)
	ctx = context.WithoutCancel(ctx)             // what it leads to does not depend on who brought it
	take := func(then func()) (api.Sum, error) { // the caller has mu, and gives it up
		x.stepping = true
		x.mu.Unlock()
		func() {
			defer n.sums.settled(at.Question, x)
			then()
		}()
		return n.Sum(ctx, c, at.Question)
	}
	x.mu.Lock()
	delete(x.coming, from)
	if err == nil && (x.kind != kind || x.stepping && len(x.missing()) == 0) {
		err = sumError(sandbox.Conflict, at.Question, "the epoch, or its step, ended meanwhile", "look where it stands")
	}
	if err != nil {
		x.mu.Unlock()
		return api.Sum{}, err
	}
	old := x.held[kind][from]
	if old != nil && !bytes.Equal(old, b) {
		if x.stepping {
			x.mu.Unlock()
			return api.Sum{}, sumError(sandbox.Conflict, at.Question, "a message comes once", "")
		}
		return take(func() {
			_ = x.sum.failed(ctx, &he.Abort{Plan: m.Plan, Epoch: x.plan.Epoch, Stage: kind, Member: c.Party.ID, Message: m.Digest(),
				Err: &sandbox.Error{Op: "he", Kind: sandbox.Conflict, Object: kind.String(), Detail: "comes once from each, whole"}})
		})
	}
	if x.held[kind][from] = b; old != nil || len(x.missing()) > 0 || x.stepping {
		x.mu.Unlock()
		return n.Sum(ctx, c, at.Question)
	}
	return take(func() { _ = n.step(ctx, x) })
}

// taking finds the epoch that a message is for and says that it is coming. The same message again is no fault.
func (n *Node) taking(ctx context.Context, c api.Caller, at api.SumAddress) (*carriedSum, *he.Plan, int, error) {
	x, from, err := n.member(ctx, c, at.Question, at.Epoch)
	if err != nil {
		return nil, nil, 0, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.kind == 0 || int(x.kind) != at.Kind || !slices.Contains(x.plan.Senders(x.kind), from) {
		return nil, nil, 0, sumError(sandbox.Conflict, at.Question, "the step waits for another message", "look where it stands")
	}
	if x.coming[from] {
		return nil, nil, 0, sumError(sandbox.Conflict, at.Question, "this unit's message is being read", "look where it stands")
	}
	x.coming[from] = true
	return x, x.plan, from, nil
}

// received reads a message, at most as long as the plan has it, and holds it to what was signed.
func (n *Node) received(p *he.Plan, kind he.Kind, from int, id sandbox.QuestionID, digest [sm.Size]byte, body io.Reader) (*he.Message, []byte, error) {
	room := p.Room(kind, from)
	b, err := io.ReadAll(io.LimitReader(body, int64(room)+1))
	switch {
	case err != nil && sandbox.KindOf(err) != sandbox.Internal:
		return nil, nil, err
	case err != nil:
		return nil, nil, sumError(sandbox.Unavailable, id, "the message ended early", "send it again")
	case len(b) > room:
		return nil, nil, sumError(sandbox.TooLarge, id, "a message is as long as the plan has it", "")
	case sm.Sum(b) != digest:
		return nil, nil, sumError(sandbox.Unsigned, id, "the message is not the one that was signed", "")
	}
	m, err := he.ParseMessage(b)
	if err == nil {
		err = m.Check(p, kind, from)
	}
	if err != nil {
		return nil, nil, err
	}
	return m, b, nil
}

// SumMessage writes a message of the step, or of the one before, to a unit of the epoch.
func (n *Node) SumMessage(ctx context.Context, c api.Caller, at api.SumAddress, w io.Writer) error {
	x, _, err := n.member(ctx, c, at.Question, at.Epoch)
	if err != nil {
		return err
	}
	x.mu.Lock()
	var b []byte
	if at.Kind > 0 && at.Kind <= int(he.RelinShare) && x.plan != nil && x.plan.Precedes(he.Kind(at.Kind), x.kind) { // before all have sent theirs nobody sees another's
		b = x.held[he.Kind(at.Kind)][at.From]
	}
	x.mu.Unlock()
	if b == nil {
		return sumError(sandbox.NotFound, at.Question, "no such message of the step before is held", "")
	}
	_, err = w.Write(b)
	return err
}

// LeaveSum ends the epoch because a unit does not go on: its own word, on record under its name.
func (n *Node) LeaveSum(ctx context.Context, c api.Caller, id sandbox.QuestionID, l api.SumLeave) (api.Sum, error) {
	if _, _, err := n.member(ctx, c, id, l.Epoch); err != nil {
		return api.Sum{}, err
	}
	x, done, err := n.sums.claim(id)
	if err != nil {
		return api.Sum{}, err
	}
	defer done()
	if x.sum == nil || x.sum.ended || x.plan.Epoch != l.Epoch {
		return api.Sum{}, sumError(sandbox.Conflict, id, "the epoch ended meanwhile", "")
	}
	// What it met in its rows or in messages it keeps: the record says that it left.
	why := map[string]*sandbox.Error{
		api.LeavePlan:    {Kind: sandbox.Denied, Detail: "the plan is the one that a unit approved"},
		api.LeaveRestart: {Kind: sandbox.Conflict, Detail: "a unit's process goes on with its part of the key"},
		api.LeaveList:    {Kind: sandbox.Denied, Detail: "a holder has the list that the plan names, and its people are not nearly those of an earlier one"},
	}[l.Reason]
	if why == nil {
		why = &sandbox.Error{Kind: sandbox.Unavailable, Detail: "a unit goes on to the end"}
	}
	why.Op, why.Object = "he", x.kind.String()
	_ = x.sum.failed(ctx, &he.Abort{Plan: x.plan.Digest(), Epoch: x.plan.Epoch, Stage: x.kind, Member: c.Party.ID, Err: why})
	done()
	return n.Sum(ctx, c, id)
}

// member gives the epoch that goes on to one of its units, with the unit's number. To others the sum is not there.
func (n *Node) member(ctx context.Context, c api.Caller, id sandbox.QuestionID, epoch uint64) (*carriedSum, int, error) {
	q, err := n.summed(ctx, c, id)
	if err != nil {
		return nil, 0, err
	}
	from := slices.Index(q.Sum.Order.Units, c.Identity.ID)
	if from < 0 {
		return nil, 0, sumError(sandbox.Denied, id, "who acts for a unit of the epoch takes part", "")
	}
	x := n.sums.find(id)
	if x == nil {
		return nil, 0, sumError(sandbox.Conflict, id, "no epoch goes on", "look where it stands")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sum == nil || x.kind == 0 || x.plan.Epoch != epoch {
		return nil, 0, sumError(sandbox.Conflict, id, "another epoch goes on, or none", "look where it stands")
	}
	return x, from, nil
}

// TendSums ends epochs whose units are silent past their deadline, and those whose asker was shut out; what could not be put on record is put
// there. It is called every second or so.
func (n *Node) TendSums(ctx context.Context) {
	for _, id := range n.sums.all() {
		x, done, err := n.sums.claim(id)
		if err != nil {
			continue
		}
		if x.sum != nil {
			n.tendSum(ctx, x)
		}
		done()
	}
}

func (n *Node) tendSum(ctx context.Context, x *carriedSum) {
	s := x.sum
	asker, err := n.known(ctx, s.q.Asker)
	switch {
	case err != nil:
	case s.read && !s.done:
		_ = s.GiveUp(ctx, "what was read could not be put on record")
	case s.ended:
		_ = s.settle(ctx)
	case asker.revoked:
		_ = s.GiveUp(ctx, "who asked was revoked")
	default:
		x.mu.Lock()
		silent := x.missing()
		x.mu.Unlock()
		late := !n.now().Before(x.due)
		switch {
		case len(silent) == 0 && late: // the gate's own step fails without ending the epoch
			_ = s.failed(ctx, sumError(sandbox.Internal, s.q.ID, "the gate takes its step", ""))
		case len(silent) == 0: // the last message came while the sum was somebody's
			_ = n.step(ctx, x)
		case late:
			for _, i := range silent {
				s.left = append(s.left, x.plan.Units[i].ID)
			}
			_ = s.Abort(ctx, x.kind, s.left[0])
		}
	}
}

// endLostSums puts the end of epochs on record that went on when the domain stopped: their keys were in memory. Nobody has a sum yet.
func (n *Node) endLostSums(ctx context.Context) error {
	return n.eachSum(ctx, func(q questionRecord) error {
		if q.Sum.Ended {
			return nil
		}
		return n.lost(ctx, q)
	})
}

// lost is the end of an epoch whose keys are gone with the process that had them.
func (n *Node) lost(ctx context.Context, q questionRecord) error {
	next := *q.Sum
	next.Ended, next.At, next.Cause = true, n.now().UTC().Truncate(time.Millisecond), "gate: the domain goes on"
	return n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
		n.endedSum(q, attest.SumAborted, attest.SumAbortedBody{Question: q.ID, Plan: q.Sum.Plan.Plan, Stage: "gate", Kind: sandbox.Unavailable, Rule: "the domain goes on"})(tx)
		q.Sum = &next
		return n.saveQuestion(ctx, q)
	})
}

// endStaleSums withholds questions that waited long enough for another epoch, or whose asker was shut out meanwhile.
func (n *Node) endStaleSums(ctx context.Context) error {
	n.TendSums(ctx)
	return n.eachSum(ctx, func(q questionRecord) error {
		asker, err := n.known(ctx, q.Asker)
		if err != nil || !q.Sum.Ended || !asker.revoked && n.now().Before(q.Sum.At.Add(n.cfg.Sums.or().Wait)) {
			return err
		}
		x, done, err := n.sums.claim(q.ID)
		if err != nil {
			return nil // somebody does something with it
		}
		defer done()
		return n.endSum(ctx, x, q.ID, "nobody began another epoch")
	})
}

func (n *Node) eachSum(ctx context.Context, f func(questionRecord) error) error {
	rows, err := n.docs.questions.List(ctx, store.Filter{State: stateComputing})
	for _, r := range rows {
		if r.Value.Sum != nil { // one that fails holds up no other
			err = errors.Join(err, f(r.Value))
		}
	}
	return err
}
