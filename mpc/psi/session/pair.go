package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// blockSize is what a statement is padded to, so that a message's length says nothing.
const blockSize = 8 << 10

// Tags of the session's own messages; those of package psi begin with 0x70736901.
const (
	tagMeet uint32 = 0x70737301 + iota
	tagRecord
	tagTable
	tagAsk
	tagReply
)

// Config (会话参数) is what a party meets its peer with.
type Config struct {
	Self      sandbox.PartyID
	Key       *sm.SigningKey
	Approval  attest.Statement // of the own owner
	Transport wire.Transport
	Rand      io.Reader
	Now       func() time.Time
	Clock     func() time.Time // the host's, by which the deadline runs; nil: Now
	Met       func() error     // once the peer came with its owner's approval, before anything of the set leaves; an error ends the session; nil: nothing
}

// pair is an authenticated connection of two parties whose owners signed for the same.
type pair struct {
	a         Agreement
	c         *Config
	me        int
	mesh      *wire.Mesh
	id        [sm.Size]byte
	keys      [2]*sm.VerifyKey
	approvals [2]attest.Statement
	nonces    [2][]byte
}

// meet decides by the own approval, makes the link, and checks that the peer came with its owner's approval.
func meet(ctx context.Context, a Agreement, c *Config) (*pair, error) {
	if c.Key == nil || c.Transport == nil || c.Rand == nil || c.Now == nil {
		return nil, invalid("configuration", "key, transport, randomness and clock")
	}
	now := c.Now()
	if d := Decide(a, c.Self, c.Approval, now); !d.Allow {
		return nil, &sandbox.Error{Op: "psi: session", Kind: sandbox.Denied, Object: string(c.Self), Detail: d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
	}
	peers, err := a.terms().peers()
	if err != nil {
		return nil, err
	}
	p := &pair{a: a, c: c, me: a.terms().Place(c.Self), keys: [2]*sm.VerifyKey{peers[0].Key, peers[1].Key}}
	if c.Clock != nil {
		now = c.Clock()
	}
	p.mesh, err = wire.Open(ctx, c.Transport, wire.Config{Self: p.me, Peers: peers, Key: c.Key, Job: Digest(a), Rand: c.Rand, Deadline: now.Add(time.Duration(a.terms().Seconds) * time.Second)})
	if err != nil {
		return nil, err
	}
	err = p.greet()
	if err == nil && c.Met != nil {
		err = c.Met()
	}
	if err != nil {
		_ = p.mesh.Close()
		return nil, err
	}
	return p, nil
}

func (p *pair) greet() error {
	nonce := make([]byte, 32)
	if _, err := io.ReadFull(p.c.Rand, nonce); err != nil {
		return p.mesh.Abort(wire.Nobody, "randomness is there")
	}
	text, err := json.Marshal(p.c.Approval)
	if err != nil {
		return p.mesh.Abort(wire.Nobody, "an approval is written")
	}
	all, err := p.exchange(tagMeet, append(nonce, text...))
	if err != nil {
		return err
	}
	for i, b := range all {
		var s attest.Statement
		if len(b) < 32 || json.Unmarshal(b[32:], &s) != nil || !approved(p.a, s, i, p.c.Now()) {
			return p.mesh.Abort(i, "each party comes with its owner's approval")
		}
		if text, err := json.Marshal(s); err != nil || !bytes.Equal(text, b[32:]) {
			return p.mesh.Abort(i, "an approval comes in its one encoding")
		}
		p.approvals[i], p.nonces[i] = s, b[:32]
	}
	p.id = sessionID(p.a, all)
	// Who was told another nonce or approval has another session and other keys from here on.
	return p.mesh.Bind(p.id)
}

// sessionID binds agreement, keys, and the nonce and approval of each party.
func sessionID(a Agreement, hellos [2][]byte) [sm.Size]byte {
	parts := [][]byte{[]byte("opdomain/psi/session/meet/v1"), a.Encode()}
	for i, x := range a.terms().Parties {
		parts = append(parts, x.Key, hellos[i])
	}
	return sm.Sum(sm.Frame(parts...))
}

// exchange sends a padded block and gives both parties', by place.
func (p *pair) exchange(tag uint32, b []byte) (got [2][]byte, err error) {
	if len(b) > blockSize-4 {
		return got, p.mesh.Abort(wire.Nobody, "a statement fits its block")
	}
	block, their := make([]byte, blockSize), make([]byte, blockSize)
	binary.BigEndian.PutUint32(block, uint32(len(b)))
	copy(block[4:], b)
	wait := p.mesh.Post(1-p.me, tag, their)
	if err := p.mesh.Send(1-p.me, tag, block); err != nil {
		return got, err
	}
	if err := wait(); err != nil {
		return got, err
	}
	n := binary.BigEndian.Uint32(their)
	if n > blockSize-4 || slices.ContainsFunc(their[4+n:], func(x byte) bool { return x != 0 }) {
		return got, p.mesh.Abort(1-p.me, "a block holds one statement")
	}
	got[p.me], got[1-p.me] = b, their[4:4+n]
	return got, nil
}

func (p *pair) close() { _ = p.mesh.Close() }

// Send, Post and Abort make a psi.Conn of the link to the peer.
func (p *pair) Send(tag uint32, b []byte) error { return p.mesh.Send(1-p.me, tag, b) }

func (p *pair) Post(tag uint32, into []byte) func() error { return p.mesh.Post(1-p.me, tag, into) }

func (p *pair) Abort(rule string) { _ = p.mesh.Abort(wire.Nobody, rule) }
