//go:build !purego

package share

import "golang.org/x/sys/cpu"

var hasCarryless = cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41

//go:noescape
func innerCarryless(x, y *uint64, n int) (hi, lo uint64)

//go:noescape
func mixCarryless(out, v *uint64, c uint64, n int)

// fieldInner is the inner product.
func fieldInner(x, y []uint64) uint64 {
	if !hasCarryless || len(x) == 0 {
		return fieldInnerGeneric(x, y)
	}
	return modulo(innerCarryless(&x[0], &y[:len(x)][0], len(x)))
}

// fieldMix adds c·v to out.
func fieldMix(out, v []uint64, c uint64) {
	if !hasCarryless || len(out) == 0 {
		fieldMixGeneric(out, v, c)
		return
	}
	mixCarryless(&out[0], &v[:len(out)][0], c, len(out))
}
