package main

import (
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: the Program runs unchanged over shares: claims at two units, persons at a third, joined where nobody sees a row of another;
// and with all rows at one.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "claimcost", Program: program, Rows: 150, Seed: 3, Made: aged, Unique: []sandbox.DatasetID{"ds-persons"},
		Held: map[sandbox.DatasetID][]int{"ds-claims": {0, 2}, "ds-persons": {1}}}
	if shown, hidden := c.Same(t); shown < 5 || hidden < 1 {
		t.Errorf("%d cells shown, %d hidden", shown, hidden)
	}
	c.Held, c.Unique = map[sandbox.DatasetID][]int{"ds-claims": {1}, "ds-persons": {1}}, nil
	c.Rows, c.Room = 60, 8 // a claim for each row that its person has
	if shown, _ := c.Same(t); shown < 2 {
		t.Errorf("%d cells shown", shown)
	}
}
