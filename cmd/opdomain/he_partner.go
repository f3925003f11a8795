package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// partnerRun is one run of a secret model, from the command line.
type partnerRun struct {
	model, of, scenario, purpose string
	key                          string // file with the domain's signing key
	groups, decimals             int
	mayFollow                    bool
}

func (r *partnerRun) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.model, "model", "", "file of a linear model (he model new --link linear): features are named as the result's measures; it stays here")
	f.StringVar(&r.of, "of", "", "question whose result was released: what the model runs over")
	f.StringVar(&r.scenario, "scenario", "", "its scenario")
	f.StringVar(&r.purpose, "purpose", "", "the scenario's purpose")
	f.IntVar(&r.groups, "groups", 0, fmt.Sprintf("how many groups you answer at most, 1 to %d: so many ciphertexts come, however many groups there are", he.MaxJointGroups))
	f.IntVar(&r.decimals, "decimals", 2, "decimals in which scores leave, 0 to 4")
	for _, name := range []string{"model", "of", "scenario", "purpose", "groups"} {
		must(c.MarkFlagRequired(name))
	}
}

// statement reads the model's file and makes of it what the party signs: no weight.
func (r *partnerRun) statement(a *app) (*scorecard.File, attest.JointRun, error) {
	f, err := a.modelFile(r.model)
	if err != nil {
		return nil, attest.JointRun{}, err
	}
	if f.Link != he.LinearLink {
		return nil, attest.JointRun{}, invalid("model", "a model over averages is linear", "run its linear score, and apply the link to what comes back: opdomain he model new --link linear")
	}
	for _, id := range []struct{ what, id string }{{"scenario", r.scenario}, {"of", r.of}, {"purpose", r.purpose}} {
		if err := sandbox.CheckID(id.what, id.id); err != nil {
			return nil, attest.JointRun{}, usageError{err}
		}
	}
	out := attest.JointRun{Scenario: sandbox.ScenarioID(r.scenario), Purpose: r.purpose, Of: sandbox.QuestionID(r.of), Groups: r.groups, Decimals: r.decimals,
		Commitment: f.Secret().Commitment(), At: a.now().UTC().Truncate(time.Second)}
	filing := f.Filing(out.At)
	for i, x := range scorecard.Ranges(filing.Features) {
		out.Features = append(out.Features, attest.JointFeature{Measure: filing.Features[i].Name, Range: x})
	}
	return f, out, nil
}

func (a *app) hePartnerCommand() *cobra.Command {
	var explained, asked partnerRun
	explain := verb("explain", "Say whether a run would be allowed and who would see what; nothing is charged (说明)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		_, r, err := explained.statement(a)
		if err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		got, err := result[api.JointExplanation](s.api.ExplainJoint(c.Context(), r))
		if err != nil {
			return err
		}
		if err := a.show(got, func(w io.Writer) { fmt.Fprint(w, got.Text) }); err != nil {
			return err
		}
		if !got.Decision.Allow {
			return &refused{got.Decision}
		}
		return nil
	})
	explained.flags(explain)
	run := verb("run", "Run a secret linear model of yours over averages of a released result (保密模型运行)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.hePartnerRun(c, asked)
	})
	run.Long = `The model is a file of he model new --link linear; its features are named as measures of the result, means or ratios, and a value beyond a
feature's range counts as the range's end. You sign features, ranges, how many groups you answer, the decimals, and a commitment to weights and bias; weights stay here.
The domain decides, counts the run and draws a key together with a process of this command's own. It encrypts the averages of each group under it, this
command makes scores of them and gives its part of the opening; the domain's gate reads the scores, and they go before reviewers like any answer. You see
none before two of them released it: opdomain query show, release open.

Whoever has averages and scores solves for the weights where there are more scores than features. A domain that deviates may encrypt what it likes in each
ciphertext: with as many as features it has every weight up to one constant, and each ciphertext fewer leaves one more unknown. What runs of one model tell
adds up: groups of this run and of all that began earlier with the same commitment, as the domain lists them, take --weights-may-follow where they
are as many as features or more. Runs at other domains, and of the same weights in another file, are yours to count. The run counts however it ends;
a party has one opened run over a result.`
	asked.flags(run)
	run.Flags().StringVar(&asked.key, "key", "", "file with the domain's signing key in hex (opdomain evidence key), whose gate reads the scores; default: ask the domain")
	run.Flags().BoolVar(&asked.mayFollow, "weights-may-follow", false, "answer as many groups as the model has features, or more, with those of earlier runs of it: whoever reads scores may learn the weights")
	list := verb("list", "List the runs that concern you", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Joint, error) {
			return result[[]api.Joint](s.api.ListJoints(c.Context()))
		}, func(w io.Writer, all []api.Joint) {
			for _, x := range all {
				printJoint(w, x)
			}
		})
	})
	show := verb("show QUESTION", "Show where a run stands", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Joint, error) {
			return result[api.Joint](s.api.GetJoint(c.Context(), sandbox.QuestionID(args[0])))
		}, printJoint)
	})
	end := verb("end QUESTION", "Give a run up: the question is withheld (放弃)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Joint, error) {
			return result[api.Joint](s.api.EndJoint(c.Context(), sandbox.QuestionID(args[0])))
		}, printJoint)
	})
	return group("partner", "Secret models of a party over averages of released results (保密模型)", explain, run, list, show, end, a.hePartnerCheck())
}

// scoresChecked says how released scores stand to a model.
type scoresChecked struct {
	Scores     sandbox.QuestionID `json:"scores"`
	Of         sandbox.QuestionID `json:"of"`
	Commitment []byte             `json:"commitment"`
	Same       int                `json:"same"`
	Other      []string           `json:"other,omitempty"` // labels of groups with another score
}

// hePartnerCheck recomputes scores in plain, for whoever was shown the model: a party for itself, or an auditor in a dispute.
func (a *app) hePartnerCheck() *cobra.Command {
	var model, of, scores string
	c := verb("check", "Hold opened scores to a model in plain arithmetic over the opened averages, and print the model's commitment (核对)", cobra.NoArgs, func(*cobra.Command, []string) error {
		f, err := a.modelFile(model)
		if err != nil {
			return err
		}
		averages, err := a.openedResult(of)
		if err != nil {
			return err
		}
		given, err := a.openedResult(scores)
		if err != nil {
			return err
		}
		if given.Of != averages.Question || len(given.Measures) != 1 || given.Measures[0].Func != sandbox.Score || len(given.Rows) != len(averages.Rows) {
			return invalid("--scores", "scores that are made of the result in --result", "")
		}
		out := scoresChecked{Scores: given.Question, Of: averages.Question, Commitment: f.Secret().Commitment()}
		unit := math.Pow10(-given.Measures[0].Scale)
		for i, row := range given.Rows {
			if row.Suppressed || row.Values[0] == nil {
				continue
			}
			at := slices.IndexFunc(averages.Rows, func(r egress.ResultRow) bool { return slices.Equal(r.Labels, row.Labels) })
			x := make([]float64, len(f.Features))
			for j, w := range f.Features {
				k := slices.IndexFunc(averages.Measures, func(m sandbox.Measure) bool { return m.Name == w.Name })
				if at < 0 || k < 0 || averages.Rows[at].Suppressed || averages.Rows[at].Values[k] == nil {
					return invalid("--result", fmt.Sprintf("group %d has every feature of the model", i+1), "")
				}
				largest := max(math.Abs(w.Min), math.Abs(w.Max))
				x[j] = min(max(float64(*averages.Rows[at].Values[k])*math.Pow10(-averages.Measures[k].Scale), -largest), largest)
			}
			if math.Abs(float64(*row.Values[0])*unit-f.Plain(x)) <= unit/2+he.JointBound {
				out.Same++
			} else {
				out.Other = append(out.Other, strings.Join(row.Labels, " · "))
			}
		}
		if err := a.show(out, func(w io.Writer) {
			fmt.Fprintf(w, "scores %s of %s: %d are this model's, %d are not 符合 %d 组，不符 %d 组\ncommitment 承诺 %x: compare it with opdomain he partner show %s\n",
				out.Scores, out.Of, out.Same, len(out.Other), out.Same, len(out.Other), out.Commitment, out.Scores)
			for _, l := range out.Other {
				fmt.Fprintf(w, "  not this model's 不符: %s\n", l)
			}
		}); err != nil {
			return err
		}
		if len(out.Other) > 0 {
			return &sandbox.Error{Op: "he partner check", Kind: sandbox.Tampered, Object: scores, Detail: "its scores are the model's"}
		}
		return nil
	})
	f := c.Flags()
	f.StringVar(&model, "model", "", "the model's file")
	f.StringVar(&of, "result", "", "JSON of the result that the scores are made of: opdomain release open --json")
	f.StringVar(&scores, "scores", "", "JSON of the scores, likewise")
	for _, name := range []string{"model", "result", "scores"} {
		must(c.MarkFlagRequired(name))
	}
	return c
}

// openedResult reads an opened result of class A.
func (a *app) openedResult(path string) (egress.Result, error) {
	b, err := a.readFile(path)
	if err != nil {
		return egress.Result{}, err
	}
	return egress.DecodeResult(compact(b))
}

func printJoint(w io.Writer, j api.Joint) {
	printQuestion(w, j.Question)
	fmt.Fprintf(w, "  secret model over 保密模型: %s, %d ciphertexts, %d decimals", j.Of, j.Groups, j.Decimals)
	if j.Runs > 0 {
		fmt.Fprintf(w, "; run %d of %d", j.Run, j.Runs)
	}
	fmt.Fprintln(w)
	for _, x := range j.Features {
		fmt.Fprintf(w, "  feature 特征 %s within ±%g\n", x.Measure, x.Range)
	}
	fmt.Fprintf(w, "  commitment 承诺 %x\n", j.Commitment)
	if len(j.Digest) > 0 {
		fmt.Fprintf(w, "  plan 方案 %x\n", j.Digest)
	}
	if j.Step != "" {
		fmt.Fprintf(w, "  waits for the party's %s 待模型方提交, until %s\n", j.Step, j.Due.Format(time.DateTime))
	}
	if j.Cause != "" {
		fmt.Fprintf(w, "  cause 原因: %s\n", j.Cause)
	}
}

// answered adds up the groups of runs that began with a commitment, however they ended.
func answered(all []api.Joint, commitment []byte) (groups int) {
	for _, j := range all {
		if j.Run > 0 && bytes.Equal(j.Commitment, commitment) {
			groups += j.Groups
		}
	}
	return groups
}

// bounded refuses a run that, with the groups answered before, gives as many scores as the model has features, unless that was accepted.
func (p *partnerRun) bounded(features, before int) error {
	if p.mayFollow || p.groups+before < features {
		return nil
	}
	room := max(features-1-before, 0)
	hint := "accept it with --weights-may-follow"
	if room > 0 {
		hint = fmt.Sprintf("answer at most %d, or %s", room, hint)
	}
	earlier := ""
	if before > 0 {
		earlier = fmt.Sprintf(", with %d of earlier runs of this commitment", before)
	}
	return usageError{invalid("--groups", fmt.Sprintf("fewer groups in all than the model's %d features%s: else whoever reads scores may learn the weights", features, earlier), hint)}
}

func (a *app) hePartnerRun(c *cobra.Command, p partnerRun) error {
	ctx := c.Context()
	f, r, err := p.statement(a)
	if err != nil {
		return err
	}
	if err := p.bounded(len(f.Features), 0); err != nil {
		return err
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	info, err := s.domain(ctx)
	if err != nil {
		return err
	}
	if key, err := a.domainKey(c, s, p.key); err != nil {
		return err
	} else if !bytes.Equal(key, info.SignKey) { // before anything is counted
		return &sandbox.Error{Op: "he partner", Kind: sandbox.Tampered, Object: "domain", Detail: "its signing key is the one in the file", Hint: "compare with whoever gave you the file: its gate reads the scores"}
	}
	earlier, err := result[[]api.Joint](s.api.ListJoints(ctx))
	if err != nil {
		return err
	}
	if err := p.bounded(len(f.Features), answered(earlier, r.Commitment)); err != nil {
		return err
	}
	engines := newHeEngines()
	defer engines.Close()
	engine, err := engines.start() // where none starts, nothing is asked
	if err != nil {
		return err
	}
	defer engine.Close()
	if !a.json {
		engines.say(a.err)
	}
	st, err := attest.Sign(a.rand, s.id.keys.SigningKey(), s.id.ID, attest.ContextJointRun, r)
	if err != nil {
		return err
	}
	j, err := result[api.Joint](s.api.AskJoint(ctx, st))
	if err != nil {
		return err
	}
	if !j.Question.Decision.Allow {
		return &refused{j.Question.Decision}
	}
	got := j
	if j.Step != "" { // else it has ended
		if got, err = s.joint(ctx, engine, info, f, r, st, j); err != nil {
			// Nothing else goes on with it: the part of the key is gone with this process.
			_, _ = result[api.Joint](s.api.EndJoint(context.WithoutCancel(ctx), j.Question.ID))
			return fmt.Errorf("run %s has ended: %w", j.Question.ID, err)
		}
	}
	return a.show(got, func(w io.Writer) { printJoint(w, got) })
}

// joinTries bounds how often a message is sent while the domain does something else with its run, once a joinEvery.
const (
	joinTries = 30
	joinEvery = time.Second
)

// joined sends a message, again where something else is done with a run that goes on: a message that was taken is taken as itself.
func (s *session) joined(ctx context.Context, j api.Joint, m *he.Message) (api.Joint, error) {
	b := he.AppendMessage(nil, m)
	for try := 1; ; try++ {
		out, err := result[api.Joint](s.api.PutJointMessageWithBody(ctx, j.Question.ID, int(m.Kind), "application/vnd.opdomain.he-message", bytes.NewReader(b)))
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, sandbox.Conflict) || try == joinTries {
			return j, err
		}
		if now, look := result[api.Joint](s.api.GetJoint(ctx, j.Question.ID)); look != nil || now.Step == "" { // it has ended
			return j, err
		}
		if sleep(ctx, joinEvery) != nil {
			return j, err
		}
	}
}

// joint is the party's part of a run. It believes nothing of the plan but what it signed for.
func (s *session) joint(ctx context.Context, engine he.Engine, info api.DomainInfo, f *scorecard.File, r attest.JointRun, st attest.Statement, j api.Joint) (api.Joint, error) {
	plan, err := he.DecodeJointPlan(j.Plan)
	if err != nil {
		return j, err
	}
	var ranges []float64
	for _, x := range r.Features {
		ranges = append(ranges, x.Range)
	}
	keys := s.id.keys
	if plan.Run != he.JointRunOf(info.Domain, j.Question.ID, st.Body) || !slices.Equal(plan.Ranges, ranges) || plan.Groups != r.Groups || !bytes.Equal(plan.Commitment[:], r.Commitment) ||
		plan.Gate.ID != he.GateOf(info.Domain) || !bytes.Equal(plan.Gate.Verify.Bytes(), info.SignKey) || !bytes.Equal(plan.Gate.Seal.Bytes(), info.EncryptKey) ||
		!bytes.Equal(plan.Partner.Verify.Bytes(), keys.SigningKey().Public().Bytes()) || !bytes.Equal(plan.Partner.Seal.Bytes(), keys.DecryptKey().Public().Bytes()) {
		return j, &sandbox.Error{Op: "he partner", Kind: sandbox.Tampered, Object: "plan", Detail: "it is of this domain, of what was signed, and of these keys"}
	}
	secret := f.Secret()
	model := &he.Model{Link: he.LinearLink, Weights: secret.Weights, Bias: secret.Bias, Ranges: ranges}
	p, err := he.NewJointPartner(ctx, he.JointConfig{Plan: plan, Engine: engine, Sign: keys.SigningKey(), Rand: s.rand})
	if err != nil {
		return j, err
	}
	defer p.Close()
	send := func(m *he.Message, want he.Kind) error {
		if j, err = s.joined(ctx, j, m); err != nil {
			return err
		}
		if want != 0 && j.Kind != int(want) {
			return &sandbox.Error{Op: "he partner", Kind: sandbox.Unavailable, Object: string(j.Question.ID), Detail: "the domain goes on with the run", Hint: "opdomain query show " + string(j.Question.ID)}
		}
		return nil
	}
	fetch := func(kind he.Kind) (*he.Message, error) {
		b, err := body(s.api.GetJointMessage(ctx, j.Question.ID, int(kind)))
		if err != nil {
			return nil, err
		}
		m, err := he.ParseMessage(b)
		if err == nil {
			err = plan.CheckMessage(m, kind, true)
		}
		return m, err
	}
	// The gate's commitment comes before one's own key share, and its share before what is encrypted under both.
	committed, err := fetch(he.Commitment)
	if err == nil {
		err = send(p.Commitment(), he.KeyShare)
	}
	if err != nil {
		return j, err
	}
	own, err := p.Reveal(committed)
	if err == nil {
		err = send(own, he.Share)
	}
	if err != nil {
		return j, err
	}
	share, err := fetch(he.KeyShare)
	if err != nil {
		return j, err
	}
	averages, err := fetch(he.Contribution)
	if err != nil {
		return j, err
	}
	scores, err := p.Apply(ctx, share, averages, model)
	if err != nil {
		return j, err
	}
	err = send(scores, 0)
	return j, err
}
