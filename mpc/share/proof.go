package share

// ring is what a proof computes over, with its kernels: integers modulo 2^128, or GF(2^64).
type ring[T comparable] struct {
	words, blocks int // words of an element, blocks of a vector at most
	get           func(w []uint64) T
	put           func(w []uint64, x T)
	add, sub, mul func(x, y T) T
	inner         func(x, y []T) T
	mix           func(out, v []T, c T)
}

const leftOver = 32 // entries that are shown at the end at most

// side is one proof as one party sees it: as prover it has u and v, as the neighbour before the prover u, as the one after v.
type side[T comparable] struct {
	u, v []T
	t    T   // the verifier's share of <u, v>
	sums []T // what the two verifiers' shares must sum to zero in, one for each round
}

// proof is three proofs side by side: this party's, that of the party after (whose u is held here) and of the party before (whose v is).
type proof[T comparable] struct {
	e             *Engine
	ring          *ring[T]
	prove, of, by side[T]
}

// cut says into how many blocks of which length a vector goes, and whether it is the last round.
func (p *proof[T]) cut(length int) (blocks, size int, last bool) {
	if length <= leftOver {
		return 1, length, true
	}
	size = (length + p.ring.blocks - 1) / p.ring.blocks
	return (length + size - 1) / size, size, size <= leftOver
}

func (p *proof[T]) padded(length int) int {
	b, n, _ := p.cut(length)
	return b * n
}

// run proves <u, v> = t for vectors of so many entries, longer by their padding.
func (p *proof[T]) run(length int) {
	p.reduce(length)
	p.finish()
}

// share gives the verifiers their halves of what this party claims as prover: the one before has its half from the generator, the one
// after gets the rest. theirs is this party's half of what the party before claims, given that of what the party after does.
func (e *Engine) share(mine []uint64, sub func(x, y []uint64)) (theirs, given []uint64) {
	theirs, given = make([]uint64, len(mine)), make([]uint64, len(mine))
	at, nextAt := e.reserve(e.prev, len(mine)), e.reserve(e.next, len(mine))
	if e.err != nil {
		return theirs, given
	}
	e.prev.fill(given, at)
	sub(mine, given)
	e.pass(e.after(), mine, e.before(), theirs)
	e.next.fill(given, nextAt)
	return theirs, given
}

// less takes the elements y from those of x.
func (p *proof[T]) less(x, y []uint64) {
	for k := 0; k < len(x); k += p.ring.words {
		p.ring.put(x[k:], p.ring.sub(p.ring.get(x[k:]), p.ring.get(y[k:])))
	}
}

// reduce cuts the vectors until little is left.
func (p *proof[T]) reduce(length int) {
	e, r := p.e, p.ring
	for e.err == nil {
		blocks, n, last := p.cut(length)
		all := blocks
		if last { // a block of randomness, known to prover and verifier, hides what will be shown
			all++
			p.prove.u = p.random(p.prove.u, blocks*n, n, e.prev)
			p.of.u = p.random(p.of.u, blocks*n, n, e.next)
			p.prove.v = p.random(p.prove.v, blocks*n, n, e.next)
			p.by.v = p.random(p.by.v, blocks*n, n, e.prev)
		}
		mine := p.gram(all, n)
		if e.cheat != nil {
			e.cheat("products of blocks", mine)
		}
		theirs, given := e.share(mine, p.less)
		if e.err != nil {
			return
		}
		coin := e.coin()
		if e.err != nil {
			return
		}
		draw := p.random(nil, 0, 2*all, coin)
		left, right := draw[:all], draw[all:]
		if last {
			one := make([]uint64, r.words)
			one[0] = 1
			left[blocks], right[blocks] = r.get(one), r.get(one)
		}
		p.of.round(r, given, blocks, all, left, right)
		p.by.round(r, theirs, blocks, all, left, right)
		p.prove.u, p.prove.v = p.combine(p.prove.u, left, n), p.combine(p.prove.v, right, n)
		p.of.u, p.by.v = p.combine(p.of.u, left, n), p.combine(p.by.v, right, n)
		if last {
			return
		}
		length = n
		grow := p.padded(length)
		for _, v := range []*[]T{&p.prove.u, &p.prove.v, &p.of.u, &p.by.v} {
			*v = append(*v, make([]T, grow-n)...)
		}
	}
}

// random appends n entries from a generator behind the first at entries.
func (p *proof[T]) random(v []T, at, n int, s *stream) []T {
	w := make([]uint64, p.ring.words*n)
	from := p.e.reserve(s, len(w))
	if p.e.err == nil {
		s.fill(w, from)
	}
	v = v[:at:at]
	for k := 0; k < len(w); k += p.ring.words {
		v = append(v, p.ring.get(w[k:]))
	}
	return v
}

// gram gives the inner products of all blocks of u with all blocks of v, as words; a tile of the blocks at a time stays near.
func (p *proof[T]) gram(blocks, n int) []uint64 {
	const tile = 512
	u, v := p.prove.u, p.prove.v
	sums := make([]T, blocks*blocks)
	for lo := 0; lo < n; lo += tile {
		hi := min(lo+tile, n)
		for i := range blocks {
			for j := range blocks {
				sums[i*blocks+j] = p.ring.add(sums[i*blocks+j], p.ring.inner(u[i*n+lo:i*n+hi], v[j*n+lo:j*n+hi]))
			}
		}
	}
	return p.flat(sums)
}

func (p *proof[T]) flat(v []T) []uint64 {
	out := make([]uint64, p.ring.words*len(v))
	for k, x := range v {
		p.ring.put(out[k*p.ring.words:], x)
	}
	return out
}

// round takes a verifier's share of the matrix: the trace of the real blocks against t, then t anew.
func (s *side[T]) round(r *ring[T], g []uint64, blocks, all int, left, right []T) {
	var trace, t T
	for i := range all {
		var row T
		for j := range all {
			x := r.get(g[r.words*(i*all+j):])
			row = r.add(row, r.mul(x, right[j]))
			if i == j && i < blocks {
				trace = r.add(trace, x)
			}
		}
		t = r.add(t, r.mul(row, left[i]))
	}
	s.sums = append(s.sums, r.sub(trace, s.t))
	s.t = t
}

// combine gives the sum of the blocks by their coins.
func (p *proof[T]) combine(v, coins []T, n int) []T {
	out := make([]T, n)
	if len(v) == 0 {
		return out
	}
	for b, c := range coins {
		p.ring.mix(out, v[b*n:(b+1)*n], c)
	}
	return out
}

// finish shows the other verifier of each proof what is left, and compares.
func (p *proof[T]) finish() {
	e := p.e
	if e.err != nil {
		return
	}
	// The other verifier of the proof of the party after is the party before, and the other way round.
	mine := p.flat(append(append(p.of.u[:len(p.of.u):len(p.of.u)], p.of.sums...), p.of.t))
	other := p.flat(append(append(p.by.v[:len(p.by.v):len(p.by.v)], p.by.sums...), p.by.t))
	if e.cheat != nil {
		e.cheat("last vectors", mine)
	}
	fromPrev, fromNext := make([]uint64, len(mine)), make([]uint64, len(other))
	e.both(mine, other, fromPrev, fromNext)
	if e.err != nil {
		return
	}
	if !p.agree(p.of.u, &p.of, fromPrev) || !p.agree(p.by.v, &p.by, fromNext) {
		e.accuse(-1, "every product is proved")
	}
}

// agree says whether the two verifiers' halves make a true claim; both make the same decision.
func (p *proof[T]) agree(v []T, s *side[T], got []uint64) bool {
	r := p.ring
	at := func(k int) T { return r.get(got[k*r.words:]) }
	var product, zero T
	for k := range v {
		product = r.add(product, r.mul(v[k], at(k)))
	}
	ok := true
	for k := range s.sums {
		ok = ok && r.add(s.sums[k], at(len(v)+k)) == zero
	}
	return ok && r.add(s.t, at(len(v)+len(s.sums))) == product
}
