package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/opdomain/opdomain/sandbox/egress/audit"
)

// suppressed makes a cross table of amounts of which some cells are primary, small and of one contributor each; every margin is known.
func suppressed(seed uint64, primary int, sides ...int) audit.Table {
	rnd := rand.New(rand.NewPCG(seed, 6))
	labels := [][]string{{}}
	for _, n := range sides {
		var next [][]string
		for _, l := range labels {
			for i := range n {
				next = append(next, append(append([]string{}, l...), fmt.Sprint(i)))
			}
		}
		labels = next
	}
	n := len(labels)
	t := audit.Table{Cells: make([]audit.Cell, n), Equations: audit.Margins(labels),
		Layers: []audit.Layer{{Name: "amount", Values: make([]int64, n), Needs: make([]audit.Need, n), NonNegative: true}}}
	l := &t.Layers[0]
	rules := audit.Rules{Threshold: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}
	for i := range n {
		l.Values[i] = 200 + rnd.Int64N(2000)
		t.Cells[i].Cost = l.Values[i]
	}
	for _, i := range rnd.Perm(n)[:primary] {
		v := 1 + rnd.Int64N(300)
		l.Values[i], l.Needs[i] = v, rules.Amount(audit.Contributions([]int64{v}, 2), true)
		t.Cells[i] = audit.Cell{Status: audit.Primary, Cost: v}
		t.Views = append(t.Views, audit.View{{Cell: i, Sole: true}})
	}
	return t
}

// auditCases are the tables audited; the first is the goal's.
var auditCases = []struct {
	primary int
	sides   []int
	goal    string
}{
	{300, []int{40, 40}, "≤ 5 s"},
	{60, []int{40, 40}, ""},
	{1500, []int{100, 100}, ""},
	{40, []int{8, 8, 8}, ""},
}

// egressLines adds a section on secondary suppression: its time, what is left narrow, and its cost.
func egressLines(lines []string, repeat int) ([]string, error) {
	lines = append(lines, "", "## Secondary suppression and its audit", "",
		"Every margin of a table is known; each primary cell is one contributor's, who knows it, and must be open by 10 % of it to everybody and to each of the others. "+
			"Searches are maximum flows, of three-way tables exact simplex searches; reused are widths that an alternative table found before proves. One goroutine.", "",
		"| table | primary | hidden for them | ms | CPU ms | searches | reused | smallest interval ÷ required | goal |", "|---|---:|---:|---:|---:|---:|---:|---:|---|")
	for _, c := range auditCases {
		t := suppressed(1, c.primary, c.sides...)
		var r *audit.Report
		var wall, cpu time.Duration
		for i := range repeat {
			before, used := time.Now(), processorTime()
			var err error
			if r, err = audit.Protect(t, audit.Options{}); err != nil {
				return nil, err
			}
			took, spent := time.Since(before), processorTime()-used
			if i == 0 {
				wall, cpu = took, spent
			}
			wall, cpu = min(wall, took), min(cpu, spent)
		}
		if r.Refusal != nil || r.Smallest() < 1000 {
			return nil, fmt.Errorf("benchmarks: a table of %v is not protected", c.sides)
		}
		lines = append(lines, fmt.Sprintf("| %s | %d | %d | %.1f | %.1f | %d | %d | %.3f | %s |", times(c.sides), c.primary, len(r.Added),
			float64(wall.Microseconds())/1e3, float64(cpu.Microseconds())/1e3, r.Solved, r.Reused, float64(r.Smallest())/1000, c.goal))
	}
	lines = append(lines, "", "Cost of the pattern (values hidden) against the least there is, proven by the search for it; the greedy pattern is what larger tables get.", "",
		"| table | tables | least proven | pattern ÷ least | greedy ÷ least, mean | greedy ÷ least, worst |", "|---|---:|---:|---:|---:|---:|")
	for _, sides := range [][]int{{4, 5}, {6, 6}, {3, 3, 3}} {
		const tables = 20
		proven, worst, sum, own := 0, 0.0, 0.0, 0.0
		for seed := range uint64(tables) {
			t := suppressed(seed, 4, sides...)
			best, err := audit.Protect(t, audit.Options{})
			if err != nil {
				return nil, err
			}
			greedy, err := audit.Protect(t, audit.Options{Search: -1})
			if err != nil {
				return nil, err
			}
			if best.Refusal != nil || greedy.Refusal != nil {
				return nil, fmt.Errorf("benchmarks: a table of %v is not protected", sides)
			}
			if !best.Optimal || best.Cost == 0 {
				continue
			}
			proven++
			ratio := float64(greedy.Cost) / float64(best.Cost)
			sum, worst = sum+ratio, max(worst, ratio)
			own += float64(best.Cost) / float64(best.Bound)
		}
		if proven == 0 {
			lines = append(lines, fmt.Sprintf("| %s | %d | 0 | – | – | – |", times(sides), tables))
			continue
		}
		lines = append(lines, fmt.Sprintf("| %s | %d | %d | %.3f | %.3f | %.3f |", times(sides), tables, proven, own/float64(proven), sum/float64(proven), worst))
	}
	return lines, nil
}

// times writes the sides of a table.
func times(sides []int) string {
	s := ""
	for i, n := range sides {
		if i > 0 {
			s += "×"
		}
		s += fmt.Sprint(n)
	}
	return s
}
