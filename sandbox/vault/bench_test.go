//go:build unix

package vault

import (
	"context"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// The benchmarks move 32 batches of 16,384 rows of text, money and date with their pseudonyms, 47 B a row. Bytes are those
// of the encoded columns. GB/CPU-s divides by the processor time of all threads, which a busy machine disturbs less.
const (
	benchBatches = 32
	benchRows    = 1 << 14
)

var benched = catalog.Dataset{ID: "ds-bench", Columns: []catalog.Column{{Name: "code", Type: catalog.Text}, {Name: "fee", Type: catalog.Money}, {Name: "day", Type: catalog.Date}}}

// benchTable makes the record that every batch is, and the pseudonyms of all: two rows a subject, in order or in none.
func benchTable(ordered bool) (arrow.Record, [][]sandbox.Pseudonym) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(benched))
	defer b.Release()
	for i := range benchRows {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("K%014d", i))
		b.Field(1).(*array.Int64Builder).Append(int64(i))
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(i))
	}
	subjects := make([][]sandbox.Pseudonym, benchBatches)
	for k := range subjects {
		subjects[k] = make([]sandbox.Pseudonym, benchRows)
		for i := range subjects[k] {
			n := uint64(k*benchRows+i) / 2 << 32
			if !ordered {
				n = n >> 32 * 0x9e3779b97f4a7c15
			}
			put(&subjects[k][i], n, n)
		}
	}
	return b.NewRecord(), subjects
}

func sealBench(b *testing.B, v *Vault, run sandbox.RunID, rec arrow.Record, subjects [][]sandbox.Pseudonym) Snapshot {
	ctx := context.Background()
	w, err := v.Begin(ctx, "unit-a", benched.ID, run, batch.Schema(benched), sandbox.Grade3)
	if err != nil {
		b.Fatal(err)
	}
	for _, who := range subjects {
		if err := w.Write(ctx, rec, who); err != nil {
			b.Fatal(err)
		}
	}
	s, err := w.Commit(ctx)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSeal writes a version from its beginning to its commit: in memory, and through runs.
func BenchmarkSeal(b *testing.B) {
	for _, c := range []struct {
		name    string
		ordered bool
		sort    int64
	}{{"ordered", true, 128 << 20}, {"unordered", false, 128 << 20}, {"ordered,runs", true, 8 << 20}, {"unordered,runs", false, 8 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			v := newVault(b)
			v.sortBytes = c.sort
			rec, subjects := benchTable(c.ordered)
			defer rec.Release()
			bytes := benchBytes(b, rec)
			b.SetBytes(bytes)
			b.ReportAllocs()
			from := cpuTime(b)
			for i := 0; b.Loop(); i++ {
				sealBench(b, v, sandbox.RunID(fmt.Sprintf("run-%d", i)), rec, subjects)
			}
			perCPU(b, bytes, cpuTime(b)-from)
		})
	}
}

// BenchmarkCipher is SM4-GCM alone over chunks, what the others are measured against.
func BenchmarkCipher(b *testing.B) {
	aead, err := sm.NewGCM(make([]byte, sm.KeySize))
	if err != nil {
		b.Fatal(err)
	}
	plain, sealed := make([]byte, chunkSize), make([]byte, 0, sealedSize)
	nonce := make([]byte, 12)
	b.SetBytes(chunkSize)
	from := cpuTime(b)
	for b.Loop() {
		sealed = aead.Seal(sealed[:0], nonce, plain, nil)
	}
	perCPU(b, chunkSize, cpuTime(b)-from)
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perCPU(b *testing.B, bytes int64, spent time.Duration) {
	b.ReportMetric(float64(bytes)*float64(b.N)/float64(spent), "GB/CPU-s")
}

// BenchmarkScan opens, checks and decodes columns of a committed version.
func BenchmarkScan(b *testing.B) {
	ctx, v := context.Background(), newVault(b)
	rec, subjects := benchTable(true)
	defer rec.Release()
	s := sealBench(b, v, "run-1", rec, subjects)
	for _, columns := range [][]string{{"code", "fee", "day", SubjectColumn}, {"fee"}} {
		b.Run(fmt.Sprintf("columns=%d", len(columns)), func(b *testing.B) {
			bytes := benchBytes(b, rec)
			if len(columns) == 1 {
				bytes = benchBatches * benchRows * 8
			}
			b.SetBytes(bytes)
			b.ReportAllocs()
			from := cpuTime(b)
			for b.Loop() {
				r, err := v.Scan(ctx, memory.DefaultAllocator, s, columns)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					var got arrow.Record
					if got, err = r.Next(ctx); err == nil {
						got.Release()
					}
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
			perCPU(b, bytes, cpuTime(b)-from)
		})
	}
}

func benchBytes(b *testing.B, rec arrow.Record) int64 {
	enc, err := batch.Encode(nil, rec)
	if err != nil {
		b.Fatal(err)
	}
	return benchBatches * int64(len(enc)+16*benchRows)
}
