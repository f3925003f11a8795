package egress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Compare holds a new entry against every earlier one that shares a dataset with it and gives the first finding.
// plainCompare is the comparison without a book, one pair of cells at a time: what Book is held to.
func plainCompare(e Entry, earlier []Entry, p Params) (Finding, bool) {
	c := plainComparison{all: []*Entry{&e}, p: p, inside: map[place][]place{}}
	for i := range earlier {
		if earlier[i].Question != e.Question && slices.ContainsFunc(e.Datasets, func(d sandbox.DatasetID) bool { return slices.Contains(earlier[i].Datasets, d) }) {
			c.all = append(c.all, &earlier[i])
		}
	}
	// Which finding is given, and which cells are tried first, does not follow from the order of asking.
	slices.SortFunc(c.all[1:], func(a, b *Entry) int { return cmp.Compare(a.Question, b.Question) })
	for old := 1; old < len(c.all); old++ {
		if f, hit := c.meet(old); hit {
			return f, true
		}
	}
	for i := range e.Cells {
		if f, hit := c.subtract(place{0, i}, c.inside[place{0, i}]); hit {
			return f, true
		}
	}
	for old := 1; old < len(c.all); old++ {
		for j := range c.all[old].Cells {
			at := place{old, j}
			if c.inside[at] == nil {
				continue
			}
			if f, hit := c.subtract(at, slices.Concat(c.inside[at], c.others(at))); hit {
				return f, true
			}
		}
	}
	return Finding{}, false
}

// plainComparison is one new answer before all earlier ones.
type plainComparison struct {
	all    []*Entry
	p      Params
	inside map[place][]place // cell → cells of the other side whose people are all in it; one of the two is the new answer's
}

func (c *plainComparison) cell(at place) *EntryCell { return &c.all[at.answer].Cells[at.cell] }

// plainPair is how a cell of one answer meets a cell of another.
type plainPair struct {
	common  int   // people in both
	changed int   // of them, those who add something else to a shared measure
	delta   []int // per shared measure: of them, those who add something else, less those counted on either side
}

// meet compares each cell of the new answer with each of an earlier one by the number of people on whom they differ: who
// is in one and not the other, or adds something else; and, for each measure, on whose amounts they differ.
func (c *plainComparison) meet(old int) (Finding, bool) {
	e, o := c.all[0], c.all[old]
	mine, theirs := shared(e.Measures, o.Measures)
	type at struct{ cell, k int32 }
	where := map[uint64][]at{}
	for j := range o.Cells {
		for k, t := range o.Cells[j].People {
			where[t] = append(where[t], at{int32(j), int32(k)})
		}
	}
	for i := range e.Cells {
		cell := &e.Cells[i]
		met := map[int]*plainPair{}
		for k, t := range cell.People {
			for _, w := range where[t] {
				m := met[int(w.cell)]
				if m == nil {
					m = &plainPair{delta: make([]int, len(mine))}
					met[int(w.cell)] = m
				}
				m.common++
				changed := false
				for s := range mine {
					a, b := cell.Adds[mine[s]][k], o.Cells[w.cell].Adds[theirs[s]][w.k]
					if a != b {
						changed = true
						m.delta[s]++
					}
					if a != 0 {
						m.delta[s]--
					}
					if b != 0 {
						m.delta[s]--
					}
				}
				if changed {
					m.changed++
				}
			}
		}
		for j := range o.Cells {
			m := met[j]
			if m == nil {
				continue
			}
			differ := []int{len(cell.People) + len(o.Cells[j].People) - 2*m.common + m.changed}
			for s := range mine {
				differ = append(differ, counted(cell.Adds[mine[s]])+counted(o.Cells[j].Adds[theirs[s]])+m.delta[s])
			}
			for _, d := range differ {
				if d > 0 && frequency(d, c.p) {
					return c.found(place{0, i}, []place{{old, j}}, d, []string{RuleFrequency}), true
				}
			}
			if m.common == len(o.Cells[j].People) {
				c.inside[place{0, i}] = append(c.inside[place{0, i}], place{old, j})
			}
			if m.common == len(cell.People) {
				c.inside[place{old, j}] = append(c.inside[place{old, j}], place{0, i})
			}
		}
	}
	return Finding{}, false
}

func counted(adds []int64) (n int) {
	for _, v := range adds {
		if v != 0 {
			n++
		}
	}
	return n
}

// others lists cells of other earlier answers whose people are all in an earlier cell.
func (c *plainComparison) others(at place) []place {
	var out []place
	whole := c.cell(at).People
	for old := 1; old < len(c.all); old++ {
		for j := range c.all[old].Cells {
			if old != at.answer && within(c.all[old].Cells[j].People, whole) {
				out = append(out, place{old, j})
			}
		}
	}
	return out
}

// within says whether all of some sorted tokens are among others.
func within(some, all []uint64) bool {
	for _, t := range some {
		i, ok := slices.BinarySearch(all, t)
		if !ok {
			return false
		}
		all = all[i+1:]
	}
	return true
}

// plainSeeds bounds how many choices of cells are tried against one cell. Choosing the best is a covering problem; this is a
// search for likely attacks across answers, on top of the exact plainComparison of every pair, and not a proof.
const plainSeeds = 64

// subtract takes cells from one they lie inside and judges what is left by all primary rules: first the cells of each
// answer, which split rows and so add up, then cells of several answers that share no person. The new answer is the whole
// or a part of every subtraction. Among overlapping cells each of the largest is tried as the first choice, then the
// others by size.
func (c *plainComparison) subtract(whole place, parts []place) (Finding, bool) {
	for answer := range c.all {
		var own []place
		for _, x := range parts {
			if x.answer == answer {
				own = append(own, x)
			}
		}
		if len(own) == 0 || whole.answer != 0 && answer != 0 {
			continue
		}
		if f, hit := c.judge(whole, own); hit {
			return f, true
		}
	}
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b place) int { return cmp.Compare(len(c.cell(b).People), len(c.cell(a).People)) })
	sets := make([]set, len(parts))
	for i, x := range parts {
		sets[i] = positions(c.cell(x).People, c.cell(whole).People)
	}
	seeds := 0
	for first := range parts {
		if whole.answer != 0 && parts[first].answer != 0 {
			continue
		}
		if seeds++; seeds > plainSeeds {
			break
		}
		taken := map[int]set{parts[first].answer: slices.Clone(sets[first])}
		chosen := []place{parts[first]}
		for i, x := range parts {
			free := i != first
			for answer, s := range taken {
				free = free && (answer == x.answer || s.disjoint(sets[i]))
			}
			if !free {
				continue
			}
			if taken[x.answer] == nil {
				taken[x.answer] = slices.Clone(sets[i])
			} else {
				taken[x.answer].add(sets[i])
			}
			chosen = append(chosen, x)
		}
		if len(taken) < 2 {
			continue
		}
		if f, hit := c.judge(whole, chosen); hit {
			return f, true
		}
	}
	return Finding{}, false
}

// judge applies the primary rules to what is left of a cell without some cells inside it. That nobody is left, or that
// those left add nothing, says nothing new about anybody in particular.
func (c *plainComparison) judge(whole place, parts []place) (Finding, bool) {
	names := slices.Clone(c.all[whole.answer].Measures)
	for _, x := range parts {
		names = slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(c.all[x.answer].Measures, n) })
	}
	adds := func(at place) [][]int64 {
		out := make([][]int64, len(names))
		for i, n := range names {
			out[i] = c.cell(at).Adds[slices.Index(c.all[at.answer].Measures, n)]
		}
		return out
	}
	people := c.cell(whole).People
	rest, touched := adds(whole), make([]bool, len(people))
	for m := range rest {
		rest[m] = slices.Clone(rest[m])
	}
	for _, x := range parts {
		amounts, i := adds(x), 0
		for k, t := range c.cell(x).People {
			at, _ := slices.BinarySearch(people[i:], t)
			i += at
			touched[i] = true
			for m := range rest {
				rest[m][i] = less(rest[m][i], amounts[m][k])
			}
		}
	}
	left := group{parts: make([][]int64, len(names))}
	for i := range people {
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
		return Finding{}, false
	}
	var measures []sandbox.Measure
	var weighed [][]int64
	fewest := left.people
	for m, n := range names {
		if len(left.parts[m]) == 0 {
			continue
		}
		f := sandbox.Sum
		if n == countMeasure || strings.HasPrefix(n, countMeasure+":") {
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
		return Finding{}, false
	}
	return c.found(whole, parts, fewest, rules), true
}

// found names the answers, and the cells where each side has one.
func (c *plainComparison) found(whole place, parts []place, people int, rules []string) Finding {
	f := Finding{Cell: -1, Against: -1, People: people}
	involved := append([]place{whole}, parts...)
	for _, x := range involved {
		q := c.all[x.answer].Question
		single := whole == x || len(parts) == 1
		switch {
		case x.answer == 0:
			if single {
				f.Cell = x.cell
			}
		case f.Earlier == "":
			f.Earlier = q
			if single {
				f.Against = x.cell
			}
		case q != f.Earlier && !slices.Contains(f.With, q):
			f.With = append(f.With, q)
		}
	}
	f.Rule = "what the answers differ by breaks: " + strings.Join(rules, ", ")
	if slices.Contains(rules, RuleFrequency) {
		f.Rule = fmt.Sprintf("the answers differ on fewer than %d people", c.p.MinSubjects)
	}
	return f
}

// set is a set of the people of one cell, by position.
type set []uint64

// positions gives where some sorted tokens stand among all; every one of them does.
func positions(some, all []uint64) set {
	s := make(set, (len(all)+63)/64)
	at := 0
	for _, t := range some {
		i, _ := slices.BinarySearch(all[at:], t)
		at += i
		s[at/64] |= 1 << (at % 64)
	}
	return s
}

func (s set) disjoint(t set) bool {
	for i := range s {
		if s[i]&t[i] != 0 {
			return false
		}
	}
	return true
}

func (s set) add(t set) {
	for i := range s {
		s[i] |= t[i]
	}
}
