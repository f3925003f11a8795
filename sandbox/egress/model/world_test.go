package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// world draws people of a schema: a category of four, a number, noise features; labels follow a known law.
type world struct {
	schema Schema
	r      *rand.Rand
}

func fixed(v float64) *Fixed { f := Fixed(math.Round(v * one)); return &f }

// newWorld gives a label form and so many further numbers that say nothing.
func newWorld(seed uint64, form LabelForm, noise int) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7))}
	w.schema.Label = Label{Name: "claimed", Form: form}
	switch form {
	case Binary:
		w.schema.Label.Levels = []string{"no", "yes"}
	case Count:
		w.schema.Label.High = 50 * one
	case Amount:
		w.schema.Label.Low, w.schema.Label.High = 1*one, 1000*one
	}
	w.schema.Features = []Feature{
		{Name: "age", Low: 20 * one, High: 80 * one, Step: 2 * one},
		{Name: "area", Levels: []string{"east", "north", "south", "west"}},
		{Name: "visits", Low: 0, High: 20 * one, Step: one},
	}
	for i := range noise {
		w.schema.Features = append(w.schema.Features, Feature{Name: fmt.Sprintf("n%02d", i), Low: 0, High: one, Step: 50})
	}
	return w
}

func (w *world) row() (values []string, label string) {
	age, area, visits := 20+60*w.r.Float64(), w.r.IntN(4), w.r.IntN(20)
	eta := -1 + 2*(age-50)/60 + []float64{0, 0.5, -0.5, 0.2}[area] + float64(visits)/20
	values = []string{fmt.Sprintf("%.2f", age), w.schema.Features[1].Levels[area], fmt.Sprint(visits)}
	for range len(w.schema.Features) - 3 {
		values = append(values, fmt.Sprintf("%.4f", w.r.Float64()))
	}
	switch w.schema.Label.Form {
	case Binary:
		label = w.schema.Label.Levels[0]
		if w.r.Float64() < 1/(1+math.Exp(-eta)) {
			label = w.schema.Label.Levels[1]
		}
	case Count: // Knuth
		n, p, l := 0, w.r.Float64(), math.Exp(-math.Exp(eta))
		for ; p > l; n++ {
			p *= w.r.Float64()
		}
		label = fmt.Sprint(n)
	case Amount:
		label = fmt.Sprintf("%.2f", 100*math.Exp(eta/2)*(0.5+w.r.Float64()))
	}
	return values, label
}

// data draws people with so many rows each.
func (w *world) data(t testing.TB, from, people, rows int) *Data {
	t.Helper()
	b, err := NewBuilder(w.schema)
	if err != nil {
		t.Fatal(err)
	}
	for p := range people {
		for range rows {
			v, l := w.row()
			if err := b.Add(fmt.Sprintf("p%d", from+p), v, l); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.Build()
}

// form is a model of a kind before it is trained.
func (w *world) form(k Kind) *Model {
	m := &Model{Format: Format, ID: "m", Kind: k, Schema: w.schema}
	switch k {
	case Tree:
		m.Trainer = Trainer{Depth: 4, MinLeaf: 20, MinClass: 10}
	case Forest:
		m.Trainer = Trainer{Depth: 3, MinLeaf: 20, MinClass: 10, Trees: 10, Seed: 5}
	case Boosted:
		m.Trainer = Trainer{Depth: 2, MinLeaf: 20, MinClass: 10, Trees: 10, Rate: 200, Ridge: one}
	case Scorecard:
		m.Characteristics = []Characteristic{{Feature: "age", Edges: []Fixed{40 * one, 60 * one}, WOE: make([]Fixed, 3)},
			{Feature: "area", Groups: [][]string{{"east", "west"}, {"north"}, {"south"}}, WOE: make([]Fixed, 3)}, {Feature: "visits", Edges: []Fixed{10 * one}, WOE: make([]Fixed, 2)}}
	}
	return m
}

func labelOf(k Kind) LabelForm {
	switch k {
	case Poisson:
		return Count
	case Linear, Gamma:
		return Amount
	}
	return Binary
}

func quick() Params { p := Standard(); p.Shadows = 16; return p }

func source(seed uint64) Source { return rand.NewPCG(seed, 99) }
