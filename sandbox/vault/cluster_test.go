package vault

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// scattered gives the rows of table under pseudonyms of few subjects in no order.
func scattered(first, rows, subjects int) (arrow.Record, []sandbox.Pseudonym) {
	rec, who := table(memory.DefaultAllocator, first, rows)
	for i := range who {
		x := uint64(first+i) * 0x9e3779b97f4a7c15 >> 32 % uint64(subjects)
		who[i] = subject(x)
	}
	return rec, who
}

func subject(n uint64) (p sandbox.Pseudonym) {
	for i := range p {
		p[i] = byte(n * 0x9e3779b97f4a7c15 >> (i % 8 * 8))
	}
	p[15] = byte(n)
	p[14] = byte(n >> 8)
	return p
}

// oracle gives which row of table stands where: by pseudonym, then by arrival.
func oracle(rows, subjects int) (order []int, who []sandbox.Pseudonym) {
	rec, all := scattered(0, rows, subjects)
	rec.Release()
	for i := range rows {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return bytes.Compare(all[a][:], all[b][:]) })
	for _, i := range order {
		who = append(who, all[i])
	}
	return order, who
}

// clustered holds a version to the oracle, cell by cell.
func clustered(t *testing.T, v *Vault, s Snapshot, rows, subjects int) {
	t.Helper()
	want, who := oracle(rows, subjects)
	whole, _ := table(memory.DefaultAllocator, 0, rows)
	defer whole.Release()
	r, err := v.Scan(context.Background(), memory.DefaultAllocator, s, everyColumn)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := 0
	var before []byte
	filled := int64(0)
	for {
		rec, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ids := rec.Column(5).(*array.FixedSizeBinary)
		if before != nil && bytes.Equal(before, ids.Value(0)) && filled < batch.MaxRows {
			t.Error("a subject stands in two batches")
		}
		filled = rec.NumRows()
		before = bytes.Clone(ids.Value(int(rec.NumRows()) - 1))
		for i := range int(rec.NumRows()) {
			row := want[at]
			if !bytes.Equal(ids.Value(i), who[at][:]) {
				t.Fatalf("row %d is another subject's", at)
			}
			for c := range 5 {
				if !array.SliceEqual(rec.Column(c), int64(i), int64(i+1), whole.Column(c), int64(row), int64(row+1)) {
					t.Fatalf("row %d, column %d is not that of input row %d", at, c, row)
				}
			}
			at++
		}
		rec.Release()
	}
	if at != rows || s.Rows != int64(rows) {
		t.Errorf("%d rows of %d", at, rows)
	}
}

func small(t testing.TB, sortBytes int64) *Vault {
	v := newVault(t)
	v.sortBytes = sortBytes
	return v
}

// push writes the rows from one to another in batches.
func push(t testing.TB, w *Writer, from, to, step, subjects int) {
	t.Helper()
	for at := from; at < to; at += step {
		rec, who := scattered(at, min(step, to-at), subjects)
		if err := w.Write(context.Background(), rec, who); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
}

// TestClustered sorts in memory, over many runs, and over runs with a rest in memory.
func TestClustered(t *testing.T) {
	for name, c := range map[string]struct {
		sort           int64
		rows, subjects int
	}{"in memory": {128 << 20, 9000, 700}, "many runs": {200 << 10, 30000, 900}, "more than a batch": {4 << 20, 150_000, 20_000},
		"one subject": {1 << 20, 70_000, 1}, "few rows": {1, 40, 3}, "no rows": {1, 0, 1}} {
		t.Run(name, func(t *testing.T) {
			v := small(t, c.sort)
			w := begin(t, v, "run-1")
			push(t, w, 0, c.rows, 1000, c.subjects)
			seen := int64(0)
			w.Observe(func(r arrow.Record) error {
				seen += r.NumRows()
				if r.NumCols() != 5 {
					t.Errorf("%d columns", r.NumCols())
				}
				return nil
			})
			s, err := w.Commit(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if seen != int64(c.rows) {
				t.Errorf("%d rows were shown", seen)
			}
			clustered(t, v, s, c.rows, c.subjects)
			if n, err := v.Subjects(context.Background(), s); err != nil || c.rows > 0 && n != int64(distinct(c.rows, c.subjects)) {
				t.Errorf("%d subjects, %v", n, err)
			}
			if faults := v.Check(context.Background(), nil); len(faults) > 0 {
				t.Error(errors.Join(faults...))
			}
			files, _ := filepath.Glob(filepath.Join(v.versionPath(claims.ID, 1), "*"+runSuffix))
			if _, err := os.Stat(filepath.Join(v.versionPath(claims.ID, 1), stageFile)); err == nil || len(files) > 0 {
				t.Error("the stage's files stay in the version")
			}
		})
	}
}

func distinct(rows, subjects int) int {
	_, who := oracle(rows, subjects)
	return len(slices.Compact(who))
}

// TestObserverStops: an error of the observer ends the commit, and the stage stays.
func TestObserverStops(t *testing.T) {
	v := newVault(t)
	w := begin(t, v, "run-1")
	push(t, w, 0, 100, 50, 9)
	if err := w.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	w.Observe(func(arrow.Record) error { return stop })
	if _, err := w.Commit(context.Background()); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	again, err := v.Resume(context.Background(), claims.ID, "run-1")
	if err != nil || again.Durable() != 2 {
		t.Fatal(err)
	}
	s, err := again.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	clustered(t, v, s, 100, 9)
}

// TestResume breaks a run off at every point, in this process and as a new one, and gets the version of an unbroken run.
func TestResume(t *testing.T) {
	const rows, step, subjects = 5000, 500, 300
	for cut := 0; cut <= rows; cut += step {
		v := small(t, 150<<10)
		w := begin(t, v, "run-1")
		push(t, w, 0, cut, step, subjects)
		if cut%1000 == 0 {
			if err := w.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		durable := w.Durable()
		if err := w.Suspend(); err != nil {
			t.Fatal(err)
		}
		v = reopened(t, v)
		if all, err := v.Stages(); err != nil || len(all) != 1 || all[0].Run != "run-1" || all[0].Dataset != claims.ID {
			t.Fatalf("stages %v %v", all, err)
		}
		w, err := v.Resume(context.Background(), claims.ID, "run-1")
		if err != nil {
			t.Fatal(err)
		}
		if w.Durable() != durable || !w.Schema().Equal(batch.Schema(claims)) {
			t.Fatalf("%d of %d batches are there", w.Durable(), durable)
		}
		push(t, w, int(w.Durable())*step, rows, step, subjects)
		s, err := w.Commit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		clustered(t, v, s, rows, subjects)
		if _, err := v.Resume(context.Background(), claims.ID, "run-1"); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("a committed run is resumed: %v", err)
		}
	}
}

// TestFirstCommitWins: of runs staged at once one becomes the version; the others learn of it, and may be dropped.
func TestFirstCommitWins(t *testing.T) {
	v := newVault(t)
	commit(t, v, "run-0", 10)
	var wait sync.WaitGroup
	var mu sync.Mutex
	won, lost := 0, 0
	writers := []*Writer{}
	for i := range 4 {
		w := begin(t, v, sandbox.RunID(fmt.Sprintf("run-%d", i+1)))
		push(t, w, 0, 3000, 500, 50)
		writers = append(writers, w)
	}
	late := begin(t, v, "run-late")
	if err := late.Suspend(); err != nil {
		t.Fatal(err)
	}
	for _, w := range writers {
		wait.Go(func() {
			_, err := w.Commit(context.Background())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, sandbox.Conflict):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if won != 1 || lost != 3 {
		t.Errorf("%d won, %d lost", won, lost)
	}
	if _, err := v.Resume(context.Background(), claims.ID, "run-late"); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("an overtaken stage is resumed: %v", err)
	}
	all, err := v.Stages()
	if err != nil || len(all) != 4 {
		t.Fatalf("%d stages, %v", len(all), err)
	}
	for _, s := range all {
		if err := v.Drop(s.Dataset, s.Run); err != nil {
			t.Error(err)
		}
		if _, err := v.keys.VersionKey(s.Key); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("the key of a dropped stage stays: %v", err)
		}
		if err := v.Drop(s.Dataset, s.Run); err != nil {
			t.Errorf("dropped twice: %v", err)
		}
	}
	if h, err := v.Head(claims.ID); err != nil || h.Version != 2 {
		t.Errorf("version %d, %v", h.Version, err)
	}
	if used, err := v.Keys(); err != nil || len(used) != 2 {
		t.Errorf("%d keys are used, %v", len(used), err)
	}
}

// TestScanSubject opens about one batch, and finds every row of the subject in it.
func TestScanSubject(t *testing.T) {
	v := newVault(t)
	const rows, subjects = 300_000, 50_000
	w := begin(t, v, "run-1")
	push(t, w, 0, rows, 10_000, subjects)
	s, err := w.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, who := oracle(rows, subjects)
	count := map[sandbox.Pseudonym]int{}
	for _, p := range who {
		count[p]++
	}
	ask := func(p sandbox.Pseudonym) (mine, read int) {
		r, err := v.ScanSubject(context.Background(), memory.DefaultAllocator, s, []string{SubjectColumn, "fee"}, p)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				return mine, read
			}
			if err != nil {
				t.Fatal(err)
			}
			ids, fees := rec.Column(0).(*array.FixedSizeBinary), rec.Column(1).(*array.Int64)
			for i := range int(rec.NumRows()) {
				if bytes.Equal(ids.Value(i), p[:]) {
					mine++
					if row := fees.Value(i) / 1_000_003; subjectOf(int(row), subjects) != p {
						t.Error("the row of another subject")
					}
				}
			}
			read += int(rec.NumRows())
			rec.Release()
		}
	}
	for range 40 {
		p := who[mrand.IntN(len(who))]
		mine, read := ask(p)
		if mine != count[p] || read > 2*batch.MaxRows {
			t.Errorf("%d of %d rows in %d read", mine, count[p], read)
		}
	}
	for _, p := range []sandbox.Pseudonym{{15: 1}, {1, 2, 3}, {255, 255, 255, 255}} {
		if mine, _ := ask(p); mine != 0 {
			t.Errorf("a subject that is not there has %d rows", mine)
		}
	}
}

func subjectOf(row, subjects int) sandbox.Pseudonym {
	return subject(uint64(row) * 0x9e3779b97f4a7c15 >> 32 % uint64(subjects))
}

// TestOrder sorts pseudonyms that are random, alike in their first bytes, in their first half and altogether.
func TestOrder(t *testing.T) {
	var o order
	for _, n := range []int{1, 5, 1000, radixRows, 50_000, 9 * bucketRows} {
		for name, make := range map[string]func(p *sandbox.Pseudonym){
			"random":  func(p *sandbox.Pseudonym) { put(p, mrand.Uint64(), mrand.Uint64()) },
			"few":     func(p *sandbox.Pseudonym) { put(p, mrand.Uint64N(100)<<50, 0) },
			"alike":   func(p *sandbox.Pseudonym) { put(p, mrand.Uint64N(1000), mrand.Uint64N(3)) },
			"halves":  func(p *sandbox.Pseudonym) { put(p, 7, mrand.Uint64N(uint64(n))) },
			"one":     func(p *sandbox.Pseudonym) {},
			"clashes": func(p *sandbox.Pseudonym) { put(p, mrand.Uint64N(uint64(n))<<44, mrand.Uint64N(2)) },
		} {
			var h held
			type row struct {
				who           sandbox.Pseudonym
				source, place int
			}
			var want []row
			for left := n; left > 0; {
				who := slices.Repeat([]sandbox.Pseudonym{{}}, min(left, 1+mrand.IntN(n)))
				for i := range who {
					make(&who[i])
					want = append(want, row{who[i], len(h.who), i})
				}
				h.add(nil, who, 0)
				left -= len(who)
			}
			o.sort(&h)
			spread := slices.Clone(want) // by bucket, as they arrived
			slices.SortStableFunc(spread, func(a, b row) int { return cmp.Compare(bucket(a.who)>>o.low, bucket(b.who)>>o.low) })
			slices.SortStableFunc(want, func(a, b row) int { return bytes.Compare(a.who[:], b.who[:]) })
			for i, r := range want {
				if o.who[i] != r.who || spread[o.rows[i]&o.mask] != (row{r.who, r.source, r.place}) {
					t.Errorf("%s: row %d of %d is another", name, i, n)
					break
				}
			}
		}
	}
}

func bucket(p sandbox.Pseudonym) uint64 { return binary.BigEndian.Uint64(p[:8]) }

func put(p *sandbox.Pseudonym, hi, lo uint64) {
	binary.BigEndian.PutUint64(p[:8], hi)
	binary.BigEndian.PutUint64(p[8:], lo)
}

// TestNamesAloneRemoveNothing: files that look like tombstones, or say less than one, cost no version.
func TestNamesAloneRemoveNothing(t *testing.T) {
	v := newVault(t)
	commit(t, v, "run-1", 50)
	for name, text := range map[string]string{"v00000001" + goneSuffix: "rubbish", goneSuffix: "", "x" + goneSuffix: "{}"} {
		write(t, filepath.Join(v.dir, string(claims.ID), name), []byte(text))
	}
	v = reopened(t, v)
	s, err := v.Head(claims.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := same(v, s, everyColumn, 50); err != nil {
		t.Error(err)
	}
}

// TestFailedCommitLeavesTheRunFree: at whichever operation a commit fails, and whatever becomes the version instead, the run
// can be pushed again, and commits once.
func TestFailedCommitLeavesTheRunFree(t *testing.T) {
	k := newKeys(t)
	for op := 1; ; op++ {
		fs := crashfs.New()
		v, err := OpenConfig(Config{FS: fs, Dir: "/vault", Keys: k, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		commit(t, v, "run-0", 5)
		w := begin(t, v, "run-a")
		push(t, w, 0, 30, 10, 4)
		fs.Arm(crashfs.Fault{At: op, Mode: crashfs.Fail})
		_, failed := w.Commit(context.Background())
		ran := fs.Operations() >= op
		fs.Arm(crashfs.Fault{})
		if failed == nil && !ran {
			return
		}
		if err := v.Drop(claims.ID, "run-a"); err != nil {
			t.Fatalf("operation %d: %v", op, err)
		}
		if h, err := v.Head(claims.ID); err != nil || h.Version == 1 {
			commit(t, v, "run-b", 7)
		}
		w, err = v.Begin(context.Background(), claims.Unit, claims.ID, "run-a", batch.Schema(claims), sandbox.Grade3)
		if s, cerr := v.Committed(claims.ID, "run-a"); cerr == nil {
			if !errors.Is(err, sandbox.Conflict) || s.Version != 2 {
				t.Fatalf("operation %d: a committed run begins again: %v", op, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("operation %d: the run cannot be pushed again: %v", op, err)
		}
		push(t, w, 0, 30, 10, 4)
		if s, err := w.Commit(context.Background()); err != nil || s.Version != 3 {
			t.Fatalf("operation %d: version %d, %v", op, s.Version, err)
		}
		if faults := v.Check(context.Background(), nil); len(faults) > 0 {
			t.Fatalf("operation %d: %v", op, errors.Join(faults...))
		}
	}
}

// TestFailedDropLeavesTheRunFree likewise.
func TestFailedDropLeavesTheRunFree(t *testing.T) {
	k := newKeys(t)
	for op := 1; ; op++ {
		fs := crashfs.New()
		v, err := OpenConfig(Config{FS: fs, Dir: "/vault", Keys: k, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		w := begin(t, v, "run-a")
		push(t, w, 0, 30, 10, 4)
		if err := errors.Join(w.Flush(context.Background()), w.Suspend()); err != nil {
			t.Fatal(err)
		}
		fs.Arm(crashfs.Fault{At: op, Mode: crashfs.Fail})
		_ = v.Drop(claims.ID, "run-a")
		ran := fs.Operations() >= op
		fs.Arm(crashfs.Fault{})
		w, err = v.Resume(context.Background(), claims.ID, "run-a")
		if errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Tampered) {
			w, err = v.Begin(context.Background(), claims.Unit, claims.ID, "run-a", batch.Schema(claims), sandbox.Grade3)
		}
		if err != nil {
			t.Fatalf("operation %d: %v", op, err)
		}
		push(t, w, int(w.Durable())*10, 30, 10, 4)
		if _, err := w.Commit(context.Background()); err != nil {
			t.Fatalf("operation %d: %v", op, err)
		}
		if !ran {
			return
		}
	}
}

// TestCheckReadsStages: a changed bit in what is staged is named before anybody commits it.
func TestCheckReadsStages(t *testing.T) {
	v := newVault(t)
	w := begin(t, v, "run-a")
	push(t, w, 0, 500, 100, 40)
	if err := errors.Join(w.Flush(context.Background()), w.Suspend()); err != nil {
		t.Fatal(err)
	}
	if faults := v.Check(context.Background(), nil); len(faults) > 0 {
		t.Fatal(errors.Join(faults...))
	}
	for _, name := range []string{"000000.run", stageFile, keyFile} {
		path := filepath.Join(v.dir, string(claims.ID), stageDir("run-a"), name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += 1 + len(whole)/40 {
			b := bytes.Clone(whole)
			b[at] ^= 1
			write(t, path, b)
			if faults := v.Check(context.Background(), nil); len(faults) == 0 {
				t.Errorf("%s: byte %d changed and nobody noticed", name, at)
			}
		}
		write(t, path, whole)
	}
}

// TestLongTexts: rows of long text make short batches, so that memory follows bytes and not rows.
func TestLongTexts(t *testing.T) {
	v := newVault(t)
	w := begin(t, v, "run-1")
	long := []byte(strings.Repeat("x", 20_000))
	for i := range 8 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(claims))
		who := make([]sandbox.Pseudonym, 1000)
		for k := range who {
			b.Field(0).(*array.StringBuilder).BinaryBuilder.Append(long)
			b.Field(1).AppendNull()
			b.Field(2).(*array.Int64Builder).Append(1)
			b.Field(3).AppendNull()
			b.Field(4).(*array.BooleanBuilder).Append(true)
			who[k] = subject(uint64(i*1000 + k))
		}
		rec := b.NewRecord()
		if err := w.Write(context.Background(), rec, who); err != nil {
			t.Fatal(err)
		}
		rec.Release()
		b.Release()
	}
	s, err := w.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Batches {
		if n*20_000 > 2*targetBytes {
			t.Errorf("a batch of %d rows of 20 kB", n)
		}
	}
	if s.Rows != 8000 {
		t.Errorf("%d rows", s.Rows)
	}
}

// TestCollect removes what nobody can open, and nothing else.
func TestCollect(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	first := commit(t, v, "run-1", 500)
	commit(t, v, "run-2", 600)
	third := commit(t, v, "run-3", 700)
	if c, err := v.Collect(ctx); err != nil || len(c.Versions) != 0 {
		t.Fatalf("with every key alive: %+v %v", c, err)
	}
	for _, s := range []Snapshot{first, third} {
		if _, err := v.keys.(*keys.File).Destroy(s.Key, "agency", time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := v.Collect(ctx)
	if err != nil || len(c.Versions) != 2 || c.Versions[0].Version != 1 || c.Versions[1].Version != 3 || c.Files < 14 || c.Bytes < 10_000 {
		t.Fatalf("%+v %v", c, err)
	}
	for range 2 {
		for _, n := range []uint64{1, 3} {
			if s, err := v.Snapshot(claims.ID, n); !errors.Is(err, sandbox.Expired) || s.Key == "" {
				t.Errorf("version %d: %+v %v", n, s, err)
			}
		}
		if s, err := v.Committed(claims.ID, "run-3"); err != nil || s.Version != 3 {
			t.Errorf("the run of a collected version: %v %v", s.Version, err)
		}
		if s, err := v.Snapshot(claims.ID, 2); err != nil || same(v, s, everyColumn, 600) != nil {
			t.Errorf("the version between: %v", err)
		}
		if c, err := v.Collect(ctx); err != nil || len(c.Versions) != 0 {
			t.Errorf("collected twice: %+v %v", c, err)
		}
		v = reopened(t, v)
	}
	if s := commit(t, v, "run-4", 5); s.Version != 4 {
		t.Errorf("the next version is %d", s.Version)
	}
	if _, err := v.Begin(ctx, claims.Unit, claims.ID, "run-1", batch.Schema(claims), 3); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a collected run commits again: %v", err)
	}
	// A tombstone does not stand for a version whose key lives.
	if err := os.RemoveAll(v.versionPath(claims.ID, 2)); err != nil {
		t.Fatal(err)
	}
	s, err := v.Snapshot(claims.ID, 4)
	if err != nil {
		t.Fatal(err)
	}
	b, err := canonical(tombstone{claims.ID, 2, s.Key, "run-2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.versionPath(claims.ID, 2)+goneSuffix, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Snapshot(claims.ID, 2); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a forged tombstone: %v", err)
	}
}

// undiscarded keeps every key.
type undiscarded struct{ *keys.File }

func (undiscarded) Discard(sandbox.KeyID) error { return nil }

// TestCrashAnywhere breaks every operation of a run with two durable points, its commit, a dropped run and a collection, in
// every way, and finds the old or the new state whole after every kind of reboot.
func TestCrashAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks every operation")
	}
	ctx, k := context.Background(), newKeys(t)
	openWith := func(fs *crashfs.FS, k Keys) (*Vault, error) {
		return OpenConfig(Config{FS: fs, Dir: "/vault", Keys: k, Rand: rand.Reader})
	}
	open := func(fs *crashfs.FS) (*Vault, error) { return openWith(fs, k) }
	// prepare makes version 1, and a second one whose key is gone.
	prepare := func() *crashfs.FS {
		fs := crashfs.New()
		v, err := open(fs)
		if err != nil {
			t.Fatal(err)
		}
		s := commit(t, v, "run-0", 40)
		if _, err := k.Destroy(s.Key, "agency", time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		commit(t, v, "run-1", 50)
		return fs.Reboot(crashfs.All, nil)
	}
	type told struct{ begun, durable, committed, dropped, collected int }
	script := func(fs *crashfs.FS) (x told) {
		v, err := open(fs)
		if err != nil {
			return x
		}
		w, err := v.Begin(ctx, claims.Unit, claims.ID, "run-2", batch.Schema(claims), sandbox.Grade3)
		if err != nil {
			return x
		}
		x.begun = 1
		for i := range 2 {
			rec, who := scattered(i*100, 100, 30)
			err := w.Write(ctx, rec, who)
			rec.Release()
			if err == nil {
				err = w.Flush(ctx)
			}
			if err != nil {
				_ = w.Suspend()
				return x
			}
			x.durable = i + 1
		}
		if _, err := w.Commit(ctx); err != nil {
			return x
		}
		x.committed = 1
		w, err = v.Begin(ctx, claims.Unit, claims.ID, "run-3", batch.Schema(claims), sandbox.Grade3)
		if err != nil {
			return x
		}
		if w.Abort() == nil {
			x.dropped = 1
		}
		if _, err := v.Collect(ctx); err == nil {
			x.collected = 1
		}
		return x
	}
	clean := prepare()
	clean.Arm(crashfs.Fault{})
	if x := script(clean); x != (told{1, 2, 1, 1, 1}) {
		t.Fatalf("without a fault: %+v", x)
	}
	n := clean.Operations()
	if n < 60 {
		t.Fatalf("%d operations", n)
	}
	for op := 1; op <= n; op++ {
		// Two of the five ways for each operation, all five over every five operations.
		for _, mode := range []crashfs.Mode{crashfs.Fail + crashfs.Mode(op%5), crashfs.Fail + crashfs.Mode((op+2)%5)} {
			fs := prepare()
			fs.Arm(crashfs.Fault{At: op, Mode: mode})
			x := script(fs)
			for _, s := range []crashfs.Survive{crashfs.All, crashfs.Synced, crashfs.Mixed} {
				at := fmt.Sprintf("operation %d, mode %d, reboot %d, %+v", op, mode, s, x)
				v, err := openWith(fs.Reboot(s, rand.Reader), undiscarded{k}) // the other reboots need the key of a stage that this one drops
				if err != nil {
					t.Fatalf("%s: %v", at, err)
				}
				h, err := v.Head(claims.ID)
				if err != nil || h.Version < uint64(2+x.committed) {
					t.Fatalf("%s: version %d, %v", at, h.Version, err)
				}
				if faults := v.Check(ctx, nil); len(faults) > 0 {
					t.Fatalf("%s: %v", at, errors.Join(faults...))
				}
				if h.Version == 2 {
					if err := same(v, h, everyColumn, 50); err != nil {
						t.Fatalf("%s: the old version: %v", at, err)
					}
					w, err := v.Resume(ctx, claims.ID, "run-2")
					if err != nil && (x.begun == 1 || !errors.Is(err, sandbox.NotFound)) {
						t.Fatalf("%s: the stage: %v", at, err)
					}
					if err == nil {
						if w.Durable() < int64(x.durable) {
							t.Fatalf("%s: %d batches are durable", at, w.Durable())
						}
						push(t, w, int(w.Durable())*100, 200, 100, 30)
						if h, err = w.Commit(ctx); err != nil {
							t.Fatalf("%s: %v", at, err)
						}
						clustered(t, v, h, 200, 30)
					}
				} else {
					clustered(t, v, h, 200, 30)
				}
				all, err := v.Stages()
				if err != nil {
					t.Fatal(err)
				}
				for _, st := range all {
					if st.Run == "run-2" {
						t.Errorf("%s: a committed run is staged", at)
					}
					if err := v.Drop(st.Dataset, st.Run); err != nil {
						t.Errorf("%s: %v", at, err)
					}
				}
				if _, err := v.Collect(ctx); err != nil {
					t.Errorf("%s: %v", at, err)
				}
				if faults := v.Check(ctx, nil); len(faults) > 0 {
					t.Fatalf("%s, at the end: %v", at, errors.Join(faults...))
				}
			}
		}
	}
}
