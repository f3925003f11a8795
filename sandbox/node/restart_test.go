package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// grown is a domain with so many entries in its log and so many datasets of one version each.
func grown(b *testing.B, dir string, events, datasets int) {
	ctx := context.Background()
	agency, own := enrolledIn(b, "agency", sandbox.Agency), enrolledIn(b, "unit", sandbox.Unit)
	n, unit := newNodeOf(b, dir, agency, own)
	for i := range datasets {
		d := persons
		d.ID, d.Title = sandbox.DatasetID(fmt.Sprintf("ds-%d", i)), fmt.Sprintf("数据资源%d号", i)
		d.Columns = slices.Clone(d.Columns)
		for c := range 20 { // a card of the usual length
			d.Columns = append(d.Columns, catalog.Column{Name: fmt.Sprintf("field_%d", c), Title: fmt.Sprintf("字段名称%d", c), Range: "任意", Type: catalog.Text, Grade: 2, Nullable: true})
		}
		if _, err := n.RegisterDataset(ctx, unit, d); err != nil {
			b.Fatal(err)
		}
		rb := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(d))
		rb.Field(0).(*array.StringBuilder).Append("somebody")
		for _, f := range rb.Fields()[1:] {
			f.AppendNull()
		}
		rec := rb.NewRecord()
		w, err := n.vault.Begin(ctx, d.Unit, d.ID, sandbox.RunID(fmt.Sprintf("run-%d", i)), batch.Schema(d), 3)
		if err == nil {
			err = w.Write(ctx, rec, []sandbox.Pseudonym{{1}})
		}
		if err == nil {
			_, err = w.Commit(ctx)
		}
		if err != nil {
			b.Fatal(err)
		}
		rec.Release()
		rb.Release()
		got, rev, err := n.docs.datasets.Get(ctx, string(d.ID))
		if err != nil {
			b.Fatal(err)
		}
		got.Version, got.Rows = 1, 1
		if _, err := n.docs.datasets.Update(ctx, string(d.ID), rev, "unit", "committed", got); err != nil {
			b.Fatal(err)
		}
	}
	if err := n.tidy(ctx); err != nil {
		b.Fatal(err)
	}
	const each = 4096
	payload := make([]byte, 200)
	for done := 0; done < events; done += each {
		recs := make([]tlog.Record, min(each, events-done))
		for i := range recs {
			if _, err := rand.Read(recs[i].Entry[:]); err != nil {
				b.Fatal(err)
			}
			recs[i].Payload = payload
		}
		if _, err := n.evidence.Log().Append(ctx, recs...); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := n.store.Add(ctx, logSize, int64(events), math.MaxInt64); err != nil {
		b.Fatal(err)
	}
	d := persons
	d.ID = "ds-last" // the last entry is an event
	if _, err := n.RegisterDataset(ctx, unit, d); err != nil {
		b.Fatal(err)
	}
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRestart opens a grown domain. The sizes asked for: OPDOMAIN_EVENTS=10000000 OPDOMAIN_DATASETS=10000.
func BenchmarkRestart(b *testing.B) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
			return n
		}
		return otherwise
	}
	dir := filepath.Join(b.TempDir(), "d")
	events, datasets := number("OPDOMAIN_EVENTS", 100_000), number("OPDOMAIN_DATASETS", 50)
	grown(b, dir, events, datasets)
	for b.Loop() {
		n, err := Open(context.Background(), testConfig(dir))
		if err != nil {
			b.Fatal(err)
		}
		if size := n.evidence.Log().Size(); size < uint64(events) {
			b.Fatalf("%d entries", size)
		}
		b.StopTimer()
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
