package mpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// Contexts of the parties' statements.
const (
	ContextTranscript = attest.ContextSharesTranscript
	ContextConfirm    = attest.ContextSharesConfirm
	ContextReceipt    = attest.ContextSharesReceipt
)

// blockSize is what a statement is padded to, so that a message's length says nothing.
const blockSize = 8 << 10

// Tags of the session's own messages; the engine's count from 1.
const (
	tagMeet uint32 = 1<<31 + iota
	tagPair
	tagTranscript
	tagConfirm
	tagSalt
	tagReceipt
)

// Config (会话配置) is what a party joins with.
type Config struct {
	Plan      Plan
	Self      sandbox.PartyID
	Key       *sm.SigningKey
	Approvals []attest.Statement // this party's own list
	Transport wire.Transport
	Once      Once
	Rand      io.Reader
	Now       func() time.Time
	Clock     func() time.Time // the host's, by which the links' deadline runs; nil: Now
}

// Session (多方会话) is a party's part in one run. One goroutine uses it; Close may be called from any.
type Session struct {
	plan     Plan
	me       int
	key      *sm.SigningKey
	rand     io.Reader
	mesh     *wire.Mesh
	id       [sm.Size]byte
	approved []attest.Statement
	nonces   [][]byte
	engine   *share.Engine
	opener   *share.Opener
	keys     []*sm.VerifyKey
	now      func() time.Time
	revealed bool
	opening  bool
}

// Join takes part in a plan: it decides by the own approvals, records the job, meets the others, and checks that each came with its
// owner's approval. Denied before any link where this party may not; an *wire.Abort for everything after.
func Join(ctx context.Context, c Config) (*Session, error) {
	if c.Key == nil || c.Transport == nil || c.Once == nil || c.Rand == nil || c.Now == nil {
		return nil, &sandbox.Error{Op: "mpc: join", Kind: sandbox.Invalid, Object: "configuration", Detail: "key, transport, record of jobs, randomness and clock"}
	}
	now := c.Now()
	d, own := Decide(c.Plan, c.Self, c.Approvals, now)
	if !d.Allow {
		return nil, &sandbox.Error{Op: "mpc: join", Kind: sandbox.Denied, Object: string(c.Plan.Job), Detail: d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
	}
	peers, err := c.Plan.peers()
	if err != nil {
		return nil, err
	}
	s := &Session{plan: c.Plan, me: c.Plan.index(c.Self), key: c.Key, rand: c.Rand, now: c.Now}
	for _, p := range peers {
		s.keys = append(s.keys, p.Key)
	}
	if err := c.Once.Take(c.Plan.Job, c.Plan.Digest()); err != nil {
		return nil, err
	}
	clock := now
	if c.Clock != nil {
		clock = c.Clock()
	}
	deadline := clock.Add(time.Duration(c.Plan.Seconds) * time.Second)
	s.mesh, err = wire.Open(ctx, c.Transport, wire.Config{Self: s.me, Peers: peers, Key: c.Key, Job: c.Plan.Digest(), Rand: c.Rand, Deadline: deadline,
		Payloads: c.Plan.Adversary == share.MaliciousAbort})
	if err != nil {
		return nil, err
	}
	if err := s.meet(own, c.Now); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// meet makes the session: nonces and approvals, its id, link keys, keys of the pairs, the engine.
func (s *Session) meet(own attest.Statement, now func() time.Time) error {
	nonce := make([]byte, 32)
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return s.abort("randomness is there")
	}
	text, err := json.Marshal(own)
	if err != nil {
		return s.abort("an approval is written")
	}
	all, err := s.exchange(tagMeet, append(nonce, text...))
	if err != nil {
		return err
	}
	var keys, approvals [][]byte
	for i, b := range all {
		var a attest.Statement
		if len(b) < 32 || json.Unmarshal(b[32:], &a) != nil || !s.plan.approved(a, i, now()) {
			return s.mesh.Abort(i, "each party comes with its owner's approval")
		}
		if text, err := json.Marshal(a); err != nil || !bytes.Equal(text, b[32:]) {
			return s.mesh.Abort(i, "an approval comes in its one encoding")
		}
		s.approved, s.nonces = append(s.approved, a), append(s.nonces, b[:32])
		keys, approvals = append(keys, s.keys[i].Bytes()), append(approvals, b[32:])
	}
	s.id = attest.SharesSession(s.plan.Encode(), keys, s.nonces, approvals)
	// Whoever was told other nonces or approvals has another id and other keys from here on.
	if err := s.mesh.Bind(s.id); err != nil {
		return err
	}
	secret := make([]byte, 64)
	if _, err := io.ReadFull(s.rand, secret); err != nil {
		return s.abort("randomness is there")
	}
	before, after := (s.me+2)%Parties, (s.me+1)%Parties
	var fromBefore, fromAfter [32]byte
	w1, w2 := s.mesh.Post(before, tagPair, fromBefore[:]), s.mesh.Post(after, tagPair, fromAfter[:])
	if err := s.mesh.Send(before, tagPair, secret[:32]); err != nil {
		return err
	}
	if err := s.mesh.Send(after, tagPair, secret[32:]); err != nil {
		return err
	}
	if err := w1(); err != nil {
		return err
	}
	if err := w2(); err != nil {
		return err
	}
	// Both draw half of a pair's key: the earlier party of the pair first.
	previous, next := sm.Sum(fromBefore[:], secret[:32]), sm.Sum(secret[32:], fromAfter[:])
	s.engine, s.opener, err = share.New(share.Config{Link: s.mesh, Adversary: s.plan.Adversary, Generator: s.plan.Generator, Session: s.id, Previous: previous[:], Next: next[:]})
	if err != nil {
		return s.abort("an engine for the plan")
	}
	return nil
}

func (s *Session) abort(rule string) error { return s.mesh.Abort(wire.Nobody, rule) }

// exchange sends the same padded block to all others and gives everybody's, the own included, by party.
func (s *Session) exchange(tag uint32, b []byte) ([][]byte, error) {
	if len(b) > blockSize-4 {
		return nil, s.abort("a statement fits its block")
	}
	block := make([]byte, blockSize)
	binary.BigEndian.PutUint32(block, uint32(len(b)))
	copy(block[4:], b)
	got := make([][]byte, Parties)
	waits := make([]func() error, Parties)
	for p := range Parties {
		if p != s.me {
			got[p] = make([]byte, blockSize)
			waits[p] = s.mesh.Post(p, tag, got[p])
		}
	}
	for p := range Parties {
		if p != s.me {
			if err := s.mesh.Send(p, tag, block); err != nil {
				return nil, err
			}
		}
	}
	got[s.me] = block
	for p := range Parties {
		if p != s.me {
			if err := waits[p](); err != nil {
				return nil, err
			}
		}
		n := binary.BigEndian.Uint32(got[p])
		if n > blockSize-4 || slices.ContainsFunc(got[p][4+n:], func(x byte) bool { return x != 0 }) {
			return nil, s.mesh.Abort(p, "a block holds one statement")
		}
		got[p] = got[p][4 : 4+n]
	}
	return got, nil
}

// statements exchanges one signed statement of a kind and opens the others'.
func statements[T any](s *Session, tag uint32, context string, body T) ([]attest.Statement, []T, error) {
	mine, err := attest.Sign(s.rand, s.key, sandbox.IdentityID(s.plan.Parties[s.me].ID), context, body)
	if err != nil {
		return nil, nil, s.abort("a statement is signed")
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, nil, s.abort("a statement is written")
	}
	all, err := s.exchange(tag, text)
	if err != nil {
		return nil, nil, err
	}
	out, bodies := make([]attest.Statement, Parties), make([]T, Parties)
	for p, b := range all {
		if json.Unmarshal(b, &out[p]) != nil || string(out[p].Signer) != string(s.plan.Parties[p].ID) || out[p].Open(s.keys[p], context, &bodies[p]) != nil {
			return nil, nil, s.mesh.Abort(p, "each party signs its statement")
		}
	}
	return out, bodies, nil
}

// ID gives the session's id.
func (s *Session) ID() [sm.Size]byte { return s.id }

// Place gives this party's place in the plan: what Input calls an owner.
func (s *Session) Place() int { return s.me }

// Engine gives the operators. It cannot open.
func (s *Session) Engine() *share.Engine { return s.engine }

// Opening says whether this party came to confirm that outputs open: from there on they may be with others though its own run fails.
func (s *Session) Opening() bool { return s.opening }

// Counters gives what this party sent and received.
func (s *Session) Counters() wire.Counters { return s.mesh.Counters() }

// Reveal ends the computation: it checks all proofs, that only the plan's operators ran, and that all parties saw the same; then it opens
// the plan's outputs, which columns holds by name; the result has those that open to this party. It is called once; every error ends the session without outputs.
func (s *Session) Reveal(columns map[string]share.Vec) (*Result, error) {
	if s.revealed {
		return nil, &sandbox.Error{Op: "mpc: reveal", Kind: sandbox.Conflict, Object: string(s.plan.Job), Detail: "outputs open once"}
	}
	s.revealed = true
	for _, o := range s.plan.Outputs {
		if c, ok := columns[o.Name]; !ok || c.Len() != o.Rows {
			return nil, s.abort("every output of the plan, at its length")
		}
	}
	if len(columns) != len(s.plan.Outputs) {
		return nil, s.abort("no output beyond the plan")
	}
	columns, masks, err := s.mask(columns)
	if err != nil {
		return nil, err
	}
	s.engine.Verify()
	if s.engine.Err() != nil {
		return nil, s.stopped()
	}
	for _, step := range s.engine.Trace() {
		if slices.ContainsFunc(share.Leaks(), func(l share.Leakage) bool { return l.Op == step.Op }) && step.Op != share.OpVerify &&
			!slices.Contains(s.plan.Operators, step.Op) {
			return nil, s.abort("only operators of the plan ran")
		}
	}
	for i, a := range s.approved { // outputs that opened past an owner's term would have no evidence
		if !s.plan.approved(a, i, s.now()) {
			return nil, s.mesh.Abort(i, "each owner's approval holds when outputs open")
		}
	}
	cert := Certificate{Version: 1, Plan: s.plan, Session: hex.EncodeToString(s.id[:]), Approvals: s.approved}
	for _, n := range s.nonces {
		cert.Nonces = append(cert.Nonces, hex.EncodeToString(n))
	}
	var all []Transcript
	if cert.Transcripts, all, err = statements(s, tagTranscript, ContextTranscript, s.transcript()); err != nil {
		return nil, err
	}
	if p, rule := attest.SharesAgree(cert.Session, all); rule != "" {
		return nil, s.mesh.Abort(p, rule)
	}
	seen := Confirmation{Session: cert.Session, Transcripts: attest.SharesDigest(cert.Transcripts)}
	var confirmed []Confirmation
	s.opening = true
	if cert.Confirmations, confirmed, err = statements(s, tagConfirm, ContextConfirm, seen); err != nil {
		return nil, err
	}
	for p, c := range confirmed {
		if c != seen {
			return nil, s.mesh.Abort(p, "all parties saw the same transcripts")
		}
	}
	res := &Result{Outputs: map[string][]uint64{}, Adversary: s.plan.Adversary, Collusion: s.plan.Collusion(), Leakage: s.plan.Leakage()}
	var flat []byte
	for _, o := range s.plan.Outputs {
		v, err := s.opener.Open(columns[o.Name])
		if err != nil {
			return nil, s.stopped()
		}
		for _, x := range v { // masked where they are masked: equal at all
			flat = binary.BigEndian.AppendUint64(flat, x)
		}
		switch r, mine := masks[o.Name]; {
		case mine:
			for i := range v {
				v[i] -= r[i]
			}
			res.Outputs[o.Name] = v
		case o.Recipient == "":
			res.Outputs[o.Name] = v
		}
	}
	if res.Salt, err = s.salt(); err != nil {
		return nil, err
	}
	mac := sm.HMAC(res.Salt, flat)
	done := Receipt{Session: cert.Session, Outputs: hex.EncodeToString(mac[:])}
	var receipts []Receipt
	if cert.Receipts, receipts, err = statements(s, tagReceipt, ContextReceipt, done); err != nil {
		return nil, err
	}
	for p, r := range receipts {
		if r != done {
			return nil, s.mesh.Abort(p, "all parties opened the same outputs")
		}
	}
	res.Certificate = cert
	return res, nil
}

// mask adds to each output that opens to one party that party's uniform mask, modulo 2^64, which it puts in as shares like any input. A
// recipient that puts in another mask than it takes off harms its own outputs only.
func (s *Session) mask(columns map[string]share.Vec) (out map[string]share.Vec, own map[string][]uint64, err error) {
	out, own = map[string]share.Vec{}, map[string][]uint64{}
	for _, o := range s.plan.Outputs {
		if out[o.Name] = columns[o.Name]; o.Recipient == "" {
			continue
		}
		to := s.plan.index(o.Recipient)
		var r []uint64
		if to == s.me {
			b := make([]byte, 8*o.Rows)
			if _, err := io.ReadFull(s.rand, b); err != nil {
				return nil, nil, s.abort("randomness is there")
			}
			r = make([]uint64, o.Rows)
			for i := range r {
				r[i] = binary.BigEndian.Uint64(b[8*i:])
			}
			own[o.Name] = append([]uint64(nil), r...)
		}
		out[o.Name] = s.engine.Add(columns[o.Name], s.engine.Input(to, r, o.Rows))
	}
	return out, own, nil
}

// stopped gives the abort that the engine's failure is, or makes one of it.
func (s *Session) stopped() error {
	if err := s.mesh.Err(); err != nil {
		return err
	}
	return s.abort("the computation runs to its end")
}

func (s *Session) transcript() Transcript {
	trace := s.engine.TraceDigest()
	t := Transcript{Session: hex.EncodeToString(s.id[:]), Trace: hex.EncodeToString(trace[:]), Place: s.me}
	for p := range Parties {
		var l Chain
		if p != s.me {
			out, in := s.mesh.Chains(p)
			l = Chain{Out: hex.EncodeToString(out[:]), In: hex.EncodeToString(in[:])}
		}
		t.Links = append(t.Links, l)
	}
	return t
}

// salt gives 32 random bytes of all parties, so that the receipts' digest of a small result tells nobody else the result.
func (s *Session) salt() ([]byte, error) {
	mine := make([]byte, 32)
	if _, err := io.ReadFull(s.rand, mine); err != nil {
		return nil, s.abort("randomness is there")
	}
	all, err := s.exchange(tagSalt, mine)
	if err != nil {
		return nil, err
	}
	d := sm.Sum(sm.Frame(all...))
	return d[:], nil
}

// Close ends the session and waits for its goroutines.
func (s *Session) Close() error { return s.mesh.Close() }
