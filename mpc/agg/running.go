package agg

import (
	"math/bits"
	"slices"

	"github.com/opdomain/opdomain/mpc/share"
)

// Names of a line's outputs: a row for each cell of shown and listed, Values rows for each cell of values.
const (
	OutListed = "listed"
	OutValues = "values"
)

// running is a line on one party's engine.
type running struct {
	l *Line
	e *share.Engine
}

// Run computes the line on an engine. me is this party's place, own what it holds, pushed its shares of a pushed input. The columns are the
// plan's outputs, unopened: shown, whether the gate's primary rules let a cell leave; listed, whether the question's conditions select it
// among those; values, the numbers of Values for each cell, zero where it is not shown and listed. It sends nothing before the own rows pass
// their checks; a party whose rows do not pass leaves, and all end.
func (l *Line) Run(e *share.Engine, me int, own Own, pushed Pushed) (map[string]share.Vec, error) {
	c, err := l.compute(e, me, own, pushed)
	if err != nil {
		return nil, err
	}
	x := &running{l, e}
	shown := x.wholly(c, x.judge(c))
	c = l.cut(c)
	values := x.values(c)
	listed := x.listed(c, values, shown)
	keep := e.Mul(shown, listed)
	masked := e.Mul(share.Repeat(keep, len(values)), share.Concat(values...))
	if err := e.Err(); err != nil {
		return nil, err
	}
	return map[string]share.Vec{OutShown: shown, OutListed: keep, OutValues: masked}, nil
}

// compute gives the totals and evidence of every cell.
func (l *Line) compute(e *share.Engine, me int, own Own, pushed Pushed) (*totals, error) {
	mine, err := l.share(me, own)
	if err != nil {
		return nil, err
	}
	x := &running{l, e}
	var t block
	if l.below {
		t = x.wholeRows(mine, me)
	} else if t, err = x.joinedRows(mine, me, pushed); err != nil {
		return nil, err
	}
	for _, o := range l.orders() {
		x.order(&t, o)
	}
	c := x.group(&t)
	return c, e.Err()
}

func (x *running) constant(n int, v int64) share.Vec {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(v)
	}
	return x.e.Public(all)
}

// not gives 1 - x.
func (x *running) not(v share.Vec) share.Vec {
	return x.e.Sub(x.constant(v.Len(), 1), v)
}

// less says for each row whether a < b, as 0 or 1, exact for all values: 250 bytes a row and party.
func (x *running) less(a, b share.Vec) share.Vec {
	n := a.Len()
	w := x.e.Bits(share.Concat(a, b))
	return x.e.Vec(x.e.LT(w.Slice(0, n), w.Slice(n, 2*n)))
}

// lessAll is less for several columns in one.
func (x *running) lessAll(pairs [][2]share.Vec) []share.Vec {
	if len(pairs) == 0 {
		return nil
	}
	var a, b []share.Vec
	for _, p := range pairs {
		a, b = append(a, p[0]), append(b, p[1])
	}
	return split(x.less(share.Concat(a...), share.Concat(b...)), len(pairs))
}

// split cuts a column into k of equal length.
func split(v share.Vec, k int) []share.Vec {
	out := make([]share.Vec, k)
	n := v.Len() / max(k, 1)
	for i := range out {
		out[i] = v.Slice(i*n, (i+1)*n)
	}
	return out
}

// zero says for each row of several columns whether it is 0.
func (x *running) zero(vs []share.Vec) []share.Vec {
	if len(vs) == 0 {
		return nil
	}
	w := x.e.Bits(share.Concat(vs...))
	return split(x.e.Vec(x.e.EQ(w, x.e.ZeroWords(w.Len()))), len(vs))
}

// mulAll multiplies columns pair by pair in one round.
func (x *running) mulAll(a, b []share.Vec) []share.Vec {
	if len(a) == 0 {
		return nil
	}
	return split(x.e.Mul(share.Concat(a...), share.Concat(b...)), len(a))
}

// block is what the stages work on: rows with their cell (the number of cells for a row that counts nowhere), person and terms.
type block struct {
	cell, subject share.Vec
	terms         []share.Vec
	orders        [][2]share.Vec // by order of a quantile: value, whether it is there
}

func (t *block) all() []share.Vec {
	out := append([]share.Vec{t.cell, t.subject}, t.terms...)
	for _, o := range t.orders {
		out = append(out, o[0], o[1])
	}
	return out
}

// set takes columns in the order of all.
func (t *block) set(cols []share.Vec) {
	t.cell, t.subject = cols[0], cols[1]
	copy(t.terms, cols[2:])
	for i := range t.orders {
		at := 2 + len(t.terms) + 2*i
		t.orders[i] = [2]share.Vec{cols[at], cols[at+1]}
	}
}

// input shares an input's columns of all who hold parts of it, one part after the other.
func (x *running) input(i int, mine [][]uint64, me int) []share.Vec {
	width := x.l.widthOf(i)
	parts := make([][]share.Vec, width)
	for _, h := range x.l.parts(i) {
		for c := range parts {
			var v []uint64
			if h.Party == me {
				v = mine[c]
			}
			parts[c] = append(parts[c], x.e.Input(h.Party, v, h.Rows))
		}
	}
	out := make([]share.Vec, width)
	for c := range out {
		out[c] = share.Concat(parts[c]...)
	}
	return out
}

// wholeRows shares what owners worked out below the share boundary.
func (x *running) wholeRows(mine map[int][][]uint64, me int) block {
	cols := x.input(0, mine[0], me)
	t := block{terms: make([]share.Vec, len(x.l.terms)), orders: make([][2]share.Vec, len(x.l.orders()))}
	t.set(cols)
	return t
}

// joinedRows shares single inputs, joins them, and works out cells and terms.
func (x *running) joinedRows(mine map[int][][]uint64, me int, pushed Pushed) (block, error) {
	l, e := x.l, x.e
	var cols []share.Vec
	if l.parts(0)[0].Pushed {
		var err error
		if cols, err = x.adopt(pushed); err != nil {
			return block{}, err
		}
	} else {
		cols = x.input(0, mine[0], me)
	}
	live, subject := cols[0], cols[1]
	features := make([]share.Vec, len(l.features))
	place := func(i int, from []share.Vec) {
		for k := range l.features {
			if l.features[k].input == i {
				features[k], from = from[0], from[1:]
			}
		}
	}
	place(0, cols[2:])
	rest := &unpaired{present: live}
	for _, j := range l.joins {
		live, subject = x.join(j, live, subject, features, x.input(j.input, mine[j.input], me), place, rest)
	}
	n := live.Len()
	t := block{subject: subject, cell: x.constant(n, 0)}
	codes := make([]share.Vec, len(l.dims))
	for i := range l.dims {
		codes[i] = x.code(&l.dims[i], features)
		t.cell = e.Add(t.cell, e.Scale(codes[i], uint64(l.dims[i].stride)))
	}
	// A row that does not count goes behind all cells, or to those of its group that are left over.
	t.cell = e.Shift(e.Mul(live, e.Shift(t.cell, -uint64(l.all()))), uint64(l.all()))
	t.cell = x.leaveOver(t.cell, live, rest, codes)
	for _, m := range l.terms {
		switch {
		case m.made:
			t.terms = append(t.terms, x.constant(n, 0))
		case len(m.factors) == 0:
			t.terms = append(t.terms, x.constant(n, 1))
		default:
			v := features[m.factors[0]]
			for _, k := range m.factors[1:] {
				v = e.Mul(v, features[k])
			}
			t.terms = append(t.terms, v)
		}
	}
	for _, o := range l.orders() {
		there := x.constant(n, 1)
		if o.there >= 0 {
			there = features[o.there]
		}
		t.orders = append(t.orders, [2]share.Vec{features[o.value], there})
	}
	return t, nil
}

// code gives the code of a grouping for each row.
func (x *running) code(d *dimension, features []share.Vec) share.Vec {
	if d.score == nil {
		return features[d.of]
	}
	n := features[d.parts[0]].Len()
	sum := x.constant(n, d.score.Base)
	for _, k := range d.parts {
		sum = x.e.Add(sum, features[k])
	}
	var pairs [][2]share.Vec
	for _, edge := range d.score.Edges {
		pairs = append(pairs, [2]share.Vec{sum, x.constant(n, edge)})
	}
	code := x.constant(n, int64(len(pairs)))
	for _, below := range x.lessAll(pairs) {
		code = x.e.Sub(code, below)
	}
	return code
}

// join finds for each row the one row of an input whose key is its own. All rows are put in the order of keys, the looked-up row before
// those that look for it, and what it has runs down its segment. How many find a partner, and who, is told to nobody; the rows of both
// sides stay, those of the other side counting nowhere.
func (x *running) join(j join, live, subject share.Vec, features []share.Vec, right []share.Vec, place func(int, []share.Vec), rest *unpaired) (share.Vec, share.Vec) {
	l, e := x.l, x.e
	n, m := live.Len(), right[0].Len()
	side := e.Bits(share.Concat(e.Scale(right[1], 2), e.Shift(e.Scale(features[j.leftKey], 2), 1)))

	var have []int // features that rows have so far
	for k, f := range features {
		if f.Len() > 0 {
			have = append(have, k)
		}
	}
	none := x.constant(m, 0)
	cols := []share.Vec{share.Concat(none, live), share.Concat(none, subject)}
	for _, k := range have {
		cols = append(cols, share.Concat(none, features[k]))
	}
	kept := len(cols)
	cols = append(cols, rest.columns(x, m, right[1])...)
	first := len(cols)
	for c, v := range right {
		if c != 1 {
			cols = append(cols, share.Concat(v, x.constant(n, 0)))
		}
	}
	sorted, t := e.Arrange(side, SubjectBits+2, share.Table{Vecs: cols})
	same := e.Vec(x.sameAsBefore(e.ShiftRight(sorted, 1)))
	got := e.Scans(t.Vecs[first:], same)
	live, subject = t.Vecs[0], t.Vecs[1]
	for i, k := range have {
		features[k] = t.Vecs[2+i]
	}
	found, of := got[0], got[1:]
	for i := range l.features {
		if f := &l.features[i]; f.input == j.input {
			of[0], of = e.Shift(of[0], uint64(f.missing)), of[1:]
		}
	}
	place(j.input, got[1:])
	keep := features[j.pass]
	if j.left && j.keepsMisses {
		keep = e.Add(keep, x.not(found))
	}
	live = e.Mul(live, keep)
	return live, x.unpair(j, rest, t.Vecs[kept:first], found, live, subject, same, features)
}

// sameAsBefore says for each row whether its word is that of the row before it; the first row's is not.
func (x *running) sameAsBefore(w share.Words) share.Flags {
	n := w.Len()
	if n == 0 {
		return x.e.EQ(w, w)
	}
	before := share.JoinWords(x.e.XorPublic(w.Slice(0, 1), ^uint64(0)), w.Slice(0, n-1))
	return x.e.EQ(w, before)
}

// order puts rows in the order of cell and value, finds the quantiles of every cell, and for each row whether its value is up to the cell's
// quantile and from it on. Values that are missing stand behind the others.
func (x *running) order(t *block, first quantile) {
	l, e := x.l, x.e
	at := slices.IndexFunc(l.orders(), func(o quantile) bool { return o.value == first.value })
	v, there := t.orders[at][0], t.orders[at][1]
	width := uint(first.bits) + 2
	key := e.Add(e.Scale(t.cell, 1<<width), e.Add(e.Scale(x.not(there), 1<<(width-1)), e.Shift(v, 1<<first.bits)))
	sorted, moved := e.Arrange(e.Bits(key), int(width)+bits.Len(uint(l.all())), share.Table{Vecs: t.all()})
	t.set(moved.Vecs)
	v, there = t.orders[at][0], t.orders[at][1]
	same := e.Vec(x.sameAsBefore(e.ShiftRight(sorted, width)))
	seen := e.Scans([]share.Vec{there}, same)[0]
	count := e.Sub(e.Add(seen, e.ScansBack([]share.Vec{there}, same)[0]), there)
	for _, q := range l.quantiles {
		if q.value != first.value {
			continue
		}
		// The first row at which 1000·seen reaches q·count: the smallest value that enough do not exceed.
		want := e.Scale(count, uint64(q.q))
		cmp := x.lessAll([][2]share.Vec{{e.Scale(seen, 1000), want}, {e.Scale(e.Shift(seen, ^uint64(0)), 1000), want}})
		hit := e.Mul(e.Mul(x.not(cmp[0]), cmp[1]), there)
		value := e.Mul(hit, v)
		whole := e.Sub(e.Add(e.Scans([]share.Vec{value}, same)[0], e.ScansBack([]share.Vec{value}, same)[0]), value)
		sides := x.lessAll([][2]share.Vec{{whole, v}, {v, whole}})
		both := x.mulAll([]share.Vec{there, there}, []share.Vec{x.not(sides[0]), x.not(sides[1])})
		t.terms[q.at], t.terms[q.below], t.terms[q.above] = value, both[0], both[1]
	}
}
