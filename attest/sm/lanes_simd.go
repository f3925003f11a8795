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
			for i := 0; i < 16; i += 2 {
				x := binary.BigEndian.Uint64(buf[4*i:])
				words[i][l], words[i+1][l] = uint32(x>>32), uint32(x)
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
	// Four rounds a turn: the names move, not the registers.
	var x, s lane
	for j := 0; j < 16; j += 4 {
		x = a.RotateAllLeft(12)
		s = x.Add(e).Add(archsimd.BroadcastUint32x16(sm3K[j])).RotateAllLeft(7)
		d = a.Xor(b).Xor(c).Add(d).Add(s.Xor(x)).Add(w[j].Xor(w[j+4]))
		x = e.Xor(f).Xor(g).Add(h).Add(s).Add(w[j])
		h = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		b, f = b.RotateAllLeft(9), f.RotateAllLeft(19)
		x = d.RotateAllLeft(12)
		s = x.Add(h).Add(archsimd.BroadcastUint32x16(sm3K[j+1])).RotateAllLeft(7)
		c = d.Xor(a).Xor(b).Add(c).Add(s.Xor(x)).Add(w[j+1].Xor(w[j+5]))
		x = h.Xor(e).Xor(f).Add(g).Add(s).Add(w[j+1])
		g = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		a, e = a.RotateAllLeft(9), e.RotateAllLeft(19)
		x = c.RotateAllLeft(12)
		s = x.Add(g).Add(archsimd.BroadcastUint32x16(sm3K[j+2])).RotateAllLeft(7)
		b = c.Xor(d).Xor(a).Add(b).Add(s.Xor(x)).Add(w[j+2].Xor(w[j+6]))
		x = g.Xor(h).Xor(e).Add(f).Add(s).Add(w[j+2])
		f = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		d, h = d.RotateAllLeft(9), h.RotateAllLeft(19)
		x = b.RotateAllLeft(12)
		s = x.Add(f).Add(archsimd.BroadcastUint32x16(sm3K[j+3])).RotateAllLeft(7)
		a = b.Xor(c).Xor(d).Add(a).Add(s.Xor(x)).Add(w[j+3].Xor(w[j+7]))
		x = f.Xor(g).Xor(h).Add(e).Add(s).Add(w[j+3])
		e = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		c, g = c.RotateAllLeft(9), g.RotateAllLeft(19)
	}
	for j := 16; j < 64; j += 4 {
		x = a.RotateAllLeft(12)
		s = x.Add(e).Add(archsimd.BroadcastUint32x16(sm3K[j])).RotateAllLeft(7)
		d = a.And(b).Or(a.Or(b).And(c)).Add(d).Add(s.Xor(x)).Add(w[j].Xor(w[j+4]))
		x = f.Xor(g).And(e).Xor(g).Add(h).Add(s).Add(w[j])
		h = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		b, f = b.RotateAllLeft(9), f.RotateAllLeft(19)
		x = d.RotateAllLeft(12)
		s = x.Add(h).Add(archsimd.BroadcastUint32x16(sm3K[j+1])).RotateAllLeft(7)
		c = d.And(a).Or(d.Or(a).And(b)).Add(c).Add(s.Xor(x)).Add(w[j+1].Xor(w[j+5]))
		x = e.Xor(f).And(h).Xor(f).Add(g).Add(s).Add(w[j+1])
		g = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		a, e = a.RotateAllLeft(9), e.RotateAllLeft(19)
		x = c.RotateAllLeft(12)
		s = x.Add(g).Add(archsimd.BroadcastUint32x16(sm3K[j+2])).RotateAllLeft(7)
		b = c.And(d).Or(c.Or(d).And(a)).Add(b).Add(s.Xor(x)).Add(w[j+2].Xor(w[j+6]))
		x = h.Xor(e).And(g).Xor(e).Add(f).Add(s).Add(w[j+2])
		f = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		d, h = d.RotateAllLeft(9), h.RotateAllLeft(19)
		x = b.RotateAllLeft(12)
		s = x.Add(f).Add(archsimd.BroadcastUint32x16(sm3K[j+3])).RotateAllLeft(7)
		a = b.And(c).Or(b.Or(c).And(d)).Add(a).Add(s.Xor(x)).Add(w[j+3].Xor(w[j+7]))
		x = g.Xor(h).And(f).Xor(h).Add(e).Add(s).Add(w[j+3])
		e = x.Xor(x.RotateAllLeft(9)).Xor(x.RotateAllLeft(17))
		c, g = c.RotateAllLeft(9), g.RotateAllLeft(19)
	}
	st[0], st[1], st[2], st[3] = st[0].Xor(a), st[1].Xor(b), st[2].Xor(c), st[3].Xor(d)
	st[4], st[5], st[6], st[7] = st[4].Xor(e), st[5].Xor(f), st[6].Xor(g), st[7].Xor(h)
}
