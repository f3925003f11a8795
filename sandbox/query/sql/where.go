package sql

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	driver "github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// label is what groups and filters speak of: a column itself, or a registered bin of it.
type label struct {
	of  column
	bin *catalog.Bin
}

func (l label) id() sandbox.BinID {
	if l.bin == nil {
		return ""
	}
	return l.bin.ID
}

func (l label) same(o label) bool { return l.of.same(o.of) && l.id() == o.id() }

// shown is how a hint writes it.
func (l label) shown() string {
	if l.bin == nil {
		return l.of.shown()
	}
	return "BIN(" + l.of.shown() + ", " + quote(string(l.bin.ID)) + ")"
}

// predicate keeps the rows whose label is in the set, or, if not, is not in it.
type predicate struct {
	label
	not bool
	set []string // sorted
}

func (p predicate) filter() query.Filter {
	return query.Filter{Column: p.of.ref(), Bin: p.id(), In: p.set, Not: p.not}
}

// where reads the conditions that AND joins. Bounds of one column among them are one range.
func (c *compiler) where(sc *scope, e ast.ExprNode) []predicate {
	if e == nil {
		return nil
	}
	var out []predicate
	var ranges []bounds
	for _, part := range conjuncts(e) {
		r, ok := c.bounds(sc, part)
		if !ok {
			out = append(out, c.predicate(sc, part))
			continue
		}
		i := slices.IndexFunc(ranges, func(o bounds) bool { return !o.not && !r.not && o.of.same(r.of) && o.years == r.years })
		if i < 0 {
			ranges = append(ranges, r)
			continue
		}
		ranges[i] = ranges[i].and(r)
	}
	for _, r := range ranges {
		out = append(out, c.bins(r))
	}
	return out
}

// predicate reads one condition.
func (c *compiler) predicate(sc *scope, e ast.ExprNode) predicate {
	e = bare(e)
	at := e.OriginTextPosition()
	switch n := e.(type) {
	case *ast.BinaryOperationExpr:
		switch n.Op {
		case opcode.LogicOr, opcode.LogicAnd:
			return c.combine(at, c.predicate(sc, n.L), c.predicate(sc, n.R), n.Op == opcode.LogicOr)
		case opcode.EQ, opcode.NE:
			if r, ok := c.bounds(sc, n); ok {
				return c.bins(r)
			}
			l, v := n.L, n.R
			if _, ok := literal(l); ok {
				l, v = v, l
			}
			return c.in(sc, at, l, []ast.ExprNode{v}, n.Op == opcode.NE)
		case opcode.LT, opcode.LE, opcode.GT, opcode.GE:
			if r, ok := c.bounds(sc, n); ok {
				return c.bins(r)
			}
		}
	case *ast.PatternInExpr:
		return c.in(sc, at, n.Expr, n.List, n.Not)
	case *ast.BetweenExpr:
		if r, ok := c.bounds(sc, n); ok {
			return c.bins(r)
		}
	case *ast.IsNullExpr:
		if l, ok := c.label(sc, n.Expr); ok {
			return predicate{label: l, not: n.Not, set: []string{catalog.Missing}}
		}
	case *ast.UnaryOperationExpr:
		if n.Op == opcode.Not || n.Op == opcode.Not2 {
			return c.negate(sc, at, bare(n.V))
		}
	case *ast.PatternLikeOrIlikeExpr:
		c.refuse(at, "sql.pattern", "LIKE", "rows are kept by labels, not by patterns", "column IN ('…'), or BIN(column, 'bin') IN ('…')")
	case *ast.IsTruthExpr, *ast.ColumnNameExpr:
		c.refuse(at, "sql.where", "truth of a column", "a condition compares a column with its labels", "column = TRUE")
	case *driver.ValueExpr:
		c.refuse(at, "sql.where", "constant condition", "a condition compares a column with its labels", "leave it out")
	}
	c.refuse(at, "sql.where", "condition", "a condition is =, <>, IN, NOT IN, IS NULL or a range of whole bins, on a column or a bin of it", "column IN ('…'), or BIN(column, 'bin') IN ('…')")
	return predicate{}
}

// negate turns one comparison round. A missing value meets neither it nor its negation.
func (c *compiler) negate(sc *scope, at int, e ast.ExprNode) predicate {
	switch n := e.(type) {
	case *ast.BinaryOperationExpr:
		if n.Op == opcode.LogicAnd || n.Op == opcode.LogicOr || n.Op == opcode.LogicXor {
			c.refuse(at, "sql.where", "NOT of a combination", "NOT stands before one comparison", "column NOT IN (…) AND …")
		}
	case *ast.IsNullExpr:
		p := c.predicate(sc, n)
		p.not = !p.not
		return p
	case *ast.UnaryOperationExpr:
		c.refuse(at, "sql.where", "NOT of NOT", "NOT stands before one comparison", "take both out")
	}
	return c.opposite(c.predicate(sc, e))
}

// opposite is the negation of a comparison: both leave out the rows where the value is missing.
func (c *compiler) opposite(p predicate) predicate {
	if p.not {
		p.set = slices.DeleteFunc(slices.Clone(p.set), func(s string) bool { return s == catalog.Missing })
	} else {
		p.set = union(p.set, []string{catalog.Missing})
	}
	p.not = !p.not
	return p
}

// combine joins two conditions on one label.
func (c *compiler) combine(at int, a, b predicate, or bool) predicate {
	if a.of.same(b.of) { // a column and its bin are missing together
		if b.bin == nil && slices.Equal(b.set, []string{catalog.Missing}) {
			b.label = a.label
		} else if a.bin == nil && slices.Equal(a.set, []string{catalog.Missing}) {
			a.label = b.label
		}
	}
	if !a.same(b.label) {
		c.refuse(at, "sql.where", "OR over several columns", "a question's conditions are joined by AND; OR joins labels of one column or bin", "ask two questions, or "+a.shown()+" IN ('…')")
	}
	if !or { // De Morgan
		a.not, b.not = !a.not, !b.not
	}
	out := predicate{label: a.label}
	switch {
	case !a.not && !b.not:
		out.set = union(a.set, b.set)
	case a.not && b.not:
		out.not, out.set = true, common(a.set, b.set)
	case a.not:
		out.not, out.set = true, without(a.set, b.set)
	default:
		out.not, out.set = true, without(b.set, a.set)
	}
	if !or {
		out.not = !out.not
	}
	if len(out.set) == 0 {
		c.refuse(at, "sql.where", "condition", "a condition keeps some rows and leaves some out", "leave it out, or write it with IN")
	}
	return out
}

// in reads a comparison of a label with a list of values.
func (c *compiler) in(sc *scope, at int, e ast.ExprNode, list []ast.ExprNode, not bool) predicate {
	l, ok := c.label(sc, e)
	if !ok {
		c.refuse(at, "sql.where", "left side of a comparison", "a condition compares a column, or a registered bin of it, with its labels", "column IN ('…'), or BIN(column, 'bin') IN ('…')")
	}
	if len(list) > query.MaxLabels {
		c.refuse(at, "sql.invalid", "IN", "a condition has at most "+strconv.Itoa(query.MaxLabels)+" labels", "filter by fewer, or by a coarser bin")
	}
	p := predicate{label: l}
	for _, v := range list {
		if _, column := bare(v).(*ast.ColumnNameExpr); column {
			c.refuse(v.OriginTextPosition(), "sql.where", "column on both sides", "a condition compares a column with labels; a value in single quotes", l.shown()+" = '…'")
		}
		p.set = union(p.set, []string{c.spelled(l, v)})
	}
	if not {
		return c.opposite(p)
	}
	return p
}

// label reads a column, BIN(column, 'id'), YEAR(column) or a CASE that equals a bin; false for anything else.
func (c *compiler) label(sc *scope, e ast.ExprNode) (label, bool) {
	switch n := bare(e).(type) {
	case *ast.ColumnNameExpr:
		return label{of: c.resolve(sc, n)}, true
	case *ast.CaseExpr:
		return c.cased(sc, n), true
	case *ast.FuncCallExpr:
		at := n.OriginTextPosition()
		switch n.FnName.L {
		case "bin":
			var col *ast.ColumnNameExpr
			if len(n.Args) == 2 {
				col, _ = bare(n.Args[0]).(*ast.ColumnNameExpr)
			}
			if col == nil {
				c.refuse(at, "sql.bin", "BIN", "BIN takes a column and the id of a bin registered on it", "BIN(column, 'bin')")
			}
			of := c.resolve(sc, col)
			b, ok := of.in.set.Bin(sandbox.BinID(idOf(n.Args[1])))
			if !ok || b.Column != of.name {
				c.refuse(n.Args[1].OriginTextPosition(), "sql.bin", "unregistered bin", "a bin is one the unit registered on this column", binsOf(of))
			}
			return label{of: of, bin: b}, true
		case "year":
			if len(n.Args) != 1 {
				return label{}, false
			}
			col, ok := bare(n.Args[0]).(*ast.ColumnNameExpr)
			if !ok {
				return label{}, false
			}
			of := c.resolve(sc, col)
			for i := range of.in.set.Bins {
				if b := &of.in.set.Bins[i]; b.Column == of.name && b.Kind == catalog.Year {
					return label{of: of, bin: b}, true
				}
			}
			c.refuse(at, "sql.bin", "YEAR", "YEAR is a bin the unit registered on this column", binsOf(of))
		}
	}
	return label{}, false
}

// idOf reads the second part of BIN, a value or a quoted name.
func idOf(e ast.ExprNode) string {
	if v, ok := literal(e); ok && v.kind == textLiteral {
		return v.text
	}
	if n, ok := bare(e).(*ast.ColumnNameExpr); ok && n.Name.Table.O == "" {
		return n.Name.Name.O
	}
	return ""
}

// binsOf lists the bins of a column as they are written.
func binsOf(of column) string {
	var out []string
	for i := range of.in.set.Bins {
		if b := &of.in.set.Bins[i]; b.Column == of.name {
			out = append(out, label{of, b}.shown())
		}
	}
	if len(out) == 0 {
		if of.desc != nil && of.desc.Public {
			return of.shown() + " itself, which is public"
		}
		return "have the unit register a bin on " + of.shown()
	}
	return strings.Join(out, ", or ")
}

// spelled gives the label that a value is for a column or bin.
func (c *compiler) spelled(l label, e ast.ExprNode) string {
	at := e.OriginTextPosition()
	v, ok := literal(e)
	if !ok {
		c.refuse(at, "sql.literal", "value", "a label is a plain value", l.shown()+" IN ('…')")
	}
	if v.kind == nullLiteral {
		c.refuse(at, "sql.null", "NULL", "a missing value equals nothing; it is asked for by itself", l.shown()+" IS NULL")
	}
	if v.text == catalog.Missing {
		c.refuse(at, "sql.null", "the label of a missing value", "a missing value equals nothing; it is asked for by itself", l.shown()+" IS NULL")
	}
	if l.bin == nil {
		t, ok := spell(l.of.desc, v)
		if !ok {
			c.refuse(at, "sql.literal", "value", "a value has the type of its column: "+typeOf(l.of.desc), l.shown()+" = "+example(l.of.desc))
		}
		return t
	}
	if l.bin.Kind == catalog.Year && v.kind == numberLiteral || v.kind == textLiteral {
		if gives(l.bin, v.text) {
			return v.text
		}
	}
	c.refuse(at, "sql.label", "unknown label", "a label is one the bin can give", l.shown()+" IN ("+labels(l.bin)+")")
	return ""
}

// gives says whether a bin can give a label, that of a missing value apart.
func gives(b *catalog.Bin, l string) bool {
	switch b.Kind {
	case catalog.Age, catalog.Amount:
		return slices.Contains(b.Labels(), l)
	case catalog.Year:
		n, err := strconv.ParseUint(l, 10, 16)
		return l == catalog.Other || err == nil && n >= 1 && n <= 9999 && strconv.FormatUint(n, 10) == l
	}
	return l == catalog.Other || slices.ContainsFunc(b.Groups, func(g catalog.Group) bool { return g.Label == l })
}

// spell prints a value as the labels of a public column are printed.
func spell(d *catalog.Column, v lit) (string, bool) {
	switch d.Type {
	case catalog.Text:
		return v.text, v.kind == textLiteral
	case catalog.Bool:
		return v.text, v.kind == boolLiteral || v.kind == textLiteral && (v.text == "true" || v.text == "false")
	case catalog.Date:
		_, ok := query.Value(d, v.text)
		return v.text, ok && v.kind == textLiteral
	}
	n, err := sandbox.ParseDecimal(v.text, scaleOf(d))
	if err != nil || v.kind == boolLiteral {
		return "", false
	}
	return query.Label(d, n), true
}

func scaleOf(d *catalog.Column) int {
	if d.Type == catalog.Money {
		return 2
	}
	return d.Scale
}

func typeOf(d *catalog.Column) string {
	switch d.Type {
	case catalog.Text:
		return "text in single quotes"
	case catalog.Bool:
		return "TRUE or FALSE"
	case catalog.Date:
		return "a date 'YYYY-MM-DD'"
	case catalog.Int:
		return "a whole number"
	}
	return "a number with at most " + strconv.Itoa(scaleOf(d)) + " decimals"
}

func example(d *catalog.Column) string {
	switch d.Type {
	case catalog.Text:
		return "'…'"
	case catalog.Bool:
		return "TRUE"
	case catalog.Date:
		return "'YYYY-MM-DD'"
	}
	return "0"
}

// labels lists some labels of a bin, for a hint.
func labels(b *catalog.Bin) string {
	const most = 12
	out := b.Labels()
	switch b.Kind {
	case catalog.Year:
		return "'YYYY'"
	case catalog.Prefix, catalog.Codes:
		for _, g := range b.Groups {
			out = append(out, g.Label)
		}
		out = append(out, catalog.Other)
	}
	more := ""
	if len(out) > most {
		out, more = out[:most], ", …"
	}
	for i, l := range out {
		out[i] = quote(l)
	}
	return strings.Join(out, ", ") + more
}

type litKind uint8

const (
	textLiteral litKind = iota
	numberLiteral
	boolLiteral
	nullLiteral
)

// lit is a value of the text.
type lit struct {
	kind litKind
	text string
}

// literal reads a plain value; false for anything else, binary and floating-point forms included.
func literal(e ast.ExprNode) (lit, bool) {
	switch n := bare(e).(type) {
	case *driver.ValueExpr:
		switch n.Kind() {
		case driver.KindNull:
			return lit{kind: nullLiteral}, true
		case driver.KindInt64:
			if n.Type.GetFlag()&mysql.IsBooleanFlag != 0 {
				return lit{boolLiteral, strconv.FormatBool(n.GetInt64() != 0)}, true
			}
			return lit{numberLiteral, strconv.FormatInt(n.GetInt64(), 10)}, true
		case driver.KindUint64:
			return lit{numberLiteral, strconv.FormatUint(n.GetUint64(), 10)}, true
		case driver.KindMysqlDecimal:
			return lit{numberLiteral, n.GetMysqlDecimal().String()}, true
		case driver.KindString:
			return lit{textLiteral, n.GetString()}, true
		}
	case *ast.UnaryOperationExpr:
		if v, ok := literal(n.V); ok && n.Op == opcode.Minus && v.kind == numberLiteral && !strings.HasPrefix(v.text, "-") {
			return lit{numberLiteral, "-" + v.text}, true
		}
	case *ast.FuncCallExpr:
		if n.FnName.L == ast.DateLiteral && len(n.Args) == 1 {
			return literal(n.Args[0])
		}
	}
	return lit{}, false
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
