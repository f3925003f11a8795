package main

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: the Program, a scorecard by its bands, runs unchanged over shares of three insurers' policies.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "vehicle-risk", Program: program, Rows: 300, Seed: 13, Held: map[sandbox.DatasetID][]int{"policies": {0, 1, 2}}}
	if shown, _ := c.Same(t); shown < 5 {
		t.Errorf("%d cells shown", shown)
	}
}
