package egress

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// TestCrossedCopies: classes of two copies that have few people in common are found, however large each is; equal classes and disjoint ones are not.
func TestCrossedCopies(t *testing.T) {
	entry := func(q string, classes ...[]int) Entry {
		e := Entry{Question: sandbox.QuestionID(q), Datasets: []sandbox.DatasetID{"claims"}, Measures: []string{countMeasure}}
		for _, c := range classes {
			x := EntryCell{Adds: [][]int64{nil}}
			for _, p := range c {
				x.People, x.Adds[0] = append(x.People, uint64(p)), append(x.Adds[0], 1)
			}
			e.Cells = append(e.Cells, x)
		}
		return e
	}
	span := func(from, to int) (out []int) {
		for p := from; p < to; p++ {
			out = append(out, p)
		}
		return out
	}
	b := NewBook()
	b.Add(entry("q-1", span(0, 50), span(50, 100)))
	for name, c := range map[string]struct {
		e    Entry
		want int
	}{
		"the same":        {entry("q-2", span(0, 50), span(50, 100)), 0},
		"others":          {entry("q-2", span(100, 200)), 0},
		"one in common":   {entry("q-2", span(49, 100), span(0, 49)), 1},
		"nine in common":  {entry("q-2", span(0, 59), span(59, 100)), 9},
		"ten in common":   {entry("q-2", span(0, 60), span(60, 100)), 0},
		"coarser":         {entry("q-2", span(0, 100)), 0},
		"one and outside": {entry("q-2", span(99, 200)), 1},
	} {
		f := b.Crossed(c.e, []sandbox.QuestionID{"q-1"}, 10)
		if got := f != nil; got != (c.want > 0) || got && (f.People != c.want || f.Rule != RuleCrossing || f.Earlier != "q-1") {
			t.Errorf("%s: %+v, want %d people", name, f, c.want)
		}
	}
	if f := b.Crossed(entry("q-2", span(49, 100)), nil, 10); f != nil {
		t.Errorf("it looks at answers that are no copies: %+v", f)
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(q string) (Entry, []int) {
			classes, of := make([][]int, 3), make([]int, 40)
			for p := range of {
				of[p] = rapid.IntRange(0, 3).Draw(t, "class") - 1
				if of[p] >= 0 {
					classes[of[p]] = append(classes[of[p]], p)
				}
			}
			return entry(q, classes...), of
		}
		x, ofX := draw("x")
		y, ofY := draw("y")
		b := NewBook()
		b.Add(x)
		want, both := 0, map[string]int{}
		for p := range ofX {
			if ofX[p] >= 0 && ofY[p] >= 0 {
				both[fmt.Sprint(ofX[p], ofY[p])]++
			}
		}
		for _, n := range both {
			if n < 4 && (want == 0 || n < want) {
				want = n
			}
		}
		f := b.Crossed(y, []sandbox.QuestionID{"x"}, 4)
		if (f != nil) != (want > 0) || f != nil && f.People != want {
			t.Fatalf("%+v, want %d", f, want)
		}
	})
}
