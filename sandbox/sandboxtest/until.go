package sandboxtest

import (
	"testing"

	"pgregory.net/rapid"
)

// rounds bounds how often Until checks anew: a kind of draw that one round in two misses is missed by all once in 10^15.
const rounds = 50

// Until checks a property on random draws, and goes on in whole rounds until met says that the draws were of every kind that the test is about:
// a test that counts what it saw then fails where nothing of the kind can be drawn, and not because a round was unlucky. met is asked
// after each round.
func Until(t *testing.T, met func() bool, prop func(*rapid.T)) {
	t.Helper()
	for range rounds {
		rapid.Check(t, prop)
		if t.Failed() || met() {
			return
		}
	}
	t.Errorf("%d rounds of draws had not every kind that this test is about", rounds)
}
