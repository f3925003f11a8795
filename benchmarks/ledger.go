package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

const (
	ledgerPeople   = 1_000_000
	ledgerReleases = 1_000
	ledgerSide     = 100 // groups of each of the two dimensions of the new table
)

// mix is a number that looks random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ledgerSection measures the comparison of one new table with a ledger of earlier ones over the same people.
func ledgerSection(releases, repeat int) (string, error) {
	tokens := make([]uint64, ledgerPeople)
	for i := range tokens {
		tokens[i] = mix(uint64(i))
	}
	slices.Sort(tokens)
	// table groups the people that a filter keeps; amounts are of the data's version.
	table := func(q sandbox.QuestionID, keep func(uint64) bool, group func(uint64) int, groups int, version uint64) (e egress.Entry, members int) {
		e = egress.Entry{Question: q, Datasets: []sandbox.DatasetID{"claims"}, Measures: []string{"count", "sum:claims.amount"}}
		cells := make([]egress.EntryCell, groups)
		for i := range cells {
			cells[i].Adds = make([][]int64, 2)
		}
		for i, t := range tokens {
			if !keep(t) {
				continue
			}
			c, h := &cells[group(t)], mix(t+version)
			c.People = append(c.People, tokens[i])
			c.Adds[0] = append(c.Adds[0], int64(1+h%4))
			c.Adds[1] = append(c.Adds[1], int64(h%1_000_000))
			members++
		}
		e.Cells = slices.DeleteFunc(cells, func(c egress.EntryCell) bool { return len(c.People) < 10 })
		return e, members
	}
	b := egress.NewBook()
	began, all, cells := time.Now(), 0, 0
	for r := range releases {
		// A tenth to all of the people, by one of 40 filters; 1 to 60 groups by one of 25 attributes; one of four versions of the data.
		share, filter, by, groups := []uint64{1000, 500, 250, 100, 100}[r%5], uint64(r%40)+1000, uint64(r%25)+5000, 1+r*7%60
		e, n := table(sandbox.QuestionID(fmt.Sprint("q-", r)), func(t uint64) bool { return mix(t^filter)%1000 < share },
			func(t uint64) int { return int(mix(t^by) % uint64(groups)) }, groups, uint64(r%4))
		b.Add(e)
		all, cells = all+n, cells+len(e.Cells)
	}
	built := time.Since(began)
	fresh, _ := table("q-new", func(uint64) bool { return true }, func(t uint64) int {
		return int(mix(t^7000)%ledgerSide)*ledgerSide + int(mix(t^7001)%ledgerSide)
	}, ledgerSide*ledgerSide, 3)
	best, cpu := time.Duration(0), time.Duration(0)
	var c egress.Comparison
	for range repeat {
		began, used := time.Now(), processorTime()
		c = b.Compare(fresh, egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10})
		if took := time.Since(began); best == 0 || took < best {
			best, cpu = took, processorTime()-used
		}
	}
	verdict := "nothing found"
	if c.Finding != nil {
		verdict = "found: " + c.Finding.Rule
	}
	return fmt.Sprintf("\n## The ledger\n\nA new table of %d×%d cells over %d people, compared with %d earlier answers on the same dataset (%d cells, %d people in them together; filters of a tenth to all, four versions of the data; read in %.0f s): "+
		"**%.2f s** (%.2f s of CPU), %s. Combinations of more than %d cells are not searched: such an answer leaves by people's review only.\n",
		ledgerSide, ledgerSide, ledgerPeople, releases, cells, all, built.Seconds(), best.Seconds(), cpu.Seconds(), verdict, egress.MaxCombined), nil
}
