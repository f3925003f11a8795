// Package released takes the averages that a partner's secret model runs over (合作方保密模型的输入) out of results that the gate passed: the numbers
// that would leave, as they would leave, of groups that would leave. he.Joint encrypts nothing else; a domain's node takes them out of released results. 依据: THREATS 4 of the design: whatever the
// weights are, what they make of what may leave is made of what may leave.
//
// Errors are *sandbox.Error: Denied for a result that was not approved, or altered since it was checked; Invalid for one that has not the features.
package released

import (
	"math"
	"slices"
	"time"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/internal/average"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// Group (可出域分组) is one group of a result with the averages that a model takes.
type Group struct {
	Labels   []string
	Averages he.Averages
}

// Approved takes the groups of a result of class A that was approved, at a time when the approval holds. Features are names of the result's measures,
// in the order of the model's weights; values are in the measure's unit.
func Approved(a egress.Approval, result []byte, now time.Time, features []string) ([]Group, error) {
	if a.Class() != sandbox.ClassA || !a.Covers(result, now) {
		return nil, denied("a result of class A that was approved, as it was approved and before that ends")
	}
	return groups(result, features)
}

// Checked takes the groups of an answer that the gate has just checked, before people see it: what is made of them passes the gate with it.
func Checked(c *egress.Checked, features []string) ([]Group, error) {
	if c == nil || !c.Unaltered() {
		return nil, denied("the result as the gate wrote it")
	}
	return groups(c.Result, features)
}

func denied(rule string) error {
	return &sandbox.Error{Op: "released", Kind: sandbox.Denied, Object: "result", Detail: rule}
}

// groups takes those that have every feature; suppressed ones have none.
func groups(result []byte, features []string) ([]Group, error) {
	r, err := egress.DecodeResult(result)
	if err != nil {
		return nil, err
	}
	if len(features) == 0 || len(features) > he.MaxFeatures {
		return nil, &sandbox.Error{Op: "released", Kind: sandbox.Invalid, Object: "features", Detail: "1 to 256, each a measure of the result"}
	}
	at := make([]int, len(features))
	for i, name := range features {
		if at[i] = slices.IndexFunc(r.Measures, func(m sandbox.Measure) bool { return m.Name == name }); at[i] < 0 {
			return nil, &sandbox.Error{Op: "released", Kind: sandbox.Invalid, Object: "features", Detail: "a feature is a measure of the result"}
		}
	}
	var out []Group
	for _, row := range r.Rows {
		var x []float64
		for _, m := range at {
			if row.Suppressed || m >= len(row.Values) || row.Values[m] == nil {
				break
			}
			x = append(x, float64(*row.Values[m])/math.Pow10(r.Measures[m].Scale))
		}
		if len(x) == len(at) {
			out = append(out, Group{row.Labels, average.New(x)})
		}
		clear(x)
	}
	return out, nil
}
