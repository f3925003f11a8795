package he

import (
	"bytes"
	"cmp"
	"context"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he/internal/average"
	"github.com/opdomain/opdomain/sandbox"
)

// JointConfig (联合密钥参与方配置) is what gate or partner brings along.
type JointConfig struct {
	Plan   *JointPlan
	Engine Engine
	Sign   *sm.SigningKey
	Rand   io.Reader // of signatures; the engine has its own
}

// jointParty is one side of a run: signed messages in order, and the first that breaks a rule ends it with an Abort.
type jointParty struct {
	JointConfig
	digest [sm.Size]byte
	gate   bool
	joint  *Joint
	own    *Message // commitment
	other  [sm.Size]byte
	next   Kind
	ended  error
}

func newJointParty(ctx context.Context, c JointConfig, gate bool) (*jointParty, error) {
	if c.Plan == nil || c.Engine == nil || c.Sign == nil {
		return nil, fail(sandbox.Invalid, "joint key", "has a plan, an engine and a signing key")
	}
	if why := c.Plan.Check(); len(why) > 0 {
		return nil, &Refused{why}
	}
	me := c.Plan.Partner
	if gate {
		me = c.Plan.Gate
	}
	if !bytes.Equal(me.Verify.Bytes(), c.Sign.Public().Bytes()) {
		return nil, fail(sandbox.Denied, "plan", "names the keys of whoever takes part")
	}
	p := &jointParty{JointConfig: c, digest: c.Plan.Digest(), gate: gate, next: KeyShare}
	j, commitment, err := NewJoint(ctx, c.Engine, p.digest, gate)
	if err != nil {
		return nil, err
	}
	p.joint = j
	if p.own, err = p.message(Commitment, commitment[:]); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *jointParty) message(kind Kind, parts ...[]byte) (*Message, error) {
	from := jointPartner
	if p.gate {
		from = jointGate
	}
	m, err := sign(p.Rand, p.Sign, kind, p.digest, from, parts...)
	if err != nil {
		return nil, p.abort(kind, nil, err)
	}
	return m, nil
}

// abort ends the run: nothing opens under its key any more.
func (p *jointParty) abort(stage Kind, m *Message, err error) error {
	a := &Abort{Plan: p.digest, Epoch: 1, Stage: stage, Err: err}
	if k := sandbox.KindOf(err); k == sandbox.Unavailable || k == sandbox.Internal { // one's own engine
		m = nil
	}
	if m != nil {
		a.Message, a.Member = m.digest(), p.Plan.Partner.ID
		if p.gate == (m.From == jointGate) { // of one's own, the other is not at fault
			a.Member = ""
		} else if !p.gate {
			a.Member = p.Plan.Gate.ID
		}
	}
	if p.ended == nil {
		p.ended = a
	}
	p.joint.Close()
	return a
}

// Abort ends the run because the other party is silent past its deadline, by the caller's clock, or does not go on.
func (p *jointParty) Abort(stage Kind, silent sandbox.PartyID, rule string) error {
	if p.ended != nil {
		return p.ended
	}
	err := p.abort(stage, nil, fail(sandbox.Unavailable, stage.String(), rule))
	p.ended.(*Abort).Member = silent
	return err
}

// Close erases the part of the key. A run that ended stays so.
func (p *jointParty) Close() {
	if p.ended == nil {
		p.ended = fail(sandbox.Conflict, "joint key", "is used while its run goes on")
	}
	p.joint.Close()
}

// step takes the other's message of a kind in its turn. One that is not of this plan or not the other's is refused and ends nothing; out of turn
// the run has ended or not begun.
func (p *jointParty) step(turn, kind Kind, m *Message) error {
	if p.ended != nil {
		return p.ended
	}
	if p.next != turn {
		return fail(sandbox.Conflict, kind.String(), "comes in its turn, once")
	}
	return p.Plan.CheckMessage(m, kind, !p.gate)
}

// Commitment gives the party's own, signed.
func (p *jointParty) Commitment() *Message { return p.own }

// Reveal shows the party's part of the public key, once the other's commitment is there.
func (p *jointParty) Reveal(commitment *Message) (*Message, error) {
	if err := p.step(KeyShare, Commitment, commitment); err != nil {
		return nil, err
	}
	p.other, p.next = [sm.Size]byte(commitment.Parts[0]), Contribution
	return p.message(KeyShare, p.joint.Reveal())
}

// agree takes the other's part, which it committed to.
func (p *jointParty) agree(ctx context.Context, share *Message) error {
	if err := p.step(Contribution, KeyShare, share); err != nil {
		return err
	}
	p.next = Share
	if err := p.joint.Agree(ctx, p.other, share.Parts[0]); err != nil {
		return p.abort(KeyShare, share, err)
	}
	return nil
}

// JointGate (联合密钥闸口方) is the domain's side of a run: Commitment, Reveal, Encrypt, Open, each once. What is read is for the gate's decision and no
// further. Not safe for concurrent use.
type JointGate struct {
	*jointParty
	groups int
}

// NewJointGate draws the gate's part.
func NewJointGate(ctx context.Context, c JointConfig) (*JointGate, error) {
	p, err := newJointParty(ctx, c, true)
	if err != nil {
		return nil, err
	}
	return &JointGate{jointParty: p}, nil
}

// Encrypt takes the partner's key share and encrypts the averages of each group, in order. Groups are encrypted again until there are as many
// ciphertexts as the plan has, and zeros where there is no group: how many groups there are is not the partner's to see. An average beyond its range counts as the range's end, because
// an error would tell the partner of it; clipped says how many were.
func (g *JointGate) Encrypt(ctx context.Context, share *Message, groups []Averages) (out *Message, clipped int, err error) {
	if len(groups) > g.Plan.Groups {
		return nil, 0, fail(sandbox.Invalid, "groups", "are as many as the plan has ciphertexts, or fewer")
	}
	if err := g.agree(ctx, share); err != nil {
		return nil, 0, err
	}
	g.groups = len(groups)
	var parts [][]byte
	for i := range g.Plan.Groups {
		x := make([]float64, len(g.Plan.Ranges))
		if len(groups) > 0 {
			x = groups[i%len(groups)].Values()
		}
		if len(x) != len(g.Plan.Ranges) {
			return nil, 0, g.abort(Contribution, nil, fail(sandbox.Invalid, "features", "are one for each range of the model"))
		}
		for f, r := range g.Plan.Ranges {
			if c := min(max(x[f], -r), r); c != x[f] {
				if x[f] = c; i < len(groups) {
					clipped++
				}
			}
		}
		ct, err := g.joint.Encrypt(ctx, g.Plan.Ranges, average.New(x))
		clear(x)
		if err != nil {
			return nil, 0, g.abort(Contribution, nil, err)
		}
		parts = append(parts, ct)
	}
	out, err = g.message(Contribution, parts...)
	return out, clipped, err
}

// Open takes the partner's scores with its shares and reads one for each group, once: none where there is no group. before is called when the message fits and before
// anything is read; its error ends the run and nothing is read. No score is given unless those of all ciphertexts, padding too, are within the span of
// a model: which of them are of groups shows neither in how the run ends nor in how long that takes.
func (g *JointGate) Open(ctx context.Context, scores *Message, before func(digest [sm.Size]byte) error) ([]float64, float64, error) {
	if err := g.step(Share, Share, scores); err != nil {
		return nil, 0, err
	}
	if before != nil {
		if err := before(scores.digest()); err != nil {
			return nil, 0, g.abort(Share, nil, err)
		}
	}
	if err := g.joint.open(g.joint.pub != nil); err != nil {
		return nil, 0, g.abort(Share, nil, err)
	}
	out := make([]float64, g.Plan.Groups)
	bound := 0.0
	var failed error
	for i := range out { // to the last, whatever failed before it
		s, err := g.joint.read(ctx, scores.Parts[2*i], scores.Parts[2*i+1])
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		out[i], bound = s.Values[0], s.Bound
	}
	if failed != nil {
		clear(out)
		return nil, 0, g.abort(Share, scores, failed)
	}
	g.Close()
	clear(out[g.groups:])
	return out[:g.groups:g.groups], bound, nil
}

// JointPartner (联合密钥合作方) is the partner's side of a run: Commitment, Reveal, Apply, each once. A process that was stopped lost its part of the key
// with its memory, so that no second share is ever made. Not safe for concurrent use.
type JointPartner struct{ *jointParty }

// NewJointPartner draws the partner's part.
func NewJointPartner(ctx context.Context, c JointConfig) (*JointPartner, error) {
	p, err := newJointParty(ctx, c, false)
	if err != nil {
		return nil, err
	}
	return &JointPartner{p}, nil
}

// Apply takes the gate's key share and its ciphertexts, and gives for each the model's score with the decryption share of that score, which it made
// itself. The model's ranges are the plan's.
func (p *JointPartner) Apply(ctx context.Context, share, averages *Message, m *Model) (*Message, error) {
	if m == nil || len(m.Ranges) != len(p.Plan.Ranges) || len(m.Weights) != len(m.Ranges) {
		return nil, fail(sandbox.Invalid, "model", "has the features of the plan")
	}
	for i, r := range m.Ranges {
		if r != p.Plan.Ranges[i] {
			return nil, fail(sandbox.Invalid, "model", "has the ranges of the plan")
		}
	}
	if why := m.Check(); len(why) > 0 { // before the other's part is taken: nothing of the run ends with it
		return nil, &Refused{why}
	}
	if err := p.step(Contribution, Contribution, averages); err != nil {
		return nil, err
	}
	if err := p.agree(ctx, share); err != nil {
		return nil, err
	}
	var parts [][]byte
	seen := map[[sm.Size]byte]bool{}
	for _, ct := range averages.Parts {
		if d := sm.Sum(ct); seen[d] { // one that is repeated is no fresh ciphertext
			return nil, p.abort(Contribution, averages, fail(sandbox.Conflict, "ciphertext", "is there once"))
		} else {
			seen[d] = true
		}
		score, part, err := p.joint.Apply(ctx, m, ct)
		if err != nil {
			return nil, p.abort(Contribution, averages, err)
		}
		parts = append(parts, score, part)
	}
	out, err := p.message(Share, parts...)
	p.Close()
	return out, err
}
