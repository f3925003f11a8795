package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// printShares says how a question over shares is computed.
func printShares(w io.Writer, t *api.SharesTerms) {
	if t != nil {
		fmt.Fprint(w, t.Text())
	}
}

// Files of a job's folder, as opdomain-party takes them.
const (
	planFile     = "plan.json"
	questionFile = "question.json"
	cardFile     = "card.json" // where a unit pushes
)

func (a *app) jobCommand() *cobra.Command {
	var out string
	c := verb("job QUESTION", "Take a question's job: what the parties' owners approve and their parties run (多方计算任务)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		j, err := result[api.SharesJob](s.api.GetSharesJob(c.Context(), sandbox.QuestionID(args[0])))
		if err != nil {
			return err
		}
		p, err := mpc.ParsePlan(j.Plan)
		if err != nil {
			return err
		}
		words, err := agent.Words(p, j.Asked, p.Parties[0].ID) // which holds the question to the plan
		if err != nil {
			return err
		}
		if out != "" {
			if err := os.Mkdir(out, 0o700); err != nil {
				return &sandbox.Error{Op: "mpc job", Kind: sandbox.Conflict, Object: out, Detail: "a new folder in one that is there"}
			}
			files := map[string][]byte{planFile: j.Plan, questionFile: j.Asked}
			if len(j.Card) > 0 {
				files[cardFile] = j.Card
			}
			for name, b := range files {
				if err := a.writeFile("mpc job", filepath.Join(out, name), func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
					return err
				}
			}
		}
		return a.show(j, func(w io.Writer) {
			fmt.Fprintf(w, "%s  %s\n%s", j.Question, j.Stage, words)
			if j.Terms.Form == "inquiry" {
				fmt.Fprintln(w, "beside 交叉: once it has opened, other questions over this version of a dataset outside are over the same rows in the same cells, or over rows that a filter keeps apart; any others are refused")
			}
			if j.Terms.Pushes != "" {
				said := "not yet"
				if j.Pushed != "" {
					said = "digest " + j.Pushed + ", which the unit and the zones have too"
				}
				fmt.Fprintf(w, "pushed 推送: %s, under its unit's key %s: %s\n", j.Terms.Pushes, j.Terms.UnitKey, said)
			}
			switch {
			case j.Stage == "expired":
				fmt.Fprintln(w, "next 下一步: whoever asked asks the same question again: it is planned anew")
			case j.Stage == "stopped":
				fmt.Fprintf(w, "next 下一步: the domain is no longer in the run, and a plan is joined once; opdomain mpc run %s --approval FILE, or its next start, puts that on record, and the question is withheld\n", j.Question)
			case j.Stage == "planned" && out != "" && j.Terms.Pushes != "":
				fmt.Fprintf(w, "next 下一步: opdomain mpc approve --job %[1]s --out FILE, by %[2]s; send %[3]s and %[4]s to the zones, whose owners run\n  opdomain-party approve --plan %[3]s --question %[4]s --party PARTY …\nand with %[5]s and the zones' cards (opdomain-party card) to the unit of %[6]s, which runs\n  opdomain-party push --plan %[3]s --question %[4]s --keys … --source %[6]s@VERSION=FILE --subject-key … --card … --ledger … --ledger-key … --digest %[9]x --out DIR\n  opdomain mpc push %[7]s --in DIR/%[6]s.%[8]s, and sends the zones theirs\nthen all at once: opdomain-party run …, with --pushed FILE, and opdomain mpc run %[7]s --approval FILE\n",
					out, p.Parties[0].Owner, planFile, questionFile, cardFile, j.Terms.Pushes, j.Question, p.Parties[0].ID, j.Digest)
			case j.Stage == "planned" && out != "":
				brings := "--table DATASET@VERSION=FILE"
				if j.Terms.Form == "inquiry" {
					brings = "--source DATASET@VERSION=FILE"
				}
				fmt.Fprintf(w, "next 下一步: opdomain mpc approve --job %s --out FILE, by %s; send %s and %s to the others, whose owners run\n  opdomain-party approve --plan %s --question %s --party PARTY …\nthen all at once: opdomain-party run …, with %s, --ledger and --ledger-key where the party owns a table, and opdomain mpc run %s --approval FILE\n",
					out, p.Parties[0].Owner, planFile, questionFile, planFile, questionFile, brings, j.Question)
			}
		})
	})
	c.Flags().StringVar(&out, "out", "", "new folder for plan.json, question.json and, where a unit pushes, card.json, in the form that opdomain-party takes")
	return c
}

func (a *app) approveJobCommand() *cobra.Command {
	var job, out string
	var days int
	c := verb("approve", "Approve a job for the domain's party, as the agency's officer who owns it; says first what is approved (参与批准)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if a.as == "" {
			return usageError{invalid("--as", "the officer signs", "name the identity's folder, e.g. --as DIR/identities/agency")}
		}
		if days < 1 || days > 366 {
			return usageError{invalid("--days", "1 to 366", "")}
		}
		var files [2][]byte
		for i, name := range []string{planFile, questionFile} {
			var err error
			if files[i], err = a.readFile(filepath.Join(job, name)); err != nil {
				return err
			}
		}
		p, err := mpc.ParsePlan(files[0])
		if err != nil {
			return err
		}
		words, err := agent.Words(p, files[1], p.Parties[0].ID)
		if err != nil {
			return err
		}
		if err := a.writable("mpc approve", out); err != nil {
			return err
		}
		id, err := a.identity()
		if err != nil {
			return err
		}
		self := p.Parties[0]
		if id.ID != self.Owner || string(id.SignKey) != string(self.OwnerKey) {
			return &sandbox.Error{Op: "mpc approve", Kind: sandbox.Denied, Object: string(id.ID), Detail: "the plan names another owner of the domain's party, or another key of it", Hint: "sign as " + string(self.Owner) + "; after a renewal of its keys the question is planned anew when its plan has expired"}
		}
		fmt.Fprint(a.out, words)
		st, err := mpc.Approve(a.rand, id.keys.SigningKey(), p, self.ID, a.now(), a.now().AddDate(0, 0, days))
		if err != nil {
			return err
		}
		if err := a.writeFile("mpc approve", out, func(w io.Writer) error { return json.NewEncoder(w).Encode(st) }); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "\napproved 已批准:", out)
		return nil
	})
	c.Flags().StringVar(&job, "job", "", "folder that mpc job wrote")
	c.Flags().StringVar(&out, "out", "", "file for the approval")
	c.Flags().IntVar(&days, "days", 7, "how long it stands")
	must(c.MarkFlagRequired("job"))
	must(c.MarkFlagRequired("out"))
	return c
}

func (a *app) pushJobCommand() *cobra.Command {
	var in string
	c := verb("push QUESTION", "Give the domain's party its shares of what a unit pushed, as that unit or the agency (推送份额)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		b, err := a.readFile(in)
		if err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		if _, err := result[struct{}](s.api.PushShares(c.Context(), sandbox.QuestionID(args[0]), api.SharesPush{Push: b})); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "taken 已接收:", args[0])
		return nil
	})
	c.Flags().StringVar(&in, "in", "", "file DATASET.PARTY of opdomain-party push, of the domain's party")
	must(c.MarkFlagRequired("in"))
	return c
}

func (a *app) cancelJobCommand() *cobra.Command {
	return verb("cancel QUESTION", "Withdraw a planned question that the domain has not joined, as its asker or the agency; asked again it is charged again (撤销多方计算)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		q, err := result[api.Question](s.api.EndSharesJob(c.Context(), sandbox.QuestionID(args[0])))
		if err != nil {
			return err
		}
		return a.show(q, func(w io.Writer) { printQuestion(w, q) })
	})
}

// askRunEvery is how often a run is asked for its end.
const askRunEvery = 500 * time.Millisecond

func (a *app) runJobCommand() *cobra.Command {
	var approval string
	var leave bool
	c := verb("run QUESTION", "Have the domain take part in a question's run, once, and wait for its end (参与多方计算)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		var st attest.Statement
		if err := a.readJSON(approval, &st); err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		id := sandbox.QuestionID(args[0])
		q, err := result[api.Question](s.api.RunSharesJob(c.Context(), id, st))
		if err != nil {
			return err
		}
		if q.State == "computing" && !leave {
			fmt.Fprintln(a.err, "joined 已加入: waits for the other parties; interrupting this command does not end the run")
			if q, err = a.ended(c.Context(), s, id); err != nil {
				return err
			}
		}
		if err := a.show(q, func(w io.Writer) { printQuestion(w, q) }); err != nil {
			return err
		}
		if q.State == "withheld" {
			return &sandbox.Error{Op: "mpc run", Kind: sandbox.Withheld, Object: string(id), Detail: "the run ended without an answer", Hint: "opdomain egress show " + string(id) + " tells the agency why; whoever asked sees one code"}
		}
		return nil
	})
	c.Flags().StringVar(&approval, "approval", "", "file of mpc approve")
	c.Flags().BoolVar(&leave, "no-wait", false, "return once the domain has joined")
	must(c.MarkFlagRequired("approval"))
	return c
}

// ended waits until a question is no longer computed.
func (a *app) ended(ctx context.Context, s *session, id sandbox.QuestionID) (api.Question, error) {
	for {
		if err := sleep(ctx, askRunEvery); err != nil {
			return api.Question{}, err
		}
		q, err := result[api.Question](s.api.GetQuestion(ctx, id))
		if err != nil || q.State != "computing" {
			return q, err
		}
		j, err := result[api.SharesJob](s.api.GetSharesJob(ctx, id))
		if sandbox.KindOf(err) == sandbox.Conflict && err != nil { // it ended between the two
			continue
		}
		if err != nil {
			return q, err
		}
		if j.Stage == "stopped" {
			return q, &sandbox.Error{Op: "mpc run", Kind: sandbox.Unavailable, Object: string(id), Detail: "the domain stopped in the run, or could not submit it", Hint: "opdomain mpc run " + string(id) + " --approval FILE, or the domain's next start, puts it on record, and it is withheld"}
		}
	}
}
