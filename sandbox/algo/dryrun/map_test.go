package dryrun

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/egress"
)

var stays = mapper.Declaration{Dataset: "claims", Columns: []mapper.Column{{Name: "kind", Type: "text"}, {Name: "amount", Type: "money"}, {Name: "night", Type: "bool"}},
	Groups: []mapper.Group{{Name: "stays", Labels: []string{"none", "some"}}}, Values: []mapper.Value{{Name: "cost", Of: mapper.Mean, Scale: 2, Max: 5_000_000, Step: 100}}, Yields: 1}

// inProcess runs a function as the jail runs a module.
type inProcess struct{ seen int }

func (p *inProcess) Map(_ context.Context, in [][]byte) ([][]byte, error) {
	out := make([][]byte, len(in))
	for i := range in {
		p.seen++
		if p.seen%97 == 0 {
			continue // trapped
		}
		var err error
		if out[i], err = mapper.Yielding(func(s *mapper.Subject, y *mapper.Yields) {
			some, cost := 0, int64(0)
			for r := range s.Rows() {
				if kind, _ := s.Text(r, 0); kind == "inpatient" {
					some = 1
				}
				fen, _ := s.Int(r, 1)
				if night, ok := s.Int(r, 2); ok && night <= 1 {
					cost += fen
				}
			}
			y.Yield([]int{some}, cost)
		}, in[i], &stays); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// TestMapOnMadeRows: the same seed gives the same bits, another other ones; who failed is in no cell; what the gate hides is empty.
func TestMapOnMadeRows(t *testing.T) {
	made := MapCatalogue(stays, map[string][]string{"kind": {"inpatient"}})
	try := func(seed uint64, rows int) MapOutcome {
		r := Run{Data: made.Generate(seed, rows), List: made.List, Params: egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}}
		out, err := r.Map(t.Context(), "stays", stays, &inProcess{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	a := try(1, 1500)
	if a.People < 400 || a.Faults != a.People/97 || a.Withheld != "" || a.Cells != 2 || len(a.Table.Rows) != 2 || !slices.Equal(a.Table.Head, []string{"stays", "subjects", "yields", "cost"}) {
		t.Fatalf("%d people, %d faults, %q, %+v", a.People, a.Faults, a.Withheld, a.Table)
	}
	if b := try(1, 1500); !bytes.Equal(a.Result, b.Result) {
		t.Error("the same seed gives other bits")
	}
	if b := try(2, 1500); bytes.Equal(a.Result, b.Result) {
		t.Error("another seed gives the same bits")
	}
	if few := try(1, 20); few.Withheld == "" && few.Suppressed == 0 {
		t.Errorf("nothing of few people is hidden: %+v", few.Table)
	}
}
