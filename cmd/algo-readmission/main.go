// Command algo-readmission is a Map (三十日再入院): of each patient's stays in time, how many were followed by another within thirty days.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -o readmission.wasm ./cmd/algo-readmission
package main

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

func main() {}

func init() {
	mapper.Handle(declaration, readmission)
}

// declaration is what the manifest says of it.
var declaration = mapper.Declaration{
	Dataset: "stays",
	Columns: []mapper.Column{{Name: "admitted", Type: "date"}, {Name: "discharged", Type: "date"}, {Name: "kind", Type: "text"}},
	Groups:  []mapper.Group{{Name: "stays", Labels: []string{"1", "2-3", "4-9", "10+"}}, {Name: "readmitted", Labels: []string{"no", "yes"}}},
	Values: []mapper.Value{
		{Name: "readmissions", Of: mapper.Sum, Unit: "stays", Min: 0, Max: 20, Step: 1},
		{Name: "days", Of: mapper.Mean, Unit: "days", Min: 0, Max: 360, Step: 5},
	},
	Yields: 1,
}

const within = 30 // days

// readmission yields how often a stay began within thirty days of the end of the one before, and the days in hospital. Outpatient visits, and
// stays without dates or that end before they begin, do not count.
func readmission(s *mapper.Subject, y *mapper.Yields) {
	type stay struct{ in, out int64 }
	var stays []stay
	for r := range s.Rows() {
		in, ok := s.Int(r, 0)
		out, ended := s.Int(r, 1)
		if kind, _ := s.Text(r, 2); kind != "inpatient" || !ok || !ended || out < in {
			continue
		}
		stays = append(stays, stay{in, out})
	}
	if len(stays) == 0 {
		return
	}
	slices.SortFunc(stays, func(a, b stay) int { return int(min(max(a.in-b.in, -1), 1)) })
	again, days, last := int64(0), int64(0), stays[0].out
	for i, x := range stays {
		days += x.out - x.in + 1
		if i > 0 && x.in > last && x.in-last <= within {
			again++
		}
		last = max(last, x.out)
	}
	band, yes := 0, 0
	for _, from := range []int{2, 4, 10} {
		if len(stays) >= from {
			band++
		}
	}
	if again > 0 {
		yes = 1
	}
	y.Yield([]int{band, yes}, again, days)
}
