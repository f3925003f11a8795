package main

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: the Program runs unchanged over shares of two units' buildings.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "building-statistics", Program: program, Rows: 240, Seed: 11, Held: map[sandbox.DatasetID][]int{"buildings": {2, 0}}}
	if shown, _ := c.Same(t); shown < 5 {
		t.Errorf("%d cells shown", shown)
	}
}
