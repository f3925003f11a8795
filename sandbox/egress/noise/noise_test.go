package noise

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

func keys(t testing.TB, variance, bound int) *CellKeys {
	t.Helper()
	table, err := NewTable(variance, bound)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewCellKeys([]byte("0123456789abcdef"), table)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func people(n int) []sandbox.Pseudonym {
	out := make([]sandbox.Pseudonym, n)
	for i := range out {
		binary.BigEndian.PutUint64(out[i][:], uint64(i))
	}
	return out
}

// TestTable holds every row to what is declared: mean zero, the variance from the bound on, nothing beyond it, nothing below zero.
func TestTable(t *testing.T) {
	for _, c := range []struct{ variance, bound int }{{1, 2}, {4, 6}, {4, 8}, {9, 6}, {25, 32}} {
		table, err := NewTable(c.variance, c.bound)
		if err != nil {
			t.Fatal(err)
		}
		for count := range c.bound + 3 {
			low := min(count, c.bound)
			p, last := []float64{}, 0.0
			for _, x := range table.rows[low] {
				p, last = append(p, float64(x)/scale-last), float64(x)/scale
			}
			p = append(p, 1-last)
			mean, v := 0.0, 0.0
			for k, x := range p {
				e := float64(k - low)
				mean, v = mean+x*e, v+x*e*e
			}
			if x := math.Abs(mean); x > 1e-4 {
				t.Errorf("%v: a count of %d moves by %g in the mean", c, count, x)
			}
			if count >= c.bound && math.Abs(v-float64(c.variance)) > 1e-3 || v > float64(c.variance)+1e-3 {
				t.Errorf("%v: a count of %d has variance %g", c, count, v)
			}
			if count > 0 && !slices.ContainsFunc(p[low+1:], func(x float64) bool { return x > 0 }) {
				t.Errorf("%v: a count of %d never grows", c, count)
			}
			for _, key := range []uint64{0, 1 << 63, math.MaxUint64} {
				if e := table.At(int64(count), key); e < -int64(low) || e > int64(c.bound) || count == 0 && e != 0 {
					t.Errorf("%v: %d at %x moves by %d", c, count, key, e)
				}
			}
		}
	}
	// The entries themselves: another table would give noised answers of before other noise.
	table, err := NewTable(4, 6)
	if err != nil {
		t.Fatal(err)
	}
	sum := uint64(14695981039346656037)
	for _, row := range table.rows {
		for _, x := range row {
			sum = (sum ^ uint64(x)) * 1099511628211
		}
	}
	if want := uint64(goldenTable); sum != want {
		t.Errorf("the table of variance 4 and bound 6 has the digest %#x, not %#x", sum, want)
	}
	for _, c := range [][2]int{{0, 6}, {4, 0}, {4, 3}, {4, MaxTableBound + 1}} {
		if _, err := NewTable(c[0], c[1]); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

const goldenTable = 0xe1693ebdd9140ff

// TestCellKeysHaveTheirLaw draws many cells and compares the frequencies with the table, by chi-square.
func TestCellKeysHaveTheirLaw(t *testing.T) {
	k, pop := keys(t, 4, 6), people(4000)
	draw := rand.New(rand.NewSource(1))
	const cells = 20_000
	got := map[int64]int{}
	ones := slices.Repeat([]int64{1}, 20)
	for range cells {
		in := map[uint32]bool{}
		for len(in) < 20 {
			in[uint32(draw.Intn(len(pop)))] = true
		}
		who := make([]uint32, 0, 20)
		for s := range in {
			who = append(who, s)
		}
		got[k.Perturb(20, pop, who, ones)-20]++
	}
	chi, last := 0.0, 0.0
	row := append(slices.Clone(k.table.rows[6]), math.MaxUint32)
	mean, v := 0.0, 0.0
	for i, x := range row {
		e := int64(i - 6)
		want := (float64(x)/scale - last) * cells
		last = float64(x) / scale
		if want > 0 {
			d := float64(got[e]) - want
			chi += d * d / want
		}
		mean, v = mean+float64(got[e])*float64(e)/cells, v+float64(got[e])*float64(e*e)/cells
	}
	t.Logf("chi-square %.1f over 12 degrees of freedom, mean %.3f, variance %.3f", chi, mean, v)
	if chi > 32.9 { // 0.999 of 12 degrees of freedom
		t.Errorf("chi-square %.1f", chi)
	}
	if math.Abs(mean) > 4*2/math.Sqrt(cells) || math.Abs(v-4) > 0.2 {
		t.Errorf("mean %.3f, variance %.3f", mean, v)
	}
}

// TestCellKeysAreSticky: the same people with the same rows give the same noise in any order, form and answer; others do not.
func TestCellKeysAreSticky(t *testing.T) {
	k := keys(t, 4, 6)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3000).Draw(t, "people")
		pop := people(n)
		who, adds := make([]uint32, n), make([]int64, n)
		for i := range who {
			who[i], adds[i] = uint32(i), int64(rapid.IntRange(0, 5).Draw(t, "rows"))
		}
		before := k.Key(pop, who, adds)
		order := rand.New(rand.NewSource(int64(n))).Perm(n)
		pop2, who2, adds2 := make([]sandbox.Pseudonym, n), make([]uint32, n), make([]int64, n)
		for at, i := range order { // another answer has another population and order
			pop2[n-1-at], who2[at], adds2[at] = pop[i], uint32(n-1-at), adds[i]
		}
		if k.Key(pop2, who2, adds2) != before {
			t.Fatal("the noise follows the order")
		}
		i := rapid.IntRange(0, n-1).Draw(t, "changed")
		adds[i]++
		if k.Key(pop, who, adds) == before {
			t.Fatal("the noise does not follow the rows")
		}
	})
}

func TestRounding(t *testing.T) {
	for _, c := range [][2]int64{{0, 0}, {1, 0}, {2, 0}, {3, 5}, {7, 5}, {8, 10}, {12, 10}, {13, 15}, {-2, 0}, {-3, -5}, {math.MaxInt64, math.MaxInt64 - 2}} {
		if got := Round(c[0], 5); got != c[1] {
			t.Errorf("%d becomes %d, not %d", c[0], got, c[1])
		}
	}
	for _, c := range [][2]int64{{-1, 0}, {0, 0}, {1, 3}, {6, 3}, {7, 9}, {12, 9}, {13, 15}} {
		if got := Midpoint(c[0]); got != c[1] {
			t.Errorf("midpoint of %d is %d, not %d", c[0], got, c[1])
		}
	}
	if d := RoundDeviation(5); math.Abs(d-math.Sqrt2) > 1e-12 {
		t.Error(d)
	}
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SliceOfN(rapid.SliceOfN(rapid.Int64Range(0, 1000), 3, 3), 1, 6).Draw(t, "table")
		rows, columns, all := RoundTable(table, Base)
		sum := int64(0)
		for r, line := range table {
			here := int64(0)
			for _, x := range line {
				if x%Base != 0 {
					t.Fatal("a cell is not rounded")
				}
				here += x
			}
			if here != rows[r] {
				t.Fatal("a row's total is not its rounded cells'")
			}
			sum += here
		}
		if sum != all || columns[0]+columns[1]+columns[2] != all {
			t.Fatal("the totals do not add up")
		}
	})
}

// TestBound: nobody counts in more cells than may be, and whether one does depends on nobody else.
func TestBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pop := people(rapid.IntRange(2, 20).Draw(t, "people"))
		most := rapid.IntRange(1, 4).Draw(t, "most")
		cells := make([]sandbox.Cell, rapid.IntRange(1, 8).Draw(t, "cells"))
		for c := range cells {
			cells[c].Labels = []string{string(rune('a' + c))}
			for s := range pop {
				if rapid.Bool().Draw(t, "in") {
					cells[c].Contributors = append(cells[c].Contributors, uint32(s))
				}
			}
		}
		kept := Bound([]byte("key of the bounds"), pop, cells, most)
		count := map[uint32]int{}
		was := map[uint32]int{}
		for c := range cells {
			for i, s := range cells[c].Contributors {
				was[s]++
				if kept[c][i] {
					count[s]++
				}
			}
		}
		for s, n := range was {
			if count[s] != min(n, most) {
				t.Fatalf("a subject of %d cells counts in %d, most %d", n, count[s], most)
			}
		}
		gone := uint32(rapid.IntRange(0, len(pop)-1).Draw(t, "gone"))
		less := slices.Clone(cells)
		for c := range less {
			less[c].Contributors = slices.DeleteFunc(slices.Clone(less[c].Contributors), func(s uint32) bool { return s == gone })
		}
		again := Bound([]byte("key of the bounds"), pop, less, most)
		for c := range cells {
			if at := slices.Index(cells[c].Contributors, gone); at >= 0 {
				kept[c] = slices.Delete(slices.Clone(kept[c]), at, at+1)
			}
			if !slices.Equal(kept[c], again[c]) {
				t.Fatal("one subject's going moves another")
			}
		}
	})
}

func TestTotals(t *testing.T) {
	all := []bool{true, true, false, true}
	if got := Total([]int64{5, -900, 7, 100}, all, 10); got != 5-10+10 {
		t.Error(got)
	}
	big := int64(math.MaxInt64)
	if got := Total([]int64{big, big, big, big}, []bool{true, true, true, true}, big); got != big {
		t.Error(got)
	}
	if got := Total([]int64{-big, -big, -big, 1}, []bool{true, true, true, true}, big); got != -big {
		t.Error(got)
	}
	if got := Totals([][]int64{{2, 0, 9, 1}, {2, 1, 9, 0}, {5, 9, 9, 9}}, all, 3); !slices.Equal(got, []int64{2 + 0 + 1, 1 + 1 + 0, 0 + 2 + 2}) {
		t.Error(got)
	}
	if n := People(all); n != 3 {
		t.Error(n)
	}
}

func TestParameters(t *testing.T) {
	one := sandbox.Privacy{Epsilon: 1_000_000, Delta: 1_000_000}
	for _, f := range []func() error{
		func() error { _, err := NewGaussian(sandbox.Privacy{Delta: 1}, 1, 1); return err },
		func() error { _, err := NewGaussian(sandbox.Privacy{Epsilon: 1}, 1, 1); return err },
		func() error { _, err := NewGaussian(sandbox.Privacy{Epsilon: -1, Delta: 1}, 1, 1); return err },
		func() error { _, err := NewGaussian(sandbox.Privacy{Epsilon: 1, Delta: 1e12}, 1, 1); return err },
		func() error { _, err := NewGaussian(one, 0, 1); return err },
		func() error { _, err := NewGaussian(one, 1, 0); return err },
		func() error { _, err := NewSelection(one, 1, 0); return err },
		func() error { _, err := NewMean(one, 1, 0, 1); return err },
		func() error { _, err := NewCellKeys([]byte("short"), nil); return err },
	} {
		if err := f(); !errors.Is(err, sandbox.Invalid) {
			t.Error(err)
		}
	}
}

// drawn gives n draws of f, by both processors.
func drawn(n int, f func() int64) []int64 {
	out := make([]int64, n)
	var wait sync.WaitGroup
	for half := range 2 {
		wait.Go(func() {
			for i := half; i < n; i += 2 {
				out[i] = f()
			}
		})
	}
	wait.Wait()
	return out
}

// TestGaussianHasItsLaw: mean, variance and the Kolmogorov-Smirnov distance to the normal distribution. The library's draws have no
// seed; each bound is at five standard errors or at a significance of one in a million.
func TestGaussianHasItsLaw(t *testing.T) {
	g, err := NewGaussian(sandbox.Privacy{Epsilon: 500_000, Delta: 1_000_000}, 1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	const n = 40_000
	x := drawn(n, func() int64 {
		v, err := g.Add(7)
		if err != nil {
			t.Error(err)
		}
		return v - 7
	})
	slices.Sort(x)
	sd, mean, v, ks := g.Deviation(), 0.0, 0.0, 0.0
	for i, e := range x {
		f := float64(e)
		mean, v = mean+f/n, v+f*f/n
		cdf := math.Erfc(-f/sd/math.Sqrt2) / 2
		ks = max(ks, math.Abs(cdf-float64(i)/n), math.Abs(cdf-float64(i+1)/n))
	}
	t.Logf("deviation %.0f, mean %.1f, root of variance %.0f, Kolmogorov-Smirnov %.5f", sd, mean, math.Sqrt(v), ks)
	if math.Abs(mean) > 5*sd/math.Sqrt(n) || math.Abs(v/sd/sd-1) > 5*math.Sqrt(2.0/n) || ks > 2.69/math.Sqrt(n) {
		t.Error("not the normal distribution of this deviation")
	}
	// The deviation is the least that the declared (ε, δ) bear, by the exact condition of Balle and Wang.
	delta := func(sigma float64) float64 {
		s := 1000 * math.Sqrt(3)
		phi := func(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }
		return phi(s/2/sigma-0.5*sigma/s) - math.Exp(0.5)*phi(-s/2/sigma-0.5*sigma/s)
	}
	if delta(sd) > 1e-6 || delta(sd*0.998) < 1e-6 {
		t.Errorf("at deviation %g δ is %g", sd, delta(sd))
	}
}

func TestMean(t *testing.T) {
	m, err := NewMean(sandbox.Privacy{Epsilon: 20_000_000, Delta: 1_000_000}, 100, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0.0, 2000
	for range n {
		v, err := m.Add(500_000, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		sum += float64(v)
	}
	if math.Abs(sum/float64(n)-50) > 0.2 {
		t.Errorf("the mean of 50 comes to %g", sum/float64(n))
	}
	if v, err := m.Add(0, 0); err != nil || v > 1000 || v < -1000 {
		t.Error(v, err)
	}
}
