package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/profile"
)

// TestJoint: who runs a secret model, over which result, with which features, and how often: each breach is named alone, with what would pass.
func TestJoint(t *testing.T) {
	p, err := profile.Load("longhua")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 4, 1, 8, 0, 0, 0, time.UTC)
	type change func(*Facts, *grant.Scenario, *JointQuestion)
	features := func(names ...string) change {
		return func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Features = names }
	}
	for _, x := range []struct {
		name   string
		change change
		want   []string
	}{
		{"allowed", nil, nil},
		{"the operator", func(f *Facts, _ *grant.Scenario, _ *JointQuestion) {
			f.Asker = sandbox.Party{ID: "operator", Role: sandbox.Operator}
		}, nil},
		{"the last run", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Used = 2 }, nil},
		{"no facts", func(f *Facts, _ *grant.Scenario, _ *JointQuestion) { f.Now = time.Time{} }, []string{CodeIncomplete}},
		{"an insurer", func(f *Facts, _ *grant.Scenario, _ *JointQuestion) {
			f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Insurer}
		}, []string{CodeRole}},
		{"no scenario", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Scenario = "other" }, []string{CodeScenario}},
		{"another partner", func(f *Facts, _ *grant.Scenario, _ *JointQuestion) { f.Asker.ID = "other" }, []string{CodeParty}},
		{"another purpose", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Purpose = "x" }, []string{CodePurpose}},
		{"another class", func(_ *Facts, g *grant.Scenario, _ *JointQuestion) { g.Classes = []sandbox.Class{sandbox.ClassD} }, []string{CodeClass}},
		{"over", func(f *Facts, _ *grant.Scenario, _ *JointQuestion) { f.Now = at.AddDate(2, 0, 0) }, []string{CodeExpired}},
		{"ended", func(_ *Facts, g *grant.Scenario, _ *JointQuestion) { g.State = grant.Ended }, []string{CodeEnded}},
		{"never agreed on", func(_ *Facts, g *grant.Scenario, q *JointQuestion) { g.PartnerRuns, q.Stands = 0, false }, []string{CodeJoint}},
		{"no result, and nothing said of it", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) {
			q.Stands, q.Source, q.Features, q.Opened = false, sandbox.Decision{}, nil, true
		}, []string{CodeJointResult}},
		{"a question of others", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) {
			q.Source = sandbox.Decision{Reasons: []sandbox.Reason{{Code: CodeGrantee}}}
		}, []string{CodeJointQuestion}},
		{"an affiliate of a unit", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Affiliated = true }, []string{CodeJointAffiliated}},
		{"a count", features("fee", "people"), []string{CodeJointFeatures}},
		{"a largest value", features("most"), []string{CodeJointFeatures}},
		{"not there", features("age"), []string{CodeJointFeatures}},
		{"twice", features("fee", "fee"), []string{CodeJointFeatures}},
		{"none", features(), []string{CodeJointFeatures}},
		{"no groups", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Groups = 0 }, []string{CodeJointForm}},
		{"many groups", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Groups = 65 }, []string{CodeJointForm}},
		{"five decimals", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Decimals = 5 }, []string{CodeJointForm}},
		{"a second run", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Opened = true }, []string{CodeJointOnce}},
		{"a run too many", func(_ *Facts, _ *grant.Scenario, q *JointQuestion) { q.Used = 3 }, []string{CodeJointTotal}},
		{"no bits", func(f *Facts, _ *grant.Scenario, _ *JointQuestion) { f.BitsUsed = f.Profile.Bits.PerGrant.Value }, []string{CodeBits}},
		{"all at once", func(f *Facts, _ *grant.Scenario, q *JointQuestion) {
			q.Source.Allow, q.Affiliated, q.Features, q.Groups, q.Opened, q.Used, f.BitsUsed = false, true, nil, 0, true, 9, f.Profile.Bits.PerGrant.Value
		}, []string{CodeJointQuestion, CodeJointAffiliated, CodeJointFeatures, CodeJointForm, CodeJointOnce, CodeJointTotal, CodeBits}},
	} {
		g := &grant.Scenario{Application: grant.Application{ID: "s", Operator: "operator", Partners: []sandbox.PartyID{"bank"}, Purpose: "credit", Classes: []sandbox.Class{sandbox.ClassA}, PartnerRuns: 3},
			State: grant.Granted, Grant: &grant.Grant{ID: "g", Scenario: "s", NotBefore: at.Add(-time.Hour), NotAfter: at.AddDate(1, 0, 0)}}
		f := Facts{Now: at, Hosting: sandbox.P1, Profile: &p, Asker: sandbox.Party{ID: "bank", Role: sandbox.Partner}, Engine: sandbox.HE, Scenarios: map[sandbox.ScenarioID]*grant.Scenario{"s": g}}
		q := JointQuestion{Scenario: "s", Purpose: "credit", Stands: true, Source: sandbox.Decision{Allow: true}, Features: []string{"fee", "rate"}, Groups: 4, Decimals: 2,
			Measures: []sandbox.Measure{{Name: "fee", Func: sandbox.Mean}, {Name: "people", Func: sandbox.Count}, {Name: "rate", Func: sandbox.Ratio}, {Name: "most", Func: sandbox.Max, Structural: true}}}
		if x.change != nil {
			x.change(&f, g, &q)
		}
		d := DecideJoint(f, q)
		var codes []string
		for _, r := range d.Reasons {
			codes = append(codes, r.Code)
			if r.Rule == "" || r.Article == "" || r.Change == "" {
				t.Errorf("%s: %s lacks a rule, an article or a change", x.name, r.Code)
			}
			if !slices.Contains(append(Order(), JointOrder()...), r.Code) {
				t.Errorf("%s: %s stands in no list", x.name, r.Code)
			}
		}
		if !slices.Equal(codes, x.want) || d.Allow != (len(x.want) == 0) {
			t.Errorf("%s: %v, want %v", x.name, codes, x.want)
		}
	}
}
