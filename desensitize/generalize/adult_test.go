package generalize

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// adultDir gives the folder of the reference table, or says aloud that it is absent; OPDOMAIN_REQUIRE=all makes that a failure.
func adultDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.Getenv("OPDOMAIN_DATA"), "adult")
	if os.Getenv("OPDOMAIN_DATA") != "" {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	if os.Getenv("OPDOMAIN_REQUIRE") == "all" {
		t.Fatal("OPDOMAIN_DATA names no folder with adult, and OPDOMAIN_REQUIRE=all wants it")
	}
	t.Skip("SKIPPED ALOUD: OPDOMAIN_DATA names no folder with adult; the anchors of k-anonymity were not held")
	return ""
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

// table makes a Table of the named quasi-identifiers (nil: all but the sensitive ones).
func (a adultTable) table(t testing.TB, sensitive ...string) *Table {
	t.Helper()
	cfg := Config{Sensitive: sensitive}
next:
	for _, n := range a.names {
		for _, s := range sensitive {
			if s == n {
				continue next
			}
		}
		cfg.Quasi = append(cfg.Quasi, Quasi{n, a.hier[n]})
	}
	table, err := NewTable(cfg)
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
