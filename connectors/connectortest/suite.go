// Package connectortest is the contract suite of connectors.Source (数据接入契约测试): the promises of that package's doc as
// tests that every implementation runs on tables it renders in its own form.
//
//	func TestContract(t *testing.T) { connectortest.Run(t, openMine) }
//
// The suite draws tables with every catalogue type, missing values, empty tables and hostile texts, and reads them with
// many batch sizes under a checked allocator. It does not test what is special to one form, such as quoting or paging.
package connectortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Table (测试表) is what an implementation must be able to serve: fields as a unit writes them, "" for missing.
type Table struct {
	Dataset catalog.Dataset
	Header  []string
	Rows    [][]string
	Mapping connectors.Mapping
}

// Opener (打开函数) serves the table in the implementation's own form and opens a Source on it. Batches must keep to batchRows.
type Opener func(ctx context.Context, mem memory.Allocator, tab Table, batchRows int) (connectors.Source, error)

// Dataset gives the dataset of the suite's tables: every type, with and without missing values.
func Dataset() catalog.Dataset {
	return catalog.Dataset{ID: "ds-contract", Unit: "unit-a", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: sandbox.Grade3},
			{Name: "note", Type: catalog.Text, Grade: sandbox.Grade2, Nullable: true},
			{Name: "visits", Type: catalog.Int, Grade: sandbox.Grade2, Nullable: true},
			{Name: "amount", Type: catalog.Money, Grade: sandbox.Grade2},
			{Name: "ratio", Type: catalog.Number, Scale: 4, Grade: sandbox.Grade2, Nullable: true},
			{Name: "day", Type: catalog.Date, Grade: sandbox.Grade2, Nullable: true},
			{Name: "open", Type: catalog.Bool, Grade: sandbox.Grade1, Nullable: true},
		}}
}

// header is not in the catalogue's order and has columns that no mapping names.
var header = []string{"AMOUNT", "person", "KIND", "说明", "visits", "ratio", "DAY", "open", "unused"}

func mapping() connectors.Mapping {
	return connectors.Mapping{
		Columns: map[string]connectors.Field{"amount": {From: "AMOUNT"}, "note": {From: "说明"}, "day": {From: "DAY"}},
		Where:   map[string]connectors.Values{"KIND": {"CHARGE", "补录"}},
	}
}

// row renders one row of the dataset's values, as want prints them, in the order of header.
func row(kind string, v []string) []string {
	return []string{v[3], v[0], kind, v[1], v[2], v[4], v[5], v[6], "ignored"}
}

// Run runs the suite.
func Run(t *testing.T, open Opener) {
	t.Run("values, order and counts for any batch size", func(t *testing.T) { values(t, open) })
	t.Run("records outlive the source", func(t *testing.T) { outlive(t, open) })
	t.Run("an empty table", func(t *testing.T) { empty(t, open) })
	t.Run("the first fault ends the stream", func(t *testing.T) { faults(t, open) })
	t.Run("cancellation", func(t *testing.T) { cancelled(t, open) })
	t.Run("close at any point", func(t *testing.T) { closing(t, open) })
	t.Run("a mapping that does not fit", func(t *testing.T) { misfit(t, open) })
}

func values(t *testing.T, open Opener) {
	rapid.Check(t, func(t *rapid.T) {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer func() {
			if n := mem.CurrentAlloc(); n != 0 {
				t.Fatalf("%d bytes are held after Close", n)
			}
		}()
		tab := Table{Dataset: Dataset(), Header: header, Mapping: mapping()}
		var want []string
		for range rapid.IntRange(0, 40).Draw(t, "rows") {
			v := drawRow(t)
			kind := rapid.SampledFrom([]string{"CHARGE", "补录", "PAYMENT", ""}).Draw(t, "kind")
			tab.Rows = append(tab.Rows, row(kind, v))
			if kind == "CHARGE" || kind == "补录" {
				want = append(want, strings.Join(v, "|"))
			}
		}
		rows := rapid.IntRange(1, 17).Draw(t, "batch")
		src, err := open(context.Background(), mem, tab, rows)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if !src.Schema().Equal(batch.Schema(tab.Dataset)) {
			t.Fatal("the schema is not that of the dataset")
		}
		var got []string
		for {
			rec, err := src.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := rec.NumRows(); n < 1 || n > int64(rows) {
				t.Fatalf("a batch has %d rows, its limit is %d", n, rows)
			}
			if !rec.Schema().Equal(src.Schema()) {
				t.Fatal("a record has another schema than its source")
			}
			got = append(got, printed(tab.Dataset, rec)...)
			rec.Release()
		}
		if !slices.Equal(got, want) {
			t.Fatalf("rows differ: %d given, %d wanted", len(got), len(want))
		}
		if read, kept := src.Counts(); read != int64(len(tab.Rows)) || kept != int64(len(want)) {
			t.Fatalf("counts are %d, %d; rows %d, kept %d", read, kept, len(tab.Rows), len(want))
		}
		if _, err := src.Next(context.Background()); err != io.EOF {
			t.Fatalf("Next after the end: %v", err)
		}
	})
}

// drawRow draws the values of one row as printed writes them.
func drawRow(t *rapid.T) []string {
	maybe := func(g *rapid.Generator[string]) string {
		return rapid.OneOf(g, g, g, rapid.Just("")).Draw(t, "value")
	}
	text := rapid.OneOf(
		rapid.SampledFrom([]string{"张三", "a,b", `"`, `""`, "x\ny", " spaced ", "=1+1", "ｆｕｌｌ", "𠮷", "é", "#", "'", `\`, "tab\tbed"}),
		rapid.StringMatching(`[ -~一-龥]{1,12}`))
	decimal := func(scale int) *rapid.Generator[string] {
		return rapid.Map(rapid.Int64Range(-1e15, 1e15), func(n int64) string { return scaled(n, scale) })
	}
	return []string{
		text.Draw(t, "person"),
		maybe(text),
		maybe(decimal(0)),
		decimal(2).Draw(t, "amount"),
		maybe(decimal(4)),
		maybe(rapid.Map(rapid.IntRange(-40000, 40000), func(n int) string { return arrow.Date32(n).FormattedString() })),
		maybe(rapid.SampledFrom([]string{"true", "false"})),
	}
}

func scaled(n int64, scale int) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%0*d", scale+1, n)
	if scale == 0 {
		return sign + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}

// printed writes a record's rows back as a unit would.
func printed(d catalog.Dataset, rec arrow.Record) []string {
	out := make([]string, rec.NumRows())
	for i := range out {
		fields := make([]string, rec.NumCols())
		for j := range fields {
			if rec.Column(j).IsNull(i) {
				continue
			}
			switch c := rec.Column(j).(type) {
			case *array.String:
				fields[j] = c.Value(i)
			case *array.Int64:
				scale := d.Columns[j].Scale
				if d.Columns[j].Type == catalog.Money {
					scale = 2
				}
				fields[j] = scaled(c.Value(i), scale)
			case *array.Date32:
				fields[j] = c.Value(i).FormattedString()
			case *array.Boolean:
				fields[j] = fmt.Sprint(c.Value(i))
			}
		}
		out[i] = strings.Join(fields, "|")
	}
	return out
}

func good(i int) []string {
	return []string{fmt.Sprintf("p%03d", i), "note", "3", "12.50", "0.1250", "2024-02-29", "true"}
}

func table(n int) Table {
	tab := Table{Dataset: Dataset(), Header: header, Mapping: mapping()}
	for i := range n {
		tab.Rows = append(tab.Rows, row("CHARGE", good(i)))
	}
	return tab
}

func checked(t *testing.T) *memory.CheckedAllocator {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

func outlive(t *testing.T, open Opener) {
	tab := table(10)
	src, err := open(context.Background(), checked(t), tab, 3)
	if err != nil {
		t.Fatal(err)
	}
	var recs []arrow.Record
	for {
		rec, err := src.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rec := range recs {
		got = append(got, printed(tab.Dataset, rec)...)
		rec.Release()
	}
	for i := range tab.Rows {
		if i >= len(got) || got[i] != strings.Join(good(i), "|") {
			t.Fatalf("row %d changed after later batches and Close", i)
		}
	}
}

func empty(t *testing.T, open Opener) {
	src, err := open(context.Background(), checked(t), table(0), 8)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for range 2 {
		if rec, err := src.Next(context.Background()); rec != nil || err != io.EOF {
			t.Fatalf("an empty table gives %v", err)
		}
	}
}

func faults(t *testing.T, open Opener) {
	const canary = "97canary55"
	for name, c := range map[string]struct {
		at     int
		column string
		field  string
	}{
		"missing subject":    {0, "person", ""},
		"fraction of an int": {2, "visits", "3.5"},
		"text for an int":    {2, "visits", canary},
		"missing money":      {3, "amount", ""},
		"text for money":     {3, "amount", canary},
		"three decimals":     {3, "amount", "49112.87100000001"},
		"exponent":           {3, "amount", "1e3"},
		"too many decimals":  {4, "ratio", "0.12345"},
		"64 bits":            {4, "ratio", "922337203685477.5808"},
		"no such day":        {5, "day", "2023-02-29"},
		"text for a date":    {5, "day", canary},
		"text for a bool":    {6, "open", canary},
	} {
		t.Run(name, func(t *testing.T) {
			tab := table(10)
			v := good(6)
			v[c.at] = c.field
			tab.Rows[6] = row("CHARGE", v)
			src, err := open(context.Background(), checked(t), tab, 4)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			rec, err := src.Next(context.Background())
			if err != nil {
				t.Fatalf("the batch before the fault: %v", err)
			}
			rec.Release()
			rec, err = src.Next(context.Background())
			if rec != nil || !errors.Is(err, sandbox.Invalid) {
				t.Fatalf("the faulty batch gives %v", err)
			}
			var own *sandbox.Error
			if !errors.As(err, &own) || !strings.Contains(own.Object, c.column) || own.Detail == "" {
				t.Errorf("%v does not name column %s and a rule", err, c.column)
			}
			if len(c.field) > 3 && strings.Contains(fmt.Sprintf("%v %+v %s", err, err, own.Hint), c.field) {
				t.Error("the error repeats the value")
			}
			if _, again := src.Next(context.Background()); again != err {
				t.Errorf("after the fault Next gives %v", again)
			}
			// The same fault in a row the filter drops is none.
			tab.Rows[6][2] = "PAYMENT"
			other, err := open(context.Background(), checked(t), tab, 100)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			rec, err = other.Next(context.Background())
			if err != nil {
				t.Fatalf("a filtered row's value stops the stream: %v", err)
			}
			rec.Release()
		})
	}
}

func cancelled(t *testing.T, open Opener) {
	src, err := open(context.Background(), checked(t), table(10), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	ctx, cancel := context.WithCancel(context.Background())
	rec, err := src.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rec.Release()
	cancel()
	if rec, err := src.Next(ctx); rec != nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled context gives %v", err)
	}
}

func closing(t *testing.T, open Opener) {
	for batches := range 4 {
		src, err := open(context.Background(), checked(t), table(10), 4)
		if err != nil {
			t.Fatal(err)
		}
		for range batches {
			rec, err := src.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			rec.Release()
		}
		for range 2 {
			if err := src.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
		}
		if rec, err := src.Next(context.Background()); rec != nil || err == nil || err == io.EOF {
			t.Fatalf("Next after Close gives %v", err)
		}
	}
}

func misfit(t *testing.T, open Opener) {
	for name, c := range map[string]struct {
		change func(*Table)
		place  string
	}{
		"unknown column":   {func(t *Table) { t.Mapping.Columns["nowhere"] = connectors.Field{From: "AMOUNT"} }, "nowhere"},
		"missing header":   {func(t *Table) { t.Mapping.Columns["amount"] = connectors.Field{From: "BETRAG"} }, "BETRAG"},
		"missing filter":   {func(t *Table) { t.Mapping.Where["ART"] = connectors.Values{"x"} }, "ART"},
		"duplicate header": {func(t *Table) { t.Header = append(slices.Clone(header[:8]), "KIND") }, "field 9"},
		"dataset":          {func(t *Table) { t.Dataset.Subject = "nobody" }, "ds-contract"},
	} {
		tab := table(3)
		c.change(&tab)
		src, err := open(context.Background(), checked(t), tab, 4)
		if err == nil {
			src.Close()
		}
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.place) {
			t.Errorf("%s: %v does not name %s", name, err, c.place)
		}
	}
}
