package generalize

import (
	"fmt"
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// MaxLattice (格节点上限) bounds the number of generalisations of a table that a search may choose among.
const MaxLattice = 1 << 26

// frozen is a table ready for the search: each quasi-identifier's codes per level, packed into fields of 64-bit words.
type frozen struct {
	dims  []dim
	words int
	n     int64
	base  classes // level 0 of everything
	hists []sensitive
}

// dim is one quasi-identifier.
type dim struct {
	name        string
	word, shift int
	mask        uint64       // of the field, in place
	labels      [][]string   // by level, code
	null        []int        // by level: the code of missing, or -1
	up          [][][]uint64 // from level, to a coarser one: code → code, in place
	leaf        []uint32     // code of the dictionary → code at level 0
	freq        [][]int64    // by level, code: rows
}

func (d *dim) levels() int { return len(d.labels) }

// sensitive is a sensitive column's distribution over the whole table.
type sensitive struct {
	name  string
	total []uint32 // by code
}

// classes are the equivalence classes of one node: structure of arrays, no order.
type classes struct {
	levels []uint8
	keys   [][]uint64 // by word, class
	count  []uint32
	pop    []uint32    // with a population
	hist   []histogram // by sensitive column
}

// histogram holds each class's counts of a sensitive column: entries from[c] to from[c+1], in no order.
type histogram struct {
	from, value, count []uint32
}

func (c *classes) len() int { return len(c.count) }

func (c *classes) bytes() int64 {
	b := int64(len(c.count))*(4+8*int64(len(c.keys))) + 4*int64(len(c.pop))
	for _, h := range c.hist {
		b += 4 * int64(len(h.from)+2*len(h.value))
	}
	return b
}

// Freeze (冻结) ends adding and prepares the search. A label of one level that leads to two labels of the next is refused,
// and a population that does not contain the table. Calling it again does nothing.
func (t *Table) Freeze() error {
	if t.frozen != nil {
		return nil
	}
	if t.n == 0 {
		return bad("table", "it has no rows", "")
	}
	f := &frozen{n: t.n}
	lattice := 1
	for i, q := range t.cfg.Quasi {
		d, err := t.quasi[i].freeze(q.Hierarchy)
		if err != nil {
			return err
		}
		if lattice *= d.levels(); lattice > MaxLattice {
			return &sandbox.Error{Op: "generalize", Kind: sandbox.TooLarge, Object: "table", Detail: fmt.Sprintf("more than %d generalisations to choose among", MaxLattice),
				Hint: "name fewer quasi-identifiers, or use hierarchies of fewer levels"}
		}
		width := 0
		for _, l := range d.labels {
			width = max(width, bits.Len(uint(len(l)-1)))
		}
		if i > 0 {
			before := &f.dims[i-1]
			d.word, d.shift = before.word, before.shift+bits.Len64(before.mask>>before.shift)
			if d.shift+width > 64 {
				d.word, d.shift = d.word+1, 0
			}
		}
		d.mask = (1<<width - 1) << d.shift
		for a := range d.up {
			for b := range d.up[a] {
				for c := range d.up[a][b] {
					d.up[a][b][c] <<= d.shift
				}
			}
		}
		f.dims = append(f.dims, d)
		f.words = d.word + 1
	}
	if err := t.pack(f); err != nil {
		return err
	}
	t.frozen = f
	return nil
}

// freeze numbers the labels of each level.
func (dict *dictionary) freeze(h *Hierarchy) (dim, error) {
	d := dim{name: dict.name, leaf: make([]uint32, len(dict.values))}
	levels := h.Levels()
	codes := make([][]uint32, levels) // by level, dictionary code
	_, knows := h.Append(nil, "", 0)
	var label []byte
	for l := range levels {
		index := map[string]uint32{}
		null := -1
		codes[l] = make([]uint32, len(dict.values))
		var labels []string
		for c, v := range dict.values {
			if c == dict.missing && !knows { // missing stays missing below the top
				if l < levels-1 {
					null = len(labels)
					codes[l][c] = uint32(len(labels))
					labels = append(labels, "")
					continue
				}
				label = append(label[:0], Star...)
			} else {
				label, _ = h.Append(label[:0], v, l)
			}
			code, ok := index[string(label)]
			if !ok {
				code = uint32(len(labels))
				index[string(label)] = code
				labels = append(labels, string(label))
			}
			codes[l][c] = code
		}
		d.labels, d.null = append(d.labels, labels), append(d.null, null)
	}
	copy(d.leaf, codes[0])
	d.up = make([][][]uint64, levels)
	for a := range levels {
		d.up[a] = make([][]uint64, levels)
		for b := a; b < levels; b++ {
			table := make([]uint64, len(d.labels[a]))
			said := make([]bool, len(table))
			for c := range dict.values {
				from, to := codes[a][c], uint64(codes[b][c])
				if said[from] && table[from] != to {
					return d, bad("hierarchy "+h.name, fmt.Sprintf("level %d is not a function of level %d", b, a), "give a label of one level one parent")
				}
				said[from], table[from] = true, to
			}
			d.up[a][b] = table
		}
	}
	return d, nil
}

// pack makes the classes of level 0.
func (t *Table) pack(f *frozen) error {
	m := len(t.quasi)
	raw := classes{levels: make([]uint8, m), count: t.count, pop: t.pop, keys: make([][]uint64, f.words)}
	for w := range raw.keys {
		raw.keys[w] = make([]uint64, len(t.count))
	}
	for i := range t.count {
		for d := range f.dims {
			dim := &f.dims[d]
			raw.keys[dim.word][i] |= uint64(dim.leaf[t.codes[i*m+d]]) << dim.shift
		}
	}
	for s := range t.sensitive {
		h := histogram{from: make([]uint32, len(t.count)+1), value: make([]uint32, len(t.pairCount[s])), count: make([]uint32, len(t.pairCount[s]))}
		total := make([]uint32, len(t.sensitive[s].values))
		keys := t.pairKey[s]
		for p := range t.pairCount[s] {
			h.from[keys[2*p]+1]++
		}
		for i := range t.count {
			h.from[i+1] += h.from[i]
		}
		next := append([]uint32(nil), h.from...)
		for p, n := range t.pairCount[s] {
			at := next[keys[2*p]]
			next[keys[2*p]]++
			h.value[at], h.count[at] = keys[2*p+1], n
			total[keys[2*p+1]] += n
		}
		raw.hist = append(raw.hist, h)
		f.hists = append(f.hists, sensitive{t.sensitive[s].name, total})
	}
	// Two values of a dictionary may share a label already at level 0, so classes are merged once.
	roller := newRoller(f, raw.len())
	roller.roll(&f.base, &raw, raw.levels)
	for i, p := range f.base.pop {
		if f.base.count[i] > p {
			return bad("population", "it does not contain the table: a combination of values has fewer people than rows", "give the whole population, the table's own rows included")
		}
	}
	for d := range f.dims {
		dim := &f.dims[d]
		for l := range dim.labels {
			freq := make([]int64, len(dim.labels[l]))
			for i, n := range f.base.count {
				freq[dim.up[0][l][(f.base.keys[dim.word][i]&dim.mask)>>dim.shift]>>dim.shift] += int64(n)
			}
			dim.freq = append(dim.freq, freq)
		}
	}
	return nil
}

// Bytes (占用内存) tells what the table holds: its combinations, their index, and the classes of level 0 once frozen.
// Dictionaries and the search's own memory (Goal.CacheBytes and the lattice's one byte a node) come on top.
func (t *Table) Bytes() int64 {
	b := 4 * int64(cap(t.codes)+cap(t.count)+cap(t.pop)+len(t.index.slots))
	for s := range t.pairs {
		b += 4 * int64(cap(t.pairKey[s])+cap(t.pairCount[s])+len(t.pairs[s].slots))
	}
	if t.frozen != nil {
		b += t.frozen.base.bytes()
	}
	return b
}
