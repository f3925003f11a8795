package egress

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/opdomain/opdomain/sandbox"
)

// place is a cell of one of the answers compared; answer 0 is the new one.
type place struct{ answer, cell int }

// comparison is one new answer before all earlier ones.
type comparison struct {
	b         *Book
	p         Params
	all       []*bookEntry
	starts    []uint32 // by person: where its cells of the new answer begin in codes
	codes     []uint32
	only      []uint16        // by person: its only cell, or none; nil where people are in several, or cells are too many
	witnesses *roaring.Bitmap // one person of each cell of the new answer
	further   [][]uint32      // a few more, by cell
	greatest  int             // people in a cell of the new answer
	groups    []*met
	of        map[*crowd]*met
	inside    map[int][]place // cell of the new answer → earlier cells whose people are all in it
}

// met is one group of people of earlier cells, and how the new answer's cells meet it.
type met struct {
	*crowd
	places []place
	inside []int32 // new cells whose people are all in it
	near   bool    // taken into combinations
	hit    *Finding
	at     [3]int // answer, new cell, old cell of the hit
}

// Compare holds a new entry against every other in the book that shares a dataset with it. What it finds first does not follow
// from the order of asking. Memory is in proportion to the people of the largest cells; the work is one look at every person of every
// distinct group of people.
func (b *Book) Compare(e Entry, p Params) Comparison {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := comparison{b: b, p: p, all: []*bookEntry{b.compile(e)}, inside: map[int][]place{}}
	for _, x := range b.entries { // in the order of their names
		if x.question != e.Question && slices.ContainsFunc(e.Datasets, func(d sandbox.DatasetID) bool { return slices.Contains(x.datasets, d) }) {
			c.all = append(c.all, x)
		}
	}
	c.index()
	if f := c.meet(); f != nil {
		return Comparison{Finding: f}
	}
	whole := c.near()
	for i := range c.all[0].cells {
		if f := c.subtract(place{0, i}, c.inside[i]); f != nil {
			return Comparison{Finding: f}
		}
	}
	if f := c.wholes(); f != nil {
		return Comparison{Finding: f}
	}
	out := c.combine()
	if out.Finding == nil && !whole {
		out.Uncertified = tooMany
	}
	return out
}

// near finds the earlier cells that a combination with the new answer could take in: those that share people with it, those that share
// people with these, and so on, up to MaxCombined cells in all. It says whether these are all.
func (c *comparison) near() bool {
	cells, reach := len(c.all[0].cells), roaring.New()
	for i := range c.all[0].cells {
		reach.Or(c.all[0].cells[i].who)
	}
	for grown := true; grown; {
		grown = false
		next := reach.Clone()
		for _, g := range c.groups {
			if g.near || !g.who.Intersects(reach) {
				continue
			}
			if cells += len(g.places); cells > MaxCombined {
				return false
			}
			g.near, grown = true, true
			next.Or(g.who)
		}
		reach = next
	}
	return true
}

// index lists for each person the cells of the new answer it is in.
func (c *comparison) index() {
	e := c.all[0]
	n := len(c.b.numbers.tokens)
	c.starts = make([]uint32, n+2)
	total := 0
	for i := range e.cells {
		total += e.cells[i].n
		c.greatest = max(c.greatest, e.cells[i].n)
		each(e.cells[i].who, func(_ int, who uint32) { c.starts[who+2]++ })
	}
	for i := 2; i < len(c.starts); i++ {
		c.starts[i] += c.starts[i-1]
	}
	c.codes = make([]uint32, total)
	for i := range e.cells {
		each(e.cells[i].who, func(_ int, who uint32) {
			c.codes[c.starts[who+1]] = uint32(i)
			c.starts[who+1]++
		})
	}
	c.starts = c.starts[:n+1]
	if len(e.cells) >= none {
		return
	}
	for i := range n {
		if c.starts[i+1]-c.starts[i] > 1 {
			return
		}
	}
	c.only = make([]uint16, n)
	for i := range c.only {
		if c.only[i] = none; c.starts[i] < c.starts[i+1] {
			c.only[i] = uint16(c.codes[c.starts[i]])
		}
	}
	c.witnesses, c.further = roaring.New(), make([][]uint32, len(e.cells))
	for i := range e.cells {
		it := e.cells[i].who.Iterator()
		if it.HasNext() {
			c.witnesses.Add(it.Next())
		}
		for it.HasNext() && len(c.further[i]) < further {
			c.further[i] = append(c.further[i], it.Next())
		}
	}
}

const (
	none    = 1<<16 - 1 // no cell
	further = 3         // people of a cell that are looked at before all
)

// each calls f for every person of a group with its place among them.
func each(who *roaring.Bitmap, f func(k int, who uint32)) {
	var buf [1024]uint32
	it := who.ManyIterator()
	k := 0
	for n := it.NextMany(buf[:]); n > 0; n = it.NextMany(buf[:]) {
		for _, w := range buf[:n] {
			f(k, w)
			k++
		}
	}
}

func (c *comparison) cell(at place) *bookCell { return &c.all[at.answer].cells[at.cell] }

// gather lists the distinct groups of people of earlier cells.
func (c *comparison) gather() {
	c.of = map[*crowd]*met{}
	for answer := 1; answer < len(c.all); answer++ {
		for j := range c.all[answer].cells {
			p := c.all[answer].cells[j].crowd
			g := c.of[p]
			if g == nil {
				g = &met{crowd: p}
				c.of[p], c.groups = g, append(c.groups, g)
			}
			g.places = append(g.places, place{answer, j})
		}
	}
}

// count gives the new answer's cells that share people with a group, and adds to counts with how many.
func (c *comparison) count(g *met, counts []uint32) (touched []uint32) {
	var buf [1024]uint32
	it := g.who.ManyIterator()
	if c.only != nil { // half a table, and no second one
		for n := it.NextMany(buf[:]); n > 0; n = it.NextMany(buf[:]) {
			for _, w := range buf[:n] {
				i := c.only[w]
				if i == none {
					continue
				}
				if counts[i] == 0 {
					touched = append(touched, uint32(i))
				}
				counts[i]++
			}
		}
		return touched
	}
	for n := it.NextMany(buf[:]); n > 0; n = it.NextMany(buf[:]) {
		for _, w := range buf[:n] {
			for _, i := range c.codes[c.starts[w]:c.starts[w+1]] {
				if counts[i] == 0 {
					touched = append(touched, i)
				}
				counts[i]++
			}
		}
	}
	return touched
}

// around finds the new answer's cells inside a large group by a few people of each, without a look at everybody in the group; false where
// that is no less work.
func (c *comparison) around(g *met) bool {
	if c.only == nil {
		return false
	}
	e := c.all[0]
	var left []int32
	people := 0
	it := roaring.And(g.who, c.witnesses).Iterator()
next:
	for it.HasNext() {
		i := c.only[it.Next()]
		for _, w := range c.further[i] {
			if !g.who.Contains(w) {
				continue next
			}
		}
		left, people = append(left, int32(i)), people+e.cells[i].n
	}
	if 4*people > g.n {
		return false
	}
	for _, i := range left {
		if int(e.cells[i].who.AndCardinality(g.who)) == e.cells[i].n {
			g.inside = append(g.inside, i)
		}
	}
	slices.Sort(g.inside)
	return true
}

// meet counts, for every distinct group of people of earlier cells, how many each cell of the new answer shares with it, and judges all
// pairs: by the number of people on whom two cells differ, who is in one and not the other, or adds something else; and for each
// measure, on whose amounts they differ.
func (c *comparison) meet() *Finding {
	c.gather()
	least := make([]int, len(c.all[0].cells)) // of people, and of those who add to a measure
	for i := range least {
		least[i] = fewestAdding(&c.all[0].cells[i])
	}
	outer := make([][]int32, len(c.groups)) // by group: cells of the new answer that all of it is in
	fanOut(len(c.groups), func() func(int) {
		counts := make([]uint32, len(c.all[0].cells))
		return func(k int) {
			g := c.groups[k]
			fewest := g.n
			for _, at := range g.places {
				fewest = min(fewest, fewestAdding(c.cell(at)))
			}
			if fewest > 2*c.greatest+c.p.MinSubjects && c.around(g) { // too large to be in a new cell, or nearly one
				return
			}
			touched := c.count(g, counts)
			for _, i := range touched {
				common := int(counts[i])
				counts[i] = 0
				cell := &c.all[0].cells[i]
				if common == cell.n {
					g.inside = append(g.inside, int32(i))
				}
				if common == g.n {
					outer[k] = append(outer[k], int32(i))
				}
				if 2*common+c.p.MinSubjects > least[i]+fewest {
					c.pairs(g, int(i), common)
				}
			}
			slices.Sort(g.inside)
		}
	})
	var first *met
	for k, g := range c.groups {
		if g.hit != nil && (first == nil || slices.Compare(g.at[:], first.at[:]) < 0) {
			first = g
		}
		for _, i := range outer[k] {
			c.inside[int(i)] = append(c.inside[int(i)], g.places...)
		}
	}
	if first != nil {
		return first.hit
	}
	for i := range c.inside {
		slices.SortFunc(c.inside[i], func(a, b place) int {
			return cmp.Or(cmp.Compare(a.answer, b.answer), cmp.Compare(a.cell, b.cell))
		})
	}
	return nil
}

func fewestAdding(x *bookCell) int {
	n := x.n
	for m := range x.adds {
		n = min(n, x.adds[m].counted)
	}
	return n
}

// fanOut calls a function of each worker for 0 to n-1.
func fanOut(n int, worker func() func(int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			do := worker()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wait.Wait()
}

// pairs judges one cell of the new answer with all cells of a group of people.
func (c *comparison) pairs(g *met, i, common int) {
	type sameParts struct {
		measure int
		mark    fingerprint
	}
	known := map[sameParts]int{} // cells of several answers add the same
	cell := &c.all[0].cells[i]
	for _, at := range g.places {
		old := c.cell(at)
		mine, theirs := shared(c.all[0].measures, c.all[at.answer].measures)
		apart := cell.n + old.n - 2*common
		equal := apart == 0
		few := func(d int) bool { return d > 0 && frequency(d, c.p) }
		worst := 0
		for s := range mine {
			a, b := &cell.adds[mine[s]], &old.adds[theirs[s]]
			if a.mark == b.mark {
				continue // the same people add the same
			}
			equal = false
			if max(a.counted-b.counted, b.counted-a.counted, a.counted+b.counted-2*common) >= c.p.MinSubjects {
				continue
			}
			key := sameParts{mine[s], b.mark}
			d, ok := known[key]
			if !ok {
				d = c.differ(cell, old, []int{mine[s]}, []int{theirs[s]}, false)
				known[key] = d
			}
			if few(d) && (worst == 0 || d < worst) {
				worst = d
			}
		}
		if !equal && apart < c.p.MinSubjects {
			if d := c.differ(cell, old, mine, theirs, true); few(d) {
				worst = d
			}
		}
		if worst > 0 {
			key := [3]int{at.answer, i, at.cell}
			if g.hit == nil || slices.Compare(key[:], g.at[:]) < 0 {
				g.hit, g.at = c.found(place{0, i}, []place{at}, worst, []string{RuleFrequency}), key
			}
		}
	}
}

// differ counts the people who add something else to one of some measures; with heads, those who are in one cell only as well.
func (c *comparison) differ(x, y *bookCell, mine, theirs []int, heads bool) int {
	n := 0
	a, b := x.who.Iterator(), y.who.Iterator()
	i, j := 0, 0
	alone := func(cell *bookCell, k int, which []int) {
		adds := heads
		for _, m := range which {
			adds = adds || cell.adds[m].at(k) != 0
		}
		if adds {
			n++
		}
	}
	for a.HasNext() || b.HasNext() {
		switch {
		case !b.HasNext() || a.HasNext() && a.PeekNext() < b.PeekNext():
			alone(x, i, mine)
			a.Next()
			i++
		case !a.HasNext() || b.PeekNext() < a.PeekNext():
			alone(y, j, theirs)
			b.Next()
			j++
		default:
			for s := range mine {
				if x.adds[mine[s]].at(i) != y.adds[theirs[s]].at(j) {
					n++
					break
				}
			}
			a.Next()
			b.Next()
			i, j = i+1, j+1
		}
	}
	return n
}

// shared lists the measures both have, as indexes into each.
func shared(a, b []string) (x, y []int) {
	for i, m := range a {
		if j := slices.Index(b, m); j >= 0 {
			x, y = append(x, i), append(y, j)
		}
	}
	return x, y
}

// wholes takes cells of the new answer from earlier cells they lie inside.
func (c *comparison) wholes() *Finding {
	fanOut(len(c.groups), func() func(int) {
		return func(k int) {
			g := c.groups[k]
			if len(g.inside) == 0 {
				return
			}
			own := make([]place, len(g.inside))
			for i, x := range g.inside {
				own[i] = place{0, int(x)}
			}
			for _, at := range g.places {
				if g.hit != nil && slices.Compare([]int{at.answer, at.cell}, []int{g.at[0], g.at[2]}) > 0 {
					continue
				}
				if f := c.subtract(at, slices.Concat(own, c.others(at))); f != nil {
					g.hit, g.at = f, [3]int{at.answer, 0, at.cell}
				}
			}
		}
	})
	var first *met
	for _, g := range c.groups {
		if g.hit != nil && (first == nil || slices.Compare(g.at[:], first.at[:]) < 0) {
			first = g
		}
	}
	if first == nil {
		return nil
	}
	return first.hit
}

// others lists cells of other earlier answers whose people are all in an earlier cell.
func (c *comparison) others(at place) []place {
	var out []place
	whole := c.cell(at)
	for _, g := range c.groups {
		if !g.near || g.n > whole.n || int(g.who.AndCardinality(whole.who)) != g.n {
			continue
		}
		for _, x := range g.places {
			if x.answer != at.answer {
				out = append(out, x)
			}
		}
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Or(cmp.Compare(a.answer, b.answer), cmp.Compare(a.cell, b.cell)) })
	return out
}
