package he

import (
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// sealRoom bounds what a sealed message adds to its content: a wrapped key with its length, and a tag.
const sealRoom = 2 + 256 + 16

// Room (消息上限) is how many bytes an encoded message of a kind has at most that the party of that index sends, so that whoever carries an epoch
// holds no more: exact but for the encodings of signatures and seals. 0 for a kind that the plan has none of. The plan passed its check.
func (p *Plan) Room(kind Kind, from int) int {
	set, err := setNamed(p.Set)
	if err != nil {
		return 0
	}
	x, n := p.Layout.Products, len(p.Units)
	poly := word << set.LogN
	opened := set.Ciphertexts(p.Layout.slots(n))
	if x != nil {
		opened += x.outputs()
	}
	parts, content := 1, 0
	switch {
	case kind == Commitment:
		content = sm.Size
	case kind == KeyShare:
		if content = (len(set.Q) + len(set.P)) * poly; x != nil {
			parts, content = 2, content+set.relinBytes()
		}
	case kind == RelinShare && x != nil:
		content = set.relinBytes()
	case kind == Deal:
		parts, content = n, n*(len(set.Q)*poly+sealRoom)
	case kind == Contribution:
		parts, content = opened, opened*set.CiphertextBytes()
		if side := p.sideOf(from); side >= 0 {
			factors := x.ciphertexts(side, 1<<set.LogN)
			parts, content = parts+factors, content+factors*2*len(set.Q)*poly
		}
	case kind == Share:
		parts, content = 1+opened, sm.Size+opened*set.Shared*poly
	default:
		return 0
	}
	return 1 + sm.Size + 1 + 2 + 4*parts + content + 1 + maxSig
}

// relinBytes is the size of a share of a relinearisation key: two polynomials for each digit that the moduli make with P.
func (s Set) relinBytes() int {
	digits := (len(s.Q) + len(s.P) - 1) / len(s.P)
	return 2 * digits * (len(s.Q) + len(s.P)) * word << s.LogN
}

// Steps (步骤次序) are the kinds of messages of the plan's epoch in their order: with products there is one more, which makes the key that they are
// brought back by.
func (p *Plan) Steps() []Kind {
	if p.Layout.Products != nil {
		return []Kind{Commitment, KeyShare, RelinShare, Deal, Contribution, Share}
	}
	return []Kind{Commitment, KeyShare, Deal, Contribution, Share}
}

// Next (下一步) is the kind of message that follows one; 0 after the last.
func (p *Plan) Next(k Kind) Kind {
	steps := p.Steps()
	if at := slices.Index(steps, k); at >= 0 && at+1 < len(steps) {
		return steps[at+1]
	}
	return 0
}

// Before (上一步) is the kind of message that comes before one; 0 before the first.
func (p *Plan) Before(k Kind) Kind {
	if at := slices.Index(p.Steps(), k); at > 0 {
		return p.Steps()[at-1]
	}
	return 0
}

// Precedes says whether the messages of a kind are all there when the epoch waits for those of another.
func (p *Plan) Precedes(k, waits Kind) bool {
	at := slices.Index(p.Steps(), k)
	return at >= 0 && at < slices.Index(p.Steps(), waits)
}

// Senders are who sends a message of a kind, as indices: the number after the last unit's is the gate.
func (p *Plan) Senders(kind Kind) (out []int) {
	if kind == Share {
		return append(out, p.Openers...)
	}
	for i := range p.Units {
		out = append(out, i)
	}
	if kind == Commitment || kind == KeyShare || kind == RelinShare {
		out = append(out, len(p.Units))
	}
	return out
}

// Peak (最大占用) is how many bytes a carrier holds of an epoch at most: the messages of a step with those of the one before.
func (p *Plan) Peak() (most int) {
	before := 0
	for _, k := range p.Steps() {
		now := 0
		for _, from := range p.Senders(k) {
			now += p.Room(k, from)
		}
		most, before = max(most, before+now), now
	}
	return most
}

// Check says whether a message is of a kind, for the plan, and signed by the member of that index: what a carrier can know of it. What is in it is
// for the parties to judge.
func (m *Message) Check(p *Plan, kind Kind, from int) error {
	if err := m.check(p, p.Digest(), kind); err != nil {
		return err
	}
	if m.From != from {
		return fail(sandbox.Denied, kind.String(), "is by who sends it")
	}
	return nil
}

// Digest (布局摘要) is SM3 of what the layout says: an owner approves it, and a unit compares it with what it compiled itself.
func (l *Layout) Digest() [sm.Size]byte {
	return sm.Sum(sm.Frame([]byte("opdomain he layout 1"), l.encode()))
}

// Fingerprint (成员公钥指纹) names both keys of a member, for people to compare.
func (m Member) Fingerprint() string {
	return m.Verify.Fingerprint() + "-" + m.Seal.Fingerprint()
}

// RunOf (任务标识) is the run that a domain's sums for a question have, so that a unit's ledger counts its epochs whatever it is told.
func RunOf(domain string, q sandbox.QuestionID, canonical []byte) [32]byte {
	return sm.Sum(sm.Frame([]byte("opdomain sum"), []byte(domain), []byte(q), canonical))
}

// GateOf (闸口标识) names a domain's gate in its plans.
func GateOf(domain string) sandbox.PartyID { return sandbox.PartyID(domain + "-gate") }
