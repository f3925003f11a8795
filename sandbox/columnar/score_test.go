package columnar

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestScoreOfManyParts: a part that is cut where its pairs fill their memory codes the labels of public values anew, in another order; what
// each is worth does not change.
func TestScoreOfManyParts(t *testing.T) {
	const rows = 120_000
	tables := map[sandbox.DatasetID]made{"visits": {visits(), rows, func(n int) (map[string]any, sandbox.Pseudonym) {
		return map[string]any{"ward": int64(1), "cost": int64(n % 1000), "beds": int64((n + n/9000) % 7)}, person(scattered(n, 60_000))
	}}}
	s := question(query.Dimension{As: "band", Score: &query.Score{Parts: []query.Part{
		{Column: "v.beds", Points: []query.Points{{In: []string{"0", "3"}, Value: 10}, {In: []string{"5"}, Value: 25}}},
	}, Edges: []int64{10, 20}}}, query.Dimension{Column: "v.beds", As: "beds"})
	spill, _ := sealedSpill(t)
	var files, left atomic.Int64
	src := madeSource(tables, 2)
	src.Spill = spill.counted(&files, &left)
	a, err := Execute(t.Context(), memory.NewGoAllocator(), plan(t, s), src, Limits{MaxPairBytes: 1 << 20}, Goroutines{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if files.Load() == 0 || len(a.Cells) != 7 {
		t.Fatalf("%d files, %d cells", files.Load(), len(a.Cells))
	}
	for _, c := range a.Cells {
		want := map[string]string{"0": "10-20", "3": "10-20", "5": "≥20"}[c.Labels[1]]
		if want == "" {
			want = "<10"
		}
		if c.Labels[0] != want {
			t.Errorf("%s beds in band %s, not %s", c.Labels[1], c.Labels[0], want)
		}
	}
}

// TestProductBeyond64Bits is an error that names a column and no value.
func TestProductBeyond64Bits(t *testing.T) {
	for v, ok := range map[int64]bool{3_037_000_499: true, 3_037_000_500: false, -3_037_000_500: false} {
		s := measuring(query.Measure{Func: sandbox.Dot, Column: "v.cost", As: "squares"})
		a, err := run1(t, s, visitTable(v, nil), Limits{})
		if ok && (err != nil || a.Cells[0].Values[0] != v*v) || !ok && sandbox.KindOf(err) != sandbox.TooLarge {
			t.Error(fmt.Sprint(err), v)
		}
	}
}
