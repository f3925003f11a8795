package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// strangers keep connections to an address open, each from one of the given hosts of this machine's own network, and call again at once where one is
// closed. It returns once all are connected; end closes them.
func strangers(t *testing.T, to string, hosts, each int) (taken *atomic.Int64, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var connected sync.WaitGroup
	taken = new(atomic.Int64)
	for h := range hosts {
		from := net.IPv4(127, 0, byte(h>>8), byte(1+h)) // the first is the peers' own
		if c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", to); err != nil {
			cancel()
			sandboxtest.Missing(t, "this machine has no addresses beside 127.0.0.1: "+err.Error())
		} else {
			_ = c.Close()
		}
		for range each {
			connected.Add(1)
			first := sync.OnceFunc(connected.Done)
			wg.Go(func() {
				defer first()
				for ctx.Err() == nil {
					c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext(ctx, "tcp", to)
					if err != nil {
						return // the party listens no more
					}
					taken.Add(1)
					first()
					stop := context.AfterFunc(ctx, func() { _ = c.Close() })
					_, _ = c.Write([]byte("ODM1")) // and never the rest
					_, _ = c.Read(make([]byte, 1))
					stop()
					_ = c.Close()
					time.Sleep(100 * time.Millisecond) // all together are some thousand calls a second, and the parties are on this machine too
				}
			})
		}
	}
	connected.Wait()
	return taken, func() { cancel(); wg.Wait() }
}

// TestStrangers: peers get through to parties whose places strangers hold and take again at once, from the peers' own address, from one other, or from
// hundreds.
func TestStrangers(t *testing.T) {
	for _, c := range []struct {
		hosts, each int
		unknown     bool // the listening side does not know from where peers call
	}{{1, 400, true}, {1, 400, false}, {300, 1, true}, {300, 1, false}, {20, 20, true}} {
		t.Run(fmt.Sprintf("%d from %d, unknown %t", c.each, c.hosts, c.unknown), func(t *testing.T) {
			g := wiretest.NewGroup(t, 3)
			ts := overTCP(t, 3)
			var ends []func()
			for i := range 2 { // the last one takes no calls
				addr := ts[i].(*wire.TCP).Addr()
				_, end := strangers(t, addr, c.hosts, c.each)
				ends = append(ends, end)
				if c.unknown {
					ts[i] = struct{ wire.Transport }{ts[i]}
				}
			}
			defer func() {
				for _, end := range ends {
					end()
				}
			}()
			for i, err := range g.Run(t.Context(), ts, time.Now().Add(time.Minute), wiretest.Exchange(3, 20)) {
				if err != nil {
					t.Errorf("party %d: %v", i, err)
				}
			}
		})
	}
}

// TestSilentStranger: who has not shown to be a peer in five seconds is cut off, whether it is silent or slow.
func TestSilentStranger(t *testing.T) {
	g := wiretest.NewGroup(t, 2)
	for name, gap := range map[string]time.Duration{"silent": 0, "slow": time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ts := wire.NewMemory(2)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				m, err := wire.Open(ctx, ts[0], g.Config(0, time.Now().Add(patience)))
				if err == nil {
					_ = m.Close()
				}
				if a := (*wire.Abort)(nil); !errors.As(err, &a) {
					t.Errorf("%s: %v", name, err)
				}
			})
			c, err := ts[1].Dial(ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if gap == 0 {
				_, err = c.Read(make([]byte, 1))
			} else {
				for b := []byte("O"); err == nil; {
					_, err = c.Write(b)
					time.Sleep(gap)
				}
			}
			if took := time.Since(start); err == nil || took < 4*time.Second || took > 7*time.Second {
				t.Errorf("%s: cut off after %v: %v", name, took, err)
			}
			cancel()
			wg.Wait()
		})
	}
}

// TestCalledAgain: a caller whose call is taken and ended without an answer calls again, and gives up after a few times, with the first reason.
func TestCalledAgain(t *testing.T) {
	g := wiretest.NewGroup(t, 2)
	for _, ended := range []int{3, 100} {
		synctest.Test(t, func(t *testing.T) {
			ts := wire.NewMemory(2)
			first := &ending{Transport: ts[0], left: ended}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for i, tr := range []wire.Transport{first, ts[1]} {
				wg.Go(func() {
					m, err := wire.Open(ctx, tr, g.Config(i, time.Now().Add(patience)))
					if errs[i] = err; err == nil {
						errs[i] = wiretest.Exchange(5)(m)
						_ = m.Close()
					}
					if err != nil {
						cancel()
					}
				})
			}
			wg.Wait()
			for i, err := range errs {
				if (err == nil) != (ended < 6) {
					t.Errorf("%d calls ended, party %d: %v", ended, i, err)
				}
			}
			if calls := ended - first.left; calls > 6 {
				t.Errorf("%d calls were made", calls)
			}
		})
	}
}

// ending is a transport that ends the calls it takes, so many.
type ending struct {
	wire.Transport
	left int
}

func (e *ending) Accept(ctx context.Context) (net.Conn, error) {
	for {
		c, err := e.Transport.Accept(ctx)
		if err != nil || e.left == 0 {
			return c, err
		}
		e.left--
		_ = c.Close()
	}
}
