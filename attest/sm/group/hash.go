package group

import (
	"hash"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Suite names the way of hashing to the curve, in the form of RFC 9380, section 8.10.
const Suite = "SM2_XMD:SM3_SSWU_RO_"

// z is Z of RFC 9380 for SM2: the first candidate of 1, -1, 2, -2 … that passes find_z_sswu of H.2. A test runs the procedure.
const z = -9

const blockSize = 64 // of SM3, and of SHA-256

// Hasher (哈希到曲线) maps byte strings to points by hash_to_curve of RFC 9380: expand_message_xmd, two field elements of 48
// bytes each, the simplified SWU map, one addition; the cofactor is 1. Its time depends on the length of a message and on nothing
// else of it. A message that maps to the identity would give the zero Point; nobody can find one (2^-256 each). One goroutine uses a Hasher.
type Hasher struct {
	c    *curve
	h    hash.Hash
	dst  []byte // DST_prime
	sums [3][sm.Size]byte
	pair []projective
}

// NewHasher takes a domain separation tag of 16 to 255 bytes that names the use and its version.
func NewHasher(dst string) (*Hasher, error) { return newHasher(sm2Curve, sm.NewHash(), dst) }

func newHasher(c *curve, h hash.Hash, dst string) (*Hasher, error) {
	if len(dst) < 16 || len(dst) > 255 {
		return nil, &sandbox.Error{Op: "group: hash", Kind: sandbox.Invalid, Detail: "a domain separation tag has 16 to 255 bytes"}
	}
	return &Hasher{c: c, h: h, dst: append([]byte(dst), byte(len(dst)))}, nil
}

// expand writes the 96 bytes of expand_message_xmd (section 5.3.1) into h.sums.
func (h *Hasher) expand(msg []byte) {
	var first [sm.Size]byte
	h.h.Reset()
	h.h.Write(make([]byte, blockSize))
	h.h.Write(msg)
	h.h.Write([]byte{0, 96, 0})
	h.h.Write(h.dst)
	h.h.Sum(first[:0])
	var in [sm.Size + 1]byte
	for i := range h.sums {
		copy(in[:], first[:])
		if i > 0 {
			for j := range first {
				in[j] ^= h.sums[i-1][j]
			}
		}
		in[sm.Size] = byte(i + 1)
		h.h.Reset()
		h.h.Write(in[:])
		h.h.Write(h.dst)
		h.h.Sum(h.sums[i][:0])
	}
}

// Points hashes messages: row i is data[offsets[i]:offsets[i+1]], as in an Arrow string column. It writes len(offsets)-1 points.
// Many rows in one call share an inversion. It panics when out is too short.
func (h *Hasher) Points(out []Point, offsets []int32, data []byte) {
	n := len(offsets) - 1
	if n <= 0 {
		return
	}
	if cap(h.pair) < n {
		h.pair = make([]projective, n)
	}
	h.pair = h.pair[:n]
	for i := range n {
		h.sum(&h.pair[i], data[offsets[i]:offsets[i+1]])
	}
	h.c.affine(out[:n], h.pair)
}

func (h *Hasher) sum(r *projective, msg []byte) {
	var uniform [96]byte
	h.expand(msg)
	for i := range h.sums {
		copy(uniform[sm.Size*i:], h.sums[i][:])
	}
	u0, u1 := h.c.reduce((*[48]byte)(uniform[:48])), h.c.reduce((*[48]byte)(uniform[48:]))
	var q projective
	h.c.sswu(r, &u0)
	h.c.sswu(&q, &u1)
	h.c.addPoints(r, r, &q)
}

// Point hashes one message.
func (h *Hasher) Point(msg []byte) Point {
	var out [1]Point
	h.Points(out[:], []int32{0, int32(len(msg))}, msg)
	return out[0]
}
