package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/query/sql"
)

func (a *app) spec(path string) (query.Spec, error) {
	b, err := a.readFile(path)
	if err != nil {
		return query.Spec{}, err
	}
	return query.Decode(b)
}

func printQuestion(w io.Writer, q api.Question) {
	fmt.Fprintf(w, "%s  %s", q.ID, q.State)
	if q.Code != "" {
		fmt.Fprintf(w, "  %s", q.Code)
	}
	if q.Release != "" {
		fmt.Fprintf(w, "  release %s", q.Release)
	}
	fmt.Fprintln(w)
	if q.Comment != "" {
		fmt.Fprintf(w, "  comment 退回意见: %s\n  opdomain egress resubmit %s, or withdraw\n", q.Comment, q.ID)
	}
	if q.Notice != "" {
		fmt.Fprintf(w, "  revoked by the agency 已撤回: %s\n", q.Notice)
	}
	if !q.AppealUntil.IsZero() {
		fmt.Fprintf(w, "  appeal until 可申请复核至 %s: opdomain egress appeal %s --reason …\n", q.AppealUntil.Format(time.DateTime), q.ID)
	}
}

func (a *app) queryCommand() *cobra.Command {
	var from asked
	explain := from.flags(verb("explain", "Decide a question and show its derivation, before any key opens and without charge", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if from.program != "" {
			return a.explainProgram(c, &from)
		}
		allowed := false
		err := get(a, func(s *session) (explained, error) {
			q, err := from.question(c.Context(), a, s)
			if err != nil {
				return explained{}, err
			}
			x, err := result[api.Explanation](s.api.ExplainQuestion(c.Context(), q))
			allowed = x.Decision.Allow
			return explained{q, sql.Text(q), x}, err
		}, func(w io.Writer, x explained) { x.print(w) })
		if err == nil && !allowed {
			err = exitStatus(exitRefused) // the explanation has said why
		}
		return err
	}))
	ask := from.flags(verb("ask", "Ask a question (查询)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if from.program != "" {
			return a.askProgram(c, &from)
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		q, err := from.question(c.Context(), a, s)
		if err != nil {
			return err
		}
		got, err := result[api.Question](s.api.AskQuestion(c.Context(), q))
		if err != nil {
			return err
		}
		if err := a.show(got, func(w io.Writer) { printQuestion(w, got); printShares(w, got.Shares) }); err != nil {
			return err
		}
		if len(got.Decision.Reasons) > 0 {
			return &refused{got.Decision}
		}
		return nil
	}))
	explain.Example, ask.Example = sqlExample, sqlExample
	list := verb("list", "List your questions", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Question, error) {
			return result[[]api.Question](s.api.ListQuestions(c.Context()))
		},
			func(w io.Writer, all []api.Question) {
				for _, q := range all {
					printQuestion(w, q)
				}
			})
	})
	one := verb("show QUESTION", "Show where a question stands", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Question, error) {
			return result[api.Question](s.api.GetQuestion(c.Context(), sandbox.QuestionID(args[0])))
		}, func(w io.Writer, q api.Question) { printQuestion(w, q); printShares(w, q.Shares) })
	})
	return group("query", "Ask questions (查询)", explain, ask, a.compileCommand(), list, one, a.claimCommand())
}

// claimFile is what query claim reads.
type claimFile struct {
	Scenario sandbox.ScenarioID  `json:"scenario"`
	Purpose  string              `json:"purpose"`
	Consent  sandbox.ConsentID   `json:"consent"`
	Dataset  sandbox.DatasetID   `json:"dataset"`
	Fields   []string            `json:"fields"`
	Kind     catalog.SubjectKind `json:"kind"`  // of the person's identifier
	ID       string              `json:"id"`    // travels sealed
	Claim    string              `json:"claim"` // travels sealed
}

func (a *app) claimCommand() *cobra.Command {
	var path string
	c := verb("claim", "Ask for one person's claim under that person's consent (单人查询)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var f claimFile
		if err := a.readJSON(path, &f); err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		info, err := s.domain(c.Context())
		if err != nil {
			return err
		}
		sealed, err := s.seal(info, "opdomain/claim-query/v1", map[string]any{"kind": f.Kind, "id": f.ID, "claim": f.Claim})
		if err != nil {
			return err
		}
		ans, err := result[api.ClaimAnswer](s.api.AskClaim(c.Context(), api.ClaimRequest{Scenario: f.Scenario, Purpose: f.Purpose, Consent: f.Consent, Dataset: f.Dataset,
			Fields: f.Fields, Sealed: sealed}))
		if err != nil {
			return err
		}
		if ans.Code != "" {
			if err := a.show(ans, nil); err != nil {
				return err
			}
			return &refused{sandbox.Decision{Reasons: []sandbox.Reason{{Code: ans.Code, Rule: "a person's record is answered only under that person's live consent for exactly this",
				Change: "ask the person; the person and auditors can see the cause"}}}}
		}
		b, err := openEnvelope(s.id, compact(ans.Envelope), info.SignKey, s)
		if err != nil {
			return err
		}
		rec, err := egress.DecodeRecord(b)
		if err != nil {
			return err
		}
		return a.show(rec, func(w io.Writer) {
			for i, f := range rec.Fields {
				fmt.Fprintf(w, "%-16s %s\n", f, rec.Values[i])
			}
		})
	})
	c.Flags().StringVar(&path, "file", "", "JSON: scenario, purpose, consent, dataset, fields, kind, id, claim")
	must(c.MarkFlagRequired("file"))
	return c
}
