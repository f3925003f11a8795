package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// MaxParties bounds a mesh.
const MaxParties = 16

const (
	dialPause = 50 * time.Millisecond // between two tries to reach a party
	dialAgain = 6                     // calls that are made where the party takes them and ends them without an answer
)

// Peer (参与方) is one party of a mesh, as everybody knows it.
type Peer struct {
	ID  sandbox.PartyID
	Key *sm.VerifyKey
}

// Config (通信配置) is what a party knows before it meets the others.
type Config struct {
	Self     int    // own place in Peers
	Peers    []Peer // all parties in the agreed order
	Key      *sm.SigningKey
	Job      [sm.Size]byte // digest of what all agreed to run; a hello for another job is refused
	Rand     io.Reader
	Deadline time.Time // nothing lasts longer
	Payloads bool      // chains cover payloads and not their tags alone, so that a signed chain binds its end; alike at all parties
}

// Transport (传输) gives raw connections; everything on them is authenticated by the mesh. Errors are of the transport.
type Transport interface {
	// Dial connects to a party; it is tried again until the deadline, since parties do not start together.
	Dial(ctx context.Context, to int) (net.Conn, error)
	// Accept gives the next connection that somebody made to this party.
	Accept(ctx context.Context) (net.Conn, error)
}

// Mesh (通信网) is a party's links to all others. Send and Post belong to one goroutine; Close may be called from any.
type Mesh struct {
	self  int
	links []*link // nil at self
	wg    sync.WaitGroup
	stop  func() bool

	mu     sync.Mutex
	err    *Abort
	closed bool
}

// Counters (计量) is what a party put on its links and took from them, headers and tags included, handshakes not.
type Counters struct {
	Sent, Received, Frames int64
}

// Open meets all parties: it dials those before it and takes the calls of those behind it. Every error is an *Abort, or Invalid for
// a configuration that cannot be. The deadline and ctx bound the mesh's whole life.
func Open(ctx context.Context, t Transport, c Config) (*Mesh, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &Mesh{self: c.Self, links: make([]*link, len(c.Peers))}
	meet, cancel := context.WithDeadline(ctx, c.Deadline)
	defer cancel()
	if err := m.meet(meet, cancel, t, &c); err != nil {
		for _, l := range m.links {
			if l != nil {
				_ = l.conn.Close()
			}
		}
		return nil, err
	}
	for _, l := range m.links {
		if l != nil {
			_ = l.conn.SetDeadline(c.Deadline)
			l.mesh = m
			m.wg.Go(l.serve)
		}
	}
	m.stop = context.AfterFunc(ctx, func() {
		_ = m.fail(&Abort{Peer: Nobody, Kind: sandbox.Unavailable, Rule: "the run was stopped", Err: ctx.Err()})
	})
	return m, nil
}

// meet fills the links. All its goroutines and all connections that lost are gone when it returns.
func (m *Mesh) meet(ctx context.Context, cancel func(), t Transport, c *Config) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	missing := len(c.Peers) - 1
	give := func(l *link, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			if first == nil {
				first = err
			}
			cancel()
		case m.links[l.peer] != nil || first != nil:
			_ = l.conn.Close() // a party that calls twice is held to its first call
		default:
			m.links[l.peer] = l
			if missing--; missing == 0 {
				cancel()
			}
		}
	}
	for peer := range c.Self {
		wg.Go(func() { give(call(ctx, t, c, peer)) })
	}
	if c.Self < len(c.Peers)-1 {
		in := &callers{proven: map[int]int{}}
		if o, ok := t.(Origins); ok {
			wg.Go(func() { in.expect(o.Origins(ctx)) }) // which may ask for names; until then all are strangers
		}
		wg.Go(func() {
			for {
				conn, err := t.Accept(ctx)
				if err != nil {
					if ctx.Err() == nil {
						give(nil, ended(Nobody, err))
					}
					return
				}
				x := in.enter(conn)
				wg.Go(func() {
					// Whoever fails here may be a stranger; the party that was meant fails on its side, or calls no more.
					if l, err := answer(ctx, conn, c, in, x); err == nil {
						give(l, nil)
					}
				})
			}
		})
	}
	wg.Wait()
	switch {
	case first != nil:
		return first
	case missing > 0:
		return &Abort{Peer: Nobody, Kind: sandbox.Unavailable, Rule: "all parties meet by the deadline", Err: context.Cause(ctx)}
	}
	return nil
}

// refused is the abort of a handshake that failed.
func refused(peer int, err error) *Abort {
	if errors.Is(err, sandbox.Tampered) || errors.Is(err, sandbox.Invalid) || errors.Is(err, errForm) {
		return &Abort{Peer: peer, Kind: sandbox.Tampered, Rule: "the handshake proves who the parties are", Err: err}
	}
	return ended(peer, err)
}

func dial(ctx context.Context, t Transport, peer int) (net.Conn, error) {
	for {
		conn, err := t.Dial(ctx, peer)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(dialPause):
		}
	}
}

// call reaches a peer and shakes hands with it. A peer that takes the call and ends it without an answer has perhaps closed it for another, or was not
// ready: it is called again, a few times.
func call(ctx context.Context, t Transport, c *Config, peer int) (*link, error) {
	conn, err := dial(ctx, t, peer)
	if err != nil {
		return nil, ended(peer, err)
	}
	pause := dialPause
	var again context.Context
	for n := 1; ; n++ {
		seen := &heard{Conn: conn}
		l, err := shake(ctx, seen, c, &shaker{c: c, peer: peer}, shakeTime)
		if err == nil {
			l.conn = conn
			return l, nil
		}
		if a := (*Abort)(nil); !errors.As(err, &a) {
			err = refused(peer, err)
		}
		if n == dialAgain || ctx.Err() != nil || seen.some || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		if again == nil {
			var cancel context.CancelFunc
			again, cancel = context.WithTimeout(ctx, shakeTime)
			defer cancel()
		}
		select {
		case <-again.Done():
			return nil, err
		case <-time.After(pause):
		}
		pause *= 2
		if conn, _ = t.Dial(again, peer); conn == nil {
			return nil, err
		}
	}
}

// heard is a connection that knows whether anything came over it.
type heard struct {
	net.Conn
	some bool
}

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.some = h.some || n > 0
	return n, err
}

// answer shakes hands with a caller, who has less time until it has shown that it is a peer.
func answer(ctx context.Context, conn net.Conn, c *Config, in *callers, x *caller) (*link, error) {
	defer in.leave(x)
	s := &shaker{c: c, peer: Nobody}
	limit, proven := time.Now().Add(shakeTime), false
	if c.Deadline.Before(limit) {
		limit = c.Deadline
	}
	s.heard = func() { in.heard(x) }
	s.proven = func() error {
		if proven = in.prove(x, s.peer); !proven {
			return tampered(Nobody, "a peer calls once")
		}
		_ = conn.SetDeadline(limit)
		return ctx.Err() // whose deadline that may have replaced
	}
	l, err := shake(ctx, conn, c, s, helloTime)
	if proven {
		in.done(s.peer)
	}
	return l, err
}

// shake authenticates a connection: as its caller, or, where s has no peer, as the one who is called. It closes what fails.
func shake(ctx context.Context, conn net.Conn, c *Config, s *shaker, within time.Duration) (*link, error) {
	limit := time.Now().Add(within)
	if c.Deadline.Before(limit) {
		limit = c.Deadline
	}
	_ = conn.SetDeadline(limit)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	l, err := func() (*link, error) {
		s.conn = conn
		run, dialled := s.accept, false
		if s.peer != Nobody {
			run, dialled = s.dial, true
		}
		master, err := run()
		if err != nil {
			return nil, err
		}
		l, err := newLink(c.Self, s.peer, conn, master)
		if err != nil {
			return nil, err
		}
		l.payloads = c.Payloads
		return l, confirm(l, dialled)
	}()
	stop()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(c.Deadline)
	return l, nil
}

// Self gives this party's place.
func (m *Mesh) Self() int { return m.self }

// Parties gives their number.
func (m *Mesh) Parties() int { return len(m.links) }

// Err gives the abort, or nil while the mesh lives.
func (m *Mesh) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		return nil
	}
	return m.err
}

// fail ends the mesh for good; the first cause is the one that all calls give.
func (m *Mesh) fail(err error) error {
	a := (*Abort)(nil)
	if !errors.As(err, &a) {
		a = &Abort{Peer: Nobody, Kind: sandbox.KindOf(err), Rule: "a step failed on this side", Err: err}
	}
	m.mu.Lock()
	if m.err == nil {
		m.err = a
	}
	a = m.err
	m.mu.Unlock()
	for _, l := range m.links {
		if l != nil {
			_ = l.conn.Close()
		}
	}
	return a
}

// Abort ends the session: a check failed that this package does not know of. peer is who is known to have caused it, or Nobody.
func (m *Mesh) Abort(peer int, rule string) error { return m.fail(tampered(peer, rule)) }

// Bind gives every direction of every link a new key that hangs on the session's id; all parties call it at the same step. Nothing
// may be posted and not waited for.
func (m *Mesh) Bind(session [sm.Size]byte) error {
	if err := m.Err(); err != nil {
		return err
	}
	for _, l := range m.links {
		if l == nil {
			continue
		}
		if l.master == nil {
			return m.fail(&Abort{Peer: Nobody, Kind: sandbox.Conflict, Rule: "a mesh is bound once"})
		}
		if err := l.rekey(m.self, &session); err != nil {
			return m.fail(err)
		}
		clear(l.master)
		l.master = nil
	}
	return nil
}

func (m *Mesh) link(peer int) (*link, error) {
	if err := m.Err(); err != nil {
		return nil, err
	}
	if peer < 0 || peer >= len(m.links) || m.links[peer] == nil {
		return nil, m.fail(&Abort{Peer: Nobody, Kind: sandbox.Invalid, Rule: "a message goes to another party"})
	}
	return m.links[peer], nil
}

// Send seals one message of at least a byte, or its next part, and gives it to the transport; b is free afterwards. It may block
// until the peer posts.
func (m *Mesh) Send(to int, tag uint32, b []byte) error {
	l, err := m.link(to)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n := min(len(b), MaxFrame)
		if err := l.frame(tag, b[:n]); err != nil {
			return m.fail(err)
		}
		b = b[n:]
	}
	return nil
}

// Post says that the next len(into) bytes of a peer, under tag, belong in into, and gives the call that waits for them. into is the
// mesh's until then; after an error its content means nothing. Every party posts what it is to receive in a step before it sends.
func (m *Mesh) Post(from int, tag uint32, into []byte) (wait func() error) {
	l, err := m.link(from)
	if err != nil {
		return func() error { return err }
	}
	if len(into) == 0 {
		return func() error { return nil }
	}
	r := &receipt{tag: tag, into: into, done: make(chan error, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return func() error { return &Abort{Peer: Nobody, Kind: sandbox.Conflict, Rule: "the mesh is closed"} }
	}
	select {
	case l.posts <- r:
		return func() error { return <-r.done }
	default:
		return func() error {
			return m.fail(&Abort{Peer: Nobody, Kind: sandbox.Conflict, Rule: "at most 64 messages of a peer are waited for"})
		}
	}
}

// Chains gives the running digests of the frames to and from a peer, at a step where nothing is waited for.
func (m *Mesh) Chains(peer int) (out, in [sm.Size]byte) {
	l := m.links[peer]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.chain, l.in.chain
}

// Counters gives what has been sent and received so far.
func (m *Mesh) Counters() Counters {
	var c Counters
	for _, l := range m.links {
		if l != nil {
			c.Sent += l.sent.Load()
			c.Received += l.received.Load()
			c.Frames += l.frames.Load()
		}
	}
	return c
}

// Close ends the mesh and waits for its goroutines. Calls after it give the abort it ended with, or one of its own.
func (m *Mesh) Close() error {
	m.stop()
	_ = m.fail(&Abort{Peer: Nobody, Kind: sandbox.Conflict, Rule: "the mesh is closed"})
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		for _, l := range m.links {
			if l != nil {
				close(l.posts)
			}
		}
	}
	m.mu.Unlock()
	m.wg.Wait()
	return nil
}
