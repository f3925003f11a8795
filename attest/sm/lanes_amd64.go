//go:build !purego

package sm

import "golang.org/x/sys/cpu"

// lanes is how many messages this processor takes through the rounds at once.
var lanes = func() int {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW:
		return 16
	case cpu.X86.HasAVX2:
		return 8
	}
	return 2
}()

// hmac16 and hmac8 give the HMAC of 16 and 8 padded messages of n blocks each: the first blocks of all, then the second ones.

//go:noescape
func hmac16(out *[16][Size]byte, inner, outer *[8]uint32, blocks *[16][sm3Block]byte, n int)

//go:noescape
func hmac8(out *[8][Size]byte, inner, outer *[8]uint32, blocks *[8][sm3Block]byte, n int)

// wide takes up to width rows, 16 or 8, of one block count. Lanes without a row compute what was there and are not stored.
func (g *group) wide(q *queue, blocks, width int) {
	for l := range q.n {
		for k := range blocks {
			g.pad(&g.blocks[k*width+l], q.rows[l], k, blocks)
		}
	}
	if width == 16 {
		hmac16(&g.out, &g.m.inner, &g.m.outer, (*[16][sm3Block]byte)(g.blocks[:]), blocks)
	} else {
		hmac8((*[8][Size]byte)(g.out[:]), &g.m.inner, &g.m.outer, (*[8][sm3Block]byte)(g.blocks[:]), blocks)
	}
	for l := range q.n {
		at := int(q.rows[l]) * g.size
		if g.size == 16 {
			*(*[16]byte)(g.dst[at:]) = *(*[16]byte)(g.out[l][:])
		} else {
			copy(g.dst[at:at+g.size], g.out[l][:])
		}
	}
}
