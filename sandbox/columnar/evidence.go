package columnar

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

type allocator = memory.Allocator

// evidence holds what every subject adds to every cell: for each (cell, subject) pair the rows and whatever words the question's
// measures lay out. All of a pair's words stand together.
//
// Versions are kept in the order of their subjects. While rows come so, a subject is either the one of the last row or a new one, and
// the pair a row belongs to is either the last one of its cell or new: neither needs a table. The first subject out of order builds
// a table of subjects, the first that comes back one of pairs, and they are used from then on.
type evidence struct {
	lim      Limits
	ops      []op
	known    int            // subjects
	subjects *index         // nil while they come in order
	people   pages          // two words a subject, in first-seen order
	first    *block[uint64] // by subject: ordinal+1 of its first row; nil where rows come in their order
	last     block[uint64]  // by cell, while clustered: subject<<32 | pair+1 of its last row
	current  int            // the subject whose rows are coming, while clustered
	begin    int            // its first pair
	pairs    pairTable      // not built while clustered
	n        int            // pairs
	keys     pages          // of each pair: cell<<32 | subject
	acc      pages          // of each pair

	held      *metered
	ids, pair []uint32
	s0, s1    []uint64
	window    []uint64 // of the pairs of the rows last placed: the page of acc that all lie in; nil when they do not
	carries   carries
}

func newEvidence(alloc allocator, ops []op, lim Limits) *evidence {
	mem := &metered{Allocator: alloc}
	return &evidence{held: mem, lim: lim, ops: ops, people: pages{mem: mem, stride: 2}, last: block[uint64]{mem: mem}, current: -1,
		keys: pages{mem: mem, stride: 1}, acc: pages{mem: mem, stride: len(ops)}, ids: make([]uint32, piece), pair: make([]uint32, piece), s0: make([]uint64, piece), s1: make([]uint64, piece)}
}

func (e *evidence) free() {
	if e.subjects != nil {
		e.subjects.free()
	}
	e.people.free()
	if e.first != nil {
		e.first.free()
	}
	e.last.free()
	e.pairs.free()
	e.keys.free()
	e.acc.free()
	e.carries.free()
}

// follows says whether one pseudonym stands behind another in the order of their bytes.
func follows(a0, a1, b0, b1 uint64) bool {
	if a0 != b0 {
		return bits.ReverseBytes64(a0) > bits.ReverseBytes64(b0)
	}
	return bits.ReverseBytes64(a1) > bits.ReverseBytes64(b1)
}

// number gives the subjects of a piece their numbers.
func (e *evidence) number(s0, s1 []uint64) error {
	n, done := len(s0), 0
	e.people.reserve(e.known + n)
	if e.subjects == nil {
		for ; done < n; done++ {
			a, b := s0[done], s1[done]
			if e.known > 0 {
				if p := e.people.at(e.known - 1); a == p[0] && b == p[1] {
					e.ids[done] = uint32(e.known - 1)
					continue
				} else if !follows(a, b, p[0], p[1]) {
					break
				}
			}
			p := e.people.at(e.known)
			p[0], p[1] = a, b
			e.ids[done] = uint32(e.known)
			e.known++
		}
	}
	return e.numbered(s0, s1, done)
}

// numberColumn does the same for the selected rows of a column.
func (e *evidence) numberColumn(c *column, sel []int32) error {
	n, done := len(sel), 0
	e.people.reserve(e.known + n)
	if e.subjects == nil && c.codes != nil {
		done = e.numberRuns(c, sel)
	} else if e.subjects == nil {
		data, ids, known := c.data, e.ids[:n], e.known
		var p0, p1 uint64
		if known > 0 {
			p := e.people.at(known - 1)
			p0, p1 = p[0], p[1]
		}
		for ; done < n; done++ {
			p := data[16*int(sel[done]):][:16]
			if a, b := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]); a != p0 || b != p1 || known == 0 {
				if known > 0 && !follows(a, b, p0, p1) {
					break
				}
				p := e.people.at(known)
				p[0], p[1] = a, b
				p0, p1 = a, b
				known++
			}
			ids[done] = uint32(known - 1)
		}
		e.known = known
	}
	if done == n {
		return e.numbered(nil, nil, 0)
	}
	s0, s1 := e.s0[:n], e.s1[:n]
	for j := done; j < n; j++ {
		s0[j], s1[j] = c.subject(sel[j])
	}
	return e.numbered(s0, s1, done)
}

// clusters says whether subjects came in order and each subject's pairs together. Neither follows from the other: where a part that went
// back to a subject is added, its subjects may stand in order, and its pairs do not.
func (e *evidence) clusters() bool { return e.subjects == nil && !e.pairs.built }

// numbered numbers the rows from done on, which are out of order, by the table.
func (e *evidence) numbered(s0, s1 []uint64, done int) error {
	if done < len(s0) {
		if e.subjects == nil {
			e.subjects = indexOf(&e.people, e.known)
		}
		ids, s0, s1 := e.ids[done:len(s0)], s0[done:], s1[done:]
		e.subjects.ids(s0, s1, ids)
		e.known = e.subjects.n
	}
	if e.known > e.lim.MaxSubjects {
		return tooLarge("answer", "subjects", e.lim.MaxSubjects)
	}
	return nil
}

// rows counts one row for each (cell, subject), cells being below limit, and remembers the pairs for what is added next.
func (e *evidence) rows(cells []uint32, limit int, subject *column, sel []int32) error {
	if err := e.numberColumn(subject, sel); err != nil {
		return err
	}
	if err := e.place(cells, limit); err != nil {
		return err
	}
	e.count(0, nil, len(cells))
	return nil
}

// ordinals remembers which row of the scanned input was each subject's first, of the rows last given to rows.
func (e *evidence) ordinals(b *inputBatch, sel []int32) {
	e.first.grow(e.known)
	for j, i := range sel {
		e.seen(e.ids[j], b.ordinal(i)+1)
	}
}

func (e *evidence) seen(subject uint32, first uint64) {
	if w := &e.first.v[subject]; *w == 0 || first < *w {
		*w = first
	}
}

// place finds the pairs of numbered rows.
func (e *evidence) place(cells []uint32, limit int) error {
	n := len(cells)
	e.keys.reserve(e.n + n)
	e.acc.reserve(e.n + n)
	done, first := 0, e.begin
	if !e.pairs.built {
		done = e.clustered(cells, limit)
	}
	if e.window = nil; done < n {
		e.tabled(cells, done, limit)
	} else if e.n > 0 && first>>pageBits == (e.n-1)>>pageBits {
		e.window = e.acc.v[first>>pageBits]
	}
	if e.n > e.lim.MaxPairs {
		return tooLarge("answer", "pairs of cell and subject", e.lim.MaxPairs)
	}
	return nil
}

// clustered numbers pairs until a subject comes back, and gives how many rows it numbered.
func (e *evidence) clustered(cells []uint32, limit int) int {
	e.last.grow(limit)
	last, ids, pair := e.last.v, e.ids[:len(cells)], e.pair[:len(cells)]
	n, current := e.n, e.current
	for j, c := range cells {
		id := ids[j]
		if int(id) != current {
			if int(id) < current {
				e.n, e.current = n, current
				return j
			}
			current, e.begin = int(id), n
		}
		l := last[c]
		if l&0xffffffff == 0 || uint32(l>>32) != id {
			e.keys.v[n>>pageBits][n&pageMask] = uint64(c)<<32 | uint64(id)
			n++
			l = uint64(id)<<32 | uint64(n)
			last[c] = l
		}
		pair[j] = uint32(l) - 1
	}
	e.n, e.current = n, current
	return len(cells)
}

// add adds one slot's values of the rows last given to rows; valid is nil when none is missing.
func (e *evidence) add(s slot, values []int64, valid []uint8) {
	stride := e.acc.stride
	pair := e.pair[:len(values)]
	switch {
	case e.window != nil && valid == nil:
		window := e.window[s.sum:]
		for j, p := range pair {
			w := &window[int(p&pageMask)*stride]
			a, v := int64(*w), values[j]
			sum := a + v
			if *w = uint64(sum); (sum^a)&(sum^v) < 0 {
				e.carry(int(p), s.sum, v)
			}
		}
	case e.window != nil:
		window, valid := e.window[s.sum:], valid[:len(values)]
		for j, p := range pair {
			w := &window[int(p&pageMask)*stride]
			a, v := int64(*w), values[j]&-int64(valid[j])
			sum := a + v
			if *w = uint64(sum); (sum^a)&(sum^v) < 0 {
				e.carry(int(p), s.sum, v)
			}
		}
	default:
		for j, p := range pair {
			w := &e.acc.v[p>>pageBits][int(p&pageMask)*stride+s.sum]
			a, v := int64(*w), values[j]
			if valid != nil {
				v &= -int64(valid[j])
			}
			sum := a + v
			if *w = uint64(sum); (sum^a)&(sum^v) < 0 {
				e.carry(int(p), s.sum, v)
			}
		}
	}
	if s.rows > 0 {
		e.count(s.rows, valid, len(values))
	}
	if s.least > 0 {
		for j, p := range pair {
			if valid != nil && valid[j] == 0 {
				continue
			}
			w, u := e.acc.at(int(p)), sortable(values[j])
			w[s.least], w[s.least+1] = max(w[s.least], ^u), max(w[s.least+1], u)
		}
	}
}

// count counts in one word the rows that are valid.
func (e *evidence) count(word int, valid []uint8, n int) {
	stride, pair := e.acc.stride, e.pair[:n]
	switch {
	case e.window != nil && valid != nil:
		window, valid := e.window[word:], valid[:n]
		for j, p := range pair {
			window[int(p&pageMask)*stride] += uint64(valid[j])
		}
	case valid != nil:
		for j, p := range pair {
			e.acc.v[p>>pageBits][int(p&pageMask)*stride+word] += uint64(valid[j])
		}
	case e.window != nil:
		window := e.window[word:]
		for _, p := range pair {
			window[int(p&pageMask)*stride]++
		}
	default:
		for _, p := range pair {
			e.acc.v[p>>pageBits][int(p&pageMask)*stride+word]++
		}
	}
}

// merge makes pair q of another part one with pair p.
func (e *evidence) merge(p int, o *evidence, q int) {
	e.mergeWords(p, o.acc.at(q))
	if o.carries.at == nil {
		return
	}
	for k, op := range e.ops {
		if op == opSum {
			if n := o.carries.of(q, k); n != 0 {
				e.carries.add(e.acc.mem, p, k, n)
			}
		}
	}
}

// mergeWords adds the words of a pair of another part to those of pair p.
func (e *evidence) mergeWords(p int, x []uint64) {
	w := e.acc.at(p)
	for k, op := range e.ops {
		switch op {
		case opCount:
			w[k] += x[k]
		case opSum:
			a, b := int64(w[k]), int64(x[k])
			sum := a + b
			if w[k] = uint64(sum); (sum^a)&(sum^b) < 0 {
				e.carry(p, k, b)
			}
		default:
			w[k] = max(w[k], x[k])
		}
	}
}

// byFirst ranks subjects by their first rows; nil when they are numbered so.
func (e *evidence) byFirst() (order, ranks []uint32) {
	if e.first == nil {
		return nil, nil
	}
	order, ranks = make([]uint32, e.known), make([]uint32, e.known)
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(e.first.v[a], e.first.v[b]) })
	for rank, i := range order {
		ranks[i] = uint32(rank)
	}
	return order, ranks
}

// bySubject gives the pairs in the order of their subjects, by rank where ranks are given; nil when they stand so already.
func (e *evidence) bySubject(ranks []uint32) []uint32 {
	from := make([]uint32, e.known+1)
	prev, sorted := uint32(0), true
	rank := func(s uint32) uint32 {
		if ranks == nil {
			return s
		}
		return ranks[s]
	}
	for i := range e.n {
		s := rank(uint32(e.keys.at(i)[0]))
		sorted = sorted && s >= prev
		prev = s
		from[s+1]++
	}
	if sorted {
		return nil
	}
	for i := 1; i < len(from); i++ {
		from[i] += from[i-1]
	}
	out := make([]uint32, e.n)
	for i := range e.n {
		s := rank(uint32(e.keys.at(i)[0]))
		out[from[s]] = uint32(i)
		from[s]++
	}
	return out
}
