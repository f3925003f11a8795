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

	"github.com/opdomain/opdomain/mpc/he/internal/average"
	"github.com/opdomain/opdomain/sandbox"
)

// pair is a gate and a partner with a joint key, each with an engine of its own.
func pair(t testing.TB, session [32]byte) (gate, partner *Joint) {
	t.Helper()
	ctx := context.Background()
	gate, g, err := NewJoint(ctx, NewLocal(rand.Reader), session, true)
	if err != nil {
		t.Fatal(err)
	}
	partner, p, err := NewJoint(ctx, NewLocal(rand.Reader), session, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Agree(ctx, p, partner.Reveal()); err != nil {
		t.Fatal(err)
	}
	if err := partner.Agree(ctx, g, gate.Reveal()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gate.Close)
	t.Cleanup(partner.Close)
	return gate, partner
}

// TestJoint runs a partner's secret model over averages of groups and holds each score to plain arithmetic.
func TestJoint(t *testing.T) {
	ctx := context.Background()
	r := mrand.New(mrand.NewPCG(3, 8))
	gate, partner := pair(t, [32]byte{1})
	for i := range 12 {
		d := 1 + r.IntN(40)
		m, x, z := &Model{Link: LinearLink, Bias: r.Float64() - 0.5}, make([]float64, d), 0.0
		z = m.Bias
		for f := range d {
			m.Ranges = append(m.Ranges, float64(f+1))
			m.Weights = append(m.Weights, (r.Float64()*2-1)*7/float64(d)/m.Ranges[f])
			x[f] = (r.Float64()*2 - 1) * m.Ranges[f]
			z += m.Weights[f] * x[f]
		}
		ct, err := gate.Encrypt(ctx, m.Ranges, average.New(x))
		if err != nil {
			t.Fatal(err)
		}
		score, share, err := partner.Apply(ctx, m, ct)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(score[len(score)/2:], ct[len(ct)/2:]) {
			t.Error("a score shares a half with the features: not rerandomised")
		}
		got, err := gate.Open(ctx, score, share)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got.Values[0]-z) > got.Bound {
			t.Errorf("group %d, %d features: an error of %.3g, the bound is %.3g", i, d, math.Abs(got.Values[0]-z), got.Bound)
		}
	}
}

// TestJointAlone: neither side reads without the other's share, and what the gate's opening holds beside the score is uniform.
func TestJointAlone(t *testing.T) {
	ctx := context.Background()
	gate, partner := pair(t, [32]byte{2})
	m := &Model{Link: LinearLink, Weights: []float64{5, 0}, Ranges: []float64{1, 1}}
	ct, err := gate.Encrypt(ctx, m.Ranges, average.New([]float64{0.5, 1}))
	if err != nil {
		t.Fatal(err)
	}
	score, share, err := partner.Apply(ctx, m, ct)
	if err != nil {
		t.Fatal(err)
	}
	near := func(out [][]byte, err error) bool {
		if err != nil {
			return false
		}
		v, err := readFloats(out[0], 1, math.Inf(1))
		return err == nil && math.Abs(v[0]*Span-2.5) < 0.01
	}
	if near(gate.e.Do(ctx, OpOpenOne, gate.key, score, make([]byte, len(share)))) {
		t.Error("the gate reads without the partner's share")
	}
	if _, err := partner.e.Do(ctx, OpOpenOne, partner.key, score, share); !errors.Is(err, sandbox.Denied) {
		t.Errorf("the partner opens: %v", err)
	}
	// The whole opened polynomial, as the gate's process could look at it.
	p, _ := paramsOf(oneSet)
	k, err := key[*keyPart](gate.e.(*Local), gate.key)
	if err != nil {
		t.Fatal(err)
	}
	polys := lattices(p)
	one := p.rlwe.RingQ().NewPoly()
	if readPolys("score", score, p.Q, polys...) != nil || readPolys("share", share, p.Q, one) != nil {
		t.Fatal("not in the codec")
	}
	rq := p.rlwe.RingQ()
	rq.MulCoeffsMontgomeryThenAdd(polys[1], k.secret.Value.Q, polys[0])
	rq.Add(polys[0], one, polys[0])
	rq.INTT(polys[0], polys[0])
	values := make([]*big.Int, p.n())
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
	got, err := gate.Open(ctx, score, share)
	if err != nil || math.Abs(got.Values[0]-2.5) > got.Bound {
		t.Errorf("opened: %v", err)
	}
}

// TestJointRefuses holds each step to its order, both to their commitments, and the gate to one score a group.
func TestJointRefuses(t *testing.T) {
	ctx := context.Background()
	m := &Model{Link: LinearLink, Weights: []float64{1}, Ranges: []float64{1}}
	gate, partner := pair(t, [32]byte{3})
	ct, err := gate.Encrypt(ctx, m.Ranges, average.New([]float64{0.5}))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := gate.Apply(ctx, m, ct); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the gate applies a model: %v", err)
	}
	if _, err := partner.Open(ctx, ct, ct); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the partner opens: %v", err)
	}
	var refused *Refused
	if _, _, err := partner.Apply(ctx, &Model{Link: LogisticLink, Weights: []float64{1}, Ranges: []float64{1}}, ct); !errors.As(err, &refused) {
		t.Errorf("a link over averages: %v", err)
	}
	if _, _, err := partner.Apply(ctx, &Model{Link: LinearLink, Weights: []float64{9}, Ranges: []float64{1}}, ct); !errors.As(err, &refused) {
		t.Errorf("a model beyond its span: %v", err)
	}
	score, share, err := partner.Apply(ctx, m, ct)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := partner.e.Do(ctx, OpPartial, partner.key, []byte{100}, []byte{1}, []byte{1}, score); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a second share for a ciphertext: %v", err)
	}
	if _, err := gate.Open(ctx, score, share); err != nil {
		t.Fatal(err)
	}
	if _, err := gate.Open(ctx, score, share); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a second score of a group: %v", err)
	}
	if _, err := gate.Encrypt(ctx, m.Ranges, average.New([]float64{0.5})); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a step after a failure: %v", err)
	}

	// A ciphertext or share that is not one, and one that opens to what no model gives: the key ends.
	gate, partner = pair(t, [32]byte{4})
	if ct, err = gate.Encrypt(ctx, m.Ranges, average.New([]float64{0.5})); err != nil {
		t.Fatal(err)
	}
	if _, _, err := partner.Apply(ctx, m, ct[1:]); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a ciphertext one byte short: %v", err)
	}
	if _, _, err := partner.Apply(ctx, m, ct); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("after it: %v", err)
	}
	if _, err := gate.Open(ctx, ct, make([]byte, len(ct)/2)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a share of zeros: %v", err)
	}

	// Keys: another share than the one committed to, and one of another session.
	a, _, err := NewJoint(ctx, NewLocal(rand.Reader), [32]byte{5}, true)
	if err != nil {
		t.Fatal(err)
	}
	b, commitment, err := NewJoint(ctx, NewLocal(rand.Reader), [32]byte{6}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Agree(ctx, commitment, b.Reveal()); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a share of another session: %v", err)
	}
	if _, err := a.Encrypt(ctx, m.Ranges, average.New([]float64{0.5})); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("after it: %v", err)
	}
}
