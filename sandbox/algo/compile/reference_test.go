package compile_test

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// reference runs a graph row by row, the plain way, knowing nothing of questions, scores and formulas.
type reference struct {
	g    *algo.Graph
	t    *algo.Types
	data map[sandbox.DatasetID]*dryrun.Data
}

// row is a joined row: by input's node a row of its data, nil where a left join found none; and who it is about.
type row struct {
	of  map[int][]any
	who sandbox.Pseudonym
}

func (r *reference) rows(at int) (out []row) {
	n := r.g.Nodes[at]
	switch n.Op {
	case algo.OpInput:
		d := r.data[sandbox.DatasetID(n.Name)]
		for i, x := range d.Rows {
			out = append(out, row{map[int][]any{at: x}, d.Subjects[i]})
		}
	case algo.OpFilter:
		for _, x := range r.rows(n.Args[0]) {
			if r.flag(n.Args[1], x) {
				out = append(out, x)
			}
		}
	case algo.OpJoin: // by the protected subject
		d := r.data[sandbox.DatasetID(r.g.Nodes[n.Args[1]].Name)]
		for _, x := range r.rows(n.Args[0]) {
			found := false
			for i, y := range d.Rows {
				if d.Subjects[i] == x.who {
					found = true
					out = append(out, x.with(n.Args[1], y))
				}
			}
			if !found && n.Left {
				out = append(out, x.with(n.Args[1], nil))
			}
		}
	}
	return out
}

func (x row) with(at int, y []any) row {
	of := map[int][]any{at: y}
	for k, v := range x.of {
		of[k] = v
	}
	return row{of, x.who}
}

// cell gives a column's value, and its description.
func (r *reference) cell(n algo.Node, x row) (any, *catalog.Column, *catalog.Dataset) {
	d := &r.data[sandbox.DatasetID(r.g.Nodes[n.Args[0]].Name)].Set
	i := slices.IndexFunc(d.Columns, func(c catalog.Column) bool { return c.Name == n.Name })
	if x.of[n.Args[0]] == nil {
		return nil, &d.Columns[i], d
	}
	return x.of[n.Args[0]][i], &d.Columns[i], d
}

func scale(c *catalog.Column) int {
	if c.Type == catalog.Money {
		return 2
	}
	return c.Scale
}

// number gives a number of a row; nil where a value is missing.
func (r *reference) number(at int, x row) *big.Rat {
	n := r.g.Nodes[at]
	var args []*big.Rat
	switch n.Op {
	case algo.OpConst:
		return n.Consts[0].Rat()
	case algo.OpColumn:
		v, c, _ := r.cell(n, x)
		if v == nil {
			return nil
		}
		return new(big.Rat).SetFrac(big.NewInt(v.(int64)), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale(c))), nil))
	case algo.OpPoints:
		l := r.label(n.Args[0], x)
		for _, p := range n.Points {
			if p.Label == l {
				return p.Value.Rat()
			}
		}
		return n.Consts[0].Rat()
	case algo.OpSelect:
		if r.flag(n.Args[0], x) {
			return r.number(n.Args[1], x)
		}
		return r.number(n.Args[2], x)
	}
	for _, a := range n.Args {
		v := r.number(a, x)
		if v == nil {
			return nil
		}
		args = append(args, v)
	}
	return arithmetic(n, args)
}

func arithmetic(n algo.Node, args []*big.Rat) *big.Rat {
	out := new(big.Rat)
	switch n.Op {
	case algo.OpAdd:
		return out.Add(args[0], args[1])
	case algo.OpSub:
		return out.Sub(args[0], args[1])
	case algo.OpMul:
		return out.Mul(args[0], args[1])
	case algo.OpDiv:
		if args[1].Sign() == 0 {
			return nil
		}
		return out.Quo(args[0], args[1])
	case algo.OpPoly:
		power := big.NewRat(1, 1)
		for _, c := range n.Consts {
			out.Add(out, new(big.Rat).Mul(power, c.Rat()))
			power = new(big.Rat).Mul(power, args[0])
		}
		return out
	}
	panic(n.Op)
}

func (r *reference) flag(at int, x row) bool {
	n := r.g.Nodes[at]
	switch n.Op {
	case algo.OpIn:
		return slices.Contains(n.Labels, r.label(n.Args[0], x))
	case algo.OpAtLeast:
		v := r.number(n.Args[0], x)
		return v != nil && v.Cmp(n.Consts[0].Rat()) >= 0
	case algo.OpNot:
		return !r.flag(n.Args[0], x)
	case algo.OpAnd:
		return !slices.ContainsFunc(n.Args, func(a int) bool { return !r.flag(a, x) })
	case algo.OpOr:
		return slices.ContainsFunc(n.Args, func(a int) bool { return r.flag(a, x) })
	}
	panic(n.Op)
}

func (r *reference) label(at int, x row) string {
	n := r.g.Nodes[at]
	if n.Op == algo.OpBands {
		v := r.number(n.Args[0], x)
		if v == nil {
			return catalog.Missing
		}
		low, high := "", ""
		for _, e := range n.Consts {
			if v.Cmp(e.Rat()) >= 0 {
				low = string(e)
			} else if high == "" {
				high = string(e)
			}
		}
		switch {
		case low == "":
			return "<" + high
		case high == "":
			return "≥" + low
		}
		return low + "-" + high
	}
	v, c, d := r.cell(n, x)
	if v == nil {
		return catalog.Missing
	}
	if n.Bin == "" {
		if c.Type == catalog.Int {
			return strconv.FormatInt(v.(int64), 10)
		}
		return v.(string)
	}
	b, _ := d.Bin(sandbox.BinID(n.Bin))
	if b.Kind == catalog.Codes {
		for _, g := range b.Groups {
			if slices.Contains(g.Codes, v.(string)) {
				return g.Label
			}
		}
		return catalog.Other
	}
	born := time.Unix(v.(int64)*86400, 0).UTC() // an age at new year
	if b.Kind == catalog.Year {
		return strconv.Itoa(born.Year())
	}
	years := int64(2026 - born.Year())
	if born.YearDay() > 1 {
		years--
	}
	label := b.Labels()[0]
	for i, e := range b.Edges {
		if years >= e {
			label = b.Labels()[i+1]
		}
	}
	return label
}

// aggregate gives an aggregate of a group's rows; nil where it is not defined.
func (r *reference) aggregate(at int, rows []row) *big.Rat {
	n := r.g.Nodes[at]
	var values []*big.Rat
	measured := func() (sum *big.Rat) {
		sum = new(big.Rat)
		for _, x := range rows {
			v := r.number(n.Args[1], x)
			if v != nil && n.Op == algo.OpDot {
				if w := r.number(n.Args[2], x); w == nil {
					v = nil
				} else {
					v = new(big.Rat).Mul(v, w)
				}
			}
			if v != nil {
				values = append(values, v)
				sum.Add(sum, v)
			}
		}
		return sum
	}
	switch n.Op {
	case algo.OpConst:
		return n.Consts[0].Rat()
	case algo.OpCount:
		return big.NewRat(int64(len(rows)), 1)
	case algo.OpSubjects:
		seen := map[sandbox.Pseudonym]bool{}
		for _, x := range rows {
			seen[x.who] = true
		}
		return big.NewRat(int64(len(seen)), 1)
	case algo.OpSum, algo.OpDot:
		return measured()
	case algo.OpMean:
		sum := measured()
		if len(values) == 0 {
			return nil
		}
		sum.Quo(sum, big.NewRat(int64(len(values)), 1))
		if c := r.g.Nodes[n.Args[1]]; c.Op == algo.OpColumn { // a column's own mean has its decimals
			_, col, _ := r.cell(c, rows[0])
			sum.SetString(sum.FloatString(scale(col)))
		}
		return sum
	case algo.OpDistinct:
		seen := map[string]bool{}
		for _, x := range rows {
			if l := r.label(n.Args[1], x); l != catalog.Missing {
				seen[l] = true
			}
		}
		return big.NewRat(int64(len(seen)), 1)
	}
	var args []*big.Rat
	for _, a := range n.Args {
		v := r.aggregate(a, rows)
		if v == nil {
			return nil
		}
		args = append(args, v)
	}
	return arithmetic(n, args)
}

// table gives the rows of a revealed table.
func (r *reference) table(sink int) compile.Filled {
	n := r.g.Nodes[sink]
	groups := r.g.Nodes[n.Args[0]]
	out := compile.Filled{Name: n.Name, Rows: [][]string{}}
	by := map[string][]row{}
	labels := map[string][]string{}
	for _, x := range r.rows(groups.Args[0]) {
		var l []string
		for _, a := range groups.Args[1:] {
			if r.t.Of[a].Kind == algo.KindLabel {
				l = append(l, r.label(a, x))
			} else {
				l = append(l, map[bool]string{true: "yes", false: "no"}[r.flag(a, x)])
			}
		}
		k := fmt.Sprintf("%q", l)
		by[k], labels[k] = append(by[k], x), l
	}
	for k, rows := range by {
		cells := slices.Clone(labels[k])
		for _, a := range n.Args[1:] {
			v := ""
			if x := r.aggregate(a, rows); x != nil {
				v = strings.TrimRight(strings.TrimRight(x.FloatString(6), "0"), ".")
				if v == "-0" {
					v = "0"
				}
			}
			cells = append(cells, v)
		}
		out.Rows = append(out.Rows, cells)
	}
	dims := len(groups.Names)
	slices.SortFunc(out.Rows, func(a, b []string) int { return slices.Compare(a[:dims], b[:dims]) })
	return out
}
