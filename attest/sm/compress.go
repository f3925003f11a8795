package sm

import "math/bits"

// compress2 is SM3's compression function (GB/T 32905, 5.3) over two states at once. One state waits for its own last
// step most of the time; the second fills the gaps. The first sixteen words of v and w are the message blocks.
func compress2(s, t *[8]uint32, v, w *[68]uint32) {
	for j := 16; j < 68; j++ {
		x := v[j-16] ^ v[j-9] ^ bits.RotateLeft32(v[j-3], 15)
		v[j] = x ^ bits.RotateLeft32(x, 15) ^ bits.RotateLeft32(x, 23) ^ bits.RotateLeft32(v[j-13], 7) ^ v[j-6]
		x = w[j-16] ^ w[j-9] ^ bits.RotateLeft32(w[j-3], 15)
		w[j] = x ^ bits.RotateLeft32(x, 15) ^ bits.RotateLeft32(x, 23) ^ bits.RotateLeft32(w[j-13], 7) ^ w[j-6]
	}
	a, b, c, d, e, f, g, h := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	A, B, C, D, E, F, G, H := t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
	for j := 0; j < 16; j += 4 {
		b, d, f, h = roundLow(a, b, c, d, e, f, g, h, sm3K[j], v[j], v[j+4])
		B, D, F, H = roundLow(A, B, C, D, E, F, G, H, sm3K[j], w[j], w[j+4])
		a, c, e, g = roundLow(d, a, b, c, h, e, f, g, sm3K[j+1], v[j+1], v[j+5])
		A, C, E, G = roundLow(D, A, B, C, H, E, F, G, sm3K[j+1], w[j+1], w[j+5])
		d, b, h, f = roundLow(c, d, a, b, g, h, e, f, sm3K[j+2], v[j+2], v[j+6])
		D, B, H, F = roundLow(C, D, A, B, G, H, E, F, sm3K[j+2], w[j+2], w[j+6])
		c, a, g, e = roundLow(b, c, d, a, f, g, h, e, sm3K[j+3], v[j+3], v[j+7])
		C, A, G, E = roundLow(B, C, D, A, F, G, H, E, sm3K[j+3], w[j+3], w[j+7])
	}
	for j := 16; j < 64; j += 4 {
		b, d, f, h = roundHigh(a, b, d, e, f, h, a&(b^c)^b&c, (f^g)&e^g, sm3K[j], v[j], v[j+4])
		B, D, F, H = roundHigh(A, B, D, E, F, H, A&(B^C)^B&C, (F^G)&E^G, sm3K[j], w[j], w[j+4])
		a, c, e, g = roundHigh(d, a, c, h, e, g, d&(a^b)^a&b, (e^f)&h^f, sm3K[j+1], v[j+1], v[j+5])
		A, C, E, G = roundHigh(D, A, C, H, E, G, D&(A^B)^A&B, (E^F)&H^F, sm3K[j+1], w[j+1], w[j+5])
		d, b, h, f = roundHigh(c, d, b, g, h, f, c&(d^a)^d&a, (h^e)&g^e, sm3K[j+2], v[j+2], v[j+6])
		D, B, H, F = roundHigh(C, D, B, G, H, F, C&(D^A)^D&A, (H^E)&G^E, sm3K[j+2], w[j+2], w[j+6])
		c, a, g, e = roundHigh(b, c, a, f, g, e, b&(c^d)^c&d, (g^h)&f^h, sm3K[j+3], v[j+3], v[j+7])
		C, A, G, E = roundHigh(B, C, A, F, G, E, B&(C^D)^C&D, (G^H)&F^H, sm3K[j+3], w[j+3], w[j+7])
	}
	s[0] ^= a
	s[1] ^= b
	s[2] ^= c
	s[3] ^= d
	s[4] ^= e
	s[5] ^= f
	s[6] ^= g
	s[7] ^= h
	t[0] ^= A
	t[1] ^= B
	t[2] ^= C
	t[3] ^= D
	t[4] ^= E
	t[5] ^= F
	t[6] ^= G
	t[7] ^= H
}

// roundLow is a round of the first sixteen, roundHigh of the others with FF and GG already computed: both are small enough
// to be inlined. They give the new b, d, f, h; the others keep their places and the callers rename.
func roundLow(a, b, c, d, e, f, g, h, k, w, w4 uint32) (uint32, uint32, uint32, uint32) {
	a12 := bits.RotateLeft32(a, 12)
	s1 := bits.RotateLeft32(a12+e+k, 7)
	t1 := (a ^ b ^ c) + d + (s1 ^ a12) + (w ^ w4)
	t2 := (e ^ f ^ g) + h + s1 + w
	return bits.RotateLeft32(b, 9), t1, bits.RotateLeft32(f, 19), t2 ^ bits.RotateLeft32(t2, 9) ^ bits.RotateLeft32(t2, 17)
}
func roundHigh(a, b, d, e, f, h, ff, gg, k, w, w4 uint32) (uint32, uint32, uint32, uint32) {
	a12 := bits.RotateLeft32(a, 12)
	s1 := bits.RotateLeft32(a12+e+k, 7)
	t1 := ff + d + (s1 ^ a12) + (w ^ w4)
	t2 := gg + h + s1 + w
	return bits.RotateLeft32(b, 9), t1, bits.RotateLeft32(f, 19), t2 ^ bits.RotateLeft32(t2, 9) ^ bits.RotateLeft32(t2, 17)
}
