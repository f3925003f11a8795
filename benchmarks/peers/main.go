// Command peers measures hot paths of this project beside other people's programs in one process and prints a table (对照基准). It
// is a module of its own, so that what it links (DuckDB, 72 MB, cgo) stays out of the product.
//
//	cd benchmarks/peers && go run . -rows 4000000
//	cd benchmarks/peers && GOEXPERIMENT=simd go run . -only kernels -rows 10000000
//	cd benchmarks/peers && go run . -only dbbench -rows 10000000
//	cd benchmarks/peers && go run . -only lineitem -rows 10000000
//	cd benchmarks/peers && go run . -only stream -rows 100000000
//
// The last takes some minutes, 6 GB of the temporary directory and about as much memory, and is in no other run.
//
// Each line is the best of several runs by processor time of the whole process, DuckDB held to one thread, over the same values.
// The results are compared before anything is timed. Comparisons hold only within one run.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
)

// line is one measured program.
type line struct {
	name string
	run  func(ctx context.Context) error
	rate float64 // rows a second of processor time
}

func main() {
	rows := flag.Int("rows", 4_000_000, "rows of each column")
	repeat := flag.Int("repeat", 5, "runs of each line; the best is shown")
	only := flag.String("only", "", "run one part: kernels, questions, dbbench, lineitem, or stream, which is in no other run")
	flag.Parse()
	// A run that is stopped takes its files with it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx, os.Stdout, *rows, *repeat, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, out io.Writer, rows, repeat int, only string) error {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, set := range []string{"SET threads = 1", "SET memory_limit = '4GB'", "SET autoinstall_known_extensions = false", "SET autoload_known_extensions = false"} {
		if _, err := db.ExecContext(ctx, set); err != nil {
			return err
		}
	}
	var version string
	if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return err
	}
	fmt.Fprintf(out, "DuckDB %s, %s %s/%s, %d rows\n\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, rows)
	if only != "" {
		return part(ctx, db, out, rows, repeat, only)
	}
	lines, err := masks(ctx, db, rows)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "| what | Mrows/CPU-s | ns/row |\n|---|---:|---:|")
	for i := range lines {
		l := &lines[i]
		if l.rate, err = best(ctx, l.run, rows, repeat); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		fmt.Fprintf(out, "| %s | %.1f | %.2f |\n", l.name, l.rate/1e6, 1e9/l.rate)
	}
	copied, duck, ours := lines[0].rate, 0.0, lines[len(lines)-1].rate
	for _, l := range lines[1 : len(lines)-1] {
		duck = max(duck, l.rate)
	}
	fmt.Fprintf(out, "\nmask ÷ DuckDB's fastest form %.1f (goal 30), mask ÷ memcpy %.2f (goal 0.3)\n", ours/duck, ours/copied)
	alone, err := kernels(ctx, db, rows, repeat)
	fmt.Fprint(out, alone)
	if err != nil {
		return err
	}
	asked, err := engine(ctx, db, rows, repeat)
	fmt.Fprint(out, asked)
	if err != nil {
		return err
	}
	for _, name := range published {
		if err := part(ctx, db, out, rows, repeat, name); err != nil {
			return err
		}
	}
	found, err := fullText(repeat)
	fmt.Fprint(out, found)
	return err
}

// best gives the rate of the run that took the least processor time.
func best(ctx context.Context, run func(context.Context) error, rows, repeat int) (float64, error) {
	if err := run(ctx); err != nil {
		return 0, err
	}
	rate := 0.0
	for range repeat {
		runtime.GC()
		before := processorTime()
		if err := run(ctx); err != nil {
			return 0, err
		}
		rate = max(rate, float64(rows)/(processorTime()-before).Seconds())
	}
	return rate, nil
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
