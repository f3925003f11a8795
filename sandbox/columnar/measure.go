package columnar

import (
	"math"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// place is one column a question groups by or measures.
type place struct {
	input int
	name  string
	col   int // position in the input's batch
}

// valueColumn is a column whose values are computed on.
type valueColumn struct {
	place
	desc     *catalog.Column
	nullable bool  // a value can be missing in a joined row
	factors  []int // of a product, which is no column: the two values, earlier ones; nil otherwise
}

// labelColumn is a column whose labels are told apart: by a dimension, a histogram or a count of distinct labels.
type labelColumn struct {
	place
	bin   sandbox.BinID
	score *score // of a dimension by bands, which has no column; nil otherwise
}

// score is a dimension by the bands of what the labels of other label columns are worth together.
type score struct {
	*query.Score
	names []string
	parts []int // label columns, by part
}

// slot is a sum that (cell, subject) pairs keep: of one value column, over the rows in which it and the given others are
// there. Outputs over the same rows share it.
type slot struct {
	value int
	given []int // further value columns, nullable ones only
	sum   int   // word of the sum
	rows  int   // word of the rows counted; 0, the word of all rows, if none can be missing
	least int   // word of the least value and, behind it, of the greatest, both as pages keep them; 0: not kept
}

// counted are the rows that pairs count by the labels of a column.
type counted struct {
	label int
	rows  int   // word of the rows with a label that is not missing
	first int   // word of the first of a histogram's labels; 0: only rows are counted
	part  []int // by code of the column's closed coder: which label's word, -1 for the missing
}

// moments names the value columns whose sums and products a cell keeps.
type momentSet struct{ values []int }

// tallySet names the words whose combinations a cell counts: values, or the label of a column.
type tallySet struct {
	values []int
	label  int // -1: values
}

func (t tallySet) width() int {
	if t.label >= 0 {
		return 2
	}
	return 1 + len(t.values)
}

// output is how one output of a cell is computed.
type output struct {
	query.Output
	column  string // of the measure, "dataset.column"
	slot    int    // of contributions; -1
	divisor int    // slot of a ratio's divisor; -1
	counted int    // -1
	word    int    // of a histogram's label
	moments int    // -1
	tally   int    // -1
	sides   []int  // slots, by column of the moments; nil where there are none
	first   bool   // the first output of its measure
}

// op is how a word of two parts of a pair become one.
type op uint8

const (
	opCount op = iota // added, counts cannot overflow
	opSum             // added, checked
	opMost            // the greater, unsigned
)

// sortable gives v as an unsigned word in the same order; kept as the greatest of them, and of their complements, zero stands for
// no value yet.
func sortable(v int64) uint64 { return uint64(v) ^ 1<<63 }

func unsortable(w uint64) int64 { return int64(w ^ 1<<63) }

// resolve finds the columns of dimensions and measures, and lays out the words of a pair.
func (r *run) resolve() {
	for _, dim := range r.d.Spec.Dimensions {
		if dim.Score != nil {
			r.labels = append(r.labels, labelColumn{place: place{col: -1}, score: &score{Score: dim.Score, names: dim.Score.Bands()}})
			continue
		}
		r.label(dim.Column, dim.Bin)
	}
	r.dims = len(r.labels)
	for d := range r.dims {
		if x := r.labels[d].score; x != nil {
			for _, p := range x.Parts {
				x.parts = append(x.parts, r.label(p.Column, p.Bin))
			}
		}
	}
	r.ops = []op{opCount}
	last := -1
	for _, o := range r.d.Outputs() {
		m := r.d.Spec.Measures[o.Measure]
		x := output{Output: o, slot: -1, divisor: -1, counted: -1, moments: -1, tally: -1, first: o.Measure != last}
		if last = o.Measure; !x.first {
			prev := r.outputs[len(r.outputs)-1]
			x.column, x.slot, x.counted, x.moments, x.tally, x.word = prev.column, prev.slot, prev.counted, prev.moments, prev.tally, prev.word+1
			r.outputs = append(r.outputs, x)
			continue
		}
		if m.Column != "" {
			i, name := r.column(m.Column)
			x.column = string(r.d.Inputs[i].Dataset) + "." + name
		}
		r.resolveMeasure(&x, m)
		r.outputs = append(r.outputs, x)
	}
	r.everyone = slices.ContainsFunc(r.outputs, func(o output) bool { return o.Func == sandbox.Count || o.Func == sandbox.Subjects })
}

func (r *run) resolveMeasure(x *output, m query.Measure) {
	var values []int
	switch m.Func {
	case sandbox.Count, sandbox.Subjects:
		return
	case sandbox.Distinct, sandbox.Histogram:
		at := r.label(m.Column, m.Bin)
		c := counted{label: at, rows: r.word(opCount)}
		if x.counted = len(r.counted); m.Func == sandbox.Histogram {
			k := r.newCoder(at, 0)
			defer k.free()
			n := 0
			for _, l := range k.names {
				if l == catalog.Missing {
					c.part = append(c.part, -1)
				} else {
					c.part = append(c.part, r.partOf(x.Measure, l))
					n++
				}
			}
			c.first = len(r.ops)
			for range n {
				r.word(opCount)
			}
			x.word = c.first
		} else {
			x.tally = r.tally(nil, at)
		}
		r.counted = append(r.counted, c)
		return
	}
	if m.Func == sandbox.Dot {
		x.slot = r.slot(r.product(append([]string{m.Column}, m.With...)), nil, false)
		return
	}
	values = append(values, r.value(m.Column))
	for _, w := range m.With {
		values = append(values, r.value(w))
	}
	extremes := m.Func == sandbox.Min || m.Func == sandbox.Max || m.Func == sandbox.Quantile
	x.slot = r.slot(values[0], values[1:], extremes)
	switch m.Func {
	case sandbox.Ratio:
		x.divisor = r.slot(values[1], values[:1], false)
	case sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation, sandbox.Linear, sandbox.Logistic:
		at := slices.IndexFunc(r.moments, func(s momentSet) bool { return slices.Equal(s.values, values) })
		if at < 0 {
			at = len(r.moments)
			r.moments = append(r.moments, momentSet{values})
		}
		x.moments = at
		for k, v := range values {
			others := slices.Concat(values[:k], values[k+1:])
			x.sides = append(x.sides, r.slot(v, others, false))
		}
	}
	if m.Func == sandbox.Quantile || m.Func == sandbox.Logistic {
		x.tally = r.tally(values, -1)
	}
}

// partOf gives the place of a histogram's label among its outputs.
func (r *run) partOf(measure int, label string) int {
	n := 0
	for _, o := range r.d.Outputs() {
		if o.Measure == measure {
			if o.Part == label {
				return n
			}
			n++
		}
	}
	return -1
}

func (r *run) word(o op) int {
	r.ops = append(r.ops, o)
	return len(r.ops) - 1
}

// value numbers a value column.
func (r *run) value(ref string) int {
	i, name := r.column(ref)
	at := slices.IndexFunc(r.values, func(v valueColumn) bool { return v.factors == nil && v.input == i && v.name == name })
	if at < 0 {
		c, _ := r.d.Inputs[i].Described.Column(name)
		at = len(r.values)
		r.values = append(r.values, valueColumn{place: place{i, name, r.find(i, name)}, desc: c, nullable: c.Nullable || r.d.Inputs[i].Join == query.LeftJoin})
	}
	return at
}

// label adds a label column.
func (r *run) label(ref string, bin sandbox.BinID) int {
	i, name := r.column(ref)
	r.labels = append(r.labels, labelColumn{place: place{i, name, r.find(i, name)}, bin: bin})
	return len(r.labels) - 1
}

// product numbers the products of two columns, or the squares of one.
func (r *run) product(refs []string) int {
	a := r.value(refs[0])
	f := []int{a, a}
	if len(refs) > 1 {
		f[1] = r.value(refs[1])
	}
	r.values = append(r.values, valueColumn{place: place{col: -1}, nullable: r.values[f[0]].nullable || r.values[f[1]].nullable, factors: f})
	return len(r.values) - 1
}

func (r *run) slot(value int, with []int, extremes bool) int {
	var given []int
	for _, w := range with {
		if w != value && r.values[w].nullable {
			given = append(given, w)
		}
	}
	slices.Sort(given)
	given = slices.Compact(given)
	at := slices.IndexFunc(r.slots, func(s slot) bool { return s.value == value && slices.Equal(s.given, given) })
	if at < 0 {
		at = len(r.slots)
		s := slot{value: value, given: given, sum: r.word(opSum)}
		if r.values[value].nullable || len(given) > 0 {
			s.rows = r.word(opCount)
		}
		r.slots = append(r.slots, s)
	}
	if s := &r.slots[at]; extremes && s.least == 0 {
		s.least = r.word(opMost)
		r.word(opMost)
	}
	return at
}

func (r *run) tally(values []int, label int) int {
	at := slices.IndexFunc(r.tallies, func(t tallySet) bool { return t.label == label && slices.Equal(t.values, values) })
	if at < 0 {
		at = len(r.tallies)
		r.tallies = append(r.tallies, tallySet{values, label})
	}
	return at
}

// one gives the word that stands for yes in a column of 0 and 1; false when its scale has none.
func one(c *catalog.Column) (int64, bool) {
	n := int64(1)
	if c.Type == catalog.Number {
		for range c.Scale {
			if n > math.MaxInt64/10 {
				return 0, false
			}
			n *= 10
		}
	}
	return n, true
}
