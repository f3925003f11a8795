package he

import (
	"encoding/binary"

	lattice "github.com/tuneinsight/lattigo/v5/ring"

	"github.com/opdomain/opdomain/sandbox"
)

// The codec: coefficients as little-endian uint64, polynomial by polynomial and modulus by modulus, nothing else. Degree, level and
// everything that describes a ciphertext come from the registered set; a peer sends numbers only. The library's own decoder is never
// used on bytes from outside: a ciphertext one byte short recurses in it until the stack ends the process, which no recover catches.

// appendPoly appends a polynomial's coefficients.
func appendPoly(b []byte, p lattice.Poly) []byte {
	for _, c := range p.Coeffs {
		at := len(b)
		b = append(b, make([]byte, word*len(c))...)
		for i, x := range c {
			binary.LittleEndian.PutUint64(b[at+word*i:], x)
		}
	}
	return b
}

// readPoly fills a polynomial of the right shape from the front of b, every coefficient below its modulus, and gives the rest.
func readPoly(b []byte, q []uint64, into lattice.Poly) ([]byte, error) {
	n := into.N()
	if len(into.Coeffs) != len(q) || len(b) < word*n*len(q) {
		return nil, fail(sandbox.Invalid, "polynomial", "has the length of its parameter set")
	}
	for j, c := range into.Coeffs {
		part, limit := b[:word*n], q[j]
		b = b[word*n:]
		over := false
		for i := range c {
			x := binary.LittleEndian.Uint64(part[word*i:])
			over = over || x >= limit
			c[i] = x
		}
		if over {
			return nil, fail(sandbox.Invalid, "polynomial", "every coefficient is below its modulus")
		}
	}
	return b, nil
}

// readPolys reads polynomials that take up b exactly.
func readPolys(what string, b []byte, q []uint64, into ...lattice.Poly) error {
	if len(into) == 0 || len(b) != len(into)*len(q)*into[0].N()*word {
		return fail(sandbox.Invalid, what, "has the length of its parameter set")
	}
	var err error
	for _, p := range into {
		if b, err = readPoly(b, q, p); err != nil {
			return fail(sandbox.Invalid, what, "every coefficient is below its modulus")
		}
	}
	return nil
}

// readInts reads signed values of at most limit in size.
func readInts(b []byte, most int, limit int64) ([]int64, error) {
	if len(b) == 0 || len(b)%word != 0 || len(b)/word > most {
		return nil, fail(sandbox.Invalid, "values", "fill whole slots, at most those of a ciphertext")
	}
	v := make([]int64, len(b)/word)
	for i := range v {
		v[i] = int64(binary.LittleEndian.Uint64(b[word*i:]))
		if v[i] > limit || v[i] < -limit {
			return nil, fail(sandbox.TooLarge, "values", "lie within half the plaintext modulus")
		}
	}
	return v, nil
}

func appendInts(b []byte, v []int64) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return b
}
