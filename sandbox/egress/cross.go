package egress

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// RuleCrossing is the rule of copies of data sets whose classes cross (副本交叉): people whom two copies put into a class each, both large
// enough, may be few in both at once, and whoever has the two copies reads them as one.
const RuleCrossing = "crossing"

// Crossed compares the classes of a data set with those of earlier copies, named by their questions: where they have people in common,
// fewer than least, it gives the finding with the fewest.
func (b *Book) Crossed(e Entry, earlier []sandbox.QuestionID, least int) *Finding {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out *Finding
	fresh := b.compile(e)
	for _, old := range b.entries {
		if !slices.Contains(earlier, old.question) {
			continue
		}
		of := map[uint32]int{}
		for j := range old.cells {
			each(old.cells[j].who, func(_ int, who uint32) { of[who] = j })
		}
		counts := make([]int, len(old.cells))
		for i := range fresh.cells {
			clear(counts)
			each(fresh.cells[i].who, func(_ int, who uint32) {
				if j, ok := of[who]; ok {
					counts[j]++
				}
			})
			for j, n := range counts {
				if n > 0 && n < least && (out == nil || n < out.People) {
					out = &Finding{Earlier: old.question, Cell: i, Against: j, People: n, Rule: RuleCrossing}
				}
			}
		}
	}
	return out
}
