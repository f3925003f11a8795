package main

import (
	"encoding/csv"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

func catalogue(t *testing.T) (*algo.Graph, *algo.Types, dryrun.Made) {
	t.Helper()
	b, err := algo.Record("ageing", program)
	if err != nil {
		t.Fatal(err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	m := dryrun.Catalogue(g, types, nil)
	set := m.Sets["ds-persons"]
	for i := range set.Bins { // edges of the demo's map; the made ones follow from the labels that the Program names
		if !slices.Equal(set.Bins[i].Edges, []int64{18, 35, 50, 65, 80}) {
			t.Fatalf("the Program's labels make edges %v", set.Bins[i].Edges)
		}
	}
	return g, types, m
}

func answered(t *testing.T, data map[sandbox.DatasetID]*dryrun.Data, open bool) dryrun.Outcome {
	t.Helper()
	g, types, m := catalogue(t)
	plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
	if plan == nil || len(plan.Questions) != 4 {
		t.Fatal(reasons)
	}
	run := dryrun.Run{Data: data, List: m.List, Params: egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}, Open: open}
	out, err := run.Do(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reference counts with loops, by one column.
func reference(d *dryrun.Data, column string) map[string][]string {
	at := func(name string) int {
		return slices.IndexFunc(d.Set.Columns, func(c catalog.Column) bool { return c.Name == name })
	}
	counts := map[string]*[4]int64{} // all, 65 and over, 80 and over, working age
	for _, row := range d.Rows {
		label := row[at(column)].(string)
		if counts[label] == nil {
			counts[label] = new([4]int64)
		}
		born := time.Unix(row[at("birth_date")].(int64)*86400, 0).UTC()
		years := 2026 - born.Year()
		if born.YearDay() > 1 { // the bin's reference date is new year
			years--
		}
		n := counts[label]
		n[0]++
		if years >= 65 {
			n[1]++
		}
		if years >= 80 {
			n[2]++
		}
		if years >= 18 && years < 65 {
			n[3]++
		}
	}
	ratio := func(a, b int64) string {
		if b == 0 {
			return ""
		}
		return strings.TrimRight(strings.TrimRight(big.NewRat(a, b).FloatString(6), "0"), ".")
	}
	out := map[string][]string{}
	for l, n := range counts {
		out[l] = []string{fmt.Sprint(n[0]), fmt.Sprint(n[1]), fmt.Sprint(n[2]), ratio(n[1], n[0]), ratio(n[1], n[3])}
	}
	return out
}

func compare(t *testing.T, got compile.Filled, want map[string][]string, whole bool) {
	t.Helper()
	if whole && len(got.Rows) != len(want) {
		t.Errorf("%s: %d groups, not %d", got.Name, len(got.Rows), len(want))
	}
	for _, row := range got.Rows {
		for k, v := range row[1:] {
			if v != want[row[0]][k] && (whole || v != "") {
				t.Errorf("%s, %s: %v, not %v", got.Name, row[0], row[1:], want[row[0]])
			}
		}
	}
}

func TestEqualsReference(t *testing.T) {
	shown := 0
	for seed := range uint64(20) {
		_, _, m := catalogue(t)
		data := m.Generate(seed, 20+int(seed)*300)
		out := answered(t, data, true)
		compare(t, out.Tables[0], reference(data["ds-persons"], "street"), true)
		compare(t, out.Tables[1], reference(data["ds-persons"], "sex"), true)
		for _, table := range answered(t, data, false).Tables { // through the gate: the same numbers or none
			compare(t, table, reference(data["ds-persons"], strings.TrimPrefix(table.Name, "by-")), false)
			shown += len(table.Rows)*(len(table.Head)-1) - table.Hidden
		}
	}
	if shown == 0 {
		t.Error("nothing passes the gate")
	}
}

// TestOnSynthea asks it about patients that Synthea made, their county for a street.
func TestOnSynthea(t *testing.T) {
	f, err := os.Open(filepath.Join(sandboxtest.Data(t, "synthea", "no real table was computed"), "patients.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	_, _, m := catalogue(t)
	d := &dryrun.Data{Set: m.Sets["ds-persons"]}
	for _, rec := range all[1:] {
		row := make([]any, len(d.Set.Columns))
		for i, c := range d.Set.Columns {
			from := slices.Index(all[0], map[string]string{"birth_date": "BIRTHDATE", "sex": "GENDER", "street": "COUNTY", "person": "Id"}[c.Name])
			if row[i] = rec[from]; c.Type == catalog.Date {
				day, err := time.Parse(time.DateOnly, rec[from])
				if err != nil {
					t.Fatal(err)
				}
				row[i] = day.Unix() / 86400
			}
		}
		var p sandbox.Pseudonym
		copy(p[:], strings.ReplaceAll(rec[slices.Index(all[0], "Id")], "-", ""))
		d.Rows, d.Subjects = append(d.Rows, row), append(d.Subjects, p)
	}
	data := map[sandbox.DatasetID]*dryrun.Data{"ds-persons": d}
	out := answered(t, data, true)
	compare(t, out.Tables[0], reference(d, "street"), true)
	compare(t, out.Tables[1], reference(d, "sex"), true)
	for i, a := range answered(t, data, false).Answers {
		t.Logf("question %d of %d patients: %d groups, %d suppressed, withheld %q", i+1, len(d.Rows), a.Cells, a.Suppressed, a.Withheld)
	}
}
