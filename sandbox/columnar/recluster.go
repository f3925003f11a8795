package columnar

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// pairSpill is the evidence of parts on disk, in partitions by the first bits of pseudonyms. Pairs of one cell and subject from
// several parts become one when a partition comes back, so that subjects are counted exactly.
//
// A row on disk:
//
//	subject   two words
//	ordinal   a word: where the subject was first seen
//	cell      4 bytes
//	words     of the pair
//	carries   of each sum that is over 64 bits so far: its word in 4 bytes, and how many times 2^64
type pairSpill struct {
	parts   *partitions
	dealer  *dealer
	people  []uint64 // once reduced: two words a subject
	ordinal []uint64 // … and where it was first seen
}

// bytes is what evidence holds of its allocator.
func (e *evidence) bytes() int64 { return e.held.used.Load() }

// more gives the bytes that so many more subjects and pairs allocate at most, tables that grow being there twice.
func (e *evidence) more(subjects, pairs int) int64 {
	all := e.people.more(true, e.known+subjects) + e.keys.more(true, e.n+pairs) + e.acc.more(true, e.n+pairs) +
		e.pairs.more(e.known+subjects, e.n+pairs) + e.carries.more(pairs)
	if e.subjects != nil {
		all += e.subjects.more(subjects)
	} else {
		all += newSlotsFor(e.known + subjects)
	}
	if e.first != nil {
		all += e.first.more(e.known + subjects)
	}
	return all
}

// bytes is what all evidence in memory holds.
func (m *Merger) bytes() (n int64) {
	for _, s := range m.segments {
		n += s.ev.bytes()
	}
	return n
}

// spills says whether evidence goes to disk rather than into memory; it refuses what is too large for memory and has no disk.
func (m *Merger) spills(ev *evidence) (bool, error) {
	if m.spilled != nil {
		return true, nil
	}
	all := m.bytes() + ev.bytes()
	if n := len(m.segments); n > 0 && (ev.first != nil || ev.subjects != nil || m.segments[0].ev.subjects != nil) {
		all += m.segments[0].ev.more(ev.known, ev.n)
	}
	if m.r.spill == nil {
		if all > int64(m.r.lim.MaxPairBytes) {
			return false, tooManyPairs(m.r.lim)
		}
		return false, nil
	}
	return all > m.r.pairBudget(), nil
}

func tooManyPairs(lim Limits) error {
	return fail(sandbox.TooLarge, "answer", fmt.Sprintf("pairs of cell and subject take at most %d bytes of memory", lim.MaxPairBytes))
}

// pairBudget is the memory that merged evidence may hold; as much is left to parts that are not merged yet.
func (r *run) pairBudget() int64 { return int64(r.lim.MaxPairBytes) / 2 }

// partBudget is the memory that the evidence of one part may hold, where so many workers compute.
func (r *run) partBudget(workers int) int64 { return r.pairBudget() / int64(2*workers+1) }

// spillPairs writes all evidence, and that of the next part, to disk.
func (m *Merger) spillPairs(ev *evidence, cells []uint32) error {
	if m.spilled == nil {
		p := m.r.spill.partitions(0)
		m.spilled = &pairSpill{parts: p, dealer: p.dealer()}
		segments := m.segments
		m.segments, m.tail = nil, nil
		var err error
		for _, s := range segments {
			if err == nil {
				err = m.deal(s.ev, s.cells, uint64(s.subjects))
			}
			s.ev.free()
		}
		m.ordinal = uint64(m.subjects)
		if err != nil {
			return err
		}
	}
	err := m.deal(ev, cells, m.ordinal)
	m.ordinal += uint64(ev.known)
	return err
}

// deal writes evidence whose subjects are numbered from an ordinal on.
func (m *Merger) deal(ev *evidence, cells []uint32, ordinal uint64) error {
	d := m.spilled.dealer
	for i := range ev.n {
		key := ev.keys.at(i)[0]
		if key == dead {
			continue
		}
		subject, cell := uint32(key), uint32(key>>32)
		first := ordinal + uint64(subject)
		if ev.first != nil {
			first = ev.first.v[subject]
		}
		if cells != nil {
			cell = cells[cell]
		}
		who := ev.people.at(int(subject))
		p := d.to.bySubject(who[0], who[1])
		out := appendWords(d.row(p), who[0], who[1], first)
		out = appendWords(appendWord32(out, cell), ev.acc.at(i)...)
		for k, op := range ev.ops {
			if n := ev.carries.of(i, k); op == opSum && n != 0 {
				out = appendWords(appendWord32(out, uint32(k)), uint64(n))
			}
		}
		if err := d.keep(p, out); err != nil {
			return err
		}
	}
	return nil
}

// bySubject gives a pseudonym's partition; partitions stand in the order of pseudonyms.
func (p *partitions) bySubject(a, b uint64) int {
	w, level := a, p.level
	if level >= 64/fanoutBits {
		w, level = b, level-64/fanoutBits
	}
	return int(bits.ReverseBytes64(w)>>(64-fanoutBits*(level+1))) & (fanout - 1)
}

// reduce makes segments on disk of the partitions, in which every pair stands once and subjects come in order.
func (m *Merger) reduce() error {
	x := m.spilled
	if err := x.dealer.flush(); err != nil {
		return err
	}
	x.dealer = nil
	pairs := 0
	for _, f := range x.parts.files {
		s := segment{file: m.r.spill.file(), stride: len(m.r.ops)}
		m.segments = append(m.segments, s)
		w := &pairWriter{m: m, to: s.file, pairs: &pairs}
		if err := w.reduce(f, 0); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		if err := f.erase(); err != nil {
			return err
		}
	}
	m.subjects = len(x.ordinal)
	return nil
}

// pairWriter writes reduced pairs: a word of cell<<32|subject, and the pair's.
type pairWriter struct {
	m     *Merger
	to    *spilled
	held  []byte
	rows  int
	pairs *int // of all
}

func (w *pairWriter) flush() error {
	err := w.to.append(w.held, w.rows)
	clear(w.held)
	w.held, w.rows = w.held[:0], 0
	return err
}

// reduce reads a partition into memory, or where that does not hold it, deals it again. A single subject is not dealt: it has no more
// pairs than there are cells.
func (w *pairWriter) reduce(f *spilled, level int) error {
	r := w.m.r
	if f.rows == 0 {
		return nil
	}
	rows, err := f.read()
	if err != nil {
		return err
	}
	ev := newEvidence(r.mem, r.ops, r.lim)
	defer func() { ev.free() }()
	ev.first = &block[uint64]{mem: ev.held}
	var b pairBatch
	for {
		n, err := b.fill(rows, len(r.ops), w.m.cells)
		if n == 0 || err != nil {
			rows.close()
			if err != nil {
				return err
			}
			return w.write(ev)
		}
		if level+1 < 128/fanoutBits && ev.known > 1 && ev.bytes()+ev.more(n, n) > r.pairBudget() {
			rows.close()
			ev.free()
			ev = newEvidence(r.mem, r.ops, r.lim)
			return w.split(f, level+1)
		}
		if err := b.add(ev, w.m.cells); err != nil {
			rows.close()
			return err
		}
	}
}

func (w *pairWriter) split(f *spilled, level int) error {
	p := w.m.r.spill.partitions(level)
	defer func() { _ = p.erase() }()
	rows, err := f.read()
	if err != nil {
		return err
	}
	d := p.dealer()
	for {
		row, err := rows.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			c := rowCursor{b: row}
			part := p.bySubject(c.u64(), c.u64())
			err = d.keep(part, append(d.row(part), row...))
		}
		if err != nil {
			rows.close()
			return err
		}
	}
	rows.close()
	if err := d.flush(); err != nil {
		return err
	}
	for _, f := range p.files {
		if err := w.reduce(f, level); err != nil {
			return err
		}
		if err := f.erase(); err != nil {
			return err
		}
	}
	return nil
}

// write appends a partition's pairs and subjects, in the order in which subjects were first seen.
func (w *pairWriter) write(ev *evidence) error {
	x, lim := w.m.spilled, w.m.r.lim
	if err := w.m.r.over(ev); err != nil { // its pairs are whole
		return err
	}
	order, ranks := ev.byFirst()
	base := len(x.ordinal)
	for _, i := range order {
		x.people = append(x.people, ev.people.at(int(i))...)
		x.ordinal = append(x.ordinal, ev.first.v[i])
	}
	if len(x.ordinal) > lim.MaxSubjects {
		return tooLarge("answer", "subjects", lim.MaxSubjects)
	}
	if *w.pairs += ev.n; *w.pairs > lim.MaxPairs {
		return tooLarge("answer", "pairs of cell and subject", lim.MaxPairs)
	}
	pairs := ev.bySubject(ranks)
	for n := range ev.n {
		i := n
		if pairs != nil {
			i = int(pairs[n])
		}
		key := ev.keys.at(i)[0]
		w.held = appendWords(w.held, key&^0xffffffff|uint64(base)+uint64(ranks[uint32(key)]))
		w.held = appendWords(w.held, ev.acc.at(i)...)
		if w.rows++; len(w.held) >= 4*heldBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// pairBatch is a piece of rows of a pairSpill.
type pairBatch struct {
	a, b, first []uint64
	cells       []uint32
	words       []uint64
	stride      int
	carries     []carried64
}

// carried64 is a carry of one row's word.
type carried64 struct {
	row, word int
	n         int64
}

// fill reads up to a piece of rows, whose cells are below limit.
func (x *pairBatch) fill(rows *rowReader, stride, limit int) (int, error) {
	x.a, x.b, x.first, x.cells, x.words, x.stride, x.carries = x.a[:0], x.b[:0], x.first[:0], x.cells[:0], x.words[:0], stride, x.carries[:0]
	for len(x.a) < piece {
		row, err := rows.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		c := rowCursor{b: row}
		x.a, x.b, x.first, x.cells = append(x.a, c.u64()), append(x.b, c.u64()), append(x.first, c.u64()), append(x.cells, c.u32())
		for range stride {
			x.words = append(x.words, c.u64())
		}
		for !c.bad && len(c.b) > 0 {
			over := carried64{row: len(x.a) - 1, word: int(c.u32()), n: int64(c.u64())}
			c.bad = c.bad || over.word >= stride
			x.carries = append(x.carries, over)
		}
		if c.bad || int(x.cells[len(x.cells)-1]) >= limit {
			return 0, notSpilled()
		}
	}
	return len(x.a), nil
}

// add makes the rows part of evidence.
func (x *pairBatch) add(ev *evidence, limit int) error {
	if err := ev.number(x.a, x.b); err != nil {
		return err
	}
	ev.first.grow(ev.known)
	for j, first := range x.first {
		ev.seen(ev.ids[j], first+1)
	}
	if err := ev.place(x.cells, limit); err != nil {
		return err
	}
	for j, p := range ev.pair[:len(x.a)] {
		ev.mergeWords(int(p), x.words[j*x.stride:][:x.stride])
	}
	for _, c := range x.carries {
		ev.carries.add(ev.acc.mem, int(ev.pair[c.row]), c.word, c.n)
	}
	return nil
}

// fromDisk calls f for a page of a reduced segment's pairs after the other.
func (s segment) fromDisk(f func(keys, acc []uint64)) error {
	rows, err := s.file.read()
	if err != nil {
		return err
	}
	defer rows.close()
	size := 8 * (1 + s.stride)
	keys, acc := make([]uint64, 0, piece), make([]uint64, 0, piece*s.stride)
	for {
		keys, acc = keys[:0], acc[:0]
		for len(keys) < piece {
			err := rows.fill(size)
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			b := rows.buf[rows.from:][:size]
			rows.from += size
			keys = append(keys, binary.LittleEndian.Uint64(b))
			for b = b[8:]; len(b) > 0; b = b[8:] {
				acc = append(acc, binary.LittleEndian.Uint64(b))
			}
		}
		if len(keys) == 0 {
			return nil
		}
		f(keys, acc)
	}
}

// known is how many subjects a segment in memory has.
func (s segment) known() int {
	if s.ev == nil {
		return 0
	}
	return s.ev.known
}

// byOrdinal ranks the subjects of reduced segments by where they were first seen; nil when they are numbered so.
func (x *pairSpill) byOrdinal() []uint32 {
	if slices.IsSorted(x.ordinal) {
		return nil
	}
	order, ranks := make([]uint32, len(x.ordinal)), make([]uint32, len(x.ordinal))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(x.ordinal[a], x.ordinal[b]) })
	for rank, i := range order {
		ranks[i] = uint32(rank)
	}
	return ranks
}

// arrange puts the contributors of each cell, and what they add, in order.
func (t *totals) arrange(cells int) {
	columns := slices.Clone(t.contributions)
	for _, d := range t.divisors {
		if d != nil {
			columns = append(columns, d)
		}
	}
	_ = parallel(cells, t.workers, func(c int) error {
		who := t.contributors[t.begin[c]:t.begin[c+1]]
		if slices.IsSorted(who) {
			return nil
		}
		order := make([]uint32, len(who))
		for i := range order {
			order[i] = uint32(i)
		}
		slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(who[a], who[b]) })
		sorted := make([]int64, len(who))
		for _, column := range columns {
			part := column[t.begin[c]:t.begin[c+1]]
			for n, i := range order {
				sorted[n] = part[i]
			}
			copy(part, sorted)
		}
		slices.Sort(who)
		return nil
	})
}
