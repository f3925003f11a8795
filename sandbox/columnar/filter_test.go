package columnar

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar/vector"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// Conditions on values keep the rows that looking at their labels keeps.
func TestFilterTerms(t *testing.T) {
	compared := 0
	sandboxtest.Until(t, func() bool { return compared > 0 }, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := rapid.IntRange(1, 300).Draw(t, "rows")
		b := &inputBatch{rows: n, cols: make([]column, 1)}
		c := &b.cols[0]
		ints := func(near []int64) {
			for range n {
				v := rng.Int64N(400) - 200
				switch rng.IntN(5) {
				case 0:
					v = near[rng.IntN(len(near))] + rng.Int64N(3) - 1
				case 1:
					v = []int64{math.MinInt64, math.MinInt64 + 1, 0, math.MaxInt64}[rng.IntN(4)]
				}
				c.ints = append(c.ints, v)
			}
		}
		days := func(near []int64) {
			for range n {
				v := int32(near[rng.IntN(len(near))] + rng.Int64N(3) - 1)
				switch rng.IntN(5) {
				case 0:
					v = int32(rng.Uint32())
				case 1:
					v = []int32{math.MinInt32, math.MinInt32 + 1, 0, math.MaxInt32}[rng.IntN(4)]
				case 2:
					v = rng.Int32N(80000) - 40000
				}
				c.days = append(c.days, v)
			}
		}
		var bin *catalog.Bin
		labels := []string{catalog.Missing}
		switch kind := rapid.SampledFrom([]string{"amount", "age", "year", "number", "money", "date"}).Draw(t, "kind"); kind {
		case "amount", "age":
			edges := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Int64Range(-20, 120), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, 20_000_000, -20_000_000})), 1, 7, rapid.ID[int64]).Draw(t, "edges")
			slices.Sort(edges)
			bin = &catalog.Bin{Kind: catalog.Amount, Edges: edges, At: rapid.SampledFrom([]string{"2024-02-29", "2026-01-01"}).Draw(t, "at")}
			c.desc = &catalog.Column{Type: catalog.Int, Nullable: true}
			if kind == "age" {
				bin.Kind, c.desc.Type = catalog.Age, catalog.Date
				var near []int64
				for _, e := range edges {
					near = append(near, int64((2024-float64(e)-1970)*365.2425))
				}
				days(near)
			} else {
				ints(edges)
			}
			labels = append(labels, bin.Labels()...)
		case "year":
			bin, c.desc = &catalog.Bin{Kind: catalog.Year}, &catalog.Column{Type: catalog.Date, Nullable: true}
			days([]int64{-719162, 2932896, 18262, 18628, 18993, 0, -43829})
			labels = append(labels, catalog.Other, "1", "9999", "0", "10000", "02020")
			for range 6 {
				labels = append(labels, strconv.Itoa(2018+rng.IntN(6)))
			}
		default:
			c.desc = &catalog.Column{Type: map[string]catalog.Type{"number": catalog.Number, "money": catalog.Money, "date": catalog.Date}[kind], Nullable: true, Public: true}
			values := rapid.SliceOfN(rapid.Int64Range(-5, 5), 1, 6).Draw(t, "values")
			if kind != "date" && rapid.Bool().Draw(t, "ends") {
				values = append(values, math.MinInt64, math.MaxInt64)
			}
			for _, v := range values {
				labels = append(labels, query.Label(c.desc, v))
			}
			if kind == "date" {
				days(values)
			} else {
				ints(append(values, math.MaxInt64))
			}
		}
		if rapid.Bool().Draw(t, "nulls") {
			c.off = rapid.IntRange(0, 9).Draw(t, "offset")
			for range (n+c.off)/8 + 1 {
				c.valid = append(c.valid, byte(rng.Uint32()))
			}
		}
		in := rapid.SliceOfNDistinct(rapid.SampledFrom(labels), 1, -1, rapid.ID[string]).Draw(t, "in")
		not := rapid.Bool().Draw(t, "not")
		newFilter := func() *filter {
			f := &filter{in: map[string]bool{}, not: not}
			var keep []string
			for _, l := range in {
				f.in[l] = true
			}
			if bin == nil {
				keep = in
			}
			f.coder = newCoder(memory.DefaultAllocator, "d.c", c.desc, bin, keep, 1<<20)
			return f
		}
		plain := newFilter()
		defer plain.coder.free()
		rows := func() []int32 {
			sel := make([]int32, n)
			vector.Fill(sel, 0)
			return sel
		}
		codes := make([]uint32, n)
		want, err := plain.byCode(b, rows(), codes)
		if err != nil {
			t.Fatal(err)
		}
		f := newFilter()
		defer f.coder.free()
		terms, ok := f.terms(b, nil)
		if ok {
			compared++
		}
		for _, k := range vector.Twins() {
			got, err := f.apply(k, b, rows(), codes)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%v keeps %d rows, their labels %d, in %v not %v, %v", k, len(got), len(want), in, not, err)
			}
			if !ok {
				continue
			}
			if got := k.Where(terms, 0, n, make([]int32, n)); !slices.Equal(got, want) {
				t.Fatalf("%v chooses %d rows, their labels %d", k, len(got), len(want))
			}
		}
	})
}
