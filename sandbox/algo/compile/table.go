package compile

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
)

// Table (结果表) is a table of a Program: how it is made of what has left. Anybody who holds the results can make it.
type Table struct {
	Name       string      `json:"name"`
	Dimensions []Dimension `json:"dimensions"`
	Columns    []Column    `json:"columns"`
	Questions  []int       `json:"questions"` // of the plan, that it is made of
}

// Dimension (分组) is a grouping of a table. Labels says how the author calls those of the result; others stay.
type Dimension struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Column (结果列) is a column of a table.
type Column struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit,omitempty"`
	Value Formula `json:"value"`
}

// Formula (算式) is arithmetic over what has left: a measure of a group, a constant, or an operator of the SDK on others.
type Formula struct {
	Op     string    `json:"op"` // value, const, add, sub, mul, div, poly, sigmoid
	Args   []Formula `json:"args,omitempty"`
	Consts []string  `json:"consts,omitempty"` // fractions: the constant; a polynomial's; of a split measure, a weight for each band

	// Of a value.
	Question int      `json:"question,omitempty"` // index in the plan
	Measure  string   `json:"measure,omitempty"`
	Bands    []string `json:"bands,omitempty"` // of a split measure: labels of the question's last dimension

	term int // while compiling
}

const (
	opValue = "value"
	opConst = "const"
)

func number(v *big.Rat) Formula {
	return Formula{Op: opConst, Consts: []string{v.RatString()}}
}

// Released (已出域结果) is a result of class A as its recipient has it.
type Released struct {
	Measures []sandbox.Measure
	Rows     []ReleasedRow
}

// ReleasedRow (已出域行) is one group. A suppressed one has no values; a value that is not there is nil.
type ReleasedRow struct {
	Labels     []string
	Values     []*int64
	Suppressed bool
}

// Filled (结果表内容) is a table with its values, as decimals of up to 6 digits behind the point; what is suppressed or not defined is
// empty.
type Filled struct {
	Name   string     `json:"name"`
	Head   []string   `json:"head"`
	Units  []string   `json:"units"` // by column of Head
	Rows   [][]string `json:"rows"`
	Hidden int        `json:"hidden,omitempty"` // values that are empty
}

// Fill makes the table of the results of its questions, by index in the plan. A group that a split question does not have has no rows there:
// it adds zero, unless the results are noised. Invalid for results that are not of these questions.
func (t *Table) Fill(results map[int]Released) (Filled, error) {
	bad := func(rule string) (Filled, error) {
		return Filled{}, &sandbox.Error{Op: "table", Kind: sandbox.Invalid, Object: t.Name, Detail: rule}
	}
	out := Filled{Name: t.Name, Rows: [][]string{}}
	for _, d := range t.Dimensions {
		out.Head, out.Units = append(out.Head, d.Name), append(out.Units, "")
	}
	for _, c := range t.Columns {
		out.Head, out.Units = append(out.Head, c.Name), append(out.Units, c.Unit)
	}
	e := &evaluation{results: results, rows: map[int]map[string]*ReleasedRow{}}
	groups := map[string][]string{}
	for _, q := range t.Questions {
		r, ok := results[q]
		if !ok {
			return bad(fmt.Sprintf("the result of question %d is there", q+1))
		}
		e.rows[q] = map[string]*ReleasedRow{}
		for i := range r.Rows {
			row := &r.Rows[i]
			if len(row.Labels) < len(t.Dimensions) || len(row.Labels) > len(t.Dimensions)+1 || !row.Suppressed && len(row.Values) != len(r.Measures) {
				return bad("a result has the groupings and measures of its question")
			}
			e.rows[q][key(row.Labels)] = row
			g := row.Labels[:len(t.Dimensions)]
			groups[key(g)] = g
		}
	}
	for _, g := range groups {
		row := []string{}
		for i, l := range g {
			if name, ok := t.Dimensions[i].Labels[l]; ok {
				l = name
			}
			row = append(row, l)
		}
		for i := range t.Columns {
			v, err := e.value(&t.Columns[i].Value, g)
			if err != nil {
				return bad(err.Error())
			}
			if v == nil {
				out.Hidden++
				row = append(row, "")
				continue
			}
			row = append(row, decimal(v))
		}
		out.Rows = append(out.Rows, row)
	}
	slices.SortFunc(out.Rows, func(a, b []string) int {
		return cmp.Or(slices.Compare(a[:len(t.Dimensions)], b[:len(t.Dimensions)]), slices.Compare(a, b))
	})
	return out, nil
}

func key(labels []string) string { return fmt.Sprintf("%q", labels) }

// decimal writes a fraction with up to 6 digits behind the point, half away from zero.
func decimal(v *big.Rat) string {
	s := v.FloatString(6)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

type evaluation struct {
	results map[int]Released
	rows    map[int]map[string]*ReleasedRow
}

// value computes a formula for one group; nil where it has none.
func (e *evaluation) value(f *Formula, group []string) (*big.Rat, error) {
	var consts []*big.Rat
	for _, s := range f.Consts {
		c, ok := new(big.Rat).SetString(s)
		if !ok {
			return nil, fmt.Errorf("a constant is a fraction")
		}
		consts = append(consts, c)
	}
	switch f.Op {
	case opConst:
		return consts[0], nil
	case opValue:
		return e.measured(f, group, consts)
	}
	var args []*big.Rat
	for i := range f.Args {
		v, err := e.value(&f.Args[i], group)
		if v == nil || err != nil {
			return nil, err
		}
		args = append(args, v)
	}
	out := new(big.Rat)
	switch algo.Op(f.Op) {
	case algo.OpAdd:
		return out.Add(args[0], args[1]), nil
	case algo.OpSub:
		return out.Sub(args[0], args[1]), nil
	case algo.OpMul:
		return out.Mul(args[0], args[1]), nil
	case algo.OpDiv:
		if args[1].Sign() == 0 {
			return nil, nil
		}
		return out.Quo(args[0], args[1]), nil
	case algo.OpSigmoid:
		return sigmoid(args[0]), nil
	case algo.OpPoly:
		for i := len(consts) - 1; i >= 0; i-- {
			out.Add(out.Mul(out, args[0]), consts[i])
		}
		return out, nil
	}
	return nil, fmt.Errorf("an operator of a formula")
}

func (e *evaluation) measured(f *Formula, group []string, weights []*big.Rat) (*big.Rat, error) {
	r := e.results[f.Question]
	at := slices.IndexFunc(r.Measures, func(m sandbox.Measure) bool { return m.Name == f.Measure })
	if at < 0 {
		return nil, fmt.Errorf("a result has the measures of its question")
	}
	m := r.Measures[at]
	one := func(labels []string) (v *big.Rat, there bool) {
		row := e.rows[f.Question][key(labels)]
		if row == nil {
			return nil, false
		}
		if row.Suppressed || row.Values[at] == nil {
			return nil, true
		}
		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(m.Scale)), nil)
		return new(big.Rat).SetFrac(big.NewInt(*row.Values[at]), unit), true
	}
	if f.Bands == nil {
		v, _ := one(group)
		return v, nil
	}
	if len(weights) != len(f.Bands) {
		return nil, fmt.Errorf("a split measure has a weight for each band")
	}
	sum := new(big.Rat)
	for i, band := range f.Bands {
		if weights[i].Sign() == 0 {
			continue
		}
		v, there := one(append(slices.Clone(group), band))
		switch {
		case there && v == nil, !there && m.Noise != (sandbox.Mechanism{}):
			return nil, nil
		case there:
			sum.Add(sum, v.Mul(v, weights[i]))
		}
	}
	return sum, nil
}
