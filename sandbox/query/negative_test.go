package query

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// attacked is what the questions of testdata/negative.txt are asked over: claims of one unit, persons of another, and marks, a table
// that the operator supplied itself.
func attacked() (map[sandbox.DatasetID]catalog.Dataset, []sandbox.ListItem) {
	text, money, number := catalog.Text, catalog.Money, catalog.Int
	claims := catalog.Dataset{ID: "claims", Unit: "unit-med", Subject: "person", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{
			{Name: "person", Type: text, Grade: 3, Personal: true},
			{Name: "icd10", Type: text, Grade: 3},
			{Name: "amount", Type: money, Grade: 2},
			{Name: "fund", Type: money, Grade: 3},
			{Name: "days", Type: number, Grade: 2},
			{Name: "ward", Type: text, Grade: 2, Public: true},
			{Name: "hospital", Type: text, Grade: 1, Public: true, JoinKey: true},
			{Name: "score", Type: number, Grade: 3},
		},
		Bins: []catalog.Bin{
			{ID: "chapter", Column: "icd10", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "呼吸", Codes: []string{"J"}}}},
			{ID: "letter", Column: "icd10", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "A", Codes: []string{"A"}}}},
			{ID: "size", Column: "amount", Kind: catalog.Amount, Edges: []int64{0, 10000}},
			{ID: "half", Column: "amount", Kind: catalog.Amount, Edges: []int64{0, 5000, 10000}},
			{ID: "third", Column: "amount", Kind: catalog.Amount, Edges: []int64{0, 3333, 6667, 10000}},
			{ID: "band", Column: "score", Kind: catalog.Amount, Edges: []int64{50}},
		}}
	persons := catalog.Dataset{ID: "persons", Unit: "unit-pop", Subject: "person", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{{Name: "person", Type: text, Grade: 3, Personal: true}, {Name: "sex", Type: text, Grade: 2, Public: true}}}
	marks := catalog.Dataset{ID: "marks", Unit: "op", Subject: "person", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{{Name: "person", Type: text, Grade: 2}, {Name: "mark", Type: text, Grade: 1, Public: true}, {Name: "weight", Type: number, Grade: 1},
			{Name: "hospital", Type: text, Grade: 1, JoinKey: true}}}
	hospitals := marks
	hospitals.ID, hospitals.Unit = "hospitals", "unit-med"
	rule := func(c string, uses ...sandbox.Use) sandbox.ColumnRule {
		return sandbox.ColumnRule{Column: c, Uses: uses}
	}
	measured := func(r sandbox.ColumnRule, f ...sandbox.MeasureFunc) sandbox.ColumnRule {
		r.Funcs = f
		return r
	}
	fund := measured(rule("fund", sandbox.UseAggregate), sandbox.Sum, sandbox.Mean, sandbox.Min, sandbox.Covariance)
	fund.MinSubjects, fund.MaxShare, fund.NoFilterOn = 30, 50, []string{"claims.ward", "claims.days", "persons.person"}
	all := []sandbox.ListItem{
		{Dataset: "claims", Columns: []sandbox.ColumnRule{
			rule("person", sandbox.UseJoin),
			measured(rule("icd10", sandbox.UseGroup, sandbox.UseAggregate), sandbox.Distinct),
			measured(rule("amount", sandbox.UseAggregate, sandbox.UseGroup, sandbox.UseFilter), sandbox.Sum, sandbox.Mean, sandbox.Min, sandbox.Max, sandbox.Covariance),
			fund,
			measured(rule("days", sandbox.UseAggregate), sandbox.Covariance, sandbox.Sum),
			rule("ward", sandbox.UseGroup, sandbox.UseFilter),
			rule("hospital", sandbox.UseReveal),
			rule("score", sandbox.UseNone),
		}},
		{Dataset: "persons", Columns: []sandbox.ColumnRule{rule("person", sandbox.UseJoin), {Column: "sex", Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter}, Grantees: []sandbox.PartyID{"op"}}}},
	}
	for _, d := range []sandbox.DatasetID{"marks", "hospitals"} {
		all = append(all, sandbox.ListItem{Dataset: d, Columns: []sandbox.ColumnRule{rule("person", sandbox.UseJoin), rule("mark", sandbox.UseGroup, sandbox.UseFilter),
			measured(rule("weight", sandbox.UseAggregate), sandbox.Covariance, sandbox.Sum), rule("hospital", sandbox.UseJoin)}})
	}
	return map[sandbox.DatasetID]catalog.Dataset{"claims": claims, "persons": persons, "marks": marks, "hospitals": hospitals}, all
}

// TestNegative asks the questions that give a single person away wherever thresholds stand alone, each beside an honest one of
// nearly the same words.
func TestNegative(t *testing.T) {
	in, list := attacked()
	refused, accepted := 0, 0
	datadriven.RunTest(t, "testdata/negative.txt", func(t *testing.T, td *datadriven.TestData) string {
		if td.Cmd == "decode" {
			_, err := Decode([]byte(td.Input))
			if err == nil {
				return "accepted\n"
			}
			refused++
			return err.Error() + "\n"
		}
		asker := sandbox.Party{ID: "op", Role: sandbox.Operator}
		if td.HasArg("asker") {
			td.ScanArgs(t, "asker", (*string)(&asker.ID))
		}
		if td.HasArg("affiliate") {
			var p string
			td.ScanArgs(t, "affiliate", &p)
			asker.Affiliates = []sandbox.PartyID{sandbox.PartyID(p)}
		}
		s, err := parseQuestion(td.Input)
		if err != nil {
			t.Fatalf("%s: %v", td.Pos, err)
		}
		d, reasons := DeriveFor(asker, s, in, list)
		if (len(reasons) == 0) != d.Complete() || d.Complete() == (td.Cmd == "refused") {
			t.Errorf("%s: %s, but %+v", td.Pos, td.Cmd, reasons)
		}
		var b strings.Builder
		for _, r := range reasons {
			fmt.Fprintf(&b, "%s %s: %s\n  change: %s\n", r.Code, r.Column, r.Rule, r.Change)
			if r.Article == "" || r.Change == "" {
				t.Errorf("%s: a reason without article or change", td.Pos)
			}
		}
		if len(reasons) > 0 {
			refused++
			return b.String()
		}
		accepted++
		fmt.Fprintf(&b, "opens %s", strings.Join(d.Inputs[0].Needed, ", "))
		if d.MinSubjects > 0 {
			fmt.Fprintf(&b, "; every cell has at least %d people, the largest hold at most %d%% of it", d.MinSubjects, d.MaxShare)
		}
		return b.String() + "\n"
	})
	if refused < 16 || accepted < 8 {
		t.Errorf("%d refused, %d accepted", refused, accepted)
	}
}

// parseQuestion reads the words of testdata/negative.txt.
func parseQuestion(text string) (Spec, error) {
	s := Spec{Scenario: "s", Purpose: "p"}
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 2 {
			return s, fmt.Errorf("%q", line)
		}
		switch w[0] {
		case "scan": // scan DATASET ALIAS
			s.Inputs = append(s.Inputs, Input{Alias: w[2], Dataset: sandbox.DatasetID(w[1])})
		case "join", "left": // join DATASET ALIAS WITH [KEY]
			in := Input{Alias: w[2], Dataset: sandbox.DatasetID(w[1]), With: w[3]}
			if w[0] == "left" {
				in.Join = LeftJoin
			}
			if len(w) > 4 {
				in.On = []Key{{w[4], w[4]}}
			}
			s.Inputs = append(s.Inputs, in)
		case "filter": // filter COLUMN BIN|- LABEL
			s.Filters = append(s.Filters, Filter{Column: w[1], Bin: bin(w[2]), In: w[3:]})
		case "by": // by COLUMN BIN|-
			s.Dimensions = append(s.Dimensions, Dimension{Column: w[1], Bin: bin(w[2]), As: "d" + strconv.Itoa(len(s.Dimensions))})
		case "measure": // measure FUNC [COLUMN [BIN|- [WITH…]]]
			m := Measure{Func: sandbox.MeasureFunc(w[1]), As: "m" + strconv.Itoa(len(s.Measures))}
			if len(w) > 2 {
				m.Column = w[2]
			}
			if len(w) > 3 {
				m.Bin, m.With = bin(w[3]), w[4:]
			}
			s.Measures = append(s.Measures, m)
		default:
			return s, fmt.Errorf("%q", line)
		}
	}
	return s, nil
}

func bin(w string) sandbox.BinID { return sandbox.BinID(strings.TrimPrefix(w, "-")) }
