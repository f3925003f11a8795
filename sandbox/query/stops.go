package query

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// ExplainedStop (受阻算子) is an operator of a question that homomorphic ciphertexts do not do, and what would do instead.
type ExplainedStop struct {
	Operator string `json:"operator"`         // join, group, or a function
	Column   string `json:"column,omitempty"` // dataset.column, or the dataset joined
	Rule     string `json:"rule"`
	Instead  string `json:"instead"`
}

// Stops lists what stops a derived question on ciphertexts, each operator and column once; none: it runs on them unchanged. It follows from
// descriptions only. Ciphertexts of units that each hold rows of the same columns are added up: what one row says by itself is taken at
// its unit, and what compares rows, or orders values, is not there. Of two inputs
// that are joined by the person, each held by a unit, products are taken.
func (d Derivation) Stops() []ExplainedStop {
	var out []ExplainedStop
	stop := func(operator, column, rule, instead string) {
		if s := (ExplainedStop{operator, column, rule, instead}); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for i, in := range d.Inputs {
		switch {
		case i > 1:
			stop("join", string(in.Dataset), "ciphertexts are multiplied once, so that two inputs are brought together, not three",
				"mpc would do; or have one unit join two of them before it contributes, as one dataset")
		case i == 1 && (len(in.On) > 0 || in.Join != ""):
			stop("join", string(in.Dataset), "rows of two units are brought together by a list of people that both know, by nothing else, and where both have rows",
				"an inner join by the protected subject; mpc would do; or have one unit join them before it contributes, as one dataset")
		}
	}
	at := func(ref string) string {
		i, name := d.Spec.split(ref)
		if ref == "" || i < 0 || i >= len(d.Inputs) {
			return ""
		}
		return string(d.Inputs[i].Dataset) + "." + name
	}
	for _, dim := range d.Spec.Dimensions {
		if dim.Score != nil {
			for _, p := range dim.Score.Parts[1:] {
				i, _ := d.Spec.split(p.Column)
				if j, _ := d.Spec.split(dim.Score.Parts[0].Column); i != j {
					stop("score", at(p.Column), "points of two units' columns are compared together, and ciphertexts are not", "mpc would do; or group by its parts")
				}
			}
			continue
		}
		if d.Groups(dim) == nil {
			stop("group", at(dim.Column), "the labels are not known before the rows are, and every unit lays its totals out by the same public ones",
				"group by a bin that lists its labels, or fix the labels before anything is encrypted")
		}
	}
	for _, m := range d.Spec.Measures {
		switch m.Func {
		case sandbox.Subjects, sandbox.Distinct, sandbox.Min, sandbox.Max, sandbox.Quantile:
			instead := "mpc would do; or ask a histogram over a registered bin"
			switch m.Func {
			case sandbox.Min, sandbox.Max:
				instead = "ask a quantile, which mpc would do, or a histogram over a registered bin"
			case sandbox.Subjects:
				instead = "mpc would do; or ask count: how many people there are comes with it, between bounds, for the gate"
			}
			stop(string(m.Func), at(m.Column), "values or people are compared, and ciphertexts are not", instead)
		case sandbox.Linear, sandbox.Logistic:
			stop(string(m.Func), at(m.Column), "a system of equations is solved, and ciphertexts are added only", "ask covariances of its columns, or compute in the domain")
		case sandbox.Plain:
			stop(string(m.Func), at(m.Column), "rows never leave", "ask a total")
		}
	}
	return out
}

// Groups lists the labels that a dimension can give, the missing one last where a value can be missing; nil where they are not known before
// the rows are: years, and public columns that do not enumerate their values.
func (d Derivation) Groups(dim Dimension) []string {
	if dim.Score != nil {
		return dim.Score.Bands()
	}
	i, name := d.Spec.split(dim.Column)
	if i < 0 || i >= len(d.Inputs) {
		return nil
	}
	c, ok := d.Inputs[i].Described.Column(name)
	if !ok {
		return nil
	}
	var out []string
	switch {
	case dim.Bin != "":
		out = slices.Clone(d.labels(Measure{Column: dim.Column, Bin: dim.Bin}))
	case c.Type == catalog.Bool:
		out = []string{"false", "true"}
	case c.Type == catalog.Text:
		if v, err := catalog.ParseValues(name, c); err == nil && v != nil && v.Kind == catalog.OneOf {
			out = slices.Clone(v.Set)
		}
	}
	if out != nil && (c.Nullable || slices.ContainsFunc(d.Inputs, func(in DerivedInput) bool { return in.Join != "" })) {
		out = add(out, catalog.Missing)
	}
	return out
}
