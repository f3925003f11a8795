package columnar

import (
	"cmp"
	"slices"
)

// tally counts combinations of words: how often each value, label or row of regressors stands in each cell. The first word is the
// cell. Memory goes with the number of combinations, not of rows.
type tally struct {
	width  int
	chain  []*index // (word, word) → n, (n, word) → n …
	words  pages    // of each combination, in first-seen order
	counts block[uint64]
	n      int
	wide   []uint64
	ids    []uint32
}

func newTally(mem allocator, width int) *tally {
	t := &tally{width: width, words: pages{mem: mem, stride: width}, counts: block[uint64]{mem: mem}, wide: make([]uint64, piece), ids: make([]uint32, piece)}
	for range width - 1 {
		t.chain = append(t.chain, newIndex(mem))
	}
	return t
}

func (t *tally) free() {
	for _, x := range t.chain {
		x.free()
	}
	t.words.free()
	t.counts.free()
}

// add counts n combinations, given word by word, of at most a piece; times is nil for once each.
func (t *tally) add(words [][]uint64, n int, times []uint64) {
	if n == 0 {
		return
	}
	ids := t.ids[:n]
	t.chain[0].ids(words[0][:n], words[1][:n], ids)
	for k, x := range t.chain[1:] {
		wide := t.wide[:n]
		for j, id := range ids {
			wide[j] = uint64(id)
		}
		x.ids(wide, words[k+2][:n], ids)
	}
	t.counts.grow(t.n + n)
	t.words.reserve(t.n + n)
	for j, id := range ids {
		if int(id) == t.n {
			w := t.words.at(t.n)
			for k := range w {
				w[k] = words[k][j]
			}
			t.n++
		}
		if times == nil {
			t.counts.v[id]++
		} else {
			t.counts.v[id] += times[j]
		}
	}
}

// byCell gives the combinations of every cell in the order of their words, as signed numbers: what is computed from them does not
// follow from the order of rows. Cell c's stand from from[c] up to from[c+1].
func (t *tally) byCell(cells, workers int) (order []uint32, from []int) {
	from = make([]int, cells+1)
	for i := range t.n {
		from[t.words.at(i)[0]+1]++
	}
	for c := range cells {
		from[c+1] += from[c]
	}
	order = make([]uint32, t.n)
	at := slices.Clone(from)
	for i := range t.n {
		c := t.words.at(i)[0]
		order[at[c]] = uint32(i)
		at[c]++
	}
	_ = parallel(cells, workers, func(c int) error {
		slices.SortFunc(order[from[c]:from[c+1]], func(a, b uint32) int {
			x, y := t.words.at(int(a)), t.words.at(int(b))
			for k := 1; k < t.width; k++ {
				if x[k] != y[k] {
					return cmp.Compare(int64(x[k]), int64(y[k]))
				}
			}
			return 0
		})
		return nil
	})
	return order, from
}
