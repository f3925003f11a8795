package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/policy"
)

// bureau is an office whose operator has a scoring model, with an insurer that has customers.
type bureau struct {
	*noisy
	insurer seat
	file    scorecard.File
	engines int // started
	starts  func() (he.Engine, error)
}

func newBureau(t *testing.T) *bureau {
	t.Helper()
	o := &bureau{noisy: newNoisy(t, nil), insurer: seated(t, "insurer", sandbox.Insurer)}
	if err := o.n.EnrolParty(t.Context(), o.agency.Caller, o.insurer.enrolment); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*seat{&o.insurer, &o.operator, &o.partner, &o.unit} {
		d := sm.Sum([]byte("a signed request"))
		who.Request = d[:]
	}
	o.starts = func() (he.Engine, error) { return he.NewLocal(rand.Reader), nil }
	o.open()
	o.file = scorecard.File{Name: "credit", Version: "1.0.0", Title: "信用评分", Link: he.LogisticLink, Bias: -2.34567, Salt: bytes.Repeat([]byte{7}, scorecard.SaltSize), Features: []scorecard.Weighted{
		{ScoringFeature: attest.ScoringFeature{Name: "age", Unit: "岁", Min: 18, Max: 100}, Weight: 0.03141592},
		{ScoringFeature: attest.ScoringFeature{Name: "debt", Min: -2, Max: 2}, Weight: 0.5},
		{ScoringFeature: attest.ScoringFeature{Name: "years", Min: 0, Max: 40}, Weight: -0.025}}}
	return o
}

// open makes the engines of tests the node's.
func (o *bureau) open() {
	o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) {
		e, err := o.starts()
		if err == nil {
			o.engines++
		}
		return e, func() {}, sm.Sum([]byte("a test's own process")), err
	}
}

func (o *bureau) filing(f scorecard.File, by seat) (api.ScoringModel, error) {
	o.Helper()
	filing := f.Filing(o.n.now())
	sealed, err := o.n.keys.DecryptKey().Public().SealMessage(rand.Reader, scorecard.Context, f.Secret().Encode())
	if err != nil {
		o.Fatal(err)
	}
	return o.n.FileScoringModel(o.Context(), by.Caller, api.ScoringFiling{Statement: by.says(o.T, attest.ContextScoringModel, filing), Sealed: sealed})
}

func (o *bureau) approval(m api.ScoringModel, by seat) (api.ScoringModel, error) {
	o.Helper()
	return o.n.ApproveScoringModel(o.Context(), by.Caller, m.ID, by.says(o.T, attest.ContextScoringApproval, attest.ScoringModelApproval{Name: m.Name, Version: m.Version, Filing: m.Filing, At: o.n.now()}))
}

func (o *bureau) withdrawal(m api.ScoringModel, by seat) (api.ScoringModel, error) {
	o.Helper()
	return o.n.WithdrawScoringModel(o.Context(), by.Caller, m.ID, by.says(o.T, attest.ContextScoringWithdraw, attest.ScoringModelWithdrawal{Name: m.Name, Version: m.Version, Reason: "r", At: o.n.now()}))
}

func (o *bureau) approved() api.ScoringModel {
	o.Helper()
	m, err := o.filing(o.file, o.operator)
	if err == nil {
		m, err = o.approval(m, o.agency)
	}
	if err != nil || m.State != scoringApproved {
		o.Fatal(m, err)
	}
	return m
}

// granted files a scenario with model uses, and has everybody agree.
func (o *bureau) granted(id sandbox.ScenarioID, uses ...grant.ModelUse) grant.Scenario {
	o.Helper()
	ctx := o.Context()
	s, err := o.n.FileScenario(ctx, o.operator.Caller, o.application(id, uses...))
	for _, who := range []struct {
		seat
		step string
	}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {o.unit, grant.StepUnit}} {
		if err == nil {
			d := attest.ScenarioDecision{Scenario: id, ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: o.n.now()}
			s, err = o.n.DecideScenario(ctx, who.Caller, id, who.says(o.T, attest.ContextDecision, d))
		}
	}
	for _, who := range []seat{o.operator, o.agency, o.partner, o.unit} {
		if err == nil {
			a := attest.AgreementSignature{Scenario: id, Digest: s.AgreementDigest, Party: who.Party.ID, At: o.n.now()}
			s, err = o.n.SignAgreement(ctx, who.Caller, id, who.says(o.T, attest.ContextAgreement, a))
		}
	}
	if err != nil || s.Grant == nil {
		o.Fatalf("%s: %v", id, err)
	}
	return s
}

func (o *bureau) application(id sandbox.ScenarioID, uses ...grant.ModelUse) grant.Application {
	return grant.Application{ID: id, Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Partners: []sandbox.PartyID{"partner"}, Insurers: []sandbox.PartyID{"insurer"},
		Purpose: "credit", Description: "d", List: []sandbox.ListItem{{Dataset: "ds-c", Columns: []sandbox.ColumnRule{{Column: "code", Uses: []sandbox.Use{sandbox.UseGroup}}}}},
		TermMonths: 12, Classes: []sandbox.Class{sandbox.ClassA}, Models: uses, Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}}
}

var customersOfTests = [][]float64{{18, -2, 0}, {61, 0.25, 12}, {100, 2, 40}}

// singles encrypts customers one by one.
func (o *bureau) singles(a *he.Asker, customers ...[]float64) api.ScoringRequest {
	o.Helper()
	r := api.ScoringRequest{Scenario: "sc-1", Purpose: "credit", Public: a.Keys.One}
	for _, x := range customers {
		ct, err := a.EncryptOne(o.Context(), scorecard.Ranges(o.file.Filing(o.n.now()).Features), x)
		if err != nil {
			o.Fatal(err)
		}
		r.Features = append(r.Features, ct)
	}
	return r
}

func (o *bureau) asker() *he.Asker {
	o.Helper()
	a, err := he.NewAsker(o.Context(), he.NewLocal(rand.Reader))
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(a.Close)
	return a
}

func (o *bureau) used() int64 {
	o.Helper()
	sc, _, err := o.n.docs.scenarios.Get(o.Context(), "sc-1")
	if err != nil {
		o.Fatal(err)
	}
	v, err := o.n.store.Counter(o.Context(), (&scoring{model: "credit-1.0.0", grant: &sc}).counter(""))
	if err != nil {
		o.Fatal(err)
	}
	return v
}

// bundled exports for a party and verifies; it gives the counted kinds and the text.
func (o *bureau) bundled(who seat) (map[attest.Kind]int, string) {
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

func codesOfDecision(d sandbox.Decision) (out []string) {
	for _, r := range d.Reasons {
		out = append(out, r.Code)
	}
	return out
}

// TestScoringFromFilingToBill: a model is filed, approved, granted and asked by an insurer; scores are the plain model's within the bound, in
// singles and in a batch; what is counted outlives the process; the bill follows, and bundles show it all but the weights.
func TestScoringFromFilingToBill(t *testing.T) {
	o, ctx := newBureau(t), t.Context()
	m := o.approved()
	o.granted("sc-1", grant.ModelUse{Model: m.ID, PerDay: 8200, Total: 8200})
	a := o.asker()
	got, err := o.n.Score(ctx, o.insurer.Caller, m.ID, o.singles(a, customersOfTests...))
	if err != nil || !got.Decision.Allow || len(got.Scores) != 3 || got.Counted != 3 || got.LeftAll != 8197 || got.LeftDay != 8197 {
		t.Fatalf("%+v %v %d", got.Decision, err, got.LeftAll)
	}
	check := func(how string, i int, s he.Scores, v float64) {
		t.Helper()
		if want := o.file.Plain(customersOfTests[i]); math.Abs(v-want) > s.Bound || s.Bound > 2e-3 {
			t.Errorf("%s, customer %d: beyond its bound", how, i)
		}
	}
	for i, ct := range got.Scores {
		s, err := a.DecryptOne(ctx, he.LogisticLink, ct)
		if err != nil {
			t.Fatal(err)
		}
		check("single", i, s, s.Values[0])
	}
	o.restart()
	o.open()
	if o.used() != 3 {
		t.Errorf("%d counted after a restart", o.used())
	}
	columns := make([][]float64, 3)
	for f := range columns {
		for _, c := range customersOfTests {
			columns[f] = append(columns[f], c[f])
		}
	}
	cts, err := a.Encrypt(ctx, scorecard.Ranges(m.Features), columns)
	if err != nil {
		t.Fatal(err)
	}
	batch := api.ScoringRequest{Scenario: "sc-1", Purpose: "credit", Batch: true, Public: a.Keys.Public, Relinearisation: a.Keys.Relinearisation, Features: cts}
	if got, err = o.n.Score(ctx, o.operator.Caller, m.ID, batch); err != nil || len(got.Scores) != 1 || got.Counted != he.BatchCustomers || got.LeftAll != 5 {
		t.Fatalf("%+v %v", got.Decision, err)
	}
	s, err := a.Decrypt(ctx, he.LogisticLink, got.Scores[0], 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range s.Values {
		check("batch", i, s, v)
	}
	// A batch counts as all it has room for: another one is over, and so are six of a party that pools with the others.
	if got, err = o.n.Score(ctx, o.operator.Caller, m.ID, batch); err != nil || got.Decision.Allow || len(got.Scores) > 0 || !slices.Equal(codesOfDecision(got.Decision), []string{policy.CodeModelPerDay, policy.CodeModelTotal}) {
		t.Errorf("%+v %v", got.Decision, err)
	}
	six := o.singles(a, customersOfTests[0], customersOfTests[1], customersOfTests[2], customersOfTests[0], customersOfTests[1], customersOfTests[2])
	if got, err = o.n.Score(ctx, o.partner.Caller, m.ID, six); err != nil || got.Decision.Allow || o.used() != 8195 {
		t.Errorf("%+v %v", got.Decision, err)
	}
	usage, err := o.n.Usage(ctx, o.insurer.Caller, "2026-03")
	if err != nil || len(usage) != 1 || usage[0].Product != meter.ScoringCustomers || usage[0].Quantity != 4 {
		t.Errorf("%+v %v", usage, err)
	}
	inv, err := o.n.IssueInvoice(ctx, o.agency.Caller, api.InvoiceRequest{Party: "insurer", Month: "2026-03"})
	if err != nil || len(inv.Lines) != 1 || inv.Total != 40 {
		t.Errorf("%+v %v", inv, err)
	}
	if _, err := o.withdrawal(m, o.operator); err != nil {
		t.Fatal(err)
	}
	if got, err = o.n.Score(ctx, o.insurer.Caller, m.ID, o.singles(a, customersOfTests[0])); err != nil || !slices.Equal(codesOfDecision(got.Decision), []string{policy.CodeModelGone}) {
		t.Errorf("%+v %v", got.Decision, err)
	}
	if _, err := o.n.FileScenario(ctx, o.operator.Caller, o.application("sc-2", grant.ModelUse{Model: m.ID, PerDay: 1, Total: 1})); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("a scenario lists a withdrawn model: %v", err)
	}
	kinds, _ := o.bundled(seat{Caller: o.agency.Caller})
	for k, want := range map[attest.Kind]int{attest.ScoringModelFiled: 1, attest.ScoringModelApproved: 1, attest.ScoringModelWithdrawn: 1, attest.ScoringDecided: 5, attest.ScoringAnswered: 2} {
		if kinds[k] != want {
			t.Errorf("%s: %d, want %d", k, kinds[k], want)
		}
	}
	for _, who := range []struct {
		seat
		decided int
	}{{o.insurer, 2}, {o.partner, 1}, {o.operator, 5}, {o.unit, 5}} { // the operator owns the model; the unit's data stand in the scenario
		kinds, text := o.bundled(who.seat)
		if kinds[attest.ScoringDecided] != who.decided || kinds[attest.ScoringModelFiled] != 1 {
			t.Errorf("%s sees %d of %s", who.Party.ID, kinds[attest.ScoringDecided], attest.ScoringDecided)
		}
		if strings.Contains(text, "0.03141592") || strings.Contains(text, "2.34567") {
			t.Errorf("a weight stands in the bundle of %s", who.Party.ID)
		}
	}
}

// TestScoringRefusals: each is named before an engine starts, on record, and counts nothing.
func TestScoringRefusals(t *testing.T) {
	o, ctx := newBureau(t), t.Context()
	filed, err := o.filing(o.file, o.operator)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.FileScenario(ctx, o.operator.Caller, o.application("sc-1", grant.ModelUse{Model: filed.ID, PerDay: 5, Total: 9})); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("a scenario lists a model that nobody approved: %v", err)
	}
	m, err := o.approval(filed, o.agency)
	if err != nil {
		t.Fatal(err)
	}
	o.granted("sc-1", grant.ModelUse{Model: m.ID, PerDay: 2, Total: 9})
	a := o.asker()
	one := o.singles(a, customersOfTests[0])
	with := func(change func(*api.ScoringRequest)) api.ScoringRequest {
		r := one
		change(&r)
		return r
	}
	for name, x := range map[string]struct {
		by    seat
		model sandbox.ModelID
		r     api.ScoringRequest
		want  string
	}{
		"another model":    {o.insurer, "other-1.0.0", one, policy.CodeModel},
		"another purpose":  {o.insurer, m.ID, with(func(r *api.ScoringRequest) { r.Purpose = "marketing" }), policy.CodePurpose},
		"another scenario": {o.insurer, m.ID, with(func(r *api.ScoringRequest) { r.Scenario = "sc-9" }), policy.CodeScenario},
		"a unit":           {o.unit, m.ID, one, policy.CodeRole},
		"three of a day of two": {o.insurer, m.ID, with(func(r *api.ScoringRequest) {
			r.Features = [][]byte{one.Features[0], one.Features[0], one.Features[0]}
		}), policy.CodeModelPerDay},
		"a batch": {o.insurer, m.ID, with(func(r *api.ScoringRequest) { r.Batch = true }), policy.CodeModelTotal},
	} {
		got, err := o.n.Score(ctx, x.by.Caller, x.model, x.r)
		if err != nil || got.Decision.Allow || !slices.Contains(codesOfDecision(got.Decision), x.want) || len(got.Scores) > 0 || got.Counted > 0 {
			t.Errorf("%s: %+v %v", name, got.Decision, err)
		}
	}
	for name, change := range map[string]func(*api.ScoringRequest){
		"nobody":            func(r *api.ScoringRequest) { r.Features = nil },
		"seventeen":         func(r *api.ScoringRequest) { r.Features = slices.Repeat(r.Features, 17) },
		"a byte less":       func(r *api.ScoringRequest) { r.Features = [][]byte{r.Features[0][1:]} },
		"a byte more":       func(r *api.ScoringRequest) { r.Features = [][]byte{append(bytes.Clone(r.Features[0]), 0)} },
		"a short key":       func(r *api.ScoringRequest) { r.Public = r.Public[8:] },
		"a batch's key":     func(r *api.ScoringRequest) { r.Public = a.Keys.Public },
		"a key not of use":  func(r *api.ScoringRequest) { r.Relinearisation = []byte{1} },
		"an empty customer": func(r *api.ScoringRequest) { r.Features = [][]byte{nil} },
	} {
		if got, err := o.n.Score(ctx, o.insurer.Caller, m.ID, with(change)); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("%s: %+v %v", name, got.Decision, err)
		}
	}
	if o.engines != 0 || o.used() != 0 {
		t.Errorf("%d engines, %d counted", o.engines, o.used())
	}
	o.starts = func() (he.Engine, error) {
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "jail", Detail: "none"}
	}
	if _, err := o.n.Score(ctx, o.insurer.Caller, m.ID, one); sandbox.KindOf(err) != sandbox.Unavailable || o.used() != 0 {
		t.Errorf("without an engine %d were counted: %v", o.used(), err)
	}
	if usage, err := o.n.Usage(ctx, o.insurer.Caller, "2026-03"); err != nil || len(usage) != 0 {
		t.Errorf("%+v %v", usage, err)
	}
	o.bundled(seat{Caller: o.agency.Caller})
}

// dying is an engine whose process ends at a call.
type dying struct{}

func (dying) Do(context.Context, he.Op, ...[]byte) ([][]byte, error) {
	return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "its process runs"}
}

// TestScoringFaults: what fails once it is counted is counted, metered and on record like what succeeds, and the domain goes on.
func TestScoringFaults(t *testing.T) {
	o, ctx := newBureau(t), t.Context()
	m := o.approved()
	o.granted("sc-1", grant.ModelUse{Model: m.ID, PerDay: 100, Total: 100})
	a := o.asker()
	good := o.singles(a, customersOfTests[0])
	for i, at := range []int{7, len(good.Features[0]) - 1} { // the highest byte of a coefficient of 58 bits
		bad := good
		bad.Features = [][]byte{bytes.Clone(good.Features[0])}
		bad.Features[0][at] = 0xff
		if _, err := o.n.Score(ctx, o.insurer.Caller, m.ID, bad); sandbox.KindOf(err) != sandbox.Invalid || o.used() != int64(i+1) {
			t.Errorf("a coefficient over its modulus: %d counted, %v", o.used(), err)
		}
	}
	o.starts = func() (he.Engine, error) { return dying{}, nil }
	if _, err := o.n.Score(ctx, o.insurer.Caller, m.ID, good); sandbox.KindOf(err) != sandbox.Unavailable || o.used() != 3 {
		t.Errorf("a dead engine: %d counted, %v", o.used(), err)
	}
	o.starts = func() (he.Engine, error) { return he.NewLocal(rand.Reader), nil }
	if got, err := o.n.Score(ctx, o.insurer.Caller, m.ID, good); err != nil || len(got.Scores) != 1 || o.used() != 4 {
		t.Errorf("after the faults: %d counted, %v", o.used(), err)
	}
	usage, err := o.n.Usage(ctx, o.insurer.Caller, "2026-03")
	if err != nil || len(usage) != 4 {
		t.Errorf("%d metered, %v", len(usage), err)
	}
	kinds, _ := o.bundled(seat{Caller: o.agency.Caller})
	if kinds[attest.ScoringAnswered] != 4 {
		t.Errorf("%d ends on record", kinds[attest.ScoringAnswered])
	}
}

// TestScoringCountsOnce: eight requests at the same moment take what is left once.
func TestScoringCountsOnce(t *testing.T) {
	o, ctx := newBureau(t), t.Context()
	m := o.approved()
	o.granted("sc-1", grant.ModelUse{Model: m.ID, PerDay: 100, Total: 100})
	l := he.ScoringLengths()
	r := api.ScoringRequest{Scenario: "sc-1", Purpose: "credit", Public: make([]byte, l.OnePublic), Features: slices.Repeat([][]byte{make([]byte, l.One)}, scorecard.MaxSingles)}
	o.starts = func() (he.Engine, error) { return dying{}, nil }
	results := make(chan bool, 8)
	for range 8 {
		go func() {
			got, err := o.n.Score(context.WithoutCancel(ctx), o.insurer.Caller, m.ID, r)
			results <- err != nil && len(got.Decision.Reasons) == 0
		}()
	}
	counted := 0
	for range 8 {
		if <-results {
			counted++
		}
	}
	if counted != 6 || o.used() != 96 {
		t.Errorf("%d of 8 were counted, %d customers", counted, o.used())
	}
	o.bundled(seat{Caller: o.agency.Caller})
}

// TestScoringModels: what is no model, or not its owner's word, is not kept; who may approve, withdraw and read the weights.
func TestScoringModels(t *testing.T) {
	o, ctx := newBureau(t), t.Context()
	for name, x := range map[string]struct {
		change func(*scorecard.File)
		kind   sandbox.Kind
	}{
		"a name":             {func(f *scorecard.File) { f.Name = "../x" }, sandbox.Invalid},
		"a version":          {func(f *scorecard.File) { f.Version = "1.0" }, sandbox.Invalid},
		"a link":             {func(f *scorecard.File) { f.Link = "tree" }, sandbox.Invalid},
		"no features":        {func(f *scorecard.File) { f.Features = nil }, sandbox.Invalid},
		"a feature twice":    {func(f *scorecard.File) { f.Features[1].Name = "age" }, sandbox.Invalid},
		"no range":           {func(f *scorecard.File) { f.Features[1].Max = -2 }, sandbox.Invalid},
		"a score too far":    {func(f *scorecard.File) { f.Features[0].Weight = 0.08 }, sandbox.Invalid},
		"an unknown release": {func(f *scorecard.File) { f.Trained = "r-1" }, sandbox.Invalid},
		"control characters": {func(f *scorecard.File) { f.Title = "a\x1b[31m" }, sandbox.Invalid},
	} {
		f := o.file
		f.Features = slices.Clone(f.Features)
		x.change(&f)
		if _, err := o.filing(f, o.operator); sandbox.KindOf(err) != x.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	filing, other := o.file.Filing(o.n.now()), o.file
	other.Bias = 1
	sealed, err := o.n.keys.DecryptKey().Public().SealMessage(rand.Reader, scorecard.Context, other.Secret().Encode())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.FileScoringModel(ctx, o.operator.Caller, api.ScoringFiling{Statement: o.operator.says(t, attest.ContextScoringModel, filing), Sealed: sealed}); sandbox.KindOf(err) != sandbox.Tampered {
		t.Errorf("a secret that was not committed to: %v", err)
	}
	if _, err := o.n.FileScoringModel(ctx, o.partner.Caller, api.ScoringFiling{Statement: o.operator.says(t, attest.ContextScoringModel, filing), Sealed: sealed}); sandbox.KindOf(err) != sandbox.Unsigned {
		t.Errorf("another's statement: %v", err)
	}
	m, err := o.filing(o.file, o.operator)
	if err != nil || m.State != scoringFiled || m.Owner != "operator" {
		t.Fatal(m, err)
	}
	if _, err := o.filing(o.file, o.partner); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("filed twice: %v", err)
	}
	// The weights are for the agency, which judges them, and for their owner.
	for _, x := range []struct {
		seat
		reads bool
	}{{o.agency, true}, {o.operator, true}, {o.partner, false}, {o.unit, false}, {o.insurer, false}} {
		key, err := sm.NewDecryptKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := x.Caller
		c.Identity.EncryptKey = key.Public().Bytes()
		got, err := o.n.GetScoringModel(ctx, c, m.ID)
		if err != nil || (len(got.Sealed) > 0) != x.reads {
			t.Errorf("%s: %v", x.Party.ID, err)
		}
		if x.reads {
			secret, err := key.OpenMessage(scorecard.Context, got.Sealed)
			if err == nil {
				_, err = scorecard.Restore(&filing, secret)
			}
			if err != nil {
				t.Errorf("%s: %v", x.Party.ID, err)
			}
		}
		if b, err := json.Marshal(got); err != nil || strings.Contains(string(b), "0.0314") {
			t.Errorf("weights in the clear: %v", err)
		}
	}
	lie := m
	lie.Filing = bytes.Repeat([]byte{1}, sm.Size)
	if _, err := o.approval(lie, o.agency); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("an approval of something else: %v", err)
	}
	friend := o.agency
	friend.Caller.Party.Affiliates = []sandbox.PartyID{"operator"}
	if _, err := o.approval(m, friend); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("approved by an affiliate: %v", err)
	}
	if _, err := o.withdrawal(m, o.partner); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("withdrawn by another: %v", err)
	}
	if m, err = o.approval(m, o.agency); err != nil || m.State != scoringApproved {
		t.Fatal(err)
	}
	if _, err := o.approval(m, o.agency); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("approved twice: %v", err)
	}
	if m, err = o.withdrawal(m, o.agency); err != nil || m.State != scoringWithdrawn || m.Reason != "r" {
		t.Fatal(err)
	}
	if got, err := o.n.GetScoringModel(ctx, o.operator.Caller, m.ID); err != nil || len(got.Sealed) > 0 || got.Statement == nil {
		t.Errorf("the domain keeps the weights of a withdrawn model: %v", err)
	}
	if rec, _, err := o.n.docs.models.Get(ctx, string(m.ID)); err != nil || len(rec.Secret) > 0 {
		t.Errorf("the domain keeps the weights of a withdrawn model: %v", err)
	}
	if _, err := o.withdrawal(m, o.operator); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("withdrawn twice: %v", err)
	}
	second := o.file
	second.Version = "1.0.1"
	if m, err = o.filing(second, o.operator); err != nil {
		t.Fatal(err)
	}
	if err := o.n.RevokeIdentity(ctx, o.agency.Caller, "operator", "left"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.approval(m, o.agency); sandbox.KindOf(err) != sandbox.Expired {
		t.Errorf("approved after its owner was shut out: %v", err)
	}
	if all, err := o.n.ListScoringModels(ctx, o.unit.Caller); err != nil || len(all) != 2 {
		t.Errorf("%d listed, %v", len(all), err)
	}
	o.bundled(seat{Caller: o.agency.Caller})
}
