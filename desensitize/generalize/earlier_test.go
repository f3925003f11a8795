package generalize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// classesByRow gives the class of each row, "" where a goal suppresses it.
func (p *plainTable) classesByRow(g Goal, levels []int) []string {
	out := make([]string, len(p.rows))
	everyone := make([]int, len(p.rows))
	for i := range everyone {
		everyone[i] = i
	}
	all := valueCounts(p.rows, everyone, len(p.quasi))
	for k, rows := range p.group(p.rows, levels) {
		if plainHolds(g, len(rows), 0, valueCounts(p.rows, rows, len(p.quasi)), all) == nil {
			for _, r := range rows {
				out[r] = "class " + k
			}
		}
	}
	return out
}

// together judges several releases: rows of the same classes in all of them, at least one published, meet the goal.
func (p *plainTable) together(g Goal, releases ...[]string) bool {
	everyone, joint := make([]int, len(p.rows)), map[string][]int{}
	for i := range p.rows {
		everyone[i] = i
		key, published := "", false
		for _, r := range releases {
			key += fmt.Sprintf("%q", r[i])
			published = published || r[i] != ""
		}
		if published {
			joint[key] = append(joint[key], i)
		}
	}
	all := valueCounts(p.rows, everyone, len(p.quasi))
	for _, rows := range joint {
		if plainHolds(g, len(rows), 0, valueCounts(p.rows, rows, len(p.quasi)), all) != nil {
			return false
		}
	}
	return true
}

// TestEarlierLaw: with earlier releases the search gives the least loss of the nodes that meet the goal together with all of them,
// or says that there is none.
func TestEarlierLaw(t *testing.T) {
	refused, other := 0, 0
	sandboxtest.Until(t, func() bool { return refused > 0 }, func(rt *rapid.T) {
		secret := rapid.Bool().Draw(rt, "secret")
		p := drawTable(rt, secret, false)
		table := p.table(t)
		g := drawGoal(rt, secret, false)
		var before []Earlier
		var seen [][]string
		for range rapid.IntRange(1, 2).Draw(rt, "releases") {
			e := drawGoal(rt, secret, false)
			s, err := table.Search(context.Background(), e)
			if err != nil {
				continue
			}
			before, seen = append(before, Earlier{s.Levels, s.Left}), append(seen, p.classesByRow(e, s.Levels))
		}
		best, found := 0.0, false
		levels := make([]int, len(p.hier))
		for d := 0; d < len(levels); {
			if loss, _, ok := p.evaluate(g, levels); ok && (!found || loss[g.Metric] < best) && p.together(g, append(seen, p.classesByRow(g, levels))...) {
				best, found = loss[g.Metric], true
			}
			for d = 0; d < len(levels); d++ {
				if levels[d]++; levels[d] < p.hier[d].Levels() {
					break
				}
				levels[d] = 0
			}
		}
		alone, single := p.optimum(g)
		g.Earlier = before
		s, err := table.Search(context.Background(), g)
		if !found {
			if !errors.Is(err, sandbox.Conflict) {
				rt.Fatalf("no node satisfies %+v together with %v, and the search says %v, %v", g, before, s, err)
			}
			if single {
				refused++
			}
			return
		}
		if err != nil || math.Abs(s.Value-best) > 1e-9*math.Max(1, best) {
			rt.Fatalf("%+v: %v, %v; the least loss is %g", g, s, err, best)
		}
		if best > alone+1e-9 {
			other++
		}
	})
	t.Logf("%d refused for an earlier release, %d other optima", refused, other)
}

// TestEarlierRefusals: levels or classes that are not this table's are another version's.
func TestEarlierRefusals(t *testing.T) {
	p := small(t)
	g := Goal{K: 2}
	for what, e := range map[string]Earlier{
		"levels":    {Levels: []int{0}},
		"level":     {Levels: []int{9, 0}},
		"class":     {Levels: []int{0, 0}, Left: []int{1 << 20}},
		"class two": {Levels: []int{0, 0}, Left: []int{0, 0}},
	} {
		if len(p.quasi) == 1 && what == "levels" {
			e.Levels = nil
		}
		if len(p.quasi) == 1 && strings.HasPrefix(what, "class") {
			e.Levels = []int{0}
		}
		g.Earlier = []Earlier{e}
		if _, err := p.table(t).Search(t.Context(), g); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
