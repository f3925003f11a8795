package noise

import (
	"io"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// PRAM (后随机化, post-randomisation method; Gouweleeuw and others 1998) replaces each category by one drawn from the row of a
// transition matrix that belongs to it. The matrix is public: who knows it estimates true counts from observed ones.
type PRAM struct {
	categories []string
	places     map[string]int
	bounds     [][]uint64 // cumulated, of 2^53
	chance     [][]float64
	mu         sync.Mutex
	source     *source
	masked     atomic.Int64
}

// NewPRAM takes categories and the matrix: matrix[i][j] is the probability that category i becomes j. Rows sum to 1 within
// 10^-9 and are then held to multiples of 2^-53. Without a reader there is Draw alone.
func NewPRAM(categories []string, matrix [][]float64, rand io.Reader) (*PRAM, error) {
	n := len(categories)
	if n < 2 || len(matrix) != n {
		return nil, refuse("pram", "matrix", "at least two categories and a row for each")
	}
	o := &PRAM{categories: slices.Clone(categories), places: map[string]int{}, source: sourceOf(rand)}
	for i, c := range categories {
		if _, double := o.places[c]; double {
			return nil, refuse("pram", "categories", "a category stands twice")
		}
		o.places[c] = i
	}
	for _, row := range matrix {
		sum := 0.0
		if len(row) != n {
			return nil, refuse("pram", "matrix", "the matrix is square")
		}
		bounds := make([]uint64, n)
		for j, p := range row {
			if !(p >= 0 && p <= 1) {
				return nil, refuse("pram", "matrix", "a probability is 0 to 1")
			}
			sum += p
			bounds[j] = uint64(math.Round(min(sum, 1) * (1 << 53)))
		}
		if math.Abs(sum-1) > 1e-9 {
			return nil, refuse("pram", "matrix", "each row sums to 1")
		}
		for j := n - 1; j >= 0; j-- { // the last category with a chance takes what rounding left
			bounds[j] = 1 << 53
			if row[j] > 0 {
				break
			}
		}
		o.bounds, o.chance = append(o.bounds, bounds), append(o.chance, slices.Clone(row))
	}
	return o, nil
}

// Expected gives the counts to expect after the change of a column with these counts.
func (o *PRAM) Expected(counts []int64) []float64 {
	out := make([]float64, len(o.categories))
	for i, row := range o.chance {
		for j, p := range row {
			if i < len(counts) {
				out[j] += float64(counts[i]) * p
			}
		}
	}
	return out
}

// Masked counts the values that are no category.
func (o *PRAM) Masked() int64 { return o.masked.Load() }

func (o *PRAM) draw(s *source, i int) int {
	x := s.word() >> 11
	return sort.Search(len(o.categories)-1, func(j int) bool { return x < o.bounds[i][j] })
}

// Apply changes a String column or a dictionary of strings; a dictionary becomes one of int32 over the categories.
func (o *PRAM) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	if o.source == nil {
		return nil, unread("pram")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.change(mem, a, o.source)
}

// Draw is Apply with randomness of its own; calls run side by side.
func (o *PRAM) Draw(mem memory.Allocator, a arrow.Array, rand io.Reader) (arrow.Array, error) {
	return o.change(mem, a, &source{r: rand})
}

func (o *PRAM) change(mem memory.Allocator, a arrow.Array, s *source) (arrow.Array, error) {
	masked := int64(0)
	var out arrow.Array
	switch a := a.(type) {
	case *array.String:
		b := array.NewStringBuilder(mem)
		defer b.Release()
		b.Reserve(a.Len())
		for i := range a.Len() {
			if a.IsNull(i) {
				b.AppendNull()
			} else if p, ok := o.places[a.Value(i)]; ok {
				b.Append(o.categories[o.draw(s, p)])
			} else {
				b.Append(maskedText)
				masked++
			}
		}
		out = b.NewArray()
	case *array.Dictionary:
		words, ok := a.Dictionary().(*array.String)
		if !ok {
			return nil, refuse("pram", "column", "takes utf8 or a dictionary of utf8")
		}
		b := array.NewInt32Builder(mem)
		defer b.Release()
		b.Reserve(a.Len())
		for i := range a.Len() {
			if a.IsNull(i) {
				b.AppendNull()
			} else if p, ok := o.places[words.Value(a.GetValueIndex(i))]; ok {
				b.UnsafeAppend(int32(o.draw(s, p)))
			} else {
				b.UnsafeAppend(int32(len(o.categories)))
				masked++
			}
		}
		d := array.NewStringBuilder(mem)
		defer d.Release()
		d.AppendValues(o.categories, nil)
		if masked > 0 {
			d.Append(maskedText)
		}
		indices, values := b.NewArray(), d.NewArray()
		defer indices.Release()
		defer values.Release()
		kind := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
		out = array.NewDictionaryArray(kind, indices, values)
	default:
		return nil, refuse("pram", "column", "takes utf8 or a dictionary of utf8")
	}
	if s.err != nil {
		out.Release()
		return nil, s.err
	}
	o.masked.Add(masked)
	return out, nil
}
