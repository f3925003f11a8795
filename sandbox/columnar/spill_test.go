package columnar

import (
	"context"
	"crypto/rand"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// sealedSpill is the vault's, in a file system in memory; left gives the files that were not erased.
func sealedSpill(t interface{ Fatal(...any) }) (Spill, *crashfs.FS) {
	fs := crashfs.New()
	return spillOn(t, fs), fs
}

func spillOn(t interface{ Fatal(...any) }, fs durable.FS) Spill {
	if err := fs.MkdirAll("v", 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := vault.SpillIn(fs, "v", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return func() (SpillFile, error) { return s.Create() }
}

// counted counts the files that a spill made and those that are left.
func (s Spill) counted(made, left *atomic.Int64) Spill {
	return func() (SpillFile, error) {
		f, err := s()
		if err != nil {
			return nil, err
		}
		made.Add(1)
		left.Add(1)
		return countedFile{f, left}, nil
	}
}

type countedFile struct {
	SpillFile
	left *atomic.Int64
}

func (f countedFile) Close() error {
	f.left.Add(-1)
	return f.SpillFile.Close()
}

// coded has texts and pseudonyms come as codes, and with skips leaves out batches of which no row counts.
func (s Source) coded(mem memory.Allocator, skips bool) Source {
	wrap := func(r batch.Reader, err error) (batch.Reader, error) {
		if err != nil {
			return nil, err
		}
		c := r.(*countedReader)
		return &codedReader{selecting{slicedReader: &c.slicedReader, mem: mem, skips: skips, out: new(int)}, c.left}, nil
	}
	whole, part := s.Open, s.OpenPart
	s.Open = func(ctx context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
		return wrap(whole(ctx, ds, columns))
	}
	s.OpenPart = func(ctx context.Context, ds sandbox.DatasetID, columns []string, n int) (batch.Reader, error) {
		return wrap(part(ctx, ds, columns, n))
	}
	return s
}

type codedReader struct {
	selecting
	left *atomic.Int64
}

func (r *codedReader) Close() error {
	r.left.Add(-1)
	return r.selecting.Close()
}

// TestSpilledEqualsInMemory: with memory for nothing, every join is spilled; answers have the bits they have in memory, however the
// scanned input is cut, whoever computes, and whether texts come as codes and batches are left out.
func TestSpilledEqualsInMemory(t *testing.T) {
	var made atomic.Int64
	joined := 0
	sandboxtest.Until(t, func() bool { return made.Load() > 0 && joined > 0 }, func(t *rapid.T) {
		tables, s := genTables(t), genSpec(t)
		n := len(tables["visits"].rows)
		cuts := rapid.SliceOfN(rapid.IntRange(0, n), 0, 4).Draw(t, "cuts")
		slices.Sort(cuts)
		sizes := rapid.SliceOfN(rapid.IntRange(0, 70), 1, 6).Draw(t, "batches")
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		var readers, left atomic.Int64
		src := cutSource(mem, tables, cuts, sizes, &readers)
		want, err := Run(context.Background(), mem, plan(t, s), src.Open, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		plain := oracle(s, tables)
		same(want, plain)
		if render(want) != render(plain) {
			t.Fatal("in memory, not the oracle's")
		}
		spill, _ := sealedSpill(t)
		src.Spill = spill.counted(&made, &left)
		if rapid.Bool().Draw(t, "coded") {
			src = src.coded(mem, rapid.Bool().Draw(t, "batches left out"))
		}
		// From nothing, where every row is a block, over a few rows, to where some inputs stay in memory.
		lim := Limits{MaxBuildBytes: rapid.SampledFrom([]int{1, 100_000, 200_000, 400_000, 800_000, 1 << 30}).Draw(t, "memory of joins")}
		pairs := rapid.SampledFrom([]int{1, 2_000_000, 1 << 30}).Draw(t, "memory of pairs")
		if len(s.Inputs) > 1 {
			joined++
		}
		for name, by := range map[string]Executor{"goroutines": Goroutines{Workers: rapid.IntRange(1, 4).Draw(t, "workers")}, "carried": carried{}} {
			if lim.MaxPairBytes = pairs; name == "carried" { // a Partial that crosses whole is within its memory
				lim.MaxPairBytes = max(pairs, 2_000_000)
			}
			got, err := Execute(context.Background(), mem, plan(t, s), src, lim, by)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := render(got), render(want); got != want {
				t.Fatalf("%s, spilled:\n%s\nin memory:\n%s", name, got, want)
			}
		}
		if mem.CurrentAlloc() != 0 || readers.Load() != 0 || left.Load() != 0 {
			t.Fatalf("%d bytes, %d readers and %d files left", mem.CurrentAlloc(), readers.Load(), left.Load())
		}
	})
	t.Logf("%d files in %d questions with joins", made.Load(), joined)
}
