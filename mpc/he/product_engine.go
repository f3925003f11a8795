package he

import (
	"encoding/binary"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/heint"
	"github.com/tuneinsight/lattigo/v5/mhe"
	lattice "github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/ring/ringqp"
	"github.com/tuneinsight/lattigo/v5/utils/sampling"

	"github.com/opdomain/opdomain/sandbox"
)

// A product is the inner product of two encrypted vectors: one stands in the coefficients of a polynomial from the front, the other from the
// back, so that the product of the polynomials has it in one coefficient. The other coefficients are correlations at every shift: each
// unit adds a mask, uniform in them and zero in that one, so that one honest unit hides them wholly. Rotations instead, which slots would
// take, need a key of 5 MB from every party for each of thirteen steps; multiplying one side by the other's plaintext needs no key, but
// nobody else could recompute the result before it shares it.

// productLength is how many values a polynomial of one side holds: twice that, less one, and the checks fit into the ring.
func productLength(n int) int { return (n - checkSlots) / 2 }

// relinFlood is the flooding of second shares of a relinearisation key: uniform in [-2^relinFlood, 2^relinFlood). The key's own noise
// has products of each party's secrets with errors that others know; this hides them. The division by P takes it off a product again.
const relinFlood = 120

func appendQP(b []byte, p ringqp.Poly) []byte {
	if b = appendPoly(b, p.Q); p.P.Level() >= 0 {
		b = appendPoly(b, p.P)
	}
	return b
}

func readQP(b []byte, p *params, into ringqp.Poly) ([]byte, error) {
	b, err := readPoly(b, p.Q, into.Q)
	if err == nil && len(p.P) > 0 {
		b, err = readPoly(b, p.P, into.P)
	}
	return b, err
}

func zeroQP(p ringqp.Poly) {
	if p.Q.Zero(); p.P.Level() >= 0 {
		p.P.Zero()
	}
}

// multiplying wants a set with a multiplication.
func multiplying(p *params) error {
	if p.Scheme != "BGV" || p.Depth != 1 {
		return fail(sandbox.Invalid, "parameter set", "is one for products")
	}
	return nil
}

// gadget is a relinearisation share's polynomials in order.
func gadget(g *rlwe.GadgetCiphertext) (out []ringqp.Poly) {
	for i := range g.Value {
		for j := range g.Value[i] {
			out = append(out, g.Value[i][j][0], g.Value[i][j][1])
		}
	}
	return out
}

func appendGadget(p *params, g *rlwe.GadgetCiphertext) (b []byte) {
	for _, x := range gadget(g) {
		p.rlwe.RingQ().Reduce(x.Q, x.Q) // the library multiplies lazily
		p.rlwe.RingP().Reduce(x.P, x.P)
		b = appendQP(b, x)
	}
	return b
}

func readGadget(p *params, b []byte, g *rlwe.GadgetCiphertext) (err error) {
	for _, x := range gadget(g) {
		if b, err = readQP(b, p, x); err != nil {
			break
		}
	}
	if err != nil || len(b) > 0 {
		return fail(sandbox.Invalid, "relinearisation share", "has the length of its parameter set, every coefficient below its modulus")
	}
	return nil
}

// relinReference is the common reference of a relinearisation key.
func relinReference(p *params, proto mhe.RelinearizationKeyGenProtocol, seed []byte) (crp mhe.RelinearizationKeyGenCRP, err error) {
	if len(seed) != seedSize {
		return crp, fail(sandbox.Invalid, "seed", "has 32 bytes")
	}
	crs, err := sampling.NewKeyedPRNG(seed)
	if err != nil {
		return crp, err
	}
	return proto.SampleCRP(crs), nil
}

// relinOne is the first round of Mouchet et al., eprint 2020/304, §IV-D.
func (l *Local) relinOne(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	k, err := key[*keyPart](l, args[0])
	if err == nil {
		err = k.alive()
	}
	if err == nil {
		err = multiplying(k.p)
	}
	if err != nil {
		return nil, err
	}
	if k.once != nil || k.dealt {
		return nil, fail(sandbox.Conflict, "relinearisation share", "is given once, before the key part is dealt")
	}
	proto := mhe.NewRelinearizationKeyGenProtocol(k.p.rlwe)
	crp, err := relinReference(k.p, proto, args[1])
	if err != nil {
		return nil, err
	}
	once, share, _ := proto.AllocateShare()
	proto.GenShareRoundOne(k.secret, crp, once, &share)
	k.once = once
	return [][]byte{appendGadget(k.p, &share.GadgetCiphertext)}, nil
}

// sumGadgets adds shares up.
func sumGadgets(p *params, proto mhe.RelinearizationKeyGenProtocol, shares [][]byte) (sum mhe.RelinearizationKeyGenShare, err error) {
	_, sum, one := proto.AllocateShare()
	for _, b := range shares {
		if err := readGadget(p, b, &one.GadgetCiphertext); err != nil {
			return sum, err
		}
		proto.AggregateShares(sum, one, &sum)
	}
	return sum, nil
}

func (l *Local) relinTwo(args [][]byte) ([][]byte, error) {
	if len(args) < 3 || len(args) > MaxUnits+3 || len(args[1]) != 1 {
		return nil, fail(sandbox.Invalid, "relinearisation share", "is of one to 65 first shares")
	}
	k, err := key[*keyPart](l, args[0])
	if err == nil {
		err = k.alive()
	}
	if err != nil {
		return nil, err
	}
	if k.once == nil || k.spent {
		return nil, fail(sandbox.Conflict, "relinearisation share", "is given once, after the first")
	}
	k.spent = true // whatever becomes of it: never a second time with this ephemeral key
	proto := mhe.NewRelinearizationKeyGenProtocol(k.p.rlwe)
	sum, err := sumGadgets(k.p, proto, args[2:])
	if err != nil {
		return nil, err
	}
	_, _, share := proto.AllocateShare()
	proto.GenShareRoundTwo(k.once, k.secret, sum, &share)
	zeroQP(k.once.Value)
	draws, err := newStream(l.rand)
	if err != nil {
		return nil, err
	}
	defer draws.wipe()
	for _, x := range gadget(&share.GadgetCiphertext) {
		if err := floodQP(k.p, int(args[1][0]), draws, x); err != nil {
			return nil, err
		}
	}
	return [][]byte{appendGadget(k.p, &share.GadgetCiphertext)}, nil
}

func (l *Local) relinKey(args [][]byte) ([][]byte, error) {
	if len(args) < 3 || len(args)%2 == 0 || len(args) > 2*(MaxUnits+1)+1 {
		return nil, fail(sandbox.Invalid, "relinearisation key", "is of as many first shares as second ones")
	}
	c, err := key[*collective](l, args[0])
	if err == nil {
		err = multiplying(c.p)
	}
	if err != nil {
		return nil, err
	}
	n := len(args) / 2
	proto := mhe.NewRelinearizationKeyGenProtocol(c.p.rlwe)
	one, err := sumGadgets(c.p, proto, args[1:1+n])
	if err != nil {
		return nil, err
	}
	two, err := sumGadgets(c.p, proto, args[1+n:])
	if err != nil {
		return nil, err
	}
	rlk := rlwe.NewRelinearizationKey(c.p.rlwe)
	proto.GenRelinearizationKey(one, two, rlk)
	c.relin = rlk
	return nil, nil
}

// encryptFactor encrypts values of one side: 0 stands from the front, 1 from the back.
func (l *Local) encryptFactor(args [][]byte) ([][]byte, error) {
	if err := counted(args, 3); err != nil {
		return nil, err
	}
	c, err := key[*collective](l, args[0])
	if err == nil {
		err = multiplying(c.p)
	}
	if err != nil {
		return nil, err
	}
	d := productLength(c.p.n())
	v, err := readInts(args[2], d, c.limit)
	if err != nil {
		return nil, err
	}
	defer clear(v)
	if len(args[1]) != 1 || args[1][0] > 1 {
		return nil, fail(sandbox.Invalid, "side", "is one of two")
	}
	if args[1][0] == 1 {
		back := make([]int64, d)
		defer clear(back)
		for i, x := range v {
			back[d-1-i] = x
		}
		v = back
	}
	m := make([]uint64, c.p.n())
	defer clear(m)
	for i, x := range v {
		m[i] = uint64(x) + c.p.T&uint64(x>>63)
	}
	ct, err := c.enc.coefficients(l.rand, m, len(c.p.Q), nil)
	if err != nil {
		return nil, err
	}
	return [][]byte{ct}, nil
}

// productScale is what the moduli that a product used up have multiplied its value by.
func productScale(p *params) uint64 {
	s, red := uint64(1), lattice.BRedConstant(p.T)
	for _, q := range p.Q[p.Shared:] {
		s = lattice.BRed(s, lattice.ModExp(q%p.T, p.T-2, p.T), p.T, red)
	}
	return s
}

// mask hides every coefficient of a product but its value and the checks, which each unit puts a one in.
func (l *Local) mask(args [][]byte) ([][]byte, error) {
	if err := counted(args, 1); err != nil {
		return nil, err
	}
	c, err := key[*collective](l, args[0])
	if err == nil {
		err = multiplying(c.p)
	}
	if err != nil {
		return nil, err
	}
	n := c.p.n()
	draws, err := newStream(l.rand)
	if err != nil {
		return nil, err
	}
	defer draws.wipe()
	v, t, red := make([]uint64, n), c.p.T, lattice.BRedConstant(c.p.T)
	defer clear(v)
	wrap := lattice.BRedAdd(^uint64(0), t, red) + 1 // 2^64 mod T, or T
	random := draws.bytes(16 * n)
	for i := range v { // 128 bits modulo T: uniform but for 2^-71
		hi, lo := binary.LittleEndian.Uint64(random[16*i:]), binary.LittleEndian.Uint64(random[16*i+8:])
		v[i] = lattice.BRed(lattice.BRedAdd(hi, t, red), lattice.CRed(wrap, t), t, red)
		v[i] = lattice.CRed(v[i]+lattice.BRedAdd(lo, t, red), t)
	}
	v[productLength(n)-1] = 0
	for i := range checkSlots {
		v[n-1-i] = productScale(c.p)
	}
	ct, err := c.enc.coefficients(l.rand, v, c.p.Shared, nil)
	if err != nil {
		return nil, err
	}
	return [][]byte{ct}, nil
}

// product adds the products of pairs of factors, relinearises and rescales their sum once, and adds the masks. Whole numbers only: the same
// arguments give the same bits on a machine of the same kind.
func (l *Local) product(args [][]byte) ([][]byte, error) {
	bad := fail(sandbox.Invalid, "product", "is of pairs of factors, each of its side")
	if len(args) < 6 || len(args[2]) != 2 || len(args[1]) == 0 || len(args[1])%2 != 0 {
		return nil, bad
	}
	c, err := key[*collective](l, args[0])
	if err == nil {
		err = multiplying(c.p)
	}
	if err != nil {
		return nil, err
	}
	if c.relin == nil {
		return nil, fail(sandbox.Conflict, "product", "has a relinearisation key")
	}
	pairs, na, nb, p := args[1], int(args[2][0]), int(args[2][1]), c.p
	masks := args[3:]
	if na == 0 || nb == 0 || len(masks) <= na+nb || len(masks)-na-nb > MaxUnits {
		return nil, bad
	}
	factors, masks := masks[:na+nb], masks[na+nb:]
	r := p.rlwe.RingQ()
	cts := make([]*rlwe.Ciphertext, len(factors))
	for i, b := range factors {
		cts[i] = heint.NewCiphertext(p.bgv, 1, p.level())
		if err := readPolys("factor", b, p.Q, cts[i].Value...); err != nil {
			return nil, err
		}
		if i < na { // times T, which encryption divides by, in Montgomery's form
			for _, v := range cts[i].Value {
				r.MulScalar(v, p.T, v)
				r.MForm(v, v)
			}
		}
	}
	three := heint.NewCiphertext(p.bgv, 2, p.level())
	for i := 0; i < len(pairs); i += 2 {
		if int(pairs[i]) >= na || int(pairs[i+1]) >= nb {
			return nil, bad
		}
		a, b := cts[pairs[i]].Value, cts[na+int(pairs[i+1])].Value
		r.MulCoeffsMontgomeryThenAdd(a[0], b[0], three.Value[0])
		r.MulCoeffsMontgomeryThenAdd(a[0], b[1], three.Value[1])
		r.MulCoeffsMontgomeryThenAdd(a[1], b[0], three.Value[1])
		r.MulCoeffsMontgomeryThenAdd(a[1], b[1], three.Value[2])
	}
	sum := heint.NewCiphertext(p.bgv, 1, p.level())
	eval := rlwe.NewEvaluator(p.rlwe, rlwe.NewMemEvaluationKeySet(c.relin))
	if err := eval.Relinearize(three, sum); err != nil {
		return nil, err
	}
	buf := r.NewPoly()
	for level := p.level(); level > p.shared(); level-- {
		for i := range sum.Value {
			r.AtLevel(level).DivRoundByLastModulusNTT(sum.Value[i], buf, sum.Value[i])
			sum.Value[i].Resize(level - 1)
		}
	}
	low := r.AtLevel(p.shared())
	one := heint.NewCiphertext(p.bgv, 1, p.shared())
	for _, b := range masks {
		if err := readPolys("mask", b, p.Q[:p.Shared], one.Value...); err != nil {
			return nil, err
		}
		for i := range sum.Value {
			low.Add(sum.Value[i], one.Value[i], sum.Value[i])
		}
	}
	for _, v := range sum.Value {
		low.Reduce(v, v)
	}
	return [][]byte{appendCiphertext(make([]byte, 0, p.CiphertextBytes()), sum)}, nil
}

// openProduct gives a product's value and its checks.
func (l *Local) openProduct(args [][]byte) ([][]byte, error) {
	k, phase, err := l.phase(args)
	if err != nil {
		return nil, err
	}
	defer phase.Zero()
	if err := multiplying(k.p); err != nil {
		return nil, err
	}
	p := k.p
	pt := heint.NewPlaintext(p.bgv, p.shared())
	pt.IsBatched = false
	pt.Scale = p.bgv.NewScale(productScale(p))
	pt.Value.Copy(phase)
	defer pt.Value.Zero()
	v := make([]int64, p.n())
	defer clear(v)
	if err := heint.NewEncoder(p.bgv).Decode(pt, v); err != nil {
		return nil, err
	}
	return [][]byte{appendInts(nil, append([]int64{v[productLength(p.n())-1]}, v[p.n()-checkSlots:]...))}, nil
}

// floodQP adds the same noise, uniform in [-2^b, 2^b), modulo all primes of Q and P.
func floodQP(p *params, b int, draws *stream, x ringqp.Poly) error {
	if b < 1 || b > maxFlood {
		return fail(sandbox.Invalid, "flooding", "has 1 to 126 bits")
	}
	var maskLo, maskHi uint64 = 1<<min(b+1, 64) - 1, 0
	if b+1 >= 64 {
		maskLo, maskHi = ^uint64(0), 1<<(b+1-64)-1
	}
	random := draws.bytes(16 * p.n())
	add := func(r *lattice.Ring, to lattice.Poly) {
		noise := r.NewPoly()
		defer noise.Zero()
		for j, s := range r.SubRings {
			q, red, off := s.Modulus, s.BRedConstant, pow2mod(b, s.Modulus)
			wrap := pow2mod(64, q)
			for i := range noise.Coeffs[j] {
				lo := binary.LittleEndian.Uint64(random[16*i:]) & maskLo
				hi := binary.LittleEndian.Uint64(random[16*i+8:]) & maskHi
				v := lattice.BRed(lattice.BRedAdd(hi, q, red), wrap, q, red)
				v = lattice.CRed(v+lattice.BRedAdd(lo, q, red), q)
				noise.Coeffs[j][i] = lattice.CRed(v+q-off, q)
			}
		}
		r.NTT(noise, noise)
		r.Add(to, noise, to)
	}
	add(p.rlwe.RingQ(), x.Q)
	add(p.rlwe.RingP(), x.P)
	return nil
}
