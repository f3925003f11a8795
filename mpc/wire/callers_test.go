package wire

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

// calling is a connection from an address.
type calling struct {
	net.Conn
	from   string
	closed bool
}

func (c *calling) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.from), 4000))
}
func (c *calling) Close() error { c.closed = true; return nil }

// TestCallers: a new call is always taken; who gives its place up is the oldest of the address that has the most, and never one that has shown itself
// or is expected.
func TestCallers(t *testing.T) {
	in := &callers{proven: map[int]int{}}
	in.expect([]netip.Addr{netip.MustParseAddr("::ffff:198.51.100.7")}) // which is an address of IPv4
	var all []*calling
	call := func(from string) (*calling, *caller) {
		c := &calling{from: from}
		all = append(all, c)
		return c, in.enter(c)
	}
	closed := func() (n []int) {
		for i, c := range all {
			if c.closed {
				n = append(n, i)
			}
		}
		return n
	}
	peer, mine := call("198.51.100.7")
	for range maxCallers - 20 {
		call("192.0.2.1")
	}
	for i := range 15 { // a host of IPv6 has one place, whichever of its addresses it takes
		call(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}).String())
	}
	for i := range 5 {
		call(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String())
	}
	if closed() != nil {
		t.Fatal("closed before there are too many")
	}
	call("203.0.113.200")
	_, shown := call("203.0.113.201")
	call("::ffff:192.0.2.1")
	if got := closed(); !slices.Equal(got, []int{1, 2, 3}) {
		t.Fatalf("%v, want the oldest of the address that has the most", got)
	}
	in.heard(in.waiting[slices.IndexFunc(in.waiting, func(w *caller) bool { return w.conn == all[4] })])
	for range maxCallers - 20 - 3 - 15 {
		call(netip.AddrFrom4([4]byte{100, 64, 0, byte(len(all))}).String())
	}
	if got := closed(); len(got) != 3+maxCallers-38 || all[4].closed || !all[5].closed || all[60].closed {
		t.Fatalf("%v: one whose message is there is the newest", got)
	}
	if !in.prove(shown, 2) || !in.prove(&caller{}, 2) || in.prove(&caller{}, 2) || !in.prove(&caller{}, 1) {
		t.Error("a peer has two handshakes at a time")
	}
	in.done(2)
	if !in.prove(&caller{}, 2) {
		t.Error("a handshake that ended keeps its place")
	}
	for i := range 10 * maxCallers {
		call(netip.AddrFrom4([4]byte{100, 65, byte(i >> 8), byte(i)}).String())
	}
	if peer.closed || shown.conn.(*calling).closed {
		t.Error("strangers have a peer's call closed")
	}
	if n := len(in.waiting); n != maxCallers+1 {
		t.Errorf("%d wait", n)
	}
	for range maxCallers {
		call("198.51.100.7")
	}
	if !peer.closed {
		t.Error("a peer's address takes any number")
	}
	in.leave(mine)
	in.leave(mine)
	if n := len(in.waiting); n != 2*maxCallers {
		t.Errorf("%d wait", n)
	}
	a, b := net.Pipe() // of no address
	defer a.Close()
	defer b.Close()
	if x := in.enter(a); x.from.IsValid() {
		t.Error("a pipe has an address")
	}
}
