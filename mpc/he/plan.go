package he

import (
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of one epoch.
const (
	MaxUnits       = 64
	MinUnits       = 3  // fewer contributors and a total gives two away to each other
	MaxCiphertexts = 64 // a unit's
	MinSecurity    = 64 // bits of statistical distance, over all shares of an epoch
)

// errorBound and shareBound bound |e| of an encryption (σ 3.2 cut at 6σ) and, with room, of a share's own Gaussian.
const (
	errorBound = 20
	shareBound = 32
)

// Member (参与方) is a source unit or the gate as a plan names it: keys that sign and keys that are sealed to.
type Member struct {
	ID     sandbox.PartyID
	Verify *sm.VerifyKey
	Seal   *sm.EncryptKey
}

// Plan (计算计划) fixes one key epoch before anything is encrypted: who contributes, who opens, with which parameters and for which question.
// Its digest binds every message. A second try after an abort is another plan with a higher epoch, new keys and fresh ciphertexts.
//
// What a threshold gives: any Threshold units together with the gate can open every ciphertext of the epoch, also a single unit's; fewer
// units with the gate, or all units without it, learn nothing but the result. Units that are not among Openers may leave once they have
// contributed.
type Plan struct {
	Run       [32]byte // of the job: specification, approvals, certificates, nonces
	Epoch     uint64   // from 1
	Set       SetName
	Units     []Member // all contribute; the index from 1 is the unit's point
	Gate      Member   // the only one that reads a result
	Threshold int      // how many units open
	Openers   []int    // the units that open, as indices into Units, ascending: exactly Threshold of them
	Layout    Layout
}

// Budget (噪声预算) is what the noise linter found: bounds that hold for the worst case, so that no sum within the plan is ever wrong.
type Budget struct {
	Flooding    int // b: noise of a share is uniform in [-2^b, 2^b)
	NoiseBits   int // the ciphertext noise that it hides is below 2^NoiseBits
	Security    int // −log2 of the statistical distance of all shares of the epoch from ones that hide the noise wholly
	Ciphertexts int // a unit's
	Products    int // ciphertexts that are products, which each opener shares beside those
	Bytes       int // a unit sends as ciphertexts
	Values      int // slots that hold a value
}

// Check refuses a plan that is outside its budget, before anything is encrypted (噪声检查). It depends on public shapes only. Reasons is
// empty exactly when the budget holds. Codes: he.set, he.units, he.threshold, he.openers, he.epoch, he.layout, he.size, he.noise.
//
// Sources: Brakerski, Gentry, Vaikuntanathan 2012 for BGV; noise bounds are the worst case over ternary secrets and cut Gaussians;
// Mouchet et al., eprint 2020/304 §4 for flooding; eprint 2024/116, 2024/127: no free circuits, static bounds.
func (p *Plan) Check() (Budget, []sandbox.Reason) {
	var why []sandbox.Reason
	add := func(code, rule, change string) {
		why = append(why, sandbox.Reason{Code: code, Rule: rule, Change: change})
	}
	set, err := setNamed(p.Set)
	if err != nil || set.Scheme != "BGV" {
		add("he.set", "a sum runs with a registered set for sums", fmt.Sprintf("use %s or %s", SumSet, StatisticsSet))
		return Budget{}, why
	}
	n := len(p.Units)
	least := MinUnits
	if p.Layout.Products != nil {
		least = 2 // of each factor of one unit the gate opens how many people have it, how many of these its commonest value, and its largest; no total
	}
	if n < least || n > MaxUnits {
		add("he.units", fmt.Sprintf("%d to %d units contribute", least, MaxUnits), "name more units, or fewer")
		return Budget{}, why
	}
	seen := map[sandbox.PartyID]bool{}
	for _, m := range append([]Member{p.Gate}, p.Units...) {
		if m.ID == "" || m.Verify == nil || m.Seal == nil || seen[m.ID] {
			add("he.units", "every unit and the gate is named once, with a key that signs and one that is sealed to", "give each its keys")
			break
		}
		seen[m.ID] = true
	}
	// A majority: two disjoint sets of openers would hold the key twice.
	if p.Threshold < 2 || p.Threshold > n || 2*p.Threshold <= n {
		add("he.threshold", "more than half of the units open, at least two, at most all", fmt.Sprintf("a threshold of %d to %d", max(2, n/2+1), n))
	}
	ok := len(p.Openers) == p.Threshold
	for i, o := range p.Openers {
		ok = ok && o >= 0 && o < n && (i == 0 || p.Openers[i-1] < o)
	}
	if !ok {
		add("he.openers", "the openers are fixed before encryption: as many as the threshold, each once, in order", "name them")
	}
	if p.Epoch == 0 {
		add("he.epoch", "epochs count from 1", "the first try is epoch 1")
	}
	why = append(why, p.Layout.check()...)
	if x := p.Layout.Products; len(why) == 0 && (x != nil) != (set.Depth == 1) {
		add("he.set", "products run with the set that has a multiplication, and nothing else does", fmt.Sprintf("use %s for products, %s or %s otherwise", ProductSet, SumSet, StatisticsSet))
	} else if len(why) == 0 && x != nil {
		why = append(why, x.check(n)...)
	}
	if len(why) > 0 {
		return Budget{}, why
	}
	slots := p.Layout.slots(n)
	per := set.Slots - checkSlots
	if slots > per*MaxCiphertexts {
		add("he.size", fmt.Sprintf("a unit sends at most %d ciphertexts of %d values", MaxCiphertexts, per), fmt.Sprintf("at most %d values: fewer cells or measures", per*MaxCiphertexts))
		return Budget{}, why
	}
	b := Budget{Values: slots, Ciphertexts: (slots + per - 1) / per}
	b.Bytes = b.Ciphertexts * set.CiphertextBytes()
	if x := p.Layout.Products; x != nil {
		b.Products = x.outputs()
		side := max(x.ciphertexts(0, 1<<set.LogN), x.ciphertexts(1, 1<<set.LogN))
		b.Bytes += b.Products*set.CiphertextBytes() + side*(2*len(set.Q)*word<<set.LogN)
		if b.Products > MaxCiphertexts || b.Ciphertexts+b.Products+side > maxParts || b.Bytes > maxMessage-1<<20 {
			add("he.size", fmt.Sprintf("a unit sends at most %d MiB, and %d products", maxMessage>>20-1, MaxCiphertexts), "fewer measures, groups or subjects, or narrower ranges")
			return Budget{}, why
		}
	}
	hidden, fits := budgetOf(&b, set, n, p.Threshold, p.Layout.Products)
	if !fits || hidden < MinSecurity {
		add("he.noise", fmt.Sprintf("a product stays within the modulus, and the shares of its key hide their noise to %d bits; this plan reaches %d", MinSecurity, hidden), "fewer units")
		return Budget{}, why
	}
	if b.Security < MinSecurity {
		add("he.noise", fmt.Sprintf("shares hide the noise to %d bits; this plan reaches %d", MinSecurity, b.Security), fmt.Sprintf("use %s, or fewer units or cells", StatisticsSet))
		return Budget{}, why
	}
	return b, nil
}

// budgetOf finds the widest flooding under which T·(noise + openers·(2^b + 32)) < Q/4 for n contributors whose part secrets, with the
// gate's, add up to a secret of norm n+1. A quarter, not half: the decoder's own rounding gets the last bit.
func budgetOf(b *Budget, set Set, n, openers int, x *Products) (hidden int, fits bool) {
	q := big.NewInt(1)
	for _, m := range set.Q[:set.Shared] {
		q.Mul(q, new(big.Int).SetUint64(m))
	}
	// A fresh ciphertext: |u·e + e0 + e1·s| ≤ N·(n+1)·B + B + N·(n+1)·B, and n of them are added.
	noise := big.NewInt(int64(2*(n+1))<<set.LogN*errorBound + errorBound)
	hidden, fits = MinSecurity, true
	fresh := new(big.Int).Set(noise)
	noise.Mul(noise, big.NewInt(int64(n)))
	if x != nil { // the masks of n units, and the product
		var of *big.Int
		of, hidden, fits = x.noise(set, n, fresh)
		noise.Add(noise, of)
	}
	room := new(big.Int).Rsh(q, 2)
	room.Div(room, new(big.Int).SetUint64(set.T)).Sub(room, noise)
	room.Div(room, big.NewInt(int64(openers))).Sub(room, big.NewInt(shareBound))
	b.NoiseBits = noise.BitLen()
	b.Flooding = min(room.BitLen()-1, maxFlood)
	if room.Sign() <= 0 || b.Flooding < 1 {
		b.Flooding, b.Security = 0, 0
		return hidden, fits
	}
	// Distance of one share: N·noise/2^(b+1); all shares of the epoch add up.
	shares := big.NewInt(int64(openers * (b.Ciphertexts + b.Products)))
	b.Security = b.Flooding + 1 - set.LogN - b.NoiseBits - shares.BitLen()
	return hidden, fits
}

// Digest (计划摘要) binds everything a plan says.
func (p *Plan) Digest() [sm.Size]byte {
	var parts [][]byte
	add := func(b ...[]byte) { parts = append(parts, b...) }
	num := func(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
	add([]byte("opdomain he plan 1"), p.Run[:], num(p.Epoch), []byte(p.Set), num(uint64(p.Threshold)), num(uint64(len(p.Units))))
	for _, m := range append([]Member{p.Gate}, p.Units...) {
		add([]byte(m.ID), m.Verify.Bytes(), m.Seal.Bytes())
	}
	for _, o := range p.Openers {
		add(num(uint64(o)))
	}
	add(p.Layout.encode())
	return sm.Sum(sm.Frame(parts...))
}

// points are the openers as points of the sharing.
func (p *Plan) points() []byte {
	out := make([]byte, len(p.Openers))
	for i, o := range p.Openers {
		out[i] = byte(o + 1)
	}
	return out
}

// opens says whether a unit is an opener.
func (p *Plan) opens(unit int) bool {
	for _, o := range p.Openers {
		if o == unit {
			return true
		}
	}
	return false
}
