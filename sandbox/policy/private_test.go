package policy

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestPrivateBudget: whatever is asked in whatever order, what was admitted never passes the budget in ε or in δ, a question is admitted
// exactly where it fits, what was drawn before is free, and what fits together fits in every order.
func TestPrivateBudget(t *testing.T) {
	f := facts(t)
	rapid.Check(t, func(t *rapid.T) {
		f := f
		p := *f.Profile
		p.Privacy.Epsilon.Value, p.Privacy.Delta.Value = rapid.Int64Range(1, 1000).Draw(t, "ε"), rapid.Int64Range(1, 1000).Draw(t, "δ")
		f.Profile = &p
		f.Spent = map[sandbox.DatasetID]sandbox.Privacy{"a": {}, "b": {}}
		d := query.Derivation{Inputs: []query.DerivedInput{{Input: query.Input{Dataset: "a"}}, {Input: query.Input{Dataset: "b"}}, {Input: query.Input{Dataset: "a"}}}}
		d.Noise = sandbox.Noise{Kind: sandbox.NoiseDP, Release: sandbox.Privacy{Epsilon: rapid.Int64Range(1, 100).Draw(t, "one ε"), Delta: rapid.Int64Range(1, 100).Draw(t, "one δ")},
			Budget: sandbox.Privacy{Epsilon: rapid.Int64Range(0, 2000).Draw(t, "owner's ε"), Delta: rapid.Int64Range(0, 2000).Draw(t, "owner's δ")}}
		most := Budget(f.Profile, d.Noise)
		if most.Epsilon > p.Privacy.Epsilon.Value || d.Noise.Budget.Delta > 0 && most.Delta > d.Noise.Budget.Delta {
			t.Fatalf("%s is more than the district's or the owner's", most)
		}
		admitted := 0
		for _, draws := range rapid.SliceOfN(rapid.IntRange(0, 9), 1, 40).Draw(t, "questions") {
			f.Draws = draws
			var why reasons
			f.private(&why, d)
			cost := d.Noise.Release.Times(admitted + draws)
			if fits := cost.Within(most); draws > 0 && fits != (len(why) == 0) || draws == 0 && len(why) > 0 {
				t.Fatalf("%d draws after %d of %s within %s: %+v", draws, admitted, d.Noise.Release, most, why)
			}
			for _, r := range why {
				if r.Code != CodePrivacy || r.Change == "" {
					t.Fatalf("%+v", r)
				}
			}
			if len(why) > 0 {
				continue
			}
			admitted += draws
			for id := range f.Spent {
				f.Spent[id] = d.Noise.Release.Times(admitted)
			}
			if !f.Spent["a"].Within(most) {
				t.Fatal("over the budget")
			}
		}
	})
	d := query.Derivation{Inputs: []query.DerivedInput{{Input: query.Input{Dataset: "a"}}}}
	d.Noise = sandbox.Noise{Kind: sandbox.NoiseDP, Release: sandbox.Privacy{Epsilon: 1, Delta: 1}}
	f.Draws = 1
	var why reasons
	if f.private(&why, d); len(why) != 1 {
		t.Error("a dataset of which nobody knows what was spent")
	}
}
