package vector

import (
	"encoding/binary"
	"math/bits"
)

// Words writes n bits of an Arrow bitmap, from bit off on, to dst, which is ⌈n/64⌉ words. Bits past n are 0.
func Words(dst []uint64, bitmap []byte, off, n int) {
	dst = dst[:(n+63)/64]
	at, shift, w := off>>3, uint(off&7), 0
	if rest := bitmap[at:]; shift == 0 {
		for ; n-w*64 >= 64; w++ {
			dst[w] = binary.LittleEndian.Uint64(rest[w*8:])
		}
	} else {
		for ; n-w*64 >= 64; w++ {
			b := rest[w*8:][:9]
			dst[w] = binary.LittleEndian.Uint64(b)>>shift | uint64(b[8])<<((64-shift)&63)
		}
	}
	for ; w < len(dst); w++ {
		dst[w] = word(bitmap, off+w*64, n-w*64)
	}
}

// word reads the fewer than 64 bits that stand from bit off on.
func word(bitmap []byte, off, n int) uint64 {
	at, shift := off>>3, off&7
	out := uint64(0)
	for i := (off + n - 1) >> 3; i >= at; i-- {
		if s := (i-at)*8 - shift; s >= 0 {
			out |= uint64(bitmap[i]) << s
		} else {
			out |= uint64(bitmap[i]) >> -s
		}
	}
	return out & (1<<n - 1)
}

// And keeps in dst what is in x too. Both are as long.
func (k Kernels) And(dst, x []uint64) {
	if k.level == avx512 {
		andWide(dst, x[:len(dst)])
		return
	}
	x = x[:len(dst)]
	for i := range dst {
		dst[i] &= x[i]
	}
}

// Or adds to dst what is in x. Both are as long.
func (k Kernels) Or(dst, x []uint64) {
	if k.level == avx512 {
		orWide(dst, x[:len(dst)])
		return
	}
	x = x[:len(dst)]
	for i := range dst {
		dst[i] |= x[i]
	}
}

// AndNot takes from dst what is in x. Both are as long.
func (k Kernels) AndNot(dst, x []uint64) {
	if k.level == avx512 {
		andNotWide(dst, x[:len(dst)])
		return
	}
	x = x[:len(dst)]
	for i := range dst {
		dst[i] &^= x[i]
	}
}

// Count gives how many bits are set.
func (k Kernels) Count(mask []uint64) int {
	if k.level == avx512 {
		return countWide(mask)
	}
	return count(mask)
}

func count(mask []uint64) int {
	n := 0
	for _, w := range mask {
		n += bits.OnesCount64(w)
	}
	return n
}

// Rows writes the rows of a mask whose first bit is row from to sel, which has room for them, and gives that part of sel.
func (k Kernels) Rows(mask []uint64, from int, sel []int32) []int32 {
	if k.level == pure {
		return sel[:rowsGo(mask, from, sel)]
	}
	return sel[:k.rowsWide(mask, from, sel)]
}

func rowsGo(mask []uint64, from int, sel []int32) int {
	n := 0
	for w, m := range mask {
		at := int32(from + w*64)
		if m == ^uint64(0) {
			Fill(sel[n:n+64], from+w*64)
			n += 64
			continue
		}
		for ; m != 0; m &= m - 1 {
			sel[n] = at + int32(bits.TrailingZeros64(m))
			n++
		}
	}
	return n
}
