// Command algo-heatmap is a Program (装修热力图): where homes are renovated, how much and for how much, by grid cell.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("renovation-heat-map", program) }

// program counts permits by grid cell, and by cell and trade. A cell is a public code, such as a geohash or a street block.
func program(p *algo.Program) {
	permits := p.Input("permits", algo.Text("grid"), algo.Text("trade"), algo.Int("area", "m2"), algo.Money("cost"))
	area, cost := permits.Number("area"), permits.Number("cost")

	heat := permits.Group(algo.By("grid", permits.Label("grid", "")))
	p.Reveal("heat", heat, algo.Out("permits", heat.Count()), algo.Out("households", heat.Subjects()), algo.Out("area", heat.Sum(area)),
		algo.Out("cost", heat.Sum(cost)), algo.Out("cost_per_m2", heat.Sum(cost).Div(heat.Sum(area))))

	trades := permits.Group(algo.By("grid", permits.Label("grid", "")), algo.By("trade", permits.Label("trade", "trades")))
	p.Reveal("trades", trades, algo.Out("permits", trades.Count()))
}
