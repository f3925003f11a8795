package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

func printReview(w io.Writer, r api.Review) {
	fmt.Fprintf(w, "%s  %s  author %s, recipient %s, until %s\n", r.ID, r.State, r.Author, r.Recipient, r.Expires.Format(time.DateTime))
	if r.Round > 0 {
		fmt.Fprintf(w, "  round 轮次: %d\n", r.Round+1)
	}
	if len(r.Rules) > 0 && (r.Class == sandbox.ClassA || r.Class == "") {
		fmt.Fprintf(w, "  rules that suppressed groups: %s\n", strings.Join(r.Rules, ", "))
	} else if len(r.Rules) > 0 {
		fmt.Fprintf(w, "  rules that were checked 检查的规则: %s\n", strings.Join(r.Rules, ", "))
	}
	if r.Template != "" {
		fmt.Fprintf(w, "  standing template 常设模板: %s, slot %s", r.Template, r.Slot.Format(time.DateTime))
		if r.Sampled {
			fmt.Fprint(w, ", drawn for review 抽中复查")
		}
		fmt.Fprintln(w)
	}
	if r.Class != sandbox.ClassA && r.Class != "" {
		fmt.Fprintf(w, "  class 出域类别 %s\n", r.Class)
	}
	if r.Comment != "" {
		fmt.Fprintf(w, "  comment 退回意见: %s\n", r.Comment)
	}
}

// printPack prints the evidence behind a result: per cell the people, the largest shares and the rules it breaks.
func printPack(w io.Writer, b json.RawMessage) {
	var p egress.Pack
	if len(b) == 0 || json.Unmarshal(b, &p) != nil {
		return
	}
	fmt.Fprintf(w, "  evidence 证据: %s\n", p.Summary)
	if t := p.Params; t != (egress.Params{}) {
		fmt.Fprintf(w, "  thresholds 门限: at least %d people a cell; its %d largest hold at most %d%%; the second cannot tell the largest to %d%%\n", t.MinSubjects, t.DominanceN, t.DominanceK, t.PPercent)
	}
	if p.Cause != "" {
		fmt.Fprintf(w, "  cause 原因: %s\n", p.Cause)
	}
	if p.Uncertified != "" {
		fmt.Fprintf(w, "  not certified 未穷尽: %s\n", p.Uncertified)
	}
	for _, f := range p.Flags {
		zh, en := egress.RuleWords(f.Rule)
		fmt.Fprintf(w, "  judge this 须判断: %s · %s (%d places, at most %d per mille)\n", zh, en, f.Places, f.Worst)
	}
	for _, x := range p.Items {
		verdict := "held 符合"
		if !x.Pass {
			verdict = "failed 不符合"
		}
		fmt.Fprintf(w, "    %-12s %s: %s\n", x.ID, verdict, x.EN)
	}
	for _, o := range p.Unsigned {
		fmt.Fprintf(w, "  waits for the signature of 待数源单位签署 %s: opdomain egress endorse\n", o)
	}
	for _, c := range p.Cells {
		state := "published"
		if c.Suppressed {
			state = "suppressed: " + strings.Join(c.Rules, ", ")
		}
		fmt.Fprintf(w, "    %-40s people %-6d top1 %4.1f%% top2 %4.1f%%  %s\n", strings.Join(c.Labels, " · "), c.People, float64(c.Top1)/10, float64(c.Top2)/10, state)
	}
}

// act signs an act on a review as it stands and sends it.
func (s *session) act(ctx context.Context, id sandbox.QuestionID, on egress.Move, reason string) (api.Review, error) {
	r, err := result[api.Review](s.api.GetReview(ctx, id))
	if err != nil {
		return r, err
	}
	if len(r.Result) > 0 && !bytes.Equal(egress.Digest(r.Result), r.Digest) {
		return r, &sandbox.Error{Op: string(on), Kind: sandbox.Tampered, Object: string(id), Detail: "the digest shown is not that of the bytes shown"}
	}
	return s.send(ctx, attest.ReviewAct{Question: id, Round: r.Round, Act: string(on), State: r.State, Result: r.Digest, Reason: reason, At: s.now()})
}

// actAsAuthor signs an act on the author's own review, of which it sees the state and no result.
func (s *session) actAsAuthor(ctx context.Context, id sandbox.QuestionID, on egress.Move, reason string) (api.Review, error) {
	q, err := result[api.Question](s.api.GetQuestion(ctx, id))
	if err != nil {
		return api.Review{}, err
	}
	state := egress.Returned
	if on == egress.Appeal {
		state = egress.Rejected
	}
	return s.send(ctx, attest.ReviewAct{Question: id, Round: q.Round, Act: string(on), State: string(state), Reason: reason, At: s.now()})
}

func (s *session) send(ctx context.Context, a attest.ReviewAct) (api.Review, error) {
	st, err := s.id.sign(attest.ContextReviewAct, a)
	if err != nil {
		return api.Review{}, err
	}
	return result[api.Review](s.api.ActOnReview(ctx, a.Question, st))
}

// actVerb is a command that signs one act.
func (a *app) actVerb(name string, on egress.Move, short, reason string, as func(s *session, ctx context.Context, id sandbox.QuestionID, on egress.Move, reason string) (api.Review, error)) *cobra.Command {
	var why string
	c := verb(name+" QUESTION", short, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		if err := sandbox.CheckID("question", args[0]); err != nil {
			return usageError{err}
		}
		return get(a, func(s *session) (api.Review, error) {
			return as(s, c.Context(), sandbox.QuestionID(args[0]), on, why)
		}, printReview)
	})
	if reason != "" {
		c.Flags().StringVar(&why, "reason", "", reason)
		must(c.MarkFlagRequired("reason"))
	}
	return c
}

func (a *app) egressCommand() *cobra.Command {
	list := verb("list", "List the results that you may review or look into (出域审核队列)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Review, error) { return result[[]api.Review](s.api.ListReviews(c.Context())) },
			func(w io.Writer, all []api.Review) {
				for _, r := range all {
					printReview(w, r)
				}
			})
	})
	one := verb("show QUESTION", "Show a result as it would leave, and for the agency and owners the evidence behind it", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Review, error) {
			return result[api.Review](s.api.GetReview(c.Context(), sandbox.QuestionID(args[0])))
		}, func(w io.Writer, r api.Review) {
			printReview(w, r)
			if res, err := egress.DecodeResult(r.Result); err == nil {
				printTable(indent{w, "  "}, res, 0)
			}
			if r.Class == sandbox.ClassE && len(r.Result) > 0 {
				if d, err := egress.DecodeDataset(r.Result); err == nil {
					header, rows := d.Table()
					fmt.Fprintf(w, "  %d rows of %s; with --json, or on the page, as they would leave\n", len(rows), strings.Join(header, ", "))
				}
			}
			if r.Class == sandbox.ClassF && len(r.Result) > 0 {
				printChart(indent{w, "  "}, r.Result)
			}
			if r.Class == sandbox.ClassD {
				printModel(indent{w, "  "}, r.Result)
			}
			printPack(w, r.Pack)
		})
	})
	var refuse bool
	var reason string
	vote := verb("vote QUESTION", "Sign an approving vote on a result, or a refusing one with --refuse (审批)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Review, error) {
			return s.vote(c.Context(), sandbox.QuestionID(args[0]), !refuse, reason)
		}, printReview)
	})
	vote.Flags().BoolVar(&refuse, "refuse", false, "refuse: one refusal is a veto")
	vote.Flags().StringVar(&reason, "reason", "", "reason; needed for a refusal")
	reviewer, author := (*session).act, (*session).actAsAuthor
	return group("egress", "Review what would leave; scan, mark and trace data sets (出域审核)", list, one, vote, a.submitCommand(), a.checkCommand(), a.modelCommand(), a.scanCommand(), a.markCommand(), a.traceCommand(),
		a.actVerb("return", egress.Return, "Send a result back to its author, instead of voting or as the agency's lead (退回)", "comment that its author reads", reviewer),
		a.actVerb("resubmit", egress.Resubmit, "Submit your returned question again: it is decided and checked anew, votes begin anew (重新提交)", "", author),
		a.actVerb("withdraw", egress.Withdraw, "Withdraw your returned question (撤销)", "", author),
		a.actVerb("appeal", egress.Appeal, "Appeal once against a rejection: other reviewers judge it (申请复核)", "why it should leave", author),
		a.actVerb("lift", egress.Lift, "Lift your own refusal while the result is in conflict (撤回反对意见)", "", reviewer),
		a.actVerb("approve", egress.Approve, "As the agency's lead, approve a result in conflict on which no refusal stands any more (分歧裁定)", "", reviewer),
		a.actVerb("reject", egress.Reject, "As the agency's lead, reject a result in conflict or quarantine (不予出域)", "reason, for those who review", reviewer),
		a.actVerb("veto", egress.Veto, "As an owner of data behind it, keep a result from leaving for good (数源单位否决)", "reason, for those who review", reviewer),
		a.actVerb("endorse", egress.Endorse, "As an owner of data behind it, sign a result that leaves with your signature only (数源单位签署)", "", reviewer),
		a.actVerb("revoke", egress.Revoke, "As the agency, take a release back: it is not handed out any more (撤回出域)", "notice that its recipient reads", reviewer),
		a.actVerb("sample", egress.Sample, "As the agency, note the review of a release that was drawn for it (抽查)", "what was found", reviewer),
		a.pageCommand(), a.deskCommand(), a.templateCommand())
}

// templateFile is what egress template sign reads: a question, or measures that may be asked for, and the bounds.
type templateFile struct {
	ID        sandbox.TemplateID `json:"id"`
	Scenario  sandbox.ScenarioID `json:"scenario"`
	Measures  []string           `json:"measures,omitempty"` // func(dataset.column)
	Recipient sandbox.IdentityID `json:"recipient"`
	Budget    int                `json:"budget"`
	Sample    int                `json:"sample"`  // percent
	Slot      int                `json:"slot"`    // seconds
	Minutes   int                `json:"minutes"` // that it holds
}

func printTemplate(w io.Writer, t api.Template) {
	state := "until " + t.Expires.Format(time.DateTime)
	if !t.Stopped.IsZero() {
		state = "stopped 已停用 " + t.Stopped.Format(time.DateTime) + ": " + t.Reason
	}
	what := "one question, SM3 " + fmt.Sprintf("%x", t.Spec)
	if len(t.Measures) > 0 {
		what = strings.Join(t.Measures, ", ")
	}
	fmt.Fprintf(w, "%s  %s for %s, %d of %d used, %d%% drawn for review, slots of %d s, %s\n  %s\n", t.ID, t.Scenario, t.Recipient, t.Used, t.Budget, t.Sample, t.Slot, state, what)
}

func (a *app) templateCommand() *cobra.Command {
	var path, reason, question string
	sign := verb("sign", "Sign a standing template: class A answers to one question leave at slots without votes when every check passes (签署常设模板)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var f templateFile
		if err := a.readJSON(path, &f); err != nil {
			return err
		}
		return get(a, func(s *session) (api.Template, error) {
			info, err := s.domain(c.Context())
			if err != nil {
				return api.Template{}, err
			}
			now := a.now().UTC().Truncate(time.Second)
			t := attest.StandingTemplate{ID: f.ID, Scenario: f.Scenario, Measures: f.Measures, Recipient: f.Recipient, Budget: f.Budget, Sample: f.Sample, Slot: f.Slot, Policy: info.Policy,
				Expires: now.Add(time.Duration(f.Minutes) * time.Minute), At: now}
			if len(f.Measures) == 0 {
				if question == "" {
					return api.Template{}, usageError{invalid("--spec", "a template names the question it releases answers to, or measures in its file", "e.g. --spec question.json")}
				}
				q, err := a.spec(question)
				if err != nil {
					return api.Template{}, err
				}
				digest := sm.Sum(q.Canonical())
				t.Spec = digest[:]
			}
			st, err := s.id.sign(attest.ContextTemplate, t)
			if err != nil {
				return api.Template{}, err
			}
			return result[api.Template](s.api.SignTemplate(c.Context(), st))
		}, printTemplate)
	})
	sign.Flags().StringVar(&path, "file", "", "JSON: id, scenario, recipient, budget, sample (percent), slot (seconds), minutes; measures, unless --spec names the question")
	sign.Flags().StringVar(&question, "spec", "", "JSON question that it releases answers to")
	must(sign.MarkFlagRequired("file"))
	stop := verb("stop TEMPLATE", "Stop a standing template at once (停用)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		id := sandbox.TemplateID(args[0])
		if err := sandbox.CheckID("template", args[0]); err != nil {
			return usageError{err}
		}
		return get(a, func(s *session) (api.Template, error) {
			st, err := s.id.sign(attest.ContextTemplateStop, attest.TemplateStop{Template: id, Reason: reason, At: a.now()})
			if err != nil {
				return api.Template{}, err
			}
			return result[api.Template](s.api.StopTemplate(c.Context(), id, st))
		}, printTemplate)
	})
	stop.Flags().StringVar(&reason, "reason", "", "reason; goes into the evidence")
	must(stop.MarkFlagRequired("reason"))
	list := verb("list", "List standing templates and how far they are used", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Template, error) {
			return result[[]api.Template](s.api.ListTemplates(c.Context()))
		}, func(w io.Writer, all []api.Template) {
			for _, t := range all {
				printTemplate(w, t)
			}
		})
	})
	return group("template", "Standing templates of the agency (常设模板)", sign, stop, list)
}
