package node

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/store"
)

// audience decides which events a party may see in its bundle (存证可见范围). Auditors see all; the agency all but why a claim
// was refused, which is for the subject and auditors. Who is in the domain and what is registered is for everybody. For
// the rest:
//
//	scenario, approvals, agreement, grant    the scenario's parties
//	question, run, release (class A)         the asker and the units of its scenario
//	votes                                    the same once the result has left; before, the units; a first vote that waits for the second
//	                                         the voter's own party only, the agency included
//	acts on a review                         the units; the asker too, but for what names the digest of a result that has not left
//	egress.checked, what was withheld        the units: what it says depends on data
//	standing templates                       the scenario's parties
//	scoring models                           everybody; what was scored with one: the asker, the model's owner, the units of the scenario
//	pushes, views, grades                    the owning unit
//	consents                                 their subject and, once given, the grantee and the unit they name
//	claim decisions and refusals             the consent's subject only: to an insurer every refusal is one code
//	claim answers, their release             asker, unit, the consent's subject
//	usage, invoices, exported bundles        the party they name; usage also the units of the scenario
type audience struct {
	party     sandbox.Party
	own       map[sandbox.IdentityID]bool
	seen      map[sandbox.IdentityID]bool // whose enrolment it saw
	scenarios map[sandbox.ScenarioID]bool
	datasets  map[string]bool // "dataset/<id>" of the party's own
	consents  map[sandbox.ConsentID]bool
	questions map[sandbox.QuestionID]seenQuestion // as their decisions go by, in the order of the log
	reviews   map[sandbox.QuestionID]standing
	templates map[sandbox.TemplateID]bool
	models    map[sandbox.ModelID]bool    // scoring models of the party's own
	scorings  map[sandbox.QuestionID]bool // that it sees
}

// standing is how far a review is open.
type standing struct {
	blind bool // a first vote waits for the second
	round int
	left  bool // its result has
}

func (n *Node) standings(ctx context.Context) (map[sandbox.QuestionID]standing, error) {
	rows, err := n.docs.questions.List(ctx, listState(stateReview))
	if err != nil {
		return nil, err
	}
	out := map[sandbox.QuestionID]standing{}
	for _, r := range rows {
		v := r.Value.Review
		out[v.Question] = standing{blind: v.State.Open() && v.Step() == 1, round: v.Round, left: r.Value.Release != ""}
	}
	return out, nil
}

// blind says whether an event is a first vote that its second must not know of.
func blind(e attest.Event, reviews map[sandbox.QuestionID]standing) bool {
	if e.Kind != attest.ReviewVoted {
		return false
	}
	var b attest.ReviewVotedBody
	var v attest.Vote
	if !read(e, &b) || json.Unmarshal(b.Statement.Body, &v) != nil {
		return true
	}
	r := reviews[v.Question]
	return b.Step == 1 && r.blind && r.round == v.Round
}

type seenQuestion struct {
	class sandbox.Class
	asked bool // by the party
	unit  bool // the party's data stand in its scenario
}

func (n *Node) audience(ctx context.Context, c api.Caller) (func(attest.Event) bool, error) {
	switch c.Party.Role {
	case sandbox.Auditor:
		return func(attest.Event) bool { return true }, nil
	case sandbox.Agency:
		reviews, err := n.standings(ctx)
		if err != nil {
			return nil, err
		}
		return func(e attest.Event) bool {
			if blind(e, reviews) {
				return false
			}
			var b attest.QuestionDecidedBody
			refused := e.Kind == attest.QuestionDecided && (!read(e, &b) || b.Class == sandbox.ClassB && !b.Allow)
			return e.Kind != attest.ClaimRefused && !refused
		}, nil
	}
	a := &audience{party: c.Party, own: map[sandbox.IdentityID]bool{}, seen: map[sandbox.IdentityID]bool{}, scenarios: map[sandbox.ScenarioID]bool{}, datasets: map[string]bool{},
		consents: map[sandbox.ConsentID]bool{}, questions: map[sandbox.QuestionID]seenQuestion{}, templates: map[sandbox.TemplateID]bool{},
		models: map[sandbox.ModelID]bool{}, scorings: map[sandbox.QuestionID]bool{}}
	var err error
	if a.reviews, err = n.standings(ctx); err != nil {
		return nil, err
	}
	scenarios, err := n.Scenarios(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, s := range scenarios {
		a.scenarios[s.ID] = true
	}
	identities, err := n.docs.identities.List(ctx, store.Filter{Owner: string(c.Party.ID)})
	if err != nil {
		return nil, err
	}
	for _, i := range identities {
		a.own[sandbox.IdentityID(i.ID)] = true
	}
	datasets, err := n.docs.datasets.List(ctx, store.Filter{Owner: string(c.Party.ID)})
	if err != nil {
		return nil, err
	}
	for _, d := range datasets {
		a.datasets["dataset/"+d.ID] = true
	}
	if c.Party.Role == sandbox.Subject {
		consents, err := n.docs.consents.List(ctx, store.Filter{Owner: string(c.Party.ID)})
		if err != nil {
			return nil, err
		}
		for _, x := range consents {
			a.consents[sandbox.ConsentID(x.ID)] = true
		}
	}
	return a.sees, nil
}

// sees decides about one event; events come in the order of the log. An event that cannot be read is shown to nobody.
func (a *audience) sees(e attest.Event) bool {
	switch e.Kind {
	case attest.DomainCreated, attest.DomainRestored, attest.DatasetRegistered, attest.DatasetRevised, attest.CatalogueSeeded, attest.MaskingSet, attest.KeyRotated, attest.KeyErased, attest.WitnessesSet, attest.RulesAdopted,
		attest.AlgorithmApproved, attest.AlgorithmWithdrawn, attest.ScoringModelApproved, attest.ScoringModelWithdrawn:
		return true
	case attest.ScoringModelFiled:
		id, _ := strings.CutPrefix(e.Object, "model/")
		a.models[sandbox.ModelID(id)] = a.own[e.Actor]
		return true
	case attest.ScoringDecided:
		var b attest.ScoringDecidedBody
		if !read(e, &b) {
			return false
		}
		a.scorings[b.Scoring] = a.own[b.Asker] || a.models[b.Model] || a.party.Role == sandbox.Unit && a.scenarios[b.Scenario]
		return a.scorings[b.Scoring]
	case attest.ScoringAnswered:
		var b attest.ScoringAnsweredBody
		return read(e, &b) && a.scorings[b.Scoring]
	case attest.AlgorithmRefused:
		return a.own[e.Actor]
	case attest.AlgorithmAsked:
		var b attest.AlgorithmAskedBody
		return read(e, &b) && (a.own[e.Actor] || a.party.Role == sandbox.Unit && a.scenarios[b.Scenario])
	case attest.AlgorithmRan:
		var b attest.AlgorithmRanBody
		return read(e, &b) && a.party.Role == sandbox.Unit && slices.ContainsFunc(b.Inputs, func(in sandbox.InputVersion) bool { return a.datasets["dataset/"+string(in.Dataset)] })
	case attest.PartyEnrolled:
		var b attest.PartyEnrolledBody
		if !read(e, &b) || b.Party.Role == sandbox.Subject && b.Party.ID != a.party.ID {
			return false
		}
		for _, i := range b.Identities {
			a.seen[i.ID] = true
		}
		return true
	case attest.IdentityRevoked:
		var b attest.IdentityRevokedBody
		return read(e, &b) && a.seen[b.Identity]
	case attest.CertificatesIssued:
		var b attest.CertificatesIssuedBody
		return read(e, &b) && (b.Identity == domainIdentity || a.seen[b.Identity])
	case attest.IdentityRenewed:
		var b attest.IdentityRenewedBody
		return read(e, &b) && a.seen[b.Identity]
	case attest.SubjectEnrolled:
		var b attest.SubjectEnrolledBody
		return read(e, &b) && a.own[b.Identity]
	case attest.IngestCommitted, attest.IngestRefused, attest.ViewSealed, attest.ClassificationConfirmed, attest.ClassificationRegraded:
		return a.datasets[e.Object]
	case attest.ScenarioFiled, attest.ScenarioDecided, attest.AgreementSigned:
		id, _ := strings.CutPrefix(e.Object, "scenario/")
		return a.scenarios[sandbox.ScenarioID(id)]
	case attest.GrantIssued:
		var b attest.GrantIssuedBody
		return read(e, &b) && a.scenarios[b.Scenario]
	case attest.ConsentGiven, attest.ConsentRevoked:
		return a.consent(e)
	case attest.UsageMetered:
		var b attest.UsageMeteredBody
		return read(e, &b) && (b.Party == a.party.ID || a.party.Role == sandbox.Unit && a.scenarios[b.Scenario])
	case attest.TemplateSigned, attest.TemplateStopped:
		return a.template(e)
	case attest.InvoiceIssued:
		var b attest.InvoiceIssuedBody
		return read(e, &b) && b.Party == a.party.ID
	case attest.BundleExported:
		var b attest.BundleExportedBody
		return read(e, &b) && b.Audience == string(a.party.ID)
	}
	return a.question(e)
}

// consent shows a consent to its subject, and to the grantee and unit it names; from then on it is theirs to follow.
func (a *audience) consent(e attest.Event) bool {
	id, _ := strings.CutPrefix(e.Object, "consent/")
	if a.own[e.Actor] || a.consents[sandbox.ConsentID(id)] {
		return true
	}
	var b attest.ConsentGivenBody
	var r attest.Receipt
	if e.Kind != attest.ConsentGiven || !read(e, &b) || json.Unmarshal(b.Statement.Body, &r) != nil {
		return false
	}
	return r.Grantee == a.party.ID || r.Unit == a.party.ID
}

func (a *audience) question(e attest.Event) bool {
	if e.Kind == attest.QuestionDecided {
		var b attest.QuestionDecidedBody
		if !read(e, &b) {
			return false
		}
		q := seenQuestion{class: b.Class, asked: a.own[b.Asker], unit: a.party.Role == sandbox.Unit && a.scenarios[b.Scenario]}
		a.questions[b.Question] = q
		return q.class != sandbox.ClassB && (q.asked || q.unit)
	}
	id, _ := strings.CutPrefix(e.Object, "question/")
	consent := sandbox.ConsentID("")
	switch e.Kind {
	case attest.ReleaseSent:
		var b attest.ReleaseSentBody
		if !read(e, &b) {
			return false
		}
		id, consent = string(b.Question), b.Consent
	case attest.ClaimAnswered:
		var b attest.ClaimAnsweredBody
		if !read(e, &b) {
			return false
		}
		consent = b.Consent
	case attest.ClaimRefused:
		var b attest.ClaimRefusedBody
		return read(e, &b) && a.consents[b.Consent]
	}
	q := a.questions[sandbox.QuestionID(id)]
	switch {
	case consent != "" && a.consents[consent]:
		return true
	case e.Kind == attest.EgressChecked || e.Kind == attest.SharesComputed || e.Kind == attest.SharesAborted || e.Kind == attest.SumAborted || e.Kind == attest.JointAborted: // how a run ended depends on data
		return q.unit
	case e.Kind == attest.ReviewVoted || e.Kind == attest.ReviewOpened:
		if blind(e, a.reviews) {
			return a.own[e.Actor]
		}
		return q.unit || a.own[e.Actor] || q.asked && a.reviews[sandbox.QuestionID(id)].left
	case e.Kind == attest.ReviewMoved:
		return q.unit || a.own[e.Actor] && a.party.Role != sandbox.Subject || q.asked && a.follows(e, a.reviews[sandbox.QuestionID(id)])
	case q.class == sandbox.ClassB:
		return slices.Contains([]attest.Kind{attest.ReleaseSent, attest.ClaimAnswered}, e.Kind) && (q.asked || q.unit)
	}
	return q.asked || q.unit
}

// follows says whether the asker sees a move of its review: not what was withheld or quarantined, nor an act that names the digest of
// a result that has not left.
func (a *audience) follows(e attest.Event, r standing) bool {
	var b attest.ReviewMovedBody
	if !read(e, &b) || b.From == string(egress.Quarantined) {
		return false
	}
	for _, m := range b.Moves {
		if m.To == string(egress.Quarantined) || m.To == string(egress.Withheld) {
			return false
		}
	}
	var act attest.ReviewAct
	return b.Statement == nil || r.left || json.Unmarshal(b.Statement.Body, &act) == nil && len(act.Result) == 0
}

// template shows a standing template to the parties of its scenario.
func (a *audience) template(e attest.Event) bool {
	id, _ := strings.CutPrefix(e.Object, "template/")
	if e.Kind == attest.TemplateStopped {
		return a.templates[sandbox.TemplateID(id)]
	}
	var b attest.TemplateSignedBody
	var t attest.StandingTemplate
	if !read(e, &b) || json.Unmarshal(b.Statement.Body, &t) != nil {
		return false
	}
	a.templates[t.ID] = a.scenarios[t.Scenario]
	return a.scenarios[t.Scenario]
}

func read(e attest.Event, into any) bool { return strictJSON(e.Body, into) == nil }
