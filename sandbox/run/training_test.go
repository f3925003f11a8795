package run

import (
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func column(t *testing.T, name string) catalog.Column {
	t.Helper()
	c, ok := claims.Column(name)
	if !ok {
		t.Fatal(name)
	}
	return *c
}

// TestTrainingRows: rows that pass the filters, on the side of their person or holding; people by their complete rows; bounds hold.
func TestTrainingRows(t *testing.T) {
	v, _ := openVault(t)
	in := commit(t, v, sample, 2, "run-1")
	first := func(p sandbox.Pseudonym) bool { return p == sandbox.Pseudonym{1} }
	base := Training{Input: in, Columns: []catalog.Column{column(t, "night"), column(t, "beds"), column(t, "fee")}, Trained: first, Subjects: 3, Rows: 7}
	read := func(x Training) ([]string, People, error) {
		var out []string
		who, err := x.Read(t.Context(), memory.DefaultAllocator, v, func(r TrainingRow) error {
			out = append(out, fmt.Sprintf("%d %v %s | %s | %s", r.Key[0], r.Trained, r.Values[0], r.Values[1], r.Values[2]))
			if len(r.Values) != 3 {
				t.Errorf("%d values", len(r.Values))
			}
			return nil
		})
		slices.Sort(out)
		return out, who, err
	}
	all, who, err := read(base)
	if err != nil || len(all) != 7 || len(who.Who) != 1 || who.Rows[0] != 3 || all[0] != "1 true false | 0 | -0.05" || all[3] != "2 false  |  | " {
		t.Fatalf("%q %d %v", all, len(who.Who), err)
	}
	a := who.Answer(in)
	if len(a.Cells) != 1 || a.Cells[0].Values[0] != 1 || a.Cells[0].Values[1] != 3 || a.Cells[0].Contributions[1][0] != 3 || a.Inputs[0] != in {
		t.Errorf("%+v", a.Cells)
	}
	filtered := base
	filtered.Filters = []RowFilter{{Column: column(t, "site"), In: []string{"s1", "s9"}}, {Column: column(t, "beds"), In: []string{"2"}, Not: true}}
	if rows, who, err := read(filtered); err != nil || len(rows) != 3 || who.Rows[0] != 2 {
		t.Errorf("%q %v", rows, err)
	}
	filtered.Filters = []RowFilter{{Column: column(t, "site"), In: []string{catalog.Missing}}}
	if rows, who, err := read(filtered); err != nil || len(rows) != 1 || len(who.Who) != 0 {
		t.Errorf("%q %v", rows, err)
	}
	// n-3 is named by the first and the second: they are one, on the first's side.
	held := base
	held.Holding = "no"
	if rows, who, err := read(held); err != nil || !slices.Contains(rows, "1 true true | -7 | 1.00") || slices.ContainsFunc(rows, func(s string) bool { return s[0] == '2' }) || len(who.Who) != 2 {
		t.Errorf("%q %d %v", rows, len(who.Who), err)
	}
	for name, change := range map[string]func(*Training){
		"people": func(x *Training) { x.Subjects = 2 },
		"rows":   func(x *Training) { x.Rows = 6 },
	} {
		x := base
		change(&x)
		if _, _, err := read(x); sandbox.KindOf(err) != sandbox.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := base
	gone.Input.Version = 9
	if _, _, err := read(gone); sandbox.KindOf(err) != sandbox.Tampered {
		t.Errorf("%v", err)
	}
}
