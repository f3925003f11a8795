package egress

import (
	"cmp"
	"math"
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// Params (出域门限) are the thresholds of one answer: the district's, made stricter by the owners' rules. They stay secret from
// askers.
type Params struct {
	MinSubjects int `json:"min_subjects"`       // least distinct subjects of a published cell
	DominanceN  int `json:"dominance_n"`        // n of the (n,k) rule
	DominanceK  int `json:"dominance_k"`        // k of it, percent
	PPercent    int `json:"p_percent"`          // p of the p/q rule, percent
	Prior       int `json:"prior,omitempty"`    // q of it: how well everybody can be told beforehand, percent; 0: 100, the p% rule
	MaxBits     int `json:"max_bits,omitempty"` // that the values of a result may tell; 0: not bounded
}

// prior is q.
func (p Params) prior() uint64 { return uint64(cmp.Or(p.Prior, 100)) }

// Validate refuses thresholds that protect nobody.
func (p Params) Validate() error {
	if p.MinSubjects < 3 || p.DominanceN < 1 || p.DominanceN > 16 || p.DominanceK < 1 || p.DominanceK > 99 || p.PPercent < 1 || p.PPercent > 100 ||
		p.Prior < 0 || p.Prior > 100 || p.MaxBits < 0 {
		return &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: "thresholds",
			Detail: "at least 3 subjects, n of 1 to 16, k of 1 to 99 percent, p of 1 to 100 percent, q up to 100 percent"}
	}
	return nil
}

// Stricter takes over what the owners' rules of a question ask beside the district: more people in a cell, a smaller share with its
// largest contributors, a larger p, more known beforehand, fewer bits. Zero asks nothing, and nothing is ever loosened.
func (p Params) Stricter(owners Params) Params {
	least := func(into *int, v int) {
		if v > 0 && (*into == 0 || v < *into) {
			*into = v
		}
	}
	p.MinSubjects, p.DominanceN, p.PPercent = max(p.MinSubjects, owners.MinSubjects), max(p.DominanceN, owners.DominanceN), max(p.PPercent, owners.PPercent)
	least(&p.DominanceK, owners.DominanceK)
	least(&p.Prior, owners.Prior)
	least(&p.MaxBits, owners.MaxBits)
	return p
}

// Rule names, as reviewers see them.
const (
	RuleFrequency = "frequency"          // 人数不足
	RuleDominance = "dominance"          // (n,k) 占比过高
	RulePPercent  = "p-percent"          // p% 可推算
	RuleAllEqual  = "all-equal"          // 全部相同
	RuleSecondary = "secondary"          // 二次隐藏: hidden to protect another cell
	RuleFunction  = "function"           // 函数不可出域
	RuleDegrees   = "degrees-of-freedom" // 自由度不足
	RuleBits      = "bits"               // 信息量超限: of a whole result
)

// minDegrees is the least residual degrees of freedom of a statistic that leaves. Source: ACRO, SDC handbook on regressions.
const minDegrees = 10

// frequency is rule 1: fewer distinct subjects than the threshold. A cell of rows that are missing every value has nobody
// in it and is the smallest of all.
func frequency(n int, p Params) bool { return n < p.MinSubjects }

// magnitudes are contributions by absolute value, the largest first up to the count asked for, and their sum. The sum is
// exact in 128 bits.
type magnitudes struct {
	top    []uint64 // descending
	hi, lo uint64
	equal  bool // every contribution is the same and not zero
}

func measure(x []int64, tops int) magnitudes {
	m := magnitudes{top: make([]uint64, 0, tops+1), equal: len(x) > 0 && x[0] != 0}
	for _, v := range x {
		if v != x[0] {
			m.equal = false
		}
		a := uint64(v)
		if v < 0 {
			a = -a
		}
		var carry uint64
		m.lo, carry = bits.Add64(m.lo, a, 0)
		m.hi += carry
		at := len(m.top)
		for at > 0 && m.top[at-1] < a {
			at--
		}
		if at < tops {
			m.top = append(m.top, 0)
			copy(m.top[at+1:], m.top[at:])
			m.top[at] = a
			m.top = m.top[:min(len(m.top), tops)]
		}
	}
	return m
}

// wide is an unsigned 128-bit number; contributions are below 2^63 and there are fewer than 2^32 of them, so products
// with a percentage fit.
type wide struct{ hi, lo uint64 }

func (a wide) times(n uint64) wide {
	h, l := bits.Mul64(a.lo, n)
	return wide{a.hi*n + h, l}
}

func (a wide) add(b wide) wide {
	l, c := bits.Add64(a.lo, b.lo, 0)
	return wide{a.hi + b.hi + c, l}
}

func (a wide) sub(b wide) wide {
	l, c := bits.Sub64(a.lo, b.lo, 0)
	return wide{a.hi - b.hi - c, l}
}

func (a wide) less(b wide) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (m magnitudes) sum() wide { return wide{m.hi, m.lo} }

func (m magnitudes) tops(n int) wide {
	var s wide
	for _, t := range m.top[:min(n, len(m.top))] {
		s = s.add(wide{0, t})
	}
	return s
}

// dominance is rule 3: the n largest contributors hold more than k percent of the sum.
func dominance(m magnitudes, p Params) bool {
	return m.sum().times(uint64(p.DominanceK)).less(m.tops(p.DominanceN).times(100))
}

// pPercent are rules 4 and 5: the second contributor, knowing its own part, and everybody else's to q percent, can estimate the first
// within p percent; q of 100 is the p% rule.
func pPercent(m magnitudes, p Params) bool {
	if len(m.top) == 0 || m.top[0] == 0 {
		return false
	}
	rest := m.sum().sub(m.tops(2))
	return rest.times(p.prior()).less(wide{0, m.top[0]}.times(uint64(p.PPercent)))
}

// allEqual is the class disclosure rule: to know that somebody is in the group is to know what they add. That everybody
// adds nothing is the commonest case of it.
func allEqual(m magnitudes, contributors int) bool { return contributors == 0 || m.equal }

// weighed says whether a measure's contributions are amounts, to which the dominance rules apply: all but counts of people and
// what is redacted; of rows too one person may hold most.
func weighed(m sandbox.Measure) bool {
	return m.Func != sandbox.Subjects && !redacted(m)
}

// redacted says whether a measure's value does not leave: it is one person's own, unless the column's definition gives it.
func redacted(m sandbox.Measure) bool { return extreme(m.Func) && !m.Structural }

func extreme(f sandbox.MeasureFunc) bool { return f == sandbox.Min || f == sandbox.Max }

// group is what the primary rules judge: people, and per weighed measure what each of them adds. A measure's
// contributors are those with a non-missing input, so a measure may have fewer people than its group.
type group struct {
	people   int
	parts    [][]int64 // per measure, what each contributor adds where it is not zero; nil for measures that are not weighed
	divisors [][]int64 // per measure, of ratios: likewise to the divisor
	held     [][]int64 // per measure: likewise what each holding adds; nil where everybody is their own
	heldBy   [][]int64 // per measure, of ratios: likewise to the divisor
	thin     []int64   // per measure; of several cells together at most what it is
	rest     int       // people, or rows if fewer cannot be told, that a histogram leaves out because their label is missing
}

// judge gives the rules a group breaks, in the order of the package doc. One row each is what most questions count, so
// row counts are not held to the rule against equal contributions, nor are outcomes of yes and no.
func judge(g group, measures []sandbox.Measure, p Params) []string {
	of := func(held [][]int64, i int) []int64 {
		if held == nil {
			return nil
		}
		return held[i]
	}
	broken := map[string]bool{RuleFrequency: frequency(g.people, p) || g.rest > 0 && frequency(g.rest, p)}
	weigh := func(parts, held []int64, everybody, equal bool) {
		mag := measure(parts, max(p.DominanceN, 2))
		for _, x := range []magnitudes{mag, measure(held, max(p.DominanceN, 2))} {
			broken[RuleDominance] = broken[RuleDominance] || dominance(x, p)
			broken[RulePPercent] = broken[RulePPercent] || pPercent(x, p)
		}
		broken[RuleFrequency] = broken[RuleFrequency] || everybody && len(parts) > 0 && frequency(len(parts), p)
		broken[RuleAllEqual] = broken[RuleAllEqual] || equal && allEqual(mag, len(parts))
	}
	for i, m := range measures {
		if !weighed(m) {
			continue
		}
		again := i > 0 && m.Func == measures[i-1].Func && same(g.parts[i], g.parts[i-1]) // another output of one measure
		switch m.Func {
		case sandbox.Count, sandbox.Distinct:
			weigh(g.parts[i], of(g.held, i), false, false)
		case sandbox.Histogram:
			weigh(g.parts[i], of(g.held, i), true, false)
		case sandbox.Sum, sandbox.Mean, sandbox.Dot:
			weigh(g.parts[i], of(g.held, i), true, true)
		case sandbox.Ratio:
			weigh(g.parts[i], of(g.held, i), true, true)
			weigh(g.divisors[i], of(g.heldBy, i), true, true)
		case sandbox.Quantile, sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation, sandbox.Linear:
			if !again {
				weigh(g.parts[i], of(g.held, i), false, true)
			}
		case sandbox.Logistic:
			if !again {
				weigh(g.parts[i], of(g.held, i), false, false)
			}
		case sandbox.Min, sandbox.Max: // structural ones: whoever holds it, of enough people with a value
			broken[RuleFrequency] = broken[RuleFrequency] || frequency(len(g.parts[i]), p)
		default:
			broken[RuleFunction] = true
		}
		if g.thin != nil && !m.Func.Additive() && m.Func != sandbox.Mean && !extreme(m.Func) {
			broken[RuleFrequency] = broken[RuleFrequency] || g.thin[i] < int64(p.MinSubjects)
			broken[RuleDegrees] = broken[RuleDegrees] || degrees(m.Func) && g.thin[i] < minDegrees
		}
	}
	var out []string
	for _, r := range []string{RuleFrequency, RuleDominance, RulePPercent, RuleAllEqual, RuleDegrees, RuleFunction} {
		if broken[r] {
			out = append(out, r)
		}
	}
	return out
}

// degrees says whether a function has residual degrees of freedom.
func degrees(f sandbox.MeasureFunc) bool {
	switch f {
	case sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation, sandbox.Linear, sandbox.Logistic:
		return true
	}
	return false
}

// same says whether two lists are one.
func same(a, b []int64) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

// share gives a part of a whole in tenths of a percent, for reviewers.
func share(part, whole wide) int {
	if whole == (wide{}) {
		return 0
	}
	// Scaled down together until the product fits; reviewers read tenths of a percent.
	for whole.hi != 0 || whole.lo > math.MaxUint64/1000 {
		part = wide{part.hi >> 1, part.lo>>1 | part.hi<<63}
		whole = wide{whole.hi >> 1, whole.lo>>1 | whole.hi<<63}
	}
	return int(part.lo * 1000 / whole.lo)
}
