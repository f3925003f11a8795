package psi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/group"
	"github.com/opdomain/opdomain/sandbox"
)

// Set (求交集合) is a column of elements as Arrow keeps strings: element i is Data[Offsets[i]:Offsets[i+1]], 1 to MaxElement bytes,
// in the form both sides agreed on. Nulls are left out by the caller. An element that comes more than once counts once, at its first row.
type Set struct {
	Offsets []int32
	Data    []byte
}

// Rows gives the number of rows.
func (s Set) Rows() int { return max(len(s.Offsets)-1, 0) }

func (s Set) row(i uint32) []byte { return s.Data[s.Offsets[i]:s.Offsets[i+1]] }

// String keeps the elements out of logs.
func (Set) String() string { return "psi set(redacted)" }

// Format keeps them out of every verb.
func (s Set) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// distinct gives the first row of each distinct element, by element. It fails on rows that are none.
func (s Set) distinct() ([]uint32, error) {
	n := s.Rows()
	rows := make([]uint32, n)
	for i := range n {
		if _, err := s.Element(i); err != nil {
			return nil, err
		}
		rows[i] = uint32(i)
	}
	slices.SortFunc(rows, func(a, b uint32) int {
		if c := bytes.Compare(s.row(a), s.row(b)); c != 0 {
			return c
		}
		return int(int64(a) - int64(b))
	})
	return slices.CompactFunc(rows, func(a, b uint32) bool { return bytes.Equal(s.row(a), s.row(b)) }), nil
}

// SecretSize is the length of a job's secret in bytes.
const SecretSize = 32

// Secret (作业密钥) is what all randomness of one side of one job derives from: its key, order, padding and encryption. It serves one
// Run. Bytes is for the agency that certifies or audits, and for nobody else: with it and the traffic one can test guessed elements.
type Secret struct {
	b    [SecretSize]byte
	used atomic.Bool
}

// NewSecret draws one from rand.
func NewSecret(rand io.Reader) (*Secret, error) {
	s := &Secret{}
	if _, err := io.ReadFull(rand, s.b[:]); err != nil {
		return nil, &sandbox.Error{Op: "psi: secret", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return s, nil
}

// ParseSecret reads what Bytes gave. A party that reads one back must not have run it before: two runs under one key let the peer
// compare its answers.
func ParseSecret(b []byte) (*Secret, error) {
	if len(b) != SecretSize {
		return nil, &sandbox.Error{Op: "psi: secret", Kind: sandbox.Invalid, Detail: "a secret has 32 bytes"}
	}
	return &Secret{b: [SecretSize]byte(b)}, nil
}

// Bytes gives the secret, to be sealed to the agency.
func (s *Secret) Bytes() []byte { return bytes.Clone(s.b[:]) }

// String keeps the secret out of logs.
func (*Secret) String() string { return "psi secret(redacted)" }

// Format keeps it out of every verb.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// stream is the randomness for one purpose in one job of one side.
func (s *Secret) stream(plan *[sm.Size]byte, side Side, purpose string, number uint64) (*sm.Keystream, error) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], number)
	k, err := sm.HKDF(s.b[:], plan[:], sm.Frame([]byte("opdomain/psi/secret/v1"), []byte(side.String()), []byte(purpose), n[:]), sm.KeySize)
	if err != nil {
		return nil, err
	}
	return sm.NewKeystream(k)
}

// padding marks a place in the order that no row stands at.
const padding = 1 << 31

// masked is one side's set under one secret: the points that go out, batch by batch.
type masked struct {
	plan   *Plan
	digest [sm.Size]byte
	side   Side
	set    Set
	values [][]uint64
	secret *Secret
	key    *group.Scalar
	pad    [sm.KeySize]byte
	order  []uint32 // by place: a row, or padding
	rows   int      // distinct
	sum    *sumKey  // sender of a join-and-sum
}

// newMasked checks the set against the plan and draws key and order.
func newMasked(plan *Plan, side Side, set Set, values [][]uint64, secret *Secret) (*masked, error) {
	if err := plan.Check(); err != nil {
		return nil, err
	}
	m := &masked{plan: plan, digest: plan.Digest(), side: side, set: set, values: values, secret: secret}
	rows, err := set.distinct()
	if err != nil {
		return nil, err
	}
	size := plan.Sizes[side]
	if len(rows) > size {
		return nil, &sandbox.Error{Op: "psi: set", Kind: sandbox.TooLarge, Object: side.String(), Detail: "the set has more elements than its bucket on the plan"}
	}
	if err := m.checkValues(len(rows)); err != nil {
		return nil, err
	}
	draw, err := secret.stream(&m.digest, side, "key", 0)
	if err != nil {
		return nil, err
	}
	if m.key, err = group.NewScalar(draw); err != nil {
		return nil, err
	}
	if draw, err = secret.stream(&m.digest, side, "padding", 0); err != nil {
		return nil, err
	}
	_, _ = draw.Read(m.pad[:])
	m.rows = len(rows)
	m.order = slices.Grow(rows, size-len(rows))
	for i := len(rows); i < size; i++ {
		m.order = append(m.order, padding|uint32(i))
	}
	if draw, err = secret.stream(&m.digest, side, "order", 0); err != nil {
		return nil, err
	}
	shuffle(m.order, draw)
	if plan.Output == JoinSum && side == Sender {
		if m.sum, err = newSumKey(m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *masked) checkValues(distinct int) error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "psi: set", Kind: sandbox.Invalid, Object: "values", Detail: rule}
	}
	if m.plan.Output != JoinSum || m.side != Sender {
		if m.values != nil {
			return bad("only the sender of a join-and-sum brings values")
		}
		return nil
	}
	if len(m.values) != m.plan.Measures {
		return bad("one column for each measure of the plan")
	}
	if distinct != m.set.Rows() {
		return bad("an element that has values comes once: add them up before")
	}
	for _, c := range m.values {
		if len(c) != m.set.Rows() {
			return bad("one value for each row")
		}
		for _, v := range c {
			if v > m.plan.MaxValue {
				return bad("no value over the largest of the plan")
			}
		}
	}
	return nil
}

// shuffle is Fisher and Yates', each of the orders with equal probability.
func shuffle(a []uint32, rand io.Reader) {
	d := draws{r: rand}
	for i := len(a) - 1; i > 0; i-- {
		j := d.below(uint64(i + 1))
		a[i], a[j] = a[j], a[i]
	}
}

// draws are uniform numbers out of a stream that does not end.
type draws struct {
	r    io.Reader
	buf  [4096]byte
	left []byte
}

func (d *draws) below(n uint64) uint64 {
	for {
		if len(d.left) < 8 {
			_, _ = io.ReadFull(d.r, d.buf[:])
			d.left = d.buf[:]
		}
		x := binary.LittleEndian.Uint64(d.left)
		d.left = d.left[8:]
		// Lemire: the high half of x·n is uniform once the low half is not among the first 2^64 mod n.
		high, low := bits.Mul64(x, n)
		if low >= n || low >= -n%n {
			return high
		}
	}
}

// Element gives the element of a row; Invalid where the row is none.
func (s Set) Element(row int) ([]byte, error) {
	if row >= 0 && row < s.Rows() {
		if from, to := s.Offsets[row], s.Offsets[row+1]; from >= 0 && from < to && int(to) <= len(s.Data) && to-from <= MaxElement {
			return s.row(uint32(row)), nil
		}
	}
	return nil, &sandbox.Error{Op: "psi: set", Kind: sandbox.Invalid, Object: fmt.Sprintf("row %d", row), Detail: "an element has 1 to 1024 bytes"}
}
