package egress

import (
	"math/bits"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// CellEvidence (单元格证据) is what the agency and the owners see of one cell. Shares are in tenths of a percent of the
// measure's sum of magnitudes, over weighed measures the largest.
type CellEvidence struct {
	Labels     []string `json:"labels"`
	People     int      `json:"people"`
	Rows       int64    `json:"rows"`
	Top1       int      `json:"top1_permille"`
	Top2       int      `json:"top2_permille"`
	Suppressed bool     `json:"suppressed,omitempty"`
	Rules      []string `json:"rules,omitempty"`
}

// Checked (检查结果) is an answer that passed through Check: what would leave, and the evidence behind it.
type Checked struct {
	Result     []byte         // outgoing bytes
	Suppressed int            // cells suppressed
	Published  int            // cells published
	Rules      []string       // names of the rules that suppressed cells, sorted
	Cells      []CellEvidence // as in the answer

	answer *sandbox.Answer
	hidden []bool
	params Params
	digest []byte // of Result as Check wrote it
}

// String keeps evidence out of logs.
func (*Checked) String() string { return "checked answer(redacted)" }

// GoString keeps evidence out of %#v.
func (*Checked) GoString() string { return "checked answer(redacted)" }

// Check applies the rules to every cell, suppresses what breaks them and what would give a suppressed cell away, and
// writes the outgoing bytes. An answer with a function that may never leave, or with labels that look like identifiers of
// persons or enterprises, is Withheld: the caller shows the asker the uniform code only.
func Check(question sandbox.QuestionID, a *sandbox.Answer, p Params) (*Checked, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := whole(a); err != nil {
		return nil, err
	}
	if len(a.Cells) > MaxRows {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more rows than a result may have"}
	}
	c := &Checked{answer: a, hidden: make([]bool, len(a.Cells)), params: p}
	rules := make([][]string, len(a.Cells))
	for i := range a.Cells {
		rules[i] = judge(of(a, []int{i}), a.Measures, p)
		if slices.Contains(rules[i], RuleFunction) {
			return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "a measure that may not leave"}
		}
		c.hidden[i] = len(rules[i]) > 0
	}
	added, ok := c.cover(rules)
	if !ok {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more suppressed cells than an audit takes", Hint: "ask with coarser groups"}
	}
	for _, i := range added {
		rules[i] = append(rules[i], RuleSecondary)
	}
	names := map[string]bool{}
	for i := range a.Cells {
		e := evidence(a, i)
		e.Rules, e.Suppressed = rules[i], c.hidden[i]
		for _, r := range rules[i] {
			names[r] = true
		}
		if e.Suppressed {
			c.Suppressed++
		} else {
			c.Published++
		}
		c.Cells = append(c.Cells, e)
	}
	for n := range names {
		c.Rules = append(c.Rules, n)
	}
	slices.Sort(c.Rules)
	var err error
	if c.Result, err = encode(question, a, c.hidden); err != nil {
		return nil, err
	}
	c.digest = Digest(c.Result)
	if at := scan(a); at != "" {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "a label looks like an identifier: " + at}
	}
	return c, nil
}

// maxDimensions bounds the margins of a table, of which there are 2^dimensions.
const maxDimensions = 8

// whole refuses an answer whose evidence does not fit its cells: the gate never decides on less than it needs.
func whole(a *sandbox.Answer) error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: "answer", Detail: rule}
	}
	if a == nil || len(a.Measures) == 0 || len(a.Inputs) == 0 {
		return bad("an answer has measures and input versions")
	}
	if len(a.Dimensions) > maxDimensions {
		return bad("more dimensions than margins can be checked for")
	}
	var last []string
	seen := make([]int, len(a.Population)) // the last cell a person was seen in, from 1
	for i := range a.Cells {
		c := &a.Cells[i]
		if len(c.Labels) != len(a.Dimensions) || len(c.Values) != len(a.Measures) || len(c.Contributions) != len(a.Measures) || len(c.NonMissing) != len(a.Measures) {
			return bad("a cell has a label per dimension and a value with evidence per measure")
		}
		if !text(c.Labels) {
			return bad("labels are UTF-8")
		}
		if c.Rows < 1 || i > 0 && slices.Compare(last, c.Labels) >= 0 {
			return bad("cells are sorted, distinct and have rows")
		}
		last = c.Labels
		for _, s := range c.Contributors {
			if int(s) >= len(a.Population) || seen[s] == i+1 {
				return bad("contributors are of the population, each once")
			}
			seen[s] = i + 1
		}
		for m, x := range c.Contributions {
			if len(x) != len(c.Contributors) {
				return bad("contributions are one per contributor")
			}
			switch a.Measures[m].Func {
			case sandbox.Count, sandbox.Subjects, sandbox.Sum:
				if !addUp(x, c.Values[m]) {
					return bad("what contributors add comes to the value")
				}
			}
		}
	}
	return nil
}

// of merges cells into the group the rules judge: distinct people, and what each adds over all the cells together.
// People who add zero to a weighed measure because they have no value for it cannot be told from those with value zero in
// the evidence; counting neither is the strict reading.
func of(a *sandbox.Answer, cells []int) group {
	g := group{parts: make([][]int64, len(a.Measures))}
	if len(cells) == 1 {
		c := &a.Cells[cells[0]]
		g.people = len(c.Contributors)
		for m := range a.Measures {
			if weighed(a.Measures[m].Func) {
				g.parts[m] = nonZero(c.Contributions[m])
			}
		}
		return g
	}
	merged := map[uint32][]int64{}
	for _, i := range cells {
		c := &a.Cells[i]
		for k, s := range c.Contributors {
			sums := merged[s]
			if sums == nil {
				sums = make([]int64, len(a.Measures))
				merged[s] = sums
			}
			for m := range a.Measures {
				sums[m] = plus(sums[m], c.Contributions[m][k])
			}
		}
	}
	g.people = len(merged)
	for m := range a.Measures {
		if !weighed(a.Measures[m].Func) {
			continue
		}
		all := make([]int64, 0, len(merged))
		for _, sums := range merged {
			all = append(all, sums[m])
		}
		g.parts[m] = nonZero(all)
	}
	return g
}

// addUp says whether contributions come to a total, whatever their order overflows on its way.
func addUp(x []int64, total int64) bool {
	hi, lo := int64(0), uint64(0)
	for _, v := range x {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(v), 0)
		hi += v>>63 + int64(carry)
	}
	return lo == uint64(total) && hi == total>>63
}

func nonZero(x []int64) []int64 {
	out := make([]int64, 0, len(x))
	for _, v := range x {
		if v != 0 {
			out = append(out, v)
		}
	}
	return out
}

func evidence(a *sandbox.Answer, i int) CellEvidence {
	c := &a.Cells[i]
	e := CellEvidence{Labels: c.Labels, People: len(c.Contributors), Rows: c.Rows}
	for m, x := range c.Contributions {
		if weighed(a.Measures[m].Func) {
			mag := measure(x, 2)
			e.Top1 = max(e.Top1, share(mag.tops(1), mag.sum()))
			e.Top2 = max(e.Top2, share(mag.tops(2), mag.sum()))
		}
	}
	return e
}
