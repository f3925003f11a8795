package he

import (
	"math/big"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Output (输出值) is one value of a cell with its evidence. The gate decides on the evidence; the bounds across units are the tightest that
// counts of units who do not compare their subjects allow.
type Output struct {
	Func  sandbox.MeasureFunc
	Label int      // of a histogram
	Value *big.Int // units as in package query's table: of mean the column's, of variance its square's, of stddev three, of correlation and ratio six decimals more
	None  bool     // too few rows, or a divisor of zero: there is no value
	Rows  int64    // that count

	Subjects        []int64    // 各单位人数: by unit, as it states them
	Tops            []*big.Int // 各单位最大贡献: by unit, the size of its largest subject's contribution
	Sides           []Weighed  // of spreads and ratios: what their columns come to, one or two; nil where Value is the total of what is weighed
	SubjectsAtLeast int64      // max n_i: subjects may be the same people everywhere
	SubjectsAtMost  int64      // Σ n_i
	TopAtMost       *big.Int   // Σ top-1_i: the largest of each may be one person
	Contributing    int        // units with a subject
	Differ          bool       // 已知不全相同: of a joined total, of which Subjects and Tops have one entry, of both holders together: who adds something at least, and at most how much. To no column that is weighed all of them surely add the same
}

// Weighed (权衡列) is what a column's values come to in an output whose value is no total.
type Weighed struct {
	Total *big.Int
	Tops  []*big.Int // by unit, as Output.Tops
}

// ResultCell (结果单元格) is one group of a result.
type ResultCell struct {
	Key     string
	Outputs []Output
}

// Result (汇总结果) is what the gate read. It holds values and prints as redacted.
type Result struct {
	Epoch uint64
	Units []sandbox.PartyID
	Cells []ResultCell
	Terms []*big.Int // of a layout with products: its terms
	Sides [2][]Side  // and what the holders of its factors state of them

	Budget    Budget
	Threshold int           // units that, with the gate, could open single contributions
	Sum       [sm.Size]byte // what the openers shared: names the contributions and their sum
}

// String keeps values out of logs.
func (r *Result) String() string { return "result (redacted)" }

// read takes opened slots apart. Tampered for what no sum of vectors of this layout is.
func (l *Layout) read(opened [][]int64, units int) ([]ResultCell, error) {
	bad := fail(sandbox.Tampered, "opening", "is a sum of the units' vectors")
	var flat []int64
	for _, v := range opened {
		if len(v) < checkSlots {
			return nil, bad
		}
		for _, one := range v[:checkSlots] {
			if one != int64(units) {
				return nil, bad
			}
		}
		flat = append(flat, v[checkSlots:]...)
	}
	if len(flat) < l.slots(units) {
		return nil, bad
	}
	for _, pad := range flat[l.slots(units):] {
		if pad != 0 {
			return nil, bad
		}
	}
	out := make([]ResultCell, len(l.Cells))
	at := 0
	for c, key := range l.Cells {
		out[c].Key = key
		for _, m := range l.Measures {
			var totals []*big.Int
			for _, mo := range m.moments() {
				totals = append(totals, joined(flat[at:at+mo.limbs()]))
				at += mo.limbs()
			}
			out[c].Outputs = append(out[c].Outputs, m.finish(totals)...)
		}
	}
	for c := range out {
		for u := range units {
			i := 0
			for _, m := range l.Measures {
				for range m.outputs() {
					o := &out[c].Outputs[i]
					n := flat[at]
					at++
					for side, limbs := range m.sides() {
						top := joined(flat[at : at+limbs])
						if n < 0 || n > o.Rows || top.Sign() < 0 || n == 0 && top.Sign() != 0 {
							return nil, bad
						}
						if side == 0 {
							o.state(u == 0, n, top)
						}
						if side < len(o.Sides) {
							o.Sides[side].Tops = append(o.Sides[side].Tops, top)
						}
						at += limbs
					}
					i++
				}
			}
		}
	}
	return out, nil
}

// state adds one unit's evidence.
func (o *Output) state(first bool, n int64, top *big.Int) {
	if first {
		o.TopAtMost = new(big.Int)
	}
	o.Subjects, o.Tops = append(o.Subjects, n), append(o.Tops, top)
	o.SubjectsAtLeast, o.SubjectsAtMost = max(o.SubjectsAtLeast, n), o.SubjectsAtMost+n
	o.TopAtMost.Add(o.TopAtMost, top)
	if n > 0 {
		o.Contributing++
	}
}

// finish takes the last step on opened totals, with the same rounding as the columnar engine: halves away from zero.
func (m Measure) finish(t []*big.Int) []Output {
	if m.Func == sandbox.Histogram {
		out := make([]Output, len(t))
		for i, v := range t {
			out[i] = Output{Func: m.Func, Label: i, Value: v, Rows: clamp(v)}
		}
		return out
	}
	o := Output{Func: m.Func, Rows: clamp(t[0]), Value: new(big.Int)}
	n := t[0]
	pairs := new(big.Int).Mul(n, new(big.Int).Sub(n, big.NewInt(1)))
	spread := func(xy, x, y *big.Int) *big.Int {
		s := new(big.Int).Mul(n, xy)
		return s.Sub(s, new(big.Int).Mul(x, y))
	}
	set := func(v *big.Int, ok bool) {
		if o.None = !ok; ok {
			o.Value = v
		}
	}
	switch m.Func {
	case sandbox.Variance, sandbox.StdDev:
		o.Sides = []Weighed{{Total: t[1]}}
	case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
		o.Sides = []Weighed{{Total: t[1]}, {Total: t[2]}}
	}
	switch m.Func {
	case sandbox.Count:
		o.Value = n
	case sandbox.Sum, sandbox.Dot:
		o.Value = t[1]
	case sandbox.Mean:
		set(rounded(t[1], n))
	case sandbox.Variance:
		set(rounded(spread(t[2], t[1], t[1]), pairs))
	case sandbox.StdDev:
		set(rootOf(new(big.Int).Mul(spread(t[2], t[1], t[1]), tenTo(6)), pairs))
	case sandbox.Covariance:
		set(rounded(spread(t[3], t[1], t[2]), pairs))
	case sandbox.Ratio:
		set(rounded(new(big.Int).Mul(t[1], tenTo(6+m.ScaleY)), new(big.Int).Mul(t[2], tenTo(m.Scale))))
	case sandbox.Correlation:
		s := spread(t[4], t[1], t[2])
		square := new(big.Int).Mul(spread(t[3], t[1], t[1]), spread(t[5], t[2], t[2]))
		v, ok := rootOf(new(big.Int).Mul(new(big.Int).Mul(s, s), tenTo(12)), square)
		if ok && s.Sign() < 0 {
			v.Neg(v)
		}
		set(v, ok && pairs.Sign() > 0)
	}
	return []Output{o}
}

func clamp(v *big.Int) int64 {
	if v.Sign() < 0 || !v.IsInt64() {
		return -1 // read refuses it
	}
	return v.Int64()
}

func tenTo(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// rounded gives a/b to the nearest whole number, halves away from zero.
func rounded(a, b *big.Int) (*big.Int, bool) {
	if b.Sign() == 0 {
		return nil, false
	}
	twice, div := new(big.Int).Abs(a), new(big.Int).Abs(b)
	twice.Lsh(twice, 1).Add(twice, div)
	q := twice.Quo(twice, div.Lsh(div, 1))
	if a.Sign()*b.Sign() < 0 {
		q.Neg(q)
	}
	return q, true
}

// rootOf gives the square root of a/b to the nearest whole number.
func rootOf(a, b *big.Int) (*big.Int, bool) {
	if b.Sign() <= 0 || a.Sign() < 0 {
		return nil, false
	}
	r := new(big.Int).Sqrt(new(big.Int).Quo(a, b))
	half := new(big.Int).Lsh(r, 1)
	half.Add(half, big.NewInt(1)).Mul(half, half).Mul(half, b)
	if half.Cmp(new(big.Int).Lsh(a, 2)) <= 0 {
		r.Add(r, big.NewInt(1))
	}
	return r, true
}

// Powers lists the totals that a measure is made of, in order, each as powers of its two columns (矩): the first counts rows.
func (m Measure) Powers() (out [][2]int) {
	for _, mo := range m.moments() {
		out = append(out, [...][2]int{rows: {0, 0}, sumX: {1, 0}, sumY: {0, 1}, sumXX: {2, 0}, sumXY: {1, 1}, sumYY: {0, 2}}[mo])
	}
	return out
}

// Finish takes the last step of a measure on its totals, rounded as the columnar engine rounds. Invalid where they are not as many as Powers,
// or rows are fewer than none.
func (m Measure) Finish(totals []*big.Int) ([]Output, error) {
	if len(totals) != len(m.moments()) || len(totals) == 0 || clamp(totals[0]) < 0 {
		return nil, fail(sandbox.Invalid, "totals", "are those of the measure")
	}
	return m.finish(totals), nil
}
