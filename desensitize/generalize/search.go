package generalize

import (
	"context"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// DefaultCacheBytes bounds the nodes a search keeps to roll coarser ones up from.
const DefaultCacheBytes = 64 << 20

// Goal (匿名化目标) is what a generalisation must satisfy and what it should lose least of.
type Goal struct {
	K           int // smallest class; 0 or 1 for none
	KMap        int // fewest people of a class; 0 for none
	Diversity   []Diversity
	Closeness   []Closeness
	Presence    *Presence
	Suppression float64 // largest share of rows suppressed, 0 to 1
	Metric      Metric  // empty: Discernibility
	MaxNodes    int     // nodes evaluated before the search gives up on a proof; 0 for no bound
	CacheBytes  int64   // 0: DefaultCacheBytes
	Earlier     []Earlier
}

// Solution (匿名化方案) is a generalisation that satisfies a goal, with its loss and risk. It holds no value of the table.
type Solution struct {
	Levels     []int    `json:"levels"` // by quasi-identifier
	Metric     Metric   `json:"metric"`
	Value      float64  `json:"loss_value"` // by that metric
	Loss       Loss     `json:"loss"`
	Risk       Risk     `json:"risk"`
	Search     Searched `json:"search"`
	Left       []int    `json:"suppressed_classes"` // what Earlier wants of this release
	goal       Goal
	suppressed int64
}

// Searched (搜索记录) tells how a solution was found.
type Searched struct {
	Lattice    int   `json:"lattice"`    // nodes there are
	Evaluated  int   `json:"evaluated"`  // nodes whose classes were counted
	Infeasible int   `json:"infeasible"` // excluded: a coarser node already suppresses too much
	Bounded    int   `json:"bounded"`    // excluded: a finer node already loses as much at least
	Merged     int64 `json:"merged"`     // classes merged in all
	Peak       int64 `json:"peak_bytes"` // of combinations, lattice, kept nodes and scratch; dictionaries aside
	Proven     bool  `json:"proven"`     // every node was evaluated or excluded
}

// The lattice. Node x ≤ y if each level of x is at most y's; y's classes are unions of x's. Two marks exclude nodes:
//
//  1. Infeasible, downward. Size, k-map and distinct diversity hold for a union if they hold for one part, so a row in a class
//     that fails one of them at y is in a class that fails it at every x ≤ y. More rows than the limit allows fail there
//     too. Entropy, recursion, closeness and presence lack this property once rows may be suppressed: a good class may spoil by
//     joining a failing one. With suppression they exclude their own node only.
//  2. Bounded, upward. The bound of x is a number that no y ≥ x falls below. DM: a row costs at least its class's size at x, as
//     classes only grow, at least k, as smaller ones are suppressed, and n ≥ both when suppressed. AECS: a published class
//     of y holds a published one of x, or is made of failing ones of x alone: two at least, and k rows (with a population, one
//     may be enough, joining people without rows). Height: itself. Entropy: every cell loses at least what its level loses.
//  3. Without suppression every model is monotone: a union of good classes is good. Entropy is concave, the distances of
//     closeness are convex and the table's distribution is fixed, presence lies between the parts' (mediant), and for recursion
//     r1 adds up at most to the parts' sum while the tail adds up at least to theirs. A node with any failing class
//     then excludes all finer ones.
const (
	markInfeasible = 1 << iota
	markBounded
	markEvaluated
)

type search struct {
	f      *frozen
	goal   Goal
	check  *check
	joint  *joint // nil: no earlier releases
	simple bool   // no model beyond those that grow
	limit  int64  // rows

	entropy [][]float64
	stride  []int
	marks   []uint8
	roller  *roller
	cache   []*classes // fewest classes first; the last is level 0 of everything
	cached  int64
	scratch *classes
	pending []boundedNode // evaluated, bound not yet reached

	best      []uint8
	bestIndex int
	bestLoss  float64
	out       Searched
	stack     []int
}

type boundedNode struct {
	index int
	bound float64
}

// Search (最优全域泛化搜索) finds the generalisation of least loss that satisfies the goal. Of several it gives the one it meets
// first, always the same for the same rows in the same order. If none satisfies the goal it says so with Conflict. If
// ctx ends or MaxNodes is reached, the best so far is given with Proven false, or an error if there is none.
func (t *Table) Search(ctx context.Context, g Goal) (*Solution, error) {
	s, err := t.newSearch(g)
	if err != nil {
		return nil, err
	}
	stopped := s.run(ctx)
	if s.best == nil {
		if stopped {
			return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.Unavailable, Object: "search", Detail: "it was ended before it met a solution", Hint: "give it more time or nodes"}
		}
		if s.joint != nil {
			return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.Conflict, Object: "goal", Detail: "no generalisation satisfies it together with the earlier release",
				Hint: "ask no more than the earlier release did, or give that one again"}
		}
		return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.Conflict, Object: "goal", Detail: "no generalisation satisfies it, not even the coarsest",
			Hint: "a smaller k, l or larger t, or a larger share to suppress"}
	}
	for _, m := range s.marks {
		switch {
		case m&markEvaluated != 0:
		case m&markInfeasible != 0:
			s.out.Infeasible++
		case m&markBounded != 0:
			s.out.Bounded++
		}
	}
	s.out.Proven = !stopped
	s.out.Peak += t.Bytes() + int64(len(s.marks)) + s.roller.bytes() + s.scratch.bytes()
	return t.solution(s), nil
}

func (t *Table) newSearch(g Goal) (*search, error) {
	if err := t.Freeze(); err != nil {
		return nil, err
	}
	c, err := t.checkOf(&g)
	if err != nil {
		return nil, err
	}
	if g.CacheBytes == 0 {
		g.CacheBytes = DefaultCacheBytes
	}
	f := t.frozen
	together, err := t.newJoint(g.Earlier, c)
	if err != nil {
		return nil, err
	}
	s := &search{f: f, joint: together, goal: g, check: c, limit: int64(g.Suppression*float64(f.n) + slack), entropy: f.entropyTables(),
		roller: newRoller(f, f.base.len()), scratch: &classes{}, cache: []*classes{&f.base}}
	s.simple = c.presence == nil && len(c.closeness) == 0
	for _, d := range c.diversity {
		s.simple = s.simple && d.Kind == Distinct
	}
	size := 1
	for d := range f.dims {
		s.stride = append(s.stride, size)
		size *= f.dims[d].levels()
	}
	s.marks = make([]uint8, size)
	s.out.Lattice = size
	return s, nil
}

// run evaluates nodes until all are marked; it says whether it was stopped before.
func (s *search) run(ctx context.Context) (stopped bool) {
	over := func() bool { return ctx.Err() != nil || s.goal.MaxNodes > 0 && s.out.Evaluated >= s.goal.MaxNodes }
	if over() {
		return true
	}
	// The coarsest node first: if it grows infeasible nothing else is feasible.
	s.evaluate(len(s.marks) - 1)
	path := make([]int, 0, 64)
	for at := 0; at < len(s.marks); at++ {
		for s.marks[at] == 0 {
			// A path upwards through nodes nothing is known of, cut in half until the border of feasibility is met.
			path = append(path[:0], at)
			for next := s.above(at); next >= 0; next = s.above(next) {
				path = append(path, next)
			}
			low, high := 0, len(path)-1
			for low <= high {
				if over() {
					return true
				}
				mid := (low + high) / 2
				if s.marks[path[mid]]&markInfeasible != 0 {
					low = mid + 1
					continue
				}
				if s.marks[path[mid]] != 0 {
					high = mid - 1
					continue
				}
				if v := s.evaluate(path[mid]); v.grows {
					high = mid - 1
				} else {
					low = mid + 1
				}
			}
		}
	}
	return false
}

// above gives an unmarked node one level up, or -1.
func (s *search) above(at int) int {
	for d := range s.stride {
		if up := at + s.stride[d]; s.level(at, d) < s.f.dims[d].levels()-1 && s.marks[up] == 0 {
			return up
		}
	}
	return -1
}

func (s *search) level(at, d int) int { return at / s.stride[d] % s.f.dims[d].levels() }

func (s *search) levels(at int) []uint8 {
	out := make([]uint8, len(s.stride))
	for d := range out {
		out[d] = uint8(s.level(at, d))
	}
	return out
}

// evaluate counts one node's classes and marks what follows from them.
func (s *search) evaluate(at int) verdict {
	cl := s.classesOf(s.levels(at))
	v := s.judge(cl)
	s.out.Evaluated++
	s.marks[at] |= markEvaluated
	if v.feasible && (s.best == nil || v.loss < s.bestLoss) && s.joint.holds(cl.levels) {
		s.best, s.bestLoss, s.bestIndex = append([]uint8(nil), cl.levels...), v.loss, at
		kept := s.pending[:0]
		for _, p := range s.pending {
			if p.bound >= s.bestLoss {
				s.spread(p.index, markBounded, 1)
			} else {
				kept = append(kept, p)
			}
		}
		s.pending = kept
	}
	if !v.grows {
		s.spread(at, markInfeasible, -1)
	}
	if s.best != nil && v.bound >= s.bestLoss {
		s.spread(at, markBounded, 1)
	} else {
		s.pending = append(s.pending, boundedNode{at, v.bound})
	}
	s.keep(cl)
	return v
}

// spread marks a node and all above (1) or below (-1) it. A mark always covers all of them, so it stops where it stands.
func (s *search) spread(at int, mark uint8, way int) {
	s.stack = append(s.stack[:0], at)
	for len(s.stack) > 0 {
		at := s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		if s.marks[at]&mark != 0 {
			continue
		}
		s.marks[at] |= mark
		for d, stride := range s.stride {
			l := s.level(at, d) + way
			if l >= 0 && l < s.f.dims[d].levels() {
				if next := at + way*stride; s.marks[next]&mark == 0 {
					s.stack = append(s.stack, next)
				}
			}
		}
	}
}

// classesOf rolls a node up from the kept one with the fewest classes that is not coarser.
func (s *search) classesOf(levels []uint8) *classes {
	from := s.cache[len(s.cache)-1]
	for _, c := range s.cache {
		if below(c.levels, levels) {
			from = c
			break
		}
	}
	s.out.Merged += int64(from.len())
	s.roller.roll(s.scratch, from, levels)
	return s.scratch
}

func below(a, b []uint8) bool {
	for i := range a {
		if a[i] > b[i] {
			return false
		}
	}
	return true
}

// keep puts a copy of a node among the kept ones, within the bound on their memory: the largest go first.
func (s *search) keep(cl *classes) {
	size := cl.bytes()
	if size > s.goal.CacheBytes {
		return
	}
	for s.cached+size > s.goal.CacheBytes {
		last := len(s.cache) - 2 // level 0 stays
		if s.cache[last].len() <= cl.len() {
			return
		}
		s.cached -= s.cache[last].bytes()
		s.cache = slices.Delete(s.cache, last, last+1)
	}
	own := &classes{levels: slices.Clone(cl.levels), count: slices.Clone(cl.count)}
	for _, k := range cl.keys {
		own.keys = append(own.keys, slices.Clone(k))
	}
	if cl.pop != nil {
		own.pop = slices.Clone(cl.pop)
	}
	for _, h := range cl.hist {
		own.hist = append(own.hist, histogram{slices.Clone(h.from), slices.Clone(h.value), slices.Clone(h.count)})
	}
	i, _ := slices.BinarySearchFunc(s.cache[:len(s.cache)-1], own, func(a, b *classes) int { return a.len() - b.len() })
	s.cache = slices.Insert(s.cache, i, own)
	s.cached += own.bytes()
	s.out.Peak = max(s.out.Peak, s.cached)
}

// solution puts the best node into words.
func (t *Table) solution(s *search) *Solution {
	cl := s.classesOf(s.best)
	v := s.judge(cl)
	out := &Solution{Metric: s.goal.Metric, Value: s.bestLoss, Loss: s.lossOf(cl), Search: s.out, goal: s.goal, suppressed: v.suppressed}
	for _, l := range s.best {
		out.Levels = append(out.Levels, int(l))
	}
	out.Risk = s.riskOf(cl)
	out.Left = t.left(s.check, s.best)
	return out
}

// String shows levels and loss.
func (s *Solution) String() string {
	return fmt.Sprintf("levels %v, %s %g, %d rows suppressed", s.Levels, s.Metric, s.Value, s.suppressed)
}
