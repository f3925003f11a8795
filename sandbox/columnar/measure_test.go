package columnar

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestKnownValues: numbers worked out by hand.
func TestKnownValues(t *testing.T) {
	tables := visitTable(int64(100), int64(200), int64(400), int64(500), nil) // 1, 2, 4, 5 yuan; beds 0 to 4
	for _, c := range []struct {
		m    query.Measure
		want string
	}{
		{query.Measure{Func: sandbox.Variance, Column: "v.cost"}, "[33333] []"}, // 10/3 yuan²
		{query.Measure{Func: sandbox.StdDev, Column: "v.cost"}, "[182574] []"},
		{query.Measure{Func: sandbox.Covariance, Column: "v.cost", With: []string{"v.beds"}}, "[233] []"}, // 7/3
		{query.Measure{Func: sandbox.Correlation, Column: "v.cost", With: []string{"v.beds"}}, "[989949] []"},
		{query.Measure{Func: sandbox.Ratio, Column: "v.cost", With: []string{"v.beds"}}, "[2000000] []"},
		{query.Measure{Func: sandbox.Quantile, Column: "v.cost", Q: 500}, "[200] []"},
		{query.Measure{Func: sandbox.Quantile, Column: "v.cost", Q: 501}, "[400] []"},
		{query.Measure{Func: sandbox.Quantile, Column: "v.cost", Q: 999}, "[500] []"},
		{query.Measure{Func: sandbox.Min, Column: "v.cost"}, "[100] []"},
		{query.Measure{Func: sandbox.Max, Column: "v.cost"}, "[500] []"},
		{query.Measure{Func: sandbox.Distinct, Column: "v.beds"}, "[5] []"},
		{query.Measure{Func: sandbox.Histogram, Column: "v.cost", Bin: "size"}, "[0 0 0 4] []"},
		{query.Measure{Func: sandbox.Linear, Column: "v.cost", With: []string{"v.beds"}}, "[900000 1400000 2] []"},
		{query.Measure{Func: sandbox.Variance, Column: "v.index"}, "[0] [true]"},
		{query.Measure{Func: sandbox.Ratio, Column: "v.cost", With: []string{"v.index"}}, "[0] [true]"},
		{query.Measure{Func: sandbox.Linear, Column: "v.beds", With: []string{"v.index"}}, "[0 0 -2] [true true false]"},
	} {
		a, err := run1(t, measuring(c.m), tables, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.m.Func, err)
			continue
		}
		if got := fmt.Sprint(a.Cells[0].Values, a.Cells[0].None); got != c.want {
			t.Errorf("%s: %s, want %s", c.m.Func, got, c.want)
		}
	}
}

// TestLogisticRecovers: of 2×2 counts the coefficient is the logarithm of the odds ratio; outcomes that a column tells apart, or of
// one kind only, have no coefficients; a value that is no outcome is an error that does not say it.
func TestLogisticRecovers(t *testing.T) {
	s := measuring(query.Measure{Func: sandbox.Logistic, Column: "v.night", With: []string{"v.beds"}})
	fill := func(counts [2][2]int) map[sandbox.DatasetID]*table {
		v := &table{ds: visits()}
		for x, by := range counts {
			for y, n := range by {
				for range n {
					row, who := visit(len(v.rows), nil)
					row["beds"], row["night"] = int64(x), y == 1
					v.rows, v.subjects = append(v.rows, row), append(v.subjects, who)
				}
			}
		}
		return map[sandbox.DatasetID]*table{"visits": v}
	}
	a, err := run1(t, s, fill([2][2]int{{30, 10}, {20, 40}}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	intercept, slope := int64(math.Round(1e6*math.Log(10.0/30))), int64(math.Round(1e6*math.Log((40.0/20)/(10.0/30))))
	if c := a.Cells[0]; fmt.Sprint(c.Values) != fmt.Sprint([]int64{intercept, slope, 98}) || c.None != nil || c.Thin[0] != 40 {
		t.Errorf("%d %v, want %d and %d; thin %d", c.Values, c.None, intercept, slope, c.Thin)
	}
	for _, counts := range [][2][2]int{{{30, 0}, {0, 40}}, {{30, 0}, {20, 40}}, {{30, 0}, {20, 0}}, {{30, 10}, {0, 0}}} {
		a, err := run1(t, s, fill(counts), Limits{})
		if err != nil || !slices.Equal(a.Cells[0].None, []bool{true, true, false}) {
			t.Errorf("%d: %v, %v", counts, a.Cells[0].None, err)
		}
	}
	s.Measures[0].Column, s.Measures[0].With = "v.beds", []string{"v.cost"}
	_, err = run1(t, s, visitTable(int64(1), int64(5), int64(2), int64(9)), Limits{})
	if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "visits.beds") || strings.ContainsAny(err.Error(), "23456789") {
		t.Errorf("another outcome: %v", err)
	}
}

// TestExtremeValuesDoNotWrap: squares of the largest numbers are exact on their way; what does not fit is an error.
func TestExtremeValuesDoNotWrap(t *testing.T) {
	far := visitTable(int64(math.MaxInt64), int64(math.MinInt64))
	for _, f := range []sandbox.MeasureFunc{sandbox.Variance, sandbox.StdDev} {
		if _, err := run1(t, measuring(query.Measure{Func: f, Column: "v.cost"}), far, Limits{}); !errors.Is(err, sandbox.TooLarge) {
			t.Errorf("%s: %v", f, err)
		}
	}
	near := visitTable(int64(math.MaxInt64), int64(math.MaxInt64-2), int64(math.MaxInt64-4))
	a, err := run1(t, measuring(query.Measure{Func: sandbox.Variance, Column: "v.cost"}), near, Limits{})
	if err != nil || a.Cells[0].Values[0] != 4 {
		t.Errorf("%v", err)
	}
	a, err = run1(t, measuring(query.Measure{Func: sandbox.Correlation, Column: "v.cost", With: []string{"v.beds"}}), near, Limits{})
	if err != nil || a.Cells[0].Values[0] != -1_000_000 {
		t.Errorf("%v", err)
	}
	for f, want := range map[sandbox.MeasureFunc]int64{sandbox.Min: math.MinInt64, sandbox.Max: math.MaxInt64} {
		if a, err := run1(t, measuring(query.Measure{Func: f, Column: "v.cost"}), far, Limits{}); err != nil || a.Cells[0].Values[0] != want || a.Cells[0].Thin[0] != 1 {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// skewed has one key that every row of both sides shares.
func skewed(left, right int) map[sandbox.DatasetID]*table {
	tables := map[sandbox.DatasetID]*table{"visits": {ds: visits()}, "sites": {ds: sites()}}
	v, s := tables["visits"], tables["sites"]
	for n := range left {
		row, who := visit(n/2, int64(n))
		v.rows, v.subjects = append(v.rows, row), append(v.subjects, who)
	}
	for n := range right {
		s.rows = append(s.rows, map[string]any{"owner": "o", "site": "s1", "ward": int64(1), "street": nil, "level": int64(n % 2), "fee": int64(n)})
		s.subjects = append(s.subjects, pseudonym(100+n))
	}
	return tables
}

// TestSkewedKeys: many rows by many rows of one key, a piece at a time, and no more of them than allowed.
func TestSkewedKeys(t *testing.T) {
	s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}, {Alias: "s", Dataset: "sites", With: "v", On: []query.Key{{Left: "site", Right: "site"}}}},
		Dimensions: []query.Dimension{{Column: "s.level", As: "d"}},
		Measures:   []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: "s.fee", As: "fee"}, {Func: sandbox.Sum, Column: "v.cost", As: "cost"}}}
	tables := skewed(120, 130)
	a, err := run1(t, s, tables, Limits{MaxJoined: 120 * 130})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := render(a), render(oracle(s, tables)); got != want {
		t.Errorf("engine:\n%s\noracle:\n%s", got, want)
	}
	if _, err := run1(t, s, tables, Limits{MaxJoined: 120*130 - 1}); !errors.Is(err, sandbox.TooLarge) || !strings.Contains(err.Error(), "joined rows") {
		t.Errorf("%v", err)
	}
}

// TestPartsEnd: an error in any part ends the run with no answer and nothing left, whoever computes.
func TestPartsEnd(t *testing.T) {
	tables := visitTable(int64(1), int64(2), int64(math.MaxInt64), int64(3), int64(4), int64(5), int64(6))
	tables["visits"].subjects[3] = tables["visits"].subjects[2]
	for workers := range 4 {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		var left atomic.Int64
		a, err := Execute(context.Background(), mem, plan(t, question()), cutSource(mem, tables, []int{1, 2, 3, 4, 5}, []int{9}, &left), Limits{}, Goroutines{Workers: workers})
		if !errors.Is(err, sandbox.TooLarge) || a != nil || left.Load() != 0 {
			t.Errorf("%d workers: %v, %d readers left", workers, err, left.Load())
		}
		mem.AssertSize(t, 0)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if a, err := Execute(ctx, mem, plan(t, question()), cutSource(mem, tables, []int{1, 2}, []int{9}, &left), Limits{}, Goroutines{Workers: workers}); !errors.Is(err, context.Canceled) || a != nil || left.Load() != 0 {
			t.Errorf("%d workers: %v, %d readers left", workers, err, left.Load())
		}
		mem.AssertSize(t, 0)
	}
}

// TestRank: the least whole number of at least q·n/1000, also where the product is just above one.
func TestRank(t *testing.T) {
	for _, c := range [][3]uint64{{1, 1, 1}, {1001, 1, 2}, {1000, 1, 1}, {501, 501, 252}, {4, 500, 2}, {4, 501, 3}, {10, 999, 10}, {1 << 60, 500, 1 << 59}} {
		if got := rank(c[0], int(c[1])); got != c[2] {
			t.Errorf("rank of %d thousandths of %d: %d, want %d", c[1], c[0], got, c[2])
		}
	}
}
