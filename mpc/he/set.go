package he

import (
	"fmt"
	"math/big"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/he/heint"
	"github.com/tuneinsight/lattigo/v5/mhe"

	"github.com/opdomain/opdomain/sandbox"
)

// SetName (参数集名) names a registered parameter set. Peers agree on a name; no parameter is ever read from a peer.
type SetName string

// The registered sets.
const (
	SumSet        SetName = "sum-13"        // 汇总: additions only, 8,192 slots, 48 bytes a value
	StatisticsSet SetName = "statistics-14" // 统计: additions only, 16,384 slots, wider flooding for many units and many ciphertexts
	ProductSet    SetName = "product-14"    // 关联: one multiplication of ciphertexts, 8,190 subjects a ciphertext
	ScoringSet    SetName = "scoring-14"    // 评分: CKKS, four multiplications deep, 8,192 customers a call
)

// Set (参数集) describes a registered parameter set. The secret is ternary (2/3 not zero), the error a Gaussian of σ 3.2 cut at 6σ.
type Set struct {
	Name     SetName
	Scheme   string   // "BGV" or "CKKS"
	LogN     int      // ring degree 2^LogN
	Q, P     []uint64 // moduli; P is empty where nothing is multiplied
	T        uint64   // plaintext modulus of BGV
	LogScale int      // scale of CKKS, in bits
	Slots    int      // values a ciphertext holds
	MaxLogQP int      // the cap at 128 bits for this ring degree
	LogQP    int      // rounded up
	Depth    int      // multiplications one after the other
	Shared   int      // moduli of what decryption shares are of, the others were used up before; 0: all
}

// capsHE18 and capsBCC24 bound log2(QP) at 128 bits of classical security for a ternary secret, by log2 of the ring degree: the
// homomorphic encryption standard of HE.org (2018), table 1, and Bossuat et al., eprint 2024/463. The lower of both holds.
var (
	capsHE18  = map[int]int{12: 109, 13: 218, 14: 438, 15: 881}
	capsBCC24 = map[int]int{12: 106, 13: 214, 14: 430, 15: 868}
)

// Cap gives the largest log2(QP) allowed at a ring degree; 0 for one that is not in both tables.
func Cap(logN int) int { return min(capsHE18[logN], capsBCC24[logN]) }

var sets = []Set{
	{Name: SumSet, Scheme: "BGV", LogN: 13, T: 70368743669761,
		Q: []uint64{288230376151760897, 288230376152137729, 288230376152154113}},
	{Name: StatisticsSet, Scheme: "BGV", LogN: 14, T: 70368743587841,
		Q: []uint64{288230376152137729, 288230376152727553, 288230376150630401, 288230376149975041}},
	{Name: ProductSet, Scheme: "BGV", LogN: 14, T: 144115188075593729, Depth: 1, Shared: 3,
		Q: []uint64{288230376150630401, 288230376149975041, 288230376147582977, 288230376147386369, 288230376147320833},
		P: []uint64{2305843009211662337, 2305843009211596801}},
	{Name: ScoringSet, Scheme: "CKKS", LogN: 14, LogScale: 55, Depth: 4,
		Q: []uint64{1152921504606748673, 36028797019389953, 36028797019488257, 36028797020209153, 36028797017456641},
		P: []uint64{2305843009211662337}},
}

// Sets lists the registered sets.
func Sets() []Set {
	out := make([]Set, len(sets))
	for i := range sets {
		out[i] = sets[i].derived()
	}
	return out
}

func (s Set) derived() Set {
	s.Slots = 1 << s.LogN
	if s.Scheme == "CKKS" {
		s.Slots /= 2
	}
	s.MaxLogQP = Cap(s.LogN)
	s.LogQP = logProduct(s.Q, s.P)
	if s.Shared == 0 {
		s.Shared = len(s.Q)
	}
	return s
}

// CiphertextBytes is the size of one ciphertext under a public key that decryption shares are of: without products, of every one.
func (s Set) CiphertextBytes() int { return 2 * s.Shared * 8 << s.LogN }

// OwnBytes is the size of one under the sender's own secret key: the second half is drawn from a seed, which stands for it.
func (s Set) OwnBytes() int { return len(s.Q)*8<<s.LogN + seedSize }

// setNamed finds a registered set.
func setNamed(name SetName) (Set, error) {
	for _, s := range sets {
		if s.Name == name {
			return s.derived(), nil
		}
	}
	return Set{}, fail(sandbox.NotFound, "parameter set", "is registered")
}

// params is a set as the library has it.
type params struct {
	Set
	bgv  heint.Parameters
	ckks hefloat.Parameters
	rlwe *rlwe.Parameters

	// Made once, when first asked for.
	transforms func() []*transform // of Q
	scoring    func() (mhe.PublicKeyGenCRP, error)
}

var built sync.Map // SetName → func() (*params, error)

// paramsOf builds a set once in a process.
func paramsOf(name SetName) (*params, error) {
	s, err := setNamed(name)
	if err != nil {
		return nil, err
	}
	once, _ := built.LoadOrStore(name, sync.OnceValues(func() (*params, error) { return s.build() }))
	return once.(func() (*params, error))()
}

func (s Set) build() (*params, error) {
	if s.MaxLogQP == 0 || s.LogQP > s.MaxLogQP {
		return nil, fail(sandbox.Invalid, string(s.Name), fmt.Sprintf("log2(QP) is at most %d at 128 bits", s.MaxLogQP))
	}
	r := &params{Set: s}
	var err error
	switch s.Scheme {
	case "BGV":
		if r.bgv, err = heint.NewParametersFromLiteral(heint.ParametersLiteral{LogN: s.LogN, Q: s.Q, P: s.P, PlaintextModulus: s.T}); err == nil {
			r.rlwe = r.bgv.GetRLWEParameters()
		}
	case "CKKS":
		if r.ckks, err = hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{LogN: s.LogN, Q: s.Q, P: s.P, LogDefaultScale: s.LogScale}); err == nil {
			r.rlwe = r.ckks.GetRLWEParameters()
		}
	}
	if err != nil || r.rlwe == nil {
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Internal, Object: string(s.Name), Detail: "the library builds it", Err: err}
	}
	r.scoring = sync.OnceValues(r.scoringReference)
	r.transforms = sync.OnceValue(func() []*transform { return transforms(r.rlwe.RingQ()) })
	return r, nil
}

// logProduct is ⌈log2⌉ of a product of moduli.
func logProduct(lists ...[]uint64) int {
	product := big.NewInt(1)
	for _, l := range lists {
		for _, q := range l {
			product.Mul(product, new(big.Int).SetUint64(q))
		}
	}
	return product.BitLen()
}

// level is the index of the last modulus of a fresh ciphertext.
func (r *params) level() int { return len(r.Q) - 1 }

// shared is the level of what decryption shares are of.
func (r *params) shared() int { return r.Shared - 1 }

func (r *params) n() int { return 1 << r.LogN }

// word is the size of one coefficient.
const word = 8

// Ciphertexts counts the ciphertexts that so many values take.
func (s Set) Ciphertexts(values int) int {
	per := s.Slots - checkSlots
	return (values + per - 1) / per
}

// Lengths (密态评分报文长度) are the bytes of what an asker sends to have customers scored and of what comes back, exact, from the registry.
type Lengths struct {
	Public, Relinearisation, Feature, Score int // a batch: its two keys, each feature, the answer
	OnePublic, One, OneScore                int // single customers: the key, each customer, each answer
}

// ScoringLengths gives them for the sets that scoring runs on.
func ScoringLengths() Lengths {
	batch, _ := setNamed(ScoringSet) // both stand in the registry
	one, _ := setNamed(oneSet)
	poly := func(s Set) int { return word << s.LogN }
	qp := (len(batch.Q) + len(batch.P)) * poly(batch)
	rows := (len(batch.Q) + len(batch.P) - 1) / len(batch.P) // digits of the decomposition
	return Lengths{Public: qp, Relinearisation: 2 * rows * qp, Feature: batch.OwnBytes(), Score: 2 * poly(batch),
		OnePublic: len(one.Q) * poly(one), One: one.CiphertextBytes(), OneScore: one.CiphertextBytes()}
}

// BatchCustomers is how many customers a batch has room for, all of which its answer holds: nobody but the asker sees how many are in it.
const BatchCustomers = 1 << 13
