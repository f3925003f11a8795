package egress_test

import (
	"context"
	"io"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// rows is one batch of pseudonyms: person i has each[i] rows of 7 yuan and i fen.
type rows struct {
	rec  arrow.Record
	done bool
}

func people(mem memory.Allocator, each []int) *rows {
	schema := arrow.NewSchema([]arrow.Field{{Name: "amount", Type: arrow.PrimitiveTypes.Int64}, {Name: columnar.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}}}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	for i, n := range each {
		for range n {
			b.Field(0).(*array.Int64Builder).Append(700 + int64(i))
			b.Field(1).(*array.FixedSizeBinaryBuilder).Append(append(make([]byte, 15), byte(i+1)))
		}
	}
	return &rows{rec: b.NewRecord()}
}

func (r *rows) Schema() *arrow.Schema { return r.rec.Schema() }
func (r *rows) Close() error          { r.rec.Release(); return nil }
func (r *rows) Next(context.Context) (arrow.Record, error) {
	if r.done {
		return nil, io.EOF
	}
	r.done = true
	r.rec.Retain()
	return r.rec, nil
}

// TestRowsAreNotPeople: engine and gate together count people. However often somebody's rows are repeated, a threshold is not met by
// them, and what one person repeats is judged as that person's alone.
func TestRowsAreNotPeople(t *testing.T) {
	in := map[sandbox.DatasetID]catalog.Dataset{"t": {ID: "t", Unit: "unit", Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 2}, {Name: "amount", Type: catalog.Money, Grade: 2}}}}
	list := []sandbox.ListItem{{Dataset: "t", Columns: []sandbox.ColumnRule{{Column: "amount", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}, MinSubjects: 12}}}}
	s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "t", Dataset: "t"}},
		Measures: []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: "t.amount", As: "sum"}}}
	d, reasons := query.Derive(s, in, list)
	if len(reasons) > 0 {
		t.Fatal(reasons)
	}
	district := egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}
	for _, c := range []struct {
		name string
		each []int
		rule string // "" where the cell is published
	}{
		{"three people, two hundred rows each", []int{200, 200, 200}, egress.RuleFrequency},
		{"eleven people, one of them repeated", append(slices.Repeat([]int{1}, 10), 90), egress.RuleFrequency},
		{"twelve people, one of them repeated", append(slices.Repeat([]int{1}, 11), 500), egress.RuleDominance},
		{"twelve people", slices.Repeat([]int{2}, 12), ""},
	} {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		answer, err := columnar.Run(t.Context(), mem, columnar.Plan{Derivation: d, Inputs: []sandbox.InputVersion{{Dataset: "t", Version: 1}}},
			func(context.Context, sandbox.DatasetID, []string) (batch.Reader, error) {
				return people(mem, c.each), nil
			}, columnar.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		checked, err := egress.Check("q", answer, district.Stricter(egress.Params{MinSubjects: d.MinSubjects, DominanceK: d.MaxShare}))
		if err != nil {
			t.Fatal(err)
		}
		cell := checked.Cells[0]
		if cell.People != len(c.each) || cell.Suppressed != (c.rule != "") || c.rule != "" && !slices.Contains(cell.Rules, c.rule) {
			t.Errorf("%s: %d people, suppressed %v by %v", c.name, cell.People, cell.Suppressed, cell.Rules)
		}
		mem.AssertSize(t, 0)
	}
}

func TestStricterNeverLoosens(t *testing.T) {
	p := egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 80, PPercent: 10}
	for _, c := range []struct{ people, share, wantPeople, wantShare int }{{0, 0, 10, 80}, {5, 90, 10, 80}, {30, 50, 30, 50}, {30, 0, 30, 80}, {0, 50, 10, 50}} {
		got := p.Stricter(egress.Params{MinSubjects: c.people, DominanceK: c.share})
		if got.MinSubjects != c.wantPeople || got.DominanceK != c.wantShare || got.DominanceN != 2 || got.PPercent != 10 {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// TestOnlyStructuralExtremesLeave: from the owner's rule through engine and gate, a least or greatest value leaves where the rule calls
// the column's extremes structural, and nowhere else.
func TestOnlyStructuralExtremesLeave(t *testing.T) {
	in := map[sandbox.DatasetID]catalog.Dataset{"t": {ID: "t", Unit: "unit", Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 2}, {Name: "amount", Type: catalog.Money, Grade: 2}}}}
	for _, structural := range []bool{false, true} {
		list := []sandbox.ListItem{{Dataset: "t", Columns: []sandbox.ColumnRule{{Column: "amount", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Max}, Structural: structural}}}}
		d, reasons := query.Derive(query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "t", Dataset: "t"}},
			Measures: []query.Measure{{Func: sandbox.Max, Column: "t.amount", As: "most"}}}, in, list)
		if len(reasons) > 0 {
			t.Fatal(reasons)
		}
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		answer, err := columnar.Run(t.Context(), mem, columnar.Plan{Derivation: d, Inputs: []sandbox.InputVersion{{Dataset: "t", Version: 1}}},
			func(context.Context, sandbox.DatasetID, []string) (batch.Reader, error) {
				return people(mem, slices.Repeat([]int{2}, 12)), nil
			}, columnar.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		checked, err := egress.Check("q", answer, egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10})
		if err != nil {
			t.Fatal(err)
		}
		r, err := egress.DecodeResult(checked.Result)
		if err != nil || r.Rows[0].Suppressed || (r.Rows[0].Values[0] != nil) != structural {
			t.Errorf("structural %v: %s, %v", structural, checked.Result, err)
		}
		mem.AssertSize(t, 0)
	}
}
