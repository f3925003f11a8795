package scan

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTraces: a row of a table that agrees with few people's rows is told; one that many share, or that agrees in fewer values, is not.
func TestTraces(t *testing.T) {
	table := [][]string{{"c1", "7", "12.50", "a"}, {"c2", "8", "9", "b"}, {"c3", "1", "1", "c"}}
	tr := NewTraces(table, 3)
	for i := range 30 {
		tr.Add([]string{"b", "9.00", "other", "8", fmt.Sprint(i)}, true) // shared by thirty
		tr.Add([]string{"7", "x", "a"}, false)                           // in two values
	}
	if got := tr.Few(10); len(got) != 0 {
		t.Errorf("%v", got)
	}
	tr.Add([]string{"a", "zz", "12.5", "7"}, true)
	tr.Add([]string{"1.0", "1", "c"}, true) // one value of the table, twice
	if got := tr.Few(10); !slices.Equal(got, []int{0}) {
		t.Errorf("%v", got)
	}
	if got := tr.Few(1); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestTracesCountPeople against a plain count: people, not rows.
func TestTracesCountPeople(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(n int) []string {
			return rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "1", "2"}), n, n).Draw(t, "row")
		}
		table := [][]string{draw(4), draw(4)}
		tr := NewTraces(table, 3)
		people := [2]map[int]bool{{}, {}}
		who := 0
		for range rapid.IntRange(0, 20).Draw(t, "rows") {
			next, row := rapid.Bool().Draw(t, "next"), draw(4)
			if next {
				who++
			}
			tr.Add(row, next)
			for i, x := range table {
				same := map[string]bool{}
				for _, v := range row {
					if slices.Contains(x, v) {
						same[v] = true
					}
				}
				if len(same) >= 3 {
					people[i][who] = true
				}
			}
		}
		for k := 1; k < 5; k++ {
			var want []int
			for i := range table {
				if n := len(people[i]); n > 0 && n < k {
					want = append(want, i)
				}
			}
			if got := tr.Few(k); !slices.Equal(got, want) {
				t.Fatalf("under %d: %v, not %v", k, got, want)
			}
		}
	})
}
