package he

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/mhe"
	lattice "github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/ring/ringqp"
	"github.com/tuneinsight/lattigo/v5/utils/bignum"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// client is an asker's own key.
type client struct {
	p      *params
	secret *rlwe.SecretKey
	ecd    *hefloat.Encoder
	one    *oneKey
}

func (c *client) wipe() {
	if c.secret != nil {
		c.secret.Value.Q.Zero()
		c.secret.Value.P.Zero()
		c.one.secret.Value.Q.Zero()
		c.secret, c.one = nil, nil
	}
}

// outputBits is what a decoded score is rounded to, in binary places: what is below is noise, which would tell of the key.
const outputBits = 13

// Features are encrypted at scale 2^30 and multiplied by whole numbers, weights times 2^25, which gives a linear score at the set's scale
// without a level for it: a modulus less to encrypt under.
const (
	featureScale = 30
	weightScale  = 25
)

// floodBits is the width of the noise over a score's ciphertext at scale 2^55: with N = 2^14 its part of a score stays below
// 7.4·√N·2^33/2^55 < 2^-12 but for a chance of 2^-64 (Hoeffding, over all slots). A linear score is eight times what is encrypted.
const (
	floodBits       = 33
	floodBitsLinear = 30
)

func scoring(name []byte) (*params, error) {
	p, err := paramsOf(SetName(name))
	if err != nil {
		return nil, err
	}
	if p.Scheme != "CKKS" {
		return nil, fail(sandbox.Invalid, "parameter set", "is one for scoring")
	}
	return p, nil
}

// polysQP lists the polynomials of keys over Q and P, each with its moduli.
func polysQP(p *params, in ...ringqp.Poly) (polys []lattice.Poly, moduli [][]uint64) {
	for _, x := range in {
		polys, moduli = append(polys, x.Q), append(moduli, p.Q)
		if len(p.P) > 0 {
			polys, moduli = append(polys, x.P), append(moduli, p.P)
		}
	}
	return polys, moduli
}

func keyPolys(p *params, rlk *rlwe.RelinearizationKey) (out []ringqp.Poly) {
	for _, row := range rlk.Value {
		for _, v := range row {
			out = append(out, v...)
		}
	}
	return out
}

func encodeQP(p *params, in ...ringqp.Poly) (b []byte) {
	polys, _ := polysQP(p, in...)
	for _, x := range polys {
		b = appendPoly(b, x)
	}
	return b
}

func decodeQP(what string, p *params, b []byte, into ...ringqp.Poly) error {
	polys, moduli := polysQP(p, into...)
	if len(b) != len(into)*(len(p.Q)+len(p.P))*p.n()*word {
		return fail(sandbox.Invalid, what, "has the length of its parameter set")
	}
	var err error
	for i, x := range polys {
		if b, err = readPoly(b, moduli[i], x); err != nil {
			return fail(sandbox.Invalid, what, "every coefficient is below its modulus")
		}
	}
	return nil
}

// scoringReference is the second half of every asker's public key, which nobody chooses: with one of the asker's making, such as zero, an
// encryption of zero would cover nothing. It is made once for a set, and only read.
func scoringReference(p *params) (mhe.PublicKeyGenCRP, error) { return p.scoring() }

func (r *params) scoringReference() (mhe.PublicKeyGenCRP, error) {
	d := sm.Sum(sm.Frame([]byte("opdomain he scoring reference"), []byte(r.Name)))
	return reference(r, d[:])
}

// publicShare is the first half, b = e − a·s.
func publicShare(p *params, secret *rlwe.SecretKey) (ringqp.Poly, error) {
	crp, err := scoringReference(p)
	if err != nil {
		return ringqp.Poly{}, err
	}
	proto := mhe.NewPublicKeyGenProtocol(p.rlwe)
	share := proto.AllocateShare()
	proto.GenShare(secret, crp, &share)
	return share.Value, nil
}

// askersKey is the public key whose first half an asker sent.
func askersKey(p *params, b []byte) (*rlwe.PublicKey, error) {
	crp, err := scoringReference(p)
	if err != nil {
		return nil, err
	}
	pk := rlwe.NewPublicKey(p.rlwe)
	pk.Value[1].Copy(crp.Value)
	return pk, decodeQP("public key", p, b, pk.Value[0])
}

func (l *Local) newClient(args [][]byte) ([][]byte, error) {
	if err := counted(args, 1); err != nil {
		return nil, err
	}
	p, err := scoring(args[0])
	if err != nil {
		return nil, err
	}
	kg := rlwe.NewKeyGenerator(p.rlwe)
	c := &client{p: p, secret: kg.GenSecretKeyNew(), ecd: hefloat.NewEncoder(p.ckks, 53)} // by itself it would take big.Float for a scale of 2^55, ten times slower
	pub, err := publicShare(p, c.secret)
	if err != nil {
		return nil, err
	}
	rlk := kg.GenRelinearizationKeyNew(c.secret)
	var one []byte
	if c.one, one, err = newOneKey(); err != nil {
		return nil, err
	}
	h, err := l.keep(c)
	if err != nil {
		return nil, err
	}
	return [][]byte{h, encodeQP(p, pub), encodeQP(p, keyPolys(p, rlk)...), one}, nil
}

// readFloats reads finite values of at most limit in size.
func readFloats(b []byte, most int, limit float64) ([]float64, error) {
	if len(b) == 0 || len(b)%word != 0 || len(b)/word > most {
		return nil, fail(sandbox.Invalid, "values", "fill whole slots, at most those of a ciphertext")
	}
	v := make([]float64, len(b)/word)
	for i := range v {
		v[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[word*i:]))
		if !(math.Abs(v[i]) <= limit) {
			return nil, fail(sandbox.TooLarge, "values", "lie within their range")
		}
	}
	return v, nil
}

func appendFloats(b []byte, v []float64) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	return b
}

// sigmoid is the polynomial that stands for 1/(1+e^-8x) on [-1, 1]: Chebyshev, degree 15.
var sigmoid = sync.OnceValue(func() bignum.Polynomial {
	f := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	return bignum.ChebyshevApproximation(f, bignum.Interval{Nodes: 15, A: *bignum.NewFloat(-Span, 64), B: *bignum.NewFloat(Span, 64)})
})

// sigmoidAt evaluates the polynomial in plain, at x = z/8 in [-1, 1]: Clenshaw's recurrence.
func sigmoidAt(x float64) float64 {
	p := sigmoid()
	var b1, b2 float64
	for i := len(p.Coeffs) - 1; i >= 1; i-- {
		c, _ := p.Coeffs[i][0].Float64()
		b1, b2 = 2*x*b1-b2+c, b1
	}
	c, _ := p.Coeffs[0][0].Float64()
	return x*b1 - b2 + c
}

// score runs a model: args are set, public key, relinearisation key, the link, bias and weights over ranges, the ciphertexts of features.
func (l *Local) score(args [][]byte) ([][]byte, error) {
	if len(args) < 6 || len(args) > 5+MaxFeatures {
		return nil, fail(sandbox.Invalid, "scoring", "is of one to 256 features")
	}
	p, err := scoring(args[0])
	if err != nil {
		return nil, err
	}
	d := len(args) - 5
	if len(args[3]) != 1 || args[3][0] > 1 || len(args[4]) != word*(1+d) {
		return nil, fail(sandbox.Invalid, "model", "has a link, a bias and a weight for each feature")
	}
	w, err := readFloats(args[4], 1+d, 1)
	if err != nil {
		return nil, err
	}
	rlk := rlwe.NewRelinearizationKey(p.rlwe)
	pk, err := askersKey(p, args[1])
	if err != nil {
		return nil, err
	}
	if err := decodeQP("relinearisation key", p, args[2], keyPolys(p, rlk)...); err != nil {
		return nil, err
	}
	ev := hefloat.NewEvaluator(p.ckks, rlwe.NewMemEvaluationKeySet(rlk))
	acc, err := weighted(p, w[1:], args[5:])
	if err != nil {
		return nil, err
	}
	if err := ev.Add(acc, w[0], acc); err != nil {
		return nil, err
	}
	flood := floodBitsLinear
	if args[3][0] == 1 {
		flood = floodBits
		if acc, err = hefloat.NewPolynomialEvaluator(p.ckks, ev).Evaluate(acc, hefloat.NewPolynomial(sigmoid()), p.ckks.DefaultScale()); err != nil {
			return nil, err
		}
	}
	ev.DropLevel(acc, acc.Level()) // the one level a score has
	if acc.Degree() != 1 || acc.Level() != 0 || acc.Scale.Cmp(p.ckks.DefaultScale()) != 0 {
		return nil, fail(sandbox.Internal, "score", "has the degree, level and scale of the registry")
	}
	// Circuit privacy: a fresh encryption of zero hides how the ciphertext came about, the flooding what its noise says of the weights.
	zero := rlwe.NewEncryptor(p.rlwe, pk).EncryptZeroNew(0)
	if !zero.IsNTT || !acc.IsNTT {
		return nil, fail(sandbox.Internal, "score", "is in the transformed domain")
	}
	r := p.rlwe.RingQ().AtLevel(0)
	for i := range acc.Value {
		r.Add(acc.Value[i], zero.Value[i], acc.Value[i])
	}
	if err := addFlood(p.transforms(), flood, l.rand, acc.Value[0]); err != nil {
		return nil, err
	}
	for i := range acc.Value {
		r.Reduce(acc.Value[i], acc.Value[i])
	}
	return [][]byte{appendCiphertext(nil, acc)}, nil
}

func (l *Local) decryptOwn(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	c, err := key[*client](l, args[0])
	if err != nil {
		return nil, err
	}
	ct := hefloat.NewCiphertext(c.p.ckks, 1, 0)
	if err := readPolys("score", args[1], c.p.Q[:1], ct.Value...); err != nil {
		return nil, err
	}
	v := make([]float64, c.p.Slots)
	defer clear(v)
	pt := rlwe.NewDecryptor(c.p.rlwe, c.secret).DecryptNew(ct)
	defer pt.Value.Zero()
	if err := c.ecd.Decode(pt, v); err != nil {
		return nil, err
	}
	for i := range v { // CKKS is not IND-CPA-D: what lies below the precision stays with the key holder
		v[i] = math.Round(v[i]*(1<<outputBits)) / (1 << outputBits)
	}
	return [][]byte{appendFloats(nil, v)}, nil
}
