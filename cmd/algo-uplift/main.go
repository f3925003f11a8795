// Command algo-uplift is a Program (龙数贷, 信贷评分增益): how much better a logistic scorecard tells good loans from bad with public data beside a bank's own.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("credit-uplift", program) }

// points are a scorecard's: of each bin the weight of evidence times the coefficient of a logistic regression, in points with an odds of 50 at 600 and
// 20 points to double it. A bank puts its own card here.
var own = map[string]map[string]float64{
	"months":  {"<12": -18, "12-36": 4, "≥36": 15},
	"revenue": {"<100000": -12, "100000-1000000": 3, "≥1000000": 14},
}

var public = map[string]map[string]float64{
	"tax":     {"A": 22, "B": 8, "M": 0, "C": -16, "D": -45}, // 纳税信用级别
	"subsidy": {"granted": 12, "none": -3},
}

var bands = []float64{560, 580, 600, 620, 640}

// program reveals, by score band, good and bad loans under the bank's own card and under the card with public data. KS and AUC follow from
// either table (Quality), the uplift is their difference.
func program(p *algo.Program) {
	loans := p.Input("loans", algo.Int("months", "months"), algo.Money("revenue"), algo.Int("outcome", ""))
	firms := p.Input("firms", algo.Text("tax_grade"), algo.Text("subsidy"))
	rows := loans.Join(firms)
	bad := loans.Number("outcome").AtLeast(90) // days past due, the usual mark of a bad loan

	base := p.Const(600).Add(loans.Number("months").Bands(12, 36).Points(own["months"], 0)).Add(loans.Number("revenue").Bands(100_000, 1_000_000).Points(own["revenue"], 0))
	more := base.Add(firms.Label("tax_grade", "").Points(public["tax"], 0)).Add(firms.Label("subsidy", "").Points(public["subsidy"], 0))

	for name, score := range []algo.Number{base, more} {
		g := rows.Group(algo.By("band", score.Bands(bands...)), algo.ByFlag("bad", bad))
		p.Reveal([]string{"own", "with_public_data"}[name], g, algo.Out("loans", g.Count()))
	}
}
