package grant

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

var (
	operator = sandbox.Party{ID: "op", Role: sandbox.Operator}
	agency   = sandbox.Party{ID: "agency", Role: sandbox.Agency}
	partner  = sandbox.Party{ID: "partner", Role: sandbox.Partner}
	insurer  = sandbox.Party{ID: "insurer", Role: sandbox.Insurer}
	unitA    = sandbox.Party{ID: "unit-a", Role: sandbox.Unit}
	unitB    = sandbox.Party{ID: "unit-b", Role: sandbox.Unit}
	start    = time.Date(2026, 3, 2, 9, 0, 0, 0, workflow.Shanghai()) // a Monday
)

func datasets() map[sandbox.DatasetID]catalog.Dataset {
	return map[sandbox.DatasetID]catalog.Dataset{
		"claims": {ID: "claims", Unit: "unit-b", Subject: "person", Columns: []catalog.Column{
			{Name: "person", Title: "person", Range: "any", Type: catalog.Text, Grade: 3, Personal: true},
			{Name: "icd10", Title: "icd10", Range: "any", Type: catalog.Text, Grade: 3},
			{Name: "amount", Title: "amount", Range: "any", Unit: "元", Type: catalog.Money, Grade: 2},
			{Name: "secret", Title: "secret", Range: "any", Type: catalog.Text, Grade: 4},
			{Name: "note", Title: "note", Range: "any", Type: catalog.Text, Grade: 2},
		}, Bins: []catalog.Bin{{ID: "chapter", Column: "icd10", Kind: catalog.Prefix}}},
		"persons": {ID: "persons", Unit: "unit-a", Subject: "person", Columns: []catalog.Column{
			{Name: "person", Title: "person", Range: "any", Type: catalog.Text, Grade: 3, Personal: true},
			{Name: "street", Title: "street", Range: "any", Type: catalog.Text, Grade: 1, Public: true},
		}},
	}
}

func application() Application {
	return Application{ID: "sc-1", Title: "理赔分析", Applicant: "partner", Operator: "op", Agency: "agency", Purpose: "health-planning", Description: "按病种统计",
		List: []sandbox.ListItem{
			{Dataset: "persons", Columns: []sandbox.ColumnRule{{Column: "street", Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter}}}},
			{Dataset: "claims", Columns: []sandbox.ColumnRule{
				{Column: "icd10", Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseConsent}},
				{Column: "amount", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum, sandbox.Mean}},
			}},
		},
		Partners: []sandbox.PartyID{"partner"}, Insurers: []sandbox.PartyID{"insurer"}, TermMonths: 24, Classes: []sandbox.Class{sandbox.ClassA, sandbox.ClassB},
		Terms: Terms{Calling: "统计查询", Fees: Fees{Standard: "区价目表", Method: "按次"}, Supervision: "按季检查", Secrecy: "不得外传"}}
}

func rules(t testing.TB, district string) *Rules {
	t.Helper()
	p, err := profile.Load(district)
	if err != nil {
		t.Fatal(err)
	}
	c, err := workflow.Official()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRules(p, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func file(t testing.TB, r *Rules) Scenario {
	t.Helper()
	s, err := r.File(application(), partner, datasets(), start)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func decision(s Scenario, step string, by sandbox.Party, yes bool, at time.Time) attest.ScenarioDecision {
	d := attest.ScenarioDecision{Scenario: s.ID, ListDigest: s.ListDigest, Step: step, Party: by.ID, Approve: yes, At: at}
	if !yes {
		d.Reason = "不符合要求"
	}
	return d
}

func decide(t testing.TB, r *Rules, s Scenario, step string, by sandbox.Party, yes bool, at time.Time) Scenario {
	t.Helper()
	n, err := r.Decide(s, decision(s, step, by, yes, at), by, at)
	if err != nil {
		t.Fatalf("%s by %s: %v", step, by.ID, err)
	}
	return n
}

func approved(t testing.TB, r *Rules) Scenario {
	t.Helper()
	s := decide(t, r, file(t, r), StepOperator, operator, true, start.AddDate(0, 0, 1))
	s = decide(t, r, s, StepAgency, agency, true, start.AddDate(0, 0, 2))
	s = decide(t, r, s, StepUnit, unitB, true, start.AddDate(0, 0, 3))
	return decide(t, r, s, StepUnit, unitA, true, start.AddDate(0, 0, 4))
}

func sign(s Scenario, by sandbox.Party, at time.Time) attest.AgreementSignature {
	return attest.AgreementSignature{Scenario: s.ID, Digest: s.AgreementDigest, Party: by.ID, At: at}
}

func granted(t testing.TB, r *Rules) Scenario {
	t.Helper()
	s := approved(t, r)
	at := start.AddDate(0, 0, 7)
	for _, p := range []sandbox.Party{unitB, operator, partner, unitA, agency} {
		var err error
		if s.State != UnitApproved || s.Grant != nil {
			t.Fatalf("%s before the last signature", s.State)
		}
		if s, err = r.SignAgreement(s, sign(s, p, at), p, at); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestFromFilingToGrant(t *testing.T) {
	r := rules(t, "futian")
	s := file(t, r)
	if s.State != Filed || !slices.Equal(s.Units(), []sandbox.PartyID{"unit-a", "unit-b"}) || len(s.Signatures) != 5 {
		t.Fatalf("%+v", s)
	}
	due := func(s Scenario) (out []string) {
		for _, st := range s.Open() {
			out = append(out, string(st.Party)+" "+st.Due.Format(time.DateOnly))
		}
		return out
	}
	if got := due(s); !slices.Equal(got, []string{"op 2026-03-09"}) {
		t.Error(got)
	}
	s = decide(t, r, s, StepOperator, operator, true, start.AddDate(0, 0, 1))
	if got := due(s); s.State != OperatorApproved || !slices.Equal(got, []string{"agency 2026-03-10"}) {
		t.Error(s.State, got)
	}
	s = decide(t, r, s, StepAgency, agency, true, start.AddDate(0, 0, 2))
	if got := due(s); s.State != AgencyApproved || !slices.Equal(got, []string{"unit-a 2026-03-11", "unit-b 2026-03-11"}) {
		t.Error(s.State, got)
	}
	s = decide(t, r, s, StepUnit, unitB, true, start.AddDate(0, 0, 3))
	if got := due(s); s.State != AgencyApproved || !slices.Equal(got, []string{"unit-a 2026-03-11"}) {
		t.Error(s.State, got)
	}

	s = granted(t, r)
	from := start.AddDate(0, 0, 7)
	if s.State != Granted || s.Grant == nil || !s.Grant.NotBefore.Equal(from) || !s.Grant.NotAfter.Equal(from.AddDate(2, 0, 0)) {
		t.Fatalf("%s, %+v", s.State, s.Grant)
	}
	if err := sandbox.CheckID("grant", string(s.Grant.ID)); err != nil {
		t.Error(err)
	}
	// The term, to the second and in any zone.
	for _, x := range []struct {
		at   time.Time
		live bool
	}{
		{from.Add(-time.Nanosecond), false}, {from, true}, {from.UTC(), true},
		{s.Grant.NotAfter.Add(-time.Second).In(time.FixedZone("", -11*3600)), true}, {s.Grant.NotAfter, false}, {s.Grant.NotAfter.UTC(), false},
	} {
		if s.Live(x.at) != x.live {
			t.Errorf("live at %v: %v", x.at, !x.live)
		}
	}
	if _, err := r.Expire(s, s.Grant.NotAfter.Add(-time.Second)); !errors.Is(err, sandbox.Conflict) {
		t.Error(err)
	}
	over, err := r.Expire(s, s.Grant.NotAfter)
	if err != nil || over.State != Expired || over.Live(from) || s.State != Granted {
		t.Error(over.State, err)
	}
	ended, err := r.End(s, "严重违规", agency, from.Add(time.Hour))
	if err != nil || ended.State != Ended || ended.Live(from.Add(2*time.Hour)) {
		t.Error(ended.State, err)
	}
	if _, err := r.End(s, "x", operator, from); !errors.Is(err, sandbox.Denied) {
		t.Error(err)
	}
	if _, err := r.End(s, "x", sandbox.Party{ID: "agency-2", Role: sandbox.Agency}, from); !errors.Is(err, sandbox.Denied) {
		t.Errorf("another agency: %v", err)
	}
	for _, reason := range []string{"", strings.Repeat("x", MaxText+1), "\xff"} {
		if _, err := r.End(s, reason, agency, from); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("a reason of %d bytes: %v", len(reason), err)
		}
	}
	if item, ok := s.Item("claims"); !ok || item.Dataset != "claims" {
		t.Error("the second dataset of the list is not found")
	}
	if _, err := r.End(s, " ", agency, from); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
	if _, err := r.End(over, "x", agency, from); !errors.Is(err, sandbox.Conflict) {
		t.Error(err)
	}
	if idle, err := r.End(approved(t, r), "长期未签署", agency, from); err != nil || idle.State != Ended {
		t.Error(idle.State, err)
	}
}

func TestOperatorsOwnApplication(t *testing.T) {
	r := rules(t, "longhua")
	a := application()
	a.Applicant, a.Partners = "op", nil
	s, err := r.File(a, operator, datasets(), start)
	if err != nil || len(s.Signatures) != 4 {
		t.Fatal(err, s.Signatures)
	}
}

// A week late is late, is said so, and is neither an approval nor a refusal.
func TestSilenceIsNeverConsent(t *testing.T) {
	r := rules(t, "futian")
	s := file(t, r)
	due := s.Steps[0].Due
	if len(s.Overdue(due)) != 0 || len(s.Overdue(due.Add(time.Second))) != 1 {
		t.Error("overdue is from the first second after the due time")
	}
	late := due.AddDate(0, 0, 7)
	if s.State != Filed || len(s.Overdue(late)) != 1 {
		t.Error("an overdue step does not stay pending")
	}
	s = decide(t, r, s, StepOperator, operator, true, late)
	if s.State != OperatorApproved || !s.Steps[0].Overdue || s.Steps[1].Overdue {
		t.Errorf("%+v", s.Steps)
	}
}

func TestOneRefusalRefusesTheWhole(t *testing.T) {
	r := rules(t, "guangming")
	s := decide(t, r, file(t, r), StepOperator, operator, true, start)
	s = decide(t, r, s, StepAgency, agency, true, start)
	s = decide(t, r, s, StepUnit, unitA, true, start)
	s = decide(t, r, s, StepUnit, unitB, false, start)
	if s.State != Refused || len(s.Open()) != 0 {
		t.Error(s.State)
	}
	if _, err := r.SignAgreement(s, sign(s, operator, start), operator, start); !errors.Is(err, sandbox.Conflict) {
		t.Error(err)
	}
}

// A unit that has decided does not decide again while the other unit thinks.
func TestDecisionsAreNotChanged(t *testing.T) {
	r := rules(t, "futian")
	s := decide(t, r, file(t, r), StepOperator, operator, true, start)
	s = decide(t, r, s, StepAgency, agency, true, start)
	s = decide(t, r, s, StepUnit, unitA, true, start)
	for _, yes := range []bool{true, false} {
		if n, err := r.Decide(s, decision(s, StepUnit, unitA, yes, start), unitA, start); !errors.Is(err, sandbox.Conflict) || !reflect.DeepEqual(n, s) {
			t.Errorf("a second decision, approve %v: %v", yes, err)
		}
	}
}

func TestNewRulesRefuses(t *testing.T) {
	p, err := profile.Load("futian")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewRules(p, nil); !errors.Is(err, sandbox.Unavailable) {
		t.Error(err)
	}
	c, err := workflow.Official()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewRules(profile.Profile{}, c); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
}

func TestDecideRefuses(t *testing.T) {
	r := rules(t, "futian")
	s := decide(t, r, file(t, r), StepOperator, operator, true, start)
	now := start.Add(time.Hour)
	for name, c := range map[string]struct {
		by     sandbox.Party
		change func(*attest.ScenarioDecision)
		kind   sandbox.Kind
	}{
		"another scenario":     {agency, func(d *attest.ScenarioDecision) { d.Scenario = "sc-2" }, sandbox.Conflict},
		"for another party":    {agency, func(d *attest.ScenarioDecision) { d.Party = "op" }, sandbox.Denied},
		"not its step":         {agency, func(d *attest.ScenarioDecision) { d.Step = StepUnit }, sandbox.Denied},
		"unknown step":         {agency, func(d *attest.ScenarioDecision) { d.Step = "Everything at once" }, sandbox.Denied},
		"unit out of turn":     {unitA, func(d *attest.ScenarioDecision) { d.Step, d.Party = StepUnit, "unit-a" }, sandbox.Conflict},
		"operator again":       {operator, func(d *attest.ScenarioDecision) { d.Step, d.Party = StepOperator, "op" }, sandbox.Conflict},
		"role is not the id":   {sandbox.Party{ID: "agency", Role: sandbox.Operator}, func(*attest.ScenarioDecision) {}, sandbox.Denied},
		"another list":         {agency, func(d *attest.ScenarioDecision) { d.ListDigest = ListDigest(nil) }, sandbox.Conflict},
		"no list":              {agency, func(d *attest.ScenarioDecision) { d.ListDigest = nil }, sandbox.Conflict},
		"before the filing":    {agency, func(d *attest.ScenarioDecision) { d.At = start.Add(-2 * Skew) }, sandbox.Invalid},
		"in the future":        {agency, func(d *attest.ScenarioDecision) { d.At = now.Add(2 * Skew) }, sandbox.Invalid},
		"refusal, no reason":   {agency, func(d *attest.ScenarioDecision) { d.Approve, d.Reason = false, " " }, sandbox.Invalid},
		"reason not UTF-8":     {agency, func(d *attest.ScenarioDecision) { d.Reason = "\xff" }, sandbox.Invalid},
		"a reason without end": {agency, func(d *attest.ScenarioDecision) { d.Reason = strings.Repeat("x", MaxText+1) }, sandbox.Invalid},
	} {
		d := decision(s, StepAgency, agency, true, now)
		c.change(&d)
		n, err := r.Decide(s, d, c.by, now)
		if !errors.Is(err, c.kind) || n.State != s.State || !reflect.DeepEqual(n, s) {
			t.Errorf("%s: %v, want %s and nothing changed", name, err, c.kind)
		}
		if err != nil && strings.Contains(err.Error(), "Everything") {
			t.Errorf("%s: the error repeats the statement's text: %v", name, err)
		}
	}
	s.State = Ended
	if _, err := r.Decide(s, decision(s, StepAgency, agency, true, now), agency, now); err == nil || !strings.Contains(err.Error(), "takes no decision") {
		t.Errorf("a decision on an ended scenario: %v", err)
	}
	if _, err := r.SignAgreement(s, sign(s, agency, now), agency, now); err == nil || !strings.Contains(err.Error(), "takes no signature") {
		t.Errorf("a signature on an ended scenario: %v", err)
	}
}

func TestSignAgreementRefuses(t *testing.T) {
	r := rules(t, "futian")
	s, now := approved(t, r), start.AddDate(0, 0, 5)
	s, err := r.SignAgreement(s, sign(s, operator, now), operator, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		by     sandbox.Party
		change func(*attest.AgreementSignature)
		kind   sandbox.Kind
	}{
		"an outsider":       {insurer, func(a *attest.AgreementSignature) { a.Party = "insurer" }, sandbox.Denied},
		"for another party": {agency, func(a *attest.AgreementSignature) { a.Party = "unit-a" }, sandbox.Denied},
		"twice":             {operator, func(a *attest.AgreementSignature) { a.Party = "op" }, sandbox.Conflict},
		"another agreement": {agency, func(a *attest.AgreementSignature) { a.Digest = s.ListDigest }, sandbox.Conflict},
		"another scenario":  {agency, func(a *attest.AgreementSignature) { a.Scenario = "sc-2" }, sandbox.Conflict},
		"wrong role":        {sandbox.Party{ID: "agency", Role: sandbox.Auditor}, func(*attest.AgreementSignature) {}, sandbox.Denied},
		"in the future":     {agency, func(a *attest.AgreementSignature) { a.At = now.Add(2 * Skew) }, sandbox.Invalid},
	} {
		a := sign(s, agency, now)
		c.change(&a)
		if n, err := r.SignAgreement(s, a, c.by, now); !errors.Is(err, c.kind) || !reflect.DeepEqual(n, s) {
			t.Errorf("%s: %v, want %s and nothing changed", name, err, c.kind)
		}
	}
}

// Every pair of states: which event by which role leads from one to the other.
func TestFlowEveryPair(t *testing.T) {
	m, err := Flow()
	if err != nil {
		t.Fatal(err)
	}
	want := map[[2]State][]string{
		{Filed, OperatorApproved}:          {"approve operator"},
		{Filed, Refused}:                   {"refuse operator"},
		{OperatorApproved, AgencyApproved}: {"approve agency"},
		{OperatorApproved, Refused}:        {"refuse agency"},
		{AgencyApproved, UnitApproved}:     {"approve unit"},
		{AgencyApproved, Refused}:          {"refuse unit"},
		{UnitApproved, Granted}:            {"sign agency", "sign operator", "sign partner", "sign unit"},
		{UnitApproved, Ended}:              {"end agency"},
		{Granted, Expired}:                 {"expire system"},
		{Granted, Ended}:                   {"end agency"},
	}
	for _, from := range m.States() {
		got := map[State][]string{}
		for _, on := range []Event{Approve, Refuse, Sign, Expire, End, "other"} {
			for _, who := range []sandbox.Role{sandbox.Agency, sandbox.Operator, sandbox.Partner, sandbox.Insurer, sandbox.Unit, sandbox.Subject, sandbox.Auditor, workflow.System} {
				if to, err := m.Next(from, on, who); err == nil {
					got[to] = append(got[to], string(on)+" "+string(who))
				}
			}
		}
		for _, to := range m.States() {
			slices.Sort(got[to])
			if !slices.Equal(got[to], want[[2]State{from, to}]) {
				t.Errorf("%s → %s by %v, want %v", from, to, got[to], want[[2]State{from, to}])
			}
		}
	}
}

func many[T ~string](n int) (out []T) {
	for i := range n {
		out = append(out, T(fmt.Sprintf("p%d", i)))
	}
	return out
}

func TestFileRefuses(t *testing.T) {
	r := rules(t, "futian")
	for name, c := range map[string]struct {
		change func(*Application)
		by     sandbox.Party
		place  string
		kind   sandbox.Kind
	}{
		"for another":          {func(a *Application) { a.Applicant = "op" }, partner, "partner", sandbox.Denied},
		"insurer files":        {func(a *Application) { a.Applicant = "insurer" }, insurer, "insurer", sandbox.Denied},
		"partner as operator":  {func(a *Application) { a.Operator, a.Partners = "partner", nil }, partner, "operator", sandbox.Invalid},
		"operator as partner":  {func(a *Application) { a.Applicant, a.Operator = "op", "op2" }, operator, "operator", sandbox.Invalid},
		"not among partners":   {func(a *Application) { a.Partners = []sandbox.PartyID{"other"} }, partner, "applicant", sandbox.Invalid},
		"id":                   {func(a *Application) { a.ID = "../x" }, partner, "scenario", sandbox.Invalid},
		"no secrecy clause":    {func(a *Application) { a.Terms.Secrecy = " " }, partner, "terms.secrecy", sandbox.Invalid},
		"no fee standard":      {func(a *Application) { a.Terms.Fees.Standard = "" }, partner, "terms.fees.standard", sandbox.Invalid},
		"not UTF-8":            {func(a *Application) { a.Title = "\xff" }, partner, "title", sandbox.Invalid},
		"agency operates":      {func(a *Application) { a.Agency = "op" }, partner, "operator", sandbox.Invalid},
		"agency is an insurer": {func(a *Application) { a.Insurers = []sandbox.PartyID{"agency"} }, partner, "insurers", sandbox.Invalid},
		"partner twice":        {func(a *Application) { a.Partners = append(a.Partners, "partner") }, partner, "partners", sandbox.Invalid},
		"partner and insurer":  {func(a *Application) { a.Insurers = []sandbox.PartyID{"partner"} }, partner, "insurers", sandbox.Invalid},
		"no class":             {func(a *Application) { a.Classes = nil }, partner, "classes", sandbox.Invalid},
		"class C":              {func(a *Application) { a.Classes = []sandbox.Class{sandbox.ClassC} }, partner, "classes", sandbox.Invalid},
		"no model":             {func(a *Application) { a.Models = []ModelUse{{Model: "../x", PerDay: 1, Total: 1}} }, partner, "model 1", sandbox.Invalid},
		"a model twice": {func(a *Application) {
			a.Models = []ModelUse{{Model: "m-1.0.0", PerDay: 1, Total: 1}, {Model: "m-1.0.0", PerDay: 2, Total: 2}}
		}, partner, "models m-1.0.0", sandbox.Invalid},
		"a model for nobody":     {func(a *Application) { a.Models = []ModelUse{{Model: "m-1.0.0", Total: 1}} }, partner, "models m-1.0.0", sandbox.Invalid},
		"more a day than in all": {func(a *Application) { a.Models = []ModelUse{{Model: "m-1.0.0", PerDay: 2, Total: 1}} }, partner, "models m-1.0.0", sandbox.Invalid},
		"a model without end":    {func(a *Application) { a.Models = []ModelUse{{Model: "m-1.0.0", PerDay: 2, Total: 1 << 40}} }, partner, "models m-1.0.0", sandbox.Invalid},
		"runs below none":        {func(a *Application) { a.PartnerRuns = -1 }, partner, "partner_runs", sandbox.Invalid},
		"too many runs":          {func(a *Application) { a.PartnerRuns = MaxRuns + 1 }, partner, "partner_runs", sandbox.Invalid},
		"runs without class A":   {func(a *Application) { a.PartnerRuns, a.Classes, a.Insurers = 1, []sandbox.Class{sandbox.ClassD}, nil }, partner, "partner_runs", sandbox.Invalid},
		"too many models":        {func(a *Application) { a.Models = make([]ModelUse, MaxModels+1) }, partner, "models", sandbox.Invalid},
		"B without insurers":     {func(a *Application) { a.Insurers = nil }, partner, "insurers", sandbox.Invalid},
		"term over the limit":    {func(a *Application) { a.TermMonths = 25 }, partner, "term_months", sandbox.Invalid},
		"no term":                {func(a *Application) { a.TermMonths = 0 }, partner, "term_months", sandbox.Invalid},
		"no list":                {func(a *Application) { a.List = nil }, partner, "list", sandbox.Invalid},
		"unregistered":           {func(a *Application) { a.List[0].Dataset = "ghosts" }, partner, "list ghosts", sandbox.Invalid},
		"listed twice":           {func(a *Application) { a.List = append(a.List, a.List[1]) }, partner, "list claims", sandbox.Invalid},
		"no columns":             {func(a *Application) { a.List[0].Columns = nil }, partner, "list persons", sandbox.Invalid},
		"unknown column":         {func(a *Application) { a.List[1].Columns[0].Column = "nothing" }, partner, "list claims.nothing", sandbox.Invalid},
		"column twice":           {func(a *Application) { a.List[1].Columns = append(a.List[1].Columns, a.List[1].Columns[1]) }, partner, "list claims.amount", sandbox.Invalid},
		"grade 4": {func(a *Application) {
			a.List[1].Columns[0] = sandbox.ColumnRule{Column: "secret", Uses: []sandbox.Use{sandbox.UseConsent}}
		}, partner, "list claims.secret", sandbox.Invalid},
		"no use":              {func(a *Application) { a.List[1].Columns[0].Uses = nil }, partner, "list claims.icd10", sandbox.Invalid},
		"unknown use":         {func(a *Application) { a.List[1].Columns[0].Uses = []sandbox.Use{"copy"} }, partner, "list claims.icd10", sandbox.Invalid},
		"use twice":           {func(a *Application) { a.List[1].Columns[0].Uses = []sandbox.Use{"group", "group"} }, partner, "list claims.icd10", sandbox.Invalid},
		"group without a bin": {func(a *Application) { a.List[1].Columns[0].Column = "note" }, partner, "list claims.note", sandbox.Invalid},
		"join on no key":      {func(a *Application) { a.List[1].Columns[0].Uses = []sandbox.Use{sandbox.UseJoin} }, partner, "list claims.icd10", sandbox.Invalid},
		"raw values":          {func(a *Application) { a.List[1].Columns[1].Funcs = []sandbox.MeasureFunc{sandbox.Plain} }, partner, "list claims.amount", sandbox.Invalid},
		"no function":         {func(a *Application) { a.List[1].Columns[1].Funcs = nil }, partner, "list claims.amount", sandbox.Invalid},
		"long title":          {func(a *Application) { a.Title = strings.Repeat("x", MaxText+1) }, partner, "title", sandbox.Invalid},
		"many partners":       {func(a *Application) { a.Partners = many[sandbox.PartyID](MaxParties + 1) }, partner, "partners", sandbox.Invalid},
		"class twice":         {func(a *Application) { a.Classes = append(a.Classes, sandbox.ClassA) }, partner, "classes", sandbox.Invalid},
		"many datasets":       {func(a *Application) { a.List = slices.Repeat(a.List[:1], MaxItems+1) }, partner, "list", sandbox.Invalid},
		"many columns":        {func(a *Application) { a.List[0].Columns = slices.Repeat(a.List[0].Columns, catalog.MaxColumns+1) }, partner, "list persons", sandbox.Invalid},
		"stray function":      {func(a *Application) { a.List[1].Columns[0].Funcs = []sandbox.MeasureFunc{sandbox.Count} }, partner, "list claims.icd10", sandbox.Invalid},
		"function twice":      {func(a *Application) { a.List[1].Columns[1].Funcs = []sandbox.MeasureFunc{sandbox.Sum, sandbox.Sum} }, partner, "list claims.amount", sandbox.Invalid},
		"sum of a text": {func(a *Application) {
			a.List[1].Columns[0] = sandbox.ColumnRule{Column: "icd10", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}}
		}, partner, "list claims.icd10", sandbox.Invalid},
		"consent without B": {func(a *Application) { a.Classes, a.Insurers = []sandbox.Class{sandbox.ClassA}, nil }, partner, "list claims.icd10", sandbox.Invalid},
		"unit as operator":  {func(a *Application) { a.Operator = "unit-a" }, partner, "list", sandbox.Invalid},
		"unit as agency":    {func(a *Application) { a.Agency = "unit-b" }, partner, "list", sandbox.Invalid},
		"unit as insurer":   {func(a *Application) { a.Insurers = append(a.Insurers, "unit-a") }, partner, "list", sandbox.Invalid},
		"unit as partner":   {func(a *Application) { a.Partners = append(a.Partners, "unit-a") }, partner, "list", sandbox.Invalid},
	} {
		a := application()
		c.change(&a)
		_, err := r.File(a, c.by, datasets(), start)
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.Object != c.place {
			t.Errorf("%s: %v does not name %s as %s", name, err, c.place, c.kind)
		}
	}
	asksModel := application()
	asksModel.Classes = append(asksModel.Classes, sandbox.ClassD)
	// Of a dataset whose rows stay with a party that computes over shares, grade 4 is listed for what shares answer.
	for use, ok := range map[sandbox.Use]bool{sandbox.UseAggregate: true, sandbox.UseConsent: false, sandbox.UseFilter: false} {
		a := application()
		a.List[1].Columns[0] = sandbox.ColumnRule{Column: "secret", Uses: []sandbox.Use{use}}
		if use == sandbox.UseAggregate {
			a.List[1].Columns[0].Funcs = []sandbox.MeasureFunc{sandbox.Count}
		}
		for _, claims := range []bool{true, false} {
			away := *r
			away.Outside = func(d sandbox.DatasetID) bool { return claims == (d == "claims") }
			if _, err := away.File(a, partner, datasets(), start); (err == nil) != (ok && claims) {
				t.Errorf("grade 4 for %s, outside %t: %v", use, claims, err)
			}
		}
	}
	if _, err := r.File(asksModel, partner, datasets(), start); err != nil {
		t.Errorf("class D: %v", err)
	}
	if _, err := r.File(application(), partner, datasets(), time.Date(2026, 12, 30, 9, 0, 0, 0, workflow.Shanghai())); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a due date in a year without a notice: %v", err)
	}
	// The same two years and one month pass where the district agrees on five.
	a := application()
	a.TermMonths = 25
	if _, err := rules(t, "longhua").File(a, partner, datasets(), start); err != nil {
		t.Error(err)
	}
}

// Lists that allow the same have one digest; any change of what is allowed has another.
func TestListDigestLaws(t *testing.T) {
	base := application().List
	want := ListDigest(base)
	shuffled := slices.Clone(base)
	slices.Reverse(shuffled)
	for i := range shuffled {
		shuffled[i].Columns = slices.Clone(shuffled[i].Columns)
		slices.Reverse(shuffled[i].Columns)
		for j := range shuffled[i].Columns {
			shuffled[i].Columns[j].Uses = slices.Clone(shuffled[i].Columns[j].Uses)
			slices.Reverse(shuffled[i].Columns[j].Uses)
		}
	}
	if !slices.Equal(ListDigest(shuffled), want) {
		t.Error("the order of a list changes its digest")
	}
	if !reflect.DeepEqual(base, application().List) {
		t.Error("taking a digest changed the list")
	}
	rapid.Check(t, func(t *rapid.T) {
		list := application().List
		i := rapid.IntRange(0, len(list)-1).Draw(t, "item")
		j := rapid.IntRange(0, len(list[i].Columns)-1).Draw(t, "column")
		switch rapid.IntRange(0, 4).Draw(t, "change") {
		case 0:
			list[i].Dataset += "x"
		case 1:
			list[i].Columns[j].Column += "x"
		case 2:
			list[i].Columns[j].Uses = append(list[i].Columns[j].Uses, sandbox.UseJoin)
		case 3:
			list[i].Columns[j].Funcs = append(list[i].Columns[j].Funcs, sandbox.Count)
		case 4:
			list[i].Columns = slices.Delete(list[i].Columns, j, j+1)
		}
		if slices.Equal(ListDigest(list), want) {
			t.Fatal("a changed list has the same digest")
		}
	})
}

func TestAgreementDigestBindsEverything(t *testing.T) {
	units := []sandbox.PartyID{"unit-a", "unit-b"}
	want := AgreementDigest(application(), units)
	seen := map[string]bool{string(want): true}
	for name, change := range map[string]func(*Application){
		"term":     func(a *Application) { a.TermMonths++ },
		"fees":     func(a *Application) { a.Terms.Fees.Standard += "x" },
		"secrecy":  func(a *Application) { a.Terms.Secrecy += "x" },
		"purpose":  func(a *Application) { a.Purpose += "x" },
		"list":     func(a *Application) { a.List = a.List[:1] },
		"insurers": func(a *Application) { a.Insurers = append(a.Insurers, "second") },
		"models":   func(a *Application) { a.Models = []ModelUse{{Model: "m-1.0.0", PerDay: 1, Total: 2}} },
		"partners": func(a *Application) { a.Partners = append(a.Partners, "second") },
		"classes":  func(a *Application) { a.Classes = a.Classes[:1] },
	} {
		a := application()
		change(&a)
		d := string(AgreementDigest(a, units))
		if seen[d] {
			t.Errorf("%s is not bound", name)
		}
		seen[d] = true
	}
	if seen[string(AgreementDigest(application(), units[:1]))] {
		t.Error("the units are not bound")
	}
	if !slices.Equal(AgreementDigest(application(), []sandbox.PartyID{"unit-b", "unit-a"}), want) {
		t.Error("the order of the units changes the digest")
	}
}

func TestScenarioKeepsItsShapeInJSON(t *testing.T) {
	s := granted(t, rules(t, "futian"))
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Scenario
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(back)
	if string(again) != string(b) || !back.Live(start.AddDate(0, 0, 8)) {
		t.Error("a scenario is not the same after JSON")
	}
}

// TestOnlyWhatIsDescribedIsAuthorised: a listed column without its whole dictionary entry is refused, others are not asked for it;
// data that are not open are refused under Futian's profile, unless a legal basis is recorded, and not elsewhere.
func TestOnlyWhatIsDescribedIsAuthorised(t *testing.T) {
	try := func(district string, change func(d *catalog.Dataset)) error {
		r, in, a := rules(t, district), datasets(), application()
		d := in["claims"]
		d.Columns = slices.Clone(d.Columns)
		change(&d)
		in["claims"] = d
		_, err := r.File(a, sandbox.Party{ID: a.Applicant, Role: sandbox.Partner}, in, start)
		return err
	}
	column := func(name string, f func(c *catalog.Column)) func(*catalog.Dataset) {
		return func(d *catalog.Dataset) {
			c, ok := d.Column(name)
			if !ok {
				t.Fatal(name)
			}
			f(c)
		}
	}
	listed := application().List[0]
	for _, i := range application().List {
		if i.Dataset == "claims" {
			listed = i
		}
	}
	name := listed.Columns[0].Column
	for what, f := range map[string]func(c *catalog.Column){"title": func(c *catalog.Column) { c.Title = "" }, "range": func(c *catalog.Column) { c.Range, c.Values, c.Public = "", "", false }} {
		if err := try("longhua", column(name, f)); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "claims."+name) || !strings.Contains(err.Error(), "dictionary") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := try("longhua", column("note", func(c *catalog.Column) { c.Title = "" })); err != nil {
		t.Errorf("a column that is not listed: %v", err)
	}
	closed := func(d *catalog.Dataset) { d.Card.Openness = catalog.NotOpen }
	if err := try("futian", closed); !errors.Is(err, sandbox.Denied) || !strings.Contains(err.Error(), "第二条") {
		t.Errorf("not open: %v", err)
	}
	if err := try("futian", func(d *catalog.Dataset) { closed(d); d.Card.LegalBasis = "法律另有规定" }); err != nil {
		t.Errorf("not open, with a legal basis: %v", err)
	}
	for _, other := range []string{"longhua", "guangming"} {
		if err := try(other, closed); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// TestListedGrades: a scenario keeps the level of each listed column as it was filed, and says what of a later one it covers.
func TestListedGrades(t *testing.T) {
	s := file(t, rules(t, "futian"))
	want := []ListedGrade{{Dataset: "persons", Column: "street", Grade: 1}, {Dataset: "claims", Column: "icd10", Grade: 3}, {Dataset: "claims", Column: "amount", Grade: 2}}
	if !reflect.DeepEqual(s.Grades, want) {
		t.Fatalf("%+v", s.Grades)
	}
	if l, ok := s.Listed("claims.amount"); !ok || l != want[2] {
		t.Errorf("%+v %v", l, ok)
	}
	for _, at := range []string{"claims.secret", "claims", "persons.amount", "claims-amount", ""} {
		if _, ok := s.Listed(at); ok {
			t.Errorf("%q is listed", at)
		}
	}
	for _, c := range []struct {
		listed   ListedGrade
		grade    sandbox.Grade
		personal bool
		want     bool
	}{{ListedGrade{Grade: 2}, 2, false, true}, {ListedGrade{Grade: 2}, 1, false, true}, {ListedGrade{Grade: 2}, 3, false, false}, {ListedGrade{Grade: 3}, 3, true, false},
		{ListedGrade{Grade: 3, Personal: true}, 3, true, true}, {ListedGrade{Grade: 3, Personal: true}, 2, false, true}, {ListedGrade{Grade: 3, Personal: true}, 4, true, false}} {
		if got := c.listed.Covers(c.grade, c.personal); got != c.want {
			t.Errorf("%+v covers %d %v: %v", c.listed, c.grade, c.personal, got)
		}
	}
}
