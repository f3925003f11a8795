package columnar

import (
	"context"
	"errors"
	"math"
	"math/big"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// TestSubjectOfThreeParts: the second part's subjects come in order after the first's but its rows do not; the third goes on with the last
// of them.
func TestSubjectOfThreeParts(t *testing.T) {
	v := &table{ds: visits()}
	for _, x := range []struct {
		beds int64
		who  int
	}{{0, 0}, {0, 0}, {1, 1}, {1, 0}, {1, 0}, {1, 1}, {0, 1}} {
		row, _ := visit(0, int64(7))
		row["beds"] = x.beds
		v.rows, v.subjects = append(v.rows, row), append(v.subjects, pseudonym(x.who))
	}
	tables := map[sandbox.DatasetID]*table{"visits": v}
	s := question(query.Dimension{Column: "v.beds", As: "d"})
	for _, by := range []Executor{Goroutines{Workers: 1}, Goroutines{Workers: 3}, carried{}} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		var left atomic.Int64
		a, err := Execute(context.Background(), mem, plan(t, s), cutSource(mem, tables, []int{1, 5}, []int{3}, &left), Limits{}, by)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := render(a), render(oracle(s, tables)); got != want {
			t.Errorf("%T:\n%s\noracle:\n%s", by, got, want)
		}
		mem.AssertSize(t, 0)
	}
}

// TestSumsBeyond64BitsOnTheirWay: whether a sum is an answer or an error follows from its value alone, in any order of rows, cut into
// any parts, whoever computes them.
func TestSumsBeyond64BitsOnTheirWay(t *testing.T) {
	answers, refusals := 0, 0
	var made atomic.Int64
	sandboxtest.Until(t, func() bool { return answers > 0 && refusals > 0 && made.Load() > 0 }, func(t *rapid.T) {
		cost := rapid.SampledFrom([]any{int64(math.MaxInt64), int64(math.MaxInt64 - 1), int64(math.MinInt64), int64(math.MinInt64 + 2), int64(1 << 62), int64(-1 << 62), int64(1), int64(-1), nil})
		n := rapid.IntRange(1, 12).Draw(t, "rows")
		var rows []map[string]any
		var who []int
		for range n {
			row, _ := visit(0, cost.Draw(t, "cost"))
			row["beds"] = rapid.Int64Range(0, 1).Draw(t, "beds")
			rows, who = append(rows, row), append(who, rapid.IntRange(0, 2).Draw(t, "who"))
		}
		s := question(query.Dimension{Column: "v.beds", As: "d"})
		mean := rapid.Bool().Draw(t, "mean alone")
		if mean {
			s.Measures = s.Measures[1:]
		}
		fits := true
		sums := map[[2]int64]*big.Int{}
		for i, row := range rows {
			if row["cost"] == nil {
				continue
			}
			for _, subject := range []int64{int64(who[i]), -1} { // of one subject, of all
				key := [2]int64{row["beds"].(int64), subject}
				if sums[key] == nil {
					sums[key] = new(big.Int)
				}
				sums[key].Add(sums[key], big.NewInt(row["cost"].(int64)))
			}
		}
		for key, sum := range sums {
			fits = fits && (sum.IsInt64() || mean && key[1] < 0)
		}
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		for _, ordered := range []bool{true, false} {
			if order = rapid.Permutation(order).Draw(t, "order"); ordered {
				slices.SortStableFunc(order, func(a, b int) int { return who[a] - who[b] })
			}
			v := &table{ds: visits()}
			for _, i := range order {
				v.rows, v.subjects = append(v.rows, rows[i]), append(v.subjects, pseudonym(who[i]))
			}
			tables := map[sandbox.DatasetID]*table{"visits": v}
			cuts := rapid.SliceOfN(rapid.IntRange(0, n), 0, 4).Draw(t, "cuts")
			slices.Sort(cuts)
			for x, by := range []Executor{Goroutines{Workers: 1}, Goroutines{Workers: 3}, carried{}, Goroutines{Workers: 1}, Goroutines{Workers: 3}} {
				mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
				var left atomic.Int64
				src, lim := cutSource(mem, tables, cuts, []int{3}, &left), Limits{}
				if x > 2 { // all pairs are spilled
					spill, _ := sealedSpill(t)
					src.Spill, lim.MaxPairBytes = spill.counted(&made, &left), 1
				}
				a, err := Execute(context.Background(), mem, plan(t, s), src, lim, by)
				if left.Load() != 0 {
					t.Fatalf("%d readers and files left", left.Load())
				}
				if mem.CurrentAlloc() != 0 {
					t.Fatalf("%d bytes left", mem.CurrentAlloc())
				}
				if !fits {
					if refusals++; !errors.Is(err, sandbox.TooLarge) {
						t.Fatalf("%T, cut at %d: %v", by, cuts, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%T, cut at %d: %v", by, cuts, err)
				}
				answers++
				if got, want := render(a), render(oracle(s, tables)); got != want {
					t.Fatalf("%T, cut at %d:\n%s\noracle:\n%s", by, cuts, got, want)
				}
			}
		}
	})
}
