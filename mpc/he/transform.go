package he

import (
	"math/bits"

	lattice "github.com/tuneinsight/lattigo/v5/ring"

	"github.com/opdomain/opdomain/sandbox"
)

// transform is the negacyclic number-theoretic transform (数论变换) of one modulus, in the library's order and with its roots, so that both mix;
// tests compare them. It is ours because it is most of an encryption: constants as Shoup has them (a high and two low products a
// butterfly, where Montgomery takes two high ones), two layers a pass, and no reduction as long as 64 bits hold what adds up.
// Sources: Harvey, arXiv 1205.2926; Longa and Naehrig, eprint 2016/504.
type transform struct {
	q, inv uint64 // inv is ⌊2^64/q⌋
	most   uint64 // multiples of q that 64 bits hold

	roots, shoup []uint64 // forward
	back, boup   []uint64 // backward; nil where 64 bits do not hold a backward transform without reduction
	size, soup   uint64   // 1/n
}

// shoupOf is ⌊w·2^64/q⌋.
func shoupOf(w, q uint64) uint64 {
	v, _ := bits.Div64(w, 0, q)
	return v
}

func newTransform(s *lattice.SubRing) *transform {
	q := s.Modulus
	inv, _ := bits.Div64(1, 0, q)
	f := &transform{q: q, inv: inv, most: ^uint64(0) / q}
	plain := func(in []uint64) (w, up []uint64) {
		w, up = make([]uint64, len(in)), make([]uint64, len(in))
		for i, x := range in {
			w[i] = lattice.IMForm(x, q, s.MRedConstant)
			up[i] = shoupOf(w[i], q)
		}
		return w, up
	}
	f.roots, f.shoup = plain(s.RootsForward)
	if uint64(4*s.N) < f.most {
		f.back, f.boup = plain(s.RootsBackward)
	}
	f.size = lattice.IMForm(s.NInv, q, s.MRedConstant)
	f.soup = shoupOf(f.size, q)
	return f
}

func transforms(r *lattice.Ring) []*transform {
	out := make([]*transform, 0, len(r.SubRings))
	for _, s := range r.SubRings {
		out = append(out, newTransform(s))
	}
	return out
}

// times is v·w modulo q, below 2q, for any v.
func times(v, w, up, q uint64) uint64 {
	h, _ := bits.Mul64(v, up)
	return v*w - h*q
}

// half reduces any v below 2q, whole below q.
func (f *transform) half(v uint64) uint64 {
	h, _ := bits.Mul64(v, f.inv)
	return v - h*f.q
}

func (f *transform) whole(v uint64) uint64 { return lattice.CRed(f.half(v), f.q) }

// forward transforms a, whose coefficients are below bound·q, and gives what they are below of then, in multiples of q.
func (f *transform) forward(a []uint64, bound uint64) uint64 {
	q, n := f.q, len(a)
	m, t := 1, n>>1
	room := func(layers uint64) {
		if bound+2*layers > f.most {
			for i, v := range a {
				a[i] = f.half(v)
			}
			bound = 2
		}
		bound += 2 * layers
	}
	if bits.TrailingZeros(uint(n))&1 == 1 { // one layer alone, so that the rest are pairs
		room(1)
		w, up := f.roots[1], f.shoup[1]
		x, y := a[:t], a[t:][:t]
		for k, u := range x {
			v := times(y[k], w, up, q)
			x[k], y[k] = u+v, u+2*q-v
		}
		m, t = 2, t>>1
	}
	for ; t > 1; m, t = m<<2, t>>2 {
		room(2)
		h := t >> 1
		if h == 1 {
			f.last(a, m)
			break
		}
		for i := range m {
			w, up := f.roots[m+i], f.shoup[m+i]
			w0, up0 := f.roots[2*(m+i)], f.shoup[2*(m+i)]
			w1, up1 := f.roots[2*(m+i)+1], f.shoup[2*(m+i)+1]
			b := a[2*i*t:][:2*t]
			x0, x1, x2, x3 := b[:h], b[h:][:h], b[2*h:][:h], b[3*h:][:h]
			for k, u0 := range x0 {
				u1, v2, v3 := x1[k], times(x2[k], w, up, q), times(x3[k], w, up, q)
				u0, v2 = u0+v2, u0+2*q-v2
				u1, v3 = times(u1+v3, w0, up0, q), times(u1+2*q-v3, w1, up1, q)
				x0[k], x1[k], x2[k], x3[k] = u0+u1, u0+2*q-u1, v2+v3, v2+2*q-v3
			}
		}
	}
	return bound
}

// last is the last two layers: four neighbours each.
func (f *transform) last(a []uint64, m int) {
	q := f.q
	w, up := f.roots[m:2*m], f.shoup[m:][:m]
	w2, up2 := f.roots[2*m:][:2*m], f.shoup[2*m:][:2*m]
	for i := range w {
		b := a[4*i:][:4:4]
		u0, u1, v2, v3 := b[0], b[1], times(b[2], w[i], up[i], q), times(b[3], w[i], up[i], q)
		u0, v2 = u0+v2, u0+2*q-v2
		u1, v3 = times(u1+v3, w2[2*i], up2[2*i], q), times(u1+2*q-v3, w2[2*i+1], up2[2*i+1], q)
		b[0], b[1], b[2], b[3] = u0+u1, u0+2*q-u1, v2+v3, v2+2*q-v3
	}
}

// backward undoes forward on coefficients below q, and gives ones below q. Only for moduli with room: see newTransform.
func (f *transform) backward(a []uint64) {
	q, bound := f.q, f.q
	for h, t := len(a)>>1, 1; h > 0; h, t = h>>1, t<<1 {
		for i := range h {
			w, up := f.back[h+i], f.boup[h+i]
			b := a[2*i*t:][:2*t]
			x, y := b[:t], b[t:][:t]
			for k, u := range x {
				v := y[k]
				x[k], y[k] = u+v, times(u+bound-v, w, up, q)
			}
		}
		bound = max(2*bound, 2*q)
	}
	for i, v := range a {
		a[i] = lattice.CRed(times(v, f.size, f.soup, q), q)
	}
}

// small writes signed values of less than q in size as residues.
func (f *transform) small(into []uint64, v []int64) {
	for i, x := range v[:len(into)] {
		into[i] = uint64(x) + f.q&uint64(x>>63)
	}
}

// encoder places a vector of whole numbers modulo T in the slots of a BGV plaintext, in the library's order.
type encoder struct {
	t    *transform
	perm []uint32
}

func newEncoder(p *params) (*encoder, error) {
	e := &encoder{t: newTransform(p.bgv.RingT().SubRings[0]), perm: make([]uint32, p.n())}
	if e.t.back == nil || p.bgv.MaxSlots() != p.n() {
		return nil, fail(sandbox.Internal, "parameter set", "has a plaintext modulus with room and a slot for each coefficient")
	}
	// Slot i is the root of unity to the power 5^i, slot n/2+i its inverse; coefficients are in bit-reversed order.
	n, pow := p.n(), 1
	for i := range n / 2 {
		pos := uint32(bits.Reverse32(uint32(pow>>1)) >> (32 - p.LogN))
		e.perm[i], e.perm[n/2+i] = pos, uint32(n-1)-pos
		pow = pow * 5 & (2*n - 1)
	}
	return e, nil
}

// encode gives the coefficients, below T; v is within ±T/2 and at most a vector.
func (e *encoder) encode(v []int64, into []uint64) {
	clear(into)
	for i, x := range v {
		into[e.perm[i]] = uint64(x) + e.t.q&uint64(x>>63)
	}
	e.t.backward(into)
}
