package join

import (
	"github.com/opdomain/opdomain/mpc/share"
)

// Run computes the question on an engine. me is this party's place, rows its own table where it owns one. The columns are the plan's
// outputs, unopened. It sends nothing before the own table passes its checks; a party whose table does not pass leaves, and all end.
func Run(e *share.Engine, q Question, me int, rows []Row) (map[string]share.Vec, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	var own folded
	mine, t, ok := q.Table(me)
	if ok {
		var err error
		if own, err = q.fold(mine, t, rows); err != nil {
			return nil, err
		}
	}
	cell, alone, values := q.look(e, mine, own)
	if err := e.Err(); err != nil {
		return nil, err
	}
	in, kinds := q.members(e, cell, alone)
	return q.decide(e, in, kinds, cell.Len(), values)
}

// look gives the sorted rows' codes, whether a row is the last of its person, and values by measure. A left row of group l, from 1, with
// a kind k, from 1, 0 for none, has the code l·(kinds+1) + k; a right row has its kind; padding has 0.
func (q Question) look(e *share.Engine, mine Side, own folded) (code, last share.Vec, values []share.Vec) {
	input := func(side Side, t Table, column func(folded) []uint64) share.Vec {
		var v []uint64
		if side == mine {
			v = column(own)
		}
		return e.Input(t.Owner, v, t.Rows)
	}
	// Right rows first, then left ones; what one side has, the other has zeros for.
	keyOf := func(side Side, t Table) share.Words {
		var v []uint64
		if side == mine {
			v = own.keys
		}
		return e.InputWords(t.Owner, v, t.Rows)
	}
	none := func(t Table) share.Vec { return e.Public(make([]uint64, t.Rows)) }
	keys := share.JoinWords(keyOf(Right, q.Right), keyOf(Left, q.Left))
	columns := []share.Vec{
		share.Concat(none(q.Right), input(Left, q.Left, func(f folded) []uint64 { return f.groups })),
		share.Concat(input(Right, q.Right, func(f folded) []uint64 { return f.groups }), none(q.Left)),
	}
	next := map[Side]int{}
	for _, m := range q.Measures {
		at := next[m.Side]
		next[m.Side]++
		column := func(f folded) []uint64 { return f.values[at] }
		if m.Side == Left {
			columns = append(columns, share.Concat(none(q.Right), input(Left, q.Left, column)))
		} else {
			columns = append(columns, share.Concat(input(Right, q.Right, column), none(q.Left)))
		}
	}
	key, sorted := e.Sort(keys, keyBits, share.Table{Vecs: columns})
	if e.Err() != nil {
		return share.Vec{}, share.Vec{}, nil
	}
	n := key.Len()
	person := e.ShiftRight(key, 1)
	same := share.Concat(e.Public([]uint64{0}), e.Vec(e.EQ(person.Slice(1, n), person.Slice(0, n-1))))
	kind := e.Scan(sorted.Vecs[1], same)
	values = sorted.Vecs[2:]
	for i, m := range q.Measures {
		if m.Side == Right {
			values[i] = e.Scan(values[i], same)
		}
	}
	last = e.Sub(e.Constant(n, 1), share.Concat(same.Slice(1, n), e.Public([]uint64{0})))
	return e.Add(e.Scale(sorted.Vecs[0], uint64(len(q.Right.Groups)+1)), kind), last, values
}

// members says which rows are in which part, as integers 0 and 1: one column after the other, a part's rows together. A right row stands
// before its person's left rows: it is of those who are in nobody's table but its own where it is the person's last. all is how many people
// the right table has of each kind.
func (q Question) members(e *share.Engine, code, last share.Vec) (in, all share.Vec) {
	n, kinds := code.Len(), len(q.Right.Groups)
	word := e.Bits(code)
	var at []share.Words
	for p := range q.parts() {
		l, k := q.part(p)
		at = append(at, e.XorPublic(word, uint64(l*(kinds+1)+k)))
	}
	in = e.Vec(e.EQ(share.JoinWords(at...), e.ZeroWords(n*q.parts())))
	all = sums(e, in.Slice(0, n*kinds), n)
	rest := e.Mul(in.Slice(0, n*kinds), share.Repeat(last, kinds))
	return share.Concat(rest, in.Slice(n*kinds, in.Len())), all
}

// decide adds up, applies the rules to every part, and masks the cells.
func (q Question) decide(e *share.Engine, in, kinds share.Vec, n int, values []share.Vec) (map[string]share.Vec, error) {
	parts, measures := q.parts(), len(q.Measures)
	people := sums(e, in, n)
	one := e.Constant(parts, 1)
	least := e.Constant(parts, q.Rules.MinSubjects)
	bad := []share.Vec{e.Less(people, least)}
	numbers := []share.Vec{people}
	if measures > 0 {
		var each []share.Vec
		for _, v := range values {
			each = append(each, share.Repeat(v, parts))
		}
		adds := e.Mul(share.Repeat(in, measures), share.Concat(each...)) // by measure, part and row
		sum := sums(e, adds, n)
		// Who adds something: one that is not zero.
		word := e.Bits(adds)
		some := e.Sub(e.Constant(n*parts*measures, 1), e.Vec(e.EQ(word, e.ZeroWords(word.Len()))))
		counts := sums(e, some, n)
		first, second := largest(e, word, parts*measures, n)
		for m, x := range q.Measures {
			lo, hi := m*parts, (m+1)*parts
			s, c := sum.Slice(lo, hi), counts.Slice(lo, hi)
			numbers = append(numbers, s)
			broken := func(flags ...share.Vec) {
				for _, f := range flags {
					bad = append(bad, q.applies(e, x, f))
				}
			}
			broken(e.Less(c, least))
			if x.Kind == Flag {
				broken(e.Less(e.Sub(people, c), least))
				continue
			}
			top1, top2 := first.Slice(lo, hi), second.Slice(lo, hi)
			tops := top1
			if q.Rules.DominanceN == 2 {
				tops = e.Add(top1, top2)
			}
			broken(e.Less(e.Scale(s, uint64(q.Rules.DominanceK)), e.Scale(tops, 100)),
				e.Less(e.Scale(e.Sub(s, e.Add(top1, top2)), 100), e.Scale(top1, uint64(q.Rules.PPercent))))
			if x.Kind == Amount { // the sum is what it would be if all added as much as the largest
				broken(e.Sub(one, e.Less(s, e.Mul(c, top1))))
			}
		}
	}
	shown := q.shown(e, none(e, one, bad), e.Less(people, one), kinds)
	for i := range numbers {
		numbers[i] = q.asked(numbers[i])
	}
	masked := e.Mul(share.Repeat(shown, measures+1), share.Concat(numbers...))
	cells := q.cells()
	out := map[string]share.Vec{OutShown: shown, OutPeople: masked.Slice(0, cells)}
	if measures > 0 {
		out[OutValues] = masked.Slice(cells, cells*(measures+1))
	}
	return out, e.Err()
}

// shown gives each cell's bit: of its group all parts that anybody is in pass, which are two at least, and of each kind that the right table
// has so do those who are left over. A cell that nobody is in has no number to show.
func (q Question) shown(e *share.Engine, pass, empty, kinds share.Vec) share.Vec {
	k, groups := len(q.Right.Groups), len(q.Left.Groups)
	none := e.Constant(k, 1)
	rest := e.Add(pass.Slice(0, k), e.Less(kinds, none)) // who passes is somebody
	fine := e.Add(pass.Slice(k, pass.Len()), empty.Slice(k, empty.Len()))
	column := func(v share.Vec, c int) share.Vec {
		var out []share.Vec
		for l := range groups {
			out = append(out, v.Slice(l*(k+1)+c, l*(k+1)+c+1))
		}
		return share.Concat(out...)
	}
	line, nobody := column(fine, 0), column(empty.Slice(k, empty.Len()), 0)
	for c := 1; c <= k; c++ {
		line, nobody = e.Mul(line, column(fine, c)), e.Add(nobody, column(empty.Slice(k, empty.Len()), c))
	}
	for c := range k {
		line = e.Mul(line, share.Repeat(rest.Slice(c, c+1), groups))
	}
	// Who of a group is all in one part is known to have it.
	line = e.Mul(line, e.Less(nobody, e.Constant(groups, k)))
	var out []share.Vec
	for c := range q.cells() {
		l := c / q.kinds()
		out = append(out, line.Slice(l, l+1))
	}
	some := e.Sub(e.Constant(q.cells(), 1), q.asked(empty))
	return e.Mul(share.Concat(out...), some)
}

// asked takes the cells out of the parts, without a message.
func (q Question) asked(v share.Vec) share.Vec {
	var out []share.Vec
	for p := range q.parts() {
		if l, k := q.part(p); l > 0 && (k > 0 || q.Unmatched != "") {
			out = append(out, v.Slice(p, p+1))
		}
	}
	return share.Concat(out...)
}

// applies leaves a rule's flags out where the measure is not: people who are not in a table have nothing there.
func (q Question) applies(e *share.Engine, x Measure, flags share.Vec) share.Vec {
	var out []share.Vec
	for p := range q.parts() {
		if q.absent(x, p) {
			out = append(out, e.Public([]uint64{0}))
			continue
		}
		out = append(out, flags.Slice(p, p+1))
	}
	return share.Concat(out...)
}

// none is 1 where no flag of a list is.
func none(e *share.Engine, one share.Vec, flags []share.Vec) share.Vec {
	out := e.Sub(one, flags[0])
	for _, f := range flags[1:] {
		out = e.Mul(out, e.Sub(one, f))
	}
	return out
}

// sums gives the sum of each stretch of n rows, without a message.
func sums(e *share.Engine, v share.Vec, n int) share.Vec {
	var out []share.Vec
	for lo := 0; lo < v.Len(); lo += n {
		out = append(out, e.Sum(v.Slice(lo, lo+n)))
	}
	return share.Concat(out...)
}

// largest gives the two largest of each stretch of n rows, as a tournament: a pair of rows leaves its two largest.
func largest(e *share.Engine, v share.Words, stretches, n int) (first, second share.Vec) {
	one, two := v, e.ZeroWords(v.Len())
	for width := n; width > 1; width = (width + 1) / 2 {
		one, two = e.Halve(one, two, stretches, width)
	}
	top := e.Integers(share.JoinWords(one, two))
	return top.Slice(0, stretches), top.Slice(stretches, 2*stretches)
}
