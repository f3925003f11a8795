package he

import (
	"math/big"
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// wide is a signed 128-bit total.
type wide struct {
	hi int64
	lo uint64
}

func (w *wide) add(o wide) {
	lo, carry := bits.Add64(w.lo, o.lo, 0)
	w.lo, w.hi = lo, w.hi+o.hi+int64(carry)
}

func narrow(x int64) wide { return wide{x >> 63, uint64(x)} }

// product is x·y, both below 2^47 in size.
func product(x, y int64) wide {
	negative := (x < 0) != (y < 0)
	hi, lo := bits.Mul64(uint64(max(x, -x)), uint64(max(y, -y)))
	w := wide{int64(hi), lo}
	if negative {
		w = w.negated()
	}
	return w
}

func (w wide) negated() wide {
	lo, borrow := bits.Sub64(0, w.lo, 0)
	return wide{-w.hi - int64(borrow), lo}
}

func (w wide) abs() wide {
	if w.hi < 0 {
		return w.negated()
	}
	return w
}

// less compares sizes.
func (w wide) less(o wide) bool {
	a, b := w.abs(), o.abs()
	return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo
}

func (w wide) big() *big.Int {
	v := new(big.Int).Lsh(big.NewInt(w.hi), 64)
	return v.Add(v, new(big.Int).SetUint64(w.lo))
}

// held is one total of a cell.
type held struct {
	cell, output, side int
	subject            uint64
}

// Partial (部分结果) is what one unit's rows add to an epoch: its totals by cell and measure, and what its subjects contribute, kept until the
// vector is made. It holds values of the unit and stays with the unit; it prints as redacted. Not safe for concurrent use.
type Partial struct {
	layout *Layout
	totals [][]wide // cell → moment
	count  int
	gives  map[held]wide // what a subject contributes to an output of a cell
	first  []int         // per measure: its first moment and output
	output []int
	n      int // outputs

	side    int      // of the layout's products
	vectors [][]wide // by factor and place; nil: the unit holds no side
}

// NewPartial makes an empty one for a layout that a plan's check accepted.
func NewPartial(l *Layout) (*Partial, error) {
	if len(l.check()) > 0 {
		return nil, fail(sandbox.Invalid, "layout", "passes its check")
	}
	p := &Partial{layout: l, gives: map[held]wide{}}
	k := 0
	for _, m := range l.Measures {
		p.first, p.output = append(p.first, k), append(p.output, p.n)
		k, p.n = k+len(m.moments()), p.n+m.outputs()
	}
	p.totals = make([][]wide, len(l.Cells))
	for i := range p.totals {
		p.totals[i] = make([]wide, k)
	}
	return p, nil
}

// String keeps values out of logs.
func (p *Partial) String() string { return "partial (redacted)" }

// Add adds a row to the cell of that index: the subject it is about and a value for each column; a column whose bit is set in missing
// counts nowhere. Invalid for a row that the layout does not fit, TooLarge for a value of 2^47 or more or more than 2^31 rows; after
// an error the partial is of no use.
func (p *Partial) Add(cell int, subject uint64, values []int64, missing uint64) error {
	if cell < 0 || cell >= len(p.totals) || len(values) != p.layout.Columns {
		return fail(sandbox.Invalid, "row", "has a group of the layout and a value for each column")
	}
	for _, v := range values {
		if v >= maxInput || v <= -maxInput {
			return fail(sandbox.TooLarge, "value", "is below 2^47 in size")
		}
	}
	if p.count++; p.count > MaxRows {
		return fail(sandbox.TooLarge, "rows", "of a unit are at most 2^31")
	}
	t := p.totals[cell]
	for i, m := range p.layout.Measures {
		useX, useY := m.uses()
		if useX && missing>>m.X&1 == 1 || useY && missing>>m.Y&1 == 1 {
			continue
		}
		var x, y int64
		if useX {
			x = values[m.X]
		}
		if useY {
			y = values[m.Y]
		}
		at, out, gives := p.first[i], p.output[i], narrow(x)
		switch m.Func {
		case sandbox.Histogram:
			if x < 0 || x >= int64(m.Labels) {
				return fail(sandbox.Invalid, "label", "is one of its bin")
			}
			t[at+int(x)].add(narrow(1))
			out, gives = out+int(x), narrow(1)
		default:
			for k, mo := range m.moments() {
				t[at+k].add(term(mo, x, y))
			}
			switch m.Func {
			case sandbox.Count:
				gives = narrow(1)
			case sandbox.Dot:
				gives = product(x, y)
			}
		}
		give := func(side int, w wide) {
			k := held{cell, out, side, subject}
			sum := p.gives[k]
			sum.add(w)
			p.gives[k] = sum
		}
		if give(0, gives); len(m.sides()) == 2 {
			give(1, narrow(y))
		}
	}
	return nil
}

func term(m moment, x, y int64) wide {
	switch m {
	case sumX:
		return narrow(x)
	case sumY:
		return narrow(y)
	case sumXX:
		return product(x, x)
	case sumXY:
		return product(x, y)
	case sumYY:
		return product(y, y)
	}
	return narrow(1)
}

// vector lays a unit's totals and its evidence out, in ciphertexts' worth of slots.
func (p *Partial) vector(unit, units, slots int) ([][]int64, error) {
	flat := make([]int64, p.layout.slots(units))
	if p.vectors != nil {
		if err := p.stated(flat); err != nil {
			return nil, err
		}
	}
	at := 0
	for c := range p.totals {
		k := 0
		for _, m := range p.layout.Measures {
			for _, mo := range m.moments() {
				if err := split(p.totals[c][k].big(), flat[at:at+mo.limbs()]); err != nil {
					return nil, err
				}
				k, at = k+1, at+mo.limbs()
			}
		}
	}
	people := make([]int64, len(p.totals)*p.n)
	tops := make([][2]wide, len(people))
	for k, w := range p.gives {
		i := k.cell*p.n + k.output
		if k.side == 0 {
			people[i]++
		}
		if top := &tops[i][k.side]; top.less(w) {
			*top = w.abs()
		}
	}
	for c := range p.totals {
		mine := at + unit*p.layout.evidence()
		for i, m := range p.layout.Measures {
			for o := range m.outputs() {
				j := c*p.n + p.output[i] + o
				flat[mine] = people[j]
				mine++
				for side, limbs := range m.sides() {
					if err := split(tops[j][side].big(), flat[mine:mine+limbs]); err != nil {
						return nil, err
					}
					mine += limbs
				}
			}
		}
		at += units * p.layout.evidence()
	}
	var out [][]int64
	for per := slots - checkSlots; len(flat) > 0; {
		n := min(per, len(flat))
		v := make([]int64, checkSlots, checkSlots+n)
		for i := range v {
			v[i] = 1
		}
		out, flat = append(out, append(v, flat[:n]...)), flat[n:]
	}
	return out, nil
}
