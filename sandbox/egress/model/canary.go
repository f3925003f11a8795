package model

import (
	"math"
	"slices"
)

// canary writes a row nobody has: every feature drawn evenly over its registered values, the label as the label of anybody.
func (j *judging) canary(d *Data, row int) {
	n := len(d.schema.Features)
	for f, x := range d.schema.Features {
		step := int(j.rnd.Uint64() % uint64(x.steps()))
		d.bin[row*n+f] = uint16(step)
		d.x[row*n+f] = float64(step)
		if !x.category() {
			d.x[row*n+f] = (float64(step) + 0.5) / float64(x.steps())
		}
	}
	if d.schema.Label.Form == Binary {
		d.y[row] = float64(j.rnd.Uint64() >> 63)
		return
	}
	d.y[row] = j.train.y[j.rnd.Uint64()%uint64(j.train.Rows())]
}

// expose ranks each canary that a shadow model was trained on among those that it was not, by loss. Exposure is log2 of how many there are less
// log2 of the rank. Source: Carlini et al., The Secret Sharer (2019).
func (j *judging) expose(t *exposed, m *compiled, d *Data, people int) {
	at := func(c int) float64 {
		row := int(d.first[people+c])
		return loss(m.kind, d.y[row], m.predict(d, row))
	}
	others := make([]float64, references)
	for i := range others {
		others[i] = at(j.p.Canaries + i)
	}
	slices.Sort(others)
	bits := func(l float64) float64 {
		below, _ := slices.BinarySearch(others, l)
		equal := below
		for equal < len(others) && others[equal] == l {
			equal++
		}
		return exposureAt(below + 1 + (equal-below)/2)
	}
	for c := range j.p.Canaries {
		t.seen.add(bits(at(c)))
		t.heart.add(bits(others[0]))
	}
}

// exposed is what canaries showed, and what they would have shown had the model them by heart: as many others may fit as well by chance.
type exposed struct{ seen, heart tally }

func exposureAt(rank int) float64 { return math.Log2(references+1) - math.Log2(float64(rank)) }

// byHeart is the share of the exposure of what is known by heart, chance taken off, from which a trainer keeps single rows.
const byHeart = 0.25

// exposure holds canaries to chance, under which every rank is as likely.
func (j *judging) exposure(r *Membership, t *exposed) {
	mean, squares := 0.0, 0.0
	for k := range references + 1 {
		e := exposureAt(k + 1)
		mean += e / (references + 1)
		squares += e * e / (references + 1)
	}
	r.Exposure, r.Chance, r.ByHeart, r.Canaries = t.seen.mean(), mean, t.heart.mean(), int(t.seen.n)
	limit := mean + 3*math.Sqrt((squares-mean*mean)/t.seen.n)
	j.most(RuleCanary, "", r.Exposure, limit, max(limit, mean+byHeart*(r.ByHeart-mean)))
}

// ranked gives each value's place in its order, from 0 to below 1, equal ones the same.
func ranked(v []float64) []float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	out := make([]float64, len(v))
	for i, x := range v {
		at, _ := slices.BinarySearch(s, x)
		out[i] = float64(at) / float64(len(v))
	}
	return out
}
