package egress

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/opdomain/opdomain/sandbox"
)

// maxSeeds bounds how many choices of cells are tried against one cell. Choosing the best is a covering problem; this is a
// search for likely attacks across answers, beside the exact comparison of every pair and the linear one of all.
const maxSeeds = 64

// subtract takes cells from one they lie inside and judges what is left by all primary rules: first the cells of each
// answer, which split rows and so add up, then cells of several answers that share no person. The new answer is the whole
// or a part of every subtraction. Among overlapping cells each of the largest is tried as the first choice, then the
// others by size.
func (c *comparison) subtract(whole place, parts []place) *Finding {
	for from := 0; from < len(parts); {
		to := from + 1
		for to < len(parts) && parts[to].answer == parts[from].answer {
			to++
		}
		if own := parts[from:to]; whole.answer == 0 || own[0].answer == 0 {
			if f := c.judge(whole, own); f != nil {
				return f
			}
		}
		from = to
	}
	parts = slices.DeleteFunc(slices.Clone(parts), func(x place) bool { return x.answer != 0 && !c.of[c.cell(x).crowd].near })
	if len(parts) == 0 || parts[0].answer == parts[len(parts)-1].answer {
		return nil
	}
	slices.SortStableFunc(parts, func(a, b place) int { return cmp.Compare(c.cell(b).n, c.cell(a).n) })
	seeds := 0
	for first := range parts {
		if whole.answer != 0 && parts[first].answer != 0 {
			continue
		}
		if seeds++; seeds > maxSeeds {
			break
		}
		taken := map[int]*roaring.Bitmap{parts[first].answer: c.cell(parts[first]).who.Clone()}
		chosen := []place{parts[first]}
		for i, x := range parts {
			free := i != first
			for answer, s := range taken {
				free = free && (answer == x.answer || !s.Intersects(c.cell(x).who))
			}
			if !free {
				continue
			}
			if taken[x.answer] == nil {
				taken[x.answer] = c.cell(x).who.Clone()
			} else {
				taken[x.answer].Or(c.cell(x).who)
			}
			chosen = append(chosen, x)
		}
		if len(taken) < 2 {
			continue
		}
		if f := c.judge(whole, chosen); f != nil {
			return f
		}
	}
	return nil
}

// names lists the measures that a cell and all of some others have.
func (c *comparison) names(whole place, parts []place) []string {
	names := slices.Clone(c.all[whole.answer].measures)
	for i, x := range parts {
		if i > 0 && x.answer == parts[i-1].answer {
			continue
		}
		names = slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(c.all[x.answer].measures, n) })
	}
	return names
}

// judge applies the primary rules to what is left of a cell without some cells inside it. That nobody is left, or that
// those left add nothing, says nothing new about anybody in particular.
func (c *comparison) judge(whole place, parts []place) *Finding {
	names := c.names(whole, parts)
	if c.nothing(whole, parts, names) || c.plenty(whole, parts, names) || c.enough(whole, parts, names) {
		return nil
	}
	w := c.cell(whole)
	at := make(map[uint32]int32)
	var dense []int32
	if w.n > 1<<10 {
		dense = make([]int32, len(c.b.numbers.tokens))
	}
	each(w.who, func(k int, who uint32) {
		if dense != nil {
			dense[who] = int32(k)
		} else {
			at[who] = int32(k)
		}
	})
	rest, touched := make([][]int64, len(names)), make([]bool, w.n)
	for i, n := range names {
		m := slices.Index(c.all[whole.answer].measures, n)
		rest[i] = make([]int64, w.n)
		for k := range rest[i] {
			rest[i][k] = w.adds[m].at(k)
		}
	}
	for _, x := range parts {
		part := c.cell(x)
		var which []int
		for _, n := range names {
			which = append(which, slices.Index(c.all[x.answer].measures, n))
		}
		each(part.who, func(k int, who uint32) {
			i := at[who]
			if dense != nil {
				i = dense[who]
			}
			touched[i] = true
			for m, from := range which {
				rest[m][i] = less(rest[m][i], part.adds[from].at(k))
			}
		})
	}
	left := group{parts: make([][]int64, len(names))}
	for i := range touched {
		differs := !touched[i]
		for m := range rest {
			if v := rest[m][i]; v != 0 {
				left.parts[m] = append(left.parts[m], v)
				differs = true
			}
		}
		if differs {
			left.people++
		}
	}
	if left.people == 0 {
		return nil
	}
	var measures []sandbox.Measure
	var weighed [][]int64
	fewest := left.people
	for m, n := range names {
		if len(left.parts[m]) == 0 {
			continue
		}
		f := sandbox.Sum
		if counts(n) {
			f = sandbox.Count
		}
		measures, weighed = append(measures, sandbox.Measure{Name: n, Func: f}), append(weighed, left.parts[m])
		fewest = min(fewest, len(left.parts[m]))
	}
	rules := judge(group{people: left.people, parts: weighed}, measures, c.p)
	if frequency(fewest, c.p) && !slices.Contains(rules, RuleFrequency) {
		rules = append([]string{RuleFrequency}, rules...) // row counts differ on few people
	}
	if len(rules) == 0 {
		return nil
	}
	return c.found(whole, parts, fewest, rules)
}

// counts says whether a measure counts rows.
func counts(name string) bool {
	return name == countMeasure || strings.HasPrefix(name, countMeasure+":")
}

// nothing says whether the cells are the whole: everybody in it is in one of them, and adds there what it adds to the whole.
func (c *comparison) nothing(whole place, parts []place, names []string) bool {
	var people fingerprint
	for _, x := range parts {
		people.add(c.cell(x).mark)
	}
	if people != c.cell(whole).mark { // or some people are in several: then it is looked into
		return false
	}
	for _, n := range names {
		var sum fingerprint
		for _, x := range parts {
			sum.add(c.added(x, n).mark)
		}
		if sum != c.added(whole, n).mark {
			return false
		}
	}
	return true
}

func (c *comparison) added(at place, name string) *added1 {
	return &c.cell(at).adds[slices.Index(c.all[at.answer].measures, name)]
}

// plenty says that what is left of a cell breaks no rule by bounds alone, which spares a look at everybody: enough people are in no part,
// and of amounts of one sign what is left is so much that nobody can hold too much of it.
func (c *comparison) plenty(whole place, parts []place, names []string) bool {
	w := c.cell(whole)
	left := w.n
	for _, x := range parts {
		left -= c.cell(x).n
	}
	if left < max(c.p.MinSubjects, 1) {
		return false
	}
	most := map[string]wide{} // at most what one person adds to all parts together
	for i, x := range parts {
		if i > 0 && x.answer == parts[i-1].answer {
			continue
		}
		for _, n := range names {
			e := c.all[x.answer]
			most[n] = most[n].add(e.most[slices.Index(e.measures, n)])
		}
	}
	for _, n := range names {
		a := c.added(whole, n)
		counted, sum := a.counted, signed{a.hi, a.lo}
		if a.negative {
			return false
		}
		largest := wide{0, a.largest}
		for _, x := range parts {
			b := c.added(x, n)
			if b.negative {
				return false
			}
			counted, sum = counted-b.counted, sum.less(signed{b.hi, b.lo})
		}
		if largest.less(most[n]) {
			largest = most[n]
		}
		if counted < max(c.p.MinSubjects, 1) || sum.hi < 0 {
			return false
		}
		if c.concentrated(wide{uint64(sum.hi), sum.lo}, largest) { // of magnitudes there are at least so many
			return false
		}
		if !counts(n) && !c.unequal(whole, parts, a) {
			return false
		}
	}
	return true
}

// enough says the same of cells of the new answer inside an earlier one, after as many people as it takes: what is left of these alone is so
// much, in enough different parts, that whatever the others have left, nobody holds too much of it.
func (c *comparison) enough(whole place, parts []place, names []string) bool {
	if whole.answer == 0 || len(parts) == 0 || slices.ContainsFunc(parts, func(x place) bool { return x.answer != 0 }) {
		return false
	}
	w, e := c.cell(whole), c.all[0]
	taken := make([]bool, len(e.cells))
	for _, x := range parts {
		taken[x.cell] = true
	}
	type sofar struct {
		old, new int // the measure on both sides
		counts   bool
		bound    wide // of one person's rest
		sum      wide
		people   int
		first    int64
		unequal  bool
		done     bool
	}
	left := make([]sofar, len(names))
	for i, n := range names {
		x := &left[i]
		x.old, x.new, x.counts = slices.Index(c.all[whole.answer].measures, n), slices.Index(e.measures, n), counts(n)
		x.bound = wide{0, w.adds[x.old].largest}.add(e.most[x.new])
	}
	people, open := 0, len(left)
	it := w.who.Iterator()
	for k := 0; it.HasNext(); k++ {
		who := it.Next()
		differs := true
		cells := c.codes[c.starts[who]:c.starts[who+1]]
		for _, i := range cells {
			differs = differs && !taken[i]
		}
		for m := range left {
			x := &left[m]
			rest := w.adds[x.old].at(k)
			for _, i := range cells {
				if !taken[i] {
					continue
				}
				rest = less(rest, e.cells[i].adds[x.new].at(int(e.cells[i].who.Rank(who))-1))
			}
			if rest == 0 {
				continue
			}
			differs = true
			if x.people == 0 {
				x.first = rest
			}
			x.people++
			x.unequal = x.unequal || rest != x.first
			x.sum = x.sum.add(wide{0, magnitude(rest)})
			if !x.done {
				x.done = x.people >= c.p.MinSubjects && (x.counts || x.unequal) && !c.concentrated(x.sum, x.bound)
				if x.done {
					open--
				}
			}
		}
		if differs {
			people++
		}
		if people >= c.p.MinSubjects && open == 0 {
			return true
		}
		if k == 1<<14 && (people == 0 || open > 0) { // the whole look is cheaper now
			return false
		}
	}
	return false
}

// concentrated says whether people of whom none has more than a bound could hold too much of a sum.
func (c *comparison) concentrated(sum, bound wide) bool {
	if sum.times(uint64(c.p.DominanceK)).less(bound.times(uint64(max(c.p.DominanceN, 1))).times(100)) {
		return true
	}
	two := bound.times(2)
	return sum.less(two) || sum.sub(two).times(c.p.prior()).less(bound.times(uint64(c.p.PPercent)))
}

// unequal says that two people who are in no part add different amounts.
func (c *comparison) unequal(whole place, parts []place, a *added1) bool {
	first, seen, found := int64(0), false, false
	it := c.cell(whole).who.Iterator()
	for k := 0; it.HasNext() && k < 1<<12; k++ {
		who := it.Next()
		v := a.at(k)
		if v == 0 || slices.ContainsFunc(parts, func(x place) bool { return c.cell(x).who.Contains(who) }) {
			continue
		}
		if !seen {
			first, seen = v, true
		} else if v != first {
			found = true
			break
		}
	}
	return found
}

// signed is a sum in 128 bits.
type signed struct {
	hi int64
	lo uint64
}

// within gives the sum, or the end of the range it lies beyond.
func (a signed) within() int64 {
	switch {
	case a.hi == int64(a.lo)>>63:
		return int64(a.lo)
	case a.hi < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

func (a signed) less(b signed) signed {
	lo := a.lo - b.lo
	borrow := int64(0)
	if a.lo < b.lo {
		borrow = 1
	}
	return signed{a.hi - b.hi - borrow, lo}
}
