package model

import (
	"math"
	"slices"
)

// grower grows one regression tree on gradients and curvatures by histograms over the registered grid: of a label itself (curvature 1) it is
// CART with the variance criterion, for a binary label Gini's; of a loss's derivatives it is a step of Newton boosting. Sources: Breiman et al.,
// Classification and Regression Trees (1984); Friedman, Greedy Function Approximation (2001).
type grower struct {
	d      *Data
	g, h   []float64 // per row of d
	t      Trainer
	lambda float64
	scale  float64
	binary bool
	draw   *mixer // of a forest: which features a split looks at
	nodes  []Node
	bound  Fixed
	low    Fixed
}

// bucket is what falls into one step or level.
type bucket struct {
	g, h     float64
	n, event int
}

func (b *bucket) add(o bucket) { b.g += o.g; b.h += o.h; b.n += o.n; b.event += o.event }

func (b bucket) less(o bucket) bucket {
	return bucket{b.g - o.g, b.h - o.h, b.n - o.n, b.event - o.event}
}

func (g *grower) value(b bucket) float64 { return g.scale * b.g / (b.h + g.lambda) }

func (g *grower) gain(b bucket) float64 { return b.g * b.g / (b.h + g.lambda) }

func (g *grower) may(b bucket) bool {
	return b.n >= g.t.MinLeaf && b.n > 0 && b.h+g.lambda > 0 && (!g.binary || b.event >= g.t.MinClass && b.n-b.event >= g.t.MinClass)
}

// grow writes the tree over rows, which it reorders.
func (g *grower) grow(rows []int32, depth int) int {
	at := len(g.nodes)
	g.nodes = append(g.nodes, Node{})
	var all bucket
	for _, r := range rows {
		all.add(g.one(r))
	}
	f, cut, in, ok := g.split(rows, all, depth)
	if !ok {
		v := max(clipped(g.value(all), g.bound), g.low)
		g.nodes[at] = Node{Value: &v}
		return at
	}
	x := g.d.schema.Features[f]
	left := 0
	for i, r := range rows {
		b := g.d.bins(int(r))[f]
		if x.category() && in>>b&1 == 1 || !x.category() && int(b) < cut {
			rows[i], rows[left] = rows[left], rows[i]
			left++
		}
	}
	n := Node{Feature: x.Name}
	if x.category() {
		for l, name := range x.Levels {
			if in>>l&1 == 1 {
				n.In = append(n.In, name)
			}
		}
	} else {
		below := x.Low + x.Step*Fixed(cut)
		n.Below = &below
	}
	slices.Sort(rows[:left]) // sums are added up in the order of rows, whatever moved them
	slices.Sort(rows[left:])
	n.Left = g.grow(rows[:left], depth+1)
	n.Right = g.grow(rows[left:], depth+1)
	g.nodes[at] = n
	return at
}

func (g *grower) one(r int32) bucket {
	b := bucket{g: g.g[r], h: 1, n: 1}
	if g.h != nil {
		b.h = g.h[r]
	}
	if g.d.y[r] > 0.5 {
		b.event = 1
	}
	return b
}

// split finds the best one, the first of equal ones.
func (g *grower) split(rows []int32, all bucket, depth int) (feature, cut int, in uint64, ok bool) {
	if depth >= g.t.Depth || len(g.nodes) > MaxNodes/2 || all.n < 2*g.t.MinLeaf {
		return 0, 0, 0, false
	}
	best := g.gain(all) + 1e-9
	var buckets [MaxSteps]bucket
	for _, f := range g.candidates() {
		x := g.d.schema.Features[f]
		steps := x.steps()
		b := buckets[:steps]
		clear(b)
		for _, r := range rows {
			b[g.d.bins(int(r))[f]].add(g.one(r))
		}
		order := make([]int, 0, steps)
		for i := range b {
			if b[i].n > 0 || !x.category() {
				order = append(order, i)
			}
		}
		if x.category() { // by their mean; Fisher (1958): the best set is a prefix
			slices.SortStableFunc(order, func(i, j int) int {
				switch p, q := b[i].g/(b[i].h+1e-9), b[j].g/(b[j].h+1e-9); {
				case p < q:
					return -1
				case p > q:
					return 1
				}
				return 0
			})
		}
		var left bucket
		set := uint64(0)
		for _, i := range order[:max(len(order)-1, 0)] {
			left.add(b[i])
			set |= 1 << min(i, 63)
			right := all.less(left)
			if !g.may(left) || !g.may(right) {
				continue
			}
			if gain := g.gain(left) + g.gain(right); gain > best+1e-9*math.Abs(best) {
				best, feature, cut, in, ok = gain, f, i+1, set, true
			}
		}
	}
	return feature, cut, in, ok
}

// candidates are the features a split looks at: all, or of a forest the root of their number.
func (g *grower) candidates() []int {
	n := len(g.d.schema.Features)
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	if g.draw == nil {
		return all
	}
	k := int(math.Ceil(math.Sqrt(float64(n))))
	for i := range k {
		j := i + int(g.draw.Uint64()%uint64(n-i))
		all[i], all[j] = all[j], all[i]
	}
	slices.Sort(all[:k])
	return all[:k]
}

// census counts the people of each leaf, exactly: who has a row there, who has an event there, who has a row without one.
type census struct{ people, events, others []int }

func count(t []flat, d *Data, rows []int32, binary bool) census {
	c := census{make([]int, len(t)), make([]int, len(t)), make([]int, len(t))}
	last := [3][]int32{make([]int32, len(t)), make([]int32, len(t)), make([]int32, len(t))}
	mark := func(kind, l int, s int32, into []int) {
		if last[kind][l] != s+1 { // rows of a subject are together
			last[kind][l] = s + 1
			into[l]++
		}
	}
	for _, r := range rows {
		l := leaf(t, d.bins(int(r)))
		s := d.who[r]
		mark(0, l, s, c.people)
		if binary && d.y[r] > 0.5 {
			mark(1, l, s, c.events)
		} else {
			mark(2, l, s, c.others)
		}
	}
	return c
}

// mixer is SplitMix64 (Steele, Lea and Flood 2014): a stream of numbers from a seed that is passed in.
type mixer uint64

// Uint64 gives the next number.
func (m *mixer) Uint64() uint64 {
	*m += 0x9e3779b97f4a7c15
	z := uint64(*m)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
