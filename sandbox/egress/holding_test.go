package egress

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// TestHoldingsAreOneContributor: firms none of which is most of a cell are most of it as a group, and few groups of many people are still many people.
func TestHoldingsAreOneContributor(t *testing.T) {
	rows := people(0, 30, "a")
	all := func(of func(i uint32) uint32) *sandbox.Answer {
		a := claims(t, rows).answer()
		for i := range a.Population {
			a.Holdings = append(a.Holdings, of(uint32(i)))
		}
		return a
	}
	for name, c := range map[string]struct {
		a    *sandbox.Answer
		want []string
	}{
		"nobody is asked":        {claims(t, rows).answer(), nil},
		"each is its own":        {all(func(i uint32) uint32 { return i }), nil},
		"pairs":                  {all(func(i uint32) uint32 { return i / 2 }), nil},
		"one of 28, two of one":  {all(func(i uint32) uint32 { return max(i, 27) }), []string{RuleDominance, RulePPercent}},
		"one of them all":        {all(func(uint32) uint32 { return 0 }), []string{RuleDominance, RulePPercent}},
		"two, all there is":      {all(func(i uint32) uint32 { return i % 2 }), []string{RuleDominance, RulePPercent}},
		"numbers beyond people":  {all(func(i uint32) uint32 { return 1<<31 + i/3 }), nil},
		"a group of two and one": {all(func(i uint32) uint32 { return min(i, 2) }), []string{RuleDominance, RulePPercent}},
	} {
		got, err := Check("q-1", c.a, limits)
		if err != nil {
			t.Fatal(name, err)
		}
		if !slices.Equal(got.Cells[0].Rules, c.want) {
			t.Errorf("%s: breaks %v, want %v", name, got.Cells[0].Rules, c.want)
		}
	}
	short := claims(t, rows).answer()
	short.Holdings = []uint32{1}
	if _, err := Check("q-1", short, limits); err == nil {
		t.Error("fewer holdings than people pass")
	}
}

// TestHoldingsAgreeWithOnePerson: what a table of firms with holdings must hide by dominance is what one must hide whose firms are single persons,
// and a holding that knows its own part learns no more than a person would.
func TestHoldingsAgreeWithOnePerson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Params{MinSubjects: 3, DominanceN: 2, DominanceK: rapid.IntRange(60, 95).Draw(t, "k"), PPercent: 10}
		var firms, groups records
		firms.dims, groups.dims = 2, 2
		for r := range 3 {
			for c := range 3 {
				labels := []string{fmt.Sprint("r", r), fmt.Sprint("c", c)}
				for g := range rapid.IntRange(12, 16).Draw(t, "groups") {
					total := int64(0)
					for f := range 2 {
						v := int64(rapid.IntRange(1, 1000).Draw(t, "amount"))
						if rapid.IntRange(0, 12).Draw(t, "large") == 0 {
							v *= 100
						}
						total += v
						firms.all = append(firms.all, row{2*g + f, labels, yuan(v)})
					}
					groups.all = append(groups.all, row{g, labels, yuan(total)})
				}
			}
		}
		a, b := firms.answer(), groups.answer()
		for i := range a.Population {
			var n int
			if _, err := fmt.Sscanf(string(a.Population[i][:]), "pseudonym%07d", &n); err != nil {
				t.Fatal(err)
			}
			a.Holdings = append(a.Holdings, uint32(n/2))
		}
		// Amounts alone: how many rows and people there are differs.
		for _, x := range []*sandbox.Answer{a, b} {
			x.Measures, x.Sources = x.Measures[2:], x.Sources[2:]
			for i := range x.Cells {
				c := &x.Cells[i]
				c.Values, c.NonMissing, c.Contributions = c.Values[2:], c.NonMissing[2:], c.Contributions[2:]
			}
		}
		x, err := Check("q-1", a, p)
		if err != nil {
			t.Fatal(err)
		}
		y, err := Check("q-1", b, p)
		if err != nil {
			t.Fatal(err)
		}
		for i := range x.Cells {
			first := func(c *Checked) bool {
				return slices.ContainsFunc(c.Cells[i].Rules, func(r string) bool { return r == RuleDominance || r == RulePPercent })
			}
			if first(x) != first(y) {
				t.Fatalf("cell %d: by firms %v, by groups %v", i, x.Cells[i].Rules, y.Cells[i].Rules)
			}
		}
	})
}
