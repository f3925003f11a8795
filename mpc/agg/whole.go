package agg

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// leftOver is where those of an input stand who are in no cell of a line that shows whole groups: of the scanned input those whom the joins leave
// out, of a joined one those whom nobody looked up and behind them those whom somebody did, each by the groupings of the input's own columns.
type leftOver struct {
	input  int
	dims   []int
	stride []int // of its dims
	at     int   // first of its places
	cells  int
}

// places is how many an input has.
func (o *leftOver) places() int {
	if o.input > 0 {
		return 2 * o.cells
	}
	return o.cells
}

// all counts the cells with those left over.
func (l *Line) all() int {
	n := l.cells
	for i := range l.left {
		n += l.left[i].places()
	}
	return n
}

// inputsOf lists the inputs that a grouping is by.
func (l *Line) inputsOf(d *dimension) (out []int) {
	for _, f := range append(slices.Clone(d.parts), d.of) {
		if f >= 0 && !slices.Contains(out, l.features[f].input) {
			out = append(out, l.features[f].input)
		}
	}
	return out
}

// inputOf gives the one input that all columns of a term are of; of rows everybody, and several where there are several.
func (l *Line) inputOf(term int) int {
	t := l.terms[term]
	if t.made {
		return several
	}
	out := everybody
	for _, f := range t.factors {
		switch i := l.features[f].input; {
		case out == everybody:
			out = i
		case out != i:
			return several
		}
	}
	return out
}

// leftOvers lays out the places behind the cells.
func (c *compiling) leftOvers() {
	if c.below || !c.s.Whole || len(c.joins) == 0 {
		return
	}
	at := c.cells
	for i, in := range c.d.Inputs {
		if i > 0 && len(in.On) > 0 {
			continue // its keys are not people
		}
		x := leftOver{input: i, at: at, cells: 1}
		for k := range c.dims {
			if from := c.inputsOf(&c.dims[k]); len(from) == 1 && from[0] == i {
				x.dims, x.stride = append(x.dims, k), append(x.stride, x.cells)
				x.cells *= len(c.dims[k].labels)
			}
		}
		c.left = append(c.left, x)
		at += x.places()
	}
	if c.all() > maxCells {
		c.refuse("mpc.cells", "", fmt.Sprintf("a line has at most %d cells, those of people left over included", maxCells), "group by fewer or coarser labels")
	}
}

// matters says whether who is in a cell follows from what is joined: by an inner join, a filter or a grouping.
func (l *Line) matters() bool {
	for i, in := range l.d.Inputs[1:] {
		if in.Join != query.LeftJoin {
			return true
		}
		for _, f := range l.d.Spec.Filters {
			if at, _ := l.split(f.Column); at == i+1 {
				return true
			}
		}
	}
	for k := range l.dims {
		if from := l.inputsOf(&l.dims[k]); slices.ContainsFunc(from, func(i int) bool { return i > 0 }) {
			return true
		}
	}
	return false
}

// unpaired says of rows what is needed of those left over, through all orders.
type unpaired struct {
	present share.Vec         // a row of the scanned input
	rest    map[int]share.Vec // by joined input: a row that passes its filters and that nobody looked up
	paired  map[int]share.Vec // likewise one that somebody did
}

// columns gives what goes into the order of a join, of m rows of its input before the others.
func (u *unpaired) columns(x *running, m int, key share.Vec) []share.Vec {
	if len(x.l.left) == 0 {
		return nil
	}
	none := x.constant(m, 0)
	out := []share.Vec{share.Concat(x.constant(m, 1), x.constant(u.present.Len(), 0)), share.Concat(key, x.constant(u.present.Len(), 0)), share.Concat(none, u.present)}
	for _, i := range sortedKeys(u.rest) {
		out = append(out, share.Concat(none, u.rest[i]), share.Concat(none, u.paired[i]))
	}
	return out
}

// unpair finds the rows of a join's input that nobody looked up, and gives subjects with theirs.
func (x *running) unpair(j join, u *unpaired, moved []share.Vec, found, live, subject, same share.Vec, features []share.Vec) share.Vec {
	if len(x.l.left) == 0 {
		return subject
	}
	e := x.e
	own, key := moved[0], moved[1]
	u.present = moved[2]
	for k, i := range sortedKeys(u.rest) {
		u.rest[i], u.paired[i] = moved[3+2*k], moved[4+2*k]
	}
	if !slices.ContainsFunc(x.l.left, func(o leftOver) bool { return o.input == j.input }) {
		return subject
	}
	// The looked-up row stands first in its segment: whoever lives in it looks for it.
	seekers := e.ScansBack([]share.Vec{live}, same)[0]
	idle := x.zero([]share.Vec{seekers})[0]
	there := e.Mul(own, e.Mul(found, features[j.pass]))
	by := x.mulAll([]share.Vec{there, there}, []share.Vec{idle, key})
	if u.rest == nil {
		u.rest, u.paired = map[int]share.Vec{}, map[int]share.Vec{}
	}
	u.rest[j.input], u.paired[j.input] = by[0], e.Sub(there, by[0])
	return e.Add(subject, by[1])
}

// leaveOver gives rows that count nowhere the places of those left over; cell has them behind all.
func (x *running) leaveOver(cell, live share.Vec, u *unpaired, codes []share.Vec) share.Vec {
	l, e := x.l, x.e
	var which, places []share.Vec
	for _, o := range l.left {
		rows := u.rest[o.input]
		if o.input == 0 {
			rows = e.Sub(u.present, live)
		}
		place := x.constant(cell.Len(), int64(o.at-l.all()))
		for k, d := range o.dims {
			place = e.Add(place, e.Scale(codes[d], uint64(o.stride[k])))
		}
		which, places = append(which, rows), append(places, place)
		if o.input > 0 {
			which, places = append(which, u.paired[o.input]), append(places, e.Shift(place, uint64(o.cells)))
		}
	}
	for _, v := range x.mulAll(which, places) {
		cell = e.Add(cell, v)
	}
	return cell
}

// absent says whether nobody in a cell is in a joined input: its grouping is by a column of it that is never missing, and here it is.
func (l *Line) absent(cell, input int) bool {
	if input < 1 || l.d.Inputs[input].Join != query.LeftJoin {
		return false
	}
	for k := range l.dims {
		d := &l.dims[k]
		if from := l.inputsOf(d); d.score != nil || len(from) != 1 || from[0] != input || d.labels[cell/d.stride%len(d.labels)] != catalog.Missing {
			continue
		}
		f := &l.features[d.of]
		key := string(l.d.Inputs[input].Dataset) + "." + f.name
		if f.bin != nil {
			key += " " + string(f.bin.ID)
		}
		if !f.column.Nullable && !slices.Contains(l.s.Labels[key], catalog.Missing) {
			return true
		}
	}
	return false
}

// applies leaves a rule's flags out where it asks of columns that nobody has: those of another input than the one that people are left over of,
// and those of a joined one where a cell's people are not in it.
func (x *running) applies(flags share.Vec, r about) share.Vec {
	l := x.l
	if len(l.left) == 0 || r.input == everybody && !r.cells {
		return flags
	}
	var out []share.Vec
	for i := range l.cells {
		if l.absent(i, r.input) {
			out = append(out, x.constant(1, 0))
		} else {
			out = append(out, flags.Slice(i, i+1))
		}
	}
	for _, o := range l.left {
		if (o.input == r.input || r.input == everybody) && !r.cells {
			out = append(out, flags.Slice(o.at, o.at+o.places()))
		} else {
			out = append(out, x.constant(o.places(), 0))
		}
	}
	return share.Concat(out...)
}

// wholly gives the bits of cells by those of all: of a group of the scanned input's own columns all that anybody is in pass, those left over
// among them; of each group of a joined input that anybody is in those whom nobody looked up pass: where there are none, all are known to be
// looked for. Where who is in a cell follows from what is joined there are two such at
// least, since who of a group is all in one is known to be there. A cell that nobody is in has no number to show.
func (x *running) wholly(c *totals, pass share.Vec) share.Vec {
	l, e := x.l, x.e
	if len(l.left) == 0 {
		return pass
	}
	empty := x.less(c.people, x.constant(l.all(), 1))
	fine := e.Add(pass, e.Mul(empty, x.not(pass)))
	scanned := l.left[0]
	groups := make([][]int, scanned.cells) // places of each
	for i := range l.cells {
		g := 0
		for k, d := range scanned.dims {
			dim := &l.dims[d]
			g += i / dim.stride % len(dim.labels) * scanned.stride[k]
		}
		groups[g] = append(groups[g], i)
	}
	for g := range groups {
		groups[g] = append(groups[g], scanned.at+g)
	}
	at := func(v share.Vec, i int) share.Vec { return v.Slice(i, i+1) }
	for _, o := range l.left[1:] { // nobody left over is fine of a group that nobody is in
		absent := e.Mul(empty.Slice(o.at, o.at+o.cells), empty.Slice(o.at+o.cells, o.at+2*o.cells))
		rest := pass.Slice(o.at, o.at+o.cells)
		fine = share.Concat(fine.Slice(0, o.at), e.Add(rest, e.Mul(x.not(rest), absent)), fine.Slice(o.at+o.cells, l.all()))
	}
	var line, nobody []share.Vec
	for _, places := range groups {
		var of, none []share.Vec
		for _, i := range places {
			of, none = append(of, at(fine, i)), append(none, at(empty, i))
		}
		for _, o := range l.left[1:] {
			for i := range o.cells {
				of = append(of, at(fine, o.at+i))
			}
		}
		line, nobody = append(line, x.not(share.Concat(of...))), append(nobody, e.Sum(share.Concat(none...)))
	}
	var broken []share.Vec
	for _, v := range line {
		broken = append(broken, e.Sum(v))
	}
	whole := x.zero([]share.Vec{share.Concat(broken...)})[0]
	if l.matters() {
		whole = e.Mul(whole, x.less(share.Concat(nobody...), x.constant(len(groups), int64(len(groups[0])-1))))
	}
	bit := make([]share.Vec, l.cells)
	for g, places := range groups {
		for _, i := range places[:len(places)-1] {
			bit[i] = at(whole, g)
		}
	}
	return e.Mul(share.Concat(bit...), x.not(empty.Slice(0, l.cells)))
}

// cut leaves the cells' totals.
func (l *Line) cut(c *totals) *totals {
	if len(l.left) == 0 {
		return c
	}
	cells := func(v share.Vec) share.Vec { return v.Slice(0, l.cells) }
	out := &totals{people: cells(c.people)}
	for _, v := range c.terms {
		out.terms = append(out.terms, cells(v))
	}
	return out
}
