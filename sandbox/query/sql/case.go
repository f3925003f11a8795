package sql

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// branch is one WHEN of a CASE, or its ELSE when it tests nothing.
type branch struct {
	label           string
	null            bool // THEN NULL
	missing         bool // WHEN column IS NULL
	bounds          *bounds
	codes, prefixes []string
}

// gives says what a branch gives a row whose value is missing.
func (b branch) missingOnly() bool { return b.null || b.label == catalog.Missing }

// cased finds the registered bin that a CASE equals: the same borders or codes under the same labels, the first WHEN that
// holds giving the label, a missing value apart from all of them.
func (c *compiler) cased(sc *scope, n *ast.CaseExpr) label {
	at := n.OriginTextPosition()
	var of *column
	var when []branch
	var last *branch // ELSE; nil: NULL
	for _, w := range n.WhenClauses {
		b := c.when(sc, n, w.Expr, &of)
		b.label, b.null = c.then(w.Result)
		when = append(when, b)
	}
	if n.ElseClause != nil {
		var b branch
		b.label, b.null = c.then(n.ElseClause)
		last = &b
	}
	for i := range of.in.set.Bins {
		b := &of.in.set.Bins[i]
		if b.Column == of.name && equals(b, when, last) && (!of.desc.Nullable && !of.in.left || apart(when, last)) {
			return label{of: *of, bin: b}
		}
	}
	c.refuse(at, "sql.case", "CASE", "a CASE is a registered bin: its borders or codes and its labels, and a missing value is none of them (WHEN … IS NULL THEN NULL first, or no ELSE)", binsOf(*of))
	return label{}
}

func (c *compiler) then(e ast.ExprNode) (string, bool) {
	v, ok := literal(e)
	if !ok || v.kind != textLiteral && v.kind != nullLiteral {
		c.refuse(e.OriginTextPosition(), "sql.case", "THEN or ELSE", "a CASE gives the labels of a registered bin", "THEN 'label'")
	}
	return v.text, v.kind == nullLiteral
}

// when reads the test of one branch. All branches test one column.
func (c *compiler) when(sc *scope, n *ast.CaseExpr, e ast.ExprNode, of **column) branch {
	at := e.OriginTextPosition()
	bad := func() {
		c.refuse(at, "sql.case", "WHEN", "a CASE tests one column with =, IN, a range, LIKE 'code%' or IS NULL", "WHEN amount < 100 THEN '<100'")
	}
	test := func(x ast.ExprNode) {
		col, ok := bare(x).(*ast.ColumnNameExpr)
		if !ok {
			bad()
		}
		got := c.resolve(sc, col)
		if *of != nil && !(*of).same(got) {
			bad()
		}
		*of = &got
	}
	text := func(x ast.ExprNode) string {
		v, ok := literal(x)
		if !ok || v.kind != textLiteral || (*of).desc.Type != catalog.Text {
			bad()
		}
		return v.text
	}
	var out branch
	if n.Value != nil {
		test(n.Value)
		out.codes = []string{text(e)}
		return out
	}
	if i, ok := bare(e).(*ast.IsNullExpr); ok && !i.Not {
		test(i.Expr)
		out.missing = true
		return out
	}
	for _, part := range conjuncts(e) {
		r, ok := c.bounds(sc, part)
		if !ok || r.not || *of != nil && !(*of).same(r.of) || out.bounds != nil && out.bounds.years != r.years {
			if out.bounds != nil {
				bad()
			}
			break
		}
		*of = &r.of
		if out.bounds != nil {
			r = out.bounds.and(r)
		}
		out.bounds = &r
	}
	if out.bounds != nil {
		return out
	}
	for _, part := range disjuncts(e) {
		switch p := bare(part).(type) {
		case *ast.BinaryOperationExpr:
			if p.Op != opcode.EQ {
				bad()
			}
			test(p.L)
			out.codes = append(out.codes, text(p.R))
		case *ast.PatternInExpr:
			if p.Not {
				bad()
			}
			test(p.Expr)
			for _, v := range p.List {
				out.codes = append(out.codes, text(v))
			}
		case *ast.PatternLikeOrIlikeExpr:
			test(p.Expr)
			code, ok := strings.CutSuffix(text(p.Pattern), "%")
			if !ok || !p.IsLike || p.Not || strings.ContainsAny(code, `%_\`) {
				bad()
			}
			out.prefixes = append(out.prefixes, code)
		default:
			bad()
		}
	}
	return out
}

// disjuncts lists what OR joins.
func disjuncts(e ast.ExprNode) []ast.ExprNode {
	if b, ok := bare(e).(*ast.BinaryOperationExpr); ok && b.Op == opcode.LogicOr {
		return append(disjuncts(b.L), disjuncts(b.R)...)
	}
	return []ast.ExprNode{e}
}

// apart says whether a missing value gets no label of a value.
func apart(when []branch, last *branch) bool {
	for _, b := range when {
		if b.missing {
			return b.missingOnly()
		}
	}
	return last == nil || last.missingOnly()
}

// equals says whether the branches give every value that is there the label the bin gives it.
func equals(b *catalog.Bin, when []branch, last *branch) bool {
	var tests []branch
	for _, w := range when {
		if !w.missing {
			tests = append(tests, w)
		}
	}
	otherwise := func(label string) bool { return last != nil && !last.null && last.label == label }
	switch b.Kind {
	case catalog.Age, catalog.Amount:
		sets := make([][]string, len(tests))
		for i, t := range tests {
			if t.bounds == nil {
				return false
			}
			var ok bool
			if sets[i], ok = t.bounds.labels(b); !ok {
				return false
			}
		}
		for _, l := range b.Labels() {
			i := slices.IndexFunc(sets, func(s []string) bool { return slices.Contains(s, l) })
			if i < 0 && !otherwise(l) || i >= 0 && (tests[i].null || tests[i].label != l) {
				return false
			}
		}
		return true
	case catalog.Codes, catalog.Prefix:
		type rule struct {
			code, label string
		}
		var cases, bins []rule // in the order of the text
		for _, t := range tests {
			codes, others := t.codes, t.prefixes
			if b.Kind == catalog.Prefix {
				codes, others = t.prefixes, t.codes
			}
			if len(others) > 0 || t.bounds != nil || t.null {
				return false
			}
			for _, code := range codes {
				cases = append(cases, rule{code, t.label})
			}
		}
		for _, g := range b.Groups {
			for _, code := range g.Codes {
				bins = append(bins, rule{code, g.Label})
			}
		}
		matches := func(r rule, code string) bool {
			return r.code == code || b.Kind == catalog.Prefix && strings.HasPrefix(code, r.code)
		}
		// Both sides agree everywhere when they agree on every code either of them names and on what none of them names.
		for _, at := range slices.Concat(cases, bins) {
			want := catalog.Other
			for longest, i := -1, 0; i < len(bins); i++ {
				if matches(bins[i], at.code) && len(bins[i].code) > longest {
					longest, want = len(bins[i].code), bins[i].label
				}
			}
			i := slices.IndexFunc(cases, func(r rule) bool { return matches(r, at.code) })
			if i < 0 && !otherwise(want) || i >= 0 && cases[i].label != want {
				return false
			}
		}
		return otherwise(catalog.Other)
	}
	return false
}
