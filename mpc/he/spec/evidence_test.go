package spec

import (
	"cmp"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
)

// TestDiffers: people who all add the same, or nothing, are never said to differ; most others are, where their squares are known nearly all.
func TestDiffers(t *testing.T) {
	told := [2]int{}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 7))
		people, sort := 1+r.IntN(80), r.IntN(4)
		same := r.Int64N(2001) - 1000
		total, squares, adding, alike := int64(0), int64(0), int64(0), true
		for range people {
			v := same
			switch {
			case sort == 1 && r.IntN(3) == 0:
				v = 0
			case sort >= 2:
				v = r.Int64N(100_000) - int64(sort-2)*50_000
			}
			if total, squares = total+v, squares+v*v; v != 0 {
				adding++
				alike = alike && v == same
			}
		}
		least := adding - min(adding, r.Int64N(3))
		for known, sq := range []*big.Int{nil, big.NewInt(squares)} {
			got := differs(big.NewInt(total), sq, least, int64(people))
			if got && alike {
				t.Errorf("seed %d: people who add the same differ", seed)
			}
			if got {
				told[known]++
			}
		}
	}
	if told[0] < 700 || told[1] < 900 || told[1] < told[0] {
		t.Errorf("of some 1,000 that differ %v are known to", told)
	}
}

// TestEvidence: of whom either holder states nothing, none is counted among those who add something; tops are products of what both state.
func TestEvidence(t *testing.T) {
	n := func(v ...int64) (out []*big.Int) {
		for _, x := range v {
			out = append(out, big.NewInt(x))
		}
		return out
	}
	// Factors of either side: rows, the column, people.
	r := &he.Result{Sides: [2][]he.Side{{{Subjects: 90, Alike: 80, Top: big.NewInt(2)}, {Subjects: 84, Alike: 63, Top: big.NewInt(500)}, {Subjects: 90, Alike: 90, Top: big.NewInt(1)}},
		{{Subjects: 80, Alike: 70, Top: big.NewInt(3)}, {Subjects: 75, Alike: 5, Top: big.NewInt(700)}, {Subjects: 80, Alike: 80, Top: big.NewInt(1)}}}}
	sum := []he.Term{{Left: 0, Right: 0}, {Left: 1, Right: 0}, {Left: 2, Right: 2}}
	both := []he.Term{{Left: 0, Right: 0}, {Left: 1, Right: 0}, {Left: 0, Right: 1}, {Left: 1, Right: 1}, {Left: 2, Right: 2}}
	one := *r // the second has one row of each
	one.Sides[1] = []he.Side{{Subjects: 80, Alike: 80, Top: big.NewInt(1)}, r.Sides[1][1], r.Sides[1][2]}
	most := one // and nearly all have the same at the first
	most.Sides[0] = []he.Side{r.Sides[0][0], {Subjects: 84, Alike: 64, Top: big.NewInt(500)}, r.Sides[0][2]}
	for name, x := range map[string]struct {
		of     *he.Result // nil: r
		f      sandbox.MeasureFunc
		terms  []he.Term
		totals []*big.Int
		people int64
		sides  int
		least  int64
		tops   []int64
		differ bool
	}{
		"a count":                             {nil, sandbox.Count, sum, n(100), 70, 0, 70, []int64{6}, true},
		"a sum":                               {nil, sandbox.Sum, sum, n(100, 9001), 70, 0, 64, []int64{1500}, true},
		"parts that differ where rows do not": {&one, sandbox.Sum, sum, n(100, 66*7), 70, 0, 64, []int64{500}, true},
		"parts that may be the same":          {&most, sandbox.Sum, sum, n(100, 66*7), 70, 0, 64, []int64{500}, false},
		"a sum of equal parts":                {nil, sandbox.Sum, sum, n(100, 66*7), 70, 0, 64, []int64{1500}, false},
		"nobody may add anything":             {nil, sandbox.Sum, sum, n(6, 0), 6, 0, 0, []int64{0}, false},
		"nobody":                              {nil, sandbox.Sum, sum, n(0, 0), 0, 0, 0, []int64{0}, false},
		"two columns":                         {nil, sandbox.Covariance, both, n(100, 9001, 9001, 5), 70, 2, 64, []int64{1500, 1400}, true},
		"the second of equal parts":           {nil, sandbox.Covariance, both, n(100, 9001, 70*7, 5), 70, 2, 64, []int64{1500, 1400}, false},
		"a row each, a spread, but zeros":     {nil, sandbox.Covariance, both, n(70, 70*7, 9001, 5), 70, 2, 64, []int64{1500, 1400}, false},
	} {
		o := he.Output{Rows: x.totals[0].Int64(), Sides: make([]he.Weighed, x.sides)}
		(&Joined{}).evidence(joinedMeasure{Measure: he.Measure{Func: x.f}}, cmp.Or(x.of, r), x.terms, x.totals, big.NewInt(x.people), &o)
		if o.SubjectsAtLeast != x.people || len(o.Subjects) != 1 || o.Subjects[0] != x.least || o.Differ != x.differ || len(o.Tops) != 1 || o.Tops[0].Int64() != x.tops[0] {
			t.Errorf("%s: %+v %v", name, o, o.Tops)
		}
		for i, s := range o.Sides {
			if len(s.Tops) != 1 || s.Tops[0].Int64() != x.tops[i] {
				t.Errorf("%s: side %d: %v", name, i, s.Tops)
			}
		}
	}
}
