package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/release"
)

// bank is a clinic with a partner that has a secret model, on a clock that the test sets, and averages that the operator was given.
type bank struct {
	*clinic
	partner seat
	reads   *sm.DecryptKey // the partner's
	of      sandbox.QuestionID
	mu      sync.Mutex
	now     time.Time
}

var secretModel = he.Model{Link: he.LinearLink, Bias: -0.625, Weights: []float64{0.21415926, -0.00271828}, Ranges: []float64{20, 1000}}

func newBank(t *testing.T) *bank {
	t.Helper()
	ctx := t.Context()
	o := &bank{clinic: newClinic(t, sandbox.P1, nil, nil), now: testConfig("").Now()}
	o.clock()
	k, err := keys.Create(filepath.Join(t.TempDir(), "bank"), []byte("x"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := api.Enrolment{Party: sandbox.Party{ID: "bank", Role: sandbox.Partner, Name: "bank"}, Identities: []sandbox.Identity{{ID: "bank", Party: "bank", Duty: sandbox.Officer,
		SignKey: k.SigningKey().Public().Bytes(), EncryptKey: k.DecryptKey().Public().Bytes()}}}
	o.partner, o.reads = seat{api.Caller{Identity: e.Identities[0], Party: e.Party}, e, k.SigningKey()}, k.DecryptKey()
	if err := o.n.EnrolParty(ctx, o.agency.Caller, e); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*seat{&o.partner, &o.operator, &o.unit, &o.agency} {
		d := sm.Sum([]byte("a signed request"))
		who.Request = d[:]
	}
	o.areas("run-1")
	o.scenario("sc-j", 5)
	o.of = o.averages("sc-j", "visits", "cost")
	return o
}

func (o *bank) clock() {
	o.n.cfg.Now = func() time.Time { o.mu.Lock(); defer o.mu.Unlock(); return o.now }
	o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) {
		return he.NewLocal(rand.Reader), func() {}, sm.Sum([]byte("a test's own process")), nil
	}
}

func (o *bank) later(d time.Duration) {
	o.mu.Lock()
	o.now = o.now.Add(d)
	o.mu.Unlock()
	o.n.TendJoints(o.Context())
}

// areas pushes people of four areas, of which one has too few.
func (o *bank) areas(run sandbox.RunID) {
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
	for i := range 243 {
		area, few := i%3, i >= 240
		if few {
			area = 3
		}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("person ", i))
		b.Field(1).(*array.StringBuilder).Append([]string{"east", "north", "west", "isle"}[area])
		b.Field(2).(*array.BooleanBuilder).Append(i%2 == 0)
		b.Field(3).(*array.Int64Builder).Append(int64(20 + i%60))
		b.Field(4).(*array.Int64Builder).Append(int64((i*7)%(5+3*area) + area))
		b.Field(5).(*array.Int64Builder).Append(int64(20000*area + (i*131)%30000))
		b.Field(6).(*array.Int64Builder).Append(int64(100_000 + i))
		var p sandbox.Pseudonym
		copy(p[:], fmt.Sprintf("m%015d", i))
		who = append(who, p)
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

func (o *bank) scenario(id sandbox.ScenarioID, runs int64) {
	o.Helper()
	ctx := o.Context()
	item := sandbox.ListItem{Dataset: "ds-m", Columns: []sandbox.ColumnRule{{Column: "area", Uses: []sandbox.Use{sandbox.UseGroup}}}}
	for _, c := range []string{"visits", "cost"} {
		item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c, Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Mean, sandbox.Sum}})
	}
	item.Columns = append(item.Columns, sandbox.ColumnRule{Column: "income", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Mean}, Grantees: []sandbox.PartyID{"operator"}})
	s, err := o.n.FileScenario(ctx, o.operator.Caller, grant.Application{ID: id, Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Partners: []sandbox.PartyID{"bank"}, Purpose: "planning",
		Description: "d", List: []sandbox.ListItem{item}, TermMonths: 12, Classes: []sandbox.Class{sandbox.ClassA}, PartnerRuns: runs,
		Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}})
	for _, who := range []struct {
		seat
		step string
	}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {o.unit, grant.StepUnit}} {
		if err == nil {
			s, err = o.n.DecideScenario(ctx, who.Caller, id, who.says(o.T, attest.ContextDecision,
				attest.ScenarioDecision{Scenario: id, ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: o.n.now()}))
		}
	}
	for _, who := range []seat{o.operator, o.agency, o.partner, o.unit} {
		if err == nil {
			s, err = o.n.SignAgreement(ctx, who.Caller, id, who.says(o.T, attest.ContextAgreement, attest.AgreementSignature{Scenario: id, Digest: s.AgreementDigest, Party: who.Party.ID, At: o.n.now()}))
		}
	}
	if err != nil || s.Grant == nil {
		o.Fatalf("%s: %v", id, err)
	}
}

func (o *bank) asksMeans(sc sandbox.ScenarioID, columns ...string) api.Question {
	o.Helper()
	s := query.Spec{Scenario: sc, Purpose: "planning", Inputs: []query.Input{{Alias: "p", Dataset: "ds-m"}}, Dimensions: []query.Dimension{{Column: "p.area", As: "area"}}}
	for _, c := range columns {
		s.Measures = append(s.Measures, query.Measure{Func: sandbox.Mean, Column: "p." + c, As: c})
	}
	if columns[0] == "visits" {
		s.Measures = append(s.Measures, query.Measure{Func: sandbox.Sum, Column: "p.visits", As: "all"})
	}
	q, err := o.n.Ask(o.Context(), o.operator.Caller, s)
	if err != nil || q.State != stateInReview {
		o.Fatalf("%s %+v %v", q.State, q.Decision.Reasons, err)
	}
	return q
}

func (o *bank) approves(id sandbox.QuestionID) {
	o.Helper()
	for _, r := range o.reviewers {
		if _, err := o.votes(r, id); err != nil {
			o.Fatal(err)
		}
	}
}

// averages are asked by the operator, and approved.
func (o *bank) averages(sc sandbox.ScenarioID, columns ...string) sandbox.QuestionID {
	o.Helper()
	q := o.asksMeans(sc, columns...)
	o.approves(q.ID)
	return q.ID
}

func (o *bank) run(change func(*attest.JointRun)) attest.JointRun {
	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		o.Fatal(err)
	}
	c := sm.Sum(salt[:])
	r := attest.JointRun{Scenario: "sc-j", Purpose: "planning", Of: o.of, Features: []attest.JointFeature{{Measure: "visits", Range: 20}, {Measure: "cost", Range: 1000}}, Groups: 4, Decimals: 3, Commitment: c[:], At: o.n.now()}
	if change != nil {
		change(&r)
	}
	return r
}

func (o *bank) asksRun(r attest.JointRun) (api.Joint, error) {
	o.Helper()
	return o.n.AskJoint(o.Context(), o.partner.Caller, o.partner.says(o.T, attest.ContextJointRun, r))
}

// side is the partner's program in a run, which may cheat.
type side struct {
	o    *bank
	id   sandbox.QuestionID
	plan *he.JointPlan
	p    *he.JointPartner
	last *he.Message // sent
}

func (o *bank) begins(change func(*attest.JointRun)) *side {
	o.Helper()
	j, err := o.asksRun(o.run(change))
	if err != nil || j.Question.State != stateComputing || j.Kind != int(he.Commitment) {
		o.Fatalf("%s %+v %v", j.Question.State, j.Question.Decision.Reasons, err)
	}
	x := &side{o: o, id: j.Question.ID}
	if x.plan, err = he.DecodeJointPlan(j.Plan); err != nil {
		o.Fatal(err)
	}
	if x.p, err = he.NewJointPartner(o.Context(), he.JointConfig{Plan: x.plan, Engine: he.NewLocal(rand.Reader), Sign: o.partner.key, Rand: rand.Reader}); err != nil {
		o.Fatal(err)
	}
	o.Cleanup(x.p.Close)
	return x
}

func (x *side) sends(m *he.Message) (api.Joint, error) {
	x.last = m
	b := he.AppendMessage(nil, m)
	return x.o.n.TakeJointMessage(x.o.Context(), x.o.partner.Caller, x.id, int(m.Kind), sm.Sum(b), bytes.NewReader(b))
}

func (x *side) must(m *he.Message, err error) api.Joint {
	x.o.Helper()
	if err == nil {
		var j api.Joint
		if j, err = x.sends(m); err == nil {
			return j
		}
	}
	x.o.Fatal(err)
	return api.Joint{}
}

func (x *side) fetches(kind he.Kind) *he.Message {
	x.o.Helper()
	var b bytes.Buffer
	err := x.o.n.JointMessage(x.o.Context(), x.o.partner.Caller, x.id, int(kind), &b)
	if err == nil {
		var m *he.Message
		if m, err = he.ParseMessage(b.Bytes()); err == nil {
			if err = x.plan.CheckMessage(m, kind, true); err == nil {
				return m
			}
		}
	}
	x.o.Fatal(err)
	return nil
}

// encrypted takes the run to the point where the averages are encrypted.
func (x *side) encrypted() (share, averages *he.Message) {
	x.o.Helper()
	x.must(x.p.Commitment(), nil)
	x.must(x.p.Reveal(x.fetches(he.Commitment)))
	return x.fetches(he.KeyShare), x.fetches(he.Contribution)
}

func (x *side) applied() *he.Message {
	x.o.Helper()
	share, averages := x.encrypted()
	m, err := x.p.Apply(x.o.Context(), share, averages, &secretModel)
	if err != nil {
		x.o.Fatal(err)
	}
	return m
}

func (o *bank) record(id sandbox.QuestionID) questionRecord {
	o.Helper()
	q, _, err := o.n.docs.questions.Get(o.Context(), string(id))
	if err != nil {
		o.Fatal(err)
	}
	return q
}

// events gives those of a question, with what an abort says.
func (o *bank) events(id sandbox.QuestionID) (kinds []attest.Kind, aborted attest.JointAbortedBody) {
	o.Helper()
	for e, err := range o.n.evidence.Events(o.Context()) {
		if err != nil {
			o.Fatal(err)
		}
		if e.Event.Object != "question/"+string(id) {
			continue
		}
		kinds = append(kinds, e.Event.Kind)
		if e.Event.Kind == attest.JointAborted {
			if err := e.Event.Open(&aborted); err != nil {
				o.Fatal(err)
			}
		}
	}
	return kinds, aborted
}

func (o *bank) bundled(who seat) (map[attest.Kind]int, string) {
	o.Helper()
	var b bytes.Buffer
	if err := o.n.Bundle(o.Context(), who.Caller, &b); err != nil {
		o.Fatal(err)
	}
	text := b.String()
	r, err := attest.VerifyBundle(&b, o.n.keys.SigningKey().Public())
	if err != nil {
		o.Fatalf("%s: %v", who.Party.ID, err)
	}
	return r.Events, text
}

// TestJointFromStatementToRelease: a partner that was never given the averages has its secret model run over them; scores are the plain model's, pass the
// gate as a result of their own, leave after two votes to the partner alone, and bundles show all of it but weights and scores.
func TestJointFromStatementToRelease(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	x, err := o.n.ExplainJoint(ctx, o.partner.Caller, o.run(nil))
	if err != nil || !x.Decision.Allow || !strings.Contains(x.Text, "3 scores of averages that differ determine a model of 2 weights") || !strings.Contains(x.Text, "one of 5 runs") {
		t.Fatalf("%+v %v %s", x.Decision, err, x.Text)
	}
	s := o.begins(nil)
	out := s.must(s.applied(), nil)
	if out.Question.State != stateInReview || out.Kind != 0 {
		t.Fatalf("%s: %s", out.Question.State, o.record(s.id).Review.Cause)
	}
	rec := o.record(s.id)
	res, err := egress.DecodeResult(rec.Review.Result)
	if err != nil || res.Of != o.of || len(res.Rows) != 4 || len(res.Measures) != 1 || res.Measures[0].Func != sandbox.Score || res.Measures[0].Scale != 3 {
		t.Fatalf("%+v %v", res.Measures, err)
	}
	source, err := egress.DecodeResult(o.record(o.of).Review.Result)
	if err != nil {
		t.Fatal(err)
	}
	published := 0
	for i, row := range res.Rows {
		if row.Suppressed != source.Rows[i].Suppressed || row.Labels[0] != source.Rows[i].Labels[0] {
			t.Fatalf("row %d is of another group", i)
		}
		if row.Suppressed {
			continue
		}
		published++
		z := secretModel.Bias
		for f := range secretModel.Weights {
			z += secretModel.Weights[f] * float64(*source.Rows[i].Values[f]) / math.Pow10(source.Measures[f].Scale)
		}
		if math.Abs(float64(*row.Values[0])/1000-z) > 0.0005+1e-4 {
			t.Errorf("group %d: a score of another model", i)
		}
	}
	if published == 0 || published == 4 {
		t.Fatalf("%d groups are published", published)
	}
	if rec.Review.Flags[0].Rule != egress.FlagScored || len(rec.Review.Evidence) == 0 || rec.Review.Recipient != "bank" || !slices.Equal(rec.Inputs, o.record(o.of).Inputs) {
		t.Errorf("%+v", rec.Review.Flags)
	}
	if x := o.n.joints.find(s.id); x != nil {
		t.Error("a run that has ended is held")
	}
	// The asker sees no result before the second vote; its own sealed release after it.
	if q, err := o.n.Question(ctx, o.partner.Caller, s.id); err != nil || q.Release != "" || q.State != stateInReview {
		t.Errorf("%+v %v", q, err)
	}
	o.approves(s.id)
	q, err := o.n.Question(ctx, o.partner.Caller, s.id)
	if err != nil || q.State != stateReleased {
		t.Fatalf("%s %v", q.State, err)
	}
	envelope, err := o.n.Release(ctx, o.partner.Caller, q.Release)
	if err != nil {
		t.Fatal(err)
	}
	env, err := release.Decode(envelope)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := env.Open(o.reads, o.n.keys.SigningKey().Public(), o.n.now())
	if err != nil || !bytes.Equal(plain, rec.Review.Result) {
		t.Fatal(err)
	}
	if _, err := o.n.Release(ctx, o.operator.Caller, q.Release); err == nil {
		t.Error("another party fetches the scores")
	}
	kinds, _ := o.bundled(o.agency)
	for k, want := range map[attest.Kind]int{attest.JointPlanned: 1, attest.JointShared: 1, attest.JointOpened: 1, attest.JointAborted: 0} {
		if kinds[k] != want {
			t.Errorf("%s: %d, want %d", k, kinds[k], want)
		}
	}
	for _, who := range []struct {
		seat
		planned int
	}{{o.partner, 1}, {o.unit, 1}, {o.operator, 0}} {
		kinds, text := o.bundled(who.seat)
		if kinds[attest.JointPlanned] != who.planned {
			t.Errorf("%s sees %d plans", who.Party.ID, kinds[attest.JointPlanned])
		}
		if strings.Contains(text, "21415926") || strings.Contains(text, "0.625") {
			t.Errorf("a weight stands in the bundle of %s", who.Party.ID)
		}
	}
	usage, err := o.n.Usage(ctx, o.partner.Caller, o.n.now().Format("2006-01"))
	if err != nil || len(usage) != 1 || usage[0].Question != s.id {
		t.Errorf("%+v %v", usage, err)
	}
	// A second run of the party over the result is refused, and so is one over its own scores.
	if j, err := o.asksRun(o.run(nil)); err != nil || !slices.Equal(codesOfDecision(j.Question.Decision), []string{policy.CodeJointOnce}) {
		t.Errorf("%+v %v", j.Question.Decision, err)
	}
	scores := o.run(func(r *attest.JointRun) {
		r.Of, r.Features = s.id, []attest.JointFeature{{Measure: scoreName, Range: 8}}
	})
	if j, err := o.asksRun(scores); err != nil || !slices.Equal(codesOfDecision(j.Question.Decision), []string{policy.CodeJointResult}) {
		t.Errorf("%+v %v", j.Question.Decision, err)
	}
	for _, e := range []any{out, rec.Joint, s} {
		if text := fmt.Sprintf("%v", e); strings.Contains(text, "21415926") {
			t.Error("a weight prints")
		}
	}
}

// TestJointRefusals: each is named before an engine starts and counts nothing; of a result that a party may not use there is one reason.
func TestJointRefusals(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) {
		t.Error("an engine starts")
		return he.NewLocal(rand.Reader), func() {}, [sm.Size]byte{}, nil
	}
	o.scenario("sc-k", 0)
	o.scenario("sc-l", 2)
	waiting, income := o.asksMeans("sc-j", "cost").ID, o.averages("sc-j", "income")
	elsewhere := o.averages("sc-l", "visits")
	for name, x := range map[string]struct {
		change func(*attest.JointRun)
		code   string
	}{
		"a result that waits for its reviewers": {func(r *attest.JointRun) { r.Of = waiting }, policy.CodeJointResult},
		"a result of another scenario":          {func(r *attest.JointRun) { r.Of = elsewhere }, policy.CodeJointResult},
		"no result":                             {func(r *attest.JointRun) { r.Of = "q-none" }, policy.CodeJointResult},
		"a column that is not for the partner": {func(r *attest.JointRun) {
			r.Of, r.Features = income, []attest.JointFeature{{Measure: "income", Range: 100000}}
		}, policy.CodeJointQuestion},
		"a total":                   {func(r *attest.JointRun) { r.Features[0].Measure = "all" }, policy.CodeJointFeatures},
		"a measure that is not":     {func(r *attest.JointRun) { r.Features[0].Measure = "age" }, policy.CodeJointFeatures},
		"too many groups":           {func(r *attest.JointRun) { r.Groups = 65 }, policy.CodeJointForm},
		"too many decimals":         {func(r *attest.JointRun) { r.Decimals = 9 }, policy.CodeJointForm},
		"another purpose":           {func(r *attest.JointRun) { r.Purpose = "marketing" }, policy.CodePurpose},
		"no such scenario":          {func(r *attest.JointRun) { r.Scenario = "sc-9" }, policy.CodeScenario},
		"a scenario without runs":   {func(r *attest.JointRun) { r.Scenario = "sc-k" }, policy.CodeJoint},
		"a scenario it is not of":   {func(r *attest.JointRun) { r.Scenario = "sc-d" }, policy.CodeScenario},
		"no features":               {func(r *attest.JointRun) { r.Features = nil }, policy.CodeJointFeatures},
		"the same measure twice":    {func(r *attest.JointRun) { r.Features[1] = r.Features[0] }, policy.CodeJointFeatures},
		"several things at a time":  {func(r *attest.JointRun) { r.Groups, r.Features = 0, nil }, policy.CodeJointForm},
		"an answer of another type": {func(r *attest.JointRun) { r.Of = "q-" + sandbox.QuestionID(strings.Repeat("0", 20)) }, policy.CodeJointResult},
	} {
		j, err := o.asksRun(o.run(x.change))
		if err != nil || j.Question.Decision.Allow || !slices.Contains(codesOfDecision(j.Question.Decision), x.code) || j.Question.State != stateRefused || j.Plan != nil {
			t.Errorf("%s: %+v %v", name, j.Question.Decision, err)
		}
		explained, err := o.n.ExplainJoint(ctx, o.partner.Caller, o.run(x.change))
		if err != nil || !slices.Equal(codesOfDecision(explained.Decision), codesOfDecision(j.Question.Decision)) || !strings.Contains(explained.Text, x.code) {
			t.Errorf("%s, explained: %+v %v", name, explained.Decision, err)
		}
	}
	for name, change := range map[string]func(*attest.JointRun){
		"a short commitment":  func(r *attest.JointRun) { r.Commitment = r.Commitment[1:] },
		"a range of nothing":  func(r *attest.JointRun) { r.Features[0].Range = 0 },
		"a range below":       func(r *attest.JointRun) { r.Features[0].Range = -1 },
		"no name":             func(r *attest.JointRun) { r.Features[0].Measure = "" },
		"dated in the future": func(r *attest.JointRun) { r.At = r.At.Add(time.Hour) },
		"dated yesterday":     func(r *attest.JointRun) { r.At = r.At.Add(-24 * time.Hour) },
		"a name that is none": func(r *attest.JointRun) { r.Of = "../q" },
		"257 features":        func(r *attest.JointRun) { r.Features = make([]attest.JointFeature, 257) },
	} {
		if _, err := o.asksRun(o.run(change)); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Another's statement, and one of another context.
	r := o.run(nil)
	if _, err := o.n.AskJoint(ctx, o.partner.Caller, o.operator.says(t, attest.ContextJointRun, r)); err == nil {
		t.Error("another's statement begins a run")
	}
	if _, err := o.n.AskJoint(ctx, o.partner.Caller, o.partner.says(t, attest.ContextVote, r)); err == nil {
		t.Error("a statement of another context begins a run")
	}
	if j, err := o.n.AskJoint(ctx, o.unit.Caller, o.unit.says(t, attest.ContextJointRun, r)); err != nil || !slices.Contains(codesOfDecision(j.Question.Decision), policy.CodeRole) {
		t.Errorf("a unit: %+v %v", j.Question.Decision, err)
	}
	sc, _, err := o.n.docs.scenarios.Get(ctx, "sc-j")
	if err != nil {
		t.Fatal(err)
	}
	if used, err := o.n.store.Counter(ctx, jointsOf(sc.Grant.ID)); err != nil || used != 0 {
		t.Errorf("%d counted, %v", used, err)
	}
	// A statement begins one run.
	o.clock()
	st := o.partner.says(t, attest.ContextJointRun, o.run(nil))
	if j, err := o.n.AskJoint(ctx, o.partner.Caller, st); err != nil || j.Question.State != stateComputing {
		t.Fatalf("%+v %v", j.Question, err)
	}
	if _, err := o.n.AskJoint(ctx, o.partner.Caller, st); sandbox.KindOf(err) != sandbox.Conflict || !strings.Contains(err.Error(), "a statement begins one run") {
		t.Errorf("the same statement again: %v", err)
	}
	// What the agency revoked, and what expired, is used no more.
	if _, err := o.n.Act(ctx, o.agency.Caller, o.of, o.agency.says(t, attest.ContextReviewAct, attest.ReviewAct{Question: o.of, State: "released", Result: o.record(o.of).Review.Digest, Act: "revoke", Reason: "r", At: o.n.now()})); err != nil {
		t.Fatal(err)
	}
	if j, err := o.asksRun(o.run(nil)); err != nil || !slices.Equal(codesOfDecision(j.Question.Decision), []string{policy.CodeJointResult}) {
		t.Errorf("revoked: %+v %v", j.Question.Decision, err)
	}
	o.of = elsewhere
	o.later(o.record(elsewhere).Review.Expires.Sub(o.n.now()))
	if j, err := o.asksRun(o.run(func(r *attest.JointRun) { r.Scenario, r.Features = "sc-l", r.Features[:1] })); err != nil || !slices.Equal(codesOfDecision(j.Question.Decision), []string{policy.CodeJointResult}) {
		t.Errorf("expired: %+v %v", j.Question.Decision, err)
	}
}

// ends holds an end to its evidence: aborted by the rule named, once, withheld by one code, without a cause for the asker.
func (s *side) ends(name string, stage string, member sandbox.PartyID, kind sandbox.Kind) {
	s.o.Helper()
	q := s.o.record(s.id)
	kinds, b := s.o.events(s.id)
	count := func(k attest.Kind) (n int) {
		for _, x := range kinds {
			if x == k {
				n++
			}
		}
		return n
	}
	if !q.Joint.Ended || q.Review == nil || q.Review.State != egress.Withheld || count(attest.JointAborted) != 1 || count(attest.JointOpened) != 0 || b.Stage != stage || b.Member != member || b.Kind != kind || b.Rule == "" {
		s.o.Errorf("%s: %v %+v", name, kinds, b)
	}
	seen, err := s.o.n.Joint(s.o.Context(), s.o.partner.Caller, s.id)
	if err != nil || seen.Question.Code != sandbox.CodeWithheld || seen.Cause != "" || seen.Kind != 0 {
		s.o.Errorf("%s: the asker sees %+v, %v", name, seen.Question, err)
	}
	if seen, err = s.o.n.Joint(s.o.Context(), s.o.agency.Caller, s.id); err != nil || seen.Cause == "" {
		s.o.Errorf("%s: the agency sees no cause, %v", name, err)
	}
	if s.o.n.joints.find(s.id) != nil || s.o.n.sums.room[s.id] != 0 {
		s.o.Errorf("%s: it is still held", name)
	}
	for k := he.Commitment; k <= he.Share; k++ {
		if err := s.o.n.JointMessage(s.o.Context(), s.o.partner.Caller, s.id, int(k), &bytes.Buffer{}); sandbox.KindOf(err) != sandbox.Conflict {
			s.o.Errorf("%s: a message is given after the end: %v", name, err)
		}
	}
	if _, err := s.sends(s.last); sandbox.KindOf(err) != sandbox.Conflict {
		s.o.Errorf("%s: a message is taken after the end: %v", name, err)
	}
	if kinds, _ := s.o.bundled(s.o.agency); kinds[attest.JointAborted] == 0 {
		s.o.Errorf("%s: the agency's bundle has no end", name)
	}
	if kinds, _ := s.o.bundled(s.o.partner); kinds[attest.JointAborted] > 0 {
		s.o.Errorf("%s: the asker's bundle says why it ended", name)
	}
}

// TestJointCheats: what is not of the run is refused and ends nothing; a partner that deviates ends it, with evidence, and nothing is read.
func TestJointCheats(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	o.scenario("sc-m", 1000)
	o.of = o.averages("sc-m", "visits", "cost")
	begins := func() *side { return o.begins(func(r *attest.JointRun) { r.Scenario = "sc-m" }) }
	signedAs := func(s *side, kind he.Kind, parts ...[]byte) *he.Message {
		t.Helper()
		m := &he.Message{Kind: kind, Plan: s.plan.Digest(), Parts: parts}
		in := [][]byte{{byte(kind)}, m.Plan[:], {0}}
		for _, p := range parts {
			d := sm.Sum(p)
			in = append(in, d[:])
		}
		var err error
		if m.Sig, err = o.partner.key.Sign(rand.Reader, "opdomain he "+kind.String(), sm.Frame(in...)); err != nil {
			t.Fatal(err)
		}
		return m
	}

	// Of another run, by another, of another kind, and longer than the plan has it: refused, and the run goes on.
	s, other := begins(), begins()
	for name, x := range map[string]struct {
		m    *he.Message
		kind sandbox.Kind
	}{
		"another run's": {other.p.Commitment(), sandbox.Conflict},
		"out of turn":   {signedAs(s, he.Share, make([]byte, 32)), sandbox.Conflict},
		"the gate's":    {s.fetches(he.Commitment), sandbox.Denied},
		"of two parts":  {signedAs(s, he.Commitment, make([]byte, 10), make([]byte, 18)), sandbox.Invalid},
	} {
		if _, err := s.sends(x.m); sandbox.KindOf(err) != x.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := he.AppendMessage(nil, s.p.Commitment())
	take := func(who seat, digest [sm.Size]byte, body []byte) error {
		_, err := o.n.TakeJointMessage(ctx, who.Caller, s.id, int(he.Commitment), digest, bytes.NewReader(body))
		return err
	}
	if err := take(o.partner, sm.Sum([]byte("x")), b); sandbox.KindOf(err) != sandbox.Unsigned {
		t.Errorf("another body than was signed: %v", err)
	}
	if err := take(o.partner, sm.Sum(b), append(b, make([]byte, 1<<12)...)); sandbox.KindOf(err) != sandbox.TooLarge {
		t.Errorf("a longer message: %v", err)
	}
	if err := take(o.partner, sm.Sum(b[:40]), b[:40]); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("a shorter message: %v", err)
	}
	for _, who := range []seat{o.operator, o.unit, o.agency} {
		if err := take(who, sm.Sum(b), b); err == nil {
			t.Errorf("%s takes part", who.Party.ID)
		}
		if err := o.n.JointMessage(ctx, who.Caller, s.id, int(he.Commitment), &bytes.Buffer{}); err == nil {
			t.Errorf("%s fetches a message", who.Party.ID)
		}
	}
	for k := he.KeyShare; k <= he.Share; k++ {
		if err := o.n.JointMessage(ctx, o.partner.Caller, s.id, int(k), &bytes.Buffer{}); sandbox.KindOf(err) != sandbox.NotFound {
			t.Errorf("the gate's %s is there before its time: %v", k, err)
		}
	}
	// The same message again changes nothing; another one of a step that was taken ends the run.
	s.must(s.p.Commitment(), nil)
	if j := s.must(s.p.Commitment(), nil); j.Kind != int(he.KeyShare) {
		t.Errorf("the same again: %d", j.Kind)
	}
	s.must(signedAs(s, he.Commitment, bytes.Repeat([]byte{1}, 32)), nil)
	s.ends("two commitments", "commitment", "bank", sandbox.Conflict)

	// A key share that was not committed to.
	s = begins()
	s.must(s.p.Commitment(), nil)
	other.must(other.p.Commitment(), nil)
	share, err := other.p.Reveal(other.fetches(he.Commitment))
	if err != nil {
		t.Fatal(err)
	}
	s.must(signedAs(s, he.KeyShare, share.Parts[0]), nil)
	s.ends("a mixed key", "key share", "bank", sandbox.Tampered)
	if _, err := o.n.EndJoint(ctx, o.operator.Caller, other.id); err == nil {
		t.Error("another party ends a run")
	}
	if _, err := o.n.EndJoint(ctx, o.partner.Caller, other.id); err != nil {
		t.Error(err)
	}
	other.last = other.p.Commitment()
	other.ends("given up", "gate", "", sandbox.Unavailable)

	// Shares of other scores, scores that no model gives, and what is no ciphertext.
	for name, change := range map[string]func(parts [][]byte){
		"shares that changed places":   func(p [][]byte) { p[1], p[3], p[5], p[7] = p[3], p[5], p[7], p[1] },
		"a coefficient over its prime": func(p [][]byte) { p[0] = bytes.Repeat([]byte{0xff}, len(p[0])) },
		"parts of other lengths":       func(p [][]byte) { p[0], p[1] = append(bytes.Clone(p[0]), 0), p[1][1:] },
	} {
		s := begins()
		m := s.applied()
		parts := slices.Clone(m.Parts)
		change(parts)
		kind := sandbox.Tampered
		if name != "shares that changed places" {
			kind = sandbox.Invalid
		}
		if j := s.must(signedAs(s, he.Share, parts...), nil); j.Question.State != stateWithheld {
			t.Errorf("%s: %s", name, j.Question.State)
		}
		s.ends(name, "share", "bank", kind)
		if j, err := o.asksRun(o.run(func(r *attest.JointRun) { r.Scenario = "sc-m" })); err != nil || !slices.Contains(codesOfDecision(j.Question.Decision), policy.CodeJointOnce) {
			t.Errorf("%s: shares were taken, and another run follows over the result: %+v %v", name, j.Question.Decision, err)
		}
		if err := o.n.store.Tx(ctx, func(ctx context.Context) error { // the next case is over the same result
			_, err := o.n.store.Add(ctx, jointOver(o.of, "bank"), -1, 1)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	// Scores of fewer groups, as another model's size or count would have it, are not of the plan.
	s = begins()
	m := s.applied()
	if _, err := s.sends(signedAs(s, he.Share, m.Parts[:6]...)); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("fewer scores: %v", err)
	}
	if j := s.must(m, nil); j.Question.State != stateInReview {
		t.Errorf("after it: %s", j.Question.State)
	}
}

// TestJointWithheld: more groups than the party answers end a run that was counted, by one code, and averages beyond a range do not show.
func TestJointWithheld(t *testing.T) {
	o := newBank(t)
	j, err := o.asksRun(o.run(func(r *attest.JointRun) { r.Groups = 1 }))
	if err != nil || j.Question.State != stateWithheld || j.Question.Code != sandbox.CodeWithheld || j.Cause != "" || j.Run != 1 {
		t.Fatalf("%+v %v", j, err)
	}
	if _, b := o.events(j.Question.ID); b.Kind != sandbox.Withheld || b.Member != "" {
		t.Errorf("%+v", b)
	}
	s := o.begins(func(r *attest.JointRun) { r.Features[1].Range = 100 })
	m := secretModel
	m.Ranges = []float64{20, 100}
	share, averages := s.encrypted()
	out, err := s.p.Apply(t.Context(), share, averages, &m)
	if err != nil {
		t.Fatal(err)
	}
	if j := s.must(out, nil); j.Question.State != stateInReview {
		t.Fatal(j.Question.State)
	}
	var e jointEvidence
	if err := json.Unmarshal(o.record(s.id).Review.Evidence, &e); err != nil || e.Clipped == 0 || e.Of != o.of || e.Party != "bank" {
		t.Errorf("%+v %v", e, err)
	}
}

// TestJointEnds: silence, a source that was revoked, a party that was shut out, a stop: each ends a run on record; nothing opens twice.
func TestJointEnds(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	s := o.begins(nil)
	s.must(s.p.Commitment(), nil)
	o.later(9 * time.Minute)
	if o.record(s.id).State != stateComputing {
		t.Fatal("ended before its deadline")
	}
	o.later(time.Minute)
	s.ends("silence", "key share", "bank", sandbox.Unavailable)

	// A restart loses the key: the run ends on record, and what comes later opens nothing.
	s = o.begins(nil)
	m := s.applied()
	o.restart()
	o.clock()
	s.last = m
	s.ends("a restart", "gate", "", sandbox.Unavailable)
	o.restart()
	o.clock()
	s.ends("and another", "gate", "", sandbox.Unavailable)

	// Of two runs of a party over a result that go on at once, one is opened: the other ends at its next step. Scores whose source is revoked before they
	// leave go back, and a run over it ends.
	beside := o.begins(nil)
	beside.must(beside.p.Commitment(), nil)
	theirs, err := beside.p.Reveal(beside.fetches(he.Commitment))
	if err != nil {
		t.Fatal(err)
	}
	s = o.begins(nil)
	if j := s.must(s.applied(), nil); j.Question.State != stateInReview {
		t.Fatal(j.Question.State)
	}
	beside.must(theirs, nil)
	beside.ends("beside an opened one", "gate", "", sandbox.Denied)
	// The operator's own run over the result goes on beside it.
	own := o.partner
	o.partner = o.operator
	second := o.begins(nil)
	second.must(second.p.Commitment(), nil)
	share, err := second.p.Reveal(second.fetches(he.Commitment))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.Act(ctx, o.agency.Caller, o.of, o.agency.says(t, attest.ContextReviewAct, attest.ReviewAct{Question: o.of, State: "released", Result: o.record(o.of).Review.Digest, Act: "revoke", Reason: "r", At: o.n.now()})); err != nil {
		t.Fatal(err)
	}
	second.must(share, nil)
	second.ends("the source was revoked", "gate", "", sandbox.Denied)
	o.partner = own
	if _, err := o.votes(o.reviewers[0], s.id); err != nil {
		t.Fatal(err)
	}
	if _, err := o.votes(o.reviewers[1], s.id); err != nil {
		t.Fatal(err)
	}
	if q, err := o.n.Question(ctx, o.partner.Caller, s.id); err != nil || q.State != stateReturned || q.Comment != sourceGone || q.Release != "" {
		t.Errorf("%+v %v", q, err)
	}
	again := attest.ReviewAct{Question: s.id, State: string(egress.Returned), Act: "resubmit", At: o.n.now()}
	if _, err := o.n.Act(ctx, o.partner.Caller, s.id, o.partner.says(t, attest.ContextReviewAct, again)); sandbox.KindOf(err) != sandbox.Denied || !strings.Contains(err.Error(), "scores are read once") {
		t.Errorf("resubmitted: %v", err)
	}
	again.Act = "withdraw"
	if _, err := o.n.Act(ctx, o.partner.Caller, s.id, o.partner.says(t, attest.ContextReviewAct, again)); err != nil {
		t.Errorf("withdrawn: %v", err)
	}
}

// TestJointShutOut: a party whose identity is revoked in a run gets nothing of it, and the runs that were agreed on are all there are.
func TestJointShutOut(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	for range 4 {
		s := o.begins(nil)
		if _, err := o.n.EndJoint(ctx, o.agency.Caller, s.id); err != nil {
			t.Fatal(err)
		}
	}
	s := o.begins(nil)
	if j, err := o.asksRun(o.run(nil)); err != nil || !slices.Equal(codesOfDecision(j.Question.Decision), []string{policy.CodeJointTotal}) {
		t.Errorf("a sixth run: %+v %v", j.Question.Decision, err)
	}
	s.must(s.p.Commitment(), nil)
	if err := o.n.RevokeIdentity(ctx, o.agency.Caller, "bank", "r"); err != nil {
		t.Fatal(err)
	}
	o.n.TendJoints(ctx)
	if q := o.record(s.id); q.State != stateWithheld || q.Review != nil || !q.Joint.Ended {
		t.Errorf("%s", q.State)
	}
	kinds, b := o.events(s.id)
	if b.Kind != sandbox.Expired || kinds[len(kinds)-1] != attest.JointAborted {
		t.Errorf("%v %+v", kinds, b)
	}
	o.bundled(o.agency)
}

// faultyOp is an engine that fails at one operation: it panics, or hangs until it is told to stop.
type faultyOp struct {
	he.Engine
	at    he.Op
	hangs func() // ends the step's time; nil: it panics
}

func (f faultyOp) Do(ctx context.Context, op he.Op, args ...[]byte) ([][]byte, error) {
	if op == f.at && f.hangs == nil {
		panic("a fault of the domain")
	}
	if op == f.at {
		f.hangs()
		<-ctx.Done()
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "its process runs"}
	}
	return f.Engine.Do(ctx, op, args...)
}

// TestJointFaults: a fault in a step, and an engine that hangs, end the run on record; the domain lives, and the next run comes to its end.
func TestJointFaults(t *testing.T) {
	o := newBank(t)
	engine := func(f faultyOp) {
		f.Engine = he.NewLocal(rand.Reader)
		o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) { return f, func() {}, sm.Sum([]byte("p")), nil }
	}
	engine(faultyOp{at: he.OpNewShare})
	j, err := o.asksRun(o.run(nil))
	if err != nil || j.Question.State != stateWithheld {
		t.Fatalf("%+v %v", j.Question, err)
	}
	if _, b := o.events(j.Question.ID); b.Kind != sandbox.Internal {
		t.Errorf("%+v", b)
	}
	engine(faultyOp{at: he.OpEncryptFor})
	s := o.begins(nil)
	s.must(s.p.Commitment(), nil)
	s.must(s.p.Reveal(s.fetches(he.Commitment)))
	s.ends("a fault", "gate", "", sandbox.Internal)
	var over context.CancelFunc
	o.n.sums.bound = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, over = context.WithCancel(ctx)
		return ctx, over
	}
	engine(faultyOp{at: he.OpOpenOne, hangs: func() { over() }})
	s = o.begins(nil)
	s.must(s.applied(), nil)
	o.n.sums.bound = nil
	s.ends("an engine that hangs", "share", "", sandbox.Unavailable)
	own := o.partner
	o.partner = o.operator
	o.clock()
	s = o.begins(nil)
	if j := s.must(s.applied(), nil); j.Question.State != stateInReview {
		t.Errorf("after them: %s", j.Question.State)
	}
	o.partner = own
}
