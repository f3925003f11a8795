package columnar

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// cutSource serves tables whole, and the scanned one in the parts that cuts, ascending row numbers, make of it. Any number of
// goroutines open parts; left counts the readers that are open.
func cutSource(mem memory.Allocator, tables map[sandbox.DatasetID]*table, cuts, sizes []int, left *atomic.Int64) Source {
	open := func(ds sandbox.DatasetID, part int) *countedReader {
		left.Add(1)
		rec := tables[ds].record(mem)
		if part >= 0 {
			from, to := 0, int(rec.NumRows())
			if part > 0 {
				from = cuts[part-1]
			}
			if part < len(cuts) {
				to = cuts[part]
			}
			cut := rec.NewSlice(int64(from), int64(to))
			rec.Release()
			rec = cut
		}
		return &countedReader{slicedReader{rec: rec, sizes: slices.Clone(sizes), closed: new(int)}, left}
	}
	return Source{Parts: len(cuts) + 1,
		Open: func(_ context.Context, ds sandbox.DatasetID, _ []string) (batch.Reader, error) {
			return open(ds, -1), nil
		},
		OpenPart: func(_ context.Context, ds sandbox.DatasetID, _ []string, part int) (batch.Reader, error) {
			return open(ds, part), nil
		}}
}

type countedReader struct {
	slicedReader
	left *atomic.Int64
}

func (r *countedReader) Close() error {
	r.left.Add(-1)
	return r.slicedReader.Close()
}

// TestPartsDoNotShow: however rows are cut into parts, by whomever they are computed, the answer has the same bits.
func TestPartsDoNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tables, s := genTables(t), genSpec(t)
		n := len(tables["visits"].rows)
		cuts := rapid.SliceOfN(rapid.IntRange(0, n), 0, 6).Draw(t, "cuts")
		slices.Sort(cuts)
		sizes := rapid.SliceOfN(rapid.IntRange(0, 70), 1, 6).Draw(t, "batches")
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		var left atomic.Int64
		src := cutSource(mem, tables, cuts, sizes, &left)
		whole, err := Run(context.Background(), mem, plan(t, s), src.Open, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		parts, err := Execute(context.Background(), mem, plan(t, s), src, Limits{}, Goroutines{Workers: rapid.IntRange(1, 4).Draw(t, "workers")})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := render(parts), render(whole); got != want {
			t.Fatalf("in parts at %d:\n%s\nwhole:\n%s", cuts, got, want)
		}
		if mem.CurrentAlloc() != 0 || left.Load() != 0 {
			t.Fatalf("%d bytes and %d readers left", mem.CurrentAlloc(), left.Load())
		}
	})
}
