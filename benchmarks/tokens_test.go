package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTokenLines runs each line once on few rows; OPDOMAIN_TOKEN_ROWS prints the table for as many.
func TestTokenLines(t *testing.T) {
	rows := 2000
	if s := os.Getenv("OPDOMAIN_TOKEN_ROWS"); s != "" {
		if _, err := fmt.Sscan(s, &rows); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := tokenLines(rows)
	if err != nil || len(lines) < 12 {
		t.Fatal(len(lines), err)
	}
	t.Log("\n" + strings.Join(lines, "\n"))
}
