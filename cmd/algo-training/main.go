// Command algo-training is a Program (逻辑回归训练): it fits who earns more than a threshold to age, schooling and sex, and gives the model to the gate.
package main

import "github.com/opdomain/opdomain/sandbox/algo"

func main() { algo.Main("logistic-training", program) }

// program fits with as many iterations as the domain fixes; coefficients are class D, which people always review.
func program(p *algo.Program) {
	people := p.Input("people", algo.Bool("high"), algo.Int("age", "years"), algo.Int("schooling", "years"), algo.Int("male", ""))
	p.RevealModel("high_income", people.Group().Logistic(people.Number("high"), people.Number("age"), people.Number("schooling"), people.Number("male")))
}
