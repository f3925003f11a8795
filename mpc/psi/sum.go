package psi

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/opdomain/opdomain/attest/sm/group"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	maxSum         = group.MaxLog
	ciphertextSize = 2 * group.PointSize
)

// sumKey (求和密钥) is an ElGamal key of one job: values are encrypted in the exponent, so that ciphertexts add up. Who holds it opens
// sums, and single values too: it is the sender's, who brought them.
type sumKey struct {
	x   *group.Scalar
	pub group.Point
}

func newSumKey(m *masked) (*sumKey, error) {
	draw, err := m.secret.stream(&m.digest, m.side, "sum key", 0)
	if err != nil {
		return nil, err
	}
	x, err := group.NewScalar(draw)
	if err != nil {
		return nil, err
	}
	return &sumKey{x: x, pub: x.Base()}, nil
}

// Format keeps the key out of every verb.
func (sumKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sum key(redacted)") }

// encrypt appends the ciphertexts of a batch, all measures of a place together. Padding has zeros: nothing tells it apart.
func (s *sumKey) encrypt(out []byte, m *masked, k, from, to int) ([]byte, error) {
	draw, err := m.secret.stream(&m.digest, m.side, "sum", uint64(k))
	if err != nil {
		return nil, err
	}
	for _, r := range m.order[from:to] {
		for _, column := range m.values {
			v := uint64(0)
			if r&padding == 0 {
				v = column[r]
			}
			if out, err = seal(out, &s.pub, nil, nil, v, draw); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// seal appends (a + r·G, b + r·pub + v·G) for a fresh r; a and b are nil for a new ciphertext. One in 2^256 draws gives the identity,
// which has no encoding, and is drawn again.
func seal(out []byte, pub *group.Point, a, b *group.Sum, v uint64, rand io.Reader) ([]byte, error) {
	for range 2 {
		r, err := group.NewScalar(rand)
		if err != nil {
			return nil, err
		}
		c1, c2 := group.NewSum(), group.NewSum()
		if a != nil {
			*c1, *c2 = *a, *b
		}
		rg, rp := r.Base(), r.Mult(pub)
		c1.Add(&rg)
		c2.Add(&rp)
		c2.AddMultiple(v)
		p, ok := c1.Point()
		q, too := c2.Point()
		if ok && too {
			return q.Append(p.Append(out)), nil
		}
	}
	return nil, &sandbox.Error{Op: "psi: sum", Kind: sandbox.Unavailable, Object: "randomness", Detail: "two draws in a row gave the identity"}
}

// parseCiphertext reads both points.
func parseCiphertext(b []byte) (c1, c2 group.Point, err error) {
	if c1, err = group.ParsePoint(b[:group.PointSize]); err != nil {
		return
	}
	c2, err = group.ParsePoint(b[group.PointSize:ciphertextSize])
	return
}

// open decrypts sums.
func (s *sumKey) open(b []byte, measures int, bound uint64) ([]uint64, error) {
	l, err := group.NewLog(bound)
	if err != nil {
		return nil, err
	}
	sums := make([]uint64, measures)
	for i := range sums {
		c1, c2, err := parseCiphertext(b[i*ciphertextSize : (i+1)*ciphertextSize])
		if err != nil {
			return nil, Receiver.broke(RulePoint, err)
		}
		p := s.x.Mult(&c1)
		v := group.NewSum()
		v.Add(&c2)
		v.Sub(&p)
		if sums[i], err = l.Find(v); err != nil {
			return nil, Receiver.broke(RuleMessage, err)
		}
	}
	return sums, nil
}

// total adds up the ciphertexts of the places that matched and keeps them, rerandomised, until the verdict.
func (j *job) total(matched []uint64) error {
	sums := make([][2]*group.Sum, j.Plan.Measures)
	for i := range sums {
		sums[i] = [2]*group.Sum{group.NewSum(), group.NewSum()}
	}
	r, done, err := j.sealed.open()
	if err != nil {
		return err
	}
	defer done()
	b := make([]byte, j.Plan.Measures*ciphertextSize)
	for place := range j.size[1] {
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		if matched[place/64]>>(place%64)&1 == 0 {
			continue
		}
		for i := range sums {
			c1, c2, err := parseCiphertext(b[i*ciphertextSize:])
			if err != nil {
				return Sender.broke(RulePoint, err)
			}
			sums[i][0].Add(&c1)
			sums[i][1].Add(&c2)
		}
	}
	draw, err := j.Secret.stream(&j.m.digest, j.Side, "sum", 0)
	if err != nil {
		return err
	}
	for _, s := range sums {
		if j.totals, err = seal(j.totals, &j.pub, s[0], s[1], 0, draw); err != nil {
			return err
		}
	}
	return nil
}

// addUp sends the cardinality and the sums.
func (j *job) addUp() error {
	return j.send(tagSums, append(binary.BigEndian.AppendUint64(nil, uint64(j.result.Cardinality)), j.totals...))
}

// openSums takes them.
func (j *job) openSums() error {
	b := make([]byte, 8+j.Plan.Measures*ciphertextSize)
	if err := j.post(tagSums, b)(); err != nil {
		return err
	}
	n := binary.BigEndian.Uint64(b)
	if n > uint64(min(j.size[0], j.m.rows)) || n > uint64(j.size[1]) || n < uint64(j.Plan.Threshold) {
		return Receiver.broke(RuleMessage, nil)
	}
	sums, err := j.m.sum.open(b[8:], j.Plan.Measures, j.Plan.MaxValue*max(n, 1))
	if err != nil {
		return err
	}
	j.result.Cardinality, j.result.Sums = int(n), sums
	return nil
}
