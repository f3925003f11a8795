// Command algo-village is a Program (楼栋与城中村统计): buildings, storeys and households by street, and how urban villages differ.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("building-statistics", program) }

func program(p *algo.Program) {
	buildings := p.Input("buildings", algo.Text("street"), algo.Text("kind"), algo.Int("storeys", ""), algo.Int("households", "households"), algo.Int("area", "m2"), algo.Date("built"))
	village := buildings.Label("kind", "kinds").In("urban-village")
	tall := buildings.Number("storeys").AtLeast(7) // above six storeys a lift is asked for, GB 50096
	homes, area := buildings.Number("households"), buildings.Number("area")

	g := buildings.Group(algo.By("street", buildings.Label("street", "")), algo.ByFlag("village", village))
	p.Reveal("streets", g, algo.Out("buildings", g.Count()), algo.Out("storeys", g.Mean(buildings.Number("storeys"))), algo.Out("households", g.Sum(homes)),
		algo.Out("area", g.Sum(area)), algo.Out("area_per_household", g.Sum(area).Div(g.Sum(homes))), algo.Out("tall_share", g.CountIf(tall).Div(g.Count())))

	age := buildings.Filter(village).Group(algo.By("decade", buildings.Label("built", "decades")))
	p.Reveal("villages", age, algo.Out("buildings", age.Count()), algo.Out("households", age.Sum(homes)))
}
