package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// together calls f n times at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// TestNoncesOfManyCallers: 200 callers at once each spend a nonce of their own; then every one is refused to everybody,
// also after the file was opened anew.
func TestNoncesOfManyCallers(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	const callers = 200
	name := func(i int) (sandbox.IdentityID, string) {
		return sandbox.IdentityID(fmt.Sprintf("op-%d", i%3)), fmt.Sprintf("nonce-%d", i)
	}
	together(callers, func(i int) {
		who, nonce := name(i)
		if err := s.Seen(ctx, who, nonce, noon.Add(time.Minute), noon); err != nil {
			t.Errorf("first use of %d: %v", i, err)
		}
	})
	var again atomic.Int64
	replay := func(s *Store) func(int) {
		return func(i int) {
			who, nonce := name(i)
			if err := s.Seen(ctx, who, nonce, noon.Add(time.Minute), noon.Add(time.Second)); errors.Is(err, sandbox.Unsigned) {
				again.Add(1)
			} else {
				t.Errorf("second use of %d: %v", i, err)
			}
		}
	}
	together(callers, replay(s))
	other := open(t, path)
	together(callers, replay(other))
	if again.Load() != 2*callers {
		t.Errorf("%d replays of %d were refused", again.Load(), 2*callers)
	}
	var kept int
	if err := raw(t, path).QueryRow(`SELECT count(*) FROM nonces`).Scan(&kept); err != nil || kept != callers {
		t.Errorf("%d nonces in the file, %v", kept, err)
	}
}

// TestOneNonceAtOnce: of many who spend one nonce at the same moment, through two open stores, one gets it.
func TestOneNonceAtOnce(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	stores := []*Store{s, open(t, path)}
	for round := range 5 {
		var got atomic.Int64
		together(40, func(i int) {
			err := stores[i%2].Seen(ctx, "op-1", fmt.Sprintf("one-%d", round), noon.Add(time.Minute), noon)
			if err == nil {
				got.Add(1)
			} else if !errors.Is(err, sandbox.Unsigned) {
				t.Error(err)
			}
		})
		if got.Load() != 1 {
			t.Errorf("%d of 40 callers spent one nonce", got.Load())
		}
	}
}

func waiting(who, nonce string, expires, now time.Time) *spend {
	return &spend{identity: sandbox.IdentityID(who), nonce: nonce, expires: expires.Unix(), now: now.Unix()}
}

// TestBatchDecidesEachAlone: replays, expired requests and a full identity fail by themselves, not those they share a
// transaction with.
func TestBatchDecidesEachAlone(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	s.perIdentity = 3
	soon := noon.Add(time.Minute)
	if err := s.Seen(ctx, "op-1", "used", soon, noon); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		e    *spend
		kind sandbox.Kind // "" for none
	}{
		{waiting("op-1", "used", soon, noon), sandbox.Unsigned},
		{waiting("op-1", "a", soon, noon), ""},
		{waiting("op-1", "a", soon, noon), sandbox.Unsigned}, // twice in one batch
		{waiting("op-2", "a", soon, noon), ""},
		{waiting("op-3", "gone", noon.Add(5*time.Second), noon), sandbox.Unsigned}, // by the time another of the batch has
		{waiting("op-3", "late", soon, noon.Add(10*time.Second)), ""},
		{waiting("op-1", "b", soon, noon), ""},
		{waiting("op-1", "c", soon, noon), sandbox.TooLarge},
		{waiting("op-2", "c", soon, noon), ""},
	}
	var batch []*spend
	for _, step := range steps {
		batch = append(batch, step.e)
	}
	s.spend(ctx, batch)
	for i, step := range steps {
		if step.kind == "" && step.e.err != nil || step.kind != "" && !errors.Is(step.e.err, step.kind) {
			t.Errorf("%d (%s %s): %v, want %q", i, step.e.identity, step.e.nonce, step.e.err, step.kind)
		}
	}
	var kept int
	if err := raw(t, path).QueryRow(`SELECT count(*) FROM nonces`).Scan(&kept); err != nil || kept != 6 {
		t.Errorf("%d nonces in the file, want 6, %v", kept, err)
	}
	want(t, s.Seen(ctx, "op-1", "d", soon, noon), sandbox.TooLarge, "op-1", "at most 3")
	if err := s.Seen(ctx, "op-2", "d", soon, noon); err != nil {
		t.Errorf("one identity's bound is another's: %v", err)
	}
	again := open(t, path)
	again.perIdentity = 3
	want(t, again.Seen(ctx, "op-1", "d", soon, noon), sandbox.TooLarge)
	for _, h := range []*Store{s, again} { // what expired makes room
		later := soon.Add(time.Second)
		if err := h.Seen(ctx, "op-1", fmt.Sprintf("e-%p", h), later.Add(time.Minute), later); err != nil {
			t.Errorf("after the others expired: %v", err)
		}
	}
}

// TestExpiredNoncesAreSweptAndStayRefused moves the clock a day on and back again.
func TestExpiredNoncesAreSweptAndStayRefused(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	for i := range 20 {
		if err := s.Seen(ctx, "op-1", fmt.Sprintf("old-%d", i), noon.Add(time.Minute), noon); err != nil {
			t.Fatal(err)
		}
	}
	other := open(t, path) // of another process, with its own idea of the clock
	if err := other.Seen(ctx, "op-2", "elsewhere", noon.Add(time.Minute), noon); err != nil {
		t.Fatal(err)
	}
	day := noon.Add(24 * time.Hour)
	if err := s.Seen(ctx, "op-1", "new", day.Add(time.Minute), day); err != nil {
		t.Fatal(err)
	}
	var kept int
	if err := raw(t, path).QueryRow(`SELECT count(*) FROM nonces`).Scan(&kept); err != nil || kept != 1 {
		t.Errorf("%d nonces are kept, want 1: %v", kept, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(ctx, path, testKey, s.rand)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, h := range map[string]*Store{"opened anew": s, "another process": other} {
		for i := range 20 {
			want(t, h.Seen(ctx, "op-1", fmt.Sprintf("old-%d", i), noon.Add(time.Minute), noon), sandbox.Unsigned)
		}
		// a request made under the clock that was set back is refused too, until time has passed the mark again
		want(t, h.Seen(ctx, "op-1", "fresh "+name, noon.Add(time.Minute), noon), sandbox.Unsigned, "at a time this domain has seen")
		if err := h.Seen(ctx, "op-1", "valid "+name, day.Add(time.Minute), noon); err != nil {
			t.Errorf("%s: a request that expires later: %v", name, err)
		}
		want(t, h.Seen(ctx, "op-1", "valid "+name, day.Add(time.Minute), noon), sandbox.Unsigned, "replayed")
	}
}

// TestNonceThatWasNotKeptIsNotSpent: when the transaction fails, all that shared it are told, and may come again.
func TestNonceThatWasNotKeptIsNotSpent(t *testing.T) {
	ctx := context.Background()
	dir := disk(t, "1m")
	s := open(t, filepath.Join(dir, File))
	if err := s.Seen(ctx, "op-1", "before", noon.Add(time.Minute), noon); err != nil {
		t.Fatal(err)
	}
	spare := filepath.Join(dir, "spare")
	if err := os.WriteFile(spare, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	failed := make([]bool, 50)
	together(50, func(i int) {
		err := s.Seen(ctx, "op-1", fmt.Sprintf("nonce-%d", i), noon.Add(time.Minute), noon)
		if failed[i] = err != nil; failed[i] {
			named(t, "full disk", err, sandbox.Unavailable)
		}
	})
	if err := os.Remove(spare); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, was := range failed {
		if was {
			n++
		}
		err := s.Seen(ctx, "op-1", fmt.Sprintf("nonce-%d", i), noon.Add(time.Minute), noon)
		if was && err != nil {
			t.Errorf("%d was spent although its caller was told that it was not: %v", i, err)
		}
		if !was {
			want(t, err, sandbox.Unsigned)
		}
	}
	if n == 0 {
		t.Error("no nonce failed on a full disk")
	}
	want(t, s.Seen(ctx, "op-1", "before", noon.Add(time.Minute), noon), sandbox.Unsigned)
}

func TestNonceOfAnEndedRequest(t *testing.T) {
	s, _ := fresh(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	want(t, s.Seen(ctx, "op-1", "a", noon.Add(time.Minute), noon), sandbox.Unavailable)
	if err := s.Seen(context.Background(), "op-1", "a", noon.Add(time.Minute), noon); err != nil {
		t.Errorf("a request that ended spent its nonce: %v", err)
	}
}
