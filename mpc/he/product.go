package he

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of the products of a layout.
const (
	MaxSubjects = 65_520 // 对齐名册: places of the list that both sides stand by
	MaxFactors  = 64     // of a side
	MaxTerms    = 64
	MaxBits     = 110 // of one value of a factor
	maxDigits   = 8   // of one value
)

// Products (密文乘积) are inner products of vectors that two units hold over one list of subjects: what a joined row of a person's rows at either unit
// adds to a total is a product of something at one and something at the other. Each is one multiplication deep. Both units put their values
// in the order of a list that is agreed before and names people by pseudonyms of the job; who is not among a unit's people has zeros there.
type Products struct {
	Subjects int         // places of the list
	Holders  [2]int      // units that hold the left and the right side
	Factors  [2][]Factor // vectors of either side
	Terms    []Term
	List     []byte `json:",omitempty"` // SM3 of the agreed list, by which each side compares its own; empty: a plan to look at, which no side fills
}

// Factor (因子) is a vector of one side: a value for each place of the list, below 2^Bits in size.
type Factor struct{ Bits int }

// Term (乘积项) is the inner product of a factor of the left side and one of the right.
type Term struct{ Left, Right int }

// digitBits is the width of a digit of a factor's values: inner products of digits, several together, stay within half the plaintext
// modulus of 57 bits.
func (x *Products) digitBits() int {
	return (56 - bits.Len(maxDigits-1) - bits.Len(uint(max(1, x.Subjects)-1)) + 2) / 2
}

// digits counts the digits of a value of a factor: signed ones, hence two bits more.
func (x *Products) digits(f Factor) int { return (f.Bits + 2 + x.digitBits() - 1) / x.digitBits() }

func (x *Products) chunks(n int) int { return (x.Subjects + productLength(n) - 1) / productLength(n) }

// ciphertexts counts those of a side's factors: by factor, digit and chunk.
func (x *Products) ciphertexts(side, n int) (all int) {
	for _, f := range x.Factors[side] {
		all += x.digits(f) * x.chunks(n)
	}
	return all
}

// first is where a factor's ciphertexts begin among its side's.
func (x *Products) first(side, factor, n int) (at int) {
	for _, f := range x.Factors[side][:factor] {
		at += x.digits(f) * x.chunks(n)
	}
	return at
}

// places counts the digits of a term, each a product of its own.
func (x *Products) places(t Term) int {
	return x.digits(x.Factors[0][t.Left]) + x.digits(x.Factors[1][t.Right]) - 1
}

func (x *Products) outputs() (n int) {
	for _, t := range x.Terms {
		n += x.places(t)
	}
	return n
}

// pairs lists which ciphertexts of a term's factors make up a place of it.
func (x *Products) pairs(t Term, place, n int) (out []byte) {
	la, lb, chunks := x.digits(x.Factors[0][t.Left]), x.digits(x.Factors[1][t.Right]), x.chunks(n)
	for i := range la {
		if j := place - i; j >= 0 && j < lb {
			for c := range chunks {
				out = append(out, byte(i*chunks+c), byte(j*chunks+c))
			}
		}
	}
	return out
}

// evidence counts the slots of a side: of each factor, the subjects it is not zero for, how many of them have its commonest value, and its largest value.
func (x *Products) evidence(side int) (n int) {
	for _, f := range x.Factors[side] {
		n += 2 + topLimbs(f)
	}
	return n
}

func topLimbs(f Factor) int { return f.Bits/limbBits + 1 }

func (x *Products) check(units int) []sandbox.Reason {
	bad := func(rule, change string) []sandbox.Reason {
		return []sandbox.Reason{{Code: "he.layout", Rule: rule, Change: change}}
	}
	if x.Subjects < 1 || x.Subjects > MaxSubjects || len(x.Terms) == 0 || len(x.Terms) > MaxTerms {
		return bad(fmt.Sprintf("products are over 1 to %d subjects, 1 to %d of them", MaxSubjects, MaxTerms), "ask it in parts, or of the mpc engine")
	}
	if h := x.Holders; h[0] == h[1] || h[0] < 0 || h[1] < 0 || units > 0 && (h[0] >= units || h[1] >= units) {
		return bad("the sides of a product are held by two units of the plan; a unit multiplies its own columns itself", "name the units that hold them")
	}
	if len(x.List) != 0 && len(x.List) != sm.Size {
		return bad("the list is named by its SM3", "spec.List.Digest")
	}
	for _, side := range x.Factors {
		if len(side) == 0 || len(side) > MaxFactors {
			return bad(fmt.Sprintf("a side has 1 to %d factors", MaxFactors), "fewer measures or groups")
		}
		for _, f := range side {
			if f.Bits < 1 || f.Bits > MaxBits || x.digits(f) > maxDigits {
				return bad(fmt.Sprintf("values of a factor are below 2^%d", MaxBits), "declare a narrower range")
			}
		}
	}
	for _, t := range x.Terms {
		if t.Left < 0 || t.Left >= len(x.Factors[0]) || t.Right < 0 || t.Right >= len(x.Factors[1]) {
			return bad("a term names a factor of either side", "correct it")
		}
	}
	return nil
}

func (x *Products) encode(b []byte) []byte {
	num := func(v int) { b = binary.BigEndian.AppendUint32(b, uint32(v)) }
	b = append(b, "products"...)
	num(x.Subjects)
	num(x.Holders[0])
	num(x.Holders[1])
	for _, side := range x.Factors {
		num(len(side))
		for _, f := range side {
			num(f.Bits)
		}
	}
	num(len(x.Terms))
	for _, t := range x.Terms {
		num(t.Left)
		num(t.Right)
	}
	num(len(x.List))
	return append(b, x.List...)
}

// noise bounds the noise of one product after it is rescaled, for n units and the gate: in encryptions, whose noise is below fresh, their
// product, the relinearisation and each rescaling. It is the worst case over ternary secrets, cut Gaussians and plaintexts below T.
// hidden is −log2 of the statistical distance of all second shares of the relinearisation key from ones that hide its noise wholly.
func (x *Products) noise(set Set, n int, fresh *big.Int) (noise *big.Int, hidden int, fits bool) {
	N := int64(1) << set.LogN
	num := func(v int64) *big.Int { return big.NewInt(v) }
	mul := func(a *big.Int, b ...*big.Int) *big.Int {
		out := new(big.Int).Set(a)
		for _, v := range b {
			out.Mul(out, v)
		}
		return out
	}
	pairs := 0
	for _, t := range x.Terms {
		for p := range x.places(t) {
			pairs = max(pairs, len(x.pairs(t, p, int(N)))/2)
		}
	}
	t := new(big.Int).SetUint64(set.T)
	one := new(big.Int).Add(fresh, num(1))
	noise = mul(num(N*int64(pairs)), t, one, one) // (m+T·e)(m'+T·e')/T, each |m| < T

	// The key's noise: s·e0 + u·e1, both of norm at most n+1 by n+1 errors, errors and floods of both halves.
	known := num(2 * N * int64(n+1) * int64(n+1) * errorBound)
	key := new(big.Int).Lsh(num(2*int64(n+1)), relinFlood)
	key.Add(key, known).Add(key, num(2*int64(n+1)*errorBound))
	digits := (len(set.Q) + len(set.P) - 1) / len(set.P)
	digit, p := num(2), num(1) // its conversion is exact but for one multiple
	for i, m := range set.P {
		digit.Mul(digit, new(big.Int).SetUint64(set.Q[i]))
		p.Mul(p, new(big.Int).SetUint64(m))
	}
	round := num(1 + N*int64(n+1))
	relin := mul(num(int64(digits)*N), digit, key)
	noise.Add(noise, relin.Quo(relin, p)).Add(noise, round)
	q := num(1)
	for _, m := range set.Q {
		q.Mul(q, new(big.Int).SetUint64(m))
	}
	fits = mul(num(4), t, noise).Cmp(q) < 0
	for i := len(set.Q) - 1; i >= set.Shared; i-- {
		noise.Quo(noise, new(big.Int).SetUint64(set.Q[i])).Add(noise, round)
	}
	shares := num(int64(2 * digits * (n + 1)))
	return noise, relinFlood + 1 - set.LogN - known.BitLen() - shares.BitLen(), fits
}

// digitsOf splits a value into signed digits, lowest first.
func (x *Products) digitsOf(v *big.Int, into []int64) error {
	w := uint(x.digitBits())
	rest, half, base := new(big.Int).Set(v), int64(1)<<(w-1), int64(1)<<w
	mask := big.NewInt(base - 1)
	for i := range into {
		d := new(big.Int).And(rest, mask).Int64()
		if rest.Rsh(rest, w); d >= half {
			d -= base
			rest.Add(rest, big.NewInt(1))
		}
		into[i] = d
	}
	if rest.Sign() != 0 {
		return fail(sandbox.TooLarge, "factor", "its values are within the range that was declared")
	}
	return nil
}

// term puts the places of a term together.
func (x *Products) term(places []int64) *big.Int {
	v := new(big.Int)
	for i := len(places) - 1; i >= 0; i-- {
		v.Lsh(v, uint(x.digitBits())).Add(v, big.NewInt(places[i]))
	}
	return v
}

// NewSide makes an empty partial of a unit that holds a side of the layout's products: 0 the left, 1 the right. Units that hold none contribute
// NewPartial's.
func NewSide(l *Layout, side int) (*Partial, error) {
	p, err := NewPartial(l)
	if err != nil {
		return nil, err
	}
	if l.Products == nil || side < 0 || side > 1 {
		return nil, fail(sandbox.Invalid, "side", "is one of a layout with products")
	}
	p.side, p.vectors = side, make([][]wide, len(l.Products.Factors[side]))
	for i := range p.vectors {
		p.vectors[i] = make([]wide, l.Products.Subjects)
	}
	return p, nil
}

// AddTo adds x·y to the value of a factor at a place of the list: 1·1 for a row that counts, x·1 for one of its values, x·y for a product of two.
// Invalid for a factor or place that is not there, TooLarge as Add.
func (p *Partial) AddTo(factor, place int, x, y int64) error {
	if factor < 0 || factor >= len(p.vectors) || place < 0 || place >= len(p.vectors[factor]) {
		return fail(sandbox.Invalid, "row", "is of a factor of this side and a place of the list")
	}
	if x >= maxInput || x <= -maxInput || y >= maxInput || y <= -maxInput {
		return fail(sandbox.TooLarge, "value", "is below 2^47 in size")
	}
	if p.count++; p.count > MaxRows {
		return fail(sandbox.TooLarge, "rows", "of a unit are at most 2^31")
	}
	p.vectors[factor][place].add(product(x, y))
	return nil
}

// factors lays a side's vectors out: by factor, digit and chunk.
func (p *Partial) factors(n int) (out [][]int64, err error) {
	x := p.layout.Products
	d := productLength(n)
	for f, v := range p.vectors {
		digits := make([][]int64, x.digits(x.Factors[p.side][f]))
		for i := range digits {
			digits[i] = make([]int64, len(v))
		}
		one := make([]int64, len(digits))
		for s, w := range v {
			b := w.big()
			if b.BitLen() > x.Factors[p.side][f].Bits {
				return nil, fail(sandbox.TooLarge, "factor", "its values are within the range that was declared")
			}
			if err := x.digitsOf(b, one); err != nil {
				return nil, err
			}
			for i := range one {
				digits[i][s] = one[i]
			}
		}
		for _, whole := range digits {
			for len(whole) > 0 {
				k := min(d, len(whole))
				out, whole = append(out, whole[:k]), whole[k:]
			}
		}
	}
	return out, nil
}

// stated writes a side's evidence into its slots.
func (p *Partial) stated(flat []int64) error {
	x := p.layout.Products
	if p.side == 1 {
		flat = flat[x.evidence(0):]
	}
	for f, v := range p.vectors {
		var top wide
		values := map[wide]int64{}
		for _, w := range v {
			if w != (wide{}) {
				flat[0]++
				values[w]++
				flat[1] = max(flat[1], values[w])
			}
			if top.less(w) {
				top = w.abs()
			}
		}
		n := topLimbs(x.Factors[p.side][f])
		if err := split(top.big(), flat[2:2+n]); err != nil {
			return err
		}
		flat = flat[2+n:]
	}
	return nil
}

// Side (因子证据) is what the holder of a factor states of it: for how many subjects it is not zero, how many of those have its commonest value, and its largest
// value in size. A term of factors a and b is of at most the fewer subjects, and no subject adds more to it than both largest values together.
type Side struct {
	Subjects int64
	Alike    int64
	Top      *big.Int
}

// read takes a side's evidence out of opened slots.
func (x *Products) read(flat []int64) (out [2][]Side, ok bool) {
	for side := range out {
		for _, f := range x.Factors[side] {
			s := Side{flat[0], flat[1], joined(flat[2 : 2+topLimbs(f)])}
			if s.Subjects < 0 || s.Subjects > int64(x.Subjects) || s.Top.Sign() < 0 || s.Top.BitLen() > f.Bits || (s.Subjects == 0) != (s.Top.Sign() == 0) ||
				s.Alike < 0 || s.Alike > s.Subjects || (s.Subjects == 0) != (s.Alike == 0) {
				return out, false
			}
			out[side], flat = append(out[side], s), flat[2+topLimbs(f):]
		}
	}
	return out, true
}
