package run

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/fleet"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestHoldings: who names the same holding is of one, over rows and batches, also through somebody who names two; nobody else is; and the same
// in worker processes. Firms that the question leaves out bring nobody together.
func TestHoldings(t *testing.T) {
	firms := catalog.Dataset{ID: "firms", Unit: "u", Frequency: catalog.Daily, Subject: "firm", SubjectKind: catalog.Opaque, Holding: "group",
		Columns: []catalog.Column{{Name: "firm", Type: catalog.Text, Grade: 2}, {Name: "group", Type: catalog.Text, Grade: 2, Nullable: true}, {Name: "tax", Type: catalog.Money, Grade: 2}}}
	x := table{d: firms}
	add := func(firm byte, group any, tax int) {
		x.rows, x.subjects = append(x.rows, []any{fmt.Sprint("f", firm), group, tax}), append(x.subjects, sandbox.Pseudonym{firm})
	}
	add(1, "a", 1)
	add(2, nil, 1)
	add(3, "b", 1)
	add(4, "a", 1)
	add(5, "c", 1)
	add(6, "b", 1)
	add(6, "c", 1) // brings b and c together
	add(7, nil, 1)
	add(8, "d", 1)
	add(9, "", 1)
	list := []sandbox.ListItem{{Dataset: "firms", Columns: []sandbox.ColumnRule{{Column: "firm", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Count}},
		{Column: "tax", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}}}}}
	d, reasons := query.Derive(query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "f", Dataset: "firms"}}, Measures: []query.Measure{{Func: sandbox.Sum, Column: "f.tax", As: "tax"}}},
		map[sandbox.DatasetID]catalog.Dataset{"firms": firms}, list)
	if len(reasons) > 0 {
		t.Fatal(reasons)
	}
	if opens := d.Explain().Inputs[0].Opens; !slices.Equal(opens, []string{"tax", "group"}) {
		t.Errorf("explain says that it opens %v", opens)
	}
	v, _ := openVault(t)
	inputs := []sandbox.InputVersion{commit(t, v, x, 3, "run-1")}
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	got, err := Answer(context.Background(), mem, v, d, inputs, columnar.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	of := map[byte]uint32{}
	for i, p := range got.Population {
		of[p[0]] = got.Holdings[i]
	}
	for _, c := range []struct {
		a, b byte
		same bool
	}{{1, 4, true}, {3, 5, true}, {3, 6, true}, {1, 3, false}, {2, 7, false}, {8, 9, false}, {1, 2, false}} {
		if (of[c.a] == of[c.b]) != c.same {
			t.Errorf("firms %d and %d of one holding: %v", c.a, c.b, !c.same)
		}
	}
	p, err := fleet.New(fleet.Config{Program: os.Args[0], Command: []string{os.Args[0], "run-worker"}, Workers: 2, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if by, err := AnswerBy(context.Background(), mem, v, d, inputs, columnar.Limits{}, p); err != nil || !reflect.DeepEqual(by, got) {
		t.Errorf("in worker processes another answer: %v", err)
	}
}
