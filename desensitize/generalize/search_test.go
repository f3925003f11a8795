package generalize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// drawHierarchy makes one of a few values: each level merges some labels of the one before.
func drawHierarchy(t *rapid.T, name string) (*Hierarchy, []string) {
	values := []string{}
	for i := range rapid.IntRange(1, 5).Draw(t, name+" values") {
		values = append(values, fmt.Sprintf("%s%d", name, i))
	}
	group := make([]int, len(values))
	for i := range group {
		group[i] = i
	}
	rows := make([]string, len(values))
	copy(rows, values)
	for l := range rapid.IntRange(0, 2).Draw(t, name+" levels") {
		merged := make([]int, max(3, len(values)))
		for i := range merged {
			merged[i] = rapid.IntRange(0, 2).Draw(t, "parent")
		}
		for i := range group {
			group[i] = merged[group[i]]
			rows[i] += fmt.Sprintf(";%s-%d-%d", name, l, group[i])
		}
	}
	for i := range rows {
		rows[i] += ";*"
	}
	h, err := ReadHierarchy(strings.NewReader(strings.Join(rows, "\n")), name)
	if err != nil {
		t.Fatal(err)
	}
	return h, values
}

func drawTable(t *rapid.T, secret, population bool) *plainTable {
	p := &plainTable{}
	var values [][]string
	for d := range rapid.IntRange(1, 3).Draw(t, "columns") {
		h, v := drawHierarchy(t, string(rune('a'+d)))
		if rapid.IntRange(0, 3).Draw(t, "missing") == 0 {
			v = append(v, "")
		}
		p.quasi, p.hier, values = append(p.quasi, fmt.Sprintf("q%d", d)), append(p.hier, h), append(values, v)
	}
	draw := func() []string {
		var row []string
		for _, v := range values {
			row = append(row, rapid.SampledFrom(v).Draw(t, "value"))
		}
		return row
	}
	if secret {
		p.sensitive = "s"
	}
	for range rapid.IntRange(1, 30).Draw(t, "rows") {
		row := draw()
		if population {
			p.population = append(p.population, slices.Clone(row))
		}
		if secret {
			row = append(row, fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "secret")))
		} else {
			row = append(row, "")
		}
		p.rows = append(p.rows, row)
	}
	if population {
		for range rapid.IntRange(0, 20).Draw(t, "more people") {
			p.population = append(p.population, draw())
		}
	}
	return p
}

func drawGoal(t *rapid.T, secret, population bool) Goal {
	g := Goal{K: rapid.IntRange(1, 6).Draw(t, "k"), Suppression: rapid.SampledFrom([]float64{0, 0, 0.1, 0.3, 0.6, 1}).Draw(t, "limit"),
		Metric: rapid.SampledFrom([]Metric{Discernibility, AverageClass, Height, EntropyLoss}).Draw(t, "metric")}
	if secret {
		if kind := rapid.SampledFrom([]DiversityKind{"", Distinct, Entropy, Recursive}).Draw(t, "diversity"); kind != "" {
			g.Diversity = []Diversity{{"s", kind, float64(rapid.IntRange(1, 3).Draw(t, "l")), rapid.SampledFrom([]float64{0.5, 1, 2, 4}).Draw(t, "c")}}
		}
		if d := rapid.SampledFrom([]Distance{"", Equal, Ordered}).Draw(t, "distance"); d != "" {
			g.Closeness = []Closeness{{"s", rapid.SampledFrom([]float64{0.05, 0.1, 0.25, 0.5}).Draw(t, "t"), d, nil}}
		}
	}
	if population {
		g.KMap = rapid.IntRange(0, 8).Draw(t, "k-map")
		if rapid.Bool().Draw(t, "presence") {
			g.Presence = &Presence{Max: rapid.SampledFrom([]float64{0.3, 0.5, 0.8, 1}).Draw(t, "δ max")}
			if g.Suppression == 0 {
				g.Presence.Min = rapid.SampledFrom([]float64{0, 0.1, 0.3}).Draw(t, "δ min")
			}
		}
	}
	if g.K < 2 && g.KMap < 2 && g.Presence == nil && len(g.Diversity)+len(g.Closeness) == 0 {
		g.K = 2
	}
	return g
}

func (p *plainTable) table(t testing.TB) *Table {
	cfg := Config{Population: p.population != nil}
	for d, n := range p.quasi {
		cfg.Quasi = append(cfg.Quasi, Quasi{n, p.hier[d]})
	}
	names := append(slices.Clone(p.quasi), "s")
	if p.sensitive != "" {
		cfg.Sensitive = []string{"s"}
	}
	table, err := NewTable(cfg)
	if err != nil {
		t.Fatal(err)
	}
	half := len(p.rows) / 2 // two records: counts add up across them
	for _, part := range [][][]string{p.rows[:half], p.rows[half:]} {
		if err := table.Add(record(t, names, part)); err != nil {
			t.Fatal(err)
		}
	}
	if p.population != nil {
		if err := table.AddPopulation(record(t, p.quasi, p.population)); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

// release gives the published rows of a solution.
func release(t testing.TB, p *plainTable, table *Table, s *Solution) [][]string {
	r, err := table.Release(s)
	if err != nil {
		t.Fatal(err)
	}
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	in := record(t, append(slices.Clone(p.quasi), "s"), p.rows)
	out, err := r.Apply(mem, in)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Release()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return texts(out)
}

// TestOptimumLaw: on small random tables the search finds the least loss of all nodes, or that there is none, with and
// without marks at work, and every output satisfies the goal by the oracle's reading.
func TestOptimumLaw(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		secret, population := rapid.Bool().Draw(rt, "secret"), rapid.Bool().Draw(rt, "population")
		p, g := drawTable(rt, secret, population), drawGoal(rt, secret, population)
		g.CacheBytes = rapid.SampledFrom([]int64{0, 1, 500}).Draw(rt, "cache")
		table := p.table(t)
		want, found := p.optimum(g)
		s, err := table.Search(context.Background(), g)
		if !found {
			if !errors.Is(err, sandbox.Conflict) {
				rt.Fatalf("no node satisfies %+v, and the search says %v, %v", g, s, err)
			}
			return
		}
		if err != nil {
			rt.Fatalf("%+v: %v, but the least loss is %g", g, err, want)
		}
		if math.Abs(s.Value-want) > 1e-9*math.Max(1, want) {
			rt.Fatalf("%+v: loss %g at %v, the least is %g", g, s.Value, s.Levels, want)
		}
		if x := s.Search; !x.Proven || x.Evaluated+x.Infeasible+x.Bounded != x.Lattice {
			rt.Fatalf("not every node is accounted for: %+v", x)
		}
		loss, suppressed, ok := p.evaluate(g, s.Levels)
		if !ok || int64(suppressed) != s.Risk.Suppressed {
			rt.Fatalf("the oracle refuses the solution, or counts other suppressed rows")
		}
		for m, got := range map[Metric]float64{Discernibility: s.Loss.Discernibility, AverageClass: s.Loss.AverageClass, Height: float64(s.Loss.Height), EntropyLoss: s.Loss.Entropy} {
			if math.Abs(got-loss[m]) > 1e-9*math.Max(1, got) {
				rt.Fatalf("%s: %g, the oracle says %g", m, got, loss[m])
			}
		}
		out := release(t, p, table, s)
		if len(out) != len(p.rows)-suppressed {
			rt.Fatalf("%d rows published of %d, %d suppressed", len(out), len(p.rows), suppressed)
		}
		if err := p.holds(g, s.Levels, out); err != nil {
			rt.Fatalf("%+v: the output: %v", g, err)
		}
	})
}

// TestBoundsLaw: whatever a node claims of the nodes above and below it is true of each of them.
func TestBoundsLaw(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		secret, population := rapid.Bool().Draw(rt, "secret"), rapid.Bool().Draw(rt, "population")
		p, g := drawTable(rt, secret, population), drawGoal(rt, secret, population)
		s, err := p.table(t).newSearch(g)
		if err != nil {
			rt.Fatal(err)
		}
		verdicts := make([]verdict, len(s.marks))
		for at := range s.marks {
			verdicts[at] = s.judge(s.classesOf(s.levels(at)))
		}
		for at, v := range verdicts {
			for other, w := range verdicts {
				if below(s.levels(at), s.levels(other)) && w.feasible && w.loss < v.bound {
					rt.Fatalf("%+v: node %v bounds by %g, node %v loses %g", g, s.levels(at), v.bound, s.levels(other), w.loss)
				}
				if below(s.levels(other), s.levels(at)) && w.feasible && !v.grows {
					rt.Fatalf("%+v: node %v excludes finer ones, node %v is feasible", g, s.levels(at), s.levels(other))
				}
			}
		}
	})
}

// TestRollLaw: rolling up in any number of steps gives the same classes and histograms as counting rows at once.
func TestRollLaw(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawTable(rt, true, rapid.Bool().Draw(rt, "population"))
		s, err := p.table(t).newSearch(Goal{K: 2})
		if err != nil {
			rt.Fatal(err)
		}
		levels, cl := make([]uint8, len(p.quasi)), &classes{}
		s.roller.roll(cl, &s.f.base, levels)
		for range rapid.IntRange(0, 3).Draw(rt, "steps") {
			for d := range levels {
				levels[d] = uint8(rapid.IntRange(int(levels[d]), s.f.dims[d].levels()-1).Draw(rt, "level"))
			}
			next := &classes{}
			s.roller.roll(next, cl, levels)
			cl = next
		}
		ints := []int{}
		for _, l := range levels {
			ints = append(ints, int(l))
		}
		describe := func(size int, values map[string]int) string { return fmt.Sprint(size, values) }
		var want, got []string
		for _, rows := range p.group(p.rows, ints) {
			want = append(want, describe(len(rows), valueCounts(p.rows, rows, len(p.quasi))))
		}
		names := map[int]string{}
		table := p.table(t)
		for v, c := range table.sensitive[0].code {
			names[int(c)] = v
		}
		for i, n := range cl.count {
			if n == 0 {
				continue
			}
			values := map[string]int{}
			h := cl.hist[0]
			for e := h.from[i]; e < h.from[i+1]; e++ {
				values[names[int(h.value[e])]] += int(h.count[e])
			}
			got = append(got, describe(int(n), values))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			rt.Fatalf("rolled up %v, counted %v", got, want)
		}
	})
}
