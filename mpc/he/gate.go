package he

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Gate (出域闸口) is the one that reads a result. Its part of the key is in every ciphertext and is not dealt, so that no set of units and no carrier
// opens anything without it. The steps: Commit, Reveal, Key, Open.
type Gate struct {
	party
}

// NewGate begins an epoch for the gate.
func NewGate(c Config) (*Gate, error) {
	if c.Plan == nil {
		return nil, fail(sandbox.Invalid, "gate", "has a plan")
	}
	p, err := newParty(c, len(c.Plan.Units))
	if err != nil {
		return nil, err
	}
	return &Gate{party: *p}, nil
}

// Key takes everybody's key shares, with products everybody's relinearisation shares.
func (g *Gate) Key(ctx context.Context, shares []*Message) error {
	return g.keys(ctx, shares)
}

// Open adds the contributions up, checks that the openers shared that very sum, and reads it. The epoch ends with it.
func (g *Gate) Open(ctx context.Context, contributions, shares []*Message) (*Result, error) {
	return g.OpenChecked(ctx, contributions, shares, nil)
}

// OpenChecked is Open that, when everything fits and before anything is read, shows the sum's digest and the openers' messages in their order to
// before; its error ends the epoch and nothing is read.
func (g *Gate) OpenChecked(ctx context.Context, contributions, shares []*Message, before func(sum [sm.Size]byte, by []*Message) error) (*Result, error) {
	if err := g.step(Deal, Share); err != nil {
		return nil, err
	}
	in, err := g.each(Contribution, len(g.Plan.Units), g.parts, contributions)
	if err != nil {
		return nil, err
	}
	cts, digest, err := g.sum(ctx, in)
	if err != nil {
		return nil, err
	}
	by := make([]*Message, len(g.Plan.Units))
	for _, m := range shares {
		if err := m.check(g.Plan, g.digest, Share); err != nil {
			return nil, g.abort(Share, "", m, err)
		}
		if !g.Plan.opens(m.From) || by[m.From] != nil || len(m.Parts) != 1+len(cts) {
			return nil, g.abort(Share, g.member(m.From), m, fail(sandbox.Conflict, "share", "comes once from each opener, whole"))
		}
		if !bytes.Equal(m.Parts[0], digest[:]) {
			return nil, g.abort(Share, g.member(m.From), m, fail(sandbox.Conflict, "share", "is of the sum of these contributions"))
		}
		by[m.From] = m
	}
	for _, o := range g.Plan.Openers {
		if by[o] == nil {
			return nil, g.abort(Share, g.member(o), nil, fail(sandbox.Unavailable, "share", "comes from each opener"))
		}
	}
	if before != nil {
		var ordered []*Message
		for _, o := range g.Plan.Openers {
			ordered = append(ordered, by[o])
		}
		if err := before(digest, ordered); err != nil {
			return nil, g.abort(Share, "", nil, err)
		}
	}
	var opened [][]int64
	for k, ct := range cts {
		args := [][]byte{g.key, ct}
		for _, o := range g.Plan.Openers {
			args = append(args, by[o].Parts[1+k])
		}
		op := OpOpen
		if k >= g.budget.Ciphertexts {
			op = OpOpenProduct
		}
		out, err := g.Engine.Do(ctx, op, args...)
		if err != nil {
			return nil, g.abort(Share, "", nil, err)
		}
		v := make([]int64, len(out[0])/word)
		for i := range v {
			v[i] = int64(binary.LittleEndian.Uint64(out[0][word*i:]))
		}
		clear(out[0])
		opened = append(opened, v)
	}
	cells, err := g.Plan.Layout.read(opened[:g.budget.Ciphertexts], len(g.Plan.Units))
	r := &Result{Epoch: g.Plan.Epoch, Cells: cells, Budget: g.budget, Threshold: g.Plan.Threshold, Sum: digest}
	if err == nil {
		r.Sides, r.Terms, err = g.terms(opened)
	}
	for _, v := range opened {
		clear(v)
	}
	if err != nil {
		return nil, g.abort(Share, "", nil, err)
	}
	for _, u := range g.Plan.Units {
		r.Units = append(r.Units, u.ID)
	}
	g.Close()
	return r, nil
}
