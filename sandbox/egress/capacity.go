package egress

import (
	"math"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// capacity counts what the values of the result may tell (信息量): per row whether it is published or suppressed, per value the logarithm of
// how many values it could have taken, and one of three outcomes: whole, in part, withheld. How many follows from the answer itself: a
// count from the rows, a count of people from the people, a total from all that anybody adds; of a quantile two digits leave; other functions
// count as 64 bits. More than MaxBits is Withheld. Source: rule 25 of the gate.
func (c *Checked) capacity(question sandbox.QuestionID) error {
	a := c.answer
	var rows int64
	for i := range a.Cells {
		rows = plus(rows, a.Cells[i].Rows)
	}
	perRow, total := make([]scan.MilliBits, len(a.Measures)), scan.Log2(3)
	for m := range a.Measures {
		perRow[m] = levels(a, m, rows)
	}
	for _, i := range c.shown {
		total += scan.Log2(2)
		if c.hidden[i] {
			continue
		}
		for m := range a.Measures {
			total += perRow[m]
		}
	}
	if c.MilliBits = total; c.params.MaxBits > 0 && total > 1000*scan.MilliBits(c.params.MaxBits) {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: RuleBits + ": its values could tell more than a result may", Hint: "ask for fewer groups or fewer measures"}
	}
	return nil
}

// levels gives the milli-bits of one value of a measure: a value that is not there, for one of two reasons, is two levels more.
func levels(a *sandbox.Answer, m int, rows int64) scan.MilliBits {
	n := uint64(math.MaxUint64)
	switch f := a.Measures[m].Func; {
	case redacted(a.Measures[m]):
		return 0
	case f == sandbox.Subjects:
		n = uint64(len(a.Population)) + 1
	case f == sandbox.Count || f == sandbox.Histogram || f == sandbox.Distinct:
		n = uint64(rows) + 1
	case f == sandbox.Sum:
		var sum wide
		for i := range a.Cells {
			sum = sum.add(measure(a.Cells[i].Contributions[m], 0).sum())
		}
		if sum.hi == 0 && sum.lo < math.MaxInt64 {
			n = 2*sum.lo + 1
		}
	case f == sandbox.Quantile:
		n = 2*90*19 + 1
	}
	if base := uint64(a.Measures[m].Noise.Base); base > 1 && n < math.MaxUint64 {
		n = n/base + 1
	}
	if n < math.MaxUint64-2 {
		n += 2
	}
	return scan.Log2(n)
}
