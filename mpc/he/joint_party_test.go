package he

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"math"
	mrand "math/rand/v2"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he/internal/average"
	"github.com/opdomain/opdomain/sandbox"
)

// jointKeys are one member's.
func jointKeys(t testing.TB, id sandbox.PartyID) (*sm.SigningKey, Member) {
	t.Helper()
	sign, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	open, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sign, Member{ID: id, Verify: sign.Public(), Seal: open.Public()}
}

// jointRun is a gate and a partner over one plan, each with an engine of its own.
type jointRun struct {
	testing.TB
	plan    *JointPlan
	gate    *JointGate
	partner *JointPartner
	signs   [2]*sm.SigningKey // partner's, gate's
}

func newJointRun(t testing.TB, run byte, groups int, ranges ...float64) *jointRun {
	t.Helper()
	o := &jointRun{TB: t, plan: &JointPlan{Run: [32]byte{run}, Ranges: ranges, Groups: groups, Commitment: [32]byte{9}}}
	o.signs[0], o.plan.Partner = jointKeys(t, "partner")
	o.signs[1], o.plan.Gate = jointKeys(t, "d-gate")
	o.begin()
	return o
}

func (o *jointRun) begin() {
	o.Helper()
	var err error
	if o.gate, err = NewJointGate(context.Background(), JointConfig{o.plan, NewLocal(rand.Reader), o.signs[1], rand.Reader}); err != nil {
		o.Fatal(err)
	}
	if o.partner, err = NewJointPartner(context.Background(), JointConfig{o.plan, NewLocal(rand.Reader), o.signs[0], rand.Reader}); err != nil {
		o.Fatal(err)
	}
	o.Cleanup(o.gate.Close)
	o.Cleanup(o.partner.Close)
}

// encoded sends a message as a carrier does.
func (o *jointRun) encoded(m *Message, gate bool) *Message {
	o.Helper()
	b := AppendMessage(nil, m)
	if len(b) > o.plan.Room(m.Kind) {
		o.Fatalf("%s has %d bytes, room is %d", m.Kind, len(b), o.plan.Room(m.Kind))
	}
	m, err := ParseMessage(b)
	if err == nil {
		err = o.plan.CheckMessage(m, m.Kind, gate)
	}
	if err != nil {
		o.Fatal(err)
	}
	return m
}

// revealed takes both to their shares of the public key.
func (o *jointRun) revealed() (gate, partner *Message) {
	o.Helper()
	gate, err := o.gate.Reveal(o.encoded(o.partner.Commitment(), false))
	if err == nil {
		partner, err = o.partner.Reveal(o.encoded(o.gate.Commitment(), true))
	}
	if err != nil {
		o.Fatal(err)
	}
	return o.encoded(gate, true), o.encoded(partner, false)
}

func (o *jointRun) applied(m *Model, groups []Averages) (*Message, int) {
	o.Helper()
	gate, partner := o.revealed()
	averages, clipped, err := o.gate.Encrypt(context.Background(), partner, groups)
	if err != nil {
		o.Fatal(err)
	}
	scores, err := o.partner.Apply(context.Background(), gate, o.encoded(averages, true), m)
	if err != nil {
		o.Fatal(err)
	}
	return o.encoded(scores, false), clipped
}

var jointModel = &Model{Link: LinearLink, Bias: 0.25, Weights: []float64{2, -0.01}, Ranges: []float64{1, 100}}

func plainScore(m *Model, x []float64) float64 {
	z := m.Bias
	for f, w := range m.Weights {
		z += w * min(max(x[f], -m.Ranges[f]), m.Ranges[f])
	}
	return z
}

// TestJointRun: scores are the plain model's, an average beyond its range counts as the range's end, and groups are padded: each ciphertext is
// another, and the gate reads one score for each group.
func TestJointRun(t *testing.T) {
	r := mrand.New(mrand.NewPCG(7, 3))
	o := newJointRun(t, 1, 8, jointModel.Ranges...)
	var plain [][]float64
	var groups []Averages
	for range 3 {
		plain = append(plain, []float64{r.Float64()*2 - 1, r.Float64()*200 - 100})
	}
	plain[1][0], plain[2][1] = 1.75, -1e9
	for _, x := range plain {
		groups = append(groups, average.New(x))
	}
	scores, clipped := o.applied(jointModel, groups)
	if clipped != 2 {
		t.Errorf("%d averages were clipped", clipped)
	}
	var shown [sm.Size]byte
	got, bound, err := o.gate.Open(context.Background(), scores, func(d [sm.Size]byte) error { shown = d; return nil })
	if err != nil || len(got) != 3 || shown != scores.Digest() {
		t.Fatalf("%d scores, %v", len(got), err)
	}
	for i, x := range plain {
		if math.Abs(got[i]-plainScore(jointModel, x)) > bound {
			t.Errorf("group %d is beyond its bound", i)
		}
	}
	if _, _, err := o.gate.Open(context.Background(), scores, nil); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := o.partner.Apply(context.Background(), nil, nil, jointModel); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("applied twice: %v", err)
	}
}

func TestJointRunRefuses(t *testing.T) {
	ctx := context.Background()
	groups := []Averages{average.New([]float64{0.5, 10}), average.New([]float64{0.25, 20}), average.New([]float64{-0.5, 30}), average.New([]float64{0.125, -40})}
	other := newJointRun(t, 2, 4, jointModel.Ranges...)
	aborts := func(name string, err error, kind sandbox.Kind, member sandbox.PartyID, stage Kind) {
		t.Helper()
		var a *Abort
		if !errors.As(err, &a) || sandbox.KindOf(err) != kind || a.Member != member || a.Stage != stage {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What is not of this plan, or not by whose step it is, is refused and ends nothing.
	o := newJointRun(t, 3, 4, jointModel.Ranges...)
	own, theirs := o.partner.Commitment(), other.partner.Commitment()
	altered := *own
	altered.Parts = [][]byte{bytes.Repeat([]byte{1}, 32)}
	long := *own
	long.Parts = append(long.Parts, []byte{1})
	for name, x := range map[string]struct {
		m    *Message
		kind sandbox.Kind
	}{"nothing": {nil, sandbox.Invalid}, "another run's": {theirs, sandbox.Conflict}, "altered": {&altered, sandbox.Tampered}, "longer": {&long, sandbox.Tampered}, "its own": {o.gate.Commitment(), sandbox.Denied}} {
		if _, err := o.gate.Reveal(x.m); sandbox.KindOf(err) != x.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := o.gate.Encrypt(ctx, own, groups); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("out of turn: %v", err)
	}
	if _, _, err := o.gate.Open(ctx, own, nil); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("out of turn: %v", err)
	}

	// A key share that is not the one committed to, on either side.
	_, partner := o.revealed()
	_, otherPartner := other.revealed()
	mixed, err := sign(rand.Reader, o.signs[0], KeyShare, o.plan.Digest(), jointPartner, otherPartner.Parts[0])
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = o.gate.Encrypt(ctx, mixed, groups)
	aborts("a mixed key", err, sandbox.Tampered, "partner", KeyShare)
	if _, _, err := o.gate.Encrypt(ctx, partner, groups); err == nil {
		t.Error("a key goes on after an abort")
	}
	averages, _, err := other.gate.Encrypt(ctx, otherPartner, groups)
	if err != nil {
		t.Fatal(err)
	}
	if mixed, err = sign(rand.Reader, other.signs[1], KeyShare, other.plan.Digest(), jointGate, partner.Parts[0]); err != nil {
		t.Fatal(err)
	}
	_, err = other.partner.Apply(ctx, mixed, averages, jointModel)
	aborts("a gate's mixed key", err, sandbox.Tampered, "d-gate", KeyShare)

	// A model of another size ends nothing; ciphertexts that repeat do.
	other.begin()
	otherGate, otherPartner := other.revealed()
	if averages, _, err = other.gate.Encrypt(ctx, otherPartner, groups); err != nil {
		t.Fatal(err)
	}
	small := &Model{Link: LinearLink, Weights: []float64{1}, Ranges: []float64{1}}
	wide := &Model{Link: LinearLink, Weights: jointModel.Weights, Ranges: []float64{1, 101}}
	for _, m := range []*Model{nil, small, wide} {
		if _, err := other.partner.Apply(ctx, otherGate, averages, m); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("a model of another form: %v", err)
		}
	}
	twice, err := sign(rand.Reader, other.signs[1], Contribution, other.plan.Digest(), jointGate, averages.Parts[0], averages.Parts[1], averages.Parts[0], averages.Parts[3])
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.partner.Apply(ctx, otherGate, twice, jointModel)
	aborts("a ciphertext twice", err, sandbox.Conflict, "d-gate", Contribution)

	// Shares that are not those of the scores, scores of another size of model, of another key, and what is no ciphertext: nothing is read.
	for name, change := range map[string]func(parts [][]byte){
		"shares that changed places": func(p [][]byte) { p[1], p[3], p[5], p[7] = p[3], p[5], p[7], p[1] },
		"the averages themselves": func(p [][]byte) {
			for i := range averages.Parts {
				p[2*i] = averages.Parts[i]
			}
		},
		"a coefficient above its modulus": func(p [][]byte) { p[0] = bytes.Repeat([]byte{0xff}, len(p[0])) },
		"parts of other lengths":          func(p [][]byte) { p[0], p[1] = append(bytes.Clone(p[0]), 0), p[1][1:] },
		"zeros": func(p [][]byte) {
			for i := range p {
				p[i] = make([]byte, len(p[i]))
			}
		},
	} {
		o.begin()
		scores, _ := o.applied(jointModel, groups)
		parts := bytesClone(scores.Parts)
		change(parts)
		bad, err := sign(rand.Reader, o.signs[0], Share, o.plan.Digest(), jointPartner, parts...)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := o.gate.Open(ctx, bad, nil)
		var a *Abort
		if name == "zeros" { // is an encryption of zero, which is a score
			if err != nil || got[0] != 0 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.As(err, &a) || a.Member != "partner" || a.Stage != Share || a.Message != bad.Digest() || got != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := o.gate.Open(ctx, scores, nil); err == nil {
			t.Errorf("%s: the true message opens after it", name)
		}
	}

	// What is not on record is not read.
	o.begin()
	scores, _ := o.applied(jointModel, groups)
	if _, _, err := o.gate.Open(ctx, scores, func([sm.Size]byte) error { return fail(sandbox.Unavailable, "log", "takes it") }); sandbox.KindOf(err) != sandbox.Unavailable {
		t.Error(err)
	}
	if _, _, err := o.gate.Open(ctx, scores, nil); err == nil {
		t.Error("opened after it could not be put on record")
	}

	o.begin()
	aborts("silence", o.gate.Abort(KeyShare, "partner", "comes in time"), sandbox.Unavailable, "partner", KeyShare)
	if _, err := o.gate.Reveal(o.partner.Commitment()); err == nil {
		t.Error("a run goes on after its abort")
	}
	if _, err := NewJointGate(ctx, JointConfig{o.plan, NewLocal(rand.Reader), o.signs[0], rand.Reader}); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("a gate with the partner's key: %v", err)
	}
}

func bytesClone(parts [][]byte) (out [][]byte) {
	for _, p := range parts {
		out = append(out, bytes.Clone(p))
	}
	return out
}

// TestJointRunPadded: each ciphertext is opened, so that garbage in one that is padding ends the run like any other, by the same rule; a run without a
// group goes the same way and reads nothing.
func TestJointRunPadded(t *testing.T) {
	ctx := context.Background()
	o := newJointRun(t, 8, 4, jointModel.Ranges...)
	other := newJointRun(t, 9, 4, jointModel.Ranges...)
	strange, _ := other.applied(jointModel, []Averages{average.New([]float64{0.5, 10})})
	for _, groups := range [][]Averages{{average.New([]float64{0.5, 10})}, nil} {
		for i := range o.plan.Groups {
			for name, garbage := range map[string][]byte{"of another key": strange.Parts[2*i+1], "a coefficient above its modulus": bytes.Repeat([]byte{0xff}, len(strange.Parts[1]))} {
				o.begin()
				opens := &opening{Engine: o.gate.Engine}
				o.gate.joint.e = opens
				scores, _ := o.applied(jointModel, groups)
				parts := bytesClone(scores.Parts)
				parts[2*i+1] = garbage
				bad, err := sign(rand.Reader, o.signs[0], Share, o.plan.Digest(), jointPartner, parts...)
				if err != nil {
					t.Fatal(err)
				}
				got, _, err := o.gate.Open(ctx, bad, nil)
				var a *Abort
				if !errors.As(err, &a) || a.Member != "partner" || a.Stage != Share || a.Message != bad.Digest() || got != nil {
					t.Errorf("%d groups, part %d %s: %v", len(groups), i, name, err)
				}
				if opens.n != o.plan.Groups {
					t.Errorf("%d groups, part %d %s: %d were opened", len(groups), i, name, opens.n)
				}
			}
		}
		o.begin()
		scores, clipped := o.applied(jointModel, groups)
		if got, _, err := o.gate.Open(ctx, scores, nil); err != nil || len(got) != len(groups) || clipped != 0 {
			t.Errorf("%d groups: %d scores, %v", len(groups), len(got), err)
		}
	}
	o.begin()
	_, partner := o.revealed()
	if _, _, err := o.gate.Encrypt(ctx, partner, make([]Averages, 5)); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("more groups than the plan has: %v", err)
	}
}

// opening is an engine that counts what it opens.
type opening struct {
	Engine
	n int
}

func (e *opening) Do(ctx context.Context, op Op, args ...[]byte) ([][]byte, error) {
	if op == OpOpenOne {
		e.n++
	}
	return e.Engine.Do(ctx, op, args...)
}

// TestJointPlanChecked: plans outside the bounds are refused by name, and every field is in the digest.
func TestJointPlanChecked(t *testing.T) {
	base := newJointRun(t, 4, 4, 1, 2).plan
	b, err := base.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := DecodeJointPlan(b); err != nil || again.Digest() != base.Digest() {
		t.Fatal(err)
	}
	_, stranger := jointKeys(t, "stranger")
	for name, x := range map[string]struct {
		change func(*JointPlan)
		code   string
	}{
		"run":            {func(p *JointPlan) { p.Run[3]++ }, ""},
		"ranges":         {func(p *JointPlan) { p.Ranges = []float64{1, 2.5} }, ""},
		"groups":         {func(p *JointPlan) { p.Groups++ }, ""},
		"commitment":     {func(p *JointPlan) { p.Commitment[0]++ }, ""},
		"partner":        {func(p *JointPlan) { p.Partner = stranger }, ""},
		"gate":           {func(p *JointPlan) { p.Gate = stranger }, ""},
		"no features":    {func(p *JointPlan) { p.Ranges = nil }, "he.model"},
		"many features":  {func(p *JointPlan) { p.Ranges = make([]float64, MaxFeatures+1) }, "he.model"},
		"a range of nil": {func(p *JointPlan) { p.Ranges = []float64{1, 0} }, "he.range"},
		"infinite":       {func(p *JointPlan) { p.Ranges = []float64{1, math.Inf(1)} }, "he.range"},
		"not a number":   {func(p *JointPlan) { p.Ranges = []float64{1, math.NaN()} }, "he.range"},
		"no groups":      {func(p *JointPlan) { p.Groups = 0 }, "he.groups"},
		"many groups":    {func(p *JointPlan) { p.Groups = MaxJointGroups + 1 }, "he.groups"},
		"no keys":        {func(p *JointPlan) { p.Partner.Seal = nil }, "he.keys"},
		"one party":      {func(p *JointPlan) { p.Partner = p.Gate }, "he.keys"},
	} {
		p := *base
		x.change(&p)
		why := p.Check()
		if x.code == "" && (len(why) > 0 || p.Digest() == base.Digest()) || x.code != "" && (len(why) == 0 || why[0].Code != x.code) {
			t.Errorf("%s: %v", name, why)
		}
	}
	for _, bad := range []string{"", "{}", "null", string(b[:len(b)-1]), string(b) + "{}", `{"run":""}`} {
		if _, err := DecodeJointPlan([]byte(bad)); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("decoded %d bytes: %v", len(bad), err)
		}
	}
}

// FuzzJointPlan: a plan that decodes is one that can run, and is the one that was encoded.
func FuzzJointPlan(f *testing.F) {
	b, err := newJointRun(f, 5, 2, 1, 2).plan.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodeJointPlan(b)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil || len(p.Check()) > 0 {
			t.Fatal("a plan that decodes cannot run")
		}
		if q, err := DecodeJointPlan(again); err != nil || q.Digest() != p.Digest() {
			t.Fatal("not the plan that was encoded")
		}
	})
}

// BenchmarkJointRun is one run of 16 groups at both sides: two keys, 16 ciphertexts, scores with shares, openings.
func BenchmarkJointRun(b *testing.B) {
	x := []Averages{average.New([]float64{0.5, 10})}
	for b.Loop() {
		o := newJointRun(b, 6, 16, jointModel.Ranges...)
		scores, _ := o.applied(jointModel, x)
		if _, _, err := o.gate.Open(context.Background(), scores, nil); err != nil {
			b.Fatal(err)
		}
	}
}
