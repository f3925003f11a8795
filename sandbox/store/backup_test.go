package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestBackupWhileOthersWrite copies a store that four goroutines write: each copy opens, is sound, and holds one moment.
func TestBackupWhileOthersWrite(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	c := NewCollection[note](s, "note")
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var first sync.WaitGroup
	const n = 4
	first.Add(n)
	for w := range n {
		writers.Go(func() {
			for i := 0; ; i++ {
				err := s.Tx(ctx, func(ctx context.Context) error {
					if _, err := s.Add(ctx, "left", 1, math.MaxInt64); err != nil {
						return err
					}
					if err := c.Insert(ctx, fmt.Sprintf("w-%d-%d", w, i), fmt.Sprintf("w-%d", w), "", note{strings.Repeat("y", 500), i}); err != nil {
						return err
					}
					_, err := s.Add(ctx, "right", 1, math.MaxInt64)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				if i == 0 {
					first.Done()
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	first.Wait()
	last := int64(0)
	for round := range 3 {
		before, err := s.Counter(ctx, "left")
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "copy.db")
		if err := s.Backup(ctx, to); err != nil {
			t.Fatal(err)
		}
		after, err := s.Counter(ctx, "left")
		if err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(to); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the copy has mode %v, %v", st.Mode(), err)
		}
		if all, err := os.ReadDir(filepath.Dir(to)); err != nil || len(all) != 1 {
			t.Errorf("%d files beside the copy, %v", len(all)-1, err)
		}
		b := open(t, to)
		if faults := b.Check(ctx); len(faults) > 0 {
			t.Error(faults)
		}
		left, err1 := b.Counter(ctx, "left")
		right, err2 := b.Counter(ctx, "right")
		all, err3 := NewCollection[note](b, "note").List(ctx, Filter{})
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if left != right || int64(len(all)) != left || left < before || left > after || left < last {
			t.Errorf("round %d: %d left, %d right, %d documents; %d were written before and %d after", round, left, right, len(all), before, after)
		}
		last = left
		next := map[string]int{} // of each writer a prefix
		for _, d := range all {
			if d.Value.N != next[d.Owner] {
				t.Errorf("round %d: %s has %d after %d", round, d.Owner, d.Value.N, next[d.Owner]-1)
			}
			next[d.Owner] = d.Value.N + 1
		}
		want(t, s.Backup(ctx, to), sandbox.Conflict, "copy.db")
	}
	close(stop)
	writers.Wait()
	if faults := s.Check(ctx); len(faults) > 0 {
		t.Error(faults)
	}

	// a copy opens with the same key only
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Backup(ctx, to); err != nil {
		t.Fatal(err)
	}
	_, err := Open(ctx, to, []byte("another key 1234"), rand.Reader)
	want(t, err, sandbox.Tampered)

	// what is not sound is not copied, and named
	if _, err := raw(t, path).Exec(`UPDATE documents SET owner = 'w-9' WHERE id = 'w-2-0'`); err != nil {
		t.Fatal(err)
	}
	to = filepath.Join(t.TempDir(), "copy.db")
	want(t, s.Backup(ctx, to), sandbox.Tampered, "w-2-0")
	for _, left := range []string{to, to + ".partial"} {
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left of a backup that was refused", filepath.Base(left))
		}
	}
}

// TestCheckNamesEveryFault changes several rows and finds each by name.
func TestCheckNamesEveryFault(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	c := NewCollection[note](s, "note")
	for i := range 5 {
		if err := c.Insert(ctx, fmt.Sprintf("n-%d", i), "", "new", note{N: i}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(ctx, fmt.Sprintf("bits-%d", i), 1, 10); err != nil {
			t.Fatal(err)
		}
	}
	if faults := s.Check(ctx); len(faults) != 0 {
		t.Fatal(faults)
	}
	for _, change := range []string{`UPDATE documents SET state = 'done' WHERE id = 'n-1'`, `UPDATE documents SET rev = 7 WHERE id = 'n-3'`,
		`UPDATE counters SET value = 9 WHERE name = 'bits-2'`} {
		if _, err := raw(t, path).Exec(change); err != nil {
			t.Fatal(err)
		}
	}
	faults := s.Check(ctx)
	for _, place := range []string{"documents note n-1", "documents note n-3", "counters bits-2"} {
		found := 0
		for _, err := range faults {
			if strings.Contains(err.Error(), place) && errors.Is(err, sandbox.Tampered) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s is named %d times in %v", place, found, faults)
		}
	}
	if len(faults) != 3 {
		t.Errorf("%d faults of 3", len(faults))
	}
}
