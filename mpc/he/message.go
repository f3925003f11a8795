package he

import (
	"encoding/binary"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Kind (消息种类) is what a message is about.
type Kind byte

// The messages of an epoch, in order.
const (
	Commitment   Kind = iota + 1 // 承诺: the digest of a key share that is shown after all have committed
	KeyShare                     // 公钥份额: a part of the collective public key, from every unit and the gate
	Deal                         // 门限分发: a unit's part shared among all units, sealed to each
	Contribution                 // 密文: a unit's vector
	Share                        // 解密份额: an opener's, to the gate
	RelinShare                   // 重线性化密钥份额: a party's second share of the key that products are brought back by
	lastKind     = RelinShare
)

var kindNames = [...]string{"", "commitment", "key share", "deal", "contribution", "share", "relinearisation share"}

func (k Kind) String() string {
	if k == 0 || k > lastKind {
		return "unknown"
	}
	return kindNames[k]
}

// Message (协议消息) is what parties send each other, through whoever carries it: signed by its sender for one plan, so that a carrier can
// neither forge, change, replay nor mix. Units are numbered from 0; the gate has the number after the last.
type Message struct {
	Kind  Kind
	Plan  [sm.Size]byte
	From  int
	Parts [][]byte
	Sig   []byte
}

// Bounds of an encoded message.
const (
	maxParts   = 256
	maxMessage = 64 << 20
	maxSig     = 80
)

// signed is what the signature covers: everything, parts by their digests.
func (m *Message) signed() []byte {
	parts := [][]byte{{byte(m.Kind)}, m.Plan[:], {byte(m.From)}}
	for _, p := range m.Parts {
		d := sm.Sum(p)
		parts = append(parts, d[:])
	}
	return sm.Frame(parts...)
}

func (m *Message) context() string { return "opdomain he " + m.Kind.String() }

// Digest (消息摘要) names a message in evidence.
func (m *Message) Digest() [sm.Size]byte { return m.digest() }

// digest names a message's content, apart from its signature.
func (m *Message) digest() [sm.Size]byte { return sm.Sum(m.signed()) }

// check verifies that a message is of the kind and plan that are due and by the member it names.
func (m *Message) check(p *Plan, digest [sm.Size]byte, kind Kind) error {
	bad := func(k sandbox.Kind, rule string) error {
		return &sandbox.Error{Op: "he", Kind: k, Object: kind.String(), Detail: rule}
	}
	if m == nil || m.Kind != kind {
		return bad(sandbox.Invalid, "is what the step takes")
	}
	if m.Plan != digest {
		return bad(sandbox.Conflict, "is of this plan and epoch")
	}
	if m.From < 0 || m.From > len(p.Units) || kind != Commitment && kind != KeyShare && kind != RelinShare && m.From == len(p.Units) {
		return bad(sandbox.Denied, "is by a party that has a part in this step")
	}
	who := p.Gate
	if m.From < len(p.Units) {
		who = p.Units[m.From]
	}
	if who.Verify.Verify(m.context(), m.signed(), m.Sig) != nil {
		return bad(sandbox.Tampered, "is signed by its sender")
	}
	return nil
}

// AppendMessage encodes a message: kind, plan, sender, number of parts, each part after its length, signature after its length; numbers
// big endian.
func AppendMessage(b []byte, m *Message) []byte {
	b = append(append(append(b, byte(m.Kind)), m.Plan[:]...), byte(m.From))
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Parts)))
	for _, p := range m.Parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	b = append(b, byte(len(m.Sig)))
	return append(b, m.Sig...)
}

// ParseMessage decodes what AppendMessage wrote, exactly. Invalid otherwise. It believes no length before it has seen the bytes.
func ParseMessage(b []byte) (*Message, error) {
	bad := fail(sandbox.Invalid, "message", "is in the encoding of this package, at most 64 MiB")
	const head = 1 + sm.Size + 1 + 2
	if len(b) < head || len(b) > maxMessage {
		return nil, bad
	}
	m := &Message{Kind: Kind(b[0]), Plan: [sm.Size]byte(b[1 : 1+sm.Size]), From: int(b[1+sm.Size])}
	n := int(binary.BigEndian.Uint16(b[head-2:]))
	b = b[head:]
	if m.Kind == 0 || m.Kind > lastKind || n > maxParts {
		return nil, bad
	}
	for range n {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, bad
		}
		size := binary.BigEndian.Uint32(b)
		m.Parts, b = append(m.Parts, b[4:4+size]), b[4+size:]
	}
	if len(b) < 1 || len(b) != 1+int(b[0]) || len(b) > 1+maxSig {
		return nil, bad
	}
	m.Sig = b[1:]
	return m, nil
}

// sign makes a message of a party.
func sign(rand io.Reader, k *sm.SigningKey, kind Kind, plan [sm.Size]byte, from int, parts ...[]byte) (*Message, error) {
	m := &Message{Kind: kind, Plan: plan, From: from, Parts: parts}
	var err error
	if m.Sig, err = k.Sign(rand, m.context(), m.signed()); err != nil {
		return nil, err
	}
	return m, nil
}
