package main

import (
	"strings"
	"testing"

	"github.com/opdomain/opdomain/mpc/agg/aggtest"
	"github.com/opdomain/opdomain/sandbox"
)

// TestOverShares: a regression is refused over shares before anything is shared, naming the operator and what to ask instead.
func TestOverShares(t *testing.T) {
	c := aggtest.Case{Name: "logistic-training", Program: program, Rows: 10, Seed: 1, Held: map[sandbox.DatasetID][]int{"people": {0, 1}}}
	reasons := c.Refused(t)
	if len(reasons) == 0 || reasons[0].Code != "mpc.operator" || !strings.Contains(reasons[0].Rule, "logistic") || reasons[0].Change == "" {
		t.Errorf("%+v", reasons)
	}
}
