package node

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/run"
)

// consentRecord is a consent with what its commitment hides. Claim number and salt stay in the core, sealed.
type consentRecord struct {
	Record consent.Record
	Claim  string
	Salt   []byte
}

// sealedClaim is what ConsentRequest.Opening holds.
type sealedClaim struct {
	Claim string `json:"claim"`
	Salt  []byte `json:"salt"`
}

// sealedClaimQuery is what ClaimRequest.Sealed holds: whom and what the insurer asks about.
type sealedClaimQuery struct {
	Kind  catalog.SubjectKind `json:"kind"`
	ID    string              `json:"id"`
	Claim string              `json:"claim"`
}

// GiveConsent keeps a receipt signed by its subject, after checking that its commitment is to the sealed claim number.
func (n *Node) GiveConsent(ctx context.Context, c api.Caller, r api.ConsentRequest) (consent.Record, error) {
	var receipt attest.Receipt
	if err := signed(c, r.Statement, attest.ContextConsent, &receipt); err != nil {
		return consent.Record{}, err
	}
	bad := func(rule string) (consent.Record, error) {
		return consent.Record{}, &sandbox.Error{Op: "consent: give", Kind: sandbox.Invalid, Object: string(receipt.ID), Detail: rule}
	}
	plain, err := n.keys.DecryptKey().OpenMessage(contextClaim, r.Opening)
	if err != nil {
		return bad("the opening is sealed to the domain's encryption key")
	}
	var open sealedClaim
	if err := strictJSON(plain, &open); err != nil {
		return bad("the opening is {claim, salt}")
	}
	commitment, err := consent.Commitment(open.Salt, []byte(open.Claim))
	if err != nil {
		return consent.Record{}, err
	}
	if !slices.Equal(commitment, receipt.Claim) {
		return bad("the commitment is to the sealed claim number")
	}
	d, _, err := n.docs.datasets.Get(ctx, string(receipt.Dataset))
	if err != nil {
		return consent.Record{}, err
	}
	if _, _, err := n.docs.subjects.Get(ctx, string(c.Identity.ID)); err != nil {
		return bad("the agency has bound the identity to a person")
	}
	lim := consent.Limits{MaxDays: n.profile.Consent.MaxDays.Value, MaxUses: n.profile.Consent.MaxUses.Value, Methods: n.profile.Consent.Methods.Value}
	var rec consent.Record
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if rec, err = consent.Give(receipt, c.Identity, d.Unit, lim, tx.at); err != nil {
			return err
		}
		if err := n.docs.consents.Insert(ctx, string(receipt.ID), string(c.Party.ID), string(rec.State), consentRecord{rec, open.Claim, open.Salt}); err != nil {
			return err
		}
		tx.record(attest.ConsentGiven, "consent/"+string(receipt.ID), attest.ConsentGivenBody{Statement: r.Statement}, agency, toParty(c.Party.ID), toParty(receipt.Grantee), toParty(receipt.Unit))
		return nil
	})
	return rec, err
}

// RevokeConsent ends a consent at once: every later check fails.
func (n *Node) RevokeConsent(ctx context.Context, c api.Caller, id sandbox.ConsentID, st attest.Statement) (consent.Record, error) {
	var v attest.Revocation
	if err := signed(c, st, attest.ContextRevocation, &v); err != nil {
		return consent.Record{}, err
	}
	var out consent.Record
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		r, rev, err := n.docs.consents.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if r.Record.Receipt.Subject != c.Identity.ID { // whether another person's consent exists is not for this one
			return &sandbox.Error{Op: "consent", Kind: sandbox.NotFound, Object: string(id)}
		}
		if r.Record, err = consent.Revoke(r.Record, v, c.Identity, tx.at); err != nil {
			return err
		}
		out = r.Record
		tx.record(attest.ConsentRevoked, "consent/"+string(id), attest.ConsentRevokedBody{Statement: st}, agency, toParty(c.Party.ID), toParty(r.Record.Receipt.Grantee), toParty(r.Record.Receipt.Unit))
		_, err = n.docs.consents.Update(ctx, string(id), rev, string(c.Party.ID), string(r.Record.State), r)
		return err
	})
	if err == nil {
		err = n.eraseViewsOn(ctx, id)
	}
	return out, err
}

// Consent shows a consent to its subject and to auditors.
func (n *Node) Consent(ctx context.Context, c api.Caller, id sandbox.ConsentID) (consent.Record, error) {
	r, _, err := n.docs.consents.Get(ctx, string(id))
	if err == nil && c.Party.Role != sandbox.Auditor && r.Record.Receipt.Subject != c.Identity.ID {
		err = &sandbox.Error{Op: "consent", Kind: sandbox.NotFound, Object: string(id)}
	}
	return r.Record, err
}

// claimJob is one claim query on its way.
type claimJob struct {
	question sandbox.QuestionID
	request  api.ClaimRequest
	caller   api.Caller
	dataset  catalog.Dataset
	scenario *grant.Scenario
	asked    sealedClaimQuery
	consent  consentRecord
	decision sandbox.Decision
	check    consent.ClaimCheck
}

// AskClaim is one claim query from decision to sealed answer: decide → meter → find → class-B checks → release. Whatever
// is missing or not allowed, the asker sees one code; the cause is evidence for the subject and auditors. A hit, a miss and
// a refusal by consent are metered alike once the scenario admits the asker.
func (n *Node) AskClaim(ctx context.Context, c api.Caller, r api.ClaimRequest) (api.ClaimAnswer, error) {
	ctx = context.WithoutCancel(ctx)
	id, err := n.newID("q")
	if err != nil {
		return api.ClaimAnswer{}, err
	}
	j := claimJob{question: sandbox.QuestionID(id), request: r, caller: c}
	cause, err := n.decideClaim(ctx, &j)
	if err != nil {
		return api.ClaimAnswer{}, err
	}
	var envelope json.RawMessage
	if cause == "" {
		envelope, cause, err = n.answerClaim(ctx, &j)
		if err != nil {
			return api.ClaimAnswer{}, err
		}
	}
	if cause != "" {
		if err := n.refuseClaim(ctx, &j, cause); err != nil {
			return api.ClaimAnswer{}, err
		}
		if err := n.proven(ctx); err != nil { // as for an answer: whether there was one must not show when witnesses are away
			return api.ClaimAnswer{}, err
		}
		n.cfg.Metrics.Refused(sandbox.CodeConsent)
		n.cfg.Metrics.Job("claim", stateRefused)
		return api.ClaimAnswer{Question: j.question, Code: sandbox.CodeConsent}, nil
	}
	if err := n.proven(ctx); err != nil {
		return api.ClaimAnswer{}, err
	}
	n.cfg.Metrics.Released(sandbox.ClassB)
	n.cfg.Metrics.Job("claim", stateReleased)
	return api.ClaimAnswer{Question: j.question, Envelope: envelope}, nil
}

// decideClaim decides, records the decision and meters the use. It gives the cause of a refusal, or none.
func (n *Node) decideClaim(ctx context.Context, j *claimJob) (string, error) {
	plain, err := n.keys.DecryptKey().OpenMessage(contextClaimQuery, j.request.Sealed)
	if err == nil {
		err = strictJSON(plain, &j.asked)
	}
	if err != nil {
		return "", &sandbox.Error{Op: "claim", Kind: sandbox.Invalid, Object: "sealed", Detail: "{kind, id, claim} sealed to the domain's encryption key"}
	}
	at := n.now()
	sc, err := n.liveScenario(ctx, j.caller, j.request.Scenario)
	if err != nil {
		return "", err
	}
	j.scenario = sc
	f := policy.Facts{Now: at, Hosting: n.desc.Hosting, Profile: &n.profile, Asker: j.caller.Party, Engine: sandbox.Domain, Scenarios: map[sandbox.ScenarioID]*grant.Scenario{}}
	if sc != nil {
		f.Scenarios[sc.ID] = sc
	}
	if f.Datasets, err = n.described(ctx, []sandbox.DatasetID{j.request.Dataset}); err != nil {
		return "", err
	}
	j.dataset = f.Datasets[j.request.Dataset]
	if err := n.resolveConsent(ctx, j, at); err != nil {
		return "", err
	}
	q := policy.ClaimQuestion{Scenario: j.request.Scenario, Purpose: j.request.Purpose, Dataset: j.request.Dataset, Fields: j.request.Fields,
		Subject: j.check.Subject, Claim: j.check.Claim, Consent: j.consent.Record}
	j.decision = policy.DecideClaim(f, q)
	body := attest.QuestionDecidedBody{Question: j.question, Asker: j.caller.Identity.ID, Allow: j.decision.Allow, Engine: j.decision.Engine, Class: sandbox.ClassB,
		Policy: n.policyVersion(), Request: j.caller.Request}
	if sc != nil {
		body.Scenario = sc.ID
	}
	canonical, err := json.Marshal(j.request)
	if err != nil {
		return "", err
	}
	if body.Spec, _, err = n.salted(canonical); err != nil {
		return "", err
	}
	for _, r := range j.decision.Reasons {
		body.Codes = append(body.Codes, r.Code)
	}
	err = n.change(ctx, j.caller.Identity.ID, func(ctx context.Context, tx *change) error {
		tx.record(attest.QuestionDecided, "question/"+string(j.question), body, supervisors(body.Allow)...)
		if sc == nil || !sc.Live(tx.at) {
			return nil // not admitted by any scenario: nothing to bill under
		}
		return n.meter(ctx, tx, meter.ClaimQuery, j.caller.Party.ID, sc.ID, j.question)
	})
	if err != nil {
		return "", err
	}
	if !j.decision.Allow {
		return first(body.Codes, "policy.incomplete"), nil
	}
	return "", nil
}

func first(codes []string, otherwise string) string {
	if len(codes) > 0 {
		return codes[0]
	}
	return otherwise
}

// resolveConsent finds the named consent and binds the person asked about to it: the sealed identifier's pseudonym must
// be the one the agency bound the consent's subject to, and the claim number the one the commitment hides.
func (n *Node) resolveConsent(ctx context.Context, j *claimJob, at time.Time) error {
	j.check = consent.ClaimCheck{Grantee: j.caller.Party.ID, Scenario: j.request.Scenario, Purpose: j.request.Purpose, Dataset: j.request.Dataset,
		Fields: j.request.Fields, At: at}
	rec, _, err := n.docs.consents.Get(ctx, string(j.request.Consent))
	if errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Invalid) {
		return nil
	}
	if err != nil {
		return err
	}
	j.consent = rec
	subject, _, err := n.docs.subjects.Get(ctx, string(rec.Record.Receipt.Subject))
	if err != nil {
		return err
	}
	if p, ok := n.subjects.Pseudonym(j.asked.Kind, j.asked.ID); ok && p == subject.Pseudonym {
		j.check.Subject = subject.Identity
	}
	if c, err := consent.Commitment(rec.Salt, []byte(j.asked.Claim)); err == nil {
		j.check.Claim = c
	}
	return nil
}

// answerClaim reads the record and releases it, or gives the cause why not. The consent's use is counted in the change
// that releases.
func (n *Node) answerClaim(ctx context.Context, j *claimJob) (json.RawMessage, string, error) {
	subject, _, err := n.docs.subjects.Get(ctx, string(j.check.Subject))
	if err != nil {
		return nil, "", err
	}
	if j.dataset.RecordKey == "" || j.dataset.Version == 0 {
		return nil, "claim.no-record-key", nil
	}
	version := sandbox.InputVersion{Dataset: j.dataset.ID, Version: j.dataset.Version}
	shown, masking, cause, err := n.shownTo(ctx, j.caller, j.dataset, j.request.Scenario, j.request.Fields)
	if err != nil || cause != "" {
		return nil, cause, err
	}
	found, err := run.Find(ctx, n.mem, n.vault, run.Claim{Dataset: j.dataset, Version: version, Subject: subject.Pseudonym, Column: j.dataset.RecordKey,
		Number: j.asked.Claim, Fields: j.request.Fields, Shown: shown})
	if errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Conflict) || errors.Is(err, sandbox.Expired) { // Expired: the version was erased
		return nil, "claim." + string(sandbox.KindOf(err)), nil
	}
	if err != nil {
		return nil, "", err
	}
	result, err := egress.EncodeRecord(j.question, found.Fields, found.Values)
	if err != nil {
		return nil, "", err
	}
	var out json.RawMessage
	err = n.change(ctx, j.caller.Identity.ID, func(ctx context.Context, tx *change) error {
		cur, rev, err := n.docs.consents.Get(ctx, string(j.request.Consent))
		if err != nil {
			return err
		}
		if same, err := n.stillShown(ctx, j.dataset.ID, masking); err != nil || !same {
			cause = "masking.changed" // since the record was read
			return err
		}
		j.check.At = tx.at
		expires := tx.at.AddDate(0, 0, n.profile.Release.ValidDays.Value).Truncate(time.Second)
		approval, err := egress.FromConsent(cur.Record, j.check, j.question, j.caller.Identity, result, expires, n.policyVersion())
		if err != nil {
			reason, _ := consent.Check(cur.Record, j.check) // revoked or used up since the decision
			cause = first([]string{reason.Code}, "consent.none")
			return nil
		}
		if cur.Record, err = consent.Use(cur.Record, tx.at); err != nil {
			return err
		}
		if _, err := n.docs.consents.Update(ctx, string(j.request.Consent), rev, string(cur.Record.Receipt.Subject), string(cur.Record.State), cur); err != nil {
			return err
		}
		about, err := n.partyOf(ctx, cur.Record.Receipt.Subject)
		if err != nil {
			return err
		}
		to := []audienceName{agency, toParty(j.caller.Party.ID), toParty(about), unitsOf(j.request.Scenario)}
		id, err := n.send(ctx, tx, approval, result, j.caller.Identity, []sandbox.InputVersion{version}, to)
		if err != nil {
			return err
		}
		tx.record(attest.ClaimAnswered, "question/"+string(j.question), attest.ClaimAnsweredBody{Question: j.question, Consent: j.request.Consent, Use: cur.Record.Uses, Release: id, Masking: masking}, to...)
		r, _, err := n.docs.releases.Get(ctx, string(id))
		out = r.Envelope
		return err
	})
	return out, cause, err
}

func (n *Node) refuseClaim(ctx context.Context, j *claimJob, cause string) error {
	return n.change(ctx, j.caller.Identity.ID, func(ctx context.Context, tx *change) error {
		var to []audienceName
		body := attest.ClaimRefusedBody{Question: j.question, Asker: j.caller.Identity.ID, Code: cause}
		if j.consent.Record.Receipt.ID == j.request.Consent {
			body.Consent = j.request.Consent
			about, err := n.partyOf(ctx, j.consent.Record.Receipt.Subject)
			if err != nil {
				return err
			}
			to = append(to, toParty(about))
		}
		tx.record(attest.ClaimRefused, "question/"+string(j.question), body, to...)
		return nil
	})
}
