package query

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Canonical encodes a valid Spec so that equal questions give equal bytes: inputs after the first stand in a fixed order,
// aliases are renamed by it, and join keys, filters, labels, dimensions and measures are sorted. Output names stay: they
// are part of what comes back. A digest is the caller's to take. Versions are encoded as written, so a caller that wants
// "the same question on the same data" resolves version 0 first.
func (s Spec) Canonical() []byte {
	b, err := json.Marshal(s.normal())
	if err != nil { // a Spec is strings, numbers and booleans: Marshal cannot fail
		panic("query: a question that does not encode")
	}
	return b
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Left, b.Left), cmp.Compare(a.Right, b.Right))
}

// normal gives the canonical form of s, sharing nothing with it.
func (s Spec) normal() Spec {
	out := Spec{Scenario: s.Scenario, Purpose: s.Purpose}
	alias := map[string]string{}
	rest := slices.Clone(s.Inputs)
	for len(rest) > 0 {
		best := -1
		for i, in := range rest {
			_, placed := alias[in.With]
			if len(out.Inputs) == 0 && i > 0 || len(out.Inputs) > 0 && !placed {
				continue // the scanned input comes first, a joined one after the input it joins
			}
			if best < 0 || compareInputs(in, rest[best], alias) < 0 {
				best = i
			}
		}
		if best < 0 { // not a valid Spec: keep the rest as it stands
			best = 0
		}
		in := rest[best]
		rest = slices.Delete(rest, best, best+1)
		alias[in.Alias] = "t" + strconv.Itoa(len(out.Inputs))
		in.With, in.On = alias[in.With], slices.Clone(in.On)
		in.Alias = alias[in.Alias]
		slices.SortFunc(in.On, compareKeys)
		out.Inputs = append(out.Inputs, in)
	}
	rename := func(ref string) string {
		a, column, ok := strings.Cut(ref, ".")
		if !ok {
			return ref
		}
		return alias[a] + "." + column
	}
	for _, f := range s.Filters {
		f.Column, f.In = rename(f.Column), slices.Sorted(slices.Values(f.In))
		out.Filters = append(out.Filters, f)
	}
	slices.SortFunc(out.Filters, compareFilters)
	out.Filters = slices.CompactFunc(out.Filters, func(a, b Filter) bool { return compareFilters(a, b) == 0 })
	for _, d := range s.Dimensions {
		if d.Score != nil {
			d.Score = d.Score.normal(rename)
		}
		d.Column = rename(d.Column)
		out.Dimensions = append(out.Dimensions, d)
	}
	slices.SortFunc(out.Dimensions, func(a, b Dimension) int {
		return cmp.Or(cmp.Compare(a.Column, b.Column), cmp.Compare(a.Bin, b.Bin), cmp.Compare(a.Score.text(), b.Score.text()), cmp.Compare(a.As, b.As))
	})
	for _, m := range s.Measures {
		m.Column, m.With = rename(m.Column), slices.Clone(m.With)
		for i, w := range m.With {
			m.With[i] = rename(w)
		}
		out.Measures = append(out.Measures, m.normal())
	}
	slices.SortFunc(out.Measures, func(a, b Measure) int {
		return cmp.Or(cmp.Compare(a.Func, b.Func), cmp.Compare(a.Column, b.Column), slices.Compare(a.With, b.With),
			cmp.Compare(a.Bin, b.Bin), cmp.Compare(a.Q, b.Q), cmp.Compare(a.As, b.As))
	})
	out.Having = slices.SortedFunc(slices.Values(s.Having), func(a, b Having) int { return cmp.Compare(a.Measure, b.Measure) })
	if s.Top != nil {
		top := *s.Top
		out.Top = &top
	}
	return out
}

// normal puts the columns of a measure whose order does not matter in order.
func (m Measure) normal() Measure {
	switch m.Func {
	case sandbox.Linear, sandbox.Logistic:
		m.With = slices.Sorted(slices.Values(m.With))
	case sandbox.Covariance, sandbox.Correlation, sandbox.Dot:
		if len(m.With) == 1 && m.With[0] < m.Column {
			m.Column, m.With = m.With[0], []string{m.Column}
		}
	}
	return m
}

// compareInputs orders inputs whose earlier sides are placed; a valid Spec has no two equal ones.
func compareInputs(a, b Input, alias map[string]string) int {
	key := func(in Input) []Key {
		on := slices.Clone(in.On)
		slices.SortFunc(on, compareKeys)
		return on
	}
	return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Version, b.Version),
		cmp.Compare(alias[a.With], alias[b.With]), slices.CompareFunc(key(a), key(b), compareKeys), cmp.Compare(one(a.Subject), one(b.Subject)), cmp.Compare(a.Join, b.Join))
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareFilters(a, b Filter) int {
	return cmp.Or(cmp.Compare(a.Column, b.Column), cmp.Compare(a.Bin, b.Bin), cmp.Compare(one(a.Not), one(b.Not)), slices.Compare(a.In, b.In))
}
