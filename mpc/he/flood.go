package he

import (
	"encoding/binary"
	"io"

	lattice "github.com/tuneinsight/lattigo/v5/ring"

	"github.com/opdomain/opdomain/sandbox"
)

// maxFlood is the widest flooding there is randomness for: 127 bits with the sign.
const maxFlood = 126

// addFlood adds noise uniform in [-2^b, 2^b) to each coefficient of p, in the transformed domain p is in. It draws 16 bytes a
// coefficient from rand and reduces them by Barrett, without division or branches on the noise.
//
// It is our own because the library's flooding does not flood: below σ 2^56 its samples lie on a sparse grid that a few seconds take
// off, above they carry few random bits (the test of the attack shows it). Source: §4 of Mouchet et al., eprint 2020/304, for what
// flooding is for.
func addFlood(r *lattice.Ring, b int, rand io.Reader, p lattice.Poly) error {
	if b < 1 || b > maxFlood {
		return fail(sandbox.Invalid, "flooding", "has 1 to 126 bits")
	}
	n := r.N()
	random := make([]byte, 16*n)
	defer clear(random)
	if _, err := io.ReadFull(rand, random); err != nil {
		return &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "flooding", Detail: "randomness is there", Err: err}
	}
	var maskLo, maskHi uint64 = 1<<min(b+1, 64) - 1, 0
	if b+1 >= 64 {
		maskLo, maskHi = ^uint64(0), 1<<(b+1-64)-1
	}
	noise := r.NewPoly()
	defer noise.Zero()
	for j, s := range r.SubRings[:r.Level()+1] {
		q, red := s.Modulus, s.BRedConstant
		wrap := lattice.BRedAdd(^uint64(0), q, red) + 1 // 2^64 mod q, or q
		off := pow2mod(b, q)
		c := noise.Coeffs[j]
		for i := range c {
			lo := binary.LittleEndian.Uint64(random[16*i:]) & maskLo
			hi := binary.LittleEndian.Uint64(random[16*i+8:]) & maskHi
			x := lattice.BRed(lattice.BRedAdd(hi, q, red), lattice.CRed(wrap, q), q, red)
			x = lattice.CRed(x+lattice.BRedAdd(lo, q, red), q)
			c[i] = lattice.CRed(x+q-off, q)
		}
	}
	r.NTT(noise, noise)
	r.Add(p, noise, p)
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
