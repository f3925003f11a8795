package main

import (
	"strings"
	"testing"
)

// TestPSILines runs the lines once on a few elements: all are there, and the jobs behind them gave the right answers.
func TestPSILines(t *testing.T) {
	lines, err := psiLines(t.Context(), nil, 50, 1)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"hashing to the SM2 curve", "÷ its own 2n scalar multiplications", "bytes on the link"} {
		if !strings.Contains(text, want) {
			t.Errorf("no line has %q", want)
		}
	}
}
