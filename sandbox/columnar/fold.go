package columnar

// fold puts all evidence into the first segment's, by tables.
func (m *Merger) fold(ev *evidence, cells []uint32) error {
	segments := append(m.segments, segment{ev: ev, cells: cells})
	m.segments = m.segments[:1]
	base := segments[0].ev
	for i, s := range segments[1:] {
		err := base.absorb(s.ev, s.cells, m.cells)
		s.ev.free()
		if err != nil {
			for _, s := range segments[i+2:] {
				s.ev.free()
			}
			return err
		}
	}
	m.subjects = base.known
	m.rememberTail()
	return nil
}

// absorb adds the evidence of a later part, whose cells have the given numbers below limit.
func (e *evidence) absorb(o *evidence, cells []uint32, limit int) error {
	ids, err := e.absorbSubjects(o, nil)
	if err != nil {
		return err
	}
	if e.first != nil {
		e.first.grow(e.known)
		for i, id := range ids {
			e.seen(id, o.first.v[i])
		}
	}
	return e.absorbPairs(o, nil, ids, cells, limit)
}

// absorbSubjects numbers the subjects of a later part, in the given order or in theirs, and gives their numbers.
func (e *evidence) absorbSubjects(o *evidence, order []uint32) ([]uint32, error) {
	ids := make([]uint32, o.known)
	a, b := make([]uint64, 0, piece), make([]uint64, 0, piece)
	at := func(i int) int {
		if order == nil {
			return i
		}
		return int(order[i])
	}
	for i := range o.known {
		p := o.people.at(at(i))
		a, b = append(a, p[0]), append(b, p[1])
		if len(a) == piece || i == o.known-1 {
			if err := e.number(a, b); err != nil {
				return nil, err
			}
			for j := range a {
				ids[at(i+1-len(a)+j)] = e.ids[j]
			}
			a, b = a[:0], b[:0]
		}
	}
	return ids, nil
}

// absorbPairs adds the pairs of a later part, in the given order or in theirs, whose subjects and cells have the given numbers, or
// their own.
func (e *evidence) absorbPairs(o *evidence, order, ids, cells []uint32, limit int) error {
	at, to := make([]int, 0, piece), make([]uint32, 0, piece)
	for n := range o.n {
		i := n
		if order != nil {
			i = int(order[n])
		}
		if key := o.keys.at(i)[0]; key != dead {
			e.ids[len(at)] = ids[uint32(key)]
			cell := uint32(key >> 32)
			if cells != nil {
				cell = cells[cell]
			}
			at, to = append(at, i), append(to, cell)
		}
		if len(at) < piece && n < o.n-1 {
			continue
		}
		if err := e.place(to, limit); err != nil {
			return err
		}
		for j, p := range e.pair[:len(at)] {
			e.merge(int(p), o, at[j])
		}
		at, to = at[:0], to[:0]
	}
	return nil
}
