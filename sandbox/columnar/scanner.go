package columnar

import (
	"context"
	"math/bits"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/columnar/vector"
)

// column resolves "alias.column".
func (r *run) column(ref string) (int, string) {
	alias, name, _ := strings.Cut(ref, ".")
	return r.alias(alias), name
}

func (r *run) filters(input int) []*filter {
	var out []*filter
	for _, f := range r.d.Spec.Filters {
		i, name := r.column(f.Column)
		if i != input {
			continue
		}
		x := &filter{col: r.find(i, name), in: map[string]bool{}, not: f.Not}
		var keep []string
		for _, l := range f.In {
			x.in[l] = true
		}
		if f.Bin == "" {
			keep = f.In
		}
		x.coder = r.coderFor(i, name, f.Bin, keep, 1<<20)
		out = append(out, x)
	}
	return out
}

// frame is a piece of joined rows: the scanned row of each, and by input its row in the lookup, or miss.
type frame struct {
	buf   []int32
	sel   []int32
	found [][]uint32
	keys  []uint32 // scratch: the key each row finds in the next lookup
}

func newFrame(inputs int) *frame {
	f := &frame{buf: make([]int32, piece), found: make([][]uint32, inputs), keys: make([]uint32, piece)}
	f.sel = f.buf
	for i := 1; i < inputs; i++ {
		f.found[i] = make([]uint32, piece)
	}
	return f
}

// scanner carries rows of the scanned input through filters, lookups and groups into a Partial. All scratch is one piece long.
type scanner struct {
	r        *run
	filters  []*filter
	terms    []vector.Term // of the batch: what filters ask of values
	labelled []*filter     // those that ask for labels
	coders   []*coder      // by label; those of lookups belong to them
	own      []bool        // the coder is the scanner's
	keys     *keyWords
	lookups  []*lookup // by input: the run's; of one that is spilled, the partition at hand
	frames   []*frame  // by input: what comes out of a lookup that gives several rows; the first are the scanned ones
	dealers  []*dealer // by input: of rows that wait for a spilled one
	back     []*back   // by input: where they come back
	key      []byte
	p        *Partial
	grouper  *grouper
	emit     func(*Partial) error // takes what does not fit in memory; nil: nobody does
	workers  int                  // how many compute

	subject int        // position of SubjectColumn in the scanned input's batch
	codes   [][]uint32 // by label
	scrap   []uint32
	cells   []uint32
	scratch [][]int64 // by value
	values  [][]int64 // by value: of the frame, in scratch or in the batch itself
	valid   [][]uint8 // by value; nil when none is missing in the piece
	flags   [][]uint8
	mask    []uint8
	words   [][]uint64
	gather  [][]int64
	points  [][]int64 // by label column that is a part of a score: what each code is worth
	sums    []int64   // of a score
}

func (s *scanner) free() {
	for _, f := range s.filters {
		f.coder.free()
	}
	for i, c := range s.coders {
		if s.own[i] {
			c.free()
		}
	}
	if s.grouper != nil {
		s.grouper.free()
	}
	for _, x := range s.back {
		if x != nil {
			x.free()
		}
	}
}

func (r *run) newScanner() *scanner {
	s := &scanner{r: r, filters: r.filters(0), scrap: make([]uint32, piece), subject: r.find(0, SubjectColumn),
		cells: make([]uint32, piece), mask: make([]uint8, piece), p: r.newPartial(), lookups: slices.Clone(r.lookups), frames: make([]*frame, len(r.lookups))}
	width := 0
	s.frames[0] = newFrame(len(r.lookups))
	for i, l := range r.lookups {
		if l != nil {
			width = max(width, l.width())
			if l.starts != nil {
				s.frames[i] = newFrame(len(r.lookups))
			}
		}
	}
	s.keys = newKeyWords(width)
	spaces := make([]uint64, r.dims)
	for n, d := range r.labels {
		s.codes = append(s.codes, make([]uint32, piece))
		if d.input > 0 {
			s.coders, s.own = append(s.coders, r.lookups[d.input].coders[n]), append(s.own, false)
		} else {
			s.coders, s.own = append(s.coders, r.newCoder(n, r.lim.MaxCells)), append(s.own, true)
		}
		if n < r.dims {
			c := s.coders[n]
			spaces[n] = uint64(c.size())
			if s.own[n] && !c.closed {
				spaces[n] = uint64(r.lim.MaxCells) + 1 // encode refuses more labels
			}
		}
	}
	for range r.values {
		s.scratch, s.flags = append(s.scratch, make([]int64, piece)), append(s.flags, make([]uint8, piece))
	}
	s.values, s.valid = make([][]int64, len(r.values)), make([][]uint8, len(r.values))
	for _, t := range r.tallies {
		for len(s.words) < t.width() {
			s.words = append(s.words, make([]uint64, piece))
		}
	}
	s.grouper = newGrouper(r.mem, spaces, r.lim.MaxCells)
	return s
}

// scan takes all batches of a part of the first input.
func (s *scanner) scan(ctx context.Context, reader batch.Reader, part int) error {
	r, rows := s.r, 0
	return r.each(ctx, 0, reader, s.useless, func(b *inputBatch) error {
		b.first = uint64(part)<<40 + uint64(rows)
		rows += b.rows
		s.terms, s.labelled = s.terms[:0], s.labelled[:0]
		for _, x := range s.filters {
			var ok bool
			if s.terms, ok = x.terms(b, s.terms); !ok {
				s.labelled = append(s.labelled, x)
			}
		}
		for lo := 0; lo < b.rows; lo += piece {
			f := s.frames[0]
			f.sel = r.kernels.Where(s.terms, lo, min(piece, b.rows-lo), f.buf)
			var err error
			for _, x := range s.labelled {
				if f.sel, err = x.byCode(b, f.sel, s.scrap); err != nil {
					return err
				}
			}
			if err := s.join(ctx, b, 1, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// join finds the partners of a frame's rows in the lookups from one on, and groups what comes out.
func (s *scanner) join(ctx context.Context, b *inputBatch, from int, f *frame) error {
	for i := from; i < len(s.lookups) && len(f.sel) > 0; i++ {
		l := s.lookups[i]
		if l.spilled != nil {
			return s.divert(ctx, b, i, f)
		}
		s.r.match(s.lookups, l, b, f, s.keys)
		if whole, err := s.take(ctx, b, i, f, l.keepsMisses); whole || err != nil {
			return err
		}
	}
	if len(f.sel) == 0 {
		return nil
	}
	return s.group(b, f)
}

// take gives a frame's rows what they found in lookup i. Where that can be several rows, they are joined with all further lookups too:
// it is whole.
func (s *scanner) take(ctx context.Context, b *inputBatch, i int, f *frame, keepsMisses bool) (whole bool, err error) {
	l := s.lookups[i]
	if l.starts != nil {
		return true, s.expand(ctx, b, i, f, keepsMisses)
	}
	n := 0
	for j, row := range s.keys.ids[:len(f.sel)] {
		if row == miss {
			if !keepsMisses {
				continue
			}
		} else if l.drop != nil && l.drop.v[row] != 0 {
			continue
		}
		f.found[i][n] = row
		if n != j {
			for k := 1; k < i; k++ {
				f.found[k][n] = f.found[k][j]
			}
			f.sel[n] = f.sel[j]
		}
		n++
	}
	f.sel = f.sel[:n]
	return false, nil
}

// expand joins a frame's rows with all rows they find in lookup i, a frame of them at a time: a key that many rows share costs time,
// not memory.
func (s *scanner) expand(ctx context.Context, b *inputBatch, i int, f *frame, keepsMisses bool) error {
	l, g := s.lookups[i], s.frames[i]
	keys := f.keys[:copy(f.keys, s.keys.ids[:len(f.sel)])]
	g.sel = g.buf
	n := 0
	flush := func() error {
		if err := s.walk(ctx, b, i, n); err != nil {
			return err
		}
		g.sel = g.buf[:n]
		n = 0
		return s.join(ctx, b, i+1, g)
	}
	missing, dropped := [1]uint32{miss}, 0
	for j, key := range keys {
		rows := missing[:]
		if key != miss {
			rows = l.order.v[l.starts.v[key]:l.starts.v[key+1]]
		} else if !keepsMisses {
			continue
		}
		for _, row := range rows {
			if row != miss && l.drop != nil && l.drop.v[row] != 0 {
				if dropped++; dropped == 1<<16 { // as much work as joined ones
					if err := s.walk(ctx, b, i, dropped); err != nil {
						return err
					}
					dropped = 0
				}
				continue
			}
			g.buf[n] = f.sel[j]
			for k := 1; k < i; k++ {
				g.found[k][n] = f.found[k][j]
			}
			g.found[i][n] = row
			if n++; n == piece {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if n > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return s.walk(ctx, b, i, dropped)
}

// walk counts rows that a join gave or looked at, over all parts of a process.
func (s *scanner) walk(ctx context.Context, b *inputBatch, i, rows int) error {
	if s.r.joined.Add(int64(rows)) > int64(s.r.lim.MaxJoined) {
		return tooLarge(string(s.r.d.Inputs[i].Dataset), "joined rows", s.r.lim.MaxJoined)
	}
	if err := ctx.Err(); err != nil {
		return &sandbox.Error{Op: "columnar", Kind: sandbox.Unavailable, Object: b.dataset, Err: err}
	}
	return nil
}

// group adds a frame's rows to their cells.
func (s *scanner) group(b *inputBatch, f *frame) error {
	r, sel, n := s.r, f.sel, len(f.sel)
	for d, p := range r.labels {
		if p.score != nil {
			continue
		}
		if p.input == 0 {
			if err := s.coders[d].encode(&b.cols[p.col], sel, s.codes[d]); err != nil {
				return err
			}
			continue
		}
		l, out := s.lookups[p.input], s.codes[d]
		codes := l.codes[d].v
		for j, row := range f.found[p.input][:n] {
			if row == miss {
				out[j] = s.coders[d].missing
			} else {
				out[j] = codes[row]
			}
		}
	}
	for d := range r.dims {
		if x := r.labels[d].score; x != nil {
			s.score(d, x, n)
		}
	}
	cells := s.cells[:n]
	if err := s.grouper.cells(s.codes[:r.dims], cells); err != nil {
		return err
	}
	if err := s.p.ev.rows(cells, s.grouper.n, &b.cols[s.subject], sel); err != nil {
		return err
	}
	if s.p.ev.first != nil {
		s.p.ev.ordinals(b, sel)
	}
	if err := s.measure(b, f, cells); err != nil {
		return err
	}
	return s.full()
}

// measure adds what the measures of a frame's rows keep.
func (s *scanner) measure(b *inputBatch, f *frame, cells []uint32) error {
	r, n, ev := s.r, len(cells), s.p.ev
	for v := range r.values {
		if r.values[v].factors == nil {
			s.load(b, f, v)
		} else if err := s.multiply(v, n); err != nil {
			return err
		}
	}
	for _, x := range r.slots {
		ev.add(x, s.values[x.value][:n], s.together(x.value, x.given, n))
	}
	for _, c := range r.counted {
		codes, missing := s.codes[c.label][:n], s.coders[c.label].missing
		for j, code := range codes {
			s.mask[j] = 1
			if code == missing {
				s.mask[j] = 0
			}
		}
		ev.count(c.rows, s.mask, n)
		if c.first > 0 {
			for j, p := range ev.pair[:n] {
				if at := c.part[codes[j]]; at >= 0 {
					ev.acc.at(int(p))[c.first+at]++
				}
			}
		}
	}
	for k, m := range r.moments {
		values := s.gather[:0]
		for _, v := range m.values {
			values = append(values, s.values[v][:n])
		}
		s.gather = values
		s.p.moments[k].add(cells, s.grouper.n, values, s.together(m.values[0], m.values[1:], n))
	}
	for k, t := range r.tallies {
		var valid []uint8
		if t.label < 0 {
			valid = s.together(t.values[0], t.values[1:], n)
		} else {
			valid = s.mask[:n]
			missing := s.coders[t.label].missing
			for j, code := range s.codes[t.label][:n] {
				valid[j] = 1
				if code == missing {
					valid[j] = 0
				}
			}
		}
		at := 0
		for j, c := range cells {
			if valid != nil && valid[j] == 0 {
				continue
			}
			s.words[0][at] = uint64(c)
			if t.label >= 0 {
				s.words[1][at] = uint64(s.codes[t.label][j])
			}
			for w, v := range t.values {
				s.words[w+1][at] = uint64(s.values[v][j])
			}
			at++
		}
		s.p.tallies[k].add(s.words, at, nil)
		if s.p.tallies[k].n > r.lim.MaxValues {
			return tooLarge("answer", "distinct values in its cells", r.lim.MaxValues)
		}
	}
	return nil
}

// load gets the values of one column for the rows of a frame.
func (s *scanner) load(b *inputBatch, f *frame, at int) {
	v, values, flags := s.r.values[at], s.scratch[at], s.flags[at]
	s.values[at], s.valid[at] = values, nil
	if v.input > 0 {
		st, found := s.lookups[v.input].values[at], f.found[v.input]
		if !v.nullable {
			for j := range f.sel {
				values[j] = int64(st.words.v[found[j]])
			}
			return
		}
		s.valid[at] = flags
		for j := range f.sel {
			values[j], flags[j] = 0, 0
			if row := found[j]; row != miss {
				values[j], flags[j] = int64(st.words.v[row]), 1-st.nulls.v[row]
			}
		}
		return
	}
	c := &b.cols[v.col]
	// Rows of the first frame rise, each standing once. What stands under a null is not looked at.
	if n := len(f.sel); f == s.frames[0] && c.ints != nil && int(f.sel[n-1]-f.sel[0]) == n-1 {
		if s.values[at] = c.ints[f.sel[0]:][:n]; c.valid != nil {
			s.valid[at] = flags
			unpack(c.valid, c.off+int(f.sel[0]), flags[:n])
		}
		return
	}
	if c.ints != nil {
		for j, i := range f.sel {
			values[j] = c.ints[i]
		}
	} else {
		for j, i := range f.sel {
			values[j] = c.word(i)
		}
	}
	if c.valid != nil {
		s.valid[at] = flags
		c.given(f.sel, flags)
	}
}

// together says in which rows a value and others are there; nil when they are in all.
func (s *scanner) together(value int, others []int, n int) []uint8 {
	out, column := s.valid[value], true
	for _, o := range others {
		v := s.valid[o]
		switch {
		case v == nil || o == value:
		case out == nil:
			out = v
		default:
			if column {
				copy(s.mask, out[:n])
				out, column = s.mask, false
			}
			for j, x := range v[:n] {
				out[j] &= x
			}
		}
	}
	if out == nil {
		return nil
	}
	return out[:n]
}

// grouper numbers label combinations from 0 in first-seen order.
type grouper struct {
	spaces []uint64
	direct []uint32         // combination → cell+1, when the whole space is small, or of one dimension as far as codes were seen
	steps  map[int]*index64 // before dimension i: the combination so far is numbered, to keep it within 64 bits
	last   *index64
	max    int
	n      int      // cells
	labels []uint32 // codes of each cell, one after the other
	mixed  []uint64
	ids    []uint32
}

func newGrouper(mem allocator, spaces []uint64, maxCells int) *grouper {
	g := &grouper{spaces: spaces, steps: map[int]*index64{}, max: maxCells, mixed: make([]uint64, piece), ids: make([]uint32, piece)}
	space := uint64(1)
	for i, n := range spaces {
		if hi, lo := bits.Mul64(space, max(n, 1)); hi != 0 || lo > 1<<62 {
			g.steps[i] = newIndex64(mem)
			space = uint64(maxCells) + piece
		}
		space *= max(n, 1)
	}
	if len(spaces) == 1 {
		g.direct = make([]uint32, min(space, 1<<10))
	} else if space <= 1<<16 {
		g.direct = make([]uint32, space)
	} else {
		g.last = newIndex64(mem)
	}
	return g
}

func (g *grouper) free() {
	for _, x := range g.steps {
		x.free()
	}
	if g.last != nil {
		g.last.free()
	}
}

// cells writes the cell of each row, given its codes by dimension.
func (g *grouper) cells(codes [][]uint32, out []uint32) error {
	if len(g.spaces) == 1 {
		return g.single(codes[0], out)
	}
	mixed := g.mixed[:len(out)]
	clear(mixed)
	for d, space := range g.spaces {
		if x := g.steps[d]; x != nil {
			x.ids(mixed, g.ids)
			if x.n > g.max { // every beginning of a combination is some cell's
				return tooLarge("answer", "cells", g.max)
			}
			for j := range mixed {
				mixed[j] = uint64(g.ids[j])
			}
		}
		c := codes[d][:len(mixed)]
		for j := range mixed {
			mixed[j] = mixed[j]*space + uint64(c[j])
		}
	}
	if g.direct == nil {
		g.last.ids(mixed, out)
		for j, c := range out {
			if int(c) == g.n {
				g.add(codes, j)
			}
		}
	} else {
		for j, m := range mixed {
			if g.direct[m] == 0 {
				g.add(codes, j)
				g.direct[m] = uint32(g.n)
			}
			out[j] = g.direct[m] - 1
		}
	}
	return g.full()
}

// single does the same for one dimension, whose codes count from 0.
func (g *grouper) single(codes, out []uint32) error {
	direct := g.direct
	for j, c := range codes[:len(out)] {
		if int(c) >= len(direct) {
			direct = append(direct, make([]uint32, int(c)+1)...)
			g.direct = direct
		}
		x := direct[c]
		if x == 0 {
			g.labels = append(g.labels, c)
			g.n++
			x = uint32(g.n)
			direct[c] = x
		}
		out[j] = x - 1
	}
	return g.full()
}

// add numbers the combination of row j.
func (g *grouper) add(codes [][]uint32, j int) {
	g.n++
	for d := range g.spaces {
		g.labels = append(g.labels, codes[d][j])
	}
}

func (g *grouper) full() error {
	if g.n > g.max {
		return tooLarge("answer", "cells", g.max)
	}
	return nil
}
