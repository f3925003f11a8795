package wire

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	shakeTime  = 10 * time.Second // what one handshake may take
	helloTime  = 5 * time.Second  // of that, until a caller has shown that it is a peer
	maxCallers = 64               // in a handshake at a time: strangers of all addresses together, and of each address that a peer is known to call from
	maxProven  = 2                // handshakes of one peer at a time
)

// origin is the part of an address that calls are counted by; invalid where a transport has none, as in memory.
func origin(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64 // one host has as many as it likes below that
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// originOf gives a connection's.
func originOf(c net.Conn) netip.Prefix {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return origin(a.AddrPort().Addr())
	}
	return netip.Prefix{}
}

// Origins (来源地址) is a Transport that knows from which addresses peers call: their calls have places of their own, which strangers cannot take.
type Origins interface {
	Origins(ctx context.Context) []netip.Addr
}

// caller is a connection whose handshake is under way: of nobody known until a hello verifies.
type caller struct {
	conn net.Conn
	from netip.Prefix
}

// callers are the handshakes of an accepting party, bounded. A new call is always taken: where there is no place, the oldest of those from the
// address that has the most is closed for it. Whoever keeps connections open thus loses them to the next call, and loses its own while another address
// has fewer; a peer shows itself by its first message, long before so many others have called. Refusing the new call instead would let the first
// strangers keep everybody out, and a number for each address would be too many from a thousand and too few from one behind which many stand.
type callers struct {
	mu       sync.Mutex
	waiting  []*caller // oldest first
	expected []netip.Prefix
	proven   map[int]int // by peer
}

// expect gives the calls from these addresses places of their own.
func (c *callers) expect(all []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range all {
		if p := origin(a); p.IsValid() && !slices.Contains(c.expected, p) {
			c.expected = append(c.expected, p)
		}
	}
}

// enter takes a call; where its place was another's, that one is closed.
func (c *callers) enter(conn net.Conn) *caller {
	x := &caller{conn, originOf(conn)}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := slices.Contains(c.expected, x.from)
	of, all, gives := map[netip.Prefix]int{}, 0, -1
	for _, w := range c.waiting {
		if w.from == x.from || !known && !slices.Contains(c.expected, w.from) { // they share places
			of[w.from]++
			all++
		}
	}
	if all >= maxCallers {
		for i, w := range c.waiting { // of addresses with as many, the one that called first
			if of[w.from] > 0 && (gives < 0 || of[w.from] > of[c.waiting[gives].from]) {
				gives = i
			}
		}
	}
	if gives >= 0 {
		_ = c.waiting[gives].conn.Close() // its handshake fails, and its goroutine ends
		c.waiting = slices.Delete(c.waiting, gives, gives+1)
	}
	c.waiting = append(c.waiting, x)
	return x
}

// heard makes a call the newest, as its first message is there and is looked at.
func (c *callers) heard(x *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.waiting, x); i >= 0 {
		c.waiting = append(slices.Delete(c.waiting, i, i+1), x)
	}
}

// leave forgets a call that has failed or is a peer's.
func (c *callers) leave(x *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.waiting, x); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
}

// prove takes a call for a peer's, whose hello verified: no stranger can have it closed any more. False where the peer has as many under way: a hello
// that was recorded can be sent again.
func (c *callers) prove(x *caller, peer int) bool {
	c.leave(x)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proven[peer] >= maxProven {
		return false
	}
	c.proven[peer]++
	return true
}

// done ends a peer's handshake.
func (c *callers) done(peer int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven[peer]--
}
