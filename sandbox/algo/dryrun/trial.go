package dryrun

import (
	"context"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// Trial (试算) is a Program on made rows: for its author's tests.
type Trial struct {
	Made
	Data   map[sandbox.DatasetID]*Data
	Plan   *compile.Plan
	params egress.Params
}

// NewTrial records a Program and makes a catalogue and rows for it, the same for the same seed. The error names what does not compile.
func NewTrial(name string, f func(*algo.Program), seed uint64, rows int) (*Trial, error) {
	b, err := algo.Record(name, f)
	if err != nil {
		return nil, err
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		return nil, err
	}
	t := &Trial{Made: Catalogue(g, types, nil), params: egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}}
	plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "trial", Purpose: "trial"}, t.Sets)
	if len(reasons) > 0 {
		return nil, &sandbox.Error{Op: "trial", Kind: sandbox.Denied, Object: name, Detail: reasons[0].Code + ": " + reasons[0].Rule, Hint: reasons[0].Change}
	}
	t.Plan, t.Data = plan, t.Generate(seed, rows)
	return t, nil
}

// Run answers the Program's questions: gated as the domain's gate would with ordinary thresholds, or open, to be compared with a reference.
func (t *Trial) Run(ctx context.Context, gated bool) (Outcome, error) {
	r := Run{Data: t.Data, List: t.List, Params: t.params, Open: !gated}
	return r.Do(ctx, t.Plan)
}

// Column gives the values of a dataset's column, row by row; nil where it has none of that name.
func (t *Trial) Column(set sandbox.DatasetID, name string) []any {
	d := t.Data[set]
	if d == nil {
		return nil
	}
	for i, c := range d.Set.Columns {
		if c.Name != name {
			continue
		}
		out := make([]any, len(d.Rows))
		for r, row := range d.Rows {
			out[r] = row[i]
		}
		return out
	}
	return nil
}
