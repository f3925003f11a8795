package sandbox

import (
	"cmp"
	"fmt"
	"slices"
)

// NoiseKind (加噪方式) is how the numbers of a result are protected after suppression.
type NoiseKind string

// The kinds, the weakest first: the strictest of the columns that a question uses holds for the whole of it.
const (
	NoiseExact     NoiseKind = "exact"     // 精确值: as computed; also what the empty kind means
	NoiseRounded   NoiseKind = "rounded"   // 取整: counts rounded to a base, totals added up from rounded cells
	NoisePerturbed NoiseKind = "perturbed" // 单元格密钥扰动: counts moved by a table entry that the people in the cell pick
	NoiseDP        NoiseKind = "dp"        // 差分隐私: bounded contributions, Gaussian noise, private selection of groups
)

// NoiseKinds lists the kinds by strictness.
var NoiseKinds = []NoiseKind{NoiseExact, NoiseRounded, NoisePerturbed, NoiseDP}

// Rank orders kinds by strictness: 0 for exact, which the empty kind is too; -1 for an unknown one.
func (k NoiseKind) Rank() int { return slices.Index(NoiseKinds, cmp.Or(k, NoiseExact)) }

// Covers says whether f can be protected in this way. Rounding and cell keys protect counts: a sum of ones is a count as well, and an
// exact mean beside an exact sum gives its count away. Under dp a mean is asked as its sum and its count.
func (k NoiseKind) Covers(f MeasureFunc) bool {
	switch k.Rank() {
	case 0:
		return true
	case 1, 2:
		return f == Count || f == Subjects || f == Histogram
	case 3:
		return f == Count || f == Subjects || f == Histogram || f == Sum
	}
	return false
}

// Privacy (隐私预算) is an amount of differential privacy, spent or bounded, in whole units: ε in 10⁻⁶, δ in 10⁻¹². Micro-units of δ
// would be too coarse: one of them is most of what a dataset may ever spend.
type Privacy struct {
	Epsilon int64 `json:"epsilon_micro,omitempty"`
	Delta   int64 `json:"delta_pico,omitempty"`
}

// Times gives k releases of an amount, by basic composition: ε and δ add up (Dwork and Roth 2014, theorem 3.16).
func (p Privacy) Times(k int) Privacy { return Privacy{p.Epsilon * int64(k), p.Delta * int64(k)} }

// Within says whether an amount is at most bound in both parts.
func (p Privacy) Within(bound Privacy) bool {
	return p.Epsilon >= 0 && p.Delta >= 0 && p.Epsilon <= bound.Epsilon && p.Delta <= bound.Delta
}

// String writes an amount in decimal.
func (p Privacy) String() string {
	return fmt.Sprintf("ε %d.%06d, δ %d·10⁻¹²", p.Epsilon/1_000_000, p.Epsilon%1_000_000, p.Delta)
}

// Noise (加噪规则) is what a column's owner asks of the numbers of a question that uses the column. All but Kind are for dp: every
// measure, and the selection of groups, is one release and spends Release of each dataset's budget, once per data version.
type Noise struct {
	Kind    NoiseKind `json:"kind"`
	Release Privacy   `json:"release,omitzero"` // (ε, δ) of one release
	Budget  Privacy   `json:"budget,omitzero"`  // of all releases over the dataset; zero: the district's. Never refilled
	Bound   int64     `json:"bound,omitempty"`  // L: the most that one subject adds to a sum in one cell, in the column's scaled unit
	Rows    int64     `json:"rows,omitempty"`   // rows of one subject that count in one cell; 0: 1
	Cells   int       `json:"cells,omitempty"`  // cells of one answer that a subject counts in; 0: 1
}

// Bounds of a rule's noise. ε from a thousandth to 20 is the range that clean rooms let their users choose; δ up to 10⁻⁶.
const (
	MinEpsilon    = 1_000
	MaxEpsilon    = 20_000_000
	MaxDelta      = 1_000_000
	MaxNoiseBound = 1 << 50
	MaxNoiseRows  = 1 << 20
	MaxNoiseCells = 5000
)

// Valid names the rule that a noise breaks, empty if none.
func (n Noise) Valid() string {
	switch {
	case n.Kind.Rank() < 0 || n.Kind == "":
		return "noise is exact, rounded, perturbed or dp"
	case n.Kind != NoiseDP && n != Noise{Kind: n.Kind}:
		return "release, budget, bound, rows and cells are for dp"
	case n.Kind != NoiseDP:
		return ""
	case n.Release.Epsilon < MinEpsilon || n.Release.Epsilon > MaxEpsilon || n.Release.Delta < 1 || n.Release.Delta > MaxDelta:
		return fmt.Sprintf("one release has an epsilon_micro of %d to %d and a delta_pico of 1 to %d", MinEpsilon, MaxEpsilon, MaxDelta)
	case n.Budget != Privacy{} && !n.Release.Within(n.Budget):
		return "a budget covers one release, in ε and in δ"
	case n.Bound < 0 || n.Bound > MaxNoiseBound || n.Rows < 0 || n.Rows > MaxNoiseRows || n.Cells < 0 || n.Cells > MaxNoiseCells:
		return fmt.Sprintf("bound is up to %d, rows up to %d, cells up to %d", int64(MaxNoiseBound), MaxNoiseRows, MaxNoiseCells)
	}
	return ""
}

// Stricter takes over what another rule asks: the stricter kind, and of two of dp the smaller amounts. Bound is each column's own and
// is not taken over.
func (n Noise) Stricter(o Noise) Noise {
	if o.Kind.Rank() < 0 {
		return Noise{Kind: o.Kind} // unknown: covers nothing
	}
	if n.Kind.Rank() < 0 || o.Kind.Rank() < n.Kind.Rank() {
		return n
	}
	if o.Kind.Rank() > n.Kind.Rank() {
		o.Bound = 0
		return o
	}
	n.Release = n.Release.least(o.Release)
	n.Budget = n.Budget.least(o.Budget)
	n.Rows, n.Cells = min(max(n.Rows, 1), max(o.Rows, 1)), min(max(n.Cells, 1), max(o.Cells, 1))
	if n.Kind != NoiseDP {
		n.Rows, n.Cells = 0, 0
	}
	return n
}

// least gives the smaller of each part; zero asks nothing.
func (p Privacy) least(o Privacy) Privacy {
	part := func(a, b int64) int64 {
		if a == 0 || b == 0 {
			return max(a, b)
		}
		return min(a, b)
	}
	return Privacy{part(p.Epsilon, o.Epsilon), part(p.Delta, o.Delta)}
}

// Text says in words what a rule of noise asks.
func (n Noise) Text() string {
	switch n.Kind.Rank() {
	case 1:
		return "counts leave rounded"
	case 2:
		return "counts leave perturbed"
	case 3:
		s := fmt.Sprintf("leaves under differential privacy, %s a release", n.Release)
		if n.Budget != (Privacy{}) {
			s += fmt.Sprintf(", %s in all", n.Budget)
		}
		if n.Bound > 0 {
			s += fmt.Sprintf(", a person's sum in a cell up to %d", n.Bound)
		}
		s += fmt.Sprintf(", %d rows and %d cells of a person", max(n.Rows, 1), max(n.Cells, 1))
		return s
	}
	return "leaves exact"
}

// Mechanism (加噪机制) says, in a result, how one measure was protected and the standard deviation of the error that this adds, in
// thousandths of the measure's scaled unit. The largest error of a perturbation stays secret.
type Mechanism struct {
	Kind      NoiseKind `json:"kind"`
	Base      int64     `json:"base,omitempty"`   // of rounding
	Release   Privacy   `json:"release,omitzero"` // of dp
	Bound     int64     `json:"bound,omitempty"`  // of dp: the most one subject adds to a cell
	Cells     int       `json:"cells,omitempty"`  // of dp: cells a subject counts in
	Deviation int64     `json:"deviation_milli"`  // 标准差
}
