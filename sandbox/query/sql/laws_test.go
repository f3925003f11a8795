package sql

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// fullYears counts birthdays: who is born on 29 February has one on 1 March in a common year.
func fullYears(born int64, at string) int64 {
	b := time.Unix(born*24*60*60, 0).UTC()
	t, err := time.Parse(time.DateOnly, at)
	if err != nil {
		panic(err)
	}
	n := t.Year() - b.Year()
	if t.Month() < b.Month() || t.Month() == b.Month() && t.Day() < b.Day() {
		n--
	}
	return int64(n)
}

// printed draws an output name: any printable text.
func printed(t *rapid.T, what string, taken map[string]bool) string {
	for {
		s := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9_"'\x60 .@-]{1,12}`), rapid.SampledFrom([]string{"人数", "select", "a b", `"`, "''", "`", "\\", "?", "-- x", "/* */", "_subject", "平均值;"})).Draw(t, what)
		if !taken[s] {
			taken[s] = true
			return s
		}
	}
}

// question draws a valid Spec over the described datasets.
func question(t *rapid.T) query.Spec {
	in := described()
	s := query.Spec{Scenario: "sc-1", Purpose: "research"}
	order := rapid.Permutation([]sandbox.DatasetID{"ds-claims", "ds-persons", "ds-hospitals"}).Draw(t, "inputs")
	versions := map[sandbox.DatasetID]uint64{}
	for i := range rapid.IntRange(1, 3).Draw(t, "n") {
		id := rapid.SampledFrom(order).Draw(t, "dataset")
		if _, ok := versions[id]; !ok {
			versions[id] = rapid.Uint64Range(0, 3).Draw(t, "version")
		}
		x := query.Input{Alias: fmt.Sprint(rapid.SampledFrom([]string{"c", "select-", "1", "x_"}).Draw(t, "alias"), i), Dataset: id, Version: versions[id]}
		if i > 0 {
			x.With = s.Inputs[rapid.IntRange(0, i-1).Draw(t, "with")].Alias
			x.Join = rapid.SampledFrom([]query.JoinKind{"", query.LeftJoin}).Draw(t, "join")
			if rapid.Bool().Draw(t, "keys") {
				// Any columns but the subject's: whether they are keys is not the text's to say.
				set, other := in[id], in[s.Inputs[slices.IndexFunc(s.Inputs, func(o query.Input) bool { return o.Alias == x.With })].Dataset]
				k := query.Key{Left: plainColumn(t, other).Name, Right: plainColumn(t, set).Name}
				x.On = []query.Key{k}
				x.Subject = rapid.Bool().Draw(t, "subject")
			}
		}
		s.Inputs = append(s.Inputs, x)
	}
	dataset := func(alias string) catalog.Dataset {
		return in[s.Inputs[slices.IndexFunc(s.Inputs, func(o query.Input) bool { return o.Alias == alias })].Dataset]
	}
	labelled := func(what string) (string, catalog.Column, *catalog.Bin) {
		alias := rapid.SampledFrom(s.Inputs).Draw(t, what).Alias
		set := dataset(alias)
		if len(set.Bins) > 0 && rapid.Bool().Draw(t, what+" bin") {
			b := rapid.SampledFrom(set.Bins).Draw(t, what+" which")
			c, _ := set.Column(b.Column)
			return alias + "." + b.Column, *c, &b
		}
		c := plainColumn(t, set)
		return alias + "." + c.Name, c, nil
	}
	for range rapid.IntRange(0, 3).Draw(t, "filters") {
		ref, c, b := labelled("filter")
		f := query.Filter{Column: ref, Not: rapid.Bool().Draw(t, "not")}
		if b != nil {
			f.Bin = b.ID
		}
		f.In = rapid.SliceOfNDistinct(rapid.SampledFrom(labelsOf(c, b)), 1, 3, rapid.ID[string]).Draw(t, "labels")
		s.Filters = append(s.Filters, f)
	}
	taken := map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(t, "dimensions") {
		ref, _, b := labelled("dimension")
		d := query.Dimension{Column: ref}
		if b != nil {
			d.Bin = b.ID
		}
		if slices.ContainsFunc(s.Dimensions, func(o query.Dimension) bool { return o.Column == d.Column && o.Bin == d.Bin }) {
			continue
		}
		d.As = printed(t, "name", taken)
		s.Dimensions = append(s.Dimensions, d)
	}
	column := func(not ...string) string {
		for {
			alias := rapid.SampledFrom(s.Inputs).Draw(t, "column of").Alias
			if ref := alias + "." + plainColumn(t, dataset(alias)).Name; !slices.Contains(not, ref) {
				return ref
			}
		}
	}
	for range rapid.IntRange(1, 5).Draw(t, "measures") {
		m := query.Measure{Func: rapid.SampledFrom(sandbox.MeasureFuncs).Draw(t, "func")}
		switch m.Func {
		case sandbox.Plain:
			continue
		case sandbox.Count, sandbox.Subjects:
		case sandbox.Histogram, sandbox.Distinct:
			ref, _, b := labelled("measure")
			if b == nil && m.Func == sandbox.Histogram {
				continue
			}
			if m.Column = ref; b != nil {
				m.Bin = b.ID
			}
		case sandbox.Quantile:
			m.Column, m.Q = column(), rapid.IntRange(1, 999).Draw(t, "q")
		case sandbox.Dot:
			if m.Column = column(); rapid.Bool().Draw(t, "product") {
				m.With = []string{column(m.Column)}
			}
		case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
			m.Column = column()
			m.With = []string{column(m.Column)}
		case sandbox.Linear, sandbox.Logistic:
			m.Column = column()
			for range rapid.IntRange(1, 3).Draw(t, "regressors") {
				if w := column(m.Column); !slices.Contains(m.With, w) {
					m.With = append(m.With, w)
				}
			}
		default:
			m.Column = column()
		}
		if slices.ContainsFunc(s.Measures, func(o query.Measure) bool { return once(o) == once(m) }) {
			continue
		}
		m.As = printed(t, "name", taken)
		s.Measures = append(s.Measures, m)
	}
	if len(s.Measures) == 0 {
		s.Measures = []query.Measure{{Func: sandbox.Count, As: printed(t, "name", taken)}}
	}
	for _, m := range s.Measures {
		if (m.Func == sandbox.Count || m.Func == sandbox.Subjects) && rapid.Bool().Draw(t, "having") {
			s.Having = append(s.Having, query.Having{Measure: m.As, AtLeast: rapid.Int64Range(1, 1<<62).Draw(t, "least")})
		}
		switch m.Func {
		case sandbox.Histogram, sandbox.Linear, sandbox.Logistic, sandbox.Min, sandbox.Max: // nothing is ordered by these
			continue
		}
		if rapid.Bool().Draw(t, "top") {
			s.Top = &query.Top{By: m.As, K: rapid.IntRange(1, query.MaxTop).Draw(t, "k")}
		}
	}
	return s
}

// once says what a measure is of: the columns of a symmetric one and the regressors have no order.
func once(m query.Measure) string {
	of := slices.Clone(m.With)
	first := m.Column
	if m.Func == sandbox.Covariance || m.Func == sandbox.Correlation || m.Func == sandbox.Dot && len(m.With) == 1 {
		of, first = append(of, first), ""
	}
	slices.Sort(of)
	return fmt.Sprint(m.Func, first, of, m.Bin, m.Q)
}

// plainColumn draws a column that is not the subject's.
func plainColumn(t *rapid.T, d catalog.Dataset) catalog.Column {
	return rapid.SampledFrom(slices.DeleteFunc(slices.Clone(d.Columns), func(c catalog.Column) bool { return c.Name == d.Subject })).Draw(t, "column")
}

func labelsOf(c catalog.Column, b *catalog.Bin) []string {
	out := []string{catalog.Missing}
	if b != nil {
		switch b.Kind {
		case catalog.Year:
			return append(out, "2024", "1", "9999", catalog.Other)
		case catalog.Prefix, catalog.Codes:
			for _, g := range b.Groups {
				out = append(out, g.Label)
			}
			return append(out, catalog.Other)
		}
		return append(out, b.Labels()...)
	}
	switch c.Type {
	case catalog.Int:
		return append(out, "0", "-7", "9223372036854775807")
	case catalog.Money:
		return append(out, "0.00", "-0.05", "12.30")
	case catalog.Number:
		return append(out, "0.000", "-0.005", "12.300")
	case catalog.Date:
		return append(out, "2024-02-29", "0001-01-01")
	case catalog.Bool:
		return append(out, "true", "false")
	}
	return append(out, "a", "it's", `"`, `\`, "人", "%", "-- x", "?", "other", "a b ")
}

// TestTextCompilesBack: every question can be said in SQL, and means the same there.
func TestTextCompilesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := question(t)
		if err := s.Validate(); err != nil {
			if strings.Contains(err.Error(), "a join stands once") {
				t.Skip()
			}
			t.Fatalf("the question is not valid: %v\n%s", err, s.Canonical())
		}
		text := Text(s)
		got, r := Compile(text, described(), s.Scenario, s.Purpose)
		if r != nil {
			t.Fatalf("%v\n%s", r, text)
		}
		if !bytes.Equal(got.Canonical(), s.Canonical()) {
			t.Fatalf("%s\ncompiles to\n%s\nnot\n%s", text, got.Canonical(), s.Canonical())
		}
	})
}

// TestRangesMeanRows: a range that compiles keeps exactly the rows SQL keeps, over values around every border.
func TestRangesMeanRows(t *testing.T) {
	set := described()["ds-claims"]
	persons := described()["ds-persons"]
	age, _ := persons.Bin("age-band")
	rapid.Check(t, func(t *rapid.T) {
		op := func() string { return rapid.SampledFrom([]string{"<", "<=", ">", ">="}).Draw(t, "op") }
		holds := func(v int64, op string, x int64) bool {
			return op == "<" && v < x || op == "<=" && v <= x || op == ">" && v > x || op == ">=" && v >= x
		}
		type bound struct {
			op string
			x  int64
		}
		var bounds []bound
		var conditions []string
		years := rapid.Bool().Draw(t, "years")
		for range rapid.IntRange(1, 2).Draw(t, "bounds") {
			b := bound{op: op()}
			if years {
				b.x = rapid.SampledFrom([]int64{17, 18, 19, 64, 65, 66}).Draw(t, "x")
				conditions = append(conditions, fmt.Sprintf("TIMESTAMPDIFF(YEAR, born, '2024-02-29') %s %d", b.op, b.x))
			} else {
				b.x = rapid.SampledFrom([]int64{9999, 10000, 10001, 49999, 50000, 75000, 99999, 100000}).Draw(t, "x")
				conditions = append(conditions, fmt.Sprintf("amount %s %d.%02d", b.op, b.x/100, b.x%100))
			}
			bounds = append(bounds, b)
		}
		table := "ds-claims"
		if years {
			table = "ds-persons"
		}
		s, r := Compile(fmt.Sprintf(`SELECT COUNT(*) FROM "%s" WHERE %s`, table, strings.Join(conditions, " AND ")), described(), "sc-1", "research")
		if r != nil {
			if r.Code != "sql.range" {
				t.Fatal(r)
			}
			return
		}
		f := s.Filters[0]
		values := []int64{-5, 0, 9998, 9999, 10000, 10001, 49998, 49999, 50000, 50001, 74999, 75000, 75001, 99998, 99999, 100000, 100001}
		if years {
			values = []int64{0, 16, 17, 18, 19, 63, 64, 65, 66, 100}
		}
		bin := age
		if !years {
			bin, _ = set.Bin(f.Bin)
		}
		for _, v := range values {
			want := true
			for _, b := range bounds {
				want = want && holds(v, b.op, b.x)
			}
			n := 0
			for _, e := range bin.Edges {
				if v >= e {
					n++
				}
			}
			if got := slices.Contains(f.In, bin.Labels()[n]); got != want {
				t.Fatalf("%v over %d: %v", conditions, v, f.In)
			}
		}
	})
}

// FuzzCompile: whatever is written, the answer is one of two, comes back, and what compiles can be said again.
func FuzzCompile(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, r := Compile(text, described(), "sc-1", "research")
		if (s == nil) == (r == nil) {
			t.Fatal("both or neither")
		}
		if r != nil {
			lines := strings.Split(text, "\n")
			if r.Code == "" || r.Rule == "" || r.Change == "" || r.Construct == "" || r.Line < 1 || r.Line > len(lines) || r.Column < 1 || r.Column > len([]rune(lines[r.Line-1]))+1 {
				t.Fatalf("a refusal without its parts: %+v", r)
			}
			return
		}
		again, r := Compile(Text(*s), described(), "sc-1", "research")
		if r != nil || !bytes.Equal(again.Canonical(), s.Canonical()) {
			t.Fatalf("does not say the same: %v\n%s", r, Text(*s))
		}
	})
}
