package query

import (
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// TestStrictestOwnerWins: of everything a question uses, keys and the protected subject too, the strictest threshold holds, whichever
// owner asked for it, and nothing of what it does not use.
func TestStrictestOwnerWins(t *testing.T) {
	for _, c := range []struct {
		name          string
		rules         map[string]sandbox.ColumnRule // what is added, by dataset.column
		people, share int
	}{
		{"nobody asks", nil, 0, 0},
		{"one owner", map[string]sandbox.ColumnRule{"claims.amount": {MinSubjects: 20, MaxShare: 60}}, 20, 60},
		{"two owners, each stricter once", map[string]sandbox.ColumnRule{"claims.amount": {MinSubjects: 20, MaxShare: 60}, "persons.birth_date": {MinSubjects: 50, MaxShare: 80}}, 50, 60},
		{"a filter's column", map[string]sandbox.ColumnRule{"persons.sex": {MinSubjects: 40}}, 40, 0},
		{"a hidden key", map[string]sandbox.ColumnRule{"hospitals.hospital": {MinSubjects: 30}}, 30, 0},
		{"the protected subject", map[string]sandbox.ColumnRule{"claims.person_id": {MinSubjects: 70}}, 70, 0},
		{"the subject of a table that is joined by it", map[string]sandbox.ColumnRule{"persons.person_id": {MaxShare: 30}}, 0, 30},
		{"the subject of a table that is not", map[string]sandbox.ColumnRule{"hospitals.code": {MinSubjects: 70}}, 0, 0},
		{"a column that is not used", map[string]sandbox.ColumnRule{"claims.paid": {MinSubjects: 90, MaxShare: 5}}, 0, 0},
	} {
		list := rules()
		for i := range list {
			for j := range list[i].Columns {
				r := &list[i].Columns[j]
				add := c.rules[string(list[i].Dataset)+"."+r.Column]
				r.MinSubjects, r.MaxShare = add.MinSubjects, add.MaxShare
			}
		}
		d, reasons := Derive(good(), data(), list)
		if len(reasons) > 0 || d.MinSubjects != c.people || d.MaxShare != c.share {
			t.Errorf("%s: %d people, %d%%, %+v", c.name, d.MinSubjects, d.MaxShare, reasons)
		}
		// One cell over everything is held to the same.
		s := good()
		s.Dimensions = nil
		if g, _ := Derive(s, data(), list); c.rules["persons.birth_date"].MinSubjects == 0 && (g.MinSubjects != c.people || g.MaxShare != c.share) {
			t.Errorf("%s: over everything %d people, %d%%", c.name, g.MinSubjects, g.MaxShare)
		}
	}
	list := rules()
	list[0].Columns[0].MinSubjects = 70 // the subject, which a question over one table names nowhere
	s := good()
	s.Inputs, s.Filters, s.Dimensions = s.Inputs[:1], nil, nil
	if d, _ := Derive(s, data(), list); d.MinSubjects != 70 {
		t.Errorf("the protected subject's rule holds for %d people", d.MinSubjects)
	}
	list = rules()
	list[0].Columns[2].MinSubjects, list[0].Columns[2].MaxShare = 20, 60
	d, _ := Derive(good(), data(), list)
	for _, want := range []string{"claims.amount: grade 2 级; used for aggregate (sum, mean); its owner asks for 20 people a cell; its owner lets the largest hold 60% of a cell\n",
		"owners' thresholds 数源单位门限, at least 20 people in every cell, at most 60% of a cell with the largest, beside the district's\n"} {
		if text := d.Explain().Text(); !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// TestGradeBoundsARuleAfterwards: what was agreed at grade 1 is not allowed once detectors find more.
func TestGradeBoundsARuleAfterwards(t *testing.T) {
	in, list := numbers()
	list[0].Columns[2] = sandbox.ColumnRule{Column: "weight", Uses: []sandbox.Use{sandbox.UsePlain}}
	s := asking(Measure{Func: sandbox.Variance, Column: "a.weight"}, Measure{Func: sandbox.Max, Column: "a.weight"})
	for _, c := range []struct {
		detected sandbox.Grade
		code     string
	}{{sandbox.Grade1, ""}, {sandbox.Grade2, "column.grade"}, {sandbox.Grade3, "column.grade"}} {
		w, _ := func() (*catalog.Column, bool) { d := in["n"]; return d.Column("weight") }()
		w.Grade, w.Detected = sandbox.Grade1, c.detected
		d, reasons := Derive(s, in, list)
		got := ""
		if len(reasons) > 0 {
			got = reasons[0].Code
		}
		if got != c.code {
			t.Errorf("detected grade %d: %+v", c.detected, reasons)
		}
		if c.code == "" && (!d.Outputs()[1].Structural || d.Outputs()[0].Structural) {
			t.Errorf("the extremes of a plain column: %+v", d.Outputs())
		}
	}
}

// TestStructuralExtremes: only the measured column's own rule lets a least or greatest value leave.
func TestStructuralExtremes(t *testing.T) {
	in, list := numbers()
	s := asking(Measure{Func: sandbox.Min, Column: "a.days"}, Measure{Func: sandbox.Max, Column: "a.visits"}, Measure{Func: sandbox.Sum, Column: "a.days"})
	for i := range list[0].Columns {
		list[0].Columns[i].Structural = list[0].Columns[i].Column == "days"
	}
	d, reasons := Derive(s, in, list)
	if len(reasons) > 0 {
		t.Fatal(reasons)
	}
	if o := d.Outputs(); !o[0].Structural || o[1].Structural || o[2].Structural {
		t.Errorf("%+v", o)
	}
	text := d.Explain().Text()
	if !strings.Contains(text, "m0 = min, 天; evidence 证据: people who hold the extreme; the owner's rule calls it structural\n") ||
		!strings.Contains(text, "m1 = max; evidence 证据: people who hold the extreme; redacted, since the rule does not call it structural\n") {
		t.Error(text)
	}
}

// TestNamesWithDots: "a.b" with a column c and "a" with a column b.c write alike and are two columns, each with its own grade.
func TestNamesWithDots(t *testing.T) {
	in := map[sandbox.DatasetID]catalog.Dataset{
		"a": {ID: "a", Subject: "id", SubjectKind: catalog.Opaque, Columns: []catalog.Column{{Name: "id", Type: catalog.Text, Grade: 1}, {Name: "b.c", Type: catalog.Int, Grade: 1}}},
		"a.b": {ID: "a.b", Subject: "id", SubjectKind: catalog.Opaque, Columns: []catalog.Column{{Name: "id", Type: catalog.Text, Grade: 1},
			{Name: "c", Type: catalog.Int, Grade: 3, Personal: true}}},
	}
	measured := func(c string, structural bool) sandbox.ColumnRule {
		return sandbox.ColumnRule{Column: c, Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Max}, Structural: structural}
	}
	id := sandbox.ColumnRule{Column: "id", Uses: []sandbox.Use{sandbox.UseJoin}}
	list := []sandbox.ListItem{{Dataset: "a", Columns: []sandbox.ColumnRule{id, measured("b.c", true)}}, {Dataset: "a.b", Columns: []sandbox.ColumnRule{id, measured("c", false)}}}
	s := Spec{Scenario: "s", Purpose: "p", Inputs: []Input{{Alias: "x", Dataset: "a"}, {Alias: "y", Dataset: "a.b", With: "x"}},
		Measures: []Measure{{Func: sandbox.Max, Column: "x.b.c", As: "m"}, {Func: sandbox.Max, Column: "y.c", As: "n"}}}
	d, reasons := Derive(s, in, list)
	if len(reasons) > 0 || len(d.Columns) != 4 || d.Highest != sandbox.Grade3 || !d.Personal {
		t.Fatalf("grade %d of %d columns, %+v", d.Highest, len(d.Columns), reasons)
	}
	for _, o := range d.Outputs() {
		if o.Structural {
			t.Errorf("%s takes the rule of a column that writes alike", o.Name)
		}
	}
}

func TestEstimate(t *testing.T) {
	in := data()
	for id, rows := range map[sandbox.DatasetID]int64{"claims": 1_000_000, "persons": 10_000, "hospitals": 100} {
		d := in[id]
		d.Card.Volume, d.Frequency, d.Rows = rows, catalog.Monthly, 999
		in[id] = d
	}
	s := good()
	s.Inputs[1].Join = LeftJoin
	d, reasons := Derive(s, in, rules())
	if len(reasons) > 0 {
		t.Fatal(reasons)
	}
	e := d.Estimate()
	claim, person, hospital := int64(16+8+16+16+4), int64(16+4+16), int64(16+8)
	want := Estimate{Rows: 1_000_000, BuildRows: 10_100, Columns: 8, RowBytes: int(claim), Bytes: 1_000_000*claim + 10_000*person + 100*hospital, Outputs: 4, Refreshed: catalog.Monthly}
	if e != want { // the level of a hospital is public: its labels are not listed, so the cells are not bounded
		t.Errorf("%+v\nwant %+v", e, want)
	}
	s.Dimensions = s.Dimensions[:2]
	if d, _ := Derive(s, in, rules()); d.Estimate().Cells != 3*4 { // chapter, other, missing; three ages and missing
		t.Errorf("%+v", d.Estimate())
	}
	if text := d.Explain().Text(); !strings.Contains(text, ", rows without a partner kept") {
		t.Error(text)
	}
}
