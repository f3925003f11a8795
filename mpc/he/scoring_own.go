package he

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	lattice "github.com/tuneinsight/lattigo/v5/ring"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// A ciphertext under its sender's own secret key is c0 = e + m − c1·s with c1 uniform. c1 is drawn from a seed of 32 bytes, which is sent in
// its place: half the bytes. Source: the same is done for the matrix of FrodoKEM and for fresh ciphertexts of SEAL.

// uniformStream draws the second half of the ciphertext that a seed stands for, modulus by modulus.
func uniformStream(seed []byte) (*stream, error) {
	d := sm.Sum(sm.Frame([]byte("opdomain he uniform"), seed))
	return streamOf(d[:sm.KeySize], binary.LittleEndian.Uint64(d[sm.KeySize:]))
}

// encryptOwn encrypts an asker's values: features divided by their range, so within [-1, 1].
func (l *Local) encryptOwn(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	c, err := key[*client](l, args[0])
	if err != nil {
		return nil, err
	}
	p, n := c.p, c.p.n()
	v, err := readFloats(args[1], p.Slots, 1)
	if err != nil {
		return nil, err
	}
	slots, m := make([]complex128, p.Slots), make([]int64, n)
	defer func() { clear(v); clear(slots); clear(m) }()
	for i, x := range v {
		slots[i] = complex(x, 0)
	}
	if err := c.ecd.IFFT(slots, p.LogN-1); err != nil {
		return nil, err
	}
	seed := make([]byte, seedSize)
	if _, err := io.ReadFull(l.rand, seed); err != nil {
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "sampling", Detail: "randomness is there", Err: err}
	}
	uniform, err := uniformStream(seed)
	if err != nil {
		return nil, err
	}
	s, err := newStream(l.rand)
	if err != nil {
		return nil, err
	}
	defer s.wipe()
	s.gauss(m)
	for i, x := range slots { // at most 1 in size, so below 2^31
		m[i] += int64(math.RoundToEven(math.Ldexp(real(x), featureScale)))
		m[i+p.Slots] += int64(math.RoundToEven(math.Ldexp(imag(x), featureScale)))
	}
	out := make([]byte, 0, p.OwnBytes())
	x, c1 := make([]uint64, n), make([]uint64, n)
	defer clear(x)
	for j, f := range p.transforms() {
		q, red, secret := f.q, p.rlwe.RingQ().SubRings[j].MRedConstant, c.secret.Value.Q.Coeffs[j][:n]
		uniform.uniform(f, c1)
		f.small(x, m)
		f.forward(x, 1)
		for i, a := range c1 {
			r := f.half(x[i]) + q - lattice.MRed(a, secret[i], q, red)
			out = binary.LittleEndian.AppendUint64(out, lattice.CRed(lattice.CRed(r, 2*q), q))
		}
	}
	return [][]byte{append(out, seed...)}, nil
}

// weighted is Σ w·x over ciphertexts of features, as encryptOwn gives them, at the set's scale and top level: weights become whole numbers,
// products add up in 128 bits, and a coefficient is reduced once.
func weighted(p *params, w []float64, features [][]byte) (*rlwe.Ciphertext, error) {
	n := p.n()
	streams := make([]*stream, len(features))
	for i, b := range features {
		if len(b) != p.OwnBytes() {
			return nil, fail(sandbox.Invalid, "ciphertext", "has the length of its parameter set")
		}
		var err error
		if streams[i], err = uniformStream(b[len(b)-seedSize:]); err != nil {
			return nil, err
		}
	}
	acc := hefloat.NewCiphertext(p.ckks, 1, p.level())
	acc.Scale = p.ckks.DefaultScale()
	hi, lo, c1 := make([]uint64, n), make([]uint64, n), make([]uint64, n)
	var buf []byte // of all streams: one is read at a time
	for j, f := range p.transforms() {
		for d := range 2 {
			clear(hi)
			clear(lo)
			for i, b := range features {
				whole := int64(math.RoundToEven(math.Ldexp(w[i], weightScale)))
				sign := uint64(whole >> 63)
				size := uint64(whole)
				size = size ^ sign - sign
				part := b[j*word*n:][:word*n]
				if d == 1 {
					streams[i].buf = buf
					streams[i].uniform(f, c1)
					buf = streams[i].buf
				}
				var carry uint64
				over := false
				for k := range hi {
					x := c1[k]
					if d == 0 {
						x = binary.LittleEndian.Uint64(part[word*k:])
						over = over || x >= f.q
					}
					h, l := bits.Mul64(x, size)
					l, carry = bits.Add64(l^sign, sign&1, 0) // its negative, where the weight is negative
					h = h ^ sign + carry
					lo[k], carry = bits.Add64(lo[k], l, 0)
					hi[k] += h + carry
				}
				if over {
					return nil, fail(sandbox.Invalid, "ciphertext", "every coefficient is below its modulus")
				}
			}
			f.signed(hi, lo, acc.Value[d].Coeffs[j])
		}
	}
	return acc, nil
}

// signed reduces 128-bit whole numbers of less than q·2^34 in size.
func (f *transform) signed(hi, lo, into []uint64) {
	wrap := pow2mod(64, f.q)
	up := shoupOf(wrap, f.q)
	offHi, offLo := f.q>>30, f.q<<34
	for i := range into {
		l, carry := bits.Add64(lo[i], offLo, 0)
		h := hi[i] + offHi + carry
		into[i] = lattice.CRed(lattice.CRed(times(h, wrap, up, f.q)+f.half(l), 2*f.q), f.q)
	}
}
