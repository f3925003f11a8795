package noise

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// cheapest tries every way to cut sorted values into groups of at least k rows in which equal values stay together, and gives the
// least sum of squared distances.
func cheapest(values []int64, k int) float64 {
	if len(values) == 0 {
		return 0
	}
	least := math.Inf(1)
	for n := k; n <= len(values); n++ {
		if n < len(values) && values[n-1] == values[n] {
			continue
		}
		sum, squares := 0.0, 0.0
		for _, x := range values[:n] {
			sum += float64(x)
		}
		for _, x := range values[:n] {
			squares += (float64(x) - sum/float64(n)) * (float64(x) - sum/float64(n))
		}
		least = min(least, squares+cheapest(values[n:], k))
	}
	return least
}

// TestGrouping: batch by batch, groups are the best there are, equal values have equal means, each shared by k rows or more.
func TestGrouping(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		checked := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer checked.AssertSize(t, 0)
		k := rapid.IntRange(3, 5).Draw(rt, "k")
		n := rapid.IntRange(0, 18).Draw(rt, "n")
		span := rapid.SampledFrom([]int64{3, 30, 3000}).Draw(rt, "span")
		x := rapid.SliceOfN(rapid.Int64Range(-span, span), n, n).Draw(rt, "x")
		valid := make([]bool, n)
		var there []int64
		for i := range valid {
			if valid[i] = rapid.IntRange(0, 9).Draw(rt, "valid") > 0; valid[i] {
				there = append(there, x[i])
			}
		}
		a := ints(checked, 3, valid, x...)
		defer a.Release()
		tally := must[*Tally](rt)(NewTally(k))
		for at := 0; at < n; at += 5 {
			part := array.NewSlice(a, int64(at), int64(min(at+5, n)))
			if err := tally.Add(part); err != nil {
				rt.Fatal(err)
			}
			part.Release()
		}
		g := tally.Groups()
		out := must[arrow.Array](rt)(g.Apply(checked, a)).(*array.Int64)
		defer out.Release()
		if len(there) < k {
			if out.NullN() != n || g.Masked() != int64(len(there)) {
				rt.Fatal("fewer than k rows kept a value")
			}
			return
		}
		groups := map[int64][]int64{} // by the mean, which two groups may share
		for i := range n {
			if valid[i] != out.IsValid(i) {
				rt.Fatal("nulls are not kept")
			}
			if valid[i] {
				groups[out.Value(i)] = append(groups[out.Value(i)], x[i])
			}
		}
		for m, rows := range groups {
			if len(rows) < k {
				rt.Fatalf("a mean of %d rows, k is %d", len(rows), k)
			}
			_ = m
		}
		// The groups themselves, before rounding.
		sorted := slices.Sorted(slices.Values(there))
		cost, from := 0.0, 0
		for i, top := range g.tops {
			to := from
			sum := 0.0
			for to < len(sorted) && sorted[to] <= top {
				sum += float64(sorted[to])
				to++
			}
			mean := sum / float64(to-from)
			if to-from < k || math.Abs(float64(g.means[i])-mean) > 0.5+1e-9 {
				rt.Fatalf("group %d of %d rows has not its mean", i, to-from)
			}
			for _, v := range sorted[from:to] {
				cost += (float64(v) - mean) * (float64(v) - mean)
			}
			from = to
		}
		if want := cheapest(sorted, k); from != len(sorted) || cost > want+1e-6*max(want, 1) {
			rt.Fatalf("a sum of squares of %g, the least is %g", cost, want)
		}
	})
	// Means are exact at the ends of the range, and nothing overflows.
	tally := must[*Tally](t)(NewTally(3))
	ends := []int64{math.MaxInt64, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, math.MinInt64, math.MinInt64 + 1}
	if err := tally.Add(ints(mem, 0, nil, ends...)); err != nil {
		t.Fatal(err)
	}
	if got := run(t, tally.Groups(), ints(mem, 0, nil, ends...)); got[0] != fmt.Sprint(int64(math.MaxInt64)) || got[3] != fmt.Sprint(int64(math.MinInt64)) {
		t.Error(got)
	}
	// Values beyond what was counted are not guessed.
	if got := run(t, must[*Tally](t)(NewTally(3)).Groups(), ints(mem, 0, nil, 1)); got[0] != "null" {
		t.Error(got)
	}
	// The limit is a refusal with its number.
	tally.limit = 2
	var e *sandbox.Error
	if err := tally.Add(ints(mem, 0, nil, 5)); !errors.As(err, &e) || e.Kind != sandbox.TooLarge || e.Detail != "at most 2 different values in a column" {
		t.Error(err)
	}
	for _, k := range []int{0, 2, MaxGroup + 1} {
		if _, err := NewTally(k); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("k %d: %v", k, err)
		}
	}
}

// TestMean compares with arbitrary precision.
func TestMean(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(rt, "n")
		values := rapid.SliceOfN(rapid.Int64(), n, n).Draw(rt, "values")
		slices.Sort(values)
		count := rapid.SliceOfN(rapid.Int64Range(1, 1<<40), n, n).Draw(rt, "count")
		sum, rows := new(big.Int), new(big.Int)
		for i, x := range values {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(x), big.NewInt(count[i])))
			rows.Add(rows, big.NewInt(count[i]))
		}
		// half to even: floor((2·sum + rows) / 2·rows), less one where that is odd and exact
		q, r := new(big.Int).DivMod(new(big.Int).Add(new(big.Int).Lsh(sum, 1), rows), new(big.Int).Lsh(rows, 1), new(big.Int))
		if r.Sign() == 0 && q.Bit(0) == 1 {
			q.Sub(q, big.NewInt(1))
		}
		if got := mean(values, count); q.Cmp(big.NewInt(got)) != 0 {
			rt.Fatalf("%v %v: %d, want %s", values, count, got, q)
		}
	})
}

// TestSelector: batch by batch it draws what it draws at once, and it says so when there are more rows than were counted.
func TestSelector(t *testing.T) {
	whole := must[*Sample](t)(NewSample(100, 17, reader(3))).Rows()
	s := must[*Selector](t)(NewSelector(100, 17, reader(3)))
	var got []int32
	for at := 0; at < 100; at += 30 {
		for _, r := range must[[]int32](t)(s.Next(min(30, 100-at))) {
			got = append(got, r+int32(at))
		}
	}
	if !slices.Equal(got, whole) {
		t.Errorf("%v, at once %v", got, whole)
	}
	if _, err := s.Next(1); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
	if _, err := NewSelector(3, 4, reader(1)); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
}

// TestDraw: with a reader of its own a call gives what Apply gives with it, and calls do not share one.
func TestDraw(t *testing.T) {
	add, same := must[*Additive](t)(NewAdditive(Laplace, 4, 1, reader(5))), must[*Additive](t)(NewAdditive(Laplace, 4, 1, nil))
	a := ints(mem, 2, []bool{true, false, true, true}, 10, 20, 30, 40)
	want := show(must[arrow.Array](t)(add.Apply(mem, a)))
	for range 2 {
		if got := show(must[arrow.Array](t)(same.Draw(mem, a, reader(5)))); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	matrix := [][]float64{{0.5, 0.5}, {0.5, 0.5}}
	p, q := must[*PRAM](t)(NewPRAM([]string{"a", "b"}, matrix, reader(6))), must[*PRAM](t)(NewPRAM([]string{"a", "b"}, matrix, nil))
	b := texts(mem, 0, nil, "a", "b", "a", "a", "b", "x")
	want = show(must[arrow.Array](t)(p.Apply(mem, b)))
	for range 2 {
		if got := show(must[arrow.Array](t)(q.Draw(mem, b, reader(6)))); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if _, err := q.Apply(mem, b); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
	// Booleans are taken too: a sample is of every column.
	bools := array.NewBooleanBuilder(mem)
	bools.AppendValues([]bool{true, false, true}, []bool{true, true, false})
	if got := show(must[arrow.Array](t)(Take(mem, bools.NewArray(), []int32{2, 0}))); !slices.Equal(got, []string{"null", "true"}) {
		t.Error(got)
	}
}
