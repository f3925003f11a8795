// Command algo-claimcost is a Program that gives claim cost statistics (医疗费用统计): by group of disease, and by age with the share of
// chronic disease. It sees no value: see package sandbox/algo. README.md says what it asks, in Chinese and English.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("claimcost", program) }

// chronic are the groups of disease that the share of chronic disease counts: circulatory, endocrine.
var chronic = []string{"循环 I", "内分泌 E"}

func program(p *algo.Program) {
	claims := p.Input("ds-claims", algo.Text("icd10"), algo.Money("amount"))
	persons := p.Input("ds-persons", algo.Date("birth_date"))
	amount, disease := claims.Number("amount"), claims.Label("icd10", "disease-group")

	g := claims.Group(algo.By("disease", disease))
	p.Reveal("by-disease", g,
		algo.Out("people", g.Subjects()),
		algo.Out("claims", g.Count()),
		algo.Out("cost", g.Sum(amount)),
		algo.Out("mean cost", g.Mean(amount)),
		algo.Out("claims per person", g.Count().Div(g.Subjects())),
		algo.Out("cost per person", g.Sum(amount).Div(g.Subjects())))

	g = claims.Join(persons).Group(algo.By("age", persons.Label("birth_date", "age-band")))
	p.Reveal("by-age", g,
		algo.Out("people", g.Subjects()),
		algo.Out("cost", g.Sum(amount)),
		algo.Out("mean cost", g.Mean(amount)),
		algo.Out("chronic share", g.SumIf(disease.In(chronic...), amount).Div(g.Sum(amount))))
}
