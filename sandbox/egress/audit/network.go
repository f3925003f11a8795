package audit

import "slices"

// network (网络流) is a system in which each unknown is in at most two equations, once with each sign after some equations are negated: the
// unknowns are arcs between equations, a move is a circulation, and the farthest an arc goes is a maximum flow from its one
// end to the other through the rest. Two-way tables are of this kind, with one hierarchy too. Whole numbers in, whole
// numbers out: no interval is judged in floating point. Source: Cox, Network models for complementary cell suppression (1995).
type network struct {
	from, to []int // per arc; a move adds to to what it takes from from
	out      [][]int
	sides    int // nodes; the last is for arcs in one equation alone

	flow  []int64 // of the search under way
	moved []int
	by    []int // arc a node was reached by, −1: not yet
	queue []int
}

// newNetwork says false when the system is not of this kind.
func newNetwork(s *system) (*network, bool) {
	g := &network{sides: len(s.rows) + 1, from: make([]int, len(s.cells)), to: make([]int, len(s.cells))}
	sign := make([]int64, len(s.rows))
	for _, row := range s.rows {
		for _, e := range row {
			if e.times != 1 && e.times != -1 || len(s.of[e.at]) > 2 {
				return nil, false
			}
		}
	}
	for first := range s.rows {
		if sign[first] != 0 {
			continue
		}
		sign[first] = 1
		queue := []int{first}
		for len(queue) > 0 {
			r := queue[0]
			queue = queue[1:]
			for _, e := range s.rows[r] {
				for _, x := range s.of[e.at] {
					if x.at == r {
						continue
					}
					want := -sign[r] * e.times * x.times
					if sign[x.at] == 0 {
						sign[x.at] = want
						queue = append(queue, x.at)
					} else if sign[x.at] != want {
						return nil, false
					}
				}
			}
		}
	}
	g.out = make([][]int, g.sides)
	ground := g.sides - 1
	for u := range s.cells {
		g.from[u], g.to[u] = ground, ground
		for _, x := range s.of[u] {
			if sign[x.at]*x.times > 0 {
				g.to[u] = x.at
			} else {
				g.from[u] = x.at
			}
		}
		g.out[g.from[u]] = append(g.out[g.from[u]], u)
		g.out[g.to[u]] = append(g.out[g.to[u]], u)
	}
	g.flow, g.by = make([]int64, len(s.cells)), make([]int, g.sides)
	return g, true
}

// farthest moves an unknown as far as want in a direction (1 up, −1 down), by shortest augmenting paths, so that few others move with it.
func (g *network) farthest(u int, dir int64, want int64, r room, work *int64) (m move, got int64) {
	own := r.up[u]
	if dir < 0 {
		own = r.down[u]
	}
	want = min(want, own)
	for _, a := range g.moved {
		g.flow[a] = 0
	}
	g.moved = g.moved[:0]
	source, sink := g.to[u], g.from[u]
	if dir < 0 {
		source, sink = sink, source
	}
	if source == sink {
		got = want
	}
	for got < want {
		d := g.augment(u, source, sink, want-got, r, work)
		if d == 0 {
			break
		}
		got += d
	}
	if got == 0 {
		return nil, 0
	}
	g.flow[u] = dir * got
	for _, a := range append(g.moved, u) {
		if g.flow[a] != 0 {
			m = append(m, entry{a, g.flow[a]})
		}
	}
	g.moved = append(g.moved, u)
	slices.SortFunc(m, func(a, b entry) int { return a.at - b.at })
	m = slices.CompactFunc(m, func(a, b entry) bool { return a.at == b.at })
	return m, got
}

// spare is how much more an arc takes from a node.
func (g *network) spare(a, node int, r room) int64 {
	if g.from[a] == node {
		if r.up[a] >= endless {
			return endless
		}
		return r.up[a] - g.flow[a]
	}
	if r.down[a] >= endless {
		return endless
	}
	return r.down[a] + g.flow[a]
}

func (g *network) augment(without, source, sink int, most int64, r room, work *int64) int64 {
	for i := range g.by {
		g.by[i] = -1
	}
	g.queue = append(g.queue[:0], source)
	*work += int64(g.sides)
	for h := 0; h < len(g.queue) && g.by[sink] < 0; h++ {
		node := g.queue[h]
		*work += 4 * int64(len(g.out[node]))
		for _, a := range g.out[node] {
			next := g.from[a] + g.to[a] - node
			if a == without || next == node || next == source || g.by[next] >= 0 || g.spare(a, node, r) <= 0 {
				continue
			}
			g.by[next] = a
			g.queue = append(g.queue, next)
		}
	}
	if g.by[sink] < 0 {
		return 0
	}
	for node := sink; node != source; {
		a := g.by[node]
		node = g.from[a] + g.to[a] - node
		most = min(most, g.spare(a, node, r))
	}
	for node := sink; node != source; {
		a := g.by[node]
		back := g.from[a] + g.to[a] - node
		if g.flow[a] == 0 {
			g.moved = append(g.moved, a)
		}
		if g.from[a] == back {
			g.flow[a] += most
		} else {
			g.flow[a] -= most
		}
		node = back
	}
	return most
}

// cheapest finds the path from one end of an unknown to the other that costs least among arcs that take want more each.
func (g *network) cheapest(u int, dir int64, want int64, r room, cost []int64) ([]int, bool) {
	source, sink := g.to[u], g.from[u]
	if dir < 0 {
		source, sink = sink, source
	}
	for _, a := range g.moved {
		g.flow[a] = 0
	}
	g.moved = g.moved[:0]
	const unseen = int64(1) << 62
	dist, done := make([]int64, g.sides), make([]bool, g.sides)
	for i := range dist {
		dist[i], g.by[i] = unseen, -1
	}
	dist[source] = 0
	for {
		node := -1
		for i := range dist {
			if !done[i] && dist[i] < unseen && (node < 0 || dist[i] < dist[node]) {
				node = i
			}
		}
		if node < 0 || node == sink {
			break
		}
		done[node] = true
		for _, a := range g.out[node] {
			next := g.from[a] + g.to[a] - node
			if a == u || next == node || done[next] || g.spare(a, node, r) < want {
				continue
			}
			if d := min(dist[node]+cost[a], unseen-1); d < dist[next] {
				dist[next], g.by[next] = d, a
			}
		}
	}
	if g.by[sink] < 0 && source != sink {
		return nil, false
	}
	var path []int
	for node := sink; node != source; {
		a := g.by[node]
		path = append(path, a)
		node = g.from[a] + g.to[a] - node
	}
	return path, true
}
