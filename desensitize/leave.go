package desensitize

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Leaving (出域条件) says that views by a plan may be submitted to leave as class E, and what they are held to. It is signed with the plan.
// Every column of the view is a quasi-identifier, sensitive, or made by token or token-block; what is not named does not leave.
type Leaving struct {
	K         int      `yaml:"k" json:"k"`                     // people of the smallest class of equal quasi-identifiers; the district's threshold, where that is more
	L         int      `yaml:"l,omitempty" json:"l,omitempty"` // different values of each sensitive column in a class; 0: 2
	Quasi     []string `yaml:"quasi" json:"quasi"`             // 准标识符
	Sensitive []string `yaml:"sensitive,omitempty" json:"sensitive,omitempty"`
	Mark      []Marked `yaml:"mark,omitempty" json:"mark,omitempty"`   // 接收方水印
	Rows      int      `yaml:"rows,omitempty" json:"rows,omitempty"`   // at most; 0: what may leave at once
	Bytes     int64    `yaml:"bytes,omitempty" json:"bytes,omitempty"` // the same
}

// Marked (水印字段) is a column that carries the recipient's mark, with its step: of a number a decimal, of a date whole days.
type Marked struct {
	Column string `yaml:"column" json:"column"`
	Step   string `yaml:"step" json:"step"`
}

const maxLeavingK = 1_000_000

// fault gives the rule that a plan's conditions break, whatever the dataset.
func (l *Leaving) fault() string {
	if l.K < 2 || l.K > maxLeavingK || l.L < 0 || l.L > maxLeavingK || l.Rows < 0 || l.Bytes < 0 {
		return "\"leave\" has k, from 2; l, rows and bytes are not negative"
	}
	if len(l.Quasi) == 0 {
		return "\"leave\" names its quasi-identifiers"
	}
	named := slices.Concat(l.Quasi, l.Sensitive)
	for i, c := range named {
		if c == "" || slices.Contains(named[:i], c) {
			return "\"leave\" names each column once"
		}
	}
	for i, m := range l.Mark {
		if !slices.Contains(named, m.Column) || m.Step == "" || slices.ContainsFunc(l.Mark[:i], func(x Marked) bool { return x.Column == m.Column }) {
			return "\"leave\" marks columns that it names, each once, with a step"
		}
	}
	return ""
}

// Part (出域字段类别) is what a column of a view is to whoever gets it.
type Part string

// The parts.
const (
	Quasi     Part = "quasi"     // 准标识符
	Sensitive Part = "sensitive" // 敏感属性
	Token     Part = "token"     // 令牌: one way, or reversible by the domain alone
)

// Parts says what each column of a view by the plan is. A plan whose views do not leave, or that leaves a column out, gives the reasons.
func (p *Plan) Parts(view []catalog.Column) ([]Part, []sandbox.Reason) {
	if p.Leave == nil {
		return nil, []sandbox.Reason{{Code: "leave.plan", Rule: "views leave by a plan that says so, signed by the owner", Article: article, Change: "have the unit sign a version of the plan with a section leave"}}
	}
	var out []Part
	var why []sandbox.Reason
	tokens := map[string]bool{}
	for _, s := range p.Columns {
		tokens[s.Column] = s.Op == "token" || s.Op == "token-block"
	}
	for _, c := range view {
		switch {
		case slices.Contains(p.Leave.Quasi, c.Name):
			out = append(out, Quasi)
		case slices.Contains(p.Leave.Sensitive, c.Name):
			out = append(out, Sensitive)
		case tokens[c.Name]:
			out = append(out, Token)
		default:
			why = append(why, sandbox.Reason{Code: "leave.column", Column: string(p.Dataset) + "." + c.Name, Rule: "every column that leaves is a quasi-identifier, sensitive, or a token", Article: article,
				Change: "name it under leave, or drop it in the plan"})
		}
	}
	for _, name := range slices.Concat(p.Leave.Quasi, p.Leave.Sensitive) {
		if !slices.ContainsFunc(view, func(c catalog.Column) bool { return c.Name == name }) {
			why = append(why, sandbox.Reason{Code: "leave.column", Column: string(p.Dataset) + "." + name, Rule: "the section leave names columns of the view", Article: article, Change: fmt.Sprintf("take %s out of leave, or keep it in the plan", name)})
		}
	}
	if len(why) > 0 {
		return nil, why
	}
	return out, nil
}
