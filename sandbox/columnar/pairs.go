package columnar

import "math/bits"

// pairTable finds pairs of subjects that come back. Of few cells a subject has a place for each, of many a table has them.
type pairTable struct {
	built  bool
	direct block[uint32] // subject<<shift | cell → pair+1, while cells are few
	shift  int
	hashed *index64 // cell<<32 | subject, from then on
	keys   []uint64
}

const fewCells = 8

// more gives the bytes that the table allocates at most until it has all pairs of so many subjects.
func (t *pairTable) more(known, pairs int) int64 {
	if t.hashed != nil {
		return t.hashed.more(pairs - t.hashed.n)
	}
	return max(newSlotsFor(pairs), 4*int64(max(fewCells*known, 2*len(t.direct.v), 64)))
}

func (t *pairTable) free() {
	t.direct.free()
	if t.hashed != nil {
		t.hashed.free()
		t.hashed = nil
	}
}

// tabled numbers the pairs of the rows from done on by table, which it first fills with the pairs so far.
func (e *evidence) tabled(cells []uint32, done, limit int) {
	t := &e.pairs
	if !t.built {
		t.built, t.direct.mem, t.keys = true, e.keys.mem, make([]uint64, piece)
		e.last.free()
	}
	cells, ids, pair := cells[done:], e.ids[done:len(cells)], e.pair[done:len(cells)]
	if limit <= fewCells && t.hashed == nil {
		e.direct(cells, ids, pair, limit)
		return
	}
	if t.hashed == nil {
		t.direct.free()
		t.hashed = index64Of(&e.keys, e.n)
	}
	keys := t.keys[:len(cells)]
	for j, c := range cells {
		keys[j] = uint64(c)<<32 | uint64(ids[j])
	}
	t.hashed.ids(keys, pair)
	e.n = t.hashed.n
}

// direct finds pairs by their place.
func (e *evidence) direct(cells, ids, pair []uint32, limit int) {
	t := &e.pairs
	if shift := bits.Len(uint(limit - 1)); t.direct.v == nil || shift != t.shift {
		t.direct.free()
		t.shift = shift
		t.direct.grow(e.known << shift)
		for i := range e.n {
			key := e.keys.at(i)[0]
			t.direct.v[int(uint32(key))<<shift|int(key>>32)] = uint32(i + 1)
		}
	}
	t.direct.grow(e.known << t.shift)
	places, shift, n := t.direct.v, t.shift, e.n
	for j, c := range cells { // reads alone: the memory is waited for once
		pair[j] = places[int(ids[j])<<shift|int(c)]
	}
	for j, p := range pair {
		if p == 0 {
			at := int(ids[j])<<shift | int(cells[j])
			if p = places[at]; p == 0 {
				e.keys.v[n>>pageBits][n&pageMask] = uint64(cells[j])<<32 | uint64(ids[j])
				n++
				p = uint32(n)
				places[at] = p
			}
		}
		pair[j] = p - 1
	}
	e.n = n
}
