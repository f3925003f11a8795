//go:build goexperiment.simd && amd64

package vector

import (
	"math"
	"math/bits"
	"simd/archsimd"
	"unsafe"
)

// Every kernel clears the upper halves of the registers before it ends and before code that is not vector code: totals took more than
// twice as long while SSE instructions, with which the compiler copies arrays, met registers that were not clear.

// best is the fastest twin this processor runs.
var best = func() level {
	switch {
	case archsimd.X86.AVX512():
		return avx512
	case archsimd.X86.AVX2():
		return avx2
	}
	return pure
}()

// whereWide writes the rows that meet all terms, at most a chunk of them: conditions become masks, and the last mask becomes rows.
// Sets too large for a register narrow the selection afterwards, as gathers are wanting.
func (k Kernels) whereWide(terms []Term, from, n int, sel []int32) int {
	var buf [chunk / 64]uint64
	mask := buf[:(n+63)/64]
	if !k.masks(mask, terms, from, n) {
		return 0
	}
	out := sel[:k.rowsWide(mask, from, sel)]
	for i := range terms {
		if t := &terms[i]; !k.wide(t) {
			out = keep(t, out)
		}
	}
	return len(out)
}

// wide says whether a term becomes a mask.
func (k Kernels) wide(t *Term) bool {
	return t.kind != daySet && t.kind != codeSet || k.level == avx512 && len(t.set.pass)-1 <= small
}

// masks writes which of the rows from…from+n-1 meet the terms that become masks. False when there is none for sure.
func (k Kernels) masks(mask []uint64, terms []Term, from, n int) bool {
	if !validity(mask, terms, from, n) {
		for w := range mask {
			mask[w] = ^uint64(0)
		}
		if n%64 > 0 {
			mask[n/64] = 1<<(n%64) - 1
		}
	}
	for i := range terms {
		switch t := &terms[i]; {
		case t.kind == never:
			return false
		case t.kind == always || !k.wide(t):
		case t.kind == intRange && k.level == avx512:
			ints512(mask, t.ints[from:from+n], t.lo, t.span)
		case t.kind == intRange:
			ints256(mask, t.ints[from:from+n], t.lo, t.span)
		case t.kind == dayRange && k.level == avx512:
			days512(mask, t.days[from:from+n], int32(t.lo), uint32(t.span))
		case t.kind == dayRange:
			days256(mask, t.days[from:from+n], int32(t.lo), uint32(t.span))
		case t.kind == daySet:
			set512(mask, t.days[from:from+n], t.set)
		default:
			set512(mask, signed(t.codes[from:from+n]), t.set)
		}
	}
	return true
}

// tail gives the last rows of a column, fewer than 64, as a block. What the others are is masked by the caller's mask.
func tail[T any](v []T) (block [64]T) {
	copy(block[:], v)
	return
}

func days512(mask []uint64, v []int32, lo int32, span uint32) {
	l, s := archsimd.BroadcastInt32x16(lo), archsimd.BroadcastUint32x16(span)
	full := len(v) / 64
	for w := range mask[:full] {
		b := (*[64]int32)(v[w*64:])
		m0 := archsimd.LoadInt32x16((*[16]int32)(b[0:])).Sub(l).AsUint32x16().LessEqual(s).ToBits()
		m1 := archsimd.LoadInt32x16((*[16]int32)(b[16:])).Sub(l).AsUint32x16().LessEqual(s).ToBits()
		m2 := archsimd.LoadInt32x16((*[16]int32)(b[32:])).Sub(l).AsUint32x16().LessEqual(s).ToBits()
		m3 := archsimd.LoadInt32x16((*[16]int32)(b[48:])).Sub(l).AsUint32x16().LessEqual(s).ToBits()
		mask[w] &= uint64(m0) | uint64(m1)<<16 | uint64(m2)<<32 | uint64(m3)<<48
	}
	archsimd.ClearAVXUpperBits()
	if full < len(mask) {
		b := tail(v[full*64:])
		days512(mask[full:], b[:], lo, span)
	}
}

func ints512(mask []uint64, v []int64, lo int64, span uint64) {
	l, s := archsimd.BroadcastInt64x8(lo), archsimd.BroadcastUint64x8(span)
	full := len(v) / 64
	for w := range mask[:full] {
		b := (*[64]int64)(v[w*64:])
		m0 := archsimd.LoadInt64x8((*[8]int64)(b[0:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		m1 := archsimd.LoadInt64x8((*[8]int64)(b[8:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		m2 := archsimd.LoadInt64x8((*[8]int64)(b[16:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		m3 := archsimd.LoadInt64x8((*[8]int64)(b[24:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		m4 := archsimd.LoadInt64x8((*[8]int64)(b[32:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		m5 := archsimd.LoadInt64x8((*[8]int64)(b[40:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		m6 := archsimd.LoadInt64x8((*[8]int64)(b[48:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		m7 := archsimd.LoadInt64x8((*[8]int64)(b[56:])).Sub(l).AsUint64x8().LessEqual(s).ToBits()
		mask[w] &= uint64(m0) | uint64(m1)<<8 | uint64(m2)<<16 | uint64(m3)<<24 | uint64(m4)<<32 | uint64(m5)<<40 | uint64(m6)<<48 | uint64(m7)<<56
	}
	archsimd.ClearAVXUpperBits()
	if full < len(mask) {
		b := tail(v[full*64:])
		ints512(mask[full:], b[:], lo, span)
	}
}

// set512 finds the bit of each code among the 512 that one register holds.
func set512(mask []uint64, v []int32, s *Set) {
	base, last := archsimd.BroadcastUint32x16(s.base), archsimd.BroadcastUint32x16(uint32(len(s.pass)-1))
	words := archsimd.LoadUint32x16(&s.words)
	low, one := archsimd.BroadcastUint32x16(31), archsimd.BroadcastUint32x16(1)
	full := len(v) / 64
	for w := range mask[:full] {
		b := (*[64]int32)(v[w*64:])
		var out uint64
		for j := 0; j < 64; j += 16 {
			x := archsimd.LoadInt32x16((*[16]int32)(b[j:])).AsUint32x16().Sub(base)
			hit := words.Permute(x.ShiftAllRight(5)).ShiftRight(x.And(low)).And(one)
			out |= uint64(hit.Equal(one).And(x.Less(last)).ToBits()) << j
		}
		mask[w] &= out
	}
	archsimd.ClearAVXUpperBits()
	if full < len(mask) {
		b := tail(v[full*64:])
		set512(mask[full:], b[:], s)
	}
}

// days256 compares signed numbers, as AVX2 has no other comparison: the range is moved to begin at the least.
func days256(mask []uint64, v []int32, lo int32, span uint32) {
	l, s := archsimd.BroadcastInt32x8(lo^math.MinInt32), archsimd.BroadcastInt32x8(int32(span)^math.MinInt32)
	full := len(v) / 64
	for w := range mask[:full] {
		b := (*[64]int32)(v[w*64:])
		var out uint64
		for j := 0; j < 64; j += 8 {
			x := archsimd.LoadInt32x8((*[8]int32)(b[j:]))
			out |= uint64(x.Sub(l).Greater(s).ToBits()) << j
		}
		mask[w] &^= out
	}
	archsimd.ClearAVXUpperBits()
	if full < len(mask) {
		b := tail(v[full*64:])
		days256(mask[full:], b[:], lo, span)
	}
}

func ints256(mask []uint64, v []int64, lo int64, span uint64) {
	l, s := archsimd.BroadcastInt64x4(lo^math.MinInt64), archsimd.BroadcastInt64x4(int64(span)^math.MinInt64)
	full := len(v) / 64
	for w := range mask[:full] {
		b := (*[64]int64)(v[w*64:])
		var out uint64
		for j := 0; j < 64; j += 8 {
			x, y := archsimd.LoadInt64x4((*[4]int64)(b[j:])), archsimd.LoadInt64x4((*[4]int64)(b[j+4:]))
			out |= uint64(x.Sub(l).Greater(s).ToBits()|y.Sub(l).Greater(s).ToBits()<<4) << j
		}
		mask[w] &^= out
	}
	archsimd.ClearAVXUpperBits()
	if full < len(mask) {
		b := tail(v[full*64:])
		ints256(mask[full:], b[:], lo, span)
	}
}

// ascending is the first rows of a selection.
var ascending = [16]int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// places gives, for every byte of a mask, the numbers of its set bits.
var places = func() (out [256][8]int32) {
	for b := range out {
		n := 0
		for i := range 8 {
			if b>>i&1 == 1 {
				out[b][n] = int32(i)
				n++
			}
		}
	}
	return
}()

// rowsWide writes the rows of a mask: whole registers while they fit, the last ones by the other twin.
func (k Kernels) rowsWide(mask []uint64, from int, sel []int32) int {
	n := 0
	if k.level == avx512 {
		row, step := archsimd.LoadInt32x16(&ascending).Add(archsimd.BroadcastInt32x16(int32(from))), archsimd.BroadcastInt32x16(16)
		for w, m := range mask {
			if len(sel)-n < 64 {
				archsimd.ClearAVXUpperBits()
				return n + rowsGo(mask[w:], from+w*64, sel[n:])
			}
			c1, c2, c3 := bits.OnesCount16(uint16(m)), bits.OnesCount32(uint32(m)), bits.OnesCount64(m<<16)
			out := sel[n:]
			row.Compress(archsimd.Mask32x16FromBits(uint16(m))).Store((*[16]int32)(out))
			row = row.Add(step)
			row.Compress(archsimd.Mask32x16FromBits(uint16(m >> 16))).Store((*[16]int32)(out[c1:]))
			row = row.Add(step)
			row.Compress(archsimd.Mask32x16FromBits(uint16(m >> 32))).Store((*[16]int32)(out[c2:]))
			row = row.Add(step)
			row.Compress(archsimd.Mask32x16FromBits(uint16(m >> 48))).Store((*[16]int32)(out[c3:]))
			row = row.Add(step)
			n += bits.OnesCount64(m)
		}
		archsimd.ClearAVXUpperBits()
		return n
	}
	for w, m := range mask {
		if len(sel)-n < 64 {
			archsimd.ClearAVXUpperBits()
			return n + rowsGo(mask[w:], from+w*64, sel[n:])
		}
		for at := int32(from + w*64); m != 0; m, at = m>>8, at+8 {
			archsimd.LoadInt32x8(&places[m&0xff]).Add(archsimd.BroadcastInt32x8(at)).Store((*[8]int32)(sel[n:]))
			n += bits.OnesCount8(uint8(m))
		}
	}
	archsimd.ClearAVXUpperBits()
	return n
}

// totalWide adds the values of the rows that meet all terms, at most a chunk, without writing them down.
func totalWide(s *Sum, terms []Term, from, n int, values []int64) int {
	k := Kernels{avx512}
	for i := range terms {
		if !k.wide(&terms[i]) {
			var sel [chunk]int32
			out := sel[:k.whereWide(terms, from, n, sel[:])]
			for _, i := range out {
				s.Add(values[i])
			}
			return len(out)
		}
	}
	var buf [chunk / 64]uint64
	mask := buf[:(n+63)/64]
	rows := 0
	if k.masks(mask, terms, from, n) {
		rows = count(mask)
		sum512(s, values[from:from+n], mask)
	}
	return rows
}

// sum512 adds the values, at most a chunk, whose bits are in mask. A lane takes four values of each of 16 words and cannot leave 64
// bits while values stay within 56; others are added one by one.
func sum512(s *Sum, v []int64, mask []uint64) {
	var out [24]int64
	var a, b, size archsimd.Int64x8
	full := len(v) / 64
	for w, m := range mask[:full] {
		p := (*[64]int64)(v[w*64:])
		x0 := archsimd.LoadMaskedInt64x8((*[8]int64)(p[0:]), archsimd.Mask64x8FromBits(uint8(m)))
		x1 := archsimd.LoadMaskedInt64x8((*[8]int64)(p[8:]), archsimd.Mask64x8FromBits(uint8(m>>8)))
		x2 := archsimd.LoadMaskedInt64x8((*[8]int64)(p[16:]), archsimd.Mask64x8FromBits(uint8(m>>16)))
		x3 := archsimd.LoadMaskedInt64x8((*[8]int64)(p[24:]), archsimd.Mask64x8FromBits(uint8(m>>24)))
		a, b = a.Add(x0).Add(x1), b.Add(x2).Add(x3)
		size = size.Or(x0.Abs().Or(x1.Abs()).Or(x2.Abs().Or(x3.Abs())))
		x0 = archsimd.LoadMaskedInt64x8((*[8]int64)(p[32:]), archsimd.Mask64x8FromBits(uint8(m>>32)))
		x1 = archsimd.LoadMaskedInt64x8((*[8]int64)(p[40:]), archsimd.Mask64x8FromBits(uint8(m>>40)))
		x2 = archsimd.LoadMaskedInt64x8((*[8]int64)(p[48:]), archsimd.Mask64x8FromBits(uint8(m>>48)))
		x3 = archsimd.LoadMaskedInt64x8((*[8]int64)(p[56:]), archsimd.Mask64x8FromBits(uint8(m>>56)))
		a, b = a.Add(x0).Add(x1), b.Add(x2).Add(x3)
		size = size.Or(x0.Abs().Or(x1.Abs()).Or(x2.Abs().Or(x3.Abs())))
	}
	a.Store((*[8]int64)(out[:]))
	b.Store((*[8]int64)(out[8:]))
	size.Store((*[8]int64)(out[16:]))
	archsimd.ClearAVXUpperBits()
	most := int64(0)
	for _, x := range out[16:] {
		most |= x
	}
	if most>>56 == 0 { // the least int64 has itself as its absolute value, and bit 63
		for _, x := range out[:16] {
			s.Add(x)
		}
	} else {
		full = 0
	}
	for w := full; w < len(mask); w++ {
		for m := mask[w]; m != 0; m &= m - 1 {
			s.Add(v[w*64+bits.TrailingZeros64(m)])
		}
	}
}

func andWide(dst, x []uint64) {
	i := 0
	for ; i+8 <= len(dst); i += 8 {
		d := (*[8]uint64)(dst[i:])
		archsimd.LoadUint64x8(d).And(archsimd.LoadUint64x8((*[8]uint64)(x[i:]))).Store(d)
	}
	archsimd.ClearAVXUpperBits()
	Go.And(dst[i:], x[i:])
}

func orWide(dst, x []uint64) {
	i := 0
	for ; i+8 <= len(dst); i += 8 {
		d := (*[8]uint64)(dst[i:])
		archsimd.LoadUint64x8(d).Or(archsimd.LoadUint64x8((*[8]uint64)(x[i:]))).Store(d)
	}
	archsimd.ClearAVXUpperBits()
	Go.Or(dst[i:], x[i:])
}

func andNotWide(dst, x []uint64) {
	i := 0
	for ; i+8 <= len(dst); i += 8 {
		d := (*[8]uint64)(dst[i:])
		archsimd.LoadUint64x8(d).AndNot(archsimd.LoadUint64x8((*[8]uint64)(x[i:]))).Store(d)
	}
	archsimd.ClearAVXUpperBits()
	Go.AndNot(dst[i:], x[i:])
}

// countWide counts eight words at once where the processor does.
func countWide(mask []uint64) int {
	if !archsimd.X86.AVX512VPOPCNTDQ() {
		return count(mask)
	}
	var parts [8]uint64
	var sum archsimd.Uint64x8
	i := 0
	for ; i+8 <= len(mask); i += 8 {
		sum = sum.Add(archsimd.LoadUint64x8((*[8]uint64)(mask[i:])).OnesCount())
	}
	sum.Store(&parts)
	archsimd.ClearAVXUpperBits()
	n := count(mask[i:])
	for _, p := range parts[:] {
		n += int(p)
	}
	return n
}

// signed sees codes as the int32 they are as well.
func signed(v []uint32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}
