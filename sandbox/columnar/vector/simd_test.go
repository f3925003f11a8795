//go:build goexperiment.simd && amd64

package vector

import "testing"

// The twins that this processor does not run are not tested here: that is said aloud.
func TestTwinsOfThisProcessor(t *testing.T) {
	if best < avx512 {
		t.Skipf("this processor runs %v at most: AVX-512 was not tested", Best())
	}
}
