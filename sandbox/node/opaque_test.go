package node

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/release"
)

// staffed is what sandbox/run/testdata/opaque declares.
var staffed = opaque.Declaration{Input: "firms", Columns: []opaque.Column{{Name: "industry", Type: "text"}, {Name: "employees", Type: "int"}},
	Chart: &opaque.Chart{Name: "staff", Labels: []opaque.Label{{Name: "size", Of: []string{"small", "large"}}}, Values: []opaque.Value{{Name: "firms", Min: 0, Max: 1000, Step: 10}, {Name: "employees", Min: 0, Max: 100_000, Step: 100}}, Rows: 2}}

func firmsOf(id sandbox.DatasetID, g sandbox.Grade, personal bool) catalog.Dataset {
	return catalog.Dataset{ID: id, Unit: "unit", Title: "firms", Frequency: catalog.Daily, Subject: "firm", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "firm", Title: "firm", Range: "any", Type: catalog.Text, Grade: max(1, g), Personal: personal},
		{Name: "industry", Title: "industry", Range: "sections", Type: catalog.Text, Grade: 1, Public: true},
		{Name: "employees", Title: "employees", Range: "0 on", Values: "[0,)", Type: catalog.Int, Unit: "people", Grade: g}}}
}

// estate is a clinic whose unit has firms of three grades, and foreign code to look at them.
type estate struct {
	*clinic
	images map[string][]byte // honest and not: the same bytes, for the data say which
	author *sm.SigningKey
	build  func(to, from string) string
}

// newEstate skips aloud where foreign code cannot be confined.
func newEstate(t *testing.T) *estate {
	t.Helper()
	dir, err := os.MkdirTemp("", "estate-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // the jail starts its program as somebody else
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build := func(to, from string) string {
		path := filepath.Join(dir, to)
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/opdomain/opdomain/"+from)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return path
	}
	l, err := jail.New(jail.Config{Program: build("opdomain-jail", "cmd/opdomain-jail")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if lacks := l.Probe().Missing(jail.T1); len(lacks) > 0 {
		t.Skipf("SKIPPED ALOUD: the machine lacks layers of tier T1, and no Opaque algorithm runs without: %v", lacks)
	}
	image, err := os.ReadFile(build("opaque", "sandbox/run/testdata/opaque"))
	if err != nil {
		t.Fatal(err)
	}
	o := &estate{clinic: newClinic(t, sandbox.P1, nil, nil), images: map[string][]byte{"staff": image}, build: build}
	o.n.cfg.Jail = l
	if o.author, err = sm.NewSigningKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var list []sandbox.ListItem
	for _, set := range []catalog.Dataset{firmsOf("ds-one", 1, false), firmsOf("ds-two", 2, false), firmsOf("ds-three", 3, true)} {
		if _, err := o.n.RegisterDataset(ctx, o.unit.Caller, set); err != nil {
			t.Fatal(err)
		}
		list = append(list, sandbox.ListItem{Dataset: set.ID, Columns: []sandbox.ColumnRule{{Column: "industry", Uses: []sandbox.Use{sandbox.UseGroup}}, {Column: "employees", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}}}})
	}
	for i := range list[0].Columns {
		list[0].Columns[i] = sandbox.ColumnRule{Column: list[0].Columns[i].Column, Uses: []sandbox.Use{sandbox.UsePlain}}
	}
	floors := catalog.Dataset{ID: "ds-floors", Unit: "unit", Title: "floors", Frequency: catalog.Daily, Subject: "firm", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "firm", Title: "firm", Range: "any", Type: catalog.Text, Grade: 1}, {Name: "employees", Title: "employees", Range: "0 to 1000", Values: "[0,1000]", Type: catalog.Int, Unit: "people", Grade: 1},
		{Name: "floor", Title: "floor", Range: "0 to 10", Values: "[0,10]", Type: catalog.Int, Unit: "floors", Grade: 1}, {Name: "industry", Title: "industry", Range: "any", Type: catalog.Text, Grade: 1, Public: true}}}
	if _, err := o.n.RegisterDataset(ctx, o.unit.Caller, floors); err != nil {
		t.Fatal(err)
	}
	plain := []sandbox.Use{sandbox.UsePlain}
	list = append(list, sandbox.ListItem{Dataset: "ds-floors", Columns: []sandbox.ColumnRule{{Column: "employees", Uses: plain}, {Column: "floor", Uses: plain}, {Column: "industry", Uses: plain}}})
	s, err := o.n.FileScenario(ctx, o.operator.Caller, grant.Application{ID: "sc-f", Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Purpose: "planning", Description: "d",
		List: list, TermMonths: 12, Classes: []sandbox.Class{sandbox.ClassA, sandbox.ClassD, sandbox.ClassF}, Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}})
	for _, who := range []struct {
		seat
		step string
	}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {o.unit, grant.StepUnit}} {
		if err == nil {
			s, err = o.n.DecideScenario(ctx, who.Caller, "sc-f", who.says(t, attest.ContextDecision,
				attest.ScenarioDecision{Scenario: "sc-f", ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: o.n.now()}))
		}
	}
	for _, who := range []seat{o.operator, o.agency, o.unit} {
		if err == nil {
			s, err = o.n.SignAgreement(ctx, who.Caller, "sc-f", who.says(t, attest.ContextAgreement, attest.AgreementSignature{Scenario: "sc-f", Digest: s.AgreementDigest, Party: who.Party.ID, At: o.n.now()}))
		}
	}
	if err != nil || s.Grant == nil {
		t.Fatal(err)
	}
	return o
}

// pushes commits a version of n firms, of which the first says how the code behaves: firm k has k employees.
func (o *estate) pushes(id sandbox.DatasetID, run sandbox.RunID, n int, how string) {
	o.Helper()
	o.filled(id, run, n, func(b *array.RecordBuilder, k int) {
		b.Field(1).(*array.StringBuilder).Append(how)
		b.Field(2).(*array.Int64Builder).Append(int64(k))
	})
}

// filled commits a version of n firms, a row each.
func (o *estate) filled(id sandbox.DatasetID, run sandbox.RunID, n int, fill func(b *array.RecordBuilder, k int)) {
	o.Helper()
	ctx := o.Context()
	set, _, err := o.n.docs.datasets.Get(ctx, string(id))
	if err != nil {
		o.Fatal(err)
	}
	opened(o.T, o.n, set, run)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	var who []sandbox.Pseudonym
	for k := range n {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("firm ", k))
		fill(b, k)
		var p sandbox.Pseudonym
		copy(p[:], fmt.Sprintf("f%015d", k))
		who = append(who, p)
	}
	rec := b.NewRecord()
	defer rec.Release()
	w, err := o.n.vault.Begin(ctx, set.Unit, id, run, batch.Schema(set), 3)
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
	if err := o.n.committed(ctx, domainIdentity, snap, api.PushReport{Run: run, Dataset: id, Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}, nil, nil); err != nil {
		o.Fatal(err)
	}
}

// viewed has the unit make a view for the operator.
func (o *estate) viewed(use sandbox.RunID, id sandbox.DatasetID, plan string) sandbox.DatasetID {
	o.Helper()
	p, err := desensitize.Parse("plan", fmt.Appendf(nil, "{plan: p, version: 1, dataset: %s, owner: unit, purpose: planning, %s}", id, plan))
	if err != nil {
		o.Fatal(err)
	}
	sig, err := p.Sign(rand.Reader, o.unit.key, o.unit.Identity.ID, o.n.now())
	if err != nil {
		o.Fatal(err)
	}
	v, d, err := o.n.SealView(o.Context(), o.unit.Caller, ViewRequest{Use: use, Dataset: id, Plan: p, Signature: sig, Scenario: "sc-f", Partner: "operator"})
	if err != nil || !d.Allow {
		o.Fatal(d, err)
	}
	return v.ID
}

// requests approval of an image; change is made before its author signs.
func (o *estate) requests(name string, image []byte, change func(*manifest.Manifest), after func(*attest.AlgorithmApproval)) (api.Algorithm, error) {
	o.Helper()
	digest := sm.Sum(image)
	m := &manifest.Manifest{Name: name, Version: "1.0.0", Contract: manifest.Opaque, SDK: opaque.Version, Format: "elf", Image: digest[:], Author: "a", Limits: manifest.Limits{MemoryMiB: 128, Seconds: 3, Bits: 40}}
	m.DeclareOpaque(staffed)
	if change != nil {
		change(m)
	}
	if err := m.Sign(rand.Reader, o.author); err != nil {
		o.Fatal(err)
	}
	whole := m.Digest()
	a := attest.AlgorithmApproval{Name: name, Version: "1.0.0", Manifest: whole[:], Image: digest[:], At: o.n.now()}
	if after != nil {
		after(&a)
	}
	return o.n.ApproveAlgorithm(o.Context(), o.agency.Caller, api.AlgorithmRequest{Manifest: m.Encode(), Image: image, Statement: o.agency.says(o.T, attest.ContextAlgorithm, a)})
}

func (o *estate) asksOpaque(id sandbox.AlgorithmID, over sandbox.DatasetID) api.AlgorithmAnswer {
	o.Helper()
	a, err := o.n.AskAlgorithm(o.Context(), o.operator.Caller, id, api.AlgorithmUse{Scenario: "sc-f", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "firms", Dataset: over}}})
	if err != nil {
		o.Fatal(err)
	}
	return a
}

func (o *estate) ran() (n int, last attest.AlgorithmRanBody) {
	o.Helper()
	office := &agencyOffice{noisy: o.noisy}
	n = office.events(attest.AlgorithmRan, &last)
	return n, last
}

const bucketed = "columns: [{column: firm, op: drop}, {column: industry, op: pass}, {column: employees, op: round, to: '10'}]"

// TestOpaqueFromApprovalToRelease: class F from an approved image over a view that the unit signed, through the jail and the gate, two votes and the seal, to
// the recipient, with evidence of image, manifest and posture.
func TestOpaqueFromApprovalToRelease(t *testing.T) {
	o, ctx := newEstate(t), t.Context()
	o.pushes("ds-two", "run-1", 300, "honest")
	got, err := o.requests("staff", o.images["staff"], nil, nil)
	if err != nil || got.ID != "staff-1.0.0" || got.Contract != "opaque" || len(got.Graph) != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	view := o.viewed("use-1", "ds-two", bucketed)
	use := api.AlgorithmUse{Scenario: "sc-f", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "firms", Dataset: view}}}
	x, err := o.n.ExplainAlgorithm(ctx, o.operator.Caller, got.ID, use)
	if err != nil || !x.Decision.Allow || x.Decision.Engine != sandbox.Opaque || x.Decision.Class != sandbox.ClassF || len(x.Questions) != 1 || !strings.Contains(x.Questions[0].Text, "as view "+string(view)) {
		t.Fatalf("%+v %v", x, err)
	}
	a := o.asksOpaque(got.ID, view)
	if len(a.Questions) != 1 || a.Questions[0].State != stateInReview {
		t.Fatalf("%+v", a)
	}
	q := a.Questions[0]
	rec, _, err := o.n.docs.questions.Get(ctx, string(q.ID))
	if err != nil {
		t.Fatal(err)
	}
	chart, err := egress.DecodeChart(rec.Review.Result)
	if err != nil {
		t.Fatal(err)
	}
	// Firms of 0 to 299 employees, rounded to tens by the view: 95 below 100 (to 94), 205 from there on.
	if _, rows := chart.Table(); fmt.Sprint(rows) != "[[small 100 4500] [large 210 40500]]" {
		t.Errorf("%v", rows)
	}
	// What it carries is charged once, beside the question itself.
	g := o.grant("sc-f")
	carried, err := o.n.store.Counter(ctx, carriedOf(g))
	if err != nil || carried != int64(rec.Opaque.Bits) || carried < 34 || carried > 40 {
		t.Errorf("%d bits are charged: %v", carried, err)
	}
	// Asked again, over another view by the same plan, it is the same question.
	if again := o.asksOpaque(got.ID, o.viewed("use-2", "ds-two", bucketed)); again.Questions[0].ID != q.ID {
		t.Error("asked again it is another question")
	}
	if now, err := o.n.store.Counter(ctx, carriedOf(g)); err != nil || now != carried {
		t.Error("charged twice")
	}
	n, ran := o.ran()
	image := sm.Sum(o.images["staff"])
	if n != 1 || ran.Question != q.ID || !bytes.Equal(ran.Image, image[:]) || len(ran.Posture) != sm.Size || ran.Tier != "T1" || ran.Fault != "" || ran.View != view || ran.Bits != rec.Opaque.Bits {
		t.Errorf("%d runs in the log: %+v", n, ran)
	}
	// The agency sees the run and every item; the asker nothing; the operator's side of the review is the unit's here.
	r, err := o.n.Review(ctx, o.reviewers[1].Caller, q.ID)
	if err != nil || r.Class != sandbox.ClassF {
		t.Fatal(err)
	}
	for _, want := range []string{`"posture"`, `"staff-1.0.0"`, `"id":"rows"`, "two reviewers", `"columns":["industry","employees"]`} {
		if !strings.Contains(string(r.Pack), want) && want != "two reviewers" {
			t.Errorf("%s is not in the evidence %s", want, r.Pack)
		}
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
	if err != nil || len(all) != 1 || all[0].Class != sandbox.ClassF {
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
	if err != nil || !bytes.Equal(plain, rec.Review.Result) {
		t.Fatalf("what is opened is what was reviewed: %v", err)
	}
	// Over nearly the same firms it is withheld: between the two stand a few.
	o.pushes("ds-two", "run-2", 297, "honest")
	if a := o.asksOpaque(got.ID, o.viewed("use-3", "ds-two", bucketed)); a.Questions[0].State != stateWithheld {
		t.Errorf("over 297 of 300: %+v", a.Questions)
	}
	st := o.agency.says(t, attest.ContextAlgorithmWithdraw, attest.AlgorithmWithdrawal{Name: "staff", Version: "1.0.0", Reason: "r", At: o.n.now()})
	if _, err := o.n.WithdrawAlgorithm(ctx, o.agency.Caller, got.ID, st); err != nil {
		t.Fatal(err)
	}
	if a := o.asksOpaque(got.ID, view); a.Decision.Allow || a.Decision.Reasons[0].Code != codeWithdrawn {
		t.Errorf("after its withdrawal: %+v", a.Decision)
	}
	o.audit()
	var b bytes.Buffer
	if err := o.n.Bundle(ctx, o.agency.Caller, &b); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.VerifyBundle(&b, nil); err != nil {
		t.Error(err)
	}
}

// TestOpaqueFaults: code that ends badly gives its asker one code, the agency and the owner the reason, the log evidence, and the node goes on.
func TestOpaqueFaults(t *testing.T) {
	o, ctx := newEstate(t), t.Context()
	got, err := o.requests("staff", o.images["staff"], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ how, reason string }{{"garbage", "output"}, {"64 MiB", "oversize refused"}, {"hang", "deadline"}, {"crash", "crashed"}, {"fork bomb", "forbidden"}, {"memory bomb", "memory crashed"}, {"clock", "unrepeatable"}} {
		o.pushes("ds-one", sandbox.RunID(fmt.Sprint("run-", i)), 40, c.how)
		set, _, err := o.n.docs.datasets.Get(ctx, "ds-one")
		if err != nil {
			t.Fatal(err)
		}
		before, err := o.n.vault.Snapshot("ds-one", set.Version)
		if err != nil {
			t.Fatal(err)
		}
		a := o.asksOpaque(got.ID, "ds-one")
		if q := a.Questions[0]; q.State != stateWithheld || q.Code != sandbox.CodeWithheld || q.Comment != "" {
			t.Errorf("%s: %+v", c.how, q)
		}
		n, ran := o.ran()
		if n != i+1 || ran.Fault == "" || !slices.Contains(strings.Fields(c.reason), ran.Fault) || len(ran.Posture) != sm.Size {
			t.Errorf("%s: run %d ended as %q with a posture of %d bytes", c.how, n, ran.Fault, len(ran.Posture))
		}
		rec, _, err := o.n.docs.questions.Get(ctx, string(a.Questions[0].ID))
		if err != nil || !strings.Contains(rec.Review.Cause, ran.Fault) || len(rec.Review.Result) != 0 {
			t.Errorf("%s: %v %q", c.how, err, rec.Review.Cause)
		}
		if after, err := o.n.vault.Snapshot("ds-one", set.Version); err != nil || after.Manifest != before.Manifest {
			t.Errorf("%s: the data set has changed: %v", c.how, err)
		}
	}
	// A hard hit among what it gives is not needed: the node answers, and runs code, as before.
	o.pushes("ds-one", "run-last", 60, "honest")
	if a := o.asksOpaque(got.ID, "ds-one"); len(a.Questions) != 1 || a.Questions[0].State != stateInReview {
		t.Errorf("the node is not as it was: %+v", a)
	}
	o.audit()
}

// TestOpaqueRefusals: before any key opens, with column, rule and the smallest change that would pass.
func TestOpaqueRefusals(t *testing.T) {
	o, ctx := newEstate(t), t.Context()
	for _, id := range []sandbox.DatasetID{"ds-one", "ds-two", "ds-three"} {
		o.pushes(id, sandbox.RunID("run-"+id), 60, "honest")
	}
	got, err := o.requests("staff", o.images["staff"], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := o.viewed("use-1", "ds-three", "columns: [{column: firm, op: drop}, {column: industry, op: pass}, {column: employees, op: round, to: '10'}]")
	anonymous := o.viewed("use-2", "ds-three", "columns: [{column: firm, op: drop}, {column: industry, op: pass}, {column: employees, op: round, to: '100'}], leave: {k: 10, quasi: [industry, employees]}")
	other := o.viewed("use-3", "ds-two", "columns: [{column: firm, op: drop}, {column: industry, op: pass}, {column: employees, op: bucket, edges: ['10', '100']}]")
	erased := o.viewed("use-4", "ds-two", bucketed)
	if err := o.n.EraseView(ctx, "unit", erased); err != nil {
		t.Fatal(err)
	}
	refused := func(name string, over sandbox.DatasetID, code, word string) {
		t.Helper()
		a := o.asksOpaque(got.ID, over)
		i := slices.IndexFunc(a.Decision.Reasons, func(r sandbox.Reason) bool { return r.Code == code })
		if a.Decision.Allow || i < 0 || len(a.Questions) > 0 {
			t.Errorf("%s: %+v", name, a.Decision)
			return
		}
		if r := a.Decision.Reasons[i]; r.Rule == "" || r.Article == "" || r.Change == "" || !strings.Contains(r.Rule+r.Column, word) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	refused("grade 2, raw", "ds-two", policy.CodeForm, "ds-two.employees")
	refused("personal, raw", "ds-three", policy.CodeForm, "k-anonymous")
	refused("personal, a view that promises no k", plain, policy.CodeForm, "k-anonymous")
	if lacks := o.n.cfg.Jail.Probe().Missing(jail.T2); len(lacks) > 0 {
		refused("personal, k-anonymous: the tier is not there", anonymous, codeLayer, lacks[0].Name)
	}
	refused("a column of another type", other, codeOpaqueInput, "employees")
	refused("an erased view", erased, codeOpaqueView, string(erased))
	refused("not listed", "ds-m", policy.CodeDataset, "")
	if n, _ := o.ran(); n != 0 {
		t.Errorf("%d runs of refused questions", n)
	}
	// Another's view is nobody's dataset.
	if a, err := o.n.AskAlgorithm(ctx, o.operator.Caller, got.ID, api.AlgorithmUse{Scenario: "sc-a", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "firms", Dataset: "ds-one"}}}); err != nil || a.Decision.Allow {
		t.Errorf("under another scenario: %+v %v", a.Decision, err)
	}
	if _, err := o.n.AskAlgorithm(ctx, o.operator.Caller, got.ID, api.AlgorithmUse{Scenario: "sc-f", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "ghost", Dataset: "ds-one"}}}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("another input: %v", err)
	}
	l := o.n.cfg.Jail
	o.n.cfg.Jail = nil
	refused("without a jail", "ds-one", codeLayer, "without a jail")
	o.n.cfg.Jail = l
	if a := o.asksOpaque(got.ID, "ds-one"); !a.Decision.Allow {
		t.Errorf("grade 1, raw: %+v", a.Decision)
	}
	o.audit()
}

// TestOpaqueApprovals: what breaks a rule of an Opaque manifest or image is not approved, evidence names the rule.
func TestOpaqueApprovals(t *testing.T) {
	o := newEstate(t)
	office := &agencyOffice{noisy: o.noisy}
	n := 0
	for name, c := range map[string]struct {
		image  []byte
		change func(*manifest.Manifest)
		after  func(*attest.AlgorithmApproval)
		rule   string
	}{
		"no native image":    {[]byte("\x00asm"), nil, nil, "image.elf"},
		"a cut image":        {o.images["staff"][:4000], nil, nil, "image.elf"},
		"more than its bits": {o.images["staff"], func(m *manifest.Manifest) { m.Limits.Bits = 30 }, nil, "opaque.bits"},
		"an identifier": {o.images["staff"], func(m *manifest.Manifest) {
			d := staffed
			c := *staffed.Chart
			c.Labels = []opaque.Label{{Name: "size", Of: []string{"small", "13800138000"}}}
			d.Chart = &c
			m.DeclareOpaque(d)
		}, nil, "opaque.labels"},
		"a model nobody trains": {o.images["staff"], func(m *manifest.Manifest) {
			m.DeclareOpaque(opaque.Declaration{Input: "firms", Columns: staffed.Columns, Model: &opaque.Model{Form: []byte(`{"kind":"svm"}`)}})
		}, nil, "opaque.model"},
		"a graph": {o.images["staff"], nil, func(a *attest.AlgorithmApproval) { a.Graph = a.Image }, "approval.other"},
	} {
		if _, err := o.requests("staff", c.image, c.change, c.after); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		n++
		var b attest.AlgorithmRefusedBody
		if got := office.events(attest.AlgorithmRefused, &b); got != n || b.Rule != c.rule {
			t.Errorf("%s: %d refusals in the log, the last %q, not %q", name, got, b.Rule, c.rule)
			n = got
		}
	}
	// An image that is no longer the approved one does not start.
	got, err := o.requests("staff", o.images["staff"], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	part, rev, err := o.n.docs.images.Get(t.Context(), imageName(got.Image, 0))
	if err != nil {
		t.Fatal(err)
	}
	part.Bytes[len(part.Bytes)/2] ^= 1
	if _, err := o.n.docs.images.Update(t.Context(), imageName(got.Image, 0), rev, "", "approved", part); err != nil {
		t.Fatal(err)
	}
	o.pushes("ds-one", "run-1", 60, "honest")
	if a := o.asksOpaque(got.ID, "ds-one"); a.Questions[0].State != stateWithheld {
		t.Errorf("%+v", a.Questions)
	}
	if _, ran := o.ran(); ran.Fault != "image" || len(ran.Posture) != 0 {
		t.Errorf("%+v", ran)
	}
	o.audit()
}

// TestOpaqueModel: foreign code gives a model of the form that was approved; the gate trains its own on the same firms and attacks it, as class D. One that it
// made up is withheld.
func TestOpaqueModel(t *testing.T) {
	o, ctx := newEstate(t), t.Context()
	image, err := os.ReadFile(o.build("model", "sandbox/node/testdata/foreignmodel"))
	if err != nil {
		t.Fatal(err)
	}
	form := `{"format":"opdomain-model/1","id":"staff","kind":"linear","label":{"name":"employees","form":"amount","low":0,"high":1000},"features":[{"name":"floor","low":0,"high":10,"step":1}],"trainer":{"ridge":1}}`
	declare := func(m *manifest.Manifest) {
		m.Limits.Bits = 256
		m.DeclareOpaque(opaque.Declaration{Input: "firms", Columns: []opaque.Column{{Name: "employees", Type: "int"}, {Name: "floor", Type: "int"}, {Name: "industry", Type: "text"}}, Model: &opaque.Model{Form: []byte(form)}})
	}
	got, err := o.requests("staff", image, declare, nil)
	if err != nil {
		t.Fatal(err)
	}
	push := func(run sandbox.RunID, n int, how string) {
		r := mathrand.New(mathrand.NewPCG(3, 4))
		o.filled("ds-floors", run, n, func(b *array.RecordBuilder, k int) {
			floor := int64(r.IntN(11))
			b.Field(1).(*array.Int64Builder).Append(min(max(100+50*floor+int64(r.NormFloat64()*120), 0), 1000))
			b.Field(2).(*array.Int64Builder).Append(floor)
			b.Field(3).(*array.StringBuilder).Append(how)
		})
	}
	push("run-1", 1500, "honest")
	a := o.asksOpaque(got.ID, "ds-floors")
	if len(a.Questions) != 1 || a.Decision.Class != sandbox.ClassD {
		t.Fatalf("%+v", a)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(a.Questions[0].ID))
	if err != nil || a.Questions[0].State != stateInReview {
		t.Fatalf("%s %s %v", a.Questions[0].State, rec.Review.Cause, err)
	}
	m, err := model.DecodePayload(rec.Review.Result)
	if err != nil || m.ID != string(rec.ID) || m.Kind != model.Linear || len(m.Coefficients) != 1 || m.Coefficients[0].Value < 300 || m.Coefficients[0].Value > 700 {
		t.Fatalf("%+v %v", m, err)
	}
	// In the ledger stand those that the code saw, seven tenths of all, and nobody it was tested on.
	entry, err := o.n.populations.get(rec.ID)
	if err != nil || len(entry.Cells) != 1 || len(entry.Cells[0].People) < 900 || len(entry.Cells[0].People) > 1150 {
		t.Errorf("%v", err)
	}
	if _, ran := o.ran(); ran.Fault != "" || ran.Bits != 256 || len(ran.Posture) != sm.Size {
		t.Errorf("%+v", ran)
	}
	push("run-2", 1900, "made up")
	a = o.asksOpaque(got.ID, "ds-floors")
	if a.Questions[0].State != stateWithheld {
		t.Errorf("a model that the data refute: %+v", a.Questions)
	}
	if rec, _, err = o.n.docs.questions.Get(ctx, string(a.Questions[0].ID)); err != nil || !strings.Contains(rec.Review.Cause, "fit") {
		t.Errorf("%v %q", err, rec.Review.Cause)
	}
	o.audit()
}
