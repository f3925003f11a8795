package spec

import (
	"math/big"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
)

// evidence is what is known of how many people an output rests on, and on whom. How many have rows at both units is exact. Each holder states of how
// many people on the list a column comes to something, how many of those have the same and what the largest is: so at least so many of them add something to a
// total, and nobody adds more than the largest of either side together. Whether all who add something add the same nobody states: where one side is the
// same for everybody, as the rows of who has one each, they do not if fewer have the same at the other; else see differs.
func (j *Joined) evidence(m joinedMeasure, r *he.Result, terms []he.Term, totals []*big.Int, people *big.Int, o *he.Output) {
	o.SubjectsAtLeast, o.SubjectsAtMost = people.Int64(), people.Int64()
	if people.Sign() > 0 {
		o.Contributing = 2
	}
	have := terms[len(terms)-1]
	adding := func(t he.Term) int64 {
		zero := r.Sides[0][have.Left].Subjects - r.Sides[0][t.Left].Subjects + r.Sides[1][have.Right].Subjects - r.Sides[1][t.Right].Subjects
		return max(0, people.Int64()-max(0, zero))
	}
	top := func(t he.Term) *big.Int {
		return new(big.Int).Mul(r.Sides[0][t.Left].Top, r.Sides[1][t.Right].Top)
	}
	fewer := func(t he.Term, n int64) bool { // who have the same at one unit than add something, where all have the same at the other
		a, b := r.Sides[0][t.Left], r.Sides[1][t.Right]
		return n > 0 && (a.Alike == a.Subjects && b.Alike < n || b.Alike == b.Subjects && a.Alike < n)
	}
	weighed := []int{1} // what a person adds: the sum of the first column, of a dot the products
	switch {
	case m.Func == sandbox.Count || m.hist: // or rows
		weighed = []int{0}
	case len(o.Sides) == 2:
		weighed = []int{1, 2}
	}
	least, tops := people.Int64(), make([]*big.Int, len(weighed))
	for i, at := range weighed {
		n := adding(terms[at])
		var squares *big.Int
		if people.Int64() == o.Rows { // one joined row each: what a person adds is a row's value
			squares = squared(m.Func, i, totals)
		}
		differ := fewer(terms[at], n) || differs(totals[at], squares, n, people.Int64())
		if m.Func == sandbox.Covariance && people.Int64() == o.Rows && n == people.Int64() { // and none of them is zero
			differ = differ || varies(totals[0], totals[3], totals[1], totals[2])
		}
		o.Differ = differ && (i == 0 || o.Differ)
		least, tops[i] = min(least, n), top(terms[at])
	}
	if o.Subjects = []int64{least}; least == 0 { // it may be that nobody adds anything
		for i := range tops {
			tops[i] = new(big.Int)
		}
	}
	o.TopAtMost, o.Tops = tops[0], tops[:1]
	for i := range o.Sides {
		o.Sides[i].Tops = tops[i : i+1]
	}
}

// differs says whether those of so many people who add something to a total surely do not all add the same: a total of equal parts is divided evenly
// by their number, which is between least and people; where the squares are known, the part follows from both.
func differs(total, squares *big.Int, least, people int64) bool {
	if people <= 0 {
		return false
	}
	if squares != nil {
		if total.Sign() == 0 {
			return squares.Sign() != 0
		}
		part, rest := new(big.Int).QuoRem(squares, total, new(big.Int))
		if rest.Sign() != 0 || part.Sign() == 0 {
			return true
		}
		n, rest := new(big.Int).QuoRem(total, part, rest)
		return rest.Sign() != 0 || !n.IsInt64() || n.Int64() < least || n.Int64() > people
	}
	rest := new(big.Int)
	for n := max(1, least); n <= people; n++ {
		if rest.Rem(total, big.NewInt(n)).Sign() == 0 {
			return false
		}
	}
	return true
}

// squared is the total of the squares of a column that a measure weighs, where it is among its totals.
func squared(f sandbox.MeasureFunc, column int, t []*big.Int) *big.Int {
	switch f {
	case sandbox.Variance, sandbox.StdDev:
		return t[2]
	case sandbox.Correlation:
		return t[3+2*column]
	}
	return nil
}

// varies says whether two columns have a spread together, without which one may be the same in every row.
func varies(n, xy, x, y *big.Int) bool {
	return new(big.Int).Mul(n, xy).Cmp(new(big.Int).Mul(x, y)) != 0
}
