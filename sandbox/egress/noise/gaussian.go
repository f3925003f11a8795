package noise

import (
	"math"

	dp "github.com/google/differential-privacy/go/v3/noise"

	"github.com/opdomain/opdomain/sandbox"
)

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "noise", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// amount gives ε and δ as the library takes them.
func amount(p sandbox.Privacy) (epsilon, delta float64) {
	return float64(p.Epsilon) / 1e6, float64(p.Delta) / 1e12
}

func checked(p sandbox.Privacy, cells int) error {
	if p.Epsilon < 1 || p.Delta < 1 || p.Delta >= 1_000_000_000_000 {
		return invalid("privacy", "ε and δ are positive, δ below one")
	}
	if cells < 1 {
		return invalid("cells", "a subject counts in at least one cell")
	}
	return nil
}

// Gaussian (高斯机制) noises the totals of one release. A subject adds at most bound to each of at most so many cells: by l2 it moves the
// release by bound·√cells at most.
type Gaussian struct {
	epsilon, delta float64
	bound, cells   int64
}

// NewGaussian takes the (ε, δ) of the whole release, over all of its cells.
func NewGaussian(p sandbox.Privacy, bound int64, cells int) (*Gaussian, error) {
	if err := checked(p, cells); err != nil {
		return nil, err
	}
	if bound < 1 || bound > sandbox.MaxNoiseBound {
		return nil, invalid("bound", "a contribution is bounded by 1 to 2^50")
	}
	g := &Gaussian{bound: bound, cells: int64(cells)}
	g.epsilon, g.delta = amount(p)
	return g, nil
}

// Deviation is the noise's standard deviation, in the unit of the totals.
func (g *Gaussian) Deviation() float64 {
	return dp.SigmaForGaussian(g.cells, float64(g.bound), g.epsilon, g.delta)
}

// Add noises one total. It draws from the library's own secure randomness.
func (g *Gaussian) Add(total int64) (int64, error) {
	out, err := dp.Gaussian().AddNoiseInt64(clamp(total, math.MaxInt64/2), g.cells, g.bound, g.epsilon, g.delta)
	if err != nil {
		return 0, &sandbox.Error{Op: "noise", Kind: sandbox.Invalid, Object: "gaussian", Detail: "the library refuses its parameters"}
	}
	return out, nil
}

// Mean (均值机制) is a mean per row under differential privacy: half of the release for the sum and half for the rows.
type Mean struct{ sum, rows *Gaussian }

// NewMean takes the release, what one subject adds to a sum at most, how many rows it has in one cell and in how many cells it counts.
func NewMean(p sandbox.Privacy, bound, rows int64, cells int) (*Mean, error) {
	half := sandbox.Privacy{Epsilon: p.Epsilon / 2, Delta: p.Delta / 2}
	s, err := NewGaussian(half, bound, cells)
	if err != nil {
		return nil, err
	}
	n, err := NewGaussian(half, rows, cells)
	return &Mean{s, n}, err
}

// Add noises the sum and the rows of one cell and gives their quotient, rounded half away from zero; no rows count as one.
func (m *Mean) Add(sum, rows int64) (int64, error) {
	s, err := m.sum.Add(sum)
	if err != nil {
		return 0, err
	}
	n, err := m.rows.Add(rows)
	if err != nil {
		return 0, err
	}
	return int64(math.Round(float64(s) / float64(max(n, 1)))), nil
}

func clamp(x, most int64) int64 { return min(max(x, -most), most) }
