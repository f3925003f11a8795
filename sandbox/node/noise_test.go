package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// noisy is an office with a partner and a dataset of 500 people, whose numbers leave as a rule on the column code says.
type noisy struct {
	*office
	partner seat
}

func newNoisy(t *testing.T, rules map[sandbox.ScenarioID]sandbox.Noise) *noisy {
	t.Helper()
	ctx := t.Context()
	o := &noisy{office: &office{T: t, dir: filepath.Join(t.TempDir(), "d"), agency: seated(t, "agency", sandbox.Agency), unit: seated(t, "unit", sandbox.Unit),
		operator: seated(t, "operator", sandbox.Operator)}, partner: seated(t, "partner", sandbox.Partner)}
	n, err := Create(ctx, testConfig(o.dir), Founding{Domain: "d", Hosting: sandbox.P1, District: "longhua", Keys: keys.Params{Time: 1, Memory: 64, Threads: 1},
		Enrolled: []api.Enrolment{o.agency.enrolment, o.unit.enrolment, o.operator.enrolment, o.partner.enrolment}})
	if err != nil {
		t.Fatal(err)
	}
	o.n = n
	if _, err := n.RegisterDataset(ctx, o.unit.Caller, codes); err != nil {
		t.Fatal(err)
	}
	o.rows("run-1", 500)
	uses := []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter, sandbox.UseMap}
	for id, rule := range rules {
		s, err := n.FileScenario(ctx, o.operator.Caller, grant.Application{ID: id, Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Partners: []sandbox.PartyID{"partner"},
			Purpose: "planning", Description: "d",
			List:       []sandbox.ListItem{{Dataset: "ds-c", Columns: []sandbox.ColumnRule{{Column: "code", Uses: uses, Noise: rule}, {Column: "kind", Uses: uses}}}},
			TermMonths: 12, Classes: []sandbox.Class{sandbox.ClassA}, Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}})
		for _, who := range []struct {
			seat
			step string
		}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {o.unit, grant.StepUnit}} {
			if err == nil {
				d := attest.ScenarioDecision{Scenario: id, ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: n.now()}
				s, err = n.DecideScenario(ctx, who.Caller, id, who.says(t, attest.ContextDecision, d))
			}
		}
		for _, who := range []seat{o.operator, o.agency, o.partner, o.unit} {
			if err == nil {
				a := attest.AgreementSignature{Scenario: id, Digest: s.AgreementDigest, Party: who.Party.ID, At: n.now()}
				s, err = n.SignAgreement(ctx, who.Caller, id, who.says(t, attest.ContextAgreement, a))
			}
		}
		if err != nil || s.Grant == nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	return o
}

// rows pushes a version: people of codes a, b and c in the parts 300, 196 and 4 of 500, of kinds x and y.
func (o *noisy) rows(run sandbox.RunID, people int) {
	o.Helper()
	ctx := o.Context()
	set, _, err := o.n.docs.datasets.Get(ctx, "ds-c")
	if err != nil {
		o.Fatal(err)
	}
	opened(o.T, o.n, set, run)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	var who []sandbox.Pseudonym
	for i := range people {
		code := "a"
		if i%500 >= 300 {
			code = "b"
		}
		if i%500 >= 496 {
			code = "c"
		}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("person ", i))
		b.Field(1).(*array.StringBuilder).Append(code)
		b.Field(2).(*array.StringBuilder).Append([]string{"x", "y"}[i%2])
		var p sandbox.Pseudonym
		copy(p[:], fmt.Sprintf("p%015d", i))
		who = append(who, p)
	}
	rec := b.NewRecord()
	defer rec.Release()
	w, err := o.n.vault.Begin(ctx, set.Unit, "ds-c", run, batch.Schema(set), 3)
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
	rep := api.PushReport{Run: run, Dataset: "ds-c", Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}
	if err := o.n.committed(ctx, domainIdentity, snap, rep, nil, nil); err != nil {
		o.Fatal(err)
	}
}

var (
	countOf  = query.Measure{Func: sandbox.Count, As: "rows"}
	peopleOf = query.Measure{Func: sandbox.Subjects, As: "people"}
)

func asking(sc sandbox.ScenarioID, columns []string, measures ...query.Measure) query.Spec {
	s := query.Spec{Scenario: sc, Purpose: "planning", Inputs: []query.Input{{Alias: "c", Dataset: "ds-c"}}, Measures: measures}
	for _, c := range columns {
		s.Dimensions = append(s.Dimensions, query.Dimension{Column: "c." + c, As: c})
	}
	return s
}

func (o *noisy) asks(by seat, s query.Spec) api.Question {
	o.Helper()
	q, err := o.n.Ask(o.Context(), by.Caller, s)
	if err != nil {
		o.Fatal(err)
	}
	return q
}

// result gives what goes to review, values by label and measure.
func (o *noisy) result(q api.Question) (map[string]int64, egress.Result) {
	o.Helper()
	rec, _, err := o.n.docs.questions.Get(o.Context(), string(q.ID))
	if err != nil {
		o.Fatal(err)
	}
	if q.State != stateInReview {
		o.Fatalf("%s: %+v %s", q.State, q.Decision.Reasons, rec.Review.Cause)
	}
	r, err := egress.DecodeResult(rec.Review.Result)
	if err != nil {
		o.Fatal(err)
	}
	out := map[string]int64{}
	for _, row := range r.Rows {
		labels := slices.Clone(row.Labels)
		slices.Sort(labels)
		for m, v := range row.Values {
			out[strings.Join(labels, " ")+" "+string(r.Measures[m].Func)] = *v
		}
	}
	return out, r
}

func (o *noisy) spent() sandbox.Privacy {
	o.Helper()
	e, err := o.n.store.Counter(o.Context(), epsilonOf("ds-c"))
	if err != nil {
		o.Fatal(err)
	}
	d, err := o.n.store.Counter(o.Context(), deltaOf("ds-c"))
	if err != nil {
		o.Fatal(err)
	}
	return sandbox.Privacy{Epsilon: e, Delta: d}
}

// recorded adds up what the log says was spent.
func (o *noisy) recorded() (all sandbox.Privacy) {
	o.Helper()
	for e, err := range o.n.evidence.Events(o.Context()) {
		if err != nil {
			o.Fatal(err)
		}
		var b attest.QuestionDecidedBody
		if e.Event.Kind != attest.QuestionDecided {
			continue
		}
		if err := e.Event.Open(&b); err != nil {
			o.Fatal(err)
		}
		all.Epsilon, all.Delta = all.Epsilon+b.Privacy.Epsilon, all.Delta+b.Privacy.Delta
	}
	return all
}

var oneRelease = sandbox.Noise{Kind: sandbox.NoiseDP, Release: sandbox.Privacy{Epsilon: 1_000_000, Delta: 1000}, Budget: sandbox.Privacy{Epsilon: 5_000_000, Delta: 1_000_000}}

// TestPrivateAnswers: a release is charged once over all askers, forms and restarts, gives everybody the same numbers, and what does not
// fit is refused before data.
func TestPrivateAnswers(t *testing.T) {
	o := newNoisy(t, map[sandbox.ScenarioID]sandbox.Noise{"sc-1": oneRelease, "sc-2": oneRelease})
	first := asking("sc-1", []string{"code"}, countOf, peopleOf)
	x, err := o.n.Explain(t.Context(), o.operator.Caller, first)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"noise 加噪 dp: leaves under differential privacy, ε 1.000000, δ 1000·10⁻¹² a release", "3 releases, together at most ε 3.000000", "standard deviation of the noise 加噪标准差: "} {
		if !strings.Contains(x.Text, want) {
			t.Errorf("%q is not in\n%s", want, x.Text)
		}
	}
	if o.spent() != (sandbox.Privacy{}) {
		t.Error("explaining is charged")
	}
	got, r := o.result(o.asks(o.operator, first))
	sd := r.Measures[0].Noise.Deviation
	if len(r.Rows) != 2 || r.Measures[0].Noise.Kind != sandbox.NoiseDP || sd != x.Derivation.Outputs[0].Deviation {
		t.Fatalf("%d rows, %+v", len(r.Rows), r.Measures[0].Noise)
	}
	for key, want := range map[string]int64{"a count": 300, "b subjects": 196} {
		if off := (got[key] - want) * 1000; off > 8*sd || off < -8*sd {
			t.Errorf("%s is %d", key, got[key])
		}
	}
	three := sandbox.Privacy{Epsilon: 3_000_000, Delta: 3000}
	if o.spent() != three {
		t.Fatal(o.spent())
	}
	// Another asker, another scenario, other names and order; then after a restart.
	named := func(m query.Measure) query.Measure { m.As += "'"; return m }
	for i, s := range []query.Spec{asking("sc-1", []string{"code"}, named(peopleOf), countOf), asking("sc-2", []string{"code"}, countOf), asking("sc-2", []string{"code"}, named(peopleOf))} {
		if i == 1 {
			o.restart()
		}
		again, _ := o.result(o.asks(o.partner, s))
		for key, v := range again {
			if got[key] != v {
				t.Errorf("form %d: %s is %d, was %d", i, key, v, got[key])
			}
		}
		if len(again) == 0 || o.spent() != three {
			t.Errorf("form %d: %d values, spent %s", i, len(again), o.spent())
		}
	}
	if o.recorded() != three {
		t.Errorf("the log has %s spent", o.recorded())
	}
	// Two more fit, three do not.
	q := o.asks(o.operator, asking("sc-1", []string{"kind", "code"}, countOf, peopleOf))
	if q.State != stateRefused || len(q.Decision.Reasons) != 1 || q.Decision.Reasons[0].Code != policy.CodePrivacy || q.Decision.Reasons[0].Change != "leave out 1 of the measures that were not asked before" {
		t.Fatalf("%s %+v", q.State, q.Decision.Reasons)
	}
	if o.spent() != three {
		t.Error("a refusal is charged")
	}
	both, _ := o.result(o.asks(o.operator, asking("sc-1", []string{"kind", "code"}, countOf)))
	swapped, _ := o.result(o.asks(o.partner, asking("sc-1", []string{"code", "kind"}, countOf)))
	if len(both) == 0 || fmt.Sprint(both) != fmt.Sprint(swapped) {
		t.Errorf("%v and %v", both, swapped)
	}
	all := sandbox.Privacy{Epsilon: 5_000_000, Delta: 5000}
	if o.spent() != all {
		t.Error(o.spent())
	}
	// A new version and another scenario refill nothing; what was drawn stays askable.
	o.rows("run-2", 1000)
	if q := o.asks(o.partner, asking("sc-2", []string{"code"}, countOf)); q.State != stateRefused || q.Decision.Reasons[0].Code != policy.CodePrivacy || !strings.HasPrefix(q.Decision.Reasons[0].Change, "ask again what was answered") {
		t.Errorf("%s %+v", q.State, q.Decision.Reasons)
	}
	old := asking("sc-2", []string{"code"}, countOf)
	old.Measures[0].As = "once more"
	old.Inputs[0].Version = 1
	again, _ := o.result(o.asks(o.operator, old))
	if again["a count"] != got["a count"] || o.spent() != all || o.recorded() != all {
		t.Errorf("%v, spent %s", again, o.spent())
	}
}

// TestAveragingGetsNothing asks for one count in a hundred forms, by two askers under two scenarios.
func TestAveragingGetsNothing(t *testing.T) {
	o := newNoisy(t, map[sandbox.ScenarioID]sandbox.Noise{"sc-1": oneRelease, "sc-2": oneRelease})
	seen := map[int64]bool{}
	for i := range 100 {
		m := countOf
		m.As = fmt.Sprint("rows ", i)
		v, _ := o.result(o.asks([]seat{o.operator, o.partner}[i%2], asking([]sandbox.ScenarioID{"sc-1", "sc-2"}[i/2%2], []string{"code"}, m)))
		seen[v["a count"]] = true
	}
	if len(seen) != 1 || o.spent().Epsilon != 2_000_000 {
		t.Errorf("%d different answers, spent %s", len(seen), o.spent())
	}
}

// killed goes on from what is on the disk, without a word to the process that wrote it.
func (o *noisy) killed() {
	o.Helper()
	dir, old := filepath.Join(o.TempDir(), "d"), o.n
	if err := os.CopyFS(dir, os.DirFS(o.dir)); err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { closed(o.T, old) })
	o.dir, o.n = dir, reopen(o.T, dir)
}

// TestCrashAfterTheCharge kills the process between the charge and the draw, and between the draw and the review: the budget is spent once,
// and what was drawn is what leaves.
func TestCrashAfterTheCharge(t *testing.T) {
	o := newNoisy(t, map[sandbox.ScenarioID]sandbox.Noise{"sc-1": oneRelease})
	ctx := t.Context()
	accepted := func(s query.Spec) (query.Derivation, questionRecord) {
		t.Helper()
		f, sc, err := o.n.facts(ctx, o.operator.Caller, s, o.n.now())
		if err != nil {
			t.Fatal(err)
		}
		decision, d := policy.Evaluate(f, s)
		q := questionRecord{Asker: "operator", Party: "operator", Spec: s, Decision: decision, Asked: o.n.now()}
		if q.Inputs, err = versions(d, f.Datasets); err != nil {
			t.Fatal(err)
		}
		if _, err := o.n.identify(ctx, &q, o.n.now()); err != nil {
			t.Fatal(err)
		}
		if err := o.n.accept(ctx, o.operator.Caller, sc, d, f.Datasets, &q); err != nil {
			t.Fatal(err)
		}
		return d, q
	}
	s := asking("sc-1", []string{"code"}, countOf)
	accepted(s)
	two := sandbox.Privacy{Epsilon: 2_000_000, Delta: 2000}
	if o.spent() != two {
		t.Fatal(o.spent())
	}
	o.killed()
	if o.spent() != two {
		t.Fatal("the budget came back")
	}
	if v, _ := o.result(o.asks(o.operator, s)); len(v) != 2 || o.spent() != two {
		t.Errorf("%d values, spent %s", len(v), o.spent())
	}
	// Drawn, and not submitted.
	s = asking("sc-1", []string{"code"}, peopleOf)
	d, q := accepted(s)
	a, err := o.n.answer(ctx, d, q.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.n.populations.load(ctx, o.n, false); err != nil {
		t.Fatal(err)
	}
	c, err := o.n.protect(ctx, d, &q, a, o.n.thresholds(d))
	if err != nil {
		t.Fatal(err)
	}
	o.killed()
	v, r := o.result(o.asks(o.operator, s))
	if was, err := egress.DecodeResult(c.Result); err != nil || len(v) != 2 || fmt.Sprint(*was.Rows[0].Values[0], *was.Rows[1].Values[0]) != fmt.Sprint(*r.Rows[0].Values[0], *r.Rows[1].Values[0]) {
		t.Errorf("%v: other noise after the crash", err)
	}
	if o.spent() != (sandbox.Privacy{Epsilon: 3_000_000, Delta: 3000}) {
		t.Error(o.spent())
	}
	// A record that is gone is not drawn anew.
	if _, rev, err := o.n.docs.questions.Get(ctx, string(q.ID)); err != nil || rev == 0 {
		t.Fatal(err)
	}
	if err := o.n.docs.draws.Delete(ctx, q.Noise.Releases[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.protect(ctx, d, &q, a, o.n.thresholds(d)); err == nil {
		t.Error("a draw that is gone is drawn again")
	}
}

// TestCountsLeaveRoundedAndPerturbed: the strictest rule of the columns used holds, and says what it is and what error to expect.
func TestCountsLeaveRoundedAndPerturbed(t *testing.T) {
	o := newNoisy(t, map[sandbox.ScenarioID]sandbox.Noise{"sc-r": {Kind: sandbox.NoiseRounded}, "sc-p": {Kind: sandbox.NoisePerturbed}})
	for sc, kind := range map[sandbox.ScenarioID]sandbox.NoiseKind{"sc-r": sandbox.NoiseRounded, "sc-p": sandbox.NoisePerturbed} {
		s := asking(sc, []string{"code"}, countOf, peopleOf)
		x, err := o.n.Explain(t.Context(), o.operator.Caller, s)
		if err != nil || !strings.Contains(x.Text, "noise 加噪 "+string(kind)) || x.Derivation.Outputs[0].Deviation < 1000 {
			t.Errorf("%v\n%s", err, x.Text)
		}
		v, r := o.result(o.asks(o.operator, s))
		if m := r.Measures[0].Noise; m.Kind != kind || m.Deviation != x.Derivation.Outputs[0].Deviation {
			t.Errorf("%+v", m)
		}
		for key, n := range v {
			if kind == sandbox.NoiseRounded && n%5 != 0 {
				t.Errorf("%s is %d", key, n)
			}
			if strings.HasSuffix(key, "count") && v[strings.Replace(key, "count", "subjects", 1)] != n {
				t.Errorf("one row each, and %s is %d", key, n)
			}
		}
		if len(v) == 0 {
			t.Error("nothing left")
		}
		// Without the column nothing is asked of the numbers.
		plain, r := o.result(o.asks(o.operator, asking(sc, []string{"kind"}, countOf)))
		if r.Measures[0].Noise.Kind != "" || plain["x count"] != 250 {
			t.Errorf("%+v %v", r.Measures[0].Noise, plain)
		}
	}
}
