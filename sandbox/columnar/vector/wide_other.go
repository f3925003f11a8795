//go:build !goexperiment.simd || !amd64

package vector

// Builds without simd/archsimd have one twin.
const best = pure

func (k Kernels) whereWide(terms []Term, from, n int, sel []int32) int {
	return whereGo(terms, from, n, sel)
}

func (k Kernels) rowsWide(mask []uint64, from int, sel []int32) int { return rowsGo(mask, from, sel) }

func totalWide(*Sum, []Term, int, int, []int64) int { panic("vector: not in this build") }

func andWide(dst, x []uint64)     { Go.And(dst, x) }
func orWide(dst, x []uint64)      { Go.Or(dst, x) }
func andNotWide(dst, x []uint64)  { Go.AndNot(dst, x) }
func countWide(mask []uint64) int { return count(mask) }
