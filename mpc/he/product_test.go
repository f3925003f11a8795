package he

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math/big"
	mrand "math/rand/v2"
	"testing"

	"github.com/tuneinsight/lattigo/v5/he/heint"

	"github.com/opdomain/opdomain/sandbox"
)

// TestProduct multiplies encrypted vectors of two units under the key of all: the gate reads inner products and nothing beside them.
func TestProduct(t *testing.T) {
	k := newCollectiveKey(t, ProductSet, 3, 2)
	p, _ := paramsOf(ProductSet)
	seed := mrand.Uint64()
	r := mrand.New(mrand.NewPCG(seed, 3))
	t.Logf("seed %d", seed)
	d := productLength(p.n())
	draw := func(n int) []int64 {
		v := make([]int64, n)
		for i := range v {
			v[i] = r.Int64N(1<<21) - 1<<20
		}
		return v
	}
	a, b := [][]int64{draw(d), draw(100)}, [][]int64{draw(d), draw(d)}
	var factors [][]byte
	for _, v := range a {
		factors = append(factors, do(t, k.units[0], OpEncryptFactor, k.pub[0], []byte{0}, appendInts(nil, v))[0])
	}
	for _, v := range b {
		factors = append(factors, do(t, k.units[1], OpEncryptFactor, k.pub[1], []byte{1}, appendInts(nil, v))[0])
	}
	dot := func(x, y []int64) (s int64) {
		for i := range min(len(x), len(y)) {
			s += x[i] * y[i]
		}
		return s
	}
	for _, pairs := range [][]byte{{0, 0}, {1, 1}, {0, 1, 1, 0}} {
		want := int64(0)
		for i := 0; i < len(pairs); i += 2 {
			want += dot(a[pairs[i]], b[pairs[i+1]])
		}
		args := append([][]byte{k.pub[0], pairs, {2, 2}}, factors...)
		for u := range k.units {
			args = append(args, do(t, k.units[u], OpMask, k.pub[u])[0])
		}
		ct := do(t, k.units[0], OpProduct, args...)[0]
		args[0] = k.pub[2]
		if string(do(t, k.units[2], OpProduct, args...)[0]) != string(ct) {
			t.Fatal("two units compute different products")
		}
		open := [][]byte{k.gateKey, ct}
		for _, x := range []byte{1, 3} {
			open = append(open, do(t, k.units[x-1], OpPartial, k.handles[x-1], []byte{100}, []byte{x}, []byte{1, 3}, ct)[0])
		}
		got := do(t, k.gate, OpOpenProduct, open...)[0]
		if int64(binary.LittleEndian.Uint64(got)) != want {
			t.Errorf("pairs %v: the inner product is wrong", pairs)
		}
		for i := range checkSlots {
			if int64(binary.LittleEndian.Uint64(got[word*(1+i):])) != 3 {
				t.Errorf("pairs %v: a check is not the number of units", pairs)
			}
		}
	}
}

// productLayout is of two sides over so many subjects: numbers of rows, values of the widest range, squares.
func productLayout(subjects int, bits ...int) Layout {
	x := &Products{Subjects: subjects, Holders: [2]int{0, 2}, Factors: [2][]Factor{{{Bits: bits[0]}, {Bits: bits[1]}}, {{Bits: bits[2]}, {Bits: bits[3]}}},
		Terms: []Term{{0, 0}, {1, 1}}}
	return Layout{Products: x}
}

// side draws a side: places without rows, small values, values at both ends of the range.
func side(t testing.TB, l *Layout, which int, r *mrand.Rand) (*Partial, [][]*big.Int) {
	p, err := NewSide(l, which)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]*big.Int
	for f, x := range l.Products.Factors[which] {
		v := make([]*big.Int, l.Products.Subjects)
		for s := range v {
			v[s] = new(big.Int)
			var a, b int64 = 0, 1
			switch most := int64(1)<<min(x.Bits, 47) - 1; r.IntN(4) {
			case 0:
				a = most
			case 1:
				a = -most
			case 2:
				a = r.Int64N(2*most+1) - most
			}
			if x.Bits > 93 {
				b = 1<<47 - 1
			}
			if a != 0 {
				if err := p.AddTo(f, s, a, b); err != nil {
					t.Fatal(err)
				}
				v[s].Mul(big.NewInt(a), big.NewInt(b))
			}
		}
		out = append(out, v)
	}
	return p, out
}

// TestProductEpoch runs whole epochs with products and holds every term, and what the holders state, to plain integers.
func TestProductEpoch(t *testing.T) {
	c := newCast(t, 3)
	for i, x := range []struct {
		subjects int
		bits     []int
	}{{50, []int{1, 47, 1, 94}}, {8191, []int{1, 20, 1, 20}}} {
		seed := mrand.Uint64()
		t.Logf("seed %d", seed)
		r := mrand.New(mrand.NewPCG(seed, 4))
		l := productLayout(x.subjects, x.bits...)
		plan := c.plan(uint64(i+1), 2, []int{1, 2}, l)
		plan.Set = ProductSet
		e := c.begin(plan)
		pa, a := side(t, &l, 0, r)
		pb, b := side(t, &l, 1, r)
		none, err := NewPartial(&l)
		c.ok(err)
		c.contribute(e, []*Partial{pa, none, pb})
		got, err := e.gate.Open(context.Background(), e.contribs, c.shares(e))
		c.ok(err)
		for k, term := range l.Products.Terms {
			want := new(big.Int)
			for s := range x.subjects {
				want.Add(want, new(big.Int).Mul(a[term.Left][s], b[term.Right][s]))
			}
			if got.Terms[k].Cmp(want) != 0 {
				t.Errorf("%d subjects, term %d is wrong", x.subjects, k)
			}
		}
		for which, factors := range [][][]*big.Int{a, b} {
			for f, v := range factors {
				n, alike, top, values := int64(0), int64(0), new(big.Int), map[string]int64{}
				for _, w := range v {
					if w.Sign() != 0 {
						n++
						values[w.String()]++
						alike = max(alike, values[w.String()])
					}
					if w.CmpAbs(top) > 0 {
						top.Abs(w)
					}
				}
				if s := got.Sides[which][f]; s.Subjects != n || s.Alike != alike || s.Top.Cmp(top) != 0 {
					t.Errorf("%d subjects: the evidence of side %d, factor %d differs", x.subjects, which, f)
				}
			}
		}
	}
}

// TestProductNoise opens products of the worst plaintexts: their noise is below what the linter states, and flooding much beyond what it allows
// opens wrongly.
func TestProductNoise(t *testing.T) {
	k := newCollectiveKey(t, ProductSet, 3, 3)
	p, _ := paramsOf(ProductSet)
	l := productLayout(productLength(p.n()), 20, 20, 20, 20)
	b := Budget{Ciphertexts: 1, Products: 4}
	hidden, fits := budgetOf(&b, p.Set, 3, 3, l.Products)
	if !fits || hidden < MinSecurity || b.Security < MinSecurity {
		t.Fatalf("three units have no budget: %d bits of the key's shares, %d of the openers'", hidden, b.Security)
	}
	v := make([]int64, productLength(p.n()))
	for i := range v {
		v[i] = int64(p.T/2) - 1 - int64(i%7) // as large as plaintexts are, whatever their product is modulo T
	}
	args := [][]byte{k.pub[0], {0, 0}, {1, 1}, do(t, k.units[0], OpEncryptFactor, k.pub[0], []byte{0}, appendInts(nil, v))[0],
		do(t, k.units[1], OpEncryptFactor, k.pub[1], []byte{1}, appendInts(nil, v))[0]}
	for u := range k.units {
		args = append(args, do(t, k.units[u], OpMask, k.pub[u])[0])
	}
	ct := do(t, k.units[0], OpProduct, args...)[0]
	want := new(big.Int)
	for i := range v {
		want.Add(want, new(big.Int).Mul(big.NewInt(v[i]), big.NewInt(v[i])))
	}
	want.Mod(want, new(big.Int).SetUint64(p.T))
	open := func(flood byte) (int64, bool) {
		parts := [][]byte{k.gateKey, ct}
		for i, e := range k.units {
			kp, err := key[*keyPart](e.(*Local), k.handles[i])
			if err != nil {
				t.Fatal(err)
			}
			clear(kp.issued) // the same ciphertext again, in a test only
			parts = append(parts, do(t, e, OpPartial, k.handles[i], []byte{flood}, []byte{byte(i + 1)}, []byte{1, 2, 3}, ct)[0])
		}
		out := do(t, k.gate, OpOpenProduct, parts...)[0]
		checked := true
		for i := range checkSlots {
			checked = checked && binary.LittleEndian.Uint64(out[word*(1+i):]) == 3
		}
		return int64(binary.LittleEndian.Uint64(out)), checked
	}
	got, checked := open(byte(b.Flooding))
	if g := new(big.Int).Mod(big.NewInt(got), new(big.Int).SetUint64(p.T)); g.Cmp(want) != 0 || !checked {
		t.Error("with the flooding that the linter allows, a product opens wrongly")
	}
	if _, checked := open(byte(b.Flooding + 6)); checked {
		t.Errorf("the linter allows 2^%d; six bits more open rightly", b.Flooding)
	}

	// The noise itself: the phase of the product under all parts of the key, less what it decodes to.
	r := p.rlwe.RingQ().AtLevel(p.shared())
	sum := heint.NewCiphertext(p.bgv, 1, p.shared())
	if err := readPolys("ciphertext", ct, p.Q[:p.Shared], sum.Value...); err != nil {
		t.Fatal(err)
	}
	phase, one := r.NewPoly(), r.NewPoly()
	phase.Copy(sum.Value[0])
	for i, e := range append(k.units[:3:3], k.gate) {
		h := k.gateKey
		if i < 3 {
			h = k.handles[i]
		}
		kp, err := key[*keyPart](e.(*Local), h)
		if err != nil {
			t.Fatal(err)
		}
		r.MulCoeffsMontgomery(sum.Value[1], kp.secret.Value.Q, one)
		r.Add(phase, one, phase)
	}
	r.MulScalar(phase, p.T, phase) // m + T·noise
	r.INTT(phase, phase)
	values := make([]*big.Int, p.n())
	for i := range values {
		values[i] = new(big.Int)
	}
	r.PolyToBigintCentered(phase, 1, values)
	most := new(big.Int)
	for _, v := range values {
		if v.CmpAbs(most) > 0 {
			most.Abs(v)
		}
	}
	most.Quo(most, new(big.Int).SetUint64(p.T))
	t.Logf("noise of %d bits, below 2^%d; flooding 2^%d hides it to %d bits, the key's to %d", most.BitLen(), b.NoiseBits, b.Flooding, b.Security, hidden)
	if most.BitLen() > b.NoiseBits || most.BitLen() < 5 {
		t.Errorf("noise of %d bits, stated below 2^%d", most.BitLen(), b.NoiseBits)
	}
}

// smallProducts is one term of one product.
func smallProducts() Layout {
	return Layout{Products: &Products{Subjects: 3, Holders: [2]int{0, 2}, Factors: [2][]Factor{{{Bits: 4}}, {{Bits: 4}}}, Terms: []Term{{0, 0}}}}
}

// TestProductFaults lists what may go wrong with a product beside what may with a sum: each is one typed abort.
func TestProductFaults(t *testing.T) {
	c, ctx, l := newCast(t, 3), context.Background(), smallProducts()
	n := uint64(0)
	plan := func() *Plan {
		n++
		p := c.plan(n, 2, []int{0, 2}, l)
		p.Set = ProductSet
		return p
	}
	sides := func() []*Partial {
		var out []*Partial
		for _, which := range []int{0, -1, 1} {
			p, err := NewPartial(&l)
			if which >= 0 {
				p, err = NewSide(&l, which)
			}
			c.ok(err)
			for s := range 3 * min(1, which+1) {
				c.ok(p.AddTo(0, s, int64(s+2), 1))
			}
			out = append(out, p)
		}
		return out
	}

	// Keys: a first share that was not committed to, a second share of another, a step taken twice.
	p := plan()
	var all []*party
	for i := range 4 {
		q, err := newParty(Config{Plan: p, Engine: NewLocal(rand.Reader), Sign: c.sign[i], Open: c.open[i], Ledger: c.ledgers[i], Rand: rand.Reader}, i)
		c.ok(err)
		all = append(all, q)
	}
	var commits, keys, seconds []*Message
	for _, q := range all {
		m, err := q.Commit(ctx)
		c.ok(err)
		commits = append(commits, m)
	}
	for _, q := range all {
		m, err := q.Reveal(ctx, commits)
		c.ok(err)
		keys = append(keys, m)
	}
	m, err := sign(rand.Reader, c.sign[2], KeyShare, p.Digest(), 2, keys[2].Parts[0], keys[1].Parts[1])
	c.ok(err)
	_, err = all[1].Relinearize(ctx, []*Message{keys[0], keys[1], m, keys[3]})
	aborted(t, err, sandbox.Tampered, "unit-3")
	for _, q := range []*party{all[0], all[2], all[3]} {
		m, err := q.Relinearize(ctx, keys)
		c.ok(err)
		seconds = append(seconds, m)
	}
	if _, err := all[2].Engine.Do(ctx, OpRelinTwo, append([][]byte{all[2].key, {relinFlood}}, all[2].first...)...); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a second share of the relinearisation key is given twice: %v", err)
	}
	err = all[0].keys(ctx, seconds)
	aborted(t, err, sandbox.Unavailable, "unit-2")
	if _, err = all[3].Relinearize(ctx, keys); err == nil {
		t.Error("a step is taken twice")
	}

	// Contributions: without a mask, another's factor, the wrong side.
	e := c.begin(plan())
	_, err = e.units[0].Contribute(ctx, sides()[2])
	aborted(t, err, sandbox.Invalid, "unit-1")
	_, err = e.units[1].Contribute(ctx, sides()[0])
	aborted(t, err, sandbox.Invalid, "unit-2")

	e = c.begin(plan())
	c.contribute(e, sides())
	resign := func(from int, parts ...[]byte) *Message {
		m, err := sign(rand.Reader, c.sign[from], Contribution, e.plan.Digest(), from, parts...)
		c.ok(err)
		return m
	}
	parts := e.contribs[2].Parts // evidence, factor, mask
	_, err = e.units[0].Share(ctx, []*Message{e.contribs[0], e.contribs[1], resign(2, parts[:2]...)})
	aborted(t, err, sandbox.Conflict, "unit-3")
	_, err = e.units[2].Share(ctx, []*Message{e.contribs[0], resign(1, e.contribs[1].Parts[0], e.contribs[0].Parts[2]), e.contribs[2]})
	aborted(t, err, sandbox.Conflict, "unit-2")

	// Shares: of another ciphertext than the product.
	e = c.begin(plan())
	c.contribute(e, sides())
	s := c.shares(e)
	wrong, err := sign(rand.Reader, c.sign[2], Share, e.plan.Digest(), 2, s[1].Parts[0], s[1].Parts[1], s[0].Parts[2])
	c.ok(err)
	_, err = e.gate.Open(ctx, e.contribs, []*Message{s[0], wrong})
	aborted(t, err, sandbox.Tampered, "")
}

// TestProductRanges stops a holder whose values are wider than declared, before it encrypts.
func TestProductRanges(t *testing.T) {
	l := smallProducts()
	p, err := NewSide(&l, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []error{p.AddTo(1, 0, 1, 1), p.AddTo(0, 3, 1, 1), p.AddTo(0, -1, 1, 1)} {
		if !errors.Is(bad, sandbox.Invalid) {
			t.Errorf("a factor or place that is not there: %v", bad)
		}
	}
	if err := p.AddTo(0, 0, 1<<47, 1); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("a value of 2^47: %v", err)
	}
	if err := p.AddTo(0, 1, -15, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := p.factors(1 << 14); err != nil {
		t.Errorf("a value within the range: %v", err)
	}
	_ = p.AddTo(0, 1, -1, 1)
	if _, err := p.factors(1 << 14); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("a value of 2^4: %v", err)
	}
}

// TestDigits splits and joins values at both ends of every range.
func TestDigits(t *testing.T) {
	for _, subjects := range []int{1, 50, 8190, MaxSubjects} {
		x := &Products{Subjects: subjects}
		for n := 1; n <= MaxBits; n++ {
			d := make([]int64, x.digits(Factor{n}))
			if len(d) > maxDigits {
				t.Fatalf("%d bits take %d digits", n, len(d))
			}
			most := new(big.Int).Lsh(big.NewInt(1), uint(n))
			most.Sub(most, big.NewInt(1))
			for _, v := range []*big.Int{most, new(big.Int).Neg(most), big.NewInt(0), new(big.Int).Rsh(most, 1)} {
				if err := x.digitsOf(v, d); err != nil || x.term(d).Cmp(v) != 0 {
					t.Fatalf("%d bits over %d subjects: %v", n, subjects, err)
				}
				for _, k := range d {
					if k > 1<<(x.digitBits()-1) || k < -1<<(x.digitBits()-1) {
						t.Fatalf("%d bits over %d subjects: a digit is too wide", n, subjects)
					}
				}
			}
		}
	}
}
