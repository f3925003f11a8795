package share

import (
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// Table (分享表) is columns of one length that move together.
type Table struct {
	Vecs  []Vec
	Words []Words
}

func (t Table) rows() (n int, ok bool) {
	n = -1
	for _, c := range t.all() {
		if n == -1 {
			n = c.Len()
		}
		if c.Len() != n {
			return 0, false
		}
	}
	return n, n >= 0
}

func (t Table) all() []Vec {
	out := append([]Vec(nil), t.Vecs...)
	for _, w := range t.Words {
		out = append(out, Vec(w))
	}
	return out
}

// shape gives a table of the same kinds with other columns.
func (t Table) shape(cols []Vec) Table {
	out := Table{Vecs: cols[:len(t.Vecs):len(t.Vecs)]}
	for _, c := range cols[len(t.Vecs):] {
		out.Words = append(out.Words, Words(c))
	}
	return out
}

// Shuffle puts the rows in a uniformly random order that no party knows: three times two parties permute what they hold together, by
// an order the third does not know, and share it anew. 16 bytes a row and column and party, 3 rounds. The order comes from draws of
// 128 bits, within n²/2^128 of uniform. TooLarge over 2^18 rows under MaliciousAbort.
func (e *Engine) Shuffle(t Table) Table {
	n, ok := t.rows()
	if !e.begin(OpShuffle, ok, n) {
		return t
	}
	cols := t.all()
	e.note("columns", len(cols))
	if e.adversary == MaliciousAbort && n > provenRows {
		e.fail(&sandbox.Error{Op: "share: shuffle", Kind: sandbox.TooLarge, Object: "rows", Detail: "at most 2^18 rows are shuffled with a proof",
			Hint: "fewer rows, or a plan under the semi-honest model"})
		return t
	}
	m := move{rows: n}
	for first := range 3 {
		m.steps[first] = permutation{first: first, in: cols}
		cols = e.permute(&m.steps[first], len(t.Vecs), n)
	}
	e.moved(m, len(t.Vecs))
	return t.shape(cols)
}

// permute is one of the three: parties first and first+1 know the order.
func (e *Engine) permute(p *permutation, vecs, n int) []Vec {
	cols, first := p.in, p.first
	out := make([]Vec, len(cols))
	p.out = out
	for c := range out {
		out[c] = newVec(n)
	}
	words := n * len(cols)
	mine, got := make([]uint64, words), make([]uint64, words)
	tag := e.step()
	e.rounds++
	// Of the new parts y_first is common to first and the third, y_(first+2) to first+1 and the third, y_(first+1) to the two.
	switch e.me {
	case first:
		order := e.order(e.next, n)
		p.order = order
		at := e.reserve(e.prev, words)
		if e.err != nil {
			return out
		}
		wait := e.post(e.after(), tag, got)
		e.prev.fill(mine, at)
		for c := range cols {
			mask := mine[c*n : (c+1)*n]
			copy(out[c].a, mask)
			for i, from := range order {
				if c < vecs {
					mask[i] = cols[c].a[from] + cols[c].b[from] - mask[i]
				} else {
					mask[i] ^= cols[c].a[from] ^ cols[c].b[from]
				}
			}
		}
		if e.cheat != nil {
			e.cheat("shuffle", mine)
		}
		e.send(e.after(), tag, mine)
		wait()
		e.join(out, vecs, n, mine, got, false)
	case (first + 1) % 3:
		order := e.order(e.prev, n)
		p.order = order
		at := e.reserve(e.next, words)
		if e.err != nil {
			return out
		}
		wait := e.post(e.before(), tag, got)
		e.next.fill(mine, at)
		for c := range cols {
			mask := mine[c*n : (c+1)*n]
			copy(out[c].b, mask)
			for i, from := range order {
				if c < vecs {
					mask[i] = cols[c].b[from] - mask[i]
				} else {
					mask[i] ^= cols[c].b[from]
				}
			}
		}
		if e.cheat != nil {
			e.cheat("shuffle", mine)
		}
		e.send(e.before(), tag, mine)
		wait()
		e.join(out, vecs, n, mine, got, true)
	default: // its next is first, its previous first+1
		a, b := e.reserve(e.prev, words), e.reserve(e.next, words)
		if e.err != nil {
			return out
		}
		e.prev.fill(mine, a)
		e.next.fill(got, b)
		for c := range out {
			copy(out[c].a, mine[c*n:(c+1)*n])
			copy(out[c].b, got[c*n:(c+1)*n])
		}
	}
	return out
}

// join makes y_(first+1) of both messages, into the part a or b.
func (e *Engine) join(out []Vec, vecs, n int, mine, got []uint64, intoA bool) {
	for c := range out {
		dst := out[c].b
		if intoA {
			dst = out[c].a
		}
		x, y := mine[c*n:(c+1)*n], got[c*n:(c+1)*n]
		if c < vecs {
			addInto(dst, x, y)
			continue
		}
		each(n, func(i int) { dst[i] = x[i] ^ y[i] })
	}
}

// order draws a permutation from a pair's generator, always with the same number of words.
func (e *Engine) order(s *stream, n int) []uint32 {
	out := make([]uint32, n)
	draws := make([]uint64, 2*n)
	at := e.reserve(s, len(draws))
	if e.err != nil {
		return out
	}
	s.fill(draws, at)
	for i := range out {
		out[i] = uint32(i)
	}
	for i := n - 1; i > 0; i-- {
		k := uint64(i + 1)
		low, _ := bits.Mul64(draws[2*i], k)
		j, mid := bits.Mul64(draws[2*i+1], k)
		_, carry := bits.Add64(mid, low, 0)
		j += carry
		out[i], out[j] = out[j], out[i]
	}
	return out
}
