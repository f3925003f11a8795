package witness

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

const origin = "opdomain/d"

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *sm.SigningKey {
	t.Helper()
	k, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newLog(t testing.TB, dir string, key *sm.SigningKey) *tlog.Log {
	t.Helper()
	l, err := tlog.Create(tlog.Config{Dir: dir, Origin: origin, Key: key, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func grow(t testing.TB, l *tlog.Log, n int) {
	t.Helper()
	var recs []tlog.Record
	for range n {
		var r tlog.Record
		if _, err := rand.Read(r.Entry[:]); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, r)
	}
	if _, err := l.Append(context.Background(), recs...); err != nil {
		t.Fatal(err)
	}
}

// witnessed is a witness behind a real HTTP server, and its client.
func witnessed(t testing.TB, name string, c Config) (*Witness, Client) {
	t.Helper()
	c.Name, c.Rand = name, rand.Reader
	if c.Now == nil {
		c.Now = func() time.Time { return start }
	}
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(w.Handler())
	t.Cleanup(s.Close)
	return w, Client{Name: name, URL: s.URL, Key: c.Key.Public(), HTTP: s.Client()}
}

func TestRollbackIsRefused(t *testing.T) {
	ctx, logKey := context.Background(), newKey(t)
	dir := filepath.Join(t.TempDir(), "log")
	l := newLog(t, dir, logKey)
	grow(t, l, 10)
	var clients []Client
	var policy tlog.Policy
	for _, name := range []string{"agency", "unit", "operator"} {
		key := newKey(t)
		_, c := witnessed(t, name, Config{Dir: t.TempDir(), Key: key, Logs: map[string]*sm.VerifyKey{origin: logKey.Public()}})
		clients = append(clients, c)
		policy.Witnesses = append(policy.Witnesses, tlog.WitnessKey{Name: name, Key: key.Public()})
	}
	policy.Log, policy.Quorum = logKey.Public(), 3
	if n, asked, failed, err := Behind(ctx, l, clients); err != nil || asked != 0 || len(failed) > 0 || n.Size != 0 {
		t.Fatalf("before the first: %d %v %v", asked, failed, err)
	}
	collect := func(l *tlog.Log) tlog.Note {
		t.Helper()
		n, failed := Collect(ctx, l, clients)
		if _, _, err := policy.Verify(n); err != nil {
			t.Fatalf("%v %v", failed, err)
		}
		return n
	}
	collect(l)
	collect(l) // nothing has changed: signed again
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	open := func(dir string) *tlog.Log {
		t.Helper()
		l, err := tlog.Open(tlog.Config{Dir: dir, Origin: origin, Key: logKey, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	l = open(dir)
	grow(t, l, 300)
	if n := collect(l); n.Size != 310 {
		t.Errorf("witnessed %d", n.Size)
	}
	if n, asked, _, err := Behind(ctx, l, clients); err != nil || asked != 3 || n.Size != 310 {
		t.Errorf("the log itself: %d %d %v", n.Size, asked, err)
	}
	old := open(copied)
	if _, _, _, err := Behind(ctx, old, clients); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "10 entries") || !strings.Contains(err.Error(), "310") {
		t.Errorf("the folder put back opens: %v", err)
	}
	// It grows past what they have seen, on another branch.
	grow(t, old, 500)
	if _, _, _, err := Behind(ctx, old, clients); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "forked") {
		t.Errorf("the fork opens: %v", err)
	}
	n, failed := Collect(ctx, old, clients)
	if len(n.Cosignatures) > 0 || len(failed) != 3 {
		t.Errorf("a fork was signed by %d", len(n.Cosignatures))
	}
	for _, err := range failed {
		if !errors.Is(err, sandbox.Tampered) {
			t.Errorf("a fork: %v", err)
		}
	}
	// One witness out of reach is said; the others are asked.
	clients[1].URL = "http://127.0.0.1:1"
	if _, asked, failed, err := Behind(ctx, l, clients); err != nil || asked != 2 || failed["unit"] == nil {
		t.Errorf("%d %v %v", asked, failed, err)
	}
	n, failed = Collect(ctx, l, clients)
	if _, _, err := policy.Verify(n); len(failed) != 1 || !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("two of three: %v %v", failed, err)
	}
}

func TestWhatAWitnessRefuses(t *testing.T) {
	ctx, logKey, key := context.Background(), newKey(t), newKey(t)
	l := newLog(t, filepath.Join(t.TempDir(), "log"), logKey)
	fork := newLog(t, filepath.Join(t.TempDir(), "fork"), logKey)
	alien := newLog(t, filepath.Join(t.TempDir(), "alien"), newKey(t))
	grow(t, l, 5)
	five := l.Checkpoint()
	grow(t, l, 4)
	nine := l.Checkpoint()
	proof, err := l.Consistency(5, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fork.Append(ctx, tlog.Record{Entry: sm.Sum([]byte("other"))}); err != nil {
		t.Fatal(err)
	}
	grow(t, fork, 8)
	grow(t, alien, 9)
	forkProof, err := fork.Consistency(5, 9)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := Config{Dir: dir, Key: key, Logs: map[string]*sm.VerifyKey{origin: logKey.Public()}}
	w, client := witnessed(t, "w", c)
	if _, err := client.AddCheckpoint(ctx, 0, nil, five); err != nil {
		t.Fatal(err)
	}
	five9 := five
	five9.Origin = "opdomain/other"
	for name, x := range map[string]struct {
		old   uint64
		proof [][]byte
		cp    tlog.Checkpoint
		want  error
	}{
		"from a size it is not at": {4, proof, nine, sandbox.Conflict},
		"from nothing":             {0, nil, nine, sandbox.Conflict},
		"no proof":                 {5, nil, nine, sandbox.Tampered},
		"a fork":                   {5, forkProof, fork.Checkpoint(), sandbox.Tampered},
		"another key's":            {5, proof, alien.Checkpoint(), sandbox.Denied},
		"an unknown log's":         {5, proof, five9, sandbox.NotFound},
		"a proof too long":         {5, append(append([][]byte{}, proof...), proof[0]), nine, sandbox.Tampered},
	} {
		if _, err := client.AddCheckpoint(ctx, x.old, x.proof, x.cp); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, err := w.Latest(origin); err != nil || n.Size != 5 {
		t.Errorf("a refusal moved it to %d, %v", n.Size, err)
	}
	if _, err := client.AddCheckpoint(ctx, 5, proof, nine); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AddCheckpoint(ctx, 9, nil, five); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a smaller tree: %v", err)
	}
	// Another root for the size it is at.
	other := newLog(t, filepath.Join(t.TempDir(), "same"), logKey)
	if _, err := other.Append(ctx, tlog.Record{Entry: sm.Sum([]byte("x"))}); err != nil {
		t.Fatal(err)
	}
	grow(t, other, 8)
	if _, err := client.AddCheckpoint(ctx, 9, nil, other.Checkpoint()); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another root: %v", err)
	}
	// It remembers over a restart, and refuses a state that it did not sign.
	again, err := Open(Config{Dir: dir, Name: "w", Key: key, Logs: c.Logs, Now: c.Now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := again.Latest(origin); err != nil || n.Size != 9 {
		t.Errorf("after a restart: %d %v", n.Size, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "logs", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 4
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir, Name: "w", Key: key, Logs: c.Logs, Rand: rand.Reader}); !errors.Is(err, sandbox.Tampered) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

// TestClockGoesBack: a witness's times rise whatever its clock does.
func TestClockGoesBack(t *testing.T) {
	ctx, logKey := context.Background(), newKey(t)
	l := newLog(t, filepath.Join(t.TempDir(), "log"), logKey)
	grow(t, l, 3)
	now := start
	_, client := witnessed(t, "w", Config{Dir: t.TempDir(), Key: newKey(t), Logs: map[string]*sm.VerifyKey{origin: logKey.Public()}, Now: func() time.Time { return now }})
	first, err := client.AddCheckpoint(ctx, 0, nil, l.Checkpoint())
	if err != nil {
		t.Fatal(err)
	}
	now = start.AddDate(-1, 0, 0)
	second, err := client.AddCheckpoint(ctx, 3, nil, l.Checkpoint())
	if err != nil || second.Time.Before(first.Time) {
		t.Errorf("%s after %s, %v", second.Time, first.Time, err)
	}
}

// TestOneStory: many checkpoints at once, of a log and of its fork: a witness signs one line of history.
func TestOneStory(t *testing.T) {
	ctx, logKey := context.Background(), newKey(t)
	a := newLog(t, filepath.Join(t.TempDir(), "a"), logKey)
	b := newLog(t, filepath.Join(t.TempDir(), "b"), logKey)
	grow(t, a, 2)
	if _, err := b.Append(ctx, tlog.Record{Entry: sm.Sum([]byte("fork"))}); err != nil {
		t.Fatal(err)
	}
	_, client := witnessed(t, "w", Config{Dir: t.TempDir(), Key: newKey(t), Logs: map[string]*sm.VerifyKey{origin: logKey.Public()}})
	var mu sync.Mutex
	signed := map[string]int{}
	var wait sync.WaitGroup
	for _, l := range []*tlog.Log{a, b} {
		for range 4 {
			wait.Go(func() {
				for range 5 {
					if n, _ := Collect(ctx, l, []Client{client}); len(n.Cosignatures) == 1 {
						mu.Lock()
						signed[l.Key().Fingerprint()+fmt.Sprintf("%p", l)]++
						mu.Unlock()
					}
				}
			})
		}
		wait.Go(func() {
			for range 10 {
				grow(t, l, 1)
			}
		})
	}
	wait.Wait()
	if len(signed) != 1 {
		t.Errorf("%d of two forks were signed", len(signed))
	}
}

// TestCrash breaks every operation of two signatures: what was answered is remembered.
func TestCrash(t *testing.T) {
	ctx, logKey, key := context.Background(), newKey(t), newKey(t)
	l := newLog(t, filepath.Join(t.TempDir(), "log"), logKey)
	grow(t, l, 3)
	three := l.Checkpoint()
	grow(t, l, 3)
	six := l.Checkpoint()
	proof, err := l.Consistency(3, 6)
	if err != nil {
		t.Fatal(err)
	}
	open := func(fs *crashfs.FS) (*Witness, error) {
		return Open(Config{FS: fs, Dir: "/w", Name: "w", Key: key, Logs: map[string]*sm.VerifyKey{origin: logKey.Public()}, Now: func() time.Time { return start }, Rand: rand.Reader})
	}
	for op := 1; ; op++ {
		ran := false
		for mode := crashfs.Fail; mode <= crashfs.Last; mode++ {
			fs := crashfs.New()
			w, err := open(fs)
			if err != nil {
				t.Fatal(err)
			}
			if err := fs.SyncDir("/"); err != nil {
				t.Fatal(err)
			}
			if err := fs.SyncDir("/w"); err != nil {
				t.Fatal(err)
			}
			fs.Arm(crashfs.Fault{At: op, Mode: mode})
			var answered uint64
			if _, err := w.AddCheckpoint(ctx, 0, nil, three); err == nil {
				answered = 3
				if _, err := w.AddCheckpoint(ctx, 3, proof, six); err == nil {
					answered = 6
				}
			}
			ran = ran || fs.Operations() >= op
			for _, s := range []crashfs.Survive{crashfs.All, crashfs.Synced, crashfs.Mixed} {
				w, err := open(fs.Reboot(s, rand.Reader))
				if err != nil {
					t.Fatalf("operation %d, mode %d: %v", op, mode, err)
				}
				n, err := w.Latest(origin)
				if err != nil && !errors.Is(err, sandbox.NotFound) || n.Size < answered {
					t.Errorf("operation %d, mode %d, reboot %d: answered %d, remembers %d, %v", op, mode, s, answered, n.Size, err)
				}
			}
		}
		if !ran {
			return
		}
	}
}

func TestHTTPForms(t *testing.T) {
	logKey := newKey(t)
	_, client := witnessed(t, "w", Config{Dir: t.TempDir(), Key: newKey(t), Logs: map[string]*sm.VerifyKey{origin: logKey.Public()}})
	for body, want := range map[string]int{
		"":                           http.StatusBadRequest,
		"old 0\n":                    http.StatusBadRequest,
		"old 00\n\nx":                http.StatusBadRequest,
		"old -1\n\nx":                http.StatusBadRequest,
		"old 0\nAAAA\n\nx":           http.StatusBadRequest,
		strings.Repeat("a", 200<<10): http.StatusBadRequest,
	} {
		res, err := client.HTTP.Post(client.URL+"/add-checkpoint", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%.20q: %d", body, res.StatusCode)
		}
	}
	if _, err := client.Latest(context.Background(), "no/log", logKey.Public()); !errors.Is(err, sandbox.NotFound) {
		t.Error(err)
	}
}

func FuzzRequest(f *testing.F) {
	key := newKey(f)
	l := newLog(f, filepath.Join(f.TempDir(), "log"), key)
	grow(f, l, 3)
	f.Add(request{0, nil, tlog.Note{Checkpoint: l.Checkpoint()}}.String())
	proof, err := l.Consistency(2, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request{2, proof, tlog.Note{Checkpoint: l.Checkpoint()}}.String())
	f.Add("old 1\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRequest(text)
		if err == nil && r.String() != text {
			t.Fatal("a request has two forms")
		}
	})
}
