package tlog

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const origin = "opdomain/test"

func newKey(t testing.TB) *sm.SigningKey {
	t.Helper()
	k, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// segmentFile is the one a short log lives in.
var segmentFile = filepath.Join(recordsDir, segmentName(0))

func at(dir string, key *sm.SigningKey) Config {
	return Config{Dir: dir, Origin: origin, Key: key, Rand: rand.Reader}
}

func record(i int) Record {
	return Record{Entry: sm.Sum([]byte{byte(i), byte(i >> 8), byte(i >> 16)}), Payload: bytes.Repeat([]byte{byte(i)}, 5+i%40)}
}

func records(from, to int) []Record {
	var out []Record
	for i := from; i < to; i++ {
		out = append(out, record(i))
	}
	return out
}

// written makes a log of n records and closes it.
func written(t testing.TB, key *sm.SigningKey, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	l, err := Create(at(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), records(0, n)...); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAppendAndOpen(t *testing.T) {
	key, ctx := newKey(t), context.Background()
	dir := filepath.Join(t.TempDir(), "log")
	l, err := Create(at(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	if first, err := l.Append(ctx); first != 0 || err != nil {
		t.Error("appending nothing")
	}
	for _, span := range [][2]int{{0, 1}, {1, 8}, {8, 20}} {
		first, err := l.Append(ctx, records(span[0], span[1])...)
		if err != nil || first != uint64(span[0]) {
			t.Fatalf("first %d, %v", first, err)
		}
	}
	before := l.Checkpoint()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(at(dir, key)); err == nil {
		t.Error("a log was made over another")
	}
	if l, err = Open(at(dir, key)); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Size() != 20 || l.Checkpoint().String() != before.String() || l.Torn() != 0 || l.Origin() != origin {
		t.Error("the log changed by being closed")
	}
	i := 0
	for rec, err := range l.Records(ctx) {
		want := record(i)
		if err != nil || rec.Entry != want.Entry || !bytes.Equal(rec.Payload, want.Payload) {
			t.Fatalf("record %d: %v", i, err)
		}
		if at, ok, err := l.FindFrom(uint64(i/2), rec.Entry); !ok || at != uint64(i) || err != nil {
			t.Errorf("entry %d is found at %d, %v", i, at, err)
		}
		i++
	}
	if i != 20 {
		t.Errorf("%d records", i)
	}
	if _, ok, err := l.FindFrom(0, sm.Sum([]byte("no"))); ok || err != nil {
		t.Error("an entry that is not there was found")
	}
	if _, ok, err := l.FindFrom(4, record(3).Entry); ok || err != nil {
		t.Error("an entry before the place was found")
	}
	if _, err := l.Read(20); !errors.Is(err, sandbox.NotFound) {
		t.Error(err)
	}
	if _, err := l.Append(ctx, record(30), record(30)); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("an entry was appended twice at once: %v", err)
	}
	if _, err := l.Append(ctx, Record{Payload: make([]byte, MaxPayload+1)}); !errors.Is(err, sandbox.TooLarge) {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.Append(gone, record(40)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if l.Size() != 20 {
		t.Error("a refused append changed the log")
	}
	if err := l.Checkpoint().Verify(key.Public()); err != nil {
		t.Error(err)
	}
}

func TestOrigins(t *testing.T) {
	for _, bad := range []string{"", "a b", "a+b", "a\nb", strings.Repeat("a", 129), "\xff"} {
		if _, err := Create(Config{Dir: filepath.Join(t.TempDir(), "log"), Origin: bad, Key: newKey(t), Rand: rand.Reader}); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A crash during an append leaves any prefix of what was being written behind the checkpoint.
func TestTornTail(t *testing.T) {
	key := newKey(t)
	dir := written(t, key, 3)
	checkpoint, short := read(t, dir, checkpointFile), read(t, dir, segmentFile)
	l, err := Open(at(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), records(3, 5)...); err != nil {
		t.Fatal(err)
	}
	ends := append([]int64{0}, l.open.ends...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	long := read(t, dir, segmentFile)
	for n := len(short); n <= len(long); n++ {
		write(t, dir, checkpointFile, checkpoint)
		write(t, dir, segmentFile, long[:n])
		l, err := Open(at(dir, key))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		whole := uint64(3)
		for whole < 5 && ends[whole+1] <= int64(n) {
			whole++
		}
		if l.Size() != whole || l.Torn() != int64(n)-ends[whole] || l.Checkpoint().Size != whole {
			t.Errorf("%d bytes: %d entries, %d torn, checkpoint over %d", n, l.Size(), l.Torn(), l.Checkpoint().Size)
		}
		if _, err := l.Append(context.Background(), record(9)); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if l, err = Open(at(dir, key)); err != nil || l.Size() != whole+1 {
			t.Errorf("%d bytes: after the next append: %v", n, err)
		}
		_ = l.Close()
	}
}

func TestBehindItsCheckpoint(t *testing.T) {
	key := newKey(t)
	dir := written(t, key, 4)
	whole := read(t, dir, segmentFile)
	for n := range len(whole) {
		write(t, dir, segmentFile, whole[:n])
		_, err := Open(at(dir, key))
		if !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "behind its checkpoint") && !strings.Contains(err.Error(), "cut off") {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	// An older log under a newer checkpoint.
	if err := os.Remove(filepath.Join(dir, segmentFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(at(dir, key)); !errors.Is(err, sandbox.Tampered) {
		t.Error(err)
	}
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	key := newKey(t)
	dir := written(t, key, 3)
	l, err := Open(at(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	ends := append([]int64{0}, l.open.ends...)
	_ = l.Close()
	for _, name := range []string{segmentFile, checkpointFile} {
		whole := read(t, dir, name)
		for i := range whole {
			b := bytes.Clone(whole)
			b[i] ^= 0x04
			write(t, dir, name, b)
			l, err := Open(at(dir, key))
			if !errors.Is(err, sandbox.Tampered) {
				_ = l.Close()
				t.Fatalf("%s: byte %d: %v", name, i, err)
			}
			if name == segmentFile {
				n := 0
				for int64(i) >= ends[n+1] {
					n++
				}
				if !strings.Contains(err.Error(), fmt.Sprintf("entry %d:", n)) {
					t.Errorf("byte %d is in entry %d: %v", i, n, err)
				}
			}
		}
		write(t, dir, name, whole)
	}
}

// Whoever can write the folder can make records that check out one by one; the root does not.
func TestRewrittenRecordDoesNotGiveTheRoot(t *testing.T) {
	key := newKey(t)
	dir, other := written(t, key, 3), written(t, key, 2)
	l, err := Open(at(other, key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), record(77)); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	write(t, dir, segmentFile, read(t, other, segmentFile))
	if _, err := Open(at(dir, key)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "root") {
		t.Error(err)
	}
}

func TestCheckpointOfAnother(t *testing.T) {
	key := newKey(t)
	dir := written(t, key, 2)
	if _, err := Open(Config{Dir: dir, Origin: "opdomain/other", Key: key, Rand: rand.Reader}); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another origin: %v", err)
	}
	if _, err := Open(at(dir, newKey(t))); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another key: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, checkpointFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(at(dir, key)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("no checkpoint: %v", err)
	}
}

func TestChangedUnderAnOpenLog(t *testing.T) {
	key := newKey(t)
	dir := written(t, key, 2)
	l, err := Open(at(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := read(t, dir, segmentFile)
	b[len(b)-1] ^= 1
	write(t, dir, segmentFile, b)
	if _, err := l.Read(1); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "entry 1") {
		t.Error(err)
	}
	for _, err := range l.Records(context.Background()) {
		if err != nil {
			return
		}
	}
	t.Error("the iterator passed over a changed record")
}

// After an append that failed half-way nothing may come alive that its caller was told is not there.
func TestFailedAppendLeavesNothing(t *testing.T) {
	key := newKey(t)
	dir := written(t, key, 2)
	l, err := Open(at(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	file := l.open.file
	closed, err := os.OpenFile(filepath.Join(dir, segmentFile), os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.open.file = closed // refuses every write
	if _, err := l.Append(context.Background(), record(8)); !errors.Is(err, sandbox.Unavailable) {
		t.Error(err)
	}
	l.open.file = file
	if _, err := l.Append(context.Background(), record(8)); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a log that could not take back a failed append went on: %v", err)
	}
	_, _ = l.Close(), closed.Close()
	if l, err = Open(at(dir, key)); err != nil || l.Size() != 2 {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestConcurrentAppends(t *testing.T) {
	key := newKey(t)
	l, err := Create(at(filepath.Join(t.TempDir(), "log"), key))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5 {
				n := 100*w + i
				at, err := l.Append(context.Background(), record(n))
				if err != nil {
					t.Error(err)
					return
				}
				if rec, err := l.Read(at); err != nil || rec.Entry != record(n).Entry {
					t.Errorf("entry %d is not what was appended: %v", at, err)
				}
				if _, err := l.Inclusion(at, l.Checkpoint().Size); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if l.Size() != 20 || l.Checkpoint().Size != 20 {
		t.Errorf("%d entries", l.Size())
	}
}

func TestCheckpointForm(t *testing.T) {
	key := newKey(t)
	l, err := Create(at(filepath.Join(t.TempDir(), "log"), key))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text := l.Checkpoint().String()
	c, err := ParseCheckpoint(text)
	if err != nil || c.Verify(key.Public()) != nil || c.Size != 0 || c.Root != sm.Sum() {
		t.Fatalf("%v\n%s", err, text)
	}
	for name, bad := range map[string]string{
		"empty":                 "",
		"no signature":          text[:strings.Index(text, "—")],
		"second signature":      text + text[strings.Index(text, "—"):],
		"leading zero":          strings.Replace(text, "\n0\n", "\n00\n", 1),
		"extension line":        strings.Replace(text, "\n\n", "\nmore\n\n", 1),
		"carriage returns":      strings.ReplaceAll(text, "\n", "\r\n"),
		"signer is not origin":  strings.Replace(text, "— "+origin, "— other", 1),
		"root of another size":  strings.Replace(text, "\n0\n", "\n0\nAAAA", 1),
		"more than it may have": text + strings.Repeat("\n", MaxCheckpoint),
	} {
		if _, err := ParseCheckpoint(bad); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Verify(newKey(t).Public()); !errors.Is(err, sandbox.Tampered) {
		t.Error(err)
	}
	c.Size++
	if err := c.Verify(key.Public()); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another size passed: %v", err)
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	k, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	c := Checkpoint{Origin: origin, Size: 42, Root: sm.Sum(), keyHash: keyHash(origin, k.Public())}
	if c.Signature, err = k.Sign(rand.Reader, ContextCheckpoint, []byte(c.body())); err != nil {
		f.Fatal(err)
	}
	f.Add(c.String())
	f.Add("opdomain/x\n0\n\n\n— opdomain/x \n")
	f.Add(strings.Repeat("\n", 6))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCheckpoint(text)
		if err != nil {
			if !errors.Is(err, sandbox.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if c.String() != text {
			t.Fatal("a checkpoint has two forms")
		}
		_ = c.Verify(k.Public())
	})
}

// FuzzReadRecord: what is read back is what was written, or an error.
func FuzzReadRecord(f *testing.F) {
	key := newKey(f)
	f.Add(read(f, written(f, key, 2), segmentFile))
	f.Add([]byte{0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, n, err := readRecord(bytes.NewReader(b))
		if err == nil && (n > int64(len(b)) || len(rec.Payload) > MaxPayload || n != int64(headLen+len(rec.Payload)+checkLen)) {
			t.Fatal("a record longer than its bytes")
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	key := newKey(b)
	l, err := Create(at(filepath.Join(b.TempDir(), "log"), key))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const batch = 256
	payload := make([]byte, 600)
	n := uint64(0)
	for b.Loop() {
		recs := make([]Record, batch)
		for i := range recs {
			n++
			recs[i] = Record{Entry: sm.Sum([]byte(fmt.Sprint(n))), Payload: payload}
		}
		if _, err := l.Append(context.Background(), recs...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkAppendDurable appends one record a call from many callers at once.
func BenchmarkAppendDurable(b *testing.B) {
	key := newKey(b)
	l, err := Create(at(filepath.Join(b.TempDir(), "log"), key))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	payload := make([]byte, 600)
	var n atomic.Uint64
	b.SetParallelism(128)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := l.Append(context.Background(), Record{Entry: sm.Sum([]byte(fmt.Sprint(n.Add(1)))), Payload: payload}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "entries/s")
}
