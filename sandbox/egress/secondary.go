package egress

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/audit"
)

// CellInterval (单元格区间) is what can at least not be told apart of a suppressed cell that breaks a rule: a total or count of one
// measure may be anything from Lower to Upper for all that leaves. For reviewers and owners, never for askers.
type CellInterval struct {
	Measure string `json:"measure"`
	Lower   int64  `json:"lower"`
	Upper   int64  `json:"upper"`
	Width   int64  `json:"required_width"` // that the rules ask for, before what is known beforehand leaves no room for it
	Ratio   int    `json:"ratio_permille"` // of what it reaches ÷ what it must reach, in the least favourable view; 1000 or more
}

// Suppression (抑制方案) is what hiding cells to protect others came to, in people per cell.
type Suppression struct {
	Cells   int    `json:"cells"`             // hidden to protect others
	Cost    int64  `json:"cost"`              // people in them
	Bound   int64  `json:"bound"`             // no pattern that can be certified costs less
	Optimal bool   `json:"optimal,omitempty"` // Cost is the least
	Linked  int    `json:"linked,omitempty"`  // cells of earlier answers in the same audit
	Whole   string `json:"whole,omitempty"`   // why the table is suppressed whole
}

// Link (历史关联) is a published cell of an earlier answer inside which cells of a new one lie.
type Link struct {
	cells   []int            // of the new answer
	people  int64            // in the earlier cell
	amounts map[string]int64 // per measure of the ledger
}

// String keeps amounts out of logs.
func (Link) String() string { return "link to an earlier cell(redacted)" }

// GoString keeps amounts out of %#v.
func (Link) GoString() string { return "link to an earlier cell(redacted)" }

// Linked finds the cells of earlier answers on the same datasets inside which cells of a new answer lie, by the people in them. What is left of an
// earlier cell without them is Compare's to judge; here the earlier cell bounds what those suppressed among them add up to.
func (b *Book) Linked(l *Ledger, a *sandbox.Answer) []Link {
	tokens := l.tokens(a.Population)
	e := Entry{Cells: make([]EntryCell, len(a.Cells))}
	for i := range a.Cells {
		who := make([]uint64, 0, len(a.Cells[i].Contributors))
		for _, c := range a.Cells[i].Contributors {
			if int(c) < len(tokens) { // Check says what is wrong with such an answer
				who = append(who, tokens[c])
			}
		}
		slices.Sort(who)
		e.Cells[i].People = who
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := comparison{b: b, all: []*bookEntry{b.compile(e)}}
	for _, x := range b.entries {
		if slices.ContainsFunc(a.Inputs, func(in sandbox.InputVersion) bool { return slices.Contains(x.datasets, in.Dataset) }) {
			c.all = append(c.all, x)
		}
	}
	c.index()
	c.gather()
	fanOut(len(c.groups), func() func(int) {
		counts := make([]uint32, len(a.Cells))
		return func(k int) {
			g := c.groups[k]
			for _, i := range c.count(g, counts) {
				if int(counts[i]) == c.all[0].cells[i].n {
					g.inside = append(g.inside, int32(i))
				}
				counts[i] = 0
			}
			slices.Sort(g.inside)
		}
	})
	var out []Link
	for _, g := range c.groups {
		if len(g.inside) == 0 {
			continue
		}
		cells := make([]int, len(g.inside))
		for k, i := range g.inside {
			cells[k] = int(i)
		}
		for _, at := range g.places {
			x := Link{cells: cells, people: int64(g.n), amounts: map[string]int64{}}
			old := c.cell(at)
			for m, name := range c.all[at.answer].measures {
				x.amounts[name] = signed{old.adds[m].hi, old.adds[m].lo}.within()
			}
			out = append(out, x)
		}
	}
	return out
}

// Margin gives the total over cells of an answer, as published elsewhere: values by measure, of those that add up.
func Margin(a *sandbox.Answer, cells []int, values map[int]int64) Link {
	x := Link{cells: cells, people: -1, amounts: map[string]int64{}}
	for m, v := range values {
		if a.Measures[m].Func == sandbox.Subjects {
			x.people = v
		} else if names := added(a, m); len(names) > 0 && a.Measures[m].Func.Additive() {
			x.amounts[names[0]] = v
		}
	}
	return x
}

// layer is one number per cell that totals may tell: people, or what they add to a measure.
type layer struct {
	name  string // as the ledger has it; empty where it has none
	title string // as reviewers read it
	from  amounts
	count bool
	idle  bool // leaves in no form: only there so that the equations are looked at
}

// subjects is the name of the number of people in a cell, which the ledger has without a measure.
const subjects = "subjects"

// layers lists the numbers of an answer that add up over cells, or from which what leaves is computed and which a reader may know.
func layers(a *sandbox.Answer) []layer {
	var out []layer
	for m, x := range a.Measures {
		if x.Func != sandbox.Subjects && !weighed(x) {
			continue
		}
		if m > 0 && x.Func == a.Measures[m-1].Func && slices.IndexFunc(a.Cells, func(c sandbox.Cell) bool {
			return len(c.Contributors) > 0 && !same(c.Contributions[m], c.Contributions[m-1])
		}) < 0 {
			continue // another output of one measure
		}
		l := layer{title: x.Name, from: amounts{m, false}, count: x.Func == sandbox.Count || x.Func == sandbox.Subjects || x.Func == sandbox.Histogram || x.Func == sandbox.Distinct}
		var names []string
		if len(a.Sources) == len(a.Measures) {
			names = added(a, m)
		}
		if len(names) > 0 {
			l.name = names[0]
		}
		if x.Func == sandbox.Subjects {
			l.name = subjects
		}
		out = append(out, l)
		if x.Func == sandbox.Ratio {
			l.from.divisor, l.name, l.title = true, "", x.Name+" (divisor)"
			if len(names) > 1 {
				l.name = names[1]
			}
			out = append(out, l)
		}
	}
	if out == nil {
		out = []layer{{title: a.Measures[0].Name, idle: true}}
	}
	return out
}

// need is what a suppressed cell's number must be open by, from the rules the cell breaks.
func (c *Checked) need(l layer, parts []int64, value int64, rules []string) audit.Need {
	r := audit.Rules{Threshold: c.params.MinSubjects, DominanceN: c.params.DominanceN, DominanceK: c.params.DominanceK, PPercent: c.params.PPercent, Prior: c.params.Prior}
	if l.idle {
		return audit.Need{}
	}
	if c.answer.Measures[l.from.measure].Func == sandbox.Subjects {
		return r.Count()
	}
	otherwise := slices.ContainsFunc(rules, func(r string) bool { return r != RuleDominance && r != RulePPercent })
	n := r.Amount(audit.Contributions(parts, max(2, r.DominanceN)), otherwise && !l.count)
	if otherwise && l.count && value != 0 {
		n.Width = r.Count().Width
	}
	return n
}

// table is the answer as the audit sees it; rules are those each cell breaks.
func (c *Checked) table(rules [][]string, links []Link) audit.Table {
	a := c.answer
	labels := make([][]string, len(a.Cells))
	t := audit.Table{Cells: make([]audit.Cell, len(a.Cells))}
	for i := range a.Cells {
		labels[i] = a.Cells[i].Labels
		t.Cells[i].Cost = int64(max(1, len(a.Cells[i].Contributors)))
		if len(rules[i]) > 0 {
			t.Cells[i].Status = audit.Primary
		}
	}
	t.Equations = audit.Margins(labels)
	kinds := layers(a)
	for _, l := range kinds {
		x := audit.Layer{Name: l.title, Values: make([]int64, len(a.Cells)), Needs: make([]audit.Need, len(a.Cells)), NonNegative: true}
		for i := range a.Cells {
			parts := l.from.of(&a.Cells[i])
			for _, v := range parts {
				x.Values[i] = plus(x.Values[i], v)
				x.NonNegative = x.NonNegative && v >= 0
			}
			if len(rules[i]) > 0 {
				x.Needs[i] = c.need(l, held(a, a.Cells[i].Contributors, parts), x.Values[i], rules[i])
			}
		}
		t.Layers = append(t.Layers, x)
	}
	t.Views = c.views(rules, kinds)
	exact := c.link(&t, kinds, links)
	t.Safe = func(cells []int) bool {
		own := cells
		for k, i := range cells { // sorted: what is left of earlier cells comes last
			if i >= len(a.Cells) {
				if own = cells[:k]; slices.ContainsFunc(cells[k:], func(i int) bool { return !exact[i-len(a.Cells)] }) {
					return true // other people are among them: the ledger compares those
				}
				break
			}
		}
		return len(own) == 0 || c.passes(own)
	}
	return t
}

// link adds an equation per earlier cell: the cells inside it and what is left come to it, in the measures it has. Nothing may be
// left; then the cells' own totals are known.
func (c *Checked) link(t *audit.Table, kinds []layer, links []Link) (exact []bool) {
	n := len(c.answer.Cells)
next:
	for _, x := range links {
		left := make([]int64, len(kinds))
		shared, nothing := make([]bool, len(kinds)), true
		for k, l := range kinds {
			total, ok := x.amounts[l.name]
			if l.name == subjects {
				total, ok = x.people, true
			}
			if !ok {
				continue
			}
			for _, i := range x.cells {
				total = less(total, t.Layers[k].Values[i])
			}
			if total < 0 && t.Layers[k].NonNegative || total <= -audit.Far || total >= audit.Far {
				continue // of other rows: its total says nothing about these
			}
			left[k], shared[k] = total, true
			nothing = nothing && total == 0
		}
		if !slices.Contains(shared, true) {
			continue next
		}
		c.linked++
		at := len(t.Cells)
		t.Cells = append(t.Cells, audit.Cell{Status: audit.Primary})
		q := audit.Equation{Terms: []audit.Term{{Cell: at, Times: 1}}, Right: make([]int64, len(kinds))}
		for _, i := range x.cells {
			q.Terms = append(q.Terms, audit.Term{Cell: i, Times: 1})
		}
		for k := range kinds {
			l := &t.Layers[k]
			b := audit.Bound{Lower: -audit.Far, Upper: audit.Far}
			switch {
			case shared[k] && nothing:
				b = audit.Bound{}
			case shared[k] && l.NonNegative:
				b.Lower = 0
			}
			if l.Bounds == nil {
				l.Bounds = make([]audit.Bound, n)
				for i := range l.Bounds {
					l.Bounds[i] = audit.Bound{Lower: -audit.Far, Upper: audit.Far}
					if l.NonNegative {
						l.Bounds[i].Lower = 0
					}
				}
			}
			l.Values, l.Needs, l.Bounds = append(l.Values, left[k]), append(l.Needs, audit.Need{}), append(l.Bounds, b)
			for _, e := range q.Terms {
				q.Right[k] = plus(q.Right[k], l.Values[e.Cell])
			}
		}
		t.Equations = append(t.Equations, q)
		exact = append(exact, nothing)
	}
	return exact
}

// views lists whom the audit asks what they know: whoever is alone in a cell that breaks a rule, and whoever adds most to one. They know their
// part of every cell.
func (c *Checked) views(rules [][]string, kinds []layer) []audit.View {
	a := c.answer
	view := map[uint32]int{} // of a holding, from 1
	var out []audit.View
	knows := func(s uint32) {
		if h := holder(a, s); view[h] == 0 {
			out = append(out, nil)
			view[h] = len(out)
		}
	}
	alone := func(x *sandbox.Cell) bool {
		return !slices.ContainsFunc(x.Contributors, func(s uint32) bool { return holder(a, s) != holder(a, x.Contributors[0]) })
	}
	for i := range a.Cells {
		x := &a.Cells[i]
		if len(rules[i]) == 0 || len(x.Contributors) == 0 {
			continue
		}
		if alone(x) {
			knows(x.Contributors[0])
			continue
		}
		for _, l := range kinds {
			parts := l.from.of(x)
			largest := 0
			for k, v := range parts {
				if magnitude(v) > magnitude(parts[largest]) {
					largest = k
				}
			}
			if magnitude(parts[largest]) > 1 { // a row or a person each is nothing to know
				knows(x.Contributors[largest])
			}
		}
	}
	for i := range a.Cells {
		x := &a.Cells[i]
		for k, s := range x.Contributors {
			v := view[holder(a, s)]
			if v == 0 {
				continue
			}
			known := out[v-1]
			if n := len(known); n == 0 || known[n-1].Cell != i {
				known = append(known, audit.Knowledge{Cell: i, Sole: alone(x), Own: make([]int64, len(kinds))})
			}
			own := known[len(known)-1].Own
			for l := range kinds {
				own[l] = plus(own[l], kinds[l].from.of(x)[k])
			}
			out[v-1] = known
		}
	}
	return out
}

// cover suppresses further cells until the audit passes, and gives the cells it added and why; false when the table is too
// large to certify. Where not even suppressing every cell would do, as when all amounts are zero, the table is suppressed whole: no number of
// it leaves then, and no total of it is published that does not pass the rules itself.
func (c *Checked) cover(rules [][]string, links []Link) (added []int, ok bool) {
	if !slices.Contains(c.hidden, true) {
		return nil, true
	}
	t := c.table(rules, links)
	r, err := audit.Protect(t, audit.Options{})
	if err != nil || r.Refusal != nil && r.Refusal.Rule == audit.RuleTooLarge {
		return nil, false
	}
	s := &Suppression{Linked: c.linked}
	c.Suppression = s
	for i := range c.hidden {
		hide := r.Refusal != nil || r.Status[i] != audit.Published
		if hide && !c.hidden[i] {
			added = append(added, i)
			s.Cost += t.Cells[i].Cost
		}
		c.hidden[i] = hide
	}
	s.Cells = len(added)
	if r.Refusal != nil {
		s.Whole, s.Bound = r.Refusal.Rule, r.Bound
		return added, true
	}
	s.Bound, s.Optimal = r.Bound, r.Optimal
	c.intervals = make([][]CellInterval, len(c.hidden))
	for _, x := range r.Intervals {
		if x.Cell < len(c.hidden) {
			c.intervals[x.Cell] = append(c.intervals[x.Cell], CellInterval{x.Layer, x.Lower, x.Upper, required(&t, x), x.Ratio})
		}
	}
	return added, true
}

// required is how wide a cell's interval must be in a layer.
func required(t *audit.Table, x audit.Interval) (width int64) {
	for k := range t.Layers {
		if n := t.Layers[k].Needs[x.Cell]; t.Layers[k].Name == x.Layer {
			width = max(width, n.Width, plus(n.Up, n.Down))
		}
	}
	return width
}

func (c *Checked) passes(cells []int) bool {
	return len(judge(of(c.answer, cells), c.answer.Measures, c.params)) == 0
}
