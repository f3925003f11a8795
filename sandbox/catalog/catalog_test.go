package catalog

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

func valid() Dataset {
	return Dataset{ID: "ds-claims", Unit: "unit-med", Title: "医保结算", Frequency: Daily, Subject: "person_id", SubjectKind: ResidentID,
		Columns: []Column{
			{Name: "person_id", Type: Text, Grade: 3, Personal: true},
			{Name: "icd10", Type: Text, Grade: 3, Nullable: true},
			{Name: "birth_date", Type: Date, Grade: 2},
			{Name: "amount", Type: Money, Grade: 2, Unit: "元"},
		},
		Bins: []Bin{
			{ID: "age", Column: "birth_date", Kind: Age, Edges: []int64{18, 60}, At: "2026-01-01"},
			{ID: "chapter", Column: "icd10", Kind: Prefix, Groups: []Group{{Label: "呼吸", Codes: []string{"J"}}}},
			{ID: "size", Column: "amount", Kind: Amount, Edges: []int64{10000}},
			{ID: "year", Column: "birth_date", Kind: Year},
		}}
}

func TestValidate(t *testing.T) {
	d := valid()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Dataset)
		place  string
		rule   string
	}{
		"id":             {func(d *Dataset) { d.ID = "DS" }, "dataset", "identifier"},
		"frequency":      {func(d *Dataset) { d.Frequency = "hourly" }, "ds-claims", "frequency"},
		"no columns":     {func(d *Dataset) { d.Columns = nil }, "ds-claims", "columns"},
		"twice":          {func(d *Dataset) { d.Columns[1].Name = "amount" }, "ds-claims.amount", "unique"},
		"type":           {func(d *Dataset) { d.Columns[1].Type = "float" }, "ds-claims.icd10", "type"},
		"scale":          {func(d *Dataset) { d.Columns[3].Scale = 2 }, "ds-claims.amount", "scale"},
		"grade":          {func(d *Dataset) { d.Columns[2].Grade = 0 }, "ds-claims.birth_date", "grade"},
		"subject":        {func(d *Dataset) { d.Subject = "icd10" }, "ds-claims", "not nullable"},
		"subject kind":   {func(d *Dataset) { d.SubjectKind = "" }, "ds-claims", "subject kind"},
		"record key":     {func(d *Dataset) { d.RecordKey = "amount" }, "ds-claims", "record key"},
		"record subject": {func(d *Dataset) { d.RecordKey = "person_id" }, "ds-claims", "record key"},
		"bin column":     {func(d *Dataset) { d.Bins[0].Column = "nope" }, "bin age", "column"},
		"bin kind":       {func(d *Dataset) { d.Bins[0].Kind = "hash" }, "bin age", "kind"},
		"bin date":       {func(d *Dataset) { d.Bins[0].At = "today" }, "bin age", "reference date"},
		"bin edges":      {func(d *Dataset) { d.Bins[0].Edges = []int64{60, 18} }, "bin age", "ascend"},
		"bin type":       {func(d *Dataset) { d.Bins[2].Column = "icd10" }, "bin size", "numeric"},
		"bin year":       {func(d *Dataset) { d.Bins[3].Column = "amount" }, "bin year", "date"},
		"bin label":      {func(d *Dataset) { d.Bins[1].Groups[0].Label = Other }, "bin chapter", "labels"},
		"bin code twice": {func(d *Dataset) { d.Bins[1].Groups[0].Codes = []string{"J", "J"} }, "bin chapter", "one group"},
		"bin twice":      {func(d *Dataset) { d.Bins[1].ID = "age" }, "bin age", "unique"},
	} {
		d := valid()
		c.change(&d)
		err := d.Validate()
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), c.rule) {
			t.Errorf("%s: %v does not name %q and %q", name, err, c.place, c.rule)
		}
	}
}

func TestEffectiveGradeTakesTheStricter(t *testing.T) {
	for _, c := range []struct {
		col  Column
		want sandbox.Grade
	}{
		{Column{Grade: 1}, 1},
		{Column{Grade: 1, Detected: 3}, 3},
		{Column{Grade: 4, Detected: 2}, 4},
		{Column{Grade: 1, Personal: true}, 3},
	} {
		if got := c.col.Effective(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.col, got, c.want)
		}
	}
}

func TestBinLabels(t *testing.T) {
	d := valid()
	b, _ := d.Bin("age")
	if got := b.Labels(); !slices.Equal(got, []string{"<18", "18-60", "≥60"}) {
		t.Error(got)
	}
}
