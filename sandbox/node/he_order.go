package node

import (
	"context"
	"errors"
	"slices"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Summer = (*Node)(nil)

// ordered puts an order as it was asked into the form of a plan: the smallest threshold, the first units as openers and the set for sums where
// nothing is said. Joined rows are in the ciphertexts person by person: there all units open, so that nobody opens a holder's without it; of fewer the
// holders come first, when they are placed.
func ordered(r api.SumOrder, joined bool) (SumOrder, error) {
	o := SumOrder{Units: r.Units, Threshold: r.Threshold, Set: he.SetName(r.Set)}
	if o.Threshold == 0 {
		if o.Threshold = max(2, len(r.Units)/2+1); joined {
			o.Threshold = len(r.Units)
		}
		if len(r.Openers) > 0 {
			o.Threshold = len(r.Openers)
		}
	}
	for _, id := range r.Openers {
		i := slices.Index(r.Units, id)
		if i < 0 {
			return o, &sandbox.Error{Op: "sum", Kind: sandbox.Invalid, Object: "openers", Detail: "each is one of the units"}
		}
		o.Openers = append(o.Openers, i)
	}
	slices.Sort(o.Openers)
	if len(r.Openers) == 0 && !joined {
		for i := range min(o.Threshold, len(r.Units)) {
			o.Openers = append(o.Openers, i)
		}
	}
	return o, nil
}

// AskSum decides a question, plans its first epoch and waits for the units' messages.
func (n *Node) AskSum(ctx context.Context, c api.Caller, r api.SumRequest) (api.Sum, error) {
	o, err := ordered(r.Order, r.List != nil)
	if err != nil {
		return api.Sum{}, err
	}
	o.Spec = r.Spec
	for _, k := range r.Keys {
		if o.Keys == nil {
			o.Keys = spec.Keys{}
		}
		if _, twice := o.Keys[k.As]; twice || len(k.Labels) == 0 {
			return api.Sum{}, &sandbox.Error{Op: "sum", Kind: sandbox.Invalid, Object: "keys", Detail: "labels are fixed once for a dimension, one at least"}
		}
		o.Keys[k.As] = k.Labels
	}
	if l := r.List; l != nil {
		o.List = &spec.Agreed{Digest: l.Digest, People: l.People, Rows: l.Rows}
	}
	if len(o.Units) > he.MaxUnits {
		return api.Sum{}, &sandbox.Error{Op: "sum", Kind: sandbox.TooLarge, Object: "units", Detail: "at most 64 contribute"}
	}
	s, q, err := n.BeginSum(ctx, c, o)
	if err != nil {
		return api.Sum{}, err
	}
	if s == nil {
		return api.Sum{Question: q, Set: r.Order.Set, Threshold: o.Threshold, Units: []api.SumUnit{}}, nil
	}
	x, done, err := n.sums.claim(q.ID)
	if err != nil {
		return api.Sum{}, err
	}
	_ = n.carry(ctx, x, s) // where the gate cannot, the epoch has ended, which the sum says
	done()
	return n.Sum(ctx, c, q.ID)
}

// resumed is a question's sum between two epochs: nothing of an epoch is in it.
func (n *Node) resumed(ctx context.Context, q questionRecord) (*Sum, error) {
	asker, err := n.known(ctx, q.Asker)
	if err != nil {
		return nil, err
	}
	s := &Sum{n: n, c: api.Caller{Identity: asker.identity, Party: asker.party}, q: q, ended: true, run: he.RunOf(n.desc.Domain, q.ID, q.canonical()), stop: func() {}}
	s.order = SumOrder{Spec: q.Spec, Units: q.Sum.Order.Units, Threshold: q.Sum.Order.Threshold, Openers: q.Sum.Order.Openers, Set: q.Sum.Order.Set, Keys: q.Sum.Order.Keys, List: q.List}
	f, _, err := n.facts(ctx, s.c, q.Spec, n.now())
	if err != nil {
		return nil, err
	}
	f.Engine = sandbox.HE
	_, d := n.decide(f, q.Spec, sandbox.ClassA)
	s.params = n.thresholds(d)
	if d.Complete() {
		why, err := s.compile(ctx, d)
		if err != nil {
			return nil, err
		}
		if len(why) > 0 {
			s.question, s.joined = nil, nil
		}
	}
	if s.ledger, err = n.sums.ledger(n.sumsDir()); err != nil {
		return nil, err
	}
	return s, nil
}

// BeginSumEpoch plans the next epoch. An order without units takes those of the one before with whom it did not end.
func (n *Node) BeginSumEpoch(ctx context.Context, c api.Caller, id sandbox.QuestionID, r api.SumOrder) (api.Sum, error) {
	q, err := n.summed(ctx, c, id)
	if err != nil {
		return api.Sum{}, err
	}
	if q.Party != c.Party.ID {
		return api.Sum{}, sumError(sandbox.Denied, id, "who asked begins another epoch", "")
	}
	x, done, err := n.sums.claim(id)
	if err != nil {
		return api.Sum{}, err
	}
	defer done()
	if q, _, err = n.docs.questions.Get(ctx, string(id)); err != nil {
		return api.Sum{}, err
	}
	if x.sum != nil || q.State != stateComputing || !q.Sum.Ended {
		return api.Sum{}, sumError(sandbox.Conflict, id, "a new epoch follows one that was aborted", "opdomain he sum show "+string(id))
	}
	if len(r.Units) == 0 {
		if r, err = leftOver(q, r); err != nil {
			return api.Sum{}, err
		}
	}
	o, err := ordered(r, q.List != nil)
	if err != nil {
		return api.Sum{}, err
	}
	s, err := n.resumed(ctx, q)
	if err != nil {
		return api.Sum{}, err
	}
	x.hold(s)
	if err := s.Again(ctx, o); err != nil {
		return api.Sum{}, err
	}
	_ = n.carry(ctx, x, s)
	done()
	return n.Sum(ctx, c, id)
}

// leftOver is the order of an epoch without those with whom the last ended: its threshold and its set, where they still fit. Who holds a side of a joined
// question stays: without it there is none.
func leftOver(q questionRecord, r api.SumOrder) (api.SumOrder, error) {
	old, fewest := q.Sum.Order, he.MinUnits
	var holders []sandbox.PartyID
	if j := q.Sum.Plan.Joined; j != nil {
		holders, fewest = j.Holders, len(j.Holders)
	}
	var openers []sandbox.IdentityID
	for i, id := range old.Units {
		if slices.Contains(q.Sum.Left, q.Sum.Plan.Units[i]) && !slices.Contains(holders, q.Sum.Plan.Units[i]) {
			continue
		}
		r.Units = append(r.Units, id)
		if slices.Contains(old.Openers, i) {
			openers = append(openers, id)
		}
	}
	if len(r.Units) < fewest {
		return r, sumError(sandbox.Conflict, q.ID, "three units or more are left", "name others with --units, or end it: opdomain he sum end "+string(q.ID))
	}
	if r.Set == "" {
		r.Set = string(old.Set)
	}
	if r.Threshold == 0 {
		r.Threshold = min(old.Threshold, len(r.Units))
	}
	if len(r.Openers) == 0 && len(openers) == r.Threshold {
		r.Openers = openers
	}
	return r, nil
}

// EndSum withholds the question, whatever its epoch was at.
func (n *Node) EndSum(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.Sum, error) {
	q, err := n.summed(ctx, c, id)
	if err != nil {
		return api.Sum{}, err
	}
	if q.Party != c.Party.ID && c.Party.Role != sandbox.Agency {
		return api.Sum{}, sumError(sandbox.Denied, id, "who asked, or the agency, ends it", "")
	}
	x, done, err := n.sums.claim(id)
	if err != nil {
		return api.Sum{}, err
	}
	defer done()
	if err := n.endSum(ctx, x, id, "given up by "+string(c.Party.Role)); err != nil {
		return api.Sum{}, err
	}
	done()
	return n.Sum(ctx, c, id)
}

// endSum gives a claimed sum up.
func (n *Node) endSum(ctx context.Context, x *carriedSum, id sandbox.QuestionID, cause string) error {
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return err
	}
	if q.State != stateComputing {
		return sumError(sandbox.Conflict, id, "it has ended", "opdomain query show "+string(id))
	}
	if x.sum == nil {
		s, err := n.resumed(ctx, q)
		if err != nil {
			return err
		}
		x.hold(s)
	}
	if err := x.sum.GiveUp(ctx, cause); err != nil && !errors.Is(err, sandbox.Expired) { // of an asker that was shut out: it has ended all the same
		return err
	}
	return nil
}

// summed gives a question over ciphertexts that concerns the caller: also a unit that takes part and owns no input.
func (n *Node) summed(ctx context.Context, c api.Caller, id sandbox.QuestionID) (questionRecord, error) {
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err == nil {
		var ok bool
		if ok, err = n.partOf(ctx, c, q); err == nil && !ok {
			err = &sandbox.Error{Op: "sum", Kind: sandbox.NotFound, Object: string(id)}
		}
	}
	return q, err
}

func (n *Node) partOf(ctx context.Context, c api.Caller, q questionRecord) (bool, error) {
	if q.Sum == nil {
		return false, nil
	}
	if slices.Contains(q.Sum.Order.Units, c.Identity.ID) || slices.Contains(q.Sum.Plan.Units, c.Party.ID) {
		return true, nil
	}
	return n.concerns(ctx, c, q)
}

// Sums lists what concerns the caller: for units only what goes on, which they look for often.
func (n *Node) Sums(ctx context.Context, c api.Caller) ([]api.Sum, error) {
	f := store.Filter{}
	if c.Party.Role == sandbox.Unit {
		f.State = stateComputing
	}
	rows, err := n.docs.questions.List(ctx, f)
	if err != nil {
		return nil, err
	}
	out := []api.Sum{}
	for _, r := range rows {
		ok, err := n.partOf(ctx, c, r.Value)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, n.sumSeen(c, r.Value))
		}
	}
	return out, nil
}

// Sum says where a sum stands.
func (n *Node) Sum(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.Sum, error) {
	q, err := n.summed(ctx, c, id)
	if err != nil {
		return api.Sum{}, err
	}
	return n.sumSeen(c, q), nil
}

func (n *Node) sumSeen(c api.Caller, q questionRecord) api.Sum {
	out := api.Sum{Question: n.seen(q, n.now()), Epoch: q.Sum.Plan.Epoch, Plan: q.Sum.Plan.Plan, Set: q.Sum.Plan.Set, Threshold: len(q.Sum.Plan.Openers), Units: []api.SumUnit{}, List: sumList(q.List)}
	// A holder may have left for what its rows came to: that one did shows, which of them does not to who asked.
	quiet := func(u api.SumUnit) bool {
		return u.Holds != "" && c.Party.ID == q.Party && c.Identity.ID != u.Identity
	}
	for i, p := range q.Sum.Plan.Units {
		u := api.SumUnit{Party: p, Opens: slices.Contains(q.Sum.Plan.Openers, p)}
		if i < len(q.Sum.Order.Units) {
			u.Identity = q.Sum.Order.Units[i]
		}
		u.Left = q.Sum.Ended && slices.Contains(q.Sum.Left, p)
		if j := q.Sum.Plan.Joined; j != nil && slices.Contains(j.Holders, p) {
			u.Holds = q.Spec.Inputs[slices.Index(j.Holders, p)].Dataset
		}
		u.Left = u.Left && !quiet(u)
		out.Units = append(out.Units, u)
	}
	if q.Sum.Ended && q.State == stateComputing {
		out.Aborted, out.Until = true, q.Sum.At.Add(n.cfg.Sums.or().Wait)
		if c.Party.ID != q.Party { // the rule may follow from what a unit holds: who asked learns with whom the epoch ended
			out.Cause = q.Sum.Cause
		}
	}
	x := n.sums.find(q.ID)
	if x == nil || q.Sum.Ended {
		return out
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sum == nil || x.kind == 0 || x.plan.Epoch != out.Epoch {
		return out
	}
	out.Step, out.Kind, out.Due = x.kind.String(), int(x.kind), x.due
	for i := range out.Units {
		out.Units[i].Sent = x.held[x.kind][i] != nil && !quiet(out.Units[i])
	}
	return out
}

// SumPlan gives the plan of the epoch that goes on.
func (n *Node) SumPlan(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.SumPlan, error) {
	q, err := n.summed(ctx, c, id)
	if err != nil {
		return api.SumPlan{}, err
	}
	x := n.sums.find(id)
	var p *he.Plan
	if x != nil {
		x.mu.Lock()
		p = x.plan
		x.mu.Unlock()
	}
	if p == nil {
		return api.SumPlan{}, sumError(sandbox.Conflict, id, "no epoch goes on", "opdomain he sum show "+string(id))
	}
	out := api.SumPlan{Question: id, Epoch: p.Epoch, Spec: q.Spec, List: sumList(q.List)}
	if out.Plan, err = p.Encode(); err != nil {
		return api.SumPlan{}, err
	}
	for _, d := range q.Spec.Dimensions {
		if labels, ok := q.Sum.Order.Keys[d.As]; ok {
			out.Keys = append(out.Keys, api.SumLabels{As: d.As, Labels: labels})
		}
	}
	return out, nil
}
