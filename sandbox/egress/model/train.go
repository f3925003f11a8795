package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Fit trains a model of the form's kind, trainer and schema, of a scorecard also its bins, on data: what the gate itself would let leave. It is
// deterministic. What the form says beside that is not read.
func Fit(form *Model, d *Data) (*Model, error) {
	if !form.Schema.equal(*d.schema) {
		return nil, invalid("data", "rows of the model's schema")
	}
	if d.Subjects() < 3 {
		return nil, invalid("data", "rows of at least three people")
	}
	m, _, err := form.fit(d, d.everyone())
	return m, err
}

// fit trains on rows; of regressions and scorecards it also gives the fit.
func (m *Model) fit(d *Data, rows []int32) (*Model, *glm, error) {
	out := &Model{Format: Format, ID: m.ID, Kind: m.Kind, Schema: m.Schema, Trainer: m.Trainer}
	if m.Kind.trees() {
		out.grow(d, rows)
		return out, nil, out.ordered()
	}
	if m.Kind == Scorecard {
		out.Characteristics = evidence(m, d, rows)
	}
	f := fitGLM(m.Kind, newLayout(out), d, rows, m.Trainer.Ridge.Float())
	intercept := clipped(f.beta[0], coefficientBound)
	out.Intercept = &intercept
	if m.Kind == Scorecard {
		for i := range out.Characteristics {
			out.Characteristics[i].Coefficient = clipped(f.beta[i+1], coefficientBound)
		}
	} else {
		out.Coefficients = m.terms()
		for i := range out.Coefficients {
			out.Coefficients[i].Value = clipped(f.beta[i+1], coefficientBound)
		}
	}
	return out, f, nil
}

// evidence gives a scorecard's characteristics the weights that rows give, half an event and half another added to each bin.
func evidence(m *Model, d *Data, rows []int32) []Characteristic {
	out := make([]Characteristic, len(m.Characteristics))
	for i, c := range m.Characteristics {
		j := m.feature(c.Feature)
		bin := make([]int, m.Features[j].steps())
		for b := range bin {
			bin[b] = c.group(m.Features[j], b)
		}
		tally := make([][2]float64, len(c.WOE))
		var all [2]float64
		for _, r := range rows {
			k := int(d.y[r])
			tally[bin[d.bins(int(r))[j]]][k]++
			all[k]++
		}
		out[i] = Characteristic{Feature: c.Feature, Edges: c.Edges, Groups: c.Groups}
		for _, t := range tally {
			out[i].WOE = append(out[i].WOE, clipped(math.Log((t[1]+0.5)/(all[1]+0.5)*(all[0]+0.5)/(t[0]+0.5)), coefficientBound))
		}
	}
	return out
}

// grow trains the trees.
func (m *Model) grow(d *Data, rows []int32) {
	t := m.Trainer
	g := grower{d: d, g: d.y, t: t, lambda: t.Ridge.Float(), scale: 1, binary: m.Label.Form == Binary, bound: one}
	tree := func(rows []int32) []Node {
		g.nodes = nil
		g.grow(rows, 0)
		return g.pruned(rows)
	}
	switch m.Kind {
	case Tree:
		m.Trees = [][]Node{tree(append([]int32{}, rows...))}
	case Forest:
		draw := mixer(t.Seed)
		g.draw = &draw
		for range t.Trees {
			m.Trees = append(m.Trees, tree(sample(d, rows, &draw)))
		}
	case Boosted:
		g.scale, g.bound, g.low = t.Rate.Float(), coefficientBound, -coefficientBound
		sum := 0.0
		for _, r := range rows {
			sum += d.y[r]
		}
		base := clipped(start(Logistic, sum, float64(len(rows))), coefficientBound)
		m.Intercept = &base
		eta := make([]float64, d.Rows())
		g.g, g.h = make([]float64, d.Rows()), make([]float64, d.Rows())
		if g.lambda == 0 {
			g.lambda = 1e-3 // a leaf of one class has no curvature left
		}
		for _, r := range rows {
			eta[r] = base.Float()
		}
		for range t.Trees {
			for _, r := range rows {
				p := mean(Boosted, eta[r])
				g.g[r], g.h[r] = d.y[r]-p, p*(1-p)
			}
			nodes := tree(append([]int32{}, rows...))
			flats := make([]flat, len(nodes))
			for i, n := range nodes {
				flats[i] = flatten(m.Schema, n)
			}
			for _, r := range rows {
				eta[r] += flats[leaf(flats, d.bins(int(r)))].value
			}
			m.Trees = append(m.Trees, nodes)
		}
	}
}

// ordered brings trained trees into the order of the format.
func (m *Model) ordered() error {
	n := 0
	for _, t := range m.Trees {
		n += len(t)
	}
	if n > MaxNodes {
		return &sandbox.Error{Op: "model", Kind: sandbox.TooLarge, Object: "trainer", Detail: fmt.Sprintf("it grows more than %d nodes", MaxNodes), Hint: "fewer or less deep trees"}
	}
	return m.orderTrees()
}

// sample draws 63 % of the people without repeating anybody.
func sample(d *Data, rows []int32, draw *mixer) []int32 {
	var who []int32
	for _, r := range rows {
		if s := d.who[r]; len(who) == 0 || who[len(who)-1] != s {
			who = append(who, s)
		}
	}
	k := max(len(who)*63/100, 1)
	in := make([]bool, d.Subjects())
	for i := range k {
		j := i + int(draw.Uint64()%uint64(len(who)-i))
		who[i], who[j] = who[j], who[i]
		in[who[i]] = true
	}
	var out []int32
	for _, r := range rows {
		if in[d.who[r]] {
			out = append(out, r)
		}
	}
	return out
}

// pruned takes back splits of which a side has too few distinct people, or of a class: growing counts rows.
func (g *grower) pruned(rows []int32) []Node {
	t := g.nodes
	flats := make([]flat, len(t))
	for i, n := range t {
		flats[i] = flatten(*g.d.schema, n)
	}
	type tally struct {
		sum                    bucket
		people, events, others int
		last                   [3]int32
	}
	all := make([]tally, len(t))
	for _, r := range slices.Sorted(slices.Values(rows)) { // growing moved them
		b, s := g.one(r), g.d.who[r]+1
		for at := 0; ; {
			x := &all[at]
			x.sum.add(b)
			for k, n := range []*int{&x.people, &x.events, &x.others} {
				if (k == 0 || k == 1 && b.event == 1 || k == 2 && b.event == 0) && x.last[k] != s {
					x.last[k] = s
					*n++
				}
			}
			n := &flats[at]
			if n.feature < 0 {
				break
			}
			v := int(g.d.bins(int(r))[n.feature])
			if n.in != 0 && n.in>>min(v, 63)&1 == 1 || n.in == 0 && v < n.below {
				at = n.left
			} else {
				at = n.right
			}
		}
	}
	few := func(i int) bool {
		x := &all[i]
		return x.people < g.t.MinLeaf || g.binary && (x.events < g.t.MinClass || x.others < g.t.MinClass)
	}
	var cut func(i int)
	cut = func(i int) {
		if t[i].Value != nil {
			return
		}
		l, r := t[i].Left, t[i].Right
		cut(l)
		cut(r)
		if t[l].Value != nil && few(l) || t[r].Value != nil && few(r) {
			v := max(clipped(g.value(all[i].sum), g.bound), g.low)
			t[i] = Node{Value: &v}
		}
	}
	cut(0)
	var out []Node
	var write func(i int) int
	write = func(i int) int {
		at := len(out)
		out = append(out, t[i])
		if t[i].Value == nil {
			left := write(t[i].Left)
			right := write(t[i].Right)
			out[at].Left, out[at].Right = left, right
		}
		return at
	}
	write(0)
	return out
}
