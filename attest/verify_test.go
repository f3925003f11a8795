package attest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func verify(b []byte) (Report, error) { return VerifyBundle(bytes.NewReader(b), nil) }

func TestWholeStoryIsAccepted(t *testing.T) {
	c := newCast(t)
	b := bundle(t, c.play(t, c.story()), everything)
	r, err := VerifyBundle(bytes.NewReader(b), c.domain.Public())
	if err != nil {
		t.Fatal(err)
	}
	if r.Hidden != 0 || len(r.NotChecked) != 0 || r.Entries != uint64(len(c.story())) || r.Fingerprint != c.domain.Public().Fingerprint() || r.Domain != "test" {
		t.Errorf("%+v", r)
	}
	for _, check := range []string{"event signature", "time", "domain", "actor", "enrolment", "statement signature", "dataset", "versions", "scenario", "approvals", "agreement", "grant",
		"question", "run", "egress", "votes", "release", "release authority", "consent", "consent not revoked", "consent uses", "usage", "invoice", "export"} {
		if r.Checks[check] == 0 {
			t.Errorf("%s was never checked", check)
		}
	}
	total := 0
	for _, n := range r.Events {
		total += n
	}
	if total != len(c.story()) {
		t.Errorf("%d events counted", total)
	}
	if text := r.Text(); !strings.Contains(text, r.Fingerprint) || !strings.Contains(text, "已核验") {
		t.Error(text)
	}
	if _, err := VerifyBundle(bytes.NewReader(b), c.keys["op-officer"].Public()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "another key") {
		t.Errorf("a bundle under another key: %v", err)
	}
}

// Each rule of the verifier, broken once in an otherwise whole story that the domain itself signed.
func TestBrokenRules(t *testing.T) {
	c := newCast(t)
	drop := func(names ...string) func(testing.TB, []step) []step {
		return func(t testing.TB, s []step) []step {
			for _, n := range names {
				i := find(t, s, n)
				s = slices.Delete(s, i, i+1)
			}
			return s
		}
	}
	swap := func(a, b string) func(testing.TB, []step) []step {
		return func(t testing.TB, s []step) []step {
			i, j := find(t, s, a), find(t, s, b)
			s[i], s[j] = s[j], s[i]
			s[i].minute, s[j].minute = s[j].minute, s[i].minute
			return s
		}
	}
	again := func(name string) func(testing.TB, []step) []step {
		return func(t testing.TB, s []step) []step {
			x := s[find(t, s, name)]
			x.minute = len(s)
			return append(s, x)
		}
	}
	edit := func(f func(t testing.TB, s []step)) func(testing.TB, []step) []step {
		return func(t testing.TB, s []step) []step { f(t, s); return s }
	}
	// bare is a log from before reviews left their moves.
	bare := func(f func(testing.TB, []step) []step) func(testing.TB, []step) []step {
		return func(t testing.TB, s []step) []step { return f(t, withoutMoves(s)) }
	}
	at := func(name string, f func(*step)) func(testing.TB, []step) []step {
		return edit(func(t testing.TB, s []step) { f(&s[find(t, s, name)]) })
	}
	for _, x := range []struct {
		name   string
		change func(testing.TB, []step) []step
		want   string
	}{
		{"no domain", drop("domain"), "entry 0 (party.enrolled): tampered: domain"},
		{"domain twice", again("domain"), "domain: the first event"},
		{"domain of another key", edit(func(t testing.TB, s []step) {
			body[DomainCreatedBody](t, s, "domain").SignKey = c.keys["op-officer"].Public().Bytes()
		}), "domain: made under"},
		{"domain of another name", edit(func(t testing.TB, s []step) { body[DomainCreatedBody](t, s, "domain").Domain = "x" }), "domain: made under"},
		{"time goes back", at("grant", func(s *step) { s.minute = 1 }), "(grant.issued): tampered: time"},
		{"actor nobody enrolled", at("refuse", func(s *step) { s.actor = "stranger" }), "actor:"},
		{"operator first", drop("agency"), "the first party is the agency"},
		{"enrolled by an operator", at("insurer", func(s *step) { s.actor = "op-officer" }), "enrolment: by a party in the role agency"},
		{"enrolled by the domain later", at("insurer", func(s *step) { s.actor = DomainActor }), "enrolment: by an enrolled identity"},
		{"party twice", again("insurer"), "enrolment: a party"},
		{"identity of another party", edit(func(t testing.TB, s []step) { body[PartyEnrolledBody](t, s, "insurer").Identities[0].Party = "agency" }), "enrolment: an identity"},
		{"identity twice", edit(func(t testing.TB, s []step) { body[PartyEnrolledBody](t, s, "insurer").Identities[0].ID = "op-officer" }), "enrolment: an identity"},
		{"no key", edit(func(t testing.TB, s []step) {
			body[PartyEnrolledBody](t, s, "insurer").Identities[0].SignKey = digest("k")
		}), "enrolment: an identity"},
		{"subject is a company", edit(func(t testing.TB, s []step) { body[SubjectEnrolledBody](t, s, "subject").Identity = "ins-officer" }), "enrolment: by a party in the role subject"},
		{"subject enrolled by a unit", at("subject", func(s *step) { s.actor = "med-officer" }), "enrolment: by a party in the role agency"},
		{"dataset of another unit", at("register", func(s *step) { s.actor = "civil-officer" }), "dataset: by an identity of its party"},
		{"dataset of an operator", edit(func(t testing.TB, s []step) {
			i := find(t, s, "register")
			s[i].actor, s[i].body.(*DatasetRegisteredBody).Unit = "op-officer", "operator"
		}), "dataset: by a party in the role unit"},
		{"ingest without dataset", drop("register"), "versions: of a registered dataset"},
		{"version twice", edit(func(t testing.TB, s []step) { body[IngestCommittedBody](t, s, "ingest 2").Version = 1 }), "versions: a dataset's versions rise"},
		{"version left out", drop("ingest 1"), "versions: a dataset's versions follow"},
		{"no manifest", edit(func(t testing.TB, s []step) { body[IngestCommittedBody](t, s, "ingest 2").Manifest = nil }), "versions: with the digests"},
		{"filed twice", again("file"), "scenario: filed once"},
		{"no unit decides", edit(func(t testing.TB, s []step) {
			b := body[ScenarioFiledBody](t, s, "file")
			b.Due = b.Due[:2]
		}), "at least one unit"},
		{"who decides does not sign", edit(func(t testing.TB, s []step) {
			b := body[ScenarioFiledBody](t, s, "file")
			b.Signers = b.Signers[:3]
		}), "whoever decides signs"},
		{"operator decides for the agency", edit(func(t testing.TB, s []step) {
			b := body[ScenarioFiledBody](t, s, "file")
			b.Due[1].Party = "operator"
		}), "each step belongs to a party in its role"},
		{"filed by another", at("file", func(s *step) { s.actor = "ins-officer" }), "scenario: by an identity of its party"},
		{"decision of nothing", drop("file"), "approvals: of a filed scenario"},
		{"decision under another key", at("agency decides", func(s *step) { s.signer = "op-officer" }), "statement signature: under the key"},
		{"decision by a reviewer", at("agency decides", func(s *step) { s.actor = "agency-reviewer" }), "approvals: by an officer"},
		{"decision for another party", at("agency decides", func(s *step) { s.actor = "op-officer" }), "approvals: by an officer of a party"},
		{"decision over another list", edit(func(t testing.TB, s []step) { body[ScenarioDecision](t, s, "agency decides").ListDigest = digest("x") }), "approvals: over the filed"},
		{"agency before operator", swap("operator decides", "agency decides"), "approvals: operator, agency and units"},
		{"unit before agency", swap("agency decides", "civil decides"), "approvals: operator, agency and units"},
		{"decided twice", again("agency decides"), "approvals: decided once"},
		{"decided after a refusal", edit(func(t testing.TB, s []step) { body[ScenarioDecision](t, s, "agency decides").Approve = false }), "approvals: decided once, and not after a refusal"},
		{"one unit did not approve", drop("med decides"), "agreement: after every approval"},
		{"last unit refused", edit(func(t testing.TB, s []step) { body[ScenarioDecision](t, s, "med decides").Approve = false }), "never after a refusal"},
		{"decision from the future", edit(func(t testing.TB, s []step) { body[ScenarioDecision](t, s, "med decides").At = start.Add(time.Hour) }), "time: a statement"},
		{"signed by an outsider", edit(func(t testing.TB, s []step) {
			i := find(t, s, "med signs")
			s[i].actor, s[i].body.(*AgreementSignature).Party = "ins-officer", "insurer"
		}), "agreement: by an officer of one"},
		{"signed twice", again("med signs"), "agreement: signed once"},
		{"another agreement signed", edit(func(t testing.TB, s []step) { body[AgreementSignature](t, s, "med signs").Digest = digest("x") }), "agreement: over the filed"},
		{"one signature is missing", drop("civil signs"), "grant: after every party's signature"},
		{"grant of another list", edit(func(t testing.TB, s []step) { body[GrantIssuedBody](t, s, "grant").ListDigest = digest("x") }), "grant: for the filed list"},
		{"grant twice", again("grant"), "grant: issued once"},
		{"no grant", drop("grant"), "question: allowed under a grant"},
		{"grant over", edit(func(t testing.TB, s []step) { body[GrantIssuedBody](t, s, "grant").NotAfter = start.Add(time.Minute) }), "question: allowed within"},
		{"question twice", again("ask"), "question: decided once"},
		{"refusal without reason", edit(func(t testing.TB, s []step) { body[QuestionDecidedBody](t, s, "refuse").Codes = nil }), "question: a refusal"},
		{"run of a refused question", edit(func(t testing.TB, s []step) { body[RunComputedBody](t, s, "run").Question = "q-0" }), "run: only an allowed"},
		{"run of no question", edit(func(t testing.TB, s []step) { body[RunComputedBody](t, s, "run").Question = "q-9" }), "run: of a decided"},
		{"run over no version", edit(func(t testing.TB, s []step) { body[RunComputedBody](t, s, "run").Inputs[0].Version = 3 }), "run: over versions"},
		{"check without run", drop("run"), "egress: of a computed"},
		{"check of no question", edit(func(t testing.TB, s []step) { body[EgressCheckedBody](t, s, "check").Question = "q-9" }), "egress: of a decided"},
		{"check twice", again("check"), "egress: an allowed question, checked once"},
		{"unknown verdict", edit(func(t testing.TB, s []step) { body[EgressCheckedBody](t, s, "check").Verdict = "maybe" }), "egress: passed with"},
		{"withheld and released", bare(edit(func(t testing.TB, s []step) {
			b := body[EgressCheckedBody](t, s, "check")
			b.Verdict, b.Result = "withheld", nil
		})), "votes: over exactly the result"},
		{"vote without check", bare(drop("check")), "votes: over a checked"},
		{"vote on another result", edit(func(t testing.TB, s []step) { body[Vote](t, s, "first vote").Result = digest("x") }), "votes: over exactly"},
		{"vote of an officer", at("first vote", func(s *step) { s.actor = "civil-officer" }), "votes: by a reviewer"},
		{"vote of the operator", at("first vote", func(s *step) { s.actor = "op-reviewer" }), "votes: not by an affiliate of the recipient"},
		{"vote of an affiliate", edit(func(t testing.TB, s []step) {
			body[PartyEnrolledBody](t, s, "civil").Party.Affiliates = []sandbox.PartyID{"operator"}
		}), "votes: not by an affiliate"},
		{"vote of the author's affiliate", edit(func(t testing.TB, s []step) {
			body[PartyEnrolledBody](t, s, "civil").Party.Affiliates = []sandbox.PartyID{"operator"}
			body[Vote](t, s, "first vote").Recipient = "ins-officer"
		}), "votes: not by an affiliate of the author"},
		{"vote under another policy", edit(func(t testing.TB, s []step) { body[Vote](t, s, "first vote").Policy = "gate/2" }), "votes: under the policy"},
		{"vote expired", edit(func(t testing.TB, s []step) { body[Vote](t, s, "first vote").Expires = start }), "votes: by a reviewer, before"},
		{"second vote of a unit", at("second vote", func(s *step) { s.actor = "med-reviewer" }), "votes: a first vote, or the agency's"},
		{"both votes of the agency", bare(at("first vote", func(s *step) { s.actor = "agency-reviewer" })), "by different organisations"},
		{"second vote alone", bare(drop("first vote")), "votes: the second after the first"},
		{"one vote", bare(drop("second vote")), "release authority: two votes"},
		{"no vote", bare(drop("first vote", "second vote")), "release authority: two votes"},
		{"veto", bare(edit(func(t testing.TB, s []step) { body[Vote](t, s, "second vote").Approve = false })), "release authority: a refusal"},
		{"vote for another recipient", bare(edit(func(t testing.TB, s []step) { body[Vote](t, s, "first vote").Recipient = "ins-officer" })), "release authority: each vote"},
		{"released longer than voted", edit(func(t testing.TB, s []step) {
			body[ReleaseSentBody](t, s, "release").Expires = start.Add(200 * time.Hour)
		}), "release authority: each vote"},
		{"another result released", edit(func(t testing.TB, s []step) { body[ReleaseSentBody](t, s, "release").Result = digest("x") }), "release authority: over exactly"},
		{"released to a stranger", edit(func(t testing.TB, s []step) { body[ReleaseSentBody](t, s, "release").Recipient = "stranger" }), "release: to an enrolled"},
		{"released twice", again("release"), "release: sent once"},
		{"released late", edit(func(t testing.TB, s []step) { body[ReleaseSentBody](t, s, "release").Expires = start }), "release: before it expires"},
		{"released as another class", edit(func(t testing.TB, s []step) { body[ReleaseSentBody](t, s, "release").Class = sandbox.ClassB }), "release: of an allowed question and its class"},
		{"released in no class", edit(func(t testing.TB, s []step) {
			body[ReleaseSentBody](t, s, "release").Class, body[QuestionDecidedBody](t, s, "ask").Class = "Z", "Z"
			body[Vote](t, s, "first vote").Class, body[Vote](t, s, "opened").Class, body[Vote](t, s, "second vote").Class = "Z", "Z", "Z"
		}), "release: of a known class"},
		{"a model on nobody's authority", edit(func(t testing.TB, s []step) {
			body[ReleaseSentBody](t, s, "claim release").Class, body[QuestionDecidedBody](t, s, "claim ask").Class = sandbox.ClassD, sandbox.ClassD
		}), "release authority: over a checked"},
		{"release of no question", edit(func(t testing.TB, s []step) { body[ReleaseSentBody](t, s, "release").Question = "q-9" }), "release: of a decided"},
		{"no consent", drop("consent"), "consent"},
		{"consent under another key", at("consent", func(s *step) { s.signer = "ins-officer" }), "statement signature"},
		{"consent for somebody else", edit(func(t testing.TB, s []step) { body[Receipt](t, s, "consent").Subject = "person-2" }), "consent: given by the subject"},
		{"consent of the insurer", edit(func(t testing.TB, s []step) {
			i := find(t, s, "consent")
			s[i].actor, s[i].body.(*Receipt).Subject = "ins-officer", "ins-officer"
		}), "consent: given by the subject"},
		{"consent twice", again("consent"), "consent: given once"},
		{"consent without a use", edit(func(t testing.TB, s []step) { body[Receipt](t, s, "consent").MaxUses = 0 }), "consent: for named fields"},
		{"consent to another", edit(func(t testing.TB, s []step) { body[Receipt](t, s, "consent").Grantee = "operator" }), "consent: to its grantee"},
		{"consent over", edit(func(t testing.TB, s []step) { body[Receipt](t, s, "consent").NotAfter = start.Add(time.Minute) }), "consent: used within"},
		{"consent for another scenario", edit(func(t testing.TB, s []step) { body[Receipt](t, s, "consent").Scenario = "sc-2" }), "consent: for the scenario"},
		{"used after revocation", swap("answer", "revoke"), "consent not revoked"},
		{"released after revocation", swap("claim release", "revoke"), "consent not revoked"},
		{"revoked by another", edit(func(t testing.TB, s []step) {
			s[find(t, s, "revoke")].actor = "ins-officer"
		}), "consent: revoked once, by the subject"},
		{"revoked twice", again("revoke"), "consent: revoked once"},
		{"used too often", edit(func(t testing.TB, s []step) { body[ClaimAnsweredBody](t, s, "answer").Use = 2 }), "consent uses: counted up"},
		{"a use left out", edit(func(t testing.TB, s []step) {
			body[ClaimAnsweredBody](t, s, "answer").Use, body[Receipt](t, s, "consent").MaxUses = 2, 2
		}), "consent uses: counted one by one"},
		{"answered without release", drop("claim release"), "release r-2: tampered: consent uses"},
		{"released without a use", drop("answer"), "release r-2: tampered: consent uses"},
		{"counted under another question", edit(func(t testing.TB, s []step) { body[ClaimAnsweredBody](t, s, "answer").Question = "q-1" }), "agree"},
		{"class B without consent", edit(func(t testing.TB, s []step) { body[ReleaseSentBody](t, s, "claim release").Consent = "" }), "consent: class B names"},
		{"metered twice", again("meter"), "usage: metered once"},
		{"metered nothing", edit(func(t testing.TB, s []step) { body[UsageMeteredBody](t, s, "meter").Quantity = 0 }), "usage: a positive"},
		{"metered for nobody", edit(func(t testing.TB, s []step) { body[UsageMeteredBody](t, s, "meter").Party = "x" }), "usage: by an enrolled"},
		{"usage left out", drop("meter"), "invoice: every line"},
		{"usage not billed", edit(func(t testing.TB, s []step) {
			b := body[InvoiceIssuedBody](t, s, "invoice")
			b.Lines[0].Usage, b.Lines[0].Quantity, b.Lines[0].Amount, b.Total = []string{"u-1"}, 1, 5000, 5000
		}), "invoice: all usage"},
		{"usage of another month", edit(func(t testing.TB, s []step) {
			b := body[InvoiceIssuedBody](t, s, "invoice")
			b.Lines[0].Usage, b.Lines[0].Quantity, b.Lines[0].Amount, b.Total = []string{"u-1", "u-5", "u-4"}, 4, 20000, 20000
		}), "invoice: usage of this party"},
		{"usage of another party", edit(func(t testing.TB, s []step) { body[InvoiceIssuedBody](t, s, "invoice").Party = "insurer" }), "invoice: usage of this party"},
		{"usage billed twice", edit(func(t testing.TB, s []step) {
			body[InvoiceIssuedBody](t, s, "invoice").Lines[0].Usage = []string{"u-1", "u-5", "u-1"}
		}), "invoice: usage of this party"},
		{"one fen more", edit(func(t testing.TB, s []step) {
			b := body[InvoiceIssuedBody](t, s, "invoice")
			b.Lines[0].Amount, b.Total = 15001, 15001
		}), "invoice: a line's amount"},
		{"one unit more", edit(func(t testing.TB, s []step) {
			b := body[InvoiceIssuedBody](t, s, "invoice")
			b.Lines[0].Quantity, b.Lines[0].Amount, b.Total = 4, 20000, 20000
		}), "invoice: a line's quantity"},
		{"another total", edit(func(t testing.TB, s []step) { body[InvoiceIssuedBody](t, s, "invoice").Total = 14999 }), "invoice: the total"},
		{"amount beyond 64 bits", edit(func(t testing.TB, s []step) {
			b := body[InvoiceIssuedBody](t, s, "invoice")
			b.Lines[0].UnitPrice, b.Lines[0].Amount, b.Total = 1<<62, -1<<62, -1<<62
		}), "invoice: a line's amount"},
		{"invoice twice", again("invoice"), "invoice: issued once"},
		{"statement of another than acted", at("med decides", func(s *step) { s.as, s.signer = "civil-officer", "civil-officer" }), "statement signature: by the identity that acted"},
		{"decided by a party nobody enrolled", edit(func(t testing.TB, s []step) {
			b := body[ScenarioFiledBody](t, s, "file")
			b.Due[3].Party, b.Signers[3] = "unit-x", "unit-x"
		}), "scenario: decided by enrolled parties"},
		{"filed without digests", edit(func(t testing.TB, s []step) { body[ScenarioFiledBody](t, s, "file").AgreementDigest = nil }), "scenario: with the digests"},
		{"vote for a stranger", edit(func(t testing.TB, s []step) { body[Vote](t, s, "first vote").Recipient = "stranger" }), "votes: the recipient is an enrolled"},
		{"released before any consent", drop("consent", "answer"), "consent: given before the answer"},
		{"revoked before it was given", drop("consent", "answer", "claim release"), "consent: given before it is revoked"},
		{"one release counted twice", again("answer"), "consent uses: one use for each release"},
		{"dataset registered by the domain", at("register", func(s *step) { s.actor = DomainActor }), "dataset: by an enrolled identity"},
		{"dataset changes hands", func(t testing.TB, s []step) []step {
			return append(s, step{name: "again", kind: DatasetRegistered, actor: "civil-officer", body: &DatasetRegisteredBody{Dataset: "claims", Unit: "unit-civil"}, minute: len(s)})
		}, "dataset: a dataset keeps its owner"},
		{"dataset revised by another unit", func(t testing.TB, s []step) []step {
			return append(s, step{name: "revise", kind: DatasetRevised, actor: "civil-officer", body: &DatasetRevisedBody{Dataset: "claims", Unit: "unit-civil", Revision: 2, Changed: []string{"title"}}, minute: len(s)})
		}, "catalogue: a dataset keeps its owner"},
		{"revisions that do not rise", func(t testing.TB, s []step) []step {
			b := &DatasetRevisedBody{Dataset: "claims", Unit: "unit-med", Revision: 2, Changed: []string{"title"}}
			return append(s, step{name: "revise", kind: DatasetRevised, actor: "med-officer", body: b, minute: len(s)}, step{name: "revise 2", kind: DatasetRevised, actor: "med-officer", body: b, minute: len(s) + 1})
		}, "catalogue: a description's revisions rise"},
		{"catalogue entered by a unit", func(t testing.TB, s []step) []step {
			return append(s, step{name: "seed", kind: CatalogueSeeded, actor: "civil-officer", body: &CatalogueSeededBody{District: "futian", Entries: 25}, minute: len(s)})
		}, "catalogue: "},
		{"quantities beyond 64 bits", edit(func(t testing.TB, s []step) { body[UsageMeteredBody](t, s, "meter").Quantity = math.MaxInt64 }), "invoice: quantities within 64 bits"},
		{"total beyond 64 bits", edit(func(t testing.TB, s []step) {
			body[UsageMeteredBody](t, s, "meter 2").Product = "claim-query"
			b := body[InvoiceIssuedBody](t, s, "invoice")
			b.Lines = []InvoiceLine{{Product: "aggregate-question", Quantity: 1, UnitPrice: math.MaxInt64, Amount: math.MaxInt64, Usage: []string{"u-1"}},
				{Product: "claim-query", Quantity: 2, UnitPrice: 1, Amount: 2, Usage: []string{"u-5"}}}
			b.Total = math.MinInt64 + 1
		}), "invoice: a total within 64 bits"},
		{"exported more than there was", edit(func(t testing.TB, s []step) { body[BundleExportedBody](t, s, "export").Size = 100 }), "export:"},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := c.play(t, x.change(t, c.story()))
			_, err := verify(bundle(t, r, everything))
			if !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want) {
				t.Errorf("want %q, got %v", x.want, err)
			}
		})
	}
}

// What an audience may not see is not checked, and the report says so; it does not pass and is no fault.
func TestHiddenEntriesAreNotChecked(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story())
	for _, x := range []struct {
		hide  []Kind
		check []string
	}{
		{[]Kind{PartyEnrolled}, []string{"statement signature", "actor", "scenario", "usage"}},
		{[]Kind{DatasetRegistered}, []string{"versions", "run", "consent not revoked"}},
		{[]Kind{ScenarioFiled}, []string{"approvals", "agreement", "grant", "question"}},
		{[]Kind{ScenarioDecided}, []string{"agreement", "grant"}},
		{[]Kind{AgreementSigned}, []string{"grant"}},
		{[]Kind{GrantIssued}, []string{"question"}},
		{[]Kind{QuestionDecided}, []string{"run", "egress", "votes", "release"}},
		{[]Kind{RunComputed}, []string{"egress"}},
		{[]Kind{EgressChecked}, []string{"votes", "release authority"}},
		{[]Kind{ReviewVoted}, []string{"release authority"}},
		{[]Kind{ConsentGiven}, []string{"consent", "consent uses"}},
		{[]Kind{ConsentRevoked}, nil},
		{[]Kind{ClaimAnswered}, []string{"consent uses", "consent not revoked"}},
		{[]Kind{ReleaseSent}, []string{"consent uses"}},
		{[]Kind{UsageMetered}, []string{"invoice"}},
	} {
		b := bundle(t, r, func(e Event) bool { return !slices.Contains(x.hide, e.Kind) })
		rep, err := verify(b)
		if err != nil {
			t.Errorf("without %v: %v", x.hide, err)
			continue
		}
		for _, check := range x.check {
			if rep.NotChecked[check] == 0 {
				t.Errorf("without %v: %q passes in silence", x.hide, check)
			}
		}
		if rep.Hidden == 0 || !strings.Contains(rep.Text(), "其中隐藏") || len(x.check) > 0 && !strings.Contains(rep.Text(), "not checked: hidden") {
			t.Errorf("without %v: the report does not say what is hidden", x.hide)
		}
		for _, h := range x.hide {
			if bytes.Contains(b, []byte(h)) {
				t.Errorf("%s shows in a bundle that hides it", h)
			}
		}
	}
	rep, err := verify(bundle(t, r, func(Event) bool { return false }))
	if err != nil || rep.Hidden != int(rep.Entries) || len(rep.Checks) != 0 {
		t.Errorf("everything hidden: %+v, %v", rep, err)
	}
}

// A fault that is in sight stays one, however much is hidden.
func TestHiddenEntriesExcuseNothingInSight(t *testing.T) {
	c := newCast(t)
	for name, change := range map[string]func(s []step){
		"votes":               func(s []step) { body[Vote](t, s, "first vote").Result = digest("x") },
		"a refusal is a veto": func(s []step) { body[Vote](t, s, "second vote").Approve = false },
		"invoice":             func(s []step) { body[InvoiceIssuedBody](t, s, "invoice").Total++ },
		"consent":             func(s []step) { body[Receipt](t, s, "consent").Grantee = "operator" },
	} {
		s := c.story()
		change(s)
		b := bundle(t, c.play(t, s), func(e Event) bool { return e.Kind != IngestCommitted })
		if _, err := verify(b); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// small is a story that is quick to verify: every kind of line, one statement.
func small(t testing.TB, c *cast) []byte {
	s := c.story()
	s = append(s[:2:2], s[find(t, s, "operator")], s[find(t, s, "file")])
	s[3].kind, s[3].body = QuestionDecided, &QuestionDecidedBody{Question: "q-0", Asker: "op-officer", Codes: []string{"rows.raw"}, Policy: "p/1"}
	return bundle(t, c.play(t, s), func(e Event) bool { return !bytes.Contains(e.Body, []byte(`"id":"operator"`)) })
}

func TestEveryChangedByteIsRejectedWithAPlace(t *testing.T) {
	b := small(t, newCast(t))
	if _, err := verify(b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for _, mask := range []byte{0x01, 0x20, 0x80} {
			changed := bytes.Clone(b)
			changed[i] ^= mask
			_, err := verify(changed)
			var e *sandbox.Error
			if !errors.As(err, &e) || e.Kind != sandbox.Tampered || e.Object == "" || e.Detail == "" {
				t.Fatalf("byte %d, mask %#x: %v", i, mask, err)
			}
			line := 1 + bytes.Count(b[:i], []byte{'\n'})
			if !strings.Contains(e.Object, "line ") || b[i] != '\n' && changed[i] != '\n' && e.Object != "line "+itoa(line) {
				t.Fatalf("byte %d is in line %d: %v", i, line, err)
			}
		}
	}
}

func itoa(n int) string {
	b, err := json.Marshal(n)
	if err != nil {
		return ""
	}
	return string(b)
}

func TestEveryCutIsRejected(t *testing.T) {
	b := small(t, newCast(t))
	for n := range b {
		if _, err := verify(b[:n]); !errors.Is(err, sandbox.Tampered) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	for _, more := range []string{"\n", "x", "{}\n"} {
		if _, err := verify(append(bytes.Clone(b), more...)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "nothing follows") {
			t.Errorf("%q behind it: %v", more, err)
		}
	}
	lines := bytes.SplitAfter(b, []byte{'\n'})
	for i := range lines[:len(lines)-1] {
		without := slices.Concat(slices.Concat(lines[:i]...), slices.Concat(lines[i+1:]...))
		if _, err := verify(without); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("without line %d: %v", i+1, err)
		}
	}
}

// Checks below the check values: a forger makes those too.
func TestForgedLines(t *testing.T) {
	c := newCast(t)
	whole := small(t, c)
	forge := func(change func(h *bundleHeader, es []bundleEntry, end *bundleEnd)) []byte {
		lines := bytes.Split(bytes.TrimSuffix(whole, []byte{'\n'}), []byte{'\n'})
		var h bundleHeader
		var end bundleEnd
		es := make([]bundleEntry, len(lines)-2)
		for i, into := range append([]any{&h}, func() (out []any) {
			for i := range es {
				out = append(out, &es[i])
			}
			return append(out, &end)
		}()...) {
			if err := json.Unmarshal(lines[i], into); err != nil {
				t.Fatal(err)
			}
		}
		change(&h, es, &end)
		var out bytes.Buffer
		var run chain
		h.Check = ""
		h.Check, _ = run.next(h)
		_ = writeLine(&out, h)
		for i := range es {
			es[i].Check = ""
			es[i].Check, _ = run.next(es[i])
			_ = writeLine(&out, es[i])
		}
		_ = writeLine(&out, end)
		return out.Bytes()
	}
	if _, err := verify(forge(func(*bundleHeader, []bundleEntry, *bundleEnd) {})); err != nil {
		t.Fatal(err)
	}
	other := small(t, newCast(t))
	for name, x := range map[string]struct {
		change func(*bundleHeader, []bundleEntry, *bundleEnd)
		want   string
	}{
		"audience": {func(h *bundleHeader, _ []bundleEntry, _ *bundleEnd) { h.Audience = "public" }, "line 6: tampered: the domain's signature over the whole"},
		"key": {func(h *bundleHeader, _ []bundleEntry, _ *bundleEnd) {
			h.SignKey = c.keys["op-officer"].Public().Bytes()
		}, "the checkpoint is signed"},
		"no key": {func(h *bundleHeader, _ []bundleEntry, _ *bundleEnd) { h.SignKey = nil }, "with an SM2 signing key"},
		"format": {func(h *bundleHeader, _ []bundleEntry, _ *bundleEnd) { h.Format = "opdomain-bundle/9" }, "format"},
		"domain": {func(h *bundleHeader, _ []bundleEntry, _ *bundleEnd) { h.Domain = "other" }, "the checkpoint is signed"},
		"size":   {func(h *bundleHeader, _ []bundleEntry, _ *bundleEnd) { h.Size-- }, "the checkpoint is signed"},
		"another's": {func(h *bundleHeader, _ []bundleEntry, _ *bundleEnd) {
			_ = json.Unmarshal(other[:bytes.IndexByte(other, '\n')], h)
		}, "domain"},
		"event": {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) {
			es[1].Event = json.RawMessage(strings.Replace(string(es[1].Event), "agency", "agenzy", 1))
		}, "entry 1: the event is not the one"},
		"salt":                {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) { es[1].Salt[0] ^= 1 }, "entry 1: the event is not the one"},
		"short salt":          {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) { es[1].Salt = es[1].Salt[:8] }, "entry 1: the event is not the one"},
		"salt without event":  {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) { es[1].Event = nil }, "this line is entry 1"},
		"hidden entry":        {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) { es[2].Entry[0] ^= 1 }, "do not give the root"},
		"an event taken away": {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) { es[3].Salt, es[3].Event = nil, nil }, "signature over the whole"},
		"another order":       {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) { es[1], es[2] = es[2], es[1] }, "this line is entry 1"},
		"event of the forger": {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) {
			es[1].Event = json.RawMessage(strings.Replace(string(es[1].Event), "agency", "agenzy", 1))
			d := sm.HMAC(es[1].Salt, es[1].Event)
			es[1].Entry = d[:]
		}, "entry 1 (party.enrolled): tampered: event signature"},
		"unknown kind": {func(_ *bundleHeader, es []bundleEntry, _ *bundleEnd) {
			es[1].Event = json.RawMessage(strings.Replace(string(es[1].Event), "party.enrolled", "party.enrolle!", 1))
			d := sm.HMAC(es[1].Salt, es[1].Event)
			es[1].Entry = d[:]
		}, "entry 1: tampered: event: the event has the fields"},
		"end": {func(_ *bundleHeader, _ []bundleEntry, end *bundleEnd) {
			end.Signature = end.Signature[:len(end.Signature)-1]
		}, "signature over the whole"},
	} {
		if _, err := verify(forge(x.change)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: want %q, got %v", name, x.want, err)
		}
	}
}

func TestBundleStopsWithItsContext(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var b bytes.Buffer
	if err := r.WriteBundle(ctx, &b, "test", "auditor", everything); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadersThatFail(t *testing.T) {
	if _, err := VerifyBundle(iotest.ErrReader(os.ErrPermission), nil); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a reader that fails: %v", err)
	}
	if _, err := verify(bytes.Repeat([]byte{' '}, maxLine+100)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "2 MiB") {
		t.Errorf("a line without end: %v", err)
	}
}

func readBundle(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bundles in testdata were written once, under keys that are gone: what was accepted stays accepted.
func TestKeptBundles(t *testing.T) {
	for name, hidden := range map[string]int{"small.bundle": 1, "whole.bundle": 0} {
		r, err := verify(readBundle(t, name))
		if err != nil || r.Hidden != hidden || !r.From.Equal(start) || r.To.Before(r.From) {
			t.Errorf("%s: %d hidden, %v to %v, %v", name, r.Hidden, r.From, r.To, err)
		}
	}
}

func FuzzVerifyBundle(f *testing.F) {
	b := readBundle(f, "small.bundle")
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("{}\n{}\n"))
	f.Add([]byte(`{"format":"opdomain-bundle/1","size":18446744073709551615}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := verify(in)
		if err == nil && !bytes.Equal(in, b) {
			t.Fatal("accepted what the domain did not sign")
		}
		if err != nil && !errors.Is(err, sandbox.Tampered) {
			t.Fatal(err)
		}
	})
}

// FuzzEvent: an event the replay does not know is an error, never a panic.
func FuzzEvent(f *testing.F) {
	c := newCast(f)
	for _, s := range c.story() {
		b, err := json.Marshal(s.body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(s.kind), b)
	}
	f.Fuzz(func(t *testing.T, kind string, raw []byte) {
		k := newChecker("bundle: verify", bundleHeader{Domain: "test", SignKey: c.domain.Public().Bytes()}, c.domain.Public())
		for i := range uint64(2) {
			e := Event{Kind: Kind(kind), At: start, Actor: DomainActor, Body: raw}
			msg, err := e.signedBytes()
			if err != nil {
				return
			}
			if e.Signature, err = c.domain.Sign(rand.Reader, ContextEvent, msg); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(e)
			if err != nil {
				return
			}
			_ = k.event(i, text)
		}
		_ = k.finish()
	})
}
