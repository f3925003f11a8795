package wire_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
	"github.com/opdomain/opdomain/sandbox"
)

const patience = time.Minute

// faulty runs the program of three rounds on n parties with faults, in a bubble of fake time that fails on any goroutine left over.
// It gives the errors, the transports and how long the slowest party took.
func faulty(t *testing.T, g *wiretest.Group, faults ...wiretest.Fault) (errs []error, fs []*wiretest.Faulty, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var ts []wire.Transport
		for i, m := range wire.NewMemory(len(g.Peers)) {
			f := &wiretest.Faulty{Transport: m, Self: i, Faults: faults}
			fs, ts = append(fs, f), append(ts, f)
		}
		start := time.Now()
		errs = g.Run(context.Background(), ts, start.Add(patience), func(m *wire.Mesh) error {
			if err := wiretest.Exchange(3)(m); err != nil {
				return err
			}
			if err := m.Bind(sm.Sum([]byte("session"))); err != nil {
				return err
			}
			return wiretest.Exchange(20, 5)(m)
		})
		took = time.Since(start)
	})
	return errs, fs, took
}

func struck(fs []*wiretest.Faulty) (n int) {
	for _, f := range fs {
		n += f.Hit()
	}
	return n
}

// abortedAll wants one typed abort at every party by the deadline.
func abortedAll(t *testing.T, what string, errs []error, fs []*wiretest.Faulty, took time.Duration) {
	t.Helper()
	if struck(fs) == 0 {
		t.Fatalf("%s: the fault did not strike", what)
	}
	for i, err := range errs {
		if a := (*wire.Abort)(nil); !errors.As(err, &a) {
			t.Errorf("%s: party %d: %v, want an abort", what, i, err)
		}
	}
	if took > patience {
		t.Errorf("%s: took %v, past the deadline", what, took)
	}
}

// TestFaultFree is the yardstick of the others: without faults every party finishes, and what the trace shows is what the tests walk.
func TestFaultFree(t *testing.T) {
	g := wiretest.NewGroup(t, 3)
	errs, fs, _ := faulty(t, g)
	for i, err := range errs {
		if err != nil {
			t.Errorf("party %d: %v", i, err)
		}
	}
	// The dialler writes hello, secret, confirmation; the acceptor hello with secret, confirmation; then three rounds each.
	if n := len(fs[2].Trace(0)); n != 6 {
		t.Errorf("party 2 writes %d times to 0, want 6", n)
	}
	if n := len(fs[0].Trace(2)); n != 5 {
		t.Errorf("party 0 writes %d times to 2, want 5", n)
	}
}

// lastOf is the number of a direction's last write, of round three. Who loses it aborts; a party that got all of its own may have
// finished: no protocol can promise more about a last message.
func lastOf(from, to int) int {
	if from > to {
		return 5
	}
	return 4
}

// TestFaults puts every fault on every write of every direction between three parties.
func TestFaults(t *testing.T) {
	g := wiretest.NewGroup(t, 3)
	for _, kind := range []wiretest.Kind{wiretest.Drop, wiretest.Duplicate, wiretest.Reorder, wiretest.Delay, wiretest.Replay, wiretest.Close} {
		for from := range 3 {
			for to := range 3 {
				if from == to {
					continue
				}
				last := lastOf(from, to)
				for at := range last + 1 {
					if kind == wiretest.Replay && at == 0 || kind == wiretest.Duplicate && at == last {
						continue // nothing before it; nothing reads after it
					}
					what := fmt.Sprintf("%s write %d of %d to %d", kind, at, from, to)
					errs, fs, took := faulty(t, g, wiretest.Fault{Kind: kind, From: from, To: to, At: at, For: 2 * patience})
					if kind == wiretest.Delay {
						took = min(took, patience) // the late writer itself sleeps beyond
					}
					if at < last {
						abortedAll(t, what, errs, fs, took)
					} else if a := (*wire.Abort)(nil); !errors.As(errs[to], &a) {
						t.Errorf("%s: who gets no last message finished: %v", what, errs[to])
					}
				}
			}
		}
	}
}

// TestShortDelay: what comes late but in time is no fault.
func TestShortDelay(t *testing.T) {
	g := wiretest.NewGroup(t, 3)
	for at := range 6 {
		errs, fs, _ := faulty(t, g, wiretest.Fault{Kind: wiretest.Delay, From: 2, To: 1, At: at, For: 4 * time.Second})
		if struck(fs) != 1 {
			t.Fatal("the delay did not strike")
		}
		for i, err := range errs {
			if err != nil {
				t.Errorf("write %d late, party %d: %v", at, i, err)
			}
		}
	}
}

// TestEveryByte cuts and flips at every byte of both directions between two parties: handshake, headers, payloads, tags.
func TestEveryByte(t *testing.T) {
	g := wiretest.NewGroup(t, 2)
	step := 1
	if testing.Short() {
		step = 17
	}
	for _, d := range [][2]int{{0, 1}, {1, 0}} {
		_, fs, _ := faulty(t, g)
		trace := fs[d[0]].Trace(d[1])
		lastSize := trace[len(trace)-1]
		total := 0
		for _, n := range trace {
			total += n
		}
		// The lengths of SM2 signatures vary by a few bytes from run to run; the last message is apart as above.
		for at := 0; at < total-lastSize-8; at += step {
			for _, kind := range []wiretest.Kind{wiretest.Cut, wiretest.Flip} {
				errs, fs, took := faulty(t, g, wiretest.Fault{Kind: kind, From: d[0], To: d[1], At: at, Bit: uint(at)})
				abortedAll(t, fmt.Sprintf("%s at byte %d of %d to %d", kind, at, d[0], d[1]), errs, fs, took)
			}
		}
	}
}

// TestRestart: a party whose process ends and comes back under the same job finds nobody, and the others end.
func TestRestart(t *testing.T) {
	g := wiretest.NewGroup(t, 3)
	synctest.Test(t, func(t *testing.T) {
		ts := wire.NewMemory(3)
		ctx := context.Background()
		deadline := time.Now().Add(patience)
		errs := make([]error, 3)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				m, err := wire.Open(ctx, ts[i], g.Config(i, deadline))
				if err != nil {
					errs[i] = err
					return
				}
				if i == 1 {
					errs[i] = wiretest.Exchange(3)(m)
					_ = m.Close()
					if _, err := wire.Open(ctx, ts[i], g.Config(i, deadline)); err == nil {
						errs[i] = errors.New("came back into a session")
					} else {
						errs[i] = err
					}
					return
				}
				errs[i] = wiretest.Exchange(3, 20, 5)(m)
				_ = m.Close()
			})
		}
		wg.Wait()
		for i, err := range errs {
			if a := (*wire.Abort)(nil); !errors.As(err, &a) {
				t.Errorf("party %d: %v, want an abort", i, err)
			}
		}
		if time.Now().After(deadline) {
			t.Error("past the deadline")
		}
	})
}

// TestStopped: a cancelled run ends a party that waits, and with it the others.
func TestStopped(t *testing.T) {
	g := wiretest.NewGroup(t, 3)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var ts []wire.Transport
		for _, m := range wire.NewMemory(3) {
			ts = append(ts, m)
		}
		errs := g.Run(ctx, ts, time.Now().Add(patience), func(m *wire.Mesh) error {
			if m.Self() == 0 {
				cancel()
			}
			return m.Post((m.Self()+1)%3, 9, make([]byte, 8))()
		})
		for i, err := range errs {
			if !errors.Is(err, sandbox.Unavailable) {
				t.Errorf("party %d: %v, want unavailable", i, err)
			}
		}
	})
}

// TestAnotherTag: a peer at another step, or a message of another length, ends the session.
func TestAnotherStep(t *testing.T) {
	g := wiretest.NewGroup(t, 2)
	for name, sent := range map[string]struct {
		tag uint32
		n   int
	}{"tag": {8, 10}, "longer": {7, 11}} {
		synctest.Test(t, func(t *testing.T) {
			var ts []wire.Transport
			for _, m := range wire.NewMemory(2) {
				ts = append(ts, m)
			}
			errs := g.Run(context.Background(), ts, time.Now().Add(patience), func(m *wire.Mesh) error {
				if m.Self() == 0 {
					if err := m.Send(1, sent.tag, make([]byte, sent.n)); err != nil {
						return err
					}
				}
				return m.Post(1-m.Self(), 7, make([]byte, 10))()
			})
			for i, err := range errs {
				if a := (*wire.Abort)(nil); !errors.As(err, &a) {
					t.Errorf("%s: party %d: %v, want an abort", name, i, err)
				}
			}
			if !errors.Is(errs[1], sandbox.Tampered) {
				t.Errorf("%s: the receiver says %v, want tampered", name, errs[1])
			}
		})
	}
}

// TestNoGoroutineLeft: over TCP too nothing of an ended session runs on. (In memory the bubbles of the tests above see to it.)
func TestNoGoroutineLeft(t *testing.T) {
	g := wiretest.NewGroup(t, 3)
	for _, kind := range []wiretest.Kind{wiretest.Close, wiretest.Replay} {
		var ts []wire.Transport
		for i, tcp := range overTCP(t, 3) {
			ts = append(ts, &wiretest.Faulty{Transport: tcp, Self: i, Faults: []wiretest.Fault{{Kind: kind, From: 2, To: 0, At: 4}}})
		}
		for i, err := range g.Run(t.Context(), ts, time.Now().Add(patience), wiretest.Exchange(3, 20, 5)) {
			if a := (*wire.Abort)(nil); !errors.As(err, &a) {
				t.Errorf("%s: party %d: %v, want an abort", kind, i, err)
			}
		}
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, s := range strings.Split(string(stacks), "\n\n") {
			if strings.Contains(s, "wire.(*") && !strings.Contains(s, "TestNoGoroutineLeft") {
				t.Errorf("%s: a goroutine is left:\n%s", kind, s)
			}
		}
	}
}
