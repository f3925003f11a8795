package he

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of a layout.
const (
	MaxMeasures = 16
	MaxLabels   = 256     // of a histogram
	MaxCells    = 1 << 16 // group keys
	MaxRows     = 1 << 31 // of one unit
	maxColumns  = 64      // a bit each says what is missing
	maxInput    = 1 << 47 // size of one value, so that products of MaxRows of them fit
)

// checkSlots open every ciphertext: each unit puts a one there, so that a sum opens to the number of units or is not the sum.
const checkSlots = 4

// limbBits: a total is split into limbs below 2^32, so that MaxUnits of them stay far from the plaintext modulus.
const limbBits = 32

// Measure (度量) is a function over columns of the units' rows, named by index; Y is the second column where there is one. Of a histogram
// X holds label indices below Labels.
type Measure struct {
	Func   sandbox.MeasureFunc
	X, Y   int
	Labels int
	Scale  int // of X, decimal places; only a ratio uses it
	ScaleY int // of Y
}

// Layout (密文布局) says what each unit's vector holds: the same group keys and measures everywhere, public, fixed before encryption.
//
// Order of slots: for each cell, the totals of each measure; then for each cell, unit and output, what the gate needs as evidence: the
// unit's distinct subjects and its largest contribution, to each column where a measure weighs two, in slots that only this unit fills.
type Layout struct {
	Cells    []string // group keys, public and distinct: what a group is called
	Columns  int      // of a unit's rows
	Measures []Measure
	Products *Products // instead of cells and measures: inner products over two units' columns
}

// moment is a total of a measure.
type moment byte

const (
	rows moment = iota
	sumX
	sumY
	sumXX
	sumXY
	sumYY
)

func (m moment) limbs() int {
	switch m {
	case rows:
		return 1
	case sumX, sumY:
		return 3
	}
	return 4
}

// moments lists the totals of a measure; nil for one that additions cannot do.
func (m Measure) moments() []moment {
	switch m.Func {
	case sandbox.Count:
		return []moment{rows}
	case sandbox.Histogram:
		return slices.Repeat([]moment{rows}, max(0, m.Labels))
	case sandbox.Sum, sandbox.Mean:
		return []moment{rows, sumX}
	case sandbox.Variance, sandbox.StdDev:
		return []moment{rows, sumX, sumXX}
	case sandbox.Covariance:
		return []moment{rows, sumX, sumY, sumXY}
	case sandbox.Correlation:
		return []moment{rows, sumX, sumY, sumXX, sumXY, sumYY}
	case sandbox.Ratio:
		return []moment{rows, sumX, sumY}
	case sandbox.Dot:
		return []moment{rows, sumXY}
	}
	return nil
}

// Instead says, of a function that stops homomorphic encryption, what would do (替代方式). Empty for one that it can do.
func Instead(f sandbox.MeasureFunc) string {
	if (Measure{Func: f, Labels: 1}).moments() != nil {
		return ""
	}
	switch f {
	case sandbox.Subjects, sandbox.Distinct, sandbox.Min, sandbox.Max, sandbox.Quantile:
		return "comparisons stop homomorphic encryption: ask it of the mpc engine, or ask a histogram over a registered bin"
	case sandbox.Linear, sandbox.Logistic:
		return "ask covariances of its columns, and solve at the gate; or the mpc engine"
	}
	return "rows never leave: ask a total"
}

func (m Measure) uses() (x, y bool) {
	switch m.Func {
	case sandbox.Count:
		return false, false
	case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio, sandbox.Dot:
		return true, true
	}
	return true, false
}

// outputs is how many values a measure has.
func (m Measure) outputs() int {
	if m.Func == sandbox.Histogram {
		return m.Labels
	}
	return 1
}

// sides lists the widths of an output's largest contributions: one, or one to each column where two are weighed.
func (m Measure) sides() []int {
	switch m.Func {
	case sandbox.Count, sandbox.Histogram:
		return []int{1}
	case sandbox.Dot:
		return []int{4}
	case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
		return []int{3, 3}
	}
	return []int{3}
}

// stated is the number of slots of a unit's evidence of one output.
func (m Measure) stated() int {
	n := 1
	for _, limbs := range m.sides() {
		n += limbs
	}
	return n
}

// totals is the number of slots of a cell's totals, evidence that of one unit's evidence of a cell.
func (l *Layout) totals() (n int) {
	for _, m := range l.Measures {
		for _, k := range m.moments() {
			n += k.limbs()
		}
	}
	return n
}

func (l *Layout) evidence() (n int) {
	for _, m := range l.Measures {
		n += m.outputs() * m.stated()
	}
	return n
}

func (l *Layout) slots(units int) int {
	if l.Products != nil {
		return l.Products.evidence(0) + l.Products.evidence(1)
	}
	return len(l.Cells) * (l.totals() + units*l.evidence())
}

func (l *Layout) check() []sandbox.Reason {
	var why []sandbox.Reason
	if l.Products != nil {
		if len(l.Cells)+len(l.Measures)+l.Columns > 0 {
			return []sandbox.Reason{{Code: "he.layout", Rule: "a layout has cells and measures, or products", Change: "ask it in parts"}}
		}
		return l.Products.check(0)
	}
	add := func(rule, change string) {
		why = append(why, sandbox.Reason{Code: "he.layout", Rule: rule, Change: change})
	}
	if len(l.Cells) == 0 || len(l.Cells) > MaxCells || len(l.Measures) == 0 || len(l.Measures) > MaxMeasures || l.Columns < 0 || l.Columns > maxColumns {
		add(fmt.Sprintf("a question has 1 to %d groups, 1 to %d measures and at most %d columns", MaxCells, MaxMeasures, maxColumns), "ask it in parts")
		return why
	}
	seen := make(map[string]bool, len(l.Cells))
	for _, c := range l.Cells {
		if len(c) > 256 || seen[c] {
			add("group keys are distinct, public and at most 256 bytes", "name each group once")
			return why
		}
		seen[c] = true
	}
	for i, m := range l.Measures {
		if change := Instead(m.Func); change != "" {
			why = append(why, sandbox.Reason{Code: "he.operator", Column: fmt.Sprintf("measure %d", i+1), Rule: "homomorphic sums do " + "count, sum, mean, variance, stddev, histogram, covariance, correlation, ratio, dot", Change: change})
			continue
		}
		x, y := m.uses()
		if x && (m.X < 0 || m.X >= l.Columns) || y && (m.Y < 0 || m.Y >= l.Columns) || m.Scale < 0 || m.Scale > 18 || m.ScaleY < 0 || m.ScaleY > 18 ||
			m.Func == sandbox.Histogram && (m.Labels < 1 || m.Labels > MaxLabels) {
			add(fmt.Sprintf("measure %d names columns that are there, scales up to 18 and at most %d labels", i+1, MaxLabels), "correct it")
		}
	}
	return why
}

func (l *Layout) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(l.Cells)))
	for _, c := range l.Cells {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(c))), c...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(l.Columns))
	for _, m := range l.Measures {
		b = append(append(b, byte(len(m.Func))), m.Func...)
		for _, v := range []int{m.X, m.Y, m.Labels, m.Scale, m.ScaleY} {
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		}
	}
	if l.Products != nil {
		b = l.Products.encode(b)
	}
	return b
}

// split writes v in limbs: all but the last are below 2^32, the last keeps the sign.
func split(v *big.Int, into []int64) error {
	rest := new(big.Int).Set(v)
	mask := big.NewInt(1<<limbBits - 1)
	for i := range into[:len(into)-1] {
		into[i] = new(big.Int).And(rest, mask).Int64()
		rest.Rsh(rest, limbBits) // towards −∞, as And has it
	}
	if rest.BitLen() > limbBits {
		return fail(sandbox.TooLarge, "total", "fits the limbs of its measure")
	}
	into[len(into)-1] = rest.Int64()
	return nil
}

// joined adds limbs up again, sums of them too.
func joined(limbs []int64) *big.Int {
	v := new(big.Int)
	for i := len(limbs) - 1; i >= 0; i-- {
		v.Lsh(v, limbBits).Add(v, big.NewInt(limbs[i]))
	}
	return v
}

// Check refuses a layout that no plan could have, from public shapes only: codes he.layout and he.operator.
func (l *Layout) Check() []sandbox.Reason { return l.check() }

// Values counts the slots that hold a value when so many units contribute (密文容量).
func (l *Layout) Values(units int) int { return l.slots(units) }
