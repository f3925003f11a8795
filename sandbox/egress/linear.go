package egress

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of the search for combinations of answers. Over them an answer is uncertified: it leaves by people's review only.
const (
	MaxCombined = 512     // cells of the new answer and of earlier ones that share people with it
	maxMembers  = 1 << 26 // people in all of them together
	maxSmall    = 4096    // groups of few people that a combination reaches
)

const tooMany = "more cells share people than combinations are searched over"

// combine searches all linear combinations of answers, whatever their signs and factors. Source: rule 18 of the gate, rank test.
//
// For each measure, people who add the same, or the same times a factor, to every cell are one atom. A combination of cells is a
// combination of the rows of the matrix cells × atoms; its support is the people on whom it does not vanish. A support of fewer than
// MinSubjects people is made of atoms of fewer people alone: so what a combination could isolate is found among those that vanish on
// every atom of MinSubjects people and more. Where these vanish on all others too, no combination isolates anybody.
//
// Arithmetic is modulo a prime near 2^61: a combination that vanishes in fractions does so here, so that nothing is overlooked; what is
// reported vanishes on every large atom, which is looked at once more.
func (c *comparison) combine() Comparison {
	var out Comparison
	names := slices.Clone(c.all[0].measures)
	if c.all[0].heads {
		names = append(names, "")
	}
	for _, name := range names {
		s := c.system(name)
		if len(s.rows) < 2 {
			continue
		}
		if len(s.rows) > MaxCombined { // the new answer alone
			if c.alone() {
				continue // a combination gives whole cells away, and no part of one
			}
			out.Uncertified = tooMany
			continue
		}
		if s.members > maxMembers {
			out.Uncertified = "more people are in the cells than combinations are searched over"
			continue
		}
		f, open := s.search()
		if f != nil {
			return Comparison{Finding: f}
		}
		if open != "" {
			out.Uncertified = open
		}
	}
	return out
}

// alone says whether the new answer's cells share nobody, with each other and with earlier ones.
func (c *comparison) alone() bool {
	if c.only == nil {
		return false
	}
	all := roaring.New()
	for i := range c.all[0].cells {
		all.Or(c.all[0].cells[i].who)
	}
	return !slices.ContainsFunc(c.groups, func(g *met) bool { return g.who.Intersects(all) })
}

// system is the cells that give one measure, or count people: each distinct one a row.
type system struct {
	c       *comparison
	rows    []place
	measure []int // by row; -1: people
	members int
}

func (c *comparison) system(name string) *system {
	s := &system{c: c}
	seen := map[[2]fingerprint]bool{}
	add := func(at place) {
		e := c.all[at.answer]
		m := slices.Index(e.measures, name)
		x := &e.cells[at.cell]
		key := [2]fingerprint{x.mark, {}}
		if name == "" {
			if m = -1; !e.heads {
				return
			}
		} else if m < 0 || x.adds[m].counted == 0 {
			return
		} else {
			key[1] = x.adds[m].mark
		}
		if !seen[key] {
			seen[key] = true
			s.rows, s.measure, s.members = append(s.rows, at), append(s.measure, m), s.members+x.n
		}
	}
	for i := range c.all[0].cells {
		add(place{0, i})
	}
	mine := len(s.rows)
	for _, g := range c.groups {
		if g.near {
			for _, at := range g.places {
				add(at)
			}
		}
	}
	if mine == 0 {
		s.rows = nil
	}
	return s
}

// part is what the people of an atom add to a row, modulo the prime.
type part struct {
	row   int
	value uint64
}

// atom is people whom no combination tells apart.
type atom struct {
	people int
	parts  []part
}

// each goes over what people add to a row that is not nothing.
func (s *system) each(row int, f func(who uint32, v int64)) {
	x, m := s.c.cell(s.rows[row]), s.measure[row]
	each(x.who, func(k int, who uint32) {
		if m < 0 {
			f(who, 1)
		} else if v := x.adds[m].at(k); v != 0 {
			f(who, v)
		}
	})
}

// atoms groups people.
func (s *system) atoms() []atom {
	n := len(s.c.b.numbers.tokens)
	scale := make([]int64, n) // the greatest common divisor of what a person adds, with the sign of the first
	for r := range s.rows {
		s.each(r, func(who uint32, v int64) { scale[who] = divisor(scale[who], v) })
	}
	// People of one atom come to one hash; that two atoms do is as likely as two fingerprints being equal.
	hash := make([]fingerprint, n)
	for r := range s.rows {
		w := weights(uint64(r) + 1)
		s.each(r, func(who uint32, v int64) {
			x := residue(v / scale[who])
			hash[who].add(fingerprint{mulmod(w[0], mulmod(x, mulmod(x, x+w[1]))), mulmod(w[1], mulmod(x, x+w[0]))})
		})
	}
	index := map[fingerprint]int32{}
	of := make([]int32, n) // by person: its atom+1 where the person stands for it
	var out []atom
	for who, h := range hash {
		if scale[who] == 0 {
			continue
		}
		at, ok := index[h]
		if !ok {
			at = int32(len(out))
			index[h] = at
			out = append(out, atom{})
			of[who] = at + 1
		}
		out[at].people++
	}
	for r := range s.rows {
		s.each(r, func(who uint32, v int64) {
			if of[who] > 0 {
				a := &out[of[who]-1]
				a.parts = append(a.parts, part{r, residue(v / scale[who])})
			}
		})
	}
	return out
}

func divisor(a, b int64) int64 {
	if a == 0 {
		return b
	}
	x, y := magnitude(a), magnitude(b)
	for y != 0 {
		x, y = y, x%y
	}
	if x > 1<<62 {
		x = 1
	}
	if a < 0 {
		return -int64(x)
	}
	return int64(x)
}

// search finds a combination with small support, or says why that there is none is not certain.
func (s *system) search() (*Finding, string) {
	n := len(s.rows)
	var large, small []atom
	for _, a := range s.atoms() {
		if frequency(a.people, s.c.p) {
			small = append(small, a)
		} else {
			large = append(large, a)
		}
	}
	if len(small) == 0 {
		return nil, ""
	}
	null := s.vanishing(large, n)
	// What vanishes on all small atoms too is no use: two random combinations say whether any does not.
	random := stream{label: "opdomain/egress/combine/v1"}
	var probe [2][]uint64
	for k := range probe {
		probe[k] = make([]uint64, n)
		for _, y := range null {
			f := random.next()
			for r := range y {
				probe[k][r] = addmod(probe[k][r], mulmod(f, y[r]))
			}
		}
	}
	reached := slices.DeleteFunc(small, func(a atom) bool { return a.on(probe[0]) == 0 && a.on(probe[1]) == 0 })
	if len(reached) == 0 {
		return nil, ""
	}
	slices.SortFunc(reached, func(a, b atom) int {
		return cmp.Or(cmp.Compare(b.people, a.people), slices.CompareFunc(a.parts, b.parts, func(x, y part) int { return cmp.Or(cmp.Compare(x.row, y.row), cmp.Compare(x.value, y.value)) }))
	})
	if len(reached) > maxSmall {
		return nil, "combinations of answers reach more small groups of people than are searched"
	}
	// Rows: combinations; columns: reached atoms, then the combination itself.
	width := len(reached)
	m := make([][]uint64, 0, len(null))
	for _, y := range null {
		row := make([]uint64, width, width+n)
		for j := range reached {
			row[j] = reached[j].on(y)
		}
		m = append(m, append(row, y...))
	}
	best, dimension := 0, 0
	var by []uint64
	order := make([]int, width+n) // the combination's own columns make the form the only one there is
	for j := range order {
		order[j] = j
	}
	// The least support is looked for among the rows of reduced forms, in several orders of the columns; the smallest atoms last, so
	// that rows keep to them.
	for try := range 8 {
		if try > 0 {
			for j := width - 1; j > 0; j-- {
				k := int(random.next() % uint64(j+1))
				order[j], order[k] = order[k], order[j]
			}
		}
		m = reduce(m, order)
		dimension = 0
		for _, row := range m {
			if !slices.ContainsFunc(row[:width], func(v uint64) bool { return v != 0 }) {
				break
			}
			dimension++
			support := 0
			for j := range reached {
				if row[j] != 0 {
					support += reached[j].people
				}
			}
			if (best == 0 || support < best) && s.mine(row[width:]) {
				best, by = support, slices.Clone(row[width:])
			}
		}
		if dimension == 1 {
			break
		}
	}
	if best > 0 && frequency(best, s.c.p) && !slices.ContainsFunc(large, func(a atom) bool { return a.on(by) != 0 }) {
		return s.found(by, best), ""
	}
	if dimension == 1 {
		return nil, ""
	}
	return nil, fmt.Sprintf("%d combinations of answers reach groups of people that no answer shows; the smallest found has enough people, a smaller one is not ruled out", dimension)
}

// mine says whether a combination takes in a cell of the new answer.
func (s *system) mine(y []uint64) bool {
	for r, v := range y {
		if v != 0 && s.rows[r].answer == 0 {
			return true
		}
	}
	return false
}

// on gives what a combination comes to on an atom.
func (a *atom) on(y []uint64) uint64 {
	v := uint64(0)
	for _, p := range a.parts {
		v = addmod(v, mulmod(y[p.row], p.value))
	}
	return v
}

// vanishing gives a basis of the combinations of n rows that vanish on atoms. Of very many atoms random sums are taken, which can only
// leave more combinations, never fewer.
func (s *system) vanishing(atoms []atom, n int) [][]uint64 {
	columns := make([][]uint64, 0, min(len(atoms), 4*n))
	if len(atoms) <= 4*n {
		for _, a := range atoms {
			col := make([]uint64, n)
			for _, p := range a.parts {
				col[p.row] = p.value
			}
			columns = append(columns, col)
		}
	} else {
		random := stream{label: "opdomain/egress/sums/v1"}
		for range 2 * n {
			columns = append(columns, make([]uint64, n))
		}
		for _, a := range atoms {
			for range 3 {
				r := random.next()
				col := columns[r%uint64(len(columns))]
				for _, p := range a.parts {
					col[p.row] = addmod(col[p.row], mulmod(r, p.value))
				}
			}
		}
	}
	// [columns as columns | identity], reduced: rows that are zero on the left are the combinations.
	width := len(columns)
	m := make([][]uint64, n)
	for r := range m {
		m[r] = make([]uint64, width+n)
		for j, col := range columns {
			m[r][j] = col[r]
		}
		m[r][width+r] = 1
	}
	order := make([]int, width)
	for j := range order {
		order[j] = j
	}
	rank := echelon(m, order)
	out := make([][]uint64, 0, n-rank)
	for _, row := range m[rank:] {
		out = append(out, row[width:])
	}
	return out
}

// echelon brings rows into echelon form by some columns in an order, and gives the rank.
func echelon(m [][]uint64, order []int) int {
	rank := 0
	for _, j := range order {
		p := rank
		for p < len(m) && m[p][j] == 0 {
			p++
		}
		if p == len(m) {
			continue
		}
		m[rank], m[p] = m[p], m[rank]
		pivot := m[rank]
		inverse := power(pivot[j], mersenne-2)
		for r := rank + 1; r < len(m); r++ {
			if m[r][j] != 0 {
				subtract(m[r], pivot, mulmod(m[r][j], inverse))
			}
		}
		if rank++; rank == len(m) {
			break
		}
	}
	return rank
}

// reduce gives the reduced echelon form by some columns in an order, without zero rows.
func reduce(m [][]uint64, order []int) [][]uint64 {
	rank := 0
	for _, j := range order {
		p := rank
		for p < len(m) && m[p][j] == 0 {
			p++
		}
		if p == len(m) {
			continue
		}
		m[rank], m[p] = m[p], m[rank]
		pivot := m[rank]
		inverse := power(pivot[j], mersenne-2)
		for r := range m {
			if r != rank && m[r][j] != 0 {
				subtract(m[r], pivot, mulmod(m[r][j], inverse))
			}
		}
		if rank++; rank == len(m) {
			break
		}
	}
	return m[:rank]
}

// subtract takes f times a row from another.
func subtract(from, row []uint64, f uint64) {
	f = mersenne - f
	for j, v := range row {
		if v != 0 {
			from[j] = addmod(from[j], mulmod(f, v))
		}
	}
}

func power(x, e uint64) uint64 {
	out := uint64(1)
	for i := bits.Len64(e) - 1; i >= 0; i-- {
		out = mulmod(out, out)
		if e>>i&1 == 1 {
			out = mulmod(out, x)
		}
	}
	return out
}

// stream is numbers that look random and are the same in every run; no asker chooses what they meet.
type stream struct {
	label string
	n     uint64
}

func (s *stream) next() uint64 {
	s.n++
	d := sm.Sum([]byte(s.label), binary.BigEndian.AppendUint64(nil, s.n))
	return binary.BigEndian.Uint64(d[:])%(mersenne-1) + 1
}

// found names the answers of a combination.
func (s *system) found(by []uint64, people int) *Finding {
	f := &Finding{Cell: -1, Against: -1, People: people}
	var cells int
	var questions []sandbox.QuestionID
	for r, v := range by {
		if v == 0 {
			continue
		}
		cells++
		if at := s.rows[r]; at.answer != 0 && !slices.Contains(questions, s.c.all[at.answer].question) {
			questions = append(questions, s.c.all[at.answer].question)
		}
	}
	slices.Sort(questions)
	if len(questions) > 0 {
		f.Earlier, f.With = questions[0], questions[1:]
	}
	if len(f.With) == 0 {
		f.With = nil
	}
	f.Rule = fmt.Sprintf("a combination of %d cells differs on fewer than %d people", cells, s.c.p.MinSubjects)
	return f
}
