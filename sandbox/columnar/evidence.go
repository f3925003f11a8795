package columnar

import (
	"cmp"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

type allocator = memory.Allocator

// evidence holds what every subject adds to every cell: for each (cell, subject) pair the rows, and for each value slot
// the sum and, if the column is nullable, the non-missing rows. All of a pair's words stand together.
//
// While each subject's rows come together, as the vault keeps them, the pair a row belongs to is either the last one of
// its cell or new: no table of pairs is needed. The first subject that comes back builds one, and it is used from then on.
type evidence struct {
	lim      Limits
	subjects *index
	people   pages         // two words a subject, in first-seen order
	last     block[uint64] // by cell, while clustered: subject<<32 | pair+1 of its last row
	current  int           // the subject whose rows are coming, while clustered
	pairs    *index64      // cell<<32 | subject; nil while clustered
	n        int           // pairs
	keys     pages         // of each pair
	acc      pages         // of each pair
	at       []int         // word of each slot's sum
	counted  []bool        // the next word counts its non-missing rows

	ids, pair []uint32
	key       []uint64
}

func newEvidence(mem allocator, slots []slot, lim Limits) *evidence {
	e := &evidence{lim: lim, subjects: newIndex(mem), people: pages{mem: mem, stride: 2}, last: block[uint64]{mem: mem}, current: -1,
		keys: pages{mem: mem, stride: 1}, acc: pages{mem: mem, stride: 1}, ids: make([]uint32, piece), pair: make([]uint32, piece), key: make([]uint64, piece)}
	for _, s := range slots {
		e.at, e.counted = append(e.at, e.acc.stride), append(e.counted, s.nullable)
		if e.acc.stride++; s.nullable {
			e.acc.stride++
		}
	}
	return e
}

func (e *evidence) free() {
	e.subjects.free()
	e.people.free()
	e.last.free()
	if e.pairs != nil {
		e.pairs.free()
	}
	e.keys.free()
	e.acc.free()
}

// rows counts one row for each (cell, subject), cells being below limit, and remembers the pairs for add.
func (e *evidence) rows(cells []uint32, limit int, s0, s1 []uint64) error {
	n := len(cells)
	known := e.subjects.n
	e.subjects.ids(s0, s1, e.ids)
	if e.subjects.n > e.lim.MaxSubjects {
		return tooLarge("answer", "subjects", e.lim.MaxSubjects)
	}
	if e.subjects.n > known {
		e.people.reserve(e.subjects.n)
		for j, id := range e.ids[:n] {
			if int(id) == known {
				p := e.people.at(known)
				p[0], p[1] = s0[j], s1[j]
				known++
			}
		}
	}
	e.keys.reserve(e.n + n)
	e.acc.reserve(e.n + n)
	done := 0
	if e.pairs == nil {
		done = e.clustered(cells, limit)
	}
	if done < n {
		e.hashed(cells, done)
	}
	if e.n > e.lim.MaxPairs {
		return tooLarge("answer", "pairs of cell and subject", e.lim.MaxPairs)
	}
	for _, p := range e.pair[:n] {
		e.acc.at(int(p))[0]++
	}
	return nil
}

// clustered numbers pairs until a subject comes back, and gives how many rows it numbered.
func (e *evidence) clustered(cells []uint32, limit int) int {
	e.last.grow(limit)
	last, ids := e.last.v, e.ids[:len(cells)]
	for j, c := range cells {
		id := ids[j]
		if int(id) != e.current {
			if int(id) < e.current {
				return j
			}
			e.current = int(id)
		}
		l := last[c]
		if l&0xffffffff == 0 || uint32(l>>32) != id {
			e.keys.at(e.n)[0] = uint64(c)<<32 | uint64(id)
			e.n++
			l = uint64(id)<<32 | uint64(e.n)
			last[c] = l
		}
		e.pair[j] = uint32(l) - 1
	}
	return len(cells)
}

// hashed numbers the pairs of the rows from done on through a table, which it first fills with the pairs so far.
func (e *evidence) hashed(cells []uint32, done int) {
	if e.pairs == nil {
		e.pairs = newIndex64(e.keys.mem)
		e.pairs.reserve(e.n)
		page, ids := make([]uint64, 0, piece), make([]uint32, piece)
		for i := range e.n {
			if page = append(page, e.keys.at(i)[0]); len(page) == piece || i == e.n-1 {
				e.pairs.ids(page, ids)
				page = page[:0]
			}
		}
		e.last.free()
	}
	key, pair := e.key[:len(cells)-done], e.pair[done:len(cells)]
	for j, c := range cells[done:] {
		key[j] = uint64(c)<<32 | uint64(e.ids[done+j])
	}
	e.pairs.ids(key, pair)
	for j, id := range pair {
		if int(id) == e.n {
			e.keys.at(e.n)[0] = key[j]
			e.n++
		}
	}
}

// add adds one slot's values of the rows last given to rows; valid is nil when none is missing. False on overflow.
func (e *evidence) add(slot int, values []int64, valid []uint8) bool {
	at, over := e.at[slot], int64(0)
	for j, p := range e.pair[:len(values)] {
		w := e.acc.at(int(p))
		a, v := int64(w[at]), values[j]
		sum := a + v
		over |= (sum ^ a) & (sum ^ v)
		w[at] = uint64(sum)
	}
	if e.counted[slot] {
		for j, p := range e.pair[:len(values)] {
			n := uint64(1)
			if valid != nil {
				n = uint64(valid[j])
			}
			e.acc.at(int(p))[at+1] += n
		}
	}
	return over >= 0
}

// bySubject gives the pairs in the order of their subjects; nil when they stand so already.
func (e *evidence) bySubject() []uint32 {
	from := make([]uint32, e.subjects.n+1)
	prev, sorted := uint32(0), true
	for i := range e.n {
		s := uint32(e.keys.at(i)[0])
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
		s := uint32(e.keys.at(i)[0])
		out[from[s]] = uint32(i)
		from[s]++
	}
	return out
}

// answer turns the evidence into cells sorted by their labels.
func (r *run) answer() (*sandbox.Answer, error) {
	e, g := r.ev, r.scanner.grouper
	a := &sandbox.Answer{Population: make([]sandbox.Pseudonym, e.subjects.n), Measures: r.described(), Cells: make([]sandbox.Cell, g.n)}
	for i := range a.Population {
		p := e.people.at(i)
		putPseudonym(&a.Population[i], p[0], p[1])
	}
	for _, d := range r.d.Spec.Dimensions {
		a.Dimensions = append(a.Dimensions, d.As)
	}
	t := r.newTotals()
	order := e.bySubject()
	for i := range e.n {
		p := i
		if order != nil {
			p = int(order[i])
		}
		t.add(e.keys.at(p)[0], e.acc.at(p))
	}
	for c := range a.Cells {
		if err := t.cell(&a.Cells[c], c, r.d.Spec.Measures); err != nil {
			return nil, err
		}
		for d := range r.dims {
			a.Cells[c].Labels[d] = r.scanner.coders[d].names[g.labels[c*len(r.dims)+d]]
		}
	}
	slices.SortFunc(a.Cells, func(a, b sandbox.Cell) int { return slices.Compare(a.Labels, b.Labels) })
	return a, nil
}

// described gives the measures with unit and scale.
func (r *run) described() []sandbox.Measure {
	var out []sandbox.Measure
	for _, m := range r.d.Spec.Measures {
		x := sandbox.Measure{Name: m.As, Func: m.Func}
		if m.Column != "" {
			i, name := r.column(m.Column)
			c, _ := r.d.Inputs[i].Described.Column(name)
			x.Unit, x.Scale = c.Unit, c.Scale
			if c.Type == catalog.Money {
				x.Unit, x.Scale = cmp.Or(c.Unit, "元"), 2
			}
		}
		out = append(out, x)
	}
	return out
}
