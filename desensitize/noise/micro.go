package noise

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	minGroup = 3
	maxWhole = 100_000 // rows over several columns that are searched at once: the search is quadratic
	maxBlock = 50_000  // and rows of a block where there are more
)

// Microaggregation (微聚集) replaces each value by the mean of a group of at least k rows that are near each other, by MDAV (Domingo-Ferrer,
// Torra 2005): the row farthest from the mean and its k-1 nearest are a group, then the row farthest from that one and
// its k-1 nearest, and so on; the last group has k to 2k-1 rows. Integer means are rounded, halves to even. Rows with a
// null, NaN or infinite value are in no group; such values that are no null become null, and so does everything where
// fewer than k rows can be grouped.
type Microaggregation struct {
	k      int
	masked atomic.Int64
}

// NewMicroaggregation takes k, at least 3.
func NewMicroaggregation(k int) (*Microaggregation, error) {
	if k < minGroup {
		return nil, refuse("microaggregation", "k", "at least 3")
	}
	return &Microaggregation{k: k}, nil
}

// Masked counts the values that could not be treated.
func (o *Microaggregation) Masked() int64 { return o.masked.Load() }

// Apply aggregates one Int64 or Float64 column; groups are runs of the sorted values.
func (o *Microaggregation) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	out, err := o.ApplyAll(mem, []arrow.Array{a})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// ApplyAll aggregates Int64 and Float64 columns of one table together: distance is Euclidean over columns divided by their
// standard deviations. A row with a null in one column keeps its nulls and its other values become null. Over 100,000 rows of more
// than one column the rows are first cut in halves at the median of the column that is widest there, until a block has at most 50,000
// (a k-d tree's cells), and each block is searched by itself: time grows with the number of blocks. Of 100,000 normal rows in three
// columns, k 5, two blocks have 1.003 times the within-group sum of squares of the whole search (TestBlocks).
func (o *Microaggregation) ApplyAll(mem memory.Allocator, columns []arrow.Array) ([]arrow.Array, error) {
	if len(columns) == 0 {
		return nil, refuse("microaggregation", "columns", "at least one")
	}
	n := columns[0].Len()
	for _, c := range columns {
		if c.Len() != n {
			return nil, refuse("microaggregation", "columns", "all have the same rows")
		}
		if id := c.DataType().ID(); id != arrow.INT64 && id != arrow.FLOAT64 {
			return nil, refuse("microaggregation", "column", "takes int64 or float64")
		}
	}
	var rows []int32
	for i := range n {
		if usable(columns, i) {
			rows = append(rows, int32(i))
		}
	}
	group := make([]int32, n) // of each row, from 1; 0 for none
	groups := int32(0)
	if len(rows) >= o.k {
		if len(columns) == 1 {
			groups = runs(group, rows, columns[0], o.k)
		} else {
			most := maxWhole
			if len(rows) > maxWhole {
				most = maxBlock
			}
			groups = mdav(group, rows, columns, o.k, most)
		}
	}
	var out []arrow.Array
	masked := int64(0)
	for _, c := range columns {
		v := newValues(mem, c, 8)
		for i := range n {
			if group[i] == 0 && c.IsValid(i) {
				v.drop(i)
				masked++
			}
		}
		means(v, c, group, groups)
		out = append(out, v.array(c.DataType()))
		v.release()
	}
	o.masked.Add(masked)
	return out, nil
}

func usable(columns []arrow.Array, i int) bool {
	for _, c := range columns {
		if f, ok := c.(*array.Float64); c.IsNull(i) || ok && f.Value(i)-f.Value(i) != 0 {
			return false
		}
	}
	return true
}

// runs is MDAV on one column: the farthest row is always an end of the sorted rows and its nearest are its neighbours.
func runs(group, rows []int32, column arrow.Array, k int) int32 {
	switch c := column.(type) {
	case *array.Int64:
		slices.SortStableFunc(rows, func(a, b int32) int { return cmp.Compare(c.Value(int(a)), c.Value(int(b))) })
	case *array.Float64:
		slices.SortStableFunc(rows, func(a, b int32) int { return cmp.Compare(c.Value(int(a)), c.Value(int(b))) })
	}
	value := func(r int32) float64 { return asFloat(column, int(r)) }
	sum := 0.0
	for _, r := range rows {
		sum += value(r)
	}
	groups := int32(0)
	take := func(from []int32) {
		groups++
		for _, r := range from {
			group[r] = groups
			sum -= value(r)
		}
	}
	for len(rows) >= 2*k {
		mean := sum / float64(len(rows))
		low := mean-value(rows[0]) >= value(rows[len(rows)-1])-mean
		ends := 2
		if len(rows) < 3*k {
			ends = 1
		}
		for range ends {
			if low {
				take(rows[:k])
				rows = rows[k:]
			} else {
				take(rows[len(rows)-k:])
				rows = rows[:len(rows)-k]
			}
			low = !low
		}
	}
	take(rows)
	return groups
}

func asFloat(c arrow.Array, i int) float64 {
	if x, ok := c.(*array.Int64); ok {
		return float64(x.Value(i))
	}
	return c.(*array.Float64).Value(i)
}

// mdav groups rows over several columns, in blocks of at most so many.
func mdav(group, rows []int32, columns []arrow.Array, k, most int) int32 {
	w := len(columns)
	points := make([]float64, len(rows)*w) // by place in rows, standardised
	for j, c := range columns {
		sum, squares := 0.0, 0.0
		for _, r := range rows {
			sum += asFloat(c, int(r))
		}
		mean := sum / float64(len(rows))
		for _, r := range rows {
			d := asFloat(c, int(r)) - mean
			squares += d * d
		}
		dev := math.Sqrt(squares / float64(len(rows)))
		if !(dev > 0) || math.IsInf(dev, 0) {
			dev = 1
		}
		for i, r := range rows {
			points[i*w+j] = (asFloat(c, int(r)) - mean) / dev
		}
	}
	places := make([]int32, len(rows))
	for i := range places {
		places[i] = int32(i)
	}
	s := &mdavSearch{group: group, rows: rows, points: points, w: w, k: k, distance: make([]float64, len(rows))}
	s.blocks(places, max(most, 2*k))
	return s.groups
}

// mdavSearch is one grouping of standardised points. Places are those of rows.
type mdavSearch struct {
	group, rows []int32
	points      []float64
	w, k        int
	distance    []float64 // by place
	groups      int32
}

func (s *mdavSearch) point(p int32) []float64 { return s.points[int(p)*s.w : int(p+1)*s.w] }

// blocks cuts places at the median of the widest column until there are at most so many, and groups each part.
func (s *mdavSearch) blocks(places []int32, most int) {
	if len(places) <= most {
		s.block(places)
		return
	}
	widest, widths := 0, make([]float64, s.w)
	for j := range s.w {
		sum, squares := 0.0, 0.0
		for _, p := range places {
			x := s.points[int(p)*s.w+j]
			sum, squares = sum+x, squares+x*x
		}
		n := float64(len(places))
		if widths[j] = squares/n - sum/n*(sum/n); widths[j] > widths[widest] {
			widest = j
		}
	}
	slices.SortFunc(places, func(a, b int32) int {
		return cmp.Or(cmp.Compare(s.points[int(a)*s.w+widest], s.points[int(b)*s.w+widest]), cmp.Compare(a, b))
	})
	half := len(places) / 2
	for _, part := range [][]int32{places[:half:half], places[half:]} {
		slices.Sort(part)
		s.blocks(part, most)
	}
}

// block is MDAV over some places, which it uses up.
func (s *mdavSearch) block(left []int32) {
	group, rows, k, distance, point := s.group, s.rows, s.k, s.distance, s.point
	measure := func(to []float64) (farthest int32) {
		farthest, most := left[0], -1.0
		for _, p := range left {
			d := 0.0
			for j, x := range point(p) {
				d += (x - to[j]) * (x - to[j])
			}
			if distance[p] = d; d > most {
				farthest, most = p, d
			}
		}
		return farthest
	}
	centre := make([]float64, s.w)
	take := func(places []int32) {
		s.groups++
		for _, p := range places {
			group[rows[p]] = s.groups
		}
	}
	near := make([]int32, 0, k)
	// around takes p and its nearest, and gives the row farthest from p of what is left.
	around := func(p int32) {
		distance[p] = -1
		near = near[:0]
		for _, q := range left { // the k least, by insertion: k is small
			at, _ := slices.BinarySearchFunc(near, distance[q], func(n int32, d float64) int {
				if distance[n] <= d {
					return -1
				}
				return 1
			})
			if at < k {
				if len(near) == k {
					near = near[:k-1]
				}
				near = slices.Insert(near, at, q)
			}
		}
		take(near)
		left = slices.DeleteFunc(left, func(q int32) bool { return group[rows[q]] != 0 })
	}
	for len(left) >= 2*k {
		clear(centre)
		for _, p := range left {
			for j, x := range point(p) {
				centre[j] += x
			}
		}
		for j := range centre {
			centre[j] /= float64(len(left))
		}
		first := measure(centre)
		two := len(left) >= 3*k
		second := measure(point(first))
		around(first)
		if two {
			// The farthest from the first is far from its neighbours too, unless nearly all rows are equal.
			if group[rows[second]] != 0 {
				second = left[0]
			}
			measure(point(second))
			around(second)
		}
	}
	take(left)
}

// means writes each group's mean.
func means(v *values, c arrow.Array, group []int32, groups int32) {
	count := make([]int64, groups+1)
	for _, g := range group {
		count[g]++
	}
	switch c := c.(type) {
	case *array.Int64:
		// Sums are kept as whole and rest of the mean: no sum of values overflows.
		whole, rest := make([]int64, groups+1), make([]int64, groups+1)
		for i, g := range group {
			if g == 0 {
				continue
			}
			x, n := c.Value(i), count[g]
			whole[g] += x / n
			if rest[g] += x % n; rest[g] >= n {
				whole[g], rest[g] = whole[g]+1, rest[g]-n
			} else if rest[g] <= -n {
				whole[g], rest[g] = whole[g]-1, rest[g]+n
			}
		}
		for g := range whole {
			r, n := rest[g], count[g]
			if 2*r > n || 2*r == n && whole[g]%2 != 0 {
				whole[g]++
			} else if -2*r > n || -2*r == n && whole[g]%2 != 0 {
				whole[g]--
			}
		}
		whole[0] = 0
		out := arrow.Int64Traits.CastFromBytes(v.data.Bytes())
		for i, g := range group {
			out[i] = whole[g]
		}
	case *array.Float64:
		mean := make([]float64, groups+1)
		for i, g := range group {
			if g != 0 {
				mean[g] += c.Value(i) / float64(count[g])
			}
		}
		out := arrow.Float64Traits.CastFromBytes(v.data.Bytes())
		for i, g := range group {
			out[i] = mean[g]
		}
	}
}
