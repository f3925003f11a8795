package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// numbers is a dataset with a column of every type and a rule that allows every function on each.
func numbers() (map[sandbox.DatasetID]catalog.Dataset, []sandbox.ListItem) {
	d := catalog.Dataset{ID: "n", Subject: "id", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "id", Type: catalog.Text, Grade: 2},
			{Name: "fee", Type: catalog.Money, Grade: 2},
			{Name: "cost", Type: catalog.Money, Grade: 2, Unit: "元"},
			{Name: "weight", Type: catalog.Number, Scale: 3, Unit: "kg", Grade: 2},
			{Name: "days", Type: catalog.Int, Unit: "天", Grade: 2},
			{Name: "visits", Type: catalog.Int, Grade: 2},
			{Name: "df", Type: catalog.Int, Grade: 2},
			{Name: "died", Type: catalog.Bool, Grade: 2},
			{Name: "born", Type: catalog.Date, Grade: 2},
			{Name: "icd10", Type: catalog.Text, Grade: 2},
			{Name: "region", Type: catalog.Text, Grade: 1, Public: true},
		},
		Bins: []catalog.Bin{
			{ID: "chapter", Column: "icd10", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "呼吸", Codes: []string{"J"}}, {Label: "循环", Codes: []string{"I"}}, {Label: "呼吸", Codes: []string{"R05"}}}},
			{ID: "size", Column: "fee", Kind: catalog.Amount, Edges: []int64{0, 10000}},
			{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{18}, At: "2026-01-01"},
			{ID: "year", Column: "born", Kind: catalog.Year},
			{ID: "fine", Column: "days", Kind: catalog.Amount},
		}}
	for i := range int64(MaxOutputs) {
		d.Bins[4].Edges = append(d.Bins[4].Edges, i)
	}
	item := sandbox.ListItem{Dataset: "n"}
	for _, c := range d.Columns[1:] {
		item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Uses: []sandbox.Use{sandbox.UseAggregate, sandbox.UseGroup}, Funcs: sandbox.MeasureFuncs})
	}
	return map[sandbox.DatasetID]catalog.Dataset{"n": d}, []sandbox.ListItem{item}
}

func asking(m ...Measure) Spec {
	for i := range m {
		if m[i].As == "" {
			m[i].As = fmt.Sprint("m", i)
		}
	}
	return Spec{Scenario: "s", Purpose: "p", Inputs: []Input{{Alias: "a", Dataset: "n"}}, Measures: m}
}

func TestOutputs(t *testing.T) {
	in, list := numbers()
	with := func(refs ...string) []string { return refs }
	for _, c := range []struct {
		m    Measure
		want string // name func part unit scale; …
	}{
		{Measure{Func: sandbox.Count}, "x count  0"},
		{Measure{Func: sandbox.Sum, Column: "a.fee"}, "x sum 元 2"},
		{Measure{Func: sandbox.Mean, Column: "a.weight"}, "x mean kg 3"},
		{Measure{Func: sandbox.Min, Column: "a.days"}, "x min 天 0"},
		{Measure{Func: sandbox.Quantile, Column: "a.fee", Q: 500}, "x quantile 元 2"},
		{Measure{Func: sandbox.Variance, Column: "a.weight"}, "x variance kg² 6"},
		{Measure{Func: sandbox.StdDev, Column: "a.fee"}, "x stddev 元 5"},
		{Measure{Func: sandbox.Covariance, Column: "a.fee", With: with("a.weight")}, "x covariance 元·kg 5"},
		{Measure{Func: sandbox.Covariance, Column: "a.fee", With: with("a.visits")}, "x covariance 元 2"},
		{Measure{Func: sandbox.Correlation, Column: "a.fee", With: with("a.weight")}, "x correlation  6"},
		{Measure{Func: sandbox.Ratio, Column: "a.fee", With: with("a.days")}, "x ratio 元/天 6"},
		{Measure{Func: sandbox.Ratio, Column: "a.fee", With: with("a.cost")}, "x ratio  6"},
		{Measure{Func: sandbox.Ratio, Column: "a.visits", With: with("a.days")}, "x ratio 1/天 6"},
		{Measure{Func: sandbox.Distinct, Column: "a.region"}, "x distinct  0"},
		{Measure{Func: sandbox.Distinct, Column: "a.born", Bin: "year"}, "x distinct  0"},
		{Measure{Func: sandbox.Histogram, Column: "a.fee", Bin: "size"}, "x.<0 histogram  0; x.0-10000 histogram  0; x.≥10000 histogram  0"},
		{Measure{Func: sandbox.Histogram, Column: "a.icd10", Bin: "chapter"}, "x.呼吸 histogram  0; x.循环 histogram  0; x.other histogram  0"},
		{Measure{Func: sandbox.Linear, Column: "a.fee", With: with("a.weight", "a.days")}, "x.intercept linear 元 6; x.weight linear 元/kg 6; x.days linear 元/天 6; x.df linear  0"},
		{Measure{Func: sandbox.Logistic, Column: "a.died", With: with("a.days")}, "x.intercept logistic  6; x.days logistic 1/天 6; x.df logistic  0"},
	} {
		c.m.As = "x"
		d, reasons := Derive(asking(Measure{Func: sandbox.Subjects, As: "people"}, c.m), in, list)
		if len(reasons) > 0 {
			t.Errorf("%s: %+v", c.m.Func, reasons)
			continue
		}
		var got []string
		for _, o := range d.Outputs()[1:] {
			if o.Measure != 1 || o.Part != "" && o.Name != "x."+o.Part {
				t.Errorf("%+v", o)
			}
			got = append(got, fmt.Sprintf("%s %s %s %d", o.Name, o.Func, o.Unit, o.Scale))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("got  %s\nwant %s", s, c.want)
		}
		for _, ref := range append([]string{c.m.Column}, c.m.With...) {
			if _, name, ok := strings.Cut(ref, "."); ok && !slices.Contains(d.Inputs[0].Needed, name) {
				t.Errorf("%s does not open %s", c.m.Func, name)
			}
		}
	}
	if d, _ := Derive(asking(Measure{Func: sandbox.Sum, Column: "a.nothing"}), in, list); d.Outputs() != nil {
		t.Error("outputs of a refused question")
	}
}

func TestMeasuresRefused(t *testing.T) {
	in, list := numbers()
	with := func(refs ...string) []string { return refs }
	for _, c := range []struct {
		name, code, column string
		m                  []Measure
	}{
		{"variance of a text", "measure.type", "n.icd10", []Measure{{Func: sandbox.Variance, Column: "a.icd10"}}},
		{"quantile of a date", "measure.type", "n.born", []Measure{{Func: sandbox.Quantile, Column: "a.born", Q: 500}}},
		{"ratio to a bool", "measure.type", "n.died", []Measure{{Func: sandbox.Ratio, Column: "a.fee", With: with("a.died")}}},
		{"logistic of money", "measure.type", "n.fee", []Measure{{Func: sandbox.Logistic, Column: "a.fee", With: with("a.days")}}},
		{"linear of a bool", "measure.type", "n.died", []Measure{{Func: sandbox.Linear, Column: "a.died", With: with("a.days")}}},
		{"a text regressor", "measure.type", "n.region", []Measure{{Func: sandbox.Logistic, Column: "a.died", With: with("a.days", "a.region")}}},
		{"an unknown regressor", "column.unknown", "n.height", []Measure{{Func: sandbox.Linear, Column: "a.fee", With: with("a.height")}}},
		{"distinct raw values", "column.not-public", "n.icd10", []Measure{{Func: sandbox.Distinct, Column: "a.icd10"}}},
		{"distinct of an unregistered bin", "bin.unknown", "n.icd10", []Measure{{Func: sandbox.Distinct, Column: "a.icd10", Bin: "none"}}},
		{"histogram through another's bin", "bin.column", "n.cost", []Measure{{Func: sandbox.Histogram, Column: "a.cost", Bin: "size"}}},
		{"histogram of years", "bin.open", "n.born", []Measure{{Func: sandbox.Histogram, Column: "a.born", Bin: "year"}}},
		{"too many labels", "measure.outputs", "", []Measure{{Func: sandbox.Histogram, Column: "a.days", Bin: "fine"}}},
		{"a regressor named as a part", "measure.name", "", []Measure{{Func: sandbox.Linear, Column: "a.fee", With: with("a.df")}}},
		{"a measure named as a part", "measure.name", "", []Measure{{Func: sandbox.Linear, Column: "a.fee", With: with("a.days"), As: "x"}, {Func: sandbox.Count, As: "x.days"}}},
		{"a part over long", "measure.name", "", []Measure{{Func: sandbox.Histogram, Column: "a.fee", Bin: "size", As: strings.Repeat("x", maxText)}}},
	} {
		d, reasons := Derive(asking(c.m...), in, list)
		if len(reasons) != 1 || reasons[0].Code != c.code || reasons[0].Column != c.column || reasons[0].Change == "" || d.Complete() {
			t.Errorf("%s: %+v", c.name, reasons)
		}
	}
	// Every column beside the first is a use with the function too.
	list[0].Columns[2].Funcs = []sandbox.MeasureFunc{sandbox.Sum} // weight
	for _, f := range []sandbox.MeasureFunc{sandbox.Covariance, sandbox.Correlation, sandbox.Ratio, sandbox.Linear, sandbox.Logistic} {
		m := Measure{Func: f, Column: "a.visits", With: with("a.weight")}
		if _, reasons := Derive(asking(m), in, list); len(reasons) != 1 || reasons[0].Code != "column.func" || reasons[0].Column != "n.weight" {
			t.Errorf("%s: %+v", f, reasons)
		}
	}
	// A type that no list mends is said first.
	for i := range list[0].Columns {
		list[0].Columns[i].Funcs = []sandbox.MeasureFunc{sandbox.Distinct}
	}
	if _, reasons := Derive(asking(Measure{Func: sandbox.Sum, Column: "a.icd10"}), in, list); len(reasons) != 1 || reasons[0].Code != "measure.type" {
		t.Errorf("a text that is not listed for sums: %+v", reasons)
	}
}
