package main

import (
	"fmt"
	"math"
	"strconv"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
)

// TestCalibration: bands are those of the model's predicted chance, row by row, and the gate takes their labels.
func TestCalibration(t *testing.T) {
	x, err := dryrun.NewTrial("vehicle", program, 21, 1200)
	if err != nil {
		t.Fatal(err)
	}
	years, kind, licence, claims, paid := x.Column("policies", "driver_age"), x.Column("policies", "use"), x.Column("policies", "licence_points"), x.Column("policies", "claims"), x.Column("policies", "paid")
	type sum struct{ n, claims, paid int64 }
	want := map[string]sum{}
	for i := range years {
		eta := intercept + use[kind[i].(string)]
		switch v := years[i].(int64); {
		case v < 25:
			eta += age["<25"]
		case v >= 60:
			eta += age["≥60"]
		}
		switch v := licence[i].(int64); {
		case v >= 9:
			eta += points["≥9"]
		case v >= 3:
			eta += points["3-9"]
		}
		p := 1 / (1 + math.Exp(-eta))
		band := "≥0.3"
		switch {
		case p < 0.12:
			band = "<0.12"
		case p < 0.18:
			band = "0.12-0.18"
		case p < 0.3:
			band = "0.18-0.3"
		}
		s := want[band]
		want[band] = sum{s.n + 1, s.claims + claims[i].(int64), s.paid + paid[i].(int64)}
	}
	for _, gated := range []bool{false, true} {
		out, err := x.Run(t.Context(), gated)
		if err != nil || len(out.Tables) != 2 || len(out.Tables[0].Rows) != len(want) {
			t.Fatalf("%v %+v", err, out)
		}
		for _, r := range out.Tables[0].Rows {
			s := want[r[0]]
			if r[1] != fmt.Sprint(s.n) || r[2] != fmt.Sprint(s.claims) {
				t.Errorf("%v, want %+v", r, s)
			}
			for at, v := range map[int]float64{3: float64(s.claims) / float64(s.n), 5: float64(s.paid) / 100 / float64(s.claims)} {
				if got, err := strconv.ParseFloat(r[at], 64); err != nil || math.Abs(got-v) > 1e-6 {
					t.Errorf("%s: %s is %s, want %f", r[0], out.Tables[0].Head[at], r[at], v)
				}
			}
		}
	}
}
