package run

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// counted counts the batches that a scan gives.
type counted struct {
	*vault.Scanner
	n *int
}

func (r counted) Next(ctx context.Context) (arrow.Record, error) {
	rec, err := r.Scanner.Next(ctx)
	if err == nil {
		*r.n++
	}
	return rec, err
}

// plainly hides that less than all can be asked of a reader.
type plainly struct{ batch.Reader }

// TestSkippingDoesNotShow: a question whose filters leave out batches of a version has the same answer, bit by bit, as with all of them read and
// every text spelled out, in one part and in many.
func TestSkippingDoesNotShow(t *testing.T) {
	all, read := 0, 0
	v, _ := openVault(t)
	run := 0
	sandboxtest.Until(t, func() bool { return read > 0 && read < all && 4*read <= 3*all }, func(t *rapid.T) {
		run++
		x := table{d: claims}
		x.d.ID = sandbox.DatasetID(fmt.Sprint("claims-", run))
		who := 0
		for range rapid.IntRange(1, 80).Draw(t, "rows") {
			who += rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "next person")
			row := []any{"p", nil, fmt.Sprint("s", who/3), who*10 - 50, who, 18000 + who*100, who%2 == 0, who/4 - 1}
			for _, c := range []int{2, 3, 4, 5, 6, 7} {
				if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
					row[c] = nil
				}
			}
			x.rows, x.subjects = append(x.rows, row), append(x.subjects, sandbox.Pseudonym{byte(who + 1)})
		}
		ctx := context.Background()
		w, err := v.Begin(ctx, x.d.Unit, x.d.ID, sandbox.RunID(x.d.ID), batch.Schema(x.d), 3)
		if err == nil {
			err = w.Straight()
		}
		for from := 0; err == nil && from < len(x.rows); {
			to := min(from+rapid.IntRange(1, 12).Draw(t, "batch"), len(x.rows))
			rec := x.record(memory.DefaultAllocator, from, to)
			err = w.Write(ctx, rec, x.subjects[from:to])
			rec.Release()
			from = to
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		labels := map[string][]string{"c.site": {"s0", "s1", "s5", "missing"}, "c.beds": {"-1", "0", "2", "missing"}}
		spec := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "c", Dataset: x.d.ID}},
			Dimensions: []query.Dimension{{Column: "c.site", As: "site"}},
			Measures:   []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Subjects, As: "persons"}, {Func: sandbox.Sum, Column: "c.fee", As: "fee"}}}
		for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"c.site", "c.beds"}), 1, 2, rapid.ID[string]).Draw(t, "filters") {
			spec.Filters = append(spec.Filters, query.Filter{Column: c, Not: rapid.Bool().Draw(t, "not"), In: rapid.SliceOfNDistinct(rapid.SampledFrom(labels[c]), 1, 3, rapid.ID[string]).Draw(t, "labels")})
		}
		item := sandbox.ListItem{Dataset: x.d.ID}
		for _, c := range x.d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}})
		}
		d, reasons := query.Derive(spec, map[sandbox.DatasetID]catalog.Dataset{x.d.ID: x.d}, []sandbox.ListItem{item})
		if len(reasons) > 0 {
			t.Fatal(reasons[0].Code)
		}
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(t, 0)
		answered := func(rows int64, selects bool) *sandbox.Answer {
			parts, err := v.Parts(s, rows)
			if err != nil {
				t.Fatal(err)
			}
			src := columnar.Source{Parts: parts.Len(), OpenPart: func(ctx context.Context, _ sandbox.DatasetID, columns []string, part int) (batch.Reader, error) {
				r, err := parts.Scan(ctx, mem, columns, part)
				if err != nil {
					return nil, err
				}
				if selects {
					return counted{r, &read}, nil
				}
				return plainly{counted{r, &all}}, nil
			}}
			a, err := columnar.Execute(ctx, mem, columnar.Plan{Derivation: d, Inputs: []sandbox.InputVersion{{Dataset: x.d.ID, Version: s.Version}}}, src, columnar.Limits{}, columnar.Goroutines{})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		for _, rows := range []int64{1, 20, 1 << 40} {
			if want, got := answered(rows, false), answered(rows, true); !reflect.DeepEqual(got, want) {
				t.Fatalf("parts of %d rows: %d cells, %d with every batch read", rows, len(got.Cells), len(want.Cells))
			}
		}
	})
}
