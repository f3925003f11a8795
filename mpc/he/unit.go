package he

import (
	"bytes"
	"context"
	"encoding/hex"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Unit (数源单位) is a source unit in one epoch: it contributes its vector, and if it is an opener it gives one decryption share for the sum that it has
// added up itself. The steps: Commit, Reveal, Deal, Join, Contribute, Share. Not safe for concurrent use.
type Unit struct {
	party
	shares []*Message
	own    *Message // its contribution
}

// NewUnit begins an epoch for the unit of that index. The plan is the caller's to accept: that its question is the one approved and that its
// members and their keys are those enrolled, for a plan whose other units are made up would open this unit's rows. *Refused when the plan is outside its budget, Conflict when the epoch has begun
// here before.
func NewUnit(c Config, unit int) (*Unit, error) {
	if c.Plan != nil && unit >= len(c.Plan.Units) {
		return nil, fail(sandbox.NotFound, "unit", "is one of the plan")
	}
	p, err := newParty(c, unit)
	if err != nil {
		return nil, err
	}
	return &Unit{party: *p}, nil
}

// dealContext binds a sealed deal to plan, dealer and receiver.
func dealContext(plan [sm.Size]byte, from, to int) string {
	return "opdomain he deal " + hex.EncodeToString(plan[:]) + hex.EncodeToString([]byte{byte(from), byte(to)})
}

// Deal takes everybody's key shares, with products everybody's relinearisation shares, and shares this unit's part of the key among all units, sealed to each.
func (u *Unit) Deal(ctx context.Context, shares []*Message) (*Message, error) {
	if err := u.keys(ctx, shares); err != nil {
		return nil, err
	}
	n := len(u.Plan.Units)
	out, err := u.Engine.Do(ctx, OpDeal, u.key, []byte{byte(n), byte(u.Plan.Threshold)})
	if err == nil && len(out) != n {
		err = fail(sandbox.Internal, "deal", "is one share for each unit")
	}
	if err != nil {
		return nil, u.abort(Deal, "", nil, err)
	}
	boxes := make([][]byte, n)
	for i, d := range out {
		boxes[i], err = u.Plan.Units[i].Seal.SealMessage(u.Rand, dealContext(u.digest, u.self, i), d)
		clear(d)
		if err != nil {
			return nil, u.abort(Deal, u.member(i), nil, err)
		}
	}
	return u.say(Deal, boxes...)
}

// Join takes all units' deals. After it, Threshold units and the gate stand for everybody.
func (u *Unit) Join(ctx context.Context, deals []*Message) error {
	if u.ended == nil && (u.stage != Deal || u.shares != nil) {
		return u.abort(Deal, "", nil, fail(sandbox.Conflict, Deal.String(), "each step is taken once and in order"))
	} else if u.ended != nil {
		return u.step(Deal, Deal)
	}
	n := len(u.Plan.Units)
	in, err := u.all(Deal, n, n, deals)
	if err != nil {
		return err
	}
	args := [][]byte{u.key}
	for i, m := range in {
		d, err := u.Open.OpenMessage(dealContext(u.digest, i, u.self), m.Parts[u.self])
		if err != nil {
			return u.abort(Deal, u.member(i), m, err)
		}
		args = append(args, d)
	}
	_, err = u.Engine.Do(ctx, OpJoin, args...)
	for _, d := range args[1:] {
		clear(d)
	}
	if err != nil {
		return u.abort(Deal, "", nil, err)
	}
	u.shares = in
	return nil
}

// Contribute encrypts the unit's partial, once.
func (u *Unit) Contribute(ctx context.Context, p *Partial) (*Message, error) {
	if u.ended == nil && u.shares == nil {
		return nil, u.abort(Contribution, "", nil, fail(sandbox.Conflict, Contribution.String(), "each step is taken once and in order"))
	}
	if err := u.step(Deal, Contribution); err != nil {
		return nil, err
	}
	if p == nil || !bytes.Equal(p.layout.encode(), u.Plan.Layout.encode()) {
		return nil, u.abort(Contribution, u.member(u.self), nil, fail(sandbox.Invalid, "partial", "has the plan's layout"))
	}
	vectors, err := p.vector(u.self, len(u.Plan.Units), u.set.Slots)
	if err != nil {
		return nil, u.abort(Contribution, u.member(u.self), nil, err)
	}
	var cts [][]byte
	for _, v := range vectors {
		b := appendInts(nil, v)
		out, err := u.Engine.Do(ctx, OpEncrypt, u.public, b)
		clear(v)
		clear(b)
		if err != nil {
			return nil, u.abort(Contribution, "", nil, err)
		}
		cts = append(cts, out[0])
	}
	more, err := u.multiplied(ctx, p)
	if err != nil {
		return nil, err
	}
	cts = append(cts, more...)
	if u.own, err = u.say(Contribution, cts...); err != nil {
		return nil, err
	}
	return u.own, nil
}

// Share adds the contributions up itself and gives the unit's share of the opening, once. It refuses a sum that its own ciphertexts are
// not in exactly once, that any unit is missing from or in twice, and any message of another plan; each ends the epoch. The ledger says
// "issued", durably, before Share returns.
func (u *Unit) Share(ctx context.Context, contributions []*Message) (*Message, error) {
	if err := u.step(Contribution, Share); err != nil {
		return nil, err
	}
	if !u.Plan.opens(u.self) {
		return nil, u.abort(Share, u.member(u.self), nil, fail(sandbox.Denied, "share", "is by an opener of the plan"))
	}
	in, err := u.each(Contribution, len(u.Plan.Units), u.parts, contributions)
	if err != nil {
		return nil, err
	}
	if in[u.self].digest() != u.own.digest() {
		return nil, u.abort(Contribution, u.member(u.self), in[u.self], fail(sandbox.Tampered, "contribution", "is what this unit sent"))
	}
	cts, digest, err := u.sum(ctx, in)
	if err != nil {
		return nil, err
	}
	// Before the engine makes the shares, so that no failure between here and sending leaves room for a second.
	if err := u.Ledger.issue(u.Plan.Run, u.Plan.Epoch, digest); err != nil {
		return nil, u.abort(Share, u.member(u.self), nil, err)
	}
	parts := [][]byte{digest[:]}
	for _, ct := range cts {
		out, err := u.Engine.Do(ctx, OpPartial, u.key, []byte{byte(u.budget.Flooding)}, []byte{byte(u.self + 1)}, u.Plan.points(), ct)
		if err != nil {
			return nil, u.abort(Share, "", nil, err)
		}
		parts = append(parts, out[0])
	}
	m, err := u.say(Share, parts...)
	if err != nil {
		return nil, err
	}
	u.Close() // the part of the key has done what it is for
	return m, nil
}
