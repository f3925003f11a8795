package attest

import (
	"bytes"
	"context"
	"crypto/rand"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// start is 2026-03-31 23:30 in Shanghai: the story crosses a billing month.
var start = time.Date(2026, 3, 31, 15, 30, 0, 0, time.UTC)

func digest(s string) []byte {
	d := sm.Sum([]byte(s))
	return d[:]
}

// step is one event of a story. The body of a statement is the statement's; it is signed when the story is played.
type step struct {
	name    string
	kind    Kind
	actor   sandbox.IdentityID
	body    any
	context string             // of a statement
	signer  sandbox.IdentityID // whose key signs, when not the actor's
	as      sandbox.IdentityID // who the statement says signed it, when not the actor
	minute  int
	nth     int // step of a vote
	hit     []AffectedGrant
	moved   *ReviewMovedBody // whose statement the body is
	to      []string
}

// ring holds audience keys: drawn when first asked for, gone when destroyed.
type ring struct {
	mu   sync.Mutex
	keys map[string][]byte // nil: destroyed
}

func newRing() *ring { return &ring{keys: map[string][]byte{}} }

func (r *ring) AudienceKey(audience string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[audience]
	if !ok {
		k = make([]byte, sm.KeySize)
		if _, err := rand.Read(k); err != nil {
			return nil, err
		}
		r.keys[audience] = k
	}
	if k == nil {
		return nil, &sandbox.Error{Op: "ring", Kind: sandbox.NotFound, Object: "audience key"}
	}
	return k, nil
}

func (r *ring) destroy(audience string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[audience] = nil
}

// cast is everybody in the story with their keys.
type cast struct {
	keys   map[sandbox.IdentityID]*sm.SigningKey
	domain *sm.SigningKey
	ring   *ring
	filing []byte // SM3 of the scoring model filed last
}

var roles = []struct {
	party sandbox.PartyID
	role  sandbox.Role
	ids   []sandbox.IdentityID
}{
	{"agency", sandbox.Agency, []sandbox.IdentityID{"agency-officer", "agency-reviewer"}},
	{"operator", sandbox.Operator, []sandbox.IdentityID{"op-officer", "op-reviewer"}},
	{"unit-med", sandbox.Unit, []sandbox.IdentityID{"med-officer", "med-reviewer"}},
	{"unit-civil", sandbox.Unit, []sandbox.IdentityID{"civil-officer", "civil-reviewer"}},
	{"insurer", sandbox.Insurer, []sandbox.IdentityID{"ins-officer"}},
	{"person", sandbox.Subject, []sandbox.IdentityID{"person-1"}},
}

func newCast(t testing.TB) *cast {
	t.Helper()
	c := &cast{keys: map[sandbox.IdentityID]*sm.SigningKey{}, ring: newRing()}
	key := func() *sm.SigningKey {
		k, err := sm.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	c.domain = key()
	for _, r := range roles {
		for _, id := range r.ids {
			c.keys[id] = key()
		}
	}
	return c
}

func (c *cast) enrolment(party sandbox.PartyID) *PartyEnrolledBody {
	for _, r := range roles {
		if r.party != party {
			continue
		}
		b := &PartyEnrolledBody{Party: sandbox.Party{ID: party, Role: r.role, Name: "n"}}
		for _, id := range r.ids {
			duty := sandbox.Officer
			if slices.Contains([]sandbox.IdentityID{"agency-reviewer", "op-reviewer", "med-reviewer", "civil-reviewer"}, id) {
				duty = sandbox.Reviewer
			}
			k := c.keys[id].Public().Bytes()
			b.Identities = append(b.Identities, sandbox.Identity{ID: id, Party: party, Duty: duty, SignKey: k, EncryptKey: k})
		}
		return b
	}
	return nil
}

// story is the main job from beginning to end.
func (c *cast) story() []step {
	list, agreement, result, claim := digest("list"), digest("agreement"), digest("result"), digest("claim result")
	later := start.Add(100 * time.Hour)
	decide := func(name, who, party, stepName string) step {
		return step{name: name, kind: ScenarioDecided, actor: sandbox.IdentityID(who), context: ContextDecision,
			body: &ScenarioDecision{Scenario: "sc-1", ListDigest: list, Step: stepName, Party: sandbox.PartyID(party), Approve: true, At: start}}
	}
	sign := func(name, who, party string) step {
		return step{name: name, kind: AgreementSigned, actor: sandbox.IdentityID(who), context: ContextAgreement,
			body: &AgreementSignature{Scenario: "sc-1", Digest: agreement, Party: sandbox.PartyID(party), At: start}}
	}
	cast := func(name, who string, nth int) step {
		return step{name: name, kind: ReviewVoted, actor: sandbox.IdentityID(who), context: ContextVote, nth: nth,
			body: &Vote{Question: "q-1", Result: result, Recipient: "op-officer", Expires: later, Policy: "gate/1", Approve: true, At: start}}
	}
	ingest := func(name string, version uint64) step {
		return step{name: name, kind: IngestCommitted, actor: "med-officer", body: &IngestCommittedBody{Dataset: "claims", Run: "run-1", Version: version, Rows: 10,
			Manifest: digest("m"), Key: "key-1", KeyCommitment: digest("k"), Grades: []ColumnGrade{{Column: "amount", Declared: 3}}}}
	}
	s := []step{
		{name: "domain", kind: DomainCreated, actor: DomainActor, body: &DomainCreatedBody{Domain: "test", Hosting: sandbox.P1, District: "longhua",
			SignKey: c.domain.Public().Bytes(), EncryptKey: c.domain.Public().Bytes()}},
		{name: "agency", kind: PartyEnrolled, actor: DomainActor, body: c.enrolment("agency")},
		{name: "operator", kind: PartyEnrolled, actor: DomainActor, body: c.enrolment("operator")},
		{name: "med", kind: PartyEnrolled, actor: DomainActor, body: c.enrolment("unit-med")},
		{name: "civil", kind: PartyEnrolled, actor: DomainActor, body: c.enrolment("unit-civil")},
		{name: "register", kind: DatasetRegistered, actor: "med-officer", body: &DatasetRegisteredBody{Dataset: "claims", Unit: "unit-med", SchemaDigest: digest("s"), Frequency: "monthly"}},
		{name: "insurer", kind: PartyEnrolled, actor: "agency-officer", body: c.enrolment("insurer")},
		{name: "person", kind: PartyEnrolled, actor: "agency-officer", body: c.enrolment("person")},
		{name: "subject", kind: SubjectEnrolled, actor: "agency-officer", body: &SubjectEnrolledBody{Identity: "person-1"}},
		ingest("ingest 1", 1),
		{name: "ingest refused", kind: IngestRefused, actor: "med-officer", body: &IngestRefusedBody{Dataset: "claims", Run: "run-2", Rule: "conflict"}},
		ingest("ingest 2", 2),
		{name: "file", kind: ScenarioFiled, actor: "op-officer", body: &ScenarioFiledBody{Scenario: "sc-1", Applicant: "operator", Purpose: "health", ListDigest: list, AgreementDigest: agreement,
			Due:     []DueStep{{Step: "operator", Party: "operator", Due: later}, {Step: "agency", Party: "agency"}, {Step: "unit", Party: "unit-med"}, {Step: "unit", Party: "unit-civil"}},
			Signers: []sandbox.PartyID{"operator", "agency", "unit-med", "unit-civil"}}},
		decide("operator decides", "op-officer", "operator", "operator"),
		decide("agency decides", "agency-officer", "agency", "agency"),
		decide("civil decides", "civil-officer", "unit-civil", "unit"),
		decide("med decides", "med-officer", "unit-med", "unit"),
		sign("agency signs", "agency-officer", "agency"), sign("operator signs", "op-officer", "operator"),
		sign("med signs", "med-officer", "unit-med"), sign("civil signs", "civil-officer", "unit-civil"),
		{name: "grant", kind: GrantIssued, actor: "civil-officer", body: &GrantIssuedBody{Grant: "g-1", Scenario: "sc-1", ListDigest: list, NotBefore: start, NotAfter: later}},
		{name: "refuse", kind: QuestionDecided, actor: "op-officer", body: &QuestionDecidedBody{Question: "q-0", Scenario: "sc-1", Asker: "op-officer", Spec: digest("q0"), Codes: []string{"rows.raw"}, Policy: "p/1"}},
		{name: "ask", kind: QuestionDecided, actor: "op-officer", body: &QuestionDecidedBody{Question: "q-1", Scenario: "sc-1", Asker: "op-officer", Spec: digest("q1"), Allow: true, Engine: sandbox.Domain, Class: sandbox.ClassA, Policy: "p/1"}},
		{name: "run", kind: RunComputed, actor: "op-officer", body: &RunComputedBody{Question: "q-1", Run: "run-3", Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 2}}, Answer: digest("answer")}},
		{name: "meter", kind: UsageMetered, actor: "op-officer", body: &UsageMeteredBody{ID: "u-1", Party: "operator", Scenario: "sc-1", Product: "aggregate-question", Quantity: 1, Question: "q-1", At: start}},
		{name: "check", kind: EgressChecked, actor: DomainActor, body: &EgressCheckedBody{Question: "q-1", Verdict: "pass", Suppressed: true, Result: result, Policy: "gate/1"}},
		{name: "queue", kind: ReviewMoved, actor: "op-officer", body: &ReviewMovedBody{Question: "q-1", From: "draft", Expires: later, Moves: []ReviewStep{
			{"seal", "sealed", sandbox.Operator}, {"scan", "scanning", bySystem}, {"clear", "checked", bySystem}, {"queue", "in-review", bySystem}}}},
		cast("first vote", "civil-reviewer", 1),
		{name: "partial", kind: ReviewMoved, actor: "civil-reviewer", body: &ReviewMovedBody{Question: "q-1", From: "in-review", Moves: []ReviewStep{{"first-vote", "partial", sandbox.Unit}}}},
		{name: "opened", kind: ReviewOpened, actor: "agency-reviewer", signer: "civil-reviewer", as: "civil-reviewer", context: ContextVote,
			body: &Vote{Question: "q-1", Result: result, Recipient: "op-officer", Expires: later, Policy: "gate/1", Approve: true, At: start}},
		cast("second vote", "agency-reviewer", 2),
		{name: "agreed", kind: ReviewMoved, actor: "agency-reviewer", body: &ReviewMovedBody{Question: "q-1", From: "partial", Moves: []ReviewStep{
			{"second-vote", "consolidating", sandbox.Agency}, {"agree", "approved", bySystem}, {"release", "releasing", bySystem}}}},
		{name: "release", kind: ReleaseSent, actor: "agency-reviewer", body: &ReleaseSentBody{Release: "r-1", Question: "q-1", Class: sandbox.ClassA, Recipient: "op-officer", Result: result, Envelope: digest("e"), Expires: later}},
		{name: "sent", kind: ReviewMoved, actor: "agency-reviewer", body: &ReviewMovedBody{Question: "q-1", From: "releasing", Moves: []ReviewStep{{"sent", "released", bySystem}}}},
		{name: "no consent", kind: ClaimRefused, actor: "ins-officer", body: &ClaimRefusedBody{Question: "q-2", Asker: "ins-officer", Code: "consent.none"}},
		{name: "consent", kind: ConsentGiven, actor: "person-1", context: ContextConsent, body: &Receipt{ID: "c-1", Subject: "person-1", Grantee: "insurer", Unit: "unit-med", Scenario: "sc-1", Purpose: "settlement",
			Dataset: "claims", Fields: []string{"amount"}, Claim: digest("claim"), NotBefore: start, NotAfter: later, MaxUses: 1, Notice: digest("notice"), NoticeVersion: "1", Language: "zh", Method: "sm2", At: start}},
		{name: "claim ask", kind: QuestionDecided, actor: "ins-officer", body: &QuestionDecidedBody{Question: "q-3", Scenario: "sc-1", Asker: "ins-officer", Spec: digest("q3"), Allow: true, Engine: sandbox.Domain, Class: sandbox.ClassB, Policy: "p/1"}},
		{name: "answer", kind: ClaimAnswered, actor: "ins-officer", body: &ClaimAnsweredBody{Question: "q-3", Consent: "c-1", Use: 1, Release: "r-2"}},
		{name: "claim release", kind: ReleaseSent, actor: "ins-officer", body: &ReleaseSentBody{Release: "r-2", Question: "q-3", Class: sandbox.ClassB, Recipient: "ins-officer", Result: claim, Envelope: digest("e2"), Expires: later, Consent: "c-1"}},
		{name: "claim meter", kind: UsageMetered, actor: "ins-officer", body: &UsageMeteredBody{ID: "u-3", Party: "insurer", Scenario: "sc-1", Product: "claim-query", Quantity: 1, Question: "q-3", At: start.Add(time.Minute)}},
		{name: "april meter", kind: UsageMetered, actor: "op-officer", body: &UsageMeteredBody{ID: "u-4", Party: "operator", Scenario: "sc-1", Product: "aggregate-question", Quantity: 1, Question: "q-1", At: start.Add(time.Hour)}},
		{name: "meter 2", kind: UsageMetered, actor: "op-officer", body: &UsageMeteredBody{ID: "u-5", Party: "operator", Scenario: "sc-1", Product: "aggregate-question", Quantity: 2, Question: "q-1", At: start}},
		{name: "revoke", kind: ConsentRevoked, actor: "person-1", context: ContextRevocation, body: &Revocation{Consent: "c-1", At: start}},
		{name: "invoice", kind: InvoiceIssued, actor: "agency-officer", body: &InvoiceIssuedBody{Invoice: "i-1", Party: "operator", Month: "2026-03", PriceBook: "longhua/1",
			Lines: []InvoiceLine{{Product: "aggregate-question", Quantity: 3, UnitPrice: 5000, Amount: 15000, Usage: []string{"u-1", "u-5"}}}, Total: 15000}},
		{name: "export", kind: BundleExported, actor: "agency-officer", body: &BundleExportedBody{Audience: "auditor", Size: 20}},
	}
	for i := range s {
		s[i].minute = i
	}
	return s
}

func find(t testing.TB, s []step, name string) int {
	t.Helper()
	i := slices.IndexFunc(s, func(x step) bool { return x.name == name })
	if i < 0 {
		t.Fatalf("no step %q", name)
	}
	return i
}

// body gives the body of a step for a change.
func body[T any](t testing.TB, s []step, name string) *T {
	t.Helper()
	return s[find(t, s, name)].body.(*T)
}

// play records a story.
func (c *cast) play(t testing.TB, steps []step) *Recorder {
	t.Helper()
	log, err := tlog.Create(tlog.Config{Dir: filepath.Join(t.TempDir(), "log"), Origin: "opdomain/test", Key: c.domain, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRecorder(log, c.domain, c.ring, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	events := make([]Prepared, 0, len(steps))
	for _, s := range steps {
		b := s.body
		if s.context != "" {
			signer := s.actor
			if s.signer != "" {
				signer = s.signer
			}
			as := s.actor
			if s.as != "" {
				as = s.as
			}
			st, err := Sign(rand.Reader, c.keys[signer], as, s.context, s.body)
			if err != nil {
				t.Fatal(err)
			}
			switch s.kind {
			case ScenarioDecided:
				b = ScenarioDecidedBody{Statement: st}
			case AgreementSigned:
				b = AgreementSignedBody{Statement: st}
			case ReviewVoted:
				b = ReviewVotedBody{Statement: st, Step: s.nth}
			case ReviewOpened:
				b = ReviewOpenedBody{Question: s.body.(*Vote).Question, Statement: st}
			case ReviewMoved:
				moved := *s.moved
				moved.Statement = &st
				b = moved
			case TemplateSigned:
				b = TemplateSignedBody{Statement: st}
			case TemplateStopped:
				b = TemplateStoppedBody{Statement: st}
			case AlgorithmApproved:
				b = AlgorithmApprovedBody{Statement: st}
			case AlgorithmWithdrawn:
				b = AlgorithmWithdrawnBody{Statement: st}
			case JointPlanned:
				b = JointPlannedBody{Question: "q-j", Statement: st, Plan: digest("plan"), Engine: digest("e"), Run: int64(s.nth), Runs: 2}
			case ScoringModelFiled:
				d := sm.Sum(st.Body)
				c.filing = d[:]
				b = ScoringModelFiledBody{Statement: st}
			case ScoringModelApproved:
				x := *s.body.(*ScoringModelApproval)
				if x.Filing == nil { // of what was filed last
					x.Filing = c.filing
				}
				if st, err = Sign(rand.Reader, c.keys[signer], as, s.context, &x); err != nil {
					t.Fatal(err)
				}
				b = ScoringModelApprovedBody{Statement: st}
			case ScoringModelWithdrawn:
				b = ScoringModelWithdrawnBody{Statement: st}
			case ConsentGiven:
				b = ConsentGivenBody{Statement: st}
			case ConsentRevoked:
				b = ConsentRevokedBody{Statement: st}
			case ClassificationConfirmed:
				b = ClassificationConfirmedBody{Statement: st, Revision: 2, Affected: s.hit}
			}
		}
		p, err := r.Prepare(start.Add(time.Duration(s.minute)*time.Minute), s.actor, "object/"+string(s.kind), s.kind, b, s.to...)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		events = append(events, p)
	}
	if _, err := r.Append(context.Background(), events...); err != nil {
		t.Fatal(err)
	}
	return r
}

func everything(Event) bool { return true }

// bundle exports a recorder's log.
func bundle(t testing.TB, r *Recorder, visible func(Event) bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteBundle(context.Background(), &b, "test", "auditor", visible); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
