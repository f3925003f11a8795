package algo

// Number (数值) is a number of each row: of a column, of points, or computed of them. It is a handle: it has no value.
type Number struct {
	p  *Program
	at int
}

// Const is a constant, which takes the unit of what it meets.
func (p *Program) Const(v float64) Number {
	return Number{p, p.node(Node{Op: OpConst, Consts: p.decimals([]float64{v})})}
}

func (n Number) with(op Op, o Number) Number {
	return Number{n.p, n.p.node(Node{Op: op, Args: []int{n.at, n.p.own(o.p, o.at)}})}
}

// Add gives n + o.
func (n Number) Add(o Number) Number { return n.with(OpAdd, o) }

// Sub gives n − o.
func (n Number) Sub(o Number) Number { return n.with(OpSub, o) }

// Mul gives n × o.
func (n Number) Mul(o Number) Number { return n.with(OpMul, o) }

// Scale gives c × n.
func (n Number) Scale(c float64) Number { return n.Mul(n.p.Const(c)) }

// Poly gives c[0] + c[1]·n + c[2]·n² + …, of degree at most 4 (多项式).
func (n Number) Poly(c ...float64) Number {
	return Number{n.p, n.p.node(Node{Op: OpPoly, Args: []int{n.at}, Consts: n.p.decimals(c)})}
}

// Sigmoid gives 1 ÷ (1 + e^−n) (S 形函数).
func (n Number) Sigmoid() Number {
	return Number{n.p, n.p.node(Node{Op: OpSigmoid, Args: []int{n.at}})}
}

// AtLeast says whether n ≥ c. Of a column, c is an edge of a bin that its owner registered.
func (n Number) AtLeast(c float64) Flag {
	return Flag{n.p, n.p.node(Node{Op: OpAtLeast, Args: []int{n.at}, Consts: n.p.decimals([]float64{c})})}
}

// Below says whether n < c.
func (n Number) Below(c float64) Flag { return n.AtLeast(c).Not() }

// Bands gives the label of the band between rising edges that n falls into: "<e0", "e0-e1", …, "≥en". Of a column, edges are those of a
// bin that its owner registered.
func (n Number) Bands(edges ...float64) Label {
	return Label{n.p, n.p.node(Node{Op: OpBands, Args: []int{n.at}, Consts: n.p.decimals(edges)})}
}

// Select gives yes where f is yes, and no elsewhere (选择).
func Select(f Flag, yes, no Number) Number {
	return Number{f.p, f.p.node(Node{Op: OpSelect, Args: []int{f.at, f.p.own(yes.p, yes.at), f.p.own(no.p, no.at)}})}
}

// Dot gives w[0]·x[0] + w[1]·x[1] + … (加权和).
func (p *Program) Dot(w []float64, x ...Number) Number {
	if len(w) != len(x) || len(x) == 0 {
		return Number{p, p.fail("dot: takes as many weights as numbers, at least one")}
	}
	sum := x[0].Scale(w[0])
	for i := range x[1:] {
		sum = sum.Add(x[i+1].Scale(w[i+1]))
	}
	return sum
}

// MatVec gives the product of a constant matrix and a vector of numbers (矩阵向量积), one number for each row of the matrix.
func (p *Program) MatVec(m [][]float64, x ...Number) []Number {
	out := make([]Number, len(m))
	for i, w := range m {
		out[i] = p.Dot(w, x...)
	}
	return out
}
