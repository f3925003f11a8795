package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/ingest"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// seat is one identity with its key.
type seat struct {
	api.Caller
	enrolment api.Enrolment
	key       *sm.SigningKey
}

func seated(t *testing.T, id sandbox.PartyID, role sandbox.Role) seat {
	t.Helper()
	k, err := keys.Create(filepath.Join(t.TempDir(), string(id)), []byte("x"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := api.Enrolment{Party: sandbox.Party{ID: id, Role: role, Name: string(role)}, Identities: []sandbox.Identity{{ID: sandbox.IdentityID(id), Party: id, Duty: sandbox.Officer,
		SignKey: k.SigningKey().Public().Bytes(), EncryptKey: k.DecryptKey().Public().Bytes()}}}
	return seat{api.Caller{Identity: e.Identities[0], Party: e.Party}, e, k.SigningKey()}
}

func (s seat) says(t *testing.T, context string, body any) attest.Statement {
	t.Helper()
	st, err := attest.Sign(rand.Reader, s.key, s.Identity.ID, context, body)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// office is a domain with an agency, a unit, an operator and a second unit, and the unit's dataset of codes.
type office struct {
	*testing.T
	dir                           string
	n                             *Node
	agency, unit, other, operator seat
}

var codes = catalog.Dataset{ID: "ds-c", Unit: "unit", Title: "codes", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
	{Name: "who", Title: "who", Range: "any", Type: catalog.Text, Grade: 3, Personal: true},
	{Name: "code", Title: "code", Range: "any", Type: catalog.Text, Grade: 1, Public: true},
	{Name: "kind", Title: "kind", Range: "any", Type: catalog.Text, Grade: 1, Public: true}}}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{T: t, dir: filepath.Join(t.TempDir(), "d"), agency: seated(t, "agency", sandbox.Agency), unit: seated(t, "unit", sandbox.Unit), other: seated(t, "other", sandbox.Unit),
		operator: seated(t, "operator", sandbox.Operator)}
	n, err := Create(t.Context(), testConfig(o.dir), Founding{Domain: "d", Hosting: sandbox.P1, District: "longhua", Keys: keys.Params{Time: 1, Memory: 64, Threads: 1},
		Enrolled: []api.Enrolment{o.agency.enrolment, o.unit.enrolment, o.other.enrolment, o.operator.enrolment}})
	if err != nil {
		t.Fatal(err)
	}
	o.n = n
	if _, err := n.RegisterDataset(t.Context(), o.unit.Caller, codes); err != nil {
		t.Fatal(err)
	}
	return o
}

// restart ends the process and starts the next one.
func (o *office) restart() {
	o.Helper()
	closed(o.T, o.n)
	o.n = reopen(o.T, o.dir)
}

func found(column string, k classify.Kind) classify.ColumnFinding {
	return classify.Current().Grade(classify.ColumnFinding{Column: column, Finding: k, Share: 1, Confidence: 90, Sampled: 100})
}

// seal commits a version to the vault, with what was found in it, and no further.
func (o *office) seal(run sandbox.RunID, findings ...classify.ColumnFinding) (ingest.Result, api.PushReport) {
	o.Helper()
	ctx := o.Context()
	set, _, err := o.n.docs.datasets.Get(ctx, "ds-c")
	if err != nil {
		o.Fatal(err)
	}
	opened(o.T, o.n, set, run)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	for i := range set.Columns {
		b.Field(i).(*array.StringBuilder).Append("x")
	}
	rec := b.NewRecord()
	defer rec.Release()
	w, err := o.n.vault.Begin(ctx, set.Unit, set.ID, run, batch.Schema(set), 3)
	if err == nil {
		w.Mark(func() []byte {
			m := struct {
				ingest.Progress
				Facts map[string]any `json:",omitempty"`
			}{Progress: ingest.Progress{Rows: 1}}
			if findings != nil {
				m.Facts = map[string]any{"Findings": findings, "Quality": catalog.Quality{Dataset: set.ID, Rows: 1}}
			}
			b, err := json.Marshal(m)
			if err != nil {
				o.Fatal(err)
			}
			return b
		})
		err = w.Write(ctx, rec, []sandbox.Pseudonym{{1}})
	}
	if err != nil {
		o.Fatal(err)
	}
	snap, err := w.Commit(ctx)
	if err != nil {
		o.Fatal(err)
	}
	return ingest.Result{Snapshot: snap, Findings: findings}, api.PushReport{Run: run, Dataset: set.ID, Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}
}

func (o *office) push(run sandbox.RunID, findings ...classify.ColumnFinding) {
	o.Helper()
	res, rep := o.seal(run, findings...)
	if err := o.n.committed(o.Context(), "unit", res.Snapshot, rep, findings, nil); err != nil {
		o.Fatal(err)
	}
}

// granted takes a scenario over code and kind through every decision and signature.
func (o *office) granted(id sandbox.ScenarioID) grant.Scenario {
	o.Helper()
	ctx := o.Context()
	uses := []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter}
	s, err := o.n.FileScenario(ctx, o.operator.Caller, grant.Application{ID: id, Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Purpose: "planning", Description: "d",
		List:       []sandbox.ListItem{{Dataset: "ds-c", Columns: []sandbox.ColumnRule{{Column: "code", Uses: uses}, {Column: "kind", Uses: uses}}}},
		TermMonths: 12, Classes: []sandbox.Class{sandbox.ClassA}, Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}})
	for _, who := range []struct {
		seat
		step string
	}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {o.unit, grant.StepUnit}} {
		if err == nil {
			d := attest.ScenarioDecision{Scenario: id, ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: o.n.now()}
			s, err = o.n.DecideScenario(ctx, who.Caller, id, who.says(o.T, attest.ContextDecision, d))
		}
	}
	for _, who := range []seat{o.operator, o.agency, o.unit} {
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

// explain asks for a count by code under a scenario.
func (o *office) explain(id sandbox.ScenarioID) api.Explanation {
	o.Helper()
	e, err := o.n.Explain(o.Context(), o.operator.Caller, query.Spec{Scenario: id, Purpose: "planning", Inputs: []query.Input{{Alias: "c", Dataset: "ds-c"}},
		Dimensions: []query.Dimension{{Column: "c.code", As: "code"}}, Measures: []query.Measure{{Func: sandbox.Subjects, As: "people"}}})
	if err != nil {
		o.Fatal(err)
	}
	return e
}

func reasons(e api.Explanation) (out []string) {
	for _, r := range e.Decision.Reasons {
		out = append(out, r.Code+" "+r.Column)
	}
	return out
}

// column reads one column's grading as the unit.
func (o *office) column(name string) (api.Classification, api.ColumnClassification) {
	o.Helper()
	c, err := o.n.Classification(o.Context(), o.unit.Caller, "ds-c")
	if err != nil {
		o.Fatal(err)
	}
	i := slices.IndexFunc(c.Columns, func(x api.ColumnClassification) bool { return x.Column == name })
	return c, c.Columns[i]
}

// verdict makes a request on a column as it stands.
func (o *office) verdict(by seat, name, why string, change func(*attest.Classification)) api.ConfirmationRequest {
	o.Helper()
	all, x := o.column(name)
	v := attest.ColumnVerdict{Column: name, Before: x.Level.Grade, Grade: x.Level.Grade, Personal: x.Level.Personal, National: "general", Category: "general"}
	if x.Level.Personal {
		v.Category = "personal"
	}
	if p := x.Proposal; p != nil {
		v.Finding, v.Proposed, v.Sensitive = p.Finding, p.Level.Grade, p.Level.Sensitive
	}
	r := api.ConfirmationRequest{}
	if why != "" {
		salt := slices.Repeat([]byte{9}, attest.ReasonSalt)
		r.Reasons = []api.VerdictReason{{Column: name, Salt: salt, Reason: why}}
		v.Reason = attest.ReasonCommitment(salt, why)
	}
	s := attest.Classification{Dataset: "ds-c", Version: all.Version, Rules: all.Rules, Columns: []attest.ColumnVerdict{v}, At: o.n.now()}
	if change != nil {
		change(&s)
	}
	r.Statement = by.says(o.T, attest.ContextClassification, s)
	return r
}

func lower(s *attest.Classification) {
	v := &s.Columns[0]
	v.Grade, v.Personal, v.Category, v.Sensitive = 1, false, "general", ""
}

func (o *office) confirm(name, why string, change func(*attest.Classification)) api.Classification {
	o.Helper()
	c, err := o.n.ConfirmClassification(o.Context(), o.unit.Caller, "ds-c", o.verdict(o.unit, name, why, change))
	if err != nil {
		o.Fatal(err)
	}
	return c
}

func (o *office) audit() {
	o.Helper()
	if rep, err := o.n.Audit(o.Context(), nil); err != nil || len(rep.NotChecked) > 0 {
		o.Errorf("the evidence does not hold: %v, not checked %v", err, rep.NotChecked)
	}
}

// TestConfirmedGrades: what is found is in force until a person decides, a verdict is in force at once and through the next push,
// and what is found otherwise is open again and stops the grants that agreed on less.
func TestConfirmedGrades(t *testing.T) {
	o := newOffice(t)
	o.push("run-1", found("code", classify.ICD10), classify.ColumnFinding{Column: "kind"})
	all, x := o.column("code")
	if all.Open != 1 || !x.Open || x.Level.Grade != 3 || !x.Level.Personal || x.Declared != 1 || x.Proposal == nil || x.Proposal.Term != classify.ICD10.Term() || x.Verdict != nil || all.Found != 1 {
		t.Fatalf("after the first push: %+v, %+v", all, x)
	}
	o.granted("sc-1") // at grade 3
	before := o.n.evidence.Log().Size()
	c := o.confirm("code", "a published code list", lower)
	if c.Open != 0 || len(c.Affected) != 1 || c.Affected[0].Stop || c.Affected[0].Fields[0].Listed != 3 || c.Affected[0].Fields[0].Now != 1 || o.n.evidence.Log().Size() != before+1 {
		t.Fatalf("confirmed: %+v", c)
	}
	if _, x = o.column("code"); x.Level.Grade != 1 || x.Level.Personal || x.Open || x.Verdict == nil || x.Verdict.By != "unit" || x.Verdict.Reason != "a published code list" || x.Verdict.Before != 3 {
		t.Errorf("confirmed: %+v", x)
	}
	e := o.explain("sc-1")
	if i := slices.IndexFunc(e.Derivation.Columns, func(c query.ExplainedColumn) bool { return c.Column == "ds-c.code" }); !e.Decision.Allow || i < 0 || e.Derivation.Columns[i].Grade != 1 {
		t.Errorf("the next decision does not go by the verdict: %+v", e)
	}
	revisions, err := o.n.Revisions(t.Context(), o.unit.Caller, "ds-c")
	if err != nil || len(revisions) != 2 || strings.Join(revisions[1].Changed, " ") != "grade of code" || revisions[1].By != "unit" {
		t.Errorf("%+v, %v", revisions, err)
	}
	o.granted("sc-2") // at grade 1

	o.push("run-2", found("code", classify.ICD10))
	o.restart()
	if all, x = o.column("code"); all.Open != 0 || x.Level.Grade != 1 || all.Found != 2 {
		t.Errorf("the same was found again: %+v %+v", all, x)
	}
	if hit, err := o.n.AffectedGrants(t.Context(), o.agency.Caller); err != nil || len(hit) != 1 || hit[0].Scenario != "sc-1" || hit[0].Stop {
		t.Errorf("%+v %v", hit, err)
	}

	o.push("run-3", found("code", classify.Mobile))
	if all, x = o.column("code"); all.Open != 1 || x.Level.Grade != 3 || !x.Level.Personal || x.Verdict == nil {
		t.Errorf("another kind was found: %+v %+v", all, x)
	}
	if got := reasons(o.explain("sc-2")); !slices.Equal(got, []string{policy.CodeRaised + " ds-c.code"}) {
		t.Errorf("a grant at grade 1 answers over grade 3: %v", got)
	}
	if e := o.explain("sc-1"); !e.Decision.Allow {
		t.Errorf("a grant at grade 3: %v", reasons(e))
	}
	for _, who := range []seat{o.agency, o.unit, o.operator} {
		hit, err := o.n.AffectedGrants(t.Context(), who.Caller)
		if err != nil || len(hit) != 1 || hit[0].Scenario != "sc-2" || !hit[0].Stop || len(hit[0].Fields) != 1 || !hit[0].Fields[0].Raised || hit[0].Fields[0].Listed != 1 || hit[0].Fields[0].Now != 3 {
			t.Errorf("%s: %+v %v", who.Party.ID, hit, err)
		}
	}
	if hit, err := o.n.AffectedGrants(t.Context(), o.other.Caller); err != nil || len(hit) != 0 {
		t.Errorf("a unit without a part in it: %+v %v", hit, err)
	}
	got := o.last(attest.IngestCommitted).(*attest.IngestCommittedBody)
	stopped := slices.DeleteFunc(slices.Clone(got.Affected), func(g attest.AffectedGrant) bool { return !g.Stop })
	if !slices.Equal(got.Open, []string{"code"}) || len(got.Affected) != 2 || len(stopped) != 1 || stopped[0].Scenario != "sc-2" || !slices.Equal(stopped[0].Columns, []string{"code"}) {
		t.Errorf("evidence of the push: %+v", got)
	}
	o.confirm("code", "numbers of forms, not of phones", lower)
	if e := o.explain("sc-2"); !e.Decision.Allow {
		t.Errorf("put right by a verdict: %v", reasons(e))
	}
	o.confirm("kind", "", func(s *attest.Classification) { s.Columns[0].Grade = 4 })
	if hit, err := o.n.AffectedGrants(t.Context(), o.agency.Caller); err != nil || len(hit) != 2 || !hit[0].Stop || !hit[1].Stop {
		t.Errorf("a column raised to 4 by a person: %+v %v", hit, err)
	}
	if c := kinds(t, o.n, attest.ClassificationConfirmed); c != 3 {
		t.Errorf("%d events", c)
	}
	o.audit()
	closed(t, o.n)
}

// last gives the body of the newest event of a kind.
func (o *office) last(kind attest.Kind) any {
	o.Helper()
	var out any
	for e, err := range o.n.evidence.Events(o.Context()) {
		if err != nil {
			o.Fatal(err)
		}
		if e.Event.Kind != kind {
			continue
		}
		switch kind {
		case attest.IngestCommitted:
			out = new(attest.IngestCommittedBody)
		case attest.RulesAdopted:
			out = new(attest.RulesAdoptedBody)
		case attest.ClassificationRegraded:
			out = new(attest.ClassificationRegradedBody)
		case attest.ClassificationConfirmed:
			out = new(attest.ClassificationConfirmedBody)
		}
		if err := e.Event.Open(out); err != nil {
			o.Fatal(err)
		}
	}
	return out
}

// TestVerdictsRefused: nobody but an officer of the unit, on nothing but what stands, and nothing of a refused statement is kept.
func TestVerdictsRefused(t *testing.T) {
	o := newOffice(t)
	o.push("run-1", found("code", classify.ICD10))
	edit := func(f func(*attest.Classification)) api.ConfirmationRequest {
		return o.verdict(o.unit, "code", "why", func(s *attest.Classification) { lower(s); f(s) })
	}
	fine := edit(func(*attest.Classification) {})
	with := func(f func(*api.ConfirmationRequest)) api.ConfirmationRequest {
		r := fine
		r.Reasons = slices.Clone(fine.Reasons)
		f(&r)
		return r
	}
	reviewer := o.unit
	reviewer.Identity.Duty = sandbox.Reviewer
	size := o.n.evidence.Log().Size()
	for name, x := range map[string]struct {
		by   seat
		r    api.ConfirmationRequest
		kind sandbox.Kind
	}{
		"another unit":        {o.other, o.verdict(o.other, "code", "why", lower), sandbox.Denied},
		"the agency":          {o.agency, o.verdict(o.agency, "code", "why", lower), sandbox.Denied},
		"a reviewer":          {reviewer, fine, sandbox.Denied},
		"another's signature": {o.other, fine, sandbox.Unsigned},
		"a signature of another": {o.unit, with(func(r *api.ConfirmationRequest) {
			r.Statement.Signature = o.verdict(o.other, "code", "why", lower).Statement.Signature
		}), sandbox.Tampered},
		"another context":        {o.unit, with(func(r *api.ConfirmationRequest) { r.Statement.Context = attest.ContextDecision }), sandbox.Tampered},
		"another dataset":        {o.unit, edit(func(s *attest.Classification) { s.Dataset = "ds-x" }), sandbox.Conflict},
		"another version":        {o.unit, edit(func(s *attest.Classification) { s.Version = 2 }), sandbox.Conflict},
		"other rules":            {o.unit, edit(func(s *attest.Classification) { s.Rules = "classify-0" }), sandbox.Conflict},
		"another finding":        {o.unit, edit(func(s *attest.Classification) { s.Columns[0].Finding = "mobile" }), sandbox.Conflict},
		"another proposal":       {o.unit, edit(func(s *attest.Classification) { s.Columns[0].Proposed = 2 }), sandbox.Conflict},
		"another grade in force": {o.unit, edit(func(s *attest.Classification) { s.Columns[0].Before = 2 }), sandbox.Conflict},
		"from tomorrow":          {o.unit, edit(func(s *attest.Classification) { s.At = s.At.Add(24 * time.Hour) }), sandbox.Invalid},
		"no verdict":             {o.unit, edit(func(s *attest.Classification) { s.Columns = nil }), sandbox.Invalid},
		"no such column":         {o.unit, edit(func(s *attest.Classification) { s.Columns[0].Column = "gone" }), sandbox.NotFound},
		"lower without reason":   {o.unit, o.verdict(o.unit, "code", "", lower), sandbox.Invalid},
		"other words":            {o.unit, with(func(r *api.ConfirmationRequest) { r.Reasons[0].Reason = "because" }), sandbox.Invalid},
		"no words":               {o.unit, with(func(r *api.ConfirmationRequest) { r.Reasons = nil }), sandbox.Invalid},
		"words for no verdict": {o.unit, with(func(r *api.ConfirmationRequest) {
			r.Reasons = append(r.Reasons, api.VerdictReason{Column: "kind", Reason: "x"})
		}), sandbox.Invalid},
		"personal below 3": {o.unit, edit(func(s *attest.Classification) { s.Columns[0].Personal = true }), sandbox.Invalid},
		"no such category": {o.unit, edit(func(s *attest.Classification) { s.Columns[0].Category = "x" }), sandbox.Invalid},
	} {
		if _, err := o.n.ConfirmClassification(t.Context(), x.by.Caller, "ds-c", x.r); !errors.Is(err, x.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, x := o.column("code"); x.Level.Grade != 3 || x.Verdict != nil || o.n.evidence.Log().Size() != size {
		t.Errorf("something of a refused verdict is kept: %+v, %d events", x, o.n.evidence.Log().Size()-size)
	}
	for who, c := range map[string]api.Caller{"another unit": o.other.Caller, "an operator": o.operator.Caller} {
		if _, err := o.n.Classification(t.Context(), c, "ds-c"); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("%s sees findings: %v", who, err)
		}
	}
	if _, err := o.n.Classification(t.Context(), o.agency.Caller, "ds-c"); err != nil {
		t.Error(err)
	}
	if _, err := o.n.ConfirmClassification(t.Context(), o.unit.Caller, "ds-c", fine); err != nil {
		t.Error(err)
	}
	if _, err := o.n.ConfirmClassification(t.Context(), o.unit.Caller, "ds-c", fine); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the same statement again: %v", err)
	}
	o.audit()
	closed(t, o.n)
}

// TestVerdictOutlivesTheLog: the process ends between store and log; the verdict and its event are there together at the next start.
func TestVerdictOutlivesTheLog(t *testing.T) {
	o := newOffice(t)
	o.push("run-1", found("code", classify.ICD10))
	r := o.verdict(o.unit, "code", "why", lower)
	if err := o.n.evidence.Log().Close(); err != nil { // every append fails from here on
		t.Fatal(err)
	}
	if _, err := o.n.ConfirmClassification(context.Background(), o.unit.Caller, "ds-c", r); !errors.Is(err, sandbox.Unavailable) {
		t.Fatalf("confirmed without evidence: %v", err)
	}
	_ = o.n.Close()
	o.n = reopen(t, o.dir)
	if _, x := o.column("code"); x.Level.Grade != 1 || x.Verdict == nil {
		t.Errorf("%+v", x)
	}
	if c := kinds(t, o.n, attest.ClassificationConfirmed); c != 1 {
		t.Errorf("%d events", c)
	}
	o.audit()
	closed(t, o.n)
}

// TestFindingsOutliveTheCatalogue: the process ends between vault and store; the version's findings are in force all the same.
func TestFindingsOutliveTheCatalogue(t *testing.T) {
	o := newOffice(t)
	o.seal("run-1", found("code", classify.ICD10))
	o.restart()
	all, x := o.column("code")
	if all.Version != 1 || all.Found != 1 || !x.Open || x.Level.Grade != 3 {
		t.Errorf("%+v %+v", all, x)
	}
	if p, err := o.n.Push(t.Context(), o.unit.Caller, "run-1"); err != nil || len(p.Report.Findings) != 1 {
		t.Errorf("%+v %v", p.Report, err)
	}
	// Nobody knows what stands in a version that does not say: grade 4 in every column, under any rules, until a person decides.
	o.confirm("code", "a published code list", lower)
	o.seal("run-2")
	o.restart()
	if all, x = o.column("code"); all.Open != 3 || x.Level.Grade != 4 || x.Proposal.Finding != string(classify.Unknown) || x.Proposal.Term == "" {
		t.Errorf("%+v %+v", all, x)
	}
	if p, err := o.n.Regrade(t.Context(), o.agency.Caller, api.RegradeRequest{Rules: o.stricter("next", map[classify.Kind]sandbox.Grade{classify.ICD10: 4}), Preview: true}); err != nil || len(p.Fields) != 0 {
		t.Errorf("%+v %v", p.Fields, err)
	}
	o.confirm("code", "looked through by hand", lower)
	if _, x = o.column("code"); x.Open || x.Level.Grade != 1 {
		t.Errorf("%+v", x)
	}
	o.audit()
	closed(t, o.n)
}

// TestGradedBeforeRecordsWereKept: the findings are those that the columns name.
func TestGradedBeforeRecordsWereKept(t *testing.T) {
	o := newOffice(t)
	o.push("run-1", found("code", classify.ICD10))
	if err := o.n.docs.gradings.Delete(t.Context(), "ds-c"); err != nil {
		t.Fatal(err)
	}
	if all, x := o.column("code"); all.Open != 1 || x.Proposal == nil || x.Proposal.Finding != string(classify.ICD10) || x.Proposal.Sampled != 0 {
		t.Errorf("%+v %+v", all, x)
	}
	if c := o.confirm("code", "why", lower); c.Open != 0 {
		t.Errorf("%+v", c)
	}
	closed(t, o.n)
}
