package query

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Score (分值分组) adds up points of labels and groups by the band that the sum falls into: the bins of a scorecard, a condition over
// several columns, or labels put together. It follows from registered labels alone, so that it tells a row's values no finer than grouping
// by all of its parts would; each part is a grouping by its column or bin. A label without points is worth 0.
type Score struct {
	Parts []Part  `json:"parts"`
	Base  int64   `json:"base,omitempty"`  // what every row begins with
	Edges []int64 `json:"edges"`           // rising lower bounds of bands, in 10^-Scale points
	Scale int     `json:"scale,omitempty"` // decimals of points and edges
}

// Part (评分项) gives the labels of one bin, or public column, their points.
type Part struct {
	Column string        `json:"column"`
	Bin    sandbox.BinID `json:"bin,omitempty"`
	Points []Points      `json:"points"`
}

// Points (分值) is what each of some labels is worth.
type Points struct {
	In    []string `json:"in"`
	Value int64    `json:"value"`
}

// Bounds of one score.
const (
	MaxParts  = 16
	MaxBands  = 64
	maxPoints = 1 << 50 // either way: sums of all parts stay within 64 bits
	maxScale  = 9
)

// Bands lists the labels: "<e0", "e0-e1", …, "≥en", edges with all their decimals.
func (x *Score) Bands() []string {
	text := func(v int64) string { return string(appendDecimal(nil, v, x.Scale)) }
	out := []string{"<" + text(x.Edges[0])}
	for i := 1; i < len(x.Edges); i++ {
		out = append(out, text(x.Edges[i-1])+"-"+text(x.Edges[i]))
	}
	return append(out, "≥"+text(x.Edges[len(x.Edges)-1]))
}

// Band gives the index of the band that a sum of points falls into.
func (x *Score) Band(sum int64) int {
	n, found := slices.BinarySearch(x.Edges, sum+x.Base)
	return n + one(found)
}

// Of gives what a label is worth.
func (p *Part) Of(label string) int64 {
	for _, x := range p.Points {
		if slices.Contains(x.In, label) {
			return x.Value
		}
	}
	return 0
}

func (s Spec) validateScore(at string, x *Score) error {
	if len(x.Parts) == 0 || len(x.Parts) > MaxParts || len(x.Edges) == 0 || len(x.Edges) >= MaxBands || x.Scale < 0 || x.Scale > maxScale {
		return bad(at, fmt.Sprintf("a score has 1 to %d parts, 2 to %d bands and at most %d decimals", MaxParts, MaxBands, maxScale))
	}
	within := func(v int64) bool { return -maxPoints <= v && v <= maxPoints }
	if !within(x.Base) {
		return bad(at, "a score begins with at most 2^50")
	}
	for i, e := range x.Edges {
		if i > 0 && e <= x.Edges[i-1] || !within(e) {
			return bad(at, "edges of a score rise, and are at most 2^50")
		}
	}
	for i, p := range x.Parts {
		if err := s.validateColumn(at, p.Column, p.Bin); err != nil {
			return err
		}
		if slices.ContainsFunc(x.Parts[:i], func(o Part) bool { return o.Column == p.Column && o.Bin == p.Bin }) {
			return bad(at, "a grouping stands once in a score")
		}
		seen, n := map[string]bool{}, 0
		for _, y := range p.Points {
			if len(y.In) == 0 || !within(y.Value) {
				return bad(at, "points are of labels, and at most 2^50")
			}
			for _, l := range y.In {
				if !printable(l) || seen[l] {
					return bad(at, fmt.Sprintf("labels are printable text of 1 to %d bytes and stand once", maxText))
				}
				seen[l] = true
			}
			n += len(y.In)
		}
		if n == 0 || n > MaxLabels {
			return bad(at, fmt.Sprintf("a part gives 1 to %d labels points", MaxLabels))
		}
	}
	return nil
}

// normal puts parts, points and labels in order; points that are equal stand together, those of 0 go.
func (x *Score) normal(rename func(string) string) *Score {
	out := &Score{Base: x.Base, Edges: slices.Clone(x.Edges), Scale: x.Scale}
	for _, p := range x.Parts {
		by := map[int64][]string{}
		for _, y := range p.Points {
			if y.Value != 0 {
				by[y.Value] = append(by[y.Value], y.In...)
			}
		}
		q := Part{Column: rename(p.Column), Bin: p.Bin, Points: []Points{}}
		for v, in := range by {
			q.Points = append(q.Points, Points{In: slices.Sorted(slices.Values(in)), Value: v})
		}
		slices.SortFunc(q.Points, func(a, b Points) int { return cmp.Compare(a.Value, b.Value) })
		out.Parts = append(out.Parts, q)
	}
	slices.SortFunc(out.Parts, func(a, b Part) int { return cmp.Or(cmp.Compare(a.Column, b.Column), cmp.Compare(a.Bin, b.Bin)) })
	return out
}

// text is a score's encoding, empty for none: two of the same encoding group alike.
func (x *Score) text() string {
	if x == nil {
		return ""
	}
	b, err := json.Marshal(x)
	if err != nil { // strings and numbers
		panic("query: a score that does not encode")
	}
	return string(b)
}

// score checks each part like a grouping by it.
func (d *deriver) score(x *Score) {
	for _, p := range x.Parts {
		c, b, ok := d.label(p.Column, p.Bin, sandbox.UseGroup, "")
		if !ok {
			continue
		}
		i, name := d.out.Spec.split(p.Column)
		for _, y := range p.Points {
			if slices.ContainsFunc(y.In, func(l string) bool { return !labelOf(c, b, l) }) {
				d.refuse("score.label", d.ref(i, name), "a score gives points to labels that the bin or public column can give", articleNeed,
					"write labels as the catalogue lists them")
				break
			}
		}
	}
}

// groupings lists the columns, with their bins, that a dimension groups by.
func (d Dimension) groupings() []Part {
	if d.Score != nil {
		return d.Score.Parts
	}
	return []Part{{Column: d.Column, Bin: d.Bin}}
}
