package share

// Xor gives x ⊕ y, without a message.
func (e *Engine) Xor(x, y Words) Words {
	out := newWords(x.Len())
	if x.Len() != y.Len() {
		e.begin("xor", false, x.Len())
		return out
	}
	xorInto(out.a, x.a, y.a)
	xorInto(out.b, x.b, y.b)
	return out
}

// XorPublic gives x ⊕ c for a public word, without a message: it goes to the component 0.
func (e *Engine) XorPublic(x Words, c uint64) Words {
	out := newWords(x.Len())
	copy(out.a, x.a)
	copy(out.b, x.b)
	switch e.me {
	case 0:
		each(len(out.a), func(i int) { out.a[i] ^= c })
	case 2:
		each(len(out.b), func(i int) { out.b[i] ^= c })
	}
	return out
}

// Not gives the complement of every bit, those beyond the last element included.
func (e *Engine) Not(f Flags) Flags {
	w := e.XorPublic(Words{f.a, f.b}, ^uint64(0))
	return Flags{w.a, w.b, f.n}
}

// InputWords is Input for words shared by exclusive or.
func (e *Engine) InputWords(owner int, values []uint64, rows int) Words {
	ok := owner >= 0 && owner < 3 && rows >= 0 && rows <= MaxRows && (e.me != owner && values == nil || e.me == owner && len(values) == rows)
	if !e.begin(OpInput, ok, rows) {
		return newWords(max(0, min(rows, MaxRows)))
	}
	out := newWords(rows)
	tag := e.step()
	switch e.me {
	case owner:
		e.prev.fill(out.a, e.reserve(e.prev, rows))
		each(rows, func(i int) { out.b[i] = values[i] ^ out.a[i] })
		e.send(e.after(), tag, out.b)
	case (owner + 1) % 3:
		e.post(owner, tag, out.a)()
	default:
		e.next.fill(out.b, e.reserve(e.next, rows))
	}
	e.rounds++
	return out
}

// And gives x ∧ y word by word: 8 bytes a word and party, one round.
func (e *Engine) And(x, y Words) Words {
	if !e.begin(OpAnd, x.Len() == y.Len(), x.Len()) {
		return newWords(x.Len())
	}
	return e.and(x, y)
}

func (e *Engine) and(x, y Words) Words {
	z := newWords(x.Len())
	at0, at1 := e.reshare(OpAnd, z.a, z.b, func(lo, hi int, r, s []uint64) {
		andInto(z.a[lo:hi], x.a[lo:hi], x.b[lo:hi], y.a[lo:hi], y.b[lo:hi], r, s)
	})
	e.gate(claim{x: Vec(x), y: Vec(y), z: Vec(z), per: 1, at0: at0, at1: at1})
	return z
}

func andInto(z, xa, xb, ya, yb, r, s []uint64) {
	n := len(z)
	xa, xb, ya, yb, r, s = xa[:n], xb[:n], ya[:n], yb[:n], r[:n], s[:n]
	for i := range z {
		z[i] = xa[i]&(ya[i]^yb[i]) ^ xb[i]&ya[i] ^ r[i] ^ s[i]
	}
}

// AndFlags gives x ∧ y bit by bit.
func (e *Engine) AndFlags(x, y Flags) Flags {
	w := e.And(Words{x.a, x.b}, Words{y.a, y.b})
	return Flags{w.a, w.b, x.n}
}

// component is the column whose part j is x's part j and whose others are zero.
func (e *Engine) component(x Vec, j int) Words {
	out := newWords(x.Len())
	if e.me == j {
		copy(out.a, x.a)
	}
	if e.after() == j {
		copy(out.b, x.b)
	}
	return out
}

// Bits gives the 64 bits of each integer: x0 + x1 + x2 by a carry-save and a Kogge-Stone adder, 104 bytes a row and party, 8 rounds.
func (e *Engine) Bits(x Vec) Words {
	n := x.Len()
	if !e.begin(OpBits, true, n) {
		return newWords(n)
	}
	c0, c1, c2 := e.component(x, 0), e.component(x, 1), e.component(x, 2)
	u, v := e.Xor(c0, c2), e.Xor(c1, c2)
	carry := shift(e.Xor(e.and(u, v), c2), 1)
	sum := e.Xor(u, c1)
	return e.adder(sum, carry)
}

// adder gives s + t modulo 2^64.
func (e *Engine) adder(s, t Words) Words {
	n := s.Len()
	half := e.Xor(s, t)
	p, g := half, e.and(s, t)
	for d := uint(1); d < 64; d *= 2 {
		if d == 32 {
			g = e.Xor(g, e.and(p, shift(g, d)))
			break
		}
		both := e.and(concatWords(p, p), concatWords(shift(g, d), shift(p, d)))
		g, p = e.Xor(g, both.Slice(0, n)), both.Slice(n, 2*n)
	}
	return e.Xor(half, shift(g, 1))
}

func shift(w Words, d uint) Words {
	out := newWords(w.Len())
	for i := range w.a {
		out.a[i], out.b[i] = w.a[i]<<d, w.b[i]<<d
	}
	return out
}

// mirror moves the bit of each place to the place whose number has its six digits in the other order: three exchanges of digits. In this
// order the upper half of a word holds the odd bits, the upper half of that half every fourth, and so on, so that neighbours are halves.
func mirror(w uint64) uint64 {
	t := (w ^ w>>31) & 0x00000000aaaaaaaa // digit 0 with digit 5
	w ^= t ^ t<<31
	t = (w ^ w>>14) & 0x0000cccc0000cccc // 1 with 4
	w ^= t ^ t<<14
	t = (w ^ w>>4) & 0x00f000f000f000f0 // 2 with 3
	return w ^ t ^ t<<4
}

// mirrored gives the words mirrored, exclusive or a public word.
func (e *Engine) mirrored(x Words, c uint64) Words {
	out := newWords(x.Len())
	var ca, cb uint64
	switch e.me { // the component 0
	case 0:
		ca = c
	case 2:
		cb = c
	}
	for i := range x.a {
		out.a[i], out.b[i] = mirror(x.a[i])^ca, mirror(x.b[i])^cb
	}
	return out
}

func xorInto(z, x, y []uint64) {
	y, z = y[:len(x)], z[:len(x)]
	for i := range x {
		z[i] = x[i] ^ y[i]
	}
}

// lanes has the lower half of every group of so many bits set.
func lanes(width int) uint64 {
	m := uint64(1)<<(width/2) - 1
	for ; width < 64; width *= 2 {
		m |= m << width
	}
	return m
}

// fold halves the bits an element has: of each group of width bits it takes the upper or the lower half, two words into one, so that
// messages halve with every level. Elements end in mirrored places.
func fold(dst, w Words, width int, upper bool) {
	h, m := width/2, lanes(width)
	for _, x := range [][2][]uint64{{dst.a, w.a}, {dst.b, w.b}} {
		to, from := x[0], x[1]
		for i := range to {
			a, b := from[2*i], uint64(0)
			if 2*i+1 < len(from) {
				b = from[2*i+1]
			}
			if upper {
				to[i] = a>>h&m | b&^m
			} else {
				to[i] = a&m | b<<h&^m
			}
		}
	}
}

// LT says for each row whether x < y as int64, exact for all values: about 24 bytes a row and party, 7 rounds.
func (e *Engine) LT(x, y Words) Flags {
	n := x.Len()
	if !e.begin(OpLT, n == y.Len(), n) {
		return newFlags(n)
	}
	// The sign bit flipped, the order is that of unsigned words. x is complemented: ¬x ∧ y is less, ¬x ⊕ y is the same.
	sign := mirror(1 << 63)
	nx, ny := e.mirrored(x, ^sign), e.mirrored(y, sign)
	less := e.and(nx, ny)
	same := e.Xor(nx, ny)
	for w := 64; w > 1; w /= 2 {
		m := (less.Len() + 1) / 2
		// One message: what is the same above, and the lower half's answer, and whether both halves are the same.
		times := 2
		if w == 2 { // nobody asks any more whether the rest is the same
			times = 1
		}
		up, left, right := newWords(m), newWords(times*m), newWords(times*m)
		fold(up, less, w, true)
		fold(left.Slice(0, m), same, w, true)
		fold(right.Slice(0, m), less, w, false)
		if times == 2 {
			copy(left.a[m:], left.a[:m])
			copy(left.b[m:], left.b[:m])
			fold(right.Slice(m, 2*m), same, w, false)
		}
		z := e.and(left, right)
		xorInto(up.a, up.a, z.a[:m])
		xorInto(up.b, up.b, z.b[:m])
		less, same = up, z.Slice(m, times*m)
	}
	less = e.mirrored(less, 0)
	return Flags{less.a, less.b, n}
}

// EQ says for each row whether x = y: about 8 bytes a row and party, 6 rounds.
func (e *Engine) EQ(x, y Words) Flags {
	n := x.Len()
	if !e.begin(OpEQ, n == y.Len(), n) {
		return newFlags(n)
	}
	same := e.XorPublic(e.Xor(x, y), ^uint64(0))
	for w := 64; w > 1; w /= 2 {
		m := (same.Len() + 1) / 2
		up, low := newWords(m), newWords(m)
		fold(up, same, w, true)
		fold(low, same, w, false)
		same = e.and(up, low)
	}
	same = e.mirrored(same, 0)
	return Flags{same.a, same.b, n}
}

// Select gives x where the flag is 1, else y: 8 bytes a row and party, one round.
func (e *Engine) Select(f Flags, x, y Words) Words {
	n := x.Len()
	if !e.begin(OpSelect, n == y.Len() && n == f.n, n) {
		return newWords(n)
	}
	mask := newWords(n)
	each(n, func(i int) {
		mask.a[i] = -(f.a[i/64] >> (i % 64) & 1)
		mask.b[i] = -(f.b[i/64] >> (i % 64) & 1)
	})
	return e.Xor(y, e.and(mask, e.Xor(x, y)))
}

// Vec gives flags as integers 0 and 1: 16 bytes a row and party, two rounds.
func (e *Engine) Vec(f Flags) Vec {
	if !e.begin(OpVec, true, f.n) {
		return newVec(f.n)
	}
	var bit [3]Vec
	for j := range bit {
		bit[j] = newVec(f.n)
		each(f.n, func(i int) {
			if e.me == j {
				bit[j].a[i] = f.a[i/64] >> (i % 64) & 1
			}
			if e.after() == j {
				bit[j].b[i] = f.b[i/64] >> (i % 64) & 1
			}
		})
	}
	return e.exclusive(e.exclusive(bit[0], bit[1]), bit[2])
}

// exclusive gives x ⊕ y of integers 0 and 1: x + y - 2xy.
func (e *Engine) exclusive(x, y Vec) Vec {
	return e.Sub(e.Add(x, y), e.Scale(e.Mul(x, y), 2))
}

// SelectVec gives x where the flag is 1, else y, for a flag as an integer 0 or 1: 8 bytes a row and party, one round.
func (e *Engine) SelectVec(f, x, y Vec) Vec { return e.Add(y, e.Mul(f, e.Sub(x, y))) }

// ShiftRight gives each word's bits from place d on, without a message.
func (e *Engine) ShiftRight(x Words, d uint) Words {
	out := newWords(x.Len())
	for i := range x.a {
		out.a[i], out.b[i] = x.a[i]>>d, x.b[i]>>d
	}
	return out
}

// JoinWords puts columns one after the other, in a new one.
func JoinWords(ws ...Words) Words { return concatWords(ws...) }

// Integers gives words as integers modulo 2^64, for the few that decide something: 1 KB a row and party, two rounds.
func (e *Engine) Integers(x Words) Vec {
	n := x.Len()
	all := newFlags(64 * n)
	copy(all.a, x.a)
	copy(all.b, x.b)
	bits := e.Vec(all)
	out := newVec(n)
	for i := range n {
		for k := range 64 {
			out.a[i] += bits.a[64*i+k] << k
			out.b[i] += bits.b[64*i+k] << k
		}
	}
	return out
}

// ZeroWords gives a column of zeros, without a message.
func (e *Engine) ZeroWords(n int) Words { return newWords(n) }
