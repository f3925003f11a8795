//go:build unix

package run

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// BenchmarkAnswer asks a version of a million rows, ten a person, from the vault: a region of 300, a day of three years, an amount.
// Rates are by the processor time of all threads.
func BenchmarkAnswer(b *testing.B) {
	const rows, perSubject, batchRows = 1 << 20, 10, 1 << 15
	ctx := context.Background()
	d := catalog.Dataset{ID: "ds-bench", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "region", Type: catalog.Text, Grade: 2, Public: true},
			{Name: "day", Type: catalog.Date, Grade: 2}, {Name: "amount", Type: catalog.Money, Grade: 2}},
		Bins: []catalog.Bin{{ID: "year", Column: "day", Kind: catalog.Year}, {ID: "size", Column: "amount", Kind: catalog.Amount, Edges: []int64{10000}}}}
	v, _ := openVault(b)
	w, err := v.Begin(ctx, d.Unit, d.ID, "run-1", batch.Schema(d), sandbox.Grade2)
	if err != nil {
		b.Fatal(err)
	}
	for from := 0; from < rows; from += batchRows {
		x := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(d))
		who := make([]sandbox.Pseudonym, batchRows)
		for i := from; i < from+batchRows; i++ {
			h := uint64(i) * 0x9e3779b97f4a7c15 >> 20
			x.Field(0).(*array.StringBuilder).Append("")
			x.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("4403%03d", (uint64(i/perSubject)*7919+h%10/9*h)%300))
			x.Field(2).(*array.Date32Builder).Append(arrow.Date32(18262 + h%1096))
			x.Field(3).(*array.Int64Builder).Append(int64(h / 2048 % 20000))
			binary.BigEndian.PutUint64(who[i-from][:], math.MaxUint64/rows*uint64(i/perSubject))
		}
		rec := x.NewRecord()
		x.Release()
		if err := w.Write(ctx, rec, who); err != nil {
			b.Fatal(err)
		}
		rec.Release()
	}
	snap, err := w.Commit(ctx)
	if err != nil {
		b.Fatal(err)
	}
	list := []sandbox.ListItem{{Dataset: d.ID}}
	for _, c := range d.Columns {
		list[0].Columns = append(list[0].Columns, sandbox.ColumnRule{Column: c.Name, Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Sum}})
	}
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	third := []query.Filter{{Column: "c.day", Bin: "year", In: []string{"2020", "2021"}}, {Column: "c.amount", Bin: "size", In: []string{"≥10000"}}}
	region := []query.Dimension{{Column: "c.region", As: "region"}}
	for _, q := range []struct {
		name    string
		filters []query.Filter
		by      []query.Dimension
	}{{"filtered groups", third, region}, {"groups", nil, region}, {"filtered", third, nil},
		{"small groups", nil, []query.Dimension{{Column: "c.day", Bin: "year", As: "year"}, {Column: "c.amount", Bin: "size", As: "size"}}}} {
		derived, reasons := query.Derive(query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "c", Dataset: d.ID}}, Filters: q.filters, Dimensions: q.by,
			Measures: []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: "c.amount", As: "sum"}}}, map[sandbox.DatasetID]catalog.Dataset{d.ID: d}, list)
		if len(reasons) > 0 {
			b.Fatal(reasons[0].Code)
		}
		b.Run(q.name, func(b *testing.B) {
			from := spent()
			for b.Loop() {
				if _, err := Answer(ctx, memory.DefaultAllocator, v, derived, []sandbox.InputVersion{{Dataset: d.ID, Version: snap.Version}}, columnar.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows)*float64(b.N)/1e6/(spent()-from).Seconds(), "Mrows/CPU-s")
		})
		b.Run("reading for "+q.name, func(b *testing.B) {
			from := spent()
			for b.Loop() {
				readColumns(b, ctx, v, snap, append(derived.Inputs[0].Needed, columnar.SubjectColumn))
			}
			b.ReportMetric(float64(rows)*float64(b.N)/1e6/(spent()-from).Seconds(), "Mrows/CPU-s")
		})
	}
}

// readColumns takes every batch of columns of a version, in parts, and does nothing with them.
func readColumns(b *testing.B, ctx context.Context, v *vault.Vault, s vault.Snapshot, columns []string) {
	parts, err := v.Parts(s, partRows)
	if err != nil {
		b.Fatal(err)
	}
	mem := batch.NewRecycler(memory.DefaultAllocator)
	defer mem.Close()
	for i := range parts.Len() {
		r, err := parts.Scan(ctx, mem, columns, i)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Select(batch.Selection{Coded: true}); err != nil {
			b.Fatal(err)
		}
		for {
			rec, err := r.Next(ctx)
			if err != nil {
				break
			}
			rec.Release()
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
