package he

import (
	"encoding/binary"
	"io"
	"math"
	"math/big"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	lattice "github.com/tuneinsight/lattigo/v5/ring"

	"github.com/opdomain/opdomain/sandbox"
)

// One customer's score is an inner product in the coefficients of a polynomial: features x_i at X^i, weights w_i at X^-i, so that the constant
// coefficient of their product is Σ w_i·x_i. No rotations, no keys but a public one. The other coefficients, which would tell of single
// weights, are covered by values uniform modulo Q; the constant one by a fresh encryption of zero and flooding far wider than the noise.
//
// Fixed point: features 2^30, weights 2^24, and 2^106 above them, so 1 stands as 2^160 of Q ≈ 2^174. A score divided by 8 lies within ±1.
// Noise of the product is below 2^21·2^24 (weights over ranges, divided by 8, add up to at most 1), the flooding is 2^126: it hides the
// noise to 80 bits and moves a score by 2^-34.
const (
	oneSet     = SumSet
	oneFeature = 30
	oneWeight  = 24
	oneLift    = 106
	oneFlood   = maxFlood

	// oneBound: MaxFeatures·(rounding of a weight + of a feature)·8, below 8·256·(2^-25+2^-31), and the flooding.
	oneBound = Span*MaxFeatures*(1.0/(1<<25)+1.0/(1<<31)) + 1.0/(1<<30)
)

// oneKey is an asker's key for single customers.
type oneKey struct {
	p      *params
	secret *rlwe.SecretKey
	enc    *rlwe.Encryptor
}

func newOneKey() (*oneKey, []byte, error) {
	p, err := paramsOf(oneSet)
	if err != nil {
		return nil, nil, err
	}
	kg := rlwe.NewKeyGenerator(p.rlwe)
	k := &oneKey{p: p, secret: kg.GenSecretKeyNew()}
	k.enc = rlwe.NewEncryptor(p.rlwe, k.secret)
	pub, err := publicShare(p, k.secret)
	return k, encodeQP(p, pub), err
}

// fixed writes v at 2^shift as integers, coefficient i of p at the place that at gives, with its sign, and transforms it.
func fixed(r *lattice.Ring, v []float64, shift, lift int, at func(i int) (place int, negative bool)) lattice.Poly {
	c := make([]*big.Int, r.N())
	for i := range c {
		c[i] = new(big.Int)
	}
	for i, x := range v {
		place, negative := at(i)
		y := int64(math.RoundToEven(math.Ldexp(x, shift)))
		if negative {
			y = -y
		}
		c[place].Lsh(big.NewInt(y), uint(lift))
	}
	p := r.NewPoly()
	r.SetCoefficientsBigint(c, p)
	r.NTT(p, p)
	return p
}

func (l *Local) encryptOne(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	c, err := key[*client](l, args[0])
	if err != nil {
		return nil, err
	}
	v, err := readFloats(args[1], MaxFeatures, 1)
	if err != nil {
		return nil, err
	}
	defer clear(v)
	r := c.one.p.rlwe.RingQ()
	ct := c.one.enc.EncryptZeroNew(c.one.p.level())
	m := fixed(r, v, oneFeature, oneLift, func(i int) (int, bool) { return i, false })
	defer m.Zero()
	r.Add(ct.Value[0], m, ct.Value[0])
	return [][]byte{appendCiphertext(nil, ct)}, nil
}

// readModel reads bias and weights over ranges, divided by the span.
func readModel(b []byte) ([]float64, error) {
	w, err := readFloats(b, 1+MaxFeatures, 1)
	if err != nil || len(w) < 2 {
		return nil, fail(sandbox.Invalid, "model", "has a bias and a weight for each feature")
	}
	size := 0.0
	for _, x := range w {
		size += math.Abs(x)
	}
	if size > 1+1e-9 {
		return nil, fail(sandbox.Invalid, "model", "keeps its score within its span")
	}
	return w, nil
}

func (l *Local) scoreOne(args [][]byte) ([][]byte, error) {
	if err := counted(args, 4); err != nil {
		return nil, err
	}
	p, err := summing(args[0])
	if err != nil || p.Name != oneSet {
		return nil, fail(sandbox.Invalid, "parameter set", "is the one for single scores")
	}
	w, err := readModel(args[2])
	if err != nil {
		return nil, err
	}
	pk, err := askersKey(p, args[1])
	if err != nil {
		return nil, err
	}
	return l.applied(p, pk, w, args[3])
}

// applied multiplies a ciphertext of features by a model, bias first, that was checked; it adds to it a fresh encryption of zero under pk, the
// cover and the flooding.
func (l *Local) applied(p *params, pk *rlwe.PublicKey, w []float64, features []byte) ([][]byte, error) {
	ct := rlwe.NewCiphertext(p.rlwe, 1, p.level())
	if err := readPolys("ciphertext", features, p.Q, ct.Value...); err != nil {
		return nil, err
	}
	r, n := p.rlwe.RingQ(), p.n()
	weights := fixed(r, w[1:], oneWeight, 0, func(i int) (int, bool) { // X^-i is −X^(N−i)
		if i == 0 {
			return 0, false
		}
		return n - i, true
	})
	r.MForm(weights, weights)
	zero := rlwe.NewEncryptor(p.rlwe, pk).EncryptZeroNew(p.level())
	for i := range ct.Value {
		r.MulCoeffsMontgomery(ct.Value[i], weights, ct.Value[i])
		r.Add(ct.Value[i], zero.Value[i], ct.Value[i])
	}
	cover := r.NewPoly()
	if err := uniformBut0(r, l.rand, cover); err != nil {
		return nil, err
	}
	bias := new(big.Int).Lsh(big.NewInt(int64(math.RoundToEven(math.Ldexp(w[0], oneFeature+oneWeight)))), oneLift)
	for j, s := range r.SubRings {
		cover.Coeffs[j][0] = new(big.Int).Mod(bias, new(big.Int).SetUint64(s.Modulus)).Uint64()
	}
	r.NTT(cover, cover)
	r.Add(ct.Value[0], cover, ct.Value[0])
	if err := addFlood(p.transforms(), oneFlood, l.rand, ct.Value[0]); err != nil {
		return nil, err
	}
	return [][]byte{appendCiphertext(nil, ct)}, nil
}

// uniformBut0 fills all coefficients but the constant one with values uniform modulo Q, to 2^-70: 128 bits for each prime.
func uniformBut0(r *lattice.Ring, rand io.Reader, p lattice.Poly) error {
	random := make([]byte, 16*r.N())
	defer clear(random)
	for j, s := range r.SubRings {
		if _, err := io.ReadFull(rand, random); err != nil {
			return &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "cover", Detail: "randomness is there", Err: err}
		}
		q, red := s.Modulus, s.BRedConstant
		wrap := pow2mod(64, q)
		c := p.Coeffs[j]
		for i := 1; i < len(c); i++ {
			hi := lattice.BRedAdd(binary.LittleEndian.Uint64(random[16*i+8:]), q, red)
			c[i] = lattice.CRed(lattice.BRed(hi, wrap, q, red)+lattice.BRedAdd(binary.LittleEndian.Uint64(random[16*i:]), q, red), q)
		}
	}
	return nil
}

func (l *Local) decryptOne(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	c, err := key[*client](l, args[0])
	if err != nil {
		return nil, err
	}
	p := c.one.p
	r, ct := p.rlwe.RingQ(), rlwe.NewCiphertext(p.rlwe, 1, p.level())
	if err := readPolys("score", args[1], p.Q, ct.Value...); err != nil {
		return nil, err
	}
	r.MulCoeffsMontgomery(ct.Value[1], c.one.secret.Value.Q, ct.Value[1])
	r.Add(ct.Value[0], ct.Value[1], ct.Value[0])
	return [][]byte{appendFloats(nil, []float64{constant(r, ct.Value[0])})}, nil
}

// constant reads the constant coefficient of an opened score, by the Chinese remainders, centred and rounded to 2^-26; it clears the rest.
func constant(r *lattice.Ring, phase lattice.Poly) float64 {
	defer phase.Zero()
	r.INTT(phase, phase)
	q, v := r.Modulus(), new(big.Int)
	for j, s := range r.SubRings {
		m := new(big.Int).SetUint64(s.Modulus)
		rest := new(big.Int).Div(q, m)
		t := new(big.Int).ModInverse(rest, m)
		v.Add(v, t.Mul(t, rest).Mul(t, new(big.Int).SetUint64(phase.Coeffs[j][0])))
	}
	if v.Mod(v, q); v.Cmp(new(big.Int).Rsh(q, 1)) > 0 {
		v.Sub(v, q)
	}
	x, _ := new(big.Float).SetInt(v).Float64()
	x = math.Ldexp(x, -oneFeature-oneWeight-oneLift)
	return math.Ldexp(math.Round(math.Ldexp(x, 26)), -26)
}
