package columnar

import (
	"context"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// Kernel (计算核) computes one question part by part: Init a Partial for each part of the scanned input, Consume the part's rows into
// it, Merge the Partials in the order of the parts, Finalize. The answer is the same bits however the rows are cut into parts and
// whoever computes them. Encode and Decode carry a Partial between processes. Lookups are built once and shared; any number of goroutines
// may Consume, each into its own Partial.
type Kernel struct {
	r       *run
	inputs  []sandbox.InputVersion
	workers int
}

// NewKernel reads the looked-up inputs of a plan. The caller frees it. Of src it uses Open and Spill.
func NewKernel(ctx context.Context, mem memory.Allocator, plan Plan, src Source, lim Limits) (*Kernel, error) {
	if src.Spill != nil && lim.MaxPairBytes == 0 {
		lim.MaxPairBytes = 1 << 30
	}
	r, err := newRun(mem, plan, lim)
	if err != nil {
		return nil, err
	}
	if src.Spill != nil {
		r.spill = newSpiller(src.Spill, r.lim.MaxSpillBytes, src.Seed)
	}
	for i := 1; i < len(r.d.Inputs); i++ {
		if err := r.build(ctx, i, src.Open); err != nil {
			r.free()
			return nil, err
		}
	}
	if r.graced {
		r.carry()
	}
	return &Kernel{r: r, inputs: slices.Clone(plan.Inputs), workers: 1}, nil
}

// Free gives the memory of the lookups back.
func (k *Kernel) Free() { k.r.free() }

// Columns names what of the scanned input is opened.
func (k *Kernel) Columns() (sandbox.DatasetID, []string) {
	return k.r.d.Inputs[0].Dataset, k.r.columns(0)
}

// Partial (部分结果) is what one part of the scanned input adds to an answer. It holds pseudonyms and what each adds: it is grade-4 data
// and leaves its process sealed only.
type Partial struct {
	labels  []*labels // by label column; nil where they are a lookup's
	cells   int
	read    bool     // it comes out of an encoding: its cells may stand twice
	codes   []uint32 // of each cell's dimensions, one cell after the other
	ev      *evidence
	moments []*moments
	tallies []*tally
}

// String keeps it out of logs.
func (*Partial) String() string { return "partial(redacted)" }

// GoString keeps it out of %#v.
func (*Partial) GoString() string { return "partial(redacted)" }

func (r *run) newPartial() *Partial {
	p := &Partial{ev: newEvidence(r.mem, r.ops, r.lim)}
	for _, m := range r.moments {
		p.moments = append(p.moments, newMoments(r.mem, len(m.values)))
	}
	for _, t := range r.tallies {
		p.tallies = append(p.tallies, newTally(r.mem, t.width()))
	}
	return p
}

// Free gives its memory back. Merge does it.
func (p *Partial) Free() {
	if p.ev != nil {
		p.ev.free()
	}
	for _, m := range p.moments {
		m.free()
	}
	for _, t := range p.tallies {
		t.free()
	}
	for _, l := range p.labels {
		if l != nil {
			l.free()
		}
	}
	*p = Partial{}
}

// Consume reads a part of the scanned input, closes its reader and gives what it adds. Its pairs are in memory, at most MaxPairBytes.
func (k *Kernel) Consume(ctx context.Context, reader batch.Reader) (*Partial, error) {
	return k.consume(ctx, reader, nil)
}

// consume does the same and gives a Partial whenever its pairs pass the budget of a part, the last one at the end.
func (k *Kernel) consume(ctx context.Context, reader batch.Reader, emit func(*Partial) error) (*Partial, error) {
	s := k.r.newScanner()
	s.emit, s.workers = emit, k.workers
	defer s.free()
	var g *grace
	if k.r.graced {
		g = k.r.newGrace([]*scanner{s})
		defer g.free()
	}
	err := s.scan(ctx, reader, 0)
	if err == nil && g != nil {
		err = g.finish(ctx)
	}
	p := s.partial()
	if err == nil && g != nil {
		err = p.inOrder(k.r)
	}
	if err != nil {
		p.Free()
		return nil, err
	}
	return p, nil
}

// full gives what was scanned so far away when the pairs of a further piece could pass their memory.
func (s *scanner) full() error {
	ev := s.p.ev
	used := ev.bytes() + ev.more(piece, piece)
	if s.emit == nil {
		if ev.bytes() > int64(s.r.lim.MaxPairBytes) {
			return tooManyPairs(s.r.lim)
		}
		return nil
	}
	if used <= s.r.partBudget(s.workers) {
		return nil
	}
	p := s.partial()
	first := p.ev.first != nil
	s.p = s.r.newPartial()
	if first {
		s.p.ev.first = &block[uint64]{mem: s.p.ev.held}
	}
	for d, own := range s.own {
		if own {
			s.coders[d].free()
			s.coders[d] = s.r.newCoder(d, s.r.lim.MaxCells)
		}
	}
	s.sums, s.points = nil, nil // codes begin anew
	spaces := s.grouper.spaces
	s.grouper.free()
	s.grouper = newGrouper(s.r.mem, spaces, s.r.lim.MaxCells)
	return s.emit(p)
}

// partial gives what was scanned so far, labels included: the coders are spent.
func (s *scanner) partial() *Partial {
	p := s.p
	p.cells, p.codes = s.grouper.n, s.grouper.labels
	p.labels = make([]*labels, len(s.coders))
	for d, c := range s.coders {
		if s.own[d] {
			p.labels[d], c.labels = c.labels, nil
		}
	}
	return p
}

// inOrder numbers subjects in the order of their first rows, as if rows had come so, and their pairs with them.
func (p *Partial) inOrder(r *run) error {
	order, ranks := p.ev.byFirst()
	sorted := newEvidence(r.mem, r.ops, r.lim)
	ids, err := sorted.absorbSubjects(p.ev, order)
	if err == nil {
		err = sorted.absorbPairs(p.ev, p.ev.bySubject(ranks), ids, nil, p.cells)
	}
	p.ev.free()
	p.ev = sorted
	return err
}

// segment is the evidence of one part, or of several: its cells and subjects have their own numbers.
type segment struct {
	ev       *evidence
	file     *spilled // instead of ev: reduced pairs, so many words each
	stride   int
	cells    []uint32 // → cell of the whole
	subjects int      // the number of its first subject in the whole
}

// cell gives the number of one of its cells in the whole; the first segment's are their own.
func (s segment) cell(c uint32) int {
	if s.cells == nil {
		return int(c)
	}
	return int(s.cells[c])
}

// dead marks a pair that became part of another.
const dead = ^uint64(0)

// Merger (合并) puts Partials together in the order of their parts.
type Merger struct {
	r        *run
	labels   []*labels // by label column
	cells    int
	codes    []uint32 // of each cell's dimensions
	grouper  *grouper // nil while there is one part
	segments []segment
	subjects int
	tail     []tailPair // pairs of the last subject
	begun    bool
	spilled  *pairSpill // where evidence is, once it did not fit in memory
	ordinal  uint64     // then: of the next part's first subject
	moments  []*moments
	tallies  []*tally
}

type tailPair struct {
	cell int
	ev   *evidence
	pair int
}

// Init starts an answer.
func (k *Kernel) Init() *Merger {
	r := k.r
	m := &Merger{r: r, labels: make([]*labels, len(r.labels))}
	for d := range r.labels {
		if in := r.labels[d].input; in > 0 {
			m.labels[d] = r.lookups[in].coders[d].labels
		}
	}
	return m
}

// Free gives memory back.
func (m *Merger) Free() {
	if m.grouper != nil {
		m.grouper.free()
	}
	for d, l := range m.labels {
		if l != nil && m.r.labels[d].input == 0 {
			l.free()
		}
	}
	for _, s := range m.segments {
		if s.file != nil {
			_ = s.file.erase()
		} else {
			s.ev.free()
		}
	}
	if m.spilled != nil {
		_ = m.spilled.parts.erase()
	}
	for _, x := range m.moments {
		x.free()
	}
	for _, t := range m.tallies {
		t.free()
	}
	m.grouper, m.labels, m.segments, m.moments, m.tallies = nil, nil, nil, nil, nil
}

// Merge adds the Partial of the next part and takes it over, also when it fails.
func (m *Merger) Merge(p *Partial) error {
	defer p.Free()
	codes := make([][]uint32, len(m.labels)) // by label column: code of the part → code; nil: they are the same
	if !m.begun {
		m.begun = true
		for d, l := range p.labels {
			if l != nil {
				m.labels[d], p.labels[d] = l, nil
			}
		}
		m.cells, m.codes = p.cells, p.codes
		m.moments, m.tallies = p.moments, p.tallies // every number is its own
		p.moments, p.tallies = nil, nil
		if p.read {
			if err := m.number(); err != nil {
				return err
			}
		}
		ev := p.ev
		p.ev = nil
		return m.append(ev, nil)
	}
	if err := m.number(); err != nil {
		return err
	}
	for d, l := range p.labels {
		if l != nil {
			codes[d] = m.labels[d].add(l)
		}
	}
	cells, err := m.translate(p.cells, p.codes, codes)
	if err != nil {
		return err
	}
	for k, x := range p.moments {
		for c, to := range cells {
			m.moments[k].merge(int(to), x, c)
		}
	}
	for k, t := range p.tallies {
		if err := m.tally(k, t, cells, codes); err != nil {
			return err
		}
	}
	ev := p.ev
	p.ev = nil
	return m.append(ev, cells)
}

// number gives the cells of the first part a grouper, once another part or a check needs it.
func (m *Merger) number() error {
	if m.grouper != nil {
		return nil
	}
	spaces := make([]uint64, m.r.dims)
	for d := range spaces {
		spaces[d] = 1 << 32
	}
	m.grouper = newGrouper(m.r.mem, spaces, m.r.lim.MaxCells)
	_, err := m.translate(m.cells, m.codes, make([][]uint32, m.r.dims))
	return err
}

// translate numbers a part's cells in the whole.
func (m *Merger) translate(cells int, own []uint32, codes [][]uint32) ([]uint32, error) {
	dims := m.r.dims
	out := make([]uint32, cells)
	by := make([][]uint32, dims)
	for d := range by {
		by[d] = make([]uint32, piece)
	}
	for lo := 0; lo < cells; lo += piece {
		n := min(piece, cells-lo)
		for d := range by {
			for j := range n {
				if by[d][j] = own[(lo+j)*dims+d]; codes[d] != nil {
					by[d][j] = codes[d][by[d][j]]
				}
			}
		}
		if err := m.grouper.cells(by, out[lo:lo+n]); err != nil {
			return nil, err
		}
	}
	seen := make([]bool, m.grouper.n)
	for _, c := range out {
		if seen[c] {
			return nil, notThis()
		}
		seen[c] = true
	}
	m.cells, m.codes = m.grouper.n, m.grouper.labels
	return out, nil
}

// notThis says that a decoded Partial is not what Encode wrote.
func notThis() error {
	return fail(sandbox.Tampered, "partial", "a partial of this question in its one encoding")
}

// tally adds what a part counted.
func (m *Merger) tally(k int, t *tally, cells []uint32, codes [][]uint32) error {
	words, times := make([][]uint64, t.width), make([]uint64, piece)
	for w := range words {
		words[w] = make([]uint64, piece)
	}
	label := m.r.tallies[k].label
	for lo := 0; lo < t.n; lo += piece {
		n := min(piece, t.n-lo)
		for j := range n {
			x := t.words.at(lo + j)
			words[0][j], times[j] = uint64(cells[x[0]]), t.counts.v[lo+j]
			for w := 1; w < t.width; w++ {
				words[w][j] = x[w]
			}
			if label >= 0 && codes[label] != nil {
				words[1][j] = uint64(codes[label][x[1]])
			}
		}
		m.tallies[k].add(words, n, times)
	}
	if m.tallies[k].n > m.r.lim.MaxValues {
		return tooLarge("answer", "distinct values in its cells", m.r.lim.MaxValues)
	}
	return nil
}

// append takes the evidence of the next part. Parts in the order of subjects, as versions are kept, stay as they are; only the subject
// whose rows two parts share becomes one. Others are put into one table.
func (m *Merger) append(ev *evidence, cells []uint32) error {
	if ev.known == 0 {
		ev.free()
		return nil
	}
	if spills, err := m.spills(ev); spills || err != nil {
		if err == nil {
			err = m.spillPairs(ev, cells)
		}
		ev.free()
		return err
	}
	n := len(m.segments)
	if n == 0 {
		for i, c := range cells {
			if int(c) != i { // cells without pairs came before
				ev.free()
				return notThis()
			}
		}
		m.segments = append(m.segments, segment{ev: ev}) // its cells were numbered first
		m.subjects = ev.known
		m.rememberTail()
		return nil
	}
	last := m.segments[n-1].ev
	a, b := ev.people.at(0), last.people.at(last.known-1)
	same := a[0] == b[0] && a[1] == b[1]
	if ev.first != nil || !last.clusters() || !ev.clusters() || !same && !follows(a[0], a[1], b[0], b[1]) {
		return m.fold(ev, cells)
	}
	s := segment{ev: ev, cells: cells, subjects: m.subjects}
	if same {
		s.subjects--
	}
	m.subjects = s.subjects + ev.known
	m.segments = append(m.segments, s)
	pairs := ev.n - m.dead(same, s)
	for _, s := range m.segments[:n] {
		pairs += s.ev.n
	}
	if m.subjects > m.r.lim.MaxSubjects {
		return tooLarge("answer", "subjects", m.r.lim.MaxSubjects)
	}
	if pairs > m.r.lim.MaxPairs {
		return tooLarge("answer", "pairs of cell and subject", m.r.lim.MaxPairs)
	}
	m.share(same, s)
	return nil
}

// dead counts the pairs of a segment that share makes part of others.
func (m *Merger) dead(same bool, s segment) int {
	n := 0
	for i := 0; same && i < s.ev.n && uint32(s.ev.keys.at(i)[0]) == 0; i++ {
		if m.tailPair(s.cell(uint32(s.ev.keys.at(i)[0]>>32))).ev != nil {
			n++
		}
	}
	return n
}

func (m *Merger) tailPair(cell int) tailPair {
	for _, t := range m.tail {
		if t.cell == cell {
			return t
		}
	}
	return tailPair{}
}

// share makes the pairs of a segment's first subject part of those that came before, where it had rows in them.
func (m *Merger) share(same bool, s segment) {
	keep := m.tail
	for i := 0; same && i < s.ev.n && uint32(s.ev.keys.at(i)[0]) == 0; i++ {
		key := s.ev.keys.at(i)
		cell := s.cell(uint32(key[0] >> 32))
		if t := m.tailPair(cell); t.ev != nil {
			t.ev.merge(t.pair, s.ev, i)
			key[0] = dead
		} else {
			keep = append(keep, tailPair{cell, s.ev, i})
		}
	}
	if m.rememberTail(); same && s.ev.known == 1 {
		m.tail = keep
	}
}

// rememberTail finds the pairs of the last subject, whose rows the next part may go on with.
func (m *Merger) rememberTail() {
	s := m.segments[len(m.segments)-1]
	m.tail = nil
	if !s.ev.clusters() {
		return
	}
	for i := s.ev.n - 1; i >= 0; i-- {
		key := s.ev.keys.at(i)[0]
		if key != dead && int(uint32(key)) != s.ev.known-1 {
			break
		}
		if key != dead {
			m.tail = append(m.tail, tailPair{s.cell(uint32(key >> 32)), s.ev, i})
		}
	}
}

// Finalize gives the answer. The Merger is spent.
func (k *Kernel) Finalize(m *Merger) (*sandbox.Answer, error) {
	a, err := m.answer(k.workers)
	if err != nil {
		return nil, err
	}
	a.Inputs = slices.Clone(k.inputs)
	return a, nil
}
