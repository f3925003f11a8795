package egress

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Names that reviewers see of totals over ciphertexts.
const (
	RuleUnits   = "few-units"     // 单位不足: fewer than three units whose rows the recipient does not know
	FlagBounded = "stated-bounds" // 按界限判定: units state their people and largest contributions; nobody compared them
	minUnits    = 3
)

// BoundedOutput (界限输出) is one value over several units' rows, with what each unit states about its own.
type BoundedOutput struct {
	Value    int64   // scaled as its measure is
	None     bool    // it has no value
	Rows     int64   // that count
	Subjects []int64 // by unit: distinct people
	Tops     []int64 // by unit: the size of the largest person's contribution, in its column's scaled unit

	// Sides are the columns of a spread or a ratio, one or two, as dominance weighs them; none where Value is the total of what is weighed.
	Sides []BoundedSide

	Differ bool // of joined rows: who adds something to a column that is weighed does surely not add the same as all others who do
}

// BoundedSide (界限权衡列) is what a column's values come to in an output.
type BoundedSide struct {
	Total int64
	Tops  []int64 // by unit
}

// BoundedCell (界限单元格) is one group, with an output for each measure.
type BoundedCell struct {
	Labels  []string
	Outputs []BoundedOutput
}

// BoundedAnswer (界限统计结果) is what the gate read of a sum of ciphertexts. Units do not compare their people, so that of a cell there are bounds only:
// distinct people at least the most that a unit has, the largest contribution at most the units' largest together. Cells are sorted by
// Labels and are those that somebody has a row in.
type BoundedAnswer struct {
	Dimensions []string
	LabelUnits []string
	Measures   []sandbox.Measure
	Shown      sandbox.Shown
	Cells      []BoundedCell
	Inputs     []sandbox.InputVersion
	Known      []bool // by unit: the recipient knows its rows, being the unit or affiliated with it
	Evidence   any    // plan, openers, security: as JSON for the agency and the owners

	// Joined (两个单位关联) says that the rows are those of people whom two units hold a part of each, joined person by person over a list that they agreed
	// on. Both units are one entry of Subjects, Tops and Known then: so many people at least add something, each at most the product of what either unit
	// states as its largest. There are no units' parts that one could take its own off to see the other's, so that two are enough; but a recipient who knows the
	// rows of one of them knows half of every contribution, and gets nothing.
	Joined bool
}

// String keeps cell values out of logs.
func (BoundedAnswer) String() string { return "bounded answer(redacted)" }

// GoString keeps cell values out of %#v.
func (BoundedAnswer) GoString() string { return "bounded answer(redacted)" }

// CheckBounded is Check for totals over several units of which there are stated bounds. Each rule is judged by the bound that is worst for the
// answer, over units whose rows the recipient does not know: what passes would pass if the units had compared their people, but for holdings,
// which are not known; an answer over columns that have some is not for this. Measures whose value is a total, means, ratios and spreads
// (variance, covariance and what is made of them), of which the columns are weighed: of others nothing says on how few people they rest. No total over cells is published, so that no
// hidden cell follows from others of this answer. Every result carries a flag, so that people release it and no standing template
// does; the caller says what it could not compare with earlier answers (Submission.Uncertified).
func CheckBounded(question sandbox.QuestionID, a BoundedAnswer, p Params) (*Checked, error) {
	withheld := func(rule, hint string) (*Checked, error) {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: rule, Hint: hint}
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := a.whole(); err != nil {
		return nil, err
	}
	if a.Joined && a.Known[0] {
		return withheld("a recipient who knows the rows of one of two joined units gets nothing", "")
	}
	if slices.ContainsFunc(a.Measures, func(m sandbox.Measure) bool { return !Boundable(m.Func) }) {
		return withheld("of a measure nothing says on how few people it rests", "ask counts, sums, means, histograms, dot products, ratios, variances or correlations")
	}
	if len(a.Cells) > MaxRows {
		return withheld("more rows than a result may have", "")
	}
	c := &Checked{params: p, hidden: make([]bool, len(a.Cells))}
	c.answer = &sandbox.Answer{Dimensions: a.Dimensions, LabelUnits: a.LabelUnits, Measures: a.Measures, Shown: a.Shown, Inputs: a.Inputs}
	for i, x := range a.Cells {
		rules := a.judge(x, p)
		e := CellEvidence{Labels: x.Labels, Suppressed: len(rules) > 0, Rules: rules}
		cell := sandbox.Cell{Labels: x.Labels}
		for m, o := range x.Outputs {
			for _, b := range a.bounds(a.Measures[m].Func, o) {
				e.People, e.Rows = int(max(int64(e.People), b.people)), max(e.Rows, o.Rows)
				e.Top1 = max(e.Top1, min(1000, share(b.top, b.twice.half())))
			}
			cell.Values = append(cell.Values, o.Value)
			if o.None && cell.None == nil {
				cell.None = make([]bool, len(x.Outputs))
			}
			if o.None {
				cell.None[m] = true
			}
		}
		e.Top2 = min(1000, 2*e.Top1)
		c.answer.Cells, c.Cells = append(c.answer.Cells, cell), append(c.Cells, e)
		if c.hidden[i] = e.Suppressed; e.Suppressed {
			c.Suppressed++
		} else {
			c.Published++
		}
		c.Rules = append(c.Rules, rules...)
	}
	slices.Sort(c.Rules)
	c.Rules = slices.Compact(c.Rules)
	if !selectable(c.answer) {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: "answer", Detail: "cells are shown by a count or people at least so much, and first by a measure with one value that leaves"}
	}
	c.show()
	for i := range c.Cells {
		c.Cells[i].Unshown = !slices.Contains(c.shown, i)
	}
	var err error
	if c.Result, err = c.encode(question); err != nil {
		return nil, err
	}
	c.digest = Digest(c.Result)
	c.MilliBits = a.capacity(c)
	if p.MaxBits > 0 && c.MilliBits > 1000*scan.MilliBits(p.MaxBits) {
		return withheld(RuleBits+": its values could tell more than a result may", "ask for fewer groups or fewer measures")
	}
	if err := c.content(question); err != nil {
		return nil, err
	}
	if c.shared, err = json.Marshal(a.Evidence); err != nil {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Internal, Object: string(question), Err: err}
	}
	c.Flags = []Flag{{Rule: FlagBounded, Places: len(a.Cells)}}
	if f := a.classes(); f.Places > 0 {
		c.Flags = append(c.Flags, f)
	}
	return c, nil
}

// Boundable says whether CheckBounded judges a function (可按界限判定的函数).
func Boundable(f sandbox.MeasureFunc) bool {
	switch f {
	case sandbox.Count, sandbox.Sum, sandbox.Mean, sandbox.Histogram, sandbox.Dot:
		return true
	}
	return sided(f) > 0
}

// sided says how many columns a measure weighs whose value is not the total of one.
func sided(f sandbox.MeasureFunc) int {
	switch f {
	case sandbox.Variance, sandbox.StdDev:
		return 1
	case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
		return 2
	}
	return 0
}

// half is ⌊a/2⌋.
func (a wide) half() wide { return wide{a.hi >> 1, a.lo>>1 | a.hi<<63} }

// bound is what holds of an output for a recipient, whoever is whom.
type bound struct {
	units  int
	people int64 // at least
	top    wide  // the largest contribution at most
	twice  wide  // of what the people add, at least, times two
	equal  bool  // everybody of a unit may add the same, in every unit
}

func size(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// bounds gives one for each column that is weighed.
func (a BoundedAnswer) bounds(f sandbox.MeasureFunc, o BoundedOutput) (out []bound) {
	if sided(f) > 0 {
		for _, s := range o.Sides {
			out = append(out, a.bound(o.Subjects, s.Tops, wide{0, size(s.Total)}.times(2), wide{}, o.Differ))
		}
		return out
	}
	// Twice the size of the total; of a mean, which is rounded, the least that it stands for.
	all, slack := wide{0, size(o.Value)}.times(2), wide{}
	if f == sandbox.Mean {
		all, slack = all.times(uint64(o.Rows)), wide{0, uint64(o.Rows)}
	}
	return []bound{a.bound(o.Subjects, o.Tops, all, slack, o.Differ)}
}

// bound judges twice a total, which may be less by slack.
func (a BoundedAnswer) bound(subjects, tops []int64, all, slack wide, differ bool) (b bound) {
	if b.twice = (wide{}); slack.less(all) {
		b.twice = all.sub(slack)
	}
	most := wide{} // twice what the people would add if each added as much as the largest of its unit
	for i, n := range subjects {
		own := wide{0, uint64(n)}.times(uint64(tops[i])).times(2)
		most = most.add(own)
		if a.Known[i] { // subtracts what it knows; that is this much at most
			if own.less(b.twice) {
				b.twice = b.twice.sub(own)
			} else {
				b.twice = wide{}
			}
			continue
		}
		b.top = b.top.add(wide{0, uint64(tops[i])})
		b.people = max(b.people, n)
		if n > 0 {
			b.units++
		}
	}
	b.equal = !all.add(slack).less(most) // that everybody adds nothing is the commonest case of it
	if a.Joined {                        // who states the most may be joined with nobody
		b.equal = !differ
	}
	return b
}

// judge gives the rules that a cell breaks.
func (a BoundedAnswer) judge(x BoundedCell, p Params) (rules []string) {
	add := func(broken bool, rule string) {
		if broken && !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	counted, labelled := int64(0), map[string]int64{}
	for m, o := range x.Outputs {
		if a.Measures[m].Func == sandbox.Histogram {
			labelled[strings.TrimSuffix(a.Measures[m].Name, "."+a.Measures[m].Part)] += o.Rows
		} else {
			counted = max(counted, o.Rows)
		}
	}
	for _, rows := range labelled {
		counted = max(counted, rows)
	}
	for _, rows := range labelled { // beside what tells of more rows it tells how many have no label, and nothing how many people those are
		add(rows != counted, RuleFrequency)
	}
	for m, o := range x.Outputs {
		f := a.Measures[m].Func
		if f == sandbox.Histogram && o.Rows == 0 {
			continue
		}
		for _, b := range a.bounds(f, o) {
			add(b.people < int64(p.MinSubjects), RuleFrequency)
			add(degrees(f) && b.people < minDegrees, RuleDegrees)
			add(b.units < minUnits && !a.Joined, RuleUnits)
			if !weighed(a.Measures[m]) { // that there is no value tells as much as a value
				continue
			}
			// The n largest of all are n times the largest at most, the two largest twice.
			tops := b.top.times(2)
			add(b.twice.times(uint64(p.DominanceK)).less(tops.times(uint64(p.DominanceN)).times(100)), RuleDominance)
			rest := wide{}
			if two := tops.times(2); two.less(b.twice) {
				rest = b.twice.sub(two)
			}
			add(rest.times(p.prior()).less(tops.times(uint64(p.PPercent))), RulePPercent)
			add(b.equal && f != sandbox.Count && f != sandbox.Histogram, RuleAllEqual) // one row each is what most questions count
		}
	}
	slices.Sort(rules)
	return rules
}

// whole refuses an answer whose bounds do not fit its cells.
func (a BoundedAnswer) whole() error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: "answer", Detail: rule}
	}
	switch {
	case len(a.Measures) == 0 || len(a.Inputs) == 0 || len(a.Known) < minUnits && !a.Joined || a.Joined && len(a.Known) != 1:
		return bad("an answer has measures, input versions and three units or more, or two joined ones")
	case len(a.Dimensions) > maxDimensions || a.LabelUnits != nil && len(a.LabelUnits) != len(a.Dimensions):
		return bad("more dimensions than margins can be checked for")
	}
	for i, x := range a.Cells {
		if len(x.Labels) != len(a.Dimensions) || i > 0 && slices.Compare(a.Cells[i-1].Labels, x.Labels) >= 0 {
			return bad("cells have a label for each dimension, are sorted and distinct")
		}
		if !text(x.Labels) || slices.ContainsFunc(x.Labels, func(l string) bool { return Label(l) != l }) {
			return bad("labels are in the form in which they leave")
		}
		if len(x.Outputs) != len(a.Measures) {
			return bad("a cell has an output for each measure")
		}
		for m, o := range x.Outputs {
			if len(o.Subjects) != len(a.Known) || len(o.Tops) != len(a.Known) || o.Rows < 0 || o.Rows > math.MaxInt32*int64(len(a.Known)) || o.Value == math.MinInt64 {
				return bad("an output says of each unit how many people and how large a contribution")
			}
			if len(o.Sides) != sided(a.Measures[m].Func) {
				return bad("a spread or a ratio says of each column that it weighs what it comes to")
			}
			for _, s := range o.Sides {
				if len(s.Tops) != len(a.Known) || s.Total == math.MinInt64 {
					return bad("an output says of each unit how many people and how large a contribution")
				}
				for u, n := range o.Subjects {
					if s.Tops[u] < 0 || n == 0 && s.Tops[u] != 0 {
						return bad("who has nobody adds nothing")
					}
				}
			}
			people := int64(0)
			for u, n := range o.Subjects {
				if n < 0 || n > math.MaxInt32 || o.Tops[u] < 0 || n == 0 && o.Tops[u] != 0 {
					return bad("who has nobody adds nothing")
				}
				people += n
			}
			if people > o.Rows || a.Measures[m].Func == sandbox.Count && o.Value != o.Rows {
				return bad("a unit's people have a row each")
			}
		}
	}
	return nil
}

// capacity counts what the values may tell by their bounds: nobody adds more than the largest of its unit.
func (a BoundedAnswer) capacity(c *Checked) scan.MilliBits {
	total := scan.Log2(3)
	for _, i := range c.shown {
		total += scan.Log2(2)
		if c.hidden[i] {
			continue
		}
		for m, o := range a.Cells[i].Outputs {
			if sided(a.Measures[m].Func) > 0 {
				total += scan.Log2(math.MaxUint64)
				continue
			}
			most := wide{}
			for u, n := range o.Subjects {
				if a.Joined { // who adds something at least: it may be all that have rows
					n = o.Rows
				}
				most = most.add(wide{0, uint64(n)}.times(uint64(o.Tops[u])))
			}
			values := uint64(math.MaxUint64)
			if most.hi == 0 && most.lo < math.MaxUint64/2-3 {
				values = 2*most.lo + 3 // of either sign, or none
			}
			total += scan.Log2(values)
		}
	}
	return total
}

// classes finds lines of the table in which one cell may hold nearly everybody: it has as many people as it can have, the others as few.
func (a BoundedAnswer) classes() Flag {
	f := Flag{Rule: FlagClass}
	people := func(x BoundedCell) (least, most int64) {
		for _, o := range x.Outputs {
			sum := int64(0)
			for _, n := range o.Subjects {
				least, sum = max(least, n), sum+n
			}
			if a.Joined { // who adds something at least: it may be all that have rows
				sum = o.Rows
			}
			most = max(most, sum)
		}
		return least, most
	}
	for d := range a.Dimensions {
		lines := map[string][]int{}
		var order []string
		for i, x := range a.Cells {
			key := strings.Join(slices.Concat(x.Labels[:d], []string{""}, x.Labels[d+1:]), "\x00")
			if lines[key] == nil {
				order = append(order, key)
			}
			lines[key] = append(lines[key], i)
		}
		for _, key := range order {
			worst := 0
			for _, i := range lines[key] {
				_, most := people(a.Cells[i])
				all := most
				for _, k := range lines[key] {
					if least, _ := people(a.Cells[k]); k != i {
						all += least
					}
				}
				worst = max(worst, share(wide{0, uint64(most)}, wide{0, uint64(all)}))
			}
			if len(lines[key]) > 1 && worst >= classShare {
				f.Places++
				f.Worst = max(f.Worst, worst)
			}
		}
	}
	return f
}
