package node

import (
	"context"
	"slices"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/store"
)

// signed opens a statement that the caller must have signed itself.
func signed(c api.Caller, s attest.Statement, context string, into any) error {
	if s.Signer != c.Identity.ID {
		return &sandbox.Error{Op: "statement", Kind: sandbox.Unsigned, Object: context, Detail: "a statement is sent by the identity that signed it"}
	}
	key, err := sm.ParseVerifyKey(c.Identity.SignKey)
	if err != nil {
		return err
	}
	return s.Open(key, context, into)
}

// FileScenario takes an application and opens its first step.
func (n *Node) FileScenario(ctx context.Context, c api.Caller, a grant.Application) (grant.Scenario, error) {
	rules, err := grant.NewRules(n.profile, n.calendar)
	if err != nil {
		return grant.Scenario{}, err
	}
	rules.Outside = n.outside
	var ids []sandbox.DatasetID
	for _, item := range a.List {
		ids = append(ids, item.Dataset)
	}
	in, err := n.described(ctx, ids)
	if err != nil {
		return grant.Scenario{}, err
	}
	for _, x := range []struct {
		ids  []sandbox.PartyID
		role sandbox.Role
	}{{[]sandbox.PartyID{a.Operator}, sandbox.Operator}, {[]sandbox.PartyID{a.Agency}, sandbox.Agency}, {a.Partners, sandbox.Partner}, {a.Insurers, sandbox.Insurer}} {
		for _, id := range x.ids {
			p, _, err := n.docs.parties.Get(ctx, string(id))
			if err != nil || p.Role != x.role {
				return grant.Scenario{}, &sandbox.Error{Op: "grant: file", Kind: sandbox.Invalid, Object: string(id),
					Detail: "every party of a scenario is enrolled in its role", Hint: "have the agency enrol it as " + string(x.role)}
			}
		}
	}
	if err := n.listed(ctx, a); err != nil {
		return grant.Scenario{}, err
	}
	var s grant.Scenario
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if s, err = rules.File(a, c.Party, in, tx.at); err != nil {
			return err
		}
		if err := n.docs.scenarios.Insert(ctx, string(s.ID), string(s.Applicant), string(s.State), s); err != nil {
			return err
		}
		body := attest.ScenarioFiledBody{Scenario: s.ID, Applicant: s.Applicant, Purpose: s.Purpose, ListDigest: s.ListDigest, AgreementDigest: s.AgreementDigest}
		for _, st := range s.Steps {
			body.Due = append(body.Due, attest.DueStep{Step: st.Name, Party: st.Party, Due: st.Due})
		}
		for _, sig := range s.Signatures {
			body.Signers = append(body.Signers, sig.Party)
		}
		tx.record(attest.ScenarioFiled, "scenario/"+string(s.ID), body, agency, partiesOf(s.ID))
		return nil
	})
	return s, err
}

// Scenarios lists the scenarios the caller has a part in; the agency and auditors see all.
func (n *Node) Scenarios(ctx context.Context, c api.Caller) ([]grant.Scenario, error) {
	rows, err := n.docs.scenarios.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := []grant.Scenario{}
	for _, r := range rows {
		if partOf(r.Value, c.Party) {
			out = append(out, r.Value)
		}
	}
	return out, nil
}

// Scenario gives one scenario the caller has a part in.
func (n *Node) Scenario(ctx context.Context, c api.Caller, id sandbox.ScenarioID) (grant.Scenario, error) {
	s, _, err := n.docs.scenarios.Get(ctx, string(id))
	if err == nil && !partOf(s, c.Party) {
		return grant.Scenario{}, &sandbox.Error{Op: "grant", Kind: sandbox.NotFound, Object: string(id)}
	}
	return s, err
}

func partOf(s grant.Scenario, p sandbox.Party) bool {
	return p.Role == sandbox.Agency || p.Role == sandbox.Auditor || p.ID == s.Applicant || p.ID == s.Operator ||
		slices.Contains(s.Partners, p.ID) || slices.Contains(s.Insurers, p.ID) || slices.Contains(s.Units(), p.ID)
}

// DecideScenario records a signed decision of the party whose turn it is.
func (n *Node) DecideScenario(ctx context.Context, c api.Caller, id sandbox.ScenarioID, st attest.Statement) (grant.Scenario, error) {
	var d attest.ScenarioDecision
	if err := signed(c, st, attest.ContextDecision, &d); err != nil {
		return grant.Scenario{}, err
	}
	return n.advance(ctx, c, id, func(rules *grant.Rules, tx *change, s grant.Scenario) (grant.Scenario, error) {
		next, err := rules.Decide(s, d, c.Party, tx.at)
		if err != nil {
			return s, err
		}
		overdue := false
		for _, step := range next.Steps {
			if step.Name == d.Step && step.Party == d.Party {
				overdue = step.Overdue
			}
		}
		tx.record(attest.ScenarioDecided, "scenario/"+string(id), attest.ScenarioDecidedBody{Statement: st, Overdue: overdue}, agency, partiesOf(id))
		return next, nil
	})
}

// SignAgreement records a party's signature; the last one issues the grant.
func (n *Node) SignAgreement(ctx context.Context, c api.Caller, id sandbox.ScenarioID, st attest.Statement) (grant.Scenario, error) {
	var a attest.AgreementSignature
	if err := signed(c, st, attest.ContextAgreement, &a); err != nil {
		return grant.Scenario{}, err
	}
	return n.advance(ctx, c, id, func(rules *grant.Rules, tx *change, s grant.Scenario) (grant.Scenario, error) {
		next, err := rules.SignAgreement(s, a, c.Party, tx.at)
		if err != nil {
			return s, err
		}
		tx.record(attest.AgreementSigned, "scenario/"+string(id), attest.AgreementSignedBody{Statement: st}, agency, partiesOf(id))
		if g := next.Grant; g != nil && s.Grant == nil {
			tx.record(attest.GrantIssued, "grant/"+string(g.ID), attest.GrantIssuedBody{Grant: g.ID, Scenario: id, ListDigest: g.ListDigest,
				NotBefore: g.NotBefore, NotAfter: g.NotAfter}, agency, partiesOf(id))
		}
		return next, nil
	})
}

func (n *Node) advance(ctx context.Context, c api.Caller, id sandbox.ScenarioID,
	step func(*grant.Rules, *change, grant.Scenario) (grant.Scenario, error)) (grant.Scenario, error) {
	rules, err := grant.NewRules(n.profile, n.calendar)
	if err != nil {
		return grant.Scenario{}, err
	}
	var next grant.Scenario
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		s, rev, err := n.docs.scenarios.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if !partOf(s, c.Party) {
			return &sandbox.Error{Op: "grant", Kind: sandbox.NotFound, Object: string(id)}
		}
		if next, err = step(rules, tx, s); err != nil {
			return err
		}
		_, err = n.docs.scenarios.Update(ctx, string(id), rev, string(next.Applicant), string(next.State), next)
		return err
	})
	return next, err
}

// liveScenario gives a scenario as policy sees it, or nil when there is none the caller has a part in.
func (n *Node) liveScenario(ctx context.Context, c api.Caller, id sandbox.ScenarioID) (*grant.Scenario, error) {
	s, err := n.Scenario(ctx, c, id)
	if sandbox.KindOf(err) == sandbox.NotFound && err != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}
