package egress

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

var limits = Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}

// Each line of testdata/rules.json is one group of people, what each adds to a sum, and the rules it breaks.
func TestPrimaryRulesByExample(t *testing.T) {
	b, err := os.ReadFile("testdata/rules.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Case   string
		Func   sandbox.MeasureFunc
		People int
		Adds   []int64
		Breaks []string
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range cases {
		g := group{people: c.People, parts: [][]int64{nil}}
		if weighed(sandbox.Measure{Func: c.Func}) {
			g.parts[0] = nonZero(c.Adds)
		}
		got := judge(g, []sandbox.Measure{{Name: "m", Func: c.Func}}, limits)
		if !slices.Equal(got, c.Breaks) {
			t.Errorf("%s: breaks %v, want %v", c.Case, got, c.Breaks)
		}
		for _, r := range got {
			seen[r] = true
		}
	}
	for _, r := range []string{RuleFrequency, RuleDominance, RulePPercent, RuleAllEqual, RuleFunction} {
		if !seen[r] {
			t.Errorf("no example breaks %s", r)
		}
	}
}

// The rules in 128 bits agree with the formulas of the handbook in integers of any size.
func TestDominanceIsExact(t *testing.T) {
	any := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1000, 1000), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, 1, -1}))
	rapid.Check(t, func(t *rapid.T) {
		p := Params{MinSubjects: 10, DominanceN: rapid.IntRange(1, 16).Draw(t, "n"), DominanceK: rapid.IntRange(1, 99).Draw(t, "k"), PPercent: rapid.IntRange(1, 100).Draw(t, "p"),
			Prior: rapid.IntRange(0, 100).Draw(t, "q")}
		x := nonZero(rapid.SliceOfN(any, 0, 20).Draw(t, "x"))
		var mags []*big.Int
		sum := new(big.Int)
		for _, v := range x {
			m := new(big.Int).Abs(big.NewInt(v))
			mags = append(mags, m)
			sum.Add(sum, m)
		}
		slices.SortFunc(mags, func(a, b *big.Int) int { return b.Cmp(a) })
		top := func(n int) *big.Int {
			s := new(big.Int)
			for _, m := range mags[:min(n, len(mags))] {
				s.Add(s, m)
			}
			return s
		}
		times := func(a *big.Int, n int) *big.Int { return new(big.Int).Mul(a, big.NewInt(int64(n))) }
		mag := measure(x, max(p.DominanceN, 2))
		if want := times(top(p.DominanceN), 100).Cmp(times(sum, p.DominanceK)) > 0; dominance(mag, p) != want {
			t.Fatalf("dominance is %v, want %v", !want, want)
		}
		if want := times(new(big.Int).Sub(sum, top(2)), cmp.Or(p.Prior, 100)).Cmp(times(top(1), p.PPercent)) < 0; pPercent(mag, p) != want {
			t.Fatalf("p-percent is %v, want %v", !want, want)
		}
		want := 0
		if sum.Sign() > 0 {
			want = int(new(big.Int).Div(times(top(1), 1000), sum).Int64())
		}
		if got := share(mag.tops(1), mag.sum()); got < want-1 || got > want+1 {
			t.Fatalf("a share of %d per mille is shown as %d", want, got)
		}
	})
}

func TestParamsThatProtectNobody(t *testing.T) {
	for _, p := range []Params{{}, {2, 2, 90, 10, 0, 0}, {10, 0, 90, 10, 0, 0}, {10, 17, 90, 10, 0, 0}, {10, 2, 0, 10, 0, 0}, {10, 2, 100, 10, 0, 0}, {10, 2, 90, 0, 0, 0}, {10, 2, 90, 101, 0, 0},
		{10, 2, 90, 10, 101, 0}, {10, 2, 90, 10, -1, 0}, {10, 2, 90, 10, 0, -1}} {
		if err := p.Validate(); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%+v: %v", p, err)
		}
		if _, err := Check("q-1", claims(t, nil).answer(), p); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%+v: the gate works: %v", p, err)
		}
	}
	if err := limits.Validate(); err != nil {
		t.Error(err)
	}
}
