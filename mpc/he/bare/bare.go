// Package bare runs the library tuneinsight/lattigo as its manual shows (裸库对照), without the adapter: no codec, no checks, its own samplers
// and noise. It is the peer that benchmarks compare mpc/he with, in the same parameters; nothing else may import it, for what mpc/he guards
// against is open here. Its decryption shares are flooded with the library's noise, which does not flood.
package bare

import (
	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/he/heint"
	"github.com/tuneinsight/lattigo/v5/mhe"
	lattice "github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/utils/bignum"
)

// Sum (裸库汇总) is a BGV column sum under one public key.
type Sum struct {
	p      heint.Parameters
	enc    *rlwe.Encryptor
	ecd    *heint.Encoder
	secret *rlwe.SecretKey
	cts    []*rlwe.Ciphertext
	ks     mhe.KeySwitchProtocol
}

// NewSum builds it from a set's ring degree and moduli.
func NewSum(logN int, q []uint64, t uint64) (*Sum, error) {
	p, err := heint.NewParametersFromLiteral(heint.ParametersLiteral{LogN: logN, Q: q, PlaintextModulus: t})
	if err != nil {
		return nil, err
	}
	kg := rlwe.NewKeyGenerator(p)
	sk, pk := kg.GenKeyPairNew()
	// As wide as mpc/he floods, so that the same number of bits is drawn; see the sampler's defects in notes of mpc/he.
	ks, err := mhe.NewKeySwitchProtocol(p, lattice.DiscreteGaussian{Sigma: 1 << 62 * (1 << 54), Bound: 6 * (1 << 62) * (1 << 54)})
	return &Sum{p: p, enc: rlwe.NewEncryptor(p, pk), ecd: heint.NewEncoder(p), secret: sk, ks: ks}, err
}

// Encrypt encodes and encrypts a column into so many ciphertexts, which Add adds.
func (s *Sum) Encrypt(values []int64, many int) error {
	s.cts = s.cts[:0]
	for range many {
		pt := heint.NewPlaintext(s.p, s.p.MaxLevel())
		if err := s.ecd.Encode(values, pt); err != nil {
			return err
		}
		ct, err := s.enc.EncryptNew(pt)
		if err != nil {
			return err
		}
		s.cts = append(s.cts, ct)
	}
	return nil
}

// Add adds what Encrypt made.
func (s *Sum) Add() {
	sum, r := s.cts[0].CopyNew(), s.p.RingQ()
	for _, ct := range s.cts[1:] {
		for i := range sum.Value {
			r.Add(sum.Value[i], ct.Value[i], sum.Value[i])
		}
	}
}

// Share gives a decryption share of the first ciphertext.
func (s *Sum) Share() {
	share := s.ks.AllocateShare(s.p.MaxLevel())
	s.ks.GenShare(s.secret, rlwe.NewSecretKey(s.p), s.cts[0], &share)
}

// Score (裸库评分) is CKKS scoring of a batch under the sender's secret key.
type Score struct {
	p       hefloat.Parameters
	enc     *rlwe.Encryptor
	dec     *rlwe.Decryptor
	ecd     *hefloat.Encoder
	ev      *hefloat.Evaluator
	sigmoid hefloat.Polynomial
	cts     []*rlwe.Ciphertext
}

// NewScore builds it from a set's ring degree, moduli and scale; the sigmoid is a polynomial of degree 15 on [-8, 8].
func NewScore(logN int, q, p []uint64, logScale int, sigmoid func(float64) float64) (*Score, error) {
	par, err := hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{LogN: logN, Q: q, P: p, LogDefaultScale: logScale})
	if err != nil {
		return nil, err
	}
	kg := rlwe.NewKeyGenerator(par)
	sk := kg.GenSecretKeyNew()
	poly := bignum.ChebyshevApproximation(sigmoid, bignum.Interval{Nodes: 15, A: *bignum.NewFloat(-8, 64), B: *bignum.NewFloat(8, 64)})
	return &Score{p: par, enc: rlwe.NewEncryptor(par, sk), dec: rlwe.NewDecryptor(par, sk), ecd: hefloat.NewEncoder(par, 53),
		ev: hefloat.NewEvaluator(par, rlwe.NewMemEvaluationKeySet(kg.GenRelinearizationKeyNew(sk))), sigmoid: hefloat.NewPolynomial(poly)}, nil
}

// Run encrypts columns, multiplies them by weights in plain, takes the sigmoid and decrypts.
func (s *Score) Run(columns [][]float64, weights []float64) ([]float64, error) {
	s.cts = s.cts[:0]
	scale := rlwe.NewScale(1 << 30)
	for _, col := range columns {
		pt := hefloat.NewPlaintext(s.p, s.p.MaxLevel())
		pt.Scale = scale
		if err := s.ecd.Encode(col, pt); err != nil {
			return nil, err
		}
		ct, err := s.enc.EncryptNew(pt)
		if err != nil {
			return nil, err
		}
		s.cts = append(s.cts, ct)
	}
	whole := func(w float64) int64 { return int64(w / 8 * (1 << 25)) }
	acc, err := s.ev.MulNew(s.cts[0], whole(weights[0]))
	if err != nil {
		return nil, err
	}
	for i, ct := range s.cts[1:] {
		if err := s.ev.MulThenAdd(ct, whole(weights[1+i]), acc); err != nil {
			return nil, err
		}
	}
	acc.Scale = s.p.DefaultScale()
	if acc, err = hefloat.NewPolynomialEvaluator(s.p, s.ev).Evaluate(acc, s.sigmoid, s.p.DefaultScale()); err != nil {
		return nil, err
	}
	v := make([]float64, s.p.MaxSlots())
	return v, s.ecd.Decode(s.dec.DecryptNew(acc), v)
}
