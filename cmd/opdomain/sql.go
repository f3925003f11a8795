package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/query/sql"
)

// asked is where a question comes from: a JSON Spec, or SQL with a scenario and purpose.
type asked struct {
	spec, text, file, scenario, purpose string

	program string // of ask and explain
	bind    []string
}

func (q *asked) flags(c *cobra.Command) *cobra.Command {
	f := c.Flags()
	f.StringVar(&q.spec, "spec", "", "JSON question, - for standard input; fine and coarse of a shipped map show the form")
	q.textFlags(c)
	f.StringVar(&q.program, "program", "", "approved algorithm, NAME-VERSION as algo list shows it")
	f.StringSliceVar(&q.bind, "bind", nil, "which dataset an input of the program is, INPUT=DATASET; else the one of its name")
	c.MarkFlagsOneRequired("spec", "sql", "sql-file", "program")
	c.MarkFlagsMutuallyExclusive("spec", "sql", "sql-file", "program")
	return c
}

// sqlExample shows what SQL may ask.
const sqlExample = `  opdomain query explain --scenario sc-1 --purpose research --sql-file q.sql

  SELECT BIN(p.birth_date, 'age-band') AS age, COUNT(*) AS n, AVG(c.amount) AS mean, PERCENTILE_DISC(c.amount, 0.5) AS median
  FROM "ds-claims" AS c JOIN "ds-persons" AS p ON c._subject = p._subject
  WHERE p.sex = '1' GROUP BY age HAVING COUNT(*) >= 20 ORDER BY n DESC LIMIT 10

  measures: COUNT(*), COUNT(DISTINCT _subject | column | BIN(…)), SUM, AVG, VAR_SAMP, STDDEV_SAMP, MIN, MAX, PERCENTILE_DISC,
  HISTOGRAM(BIN(…)), SUM(a) / SUM(b), CORR, COVAR_SAMP, DOT_PRODUCT, LINEAR_REGRESSION(y, x, …), LOGISTIC_REGRESSION(y, x, …)
  bins and columns of a dataset: opdomain catalog show DATASET`

func (q *asked) textFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&q.text, "sql", "", "question in SQL: SELECT measure, … FROM \"dataset\" …; what compiles: go doc ./sandbox/query/sql")
	f.StringVar(&q.file, "sql-file", "", "file with a question in SQL, - for standard input")
	f.StringVar(&q.scenario, "scenario", "", "scenario of a question in SQL")
	f.StringVar(&q.purpose, "purpose", "", "purpose code of a question in SQL, the scenario's")
}

// sql gives the text and says whether the question is one in SQL.
func (q *asked) sql(a *app) (string, bool, error) {
	if q.spec != "" {
		if q.scenario != "" || q.purpose != "" {
			return "", false, usageError{invalid("--scenario and --purpose", "a JSON question says both itself", "leave them out")}
		}
		return "", false, nil
	}
	if q.scenario == "" || q.purpose == "" {
		return "", true, usageError{invalid("--scenario and --purpose", "a question in SQL is asked for a scenario and its purpose", "e.g. --scenario sc-1 --purpose medical-insurance-research")}
	}
	for what, id := range map[string]string{"scenario": q.scenario, "purpose": q.purpose} {
		if err := sandbox.CheckID(what, id); err != nil {
			return "", true, err
		}
	}
	if q.file == "" {
		return q.text, true, nil
	}
	b, err := a.readFile(q.file)
	return string(b), true, err
}

// question reads the question. SQL is compiled here, on the asker's side: what the asker signs is what this program understood, and
// no server is trusted with that.
func (q *asked) question(ctx context.Context, a *app, s *session) (query.Spec, error) {
	text, isSQL, err := q.sql(a)
	if err != nil {
		return query.Spec{}, err
	}
	if !isSQL {
		return a.spec(q.spec)
	}
	sets, err := result[[]catalog.Dataset](s.api.ListDatasets(ctx))
	if err != nil {
		return query.Spec{}, err
	}
	in := sql.Descriptions{}
	for _, d := range sets {
		in[d.ID] = d
	}
	spec, r := sql.Compile(text, in, sandbox.ScenarioID(q.scenario), q.purpose)
	if r != nil {
		return query.Spec{}, &uncompiled{text, api.SQLRefusal(*r)}
	}
	return *spec, nil
}

// compileSQL is the compiler of a front end.
func compileSQL(r api.SQLRequest, in map[sandbox.DatasetID]catalog.Dataset) api.Compiled {
	spec, refusal := sql.Compile(r.Text, in, r.Scenario, r.Purpose)
	if refusal != nil {
		x := api.SQLRefusal(*refusal)
		return api.Compiled{Refusal: &x}
	}
	return api.Compiled{Spec: spec, Text: sql.Text(*spec)}
}

// uncompiled is a text that asks no question. The text is the asker's own and is shown to nobody else.
type uncompiled struct {
	text    string
	refusal api.SQLRefusal
}

func (u *uncompiled) Error() string { return "refused " + u.refusal.Code }

// print shows the place in the text, the rule and the nearest form that compiles.
func (u *uncompiled) print(w io.Writer) {
	r := u.refusal
	fmt.Fprintf(w, "refused 不予受理:\n  %s: %s at line %d, column %d\n", r.Code, r.Construct, r.Line, r.Column)
	if lines := strings.Split(u.text, "\n"); r.Line <= len(lines) {
		line, caret := excerpt(strings.TrimSuffix(lines[r.Line-1], "\r"), r.Column)
		fmt.Fprintf(w, "    %s\n    %s^\n", line, caret)
	}
	fmt.Fprintf(w, "    rule 规则     %s\n    change 可改为 %s\n", r.Rule, r.Change)
}

// excerpt cuts a line around a column, and gives what leads to it in a line below.
func excerpt(line string, column int) (shown, before string) {
	const around = 70
	runes := []rune(line)
	at := min(max(column-1, 0), len(runes))
	from, to := max(at-around, 0), min(at+around, len(runes))
	var b strings.Builder
	if from > 0 {
		b.WriteString(" ")
		shown = "…"
	}
	for _, r := range runes[from:at] {
		switch {
		case r == '\t':
			b.WriteRune('\t')
		case r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60:
			b.WriteString("  ") // two columns of a terminal
		default:
			b.WriteRune(' ')
		}
	}
	shown += string(runes[from:to])
	if to < len(runes) {
		shown += "…"
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, shown)
	return clean, b.String()
}

// explained is what explain prints: the question, which SQL may have been compiled to, and what would be decided.
type explained struct {
	Spec query.Spec `json:"spec"`
	SQL  string     `json:"sql"`
	api.Explanation
}

func (x explained) print(w io.Writer) {
	fmt.Fprintf(w, "question 查询:\n  %s\n", strings.ReplaceAll(strings.TrimSpace(x.SQL), "\n", "\n  "))
	if x.Decision.Allow {
		fmt.Fprintln(w, "allowed 准予: engine", x.Decision.Engine, "class", x.Decision.Class)
	}
	fmt.Fprint(w, x.Text)
}

// compileCommand has the domain's front end compile, for those who have no compiler of their own.
func (a *app) compileCommand() *cobra.Command {
	var q asked
	c := verb("compile", "Compile SQL at the domain's front end and print the question as JSON, for --spec (SQL 编译)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		text, _, err := q.sql(a)
		if err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		got, err := result[api.Compiled](s.api.CompileQuestion(c.Context(), api.SQLRequest{Scenario: sandbox.ScenarioID(q.scenario), Purpose: q.purpose, Text: text}))
		if err != nil {
			return err
		}
		if got.Refusal != nil {
			return &uncompiled{text, *got.Refusal}
		}
		return a.show(got.Spec, nil)
	})
	q.textFlags(c)
	c.MarkFlagsOneRequired("sql", "sql-file")
	c.MarkFlagsMutuallyExclusive("sql", "sql-file")
	return c
}
