package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// fitted gives the unrounded fit of a form.
func fitted(t *testing.T, form *Model, d *Data) *glm {
	t.Helper()
	_, f, err := form.fit(d, d.everyone())
	if err != nil {
		t.Fatal(err)
	}
	if !f.converged || f.singular {
		t.Fatalf("%s: converged %v, singular %v", form.Kind, f.converged, f.singular)
	}
	return f
}

// TestSaturated: with one category alone every level has a closed form: the link of its mean.
func TestSaturated(t *testing.T) {
	for _, k := range []Kind{Linear, Logistic, Poisson, Gamma} {
		w := newWorld(5, labelOf(k), 0)
		d := w.data(t, 0, 2000, 1)
		s := Schema{Label: w.schema.Label, Features: w.schema.Features[1:2]}
		alone := &Data{schema: &s, y: d.y, first: d.first, who: d.who, keys: d.keys}
		var sum, n [4]float64
		for r := range d.Rows() {
			l := d.bins(r)[1]
			alone.bin, alone.x = append(alone.bin, l), append(alone.x, float64(l))
			sum[l] += d.y[r]
			n[l]++
		}
		f := fitted(t, &Model{Kind: k, Schema: s}, alone)
		for l := range 4 {
			m := sum[l] / n[l]
			want := m
			switch k {
			case Logistic:
				want = math.Log(m / (1 - m))
			case Poisson, Gamma:
				want = math.Log(m)
			}
			got := f.beta[0]
			if l > 0 {
				got += f.beta[l]
			}
			if math.Abs(got-want) > 1e-6 {
				t.Errorf("%s, level %d: %.9f, want %.9f", k, l, got, want)
			}
		}
	}
}

// TestOptimum: no small step lowers the penalised deviance of any kind.
func TestOptimum(t *testing.T) {
	for _, k := range []Kind{Linear, Logistic, Poisson, Gamma, Scorecard} {
		w := newWorld(6, labelOf(k), 2)
		form := w.form(k)
		form.Trainer.Ridge = 2 * one
		d := w.data(t, 0, 400, 2)
		if k == Scorecard {
			form.Characteristics = evidence(form, d, d.everyone())
		}
		f := fitted(t, form, d)
		for i := range f.beta {
			for _, step := range []float64{-0.01, 0.01} {
				b := slices.Clone(f.beta)
				b[i] += step
				if f.penalised(d, d.everyone(), b, 2) < f.deviance {
					t.Errorf("%s: column %d is not at its best", k, i)
				}
			}
		}
	}
}

// TestInfluence: of a linear regression leaving one person out is exact, so that it equals a fit without the person.
func TestInfluence(t *testing.T) {
	w := newWorld(7, Amount, 0)
	d := w.data(t, 0, 60, 1)
	form := w.form(Linear)
	f := fitted(t, form, d)
	var inverse mat.SymDense
	if err := f.chol.InverseTo(&inverse); err != nil {
		t.Fatal(err)
	}
	got, want := f.influences(d), 0.0
	for s := range d.Subjects() {
		in := make([]bool, d.Subjects())
		for i := range in {
			in[i] = i != s
		}
		without := fitGLM(Linear, f.layout, d, d.of(in), 0)
		for i := range f.beta {
			se := math.Sqrt(inverse.At(i, i) * f.dispersion)
			want = max(want, math.Abs(f.beta[i]-without.beta[i])/se)
		}
	}
	if math.Abs(got.change-want) > 1e-6 {
		t.Errorf("largest change %.9f, by refitting %.9f", got.change, want)
	}
}

// TestSplit holds a tree's first split to a search over all.
func TestSplit(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(seed, Binary, 1)
		d := w.data(t, 0, 200, 1)
		g := grower{d: d, g: d.y, t: Trainer{Depth: 1, MinLeaf: 10, MinClass: 3}, scale: 1, binary: true, bound: one}
		var all bucket
		for r := range d.Rows() {
			all.add(g.one(int32(r)))
		}
		f, cut, in, ok := g.split(d.everyone(), all, 0)
		best, found := g.gain(all), 0.0
		try := func(left func(r int) bool) float64 {
			var l bucket
			for r := range d.Rows() {
				if left(r) {
					l.add(g.one(int32(r)))
				}
			}
			if r := all.less(l); g.may(l) && g.may(r) {
				return g.gain(l) + g.gain(r)
			}
			return 0
		}
		for j, x := range d.schema.Features {
			if x.category() {
				for set := uint64(1); set < 1<<len(x.Levels)-1; set++ {
					best = max(best, try(func(r int) bool { return set>>d.bins(r)[j]&1 == 1 }))
				}
				continue
			}
			for k := 1; k < x.steps(); k++ {
				best = max(best, try(func(r int) bool { return int(d.bins(r)[j]) < k }))
			}
		}
		if ok {
			found = try(func(r int) bool {
				b := d.bins(r)[f]
				return d.schema.Features[f].category() && in>>b&1 == 1 || !d.schema.Features[f].category() && int(b) < cut
			})
		}
		if math.Abs(found-best) > 1e-6*best {
			t.Errorf("seed %d: gain %.6f, best %.6f", seed, found, best)
		}
	}
}

// TestDistinct: leaves have as many distinct people as asked, whatever rows they have.
func TestDistinct(t *testing.T) {
	for _, k := range []Kind{Tree, Forest, Boosted} {
		w := newWorld(8, Binary, 3)
		d := w.data(t, 0, 150, 8)
		form := w.form(k)
		form.Trainer.Depth = 12
		m, err := Fit(form, d)
		if err != nil {
			t.Fatal(err)
		}
		leaves := 0
		for i := range m.Trees {
			flats := m.compile().trees[i]
			c := count(flats, d, d.everyone(), true)
			for n := range flats {
				if flats[n].feature >= 0 {
					continue
				}
				leaves++
				people, events, others := map[int32]bool{}, map[int32]bool{}, map[int32]bool{}
				for r := range d.Rows() {
					if leaf(flats, d.bins(r)) == n {
						people[d.who[r]] = true
						if d.y[r] > 0.5 {
							events[d.who[r]] = true
						} else {
							others[d.who[r]] = true
						}
					}
				}
				if len(people) != c.people[n] || len(events) != c.events[n] || len(others) != c.others[n] {
					t.Errorf("%s: counted wrong", k)
				}
				if len(people) < form.Trainer.MinLeaf || min(len(events), len(others)) < form.Trainer.MinClass {
					t.Errorf("%s: a leaf of %d people, %d and %d of a class", k, len(people), len(events), len(others))
				}
			}
		}
		if leaves < 2*len(m.Trees) {
			t.Errorf("%s: only %d leaves", k, leaves)
		}
	}
}

// TestDeterministic: the same rows give the same bytes; another seed of a forest gives others.
func TestDeterministic(t *testing.T) {
	for _, k := range Kinds() {
		w := newWorld(9, labelOf(k), 0)
		d := w.data(t, 0, 500, 1)
		var out [3]string
		for i := range out {
			form := w.form(k)
			if i == 2 && k == Forest {
				form.Trainer.Seed++
			}
			m, err := Fit(form, d)
			if err != nil {
				t.Fatal(err)
			}
			m.Trainer = Trainer{}
			b, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			out[i] = string(b)
		}
		if out[0] != out[1] || (out[0] == out[2]) == (k == Forest) {
			t.Errorf("%s: not the same bytes", k)
		}
	}
}

func TestStatistics(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 { // AUC by its definition
		var all []scored
		for range 40 {
			all = append(all, scored{float64(r.IntN(8)), r.IntN(3) == 0})
		}
		won, pairs := 0.0, 0.0
		for _, a := range all {
			for _, b := range all {
				if a.member && !b.member {
					pairs++
					if a.score > b.score {
						won++
					} else if a.score == b.score {
						won += 0.5
					}
				}
			}
		}
		if pairs > 0 && math.Abs(auc(all)-won/pairs) > 1e-12 {
			t.Errorf("AUC %.6f, want %.6f", auc(all), won/pairs)
		}
	}
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{0, 10, 0, 0.3085}, {1, 10, 0.0025, 0.4450}, {5, 10, 0.1871, 0.8129}, {10, 10, 0.6915, 1}, {30, 1000, 0.0203, 0.0426}} {
		if low, high := clopperPearson(c.k, c.n, 0.025); math.Abs(low-c.low) > 1e-4 || math.Abs(high-c.high) > 1e-4 {
			t.Errorf("%d of %d: %.4f to %.4f", c.k, c.n, low, high)
		}
	}
	for _, c := range []struct {
		k    int
		p, q float64
	}{{1, 0.95, 3.841}, {5, 0.999, 20.515}, {10, 0.99, 23.209}} {
		if q := chiSquare(c.k, c.p); math.Abs(q-c.q) > 1e-3 {
			t.Errorf("χ² of %d at %.3f: %.3f", c.k, c.p, q)
		}
	}
	// Of two samples of one law p is even: a twentieth of them are under 0.05.
	under := 0
	for range 2000 {
		a, b := make([]float64, 80), make([]float64, 120)
		for i := range a {
			a[i] = r.Float64()
		}
		for i := range b {
			b[i] = r.Float64()
		}
		if _, p := kolmogorov(a, b); p < 0.05 {
			under++
		}
	}
	if under < 60 || under > 140 {
		t.Errorf("p under 0.05 in %d of 2000", under)
	}
	if d, _ := kolmogorov([]float64{1, 2, 3, 4}, []float64{3, 4, 5, 6}); d != 0.5 {
		t.Errorf("distance %.3f", d)
	}
	all := []scored{{9, true}, {8, true}, {7, false}, {6, true}, {6, false}, {5, true}}
	for others, want := range []int{2, 2, 4} {
		if tp, fp := truePositives(slices.Clone(all), others); tp != want || fp > others {
			t.Errorf("%d others may pass: %d, %d", others, tp, fp)
		}
	}
	if l := aucLimit(1000, 1000); math.Abs(l-0.5387) > 1e-4 { // 0.5 + 3·√((0.25+1998/12)/10^6)
		t.Errorf("limit %.4f", l)
	}
}

// TestBuilder: rows that miss a value are counted, what is faulty is named by its column.
func TestBuilder(t *testing.T) {
	w := newWorld(1, Binary, 0)
	b, err := NewBuilder(w.schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		values      []string
		label, says string
	}{
		{[]string{"30", "east", "2"}, "yes", ""},
		{[]string{"", "east", "2"}, "yes", ""},
		{[]string{"30", "?", "2"}, "no", ""},
		{[]string{"30", "mars-110101", "2"}, "no", "area"},
		{[]string{"NaN", "east", "2"}, "no", "age"},
		{[]string{"30", "east", "Inf"}, "no", "visits"},
		{[]string{"30", "east", "2"}, "maybe", "claimed"},
		{[]string{"30", "east"}, "no", "row"},
	} {
		err := b.Add("p", c.values, c.label)
		if (err == nil) != (c.says == "") || err != nil && err.Error() != fmt.Sprintf("model %s: invalid: %s", c.says, map[string]string{"area": "a level that is registered",
			"age": "a number", "visits": "a number", "claimed": "a label of the registered form", "row": "a value for every feature"}[c.says]) {
			t.Errorf("%v: %v", c.says, err)
		}
	}
	if d := b.Build(); d.Rows() != 1 || d.Missing() != 2 || d.Subjects() != 1 {
		t.Errorf("%d rows, %d missing", d.Rows(), d.Missing())
	}
}
