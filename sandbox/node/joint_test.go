package node

import (
	"bytes"
	"crypto/rand"
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
