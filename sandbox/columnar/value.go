package columnar

import (
	"math"
	"math/big"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// valuer computes the values of cells.
type valuer struct {
	t       *totals
	r       *run
	ordered [][]uint32 // by tally
	from    [][]int
}

func newValuer(t *totals) *valuer {
	v := &valuer{t: t, r: t.m.r}
	for k := range t.m.tallies {
		order, from := t.m.tallies[k].byCell(t.m.cells, t.workers)
		v.ordered, v.from = append(v.ordered, order), append(v.from, from)
	}
	return v
}

// shape gives cells their lists. Those of a run of cells stand in one piece of memory each.
func (v *valuer) shape(cells []sandbox.Cell) {
	n, dims := len(v.r.outputs), v.r.dims
	labels, numbers, adds := make([]string, dims*len(cells)), make([]int64, 2*n*len(cells)), make([][]int64, n*len(cells))
	for i := range cells {
		cells[i].Labels = labels[i*dims:][:dims:dims]
		cells[i].Values, cells[i].NonMissing = numbers[2*i*n:][:n:n], numbers[(2*i+1)*n:][:n:n]
		cells[i].Contributions = adds[i*n:][:n:n]
	}
}

// cell writes cell c into a shape, but for what Thin needs of its people.
func (v *valuer) cell(out *sandbox.Cell, c int) error {
	t, n := v.t, len(v.r.outputs)
	lo, hi := t.begin[c], t.begin[c+1]
	out.Rows, out.Contributors = int64(t.word(c, 0)), t.contributors[lo:hi:hi]
	var shared []value // of the outputs of one measure
	for m := range v.r.outputs {
		o, s := &v.r.outputs[m], &t.sources[m]
		out.Contributions[m] = t.contributions[s.at][lo:hi:hi]
		out.NonMissing[m] = int64(t.word(c, s.rows))
		if t.divisors[m] != nil {
			if out.Divisors == nil {
				out.Divisors = make([][]int64, n)
			}
			out.Divisors[m] = t.divisors[m][lo:hi:hi]
		}
		var x value
		switch {
		case o.Func == sandbox.Linear || o.Func == sandbox.Logistic:
			if o.first {
				var err error
				if shared, err = v.regression(m, c); err != nil {
					return err
				}
			}
			x = shared[0]
			shared = shared[1:]
		default:
			x = v.one(m, c, out)
		}
		if x.over {
			return fail(sandbox.TooLarge, "measure "+o.Name, "a value stays within 64 bits")
		}
		if out.Values[m] = x.v; x.none {
			if out.None == nil {
				out.None = make([]bool, n)
			}
			out.None[m] = true
		}
	}
	return nil
}

// one gives the value of a measure that has one.
func (v *valuer) one(m, c int, out *sandbox.Cell) value {
	o := &v.r.outputs[m]
	add := func(x []int64) *big.Int {
		var w wide
		for _, v := range x {
			w.add(v)
		}
		return w.big()
	}
	switch o.Func {
	case sandbox.Count, sandbox.Subjects, sandbox.Sum, sandbox.Dot, sandbox.Histogram:
		var w wide
		for _, x := range out.Contributions[m] {
			w.add(x)
		}
		return value{v: int64(w.lo), over: w.hi != int64(w.lo)>>63}
	case sandbox.Mean:
		return rounded(add(out.Contributions[m]), big.NewInt(out.NonMissing[m]))
	case sandbox.Distinct:
		return value{v: int64(v.from[o.tally][c+1] - v.from[o.tally][c])}
	case sandbox.Min, sandbox.Max:
		if out.NonMissing[m] == 0 {
			return noValue
		}
		w := v.r.slots[o.slot].least
		if o.Func == sandbox.Min {
			return value{v: unsortable(^v.t.word(c, w))}
		}
		return value{v: unsortable(v.t.word(c, w+1))}
	case sandbox.Quantile:
		return v.quantile(m, c)
	case sandbox.Variance:
		return v.t.m.moments[o.moments].cell(c).covariance(0, 0)
	case sandbox.StdDev:
		return v.t.m.moments[o.moments].cell(c).deviation()
	case sandbox.Covariance:
		return v.t.m.moments[o.moments].cell(c).covariance(0, 1)
	case sandbox.Correlation:
		return v.t.m.moments[o.moments].cell(c).correlation()
	case sandbox.Ratio:
		a, b := v.r.slots[o.slot].value, v.r.slots[o.divisor].value
		return ratio(add(out.Contributions[m]), add(out.Divisors[m]), scaleOf(v.r.values[a].desc), scaleOf(v.r.values[b].desc))
	}
	return noValue
}

func scaleOf(c *catalog.Column) int {
	switch c.Type {
	case catalog.Money:
		return 2
	case catalog.Number:
		return c.Scale
	}
	return 0
}

func (v *valuer) quantile(m, c int) value {
	o := &v.r.outputs[m]
	t := v.t.m.tallies[o.tally]
	mine := v.ordered[o.tally][v.from[o.tally][c]:v.from[o.tally][c+1]]
	total := uint64(0)
	for _, i := range mine {
		total += t.counts.v[i]
	}
	want := rank(total, v.r.d.Spec.Measures[o.Measure].Q)
	seen := uint64(0)
	for _, i := range mine {
		if seen += t.counts.v[i]; seen >= want {
			return value{v: int64(t.words.at(int(i))[1])}
		}
	}
	return noValue
}

// regression gives the outputs of a regression: intercept, coefficients, degrees of freedom.
func (v *valuer) regression(m, c int) ([]value, error) {
	o := &v.r.outputs[m]
	x := v.t.m.moments[o.moments].cell(c)
	k := x.columns()
	out := make([]value, k+1)
	for i := range k {
		out[i] = noValue
	}
	out[k] = value{v: x.n - int64(k)}
	columns := v.r.moments[o.moments].values
	scale := func(i int) int { return scaleOf(v.r.values[columns[i]].desc) }
	if o.Func == sandbox.Linear {
		coefficients, divisor, ok := x.leastSquares()
		if !ok || x.n <= int64(k) {
			return out, nil
		}
		for i, b := range coefficients {
			up := 6
			if i > 0 {
				up += scale(i)
			}
			out[i] = rounded(new(big.Int).Mul(b, tenTo(up)), new(big.Int).Mul(divisor, tenTo(scale(0))))
		}
		return out, nil
	}
	t := v.t.m.tallies[o.tally]
	mine := v.ordered[o.tally][v.from[o.tally][c]:v.from[o.tally][c+1]]
	one, ok := one(v.r.values[columns[0]].desc)
	yes, rows, times := make([]bool, len(mine)), make([][]int64, len(mine)), make([]uint64, len(mine))
	flat := make([]int64, k*len(mine))
	some := [2]bool{}
	for j, i := range mine {
		w := t.words.at(int(i))
		y := int64(w[1])
		if y != 0 && (y != one || !ok) {
			return nil, fail(sandbox.Invalid, o.column, "the outcome of a logistic regression is 0 or 1")
		}
		yes[j], times[j] = y != 0, t.counts.v[i]
		some[min(y, 1)] = true
		rows[j] = flat[j*k:][:k]
		for i := 1; i < k; i++ {
			rows[j][i] = int64(w[i+1])
		}
	}
	if _, _, ok := x.leastSquares(); !ok || x.n <= int64(k) || !some[0] || !some[1] {
		return out, nil
	}
	beta, ok := logistic(x, yes, rows, times)
	if !ok {
		return out, nil
	}
	for i, b := range beta {
		for range 6 {
			b *= 10
		}
		if i > 0 {
			for range scale(i) {
				b *= 10
			}
		}
		if b = math.Round(b); !(math.Abs(b) < 1<<63) {
			return nil, fail(sandbox.TooLarge, "measure "+o.Name, "a value stays within 64 bits")
		}
		out[i] = value{v: int64(b)}
	}
	return out, nil
}

// side is a count of people on both sides of one column of an output.
type side struct {
	output int // index
	slot   int // of the column
	column int // of the moments
}

// sides gives what counts of people each output that is no total needs: one, or one for each column of its moments.
func (v *valuer) sides() (out []side) {
	for m, o := range v.r.outputs {
		switch {
		case !o.first || o.Func.Additive() || o.Func == sandbox.Mean:
		case o.sides == nil:
			out = append(out, side{m, o.slot, 0})
		default:
			for k, slot := range o.sides {
				out = append(out, side{m, slot, k})
			}
		}
	}
	return out
}

// of says whether a pair's person, who has rows that count, stands on the lower and on the higher side of a value.
func (x side) of(v *valuer, cell int, words []uint64, value int64) (low, high bool) {
	o := &v.r.outputs[x.output]
	switch {
	case o.moments >= 0:
		s := &v.r.slots[x.slot]
		n, sum := v.t.m.moments[o.moments].sum(cell, x.column)
		order := compareMeans(int64(words[s.sum]), words[s.rows], sum, n)
		return order < 0, order > 0
	case o.Func == sandbox.Quantile:
		w := words[v.r.slots[x.slot].least:]
		return unsortable(^w[0]) <= value, unsortable(w[1]) >= value
	case o.Func == sandbox.Min:
		return unsortable(^words[v.r.slots[x.slot].least]) == value, true
	case o.Func == sandbox.Max:
		return unsortable(words[v.r.slots[x.slot].least+1]) == value, true
	}
	return true, true
}

// thin counts the people that values rest on. order says which cell each is.
func (v *valuer) thin(cells []sandbox.Cell, order []uint32) error {
	t, n, all := v.t, len(v.r.outputs), v.sides()
	if len(all) == 0 {
		return nil
	}
	places := make([]uint32, len(order))
	for i, c := range order {
		places[c] = uint32(i)
	}
	k := 2 * len(all)
	people := make([][]uint32, len(t.runs)) // by run: of each cell, both sides of each
	err := parallel(len(t.runs), t.workers, func(run int) error {
		count := make([]uint32, k*len(cells))
		people[run] = count
		return t.pairs(t.runs[run], nil, func(cell int, _ uint32, words []uint64) {
			at := count[k*cell:][:k]
			for j, x := range all {
				if words[t.sources[x.output].rows] == 0 {
					continue
				}
				low, high := x.of(v, cell, words, cells[places[cell]].Values[x.output])
				if low {
					at[2*j]++
				}
				if high {
					at[2*j+1]++
				}
			}
		})
	})
	if err != nil {
		return err
	}
	for c, i := range places {
		x := &cells[i]
		x.Thin = make([]int64, n)
		for j, side := range all {
			var low, high int64
			for _, count := range people {
				low, high = low+int64(count[k*c+2*j]), high+int64(count[k*c+2*j+1])
			}
			if m := side.output; side.column == 0 {
				x.Thin[m] = min(low, high)
			} else {
				x.Thin[m] = min(x.Thin[m], low, high)
			}
		}
		for m, o := range v.r.outputs {
			if !o.first {
				continue
			}
			switch o.Func {
			case sandbox.Variance, sandbox.StdDev, sandbox.Covariance:
				x.Thin[m] = max(0, min(x.Thin[m], x.NonMissing[m]-1))
			case sandbox.Correlation:
				x.Thin[m] = max(0, min(x.Thin[m], x.NonMissing[m]-2))
			case sandbox.Linear, sandbox.Logistic:
				parts := len(o.sides) + 1
				x.Thin[m] = max(0, min(x.Thin[m], x.Values[m+parts-1]))
				for i := 1; i < parts; i++ {
					x.Thin[m+i] = x.Thin[m]
				}
			}
		}
	}
	return nil
}
