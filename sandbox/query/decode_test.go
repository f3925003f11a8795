package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

const small = `{"scenario":"s","purpose":"p","inputs":[{"alias":"c","dataset":"claims"}],"measures":[{"func":"count","as":"n"}]}`

func TestDecode(t *testing.T) {
	b, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Decode(b)
	if err != nil || !bytes.Equal(s.Canonical(), good().Canonical()) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := Decode([]byte(small)); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		in   string
		kind sandbox.Kind
	}{
		"empty":            {"", sandbox.Invalid},
		"array":            {"[]", sandbox.Invalid},
		"scalar":           {"1", sandbox.Invalid},
		"null":             {"null", sandbox.Invalid},
		"two":              {small + small, sandbox.Invalid},
		"trailing":         {small + "x", sandbox.Invalid},
		"cut":              {small[:len(small)-1], sandbox.Invalid},
		"unknown key":      {strings.Replace(small, `"purpose"`, `"porpoise":1,"purpose"`, 1), sandbox.Invalid},
		"key twice":        {strings.Replace(small, `"purpose"`, `"purpose":"q","purpose"`, 1), sandbox.Invalid},
		"key twice inside": {strings.Replace(small, `"func"`, `"func":"sum","func"`, 1), sandbox.Invalid},
		"upper case":       {strings.Replace(small, `"purpose"`, `"Purpose"`, 1), sandbox.Invalid},
		"folded":           {strings.Replace(small, `"measures"`, `"meaſures"`, 1), sandbox.Invalid},
		"not UTF-8":        {strings.Replace(small, `"n"`, "\"\xff\"", 1), sandbox.Invalid},
		"wrong type":       {strings.Replace(small, `"n"`, `7`, 1), sandbox.Invalid},
		"deep":             {strings.Repeat("[", 1000), sandbox.Invalid},
		"too large":        {strings.Repeat(" ", MaxBytes) + small, sandbox.TooLarge},
	} {
		if _, err := Decode([]byte(c.in)); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestValidate changes one thing of a valid question at a time.
func TestValidate(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	many := func(n int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprint(i))
		}
		return out
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		place  string
	}{
		"scenario":          {func(s *Spec) { s.Scenario = "" }, "scenario"},
		"purpose":           {func(s *Spec) { s.Purpose = "A b" }, "purpose"},
		"no inputs":         {func(s *Spec) { s.Inputs = nil }, "inputs"},
		"many inputs":       {func(s *Spec) { s.Inputs = make([]Input, MaxInputs+1) }, "inputs"},
		"alias":             {func(s *Spec) { s.Inputs[1].Alias = "a.b" }, "input 2"},
		"alias twice":       {func(s *Spec) { s.Inputs[1].Alias = "c" }, "input 2"},
		"dataset":           {func(s *Spec) { s.Inputs[1].Dataset = "D" }, "input 2"},
		"two versions":      {func(s *Spec) { s.Inputs[1].Dataset, s.Inputs[1].Version = "claims", 4 }, "input 2"},
		"first joins":       {func(s *Spec) { s.Inputs[0].With = "p" }, "input 1"},
		"joins nothing":     {func(s *Spec) { s.Inputs[1].With = "" }, "input 2"},
		"joins later":       {func(s *Spec) { s.Inputs[1].With = "h" }, "input 2"},
		"joins itself":      {func(s *Spec) { s.Inputs[1].With = "p" }, "input 2"},
		"join twice":        {func(s *Spec) { s.Inputs = append(s.Inputs, Input{Alias: "q", Dataset: "persons", With: "c"}) }, "input 4"},
		"key twice":         {func(s *Spec) { s.Inputs[2].On = append(s.Inputs[2].On, s.Inputs[2].On[0]) }, "input 3"},
		"first by subject":  {func(s *Spec) { s.Inputs[0].Subject = true }, "input 1"},
		"subject, no keys":  {func(s *Spec) { s.Inputs[1].Subject = true }, "input 2"},
		"many keys":         {func(s *Spec) { s.Inputs[2].On = make([]Key, MaxKeys+1) }, "input 3"},
		"key name":          {func(s *Spec) { s.Inputs[2].On = []Key{{"", "x"}} }, "input 3"},
		"column, no alias":  {func(s *Spec) { s.Filters[0].Column = "sex" }, "filter 1"},
		"column, bad alias": {func(s *Spec) { s.Dimensions[0].Column = "x.sex" }, "dimension 1"},
		"column, empty":     {func(s *Spec) { s.Measures[2].Column = "c." }, "measure 3"},
		"bin":               {func(s *Spec) { s.Filters[0].Bin = "B" }, "filter 1"},
		"no labels":         {func(s *Spec) { s.Filters[0].In = nil }, "filter 1"},
		"many labels":       {func(s *Spec) { s.Filters[0].In = many(MaxLabels + 1) }, "filter 1"},
		"label twice":       {func(s *Spec) { s.Filters[0].In = []string{"a", "a"} }, "filter 1"},
		"label empty":       {func(s *Spec) { s.Filters[0].In = []string{""} }, "filter 1"},
		"label control":     {func(s *Spec) { s.Filters[0].In = []string{"a\x00"} }, "filter 1"},
		"label long":        {func(s *Spec) { s.Filters[0].In = []string{strings.Repeat("a", maxText+1)} }, "filter 1"},
		"name empty":        {func(s *Spec) { s.Dimensions[0].As = "" }, "dimension 1"},
		"name twice":        {func(s *Spec) { s.Measures[0].As = s.Dimensions[0].As }, "measure 1"},
		"name newline":      {func(s *Spec) { s.Measures[0].As = "a\nb" }, "measure 1"},
		"grouping twice": {func(s *Spec) {
			s.Dimensions = append(s.Dimensions, Dimension{Column: "c.icd10", Bin: "chapter", As: "x"})
		}, "dimension 4"},
		"measure twice":   {func(s *Spec) { s.Measures = append(s.Measures, Measure{Func: sandbox.Count, As: "x"}) }, "measure 5"},
		"func":            {func(s *Spec) { s.Measures[0].Func = "median" }, "measure 1"},
		"count of column": {func(s *Spec) { s.Measures[0].Column = "c.amount" }, "measure 1"},
		"many filters":    {func(s *Spec) { s.Filters = make([]Filter, MaxFilters+1) }, "filters"},
		"many dimensions": {func(s *Spec) { s.Dimensions = make([]Dimension, MaxDimensions+1) }, "dimensions"},
		"many measures":   {func(s *Spec) { s.Measures = make([]Measure, MaxMeasures+1) }, "measures"},
		"outer join":      {func(s *Spec) { s.Inputs[1].Join = "outer" }, "input 2"},
		"first left":      {func(s *Spec) { s.Inputs[0].Join = LeftJoin }, "input 1"},
		"inner and left": {func(s *Spec) {
			s.Inputs = append(s.Inputs, Input{Alias: "q", Dataset: "persons", With: "c", Join: LeftJoin})
		}, "input 4"},
		"sum with a second":    measured(Measure{Func: sandbox.Sum, Column: "c.amount", With: []string{"c.paid"}}),
		"ratio of one":         measured(Measure{Func: sandbox.Ratio, Column: "c.amount"}),
		"ratio of three":       measured(Measure{Func: sandbox.Ratio, Column: "c.amount", With: []string{"c.paid", "c.secret"}}),
		"ratio to itself":      measured(Measure{Func: sandbox.Ratio, Column: "c.amount", With: []string{"c.amount"}}),
		"no regressor":         measured(Measure{Func: sandbox.Linear, Column: "c.amount"}),
		"many regressors":      measured(Measure{Func: sandbox.Linear, Column: "c.amount", With: make([]string, MaxRegressors+1)}),
		"regressor twice":      measured(Measure{Func: sandbox.Linear, Column: "c.amount", With: []string{"c.paid", "c.paid"}}),
		"regressor nowhere":    measured(Measure{Func: sandbox.Linear, Column: "c.amount", With: []string{"x.paid"}}),
		"quantile of no rank":  measured(Measure{Func: sandbox.Quantile, Column: "c.amount"}),
		"quantile of the most": measured(Measure{Func: sandbox.Quantile, Column: "c.amount", Q: 1000}),
		"quantile below":       measured(Measure{Func: sandbox.Quantile, Column: "c.amount", Q: -1}),
		"a rank for a sum":     measured(Measure{Func: sandbox.Variance, Column: "c.amount", Q: 500}),
		"a bin for a sum":      measured(Measure{Func: sandbox.Variance, Column: "c.amount", Bin: "size"}),
		"histogram, no bin":    measured(Measure{Func: sandbox.Histogram, Column: "c.amount"}),
		"histogram, bad bin":   measured(Measure{Func: sandbox.Histogram, Column: "c.amount", Bin: "A B"}),
		"variance of nothing":  measured(Measure{Func: sandbox.Variance}),
		"the same in both orders": {func(s *Spec) {
			s.Measures = []Measure{{Func: sandbox.Correlation, Column: "c.amount", With: []string{"c.paid"}, As: "x"}, {Func: sandbox.Correlation, Column: "c.paid", With: []string{"c.amount"}, As: "y"}}
		}, "measure 2"},
		"the same regression": {func(s *Spec) {
			s.Measures = []Measure{{Func: sandbox.Linear, Column: "c.amount", With: []string{"c.paid", "c.secret"}, As: "x"}, {Func: sandbox.Linear, Column: "c.amount", With: []string{"c.secret", "c.paid"}, As: "y"}}
		}, "measure 2"},
		"having nothing":    {func(s *Spec) { s.Having = []Having{{"none", 3}} }, "having 1"},
		"having a sum":      {func(s *Spec) { s.Having = []Having{{"sum", 3}} }, "having 1"},
		"having none":       {func(s *Spec) { s.Having = []Having{{"n", 0}} }, "having 1"},
		"having twice":      {func(s *Spec) { s.Having = []Having{{"n", 3}, {"n", 5}} }, "having 2"},
		"many having":       {func(s *Spec) { s.Having = make([]Having, MaxHaving+1) }, "having"},
		"top by nothing":    {func(s *Spec) { s.Top = &Top{"none", 3} }, "top"},
		"top of none":       {func(s *Spec) { s.Top = &Top{"n", 0} }, "top"},
		"top of too many":   {func(s *Spec) { s.Top = &Top{"n", MaxTop + 1} }, "top"},
		"top by an extreme": {func(s *Spec) { s.Measures[2].Func, s.Top = sandbox.Max, &Top{"sum", 3} }, "top"},
	} {
		s := good()
		c.change(&s)
		if err := s.Validate(); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.place) {
			t.Errorf("%s: %v does not name %s", name, err, c.place)
		}
	}
}

// measured puts one measure in the place of a question's first.
func measured(m Measure) struct {
	change func(*Spec)
	place  string
} {
	m.As = "x"
	return struct {
		change func(*Spec)
		place  string
	}{func(s *Spec) { s.Measures = []Measure{m} }, "measure 1"}
}

// TestCanonicalVectors pins the encoding: digests of past questions must stay valid.
func TestCanonicalVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/canonical.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Question  json.RawMessage `json:"question"`
		Canonical string          `json:"canonical"`
	}
	if err := json.Unmarshal(b, &vectors); err != nil || len(vectors) == 0 {
		t.Fatal(err)
	}
	for i, v := range vectors {
		s, err := Decode(v.Question)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(s.Canonical()); got != v.Canonical {
			t.Errorf("vector %d encodes as\n%s", i, got)
		}
	}
}

// drawSpec draws a valid question.
func drawSpec(t *rapid.T) Spec {
	s := Spec{Scenario: "s", Purpose: "p", Inputs: []Input{{Alias: "a0", Dataset: "d0"}}}
	for i := range rapid.IntRange(0, 4).Draw(t, "joins") {
		in := Input{Alias: fmt.Sprint("a", i+1), Dataset: sandbox.DatasetID(fmt.Sprint("d", rapid.IntRange(0, 2).Draw(t, "dataset"))),
			With: fmt.Sprint("a", rapid.IntRange(0, i).Draw(t, "with"))}
		in.On = rapid.SliceOfNDistinct(rapid.SampledFrom([]Key{{"k", "k"}, {"k", "l"}, {"l", "k"}}), 0, 3, rapid.ID[Key]).Draw(t, "on")
		in.Subject = len(in.On) > 0 && rapid.Bool().Draw(t, "subject")
		in.Join = rapid.SampledFrom([]JoinKind{"", LeftJoin}).Draw(t, "join")
		s.Inputs = append(s.Inputs, in)
	}
	column := func() string {
		return fmt.Sprint("a", rapid.IntRange(0, len(s.Inputs)-1).Draw(t, "input"), ".", rapid.SampledFrom([]string{"x", "y"}).Draw(t, "column"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "filters") {
		s.Filters = append(s.Filters, Filter{Column: column(), Bin: sandbox.BinID(rapid.SampledFrom([]string{"", "b"}).Draw(t, "bin")), Not: rapid.Bool().Draw(t, "not"),
			In: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"u", "v", "w"}), 1, 3, rapid.ID[string]).Draw(t, "in")})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "dimensions") {
		s.Dimensions = append(s.Dimensions, Dimension{Column: column(), As: fmt.Sprint("d", i)})
	}
	s.Measures = []Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: column(), As: "s"}, {Func: sandbox.Mean, Column: column(), As: "m"}}
	for i := range rapid.IntRange(0, 4).Draw(t, "more measures") {
		m := Measure{Func: rapid.SampledFrom(sandbox.MeasureFuncs).Draw(t, "func"), As: fmt.Sprint("x", i)}
		if m.Func != sandbox.Count && m.Func != sandbox.Subjects {
			m.Column = column()
		}
		switch m.Func {
		case sandbox.Quantile:
			m.Q = rapid.IntRange(1, 999).Draw(t, "q")
		case sandbox.Histogram:
			m.Bin = "b"
		case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
			m.With = []string{column()}
		case sandbox.Linear, sandbox.Logistic:
			m.With = rapid.SliceOfN(rapid.Custom(func(*rapid.T) string { return column() }), 1, 3).Draw(t, "with")
		}
		s.Measures = append(s.Measures, m)
	}
	if rapid.Bool().Draw(t, "having") {
		s.Having = []Having{{Measure: "n", AtLeast: rapid.Int64Range(1, 50).Draw(t, "at least")}}
		s.Measures = append(s.Measures, Measure{Func: sandbox.Subjects, As: "people"})
		s.Having = append(s.Having, Having{Measure: "people", AtLeast: 3})
	}
	if rapid.Bool().Draw(t, "top") {
		s.Top = &Top{By: rapid.SampledFrom([]string{"n", "s", "m"}).Draw(t, "top by"), K: rapid.IntRange(1, MaxTop).Draw(t, "k")}
	}
	if s.Validate() != nil {
		t.Skip("a part stands twice")
	}
	return s
}

// shuffled rewrites a question in an equal way: other aliases, other order.
func shuffled(t *rapid.T, s Spec) Spec {
	b, _ := json.Marshal(s)
	var out Spec
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	order := rapid.Permutation([]int{1, 2, 3, 4}).Draw(t, "order")
	alias := func(old string) string { return fmt.Sprint("z", order[(len(old)+int(old[1]))%4], old[1:]) }
	var inputs []Input
	rest := slices.Clone(out.Inputs[1:])
	for placed := map[string]bool{"a0": true}; len(rest) > 0; {
		var ready []int
		for i, in := range rest {
			if placed[in.With] {
				ready = append(ready, i)
			}
		}
		i := rapid.SampledFrom(ready).Draw(t, "next")
		placed[rest[i].Alias] = true
		inputs = append(inputs, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	out.Inputs = append(out.Inputs[:1], inputs...)
	for i := range out.Inputs {
		in := &out.Inputs[i]
		in.Alias = alias(in.Alias)
		if in.With != "" {
			in.With = alias(in.With)
		}
		slices.Reverse(in.On)
	}
	rename := func(ref string) string {
		if ref == "" {
			return ""
		}
		a, c, _ := strings.Cut(ref, ".")
		return alias(a) + "." + c
	}
	for i := range out.Filters {
		out.Filters[i].Column = rename(out.Filters[i].Column)
		slices.Reverse(out.Filters[i].In)
	}
	for i := range out.Dimensions {
		out.Dimensions[i].Column = rename(out.Dimensions[i].Column)
	}
	for i := range out.Measures {
		m := &out.Measures[i]
		m.Column = rename(m.Column)
		for j := range m.With {
			m.With[j] = rename(m.With[j])
		}
		switch m.Func {
		case sandbox.Linear, sandbox.Logistic:
			slices.Reverse(m.With)
		case sandbox.Covariance, sandbox.Correlation:
			m.Column, m.With[0] = m.With[0], m.Column
		}
	}
	slices.Reverse(out.Having)
	slices.Reverse(out.Filters)
	slices.Reverse(out.Dimensions)
	slices.Reverse(out.Measures)
	return out
}

func TestEqualQuestionsHaveEqualBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		want := s.Canonical()
		if got := shuffled(t, s).Canonical(); !bytes.Equal(got, want) {
			t.Fatalf("%s\n%s", got, want)
		}
		back, err := Decode(want)
		if err != nil || !bytes.Equal(back.Canonical(), want) {
			t.Fatalf("canonical bytes are not their own canonical form: %v", err)
		}
	})
}

// TestDifferentQuestionsHaveDifferentBytes makes each small change to a question and looks for the same bytes.
func TestDifferentQuestionsHaveDifferentBytes(t *testing.T) {
	changes := []func(*Spec){
		func(*Spec) {},
		func(s *Spec) { s.Scenario = "s-2" },
		func(s *Spec) { s.Purpose = "care" },
		func(s *Spec) { s.Inputs[0].Version = 1 },
		func(s *Spec) { s.Inputs[1].With, s.Inputs[1].On = "c", []Key{{"hospital", "doctor"}} },
		func(s *Spec) { s.Inputs[1], s.Inputs[2].With = Input{Alias: "p", Dataset: "persons", With: "c"}, "p" },
		func(s *Spec) { s.Inputs[0].Dataset, s.Inputs[1].Dataset = "persons", "claims" },
		func(s *Spec) { s.Inputs[1].On, s.Inputs[1].Subject = []Key{{"hospital", "doctor"}}, true },
		func(s *Spec) { s.Filters = s.Filters[1:] },
		func(s *Spec) { s.Filters[0].Not = true },
		func(s *Spec) { s.Filters[0].In = s.Filters[0].In[1:] },
		func(s *Spec) { s.Filters[0].Bin = "month" },
		func(s *Spec) { s.Dimensions = s.Dimensions[1:] },
		func(s *Spec) { s.Dimensions[0].Bin = "letter" },
		func(s *Spec) { s.Dimensions[0].As = "x" },
		func(s *Spec) { s.Measures = s.Measures[1:] },
		func(s *Spec) { s.Measures[2].Column = "c.paid" },
		func(s *Spec) { s.Measures[2].Func = sandbox.Mean; s.Measures = s.Measures[:3] },
		func(s *Spec) { s.Inputs[2].Join = LeftJoin },
		func(s *Spec) { s.Measures[2].Func = sandbox.Variance },
		func(s *Spec) { s.Measures[2].Func, s.Measures[2].Q = sandbox.Quantile, 500 },
		func(s *Spec) { s.Measures[2].Func, s.Measures[2].Q = sandbox.Quantile, 250 },
		func(s *Spec) { s.Measures[2].Func, s.Measures[2].Bin = sandbox.Histogram, "size" },
		func(s *Spec) { s.Measures[2].Func, s.Measures[2].Bin = sandbox.Histogram, "half" },
		func(s *Spec) { s.Measures[2].Func, s.Measures[2].With = sandbox.Ratio, []string{"c.paid"} },
		func(s *Spec) {
			s.Measures[2].Func, s.Measures[2].Column, s.Measures[2].With = sandbox.Ratio, "c.paid", []string{"c.amount"}
		},
		func(s *Spec) { s.Measures[2].Func, s.Measures[2].With = sandbox.Linear, []string{"c.paid"} },
		func(s *Spec) { s.Measures[2].Func, s.Measures[2].With = sandbox.Linear, []string{"c.paid", "c.days"} },
		func(s *Spec) { s.Having = []Having{{"n", 5}} },
		func(s *Spec) { s.Having = []Having{{"n", 6}} },
		func(s *Spec) { s.Having = []Having{{"人数", 5}} },
		func(s *Spec) { s.Top = &Top{"sum", 3} },
		func(s *Spec) { s.Top = &Top{"sum", 4} },
		func(s *Spec) { s.Top = &Top{"mean", 3} },
	}
	seen := map[string]int{}
	for i, change := range changes {
		s := good()
		change(&s)
		b := string(s.Canonical())
		if j, ok := seen[b]; ok {
			t.Errorf("changes %d and %d encode alike", j, i)
		}
		seen[b] = i
	}
}

func TestCanonicalLeavesTheSpecAlone(t *testing.T) {
	s := good()
	before, _ := json.Marshal(s)
	s.Canonical()
	if after, _ := json.Marshal(s); !bytes.Equal(before, after) {
		t.Errorf("%s became %s", before, after)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := json.Marshal(good())
	f.Add(b)
	f.Add([]byte(small))
	f.Add([]byte(strings.Replace(small, `"p"`, `"p","filters":[{"column":"c.x","in":["a"]}]`, 1)))
	f.Add([]byte(`{"inputs":[{"alias":"c","dataset":"claims"},{"alias":"d","dataset":"claims","with":"c","on":[{"left":"a","right":"b"}]}]}`))
	for _, m := range []string{`"func":"linear","column":"c.paid","with":["c.amount","c.paid2"]`, `"func":"covariance","column":"c.b","with":["c.a"]`,
		`"func":"quantile","column":"c.amount","q":999`, `"func":"quantile","column":"c.amount","q":-1`, `"func":"histogram","column":"c.amount","bin":"size"`,
		`"func":"distinct","column":"c.icd10","bin":"chapter"`, `"func":"count","with":["c.a"]`, `"func":"linear","column":"c.a","with":["c.a"]`, `"func":"ratio","column":"c.a","with":[]`} {
		f.Add([]byte(strings.Replace(small, `"func":"count"`, m, 1)))
	}
	for _, shown := range []string{`"having":[{"measure":"n","at_least":5}]`, `"having":[{"measure":"n","at_least":-9223372036854775808}]`, `"top":{"by":"n","k":10}`,
		`"top":null`, `"having":null`, `"top":{"by":"n","k":9223372036854775807}`, `"top":{"by":"n","k":1e3}`} {
		f.Add([]byte(strings.TrimSuffix(small, "}") + "," + shown + "}"))
	}
	f.Add([]byte(`{"scenario":"s","purpose":"p","inputs":[{"alias":"c","dataset":"claims"},{"alias":"d","dataset":"persons","with":"c","join":"left"}],"measures":[{"func":"count","as":"n"}]}`))
	f.Add([]byte(`{"scenario":"s","purpose":"p","inputs":[{"alias":"c","dataset":"claims","join":"outer"}],"measures":[{"func":"count","as":"n"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			if k := sandbox.KindOf(err); k != sandbox.Invalid && k != sandbox.TooLarge {
				t.Fatalf("kind %s", k)
			}
			return
		}
		c := s.Canonical()
		back, err := Decode(c)
		if len(c) <= MaxBytes && (err != nil || !bytes.Equal(back.Canonical(), c)) {
			t.Fatalf("the canonical form does not read back: %v", err)
		}
		d, reasons := Derive(s, data(), rules())
		if d.Complete() != (len(reasons) == 0) || bits.Len(uint(d.Highest)) == 0 {
			t.Fatal("complete exactly when nothing is refused")
		}
		_ = d.Explain().Text()
	})
}
