package share

// Scans is Scan for several columns over the same segments: 16·⌈(columns+1)/2⌉ bytes a row, party and round, ⌈log2 rows⌉ rounds.
func (e *Engine) Scans(vs []Vec, same Vec) []Vec {
	n, k := same.Len(), len(vs)
	if !e.begin(OpScan, k > 0 && equalLengths(n, vs), n) {
		return vs
	}
	e.note("columns", k)
	vs = append([]Vec(nil), vs...)
	f := same
	for d := 1; d < n; d *= 2 {
		m := n - d
		late, early := make([]Vec, 0, k+1), make([]Vec, 0, k+1)
		for _, v := range vs {
			late, early = append(late, f.Slice(d, n)), append(early, v.Slice(0, m))
		}
		if 2*d < n { // whether a row reaches further back is asked once more
			late, early = append(late, f.Slice(d, n)), append(early, f.Slice(0, m))
		}
		z := e.Mul(Concat(late...), Concat(early...))
		for c, v := range vs {
			vs[c] = Concat(v.Slice(0, d), e.Add(v.Slice(d, n), z.Slice(c*m, (c+1)*m)))
		}
		if 2*d < n {
			f = Concat(newVec(d), z.Slice(k*m, (k+1)*m))
		}
	}
	return vs
}

// ScansBack is Scans from the last row to the first: same is 1 where a row belongs to the segment of the row before it, and the sum is of
// the row and those behind it in its segment.
func (e *Engine) ScansBack(vs []Vec, same Vec) []Vec {
	n := same.Len()
	if n == 0 || !equalLengths(n, vs) {
		return e.Scans(vs, same)
	}
	// Seen from behind, a row belongs to the segment of the row before it where that row, in the order of the table, belongs to its.
	back := Concat(newVec(1), reversed(same.Slice(1, n)))
	turned := make([]Vec, len(vs))
	for i, v := range vs {
		turned[i] = reversed(v)
	}
	out := e.Scans(turned, back)
	for i, v := range out {
		turned[i] = reversed(v)
	}
	return turned
}

func reversed(v Vec) Vec {
	n := v.Len()
	out := newVec(n)
	for i := range n {
		out.a[i], out.b[i] = v.a[n-1-i], v.b[n-1-i]
	}
	return out
}

func equalLengths(n int, vs []Vec) bool {
	for _, v := range vs {
		if v.Len() != n {
			return false
		}
	}
	return true
}

// mask gives flags as words of all zeros or all ones, without a message.
func mask(f Flags) Words {
	out := newWords(f.n)
	each(f.n, func(i int) {
		out.a[i], out.b[i] = -(f.a[i/64] >> (i % 64) & 1), -(f.b[i/64] >> (i % 64) & 1)
	})
	return out
}

// ScanTop gives, for every row and column, the largest and the second largest value of its segment up to it; same says whether a row belongs
// to the segment of the row before it. Values are 0 to 2^63-1, and 0 where a segment has fewer. About 100 bytes a row, column, party and
// round of ⌈log2 rows⌉, each of 17 messages.
func (e *Engine) ScanTop(vs []Words, same Flags) (first, second []Words) {
	n, k := same.n, len(vs)
	ok := k > 0
	for _, v := range vs {
		ok = ok && v.Len() == n
	}
	if !e.begin(OpTop, ok, n) {
		return vs, vs
	}
	e.note("columns", k)
	// Column by column, one after the other. Windows of rows double, and those that meet share no row: nobody is counted twice.
	high, low, f := concatWords(vs...), newWords(k*n), mask(same)
	for d := 1; d < n; d *= 2 {
		m := n - d
		reach := make([]Words, k)
		for c := range reach {
			reach[c] = f.Slice(d, n)
		}
		all := concatWords(reach...)
		far := e.And(concatWords(all, all, f.Slice(d, n)), concatWords(cut2(high, n, k, 0, m), cut2(low, n, k, 0, m), f.Slice(0, m)))
		xh, xl := far.Slice(0, k*m), far.Slice(k*m, 2*k*m)
		yh, yl := cut2(high, n, k, d, n), cut2(low, n, k, d, n)
		less := mask(e.LT(yh, xh))
		both := e.And(concatWords(less, less), concatWords(e.Xor(yh, xh), e.Xor(yl, xl)))
		top := e.Xor(yh, both.Slice(0, k*m))
		loser := e.Xor(e.Xor(yh, xh), top)
		rest := e.Xor(yl, both.Slice(k*m, 2*k*m)) // the winner's second
		next := e.Xor(loser, e.And(mask(e.LT(loser, rest)), e.Xor(loser, rest)))
		high, low = splice(high, top, n, k, d), splice(low, next, n, k, d)
		f = concatWords(newWords(d), far.Slice(2*k*m, 2*k*m+m))
	}
	for c := range k {
		first, second = append(first, high.Slice(c*n, (c+1)*n)), append(second, low.Slice(c*n, (c+1)*n))
	}
	return first, second
}

// cut2 gives rows lo to hi of each of k columns of n rows.
func cut2(w Words, n, k, lo, hi int) Words {
	out := make([]Words, k)
	for c := range out {
		out[c] = w.Slice(c*n+lo, c*n+hi)
	}
	return concatWords(out...)
}

// splice gives k columns whose rows from d on are others.
func splice(w, late Words, n, k, d int) Words {
	m := n - d
	var out []Words
	for c := range k {
		out = append(out, w.Slice(c*n, c*n+d), late.Slice(c*m, (c+1)*m))
	}
	return concatWords(out...)
}

// Arrange is Sort for tables of many columns: the key alone is sorted, with the rows' numbers, and the other columns go once to where that
// puts them. Per key bit and party 80 bytes a row and 7 rounds, and once 16 for each column and 112, 8 rounds.
func (e *Engine) Arrange(key Words, keyBits int, t Table) (Words, Table) {
	n, ok := t.rows()
	if len(t.all()) == 0 {
		return e.Sort(key, keyBits, t)
	}
	if !e.begin(OpArrange, ok && n == key.Len() && keyBits >= 0 && keyBits <= 64, n) {
		return key, t
	}
	e.note("columns", len(t.all()))
	number := make([]uint64, n)
	each(n, func(i int) { number[i] = uint64(i) })
	key, sorted := e.Sort(key, keyBits, Table{Vecs: []Vec{e.Public(number)}})
	if e.err != nil {
		return key, t
	}
	// Which row stands in which place, turned round: in which place each row is to stand. Both are opened behind a shuffle.
	goes, ok := e.inPlace(sorted.Vecs[0], Table{Vecs: []Vec{e.Public(number)}})
	if !ok {
		return key, t
	}
	moved, ok := e.inPlace(goes.Vecs[0], t)
	if !ok {
		return key, t
	}
	return key, moved
}

// inPlace puts each row where its place says, places being a permutation: shuffled first, so that what is opened is a uniformly random one.
func (e *Engine) inPlace(place Vec, t Table) (Table, bool) {
	n := place.Len()
	moved := e.Shuffle(Table{Vecs: append([]Vec{place}, t.Vecs...), Words: t.Words})
	to := e.places(moved.Vecs[0])
	if e.err != nil {
		return t, false
	}
	seen := make([]bool, n)
	for _, p := range to {
		if p >= uint64(n) || seen[p] {
			e.accuse(-1, "opened places are a permutation")
			return t, false
		}
		seen[p] = true
	}
	cols := Table{Vecs: moved.Vecs[1:], Words: moved.Words}
	out := make([]Vec, 0, len(cols.all()))
	for _, c := range cols.all() {
		v := newVec(n)
		for i, p := range to {
			v.a[p], v.b[p] = c.a[i], c.b[i]
		}
		out = append(out, v)
	}
	return cols.shape(out), true
}

// places opens a shuffled column.
func (e *Engine) places(v Vec) []uint64 {
	// Numbers made by a wrong message would say something about rows.
	if e.Verify(); e.err != nil {
		return nil
	}
	missing := e.open(v.a, v.b)
	if e.err != nil {
		return nil
	}
	e.opened += v.Len()
	to := make([]uint64, v.Len())
	for i := range to {
		to[i] = v.a[i] + v.b[i] + missing[i]
	}
	return to
}

// Pick gives the rows numbered 1 to count, in that order; the others are numbered 0. All are shuffled first, so that the opened numbers tell
// nothing about where the rows stood: 16 bytes a row and column and party, 24 for the numbers, 4 rounds.
func (e *Engine) Pick(number Vec, count int, t Table) Table {
	n, ok := t.rows()
	if !e.begin(OpPick, ok && n == number.Len() && count >= 0 && count <= n, n) {
		return t
	}
	e.note("picked", count)
	moved := e.Shuffle(Table{Vecs: append([]Vec{number}, t.Vecs...), Words: t.Words})
	numbers := e.places(moved.Vecs[0])
	if e.err != nil {
		return t
	}
	at := make([]int, count)
	for i := range at {
		at[i] = -1
	}
	for i, v := range numbers {
		if v == 0 {
			continue
		}
		if v > uint64(count) || at[v-1] >= 0 {
			e.accuse(-1, "each number is picked once")
			return t
		}
		at[v-1] = i
	}
	cols := Table{Vecs: moved.Vecs[1:], Words: moved.Words}
	out := make([]Vec, 0, len(cols.all()))
	for _, c := range cols.all() {
		v := newVec(count)
		for k, i := range at {
			if i < 0 {
				e.accuse(-1, "each number is picked once")
				return t
			}
			v.a[k], v.b[k] = c.a[i], c.b[i]
		}
		out = append(out, v)
	}
	return cols.shape(out)
}
