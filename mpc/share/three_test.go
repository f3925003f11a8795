package share

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
)

// net is three parties' links within a test: it holds both ends to tags and lengths and keeps what each party received.
type net struct {
	queue   [3][3]chan part
	mu      sync.Mutex
	aborted chan struct{}
	rule    string
	lengths [3][]string // what each party sent: to, tag, length
	views   [3][]byte   // what each party received, in order
	keep    bool
}

type part struct {
	tag uint32
	b   []byte
}

var errAborted = errors.New("aborted")

func newNet() *net {
	n := &net{aborted: make(chan struct{})}
	for i := range 3 {
		for j := range 3 {
			n.queue[i][j] = make(chan part, 4096)
		}
	}
	return n
}

type end struct {
	n  *net
	me int
}

func (l end) Self() int { return l.me }

func (l end) Send(to int, tag uint32, b []byte) error {
	l.n.mu.Lock()
	l.n.lengths[l.me] = append(l.n.lengths[l.me], fmt.Sprintf("%d:%d:%d", to, tag, len(b)))
	l.n.mu.Unlock()
	if len(b) == 0 {
		return nil
	}
	select {
	case l.n.queue[l.me][to] <- part{tag, bytes.Clone(b)}:
		return nil
	case <-l.n.aborted:
		return errAborted
	}
}

func (l end) Post(from int, tag uint32, into []byte) func() error {
	return func() error {
		all := into
		for len(into) > 0 {
			select {
			case p := <-l.n.queue[from][l.me]:
				if p.tag != tag || len(p.b) > len(into) {
					return l.Abort(from, fmt.Sprintf("tag %d length %d, want tag %d at most %d", p.tag, len(p.b), tag, len(into)))
				}
				into = into[copy(into, p.b):]
			case <-l.n.aborted:
				return errAborted
			}
		}
		if l.n.keep {
			l.n.mu.Lock()
			l.n.views[l.me] = append(l.n.views[l.me], all...)
			l.n.mu.Unlock()
		}
		return nil
	}
}

func (l end) Abort(_ int, rule string) error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	select {
	case <-l.n.aborted:
	default:
		l.n.rule = rule
		close(l.n.aborted)
	}
	return errAborted
}

type setup struct {
	adversary Adversary
	generator Generator
	seed      uint64
	keep      bool
	engine    func(e *Engine) // before the program
}

func (s setup) fill() setup {
	if s.adversary == "" {
		s.adversary = SemiHonest
	}
	if s.generator == "" {
		s.generator = AESGenerator
	}
	return s
}

func pairSecret(seed uint64, i int) []byte {
	d := sm.Sum(fmt.Appendf(nil, "pair %d of %d", i, seed))
	return d[:]
}

// run plays a program at three parties and gives each one's result.
func run[T any](t testing.TB, s setup, program func(e *Engine, o *Opener) (T, error)) (out [3]T, errs [3]error, n *net) {
	t.Helper()
	s = s.fill()
	n = newNet()
	n.keep = s.keep
	var wg sync.WaitGroup
	for i := range 3 {
		e, o, err := New(Config{Link: end{n, i}, Adversary: s.adversary, Generator: s.generator, Previous: pairSecret(s.seed, i), Next: pairSecret(s.seed, (i+1)%3)})
		if err != nil {
			t.Fatal(err)
		}
		if s.engine != nil {
			s.engine(e)
		}
		wg.Go(func() {
			out[i], errs[i] = program(e, o)
			if errs[i] == nil {
				errs[i] = e.Err()
			}
			if errs[i] != nil { // a party that stops closes its links
				_ = end{n, i}.Abort(-1, "stopped")
			}
		})
	}
	wg.Wait()
	return out, errs, n
}

// same wants one result, without an error, at all three.
func same(t testing.TB, what string, out [3][]uint64, errs [3]error, want []uint64) {
	t.Helper()
	for i := range 3 {
		if errs[i] != nil {
			t.Fatalf("%s: party %d: %v", what, i, errs[i])
		}
		if len(out[i]) != len(want) {
			t.Fatalf("%s: party %d has %d rows, want %d", what, i, len(out[i]), len(want))
		}
		for k := range want {
			if out[i][k] != want[k] {
				t.Fatalf("%s: party %d, row %d of %d differs from the plain twin", what, i, k, len(want))
			}
		}
	}
}

// mine gives the values to their owner and nil to the others.
func mine(e *Engine, owner int, v []uint64) []uint64 {
	if e.me == owner {
		return v
	}
	return nil
}

var extremes = []uint64{0, 1, 2, 1<<63 - 1, 1 << 63, 1<<63 + 1, ^uint64(0), ^uint64(0) - 1, 1 << 32, 1<<32 - 1}

// column draws values with extremes and duplicates among them.
func column(r *rand.Rand, n int) []uint64 {
	v := make([]uint64, n)
	for i := range v {
		switch r.IntN(4) {
		case 0:
			v[i] = extremes[r.IntN(len(extremes))]
		case 1:
			v[i] = uint64(r.IntN(5))
		case 2:
			v[i] = -uint64(r.IntN(5))
		default:
			v[i] = r.Uint64()
		}
	}
	return v
}
