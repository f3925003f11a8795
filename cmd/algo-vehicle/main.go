// Command algo-vehicle is a Program (车险风险评分): a generalised linear model's score for vehicle insurance, and how claims and their cost bear it out.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("vehicle-risk", program) }

// Coefficients of a logistic model of a claim within a year; an insurer puts its own here.
var (
	intercept = -2.2
	age       = map[string]float64{"<25": 0.55, "25-60": 0, "≥60": 0.2}
	use       = map[string]float64{"private": 0, "taxi": 0.9, "freight": 0.7}
	points    = map[string]float64{"<3": 0, "3-9": 0.4, "≥9": 1.1} // 驾驶证记分
)

// program reveals claims and their cost by band of the predicted chance, and by use and band.
func program(p *algo.Program) {
	policies := p.Input("policies", algo.Int("driver_age", "years"), algo.Text("use"), algo.Int("licence_points", ""), algo.Int("claims", "claims"), algo.Money("paid"))
	chance := p.Const(intercept).Add(policies.Number("driver_age").Bands(25, 60).Points(age, 0)).Add(policies.Label("use", "").Points(use, 0)).
		Add(policies.Number("licence_points").Bands(3, 9).Points(points, 0)).Sigmoid()
	band := chance.Bands(0.12, 0.18, 0.3)

	g := policies.Group(algo.By("chance", band))
	claims, paid := policies.Number("claims"), policies.Number("paid")
	p.Reveal("calibration", g, algo.Out("policies", g.Count()), algo.Out("claims", g.Sum(claims)), algo.Out("frequency", g.Sum(claims).Div(g.Count())), algo.Out("paid", g.Sum(paid)),
		algo.Out("severity", g.Sum(paid).Div(g.Sum(claims))))

	by := policies.Group(algo.By("use", policies.Label("use", "")), algo.By("chance", band))
	p.Reveal("by_use", by, algo.Out("policies", by.Count()), algo.Out("claims", by.Sum(claims)))
}
