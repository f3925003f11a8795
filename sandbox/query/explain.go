package query

import (
	"fmt"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Explanation (推导说明) shows an asker what a question would open and why, before any key does. It is made from a
// Derivation, hence from descriptions only: no estimate in it depends on data.
type Explanation struct {
	Inputs   []ExplainedInput  `json:"inputs"`
	Columns  []ExplainedColumn `json:"columns"`
	Highest  sandbox.Grade     `json:"highest_grade"`
	Personal bool              `json:"personal"`
}

// ExplainedInput (输入说明) is one dataset and what is opened of it.
type ExplainedInput struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Title   string            `json:"title,omitempty"`
	Version uint64            `json:"version,omitempty"` // 0: current
	Join    string            `json:"join,omitempty"`    // how it attaches; empty for the scanned one
	Opens   []string          `json:"opens"`             // columns decrypted (最小必要)
}

// ExplainedColumn (字段说明) is one column with its grade and uses.
type ExplainedColumn struct {
	Column   string                `json:"column"`
	Title    string                `json:"title,omitempty"`
	Grade    sandbox.Grade         `json:"grade"`
	Personal bool                  `json:"personal,omitempty"`
	Uses     []sandbox.Use         `json:"uses"`
	Funcs    []sandbox.MeasureFunc `json:"funcs,omitempty"`
	Bins     []sandbox.BinID       `json:"bins,omitempty"`
}

// Explain lists the inputs and columns of a derivation; of an incomplete one, what was resolved before it was refused.
func (d Derivation) Explain() Explanation {
	e := Explanation{Inputs: []ExplainedInput{}, Columns: []ExplainedColumn{}, Highest: d.Highest, Personal: d.Personal}
	for i, in := range d.Inputs {
		x := ExplainedInput{Dataset: in.Dataset, Title: in.Described.Title, Version: in.Version, Opens: append([]string{}, in.Needed...)}
		if i > 0 {
			from := string(d.Inputs[d.Spec.input(in.With)].Dataset)
			if len(in.On) == 0 {
				x.Join = "by the protected subject of " + from
			} else {
				var on []string
				if in.Subject {
					on = append(on, "the protected subject of "+from+" is the same")
				}
				for _, k := range in.On {
					on = append(on, from+"."+k.Left+" = "+string(in.Dataset)+"."+k.Right)
				}
				x.Join = "where " + strings.Join(on, " and ")
			}
		}
		e.Inputs = append(e.Inputs, x)
	}
	for _, c := range d.Columns {
		e.Columns = append(e.Columns, ExplainedColumn{Column: c.Column, Title: c.Title, Grade: c.Grade, Personal: c.Personal,
			Uses: c.Uses, Funcs: c.Funcs, Bins: c.Bins})
	}
	return e
}

// Text prints the explanation for people, one line per input and column.
func (e Explanation) Text() string {
	var b strings.Builder
	title := func(t string) string {
		if t == "" {
			return ""
		}
		return " (" + t + ")"
	}
	for _, in := range e.Inputs {
		version := "current version"
		if in.Version > 0 {
			version = fmt.Sprintf("version %d", in.Version)
		}
		opens := strings.Join(in.Opens, ", ")
		if opens == "" {
			opens = "no column"
		}
		if in.Join == "" {
			fmt.Fprintf(&b, "scan 扫描 %s%s, %s: opens %s\n", in.Dataset, title(in.Title), version, opens)
		} else {
			fmt.Fprintf(&b, "join 关联 %s%s, %s, %s: opens %s\n", in.Dataset, title(in.Title), version, in.Join, opens)
		}
	}
	for _, c := range e.Columns {
		personal := ""
		if c.Personal {
			personal = ", personal 个人信息"
		}
		fmt.Fprintf(&b, "  %s%s: grade %d 级%s; used for %s", c.Column, title(c.Title), c.Grade, personal, join(c.Uses))
		if len(c.Funcs) > 0 {
			fmt.Fprintf(&b, " (%s)", join(c.Funcs))
		}
		if len(c.Bins) > 0 {
			fmt.Fprintf(&b, " through %s", join(c.Bins))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "strictest grade 最高级别 %d", e.Highest)
	if e.Personal {
		b.WriteString(", with personal information 含个人信息")
	}
	b.WriteString("\n")
	return b.String()
}
