package main

import (
	"fmt"
	"math"
	"strconv"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
)

func TestBuildings(t *testing.T) {
	x, err := dryrun.NewTrial("village", program, 5, 900)
	if err != nil {
		t.Fatal(err)
	}
	street, kind, storeys, homes, area := x.Column("buildings", "street"), x.Column("buildings", "kind"), x.Column("buildings", "storeys"), x.Column("buildings", "households"), x.Column("buildings", "area")
	type sum struct{ n, storeys, homes, area, tall int64 }
	want, villages := map[string]sum{}, int64(0)
	for i := range street {
		k := street[i].(string) + " no"
		if kind[i] == "urban-village" {
			k = street[i].(string) + " yes"
			villages++
		}
		s := want[k]
		s = sum{s.n + 1, s.storeys + storeys[i].(int64), s.homes + homes[i].(int64), s.area + area[i].(int64), s.tall}
		if storeys[i].(int64) >= 7 {
			s.tall++
		}
		want[k] = s
	}
	near := func(s string, v float64) bool {
		x, err := strconv.ParseFloat(s, 64)
		return err == nil && math.Abs(x-v) < 1e-6
	}
	out, err := x.Run(t.Context(), false)
	if err != nil || len(out.Tables) != 2 || len(out.Tables[0].Rows) != len(want) {
		t.Fatal(err, out.Tables)
	}
	for _, r := range out.Tables[0].Rows {
		s := want[r[0]+" "+r[1]]
		if r[2] != fmt.Sprint(s.n) || r[3] != fmt.Sprint((2*s.storeys+s.n)/(2*s.n)) || r[4] != fmt.Sprint(s.homes) || r[5] != fmt.Sprint(s.area) ||
			!near(r[6], float64(s.area)/float64(s.homes)) || !near(r[7], float64(s.tall)/float64(s.n)) {
			t.Errorf("%v, want %+v", r, s)
		}
	}
	got := int64(0)
	for _, r := range out.Tables[1].Rows {
		n, err := strconv.ParseInt(r[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if got != villages {
		t.Errorf("%d buildings of urban villages, want %d", got, villages)
	}
	// Years of few buildings never leave.
	gated, err := x.Run(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range gated.Tables {
		for _, r := range table.Rows {
			if n, err := strconv.Atoi(r[len(r)-2]); table.Name == "villages" && err == nil && n < 10 {
				t.Errorf("%v leaves", r)
			}
		}
	}
}
