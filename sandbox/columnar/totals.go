package columnar

import (
	"math/big"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
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
	ranks   []uint32 // of the subjects of a single segment whose numbers are not the answer's
	runs    [][]segment
	workers int
	sources []source
	words   [][]uint64 // by run: of each cell, the totals of its words
	places  [][]uint32 // by run: of each cell, first how many contribute, then where they begin

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
	if m.spilled != nil {
		t.ranks = m.spilled.byOrdinal()
	} else if len(m.segments) == 1 {
		_, t.ranks = m.segments[0].ev.byFirst()
		t.order = m.segments[0].ev.bySubject(t.ranks)
	}
	n := min(len(m.segments), max(1, workers))
	for k := range n {
		t.runs = append(t.runs, m.segments[k*len(m.segments)/n:(k+1)*len(m.segments)/n])
	}
	return t
}

// pairs calls f for every pair of a run of segments, in the order of subjects where it is given.
func (t *totals) pairs(run []segment, order []uint32, f func(cell int, subject uint32, words []uint64)) error {
	stride := len(t.m.r.ops)
	for _, s := range run {
		for _, i := range order {
			p := int(i)
			if key := s.ev.keys.at(p)[0]; key != dead {
				f(s.cell(uint32(key>>32)), uint32(s.subjects)+uint32(key), s.ev.acc.at(p))
			}
		}
		if order != nil {
			continue
		}
		err := s.each(func(keys, acc []uint64) {
			for i, key := range keys {
				if key != dead {
					f(s.cell(uint32(key>>32)), uint32(s.subjects)+uint32(key), acc[i*stride:][:stride])
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *totals) rank(subject uint32) uint32 {
	if t.ranks == nil {
		return subject
	}
	return t.ranks[subject]
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
	cells, ops := t.m.cells, t.m.r.ops
	t.words, t.places = make([][]uint64, len(t.runs)), make([][]uint32, len(t.runs))
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
		people, words, stride := make([]uint32, cells), make([]uint64, cells*len(ops)), len(ops)
		t.places[k], t.words[k] = people, words
		for _, s := range t.runs[k] {
			err := s.each(func(keys, acc []uint64) {
				for i, key := range keys {
					if key == dead {
						continue
					}
					cell, pair := s.cell(uint32(key>>32)), acc[i*stride:][:stride]
					total := words[cell*stride:][:stride]
					for _, w := range counts {
						total[w] += pair[w]
					}
					for _, w := range most {
						total[w] = max(total[w], pair[w])
					}
					if t.contributes(pair) {
						people[cell]++
					}
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	at := 0
	t.begin = make([]int, cells+1)
	for c := range cells {
		t.begin[c] = at
		for _, p := range t.places {
			n := int(p[c])
			p[c] = uint32(at)
			at += n
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
	var columns []contribution
	for m := range t.sources {
		x := &t.sources[m]
		if x.at == len(columns) {
			columns = append(columns, contribution{t.contributions[x.at], x.word, x.one})
		}
	}
	for m, x := range t.sources {
		if x.divisor > 0 {
			columns = append(columns, contribution{t.divisors[m], x.divisor, false})
		}
	}
	err = parallel(len(t.runs), t.workers, func(k int) error {
		next := t.places[k]
		if t.order != nil {
			return t.pairs(t.runs[k], t.order, func(cell int, subject uint32, words []uint64) {
				if !t.contributes(words) {
					return
				}
				at := next[cell]
				next[cell]++
				t.contributors[at] = t.rank(subject)
				for c := range columns {
					columns[c].put(int(at), words)
				}
			})
		}
		stride := len(ops)
		for _, s := range t.runs[k] {
			subjects := uint32(s.subjects)
			err := s.each(func(keys, acc []uint64) {
				for i, key := range keys {
					pair := acc[i*stride:][:stride]
					if key == dead || !t.contributes(pair) {
						continue
					}
					cell := s.cell(uint32(key >> 32))
					at := next[cell]
					next[cell]++
					t.contributors[at] = t.rank(subjects + uint32(key))
					for c := range columns {
						columns[c].put(int(at), pair)
					}
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && t.m.spilled != nil && t.ranks != nil {
		t.arrange(cells)
	}
	return err
}

// contribution is a column of contributions, and where its values stand among a pair's words.
type contribution struct {
	to   []int64
	word int
	one  bool
}

func (c *contribution) put(at int, words []uint64) {
	v := int64(words[c.word])
	if c.one {
		v = 1
	}
	c.to[at] = v
}

// each calls f for the pairs of a segment, a page of keys and of words at a time.
func (s segment) each(f func(keys, acc []uint64)) error {
	if s.file != nil {
		return s.fromDisk(f)
	}
	for at := 0; at < s.ev.n; at += 1 << pageBits {
		f(s.ev.keys.v[at>>pageBits][:min(1<<pageBits, s.ev.n-at)], s.ev.acc.v[at>>pageBits])
	}
	return nil
}

// word gives the total of a counting word, or the greatest of another, over a cell.
func (t *totals) word(cell, w int) uint64 {
	var out uint64
	for _, s := range t.words {
		if x := s[cell*len(t.m.r.ops)+w]; t.m.r.ops[w] == opCount {
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
	if m.spilled != nil {
		if err := m.reduce(); err != nil {
			return nil, err
		}
	}
	a := &sandbox.Answer{Population: make([]sandbox.Pseudonym, m.subjects), Cells: make([]sandbox.Cell, m.cells)}
	r.describe(a)
	if err := m.over(); err != nil {
		return nil, err
	}
	t := m.newTotals(workers)
	if x := m.spilled; x != nil {
		for i := range x.ordinal {
			putPseudonym(&a.Population[t.rank(uint32(i))], x.people[2*i], x.people[2*i+1])
		}
	}
	for _, s := range m.segments {
		_ = parallel((s.known()+pageMask)>>pageBits, workers, func(k int) error {
			for i := k << pageBits; i < min(s.ev.known, (k+1)<<pageBits); i++ {
				p := s.ev.people.at(i)
				putPseudonym(&a.Population[t.rank(uint32(s.subjects+i))], p[0], p[1])
			}
			return nil
		})
	}
	if err := t.sum(); err != nil {
		return nil, err
	}
	order, names := m.sorted(workers)
	v := newValuer(t)
	const run = 256 // cells at once
	err := parallel((m.cells+run-1)/run, workers, func(k int) error {
		cells := a.Cells[k*run : min(m.cells, (k+1)*run)]
		v.shape(cells)
		for i := range cells {
			c := int(order[k*run+i])
			if err := v.cell(&cells[i], c); err != nil {
				return err
			}
			for d := range r.dims {
				cells[i].Labels[d] = names[d][m.codes[c*r.dims+d]]
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := v.thin(a.Cells, order); err != nil {
		return nil, err
	}
	return a, nil
}

// over refuses sums of one subject in one cell that are over 64 bits at the end.
func (m *Merger) over() (err error) {
	for _, s := range m.segments {
		if s.ev != nil && err == nil { // what is on disk was looked at on its way there
			err = m.r.over(s.ev)
		}
	}
	return err
}

func (r *run) over(ev *evidence) (err error) {
	ev.carries.each(func(pair, word int, _ int64) {
		if ev.keys.at(pair)[0] == dead {
			return
		}
		i := slices.IndexFunc(r.slots, func(x slot) bool { return x.sum == word })
		v := r.values[r.slots[i].value]
		if v.factors != nil {
			v = r.values[v.factors[0]]
		}
		err = fail(sandbox.TooLarge, string(r.d.Inputs[v.input].Dataset)+"."+v.name, "a subject's sum stays within 64 bits")
	})
	return err
}

// describe gives the answer's outputs, and what is shown of them.
func (r *run) describe(a *sandbox.Answer) {
	for _, d := range r.d.Spec.Dimensions {
		a.Dimensions = append(a.Dimensions, d.As)
		if d.Score != nil {
			a.LabelUnits = append(a.LabelUnits, query.ScoreUnit)
			continue
		}
		i, name := r.column(d.Column)
		c, _ := r.d.Inputs[i].Described.Column(name)
		b, _ := r.d.Inputs[i].Described.Bin(d.Bin)
		a.LabelUnits = append(a.LabelUnits, query.EdgeUnit(c, b))
	}
	for _, o := range r.outputs {
		a.Measures = append(a.Measures, sandbox.Measure{Name: o.Name, Func: o.Func, Part: o.Part, Unit: o.Unit, Scale: o.Scale, Structural: o.Structural})
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
