package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// orderTrees holds trees to their form: every node reached once, in preorder; a set of levels on the side of the first level; splits of
// forests and boosted trees in the order of their bytes, since a sum has none.
func (m *Model) orderTrees() error {
	n := 0
	for _, t := range m.Trees {
		n += len(t)
	}
	if len(m.Trees) == 0 || len(m.Trees) > MaxTrees || m.Kind == Tree && len(m.Trees) != 1 {
		return invalid("trees", fmt.Sprintf("one tree, or 1 to %d of a forest or boosting", MaxTrees))
	}
	if n > MaxNodes {
		return invalid("trees", fmt.Sprintf("at most %d nodes together", MaxNodes))
	}
	for i := range m.Trees {
		o := ordering{m: m, from: m.Trees[i], seen: make([]bool, len(m.Trees[i])), at: fmt.Sprintf("trees[%d]", i)}
		if len(o.from) == 0 {
			return invalid(o.at, "a tree has nodes")
		}
		if err := o.visit(0, 0); err != nil {
			return err
		}
		if len(o.to) != len(o.from) {
			return invalid(o.at, "every node is reached from the first")
		}
		m.Trees[i] = o.to
	}
	m.sortTrees()
	return nil
}

func (m *Model) sortTrees() {
	if m.Kind == Tree {
		return
	}
	keys := map[*Node][]byte{}
	for _, t := range m.Trees {
		bare := slices.Clone(t) // without the people, which the gate writes later
		for i := range bare {
			bare[i].People = 0
		}
		b, err := json.Marshal(bare)
		if err != nil { // nodes always marshal
			b = nil
		}
		keys[&t[0]] = b
	}
	slices.SortFunc(m.Trees, func(a, b []Node) int { return bytes.Compare(keys[&a[0]], keys[&b[0]]) })
}

// ordering writes the nodes of one tree in preorder.
type ordering struct {
	m        *Model
	from, to []Node
	seen     []bool
	at       string
}

func (o *ordering) visit(i, depth int) error {
	if i < 0 || i >= len(o.from) || o.seen[i] {
		return invalid(o.at, "children are other nodes, each of one parent")
	}
	at := fmt.Sprintf("%s[%d]", o.at, i)
	o.seen[i] = true
	n := o.from[i]
	to := len(o.to)
	if n.Value != nil {
		if n.Feature != "" || n.Below != nil || n.In != nil || n.Left != 0 || n.Right != 0 || !bounded(*n.Value) {
			return invalid(at, "a leaf has a value "+boundRule+", and no split")
		}
		if o.m.Kind != Boosted && (*n.Value < 0 || *n.Value > one) {
			return invalid(at+".value", "a probability, or a share of the label's range")
		}
		o.to = append(o.to, Node{Value: n.Value})
		return nil
	}
	if depth >= MaxDepth {
		return invalid(at, fmt.Sprintf("at most %d splits deep", MaxDepth))
	}
	j := o.m.feature(n.Feature)
	if j < 0 {
		return invalid(at+".feature", "a registered feature")
	}
	f, left, right := o.m.Features[j], n.Left, n.Right
	next := Node{Feature: f.Name}
	if f.category() {
		var in []string
		for _, l := range f.Levels {
			if slices.Contains(n.In, l) {
				in = append(in, l)
			}
		}
		if n.Below != nil || len(in) == 0 || len(in) == len(f.Levels) || len(in) != len(n.In) {
			return invalid(at+".in", "some of the category's registered levels, each once, not all")
		}
		if in[0] != f.Levels[0] { // the other side has it
			in, left, right = slices.DeleteFunc(slices.Clone(f.Levels), func(l string) bool { return slices.Contains(in, l) }), right, left
		}
		next.In = in
	} else {
		if n.In != nil || n.Below == nil || *n.Below <= f.Low || *n.Below >= f.High || (*n.Below-f.Low)%f.Step != 0 {
			return invalid(at+".below", "a threshold inside the range, on the grid")
		}
		next.Below = n.Below
	}
	o.to = append(o.to, next)
	o.to[to].Left = len(o.to)
	if err := o.visit(left, depth+1); err != nil {
		return err
	}
	o.to[to].Right = len(o.to)
	return o.visit(right, depth+1)
}
