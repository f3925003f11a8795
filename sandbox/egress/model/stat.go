package model

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// scored is a person's attack score: the higher, the more it looks as if the person was trained on.
type scored struct {
	score  float64
	member bool
}

// sortScores puts the highest first.
func sortScores(all []scored) {
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
}

// auc is the probability that a member scores higher than another, equal scores by halves. It sorts all.
func auc(all []scored) float64 {
	sortScores(all)
	members, others, sum := 0.0, 0.0, 0.0
	for from := 0; from < len(all); {
		to, in, out := from, 0.0, 0.0
		for to < len(all) && all[to].score == all[from].score {
			if all[to].member {
				in++
			} else {
				out++
			}
			to++
		}
		sum += out * (members + in/2)
		members, others, from = members+in, others+out, to
	}
	if members == 0 || others == 0 {
		return 0.5
	}
	return sum / (members * others)
}

// aucLimit is what chance reaches: 0.5 + 3 sd. Source: SACRO-ML metrics.py, the variance of the Mann-Whitney statistic.
func aucLimit(members, others int) float64 {
	n, m := float64(members), float64(others)
	return 0.5 + 3*math.Sqrt((0.25+(n+m-2)/12)/(n*m))
}

// truePositives counts members above the threshold that lets at most so many others pass. It sorts all.
func truePositives(all []scored, others int) (tp, fp int) {
	sortScores(all)
	for from := 0; from < len(all); {
		to, in, out := from, 0, 0
		for to < len(all) && all[to].score == all[from].score {
			if all[to].member {
				in++
			} else {
				out++
			}
			to++
		}
		if fp+out > others {
			break
		}
		tp, fp, from = tp+in, fp+out, to
	}
	return tp, fp
}

// clopperPearson bounds a probability of which k of n were seen, each side missed with probability alpha.
func clopperPearson(k, n int, alpha float64) (low, high float64) {
	high = 1
	if k > 0 {
		low = mathext.InvRegIncBeta(float64(k), float64(n-k+1), alpha)
	}
	if k < n {
		high = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-alpha)
	}
	return low, high
}

// chiSquare gives the quantile of the χ² distribution with k degrees of freedom.
func chiSquare(k int, p float64) float64 {
	return 2 * mathext.GammaIncRegInv(float64(k)/2, p)
}

// kolmogorov is the two-sample test: the largest distance of the distributions, and the probability of such a one by chance. It sorts both. The
// asymptotic series with Stephens' correction.
func kolmogorov(a, b []float64) (distance, p float64) {
	slices.Sort(a)
	slices.Sort(b)
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		x := min(a[i], b[j])
		for i < len(a) && a[i] == x {
			i++
		}
		for j < len(b) && b[j] == x {
			j++
		}
		distance = max(distance, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	n := math.Sqrt(float64(len(a)) * float64(len(b)) / float64(len(a)+len(b)))
	l := (n + 0.12 + 0.11/n) * distance
	if l < 0.2 {
		return distance, 1
	}
	sign := 1.0
	for k := 1.0; k <= 100; k++ {
		p += sign * 2 * math.Exp(-2*k*k*l*l)
		sign = -sign
	}
	return distance, max(min(p, 1), 0)
}
