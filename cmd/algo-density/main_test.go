package main

import (
	"fmt"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
)

func TestDensity(t *testing.T) {
	x, err := dryrun.NewTrial("density", program, 3, 900)
	if err != nil {
		t.Fatal(err)
	}
	grid, industry, staff := x.Column("firms", "grid"), x.Column("firms", "industry"), x.Column("firms", "employees")
	type sum struct{ firms, staff, large int64 }
	cells, cluster, all := map[string]sum{}, map[string]sum{}, map[string]sum{}
	for i, g := range grid {
		n, kind := staff[i].(int64), industry[i].(string)
		if kind != "a" && kind != "b" {
			kind = "other"
		}
		large := int64(0)
		if n >= 300 {
			large = 1
		}
		for _, x := range []struct {
			m map[string]sum
			k string
		}{{cells, g.(string)}, {cluster, g.(string) + " " + kind}, {all, kind}} {
			x.m[x.k] = sum{x.m[x.k].firms + 1, x.m[x.k].staff + n, x.m[x.k].large + large}
		}
	}
	out, err := x.Run(t.Context(), true)
	if err != nil || len(out.Tables) != 3 {
		t.Fatal(err, len(out.Tables))
	}
	for _, r := range out.Tables[0].Rows {
		s := cells[r[0]]
		mean := (2*s.staff + s.firms) / (2 * s.firms)
		if fmt.Sprint(r[1:]) != fmt.Sprint([]string{fmt.Sprint(s.firms), fmt.Sprint(s.staff), fmt.Sprint(mean), fmt.Sprint(s.large)}) {
			t.Errorf("%v, want %+v", r, s)
		}
	}
	for _, r := range out.Tables[1].Rows {
		if s := cluster[r[0]+" "+r[1]]; r[2] != fmt.Sprint(s.firms) || r[3] != fmt.Sprint(s.staff) {
			t.Errorf("%v, want %+v", r, s)
		}
	}
	for _, r := range out.Tables[2].Rows {
		if s := all[r[0]]; r[1] != fmt.Sprint(s.firms) || r[2] != fmt.Sprint(s.staff) {
			t.Errorf("%v, want %+v", r, s)
		}
	}
	if len(out.Tables[0].Rows) != len(cells) || len(out.Tables[1].Rows) != len(cluster) || len(out.Tables[2].Rows) != len(all) {
		t.Error("a group is not there")
	}
}
