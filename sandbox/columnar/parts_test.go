package columnar

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/query"
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
		parts, err = Execute(context.Background(), mem, plan(t, s), src, Limits{}, carried{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := render(parts), render(whole); got != want {
			t.Fatalf("carried, in parts at %d:\n%s\nwhole:\n%s", cuts, got, want)
		}
		if mem.CurrentAlloc() != 0 || left.Load() != 0 {
			t.Fatalf("%d bytes and %d readers left", mem.CurrentAlloc(), left.Load())
		}
	})
}

// TestPairsOutOfOrder: a part that goes back to a subject follows on one that ends with that subject, so that subjects of both stand in
// order and their pairs do not. The next part goes on with the last subject, whose pair is found nevertheless.
func TestPairsOutOfOrder(t *testing.T) {
	for _, cuts := range [][]int{{1, 4}, {0, 1, 1, 4}, {4}, {1, 4, 5}} {
		v := &table{ds: visits()}
		for _, x := range []struct {
			who  int
			beds int64
		}{{0, 1}, {0, 1}, {1, 0}, {0, 0}, {1, 0}, {2, 0}} {
			row, _ := visit(0, int64(7))
			row["beds"] = x.beds
			v.rows, v.subjects = append(v.rows, row), append(v.subjects, pseudonym(x.who))
		}
		tables := map[sandbox.DatasetID]*table{"visits": v}
		s := question(query.Dimension{Column: "v.beds", As: "d"})
		for _, by := range []Executor{Goroutines{Workers: 1}, Goroutines{Workers: 3}, carried{}} {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			var left atomic.Int64
			a, err := Execute(context.Background(), mem, plan(t, s), cutSource(mem, tables, cuts, []int{3}, &left), Limits{}, by)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := render(a), render(oracle(s, tables)); got != want {
				t.Errorf("%T, cut at %d:\n%s\noracle:\n%s", by, cuts, got, want)
			}
			mem.AssertSize(t, 0)
		}
	}
}

// carried computes parts one by one and merges what comes out of their encoding.
type carried struct{}

func (carried) Partials(ctx context.Context, k *Kernel, src Source, merge func(*Partial) error) error {
	for i := range src.Parts {
		p, err := k.part(ctx, src, i, nil)
		if err != nil {
			return err
		}
		b := k.Encode(p)
		p.Free()
		if p, err = k.Decode(b); err != nil {
			return err
		}
		if again := k.Encode(p); !bytes.Equal(b, again) {
			return errors.New("another encoding")
		}
		if err := merge(p); err != nil {
			return err
		}
	}
	return nil
}

// TestHostilePartials: cut or changed anywhere, bytes are refused or are a Partial that merges; nothing is read out of bounds, and
// nothing is left.
func TestHostilePartials(t *testing.T) {
	tables := visitTable(int64(math.MaxInt64), int64(200), nil, int64(-3), int64(200)) // one sum over 64 bits
	tables["visits"].subjects[4] = tables["visits"].subjects[0]
	s := question(query.Dimension{Column: "v.icd", As: "d"}, query.Dimension{Column: "v.cost", Bin: "size", As: "e"})
	s.Measures = append(s.Measures, query.Measure{Func: sandbox.Quantile, Column: "v.cost", Q: 500, As: "q"}, query.Measure{Func: sandbox.Variance, Column: "v.cost", As: "x"},
		query.Measure{Func: sandbox.Distinct, Column: "v.beds", As: "y"})
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	var left atomic.Int64
	src := cutSource(mem, tables, nil, []int{9}, &left)
	k, err := NewKernel(context.Background(), mem, plan(t, s), src, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Free()
	p, err := k.part(context.Background(), src, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	good := k.Encode(p)
	p.Free()
	try := func(b []byte) error {
		p, err := k.Decode(b)
		if err != nil {
			return err
		}
		m := k.Init()
		defer m.Free()
		if err := m.Merge(p); err == nil {
			_, _ = k.Finalize(m)
		}
		return nil
	}
	if err := try(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if err := try(good[:n]); !errors.Is(err, sandbox.Tampered) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		for _, x := range []byte{0xff, good[n] + 1, good[n] ^ 0x80} {
			b := slices.Clone(good)
			b[n] = x
			_ = try(b)
		}
	}
	if err := try(append(slices.Clone(good), 0)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("with more behind: %v", err)
	}
}
