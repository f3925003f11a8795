package sql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	driver "github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

const anyMeasure = "COUNT(*), COUNT(DISTINCT …), SUM, AVG, VAR_SAMP, STDDEV_SAMP, MIN, MAX, PERCENTILE_DISC, HISTOGRAM, COVAR_SAMP, CORR, SUM(a) / SUM(b), DOT_PRODUCT, LINEAR_REGRESSION or LOGISTIC_REGRESSION"

// instead says what to write for a function that is not the measure it looks like.
var instead = map[string]string{
	"variance": "VAR_SAMP(column): over n-1", "var_pop": "VAR_SAMP(column): over n-1", "std": "STDDEV_SAMP(column): over n-1",
	"stddev": "STDDEV_SAMP(column): over n-1", "stddev_pop": "STDDEV_SAMP(column): over n-1", "median": "PERCENTILE_DISC(column, 0.5)",
	"percentile_cont": "PERCENTILE_DISC(column, 0.5): a value that is there", "approx_percentile": "PERCENTILE_DISC(column, 0.5)", "quantile": "PERCENTILE_DISC(column, 0.5)",
	"approx_count_distinct": "COUNT(DISTINCT column)", "covar_pop": "COVAR_SAMP(a, b): over n-1", "group_concat": "COUNT(*) with GROUP BY",
	"json_arrayagg": "COUNT(*) with GROUP BY", "json_objectagg": "COUNT(*) with GROUP BY", "any_value": "GROUP BY the column",
	"linear_reg": "LINEAR_REGRESSION(y, x, …)", "regr_slope": "LINEAR_REGRESSION(y, x, …)", "regr_intercept": "LINEAR_REGRESSION(y, x, …)",
}

var aggregates = map[string]sandbox.MeasureFunc{"sum": sandbox.Sum, "avg": sandbox.Mean, "var_samp": sandbox.Variance, "stddev_samp": sandbox.StdDev,
	"min": sandbox.Min, "max": sandbox.Max}

// measure reads one output that is no grouping. Its name is left to the caller.
func (c *compiler) measure(sc *scope, e ast.ExprNode) query.Measure {
	e = bare(e) // the place is the function's, whose next words are looked at
	at := e.OriginTextPosition()
	switch n := e.(type) {
	case *ast.AggregateFuncExpr:
		return c.aggregate(sc, at, n)
	case *ast.FuncCallExpr:
		return c.function(sc, at, n)
	case *ast.BinaryOperationExpr:
		a, ok1 := bare(n.L).(*ast.AggregateFuncExpr)
		b, ok2 := bare(n.R).(*ast.AggregateFuncExpr)
		if n.Op == opcode.Div && ok1 && ok2 && strings.EqualFold(a.F, "sum") && strings.EqualFold(b.F, "sum") && !a.Distinct && !b.Distinct {
			m := query.Measure{Func: sandbox.Ratio, Column: c.argument(sc, a.Args[0]), With: []string{c.argument(sc, b.Args[0])}}
			if m.With[0] == m.Column {
				c.again(b.Args[0], "SUM(a) / SUM(b)")
			}
			return m
		}
		c.refuse(at, "sql.arithmetic", "arithmetic", "a measure is one function; of arithmetic only one sum by another is, since it is judged as both", "SUM(a) / SUM(b), or ask the parts and calculate outside")
	case *ast.UnaryOperationExpr:
		c.refuse(at, "sql.arithmetic", "arithmetic", "a measure is one function", "ask the measure and calculate outside")
	case *driver.ValueExpr:
		c.refuse(at, "sql.literal", "constant", "an answer says something about data", "leave it out")
	}
	c.refuse(at, "sql.measure", "expression", "a question's outputs are groupings and measures", anyMeasure)
	return query.Measure{}
}

func (c *compiler) aggregate(sc *scope, at int, n *ast.AggregateFuncExpr) query.Measure {
	f := strings.ToLower(n.F)
	if f == "count" {
		return c.count(sc, at, n)
	}
	fn, ok := aggregates[f]
	if !ok {
		change := instead[f]
		if change == "" {
			change = anyMeasure
		}
		c.refuse(at, "sql.measure", "function", "this aggregate is no measure", change)
	}
	if n.Distinct || c.says(at, "(", "DISTINCT") {
		c.refuse(at, "sql.distinct", "DISTINCT inside an aggregate", "only COUNT is over distinct values", strings.ToUpper(f)+"(column)")
	}
	return query.Measure{Func: fn, Column: c.argument(sc, n.Args[0])}
}

// says tells whether the next words after a place read so.
func (c *compiler) says(at int, words ...string) bool {
	for i, t := range c.tokens {
		if t.at < at {
			continue
		}
		for j, w := range words {
			if i+1+j >= len(c.tokens) || !strings.EqualFold(c.text[c.tokens[i+1+j].at:c.tokens[i+1+j].end], w) {
				return false
			}
		}
		return true
	}
	return false
}

func (c *compiler) count(sc *scope, at int, n *ast.AggregateFuncExpr) query.Measure {
	const forms = "COUNT(*), COUNT(DISTINCT _subject), or COUNT(DISTINCT column)"
	if len(n.Args) != 1 {
		c.refuse(at, "sql.count", "COUNT of several columns", "COUNT counts rows, subjects, or the labels of one column or bin", forms)
	}
	if !n.Distinct {
		if !c.says(at, "(", "*", ")") {
			c.refuse(at, "sql.count", "COUNT of a column", "COUNT counts rows", "COUNT(*), with WHERE column IS NOT NULL for the rows where it is there")
		}
		return query.Measure{Func: sandbox.Count}
	}
	l, ok := c.label(sc, n.Args[0])
	if !ok {
		c.inside(n.Args[0])
	}
	if l.bin == nil && l.of.subject() {
		if !l.of.in.same || l.of.in.left {
			c.refuse(l.of.at, "sql.subject", "subject of a joined input", "subjects are the protected subjects of the first input, which are counted and protected", "COUNT(DISTINCT "+sc.sources[0].alias+"."+Subject+")")
		}
		return query.Measure{Func: sandbox.Subjects}
	}
	return query.Measure{Func: sandbox.Distinct, Column: l.of.ref(), Bin: l.id()}
}

// again refuses a column that a measure has already.
func (c *compiler) again(e ast.ExprNode, form string) {
	c.refuse(e.OriginTextPosition(), "sql.same", "column that stands before", "the columns of a measure are different ones", form)
}

func (c *compiler) function(sc *scope, at int, n *ast.FuncCallExpr) query.Measure {
	takes := func(least, most int, form string) {
		if len(n.Args) < least || len(n.Args) > most {
			c.refuse(at, "sql.arguments", "number of arguments", "a function has its arguments, no more and no less", form)
		}
	}
	two := func(fn sandbox.MeasureFunc, form string) query.Measure {
		takes(2, 2, form)
		m := query.Measure{Func: fn, Column: c.argument(sc, n.Args[0]), With: []string{c.argument(sc, n.Args[1])}}
		if m.With[0] == m.Column {
			c.again(n.Args[1], form)
		}
		return m
	}
	regression := func(fn sandbox.MeasureFunc, form string) query.Measure {
		takes(2, 1+query.MaxRegressors, form)
		m := query.Measure{Func: fn, Column: c.argument(sc, n.Args[0])}
		for _, x := range n.Args[1:] {
			w := c.argument(sc, x)
			if w == m.Column || slices.Contains(m.With, w) {
				c.again(x, form)
			}
			m.With = append(m.With, w)
		}
		return m
	}
	f := n.FnName.L
	if f == histogram && strings.EqualFold(c.text[at:at+len(f)], "histogram") {
		f = "histogram"
	}
	switch f {
	case "percentile_disc":
		takes(2, 2, "PERCENTILE_DISC(column, 0.5)")
		v, ok := literal(n.Args[1])
		q, err := sandbox.ParseDecimal(v.text, 3)
		if !ok || v.kind != numberLiteral || err != nil || q < 1 || q > 999 {
			c.refuse(n.Args[1].OriginTextPosition(), "sql.quantile", "rank", "a rank is above 0 and below 1 with at most three decimals", "PERCENTILE_DISC(column, 0.5)")
		}
		return query.Measure{Func: sandbox.Quantile, Column: c.argument(sc, n.Args[0]), Q: int(q)}
	case "histogram":
		takes(1, 1, "HISTOGRAM(BIN(column, 'bin'))")
		l, ok := c.label(sc, n.Args[0])
		if !ok {
			c.inside(n.Args[0])
		}
		if l.bin == nil {
			c.refuse(n.Args[0].OriginTextPosition(), "sql.bin", "HISTOGRAM of a column", "a histogram counts the labels of a registered bin", "HISTOGRAM(BIN(column, 'bin')): "+binsOf(l.of))
		}
		return query.Measure{Func: sandbox.Histogram, Column: l.of.ref(), Bin: l.id()}
	case "covar_samp":
		return two(sandbox.Covariance, "COVAR_SAMP(a, b)")
	case "corr":
		return two(sandbox.Correlation, "CORR(a, b)")
	case "dot_product":
		takes(1, 2, "DOT_PRODUCT(a, b)")
		m := query.Measure{Func: sandbox.Dot, Column: c.argument(sc, n.Args[0])}
		if len(n.Args) > 1 {
			m.With = []string{c.argument(sc, n.Args[1])}
		}
		return m
	case "linear_regression":
		return regression(sandbox.Linear, "LINEAR_REGRESSION(y, x, …)")
	case "logistic_regression":
		return regression(sandbox.Logistic, "LOGISTIC_REGRESSION(y, x, …)")
	default:
		change := instead[f]
		if change == "" {
			change = anyMeasure
		}
		c.refuse(at, "sql.function", "function", "a question uses the functions that are measures, BIN, YEAR and TIMESTAMPDIFF", change)
	}
	return query.Measure{}
}

// argument reads the one column a measure is of.
func (c *compiler) argument(sc *scope, e ast.ExprNode) string {
	n, ok := bare(e).(*ast.ColumnNameExpr)
	if !ok {
		c.inside(e)
	}
	return c.resolve(sc, n).ref()
}

// inside refuses what stands inside an aggregate instead of a column.
func (c *compiler) inside(e ast.ExprNode) {
	at := e.OriginTextPosition()
	const rule = "a measure is of a column as it is"
	switch n := bare(e).(type) {
	case *ast.CaseExpr:
		c.refuse(at, "sql.inside", "CASE inside an aggregate", rule+": a condition inside would be a filter that is not checked as one", "WHERE, or GROUP BY BIN(column, 'bin')")
	case *ast.BinaryOperationExpr, *ast.UnaryOperationExpr:
		c.refuse(at, "sql.inside", "arithmetic inside an aggregate", rule+": weights of the asker's choice would solve for single values", "SUM(column)")
	case *ast.FuncCallExpr:
		c.refuse(at, "sql.inside", "function inside an aggregate", rule+": a function of the asker's choice would be a filter or a weight", "SUM(column)")
	case *ast.AggregateFuncExpr:
		c.refuse(at, "sql.inside", "aggregate inside an aggregate", rule, "SUM(column)")
	case *driver.ValueExpr:
		c.refuse(at, "sql.inside", "constant inside an aggregate", rule, "COUNT(*)")
	default:
		_ = n
		c.refuse(at, "sql.inside", "expression inside an aggregate", rule, "SUM(column)")
	}
}

// called is the name of a measure that is given none.
func called(m query.Measure) string {
	_, col, _ := strings.Cut(m.Column, ".")
	switch m.Func {
	case sandbox.Count, sandbox.Subjects:
		return string(m.Func)
	case sandbox.Quantile:
		return fmt.Sprintf("quantile_%03d_%s", m.Q, col)
	}
	return string(m.Func) + "_" + col
}
