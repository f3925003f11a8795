package he

import (
	"bytes"
	"math"
	mrand "math/rand/v2"
	"slices"
	"testing"

	"github.com/tuneinsight/lattigo/v5/he/heint"
)

// TestTransform compares with the library's transforms, at every modulus of every set, on extreme and random coefficients.
func TestTransform(t *testing.T) {
	r := mrand.New(mrand.NewPCG(1, 7))
	for _, s := range Sets() {
		p, err := paramsOf(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		rings := p.rlwe.RingQ().SubRings
		if s.Scheme == "BGV" {
			rings = append(slices.Clone(rings), p.bgv.RingT().SubRings...)
		}
		for _, sub := range rings {
			f := newTransform(sub)
			for kind := range 4 {
				a, bound := make([]uint64, p.n()), uint64(1)
				for i := range a {
					switch kind {
					case 0:
						a[i] = r.Uint64N(sub.Modulus)
					case 1:
						a[i] = sub.Modulus - 1
					case 2:
						a[i] = uint64(i) % 2 * (sub.Modulus - 1)
					case 3:
						a[i], bound = 4*sub.Modulus-1-r.Uint64N(3), 4
					}
				}
				want, got := make([]uint64, len(a)), slices.Clone(a)
				for i := range a {
					want[i] = a[i] % sub.Modulus
				}
				plain := slices.Clone(want)
				sub.NTT(want, want)
				bound = f.forward(got, bound)
				for i, v := range got {
					if v/sub.Modulus >= bound {
						t.Fatalf("%s: coefficient %d is beyond its bound", s.Name, i)
					}
					got[i] = f.whole(v)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s: the forward transform differs from the library's (kind %d)", s.Name, kind)
				}
				if f.back != nil {
					if f.backward(got); !slices.Equal(got, plain) {
						t.Fatalf("%s: the backward transform does not undo the forward one (kind %d)", s.Name, kind)
					}
				}
			}
		}
	}
}

// TestEncoder compares slots with the library's encoder.
func TestEncoder(t *testing.T) {
	r := mrand.New(mrand.NewPCG(2, 7))
	for _, name := range []SetName{SumSet, StatisticsSet} {
		p, err := paramsOf(name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := newEncoder(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 5, p.n()} {
			v := make([]int64, n)
			for i := range v {
				v[i] = r.Int64N(int64(p.T)-2) - int64(p.T/2) + 1
			}
			v[0] = int64(p.T/2) - 1
			want, got := p.bgv.RingT().NewPoly(), make([]uint64, p.n())
			if err := heint.NewEncoder(p.bgv).EncodeRingT(v, heint.NewPlaintext(p.bgv, 0).Scale, want); err != nil {
				t.Fatal(err)
			}
			if e.encode(v, got); !slices.Equal(got, want.Coeffs[0]) {
				t.Fatalf("%s: %d slots are not where the library has them", name, n)
			}
		}
	}
}

// TestSampling holds the draws to their distributions, by chi-square under a fixed key.
func TestSampling(t *testing.T) {
	s, err := newStream(bytes.NewReader(bytes.Repeat([]byte{7}, 16)))
	if err != nil {
		t.Fatal(err)
	}
	const n = 1 << 20
	v := make([]int64, n)
	chi := func(name string, count, prob map[int64]float64, limit float64) {
		t.Helper()
		total := 0.0
		for k, p := range prob {
			total += (count[k] - n*p) * (count[k] - n*p) / (n * p)
			delete(count, k)
		}
		if len(count) > 0 {
			t.Errorf("%s: values that are not in the distribution", name)
		}
		if total > limit {
			t.Errorf("%s: chi-square %.1f over %d values", name, total, len(prob))
		}
	}
	counted := func() map[int64]float64 {
		c := map[int64]float64{}
		for _, x := range v {
			c[x]++
		}
		return c
	}
	s.ternary(v)
	chi("ternary", counted(), map[int64]float64{-1: 1.0 / 3, 0: 1.0 / 3, 1: 1.0 / 3}, 40)

	s.gauss(v)
	prob, whole, square := map[int64]float64{}, 0.0, 0.0
	for x := int64(-errorCut); x <= errorCut; x++ {
		a := func(y float64) float64 { return math.Erfc(-y/(errorSigma*math.Sqrt2)) / 2 }
		prob[x] = a(float64(x)+0.5) - a(float64(x)-0.5)
		whole += prob[x]
		square += float64(x*x) * prob[x]
	}
	for x := range prob {
		prob[x] /= whole
	}
	if math.Abs(square/whole-errorSigma*errorSigma-1.0/12) > 1e-3 {
		t.Fatal("the test's own distribution is not σ 3.2, rounded")
	}
	count := counted()
	for x := int64(14); x <= errorCut; x++ { // together: so few are expected of each
		for _, y := range []int64{x, -x} {
			if y != 14 && y != -14 {
				at := int64(math.Copysign(14, float64(y)))
				count[at], prob[at] = count[at]+count[y], prob[at]+prob[y]
				delete(count, y)
				delete(prob, y)
			}
		}
	}
	chi("gauss", count, prob, 100)

	p, err := paramsOf(ScoringSet)
	if err != nil {
		t.Fatal(err)
	}
	f, u := newTransform(p.rlwe.RingQ().SubRings[1]), make([]uint64, n)
	s.uniform(f, u)
	count, prob = map[int64]float64{}, map[int64]float64{}
	for _, x := range u {
		if x >= f.q {
			t.Fatal("a residue beyond its modulus")
		}
		count[int64(float64(x)/float64(f.q)*64)]++
	}
	for k := range int64(64) {
		prob[k] = 1.0 / 64
	}
	chi("uniform", count, prob, 160)
}
