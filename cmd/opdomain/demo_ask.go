package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/release"
)

// bundleName is the evidence bundle a kept domain is left with.
const bundleName = "story.bundle"

// question completes one of the story's questions.
func question(s query.Spec) query.Spec {
	s.Scenario, s.Purpose = costScenario, costPurpose
	return s
}

func (p *play) questions(ctx context.Context) error {
	p.head("提问、审核、出域 · ask, review, release")
	if _, err := p.answer(ctx, "细分组 · fine groups", question(p.story.Fine)); err != nil {
		return err
	}
	published, err := p.answer(ctx, "粗分组 · coarse groups", question(p.story.Coarse))
	if err == nil && published == 0 {
		err = unexpected("coarse question", "at least one group that may be published")
	}
	return err
}

// answer asks a question, has it reviewed and released, opens the release and prints it. It gives the groups published.
func (p *play) answer(ctx context.Context, name string, s query.Spec) (int, error) {
	op, err := p.by("operator")
	if err != nil {
		return 0, err
	}
	q, err := result[api.Question](op.api.AskQuestion(ctx, s))
	if err != nil {
		return 0, err
	}
	if q.State != "in-review" {
		return 0, &refused{q.Decision}
	}
	p.say("%s: 准予计算 · allowed, computed over sealed columns, waits for review (%s)", name, q.ID)
	unit := p.story.Units[0].ID
	for _, who := range []sandbox.IdentityID{sandbox.IdentityID(unit + "-reviewer"), "agency-reviewer"} {
		by, err := p.by(who)
		if err != nil {
			return 0, err
		}
		r, err := by.vote(ctx, q.ID, true, "")
		if err != nil {
			return 0, err
		}
		p.say("  %s 同意 · approves → %s", who, r.State)
	}
	if q, err = result[api.Question](op.api.GetQuestion(ctx, q.ID)); err != nil {
		return 0, err
	}
	b, err := op.open(ctx, q.Release, p.info.SignKey)
	if err != nil {
		return 0, err
	}
	res, err := egress.DecodeResult(b)
	if err != nil {
		return 0, err
	}
	hidden := 0
	for _, r := range res.Rows {
		if r.Suppressed {
			hidden++
		}
	}
	p.say("  已签名并密封给提问方 · signed by the domain, sealed to the asker, opened with its key: %d groups, %d suppressed", len(res.Rows), hidden)
	if !p.json {
		printTable(indent{p.out, "        "}, res, 12)
	}
	p.sum.Answers = append(p.sum.Answers, summaryAnswer{q.ID, name, q.State, len(res.Rows) - hidden, hidden})
	return len(res.Rows) - hidden, nil
}

// vote signs a vote on exactly what the review shows and sends it.
func (s *session) vote(ctx context.Context, id sandbox.QuestionID, approve bool, reason string) (api.Review, error) {
	r, err := result[api.Review](s.api.GetReview(ctx, id))
	if err != nil {
		return r, err
	}
	if !bytes.Equal(egress.Digest(r.Result), r.Digest) {
		return r, &sandbox.Error{Op: "vote", Kind: sandbox.Tampered, Object: string(id), Detail: "the digest shown is not that of the bytes shown"}
	}
	st, err := s.id.sign(attest.ContextVote, attest.Vote{Question: id, Class: r.Class, Round: r.Round, Result: r.Digest, Recipient: r.Recipient, Expires: r.Expires, Policy: r.Policy,
		Approve: approve, Reason: reason, At: s.now()})
	if err != nil {
		return r, err
	}
	return result[api.Review](s.api.Vote(ctx, id, st))
}

// open fetches a release and opens it under the domain's key.
func (s *session) open(ctx context.Context, id sandbox.ReleaseID, domain []byte) ([]byte, error) {
	b, err := body(s.api.GetRelease(ctx, id))
	if err != nil {
		return nil, err
	}
	return openEnvelope(s.id, compact(b), domain, s)
}

func openEnvelope(id *identity, b, domain []byte, s *session) ([]byte, error) {
	env, err := release.Decode(b)
	if err != nil {
		return nil, err
	}
	key, err := sm.ParseVerifyKey(domain)
	if err != nil {
		return nil, err
	}
	return env.Open(id.keys.DecryptKey(), key, s.now())
}

// openRecord opens the sealed answer to a claim query.
func (p *play) openRecord(ans api.ClaimAnswer) (egress.Record, error) {
	if ans.Code != "" || len(ans.Envelope) == 0 {
		return egress.Record{}, unexpected("claim with consent", "a sealed answer")
	}
	s, err := p.by("insurer")
	if err != nil {
		return egress.Record{}, err
	}
	b, err := openEnvelope(s.id, compact(ans.Envelope), p.info.SignKey, s)
	if err != nil {
		return egress.Record{}, err
	}
	return egress.DecodeRecord(b)
}

// refusals shows what is refused, to whom, and how it explains itself.
func (p *play) refusals(ctx context.Context) error {
	p.head("拒绝及其理由 · refusals that explain themselves")
	raw := question(p.story.Coarse)
	raw.Dimensions = nil
	raw.Measures = []query.Measure{{Func: sandbox.Plain, Column: p.story.Probe, As: "rows"}}
	outside := question(p.story.Coarse)
	outside.Dimensions = []query.Dimension{{Column: p.story.Outside, As: "outside"}}
	outside.Inputs = p.story.Fine.Inputs
	purpose := question(p.story.Coarse)
	purpose.Purpose = claimPurpose
	for _, c := range []struct {
		name string
		spec query.Spec
		code string
	}{
		{"索要原始数据 · raw rows", raw, "rows.raw"},
		{"清单外字段 · a column outside the list", outside, "column.not-listed"},
		{"挪作他用 · another scenario's purpose", purpose, "purpose.mismatch"},
	} {
		if err := p.refusal(ctx, c.name, c.spec, c.code); err != nil {
			return err
		}
	}
	return p.difference(ctx)
}

func (p *play) refusal(ctx context.Context, name string, s query.Spec, code string) error {
	op, err := p.by("operator")
	if err != nil {
		return err
	}
	q, err := result[api.Question](op.api.AskQuestion(ctx, s))
	if err != nil {
		return err
	}
	if q.State != "refused" || len(q.Decision.Reasons) == 0 {
		return unexpected(name, "a refusal with reasons")
	}
	found := false
	p.say("%s", name)
	for _, r := range q.Decision.Reasons {
		found = found || r.Code == code
		p.say("  %s", strings.TrimSpace(r.Code+" "+r.Column))
		p.say("    规则 rule: %s", r.Rule)
		p.say("    依据 article: %s", r.Article)
		p.say("    可改为 smallest change that passes: %s", r.Change)
	}
	p.sum.Refusals = append(p.sum.Refusals, summaryRefusal{Asked: name, Reasons: q.Decision.Reasons})
	if !found {
		return unexpected(name, "the reason "+code)
	}
	return nil
}

// difference asks the coarse question again without one person.
func (p *play) difference(ctx context.Context) error {
	alone, err := p.story.findLoner(ctx, p.data)
	if err != nil {
		return err
	}
	s := question(p.story.Coarse)
	s.Inputs = p.story.Coarse.Inputs
	s.Filters = append(append([]query.Filter{}, s.Filters...), query.Filter{Column: p.story.Probe, In: alone, Not: true})
	op, err := p.by("operator")
	if err != nil {
		return err
	}
	q, err := result[api.Question](op.api.AskQuestion(ctx, s))
	if err != nil {
		return err
	}
	name := "差一人的再次提问 · the same question without one person"
	if q.Code != sandbox.CodeWithheld {
		return unexpected(name, "the uniform code "+sandbox.CodeWithheld+", not "+q.State)
	}
	p.say("%s", name)
	p.say("  提问方只见 · the asker sees only: %s", q.Code)
	reviewer, err := p.by("agency-reviewer")
	if err != nil {
		return err
	}
	r, err := result[api.Review](reviewer.api.GetReview(ctx, q.ID))
	if err != nil {
		return err
	}
	var pack egress.Pack
	if err := json.Unmarshal(r.Pack, &pack); err != nil || pack.Finding == nil {
		return unexpected(name, "a finding for the reviewers")
	}
	inside := fmt.Sprintf("%s: compared with %s the two differ on %d people; %s", pack.Cause, pack.Finding.Earlier, pack.Finding.People, pack.Finding.Rule)
	p.say("  审核方可见 · reviewers see: %s", inside)
	p.sum.Refusals = append(p.sum.Refusals, summaryRefusal{Asked: name, Code: q.Code, Inside: inside})
	return nil
}

func (p *play) account(ctx context.Context) error {
	p.head("计量与账单 · meter and bill")
	agency, err := p.by("agency")
	if err != nil {
		return err
	}
	p.say("按次计量，答复与拒答同价（账单不透露数据） · every admitted question counts the same, answered or withheld: a bill tells nothing about data")
	month := meter.Month(p.now())
	for _, party := range []sandbox.PartyID{"operator", "insurer"} {
		inv, err := result[bill.Invoice](agency.api.IssueInvoice(ctx, api.InvoiceRequest{Party: party, Month: month}))
		if err != nil {
			return err
		}
		for _, l := range inv.Lines {
			p.say("%-9s %s: %d × %s = %s 元", party, l.Title, l.Quantity, l.UnitPrice, l.Amount)
		}
		var shares []string
		for _, s := range inv.Shares {
			kind := ""
			if s.Credit {
				kind = " (服务抵扣 credit)"
			}
			shares = append(shares, fmt.Sprintf("%s %s%s", s.Role, s.Amount, kind))
		}
		p.say("  合计 total %s 元 → %s", inv.Total, strings.Join(shares, ", "))
		p.sum.Invoices = append(p.sum.Invoices, summaryInvoice{party, inv.Total.String(), len(inv.Lines)})
	}
	return nil
}

func (p *play) prove(ctx context.Context) error {
	p.head("存证导出与离线核验 · export the evidence and verify it offline")
	auditor, err := p.by("auditor")
	if err != nil {
		return err
	}
	b, err := body(auditor.api.GetBundle(ctx))
	if err != nil {
		return err
	}
	pin, err := sm.ParseVerifyKey(p.info.SignKey)
	if err != nil {
		return err
	}
	rep, err := attest.VerifyBundle(bytes.NewReader(b), pin)
	if err != nil {
		return err
	}
	p.say("存证包 · bundle: %d entries, %d KiB; %d signatures of parties, Merkle root and checkpoint recomputed: ACCEPTED 核验通过", rep.Entries, len(b)>>10, rep.Checks["statement signature"])
	changed := bytes.Clone(b)
	changed[len(changed)/2] ^= 1
	_, err = attest.VerifyBundle(bytes.NewReader(changed), pin)
	if err == nil {
		return unexpected("one changed byte", "a rejection")
	}
	p.say("改动一个字节后 · after one changed byte: REJECTED 核验不通过")
	p.say("  %v", err)
	p.sum.Evidence = summaryEvidence{Entries: rep.Entries, Fingerprint: rep.Fingerprint, Accepted: true, Tampered: err.Error()}
	if p.opts.keep == "" {
		return nil
	}
	p.sum.Kept, p.sum.Bundle = p.dir, filepath.Join(p.dir, bundleName)
	if err := os.WriteFile(p.sum.Bundle, b, 0o600); err != nil {
		return &sandbox.Error{Op: "demo", Kind: sandbox.Unavailable, Object: p.sum.Bundle, Err: err}
	}
	return nil
}

// closing is the summary for people who do not program.
func (p *play) closing(w io.Writer) {
	s := &p.sum
	var rows int64
	for _, d := range s.Datasets {
		rows += d.Rows
	}
	published, hidden := 0, 0
	for _, a := range s.Answers {
		published, hidden = published+a.Published, hidden+a.Suppressed
	}
	fmt.Fprintf(w, "\n小结 · what happened\n")
	fmt.Fprintf(w, "  %d 张表、%d 行数据被密封存入授权运营域；没有一行原始数据离开。\n", len(s.Datasets), rows)
	fmt.Fprintf(w, "  %d tables with %d rows were sealed into the domain; not one raw row left it.\n", len(s.Datasets), rows)
	fmt.Fprintf(w, "  %d 次统计结果经两家机构审批后出域：公布 %d 组，隐藏 %d 组（人数过少或一家独大）。\n", len(s.Answers), published, hidden)
	fmt.Fprintf(w, "  %d answers left after two organisations approved them: %d groups published, %d hidden (too few people, or one dominates).\n", len(s.Answers), published, hidden)
	fmt.Fprintf(w, "  患者授权前后各查一次被拒，授权期间答复一次；%d 类越界提问被拒，理由可查。\n", len(s.Refusals))
	fmt.Fprintf(w, "  the patient's claim was answered only while the patient allowed it; %d kinds of overreach were refused, with reasons.\n", len(s.Refusals))
	for _, i := range s.Invoices {
		fmt.Fprintf(w, "  账单 · %s owes %s yuan.\n", i.Party, i.Total)
	}
	fmt.Fprintf(w, "  每一步都有存证：%d 条，离线核验通过。 Every step is in evidence: %d entries, verified offline.\n", s.Evidence.Entries, s.Evidence.Entries)
	if s.StoryDate != "" {
		fmt.Fprintf(w, "  (played as of %s: the shipped working-day calendar does not reach today 演示日期)\n", s.StoryDate)
	}
	if s.Kept != "" {
		fmt.Fprintf(w, "\nkept 已保留: %s\n  opdomain serve --dir %s\n  opdomain-verify %s\n", s.Kept, s.Kept, s.Bundle)
	}
	fmt.Fprintf(w, "  %.1f s\n", s.Seconds)
}
