package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

type note struct {
	Text string `json:"text"`
	N    int    `json:"n"`
}

var testKey = []byte("0123456789abcdef")

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path, testKey, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "a dir?%#", "domain.db") }

func fresh(t *testing.T) (*Store, string) {
	t.Helper()
	path := file(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	return open(t, path), path
}

// raw opens the file behind the store's back.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	dsn, err := prepare(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func want(t *testing.T, err error, kind sandbox.Kind, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("%v is not %q", err, kind)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%v does not name %q", err, p)
		}
	}
}

func TestCollection(t *testing.T) {
	ctx := context.Background()
	s, _ := fresh(t)
	c := NewCollection[note](s, "note")

	_, _, err := c.Get(ctx, "n-1")
	want(t, err, sandbox.NotFound, "note n-1")
	if err := c.Insert(ctx, "n-1", "unit-a", "new", note{"one", 1}); err != nil {
		t.Fatal(err)
	}
	want(t, c.Insert(ctx, "n-1", "unit-a", "new", note{}), sandbox.Conflict, "note n-1")
	want(t, c.Insert(ctx, "N 1", "unit-a", "new", note{}), sandbox.Invalid, "note id")
	if err := NewCollection[note](s, "other").Insert(ctx, "n-1", "", "", note{}); err != nil {
		t.Fatalf("kinds share ids: %v", err)
	}

	rev, err := c.Update(ctx, "n-1", 1, "unit-a", "done", note{"two", 2})
	if err != nil || rev != 2 {
		t.Fatal(rev, err)
	}
	_, err = c.Update(ctx, "n-1", 1, "unit-a", "done", note{})
	want(t, err, sandbox.Conflict, "note n-1", "changed meanwhile")
	_, err = c.Update(ctx, "n-9", 1, "unit-a", "done", note{})
	want(t, err, sandbox.NotFound, "note n-9")
	v, rev, err := c.Get(ctx, "n-1")
	if err != nil || rev != 2 || v != (note{"two", 2}) {
		t.Fatal(v, rev, err)
	}

	if err := c.Delete(ctx, "n-1"); err != nil {
		t.Fatal(err)
	}
	want(t, c.Delete(ctx, "n-1"), sandbox.NotFound, "note n-1")
	_, _, err = c.Get(ctx, "n-1")
	want(t, err, sandbox.NotFound)
	if _, _, err := NewCollection[note](s, "other").Get(ctx, "n-1"); err != nil {
		t.Fatalf("another kind's document went with it: %v", err)
	}

	big := NewCollection[string](s, "big")
	want(t, big.Insert(ctx, "b", "", "", strings.Repeat("x", MaxBody)), sandbox.TooLarge)
	want(t, NewCollection[float64](s, "f").Insert(ctx, "f", "", "", math.Inf(1)), sandbox.Internal, "no JSON form")
}

func TestList(t *testing.T) {
	ctx := context.Background()
	s, _ := fresh(t)
	c := NewCollection[note](s, "note")
	for i := range 10 {
		owner, state := fmt.Sprintf("unit-%d", i%2), "new"
		if i >= 6 {
			state = "done"
		}
		// ids fall while the order of insertion rises
		if err := c.Insert(ctx, fmt.Sprintf("n-%d", 9-i), owner, state, note{N: i}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "0123456789"},
		{Filter{Owner: "unit-1"}, "13579"},
		{Filter{State: "done"}, "6789"},
		{Filter{Owner: "unit-0", State: "new"}, "024"},
		{Filter{Limit: 3}, "012"},
		{Filter{Limit: 3, After: "n-7"}, "345"},
		{Filter{State: "done", After: "n-1"}, "9"},
		{Filter{Owner: "nobody"}, ""},
	} {
		all, err := c.List(ctx, tc.f)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, d := range all {
			fmt.Fprint(&got, d.Value.N)
			if d.Rev != 1 || d.ID != fmt.Sprintf("n-%d", 9-d.Value.N) || d.Owner != fmt.Sprintf("unit-%d", d.Value.N%2) {
				t.Errorf("%+v: index columns do not belong to the body", d)
			}
		}
		if got.String() != tc.want {
			t.Errorf("%+v: %s, want %s", tc.f, &got, tc.want)
		}
	}
	_, err := c.List(ctx, Filter{After: "n-77"})
	want(t, err, sandbox.NotFound, "note n-77")
}

func TestOnceNeverCountsTwice(t *testing.T) {
	ctx := context.Background()
	s, _ := fresh(t)
	c := NewCollection[note](s, "usage")
	for i, wantFresh := range []bool{true, false, false} {
		got, err := c.Once(ctx, "u-1", "op", "2026-03", note{"a", 1})
		if err != nil || got != wantFresh {
			t.Fatalf("call %d: %v %v", i, got, err)
		}
	}
	_, err := c.Once(ctx, "u-1", "op", "2026-03", note{"a", 2})
	want(t, err, sandbox.Conflict, "usage u-1", "another payload")
	_, err = c.Once(ctx, "u-1", "other", "2026-03", note{"a", 1})
	want(t, err, sandbox.Conflict)
	all, err := c.List(ctx, Filter{})
	if err != nil || len(all) != 1 || all[0].Value.N != 1 {
		t.Fatal(all, err)
	}
}

func TestTransactionIsAllOrNothing(t *testing.T) {
	ctx := context.Background()
	s, _ := fresh(t)
	c := NewCollection[note](s, "note")
	stop := errors.New("stop")
	err := s.Tx(ctx, func(ctx context.Context) error {
		if err := c.Insert(ctx, "a", "", "", note{}); err != nil {
			return err
		}
		if _, err := s.Add(ctx, "bits", 3, 10); err != nil {
			return err
		}
		if _, _, err := c.Get(ctx, "a"); err != nil {
			t.Errorf("a transaction does not see its own write: %v", err)
		}
		if _, _, err := c.Get(context.Background(), "a"); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("an uncommitted write is seen outside: %v", err)
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if n, err := s.Counter(ctx, "bits"); n != 0 || err != nil {
		t.Error(n, err)
	}
	_, _, err = c.Get(ctx, "a")
	want(t, err, sandbox.NotFound)

	err = s.Tx(ctx, func(ctx context.Context) error {
		if err := c.Insert(ctx, "kept", "", "", note{}); err != nil {
			return err
		}
		inner := s.Tx(ctx, func(ctx context.Context) error {
			if err := c.Insert(ctx, "dropped", "", "", note{}); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(inner, stop) {
			t.Error(inner)
		}
		// a conflict inside the transaction does not spoil it
		want(t, c.Insert(ctx, "kept", "", "", note{}), sandbox.Conflict)
		return c.Insert(ctx, "also", "", "", note{})
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.List(ctx, Filter{})
	if err != nil || len(all) != 2 || all[0].ID != "kept" || all[1].ID != "also" {
		t.Fatal(all, err)
	}

	func() {
		defer func() { _ = recover() }()
		_ = s.Tx(ctx, func(ctx context.Context) error {
			if err := c.Insert(ctx, "panicked", "", "", note{}); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	_, _, err = c.Get(ctx, "panicked")
	want(t, err, sandbox.NotFound)
	if err := c.Insert(ctx, "panicked", "", "", note{}); err != nil {
		t.Fatalf("the writer is stuck after a panic: %v", err)
	}
}

func TestCounterNeverPassesItsBound(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	other := open(t, path)
	var wg sync.WaitGroup
	var mu sync.Mutex
	granted := 0
	for i := range 40 {
		wg.Go(func() {
			h := s
			if i%2 == 1 {
				h = other
			}
			_, err := h.Add(ctx, "uses", 1, 25)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				granted++
			} else if !errors.Is(err, sandbox.TooLarge) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if granted != 25 {
		t.Errorf("%d uses were granted of 25", granted)
	}
	if n, err := s.Add(ctx, "uses", -5, 25); n != 20 || err != nil {
		t.Error(n, err)
	}
	n, err := s.Add(ctx, "uses", math.MaxInt64, math.MaxInt64)
	want(t, err, sandbox.TooLarge, "uses")
	if n != 20 {
		t.Errorf("a refused Add gives %d, want the unchanged 20", n)
	}
	_, err = s.Add(ctx, "uses", -21, 25)
	want(t, err, sandbox.Invalid, "below zero")
	_, err = s.Add(ctx, "", 1, 25)
	want(t, err, sandbox.Invalid)
}

func TestNonceIsUsedOnce(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	now := time.Date(2026, 3, 5, 10, 0, 0, 0, time.UTC)
	if err := s.Seen(ctx, "op-1", "nonce-a", now.Add(time.Minute), now); err != nil {
		t.Fatal(err)
	}
	want(t, s.Seen(ctx, "op-1", "nonce-a", now.Add(time.Minute), now), sandbox.Unsigned, "replayed", "op-1")
	if err := s.Seen(ctx, "op-2", "nonce-a", now.Add(time.Minute), now); err != nil {
		t.Errorf("identities share nonces: %v", err)
	}
	want(t, s.Seen(ctx, "op-1", "nonce-b", now, now), sandbox.Unsigned, "expired")
	want(t, s.Seen(ctx, "op-1", strings.Repeat("n", MaxNonce+1), now.Add(time.Minute), now), sandbox.Unsigned, "1 to 128")

	again := open(t, path) // as after a restart
	want(t, again.Seen(ctx, "op-1", "nonce-a", now.Add(time.Minute), now.Add(30*time.Second)), sandbox.Unsigned, "replayed")

	later := now.Add(time.Hour)
	if err := s.Seen(ctx, "op-3", "nonce-c", later.Add(time.Minute), later); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := raw(t, path).QueryRow(`SELECT count(*) FROM nonces`).Scan(&left); err != nil || left != 1 {
		t.Errorf("%d nonces are kept after their expiry, %v", left-1, err)
	}
}

func TestTamperedRowIsNamed(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]string{
		"body":     `UPDATE documents SET body = CAST(substr(body, 1, length(body)-1) || x'00' AS BLOB) WHERE id = 'n-1'`,
		"empty":    `UPDATE documents SET body = x'' WHERE id = 'n-1'`,
		"nonce":    `UPDATE documents SET nonce = zeroblob(12) WHERE id = 'n-1'`,
		"short":    `PRAGMA ignore_check_constraints = 1; UPDATE documents SET nonce = x'00' WHERE id = 'n-1'`,
		"rev":      `UPDATE documents SET rev = 2 WHERE id = 'n-1'`,
		"owner":    `UPDATE documents SET owner = 'unit-b' WHERE id = 'n-1'`,
		"state":    `UPDATE documents SET state = 'approved' WHERE id = 'n-1'`,
		"swap":     `UPDATE documents SET body = (SELECT body FROM documents WHERE id = 'n-2'), nonce = (SELECT nonce FROM documents WHERE id = 'n-2') WHERE id = 'n-1'`,
		"reported": `UPDATE documents SET id = 'n-1x' WHERE id = 'n-1'`,
	} {
		t.Run(name, func(t *testing.T) {
			s, path := fresh(t)
			c := NewCollection[note](s, "note")
			for _, id := range []string{"n-1", "n-2"} {
				if err := c.Insert(ctx, id, "unit-a", "new", note{"text", 1}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := raw(t, path).Exec(change); err != nil {
				t.Fatal(err)
			}
			_, err := c.List(ctx, Filter{})
			want(t, err, sandbox.Tampered, "documents note n-1")
			if _, _, err := c.Get(ctx, "n-2"); err != nil {
				t.Errorf("an untouched row is refused: %v", err)
			}
		})
	}
	t.Run("counter", func(t *testing.T) {
		s, path := fresh(t)
		if _, err := s.Add(ctx, "bits", 9, 10); err != nil {
			t.Fatal(err)
		}
		if _, err := raw(t, path).Exec(`UPDATE counters SET value = 0`); err != nil {
			t.Fatal(err)
		}
		_, err := s.Add(ctx, "bits", 1, 10)
		want(t, err, sandbox.Tampered, "counters bits")
	})
}

func TestWrongKey(t *testing.T) {
	_, path := fresh(t)
	_, err := Open(context.Background(), path, []byte("fedcba9876543210"), rand.Reader)
	want(t, err, sandbox.Tampered, "documents store.key check")
	_, err = Open(context.Background(), path, testKey[:8], rand.Reader)
	want(t, err, sandbox.Invalid, "16 bytes")
}

func TestDamagedFile(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	c := NewCollection[note](s, "note")
	for i := range 200 {
		if err := c.Insert(ctx, fmt.Sprintf("n-%d", i), "", "", note{strings.Repeat("x", 100), i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte){
		"header": func(b []byte) { copy(b, "not a database !") },
		"pages": func(b []byte) {
			for i := 4096; i < len(b); i++ {
				b[i] ^= 0xff
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad := bytes.Clone(b)
			damage(bad)
			p := filepath.Join(t.TempDir(), "bad.db")
			if err := os.WriteFile(p, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(ctx, p, testKey, rand.Reader)
			want(t, err, sandbox.Tampered)
		})
	}
}

func TestNewerFileIsLeftAlone(t *testing.T) {
	_, path := fresh(t)
	if _, err := raw(t, path).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), path, testKey, rand.Reader)
	want(t, err, sandbox.Unavailable, "newer release")
}

func TestNoBodyTextInAnyFile(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	c := NewCollection[note](s, "note")
	secret := "张三的慢性病用药记录"
	if err := c.Insert(ctx, "n-1", "unit-a", "new", note{secret, 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(ctx, "n-1", 1, "unit-a", "new", note{secret + "2", 1}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	found := false
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(b, []byte("unit-a"))
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))[:12]} {
			if bytes.Contains(b, []byte(form)) {
				t.Errorf("%s holds a body's text", filepath.Base(f))
			}
		}
		if st, err := os.Stat(f); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is readable by others", filepath.Base(f))
		}
	}
	if !found {
		t.Error("the owner column was not found either: the search looked at nothing")
	}
}

func TestNoRandomness(t *testing.T) {
	s, _ := fresh(t)
	s.rand = io.LimitReader(rand.Reader, 5)
	want(t, NewCollection[note](s, "note").Insert(context.Background(), "n-1", "", "", note{}), sandbox.Unavailable, "randomness")
}

func TestCancelledRequest(t *testing.T) {
	s, _ := fresh(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	want(t, NewCollection[note](s, "note").Insert(ctx, "n-1", "", "", note{}), sandbox.Unavailable)
}

// TestSurvivesKill runs this test in a second process that writes until it is killed: what that process reported as
// written is there, whole, and the transaction it was in is not.
func TestSurvivesKill(t *testing.T) {
	ctx := context.Background()
	if path := os.Getenv("STORE_KILL"); path != "" {
		s, err := Open(ctx, path, testKey, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := NewCollection[note](s, "note")
		for i := range 20 {
			if err := c.Insert(ctx, fmt.Sprintf("n-%d", i), "", "", note{"kept", i}); err != nil {
				t.Fatal(err)
			}
		}
		_ = s.Tx(ctx, func(ctx context.Context) error {
			if err := c.Insert(ctx, "half", "", "", note{}); err != nil {
				t.Fatal(err)
			}
			fmt.Println("written")
			select {} // until killed
		})
	}
	_, path := fresh(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestSurvivesKill$")
	cmd.Env = append(os.Environ(), "STORE_KILL="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("written"))
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "written" {
		t.Errorf("the writer said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed: its status says nothing

	s := open(t, path)
	all, err := NewCollection[note](s, "note").List(ctx, Filter{})
	if err != nil || len(all) != 20 {
		t.Fatalf("%d of 20 documents after a kill, %v", len(all), err)
	}
	for i, d := range all {
		if d.Value.N != i {
			t.Errorf("document %d is %s", i, d.ID)
		}
	}
}
