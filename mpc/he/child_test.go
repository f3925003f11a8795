//go:build linux

package he

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

const childVariable = "OPDOMAIN_HE_TEST_ENGINE" // bytes of memory; this test program is then the engine

func TestMain(m *testing.M) {
	if s := os.Getenv(childVariable); s != "" {
		memory, err := strconv.ParseUint(s, 10, 64)
		if err == nil {
			err = Confine(memory)
		}
		if err == nil {
			err = Serve(context.Background(), rand.Reader, os.Stdin, os.Stdout)
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newChild(t testing.TB, memory uint64) (*Child, int) {
	t.Helper()
	pid := 0
	c, err := NewChild(Program{Path: "/proc/self/exe", Args: []string{"he-engine"}, Env: []string{childVariable + "=" + strconv.FormatUint(memory, 10)}, began: func(p int) { pid = p }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, pid
}

// TestChild runs an epoch with every party's adapter in a process of its own.
func TestChild(t *testing.T) {
	c, l := newCast(t, 3), everyMeasure()
	rows := [][]row{{{0, 1, []int64{5, 2, 1}, 0}, {0, 2, []int64{9, 4, 2}, 0}}, {{0, 1, []int64{6, 8, 0}, 0}}, {{1, 1, []int64{7, 1, 3}, 0}}}
	c.engine = func() Engine { e, _ := newChild(t, 2<<30); return e }
	e := c.begin(c.plan(1, 2, []int{0, 2}, l))
	c.contribute(e, partials(t, &l, rows))
	got, err := e.gate.Open(context.Background(), e.contribs, c.shares(e))
	c.ok(err)
	plainly(t, &l, rows, got)
}

// TestChildErrors come back as what they are.
func TestChildErrors(t *testing.T) {
	c, _ := newChild(t, 2<<30)
	for _, x := range []struct {
		op   Op
		args [][]byte
		kind sandbox.Kind
	}{
		{OpAdd, [][]byte{[]byte(SumSet), {1, 2, 3}}, sandbox.Invalid},
		{OpAdd, [][]byte{[]byte("free-form"), {1, 2, 3}}, sandbox.NotFound},
		{OpEncrypt, [][]byte{make([]byte, 8), {1}}, sandbox.NotFound},
		{0, [][]byte{{1}}, sandbox.Invalid},
		{opEnd, [][]byte{{1}}, sandbox.Invalid},
		{OpAdd, nil, sandbox.TooLarge},
	} {
		if _, err := c.Do(context.Background(), x.op, x.args...); !errors.Is(err, x.kind) {
			t.Errorf("operation %d: %v, want %s", x.op, err, x.kind)
		}
	}
}

// TestChildEnds kills the adapter's process in the middle of an epoch, and has another run out of memory: each is one typed abort, the host
// lives, and nothing is tried again.
func TestChildEnds(t *testing.T) {
	c, l := newCast(t, 3), countOnly()
	rows := [][]row{{{0, 1, []int64{5}, 0}}, {{0, 1, []int64{6}, 0}}, {{0, 1, []int64{7}, 0}}}
	var pids []int
	c.engine = func() Engine { e, pid := newChild(t, 2<<30); pids = append(pids, pid); return e }
	e := c.begin(c.plan(1, 2, []int{0, 2}, l))
	c.contribute(e, partials(t, &l, rows))
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, err := e.units[0].Share(context.Background(), e.contribs)
	aborted(t, err, sandbox.Unavailable, "")
	if _, err := e.units[0].Engine.Do(context.Background(), OpErase, make([]byte, 8)); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("the engine is there again: %v", err)
	}

	small, _ := newChild(t, 1<<30)
	big := make([][]byte, 1, 65)
	big[0] = []byte(SumSet)
	for range 64 {
		big = append(big, make([]byte, 3<<20))
	}
	fill := func() (err error) { // keys until the memory ends, or the bound on them
		for range maxKeys {
			if _, err = small.Do(context.Background(), OpNewShare, []byte(StatisticsSet), make([]byte, seedSize)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fill(); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("1 GiB holds 1024 keys of 1 MiB and more: %v", err)
	}
	if _, err := small.Do(context.Background(), OpAdd, big...); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a call after the end: %v", err)
	}
}

// TestChildCancel ends a call by its context: the process is gone, at once and for good.
func TestChildCancel(t *testing.T) {
	c, pid := newChild(t, 2<<30)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Do(ctx, OpNewShare, []byte(SumSet), make([]byte, seedSize)); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a cancelled call: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("its process is still there: %v", err)
	}
}

// liar is a process that answers every call with so many parts.
type liar struct {
	parts int
	out   sink
}

func (l *liar) Start() (Process, error)    { return l, nil }
func (l *liar) Read(b []byte) (int, error) { return l.out.Read(b) }
func (l *liar) Kill()                      {}
func (l *liar) Write(b []byte) (int, error) {
	l.out = nil
	return len(b), WriteFrame(&l.out, 0, make([][]byte, l.parts))
}

// TestChildLies: an answer with more or fewer parts than the operation gives ends the engine, for each operation, and never the host.
func TestChildLies(t *testing.T) {
	ctx := context.Background()
	for op := Op(0); op <= opEnd; op++ {
		args := [][]byte{make([]byte, 8), {3, 2}}
		n, known := results(op, args)
		if known != (op > 0 && op < opEnd) {
			t.Errorf("operation %d: known %t", op, known)
		}
		for parts := range 6 {
			c, err := NewChild(&liar{parts: parts})
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.Do(ctx, op, args...)
			if known && parts == n {
				if err != nil || len(out) != n {
					t.Errorf("operation %d with %d parts: %v", op, parts, err)
				}
			} else if !errors.Is(err, sandbox.Unavailable) {
				t.Errorf("operation %d takes %d parts: %v", op, parts, err)
			}
		}
	}
	cast := newCast(t, 3)
	p := cast.plan(1, 2, []int{0, 1}, countOnly())
	e, err := NewChild(&liar{})
	cast.ok(err)
	g, err := NewGate(Config{Plan: p, Engine: e, Sign: cast.sign[3], Open: cast.open[3], Ledger: cast.ledgers[3], Rand: rand.Reader})
	cast.ok(err)
	_, err = g.Commit(ctx)
	aborted(t, err, sandbox.Unavailable, "")
}

// FuzzFrame reads calls off a pipe: no length is believed.
func FuzzFrame(f *testing.F) {
	var b sink
	_ = WriteFrame(&b, 3, [][]byte{{1, 2}, {}, {3}})
	f.Add([]byte(b))
	f.Add([]byte{1, 0, 1, 255, 255, 255, 255})
	f.Add([]byte{1, 0, 1, 15, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := sink(b)
		if first, parts, err := ReadFrame(&in); err == nil {
			var again sink
			_ = WriteFrame(&again, first, parts)
			if string(again) != string(b[:len(again)]) {
				t.Fatal("a frame has two encodings")
			}
		}
	})
}

// sink is a byte slice that is written to and read from.
type sink []byte

func (s *sink) Write(b []byte) (int, error) { *s = append(*s, b...); return len(b), nil }

func (s *sink) Read(b []byte) (int, error) {
	if len(*s) == 0 {
		return 0, io.EOF
	}
	n := copy(b, *s)
	*s = (*s)[n:]
	return n, nil
}
