package model

import (
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

//go:embed schema.json
var schema []byte

// JSONSchema gives the JSON Schema (draft 2020-12) of the format.
func JSONSchema() []byte { return slices.Clone(schema) }

// exampleSchema is what the examples are about; the people are drawn, and nobody's.
func exampleSchema() Schema {
	return Schema{
		Label: Label{Name: "claimed", Form: Binary, Levels: []string{"no", "yes"}},
		Features: []Feature{
			{Name: "age", Low: 20 * one, High: 80 * one, Step: 5 * one},
			{Name: "area", Levels: []string{"east", "north", "south", "west"}},
			{Name: "visits", Low: 0, High: 20 * one, Step: one},
		},
	}
}

var exampleForms = []struct {
	name string
	form Model
}{
	{"logistic", Model{Kind: Logistic, Trainer: Trainer{Ridge: one}}},
	{"tree", Model{Kind: Tree, Trainer: Trainer{Depth: 3, MinLeaf: 30, MinClass: 10}}},
	{"boosted", Model{Kind: Boosted, Trainer: Trainer{Ridge: one, Depth: 2, MinLeaf: 30, MinClass: 10, Trees: 5, Rate: 300}}},
	{"scorecard", Model{Kind: Scorecard, Characteristics: []Characteristic{
		{Feature: "age", Edges: []Fixed{40 * one, 60 * one}, WOE: make([]Fixed, 3)},
		{Feature: "area", Groups: [][]string{{"east", "west"}, {"north"}, {"south"}}, WOE: make([]Fixed, 3)},
		{Feature: "visits", Edges: []Fixed{10 * one}, WOE: make([]Fixed, 2)}}}},
	{"leaky-tree", Model{Kind: Tree, Trainer: Trainer{Depth: 20, MinLeaf: 1}}},
}

// Examples names the examples: models, and train.csv and test.csv of the people they were trained on and were not.
func Examples() []string {
	var out []string
	for _, e := range exampleForms {
		out = append(out, e.name)
	}
	return append(out, "train.csv", "test.csv")
}

// exampleRows draws so many people by a law with noise, the same ones every time.
func exampleRows(seed uint64, people int) [][]string {
	draw, s := mixer(seed), exampleSchema()
	unit := func() float64 { return float64(draw.Uint64()>>11) / (1 << 53) }
	var out [][]string
	for p := range people {
		age, area, visits := 20+math.Floor(60*unit()), int(4*unit()), math.Floor(20*unit())
		eta := -1 + (age-50)/30 + []float64{0, 0.5, -0.5, 0.2}[area] + visits/20
		label := s.Label.Levels[0]
		if unit() < 1/(1+math.Exp(-eta)) {
			label = s.Label.Levels[1]
		}
		out = append(out, []string{fmt.Sprintf("p%d-%d", seed, p), fmt.Sprint(age), s.Features[1].Levels[area], fmt.Sprint(visits), label})
	}
	return out
}

// examplePeople are on each side.
const examplePeople = 800

// Example gives one of them.
func Example(name string) ([]byte, error) {
	if seed := slices.Index([]string{"train.csv", "test.csv"}, name); seed >= 0 {
		var b strings.Builder
		b.WriteString("person,age,area,visits,claimed\n")
		for _, r := range exampleRows(uint64(seed+1), examplePeople) {
			b.WriteString(strings.Join(r, ",") + "\n")
		}
		return []byte(b.String()), nil
	}
	for _, e := range exampleForms {
		if e.name != name {
			continue
		}
		b, err := NewBuilder(exampleSchema())
		if err != nil {
			return nil, err
		}
		for _, r := range exampleRows(1, examplePeople) {
			if err := b.Add(r[0], r[1:4], r[4]); err != nil {
				return nil, err
			}
		}
		form := e.form
		form.ID, form.Schema = "example-"+name, exampleSchema()
		m, err := Fit(&form, b.Build())
		if err != nil {
			return nil, err
		}
		return m.Encode()
	}
	return nil, &sandbox.Error{Op: "model: example", Kind: sandbox.NotFound, Object: "name", Detail: "the examples are " + strings.Join(Examples(), ", ")}
}
