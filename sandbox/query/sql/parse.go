package sql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // literals without TiDB's types: the parser wants one driver linked

	_ "github.com/opdomain/opdomain/sandbox/query/sql/inert" // before the parser reads the environment
)

// parse reads the text as one SELECT. Quotes are standard SQL's: "…" is a name, a backslash is itself.
func (c *compiler) parse() *ast.SelectStmt {
	p := parser.New()
	p.SetSQLMode(mysql.ModeANSIQuotes | mysql.ModeNoBackslashEscapes | mysql.ModeIgnoreSpace)
	stmts, _, err := p.ParseSQL(c.callable())
	if err != nil { // its text quotes ours: only the place is taken
		c.refuse(c.syntaxAt(err.Error()), "sql.syntax", "word or sign", "a question is one SELECT statement in standard SQL; names with a hyphen or dot stand in double quotes, values in single ones",
			"SELECT measure, … FROM \"dataset\" AS d WHERE … GROUP BY …")
	}
	if len(stmts) != 1 {
		c.refuse(0, "sql.statements", "text", "a question is one SELECT statement", "ask each statement by itself")
	}
	switch s := stmts[0].(type) {
	case *ast.SelectStmt:
		s.Accept(&guard{c: c, common: map[*ast.SubqueryExpr]bool{}})
		c.at = 0
		return s
	case *ast.SetOprStmt:
		c.refuse(c.find(0, "UNION", "EXCEPT", "INTERSECT"), "sql.set", "UNION, EXCEPT or INTERSECT", "a question is one SELECT statement", "ask each SELECT by itself")
	}
	c.refuse(c.tokens[0].at, "sql.statement", "statement other than SELECT", "a question reads and changes nothing", "SELECT measure, … FROM …")
	return nil
}

// histogram is what the parser reads for HISTOGRAM, in which it sees a keyword that calls nothing. It is as long.
const histogram = "histogra_"

func (c *compiler) callable() string {
	text := []byte(c.text)
	for i, t := range c.tokens[:len(c.tokens)-1] {
		if t.kind == word && strings.EqualFold(c.text[t.at:t.end], "histogram") && c.text[c.tokens[i+1].at] == '(' {
			copy(text[t.at:t.end], histogram)
		}
	}
	return string(text)
}

// syntaxAt finds the place in a message of the parser, which ends in the rest of the text it could not read.
func (c *compiler) syntaxAt(message string) int {
	_, rest, ok := strings.Cut(message, ` near "`)
	if !ok {
		return 0
	}
	rest = strings.TrimRight(rest, " ")
	if rest, ok := strings.CutSuffix(rest, `"`); ok && strings.HasSuffix(c.callable(), rest) {
		return c.skip(len(c.text) - len(rest))
	}
	if i := strings.LastIndex(rest, "(total length "); i >= 0 {
		if n, err := strconv.Atoi(strings.TrimSuffix(rest[i+len("(total length "):], ")")); err == nil {
			return c.skip(len(c.text) - n)
		}
	}
	return 0
}

// skip gives the first word or sign from an offset on; at the end of the text the last one.
func (c *compiler) skip(at int) int {
	for _, t := range c.tokens {
		if t.end > at {
			return t.at
		}
	}
	return c.tokens[len(c.tokens)-1].at
}

// guard refuses, before anything is compiled, what no part of a question can be, and bounds the depth.
type guard struct {
	c      *compiler
	depth  int
	common map[*ast.SubqueryExpr]bool // selects of common tables
}

func (g *guard) Enter(n ast.Node) (ast.Node, bool) {
	g.depth++
	at := g.c.at
	if e, ok := n.(ast.ExprNode); ok {
		at = max(at, e.OriginTextPosition())
		g.c.at = at
	}
	if g.depth > MaxDepth {
		g.c.refuse(at, "sql.depth", "nesting", fmt.Sprintf("a question nests at most %d deep", MaxDepth), "write conditions one beside the other, lists with IN")
	}
	switch n := n.(type) {
	case *ast.SelectStmt:
		g.statement(n)
	case *ast.SetOprStmt:
		g.c.refuse(g.c.find(at, "UNION", "EXCEPT", "INTERSECT"), "sql.set", "UNION, EXCEPT or INTERSECT", "a question is one SELECT statement", "ask each SELECT by itself")
	case *ast.WithClause:
		for _, t := range n.CTEs {
			g.common[t.Query] = true
		}
	case *ast.ExistsSubqueryExpr, *ast.CompareSubqueryExpr:
		g.subquery(at)
	case *ast.SubqueryExpr:
		if !g.common[n] {
			g.subquery(at)
		}
	case *ast.WindowFuncExpr:
		g.c.refuse(at, "sql.window", "window function", "a measure is over the rows of a cell; a row beside others never leaves", "aggregate with GROUP BY")
	case *ast.VariableExpr:
		g.c.refuse(at, "sql.variable", "variable", "a question keeps nothing between statements", "write the value")
	case *ast.SetCollationExpr:
		g.c.refuse(at, "sql.collate", "COLLATE", "labels are compared as the catalogue writes them", "leave COLLATE out")
	case *ast.PatternRegexpExpr:
		g.c.refuse(at, "sql.pattern", "regular expression", "rows are kept by labels, not by patterns", "column IN ('…'), or BIN(column, 'bin') IN ('…')")
	case *ast.RowExpr:
		g.c.refuse(at, "sql.row", "row of values", "each column is compared by itself", "a = … AND b = …")
	case *ast.FuncCastExpr:
		g.c.refuse(at, "sql.function", "CAST or CONVERT", "a column is used as it is described", "leave the conversion out")
	}
	return n, false
}

func (g *guard) Leave(n ast.Node) (ast.Node, bool) {
	g.depth--
	return n, true
}

func (g *guard) subquery(at int) {
	g.c.refuse(at, "sql.subquery", "subquery in an expression", "a condition is on labels known before any data is read", "JOIN the table by its key, or list the labels")
}

// statement refuses the parts of a SELECT that a question cannot have.
func (g *guard) statement(n *ast.SelectStmt) {
	c := g.c
	from := c.at
	if n.Kind != ast.SelectStmtKindSelect {
		c.refuse(c.find(from, "TABLE", "VALUES"), "sql.statement", "TABLE or VALUES", "a question is a SELECT of measures", "SELECT measure, … FROM …")
	}
	if n.Distinct {
		c.refuse(c.find(from, "DISTINCT", "DISTINCTROW"), "sql.distinct", "SELECT DISTINCT", "labels alone would list small groups; an answer is a measure over each", "SELECT column, COUNT(*) … GROUP BY column")
	}
	if len(n.TableHints) > 0 {
		c.refuse(from, "sql.hint", "optimizer hint", "how a question is computed is the engine's to choose", "leave it out")
	}
	if o := n.SelectStmtOpts; o != nil && (o.SQLBigResult || o.SQLBufferResult || o.SQLSmallResult || !o.SQLCache || o.CalcFoundRows || o.StraightJoin || o.Priority != 0 || o.ExplicitAll) {
		c.refuse(c.find(from, "SQL_BIG_RESULT", "SQL_BUFFER_RESULT", "SQL_SMALL_RESULT", "SQL_NO_CACHE", "SQL_CALC_FOUND_ROWS", "STRAIGHT_JOIN", "HIGH_PRIORITY", "LOW_PRIORITY", "DELAYED", "ALL"),
			"sql.option", "SELECT option", "how a question is computed is the engine's to choose", "leave it out")
	}
	if n.SelectIntoOpt != nil {
		c.refuse(c.find(from, "INTO"), "sql.into", "INTO", "an answer leaves through review alone", "leave INTO out")
	}
	if n.LockInfo != nil {
		c.refuse(c.find(from, "FOR", "LOCK"), "sql.lock", "locking clause", "a question changes and holds nothing", "leave it out")
	}
	if len(n.WindowSpecs) > 0 {
		c.refuse(c.find(from, "WINDOW"), "sql.window", "WINDOW", "a measure is over the rows of a cell; a row beside others never leaves", "aggregate with GROUP BY")
	}
	if n.GroupBy != nil && n.GroupBy.Rollup {
		c.refuse(c.find(from, "ROLLUP"), "sql.rollup", "WITH ROLLUP", "subtotals beside their parts would undo a suppression", "ask the coarser grouping by itself")
	}
	if n.From == nil {
		c.refuse(c.find(from, "SELECT"), "sql.from", "SELECT without FROM", "a question is over a dataset", "SELECT measure, … FROM \"dataset\"")
	}
}
