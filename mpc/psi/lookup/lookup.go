// Package lookup answers whether one element is in a set, without the holder learning the element or the asker the set (不经意单条查询):
// an oblivious pseudo-random function in its verifiable mode, RFC 9497, of cloudflare/circl. It is for single questions; whole sets go
// through package psi.
//
// The holder evaluates the function on its set once and gives the asker the Table of results, cut to 16 bytes, padded to a bucket and
// sorted. To look an element up, the asker blinds it, the holder evaluates it and proves that the key is the table's, the asker finds
// the result in the table or not. The asker learns the bucket and one bit a lookup; the holder learns that there was one.
//
// The groups are P-256 with SHA-256 and ristretto255 with SHA-512, stated here because they are no SM algorithms: RFC 9497 has
// no suite over SM2. Small domains can be searched one lookup at a time, so lookups are reserved in a psi.Ledger, in durable blocks,
// before any is answered; the quota is the protection, and a table's key serves until the table is replaced.
//
// Encodings: an element is 33 bytes (P-256, compressed) or 32 (ristretto255), a reply is an element and a proof of 64 bytes. Errors are
// Invalid for what does not parse, Denied over the quota, Tampered for a proof that does not verify; none carries an element. Randomness
// is passed in, but for the holder's proofs, whose library draws its own.
package lookup

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/sandbox"
)

// Suite (密码套件) names group and hash as RFC 9497 does.
type Suite string

// The suites.
const (
	P256         Suite = "P256-SHA256"
	Ristretto255 Suite = "ristretto255-SHA512"
)

const (
	tagSize   = 16
	proofSize = 64
	// Block is how many lookups are reserved at a time; what a holder that stops has not used of one is lost.
	Block = 16
)

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "lookup", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

func (s Suite) suite() (oprf.Suite, error) {
	switch s {
	case P256:
		return oprf.SuiteP256, nil
	case Ristretto255:
		return oprf.SuiteRistretto255, nil
	}
	return nil, invalid("suite", "P256-SHA256 or ristretto255-SHA512")
}

func elementSize(s oprf.Suite) int { return int(s.Group().Params().CompressedElementLength) }

// parse reads an element of exactly one form that is not the identity.
func parse(s oprf.Suite, b []byte) (group.Element, error) {
	e := s.Group().NewElement()
	if len(b) != elementSize(s) || e.UnmarshalBinary(b) != nil || e.IsIdentity() {
		return nil, invalid("element", "an element of the group in its compressed encoding, not the identity")
	}
	if again, err := e.MarshalBinaryCompress(); err != nil || !bytes.Equal(again, b) {
		return nil, invalid("element", "an element has one encoding")
	}
	return e, nil
}

// Table (查询表) is what an asker looks results up in.
type Table struct {
	Suite  Suite
	Public []byte // the key that replies prove
	Tags   []byte // tagSize each, ascending
}

func tag(public, output []byte) (t [tagSize]byte) {
	h := sm.Sum(sm.Frame([]byte("opdomain/psi/lookup/v1"), public, output))
	return [tagSize]byte(h[:])
}

// Digest gives SM3 over the table, for the evidence of what was handed out.
func (t *Table) Digest() [sm.Size]byte { return sm.Sum(sm.Frame([]byte(t.Suite), t.Public, t.Tags)) }

// Holder (持有方) has the set and answers. Safe for concurrent use.
type Holder struct {
	name   Suite
	suite  oprf.Suite
	server oprf.VerifiableServer
	public []byte
	ledger *psi.Ledger

	mu   sync.Mutex
	left map[sandbox.PartyID]int
}

// NewHolder draws a key for one table.
func NewHolder(rand io.Reader, name Suite, ledger *psi.Ledger) (*Holder, error) {
	s, err := name.suite()
	if err != nil {
		return nil, err
	}
	if ledger == nil {
		return nil, invalid("ledger", "lookups are reserved in one")
	}
	// The library panics where randomness ends; a seed that was read is a function of the reader alone.
	var seed [32]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, &sandbox.Error{Op: "lookup: key", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	key, err := oprf.DeriveKey(s, oprf.VerifiableMode, seed[:], []byte("opdomain/psi/lookup/v1"))
	if err != nil {
		return nil, &sandbox.Error{Op: "lookup: key", Kind: sandbox.Internal, Err: err}
	}
	public, err := key.Public().MarshalBinary()
	if err != nil {
		return nil, &sandbox.Error{Op: "lookup: key", Kind: sandbox.Internal, Err: err}
	}
	return &Holder{name: name, suite: s, server: oprf.NewVerifiableServer(s, key), public: public, ledger: ledger, left: map[sandbox.PartyID]int{}}, nil
}

// Publish makes the table of a set, on all processors, padded to size, a bucket that was agreed on; 0 for the least that holds the set.
// Padding is drawn from rand. TooLarge where the set has more elements.
func (h *Holder) Publish(rand io.Reader, set psi.Set, size int) (*Table, error) {
	n := set.Rows()
	if n > psi.MaxSize {
		return nil, &sandbox.Error{Op: "lookup: publish", Kind: sandbox.TooLarge, Object: "set", Detail: "a set has at most 100,000,000 elements"}
	}
	tags := make([][tagSize]byte, n)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < n; i += len(errs) {
				e, err := set.Element(i)
				if err == nil {
					var out []byte
					if out, err = h.server.FullEvaluate(e); err == nil {
						tags[i] = tag(h.public, out)
						continue
					}
				}
				errs[w] = err
				return
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	order := func(a, b [tagSize]byte) int { return bytes.Compare(a[:], b[:]) }
	slices.SortFunc(tags, order)
	tags = slices.Compact(tags)
	if size == 0 {
		size = psi.Bucket(len(tags))
	}
	if len(tags) > size {
		return nil, &sandbox.Error{Op: "lookup: publish", Kind: sandbox.TooLarge, Object: "set", Detail: "the set has at most as many elements as its bucket"}
	}
	for range size - len(tags) {
		var t [tagSize]byte
		if _, err := io.ReadFull(rand, t[:]); err != nil {
			return nil, &sandbox.Error{Op: "lookup: publish", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
		}
		tags = append(tags, t)
	}
	slices.SortFunc(tags, order)
	t := &Table{Suite: h.name, Public: bytes.Clone(h.public), Tags: make([]byte, 0, tagSize*len(tags))}
	for i := range tags {
		t.Tags = append(t.Tags, tags[i][:]...)
	}
	return t, nil
}

// Answer evaluates one blinded element for a partner. What does not parse costs nothing; the rest is charged before it is answered.
func (h *Holder) Answer(partner sandbox.PartyID, query []byte, now time.Time) ([]byte, error) {
	e, err := parse(h.suite, query)
	if err != nil {
		return nil, err
	}
	if err := h.charge(partner, now); err != nil {
		return nil, err
	}
	out, err := h.server.Evaluate(&oprf.EvaluationRequest{Elements: []oprf.Blinded{e}})
	if err != nil {
		return nil, &sandbox.Error{Op: "lookup: answer", Kind: sandbox.Internal, Err: err}
	}
	reply, err := out.Elements[0].MarshalBinaryCompress()
	if err == nil {
		var proof []byte
		if proof, err = out.Proof.MarshalBinary(); err == nil {
			return append(reply, proof...), nil
		}
	}
	return nil, &sandbox.Error{Op: "lookup: answer", Kind: sandbox.Internal, Err: err}
}

func (h *Holder) charge(partner sandbox.PartyID, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left[partner] == 0 {
		d, err := h.ledger.Reserve(partner, Block, now)
		if err != nil {
			return err
		}
		if !d.Allow {
			return &sandbox.Error{Op: "lookup: answer", Kind: sandbox.Denied, Object: string(partner), Detail: d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
		}
		h.left[partner] = Block
	}
	h.left[partner]--
	return nil
}

// Format keeps the key out of every verb.
func (*Holder) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lookup holder(redacted)") }

// Asker (查询方) has a table and asks.
type Asker struct {
	table  *Table
	suite  oprf.Suite
	client oprf.VerifiableClient
}

// NewAsker checks a table: its key parses, its tags ascend.
func NewAsker(t *Table) (*Asker, error) {
	s, err := t.Suite.suite()
	if err != nil {
		return nil, err
	}
	if _, err := parse(s, t.Public); err != nil {
		return nil, err
	}
	var public oprf.PublicKey
	if err := public.UnmarshalBinary(s, t.Public); err != nil {
		return nil, invalid("table", "a public key of its suite")
	}
	if len(t.Tags)%tagSize != 0 {
		return nil, invalid("table", "tags of 16 bytes")
	}
	for i := tagSize; i < len(t.Tags); i += tagSize {
		if bytes.Compare(t.Tags[i-tagSize:i], t.Tags[i:i+tagSize]) >= 0 {
			return nil, invalid("table", "tags ascend")
		}
	}
	return &Asker{t, s, oprf.NewVerifiableClient(s, &public)}, nil
}

// Question (盲化查询) is one lookup under way. Query goes to the holder; Find takes the reply, once.
type Question struct {
	Query []byte
	a     *Asker
	state *oprf.FinalizeData
}

// Ask blinds an element with a scalar out of rand.
func (a *Asker) Ask(rand io.Reader, element []byte) (*Question, error) {
	if len(element) < 1 || len(element) > psi.MaxElement {
		return nil, invalid("element", "an element has 1 to 1024 bytes")
	}
	// Read here, since the library panics where randomness ends, and with 16 bytes more than the order has.
	var seed [48]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, &sandbox.Error{Op: "lookup: ask", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	blind := a.suite.Group().HashToScalar(seed[:], []byte("opdomain/psi/lookup/v1/blind"))
	if blind.IsZero() {
		return nil, &sandbox.Error{Op: "lookup: ask", Kind: sandbox.Unavailable, Object: "randomness", Detail: "a draw that is no blind"}
	}
	state, req, err := a.client.DeterministicBlind([][]byte{element}, []oprf.Blind{blind})
	if err != nil {
		return nil, &sandbox.Error{Op: "lookup: ask", Kind: sandbox.Internal, Err: err}
	}
	q, err := req.Elements[0].MarshalBinaryCompress()
	if err != nil {
		return nil, &sandbox.Error{Op: "lookup: ask", Kind: sandbox.Internal, Err: err}
	}
	return &Question{q, a, state}, nil
}

// Find says whether the element is in the set.
func (q *Question) Find(reply []byte) (bool, error) {
	n := elementSize(q.a.suite)
	if len(reply) != n+proofSize {
		return false, invalid("reply", "an element and a proof")
	}
	e, err := parse(q.a.suite, reply[:n])
	if err != nil {
		return false, err
	}
	var proof dleq.Proof
	if err := proof.UnmarshalBinary(q.a.suite.Group(), reply[n:]); err != nil {
		return false, invalid("reply", "an element and a proof")
	}
	out, err := q.a.client.Finalize(q.state, &oprf.Evaluation{Elements: []oprf.Evaluated{e}, Proof: &proof})
	if err != nil {
		return false, &sandbox.Error{Op: "lookup: find", Kind: sandbox.Tampered, Object: "reply", Detail: "the proof does not show the key of the table"}
	}
	t := tag(q.a.table.Public, out[0])
	tags := q.a.table.Tags
	low, high := 0, len(tags)/tagSize
	for low < high {
		mid := (low + high) / 2
		if bytes.Compare(tags[mid*tagSize:(mid+1)*tagSize], t[:]) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low < len(tags)/tagSize && subtle.ConstantTimeCompare(tags[low*tagSize:(low+1)*tagSize], t[:]) == 1, nil
}

// Format keeps the element out of every verb.
func (*Question) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lookup question(redacted)") }
