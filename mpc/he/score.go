package he

import (
	"context"
	"fmt"
	"math"

	"github.com/opdomain/opdomain/sandbox"
)

// Span is half the interval on which the polynomial stands for the sigmoid.
const Span = 8

// MaxFeatures bounds a model.
const MaxFeatures = 256

// Link (联结函数) turns a linear score into the result.
type Link string

// The links.
const (
	LinearLink   Link = "linear"   // 评分卡: the linear score itself
	LogisticLink Link = "logistic" // 逻辑回归: 1/(1+e^-z), as a polynomial of degree 15
)

// Model (评分模型) is an approved scorecard or generalised linear model of the domain: z = Bias + Σ Weights·x. Ranges are public and bound each
// feature's size: an asker encrypts x/Range, so that no accepted model leaves [-8, 8], where the polynomial holds. Weights stay with the
// domain; who may ask a model n+1 questions learns it, whatever the engine, so the number of customers is the grant's to bound.
type Model struct {
	Weights []float64
	Bias    float64
	Ranges  []float64
	Link    Link
}

// Check refuses a model that encrypted scoring cannot run, before anything is encrypted. Codes: he.model, he.range.
func (m *Model) Check() []sandbox.Reason {
	refuse := func(code, rule, change string) []sandbox.Reason {
		return []sandbox.Reason{{Code: code, Rule: rule, Change: change}}
	}
	if len(m.Weights) == 0 || len(m.Weights) > MaxFeatures || len(m.Ranges) != len(m.Weights) || m.Link != LinearLink && m.Link != LogisticLink {
		return refuse("he.model", fmt.Sprintf("a model has 1 to %d features, a range for each, and a linear or logistic link", MaxFeatures), "correct it; trees and networks go to the mpc engine")
	}
	z := math.Abs(m.Bias)
	for i, w := range m.Weights {
		if !(m.Ranges[i] > 0) || math.IsInf(m.Ranges[i], 0) {
			return refuse("he.range", fmt.Sprintf("feature %d has a finite range above zero", i+1), "state how large it may be")
		}
		z += math.Abs(w) * m.Ranges[i]
	}
	if !(z <= Span) {
		return refuse("he.range", fmt.Sprintf("the score stays within ±%d for every feature within its range", Span), "narrower ranges or smaller weights: clip features before they are encrypted")
	}
	return nil
}

// Bound is the largest error of a score against the plain model: the polynomial's, the flooding's, and rounding. It is stated on
// every result. Rounded weights and the
// circuit's own noise have 2^-14 of it: 256 weights move z/8 by at most 2^-18, which the sigmoid's slope makes 2^-17.
func (l Link) Bound() float64 {
	const noise, rounding, own = 1.0 / (1 << 12), 0.5 / (1 << outputBits), 1.0 / (1 << 14)
	if l == LinearLink { // eight times what is encrypted; the flooding is as much narrower
		return noise + Span*(rounding+own)
	}
	return sigmoidError() + noise + rounding + own
}

// sigmoidError bounds |p(x) − sigmoid(8x)| over [-1, 1]: the largest value on a grid, and what lies between two of its points at most:
// half a step times a bound of both slopes (the sigmoid's is 2; the polynomial's is below Σ k²·|c_k|, Markov).
func sigmoidError() float64 {
	const steps = 1 << 16
	most, slope := 0.0, 2.0
	for i := 0; i <= steps; i++ {
		x := 2*float64(i)/steps - 1
		most = max(most, math.Abs(sigmoidAt(x)-1/(1+math.Exp(-Span*x))))
	}
	for k, c := range sigmoid().Coeffs {
		v, _ := c[0].Float64()
		slope += float64(k*k) * math.Abs(v)
	}
	return most + slope/steps
}

// scaled gives the model for features within [-1, 1] and a result divided by Span: bias, then weights.
func (m *Model) scaled() []float64 {
	out := []float64{m.Bias / Span}
	for i, w := range m.Weights {
		out = append(out, w*m.Ranges[i]/Span)
	}
	return out
}

// Asker (评分请求方) keeps its own key in its own engine: an insurer or a bank that has its own customers scored without showing them. Under
// such a key go only results over the asker's own inputs; what is computed from subjects of the domain goes under a collective key.
type Asker struct {
	e      Engine
	handle []byte
	Keys   Keys
}

// Keys (公开评估密钥) is what the asker sends along: a public key to rerandomise with and a relinearisation key, in this package's codec.
type Keys struct {
	Public, Relinearisation []byte
	One                     []byte // public key of ScoreOne
}

// Scores (评分结果) are what the asker decrypted, with the bound of their error.
type Scores struct {
	Values []float64
	Bound  float64
}

// String keeps scores out of logs.
func (s Scores) String() string { return fmt.Sprintf("scores(%d, redacted)", len(s.Values)) }

// NewAsker draws a key.
func NewAsker(ctx context.Context, e Engine) (*Asker, error) {
	out, err := e.Do(ctx, OpNewClient, []byte(ScoringSet))
	if err != nil {
		return nil, err
	}
	return &Asker{e: e, handle: out[0], Keys: Keys{out[1], out[2], out[3]}}, nil
}

// Encrypt encrypts customers' features, column by column, up to 8,192 customers: columns[f][c] is feature f of customer c, within ±Ranges[f].
func (a *Asker) Encrypt(ctx context.Context, ranges []float64, columns [][]float64) ([][]byte, error) {
	if len(columns) == 0 || len(columns) != len(ranges) || len(columns) > MaxFeatures {
		return nil, fail(sandbox.Invalid, "features", "are a column for each range of the model")
	}
	var out [][]byte
	for f, col := range columns {
		if len(col) != len(columns[0]) {
			return nil, fail(sandbox.Invalid, "features", "are of the same customers")
		}
		unit := make([]float64, len(col))
		for i, x := range col {
			unit[i] = x / ranges[f]
		}
		b := appendFloats(nil, unit)
		ct, err := a.e.Do(ctx, OpEncryptOwn, a.handle, b)
		clear(unit)
		clear(b)
		if err != nil {
			return nil, err
		}
		out = append(out, ct[0])
	}
	return out, nil
}

// Decrypt reads the scores of so many customers.
func (a *Asker) Decrypt(ctx context.Context, link Link, score []byte, customers int) (Scores, error) {
	out, err := a.e.Do(ctx, OpDecryptOwn, a.handle, score)
	if err != nil {
		return Scores{}, err
	}
	v, err := readFloats(out[0], len(out[0])/word, math.Inf(1))
	if err != nil || customers < 1 || customers > len(v) {
		return Scores{}, fail(sandbox.Invalid, "scores", "are of 1 to 8,192 customers")
	}
	if v = v[:customers]; link == LinearLink {
		for i := range v {
			v[i] *= Span
		}
	}
	return Scores{v, link.Bound()}, nil
}

// EncryptOne encrypts one customer's features in one ciphertext, for ScoreOne.
func (a *Asker) EncryptOne(ctx context.Context, ranges, features []float64) ([]byte, error) {
	if len(features) == 0 || len(features) != len(ranges) || len(features) > MaxFeatures {
		return nil, fail(sandbox.Invalid, "features", "are one for each range of the model")
	}
	unit := make([]float64, len(features))
	for i, x := range features {
		unit[i] = x / ranges[i]
	}
	b := appendFloats(nil, unit)
	defer clear(unit)
	defer clear(b)
	out, err := a.e.Do(ctx, OpEncryptOne, a.handle, b)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// DecryptOne reads one customer's score. A logistic link is applied here, exactly: the linear score and its sigmoid say the same, and
// a ciphertext one multiplication deep is small, fast and hides its making to some 80 bits.
func (a *Asker) DecryptOne(ctx context.Context, link Link, score []byte) (Scores, error) {
	out, err := a.e.Do(ctx, OpDecryptOne, a.handle, score)
	if err != nil {
		return Scores{}, err
	}
	v, err := readFloats(out[0], 1, math.Inf(1))
	if err != nil {
		return Scores{}, err
	}
	if v[0] *= Span; link == LogisticLink {
		v[0] = 1 / (1 + math.Exp(-v[0]))
	}
	return Scores{v, oneBound}, nil
}

// ScoreOne runs the domain's model on one customer's ciphertext: the linear score, and nothing beside it, stands in what it gives.
func ScoreOne(ctx context.Context, e Engine, m *Model, k Keys, features []byte) ([]byte, error) {
	if why := m.Check(); len(why) > 0 {
		return nil, &Refused{why}
	}
	out, err := e.Do(ctx, OpScoreOne, []byte(oneSet), k.One, appendFloats(nil, m.scaled()), features)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Close erases the key.
func (a *Asker) Close() { _, _ = a.e.Do(context.Background(), OpErase, a.handle) }

// Score runs the domain's model on an asker's ciphertexts, in the domain's engine. The answer is rerandomised and flooded: it tells the
// asker its scores, to their precision, and of how they were computed what that leaves. *Refused for a model outside its budget.
func Score(ctx context.Context, e Engine, m *Model, k Keys, features [][]byte) ([]byte, error) {
	if why := m.Check(); len(why) > 0 {
		return nil, &Refused{why}
	}
	if len(features) != len(m.Weights) {
		return nil, fail(sandbox.Invalid, "features", "are those of the model")
	}
	link := byte(0)
	if m.Link == LogisticLink {
		link = 1
	}
	out, err := e.Do(ctx, OpScore, append([][]byte{[]byte(ScoringSet), k.Public, k.Relinearisation, {link}, appendFloats(nil, m.scaled())}, features...)...)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}
