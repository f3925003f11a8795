package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// benchmark is one line of the table.
type benchmark struct {
	name    string
	rows    int   // rows one run scans
	bytes   int64 // Arrow bytes one run touches
	batches int
	run     func(ctx context.Context) error
}

// result is what one run took.
type result struct {
	wall, cpu time.Duration
	allocs    uint64
}

const header = "| what | ms | Mrows/CPU-s | ns/row | GB/s | allocs/batch |\n|---|---:|---:|---:|---:|---:|"

const legend = `"Kernels alone" is without subjects and evidence; pure Go is the default build, the others need GOEXPERIMENT=simd. Every engine line computes full evidence: each cell's distinct subjects and what each adds to each measure.
"Clustered" tables hold a subject's rows together, as an export ordered by person does; "scattered" ones in random order, the worst
case: each row then misses the caches in the tables of subjects and of (cell, subject) pairs. "Spilled" lines have a byte of memory
for the joined input for each scanned row, and 16 for pairs; the rest goes to disk under SM4-GCM and comes back.
`

// best runs b once to warm up and then several times, and gives the run with the least processor time.
func (b benchmark) best(ctx context.Context, repeat int) (result, error) {
	if err := b.run(ctx); err != nil {
		return result{}, err
	}
	var best result
	for i := range repeat {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		wall, cpu := time.Now(), processorTime()
		if err := b.run(ctx); err != nil {
			return result{}, err
		}
		r := result{wall: time.Since(wall), cpu: processorTime() - cpu}
		runtime.ReadMemStats(&after)
		r.allocs = after.Mallocs - before.Mallocs
		if r.cpu <= 0 {
			r.cpu = r.wall
		}
		if i == 0 || r.cpu < best.cpu {
			best = r
		}
	}
	return best, nil
}

func (r result) row(b benchmark) string {
	mrows, perRow, allocs := "–", "–", "–"
	if b.rows > 0 {
		mrows = fmt.Sprintf("%.1f", float64(b.rows)/r.cpu.Seconds()/1e6)
		perRow = fmt.Sprintf("%.1f", float64(r.cpu.Nanoseconds())/float64(b.rows))
	}
	if b.batches > 0 {
		allocs = fmt.Sprintf("%.1f", float64(r.allocs)/float64(b.batches))
	}
	return fmt.Sprintf("| %s | %.0f | %s | %s | %.2f | %s |", b.name, float64(r.wall.Microseconds())/1e3, mrows, perRow,
		float64(b.bytes)/r.cpu.Seconds()/1e9, allocs)
}

// memcpyCase is the yardstick: copying a block larger than the caches.
func memcpyCase() benchmark {
	const size, times = 256 << 20, 8
	from, to := make([]byte, size), make([]byte, size)
	for i := 0; i < size; i += 4096 {
		from[i] = byte(i >> 12)
	}
	return benchmark{name: "memcpy, bytes copied", bytes: size * times, run: func(context.Context) error {
		for range times {
			copy(to, from)
		}
		return nil
	}}
}
