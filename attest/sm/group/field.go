package group

import (
	"math/big"
	"math/bits"
)

// element is a number below p in Montgomery form (R = 2^256), limbs from the least.
type element [4]uint64

// field is arithmetic modulo a prime p of 256 bits whose lowest limb is 2^64-1, as those of SM2 and P-256 are: then
// -1/p mod 2^64 is 1 and a reduction's factor is the lowest limb itself. Everything but pow's exponent runs in constant time.
type field struct {
	p       element
	one, rr element // R and R^2 mod p
	inverse []byte  // p-2, big endian
	root    []byte  // (p-3)/4, big endian: p is 3 mod 4
}

func newField(p *big.Int) *field {
	f := &field{p: limbs(p)}
	if p.BitLen() != 256 || f.p[0] != 1<<64-1 {
		panic("group: a prime of 256 bits that ends in 64 ones")
	}
	r := new(big.Int).Lsh(big.NewInt(1), 256)
	f.one = limbs(new(big.Int).Mod(r, p))
	f.rr = limbs(new(big.Int).Mod(new(big.Int).Mul(r, r), p))
	f.inverse = new(big.Int).Sub(p, big.NewInt(2)).Bytes()
	f.root = new(big.Int).Rsh(p, 2).Bytes() // p = 4q+3
	return f
}

// limbs splits a number below 2^256.
func limbs(x *big.Int) element {
	var b [32]byte
	x.FillBytes(b[:])
	return raw(&b)
}

func raw(b *[32]byte) (z element) {
	for i := range z {
		for j := range 8 {
			z[3-i] = z[3-i]<<8 | uint64(b[8*i+j])
		}
	}
	return z
}

// set reads a number given as a big.Int: for constants only, since it does not run in constant time.
func (f *field) set(x *big.Int) element {
	z := limbs(new(big.Int).Mod(x, f.big()))
	f.mul(&z, &z, &f.rr)
	return z
}

func (f *field) big() *big.Int {
	p := new(big.Int)
	for i := range f.p {
		p.Lsh(p, 64).Or(p, new(big.Int).SetUint64(f.p[3-i]))
	}
	return p
}

// parse reads 32 big-endian bytes; false for p and above.
func (f *field) parse(b *[32]byte) (z element, ok bool) {
	z = raw(b)
	ok = below(&z, &f.p)
	f.mul(&z, &z, &f.rr)
	return z, ok
}

// below compares two plain numbers.
func below(x, y *element) bool {
	_, c := bits.Sub64(x[0], y[0], 0)
	_, c = bits.Sub64(x[1], y[1], c)
	_, c = bits.Sub64(x[2], y[2], c)
	_, c = bits.Sub64(x[3], y[3], c)
	return c == 1
}

// reduce reads 48 big-endian bytes modulo p: hash_to_field of RFC 9380, section 5.2.
func (f *field) reduce(b *[48]byte) (z element) {
	var high [32]byte
	copy(high[16:], b[:16])
	h, low := raw(&high), raw((*[32]byte)(b[16:]))
	f.mul(&h, &h, &f.rr)
	f.mul(&h, &h, &f.rr) // times 2^256
	f.mul(&low, &low, &f.rr)
	f.add(&z, &h, &low)
	return z
}

// bytes gives the number, big endian.
func (f *field) bytes(b *[32]byte, x *element) {
	z := f.plain(x)
	for i := range z {
		for j := range 8 {
			b[8*i+j] = byte(z[3-i] >> (56 - 8*j))
		}
	}
}

func (f *field) plain(x *element) (z element) {
	f.mul(&z, x, &element{1})
	return z
}

// odd is sgn0 of RFC 9380: the lowest bit of the number.
func (f *field) odd(x *element) uint64 {
	z := f.plain(x)
	return z[0] & 1
}

// mul is x·y/R mod p. One factor may be any number below 2^256.
func (f *field) mul(z, x, y *element) {
	var t0, t1, t2, t3, t4 uint64
	y0, y1, y2, y3 := y[0], y[1], y[2], y[3]
	p1, p2, p3 := f.p[1], f.p[2], f.p[3]
	for _, a := range x {
		var c, d, t5 uint64
		h0, l0 := bits.Mul64(a, y0)
		h1, l1 := bits.Mul64(a, y1)
		h2, l2 := bits.Mul64(a, y2)
		h3, l3 := bits.Mul64(a, y3)
		l1, d = bits.Add64(l1, h0, 0)
		l2, d = bits.Add64(l2, h1, d)
		l3, d = bits.Add64(l3, h2, d)
		h3 += d
		t0, c = bits.Add64(t0, l0, 0)
		t1, c = bits.Add64(t1, l1, c)
		t2, c = bits.Add64(t2, l2, c)
		t3, c = bits.Add64(t3, l3, c)
		t4, t5 = bits.Add64(t4, h3, c)
		// The lowest limb of p is 2^64-1, so t0 + t0·(2^64-1) = t0·2^64.
		m := t0
		h1, l1 = bits.Mul64(m, p1)
		h2, l2 = bits.Mul64(m, p2)
		h3, l3 = bits.Mul64(m, p3)
		l1, d = bits.Add64(l1, m, 0)
		l2, d = bits.Add64(l2, h1, d)
		l3, d = bits.Add64(l3, h2, d)
		h3 += d
		t0, c = bits.Add64(t1, l1, 0)
		t1, c = bits.Add64(t2, l2, c)
		t2, c = bits.Add64(t3, l3, c)
		t3, c = bits.Add64(t4, h3, c)
		t4 = t5 + c
	}
	f.less(z, t0, t1, t2, t3, t4)
}

// square squares n times: x^(2^n)/R^(2^n-1). It does what mul does with six products less.
func (f *field) square(z, x *element, n int) {
	p1, p2, p3 := f.p[1], f.p[2], f.p[3]
	x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
	for range n {
		var c, d, carry uint64
		// The products of different limbs, once, then doubled.
		r2, r1 := bits.Mul64(x0, x1)
		r3, l1 := bits.Mul64(x0, x2)
		r4, l2 := bits.Mul64(x0, x3)
		r2, c = bits.Add64(r2, l1, 0)
		r3, c = bits.Add64(r3, l2, c)
		r4 += c
		h1, l1 := bits.Mul64(x1, x2)
		r5, l2 := bits.Mul64(x1, x3)
		r3, c = bits.Add64(r3, l1, 0)
		r4, c = bits.Add64(r4, h1, c)
		r5 += c
		r4, c = bits.Add64(r4, l2, 0)
		r5, c = bits.Add64(r5, 0, c)
		r6, l3 := bits.Mul64(x2, x3)
		r6 += c
		r5, c = bits.Add64(r5, l3, 0)
		r6 += c
		r7 := r6 >> 63
		r6 = r6<<1 | r5>>63
		r5 = r5<<1 | r4>>63
		r4 = r4<<1 | r3>>63
		r3 = r3<<1 | r2>>63
		r2 = r2<<1 | r1>>63
		r1 <<= 1
		h0, r0 := bits.Mul64(x0, x0)
		r1, c = bits.Add64(r1, h0, 0)
		h1, l1 = bits.Mul64(x1, x1)
		r2, c = bits.Add64(r2, l1, c)
		r3, c = bits.Add64(r3, h1, c)
		h2, l2 := bits.Mul64(x2, x2)
		r4, c = bits.Add64(r4, l2, c)
		r5, c = bits.Add64(r5, h2, c)
		h3, l3 := bits.Mul64(x3, x3)
		r6, c = bits.Add64(r6, l3, c)
		r7, _ = bits.Add64(r7, h3, c)
		// Four reductions, as in mul.
		h1, l1 = bits.Mul64(r0, p1)
		h2, l2 = bits.Mul64(r0, p2)
		h3, l3 = bits.Mul64(r0, p3)
		l1, d = bits.Add64(l1, r0, 0)
		l2, d = bits.Add64(l2, h1, d)
		l3, d = bits.Add64(l3, h2, d)
		h3 += d
		r1, c = bits.Add64(r1, l1, 0)
		r2, c = bits.Add64(r2, l2, c)
		r3, c = bits.Add64(r3, l3, c)
		r4, c = bits.Add64(r4, h3, c)
		r4, d = bits.Add64(r4, carry, 0)
		carry = c + d
		h1, l1 = bits.Mul64(r1, p1)
		h2, l2 = bits.Mul64(r1, p2)
		h3, l3 = bits.Mul64(r1, p3)
		l1, d = bits.Add64(l1, r1, 0)
		l2, d = bits.Add64(l2, h1, d)
		l3, d = bits.Add64(l3, h2, d)
		h3 += d
		r2, c = bits.Add64(r2, l1, 0)
		r3, c = bits.Add64(r3, l2, c)
		r4, c = bits.Add64(r4, l3, c)
		r5, c = bits.Add64(r5, h3, c)
		r5, d = bits.Add64(r5, carry, 0)
		carry = c + d
		h1, l1 = bits.Mul64(r2, p1)
		h2, l2 = bits.Mul64(r2, p2)
		h3, l3 = bits.Mul64(r2, p3)
		l1, d = bits.Add64(l1, r2, 0)
		l2, d = bits.Add64(l2, h1, d)
		l3, d = bits.Add64(l3, h2, d)
		h3 += d
		r3, c = bits.Add64(r3, l1, 0)
		r4, c = bits.Add64(r4, l2, c)
		r5, c = bits.Add64(r5, l3, c)
		r6, c = bits.Add64(r6, h3, c)
		r6, d = bits.Add64(r6, carry, 0)
		carry = c + d
		h1, l1 = bits.Mul64(r3, p1)
		h2, l2 = bits.Mul64(r3, p2)
		h3, l3 = bits.Mul64(r3, p3)
		l1, d = bits.Add64(l1, r3, 0)
		l2, d = bits.Add64(l2, h1, d)
		l3, d = bits.Add64(l3, h2, d)
		h3 += d
		r4, c = bits.Add64(r4, l1, 0)
		r5, c = bits.Add64(r5, l2, c)
		r6, c = bits.Add64(r6, l3, c)
		r7, c = bits.Add64(r7, h3, c)
		r7, d = bits.Add64(r7, carry, 0)
		carry = c + d
		s0, c := bits.Sub64(r4, f.p[0], 0)
		s1, c := bits.Sub64(r5, p1, c)
		s2, c := bits.Sub64(r6, p2, c)
		s3, c := bits.Sub64(r7, p3, c)
		_, c = bits.Sub64(carry, 0, c)
		keep := -c
		x0, x1, x2, x3 = r4&keep|s0&^keep, r5&keep|s1&^keep, r6&keep|s2&^keep, r7&keep|s3&^keep
	}
	z[0], z[1], z[2], z[3] = x0, x1, x2, x3
}

// less subtracts p from a number below 2p, if it is not below p.
func (f *field) less(z *element, t0, t1, t2, t3, t4 uint64) {
	s0, c := bits.Sub64(t0, f.p[0], 0)
	s1, c := bits.Sub64(t1, f.p[1], c)
	s2, c := bits.Sub64(t2, f.p[2], c)
	s3, c := bits.Sub64(t3, f.p[3], c)
	_, c = bits.Sub64(t4, 0, c)
	keep := -c
	z[0] = t0&keep | s0&^keep
	z[1] = t1&keep | s1&^keep
	z[2] = t2&keep | s2&^keep
	z[3] = t3&keep | s3&^keep
}

func (f *field) add(z, x, y *element) {
	t0, c := bits.Add64(x[0], y[0], 0)
	t1, c := bits.Add64(x[1], y[1], c)
	t2, c := bits.Add64(x[2], y[2], c)
	t3, c := bits.Add64(x[3], y[3], c)
	f.less(z, t0, t1, t2, t3, c)
}

func (f *field) sub(z, x, y *element) {
	t0, c := bits.Sub64(x[0], y[0], 0)
	t1, c := bits.Sub64(x[1], y[1], c)
	t2, c := bits.Sub64(x[2], y[2], c)
	t3, c := bits.Sub64(x[3], y[3], c)
	m := -c
	z[0], c = bits.Add64(t0, f.p[0]&m, 0)
	z[1], c = bits.Add64(t1, f.p[1]&m, c)
	z[2], c = bits.Add64(t2, f.p[2]&m, c)
	z[3], _ = bits.Add64(t3, f.p[3]&m, c)
}

func (f *field) neg(z, x *element) { f.sub(z, &element{}, x) }

// equal and zero give 1 or 0.
func equal(x, y *element) uint64 {
	return zero(&element{x[0] ^ y[0], x[1] ^ y[1], x[2] ^ y[2], x[3] ^ y[3]})
}

func zero(x *element) uint64 {
	v := x[0] | x[1] | x[2] | x[3]
	return 1 ^ (v|-v)>>63
}

// pick sets z to x where bit is 1, to y where it is 0.
func pick(z *element, bit uint64, x, y *element) {
	m := -bit
	for i := range z {
		z[i] = x[i]&m | y[i]&^m
	}
}

// pow raises to a public exponent, big endian: windows of five bits that begin and end with a one.
func (f *field) pow(z, x *element, e []byte) {
	var odd [16]element // x, x^3 … x^31
	var twice element
	odd[0] = *x
	f.square(&twice, x, 1)
	for i := 1; i < len(odd); i++ {
		f.mul(&odd[i], &odd[i-1], &twice)
	}
	bit := func(i int) uint { return uint(e[len(e)-1-i/8]>>(i%8)) & 1 }
	out := f.one
	for i, wait := 8*len(e)-1, 0; ; { // wait counts squarings that are due
		for i >= 0 && bit(i) == 0 {
			i, wait = i-1, wait+1
		}
		if i < 0 {
			f.square(&out, &out, wait)
			break
		}
		low := max(i-4, 0)
		for bit(low) == 0 {
			low++
		}
		var w uint
		for j := i; j >= low; j-- {
			w = w<<1 | bit(j)
		}
		f.square(&out, &out, wait+i-low+1)
		f.mul(&out, &out, &odd[w/2])
		i, wait = low-1, 0
	}
	*z = out
}

// invert gives 0 for 0.
func (f *field) invert(z, x *element) { f.pow(z, x, f.inverse) }

// sqrt gives a square root, and 1 if there is one.
func (f *field) sqrt(z, x *element) uint64 {
	var r, s element
	f.pow(&r, x, f.root)
	f.mul(&r, &r, x) // x^((p+1)/4)
	f.square(&s, &r, 1)
	*z = r
	return equal(&s, x)
}
