package query

import (
	"cmp"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// MaxOutputs bounds the outputs of one question: a histogram has one for each label of its bin.
const MaxOutputs = 256

// Parts of a regression's outputs beside its regressors.
const (
	PartIntercept = "intercept" // 截距
	PartDF        = "df"        // 自由度: rows with every column present − parameters
)

// Output (输出项) is one value of every cell. A measure has one, a histogram one for each label and a regression one for each
// coefficient and its degrees of freedom. Values are integers scaled by 10^Scale in Unit.
type Output struct {
	Measure int    // index into Spec.Measures
	Name    string // As, or "As.part"
	Func    sandbox.MeasureFunc
	Part    string // label of a histogram, or PartIntercept, a regressor's column name, PartDF; empty otherwise
	Unit    string
	Scale   int

	Structural bool // of min and max: the owner's rule lets the extreme leave
}

// Outputs lists what every cell of the answer holds, in the order of the measures. A histogram's parts stand in the order of
// its bin, a code bin's Other last; a regression's are the intercept, the regressors as written and the degrees of freedom.
// It is nil for a derivation that is not complete.
//
// Units and scales, c being the column's: sum, mean, min, max, quantile c; variance the square of c at twice its scale; stddev c
// with three more decimals; covariance the product of both at the sum of their scales; ratio and linear coefficients one unit by the
// other, correlation and logistic coefficients, all with six decimals; every count and df whole.
func (d Derivation) Outputs() []Output {
	if !d.complete {
		return nil
	}
	return d.outputs()
}

func (d *Derivation) outputs() []Output {
	var out []Output
	for i, m := range d.Spec.Measures {
		add := func(part, unit string, scale int) {
			o := Output{Measure: i, Name: m.As, Func: m.Func, Part: part, Unit: unit, Scale: scale}
			if part != "" {
				o.Name += "." + part
			}
			if m.Func == sandbox.Min || m.Func == sandbox.Max {
				o.Structural = d.structural(m.Column)
			}
			out = append(out, o)
		}
		c, unit, scale := d.measured(m.Column)
		switch m.Func {
		case sandbox.Count, sandbox.Subjects, sandbox.Distinct:
			add("", "", 0)
		case sandbox.Histogram:
			for _, l := range d.labels(m) {
				add(l, "", 0)
			}
		case sandbox.Variance:
			add("", product(unit, unit), 2*scale)
		case sandbox.StdDev:
			add("", unit, scale+3)
		case sandbox.Covariance:
			_, other, s := d.measured(m.With[0])
			add("", product(unit, other), scale+s)
		case sandbox.Dot:
			other, s := unit, scale
			if len(m.With) == 1 {
				_, other, s = d.measured(m.With[0])
			}
			add("", product(unit, other), scale+s)
		case sandbox.Correlation:
			add("", "", 6)
		case sandbox.Ratio:
			_, by, _ := d.measured(m.With[0])
			add("", quotient(unit, by), 6)
		case sandbox.Linear, sandbox.Logistic:
			if m.Func == sandbox.Logistic {
				unit = "" // log-odds
			}
			add(PartIntercept, unit, 6)
			for _, w := range m.With {
				x, by, _ := d.measured(w)
				if x != nil {
					add(x.Name, quotient(unit, by), 6)
				}
			}
			add(PartDF, "", 0)
		default:
			if c != nil {
				add("", unit, scale)
			}
		}
	}
	return out
}

// measured gives a column with the unit and scale of its values.
func (d *Derivation) measured(ref string) (*catalog.Column, string, int) {
	i, name := d.Spec.split(ref)
	if i < 0 || i >= len(d.Inputs) {
		return nil, "", 0
	}
	c, ok := d.Inputs[i].Described.Column(name)
	switch {
	case !ok:
		return nil, "", 0
	case c.Type == catalog.Money:
		return c, cmp.Or(c.Unit, "元"), 2
	}
	return c, c.Unit, c.Scale
}

// structural says whether the rule of a measured column lets its extremes leave.
func (d *Derivation) structural(ref string) bool {
	i, name := d.Spec.split(ref)
	if i < 0 || i >= len(d.Inputs) {
		return false
	}
	at, structural := string(d.Inputs[i].Dataset)+"."+name, false
	for _, c := range d.Columns {
		if c.Column == at { // two where names with dots meet: both must say so
			if !c.Rule.Structural {
				return false
			}
			structural = true
		}
	}
	return structural
}

// labels lists what a histogram counts: every label its bin gives to a value that is there.
func (d *Derivation) labels(m Measure) []string {
	i, _ := d.Spec.split(m.Column)
	if i < 0 || i >= len(d.Inputs) {
		return nil
	}
	b, ok := d.Inputs[i].Described.Bin(m.Bin)
	if !ok {
		return nil
	}
	if b.Kind != catalog.Prefix && b.Kind != catalog.Codes {
		return b.Labels()
	}
	var out []string
	for _, g := range b.Groups {
		out = add(out, g.Label)
	}
	return append(out, catalog.Other)
}

func product(a, b string) string {
	switch {
	case a == "" || b == "":
		return a + b
	case a == b:
		return a + "²"
	}
	return a + "·" + b
}

func quotient(a, b string) string {
	switch {
	case b == "":
		return a
	case a == b:
		return ""
	case a == "":
		return "1/" + b
	}
	return a + "/" + b
}
