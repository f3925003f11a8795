package columnar

import (
	"context"
	"math/bits"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// place is one column a question groups by or measures.
type place struct {
	input int
	name  string
	col   int // position in the input's batch
}

// slot is one column that sums and means are made of; a sum and a mean of one column share it.
type slot struct {
	place
	nullable bool
}

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

// scanner carries the scanned input through filters, lookups and groups. All scratch is one piece long.
type scanner struct {
	filters []*filter
	coders  []*coder // by dimension; those of lookups belong to them
	own     []bool   // the coder is the scanner's
	keys    *keyWords
	found   [][]uint32 // by input: row number in its lookup, by position in the piece
	grouper *grouper

	sel    []int32
	codes  [][]uint32 // by dimension
	scrap  []uint32
	s0, s1 []uint64
	cells  []uint32
	values []int64
	valid  []uint8
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
}

func (r *run) newScanner() *scanner {
	s := &scanner{filters: r.filters(0), found: make([][]uint32, len(r.lookups)), sel: make([]int32, piece), scrap: make([]uint32, piece),
		s0: make([]uint64, piece), s1: make([]uint64, piece), cells: make([]uint32, piece), values: make([]int64, piece), valid: make([]uint8, piece)}
	r.scanner = s
	width := 0
	for i, l := range r.lookups {
		if l != nil {
			width = max(width, l.width())
			s.found[i] = make([]uint32, piece)
		}
	}
	s.keys = newKeyWords(width)
	spaces := make([]uint64, len(r.dims))
	for n, d := range r.dims {
		s.codes = append(s.codes, make([]uint32, piece))
		if d.input > 0 {
			s.coders, s.own = append(s.coders, r.lookups[d.input].coders[n]), append(s.own, false)
		} else {
			s.coders, s.own = append(s.coders, r.coderFor(0, d.name, r.d.Spec.Dimensions[n].Bin, nil, r.lim.MaxCells)), append(s.own, true)
		}
		c := s.coders[n]
		spaces[n] = uint64(len(c.names))
		if s.own[n] && !c.closed {
			spaces[n] = uint64(r.lim.MaxCells) // encode refuses more labels
		}
	}
	s.grouper = newGrouper(r.mem, spaces, r.lim.MaxCells)
	return s
}

// scan reads the first input and fills the evidence.
func (r *run) scan(ctx context.Context, open Open) error {
	s := r.newScanner()
	r.ev = newEvidence(r.mem, r.slots, r.lim)
	return r.each(ctx, 0, open, func(b *inputBatch) error {
		for lo := 0; lo < b.rows; lo += piece {
			if err := r.piece(s, b, lo, min(lo+piece, b.rows)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) piece(s *scanner, b *inputBatch, lo, hi int) error {
	sel := s.sel[:hi-lo]
	for j := range sel {
		sel[j] = int32(lo + j)
	}
	var err error
	for _, f := range s.filters {
		if sel, err = f.apply(b, sel, s.scrap); err != nil {
			return err
		}
	}
	for i, l := range r.lookups {
		if l != nil && len(sel) > 0 {
			sel = r.match(l, b, lo, sel, s.keys, s.found[i], s.found)
		}
	}
	n := len(sel)
	if n == 0 {
		return nil
	}
	for d, p := range r.dims {
		if p.input == 0 {
			if err := s.coders[d].encode(&b.cols[p.col], sel, s.codes[d]); err != nil {
				return err
			}
			continue
		}
		codes, found, out := r.lookups[p.input].codes[d].v, s.found[p.input], s.codes[d]
		for j, i := range sel {
			out[j] = codes[found[int(i)-lo]]
		}
	}
	cells := s.cells[:n]
	if err := s.grouper.cells(s.codes, cells); err != nil {
		return err
	}
	subject := &b.cols[r.find(0, SubjectColumn)]
	for j, i := range sel {
		s.s0[j], s.s1[j] = subject.subject(i)
	}
	if err := r.ev.rows(cells, s.grouper.n, s.s0[:n], s.s1[:n]); err != nil {
		return err
	}
	for at, v := range r.slots {
		if err := r.measure(s, b, lo, sel, at, v); err != nil {
			return err
		}
	}
	return nil
}

// measure adds one value column of the selected rows to the evidence.
func (r *run) measure(s *scanner, b *inputBatch, lo int, sel []int32, at int, v slot) error {
	values, valid := s.values[:len(sel)], s.valid[:len(sel)]
	some := false
	if v.input == 0 {
		c := &b.cols[v.col]
		for j, i := range sel {
			values[j] = c.ints[i]
		}
		if some = c.valid != nil; some {
			for j, i := range sel {
				valid[j] = 1
				if c.null(i) {
					values[j], valid[j] = 0, 0
				}
			}
		}
	} else {
		st, found := r.lookups[v.input].values[at], s.found[v.input]
		some = v.nullable
		for j, i := range sel {
			row := found[int(i)-lo]
			values[j], valid[j] = int64(st.words.v[row]), 1-st.nulls.v[row]
		}
	}
	if !some {
		valid = nil
	}
	if !r.ev.add(at, values, valid) {
		return fail(sandbox.TooLarge, string(r.d.Inputs[v.input].Dataset)+"."+v.name, "a sum stays within 64 bits")
	}
	return nil
}

// grouper numbers label combinations from 0 in first-seen order.
type grouper struct {
	spaces []uint64
	direct []uint32         // combination → cell+1, when the whole space is small
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
	if space <= 1<<16 {
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
	}
	for j, m := range mixed {
		if g.direct != nil {
			if g.direct[m] == 0 {
				g.direct[m] = uint32(g.n) + 1
			}
			out[j] = g.direct[m] - 1
		}
		if int(out[j]) == g.n {
			g.n++
			for d := range g.spaces {
				g.labels = append(g.labels, codes[d][j])
			}
		}
	}
	if g.n > g.max {
		return tooLarge("answer", "cells", g.max)
	}
	return nil
}
