package egress

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// solvable says, by rational arithmetic, whether equations over n unknowns have one value for unknown j: whether every
// vector of their null space is zero there.
func solvable(equations [][]uint64, n, j int) bool {
	m := make([][]*big.Rat, len(equations))
	for r, eq := range equations {
		for _, v := range eq {
			m[r] = append(m[r], new(big.Rat).SetInt64(int64(v)))
		}
	}
	var pivots []int
	for col := 0; col < n && len(pivots) < len(m); col++ {
		at := len(pivots)
		r := slices.IndexFunc(m[at:], func(row []*big.Rat) bool { return row[col].Sign() != 0 })
		if r < 0 {
			continue
		}
		m[at], m[at+r] = m[at+r], m[at]
		for r := at + 1; r < len(m); r++ {
			f := new(big.Rat).Quo(m[r][col], m[at][col])
			for k := range n {
				m[r][k] = new(big.Rat).Sub(m[r][k], new(big.Rat).Mul(f, m[at][k]))
			}
		}
		pivots = append(pivots, col)
	}
	for free := range n {
		if slices.Contains(pivots, free) {
			continue
		}
		x := make([]*big.Rat, n)
		for k := range x {
			x[k] = new(big.Rat)
		}
		x[free].SetInt64(1)
		for r := len(pivots) - 1; r >= 0; r-- {
			s := new(big.Rat)
			for k := pivots[r] + 1; k < n; k++ {
				s.Add(s, new(big.Rat).Mul(m[r][k], x[k]))
			}
			x[pivots[r]] = s.Neg(s.Quo(s, m[r][pivots[r]]))
		}
		if x[j].Sign() != 0 {
			return false
		}
	}
	return true
}

// For any table with some cells published: no cell that breaks a rule follows from the margins that may be published.
func TestNoUnsafeCellFollowsFromTheMargins(t *testing.T) {
	tight := 0
	sandboxtest.Until(t, func() bool { return tight > 0 }, func(t *rapid.T) {
		a := table(t).answer()
		c, err := Check("q-1", a, limits)
		if err != nil {
			t.Fatal(err)
		}
		var cells []int
		for i := range a.Cells {
			if c.Cells[i].Suppressed {
				cells = append(cells, i)
			}
		}
		if c.Published == 0 {
			return
		}
		var equations [][]uint64
		for mask := range 1<<len(a.Dimensions) - 1 {
			for i := range a.Cells {
				eq, shown := make([]uint64, len(cells)), false
				var hidden []int
				for j := range a.Cells {
					same := true
					for d := range a.Dimensions {
						same = same && (mask>>d&1 == 0 || a.Cells[i].Labels[d] == a.Cells[j].Labels[d])
					}
					if k := slices.Index(cells, j); same && k >= 0 {
						eq[k] = 1
						hidden = append(hidden, j)
					} else if same {
						shown = true
					}
				}
				if shown || len(hidden) > 0 && len(judge(of(a, hidden), a.Measures, limits)) == 0 {
					equations = append(equations, eq)
				}
			}
		}
		for k, i := range cells {
			if len(judge(of(a, []int{i}), a.Measures, limits)) > 0 && solvable(equations, len(cells), k) {
				t.Fatalf("cell %d of %v follows from the margins", i, fmt.Sprint(hidden(c)))
			}
		}
		tight++
	})
}

// Every primary cell of a published table is open by what its rules ask, in the view of contributors too.
func TestIntervalsAreWideEnough(t *testing.T) {
	cells := 0
	sandboxtest.Until(t, func() bool { return cells > 0 }, func(t *rapid.T) {
		c, err := Check("q-1", table(t).answer(), limits)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range c.Cells {
			for _, x := range e.Intervals {
				if !e.Suppressed || x.Ratio < 1000 || x.Lower > x.Upper {
					t.Fatalf("cell %d, %s: %d permille of what it must be", i, x.Measure, x.Ratio)
				}
				cells++
			}
			if c.Published > 0 && len(e.Rules) > 0 && e.Rules[0] != RuleSecondary && len(e.Intervals) == 0 {
				t.Fatalf("cell %d is suppressed without an interval", i)
			}
		}
		if s := c.Suppression; (s == nil) != (c.Suppressed == 0) || s != nil && (s.Bound > s.Cost || s.Optimal && s.Bound != s.Cost && s.Whole == "") {
			t.Fatalf("suppression %+v of %d cells", s, c.Suppressed)
		}
	})
}

// Together two groups pass every rule, and still the total gives the larger one within a hair: the other's amounts are small.
func TestNarrowIntervalsAreWidened(t *testing.T) {
	rows := slices.Concat(people(0, 3, "few"), people(100, 12, "poor"), people(200, 40, "other"))
	for i := range rows {
		switch rows[i].labels[0] {
		case "few":
			rows[i].amount = yuan(1_000_000 + int64(i))
		case "poor":
			rows[i].amount = yuan(int64(i))
		default:
			rows[i].amount = yuan(100_000 + int64(i))
		}
	}
	c := claims(t, rows).check("q-1")
	if !c.passes([]int{0, 2}) {
		t.Fatal("the two groups are unsafe together")
	}
	if h := hidden(c); h["few"] != "frequency" || h["other"] != "secondary" || h["poor"] != "" {
		t.Errorf("hides %v", h)
	}
	if s := c.Suppression; s.Cost != 40 || !s.Optimal || s.Cells != 1 {
		t.Errorf("%+v", *s)
	}
}

// Earlier answers bound the cells of a new one: coarser groups, asked before.
func TestEarlierAnswersEnterTheAudit(t *testing.T) {
	fine := slices.Concat(people(0, 30, "a1"), people(40, 4, "a2"), people(60, 40, "b1"), people(120, 12, "b2"), people(150, 40, "b3"))
	var coarse []row
	for _, x := range fine {
		coarse = append(coarse, row{x.person, []string{x.labels[0][:1]}, x.amount})
	}
	before := claims(t, coarse).entry("q-1")
	a := claims(t, fine).answer()
	alone, err := Check("q-2", a, limits)
	if err != nil {
		t.Fatal(err)
	}
	links := bookOf(before).Linked(ledger, a)
	if len(links) != 2 {
		t.Fatalf("%d links to two earlier cells", len(links))
	}
	both, err := Check("q-2", a, limits, links...)
	if err != nil {
		t.Fatal(err)
	}
	// Alone b2 hides a2; but a as a whole is known, so that a1 must.
	if h := hidden(alone); h["a2"] != "frequency" || h["b2"] != "secondary" || len(h) != 2 {
		t.Errorf("alone: %v", h)
	}
	if h := hidden(both); h["a2"] != "frequency" || h["a1"] != "secondary" || len(h) != 2 {
		t.Errorf("after the coarser answer: %v", h)
	}
	if both.Suppression.Linked != 2 {
		t.Errorf("%d earlier cells in the audit", both.Suppression.Linked)
	}
	// Of other datasets nothing is said.
	before.Datasets = []sandbox.DatasetID{"wages"}
	if links := bookOf(before).Linked(ledger, a); len(links) != 0 {
		t.Error("an answer on another dataset is linked")
	}
}

// What cannot be certified is withheld: amounts beyond what sums are exact for.
func TestWhatCannotBeAuditedIsWithheld(t *testing.T) {
	rows := slices.Concat(people(0, 30, "a"), people(40, 3, "b"))
	rows[0].amount = yuan(1 << 61)
	if _, err := Check("q-1", claims(t, rows).answer(), limits); !errors.Is(err, sandbox.Withheld) {
		t.Errorf("got %v", err)
	}
}
