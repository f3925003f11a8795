package spec

import (
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Answer (密态统计结果) is what the gate read, as the question names it: a group's labels and, for each output, value and evidence. Groups that no unit
// has a row for are among them. It holds values and prints as redacted; the gate has not decided on it yet.
type Answer struct {
	Dimensions []string
	Outputs    []query.Output // units and scales as in package query's table
	Groups     []Group
	Units      []sandbox.PartyID
}

// Group (结果分组) is one group of an Answer.
type Group struct {
	Labels []string
	Values []he.Output // by output
}

// String keeps values out of logs.
func (a *Answer) String() string { return "answer (redacted)" }

// Answer reads a result of this question's layout. Invalid for one of another.
func (q *Question) Answer(r *he.Result) (*Answer, error) {
	a := &Answer{Outputs: q.Derivation.Outputs(), Units: r.Units}
	for _, d := range q.Derivation.Spec.Dimensions {
		a.Dimensions = append(a.Dimensions, d.As)
	}
	if len(r.Cells) != len(q.Labels) {
		return nil, fail(sandbox.Invalid, "result", "is of this question")
	}
	for i, c := range r.Cells {
		if c.Key != q.Layout.Cells[i] || len(c.Outputs) != len(a.Outputs) {
			return nil, fail(sandbox.Invalid, "result", "is of this question")
		}
		a.Groups = append(a.Groups, Group{q.Labels[i], c.Outputs})
	}
	return a, nil
}

// Rows counts the rows that some output of the group counts; 0 where no unit has one.
func (g Group) Rows() (most int64) {
	for _, v := range g.Values {
		most = max(most, v.Rows)
	}
	return most
}
