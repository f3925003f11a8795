package he

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"math"
	"math/big"
	mrand "math/rand/v2"
	"testing"

	lattice "github.com/tuneinsight/lattigo/v5/ring"

	"github.com/opdomain/opdomain/sandbox"
)

// TestScore scores customers under the asker's key and holds each to the plain model within the stated bound.
func TestScore(t *testing.T) {
	ctx := context.Background()
	seed := mrand.Uint64()
	t.Logf("seed %d", seed)
	r := mrand.New(mrand.NewPCG(seed, 4))
	a, err := NewAsker(ctx, NewLocal(rand.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	const d, n = 6, 8192
	for _, link := range []Link{LogisticLink, LinearLink} {
		m := Model{Bias: -0.5, Link: link}
		columns := make([][]float64, d)
		for f := range d {
			m.Ranges = append(m.Ranges, float64(10*f+1))
			m.Weights = append(m.Weights, (r.Float64()*2-1)*7.5/d/m.Ranges[f])
			columns[f] = make([]float64, n)
			for i := range columns[f] {
				columns[f][i] = (r.Float64()*2 - 1) * m.Ranges[f]
			}
		}
		z := make([]float64, n)
		for i := range z {
			z[i] = m.Bias
			for f := range d {
				if i < 2 { // the ends of what the model can give
					columns[f][i] = math.Copysign(m.Ranges[f], m.Weights[f]*float64(1-2*i))
				}
				z[i] += m.Weights[f] * columns[f][i]
			}
		}
		cts, err := a.Encrypt(ctx, m.Ranges, columns)
		if err != nil {
			t.Fatal(err)
		}
		domain := NewLocal(rand.Reader)
		ct, err := Score(ctx, domain, &m, a.Keys, cts)
		if err != nil {
			t.Fatal(err)
		}
		if l := ScoringLengths(); len(a.Keys.Public) != l.Public || len(a.Keys.Relinearisation) != l.Relinearisation || len(cts[0]) != l.Feature || len(ct) != l.Score {
			t.Errorf("%+v are not the lengths of a batch", l)
		}
		got, err := a.Decrypt(ctx, link, ct, n)
		if err != nil {
			t.Fatal(err)
		}
		if got.Bound > 2e-3 {
			t.Errorf("%s: the bound is %.2g", link, got.Bound)
		}
		worst, polynomial := 0.0, 0.0
		for i, x := range got.Values {
			want, near := z[i], z[i]
			if link == LogisticLink {
				want, near = 1/(1+math.Exp(-z[i])), sigmoidAt(z[i]/Span)
			}
			worst, polynomial = max(worst, math.Abs(x-want)), max(polynomial, math.Abs(x-near))
		}
		if worst > got.Bound {
			t.Errorf("%s: an error of %.3g, the bound is %.3g", link, worst, got.Bound)
		}
		// Without the polynomial's own error, what is left is flooding and rounding.
		if most := link.Bound() - map[Link]float64{LogisticLink: sigmoidError()}[link]; polynomial > most {
			t.Errorf("%s: an error of %.3g against the polynomial, at most %.3g", link, polynomial, most)
		}
		t.Logf("%s: worst error %.3g of a bound of %.3g; against what is evaluated %.3g", link, worst, got.Bound, polynomial)
		again, err := Score(ctx, domain, &m, a.Keys, cts)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(again, ct) || bytes.Equal(again[len(again)/2:], ct[len(ct)/2:]) {
			t.Errorf("%s: two answers to one question share a half: not rerandomised", link)
		}
		other, err := NewAsker(ctx, NewLocal(rand.Reader))
		if err != nil {
			t.Fatal(err)
		}
		if wrong, err := other.Decrypt(ctx, link, ct, n); err == nil && math.Abs(wrong.Values[0]-got.Values[0]) < 0.01 && math.Abs(wrong.Values[1]-got.Values[1]) < 0.01 {
			t.Errorf("%s: another asker reads it", link)
		}
	}
}

// TestScoreOne scores single customers, and holds what stands beside the score to being uniform.
func TestScoreOne(t *testing.T) {
	ctx := context.Background()
	seed := mrand.Uint64()
	t.Logf("seed %d", seed)
	r := mrand.New(mrand.NewPCG(seed, 5))
	e := NewLocal(rand.Reader)
	a, err := NewAsker(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for i := range 60 {
		d := 1 + r.IntN(MaxFeatures)
		m, x, z := Model{Link: []Link{LinearLink, LogisticLink}[i%2], Bias: r.Float64()*2 - 1}, make([]float64, d), 0.0
		z += m.Bias
		for f := range d {
			m.Ranges = append(m.Ranges, float64(f+1))
			m.Weights = append(m.Weights, (r.Float64()*2-1)*7/float64(d)/m.Ranges[f])
			if x[f] = (r.Float64()*2 - 1) * m.Ranges[f]; i < 4 { // the ends
				x[f] = math.Copysign(m.Ranges[f], m.Weights[f]*float64(1-2*(i/2)))
			}
			z += m.Weights[f] * x[f]
		}
		ct, err := a.EncryptOne(ctx, m.Ranges, x)
		if err != nil {
			t.Fatal(err)
		}
		out, err := ScoreOne(ctx, NewLocal(rand.Reader), &m, a.Keys, ct)
		if err != nil {
			t.Fatal(err)
		}
		if l := ScoringLengths(); len(a.Keys.One) != l.OnePublic || len(ct) != l.One || len(out) != l.OneScore {
			t.Fatalf("%+v are not the lengths of single customers", l)
		}
		got, err := a.DecryptOne(ctx, m.Link, out)
		if err != nil {
			t.Fatal(err)
		}
		if m.Link == LogisticLink {
			z = 1 / (1 + math.Exp(-z))
		}
		if math.Abs(got.Values[0]-z) > got.Bound || got.Bound > 2e-3 {
			t.Errorf("call %d, %d features: an error of %.3g, the bound is %.3g", i, d, math.Abs(got.Values[0]-z), got.Bound)
		}
	}
	// Zero weights but one: without the cover every coefficient would be a feature times it.
	m := Model{Weights: []float64{1, 0}, Ranges: []float64{1, 1}, Link: LinearLink}
	ct, err := a.EncryptOne(ctx, m.Ranges, []float64{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	out, err := ScoreOne(ctx, e, &m, a.Keys, ct)
	if err != nil {
		t.Fatal(err)
	}
	c, err := key[*client](e, a.handle)
	if err != nil {
		t.Fatal(err)
	}
	p := c.one.p
	polys := lattices(p)
	if err := readPolys("score", out, p.Q, polys...); err != nil {
		t.Fatal(err)
	}
	rq := p.rlwe.RingQ()
	rq.MulCoeffsMontgomery(polys[1], c.one.secret.Value.Q, polys[1])
	rq.Add(polys[0], polys[1], polys[0])
	rq.INTT(polys[0], polys[0])
	values := make([]*big.Int, p.n()) // whole numbers modulo Q: the flooding alone already looks uniform modulo each prime
	for i := range values {
		values[i] = new(big.Int)
	}
	rq.PolyToBigintCentered(polys[0], 1, values)
	bins, half := make([]float64, 64), new(big.Int).Rsh(rq.Modulus(), 1)
	for _, v := range values[1:] {
		v.Add(v, half).Lsh(v, 6).Div(v, rq.Modulus())
		bins[min(max(v.Int64(), 0), 63)]++
	}
	chi, want := 0.0, float64(p.n()-1)/64
	for _, n := range bins {
		chi += (n - want) * (n - want) / want
	}
	if chi > 175 {
		t.Errorf("chi-square %.0f over 63 degrees of freedom: what stands beside the score is not uniform", chi)
	}
	if _, err := ScoreOne(ctx, e, &m, a.Keys, ct[1:]); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a ciphertext one byte short: %v", err)
	}
	if _, err := e.Do(ctx, OpScoreOne, []byte(oneSet), a.Keys.One, appendFloats(nil, []float64{0.5, 0.75}), ct); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a model beyond its span: %v", err)
	}
}

// TestModelRefusals holds the linter of models to its refusals, and the codec of keys to exact lengths.
func TestModelRefusals(t *testing.T) {
	ctx := context.Background()
	for _, x := range []struct {
		code string
		m    Model
	}{
		{"", Model{Weights: []float64{1, -2}, Ranges: []float64{3, 2}, Bias: 1, Link: LogisticLink}},
		{"he.model", Model{Link: LinearLink}},
		{"he.model", Model{Weights: []float64{1}, Ranges: []float64{1}, Link: "tree"}},
		{"he.model", Model{Weights: []float64{1}, Link: LinearLink}},
		{"he.range", Model{Weights: []float64{1}, Ranges: []float64{0}, Link: LinearLink}},
		{"he.range", Model{Weights: []float64{1}, Ranges: []float64{math.Inf(1)}, Link: LinearLink}},
		{"he.range", Model{Weights: []float64{math.NaN()}, Ranges: []float64{1}, Link: LinearLink}},
		{"he.range", Model{Weights: []float64{4, -4}, Ranges: []float64{1, 1.1}, Link: LogisticLink}},
		{"he.range", Model{Weights: []float64{1}, Ranges: []float64{1}, Bias: 7.5, Link: LogisticLink}},
	} {
		why := x.m.Check()
		if x.code == "" && len(why) > 0 || x.code != "" && (len(why) != 1 || why[0].Code != x.code || why[0].Change == "") {
			t.Errorf("%q: %v", x.code, why)
		}
	}
	e := NewLocal(rand.Reader)
	a, err := NewAsker(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Encrypt(ctx, []float64{1}, [][]float64{{1.5}}); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("a feature outside its range: %v", err)
	}
	cts, err := a.Encrypt(ctx, []float64{1}, [][]float64{{0.5}})
	if err != nil {
		t.Fatal(err)
	}
	m := &Model{Weights: []float64{2}, Ranges: []float64{1}, Link: LogisticLink}
	r := mrand.New(mrand.NewPCG(9, 9))
	for i := range 300 { // keys and ciphertexts, changed, cut, lengthened: an error of the codec, or an answer that says nothing
		k, ct := a.Keys, cts[0]
		which := []*[]byte{&k.Public, &k.Relinearisation, &ct}[i%3]
		sent, at, undo := mutate(r, *which)
		valid := len(sent) == len(*which)
		*which = sent
		if valid && i%3 == 2 { // whole and in range: the call would be run
			p, _ := paramsOf(ScoringSet)
			_, err = weighted(p, []float64{1}, [][]byte{sent})
			half := len(sent) - seedSize
			if (err == nil) != (at >= half || fits(p, sent[:half], 1, at)) {
				t.Errorf("mutation %d: %v", i, err)
			}
		} else if !valid {
			if _, err := Score(ctx, e, m, k, [][]byte{ct}); !errors.Is(err, sandbox.Invalid) {
				t.Errorf("mutation %d: %v", i, err)
			}
		}
		undo()
	}
	bad := append([]byte{}, a.Keys.Relinearisation...)
	for i := range 8 {
		bad[len(bad)-1-i] = 255
	}
	if _, err := Score(ctx, e, m, Keys{Public: a.Keys.Public, Relinearisation: bad}, cts); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a key with a coefficient above its modulus: %v", err)
	}
}

func lattices(p *params) []lattice.Poly {
	r := p.rlwe.RingQ()
	return []lattice.Poly{r.NewPoly(), r.NewPoly()}
}
