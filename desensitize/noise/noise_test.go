package noise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func reader(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

type operation interface {
	Apply(memory.Allocator, arrow.Array) (arrow.Array, error)
	Masked() int64
}

type fatal interface {
	Helper()
	Fatal(...any)
}

func must[T any](t fatal) func(T, error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// build makes a slice at an offset of a column of any type from values by its builder.
func ints(mem memory.Allocator, offset int, valid []bool, values ...int64) arrow.Array {
	b := array.NewInt64Builder(mem)
	defer b.Release()
	for range offset {
		b.Append(99)
	}
	b.AppendValues(values, valid)
	whole := b.NewArray()
	defer whole.Release()
	return array.NewSlice(whole, int64(offset), int64(whole.Len()))
}

func floats(mem memory.Allocator, offset int, valid []bool, values ...float64) arrow.Array {
	b := array.NewFloat64Builder(mem)
	defer b.Release()
	for range offset {
		b.Append(99)
	}
	b.AppendValues(values, valid)
	whole := b.NewArray()
	defer whole.Release()
	return array.NewSlice(whole, int64(offset), int64(whole.Len()))
}

func texts(mem memory.Allocator, offset int, valid []bool, values ...string) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	for range offset {
		b.Append("before")
	}
	b.AppendValues(values, valid)
	whole := b.NewArray()
	defer whole.Release()
	return array.NewSlice(whole, int64(offset), int64(whole.Len()))
}

func show(a arrow.Array) []string {
	out := make([]string, a.Len())
	for i := range out {
		if out[i] = "null"; a.IsValid(i) {
			out[i] = strings.Clone(a.ValueStr(i))
		}
	}
	return out
}

func run(t fatal, o operation, a arrow.Array) []string {
	t.Helper()
	defer a.Release()
	out := must[arrow.Array](t)(o.Apply(memory.DefaultAllocator, a))
	defer out.Release()
	return show(out)
}

var mem = memory.DefaultAllocator

// TestLawsOfNoise: mean, variance and the share of each small value against the law's own, within five standard errors.
func TestLawsOfNoise(t *testing.T) {
	const n = 200_000
	zeros := make([]int64, n)
	for _, c := range []struct {
		law   Law
		scale float64
	}{{Laplace, 0.5}, {Laplace, 1}, {Laplace, 7.25}, {Gauss, 0.5}, {Gauss, 1}, {Gauss, 12.5}, {Gauss, 1 << 21}, {Laplace, 1 << 21}, {Uniform, 1}, {Uniform, 9}} {
		o := must[*Additive](t)(NewAdditive(c.law, c.scale, 1, reader(7)))
		a := ints(mem, 0, nil, zeros...)
		out := must[arrow.Array](t)(o.Apply(mem, a)).(*array.Int64)
		weight := func(k float64) float64 {
			switch c.law {
			case Laplace:
				return math.Exp(-math.Abs(k) / c.scale)
			case Gauss:
				return math.Exp(-k * k / (2 * c.scale * c.scale))
			}
			if math.Abs(k) > c.scale {
				return 0
			}
			return 1
		}
		step := max(1, math.Floor(c.scale/1000))
		total, variance, fourth := 0.0, 0.0, 0.0
		for k := -40 * c.scale; k <= 40*c.scale; k += step {
			k := math.Round(k/step) * step
			w := weight(k) * step
			total, variance, fourth = total+w, variance+w*k*k, fourth+w*k*k*k*k
		}
		variance, fourth = variance/total, fourth/total
		mean, square := 0.0, 0.0
		counts := map[int64]int{}
		for _, x := range out.Int64Values() {
			mean += float64(x) / n
			square += float64(x) * float64(x) / n
			counts[x]++
		}
		if math.Abs(mean) > 5*math.Sqrt(variance/n) {
			t.Errorf("%s %g: mean %g", c.law, c.scale, mean)
		}
		if e := 5*math.Sqrt((fourth-variance*variance)/n) + variance*1e-3; math.Abs(square-variance) > e {
			t.Errorf("%s %g: variance %g, want %g ± %g", c.law, c.scale, square, variance, e)
		}
		for k := int64(-3); k <= 3 && c.scale < 1000; k++ {
			p := weight(float64(k)) / total
			if e := 5*math.Sqrt(p*(1-p)/n) + 1e-9; math.Abs(float64(counts[k])/n-p) > e {
				t.Errorf("%s %g: share of %d is %g, want %g", c.law, c.scale, k, float64(counts[k])/n, p)
			}
		}
		if got := o.Scale(); got != c.scale {
			t.Errorf("%s: scale %g of %g", c.law, got, c.scale)
		}
		out.Release()
		a.Release()
	}
}

// TestAdditive: grid, nulls, ends of the ranges, the same reader the same noise, another another.
func TestAdditive(t *testing.T) {
	for _, law := range []Law{Laplace, Gauss, Uniform} {
		get := func(seed byte) []string {
			return run(t, must[*Additive](t)(NewAdditive(law, 30, 10, reader(seed))), ints(mem, 3, []bool{true, false, true, true}, 104, 7, -1000, 250))
		}
		x := get(1)
		if !slices.Equal(x, get(1)) || slices.Equal(x, get(2)) {
			t.Errorf("%s is not a function of its reader", law)
		}
		for i, s := range x {
			if (s == "null") != (i == 1) || s != "null" && !strings.HasSuffix(s, "0") {
				t.Errorf("%s: row %d is off the grid or its null moved", law, i)
			}
		}
	}
	o := must[*Additive](t)(NewAdditive(Uniform, 1000, 0.25, reader(1)))
	for i, s := range run(t, o, floats(mem, 1, nil, 1.1, math.NaN(), math.Inf(1), 1e300, -3)) {
		var x float64
		_, err := fmt.Sscan(s, &x)
		if bad := i >= 1 && i <= 3; bad != (s == "null") || !bad && (err != nil || x*4 != math.Trunc(x*4)) {
			t.Errorf("row %d", i)
		}
	}
	if o.Masked() != 3 {
		t.Errorf("%d counted", o.Masked())
	}
	o = must[*Additive](t)(NewAdditive(Uniform, 1<<20, 1, reader(3)))
	ends := make([]int64, 200)
	for i := range ends {
		ends[i] = math.MaxInt64
		if i%2 == 0 {
			ends[i] = math.MinInt64
		}
	}
	a := ints(mem, 0, nil, ends...)
	defer a.Release()
	out := must[arrow.Array](t)(o.Apply(mem, a)).(*array.Int64)
	defer out.Release()
	if out.NullN() == 0 || int64(out.NullN()) != o.Masked() {
		t.Error("an overflow was not masked")
	}
	for i, x := range out.Int64Values() {
		if out.IsValid(i) && (x > 0) != (ends[i] > 0) {
			t.Fatal("an overflow wrapped")
		}
	}
	for _, c := range []struct {
		law         Law
		scale, step float64
		r           io.Reader
	}{{"cauchy", 1, 1, reader(1)}, {Gauss, 0, 1, reader(1)}, {Gauss, 1, 0, reader(1)}, {Gauss, math.NaN(), 1, reader(1)}, {Gauss, 1, math.Inf(1), reader(1)},
		{Gauss, 1, math.NaN(), reader(1)}, {Gauss, 1 << 27, 1, reader(1)}, {Uniform, 0.3, 1, reader(1)}} {
		if _, err := NewAdditive(c.law, c.scale, c.step, c.r); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if _, err := must[*Additive](t)(NewAdditive(Gauss, 1, 1, nil)).Apply(mem, a); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("noise from nothing: %v", err)
	}
	half := must[*Additive](t)(NewAdditive(Gauss, 1, 0.5, reader(1)))
	if _, err := half.Apply(mem, a); !errors.Is(err, sandbox.Invalid) {
		t.Error("half a step on integers")
	}
	for _, law := range []Law{Laplace, Gauss, Uniform} {
		short := must[*Additive](t)(NewAdditive(law, 3, 1, bytes.NewReader(make([]byte, 5000))))
		many := ints(mem, 0, nil, make([]int64, 5000)...)
		if out, err := short.Apply(mem, many); !errors.Is(err, sandbox.Unavailable) || out != nil {
			t.Errorf("%s without randomness: %v", law, err)
		}
		many.Release()
	}
}

func TestCodingRoundingBuckets(t *testing.T) {
	check := func(name string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	c := must[*Coding](t)(NewCoding(17.5, 90))
	check("coding", run(t, c, ints(mem, 2, []bool{true, true, true, false}, 3, 50, 200, 5)), "18", "50", "90", "null")
	check("coding floats", run(t, c, floats(mem, 2, nil, 3, 50.5, math.Inf(1), math.NaN())), "17.5", "50.5", "90", "null")
	check("open end", run(t, must[*Coding](t)(NewCoding(math.Inf(-1), 9)), ints(mem, 0, nil, math.MinInt64, 12)), "-9223372036854775808", "9")
	even, away := must[*Rounding](t)(NewRounding(10, HalfEven)), must[*Rounding](t)(NewRounding(10, HalfAway))
	check("half even", run(t, even, ints(mem, 1, []bool{true, true, true, true, true, false}, 14, 15, 25, -5, -15, 1)), "10", "20", "20", "0", "-20", "null")
	check("half away", run(t, away, ints(mem, 1, nil, 14, 15, 25, -5, -15)), "10", "20", "30", "-10", "-20")
	check("half even floats", run(t, must[*Rounding](t)(NewRounding(0.5, HalfEven)), floats(mem, 1, nil, 0.25, 0.75, math.NaN(), math.Inf(-1))), "0", "1", "null", "null")
	check("overflow", run(t, away, ints(mem, 0, nil, math.MaxInt64, math.MinInt64)), "null", "null")
	b := must[*Buckets](t)(NewBuckets([]float64{18, 60.5}, nil))
	check("buckets", run(t, b, ints(mem, 1, []bool{true, true, true, true, false}, 17, 18, 60, 61, 1)), "(-inf,18)", "[18,60.5)", "[18,60.5)", "[60.5,inf)", "null")
	check("buckets of floats", run(t, b, floats(mem, 1, nil, math.Inf(-1), 60.5, math.NaN())), "(-inf,18)", "[60.5,inf)", "***")
	check("labels", run(t, must[*Buckets](t)(NewBuckets([]float64{18}, []string{"未成年", "成年"})), ints(mem, 0, nil, 3, 18)), "未成年", "成年")
	if b.Masked() != 1 || c.Masked() != 1 || away.Masked() != 2 {
		t.Error("counts")
	}
	for name, err := range map[string]error{
		"coding":   second(NewCoding(2, 1)),
		"nan":      second(NewCoding(math.NaN(), 1)),
		"unit":     second(NewRounding(0, HalfEven)),
		"rule":     second(NewRounding(1, "up")),
		"no edge":  second(NewBuckets(nil, nil)),
		"order":    second(NewBuckets([]float64{2, 2}, nil)),
		"labels":   second(NewBuckets([]float64{1}, []string{"a"})),
		"k":        second(NewMicroaggregation(2)),
		"pram":     second(NewPRAM([]string{"a", "b"}, [][]float64{{.5, .5}, {.5, .4}}, reader(1))),
		"square":   second(NewPRAM([]string{"a", "b"}, [][]float64{{.5, .5}, {1}}, reader(1))),
		"negative": second(NewPRAM([]string{"a", "b"}, [][]float64{{1.5, -.5}, {0, 1}}, reader(1))),
		"double":   second(NewPRAM([]string{"a", "a"}, [][]float64{{1, 0}, {0, 1}}, reader(1))),
		"sample":   second(NewSample(3, 4, reader(1))),
		"shuffle":  second(NewShuffle(nil)),
		"span":     second(NewDateShift(secret("x"), 0)),
	} {
		if !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := texts(mem, 0, nil, "x")
	defer s.Release()
	for _, o := range []operation{c, even, b, must[*Additive](t)(NewAdditive(Gauss, 1, 1, reader(1))), must[*Microaggregation](t)(NewMicroaggregation(3))} {
		if _, err := o.Apply(mem, s); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%T takes text: %v", o, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestRoundingIsNearest: any integer and unit, against the distance.
func TestRoundingIsNearest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x, unit := rapid.Int64Range(-1<<50, 1<<50).Draw(rt, "x"), rapid.Int64Range(1, 1000).Draw(rt, "unit")
		for _, rule := range []Rule{HalfEven, HalfAway} {
			y, ok := roundInt(x, unit, rule)
			d := max(x-y, y-x)
			if !ok || y%unit != 0 || 2*d > unit || 2*d == unit && (rule == HalfEven && y/unit%2 != 0 || rule == HalfAway && max(y, -y) < max(x, -x)) {
				rt.Fatal("not the nearest")
			}
		}
	})
}

// TestMicroaggregation: every value is shared by at least k rows, sums are kept, one column as several, nulls stay.
func TestMicroaggregation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		checked := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer checked.AssertSize(t, 0)
		k := rapid.IntRange(3, 6).Draw(rt, "k")
		n := rapid.IntRange(0, 60).Draw(rt, "n")
		x := rapid.SliceOfN(rapid.Int64Range(-1000, 1000), n, n).Draw(rt, "x")
		y := rapid.SliceOfN(rapid.Float64Range(-5, 5), n, n).Draw(rt, "y")
		valid := rapid.SliceOfN(rapid.IntRange(0, 9), n, n).Draw(rt, "valid")
		ok := make([]bool, n)
		usable := 0
		for i := range ok {
			if ok[i] = valid[i] > 0; ok[i] {
				usable++
			}
		}
		a, b := ints(checked, 3, ok, x...), floats(checked, 5, nil, y...)
		defer a.Release()
		defer b.Release()
		o := must[*Microaggregation](rt)(NewMicroaggregation(k))
		one := must[arrow.Array](rt)(o.Apply(checked, a))
		defer one.Release()
		both := must[[]arrow.Array](rt)(o.ApplyAll(checked, []arrow.Array{a, b}))
		defer both[0].Release()
		defer both[1].Release()
		pairs := map[string]int{}
		sum, mean := 0.0, 0.0
		for i := range n {
			if usable < k || !ok[i] {
				if one.IsValid(i) || both[0].IsValid(i) || both[1].IsValid(i) {
					rt.Fatal("a row without group keeps a value")
				}
				continue
			}
			pairs["one"+one.ValueStr(i)]++
			pairs[both[0].ValueStr(i)+" "+both[1].ValueStr(i)]++
			sum += y[i]
			mean += both[1].(*array.Float64).Value(i)
			if d := float64(one.(*array.Int64).Value(i)); d < -1000 || d > 1000 {
				rt.Fatal("a mean outside the values")
			}
		}
		for _, c := range pairs {
			if c < k {
				rt.Fatalf("a value shared by %d rows, k is %d", c, k)
			}
		}
		if math.Abs(sum-mean) > 1e-6 {
			rt.Fatal("the sum is not kept")
		}
	})
	// Two clusters are found.
	got := run(t, must[*Microaggregation](t)(NewMicroaggregation(3)), ints(mem, 0, nil, 1, 100, 2, 101, 3, 102))
	if !slices.Equal(got, []string{"2", "101", "2", "101", "2", "101"}) {
		t.Error(got)
	}
	got = run(t, must[*Microaggregation](t)(NewMicroaggregation(3)), ints(mem, 0, nil, math.MaxInt64, math.MaxInt64-1, math.MaxInt64-2, math.MinInt64, math.MinInt64, math.MinInt64+3))
	if got[0] != "9223372036854775806" || got[3] != "-9223372036854775807" {
		t.Error("means of large integers overflow", got)
	}
}

// TestPRAM: observed counts are near the expected ones, five standard errors; nulls, dictionaries, unlisted values.
func TestPRAM(t *testing.T) {
	matrix := [][]float64{{0.7, 0.2, 0.1}, {0, 1, 0}, {0.25, 0.25, 0.5}}
	names := []string{"甲", "乙", "丙"}
	o := must[*PRAM](t)(NewPRAM(names, matrix, reader(4)))
	var values []string
	counts := []int64{40000, 20000, 30000}
	for i, c := range counts {
		for range c {
			values = append(values, names[i])
		}
	}
	seen := map[string]float64{}
	for i, s := range run(t, o, texts(mem, 5, nil, values...)) {
		if values[i] == "乙" && s != "乙" {
			t.Fatal("a change of probability zero")
		}
		seen[s]++
	}
	for j, want := range o.Expected(counts) {
		v := 0.0
		for i, c := range counts {
			v += float64(c) * matrix[i][j] * (1 - matrix[i][j])
		}
		if math.Abs(seen[names[j]]-want) > 5*math.Sqrt(v) {
			t.Errorf("category %d: %g, expected %g", j, seen[names[j]], want)
		}
	}
	same := must[*PRAM](t)(NewPRAM(names, [][]float64{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, reader(4)))
	kind := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	b := array.NewDictionaryBuilder(mem, kind).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	for _, s := range []string{"丙", "unlisted", "甲"} {
		_ = b.AppendString(s)
	}
	b.AppendNull()
	if got := run(t, same, b.NewArray()); !slices.Equal(got, []string{"丙", "***", "甲", "null"}) || same.Masked() != 1 {
		t.Error("dictionary", got)
	}
	short := must[*PRAM](t)(NewPRAM(names, matrix, bytes.NewReader(nil)))
	a := texts(mem, 0, nil, "甲")
	defer a.Release()
	if _, err := short.Apply(mem, a); !errors.Is(err, sandbox.Unavailable) {
		t.Error(err)
	}
}

// TestSampleAndShuffle: subsets are alike, order kept; the multiset and null places kept; every type.
func TestSampleAndShuffle(t *testing.T) {
	hits := make([]float64, 10)
	r := reader(9)
	for range 20000 {
		s := must[*Sample](t)(NewSample(10, 3, r))
		if len(s.Rows()) != 3 || !slices.IsSorted(s.Rows()) {
			t.Fatal("not three rows in order")
		}
		for _, i := range s.Rows() {
			hits[i]++
		}
	}
	for i, h := range hits {
		if math.Abs(h-6000) > 5*math.Sqrt(20000*0.3*0.7) {
			t.Errorf("row %d: %g of 6000", i, h)
		}
	}
	if _, err := NewSample(10, 3, bytes.NewReader(nil)); !errors.Is(err, sandbox.Unavailable) {
		t.Error(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		checked := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer checked.AssertSize(t, 0)
		n := rapid.IntRange(0, 40).Draw(rt, "n")
		valid := rapid.SliceOfN(rapid.Bool(), n, n).Draw(rt, "valid")
		x := rapid.SliceOfN(rapid.Int64(), n, n).Draw(rt, "x")
		var s []string
		var y []float64
		for _, v := range x {
			s, y = append(s, fmt.Sprint(v%7)), append(y, float64(v))
		}
		for _, a := range []arrow.Array{ints(checked, 3, valid, x...), floats(checked, 1, valid, y...), texts(checked, 2, valid, s...)} {
			o := must[*Shuffle](rt)(NewShuffle(reader(byte(n))))
			out := must[arrow.Array](rt)(o.Apply(checked, a))
			before, after := show(a), show(out)
			for i := range before {
				if (before[i] == "null") != (after[i] == "null") {
					rt.Fatal("a null moved")
				}
			}
			slices.Sort(before)
			slices.Sort(after)
			if !slices.Equal(before, after) || out.NullN() != a.NullN() {
				rt.Fatal("the multiset is not kept")
			}
			out.Release()
			few := must[*Sample](rt)(NewSample(n, n/2, reader(byte(n))))
			out = must[arrow.Array](rt)(few.Apply(checked, a))
			before, after = show(a), show(out)
			for i, r := range few.Rows() {
				if before[r] != after[i] {
					rt.Fatal("a sampled row is another")
				}
			}
			out.Release()
			a.Release()
		}
	})
	a := texts(mem, 0, nil, "1", "2", "3", "4", "5", "6", "7", "8")
	if got := run(t, must[*Shuffle](t)(NewShuffle(reader(1))), a); slices.IsSorted(got) {
		t.Error("not shuffled")
	}
}

type secret string

func (s secret) Derive(n int, context ...string) ([]byte, error) {
	return sm.HKDF([]byte(s), nil, sm.Frame([]byte(strings.Join(context, "/"))), n)
}

// TestDateShift: intervals of a subject kept, the same shift in every table and type, none 0, another key another; rows
// without subject and dates out of range become null.
func TestDateShift(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		checked := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer checked.AssertSize(t, 0)
		span := rapid.SampledFrom([]int{1, 30, 365, MaxShift}).Draw(rt, "span")
		n := rapid.SampledFrom([]int{0, 1, 40, 2500}).Draw(rt, "n")
		o := must[*DateShift](rt)(NewDateShift(secret("a"), span))
		subjects := make([]sandbox.Pseudonym, n)
		days, stamps := make([]arrow.Date32, n), make([]arrow.Timestamp, n)
		valid := make([]bool, n)
		seed := rapid.Uint64().Draw(rt, "seed")
		for i := range n {
			seed = seed*6364136223846793005 + 1442695040888963407
			subjects[i] = sandbox.Pseudonym{byte(seed >> 60), 1}
			days[i] = arrow.Date32(seed >> 48)
			stamps[i] = arrow.Timestamp(days[i])*86400_000 + 12345
			valid[i] = seed>>56%8 > 0
		}
		b, c := array.NewDate32Builder(checked), array.NewTimestampBuilder(checked, &arrow.TimestampType{Unit: arrow.Millisecond})
		defer b.Release()
		defer c.Release()
		b.Append(0)
		b.AppendValues(days, valid)
		c.AppendValues(stamps, nil)
		whole, stamped := b.NewArray(), c.NewArray()
		defer whole.Release()
		defer stamped.Release()
		a := array.NewSlice(whole, 1, int64(n)+1)
		defer a.Release()
		x := must[arrow.Array](rt)(o.Apply(checked, a, subjects)).(*array.Date32)
		defer x.Release()
		y := must[arrow.Array](rt)(o.Apply(checked, stamped, subjects)).(*array.Timestamp)
		defer y.Release()
		shift := map[sandbox.Pseudonym]int64{}
		for i := range n {
			d := int64(y.Value(i)-stamps[i]) / 86400_000
			if y.Value(i) != stamps[i]+arrow.Timestamp(d*86400_000) || d == 0 || max(d, -d) > int64(span) {
				rt.Fatal("not a whole shift within the span")
			}
			if valid[i] && int64(x.Value(i)-days[i]) != d || x.IsValid(i) != valid[i] {
				rt.Fatal("date and timestamp differ")
			}
			if was, ok := shift[subjects[i]]; ok && was != d {
				rt.Fatal("a subject has two shifts")
			}
			shift[subjects[i]] = d
		}
		if o.Masked() != 0 {
			rt.Fatal("masked")
		}
	})
	o, other := must[*DateShift](t)(NewDateShift(secret("a"), 300)), must[*DateShift](t)(NewDateShift(secret("b"), 300))
	b := array.NewDate32Builder(mem)
	defer b.Release()
	b.AppendValues([]arrow.Date32{10, math.MaxInt32, math.MinInt32, 10, 10}, nil)
	a := b.NewArray()
	defer a.Release()
	subjects := []sandbox.Pseudonym{{}, {1}, {1}, {1}, {2}}
	x := must[arrow.Array](t)(o.Apply(mem, a, subjects))
	defer x.Release()
	if x.IsValid(0) || x.IsValid(1) == x.IsValid(2) || x.IsNull(3) || o.Masked() != 2 {
		t.Error("rows without subject or out of range")
	}
	z := must[arrow.Array](t)(other.Apply(mem, a, subjects))
	defer z.Release()
	if z.ValueStr(3) == x.ValueStr(3) && z.ValueStr(4) == x.ValueStr(4) {
		t.Error("two keys shift alike")
	}
	if _, err := o.Apply(mem, a, subjects[:4]); !errors.Is(err, sandbox.Invalid) {
		t.Error("too few subjects")
	}
	// All shifts of the span occur, about alike.
	counts := map[int64]float64{}
	many := make([]sandbox.Pseudonym, 60000)
	b.Reserve(len(many))
	for i := range many {
		many[i] = sandbox.Pseudonym{byte(i), byte(i >> 8), 9}
		b.UnsafeAppend(0)
	}
	week := must[*DateShift](t)(NewDateShift(secret("a"), 3))
	all := b.NewArray()
	defer all.Release()
	w := must[arrow.Array](t)(week.Apply(mem, all, many)).(*array.Date32)
	defer w.Release()
	for i := range many {
		counts[int64(w.Value(i))]++
	}
	for d := int64(-3); d <= 3; d++ {
		want := 10000.0
		if d == 0 {
			want = 0
		}
		if math.Abs(counts[d]-want) > 5*math.Sqrt(10000) {
			t.Errorf("%d days: %g of %g", d, counts[d], want)
		}
	}
	if s := fmt.Sprintf("%v%+v%#v", o, o, o); strings.Count(s, "redacted") != 3 {
		t.Error("a key shows")
	}
}
