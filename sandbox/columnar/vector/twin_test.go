package vector

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// column is a random column: its values, and a bitmap that starts off a byte's edge.
type column struct {
	ints  []int64
	days  []int32
	codes []uint32
	valid []byte
	off   int
}

func (c *column) ok(i int) bool { return c.valid == nil || c.valid[(c.off+i)/8]>>((c.off+i)%8)&1 == 1 }

// draw makes columns of n rows. What stands in them comes from a seed: rapid would draw each value, and be slow.
func draw(t *rapid.T, n int) *column {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	c := &column{ints: make([]int64, n), days: make([]int32, n), codes: make([]uint32, n), off: rapid.IntRange(0, 70).Draw(t, "bit offset")}
	extreme := rapid.IntRange(0, 3).Draw(t, "extremes") == 0
	for i := range n {
		c.ints[i], c.days[i], c.codes[i] = rng.Int64N(2000)-1000, rng.Int32N(2000)-1000, rng.Uint32N(700)
		if extreme {
			switch rng.IntN(6) {
			case 0:
				c.ints[i], c.days[i], c.codes[i] = math.MinInt64, math.MinInt32, math.MaxUint32
			case 1:
				c.ints[i], c.days[i], c.codes[i] = math.MaxInt64, math.MaxInt32, math.MaxInt32
			case 2:
				c.ints[i] = int64(rng.Uint64()) >> rng.IntN(64)
			}
		}
	}
	switch nulls := rapid.IntRange(0, 4).Draw(t, "nulls"); nulls {
	case 0, 1:
		c.valid = make([]byte, (c.off+n+7)/8)
		for i := range c.valid {
			c.valid[i] = byte(rng.Uint32())
			if nulls == 1 {
				c.valid[i] |= byte(rng.Uint32() | rng.Uint32())
			}
		}
	case 2: // a bitmap with every bit set
		c.valid = slices.Repeat([]byte{0xff}, (c.off+n+7)/8)
	}
	return c
}

// bound draws an end of a range.
func bound(t *rapid.T, lo, hi int64) int64 {
	return rapid.OneOf(rapid.Int64Range(-1100, 1100), rapid.SampledFrom([]int64{lo, lo + 1, 0, hi - 1, hi})).Draw(t, "bound")
}

// term draws a condition and gives with it what it says of one row.
func (c *column) term(t *rapid.T) (Term, func(i int) bool) {
	var x Term
	var f func(i int) bool
	pass := make([]uint8, rapid.SampledFrom([]int{0, 1, 31, 32, 33, 300, 511, 512, 513, 700, 2100}).Draw(t, "set"))
	density := rapid.IntRange(0, 4).Draw(t, "density of the set")
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed of the set"), 2))
	for i := range pass {
		if rng.IntN(4) < density {
			pass[i] = 1
		}
	}
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		lo, hi := bound(t, math.MinInt64, math.MaxInt64), bound(t, math.MinInt64, math.MaxInt64)
		x, f = IntsBetween(c.ints, lo, hi), func(i int) bool { return lo <= c.ints[i] && c.ints[i] <= hi }
	case 1:
		lo, hi := int32(bound(t, math.MinInt32, math.MaxInt32)), int32(bound(t, math.MinInt32, math.MaxInt32))
		x, f = DaysBetween(c.days, lo, hi), func(i int) bool { return lo <= c.days[i] && c.days[i] <= hi }
	case 6:
		lo, hi := bound(t, math.MinInt64, math.MaxInt64), bound(t, math.MinInt64, math.MaxInt64)
		x, f = IntsOutside(c.ints, lo, hi), func(i int) bool { return c.ints[i] < lo || hi < c.ints[i] }
	case 7:
		lo, hi := int32(bound(t, math.MinInt32, math.MaxInt32)), int32(bound(t, math.MinInt32, math.MaxInt32))
		x, f = DaysOutside(c.days, lo, hi), func(i int) bool { return c.days[i] < lo || hi < c.days[i] }
	case 2:
		base := int32(bound(t, math.MinInt32, math.MaxInt32))
		x, f = DaysIn(c.days, NewSet(base, pass)), func(i int) bool {
			at := int64(uint32(c.days[i]) - uint32(base)) // a set may go round the end
			return at < int64(len(pass)) && pass[at] == 1
		}
	case 3:
		x, f = CodesIn(c.codes, NewSet(0, pass)), func(i int) bool { return uint64(c.codes[i]) < uint64(len(pass)) && pass[c.codes[i]] == 1 }
	case 4:
		return Null(c.valid, c.off), func(i int) bool { return !c.ok(i) }
	default:
		f = func(int) bool { return true }
	}
	if rapid.Bool().Draw(t, "nullable") {
		met := f
		x, f = x.Valid(c.valid, c.off), func(i int) bool { return c.ok(i) && met(i) }
	}
	return x, f
}

// lengths are around the lanes, the words and the chunk.
var lengths = rapid.OneOf(rapid.IntRange(0, 200), rapid.SampledFrom([]int{255, 256, 257, 1023, 1024, 1025, 1087, 2048, 3000}))

const guard = -77

func TestFilters(t *testing.T) {
	rapid.Check(t, checkFilters)
}

func FuzzFilters(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(checkFilters))
}

func checkFilters(t *rapid.T) {
	from, n := rapid.IntRange(0, 130).Draw(t, "from"), lengths.Draw(t, "rows")
	c := draw(t, from+n+rapid.IntRange(0, 3).Draw(t, "more"))
	terms := make([]Term, rapid.IntRange(0, 3).Draw(t, "terms"))
	met := make([]func(int) bool, len(terms))
	for i := range terms {
		terms[i], met[i] = c.term(t)
	}
	want := []int32{}
	total, all := new(big.Int), func(i int) bool {
		for _, f := range met {
			if !f(i) {
				return false
			}
		}
		return true
	}
	for i := from; i < from+n; i++ {
		if all(i) {
			want = append(want, int32(i))
			total.Add(total, big.NewInt(c.ints[i]))
		}
	}
	for _, k := range Twins() {
		sel := slices.Repeat([]int32{guard}, n+1)
		if got := k.Where(terms, from, n, sel[:n]); !slices.Equal(got, want) {
			t.Fatalf("%v chooses %d rows, %d meet the conditions", k, len(got), len(want))
		}
		if sel[n] != guard {
			t.Fatalf("%v writes behind the selection", k)
		}
		narrowed := sel[:n]
		Fill(narrowed, from)
		for i := range terms {
			narrowed = k.Keep(&terms[i], narrowed)
		}
		if !slices.Equal(narrowed, want) {
			t.Fatalf("%v keeps %d rows, %d meet the conditions", k, len(narrowed), len(want))
		}
		var sum Sum
		rows := k.Total(&sum, terms, from, n, c.ints, sel[:n])
		if rows != len(want) || sum.big().Cmp(total) != 0 {
			t.Fatalf("%v totals %d rows, %d meet the conditions; sums equal: %v", k, rows, len(want), sum.big().Cmp(total) == 0)
		}
		if v, ok := sum.Int64(); ok != total.IsInt64() || ok && v != total.Int64() {
			t.Fatalf("%v: a sum in 64 bits %v, is it %v", k, total.IsInt64(), ok)
		}
	}
}

func (s Sum) big() *big.Int {
	out := big.NewInt(s.hi)
	return out.Lsh(out, 64).Add(out, new(big.Int).SetUint64(s.lo))
}

func TestMasks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := lengths.Draw(t, "rows")
		c, d := draw(t, n), draw(t, n)
		bitmap := func(c *column) []uint64 {
			if c.valid == nil {
				c.valid = make([]byte, (c.off+n+7)/8)
			}
			out := slices.Repeat([]uint64{math.MaxUint64}, (n+63)/64+1)
			Words(out[:(n+63)/64], c.valid, c.off, n)
			if out[len(out)-1] != math.MaxUint64 {
				t.Fatal("Words writes behind its words")
			}
			return out[:len(out)-1]
		}
		a, b := bitmap(c), bitmap(d)
		for _, k := range Twins() {
			for name, op := range map[string]struct {
				run func(dst, x []uint64)
				is  func(a, b bool) bool
			}{
				"and":    {k.And, func(a, b bool) bool { return a && b }},
				"or":     {k.Or, func(a, b bool) bool { return a || b }},
				"andnot": {k.AndNot, func(a, b bool) bool { return a && !b }},
				"copy":   {func([]uint64, []uint64) {}, func(a, _ bool) bool { return a }},
			} {
				got := slices.Clone(a)
				op.run(got, b)
				want := []int32{}
				for i := range n {
					if op.is(c.ok(i), d.ok(i)) {
						want = append(want, int32(i+5))
					}
				}
				if k.Count(got) != len(want) {
					t.Fatalf("%v, %s: %d bits counted of %d", k, name, k.Count(got), len(want))
				}
				if rows := k.Rows(got, 5, make([]int32, len(want))); !slices.Equal(rows, want) {
					t.Fatalf("%v, %s: other rows", k, name)
				}
			}
		}
	})
}

func TestKeepCodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		codes := rapid.SliceOf(rapid.Uint32Range(0, 9)).Draw(t, "codes")
		pass := rapid.SliceOfN(rapid.Uint8Range(0, 1), 10, 10).Draw(t, "pass")
		sel, want := make([]int32, len(codes)), []int32{}
		for j, c := range codes {
			sel[j] = int32(3 * j)
			if pass[c] == 1 {
				want = append(want, sel[j])
			}
		}
		if got := KeepCodes(sel, codes, pass); !slices.Equal(got, want) {
			t.Fatalf("keeps %d rows of %d", len(got), len(want))
		}
	})
}

func TestGroups(t *testing.T) {
	t.Run("uint16", func(t *testing.T) { rapid.Check(t, checkGroups[uint16]) })
	t.Run("uint32", func(t *testing.T) { rapid.Check(t, checkGroups[uint32]) })
}

func FuzzGroups(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(checkGroups[uint32]))
}

func checkGroups[C Code](t *rapid.T) {
	const cells = 8
	n := lengths.Draw(t, "rows")
	c := draw(t, n)
	codes := make([]C, n)
	for i := range codes {
		codes[i] = C(c.codes[i] % cells)
	}
	keep := rapid.IntRange(0, 3).Draw(t, "kept")
	sel := []int32{}
	for i := range n {
		if keep == 3 || i*7%3 < keep {
			sel = append(sel, int32(i))
		}
	}
	all := make([]int32, n)
	Fill(all, 0)
	for _, form := range []struct {
		name string
		run  func(out []Cell) bool
		rows []int32
	}{
		{"Group", func(out []Cell) bool { return Group(out, codes, c.ints, sel) }, sel},
		{"GroupAll", func(out []Cell) bool { return GroupAll(out, codes, c.ints) }, all},
	} {
		want, counts, fits := make([]Cell, cells), make([]int64, cells), true
		sums := make([]big.Int, cells)
		for _, i := range form.rows {
			w, s := &want[codes[i]], &sums[codes[i]]
			w.Rows++
			fits = fits && s.Add(s, big.NewInt(c.ints[i])).IsInt64()
			w.Sum = s.Int64()
		}
		got := make([]Cell, cells)
		if ok := form.run(got); ok != fits {
			t.Fatalf("%s says it fits: %v, it does: %v", form.name, ok, fits)
		}
		Rows(counts, codes, form.rows)
		for i := range want {
			if counts[i] != want[i].Rows {
				t.Fatal("Rows counts something else")
			}
		}
		if !fits {
			continue
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s differs from the plain sum", form.name)
		}
		// Parts merge to the whole.
		half, rest := make([]Cell, cells), make([]Cell, cells)
		if form.name == "Group" && Group(half, codes, c.ints, sel[:len(sel)/2]) && Group(rest, codes, c.ints, sel[len(sel)/2:]) &&
			(!Merge(half, rest) || !slices.Equal(half, want)) {
			t.Fatal("parts merge to something else")
		}
	}
}

// A cell that is full is an error in every form, at both ends.
func TestGroupOverflow(t *testing.T) {
	for _, v := range []int64{math.MaxInt64, math.MinInt64} {
		values, codes, sel := []int64{v, v / math.MaxInt64}, []uint32{0, 0}, []int32{0, 1}
		for name, run := range map[string]func([]Cell) bool{
			"Group":    func(c []Cell) bool { return Group(c, codes, values, sel) },
			"GroupAll": func(c []Cell) bool { return GroupAll(c, codes, values) },
			"Merge":    func(c []Cell) bool { c[0].Sum = v; return Merge(c, []Cell{{Sum: v / math.MaxInt64}}) },
		} {
			if run(make([]Cell, 1)) {
				t.Errorf("%s lets a sum of %d bits pass", name, 65)
			}
		}
	}
}

// Codes outside the cells, and rows outside the column, panic as an index does.
func TestOutside(t *testing.T) {
	for name, run := range map[string]func(){
		"code":  func() { Group(make([]Cell, 2), []uint32{2}, []int64{1}, []int32{0}) },
		"row":   func() { Group(make([]Cell, 2), []uint32{0}, []int64{1}, []int32{1}) },
		"keep":  func() { KeepCodes([]int32{0}, []uint32{1}, []uint8{1}) },
		"where": func() { Best().Where([]Term{IntsBetween(make([]int64, 100), 0, 1)}, 90, 64, make([]int32, 64)) },
		"room":  func() { Best().Where(nil, 0, 64, make([]int32, 63)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: does not panic", name)
				}
			}()
			run()
		}()
	}
}

func TestNothingAllocated(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	c := &column{ints: make([]int64, 3000), days: make([]int32, 3000), codes: make([]uint32, 3000), valid: make([]byte, 376)}
	for i := range c.ints {
		c.ints[i], c.days[i], c.codes[i] = rng.Int64N(100), rng.Int32N(100), rng.Uint32N(100)
	}
	for i := range c.valid {
		c.valid[i] = byte(rng.Uint32())
	}
	set := NewSet(0, []uint8{1, 1, 0, 1})
	sel, cells := make([]int32, 3000), make([]Cell, 100)
	for _, k := range Twins() {
		for _, terms := range [][]Term{
			{IntsBetween(c.ints, 0, 50), DaysBetween(c.days, 0, 50), CodesIn(c.codes, set)},
			{CodesIn(c.codes, set).Valid(c.valid, 3), DaysIn(c.days, set)},
			{DaysBetween(c.days, 0, 50).Valid(c.valid, 0), IntsBetween(c.ints, 0, 50).Valid(c.valid, 1)},
			{IntsBetween(c.ints, 0, 50).Valid(c.valid, 0)},
		} {
			var s Sum
			if n := testing.AllocsPerRun(10, func() {
				out := k.Where(terms, 1, 2990, sel)
				Group(cells, c.codes, c.ints, out)
				k.Total(&s, terms, 1, 2990, c.ints, sel)
			}); n != 0 {
				t.Errorf("%v: %v allocations", k, n)
			}
		}
	}
}

func ExampleKernels_Where() {
	days, amounts, regions := []int32{18262, 18300, 19000, 18263}, []int64{100, 5, 700, 250}, []uint16{1, 0, 1, 1}
	cells, sel := make([]Cell, 2), make([]int32, len(days))
	sel = Best().Where([]Term{DaysBetween(days, 18262, 18627), IntsBetween(amounts, 100, math.MaxInt64)}, 0, len(days), sel)
	fits := Group(cells, regions, amounts, sel)
	fmt.Println(sel, cells[1].Rows, cells[1].Sum, fits)
	// Output: [0 3] 2 350 true
}
