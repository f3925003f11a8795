package main

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: the Program runs unchanged over shares of three units' persons.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "ageing", Program: program, Rows: 240, Seed: 5, Held: map[sandbox.DatasetID][]int{"ds-persons": {0, 1, 2}}}
	if shown, _ := c.Same(t); shown < 10 {
		t.Errorf("%d cells shown", shown)
	}
}
