package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
)

// Explained (可行性说明) is what explain prints of an inquiry: what a plan has to say of it, and what parties learn; or why it does not run over
// shares. It follows from descriptions and public sizes alone.
type Explained struct {
	Runs      bool             `json:"runs"`
	Refused   []sandbox.Reason `json:"refused,omitempty"`
	Question  string           `json:"question,omitempty"`  // digest, as a plan names it
	Cells     int              `json:"cells,omitempty"`     // those that nobody is in included
	Rows      int              `json:"rows,omitempty"`      // of the scanned input, at most
	Outputs   map[string]int   `json:"outputs,omitempty"`   // names and rows
	Inputs    []agg.Held       `json:"inputs,omitempty"`    // in the plan's order
	Pushed    []agg.Held       `json:"pushed,omitempty"`    // rows that come as shares of their unit's, no input of the plan
	Operators []share.Op       `json:"operators,omitempty"` // in the plan's form
	Leakage   []share.Leakage  `json:"leakage,omitempty"`   // of those
	Tells     []string         `json:"tells,omitempty"`     // what all parties learn besides
}

// explain says whether an inquiry runs, without a plan, a key or a table: status 3 where it does not.
func (a *Agent) explain(_ context.Context, f *flags) error {
	text, err := readFile(f.question)
	if err != nil {
		return err
	}
	var q agg.Inquiry
	if !agg.IsInquiry(text) || json.Unmarshal(text, &q) != nil {
		return &sandbox.Error{Op: "party explain", Kind: sandbox.Invalid, Object: f.question, Detail: "an inquiry in JSON: spec, datasets, list, setting"}
	}
	l, reasons := q.Line()
	x := Explained{Refused: reasons}
	if l != nil {
		x = Explained{Runs: true, Question: q.Digest(), Cells: l.Cells(), Rows: l.Shared(), Outputs: l.Sizes(), Inputs: sharedBy(q.Setting.Held), Operators: l.Operators(), Tells: l.Learns()}
		if _, h, _, ok := l.Pushes(); ok {
			x.Pushed = append(x.Pushed, h)
		}
		for _, leak := range share.Leaks() {
			for _, op := range x.Operators {
				if leak.Op == op {
					x.Leakage = append(x.Leakage, leak)
				}
			}
		}
	}
	out, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s\n", out)
	if l == nil {
		return &sandbox.Error{Op: "party explain", Kind: sandbox.Denied, Object: reasons[0].Code, Detail: reasons[0].Rule, Hint: reasons[0].Change}
	}
	return nil
}
