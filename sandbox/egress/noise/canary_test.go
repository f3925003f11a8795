package noise

import (
	"math"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// binomial gives the probability of at most k of n at p.
func binomial(k, n int, p float64) float64 {
	if p <= 0 {
		return 1
	}
	if p >= 1 {
		if k >= n {
			return 1
		}
		return 0
	}
	ln := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	sum := 0.0
	for i := range k + 1 {
		sum += math.Exp(ln(n) - ln(i) - ln(n-i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return min(sum, 1)
}

// clopperPearson bounds a probability of which k of n were seen, each side missed with probability alpha.
func clopperPearson(k, n int, alpha float64) (low, high float64) {
	find := func(f func(p float64) bool) float64 { // the largest p at which f still holds
		lo, hi := 0.0, 1.0
		for range 60 {
			if m := (lo + hi) / 2; f(m) {
				lo = m
			} else {
				hi = m
			}
		}
		return lo
	}
	if k > 0 {
		low = find(func(p float64) bool { return 1-binomial(k-1, n, p) <= alpha })
	}
	high = 1
	if k < n {
		high = find(func(p float64) bool { return binomial(k, n, p) > alpha })
	}
	return low, high
}

// canary bounds ε from below, by how often an event is seen with the canary and without it; it misses with probability alpha.
func canary(with, without, n int, delta, alpha float64) float64 {
	low, _ := clopperPearson(with, n, alpha/2)
	_, high := clopperPearson(without, n, alpha/2)
	return math.Log(max(low-delta, 1e-300) / high)
}

func TestClopperPearson(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{0, 10, 0, 0.3085}, {1, 10, 0.0025, 0.4450}, {5, 10, 0.1871, 0.8129}, {10, 10, 0.6915, 1}, {30, 1000, 0.0203, 0.0426}} {
		if low, high := clopperPearson(c.k, c.n, 0.025); math.Abs(low-c.low) > 1e-4 || math.Abs(high-c.high) > 1e-4 {
			t.Errorf("%d of %d: %.4f to %.4f", c.k, c.n, low, high)
		}
	}
}

// TestCanary measures ε of a sum on two datasets that differ by one subject of the largest contribution. The lower bound is held to
// what is declared, and is not vacuous: noise of half the deviation is found out.
func TestCanary(t *testing.T) {
	const n, bound = 30_000, 1000
	for _, c := range []struct {
		name     string
		declared sandbox.Privacy
		broken   float64 // the deviation divided by
		found    bool
	}{
		{"ε 1", sandbox.Privacy{Epsilon: 1_000_000, Delta: 1_000_000}, 1, false},
		{"ε 3", sandbox.Privacy{Epsilon: 3_000_000, Delta: 1_000_000}, 1, false},
		{"ε 1, a quarter of the noise", sandbox.Privacy{Epsilon: 1_000_000, Delta: 1_000_000}, 4, true},
	} {
		g, err := NewGaussian(c.declared, bound, 1)
		if err != nil {
			t.Fatal(err)
		}
		others := make([]int64, 50)
		kept := make([]bool, 51)
		for i := range others {
			others[i] = int64(i)
		}
		for i := range kept {
			kept[i] = true
		}
		run := func(adds []int64) int {
			total := Total(adds, kept[:len(adds)], bound)
			threshold := Total(others, kept[:50], bound) + int64(2*g.Deviation()/c.broken)
			seen := 0
			for _, v := range drawn(n, func() int64 {
				v, err := g.Add(0)
				if err != nil {
					t.Error(err)
				}
				return total + int64(float64(v)/c.broken)
			}) {
				if v > threshold {
					seen++
				}
			}
			return seen
		}
		low := canary(run(append(others[:50:50], 1_000_000)), run(others), n, float64(c.declared.Delta)/1e12, 0.05)
		t.Logf("%s: ε is at least %.3f with 95 %% confidence", c.name, low)
		if found := low > float64(c.declared.Epsilon)/1e6; found != c.found {
			t.Errorf("%s: found out %v, ε at least %.3f", c.name, found, low)
		}
	}
}

// TestSelectionCanary: groups of one more and one fewer. Selection over few cells is optimal, it spends ε whole, so that a 95 % bound on
// it misses in one run of twenty: the test asks for a miss of one in a million, and prints the other.
func TestSelectionCanary(t *testing.T) {
	declared := sandbox.Privacy{Epsilon: 1_000_000, Delta: 1_000_000}
	for _, c := range []struct {
		cells, n int
		people   []int // where the probability rises
	}{{1, 30_000, []int{18, 22, 24}}, {5, 5_000, []int{46, 56}}} {
		s, err := NewSelection(declared, c.cells, 10)
		if err != nil {
			t.Fatal(err)
		}
		seen := func(n, people int) (k int) {
			for _, v := range drawn(n, func() int64 {
				keep, err := s.Keep(people)
				if err != nil {
					t.Error(err)
				}
				if keep {
					return 1
				}
				return 0
			}) {
				k += int(v)
			}
			return k
		}
		if k := seen(c.n, 9); k > 0 {
			t.Errorf("groups of 9 left %d times", k)
		}
		for _, people := range c.people {
			a, b := seen(c.n, people), seen(c.n, people+1)
			low := func(alpha float64) float64 {
				return max(canary(b, a, c.n, 1e-6, alpha), canary(c.n-a, c.n-b, c.n, 1e-6, alpha))
			}
			t.Logf("%d cells, %d people: kept %d and %d of %d, ε at least %.3f with 95 %% confidence", c.cells, people, a, b, c.n, low(0.05))
			if low(1e-6) > 1 {
				t.Errorf("%d cells, %d people: ε at least %.3f", c.cells, people, low(1e-6))
			}
		}
		if k := seen(100, 500); k != 100 {
			t.Errorf("groups of 500 left %d of 100 times", k)
		}
	}
}
