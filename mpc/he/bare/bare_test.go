package bare

import (
	"math"
	"testing"

	"github.com/opdomain/opdomain/mpc/he"
)

// TestScore holds the peer to doing the same as the adapter: the scores are those of the plain model.
func TestScore(t *testing.T) {
	for _, s := range he.Sets() {
		if s.Name != he.ScoringSet {
			continue
		}
		sc, err := NewScore(s.LogN, s.Q, s.P, s.LogScale, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) })
		if err != nil {
			t.Fatal(err)
		}
		got, err := sc.Run([][]float64{{1, -1, 0.5}, {0.25, 1, -1}}, []float64{3, 1.5})
		if err != nil {
			t.Fatal(err)
		}
		for i, z := range []float64{3.375, -1.5, 0} {
			if want := 1 / (1 + math.Exp(-z)); math.Abs(got[i]-want) > 2e-3 {
				t.Errorf("customer %d: the peer does not score", i)
			}
		}
	}
}

// TestSum runs each step once.
func TestSum(t *testing.T) {
	for _, s := range he.Sets() {
		if s.Scheme != "BGV" {
			continue
		}
		b, err := NewSum(s.LogN, s.Q, s.T)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Encrypt([]int64{1, 2}, 2); err != nil {
			t.Fatal(err)
		}
		b.Add()
		b.Share()
	}
}
