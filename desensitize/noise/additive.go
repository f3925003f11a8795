package noise

import (
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Law (噪声分布) names the distribution of additive noise.
type Law string

// The laws. Scale is b of Laplace (standard deviation about b·√2), σ of Gauss, the half width of Uniform, which includes both ends.
const (
	Laplace Law = "laplace"
	Gauss   Law = "gauss"
	Uniform Law = "uniform"
)

// Additive (加性噪声) adds independent noise to each value, on a grid: the value is rounded to a multiple of the step, half to even,
// and an integer number of steps drawn by the discrete law is added, so that no bit below the step tells the value
// (Mironov 2012). The scale is held to a sixteenth of a step, to a whole step from 2^20 steps on. Int64 results that would
// overflow and floats that are not finite or beyond 2^52 steps become null.
type Additive struct {
	law    Law
	p, q   uint64 // scale in steps: p/q
	step   float64
	whole  int64 // the step as an integer, 0 if it is none
	mu     sync.Mutex
	source *source
	masked atomic.Int64
}

const maxScale = 1 << 26

// NewAdditive takes a law, its scale and the step, both in units of the values; scale is 1/16 to 2^26 steps. Without a reader
// there is Draw alone.
func NewAdditive(law Law, scale, step float64, rand io.Reader) (*Additive, error) {
	if law != Laplace && law != Gauss && law != Uniform {
		return nil, refuse("additive", "law", "laplace, gauss or uniform")
	}
	steps := scale / step
	if !(step > 0) || math.IsInf(step, 0) || !(steps >= 1.0/16) || steps > maxScale {
		return nil, refuse("additive", "scale", "the step is positive, the scale 1/16 to 2^26 steps")
	}
	o := &Additive{law: law, p: uint64(math.Round(steps * 16)), q: 16, step: step, source: sourceOf(rand)}
	if steps >= 1<<20 || law == Uniform {
		if o.p, o.q = uint64(math.Round(steps)), 1; o.p == 0 {
			return nil, refuse("additive", "scale", "uniform noise has at least one step")
		}
	}
	if step == math.Trunc(step) && step < 1<<53 {
		o.whole = int64(step)
	}
	return o, nil
}

// Scale is the exact scale that is drawn, in units of the values.
func (o *Additive) Scale() float64 { return float64(o.p) / float64(o.q) * o.step }

// Masked counts the values that could not be treated.
func (o *Additive) Masked() int64 { return o.masked.Load() }

func (o *Additive) draw(s *source) int64 {
	switch o.law {
	case Laplace:
		return s.laplace(o.p, o.q)
	case Gauss:
		return s.gauss(o.p, o.q)
	}
	return int64(s.below(2*o.p+1)) - int64(o.p)
}

// Apply adds noise to an Int64 column, whose step is an integer, or a Float64 column.
func (o *Additive) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	if o.source == nil {
		return nil, unread("additive")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.add(mem, a, o.source)
}

// Draw is Apply with randomness of its own; calls run side by side.
func (o *Additive) Draw(mem memory.Allocator, a arrow.Array, rand io.Reader) (arrow.Array, error) {
	return o.add(mem, a, &source{r: rand})
}

func (o *Additive) add(mem memory.Allocator, a arrow.Array, s *source) (arrow.Array, error) {
	if a.DataType().ID() == arrow.INT64 && o.whole == 0 {
		return nil, refuse("additive", "step", "noise on integers has a whole step")
	}
	out, masked, err := numbers("additive", mem, a, func(x int64) (int64, bool) {
		x, ok := roundInt(x, o.whole, HalfEven)
		n := o.draw(s)
		d := n * o.whole
		y := x + d
		return y, ok && d/o.whole == n && (y > x) == (d > 0)
	}, func(x float64) (float64, bool) {
		n := math.RoundToEven(x/o.step) + float64(o.draw(s))
		return n * o.step, math.Abs(n) < 1<<52 && !math.IsInf(n*o.step, 0)
	})
	if err != nil {
		return nil, err
	}
	if s.err != nil {
		out.Release()
		return nil, s.err
	}
	o.masked.Add(masked)
	return out, nil
}
