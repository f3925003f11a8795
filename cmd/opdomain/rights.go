package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
)

func printScenario(w io.Writer, s grant.Scenario) {
	fmt.Fprintf(w, "%s  %s  purpose %s, state %s\n", s.ID, s.Title, s.Purpose, s.State)
	for _, st := range s.Steps {
		state := "waits"
		switch {
		case !st.Decided.IsZero() && st.Approve:
			state = "approved " + st.Decided.Format(time.DateTime)
		case !st.Decided.IsZero():
			state = "refused " + st.Decided.Format(time.DateTime) + ": " + st.Reason
		case !st.Due.IsZero():
			state = "due " + st.Due.Format(time.DateTime)
		}
		if st.Overdue {
			state += " (overdue 超期)"
		}
		fmt.Fprintf(w, "  %-9s %-18s %s\n", st.Name, st.Party, state)
	}
	var missing []string
	for _, p := range s.Unsigned() {
		missing = append(missing, string(p))
	}
	if len(missing) > 0 {
		fmt.Fprintf(w, "  unsigned: %s\n", strings.Join(missing, ", "))
	}
	if s.Grant != nil {
		fmt.Fprintf(w, "  grant %s from %s until %s\n", s.Grant.ID, s.Grant.NotBefore.Format(time.DateTime), s.Grant.NotAfter.Format(time.DateTime))
	}
}

// printList prints a scenario with its data list: what an owner decides on and signs.
func printList(w io.Writer, s grant.Scenario) {
	printScenario(w, s)
	for _, item := range s.List {
		for _, r := range item.Columns {
			fmt.Fprintf(w, "  %s.%s: %s\n", item.Dataset, r.Column, r.Text())
		}
	}
	for _, m := range s.Models {
		fmt.Fprintf(w, "  model 评分模型 %s: %d customers a day, %d in all\n", m.Model, m.PerDay, m.Total)
	}
	if s.PartnerRuns > 0 {
		fmt.Fprintf(w, "  runs of parties' secret models 保密模型运行: %d in all\n", s.PartnerRuns)
	}
}

func (a *app) grantCommand() *cobra.Command {
	var path, reason string
	var refuse bool
	file := verb("file", "File a scenario with its data list (场景申请)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var app grant.Application
		if err := a.readJSON(path, &app); err != nil {
			return err
		}
		return get(a, func(s *session) (grant.Scenario, error) {
			return result[grant.Scenario](s.api.FileScenario(c.Context(), app))
		}, printScenario)
	})
	file.Flags().StringVar(&path, "file", "", "JSON application")
	must(file.MarkFlagRequired("file"))
	list := verb("list", "List your scenarios", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return get(a, func(s *session) ([]grant.Scenario, error) {
			return result[[]grant.Scenario](s.api.ListScenarios(c.Context()))
		},
			func(w io.Writer, all []grant.Scenario) {
				for _, s := range all {
					printScenario(w, s)
				}
			})
	})
	one := verb("show SCENARIO", "Show one scenario with the rules of its data list", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (grant.Scenario, error) {
			return result[grant.Scenario](s.api.GetScenario(c.Context(), sandbox.ScenarioID(args[0])))
		}, printList)
	})
	decide := verb("decide SCENARIO", "Approve, or refuse with --refuse, the step that waits for your party (审核)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (grant.Scenario, error) {
			sc, err := result[grant.Scenario](s.api.GetScenario(c.Context(), sandbox.ScenarioID(args[0])))
			if err != nil {
				return sc, err
			}
			// Over what was shown, not over a digest that came with it.
			d := attest.ScenarioDecision{Scenario: sc.ID, ListDigest: grant.ListDigest(sc.List), Party: s.id.Party, Approve: !refuse, Reason: reason, At: a.now()}
			for _, st := range sc.Open() {
				if st.Party == s.id.Party {
					d.Step = st.Name
				}
			}
			if d.Step == "" {
				return sc, &sandbox.Error{Op: "grant", Kind: sandbox.Conflict, Object: string(sc.ID), Detail: "no step waits for your party", Hint: "opdomain grant show " + string(sc.ID)}
			}
			st, err := s.id.sign(attest.ContextDecision, d)
			if err != nil {
				return sc, err
			}
			return result[grant.Scenario](s.api.DecideScenario(c.Context(), sc.ID, st))
		}, printScenario)
	})
	decide.Flags().BoolVar(&refuse, "refuse", false, "refuse instead of approving")
	decide.Flags().StringVar(&reason, "reason", "", "reason; needed for a refusal")
	sign := verb("sign SCENARIO", "Sign the service agreement (签署服务协议)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (grant.Scenario, error) {
			sc, err := result[grant.Scenario](s.api.GetScenario(c.Context(), sandbox.ScenarioID(args[0])))
			if err != nil {
				return sc, err
			}
			st, err := s.id.sign(attest.ContextAgreement, attest.AgreementSignature{Scenario: sc.ID, Digest: grant.AgreementDigest(sc.Application, sc.Units()), Party: s.id.Party, At: a.now()})
			if err != nil {
				return sc, err
			}
			return result[grant.Scenario](s.api.SignAgreement(c.Context(), sc.ID, st))
		}, printScenario)
	})
	return group("grant", "Scenario, approvals, agreement, grant (一场景一清单一授权)", file, list, one, decide, sign)
}

// consentFile is what consent give reads: the parts of a receipt a person decides, and the claim it is about.
type consentFile struct {
	ID       sandbox.ConsentID  `json:"id"`
	Grantee  sandbox.PartyID    `json:"grantee"`
	Scenario sandbox.ScenarioID `json:"scenario"`
	Purpose  string             `json:"purpose"`
	Dataset  sandbox.DatasetID  `json:"dataset"`
	Fields   []string           `json:"fields"`
	Claim    string             `json:"claim"` // claim number; travels sealed, is committed to by a salted digest
	Days     int                `json:"days"`
	MaxUses  int                `json:"max_uses"`
	Notice   string             `json:"notice"` // text the person was shown
	Version  string             `json:"notice_version"`
	Language string             `json:"language"`
}

func (a *app) consentCommand() *cobra.Command {
	printRecord := func(w io.Writer, r consent.Record) {
		fmt.Fprintf(w, "%s  %s: %s may ask for %s of %s under %s, %d of %d uses, until %s\n", r.Receipt.ID, r.State, r.Receipt.Grantee,
			strings.Join(r.Receipt.Fields, ", "), r.Receipt.Dataset, r.Receipt.Scenario, r.Uses, r.Receipt.MaxUses, r.Receipt.NotAfter.Format(time.DateTime))
	}
	var path string
	give := verb("give", "Sign a consent for one claim (个人授权)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var f consentFile
		if err := a.readJSON(path, &f); err != nil {
			return err
		}
		return get(a, func(s *session) (consent.Record, error) {
			ctx := c.Context()
			info, err := s.domain(ctx)
			if err != nil {
				return consent.Record{}, err
			}
			d, err := result[catalog.Dataset](s.api.GetDataset(ctx, f.Dataset))
			if err != nil {
				return consent.Record{}, err
			}
			salt := make([]byte, consent.SaltSize)
			if _, err := io.ReadFull(a.rand, salt); err != nil {
				return consent.Record{}, err
			}
			commitment, err := consent.Commitment(salt, []byte(f.Claim))
			if err != nil {
				return consent.Record{}, err
			}
			shown, now := sm.Sum([]byte(f.Notice)), a.now()
			st, err := s.id.sign(attest.ContextConsent, attest.Receipt{ID: f.ID, Subject: s.id.ID, Grantee: f.Grantee, Unit: d.Unit, Scenario: f.Scenario, Purpose: f.Purpose,
				Dataset: f.Dataset, Fields: f.Fields, Claim: commitment, NotBefore: now, NotAfter: now.AddDate(0, 0, f.Days), MaxUses: f.MaxUses, Notice: shown[:],
				NoticeVersion: f.Version, Language: f.Language, Method: "sm2-signature", At: now})
			if err != nil {
				return consent.Record{}, err
			}
			sealed, err := s.seal(info, "opdomain/claim/v1", map[string]any{"claim": f.Claim, "salt": salt})
			if err != nil {
				return consent.Record{}, err
			}
			return result[consent.Record](s.api.GiveConsent(ctx, api.ConsentRequest{Statement: st, Opening: sealed}))
		}, printRecord)
	})
	give.Flags().StringVar(&path, "file", "", "JSON: id, grantee, scenario, purpose, dataset, fields, claim, days, max_uses, notice, notice_version, language")
	must(give.MarkFlagRequired("file"))
	revoke := verb("revoke CONSENT", "Revoke a consent at once (撤回授权)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (consent.Record, error) {
			id := sandbox.ConsentID(args[0])
			st, err := s.id.sign(attest.ContextRevocation, attest.Revocation{Consent: id, At: a.now()})
			if err != nil {
				return consent.Record{}, err
			}
			return result[consent.Record](s.api.RevokeConsent(c.Context(), id, st))
		}, printRecord)
	})
	one := verb("show CONSENT", "Show a consent and its uses", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) (consent.Record, error) {
			return result[consent.Record](s.api.GetConsent(c.Context(), sandbox.ConsentID(args[0])))
		}, printRecord)
	})
	return group("consent", "A person's consents (个人授权)", give, revoke, one)
}
