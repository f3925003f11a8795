package spec

import (
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Placement (存放) says who holds the two inputs of a joined question, by index among a plan's units, and what is agreed of its people.
type Placement struct {
	Holders  [2]int // of the first and of the second input
	Subjects int    // length of the list of people that both units stand by
	List     []byte // its digest; none: to see whether the question runs, no side is filled
	Rows     int    // most rows of one person at a unit; 0: 1,024
}

// Joined (跨单位关联问题) is a question over two inputs that are joined by the protected subject, each held by one unit: every total over joined rows is
// a sum, over people, of something at one unit times something at the other.
type Joined struct {
	Derivation query.Derivation
	Layout     he.Layout
	Labels     [][]string // of each group, by dimension

	sides    [2]side
	factors  [2][]factor
	measures []joinedMeasure
	groups   []pair // label of either side, by group
	terms    map[he.Term]int
}

type pair [2]int

// factor says what a side's vector adds up for each person: over the rows of a label in which the given columns are there, the product of
// the columns in powers; of people, one however many rows.
type factor struct {
	label  int
	given  string // columns, as bytes in order
	powers string // columns, as bytes, one for each power
	hist   int    // column whose label must be bin; -1
	bin    int
	people bool
}

// joinedMeasure is a measure of the question with its columns' sides and places among that side's columns.
type joinedMeasure struct {
	he.Measure
	columns []placed // X, and Y
	hist    bool
}

type placed struct{ side, at int }

// CompileJoined lays a question out for products of ciphertexts. Reasons is empty exactly when there is one; codes as Compile's, with
// he.placement for who holds what.
func CompileJoined(d query.Derivation, keys Keys, at Placement) (*Joined, []sandbox.Reason) {
	c := &compiler{d: d}
	if !d.Complete() {
		c.refuse("he.question", "", "an engine runs accepted questions only", "have it derived")
		return nil, c.why
	}
	if c.stops(keys); len(d.Inputs) != 2 {
		c.refuse("he.join", "", "products bring two inputs together", "ask a question of one input as a sum, see Compile")
	}
	if at.Rows == 0 {
		at.Rows = 1 << 10
	}
	if at.Holders[0] == at.Holders[1] || at.Holders[0] < 0 || at.Holders[1] < 0 || at.Subjects < 1 || at.Subjects > he.MaxSubjects || at.Rows < 1 || at.Rows > 1<<20 {
		c.refuse("he.placement", "", fmt.Sprintf("two units hold an input each, over a list of 1 to %d people with 1 to 2^20 rows each", he.MaxSubjects), "name the units and the list's length; what one unit holds, it joins itself")
	}
	if len(c.why) > 0 {
		return nil, c.why
	}
	j := &Joined{Derivation: d, terms: map[he.Term]int{}}
	for i := range j.sides {
		j.sides[i].dataset, j.sides[i].described = d.Inputs[i].Dataset, &d.Inputs[i].Described
	}
	j.filters()
	dims := j.dimensions(keys)
	for i, m := range d.Spec.Measures {
		j.measure(c, i, m)
	}
	for _, s := range j.sides {
		if len(s.columns) > MaxColumns {
			c.refuse("he.columns", "", fmt.Sprintf("a question measures at most %d columns of a unit", MaxColumns), "ask it in parts")
		}
	}
	if !j.cells(c, dims) || len(c.why) > 0 {
		return nil, c.why
	}
	x := &he.Products{Subjects: at.Subjects, Holders: at.Holders, List: at.List}
	for _, g := range j.groups {
		for _, m := range j.measures {
			for label := range max(1, m.Labels) {
				for _, t := range j.termsOf(m, g, label) {
					if _, ok := j.terms[t]; !ok {
						j.terms[t] = len(x.Terms)
						x.Terms = append(x.Terms, t)
					}
				}
			}
		}
	}
	for s, list := range j.factors {
		for _, f := range list {
			x.Factors[s] = append(x.Factors[s], he.Factor{Bits: j.bits(s, f, at.Rows)})
		}
	}
	j.Layout.Products = x
	if c.why = j.Layout.Check(); len(c.why) > 0 {
		return nil, c.why
	}
	return j, nil
}

// column finds the side of "alias.column".
func (j *Joined) column(ref string) (int, *catalog.Column, *catalog.Dataset) {
	alias, name, _ := strings.Cut(ref, ".")
	for i := range j.Derivation.Inputs {
		if in := &j.Derivation.Inputs[i]; in.Alias == alias {
			col, _ := in.Described.Column(name)
			return i, col, &in.Described
		}
	}
	return 0, nil, nil // a complete Derivation names only known ones
}

func (j *Joined) filters() {
	for _, f := range j.Derivation.Spec.Filters {
		s, col, ds := j.column(f.Column)
		j.sides[s].filters = append(j.sides[s].filters, filter{newLabeler(col, binOf(ds, f.Bin), f.In), f.Not})
	}
}

// dimensions places each dimension at its side; it gives the side of each.
func (j *Joined) dimensions(keys Keys) (at []int) {
	for _, dim := range j.Derivation.Spec.Dimensions {
		if dim.Score != nil {
			s, _, _ := j.column(dim.Score.Parts[0].Column)
			p := newPoints(dim.Score, func(ref string) (*catalog.Column, *catalog.Dataset) { _, col, ds := j.column(ref); return col, ds })
			j.sides[s].dims = append(j.sides[s].dims, dimension{labels: dim.Score.Bands(), points: p})
			at = append(at, s)
			continue
		}
		s, col, ds := j.column(dim.Column)
		names := keys[dim.As]
		if names == nil {
			names = j.Derivation.Groups(dim)
		}
		j.sides[s].dims = append(j.sides[s].dims, dimension{labels: names, by: newLabeler(col, binOf(ds, dim.Bin), names)})
		at = append(at, s)
	}
	return at
}

func (j *Joined) measure(c *compiler, i int, m query.Measure) {
	x := joinedMeasure{Measure: he.Measure{Func: m.Func}, hist: m.Func == sandbox.Histogram}
	add := func(ref string, labels *labeler) {
		s, col, _ := j.column(ref)
		list := &j.sides[s].columns
		at := slices.IndexFunc(*list, func(y measured) bool { return labels == nil && y.labels == nil && y.name == col.Name })
		if at < 0 {
			at = len(*list)
			*list = append(*list, measured{name: col.Name, labels: labels})
		}
		x.columns = append(x.columns, placed{s, at})
	}
	switch {
	case x.hist:
		_, col, ds := j.column(m.Column)
		names := (&compiler{d: j.Derivation}).parts(i)
		x.Labels = len(names)
		add(m.Column, newLabeler(col, binOf(ds, m.Bin), names))
	case m.Column != "":
		add(m.Column, nil)
		second := m.Column
		if len(m.With) > 0 {
			second = m.With[0]
		}
		add(second, nil)
		_, a, _ := j.column(m.Column)
		_, b, _ := j.column(second)
		x.Scale, x.ScaleY = scaleOf(a), scaleOf(b)
	}
	if len(x.columns) > 0 && x.columns[0].at >= MaxColumns {
		c.refuse("he.columns", "", fmt.Sprintf("a question measures at most %d columns of a unit", MaxColumns), "ask it in parts")
	}
	j.measures = append(j.measures, x)
}

// cells lists the groups: every combination of the dimensions' labels, and which label of either side it is.
func (j *Joined) cells(c *compiler, dims []int) bool {
	n := 1
	var lists [][]string
	next := [2]int{}
	for _, s := range dims {
		l := j.sides[s].dims[next[s]].labels
		next[s]++
		if n *= len(l); n > he.MaxTerms {
			c.refuse("he.groups", "", fmt.Sprintf("a question over products has at most %d groups", he.MaxTerms), "group by fewer dimensions")
			return false
		}
		lists = append(lists, l)
	}
	for i := range n {
		labels, codes, rest := make([]string, len(dims)), make([]int, len(dims)), i
		for k := len(labels) - 1; k >= 0; k-- {
			codes[k], rest = rest%len(lists[k]), rest/len(lists[k])
			labels[k] = lists[k][codes[k]]
		}
		var g pair
		for k, s := range dims {
			g[s] = g[s]*len(lists[k]) + codes[k]
		}
		j.Labels, j.groups = append(j.Labels, labels), append(j.groups, g)
	}
	return true
}

// factor numbers a side's vector.
func (j *Joined) factor(s int, f factor) int {
	at := slices.Index(j.factors[s], f)
	if at < 0 {
		at = len(j.factors[s])
		j.factors[s] = append(j.factors[s], f)
	}
	return at
}

// term numbers the factors of a total of a measure in a group: its columns in powers, or how many people it is of.
func (j *Joined) term(m joinedMeasure, g pair, label int, powers [2]int, people bool) he.Term {
	var at [2]int
	for s := range at {
		f := factor{label: g[s], hist: -1, people: people}
		given := map[int]bool{}
		for k, p := range m.columns {
			if p.side != s {
				continue
			}
			if m.hist {
				f.hist, f.bin = p.at, label
				continue
			}
			given[p.at] = true
			for range powers[k] {
				f.powers += string([]byte{byte(p.at)})
			}
		}
		for k := range MaxColumns {
			if given[k] {
				f.given += string([]byte{byte(k)})
			}
		}
		b := []byte(f.powers)
		slices.Sort(b)
		f.powers = string(b)
		at[s] = j.factor(s, f)
	}
	return he.Term{Left: at[0], Right: at[1]}
}

// termsOf lists what an output of a measure takes: its totals, and its people.
func (j *Joined) termsOf(m joinedMeasure, g pair, label int) (out []he.Term) {
	powers := m.Powers()
	if m.hist {
		powers = powers[:1]
	}
	for _, p := range powers {
		out = append(out, j.term(m, g, label, p, false))
	}
	return append(out, j.term(m, g, label, [2]int{}, true))
}

// bits bounds a factor's values: of a column by its declared range, times the rows of a person.
func (j *Joined) bits(s int, f factor, rows int) int {
	if f.people {
		return 1
	}
	n := bits.Len(uint(rows))
	for _, k := range []byte(f.powers) {
		n += j.width(s, int(k))
	}
	return n
}

func (j *Joined) width(s, k int) int {
	col, _ := j.sides[s].described.Column(j.sides[s].columns[k].name)
	if v, err := catalog.ParseValues(col.Name, col); err == nil && v != nil && v.Kind == catalog.Between {
		if w := max(bits.Len64(uint64(abs(v.Low))), bits.Len64(uint64(abs(v.High)))); w <= 47 {
			return max(1, w)
		}
	}
	return 47
}

// abs is the size of a bound; the least of all numbers stays wide.
func abs(v int64) int64 { return max(v, -v) }

// Answer reads a result of this question's layout. How many people an output is of is exact here: a product says so. The largest
// contribution is below the product of what either unit states. Invalid for a result of another layout, or that cannot be.
func (j *Joined) Answer(r *he.Result) (*Answer, error) {
	a := &Answer{Outputs: j.Derivation.Outputs(), Units: r.Units}
	for _, d := range j.Derivation.Spec.Dimensions {
		a.Dimensions = append(a.Dimensions, d.As)
	}
	x := j.Layout.Products
	if len(r.Terms) != len(x.Terms) || len(r.Sides[0]) != len(x.Factors[0]) || len(r.Sides[1]) != len(x.Factors[1]) {
		return nil, fail(sandbox.Invalid, "result", "is of this question")
	}
	for i, g := range j.groups {
		group := Group{Labels: j.Labels[i]}
		for _, m := range j.measures {
			for label := range max(1, m.Labels) {
				terms := j.termsOf(m, g, label)
				var totals []*big.Int
				for _, t := range terms[:len(terms)-1] {
					totals = append(totals, new(big.Int).Set(r.Terms[j.terms[t]]))
				}
				finish := m.Measure
				if m.hist {
					finish = he.Measure{Func: sandbox.Histogram, Labels: 1}
				}
				out, err := finish.Finish(totals)
				if err != nil {
					return nil, err
				}
				o := out[0]
				people := r.Terms[j.terms[terms[len(terms)-1]]]
				if !people.IsInt64() || people.Sign() < 0 || people.Int64() > o.Rows || (people.Sign() == 0) != (o.Rows == 0) {
					return nil, fail(sandbox.Tampered, "result", "counts people who have rows")
				}
				if o.Func = m.Func; m.hist {
					o.Label = label
				}
				j.evidence(m, r, terms, totals, people, &o)
				group.Values = append(group.Values, o)
			}
		}
		a.Groups = append(a.Groups, group)
	}
	return a, nil
}
