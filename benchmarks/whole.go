package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

const wholeHeader = "| what | measured | goal |\n|---|---:|---:|"

// whole is what needs the insides of a package, or a table that takes minutes to make: a benchmark of that package, run as a
// process of its own.
var whole = []struct {
	what, goal   string
	pkg, bench   string
	environment  []string
	line, metric string  // of its output
	scale        float64 // from the metric to the unit
	unit         string
}{
	{"policy decision, 1,000 grants, allowed", "20 µs", "./sandbox/policy", "Decide", nil, "Decide/allow", "ns/op", 1e-3, "µs"},
	{"policy decision, 1,000 grants, refused with reasons", "20 µs", "./sandbox/policy", "Decide", nil, "Decide/refuse", "ns/op", 1e-3, "µs"},
	{"restart of a domain with 10 M events and 10,000 datasets", "5 s", "./sandbox/node", "Restart", []string{"OPDOMAIN_EVENTS=10000000", "OPDOMAIN_DATASETS=10000"}, "Restart", "ns/op", 1e-9, "s"},
	{"push of 20 M rows, the most memory the process held", "512 MiB", "./sandbox/ingest", "LargePush", []string{"OPDOMAIN_ROWS=20000000"}, "LargePush", "MiB-peak", 1, "MiB"},
	{"push of 20 M rows, sender's frames made in the same process", "–", "./sandbox/ingest", "LargePush", []string{"OPDOMAIN_ROWS=20000000"}, "LargePush", "Mrows/s", 1, "Mrows/s"},
}

// atFullSize runs them, each once.
func atFullSize(ctx context.Context) ([]string, error) {
	out, ran := []string{wholeHeader}, map[string][]byte{}
	for _, w := range whole {
		text, ok := ran[w.pkg]
		if !ok {
			args := []string{"test", "-run", "-", "-bench", w.bench, "-timeout", "60m", w.pkg}
			if w.environment != nil {
				args = append(args, "-benchtime", "1x")
			}
			c := exec.CommandContext(ctx, "go", args...)
			c.Env = append(os.Environ(), w.environment...)
			var err error
			if text, err = c.Output(); err != nil {
				return nil, fmt.Errorf("benchmarks: %s: %w", w.what, err)
			}
			ran[w.pkg] = text
		}
		v, err := quoted(text, w.line, w.metric)
		if err != nil {
			return nil, fmt.Errorf("benchmarks: %s: %w", w.what, err)
		}
		out = append(out, fmt.Sprintf("| %s | %.3g %s | %s |", w.what, v*w.scale, w.unit, w.goal))
	}
	return out, nil
}

// quoted finds a metric in the output of go test.
func quoted(text []byte, name, metric string) (float64, error) {
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark"+name) {
			continue
		}
		for i := 2; i+1 < len(f); i += 2 {
			if f[i+1] == metric {
				return strconv.ParseFloat(f[i], 64)
			}
		}
	}
	return 0, fmt.Errorf("no line of %s with %s", name, metric)
}
