package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// input is a table, its pseudonyms, and where it is cut into batches. The batches are slices of the one record.
type input struct {
	whole arrow.Record
	who   []sandbox.Pseudonym
	cuts  []int // where a batch ends
}

// newInput makes a table whose row i is the subject's that of names, cut about every step rows; some batches are empty.
func newInput(rows, step int, of func(i int) uint64) input {
	in := input{}
	in.whole, in.who = table(memory.DefaultAllocator, 0, rows)
	for i := range in.who {
		in.who[i] = sandbox.Pseudonym{}
		put(&in.who[i], of(i), of(i)%3)
	}
	for at := 0; at < rows; {
		at = min(rows, at+1+mrand.IntN(2*step))
		in.cuts = append(in.cuts, at)
		if mrand.IntN(4) == 0 {
			in.cuts = append(in.cuts, at)
		}
	}
	return in
}

// write stages the batches from one to another.
func (in input) write(t *testing.T, w *Writer, from, to int) {
	t.Helper()
	at := 0
	for i, end := range in.cuts[:to] {
		if i >= from {
			rec := in.whole.NewSlice(int64(at), int64(end))
			if err := w.Write(context.Background(), rec, in.who[at:end:end]); err != nil {
				t.Fatal(err)
			}
			rec.Release()
		}
		at = end
	}
}

// commit commits, and holds what is shown and what is stored to a stable sort of the input.
func (in input) commit(t *testing.T, v *Vault, w *Writer) {
	t.Helper()
	order := make([]int, len(in.who))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return bytes.Compare(in.who[a][:], in.who[b][:]) })
	hold := func(rec arrow.Record, at int) error {
		for i := range int(rec.NumRows()) {
			row := order[at+i]
			for c := range 5 {
				if !array.SliceEqual(rec.Column(c), int64(i), int64(i+1), in.whole.Column(c), int64(row), int64(row+1)) {
					return fmt.Errorf("row %d, column %d is not that of input row %d", at+i, c, row)
				}
			}
			if rec.NumCols() == 6 && !bytes.Equal(rec.Column(5).(*array.FixedSizeBinary).Value(i), in.who[row][:]) {
				return fmt.Errorf("row %d is another subject's", at+i)
			}
		}
		return nil
	}
	shown := 0
	w.Observe(func(rec arrow.Record) error {
		shown += int(rec.NumRows())
		return hold(rec, shown-int(rec.NumRows()))
	})
	s, err := w.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.Scan(context.Background(), memory.DefaultAllocator, s, everyColumn)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := 0
	for {
		rec, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := hold(rec, at); err != nil {
			t.Fatal(err)
		}
		at += int(rec.NumRows())
		// A subject goes on in the next batch only if it has the last sixteenth of this one.
		if at < len(order) && in.who[order[at-1]] == in.who[order[at]] && in.who[order[at-int(rec.NumRows())/16]] != in.who[order[at]] {
			t.Errorf("a subject stands in two batches, the first of %d rows", rec.NumRows())
		}
		rec.Release()
	}
	if at != len(order) || shown != len(order) || s.Rows != int64(len(order)) {
		t.Errorf("%d rows stored, %d shown, of %d", at, shown, len(order))
	}
	if faults := v.Check(context.Background(), nil); len(faults) > 0 {
		t.Error(errors.Join(faults...))
	}
}

// TestOrdered writes tables that come in the order of their subjects, and ones that nearly do, and finds in the version what
// a stable sort gives.
func TestOrdered(t *testing.T) {
	const rows = 6000
	late := func(i int) uint64 { // the last batch begins before the others
		if i >= rows-50 {
			return uint64(i - rows + 60)
		}
		return uint64(i)
	}
	for name, c := range map[string]struct {
		rows, step int
		of         func(i int) uint64
		ordered    bool
	}{
		"each its own":    {rows, 700, func(i int) uint64 { return uint64(i) << 40 }, true},
		"several rows":    {rows, 50, func(i int) uint64 { return uint64(i / 7) }, true},
		"one subject":     {rows, 700, func(int) uint64 { return 9 }, true},
		"one batch":       {rows, rows * 99, func(i int) uint64 { return uint64(i / 2) }, true},
		"late disorder":   {rows, 400, late, false},
		"last row":        {rows, 400, func(i int) uint64 { return uint64(i % (rows - 1)) }, false},
		"falling":         {rows, 400, func(i int) uint64 { return uint64(rows - i) }, false},
		"batches swapped": {rows, 400, func(i int) uint64 { return uint64(i ^ 1024) }, false},
		"large, ordered":  {80_000, 9000, func(i int) uint64 { return uint64(i/5) << 32 }, true},
		"large, in none":  {80_000, 9000, func(i int) uint64 { return uint64(i/3) * 0x9e3779b97f4a7c15 }, false},
		"large, uneven":   {70_000, 9000, func(i int) uint64 { return uint64(i*7) % 30_000 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInput(c.rows, c.step, c.of)
			defer in.whole.Release()
			const all = 1 << 40 // a slice counts as all that it is a slice of
			for _, sort := range []int64{all, 300_000 * int64(c.rows/rows)} {
				v := small(t, sort)
				w := begin(t, v, "run-1")
				in.write(t, w, 0, len(in.cuts))
				if c.ordered && cap(w.order.rows) > 0 {
					t.Error("rows in order were sorted")
				}
				if c.ordered == w.held.scattered && sort == all {
					t.Errorf("rows scattered: %v", w.held.scattered)
				}
				if (len(w.runs) == 0) != (sort == all) {
					t.Errorf("%d runs, %d bytes to sort", len(w.runs), sort)
				}
				in.commit(t, v, w)
			}
		})
	}
}

// TestBorder: a subject's rows stand on both sides of where an input batch ends and a stored one would be full.
func TestBorder(t *testing.T) {
	in := newInput(batch.MaxRows+100, 9000, func(i int) uint64 { return uint64(i / 10) })
	defer in.whole.Release()
	in.cuts = []int{batch.MaxRows, batch.MaxRows + 100}
	v := newVault(t)
	w := begin(t, v, "run-1")
	in.write(t, w, 0, 2)
	in.commit(t, v, w)
}

// TestOrderedResumed: rows in order are spilled, the run is broken off and goes on in order or in none, with a rest in memory.
func TestOrderedResumed(t *testing.T) {
	const rows = 8000
	for name, of := range map[string]func(i int) uint64{
		"in order": func(i int) uint64 { return uint64(i / 3) },
		"in none":  func(i int) uint64 { return uint64(i/3) ^ uint64(i/5000*2047) },
	} {
		t.Run(name, func(t *testing.T) {
			in := newInput(rows, 300, of)
			defer in.whole.Release()
			v := small(t, 200_000)
			w := begin(t, v, "run-1")
			in.write(t, w, 0, len(in.cuts)/2)
			if err := w.Suspend(); err != nil {
				t.Fatal(err)
			}
			v = reopened(t, v)
			w, err := v.Resume(context.Background(), claims.ID, "run-1")
			if err != nil || w.Durable() == 0 {
				t.Fatalf("%v", err)
			}
			in.write(t, w, int(w.Durable()), len(in.cuts)-1)
			if err := w.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			in.write(t, w, len(in.cuts)-1, len(in.cuts))
			in.commit(t, v, w)
		})
	}
}

// TestNoRoomToSort: rows in order fill the memory that is there without a sort; the first row out of order makes them a run
// of their own, and a mark never speaks of fewer batches than are durable with it.
func TestNoRoomToSort(t *testing.T) {
	in := newInput(6000, 200, func(i int) uint64 { return uint64(i % 5900) })
	defer in.whole.Release()
	v := small(t, 128<<20)
	w := begin(t, v, "run-1")
	written, marked := 0, 0
	w.Mark(func() []byte { marked = written; return nil })
	for i := range in.cuts {
		if in.cuts[i] > 5900 && v.sortBytes == 128<<20 {
			v.sortBytes = w.held.bytes * 3 / 2
		}
		written = i + 1
		in.write(t, w, i, i+1)
		if len(w.runs) > 0 && (w.Durable() != int64(marked)) {
			t.Fatalf("%d batches are durable, the mark speaks of %d", w.Durable(), marked)
		}
	}
	if len(w.runs) < 2 || cap(w.order.rows) > 1000 {
		t.Errorf("%d runs, %d rows were sorted", len(w.runs), cap(w.order.rows))
	}
	in.commit(t, v, w)
}

// countingFS counts the files that are open.
type countingFS struct {
	durable.FS
	mu         sync.Mutex
	open, most int
}

type countedFile struct {
	durable.File
	fs   *countingFS
	once sync.Once
}

func (c *countingFS) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.most = max(c.most, c.open)
	return &countedFile{File: f, fs: c}, nil
}

func (f *countedFile) Close() error {
	f.once.Do(func() {
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		f.fs.open--
	})
	return f.File.Close()
}

// TestManyRuns: more runs than are merged at once are merged in groups first, with no more files open; a commit that fails
// behind that leaves the stage as it was.
func TestManyRuns(t *testing.T) {
	for _, runs := range []int{mergedRuns, mergedRuns + 1, 3 * mergedRuns} {
		fs := &countingFS{FS: durable.OS()}
		v := small(t, 1)
		v.fs = fs
		w := begin(t, v, "run-1")
		push(t, w, 0, runs*20, 20, 97)
		if len(w.runs) != runs {
			t.Fatalf("%d runs", len(w.runs))
		}
		stop := errors.New("stop")
		w.Observe(func(arrow.Record) error { return stop })
		if _, err := w.Commit(context.Background()); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		w, err := v.Resume(context.Background(), claims.ID, "run-1")
		if err != nil || len(w.runs) != runs {
			t.Fatalf("%d runs, %v", len(w.runs), err)
		}
		fs.most = 0
		s, err := w.Commit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if fs.open != 0 || fs.most > mergedRuns+len(everyColumn)+1 {
			t.Errorf("%d files were open at once, %d still are", fs.most, fs.open)
		}
		clustered(t, v, s, runs*20, 97)
	}
}

// TestTextBounds holds the bounds of texts to plain comparisons.
func TestTextBounds(t *testing.T) {
	for range 300 {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		var all []string
		for range 1 + mrand.IntN(20) {
			if mrand.IntN(4) == 0 {
				b.AppendNull()
				all = append(all, "null")
				continue
			}
			x := make([]byte, mrand.IntN(20))
			for i := range x {
				x[i] = byte(mrand.IntN(3)) * 'a'
			}
			b.Append(string(x))
			all = append(all, string(x))
		}
		whole := b.NewArray()
		from := mrand.IntN(whole.Len())
		a := array.NewSlice(whole, int64(from), int64(whole.Len()))
		var valid []string
		for i, x := range all[from:] {
			if a.IsValid(i) {
				valid = append(valid, x[:min(len(x), maxText)])
			}
		}
		if c := describe(a); len(valid) > 0 && (string(c.Low) != slices.Min(valid) || string(c.High) != slices.Max(valid)) {
			t.Errorf("%q has the bounds %q and %q", valid, c.Low, c.High)
		} else if c.Nulls != a.Len()-len(valid) {
			t.Errorf("%d nulls", c.Nulls)
		}
		b.Release()
	}
}
