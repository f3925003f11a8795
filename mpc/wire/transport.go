package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// TCP (TCP 传输) carries a party's links over TCP: its own listener and the addresses of all parties.
type TCP struct {
	listener *net.TCPListener
	addrs    []string
}

// ListenTCP listens at a host and port; port 0 takes a free one, which Addr tells. Unavailable where it cannot.
func ListenTCP(addr string) (*TCP, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &sandbox.Error{Op: "mpc: listen", Kind: sandbox.Unavailable, Object: addr, Err: err}
	}
	return &TCP{listener: l.(*net.TCPListener)}, nil
}

// NewTCP takes over a listener that is open already.
func NewTCP(l *net.TCPListener) *TCP { return &TCP{listener: l} }

// Addr gives the address that is listened at.
func (t *TCP) Addr() string { return t.listener.Addr().String() }

// Reach sets the addresses of all parties, in their order.
func (t *TCP) Reach(addrs []string) { t.addrs = addrs }

// Origins gives the addresses of the parties that are known, by name or number, with a port or without: they call from there, unless something
// between changes it. Names that nobody knows are left out.
func (t *TCP) Origins(ctx context.Context) (out []netip.Addr) {
	for _, a := range t.addrs {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			host = a
		}
		if host == "" {
			continue
		}
		if found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host); err == nil {
			out = append(out, found...)
		}
	}
	return out
}

// Dial connects to a party.
func (t *TCP) Dial(ctx context.Context, to int) (net.Conn, error) {
	if to < 0 || to >= len(t.addrs) {
		return nil, &sandbox.Error{Op: "mpc: dial", Kind: sandbox.Invalid, Object: "address", Detail: "each party has an address"}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", t.addrs[to])
}

// Accept gives the next connection.
func (t *TCP) Accept(ctx context.Context) (net.Conn, error) {
	_ = t.listener.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = t.listener.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return t.listener.Accept()
}

// Close stops listening.
func (t *TCP) Close() error { return t.listener.Close() }

// Memory (内存传输) carries links within one process, without buffers: what is not read is not written.
type Memory struct {
	self  int
	calls []chan net.Conn
}

// NewMemory gives the transports of n parties to each other.
func NewMemory(n int) []*Memory {
	calls := make([]chan net.Conn, n)
	out := make([]*Memory, n)
	for i := range out {
		calls[i] = make(chan net.Conn)
		out[i] = &Memory{i, calls}
	}
	return out
}

// Dial connects to a party that accepts.
func (m *Memory) Dial(ctx context.Context, to int) (net.Conn, error) {
	if to < 0 || to >= len(m.calls) {
		return nil, errors.New("no such party")
	}
	here, there := net.Pipe()
	select {
	case m.calls[to] <- there:
		return here, nil
	case <-ctx.Done():
		_ = here.Close()
		_ = there.Close()
		return nil, ctx.Err()
	}
}

// Accept gives the next connection.
func (m *Memory) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case c := <-m.calls[m.self]:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
