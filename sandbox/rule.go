package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// Use (使用方式) is one way a question may use a column.
type Use string

const (
	UseNone      Use = "none"      // 不得使用: nothing at all, said aloud; stands alone in a rule
	UseJoin      Use = "join"      // 关联: equate it with another column, hidden
	UseReveal    Use = "reveal"    // 关联后可见: join, and group by it in a question whose inner join equates it
	UseGroup     Use = "group"     // 分组: group by it through a registered bin, or itself if public
	UseFilter    Use = "filter"    // 筛选: by registered bin label or by equality on public values
	UseAggregate Use = "aggregate" // 聚合: inside the listed functions
	UseCompare   Use = "compare"   // 比较: with the edges of several registered bins in one question, see ColumnRule.Compares
	UseConsent   Use = "consent"   // 单一主体: in the answer about one consenting subject
	UseMap       Use = "map"       // 逐主体: an approved Map sees it, one subject at a time, as far as the column's grade lets it be seen as it is
	UseMapRaw    Use = "map-raw"   // 逐主体原值: a Map sees it as it is though it is of grade 3 or personal; who signs the list signs for that
	UsePlain     Use = "plain"     // 公开使用: every use but consent and a Map's, every function; rows of it still do not leave as class A
)

// Uses lists every use in a fixed order.
var Uses = []Use{UseNone, UseJoin, UseReveal, UseGroup, UseFilter, UseAggregate, UseCompare, UseConsent, UseMap, UseMapRaw, UsePlain}

// ColumnRule (字段使用规则) is what one scenario may do with one column, agreed by the column's owner. The strictest rule of the
// columns that a question uses holds for the whole of it.
// 依据: 龙华区实施方案 三(三) 一场景一清单一授权.
type ColumnRule struct {
	Column string        `json:"column"`
	Uses   []Use         `json:"uses"`
	Funcs  []MeasureFunc `json:"funcs,omitempty"` // for UseAggregate

	Grantees    []PartyID `json:"grantees,omitempty"`     // 限定使用方: these parties of the scenario only; none: all of them
	MinSubjects int       `json:"min_subjects,omitempty"` // 最少人数: distinct subjects of every cell of a question that uses the column, one over everything too
	MaxShare    int       `json:"max_share,omitempty"`    // 最大占比: percent of a cell that its largest contributors may hold together
	PPercent    int       `json:"p_percent,omitempty"`    // 可推算门限: nobody in a cell may tell what its largest contributor adds to this percent
	Prior       int       `json:"prior,omitempty"`        // 先验知识: to this percent everybody can be told beforehand, the q of p/q; 0: as the district says
	MaxBits     int       `json:"max_bits,omitempty"`     // 信息量上限: bits that the values of one result may tell
	NoFilterOn  []string  `json:"no_filter_on,omitempty"` // 不得筛选: dataset.column that may not select or weigh what is measured of this one
	Compares    int       `json:"compares,omitempty"`     // 比较次数: registered groupings that one question may hold a subject's value to; 0: by grade
	PerDay      int       `json:"per_day,omitempty"`      // 每日比较次数: the same over a day's questions under one grant; 0: bounded by its bits alone
	Structural  bool      `json:"structural,omitempty"`   // 结构性极值: min and max follow from the column's definition and may leave
	Noise       Noise     `json:"noise,omitzero"`         // 加噪: how the numbers of a question that uses the column leave; zero: exact
}

// Bounds of one rule.
const (
	MaxCompares    = 8
	MaxPerDay      = 10_000
	MaxMinSubjects = 1_000_000
	MaxMaxBits     = 1 << 27
)

// Allows says whether the rule names use, or one that includes it.
func (r ColumnRule) Allows(use Use) bool {
	if use == UseNone || slices.Contains(r.Uses, UseNone) {
		return false
	}
	switch use {
	case UseConsent, UseMapRaw, UsePlain:
	case UseMap:
		return slices.Contains(r.Uses, UseMap) || slices.Contains(r.Uses, UseMapRaw)
	case UseJoin:
		if slices.Contains(r.Uses, UseReveal) {
			return true
		}
		fallthrough
	default:
		if slices.Contains(r.Uses, UsePlain) {
			return true
		}
	}
	return slices.Contains(r.Uses, use)
}

// AllowsFunc says whether the column may be measured by f.
func (r ColumnRule) AllowsFunc(f MeasureFunc) bool {
	return r.Allows(UseAggregate) && (slices.Contains(r.Uses, UsePlain) || slices.Contains(r.Funcs, f))
}

// AllowsParty says whether the rule holds for a party of the scenario.
func (r ColumnRule) AllowsParty(p PartyID) bool {
	return len(r.Grantees) == 0 || slices.Contains(r.Grantees, p)
}

// Text says in words what a rule allows and asks, for those who decide on it.
func (r ColumnRule) Text() string {
	var b strings.Builder
	b.WriteString(words(r.Uses))
	if len(r.Funcs) > 0 {
		fmt.Fprintf(&b, " (%s)", words(r.Funcs))
	}
	if len(r.Grantees) > 0 {
		fmt.Fprintf(&b, "; for %s only", words(r.Grantees))
	}
	if r.MinSubjects > 0 {
		fmt.Fprintf(&b, "; at least %d people a cell", r.MinSubjects)
	}
	if r.MaxShare > 0 {
		fmt.Fprintf(&b, "; at most %d%% of a cell with its largest", r.MaxShare)
	}
	if r.PPercent > 0 {
		fmt.Fprintf(&b, "; its largest is not told to %d%%", r.PPercent)
	}
	if r.Prior > 0 {
		fmt.Fprintf(&b, "; all is known to %d%% beforehand", r.Prior)
	}
	if r.MaxBits > 0 {
		fmt.Fprintf(&b, "; at most %d bits a result", r.MaxBits)
	}
	if len(r.NoFilterOn) > 0 {
		fmt.Fprintf(&b, "; never selected or weighed by %s", words(r.NoFilterOn))
	}
	if r.Compares > 0 {
		fmt.Fprintf(&b, "; at most %d groupings a question", r.Compares)
	}
	if r.PerDay > 0 {
		fmt.Fprintf(&b, "; at most %d groupings a day", r.PerDay)
	}
	if r.Structural {
		b.WriteString("; its extremes may leave")
	}
	if r.Noise.Kind != "" {
		fmt.Fprintf(&b, "; %s", r.Noise.Text())
	}
	return b.String()
}

func words[T ~string](list []T) string {
	if len(list) == 0 {
		return "nothing"
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

// bounds are what a rule may say at most at a grade, and what it says when it is silent.
type bounds struct {
	uses       []Use
	compares   int // by default
	most       int // with UseCompare
	structural bool
}

func boundsOf(g Grade) bounds {
	switch g {
	case Grade1:
		return bounds{Uses, 4, MaxCompares, true}
	case Grade2:
		return bounds{Uses[:len(Uses)-1], 2, 4, true} // not plain, the last
	}
	return bounds{[]Use{UseNone, UseJoin, UseGroup, UseFilter, UseAggregate, UseCompare, UseConsent, UseMap, UseMapRaw}, 1, 2, false}
}

// Within gives what is left of a rule at a column's effective grade (分级上限), its silence made explicit: a grade that rose
// after the rule was agreed takes away what the new one does not bear.
//
//	grade 1   every use; 4 groupings of one value in one question, with compare up to 8
//	grade 2   not plain; 2, with compare up to 4
//	grade 3   neither plain nor reveal, no structural extremes; 1, with compare up to 2
//	grade 4   as grade 3; no engine that opens columns may have it, see package policy
func (r ColumnRule) Within(g Grade) ColumnRule {
	b := boundsOf(g)
	out := r
	out.Uses = nil
	for _, u := range r.Uses {
		if slices.Contains(b.uses, u) {
			out.Uses = append(out.Uses, u)
		} else if u == UseReveal {
			out.Uses = append(out.Uses, UseJoin) // hidden
		}
	}
	out.Structural = b.structural && (r.Structural || out.Allows(UsePlain))
	switch {
	case !out.Allows(UseCompare):
		out.Compares = b.compares
		if r.Compares > 0 {
			out.Compares = min(r.Compares, b.compares)
		}
	case r.Compares > 0:
		out.Compares = min(r.Compares, b.most)
	default:
		out.Compares = b.most
	}
	return out
}

// ListItem (数据清单条目) is one dataset of a scenario's data list with its column rules; a column not named is refused.
type ListItem struct {
	Dataset DatasetID    `json:"dataset"`
	Columns []ColumnRule `json:"columns"`
}

// Rule finds the rule of a column.
func (l ListItem) Rule(column string) (ColumnRule, bool) {
	for _, r := range l.Columns {
		if r.Column == column {
			return r, true
		}
	}
	return ColumnRule{}, false
}
