// Package sql compiles SQL text to the domain's question (SQL 查询前端): one SELECT over aggregates in, one query.Spec out. It
// is the only package that imports the parser (TiDB's), and no package of the core imports this one: text of an asker is
// parsed where nothing of value is, in the front end's process or on the asker's own machine, and only the Spec goes on.
//
// What compiles. Names are quoted with "…" or `…` where they hold a hyphen or a dot; values with '…'.
//
//	FROM "ds-claims@3" AS c                      an input, in version 3; without @ the current one
//	JOIN | LEFT JOIN p ON c.k = p.k AND …        declared join keys; c._subject = p._subject: the protected subject
//	WHERE … AND …                                =, <>, IN, NOT IN, IS [NOT] NULL on public columns and bins; OR on one of them
//	      amount >= 100 AND amount < 500         a range that is exactly whole bins; BETWEEN; YEAR(d) = 2024;
//	      TIMESTAMPDIFF(YEAR, born, '2026-01-01') >= 65
//	GROUP BY sex, BIN(born, 'age-band'), YEAR(d), CASE … END   public columns, registered bins, a CASE that equals one
//	COUNT(*)  COUNT(DISTINCT _subject)           count, subjects; COUNT(DISTINCT sex | BIN(…)): distinct
//	SUM AVG VAR_SAMP STDDEV_SAMP MIN MAX         of one column
//	PERCENTILE_DISC(amount, 0.5)                 quantile, a rank of at most three decimals
//	HISTOGRAM(BIN(amount, 'cost-band'))          histogram
//	SUM(a) / SUM(b)  COVAR_SAMP(a, b)  CORR(a, b)  DOT_PRODUCT(a, b)
//	LINEAR_REGRESSION(y, x1, …)  LOGISTIC_REGRESSION(y, x1, …)
//	HAVING COUNT(*) >= 20                        shown cells, after the gate
//	ORDER BY cost DESC LIMIT 10                  the first cells by one measure, after the gate
//	WITH x AS (SELECT … FROM t WHERE …)          one table with columns left out, renamed or filtered
//
// Missing values follow SQL: a comparison never keeps a row whose value is missing, so <> and NOT IN leave those rows out,
// and only IS NULL asks for them.
//
// All else is refused: a Refusal is a value with a code, the place, the rule and the nearest form that compiles. It depends on the
// text and on the descriptions alone, and quotes neither a value nor an unknown name out of the text. Text puts a Spec back
// into SQL that compiles to the same Spec.
//
// Bounds: MaxText bytes, MaxTokens words, MaxDepth levels; a panic of the parser is a refusal. It decides nothing: columns, uses and
// functions are judged by query.Derive and by policy, on the Spec.
package sql

import (
	"fmt"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Bounds of one text. What compiles is much smaller: see query.MaxBytes.
const (
	MaxText   = 1 << 20 // bytes
	MaxTokens = 1 << 15
	MaxDepth  = 100
	maxWord   = 1 << 10 // bytes of one value or name
	maxTables = 16      // common tables
)

// Subject is the pseudo-column of every table that stands for its protected subject (受保护主体). No column can be called so.
const Subject = "_subject"

// Descriptions (目录描述) are the datasets an asker may see, by id.
type Descriptions map[sandbox.DatasetID]catalog.Dataset

// Refusal (不予编译) says why a text is no question: where, what stands there, the rule, and what to write instead.
type Refusal struct {
	Code      string `json:"code"`      // stable: sql, a dot and a word
	Construct string `json:"construct"` // what stands there, in this package's words
	Line      int    `json:"line"`      // from 1
	Column    int    `json:"column"`    // in characters, from 1
	Rule      string `json:"rule"`
	Change    string `json:"change"` // nearest form that compiles
}

// String prints a refusal in one line.
func (r *Refusal) String() string {
	return fmt.Sprintf("%s at line %d, column %d: %s: %s; %s", r.Code, r.Line, r.Column, r.Construct, r.Rule, r.Change)
}

// Compile turns a text into the question it asks, over the datasets the asker may see. Exactly one of both results is set. Equal
// texts over equal descriptions give equal results.
func Compile(text string, in Descriptions, scenario sandbox.ScenarioID, purpose string) (s *query.Spec, r *Refusal) {
	c := &compiler{text: text, sets: in, tables: map[string]*source{}}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *Refusal:
			s, r = nil, p
		default: // of the parser, or a fault here: the text is not a question either way
			s, r = nil, &Refusal{Code: "sql.syntax", Construct: "statement", Line: 1, Column: 1, Rule: "a question is one SELECT statement that can be read",
				Change: "write it more simply"}
		}
	}()
	c.scan()
	stmt := c.parse()
	spec := c.question(stmt)
	spec.Scenario, spec.Purpose = scenario, purpose
	if err := spec.Validate(); err != nil { // bounds and names; says no values
		c.refuse(0, "sql.invalid", "question", "a question is well formed: "+strings.TrimPrefix(err.Error(), "query: "), "ask less at once, or in another form")
	}
	if n := len(spec.Canonical()); n > query.MaxBytes {
		c.refuse(0, "sql.invalid", "question", fmt.Sprintf("a question has at most %d bytes once compiled", query.MaxBytes), "filter by fewer labels")
	}
	return &spec, nil
}

// compiler holds one text on its way. Its methods end by panicking with a *Refusal, which Compile takes.
type compiler struct {
	text   string
	tokens []token
	sets   Descriptions
	tables map[string]*source // common tables by name
	open   map[string]bool    // common tables not yet read
	at     int                // where a construct without a place of its own was last seen
}

// refuse ends the compilation at a byte offset of the text.
func (c *compiler) refuse(at int, code, construct, rule, change string) {
	line, column := c.place(at)
	panic(&Refusal{Code: code, Construct: construct, Line: line, Column: column, Rule: rule, Change: change})
}

// place counts lines and characters, both from 1.
func (c *compiler) place(at int) (line, column int) {
	before := c.text[:min(max(at, 0), len(c.text))]
	line = strings.Count(before, "\n") + 1
	column = len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	return line, column
}
