package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// heModelCommand is a scoring model from its file to its withdrawal.
func (a *app) heModelCommand() *cobra.Command {
	return group("model", "Scoring models of the domain: made and filed by their owner, approved by the agency (密态评分模型)",
		a.heModelNew(), a.heModelSubmit(), a.heModelShow(), a.heModelApprove(), a.heModelWithdraw(), a.heModelList())
}

func (a *app) heModelNew() *cobra.Command {
	f, in, out := scorecard.File{}, "", ""
	c := verb("new", "Make the file of a scorecard or a generalised linear model, checked and with a fresh salt (模型文件)", cobra.NoArgs, func(*cobra.Command, []string) error {
		if err := a.writable("he model new", out); err != nil {
			return err
		}
		b, err := a.readFile(in)
		if err != nil {
			return err
		}
		if f.Features, err = weightedFeatures(string(b)); err != nil {
			return err
		}
		f.Salt = make([]byte, scorecard.SaltSize)
		if _, err := io.ReadFull(a.rand, f.Salt); err != nil {
			return err
		}
		if err := f.Check(); err != nil {
			return refusedBy(err)
		}
		if err := a.writeFile("he model new", out, func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			return enc.Encode(f)
		}); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s: %s, %d features, %s; its score stays within ±%.3g of ±%d. It holds the weights: keep it to yourself\nnext: opdomain he model submit %s\n",
			out, scorecard.ID(f.Name, f.Version), len(f.Features), f.Link, f.Span(), he.Span, out)
		return nil
	})
	c.Long = `FILE is CSV with the header feature,unit,min,max,weight, a line for each feature: its name as askers' files have it (a-z, 0-9, '.', '_', '-'),
its unit, the range that its values lie in, and its weight, in score per unit. The score is bias + Σ weight·feature; the logistic link gives 1/(1+e^-score).
Over all ranges it stays within ±8. Nothing is sent.`
	fl := c.Flags()
	fl.StringVar(&in, "features", "", "CSV of features and weights")
	fl.StringVar(&f.Name, "name", "", "name, e.g. credit")
	fl.StringVar(&f.Version, "version", "1.0.0", "version; another version is another model")
	fl.StringVar(&f.Title, "title", "", "title")
	fl.StringVar((*string)(&f.Link), "link", string(he.LogisticLink), "linear or logistic")
	fl.Float64Var(&f.Bias, "bias", 0, "bias")
	fl.StringVar((*string)(&f.Trained), "trained", "", "release of the class D model that it was made of, if it was trained in the domain")
	fl.StringVar(&out, "out", "", "file for the model; must not exist without --force")
	for _, name := range []string{"features", "name", "out"} {
		must(c.MarkFlagRequired(name))
	}
	return c
}

// refusedBy prints what encrypted scoring refuses like any refusal.
func refusedBy(err error) error {
	var why *he.Refused
	if errors.As(err, &why) {
		return &refused{sandbox.Decision{Reasons: why.Reasons}}
	}
	return err
}

// weightedFeatures reads feature,unit,min,max,weight.
func weightedFeatures(text string) ([]scorecard.Weighted, error) {
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
	r.FieldsPerRecord = 5
	rows, err := r.ReadAll()
	var p *csv.ParseError
	switch {
	case errors.As(err, &p):
		return nil, invalid(fmt.Sprintf("line %d", p.Line), "feature,unit,min,max,weight", "")
	case err != nil || len(rows) < 2 || strings.Join(rows[0], ",") != "feature,unit,min,max,weight":
		return nil, invalid("line 1", "the header is feature,unit,min,max,weight, and features follow", "")
	}
	var out []scorecard.Weighted
	for i, row := range rows[1:] {
		w := scorecard.Weighted{ScoringFeature: attest.ScoringFeature{Name: strings.TrimSpace(row[0]), Unit: strings.TrimSpace(row[1])}}
		for j, into := range []*float64{&w.Min, &w.Max, &w.Weight} {
			v, err := strconv.ParseFloat(strings.TrimSpace(row[2+j]), 64)
			if err != nil || v-v != 0 {
				return nil, invalid(fmt.Sprintf("line %d, column %s", i+2, rows[0][2+j]), "a number in decimal digits", "")
			}
			*into = v
		}
		out = append(out, w)
	}
	return out, nil
}

// modelFile reads the file of he model new; others may not read it.
func (a *app) modelFile(path string) (*scorecard.File, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, &sandbox.Error{Op: "he model", Kind: sandbox.Denied, Object: path, Detail: "it holds weights, and others may read it or write to it", Hint: "chmod 600 " + path}
	}
	var f scorecard.File
	if err := a.readJSON(path, &f); err != nil {
		return nil, err
	}
	return &f, refusedBy(f.Check())
}

func (a *app) heModelSubmit() *cobra.Command {
	return verb("submit FILE", "As its owner, file a model: its form in the clear, its weights sealed to the domain and committed to (申报)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		f, err := a.modelFile(args[0])
		if err != nil {
			return err
		}
		return get(a, func(s *session) (api.ScoringModel, error) {
			info, err := result[api.DomainInfo](s.api.GetDomain(c.Context()))
			if err != nil {
				return api.ScoringModel{}, err
			}
			key, err := sm.ParseEncryptKey(info.EncryptKey)
			if err != nil {
				return api.ScoringModel{}, err
			}
			sealed, err := key.SealMessage(s.rand, scorecard.Context, f.Secret().Encode())
			if err != nil {
				return api.ScoringModel{}, err
			}
			st, err := s.id.sign(attest.ContextScoringModel, f.Filing(a.now()))
			if err != nil {
				return api.ScoringModel{}, err
			}
			return result[api.ScoringModel](s.api.FileScoringModel(c.Context(), api.ScoringFiling{Statement: st, Sealed: sealed}))
		}, printScoringModel)
	})
}

func printScoringModel(w io.Writer, m api.ScoringModel) {
	state := map[string]string{"filed": "filed 已申报 " + m.Filed.Format("2006-01-02"), "approved": "approved 已准入 " + m.Approved.Format("2006-01-02"),
		"withdrawn": "withdrawn 已撤回 " + m.Withdrawn.Format("2006-01-02") + ": " + m.Reason}[m.State]
	fmt.Fprintf(w, "%s  %s  %s\n  of %s", m.ID, m.Link, state, m.Owner)
	if m.Title != "" {
		fmt.Fprintf(w, "; %s", m.Title)
	}
	if m.Trained != "" {
		fmt.Fprintf(w, "; trained as %s", m.Trained)
	}
	fmt.Fprintf(w, "; committed to %x\n", m.Commitment)
	for _, f := range m.Features {
		fmt.Fprintf(w, "  %-24s %g to %g %s\n", f.Name, f.Min, f.Max, f.Unit)
	}
}

func modelID(arg string) (sandbox.ModelID, error) {
	if err := sandbox.CheckID("model", arg); err != nil {
		return "", usageError{err}
	}
	return sandbox.ModelID(arg), nil
}

// openedModel gets a model with its weights, which the agency and the owner may read, and holds form and weights to the bytes that the owner signed: what
// is shown and approved is what stands in them.
func (a *app) openedModel(c *cobra.Command, s *session, id sandbox.ModelID) (api.ScoringModel, *he.Model, error) {
	m, err := result[api.ScoringModel](s.api.GetScoringModel(c.Context(), id))
	if err != nil {
		return m, nil, err
	}
	if len(m.Sealed) == 0 || m.Statement == nil {
		return m, nil, &sandbox.Error{Op: "he model", Kind: sandbox.Denied, Object: string(id), Detail: "its weights are for the agency and its owner, until it is withdrawn", Hint: "opdomain he model list shows its form"}
	}
	var f attest.ScoringModelFiling
	if _, err := strictly(m.Statement.Body, &f); err != nil || m.Statement.Context != attest.ContextScoringModel || scorecard.ID(f.Name, f.Version) != id {
		return m, nil, &sandbox.Error{Op: "he model", Kind: sandbox.Tampered, Object: string(id), Detail: "its filing is of this model"}
	}
	if err := scorecard.CheckForm(&f); err != nil {
		return m, nil, err
	}
	secret, err := s.id.keys.DecryptKey().OpenMessage(scorecard.Context, m.Sealed)
	if err != nil {
		return m, nil, err
	}
	opened, err := scorecard.Restore(&f, secret)
	digest := sm.Sum(m.Statement.Body)
	m.Name, m.Version, m.Title, m.Link, m.Features, m.Trained, m.Commitment, m.Filing = f.Name, f.Version, f.Title, f.Link, f.Features, f.Trained, f.Commitment, digest[:]
	return m, opened, refusedBy(err)
}

func (a *app) heModelShow() *cobra.Command {
	return verb("show MODEL", "Show a model with its weights, as the agency or its owner, held to what its owner committed to (查看模型)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		id, err := modelID(args[0])
		if err != nil {
			return err
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		m, x, err := a.openedModel(c, s, id)
		if err != nil {
			return err
		}
		m.Sealed, m.Statement = nil, nil
		return a.show(struct {
			api.ScoringModel
			Bias    float64   `json:"bias"`
			Weights []float64 `json:"weights"`
		}{m, x.Bias, x.Weights}, func(w io.Writer) {
			printScoringModel(w, m)
			fmt.Fprintf(w, "  bias %g\n", x.Bias)
			for i, f := range m.Features {
				fmt.Fprintf(w, "  weight of %-14s %g\n", f.Name, x.Weights[i])
			}
		})
	})
}

func (a *app) heModelApprove() *cobra.Command {
	return verb("approve MODEL", "As the agency, approve a filed model, whose weights are opened and checked here first (模型准入)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		id, err := modelID(args[0])
		if err != nil {
			return err
		}
		return get(a, func(s *session) (api.ScoringModel, error) {
			m, _, err := a.openedModel(c, s, id)
			if err != nil {
				return m, err
			}
			st, err := s.id.sign(attest.ContextScoringApproval, attest.ScoringModelApproval{Name: m.Name, Version: m.Version, Filing: m.Filing, At: a.now()})
			if err != nil {
				return m, err
			}
			return result[api.ScoringModel](s.api.ApproveScoringModel(c.Context(), id, st))
		}, printScoringModel)
	})
}

func (a *app) heModelWithdraw() *cobra.Command {
	var reason string
	c := verb("withdraw MODEL", "As the agency or its owner, end the use of a model at once; one that waits for approval is declined so (撤回)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		id, err := modelID(args[0])
		if err != nil {
			return err
		}
		at := strings.LastIndex(args[0], "-")
		if at < 1 {
			return usageError{invalid("MODEL", "e.g. credit-1.0.0, as opdomain he model list shows", "")}
		}
		return get(a, func(s *session) (api.ScoringModel, error) {
			st, err := s.id.sign(attest.ContextScoringWithdraw, attest.ScoringModelWithdrawal{Name: args[0][:at], Version: args[0][at+1:], Reason: reason, At: a.now()})
			if err != nil {
				return api.ScoringModel{}, err
			}
			return result[api.ScoringModel](s.api.WithdrawScoringModel(c.Context(), id, st))
		}, printScoringModel)
	})
	c.Flags().StringVar(&reason, "reason", "", "reason; goes into the evidence")
	must(c.MarkFlagRequired("reason"))
	return c
}

func (a *app) heModelList() *cobra.Command {
	return verb("list", "List the scoring models that were filed, with the features and ranges that an asker's file needs", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]api.ScoringModel, error) {
			return result[[]api.ScoringModel](s.api.ListScoringModels(c.Context()))
		}, func(w io.Writer, all []api.ScoringModel) {
			for _, m := range all {
				printScoringModel(w, m)
			}
		})
	})
}
