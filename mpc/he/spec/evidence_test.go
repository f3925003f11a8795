package spec

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestDiffers: people who all add the same, or nothing, are never said to differ; most others are, where their squares are known nearly all.
func TestDiffers(t *testing.T) {
	told := [2]int{}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 7))
		people, sort := 1+r.IntN(80), r.IntN(4)
		same := r.Int64N(2001) - 1000
		total, squares, adding, alike := int64(0), int64(0), int64(0), true
		for range people {
			v := same
			switch {
			case sort == 1 && r.IntN(3) == 0:
				v = 0
			case sort >= 2:
				v = r.Int64N(100_000) - int64(sort-2)*50_000
			}
			if total, squares = total+v, squares+v*v; v != 0 {
				adding++
				alike = alike && v == same
			}
		}
		least := adding - min(adding, r.Int64N(3))
		for known, sq := range []*big.Int{nil, big.NewInt(squares)} {
			got := differs(big.NewInt(total), sq, least, int64(people))
			if got && alike {
				t.Errorf("seed %d: people who add the same differ", seed)
			}
			if got {
				told[known]++
			}
		}
	}
	if told[0] < 700 || told[1] < 900 || told[1] < told[0] {
		t.Errorf("of some 1,000 that differ %v are known to", told)
	}
}
