package he

import (
	"crypto/rand"
	"math"
	"math/big"
	"testing"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/heint"
	"github.com/tuneinsight/lattigo/v5/mhe"
	lattice "github.com/tuneinsight/lattigo/v5/ring"
)

// ziggurat gives the tables of Marsaglia and Tsang's normal sampler with 128 strips: the library's samples are strip · 31 bits · σ.
func ziggurat() (kn [128]uint32, wn [128]float32) {
	const m = 1 << 31
	dn, vn := 3.442619855899, 9.91256303526217e-3
	tn, q := dn, vn/math.Exp(-dn*dn/2)
	kn[0], wn[0], wn[127] = uint32(dn/q*m), float32(q/m), float32(dn/m)
	for i := 126; i >= 1; i-- {
		dn = math.Sqrt(-2 * math.Log(vn/dn+math.Exp(-dn*dn/2)))
		kn[i+1] = uint32(dn / tn * m)
		tn, wn[i] = dn, float32(dn/m)
	}
	return kn, wn
}

// view is what all but one party know of one opening: the honest share, and what it would be without noise but for the ciphertext's own.
type view struct {
	share, known lattice.Poly
	ct           *rlwe.Ciphertext
}

// recoverSecret takes the flooding off two shares: it snaps each coefficient to the sampler's grid, within the noise that a ciphertext has,
// and solves for the few that stay unclear, because both shares are of one secret. It gives the secret modulo the first prime, in
// coefficients, and how many grid points were unique.
func recoverSecret(r *lattice.Ring, sigma float64, views [2]view) (secret []uint64, unique int) {
	const slack = 3000 // five deviations of the noise of a fresh ciphertext
	kn, wn := ziggurat()
	q := r.SubRings[0].Modulus
	prime := new(big.Int).SetUint64(q)
	type equations struct {
		a    []uint64
		open []int
		w    [][]uint64
	}
	var system [2]equations
	for v, view := range views {
		d := r.NewPoly()
		r.Sub(view.share, view.known, d) // flooding and the ciphertext's noise
		r.INTT(d, d)
		flood := r.NewPoly()
		e := equations{}
		for k, x := range d.Coeffs[0] {
			a, negative := int64(x), x > q/2
			if negative {
				a = int64(q - x)
			}
			count, best := 0, int64(0)
			for i := range 128 {
				step := float64(wn[i]) * sigma
				j0 := int64(float64(a)/step) &^ 127
				for _, j := range []int64{j0 - 128 + int64(i), j0 + int64(i), j0 + 128 + int64(i)} {
					if j < 0 || j > math.MaxInt32 || i == 0 && uint32(j) >= kn[0] {
						continue
					}
					if g := int64(uint64(float64(j)*float64(wn[i])*sigma + 0.5)); a-g <= slack && a-g >= -slack {
						count, best = count+1, g
					}
				}
			}
			f := uint64(a)
			if count == 1 {
				f = uint64(best)
				unique++
			} else {
				e.open = append(e.open, k)
			}
			if negative {
				f = (q - f) % q
			}
			flood.Coeffs[0][k] = f % q
		}
		if len(e.open) > 400 {
			return nil, unique // no grid: hundreds of unknowns a share and more than there is to gain from solving
		}
		y, inverse := r.NewPoly(), r.NewPoly()
		r.NTT(flood, y)
		r.Sub(view.share, y, y)
		for k, x := range view.ct.Value[1].Coeffs[0] {
			inverse.Coeffs[0][k] = new(big.Int).ModInverse(new(big.Int).SetUint64(x), prime).Uint64()
		}
		r.MForm(inverse, inverse)
		back := func(p lattice.Poly) []uint64 {
			r.MulCoeffsMontgomery(p, inverse, p)
			r.INTT(p, p)
			return append([]uint64{}, p.Coeffs[0]...)
		}
		e.a = back(y)
		for _, k := range e.open {
			one := r.NewPoly()
			one.Coeffs[0][k] = 1
			r.NTT(one, one)
			e.w = append(e.w, back(one))
		}
		system[v] = e
	}
	return solve(system[0].a, system[1].a, system[0].w, system[1].w, q), unique
}

// solve finds x, x' with a − Σ x·w = a' − Σ x'·w' modulo q, and gives that.
func solve(a, b []uint64, w, v [][]uint64, q uint64) []uint64 {
	mod := new(big.Int).SetUint64(q)
	n := len(w) + len(v)
	m := make([][]*big.Int, n+20)
	for r := range m {
		m[r] = make([]*big.Int, n+1)
		for k := range w {
			m[r][k] = new(big.Int).SetUint64(w[k][r])
		}
		for k := range v {
			m[r][len(w)+k] = new(big.Int).SetUint64((q - v[k][r]) % q)
		}
		m[r][n] = new(big.Int).SetUint64((a[r] + q - b[r]) % q)
	}
	t := new(big.Int)
	for c := range n {
		p := c
		for p < len(m) && m[p][c].Sign() == 0 {
			p++
		}
		if p == len(m) {
			return nil
		}
		m[c], m[p] = m[p], m[c]
		inv := new(big.Int).ModInverse(m[c][c], mod)
		for k := c; k <= n; k++ {
			m[c][k].Mul(m[c][k], inv).Mod(m[c][k], mod)
		}
		for r := range m {
			if r != c && m[r][c].Sign() != 0 {
				f := new(big.Int).Set(m[r][c])
				for k := c; k <= n; k++ {
					m[r][k].Sub(m[r][k], t.Mul(f, m[c][k])).Mod(m[r][k], mod)
				}
			}
		}
	}
	out := make([]uint64, len(a))
	for i := range out {
		s := new(big.Int).SetUint64(a[i])
		for k := range w {
			s.Sub(s, t.Mul(m[k][n], new(big.Int).SetUint64(w[k][i])))
		}
		out[i] = s.Mod(s, mod).Uint64()
	}
	return out
}

// TestFloodingAttack has two of three units and the gate attack the third. With the library's own flooding they get its whole secret from
// two shares; with ours they get nothing.
func TestFloodingAttack(t *testing.T) {
	const logSigma = 54 // the widest where a sample of 6σ stays below half a prime
	k := newCollectiveKey(t, SumSet, 3, 3)
	p, _ := paramsOf(SumSet)
	points := []byte{1, 2, 3}
	rq := p.rlwe.RingQ()
	r := rq.AtLevel(0)
	active := []mhe.ShamirPublicPoint{1, 2, 3}
	additive := make([]*rlwe.SecretKey, 3)
	others := rq.NewPoly()
	part := func(e Engine, h []byte) *keyPart {
		kp, err := key[*keyPart](e.(*Local), h)
		if err != nil {
			t.Fatal(err)
		}
		return kp
	}
	for i, x := range active {
		additive[i] = rlwe.NewSecretKey(p.rlwe)
		cmb := mhe.NewCombiner(*p.rlwe, x, active, 3)
		if err := cmb.GenAdditiveShare(active, x, *part(k.units[i], k.handles[i]).shamir, additive[i]); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			rq.Add(others, additive[i].Value.Q, others)
		}
	}
	rq.Add(others, part(k.gate, k.gateKey).secret.Value.Q, others)
	truth := rq.NewPoly()
	rq.IMForm(additive[2].Value.Q, truth)
	r.INTT(truth, truth)

	sigma := math.Exp2(logSigma)
	ks, err := mhe.NewKeySwitchProtocol(p.rlwe, lattice.DiscreteGaussian{Sigma: sigma, Bound: 6 * sigma})
	if err != nil {
		t.Fatal(err)
	}
	var theirs, ours [2]view
	for v := range 2 {
		values := make([]int64, p.Slots)
		for i := range values {
			values[i] = int64(i * (v + 7) % 65537)
		}
		b := do(t, k.units[0], OpEncrypt, k.pub[0], appendInts(nil, values))[0]
		ct, pt := heint.NewCiphertext(p.bgv, 1, p.level()), heint.NewPlaintext(p.bgv, p.level())
		if err := readPolys("ciphertext", b, p.Q, ct.Value...); err != nil {
			t.Fatal(err)
		}
		if err := heint.NewEncoder(p.bgv).Encode(values, pt); err != nil {
			t.Fatal(err)
		}
		known := rq.NewPoly()
		rq.MulCoeffsMontgomery(ct.Value[1], others, known)
		rq.Add(known, ct.Value[0], known)
		rq.Sub(pt.Value, known, known)
		share := ks.AllocateShare(p.level())
		ks.GenShare(additive[2], rlwe.NewSecretKey(p.rlwe), ct, &share)
		theirs[v] = view{share.Value, known, ct}

		mine := rq.NewPoly()
		if err := readPolys("share", do(t, k.units[2], OpPartial, k.handles[2], []byte{118}, []byte{3}, points, b)[0], p.Q, mine); err != nil {
			t.Fatal(err)
		}
		ours[v] = view{mine, known, ct}
	}
	fresh := p.rlwe.NoiseFreshSK()
	effective := math.Sqrt(fresh*fresh + sigma*sigma)
	got, unique := recoverSecret(r, effective, theirs)
	right := 0
	for i, x := range got {
		if x == truth.Coeffs[0][i] {
			right++
		}
	}
	if right != p.n() {
		t.Errorf("the attack takes %d of %d coefficients from the library's shares (%d of %d grid points unique): it cannot show anything about ours", right, p.n(), unique, 2*p.n())
	}
	// Whatever width the attacker supposes: none gives a grid.
	for _, s := range []float64{effective, math.Exp2(50)} {
		got, unique := recoverSecret(r, s, ours)
		right := 0
		for i, x := range got {
			if x == truth.Coeffs[0][i] {
				right++
			}
		}
		if right > 2 {
			t.Errorf("the attack takes %d of %d coefficients from our shares (%d grid points unique)", right, p.n(), unique)
		}
	}
}

// TestFloodUniform holds the noise to its distribution: bounds, mean, variance, and a chi-square over 64 bins; and each prime's residue to
// the same integer.
func TestFloodUniform(t *testing.T) {
	p, _ := paramsOf(SumSet)
	r := p.rlwe.RingQ()
	for _, b := range []int{1, 33, 63, 64, 118, 126} {
		noise := r.NewPoly()
		if err := addFlood(transforms(r), b, rand.Reader, noise); err != nil {
			t.Fatal(err)
		}
		r.INTT(noise, noise)
		values := make([]*big.Int, p.n())
		for i := range values {
			values[i] = new(big.Int)
		}
		r.PolyToBigintCentered(noise, 1, values)
		bins, width := make([]float64, 64), new(big.Int).Lsh(big.NewInt(1), uint(b+1))
		low := new(big.Int).Neg(new(big.Int).Rsh(width, 1))
		for _, v := range values {
			u := new(big.Int).Sub(v, low)
			if u.Sign() < 0 || u.Cmp(width) >= 0 {
				t.Fatalf("b = %d: a value lies outside [-2^b, 2^b)", b)
			}
			bins[u.Lsh(u, 6).Div(u, width).Int64()]++
		}
		if b < 6 {
			continue // four values fill four of the bins
		}
		chi, want := 0.0, float64(p.n())/64
		for _, n := range bins {
			chi += (n - want) * (n - want) / want
		}
		if chi > 175 { // 63 degrees of freedom: beyond it with probability below 10^-12
			t.Errorf("b = %d: chi-square %.0f over 63 degrees of freedom", b, chi)
		}
	}
	for _, b := range []int{0, -1, 127} {
		if addFlood(transforms(r), b, rand.Reader, r.NewPoly()) == nil {
			t.Errorf("b = %d is taken", b)
		}
	}
}
