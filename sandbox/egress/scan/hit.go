package scan

import (
	"fmt"
	"math"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// Rules of the scan, as reviewers see them.
const (
	RuleIdentifier = "identifier" // 个人或企业标识
	RuleOpaque     = "opaque"     // 无法解读的编码
	RuleRowLevel   = "row-level"  // 行级数据
	RuleSize       = "size"       // 超出规模
)

// Coordinate is the kind of a place on the map to ten metres or better (坐标), which classify does not look for.
const Coordinate classify.Kind = "coordinate"

// Form (书写形式) is how an identifier was written.
type Form string

const (
	Plain     Form = "plain"    // 原样, full-width and with separators too
	Numerals  Form = "numerals" // 汉字数字
	Reversed  Form = "reversed" // 倒序
	Base64    Form = "base64"   // Base64 编码
	Hex       Form = "hex"      // 十六进制
	Percent   Form = "percent"  // 百分号编码
	Escaped   Form = "escaped"  // 转义: JSON, HTML
	Zipped    Form = "zipped"   // 压缩
	Cells     Form = "cells"    // 拆入相邻单元格
	Rows      Form = "rows"     // 拆入相邻行
	ByColumns Form = "column"   // 整列识别: the column as a whole
)

// Hit (命中) is one thing that must not leave: where and by which rule. It does not repeat a value.
type Hit struct {
	Rule   string        `json:"rule"`
	Kind   classify.Kind `json:"kind,omitempty"`
	Form   Form          `json:"form,omitempty"`
	Column string        `json:"column,omitempty"`
	Row    int           `json:"row,omitempty"`   // the first one, from 1; 0: the header, or no row in particular
	Count  int           `json:"count,omitempty"` // places in this column
	Detail string        `json:"detail,omitempty"`
}

// String names rule and place.
func (h Hit) String() string {
	s := h.Rule
	if h.Kind != classify.None {
		s += " " + string(h.Kind)
	}
	if h.Form != "" && h.Form != Plain {
		s += " (" + string(h.Form) + ")"
	}
	if h.Column != "" {
		s += " in " + h.Column
	}
	if h.Row > 0 {
		s += fmt.Sprintf(", row %d", h.Row)
	}
	if h.Count > 1 {
		s += fmt.Sprintf(" and %d more", h.Count-1)
	}
	if h.Detail != "" {
		s += ": " + h.Detail
	}
	return s
}

// seen is what one text says of one kind in one form: a number of its shape was there, and whether it held.
type seen struct {
	kind classify.Kind
	form Form
	weak float64 // probability that an honest value of the shape holds; 0: none does
	held bool

	strict bool // also where the shape is rare
}

// tally counts one kind in one form in one place.
type tally struct {
	weak         float64
	strict       bool
	shaped, held int
	first        int // row
}

func (t *tally) add(x seen, row int) {
	t.weak, t.strict = max(t.weak, x.weak), t.strict || x.strict
	t.shaped++
	if x.held {
		if t.held == 0 {
			t.first = row
		}
		t.held++
	}
}

// few is how many values of a shape are no column of codes yet.
const few = 20

// beyond says whether more hold than chance gives: at all where none should or the shape is rare, else with a probability
// under a millionth. strict leaves out that a rare shape is enough.
func (t *tally) beyond(strict bool) bool {
	switch {
	case t.held == 0:
		return false
	case t.weak == 0 || !strict && !t.strict && t.shaped < few:
		return true
	}
	return upperTail(t.shaped, t.held, t.weak) <= 1e-6
}

// upperTail bounds the probability of k or more of n successes (Hoeffding 1963, theorem 1: relative entropy).
func upperTail(n, k int, p float64) float64 {
	share := float64(k) / float64(n)
	if share <= p {
		return 1
	}
	d := share * math.Log(share/p)
	if share < 1 {
		d += (1 - share) * math.Log((1-share)/(1-p))
	}
	return math.Exp(-float64(n) * d)
}
