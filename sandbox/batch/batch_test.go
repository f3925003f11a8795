package batch

import (
	"bytes"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func described() catalog.Dataset {
	return catalog.Dataset{ID: "ds-t", Subject: "id", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "id", Type: catalog.Text, Grade: 3}, {Name: "n", Type: catalog.Number, Scale: 2, Grade: 1}, {Name: "day", Type: catalog.Date, Nullable: true, Grade: 1},
		{Name: "fee", Type: catalog.Money, Grade: 2}, {Name: "count", Type: catalog.Int, Grade: 1}, {Name: "ok", Type: catalog.Bool, Grade: 1}}}
}

func TestSchema(t *testing.T) {
	s := Schema(described())
	want := []arrow.Type{arrow.STRING, arrow.INT64, arrow.DATE32, arrow.INT64, arrow.INT64, arrow.BOOL}
	if s.NumFields() != len(want) {
		t.Fatalf("%d fields", s.NumFields())
	}
	for i, c := range described().Columns {
		f := s.Field(i)
		logical, _ := f.Metadata.GetValue(metaType)
		if f.Name != c.Name || f.Type.ID() != want[i] || f.Nullable != c.Nullable || logical != string(c.Type) {
			t.Errorf("field %d: %v, logical type %s", i, f, logical)
		}
	}
	if ArrowType("float") != nil {
		t.Error("an unknown logical type has an Arrow type")
	}
}

// TestSchemaBytes: what a push must agree on changes the bytes, what it need not does not.
func TestSchemaBytes(t *testing.T) {
	plain := SchemaBytes(described())
	for name, c := range map[string]struct {
		change func(*catalog.Dataset)
		same   bool
	}{
		"dataset":  {func(d *catalog.Dataset) { d.ID = "ds-u" }, false},
		"subject":  {func(d *catalog.Dataset) { d.Subject = "n" }, false},
		"kind":     {func(d *catalog.Dataset) { d.SubjectKind = catalog.ResidentID }, false},
		"name":     {func(d *catalog.Dataset) { d.Columns[1].Name = "m" }, false},
		"type":     {func(d *catalog.Dataset) { d.Columns[4].Type = catalog.Money }, false},
		"scale":    {func(d *catalog.Dataset) { d.Columns[1].Scale = 3 }, false},
		"nullable": {func(d *catalog.Dataset) { d.Columns[2].Nullable = false }, false},
		"order":    {func(d *catalog.Dataset) { d.Columns[1], d.Columns[2] = d.Columns[2], d.Columns[1] }, false},
		"drop":     {func(d *catalog.Dataset) { d.Columns = d.Columns[:5] }, false},
		"title":    {func(d *catalog.Dataset) { d.Title, d.Columns[0].Title = "表", "列" }, true},
		"grade":    {func(d *catalog.Dataset) { d.Columns[1].Grade = sandbox.Grade4; d.Columns[1].Detected = 3 }, true},
		"version":  {func(d *catalog.Dataset) { d.Version, d.Rows = 3, 9 }, true},
	} {
		d := described()
		c.change(&d)
		if bytes.Equal(plain, SchemaBytes(d)) != c.same {
			t.Errorf("%s: same bytes must be %v", name, c.same)
		}
	}
}
