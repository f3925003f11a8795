//go:build goexperiment.simd && amd64

package sm

import (
	"encoding/binary"
	"simd/archsimd"
)

// wide says whether this processor can do sixteen lanes (AVX-512 F, CD, BW, DQ, VL).
func wide() bool { return archsimd.X86.AVX512() }

type lane = archsimd.Uint32x16

// wide takes up to sixteen rows of one block count; lanes without a row compute and are not stored.
func (g *group) wide(q *queue, blocks int) {
	var w [68]lane
	var words [16][lanes]uint32 // word, lane
	var buf [sm3Block]byte
	s := spread(&g.m.inner)
	for k := range blocks {
		for l := range q.n {
			g.pad(&buf, q.rows[l], k, blocks)
			for i := range 16 {
				words[i][l] = binary.BigEndian.Uint32(buf[4*i:])
			}
		}
		for i := range 16 {
			w[i] = archsimd.LoadUint32x16(&words[i])
		}
		compress16(&s, &w)
	}
	copy(w[:8], s[:])
	w[8] = archsimd.BroadcastUint32x16(0x80000000)
	for i := 9; i < 15; i++ {
		w[i] = archsimd.BroadcastUint32x16(0)
	}
	w[15] = archsimd.BroadcastUint32x16((sm3Block + Size) * 8)
	s = spread(&g.m.outer)
	compress16(&s, &w)
	for i := range s {
		s[i].Store(&words[i])
	}
	var out [8]uint32
	for l := range q.n {
		for i := range out {
			out[i] = words[i][l]
		}
		g.put(q.rows[l], &out)
	}
}

func spread(s *[8]uint32) (v [8]lane) {
	for i, x := range s {
		v[i] = archsimd.BroadcastUint32x16(x)
	}
	return v
}

// compress16 is compress2 for sixteen states.
func compress16(st *[8]lane, w *[68]lane) {
	for j := 16; j < 68; j++ {
		x := w[j-16].Xor(w[j-9]).Xor(w[j-3].RotateAllLeft(15))
		x = x.Xor(x.RotateAllLeft(15)).Xor(x.RotateAllLeft(23))
		w[j] = x.Xor(w[j-13].RotateAllLeft(7)).Xor(w[j-6])
	}
	a, b, c, d, e, f, g, h := st[0], st[1], st[2], st[3], st[4], st[5], st[6], st[7]
	for j := range 16 {
		a12 := a.RotateAllLeft(12)
		s1 := a12.Add(e).Add(archsimd.BroadcastUint32x16(sm3K[j])).RotateAllLeft(7)
		t1 := a.Xor(b).Xor(c).Add(d).Add(s1.Xor(a12)).Add(w[j].Xor(w[j+4]))
		t2 := e.Xor(f).Xor(g).Add(h).Add(s1).Add(w[j])
		d, c, b, a = c, b.RotateAllLeft(9), a, t1
		h, g, f, e = g, f.RotateAllLeft(19), e, t2.Xor(t2.RotateAllLeft(9)).Xor(t2.RotateAllLeft(17))
	}
	for j := 16; j < 64; j++ {
		a12 := a.RotateAllLeft(12)
		s1 := a12.Add(e).Add(archsimd.BroadcastUint32x16(sm3K[j])).RotateAllLeft(7)
		ff := a.And(b).Or(a.Or(b).And(c))
		gg := f.Xor(g).And(e).Xor(g)
		t1 := ff.Add(d).Add(s1.Xor(a12)).Add(w[j].Xor(w[j+4]))
		t2 := gg.Add(h).Add(s1).Add(w[j])
		d, c, b, a = c, b.RotateAllLeft(9), a, t1
		h, g, f, e = g, f.RotateAllLeft(19), e, t2.Xor(t2.RotateAllLeft(9)).Xor(t2.RotateAllLeft(17))
	}
	st[0], st[1], st[2], st[3] = st[0].Xor(a), st[1].Xor(b), st[2].Xor(c), st[3].Xor(d)
	st[4], st[5], st[6], st[7] = st[4].Xor(e), st[5].Xor(f), st[6].Xor(g), st[7].Xor(h)
}
