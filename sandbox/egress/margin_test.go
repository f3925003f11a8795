package egress

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
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

func TestEliminationFindsTheOnlySolutions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "unknowns")
		var equations, used [][]uint64
		for range rapid.IntRange(0, 8).Draw(t, "equations") {
			eq := rapid.SliceOfN(rapid.Uint64Range(0, 1), n, n).Draw(t, "equation")
			equations, used = append(equations, eq), append(used, slices.Clone(eq))
		}
		known := map[int]bool{}
		for _, row := range eliminate(used) {
			at, count := 0, 0
			for k, v := range row {
				if v != 0 {
					at, count = k, count+1
				}
			}
			if count == 1 {
				known[at] = true
			}
		}
		for j := range n {
			if want := solvable(equations, n, j); known[j] != want {
				t.Fatalf("unknown %d of %v: known %v, want %v", j, equations, known[j], want)
			}
		}
	})
}

// For any table with some cells published: no cell that breaks a rule follows from the margins that may be published.
func TestNoUnsafeCellFollowsFromTheMargins(t *testing.T) {
	tight := 0
	rapid.Check(t, func(t *rapid.T) {
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
	if tight == 0 {
		t.Error("no table was checked")
	}
}

// What a reader could do by hand: row total less a cell that the column total gave away.
func TestTwoMarginsTogetherGiveNothingAway(t *testing.T) {
	c := claims(t, slices.Concat(people(0, 12, "a", "x"), people(20, 3, "a", "y"), people(40, 13, "b", "x"), people(60, 14, "b", "y"), people(80, 15, "c", "x"), people(100, 16, "c", "y"))).check("q-1")
	if c.Published < 2 {
		t.Fatal("the table is suppressed whole")
	}
	if known, ok := c.determined(c.margins()); !ok || len(known) != 0 {
		t.Errorf("cells %v follow from the margins", known)
	}
}

func TestAuditIsBounded(t *testing.T) {
	// 40 × 40 × 4 groups of one person each: more equations than an elimination may take.
	var all []row
	for i := range 4800 {
		all = append(all, row{i, []string{fmt.Sprintf("%02d", i/120), fmt.Sprintf("%02d", i/3%40), fmt.Sprint(i % 3)}, yuan(int64(i + 1))})
	}
	all = append(all, people(5000, 12, "zz", "zz", "zz")...)
	if _, err := Check("q-1", claims(t, all).answer(), limits); err == nil {
		t.Error("a table that cannot be audited is published")
	}
}
