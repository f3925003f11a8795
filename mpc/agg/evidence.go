package agg

import (
	"math/bits"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
)

// totals is what is known of every cell over shares, as columns with a row for each.
type totals struct {
	people share.Vec         // who contribute to some output
	terms  []share.Vec       // totals
	adds   map[int]weighed   // by term that people contribute
	with   map[int]share.Vec // by term: people for whom it is above 0
	rest   map[int]share.Vec // by term of labelled rows: people with a row that is not one
	sides  map[int]sides     // by output with moments
}

// weighed is what people add to a total, by magnitude: the sum, the two largest, and how many add something.
type weighed struct{ sum, first, second, adding share.Vec }

// sides counts, for each column of moments, the people whose own mean is above the cell's, and those whose is below.
type sides struct{ above, below []share.Vec }

// group gives the totals and the evidence of every cell: rows in the order of cell and person, what a person adds as a running sum, and over
// the last rows of persons the totals, the two largest, and counts of people. A row of its own ends each cell, so that a cell that nobody is
// in has one too; these rows are brought out at the end, in the order of cells.
func (x *running) group(t *block) *totals {
	l, e := x.l, x.e
	n, g := t.cell.Len(), l.all()
	cells, number := make([]uint64, g), make([]uint64, n+g)
	for i := range cells {
		cells[i], number[n+i] = uint64(i), uint64(i+1)
	}
	key := share.Concat(e.Add(e.Scale(t.cell, 1<<SubjectBits), t.subject), e.Shift(e.Scale(e.Public(cells), 1<<SubjectBits), lastSubject))
	cols := []share.Vec{e.Public(number), share.Concat(x.constant(n, 1), x.constant(g, 0))}
	for _, v := range t.terms {
		cols = append(cols, share.Concat(v, x.constant(g, 0)))
	}
	words, moved := e.Arrange(e.Bits(key), SubjectBits+bits.Len(uint(g)), share.Table{Vecs: cols})
	ends, row := moved.Vecs[0], moved.Vecs[1]
	samePerson := e.Vec(x.sameAsBefore(words))
	inCell := x.sameAsBefore(e.ShiftRight(words, SubjectBits))
	sameCell := e.Vec(inCell)

	// A person's last row has the person's sums; all others count for nothing.
	n += g
	last := share.Concat(x.not(samePerson.Slice(1, n)), x.constant(1, 1))
	person := e.Mul(row, last)
	sums := e.Scans(moved.Vecs[2:], samePerson)
	sums = x.mulAll(repeated(person, len(sums)), sums)

	// Counts that are above 0 are people.
	var asked []int
	ask := func(term int) {
		for _, a := range asked {
			if a == term {
				return
			}
		}
		asked = append(asked, term)
	}
	everyone, contributes := false, x.constant(n, 0)
	rests := map[int]share.Vec{}
	for i := range l.outputs {
		o := &l.outputs[i]
		contributes = e.Add(contributes, sums[o.rows])
		switch o.Func {
		case sandbox.Count, sandbox.Subjects:
			everyone = true
		case sandbox.Distinct, sandbox.Ratio:
			ask(o.rows)
		case sandbox.Quantile:
			ask(l.quantiles[o.quantile].below)
			ask(l.quantiles[o.quantile].above)
		}
		if o.unlabeled && o.Func == sandbox.Histogram {
			rests[o.rows] = e.Sub(sums[0], sums[o.rows])
		}
	}
	var counts []share.Vec
	for _, term := range asked {
		counts = append(counts, sums[term])
	}
	restTerms := sortedKeys(rests)
	for _, term := range restTerms {
		counts = append(counts, rests[term])
	}
	counts = append(counts, contributes)
	none := x.zero(counts)
	some := make([]share.Vec, len(none))
	for i, v := range none {
		some[i] = x.not(v)
	}

	// What people add, by magnitude.
	adding := l.contributions()
	signed := make([]share.Vec, len(adding))
	for i, term := range adding {
		signed[i] = sums[term]
	}
	magnitude := x.magnitudes(signed)
	nothing := x.zero(signed)
	var high, low []share.Words
	if len(adding) > 0 {
		w := e.Bits(share.Concat(magnitude...))
		var each []share.Words
		for i := range adding {
			each = append(each, w.Slice(i*n, (i+1)*n))
		}
		high, low = e.ScanTop(each, inCell)
	}

	// Totals down each cell: its end has them.
	var up []share.Vec
	up = append(up, sums...)
	up = append(up, some...)
	up = append(up, magnitude...)
	for _, v := range nothing {
		up = append(up, x.not(v))
	}
	up = append(up, person)
	down := e.Scans(up, sameCell)
	sideOf, sideColumns := x.sides(sums, down, row, sameCell)
	out := down
	if len(sideColumns) > 0 {
		out = append(out, e.Scans(sideColumns, sameCell)...)
	}
	picked := e.Pick(ends, g, share.Table{Vecs: out, Words: append(append([]share.Words(nil), high...), low...)})

	c := &totals{adds: map[int]weighed{}, with: map[int]share.Vec{}, rest: map[int]share.Vec{}, sides: map[int]sides{}}
	take := func(k int) []share.Vec {
		v := picked.Vecs[:k]
		picked.Vecs = picked.Vecs[k:]
		return v
	}
	c.terms = take(len(sums))
	people := take(len(some))
	for i, term := range asked {
		c.with[term] = people[i]
	}
	for i, term := range restTerms {
		c.rest[term] = people[len(asked)+i]
	}
	c.people = people[len(people)-1]
	total, adders := take(len(adding)), take(len(adding))
	if all := take(1)[0]; everyone {
		c.people = all
	}
	if len(adding) > 0 {
		top := split(e.Integers(share.JoinWords(picked.Words...)), 2*len(adding))
		for i, term := range adding {
			c.adds[term] = weighed{total[i], top[i], top[len(adding)+i], adders[i]}
		}
	}
	for _, i := range sideOf {
		k := len(l.outputs[i].moments.sums)
		c.sides[i] = sides{take(k), take(k)}
	}
	return c
}

// contributions lists the terms that people contribute and that weigh: amounts and rows, each once.
func (l *Line) contributions() (out []int) {
	add := func(term int) {
		for _, o := range out {
			if o == term {
				return
			}
		}
		out = append(out, term)
	}
	for i := range l.outputs {
		o := &l.outputs[i]
		if o.Func == sandbox.Subjects {
			continue
		}
		if add(o.part); o.divisor >= 0 {
			add(o.divisor)
		}
	}
	return out
}

// magnitudes gives |v|.
func (x *running) magnitudes(vs []share.Vec) []share.Vec {
	if len(vs) == 0 {
		return nil
	}
	var pairs [][2]share.Vec
	for _, v := range vs {
		pairs = append(pairs, [2]share.Vec{v, x.constant(v.Len(), 0)})
	}
	flipped := x.mulAll(x.lessAll(pairs), vs)
	out := make([]share.Vec, len(vs))
	for i, v := range vs {
		out[i] = x.e.Sub(v, x.e.Scale(flipped[i], 2))
	}
	return out
}

// sides marks, for each output with moments and each of its columns, the people whose own mean is above the cell's and those whose is
// below: the sign of n·sum - rows·total. The totals, which the ends of cells have, run back up to every row. Equal outputs share nothing here:
// a question has few.
func (x *running) sides(sums, down []share.Vec, row, same share.Vec) (outputs []int, columns []share.Vec) {
	l, e := x.l, x.e
	for i := range l.outputs {
		if l.outputs[i].moments != nil {
			outputs = append(outputs, i)
		}
	}
	if len(outputs) == 0 {
		return nil, nil
	}
	end := x.not(row)
	var of []share.Vec
	for _, i := range outputs {
		of = append(of, down[l.outputs[i].rows])
		for _, t := range l.outputs[i].moments.sums {
			of = append(of, down[t])
		}
	}
	of = e.ScansBack(x.mulAll(repeated(end, len(of)), of), same)
	var a, b []share.Vec
	for _, i := range outputs {
		o := &l.outputs[i]
		for k, t := range o.moments.sums {
			a, b = append(a, of[0], sums[o.rows]), append(b, sums[t], of[1+k])
		}
		of = of[1+len(o.moments.sums):]
	}
	products := x.mulAll(a, b)
	var pairs [][2]share.Vec
	for k := 0; k < len(products); k += 2 {
		pairs = append(pairs, [2]share.Vec{products[k+1], products[k]}, [2]share.Vec{products[k], products[k+1]})
	}
	flags := x.lessAll(pairs)
	for _, i := range outputs {
		k := len(l.outputs[i].moments.sums)
		for c := range k {
			columns = append(columns, flags[2*c])
		}
		for c := range k {
			columns = append(columns, flags[2*c+1])
		}
		flags = flags[2*k:]
	}
	return outputs, columns
}

func repeated(v share.Vec, times int) []share.Vec {
	out := make([]share.Vec, times)
	for i := range out {
		out[i] = v
	}
	return out
}
