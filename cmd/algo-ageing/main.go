// Command algo-ageing is a Program that gives an ageing population report (老龄人口报告): by street and sex, how many people there are, how many
// are 65 and over and 80 and over, and the old-age dependency ratio. It sees no value: see package sandbox/algo. README.md says what it
// asks, in Chinese and English.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("ageing", program) }

// Labels of the bin age-band: 65 and over, 80 and over, and those of working age.
var (
	old     = []string{"65-80", "≥80"}
	oldest  = []string{"≥80"}
	working = []string{"18-35", "35-50", "50-65"}
)

func program(p *algo.Program) {
	persons := p.Input("ds-persons", algo.Date("birth_date"), algo.Text("sex"), algo.Text("street"))
	age := persons.Label("birth_date", "age-band")
	report := func(table string, dims ...algo.Dimension) {
		g := persons.Group(dims...)
		elderly := g.CountIf(age.In(old...))
		p.Reveal(table, g,
			algo.Out("people", g.Count()),
			algo.Out("65 and over", elderly),
			algo.Out("80 and over", g.CountIf(age.In(oldest...))),
			algo.Out("share 65 and over", elderly.Div(g.Count())),
			algo.Out("old-age dependency ratio", elderly.Div(g.CountIf(age.In(working...)))))
	}
	report("by-street", algo.By("street", persons.Label("street", "")))
	report("by-sex", algo.By("sex", persons.Label("sex", "")))
}
