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

// NewKernel reads the looked-up inputs of a plan. The caller frees it.
func NewKernel(ctx context.Context, mem memory.Allocator, plan Plan, open Open, lim Limits) (*Kernel, error) {
	r, err := newRun(mem, plan, lim)
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(r.d.Inputs); i++ {
		if err := r.build(ctx, i, open); err != nil {
			r.free()
			return nil, err
		}
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

// Consume reads a part of the scanned input, closes its reader and gives what it adds.
func (k *Kernel) Consume(ctx context.Context, reader batch.Reader) (*Partial, error) {
	s := k.r.newScanner()
	defer s.free()
	if err := s.scan(ctx, reader); err != nil {
		s.p.Free()
		return nil, err
	}
	s.p.cells, s.p.codes = s.grouper.n, s.grouper.labels
	s.p.labels = make([]*labels, len(s.coders))
	for d, c := range s.coders {
		if s.own[d] {
			s.p.labels[d], c.labels = c.labels, nil
		}
	}
	return s.p, nil
}

// segment is the evidence of one part, or of several: its cells and subjects have their own numbers.
type segment struct {
	ev       *evidence
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
		s.ev.free()
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
	n := len(m.segments)
	if n == 0 {
		for i, c := range cells {
			if int(c) != i { // cells without pairs came before
				ev.free()
				return notThis()
			}
		}
		m.segments = append(m.segments, segment{ev, nil, 0}) // its cells were numbered first
		m.subjects = ev.known
		m.rememberTail()
		return nil
	}
	last := m.segments[n-1].ev
	a, b := ev.people.at(0), last.people.at(last.known-1)
	same := a[0] == b[0] && a[1] == b[1]
	if !last.clusters() || !ev.clusters() || !same && !follows(a[0], a[1], b[0], b[1]) {
		return m.fold(ev, cells)
	}
	s := segment{ev, cells, m.subjects}
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
	ids := make([]uint32, o.known)
	a, b := make([]uint64, 0, piece), make([]uint64, 0, piece)
	for i := range o.known {
		p := o.people.at(i)
		a, b = append(a, p[0]), append(b, p[1])
		if len(a) == piece || i == o.known-1 {
			if err := e.number(a, b); err != nil {
				return err
			}
			copy(ids[i+1-len(a):], e.ids[:len(a)])
			a, b = a[:0], b[:0]
		}
	}
	at, to := make([]int, 0, piece), make([]uint32, 0, piece)
	for i := range o.n {
		if key := o.keys.at(i)[0]; key != dead {
			e.ids[len(at)] = ids[uint32(key)]
			at, to = append(at, i), append(to, cells[key>>32])
		}
		if len(at) < piece && i < o.n-1 {
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

// Finalize gives the answer. The Merger is spent.
func (k *Kernel) Finalize(m *Merger) (*sandbox.Answer, error) {
	a, err := m.answer(k.workers)
	if err != nil {
		return nil, err
	}
	a.Inputs = slices.Clone(k.inputs)
	return a, nil
}
