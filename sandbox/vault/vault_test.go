package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

var claims = catalog.Dataset{ID: "ds-claims", Unit: "unit-a", Columns: []catalog.Column{
	{Name: "code", Type: catalog.Text}, {Name: "note", Type: catalog.Text, Nullable: true}, {Name: "fee", Type: catalog.Money},
	{Name: "day", Type: catalog.Date, Nullable: true}, {Name: "paid", Type: catalog.Bool}}}

// newKeys makes a key folder with a cheap passphrase.
func newKeys(t testing.TB) *keys.File {
	t.Helper()
	k, err := keys.Create(filepath.Join(t.TempDir(), "keys"), []byte("passphrase"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func newVault(t testing.TB) *Vault {
	t.Helper()
	return reopened(t, &Vault{fs: durable.OS(), dir: filepath.Join(t.TempDir(), "vault"), keys: newKeys(t), sortBytes: 128 << 20})
}

// reopened is the folder as a new process finds it.
func reopened(t testing.TB, v *Vault) *Vault {
	t.Helper()
	again, err := OpenConfig(Config{FS: v.fs, Dir: v.dir, Keys: v.keys, Rand: rand.Reader, SortBytes: v.sortBytes})
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// table makes rows from first on: text of changing length, nulls, and a pseudonym per row.
func table(mem memory.Allocator, first, rows int) (arrow.Record, []sandbox.Pseudonym) {
	b := array.NewRecordBuilder(mem, batch.Schema(claims))
	defer b.Release()
	subjects := make([]sandbox.Pseudonym, rows)
	for i := first; i < first+rows; i++ {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("plainly-%d", i))
		if i%3 == 0 {
			b.Field(1).AppendNull()
			b.Field(3).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(strings.Repeat("言", i%40))
			b.Field(3).(*array.Date32Builder).Append(arrow.Date32(19000 + i))
		}
		b.Field(2).(*array.Int64Builder).Append(int64(i) * 1_000_003)
		b.Field(4).(*array.BooleanBuilder).Append(i%2 == 0)
		copy(subjects[i-first][:], fmt.Sprintf("pseudonym-%06d", i))
	}
	return b.NewRecord(), subjects
}

func begin(t testing.TB, v *Vault, run sandbox.RunID) *Writer {
	t.Helper()
	w, err := v.Begin(context.Background(), claims.Unit, claims.ID, run, batch.Schema(claims), sandbox.Grade3)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// staged writes batches of the given rows, numbered on from zero.
func staged(t testing.TB, v *Vault, run sandbox.RunID, rows ...int) *Writer {
	t.Helper()
	w := begin(t, v, run)
	first := 0
	for _, n := range rows {
		rec, subjects := table(memory.DefaultAllocator, first, n)
		if err := w.Write(context.Background(), rec, subjects); err != nil {
			t.Fatal(err)
		}
		rec.Release()
		first += n
	}
	return w
}

func commit(t testing.TB, v *Vault, run sandbox.RunID, rows ...int) Snapshot {
	t.Helper()
	s, err := staged(t, v, run, rows...).Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var everyColumn = []string{"code", "note", "fee", "day", "paid", SubjectColumn}

// same scans columns of s and compares them with table's rows, however they are cut into batches.
func same(v *Vault, s Snapshot, columns []string, rows ...int) error {
	ctx := context.Background()
	r, err := v.Scan(ctx, memory.DefaultAllocator, s, columns)
	if err != nil {
		return err
	}
	defer r.Close()
	first, all := 0, 0
	for _, n := range rows {
		all += n
	}
	for first < all {
		rec, err := r.Next(ctx)
		if err != nil {
			return err
		}
		n := int(rec.NumRows())
		err = sameBatch(rec, columns, first, n)
		rec.Release()
		if err != nil {
			return err
		}
		first += n
	}
	if _, err := r.Next(ctx); err != io.EOF || first != all {
		return fmt.Errorf("%d rows of %d, then %w", first, all, err)
	}
	return nil
}

func sameBatch(rec arrow.Record, columns []string, first, n int) error {
	want, subjects := table(memory.DefaultAllocator, first, n)
	defer want.Release()
	if int(rec.NumRows()) != n || int(rec.NumCols()) != len(columns) {
		return fmt.Errorf("a batch of %d rows and %d columns", rec.NumRows(), rec.NumCols())
	}
	for i, name := range columns {
		if rec.ColumnName(i) != name {
			return fmt.Errorf("column %d is %s", i, rec.ColumnName(i))
		}
		if name == SubjectColumn {
			a := rec.Column(i).(*array.FixedSizeBinary)
			for k := range n {
				if !bytes.Equal(a.Value(k), subjects[k][:]) {
					return fmt.Errorf("pseudonym %d of the batch is another", k)
				}
			}
			continue
		}
		if at := want.Schema().FieldIndices(name)[0]; !array.Equal(rec.Column(i), want.Column(at)) {
			return fmt.Errorf("column %s came back changed", name)
		}
	}
	return nil
}

// TestScanGivesWhatWasWritten over batches within a chunk, across chunks and empty ones, in several column choices.
func TestScanGivesWhatWasWritten(t *testing.T) {
	rows := []int{1, 0, 9000, 17, 30000}
	v := newVault(t)
	s := commit(t, v, "run-1", rows...)
	if s.Dataset != claims.ID || s.Version != 1 || s.Run != "run-1" || s.Rows != 39018 || len(s.Batches) != 1 {
		t.Errorf("snapshot %s v%d of %s: %d rows, %d batches", s.Dataset, s.Version, s.Run, s.Rows, len(s.Batches))
	}
	if want := arrow.NewSchema(append(batch.Schema(claims).Fields(), arrow.Field{Name: SubjectColumn, Type: subjectType}), nil); !s.Schema.Equal(want) {
		t.Errorf("schema %v", s.Schema)
	}
	again, err := reopened(t, v).Head(claims.ID)
	if err != nil || again.Manifest != s.Manifest || again.KeyCommitment != s.KeyCommitment || again.Key != s.Key || !again.Schema.Equal(s.Schema) {
		t.Errorf("the head of the reopened vault is another: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(v.dir, "ds-claims", "v00000001", "manifest"))
	if err != nil || sm.Sum(raw) != s.Manifest {
		t.Errorf("the snapshot's digest is not that of the manifest file: %v", err)
	}
	for _, columns := range [][]string{everyColumn, {"fee"}, {SubjectColumn}, {"paid", "code"}, {SubjectColumn, "note", "day"}} {
		if err := same(v, again, columns, rows...); err != nil {
			t.Errorf("%v: %v", columns, err)
		}
	}
	if faults := v.Check(context.Background(), map[sandbox.DatasetID]Expected{claims.ID: {Version: s.Version, Manifest: s.Manifest}}); len(faults) > 0 {
		t.Error(errors.Join(faults...))
	}
	if ids, err := v.Datasets(); err != nil || len(ids) != 1 || ids[0] != claims.ID {
		t.Errorf("datasets %v %v", ids, err)
	}
}

func TestVersionWithoutRows(t *testing.T) {
	v := newVault(t)
	if err := same(v, commit(t, v, "run-1"), everyColumn); err != nil {
		t.Error(err)
	}
}

// TestMemory holds the records of a scan past its end and gives every byte back.
func TestMemory(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	ctx, v := context.Background(), newVault(t)
	w := begin(t, v, "run-1")
	for i := range 3 {
		rec, subjects := table(mem, i*5000, 5000)
		if err := w.Write(ctx, rec, subjects); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	s, err := w.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.Scan(ctx, mem, s, everyColumn)
	if err != nil {
		t.Fatal(err)
	}
	var kept []arrow.Record
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, rec)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	first := 0
	for i, rec := range kept {
		if err := sameBatch(rec, everyColumn, first, int(rec.NumRows())); err != nil {
			t.Errorf("batch %d after Close: %v", i, err)
		}
		first += int(rec.NumRows())
		rec.Release()
	}
	if first != 15000 {
		t.Errorf("%d rows", first)
	}
}

// TestScanEnds early, by Close or by either context, without reporting an end of data.
func TestScanEnds(t *testing.T) {
	v := newVault(t)
	s := commit(t, v, "run-1", 40000, 40000, 40000)
	ctx, stop := context.WithCancel(context.Background())
	r, err := v.Scan(ctx, memory.DefaultAllocator, s, everyColumn)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rec.Release()
	stop()
	for range 4 { // groups opened before the stop may still come
		if rec, err = r.Next(context.Background()); err != nil {
			break
		}
		rec.Release()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the scan's context ended: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if r, err = v.Scan(context.Background(), memory.DefaultAllocator, s, everyColumn); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next under an ended context: %v", err)
	}
	_ = r.Close()
	if r, err = v.Scan(context.Background(), memory.DefaultAllocator, s, everyColumn); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if _, err := r.Next(context.Background()); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("Next after Close: %v", err)
	}
}

func TestScanRefuses(t *testing.T) {
	v := newVault(t)
	s := commit(t, v, "run-1", 10)
	for _, c := range []struct {
		s       Snapshot
		columns []string
		kind    sandbox.Kind
	}{{s, nil, sandbox.Invalid}, {Snapshot{}, []string{"fee"}, sandbox.Invalid}, {s, []string{"fee", "other"}, sandbox.NotFound},
		{s, []string{"fee", "fee"}, sandbox.NotFound}, {s, []string{manifestName}, sandbox.NotFound}} {
		if _, err := v.Scan(context.Background(), memory.DefaultAllocator, c.s, c.columns); !errors.Is(err, c.kind) {
			t.Errorf("%v: %v, want %s", c.columns, err, c.kind)
		}
	}
}

// TestVersionsStay readable after newer ones, and only committed ones are.
func TestVersionsStay(t *testing.T) {
	v := newVault(t)
	if _, err := v.Head(claims.ID); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("head before the first commit: %v", err)
	}
	commit(t, v, "run-1", 5)
	commit(t, v, "run-2", 7, 3)
	for version, rows := range map[uint64][]int{1: {5}, 2: {7, 3}} {
		s, err := v.Snapshot(claims.ID, version)
		if err != nil || s.Version != version {
			t.Fatal(err)
		}
		if err := same(v, s, everyColumn, rows...); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
	for _, version := range []uint64{0, 3, 1 << 63} {
		if _, err := v.Snapshot(claims.ID, version); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if _, err := v.Snapshot("ds-other", 1); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("another dataset: %v", err)
	}
	if _, err := v.Head("../ds-claims"); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a path for a dataset: %v", err)
	}
}

// TestConcurrent scans, checks and commits at once.
func TestConcurrent(t *testing.T) {
	v := newVault(t)
	rows := []int{6000, 6000}
	s := commit(t, v, "run-0", rows...)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			if err := same(v, s, everyColumn[i%3:], rows...); err != nil {
				t.Error(err)
			}
			if h, err := v.Head(claims.ID); err != nil {
				t.Error(err)
			} else if err := same(v, h, []string{"fee"}, rows...); err != nil {
				t.Error(err)
			}
			if faults := v.Check(context.Background(), nil); len(faults) > 0 {
				t.Error(errors.Join(faults...))
			}
		})
	}
	for i := range 3 {
		commit(t, v, sandbox.RunID(fmt.Sprintf("run-%d", i+1)), rows...)
	}
	wait.Wait()
}

// TestNoPlaintext looks for cells, pseudonyms and the manifest's text in every file of the sealed version.
func TestNoPlaintext(t *testing.T) {
	v := newVault(t)
	commit(t, v, "run-1", 3000)
	found := 0
	err := filepath.WalkDir(v.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found++
		for _, text := range []string{"plainly-", "pseudonym-", "言言", `"columns"`} {
			if bytes.Contains(b, []byte(text)) {
				t.Errorf("%s holds plaintext", filepath.Base(path))
			}
		}
		return err
	})
	if err != nil || found != 11 { // HEAD, run, key, manifest, statistics, five columns, pseudonyms
		t.Errorf("%d files, %v", found, err)
	}
}

// TestScanLeavesNoGoroutine however early it is closed, also when its opening fails half way: the bubble ends only when
// every goroutine started in it has.
func TestScanLeavesNoGoroutine(t *testing.T) {
	v := newVault(t)
	s := commit(t, v, "run-1", 40000, 40000)
	if err := os.Remove(filepath.Join(v.versionPath(claims.ID, 1), "004.col")); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		for batches := range 3 {
			r, err := v.Scan(context.Background(), memory.DefaultAllocator, s, []string{"fee", "code", SubjectColumn})
			if err != nil {
				t.Fatal(err)
			}
			for range batches {
				rec, err := r.Next(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				rec.Release()
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Scan(context.Background(), memory.DefaultAllocator, s, []string{"fee", "paid"}); !errors.Is(err, sandbox.Tampered) {
				t.Fatal(err)
			}
		}
	})
}
