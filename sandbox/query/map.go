package query

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// MapUse (逐主体调用) asks that an approved Map runs over the current version of one dataset.
type MapUse struct {
	Scenario sandbox.ScenarioID
	Purpose  string
	Dataset  sandbox.DatasetID
	Columns  []catalog.Column  // name, type and scale as the Map declares them, in its order
	Groups   []string          // its groupings by name
	Cells    int64             // at most: the product of their labels
	Outputs  []sandbox.Measure // of every cell: the numbers of people and of yields, and what it declares
}

// DeriveMap resolves the columns that a Map sees, for one of the scenario's parties, against the same rules that hold for a question (DeriveFor): each
// is on the list, for the asker, for the use map. The author's code may group by any column and select or weigh any by any other, so each counts as
// compared with every grouping of the Map, and a rule that forbids a selection forbids both columns in one Map. The Derivation is never
// complete: no engine but the jail runs it. Reasons is empty exactly when the Map may run.
//
// Codes beside those of DeriveFor: map.column, map.noise.
func DeriveMap(asker sandbox.Party, u MapUse, in map[sandbox.DatasetID]catalog.Dataset, list []sandbox.ListItem) (Derivation, []sandbox.Reason) {
	d := &deriver{asker: asker, list: list, used: map[columnKey]*DerivedColumn{}, needed: map[int]map[string]bool{}, told: map[sandbox.Reason]bool{}}
	d.out.Spec = Spec{Scenario: u.Scenario, Purpose: u.Purpose, Inputs: []Input{{Alias: "map", Dataset: u.Dataset}}}
	d.out.Highest, d.out.asker, d.out.list = sandbox.Grade1, asker, list
	if len(u.Columns) == 0 || len(u.Outputs) == 0 {
		d.refuse("question.invalid", "", "a Map sees columns and gives outputs", articleList, "have its author declare them")
		return d.out, d.reasons
	}
	d.input(0, d.out.Spec.Inputs[0], in)
	if len(d.reasons) > 0 {
		return d.out, d.reasons
	}
	set := d.out.Inputs[0].Described
	for _, c := range u.Columns {
		ref := d.ref(0, c.Name)
		have := d.use(0, c.Name, sandbox.UseMap, "")
		if have == nil {
			continue
		}
		if have.Type != c.Type || have.Type == catalog.Number && have.Scale != c.Scale {
			d.refuse("map.column", ref, fmt.Sprintf("the catalogue has the column as %s with %d decimals, and the Map declares %s with %d", have.Type, have.Scale, c.Type, c.Scale),
				articleNeed, "have the author declare it as the catalogue has it, or bind the input to another dataset")
			continue
		}
		d.column(0, c.Name).Maps = max(1, len(u.Groups))
	}
	for _, u := range d.inOrder() {
		for _, by := range u.Rule.NoFilterOn {
			if by != u.Column && slices.ContainsFunc(d.inOrder(), func(o *DerivedColumn) bool { return o.Column == by }) {
				d.refuse("column.no-filter-on", u.Column, fmt.Sprintf("what is measured of this column is not selected or weighed by %s, and a Map that sees both may do so", by),
					articleNeed, "have the author leave one of them out")
			}
		}
	}
	d.compares()
	d.finish()
	if k := d.out.Noise.Kind; k.Rank() > 0 {
		for _, o := range u.Outputs {
			if k == sandbox.NoiseDP || !k.Covers(o.Func) {
				d.refuse("map.noise", string(set.ID), fmt.Sprintf("the strictest noise rule of the columns used is %s, which protects no %s of a Map", k, o.Func), articleNoise,
					"ask without the column whose rule it is, or have its unit agree on exact")
				break
			}
		}
	}
	d.out.complete = false
	return d.out, d.reasons
}

// ExplainMap is Explain of what DeriveMap gives: what is opened, and what every cell holds with which evidence.
func (d Derivation) ExplainMap(u MapUse) Explanation {
	e := d.Explain()
	for _, o := range u.Outputs {
		e.Outputs = append(e.Outputs, ExplainedOutput{Name: o.Name, Func: o.Func, Unit: o.Unit, Scale: o.Scale, Evidence: Output{Measure: 0, Func: o.Func}.evidence()})
	}
	e.Cost.Outputs, e.Cost.Cells = len(u.Outputs), u.Cells
	return e
}
