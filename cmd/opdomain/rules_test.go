package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// ruled is a world whose statistics scenario has the rule of one column changed.
func ruled(t *testing.T, column string, change func(*sandbox.ColumnRule)) *world {
	w := newWorld(t)
	ctx := context.Background()
	w.must(w.enrolAndPush(ctx))
	found := false
	for i := range w.story.List {
		for j := range w.story.List[i].Columns {
			if r := &w.story.List[i].Columns[j]; string(w.story.List[i].Dataset)+"."+r.Column == column {
				change(r)
				found = true
			}
		}
	}
	if !found {
		t.Fatalf("the story lists no %s", column)
	}
	w.must(w.grants(ctx))
	return w
}

// total is the story's question without groups: one cell over everything.
func total(w *world) query.Spec {
	s := question(w.story.Coarse)
	s.Inputs, s.Dimensions = s.Inputs[:1], nil
	return s
}

// TestOwnersThresholdReachesTheGate: an owner's rule suppresses a cell that the district's thresholds publish, the one over
// everything too, and counts without its column are not held to it.
func TestOwnersThresholdReachesTheGate(t *testing.T) {
	pack := func(w *world, s query.Spec) egress.Pack {
		t.Helper()
		q := w.ask(s)
		r, err := result[api.Review](w.as("agency-reviewer").api.GetReview(context.Background(), q.ID))
		w.must(err)
		var p egress.Pack
		w.must(json.Unmarshal(r.Pack, &p))
		if len(p.Cells) != 1 {
			t.Fatalf("%d cells", len(p.Cells))
		}
		return p
	}
	w := ready(t)
	free := pack(w, total(w)).Cells[0]
	if free.Suppressed {
		t.Fatalf("suppressed without a rule: %+v", free)
	}
	for name, c := range map[string]struct {
		change func(*sandbox.ColumnRule)
		rule   string
	}{
		"one person more than there are": {func(r *sandbox.ColumnRule) { r.MinSubjects = free.People + 1 }, egress.RuleFrequency},
		"the largest hold too much":      {func(r *sandbox.ColumnRule) { r.MaxShare = 1 }, egress.RuleDominance},
		"as many people as there are":    {func(r *sandbox.ColumnRule) { r.MinSubjects = free.People }, ""},
	} {
		w := ruled(t, "ds-claims.amount", c.change)
		cell := pack(w, total(w)).Cells[0]
		if c.rule == "" && cell.Suppressed || c.rule != "" && (!cell.Suppressed || !slices.Contains(cell.Rules, c.rule)) {
			t.Errorf("%s: %+v", name, cell)
		}
		counted := total(w)
		counted.Measures = counted.Measures[:1]
		if p := pack(w, counted); p.Cells[0].Suppressed {
			t.Errorf("%s: a count of people without the column is suppressed: %+v", name, p.Cells[0])
		}
	}
}

// TestGroupingsOfADay: an owner's bound on comparisons holds over the questions of one day, is not charged for the same question
// again, and begins anew the next day.
func TestGroupingsOfADay(t *testing.T) {
	w := ruled(t, "ds-persons.birth_date", func(r *sandbox.ColumnRule) { r.PerDay = 1 })
	fine, coarse := question(w.story.Fine), question(w.story.Coarse)
	if q := w.ask(coarse); len(q.Decision.Reasons) > 0 {
		t.Fatalf("%+v", q.Decision)
	}
	spent := func(s query.Spec) bool {
		x, err := result[api.Explanation](w.as("operator").api.ExplainQuestion(context.Background(), s))
		w.must(err)
		return slices.ContainsFunc(x.Decision.Reasons, func(r sandbox.Reason) bool { return r.Code == "column.per-day" && r.Column == "ds-persons.birth_date" })
	}
	if !spent(fine) {
		t.Error("a second grouping of the day is allowed")
	}
	if spent(total(w)) {
		t.Error("a question without the column is held to it")
	}
	w.move(func(at time.Time) time.Time { return at.AddDate(0, 0, 1) })
	if spent(fine) {
		t.Error("the next day begins spent")
	}
}

// TestExplainSaysItAll: one explanation has derivation, evidence, engine and cost, in words and as data, before anything is asked.
func TestExplainSaysItAll(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	op := w.as("operator").api
	x, err := result[api.Explanation](op.ExplainQuestion(ctx, question(w.story.Fine)))
	w.must(err)
	d := x.Derivation
	if d == nil || len(d.Columns) != 5 || len(d.Outputs) != 4 || d.Engine.Engine != sandbox.Domain || !d.Engine.Here || d.Cost.Columns != 3 || d.Cost.Outputs != 4 {
		t.Fatalf("%+v", d)
	}
	for _, want := range []string{"scan 扫描 ds-claims", "join 关联 ds-persons", "ds-claims.amount", "output 输出 cost = sum, 元; evidence 证据: people with a value",
		"engine 计算方式 domain: ", "cost 代价 3 columns opened", "rows not declared", "data renewed daily"} {
		if !strings.Contains(x.Text, want) {
			t.Errorf("%q is not in\n%s", want, x.Text)
		}
	}
	s := question(w.story.Fine)
	s.Measures = append(s.Measures, query.Measure{Func: sandbox.Variance, Column: "c.amount", As: "spread"})
	x, err = result[api.Explanation](op.ExplainQuestion(ctx, s))
	w.must(err)
	if x.Decision.Allow || !strings.Contains(x.Text, "refused column.func ds-claims.amount") || !strings.Contains(x.Text, `smallest change: have its unit add "variance" to the functions of ds-claims.amount`) {
		t.Errorf("%s", x.Text)
	}
}
