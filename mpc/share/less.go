package share

// Less says for each row whether x < y, as an integer 0 or 1, where |x - y| < 2^63: the sign of the difference. It is made of Mul
// alone, so that it runs under either adversary model; it is for the few comparisons that decide thresholds. 2.5 KB a row and
// party and 10 rounds, twice the bytes where they are proved.
func (e *Engine) Less(x, y Vec) Vec {
	n := x.Len()
	if !e.begin(OpLess, n == y.Len() && n <= MaxRows/256, n) {
		return newVec(n)
	}
	d := e.Sub(x, y)
	// Bit k of the part j of d is known to the two who hold the part: a column of 64·n integers 0 and 1, bits of one place together.
	var part [3]Vec
	for j := range part {
		w := e.component(d, j)
		part[j] = newVec(64 * n)
		for k := range 64 {
			for i := range n {
				part[j].a[k*n+i], part[j].b[k*n+i] = w.a[i]>>k&1, w.b[i]>>k&1
			}
		}
	}
	// A full adder in every place, then the places' sum and carry.
	ab := e.Mul(part[0], part[1])
	half := e.Sub(e.Add(part[0], part[1]), e.Scale(ab, 2))
	hc := e.Mul(half, part[2])
	sum := e.Sub(e.Add(half, part[2]), e.Scale(hc, 2))
	carry := Concat(newVec(n), e.Add(ab, hc).Slice(0, 63*n))
	g := e.Mul(sum, carry)
	p := e.Sub(e.Add(sum, carry), e.Scale(g, 2))
	// The carry into place 63: generate and propagate of the places 0 to 62, joined in pairs from the lowest.
	top := p.Slice(63*n, 64*n)
	g, p = g.Slice(0, 63*n), p.Slice(0, 63*n)
	for places := 63; places > 1; places = (places + 1) / 2 {
		pairs := places / 2
		var gl, gu, pl, pu []Vec
		for k := range pairs {
			gl, gu = append(gl, g.Slice(2*k*n, (2*k+1)*n)), append(gu, g.Slice((2*k+1)*n, (2*k+2)*n))
			pl, pu = append(pl, p.Slice(2*k*n, (2*k+1)*n)), append(pu, p.Slice((2*k+1)*n, (2*k+2)*n))
		}
		up := Concat(pu...)
		z := e.Mul(Concat(up, up), Concat(append(gl, pl...)...))
		ng, np := e.Add(Concat(gu...), z.Slice(0, pairs*n)), z.Slice(pairs*n, 2*pairs*n)
		if places%2 == 1 {
			ng, np = Concat(ng, g.Slice((places-1)*n, places*n)), Concat(np, p.Slice((places-1)*n, places*n))
		}
		g, p = ng, np
	}
	return e.exclusive(top, g)
}
