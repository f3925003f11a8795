package main

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: the Program runs unchanged over shares of two units' firms.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "enterprise-density", Program: program, Rows: 200, Seed: 9, Held: map[sandbox.DatasetID][]int{"firms": {0, 1}}}
	if shown, _ := c.Same(t); shown < 10 {
		t.Errorf("%d cells shown", shown)
	}
}
