package columnar

import (
	"math"
	"math/big"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// plainRow is what one measure sees of a joined row.
type plainRow struct {
	who    uint32
	there  bool // no input is missing
	values []int64
	label  string
}

// plainOutput is one output of one cell.
type plainOutput struct {
	value   int64
	none    bool
	rows    int64
	thin    int64
	adds    map[uint32]int64 // by contributor
	divisor map[uint32]int64
}

// measured computes a measure the plain way, with fractions.
func measured(m query.Measure, all []plainRow, scales []int, labels []string) []plainOutput {
	var rows []plainRow
	for _, r := range all {
		if r.there {
			rows = append(rows, r)
		}
	}
	n := int64(len(rows))
	base := func() plainOutput {
		o := plainOutput{rows: n, adds: map[uint32]int64{}}
		for _, r := range rows {
			switch m.Func {
			case sandbox.Count, sandbox.Distinct:
				o.adds[r.who]++
			case sandbox.Subjects:
				o.adds[r.who] = 1
			case sandbox.Histogram:
				o.adds[r.who] += 0
			case sandbox.Dot:
				o.adds[r.who] += r.values[0] * r.values[len(r.values)-1]
			default:
				o.adds[r.who] += r.values[0]
			}
		}
		return o
	}
	o := base()
	people := int64(len(o.adds))
	column := func(k int) (out []int64) {
		for _, r := range rows {
			out = append(out, r.values[k])
		}
		return out
	}
	set := func(r *big.Rat, scale int) {
		if r == nil {
			o.none = true
			return
		}
		o.value = nearest(new(big.Rat).Mul(r, new(big.Rat).SetInt(power(scale))))
	}
	switch m.Func {
	case sandbox.Count, sandbox.Sum, sandbox.Dot:
		for _, v := range o.adds {
			o.value += v
		}
	case sandbox.Subjects:
		o.value = people
	case sandbox.Mean:
		if n == 0 {
			o.none = true
			break
		}
		o.value = nearest(total(column(0), n))
	case sandbox.Distinct:
		seen := map[string]bool{}
		for _, r := range rows {
			seen[r.label] = true
		}
		o.value, o.thin = int64(len(seen)), people
	case sandbox.Histogram:
		var out []plainOutput
		for _, l := range labels {
			x := base()
			for _, r := range rows {
				if r.label == l {
					x.adds[r.who]++
					x.value++
				}
			}
			out = append(out, x)
		}
		return out
	case sandbox.Min, sandbox.Max, sandbox.Quantile:
		v := column(0)
		slices.Sort(v)
		if n == 0 {
			o.none = true
			break
		}
		switch m.Func {
		case sandbox.Min:
			o.value = v[0]
		case sandbox.Max:
			o.value = v[n-1]
		default:
			for _, x := range v { // the smallest that enough do not exceed
				below := int64(0)
				for _, y := range v {
					if y <= x {
						below++
					}
				}
				if below*1000 >= int64(m.Q)*n {
					o.value = x
					break
				}
			}
		}
		low, high := map[uint32]bool{}, map[uint32]bool{}
		for _, r := range rows {
			low[r.who] = low[r.who] || r.values[0] <= o.value
			high[r.who] = high[r.who] || r.values[0] >= o.value
		}
		count := func(x map[uint32]bool) (n int64) {
			for _, yes := range x {
				if yes {
					n++
				}
			}
			return n
		}
		switch m.Func {
		case sandbox.Min:
			o.thin = count(low)
		case sandbox.Max:
			o.thin = count(high)
		default:
			o.thin = min(count(low), count(high))
		}
	case sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation:
		o.thin = max(0, min(fewestAside(rows), n-1))
		if m.Func == sandbox.Correlation {
			o.thin = max(0, min(fewestAside(rows), n-2))
		}
		other := 0
		if m.Func == sandbox.Covariance || m.Func == sandbox.Correlation {
			other = 1
		}
		if n < 2 {
			o.none = true
			break
		}
		x, y := scaled(column(0), scales[0]), scaled(column(other), scales[other])
		cov := sample(x, y)
		switch m.Func {
		case sandbox.Variance, sandbox.Covariance:
			set(cov, scales[0]+scales[other])
		case sandbox.StdDev:
			o.value = nearestRoot(new(big.Rat).Mul(cov, new(big.Rat).SetInt(power(2*(scales[0]+3)))))
		case sandbox.Correlation:
			vx, vy := sample(x, x), sample(y, y)
			if vx.Sign() == 0 || vy.Sign() == 0 {
				o.none = true
				break
			}
			square := new(big.Rat).Mul(cov, cov)
			square.Quo(square, vx).Quo(square, vy).Mul(square, new(big.Rat).SetInt(power(12)))
			o.value = nearestRoot(square) * int64(cov.Sign())
		}
	case sandbox.Ratio:
		o.thin, o.divisor = people, map[uint32]int64{}
		for _, r := range rows {
			o.divisor[r.who] += r.values[1]
		}
		a, b := new(big.Rat), new(big.Rat)
		for _, v := range scaled(column(0), scales[0]) {
			a.Add(a, v)
		}
		for _, v := range scaled(column(1), scales[1]) {
			b.Add(b, v)
		}
		if b.Sign() == 0 {
			o.none = true
			break
		}
		set(a.Quo(a, b), 6)
	case sandbox.Linear, sandbox.Logistic:
		return plainRegression(m, rows, scales, o)
	}
	return []plainOutput{o}
}

// fewestAside counts, for each column, the people whose own mean lies above the mean of all rows, and those whose lies below, and gives
// the least count.
func fewestAside(rows []plainRow) int64 {
	if len(rows) == 0 {
		return 0
	}
	least := int64(len(rows))
	for k := range rows[0].values {
		var all []int64
		by := map[uint32][]int64{}
		for _, r := range rows {
			all, by[r.who] = append(all, r.values[k]), append(by[r.who], r.values[k])
		}
		var above, below int64
		for _, own := range by {
			switch total(own, int64(len(own))).Cmp(total(all, int64(len(all)))) {
			case 1:
				above++
			case -1:
				below++
			}
		}
		least = min(least, above, below)
	}
	return least
}

// total gives sum ÷ n.
func total(v []int64, n int64) *big.Rat {
	sum := new(big.Int)
	for _, x := range v {
		sum.Add(sum, big.NewInt(x))
	}
	return new(big.Rat).SetFrac(sum, big.NewInt(n))
}

func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func scaled(v []int64, scale int) (out []*big.Rat) {
	for _, x := range v {
		out = append(out, new(big.Rat).SetFrac(big.NewInt(x), power(scale)))
	}
	return out
}

// sample is Σ(x−x̄)(y−ȳ)/(n−1).
func sample(x, y []*big.Rat) *big.Rat {
	mean := func(v []*big.Rat) *big.Rat {
		s := new(big.Rat)
		for _, e := range v {
			s.Add(s, e)
		}
		return s.Quo(s, new(big.Rat).SetInt64(int64(len(v))))
	}
	mx, my, out := mean(x), mean(y), new(big.Rat)
	for i := range x {
		out.Add(out, new(big.Rat).Mul(new(big.Rat).Sub(x[i], mx), new(big.Rat).Sub(y[i], my)))
	}
	return out.Quo(out, new(big.Rat).SetInt64(int64(len(x)-1)))
}

// nearest rounds half away from zero.
func nearest(r *big.Rat) int64 {
	s := r.FloatString(0) // rounds half away from zero
	v, _ := new(big.Int).SetString(s, 10)
	return v.Int64()
}

// nearestRoot finds the whole number nearest to a square root by halving.
func nearestRoot(r *big.Rat) int64 {
	lo, hi := int64(0), int64(1)<<40
	for lo < hi { // the largest whose half below is not above the root
		mid := lo + (hi-lo+1)/2
		half := new(big.Rat).Sub(new(big.Rat).SetInt64(mid), big.NewRat(1, 2))
		if half.Mul(half, half).Cmp(r) <= 0 {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// plainRegression solves the normal equations in fractions, or iterates from the textbook.
func plainRegression(m query.Measure, rows []plainRow, scales []int, o plainOutput) []plainOutput {
	k := len(scales)
	df := int64(len(rows)) - int64(k)
	o.thin = max(0, min(fewestAside(rows), df))
	x := make([][]*big.Rat, len(rows)) // 1, regressors, outcome
	var any [2]bool
	for i, r := range rows {
		x[i] = []*big.Rat{big.NewRat(1, 1)}
		for j := 1; j < k; j++ {
			x[i] = append(x[i], new(big.Rat).SetFrac(big.NewInt(r.values[j]), power(scales[j])))
		}
		x[i] = append(x[i], new(big.Rat).SetFrac(big.NewInt(r.values[0]), power(scales[0])))
		if r.values[0] != 0 {
			any[1] = true
		} else {
			any[0] = true
		}
	}
	out := make([]plainOutput, k+1)
	for i := range out {
		out[i] = o
		out[i].none = i < k
	}
	out[k].value = df
	a := make([][]*big.Rat, k)
	for i := range a {
		for j := range k + 1 {
			s := new(big.Rat)
			for _, r := range x {
				s.Add(s, new(big.Rat).Mul(r[i], r[j]))
			}
			a[i] = append(a[i], s)
		}
	}
	for p := range k {
		at := slices.IndexFunc(a[p:], func(r []*big.Rat) bool { return r[p].Sign() != 0 })
		if at < 0 {
			return out
		}
		a[p], a[p+at] = a[p+at], a[p]
		for i := range k {
			if i == p {
				continue
			}
			f := new(big.Rat).Quo(a[i][p], a[p][p])
			for j := range k + 1 {
				a[i][j] = new(big.Rat).Sub(a[i][j], new(big.Rat).Mul(f, a[p][j]))
			}
		}
	}
	if df < 1 {
		return out
	}
	if m.Func == sandbox.Linear {
		for i := range k {
			b := new(big.Rat).Quo(a[i][k], a[i][i])
			out[i].none, out[i].value = false, nearest(b.Mul(b, new(big.Rat).SetInt(power(6))))
		}
		return out
	}
	if !any[0] || !any[1] {
		return out
	}
	beta := make([]float64, k)
	for range 25 {
		h := make([][]float64, k)
		for i := range h {
			h[i] = make([]float64, k+1)
		}
		for _, r := range x {
			f := make([]float64, k+1)
			eta := 0.0
			for i := range f {
				f[i], _ = r[i].Float64()
				if i < k {
					eta += beta[i] * f[i]
				}
			}
			p := 1 / (1 + math.Exp(-eta))
			for i := range k {
				for j := range k {
					h[i][j] += p * (1 - p) * f[i] * f[j]
				}
				if f[k] != 0 {
					h[i][k] += (1 - p) * f[i]
				} else {
					h[i][k] -= p * f[i]
				}
			}
		}
		most := 0.0
		for p := range k {
			for i := range k {
				if i != p {
					f := h[i][p] / h[p][p]
					for j := range k + 1 {
						h[i][j] -= f * h[p][j]
					}
				}
			}
		}
		for i := range k {
			step := h[i][k] / h[i][i]
			beta[i] += step
			most = math.Max(most, math.Abs(step)/math.Max(1, math.Abs(beta[i])))
		}
		if most < 1e-9 {
			for i := range k {
				out[i].none, out[i].value = false, int64(math.Round(beta[i]*1e6))
			}
			return out
		}
	}
	return out
}
