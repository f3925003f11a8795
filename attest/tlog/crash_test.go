package tlog

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// on gives a log's configuration on a file system.
func on(fs *crashfs.FS, key *sm.SigningKey) Config {
	c := at("/log", key)
	c.FS = fs
	return c
}

// filled makes a log of n records and gives its files.
func filled(t testing.TB, key *sm.SigningKey, n int) map[string][]byte {
	t.Helper()
	fs := crashfs.New()
	l, err := Create(on(fs, key))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < n; at += 20_000 {
		if _, err := l.Append(context.Background(), records(at, min(n, at+20_000))...); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fs.Files()
}

func put(files map[string][]byte) *crashfs.FS {
	fs := crashfs.New()
	for name, b := range files {
		fs.Put(name, b)
	}
	return fs
}

// play does to a log what a crash may interrupt, and says how many records were acknowledged.
func play(l *Log, from, to, step int) (acknowledged int) {
	acknowledged = from
	for i := from; i < to; i += step {
		if _, err := l.Append(context.Background(), records(i, min(i+step, to))...); err != nil {
			return acknowledged
		}
		acknowledged = min(i+step, to)
	}
	return acknowledged
}

// crashes plays against a log of n records with every given fault under every reboot and holds what comes back to what was
// acknowledged.
func crashes(t *testing.T, n, to, step int, modes []crashfs.Mode, choose func(operations int) []int) {
	key := newKey(t)
	files := filled(t, key, n)
	clean := put(files)
	l, err := Open(on(clean, key))
	if err != nil {
		t.Fatal(err)
	}
	clean.Arm(crashfs.Fault{})
	if got := play(l, n, to, step); got != to {
		t.Fatalf("without a fault %d of %d", got, to)
	}
	_ = l.Close()
	for _, op := range choose(clean.Operations()) {
		for _, mode := range modes {
			fs := put(files)
			l, err := Open(on(fs, key))
			if err != nil {
				t.Fatal(err)
			}
			fs.Arm(crashfs.Fault{At: op, Mode: mode})
			acknowledged := play(l, n, to, step)
			for _, s := range []crashfs.Survive{crashfs.All, crashfs.Synced, crashfs.Mixed} {
				after := fs.Reboot(s, rand.Reader)
				again, err := Open(on(after, key))
				if err != nil {
					t.Fatalf("operation %d, mode %d, reboot %d: %v", op, mode, s, err)
				}
				size := int(again.Size())
				if size < acknowledged || size > to {
					t.Fatalf("operation %d, mode %d, reboot %d: %d acknowledged, %d are there", op, mode, s, acknowledged, size)
				}
				// What Open has covered by a checkpoint is durable too: another power cut takes nothing.
				if twice, err := Open(on(after.Copy(), key)); err != nil || twice.Size() != again.Size() {
					t.Fatalf("operation %d, mode %d, reboot %d: a power cut behind the start: %v", op, mode, s, err)
				} else {
					_ = twice.Close()
				}
				for i := max(0, n-3); i < size; i++ {
					if rec, err := again.Read(uint64(i)); err != nil || rec.Entry != record(i).Entry || !bytes.Equal(rec.Payload, record(i).Payload) {
						t.Fatalf("operation %d, mode %d, reboot %d: entry %d: %v", op, mode, s, i, err)
					}
				}
				if _, err := again.Append(context.Background(), record(to)); err != nil {
					t.Fatalf("operation %d, mode %d, reboot %d: it does not go on: %v", op, mode, s, err)
				}
				if err := again.Audit(context.Background(), nil); err != nil {
					t.Fatalf("operation %d, mode %d, reboot %d: %v", op, mode, s, err)
				}
				_ = again.Close()
			}
		}
	}
}

// TestCrashAnywhere breaks every operation of three appends in every way.
func TestCrashAnywhere(t *testing.T) {
	crashes(t, 254, 260, 2, []crashfs.Mode{crashfs.Fail, crashfs.Tear, crashfs.Crash, crashfs.Full, crashfs.Last}, func(n int) []int { // a tile fills on the way
		var all []int
		for i := range n {
			all = append(all, i+1)
		}
		return all
	})
}

// TestCrashBetweenSegments breaks operations around the end of a segment: some of very many, others every time.
func TestCrashBetweenSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a segment for every fault")
	}
	crashes(t, segmentLen-2, segmentLen+2, 4, []crashfs.Mode{crashfs.Crash, crashfs.Full}, func(n int) []int {
		return []int{3 + mrand.IntN(n-12), n - 8, n - 6}
	})
}

// TestLongLog goes over tiles of the second level and a second segment, and over being closed.
func TestLongLog(t *testing.T) {
	key := newKey(t)
	n := segmentLen + 777
	fs := put(filled(t, key, n))
	l, err := Open(on(fs, key))
	if err != nil {
		t.Fatal(err)
	}
	var grown Root
	for i := range n {
		grown.Append(record(i).Entry)
	}
	cp := l.Checkpoint()
	if cp.Size != uint64(n) || cp.Root != grown.Sum() {
		t.Fatalf("the root over %d entries differs", cp.Size)
	}
	for _, i := range []int{0, 1, 255, 256, 65535, 65536, n - 1} {
		path, err := l.Inclusion(uint64(i), cp.Size)
		if err != nil || VerifyInclusion(record(i).Entry, uint64(i), cp.Size, path, cp.Root) != nil {
			t.Errorf("inclusion of %d: %v", i, err)
		}
		root, err := l.RootAt(uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		path, err = l.Consistency(uint64(i), cp.Size)
		if err != nil || VerifyConsistency(uint64(i), cp.Size, path, root, cp.Root) != nil {
			t.Errorf("consistency with %d: %v", i, err)
		}
		if rec, err := l.Read(uint64(i)); err != nil || rec.Entry != record(i).Entry {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	last := uint64(0)
	if err := l.Audit(context.Background(), func(done, total uint64) { last = done }); err != nil || last != uint64(n) {
		t.Errorf("audit: %v after %d", err, last)
	}
	_ = l.Close()
}

// flip changes one bit of a file where it is, under whoever has it open.
func flip(t *testing.T, fs *crashfs.FS, name string, at int64, mask byte) {
	t.Helper()
	f, err := fs.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	b[0] ^= mask
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestAuditNamesEveryChange changes bits in every file of records, tiles and bundles in turn: the audit names it.
func TestAuditNamesEveryChange(t *testing.T) {
	key := newKey(t)
	files := filled(t, key, 600)
	fs := put(files)
	l, err := Open(on(fs, key))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	checked := 0
	for name, whole := range files {
		if !strings.Contains(name, "/records/") && !strings.Contains(name, "/tile/") {
			continue
		}
		for range 20 {
			at, mask := int64(mrand.IntN(len(whole))), byte(1<<mrand.IntN(8))
			flip(t, fs, name, at, mask)
			if err := l.Audit(context.Background(), nil); !errors.Is(err, sandbox.Tampered) {
				t.Errorf("%s: a changed bit passes: %v", name, err)
			}
			flip(t, fs, name, at, mask)
			l.tiles.last = cached{}
			checked++
		}
	}
	if err := l.Audit(context.Background(), nil); err != nil || checked < 100 {
		t.Errorf("%v after %d changes", err, checked)
	}
}

// TestChangedTileIsNotProved: a proof from a changed tile is not handed out, and opening brings the tiles of the last segment
// back from its records.
func TestChangedTileIsNotProved(t *testing.T) {
	key := newKey(t)
	fs := put(filled(t, key, 600))
	l, err := Open(on(fs, key))
	if err != nil {
		t.Fatal(err)
	}
	flip(t, fs, "/log/tile/0/001", tileBytes-1, 1)
	l.tiles.last = cached{}
	wrong := 0
	for i := range uint64(600) {
		path, err := l.Inclusion(i, 600)
		switch {
		case err != nil:
			wrong++
		case VerifyInclusion(record(int(i)).Entry, i, 600, path, l.Checkpoint().Root) != nil:
			t.Errorf("a wrong proof of %d was given out", i)
		}
	}
	if wrong == 0 {
		t.Error("nobody noticed")
	}
	_ = l.Close()
	if l, err = Open(on(fs, key)); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Audit(context.Background(), nil); err != nil {
		t.Errorf("opened again: %v", err)
	}
}

func TestErase(t *testing.T) {
	key := newKey(t)
	files := filled(t, key, 300)
	all := func(l *Log, gone ...int) {
		t.Helper()
		for i := range 300 {
			rec, err := l.Read(uint64(i))
			if err != nil || rec.Entry != record(i).Entry {
				t.Fatalf("entry %d: %v", i, err)
			}
			if want := slices.Contains(gone, i); rec.Erased != want || !want && !bytes.Equal(rec.Payload, record(i).Payload) || want && len(rec.Payload) > 0 {
				t.Errorf("entry %d: erased %v", i, rec.Erased)
			}
		}
	}
	fs := put(files)
	l, err := Open(on(fs, key))
	if err != nil {
		t.Fatal(err)
	}
	before := l.Checkpoint()
	for range 2 {
		if err := l.Erase(context.Background(), 7, 299, 0); err != nil {
			t.Fatal(err)
		}
	}
	all(l, 0, 7, 299)
	if err := l.Erase(context.Background(), 300); !errors.Is(err, sandbox.NotFound) {
		t.Error(err)
	}
	if _, err := l.Append(context.Background(), record(300)); err != nil {
		t.Fatal(err)
	}
	if err := l.Audit(context.Background(), nil); err != nil {
		t.Error(err)
	}
	_ = l.Close()
	if l, err = Open(on(fs, key)); err != nil {
		t.Fatal(err)
	}
	all(l, 0, 7, 299)
	path, err := l.Consistency(before.Size, l.Checkpoint().Size)
	if err != nil || VerifyConsistency(before.Size, l.Checkpoint().Size, path, before.Root, l.Checkpoint().Root) != nil {
		t.Errorf("the tree changed: %v", err)
	}
	_ = l.Close()
	gone := record(7)
	for name, b := range fs.Files() {
		if bytes.Contains(b, append(gone.Entry[:], gone.Payload...)) {
			t.Errorf("%s still holds the payload", name)
		}
	}
	// Broken anywhere it is done or not done, and an append behind it is there or refused.
	for op, mode := 1, crashfs.Fail; ; mode++ {
		if mode > crashfs.Last {
			op, mode = op+1, crashfs.Fail
		}
		fs := put(files)
		l, err := Open(on(fs, key))
		if err != nil {
			t.Fatal(err)
		}
		fs.Arm(crashfs.Fault{At: op, Mode: mode})
		done := l.Erase(context.Background(), 7)
		if fs.Operations() < op {
			break
		}
		_, appended := l.Append(context.Background(), record(300))
		for _, s := range []crashfs.Survive{crashfs.All, crashfs.Synced, crashfs.Mixed} {
			again, err := Open(on(fs.Reboot(s, rand.Reader), key))
			if err != nil {
				t.Fatalf("operation %d, mode %d: %v", op, mode, err)
			}
			if appended == nil && again.Size() != 301 {
				t.Errorf("operation %d, mode %d: an acknowledged append is gone", op, mode)
			}
			rec, err := again.Read(7)
			if err != nil || done == nil && !rec.Erased {
				t.Errorf("operation %d: erased %v, %v", op, rec.Erased, err)
			}
			_ = again.Close()
		}
	}
}

// TestGroupCommit appends from many callers at once: everyone's records stand together, in order, and share checkpoints.
func TestGroupCommit(t *testing.T) {
	key := newKey(t)
	fs := crashfs.New()
	l, err := Create(on(fs, key))
	if err != nil {
		t.Fatal(err)
	}
	fs.Arm(crashfs.Fault{})
	const callers, each = 64, 5
	l.commitMu.Lock() // as if a batch were being written: the others gather
	var wait sync.WaitGroup
	for c := range callers {
		wait.Go(func() {
			first, err := l.Append(context.Background(), records(c*each, (c+1)*each)...)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				if rec, err := l.Read(first + uint64(i)); err != nil || rec.Entry != record(c*each+i).Entry {
					t.Errorf("caller %d: record %d stands elsewhere: %v", c, i, err)
				}
			}
		})
	}
	for queued := 0; queued < callers; {
		l.queueMu.Lock()
		queued = len(l.queue)
		l.queueMu.Unlock()
	}
	l.commitMu.Unlock()
	wait.Wait()
	if l.Size() != callers*each {
		t.Errorf("%d entries", l.Size())
	}
	if n := fs.Operations(); n > 60 { // one write and one checkpoint for all, the tile of the first 256
		t.Errorf("%d operations for one batch", n)
	}
	if err := l.Audit(context.Background(), nil); err != nil {
		t.Error(err)
	}
}

func FuzzParseNote(f *testing.F) {
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	c := Checkpoint{Origin: origin, Size: 42, Root: sm.Sum(), keyHash: keyHash(origin, key.Public())}
	if c.Signature, err = key.Sign(rand.Reader, ContextCheckpoint, []byte(c.body())); err != nil {
		f.Fatal(err)
	}
	n := Note{Checkpoint: c}
	for i := range 3 {
		s, err := c.Cosign(fmt.Sprintf("witness-%d", i), key, start, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		n.Cosignatures = append(n.Cosignatures, s)
	}
	f.Add(n.String())
	f.Add(c.String())
	f.Add(n.String() + n.String())
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseNote(text)
		if err == nil && n.String() != text {
			t.Fatal("a note has two forms")
		}
	})
}
