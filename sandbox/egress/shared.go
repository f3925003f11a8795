package egress

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Names that reviewers see of a result that was computed over shares.
const (
	RuleShared = "decided-over-shares" // 分享上判定: the cell breaks a rule, and which one is known to nobody
	FlagShared = "over-shares"         // 分享上计算: nobody holds the contributions behind the cells
)

// SharedCell (分享单元格) is a cell whose primary rules were decided over shares: a bit, and numbers where it is set.
type SharedCell struct {
	Labels []string
	Shown  bool
	Values []int64
	None   []bool // per measure: it has no value in this cell by what the measure is; nil: every one has
}

// SharedAnswer (分享统计结果) is what opened of a computation over shares. Cells are sorted by Labels and are all that the question has, whether or
// not anybody is in them, but for those that may be shown and that its conditions, which were decided over shares too, do not list.
type SharedAnswer struct {
	Dimensions []string
	LabelUnits []string
	Measures   []sandbox.Measure
	Bounds     []int64 // per measure: the largest magnitude that the protocol can give
	Signed     []bool  // per measure: a value may be below zero; nil: none may
	People     int     // the measure that counts people
	Shown      sandbox.Shown
	Cells      []SharedCell
	Inputs     []sandbox.InputVersion
	Rules      Params // what the cells were held to over shares
	Evidence   any    // plan, model, certificate: as JSON for the agency and the owners
}

// String keeps cell values out of logs.
func (SharedAnswer) String() string { return "shared answer(redacted)" }

// GoString keeps cell values out of %#v.
func (SharedAnswer) GoString() string { return "shared answer(redacted)" }

// held says whether cells that passed the rules have passed p: no threshold is looser.
func (a SharedAnswer) held(p Params) bool {
	r := a.Rules
	return r.MinSubjects >= p.MinSubjects && r.DominanceN >= p.DominanceN && r.DominanceK <= p.DominanceK && r.PPercent >= p.PPercent && r.prior() <= p.prior()
}

// CheckShared is Check for an answer of which nobody holds the evidence: frequency, dominance, p% and equality were decided over shares, as
// strictly as p says or more so, and a cell whose bit is not set has no numbers. Nothing else is published, no total over cells among it, so
// that no hidden cell follows from others of this answer. What remains is the gate's: content, capacity, our own encoding. Every such result
// carries a flag, so that people release it and no standing template does; comparison with earlier answers has the caller say what it could
// not compare (Submission.Uncertified).
func CheckShared(question sandbox.QuestionID, a SharedAnswer, p Params) (*Checked, error) {
	withheld := func(rule, hint string) (*Checked, error) {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: rule, Hint: hint}
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := a.whole(); err != nil {
		return nil, err
	}
	switch {
	case !a.held(p):
		return withheld("the rules that were decided over shares are looser than the gate's", "compute it again under the thresholds in force")
	case len(a.Cells) > MaxRows:
		return withheld("more rows than a result may have", "")
	}
	c := &Checked{params: p, hidden: make([]bool, len(a.Cells))}
	c.answer = &sandbox.Answer{Dimensions: a.Dimensions, LabelUnits: a.LabelUnits, Measures: a.Measures, Shown: a.Shown, Inputs: a.Inputs}
	for i, x := range a.Cells {
		c.answer.Cells = append(c.answer.Cells, sandbox.Cell{Labels: x.Labels, Values: x.Values, None: x.None})
		c.hidden[i] = !x.Shown
		e := CellEvidence{Labels: x.Labels, Suppressed: !x.Shown}
		if x.Shown {
			e.People = int(x.Values[a.People])
			c.Published++
		} else {
			e.Rules, c.Rules = []string{RuleShared}, []string{RuleShared}
			c.Suppressed++
		}
		c.Cells = append(c.Cells, e)
	}
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
	c.Flags = []Flag{{Rule: FlagShared, Places: len(a.Cells)}}
	if f := a.classes(); f.Places > 0 {
		c.Flags = append(c.Flags, f)
	}
	return c, nil
}

// whole refuses an answer that no computation over shares gives.
func (a SharedAnswer) whole() error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: "answer", Detail: rule}
	}
	switch {
	case len(a.Measures) == 0 || len(a.Inputs) == 0 || len(a.Bounds) != len(a.Measures) || a.Signed != nil && len(a.Signed) != len(a.Measures):
		return bad("an answer has measures with their bounds, and input versions")
	case a.People < 0 || a.People >= len(a.Measures) || a.Measures[a.People].Func != sandbox.Subjects:
		return bad("one measure counts people")
	case len(a.Dimensions) > maxDimensions || a.LabelUnits != nil && len(a.LabelUnits) != len(a.Dimensions):
		return bad("more dimensions than margins can be checked for")
	case a.Rules.Validate() != nil:
		return bad("the rules that were decided over shares protect somebody")
	}
	for i, m := range a.Measures {
		if !overSharesHeld(m.Func) || a.Bounds[i] < 1 {
			return bad("measures whose rules are decided over shares, each with a bound")
		}
	}
	for i, x := range a.Cells {
		if len(x.Labels) != len(a.Dimensions) || i > 0 && slices.Compare(a.Cells[i-1].Labels, x.Labels) >= 0 {
			return bad("cells have a label for each dimension, are sorted and distinct")
		}
		if !text(x.Labels) || slices.ContainsFunc(x.Labels, func(l string) bool { return Label(l) != l }) {
			return bad("labels are in the form in which they leave")
		}
		if !x.Shown {
			if len(x.Values) > 0 {
				return bad("a cell whose bit is not set has no numbers")
			}
			continue
		}
		if len(x.Values) != len(a.Measures) || x.None != nil && len(x.None) != len(a.Measures) {
			return bad("a cell whose bit is set has a number for each measure")
		}
		for m, v := range x.Values {
			if v > a.Bounds[m] || v < 0 && (!a.signed(m) || v < -a.Bounds[m]) {
				return bad("numbers are within the protocol's bounds")
			}
		}
		if x.Values[a.People] < int64(a.Rules.MinSubjects) || x.None != nil && x.None[a.People] {
			return bad("a cell whose bit is set has at least the threshold's people")
		}
	}
	return nil
}

// overSharesHeld says whether the rules for a function are decided over shares: of the others nobody would have asked.
func overSharesHeld(f sandbox.MeasureFunc) bool {
	switch f {
	case sandbox.Subjects, sandbox.Count, sandbox.Sum, sandbox.Mean, sandbox.Ratio, sandbox.Dot, sandbox.Histogram, sandbox.Distinct, sandbox.Quantile,
		sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation:
		return true
	}
	return false
}

func (a SharedAnswer) signed(m int) bool { return a.Signed != nil && a.Signed[m] }

// capacity counts what the values may tell by their bounds alone: there are no contributions to count by.
func (a SharedAnswer) capacity(c *Checked) scan.MilliBits {
	total := scan.Log2(3)
	for _, i := range c.shown {
		total += scan.Log2(2)
		for m := range a.Measures {
			if !c.hidden[i] {
				levels := uint64(a.Bounds[m]) + 1
				if a.signed(m) {
					levels += uint64(a.Bounds[m])
				}
				if levels < math.MaxUint64-2 {
					levels += 2
				}
				total += scan.Log2(levels)
			}
		}
	}
	return total
}

// classes finds lines of the table in which one cell holds nearly everybody, as far as the bits tell: a hidden cell beside it has few, or is
// hidden for another rule, which nobody knows, and counts as nobody.
func (a SharedAnswer) classes() Flag {
	f := Flag{Rule: FlagClass}
	for d := range a.Dimensions {
		type line struct {
			all, most int64
			cells     int
		}
		lines := map[string]*line{}
		var order []*line
		for i := range a.Cells {
			key := strings.Join(slices.Concat(a.Cells[i].Labels[:d], []string{""}, a.Cells[i].Labels[d+1:]), "\x00")
			l := lines[key]
			if l == nil {
				l = &line{}
				lines[key], order = l, append(order, l)
			}
			l.cells++
			if a.Cells[i].Shown {
				n := a.Cells[i].Values[a.People]
				l.all, l.most = l.all+n, max(l.most, n)
			}
		}
		for _, l := range order {
			if of := share(wide{0, uint64(l.most)}, wide{0, uint64(l.all)}); l.cells > 1 && l.all > 0 && of >= classShare {
				f.Places++
				f.Worst = max(f.Worst, of)
			}
		}
	}
	return f
}
