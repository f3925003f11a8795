package main

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: the Program runs unchanged over shares of two units' permits.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "renovation-heat-map", Program: program, Rows: 200, Seed: 7, Held: map[sandbox.DatasetID][]int{"permits": {1, 2}}}
	if shown, _ := c.Same(t); shown < 10 {
		t.Errorf("%d cells shown", shown)
	}
}
