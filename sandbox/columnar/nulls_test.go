package columnar

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"pgregory.net/rapid"
)

func TestUnpack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "bits")
		at := rapid.IntRange(0, 8*len(bits)).Draw(t, "from")
		out := make([]uint8, rapid.IntRange(0, 8*len(bits)-at).Draw(t, "rows"))
		unpack(bits, at, out)
		for j, b := range out {
			if want := bitutil.BitIsSet(bits, at+j); b > 1 || (b == 1) != want {
				t.Fatalf("bit %d from %d: %d, want %v", j, at, b, want)
			}
		}
	})
}
