package main

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// banded gives the label of a score's band.
func banded(score float64) string {
	i := 0
	for i < len(bands) && score >= bands[i] {
		i++
	}
	return order()[i]
}

// TestScorecard: the tables are a plain scorecard's over the same joined rows.
func TestScorecard(t *testing.T) {
	x, err := dryrun.NewTrial("uplift", program, 9, 900)
	if err != nil {
		t.Fatal(err)
	}
	firms, loans := x.Data["firms"], x.Data["loans"]
	months, revenue, outcome := x.Column("loans", "months"), x.Column("loans", "revenue"), x.Column("loans", "outcome")
	tax, subsidy := x.Column("firms", "tax_grade"), x.Column("firms", "subsidy")
	want := []map[string]int{{}, {}}
	for i := range loans.Rows {
		base := 600.0
		switch m := months[i].(int64); {
		case m < 12:
			base -= 18
		case m < 36:
			base += 4
		default:
			base += 15
		}
		switch r := revenue[i].(int64); { // in 分
		case r < 100_000_00:
			base -= 12
		case r < 1_000_000_00:
			base += 3
		default:
			base += 14
		}
		bad := map[bool]string{true: "yes", false: "no"}[outcome[i].(int64) >= 90]
		for k, who := range firms.Subjects {
			if who == loans.Subjects[i] {
				want[0][banded(base)+" "+bad]++
				want[1][banded(base+public["tax"][tax[k].(string)]+public["subsidy"][subsidy[k].(string)])+" "+bad]++
			}
		}
	}
	out, err := x.Run(t.Context(), false)
	if err != nil || len(out.Tables) != 2 {
		t.Fatal(err, len(out.Tables))
	}
	for i, table := range out.Tables {
		got := map[string]int{}
		for _, r := range table.Rows {
			n, err := strconv.Atoi(r[2])
			if err != nil {
				t.Fatal(err)
			}
			got[r[0]+" "+r[1]] = n
		}
		if fmt.Sprint(got) != fmt.Sprint(want[i]) || len(got) < 6 {
			t.Errorf("%s: %v, want %v", table.Name, got, want[i])
		}
	}
}

// TestQuality: KS and AUC of bands are those of every loan by itself, ties counting half.
func TestQuality(t *testing.T) {
	good, bad := []float64{5, 40, 120, 300, 90, 10}, []float64{30, 45, 40, 22, 3, 0}
	var scores []int
	var labels []bool
	for i := range good {
		for range int(good[i]) {
			scores, labels = append(scores, i), append(labels, false)
		}
		for range int(bad[i]) {
			scores, labels = append(scores, i), append(labels, true)
		}
	}
	pairs, wins := 0.0, new(big.Rat)
	for i := range scores {
		for k := range scores {
			if labels[i] || !labels[k] {
				continue
			}
			pairs++
			switch {
			case scores[i] > scores[k]:
				wins.Add(wins, big.NewRat(1, 1))
			case scores[i] == scores[k]:
				wins.Add(wins, big.NewRat(1, 2))
			}
		}
	}
	w, _ := wins.Float64()
	ks, auc := Quality(good, bad)
	if math.Abs(auc-w/pairs) > 1e-12 {
		t.Errorf("AUC %v, want %v", auc, w/pairs)
	}
	if want := (30.0+45+40)/140 - (5.0+40+120)/565; math.Abs(ks-want) > 1e-12 {
		t.Errorf("KS %v, want %v", ks, want)
	}
	if ks, auc := Quality([]float64{0, 0}, []float64{1, 2}); ks != 0 || auc != 0.5 {
		t.Errorf("without good loans: %v %v", ks, auc)
	}
}

// TestUpliftIsSeen: where bad loans follow public data, the card that has them tells them better, by what has passed the gate.
func TestUpliftIsSeen(t *testing.T) {
	x, err := dryrun.NewTrial("uplift", program, 9, 3000)
	if err != nil {
		t.Fatal(err)
	}
	firms, loans := x.Data["firms"], x.Data["loans"]
	risky := map[sandbox.Pseudonym]bool{}
	tax := slices.IndexFunc(firms.Set.Columns, func(c catalog.Column) bool { return c.Name == "tax_grade" })
	for i, r := range firms.Rows {
		if r[tax] == "C" || r[tax] == "D" {
			risky[firms.Subjects[i]] = true
		}
	}
	outcome := slices.IndexFunc(loans.Set.Columns, func(c catalog.Column) bool { return c.Name == "outcome" })
	for i, r := range loans.Rows {
		r[outcome] = int64(0)
		if risky[loans.Subjects[i]] && i%3 > 0 || i%10 == 0 {
			r[outcome] = int64(120)
		}
	}
	out, err := x.Run(t.Context(), true)
	if err != nil || len(out.Tables) != 2 {
		t.Fatal(err, len(out.Tables))
	}
	var auc []float64
	for _, table := range out.Tables {
		good, bad := make([]float64, len(bands)+1), make([]float64, len(bands)+1)
		for _, r := range table.Rows {
			n, err := strconv.ParseFloat(r[2], 64)
			if err != nil {
				continue // suppressed
			}
			if at := slices.Index(order(), r[0]); r[1] == "yes" {
				bad[at] += n
			} else {
				good[at] += n
			}
		}
		_, a := Quality(good, bad)
		auc = append(auc, a)
	}
	if auc[1] < auc[0]+0.03 {
		t.Errorf("AUC %.3f with the bank's own card, %.3f with public data", auc[0], auc[1])
	}
}
