package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// TestAlgoTable makes a Program's table of the files that its recipient has.
func TestAlgoTable(t *testing.T) {
	b, err := algo.Record("x", func(p *algo.Program) {
		c := p.Input("claims", algo.Text("kind"), algo.Money("amount"))
		g := c.Group()
		p.Reveal("cost", g, algo.Out("rows", g.Count()), algo.Out("share of a", g.SumIf(c.Label("kind", "").In("a"), c.Number("amount")).Div(g.Sum(c.Number("amount")))))
	})
	if err != nil {
		t.Fatal(err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	m := dryrun.Catalogue(g, types, nil)
	plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
	if plan == nil {
		t.Fatal(reasons)
	}
	trial := dryrun.Run{Data: m.Generate(1, 2000), List: m.List, Params: egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}}
	out, err := trial.Do(t.Context(), plan)
	if err != nil || len(out.Tables) != 1 {
		t.Fatal(out, err)
	}
	dir := t.TempDir()
	answer := api.AlgorithmAnswer{Algorithm: "x-1.0.0", Decision: sandbox.Decision{Allow: true}}
	var args []string
	for i, a := range out.Answers {
		answer.Questions = append(answer.Questions, api.Question{ID: sandbox.QuestionID(fmt.Sprintf("q-dry-%d", i+1))})
		path := filepath.Join(dir, fmt.Sprintf("r%d.json", i))
		if err := os.WriteFile(path, a.Result, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--result", path}, args...) // in any order
	}
	if answer.Plan, err = json.Marshal(plan); err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(answer)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "answer.json"), file, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	table := func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), append([]string{"algo", "table", "--answer", filepath.Join(dir, "answer.json")}, args...), nil, &stdout, &stderr)
		return status, stdout.String(), stderr.String()
	}
	status, stdout, stderr := table(args...)
	if want := strings.Join(out.Tables[0].Rows[0], "\t"); status != 0 || !strings.Contains(stdout, "rows\tshare of a") || !strings.Contains(stdout, want) {
		t.Errorf("%d %s %s, not %s", status, stdout, stderr, want)
	}
	if status, _, stderr := table(args[:2]...); status != exitFailed || !strings.Contains(stderr, "the result of question") {
		t.Errorf("with a result missing: %d %s", status, stderr)
	}
	if status, _, stderr := table("--result", filepath.Join(dir, "answer.json")); status != exitFailed || stderr == "" {
		t.Errorf("with another file: %d %s", status, stderr)
	}
}
