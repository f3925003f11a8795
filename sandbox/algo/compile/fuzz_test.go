package compile_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// written are what graphs are changed from.
var written = []func(*algo.Program){
	func(p *algo.Program) {
		c := p.Input("claims", algo.Text("district"), algo.Text("kind"), algo.Money("amount"), algo.Int("days", "天"), algo.Bool("fraud"), algo.Date("born"))
		persons := p.Input("persons", algo.Text("sex"))
		rows := c.LeftJoin(persons).Filter(c.Label("kind", "k").In("a").And(c.Number("days").AtLeast(3)))
		points := c.Label("born", "age").Points(map[string]float64{"<18": 1.5}, 0.5).Add(c.Label("kind", "k").Points(map[string]float64{"a": 3}, 0))
		g := rows.Group(algo.By("district", c.Label("district", "")), algo.ByFlag("f", persons.Label("sex", "").In("x").Or(c.Label("kind", "k").In("b"))), algo.By("s", points.Sigmoid().Bands(0.25, 0.75)))
		p.Reveal("t", g, algo.Out("a", g.SumIf(c.Label("kind", "k").In("a"), c.Number("amount")).Div(g.Sum(c.Number("amount")))), algo.Out("b", g.Quantile(c.Number("days"), 500)),
			algo.Out("c", g.Dot(c.Number("days"), c.Number("amount")).Poly(1, 2)), algo.Out("d", g.Distinct(c.Label("kind", "k"))), algo.Out("e", g.Mean(c.Number("days").Scale(2))))
		p.RevealModel("m", rows.Group().Logistic(c.Number("fraud"), c.Number("amount"), c.Number("days")))
	},
	func(p *algo.Program) {
		c := p.Input("claims", algo.Int("days", ""))
		g := c.Group(algo.By("b", c.Number("days").Bands(1, 2)), algo.ByFlag("f", algo.Select(c.Number("days").AtLeast(1), p.Const(1), p.Const(0)).AtLeast(1)))
		p.Reveal("t", g, algo.Out("n", g.Sum(c.Number("days").Mul(c.Number("days")).Poly(1, 2))))
	},
}

// FuzzCompile: of any graph that decodes there is a plan or there are reasons; what is planned is well formed, and its tables refer to its
// questions. An image may write graphs that no handle of the SDK records.
func FuzzCompile(f *testing.F) {
	for _, p := range written {
		b, err := algo.Record("x", p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { planned(t, b) })
}

// planned compiles an encoded graph; false where it is none, or is refused.
func planned(t interface{ Fatalf(string, ...any) }, b []byte) bool {
	g, types, err := algo.Decode(b)
	if err != nil {
		return false
	}
	m := dryrun.Catalogue(g, types, nil)
	plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
	if (plan == nil) != (len(reasons) > 0) {
		t.Fatalf("%v and %v", plan, reasons)
	}
	if plan == nil {
		return false
	}
	results := map[int]compile.Released{}
	for i, q := range plan.Questions {
		if err := q.Spec.Validate(); err != nil {
			t.Fatalf("question %d: %v", i, err)
		}
		_, _ = query.Derive(q.Spec, m.Sets, m.List)
		var r compile.Released
		for _, x := range q.Spec.Measures {
			r.Measures = append(r.Measures, sandbox.Measure{Name: x.As, Func: x.Func})
		}
		results[i] = r
	}
	for i := range plan.Tables {
		if _, err := plan.Tables[i].Fill(results); err != nil {
			t.Fatalf("table %d: %v", i, err)
		}
	}
	return true
}

// TestRewiredGraphs rewires recorded graphs: operators take other nodes, become other operators, and have other constants.
func TestRewiredGraphs(t *testing.T) {
	var seeds [][]byte
	for _, p := range written {
		b, err := algo.Record("x", p)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	decoded, asked := 0, 0
	sandboxtest.Until(t, func() bool { return decoded > 0 }, func(t *rapid.T) {
		g, _, err := algo.Decode(rapid.SampledFrom(seeds).Draw(t, "graph"))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			n := &g.Nodes[rapid.IntRange(1, len(g.Nodes)-1).Draw(t, "node")]
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				if len(n.Args) > 0 {
					n.Args[rapid.IntRange(0, len(n.Args)-1).Draw(t, "argument")] = rapid.IntRange(0, len(g.Nodes)-1).Draw(t, "to")
				}
			case 1:
				n.Op = g.Nodes[rapid.IntRange(0, len(g.Nodes)-1).Draw(t, "operator of")].Op
			default:
				if len(n.Consts) > 0 {
					n.Consts[0] = rapid.SampledFrom([]algo.Decimal{"0", "-1", "0.5", "1000000", "999999999999999", "0.000000001"}).Draw(t, "constant")
				}
			}
		}
		b, err := g.Encode()
		if err != nil {
			return
		}
		decoded++
		if planned(t, b) {
			asked++
		}
	})
	t.Logf("%d graphs that decode, %d that are asked", decoded, asked)
}
