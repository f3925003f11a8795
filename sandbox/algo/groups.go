package algo

// Groups (分组) are rows by their groupings: what is measured of each.
type Groups struct {
	p  *Program
	at int
}

func (g Groups) aggregate(n Node, x ...Number) Aggregate {
	n.Args = []int{g.at}
	for _, v := range x {
		n.Args = append(n.Args, g.p.own(v.p, v.at))
	}
	return Aggregate{g.p, g.p.node(n)}
}

// Count counts rows (记录数).
func (g Groups) Count() Aggregate { return g.aggregate(Node{Op: OpCount}) }

// Subjects counts distinct protected subjects (人数).
func (g Groups) Subjects() Aggregate { return g.aggregate(Node{Op: OpSubjects}) }

// CountIf counts the rows for which f is yes.
func (g Groups) CountIf(f Flag) Aggregate { return g.Sum(Select(f, g.p.Const(1), g.p.Const(0))) }

// Sum adds up (合计). Of a product of two columns it is their dot product; over a select, the sum of either side.
func (g Groups) Sum(x Number) Aggregate { return g.aggregate(Node{Op: OpSum}, x) }

// SumIf adds up x over the rows for which f is yes.
func (g Groups) SumIf(f Flag, x Number) Aggregate { return g.Sum(Select(f, x, g.p.Const(0))) }

// Mean is the mean (均值) over the rows with a value.
func (g Groups) Mean(x Number) Aggregate { return g.aggregate(Node{Op: OpMean}, x) }

// Variance is that of the sample (方差), over n−1, of a column.
func (g Groups) Variance(x Number) Aggregate { return g.aggregate(Node{Op: OpVariance}, x) }

// StdDev is the square root of the variance (标准差).
func (g Groups) StdDev(x Number) Aggregate { return g.aggregate(Node{Op: OpStdDev}, x) }

// Quantile is the smallest value of a column that at least rank thousandths of its values do not exceed (分位数), found without sorting.
func (g Groups) Quantile(x Number, rank int) Aggregate {
	return g.aggregate(Node{Op: OpQuantile, Rank: rank}, x)
}

// Dot is the sum of the products of two columns (内积) over the rows that have both.
func (g Groups) Dot(x, y Number) Aggregate { return g.aggregate(Node{Op: OpDot}, x, y) }

// Gram gives the dot products of columns with each other (格拉姆矩阵), out[i][j] of x[i] and x[j].
func (g Groups) Gram(x ...Number) [][]Aggregate {
	out := make([][]Aggregate, len(x))
	for i := range x {
		out[i] = make([]Aggregate, len(x))
		for j := range x {
			out[i][j] = g.Dot(x[min(i, j)], x[max(i, j)])
		}
	}
	return out
}

// Covariance is that of the sample (协方差), over n−1, of two columns.
func (g Groups) Covariance(x, y Number) Aggregate {
	return g.aggregate(Node{Op: OpCovariance}, x, y)
}

// Correlation is Pearson's (相关系数), of two columns.
func (g Groups) Correlation(x, y Number) Aggregate {
	return g.aggregate(Node{Op: OpCorrelation}, x, y)
}

// Distinct counts the labels that occur (去重计数).
func (g Groups) Distinct(l Label) Aggregate {
	return Aggregate{g.p, g.p.node(Node{Op: OpDistinct, Args: []int{g.at, g.p.own(l.p, l.at)}})}
}

// Linear fits a column to others by least squares (线性回归). Its groups have no groupings.
func (g Groups) Linear(y Number, x ...Number) Fit { return g.fit(OpLinear, y, x) }

// Logistic fits the log-odds of a column of yes and no, or of 0 and 1 (逻辑回归), by Newton's method with a fixed bound of iterations.
func (g Groups) Logistic(y Number, x ...Number) Fit { return g.fit(OpLogistic, y, x) }

func (g Groups) fit(op Op, y Number, x []Number) Fit {
	n := Node{Op: op, Args: []int{g.at, g.p.own(y.p, y.at)}}
	for _, v := range x {
		n.Args = append(n.Args, g.p.own(v.p, v.at))
	}
	return Fit{g.p, g.p.node(n)}
}

// Fit (拟合) is a fitted model: its coefficients stay in the domain until it is revealed as class D.
type Fit struct {
	p  *Program
	at int
}

// Aggregate (聚合值) is a measure of each group. Arithmetic between aggregates of the same groups is done on what has passed the gate; where
// one of them is suppressed, so is the result.
type Aggregate struct {
	p  *Program
	at int
}

func (a Aggregate) with(op Op, o Aggregate) Aggregate {
	return Aggregate{a.p, a.p.node(Node{Op: op, Args: []int{a.at, a.p.own(o.p, o.at)}})}
}

// Add gives a + o.
func (a Aggregate) Add(o Aggregate) Aggregate { return a.with(OpAdd, o) }

// Sub gives a − o.
func (a Aggregate) Sub(o Aggregate) Aggregate { return a.with(OpSub, o) }

// Mul gives a × o.
func (a Aggregate) Mul(o Aggregate) Aggregate { return a.with(OpMul, o) }

// Div gives a ÷ o; no value where o is zero.
func (a Aggregate) Div(o Aggregate) Aggregate { return a.with(OpDiv, o) }

// Scale gives c × a.
func (a Aggregate) Scale(c float64) Aggregate {
	return a.with(OpMul, Aggregate(a.p.Const(c)))
}

// Poly gives c[0] + c[1]·a + c[2]·a² + …
func (a Aggregate) Poly(c ...float64) Aggregate {
	return Aggregate{a.p, a.p.node(Node{Op: OpPoly, Args: []int{a.at}, Consts: a.p.decimals(c)})}
}

// Sigmoid gives 1 ÷ (1 + e^−a).
func (a Aggregate) Sigmoid() Aggregate {
	return Aggregate{a.p, a.p.node(Node{Op: OpSigmoid, Args: []int{a.at}})}
}

// Output (输出列) is a named aggregate of a table.
type Output struct {
	name string
	a    Aggregate
}

// Out names an aggregate.
func Out(name string, a Aggregate) Output { return Output{name, a} }

// Reveal gives a table of aggregates by group to the gate (揭示): class A. It is a sink: nothing comes back.
func (p *Program) Reveal(table string, g Groups, outputs ...Output) {
	n := Node{Op: OpReveal, Args: []int{p.own(g.p, g.at)}, Name: table}
	for _, o := range outputs {
		n.Args = append(n.Args, p.own(o.a.p, o.a.at))
		n.Names = append(n.Names, o.name)
	}
	p.node(n)
}

// RevealModel gives a fitted model to the gate (揭示模型): class D, which people always review. It is a sink.
func (p *Program) RevealModel(name string, f Fit) {
	p.node(Node{Op: OpRevealModel, Args: []int{p.own(f.p, f.at)}, Name: name})
}
