package he

import (
	"context"
	"math/big"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Relinearize takes everybody's key shares and gives this party's second share of the relinearisation key, once. It is a step of epochs with
// products only, between Reveal and what takes the shares: Deal of a unit, Key of the gate. First shares were committed to with the
// public key's: who spoke last could otherwise choose their sum, and read the others' secrets off their second shares.
func (p *party) Relinearize(ctx context.Context, shares []*Message) (*Message, error) {
	if err := p.step(KeyShare, RelinShare); err != nil {
		return nil, err
	}
	if p.Plan.Layout.Products == nil {
		return nil, p.abort(RelinShare, "", nil, fail(sandbox.Conflict, RelinShare.String(), "is of a plan with products"))
	}
	if err := p.agree(ctx, shares); err != nil {
		return nil, err
	}
	out, err := p.Engine.Do(ctx, OpRelinTwo, append([][]byte{p.key, {relinFlood}}, p.first...)...)
	if err != nil {
		return nil, p.abort(RelinShare, "", nil, err)
	}
	return p.say(RelinShare, out[0])
}

// keys takes the last messages that the collective keys are made of.
func (p *party) keys(ctx context.Context, shares []*Message) error {
	if p.Plan.Layout.Products == nil {
		if err := p.step(KeyShare, Deal); err != nil {
			return err
		}
		return p.agree(ctx, shares)
	}
	if err := p.step(RelinShare, Deal); err != nil {
		return err
	}
	in, err := p.all(RelinShare, len(p.Plan.Units)+1, 1, shares)
	if err != nil {
		return err
	}
	args := append([][]byte{p.public}, p.first...)
	for _, m := range in {
		args = append(args, m.Parts[0])
	}
	if _, err := p.Engine.Do(ctx, OpRelinKey, args...); err != nil {
		return p.abort(RelinShare, "", nil, err)
	}
	p.first = nil
	return nil
}

// sideOf says which side of the products a unit holds; -1: none.
func (p *Plan) sideOf(unit int) int {
	if x := p.Layout.Products; x != nil {
		for side, h := range x.Holders {
			if h == unit {
				return side
			}
		}
	}
	return -1
}

// parts counts the parts of a unit's contribution: sums, factors of its side, masks.
func (p *party) parts(unit int) int {
	n := p.budget.Ciphertexts + p.budget.Products
	if side := p.Plan.sideOf(unit); side >= 0 {
		n += p.Plan.Layout.Products.ciphertexts(side, 1<<p.set.LogN)
	}
	return n
}

// multiplied encrypts what a unit adds to products: its side's factors, and a mask for each product.
func (u *Unit) multiplied(ctx context.Context, p *Partial) (out [][]byte, err error) {
	side := u.Plan.sideOf(u.self)
	if (side >= 0) != (p.vectors != nil) || side >= 0 && p.side != side {
		return nil, u.abort(Contribution, u.member(u.self), nil, fail(sandbox.Invalid, "partial", "is of the side that the unit holds"))
	}
	if p.vectors != nil {
		vectors, err := p.factors(1 << u.set.LogN)
		if err != nil {
			return nil, u.abort(Contribution, u.member(u.self), nil, err)
		}
		for _, v := range vectors {
			b := appendInts(nil, v)
			ct, err := u.Engine.Do(ctx, OpEncryptFactor, u.public, []byte{byte(side)}, b)
			clear(v)
			clear(b)
			if err != nil {
				return nil, u.abort(Contribution, "", nil, err)
			}
			out = append(out, ct[0])
		}
	}
	for range u.budget.Products {
		ct, err := u.Engine.Do(ctx, OpMask, u.public)
		if err != nil {
			return nil, u.abort(Contribution, "", nil, err)
		}
		out = append(out, ct[0])
	}
	return out, nil
}

// products computes every product anew from the units' factors and masks.
func (p *party) products(ctx context.Context, in []*Message) (out [][]byte, err error) {
	x := p.Plan.Layout.Products
	if x == nil {
		return nil, nil
	}
	n := 1 << p.set.LogN
	chunks := x.chunks(n)
	for _, t := range x.Terms {
		var factors [2][][]byte
		for side, f := range []int{t.Left, t.Right} {
			at := p.budget.Ciphertexts + x.first(side, f, n)
			factors[side] = in[x.Holders[side]].Parts[at : at+x.digits(x.Factors[side][f])*chunks]
		}
		for place := range x.places(t) {
			args := append([][]byte{p.public, x.pairs(t, place, n), {byte(len(factors[0])), byte(len(factors[1]))}}, slices.Concat(factors[0], factors[1])...)
			for _, m := range in {
				args = append(args, m.Parts[len(m.Parts)-p.budget.Products+len(out)])
			}
			ct, err := p.Engine.Do(ctx, OpProduct, args...)
			if err != nil {
				return nil, p.abort(Contribution, "", nil, err)
			}
			out = append(out, ct[0])
		}
	}
	return out, nil
}

// terms reads the opened products and what the holders state.
func (g *Gate) terms(opened [][]int64) (sides [2][]Side, terms []*big.Int, err error) {
	x := g.Plan.Layout.Products
	if x == nil {
		return sides, nil, nil
	}
	bad := fail(sandbox.Tampered, "opening", "is a sum of the units' vectors")
	var flat []int64
	for _, v := range opened[:g.budget.Ciphertexts] {
		flat = append(flat, v[checkSlots:]...)
	}
	sides, ok := x.read(flat)
	if !ok {
		return sides, nil, bad
	}
	rest := opened[g.budget.Ciphertexts:]
	for _, t := range x.Terms {
		places := make([]int64, x.places(t))
		for i := range places {
			if len(rest[0]) != 1+checkSlots {
				return sides, nil, bad
			}
			for _, one := range rest[0][1:] {
				if one != int64(len(g.Plan.Units)) {
					return sides, nil, bad
				}
			}
			places[i], rest = rest[0][0], rest[1:]
		}
		v := x.term(places)
		a, b := sides[0][t.Left], sides[1][t.Right]
		most := new(big.Int).Mul(a.Top, b.Top)
		if most.Mul(most, big.NewInt(min(a.Subjects, b.Subjects))); v.CmpAbs(most) > 0 {
			return sides, nil, bad // more than what the holders state could give
		}
		terms = append(terms, v)
	}
	return sides, terms, nil
}
