// Package wiretest holds what every transport of package wire must do (传输契约测试), and faults that a test puts on a link: lost,
// doubled, swapped, late, cut, changed and replayed bytes. Faults act on what a party writes, one write at a time: the mesh writes
// a handshake message or a frame at once. It works on raw bytes and holds no keys: it can do what somebody between the parties can.
package wiretest

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/opdomain/opdomain/mpc/wire"
)

// Kind (故障类别) says what happens to the bytes.
type Kind string

// The faults. Drop to Replay hit the write of number At, counted from 0 with the handshake's; Cut and Flip hit the byte of number At.
const (
	Drop      Kind = "drop"
	Duplicate Kind = "duplicate"
	Reorder   Kind = "reorder" // with the write after it
	Delay     Kind = "delay"
	Replay    Kind = "replay" // the write before it comes in its place
	Close     Kind = "close"  // instead of the write, as when the party's process dies
	Cut       Kind = "cut"
	Flip      Kind = "flip"
)

// Fault (故障) hits the bytes that party From writes to party To, once.
type Fault struct {
	Kind     Kind
	From, To int
	At       int
	Bit      uint          // of Flip
	For      time.Duration // of Delay
}

// Faulty (故障传输) is a party's transport with faults on it.
type Faulty struct {
	wire.Transport
	Self   int
	Faults []Fault

	mu  sync.Mutex
	hit int
	log map[int][]int // lengths of writes by peer
}

// Hit says how often a fault has struck.
func (f *Faulty) Hit() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// Trace gives the lengths of all writes to a peer, in order.
func (f *Faulty) Trace(peer int) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.log[peer]...)
}

// Dial wraps the connection.
func (f *Faulty) Dial(ctx context.Context, to int) (net.Conn, error) {
	c, err := f.Transport.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: c, f: f, peer: to}, nil
}

// Accept wraps the connection.
func (f *Faulty) Accept(ctx context.Context) (net.Conn, error) {
	c, err := f.Transport.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: c, f: f, peer: wire.Nobody}, nil
}

type faultyConn struct {
	net.Conn
	f    *Faulty
	peer int // learnt from the hello on the accepting side
	seen int // bytes read before that

	writes, bytes int
	before, held  []byte
}

func (c *faultyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.peer == wire.Nobody {
		if at := 4 - c.seen; at < n {
			c.peer = int(b[at])
		}
		c.seen += n
	}
	return n, err
}

func (c *faultyConn) take(b []byte) (Fault, bool) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.log == nil {
		c.f.log = map[int][]int{}
	}
	c.f.log[c.peer] = append(c.f.log[c.peer], len(b))
	for _, x := range c.f.Faults {
		if x.From != c.f.Self || x.To != c.peer {
			continue
		}
		hit := x.At == c.writes
		if x.Kind == Cut || x.Kind == Flip {
			hit = c.bytes <= x.At && x.At < c.bytes+len(b)
		}
		if hit {
			c.f.hit++
			return x, true
		}
	}
	return Fault{}, false
}

func (c *faultyConn) Write(b []byte) (int, error) {
	x, hit := c.take(b)
	out := [][]byte{b}
	end := false
	if c.held != nil {
		out, c.held = [][]byte{b, c.held}, nil
	}
	if hit {
		switch x.Kind {
		case Drop:
			out = nil
		case Duplicate:
			out = [][]byte{b, b}
		case Reorder:
			c.held, out = append([]byte(nil), b...), nil
		case Delay:
			time.Sleep(x.For)
		case Replay:
			out = [][]byte{c.before}
		case Close:
			out, end = nil, true
		case Cut:
			out, end = [][]byte{b[:x.At-c.bytes]}, true
		case Flip:
			changed := append([]byte(nil), b...)
			changed[x.At-c.bytes] ^= 1 << (x.Bit % 8)
			out = [][]byte{changed}
		}
	}
	c.writes++
	c.bytes += len(b)
	c.before = append([]byte(nil), b...)
	for _, p := range out {
		if len(p) == 0 {
			continue
		}
		if n, err := c.Conn.Write(p); err != nil {
			return n, err
		}
	}
	if end {
		_ = c.Conn.Close()
	}
	return len(b), nil
}
