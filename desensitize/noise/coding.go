package noise

import (
	"math"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Coding (顶底编码) replaces values above the top by the top and values below the bottom by the bottom. NaN becomes null.
type Coding struct {
	bottom, top float64
	low, high   int64
	masked      atomic.Int64
}

// NewCoding takes bottom ≤ top; an infinite one codes nothing at its end.
func NewCoding(bottom, top float64) (*Coding, error) {
	if !(bottom <= top) || math.IsInf(bottom, 1) || math.IsInf(top, -1) {
		return nil, refuse("coding", "bounds", "bottom is not above top, neither is NaN")
	}
	return &Coding{bottom: bottom, top: top, low: clampInt(math.Ceil(bottom)), high: clampInt(math.Floor(top))}, nil
}

func clampInt(x float64) int64 {
	switch {
	case x < -1<<63:
		return math.MinInt64
	case x >= 1<<63:
		return math.MaxInt64
	}
	return int64(x)
}

// Masked counts the values that could not be treated.
func (o *Coding) Masked() int64 { return o.masked.Load() }

// Apply codes an Int64 or Float64 column; on integers the bounds are the integers within.
func (o *Coding) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	if a.DataType().ID() == arrow.INT64 && o.low > o.high {
		return nil, refuse("coding", "bounds", "no integer is within")
	}
	out, masked, err := numbers("coding", mem, a, func(x int64) (int64, bool) {
		return min(max(x, o.low), o.high), true
	}, func(x float64) (float64, bool) {
		return min(max(x, o.bottom), o.top), x == x
	})
	o.masked.Add(masked)
	return out, err
}

// Rule (修约规则) says where a value half-way between two multiples goes.
type Rule string

// The rules: to the even multiple (GB/T 8170's rule, known by name), or away from zero (四舍五入).
const (
	HalfEven Rule = "half-even"
	HalfAway Rule = "half-away"
)

// Rounding (取整) replaces values by the nearest multiple of a unit; halves by the rule. Integers are rounded exactly; a float
// is divided by the unit, so a value is half-way when that quotient is. Values whose multiple overflows and floats that
// are not finite become null.
type Rounding struct {
	unit   float64
	whole  int64
	rule   Rule
	masked atomic.Int64
}

// NewRounding takes a positive unit and a rule.
func NewRounding(unit float64, rule Rule) (*Rounding, error) {
	if !(unit > 0) || math.IsInf(unit, 0) || rule != HalfEven && rule != HalfAway {
		return nil, refuse("rounding", "unit", "a positive unit, half-even or half-away")
	}
	o := &Rounding{unit: unit, rule: rule}
	if unit == math.Trunc(unit) && unit < 1<<53 {
		o.whole = int64(unit)
	}
	return o, nil
}

// Masked counts the values that could not be treated.
func (o *Rounding) Masked() int64 { return o.masked.Load() }

// Apply rounds an Int64 column, whose unit is an integer, or a Float64 column.
func (o *Rounding) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	if a.DataType().ID() == arrow.INT64 && o.whole == 0 {
		return nil, refuse("rounding", "unit", "integers have a whole unit")
	}
	out, masked, err := numbers("rounding", mem, a, func(x int64) (int64, bool) {
		return roundInt(x, o.whole, o.rule)
	}, func(x float64) (float64, bool) {
		q := x / o.unit
		if o.rule == HalfEven {
			q = math.RoundToEven(q)
		} else {
			q = math.Round(q)
		}
		y := q * o.unit
		return y, y-y == 0
	})
	o.masked.Add(masked)
	return out, err
}

// roundInt rounds x to a multiple of unit, exactly; false where the multiple overflows.
func roundInt(x, unit int64, rule Rule) (int64, bool) {
	q, r := x/unit, x%unit
	far := r // distance to the multiple towards zero
	if far < 0 {
		far = -far
	}
	if far > unit-far || far == unit-far && (rule == HalfAway || q%2 != 0) {
		if x < 0 {
			q--
		} else {
			q++
		}
	}
	y := q * unit
	return y, q == 0 || y/q == unit && (y > 0) == (q > 0)
}

// Buckets (分段) replaces numbers by the label of their interval. Intervals are closed below and open above: with edges 18 and 60
// they are (-inf,18), [18,60) and [60,inf).
type Buckets struct {
	edges  []float64
	labels []string
	masked atomic.Int64
}

// Masked text stands for what is no number.
const maskedText = "***"

// NewBuckets takes ascending edges and one label for each interval, one more than edges; without labels the intervals are
// their own.
func NewBuckets(edges []float64, labels []string) (*Buckets, error) {
	for i, e := range edges {
		if math.IsNaN(e) || math.IsInf(e, 0) || i > 0 && !(edges[i-1] < e) {
			return nil, refuse("buckets", "edges", "finite and ascending")
		}
	}
	if len(edges) == 0 || len(labels) != 0 && len(labels) != len(edges)+1 {
		return nil, refuse("buckets", "labels", "at least one edge, and one label more than edges or none")
	}
	o := &Buckets{edges: slices.Clone(edges), labels: slices.Clone(labels)}
	if len(labels) == 0 {
		from := "(-inf"
		for _, e := range edges {
			s := strconv.FormatFloat(e, 'f', -1, 64)
			o.labels = append(o.labels, from+","+s+")")
			from = "[" + s
		}
		o.labels = append(o.labels, from+",inf)")
	}
	return o, nil
}

// Masked counts the values that could not be treated.
func (o *Buckets) Masked() int64 { return o.masked.Load() }

// Apply gives the labels of an Int64 or Float64 column. Integers are compared exactly.
func (o *Buckets) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.Reserve(a.Len())
	masked := int64(0)
	put := func(i int, n int) {
		switch {
		case a.IsNull(i):
			b.AppendNull()
		case n < 0:
			masked++
			b.Append(maskedText)
		default:
			b.Append(o.labels[n])
		}
	}
	switch a := a.(type) {
	case *array.Int64:
		edges := make([]int64, len(o.edges)) // x ≥ e is x ≥ ceil(e)
		for i, e := range o.edges {
			edges[i] = clampInt(math.Ceil(e))
		}
		for i, x := range a.Int64Values() {
			n := 0
			for n < len(edges) && x >= edges[n] && o.edges[n] < 1<<63 {
				n++
			}
			put(i, n)
		}
	case *array.Float64:
		for i, x := range a.Float64Values() {
			n := 0
			for n < len(o.edges) && x >= o.edges[n] {
				n++
			}
			if x != x {
				n = -1
			}
			put(i, n)
		}
	default:
		return nil, refuse("buckets", "column", "takes int64 or float64")
	}
	o.masked.Add(masked)
	return b.NewArray(), nil
}
