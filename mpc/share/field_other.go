//go:build !amd64 || purego

package share

// fieldInner is the inner product.
func fieldInner(x, y []uint64) uint64 { return fieldInnerGeneric(x, y) }

// fieldMix adds c·v to out.
func fieldMix(out, v []uint64, c uint64) { fieldMixGeneric(out, v, c) }
