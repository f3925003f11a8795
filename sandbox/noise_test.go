package sandbox

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestNoiseValid(t *testing.T) {
	dp := func(change func(*Noise)) Noise {
		n := Noise{Kind: NoiseDP, Release: Privacy{1_000_000, 1000}, Bound: 100}
		change(&n)
		return n
	}
	for name, c := range map[string]struct {
		n    Noise
		good bool
	}{
		"exact":             {Noise{Kind: NoiseExact}, true},
		"rounded":           {Noise{Kind: NoiseRounded}, true},
		"dp":                {dp(func(*Noise) {}), true},
		"nothing":           {Noise{}, false},
		"unknown":           {Noise{Kind: "blurred"}, false},
		"rounded with ε":    {Noise{Kind: NoiseRounded, Release: Privacy{Epsilon: 1}}, false},
		"no ε":              {dp(func(n *Noise) { n.Release.Epsilon = 0 }), false},
		"ε above its range": {dp(func(n *Noise) { n.Release.Epsilon = MaxEpsilon + 1 }), false},
		"no δ":              {dp(func(n *Noise) { n.Release.Delta = 0 }), false},
		"δ above its range": {dp(func(n *Noise) { n.Release.Delta = MaxDelta + 1 }), false},
		"budget below":      {dp(func(n *Noise) { n.Budget = Privacy{999_999, 1000} }), false},
		"budget of ε alone": {dp(func(n *Noise) { n.Budget.Epsilon = 2_000_000 }), false},
		"negative bound":    {dp(func(n *Noise) { n.Bound = -1 }), false},
		"too many cells":    {dp(func(n *Noise) { n.Cells = MaxNoiseCells + 1 }), false},
	} {
		if rule := c.n.Valid(); (rule == "") != c.good {
			t.Errorf("%s: %q", name, rule)
		}
	}
}

// TestNoiseStricter: the strictest holds in whatever order rules are met, and it is as strict as each of them.
func TestNoiseStricter(t *testing.T) {
	one := rapid.Custom(func(t *rapid.T) Noise {
		n := Noise{Kind: rapid.SampledFrom(append(slices.Clone(NoiseKinds), "")).Draw(t, "kind")}
		if n.Kind == NoiseDP {
			n.Release = Privacy{rapid.Int64Range(1, 3).Draw(t, "ε"), rapid.Int64Range(1, 3).Draw(t, "δ")}
			n.Budget = Privacy{rapid.Int64Range(0, 3).Draw(t, "all ε"), rapid.Int64Range(0, 3).Draw(t, "all δ")}
			n.Rows, n.Cells = rapid.Int64Range(0, 3).Draw(t, "rows"), rapid.IntRange(0, 3).Draw(t, "cells")
		}
		return n
	})
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(one, 1, 5).Draw(t, "rules")
		var n, back Noise
		for i := range rules {
			n, back = n.Stricter(rules[i]), back.Stricter(rules[len(rules)-1-i])
		}
		if n.Kind.Rank() != back.Kind.Rank() || n.Release != back.Release || n.Budget != back.Budget || max(n.Rows, 1) != max(back.Rows, 1) || max(n.Cells, 1) != max(back.Cells, 1) {
			t.Fatalf("%+v and %+v", n, back)
		}
		for _, r := range rules {
			if r.Kind.Rank() > n.Kind.Rank() || r.Kind == NoiseDP && (!n.Release.Within(r.Release) || max(n.Rows, 1) > max(r.Rows, 1) || max(n.Cells, 1) > max(r.Cells, 1)) {
				t.Fatalf("%+v is weaker than %+v", n, r)
			}
		}
	})
	if n := (Noise{Kind: NoiseDP}).Stricter(Noise{Kind: "blurred"}); n.Kind.Covers(Count) || n.Stricter(Noise{Kind: NoiseExact}).Kind.Covers(Count) {
		t.Error("an unknown kind lets counts leave")
	}
}
