package agg

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// measures lays out the terms of every output.
func (c *compiling) measures() {
	c.term() // rows, which is term 0
	last := -1
	for _, o := range c.d.Outputs() {
		m := c.d.Spec.Measures[o.Measure]
		x := output{Output: o, first: o.Measure != last, divisor: -1, quantile: -1}
		last = o.Measure
		switch m.Func {
		case sandbox.Count:
		case sandbox.Subjects:
			x.part = -1
		case sandbox.Sum, sandbox.Mean, sandbox.Ratio:
			refs := append([]string{m.Column}, m.With...)
			x.part, x.rows = c.sum(refs, 0), c.there(refs, nil)
			if m.Func == sandbox.Ratio {
				x.divisor = c.sum(refs, 1)
			}
		case sandbox.Dot:
			refs := append([]string{m.Column}, m.With...)
			x.part, x.rows = c.term(c.value(refs[0], 0), c.value(refs[len(refs)-1], 0)), c.there(refs, nil)
		case sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation:
			c.moment(&x, append([]string{m.Column}, m.With...))
		case sandbox.Quantile:
			c.quantile(&x, m.Column, m.Q)
		case sandbox.Histogram, sandbox.Distinct:
			c.labelled(&x, m.Column, m.Bin, o.Part)
		default:
			change := "ask count, subjects, sum, mean, variance, correlation, histogram or quantile, or compute in the domain"
			if m.Func == sandbox.Min || m.Func == sandbox.Max {
				change = "ask a quantile, or compute in the domain"
			}
			at := ""
			if m.Column != "" {
				at = c.at(m.Column)
			}
			c.refuse("mpc.operator", at, fmt.Sprintf("%s has no operator over shares", m.Func), change)
			continue
		}
		c.outputs = append(c.outputs, x)
	}
}

// column finds what a value is of.
func (c *compiling) column(ref string) (int, *catalog.Column) {
	i, name := c.split(ref)
	col, _ := c.d.Inputs[i].Described.Column(name)
	return i, col
}

// value numbers the feature of a column's values, rounded to 2^shift.
func (c *compiling) value(ref string, shift int) int {
	i, col := c.column(ref)
	return c.feature(feature{input: i, kind: valueOf, name: col.Name, column: col, shift: shift})
}

// given lists the features that say whether values are there, of the columns where they may not be, but for those left out.
func (c *compiling) given(refs []string, but []int) (out []int) {
	for k, ref := range refs {
		i, col := c.column(ref)
		if slices.Contains(but, k) || !col.Nullable && c.d.Inputs[i].Join == "" {
			continue
		}
		if at := c.feature(feature{input: i, kind: thereOf, name: col.Name, column: col}); !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out
}

// there numbers the rows in which all columns have a value.
func (c *compiling) there(refs []string, but []int) int { return c.term(c.given(refs, but)...) }

// sum numbers the sum of one column over the rows in which all have a value: where its own is missing it is 0.
func (c *compiling) sum(refs []string, k int) int {
	given := c.given(refs, []int{k})
	if i, col := c.column(refs[k]); slices.Contains(refs[:k], refs[k]) || slices.Contains(refs[k+1:], refs[k]) { // a column with itself
		given = slices.DeleteFunc(given, func(f int) bool {
			return c.features[f].input == i && c.features[f].name == col.Name
		})
	}
	return c.term(append([]int{c.value(refs[k], 0)}, given...)...)
}

// moment lays out sums and products. They stay exact where n·Σxy fits 64 bits; of columns whose setting says that they are wider, values
// are rounded to 2^shift first.
//
// Error of a rounded column x, δ = 2^(shift-1): the deviation is within √2·δ of the exact one (rounding adds a vector of length at most
// δ√n to one that is centred, over √(n-1)), the covariance within √2·(δx·σy + δy·σx) + 2·δx·δy, and a correlation moves by at most
// 2·√2·(δx/σx + δy/σy) where that is below 1/2.
func (c *compiling) moment(x *output, refs []string) {
	m := &moments{}
	most := (momentBits - 2*log2(c.shared)) / 2
	if most < 8 {
		c.refuse("mpc.bits", "", fmt.Sprintf("%s over %d rows leaves %d bits for a value", x.Func, c.shared, most), "hold fewer rows, or compute in the domain")
		return
	}
	for k, ref := range refs {
		shift := 0
		if b := c.s.Bits[c.at(ref)]; b > most {
			shift = b - most
		}
		_, col := c.column(ref)
		m.shifts = append(m.shifts, shift)
		if i, _ := c.split(ref); shift > 0 && c.parts(i)[0].Pushed {
			c.refuse("mpc.bits", c.at(ref), fmt.Sprintf("values are rounded before they are shared, and these were pushed: %s over %d rows takes values below 2^%d", x.Func, c.shared, most), "push the column in a larger unit")
		}
		v := c.value(ref, shift)
		m.sums = append(m.sums, c.term(append([]int{v}, c.given(refs, []int{k})...)...))
		m.scale[k] = scaleOf(col)
	}
	for i := range refs {
		m.products = append(m.products, make([]int, len(refs)))
		for j := range refs {
			factors := append([]int{c.value(refs[i], m.shifts[i]), c.value(refs[j], m.shifts[j])}, c.given(refs, []int{i, j})...)
			m.products[i][j] = c.term(factors...)
		}
	}
	x.rows, x.moments = c.there(refs, nil), m
	x.part = c.sum(refs, 0)
	if m.shifts[0] == 0 {
		x.part = m.sums[0]
	}
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

// width gives the bits that a column's magnitudes are below, as the setting or the catalogue's declared range says; 0 where neither does.
func (l *Line) width(input int, col *catalog.Column) int {
	if b := l.s.Bits[string(l.d.Inputs[input].Dataset)+"."+col.Name]; b > 0 {
		return b
	}
	v, err := catalog.ParseValues(col.Name, col)
	if err != nil || v == nil || v.Kind != catalog.Between || v.Low <= -1<<62 || v.High >= 1<<62 {
		return 0
	}
	return bits.Len64(uint64(max(v.High, -v.Low, 1)))
}

func (c *compiling) quantile(x *output, ref string, q int) {
	i, col := c.column(ref)
	v := quantile{value: c.value(ref, 0), there: -1, q: q, bits: quantileBits}
	if b := c.width(i, col); b > 0 {
		v.bits = min(b, v.bits)
	}
	if col.Nullable || c.d.Inputs[i].Join != "" {
		v.there = c.feature(feature{input: i, kind: thereOf, name: col.Name, column: col})
	}
	x.part, x.rows = c.sum([]string{ref}, 0), c.there([]string{ref}, nil)
	if at := slices.IndexFunc(c.quantiles, func(o quantile) bool { return o.value == v.value && o.q == q }); at >= 0 {
		x.quantile = at
		return
	}
	made := func() int {
		c.terms = append(c.terms, term{made: true})
		return len(c.terms) - 1
	}
	v.at, v.below, v.above = made(), made(), made()
	x.quantile = len(c.quantiles)
	c.quantiles = append(c.quantiles, v)
}

// labelled lays out the counts of labels.
func (c *compiling) labelled(x *output, ref string, bin sandbox.BinID, part string) {
	labels := c.labels(ref, bin, string(x.Func))
	if labels == nil {
		return
	}
	if len(labels) > query.MaxOutputs {
		c.refuse("mpc.labels", c.at(ref), fmt.Sprintf("%s over shares counts each label apart, at most %d of them", x.Func, query.MaxOutputs), "count the labels of a coarser bin, or group by it")
		return
	}
	is := func(l string) int {
		of := map[string]int64{l: 1}
		if x.Func == sandbox.Distinct { // a label outside the list would be one that is not counted
			for _, o := range labels {
				of[o] = 0
			}
			of[l] = 1
		}
		return c.term(c.mapped(ref, bin, string(x.Func)+" is "+l, of, 0, x.Func == sandbox.Histogram))
	}
	if labels[0] == catalog.Missing {
		x.unlabeled = true
		x.rows = c.term(c.mapped(ref, bin, "labelled", map[string]int64{catalog.Missing: 0}, 1, true))
	}
	if x.Func == sandbox.Histogram {
		x.part = is(part)
		return
	}
	x.part = x.rows
	for _, l := range labels {
		if l != catalog.Missing {
			x.labels = append(x.labels, is(l))
		}
	}
}

// selection holds what is shown after the gate to what can be selected over shares.
func (c *compiling) selection() {
	top := c.d.Spec.Top
	if top == nil {
		return
	}
	at := slices.IndexFunc(c.outputs, func(o output) bool { return o.Name == top.By })
	switch {
	case at < 0:
		c.refuse("mpc.top", "", "cells are put in order by a measure with one output", "order by a count or a sum")
	case !c.outputs[at].direct():
		c.refuse("mpc.top", "", fmt.Sprintf("cells are put in order over shares by a value that is a total; %s is divided after it opened", c.outputs[at].Func), "order by a count, sum or quantile")
	case c.cells > maxTops:
		c.refuse("mpc.top", "", fmt.Sprintf("at most %d cells are put in order over shares", maxTops), "group by fewer labels, or leave out the order")
	}
}

// direct says whether the value itself opens.
func (o *output) direct() bool {
	switch o.Func {
	case sandbox.Count, sandbox.Subjects, sandbox.Sum, sandbox.Dot, sandbox.Histogram, sandbox.Distinct, sandbox.Quantile:
		return true
	}
	return false
}

// numbers says how many numbers of an output open: a mean is a sum and a count, a variance n and n·Σx² - (Σx)².
func (o *output) numbers() int {
	switch o.Func {
	case sandbox.Correlation:
		return 3
	case sandbox.Mean, sandbox.Ratio, sandbox.Variance, sandbox.StdDev, sandbox.Covariance:
		return 2
	}
	return 1
}

// sizes bounds what is shared so that nothing wraps, and what opens.
func (c *compiling) sizes() {
	total := c.all()
	for i := range c.d.Inputs {
		for _, h := range c.parts(i) {
			total += h.Rows
		}
	}
	if total > maxShared {
		c.refuse("mpc.held", "", fmt.Sprintf("the rows of all inputs are at most %d together", maxShared), "hold fewer rows, or aggregate before pushing")
	} else if c.s.Adversary == share.MaliciousAbort && total > maxProven {
		c.refuse("mpc.held", "", fmt.Sprintf("orders are proved of at most %d rows, those of all inputs and cells together", maxProven), "hold fewer rows, or name the semi-honest model")
	}
	if n := c.Values(); n*c.cells > maxValues {
		c.refuse("mpc.values", "", fmt.Sprintf("a line opens at most %d numbers, %d for each of %d cells here", maxValues, n, c.cells), "ask fewer measures, or group by fewer labels")
	}
	limit := func(f, b int) { c.features[f].bits = min(c.features[f].bits, b) }
	for _, t := range c.terms {
		var values []int
		for _, f := range t.factors {
			if c.features[f].kind == valueOf {
				values = append(values, f)
			}
		}
		for _, f := range values {
			limit(f, (sumBits-log2(c.shared))/len(values))
		}
	}
	for _, o := range c.outputs {
		if o.moments == nil {
			continue
		}
		for _, t := range o.moments.sums {
			for _, f := range c.terms[t].factors {
				if c.features[f].kind == valueOf {
					limit(f, (momentBits-2*log2(c.shared))/2)
				}
			}
		}
	}
	for k := range c.quantiles {
		q := &c.quantiles[k]
		q.bits = min(q.bits, c.features[q.value].bits, 60-log2(c.all()+1))
		limit(q.value, q.bits)
	}
	for _, f := range c.features {
		if f.kind != valueOf || !c.parts(f.input)[0].Pushed {
			continue
		}
		at := string(c.d.Inputs[f.input].Dataset) + "." + f.name
		if b := c.width(f.input, f.column); b < 1 || b > f.bits {
			c.refuse("mpc.bits", at, fmt.Sprintf("of pushed values the setting says how wide they are: here below 2^%d", f.bits), "state the bits that its unit pushed the column with, or push it in a larger unit")
		}
	}
	for k, q := range c.quantiles { // one order serves all quantiles of a value
		for _, o := range c.quantiles {
			if o.value == q.value {
				c.quantiles[k].bits = min(c.quantiles[k].bits, o.bits)
			}
		}
	}
}

// Values says how many numbers open for each cell, beside the bits that say whether it is shown.
func (l *Line) Values() int {
	n := 0
	for i := range l.outputs {
		n += l.outputs[i].numbers()
	}
	return n
}
