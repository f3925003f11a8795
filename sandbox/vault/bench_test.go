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

func benchTable() (arrow.Record, []sandbox.Pseudonym) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(benched))
	defer b.Release()
	subjects := make([]sandbox.Pseudonym, benchRows)
	for i := range benchRows {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("K%014d", i))
		b.Field(1).(*array.Int64Builder).Append(int64(i))
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(i))
		subjects[i][0] = byte(i)
	}
	return b.NewRecord(), subjects
}

func sealBench(b *testing.B, v *Vault, run sandbox.RunID, rec arrow.Record, subjects []sandbox.Pseudonym) *Writer {
	ctx := context.Background()
	w, err := v.Begin(ctx, "unit-a", benched.ID, run, batch.Schema(benched), sandbox.Grade3)
	if err != nil {
		b.Fatal(err)
	}
	for range benchBatches {
		if err := w.Write(ctx, rec, subjects); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

// BenchmarkSeal encodes and seals a version into its stage; what the disk takes to confirm it is not counted.
func BenchmarkSeal(b *testing.B) {
	v := newVault(b)
	rec, subjects := benchTable()
	defer rec.Release()
	b.SetBytes(benchBytes(b, rec, len(subjects)))
	b.ReportAllocs()
	var spent time.Duration
	for i := 0; b.Loop(); i++ {
		from := cpuTime(b)
		w := sealBench(b, v, sandbox.RunID(fmt.Sprintf("run-%d", i)), rec, subjects)
		spent += cpuTime(b) - from
		b.StopTimer()
		if err := w.Abort(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	perCPU(b, benchBytes(b, rec, len(subjects)), spent)
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
	rec, subjects := benchTable()
	defer rec.Release()
	s, err := sealBench(b, v, "run-1", rec, subjects).Commit(ctx)
	if err != nil {
		b.Fatal(err)
	}
	for _, columns := range [][]string{{"code", "fee", "day", SubjectColumn}, {"fee"}} {
		b.Run(fmt.Sprintf("columns=%d", len(columns)), func(b *testing.B) {
			bytes := benchBytes(b, rec, len(subjects))
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

func benchBytes(b *testing.B, rec arrow.Record, rows int) int64 {
	enc, err := batch.Encode(nil, rec)
	if err != nil {
		b.Fatal(err)
	}
	return benchBatches * int64(len(enc)+16*rows)
}
