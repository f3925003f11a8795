package grant

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// ruled is the datasets and application with a column of each grade, and rules that say everything.
func ruled() (map[sandbox.DatasetID]catalog.Dataset, Application) {
	in := datasets()
	d := in["claims"]
	d.Columns = append(slices.Clone(d.Columns),
		catalog.Column{Name: "site", Title: "site", Range: "any", Type: catalog.Text, Grade: 1, Public: true, JoinKey: true},
		catalog.Column{Name: "days", Title: "days", Range: "any", Unit: "天", Type: catalog.Int, Grade: 2},
		catalog.Column{Name: "died", Title: "died", Range: "any", Type: catalog.Bool, Grade: 3},
		catalog.Column{Name: "born", Title: "born", Range: "any", Type: catalog.Date, Grade: 3})
	d.Bins = append(slices.Clone(d.Bins), catalog.Bin{ID: "stay", Column: "days", Kind: catalog.Amount, Edges: []int64{7}}, catalog.Bin{ID: "year", Column: "born", Kind: catalog.Year})
	in["claims"] = d
	a := application()
	a.List[1].Columns = []sandbox.ColumnRule{
		{Column: "site", Uses: []sandbox.Use{sandbox.UsePlain, sandbox.UseReveal}},
		{Column: "days", Uses: []sandbox.Use{sandbox.UseAggregate, sandbox.UseGroup, sandbox.UseCompare}, Funcs: []sandbox.MeasureFunc{sandbox.Sum, sandbox.Max, sandbox.Histogram},
			Grantees: []sandbox.PartyID{"op", "partner"}, MinSubjects: 20, MaxShare: 60, NoFilterOn: []string{"persons.street", "claims.icd10"}, Compares: 3, PerDay: 100, Structural: true},
		{Column: "icd10", Uses: []sandbox.Use{sandbox.UseGroup}},
		{Column: "died", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Logistic}},
		{Column: "born", Uses: []sandbox.Use{sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseMapRaw, sandbox.UseCompare}, Funcs: []sandbox.MeasureFunc{sandbox.Distinct}},
		{Column: "note", Uses: []sandbox.Use{sandbox.UseNone}},
	}
	a.Classes, a.Insurers = []sandbox.Class{sandbox.ClassA}, nil
	return in, a
}

func TestRulesAreFiled(t *testing.T) {
	in, a := ruled()
	if _, err := rules(t, "futian").File(a, partner, in, start); err != nil {
		t.Fatal(err)
	}
}

func TestRulesRefused(t *testing.T) {
	r := rules(t, "futian")
	site, days, icd10, died, born, note := 0, 1, 2, 3, 4, 5
	for name, c := range map[string]struct {
		at     int
		change func(*sandbox.ColumnRule)
		place  string
	}{
		"none beside another":             {note, func(r *sandbox.ColumnRule) { r.Uses = append(r.Uses, sandbox.UseConsent) }, "note"},
		"plain at grade 2":                {days, func(r *sandbox.ColumnRule) { r.Uses = append(r.Uses, sandbox.UsePlain) }, "days"},
		"plain at grade 3":                {icd10, func(r *sandbox.ColumnRule) { r.Uses = []sandbox.Use{sandbox.UsePlain} }, "icd10"},
		"reveal of what is no key":        {days, func(r *sandbox.ColumnRule) { r.Uses = append(r.Uses, sandbox.UseReveal) }, "days"},
		"a plain subject":                 {site, func(r *sandbox.ColumnRule) { r.Column = "person"; r.Uses = []sandbox.Use{sandbox.UsePlain} }, "person"},
		"a revealed subject":              {site, func(r *sandbox.ColumnRule) { r.Column = "person"; r.Uses = []sandbox.Use{sandbox.UseReveal} }, "person"},
		"compare without a bin":           {site, func(r *sandbox.ColumnRule) { r.Uses = []sandbox.Use{sandbox.UseCompare, sandbox.UseGroup} }, "site"},
		"compare without group or filter": {days, func(r *sandbox.ColumnRule) { r.Uses = []sandbox.Use{sandbox.UseAggregate, sandbox.UseCompare} }, "days"},
		"a Map that sees who it is":       {site, func(r *sandbox.ColumnRule) { r.Column = "person"; r.Uses = []sandbox.Use{sandbox.UseMap} }, "person"},
		"map-raw of grade 2":              {days, func(r *sandbox.ColumnRule) { r.Uses = append(r.Uses, sandbox.UseMapRaw) }, "days"},
		"structural at grade 3":           {icd10, func(r *sandbox.ColumnRule) { r.Structural = true }, "icd10"},
		"groupings over the grade":        {days, func(r *sandbox.ColumnRule) { r.Compares = 5 }, "days"},
		"groupings without compare":       {icd10, func(r *sandbox.ColumnRule) { r.Compares = 2 }, "icd10"},
		"two people":                      {days, func(r *sandbox.ColumnRule) { r.MinSubjects = 2 }, "days"},
		"negative people":                 {days, func(r *sandbox.ColumnRule) { r.MinSubjects = -1 }, "days"},
		"the whole share":                 {days, func(r *sandbox.ColumnRule) { r.MaxShare = 100 }, "days"},
		"negative share":                  {days, func(r *sandbox.ColumnRule) { r.MaxShare = -5 }, "days"},
		"negative groupings":              {days, func(r *sandbox.ColumnRule) { r.Compares = -1 }, "days"},
		"negative day":                    {days, func(r *sandbox.ColumnRule) { r.PerDay = -1 }, "days"},
		"an endless day":                  {days, func(r *sandbox.ColumnRule) { r.PerDay = sandbox.MaxPerDay + 1 }, "days"},
		"a stranger's grant":              {days, func(r *sandbox.ColumnRule) { r.Grantees = []sandbox.PartyID{"stranger"} }, "days"},
		"the agency's grant":              {days, func(r *sandbox.ColumnRule) { r.Grantees = []sandbox.PartyID{"agency"} }, "days"},
		"a grantee twice":                 {days, func(r *sandbox.ColumnRule) { r.Grantees = []sandbox.PartyID{"op", "op"} }, "days"},
		"no such column to keep from":     {days, func(r *sandbox.ColumnRule) { r.NoFilterOn = []string{"claims.nothing"} }, "days"},
		"no such table to keep from":      {days, func(r *sandbox.ColumnRule) { r.NoFilterOn = []string{"ghosts.street"} }, "days"},
		"a bare column to keep from":      {days, func(r *sandbox.ColumnRule) { r.NoFilterOn = []string{"street"} }, "days"},
		"kept from twice":                 {days, func(r *sandbox.ColumnRule) { r.NoFilterOn = []string{"claims.icd10", "claims.icd10"} }, "days"},
		"unknown noise":                   {days, func(r *sandbox.ColumnRule) { r.Noise.Kind = "blurred" }, "days"},
		"noise without a kind":            {days, func(r *sandbox.ColumnRule) { r.Noise.Cells = 1 }, "days"},
		"dp without ε":                    {days, func(r *sandbox.ColumnRule) { r.Noise = sandbox.Noise{Kind: sandbox.NoiseDP} }, "days"},
		"linear of a bool":                {died, func(r *sandbox.ColumnRule) { r.Funcs = []sandbox.MeasureFunc{sandbox.Linear} }, "died"},
		"quantile of a date":              {born, func(r *sandbox.ColumnRule) { r.Funcs = []sandbox.MeasureFunc{sandbox.Quantile} }, "born"},
		"histogram of years":              {born, func(r *sandbox.ColumnRule) { r.Funcs = []sandbox.MeasureFunc{sandbox.Histogram} }, "born"},
		"distinct raw values": {note, func(r *sandbox.ColumnRule) {
			r.Uses, r.Funcs = []sandbox.Use{sandbox.UseAggregate}, []sandbox.MeasureFunc{sandbox.Distinct}
		}, "note"},
		"an unknown function": {days, func(r *sandbox.ColumnRule) { r.Funcs = []sandbox.MeasureFunc{"median"} }, "days"},
	} {
		in, a := ruled()
		c.change(&a.List[1].Columns[c.at])
		_, err := r.File(a, partner, in, start)
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Kind != sandbox.Invalid || e.Object != "list claims."+c.place {
			t.Errorf("%s: %v does not name %s", name, err, c.place)
		}
	}
}

// TestEveryFieldOfARuleIsSigned changes each field of a rule, those of later versions too: the list digest, over which the owner
// decides, and the agreement digest, which it signs, must both differ.
func TestEveryFieldOfARuleIsSigned(t *testing.T) {
	_, a := ruled()
	units := []sandbox.PartyID{"unit-a", "unit-b"}
	list, agreement := ListDigest(a.List), AgreementDigest(a, units)
	typ := reflect.TypeFor[sandbox.ColumnRule]()
	for i := range typ.NumField() {
		_, b := ruled()
		f := reflect.ValueOf(&b.List[1].Columns[1]).Elem().Field(i)
		switch f.Kind() {
		case reflect.String:
			f.SetString(f.String() + "x")
		case reflect.Int:
			f.SetInt(f.Int() + 1)
		case reflect.Bool:
			f.SetBool(!f.Bool())
		case reflect.Slice:
			f.Set(f.Slice(0, f.Len()-1))
		case reflect.Struct:
			f.Set(reflect.ValueOf(sandbox.Noise{Kind: sandbox.NoisePerturbed}))
		default:
			t.Fatalf("%s: no way to change a %s", typ.Field(i).Name, f.Kind())
		}
		if slices.Equal(ListDigest(b.List), list) || slices.Equal(AgreementDigest(b, units), agreement) {
			t.Errorf("%s is not signed", typ.Field(i).Name)
		}
	}
	noise := reflect.TypeFor[sandbox.Noise]()
	digests := map[string]string{}
	for i := -1; i < noise.NumField(); i++ {
		_, b := ruled()
		n := &b.List[1].Columns[1].Noise
		*n = sandbox.Noise{Kind: sandbox.NoiseDP, Release: sandbox.Privacy{Epsilon: 1_000_000, Delta: 1000}, Bound: 1, Rows: 1, Cells: 1}
		name := "as it is"
		if i >= 0 {
			name = noise.Field(i).Name
			switch f := reflect.ValueOf(n).Elem().Field(i); f.Kind() {
			case reflect.String:
				f.SetString("dp2")
			case reflect.Struct:
				f.Set(reflect.ValueOf(sandbox.Privacy{Epsilon: 2_000_000, Delta: 1000}))
			default:
				f.SetInt(2)
			}
		}
		d := string(AgreementDigest(b, units))
		if other := digests[d]; other != "" {
			t.Errorf("noise: %s is signed like %s", name, other)
		}
		digests[d] = name
	}
	// Order within a rule says nothing.
	_, b := ruled()
	r := &b.List[1].Columns[1]
	slices.Reverse(r.Uses)
	slices.Reverse(r.Funcs)
	slices.Reverse(r.Grantees)
	slices.Reverse(r.NoFilterOn)
	if !slices.Equal(ListDigest(b.List), list) {
		t.Error("the order within a rule changes the digest")
	}
}

// TestDigestsAreOfWhatIsShown: whoever reads a scenario can compute both digests from what it shows.
func TestDigestsAreOfWhatIsShown(t *testing.T) {
	in, a := ruled()
	for _, a := range []Application{a, application()} {
		s, err := rules(t, "futian").File(a, partner, in, start)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(s)
		var shown Scenario
		if err != nil || json.Unmarshal(b, &shown) != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ListDigest(shown.List), s.ListDigest) || !slices.Equal(AgreementDigest(shown.Application, shown.Units()), s.AgreementDigest) {
			t.Error("a reader computes other digests")
		}
	}
}

// TestOwnerDecidesOverItsRules refuses a decision made over a list with one threshold less.
func TestOwnerDecidesOverItsRules(t *testing.T) {
	in, a := ruled()
	r := rules(t, "futian")
	s, err := r.File(a, partner, in, start)
	if err != nil {
		t.Fatal(err)
	}
	s = decide(t, r, s, StepOperator, operator, true, start.AddDate(0, 0, 1))
	s = decide(t, r, s, StepAgency, agency, true, start.AddDate(0, 0, 2))
	weaker := a
	b, _ := json.Marshal(a.List)
	weaker.List = nil
	if err := json.Unmarshal(b, &weaker.List); err != nil {
		t.Fatal(err)
	}
	weaker.List[1].Columns[1].MinSubjects = 0
	at := start.AddDate(0, 0, 3)
	d := attest.ScenarioDecision{Scenario: s.ID, ListDigest: ListDigest(weaker.List), Step: StepUnit, Party: "unit-b", Approve: true, At: at}
	if _, err := r.Decide(s, d, unitB, at); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a decision over weaker rules: %v", err)
	}
	d.ListDigest = ListDigest(a.List)
	if _, err := r.Decide(s, d, unitB, at); err != nil {
		t.Error(err)
	}
}
