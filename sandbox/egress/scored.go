package egress

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// FlagScored is what reviewers judge of scores: no rule sees what a secret model makes of the averages it is given.
const FlagScored = "partner-model" // 保密模型评分

// MaxDecimals bounds the decimals of a score: encrypted scoring does not hold more.
const MaxDecimals = 4

// Scored (保密模型评分结果) are the scores that a partner's secret model makes of the averages of a released result.
type Scored struct {
	Of       Review   // released, and standing
	Approval Approval // that it stands by
	Name     string   // of the score
	Decimals int
	Span     int      // a score is within ±Span
	Scores   []*int64 // by row of the result, scaled by 10^Decimals; nil: its row has not every feature, or is suppressed
	Evidence any      // plan, features, bounds: as JSON for the agency and the owners
}

// String keeps scores out of logs.
func (Scored) String() string { return "scores(redacted)" }

// GoString keeps scores out of %#v.
func (Scored) GoString() string { return "scores(redacted)" }

// CheckScored is Check for scores of a released result's groups. Whatever the weights are, a score is made of values that may leave, so that a group
// has a score only where it was published, and the evidence of a group is that of the result it is made of; what is suppressed there stays so. The
// result was held to thresholds at least as strict as p. What a secret model is for no rule can tell: every result carries a flag, so that people
// release it and no standing template does. The bits are counted anew: with as many runs as features, averages follow from scores.
func CheckScored(question sandbox.QuestionID, a Scored, now time.Time, p Params) (*Checked, error) {
	fail := func(k sandbox.Kind, rule string) (*Checked, error) {
		return nil, &sandbox.Error{Op: "egress", Kind: k, Object: string(question), Detail: rule}
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if a.Approval.Class() != sandbox.ClassA || a.Approval.Question() != a.Of.Question || !a.Approval.Covers(a.Of.Result, now) {
		return fail(sandbox.Denied, "scores are made of a result of class A whose approval stands")
	}
	of, err := DecodeResult(a.Of.Result)
	if err != nil {
		return nil, err
	}
	if of.Of != "" {
		return fail(sandbox.Denied, "scores are not made of scores")
	}
	if held := p.Stricter(a.Of.Params); bitless(held) != bitless(a.Of.Params) {
		return fail(sandbox.Withheld, "the result was held to lower thresholds than are in force")
	}
	if len(a.Scores) != len(of.Rows) || a.Decimals < 0 || a.Decimals > MaxDecimals || a.Span < 1 || a.Span > 1<<16 {
		return fail(sandbox.Invalid, "scores are one for each row, in up to 4 decimals, within a span")
	}
	most := int64(a.Span) * int64(math.Pow10(a.Decimals))
	type scored struct {
		row   ResultRow
		score *int64
	}
	rows := make([]scored, len(of.Rows))
	for i, r := range of.Rows {
		if s := a.Scores[i]; s != nil && (r.Suppressed || *s > most || *s < -most) {
			return fail(sandbox.Invalid, "a score is of a group that was published, within the span")
		}
		rows[i] = scored{r, a.Scores[i]}
	}
	slices.SortStableFunc(rows, func(x, y scored) int { return slices.Compare(x.row.Labels, y.row.Labels) })
	c := &Checked{params: p, hidden: make([]bool, len(rows)), of: of.Question}
	c.answer = &sandbox.Answer{Dimensions: of.Dimensions, LabelUnits: of.LabelUnits, Measures: []sandbox.Measure{{Name: a.Name, Func: sandbox.Score, Scale: a.Decimals}}}
	names := map[string]bool{}
	bits := scan.Log2(3)
	for i, r := range rows {
		cell := sandbox.Cell{Labels: r.row.Labels, Values: []int64{0}}
		at := slices.IndexFunc(a.Of.Cells, func(e CellEvidence) bool { return slices.Equal(e.Labels, r.row.Labels) })
		if at < 0 || a.Of.Cells[at].Suppressed != r.row.Suppressed {
			return fail(sandbox.Invalid, "a group has the evidence of the result that it is of")
		}
		e := a.Of.Cells[at]
		e.Unshown, e.Intervals = false, nil
		if c.hidden[i] = r.row.Suppressed; c.hidden[i] {
			c.Suppressed++
			for _, rule := range e.Rules {
				names[rule] = true
			}
		} else {
			if c.Published++; r.score == nil {
				cell.None = []bool{true}
			} else {
				cell.Values[0] = *r.score
			}
			bits += scan.Log2(uint64(2*most) + 3)
		}
		bits += scan.Log2(2)
		c.answer.Cells, c.Cells = append(c.answer.Cells, cell), append(c.Cells, e)
	}
	for n := range names {
		c.Rules = append(c.Rules, n)
	}
	slices.Sort(c.Rules)
	c.show()
	if c.Result, err = c.encode(question); err != nil {
		return nil, err
	}
	c.digest, c.MilliBits = Digest(c.Result), bits
	if p.MaxBits > 0 && bits > 1000*scan.MilliBits(p.MaxBits) {
		return fail(sandbox.Withheld, RuleBits+": its values could tell more than a result may")
	}
	if err := c.content(question); err != nil {
		return nil, err
	}
	if c.shared, err = json.Marshal(a.Evidence); err != nil {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Internal, Object: string(question), Err: err}
	}
	c.Flags = append([]Flag{{Rule: FlagScored, Places: c.Published}}, a.Of.Flags...)
	return c, nil
}

// bitless are thresholds without the bound of bits, to which each result is held by itself.
func bitless(p Params) Params { p.MaxBits = 0; return p }
