package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/release"
)

var patients = catalog.Dataset{ID: "ds-m", Unit: "unit", Title: "patients", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
	{Name: "who", Title: "who", Range: "any", Type: catalog.Text, Grade: 3, Personal: true},
	{Name: "area", Title: "area", Range: "two", Type: catalog.Text, Grade: 1, Public: true},
	{Name: "claimed", Title: "claimed", Range: "yes or no", Type: catalog.Bool, Grade: 3, Personal: true},
	{Name: "age", Title: "age", Range: "18 to 90", Values: "[18,90]", Type: catalog.Int, Unit: "years", Grade: 3, Personal: true, Nullable: true},
	{Name: "visits", Title: "visits", Range: "0 to 20", Values: "[0,20]", Type: catalog.Int, Unit: "visits", Grade: 2},
	{Name: "cost", Title: "cost", Range: "0 to 1000", Values: "[0,1000]", Type: catalog.Money, Unit: "元", Grade: 3},
	{Name: "income", Title: "income", Range: "any", Type: catalog.Money, Unit: "元", Grade: 3}}}

// clinic is an office with reviewers, whose patients models are trained on.
type clinic struct {
	*noisy
	reviewers [2]seat // the unit's and the agency's
	opens     *sm.DecryptKey
}

// programOf reveals one logistic regression.
func programOf(outcome algo.Column, with ...algo.Column) func(*algo.Program) {
	return func(p *algo.Program) {
		in := p.Input("patients", append([]algo.Column{outcome}, with...)...)
		var x []algo.Number
		for _, c := range with {
			x = append(x, in.Number(c.Name))
		}
		p.RevealModel("risk", in.Group().Logistic(in.Number(outcome.Name), x...))
	}
}

func newClinic(t *testing.T, hosting sandbox.Hosting, change func(*catalog.Dataset), rule func(*sandbox.ColumnRule)) *clinic {
	t.Helper()
	ctx := t.Context()
	o := &clinic{noisy: &noisy{office: &office{T: t, dir: filepath.Join(t.TempDir(), "d"), agency: seated(t, "agency", sandbox.Agency), unit: seated(t, "unit", sandbox.Unit)}}}
	k, err := keys.Create(filepath.Join(t.TempDir(), "operator"), []byte("x"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := api.Enrolment{Party: sandbox.Party{ID: "operator", Role: sandbox.Operator, Name: "operator"}, Identities: []sandbox.Identity{{ID: "operator", Party: "operator", Duty: sandbox.Officer,
		SignKey: k.SigningKey().Public().Bytes(), EncryptKey: k.DecryptKey().Public().Bytes()}}}
	o.operator, o.opens = seat{api.Caller{Identity: e.Identities[0], Party: e.Party}, e, k.SigningKey()}, k.DecryptKey()
	for i, of := range []*seat{&o.unit, &o.agency} {
		r := seated(t, of.Party.ID+"-reviewer", of.Party.Role)
		r.Identity.Party, r.Identity.Duty, r.Party = of.Party.ID, sandbox.Reviewer, of.Party
		of.enrolment.Identities = append(of.enrolment.Identities, r.Identity)
		o.reviewers[i] = r
	}
	cfg := testConfig(o.dir)
	cfg.Models = ModelLimits{Columns: 3, Subjects: 2000, Rows: 6000, Shadows: 16}
	if o.n, err = Create(ctx, cfg, Founding{Domain: "d", Hosting: hosting, District: "longhua", Keys: keys.Params{Time: 1, Memory: 64, Threads: 1},
		Enrolled: []api.Enrolment{o.agency.enrolment, o.unit.enrolment, o.operator.enrolment}}); err != nil {
		t.Fatal(err)
	}
	set := patients
	set.Columns = slices.Clone(set.Columns)
	if change != nil {
		change(&set)
	}
	if _, err := o.n.RegisterDataset(ctx, o.unit.Caller, set); err != nil {
		t.Fatal(err)
	}
	item := sandbox.ListItem{Dataset: "ds-m", Columns: []sandbox.ColumnRule{{Column: "area", Uses: []sandbox.Use{sandbox.UseFilter, sandbox.UseGroup}}}}
	for _, c := range []string{"claimed", "age", "visits", "cost", "income"} {
		r := sandbox.ColumnRule{Column: c, Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Logistic}}
		if c != "claimed" {
			r.Funcs = append(r.Funcs, sandbox.Linear)
		}
		if c == "age" && rule != nil {
			rule(&r)
		}
		item.Columns = append(item.Columns, r)
	}
	for id, classes := range map[sandbox.ScenarioID][]sandbox.Class{"sc-d": {sandbox.ClassA, sandbox.ClassD}, "sc-a": {sandbox.ClassA}} {
		s, err := o.n.FileScenario(ctx, o.operator.Caller, grant.Application{ID: id, Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Purpose: "planning", Description: "d",
			List: []sandbox.ListItem{item}, TermMonths: 12, Classes: classes, Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}})
		for _, who := range []struct {
			seat
			step string
		}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {o.unit, grant.StepUnit}} {
			if err == nil {
				s, err = o.n.DecideScenario(ctx, who.Caller, id, who.says(t, attest.ContextDecision,
					attest.ScenarioDecision{Scenario: id, ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: o.n.now()}))
			}
		}
		for _, who := range []seat{o.operator, o.agency, o.unit} {
			if err == nil {
				s, err = o.n.SignAgreement(ctx, who.Caller, id, who.says(t, attest.ContextAgreement, attest.AgreementSignature{Scenario: id, Digest: s.AgreementDigest, Party: who.Party.ID, At: o.n.now()}))
			}
		}
		if err != nil || s.Grant == nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	return o
}

// treated pushes a version of people with two rows each; told has a feature tell the label.
func (o *clinic) treated(run sandbox.RunID, people int, told bool) {
	o.Helper()
	ctx := o.Context()
	set, _, err := o.n.docs.datasets.Get(ctx, "ds-m")
	if err != nil {
		o.Fatal(err)
	}
	opened(o.T, o.n, set, run)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	var who []sandbox.Pseudonym
	r := mathrand.New(mathrand.NewPCG(5, 9))
	for i := range people {
		age, visits := int64(18+r.IntN(73)), int64(r.IntN(21))
		for range 2 {
			claimed := r.Float64() < 0.15+0.4*float64(age-18)/72+0.3*float64(visits)/20
			if told {
				claimed = age >= 50
			}
			b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("person ", i))
			b.Field(1).(*array.StringBuilder).Append([]string{"east", "west"}[i%2])
			b.Field(2).(*array.BooleanBuilder).Append(claimed)
			if i%197 == 0 {
				b.Field(3).AppendNull()
			} else {
				b.Field(3).(*array.Int64Builder).Append(age)
			}
			b.Field(4).(*array.Int64Builder).Append(visits)
			b.Field(5).(*array.Int64Builder).Append(1000*visits + int64(r.IntN(20000)))
			b.Field(6).(*array.Int64Builder).Append(100_000 + int64(r.IntN(900_000)))
			var p sandbox.Pseudonym
			copy(p[:], fmt.Sprintf("m%015d", i))
			who = append(who, p)
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	w, err := o.n.vault.Begin(ctx, set.Unit, "ds-m", run, batch.Schema(set), 3)
	if err == nil {
		err = w.Write(ctx, rec, who)
	}
	if err != nil {
		o.Fatal(err)
	}
	snap, err := w.Commit(ctx)
	if err != nil {
		o.Fatal(err)
	}
	if err := o.n.committed(ctx, domainIdentity, snap, api.PushReport{Run: run, Dataset: "ds-m", Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}, nil, nil); err != nil {
		o.Fatal(err)
	}
}

// approved has the agency approve a Program.
func (o *clinic) approved(name string, program func(*algo.Program)) sandbox.AlgorithmID {
	o.Helper()
	graph, err := algo.Record(name, program)
	if err != nil {
		o.Fatal(err)
	}
	o.n.cfg.Recorder = recording{name: func() ([]byte, error) { return graph, nil }}
	g, types, err := algo.Decode(graph)
	if err != nil {
		o.Fatal(err)
	}
	author, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		o.Fatal(err)
	}
	image, whole := sm.Sum([]byte(name)), sm.Sum(graph)
	m := &manifest.Manifest{Name: name, Version: "1.0.0", Contract: manifest.Program, SDK: algo.Version, Format: "wasm", Image: image[:], Author: "a", Limits: manifest.Limits{MemoryMiB: 128, Seconds: 30}}
	m.Describe(g, types)
	if err := m.Sign(rand.Reader, author); err != nil {
		o.Fatal(err)
	}
	digest := m.Digest()
	a, err := o.n.ApproveAlgorithm(o.Context(), o.agency.Caller, api.AlgorithmRequest{Manifest: m.Encode(), Image: []byte(name),
		Statement: o.agency.says(o.T, attest.ContextAlgorithm, attest.AlgorithmApproval{Name: name, Version: "1.0.0", Manifest: digest[:], Image: image[:], Graph: whole[:], At: o.n.now()})})
	if err != nil {
		o.Fatal(err)
	}
	return a.ID
}

func (o *clinic) asksModel(id sandbox.AlgorithmID, sc sandbox.ScenarioID) api.AlgorithmAnswer {
	o.Helper()
	a, err := o.n.AskAlgorithm(o.Context(), o.operator.Caller, id, api.AlgorithmUse{Scenario: sc, Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "patients", Dataset: "ds-m"}}})
	if err != nil {
		o.Fatal(err)
	}
	return a
}

func (o *clinic) votes(by seat, id sandbox.QuestionID) (api.Review, error) {
	r, err := o.n.Review(o.Context(), by.Caller, id)
	if err != nil {
		return r, err
	}
	return o.n.Vote(o.Context(), by.Caller, id, by.says(o.T, attest.ContextVote, attest.Vote{Question: id, Class: r.Class, Round: r.Round, Result: r.Digest, Recipient: r.Recipient,
		Expires: r.Expires, Policy: r.Policy, Approve: true, At: o.n.now()}))
}

var ages, visits = algo.Int("age", "years"), algo.Int("visits", "visits")

// TestModelFromProgramToRelease: class D, from an approved Program over trained and judged models, two votes and the seal, to the recipient.
func TestModelFromProgramToRelease(t *testing.T) {
	o, ctx := newClinic(t, sandbox.P1, nil, nil), t.Context()
	o.treated("run-1", 1500, false)
	id := o.approved("risk", programOf(algo.Bool("claimed"), ages, visits))
	x, err := o.n.ExplainAlgorithm(ctx, o.operator.Caller, id, api.AlgorithmUse{Scenario: "sc-d", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "patients", Dataset: "ds-m"}}})
	if err != nil || !x.Decision.Allow || x.Decision.Class != sandbox.ClassD || !strings.Contains(x.Questions[0].Text, "registered trainer") {
		t.Fatalf("%+v %v %+v", x.Decision, err, x.Questions)
	}
	a := o.asksModel(id, "sc-d")
	if len(a.Questions) != 1 || a.Questions[0].Decision.Class != sandbox.ClassD {
		t.Fatalf("%+v", a)
	}
	q := a.Questions[0]
	rec, _, err := o.n.docs.questions.Get(ctx, string(q.ID))
	if err != nil || q.State != stateInReview {
		t.Fatalf("%s %s %v", q.State, rec.Review.Cause, err)
	}
	m, err := model.DecodePayload(rec.Review.Result)
	if err != nil || m.Kind != model.Logistic || m.Label.Levels[1] != "true" || m.Features[0].Name != "age" || m.Features[0].Low != 18000 || len(m.Coefficients) != 2 {
		t.Fatalf("%+v %v", m, err)
	}
	// The law it was drawn by: of whoever claims, those of more years and visits more.
	if m.Coefficients[0].Value < 800 || m.Coefficients[1].Value < 500 {
		t.Errorf("%+v", m.Coefficients)
	}
	// Asked again it is the same question, not charged twice; as class A it is another.
	grantID := o.grant("sc-d")
	one, err := o.n.store.Counter(ctx, bitsOf(grantID))
	if err != nil || one != o.n.profile.Bits.PerQuestion.Value {
		t.Errorf("%d bits are charged: %v", one, err)
	}
	if again := o.asksModel(id, "sc-d"); again.Questions[0].ID != q.ID {
		t.Error("asked again it is another question")
	}
	if now, err := o.n.store.Counter(ctx, bitsOf(grantID)); err != nil || now != one {
		t.Error("charged twice")
	}
	usage, err := o.n.Usage(ctx, o.agency.Caller, "2026-03")
	if err != nil || len(usage) != 1 {
		t.Errorf("%d uses are metered: %v", len(usage), err)
	}
	// Tried again it meets the same shadow models, another question others.
	copied, other := rec, questionRecord{Spec: rec.Spec, Decision: rec.Decision}
	if one := o.n.shadows(&rec).Uint64(); one != o.n.shadows(&copied).Uint64() || one == o.n.shadows(&other).Uint64() {
		t.Error("shadow models are those of the question")
	}
	// In the ledger stand those it was trained on, and nobody it was tested on.
	entry, err := o.n.populations.get(q.ID)
	if err != nil || len(entry.Cells) != 1 || len(entry.Cells[0].People) < 900 || len(entry.Cells[0].People) > 1150 {
		t.Errorf("%d cells: %v", len(entry.Cells), err)
	}
	// The unit's and the agency's see numbers; one vote sends nothing.
	r, err := o.n.Review(ctx, o.reviewers[1].Caller, q.ID)
	if err != nil || !strings.Contains(string(r.Pack), "membership-lira") || r.Class != sandbox.ClassD {
		t.Errorf("%v %s", err, r.Pack)
	}
	if _, err := o.n.Review(ctx, o.operator.Caller, q.ID); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("the asker looks into the review: %v", err)
	}
	if v, err := o.votes(o.reviewers[0], q.ID); err != nil || v.State != string(egress.Partial) {
		t.Fatalf("%s %v", v.State, err)
	}
	if all, err := o.n.Releases(ctx, o.operator.Caller); err != nil || len(all) != 0 {
		t.Error("it left on one vote")
	}
	if v, err := o.votes(o.reviewers[1], q.ID); err != nil || v.State != string(egress.Released) {
		t.Fatalf("%s %v", v.State, err)
	}
	all, err := o.n.Releases(ctx, o.operator.Caller)
	if err != nil || len(all) != 1 || all[0].Class != sandbox.ClassD {
		t.Fatalf("%+v %v", all, err)
	}
	sealed, err := o.n.Release(ctx, o.operator.Caller, all[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	env, err := release.Decode(sealed)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := env.Open(o.opens, o.n.keys.SigningKey().Public(), o.n.now())
	if err != nil || string(plain) != string(rec.Review.Result) {
		t.Fatalf("what is opened is what was reviewed: %v", err)
	}
	o.audit()
}

func (o *clinic) grant(id sandbox.ScenarioID) sandbox.GrantID {
	o.Helper()
	s, err := o.n.liveScenario(o.Context(), o.operator.Caller, id)
	if err != nil || s == nil || s.Grant == nil {
		o.Fatal(err)
	}
	return s.Grant.ID
}

// TestModelsWithheld: what depends on data is one code to the asker, and the cause to the agency and the owner. Nobody's bits come back.
func TestModelsWithheld(t *testing.T) {
	for name, c := range map[string]struct {
		people int
		told   bool
		change func(*clinic)
		cause  string
	}{
		"too few people":       {120, false, nil, "people on each side"},
		"a feature tells":      {1500, true, nil, "separation"},
		"too many people":      {2001, false, nil, "at most 2000 people"},
		"an empty half of all": {2, false, nil, "not trained"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newClinic(t, sandbox.P1, nil, nil)
			o.treated("run-1", c.people, c.told)
			id := o.approved("risk", programOf(algo.Bool("claimed"), ages, visits))
			if c.change != nil {
				c.change(o)
			}
			a := o.asksModel(id, "sc-d")
			q := a.Questions[0]
			if q.State != stateWithheld || q.Code != sandbox.CodeWithheld || strings.Contains(fmt.Sprintf("%+v", q), "separation") || strings.Contains(fmt.Sprintf("%+v", q), "people") {
				t.Fatalf("%+v", q)
			}
			for _, who := range []seat{o.agency, o.unit} {
				r, err := o.n.Review(t.Context(), who.Caller, q.ID)
				if err != nil || len(r.Result) > 0 || !strings.Contains(string(r.Pack), c.cause) {
					t.Errorf("%s: %v %s", who.Party.ID, err, r.Pack)
				}
			}
			if _, err := o.n.populations.get(q.ID); err == nil {
				t.Error("what nobody saw is in the ledger")
			}
			if n, err := o.n.store.Counter(t.Context(), bitsOf(o.grant("sc-d"))); err != nil || n != o.n.profile.Bits.PerQuestion.Value {
				t.Errorf("%d bits: %v", n, err)
			}
		})
	}
}

// TestModelsRefused: before any key opens, each with its code and what would pass, and nothing is charged.
func TestModelsRefused(t *testing.T) {
	all := []algo.Column{ages, visits, algo.Money("cost"), algo.Money("income")}
	for name, c := range map[string]struct {
		hosting sandbox.Hosting
		sc      sandbox.ScenarioID
		set     func(*catalog.Dataset)
		rule    func(*sandbox.ColumnRule)
		program func(*algo.Program)
		rows    int
		code    string
	}{
		"not granted":         {sandbox.P1, "sc-a", nil, nil, nil, 200, "class.not-granted"},
		"operator's machine":  {sandbox.P2, "sc-d", nil, nil, nil, 200, "engine.grade"},
		"no range":            {sandbox.P1, "sc-d", nil, nil, programOf(algo.Bool("claimed"), ages, algo.Money("income")), 200, codeModelRange},
		"half a range":        {sandbox.P1, "sc-d", func(d *catalog.Dataset) { d.Columns[3].Values = "[0,)" }, nil, nil, 200, codeModelRange},
		"many regressors":     {sandbox.P1, "sc-d", nil, nil, programOf(algo.Bool("claimed"), all...), 200, codeModelSize},
		"many rows":           {sandbox.P1, "sc-d", nil, nil, nil, 3001, codeModelSize},
		"not for regressions": {sandbox.P1, "sc-d", nil, func(r *sandbox.ColumnRule) { r.Funcs = []sandbox.MeasureFunc{sandbox.Sum} }, nil, 200, "column.func"},
		"noise":               {sandbox.P1, "sc-d", nil, func(r *sandbox.ColumnRule) { r.Noise = sandbox.Noise{Kind: sandbox.NoiseRounded} }, nil, 200, "noise.func"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newClinic(t, c.hosting, c.set, c.rule)
			o.treated("run-1", c.rows, false)
			if c.program == nil {
				c.program = programOf(algo.Bool("claimed"), ages, visits)
			}
			a := o.asksModel(o.approved("risk", c.program), c.sc)
			i := slices.IndexFunc(a.Decision.Reasons, func(r sandbox.Reason) bool { return r.Code == c.code })
			if a.Decision.Allow || len(a.Questions) > 0 || i < 0 || a.Decision.Reasons[i].Change == "" {
				t.Fatalf("%+v", a.Decision)
			}
			if n, err := o.n.store.Counter(t.Context(), bitsOf(o.grant(c.sc))); err != nil || n != 0 {
				t.Errorf("%d bits: %v", n, err)
			}
		})
	}
}

// TestModelsAreCompared: a model of nearly the same people as an earlier one is withheld: between the two stand a few.
func TestModelsAreCompared(t *testing.T) {
	o := newClinic(t, sandbox.P1, nil, nil)
	o.treated("run-1", 1500, false)
	first := o.asksModel(o.approved("risk", programOf(algo.Bool("claimed"), ages, visits)), "sc-d").Questions[0]
	if first.State != stateInReview {
		t.Fatal(first.State)
	}
	// Without ages, those whose age is missing are trained on too: a handful.
	second := o.asksModel(o.approved("visits", programOf(algo.Bool("claimed"), visits)), "sc-d").Questions[0]
	rec, _, err := o.n.docs.questions.Get(t.Context(), string(second.ID))
	if err != nil {
		t.Fatal(err)
	}
	few := 0
	for i := range 1500 {
		var p sandbox.Pseudonym
		copy(p[:], fmt.Sprintf("m%015d", i))
		if i%197 == 0 && o.n.trainedOn(p) {
			few++
		}
	}
	if few == 0 || few >= rec.Review.Params.MinSubjects {
		t.Fatalf("%d people have no age and are trained on", few)
	}
	if second.State != stateWithheld || !strings.Contains(rec.Review.Cause, "isolates too few people") {
		t.Errorf("%d people differ, and it is %s: %s", few, second.State, rec.Review.Cause)
	}
	// Answers over many are still given.
	counted := query.Spec{Scenario: "sc-d", Purpose: "planning", Inputs: []query.Input{{Alias: "p", Dataset: "ds-m"}}, Dimensions: []query.Dimension{{Column: "p.area", As: "area"}}, Measures: []query.Measure{countOf, peopleOf}}
	if q := o.asks(o.operator, counted); q.State != stateInReview || q.ID == first.ID {
		t.Errorf("people by area: %s", q.State)
	}
	// The same people, and by a filter those of one area, who are many.
	s := query.Spec{Scenario: "sc-d", Purpose: "planning", Inputs: []query.Input{{Alias: "p", Dataset: "ds-m"}}, Filters: []query.Filter{{Column: "p.area", In: []string{"east"}}},
		Measures: []query.Measure{{Func: sandbox.Logistic, Column: "p.claimed", With: []string{"p.age", "p.visits"}, As: "risk"}}}
	third, err := o.n.ask(context.Background(), o.operator.Caller, s, sandbox.ClassD)
	if err != nil || third.State != stateInReview {
		rec, _, _ := o.n.docs.questions.Get(t.Context(), string(third.ID))
		t.Fatalf("%+v %v %v", third.Decision, err, rec.Review)
	}
	entry, err := o.n.populations.get(third.ID)
	if err != nil || len(entry.Cells[0].People) > 600 {
		t.Errorf("%d people: %v", len(entry.Cells[0].People), err)
	}
}

// TestModelForms: what the trainer fits, and what it does not, by the question alone.
func TestModelForms(t *testing.T) {
	o := newClinic(t, sandbox.P1, nil, nil)
	o.treated("run-1", 1500, false)
	linear := query.Measure{Func: sandbox.Linear, Column: "p.cost", With: []string{"p.visits"}, As: "cost"}
	spec := query.Spec{Scenario: "sc-d", Purpose: "planning", Inputs: []query.Input{{Alias: "p", Dataset: "ds-m"}}, Measures: []query.Measure{linear}}
	q, err := o.n.ask(t.Context(), o.operator.Caller, spec, sandbox.ClassD)
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := o.n.docs.questions.Get(t.Context(), string(q.ID))
	if err != nil || q.State != stateInReview {
		t.Fatalf("%s: %+v %s", q.State, q.Decision.Reasons, rec.Review.Cause)
	}
	m, err := model.DecodePayload(rec.Review.Result)
	if err != nil || m.Kind != model.Linear || m.Label.High != 1_000_000 || m.Coefficients[0].Value < 150 || m.Coefficients[0].Value > 250 { // 10 yuan a visit: a fifth of the range over 20
		t.Errorf("%+v %v", m, err)
	}
	twice := spec
	twice.Measures = []query.Measure{linear, countOf}
	if q, err := o.n.ask(t.Context(), o.operator.Caller, twice, sandbox.ClassD); err != nil || q.State != stateRefused || q.Decision.Reasons[0].Code != codeModelForm {
		t.Errorf("%+v %v", q, err)
	}
	ranged := func(c catalog.Column) catalog.Column { c.Name, c.Type = "x", catalog.Number; return c }
	for name, c := range map[string]struct {
		change func(*query.Derivation)
		code   string
	}{
		"as it is": {func(*query.Derivation) {}, ""},
		"a join":   {func(d *query.Derivation) { d.Inputs = append(d.Inputs, d.Inputs[0]) }, codeModelForm},
		"groups":   {func(d *query.Derivation) { d.Spec.Dimensions = []query.Dimension{{Column: "p.area", As: "a"}} }, codeModelForm},
		"a mean": {func(d *query.Derivation) {
			d.Spec.Measures = []query.Measure{{Func: sandbox.Mean, Column: "p.cost", As: "m"}}
		}, codeModelForm},
		"a bin": {func(d *query.Derivation) {
			d.Spec.Filters = []query.Filter{{Column: "p.visits", Bin: "b", In: []string{"x"}}}
		}, codeModelFilter},
		"noise": {func(d *query.Derivation) { d.Noise.Kind = sandbox.NoiseRounded }, codeModelNoise},
		"four decimals": {func(d *query.Derivation) {
			d.Inputs[0].Described.Columns[4] = ranged(catalog.Column{Scale: 4, Values: "[0,1]"})
			d.Spec.Measures[0].With = []string{"p.x"}
		}, codeModelRange},
		"an odd width": {func(d *query.Derivation) {
			d.Inputs[0].Described.Columns[4] = ranged(catalog.Column{Scale: 3, Values: "[0,1.009]"}) // 1009 is prime
			d.Spec.Measures[0].With = []string{"p.x"}
		}, ""},
		"beyond numbers": {func(d *query.Derivation) {
			d.Inputs[0].Described.Columns[4] = ranged(catalog.Column{Values: "[0,9000000000000000000]"})
			d.Spec.Measures[0].With = []string{"p.x"}
		}, codeModelRange},
		"no plain name": {func(d *query.Derivation) {
			x := ranged(catalog.Column{Values: "[0,8]"})
			x.Name = "a\u200bb"
			d.Inputs[0].Described.Columns[4] = x
			d.Spec.Measures[0].With = []string{"p.a\u200bb"}
		}, codeModelName},
	} {
		set := patients
		set.Columns = slices.Clone(set.Columns)
		measure := linear
		d := query.Derivation{Spec: spec, Inputs: []query.DerivedInput{{Input: spec.Inputs[0], Described: set}}}
		d.Spec.Measures = []query.Measure{measure}
		c.change(&d)
		_, _, why := o.n.modelForm(d)
		if c.code == "" && len(why) > 0 || c.code != "" && (len(why) != 1 || why[0].Code != c.code || why[0].Change == "") {
			t.Errorf("%s: %+v", name, why)
		}
	}
}
