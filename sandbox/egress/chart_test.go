package egress

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

func clusters(rows ...ChartRow) Chart {
	return Chart{Question: "q-1", Name: "clusters", Most: 3, Labels: []ChartLabel{{"cluster", []string{"c1", "c2", "c3"}}, {"industry", []string{"制造业", "服务业"}}},
		Values: []ChartValue{{"east", "m", 0, 0, 50000, 500}, {"share", "", 3, -1000, 1000, 50}}, Rows: rows}
}

var someRows = []ChartRow{{[]int{1, 0}, []int64{12500, -50}}, {[]int{0, 1}, []int64{500, 1000}}}

func TestChartIsOneEncoding(t *testing.T) {
	a, err := EncodeChart(clusters(someRows...))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := EncodeChart(clusters(someRows[1], someRows[0])); err != nil || !bytes.Equal(a, b) {
		t.Errorf("the order of rows shows: %v", err)
	}
	if q, err := Read(sandbox.ClassF, a); err != nil || q != "q-1" {
		t.Errorf("%s %v", q, err)
	}
	c, err := DecodeChart(a)
	if err != nil {
		t.Fatal(err)
	}
	if head, rows := c.Table(); strings.Join(head, ",") != "cluster,industry,east (m),share" || len(rows) != 2 || strings.Join(rows[1], ",") != "c2,制造业,12500,-0.050" {
		t.Errorf("%v %v", head, rows)
	}
	for name, change := range map[string][2]string{
		"a space": {`"most":3`, `"most": 3`}, "another order": {`"rows":[`, `"rows":[{"labels":[2,1],"values":[0,0]},`}, "off its step": {"12500", "12501"}, "off its range": {"12500", "50500"},
		"an unknown label": {`"labels":[1,0]`, `"labels":[3,0]`}, "no label": {`"labels":[1,0]`, `"labels":[1]`}, "no value": {`[12500,-50]`, `[12500]`}, "twice": {`"labels":[1,0]`, `"labels":[0,1]`},
		"more rows than declared": {`"most":3`, `"most":1`}, "a formula": {`"c1"`, `"=c1"`}, "an unseen character": {`"c1"`, "\"c\u200b1\""}, "a text beside": {`"most":3`, `"most":3,"title":"x"`}, "what follows": {`]}]}`, `]}]} `},
		"-0": {`"values":[500`, `"values":[-0`},
	} {
		other := strings.Replace(string(a), change[0], change[1], 1)
		if other == string(a) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := DecodeChart([]byte(other)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Chart){
		"an order of its own in a label": func(c *Chart) { c.Labels[0].Of[0] = " c1" }, "a label twice": func(c *Chart) { c.Labels[0].Of[0] = "c2" }, "no label": func(c *Chart) { c.Labels = nil },
		"a long unit": func(c *Chart) { c.Values[0].Unit = strings.Repeat("m", 33) }, "no step": func(c *Chart) { c.Values[0].Step = 0 }, "a name twice": func(c *Chart) { c.Values[0].Name = "cluster" },
		"uneven": func(c *Chart) { c.Values[0].Step = 7 }, "no rows declared": func(c *Chart) { c.Most = 0 }} {
		c := clusters(someRows...)
		change(&c)
		if _, err := EncodeChart(c); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestChartBits: what is counted is never less than the logarithm of how many charts of the schema there are.
func TestChartBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Chart{Most: rapid.IntRange(1, 6).Draw(t, "rows")}
		cells, values := 1.0, 1.0
		for range rapid.IntRange(1, 2).Draw(t, "labels") {
			n := rapid.IntRange(1, 4).Draw(t, "of")
			c.Labels, cells = append(c.Labels, ChartLabel{Of: make([]string, n)}), cells*float64(n)
		}
		for range rapid.IntRange(0, 3).Draw(t, "values") {
			n := rapid.Int64Range(1, 1<<31).Draw(t, "levels")
			c.Values, values = append(c.Values, ChartValue{Max: n, Step: 1}), values*float64(n+1)
		}
		charts := 0.0 // Σ choose(cells, r) · values^r
		for r := 0; r <= min(c.Most, int(cells)); r++ {
			choose := 1.0
			for k := range r {
				choose *= (cells - float64(k)) / float64(k+1)
			}
			charts += choose * math.Pow(values, float64(r))
		}
		if bits := float64(c.MilliBits()) / 1000; bits < math.Log2(charts)-1e-9 {
			t.Fatalf("%f bits are counted of %f", bits, math.Log2(charts))
		}
	})
	if got := clusters().MilliBits(); got > scan.MilliBits(6*1000*(math.Log2(101*41+1)+0.01)) {
		t.Errorf("%d", got)
	}
}

func terms() ChartTerms {
	source := [][]string{{"x", "12500", "-0.05", "制造业"}}
	_, rows := clusters(someRows...).Table()
	tr := scan.NewTraces(rows, 3)
	for range 100 {
		tr.Add(source[0], true)
	}
	return ChartTerms{Chart: clusters(someRows...), Params: Params{MinSubjects: 10}, Cap: 100, People: 100, Rows: 100, Traces: tr, Same: true, Tier: "T1", Grade: 2}
}

// TestChartBeforeReviewers: a chart comes before reviewers with every item held, and is withheld where one is not.
func TestChartBeforeReviewers(t *testing.T) {
	submit := func(x ChartTerms) Review {
		p, err := Charted(x)
		if HardHit(err) {
			return Isolate(Submission{Question: "q-1", Class: sandbox.ClassF, Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5)}, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return Submit(Submission{Question: "q-1", Class: sandbox.ClassF, Author: "id-operator", Recipient: "id-operator", Datasets: []sandbox.DatasetID{"claims"}, Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5)}, p)
	}
	if r := submit(terms()); r.State != InReview || r.MilliBits == 0 || len(r.Items) != 8 {
		t.Fatalf("%s %s", r.State, r.Cause)
	}
	for item, change := range map[string]func(*ChartTerms){
		"bits":     func(x *ChartTerms) { x.Cap = 40 },
		"support":  func(x *ChartTerms) { x.People = 19 },
		"confined": func(x *ChartTerms) { x.Same = false },
		"rows": func(x *ChartTerms) {
			_, rows := x.Chart.Table()
			x.Traces = scan.NewTraces(rows, 3)
			x.Traces.Add([]string{"-0.0500", "zzz", "12500", "制造业"}, true)
		},
	} {
		x := terms()
		change(&x)
		if r := submit(x); r.State != Withheld || !strings.Contains(r.Cause, "item "+item) || len(r.Result) > 0 {
			t.Errorf("%s: %s %s", item, r.State, r.Cause)
		}
	}
	x := terms()
	x.Params.MaxBits = 40
	if r := submit(x); r.State != Withheld {
		t.Errorf("over the owner's bits: %s", r.State)
	}
	x = terms()
	x.Chart.Labels = []ChartLabel{{"cluster", []string{"c1", "c2", "13800138000"}}, x.Chart.Labels[1]} // a mobile number, in a row that is not there
	if r := submit(x); r.State != Quarantined {
		t.Errorf("an identifier among the labels: %s", r.State)
	}
	x = terms()
	x.Chart.Rows = []ChartRow{{[]int{0, 0}, []int64{1, 0}}}
	if _, err := Charted(x); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("off its step: %v", err)
	}
	// Never by a template, however it fits.
	tpl, err := NewTemplate(standing(), lead, agency, "policy/1", now)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Charted(terms())
	if err != nil {
		t.Fatal(err)
	}
	s := Submission{Question: "q-1", Class: sandbox.ClassF, Author: asker.ID, Recipient: asker.ID, Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5), Template: &tpl, Asked: TemplateUse{Scenario: "sc", Spec: Digest([]byte("q"))}}
	if r := Submit(s, p); r.State != InReview || r.Template != "" {
		t.Errorf("by a template: %s", r.State)
	}
}
