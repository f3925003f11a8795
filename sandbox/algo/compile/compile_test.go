package compile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// drawn draws programs over claims and persons.
type drawn struct {
	t       *rapid.T
	p       *algo.Program
	claims  algo.Input
	persons *algo.Input
}

func (d *drawn) n(max int, what string) int { return rapid.IntRange(0, max).Draw(d.t, what) }

func (d *drawn) label() algo.Label {
	labels := []func() algo.Label{
		func() algo.Label { return d.claims.Label("district", "") },
		func() algo.Label { return d.claims.Label("kind", "kinds") },
		func() algo.Label { return d.claims.Label("born", "ages") },
		func() algo.Label { return d.claims.Label("days", "") },
	}
	if d.persons != nil {
		labels = append(labels, func() algo.Label { return d.persons.Label("sex", "") })
	}
	return labels[d.n(len(labels)-1, "label")]()
}

func (d *drawn) flag(depth int) algo.Flag {
	switch k := d.n(6, "flag"); {
	case k == 0 && depth > 0:
		return d.flag(depth - 1).Not()
	case k == 1 && depth > 0:
		return d.flag(depth - 1).And(d.flag(depth - 1))
	case k == 2 && depth > 0:
		return d.flag(depth-1).Or(d.flag(depth-1), d.flag(depth-1))
	case k == 3:
		return d.claims.Number("amount").AtLeast(rapid.SampledFrom([]float64{100, 2500.5}).Draw(d.t, "edge"))
	case k == 4 && depth > 0:
		return d.points(depth - 1).AtLeast(rapid.SampledFrom([]float64{-1, 0, 1.25}).Draw(d.t, "threshold"))
	}
	switch d.n(4, "in") {
	case 4:
		if d.persons != nil {
			return d.persons.Label("sex", "").In("a", "missing")
		}
	case 0:
		return d.claims.Label("district", "").In(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "longhua", "missing"}), 1, 3, rapid.ID[string]).Draw(d.t, "districts")...)
	case 1:
		return d.claims.Label("born", "ages").In(rapid.SampledFrom([]string{"<18", "18-60", "≥60"}).Draw(d.t, "age"))
	case 2:
		return d.claims.Label("kind", "kinds").In("inpatient", "other")
	}
	return d.claims.Label("days", "").In("3", "7", "12")
}

func (d *drawn) points(depth int) algo.Number {
	some := func() map[string]float64 {
		out := map[string]float64{}
		for i := range 1 + d.n(2, "points") {
			out[[][]string{{"a", "b", "longhua"}, {"<18", "18-60", "≥60"}}[0][i]] = rapid.SampledFrom([]float64{-2, 0, 0.5, 1.25, 3}).Draw(d.t, "value")
		}
		return out
	}
	switch k := d.n(5, "number of points"); {
	case k == 0:
		return d.claims.Label("born", "ages").Points(map[string]float64{"<18": 1, "≥60": rapid.SampledFrom([]float64{-1.5, 2}).Draw(d.t, "old")}, 0.25)
	case k == 1 && depth > 0:
		return d.points(depth - 1).Add(d.points(depth - 1))
	case k == 2 && depth > 0:
		return d.points(depth-1).Scale(-0.5).Poly(1, 2)
	case k == 3 && depth > 0:
		return algo.Select(d.flag(depth-1), d.points(depth-1), d.p.Const(2))
	case k == 4 && depth > 0:
		x := d.points(depth - 1)
		return x.Mul(x).Sub(d.p.Const(1))
	}
	return d.claims.Label("district", "").Points(some(), -0.25)
}

// value draws a number of a row's values, in one unit.
func (d *drawn) value(depth int) algo.Number {
	amount := d.claims.Number("amount")
	switch k := d.n(6, "number"); {
	case k == 0 && depth > 0:
		return d.value(depth - 1).Add(d.value(depth - 1))
	case k == 1 && depth > 0:
		return algo.Select(d.flag(depth-1), d.value(depth-1), d.value(depth-1))
	case k == 2 && depth > 0:
		return d.value(depth - 1).Mul(d.points(0))
	case k == 3:
		return amount.Sub(d.claims.Number("fund")).Scale(1.5)
	case k == 4:
		return algo.Select(d.flag(depth), amount, d.p.Const(0))
	}
	return amount
}

func (d *drawn) aggregate(g algo.Groups, depth int) algo.Aggregate {
	switch k := d.n(11, "aggregate"); {
	case k == 0 && depth > 0:
		return d.aggregate(g, depth-1).Poly(1, 0.5)
	case k == 1:
		return g.Subjects()
	case k == 2:
		return g.CountIf(d.flag(2))
	case k == 3:
		return g.Mean(d.claims.Number("amount"))
	case k == 4:
		return g.Mean(d.value(1))
	case k == 5:
		return g.Dot(d.claims.Number("amount"), d.claims.Number("days"))
	case k == 6:
		return g.Dot(d.claims.Number("days"), d.claims.Number("days"))
	case k == 7:
		return g.Sum(d.claims.Number("days"))
	case k == 8:
		return g.Sum(d.points(2))
	case k == 9:
		return g.Distinct(d.label())
	case k == 10:
		return g.SumIf(d.flag(1), d.claims.Number("amount")).Div(g.Sum(d.claims.Number("amount")))
	}
	return g.Sum(d.value(2))
}

// program draws one; what it draws is the same for the same t.
func program(t *rapid.T) func(p *algo.Program) {
	return func(p *algo.Program) {
		d := &drawn{t: t, p: p}
		d.claims = p.Input("claims", algo.Text("district"), algo.Text("kind"), algo.Date("born"), algo.Money("amount"), algo.Money("fund"), algo.Int("days", "天"))
		rows := d.claims.Rows
		if rapid.Bool().Draw(t, "joined") {
			persons := p.Input("persons", algo.Text("sex"), algo.Int("income", ""))
			d.persons = &persons
			if rapid.Bool().Draw(t, "left") {
				rows = rows.LeftJoin(persons)
			} else {
				rows = rows.Join(persons)
			}
		}
		for range d.n(2, "filters") {
			rows = rows.Filter(d.flag(1))
		}
		var dims []algo.Dimension
		for i := range d.n(3, "dimensions") {
			name := fmt.Sprint("d", i)
			switch d.n(3, "dimension") {
			case 0:
				dims = append(dims, algo.ByFlag(name, d.flag(2)))
			case 1:
				dims = append(dims, algo.By(name, d.points(2).Bands(-0.5, 1, 2.25)))
			case 2:
				dims = append(dims, algo.By(name, d.claims.Number("amount").Bands(100, 2500.5)))
			default:
				dims = append(dims, algo.By(name, d.label()))
			}
		}
		g := rows.Group(dims...)
		var outs []algo.Output
		for i := range 1 + d.n(3, "outputs") {
			outs = append(outs, algo.Out(fmt.Sprint("m", i), d.aggregate(g, 1)))
		}
		p.Reveal("table", g, outs...)
	}
}

var limits = egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}

// TestProgramEqualsReference: what the compiled questions give on the domain's engine is what the Program says, row by row.
func TestProgramEqualsReference(t *testing.T) {
	asked, refused, cells := 0, map[string]int{}, 0
	sandboxtest.Until(t, func() bool { return asked >= 20 && cells > 0 }, func(t *rapid.T) {
		b, err := algo.Record("drawn", program(t))
		if err != nil {
			t.Fatal(err)
		}
		g, types, err := algo.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		m := dryrun.Catalogue(g, types, nil)
		for id, set := range m.Sets {
			for i := range set.Columns {
				set.Columns[i].Nullable = set.Columns[i].Name == "days" || set.Columns[i].Name == "born" || set.Columns[i].Name == "district"
			}
			m.Sets[id] = set
		}
		plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
		if len(reasons) > 0 {
			refused[reasons[0].Code]++
			if plan != nil || reasons[0].Change == "" || reasons[0].Rule == "" {
				t.Fatalf("%+v", reasons)
			}
			return
		}
		data := m.Generate(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 40).Draw(t, "rows"))
		run := dryrun.Run{Data: data, List: m.List, Params: limits, Open: true}
		got, err := run.Do(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range got.Answers {
			if len(a.Reasons) > 0 {
				refused[a.Reasons[0].Code]++
				if a.Reasons[0].Code != "column.compares" && a.Reasons[0].Code != "filter.label" && a.Reasons[0].Code != "score.label" {
					t.Fatalf("question %d: %+v", i, a.Reasons)
				}
				return
			}
		}
		want := (&reference{g, types, data}).table(types.Sinks[0])
		if fmt.Sprint(got.Tables[0].Rows) != fmt.Sprint(want.Rows) {
			t.Fatalf("%s\ngot  %v\nwant %v\n%+v", b, got.Tables[0].Rows, want.Rows, plan)
		}
		asked++
		cells += len(want.Rows)
	})
	t.Logf("%d programs, %d groups, refused %v", asked, cells, refused)
}

// compiled compiles a Program over a made catalogue.
func compiled(t *testing.T, f func(*algo.Program)) (*compile.Plan, []sandbox.Reason) {
	t.Helper()
	b, err := algo.Record("x", f)
	if err != nil {
		t.Fatal(err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	m := dryrun.Catalogue(g, types, nil)
	for id, set := range m.Sets {
		for i := range set.Columns {
			set.Columns[i].Nullable = set.Columns[i].Name == "days"
		}
		m.Sets[id] = set
	}
	return compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
}

// TestNegative: what would make an expression a filter to one person, a comparison with a value of the author's choice, or weights of a
// linear system, is no question; each beside an honest twin.
func TestNegative(t *testing.T) {
	type in struct {
		p                    *algo.Program
		claims               algo.Input
		g                    algo.Groups
		amount, days, points algo.Number
		kind, district       algo.Label
	}
	with := func(f func(in)) func(*algo.Program) {
		return func(p *algo.Program) {
			c := p.Input("claims", algo.Text("district"), algo.Text("kind"), algo.Money("amount"), algo.Int("days", ""), algo.Int("visits", ""))
			x := in{p: p, claims: c, g: c.Group(), amount: c.Number("amount"), days: c.Number("days"), kind: c.Label("kind", "kinds"), district: c.Label("district", "")}
			x.points = x.kind.Points(map[string]float64{"a": 1}, 0).Add(x.district.Points(map[string]float64{"b": 2}, 0))
			f(x)
		}
	}
	for name, c := range map[string]struct {
		code string
		f    func(in)
	}{
		"sigmoid as a step": {"program.weights", func(x in) {
			x.p.Reveal("t", x.g, algo.Out("n", x.g.CountIf(x.days.Poly(-1e6, 1e6).Sigmoid().AtLeast(0.5))))
		}},
		"cube":                   {"program.size", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.days.Mul(x.days).Mul(x.days)))) }},
		"interpolated indicator": {"program.size", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.days.Poly(0, 1, 2, 3, 4)))) }},
		"bands of weighed columns": {"program.weights", func(x in) {
			x.p.Reveal("t", x.claims.Group(algo.By("b", x.days.Add(x.claims.Number("visits")).Bands(3))), algo.Out("n", x.claims.Group(algo.By("b", x.days.Add(x.claims.Number("visits")).Bands(3))).Count()))
		}},
		"comparison of weighed ones":  {"program.weights", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.CountIf(x.days.Scale(3).AtLeast(7)))) }},
		"different rows in one sum":   {"program.missing", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.days.Add(x.claims.Number("visits"))))) }},
		"mean of what can be missing": {"program.missing", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Mean(x.days.Poly(1, 1)))) }},
		"median of what is computed":  {"program.measure", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Quantile(x.days.Scale(2), 500))) }},
		"filter over two columns": {"program.filter", func(x in) {
			g := x.claims.Filter(x.kind.In("a").Or(x.district.In("b"))).Group()
			x.p.Reveal("t", g, algo.Out("n", g.Count()))
		}},
		"points multiplied":        {"program.score", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.points.Mul(x.points)))) }},
		"a sum of a sigmoid":       {"program.score", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.points.Sigmoid().Add(x.p.Const(1))))) }},
		"a plain sum of a sigmoid": {"program.score", func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.points.Sigmoid()))) }},
		"a filter that keeps nothing": {"program.filter", func(x in) {
			f := x.claims.Filter(x.p.Const(0).AtLeast(1)).Group()
			x.p.Reveal("t", f, algo.Out("n", f.Count()))
		}},
	} {
		plan, reasons := compiled(t, with(c.f))
		if plan != nil || len(reasons) == 0 || reasons[0].Code != c.code || reasons[0].Change == "" {
			t.Errorf("%s: %+v", name, reasons)
		}
	}
	for name, f := range map[string]func(in){
		"sigmoid of points": func(x in) {
			g := x.claims.Group(algo.By("b", x.points.Sigmoid().Bands(0.6, 0.9)))
			x.p.Reveal("t", g, algo.Out("n", g.Count()))
		},
		"square":          func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.days.Mul(x.days)))) },
		"registered edge": func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.CountIf(x.days.AtLeast(7)))) },
		"sum of a select": func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.SumIf(x.kind.In("a"), x.days))) },
		"two filters": func(x in) {
			g := x.claims.Filter(x.kind.In("a").And(x.district.In("b").Not())).Group()
			x.p.Reveal("t", g, algo.Out("n", g.Count()))
		},
		"grouped by both": func(x in) {
			g := x.claims.Group(algo.ByFlag("f", x.kind.In("a").Or(x.district.In("b"))))
			x.p.Reveal("t", g, algo.Out("n", g.Count()))
		},
		"linear in the clear": func(x in) { v := x.claims.Number("visits"); x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(v.Poly(3, 2)))) },
		"matrix": func(x in) {
			v := x.claims.Number("visits")
			y := x.p.MatVec([][]float64{{1, 2}, {3, 4}}, v, v)
			x.p.Reveal("t", x.g, algo.Out("a", x.g.Sum(y[0])), algo.Out("b", x.g.Sum(y[1])))
		},
		"regression": func(x in) { x.p.RevealModel("m", x.g.Linear(x.claims.Number("visits"), x.days, x.amount)) },
		"gram": func(x in) {
			g := x.g.Gram(x.days, x.amount)
			x.p.Reveal("t", x.g, algo.Out("a", g[0][1]), algo.Out("b", g[1][0]), algo.Out("c", g[0][0]))
		},
		"sum split two ways": func(x in) { x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(x.points))) },
		"a constant for others": func(x in) {
			x.p.Reveal("t", x.g, algo.Out("n", x.g.Sum(algo.Select(x.kind.In("a"), x.claims.Number("visits"), x.p.Const(3)))))
		},
	} {
		plan, reasons := compiled(t, with(f))
		if plan == nil {
			t.Errorf("%s: %+v", name, reasons)
		}
	}
}

// TestNoWeightReachesAMeasure: whatever a Program multiplies by, its questions hold counts, sums and dot products of columns only.
func TestNoWeightReachesAMeasure(t *testing.T) {
	plan, reasons := compiled(t, func(p *algo.Program) {
		c := p.Input("claims", algo.Text("kind"), algo.Int("a", ""), algo.Int("b", ""))
		g := c.Group()
		mixed := c.Number("a").Scale(1000000).Add(c.Number("b")).Add(c.Label("kind", "k").Points(map[string]float64{"x": 1000000, "y": 1}, 0))
		p.Reveal("t", g, algo.Out("mixed", g.Sum(mixed)))
	})
	if plan == nil {
		t.Fatal(reasons)
	}
	var measures []string
	for _, q := range plan.Questions {
		for _, m := range q.Spec.Measures {
			measures = append(measures, string(m.Func)+" "+m.Column)
		}
		if d := q.Spec.Dimensions; len(d) > 0 && (d[0].Score == nil || !slices.Equal(d[0].Score.Edges, []int64{1, 2})) {
			t.Errorf("split by %+v", d[0])
		}
	}
	if got := strings.Join(measures, ", "); got != "count , sum claims.a, sum claims.b" {
		t.Error(got)
	}
}

// TestRegisteredEdges: a column is compared with edges of a bin only; coarser bands are made of a bin's labels.
func TestRegisteredEdges(t *testing.T) {
	b, err := algo.Record("x", func(p *algo.Program) {
		c := p.Input("claims", algo.Money("amount"))
		g := c.Group(algo.By("band", c.Number("amount").Bands(100, 5000)))
		p.Reveal("t", g, algo.Out("n", g.Count()))
	})
	if err != nil {
		t.Fatal(err)
	}
	g, types, _ := algo.Decode(b)
	m := dryrun.Catalogue(g, types, nil)
	set := m.Sets["claims"]
	for _, c := range []struct {
		edges []int64
		ok    bool
	}{{[]int64{10000, 500000}, true}, {[]int64{0, 10000, 20000, 500000}, true}, {[]int64{10000, 499999}, false}, {nil, false}} {
		if set.Bins[0].Edges = c.edges; c.edges == nil {
			set.Bins = nil
		}
		m.Sets["claims"] = set
		plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
		if (plan != nil) != c.ok || !c.ok && reasons[0].Code != "program.edge" {
			t.Errorf("%v: %+v", c.edges, reasons)
		}
		if !c.ok {
			continue
		}
		if _, why := query.Derive(plan.Questions[0].Spec, m.Sets, m.List); len(why) > 0 {
			t.Error(why)
		}
		data := m.Generate(1, 300)
		run := dryrun.Run{Data: data, List: m.List, Params: limits, Open: true}
		out, err := run.Do(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		want := (&reference{g, types, data}).table(types.Sinks[0])
		if fmt.Sprint(out.Tables[0].Rows) != fmt.Sprint(want.Rows) {
			t.Errorf("%v, not %v", out.Tables[0].Rows, want.Rows)
		}
	}
}

// TestDeclarations: what a Program declares is what the catalogue has.
func TestDeclarations(t *testing.T) {
	b, _ := algo.Record("x", func(p *algo.Program) {
		c := p.Input("claims", algo.Money("amount"))
		p.Reveal("t", c.Group(), algo.Out("n", c.Group().Sum(c.Number("amount"))))
	})
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	compiledWith := func(change func(a *compile.Asked, m *dryrun.Made)) []sandbox.Reason {
		m := dryrun.Catalogue(g, types, nil)
		a := compile.Asked{Scenario: "s", Purpose: "p"}
		change(&a, &m)
		_, reasons := compile.Compile(g, types, a, m.Sets)
		return reasons
	}
	for code, change := range map[string]func(a *compile.Asked, m *dryrun.Made){
		"program.type":  func(_ *compile.Asked, m *dryrun.Made) { m.Sets["claims"].Columns[1].Type = "int" },
		"program.unit":  func(_ *compile.Asked, m *dryrun.Made) { m.Sets["claims"].Columns[1].Unit = "美元" },
		"program.input": func(a *compile.Asked, _ *dryrun.Made) { a.Bind = map[string]sandbox.DatasetID{"other": "claims"} },
	} {
		if reasons := compiledWith(change); len(reasons) != 1 || reasons[0].Code != code {
			t.Errorf("%s: %+v", code, reasons)
		}
	}
	// A dataset that nobody described is for the derivation to refuse, which tells only what the asker may know.
	if reasons := compiledWith(func(_ *compile.Asked, m *dryrun.Made) { delete(m.Sets, "claims") }); len(reasons) != 0 {
		t.Error(reasons)
	}
}

// TestDryRunIsGated: what a trial shows went through the rules of the gate, and the same seed gives the same bits.
func TestDryRunIsGated(t *testing.T) {
	b, err := algo.Record("x", func(p *algo.Program) {
		c := p.Input("claims", algo.Text("district"), algo.Money("amount"))
		g := c.Group(algo.By("district", c.Label("district", "")))
		p.Reveal("t", g, algo.Out("n", g.Count()), algo.Out("large", g.CountIf(c.Number("amount").AtLeast(9000))))
	})
	if err != nil {
		t.Fatal(err)
	}
	g, types, _ := algo.Decode(b)
	m := dryrun.Catalogue(g, types, nil)
	plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
	if plan == nil {
		t.Fatal(reasons)
	}
	do := func(seed uint64, rows int) dryrun.Outcome {
		run := dryrun.Run{Data: m.Generate(seed, rows), List: m.List, Params: limits}
		out, err := run.Do(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first, again, other := do(7, 3000), do(7, 3000), do(8, 3000)
	if fmt.Sprint(first) == fmt.Sprint(other) {
		t.Error("another seed gives the same rows")
	}
	for i, a := range first.Answers {
		if string(a.Result) != string(again.Answers[i].Result) || len(a.Result) == 0 {
			t.Errorf("question %d has other bits: %+v", i, a)
		}
	}
	if len(first.Tables) != 1 || first.Tables[0].Hidden > 0 {
		t.Errorf("%+v", first.Tables)
	}
	few := do(7, 40)
	suppressed := 0
	for _, a := range few.Answers {
		suppressed += a.Suppressed
	}
	if suppressed == 0 && len(few.Tables) > 0 && few.Tables[0].Hidden == 0 {
		t.Errorf("of forty rows everything leaves: %+v", few)
	}
}

// TestSharedNodesStaySmall: a graph that shares its nodes a hundred times over becomes no tree of 2^60, and compiling ends.
func TestSharedNodesStaySmall(t *testing.T) {
	for name, f := range map[string]func(p *algo.Program, c algo.Input){
		"aggregates": func(p *algo.Program, c algo.Input) {
			g := c.Group()
			a := g.Count()
			for range 60 {
				a = a.Add(a)
			}
			p.Reveal("t", g, algo.Out("n", a))
		},
		"points": func(p *algo.Program, c algo.Input) {
			points := map[string]float64{}
			for i := range 250 {
				points[fmt.Sprint("label ", i)] = float64(i)
			}
			g := c.Group()
			var outs []algo.Output
			for i := range 10 {
				x := c.Label("kind", "k").Points(points, float64(i))
				for range 60 {
					x = x.Add(x)
				}
				outs = append(outs, algo.Out(fmt.Sprint(i), g.Sum(x)))
			}
			p.Reveal("t", g, outs...)
		},
	} {
		plan, reasons := compiled(t, func(p *algo.Program) { f(p, p.Input("claims", algo.Text("kind"))) })
		if plan != nil || reasons[0].Code != "program.size" {
			t.Errorf("%s: %+v", name, reasons)
		}
	}
	plan, reasons := compiled(t, func(p *algo.Program) { // conditions too
		c := p.Input("claims", algo.Text("kind"))
		f := c.Label("kind", "k").In("a")
		for range 55 {
			f = f.And(f)
		}
		g := c.Filter(f).Group()
		p.Reveal("t", g, algo.Out("n", g.Count()))
	})
	if plan == nil || len(plan.Questions[0].Spec.Filters) != 1 {
		t.Error(reasons)
	}
}
