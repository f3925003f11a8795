package he

import (
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// sealRoom bounds what a sealed message adds to its content: a wrapped key with its length, and a tag.
const sealRoom = 2 + 256 + 16

// Room (消息上限) is how many bytes an encoded message of a kind has at most, so that whoever carries an epoch holds no more: exact but for the
// encodings of signatures and seals. 0 for a kind that the plan has none of, and for plans with products, whose messages have no bound here.
func (p *Plan) Room(kind Kind) int {
	set, err := setNamed(p.Set)
	if err != nil || p.Layout.Products != nil {
		return 0
	}
	n, cts := len(p.Units), set.Ciphertexts(p.Layout.slots(len(p.Units)))
	poly := len(set.Q) * word << set.LogN
	parts := 1
	var content int
	switch kind {
	case Commitment:
		content = sm.Size
	case KeyShare:
		content = poly
	case Deal:
		parts, content = n, n*(poly+sealRoom)
	case Contribution:
		parts, content = cts, cts*set.CiphertextBytes()
	case Share:
		parts, content = 1+cts, sm.Size+cts*poly
	default:
		return 0
	}
	return 1 + sm.Size + 1 + 2 + 4*parts + content + 1 + maxSig
}

// Next (下一步) is the kind of message that follows one in an epoch without products; 0 after the last.
func (k Kind) Next() Kind {
	if k >= Share {
		return 0
	}
	return k + 1
}

// Senders are who sends a message of a kind, as indices: the number after the last unit's is the gate.
func (p *Plan) Senders(kind Kind) (out []int) {
	if kind == Share {
		return append(out, p.Openers...)
	}
	for i := range p.Units {
		out = append(out, i)
	}
	if kind == Commitment || kind == KeyShare {
		out = append(out, len(p.Units))
	}
	return out
}

// Peak (最大占用) is how many bytes a carrier holds of an epoch at most: the messages of a step with those of the one before.
func (p *Plan) Peak() (most int) {
	before := 0
	for k := Commitment; k != 0; k = k.Next() {
		now := p.Room(k) * len(p.Senders(k))
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
