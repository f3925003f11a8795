package query

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

const articleNoise = "出域安全规则: 以最严的加噪规则为准"

// noise holds the measures to the strictest noise rule of the columns that the question uses.
func (d *deriver) noise() {
	n := d.out.Noise
	if n.Kind.Rank() == 0 {
		return
	}
	for i, m := range d.out.Spec.Measures {
		ref := ""
		if j, name := d.out.Spec.split(m.Column); j >= 0 && m.Column != "" {
			ref = d.ref(j, name)
		}
		if !n.Kind.Covers(m.Func) {
			change := "ask count, subjects or a histogram, or have the columns' units agree on exact or dp"
			if n.Kind == sandbox.NoiseDP {
				change = "ask count, subjects, a histogram or sum; a mean is the sum by the count"
			}
			d.refuse("noise.func", ref, fmt.Sprintf("the strictest noise rule of the columns used is %s, which protects no %s (measure %d)", n.Kind, m.Func, i+1), articleNoise, change)
			continue
		}
		if n.Kind == sandbox.NoiseDP && m.Func == sandbox.Sum && d.out.NoiseBound(m) < 1 {
			d.refuse("noise.bound", ref, "a sum under dp clips what one subject adds, to the bound in the column's own rule", articleNoise,
				"have its unit state dp with a bound for "+ref+", or ask count or subjects")
		}
	}
}

// NoiseBound is the most that one subject may add to a measure in one cell under differential privacy: of a sum its column's bound, 0
// if its rule has none, of counts of rows the rows, of subjects one.
func (d *Derivation) NoiseBound(m Measure) int64 {
	switch m.Func {
	case sandbox.Subjects:
		return 1
	case sandbox.Count, sandbox.Histogram:
		return max(d.Noise.Rows, 1)
	case sandbox.Sum:
		i, name := d.Spec.split(m.Column)
		if i < 0 || i >= len(d.Inputs) {
			return 0
		}
		if rule, ok := ruleOf(d.list, d.Inputs[i].Dataset, name); ok && rule.Noise.Kind == sandbox.NoiseDP {
			return rule.Noise.Bound
		}
	}
	return 0
}

// Releases counts what a question draws noise for under differential privacy: each measure, and which groups there are.
func (d *Derivation) Releases() int { return len(d.Spec.Measures) + 1 }

func (d *Derivation) noiseExplained() *ExplainedNoise {
	if d.Noise.Kind.Rank() <= 0 {
		return nil
	}
	x := &ExplainedNoise{Kind: d.Noise.Kind, Rule: d.Noise.Text()}
	if d.Noise.Kind == sandbox.NoiseDP {
		cost := d.Noise.Release.Times(d.Releases())
		x.Releases, x.Cost = d.Releases(), &cost
	}
	return x
}

func ruleOf(list []sandbox.ListItem, id sandbox.DatasetID, column string) (sandbox.ColumnRule, bool) {
	for _, item := range list {
		if item.Dataset == id {
			return item.Rule(column)
		}
	}
	return sandbox.ColumnRule{}, false
}

// Same (同一问题) names what a question draws noise for, whatever its form: who asks under which scenario, for what purpose, with which
// names, in which order and with which conditions on what is shown does not count. Equal bytes are the same rows, grouped and measured
// in the same way.
type Same struct {
	Table    []byte   // inputs with their versions, joins, filters and grouping
	Measures [][]byte // per measure: the table and it
	Order    []int    // label k of a group, in the order that all forms share, is label Order[k] of this question
}

// Same takes the data version of each input, in the order of Inputs.
func (s Spec) Same(versions []uint64) Same {
	s.Scenario, s.Purpose, s.Having, s.Top = "", "", nil, nil
	s.Inputs, s.Dimensions = slices.Clone(s.Inputs), slices.Clone(s.Dimensions)
	for i := range s.Inputs {
		s.Inputs[i].Version = versions[i]
	}
	for i := range s.Dimensions {
		s.Dimensions[i].As = fmt.Sprintf("%06d", i) // what is left to order equal ones by
	}
	measures := s.Measures
	var out Same
	encode := func(m []Measure) []byte {
		s.Measures = m
		n := s.normal()
		out.Order = out.Order[:0]
		for i := range n.Dimensions {
			at := 0
			for _, c := range n.Dimensions[i].As {
				at = 10*at + int(c-'0')
			}
			out.Order = append(out.Order, at)
			n.Dimensions[i].As = ""
		}
		b, err := json.Marshal(n)
		if err != nil { // as in Canonical
			panic("query: a question that does not encode")
		}
		return b
	}
	for _, m := range measures {
		m.As = ""
		out.Measures = append(out.Measures, encode([]Measure{m}))
	}
	out.Table = encode(nil)
	return out
}
