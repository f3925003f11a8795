package sql

import (
	"math"
	"strconv"
	"time"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// bounds is a half-open range [low, high) of a column in its scaled unit, dates in days since 1970-01-01. With years it is
// of the full years from the column's date to that day, 2006-01-02.
type bounds struct {
	of        column
	years     string
	low, high int64 // math.MinInt64, math.MaxInt64: open
	not       bool  // NOT BETWEEN, <>
	at        int
}

func (b bounds) and(o bounds) bounds {
	b.low, b.high = max(b.low, o.low), min(b.high, o.high)
	return b
}

// bounds reads <, <=, >, >= and BETWEEN of a column, YEAR(column) or TIMESTAMPDIFF(YEAR, column, 'day') with values, and =
// of the last; false for anything else.
func (c *compiler) bounds(sc *scope, e ast.ExprNode) (bounds, bool) {
	e = bare(e)
	at := e.OriginTextPosition()
	whole := func(of ast.ExprNode, low, high ast.ExprNode, lowIn, highIn, not bool) (bounds, bool) {
		q, ok := c.quantity(sc, of)
		if !ok {
			return bounds{}, false
		}
		b := bounds{of: q.of, years: q.years, low: math.MinInt64, high: math.MaxInt64, not: not, at: at}
		if low != nil {
			if b.low, ok = c.bound(q, low, !lowIn); !ok {
				return bounds{}, false
			}
		}
		if high != nil {
			if b.high, ok = c.bound(q, high, highIn); !ok {
				return bounds{}, false
			}
		}
		return b, true
	}
	switch n := e.(type) {
	case *ast.BetweenExpr:
		return whole(n.Expr, n.Left, n.Right, true, true, n.Not)
	case *ast.BinaryOperationExpr:
		of, v, op := n.L, n.R, n.Op
		if _, ok := literal(of); ok {
			of, v = v, of
			op = map[opcode.Op]opcode.Op{opcode.LT: opcode.GT, opcode.LE: opcode.GE, opcode.GT: opcode.LT, opcode.GE: opcode.LE, opcode.EQ: opcode.EQ, opcode.NE: opcode.NE}[op]
		}
		switch op {
		case opcode.LT, opcode.LE:
			return whole(of, nil, v, false, op == opcode.LE, false)
		case opcode.GT, opcode.GE:
			return whole(of, v, nil, op == opcode.GE, false, false)
		case opcode.EQ, opcode.NE:
			if f, ok := bare(of).(*ast.FuncCallExpr); ok && f.FnName.L == "timestampdiff" {
				return whole(of, v, v, true, true, op == opcode.NE)
			}
		}
	}
	return bounds{}, false
}

// quantity is what a range is of.
type quantity struct {
	of    column
	year  bool   // YEAR(column)
	years string // TIMESTAMPDIFF
}

func (c *compiler) quantity(sc *scope, e ast.ExprNode) (quantity, bool) {
	switch n := bare(e).(type) {
	case *ast.ColumnNameExpr:
		of := c.resolve(sc, n)
		if of.desc == nil || of.desc.Type == catalog.Text || of.desc.Type == catalog.Bool {
			c.refuse(of.at, "sql.range", "range", "a range is of numbers, money or dates", of.shown()+" IN ('…')")
		}
		return quantity{of: of}, true
	case *ast.FuncCallExpr:
		date := func(i int) (column, bool) {
			col, ok := bare(n.Args[i]).(*ast.ColumnNameExpr)
			if !ok {
				return column{}, false
			}
			of := c.resolve(sc, col)
			return of, of.desc != nil && of.desc.Type == catalog.Date
		}
		switch {
		case n.FnName.L == "year" && len(n.Args) == 1:
			of, ok := date(0)
			return quantity{of: of, year: true}, ok
		case n.FnName.L == "timestampdiff" && len(n.Args) == 3:
			unit, _ := n.Args[0].(*ast.TimeUnitExpr)
			day, ok := literal(n.Args[2])
			if unit == nil || unit.Unit != ast.TimeUnitYear || !ok || day.kind != textLiteral {
				return quantity{}, false
			}
			of, ok := date(1)
			return quantity{of: of, years: day.text}, ok
		}
	}
	return quantity{}, false
}

// bound reads a value in the unit of a range; next gives the first one above it.
func (c *compiler) bound(q quantity, e ast.ExprNode, next bool) (int64, bool) {
	v, ok := literal(e)
	if !ok {
		return 0, false
	}
	n, up := int64(0), int64(0)
	if next {
		up = 1
	}
	var err error
	switch {
	case q.year:
		if n, err = sandbox.ParseDecimal(v.text, 0); err == nil && v.kind == numberLiteral && n >= 1 && n < 9999 {
			return day(int(n+up), 1, 1), true
		}
		ok = false
	case q.years != "":
		n, err = sandbox.ParseDecimal(v.text, 0)
		ok = err == nil && v.kind == numberLiteral
	case q.of.desc.Type == catalog.Date:
		n, ok = query.Value(q.of.desc, v.text)
		ok = ok && v.kind == textLiteral
	default:
		n, err = sandbox.ParseDecimal(v.text, scaleOf(q.of.desc))
		ok = err == nil && v.kind == numberLiteral
	}
	if !ok || n == math.MaxInt64 {
		want := "a whole number"
		if !q.year && q.years == "" {
			want = typeOf(q.of.desc)
		}
		c.refuse(e.OriginTextPosition(), "sql.literal", "bound of a range", "a bound has the type of its column: "+want, whole(q.of))
	}
	return n + up, true
}

func day(y, m, d int) int64 {
	return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60)
}

// bins turns a range into the labels of the first bin of its column that the range is made of.
func (c *compiler) bins(r bounds) predicate {
	if r.low >= r.high {
		c.refuse(r.at, "sql.range", "range", "a range holds something", "put the lower bound first")
	}
	for i := range r.of.in.set.Bins {
		b := &r.of.in.set.Bins[i]
		if b.Column != r.of.name {
			continue
		}
		if set, ok := r.labels(b); ok {
			p := predicate{label: label{of: r.of, bin: b}, set: union(set, nil)}
			if r.not {
				return c.opposite(p)
			}
			return p
		}
	}
	c.refuse(r.at, "sql.range", "range", "a range is made of whole registered bins, else questions side by side would cut people out", whole(r.of))
	return predicate{}
}

// whole shows the bins of a column with their labels, for a hint.
func whole(of column) string {
	for i := range of.in.set.Bins {
		if b := &of.in.set.Bins[i]; b.Column == of.name {
			return label{of, b}.shown() + " IN (" + labels(b) + ")"
		}
	}
	if of.desc != nil && of.desc.Public {
		return of.shown() + " IN (" + example(of.desc) + ", …)"
	}
	return binsOf(of)
}

// labels lists the labels of a bin that make up the range exactly; false when they do not.
func (r bounds) labels(b *catalog.Bin) ([]string, bool) {
	switch b.Kind {
	case catalog.Amount:
		return between(b.Labels(), b.Edges, r.low, r.high)
	case catalog.Age:
		if r.years != "" {
			if r.years != b.At {
				return nil, false
			}
			return between(b.Labels(), b.Edges, r.low, r.high)
		}
		// Born on or before the last day that has reached an age: the older, the earlier.
		all := b.Labels()
		edges := make([]int64, len(b.Edges))
		names := make([]string, len(all))
		for i, e := range b.Edges {
			last, ok := reaches(b.At, e)
			if !ok {
				return nil, false
			}
			edges[len(edges)-1-i] = last + 1
		}
		for i, l := range all {
			names[len(names)-1-i] = l
		}
		return between(names, edges, r.low, r.high)
	case catalog.Year:
		if r.years != "" || r.low == math.MinInt64 || r.high == math.MaxInt64 {
			return nil, false // a list of years has two ends
		}
		first, next := time.Unix(r.low*24*60*60, 0).UTC(), time.Unix(r.high*24*60*60, 0).UTC()
		if first.YearDay() != 1 || next.YearDay() != 1 || next.Year()-first.Year() > query.MaxLabels || first.Year() < 1 || next.Year() > 9999 {
			return nil, false
		}
		var out []string
		for y := first.Year(); y < next.Year(); y++ {
			out = append(out, strconv.Itoa(y))
		}
		return out, true
	}
	return nil, false
}

// between picks the names of the intervals that edges cut which make up [low, high).
func between(names []string, edges []int64, low, high int64) ([]string, bool) {
	from, to := 0, len(names)
	if low != math.MinInt64 {
		if from = indexOf(edges, low) + 1; from == 0 {
			return nil, false
		}
	}
	if high != math.MaxInt64 {
		if to = indexOf(edges, high) + 1; to == 0 {
			return nil, false
		}
	}
	return names[from:to], from < to
}

func indexOf(edges []int64, v int64) int {
	for i, e := range edges {
		if e == v {
			return i
		}
	}
	return -1
}

// reaches gives the last day of birth whose full years at a day are at least so many. Who is born on 29 February completes a
// year on 1 March where there is no 29 February, as the engine counts.
func reaches(at string, years int64) (int64, bool) {
	t, err := time.Parse(time.DateOnly, at)
	if err != nil || years < -10_000 || years > 10_000 {
		return 0, false
	}
	d := time.Date(t.Year()-int(years), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	last := d.Unix() / (24 * 60 * 60)
	if d.Day() != t.Day() {
		last--
	}
	return last, true
}
