package main

import (
	"strings"
	"testing"
)

// TestDecisionLines runs the lines once: both are there, over a question that passes.
func TestDecisionLines(t *testing.T) {
	lines, err := (&spine{}).decisions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines, "policy decision, two tables") || !strings.Contains(lines, "explain") {
		t.Errorf("%s", lines)
	}
	t.Log(lines)
}
