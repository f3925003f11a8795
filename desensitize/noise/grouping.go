package noise

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// Limits of micro-aggregation over a whole column.
const (
	MaxDistinct = 1 << 22 // values; they are held, the rows are not
	MaxGroup    = 1000    // k; the search looks back over up to 2k values from each
)

// Tally (数值计数) counts the distinct values of an Int64 column that comes batch by batch: the first of two passes of
// micro-aggregation over a whole column. One goroutine calls it.
type Tally struct {
	k     int
	count map[int64]int64
	limit int
}

// NewTally takes the least number of rows of a group, 3 to MaxGroup.
func NewTally(k int) (*Tally, error) {
	if k < minGroup || k > MaxGroup {
		return nil, refuse("microaggregation", "k", fmt.Sprintf("%d to %d", minGroup, MaxGroup))
	}
	return &Tally{k: k, count: map[int64]int64{}, limit: MaxDistinct}, nil
}

// Add counts a batch; TooLarge where the column has more than MaxDistinct different values.
func (t *Tally) Add(a arrow.Array) error {
	c, ok := a.(*array.Int64)
	if !ok {
		return refuse("microaggregation", "column", "takes int64")
	}
	whole := c.NullN() == 0
	for i, x := range c.Int64Values() {
		if whole || c.IsValid(i) {
			t.count[x]++
		}
	}
	if len(t.count) > t.limit {
		return &sandbox.Error{Op: "noise: microaggregation", Kind: sandbox.TooLarge, Object: "column", Detail: fmt.Sprintf("at most %d different values in a column", t.limit), Hint: "round the column instead"}
	}
	return nil
}

// Grouping (微聚集分组) replaces each value of a column by the mean of its group, rounded, halves to even: the second pass. Equal
// values are in one group, so that equal stays equal. Safe for concurrent use.
type Grouping struct {
	tops   []int64 // greatest value of each group, ascending
	means  []int64
	masked atomic.Int64
}

// Groups parts what was counted into groups of at least k rows, consecutive in their order, so that the sum of squared distances to
// the means is least (Hansen, Mukherjee 2003; here over distinct values with their counts). Of fewer than k rows there is no
// group.
func (t *Tally) Groups() *Grouping {
	values := make([]int64, 0, len(t.count))
	for x := range t.count {
		values = append(values, x)
	}
	slices.Sort(values)
	count := make([]int64, len(values))
	for i, x := range values {
		count[i] = t.count[x]
	}
	from := t.part(values, count)
	g := &Grouping{}
	for end := len(values); end > 0 && from != nil; end = int(from[end]) {
		g.tops = append(g.tops, values[end-1])
		g.means = append(g.means, mean(values[from[end]:end], count[from[end]:end]))
	}
	slices.Reverse(g.tops)
	slices.Reverse(g.means)
	return g
}

// part gives for each end of a group where the best one begins, nil where there are too few rows. cost[i] is the least sum over the
// first i values. A group that could be cut in two of at least k rows each is never better than the two, so the search for
// the group that ends at i stops there.
func (t *Tally) part(values, count []int64) []int32 {
	n := len(values)
	cost, from := make([]float64, n+1), make([]int32, n+1)
	for i := 1; i <= n; i++ {
		cost[i] = math.Inf(1)
		rows, sum, squares := 0.0, 0.0, 0.0 // of the group, relative to its last value
		whole := int64(0)                   // rows of the least group that ends here, once it has k
		rest := int64(0)                    // rows before those
		for j := i - 1; j >= 0; j-- {
			c, d := float64(count[j]), float64(uint64(values[i-1])-uint64(values[j]))
			rows, sum, squares = rows+c, sum+c*d, squares+c*d*d
			if whole < int64(t.k) {
				whole += count[j]
			} else if rest += count[j]; rest >= int64(t.k) {
				break
			}
			if whole < int64(t.k) {
				continue
			}
			if x := cost[j] + max(squares-sum*sum/rows, 0); x < cost[i] {
				cost[i], from[i] = x, int32(j)
			}
		}
	}
	if n == 0 || math.IsInf(cost[n], 1) {
		return nil
	}
	return from
}

// mean is exact: distances from the least value are summed in 128 bits.
func mean(values, count []int64) int64 {
	low, rows := uint64(values[0]), uint64(0)
	var hi, lo uint64
	for i, x := range values {
		h, l := bits.Mul64(uint64(x)-low, uint64(count[i]))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi += h + carry
		rows += uint64(count[i])
	}
	q, r := bits.Div64(hi, lo, rows)
	m := low + q
	if r > rows-r || r == rows-r && m%2 == 1 {
		m++
	}
	return int64(m)
}

// Masked counts the values that were in no group and became null.
func (g *Grouping) Masked() int64 { return g.masked.Load() }

// Apply replaces the values of an Int64 column. Where there is no group every value becomes null.
func (g *Grouping) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	if a.DataType().ID() != arrow.INT64 {
		return nil, refuse("microaggregation", "column", "takes int64")
	}
	out, masked, err := numbers("microaggregation", mem, a, func(x int64) (int64, bool) {
		i := sort.Search(len(g.tops), func(i int) bool { return g.tops[i] >= x })
		if i == len(g.tops) { // a value that was not counted
			return 0, false
		}
		return g.means[i], true
	}, nil)
	g.masked.Add(masked)
	return out, err
}
