package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// optional gives a pointer to a flag's value, nil for the empty one.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (a *app) searchCommand() *cobra.Command {
	var unit, tag, origin, after string
	var limit int
	c := verb("search [WORDS]", "Find tables by title, fields, tags, unit, description or pinyin initials of the title, best first (目录检索)", cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
		p := api.SearchCatalogParams{Q: optional(strings.Join(args, " ")), Unit: optional(unit), Tag: optional(tag), Origin: optional(origin), After: optional(after)}
		if c.Flags().Changed("limit") {
			p.Limit = &limit
		}
		return get(a, func(s *session) (api.SearchPage, error) {
			return result[api.SearchPage](s.api.SearchCatalog(c.Context(), &p))
		}, func(w io.Writer, page api.SearchPage) {
			for _, h := range page.Hits {
				fmt.Fprintf(w, "%3d  %-24s %-18s grade %d %10d rows  %-10s %s\n", h.Score, h.Dataset, h.Unit, h.Grade, h.Rows, h.Frequency, h.Title)
			}
			fmt.Fprintf(w, "%d found 检索结果\n", page.Total)
			if len(page.Entries) > 0 {
				fmt.Fprintln(w, "in published catalogues:")
				printEntries(w, page.Entries)
			}
			if page.Next != "" {
				fmt.Fprintf(w, "next: --after %s\n", page.Next)
			}
		})
	})
	f := c.Flags()
	f.StringVar(&unit, "unit", "", "tables of this unit only")
	f.StringVar(&tag, "tag", "", "tables with this tag only")
	f.StringVar(&origin, "origin", "", "open-catalogue, district-unit, city-unit or co-developed only")
	f.StringVar(&after, "after", "", "cursor that the page before printed")
	f.IntVar(&limit, "limit", catalog.PageSize, "tables on a page, at most 200")
	return c
}

func (a *app) seedCommand() *cobra.Command {
	var district string
	c := verb("seed", "Enter a district's published catalogue, as the agency; entries that are there stay (目录编制)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]catalog.Entry, error) {
			return result[[]catalog.Entry](s.api.SeedCatalog(c.Context(), api.SeedRequest{District: district}))
		}, printEntries)
	})
	c.Flags().StringVar(&district, "profile", "", "longhua or futian; default: the domain's district")
	return c
}

func (a *app) entriesCommand() *cobra.Command {
	return verb("entries", "List the entries of published catalogues (目录条目)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]catalog.Entry, error) {
			return result[[]catalog.Entry](s.api.ListEntries(c.Context()))
		}, printEntries)
	})
}

func printEntries(w io.Writer, all []catalog.Entry) {
	for _, e := range all {
		fmt.Fprintf(w, "%s  %-10s %s %s\n", e.Code, e.Frequency, e.Group, e.Title)
	}
	fmt.Fprintf(w, "%d entries 条目\n", len(all))
}

func (a *app) reviseCommand() *cobra.Command {
	var path string
	c := verb("revise", "Describe one of the unit's datasets anew; what is edited is the output of catalog show --json (目录变更)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var d catalog.Dataset
		if err := a.readJSON(path, &d); err != nil {
			return err
		}
		return get(a, func(s *session) (catalog.Dataset, error) {
			return result[catalog.Dataset](s.api.ReviseDataset(c.Context(), d.ID, d))
		}, func(w io.Writer, d catalog.Dataset) {
			fmt.Fprintf(w, "%s is at revision %d\n", d.ID, d.Revision)
			if missing := d.Undefined(); len(missing) > 0 {
				fmt.Fprintf(w, "not authorisable yet, no whole dictionary entry: %s\n", strings.Join(missing, ", "))
			}
		})
	})
	c.Flags().StringVar(&path, "file", "", "JSON description")
	must(c.MarkFlagRequired("file"))
	return c
}

func (a *app) historyCommand() *cobra.Command {
	return verb("history DATASET", "List every state of a description and the scenarios that rest on it (目录变更记录)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) ([]catalog.Revision, error) {
			return result[[]catalog.Revision](s.api.ListRevisions(c.Context(), sandbox.DatasetID(args[0])))
		}, func(w io.Writer, all []catalog.Revision) {
			for _, r := range all {
				fmt.Fprintf(w, "%4d  %s  %-24s %s\n", r.Number, r.At.Format("2006-01-02 15:04:05"), r.By, strings.Join(r.Changed, ", "))
				for _, s := range r.Held {
					fmt.Fprintf(w, "      held by %s 授权沿用\n", s)
				}
			}
		})
	})
}

func (a *app) qualityCommand() *cobra.Command {
	return verb("quality DATASET", "Show the quality of the current version by heading and column, to its unit, the agency or an auditor (质量报告)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (catalog.Scorecard, error) {
			return result[catalog.Scorecard](s.api.GetQuality(c.Context(), sandbox.DatasetID(args[0])))
		}, func(w io.Writer, s catalog.Scorecard) {
			q := s.Quality
			fmt.Fprintf(w, "%s version %d: %d rows, report of grade %d\n", q.Dataset, q.Version, q.Rows, q.Grade)
			for _, h := range s.Headings {
				fmt.Fprintf(w, "  %-6s %s  %s\n", h.Name, share(h.Score), h.Note)
			}
			if q.Part > 0 {
				fmt.Fprintf(w, "  唯一性 is of a part of 1/%d of the keys\n", int64(1)<<q.Part)
			}
			for _, x := range q.Columns {
				fmt.Fprintf(w, "  %-20s present %s  null %d, empty %d, blank %d, placeholder %d", x.Column, share(x.Present()), x.Nulls, x.Empty, x.Blank, x.Placeholder)
				if x.Declared {
					fmt.Fprintf(w, "; in range %s", share(x.Conforms()))
				}
				fmt.Fprintln(w)
			}
			for _, o := range q.Orders {
				fmt.Fprintf(w, "  %s ≤ %s %s\n", o.Low, o.High, share(catalog.Fraction{Good: o.Holds, Of: o.Rows}))
			}
		})
	})
}

// share writes a fraction with its numerator and denominator.
func share(f catalog.Fraction) string {
	if f.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d (%.2f%%)", f.Good, f.Of, 100*float64(f.Good)/float64(f.Of))
}

func (a *app) conflictsCommand() *cobra.Command {
	return verb("conflicts", "List the fields that more than one unit is a source of (一数一源)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]catalog.Conflict, error) {
			return result[[]catalog.Conflict](s.api.ListConflicts(c.Context()))
		}, func(w io.Writer, all []catalog.Conflict) {
			for _, x := range all {
				if x.Finding != "" {
					fmt.Fprintf(w, "possible: %s under several titles (%s)\n", x.Finding, x.Type)
				} else {
					fmt.Fprintf(w, "%s (%s)\n", x.Field, x.Type)
				}
				for _, h := range x.Holders {
					fmt.Fprintf(w, "  %-18s %s.%s\n", h.Unit, h.Dataset, h.Column)
				}
			}
			fmt.Fprintf(w, "%d conflicts 数源冲突\n", len(all))
		})
	})
}
