package agg

import (
	"maps"
	"slices"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
)

func sortedKeys[V any](m map[int]V) []int { return slices.Sorted(maps.Keys(m)) }

// minDegrees is the least residual degrees of freedom, as the gate has it.
const minDegrees = 10

// rules gathers comparisons of a cell's evidence; a cell breaks a rule where the weighed sum of those that hold is not 0.
type rules struct {
	x     *running
	pairs [][2]share.Vec
	signs []uint64
	holds []about // by pair
	about about
}

// about says of whom a rule asks, in a line that shows whole groups: the columns of one input, which people have who are in it.
type about struct {
	input int
	cells bool // it is not applied to those left over
}

const (
	everybody = -1 // a rule about people
	several   = -2 // columns of several inputs
)

func (r *rules) constant(v int) share.Vec { return r.x.constant(r.x.l.all(), int64(v)) }

// less is broken where a < b.
func (r *rules) less(a, b share.Vec) {
	r.pairs, r.signs, r.holds = append(r.pairs, [2]share.Vec{a, b}), append(r.signs, 1), append(r.holds, r.about)
}

// few is broken where 0 < a < k.
func (r *rules) few(a share.Vec, k int) {
	r.less(a, r.constant(k))
	r.less(a, r.constant(1))
	r.signs[len(r.signs)-1] = ^uint64(0)
}

// judge says for each cell, as 0 or 1, whether the gate's primary rules let it leave: frequency, dominance, p-percent, all equal, and degrees of
// freedom, as package egress has them for a cell on its own. Only this bit opens of the evidence.
func (x *running) judge(c *totals) share.Vec {
	l, e, t := x.l, x.e, x.l.s.Thresholds
	r := &rules{x: x}
	k := t.MinSubjects
	prior := t.Prior
	if prior == 0 {
		prior = 100
	}
	r.about = about{input: everybody}
	r.less(c.people, r.constant(k))
	var equal []int // terms of which not everybody may add the same
	weigh := func(term int, everybody, unequal bool) {
		r.about = about{input: l.inputOf(term)}
		w := c.adds[term]
		tops := w.first
		if t.DominanceN == 2 {
			tops = e.Add(tops, w.second)
		}
		r.less(e.Scale(w.sum, uint64(t.DominanceK)), e.Scale(tops, 100))
		rest := e.Sub(w.sum, e.Add(w.first, w.second))
		r.less(e.Scale(rest, uint64(prior)), e.Scale(w.first, uint64(t.PPercent)))
		if everybody {
			r.few(w.adding, k)
		}
		if unequal && !slices.Contains(equal, term) {
			equal = append(equal, term)
		}
	}
	for i := range l.outputs {
		o := &l.outputs[i]
		switch o.Func {
		case sandbox.Count, sandbox.Distinct:
			weigh(o.part, false, false)
		case sandbox.Histogram:
			weigh(o.part, true, false)
			if o.unlabeled && o.first {
				left := c.rest[o.rows] // who it leaves out, or where nobody is counted by rows, at most how many
				if !slices.ContainsFunc(l.outputs, func(o output) bool { return o.Func == sandbox.Count }) {
					left = e.Sub(c.terms[0], c.terms[o.rows])
				}
				r.about = about{input: l.inputOf(o.part), cells: true}
				r.few(left, k)
			}
		case sandbox.Sum, sandbox.Mean, sandbox.Dot:
			weigh(o.part, true, true)
		case sandbox.Ratio:
			weigh(o.part, true, true)
			weigh(o.divisor, true, true)
		case sandbox.Quantile, sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation:
			weigh(o.part, false, true)
		}
		r.about = about{input: several, cells: true}
		if o.Func != sandbox.Subjects {
			r.about.input = l.inputOf(o.part)
		}
		x.thin(r, c, i)
	}
	broken := x.constant(l.all(), 0)
	for i, v := range x.lessAll(r.pairs) {
		broken = e.Add(broken, e.Scale(x.applies(v, r.holds[i]), r.signs[i]))
	}
	// Everybody adds the same, or nobody anything: the largest times how many is the sum, and all have one sign.
	var same [][2]share.Vec
	one := r.constant(1)
	for _, term := range equal {
		w := c.adds[term]
		same = append(same, [2]share.Vec{e.Sub(e.Mul(w.first, w.adding), w.sum), one},
			[2]share.Vec{e.Sub(w.sum, c.terms[term]), one}, [2]share.Vec{e.Add(w.sum, c.terms[term]), one})
	}
	for flags := x.lessAll(same); len(flags) > 0; flags = flags[3:] {
		broken = e.Add(broken, x.applies(e.Mul(flags[0], e.Add(flags[1], flags[2])), about{input: l.inputOf(equal[0])}))
		equal = equal[1:]
	}
	return x.zero([]share.Vec{broken})[0]
}

// thin holds a value that is no total to the people it rests on from any side.
func (x *running) thin(r *rules, c *totals, i int) {
	o, k := &x.l.outputs[i], x.l.s.Thresholds.MinSubjects
	switch o.Func {
	case sandbox.Distinct, sandbox.Ratio:
		r.less(c.with[o.rows], r.constant(k))
	case sandbox.Quantile:
		q := x.l.quantiles[o.quantile]
		r.less(c.with[q.below], r.constant(k))
		r.less(c.with[q.above], r.constant(k))
	case sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation:
		k = max(k, minDegrees)
		parameters := 1
		if o.Func == sandbox.Correlation {
			parameters = 2
		}
		r.less(c.terms[o.rows], r.constant(k+parameters))
		for _, side := range append(slices.Clone(c.sides[i].above), c.sides[i].below...) {
			r.less(side, r.constant(k))
		}
	}
}

// values gives the numbers of each output, a row a cell.
func (x *running) values(c *totals) (out []share.Vec) {
	l, e := x.l, x.e
	for i := range l.outputs {
		o := &l.outputs[i]
		switch {
		case o.Func == sandbox.Subjects:
			out = append(out, c.people)
		case o.moments != nil:
			n := c.terms[o.rows]
			spread := func(i, j int) share.Vec {
				p := x.mulAll([]share.Vec{n, c.terms[o.moments.sums[i]]}, []share.Vec{c.terms[o.moments.products[i][j]], c.terms[o.moments.sums[j]]})
				return e.Sub(p[0], p[1])
			}
			switch k := len(o.moments.sums) - 1; o.Func {
			case sandbox.Correlation:
				out = append(out, spread(0, 1), spread(0, 0), spread(1, 1))
			default:
				out = append(out, n, spread(0, k))
			}
		case o.Func == sandbox.Mean:
			out = append(out, c.terms[o.part], c.terms[o.rows])
		case o.Func == sandbox.Ratio:
			out = append(out, c.terms[o.part], c.terms[o.divisor])
		case o.Func == sandbox.Quantile:
			out = append(out, c.terms[l.quantiles[o.quantile].at])
		case o.Func == sandbox.Distinct:
			var counts []share.Vec
			for _, t := range o.labels {
				counts = append(counts, c.terms[t])
			}
			value := x.constant(l.cells, int64(len(counts)))
			for _, v := range x.zero(counts) {
				value = e.Sub(value, v)
			}
			out = append(out, value)
		default:
			out = append(out, c.terms[o.part])
		}
	}
	return out
}

// listed says for each cell, as 0 or 1, whether the question's conditions show it: of those that may leave, and of a first few by their
// order, ties by labels.
func (x *running) listed(c *totals, values []share.Vec, shown share.Vec) share.Vec {
	l, e := x.l, x.e
	g := l.cells
	var pairs [][2]share.Vec
	for _, h := range l.d.Spec.Having {
		at := slices.IndexFunc(l.outputs, func(o output) bool { return o.Name == h.Measure })
		v := c.terms[0]
		if l.outputs[at].Func == sandbox.Subjects {
			v = c.people
		}
		pairs = append(pairs, [2]share.Vec{v, x.constant(g, h.AtLeast)})
	}
	missed := x.constant(g, 0)
	for _, v := range x.lessAll(pairs) {
		missed = e.Add(missed, v)
	}
	out := x.zero([]share.Vec{missed})[0]
	top := l.d.Spec.Top
	if top == nil {
		return out
	}
	out = e.Mul(out, shown)
	by := values[l.numberOf(top.By)]
	// Of two cells the one with the larger value stands before; of equal ones the one whose labels come first.
	order := l.labelOrder()
	rank := make([][]share.Vec, g)
	cell := func(v share.Vec, i int) share.Vec { return v.Slice(i, i+1) }
	var a, b, with []share.Vec
	for p, i := range order {
		for _, j := range order[p+1:] {
			a, b = append(a, cell(by, i)), append(b, cell(by, j))
			with = append(with, cell(out, j), cell(out, i))
		}
	}
	if len(a) > 0 {
		later := x.less(share.Concat(a...), share.Concat(b...)) // the later one stands before
		var flags []share.Vec
		for k := range a {
			flags = append(flags, cell(later, k), x.not(cell(later, k)))
		}
		beats := e.Mul(share.Concat(flags...), share.Concat(with...))
		k := 0
		for p, i := range order {
			for _, j := range order[p+1:] {
				rank[i], rank[j] = append(rank[i], cell(beats, k)), append(rank[j], cell(beats, k+1))
				k += 2
			}
		}
	}
	before := make([]share.Vec, g)
	for i := range before {
		before[i] = e.Sum(share.Concat(rank[i]...))
	}
	return e.Mul(out, x.less(share.Concat(before...), x.constant(g, int64(top.K))))
}
