// Command algo-density is a Program (企业密度与集群图): how many firms and employees there are by grid cell, and which industries cluster where.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("enterprise-density", program) }

// program reveals three tables over firms. A location quotient, an industry's share of a cell ÷ its share of all, follows from the second and third
// after they have left: it divides numbers of different groups.
func program(p *algo.Program) {
	firms := p.Input("firms", algo.Text("grid"), algo.Text("industry"), algo.Int("employees", "people"), algo.Money("capital"))
	staff := firms.Number("employees")
	large := staff.AtLeast(300) // 大中型企业, 工信部联企业〔2011〕300号

	density := firms.Group(algo.By("grid", firms.Label("grid", "")))
	p.Reveal("density", density, algo.Out("firms", density.Count()), algo.Out("employees", density.Sum(staff)), algo.Out("employees_per_firm", density.Mean(staff)),
		algo.Out("large", density.CountIf(large)))

	cluster := firms.Group(algo.By("grid", firms.Label("grid", "")), algo.By("industry", firms.Label("industry", "sections")))
	p.Reveal("cluster", cluster, algo.Out("firms", cluster.Count()), algo.Out("employees", cluster.Sum(staff)))

	all := firms.Group(algo.By("industry", firms.Label("industry", "sections")))
	p.Reveal("industries", all, algo.Out("firms", all.Count()), algo.Out("employees", all.Sum(staff)), algo.Out("capital", all.Sum(firms.Number("capital"))))
}
