package agg

import (
	"math"
	"math/big"
	"slices"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Cell (多方统计单元格) is what opened of one cell. One that may not be shown, and one that nobody is in, have labels alone.
type Cell struct {
	Labels []string `json:"labels"`
	Shown  bool     `json:"shown"`            // the gate's primary rules let it leave
	Listed bool     `json:"listed,omitempty"` // and the question's conditions select it
	Values []int64  `json:"values,omitempty"` // by output, as the columnar engine gives them
	None   []bool   `json:"none,omitempty"`   // by output: there is no value
}

// operators lists what a line may run, those that others are made of included.
func operators() []share.Op {
	return []share.Op{share.OpInput, share.OpAdopt, share.OpMul, share.OpAnd, share.OpBits, share.OpLT, share.OpEQ, share.OpVec, share.OpShuffle, share.OpSort,
		share.OpArrange, share.OpScan, share.OpTop, share.OpPick}
}

// Operators lists what the line may run, for the plan: what each tells beside sizes is its Leakage.
func (l *Line) Operators() []share.Op { return operators() }

// Shared says how many rows of the scanned input are shared together, at most.
func (l *Line) Shared() int { return l.shared }

// Cells says how many cells there are, those that nobody is in included.
func (l *Line) Cells() int { return l.cells }

// Outputs gives what every cell holds, as the question's derivation lists it.
func (l *Line) Outputs() []sandbox.Measure {
	var out []sandbox.Measure
	for _, o := range l.outputs {
		out = append(out, sandbox.Measure{Name: o.Name, Func: o.Func, Part: o.Part, Unit: o.Unit, Scale: o.Scale, Structural: o.Structural})
	}
	return out
}

// Sizes gives the plan's outputs: their names and rows.
func (l *Line) Sizes() map[string]int {
	return map[string]int{OutShown: l.cells, OutListed: l.cells, OutValues: l.cells * l.Values()}
}

// Bounds gives the largest magnitude of each output, and whether it may be below zero: counts by the registered sizes, what is divided or a root
// by its 64 bits.
func (l *Line) Bounds() (most []int64, signed []bool) {
	rows := int64(l.shared) // a row finds one row at most; of a join at one owner they are as many as are registered, or its run ends
	for i := range l.outputs {
		switch o := &l.outputs[i]; o.Func {
		case sandbox.Count, sandbox.Subjects, sandbox.Histogram:
			most, signed = append(most, rows), append(signed, false)
		case sandbox.Distinct:
			most, signed = append(most, int64(max(len(o.labels), 1))), append(signed, false)
		case sandbox.Correlation:
			most, signed = append(most, 1_000_000), append(signed, true)
		case sandbox.Variance, sandbox.StdDev:
			most, signed = append(most, math.MaxInt64), append(signed, false)
		default:
			most, signed = append(most, math.MaxInt64), append(signed, true)
		}
	}
	return most, signed
}

// labelsOf gives the labels of cell i.
func (l *Line) labelsOf(i int) []string {
	out := make([]string, len(l.dims))
	for k, d := range l.dims {
		out[k] = d.labels[i/d.stride%len(d.labels)]
	}
	return out
}

// labelOrder lists cells in the order of their labels.
func (l *Line) labelOrder() []int {
	out := make([]int, l.cells)
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(a, b int) int { return slices.Compare(l.labelsOf(a), l.labelsOf(b)) })
	return out
}

// numberOf gives the place of an output's first number among those of a cell.
func (l *Line) numberOf(name string) int {
	at := 0
	for i := range l.outputs {
		if l.outputs[i].Name == name {
			return at
		}
		at += l.outputs[i].numbers()
	}
	return at
}

// Read makes cells, in the order of their labels, of the opened outputs. What is divided or a root is taken here, as the columnar engine
// takes it: half away from zero. TooLarge where a value is over 64 bits.
func (l *Line) Read(opened map[string][]uint64) ([]Cell, error) {
	for name, rows := range l.Sizes() {
		if len(opened[name]) != rows {
			return nil, invalid("outputs", "each output at its length")
		}
	}
	var out []Cell
	for _, i := range l.labelOrder() {
		c := Cell{Labels: l.labelsOf(i), Shown: opened[OutShown][i] == 1, Listed: opened[OutListed][i] == 1}
		if c.Listed {
			at := 0
			c.Values = make([]int64, len(l.outputs))
			for m := range l.outputs {
				var n []int64
				for range l.outputs[m].numbers() {
					n = append(n, int64(opened[OutValues][at*l.cells+i]))
					at++
				}
				v, none, ok := l.value(&l.outputs[m], n)
				if !ok {
					return nil, tooLarge("measure "+l.outputs[m].Name, "a value stays within 64 bits")
				}
				if c.Values[m] = v; none {
					if c.None == nil {
						c.None = make([]bool, len(l.outputs))
					}
					c.None[m] = true
				}
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// value takes the last step of an output.
func (l *Line) value(o *output, n []int64) (v int64, none, ok bool) {
	whole := func(x *big.Int) (int64, bool, bool) { return x.Int64(), false, x.IsInt64() }
	if o.direct() {
		return n[0], false, true
	}
	num := func(i int) *big.Int { return big.NewInt(n[i]) }
	missing := func() (int64, bool, bool) { return 0, true, true }
	switch o.Func {
	case sandbox.Mean:
		if n[1] == 0 {
			return missing()
		}
		return whole(nearest(num(0), num(1)))
	case sandbox.Ratio:
		if n[1] == 0 {
			return missing()
		}
		m := l.d.Spec.Measures[o.Measure]
		return whole(nearest(num(0).Mul(num(0), tenTo(6+l.scale(m.With[0]))), num(1).Mul(num(1), tenTo(l.scale(m.Column)))))
	case sandbox.Correlation:
		square := new(big.Int).Mul(num(1), num(2))
		if square.Sign() == 0 {
			return missing()
		}
		s := num(0)
		r := nearestRoot(new(big.Int).Mul(new(big.Int).Mul(s, s), tenTo(12)), square)
		if s.Sign() < 0 {
			r.Neg(r)
		}
		return whole(r)
	}
	if n[0] < 2 {
		return missing()
	}
	pairs := new(big.Int).Mul(num(0), big.NewInt(n[0]-1))
	shifts := o.moments.shifts
	spread := new(big.Int).Lsh(num(1), uint(shifts[0]+shifts[len(shifts)-1]))
	if o.Func == sandbox.StdDev {
		return whole(nearestRoot(spread.Mul(spread, tenTo(6)), pairs))
	}
	return whole(nearest(spread, pairs))
}

// scale gives the decimals of a column.
func (l *Line) scale(ref string) int {
	i, name := l.split(ref)
	c, _ := l.d.Inputs[i].Described.Column(name)
	return scaleOf(c)
}

func tenTo(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// nearest gives a/b to the nearest whole number, halves away from zero.
func nearest(a, b *big.Int) *big.Int {
	twice, div := new(big.Int).Abs(a), new(big.Int).Abs(b)
	twice.Lsh(twice, 1).Add(twice, div)
	q := twice.Quo(twice, div.Lsh(div, 1))
	if a.Sign()*b.Sign() < 0 {
		q.Neg(q)
	}
	return q
}

// nearestRoot gives the square root of a/b to the nearest whole number.
func nearestRoot(a, b *big.Int) *big.Int {
	r := new(big.Int).Sqrt(new(big.Int).Quo(a, b))
	half := new(big.Int).Lsh(r, 1)
	half.Add(half, big.NewInt(1))
	half.Mul(half, half).Mul(half, b)
	if half.Cmp(new(big.Int).Lsh(a, 2)) <= 0 {
		r.Add(r, big.NewInt(1))
	}
	return r
}

// Thresholds gives what cells are held to: the setting's, made stricter by the owners' rules.
func (l *Line) Thresholds() Thresholds { return l.s.Thresholds }

// Inputs gives the datasets of the line's inputs.
func (l *Line) Inputs() []catalog.Dataset {
	out := make([]catalog.Dataset, len(l.d.Inputs))
	for i, in := range l.d.Inputs {
		out[i] = in.Described
	}
	return out
}

// Version gives the version of input i that the question names, 0 for the current one.
func (l *Line) Version(i int) uint64 { return l.d.Inputs[i].Version }

// Room says how many rows of input i a party may bring; 0 where it holds none.
func (l *Line) Room(place, i int) int {
	for _, h := range l.parts(i) {
		if !h.Pushed && h.Party == place {
			return h.Rows
		}
	}
	return 0
}

// Holds says whether a party brings rows of input i.
func (l *Line) Holds(place, i int) bool { return l.Room(place, i) > 0 }
