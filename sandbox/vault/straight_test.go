package vault

import (
	"context"
	"errors"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// straight begins a run that stores rows straight, and writes batches of the given rows.
func straight(t *testing.T, v *Vault, run sandbox.RunID, rows ...int) *Writer {
	t.Helper()
	w := begin(t, v, run)
	if err := w.Straight(); err != nil {
		t.Fatal(err)
	}
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

// TestStraight: the same version as by way of a stage, one subject's rows are found in it, and nothing is held in memory.
func TestStraight(t *testing.T) {
	v := newVault(t)
	rows := []int{1, 0, 9000, 17, 30000}
	w := straight(t, v, "run-1", rows...)
	if len(w.held.recs) != 0 || len(w.runs) != 0 {
		t.Errorf("%d batches in memory, %d runs", len(w.held.recs), len(w.runs))
	}
	if err := w.Flush(t.Context()); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a durable point: %v", err)
	}
	s, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := same(v, s, everyColumn, rows...); err != nil {
		t.Error(err)
	}
	other := commit(t, v, "run-2", rows...)
	for _, x := range []Snapshot{s, other} {
		if n, err := v.Subjects(t.Context(), x); err != nil || n != 39018 || x.Rows != 39018 {
			t.Errorf("%d subjects in %d rows: %v", n, x.Rows, err)
		}
	}
	_, who := table(memory.DefaultAllocator, 9005, 1)
	r, err := v.ScanSubject(t.Context(), memory.DefaultAllocator, s, everyColumn, who[0])
	if err != nil {
		t.Fatal(err)
	}
	rec, err := r.Next(t.Context())
	if err != nil || rec.NumRows() != 17 {
		t.Errorf("one subject's batch: %v", err)
	}
	rec.Release()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if faults := reopened(t, v).Check(t.Context(), nil); len(faults) > 0 {
		t.Error(faults)
	}
	empty, err := straight(t, v, "run-3").Commit(t.Context())
	if err != nil || empty.Rows != 0 {
		t.Errorf("no rows: %v", err)
	}
}

// TestStraightRefuses rows out of order, batches that are too large, and to begin late; an ended writer leaves nothing.
func TestStraightRefuses(t *testing.T) {
	v := newVault(t)
	rec, who := table(memory.DefaultAllocator, 0, 10)
	defer rec.Release()
	swapped := append([]sandbox.Pseudonym{}, who...)
	swapped[3], swapped[4] = who[4], who[3]
	large, many := table(memory.DefaultAllocator, 0, batch.MaxRows+1)
	defer large.Release()
	for what, f := range map[string]func(w *Writer) error{
		"within a batch": func(w *Writer) error { return w.Write(t.Context(), rec, swapped) },
		"too large":      func(w *Writer) error { return w.Write(t.Context(), large, many) },
		"between batches": func(w *Writer) error {
			return errors.Join(w.Write(t.Context(), rec, who), w.Write(t.Context(), rec, who))
		},
	} {
		w := straight(t, v, "run-1")
		if err := f(w); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := w.Commit(t.Context()); err == nil {
			t.Errorf("%s: committed", what)
		}
		if err := v.Drop(claims.ID, "run-1"); err != nil {
			t.Fatal(err)
		}
	}
	w := staged(t, v, "run-1", 5)
	if err := w.Straight(); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("begun late: %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	w = straight(t, v, "run-1", 5)
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if stages, err := v.Stages(); err != nil || len(stages) != 0 {
		t.Errorf("%d stages: %v", len(stages), err)
	}
	// A process that ends in the middle leaves a stage without rows.
	straight(t, v, "run-1", 5).closeFiles()
	again := reopened(t, v)
	r, err := again.Resume(t.Context(), claims.ID, "run-1")
	if err != nil || r.Durable() != 0 || r.Rows() != 0 {
		t.Fatalf("resumed: %v", err)
	}
	if err := r.Abort(); err != nil {
		t.Fatal(err)
	}
}
