package columnar

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// minorities has 60 people of one visit each, of whom the last so many have another number of beds, and every other a night.
func minorities(others int) map[sandbox.DatasetID]*table {
	v := &table{ds: visits()}
	for n := range 60 {
		row, who := visit(n, int64(10_000+170*(n*37%60)))
		row["beds"], row["night"], row["index"] = int64(0), n%2 == 0, int64(n*23%60)
		if n >= 60-others {
			row["beds"] = int64(1)
		}
		v.rows, v.subjects = append(v.rows, row), append(v.subjects, who)
	}
	return map[sandbox.DatasetID]*table{"visits": v}
}

// TestMinoritiesOfAnyColumn: what a value tells of the few whose number in any of its columns is another is held back by the gate, in
// either order of the columns, and what many on both sides make is not.
func TestMinoritiesOfAnyColumn(t *testing.T) {
	gate := egress.Params{MinSubjects: 10, DominanceN: 3, DominanceK: 60, PPercent: 20}
	of := func(f sandbox.MeasureFunc, column string, with ...string) query.Measure {
		return query.Measure{Func: f, Column: column, With: with}
	}
	for _, c := range []struct {
		m      query.Measure
		ok     []int // how many with another number may leave
		shares bool  // what is judged beside the sides may hold it back too
	}{
		{m: of(sandbox.Linear, "v.cost", "v.beds"), ok: []int{10, 30, 50}},
		{m: of(sandbox.Linear, "v.cost", "v.index", "v.beds"), ok: []int{10, 30, 50}},
		{m: of(sandbox.Linear, "v.cost", "v.beds", "v.index"), ok: []int{10, 30, 50}},
		{m: of(sandbox.Covariance, "v.cost", "v.beds"), ok: []int{10, 30, 50}},
		{m: of(sandbox.Correlation, "v.cost", "v.beds"), ok: []int{10, 30, 50}},
		{m: of(sandbox.Logistic, "v.night", "v.beds"), ok: []int{10, 30, 50}},
		{m: of(sandbox.Covariance, "v.beds", "v.cost"), shares: true},
		{m: of(sandbox.Correlation, "v.beds", "v.cost"), shares: true},
		{m: of(sandbox.Linear, "v.beds", "v.cost"), shares: true},
		{m: of(sandbox.Variance, "v.beds"), shares: true},
		{m: of(sandbox.StdDev, "v.beds"), shares: true},
		{m: of(sandbox.Logistic, "v.beds", "v.cost"), ok: []int{10, 30, 50}},
	} {
		for _, others := range []int{0, 1, 9, 10, 30, 50, 51, 59, 60} {
			a, err := run1(t, measuring(c.m), minorities(others), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			a.Inputs = []sandbox.InputVersion{{Dataset: "visits", Version: 1}}
			for m, thin := range a.Cells[0].Thin {
				if want := int64(min(others, 60-others)); thin != want {
					t.Errorf("%s(%s, %s) of %d others: output %d rests on %d, not %d", c.m.Func, c.m.Column, c.m.With, others, m, thin, want)
				}
			}
			got, err := egress.Check("q-1", a, gate)
			if err != nil {
				t.Fatal(err)
			}
			few := others < 10 || others > 50
			if few != slices.Contains(got.Rules, egress.RuleFrequency) || few && got.Published > 0 {
				t.Errorf("%s(%s, %s) of %d others: %v", c.m.Func, c.m.Column, c.m.With, others, got.Rules)
			}
			if slices.Contains(c.ok, others) && got.Published != 1 || !few && !c.shares && len(got.Rules) > 0 {
				t.Errorf("%s(%s, %s) of %d others is held back: %v", c.m.Func, c.m.Column, c.m.With, others, got.Rules)
			}
		}
	}
}

// TestSidesAreOfPeople: whoever has many rows is one person on the side of their own mean, rows without all of a measure's columns do
// not count, and who stands at the mean is on no side.
func TestSidesAreOfPeople(t *testing.T) {
	v := &table{ds: visits()}
	add := func(who int, cost any, beds int64) {
		row, p := visit(who, cost)
		row["beds"] = beds
		v.rows, v.subjects = append(v.rows, row), append(v.subjects, p)
	}
	// Beds, where there is a cost: of everybody 26/13 = 2; of persons 0 to 5 the means are 1, 3, 2, 0, 7/3 and 1. Of costs three are on
	// either side.
	for _, r := range []struct {
		who  int
		cost any
		beds int64
	}{
		{0, int64(100), 1}, {0, int64(300), 1}, {0, nil, 50},
		{1, int64(200), 6}, {1, int64(100), 3}, {1, int64(300), 0}, {1, int64(200), 3}, {1, nil, -70},
		{2, int64(400), 0}, {2, int64(600), 4},
		{3, int64(700), 0},
		{4, int64(800), 6}, {4, int64(900), 1}, {4, int64(200), 0}, {4, nil, -70},
		{5, int64(100), 1},
		{6, nil, 1000},
	} {
		add(r.who, r.cost, r.beds)
	}
	tables := map[sandbox.DatasetID]*table{"visits": v}
	for _, m := range []query.Measure{
		{Func: sandbox.Covariance, Column: "v.cost", With: []string{"v.beds"}},
		{Func: sandbox.Covariance, Column: "v.beds", With: []string{"v.cost"}},
		{Func: sandbox.Linear, Column: "v.cost", With: []string{"v.beds"}},
	} {
		a, err := run1(t, measuring(m), tables, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		// Of beds 1 and 4 are above, 0, 3 and 5 below.
		if got := a.Cells[0]; got.NonMissing[0] != 13 || got.Thin[0] != 2 {
			t.Errorf("%s: %d rows, thin %d", m.Func, got.NonMissing[0], got.Thin[0])
		}
		if got, want := render(a), render(oracle(measuring(m), tables)); got != want {
			t.Errorf("engine:\n%s\noracle:\n%s", got, want)
		}
	}
}

// TestCompareMeans: of any numbers, the order that fractions have.
func TestCompareMeans(t *testing.T) {
	far := []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, math.MinInt64 + 1}
	value := rapid.OneOf(rapid.SampledFrom(far), rapid.Int64(), rapid.Int64Range(-3, 3))
	rows := rapid.OneOf(rapid.Uint64Range(1, 4), rapid.Uint64Range(1, 1<<62))
	seen := map[int]bool{}
	sandboxtest.Until(t, func() bool { return len(seen) == 3 }, func(t *rapid.T) {
		sum, own, all := value.Draw(t, "sum"), rows.Draw(t, "rows"), rows.Draw(t, "all")
		total := wide{value.Draw(t, "hi") >> 2, uint64(value.Draw(t, "lo"))}
		if rapid.Bool().Draw(t, "same") { // the same mean, or one next to it
			total, all = wide{}, 3*(own>>2+1)
			own = own>>2 + 1
			for _, v := range []int64{sum, sum, sum, value.Draw(t, "off") % 2} {
				total.add(v)
			}
		}
		x := new(big.Rat).SetFrac(big.NewInt(sum), new(big.Int).SetUint64(own))
		y := new(big.Rat).SetFrac(total.big(), new(big.Int).SetUint64(all))
		got := compareMeans(sum, own, total, all)
		if got != x.Cmp(y) {
			t.Fatal(fmt.Sprintf("%d/%d and %v/%d: %d", sum, own, total.big(), all, got))
		}
		seen[got] = true
	})
}
