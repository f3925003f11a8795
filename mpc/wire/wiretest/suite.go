package wiretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// Group (测试参与方组) is the keys of parties in a test.
type Group struct {
	Keys  []*sm.SigningKey
	Peers []wire.Peer
	Job   [sm.Size]byte
}

// NewGroup draws keys for n parties.
func NewGroup(t testing.TB, n int) *Group {
	t.Helper()
	g := &Group{Job: sm.Sum([]byte("a test's job"))}
	for i := range n {
		k, err := sm.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		g.Keys = append(g.Keys, k)
		g.Peers = append(g.Peers, wire.Peer{ID: sandbox.PartyID(fmt.Sprintf("party-%d", i)), Key: k.Public()})
	}
	return g
}

// Config gives a party's configuration.
func (g *Group) Config(self int, deadline time.Time) wire.Config {
	return wire.Config{Self: self, Peers: g.Peers, Key: g.Keys[self], Job: g.Job, Rand: rand.Reader, Deadline: deadline}
}

// Run opens a mesh for each party over its transport, runs program on each in a goroutine of its own, closes the meshes and gives
// the errors. A party whose mesh does not open has that error.
func (g *Group) Run(ctx context.Context, ts []wire.Transport, deadline time.Time, program func(*wire.Mesh) error) []error {
	errs := make([]error, len(ts))
	var wg sync.WaitGroup
	for i, t := range ts {
		wg.Go(func() {
			m, err := wire.Open(ctx, t, g.Config(i, deadline))
			if err != nil {
				errs[i] = err
				return
			}
			errs[i] = program(m)
			_ = m.Close()
		})
	}
	wg.Wait()
	return errs
}

// Exchange is a program of straight-line rounds: in each, every party sends so many bytes to every other and compares what comes.
func Exchange(sizes ...int) func(*wire.Mesh) error {
	return func(m *wire.Mesh) error {
		for round, n := range sizes {
			if err := pass(m, uint32(round+1), n); err != nil {
				return err
			}
		}
		return nil
	}
}

func pattern(from, to int, tag uint32, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + from*31 + to*17 + int(tag))
	}
	return b
}

func pass(m *wire.Mesh, tag uint32, n int) error {
	got := make([][]byte, m.Parties())
	waits := make([]func() error, m.Parties())
	for p := range m.Parties() {
		if p != m.Self() {
			got[p] = make([]byte, n)
			waits[p] = m.Post(p, tag, got[p])
		}
	}
	for p := range m.Parties() {
		if p != m.Self() {
			if err := m.Send(p, tag, pattern(m.Self(), p, tag, n)); err != nil {
				return err
			}
		}
	}
	for p := range m.Parties() {
		if p == m.Self() {
			continue
		}
		if err := waits[p](); err != nil {
			return err
		}
		if !bytes.Equal(got[p], pattern(p, m.Self(), tag, n)) {
			return errors.New("a message arrives as it was sent")
		}
	}
	return nil
}

// Suite is the contract of a transport: open gives the transports of n parties.
func Suite(t *testing.T, open func(t *testing.T, n int) []wire.Transport) {
	deadline := func() time.Time { return time.Now().Add(time.Minute) }
	t.Run("messages of all sizes", func(t *testing.T) {
		for _, n := range []int{2, 3, 5} {
			g := NewGroup(t, n)
			for i, err := range g.Run(context.Background(), open(t, n), deadline(), Exchange(1, 2, wire.MaxFrame-1, wire.MaxFrame, wire.MaxFrame+1, 3*wire.MaxFrame+5)) {
				if err != nil {
					t.Errorf("%d parties, party %d: %v", n, i, err)
				}
			}
		}
	})
	t.Run("new keys of a session, equal chains, counted bytes", func(t *testing.T) {
		g := NewGroup(t, 3)
		var mu sync.Mutex
		chains := map[[2]int][2][sm.Size]byte{}
		var sum wire.Counters
		for i, err := range g.Run(context.Background(), open(t, 3), deadline(), func(m *wire.Mesh) error {
			if err := Exchange(10)(m); err != nil {
				return err
			}
			if err := m.Bind(sm.Sum([]byte("session"))); err != nil {
				return err
			}
			if err := Exchange(100, 70000)(m); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for p := range 3 {
				if p != m.Self() {
					out, in := m.Chains(p)
					chains[[2]int{m.Self(), p}] = [2][sm.Size]byte{out, in}
				}
			}
			c := m.Counters()
			sum.Sent += c.Sent
			sum.Received += c.Received
			sum.Frames += c.Frames
			return nil
		}) {
			if err != nil {
				t.Fatalf("party %d: %v", i, err)
			}
		}
		for at, c := range chains {
			if other := chains[[2]int{at[1], at[0]}]; c[0] != other[1] || c[1] != other[0] {
				t.Errorf("link %v: the ends' chains differ", at)
			}
		}
		// Six directions: the handshake's empty frame is sent and counted, then 10, 100 and 70000 bytes, each with 36 of header and tag.
		if want := int64(6 * (4*36 + 10 + 100 + 70000)); sum.Sent != want || sum.Received != want || sum.Frames != 24 {
			t.Errorf("sent %d received %d in %d frames, want %d in 24", sum.Sent, sum.Received, sum.Frames, want)
		}
	})
	t.Run("another session", func(t *testing.T) {
		g := NewGroup(t, 3)
		for i, err := range g.Run(context.Background(), open(t, 3), deadline(), func(m *wire.Mesh) error {
			id := sm.Sum([]byte("session"))
			if m.Self() == 1 {
				id = sm.Sum([]byte("another"))
			}
			if err := m.Bind(id); err != nil {
				return err
			}
			return Exchange(10)(m)
		}) {
			mustAbort(t, i, err)
		}
	})
	t.Run("one party stops", func(t *testing.T) {
		g := NewGroup(t, 3)
		for i, err := range g.Run(context.Background(), open(t, 3), deadline(), func(m *wire.Mesh) error {
			if m.Self() == 2 {
				return m.Abort(0, "a check of a test")
			}
			return Exchange(10, 10)(m)
		}) {
			mustAbort(t, i, err)
		}
	})
	t.Run("strangers and impostors", func(t *testing.T) {
		g, other := NewGroup(t, 3), NewGroup(t, 3)
		ts := open(t, 3)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		errs := make([]error, 3)
		party := func(i int) {
			m, err := wire.Open(ctx, ts[i], g.Config(i, time.Now().Add(time.Minute)))
			if errs[i] = err; err == nil {
				errs[i] = Exchange(10)(m)
				_ = m.Close()
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { party(0) })
		wg.Go(func() { party(1) })
		// Garbage, then a party with the wrong key, before the real one comes.
		if c, err := ts[2].Dial(ctx, 0); err == nil {
			_, _ = c.Write(bytes.Repeat([]byte("x"), 500))
			_ = c.Close()
		}
		c := g.Config(2, time.Now().Add(time.Minute))
		c.Key = other.Keys[2]
		c.Peers = append([]wire.Peer(nil), g.Peers...)
		c.Peers[2].Key = other.Keys[2].Public()
		_, err := wire.Open(ctx, ts[2], c)
		mustAbort(t, 2, err)
		party(2)
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("party %d: %v", i, err)
			}
		}
	})
}

// mustAbort wants the one typed abort.
func mustAbort(t *testing.T, party int, err error) {
	t.Helper()
	if a := (*wire.Abort)(nil); !errors.As(err, &a) {
		t.Errorf("party %d: %v, want an abort", party, err)
	}
}
