package columnar

import "math/big"

// no value: n is below what the statistic needs, or a divisor is zero.
type value struct {
	v    int64
	none bool
	over bool // it does not fit 64 bits
}

var noValue = value{none: true}

func whole(b *big.Int) value {
	if !b.IsInt64() {
		return value{over: true}
	}
	return value{v: b.Int64()}
}

// rounded gives a/b to the nearest whole number, halves away from zero.
func rounded(a, b *big.Int) value {
	if b.Sign() == 0 {
		return noValue
	}
	twice := new(big.Int).Abs(a)
	div := new(big.Int).Abs(b)
	twice.Lsh(twice, 1).Add(twice, div)
	q := twice.Quo(twice, div.Lsh(div, 1))
	if a.Sign()*b.Sign() < 0 {
		q.Neg(q)
	}
	return whole(q)
}

// roundedRoot gives the square root of a/b, both positive or a zero, to the nearest whole number, halves away from zero.
func roundedRoot(a, b *big.Int) *big.Int {
	r := new(big.Int).Sqrt(new(big.Int).Quo(a, b))
	half := new(big.Int).Lsh(r, 1)
	half.Add(half, big.NewInt(1)) // is a/b at least (r+1/2)²?
	half.Mul(half, half).Mul(half, b)
	if half.Cmp(new(big.Int).Lsh(a, 2)) <= 0 {
		r.Add(r, big.NewInt(1))
	}
	return r
}

func tenTo(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// spread gives n·Σxy − Σx·Σy, which is n(n−1) times the sample covariance.
func (m cellMoments) spread(i, j int) *big.Int {
	out := new(big.Int).Mul(big.NewInt(m.n), m.products[i][j])
	return out.Sub(out, new(big.Int).Mul(m.sums[i], m.sums[j]))
}

func (m cellMoments) pairs() *big.Int {
	n := big.NewInt(m.n)
	return n.Mul(n, new(big.Int).Sub(n, big.NewInt(1)))
}

// covariance is of the sample, over n−1; variance that of a column with itself.
func (m cellMoments) covariance(i, j int) value {
	if m.n < 2 {
		return noValue
	}
	return rounded(m.spread(i, j), m.pairs())
}

// deviation is the square root of the variance with three more decimals.
func (m cellMoments) deviation() value {
	if m.n < 2 {
		return noValue
	}
	return whole(roundedRoot(new(big.Int).Mul(m.spread(0, 0), tenTo(6)), m.pairs()))
}

// correlation is Pearson's, with six decimals.
func (m cellMoments) correlation() value {
	square := new(big.Int).Mul(m.spread(0, 0), m.spread(1, 1))
	if m.n < 2 || square.Sign() == 0 {
		return noValue
	}
	s := m.spread(0, 1)
	r := roundedRoot(new(big.Int).Mul(new(big.Int).Mul(s, s), tenTo(12)), square)
	if s.Sign() < 0 {
		r.Neg(r)
	}
	return whole(r)
}

// ratio divides sums of the given scales, with six decimals.
func ratio(a, b *big.Int, scaleA, scaleB int) value {
	return rounded(new(big.Int).Mul(a, tenTo(6+scaleB)), new(big.Int).Mul(b, tenTo(scaleA)))
}

// rank gives how many of n values a quantile of q thousandths has at or below it: the least whole number of at least q·n/1000.
func rank(n uint64, q int) uint64 {
	whole, rest := n/1000, n%1000
	return whole*uint64(q) + (rest*uint64(q)+999)/1000
}
