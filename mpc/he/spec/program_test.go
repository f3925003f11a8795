package spec_test

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/query"
)

// fees is a Program as an author writes it: filters, a score, sums of polynomials and over a choice, means, spread, a comparison of a number.
func fees(p *algo.Program) {
	c := p.Input("claims", algo.Bool("night"), algo.Date("born"), algo.Text("icd"), algo.Money("fee"), algo.Int("days", ""))
	fee, days := c.Number("fee"), c.Number("days")
	ill := c.Label("icd", "chapter")
	rows := c.Filter(ill.In("a", "b").And(fee.AtLeast(100)))
	risk := ill.Points(map[string]float64{"a": 1.5, "b": 2}, 0)
	g := rows.Group(algo.By("age", c.Label("born", "age-band")), algo.ByFlag("night", c.Label("night", "").In("true")))
	p.Reveal("fees", g,
		algo.Out("claims", g.Count()), algo.Out("fee", g.Sum(fee)), algo.Out("mean", g.Mean(fee)), algo.Out("spread", g.StdDev(fee)),
		algo.Out("a day", g.Sum(fee).Div(g.Sum(days))), algo.Out("weighed", g.Sum(fee.Mul(days))),
		algo.Out("of a", g.SumIf(ill.In("a"), fee)))
	g = rows.Group(algo.By("risk", risk.Bands(1, 1.75)))
	p.Reveal("risk", g, algo.Out("claims", g.Count()), algo.Out("days", g.Mean(days)))
}

// TestProgram runs a Program unchanged on ciphertexts of three units, and holds its tables to those of the domain engine.
func TestProgram(t *testing.T) {
	trial, err := dryrun.NewTrial("fees", fees, 7, 240)
	if err != nil {
		t.Fatal(err)
	}
	want, err := trial.Run(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	c := newParties(t, 3)
	results := map[int]compile.Released{}
	for i, asked := range trial.Plan.Questions {
		d, why := query.Derive(asked.Spec, trial.Sets, trial.List)
		if len(why) > 0 {
			t.Fatal(why)
		}
		q, why := spec.Compile(d, nil)
		if len(why) > 0 {
			t.Fatal(why)
		}
		var parts []*he.Partial
		for u := range 3 {
			id, columns := q.Columns()
			all := trial.Data[id]
			mine := &dryrun.Data{Set: all.Set}
			for k := range all.Rows {
				if k%5%3 == u {
					mine.Rows, mine.Subjects = append(mine.Rows, all.Rows[k]), append(mine.Subjects, all.Subjects[k])
				}
			}
			r, err := mine.Reader(memory.NewGoAllocator(), columns)
			c.ok(err)
			p, err := q.Partial(context.Background(), r)
			c.ok(err)
			parts = append(parts, p)
		}
		a, err := q.Answer(c.sum(c.plan(he.SumSet, q.Layout), parts))
		c.ok(err)
		results[i] = released(a)
	}
	if len(results) < 3 || len(want.Tables) != len(trial.Plan.Tables) {
		t.Fatalf("%d questions, %d tables: the example shows too little", len(results), len(want.Tables))
	}
	for i := range trial.Plan.Tables {
		got, err := trial.Plan.Tables[i].Fill(results)
		c.ok(err)
		if !reflect.DeepEqual(got, want.Tables[i]) {
			t.Errorf("table %s differs from the domain engine's", got.Name)
		}
	}
}

// released is an answer as if all of it had left: groups with rows, in the order of the engine.
func released(a *spec.Answer) (out compile.Released) {
	for _, o := range a.Outputs {
		out.Measures = append(out.Measures, sandbox.Measure{Name: o.Name, Func: o.Func, Part: o.Part, Unit: o.Unit, Scale: o.Scale})
	}
	for _, g := range a.Groups {
		if g.Rows() == 0 {
			continue
		}
		row := compile.ReleasedRow{Labels: g.Labels}
		for _, v := range g.Values {
			if v.None {
				row.Values = append(row.Values, nil)
				continue
			}
			n := v.Value.Int64()
			row.Values = append(row.Values, &n)
		}
		out.Rows = append(out.Rows, row)
	}
	slices.SortFunc(out.Rows, func(a, b compile.ReleasedRow) int { return slices.Compare(a.Labels, b.Labels) })
	return out
}
