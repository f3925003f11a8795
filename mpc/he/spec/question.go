package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// MaxColumns bounds the columns that are measured: a row says in one word which are missing.
const MaxColumns = 64

// Question (密态问题) is a derived question that runs on ciphertexts: its layout, and how a unit's rows fill it.
type Question struct {
	Derivation query.Derivation
	Layout     he.Layout
	Labels     [][]string // of each group of the layout, by dimension

	side side
}

// Keys (公开分组) fixes the labels of dimensions that do not list theirs, by the dimension's name: years, published code lists.
type Keys map[string][]string

// side is an input as whoever holds rows of it evaluates them.
type side struct {
	dataset   sandbox.DatasetID
	described *catalog.Dataset
	filters   []filter
	dims      []dimension
	columns   []measured
}

type filter struct {
	labels *labeler
	not    bool
}

type dimension struct {
	labels []string
	by     *labeler // or
	points *points
}

// measured is a column whose values, or whose labels of a histogram, are measured.
type measured struct {
	name   string
	labels *labeler // nil: values
	nulls  bool     // of labels: the missing counts nowhere
}

// Compile lays a question out for ciphertexts. Reasons is empty exactly when there is one. Codes: he.question for one that was not
// derived, he. and the operator that stops it (query.Derivation.Stops), he.groups, he.columns, he.layout.
func Compile(d query.Derivation, keys Keys) (*Question, []sandbox.Reason) {
	c := &compiler{d: d, q: &Question{Derivation: d}}
	if !d.Complete() {
		c.refuse("he.question", "", "an engine runs accepted questions only", "have it derived")
		return nil, c.why
	}
	c.stops(keys)
	if len(d.Inputs) > 1 {
		c.refuse("he.join", string(d.Inputs[1].Dataset), "stopped by join: each unit's rows are added up by themselves", "have the mpc engine join them; or, of two datasets that different units hold, ask over a list of people that both have")
	}
	c.q.side.dataset, c.q.side.described = d.Inputs[0].Dataset, &d.Inputs[0].Described
	for _, f := range d.Spec.Filters {
		if col, ds := c.column(f.Column); col != nil {
			c.q.side.filters = append(c.q.side.filters, filter{newLabeler(col, binOf(ds, f.Bin), f.In), f.Not})
		}
	}
	for _, dim := range d.Spec.Dimensions {
		c.dimension(dim, keys[dim.As])
	}
	for _, m := range d.Spec.Measures {
		c.measure(m)
	}
	if len(c.why) > 0 {
		return nil, c.why
	}
	c.cells()
	if len(c.why) == 0 {
		c.q.Layout.Columns = len(c.q.side.columns)
		c.why = c.q.Layout.Check()
	}
	if len(c.why) > 0 {
		return nil, c.why
	}
	return c.q, nil
}

type compiler struct {
	d   query.Derivation
	q   *Question
	why []sandbox.Reason
}

// stops refuses what stops the question, but for groups whose labels are fixed.
func (c *compiler) stops(keys Keys) {
	for _, x := range c.d.Stops() {
		if x.Operator == "group" && slices.ContainsFunc(c.d.Spec.Dimensions, func(dim query.Dimension) bool { return keys[dim.As] != nil && c.at(dim.Column) == x.Column }) {
			continue
		}
		c.refuse("he."+x.Operator, x.Column, "stopped by "+x.Operator+": "+x.Rule, x.Instead)
	}
	for k := range keys {
		if !slices.ContainsFunc(c.d.Spec.Dimensions, func(x query.Dimension) bool { return x.As == k }) {
			c.refuse("he.groups", "", "labels are fixed for dimensions of the question", "leave out those of "+k)
		}
	}
}

const articleHE = "龙华区实施方案 九(一) 数据可用不可见"

func (c *compiler) refuse(code, column, rule, change string) {
	r := sandbox.Reason{Code: code, Column: column, Rule: rule, Article: articleHE, Change: change}
	if !slices.Contains(c.why, r) {
		c.why = append(c.why, r)
	}
}

// column finds "alias.column"; nil for one of another input than the first, whose join is refused.
func (c *compiler) column(ref string) (*catalog.Column, *catalog.Dataset) {
	alias, name, _ := strings.Cut(ref, ".")
	if in := &c.d.Inputs[0]; in.Alias == alias {
		col, _ := in.Described.Column(name)
		return col, &in.Described
	}
	return nil, nil
}

// at writes a column as reasons name it.
func (c *compiler) at(ref string) string {
	alias, name, _ := strings.Cut(ref, ".")
	for _, in := range c.d.Inputs {
		if in.Alias == alias {
			return string(in.Dataset) + "." + name
		}
	}
	return name
}

func (c *compiler) dimension(dim query.Dimension, keys []string) {
	if dim.Score != nil {
		for _, p := range dim.Score.Parts {
			if col, _ := c.column(p.Column); col == nil {
				return
			}
		}
		c.q.side.dims = append(c.q.side.dims, dimension{labels: dim.Score.Bands(), points: newPoints(dim.Score, c.column)})
		return
	}
	col, ds := c.column(dim.Column)
	if col == nil {
		return
	}
	b := binOf(ds, dim.Bin)
	names := keys // missing values only where they say so
	if names == nil {
		names = c.d.Groups(dim)
	}
	for i, l := range names {
		if slices.Contains(names[:i], l) {
			c.refuse("he.groups", c.at(dim.Column), "labels are fixed once each", "name each label of "+dim.As+" once")
		}
	}
	c.q.side.dims = append(c.q.side.dims, dimension{labels: names, by: newLabeler(col, b, names)})
}

func (c *compiler) measure(m query.Measure) {
	x := he.Measure{Func: m.Func}
	if m.Func == sandbox.Histogram {
		col, ds := c.column(m.Column)
		if col == nil {
			return
		}
		b := binOf(ds, m.Bin)
		names := c.parts(len(c.q.Layout.Measures))
		x.Labels = len(names)
		x.X = c.measured(measured{name: col.Name, labels: newLabeler(col, b, names), nulls: true})
	} else if m.Column != "" {
		refs := append([]string{m.Column}, m.With...)
		if len(refs) == 1 {
			refs = append(refs, m.Column) // a square
		}
		for i, into := range []*int{&x.X, &x.Y} {
			col, _ := c.column(refs[i])
			if col == nil {
				return
			}
			*into = c.measured(measured{name: col.Name})
		}
		x.Scale, x.ScaleY = c.scale(refs[0]), c.scale(refs[1])
	}
	c.q.Layout.Measures = append(c.q.Layout.Measures, x)
}

// parts lists a histogram's labels in the order of the answer.
func (c *compiler) parts(measure int) (out []string) {
	for _, o := range c.d.Outputs() {
		if o.Measure == measure {
			out = append(out, o.Part)
		}
	}
	return out
}

func (c *compiler) scale(ref string) int {
	col, _ := c.column(ref)
	return scaleOf(col)
}

func scaleOf(c *catalog.Column) int {
	if c.Type == catalog.Money {
		return 2
	}
	return c.Scale
}

func (c *compiler) measured(m measured) int {
	at := slices.IndexFunc(c.q.side.columns, func(x measured) bool {
		return m.labels == nil && x.labels == nil && x.name == m.name
	})
	if at < 0 {
		at = len(c.q.side.columns)
		c.q.side.columns = append(c.q.side.columns, m)
	}
	if at >= MaxColumns {
		c.refuse("he.columns", "", fmt.Sprintf("a question measures at most %d columns", MaxColumns), "ask it in parts")
	}
	return at
}

// cells names the groups: every combination of the dimensions' labels.
func (c *compiler) cells() {
	n := 1
	for _, d := range c.q.side.dims {
		if n *= len(d.labels); n > he.MaxCells {
			c.refuse("he.groups", "", fmt.Sprintf("a question has at most %d groups", he.MaxCells), "group by fewer dimensions")
			return
		}
	}
	for i := range n {
		labels, rest := make([]string, len(c.q.side.dims)), i
		for k := len(labels) - 1; k >= 0; k-- {
			list := c.q.side.dims[k].labels
			labels[k], rest = list[rest%len(list)], rest/len(list)
		}
		c.q.Labels = append(c.q.Labels, labels)
		c.q.Layout.Cells = append(c.q.Layout.Cells, cellKey(i, labels))
	}
}

// cellKey is a group's key in the layout: its labels, or its number where they are too long together.
func cellKey(i int, labels []string) string {
	if k := fmt.Sprintf("%q", labels); len(k) <= 256 {
		return k
	}
	return fmt.Sprintf("group %d", i)
}
