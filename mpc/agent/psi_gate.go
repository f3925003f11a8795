package agent

import (
	"encoding/json"
	"slices"

	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox"
)

// gateTable (待检表格) is the sums of a set intersection as opdomain egress check takes them: format opdomain-table/1, cells by summary.
type gateTable struct {
	Format     string              `json:"format"`
	ID         sandbox.RunID       `json:"id"`
	Note       string              `json:"note"`
	Datasets   []sandbox.DatasetID `json:"datasets"`
	Dimensions []string            `json:"dimensions"`
	Exclusive  bool                `json:"exclusive"` // an element comes once, in one group
	Measures   []gateMeasure       `json:"measures"`
	Cells      []gateCell          `json:"cells"`
}

type gateMeasure struct {
	Name   string `json:"name"`
	Func   string `json:"func"`
	Column string `json:"column,omitempty"`
}

type gateCell struct {
	Labels []string            `json:"labels"`
	People uint64              `json:"people"`
	Values map[string]gateSums `json:"values"`
}

// gateSums are what a cell adds up to and the most that its two largest can be.
type gateSums struct {
	N    uint64 `json:"n"`
	Top1 uint64 `json:"top1"`
	Top2 uint64 `json:"top2,omitempty"`
	Sum  uint64 `json:"sum"`
}

// worst gives the least favourable split of a sum for (n,k) and p%: whose elements are in the intersection nobody sees, so that the two largest of
// the sender's own group are taken to be. What passes the gate so passes with the true ones.
func worst(sum, first, second uint64) gateSums {
	x := gateSums{Sum: sum, Top1: min(first, sum)}
	rest := sum - x.Top1
	x.Top2 = min(second, rest)
	if x.Top1 > 0 {
		x.N = 1
	}
	if x.Top2 > 0 {
		rest -= x.Top2
		x.N = 2 + (rest+x.Top2-1)/x.Top2 // the fewest who come to it
	}
	return x
}

// gateText makes the table of a plan's sums by group. Groups that are withheld are no cells of it.
func gateText(p *session.Plan, own *elements, sums []PSISum, of sandbox.DatasetID) ([]byte, error) {
	people := "people"
	for slices.Contains(p.Values, people) {
		people += ".n"
	}
	t := gateTable{Format: "opdomain-table/1", ID: p.Job.Run, Datasets: []sandbox.DatasetID{of}, Dimensions: []string{"group"}, Exclusive: true, Cells: []gateCell{},
		Note:     "Set intersection (隐私求交): counts and sums are of the elements that both sides have; top1 and top2 are the largest of the whole group, in the intersection or not.",
		Measures: []gateMeasure{{Name: people, Func: "subjects"}}}
	for _, v := range p.Values {
		t.Measures = append(t.Measures, gateMeasure{v, "sum", string(of) + "." + v})
	}
	width := 1 + len(p.Values)
	for g, s := range sums {
		if s.Withheld {
			continue
		}
		c := gateCell{[]string{s.Group}, s.Count, map[string]gateSums{}}
		for k, sum := range s.Values {
			var first, second uint64
			for _, v := range own.values[g*width+1+k] {
				switch {
				case v > first:
					first, second = v, first
				case v > second:
					second = v
				}
			}
			c.Values[p.Values[k]] = worst(sum, first, second)
		}
		t.Cells = append(t.Cells, c)
	}
	b, err := json.MarshalIndent(t, "", "  ")
	return append(b, '\n'), err
}
