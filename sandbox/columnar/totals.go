package columnar

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// wide is a 128-bit sum: the order of subjects cannot make it overflow on its way.
type wide struct {
	hi int64
	lo uint64
}

func (w *wide) add(v int64) {
	lo, carry := bits.Add64(w.lo, uint64(v), 0)
	w.lo = lo
	w.hi += v>>63 + int64(carry)
}

func (w wide) big() *big.Int { return signed([]uint64{w.lo, uint64(w.hi)}) }

// parallel calls f for 0 to n−1 on up to so many goroutines and gives the error of the smallest.
func parallel(n, workers int, f func(int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			errs[i] = f(i)
		}
	}
	var wait sync.WaitGroup
	for range min(n, workers) - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// totals adds pairs up to cells in passes over them in the order of subjects, each over runs of segments at once.
type totals struct {
	m       *Merger
	order   []uint32 // of the pairs of a single segment that is not in order
	runs    [][]segment
	workers int
	sources []source
	shares  [][]share // by run, by cell

	begin         []int // by cell: its part of contributors, one more at the end
	contributors  []uint32
	contributions [][]int64 // by distinct contribution
	divisors      [][]int64 // by output
}

// source says where an output's contribution is among a pair's words.
type source struct {
	word    int  // of the contribution
	rows    int  // of the rows that count; 0: all
	one     bool // every contributor adds 1
	at      int  // index in contributions; outputs of one measure share
	divisor int  // word, or 0
}

// share is what one run of segments adds to a cell.
type share struct {
	pairs int // of contributors
	at    int // where the next one goes
	words []uint64
}

func (m *Merger) newTotals(workers int) *totals {
	r := m.r
	t := &totals{m: m, workers: workers}
	for _, o := range r.outputs {
		s := source{at: -1}
		switch {
		case o.Func == sandbox.Subjects:
			s.one = true
		case o.slot >= 0:
			s.word, s.rows = r.slots[o.slot].sum, r.slots[o.slot].rows
			if o.divisor >= 0 {
				s.divisor = r.slots[o.divisor].sum
			}
		case o.counted >= 0:
			s.word, s.rows = r.counted[o.counted].rows, r.counted[o.counted].rows
			if o.Func == sandbox.Histogram {
				s.word = o.word
			}
		}
		t.sources = append(t.sources, s)
	}
	if len(m.segments) == 1 {
		t.order = m.segments[0].ev.bySubject()
	}
	n := min(len(m.segments), max(1, workers))
	for k := range n {
		t.runs = append(t.runs, m.segments[k*len(m.segments)/n:(k+1)*len(m.segments)/n])
	}
	return t
}

// pairs calls f for every pair of a run of segments in the order of subjects.
func (t *totals) pairs(run []segment, f func(cell int, subject uint32, words []uint64)) {
	for _, s := range run {
		for i := range s.ev.n {
			p := i
			if t.order != nil {
				p = int(t.order[i])
			}
			if key := s.ev.keys.at(p)[0]; key != dead {
				f(s.cell(uint32(key>>32)), uint32(s.subjects)+uint32(key), s.ev.acc.at(p))
			}
		}
	}
}

// contributes says whether a pair has a value for any output.
func (t *totals) contributes(words []uint64) bool {
	if t.m.r.everyone {
		return true
	}
	for i := range t.sources {
		if words[t.sources[i].rows] > 0 {
			return true
		}
	}
	return false
}

// sum runs the passes that give every cell its contributors and the totals of its words.
func (t *totals) sum() error {
	cells, ops := t.m.grouper.n, t.m.r.ops
	t.shares = make([][]share, len(t.runs))
	var counts, most []int
	for w, o := range ops {
		switch o {
		case opCount:
			counts = append(counts, w)
		case opMost:
			most = append(most, w)
		}
	}
	err := parallel(len(t.runs), t.workers, func(k int) error {
		shares, words := make([]share, cells), make([]uint64, cells*len(ops))
		for c := range shares {
			shares[c].words = words[c*len(ops):][:len(ops):len(ops)]
		}
		t.shares[k] = shares
		t.pairs(t.runs[k], func(cell int, _ uint32, words []uint64) {
			x := &shares[cell]
			for _, w := range counts {
				x.words[w] += words[w]
			}
			for _, w := range most {
				x.words[w] = max(x.words[w], words[w])
			}
			if t.contributes(words) {
				x.pairs++
			}
		})
		return nil
	})
	if err != nil {
		return err
	}
	at := 0
	t.begin = make([]int, cells+1)
	for c := range cells {
		t.begin[c] = at
		for _, s := range t.shares {
			s[c].at = at
			at += s[c].pairs
		}
	}
	t.begin[cells] = at
	t.contributors = make([]uint32, at)
	t.divisors = make([][]int64, len(t.sources))
	for m := range t.sources {
		s := &t.sources[m]
		if m > 0 && s.word == t.sources[m-1].word && s.one == t.sources[m-1].one {
			s.at = t.sources[m-1].at
		} else {
			s.at = len(t.contributions)
			t.contributions = append(t.contributions, make([]int64, at))
		}
		if s.divisor > 0 {
			t.divisors[m] = make([]int64, at)
		}
	}
	return parallel(len(t.runs), t.workers, func(k int) error {
		shares := t.shares[k]
		t.pairs(t.runs[k], func(cell int, subject uint32, words []uint64) {
			if !t.contributes(words) {
				return
			}
			at := shares[cell].at
			shares[cell].at++
			t.contributors[at] = subject
			for m := range t.sources {
				s := &t.sources[m]
				v := int64(words[s.word])
				if s.one {
					v = 1
				}
				t.contributions[s.at][at] = v
				if s.divisor > 0 {
					t.divisors[m][at] = int64(words[s.divisor])
				}
			}
		})
		return nil
	})
}

// word gives the total of a counting word, or the greatest of another, over a cell.
func (t *totals) word(cell, w int) uint64 {
	var out uint64
	for _, s := range t.shares {
		if x := s[cell].words[w]; t.m.r.ops[w] == opCount {
			out += x
		} else {
			out = max(out, x)
		}
	}
	return out
}

// answer turns what was merged into cells sorted by their labels.
func (m *Merger) answer(workers int) (*sandbox.Answer, error) {
	r := m.r
	a := &sandbox.Answer{Population: make([]sandbox.Pseudonym, m.subjects), Cells: make([]sandbox.Cell, m.grouper.n)}
	for _, s := range m.segments {
		for i := range s.ev.known {
			p := s.ev.people.at(i)
			putPseudonym(&a.Population[s.subjects+i], p[0], p[1])
		}
	}
	r.describe(a)
	t := m.newTotals(workers)
	if err := t.sum(); err != nil {
		return nil, err
	}
	v := newValuer(t)
	const run = 256 // cells at once
	runs := (len(a.Cells) + run - 1) / run
	err := parallel(runs, workers, func(k int) error {
		for c := k * run; c < min(len(a.Cells), (k+1)*run); c++ {
			if err := v.cell(&a.Cells[c], c); err != nil {
				return err
			}
			for d := range r.dims {
				a.Cells[c].Labels[d] = m.names[d].names[m.grouper.labels[c*r.dims+d]]
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := v.thin(a.Cells); err != nil {
		return nil, err
	}
	slices.SortFunc(a.Cells, func(a, b sandbox.Cell) int { return slices.Compare(a.Labels, b.Labels) })
	return a, nil
}

// describe gives the answer's outputs, and what is shown of them.
func (r *run) describe(a *sandbox.Answer) {
	for _, d := range r.d.Spec.Dimensions {
		a.Dimensions = append(a.Dimensions, d.As)
	}
	for _, o := range r.outputs {
		a.Measures = append(a.Measures, sandbox.Measure{Name: o.Name, Func: o.Func, Part: o.Part, Unit: o.Unit, Scale: o.Scale})
		var from []string
		m := r.d.Spec.Measures[o.Measure]
		switch {
		case o.Func == sandbox.Histogram:
			from = []string{o.column, string(m.Bin), o.Part}
		case o.column != "":
			from = []string{o.column}
			for _, w := range m.With {
				i, name := r.column(w)
				from = append(from, string(r.d.Inputs[i].Dataset)+"."+name)
			}
		}
		a.Sources = append(a.Sources, from)
	}
	for _, h := range r.d.Spec.Having {
		a.Shown.AtLeast = append(a.Shown.AtLeast, sandbox.Least{Measure: h.Measure, Value: h.AtLeast})
	}
	if top := r.d.Spec.Top; top != nil {
		a.Shown.Top = &sandbox.Top{Measure: top.By, K: top.K}
	}
}

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
		order, from := t.m.tallies[k].byCell(t.m.grouper.n, t.workers)
		v.ordered, v.from = append(v.ordered, order), append(v.from, from)
	}
	return v
}

// cell writes cell c, but for what Thin needs of its people.
func (v *valuer) cell(out *sandbox.Cell, c int) error {
	t, n := v.t, len(v.r.outputs)
	lo, hi := t.begin[c], t.begin[c+1]
	*out = sandbox.Cell{Labels: make([]string, v.r.dims), Values: make([]int64, n), Rows: int64(t.word(c, 0)), NonMissing: make([]int64, n),
		Contributors: t.contributors[lo:hi:hi], Contributions: make([][]int64, n)}
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
	case sandbox.Count, sandbox.Subjects, sandbox.Sum, sandbox.Histogram:
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

// thin counts the people that values rest on.
func (v *valuer) thin(cells []sandbox.Cell) error {
	t, n := v.t, len(v.r.outputs)
	var which []int
	for m, o := range v.r.outputs {
		if o.first && !o.Func.Additive() && o.Func != sandbox.Mean {
			which = append(which, m)
		}
	}
	if len(which) == 0 {
		return nil
	}
	k := 2 * len(which)
	sides := make([][]uint32, len(t.runs)) // by run: of each cell, both sides of each output
	ones := make([]int64, n)
	for _, m := range which {
		if o := v.r.outputs[m]; o.Func == sandbox.Logistic {
			ones[m], _ = one(v.r.values[v.r.moments[o.moments].values[0]].desc)
		}
	}
	err := parallel(len(t.runs), t.workers, func(run int) error {
		count := make([]uint32, k*len(cells))
		sides[run] = count
		t.pairs(t.runs[run], func(cell int, _ uint32, words []uint64) {
			at := count[k*cell:][:k]
			for j, m := range which {
				o, s := &v.r.outputs[m], &t.sources[m]
				rows := words[s.rows]
				if rows == 0 {
					continue
				}
				value := cells[cell].Values[m]
				low, high := true, true
				switch o.Func {
				case sandbox.Quantile:
					w := words[v.r.slots[o.slot].least:]
					low, high = unsortable(^w[0]) <= value, unsortable(w[1]) >= value
				case sandbox.Min:
					low = unsortable(^words[v.r.slots[o.slot].least]) == value
				case sandbox.Max:
					low = unsortable(words[v.r.slots[o.slot].least+1]) == value
				case sandbox.Logistic:
					yes := int64(0) // an outcome of a scale that cannot say 1 is 0 everywhere
					if ones[m] > 0 {
						yes = int64(words[s.word]) / ones[m]
					}
					low, high = yes > 0, uint64(yes) < rows
				}
				if low {
					at[2*j]++
				}
				if high {
					at[2*j+1]++
				}
			}
		})
		return nil
	})
	if err != nil {
		return err
	}
	for c := range cells {
		x := &cells[c]
		x.Thin = make([]int64, n)
		for j, m := range which {
			var low, high int64
			for _, count := range sides {
				low, high = low+int64(count[k*c+2*j]), high+int64(count[k*c+2*j+1])
			}
			x.Thin[m] = min(low, high)
			switch v.r.outputs[m].Func {
			case sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation:
				x.Thin[m] = max(0, min(x.Thin[m], x.NonMissing[m]-1))
			case sandbox.Linear, sandbox.Logistic:
				parts := len(v.r.moments[v.r.outputs[m].moments].values) + 1
				x.Thin[m] = max(0, min(x.Thin[m], x.Values[m+parts-1]))
				for i := 1; i < parts; i++ {
					x.Thin[m+i] = x.Thin[m]
				}
			}
		}
	}
	return nil
}
