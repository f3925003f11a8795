package sandboxtest

import (
	"testing"

	"pgregory.net/rapid"
)

func TestUntilGoesOn(t *testing.T) {
	draws, least := 0, 0
	Until(t, func() bool { return draws > 3*least }, func(r *rapid.T) {
		rapid.Bool().Draw(r, "b")
		if draws++; least == 0 {
			least = 100
		}
	})
	if draws <= 300 {
		t.Errorf("it stopped after %d draws", draws)
	}
}
