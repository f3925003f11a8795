package model

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// layout says which columns of a regression a row fills: the intercept, then one of each feature or none.
type layout struct {
	columns int
	feature []int       // per term its feature
	number  []bool      // per term
	column  []int       // per term, of a number or characteristic its column, of a category that of its second level
	weight  [][]float64 // per term of a scorecard, by bin
}

func newLayout(m *Model) *layout {
	l := &layout{columns: 1}
	if m.Kind == Scorecard {
		for _, c := range m.Characteristics {
			j := m.feature(c.Feature)
			l.feature, l.number, l.column = append(l.feature, j), append(l.number, true), append(l.column, l.columns)
			w := make([]float64, m.Features[j].steps())
			for b := range w {
				w[b] = c.WOE[c.group(m.Features[j], b)].Float()
			}
			l.weight = append(l.weight, w)
			l.columns++
		}
		return l
	}
	for j, f := range m.Features {
		l.feature, l.number, l.column = append(l.feature, j), append(l.number, !f.category()), append(l.column, l.columns)
		if f.category() {
			l.columns += len(f.Levels) - 1
		} else {
			l.columns++
		}
	}
	return l
}

// group gives the bin of a characteristic that a step or level falls in.
func (c Characteristic) group(f Feature, step int) int {
	if f.category() {
		for g, levels := range c.Groups {
			for _, l := range levels {
				if l == f.Levels[step] {
					return g
				}
			}
		}
		return 0
	}
	g := 0
	for g < len(c.Edges) && step >= int((c.Edges[g]-f.Low)/f.Step) {
		g++
	}
	return g
}

// fill writes the non-zero entries of a row: columns and values, the intercept first. It gives how many there are.
func (l *layout) fill(d *Data, row int, at []int, v []float64) int {
	at[0], v[0] = 0, 1
	n, x := 1, d.values(row)
	for t, j := range l.feature {
		switch {
		case l.weight != nil:
			at[n], v[n] = l.column[t], l.weight[t][d.bins(row)[j]]
		case l.number[t]:
			at[n], v[n] = l.column[t], x[j]
		case x[j] == 0:
			continue
		default:
			at[n], v[n] = l.column[t]+int(x[j])-1, 1
		}
		n++
	}
	return n
}

func (l *layout) dot(d *Data, row int, beta []float64) float64 {
	s, x := beta[0], d.values(row)
	for t, j := range l.feature {
		switch {
		case l.weight != nil:
			s += beta[l.column[t]] * l.weight[t][d.bins(row)[j]]
		case l.number[t]:
			s += beta[l.column[t]] * x[j]
		case x[j] != 0:
			s += beta[l.column[t]+int(x[j])-1]
		}
	}
	return s
}

// glm is a fitted generalised linear model by iteratively reweighted least squares. Source: McCullagh and Nelder, Generalized Linear Models, 2.5.
type glm struct {
	kind       Kind
	layout     *layout
	beta       []float64
	chol       mat.Cholesky // of the penalised information
	deviance   float64      // penalised
	dispersion float64
	converged  bool
	singular   bool
}

// fitGLM fits rows of d; ridge penalises all but the intercept. It is deterministic: rows are added up in their order.
func fitGLM(k Kind, l *layout, d *Data, rows []int32, ridge float64) *glm {
	p := l.columns
	f := &glm{kind: k, layout: l, beta: make([]float64, p), dispersion: 1}
	sum := 0.0
	for _, r := range rows {
		sum += d.y[r]
	}
	f.beta[0] = start(k, sum, float64(len(rows)))
	f.deviance = f.penalised(d, rows, f.beta, ridge)
	info, grad, step := make([]float64, p*p), mat.NewVecDense(p, nil), mat.NewVecDense(p, nil)
	next := make([]float64, p)
	for range 60 {
		f.information(d, rows, ridge, info, grad)
		if !f.chol.Factorize(mat.NewSymDense(p, info)) {
			f.singular = true
			return f
		}
		if f.chol.SolveVecTo(step, grad) != nil && f.chol.Cond() > 1e14 {
			f.singular = true
			return f
		}
		halved, dev := 0, 0.0
		for scale := 1.0; ; scale /= 2 {
			for i := range next {
				next[i] = f.beta[i] + scale*step.AtVec(i)
			}
			dev = f.penalised(d, rows, next, ridge)
			if dev <= f.deviance+1e-9*math.Abs(f.deviance) || halved == 30 {
				break
			}
			halved++
		}
		change := math.Abs(f.deviance - dev)
		copy(f.beta, next)
		f.deviance = dev
		if change < 1e-10*(math.Abs(dev)+0.1) {
			f.converged = true
			break
		}
	}
	f.information(d, rows, ridge, info, grad)
	f.singular = !f.chol.Factorize(mat.NewSymDense(p, info))
	if k == Linear || k == Gamma {
		pearson := 0.0
		for _, r := range rows {
			mu := mean(k, l.dot(d, int(r), f.beta))
			res := d.y[r] - mu
			if k == Gamma {
				res /= mu
			}
			pearson += res * res
		}
		f.dispersion = max(pearson/max(float64(len(rows)-p), 1), 1e-12)
	}
	return f
}

// start gives the intercept of a model without terms.
func start(k Kind, sum, n float64) float64 {
	m := sum / n
	switch k {
	case Logistic, Scorecard:
		m = (sum + 0.5) / (n + 1)
		return math.Log(m / (1 - m))
	case Poisson, Gamma:
		return math.Log(max(m, 1e-6))
	}
	return m
}

// information adds up the Fisher information and the score, penalised.
func (f *glm) information(d *Data, rows []int32, ridge float64, info []float64, grad *mat.VecDense) {
	p := f.layout.columns
	clear(info)
	grad.Zero()
	at, v := make([]int, p+1), make([]float64, p+1)
	for _, r := range rows {
		n := f.layout.fill(d, int(r), at, v)
		eta := f.layout.dot(d, int(r), f.beta)
		mu := mean(f.kind, eta)
		w, res := weight(f.kind, mu), score(f.kind, d.y[r], mu)
		for a := range n {
			grad.SetVec(at[a], grad.AtVec(at[a])+res*v[a])
			x := w * v[a]
			line := info[at[a]*p : at[a]*p+p]
			for b := a; b < n; b++ {
				line[at[b]] += x * v[b]
			}
		}
	}
	for i := 1; i < p; i++ {
		grad.SetVec(i, grad.AtVec(i)-ridge*f.beta[i])
		info[i*p+i] += ridge
	}
}

// weight is a row's in the information.
func weight(k Kind, mu float64) float64 {
	switch k {
	case Logistic, Scorecard:
		return mu * (1 - mu)
	case Poisson:
		return mu
	}
	return 1
}

// score is the derivative of a row's log likelihood by its linear predictor, its dispersion left out.
func score(k Kind, y, mu float64) float64 {
	if k == Gamma {
		return (y - mu) / mu
	}
	return y - mu
}

// penalised is the deviance plus the penalty.
func (f *glm) penalised(d *Data, rows []int32, beta []float64, ridge float64) float64 {
	s := 0.0
	for _, r := range rows {
		s += deviance(f.kind, d.y[r], mean(f.kind, f.layout.dot(d, int(r), beta)))
	}
	for _, b := range beta[1:] {
		s += ridge * b * b
	}
	return s
}

// deviance of one row.
func deviance(k Kind, y, mu float64) float64 {
	switch k {
	case Logistic, Scorecard, Boosted:
		mu = max(min(mu, 1-1e-12), 1e-12)
		return -2 * (y*math.Log(mu) + (1-y)*math.Log1p(-mu))
	case Poisson:
		mu = max(mu, 1e-12)
		if y == 0 {
			return 2 * mu
		}
		return 2 * (y*math.Log(y/mu) - (y - mu))
	case Gamma:
		y, mu = max(y, 1e-9), max(mu, 1e-9)
		return 2 * ((y-mu)/mu - math.Log(y/mu))
	}
	return (y - mu) * (y - mu)
}

// influence is how much one subject moves a fit.
type influence struct {
	change   float64 // largest change of a coefficient when the subject is left out, in standard errors (DFBETAS)
	column   int     // of it
	leverage float64 // largest share of a subject in its own prediction
}

// influences finds the subject that moves the fit most: by one Newton step without it, exactly solved for the rows it has. Source: Belsley, Kuh
// and Welsch, Regression Diagnostics (1980); Pregibon, Logistic Regression Diagnostics (1981).
func (f *glm) influences(d *Data) (most influence) {
	p := f.layout.columns
	var inverse mat.SymDense
	if f.chol.InverseTo(&inverse) != nil {
		return influence{change: math.Inf(1), leverage: 1}
	}
	at, v := make([]int, p+1), make([]float64, p+1)
	x := make([]float64, p)
	for s := range d.Subjects() {
		from, to := d.rows(s)
		clear(x)
		h, res := 0.0, 0.0
		for r := from; r < to; r++ { // rows of one subject add up: an upper bound on leverage is their sum
			n := f.layout.fill(d, r, at, v)
			mu := mean(f.kind, f.layout.dot(d, r, f.beta))
			w := weight(f.kind, mu)
			own := 0.0
			for a := range n {
				for b := range n {
					own += v[a] * v[b] * inverse.At(at[a], at[b])
				}
			}
			h += w * own
			res = score(f.kind, d.y[r], mu)
			for a := range n {
				x[at[a]] += res * v[a]
			}
		}
		most.leverage = max(most.leverage, min(h, 1))
		for i := range p {
			delta := 0.0
			for j := range p {
				if x[j] != 0 {
					delta += inverse.At(i, j) * x[j]
				}
			}
			delta /= max(1-h, 1e-6)
			if c := math.Abs(delta) / math.Sqrt(max(inverse.At(i, i), 1e-300)*f.dispersion); c > most.change {
				most.change, most.column = c, i
			}
		}
	}
	return most
}
