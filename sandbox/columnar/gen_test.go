package columnar

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// genTables draws tables in which values collide and nulls are common.
func genTables(t *rapid.T) map[sandbox.DatasetID]*table {
	maybe := func(c string, v *rapid.Generator[any]) any {
		if rapid.IntRange(0, 4).Draw(t, c+" null") == 0 {
			return nil
		}
		return v.Draw(t, c)
	}
	text := func(v ...any) *rapid.Generator[any] { return rapid.SampledFrom(v) }
	number := func(lo, hi int64) *rapid.Generator[any] {
		return rapid.Map(rapid.Int64Range(lo, hi), func(v int64) any { return v })
	}
	born := rapid.OneOf(number(-40000, 21000), text(int64(19782), int64(19781), int64(19417), int64(19416), int64(20512), int64(20148), int64(-800000), int64(2000000)))
	site := text("s1", "s2", "", "a site with a long name", "another site, long name")
	ts := map[sandbox.DatasetID]*table{}
	most := rapid.IntRange(1, 3).Draw(t, "rows of a key")
	v := &table{ds: visits()}
	inOrder, who := rapid.Bool().Draw(t, "in order"), 0
	for range rapid.IntRange(0, 60).Draw(t, "visits") {
		if inOrder {
			who = min(12, who+rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "next"))
		} else {
			who = rapid.IntRange(0, 12).Draw(t, "who")
		}
		v.subjects = append(v.subjects, pseudonym(who))
		v.rows = append(v.rows, map[string]any{"person": "x",
			"icd":  maybe("icd", text("J", "J10", "J10.1", "A", "missing", "other", "Z-long-code-1", "Z-long", "", "B")),
			"day":  maybe("day", number(16000, 20600)),
			"born": born.Draw(t, "born"), "cost": maybe("cost", number(-200, 200)), "beds": rapid.Int64Range(-2, 3).Draw(t, "beds"),
			"index": maybe("index", number(-1500, 1500)), "night": maybe("night", text(true, false)),
			"site": maybe("site", site), "ward": maybe("ward", number(0, 2))})
	}
	ts["visits"] = v
	for _, ds := range []catalog.Dataset{people(), relatives()} {
		p := &table{ds: ds}
		for n := range 13 {
			for range rapid.SampledFrom([]int{0, 0, 1, 1, 1, most}).Draw(t, "known") {
				p.subjects = append(p.subjects, pseudonym(n))
				p.rows = append(p.rows, map[string]any{"person": "x", "street": maybe("street", text("k", "m", "street of long name")),
					"born": maybe("born", born), "income": maybe("income", number(0, 90))})
			}
		}
		ts[ds.ID] = p
	}
	s := &table{ds: sites()}
	for _, a := range []any{nil, "s1", "s2", "", "a site with a long name"} {
		for _, w := range []any{nil, int64(0), int64(1)} {
			for range rapid.SampledFrom([]int{0, 0, 1, 1, 1, most}).Draw(t, "site") {
				s.subjects = append(s.subjects, pseudonym(100+len(s.rows)))
				s.rows = append(s.rows, map[string]any{"owner": "o", "site": a, "ward": w, "street": maybe("street", text("k", "m")),
					"level": rapid.Int64Range(1, 3).Draw(t, "level"), "fee": maybe("fee", number(-9, 9))})
			}
		}
	}
	ts["sites"] = s
	st := &table{ds: streets()}
	for _, name := range []string{"k", "m", "street of long name"} {
		for range rapid.SampledFrom([]int{0, 0, 1, 1, 1, most}).Draw(t, "street") {
			st.subjects = append(st.subjects, pseudonym(200))
			st.rows = append(st.rows, map[string]any{"owner": "o", "street": name, "zone": rapid.SampledFrom([]string{"n", "s", "missing"}).Draw(t, "zone")})
		}
	}
	ts["streets"] = st
	return ts
}

// genSpec draws a question over them.
func genSpec(t *rapid.T) query.Spec {
	s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}}}
	labels := map[string][]string{ // column and bin → labels worth asking
		"v.icd": {"J", "missing", "other", "Z-long-code-1"}, "v.icd chapter": {"J", "flu", "long", "other", "missing"}, "v.icd list": {"a", "b", "other", "missing"},
		"v.day year": {"2020", "2025", "other", "missing"}, "v.day": {"2020-01-01", "missing"}, "v.born age": {"<0", "18-60", "≥60"}, "v.born leap": {"<1", "1-4"},
		"v.born wide": {"-20000000-1", "1-900", "900-20000000"}, "v.cost size": {"<-5", "≥100", "missing"}, "v.cost": {"0.05", "-1.00", "missing"},
		"v.beds": {"0", "-2"}, "v.index": {"0.000", "-0.001", "missing"}, "v.night": {"true", "missing"},
	}
	values := []string{"v.cost", "v.beds", "v.index"}
	join := func() query.JoinKind { return rapid.SampledFrom([]query.JoinKind{"", query.LeftJoin}).Draw(t, "join") }
	if rapid.Bool().Draw(t, "people") {
		s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v", Join: join()})
		labels["p.street"], labels["p.born age"], labels["p.born year"] = []string{"k", "missing"}, []string{"<18", "missing"}, []string{"1990"}
		values = append(values, "p.income")
		if rapid.Bool().Draw(t, "again") {
			s.Inputs = append(s.Inputs, query.Input{Alias: "q", Dataset: "relatives", With: "p", Join: join()})
			labels["q.born age"] = []string{"≥18"}
		}
	}
	if rapid.Bool().Draw(t, "sites") {
		s.Inputs = append(s.Inputs, query.Input{Alias: "s", Dataset: "sites", With: "v", Join: join(), On: []query.Key{{Left: "site", Right: "site"}, {Left: "ward", Right: "ward"}},
			Subject: rapid.IntRange(0, 3).Draw(t, "same subject") == 0})
		labels["s.level"], labels["s.street"] = []string{"1", "2"}, []string{"k"}
		values = append(values, "s.fee")
		if rapid.Bool().Draw(t, "streets") {
			s.Inputs = append(s.Inputs, query.Input{Alias: "z", Dataset: "streets", With: "s", Join: join(), On: []query.Key{{Left: "street", Right: "street"}}})
			labels["z.zone"] = []string{"n", "missing"}
		}
	} else if len(s.Inputs) > 1 && rapid.Bool().Draw(t, "streets") {
		s.Inputs = append(s.Inputs, query.Input{Alias: "z", Dataset: "streets", With: "p", Join: join(), On: []query.Key{{Left: "street", Right: "street"}}})
		labels["z.zone"] = []string{"s"}
	}
	var refs []string
	for ref := range labels {
		refs = append(refs, ref)
	}
	// Map order must not reach the draws.
	slices.Sort(refs)
	for n := range rapid.IntRange(0, 2).Draw(t, "filters") {
		ref := rapid.SampledFrom(refs).Draw(t, fmt.Sprint("filter ", n))
		col, bin, _ := strings.Cut(ref, " ")
		in := rapid.SliceOfNDistinct(rapid.SampledFrom(labels[ref]), 1, -1, rapid.ID[string]).Draw(t, "in")
		s.Filters = append(s.Filters, query.Filter{Column: col, Bin: sandbox.BinID(bin), In: in, Not: rapid.Bool().Draw(t, "not")})
	}
	for n, ref := range rapid.SliceOfNDistinct(rapid.SampledFrom(refs), 0, 4, rapid.ID[string]).Draw(t, "dimensions") {
		col, bin, _ := strings.Cut(ref, " ")
		s.Dimensions = append(s.Dimensions, query.Dimension{Column: col, Bin: sandbox.BinID(bin), As: fmt.Sprint("d", n)})
	}
	if rapid.Bool().Draw(t, "scored") {
		s.Dimensions = append(s.Dimensions, query.Dimension{Score: genScore(t, refs, labels), As: "band"})
	}
	for n := range rapid.IntRange(1, 5).Draw(t, "measures") {
		m := genMeasure(t, values, refs)
		m.As = fmt.Sprint("m", n)
		with := s
		if with.Measures = append(slices.Clone(s.Measures), m); with.Validate() == nil { // a measure stands once
			s = with
		}
	}
	return s
}

// genScore draws points for some labels.
func genScore(t *rapid.T, refs []string, labels map[string][]string) *query.Score {
	x := &query.Score{Base: rapid.Int64Range(-5, 5).Draw(t, "base"), Scale: rapid.IntRange(0, 3).Draw(t, "scale"),
		Edges: slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.Int64Range(-30, 30), 1, 4, rapid.ID[int64]).Draw(t, "edges")))}
	for _, ref := range rapid.SliceOfNDistinct(rapid.SampledFrom(refs), 1, 3, rapid.ID[string]).Draw(t, "parts") {
		col, bin, _ := strings.Cut(ref, " ")
		p := query.Part{Column: col, Bin: sandbox.BinID(bin)}
		for _, l := range rapid.SliceOfNDistinct(rapid.SampledFrom(labels[ref]), 1, -1, rapid.ID[string]).Draw(t, "scored labels") {
			p.Points = append(p.Points, query.Points{In: []string{l}, Value: rapid.Int64Range(-20, 20).Draw(t, "points")})
		}
		x.Parts = append(x.Parts, p)
	}
	return x
}

// genMeasure draws a measure of any function.
func genMeasure(t *rapid.T, values, refs []string) query.Measure {
	m := query.Measure{Func: rapid.SampledFrom(sandbox.MeasureFuncs).Draw(t, "function")}
	columns := rapid.SliceOfNDistinct(rapid.SampledFrom(values), 3, 3, rapid.ID[string]).Draw(t, "columns")
	switch m.Func {
	case sandbox.Plain:
		m.Func = sandbox.Count
	case sandbox.Count, sandbox.Subjects:
	case sandbox.Distinct, sandbox.Histogram:
		bins := slices.DeleteFunc(slices.Clone(refs), func(r string) bool {
			return m.Func == sandbox.Histogram && (!strings.Contains(r, " ") || strings.HasSuffix(r, " year"))
		})
		var bin string
		m.Column, bin, _ = strings.Cut(rapid.SampledFrom(bins).Draw(t, "labels"), " ")
		m.Bin = sandbox.BinID(bin)
	default:
		m.Column = columns[0]
		switch m.Func {
		case sandbox.Quantile:
			m.Q = rapid.SampledFrom([]int{1, 250, 500, 900, 999}).Draw(t, "q")
		case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
			m.With = columns[1:2]
		case sandbox.Dot:
			m.With = columns[1:rapid.IntRange(1, 2).Draw(t, "factors")]
		case sandbox.Linear:
			m.With = columns[1:rapid.IntRange(2, 3).Draw(t, "regressors")]
		case sandbox.Logistic:
			m.Column, m.With = "v.night", columns[:rapid.IntRange(1, 2).Draw(t, "regressors")]
		}
	}
	return m
}
