package columnar

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// peakAllocator remembers the most that was allocated at once; what a table leaves when it moves counts until it is copied.
type peakAllocator struct {
	memory.Allocator
	mu        sync.Mutex
	now, peak int
}

func (p *peakAllocator) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += n
	p.peak = max(p.peak, p.now)
}

func (p *peakAllocator) Allocate(n int) []byte { p.add(n); return p.Allocator.Allocate(n) }
func (p *peakAllocator) Free(b []byte)         { p.add(-len(b)); p.Allocator.Free(b) }
func (p *peakAllocator) Reallocate(n int, b []byte) []byte {
	old := len(b)
	p.add(n)
	out := p.Allocator.Reallocate(n, b)
	p.add(-old)
	return out
}

// madeReader makes rows as they are read, so that they are nowhere at once.
type madeReader struct {
	schema *arrow.Schema
	rows   int
	at     int
	row    func(n int, b *array.RecordBuilder)
}

func (r *madeReader) Schema() *arrow.Schema { return r.schema }

func (r *madeReader) Close() error { return nil }

func (r *madeReader) Next(context.Context) (arrow.Record, error) {
	if r.at == r.rows {
		return nil, io.EOF
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, r.schema)
	defer b.Release()
	for end := min(r.rows, r.at+4096); r.at < end; r.at++ {
		r.row(r.at, b)
	}
	return b.NewRecord(), nil
}

// made describes a dataset whose rows are made.
type made struct {
	ds   catalog.Dataset
	rows int
	row  func(n int) (values map[string]any, subject sandbox.Pseudonym)
}

func (m made) reader(columns []string, from, to int) *madeReader {
	var fields []arrow.Field
	for _, name := range columns {
		if c, ok := m.ds.Column(name); ok {
			fields = append(fields, arrow.Field{Name: name, Type: batch.ArrowType(c.Type), Nullable: c.Nullable})
		} else {
			fields = append(fields, arrow.Field{Name: name, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
		}
	}
	return &madeReader{schema: arrow.NewSchema(fields, nil), rows: to - from, row: func(n int, b *array.RecordBuilder) {
		values, subject := m.row(from + n)
		for i, name := range columns {
			switch f := b.Field(i).(type) {
			case *array.FixedSizeBinaryBuilder:
				f.Append(subject[:])
			default:
				switch v := values[name].(type) {
				case nil:
					f.AppendNull()
				case string:
					f.(*array.StringBuilder).Append(v)
				case int64:
					f.(*array.Int64Builder).Append(v)
				}
			}
		}
	}}
}

func madeSource(tables map[sandbox.DatasetID]made, parts int) Source {
	return Source{Parts: parts,
		Open: func(_ context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
			return tables[ds].reader(columns, 0, tables[ds].rows), nil
		},
		OpenPart: func(_ context.Context, ds sandbox.DatasetID, columns []string, part int) (batch.Reader, error) {
			n := tables[ds].rows
			return tables[ds].reader(columns, n*part/parts, n*(part+1)/parts), nil
		}}
}

// scattered gives numbers in an order that repeats after mod of them at the earliest.
func scattered(n, mod int) int { return int(uint64(n) * 2654435761 % uint64(mod)) }

func person(n int) sandbox.Pseudonym {
	h := uint64(n)*0x9e3779b97f4a7c15 + 1
	h ^= h >> 29
	var p sandbox.Pseudonym
	for i := range 8 {
		p[i], p[8+i] = byte(h>>(8*i)), byte(uint64(n)>>(8*i))
	}
	return p
}

// TestMemoryIsBounded: over 50 MB of rows, in no order, joined by a text with as many; the answer is the same with a megabyte for each
// budget as with all memory, and what is allocated stays within both and what the doc says stands beside them.
func TestMemoryIsBounded(t *testing.T) {
	const visitRows, siteRows, subjects = 400_000, 300_000, 100_000
	tables := map[sandbox.DatasetID]made{
		"visits": {visits(), visitRows, func(n int) (map[string]any, sandbox.Pseudonym) {
			return map[string]any{"site": fmt.Sprintf("a site of the district, no. %09d", scattered(n, 2*siteRows)), "ward": int64(1), "cost": int64(n % 1000), "beds": int64(n % 7)}, person(scattered(n, subjects))
		}},
		"sites": {sites(), siteRows, func(n int) (map[string]any, sandbox.Pseudonym) {
			return map[string]any{"site": fmt.Sprintf("a site of the district, no. %09d", n), "ward": int64(1), "level": int64(n % 5), "fee": int64(n % 11)}, person(n)
		}},
	}
	s := question(query.Dimension{Column: "v.beds", As: "a"}, query.Dimension{Column: "s.level", As: "b"})
	s.Inputs = append(s.Inputs, query.Input{Alias: "s", Dataset: "sites", With: "v", Join: query.LeftJoin, On: []query.Key{{Left: "site", Right: "site"}, {Left: "ward", Right: "ward"}}})
	s.Measures = append(s.Measures, query.Measure{Func: sandbox.Sum, Column: "s.fee", As: "fees"}, query.Measure{Func: sandbox.Subjects, As: "people"})
	run := func(lim Limits, workers int, spill Spill) (*sandbox.Answer, int) {
		mem := &peakAllocator{Allocator: memory.NewGoAllocator()}
		src := madeSource(tables, 5)
		src.Spill = spill
		a, err := Execute(t.Context(), mem, plan(t, s), src, lim, Goroutines{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if mem.now != 0 {
			t.Errorf("%d bytes left", mem.now)
		}
		return a, mem.peak
	}
	want, all := run(Limits{}, 2, nil)
	const budget = 1 << 20
	for _, workers := range []int{2} {
		spill, fs := sealedSpill(t)
		var files, left atomic.Int64
		got, peak := run(Limits{MaxBuildBytes: budget, MaxPairBytes: budget}, workers, spill.counted(&files, &left))
		if render(got) != render(want) {
			t.Error("another answer")
		}
		t.Logf("%d workers: %d KiB at most, %d in memory; %d files", workers, peak>>10, all>>10, files.Load())
		// Beside both budgets, each worker's evidence has its first page of subjects, keys and words, and its tables.
		const words = 1 + 2 + 2 // rows; of each column a sum and its rows
		if beside := workers * (8<<pageBits*(2+1+words) + 1<<18); peak > 2*budget+beside {
			t.Errorf("%d workers: %d KiB allocated, over %d", workers, peak>>10, (2*budget+beside)>>10)
		}
		if left.Load() != 0 || len(fs.Files()) != 0 {
			t.Errorf("%d files left", left.Load())
		}
	}
}

// TestSkewedKeysSpilled: one key has nine tenths of both sides, more than memory holds, beside others and rows without a partner; inner and
// left, on text.
func TestSkewedKeysSpilled(t *testing.T) {
	const rows = 1000
	key := func(n int) string {
		switch {
		case n%10 > 0:
			return "hot"
		case n%20 == 0:
			return fmt.Sprintf("a key for a single row, no. %d", n)
		}
		return fmt.Sprintf("%d", n%300)
	}
	tables := map[sandbox.DatasetID]made{
		"visits": {visits(), rows, func(n int) (map[string]any, sandbox.Pseudonym) {
			return map[string]any{"site": key(n), "ward": int64(1), "cost": int64(n % 13), "beds": int64(n % 3)}, person(scattered(n, 700))
		}},
		"sites": {sites(), rows, func(n int) (map[string]any, sandbox.Pseudonym) {
			return map[string]any{"site": key(n + n%20/10*10), "ward": int64(1), "level": int64(n % 5), "fee": int64(n % 11)}, person(n)
		}},
	}
	for _, kind := range []query.JoinKind{"", query.LeftJoin} {
		s := question(query.Dimension{Column: "s.level", As: "b"})
		s.Inputs = append(s.Inputs, query.Input{Alias: "s", Dataset: "sites", With: "v", Join: kind, On: []query.Key{{Left: "site", Right: "site"}, {Left: "ward", Right: "ward"}}})
		s.Measures = append(s.Measures, query.Measure{Func: sandbox.Sum, Column: "s.fee", As: "fees"}, query.Measure{Func: sandbox.Count, As: "rows"})
		for _, filters := range [][]query.Filter{nil, {{Column: "s.level", In: []string{"1", "missing"}, Not: true}}, {{Column: "s.level", In: []string{"1", "missing"}}}} {
			s.Filters = filters
			src := madeSource(tables, 3)
			want, err := Execute(t.Context(), memory.NewGoAllocator(), plan(t, s), src, Limits{}, Goroutines{Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			for _, bytes := range []int{1 << 16, 1 << 17} {
				src.Spill, _ = sealedSpill(t)
				got, err := Execute(t.Context(), memory.NewGoAllocator(), plan(t, s), src, Limits{MaxBuildBytes: bytes}, Goroutines{Workers: 1})
				if err != nil {
					t.Fatal(err)
				}
				if render(got) != render(want) {
					t.Errorf("join %q, %d filters, %d bytes: another answer", kind, len(filters), bytes)
				}
			}
		}
	}
}
