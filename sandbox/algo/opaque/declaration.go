package opaque

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
)

// Bounds of a declaration. They keep a host's work small whatever an author declares.
const (
	MaxColumns = 64
	MaxLabels  = 4   // groupings of a chart
	MaxLabel   = 512 // labels of one grouping
	MaxValues  = 16
	MaxRows    = 5000 // of a chart
	MaxScale   = 9
	MaxLevels  = 1 << 32 // steps of one value's range
	MaxValue   = 1 << 53 // either end of it
	MaxModel   = 32 << 10
)

// Declaration (不透明算法声明) is what an Opaque algorithm may see and give. It stands in the algorithm's manifest, signed by its author and approved by the
// agency; the domain holds the algorithm to it. It gives a Chart or a Model, one of them.
type Declaration struct {
	Input   string   `json:"input"`   // name of the one input: who asks says which data set or view it is
	Columns []Column `json:"columns"` // in the order in which the code sees them
	Chart   *Chart   `json:"chart,omitempty"`
	Model   *Model   `json:"model,omitempty"`
}

// Column (字段) is one column that the code sees.
type Column struct {
	Name  string `json:"name"`
	Type  string `json:"type"`            // text, int, money, number, date, bool
	Scale int    `json:"scale,omitempty"` // decimals of a number
}

// Chart (图表声明) is a table of registered labels and numbers, class F. Rows are told apart by their labels: each combination once.
type Chart struct {
	Name   string  `json:"name"`
	Labels []Label `json:"labels"`
	Values []Value `json:"values,omitempty"`
	Rows   int     `json:"rows"` // at most
}

// Label (登记标签) is one grouping with its labels, all that there will ever be.
type Label struct {
	Name string   `json:"name"`
	Of   []string `json:"of"`
}

// Value (取值) is one number of a row: what is given is brought into [Min, Max] and to a multiple of Step, from Min on. All are whole
// numbers of 10^-Scale.
type Value struct {
	Name  string `json:"name"`
	Unit  string `json:"unit,omitempty"`
	Scale int    `json:"scale,omitempty"`
	Min   int64  `json:"min"`
	Max   int64  `json:"max"`
	Step  int64  `json:"step"`
}

// Model (模型声明) is a model, class D: what every model of the algorithm has in common, in the gate's form opdomain-model/1 without its numbers: kind,
// label and features by the names of columns, with their ranges and levels, and the registered trainer that gives it.
type Model struct {
	Form json.RawMessage `json:"form"`
}

// Types of columns.
var types = []string{"text", "int", "money", "number", "date", "bool"}

var name = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// Error (声明错误) says where a declaration, or bytes in its form, break which rule. It never holds a value.
type Error struct{ Place, Rule string }

func (e *Error) Error() string { return "opaque: " + e.Place + ": " + e.Rule }

// Check holds a declaration to its bounds.
func (d *Declaration) Check() error {
	bad := func(place, rule string) error { return &Error{place, rule} }
	if !name.MatchString(d.Input) {
		return bad("input", "a name of small letters, digits, - and _, up to 63")
	}
	if len(d.Columns) == 0 || len(d.Columns) > MaxColumns {
		return bad("columns", fmt.Sprintf("1 to %d", MaxColumns))
	}
	for i, c := range d.Columns {
		at := fmt.Sprintf("columns[%d]", i)
		if c.Name == "" || len(c.Name) > 128 || slices.ContainsFunc(d.Columns[:i], func(x Column) bool { return x.Name == c.Name }) {
			return bad(at, "columns have names, each once")
		}
		if !slices.Contains(types, c.Type) || c.Scale < 0 || c.Scale > MaxScale || c.Scale > 0 && c.Type != "number" {
			return bad(at, "a type is text, int, money, number, date or bool, and a number has up to 9 decimals")
		}
	}
	switch {
	case (d.Chart == nil) == (d.Model == nil):
		return bad("chart, model", "one output: a chart or a model")
	case d.Model != nil:
		if len(d.Model.Form) == 0 || len(d.Model.Form) > MaxModel || !json.Valid(d.Model.Form) {
			return bad("model.form", fmt.Sprintf("a JSON object of at most %d bytes", MaxModel))
		}
		return nil
	}
	return d.Chart.check()
}

func (c *Chart) check() error {
	bad := func(place, rule string) error { return &Error{"chart." + place, rule} }
	if !name.MatchString(c.Name) {
		return bad("name", "a name of small letters, digits, - and _, up to 63")
	}
	if len(c.Labels) == 0 || len(c.Labels) > MaxLabels {
		return bad("labels", fmt.Sprintf("1 to %d", MaxLabels))
	}
	var names []string
	for i, l := range c.Labels {
		at := fmt.Sprintf("labels[%d]", i)
		if !name.MatchString(l.Name) || slices.Contains(names, l.Name) {
			return bad(at, "labels and values have names of small letters, digits, - and _, each once")
		}
		names = append(names, l.Name)
		if len(l.Of) == 0 || len(l.Of) > MaxLabel {
			return bad(at, fmt.Sprintf("1 to %d labels", MaxLabel))
		}
		for k, x := range l.Of {
			if x == "" || len(x) > 64 || slices.Contains(l.Of[:k], x) {
				return bad(at, "labels are not empty, up to 64 bytes, each once")
			}
		}
	}
	if len(c.Values) > MaxValues {
		return bad("values", fmt.Sprintf("at most %d", MaxValues))
	}
	for i, v := range c.Values {
		at := fmt.Sprintf("values[%d]", i)
		switch {
		case !name.MatchString(v.Name) || slices.Contains(names, v.Name):
			return bad(at, "labels and values have names of small letters, digits, - and _, each once")
		case len(v.Unit) > 32:
			return bad(at, "a unit of at most 32 bytes")
		case v.Scale < 0 || v.Scale > MaxScale:
			return bad(at, fmt.Sprintf("a scale of 0 to %d places", MaxScale))
		case v.Step < 1 || v.Max <= v.Min || v.Min < -MaxValue || v.Max > MaxValue:
			return bad(at, "a range from a least to a greater number within ±2^53, in steps of at least one")
		case (v.Max-v.Min)%v.Step != 0 || (v.Max-v.Min)/v.Step >= MaxLevels:
			return bad(at, fmt.Sprintf("its range is whole steps, fewer than %d", int64(MaxLevels)))
		}
		names = append(names, v.Name)
	}
	if c.Rows < 1 || c.Rows > MaxRows || uint64(c.Rows) > c.combinations() {
		return bad("rows", fmt.Sprintf("1 to %d, and no more than there are combinations of labels", MaxRows))
	}
	return nil
}

// combinations counts the rows that labels tell apart; at most 512^4.
func (c *Chart) combinations() uint64 {
	n := uint64(1)
	for _, l := range c.Labels {
		hi, lo := bits.Mul64(n, uint64(len(l.Of)))
		if n = lo; hi != 0 {
			return 1 << 63
		}
	}
	return n
}

// Quantise (截断量化) brings a number into a value's range and to the nearest of its steps, the upper of two.
func (v Value) Quantise(x int64) int64 {
	x = min(max(x, v.Min), v.Max)
	steps := (x - v.Min) / v.Step
	if rest := x - v.Min - steps*v.Step; rest >= v.Step-rest {
		steps++
	}
	return v.Min + steps*v.Step
}

// Number says whether the code sees whole numbers of a type.
func (c Column) Number() bool { return c.Type != "text" }
