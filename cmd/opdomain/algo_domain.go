package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/query/sql"
)

func printAlgorithm(w io.Writer, x api.Algorithm) {
	state := "approved 已准入 " + x.Approved.Format("2006-01-02")
	if !x.Withdrawn.IsZero() {
		state = "withdrawn 已撤回 " + x.Withdrawn.Format("2006-01-02") + ": " + x.Reason
	}
	fmt.Fprintf(w, "%s  %s  %s\n  by %s of %s; image %x\n", x.ID, x.Contract, state, x.By, x.Author, x.Image)
}

func (a *app) algoApprove() *cobra.Command {
	return verb("approve DIR", "As the agency, approve a signed algorithm: its manifest, its image and the graph it records (算法准入)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		b, err := a.signedBuild(c, args[0])
		if err != nil {
			return err
		}
		whole, image := b.m.Digest(), sm.Sum(b.image)
		var graph []byte
		if b.graph != nil {
			d := sm.Sum(b.graph)
			graph = d[:]
		}
		return get(a, func(s *session) (api.Algorithm, error) {
			st, err := s.id.sign(attest.ContextAlgorithm, attest.AlgorithmApproval{Name: b.m.Name, Version: b.m.Version, Manifest: whole[:], Image: image[:], Graph: graph, At: a.now()})
			if err != nil {
				return api.Algorithm{}, err
			}
			return result[api.Algorithm](s.api.ApproveAlgorithm(c.Context(), api.AlgorithmRequest{Manifest: b.raw, Image: b.image, Statement: st}))
		}, printAlgorithm)
	})
}

func (a *app) algoWithdraw() *cobra.Command {
	var reason string
	c := verb("withdraw NAME-VERSION", "As the agency, end the use of an algorithm at once (撤回)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		id := sandbox.AlgorithmID(args[0])
		if err := sandbox.CheckID("algorithm", args[0]); err != nil {
			return usageError{err}
		}
		at := strings.LastIndex(args[0], "-")
		if at < 1 {
			return usageError{invalid("NAME-VERSION", "e.g. ward-cost-1.0.0, as opdomain algo list shows", "")}
		}
		return get(a, func(s *session) (api.Algorithm, error) {
			st, err := s.id.sign(attest.ContextAlgorithmWithdraw, attest.AlgorithmWithdrawal{Name: args[0][:at], Version: args[0][at+1:], Reason: reason, At: a.now()})
			if err != nil {
				return api.Algorithm{}, err
			}
			return result[api.Algorithm](s.api.WithdrawAlgorithm(c.Context(), id, st))
		}, printAlgorithm)
	})
	c.Flags().StringVar(&reason, "reason", "", "reason; goes into the evidence")
	must(c.MarkFlagRequired("reason"))
	return c
}

func (a *app) algoList() *cobra.Command {
	return verb("list", "List the algorithms that the agency has approved", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.Algorithm, error) {
			return result[[]api.Algorithm](s.api.ListAlgorithms(c.Context()))
		}, func(w io.Writer, all []api.Algorithm) {
			for _, x := range all {
				printAlgorithm(w, x)
			}
		})
	})
}

// use is what query ask and explain say of a program.
func (q *asked) use() (sandbox.AlgorithmID, api.AlgorithmUse, error) {
	u := api.AlgorithmUse{Scenario: sandbox.ScenarioID(q.scenario), Purpose: q.purpose}
	if q.scenario == "" || q.purpose == "" {
		return "", u, usageError{invalid("--scenario and --purpose", "a program is asked under a scenario, for its purpose", "")}
	}
	if err := sandbox.CheckID("program", q.program); err != nil {
		return "", u, usageError{err}
	}
	for _, b := range q.bind {
		input, set, ok := strings.Cut(b, "=")
		if !ok || sandbox.CheckID("input", input) != nil || sandbox.CheckID("dataset", set) != nil {
			return "", u, usageError{invalid("--bind", "INPUT=DATASET", "e.g. --bind claims=ds-claims")}
		}
		u.Bind = append(u.Bind, api.AlgorithmBinding{Input: input, Dataset: sandbox.DatasetID(set)})
	}
	return sandbox.AlgorithmID(q.program), u, nil
}

// explainProgram explains each question of an approved program.
func (a *app) explainProgram(c *cobra.Command, q *asked) error {
	id, u, err := q.use()
	if err != nil {
		return err
	}
	var got api.AlgorithmExplanation
	err = get(a, func(s *session) (api.AlgorithmExplanation, error) {
		got, err = result[api.AlgorithmExplanation](s.api.ExplainAlgorithm(c.Context(), id, u))
		return got, err
	}, func(w io.Writer, x api.AlgorithmExplanation) {
		if !x.Decision.Allow {
			a.printReasons(w, x.Decision)
		}
		if a.printMap(w, x) {
			return
		}
		var plan compile.Plan
		if x.Decision.Engine == sandbox.Opaque && len(x.Questions) == 1 {
			if x.Decision.Allow {
				fmt.Fprintln(w, "allowed 准予: engine", x.Decision.Engine, "class", x.Decision.Class)
			}
			fmt.Fprint(w, x.Questions[0].Text)
			return
		}
		if json.Unmarshal(x.Plan, &plan) != nil || len(plan.Questions) != len(x.Questions) {
			return
		}
		for i, e := range x.Questions {
			fmt.Fprintf(w, "question %d 查询, of %s:\n  %s\n", i+1, plan.Questions[i].Table, strings.ReplaceAll(sql.Text(plan.Questions[i].Spec), "\n", "\n  "))
			if e.Decision.Allow {
				fmt.Fprintln(w, "allowed 准予: engine", e.Decision.Engine, "class", plan.Questions[i].Class)
			}
			fmt.Fprint(w, e.Text)
		}
	})
	if err == nil && !got.Decision.Allow {
		err = exitStatus(exitRefused)
	}
	return err
}

// askProgram asks an approved program.
func (a *app) askProgram(c *cobra.Command, q *asked) error {
	id, u, err := q.use()
	if err != nil {
		return err
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	got, err := result[api.AlgorithmAnswer](s.api.AskAlgorithm(c.Context(), id, u))
	if err != nil {
		return err
	}
	if len(got.Decision.Reasons) > 0 {
		return &refused{got.Decision}
	}
	return a.show(got, func(w io.Writer) {
		for _, x := range got.Questions {
			printQuestion(w, x)
		}
	})
}

func (a *app) algoTable() *cobra.Command {
	var answer string
	var files []string
	c := verb("table", "Make the tables of a program of the results that have left (结果表)", cobra.NoArgs, func(*cobra.Command, []string) error {
		var x api.AlgorithmAnswer
		if err := a.readJSON(answer, &x); err != nil {
			return err
		}
		var plan compile.Plan
		if err := json.Unmarshal(x.Plan, &plan); err != nil || len(plan.Questions) != len(x.Questions) {
			return invalid(answer, "what opdomain --json query ask --program printed", "")
		}
		results := map[int]compile.Released{}
		for _, path := range files {
			b, err := a.readFile(path)
			if err != nil {
				return err
			}
			r, id, err := dryrun.Released(b)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(x.Questions, func(q api.Question) bool { return q.ID == id })
			if at < 0 {
				return invalid(path, "a result of one of the program's questions", "")
			}
			results[at] = r
		}
		var tables []compile.Filled
		for i := range plan.Tables {
			t, err := plan.Tables[i].Fill(results)
			if err != nil {
				return err
			}
			tables = append(tables, t)
		}
		return a.show(tables, func(w io.Writer) {
			for _, t := range tables {
				printFilled(w, t)
			}
		})
	})
	c.Flags().StringVar(&answer, "answer", "", "file with what opdomain --json query ask --program printed")
	c.Flags().StringSliceVar(&files, "result", nil, "files of results, as release open writes them")
	must(c.MarkFlagRequired("answer"))
	must(c.MarkFlagRequired("result"))
	return c
}
