package table

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox"
)

// summary makes contributors of a cell that is given by people, n, top-1, top-2 and sum. The k-th largest of every measure is one
// person; so is the k-th of every cell, unless contributors are in one cell each.
func (t *building) summary(n node, m map[string]node, c *sandbox.Cell) error {
	p, ok := member(m, "people")
	if !ok {
		return invalid(n.at, "a cell has contributors, or people and values")
	}
	people, err := p.count()
	if err != nil {
		return err
	}
	if people == 0 {
		return invalid(p.at, "nobody is in it: a group without rows is no cell, leave it out")
	}
	c.Rows = people
	if v, ok := member(m, "rows"); ok {
		if c.Rows, err = v.count(); err != nil {
			return err
		}
		if c.Rows < people {
			return invalid(v.at, "everybody in a cell has a row")
		}
	}
	given := map[int]node{}
	if v, ok := member(m, "values"); ok {
		if given, err = t.valued(v); err != nil {
			return err
		}
	}
	if people > maxPeople || t.full(int(people)) {
		t.large = true
		return nil
	}
	prefix := "rank/"
	if t.exclusive {
		prefix = fmt.Sprintf("cell/%d/", len(t.at))
	}
	for k := range people {
		c.Contributors = append(c.Contributors, t.who(fmt.Sprintf("%s%d", prefix, k)))
	}
	rows := make([]int64, len(t.answer.Measures))
	for k, measure := range t.answer.Measures {
		x, ok := given[k]
		rows[k] = c.Rows
		switch {
		case measure.Func == sandbox.Subjects && ok:
			return invalid(x.at, "people are given once a cell")
		case measure.Func == sandbox.Subjects, measure.Func == sandbox.Count && !ok && c.Rows == people:
			c.Contributions[k] = ones(people)
			continue
		case !ok:
			return invalid(n.at, "a summary has n, top1, top2 and sum of every amount, and of rows where some have several")
		}
		if c.Contributions[k], err = t.shares(x, people, measure.Scale); err != nil {
			return err
		}
		if measure.Func == sandbox.Count && (total(c.Contributions[k]) != c.Rows || c.Contributions[k][people-1] == 0) {
			return invalid(x.at, "everybody has a row, and the sum is the cell's rows")
		}
	}
	return t.finish(n.at, c, rows)
}

func ones(n int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

func total(x []int64) (s int64) {
	for _, v := range x {
		s += v
	}
	return s
}

// shares gives what each adds, the largest first, of which only n, the two largest and the sum are known: the third and so on are as
// large as they can be, since that is worst for (n,k), and the others one unit.
func (t *building) shares(x node, people int64, scale int) ([]int64, error) {
	m, err := x.object("n", "top1", "top2", "sum")
	if err != nil {
		return nil, err
	}
	n := people
	if v, ok := member(m, "n"); ok {
		if n, err = v.count(); err != nil {
			return nil, err
		}
	}
	read := map[string]int64{}
	for _, k := range []string{"top1", "top2", "sum"} {
		v, ok := member(m, k)
		if !ok {
			if k == "top2" && n < 2 {
				continue
			}
			return nil, invalid(under(x.at, k), "missing")
		}
		if read[k], err = v.amount(scale); err != nil {
			return nil, err
		}
		if read[k] < 0 {
			return nil, invalid(v.at, "amounts below zero are given by contributors, not by a summary")
		}
	}
	top1, top2, rest := read["top1"], read["top2"], read["sum"]-read["top1"]-read["top2"]
	out := make([]int64, people)
	wrong := invalid(x.at, "inconsistent: n contributors, of whom none adds more than the second but the first, do not come to the sum")
	switch {
	case n > people:
		return nil, invalid(under(x.at, "n"), "no more contributors than people")
	case top2 > top1, n >= 1 && top1 == 0, n >= 2 && top2 == 0, n == 0 && (top1 != 0 || rest != 0), n == 1 && (top2 != 0 || rest != 0), n == 2 && rest != 0:
		return nil, wrong
	case n > 2 && (rest < n-2 || rest-(n-2) > 0 && (rest-1)/(n-2) >= top2):
		return nil, wrong
	}
	if n > 0 {
		out[0] = top1
	}
	if n > 1 {
		out[1] = top2
	}
	for k := int64(2); k < n; k++ {
		out[k] = min(top2, rest-(n-1-k))
		rest -= out[k]
	}
	return out, nil
}

func (t *building) readMargins(n node) error {
	all, err := n.list()
	if err != nil {
		return err
	}
	for _, x := range all {
		m, err := x.object("note", "cells", "values")
		if err != nil {
			return err
		}
		which, err := m["cells"].list()
		if err != nil {
			return invalid(under(x.at, "cells"), "a list of the labels of cells")
		}
		out := margin{values: map[int]int64{}}
		seen := map[int]bool{}
		for _, l := range which {
			labels, err := t.labels(l)
			if err != nil {
				return err
			}
			i, ok := t.at[key(labels)]
			if !ok || seen[i] {
				return invalid(l.at, "a margin is over cells of the table, each once")
			}
			seen[i] = true
			out.cells = append(out.cells, i)
		}
		given, err := t.valued(m["values"])
		if err != nil {
			return invalid(under(x.at, "values"), "an object of values by measure")
		}
		if len(out.cells) == 0 || len(given) == 0 {
			return invalid(x.at, "a margin has cells and values")
		}
		if t.large {
			continue
		}
		for k, measure := range t.answer.Measures {
			v, ok := given[k]
			if !ok {
				continue
			}
			if !measure.Func.Additive() {
				return invalid(v.at, "means have no total")
			}
			if out.values[k], err = v.amount(measure.Scale); err != nil {
				return err
			}
			if !t.comesTo(out.cells, k, out.values[k]) {
				return invalid(v.at, "inconsistent margins: its cells do not come to it")
			}
		}
		t.margins = append(t.margins, out)
	}
	return nil
}

// comesTo holds a margin to its cells. Of people in several cells a summary does not tell how many they are.
func (t *building) comesTo(cells []int, k int, want int64) bool {
	var sum, most int64
	who := map[uint32]bool{}
	for _, i := range cells {
		c := &t.answer.Cells[i]
		sum, most = sum+c.Values[k], max(most, c.Values[k])
		for _, p := range c.Contributors {
			who[p] = true
		}
	}
	switch {
	case t.answer.Measures[k].Func != sandbox.Subjects:
		return sum == want
	case t.summaries && !t.exclusive:
		return want >= most && want <= sum
	}
	return want == int64(len(who))
}

func (t *building) readEarlier(n node) error {
	all, err := n.list()
	if err != nil {
		return err
	}
	for i, x := range all {
		e, err := decode(x, true)
		if err != nil {
			return err
		}
		for _, other := range t.Earlier {
			if other.ID == e.ID {
				return invalid(x.at, "duplicate id: earlier releases have ids of their own")
			}
		}
		if e.ID == t.ID {
			return invalid(fmt.Sprintf("%s[%d]", n.at, i), "duplicate id: an earlier release is another one")
		}
		t.Earlier = append(t.Earlier, e)
	}
	return nil
}
