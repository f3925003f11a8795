package vault

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// TestRunCommitsOnce also after its version's key was destroyed, and names the version.
func TestRunCommitsOnce(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	first := commit(t, v, "run-1", 5)
	commit(t, v, "run-2", 6)
	again := func() {
		t.Helper()
		_, err := v.Begin(ctx, claims.Unit, claims.ID, "run-1", batch.Schema(claims), sandbox.Grade3)
		if !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "version 1") {
			t.Errorf("the same run again: %v", err)
		}
	}
	again()
	if s, err := v.Committed(claims.ID, "run-2"); err != nil || s.Version != 2 {
		t.Errorf("run-2 committed version %d, %v", s.Version, err)
	}
	if _, err := v.Committed(claims.ID, "run-3"); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a run that committed nothing: %v", err)
	}
	if _, err := v.keys.(*keys.File).Destroy(first.Key, "agency", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Snapshot(claims.ID, 1); !errors.Is(err, sandbox.Expired) {
		t.Errorf("a version whose key was destroyed: %v", err)
	}
	again()
	if faults := v.Check(ctx, nil); len(faults) > 0 {
		t.Errorf("a destroyed key is a fault: %v", errors.Join(faults...))
	}
	// A changed key file does not pass for a destroyed key.
	path := filepath.Join(v.versionPath(claims.ID, 2), keyFile)
	if err := os.WriteFile(path, []byte(`{"key":"v-00000000000000000000","run":"run-2"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Snapshot(claims.ID, 2); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a version that names another key: %v", err)
	}
	if _, err := v.Begin(ctx, claims.Unit, claims.ID, "run-2", batch.Schema(claims), sandbox.Grade3); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a run whose version cannot be opened: %v", err)
	}
}

func TestOneWriterPerRun(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	w := begin(t, v, "run-1")
	if _, err := v.Begin(ctx, claims.Unit, claims.ID, "run-1", batch.Schema(claims), sandbox.Grade3); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a second writer of the run: %v", err)
	}
	if _, err := v.Resume(ctx, claims.ID, "run-1"); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("resumed while it is written: %v", err)
	}
	if err := v.Drop(claims.ID, "run-1"); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("dropped while it is written: %v", err)
	}
	if _, err := v.Begin(ctx, claims.Unit, "ds-other", "run-2", batch.Schema(claims), sandbox.Grade3); err != nil {
		t.Errorf("a writer of another dataset: %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if s := commit(t, v, "run-1", 5); s.Version != 1 {
		t.Errorf("after an abort comes version %d", s.Version)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("aborted twice: %v", err)
	}
	if _, err := w.Commit(ctx); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("commit after abort: %v", err)
	}
	rec, subjects := table(memory.DefaultAllocator, 0, 1)
	defer rec.Release()
	if err := w.Write(ctx, rec, subjects); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("write after abort: %v", err)
	}
}

func TestBeginRefuses(t *testing.T) {
	v := newVault(t)
	field := func(name string, ty arrow.DataType) *arrow.Schema {
		return arrow.NewSchema([]arrow.Field{{Name: name, Type: ty}}, nil)
	}
	twice := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "a", Type: arrow.PrimitiveTypes.Int64}}, nil)
	for name, c := range map[string]struct {
		d      sandbox.DatasetID
		run    sandbox.RunID
		schema *arrow.Schema
		grade  sandbox.Grade
	}{
		"dataset":         {"..", "run-1", batch.Schema(claims), 3},
		"run":             {"ds-x", "a/b", batch.Schema(claims), 3},
		"column twice":    {"ds-x", "run-1", twice, 3},
		"internal column": {"ds-x", "run-1", field(SubjectColumn, arrow.BinaryTypes.String), 3},
		"type":            {"ds-x", "run-1", field("a", arrow.PrimitiveTypes.Float64), 3},
		"pseudonym type":  {"ds-x", "run-1", field("a", subjectType), 3},
		"grade":           {"ds-x", "run-1", batch.Schema(claims), 9},
	} {
		if _, err := v.Begin(context.Background(), "unit-a", c.d, c.run, c.schema, c.grade); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := v.Begin(ctx, "unit-a", "ds-x", "run-1", batch.Schema(claims), 3); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	if v, err := Open(v.dir, v.keys, bytes.NewReader(make([]byte, 10))); err != nil {
		t.Error(err)
	} else if _, err := v.Begin(context.Background(), "unit-a", "ds-x", "run-1", batch.Schema(claims), 3); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("without randomness: %v", err)
	} else if left, _ := filepath.Glob(filepath.Join(v.dir, "ds-x", "*")); len(left) > 0 {
		t.Errorf("a failed Begin left %d entries", len(left))
	}
}

// TestBadBatchIsRefused names the column and takes nothing of it.
func TestBadBatchIsRefused(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	commit(t, v, "run-1", 5)
	w := begin(t, v, "run-2")
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(claims))
	defer b.Release()
	for i := range claims.Columns {
		b.Field(i).AppendEmptyValue()
	}
	b.Field(2).AppendNull() // fee has no nulls
	for _, i := range []int{0, 1, 3, 4} {
		b.Field(i).AppendEmptyValue()
	}
	bad := b.NewRecord()
	defer bad.Release()
	if err := w.Write(ctx, bad, make([]sandbox.Pseudonym, 2)); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "fee") {
		t.Fatalf("a null where none may be: %v", err)
	}
	good, subjects := table(memory.DefaultAllocator, 0, 5)
	defer good.Release()
	if err := w.Write(ctx, good, subjects[1:]); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a pseudonym too few: %v", err)
	}
	if err := w.Write(ctx, good, subjects); err != nil {
		t.Fatal(err)
	}
	ended, stop := context.WithCancel(ctx)
	stop()
	if _, err := w.Commit(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("commit under an ended context: %v", err)
	}
	if err := v.Drop(claims.ID, "run-2"); err != nil {
		t.Fatal(err)
	}
	untouched(t, v, 1, 5)
}

// untouched checks that the head is the given version with its rows and that nothing else is in the dataset's folder.
func untouched(t *testing.T, v *Vault, version uint64, rows ...int) {
	t.Helper()
	s, err := v.Head(claims.ID)
	if err != nil || s.Version != version {
		t.Fatalf("the head is version %d, %v", s.Version, err)
	}
	if err := same(v, s, everyColumn, rows...); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(filepath.Join(v.dir, string(claims.ID)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n, ok := versionOf(e.Name()); e.Name() != headFile && e.Name() != runsDir && (!ok || n > version) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
	if faults := v.Check(context.Background(), nil); len(faults) > 0 {
		t.Error(errors.Join(faults...))
	}
}
