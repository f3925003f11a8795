package columnar

import (
	"math/big"
	"math/bits"
)

// moments keeps, for each cell, the number of rows in which all of its columns are there, the sums of the columns and of the
// products of every two, exactly: sums in 128 bits, products in 192, of at most 2^63 rows.
type moments struct {
	columns int
	stride  int
	v       block[uint64]
}

func newMoments(mem allocator, columns int) *moments {
	return &moments{columns: columns, stride: 1 + 2*columns + 3*columns*(columns+1)/2, v: block[uint64]{mem: mem}}
}

func (m *moments) free() { m.v.free() }

// add adds rows whose values stand column by column; valid is nil when none is missing. Cells are below limit.
func (m *moments) add(cells []uint32, limit int, values [][]int64, valid []uint8) {
	m.v.grow(limit * m.stride)
	for j, c := range cells {
		if valid != nil && valid[j] == 0 {
			continue
		}
		w := m.v.v[int(c)*m.stride:][:m.stride]
		w[0]++
		at := 1
		for _, x := range values {
			v := x[j]
			lo, carry := bits.Add64(w[at], uint64(v), 0)
			w[at] = lo
			w[at+1] += uint64(v>>63) + carry
			at += 2
		}
		for k, x := range values {
			a := x[j]
			for _, y := range values[k:] {
				b := y[j]
				hi, lo := bits.Mul64(uint64(a), uint64(b))
				hi -= uint64(a>>63)&uint64(b) + uint64(b>>63)&uint64(a) // of signed numbers
				add192(w[at:at+3], lo, hi, uint64(int64(hi)>>63))
				at += 3
			}
		}
	}
}

func add192(w []uint64, lo, mid, hi uint64) {
	_ = w[2]
	var carry uint64
	w[0], carry = bits.Add64(w[0], lo, 0)
	w[1], carry = bits.Add64(w[1], mid, carry)
	w[2] += hi + carry
}

// merge adds the moments of cell from of o to cell c.
func (m *moments) merge(c int, o *moments, from int) {
	if (from+1)*m.stride > len(o.v.v) {
		return // no row came to it
	}
	m.v.grow((c + 1) * m.stride)
	w, x := m.v.v[c*m.stride:][:m.stride], o.v.v[from*m.stride:][:m.stride]
	w[0] += x[0]
	at := 1
	for range m.columns {
		lo, carry := bits.Add64(w[at], x[at], 0)
		w[at] = lo
		w[at+1] += x[at+1] + carry
		at += 2
	}
	for ; at < m.stride; at += 3 {
		add192(w[at:at+3], x[at], x[at+1], x[at+2])
	}
}

// sum gives the rows of cell c and the sum of one of its columns.
func (m *moments) sum(c, column int) (rows uint64, sum wide) {
	if (c+1)*m.stride > len(m.v.v) {
		return 0, wide{}
	}
	w := m.v.v[c*m.stride:][:m.stride]
	return w[0], wide{int64(w[2+2*column]), w[1+2*column]}
}

// compareMeans gives the sign of sum/rows − all/n, of rows and n that are not zero: of n·sum − rows·all, in 192 bits.
func compareMeans(sum int64, rows uint64, all wide, n uint64) int {
	a1, a0 := bits.Mul64(n, uint64(sum))
	a2 := uint64(0)
	if sum < 0 { // what reading it unsigned added is 2^64·n
		a1, a2 = bits.Sub64(a1, n, 0)
		a2 = -a2
	}
	b1, b0 := bits.Mul64(rows, all.lo)
	b2, lo := bits.Mul64(rows, uint64(all.hi))
	b1, carry := bits.Add64(b1, lo, 0)
	b2 += carry
	if all.hi < 0 {
		b2 -= rows
	}
	d0, borrow := bits.Sub64(a0, b0, 0)
	d1, borrow := bits.Sub64(a1, b1, borrow)
	d2, _ := bits.Sub64(a2, b2, borrow)
	switch {
	case int64(d2) < 0:
		return -1
	case d0|d1|d2 == 0:
		return 0
	}
	return 1
}

// cellMoments are the moments of one cell as whole numbers.
type cellMoments struct {
	n        int64
	sums     []*big.Int
	products [][]*big.Int // symmetric
}

func (m *moments) cell(c int) cellMoments {
	k := m.columns
	out := cellMoments{sums: make([]*big.Int, k), products: make([][]*big.Int, k)}
	w := make([]uint64, m.stride)
	if (c+1)*m.stride <= len(m.v.v) {
		copy(w, m.v.v[c*m.stride:])
	}
	out.n = int64(w[0])
	at := 1
	for i := range k {
		out.sums[i] = signed(w[at : at+2])
		out.products[i] = make([]*big.Int, k)
		at += 2
	}
	for i := range k {
		for j := i; j < k; j++ {
			out.products[i][j] = signed(w[at : at+3])
			out.products[j][i] = out.products[i][j]
			at += 3
		}
	}
	return out
}

// signed reads words, lowest first, as a number in two's complement.
func signed(w []uint64) *big.Int {
	out := new(big.Int)
	for i := len(w) - 1; i >= 0; i-- {
		out.Lsh(out, 64)
		out.Or(out, new(big.Int).SetUint64(w[i]))
	}
	if w[len(w)-1]>>63 != 0 {
		out.Sub(out, new(big.Int).Lsh(big.NewInt(1), uint(64*len(w))))
	}
	return out
}
