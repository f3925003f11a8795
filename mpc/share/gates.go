package share

import "crypto/subtle"

const (
	weighBits = 48 // random bits of a weight, each word of gates having one
	digitBits = 6  // of them that together choose a bucket
	digits    = weighBits / digitBits
	buckets   = digits << digitBits
)

// gate remembers and-gates, word by word, in portions whose proof is bounded.
func (e *Engine) gate(c claim) {
	if e.adversary != MaliciousAbort {
		return
	}
	for c.z.Len() > 0 && e.err == nil {
		room := maxGates - e.gateWords
		if room < 2 { // portions begin with a pair of words, as masks are drawn
			e.Verify()
			continue
		}
		n := min(room-room%2, c.z.Len())
		head := c
		head.x, head.y, head.z = c.x.Slice(0, n), c.y.Slice(0, n), c.z.Slice(0, n)
		e.gates = append(e.gates, head)
		e.gateWords += n
		c.x, c.y, c.z = c.x.Slice(n, c.x.Len()), c.y.Slice(n, c.y.Len()), c.z.Slice(n, c.z.Len())
		c.at0, c.at1 = c.at0+uint64(n/2), c.at1+uint64(n/2)
	}
}

// verifyBits proves and-gates and the places of shuffled words, over GF(2^64).
func (e *Engine) verifyBits() {
	gates, moves, words, rows := e.gates, e.wordMoves, e.gateWords, e.wordRows
	if e.err != nil || words+rows == 0 {
		return
	}
	e.gates, e.wordMoves, e.gateWords, e.wordRows = nil, nil, 0, 0
	e.note(OpVerify, words+rows)
	weights := e.coin()
	if e.err != nil {
		return
	}
	length := 2 * (words + rows)
	p := &proof[uint64]{e: e, ring: &field}
	size := p.padded(length)
	p.prove = side[uint64]{u: make([]uint64, size), v: make([]uint64, size)}
	p.of.u, p.by.v = make([]uint64, size), make([]uint64, size)
	if words > 0 {
		e.foldBits(p, gates, weights, words)
	}
	if e.err != nil {
		return
	}
	e.placeWords(p, moves, weights, 2*words)
	p.run(length)
}

// foldBits is the first cut of and-gates, whose blocks are the 64 places of a word: the prover shares the 64 by 64 inner products of the places of u with
// those of v, where entry 2k is u = x_i, v = y_(i+1) of word k and entry 2k+1 is u = y_i, v = x_(i+1), both under the word's weight.
// The place b of a word weighs x^b besides. Then coins make an element of each word.
func (e *Engine) foldBits(p *proof[uint64], gates []claim, weights *stream, words int) {
	alpha := make([]uint64, words)
	weights.fill(alpha, e.reserve(weights, words))
	var table products
	table.buckets = make([]uint64, buckets*64)
	m, known := make([]uint64, chunk), make([]uint64, chunk)
	at := 0
	for _, c := range gates {
		for lo := 0; lo < c.z.Len(); lo += chunk {
			n := min(chunk, c.z.Len()-lo)
			x, y, z := c.x.Slice(lo, lo+n), c.y.Slice(lo, lo+n), c.z.Slice(lo, lo+n)
			w := alpha[at : at+n]
			at += n
			for k := range w {
				w[k] &= 1<<weighBits - 1
			}
			if e.cheat != nil {
				e.cheat("weights of gates", w)
			}
			for k := range w {
				table.add(w[k], x.a[k], y.b[k], y.a[k], x.b[k])
			}
			e.next.fill(m[:n], c.at1+uint64(lo/2)) // F of the party after, which proves towards me as the party before it
			for k := range n {
				known[k] = z.b[k] ^ x.b[k]&y.b[k] ^ m[k]
			}
			p.of.t ^= fieldInner(w, known[:n])
			e.prev.fill(m[:n], c.at0+uint64(lo/2)) // F that the party before and I have in common: its mask's other half
			p.by.t ^= fieldInner(w, m[:n])
		}
	}
	mine := table.matrix()
	if e.cheat != nil {
		e.cheat("products of places", mine)
	}
	theirs, given := e.share(mine, func(x, y []uint64) { xorInto(x, x, y) })
	if e.err != nil {
		return
	}
	coin := e.coin()
	if e.err != nil {
		return
	}
	coins := make([]uint64, 2*64)
	coin.fill(coins, e.reserve(coin, len(coins)))
	left, right := (*[64]uint64)(coins), (*[64]uint64)(coins[64:])
	places(&p.of, given, left, right)
	places(&p.by, theirs, left, right)

	at = 0
	for _, c := range gates {
		for k := range c.z.Len() {
			w, i := alpha[at], 2*at
			at++
			p.prove.u[i], p.prove.u[i+1] = fieldMul(w, linear(left, c.x.a[k])), fieldMul(w, linear(left, c.y.a[k]))
			p.prove.v[i], p.prove.v[i+1] = linear(right, c.y.b[k]), linear(right, c.x.b[k])
			p.of.u[i], p.of.u[i+1] = fieldMul(w, linear(left, c.x.b[k])), fieldMul(w, linear(left, c.y.b[k]))
			p.by.v[i], p.by.v[i+1] = linear(right, c.y.a[k]), linear(right, c.x.a[k])
		}
	}
}

// places takes a verifier's share of the matrix of places, as round does of blocks.
func places(s *side[uint64], g []uint64, left, right *[64]uint64) {
	trace, t := uint64(0), uint64(0)
	for i := range 64 {
		row := g[64*i : 64*i+64]
		trace ^= fieldMul(row[i], 1<<i)
		t ^= fieldMul(fieldInner(row, right[:]), left[i])
	}
	s.sums = append(s.sums, trace^s.t)
	s.t = t
}

// products sums weight · (u ⊗ v) over words: each digit of the weight has a bucket for each value where the 64 by 64 bits of u ⊗ v go, so that a
// word costs as many additions as its weight has digits, not bits. Weights are public; u and v index nothing.
type products struct {
	buckets []uint64
	outer   [64]uint64
}

func (p *products) add(weight, u1, v1, u2, v2 uint64) {
	for b := range 64 {
		p.outer[b] = v1&-(u1>>b&1) ^ v2&-(u2>>b&1)
	}
	src := asBytes(p.outer[:])
	for j := range digits {
		at := (j<<digitBits + int(weight>>(digitBits*j)&(1<<digitBits-1))) * 64
		dst := asBytes(p.buckets[at : at+64])
		subtle.XORBytes(dst, dst, src)
	}
}

// matrix gives the sums, row by row, as field elements.
func (p *products) matrix() []uint64 {
	var sums [64][64]uint64 // by bit of the weight and place of u
	for j := range digits {
		all := p.buckets[j<<digitBits*64 : (j+1)<<digitBits*64]
		for s := digitBits - 1; s >= 0; s-- { // the upper half has the bit s set; then both halves are one
			half := 64 << s
			for k := half; k < 2*half; k += 64 {
				xorInto(sums[digitBits*j+s][:], sums[digitBits*j+s][:], all[k:k+64])
			}
			xorInto(all[:half], all[:half], all[half:2*half])
		}
	}
	out := make([]uint64, 64*64)
	for b := range 64 {
		row := (*[64]uint64)(out[64*b:])
		for t := range row {
			row[t] = sums[t][b]
		}
		transpose(row)
	}
	return out
}
