package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

func (a *app) submitCommand() *cobra.Command {
	var view string
	c := verb("submit", "Submit a sealed view that was made for you, to leave as a de-identified data set (去标识数据集出域申请)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if err := sandbox.CheckID("view", view); err != nil {
			return usageError{err}
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		q, err := result[api.Question](s.api.AskDataset(c.Context(), api.Submission{View: sandbox.DatasetID(view)}))
		if err != nil {
			return err
		}
		if !q.Decision.Allow && len(q.Decision.Reasons) > 0 {
			return &refused{q.Decision}
		}
		return a.show(q, func(w io.Writer) { printQuestion(w, q) })
	})
	c.Long = c.Short + `.

The unit makes the view for a scenario and its party (view make --scenario --partner) by a plan with a section leave:

  leave:
    k: 10                        # people of the smallest class; the district's threshold, where that is more
    l: 2                         # different values of each sensitive column in a class
    quasi: [born, area]
    sensitive: [amount, visited]
    mark:                        # of your copy, where grade 3 stands behind it
      - {column: amount, step: "10"}
      - {column: visited, step: "7"}

The gate reads the view itself, checks and marks your copy; two reviewers decide, after the owner has signed where the grade asks for it.`
	c.Flags().StringVar(&view, "view", "", "the view, as its unit named it to you")
	must(c.MarkFlagRequired("view"))
	return c
}

// traceCopy asks the domain whose copy it is.
func (a *app) traceCopy(c *cobra.Command, header []string, rows [][]string, dataset sandbox.DatasetID, recipients []string) error {
	if len(recipients) > 0 {
		return usageError{invalid("--recipients", "the domain knows who was sent a copy", "leave it out")}
	}
	return get(a, func(s *session) (api.TracedCopy, error) {
		return result[api.TracedCopy](s.api.TraceCopy(c.Context(), api.CopyTrace{Dataset: dataset, Header: header, Rows: rows}))
	}, func(w io.Writer, x api.TracedCopy) {
		fmt.Fprintf(w, "%d rows held against %d marked data sets; accused where the chance that any innocent agrees so well is at most %g\n", len(rows), x.Tried, float64(x.Bound)/1e12)
		accused := false
		for _, s := range x.Suspects {
			verdict := ""
			if accused = accused || s.Accused; s.Accused {
				verdict = "  had this copy 系其副本"
			}
			fmt.Fprintf(w, "  %-24s of %s: agrees in %d of %d, chance %.2g%s\n", s.Recipient, s.Of, s.Agree, s.Positions, float64(s.Chance)/1e12, verdict)
		}
		if !accused {
			fmt.Fprintln(w, "nobody is named: that proves nothing 未能认定")
		}
	})
}
