package algo_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo"
)

func cost(p *algo.Program) {
	claims := p.Input("claims", algo.Text("district"), algo.Money("amount"), algo.Text("kind"), algo.Int("days", "天"), algo.Bool("fraud"), algo.Date("born"))
	persons := p.Input("persons", algo.Text("sex"))
	rows := claims.Join(persons).Filter(claims.Label("kind", "").In("住院", "门诊"))
	g := rows.Group(algo.By("district", claims.Label("district", "")), algo.ByFlag("female", persons.Label("sex", "").In("女").And(claims.Label("kind", "").In("住院").Not())))
	paid, days := claims.Number("amount"), claims.Number("days")
	inpatient := claims.Label("kind", "").In("住院")
	p.Reveal("cost", g,
		algo.Out("claims", g.Count()), algo.Out("people", g.Subjects()), algo.Out("mean", g.Mean(paid)),
		algo.Out("inpatient", g.CountIf(inpatient)), algo.Out("share", g.SumIf(inpatient, paid).Div(g.Sum(paid))),
		algo.Out("median", g.Quantile(paid, 500)), algo.Out("per-day", g.Sum(paid).Div(g.Sum(days))))
	score := claims.Label("born", "age").Points(map[string]float64{"<18": 1.5, "≥65": -2.25}, 0.5).Add(claims.Label("kind", "").Points(map[string]float64{"住院": 3}, 0))
	all := rows.Group(algo.By("score", score.Sigmoid().Bands(0.25, 0.5, 0.75)))
	p.Reveal("scores", all, algo.Out("people", all.Subjects()))
	one := rows.Group()
	p.RevealModel("fraud", one.Logistic(claims.Number("fraud"), paid, days))
}

func TestRecord(t *testing.T) {
	b, err := algo.Record("cost", cost)
	if err != nil {
		t.Fatal(err)
	}
	again, err := algo.Record("cost", cost)
	if err != nil || !bytes.Equal(b, again) {
		t.Fatal("the same Program gives the same bytes", err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(types.Inputs) != 2 || len(types.Sinks) != 3 || len(types.Of) != len(g.Nodes) {
		t.Fatalf("%d inputs, %d sinks, %d types of %d nodes", len(types.Inputs), len(types.Sinks), len(types.Of), len(g.Nodes))
	}
	reveal := g.Nodes[types.Sinks[0]]
	if reveal.Name != "cost" || len(reveal.Names) != 7 {
		t.Fatalf("%+v", reveal)
	}
	if u := types.Of[reveal.Args[7]].Unit; u != "元/天" {
		t.Errorf("a ratio of money and days is in %q", u)
	}
	if u := types.Of[reveal.Args[5]].Unit; u != "" {
		t.Errorf("a share has the unit %q", u)
	}
	sums := 0
	for _, n := range g.Nodes {
		if n.Op == algo.OpSum {
			sums++
		}
	}
	if sums != 4 { // of paid: once for the share and per day
		t.Errorf("equal operators are one node: %d sums", sums)
	}
}

// TestMistakes names the author's line and the rule.
func TestMistakes(t *testing.T) {
	type env struct {
		p       *algo.Program
		in      algo.Input
		g       algo.Groups
		amount  algo.Number
		days    algo.Number
		distric algo.Label
	}
	for name, c := range map[string]struct {
		f    func(e env)
		want string
	}{
		"nothing revealed":     {func(e env) {}, "reveals at least one"},
		"unknown column":       {func(e env) { e.in.Number("salary") }, "names a column that the input declares"},
		"number of a text":     {func(e env) { e.in.Number("district") }, "a text or date has labels"},
		"units":                {func(e env) { e.amount.Add(e.days) }, "numbers of one unit"},
		"sigmoid with unit":    {func(e env) { e.amount.Sigmoid() }, "without unit"},
		"square of money":      {func(e env) { e.amount.Poly(0, 0, 1) }, "without unit; multiply"},
		"falling edges":        {func(e env) { e.amount.Bands(2, 1) }, "rising edges"},
		"not a number":         {func(e env) { e.amount.Scale(nan()) }, "decimal"},
		"too many decimals":    {func(e env) { e.amount.Scale(1e-10) }, "decimal"},
		"aggregate of others":  {func(e env) { e.g.Count().Add(e.in.Group().Count()) }, "same groups"},
		"reveal of others":     {func(e env) { e.p.Reveal("t", e.in.Group(), algo.Out("n", e.g.Count())) }, "its own groups"},
		"name twice":           {func(e env) { e.p.Reveal("t", e.g, algo.Out("district", e.g.Count())) }, "names stand once"},
		"table's name":         {func(e env) { e.p.Reveal("T 1", e.g, algo.Out("n", e.g.Count())) }, "a name is"},
		"outcome as number":    {func(e env) { e.g.Sum(e.in.Number("fraud")) }, "the outcome of a logistic regression"},
		"fit by group":         {func(e env) { e.g.Linear(e.amount, e.days) }, "have no groupings"},
		"rank":                 {func(e env) { e.g.Quantile(e.amount, 1000) }, "1 to 999"},
		"input joined twice":   {func(e env) { e.in.Join(e.in) }, "an input joins once"},
		"key not declared":     {func(e env) { e.in.Join(e.p.Input("b", algo.Text("x")), algo.On("claims.y", "x")) }, "a key equates"},
		"column not in rows":   {func(e env) { e.g.Sum(e.p.Input("b", algo.Int("x", "")).Number("x")) }, "inputs that are among its rows"},
		"weights and numbers":  {func(e env) { e.p.Dot([]float64{1}, e.amount, e.days) }, "as many weights"},
		"polynomial too high":  {func(e env) { e.g.Count().Poly(0, 0, 0, 0, 0, 1) }, "1 to 5 coefficients"},
		"same name of input":   {func(e env) { e.p.Input("claims") }, "stands once"},
		"too many labels":      {func(e env) { e.distric.In(make([]string, 1)...) }, "printable"},
		"handle of nobody":     {func(e env) { e.g.Sum(algo.Number{}) }, "values of this Program"},
		"type of column":       {func(e env) { e.p.Input("b", algo.Column{Name: "x", Type: "blob"}) }, "a column is text"},
		"aggregate and number": {func(e env) { algo.Aggregate(e.amount).Add(e.g.Count()) }, "a number is of rows"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := algo.Record("x", func(p *algo.Program) {
				in := p.Input("claims", algo.Text("district"), algo.Money("amount"), algo.Int("days", "天"), algo.Bool("fraud"))
				district := in.Label("district", "")
				c.f(env{p, in, in.Group(algo.By("district", district)), in.Number("amount"), in.Number("days"), district})
			})
			var e *algo.Error
			if !errors.As(err, &e) || !strings.Contains(e.Rule, c.want) {
				t.Fatalf("%v, not %q", err, c.want)
			}
			if name != "nothing revealed" && !strings.HasPrefix(e.Place, "algo_test.go:") {
				t.Errorf("the mistake is at %q", e.Place)
			}
		})
	}
}

func nan() float64 { var z float64; return z / z }

// TestBounds passes each bound of a graph by one.
func TestBounds(t *testing.T) {
	for name, f := range map[string]func(p *algo.Program, in algo.Input, g algo.Groups){
		"nodes": func(p *algo.Program, in algo.Input, g algo.Groups) {
			for i := range algo.MaxNodes {
				p.Const(float64(i))
			}
		},
		"depth": func(p *algo.Program, in algo.Input, g algo.Groups) {
			x := in.Number("x")
			for range algo.MaxDepth {
				x = x.Add(in.Number("x"))
			}
			p.Reveal("t", g, algo.Out("n", g.Sum(x)))
		},
		"tables": func(p *algo.Program, in algo.Input, g algo.Groups) {
			for i := range algo.MaxTables + 1 {
				p.Reveal(string(rune('a'+i)), g, algo.Out("n", g.Count()))
			}
		},
		"inputs": func(p *algo.Program, in algo.Input, g algo.Groups) {
			for i := range algo.MaxInputs {
				p.Input(string(rune('a' + i)))
			}
		},
		"bytes": func(p *algo.Program, in algo.Input, g algo.Groups) {
			long := strings.Repeat("x", 120)
			for i := range 30 {
				var labels []string
				for j := range 200 {
					labels = append(labels, long+string(rune('一'+i*200+j)))
				}
				in.Label("y", "").In(labels...)
			}
			p.Reveal("t", g, algo.Out("n", g.Count()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := algo.Record("x", func(p *algo.Program) {
				in := p.Input("claims", algo.Int("x", ""), algo.Text("y"))
				f(p, in, in.Group())
			})
			var e *algo.Error
			if !errors.As(err, &e) || !e.TooLarge {
				t.Fatal(err)
			}
		})
	}
}

func TestDecimal(t *testing.T) {
	for _, s := range []string{"0", "1", "-1", "0.5", "-0.000000001", "123456789012345.5"} {
		if !algo.Decimal(s).Valid() {
			t.Errorf("%s is a decimal", s)
		}
	}
	for _, s := range []string{"", "-", "-0", "+1", "01", "1.", ".5", "1.50", "1e3", "1234567890123456", "0.0000000001", "0x1", " 1", "١"} {
		if algo.Decimal(s).Valid() {
			t.Errorf("%s is no decimal", s)
		}
	}
	if d, ok := algo.NewDecimal(-0.25); !ok || d != "-0.25" || d.Rat().RatString() != "-1/4" {
		t.Error(d, ok)
	}
}

// FuzzDecode: what is accepted has one encoding, and nothing else happens to the process.
func FuzzDecode(f *testing.F) {
	b, err := algo.Record("cost", cost)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"sdk":"1","program":"x","nodes":[{"op":"input","name":"a"},{"op":"group","args":[0]},{"op":"count","args":[1]},{"op":"reveal","args":[1,2],"name":"t","names":["n"]}]}`))
	f.Add([]byte(`{"sdk":"2","program":"x","nodes":[]}`))
	f.Add([]byte(`{"sdk":"1","program":"x","nodes":[{"op":"filter","args":[1]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, types, err := algo.Decode(b)
		if err != nil {
			return
		}
		again, err := g.Encode()
		if err != nil || !bytes.Equal(again, b) || len(types.Of) != len(g.Nodes) {
			t.Fatalf("%v: %q", err, again)
		}
	})
}

func TestDecodeIsStrict(t *testing.T) {
	const ok = `{"sdk":"1","program":"x","nodes":[{"op":"input","name":"a"},{"op":"group","args":[0]},{"op":"count","args":[1]},{"op":"reveal","args":[1,2],"name":"t","names":["n"]}]}`
	if _, _, err := algo.Decode([]byte(ok)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"version":     {`"sdk":"1"`, `"sdk":"2"`},
		"unknown key": {`"op":"count",`, `"op":"count","then":1,`},
		"later node":  {`"args":[1]}`, `"args":[3]}`},
		"negative":    {`"args":[1]}`, `"args":[-1]}`},
		"operator":    {`"op":"count"`, `"op":"rows"`},
		"kinds":       {`"op":"count","args":[1]`, `"op":"count","args":[0]`},
		"field":       {`"op":"count",`, `"op":"count","rank":1,`},
		"space":       {`"nodes":[`, `"nodes": [`},
		"twice":       {`"program":"x"`, `"program":"y","program":"x"`},
		"case":        {`"program"`, `"Program"`},
		"after":       {`]}`, `]} 1`},
		"escape":      {`"t"`, `"\u0074"`},
	} {
		b := strings.Replace(ok, change[0], change[1], 1)
		if name == "after" {
			b = ok + " 1"
		}
		if b == ok {
			t.Fatalf("%s changes nothing", name)
		}
		if _, _, err := algo.Decode([]byte(b)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestMain records in a process of its own, as an image does.
func TestMain(m *testing.M) {
	switch os.Getenv("ALGO_TEST_PROGRAM") {
	case "cost":
		algo.Main("cost", cost)
	case "wrong":
		algo.Main("cost", func(p *algo.Program) { p.Input("A") })
	}
	os.Exit(m.Run())
}

func TestMainWrites(t *testing.T) {
	run := func(program string) (string, string, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{"ALGO_TEST_PROGRAM=" + program}
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		return out.String(), errs.String(), err
	}
	out, errs, err := run("cost")
	want, _ := algo.Record("cost", cost)
	if err != nil || errs != "" || out != string(want) {
		t.Error(err, errs)
	}
	out, errs, err = run("wrong")
	if err == nil || out != "" || !strings.Contains(errs, "algo_test.go:") {
		t.Error(err, out, errs)
	}
}
