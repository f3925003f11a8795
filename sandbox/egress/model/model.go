package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Format names the format.
const Format = "opdomain-model/1"

// Model (出域模型) is a model as the gate read it: nothing of its file is in it but what is declared here, rounded and in order.
type Model struct {
	Format string `json:"format"`
	ID     string `json:"id"`
	Kind   Kind   `json:"kind"`
	Schema
	Trainer         Trainer          `json:"trainer"`
	Intercept       *Fixed           `json:"intercept,omitempty"`       // of regressions, scorecards and boosted trees
	Coefficients    []Coefficient    `json:"coefficients,omitempty"`    // of regressions, in the schema's order
	Characteristics []Characteristic `json:"characteristics,omitempty"` // of scorecards, in the schema's order
	Trees           [][]Node         `json:"trees,omitempty"`           // in the order of their bytes
}

// Trainer (登记训练器) is how the model says it was trained. The gate trains by it itself.
type Trainer struct {
	Ridge    Fixed  `json:"ridge"`               // penalty on squared coefficients and leaf values, in units of rows
	Depth    int    `json:"depth,omitempty"`     // of a tree at most
	MinLeaf  int    `json:"min_leaf,omitempty"`  // least distinct people of a leaf
	MinClass int    `json:"min_class,omitempty"` // least people of each class in a leaf of a binary label
	Trees    int    `json:"trees,omitempty"`     // of a forest, or rounds of boosting
	Rate     Fixed  `json:"rate,omitempty"`      // of boosting
	Seed     uint32 `json:"seed,omitempty"`      // of a forest's samples
}

// Coefficient (系数) of a number, or of a level of a category against its first.
type Coefficient struct {
	Feature string `json:"feature"`
	Level   string `json:"level,omitempty"`
	Value   Fixed  `json:"value"`
}

// Characteristic (评分卡特征) is a feature in bins, with a weight of evidence (WOE) each: ln of the events' share over the others' share.
// Numbers have edges on the feature's grid, ascending: bin i holds what is below edge i and not in an earlier one. Categories have
// groups of levels, all of them.
type Characteristic struct {
	Feature     string     `json:"feature"`
	Edges       []Fixed    `json:"edges,omitempty"`
	Groups      [][]string `json:"groups,omitempty"`
	WOE         []Fixed    `json:"woe"`
	Coefficient Fixed      `json:"coefficient"`
}

// Node (树节点) is a split or a leaf. Below, of a number, or In, of a category, goes to Left. People of a leaf is written by the gate,
// rounded down to base 5; what a file says of it is not read.
type Node struct {
	Feature string   `json:"feature,omitempty"`
	Below   *Fixed   `json:"below,omitempty"`
	In      []string `json:"in,omitempty"`
	Left    int      `json:"left,omitempty"`
	Right   int      `json:"right,omitempty"`
	Value   *Fixed   `json:"value,omitempty"`
	People  int      `json:"people,omitempty"`
}

// String keeps values out of logs.
func (m *Model) String() string { return "model " + m.ID + "(redacted)" }

// GoString keeps them out of %#v.
func (m *Model) GoString() string { return m.String() }

// compiled is a model ready to predict.
type compiled struct {
	kind   Kind
	schema *Schema
	base   float64
	dense  *layout   // of regressions and scorecards
	beta   []float64 // by the layout's columns, the intercept first
	trees  [][]flat
}

// flat is a node by index: numbers go left below a step, categories by a set of levels.
type flat struct {
	feature     int // -1: leaf
	below       int
	in          uint64
	left, right int
	value       float64
}

// compile makes a canonical model ready. Models come from Decode or a trainer, which hold them to their form.
func (m *Model) compile() *compiled {
	c := &compiled{kind: m.Kind, schema: &m.Schema}
	if m.Intercept != nil {
		c.base = m.Intercept.Float()
	}
	if m.Kind.trees() {
		for _, t := range m.Trees {
			nodes := make([]flat, len(t))
			for i, n := range t {
				nodes[i] = flatten(m.Schema, n)
			}
			c.trees = append(c.trees, nodes)
		}
		return c
	}
	c.dense = newLayout(m)
	c.beta = make([]float64, c.dense.columns)
	c.beta[0] = c.base
	for i, x := range m.Coefficients {
		c.beta[i+1] = x.Value.Float()
	}
	for i, x := range m.Characteristics {
		c.beta[i+1] = x.Coefficient.Float()
	}
	return c
}

func flatten(s Schema, n Node) flat {
	if n.Value != nil {
		return flat{feature: -1, value: n.Value.Float()}
	}
	f := flat{feature: s.feature(n.Feature), left: n.Left, right: n.Right}
	x := s.Features[f.feature]
	if n.Below != nil {
		f.below = int((*n.Below - x.Low) / x.Step)
	}
	for _, l := range n.In {
		f.in |= 1 << slices.Index(x.Levels, l)
	}
	return f
}

// leaf gives the leaf of a tree that a row of d comes to.
func leaf(t []flat, bins []uint16) int {
	at := 0
	for t[at].feature >= 0 {
		n := &t[at]
		b := int(bins[n.feature])
		if n.in>>min(b, 63)&1 == 1 && n.in != 0 || n.in == 0 && b < n.below {
			at = n.left
		} else {
			at = n.right
		}
	}
	return at
}

// linear gives the linear predictor, or of trees the sum or mean of their leaves.
func (c *compiled) linear(d *Data, row int) float64 {
	if c.trees == nil {
		return c.dense.dot(d, row, c.beta)
	}
	sum, bins := 0.0, d.bins(row)
	for _, t := range c.trees {
		sum += t[leaf(t, bins)].value
	}
	if c.kind != Boosted {
		return sum / float64(len(c.trees))
	}
	return c.base + sum
}

// predict gives the mean of the label of a row.
func (c *compiled) predict(d *Data, row int) float64 { return mean(c.kind, c.linear(d, row)) }

// mean is the inverse link.
func mean(k Kind, eta float64) float64 {
	switch k {
	case Logistic, Scorecard, Boosted:
		return 1 / (1 + math.Exp(-eta))
	case Poisson, Gamma:
		return math.Exp(max(min(eta, 50), -50))
	}
	return eta
}

// Bits (声明信息量) counts what the declared values of a model may hold at most: Σ log2 of the levels of each, structure included. The schema
// is registered and holds none; counts of people are the gate's.
func (m *Model) Bits() int {
	value := log2(2*int(coefficientBound) + 1)
	bits := 0.0
	if m.Intercept != nil {
		bits += value
	}
	bits += value * float64(len(m.Coefficients))
	for _, c := range m.Characteristics {
		bits += value * float64(len(c.WOE)+1)
	}
	for _, t := range m.Trees {
		for _, n := range t {
			if n.Value != nil {
				bits += value
			}
		}
	}
	bits += m.cuts() + m.splits()
	return int(math.Ceil(bits + m.Trainer.bits(m.Kind)))
}

// bits are what the choice of a trainer's parameters may hold.
func (t Trainer) bits(k Kind) float64 {
	bits := log2(maxRidge + 1)
	if k.trees() {
		bits += log2(MaxDepth) + 2*log2(maxLeaf+1)
	}
	switch k {
	case Forest:
		bits += log2(MaxTrees) + 32
	case Boosted:
		bits += log2(MaxTrees) + log2(one)
	}
	return bits
}

// Bounds of a trainer.
const (
	maxRidge = 1000 * one
	maxLeaf  = 1 << 16
)

// cuts are the bits of a scorecard's bins.
func (m *Model) cuts() (bits float64) {
	for _, c := range m.Characteristics {
		if f := m.Features[m.feature(c.Feature)]; f.category() {
			bits += float64(len(f.Levels)) * log2(len(c.Groups))
		} else {
			bits += float64(len(c.Edges)) * log2(f.steps())
		}
	}
	return bits
}

// splits are the bits of the structure of trees.
func (m *Model) splits() (bits float64) {
	for _, t := range m.Trees {
		for _, n := range t {
			bits++ // split or leaf
			if n.Value != nil {
				continue
			}
			bits += log2(len(m.Features))
			if f := m.Features[m.feature(n.Feature)]; f.category() {
				bits += float64(len(f.Levels))
			} else {
				bits += log2(f.steps())
			}
		}
	}
	return bits
}

// parameters is how many numbers are fitted.
func (m *Model) parameters() int {
	n := len(m.Coefficients) + len(m.Characteristics)
	if m.Intercept != nil {
		n++
	}
	for _, t := range m.Trees {
		for _, x := range t {
			if x.Value != nil {
				n++
			}
		}
	}
	return n
}

// validate holds hyperparameters to their bounds.
func (t Trainer) validate(k Kind) error {
	if t.Ridge < 0 || t.Ridge > maxRidge {
		return invalid("trainer.ridge", "0 to 1000")
	}
	if !k.trees() {
		if t.Depth != 0 || t.MinLeaf != 0 || t.MinClass != 0 || t.Trees != 0 || t.Rate != 0 || t.Seed != 0 {
			return invalid("trainer", "regressions and scorecards have a ridge alone")
		}
		return nil
	}
	if t.Depth < 1 || t.Depth > MaxDepth {
		return invalid("trainer.depth", fmt.Sprintf("1 to %d", MaxDepth))
	}
	if t.MinLeaf < 1 || t.MinLeaf > maxLeaf || t.MinClass < 0 || t.MinClass > maxLeaf {
		return invalid("trainer.min_leaf", "at least one person in a leaf, at most 2^16")
	}
	if k == Tree && (t.Trees != 0 || t.Rate != 0 || t.Seed != 0) || k != Tree && (t.Trees < 1 || t.Trees > MaxTrees) || k == Forest && t.Rate != 0 {
		return invalid("trainer.trees", fmt.Sprintf("a forest and boosting have 1 to %d trees, a tree none of trees, rate and seed", MaxTrees))
	}
	if k == Boosted && (t.Rate <= 0 || t.Rate > one || t.Seed != 0) {
		return invalid("trainer.rate", "boosting has a rate above 0, at most 1, and no seed")
	}
	return nil
}

// fits says whether a kind predicts such a label.
func (k Kind) fits(l Label) error {
	ok := false
	switch k {
	case Logistic, Scorecard, Boosted:
		ok = l.Form == Binary
	case Poisson:
		ok = l.Form == Count
	case Gamma:
		ok = l.Form == Amount && l.Low > 0
	case Linear:
		ok = l.Form == Amount
	case Tree, Forest:
		ok = l.Form == Binary || l.Form == Amount
	}
	if !ok {
		return &sandbox.Error{Op: "model", Kind: sandbox.Invalid, Object: "label.form", Detail: "not a label that the kind predicts",
			Hint: "logistic, scorecard, boosted: binary; poisson: count; gamma: amount above zero; linear: amount; tree, forest: binary or amount"}
	}
	return nil
}
