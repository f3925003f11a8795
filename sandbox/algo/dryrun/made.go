package dryrun

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Made (试运行目录) is a made catalogue: its datasets, what may be done with them, and which texts their columns hold.
type Made struct {
	Sets  map[sandbox.DatasetID]catalog.Dataset
	List  []sandbox.ListItem
	words map[string][]string // "dataset.column" → labels of a public text that the Program names
}

// Catalogue describes the inputs of a Program as its graph names them: labels it names are registered, columns it labels by themselves are
// public, and every column may be used for everything. Bound names the dataset of an input.
func Catalogue(g *algo.Graph, t *algo.Types, bound map[string]sandbox.DatasetID) Made {
	m := &maker{g: g, labels: map[string]map[string]bool{}, edges: map[string]map[string]bool{}}
	for i := range g.Nodes {
		m.node(i)
	}
	out := Made{Sets: map[sandbox.DatasetID]catalog.Dataset{}, words: map[string][]string{}}
	for _, at := range t.Inputs {
		n := g.Nodes[at]
		id, ok := bound[n.Name]
		if !ok {
			id = sandbox.DatasetID(n.Name)
		}
		d := catalog.Dataset{ID: id, Title: n.Name, Unit: "unit-made", Frequency: catalog.Once, Subject: subjectOf(n.Columns), SubjectKind: catalog.ResidentID, Version: 1}
		d.Columns = append(d.Columns, catalog.Column{Name: d.Subject, Type: catalog.Text, Grade: sandbox.Grade3, Personal: true})
		item := sandbox.ListItem{Dataset: id, Columns: []sandbox.ColumnRule{{Column: d.Subject, Uses: []sandbox.Use{sandbox.UseJoin}}}}
		for _, c := range n.Columns {
			ref := n.Name + "." + c.Name
			col := catalog.Column{Name: c.Name, Type: catalog.Type(c.Type), Scale: c.Scale, Unit: c.Unit, Grade: sandbox.Grade1}
			var labels map[string]bool
			if labels, col.Public = m.labels[ref+" "]; len(labels) > 0 {
				out.words[string(id)+"."+c.Name] = slices.Sorted(maps.Keys(labels))
			}
			col.JoinKey = m.key(ref, n.Name, c.Name)
			d.Bins = append(d.Bins, m.bins(ref, &col)...)
			d.Columns = append(d.Columns, col)
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Compares: sandbox.MaxCompares, Funcs: funcs(&col),
				Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
		}
		out.Sets[id] = d
		out.List = append(out.List, item)
	}
	return out
}

func funcs(c *catalog.Column) []sandbox.MeasureFunc {
	if c.Type == catalog.Int || c.Type == catalog.Money || c.Type == catalog.Number {
		return sandbox.MeasureFuncs
	}
	return []sandbox.MeasureFunc{sandbox.Distinct, sandbox.Logistic}
}

func subjectOf(columns []algo.Column) string {
	name := "person"
	for slices.ContainsFunc(columns, func(c algo.Column) bool { return c.Name == name }) {
		name += "-id"
	}
	return name
}

// maker collects what a graph names.
type maker struct {
	g      *algo.Graph
	labels map[string]map[string]bool // "input.column bin" → labels
	edges  map[string]map[string]bool // "input.column" → constants its values are compared with
}

func (m *maker) node(i int) {
	n := m.g.Nodes[i]
	note := func(label int, names []string) {
		if l := m.g.Nodes[label]; l.Op == algo.OpLabel {
			have := m.labels[m.ref(l)+" "+l.Bin]
			for _, name := range names {
				have[name] = true
			}
		}
	}
	switch n.Op {
	case algo.OpLabel:
		if k := m.ref(n) + " " + n.Bin; m.labels[k] == nil {
			m.labels[k] = map[string]bool{}
		}
	case algo.OpIn:
		note(n.Args[0], n.Labels)
	case algo.OpPoints:
		for _, p := range n.Points {
			note(n.Args[0], []string{p.Label})
		}
	case algo.OpAtLeast, algo.OpBands:
		if c := m.g.Nodes[n.Args[0]]; c.Op == algo.OpColumn {
			if m.edges[m.ref(c)] == nil {
				m.edges[m.ref(c)] = map[string]bool{}
			}
			for _, d := range n.Consts {
				m.edges[m.ref(c)][string(d)] = true
			}
		}
	}
}

func (m *maker) ref(n algo.Node) string { return m.g.Nodes[n.Args[0]].Name + "." + n.Name }

// key says whether a column is joined by.
func (m *maker) key(ref, input, column string) bool {
	for _, n := range m.g.Nodes {
		if n.Op == algo.OpJoin && slices.ContainsFunc(n.Keys, func(k algo.Key) bool {
			return k.Left == ref || m.g.Nodes[n.Args[1]].Name == input && k.Right == column
		}) {
			return true
		}
	}
	return false
}

func (m *maker) bins(ref string, c *catalog.Column) (out []catalog.Bin) {
	for _, k := range slices.Sorted(maps.Keys(m.labels)) {
		at, bin, _ := strings.Cut(k, " ")
		if at != ref || bin == "" {
			continue
		}
		b := catalog.Bin{ID: sandbox.BinID(bin), Column: c.Name}
		labels := slices.Sorted(maps.Keys(m.labels[k]))
		switch c.Type {
		case catalog.Text:
			b.Kind = catalog.Codes
			for _, l := range labels {
				if l != catalog.Other && l != catalog.Missing {
					b.Groups = append(b.Groups, catalog.Group{Label: l, Codes: []string{l}})
				}
			}
			if len(b.Groups) == 0 {
				b.Groups = []catalog.Group{{Label: "a", Codes: []string{"a"}}, {Label: "b", Codes: []string{"b"}}}
			}
		case catalog.Date:
			b.Kind, b.At, b.Edges = catalog.Age, "2026-01-01", edgesOf(labels)
			if b.Edges == nil && strings.Contains(bin, "age") {
				b.Edges = []int64{18, 35, 50, 65, 80}
			} else if b.Edges == nil {
				b.Kind, b.At = catalog.Year, ""
			}
		default:
			if b.Kind, b.Edges = catalog.Amount, edgesOf(labels); b.Edges == nil {
				b.Edges = []int64{1, 100}
			}
		}
		out = append(out, b)
	}
	if len(m.edges[ref]) > 0 {
		scale := c.Scale
		if c.Type == catalog.Money {
			scale = 2
		}
		b := catalog.Bin{ID: "edges", Column: c.Name, Kind: catalog.Amount}
		for e := range m.edges[ref] {
			v, _ := new(big.Rat).SetString(e)
			v.Mul(v, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
			if v.IsInt() && v.Num().IsInt64() {
				b.Edges = append(b.Edges, v.Num().Int64())
			}
		}
		slices.Sort(b.Edges)
		b.ID = sandbox.BinID("edges-" + c.Name)
		if b.Edges = slices.Compact(b.Edges); len(b.Edges) > 0 {
			out = append(out, b)
		}
	}
	return out
}

// edgesOf reads edges out of the labels of a bin: "<18", "18-60", "≥60".
func edgesOf(labels []string) (out []int64) {
	for _, l := range labels {
		low := strings.TrimPrefix(strings.TrimPrefix(l, "<"), "≥")
		from, to := low, ""
		if i := strings.LastIndex(low, "-"); i > 0 {
			from, to = low[:i], low[i+1:]
		}
		for _, s := range []string{from, to} {
			if v, err := strconv.ParseInt(s, 10, 64); err == nil && !(from == l && to == "") {
				out = append(out, v)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Numbers (试运行数列) are numbers that follow from a seed: splitmix64. They make rows for a trial, never a key and never noise.
type Numbers struct{ state uint64 }

// NewNumbers starts the numbers of a seed.
func NewNumbers(seed uint64) *Numbers { return &Numbers{seed} }

func (r *Numbers) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Below gives the next number, from 0 up to n, which is positive, without it.
func (r *Numbers) Below(n int) int { return int(r.next() % uint64(n)) }

// Generate makes rows: so many of each dataset, of a third as many people.
func (m Made) Generate(seed uint64, rows int) map[sandbox.DatasetID]*Data {
	out := map[sandbox.DatasetID]*Data{}
	for _, id := range slices.Sorted(maps.Keys(m.Sets)) {
		d := &Data{Set: m.Sets[id]}
		r := NewNumbers(seed)
		for _, b := range []byte(id) {
			r.state = r.next() + uint64(b)
		}
		for range rows {
			who := r.Below(max(1, rows/3))
			var p sandbox.Pseudonym
			binary.BigEndian.PutUint64(p[:], uint64(who)*0x9e3779b97f4a7c15)
			binary.BigEndian.PutUint64(p[8:], uint64(who))
			row := make([]any, len(d.Set.Columns))
			for i := range d.Set.Columns {
				if c := &d.Set.Columns[i]; c.Name != d.Set.Subject {
					row[i] = value(&d.Set, c, r, m.words[string(id)+"."+c.Name])
				}
			}
			d.Rows, d.Subjects = append(d.Rows, row), append(d.Subjects, p)
		}
		out[id] = d
	}
	return out
}

func value(d *catalog.Dataset, c *catalog.Column, r *Numbers, named []string) any {
	if c.Nullable && r.Below(20) == 0 {
		return nil
	}
	var bins []catalog.Bin
	most := int64(0)
	for _, b := range d.Bins {
		if b.Column == c.Name {
			bins = append(bins, b)
			for _, e := range b.Edges {
				most = max(most, e)
			}
		}
	}
	switch c.Type {
	case catalog.Bool:
		return r.Below(2) == 1
	case catalog.Date:
		return int64(r.Below(33_000) - 14_000) // 1931 to 2022
	case catalog.Text:
		words := append([]string{"a", "b", "c", "d"}, named...)
		for _, b := range bins {
			for _, g := range b.Groups {
				words = append(words, g.Codes...)
			}
		}
		return words[r.Below(len(words))]
	case catalog.Money:
		return int64(r.Below(int(min(max(2*most, 1_000_000), 1<<40))))
	}
	return int64(r.Below(int(min(max(2*most, 100), 1<<40))))
}

// Describe says in one line what an input was made like.
func Describe(d *Data) string {
	return fmt.Sprintf("%s: %d rows of %d columns", d.Set.ID, len(d.Rows), len(d.Set.Columns)-1)
}
