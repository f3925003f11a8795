package he

import (
	"encoding/binary"
	"io"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	lattice "github.com/tuneinsight/lattigo/v5/ring"
)

// encryptor makes BGV ciphertexts under a public key (公钥加密), as the library would: c0 = u·pk0 + e0 + m/T, c1 = u·pk1 + e1, with u ternary
// and e Gaussian. It differs in where the time goes: the message joins e0 before the one transform of both, draws take constant time, and
// coefficients are reduced once, as they are written.
type encryptor struct {
	p    *params
	pk   [2]lattice.Poly // transformed and in Montgomery's form, as the library keeps it
	ecd  *encoder        // nil: values stand in coefficients
	q    []*transform
	over []uint64 // 1/T modulo each q
	up   []uint64

	m, x, y []uint64
	u, e    []int64
}

func newEncryptor(p *params, pk *rlwe.PublicKey) (*encryptor, error) {
	var ecd *encoder
	if p.Depth == 0 {
		var err error
		if ecd, err = newEncoder(p); err != nil {
			return nil, err
		}
	}
	n := p.n()
	c := &encryptor{p: p, pk: [2]lattice.Poly{pk.Value[0].Q, pk.Value[1].Q}, ecd: ecd, q: p.transforms(),
		m: make([]uint64, n), x: make([]uint64, n), y: make([]uint64, n), u: make([]int64, n), e: make([]int64, 2*n)}
	for _, q := range p.Q {
		inverse := lattice.ModExp(p.T%q, q-2, q)
		c.over, c.up = append(c.over, inverse), append(c.up, shoupOf(inverse, q))
	}
	return c, nil
}

// encrypt appends the ciphertext of v, which is within half of T, in the codec's form.
func (c *encryptor) encrypt(rand io.Reader, v []int64, out []byte) ([]byte, error) {
	s, err := newStream(rand)
	if err != nil {
		return nil, err
	}
	defer c.wipe(s)
	if c.ecd != nil {
		c.ecd.encode(v, c.m)
	} else {
		clear(c.m)
		for i, x := range v {
			c.m[i] = uint64(x) + c.p.T&uint64(x>>63)
		}
	}
	return c.seal(s, c.p.Shared, out), nil
}

// coefficients appends the ciphertext of a polynomial with coefficients m below T, modulo the first so many moduli.
func (c *encryptor) coefficients(rand io.Reader, m []uint64, moduli int, out []byte) ([]byte, error) {
	s, err := newStream(rand)
	if err != nil {
		return nil, err
	}
	defer c.wipe(s)
	copy(c.m, m)
	return c.seal(s, moduli, out), nil
}

// seal appends the ciphertext of what stands in m.
func (c *encryptor) seal(s *stream, moduli int, out []byte) []byte {
	n := c.p.n()
	s.ternary(c.u)
	s.gauss(c.e)
	at, half := len(out), word*n*moduli
	out = append(out, make([]byte, 2*half)...)
	for j, f := range c.q[:moduli] {
		s := c.p.rlwe.RingQ().SubRings[j]
		q, red, over, up := f.q, s.MRedConstant, c.over[j], c.up[j]
		f.small(c.y, c.u)
		f.forward(c.y, 1)
		for i, m := range c.m {
			e := c.e[i]
			c.x[i] = times(m, over, up, q) + uint64(e) + q&uint64(e>>63) // below 4q
		}
		bound := uint64(4)
		for d := range 2 {
			f.forward(c.x, bound)
			to := out[at+d*half+j*word*n:][:word*n]
			k := c.pk[d].Coeffs[j][:n]
			for i, x := range c.x[:n] {
				r := f.half(x) + lattice.MRed(c.y[i], k[i], q, red)
				binary.LittleEndian.PutUint64(to[word*i:], lattice.CRed(lattice.CRed(r, 2*q), q))
			}
			f.small(c.x, c.e[n:])
			bound = 1
		}
	}
	return out
}

// wipe clears the message and what opens the ciphertext.
func (c *encryptor) wipe(s *stream) {
	s.wipe()
	clear(c.m)
	clear(c.x)
	clear(c.y)
	clear(c.u)
	clear(c.e)
}
