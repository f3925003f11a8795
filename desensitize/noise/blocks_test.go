package noise

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// sse is the within-group sum of squares over columns that have one standard deviation, and the least and largest group.
func sse(columns []arrow.Array, group []int32, groups int32) (sum float64, least, most int) {
	size := make([]int, groups+1)
	for _, g := range group {
		size[g]++
	}
	least = len(group)
	for _, n := range size[1:] {
		least, most = min(least, n), max(most, n)
	}
	for _, c := range columns {
		mean := make([]float64, groups+1)
		for i, g := range group {
			mean[g] += asFloat(c, i) / float64(size[g])
		}
		for i, g := range group {
			d := asFloat(c, i) - mean[g]
			sum += d * d
		}
	}
	return sum, least, most
}

func normalColumns(rows, columns int) []arrow.Array {
	r := rand.New(rand.NewPCG(1, 2)) // of a test's table
	out := make([]arrow.Array, columns)
	for j := range out {
		b := array.NewFloat64Builder(memory.DefaultAllocator)
		for range rows {
			b.Append(r.NormFloat64())
		}
		out[j] = b.NewArray()
	}
	return out
}

// TestBlocks: blocks of rows are grouped with k to 2k-1 rows each and lose little over the whole search. OPDOMAIN_MDAV_ROWS compares at
// another size, in two blocks.
func TestBlocks(t *testing.T) {
	rows, block := 4000, 500
	if os.Getenv("OPDOMAIN_MDAV_ROWS") != "" {
		rows, block = 100_000, 50_000
	}
	const k = 5
	columns := normalColumns(rows, 3)
	grouped := func(most int) float64 {
		all, group := make([]int32, rows), make([]int32, rows)
		for i := range all {
			all[i] = int32(i)
		}
		groups := mdav(group, all, columns, k, most)
		sum, least, largest := sse(columns, group, groups)
		if least < k || largest > 2*k-1 || group[0] == 0 {
			t.Errorf("blocks of %d: groups of %d to %d rows", most, least, largest)
		}
		return sum
	}
	whole, blocks := grouped(rows), grouped(block)
	t.Logf("%d rows: blocks of %d have %.4f of the whole search's sum of squares", rows, block, blocks/whole)
	if blocks > 1.15*whole {
		t.Errorf("blocks lose %.3f times the whole search's sum of squares", blocks/whole)
	}
}

// TestManyRows: more rows than one search takes are grouped.
func TestManyRows(t *testing.T) {
	op, err := NewMicroaggregation(100)
	if err != nil {
		t.Fatal(err)
	}
	out, err := op.ApplyAll(memory.DefaultAllocator, normalColumns(maxWhole+1, 2))
	if err != nil {
		t.Fatal(err)
	}
	count := map[[2]float64]int{}
	for i := range out[0].Len() {
		count[[2]float64{asFloat(out[0], i), asFloat(out[1], i)}]++
	}
	for _, n := range count {
		if n < 100 || n > 199 {
			t.Fatalf("a group of %d rows", n)
		}
	}
}
