package share

// Add gives x + y, without a message.
func (e *Engine) Add(x, y Vec) Vec {
	out := newVec(x.Len())
	if x.Len() != y.Len() {
		e.begin("add", false, x.Len())
		return out
	}
	addInto(out.a, x.a, y.a)
	addInto(out.b, x.b, y.b)
	return out
}

// Sub gives x - y, without a message.
func (e *Engine) Sub(x, y Vec) Vec {
	out := newVec(x.Len())
	if x.Len() != y.Len() {
		e.begin("sub", false, x.Len())
		return out
	}
	subInto(out.a, x.a, y.a)
	subInto(out.b, x.b, y.b)
	return out
}

func addInto(z, x, y []uint64) {
	y, z = y[:len(x)], z[:len(x)]
	for i := range x {
		z[i] = x[i] + y[i]
	}
}

func subInto(z, x, y []uint64) {
	y, z = y[:len(x)], z[:len(x)]
	for i := range x {
		z[i] = x[i] - y[i]
	}
}

// Scale gives c·x for a public c, without a message.
func (e *Engine) Scale(x Vec, c uint64) Vec {
	out := newVec(x.Len())
	for i := range x.a {
		out.a[i], out.b[i] = c*x.a[i], c*x.b[i]
	}
	return out
}

// Shift gives x + c for a public c, without a message: it goes to the component 0.
func (e *Engine) Shift(x Vec, c uint64) Vec {
	out := newVec(x.Len())
	copy(out.a, x.a)
	copy(out.b, x.b)
	switch e.me {
	case 0:
		each(len(out.a), func(i int) { out.a[i] += c })
	case 2:
		each(len(out.b), func(i int) { out.b[i] += c })
	}
	return out
}

// Public gives a column of public values, without a message.
func (e *Engine) Public(values []uint64) Vec {
	out := newVec(len(values))
	switch e.me {
	case 0:
		copy(out.a, values)
	case 2:
		copy(out.b, values)
	}
	return out
}

// Sum gives the sum of a column as a column of one, without a message. It wraps at 2^64: the plan bounds rows and values.
func (e *Engine) Sum(x Vec) Vec { return Vec{[]uint64{total(x.a)}, []uint64{total(x.b)}} }

// total has four sums so that the additions do not wait for each other.
func total(v []uint64) uint64 {
	var a, b, c, d uint64
	for ; len(v) >= 4; v = v[4:] {
		a += v[0]
		b += v[1]
		c += v[2]
		d += v[3]
	}
	for _, x := range v {
		a += x
	}
	return a + b + c + d
}

// divide makes the parts r and d = v - r of values and gives the sums of both, in one pass.
func divide(d, v, r []uint64) (sr, sd uint64) {
	var r1, d1 uint64
	v, d = v[:len(r)], d[:len(r)]
	for ; len(r) >= 4 && len(v) >= 4 && len(d) >= 4; r, v, d = r[4:], v[4:], d[4:] {
		a, b, c, e := v[0]-r[0], v[1]-r[1], v[2]-r[2], v[3]-r[3]
		d[0], d[1], d[2], d[3] = a, b, c, e
		sr, r1 = sr+(r[0]+r[2]), r1+(r[1]+r[3])
		sd, d1 = sd+(a+c), d1+(b+e)
	}
	for i, x := range r {
		d[i] = v[i] - x
		sr, sd = sr+x, sd+d[i]
	}
	return sr + r1, sd + d1
}

// Input shares a column of this party's own values, or takes its part of another's: owner gives values, the others nil and the public
// number of rows. One message of 8 bytes a row, from the owner to the party after it; it masks every value.
func (e *Engine) Input(owner int, values []uint64, rows int) Vec {
	ok := owner >= 0 && owner < 3 && rows >= 0 && rows <= MaxRows && (e.me != owner && values == nil || e.me == owner && len(values) == rows)
	if !e.begin(OpInput, ok, rows) {
		return newVec(max(0, min(rows, MaxRows)))
	}
	out := newVec(rows)
	// x_owner is the generator's, x_(owner+1) the rest, x_(owner+2) zero: each is known to the two who hold it and to nobody else.
	switch e.me {
	case owner:
		at := e.reserve(e.prev, rows)
		tag := e.step()
		for lo := 0; lo < rows && e.err == nil; lo += chunk {
			hi := min(lo+chunk, rows)
			for k := lo; k < hi; k += piece {
				end := min(k+piece, hi)
				e.prev.fill(out.a[k:end], at+uint64(k/2))
				subInto(out.b[k:end], values[k:end], out.a[k:end])
			}
			e.send(e.after(), tag, out.b[lo:hi])
		}
	case (owner + 1) % 3:
		wait := e.post(owner, e.step(), out.a)
		wait()
	default:
		at := e.reserve(e.next, rows)
		e.step()
		for lo := 0; lo < rows && e.err == nil; lo += chunk {
			e.next.fill(out.b[lo:min(lo+chunk, rows)], at+uint64(lo/2))
		}
	}
	e.rounds++
	return out
}

// ahead is how many message parts of a column are under way at a time, 512 KiB: one after another would wait for the line's delay each time, and many
// more would leave the cache before they are added up.
const ahead = 4

// InputSums is Input and Sum in one for a column of each party that nobody needs afterwards: rows says how many values each has, 0 for none, and
// values are this party's own. All three share at once, in one round; no party holds more of another's column than four message parts.
func (e *Engine) InputSums(values []uint64, rows [3]int) (sums [3]Vec) {
	for i := range sums {
		sums[i] = newVec(1)
	}
	var tags [3]uint32
	for owner, n := range rows {
		if !e.begin(OpInput, n >= 0 && (owner != e.me || len(values) == n), n) {
			return sums
		}
		tags[owner] = e.step()
	}
	e.rounds++
	own, from, far := e.me, e.before(), e.after() // whose values are this party's, arrive, and are masked by what it can generate
	at, mask := e.reserve(e.prev, rows[own]), e.reserve(e.next, rows[far])
	buf := make([]uint64, min(ahead*chunk, rows[from]))
	part := func(lo int) []uint64 { return buf[lo%(ahead*chunk):][:min(chunk, rows[from]-lo)] }
	var waits [ahead]func()
	expect := func(lo int) {
		if lo < rows[from] {
			waits[lo/chunk%ahead] = e.post(from, tags[from], part(lo))
		}
	}
	for lo := 0; lo < ahead*chunk; lo += chunk {
		expect(lo)
	}
	for lo := 0; lo < max(rows[own], rows[far], rows[from]+(ahead-1)*chunk); lo += chunk {
		// Who is at a part has posted for it, and waits only for parts that whoever is as far has sent: nobody who sends waits for one who sends.
		if hi := min(lo+chunk, rows[own]); lo < hi && e.err == nil {
			d := e.f1[:hi-lo]
			for k := lo; k < hi; k += piece {
				end := min(k+piece, hi)
				r := e.f0[:end-k]
				e.prev.fill(r, at+uint64(k/2))
				a, b := divide(d[k-lo:end-lo], values[k:end], r)
				sums[own].a[0], sums[own].b[0] = sums[own].a[0]+a, sums[own].b[0]+b
			}
			e.send(far, tags[own], d)
		}
		if hi := min(lo+chunk, rows[far]); e.err == nil {
			for k := lo; k < hi; k += piece {
				r := e.f0[:min(piece, hi-k)]
				e.next.fill(r, mask+uint64(k/2))
				sums[far].b[0] += total(r)
			}
		}
		if first := lo - (ahead-1)*chunk; first >= 0 && first < rows[from] {
			if waits[first/chunk%ahead](); e.err == nil {
				sums[from].a[0] += total(part(first))
			}
			expect(first + ahead*chunk) // in its place
		}
	}
	return sums
}

// Mul gives x·y modulo 2^64, row by row: 8 bytes a row and party, one round.
func (e *Engine) Mul(x, y Vec) Vec {
	n := x.Len()
	z := newVec(n)
	if !e.begin(OpMul, n == y.Len(), n) {
		return z
	}
	at0, at1 := e.reshare(OpMul, z.a, z.b, func(lo, hi int, r, s []uint64) {
		mulInto(z.a[lo:hi], x.a[lo:hi], x.b[lo:hi], y.a[lo:hi], y.b[lo:hi], r, s)
	})
	e.claim(claim{x: x, y: y, z: z, per: 1, at0: at0, at1: at1})
	return z
}

func mulInto(z, xa, xb, ya, yb, r, s []uint64) {
	n := len(z)
	xa, xb, ya, yb, r, s = xa[:n], xb[:n], ya[:n], yb[:n], r[:n], s[:n]
	for i := range z {
		z[i] = xa[i]*(ya[i]+yb[i]) + xb[i]*ya[i] + r[i] - s[i]
	}
}

// Dot gives the inner products of consecutive groups of per rows, as a column of as many: 8 bytes a group and party, one round.
func (e *Engine) Dot(x, y Vec, per int) Vec {
	groups := 0
	ok := x.Len() == y.Len() && per > 0 && x.Len()%per == 0
	if ok {
		groups = x.Len() / per
	}
	z := newVec(groups)
	if !e.begin(OpDot, ok, x.Len()) {
		return z
	}
	if e.adversary == MaliciousAbort && per > provenDot {
		return e.longDot(x, y, per)
	}
	e.note("groups", groups)
	at0, at1 := e.reshare(OpDot, z.a, z.b, func(lo, hi int, r, s []uint64) {
		for g := lo; g < hi; g++ {
			i, j := g*per, (g+1)*per
			z.a[g] = cross(x.a[i:j], x.b[i:j], y.a[i:j], y.b[i:j]) + r[g-lo] - s[g-lo]
		}
	})
	e.claim(claim{x: x, y: y, z: z, per: per, at0: at0, at1: at1})
	return z
}

// provenDot bounds the factors of one proved inner product; a longer one is the sum of several.
const provenDot = maxTerms / 4

func (e *Engine) longDot(x, y Vec, per int) Vec {
	var out []Vec
	for at := 0; at < x.Len(); at += per {
		whole := per / provenDot * provenDot
		sum := e.Sum(e.Dot(x.Slice(at, at+whole), y.Slice(at, at+whole), provenDot))
		if whole < per {
			sum = e.Add(sum, e.Dot(x.Slice(at+whole, at+per), y.Slice(at+whole, at+per), per-whole))
		}
		out = append(out, sum)
	}
	return Concat(out...)
}

func cross(xa, xb, ya, yb []uint64) (sum uint64) {
	n := len(xa)
	xb, ya, yb = xb[:n], ya[:n], yb[:n]
	for i := range xa {
		sum += xa[i]*(ya[i]+yb[i]) + xb[i]*ya[i]
	}
	return sum
}
