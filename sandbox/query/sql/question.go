package sql

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// output is one column of SELECT.
type output struct {
	as    string
	at    int
	label *label // a grouping; nil: a measure
	m     query.Measure
}

// question compiles a statement in the order it is computed: FROM, WHERE, GROUP BY, SELECT, HAVING, ORDER BY.
func (c *compiler) question(n *ast.SelectStmt) query.Spec {
	var spec query.Spec
	c.with(n.With)
	start := c.after(n)
	sc := c.from(&spec, start, n.From)
	var kept []predicate
	for _, s := range sc.sources {
		kept = append(kept, s.where...)
	}
	for _, p := range append(kept, c.where(sc, n.Where)...) {
		spec.Filters = append(spec.Filters, p.filter())
	}
	outs := c.outputs(sc, start, n)
	c.groups(sc, start, n.GroupBy, outs)
	for _, o := range outs {
		if o.label != nil {
			spec.Dimensions = append(spec.Dimensions, query.Dimension{Column: o.label.of.ref(), Bin: o.label.id(), As: o.as})
		} else {
			spec.Measures = append(spec.Measures, o.m)
		}
	}
	if len(spec.Measures) == 0 {
		c.refuse(outs[0].at, "sql.measure", "SELECT without a measure", "labels alone would list small groups; an answer is a measure over each", "add COUNT(*)")
	}
	if n.Having != nil {
		for _, part := range conjuncts(n.Having.Expr) {
			spec.Having = append(spec.Having, c.having(sc, outs, part))
		}
	}
	spec.Top = c.top(sc, start, n, outs)
	return spec
}

// after gives the place of a statement's own SELECT, behind its common tables.
func (c *compiler) after(n *ast.SelectStmt) int {
	if len(n.Fields.Fields) > 0 && n.Fields.Fields[0].Expr != nil {
		return n.Fields.Fields[0].Expr.OriginTextPosition()
	}
	return 0
}

func (c *compiler) outputs(sc *scope, start int, n *ast.SelectStmt) []output {
	var outs []output
	if most := query.MaxDimensions + query.MaxMeasures; len(n.Fields.Fields) > most {
		c.refuse(start, "sql.invalid", "SELECT", "a question has at most "+strconv.Itoa(most)+" outputs", "ask less at once")
	}
	for _, f := range n.Fields.Fields {
		if f.WildCard != nil {
			c.refuse(c.find(c.find(0, "SELECT"), "*"), "sql.star", "*", "rows and raw values never leave; an answer is a measure over groups of people", "SELECT COUNT(*) …")
		}
		o := output{as: f.AsName.O, at: f.Expr.OriginTextPosition()}
		if l, ok := c.label(sc, f.Expr); ok {
			o.label = &l
			if o.as == "" {
				o.as = l.of.name
				if l.bin != nil {
					o.as = string(l.bin.ID)
				}
			}
		} else {
			o.m = c.measure(sc, f.Expr)
			if o.as == "" {
				o.as = called(o.m)
			}
		}
		if taken := func(as string) bool {
			return slices.ContainsFunc(outs, func(p output) bool { return p.as == as })
		}; f.AsName.O == "" {
			base := o.as
			for i := 2; taken(o.as); i++ {
				o.as = base + "_" + strconv.Itoa(i)
			}
		} else if taken(o.as) {
			c.refuse(o.at, "sql.alias", "output name", "an output has a name of its own", "name it otherwise with AS")
		}
		o.m.As = o.as
		outs = append(outs, o)
	}
	return outs
}

// groups holds GROUP BY and the groupings of SELECT to each other.
func (c *compiler) groups(sc *scope, start int, g *ast.GroupByClause, outs []output) {
	grouped := make([]bool, len(outs))
	if g != nil {
		for _, item := range g.Items {
			if item.Expr == nil {
				continue
			}
			at := item.Expr.OriginTextPosition()
			i := c.output(sc, outs, item.Expr)
			if i < 0 {
				if _, ok := c.label(sc, item.Expr); !ok {
					c.refuse(at, "sql.group", "GROUP BY", "a question groups by public columns, registered bins, or a CASE that equals one", "GROUP BY column, BIN(column, 'bin')")
				}
				c.refuse(at, "sql.group", "grouping that is not selected", "each group shows its labels", "put it into SELECT too")
			}
			if outs[i].label == nil {
				c.refuse(at, "sql.group", "GROUP BY a measure", "a question groups by public columns and registered bins", "GROUP BY column, BIN(column, 'bin')")
			}
			grouped[i] = true
		}
	}
	for i, o := range outs {
		if o.label != nil && !grouped[i] {
			c.refuse(o.at, "sql.bare", "column outside an aggregate", "rows and raw values never leave; an answer is a measure over groups of people", groupOf(o.label))
		}
	}
}

// groupOf shows how a label, or a bin of its column, is grouped by.
func groupOf(l *label) string {
	if l.bin != nil || l.of.desc != nil && l.of.desc.Public {
		return "GROUP BY " + l.shown()
	}
	if bins := binsOf(l.of); strings.HasPrefix(bins, "BIN") {
		return "GROUP BY " + bins
	}
	return binsOf(l.of)
}

// output finds the output an expression means: by position, by name, or by being the same. -1 for none.
func (c *compiler) output(sc *scope, outs []output, e ast.ExprNode) int {
	switch n := bare(e).(type) {
	case *ast.PositionExpr:
		if n.N < 1 || n.N > len(outs) {
			c.refuse(c.find(c.find(0, "BY"), strconv.Itoa(n.N)), "sql.order", "position", "a position is of an output, from 1", "name the output")
		}
		return n.N - 1
	case *ast.ColumnNameExpr:
		if n.Name.Table.O == "" {
			if i := slices.IndexFunc(outs, func(o output) bool { return o.as == n.Name.Name.O }); i >= 0 {
				return i
			}
		}
	}
	if l, ok := c.label(sc, e); ok {
		return slices.IndexFunc(outs, func(o output) bool { return o.label != nil && o.label.same(l) })
	}
	return -1
}

// measured finds the output an expression of HAVING or ORDER BY means.
func (c *compiler) measured(sc *scope, outs []output, e ast.ExprNode) int {
	switch bare(e).(type) {
	case *ast.PositionExpr, *ast.ColumnNameExpr, *ast.CaseExpr:
		return c.output(sc, outs, e)
	}
	m := c.measure(sc, e)
	return slices.IndexFunc(outs, func(o output) bool {
		return o.label == nil && o.m.Func == m.Func && o.m.Column == m.Column && o.m.Bin == m.Bin && o.m.Q == m.Q && slices.Equal(o.m.With, m.With)
	})
}

// having reads one condition on shown groups.
func (c *compiler) having(sc *scope, outs []output, e ast.ExprNode) query.Having {
	at := e.OriginTextPosition()
	bad := func() {
		c.refuse(at, "sql.having", "HAVING", "groups are shown from a number of rows or subjects on", "HAVING COUNT(*) >= 20")
	}
	n, ok := bare(e).(*ast.BinaryOperationExpr)
	if !ok {
		bad()
	}
	of, v, op := n.L, n.R, n.Op
	if _, ok := literal(of); ok {
		of, v = v, of
		op = map[opcode.Op]opcode.Op{opcode.LE: opcode.GE, opcode.LT: opcode.GT}[op]
	}
	l, ok := literal(v)
	least, err := strconv.ParseInt(l.text, 10, 64)
	if !ok || l.kind != numberLiteral || err != nil || op != opcode.GE && op != opcode.GT || least == math.MaxInt64 {
		bad()
	}
	if op == opcode.GT {
		least++
	}
	switch bare(of).(type) {
	case *ast.AggregateFuncExpr, *ast.ColumnNameExpr:
	default:
		bad()
	}
	i := c.measured(sc, outs, of)
	if agg, ok := bare(of).(*ast.AggregateFuncExpr); i < 0 && ok {
		if f := c.measure(sc, agg).Func; f != sandbox.Count && f != sandbox.Subjects {
			bad() // to select it too would not do
		}
	}
	if i < 0 {
		c.refuse(at, "sql.having", "HAVING on what is not selected", "a condition on groups is on a measure that is shown", "put it into SELECT too")
	}
	if f := outs[i].m.Func; outs[i].label != nil || f != sandbox.Count && f != sandbox.Subjects {
		bad()
	}
	return query.Having{Measure: outs[i].as, AtLeast: least}
}

// top reads ORDER BY … DESC LIMIT …, which stand together or not at all.
func (c *compiler) top(sc *scope, start int, n *ast.SelectStmt, outs []output) *query.Top {
	const form = "ORDER BY measure DESC LIMIT 10"
	switch {
	case n.OrderBy == nil && n.Limit == nil:
		return nil
	case n.OrderBy == nil:
		c.refuse(c.find(start, "LIMIT", "FETCH"), "sql.limit", "LIMIT without ORDER BY", "which groups are shown is said, not left to chance", form)
	case n.Limit == nil:
		c.refuse(c.find(start, "ORDER"), "sql.order", "ORDER BY without LIMIT", "an answer comes in the order of its labels; the order by a measure chooses the first few", form)
	case n.Limit.Offset != nil:
		c.refuse(c.find(c.find(start, "LIMIT"), "OFFSET", ","), "sql.limit", "OFFSET", "the first groups are shown; pages through the rest would be questions of their own", form)
	case len(n.OrderBy.Items) != 1:
		c.refuse(n.OrderBy.Items[1].Expr.OriginTextPosition(), "sql.order", "second key of ORDER BY", "groups are ordered by one measure; equal ones by their labels", form)
	}
	item := n.OrderBy.Items[0]
	at := item.Expr.OriginTextPosition()
	if !item.Desc {
		c.refuse(at, "sql.order", "ascending ORDER BY", "the largest groups are shown: the smallest are those nearest to people", form)
	}
	i := c.measured(sc, outs, item.Expr)
	if i < 0 || outs[i].label != nil {
		c.refuse(at, "sql.order", "ORDER BY", "groups are ordered by a measure that is shown", "put it into SELECT too: "+form)
	}
	v, ok := literal(n.Limit.Count)
	k, err := strconv.Atoi(v.text)
	if !ok || err != nil || k < 1 || k > query.MaxTop {
		c.refuse(cmp.Or(n.Limit.Count.OriginTextPosition(), c.find(start, "LIMIT")), "sql.limit", "LIMIT", "LIMIT is a whole number from 1 to "+strconv.Itoa(query.MaxTop), form)
	}
	return &query.Top{By: outs[i].as, K: k}
}
