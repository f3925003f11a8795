package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

const filed = 40 // documents of filled

var noon = time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)

func filledNote(i int) note { return note{strings.Repeat("x", 20+i*7), i} }

// filled writes a file with documents, a counter and nonces, closes it and gives its bytes.
func filled(t *testing.T) []byte {
	t.Helper()
	ctx := context.Background()
	s, path := fresh(t)
	c := NewCollection[note](s, "note")
	for i := range filed {
		if err := c.Insert(ctx, fmt.Sprintf("n-%d", i), fmt.Sprintf("unit-%d", i%3), "new", filledNote(i)); err != nil {
			t.Fatal(err)
		}
		if err := s.Seen(ctx, "op-1", fmt.Sprintf("nonce-%d", i), noon.Add(time.Minute), noon); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(ctx, "bits", 3, 1000); err != nil {
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
	return b
}

// named checks that a failure is a *sandbox.Error that says a place and one of the kinds.
func named(t *testing.T, what string, err error, kinds ...sandbox.Kind) {
	t.Helper()
	var e *sandbox.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v is no *sandbox.Error", what, err)
		return
	}
	for _, k := range kinds {
		if e.Kind == k {
			if !strings.Contains(e.Object, File) && !strings.Contains(e.Object, "documents ") && !strings.Contains(e.Object, "counters ") {
				t.Errorf("%s: %v names neither the file nor a row of it", what, err)
			}
			return
		}
	}
	t.Errorf("%s: %v is none of %q", what, err, kinds)
}

// readBack opens a damaged file and reads everything: each answer is the one of the sound file, or a named error. It
// gives how many errors there were.
func readBack(t *testing.T, what, path string) (failures int) {
	t.Helper()
	ctx := context.Background()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panicked: %v", what, p)
		}
	}()
	fault := func(step string, err error) bool {
		if err == nil {
			return false
		}
		failures++
		named(t, what+": "+step, err, sandbox.Tampered, sandbox.Unavailable)
		return true
	}
	s, err := Open(ctx, path, testKey, rand.Reader)
	if fault("open", err) {
		return failures
	}
	defer func() { _ = s.Close() }() // a damaged file may not close well
	c := NewCollection[note](s, "note")
	for i := range filed {
		v, rev, err := c.Get(ctx, fmt.Sprintf("n-%d", i))
		if !fault("get", err) && (v != filledNote(i) || rev != 1) {
			t.Errorf("%s: document %d is another one", what, i)
		}
	}
	all, err := c.List(ctx, Filter{})
	if !fault("list", err) {
		for i, d := range all {
			if d.Value != filledNote(i) {
				t.Errorf("%s: the list has another document at %d", what, i)
			}
		}
		if len(all) != filed {
			t.Errorf("%s: the list has %d documents", what, len(all))
		}
	}
	of, err := c.List(ctx, Filter{Owner: "unit-1"})
	if !fault("list by owner", err) && len(of) != filed/3 {
		t.Errorf("%s: the list by owner has %d documents", what, len(of))
	}
	n, err := s.Counter(ctx, "bits")
	if !fault("counter", err) && n != 3*filed {
		t.Errorf("%s: the counter is another one", what)
	}
	for i := range filed {
		err := s.Seen(ctx, "op-1", fmt.Sprintf("nonce-%d", i), noon.Add(time.Minute), noon)
		switch {
		case err == nil:
			t.Errorf("%s: nonce %d passes again", what, i)
		case !errors.Is(err, sandbox.Unsigned):
			fault("nonce", err)
		}
	}
	return failures
}

func damaged(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), File)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFlippedByteIsNamed changes one byte at a time, all over the file and densely in its header and schema.
func TestFlippedByteIsNamed(t *testing.T) {
	sound := filled(t)
	if n := readBack(t, "sound", damaged(t, sound)); n != 0 {
		t.Fatalf("%d failures in a sound file", n)
	}
	r := mathrand.New(mathrand.NewPCG(3, 2026))
	failures := 0
	const tries = 240
	for i := range tries {
		at := r.IntN(len(sound))
		switch i % 6 {
		case 0:
			at = r.IntN(100) // header
		case 1:
			at = r.IntN(4096) // schema
		}
		bad := bytes.Clone(sound)
		bad[at] ^= byte(1 + r.IntN(255))
		if readBack(t, fmt.Sprintf("byte %d", at), damaged(t, bad)) > 0 {
			failures++
		}
	}
	if failures < tries/4 {
		t.Errorf("only %d of %d changes were noticed: the test changes nothing that is read", failures, tries)
	}
}

// TestTruncatedFileIsNamed cuts the file at random places and at page edges.
func TestTruncatedFileIsNamed(t *testing.T) {
	sound := filled(t)
	r := mathrand.New(mathrand.NewPCG(4, 2026))
	for i := range 60 {
		n := 1 + r.IntN(len(sound)-1)
		if i%3 == 0 {
			n = max(n&^4095, 4096)
		}
		what := fmt.Sprintf("cut to %d bytes", n)
		if readBack(t, what, damaged(t, sound[:n])) == 0 {
			t.Errorf("%s: not noticed", what)
		}
	}
}

// TestChangedTablesAreRefused changes the tables with SQL: each file is sound to SQLite.
func TestChangedTablesAreRefused(t *testing.T) {
	for name, change := range map[string]string{
		"trigger":  `CREATE TRIGGER forget AFTER INSERT ON nonces BEGIN DELETE FROM nonces; END`,
		"index":    `DROP INDEX documents_owner`,
		"table":    `DROP TABLE counters`,
		"view":     `ALTER TABLE documents RENAME TO kept; CREATE VIEW documents AS SELECT * FROM kept`,
		"no check": `DROP TABLE counters; CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER, mac BLOB)`,
		"further":  `CREATE TABLE further (a TEXT)`,
	} {
		path := damaged(t, filled(t))
		if _, err := raw(t, path).Exec(change); err != nil {
			t.Fatal(name, err)
		}
		_, err := Open(context.Background(), path, testKey, rand.Reader)
		named(t, name, err, sandbox.Tampered)
	}
}

// TestLostLogIsAnEarlierState takes the file and its write-ahead log while the store is open, as a power cut would leave
// them, and loses or cuts the log: what is read is a prefix of what was written, or a named error.
func TestLostLogIsAnEarlierState(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	c := NewCollection[note](s, "note")
	for i := range filed {
		if err := c.Insert(ctx, fmt.Sprintf("n-%d", i), "", "", filledNote(i)); err != nil {
			t.Fatal(err)
		}
	}
	main, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(path + "-wal")
	if err != nil || len(wal) < 4096 {
		t.Fatal(len(wal), err)
	}
	r := mathrand.New(mathrand.NewPCG(5, 2026))
	seen := map[int]bool{}
	for i := range 40 {
		log, what := wal, "whole log"
		switch {
		case i == 1:
			log, what = nil, "no log"
		case i > 1 && i%2 == 0:
			n := r.IntN(len(wal))
			log, what = wal[:n], fmt.Sprintf("log cut to %d bytes", n)
		case i > 1:
			at := r.IntN(len(wal))
			log, what = bytes.Clone(wal), fmt.Sprintf("log changed at byte %d", at)
			log[at] ^= byte(1 + r.IntN(255))
		}
		p := damaged(t, main)
		if log != nil {
			if err := os.WriteFile(p+"-wal", log, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(ctx, p, testKey, rand.Reader)
		if err != nil {
			named(t, what, err, sandbox.Tampered, sandbox.Unavailable)
			continue
		}
		all, err := NewCollection[note](s, "note").List(ctx, Filter{})
		if err != nil {
			named(t, what, err, sandbox.Tampered, sandbox.Unavailable)
		}
		for i, d := range all {
			if d.Value != filledNote(i) {
				t.Errorf("%s: document %d is another one", what, i)
			}
		}
		if i == 0 && len(all) != filed {
			t.Errorf("%s: %d documents of %d", what, len(all), filed)
		}
		seen[len(all)] = true
		if faults := s.Check(ctx); len(faults) > 0 {
			t.Errorf("%s: %v", what, faults)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", what, err)
		}
	}
	if len(seen) < 5 {
		t.Errorf("only %d different states: the log was not what was read", len(seen))
	}
}

// TestFolderInTheWay puts a folder where a file of the store should be.
func TestFolderInTheWay(t *testing.T) {
	for _, suffix := range []string{"", "-wal"} {
		path := filepath.Join(t.TempDir(), File)
		if err := os.Mkdir(path+suffix, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := Open(context.Background(), path, testKey, rand.Reader)
		named(t, "folder at "+File+suffix, err, sandbox.Unavailable)
	}
	_, err := Open(context.Background(), filepath.Join(t.TempDir(), "none", File), testKey, rand.Reader)
	named(t, "no folder", err, sandbox.Unavailable)
}

// disk mounts a small disk of its own for a test.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	missing := ""
	if os.Geteuid() != 0 {
		missing = "mounting a small disk needs root"
	} else if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		missing = fmt.Sprintf("a small disk cannot be mounted: %v: %s", err, out)
	}
	if missing != "" {
		sandboxtest.Missing(t, missing)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
		}
	})
	return dir
}

// TestFullDisk fills the disk, loses nothing that was reported as written, and goes on once there is space.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	dir := disk(t, "2m")
	path := filepath.Join(dir, File)
	s := open(t, path)
	c := NewCollection[note](s, "note")
	spare := filepath.Join(dir, "spare")
	if err := os.WriteFile(spare, make([]byte, 700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	body := note{Text: strings.Repeat("x", 20<<10)}
	written := 0
	var full error
	for full == nil && written < 500 {
		if full = c.Insert(ctx, fmt.Sprintf("n-%d", written), "", "", body); full == nil {
			written++
		}
	}
	if full == nil || written == 0 {
		t.Fatalf("%d documents of 20 KiB fit on 2 MiB", written)
	}
	named(t, "insert", full, sandbox.Unavailable)
	if !strings.Contains(full.Error(), fullDisk) {
		t.Errorf("the disk is full, and the error says %q", full)
	}
	nested := s.Tx(ctx, func(ctx context.Context) error {
		return s.Tx(ctx, func(ctx context.Context) error {
			return c.Insert(ctx, "nested", "", "", note{Text: strings.Repeat("x", 6<<20)}) // spills before its commit
		})
	})
	named(t, "nested insert", nested, sandbox.Unavailable)
	if text := full.Error() + nested.Error(); strings.Contains(text, string(sandbox.Tampered)) {
		t.Errorf("a full disk is called tampering: %s", text)
	}
	if err := s.Backup(ctx, filepath.Join(dir, "copy.db")); err == nil {
		t.Error("a backup fits on a full disk")
	} else {
		want(t, err, sandbox.Unavailable)
	}
	for _, left := range []string{"copy.db", "copy.db.partial"} {
		if _, err := os.Stat(filepath.Join(dir, left)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left of a backup that failed", left)
		}
	}
	all, err := c.List(ctx, Filter{})
	if err != nil || len(all) != written {
		t.Errorf("%d documents of %d are read on a full disk, %v", len(all), written, err)
	}
	if err := os.Remove(spare); err != nil {
		t.Fatal(err)
	}
	if err := c.Insert(ctx, "after", "", "", note{}); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if faults := s.Check(ctx); len(faults) > 0 {
		t.Error(faults)
	}
	all, err = c.List(ctx, Filter{})
	if err != nil || len(all) != written+1 {
		t.Errorf("%d documents of %d, %v", len(all), written+1, err)
	}
}

// TestReadOnlyDisk turns the disk read-only under an open store and opens another one there.
func TestReadOnlyDisk(t *testing.T) {
	ctx := context.Background()
	dir := disk(t, "4m")
	path := filepath.Join(dir, File)
	s, err := Open(ctx, path, testKey, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := NewCollection[note](s, "note").Insert(ctx, "n-1", "", "", note{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remount := func(how string) {
		if out, err := exec.Command("mount", "-o", "remount,"+how, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	remount("ro")
	_, err = Open(ctx, path, testKey, rand.Reader)
	named(t, "open", err, sandbox.Unavailable)
	remount("rw")
	if _, _, err := NewCollection[note](open(t, path), "note").Get(ctx, "n-1"); err != nil {
		t.Error(err)
	}
}

// TestReadOnlyFileAndFolder takes the right to write away.
func TestReadOnlyFileAndFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write a read-only file: TestReadOnlyDisk shows the same with a read-only disk")
	}
	sound := filled(t)
	path := damaged(t, sound)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), path, testKey, rand.Reader)
	named(t, "read-only file", err, sandbox.Unavailable)

	path = damaged(t, sound)
	if err := os.Chmod(filepath.Dir(path), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) })
	_, err = Open(context.Background(), path, testKey, rand.Reader)
	named(t, "read-only folder", err, sandbox.Unavailable)
}

// TestTwoProcessesWrite runs itself in two further processes that write one file at once: every write of each is there
// once, and a budget both spend from is spent once.
func TestTwoProcessesWrite(t *testing.T) {
	ctx := context.Background()
	if path := os.Getenv("STORE_WRITE"); path != "" {
		s, err := Open(ctx, path, testKey, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		me, granted, fresh := os.Getenv("STORE_WRITER"), 0, 0
		for i := range 40 {
			err := s.Tx(ctx, func(ctx context.Context) error {
				if err := NewCollection[note](s, "note").Insert(ctx, fmt.Sprintf("%s-%d", me, i), me, "", note{N: i}); err != nil {
					return err
				}
				_, err := s.Add(ctx, "all", 1, 1000)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Add(ctx, "budget", 1, 50); err == nil {
				granted++
			} else if !errors.Is(err, sandbox.TooLarge) {
				t.Fatal(err)
			}
			if err := s.Seen(ctx, "op-1", fmt.Sprintf("nonce-of-both-%d", i), noon.Add(time.Minute), noon); err == nil {
				fresh++
			} else if !errors.Is(err, sandbox.Unsigned) {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("granted %d fresh %d\n", granted, fresh)
		return
	}
	_, path := fresh(t)
	var out [2]bytes.Buffer
	var cmds [2]*exec.Cmd
	for i := range cmds {
		cmds[i] = exec.Command(os.Args[0], "-test.run=^TestTwoProcessesWrite$")
		cmds[i].Env = append(os.Environ(), "STORE_WRITE="+path, fmt.Sprintf("STORE_WRITER=p%d", i))
		cmds[i].Stdout, cmds[i].Stderr = &out[i], &out[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	granted, spent := 0, 0
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, out[i].String())
			continue
		}
		var g, f int
		if _, err := fmt.Sscanf(out[i].String(), "granted %d fresh %d", &g, &f); err != nil {
			t.Errorf("%v: %s", err, out[i].String())
		}
		granted, spent = granted+g, spent+f
	}
	if granted != 50 || spent != 40 {
		t.Errorf("%d of a budget of 50 granted, %d of 40 nonces taken", granted, spent)
	}
	s := open(t, path)
	all, err := NewCollection[note](s, "note").List(ctx, Filter{})
	n, err2 := s.Counter(ctx, "all")
	if err != nil || err2 != nil || len(all) != 80 || n != 80 {
		t.Errorf("%d documents, counter %d, %v %v", len(all), n, err, err2)
	}
	if faults := s.Check(ctx); len(faults) > 0 {
		t.Error(faults)
	}
}
