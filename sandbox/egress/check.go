package egress

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
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
	Unshown    bool     `json:"unshown,omitempty"` // may leave, and is not among the cells the question shows
	Rules      []string `json:"rules,omitempty"`

	Intervals []CellInterval `json:"intervals,omitempty"` // of a suppressed cell that breaks a rule
}

// Checked (检查结果) is an answer that passed through Check: what would leave, and the evidence behind it.
type Checked struct {
	Result     []byte         // outgoing bytes
	Suppressed int            // cells suppressed
	Published  int            // cells published
	Rules      []string       // names of the rules that suppressed cells, sorted
	Cells      []CellEvidence // as in the answer

	Suppression *Suppression   // how others are protected; nil when nothing is suppressed
	Flags       []Flag         // what a person must look at though no rule stands against it
	MilliBits   scan.MilliBits // that the values of the result may tell, at most

	answer *sandbox.Answer
	hidden []bool
	shown  []int // cells of the result, in its order
	params Params
	digest []byte // of Result as Check wrote it

	shared json.RawMessage    // of an answer that was not computed in plain: its evidence
	of     sandbox.QuestionID // of scores: the result that they are made of

	linked    int // earlier cells in the audit
	intervals [][]CellInterval
}

// Unaltered says whether the outgoing bytes are those that the gate wrote.
func (c *Checked) Unaltered() bool { return c.digest != nil && bytes.Equal(Digest(c.Result), c.digest) }

// single gives an answer over everything its one cell where nobody is in it: that there is nobody reads like that there are few.
func single(a *sandbox.Answer) *sandbox.Answer {
	if len(a.Dimensions) > 0 || len(a.Cells) > 0 {
		return a
	}
	n, out := len(a.Measures), *a
	out.Cells = []sandbox.Cell{{Labels: []string{}, Values: make([]int64, n), NonMissing: make([]int64, n), Contributions: make([][]int64, n)}}
	return &out
}

// String keeps evidence out of logs.
func (*Checked) String() string { return "checked answer(redacted)" }

// GoString keeps evidence out of %#v.
func (*Checked) GoString() string { return "checked answer(redacted)" }

// Check applies the rules to every cell, suppresses what breaks them and what would give a suppressed cell away, and
// writes the outgoing bytes. An answer with a function that may never leave, or with content that looks like identifiers of
// persons or enterprises (Quarantine), is Withheld: the caller shows the asker the uniform code only. Links are cells of earlier
// answers inside which cells of this one lie (Book.Linked).
func Check(question sandbox.QuestionID, a *sandbox.Answer, p Params, links ...Link) (*Checked, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := whole(a); err != nil {
		return nil, err
	}
	if len(a.Cells) > MaxRows {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more rows than a result may have"}
	}
	if a, links = labelled(single(a), links); a == nil {
		return nil, alike(question)
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
	added, ok := c.cover(rules, links)
	if !ok {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more suppressed cells than an audit takes", Hint: "ask with coarser groups"}
	}
	for _, i := range added {
		rules[i] = append(rules[i], RuleSecondary)
	}
	c.show()
	names := map[string]bool{}
	for i := range a.Cells {
		e := evidence(a, i)
		e.Rules, e.Suppressed, e.Unshown = rules[i], c.hidden[i], !slices.Contains(c.shown, i)
		if c.intervals != nil {
			e.Intervals = c.intervals[i]
		}
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
	if c.Result, err = c.encode(question); err != nil {
		return nil, err
	}
	c.digest = Digest(c.Result)
	if err := c.capacity(question); err != nil {
		return nil, err
	}
	if err := c.content(question); err != nil {
		return nil, err
	}
	c.flag()
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
	if a.Holdings != nil && len(a.Holdings) != len(a.Population) {
		return bad("holdings are one per person")
	}
	if len(a.Dimensions) > maxDimensions || a.LabelUnits != nil && len(a.LabelUnits) != len(a.Dimensions) {
		return bad("more dimensions than margins can be checked for")
	}
	if !selectable(a) {
		return bad("cells are shown by a count or people at least so much, and first by a measure with one value that leaves")
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
		if c.None != nil && len(c.None) != len(a.Measures) {
			return bad("a measure has a value or has none")
		}
		for m, x := range c.Contributions {
			f := a.Measures[m].Func
			if len(x) != len(c.Contributors) {
				return bad("contributions are one per contributor")
			}
			if f == sandbox.Ratio && (len(c.Divisors) != len(a.Measures) || len(c.Divisors[m]) != len(c.Contributors)) {
				return bad("a ratio has a divisor per contributor")
			}
			if f.Additive() && (!addUp(x, c.Values[m]) || c.Missing(m)) {
				return bad("what contributors add comes to the value")
			}
			if !f.Additive() && f != sandbox.Mean && f != sandbox.Plain && len(c.Thin) != len(a.Measures) {
				return bad("a value that is no total says on how few people it rests")
			}
		}
	}
	return nil
}

// of merges cells into the group the rules judge: distinct people, and what each adds over all the cells together.
// People who add zero to a weighed measure because they have no value for it cannot be told from those with value zero in
// the evidence; counting neither is the strict reading.
func of(a *sandbox.Answer, cells []int) group {
	g := group{parts: make([][]int64, len(a.Measures)), divisors: make([][]int64, len(a.Measures))}
	if len(cells) == 1 {
		c := &a.Cells[cells[0]]
		g.people, g.thin = len(c.Contributors), c.Thin
		for m := range a.Measures {
			switch {
			case !weighed(a.Measures[m]):
			case m > 0 && same(c.Contributions[m], c.Contributions[m-1]) && g.parts[m-1] != nil:
				g.parts[m] = g.parts[m-1]
			default:
				g.parts[m] = nonZero(c.Contributions[m])
			}
			if a.Measures[m].Func == sandbox.Ratio {
				g.divisors[m] = nonZero(c.Divisors[m])
			}
		}
		g.rest = fewest(unlabelled(a, c))
		g.hold(a, c.Contributors, func(m int) []int64 { return c.Contributions[m] }, func(m int) []int64 { return c.Divisors[m] })
		return g
	}
	k := 2 * len(a.Measures)
	merged := map[uint32][]int64{}
	for _, i := range cells {
		c := &a.Cells[i]
		for j, s := range c.Contributors {
			sums := merged[s]
			if sums == nil {
				sums = make([]int64, k)
				merged[s] = sums
			}
			for m := range a.Measures {
				sums[2*m] = plus(sums[2*m], c.Contributions[m][j])
				if a.Measures[m].Func == sandbox.Ratio {
					sums[2*m+1] = plus(sums[2*m+1], c.Divisors[m][j])
				}
			}
		}
	}
	g.people = len(merged)
	who := slices.Collect(maps.Keys(merged))
	every := func(k int) []int64 {
		out := make([]int64, len(who))
		for i, s := range who {
			out[i] = merged[s][k]
		}
		return out
	}
	g.hold(a, who, func(m int) []int64 { return every(2 * m) }, func(m int) []int64 { return every(2*m + 1) })
	var rest []int
	for _, i := range cells {
		for h, left := range unlabelled(a, &a.Cells[i]) {
			if h == len(rest) {
				rest = append(rest, 0)
			}
			rest[h] = max(rest[h], left) // together they leave out at least whom one of them does
		}
	}
	g.rest = fewest(rest)
	g.thin = make([]int64, len(a.Measures))
	for m := range a.Measures {
		if !weighed(a.Measures[m]) {
			continue
		}
		all, by := make([]int64, 0, len(merged)), make([]int64, 0, len(merged))
		for _, sums := range merged {
			all, by = append(all, sums[2*m]), append(by, sums[2*m+1])
		}
		g.parts[m], g.divisors[m] = nonZero(all), nonZero(by)
		g.thin[m] = thinnest(a, cells, m, len(g.parts[m]))
	}
	return g
}

// thinnest bounds from below how many people a value over several cells would rest on; adds is how many add something to it. A cell's
// people and degrees of freedom are the union's too. Of moments, which subtract from totals, rows and people add up besides; on which side
// of the union's means they stand is not known here, and a single cell is held to its own. Of a quantile, or a logistic regression, one of
// the cells must rest on enough itself.
func thinnest(a *sandbox.Answer, cells []int, m, adds int) int64 {
	var out, rows int64
	for _, i := range cells {
		if c := &a.Cells[i]; c.Thin != nil {
			out = max(out, c.Thin[m])
		}
		rows = plus(rows, a.Cells[i].NonMissing[m])
	}
	switch f := a.Measures[m].Func; {
	case f == sandbox.Distinct || f == sandbox.Ratio:
		return max(out, int64(adds))
	case f != sandbox.Logistic && degrees(f):
		parameters := 1
		if m < len(a.Sources) {
			parameters = max(parameters, len(a.Sources[m]))
		}
		return max(out, min(rows-int64(parameters), int64(adds)))
	}
	return out
}

// fewest gives the least of those that are not zero.
func fewest(counts []int) int {
	out := 0
	for _, n := range counts {
		if n > 0 && (out == 0 || n < out) {
			out = n
		}
	}
	return out
}

// unlabelled counts, per histogram, who a cell's histogram leaves out, because their label is missing: the rows of the cell less its labels' tell
// how many. Where the cell counts rows it tells who; else their rows bound how many people there are.
func unlabelled(a *sandbox.Answer, c *sandbox.Cell) (out []int) {
	rows := slices.IndexFunc(a.Measures, func(m sandbox.Measure) bool { return m.Func == sandbox.Count })
	for first := 0; first < len(a.Measures); {
		if a.Measures[first].Func != sandbox.Histogram {
			first++
			continue
		}
		end := first + 1
		for end < len(a.Measures) && a.Measures[end].Func == sandbox.Histogram && sameHistogram(a, first, end) {
			end++
		}
		left := int(min(c.Rows-c.NonMissing[first], 1<<31))
		if rows >= 0 && left > 0 {
			left = 0
			for k, n := range c.Contributions[rows] {
				for m := first; m < end; m++ {
					n -= c.Contributions[m][k]
				}
				if n != 0 {
					left++
				}
			}
		}
		out = append(out, left)
		first = end
	}
	return out
}

// sameHistogram says whether two outputs are of one histogram: what it is over is told before its labels.
func sameHistogram(a *sandbox.Answer, x, y int) bool {
	prefix := func(m int) string { return strings.TrimSuffix(a.Measures[m].Name, a.Measures[m].Part) }
	return prefix(x) == prefix(y)
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
		if weighed(a.Measures[m]) {
			mag := measure(x, 2)
			e.Top1 = max(e.Top1, share(mag.tops(1), mag.sum()))
			e.Top2 = max(e.Top2, share(mag.tops(2), mag.sum()))
		}
	}
	return e
}
