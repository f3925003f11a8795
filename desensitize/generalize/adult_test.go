package generalize

import (
	"context"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// adultDir gives the folder of the reference table.
func adultDir(t testing.TB) string {
	t.Helper()
	return sandboxtest.Data(t, "adult", "the anchors of k-anonymity were not held")
}

// record makes one of text columns; "" is missing.
func record(t testing.TB, names []string, rows [][]string) arrow.Record {
	t.Helper()
	var fields []arrow.Field
	for _, n := range names {
		fields = append(fields, arrow.Field{Name: n, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, row := range rows {
		for c, v := range row {
			if v == "" {
				b.Field(c).AppendNull()
			} else {
				b.Field(c).(*array.StringBuilder).Append(v)
			}
		}
	}
	return b.NewRecord()
}

func hierarchyFile(t testing.TB, path string) *Hierarchy {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := ReadHierarchy(f, filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

type adultTable struct {
	names  []string
	rows   [][]string
	hier   map[string]*Hierarchy
	record arrow.Record
}

func loadAdult(t testing.TB) adultTable {
	dir := adultDir(t)
	f, err := os.Open(filepath.Join(dir, "adult.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := csv.NewReader(f)
	in.Comma = ';'
	all, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	a := adultTable{names: all[0], rows: all[1:], hier: map[string]*Hierarchy{}}
	for _, n := range a.names {
		a.hier[n] = hierarchyFile(t, filepath.Join(dir, "adult_hierarchy_"+n+".csv"))
	}
	a.record = record(t, a.names, a.rows)
	return a
}

// config takes all columns for quasi-identifiers but the sensitive ones.
func (a adultTable) config(sensitive ...string) Config {
	cfg := Config{Sensitive: sensitive}
	for _, n := range a.names {
		if !slices.Contains(sensitive, n) {
			cfg.Quasi = append(cfg.Quasi, Quasi{n, a.hier[n]})
		}
	}
	return cfg
}

// table makes a frozen Table of it.
func (a adultTable) table(t testing.TB, sensitive ...string) *Table {
	t.Helper()
	table, err := NewTable(a.config(sensitive...))
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Add(a.record); err != nil {
		t.Fatal(err)
	}
	if err := table.Freeze(); err != nil {
		t.Fatal(err)
	}
	return table
}

func TestAdultAnchors(t *testing.T) {
	a := loadAdult(t)
	table := a.table(t)
	if table.Rows() != 30162 || table.Combinations() != 19502 {
		t.Fatalf("%d rows, %d combinations", table.Rows(), table.Combinations())
	}
	for _, c := range []struct {
		k        int
		suppress float64
		metric   Metric
		want     float64
	}{
		{5, 0, AverageClass, 628.375},
		{5, 0, Discernibility, 33_627_534},
		{5, 0.04, AverageClass, 28.808},
		{5, 0.04, Discernibility, 7_220_555},
	} {
		s, err := table.Search(context.Background(), Goal{K: c.k, Suppression: c.suppress, Metric: c.metric})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("k=%d suppression %g %s: %v; %+v", c.k, c.suppress, c.metric, s, s.Search)
		if !s.Search.Proven {
			t.Error("not proven")
		}
		if d := s.Value - c.want; d > 0.0005 || d < -0.0005 {
			t.Errorf("k=%d suppression %g: %s %g, want %g", c.k, c.suppress, c.metric, s.Value, c.want)
		}
	}
}

// plain is the table as the oracle reads it.
func (a adultTable) plain(quasi []string, sensitive string) *plainTable {
	p := &plainTable{quasi: quasi, sensitive: sensitive}
	var at []int
	for _, q := range quasi {
		at = append(at, slices.Index(a.names, q))
		p.hier = append(p.hier, a.hier[q])
	}
	secret := slices.Index(a.names, sensitive)
	for _, row := range a.rows {
		var out []string
		for _, i := range at {
			out = append(out, row[i])
		}
		if secret >= 0 {
			out = append(out, row[secret])
		} else {
			out = append(out, "")
		}
		p.rows = append(p.rows, out)
	}
	return p
}

// TestAdultOutputs: what is published under the anchors' goals, and under stronger models, satisfies them as the oracle reads the
// definitions.
func TestAdultOutputs(t *testing.T) {
	a := loadAdult(t)
	for _, g := range []Goal{
		{K: 5, Metric: AverageClass},
		{K: 5, Suppression: 0.04},
		{K: 5, Suppression: 0.04, Metric: EntropyLoss, Diversity: []Diversity{{"occupation", Entropy, 4, 0}}},
		{K: 3, Suppression: 0.02, Diversity: []Diversity{{"occupation", Recursive, 3, 2}}},
		{K: 2, Suppression: 0.1, Closeness: []Closeness{{"occupation", 0.25, Equal, nil}}},
		{K: 10, Diversity: []Diversity{{"occupation", Distinct, 5, 0}}, Metric: Height},
		{K: 5, Suppression: 0.04, Closeness: []Closeness{{"age", 0.15, Ordered, nil}}},
	} {
		sensitive := ""
		if len(g.Diversity) > 0 {
			sensitive = g.Diversity[0].Column
		} else if len(g.Closeness) > 0 {
			sensitive = g.Closeness[0].Column
		}
		var quasi []string
		for _, n := range a.names {
			if n != sensitive {
				quasi = append(quasi, n)
			}
		}
		p := a.plain(quasi, sensitive)
		var table *Table
		if sensitive == "" {
			table = a.table(t)
		} else {
			table = a.table(t, sensitive)
		}
		s, err := table.Search(context.Background(), g)
		if err != nil {
			t.Fatalf("%+v: %v", g, err)
		}
		r, err := table.Release(s)
		if err != nil {
			t.Fatal(err)
		}
		out, err := r.Apply(memory.NewGoAllocator(), a.record)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		rows := texts(out)
		out.Release()
		if int64(len(rows)) != s.Risk.Rows-s.Risk.Suppressed {
			t.Errorf("%+v: %d rows published", g, len(rows))
		}
		if err := p.holds(g, s.Levels, rows); err != nil {
			t.Errorf("%+v: %v", g, err)
		}
		loss, suppressed, ok := p.evaluate(g, s.Levels)
		if !ok || int64(suppressed) != s.Risk.Suppressed {
			t.Errorf("%+v: the oracle refuses the solution", g)
		}
		for m, got := range map[Metric]float64{Discernibility: s.Loss.Discernibility, AverageClass: s.Loss.AverageClass, Height: float64(s.Loss.Height), EntropyLoss: s.Loss.Entropy} {
			if math.Abs(got-loss[m]) > 1e-9*math.Max(1, got) {
				t.Errorf("%+v: %s %g, the oracle says %g", g, m, got, loss[m])
			}
		}
		t.Logf("%v; %+v", s, s.Search)
	}
}

// TestAdultOptimum: on three columns of the real table, every node counted from rows, the search finds the least loss.
func TestAdultOptimum(t *testing.T) {
	if testing.Short() {
		t.Skip("counts 60 nodes from 30,162 rows for each goal")
	}
	a := loadAdult(t)
	quasi := []string{"age", "marital-status", "education"}
	p := a.plain(quasi, "occupation")
	cfg := Config{Sensitive: []string{"occupation"}}
	for i, q := range quasi {
		cfg.Quasi = append(cfg.Quasi, Quasi{q, p.hier[i]})
	}
	table, err := NewTable(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Add(a.record); err != nil {
		t.Fatal(err)
	}
	for _, g := range []Goal{
		{K: 20, Suppression: 0.03, Metric: Discernibility, Diversity: []Diversity{{"occupation", Entropy, 6, 0}}},
		{K: 5, Suppression: 0.05, Metric: AverageClass, Closeness: []Closeness{{"occupation", 0.3, Equal, nil}}},
		{K: 5, Suppression: 0.02, Metric: EntropyLoss, Diversity: []Diversity{{"occupation", Recursive, 4, 1}}},
	} {
		want, found := p.optimum(g)
		s, err := table.Search(context.Background(), g)
		if !found || err != nil || math.Abs(s.Value-want) > 1e-9*want {
			t.Errorf("%+v: %v, %v; the least is %g, %v", g, s, err, want, found)
		}
	}
}
