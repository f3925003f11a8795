package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

func judged(t *testing.T, m *Model, train, test *Data, seed uint64) *Report {
	t.Helper()
	r, err := Judge(m, train, test, quick(), source(seed))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Report) of(rule string) Verdict {
	for _, f := range r.Findings {
		if f.Rule == rule {
			return f.Verdict
		}
	}
	return ""
}

// TestHonest: models that the registered trainers give of enough people do not fail, of any kind, one row or several a person.
func TestHonest(t *testing.T) {
	tally := map[Verdict]int{}
	for _, k := range Kinds() {
		for seed := range uint64(3) {
			w := newWorld(seed, labelOf(k), 0)
			people := 700
			if k == Forest || k == Boosted {
				people = 2000 // of as many leaves
			}
			train, test := w.data(t, 0, people, 1+int(seed%2)), w.data(t, 1<<20, people, 1+int(seed%2))
			m, err := Fit(w.form(k), train)
			if err != nil {
				t.Fatal(err)
			}
			r := judged(t, m, train, test, seed)
			tally[r.Verdict]++
			t.Logf("%s, %d people: AUC %.3f, limit %.3f, %v", k, people, r.Membership.LiRA, r.Membership.Limit, r.Broken())
			if r.Verdict == Fail || r.Held() != nil {
				t.Errorf("%s, seed %d: %v", k, seed, r.Broken())
				continue
			}
			if out, err := DecodePayload(r.Payload); err != nil || out.Kind != k {
				t.Errorf("%s: the payload is not read: %v", k, err)
			}
			if r.of(RuleReproduction) != Pass {
				t.Errorf("%s: the gate's own training differs", k)
			}
		}
	}
	t.Logf("pass %d, review %d, fail %d", tally[Pass], tally[Review], tally[Fail])
}

// leak is a model that gives people away, and the rules that must find it, each by itself.
type leak struct {
	name  string
	plant func(t *testing.T, seed uint64) (m *Model, train, test *Data)
	rules []string
}

// fit trains a form of a world.
func (w *world) fit(t *testing.T, f *Model, people, rows int) (*Model, *Data, *Data) {
	t.Helper()
	train, test := w.data(t, 0, people, rows), w.data(t, 1<<20, people, rows)
	m, err := Fit(f, train)
	if err != nil {
		t.Fatal(err)
	}
	return m, train, test
}

var leaks = []leak{
	{"overfitted deep tree", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 5)
		f := w.form(Tree)
		f.Trainer = Trainer{Depth: 20, MinLeaf: 1}
		return w.fit(t, f, 400, 1)
	}, []string{RuleFrequency, RuleMinLeaf, RuleClass, RuleLoss, RuleTrained, RuleLiRA, RuleDistribution, RuleCanary}},
	{"deep tree that claims a careful trainer", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 5)
		f := w.form(Tree)
		f.Trainer = Trainer{Depth: 20, MinLeaf: 1}
		m, train, test := w.fit(t, f, 400, 1)
		m.Trainer = w.form(Tree).Trainer
		return m, train, test
	}, []string{RuleFrequency, RuleClass, RuleFree, RuleLoss, RuleTrained, RuleLiRA}},
	{"logistic regression with nearly as many parameters as people", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 70)
		f := w.form(Logistic)
		f.Trainer.Ridge = 10 * one
		return w.fit(t, f, 150, 1)
	}, []string{RuleEvents, RuleLiRA}},
	{"boosting without end", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 5)
		f := w.form(Boosted)
		f.Trainer = Trainer{Depth: 5, MinLeaf: 1, Trees: 40, Rate: 500, Ridge: one}
		return w.fit(t, f, 300, 1)
	}, []string{RuleFrequency, RuleMinLeaf, RuleClass, RuleLoss, RuleTrained, RuleLiRA}},
	{"coefficients that are somebody's row", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 2)
		m, train, test := w.fit(t, w.form(Logistic), 600, 1)
		x := train.values(int(seed) % 600)
		for i, c := range m.Coefficients {
			m.Coefficients[i].Value = clipped(10*x[m.feature(c.Feature)]/4, coefficientBound)
		}
		return m, train, test
	}, []string{RuleFit, RuleReproduction}},
	{"forest whose leaves hold a message", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 0)
		m, train, test := w.fit(t, w.form(Forest), 600, 1)
		for _, tree := range m.Trees {
			for i := range tree {
				if v := tree[i].Value; v != nil {
					tree[i].Value = fixed(max(min(v.Float()+0.04*(w.r.Float64()-0.5), 1), 0))
				}
			}
		}
		return m, train, test
	}, []string{RuleFree, RuleReproduction}},
	{"level of eight people", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 0)
		w.schema.Features[1].Levels = append(w.schema.Features[1].Levels, "zz-rare")
		train, test := w.data(t, 0, 600, 1), w.data(t, 1<<20, 600, 1)
		for s := range 8 {
			train.x[s*3+1], train.bin[s*3+1] = 4, 4
		}
		m, err := Fit(w.form(Logistic), train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleFrequency}},
	{"one person's amount in a regression", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Amount, 0)
		train, test := w.data(t, 0, 300, 1), w.data(t, 1<<20, 300, 1)
		for r := range train.Rows() { // visits of nearly everybody are none, and one person has many and a great amount
			train.x[r*3+2] = 0.001 * float64(r%2)
		}
		train.x[2], train.y[0] = 1, 1
		m, err := Fit(w.form(Linear), train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleInfluence, RuleLeverage}},
	{"leaves of many rows and few people", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 0)
		train, test := w.data(t, 0, 120, 30), w.data(t, 1<<20, 120, 30)
		deep := w.form(Tree)
		deep.Trainer = Trainer{Depth: 12, MinLeaf: 5}
		d := *train // as if every row were a person
		d.first, d.who, d.keys = nil, nil, nil
		for r := range d.Rows() + 1 {
			d.first = append(d.first, int32(r))
			d.who = append(d.who, int32(r))
		}
		m, err := Fit(deep, &d)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleFrequency}},
	{"labels that follow from a feature", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 0)
		train, test := w.data(t, 0, 600, 1), w.data(t, 1<<20, 600, 1)
		for r := range train.Rows() {
			train.y[r] = math.Round(train.x[r*3])
		}
		m, err := Fit(w.form(Logistic), train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleSeparation}},
	{"labels that follow from a feature among others, held back by a ridge", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 0)
		train, test := w.data(t, 0, 600, 1), w.data(t, 1<<20, 600, 1)
		for _, d := range []*Data{train, test} {
			for r := range d.Rows() {
				d.x[3*r] = math.Round(20*d.x[3*r]) / 20 // few values, the two about the border close to each other
				d.y[r] = math.Round(d.x[3*r])
			}
		}
		f := w.form(Logistic)
		f.Trainer.Ridge = 20 * one
		m, err := Fit(f, train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleSeparation}},
	{"level in which nobody has the outcome, hidden by a ridge", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 0)
		train, test := w.data(t, 0, 600, 1), w.data(t, 1<<20, 600, 1)
		for r := range train.Rows() {
			if train.bin[3*r+1] == 2 {
				train.y[r] = 0
			}
		}
		f := w.form(Logistic)
		f.Trainer.Ridge = 5 * one
		m, err := Fit(f, train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleClass}},
	{"labels that follow from a feature, hidden by a ridge", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Binary, 0)
		train, test := w.data(t, 0, 600, 1), w.data(t, 1<<20, 600, 1)
		s := Schema{Label: w.schema.Label, Features: w.schema.Features[:1]}
		for _, d := range []*Data{train, test} {
			alone := *d
			alone.schema, alone.x, alone.bin = &s, nil, nil
			for r := range d.Rows() {
				alone.x, alone.bin = append(alone.x, d.x[3*r]), append(alone.bin, d.bin[3*r])
				alone.y[r] = math.Round(d.x[3*r])
			}
			*d = alone
		}
		m, err := Fit(&Model{Format: Format, ID: "m", Kind: Logistic, Schema: s, Trainer: Trainer{Ridge: one}}, train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleSeparation}},
	{"a leaf in which all amounts are the same", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Amount, 0)
		train, test := w.data(t, 0, 600, 1), w.data(t, 1<<20, 600, 1)
		for r := range train.Rows() {
			if train.bin[3*r] >= 15 {
				train.y[r] = 0.9 // the second leaf
			}
		}
		f := w.form(Tree)
		f.Trainer.Depth, f.Trainer.MinClass = 1, 0
		m, err := Fit(f, train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleDominance}},
	{"amounts of one person in a leaf", func(t *testing.T, seed uint64) (*Model, *Data, *Data) {
		w := newWorld(seed, Amount, 0)
		train, test := w.data(t, 0, 600, 1), w.data(t, 1<<20, 600, 1)
		for r := range train.Rows() {
			train.y[r] = 0.0001 * float64(1+r%3)
		}
		train.y[5] = 1
		f := w.form(Tree)
		f.Trainer.MinClass = 0
		m, err := Fit(f, train)
		if err != nil {
			t.Fatal(err)
		}
		return m, train, test
	}, []string{RuleDominance}},
}

// TestLeaks: every planted leak fails, each by every rule named for it.
func TestLeaks(t *testing.T) {
	for _, l := range leaks {
		for seed := range uint64(2) {
			m, train, test := l.plant(t, seed+1)
			r := judged(t, m, train, test, seed)
			if r.Verdict != Fail || r.Payload != nil || sandbox.KindOf(r.Held()) != sandbox.Withheld {
				t.Errorf("%s, seed %d: %s", l.name, seed, r.Verdict)
			}
			for _, rule := range l.rules {
				if !slices.Contains(r.Broken(), rule) {
					t.Errorf("%s, seed %d: not found by %s; broken are %v", l.name, seed, rule, r.Broken())
				}
			}
			if s := fmt.Sprint(r.Held(), r.Broken(), r.Reasons()); strings.ContainsAny(strings.ReplaceAll(s, "0.001", ""), "0123456789") { // the rate is the rule's own
				t.Errorf("%s: what the operator's side sees has numbers", l.name)
			}
		}
	}
}

// TestOwnDigits: within what the data allow, the gate's own numbers leave, so that low digits hold no message.
func TestOwnDigits(t *testing.T) {
	for _, k := range []Kind{Logistic, Scorecard, Tree} {
		w := newWorld(4, Binary, 0)
		m, train, test := w.fit(t, w.form(k), 800, 1)
		honest := judged(t, m, train, test, 1)
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		other, err := Decode(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		nudge := func(f *Fixed) { *f += Fixed(w.r.IntN(5) - 2) }
		for i := range other.Coefficients {
			nudge(&other.Coefficients[i].Value)
		}
		for i := range other.Characteristics {
			nudge(&other.Characteristics[i].Coefficient)
			for k := range other.Characteristics[i].WOE {
				nudge(&other.Characteristics[i].WOE[k])
			}
		}
		for _, n := range other.Trees {
			for i := range n {
				if n[i].Value != nil {
					nudge(n[i].Value)
				}
			}
		}
		r := judged(t, other, train, test, 1)
		if again, err := other.Encode(); err != nil || bytes.Equal(again, b) {
			t.Errorf("%s: nothing was written", k)
		}
		if !bytes.Equal(r.Payload, honest.Payload) || r.Payload == nil {
			t.Errorf("%s: it leaves as other bytes (%s, %v)", k, r.Verdict, r.Broken())
		}
	}
}

// TestUnmeasured: what cannot be measured fails: too few people, the same people on both sides, names that read like identifiers.
func TestUnmeasured(t *testing.T) {
	w := newWorld(2, Binary, 0)
	m, train, test := w.fit(t, w.form(Logistic), 700, 1)
	few := w.data(t, 1<<21, 60, 1)
	if r := judged(t, m, train, few, 1); r.of(RulePeople) != Fail || r.Verdict != Fail || r.Membership != nil {
		t.Errorf("60 people in the test: %v", r.Broken())
	}
	if r := judged(t, m, train, w.data(t, 699, 700, 1), 1); r.of(RuleOverlap) != Fail || r.Verdict != Fail {
		t.Errorf("one person on both sides: %v", r.Broken())
	}
	if r := judged(t, m, train, test, 1); r.of(RuleOverlap) != Pass || r.of(RulePeople) != Pass {
		t.Error("the honest twin")
	}
	named := newWorld(2, Binary, 0)
	named.schema.Features[1].Levels[3] = "zone 11010519491231002X" // the standard's own example of an identity number
	m, train, test = named.fit(t, named.form(Logistic), 700, 1)
	if r := judged(t, m, train, test, 1); r.of(RuleIdentifiers) != Fail {
		t.Errorf("an identity number as a level: %v", r.Broken())
	}
	if _, err := Judge(m, train, newWorld(2, Binary, 1).data(t, 0, 200, 1), quick(), source(1)); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("rows of another schema: %v", err)
	}
	huge := named.form(Boosted)
	huge.Trainer.Trees, huge.Trainer.Depth = MaxTrees, MaxDepth
	large := quick()
	large.Shadows = 1024
	if _, err := Judge(huge, named.data(t, 0, 20, 700), test, large, source(1)); sandbox.KindOf(err) != sandbox.TooLarge {
		t.Errorf("work without end: %v", err)
	}
	for _, p := range []Params{{}, func() Params { p := quick(); p.Shadows = 17; return p }(), func() Params { p := quick(); p.Tolerated = 0.9; return p }(), func() Params { p := quick(); p.Tolerated = math.NaN(); return p }()} {
		if _, err := Judge(m, train, test, p, source(1)); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("thresholds that protect nobody: %v", err)
		}
	}
}

// TestReport: it is deterministic, speaks both languages, and prints redacted.
func TestReport(t *testing.T) {
	w := newWorld(3, Binary, 0)
	m, train, test := w.fit(t, w.form(Boosted), 600, 2)
	var out [2][]byte
	for i := range out {
		b, err := json.Marshal(judged(t, m, train, test, 9))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = b
	}
	if !bytes.Equal(out[0], out[1]) {
		t.Error("two reports of one model")
	}
	r := judged(t, m, train, test, 9)
	zh, en := r.Brief()
	if len(zh) != len(en) || len(zh) < 4 || !strings.Contains(strings.Join(zh, ""), "影子模型 16 个") || !strings.Contains(strings.Join(en, ""), "16 shadow models") || strings.Contains(strings.Join(append(zh, en...), ""), "%!") {
		t.Errorf("%q %q", zh, en)
	}
	for _, f := range r.Findings {
		if f.ZH == f.EN || f.ZH == "" || f.EN == "" || changes[f.Rule] == "" {
			t.Errorf("%s has no words", f.Rule)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %v %#v %v", *r, *r, *r, m, m, train); strings.Contains(s, "0.") || !strings.Contains(s, "redacted") {
		t.Errorf("it prints %s", s)
	}
}
