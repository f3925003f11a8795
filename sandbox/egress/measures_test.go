package egress

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// one makes an answer of one output and one cell, of so many people who add what amount says.
func one(m sandbox.Measure, people int, amount func(int) int64, change func(*sandbox.Cell)) *sandbox.Answer {
	c := sandbox.Cell{Values: []int64{77123}, Rows: int64(people), NonMissing: []int64{int64(people)}, Contributions: [][]int64{nil}, Thin: []int64{int64(people)}}
	a := &sandbox.Answer{Measures: []sandbox.Measure{m}, Sources: [][]string{{"claims.amount", "claims.days"}}, Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 1}}}
	for n := range people {
		a.Population = append(a.Population, pseudonym(n))
		c.Contributors = append(c.Contributors, uint32(n))
		c.Contributions[0] = append(c.Contributions[0], amount(n))
	}
	if m.Func.Additive() {
		c.Values[0] = 0
		for _, v := range c.Contributions[0] {
			c.Values[0] += v
		}
	}
	if change != nil {
		change(&c)
	}
	a.Cells = []sandbox.Cell{c}
	return a
}

func spread(n int) int64 { return int64(1000 + 10*n) }

func once(int) int64 { return 1 }

// TestEveryMeasureIsJudged: what each function must rest on, and what one too thin breaks.
func TestEveryMeasureIsJudged(t *testing.T) {
	thin := func(n int64) func(*sandbox.Cell) { return func(c *sandbox.Cell) { c.Thin[0] = n } }
	divisors := func(amount func(int) int64) func(*sandbox.Cell) {
		return func(c *sandbox.Cell) {
			c.Divisors = [][]int64{nil}
			for n := range c.Contributors {
				c.Divisors[0] = append(c.Divisors[0], amount(n))
			}
		}
	}
	giant := func(n int) int64 {
		if n == 0 {
			return 1_000_000
		}
		return spread(n)
	}
	for _, c := range []struct {
		name   string
		f      sandbox.MeasureFunc
		people int
		amount func(int) int64
		change func(*sandbox.Cell)
		want   string
	}{
		{"quantile", sandbox.Quantile, 30, spread, thin(10), ""},
		{"quantile with few below", sandbox.Quantile, 30, spread, thin(9), RuleFrequency},
		{"quantile of a giant", sandbox.Quantile, 30, giant, nil, RuleDominance},
		{"quantile of equals", sandbox.Quantile, 30, once, nil, RuleAllEqual},
		{"variance", sandbox.Variance, 30, spread, nil, ""},
		{"variance of ten degrees", sandbox.Variance, 30, spread, thin(10), ""},
		{"variance of nine degrees", sandbox.Variance, 30, spread, thin(9), RuleDegrees},
		{"deviation of nine degrees", sandbox.StdDev, 30, spread, thin(9), RuleDegrees},
		{"covariance of nine degrees", sandbox.Covariance, 30, spread, thin(9), RuleDegrees},
		{"correlation of nine degrees", sandbox.Correlation, 30, spread, thin(9), RuleDegrees},
		{"correlation of a giant", sandbox.Correlation, 30, giant, nil, RuleDominance},
		{"linear", sandbox.Linear, 30, spread, nil, ""},
		{"linear of nine degrees", sandbox.Linear, 30, spread, thin(9), RuleDegrees},
		{"logistic", sandbox.Logistic, 30, once, nil, ""},
		{"logistic with few of one outcome", sandbox.Logistic, 30, once, thin(9), RuleFrequency},
		{"distinct", sandbox.Distinct, 30, once, nil, ""},
		{"distinct of few", sandbox.Distinct, 9, once, nil, RuleFrequency},
		{"distinct of a giant", sandbox.Distinct, 30, giant, nil, RuleDominance},
		{"histogram", sandbox.Histogram, 30, once, nil, ""},
		{"histogram of an empty label", sandbox.Histogram, 30, func(int) int64 { return 0 }, nil, ""},
		{"histogram of a rare label", sandbox.Histogram, 30, func(n int) int64 { return max(0, int64(9-n)) / 2 }, nil, RuleFrequency},
		{"histogram that leaves out few", sandbox.Histogram, 30, once, func(c *sandbox.Cell) { c.Rows += 3 }, RuleFrequency},
		{"histogram that leaves out many", sandbox.Histogram, 30, once, func(c *sandbox.Cell) { c.Rows += 30 }, ""},
		{"dot", sandbox.Dot, 30, spread, nil, ""},
		{"dot of few", sandbox.Dot, 9, spread, nil, RuleFrequency},
		{"dot of a giant", sandbox.Dot, 30, giant, nil, RuleDominance},
		{"dot of equals", sandbox.Dot, 30, once, nil, RuleAllEqual},
		{"ratio", sandbox.Ratio, 30, spread, divisors(spread), ""},
		{"ratio by a giant", sandbox.Ratio, 30, spread, divisors(giant), RuleDominance},
		{"ratio of a giant", sandbox.Ratio, 30, giant, divisors(spread), RuleDominance},
		{"ratio by equals", sandbox.Ratio, 30, spread, divisors(once), RuleAllEqual},
		{"min", sandbox.Min, 30, spread, thin(1), ""},
		{"max of few", sandbox.Max, 9, spread, thin(1), RuleFrequency},
	} {
		got, err := Check("q-1", one(sandbox.Measure{Name: "m", Func: c.f}, c.people, c.amount, c.change), limits)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.want == "" && len(got.Rules) > 0 || c.want != "" && !slices.Contains(got.Rules, c.want) {
			t.Errorf("%s breaks %v", c.name, got.Rules)
		}
		if len(got.Rules) > 0 && strings.Contains(string(got.Result), "77123") {
			t.Errorf("%s: a suppressed value leaves", c.name)
		}
		if _, err := DecodeResult(got.Result); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, f := range []sandbox.MeasureFunc{"median", "", sandbox.Plain} {
		if _, err := Check("q-1", one(sandbox.Measure{Name: "m", Func: f}, 30, spread, nil), limits); !errors.Is(err, sandbox.Withheld) {
			t.Errorf("function %q: %v", f, err)
		}
	}
}

// TestThinSidesAreFew: whoever adds what, a single value of moments rests on the people its evidence says, or on nobody.
func TestThinSidesAreFew(t *testing.T) {
	for _, f := range []sandbox.MeasureFunc{sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation, sandbox.Linear, sandbox.Logistic} {
		for _, n := range []int64{-1, 0, 1, 9, 10, 14, 15} {
			for _, least := range []int{10, 15} {
				p := limits
				p.MinSubjects = least
				got, err := Check("q-1", one(sandbox.Measure{Name: "m", Func: f}, 60, spread, func(c *sandbox.Cell) { c.Thin[0] = n }), p)
				if err != nil {
					t.Fatal(err)
				}
				few := n < int64(least)
				if few != slices.Contains(got.Rules, RuleFrequency) || few != (got.Suppressed == 1) || few && strings.Contains(string(got.Result), "77123") {
					t.Errorf("%s that rests on %d of at least %d: %v", f, n, least, got.Rules)
				}
			}
		}
	}
}

// TestEvidenceIsThere: a value whose evidence is cut short is refused whole.
func TestEvidenceIsThere(t *testing.T) {
	for name, a := range map[string]*sandbox.Answer{
		"quantile without thin":     one(sandbox.Measure{Name: "m", Func: sandbox.Quantile}, 30, spread, func(c *sandbox.Cell) { c.Thin = nil }),
		"ratio without divisors":    one(sandbox.Measure{Name: "m", Func: sandbox.Ratio}, 30, spread, nil),
		"ratio with few divisors":   one(sandbox.Measure{Name: "m", Func: sandbox.Ratio}, 30, spread, func(c *sandbox.Cell) { c.Divisors = [][]int64{{1}} }),
		"histogram that adds more":  one(sandbox.Measure{Name: "m", Func: sandbox.Histogram}, 30, once, func(c *sandbox.Cell) { c.Values[0]++ }),
		"a sum that has no value":   one(sandbox.Measure{Name: "m", Func: sandbox.Sum}, 30, spread, func(c *sandbox.Cell) { c.None = []bool{true} }),
		"none for another number":   one(sandbox.Measure{Name: "m", Func: sandbox.Variance}, 30, spread, func(c *sandbox.Cell) { c.None = []bool{true, false} }),
		"top by an unknown measure": shownBy(one(sandbox.Measure{Name: "m", Func: sandbox.Sum}, 30, spread, nil), sandbox.Shown{Top: &sandbox.Top{Measure: "x", K: 1}}),
		"top by an extreme":         shownBy(one(sandbox.Measure{Name: "m", Func: sandbox.Max}, 30, spread, nil), sandbox.Shown{Top: &sandbox.Top{Measure: "m", K: 1}}),
		"top none":                  shownBy(one(sandbox.Measure{Name: "m", Func: sandbox.Sum}, 30, spread, nil), sandbox.Shown{Top: &sandbox.Top{Measure: "m"}}),
		"at least of a sum":         shownBy(one(sandbox.Measure{Name: "m", Func: sandbox.Sum}, 30, spread, nil), sandbox.Shown{AtLeast: []sandbox.Least{{Measure: "m", Value: 3}}}),
	} {
		if _, err := Check("q-1", a, limits); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func shownBy(a *sandbox.Answer, s sandbox.Shown) *sandbox.Answer {
	a.Shown = s
	return a
}

// TestMissingValuesSayWhy: extremes are redacted, an undefined value is null, and neither is a number.
func TestMissingValuesSayWhy(t *testing.T) {
	for _, c := range []struct {
		f    sandbox.MeasureFunc
		none []bool
		want string
	}{
		{sandbox.Min, nil, NoneRedacted}, {sandbox.Max, []bool{true}, NoneRedacted}, {sandbox.Variance, []bool{true}, NoneUndefined}, {sandbox.Variance, []bool{false}, ""},
	} {
		got, err := Check("q-1", one(sandbox.Measure{Name: "m", Func: c.f}, 30, spread, func(x *sandbox.Cell) { x.None = c.none }), limits)
		if err != nil {
			t.Fatal(err)
		}
		if c.want != "" == strings.Contains(string(got.Result), "77123") {
			t.Errorf("%s: %s", c.f, got.Result)
		}
		r, err := DecodeResult(got.Result)
		if err != nil {
			t.Fatal(err)
		}
		if row := r.Rows[0]; c.want == "" && (row.None != nil || *row.Values[0] != 77123) || c.want != "" && (row.Values[0] != nil || row.None[0] != c.want) {
			t.Errorf("%s: %s", c.f, got.Result)
		}
	}
	// What the owner calls structural leaves, of enough people with a value, however few hold it.
	for people, want := range map[int]bool{9: false, 10: true} {
		got, err := Check("q-1", one(sandbox.Measure{Name: "m", Func: sandbox.Max, Structural: true}, 30, func(n int) int64 {
			if n < people {
				return spread(n)
			}
			return 0
		}, func(x *sandbox.Cell) { x.Thin[0] = 1 }), limits)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := DecodeResult(got.Result); err != nil || r.Rows[0].Suppressed == want || strings.Contains(string(got.Result), "77123") != want {
			t.Errorf("structural extreme of %d people: %s, %v", people, got.Result, err)
		}
	}
	for _, row := range []string{`"values":[null]`, `"values":[1],"none":["undefined"]`, `"values":[null],"none":["gone"]`, `"values":[null],"none":[""]`, `"values":[1],"none":[""]`, `"values":[null],"none":["redacted","redacted"]`} {
		if _, err := DecodeResult([]byte(`{"format":"opdomain-result/1","question":"q-1","dimensions":[],"measures":[{"name":"m","func":"min","scale":0}],"rows":[{"labels":[],` + row + `}]}`)); err == nil {
			t.Errorf("%s is read", row)
		}
	}
}

// TestShownAfterTheGate: conditions and order select among what may leave, suppressed groups stay listed, and the ledger keeps all.
func TestShownAfterTheGate(t *testing.T) {
	rows := slices.Concat(people(0, 12, "a"), people(20, 40, "b"), people(60, 20, "c"), people(80, 3, "d"), people(100, 15, "e"), people(120, 11, "f"))
	for _, c := range []struct {
		shown sandbox.Shown
		want  string
	}{
		{sandbox.Shown{}, "[a- b c d- e f]"},
		{sandbox.Shown{AtLeast: []sandbox.Least{{Measure: "人数", Value: 15}}}, "[a- b c d- e]"},
		{sandbox.Shown{Top: &sandbox.Top{Measure: "金额", K: 2}}, "[b c a- d-]"},
		{sandbox.Shown{Top: &sandbox.Top{Measure: "件数", K: 9}}, "[b c e f a- d-]"},
		{sandbox.Shown{AtLeast: []sandbox.Least{{Measure: "件数", Value: 16}}, Top: &sandbox.Top{Measure: "件数", K: 9}}, "[b c a- d-]"},
	} {
		a := shownBy(claims(t, rows).answer(), c.shown)
		a.Cells[0].Contributors, a.Cells[0].Values = a.Cells[0].Contributors[:9], []int64{9, 9, 0}
		for m := range a.Cells[0].Contributions {
			a.Cells[0].Contributions[m] = a.Cells[0].Contributions[m][:9]
		}
		for _, v := range a.Cells[0].Contributions[2] {
			a.Cells[0].Values[2] += v
		}
		got, err := Check("q-1", a, limits)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DecodeResult(got.Result)
		if err != nil {
			t.Fatal(err)
		}
		var labels []string
		for _, row := range r.Rows {
			l := row.Labels[0]
			if row.Suppressed {
				l += "-"
			}
			labels = append(labels, l)
		}
		if fmt.Sprint(labels) != c.want {
			t.Errorf("%+v: %v", c.shown, labels)
		}
		e, err := ledger.Entry("q-1", got)
		if err != nil || len(e.Cells) != got.Published || len(got.Cells) != 6 {
			t.Errorf("%d cells in the ledger of %d published; %v", len(e.Cells), got.Published, err)
		}
		if len(r.Rows) > 3 && c.shown.Top != nil { // another order is not an encoding
			for i := range len(r.Rows) - 1 {
				other := strings.Replace(string(got.Result), `"labels":["`+r.Rows[i].Labels[0]+`"]`, `"labels":["x"]`, 1)
				if i > 0 && r.Rows[i].Suppressed && other != string(got.Result) {
					if _, err := DecodeResult([]byte(other)); err == nil {
						t.Error("suppressed groups out of order are read")
					}
				}
			}
			swapped := strings.Replace(string(got.Result), `"k":`, `"k":-`, 1)
			if _, err := DecodeResult([]byte(swapped)); err == nil {
				t.Error("a condition that selects nothing is read")
			}
		}
	}
}

// several makes an answer of one output by one dimension: a cell for each evidence of how few people it rests on, of people of its own.
func several(f sandbox.MeasureFunc, people int, thin ...int64) *sandbox.Answer {
	a := &sandbox.Answer{Dimensions: []string{"d"}, Measures: []sandbox.Measure{{Name: "m", Func: f}}, Sources: [][]string{{"claims.amount"}},
		Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 1}}}
	for i, n := range thin {
		c := sandbox.Cell{Labels: []string{fmt.Sprint(i)}, Values: []int64{1}, Rows: int64(people + i), NonMissing: []int64{int64(people + i)}, Contributions: [][]int64{nil}, Thin: []int64{n}}
		for k := range people + i {
			c.Contributors = append(c.Contributors, uint32(len(a.Population)))
			c.Contributions[0] = append(c.Contributions[0], spread(k))
			a.Population = append(a.Population, pseudonym(len(a.Population)))
		}
		a.Cells = append(a.Cells, c)
	}
	return a
}

// TestSeveralThinCellsAreNoCover: suppressed cells protect each other only as far as together they rest on enough people. Moments add
// up over cells; a quantile, or the outcomes of a logistic regression, do not, and another cell joins them.
func TestSeveralThinCellsAreNoCover(t *testing.T) {
	for _, c := range []struct {
		f    sandbox.MeasureFunc
		want []bool // hidden
	}{
		{sandbox.Quantile, []bool{true, true, true, false}},
		{sandbox.Logistic, []bool{true, true, true, false}},
		{sandbox.Variance, []bool{true, true, false, false}},
		{sandbox.Linear, []bool{true, true, false, false}},
	} {
		got, err := Check("q-1", several(c.f, 14, 5, 6, 16, 17), limits)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.hidden, c.want) {
			t.Errorf("%s hides %v, not %v", c.f, got.hidden, c.want)
		}
	}
	// Six regressors on six people each leave a pair of cells no degrees of freedom, however many rows one of them has.
	a := several(sandbox.Linear, 10, 5, 6, 16, 17)
	a.Sources[0] = slices.Repeat([]string{"claims.amount"}, 14)
	got, err := Check("q-1", a, limits)
	if err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, true, true, false}; !slices.Equal(got.hidden, want) {
		t.Errorf("regressions hide %v, not %v", got.hidden, want)
	}
}

// TestSeveralHistogramsLeaveOutFew: whom suppressed cells leave out together are no few either.
func TestSeveralHistogramsLeaveOutFew(t *testing.T) {
	a := several(sandbox.Histogram, 14, 0, 0, 0, 0)
	for i := range a.Cells {
		c := &a.Cells[i]
		c.Thin, c.Values[0] = nil, 0
		for k := range c.Contributions[0] {
			c.Contributions[0][k] = 1
			c.Values[0]++
		}
		if i < 2 {
			c.Rows += 3
		}
	}
	got, err := Check("q-1", a, limits)
	if err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, true, true, true}; !slices.Equal(got.hidden, want) {
		t.Errorf("histograms hide %v, not %v", got.hidden, want)
	}
}

// A quantile is somebody's value: it leaves to two digits.
func TestQuantilesLeaveCoarse(t *testing.T) {
	for v, want := range map[int64]int64{0: 0, 7: 7, 99: 99, 100: 100, 104: 100, 105: 110, 206129: 210000, 995: 1000, -206129: -210000, -45: -45,
		math.MaxInt64: 9_200_000_000_000_000_000, math.MinInt64: -9_200_000_000_000_000_000} {
		if got := coarse(v); got != want {
			t.Errorf("%d leaves as %d, want %d", v, got, want)
		}
	}
}
