package egress

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/opdomain/opdomain/sandbox"
)

// Book (出域台账簿) holds the ledger's entries in memory, so that a new answer is compared with all of them at once. It is grade 4, as they
// are. Entries that were added stay; a Book is safe for concurrent use.
//
// People are numbered in the order they are first seen, cells hold bitmaps of numbers, and cells of the same people share one. Of each
// cell there are besides its people: how many add something to each measure, the sum, the largest parts, and a fingerprint that is
// linear in what people add, so that whether some cells together are another is answered without looking at people.
type Book struct {
	mu      sync.Mutex
	numbers census
	groups  map[fingerprint]*crowd
	entries []*bookEntry
}

// NewBook gives an empty book.
func NewBook() *Book {
	return &Book{groups: map[fingerprint]*crowd{}}
}

// String keeps populations out of logs.
func (*Book) String() string { return "ledger book(redacted)" }

// GoString keeps populations out of %#v.
func (*Book) GoString() string { return "ledger book(redacted)" }

// crowd is who is in a cell, by number; cells of the same people share it.
type crowd struct {
	who  *roaring.Bitmap
	n    int
	mark fingerprint
}

// bookEntry is one answer as a Book compares it.
type bookEntry struct {
	question sandbox.QuestionID
	datasets []sandbox.DatasetID
	measures []string
	heads    bool
	cells    []bookCell
	most     []wide // per measure: the most that one person adds, over all cells, by magnitude
}

type bookCell struct {
	*crowd
	adds []added1 // per measure
}

// added1 is what the people of a cell add to one measure, in the order of their numbers.
type added1 struct {
	narrow
	counted  int         // people who add something
	hi       int64       // the sum, in 128 bits
	lo       uint64      //
	largest  uint64      // magnitude of the largest part
	negative bool        // some part is below zero
	mark     fingerprint // linear in the parts
}

// narrow keeps integers in as many bytes as they take above the least of them.
type narrow struct {
	base  int64
	width int // 0: all are base
	raw   []byte
}

func pack(v []int64) narrow {
	if len(v) == 0 {
		return narrow{}
	}
	low, high := slices.Min(v), slices.Max(v)
	x := narrow{base: low}
	span := uint64(high) - uint64(low)
	for x.width = 0; x.width < 8 && span>>(8*x.width) != 0; x.width++ {
	}
	x.raw = make([]byte, x.width*len(v)+8) // read eight at a time
	for i, a := range v {
		d := uint64(a) - uint64(low)
		for k := range x.width {
			x.raw[i*x.width+k] = byte(d >> (8 * k))
		}
	}
	return x
}

func (x *narrow) at(i int) int64 {
	if x.width == 0 {
		return x.base
	}
	b := x.raw[i*x.width:][:8]
	d := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
	return int64(uint64(x.base) + d<<(64-8*x.width)>>(64-8*x.width))
}

// fingerprint is two sums over people of a part times a number that follows from the person's token, modulo the prime 2^61 - 1. Tokens
// are pseudo-random under a key that nobody outside has: other parts come to the same two sums with a probability near 2^-120.
type fingerprint [2]uint64

// mersenne is the prime 2^61 - 1.
const mersenne = 1<<61 - 1

func mulmod(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	s := lo&mersenne + (lo>>61 | hi<<3)
	if s = s&mersenne + s>>61; s >= mersenne {
		s -= mersenne
	}
	return s
}

func addmod(a, b uint64) uint64 {
	if a += b; a >= mersenne {
		a -= mersenne
	}
	return a
}

// residue gives v modulo the prime.
func residue(v int64) uint64 {
	if uint64(v) < mersenne {
		return uint64(v)
	}
	if v >= 0 {
		return uint64(v) % mersenne
	}
	return (mersenne - (-uint64(v))%mersenne) % mersenne
}

func (f *fingerprint) add(g fingerprint) { f[0], f[1] = addmod(f[0], g[0]), addmod(f[1], g[1]) }

// weights are a person's two factors.
func weights(token uint64) fingerprint {
	z := token + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return fingerprint{token%(mersenne-1) + 1, (z^z>>31)%(mersenne-1) + 1}
}

// census numbers tokens.
type census struct {
	tokens  []uint64 // sorted
	numbers []uint32 // of each
}

// place gives the numbers of sorted tokens, new ones the next.
func (c *census) place(tokens []uint64) []uint32 {
	out, fresh := make([]uint32, len(tokens)), 0
	i := 0
	for k, t := range tokens {
		if i < len(c.tokens) && c.tokens[i] < t {
			step := 1
			for i+step < len(c.tokens) && c.tokens[i+step] < t {
				i += step
				step *= 2
			}
			at, _ := slices.BinarySearch(c.tokens[i:min(i+step+1, len(c.tokens))], t)
			i += at
		}
		if i < len(c.tokens) && c.tokens[i] == t {
			out[k] = c.numbers[i]
		} else {
			out[k] = uint32(len(c.numbers) + fresh)
			fresh++
		}
	}
	if fresh == 0 {
		return out
	}
	merged := census{make([]uint64, 0, len(c.tokens)+fresh), make([]uint32, 0, len(c.tokens)+fresh)}
	i = 0
	for k, t := range tokens {
		for ; i < len(c.tokens) && c.tokens[i] < t; i++ {
			merged.tokens, merged.numbers = append(merged.tokens, c.tokens[i]), append(merged.numbers, c.numbers[i])
		}
		if i < len(c.tokens) && c.tokens[i] == t {
			continue
		}
		merged.tokens, merged.numbers = append(merged.tokens, t), append(merged.numbers, out[k])
	}
	merged.tokens, merged.numbers = append(merged.tokens, c.tokens[i:]...), append(merged.numbers, c.numbers[i:]...)
	*c = merged
	return out
}

// Add puts an entry into the book; one of a question that is there takes its place.
func (b *Book) Add(e Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.compile(e)
	i, found := slices.BinarySearchFunc(b.entries, e.Question, func(x *bookEntry, q sandbox.QuestionID) int { return cmp.Compare(x.question, q) })
	if found {
		b.entries[i] = x
	} else {
		b.entries = slices.Insert(b.entries, i, x)
	}
}

// Len says how many entries there are.
func (b *Book) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries)
}

// Over says how many entries are on one of some datasets.
func (b *Book) Over(datasets ...sandbox.DatasetID) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.entries {
		if slices.ContainsFunc(x.datasets, func(d sandbox.DatasetID) bool { return slices.Contains(datasets, d) }) {
			n++
		}
	}
	return n
}

// Holds says whether a question's entry is there.
func (b *Book) Holds(q sandbox.QuestionID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, found := slices.BinarySearchFunc(b.entries, q, func(x *bookEntry, q sandbox.QuestionID) int { return cmp.Compare(x.question, q) })
	return found
}

// compile makes an entry one of this book's.
func (b *Book) compile(e Entry) *bookEntry {
	all := e.population()
	numbers := b.numbers.place(all)
	find := newFinder(all)
	x := &bookEntry{question: e.Question, datasets: e.Datasets, measures: e.Measures, heads: e.Heads, cells: make([]bookCell, len(e.Cells)), most: make([]wide, len(e.Measures))}
	members := 0
	for i := range e.Cells {
		members += len(e.Cells[i].People)
	}
	var sums [][]wide // by measure and person, where a person is in several cells
	if members != len(all) {
		sums = make([][]wide, len(e.Measures))
		for m := range sums {
			sums[m] = make([]wide, len(all))
		}
	}
	var at, from, who []uint32 // of a cell's people in the order of their tokens: where they stand in all; in the order of their numbers: place in the cell, number
	var order []uint64         // number<<32 | place in the cell
	var factors []fingerprint
	var parts []int64
	for i := range e.Cells {
		c := &e.Cells[i]
		at, order, who, from, factors = at[:0], order[:0], who[:0], from[:0], factors[:0]
		var mark fingerprint
		sorted, last := true, uint32(0)
		for j, t := range c.People {
			k := find.at(t)
			n := numbers[k]
			sorted = sorted && (j == 0 || n > last)
			last = n
			at, order, factors = append(at, uint32(k)), append(order, uint64(n)<<32|uint64(j)), append(factors, weights(t))
			mark.add(factors[j])
		}
		if !sorted {
			slices.Sort(order)
		}
		for _, o := range order {
			who, from = append(who, uint32(o>>32)), append(from, uint32(o))
		}
		g := b.groups[mark]
		if g == nil {
			g = &crowd{who: roaring.BitmapOf(who...), n: len(order), mark: mark}
			g.who.RunOptimize()
			b.groups[mark] = g
		}
		cell := bookCell{crowd: g, adds: make([]added1, len(c.Adds))}
		for m, adds := range c.Adds {
			a := &cell.adds[m]
			parts = parts[:0]
			for _, k := range from {
				v := adds[k]
				parts = append(parts, v)
				var carry uint64
				a.lo, carry = bits.Add64(a.lo, uint64(v), 0)
				a.hi += v>>63 + int64(carry)
				if v == 0 {
					continue
				}
				a.counted++
				a.negative = a.negative || v < 0
				a.largest = max(a.largest, magnitude(v))
				w, r := factors[k], residue(v)
				a.mark.add(fingerprint{mulmod(w[0], r), mulmod(w[1], r)})
				if sums != nil {
					s := &sums[m][at[k]]
					if *s = s.add(wide{0, magnitude(v)}); x.most[m].less(*s) {
						x.most[m] = *s
					}
				}
			}
			if most := (wide{0, a.largest}); x.most[m].less(most) {
				x.most[m] = most
			}
			a.narrow = pack(parts)
		}
		x.cells[i] = cell
	}
	return x
}

// finder says where tokens stand among sorted ones. Tokens are pseudo-random: their first bits say nearly where.
type finder struct {
	all    []uint64
	shift  int
	starts []uint32
}

func newFinder(all []uint64) finder {
	f := finder{all: all, shift: 64 - min(max(bits.Len(uint(len(all)))-1, 1), 24)}
	f.starts = make([]uint32, 1<<(64-f.shift)+1)
	at := 0
	for i := range f.starts {
		for at < len(all) && all[at]>>f.shift < uint64(i) {
			at++
		}
		f.starts[i] = uint32(at)
	}
	return f
}

// at gives the place of a token that is there.
func (f *finder) at(t uint64) int {
	h := t >> f.shift
	from, to := f.starts[h], f.starts[h+1]
	for from < to && to-from < 8 && f.all[from] != t {
		from++
	}
	if to-from >= 8 {
		k, _ := slices.BinarySearch(f.all[from:to], t)
		return int(from) + k
	}
	return int(from)
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// population gives all tokens of an entry, sorted.
func (e *Entry) population() []uint64 {
	n := 0
	for i := range e.Cells {
		n += len(e.Cells[i].People)
	}
	if len(e.Cells) == 1 {
		return e.Cells[0].People
	}
	all := make([]uint64, 0, n)
	for i := range e.Cells {
		all = append(all, e.Cells[i].People...)
	}
	sortTokens(all)
	return slices.Compact(all)
}

// sortTokens sorts by radix where that is faster.
func sortTokens(a []uint64) {
	if len(a) < 1<<12 {
		slices.Sort(a)
		return
	}
	// One pass over the highest bits of pseudo-random numbers leaves short runs.
	shift := 64 - min(bits.Len(uint(len(a)))-3, 16)
	starts := make([]int, 1<<(64-shift)+1)
	for _, t := range a {
		starts[t>>shift+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	out, at := make([]uint64, len(a)), slices.Clone(starts)
	for _, t := range a {
		out[at[t>>shift]] = t
		at[t>>shift]++
	}
	for i := 1; i < len(starts); i++ {
		slices.Sort(out[starts[i-1]:starts[i]])
	}
	copy(a, out)
}
