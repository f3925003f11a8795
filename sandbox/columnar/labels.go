package columnar

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// labels says what the codes of a column stand for: names, of bins and filters, or a public column's own values. Values stay words or
// bytes until an answer shows them: of a million none becomes a string on the way. Code 0 of a public column is Missing.
type labels struct {
	desc   *catalog.Column
	names  []string
	byName map[string]uint32
	words  *index64 // public values that are no texts: their codes follow on Missing's
	spelt  *texts   // public texts, and "missing" as the first: a text spelled so is that label
}

// newLabels makes the labels of a column, of its own values or of names.
func newLabels(mem allocator, c *catalog.Column, public bool) *labels {
	l := &labels{desc: c}
	switch {
	case !public:
		l.byName = map[string]uint32{}
	case c.Type == catalog.Text:
		l.spelt = newTexts(mem)
		l.spelt.put([]byte(catalog.Missing), 0, int32(len(catalog.Missing)))
	default:
		l.words = newIndex64(mem)
	}
	return l
}

// newLabels makes labels for a label column.
func (r *run) newLabels(label int) *labels {
	x := r.labels[label]
	if x.score != nil {
		return newLabels(r.mem, nil, false)
	}
	c, _ := r.d.Inputs[x.input].Described.Column(x.name)
	return newLabels(r.mem, c, x.bin == "")
}

func (l *labels) free() {
	if l.words != nil {
		l.words.free()
	}
	if l.spelt != nil {
		l.spelt.free()
	}
}

// size is one more than the greatest code.
func (l *labels) size() int {
	switch {
	case l.words != nil:
		return l.words.n + 1
	case l.spelt != nil:
		return l.spelt.n
	}
	return len(l.names)
}

// spelled gives the label of a code.
func (l *labels) spelled(code uint32) string {
	switch {
	case l.words != nil && code == 0:
		return catalog.Missing
	case l.words != nil:
		return query.Label(l.desc, int64(l.words.keys.at(int(code - 1))[0]))
	case l.spelt != nil:
		return string(l.spelt.at(code))
	}
	return l.names[code]
}

// code gives the code of a name, adding it if new.
func (l *labels) code(name string) uint32 {
	c, ok := l.byName[name]
	if !ok {
		c = uint32(len(l.names))
		l.byName[name], l.names = c, append(l.names, name)
	}
	return c
}

// add gives the codes of what another's codes stand for, by code.
func (l *labels) add(o *labels) []uint32 {
	out := make([]uint32, o.size())
	switch {
	case l.words != nil:
		words := make([]uint64, piece)
		for at := 0; at < o.words.n; at += piece {
			n := min(piece, o.words.n-at)
			for j := range n {
				words[j] = o.words.keys.at(at + j)[0]
			}
			l.words.ids(words[:n], out[at+1:][:n])
		}
		for i := range out[1:] {
			out[i+1]++
		}
	case l.spelt != nil:
		for i := range out {
			s := o.spelt.at(uint32(i))
			out[i] = l.spelt.put(s, 0, int32(len(s)))
		}
	default:
		for i, name := range o.names {
			out[i] = l.code(name)
		}
	}
	return out
}

// shown spells the labels, by code. A run of them shares its bytes.
func (l *labels) shown(workers int) []string {
	if l.words == nil && l.spelt == nil {
		return l.names
	}
	out := make([]string, l.size())
	const run = 1 << 14
	_ = parallel((len(out)+run-1)/run, workers, func(k int) error {
		part := out[k*run : min(len(out), (k+1)*run)]
		b, ends := make([]byte, 0, 8*len(part)), make([]int, len(part))
		for i := range part {
			switch code := k*run + i; {
			case l.spelt != nil:
				b = append(b, l.spelt.at(uint32(code))...)
			case code == 0:
				b = append(b, catalog.Missing...)
			default:
				b = query.AppendLabel(b, l.desc, int64(l.words.keys.at(code - 1)[0]))
			}
			ends[i] = len(b)
		}
		all, from := string(b), 0
		for i, to := range ends {
			part[i], from = all[from:to], to
		}
		return nil
	})
	return out
}

// keyed is something to be sorted by a word.
type keyed struct {
	key uint64
	id  uint32
}

// sortKeyed sorts by key, equal ones as they stand, and gives the sorted half of v and scratch. Bytes all keys share cost nothing.
func sortKeyed(v, scratch []keyed) []keyed {
	if len(v) < 256 {
		slices.SortStableFunc(v, func(a, b keyed) int {
			if a.key != b.key {
				if a.key < b.key {
					return -1
				}
				return 1
			}
			return 0
		})
		return v
	}
	var counts [8][256]uint32
	for i := range v {
		k := v[i].key
		for b := range counts {
			counts[b][byte(k>>(8*b))]++
		}
	}
	scratch = scratch[:len(v)]
	for b := range counts {
		at, c := uint32(0), &counts[b]
		if int(c[byte(v[0].key>>(8*b))]) == len(v) {
			continue
		}
		for d, n := range c {
			c[d], at = at, at+n
		}
		for _, x := range v {
			d := byte(x.key >> (8 * b))
			scratch[c[d]] = x
			c[d]++
		}
		v, scratch = scratch, v
	}
	return v
}

// prefix packs the eight bytes of s from one on so that words compare as texts do, as far as they go.
func prefix(s string, from int) uint64 {
	if len(s) >= from+8 {
		s = s[from : from+8]
		return uint64(s[7]) | uint64(s[6])<<8 | uint64(s[5])<<16 | uint64(s[4])<<24 | uint64(s[3])<<32 | uint64(s[2])<<40 | uint64(s[1])<<48 | uint64(s[0])<<56
	}
	w := uint64(0)
	for i := from; i < len(s); i++ {
		w |= uint64(s[i]) << (8 * (7 - (i - from)))
	}
	return w
}

// sortedTexts gives the order of distinct texts. Many are parted by the first byte not all share, and the parts sorted at once.
func sortedTexts(names []string, workers int) []uint32 {
	v, scratch := make([]keyed, len(names)), make([]keyed, len(names))
	for i := range v {
		v[i].id = uint32(i)
	}
	if len(names) < 1<<12 {
		sortTexts(names, v, scratch, 0)
	} else {
		from := shared(names, v, 0)
		var begin [257]int
		first := func(s string) int { return int(byte(prefix(s, from) >> 56)) }
		for _, s := range names {
			begin[first(s)+1]++
		}
		for d := range 256 {
			begin[d+1] += begin[d]
		}
		next := begin
		for i, s := range names {
			d := first(s)
			scratch[next[d]].id = uint32(i)
			next[d]++
		}
		v, scratch = scratch, v
		_ = parallel(256, workers, func(d int) error {
			if lo, hi := begin[d], begin[d+1]; lo < hi {
				sortTexts(names, v[lo:hi], scratch[lo:hi], from)
			}
			return nil
		})
	}
	out := make([]uint32, len(names))
	for i, x := range v {
		out[i] = x.id
	}
	return out
}

// shared gives how long the beginning is that all of some texts share, given that they share so much.
func shared(names []string, v []keyed, from int) int {
	first := names[v[0].id]
	more := len(first)
	for _, x := range v[1:] {
		s, n := names[x.id], from
		for n < min(more, len(s)) && s[n] == first[n] {
			n++
		}
		if more = n; n == from {
			break
		}
	}
	return more
}

// sortTexts sorts texts that share their first bytes, eight bytes at a time.
func sortTexts(names []string, v, scratch []keyed, from int) {
	if len(v) < 64 {
		slices.SortFunc(v, func(a, b keyed) int { return strings.Compare(names[a.id], names[b.id]) })
		return
	}
	from = shared(names, v, from)
	for i := range v {
		v[i].key = prefix(names[v[i].id], from)
	}
	if sorted := sortKeyed(v, scratch); &sorted[0] != &v[0] {
		copy(v, sorted)
	}
	for lo := 0; lo < len(v); {
		hi, ends := lo, false
		for ; hi < len(v) && v[hi].key == v[lo].key; hi++ {
			ends = ends || len(names[v[hi].id]) < from+8
		}
		switch tied := v[lo:hi]; {
		case len(tied) == 1:
		case ends: // they differ in zero bytes and in length
			slices.SortFunc(tied, func(a, b keyed) int { return strings.Compare(names[a.id], names[b.id]) })
		default:
			sortTexts(names, tied, scratch[lo:hi], from+8)
		}
		lo = hi
	}
}

// sorted gives the cells in the order of their labels, and those spelled by dimension and code.
func (m *Merger) sorted(workers int) (order []uint32, names [][]string) {
	dims, cells := m.r.dims, m.cells
	if names = make([][]string, dims); cells == 0 {
		return nil, names
	}
	orders := make([][]uint32, dims)
	_ = parallel(dims, workers, func(d int) error {
		names[d] = m.labels[d].shown(workers)
		orders[d] = sortedTexts(names[d], workers)
		return nil
	})
	if dims == 1 {
		const none = ^uint32(0)
		at := slices.Repeat([]uint32{none}, len(names[0])) // the cell of each code
		for c, code := range m.codes {
			at[code] = uint32(c)
		}
		order = make([]uint32, 0, cells)
		for _, code := range orders[0] {
			if at[code] != none {
				order = append(order, at[code])
			}
		}
		return order, names
	}
	v, scratch := make([]keyed, cells), make([]keyed, cells)
	for c := range v {
		v[c].id = uint32(c)
	}
	// From the last dimension on, as many as fit a word: the sort is stable, so that earlier ones come to stand above.
	for d := dims; d > 0; {
		shift := 0
		for c := range v {
			v[c].key = 0
		}
		for ; d > 0; d-- {
			width := bits.Len(uint(max(len(names[d-1])-1, 0)))
			if shift+width > 64 {
				break
			}
			ranks := make([]uint32, len(names[d-1]))
			for r, i := range orders[d-1] {
				ranks[i] = uint32(r)
			}
			for i := range v {
				v[i].key |= uint64(ranks[m.codes[int(v[i].id)*dims+d-1]]) << shift
			}
			shift += width
		}
		sorted := sortKeyed(v, scratch)
		if &sorted[0] != &v[0] {
			v, scratch = sorted, v
		}
	}
	order = make([]uint32, cells)
	for i, x := range v {
		order[i] = x.id
	}
	return order, names
}
