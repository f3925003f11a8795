package main

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: the Program runs unchanged over shares: a bank's loans joined with a bureau's firms, scores of both put together where nobody
// sees a row of the other.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "credit-uplift", Program: program, Rows: 150, Seed: 15, Unique: []sandbox.DatasetID{"firms"}, Held: map[sandbox.DatasetID][]int{"loans": {0}, "firms": {1}}}
	if shown, _ := c.Same(t); shown < 5 {
		t.Errorf("%d cells shown", shown)
	}
}
