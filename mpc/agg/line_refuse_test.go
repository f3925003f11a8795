package agg

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/share/sharetest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// fixed is a small world of visits and people, and a question about them.
func fixed() (*world, query.Spec) {
	w := &world{data: map[sandbox.DatasetID]*dryrun.Data{}, s: Setting{Adversary: share.SemiHonest, Labels: map[string][]string{"visits.beds": {"0", "1", "2"}},
		Thresholds: Thresholds{MinSubjects: 3, DominanceN: 2, DominanceK: 99, PPercent: 1}}}
	v, p := &dryrun.Data{Set: visitSet()}, &dryrun.Data{Set: peopleSet()}
	for n := range 12 {
		v.Subjects = append(v.Subjects, pseudonymOf(n))
		v.Rows = append(v.Rows, []any{nil, "J10", int64(18300), int64(100 * n), int64(n + 3), int64(n % 2), int64(n), n%3 == 0, "s1", int64(0)})
		p.Subjects = append(p.Subjects, pseudonymOf(n))
		p.Rows = append(p.Rows, []any{nil, "k", int64(50 * n), int64(n)})
	}
	w.data["visits"], w.data["people"] = v, p
	for _, set := range w.sets() {
		item := sandbox.ListItem{Dataset: set.ID}
		for _, c := range set.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Compares: sandbox.MaxCompares, Funcs: sandbox.MeasureFuncs,
				Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
		}
		w.list = append(w.list, item)
	}
	return w, query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}},
		Measures: []query.Measure{{Func: sandbox.Count, As: "n"}}}
}

// TestRefusals: what has no line is refused before anything is shared, by a code, naming the operator and a change; the change passes.
func TestRefusals(t *testing.T) {
	joined := func(s *query.Spec) {
		s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v"})
	}
	measure := func(m query.Measure) func(*world, *query.Spec) {
		return func(_ *world, s *query.Spec) { m.As = "m"; s.Measures = []query.Measure{m} }
	}
	group := func(column, bin string) func(*world, *query.Spec) {
		return func(_ *world, s *query.Spec) {
			s.Dimensions = append(s.Dimensions, query.Dimension{Column: column, Bin: sandbox.BinID(bin), As: "d" + column + bin})
		}
	}
	pushed := func(w *world, _ *query.Spec) { w.s.Held = []Held{{Dataset: "visits", Rows: 16, Pushed: true}} }
	both := func(fs ...func(*world, *query.Spec)) func(*world, *query.Spec) {
		return func(w *world, s *query.Spec) {
			for _, f := range fs {
				f(w, s)
			}
		}
	}
	for _, c := range []struct {
		name, code, says string
		ask              func(*world, *query.Spec)
		instead          func(*world, *query.Spec) // the change that the refusal names; nil: there is none over shares
	}{
		{"no model", "mpc.adversary", "names its adversary model", func(w *world, _ *query.Spec) { w.s.Adversary = "" }, func(w *world, _ *query.Spec) { w.s.Adversary = share.MaliciousAbort }},
		{"extreme", "mpc.operator", "max has no operator over shares", measure(query.Measure{Func: sandbox.Max, Column: "v.cost"}), measure(query.Measure{Func: sandbox.Quantile, Column: "v.cost", Q: 999})},
		{"logistic", "mpc.operator", "logistic has no operator", measure(query.Measure{Func: sandbox.Logistic, Column: "v.night", With: []string{"v.beds"}}), nil},
		{"linear", "mpc.operator", "linear has no operator", measure(query.Measure{Func: sandbox.Linear, Column: "v.cost", With: []string{"v.beds"}}), nil},
		{"nobody holds it", "mpc.held", "some party holds", func(w *world, _ *query.Spec) { w.s.Held = nil }, func(w *world, _ *query.Spec) { w.deal("visits", 16, 0) }},
		{"held twice", "mpc.held", "at one of three parties, once", func(w *world, _ *query.Spec) { w.s.Held = append(w.s.Held, w.s.Held[0]) }, func(w *world, _ *query.Spec) { w.s.Held = w.s.Held[:1] }},
		{"labels", "mpc.labels", "public beforehand", group("v.icd", ""), func(w *world, _ *query.Spec) { w.s.Labels["visits.icd"] = []string{"J10"} }},
		{"spelling", "mpc.labels", "as values print", both(group("v.beds", ""), func(w *world, _ *query.Spec) { w.s.Labels["visits.beds"] = []string{"0", "1", "02"} }), func(w *world, _ *query.Spec) { w.s.Labels["visits.beds"] = []string{"0", "1", "2"} }},
		{"cells", "mpc.cells", "at most 4096 cells", both(group("v.icd", ""), group("v.beds", ""), func(w *world, _ *query.Spec) {
			for n := range 2000 {
				w.s.Labels["visits.icd"] = append(w.s.Labels["visits.icd"], fmt.Sprint("J", n))
			}
		}), nil},
		{"dominance of three", "mpc.rules", "not of 3", func(w *world, _ *query.Spec) { w.s.Thresholds.DominanceN = 3 }, func(w *world, _ *query.Spec) { w.s.Thresholds.DominanceN = 2 }},
		{"two people", "mpc.rules", "at least 3 subjects", func(w *world, _ *query.Spec) { w.s.Thresholds.MinSubjects = 2 }, func(w *world, _ *query.Spec) { w.s.Thresholds.MinSubjects = 3 }},
		{"top by a mean", "mpc.top", "divided after it opened", func(_ *world, s *query.Spec) {
			s.Measures = append(s.Measures, query.Measure{Func: sandbox.Mean, Column: "v.cost", As: "mean"})
			s.Dimensions = []query.Dimension{{Column: "v.beds", As: "d"}}
			s.Top = &query.Top{By: "mean", K: 1}
		}, func(_ *world, s *query.Spec) { s.Top.By = "n" }},
		{"many labels", "mpc.labels", "counts each label apart", both(measure(query.Measure{Func: sandbox.Distinct, Column: "v.icd"}), func(w *world, _ *query.Spec) {
			for n := range 300 {
				w.s.Labels["visits.icd"] = append(w.s.Labels["visits.icd"], fmt.Sprint("J", n))
			}
		}), func(w *world, _ *query.Spec) { w.s.Labels["visits.icd"] = w.s.Labels["visits.icd"][:200] }},
		{"rows", "mpc.held", "at most 1048576 together", func(w *world, _ *query.Spec) { w.s.Held[0].Rows = 1 << 20 }, func(w *world, _ *query.Spec) { w.s.Held[0].Rows = 1 << 18 }},
		{"proved rows", "mpc.held", "are proved of at most 262144", func(w *world, _ *query.Spec) { w.s.Held[0].Rows, w.s.Adversary = 1<<18, share.MaliciousAbort }, func(w *world, _ *query.Spec) { w.s.Adversary = share.SemiHonest }},
		{"pushed prefixes", "mpc.operator", "bin of kind prefix", both(pushed, group("v.icd", "chapter")), func(_ *world, s *query.Spec) { s.Dimensions[0].Bin = "list" }},
		{"pushed labels", "mpc.labels", "lost unseen", both(pushed, group("v.beds", "")), func(_ *world, s *query.Spec) { s.Dimensions = nil; group("v.cost", "size")(nil, s) }},
		{"pushed width", "mpc.bits", "how wide they are", both(pushed, measure(query.Measure{Func: sandbox.Sum, Column: "v.cost"})), func(w *world, _ *query.Spec) { w.s.Bits = map[string]int{"visits.cost": 40} }},
		{"pushed lookup", "mpc.join", "at one party", func(w *world, s *query.Spec) {
			joined(s)
			w.s.Held = append(w.s.Held, Held{Dataset: "people", Rows: 16, Pushed: true})
		}, func(w *world, _ *query.Spec) { w.s.Held[len(w.s.Held)-1].Pushed = false }},
		{"lookup in parts", "mpc.join", "at one party", func(w *world, s *query.Spec) {
			joined(s)
			w.deal("people", 16, 1, 2)
		}, func(w *world, _ *query.Spec) { w.s.Held = w.s.Held[:2] }},
		{"values", "mpc.values", "at most 65536 numbers", both(group("v.icd", ""), func(w *world, s *query.Spec) {
			for n := range 4000 {
				w.s.Labels["visits.icd"] = append(w.s.Labels["visits.icd"], fmt.Sprint("J", n))
			}
			s.Measures = nil
			for n, v := range []string{"v.cost", "v.beds", "v.index"} {
				for k, f := range []sandbox.MeasureFunc{sandbox.Mean, sandbox.Variance, sandbox.StdDev} {
					s.Measures = append(s.Measures, query.Measure{Func: f, Column: v, As: fmt.Sprint("m", n, "-", k)})
				}
			}
		}), nil},
	} {
		w, s := fixed()
		w.deal("visits", 16, 0)
		c.ask(w, &s)
		d := w.derive(t, s)
		l, reasons := Compile(d, w.s)
		if l != nil || len(reasons) == 0 || reasons[0].Code != c.code || !strings.Contains(reasons[0].Rule, c.says) || reasons[0].Change == "" || reasons[0].Article == "" {
			t.Errorf("%s: %+v", c.name, reasons)
			continue
		}
		if c.instead == nil {
			continue
		}
		c.instead(w, &s)
		if l, reasons := Compile(w.derive(t, s), w.s); l == nil {
			t.Errorf("%s: the change does not pass: %+v", c.name, reasons)
		}
	}
	if l, reasons := Compile(query.Derivation{}, Setting{}); l != nil || reasons[0].Code != "mpc.derivation" {
		t.Error("a question that was not derived has a line")
	}
}

// TestDescribed: labels and widths that the catalogue declares need no words in the setting; whoever has others stops.
func TestDescribed(t *testing.T) {
	w, s := fixed()
	w.s.Labels = nil
	set := &w.data["visits"].Set
	set.Columns[1].Values, set.Columns[4].Values = "{J10, K}", "[-20.00,12.00]"
	s.Dimensions = []query.Dimension{{Column: "v.icd", As: "d"}}
	s.Measures = []query.Measure{{Func: sandbox.Quantile, Column: "v.cost", Q: 500, As: "m"}}
	w.deal("visits", 16, 0, 1)
	d := w.derive(t, s)
	cells, _ := w.run(t, d, true)
	equals(t, cells, w.plain(t, d))
	l, _ := Compile(d, w.s)
	if l.Cells() != 3 || l.quantiles[0].bits != 11 {
		t.Errorf("%d cells, %d bits", l.Cells(), l.quantiles[0].bits)
	}
	w.s.Held = []Held{{Dataset: "visits", Rows: 16, Pushed: true}}
	s.Dimensions = nil
	d = w.derive(t, s)
	cells, _ = w.run(t, d, true)
	equals(t, cells, w.plain(t, d))
	l, _ = Compile(d, w.s)
	for _, row := range w.data["visits"].Rows {
		row[4] = int64(2048)
	}
	if _, err := w.pushed(l); !errors.Is(err, sandbox.TooLarge) || !strings.Contains(err.Error(), "2^11") {
		t.Errorf("wider than declared: %v", err)
	}
}

// TestOwnRows: rows that do not fit what was agreed are refused by their owner before anything is sent, without a value; all end.
func TestOwnRows(t *testing.T) {
	for _, c := range []struct {
		name, says string
		kind       sandbox.Kind
		change     func(w *world, s *query.Spec)
	}{
		{"label", "visits.beds: invalid: labels are those that the setting lists", sandbox.Invalid, func(w *world, s *query.Spec) {
			w.data["visits"].Rows[5][5] = int64(777)
			s.Dimensions = []query.Dimension{{Column: "v.beds", As: "d"}}
		}},
		{"magnitude", "visits.cost: too large: magnitudes stay below", sandbox.TooLarge, func(w *world, s *query.Spec) {
			w.data["visits"].Rows[5][4] = int64(math.MinInt64)
			s.Measures = []query.Measure{{Func: sandbox.Sum, Column: "v.cost", As: "m"}}
		}},
		{"square", "visits.cost: too large: magnitudes stay below", sandbox.TooLarge, func(w *world, s *query.Spec) {
			w.data["visits"].Rows[5][4] = int64(1 << 30)
			s.Measures = []query.Measure{{Func: sandbox.Variance, Column: "v.cost", As: "m"}}
		}},
		{"size", "visits: too large: a table fits its registered size", sandbox.TooLarge, func(w *world, _ *query.Spec) { w.s.Held[0].Rows = 11 }},
		{"key", "people: invalid: each key that is looked up over shares has one row", sandbox.Invalid, func(w *world, s *query.Spec) {
			s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v"})
			w.data["people"].Subjects[3] = w.data["people"].Subjects[4]
			w.deal("people", 16, 2)
		}},
	} {
		w, s := fixed()
		w.s.Held = append(w.s.Held, Held{Dataset: "visits", Party: 1, Rows: 16})
		w.at = map[sandbox.DatasetID][3]*dryrun.Data{"visits": {1: w.data["visits"]}}
		c.change(w, &s)
		d := w.derive(t, s)
		_, errs := sharetest.Run(share.SemiHonest, func(me int, e *share.Engine, o *share.Opener) error {
			l, reasons := Compile(d, w.s)
			if l == nil {
				t.Errorf("%s: %+v", c.name, reasons)
				return sharetest.ErrStopped
			}
			own, err := w.own(l, me)
			if err != nil {
				return err
			}
			if _, err = l.Run(e, me, own, nil); err != nil && !errors.Is(err, sharetest.ErrStopped) && e.Sent() > 0 {
				t.Errorf("%s: something was sent", c.name)
			}
			return err
		})
		owner := 1
		if c.name == "key" {
			owner = 2
		}
		if slices.Contains(errs[:], nil) || !errors.Is(errs[owner], c.kind) || !strings.Contains(errs[owner].Error(), c.says) || strings.Contains(errs[owner].Error(), "777") {
			t.Errorf("%s: %v", c.name, errs)
		}
	}
	w, s := fixed()
	w.deal("visits", 16, 0)
	l, _ := Compile(w.derive(t, s), w.s)
	if err := l.Fits(0, Own{}); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a party without its rows: %v", err)
	}
	if err := l.Fits(1, Own{}); err != nil {
		t.Errorf("a party that holds none: %v", err)
	}
}

// TestSizesOnly: two sets of rows of equal public sizes give the same messages, in number, order and length, and the same trace: nobody in it,
// everybody in one cell, or all over.
func TestSizesOnly(t *testing.T) {
	for layout := range layouts {
		var first [3]sharetest.Sent
		var trace []share.Step
		for round := range 3 {
			w, s := fixed()
			s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v", Join: query.LeftJoin})
			s.Dimensions = []query.Dimension{{Column: "v.cost", Bin: "size", As: "d"}}
			s.Filters = []query.Filter{{Column: "v.born", Bin: "age", In: []string{"0-18", "≥60"}}}
			s.Measures = []query.Measure{{Func: sandbox.Mean, Column: "p.income", As: "a"}, {Func: sandbox.Quantile, Column: "v.cost", Q: 500, As: "b"},
				{Func: sandbox.Variance, Column: "v.cost", As: "c"}, {Func: sandbox.Histogram, Column: "v.icd", Bin: "list", As: "h"}}
			s.Top = &query.Top{By: "b", K: 2}
			v, p := w.data["visits"], w.data["people"]
			switch round {
			case 1: // nobody
				v.Rows, v.Subjects, p.Rows, p.Subjects = nil, nil, nil, nil
			case 2: // one person, all alike
				for i := range v.Rows {
					v.Rows[i], v.Subjects[i] = v.Rows[0], v.Subjects[0]
				}
				p.Rows, p.Subjects = p.Rows[:1], p.Subjects[:1]
			}
			switch layout {
			case atOwners:
				s.Inputs, s.Measures = s.Inputs[:1], s.Measures[1:]
				w.deal("visits", 20, 0, 1)
			case atOne:
				w.deal("visits", 20, 2)
				w.deal("people", 20, 2)
			case atMany:
				w.deal("visits", 20, 0, 2)
				w.deal("people", 20, 1)
			default:
				w.s.Bits = map[string]int{"visits.cost": 20}
				w.s.Held = append(w.s.Held, Held{Dataset: "visits", Rows: 20, Pushed: true})
				w.deal("people", 20, 1)
			}
			d := w.derive(t, s)
			l, reasons := Compile(d, w.s)
			if l == nil {
				t.Fatalf("%+v", reasons)
			}
			pushed, err := w.pushed(l)
			if err != nil {
				t.Fatal(err)
			}
			var steps []share.Step
			sent, errs := sharetest.Run(share.SemiHonest, func(me int, e *share.Engine, o *share.Opener) error {
				own, err := w.own(l, me)
				if err == nil {
					_, err = l.Run(e, me, own, pushed[me])
				}
				if me == 0 {
					steps = e.Trace()
				}
				return err
			})
			if errs != [3]error{} {
				t.Fatal(errs)
			}
			if round == 0 {
				first, trace = sent, steps
			}
			for i := range sent {
				if len(sent[i]) == 0 || !slices.Equal(sent[i], first[i]) {
					t.Errorf("layout %d, rows %d: party %d's messages follow the rows", layout, round, i)
				}
			}
			if !slices.Equal(steps, trace) {
				t.Errorf("layout %d, rows %d: the trace follows the rows", layout, round)
			}
		}
	}
}

// TestRounded: values wider than moments take are rounded where the setting says how wide they are, and the error stays within what is stated.
func TestRounded(t *testing.T) {
	w, s := fixed()
	x, y := make([]float64, 12), make([]float64, 12)
	for n, row := range w.data["visits"].Rows {
		x[n], y[n] = float64(1<<38+n*n*1234567), float64(n*(11-n)*9876543)
		row[4], row[6] = int64(x[n]), int64(y[n])
	}
	s.Measures = []query.Measure{{Func: sandbox.StdDev, Column: "v.cost", As: "a"}, {Func: sandbox.Correlation, Column: "v.cost", With: []string{"v.index"}, As: "b"},
		{Func: sandbox.Covariance, Column: "v.cost", With: []string{"v.index"}, As: "c"}}
	w.deal("visits", 16, 0, 1)
	w.s.Bits = map[string]int{"visits.cost": 40, "visits.index": 40}
	d := w.derive(t, s)
	l, _ := Compile(d, w.s)
	cells, _ := w.run(t, d, true)
	want := w.plain(t, d).Cells[0].Values
	shift := l.outputs[0].moments.shifts[0]
	if shift < 10 || l.outputs[1].moments.shifts[1] != shift {
		t.Fatalf("rounded to 2^%d", shift)
	}
	delta := math.Exp2(float64(shift - 1))
	if d := math.Abs(float64(cells[0].Values[0]-want[0])) / 1000; d > math.Sqrt2*delta {
		t.Errorf("the deviation is %.0f off, stated %.0f", d, math.Sqrt2*delta)
	}
	sx, sy := deviation(x), deviation(y)
	if d := math.Abs(float64(cells[0].Values[1]-want[1])) / 1e6; d > 2*math.Sqrt2*(delta/sx+delta/sy)+1e-6 {
		t.Errorf("the correlation is %g off", d)
	}
	if d := math.Abs(float64(cells[0].Values[2] - want[2])); d > math.Sqrt2*(delta*sy+delta*sx)+2*delta*delta {
		t.Errorf("the covariance is %g off", d)
	}
	if cells[0].Values[0] == want[0] && cells[0].Values[2] == want[2] {
		t.Error("nothing was rounded")
	}
}

func deviation(v []float64) float64 {
	mean, sum := 0.0, 0.0
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		sum += (x - mean) * (x - mean)
	}
	return math.Sqrt(sum / float64(len(v)-1))
}

// TestReadRows: batches that are not what the catalogue describes are refused.
func TestReadRows(t *testing.T) {
	w, _ := fixed()
	v := w.data["visits"]
	read := func(set catalog.Dataset, columns []string, names []string, max int) error {
		r, err := v.Reader(memory.NewGoAllocator(), columns)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadRows(context.Background(), r, set, names, max)
		return err
	}
	all := []string{SubjectColumn, "cost", "icd"}
	if err := read(v.Set, all, []string{"cost", "icd"}, 12); err != nil {
		t.Error(err)
	}
	if err := read(v.Set, all, []string{"cost"}, 11); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("too many rows: %v", err)
	}
	if err := read(v.Set, all[:2], []string{"icd"}, 12); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a column is missing: %v", err)
	}
	if err := read(v.Set, all[1:], []string{"icd"}, 12); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("no pseudonyms: %v", err)
	}
	other := visitSet()
	other.Columns[1].Type = catalog.Int
	if err := read(other, all, []string{"icd"}, 12); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another type: %v", err)
	}
	v.Rows[3][1] = nil
	other = visitSet()
	other.Columns[1].Nullable = false
	if err := read(other, all, []string{"icd"}, 12); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a null: %v", err)
	}
}
