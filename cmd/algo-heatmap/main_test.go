package main

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
)

// TestHeatMap: what is revealed is a plain count over the same rows, and the gate releases none of another.
func TestHeatMap(t *testing.T) {
	x, err := dryrun.NewTrial("heatmap", program, 11, 900)
	if err != nil {
		t.Fatal(err)
	}
	grid, trade, area, cost := x.Column("permits", "grid"), x.Column("permits", "trade"), x.Column("permits", "area"), x.Column("permits", "cost")
	type sum struct {
		permits    int
		area, cost int64
		people     map[any]bool
	}
	heat, trades := map[string]*sum{}, map[string]int{}
	for i, g := range grid {
		s := heat[g.(string)]
		if s == nil {
			s = &sum{people: map[any]bool{}}
			heat[g.(string)] = s
		}
		s.permits, s.area, s.cost = s.permits+1, s.area+area[i].(int64), s.cost+cost[i].(int64)
		s.people[x.Data["permits"].Subjects[i]] = true
		kind := trade[i].(string)
		if kind != "a" && kind != "b" {
			kind = "other" // of no group of the made bin
		}
		trades[g.(string)+" "+kind]++
	}
	for _, gated := range []bool{false, true} {
		out, err := x.Run(t.Context(), gated)
		if err != nil || len(out.Tables) != 2 {
			t.Fatal(err, len(out.Tables))
		}
		for _, r := range out.Tables[0].Rows {
			s := heat[r[0]]
			want := []string{r[0], fmt.Sprint(s.permits), fmt.Sprint(len(s.people)), fmt.Sprint(s.area)}
			if fmt.Sprint(r[:4]) != fmt.Sprint(want) {
				t.Errorf("heat: %v, want %v", r[:4], want)
			}
			if per, err := strconv.ParseFloat(r[5], 64); err != nil || per-float64(s.cost)/100/float64(s.area) > 1e-6 || float64(s.cost)/100/float64(s.area)-per > 1e-6 {
				t.Errorf("%s: cost per m2 is %s", r[0], r[5])
			}
		}
		if len(out.Tables[0].Rows) != len(heat) || len(out.Tables[1].Rows) != len(trades) {
			t.Errorf("%d and %d rows", len(out.Tables[0].Rows), len(out.Tables[1].Rows))
		}
		for _, r := range out.Tables[1].Rows {
			if r[2] != fmt.Sprint(trades[r[0]+" "+r[1]]) {
				t.Errorf("trades: %v, want %d", r, trades[r[0]+" "+r[1]])
			}
		}
	}
}
