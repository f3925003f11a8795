// Command benchmarks measures the hot paths on this machine and prints a table (性能基准): sealing, the vault and push
// frames beside the cipher alone, and the columnar engine with evidence over batches in memory, with a memcpy line from the
// same run.
//
//	go run ./benchmarks                 # 4 M rows; table to standard output, report to benchmarks/REPORT.md
//	go run ./benchmarks -rows 10000000 -report ""
//	go run ./benchmarks egress          # the gate alone, to standard output
//	go run ./benchmarks model           # of the gate, models alone
//	go run ./benchmarks jail            # plug-ins in the jail alone, beside go-plugin unconfined; from the project's folder
//	go run ./benchmarks wan             # sums over shares and set intersection over emulated lines alone
//	go run ./benchmarks psi             # set intersection alone; -million and -soak first add 1M×1M and 10M×10M in two processes, -elements n any other size
//	go run ./benchmarks -whole          # with what needs a domain of 10 M events or a push of 20 M rows: many minutes, 30 GB of disk
//
// Units: Mrows/CPU-s counts scanned rows per second of processor time of this process, so that other load on the machine
// and reading ahead on a second core do not flatter; GB/s is over the Arrow bytes a question touches; allocations are of
// the Go heap per batch, fixed start-up cost of a run included. The best of several runs is shown. Timings are never
// test assertions, and comparisons hold only within one report.
//
// It does not measure peers (their own module would) and checks no result: the engine's tests do.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	rows := flag.Int("rows", 4_000_000, "rows of the scanned table")
	repeat := flag.Int("repeat", 3, "runs per line; the best is shown")
	report := flag.String("report", "benchmarks/REPORT.md", "file for the report; empty for none")
	all := flag.Bool("whole", false, "also what takes minutes to make, at full size; from the project's folder")
	million := flag.Bool("million", false, "psi: also 1M×1M elements, minutes")
	soak := flag.Bool("soak", false, "psi: also 10M×10M elements, an hour")
	elements := flag.Int("elements", 0, "psi: that many elements a side alone, tags over 32 MiB spilled")
	flag.Parse()
	if flag.NArg() > 0 {
		if err := section(os.Stdout, flag.Args(), *repeat, psiSizes{*million, *soak, *elements}); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	if err := measure(context.Background(), os.Stdout, *rows, *repeat, *all, *report); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// fullRows is from how many rows on a run is a full one.
const fullRows = 1_000_000

// section measures one part alone and writes no report.
func section(out io.Writer, names []string, repeat int, sizes psiSizes) error {
	if len(names) != 1 || repeat < 1 {
		return fmt.Errorf("benchmarks: one part is measured alone, at least once")
	}
	alone := map[string]func() ([]string, error){
		"model": func() ([]string, error) { return modelLines(nil, repeat) },
		"jail":  func() ([]string, error) { return jailLines(nil) },
		"he":    func() ([]string, error) { return heLines(nil, repeat) },
		"mpc":   func() ([]string, error) { return mpcLines([]string{machine()}, repeat) },
		"line":  func() ([]string, error) { return lineLines([]string{machine()}, repeat) },
		"wan":   func() ([]string, error) { return wanLines(context.Background(), []string{machine()}, repeat) },
	}
	switch f, ok := alone[names[0]]; {
	case names[0] == psiParty:
		return psiPartyMain(context.Background(), os.Stdin, out)
	case names[0] == "psi":
		return psiSection(context.Background(), out, repeat, sizes)
	case ok:
		lines, err := f()
		if err == nil {
			fmt.Fprintln(out, strings.Join(lines, "\n"))
		}
		return err
	case names[0] != "egress":
		return fmt.Errorf("benchmarks: the parts that can be measured alone are egress, psi, %s", strings.Join(slices.Sorted(maps.Keys(alone)), ", "))
	}
	lines, err := egressLines(nil, repeat)
	if err == nil {
		lines, err = noiseLines(lines, repeat)
	}
	if err != nil {
		return err
	}
	if lines, err = redTeamLines(lines); err != nil {
		return err
	}
	if lines, err = modelLines(lines, repeat); err != nil {
		return err
	}
	ledger, err := ledgerSection(ledgerReleases, repeat)
	if lines = append(lines, ledger); err == nil {
		fmt.Fprintln(out, strings.Join(lines, "\n"))
	}
	return err
}

func measure(ctx context.Context, out io.Writer, rows, repeat int, all bool, report string) error {
	if rows < 1000 || repeat < 1 {
		return fmt.Errorf("benchmarks: at least 1000 rows and one run")
	}
	fmt.Fprintf(out, "generating %d rows\n", rows)
	cases, err := columnarCases(rows)
	if err != nil {
		return err
	}
	sealed, err := newSealed(rows)
	if err != nil {
		return err
	}
	defer sealed.close()
	ciphers, err := cipherCases(sealed.bytes)
	if err != nil {
		return err
	}
	cases = slices.Concat([]benchmark{memcpyCase()}, ciphers, sealed.cases(), cases)
	detect, err := classifyCases()
	if err != nil {
		return err
	}
	cases = append(cases, detect...)
	masks, err := maskCases()
	if err != nil {
		return err
	}
	cases = append(cases, masks...)
	cases = append(cases, kernelCases(rows)...)
	cases = append(cases, scanCases()...)
	lines := []string{header}
	fmt.Fprintln(out, header)
	for _, c := range cases {
		r, err := c.best(ctx, repeat)
		if err != nil {
			return fmt.Errorf("benchmarks: %s: %w", c.name, err)
		}
		line := r.row(c)
		fmt.Fprintln(out, line)
		lines = append(lines, line)
	}
	dir, err := os.MkdirTemp("", "opdomain-spine-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	more, err := (&spine{sealed: sealed, dir: dir}).lines(ctx)
	if err != nil {
		return err
	}
	views, err := view(ctx, rows)
	if err != nil {
		return err
	}
	more = append(more, views...)
	if more, err = anonymityLines(ctx, more, repeat); err != nil {
		return err
	}
	if more, err = egressLines(more, repeat); err != nil {
		return err
	}
	if more, err = noiseLines(more, repeat); err != nil {
		return err
	}
	sized := rows >= fullRows // what does not get smaller with the rows is measured in a full run, or alone by its name
	if sized {
		if more, err = jailLines(more); err != nil {
			return err
		}
		if more, err = mpcLines(more, repeat); err != nil {
			return err
		}
		if more, err = wanLines(ctx, more, repeat); err != nil {
			return err
		}
		if more, err = lineLines(more, repeat); err != nil {
			return err
		}
		if more, err = heLines(more, repeat); err != nil {
			return err
		}
	}
	listed, err := catalogSection(rows, repeat)
	if err != nil {
		return err
	}
	more = append(more, listed)
	fmt.Fprintln(out, strings.Join(more, "\n"))
	tokens, err := tokenLines(min(rows, 1_000_000))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, strings.Join(tokens, "\n"))
	var sets []string
	if sized {
		if sets, err = psiLines(ctx, nil, psiSmall, repeat); err != nil {
			return err
		}
		fmt.Fprintln(out, strings.Join(sets, "\n"))
	}
	command := fmt.Sprintf("go run ./benchmarks -rows %d -repeat %d", rows, repeat)
	var full []string
	if all {
		command += " -whole"
		if full, err = atFullSize(ctx); err != nil {
			return err
		}
		fmt.Fprintln(out, strings.Join(full, "\n"))
	}
	if report == "" {
		return nil
	}
	text := "# Hot paths, measured\n\n" + machine() + fmt.Sprintf("\nRows scanned: %d in batches of %d. Best of %d runs. Command: `%s`.\n\n",
		rows, batchRows, repeat, command) + strings.Join(lines, "\n") + "\n\n" + legend + "\n## The spine\n\nRates by the wall clock, on the same machine, in the same run.\n\n" + strings.Join(more, "\n") + "\n\n## Tokens\n\nRates by processor time.\n\n" + strings.Join(tokens, "\n") + "\n\n## Set intersection\n\nBy processor time, both parties in one process over a sealed loopback connection.\n\n" + strings.Join(sets, "\n") + "\n"
	if all {
		text += "\n## At full size\n\nEach by a process of its own, once.\n\n" + strings.Join(full, "\n") + "\n"
	}
	return os.WriteFile(report, []byte(text), 0o644)
}
