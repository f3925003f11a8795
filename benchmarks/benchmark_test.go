package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// BenchmarkEngine runs each question over a million rows.
func BenchmarkEngine(b *testing.B) {
	cases, err := columnarCases(1 << 20)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(c.bytes)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.run(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

// BenchmarkDerive resolves the widest of the questions against its list.
func BenchmarkDerive(b *testing.B) {
	in := map[sandbox.DatasetID]catalog.Dataset{"claims": claims(), "persons": persons()}
	list, qs := everything(in), questions()
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := query.Derive(qs[len(qs)-1].spec, in, list); !d.Complete() {
			b.Fatal("refused")
		}
	}
}

// BenchmarkCanonical encodes it.
func BenchmarkCanonical(b *testing.B) {
	qs := questions()
	b.ReportAllocs()
	for b.Loop() {
		_ = qs[len(qs)-1].spec.Canonical()
	}
}

// TestReport runs the command small: every line is there, and the report names the machine.
func TestReport(t *testing.T) {
	var out strings.Builder
	report := filepath.Join(t.TempDir(), "REPORT.md")
	if err := measure(context.Background(), &out, 20_000, 1, false, report); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"| processor |", "| Go | go", "memcpy", "| SM4-GCM | " + sm.GCMEngine(), "| SM4-GCM alone, open", "| the library's SM4-GCM alone, open", "clustered", "scattered", "20000"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if lines := strings.Count(text, "\n| "); lines < 2*len(questions())+6 {
		t.Errorf("the report has %d table lines:\n%s", lines, text)
	}
	if err := measure(context.Background(), &out, 1, 1, false, ""); err == nil {
		t.Error("one row was accepted")
	}
}

func TestQuoted(t *testing.T) {
	text := []byte("goos: linux\nBenchmarkLargePush-2   \t1\t34869484220 ns/op\t 399.7 MiB-peak\t 0.5736 Mrows/s\nBenchmarkDecide/allow-2  200000  5123 ns/op  0 B/op\nPASS\n")
	for _, c := range []struct {
		name, metric string
		want         float64
	}{{"LargePush", "MiB-peak", 399.7}, {"Decide/allow", "ns/op", 5123}} {
		if got, err := quoted(text, c.name, c.metric); err != nil || got != c.want {
			t.Errorf("%s: %v %v", c.name, got, err)
		}
	}
	for _, c := range [][2]string{{"Restart", "ns/op"}, {"LargePush", "widgets"}} {
		if got, err := quoted(text, c[0], c[1]); err == nil {
			t.Errorf("%s %s: %v", c[0], c[1], got)
		}
	}
	if _, err := quoted([]byte("BenchmarkRestart-2 1 many ns/op"), "Restart", "ns/op"); err == nil {
		t.Error("a number that is none")
	}
}
