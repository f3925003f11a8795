package share

import (
	"math/rand/v2"
	"testing"
)

// slowMul is the field's multiplication by its definition.
func slowMul(x, y uint64) (z uint64) {
	for ; y != 0; y >>= 1 {
		if y&1 == 1 {
			z ^= x
		}
		top := x >> 63
		x = x<<1 ^ top*0x1b
	}
	return z
}

// TestField: the kernels are the field's definition, on extremes and random elements, and a known product (x^63 · x = x^4 + x^3 + x + 1).
func TestField(t *testing.T) {
	if fieldMul(1<<63, 2) != 0x1b {
		t.Error("x^64 is x^4 + x^3 + x + 1")
	}
	r := rand.New(rand.NewPCG(1, 64))
	for n := range 70 {
		x, y, c := column(r, n), column(r, n), r.Uint64()
		if n%2 == 0 {
			c = extremes[n%len(extremes)]
		}
		want, mixed := uint64(0), make([]uint64, n)
		for i := range x {
			p := slowMul(x[i], y[i])
			if fieldMul(x[i], y[i]) != p {
				t.Fatal("a product")
			}
			want ^= p
			mixed[i] = x[i] ^ slowMul(c, y[i])
		}
		if fieldInner(x, y) != want || fieldInnerGeneric(x, y) != want {
			t.Fatalf("inner product of %d", n)
		}
		for _, mix := range []func(out, v []uint64, c uint64){fieldMix, fieldMixGeneric} {
			out := append([]uint64(nil), x...)
			mix(out, y, c)
			for i := range out {
				if out[i] != mixed[i] {
					t.Fatalf("sum of %d", n)
				}
			}
		}
	}
}

// TestPlaces: the matrix of places is the sum of weight · u_b · v_b', and a word's map the sum of the coins of its bits.
func TestPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 64))
	p := products{buckets: make([]uint64, buckets*64)}
	var want [64][64]uint64
	for range 300 {
		w, x, y, v, z := r.Uint64()&(1<<48-1), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()
		p.add(w, x, y, v, z)
		for b := range 64 {
			for c := range 64 {
				want[b][c] ^= w*(x>>b&1)*(y>>c&1) ^ w*(v>>b&1)*(z>>c&1)
			}
		}
	}
	got := p.matrix()
	for b := range 64 {
		for c := range 64 {
			if got[64*b+c] != want[b][c] {
				t.Fatalf("places %d and %d", b, c)
			}
		}
	}
	coins := [64]uint64(column(r, 64))
	for range 100 {
		w, sum := r.Uint64(), uint64(0)
		for b := range 64 {
			sum ^= coins[b] * (w >> b & 1)
		}
		if linear(&coins, w) != sum {
			t.Fatal("the map of a word")
		}
	}
}
