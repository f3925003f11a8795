package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/query"
)

var (
	zone = time.FixedZone("Asia/Shanghai", 8*3600)
	from = time.Date(2026, 3, 9, 9, 0, 0, 0, zone)
	end  = time.Date(2028, 3, 9, 9, 0, 0, 0, zone)
)

func datasets() map[sandbox.DatasetID]catalog.Dataset {
	claims := catalog.Dataset{ID: "claims", Unit: "unit-med", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 3, Personal: true},
			{Name: "icd10", Type: catalog.Text, Grade: 3},
			{Name: "amount", Type: catalog.Money, Grade: 2},
			{Name: "hospital", Type: catalog.Text, Grade: 1, Public: true},
			{Name: "ward", Type: catalog.Text, Grade: 2, Public: true},
		},
		Bins: []catalog.Bin{{ID: "chapter", Column: "icd10", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "呼吸", Codes: []string{"J"}}}}}}
	firms := catalog.Dataset{ID: "firms", Unit: "unit-trade", Frequency: catalog.Yearly, Subject: "firm", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "firm", Type: catalog.Text, Grade: 1},
			{Name: "trade", Type: catalog.Text, Grade: 1, Public: true, JoinKey: true},
			{Name: "turnover", Type: catalog.Money, Grade: 2},
		}}
	owners := catalog.Dataset{ID: "owners", Unit: "unit-trade", Frequency: catalog.Yearly, Subject: "person", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 3, Personal: true},
			{Name: "trade", Type: catalog.Text, Grade: 1, JoinKey: true},
			{Name: "region", Type: catalog.Text, Grade: 1, Public: true},
		}}
	return map[sandbox.DatasetID]catalog.Dataset{"claims": claims, "firms": firms, "owners": owners}
}

func scenario(id sandbox.ScenarioID) *grant.Scenario {
	return &grant.Scenario{
		Application: grant.Application{ID: id, Applicant: "op", Operator: "op", Agency: "agency", Purpose: "health-planning",
			Partners: []sandbox.PartyID{"partner"}, Insurers: []sandbox.PartyID{"insurer"}, TermMonths: 24, Classes: []sandbox.Class{sandbox.ClassA, sandbox.ClassB},
			List: []sandbox.ListItem{
				{Dataset: "claims", Columns: []sandbox.ColumnRule{
					{Column: "icd10", Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseConsent}},
					{Column: "amount", Uses: []sandbox.Use{sandbox.UseAggregate, sandbox.UseConsent}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}},
					{Column: "hospital", Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter}},
				}},
				{Dataset: "firms", Columns: []sandbox.ColumnRule{
					{Column: "trade", Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseJoin}},
					{Column: "turnover", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}},
				}},
				{Dataset: "owners", Columns: []sandbox.ColumnRule{
					{Column: "trade", Uses: []sandbox.Use{sandbox.UseJoin}},
					{Column: "region", Uses: []sandbox.Use{sandbox.UseGroup}},
				}},
			}},
		State: grant.Granted, Grant: &grant.Grant{ID: "g-1", Scenario: id, NotBefore: from, NotAfter: end},
	}
}

func facts(t testing.TB) Facts {
	t.Helper()
	p, err := profile.Load("futian")
	if err != nil {
		t.Fatal(err)
	}
	return Facts{Now: from.Add(time.Hour), Hosting: sandbox.P1, Profile: &p, Asker: sandbox.Party{ID: "op", Role: sandbox.Operator},
		Scenarios: map[sandbox.ScenarioID]*grant.Scenario{"sc-1": scenario("sc-1")}, Datasets: datasets(), Engine: sandbox.Domain}
}

func spec() query.Spec {
	return query.Spec{Scenario: "sc-1", Purpose: "health-planning", Inputs: []query.Input{{Alias: "c", Dataset: "claims"}},
		Dimensions: []query.Dimension{{Column: "c.icd10", Bin: "chapter", As: "chapter"}},
		Measures:   []query.Measure{{Func: sandbox.Subjects, As: "people"}, {Func: sandbox.Sum, Column: "c.amount", As: "cost"}}}
}

func aboutFirms() query.Spec {
	return query.Spec{Scenario: "sc-1", Purpose: "health-planning", Inputs: []query.Input{{Alias: "f", Dataset: "firms"}},
		Dimensions: []query.Dimension{{Column: "f.trade", As: "trade"}}, Measures: []query.Measure{{Func: sandbox.Sum, Column: "f.turnover", As: "sum"}}}
}

func codes(d sandbox.Decision) []string {
	var out []string
	for _, r := range d.Reasons {
		out = append(out, r.Code)
	}
	return out
}

// sound holds every decision to its form: allowed and no reason, or refused and whole reasons.
func sound(t interface {
	Helper()
	Errorf(string, ...any)
}, name string, d sandbox.Decision) {
	t.Helper()
	if d.Allow == (len(d.Reasons) > 0) {
		t.Errorf("%s: allow %v with %d reasons", name, d.Allow, len(d.Reasons))
	}
	for _, r := range d.Reasons {
		if r.Code == "" || r.Rule == "" || r.Article == "" || r.Change == "" {
			t.Errorf("%s: a reason lacks code, rule, article or change: %+v", name, r)
		}
	}
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Facts, *query.Spec)
		want   []string
		column string // of the first reason
	}{
		{"the granted question", func(*Facts, *query.Spec) {}, nil, ""},
		{"by the partner", func(f *Facts, _ *query.Spec) { f.Asker = sandbox.Party{ID: "partner", Role: sandbox.Partner} }, nil, ""},
		{"by the agency", func(f *Facts, _ *query.Spec) { f.Asker = sandbox.Party{ID: "agency", Role: sandbox.Agency} }, []string{CodeRole}, ""},
		{"by an insurer", func(f *Facts, _ *query.Spec) { f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Insurer} }, []string{CodeRole}, ""},
		{"by a unit", func(f *Facts, _ *query.Spec) { f.Asker = sandbox.Party{ID: "unit-med", Role: sandbox.Unit} }, []string{CodeRole}, ""},
		{"by nobody's role", func(f *Facts, _ *query.Spec) { f.Asker.Role = "" }, []string{CodeRole}, ""},
		{"by another operator", func(f *Facts, _ *query.Spec) { f.Asker.ID = "op-2" }, []string{CodeParty}, ""},
		{"by another partner", func(f *Facts, _ *query.Spec) { f.Asker = sandbox.Party{ID: "partner-2", Role: sandbox.Partner} }, []string{CodeParty}, ""},
		{"a partner's id with the operator's role", func(f *Facts, _ *query.Spec) { f.Asker.ID = "partner" }, []string{CodeParty}, ""},
		{"no such scenario", func(_ *Facts, s *query.Spec) { s.Scenario = "sc-9" }, []string{CodeScenario}, ""},
		{"another scenario's purpose", func(_ *Facts, s *query.Spec) { s.Purpose = "credit-scoring" }, []string{CodePurpose}, ""},
		{"before the term", func(f *Facts, _ *query.Spec) { f.Now = from.Add(-time.Second) }, []string{CodeNotYet}, ""},
		{"first instant", func(f *Facts, _ *query.Spec) { f.Now = from.UTC() }, nil, ""},
		{"last second", func(f *Facts, _ *query.Spec) { f.Now = end.Add(-time.Second) }, nil, ""},
		{"the term's end", func(f *Facts, _ *query.Spec) { f.Now = end.UTC() }, []string{CodeExpired}, ""},
		{"waits for the agency", func(f *Facts, _ *query.Spec) { f.Scenarios["sc-1"].State = grant.OperatorApproved }, []string{CodePending}, ""},
		{"waits for signatures", func(f *Facts, _ *query.Spec) { f.Scenarios["sc-1"].State = grant.UnitApproved }, []string{CodePending}, ""},
		{"granted without a grant", func(f *Facts, _ *query.Spec) { f.Scenarios["sc-1"].Grant = nil }, []string{CodeExpired}, ""},
		{"unknown state", func(f *Facts, _ *query.Spec) { f.Scenarios["sc-1"].State = "" }, []string{CodePending}, ""},
		{"refused", func(f *Facts, _ *query.Spec) { f.Scenarios["sc-1"].State = grant.Refused }, []string{CodeRefused}, ""},
		{"ended", func(f *Facts, _ *query.Spec) { f.Scenarios["sc-1"].State = grant.Ended }, []string{CodeEnded}, ""},
		{"class A not granted", func(f *Facts, _ *query.Spec) { f.Scenarios["sc-1"].Classes = []sandbox.Class{sandbox.ClassB} }, []string{CodeClass}, ""},
		{"raw rows", func(_ *Facts, s *query.Spec) { s.Measures[1].Func = sandbox.Plain }, []string{"rows.raw"}, "claims.amount"},
		{"column outside the list", func(_ *Facts, s *query.Spec) { s.Dimensions[0] = query.Dimension{Column: "c.ward", As: "ward"} }, []string{"column.not-listed"}, "claims.ward"},
		{"listed use exceeded", func(_ *Facts, s *query.Spec) { s.Measures[1].Func = sandbox.Mean }, []string{"column.func"}, "claims.amount"},
		{"grade 4 found at the last push", func(f *Facts, _ *query.Spec) {
			c := f.Datasets["claims"]
			c.Columns[1].Detected = sandbox.Grade4
		}, []string{CodeGrade}, "claims.icd10"},
		{"as agreed", func(f *Facts, _ *query.Spec) {
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "icd10", Grade: 3}, {Dataset: "claims", Column: "amount", Grade: 2}}
		}, nil, ""},
		{"raised since it was agreed", func(f *Facts, _ *query.Spec) {
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "icd10", Grade: 2}, {Dataset: "claims", Column: "amount", Grade: 2}}
		}, []string{CodeRaised}, "claims.icd10"},
		{"raised in a column not asked for", func(f *Facts, _ *query.Spec) {
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "hospital", Grade: 1}}
			f.Datasets["claims"].Columns[3].Detected = 2
		}, nil, ""},
		{"personal since it was agreed", func(f *Facts, _ *query.Spec) {
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "icd10", Grade: 3}}
			f.Datasets["claims"].Columns[1].Personal = true
		}, []string{CodeRaised}, "claims.icd10"},
		{"lowered since it was agreed", func(f *Facts, _ *query.Spec) {
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "icd10", Grade: 3, Personal: true}}
			f.Datasets["claims"].Columns[1].Grade = 1
		}, nil, ""},
		{"raised to 4", func(f *Facts, _ *query.Spec) {
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "icd10", Grade: 3}}
			f.Datasets["claims"].Columns[1].Detected = sandbox.Grade4
		}, []string{CodeGrade, CodeRaised}, "claims.icd10"},
		{"raised, under MPC", func(f *Facts, _ *query.Spec) {
			f.Engine = sandbox.MPC
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "icd10", Grade: 2}}
		}, []string{CodeRaised}, "claims.icd10"},
		{"operator-hosted", func(f *Facts, _ *query.Spec) { f.Hosting = sandbox.P2 }, []string{CodeGrade, CodeGrade}, "claims.icd10"},
		{"operator-hosted, firms only", func(f *Facts, s *query.Spec) { f.Hosting, *s = sandbox.P2, aboutFirms() }, nil, ""},
		{"operator-hosted, a count of people", func(f *Facts, s *query.Spec) {
			f.Hosting = sandbox.P2
			s.Dimensions, s.Measures = []query.Dimension{{Column: "c.hospital", As: "h"}}, s.Measures[:1]
		}, []string{CodeGrade}, "claims.person"},
		{"operator-hosted, a person's table joined by key and not counted", func(f *Facts, s *query.Spec) {
			f.Hosting, *s = sandbox.P2, aboutFirms()
			s.Inputs = append(s.Inputs, query.Input{Alias: "o", Dataset: "owners", With: "f", On: []query.Key{{Left: "trade", Right: "trade"}}})
			s.Dimensions[0] = query.Dimension{Column: "o.region", As: "region"}
		}, nil, ""},
		{"operator-hosted, district tightens", func(f *Facts, s *query.Spec) {
			f.Hosting, *s = sandbox.P2, aboutFirms()
			f.Profile.Engine.MaxGradeP2.Value = sandbox.Grade1
		}, []string{CodeGrade}, "firms.turnover"},
		{"operator-hosted under MPC", func(f *Facts, _ *query.Spec) { f.Hosting, f.Engine = sandbox.P2, sandbox.MPC }, nil, ""},
		{"district tightens", func(f *Facts, s *query.Spec) {
			f.Profile.Engine.MaxGradeP1.Value = sandbox.Grade1
			*s = aboutFirms()
		}, []string{CodeGrade}, "firms.turnover"},
		{"district does not bind MPC", func(f *Facts, s *query.Spec) {
			f.Profile.Engine.MaxGradeP1.Value, f.Engine = sandbox.Grade1, sandbox.MPC
			*s = aboutFirms()
		}, nil, ""},
		{"an opaque program", func(f *Facts, _ *query.Spec) { f.Engine = sandbox.Opaque }, []string{CodeEngine}, ""},
		{"an unknown engine", func(f *Facts, _ *query.Spec) { f.Engine = "gpu" }, []string{CodeEngine}, ""},
		{"a map over grade 3", func(f *Facts, _ *query.Spec) { f.Engine = sandbox.Map }, []string{CodeForm, CodeForm}, "claims.icd10"},
		{"last question of the budget", func(f *Facts, _ *query.Spec) { f.BitsUsed = 510 }, nil, ""},
		{"one bit over", func(f *Facts, _ *query.Spec) { f.BitsUsed = 511 }, []string{CodeBits}, ""},
		{"budget spent", func(f *Facts, _ *query.Spec) { f.BitsUsed = 1 << 62 }, []string{CodeBits}, ""},
		{"a counter below zero", func(f *Facts, _ *query.Spec) { f.BitsUsed = -1 }, []string{CodeBits}, ""},
		{"no time", func(f *Facts, _ *query.Spec) { f.Now = time.Time{} }, []string{CodeIncomplete}, ""},
		{"no profile", func(f *Facts, _ *query.Spec) { f.Profile = nil }, []string{CodeIncomplete}, ""},
		{"an empty profile", func(f *Facts, _ *query.Spec) { f.Profile = &profile.Profile{} }, []string{CodeIncomplete}, ""},
		{"no hosting", func(f *Facts, _ *query.Spec) { f.Hosting = "" }, []string{CodeIncomplete}, ""},
		{"no engine", func(f *Facts, _ *query.Spec) { f.Engine = "" }, []string{CodeIncomplete}, ""},
		{"no asker", func(f *Facts, _ *query.Spec) { f.Asker = sandbox.Party{Role: sandbox.Operator} }, []string{CodeIncomplete}, ""},
		{"no scenarios", func(f *Facts, _ *query.Spec) { f.Scenarios = nil }, []string{CodeScenario}, ""},
		{"no catalogue", func(f *Facts, _ *query.Spec) { f.Datasets = nil }, []string{"dataset.unknown"}, "claims"},
		{"everything wrong with one filing", func(f *Facts, s *query.Spec) {
			f.Now, s.Purpose, f.BitsUsed = end, "other", 512
			s.Dimensions[0] = query.Dimension{Column: "c.ward", As: "ward"}
		}, []string{CodeExpired, CodePurpose, "column.not-listed", CodeBits}, ""},
	} {
		f, s := facts(t), spec()
		c.change(&f, &s)
		d := Decide(f, s)
		sound(t, c.name, d)
		if got := codes(d); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if len(d.Reasons) > 0 && c.column != "" && d.Reasons[0].Column != c.column {
			t.Errorf("%s: the column at fault is %q, want %q", c.name, d.Reasons[0].Column, c.column)
		}
		if d.Class != sandbox.ClassA {
			t.Errorf("%s: class %q", c.name, d.Class)
		}
	}
}

func TestZeroDenies(t *testing.T) {
	for name, d := range map[string]sandbox.Decision{
		"no facts":           Decide(Facts{}, spec()),
		"nothing":            Decide(Facts{}, query.Spec{}),
		"no question":        Decide(facts(t), query.Spec{}),
		"no claim facts":     DecideClaim(Facts{}, ClaimQuestion{}),
		"no claim question":  DecideClaim(facts(t), ClaimQuestion{}),
		"claim by operator":  DecideClaim(facts(t), claim(t)),
		"empty scenario":     Decide(Facts{Scenarios: map[sandbox.ScenarioID]*grant.Scenario{"": {}}}, query.Spec{}),
		"scenario elsewhere": Decide(func() Facts { f := facts(t); f.Scenarios["sc-1"] = scenario("sc-2"); return f }(), spec()),
	} {
		if d.Allow || len(d.Reasons) == 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func claim(t testing.TB) ClaimQuestion {
	t.Helper()
	c, err := consent.Commitment([]byte("0123456789abcdef"), []byte("claim-1"))
	if err != nil {
		t.Fatal(err)
	}
	return ClaimQuestion{Scenario: "sc-1", Purpose: "health-planning", Dataset: "claims", Fields: []string{"icd10", "amount"}, Subject: "id-person", Claim: c,
		Consent: consent.Record{State: consent.Given, Given: from, Receipt: attest.Receipt{ID: "c-1", Subject: "id-person", Grantee: "insurer", Unit: "unit-med",
			Scenario: "sc-1", Purpose: "health-planning", Dataset: "claims", Fields: []string{"icd10", "amount"}, Claim: c, NotBefore: from, NotAfter: from.AddDate(0, 1, 0), MaxUses: 1}}}
}

// Both authorisations must be there: the unit's by the grant, the person's by the consent.
func TestDecideClaim(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Facts, *ClaimQuestion)
		want   []string
	}{
		{"the consented question", func(*Facts, *ClaimQuestion) {}, nil},
		{"one of the fields", func(_ *Facts, q *ClaimQuestion) { q.Fields = q.Fields[:1] }, nil},
		{"no consent", func(_ *Facts, q *ClaimQuestion) { q.Consent = consent.Record{} }, []string{consent.CodeNone}},
		{"no time", func(f *Facts, _ *ClaimQuestion) { f.Now = time.Time{} }, []string{CodeIncomplete}},
		{"no such scenario", func(_ *Facts, q *ClaimQuestion) { q.Scenario = "sc-9" }, []string{CodeScenario}},
		{"too many fields", func(_ *Facts, q *ClaimQuestion) {
			q.Fields = make([]string, consent.MaxFields+1)
		}, []string{CodeQuestion, consent.CodeFields}},
		{"district tightens: every field of a person counts as grade 3", func(f *Facts, q *ClaimQuestion) {
			f.Profile.Engine.MaxGradeP1.Value, q.Fields = sandbox.Grade2, []string{"amount"}
		}, []string{CodeGrade}},
		{"no unit", func(f *Facts, _ *ClaimQuestion) { f.Scenarios["sc-1"].State = grant.AgencyApproved }, []string{CodePending}},
		{"neither", func(f *Facts, q *ClaimQuestion) {
			f.Scenarios["sc-1"].State, q.Consent = grant.AgencyApproved, consent.Record{}
		}, []string{CodePending, consent.CodeNone}},
		{"by the operator", func(f *Facts, _ *ClaimQuestion) { f.Asker = sandbox.Party{ID: "op", Role: sandbox.Operator} }, []string{CodeRole}},
		{"by the agency", func(f *Facts, _ *ClaimQuestion) { f.Asker = sandbox.Party{ID: "agency", Role: sandbox.Agency} }, []string{CodeRole}},
		{"another insurer", func(f *Facts, _ *ClaimQuestion) { f.Asker.ID = "insurer-2" }, []string{CodeParty}},
		{"grant over", func(f *Facts, q *ClaimQuestion) {
			f.Now, q.Consent.Receipt.NotAfter = end, end.AddDate(1, 0, 0)
		}, []string{CodeExpired}},
		{"consent over", func(f *Facts, _ *ClaimQuestion) { f.Now = from.AddDate(0, 1, 0) }, []string{consent.CodeExpired}},
		{"last second of the consent", func(f *Facts, _ *ClaimQuestion) { f.Now = from.AddDate(0, 1, 0).Add(-time.Second).UTC() }, nil},
		{"revoked", func(_ *Facts, q *ClaimQuestion) { q.Consent.State = consent.Revoked }, []string{consent.CodeRevoked}},
		{"used", func(_ *Facts, q *ClaimQuestion) { q.Consent.Uses = 1 }, []string{consent.CodeUses}},
		{"another patient", func(_ *Facts, q *ClaimQuestion) { q.Subject = "id-other" }, []string{consent.CodeSubject}},
		{"another claim", func(_ *Facts, q *ClaimQuestion) { q.Claim = make([]byte, 32) }, []string{consent.CodeClaim}},
		{"another owner", func(_ *Facts, q *ClaimQuestion) { q.Consent.Receipt.Unit = "unit-trade" }, []string{consent.CodeDataset}},
		{"purpose of neither", func(_ *Facts, q *ClaimQuestion) { q.Purpose = "marketing" }, []string{CodePurpose, consent.CodePurpose}},
		{"class B not granted", func(f *Facts, _ *ClaimQuestion) { f.Scenarios["sc-1"].Classes = []sandbox.Class{sandbox.ClassA} }, []string{CodeClass}},
		{"no field", func(_ *Facts, q *ClaimQuestion) { q.Fields = nil }, []string{CodeQuestion, consent.CodeFields}},
		{"a field twice", func(_ *Facts, q *ClaimQuestion) { q.Fields = []string{"icd10", "icd10"} }, []string{CodeQuestion}},
		{"a field consented but not listed", func(_ *Facts, q *ClaimQuestion) {
			q.Fields = []string{"icd10", "ward"}
			q.Consent.Receipt.Fields = q.Fields
		}, []string{CodeColumn}},
		{"a field listed for statistics only", func(_ *Facts, q *ClaimQuestion) {
			q.Fields = []string{"hospital"}
			q.Consent.Receipt.Fields = q.Fields
		}, []string{CodeUse}},
		{"a field listed but not consented", func(_ *Facts, q *ClaimQuestion) { q.Consent.Receipt.Fields = []string{"icd10"} }, []string{consent.CodeFields}},
		{"no such field", func(_ *Facts, q *ClaimQuestion) { q.Fields = []string{"nothing"} }, []string{CodeUnknown, consent.CodeFields}},
		{"not a name", func(_ *Facts, q *ClaimQuestion) { q.Fields = []string{"* FROM"} }, []string{CodeUnknown, consent.CodeFields}},
		{"an unlisted dataset", func(f *Facts, q *ClaimQuestion) { f.Scenarios["sc-1"].List = f.Scenarios["sc-1"].List[1:] }, []string{CodeDataset}},
		{"an unknown dataset", func(f *Facts, _ *ClaimQuestion) { f.Datasets = nil }, []string{CodeDataset, consent.CodeDataset}},
		{"grade 4", func(f *Facts, _ *ClaimQuestion) { f.Datasets["claims"].Columns[1].Detected = sandbox.Grade4 }, []string{CodeGrade}},
		{"raised since it was agreed", func(f *Facts, _ *ClaimQuestion) {
			f.Scenarios["sc-1"].Grades = []grant.ListedGrade{{Dataset: "claims", Column: "icd10", Grade: 2}, {Dataset: "claims", Column: "amount", Grade: 2}}
		}, []string{CodeRaised}},
		{"operator-hosted", func(f *Facts, _ *ClaimQuestion) { f.Hosting = sandbox.P2 }, []string{CodeGrade, CodeGrade}},
		{"under MPC", func(f *Facts, _ *ClaimQuestion) { f.Engine = sandbox.MPC }, []string{CodeEngine}},
		{"bits are not spent on claims", func(f *Facts, _ *ClaimQuestion) { f.BitsUsed = 1 << 40 }, nil},
	} {
		f, q := facts(t), claim(t)
		f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Insurer}
		c.change(&f, &q)
		d := DecideClaim(f, q)
		sound(t, c.name, d)
		if got := codes(d); !slices.Equal(got, c.want) || d.Class != sandbox.ClassB {
			t.Errorf("%s: class %s, %v, want %v", c.name, d.Class, got, c.want)
		}
		for _, r := range d.Reasons {
			if r.Code == CodeUnknown && (r.Column != "") != (c.name == "no such field") {
				t.Errorf("%s: a reason repeats text that is not a name: %q", c.name, r.Column)
			}
		}
	}
}

// Whatever is wrong, reasons stand in the published order, and nothing with a reason is allowed.
func TestReasonsKeepTheOrder(t *testing.T) {
	order := append(Order(), consent.Order()...)
	rapid.Check(t, func(rt *rapid.T) {
		f, q := facts(t), claim(t)
		f.Asker = sandbox.Party{ID: "insurer", Role: sandbox.Insurer}
		f.Now = from.Add(time.Duration(rapid.Int64Range(-10, 1000).Draw(rt, "days")) * 24 * time.Hour)
		f.Hosting = rapid.SampledFrom([]sandbox.Hosting{sandbox.P1, sandbox.P2}).Draw(rt, "hosting")
		f.Engine = rapid.SampledFrom([]sandbox.Engine{sandbox.Domain, sandbox.MPC}).Draw(rt, "engine")
		f.Scenarios["sc-1"].State = rapid.SampledFrom([]grant.State{grant.Granted, grant.Filed, grant.Refused, grant.Ended}).Draw(rt, "state")
		q.Purpose = rapid.SampledFrom([]string{"health-planning", "other"}).Draw(rt, "purpose")
		q.Fields = rapid.SliceOfN(rapid.SampledFrom([]string{"icd10", "ward", "hospital", "nothing"}), 0, 4).Draw(rt, "fields")
		q.Consent.Uses = rapid.IntRange(0, 1).Draw(rt, "uses")
		d := DecideClaim(f, q)
		sound(rt, "drawn", d)
		last := -1
		for _, r := range d.Reasons {
			at := slices.Index(order, r.Code)
			if at < last {
				rt.Fatalf("%v is out of order", codes(d))
			}
			last = at
		}
	})
}

func TestVersionNamesRulesAndDistrict(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range profile.Names() {
		p, err := profile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		v := Version(p)
		if seen[v] || !strings.HasPrefix(v, Rules) || sandbox.CheckID("policy", v) != nil {
			t.Errorf("%q", v)
		}
		seen[v] = true
	}
}

func BenchmarkDecide(b *testing.B) {
	f, s := facts(b), spec()
	for i := range 1000 {
		id := sandbox.ScenarioID(fmt.Sprintf("sc-%d", i))
		f.Scenarios[id] = scenario(id)
	}
	s.Scenario = "sc-777"
	if d := Decide(f, s); !d.Allow {
		b.Fatal(d)
	}
	b.Run("allow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Decide(f, s)
		}
	})
	s.Purpose, f.Hosting = "other", sandbox.P2
	b.Run("refuse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Decide(f, s)
		}
	})
}

// TestModelIsDecidedForItsClass: a question of class D is held to every check of class A, with a grant for its own class; only the domain's engine gives it.
func TestModelIsDecidedForItsClass(t *testing.T) {
	s := spec()
	for name, c := range map[string]struct {
		change func(*Facts)
		want   []string
	}{
		"granted":         {func(f *Facts) { f.Scenarios["sc-1"].Classes = []sandbox.Class{sandbox.ClassD} }, nil},
		"granted A alone": {func(*Facts) {}, []string{CodeClass}},
		"under MPC": {func(f *Facts) {
			f.Scenarios["sc-1"].Classes, f.Engine = []sandbox.Class{sandbox.ClassD}, sandbox.MPC
		}, []string{CodeEngine}},
		"grade 4": {func(f *Facts) {
			f.Scenarios["sc-1"].Classes = []sandbox.Class{sandbox.ClassD}
			f.Datasets["claims"].Columns[1].Detected = sandbox.Grade4
		}, []string{CodeGrade}},
		"bits spent": {func(f *Facts) {
			f.Scenarios["sc-1"].Classes, f.BitsUsed = []sandbox.Class{sandbox.ClassD}, f.Profile.Bits.PerGrant.Value
		}, []string{CodeBits}},
	} {
		f := facts(t)
		c.change(&f)
		d, _ := EvaluateFor(f, s, sandbox.ClassD)
		sound(t, name, d)
		if !slices.Equal(codes(d), c.want) || d.Class != sandbox.ClassD {
			t.Errorf("%s: %v of class %s", name, codes(d), d.Class)
		}
	}
	f := facts(t)
	f.Scenarios["sc-1"].Classes, f.Hosting = []sandbox.Class{sandbox.ClassD}, sandbox.P2
	if _, x := ExplainFor(f, s, sandbox.ClassD); x.Engine.Engine != sandbox.Domain || x.Engine.Here || len(x.Engine.Columns) == 0 || len(x.Outputs) > 0 {
		t.Errorf("%+v", x.Engine)
	}
}
