package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Explanation (推导说明) shows an asker what a question would open and why, what evidence its cells would carry and what it would cost,
// before any key opens. It is made from a Derivation, hence from descriptions only: nothing in it depends on data.
type Explanation struct {
	Inputs      []ExplainedInput  `json:"inputs"`
	Columns     []ExplainedColumn `json:"columns"`
	Outputs     []ExplainedOutput `json:"outputs"`
	Highest     sandbox.Grade     `json:"highest_grade"`
	Personal    bool              `json:"personal"`
	MinSubjects int               `json:"min_subjects,omitempty"` // asked by the owners' rules, beside the district's
	MaxShare    int               `json:"max_share,omitempty"`    // percent, likewise
	PPercent    int               `json:"p_percent,omitempty"`    // percent, likewise
	Prior       int               `json:"prior,omitempty"`        // percent, likewise
	MaxBits     int               `json:"max_bits,omitempty"`     // likewise, of the result
	Noise       *ExplainedNoise   `json:"noise,omitempty"`        // how numbers leave, where not exact
	Shown       string            `json:"shown,omitempty"`        // which published cells are shown
	Engine      ExplainedEngine   `json:"engine,omitzero"`        // chosen by policy
	Stops       []ExplainedStop   `json:"stops,omitempty"`        // what keeps it from ciphertexts; none: nothing does
	Cost        Estimate          `json:"cost"`
}

// ExplainedInput (输入说明) is one dataset and what is opened of it.
type ExplainedInput struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Title   string            `json:"title,omitempty"`
	Version uint64            `json:"version,omitempty"` // 0: current
	Join    string            `json:"join,omitempty"`    // how it attaches; empty for the scanned one
	Opens   []string          `json:"opens"`             // columns decrypted (最小必要)
}

// ExplainedColumn (字段说明) is one column with its grade, its uses and what its owner's rule asks.
type ExplainedColumn struct {
	Column      string                `json:"column"`
	Title       string                `json:"title,omitempty"`
	Grade       sandbox.Grade         `json:"grade"` // effective
	Personal    bool                  `json:"personal,omitempty"`
	Uses        []sandbox.Use         `json:"uses"`
	Funcs       []sandbox.MeasureFunc `json:"funcs,omitempty"`
	Bins        []sandbox.BinID       `json:"bins,omitempty"`
	Compares    int                   `json:"compares,omitempty"` // groupings one value is held to
	MaxCompares int                   `json:"max_compares,omitempty"`
	MinSubjects int                   `json:"min_subjects,omitempty"`
	MaxShare    int                   `json:"max_share,omitempty"`
	PPercent    int                   `json:"p_percent,omitempty"`
	Prior       int                   `json:"prior,omitempty"`
	MaxBits     int                   `json:"max_bits,omitempty"`
	NoFilterOn  []string              `json:"no_filter_on,omitempty"`
}

// ExplainedOutput (输出说明) is one value of every cell and the evidence the gate decides on it by.
type ExplainedOutput struct {
	Name     string              `json:"name"`
	Func     sandbox.MeasureFunc `json:"func"`
	Unit     string              `json:"unit,omitempty"`
	Scale    int                 `json:"scale,omitempty"`
	Evidence string              `json:"evidence"`
	// Deviation is the standard deviation (标准差) of the error to expect from noise, in thousandths of 10^-Scale units.
	Deviation int64 `json:"deviation_milli,omitempty"`
}

// ExplainedNoise (加噪说明) is the strictest noise rule of the columns used. Of dp it says what the question costs at most, where none of it
// was drawn before.
type ExplainedNoise struct {
	Kind     sandbox.NoiseKind `json:"kind"`
	Rule     string            `json:"rule"`               // in words
	Releases int               `json:"releases,omitempty"` // each of which spends of every dataset's budget
	Cost     *sandbox.Privacy  `json:"cost,omitempty"`     // of all of them
}

// ExplainedEngine (计算方式说明) says how an answer would be computed and why so.
type ExplainedEngine struct {
	Engine  sandbox.Engine `json:"engine"`
	Here    bool           `json:"here"` // whether this release runs it
	Why     string         `json:"why"`
	Columns []string       `json:"columns,omitempty"` // dataset.column that call for it
}

// Explain lists inputs, columns, outputs and cost of a derivation; of a refused one, what was resolved before it was refused.
func (d Derivation) Explain() Explanation {
	e := Explanation{Inputs: []ExplainedInput{}, Columns: []ExplainedColumn{}, Outputs: []ExplainedOutput{}, Highest: d.Highest, Personal: d.Personal,
		MinSubjects: d.MinSubjects, MaxShare: d.MaxShare, PPercent: d.PPercent, Prior: d.Prior, MaxBits: d.MaxBits, Shown: d.Spec.shown(), Cost: d.Estimate()}
	e.Noise = d.noiseExplained()
	if d.complete {
		e.Stops = d.Stops()
	}
	for i, in := range d.Inputs {
		x := ExplainedInput{Dataset: in.Dataset, Title: in.Described.Title, Version: in.Version, Opens: append([]string{}, in.Needed...)}
		if h := in.Described.Holding; slices.Contains(d.Holdings(), Holding{in.Dataset, h}) && !slices.Contains(x.Opens, h) {
			x.Opens = append(x.Opens, h) // for the gate
		}
		if i > 0 {
			x.Join = d.joined(in)
		}
		e.Inputs = append(e.Inputs, x)
	}
	for _, c := range d.Columns {
		x := ExplainedColumn{Column: c.Column, Title: c.Title, Grade: c.Grade, Personal: c.Personal, Uses: c.Uses, Funcs: c.Funcs, Bins: c.Bins,
			Compares: c.Compares(), MinSubjects: c.Rule.MinSubjects, MaxShare: c.Rule.MaxShare, PPercent: c.Rule.PPercent, Prior: c.Rule.Prior, MaxBits: c.Rule.MaxBits, NoFilterOn: c.Rule.NoFilterOn}
		if x.Compares > 0 {
			x.MaxCompares = c.Rule.Compares
		}
		e.Columns = append(e.Columns, x)
	}
	for _, o := range d.Outputs() {
		e.Outputs = append(e.Outputs, ExplainedOutput{Name: o.Name, Func: o.Func, Unit: o.Unit, Scale: o.Scale, Evidence: o.evidence()})
	}
	return e
}

func (d *Derivation) joined(in DerivedInput) string {
	from := string(d.Inputs[d.Spec.input(in.With)].Dataset)
	how := "by the protected subject of " + from
	if len(in.On) > 0 {
		var on []string
		if in.Input.Subject {
			on = append(on, "the protected subject of "+from+" is the same")
		}
		for _, k := range in.On {
			on = append(on, from+"."+k.Left+" = "+string(in.Dataset)+"."+k.Right)
		}
		how = "where " + strings.Join(on, " and ")
	}
	if in.Join == LeftJoin {
		how += ", rows without a partner kept"
	}
	return how
}

// shown says in words which published cells are shown.
func (s Spec) shown() string {
	var parts []string
	for _, h := range s.Having {
		parts = append(parts, fmt.Sprintf("%s at least %d", h.Measure, h.AtLeast))
	}
	if s.Top != nil {
		parts = append(parts, fmt.Sprintf("the %d largest by %s", s.Top.K, s.Top.By))
	}
	if len(parts) == 0 {
		return ""
	}
	return "of the published cells: " + strings.Join(parts, ", ")
}

// evidence says what the gate decides on an output by. Sources: package egress.
func (o Output) evidence() string {
	switch o.Func {
	case sandbox.Count:
		return "people, and how many rows each has: top 1, top 2, sum"
	case sandbox.Subjects:
		return "people"
	case sandbox.Dot:
		return "people with both values, and what their products add: top 1, top 2, sum"
	case sandbox.Sum, sandbox.Mean:
		return "people with a value, and what each adds: top 1, top 2, sum"
	case sandbox.Histogram:
		return "people under the label, and how many rows each has: top 1, top 2, sum"
	case sandbox.Distinct:
		return "people with a label, and how many rows each has"
	case sandbox.Min, sandbox.Max:
		if o.Structural {
			return "people who hold the extreme; the owner's rule calls it structural"
		}
		return "people who hold the extreme; redacted, since the rule does not call it structural"
	case sandbox.Quantile:
		return "people at or below the value and at or above it, the fewer; what each adds; it leaves rounded to two digits"
	case sandbox.Ratio:
		return "people with both values, and what each adds to either sum"
	}
	if o.Part == PartDF {
		return "people with every value"
	}
	return "people with every value, what each adds, and the degrees of freedom that are left"
}

// Estimate (代价估算) is what a question costs at most, from descriptions: rows as the owners declare them, a width for each type, the
// labels of bins. Nothing is measured on data, so it may be shown.
type Estimate struct {
	Rows      int64             `json:"rows,omitempty"`       // scanned, as declared; 0: the owner declares none
	BuildRows int64             `json:"build_rows,omitempty"` // of all joined inputs, as declared
	Columns   int               `json:"columns"`              // opened
	RowBytes  int               `json:"row_bytes"`            // opened of one scanned row
	Bytes     int64             `json:"bytes,omitempty"`      // opened of all inputs, where declared
	Cells     int64             `json:"cells,omitempty"`      // at most, from the labels of bins; 0: a dimension does not list its labels
	Outputs   int               `json:"outputs"`              // of one cell
	Refreshed catalog.Frequency `json:"refreshed,omitempty"`  // of the scanned input: the same question has a new answer so often
}

// width is what one value takes when opened, in bytes. A text counts as a dictionary's index and its share of the dictionary.
func width(t catalog.Type) int {
	switch t {
	case catalog.Text:
		return 16
	case catalog.Date:
		return 4
	case catalog.Bool:
		return 1
	}
	return 8
}

// Estimate gives the cost of a derivation.
func (d Derivation) Estimate() Estimate {
	e := Estimate{Outputs: len(d.Outputs()), Cells: 1}
	all := true
	for i, in := range d.Inputs {
		row := 0
		if in.Subject {
			row = 16 // the pseudonym
		}
		for _, name := range in.Needed {
			if c, ok := in.Described.Column(name); ok {
				row += width(c.Type)
			}
		}
		rows := in.Described.Card.Volume
		all = all && rows > 0
		e.Columns += len(in.Needed)
		e.Bytes += rows * int64(row)
		if i == 0 {
			e.Rows, e.RowBytes, e.Refreshed = rows, row, in.Described.Frequency
		} else {
			e.BuildRows += rows
		}
	}
	if !all {
		e.Bytes = 0
	}
	for _, dim := range d.Spec.Dimensions {
		n := int64(d.labelCount(dim))
		if e.Cells = e.Cells * n; n == 0 || e.Cells > maxCells {
			e.Cells = 0
			break
		}
	}
	return e
}

// maxCells is where an estimate stops multiplying.
const maxCells = 1 << 40

// labelCount counts the labels a dimension can give, the missing one too; 0 if they are not listed.
func (d *Derivation) labelCount(dim Dimension) int {
	if dim.Score != nil {
		return len(dim.Score.Edges) + 1
	}
	i, name := d.Spec.split(dim.Column)
	if i < 0 || i >= len(d.Inputs) {
		return 0
	}
	missing := 0
	if c, ok := d.Inputs[i].Described.Column(name); ok && (c.Nullable || slices.ContainsFunc(d.Inputs, func(in DerivedInput) bool { return in.Join != "" })) {
		missing = 1
	}
	if dim.Bin == "" {
		if c, ok := d.Inputs[i].Described.Column(name); ok && c.Type == catalog.Bool {
			return 2 + missing
		}
		return 0
	}
	if labels := d.labels(Measure{Column: dim.Column, Bin: dim.Bin}); len(labels) > 0 {
		return len(labels) + missing
	}
	return 0
}
