// Command algo-adherence is a Map (用药依从性): of each patient's dispensed medicines in time, the share of days covered.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -o adherence.wasm ./cmd/algo-adherence
package main

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

func main() {}

func init() {
	mapper.Handle(declaration, adherence)
}

// declaration is what the manifest says of it.
var declaration = mapper.Declaration{
	Dataset: "prescriptions",
	Columns: []mapper.Column{{Name: "dispensed", Type: "date"}, {Name: "days", Type: "int"}, {Name: "group", Type: "text"}},
	Groups:  []mapper.Group{{Name: "medicine", Labels: []string{"hypertension", "diabetes", "lipids"}}, {Name: "adherent", Labels: []string{"no", "yes"}}},
	Values:  []mapper.Value{{Name: "covered", Of: mapper.Mean, Unit: "percent", Min: 0, Max: 100, Step: 5}},
	Yields:  3,
}

// adherent is from which share of days covered, in percent, a patient counts as adherent. Source: the usual threshold of the proportion of days covered.
const adherent = 80

// adherence yields, for each group of medicines dispensed at least twice, the share of days from the first dispensing to the end of the last
// supply that some supply covers; what is dispensed early is used after what is there.
func adherence(s *mapper.Subject, y *mapper.Yields) {
	type supply struct{ from, days int64 }
	all := make([][]supply, len(declaration.Groups[0].Labels))
	for r := range s.Rows() {
		from, ok := s.Int(r, 0)
		days, has := s.Int(r, 1)
		name, _ := s.Text(r, 2)
		if g := slices.Index(declaration.Groups[0].Labels, name); g >= 0 && ok && has && days > 0 {
			all[g] = append(all[g], supply{from, min(days, 366)})
		}
	}
	for g, list := range all {
		if len(list) < 2 {
			continue
		}
		slices.SortFunc(list, func(a, b supply) int { return int(min(max(a.from-b.from, -1), 1)) })
		covered, end := int64(0), list[0].from
		for _, x := range list {
			end = max(end, x.from) + x.days
			covered += x.days
		}
		share := 100 * covered / (end - list[0].from)
		yes := 0
		if share >= adherent {
			yes = 1
		}
		y.Yield([]int{g, yes}, share)
	}
}
