package share

import "math/bits"

// u128 is an integer modulo 2^128.
type u128 struct{ hi, lo uint64 }

func (x u128) add(y u128) u128 {
	lo, c := bits.Add64(x.lo, y.lo, 0)
	hi, _ := bits.Add64(x.hi, y.hi, c)
	return u128{hi, lo}
}

func (x u128) sub(y u128) u128 {
	lo, c := bits.Sub64(x.lo, y.lo, 0)
	hi, _ := bits.Sub64(x.hi, y.hi, c)
	return u128{hi, lo}
}

func (x u128) mul(y u128) u128 {
	hi, lo := bits.Mul64(x.lo, y.lo)
	return u128{hi + x.hi*y.lo + x.lo*y.hi, lo}
}

func (x u128) scale(c uint64) u128 {
	hi, lo := bits.Mul64(x.lo, c)
	return u128{hi + x.hi*c, lo}
}

func inner(x, y []u128) (sum u128) {
	y = y[:len(x)]
	for i := range x {
		sum = sum.add(x[i].mul(y[i]))
	}
	return sum
}

// mix adds c·v to out.
func mix(out, v []u128, c u128) {
	v = v[:len(out)]
	for i := range out {
		out[i] = out[i].add(v[i].mul(c))
	}
}

// integers is Z modulo 2^128 as a proof's ring.
var integers = ring[u128]{
	words: 2, blocks: 32,
	get: func(w []uint64) u128 { return u128{w[1], w[0]} }, put: func(w []uint64, x u128) { w[0], w[1] = x.lo, x.hi },
	add: u128.add, sub: u128.sub, mul: u128.mul, inner: inner, mix: mix,
}
