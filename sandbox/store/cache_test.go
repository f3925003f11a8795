package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// slow is a document whose reader a test can hold between the file and the cache.
type slow struct {
	N int
}

var holdMu sync.Mutex
var hold func() // called once, by the next reader

func (v *slow) UnmarshalJSON(b []byte) error {
	holdMu.Lock()
	f := hold
	hold = nil
	holdMu.Unlock()
	if f != nil {
		f()
	}
	return json.Unmarshal(b, &v.N)
}

func (v slow) MarshalJSON() ([]byte, error) { return json.Marshal(v.N) }

// TestCacheNeverTakesUpWhatWasReplaced holds a reader that has the old document in hand while a writer replaces it.
func TestCacheNeverTakesUpWhatWasReplaced(t *testing.T) {
	ctx := context.Background()
	s, _ := fresh(t)
	c := NewCollection[slow](s, "slow")
	cache := NewCache(c, 10)
	if err := c.Insert(ctx, "a", "", "", slow{N: 1}); err != nil {
		t.Fatal(err)
	}
	has, goOn, read := make(chan struct{}), make(chan struct{}), make(chan int64, 1)
	hold = func() { close(has); <-goOn }
	go func() {
		_, rev, err := cache.Get(ctx, "a")
		if err != nil {
			t.Error(err)
		}
		read <- rev
	}()
	<-has
	if _, err := c.Update(ctx, "a", 1, "", "", slow{N: 2}); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if rev := <-read; rev != 1 {
		t.Fatalf("the held reader has revision %d", rev)
	}
	if v, rev, err := cache.Get(ctx, "a"); err != nil || rev != 2 || v.N != 2 {
		t.Errorf("revision %d is given after revision 2 was reported as written, %v", rev, err)
	}

	// while a commit is under way nothing of it is kept
	done := s.caches.change([]docKey{{"slow", "a"}})
	if len(cache.of) != 0 {
		t.Error("a document stays in the cache while a commit changes it")
	}
	if _, _, err := cache.Get(ctx, "a"); err != nil || len(cache.of) != 0 {
		t.Errorf("a document is taken up while a commit changes it, %v", err)
	}
	done()
	if _, _, err := cache.Get(ctx, "a"); err != nil || len(cache.of) != 1 {
		t.Errorf("a document is not taken up after the commit, %v", err)
	}
}

func TestCacheInTransactionsAndItsBound(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	c := NewCollection[note](s, "note")
	cache := NewCache(c, 3)
	for i := range 10 {
		if err := c.Insert(ctx, fmt.Sprintf("n-%d", i), "", "", note{N: i}); err != nil {
			t.Fatal(err)
		}
		if v, _, err := cache.Get(ctx, fmt.Sprintf("n-%d", i)); err != nil || v.N != i || len(cache.of) > 3 {
			t.Fatal(v, err, len(cache.of))
		}
	}
	if _, _, err := cache.Get(ctx, "n-9"); err != nil {
		t.Fatal(err)
	}
	// it is a cache: a change behind the store's back is not seen for what it holds
	if _, err := raw(t, path).Exec(`UPDATE documents SET body = x'00' WHERE id = 'n-9'`); err != nil {
		t.Fatal(err)
	}
	if v, _, err := cache.Get(ctx, "n-9"); err != nil || v.N != 9 {
		t.Errorf("%v: it was read from the file, not the cache", err)
	}
	stop := errors.New("stop")
	err := s.Tx(ctx, func(in context.Context) error {
		if _, err := c.Update(in, "n-8", 1, "", "", note{N: 80}); err != nil {
			return err
		}
		if v, _, err := cache.Get(in, "n-8"); err != nil || v.N != 80 {
			t.Errorf("a transaction does not see its own write through the cache: %v %v", v, err)
		}
		if v, _, err := cache.Get(ctx, "n-8"); err != nil || v.N != 8 {
			t.Errorf("an uncommitted write is seen outside: %v %v", v, err)
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if v, _, err := cache.Get(ctx, "n-8"); err != nil || v.N != 8 {
		t.Errorf("a write that was rolled back is in the cache: %v %v", v, err)
	}
	if err := c.Delete(ctx, "n-8"); err != nil {
		t.Fatal(err)
	}
	_, _, err = cache.Get(ctx, "n-8")
	want(t, err, sandbox.NotFound, "note n-8")
}

// TestCacheUnderWriters: what a reader gets is never older than what was reported as written before it asked.
func TestCacheUnderWriters(t *testing.T) {
	ctx := context.Background()
	s, _ := fresh(t)
	c := NewCollection[note](s, "note")
	cache := NewCache(c, 2) // three documents: some always leave
	var written [3]atomic.Int64
	for i := range written {
		if err := c.Insert(ctx, fmt.Sprintf("n-%d", i), "", "", note{N: 1}); err != nil {
			t.Fatal(err)
		}
		written[i].Store(1)
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for i := range written {
		writers.Go(func() {
			for rev := int64(1); rev < 120; rev++ {
				next, err := c.Update(ctx, fmt.Sprintf("n-%d", i), rev, "", "", note{N: int(rev + 1)})
				if err != nil {
					t.Error(err)
					return
				}
				written[i].Store(next)
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := n % 3
				least := written[i].Load()
				v, rev, err := cache.Get(ctx, fmt.Sprintf("n-%d", i))
				if err != nil || rev < least || int64(v.N) != rev {
					t.Errorf("revision %d with value %d, when %d was written, %v", rev, v.N, least, err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for i := range written {
		if _, rev, err := cache.Get(ctx, fmt.Sprintf("n-%d", i)); err != nil || rev != 120 {
			t.Errorf("revision %d at the end, %v", rev, err)
		}
	}
}
