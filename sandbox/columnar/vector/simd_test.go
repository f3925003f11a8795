//go:build goexperiment.simd && amd64

package vector

import "testing"

// No package brings what a processor lacks: the twins it does not run are named, and the others are tested.
func TestTwinsOfThisProcessor(t *testing.T) {
	if best < avx512 {
		t.Logf("SKIPPED ALOUD: this processor runs %v at most; the AVX-512 twin is not tested", Best())
	}
}
