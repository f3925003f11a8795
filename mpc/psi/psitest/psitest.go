// Package psitest gives tests and benchmarks of package psi a connection (测试信道) between two parties: any net.Conn, sealed in both
// directions by the streams of attest/channel under openings that each side signed. A party of a real job gets its connection from
// the sessions of several parties instead, which bind a job's approvals; this one binds two test identities and nothing more.
//
// Errors are those of attest/channel, and Tampered for a message under another tag or of another length. It sets no deadlines.
package psitest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Identity (测试身份) has the keys of one end.
type Identity struct {
	ID   sandbox.IdentityID
	Sign *sm.SigningKey
	Open *sm.DecryptKey
}

// NewIdentity draws keys.
func NewIdentity(id sandbox.IdentityID) (*Identity, error) {
	s, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	d, err := sm.NewDecryptKey(rand.Reader)
	return &Identity{id, s, d}, err
}

// Conn (测试信道) is a psi.Conn.
type Conn struct {
	raw   net.Conn
	w     *channel.Writer
	r     *channel.Reader
	posts chan *receipt
	wg    sync.WaitGroup
	once  sync.Once
	buf   []byte
	sent  int64
}

type receipt struct {
	tag  uint32
	into []byte
	done chan error
}

// Pair connects two identities over memory: what one side writes waits until the other reads.
func Pair() (a, b *Conn, err error) {
	x, y := net.Pipe()
	return Over(x, y)
}

// Loopback connects two identities over TCP on this machine.
func Loopback() (a, b *Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	y, err := l.Accept()
	if err != nil {
		_ = x.Close()
		return nil, nil, err
	}
	return Over(x, y)
}

// Over seals the two ends of any connection.
func Over(x, y net.Conn) (a, b *Conn, err error) {
	one, err := NewIdentity("party-one")
	if err != nil {
		return nil, nil, err
	}
	two, err := NewIdentity("party-two")
	if err != nil {
		return nil, nil, err
	}
	var other error
	var wg sync.WaitGroup
	wg.Go(func() { b, other = Open(y, two, one.ID, one.Sign.Public(), one.Open.Public()) })
	a, err = Open(x, one, two.ID, two.Sign.Public(), two.Open.Public())
	if err != nil {
		_ = x.Close()
	}
	wg.Wait()
	if err = errors.Join(err, other); err != nil {
		_, _ = x.Close(), y.Close()
	}
	return a, b, err
}

// Open seals one end: it sends its opening and takes the peer's.
func Open(raw net.Conn, self *Identity, peer sandbox.IdentityID, verify *sm.VerifyKey, encrypt *sm.EncryptKey) (*Conn, error) {
	digest := sm.Sum([]byte("psi"))
	o, secret, err := channel.NewOpening(rand.Reader, encrypt, channel.Opening{From: self.ID, To: peer, Domain: "psitest", Run: "run-test",
		Dataset: "messages", SchemaDigest: digest[:], Created: time.Unix(0, 0)})
	if err != nil {
		return nil, err
	}
	mine := o.Encode()
	sig, err := self.Sign.Sign(rand.Reader, channel.Context, mine)
	if err != nil {
		return nil, err
	}
	c := &Conn{raw: raw, posts: make(chan *receipt, 4)}
	written := make(chan error, 1)
	go func() { // a connection without a buffer takes what is written only when the other end reads
		b := sm.Frame(sm.Frame(mine, sig))
		_, err := raw.Write(b)
		if err == nil {
			c.w, err = channel.NewWriter(raw, secret, mine)
		}
		written <- err
	}()
	their, err := readOpening(raw, verify)
	if err == nil {
		var p channel.Opening
		if p, err = channel.ParseOpening(their); err == nil && (p.From != peer || p.To != self.ID) {
			err = &sandbox.Error{Op: "psitest: open", Kind: sandbox.Tampered, Detail: "an opening of the expected party"}
		}
		if err == nil {
			var theirs *channel.Secret
			if theirs, err = p.Unwrap(self.Open); err == nil {
				c.r, err = channel.NewReader(raw, theirs, their)
			}
		}
	}
	if err != nil {
		_ = raw.Close()
	}
	if err = errors.Join(err, <-written); err != nil {
		_ = raw.Close()
		return nil, err
	}
	c.wg.Go(c.serve)
	return c, nil
}

// readOpening reads a frame of two framed parts: the opening and its signature.
func readOpening(r io.Reader, verify *sm.VerifyKey) ([]byte, error) {
	bad := &sandbox.Error{Op: "psitest: open", Kind: sandbox.Tampered, Detail: "an opening and its signature"}
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(n[:])
	if size < 8 || size > channel.MaxOpening+128 {
		return nil, bad
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	k := binary.BigEndian.Uint32(b)
	if uint64(k)+8 > uint64(size) || uint64(binary.BigEndian.Uint32(b[4+k:])) != uint64(size)-uint64(k)-8 {
		return nil, bad
	}
	opening := b[4 : 4+k]
	return opening, verify.Verify(channel.Context, opening, b[8+k:])
}

// serve gives messages to those who wait, in order; after an error it is the same for all.
func (c *Conn) serve() {
	var failed error
	for r := range c.posts {
		if failed == nil {
			failed = c.take(r)
		}
		r.done <- failed
	}
}

func (c *Conn) take(r *receipt) error {
	b, err := c.r.Next()
	if err != nil {
		return err
	}
	if len(b) != 4+len(r.into) || binary.BigEndian.Uint32(b) != r.tag {
		return &sandbox.Error{Op: "psitest: take", Kind: sandbox.Tampered, Detail: "the next message has its tag and its length"}
	}
	copy(r.into, b[4:])
	return nil
}

// Send seals a message.
func (c *Conn) Send(tag uint32, b []byte) error {
	c.buf = append(binary.BigEndian.AppendUint32(c.buf[:0], tag), b...)
	c.sent += int64(len(b))
	return c.w.WriteFrame(c.buf)
}

// Sent gives the bytes of messages sent so far.
func (c *Conn) Sent() int64 { return c.sent }

// Post takes the next message.
func (c *Conn) Post(tag uint32, into []byte) func() error {
	r := &receipt{tag, into, make(chan error, 1)}
	c.posts <- r
	return func() error { return <-r.done }
}

// Abort closes the connection.
func (c *Conn) Abort(string) { c.once.Do(func() { _ = c.raw.Close() }) }

// Close ends the connection and its goroutine.
func (c *Conn) Close() {
	c.Abort("")
	close(c.posts)
	c.wg.Wait()
}
