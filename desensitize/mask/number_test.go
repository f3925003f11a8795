package mask

import (
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"
)

// numbers draws an int64 array with nulls, sliced.
func numbers(t *rapid.T) *array.Int64 {
	v := rapid.SliceOfN(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-300, 300), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64})), 0, 30).Draw(t, "numbers")
	valid := make([]bool, len(v))
	for i := range valid {
		valid[i] = rapid.IntRange(0, 4).Draw(t, "valid") > 0
	}
	b := array.NewInt64Builder(memory.NewGoAllocator())
	b.AppendValues(v, valid)
	return array.NewSlice(b.NewArray(), int64(len(v)/4), int64(len(v))).(*array.Int64)
}

// checked runs an operation and holds it to rows, nulls, count and memory; it gives the result, copied out by each row.
func checked(t *rapid.T, op Operation, in arrow.Array, row func(out arrow.Array, i int)) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	out, count, err := op.Run(mem, in)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := op.Type(in.DataType()); !arrow.TypeEqual(out.DataType(), want) {
		t.Fatalf("type %s, not %s", out.DataType(), want)
	}
	if out.Len() != in.Len() || count != (Count{Masked: int64(in.Len() - in.NullN())}) {
		t.Fatalf("%d rows of %d, count %+v", out.Len(), in.Len(), count)
	}
	for i := range in.Len() {
		if out.IsNull(i) != in.IsNull(i) {
			t.Fatalf("row %d: null moved", i)
		}
		if in.IsValid(i) {
			row(out, i)
		}
	}
	out.Release()
	if n := mem.CurrentAlloc(); n != 0 {
		t.Fatalf("%d bytes were not released", n)
	}
}

func TestRoundLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.OneOf(rapid.Int64Range(2, 20), rapid.Int64Range(2, math.MaxInt64/4)).Draw(t, "unit")
		down := rapid.Bool().Draw(t, "down")
		op, err := Round(unit, down)
		if err != nil {
			t.Fatal(err)
		}
		in := numbers(t)
		checked(t, op, in, func(out arrow.Array, i int) {
			// The oracle is exact: floor((2v + unit) / 2unit) on magnitudes, clamped.
			v, u := big.NewInt(in.Value(i)), big.NewInt(unit)
			want := new(big.Int)
			if down {
				want.Div(v, u) // Euclidean: floor for a positive unit
			} else {
				m := new(big.Int).Abs(v)
				m.Mul(m, big.NewInt(2)).Add(m, u).Div(m, new(big.Int).Mul(u, big.NewInt(2)))
				want.Mul(m, big.NewInt(int64(v.Sign())))
			}
			want.Mul(want, u)
			for want.Cmp(big.NewInt(math.MaxInt64)) > 0 {
				want.Sub(want, u)
			}
			for want.Cmp(big.NewInt(math.MinInt64)) < 0 {
				want.Add(want, u)
			}
			if got := out.(*array.Int64).Value(i); got != want.Int64() {
				t.Fatalf("row %d differs from the oracle", i)
			}
		})
	})
}

func TestDateLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]DatePart{Year, Quarter, Month, Week}).Draw(t, "part")
		op, err := TruncateDate(part)
		if err != nil {
			t.Fatal(err)
		}
		days := rapid.SliceOfN(rapid.Int32Range(-800_000, 3_000_000), 1, 30).Draw(t, "days")
		b := array.NewDate32Builder(memory.NewGoAllocator())
		for i, d := range days {
			if i%7 == 6 {
				b.AppendNull()
			} else {
				b.Append(arrow.Date32(d))
			}
		}
		in := array.NewSlice(b.NewArray(), int64(len(days)/3), int64(len(days))).(*array.Date32)
		checked(t, op, in, func(out arrow.Array, i int) {
			at := time.Unix(int64(in.Value(i))*86400, 0).UTC()
			want := at
			switch part {
			case Year:
				want = time.Date(at.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
			case Quarter:
				want = time.Date(at.Year(), (at.Month()-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC)
			case Month:
				want = time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
			case Week:
				want = at.AddDate(0, 0, -(int(at.Weekday())+6)%7)
			}
			if got := time.Unix(int64(out.(*array.Date32).Value(i))*86400, 0).UTC(); !got.Equal(want) {
				t.Fatalf("%s of %s is %s, not %s", part, at.Format(time.DateOnly), got.Format(time.DateOnly), want.Format(time.DateOnly))
			}
		})
	})
	for _, d := range []arrow.Date32{math.MinInt32, math.MaxInt32} {
		for _, p := range []DatePart{Year, Quarter, Month, Week} {
			(&DateCut{p}).cut(d) // ends
		}
	}
}

func TestBucketLaws(t *testing.T) {
	op, err := Bucket([]int64{-100, 0, 50_050, 100_000}, 2)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		in := numbers(t)
		checked(t, op, in, func(out arrow.Array, i int) {
			want := "≥1000"
			switch v := in.Value(i); {
			case v < -100:
				want = "<-1"
			case v < 0:
				want = "-1-0"
			case v < 50_050:
				want = "0-500.5"
			case v < 100_000:
				want = "500.5-1000"
			}
			if out.(*array.String).Value(i) != want {
				t.Fatalf("row %d is in another bucket", i)
			}
		})
	})
	dates, err := BucketDates([]arrow.Date32{0, 365})
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewDate32Builder(memory.NewGoAllocator())
	b.AppendValues([]arrow.Date32{-1, 0, 364, 365}, nil)
	out, err := dates.Apply(memory.NewGoAllocator(), b.NewArray())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmtArray(out); got != `["<1970-01-01" "1970-01-01-1971-01-01" "1970-01-01-1971-01-01" "≥1971-01-01"]` {
		t.Error(got)
	}
}

func fmtArray(a arrow.Array) string { return a.(interface{ String() string }).String() }

func TestRedactLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := numbers(t)
		checked(t, ConstantInt(7), in, func(out arrow.Array, i int) {
			if out.(*array.Int64).Value(i) != 7 {
				t.Fatal("not the constant")
			}
		})
		texts := column(t, memory.NewGoAllocator(), value)
		c, err := ConstantText("无")
		if err != nil {
			t.Fatal(err)
		}
		checked(t, c, texts, func(out arrow.Array, i int) {
			if out.(*array.String).Value(i) != "无" {
				t.Fatal("not the constant")
			}
		})
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		for _, a := range []arrow.Array{in, texts} {
			out, count, err := Redact().Run(mem, a)
			if err != nil || out.Len() != a.Len() || out.NullN() != a.Len() || count.Masked != int64(a.Len()-a.NullN()) {
				t.Fatalf("redacted: %v %d %d", err, out.Len(), out.NullN())
			}
			out.Release()
		}
		if n := mem.CurrentAlloc(); n != 0 {
			t.Fatalf("%d bytes were not released", n)
		}
	})
}

// TestWrongTypes: an operation refuses a column it was not made for.
func TestWrongTypes(t *testing.T) {
	b := array.NewInt64Builder(memory.NewGoAllocator())
	b.Append(1)
	ints := b.NewArray()
	s := array.NewStringBuilder(memory.NewGoAllocator())
	s.Append("1")
	texts := s.NewArray()
	round, _ := Round(10, false)
	cut, _ := TruncateDate(Year)
	bucket, _ := Bucket([]int64{1}, 0)
	for _, c := range []struct {
		op Operation
		a  arrow.Array
	}{{Must(Keep(1, 1, Style{})), ints}, {round, texts}, {cut, ints}, {bucket, texts}, {ConstantInt(1), texts}, {ConstantBool(true), ints}, {ConstantDate(1), ints}} {
		if _, ok := c.op.Type(c.a.DataType()); ok {
			t.Errorf("%T says it takes %s", c.op, c.a.DataType())
		}
		if _, err := c.op.Apply(memory.NewGoAllocator(), c.a); err == nil {
			t.Errorf("%T took %s", c.op, c.a.DataType())
		}
	}
}
