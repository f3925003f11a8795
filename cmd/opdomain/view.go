package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// signedPlanFiles names a plan and its signature.
type signedPlanFiles struct{ plan, signature, dataset string }

func (s *signedPlanFiles) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.plan, "plan", "", "the plan, YAML")
	f.StringVar(&s.signature, "signature", "", "its owner's signature, as desensitize sign wrote it")
	f.StringVar(&s.dataset, "dataset", "", "dataset; default: the one the plan names")
	must(c.MarkFlagRequired("plan"))
	must(c.MarkFlagRequired("signature"))
}

// read gives plan text, signature and dataset; what is not a plan is said here.
func (a *app) readSigned(s signedPlanFiles) (text string, signature json.RawMessage, d sandbox.DatasetID, err error) {
	p, b, err := a.readPlan(s.plan)
	if err != nil {
		return "", nil, "", err
	}
	var parsed desensitize.Signature
	if err := a.readJSON(s.signature, &parsed); err != nil {
		return "", nil, "", err
	}
	if signature, err = json.Marshal(parsed); err != nil {
		return "", nil, "", err
	}
	if d = sandbox.DatasetID(s.dataset); d == "" {
		d = p.Dataset
	}
	if d == "" {
		return "", nil, "", usageError{invalid("--dataset", "the plan names none", "name the dataset")}
	}
	return string(b), signature, d, nil
}

func (a *app) viewCommand() *cobra.Command {
	return group("view", "Sealed views by signed plans, and what roles see of records (脱敏视图, 动态脱敏)", a.makeViewCommand(), a.listViewsCommand(), a.eraseViewCommand(), a.setMaskingCommand(), a.maskingCommand())
}

func printView(w io.Writer, v api.View) {
	route := "route A, desensitised 脱敏"
	if v.Consent != "" {
		route = "route B, on consent 个人授权 " + string(v.Consent)
	}
	fmt.Fprintf(w, "%s  %s  %s version %d by plan %s version %d, for %s, %s", v.ID, v.State, v.Source.Dataset, v.Source.Version, v.Plan, v.PlanVersion, v.Use, route)
	if v.State != "ordered" {
		fmt.Fprintf(w, ", %d rows", v.Rows)
	}
	fmt.Fprintln(w)
}

func (a *app) makeViewCommand() *cobra.Command {
	var s signedPlanFiles
	var r api.ViewRequest
	var use, scenario, partner, receipt string
	c := verb("make", "Make a sealed view of a version for one use, as the dataset's unit or the agency (生成脱敏视图)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var err error
		if r.Plan, r.Signature, r.Dataset, err = a.readSigned(s); err != nil {
			return err
		}
		r.Use, r.Scenario, r.Partner, r.Consent = sandbox.RunID(use), sandbox.ScenarioID(scenario), sandbox.PartyID(partner), sandbox.ConsentID(receipt)
		return a.decided(func(session *session) (sandbox.Decision, any, error) {
			o, err := result[api.ViewOutcome](session.api.MakeView(c.Context(), r))
			return o.Decision, o.View, err
		}, func(w io.Writer, v any) {
			view := *v.(*api.View)
			printView(w, view)
			var rep desensitize.Report
			if json.Unmarshal(view.Report, &rep) != nil {
				return
			}
			if rep.Source > 0 {
				fmt.Fprintf(w, "  sampled 抽样 %d of %d rows\n", rep.Rows, rep.Source)
			}
			for _, c := range rep.Columns {
				fmt.Fprintf(w, "  %-20s %-12s masked 已脱敏 %d", c.Column, c.Op, c.Masked)
				if c.Failed > 0 {
					fmt.Fprintf(w, ", failed 不合模式全遮 %d", c.Failed)
				}
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "  key 密钥 %s; erase it with its use: opdomain view erase %s\n", view.Key, view.ID)
		})
	})
	s.flags(c)
	f := c.Flags()
	f.StringVar(&use, "use", "", "the one use it is for, an identifier")
	f.Uint64Var(&r.Version, "version", 0, "version of the dataset; default: the current one")
	f.StringVar(&scenario, "scenario", "", "scenario it is for, with --partner; a plan with tokens needs both")
	f.StringVar(&partner, "partner", "", "operator, partner or insurer of the scenario it is for")
	f.StringVar(&receipt, "consent", "", "receipt it rests on (route B): the view is of that person's one record")
	must(c.MarkFlagRequired("use"))
	return c
}

// decided runs a call whose answer is a decision first.
func (a *app) decided(call func(s *session) (sandbox.Decision, any, error), text func(w io.Writer, v any)) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	d, v, err := call(s)
	if err != nil {
		return err
	}
	if !d.Allow {
		return &refused{d}
	}
	return a.show(v, func(w io.Writer) { text(w, v) })
}

func (a *app) listViewsCommand() *cobra.Command {
	return verb("list", "List views of your datasets and what became of them (视图清单)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.View, error) {
			return result[[]api.View](s.api.ListViews(c.Context()))
		}, func(w io.Writer, all []api.View) {
			for _, v := range all {
				printView(w, v)
			}
			fmt.Fprintf(w, "%d views 视图\n", len(all))
		})
	})
}

func (a *app) eraseViewCommand() *cobra.Command {
	return verb("erase VIEW", "Destroy a view's key under a certificate, and its files (视图销毁)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.View, error) {
			return result[api.View](s.api.EraseView(c.Context(), sandbox.DatasetID(args[0])))
		}, func(w io.Writer, v api.View) {
			printView(w, v)
			if len(v.Certificate) == 0 {
				fmt.Fprintln(w, "  it was never sealed: there was no key")
				return
			}
			fmt.Fprintf(w, "  key 密钥 %s destroyed %s\n", v.Key, v.Erased.Format("2006-01-02 15:04:05Z07:00"))
		})
	})
}

func (a *app) setMaskingCommand() *cobra.Command {
	var s signedPlanFiles
	c := verb("mask", "As the unit, say by a signed plan's roles what each role sees of a dataset's records from now on (动态脱敏设置)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		text, signature, d, err := a.readSigned(s)
		if err != nil {
			return err
		}
		return a.decided(func(session *session) (sandbox.Decision, any, error) {
			o, err := result[api.MaskingOutcome](session.api.SetMasking(c.Context(), d, api.MaskingRequest{Plan: text, Signature: signature}))
			return o.Decision, o.Masking, err
		}, func(w io.Writer, v any) { printMasking(w, *v.(*api.Masking)) })
	})
	s.flags(c)
	return c
}

func printMasking(w io.Writer, m api.Masking) {
	var roles []string
	for _, r := range m.Roles {
		roles = append(roles, string(r))
	}
	fmt.Fprintf(w, "records of %s are shown by plan %s version %d, signed by %s: roles %s, to all others nothing 其他角色全遮\n", m.Dataset, m.Plan, m.Version, m.Signer, strings.Join(roles, ", "))
	fmt.Fprintf(w, "  plan digest 方案摘要 %x\n", m.Digest)
}

func (a *app) maskingCommand() *cobra.Command {
	return verb("masking DATASET", "Show by which plan records of a dataset are shown (动态脱敏规则)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (api.Masking, error) {
			return result[api.Masking](s.api.GetMasking(c.Context(), sandbox.DatasetID(args[0])))
		}, printMasking)
	})
}
