package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
)

// Names of the story's two scenarios and their purposes.
const (
	costScenario  = sandbox.ScenarioID("s-cost-study")
	costPurpose   = "cost-study"
	claimScenario = sandbox.ScenarioID("s-claim-check")
	claimPurpose  = "claim-check"
)

// newRun draws a run id.
func (a *app) newRun() (sandbox.RunID, error) {
	var b [8]byte
	if _, err := a.rand.Read(b[:]); err != nil {
		return "", err
	}
	return sandbox.RunID("run-" + hex.EncodeToString(b[:])), nil
}

func (p *play) enrolAndPush(ctx context.Context) error {
	p.head("数源单位登记并密封推送 · units register and push, sealed")
	for i := range p.story.Tables {
		t := &p.story.Tables[i]
		u, err := p.by(sandbox.IdentityID(t.Dataset.Unit))
		if err != nil {
			return err
		}
		d, err := result[catalog.Dataset](u.api.RegisterDataset(ctx, t.Dataset))
		if err != nil {
			return err
		}
		run, err := p.newRun()
		if err != nil {
			return err
		}
		rep, err := u.push(ctx, p.info, d, run, csvSource(filepath.Join(p.data, t.File), t.Dataset, t.Mapping, file.Options{}), p.progress(t.Dataset.Title))
		if err != nil {
			return err
		}
		p.sum.Datasets = append(p.sum.Datasets, rep)
		found := ""
		for _, f := range rep.Findings {
			if f.Finding != "" {
				found += fmt.Sprintf(" %s=%s(%d级)", f.Column, f.Finding, f.Grade)
			}
		}
		p.say("%s %s → %s v%d: %d rows, %d KiB in sealed frames (SM4-GCM)", t.Dataset.Unit, t.Dataset.Title, d.ID, rep.Version, rep.Rows, rep.Sealed>>10)
		if found != "" {
			p.say("  自动识别 · detected:%s", found)
		}
	}
	return p.enrolPatient(ctx)
}

// enrolPatient has the agency bind the patient's key to a person of the data, whose identifier travels sealed.
func (p *play) enrolPatient(ctx context.Context) error {
	var err error
	if p.patient, err = p.story.findPatient(ctx, p.data); err != nil {
		return err
	}
	agency, err := p.by("agency")
	if err != nil {
		return err
	}
	sealed, err := agency.seal(p.info, "opdomain/subject-id/v1", map[string]any{"kind": p.patient.kind, "id": p.patient.id})
	if err != nil {
		return err
	}
	party, _ := patient()
	_, err = result[struct{}](agency.api.EnrolSubject(ctx, api.SubjectEnrolment{Identity: p.people["patient"].Identity, Party: party, SealedID: sealed}))
	if err == nil {
		p.say("实施机构登记一名数据主体 · the agency binds one data subject's key to a domain pseudonym; the identifier travelled sealed")
	}
	return err
}

// application fills in what every service agreement states.
func (p *play) application(id sandbox.ScenarioID, title, purpose string, list []sandbox.ListItem) grant.Application {
	return grant.Application{ID: id, Title: title, Applicant: "operator", Operator: "operator", Agency: "agency", Purpose: purpose,
		Description: title, List: list, TermMonths: 12,
		Terms: grant.Terms{Calling: "域内计算，结果经审核出域", Fees: grant.Fees{Standard: "district price book", Method: "按次计量、按月结算"},
			Supervision: "实施机构与数源单位可随时核验存证", Secrecy: "参与各方保密"}}
}

func (p *play) grants(ctx context.Context) error {
	p.head("一场景一清单一授权 · one scenario, one list, one authorisation")
	stats := p.application(costScenario, p.story.Title, costPurpose, p.story.List)
	stats.Classes, stats.Partners = []sandbox.Class{sandbox.ClassA}, []sandbox.PartyID{"partner"}
	t, _ := p.story.dataset(p.story.Claim.Dataset)
	item := sandbox.ListItem{Dataset: t.Dataset.ID}
	for _, f := range p.story.Claim.Fields {
		item.Columns = append(item.Columns, sandbox.ColumnRule{Column: f, Uses: []sandbox.Use{sandbox.UseConsent}})
	}
	claim := p.application(claimScenario, "商业保险理赔核验", claimPurpose, []sandbox.ListItem{item})
	claim.Classes, claim.Insurers = []sandbox.Class{sandbox.ClassB}, []sandbox.PartyID{"insurer"}
	for _, a := range []grant.Application{stats, claim} {
		s, err := p.grant(ctx, a)
		if err != nil {
			return err
		}
		p.sum.Grants = append(p.sum.Grants, s.Grant.ID)
		p.say("授权生效 · grant %s, class %s, until %s", s.Grant.ID, s.Classes[0], s.Grant.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// grant files a scenario and takes it through every decision and signature.
func (p *play) grant(ctx context.Context, a grant.Application) (grant.Scenario, error) {
	op, err := p.by("operator")
	if err != nil {
		return grant.Scenario{}, err
	}
	s, err := result[grant.Scenario](op.api.FileScenario(ctx, a))
	if err != nil {
		return s, err
	}
	p.say("运营机构申请 · filed %s (%s), data list of %d tables", s.ID, s.Purpose, len(s.List))
	for s.State != grant.UnitApproved {
		open := s.Open()
		if len(open) == 0 {
			return s, unexpected(string(s.ID), "a step that waits for a decision")
		}
		step := open[0]
		by, err := p.by(sandbox.IdentityID(step.Party))
		if err != nil {
			return s, err
		}
		st, err := by.id.sign(attest.ContextDecision, attest.ScenarioDecision{Scenario: s.ID, ListDigest: s.ListDigest, Step: step.Name, Party: step.Party, Approve: true, At: p.now()})
		if err != nil {
			return s, err
		}
		if s, err = result[grant.Scenario](by.api.DecideScenario(ctx, s.ID, st)); err != nil {
			return s, err
		}
		p.say("  %s 同意 · approves its step, due %s (working days)", step.Party, step.Due.Format(time.DateOnly))
	}
	for _, sig := range s.Signatures {
		by, err := p.by(sandbox.IdentityID(sig.Party))
		if err != nil {
			return s, err
		}
		st, err := by.id.sign(attest.ContextAgreement, attest.AgreementSignature{Scenario: s.ID, Digest: s.AgreementDigest, Party: sig.Party, At: p.now()})
		if err != nil {
			return s, err
		}
		if s, err = result[grant.Scenario](by.api.SignAgreement(ctx, s.ID, st)); err != nil {
			return s, err
		}
	}
	if s.Grant == nil {
		return s, unexpected(string(s.ID), "a grant after the last signature")
	}
	p.say("  %d parties signed the service agreement 服务协议 (SM2)", len(s.Signatures))
	return s, nil
}

// claims asks for one patient's claim: without consent, with it, after its revocation.
func (p *play) claims(ctx context.Context) error {
	p.head("经本人授权的单笔查询 · one patient's claim, under that patient's consent")
	insurer, err := p.by("insurer")
	if err != nil {
		return err
	}
	pat, err := p.by("patient")
	if err != nil {
		return err
	}
	ask := func(when string, id sandbox.ConsentID) (api.ClaimAnswer, error) {
		sealed, err := insurer.seal(p.info, "opdomain/claim-query/v1", map[string]any{"kind": p.patient.kind, "id": p.patient.id, "claim": p.patient.claim})
		if err != nil {
			return api.ClaimAnswer{}, err
		}
		ans, err := result[api.ClaimAnswer](insurer.api.AskClaim(ctx, api.ClaimRequest{Scenario: claimScenario, Purpose: claimPurpose, Consent: id,
			Dataset: p.story.Claim.Dataset, Fields: p.story.Claim.Fields, Sealed: sealed}))
		if err == nil && ans.Code != "" {
			p.say("%s → %s (the asker learns nothing else 仅此一码)", when, ans.Code)
			p.sum.Claims = append(p.sum.Claims, summaryClaim{When: when, Code: ans.Code})
		}
		return ans, err
	}
	const consentID = sandbox.ConsentID("c-demo-1")
	ans, err := ask("未经授权 · without consent", consentID)
	if err != nil {
		return err
	}
	if ans.Code != sandbox.CodeConsent {
		return unexpected("claim without consent", "one refusal code")
	}
	if err := p.consent(ctx, pat, consentID); err != nil {
		return err
	}
	when := "已授权 · with consent"
	if ans, err = ask(when, consentID); err != nil {
		return err
	}
	rec, err := p.openRecord(ans)
	if err != nil {
		return err
	}
	p.sum.Claims = append(p.sum.Claims, summaryClaim{When: when, Fields: len(rec.Fields)})
	p.say("%s → 密封结果 · sealed answer, %d fields, opened by the insurer's key:", when, len(rec.Fields))
	for i, f := range rec.Fields {
		p.say("    %-14s %s", f, rec.Values[i])
	}
	st, err := pat.id.sign(attest.ContextRevocation, attest.Revocation{Consent: consentID, At: p.now()})
	if err != nil {
		return err
	}
	if _, err := result[consent.Record](pat.api.RevokeConsent(ctx, consentID, st)); err != nil {
		return err
	}
	p.say("本人撤回授权 · the patient revokes")
	if ans, err = ask("撤回之后 · after revocation", consentID); err != nil {
		return err
	}
	if ans.Code != sandbox.CodeConsent {
		return unexpected("claim after revocation", "one refusal code")
	}
	return nil
}

// notice is what the patient is shown before signing.
const notice = "保险机构申请查询您的一笔医保结算记录的所列字段，仅用于本次理赔核验。您可随时撤回。"

func (p *play) consent(ctx context.Context, pat *session, id sandbox.ConsentID) error {
	salt := make([]byte, 16)
	if _, err := p.rand.Read(salt); err != nil {
		return err
	}
	commitment, err := consent.Commitment(salt, []byte(p.patient.claim))
	if err != nil {
		return err
	}
	t, _ := p.story.dataset(p.story.Claim.Dataset)
	shown := sm.Sum([]byte(notice))
	now := p.now()
	st, err := pat.id.sign(attest.ContextConsent, attest.Receipt{ID: id, Subject: "patient", Grantee: "insurer", Unit: t.Dataset.Unit, Scenario: claimScenario,
		Purpose: claimPurpose, Dataset: t.Dataset.ID, Fields: slices.Clone(p.story.Claim.Fields), Claim: commitment, NotBefore: now.Add(-time.Second),
		NotAfter: now.AddDate(0, 0, 30), MaxUses: 3, Notice: shown[:], NoticeVersion: "v1", Language: "zh-CN", Method: "sm2-signature", At: now})
	if err != nil {
		return err
	}
	sealed, err := pat.seal(p.info, "opdomain/claim/v1", map[string]any{"claim": p.patient.claim, "salt": salt})
	if err != nil {
		return err
	}
	if _, err := result[consent.Record](pat.api.GiveConsent(ctx, api.ConsentRequest{Statement: st, Opening: sealed})); err != nil {
		return err
	}
	p.say("本人签署授权 · the patient signs a consent: this insurer, this claim, this purpose, %d fields, 3 uses, 30 days", len(p.story.Claim.Fields))
	return nil
}
