package ingest

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

var wide = catalog.Dataset{ID: "ds-wide", Unit: "unit-a", Title: "wide", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "code", Type: catalog.Text, Grade: 1}, {Name: "fee", Type: catalog.Money, Grade: 1},
		{Name: "day", Type: catalog.Date, Grade: 1}, {Name: "site", Type: catalog.Int, Grade: 1}, {Name: "settled", Type: catalog.Bool, Grade: 1}}}

// generated gives the payloads of a run of n rows as they are asked for: people in no order, three rows each on average.
func generated(b *testing.B, n int) Frames {
	rec := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(wide))
	b.Cleanup(rec.Release)
	const each = 8192
	var chain wire.Chain
	var buf []byte
	at, closed := 0, false
	return frames(func() ([]byte, error) {
		if closed {
			return nil, io.EOF
		}
		if at == n {
			closed = true
			c, err := wire.Closing{Batches: chain.N, Rows: int64(n), Digest: chain.Sum[:], Read: int64(n)}.Encode()
			return append(wire.AppendHeader(nil, wire.Close, chain.N), c...), err
		}
		k := min(each, n-at)
		for i := at; i < at+k; i++ {
			x := uint64(i) * 0x9e3779b97f4a7c15 >> 20
			rec.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("person-%09d", x%uint64(max(1, n/3))))
			rec.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("C%05d", i%4000))
			rec.Field(2).(*array.Int64Builder).Append(int64(i%100_000) * 7)
			rec.Field(3).(*array.Date32Builder).Append(arrow.Date32(18_000 + i%1500))
			rec.Field(4).(*array.Int64Builder).Append(int64(i % 300))
			rec.Field(5).(*array.BooleanBuilder).Append(i%3 == 0)
		}
		at += k
		r := rec.NewRecord()
		defer r.Release()
		enc, err := batch.Encode(nil, r)
		if err != nil {
			return nil, err
		}
		chain.Add(wire.Leaf(enc))
		buf = append(wire.AppendHeader(buf[:0], wire.Batch, chain.N), enc...)
		return buf, nil
	})
}

// BenchmarkLargePush takes a push of OPDOMAIN_ROWS rows in (200,000 by default) and reports what the process held at most: the
// goal is 512 MiB at 20 M rows.
//
//	OPDOMAIN_ROWS=20000000 go test ./sandbox/ingest -run - -bench LargePush -benchtime 1x
func BenchmarkLargePush(b *testing.B) {
	n := 200_000
	if s := os.Getenv("OPDOMAIN_ROWS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			b.Fatal("OPDOMAIN_ROWS is a number of rows")
		}
	}
	p := open(b)
	for i := 0; b.Loop(); i++ {
		res, err := p.intake.Receive(context.Background(), Push{Run: sandbox.RunID(fmt.Sprintf("run-%d", i)), Dataset: wide, Frames: generated(b, n)})
		if err != nil || res.Snapshot.Rows != int64(n) {
			b.Fatalf("%d rows, %v", res.Snapshot.Rows, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				v, _ := strconv.Atoi(strings.Fields(kb)[0])
				b.ReportMetric(float64(v)/1024, "MiB-peak")
			}
		}
	}
}
