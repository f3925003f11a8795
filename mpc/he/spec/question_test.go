package spec_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

func claims() map[sandbox.DatasetID]catalog.Dataset {
	d := catalog.Dataset{ID: "claims", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "district", Type: catalog.Text, Grade: 1, Public: true}, {Name: "day", Type: catalog.Date, Grade: 1},
		{Name: "fee", Type: catalog.Money, Grade: 2}, {Name: "nights", Type: catalog.Int, Grade: 2, Nullable: true}},
		Bins: []catalog.Bin{{ID: "year", Column: "day", Kind: catalog.Year}, {ID: "size", Column: "fee", Kind: catalog.Amount, Edges: []int64{100}}}}
	p := d
	p.ID = "pensions"
	return map[sandbox.DatasetID]catalog.Dataset{"claims": d, "pensions": p}
}

func derived(t *testing.T, s query.Spec) query.Derivation {
	t.Helper()
	s.Scenario, s.Purpose = "s", "p"
	if s.Inputs == nil {
		s.Inputs = []query.Input{{Alias: "c", Dataset: "claims"}}
	}
	d, why := query.Derive(s, claims(), everything(claims()))
	if len(why) > 0 {
		t.Fatal(why)
	}
	return d
}

// TestStops lists the operators that stop a question, each with its code and what would do.
func TestStops(t *testing.T) {
	measure := func(m query.Measure) query.Spec {
		m.As = "m"
		return query.Spec{Measures: []query.Measure{m}}
	}
	by := func(d query.Dimension) query.Spec {
		d.As = "d"
		return query.Spec{Dimensions: []query.Dimension{d}, Measures: []query.Measure{{Func: sandbox.Count, As: "m"}}}
	}
	joined := measure(query.Measure{Func: sandbox.Min, Column: "c.fee"})
	joined.Inputs = []query.Input{{Alias: "c", Dataset: "claims"}, {Alias: "p", Dataset: "pensions", With: "c"}}
	for _, x := range []struct {
		name, code, stopped, instead string
		spec                         query.Spec
	}{
		{"subjects", "he.subjects", "stopped by subjects", "mpc", measure(query.Measure{Func: sandbox.Subjects})},
		{"distinct", "he.distinct", "stopped by distinct", "mpc", measure(query.Measure{Func: sandbox.Distinct, Column: "c.fee", Bin: "size"})},
		{"min", "he.min", "stopped by min", "mpc", measure(query.Measure{Func: sandbox.Min, Column: "c.fee"})},
		{"max", "he.max", "stopped by max", "mpc", measure(query.Measure{Func: sandbox.Max, Column: "c.fee"})},
		{"quantile", "he.quantile", "stopped by quantile", "mpc", measure(query.Measure{Func: sandbox.Quantile, Column: "c.fee", Q: 500})},
		{"linear", "he.linear", "stopped by linear", "covariances", measure(query.Measure{Func: sandbox.Linear, Column: "c.fee", With: []string{"c.nights"}})},
		{"years", "he.group", "stopped by group", "lists its labels", by(query.Dimension{Column: "c.day", Bin: "year"})},
		{"open texts", "he.group", "stopped by group", "fix the labels", by(query.Dimension{Column: "c.district"})},
		{"join", "he.join", "stopped by join", "mpc", joined},
		{"join and min", "he.min", "stopped by min", "mpc", joined},
	} {
		q, why := spec.Compile(derived(t, x.spec), nil)
		found := false
		for _, r := range why {
			found = found || r.Code == x.code && strings.Contains(r.Rule, x.stopped) && strings.Contains(r.Change, x.instead) && r.Article != ""
		}
		if q != nil || !found {
			t.Errorf("%s: %v", x.name, why)
		}
	}
	if _, why := spec.Compile(query.Derivation{}, nil); len(why) != 1 || why[0].Code != "he.question" {
		t.Errorf("what was not derived: %v", why)
	}
}

// TestKeys fixes the labels of a public text: a row of another counts nowhere, and nothing shows that there is one.
func TestKeys(t *testing.T) {
	d := derived(t, query.Spec{Dimensions: []query.Dimension{{Column: "c.district", As: "district"}}, Measures: []query.Measure{{Func: sandbox.Sum, Column: "c.fee", As: "fee"}}})
	q, why := spec.Compile(d, spec.Keys{"district": {"futian", "longhua"}})
	if len(why) > 0 {
		t.Fatal(why)
	}
	rows := func(district string, fee int64) error {
		data := &dryrun.Data{Set: claims()["claims"], Rows: [][]any{{nil, district, int64(1), fee, nil}}, Subjects: []sandbox.Pseudonym{{1}}}
		data.Rows[0][0] = "x"
		_, columns := q.Columns()
		r, err := data.Reader(memory.NewGoAllocator(), columns)
		if err != nil {
			t.Fatal(err)
		}
		_, err = q.Partial(context.Background(), r)
		return err
	}
	if err := rows("longhua", 5); err != nil {
		t.Error(err)
	}
	if err := rows("atlantis", 5); err != nil {
		t.Errorf("a row of no group: %v", err)
	}
	if err := rows("futian", 1<<47); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("a value beyond the bound: %v", err)
	}
	for _, keys := range []spec.Keys{{"district": {"futian", "futian"}}, {"district": {"a"}, "nothing": {"a"}}} {
		if _, why := spec.Compile(d, keys); len(why) == 0 || why[0].Code != "he.groups" {
			t.Errorf("keys %v: %v", keys, why)
		}
	}
}

// TestReaders refuses batches that are not what the catalogue describes.
func TestReaders(t *testing.T) {
	d := derived(t, query.Spec{Measures: []query.Measure{{Func: sandbox.Sum, Column: "c.fee", As: "fee"}}})
	q, why := spec.Compile(d, nil)
	if len(why) > 0 {
		t.Fatal(why)
	}
	good := table(rand.New(rand.NewPCG(1, 1)), claims()["claims"], 3, 10)
	_, columns := q.Columns()
	for name, change := range map[string]func(d *dryrun.Data, columns []string) []string{
		"a column less":   func(_ *dryrun.Data, c []string) []string { return c[:1] },
		"nulls":           func(d *dryrun.Data, c []string) []string { d.Rows[1][3] = nil; return c },
		"of another type": func(d *dryrun.Data, c []string) []string { d.Set.Columns[3].Type = catalog.Date; return c },
		"a column twice":  func(d *dryrun.Data, c []string) []string { return append([]string{"fee"}, "fee", "_subject") },
	} {
		data := &dryrun.Data{Set: claims()["claims"], Subjects: good.Subjects}
		for range good.Subjects {
			data.Rows = append(data.Rows, []any{"x", "futian", int64(1), int64(7), nil})
		}
		r, err := data.Reader(memory.NewGoAllocator(), change(data, columns))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Partial(context.Background(), r); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOperators holds what a derivation says of each function to what a layout does.
func TestOperators(t *testing.T) {
	for _, f := range sandbox.MeasureFuncs {
		if f == sandbox.Plain {
			continue
		}
		m := query.Measure{Func: f, Column: "c.fee", As: "m"}
		switch f {
		case sandbox.Count, sandbox.Subjects:
			m.Column = ""
		case sandbox.Distinct, sandbox.Histogram:
			m.Bin = "size"
		case sandbox.Quantile:
			m.Q = 500
		case sandbox.Logistic:
			m.Column, m.With = "c.nights", []string{"c.fee"}
		case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio, sandbox.Linear:
			m.With = []string{"c.nights"}
		}
		d := derived(t, query.Spec{Measures: []query.Measure{m}})
		if stops := d.Stops(); (len(stops) == 0) != (he.Instead(f) == "") {
			t.Errorf("%s: %v", f, stops)
		}
		if text := d.Explain().Text(); strings.Contains(text, "ciphertexts 密态: stopped by "+string(f)) != (he.Instead(f) != "") {
			t.Errorf("%s: the explanation does not say what stops it", f)
		}
	}
}
