package egress

import (
	"math"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/noise"
)

// RuleSelection is the rule of groups that private selection did not choose: they are not listed in the result, since that a group of few
// exists says that they are there.
const RuleSelection = "private-selection" // 隐私分组选择

// Round (取整出域) writes the outgoing bytes again, with counts rounded to a base, after suppression: what the question shows is selected by
// rounded counts. An answer with another function than counts is Withheld.
func (c *Checked) Round(question sandbox.QuestionID, base int64) error {
	if base < 2 {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: string(question), Detail: "counts are rounded to a base of at least 2"}
	}
	return c.counts(question, sandbox.Mechanism{Kind: sandbox.NoiseRounded, Base: base, Deviation: milli(noise.RoundDeviation(base))},
		func(x int64, _ *sandbox.Cell, _ int) int64 { return noise.Round(x, base) })
}

// Perturb (扰动出域) does the same with counts moved by the domain's cell keys.
func (c *Checked) Perturb(question sandbox.QuestionID, k *noise.CellKeys) error {
	return c.counts(question, sandbox.Mechanism{Kind: sandbox.NoisePerturbed, Deviation: milli(k.Deviation())},
		func(x int64, cell *sandbox.Cell, m int) int64 {
			return k.Perturb(x, c.answer.Population, cell.Contributors, cell.Contributions[m])
		})
}

// milli gives thousandths, rounded up.
func milli(x float64) int64 { return int64(math.Ceil(x * 1000)) }

func (c *Checked) counts(question sandbox.QuestionID, m sandbox.Mechanism, change func(x int64, cell *sandbox.Cell, measure int) int64) error {
	out := *c.answer
	out.Measures, out.Cells = slices.Clone(out.Measures), slices.Clone(out.Cells)
	for i := range out.Measures {
		if !m.Kind.Covers(out.Measures[i].Func) {
			return uncovered(question)
		}
		out.Measures[i].Noise = m
	}
	for i := range out.Cells {
		if c.hidden[i] {
			continue
		}
		cell := &out.Cells[i]
		cell.Values = slices.Clone(cell.Values)
		for k := range cell.Values {
			cell.Values[k] = change(cell.Values[k], cell, k)
		}
	}
	return c.rewrite(question, &out)
}

func uncovered(question sandbox.QuestionID) error {
	return &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "a measure that this noise does not protect"}
}

// rewrite writes out as what leaves; evidence and ledger stay with the exact answer.
func (c *Checked) rewrite(question sandbox.QuestionID, out *sandbox.Answer) error {
	w := *c
	w.answer, w.shown = out, nil
	w.show()
	if len(out.Measures) > 0 && out.Measures[0].Noise.Kind == sandbox.NoiseDP {
		w.shown = slices.DeleteFunc(w.shown, func(i int) bool { return c.hidden[i] })
	}
	var err error
	if w.Result, err = w.encode(question); err != nil {
		return err
	}
	if err := w.capacity(question); err != nil {
		return err
	}
	if err := w.content(question); err != nil {
		return err
	}
	c.MilliBits = w.MilliBits
	c.Result, c.digest, c.shown = w.Result, Digest(w.Result), w.shown
	for i := range c.Cells {
		c.Cells[i].Unshown = !c.hidden[i] && !slices.Contains(c.shown, i)
	}
	return nil
}

// Private (差分隐私要求) is how an answer is to leave under differential privacy.
type Private struct {
	Release sandbox.Privacy // of each measure, and of the selection of groups
	Cells   int             // that a subject counts in
	Bounds  []int64         // per output of the answer: the most that one subject adds in one cell
	Of      []Output        // per output
	Order   []int           // label k of a drawn group is label Order[k] of the answer
	Key     []byte          // by which a subject's cells are chosen
}

// Output (出域项) is which release an output of an answer belongs to, from 0, and which part of it it is: a histogram's labels are one
// release. Outputs that ask for the same are the same part.
type Output struct{ Release, Part int }

// Drawn (已抽取结果) is what was drawn for the releases of a question, kept for ever: who asks the same again gets the same.
type Drawn struct {
	Chosen bool
	Groups [][]string  // the groups selected, labels in the order that all forms of the question share
	Values [][][]int64 // per release, per group, per part; nil: not drawn yet
}

// String keeps drawn values out of logs.
func (Drawn) String() string { return "drawn noise(redacted)" }

// GoString keeps them out of %#v.
func (Drawn) GoString() string { return "drawn noise(redacted)" }

// CheckPrivate is Check under differential privacy. Which groups leave follows from private selection among those with at least
// MinSubjects people, and every value is noised, so (ε, δ) hold for the whole of what is written; dominance and secondary suppression,
// which look at exact values, are not asked: a contribution is clipped, and the noise is larger than it. What drawn holds already is not
// drawn again; the rest is put into it, and must be durable before the result is shown to anybody. What the gate or the ledger withholds
// follows from data and is charged in bits, not in ε.
func CheckPrivate(question sandbox.QuestionID, a *sandbox.Answer, p Params, r Private, drawn *Drawn) (*Checked, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := whole(a); err != nil {
		return nil, err
	}
	if len(a.Cells) > MaxRows {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more rows than a result may have"}
	}
	if a, _ = labelled(a, nil); a == nil {
		return nil, alike(question)
	}
	d := &drawing{question: question, a: a, r: r, drawn: drawn}
	if err := d.whole(); err != nil {
		return nil, err
	}
	d.kept = noise.Bound(r.Key, a.Population, a.Cells, r.Cells)
	if err := d.groups(p.MinSubjects); err != nil {
		return nil, err
	}
	for i := range drawn.Values {
		if err := d.release(i); err != nil {
			return nil, err
		}
	}
	c := &Checked{answer: a, hidden: make([]bool, len(a.Cells)), params: p, Rules: []string{RuleSelection}}
	out := *a
	out.Measures, out.Cells = slices.Clone(a.Measures), slices.Clone(a.Cells)
	for m := range out.Measures {
		g, err := noise.NewGaussian(r.Release, r.Bounds[m], r.Cells)
		if err != nil {
			return nil, err
		}
		out.Measures[m].Noise = sandbox.Mechanism{Kind: sandbox.NoiseDP, Release: r.Release, Bound: r.Bounds[m], Cells: r.Cells, Deviation: milli(g.Deviation())}
	}
	for i := range a.Cells {
		at, ok := d.chosen[i]
		e := evidence(a, i)
		if !ok {
			c.hidden[i], e.Suppressed, e.Rules = true, true, c.Rules
			c.Suppressed++
		} else {
			c.Published++
			cell := &out.Cells[i]
			cell.Values = make([]int64, len(a.Measures))
			for m, o := range r.Of {
				cell.Values[m] = drawn.Values[o.Release][at][o.Part]
			}
		}
		c.Cells = append(c.Cells, e)
	}
	if err := c.rewrite(question, &out); err != nil {
		return nil, err
	}
	return c, nil
}

// drawing is one answer while its noise is drawn.
type drawing struct {
	question sandbox.QuestionID
	a        *sandbox.Answer
	r        Private
	drawn    *Drawn
	kept     [][]bool
	chosen   map[int]int // cell → group
}

func (d *drawing) whole() error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: string(d.question), Detail: rule}
	}
	n := len(d.a.Measures)
	order := slices.Sorted(slices.Values(d.r.Order))
	for i := range order {
		if order[i] != i {
			return bad("the order of labels names each once")
		}
	}
	if len(d.r.Bounds) != n || len(d.r.Of) != n || len(order) != len(d.a.Dimensions) || d.r.Cells < 1 {
		return bad("a bound and a release per output, an order of the labels")
	}
	for m, o := range d.r.Of {
		if o.Release < 0 || o.Release >= len(d.drawn.Values) || o.Part < 0 || o.Part >= n {
			return bad("an output belongs to a release")
		}
		if !sandbox.NoiseDP.Covers(d.a.Measures[m].Func) {
			return uncovered(d.question)
		}
	}
	return nil
}

// groups chooses the groups that leave, or finds those chosen before.
func (d *drawing) groups(least int) error {
	d.chosen = map[int]int{}
	name := func(labels []string) string {
		parts := make([][]byte, len(labels))
		for k, l := range labels {
			parts[k] = []byte(l)
		}
		return string(sm.Frame(parts...))
	}
	labels := func(c *sandbox.Cell) []string {
		out := make([]string, len(c.Labels))
		for k, at := range d.r.Order {
			out[k] = c.Labels[at]
		}
		return out
	}
	if d.drawn.Chosen {
		cells := map[string]int{}
		for i := range d.a.Cells {
			cells[name(labels(&d.a.Cells[i]))] = i
		}
		for g, l := range d.drawn.Groups {
			i, ok := cells[name(l)]
			if !ok {
				return &sandbox.Error{Op: "egress", Kind: sandbox.Tampered, Object: string(d.question), Detail: "a group drawn before is not in the answer"}
			}
			d.chosen[i] = g
		}
		return nil
	}
	s, err := noise.NewSelection(d.r.Release, d.r.Cells, least)
	if err != nil {
		return err
	}
	d.drawn.Groups = [][]string{}
	for i := range d.a.Cells {
		keep, err := s.Keep(noise.People(d.kept[i]))
		if err != nil {
			return err
		}
		if keep {
			d.chosen[i] = len(d.drawn.Groups)
			d.drawn.Groups = append(d.drawn.Groups, labels(&d.a.Cells[i]))
		}
	}
	d.drawn.Chosen = true
	return nil
}

// release draws the values of one release, if they are not there.
func (d *drawing) release(r int) error {
	var outputs []int // by part
	for m, o := range d.r.Of {
		if o.Release == r && o.Part == len(outputs) {
			outputs = append(outputs, m)
		}
	}
	if len(outputs) == 0 {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: string(d.question), Detail: "a release has outputs"}
	}
	if v := d.drawn.Values[r]; v != nil {
		if len(v) != len(d.drawn.Groups) || slices.ContainsFunc(v, func(parts []int64) bool { return len(parts) != len(outputs) }) {
			return &sandbox.Error{Op: "egress", Kind: sandbox.Tampered, Object: string(d.question), Detail: "values drawn before are not of these groups"}
		}
		return nil
	}
	f, bound := d.a.Measures[outputs[0]].Func, d.r.Bounds[outputs[0]]
	g, err := noise.NewGaussian(d.r.Release, bound, d.r.Cells)
	if err != nil {
		return err
	}
	values := make([][]int64, len(d.drawn.Groups))
	for i := range d.a.Cells {
		at, ok := d.chosen[i]
		if !ok {
			continue
		}
		parts := make([][]int64, len(outputs))
		for k, m := range outputs {
			parts[k] = d.a.Cells[i].Contributions[m]
		}
		var totals []int64
		if f == sandbox.Histogram {
			totals = noise.Totals(parts, d.kept[i], bound)
		} else {
			totals = []int64{noise.Total(parts[0], d.kept[i], bound)}
		}
		for k := range totals {
			if totals[k], err = g.Add(totals[k]); err != nil {
				return err
			}
			if f != sandbox.Sum {
				totals[k] = max(totals[k], 0) // after the noise: nothing about data is added
			}
		}
		values[at] = totals
	}
	d.drawn.Values[r] = values
	return nil
}
