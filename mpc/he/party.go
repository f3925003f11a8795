package he

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Abort (中止) is how an epoch ends without a result. It is the party's own evidence: stage, the member at fault where one is known, the rule
// that was broken and the digest of the message that broke it. It holds no value of data. After it nothing of the epoch is used again: a
// retry is the next epoch, with new keys and fresh ciphertexts (eprint 2024/194, 2025/409, 2026/031: a second share for the same
// ciphertext is an attack).
type Abort struct {
	Plan    [sm.Size]byte
	Epoch   uint64
	Stage   Kind
	Member  sandbox.PartyID // empty: nobody in particular
	Message [sm.Size]byte   // zero: none arrived
	Err     error
}

func (a *Abort) Error() string {
	who := ""
	if a.Member != "" {
		who = " " + string(a.Member)
	}
	return fmt.Sprintf("he: epoch %d aborted at %s%s: %v", a.Epoch, a.Stage, who, a.Err)
}

func (a *Abort) Unwrap() error { return a.Err }

// Config (参与方配置) is what a party brings along.
type Config struct {
	Plan   *Plan
	Engine Engine
	Sign   *sm.SigningKey
	Open   *sm.DecryptKey // what deals are sealed to
	Ledger *Ledger
	Rand   io.Reader // of signatures and seals; the engine has its own
}

// party is what a unit and the gate have in common: a member of one epoch.
type party struct {
	Config
	digest [sm.Size]byte
	budget Budget
	set    Set
	self   int // len(Units): the gate
	stage  Kind
	key    []byte   // handle
	public []byte   // handle of the collective public key
	share  [][]byte // of the public key; with products, and first of the relinearisation key
	first  [][]byte // everybody's first shares of the relinearisation key
	commit [][]byte
	ended  error
}

// newParty checks the plan and begins the epoch, durably.
func newParty(c Config, self int) (*party, error) {
	if c.Plan == nil || c.Engine == nil || c.Sign == nil || c.Open == nil || c.Ledger == nil || c.Rand == nil {
		return nil, fail(sandbox.Invalid, "party", "has a plan, an engine, keys, a ledger and randomness")
	}
	b, why := c.Plan.Check()
	if len(why) > 0 {
		return nil, &Refused{why}
	}
	if self < 0 || self > len(c.Plan.Units) {
		return nil, fail(sandbox.NotFound, "party", "is one of the plan")
	}
	me := c.Plan.Gate
	if self < len(c.Plan.Units) {
		me = c.Plan.Units[self]
	}
	if !bytes.Equal(me.Verify.Bytes(), c.Sign.Public().Bytes()) || !bytes.Equal(me.Seal.Bytes(), c.Open.Public().Bytes()) {
		return nil, fail(sandbox.Denied, "party", "has the keys that the plan names")
	}
	p := &party{Config: c, digest: c.Plan.Digest(), budget: b, self: self}
	p.set, _ = setNamed(c.Plan.Set)
	if err := c.Ledger.begin(c.Plan.Run, c.Plan.Epoch); err != nil {
		return nil, err
	}
	return p, nil
}

// Refused (计划被拒) is a plan's refusal where an error is due.
type Refused struct{ Reasons []sandbox.Reason }

func (r *Refused) Error() string {
	return "he: the plan is refused: " + r.Reasons[0].Code + ": " + r.Reasons[0].Rule
}

// Is makes errors.Is match Invalid.
func (r *Refused) Is(target error) bool { return target == error(sandbox.Invalid) }

// step guards the order of an epoch: each once, after the one before.
func (p *party) step(from, to Kind) error {
	if p.ended != nil {
		return &sandbox.Error{Op: "he", Kind: sandbox.Conflict, Object: to.String(), Detail: "the epoch has not ended", Hint: "plan the next epoch with fresh ciphertexts"}
	}
	if p.stage != from {
		return p.abort(to, "", nil, fail(sandbox.Conflict, to.String(), "each step is taken once and in order"))
	}
	p.stage = to
	return nil
}

// abort ends the epoch here: keys are erased, every later step is refused.
func (p *party) abort(stage Kind, who sandbox.PartyID, m *Message, err error) error {
	a := &Abort{Plan: p.digest, Epoch: p.Plan.Epoch, Stage: stage, Member: who, Err: err}
	if m != nil {
		a.Message = m.digest()
	}
	p.end(a)
	return a
}

func (p *party) end(err error) {
	if p.ended == nil {
		p.ended = err
	}
	for _, h := range [][]byte{p.key, p.public} {
		if h != nil {
			_, _ = p.Engine.Do(context.Background(), OpErase, h)
		}
	}
	p.key, p.public = nil, nil
}

// Abort ends the epoch because another party is silent past its deadline, by the caller's clock. It gives the evidence.
func (p *party) Abort(stage Kind, silent sandbox.PartyID) error {
	if p.ended != nil {
		return p.ended
	}
	return p.abort(stage, silent, nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: stage.String(), Detail: "arrives before its deadline"})
}

// Close erases what the epoch left in the engine.
func (p *party) Close() {
	p.end(fail(sandbox.Expired, "epoch", "is open"))
}

func (p *party) member(i int) sandbox.PartyID {
	if i == len(p.Plan.Units) {
		return p.Plan.Gate.ID
	}
	if i < 0 || i > len(p.Plan.Units) {
		return ""
	}
	return p.Plan.Units[i].ID
}

// all wants one message of a kind from each of the first n parties, in any order, with so many parts, and gives them in order.
func (p *party) all(kind Kind, n, parts int, in []*Message) ([]*Message, error) {
	return p.each(kind, n, func(int) int { return parts }, in)
}

// each is all where numbers of parts differ.
func (p *party) each(kind Kind, n int, parts func(from int) int, in []*Message) ([]*Message, error) {
	out := make([]*Message, n)
	for _, m := range in {
		if err := m.check(p.Plan, p.digest, kind); err != nil {
			who := sandbox.PartyID("")
			if m == nil {
				return nil, p.abort(kind, who, nil, err)
			}
			return nil, p.abort(kind, who, m, err) // nobody's fault for sure: it was not proven to be anybody's
		}
		if m.From >= n || out[m.From] != nil || len(m.Parts) != parts(m.From) {
			return nil, p.abort(kind, p.member(m.From), m, fail(sandbox.Conflict, kind.String(), "comes once from each, whole"))
		}
		out[m.From] = m
	}
	for i, m := range out {
		if m == nil {
			return nil, p.abort(kind, p.member(i), nil, fail(sandbox.Unavailable, kind.String(), "comes from each"))
		}
	}
	return out, nil
}

// Commit draws the party's part of the key and commits to its share of the public one. Nobody shows a share before all have committed:
// the last to speak could otherwise choose a collective key that it knows alone.
func (p *party) Commit(ctx context.Context) (*Message, error) {
	if err := p.step(0, Commitment); err != nil {
		return nil, err
	}
	out, err := p.Engine.Do(ctx, OpNewShare, []byte(p.Plan.Set), p.seed())
	if err != nil {
		return nil, p.abort(Commitment, "", nil, err)
	}
	p.key, p.share = out[0], out[1:2]
	if p.Plan.Layout.Products != nil {
		if out, err = p.Engine.Do(ctx, OpRelinOne, p.key, p.relinSeed()); err != nil {
			return nil, p.abort(Commitment, "", nil, err)
		}
		p.share = append(p.share, out[0])
	}
	d := p.committed(p.self, p.share)
	return p.say(Commitment, d[:])
}

// seed of the common reference polynomial: everybody derives it from the plan.
func (p *party) seed() []byte {
	d := sm.Sum(sm.Frame([]byte("opdomain he reference"), p.digest[:]))
	return d[:]
}

func (p *party) relinSeed() []byte {
	d := sm.Sum(sm.Frame([]byte("opdomain he relinearisation"), p.digest[:]))
	return d[:]
}

func (p *party) committed(from int, shares [][]byte) [sm.Size]byte {
	parts := [][]byte{[]byte("opdomain he commitment"), p.digest[:], {byte(from)}}
	for _, s := range shares {
		d := sm.Sum(s)
		parts = append(parts, d[:])
	}
	return sm.Sum(sm.Frame(parts...))
}

func (p *party) say(kind Kind, parts ...[]byte) (*Message, error) {
	m, err := sign(p.Rand, p.Sign, kind, p.digest, p.self, parts...)
	if err != nil {
		return nil, p.abort(kind, "", nil, err)
	}
	return m, nil
}

// Reveal takes everybody's commitments, its own among them, and shows the party's share of the public key.
func (p *party) Reveal(_ context.Context, commitments []*Message) (*Message, error) {
	if err := p.step(Commitment, KeyShare); err != nil {
		return nil, err
	}
	in, err := p.all(Commitment, len(p.Plan.Units)+1, 1, commitments)
	if err != nil {
		return nil, err
	}
	own := p.committed(p.self, p.share)
	for i, m := range in {
		if i == p.self && !bytes.Equal(m.Parts[0], own[:]) {
			return nil, p.abort(Commitment, p.member(i), m, fail(sandbox.Tampered, "commitment", "is what this party sent"))
		}
		p.commit = append(p.commit, m.Parts[0])
	}
	return p.say(KeyShare, p.share...)
}

// agree checks the key shares against their commitments and makes the collective public key.
func (p *party) agree(ctx context.Context, shares []*Message) error {
	in, err := p.all(KeyShare, len(p.Plan.Units)+1, len(p.share), shares)
	if err != nil {
		return err
	}
	args := [][]byte{[]byte(p.Plan.Set), p.seed()}
	for i, m := range in {
		if d := p.committed(i, m.Parts); !bytes.Equal(d[:], p.commit[i]) {
			return p.abort(KeyShare, p.member(i), m, fail(sandbox.Tampered, "key share", "is the one committed to"))
		}
		args = append(args, m.Parts[0])
		p.first = append(p.first, m.Parts[1:]...)
	}
	out, err := p.Engine.Do(ctx, OpPublicKey, args...)
	if err != nil {
		return p.abort(KeyShare, "", nil, err)
	}
	p.public = out[0]
	return nil
}

// sum checks the units' contributions and adds them up itself, ciphertext by ciphertext. The digest names the ordered list of what went in.
func (p *party) sum(ctx context.Context, in []*Message) (cts [][]byte, digest [sm.Size]byte, err error) {
	// Twice the same ciphertexts under two names would double one unit's rows, which the totals then give away.
	seen := map[[sm.Size]byte]int{}
	list := [][]byte{[]byte("opdomain he sum"), p.digest[:]}
	for i, m := range in {
		d := m.digest()
		list = append(list, d[:])
		for _, ct := range m.Parts {
			d := sm.Sum(ct)
			if j, twice := seen[d]; twice {
				return nil, digest, p.abort(Contribution, p.member(max(i, j)), m, fail(sandbox.Conflict, "contribution", "stands in a sum once"))
			}
			seen[d] = i
		}
	}
	for k := range p.budget.Ciphertexts {
		args := [][]byte{[]byte(p.Plan.Set)}
		for _, m := range in {
			args = append(args, m.Parts[k])
		}
		out, err := p.Engine.Do(ctx, OpAdd, args...)
		if err != nil {
			return nil, digest, p.abort(Contribution, "", nil, err)
		}
		cts = append(cts, out[0])
		d := sm.Sum(out[0])
		list = append(list, d[:])
	}
	products, err := p.products(ctx, in)
	if err != nil {
		return nil, digest, err
	}
	for _, ct := range products {
		cts = append(cts, ct)
		d := sm.Sum(ct)
		list = append(list, d[:])
	}
	return cts, sm.Sum(sm.Frame(list...)), nil
}
