package he

import (
	"encoding/binary"
	"io"

	lattice "github.com/tuneinsight/lattigo/v5/ring"

	"github.com/opdomain/opdomain/sandbox"
)

// maxFlood is the widest flooding there is randomness for: 127 bits with the sign.
const maxFlood = 126

// addFlood adds noise uniform in [-2^b, 2^b) to each coefficient of p, in the transformed domain p is in, from randomness read for it.
//
// It is our own because the library's flooding does not flood: below σ 2^56 its samples lie on a sparse grid that a few seconds take
// off, above they carry few random bits (the test of the attack shows it). Source: §4 of Mouchet et al., eprint 2020/304, for what
// flooding is for.
func addFlood(fs []*transform, b int, rand io.Reader, p lattice.Poly) error {
	s, err := newStream(rand)
	if err != nil {
		return err
	}
	defer s.wipe()
	fs = fs[:len(p.Coeffs)]
	noise := lattice.NewPoly(p.N(), p.Level())
	defer noise.Zero()
	if err := flood(fs, b, s, make([]int64, p.N()), noise.Coeffs); err != nil {
		return err
	}
	for j, f := range fs {
		f.forward(noise.Coeffs[j], floodBound)
		for i, x := range noise.Coeffs[j] {
			p.Coeffs[j][i] = lattice.CRed(p.Coeffs[j][i]+f.whole(x), f.q)
		}
	}
	return nil
}

// floodBound is what flood's coefficients are below of, in multiples of their modulus.
const floodBound = 6

// flood writes e plus noise uniform in [-2^b, 2^b), the same whole number modulo each q. It takes 16 bytes a coefficient from s and
// reduces them without division or branches on the noise.
func flood(fs []*transform, b int, s *stream, e []int64, into [][]uint64) error {
	if b < 1 || b > maxFlood {
		return fail(sandbox.Invalid, "flooding", "has 1 to 126 bits")
	}
	var maskLo, maskHi uint64 = 1<<min(b+1, 64) - 1, 0
	if b+1 >= 64 {
		maskLo, maskHi = ^uint64(0), 1<<(b+1-64)-1
	}
	random := s.bytes(16 * len(e))
	for j, f := range fs {
		q, wrap := f.q, pow2mod(64, f.q)
		up, off := shoupOf(wrap, q), pow2mod(b, q)
		c := into[j]
		for i, small := range e {
			lo := binary.LittleEndian.Uint64(random[16*i:]) & maskLo
			hi := binary.LittleEndian.Uint64(random[16*i+8:]) & maskHi
			c[i] = times(hi, wrap, up, q) + f.half(lo) + (q - off) + (uint64(small) + q&uint64(small>>63)) // 2q + 2q + q + q
		}
	}
	return nil
}

// pow2mod is 2^b mod q.
func pow2mod(b int, q uint64) uint64 {
	x := uint64(1)
	for range b {
		x = lattice.CRed(x<<1, q)
	}
	return x
}
