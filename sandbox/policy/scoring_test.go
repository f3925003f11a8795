package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/profile"
)

// TestScoring: who asks, under which grant, for which model, and for how many: each breach is named alone, with what would pass.
func TestScoring(t *testing.T) {
	p, err := profile.Load("longhua")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 4, 1, 8, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		name   string
		change func(*Facts, *grant.Scenario, *ScoringQuestion)
		want   []string
	}{
		{"allowed", nil, nil},
		{"an insurer", func(f *Facts, _ *grant.Scenario, _ *ScoringQuestion) {
			f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Insurer}
		}, nil},
		{"a partner", func(f *Facts, _ *grant.Scenario, _ *ScoringQuestion) {
			f.Asker = sandbox.Party{ID: "bank", Role: sandbox.Partner}
		}, nil},
		{"the last customer", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Customers, q.Today, q.Used = 1, 9, 99 }, nil},
		{"no facts", func(f *Facts, _ *grant.Scenario, _ *ScoringQuestion) { f.Now = time.Time{} }, []string{CodeIncomplete}},
		{"a unit", func(f *Facts, _ *grant.Scenario, _ *ScoringQuestion) { f.Asker.Role = sandbox.Unit }, []string{CodeRole}},
		{"no scenario", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Scenario = "other" }, []string{CodeScenario}},
		{"another insurer", func(f *Facts, _ *grant.Scenario, _ *ScoringQuestion) {
			f.Asker = sandbox.Party{ID: "other", Role: sandbox.Insurer}
		}, []string{CodeParty}},
		{"an insurer's name in another role", func(f *Facts, _ *grant.Scenario, _ *ScoringQuestion) {
			f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Partner}
		}, []string{CodeParty}},
		{"before it is signed", func(_ *Facts, g *grant.Scenario, _ *ScoringQuestion) { g.State = grant.UnitApproved }, []string{CodePending}},
		{"ended", func(_ *Facts, g *grant.Scenario, _ *ScoringQuestion) { g.State = grant.Ended }, []string{CodeEnded}},
		{"over", func(f *Facts, _ *grant.Scenario, _ *ScoringQuestion) { f.Now = at.AddDate(2, 0, 0) }, []string{CodeExpired}},
		{"another purpose", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Purpose = "marketing" }, []string{CodePurpose}},
		{"another model", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Model, q.Approved = "other-1.0.0", false }, []string{CodeModel}},
		{"not approved", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Approved = false }, []string{CodeModelUnknown}},
		{"withdrawn", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Withdrawn = true }, []string{CodeModelGone}},
		{"too many features in a batch", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Batch, q.Features = true, 61 }, []string{CodeModelForm}},
		{"a day's customers", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Customers, q.Today, q.Used = 2, 9, 9 }, []string{CodeModelPerDay}},
		{"all customers", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Customers, q.Used = 2, 99 }, []string{CodeModelTotal}},
		{"a batch over both", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Batch, q.Customers = true, 8192 }, []string{CodeModelPerDay, CodeModelTotal}},
		{"nobody", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Customers = 0 }, []string{CodeModelPerDay, CodeModelTotal}},
		{"less than nobody", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) { q.Customers = -1 << 62 }, []string{CodeModelPerDay, CodeModelTotal}},
		{"all at once", func(_ *Facts, _ *grant.Scenario, q *ScoringQuestion) {
			q.Purpose, q.Withdrawn, q.Customers, q.Today, q.Used = "x", true, 11, 5, 95
		}, []string{CodePurpose, CodeModelGone, CodeModelPerDay, CodeModelTotal}},
	} {
		g := &grant.Scenario{Application: grant.Application{ID: "s", Operator: "operator", Partners: []sandbox.PartyID{"bank"}, Insurers: []sandbox.PartyID{"insurer"}, Purpose: "credit",
			Models: []grant.ModelUse{{Model: "credit-1.0.0", PerDay: 10, Total: 100}}}, State: grant.Granted,
			Grant: &grant.Grant{ID: "g", Scenario: "s", NotBefore: at.Add(-time.Hour), NotAfter: at.AddDate(1, 0, 0)}}
		f := Facts{Now: at, Hosting: sandbox.P1, Profile: &p, Asker: sandbox.Party{ID: "operator", Role: sandbox.Operator}, Engine: sandbox.HE, Scenarios: map[sandbox.ScenarioID]*grant.Scenario{"s": g}}
		q := ScoringQuestion{Scenario: "s", Purpose: "credit", Model: "credit-1.0.0", Approved: true, Customers: 3, Features: 3, MaxBatch: 60}
		if x.change != nil {
			x.change(&f, g, &q)
		}
		d := DecideScoring(f, q)
		var codes []string
		for _, r := range d.Reasons {
			codes = append(codes, r.Code)
			if r.Rule == "" || r.Article == "" || r.Change == "" {
				t.Errorf("%s: %s lacks a rule, an article or a change", x.name, r.Code)
			}
			if !slices.Contains(append(Order(), ScoringOrder()...), r.Code) {
				t.Errorf("%s: %s stands in no list", x.name, r.Code)
			}
		}
		if !slices.Equal(codes, x.want) || d.Allow != (len(x.want) == 0) {
			t.Errorf("%s: %v, want %v", x.name, codes, x.want)
		}
	}
}
