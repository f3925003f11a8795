package audit

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Rules (敏感性规则参数) are what needs are computed from.
type Rules struct {
	Threshold  int // T: least people of a cell
	DominanceN int // n of (n,k), 0: not applied
	DominanceK int // k, percent
	PPercent   int // p, percent; 0: not applied
	Prior      int // q, percent: how well everybody is known beforehand; 0: 100
}

// Amount (金额构成) is what is known of one cell's amount by its contributors: magnitudes, the largest first, of at least the
// two largest and the n of (n,k), and the sum of all.
type Amount struct {
	Tops []uint64
	Sum  uint64
}

// Contributions gives the amount of a cell from what each contributor adds. A sum beyond 64 bits stays at the end of the range.
func Contributions(parts []int64, tops int) Amount {
	var a Amount
	for _, v := range parts {
		m := uint64(v)
		if v < 0 {
			m = -m
		}
		s, carry := bits.Add64(a.Sum, m, 0)
		if a.Sum = s; carry > 0 {
			a.Sum = math.MaxUint64
		}
		at, _ := slices.BinarySearchFunc(a.Tops, m, func(x, y uint64) int {
			if x >= y {
				return -1
			}
			return 1
		})
		if at < tops {
			a.Tops = slices.Insert(a.Tops, at, m)
			a.Tops = a.Tops[:min(len(a.Tops), tops)]
		}
	}
	return a
}

func (a Amount) top(n int) (s uint64) {
	for _, t := range a.Tops[:min(n, len(a.Tops))] {
		if s += t; s < t {
			return math.MaxUint64
		}
	}
	return s
}

// Amount gives the need of a primary cell's amount: UPL of p/q is p/q·x1 − (X − x1 − x2), of (n,k) 100/k·(x1+…+xn) − X, the larger of
// them, rounded up, upwards and downwards alike; none where neither rule is broken. A cell that is unsafe for another reason as well, few
// people say, must be open by p percent of its largest part, and by 1 at least. Source: Handbook on Statistical Disclosure Control, ch. 4.
func (r Rules) Amount(a Amount, otherwise bool) Need {
	own, need := percent(a.top(1), uint64(r.PPercent), uint64(cmp.Or(r.Prior, 100))), uint64(0)
	if rest := a.Sum - min(a.Sum, a.top(2)); own > rest {
		need = own - rest
	}
	if r.DominanceN > 0 && r.DominanceK > 0 {
		if most := percent(a.top(r.DominanceN), 100, uint64(r.DominanceK)); most > a.Sum {
			need = max(need, most-a.Sum)
		}
	}
	if otherwise {
		need = max(need, own, 1)
	}
	n := int64(min(need, uint64(Far)))
	return Need{Up: n, Down: n}
}

// Count gives the need of a primary cell's count of people or rows: an interval T wide.
func (r Rules) Count() Need { return Need{Width: int64(r.Threshold)} }

// percent is x·times/by, rounded up, at most the end of the range.
func percent(x, times, by uint64) uint64 {
	hi, lo := bits.Mul64(x, times)
	if hi >= by {
		return math.MaxUint64
	}
	q, rest := bits.Div64(hi, lo, by)
	if rest > 0 && q < math.MaxUint64 {
		q++
	}
	return q
}

// Scaled reads a decimal as a whole number of 10^-scale. It refuses what is no number, and what has more places.
func Scaled(x float64, scale int) (int64, error) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, bad("value", "not a number")
	}
	if scale < 0 || scale > 18 {
		return 0, bad("value", "a scale is from 0 to 18 places")
	}
	y := x * math.Pow10(scale)
	if n := math.Round(y); math.Abs(y) < 1<<53 && math.Abs(y-n) <= math.Abs(y)*1e-15 {
		return int64(n), nil
	}
	return 0, bad("value", "more places than its scale, or beyond what a decimal holds exactly")
}
