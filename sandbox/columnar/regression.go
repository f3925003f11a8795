package columnar

import (
	"math"
	"math/big"
)

// least squares of column 0 on the others, by the normal equations of exact moments: what is singular is so exactly, and no
// rounding happens before the last step. It gives the intercept and the coefficients as fractions over one divisor; false when the
// columns do not determine them.
func (m cellMoments) leastSquares() (coefficients []*big.Int, divisor *big.Int, ok bool) {
	k := m.columns() // the intercept and the regressors
	a := make([][]*big.Int, k)
	column := func(i, j int) *big.Int {
		switch {
		case i == 0 && j == 0:
			return big.NewInt(m.n)
		case i == 0:
			return m.sums[j]
		case j == 0:
			return m.sums[i]
		}
		return m.products[i][j]
	}
	for i := range k {
		a[i] = make([]*big.Int, k+1)
		for j := range k {
			a[i][j] = new(big.Int).Set(column(i, j))
		}
		if i == 0 {
			a[i][k] = new(big.Int).Set(m.sums[0])
		} else {
			a[i][k] = new(big.Int).Set(m.products[0][i])
		}
	}
	return eliminate(a)
}

func (m cellMoments) columns() int { return len(m.sums) }

// eliminate solves k equations, the last column being the right side, by Bareiss' elimination, in which every division is exact.
func eliminate(a [][]*big.Int) (x []*big.Int, divisor *big.Int, ok bool) {
	k := len(a)
	prev := big.NewInt(1)
	t := new(big.Int)
	for p := range k {
		at := p
		for at < k && a[at][p].Sign() == 0 {
			at++
		}
		if at == k {
			return nil, nil, false
		}
		a[p], a[at] = a[at], a[p]
		for i := range k {
			if i == p {
				continue
			}
			for j := k; j >= 0; j-- {
				if j == p || j < p && i > p { // those below are zero already
					continue
				}
				t.Mul(a[i][p], a[p][j])
				a[i][j].Mul(a[i][j], a[p][p]).Sub(a[i][j], t).Quo(a[i][j], prev)
			}
			a[i][p].SetInt64(0)
		}
		prev = new(big.Int).Set(a[p][p])
	}
	// Jordan's form of the elimination leaves the same number, the determinant, on the whole diagonal.
	for i := range k {
		x = append(x, a[i][k])
	}
	return x, prev, true
}

// iterations of Newton's method, and the step at which it has converged, in units of standardised regressors. Both are fixed: when
// a regression stops does not follow from anything but its rows.
const (
	iterations = 25
	converged  = 1e-9
)

// logistic is the maximum likelihood of the log-odds of yes, of rows that each stand some times: Newton's method in float64, every sum
// in the order of the rows as given. The regressors are standardised by their exact mean and deviation, in m. It gives the intercept
// and coefficients of the unscaled columns; false when it does not converge, as where a combination of regressors tells the
// outcomes apart.
//
// Every product is rounded before it is added: a machine that fuses both would give other bits.
func logistic(m cellMoments, yes []bool, rows [][]int64, times []uint64) ([]float64, bool) {
	k := m.columns()
	mean, scale := make([]float64, k), make([]float64, k)
	n := float64(m.n)
	for i := 1; i < k; i++ {
		mean[i], _ = new(big.Rat).SetFrac(m.sums[i], big.NewInt(m.n)).Float64()
		v, _ := new(big.Rat).SetFrac(m.spread(i, i), big.NewInt(1)).Float64()
		if scale[i] = math.Sqrt(v) / n; scale[i] == 0 {
			return nil, false
		}
	}
	beta, x := make([]float64, k), make([]float64, k)
	grad, hess := make([]float64, k), make([][]float64, k)
	for i := range hess {
		hess[i] = make([]float64, k+1)
	}
	done := false
	for range iterations {
		clear(grad)
		for i := range hess {
			clear(hess[i])
		}
		for r, row := range rows {
			x[0] = 1
			eta := beta[0]
			for i := 1; i < k; i++ {
				x[i] = (float64(row[i]) - mean[i]) / scale[i]
				eta += float64(beta[i] * x[i])
			}
			p := 1 / (1 + math.Exp(-eta))
			w := float64(times[r])
			rest := -p
			if yes[r] {
				rest = 1 - p
			}
			rest, w = float64(w*rest), float64(float64(w*p)*(1-p))
			for i := range k {
				grad[i] += float64(rest * x[i])
				wx := float64(w * x[i])
				for j := i; j < k; j++ {
					hess[i][j] += float64(wx * x[j])
				}
			}
		}
		for i := range k {
			for j := range i {
				hess[i][j] = hess[j][i]
			}
			hess[i][k] = grad[i]
		}
		step, ok := solve(hess)
		if !ok {
			return nil, false
		}
		most := 0.0
		for i := range k {
			beta[i] += step[i]
			most = math.Max(most, math.Abs(step[i]))
		}
		if done = most < converged; done {
			break
		}
	}
	if !done {
		return nil, false
	}
	for i := 1; i < k; i++ {
		beta[i] /= scale[i]
		beta[0] -= float64(beta[i] * mean[i])
	}
	return beta, true
}

// solve is Gauss' elimination with the largest pivot of each column; false when there is none.
func solve(a [][]float64) ([]float64, bool) {
	k := len(a)
	for p := range k {
		at := p
		for i := p + 1; i < k; i++ {
			if math.Abs(a[i][p]) > math.Abs(a[at][p]) {
				at = i
			}
		}
		if v := math.Abs(a[at][p]); !(v > 1e-300) || math.IsInf(v, 0) {
			return nil, false
		}
		a[p], a[at] = a[at], a[p]
		for i := p + 1; i < k; i++ {
			f := a[i][p] / a[p][p]
			for j := p; j <= k; j++ {
				a[i][j] -= float64(f * a[p][j])
			}
		}
	}
	x := make([]float64, k)
	for i := k - 1; i >= 0; i-- {
		v := a[i][k]
		for j := i + 1; j < k; j++ {
			v -= float64(a[i][j] * x[j])
		}
		x[i] = v / a[i][i]
	}
	return x, true
}
