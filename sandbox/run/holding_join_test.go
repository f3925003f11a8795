package run

import (
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestHoldingsInAnyOrder: the order in which a question names its datasets does not switch holdings off.
func TestHoldingsInAnyOrder(t *testing.T) {
	list := catalog.Dataset{ID: "register", Unit: "u", Frequency: catalog.Daily, Subject: "firm", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "firm", Type: catalog.Text, Grade: 2}, {Name: "kind", Type: catalog.Text, Grade: 1, Public: true}}}
	tax := catalog.Dataset{ID: "tax", Unit: "u", Frequency: catalog.Daily, Subject: "firm", SubjectKind: catalog.Opaque, Holding: "group",
		Columns: []catalog.Column{{Name: "firm", Type: catalog.Text, Grade: 2}, {Name: "group", Type: catalog.Text, Grade: 2, Nullable: true}, {Name: "paid", Type: catalog.Money, Grade: 2}}}
	all := []sandbox.ListItem{{Dataset: "register", Columns: []sandbox.ColumnRule{{Column: "firm", Uses: []sandbox.Use{sandbox.UseJoin}}, {Column: "kind", Uses: []sandbox.Use{sandbox.UseGroup}}}},
		{Dataset: "tax", Columns: []sandbox.ColumnRule{{Column: "firm", Uses: []sandbox.Use{sandbox.UseJoin}}, {Column: "paid", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}}}}}
	for _, in := range [][]query.Input{{{Alias: "t", Dataset: "tax"}, {Alias: "r", Dataset: "register", With: "t"}}, {{Alias: "r", Dataset: "register"}, {Alias: "t", Dataset: "tax", With: "r"}}} {
		d, reasons := query.Derive(query.Spec{Scenario: "s", Purpose: "p", Inputs: in, Dimensions: []query.Dimension{{Column: "r.kind", As: "kind"}},
			Measures: []query.Measure{{Func: sandbox.Sum, Column: "t.paid", As: "paid"}}}, map[sandbox.DatasetID]catalog.Dataset{"register": list, "tax": tax}, all)
		if len(reasons) > 0 {
			t.Fatal(reasons)
		}
		if got := d.Holdings(); len(got) != 1 || got[0] != (query.Holding{Dataset: "tax", Column: "group"}) {
			t.Errorf("%s first: holdings %v", in[0].Dataset, got)
		}
	}
}
