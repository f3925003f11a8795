package share

// Sort puts the rows in the order of their keys, the lowest keyBits bits as unsigned, equal keys in the order they had: radix sort by
// one bit after the other, each with a shuffle that hides where rows go before their places are opened. A key column is words; it
// comes back first among the words. Per key bit and party 48 bytes a row and 16 for each column, the key among them, 7 rounds.
func (e *Engine) Sort(key Words, keyBits int, t Table) (Words, Table) {
	n, ok := t.rows()
	if len(t.all()) == 0 {
		n, ok = key.Len(), true
	}
	if !e.begin(OpSort, ok && n == key.Len() && keyBits >= 0 && keyBits <= 64, n) {
		return key, t
	}
	e.note("key bits", keyBits)
	for k := range keyBits {
		bit := newFlags(n)
		each(n, func(i int) {
			bit.a[i/64] |= key.a[i] >> k & 1 << (i % 64)
			bit.b[i/64] |= key.b[i] >> k & 1 << (i % 64)
		})
		// Row i goes behind the zeros before it if its bit is 0, else behind all zeros and the ones before it.
		b := e.Vec(bit)
		place := newVec(n)
		one := e.Public([]uint64{1})
		var za, zb uint64
		for i := range n {
			place.a[i], place.b[i] = za, zb
			za, zb = za+one.a[0]-b.a[i], zb+one.b[0]-b.b[i]
		}
		jump := newVec(n)
		for i := range n {
			jump.a[i], jump.b[i] = za-2*place.a[i], zb-2*place.b[i]
			switch e.me {
			case 0:
				jump.a[i] += uint64(i)
			case 2:
				jump.b[i] += uint64(i)
			}
		}
		place = e.Add(place, e.Mul(b, jump))
		moved := e.Shuffle(Table{Vecs: append([]Vec{place}, t.Vecs...), Words: append([]Words{key}, t.Words...)})
		place = moved.Vecs[0]
		cols := Table{Vecs: moved.Vecs[1:], Words: moved.Words}
		// Places made by a wrong message would say something about keys.
		if e.Verify(); e.err != nil {
			return key, t
		}
		missing := e.open(place.a, place.b)
		if e.err != nil {
			return key, t
		}
		e.opened += n
		to := make([]uint64, n)
		seen := make([]bool, n)
		for i := range to {
			to[i] = place.a[i] + place.b[i] + missing[i]
			if to[i] >= uint64(n) || seen[to[i]] {
				e.accuse(-1, "opened places are a permutation")
				return key, t
			}
			seen[to[i]] = true
		}
		sorted := make([]Vec, 0, len(cols.all()))
		for _, c := range cols.all() {
			out := newVec(n)
			for i, p := range to {
				out.a[p], out.b[p] = c.a[i], c.b[i]
			}
			sorted = append(sorted, out)
		}
		back := cols.shape(sorted)
		key, t = back.Words[0], Table{Vecs: back.Vecs, Words: back.Words[1:]}
	}
	return key, t
}

// Scan gives running sums that start anew with every segment: same is 1 where a row belongs to the segment of the row before it, else 0.
// It takes ⌈log2 rows⌉ rounds of 16 bytes a row and party.
func (e *Engine) Scan(v, same Vec) Vec {
	n := v.Len()
	if !e.begin(OpScan, n == same.Len(), n) {
		return v
	}
	f := same
	for d := 1; d < n; d *= 2 {
		m := n - d
		late := f.Slice(d, n)
		z := e.Mul(Concat(late, late), Concat(v.Slice(0, m), f.Slice(0, m)))
		v = Concat(v.Slice(0, d), e.Add(v.Slice(d, n), z.Slice(0, m)))
		// The first row has no row before it, whatever its flag says: products with what is not there are zero.
		f = Concat(newVec(d), z.Slice(m, 2*m))
	}
	return v
}

// GroupSum groups rows by a secret key and gives, in the order of keys, the running sum of each value column within its group and a flag
// that is 1 on each group's last row, where the running sum is the group's. Neither keys nor the groups' sizes are opened.
func (e *Engine) GroupSum(key Words, keyBits int, values []Vec) (Words, []Vec, Vec) {
	key, t := e.Sort(key, keyBits, Table{Vecs: values})
	n := key.Len()
	if n == 0 || e.err != nil {
		return key, t.Vecs, newVec(n)
	}
	same := Concat(newVec(1), e.Vec(e.EQ(key.Slice(1, n), key.Slice(0, n-1))))
	out := make([]Vec, len(t.Vecs))
	for i, v := range t.Vecs {
		out[i] = e.Scan(v, same)
	}
	// The last row of a group is the one whose successor is of another group, or is not.
	last := e.Sub(e.Public(ones(n)), Concat(same.Slice(1, n), newVec(1)))
	return key, out, last
}

func ones(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// Truncate gives x / 2^places, for fixed-point products: |x| < 2^bound, result within 1 unit of the exact quotient, except with
// probability at most 2^(bound-63) a row, where it is off by about 2^(64-places) (SecureML, ePrint 2017/396, theorem 1, with one side
// x0 + x1, the other x2). 8 bytes a row, one round.
func (e *Engine) Truncate(x Vec, places uint) Vec {
	n := x.Len()
	if !e.begin(OpTrunc, places > 0 && places < 63, n) {
		return newVec(n)
	}
	e.note("places", int(places))
	out := newVec(n)
	tag := e.step()
	e.rounds++
	other := func(dst, src []uint64) { // part 2, known to 1 and 2
		each(n, func(i int) { dst[i] = -uint64(int64(-src[i]) >> places) })
	}
	switch e.me {
	case 0: // part 0 is common with 2, part 1 goes to 1
		e.prev.fill(out.a, e.reserve(e.prev, n))
		each(n, func(i int) { out.b[i] = uint64(int64(x.a[i]+x.b[i])>>places) - out.a[i] })
		e.send(1, tag, out.b)
	case 1:
		e.post(0, tag, out.a)()
		other(out.b, x.b)
	case 2:
		other(out.a, x.a)
		e.next.fill(out.b, e.reserve(e.next, n))
	}
	return out
}

// MulFixed gives the product of fixed-point columns with places binary places each, with Truncate's error.
func (e *Engine) MulFixed(x, y Vec, places uint) Vec { return e.Truncate(e.Mul(x, y), places) }
