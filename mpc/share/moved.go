package share

import "math/bits"

// provenRows bounds a shuffle under MaliciousAbort: its rows are one equation, whose proof has three cuts.
const provenRows = maxTerms

// permutation is one of a shuffle's three steps as this party saw it. Of the parties first and first+1, which know the order, each sent what
// the other does not have: order, so that out[i] is the row in[order[i]].
type permutation struct {
	first   int
	order   []uint32 // nil at the third party
	in, out []Vec
}

// move is a shuffle that has yet to be proved.
//
// In the step of first = f, the party f has x_f, x_(f+1) and y_f = r, sent d = π(x_f + x_(f+1)) - r to f+1. So s + r = π(x_f), where
// s = d - π(x_(f+1)) is known to f+1, and x_f and r to the third. Weighed by ρ it says <x_f, ρ moved back by π> = <ρ, s> + <ρ, r>: an inner product of
// what one neighbour of the prover knows with what the other knows, and a sum of two numbers that one of them knows each. The party f+1
// sent d' = π(x_(f+2)) - r' to f, which is the same with the neighbours' parts exchanged.
type move struct {
	rows  int
	steps [3]permutation
}

// columns gives the move of a part of the columns.
func (m move) columns(lo, hi int) move {
	for k := range m.steps {
		m.steps[k].in, m.steps[k].out = m.steps[k].in[lo:hi], m.steps[k].out[lo:hi]
	}
	return m
}

// moved remembers a shuffle whose first vecs columns are integers.
func (e *Engine) moved(m move, vecs int) {
	if e.adversary != MaliciousAbort || e.err != nil || m.rows == 0 {
		return
	}
	cols := len(m.steps[0].in)
	for lo := 0; lo < vecs; {
		room := (maxTerms - e.terms) / m.rows
		if room == 0 {
			e.Verify()
			if e.err != nil {
				return
			}
			continue
		}
		hi := min(lo+room, vecs)
		e.moves = append(e.moves, m.columns(lo, hi))
		e.terms += (hi - lo) * m.rows
		lo = hi
	}
	if vecs < cols {
		e.wordMoves = append(e.wordMoves, m.columns(vecs, cols))
		e.wordRows += m.rows
		if e.wordRows > maxGates {
			e.Verify()
		}
	}
}

// role says what this party is in the step.
func (s *permutation) role(me int) int { return (me + 3 - s.first) % 3 }

// moveCarries computes the carry of each of this party's equations.
func (e *Engine) moveCarries(moves []move, out []uint64) {
	at := 0
	for _, m := range moves {
		for _, s := range m.steps {
			role := s.role(e.me)
			if role == 2 {
				continue
			}
			for c := range s.in {
				x, r := s.in[c].a, s.out[c].a
				if role == 1 {
					x, r = s.in[c].b, s.out[c].b
				}
				for i, from := range s.order {
					_, borrow := bits.Sub64(x[from], r[i], 0) // then (x-r) + r is 2^64 more than x
					out[at] = -borrow
					at++
				}
			}
		}
	}
}

// placeIntegers appends the moves' equations to the proof's vectors, which have room from entry at on.
func (e *Engine) placeIntegers(p *proof[u128], moves []move, weights *stream, at int, given, theirs []uint64) {
	lift := func(dst []u128, at int, v []uint64) {
		for k, x := range v {
			dst[at+k] = u128{0, x}
		}
	}
	sum := func(t u128, carry, known, rho []uint64) u128 {
		for i, r := range rho {
			t = t.add(u128{carry[i], known[i]}.scale(r))
		}
		return t
	}
	prove, of, by := at, at, at
	for _, m := range moves {
		n := m.rows
		rho, back, known := make([]uint64, n), make([]uint64, n), make([]uint64, n)
		for _, s := range m.steps {
			for c, x := range s.in {
				y := s.out[c]
				weights.fill(rho, e.reserve(weights, n))
				for i, from := range s.order {
					back[from] = rho[i]
					// What the other sent, without the part of it that this party could have computed: the same at both.
					known[i] = y.a[i] + y.b[i] - x.a[from] - x.b[from]
				}
				carries := func(all []uint64, entry int) []uint64 { return all[entry-at:][:n] }
				switch s.role(e.me) {
				case 0:
					lift(p.prove.u, prove, x.a)
					lift(p.prove.v, prove, back)
					lift(p.of.u, of, back)
					p.of.t = sum(p.of.t, carries(given, of), known, rho)
					prove, of = prove+n, of+n
				case 1:
					lift(p.prove.u, prove, back)
					lift(p.prove.v, prove, x.b)
					lift(p.by.v, by, back)
					p.by.t = sum(p.by.t, carries(theirs, by), known, rho)
					prove, by = prove+n, by+n
				default:
					lift(p.of.u, of, x.b)
					p.of.t = sum(p.of.t, carries(given, of), y.b, rho)
					lift(p.by.v, by, x.a)
					p.by.t = sum(p.by.t, carries(theirs, by), y.a, rho)
					of, by = of+n, by+n
				}
			}
		}
	}
}

// placeWords does the same for words, in GF(2^64): the columns of a row are added by coins first.
func (e *Engine) placeWords(p *proof[uint64], moves []move, weights *stream, at int) {
	prove, of, by := at, at, at
	for _, m := range moves {
		n, cols := m.rows, len(m.steps[0].in)
		rho, kappa, back, known := make([]uint64, n), make([]uint64, cols), make([]uint64, n), make([]uint64, n)
		for _, s := range m.steps {
			weights.fill(rho, e.reserve(weights, n))
			weights.fill(kappa, e.reserve(weights, cols))
			x, y := newVec(n), newVec(n)
			for c, k := range kappa {
				fieldMix(x.a, s.in[c].a, k)
				fieldMix(x.b, s.in[c].b, k)
				fieldMix(y.a, s.out[c].a, k)
				fieldMix(y.b, s.out[c].b, k)
			}
			for i, from := range s.order {
				back[from] = rho[i]
				known[i] = y.a[i] ^ y.b[i] ^ x.a[from] ^ x.b[from]
			}
			switch s.role(e.me) {
			case 0:
				copy(p.prove.u[prove:], x.a)
				copy(p.prove.v[prove:], back)
				copy(p.of.u[of:], back)
				p.of.t ^= fieldInner(rho, known)
				prove, of = prove+n, of+n
			case 1:
				copy(p.prove.u[prove:], back)
				copy(p.prove.v[prove:], x.b)
				copy(p.by.v[by:], back)
				p.by.t ^= fieldInner(rho, known)
				prove, by = prove+n, by+n
			default:
				copy(p.of.u[of:], x.b)
				p.of.t ^= fieldInner(rho, y.b)
				copy(p.by.v[by:], x.a)
				p.by.t ^= fieldInner(rho, y.a)
				of, by = of+n, by+n
			}
		}
	}
}
