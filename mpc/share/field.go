package share

import "math/bits"

// GF(2^64) modulo x^64 + x^4 + x^3 + x + 1: bit k of a word is the coefficient of x^k. No table is indexed by data and no branch depends
// on it.

// Every fifth bit, from the places 0 to 4: thirteen at most, so that in a product of integers the count of a place stays within five bits,
// whose lowest is the exclusive or.
const (
	m0 = 0x1084210842108421
	m1 = 0x2108421084210842
	m2 = 0x4210842108421084
	m3 = 0x8421084210842108
	m4 = 0x0842108421084210
)

// clmul is the product of polynomials over GF(2), without carries.
func clmul(x, y uint64) (hi, lo uint64) {
	xs := [5]uint64{x & m0, x & m1, x & m2, x & m3, x & m4}
	ys := [5]uint64{y & m0, y & m1, y & m2, y & m3, y & m4}
	h0, l0 := class(&xs, ys[0], ys[4], ys[3], ys[2], ys[1])
	h1, l1 := class(&xs, ys[1], ys[0], ys[4], ys[3], ys[2])
	h2, l2 := class(&xs, ys[2], ys[1], ys[0], ys[4], ys[3])
	h3, l3 := class(&xs, ys[3], ys[2], ys[1], ys[0], ys[4])
	h4, l4 := class(&xs, ys[4], ys[3], ys[2], ys[1], ys[0])
	// Place 64 is of the class 4: in the upper word every class is one further on.
	return h0&m1 | h1&m2 | h2&m3 | h3&m4 | h4&m0, l0&m0 | l1&m1 | l2&m2 | l3&m3 | l4&m4
}

// class adds the products whose places are alike modulo five.
func class(x *[5]uint64, a, b, c, d, e uint64) (hi, lo uint64) {
	ha, la := bits.Mul64(x[0], a)
	hb, lb := bits.Mul64(x[1], b)
	hc, lc := bits.Mul64(x[2], c)
	hd, ld := bits.Mul64(x[3], d)
	he, le := bits.Mul64(x[4], e)
	return ha ^ hb ^ hc ^ hd ^ he, la ^ lb ^ lc ^ ld ^ le
}

// modulo reduces a polynomial of up to 127 places.
func modulo(hi, lo uint64) uint64 {
	t := hi ^ hi>>63 ^ hi>>61 ^ hi>>60
	return lo ^ t ^ t<<1 ^ t<<3 ^ t<<4
}

func fieldMul(x, y uint64) uint64 { return modulo(clmul(x, y)) }

func fieldAdd(x, y uint64) uint64 { return x ^ y }

// field is GF(2^64) as a proof's ring.
var field = ring[uint64]{
	words: 1, blocks: 16,
	get: func(w []uint64) uint64 { return w[0] }, put: func(w []uint64, x uint64) { w[0] = x },
	add: fieldAdd, sub: fieldAdd, mul: fieldMul, inner: fieldInner, mix: fieldMix,
}

// linear is the map of a word's 64 bits to a sum of field elements, one for each bit.
func linear(r *[64]uint64, w uint64) (sum uint64) {
	var a, b, c uint64
	for k := 0; k < 64; k += 4 {
		sum ^= r[k] & -(w & 1)
		a ^= r[k+1] & -(w >> 1 & 1)
		b ^= r[k+2] & -(w >> 2 & 1)
		c ^= r[k+3] & -(w >> 3 & 1)
		w >>= 4
	}
	return sum ^ a ^ b ^ c
}

// transpose mirrors a matrix of 64 by 64 bits: bit j of word i becomes bit i of word j.
func transpose(m *[64]uint64) {
	mask := uint64(1<<32 - 1)
	for d := 32; d > 0; d, mask = d/2, mask^mask<<(d/2) {
		for i := 0; i < 64; i = (i + d + 1) &^ d {
			t := (m[i]>>d ^ m[i+d]) & mask
			m[i] ^= t << d
			m[i+d] ^= t
		}
	}
}

func fieldInnerGeneric(x, y []uint64) uint64 {
	y = y[:len(x)]
	var hi, lo uint64
	for i, a := range x {
		h, l := clmul(a, y[i])
		hi, lo = hi^h, lo^l
	}
	return modulo(hi, lo)
}

func fieldMixGeneric(out, v []uint64, c uint64) {
	v = v[:len(out)]
	for i := range out {
		out[i] ^= fieldMul(v[i], c)
	}
}
