package agg

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

func visitSet() catalog.Dataset {
	return catalog.Dataset{ID: "visits", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 2},
			{Name: "icd", Type: catalog.Text, Grade: 2, Nullable: true, Public: true},
			{Name: "day", Type: catalog.Date, Grade: 2, Nullable: true, Public: true},
			{Name: "born", Type: catalog.Date, Grade: 2},
			{Name: "cost", Type: catalog.Money, Grade: 2, Nullable: true, Public: true},
			{Name: "beds", Type: catalog.Int, Grade: 2, Public: true},
			{Name: "index", Type: catalog.Number, Scale: 3, Grade: 2, Nullable: true, Public: true},
			{Name: "night", Type: catalog.Bool, Grade: 2, Nullable: true, Public: true},
			{Name: "site", Type: catalog.Text, Grade: 2, Nullable: true, JoinKey: true},
			{Name: "ward", Type: catalog.Int, Grade: 2, Nullable: true, JoinKey: true},
		},
		Bins: []catalog.Bin{
			{ID: "chapter", Column: "icd", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "J", Codes: []string{"J"}}, {Label: "flu", Codes: []string{"J10", "J11"}}}},
			{ID: "list", Column: "icd", Kind: catalog.Codes, Groups: []catalog.Group{{Label: "a", Codes: []string{"J10.1", "A"}}, {Label: "b", Codes: []string{"missing"}}}},
			{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{0, 18, 60}, At: "2025-02-28"},
			{ID: "leap", Column: "born", Kind: catalog.Age, Edges: []int64{1, 4}, At: "2024-02-29"},
			{ID: "wide", Column: "born", Kind: catalog.Age, Edges: []int64{-20000000, 1, 900, 20000000}, At: "2024-02-29"},
			{ID: "year", Column: "day", Kind: catalog.Year},
			{ID: "size", Column: "cost", Kind: catalog.Amount, Edges: []int64{-5, 0, 100}},
		}}
}

func peopleSet() catalog.Dataset {
	return catalog.Dataset{ID: "people", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 2},
			{Name: "street", Type: catalog.Text, Grade: 2, Nullable: true, Public: true, JoinKey: true},
			{Name: "born", Type: catalog.Date, Grade: 2, Nullable: true},
			{Name: "income", Type: catalog.Money, Grade: 2, Nullable: true},
		},
		Bins: []catalog.Bin{{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{18}, At: "2025-06-30"}, {ID: "half", Column: "street", Kind: catalog.Codes, Groups: []catalog.Group{{Label: "one", Codes: []string{"k"}}}}}}
}

func siteSet() catalog.Dataset {
	return catalog.Dataset{ID: "sites", Unit: "u", Frequency: catalog.Daily, Subject: "owner", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "owner", Type: catalog.Text, Grade: 2},
			{Name: "site", Type: catalog.Text, Grade: 1, Nullable: true, JoinKey: true},
			{Name: "ward", Type: catalog.Int, Grade: 1, Nullable: true, JoinKey: true},
			{Name: "street", Type: catalog.Text, Grade: 1, Nullable: true, JoinKey: true, Public: true},
			{Name: "level", Type: catalog.Int, Grade: 1, Public: true},
			{Name: "fee", Type: catalog.Money, Grade: 1, Nullable: true},
		}}
}

func pseudonymOf(n int) sandbox.Pseudonym {
	return sandbox.Pseudonym{byte(n * 19), byte(n), byte(n >> 8), 15: byte(n * 7)}
}

// made are how rows may lie.
const (
	atOwners = iota // one input, in parts at owners
	atOne           // all inputs at one owner
	atMany          // inputs at several, joined over shares
	asShares        // the scanned input was pushed
	layouts
)

// drawWorld draws tables in which values collide and nulls are common.
func drawWorld(t *rapid.T, layout int) *world {
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
	money := rapid.OneOf(number(-200, 200), number(0, 3), text(int64(1<<20), int64(-1<<20)))
	w := &world{data: map[sandbox.DatasetID]*dryrun.Data{}, s: Setting{Adversary: share.SemiHonest, Thresholds: Thresholds{MinSubjects: 3, DominanceN: 2, DominanceK: 85, PPercent: 10}}}
	v := &dryrun.Data{Set: visitSet()}
	for range rapid.IntRange(0, 24).Draw(t, "visits") {
		v.Subjects = append(v.Subjects, pseudonymOf(rapid.IntRange(0, 9).Draw(t, "who")))
		v.Rows = append(v.Rows, []any{nil, maybe("icd", text("J", "J10", "J10.1", "A", "missing", "other", "")), maybe("day", number(18200, 19000)), born.Draw(t, "born"),
			maybe("cost", money), rapid.Int64Range(-2, 3).Draw(t, "beds"), maybe("index", number(-1500, 1500)), maybe("night", text(true, false)),
			maybe("site", text("s1", "s2", "")), maybe("ward", number(0, 1))})
	}
	w.data["visits"] = v
	most := 1
	if layout == atOne {
		most = 2
	}
	p := &dryrun.Data{Set: peopleSet()}
	for n := range 10 {
		for range rapid.IntRange(0, most).Draw(t, "known") {
			p.Subjects = append(p.Subjects, pseudonymOf(n))
			p.Rows = append(p.Rows, []any{nil, maybe("street", text("k", "m")), maybe("born", born), maybe("income", number(0, 90))})
		}
	}
	w.data["people"] = p
	s := &dryrun.Data{Set: siteSet()}
	for _, a := range []any{nil, "s1", "s2", ""} {
		for _, b := range []any{nil, int64(0), int64(1)} {
			for range rapid.IntRange(0, most).Draw(t, "site") {
				s.Subjects = append(s.Subjects, pseudonymOf(100+len(s.Rows)))
				s.Rows = append(s.Rows, []any{nil, a, b, maybe("street", text("k", "m")), rapid.Int64Range(1, 3).Draw(t, "level"), maybe("fee", number(-9, 9))})
			}
		}
	}
	w.data["sites"] = s
	w.s.Labels = map[string][]string{"visits.icd": {"", "A", "J", "J10", "J10.1", "missing", "never", "other"}, "visits.day year": {"2019", "2020", "2021", "2022", "other"},
		"visits.beds": {"-2", "-1", "0", "1", "2", "3"}, "people.street": {"k", "m", "never"}, "sites.street": {"k", "m"}, "sites.level": {"1", "2", "3"}}
	for _, set := range w.sets() {
		item := sandbox.ListItem{Dataset: set.ID}
		for _, c := range set.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Compares: sandbox.MaxCompares, Funcs: sandbox.MeasureFuncs,
				Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
		}
		w.list = append(w.list, item)
	}
	switch layout {
	case atOwners:
		w.deal("visits", 40, []int{0, 2, 1}[:rapid.IntRange(1, 3).Draw(t, "owners")]...)
	case atOne:
		w.deal("visits", 120, 1)
		w.deal("people", 40, 1)
		w.deal("sites", 40, 1)
	case atMany:
		w.deal("visits", 26, []int{0, 2}[:rapid.IntRange(1, 2).Draw(t, "owners")]...)
		w.deal("people", 12, 1)
		w.deal("sites", 14, rapid.IntRange(0, 2).Draw(t, "sites at"))
	default:
		w.s.Held = append(w.s.Held, Held{Dataset: "visits", Rows: 28, Pushed: true})
		w.s.Bits = map[string]int{"visits.cost": 21, "visits.beds": 3, "visits.index": 11}
		w.deal("people", 12, 2)
		w.deal("sites", 14, 0)
	}
	return w
}

// drawSpec draws a question that a line can be made of.
func drawSpec(t *rapid.T, layout int) query.Spec {
	s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}}}
	labels := map[string][]string{ // column and bin → labels worth asking
		"v.icd": {"J", "missing", "other"}, "v.icd chapter": {"J", "flu", "other", "missing"}, "v.icd list": {"a", "b", "other", "missing"},
		"v.day year": {"2020", "2021", "other", "missing"}, "v.day": {"2020-01-01", "missing"}, "v.born age": {"<0", "18-60", "≥60"}, "v.born leap": {"<1", "1-4"},
		"v.born wide": {"-20000000-1", "1-900", "900-20000000"}, "v.cost size": {"<-5", "≥100", "missing"}, "v.cost": {"0.02", "-1.00", "missing"},
		"v.beds": {"0", "-2"}, "v.index": {"0.000", "-0.001", "missing"}, "v.night": {"true", "missing"},
	}
	groups := []string{"v.icd", "v.icd chapter", "v.icd list", "v.day year", "v.born age", "v.born leap", "v.born wide", "v.cost size", "v.beds", "v.night"}
	values := []string{"v.cost", "v.beds", "v.index"}
	if layout == asShares {
		delete(labels, "v.icd chapter")
		groups = []string{"v.icd list", "v.born age", "v.born leap", "v.born wide", "v.cost size", "v.night"}
	}
	if layout != atOwners {
		join := func() query.JoinKind { return rapid.SampledFrom([]query.JoinKind{"", query.LeftJoin}).Draw(t, "join") }
		people := rapid.Bool().Draw(t, "people")
		if people {
			s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v", Join: join()})
			labels["p.street"], labels["p.born age"], labels["p.street half"] = []string{"k", "missing"}, []string{"<18", "missing"}, []string{"one", "other"}
			values = append(values, "p.income")
			groups = append(groups, "p.street", "p.born age", "p.street half")
		}
		if layout != asShares && rapid.Bool().Draw(t, "sites") {
			s.Inputs = append(s.Inputs, query.Input{Alias: "s", Dataset: "sites", With: "v", Join: join(), On: []query.Key{{Left: "site", Right: "site"}, {Left: "ward", Right: "ward"}}})
			labels["s.level"] = []string{"1", "2"}
			values = append(values, "s.fee")
			groups = append(groups, "s.level")
		}
	}
	var refs []string
	for ref := range labels {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	for n := range rapid.IntRange(0, 2).Draw(t, "filters") {
		ref := rapid.SampledFrom(refs).Draw(t, fmt.Sprint("filter ", n))
		col, bin, _ := strings.Cut(ref, " ")
		in := rapid.SliceOfNDistinct(rapid.SampledFrom(labels[ref]), 1, -1, rapid.ID[string]).Draw(t, "in")
		s.Filters = append(s.Filters, query.Filter{Column: col, Bin: sandbox.BinID(bin), In: in, Not: rapid.IntRange(0, 2).Draw(t, "not") > 0})
	}
	for n, ref := range rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 0, 2, rapid.ID[string]).Draw(t, "dimensions") {
		col, bin, _ := strings.Cut(ref, " ")
		s.Dimensions = append(s.Dimensions, query.Dimension{Column: col, Bin: sandbox.BinID(bin), As: fmt.Sprint("d", n)})
	}
	if rapid.IntRange(0, 2).Draw(t, "scored") == 0 {
		x := &query.Score{Base: rapid.Int64Range(-5, 5).Draw(t, "base"), Scale: rapid.IntRange(0, 3).Draw(t, "scale"),
			Edges: slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.Int64Range(-30, 30), 1, 3, rapid.ID[int64]).Draw(t, "edges")))}
		for _, ref := range rapid.SliceOfNDistinct(rapid.SampledFrom(refs), 1, 3, rapid.ID[string]).Draw(t, "parts") {
			col, bin, _ := strings.Cut(ref, " ")
			p := query.Part{Column: col, Bin: sandbox.BinID(bin)}
			for _, l := range rapid.SliceOfNDistinct(rapid.SampledFrom(labels[ref]), 1, -1, rapid.ID[string]).Draw(t, "scored labels") {
				p.Points = append(p.Points, query.Points{In: []string{l}, Value: rapid.Int64Range(-20, 20).Draw(t, "points")})
			}
			x.Parts = append(x.Parts, p)
		}
		s.Dimensions = append(s.Dimensions, query.Dimension{Score: x, As: "band"})
	}
	for n := range rapid.IntRange(1, 4).Draw(t, "measures") {
		m := drawMeasure(t, values, groups)
		m.As = fmt.Sprint("m", n)
		with := s
		if with.Measures = append(slices.Clone(s.Measures), m); with.Validate() == nil { // a measure stands once
			s = with
		}
	}
	return s
}

var shareable = []sandbox.MeasureFunc{sandbox.Count, sandbox.Subjects, sandbox.Sum, sandbox.Mean, sandbox.Distinct, sandbox.Variance, sandbox.StdDev, sandbox.Quantile,
	sandbox.Histogram, sandbox.Covariance, sandbox.Correlation, sandbox.Ratio, sandbox.Dot}

func drawMeasure(t *rapid.T, values, groups []string) query.Measure {
	m := query.Measure{Func: rapid.SampledFrom(shareable).Draw(t, "function")}
	columns := rapid.SliceOfNDistinct(rapid.SampledFrom(values), 2, 2, rapid.ID[string]).Draw(t, "columns")
	switch m.Func {
	case sandbox.Count, sandbox.Subjects:
	case sandbox.Distinct, sandbox.Histogram:
		bins := slices.DeleteFunc(slices.Clone(groups), func(r string) bool {
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
		}
	}
	return m
}

// TestSpecs: whatever lies where, the cells over shares are the columnar engine's, value for value.
func TestSpecs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layout := rapid.IntRange(0, layouts-1).Draw(t, "layout")
		w := drawWorld(t, layout)
		s := drawSpec(t, layout)
		d, reasons := query.Derive(s, w.sets(), w.list)
		if len(reasons) > 0 {
			t.Fatalf("refused: %+v", reasons)
		}
		cells, _ := w.run(t, d, true)
		equals(t, cells, w.plain(t, d))
	})
}
