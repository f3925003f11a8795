package columnar

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar/vector"
	"github.com/opdomain/opdomain/sandbox/query"
)

const piece = 1024 // rows worked on at a time, so that every scratch array stays near the core

// lookup is a joined input held in memory: its rows by join key, one or several, and of each row only what the question needs.
// Rows with a null key are left out, for they match nothing. It does not change once it is built: scanners share it.
type lookup struct {
	parts       []keyPart
	chain       []*index // key words → key number
	keyed       int      // distinct keys
	rows        int
	keyOf       *block[uint32] // by row: its key; nil while every key has one row, whose number is the key's
	starts      *block[uint32] // by key: its first place in order, one more at the end; nil like keyOf
	order       *block[uint32] // rows by key
	from        int            // the input it joins
	left        bool           // a row that finds nothing is kept
	keepsMisses bool           // … and passes the filters
	filters     []*filter
	drop        *block[uint8]          // 1 where a filter refuses the row; nil without filters
	coders      map[int]*coder         // by dimension
	codes       map[int]*block[uint32] // by dimension
	values      map[int]*stored        // by value slot
	keys        map[string]*stored     // by column, for later joins
	pass        []int32                // scratch
	subjects    *block[uint64]         // two words a row, for later joins
	texts       *texts                 // of its keys and of those kept for later joins: equal ids are equal texts
	ownTexts    bool                   // … and nobody else's
	borrowed    bool                   // its coders and filters are another lookup's
	spilled     *spilledBuild          // its rows, where they do not fit in memory; then it has none
	labels      []int                  // of codes, in the order of a spilled row
	slots       []int                  // … of values
	names       []string               // … of keys
}

// stored is a column of a lookup as words, and which of them are null.
type stored struct {
	col   int // position in the input's batch
	text  bool
	words block[uint64]
	nulls block[uint8]
}

func newStored(mem memory.Allocator, col int) *stored {
	return &stored{col: col, words: block[uint64]{mem: mem}, nulls: block[uint8]{mem: mem}}
}

func (s *stored) free() { s.words.free(); s.nulls.free() }

// keyPart is one component of a join key on both sides: a column, or the subject, which is two words.
type keyPart struct {
	subject, text bool
	right         int    // column in this input's batch
	from          int    // input of the left side
	left          int    // its column in the scanned batch, when from is 0
	key           string // its column in a lookup otherwise
}

// keyWords is scratch for the words of a piece of keys; keep is 0 where a key is null or can match nothing.
type keyWords struct {
	words [][]uint64
	ids   []uint32
	wide  []uint64
	keep  []uint8
	zeros []uint64
}

func newKeyWords(n int) *keyWords {
	k := &keyWords{ids: make([]uint32, piece), wide: make([]uint64, piece), keep: make([]uint8, piece), zeros: make([]uint64, piece)}
	for range n {
		k.words = append(k.words, make([]uint64, piece))
	}
	return k
}

// second gives the second word of l's keys; a single word is paired with zeros.
func (k *keyWords) second(l *lookup) []uint64 {
	if l.width() == 1 {
		return k.zeros
	}
	return k.words[1]
}

func (l *lookup) width() int {
	n := 0
	for _, p := range l.parts {
		if n++; p.subject {
			n++
		}
	}
	return n
}

func (l *lookup) free() {
	for _, x := range l.chain {
		x.free()
	}
	for _, f := range l.filters {
		f.coder.free()
	}
	for _, b := range []*block[uint32]{l.keyOf, l.starts, l.order} {
		if b != nil {
			b.free()
		}
	}
	if l.drop != nil {
		l.drop.free()
	}
	if !l.borrowed {
		for _, c := range l.coders {
			c.free()
		}
	}
	if l.ownTexts {
		l.texts.free()
	}
	for _, c := range l.codes {
		c.free()
	}
	for _, s := range l.values {
		s.free()
	}
	for _, s := range l.keys {
		s.free()
	}
	if l.subjects != nil {
		l.subjects.free()
	}
}

// newLookup works out what input i must keep.
func (r *run) newLookup(i int) *lookup {
	in := r.d.Inputs[i]
	mem := r.buildMem
	from := r.alias(in.With)
	l := &lookup{coders: map[int]*coder{}, codes: map[int]*block[uint32]{}, values: map[int]*stored{}, keys: map[string]*stored{},
		from: from, left: in.Join == query.LeftJoin, texts: r.texts}
	if in.BySubject() {
		p := keyPart{subject: true, right: r.find(i, SubjectColumn), from: from}
		if from == 0 {
			p.left = r.find(0, SubjectColumn)
		}
		l.parts = append(l.parts, p)
	}
	for _, k := range in.On {
		c, _ := in.Described.Column(k.Right)
		p := keyPart{text: c.Type == catalog.Text, right: r.find(i, k.Right), from: from}
		if from == 0 {
			p.left = r.find(0, k.Left)
		} else {
			p.key = k.Left
		}
		l.parts = append(l.parts, p)
	}
	for n := 0; n == 0 || n+1 < l.width(); n++ {
		l.chain = append(l.chain, newIndex(mem))
	}
	l.filters = r.filters(i)
	l.keepsMisses = l.left
	for _, f := range l.filters {
		l.keepsMisses = l.keepsMisses && f.in[catalog.Missing] != f.not
	}
	if len(l.filters) > 0 {
		l.drop, l.pass = &block[uint8]{mem: mem}, make([]int32, 0, piece)
	}
	for n, x := range r.labels {
		if x.input == i {
			c := r.newCoder(n, r.lim.MaxBuildRows)
			if l.left && c.missing == noCode {
				c.missing = c.name(catalog.Missing)
			}
			l.coders[n], l.codes[n] = c, &block[uint32]{mem: mem}
		}
	}
	for n, v := range r.values {
		if v.input == i {
			l.values[n] = newStored(mem, v.col)
		}
	}
	for _, later := range r.d.Inputs[i+1:] {
		if later.With != in.Alias {
			continue
		}
		if later.BySubject() && l.subjects == nil {
			l.subjects = &block[uint64]{mem: mem}
		}
		for _, k := range later.On {
			if l.keys[k.Left] == nil {
				c, _ := in.Described.Column(k.Left)
				l.keys[k.Left] = newStored(mem, r.find(i, k.Left))
				l.keys[k.Left].text = c.Type == catalog.Text
			}
		}
	}
	l.stowOrder()
	return l
}

// errSpill says that an input does not fit in its memory.
var errSpill = errors.New("columnar: an input is spilled")

// build reads input i into memory, or where it does not fit, into sealed partitions: it is then read a second time from its start.
func (r *run) build(ctx context.Context, i int, open Open) error {
	used := r.buildMem.used.Load()
	budget := int64(r.lim.MaxBuildBytes)
	if r.spill != nil { // each of the inputs left has the same, so that partitions of the last find room
		budget = used + max(0, budget-used)/int64(len(r.d.Inputs)-i)
	}
	mark, built := r.texts.n, r.built
	l := r.newLookup(i)
	r.lookups[i] = l
	subject := r.find(i, SubjectColumn)
	k, codes := newKeyWords(l.width()), make([]uint32, piece)
	err := r.pieces(ctx, i, open, func(b *inputBatch, sel []int32) error {
		if r.spill != nil && (r.built+len(sel) > r.lim.MaxBuildRows || r.buildMem.used.Load()+l.more(b, sel) > budget) {
			return errSpill
		}
		n := r.rightKeys(l, b, sel, k)
		if r.built += n; r.built > r.lim.MaxBuildRows {
			return tooLarge(b.dataset, "rows in looked-up inputs", r.lim.MaxBuildRows)
		}
		l.insert(k, n)
		if err := l.keep(r, b, sel[:n], codes, subject); err != nil {
			return err
		}
		if r.buildMem.used.Load() > budget {
			return fail(sandbox.TooLarge, b.dataset, fmt.Sprintf("looked-up inputs take at most %d bytes of memory", budget))
		}
		return nil
	})
	if err == nil && l.keyOf != nil {
		l.sort(r.buildMem)
	}
	if err == errSpill {
		l.free()
		r.texts.cut(mark)
		r.built = built
		return r.buildSpilled(ctx, i, open, max(0, budget-r.buildMem.used.Load()))
	}
	return err
}

// pieces gives input i's rows, a piece at a time.
func (r *run) pieces(ctx context.Context, i int, open Open, f func(b *inputBatch, sel []int32) error) error {
	reader, err := r.open(ctx, i, open)
	if err != nil {
		return err
	}
	sel := make([]int32, piece)
	return r.each(ctx, i, reader, nil, func(b *inputBatch) error {
		for lo := 0; lo < b.rows; lo += piece {
			sel = sel[:min(piece, b.rows-lo)]
			for j := range sel {
				sel[j] = int32(lo + j)
			}
			if err := f(b, sel); err != nil {
				return err
			}
			sel = sel[:cap(sel)]
		}
		return nil
	})
}

// sort lists the rows of each key, in the order they came.
func (l *lookup) sort(mem allocator) {
	l.starts, l.order = &block[uint32]{mem: mem}, &block[uint32]{mem: mem}
	l.starts.resize(l.keyed + 1)
	clear(l.starts.v)
	l.order.resize(l.rows)
	for _, k := range l.keyOf.v[:l.rows] {
		l.starts.v[k]++
	}
	at := uint32(0)
	for k, n := range l.starts.v {
		l.starts.v[k] = at
		at += n
	}
	for row, k := range l.keyOf.v[:l.rows] {
		l.order.v[l.starts.v[k]] = uint32(row)
		l.starts.v[k]++
	}
	copy(l.starts.v[1:], l.starts.v[:l.keyed])
	l.starts.v[0] = 0
	l.keyOf.free()
}

// rightKeys computes the key words of this input's rows and drops rows with a null key from sel and words.
func (r *run) rightKeys(l *lookup, b *inputBatch, sel []int32, k *keyWords) int {
	n := 0
rows:
	for _, i := range sel {
		w := 0
		for _, p := range l.parts {
			c := &b.cols[p.right]
			switch {
			case p.subject:
				k.words[w][n], k.words[w+1][n] = c.subject(i)
				w++
			case c.null(i):
				continue rows
			case p.text:
				k.words[w][n] = uint64(r.texts.put(c.text(i)))
			default:
				k.words[w][n] = uint64(c.word(i))
			}
			w++
		}
		sel[n] = i
		n++
	}
	return n
}

// insert numbers the keys of n further rows. From the first key that comes back on, each row says which is its own.
func (l *lookup) insert(k *keyWords, n int) {
	l.chain[0].ids(k.words[0][:n], k.second(l)[:n], k.ids)
	for t, x := range l.chain[1:] {
		for j, id := range k.ids[:n] {
			k.wide[j] = uint64(id)
		}
		x.ids(k.wide[:n], k.words[t+2][:n], k.ids)
	}
	l.keyed = l.chain[len(l.chain)-1].n
	if l.keyOf == nil && l.keyed != l.rows+n {
		l.keyOf = &block[uint32]{mem: l.chain[0].keys.mem}
		l.keyOf.grow(l.rows)
		for row := range l.rows {
			l.keyOf.v[row] = uint32(row)
		}
	}
	if l.keyOf != nil {
		l.keyOf.grow(l.rows + n)
		copy(l.keyOf.v[l.rows:], k.ids[:n])
	}
}

// keep stores what the question needs of the selected rows and counts them.
func (l *lookup) keep(r *run, b *inputBatch, sel []int32, codes []uint32, subject int) error {
	n := l.rows + len(sel)
	if l.drop != nil {
		l.drop.grow(n)
		if err := l.filter(r.kernels, b, sel, codes, l.drop.v[l.rows:]); err != nil {
			return err
		}
	}
	for d, c := range l.coders {
		l.codes[d].grow(n)
		if err := c.encode(&b.cols[r.labels[d].col], sel, l.codes[d].v[l.rows:]); err != nil {
			return err
		}
	}
	for _, s := range l.values {
		s.put(r, &b.cols[s.col], sel, l.rows)
	}
	for _, s := range l.keys {
		s.put(r, &b.cols[s.col], sel, l.rows)
	}
	if l.subjects != nil {
		l.subjects.grow(2 * n)
		for j, i := range sel {
			l.subjects.v[2*(l.rows+j)], l.subjects.v[2*(l.rows+j)+1] = b.cols[subject].subject(i)
		}
	}
	l.rows = n
	return nil
}

// filter writes 1 for the selected rows that the filters refuse, 0 for others.
func (l *lookup) filter(kernels vector.Kernels, b *inputBatch, sel []int32, codes []uint32, drop []uint8) error {
	pass := append(l.pass[:0], sel...)
	for j := range sel {
		drop[j] = 1
	}
	var err error
	for _, f := range l.filters {
		if pass, err = f.apply(kernels, b, pass, codes); err != nil {
			return err
		}
	}
	j := 0
	for _, i := range pass {
		for sel[j] != i {
			j++
		}
		drop[j] = 0
	}
	return nil
}

func (s *stored) put(r *run, c *column, sel []int32, at int) {
	s.words.grow(at + len(sel))
	s.nulls.grow(at + len(sel))
	for j, i := range sel {
		switch {
		case c.null(i):
			s.nulls.v[at+j] = 1
		case c.desc.Type == catalog.Text:
			s.words.v[at+j] = uint64(r.texts.put(c.text(i)))
		default:
			s.words.v[at+j] = uint64(c.word(i))
		}
	}
}

// match finds the key of each of a frame's rows in l and writes its number to k.ids, or miss.
func (r *run) match(lookups []*lookup, l *lookup, b *inputBatch, f *frame, k *keyWords) {
	sel := f.sel
	n, keep := len(sel), k.keep[:len(sel)]
	for j := range keep {
		keep[j] = 1
	}
	w := 0
	for _, p := range l.parts {
		words := k.words[w]
		w++
		switch {
		case p.from > 0:
			at := f.found[p.from][:n]
			if p.subject {
				high, subjects := k.words[w], lookups[p.from].subjects.v
				w++
				for j, row := range at {
					if row == miss {
						keep[j] = 0
						continue
					}
					words[j], high[j] = subjects[2*int(row)], subjects[2*int(row)+1]
				}
				break
			}
			left := lookups[p.from]
			st, other := left.keys[p.key], p.text && left.texts != l.texts
			for j, row := range at {
				if row == miss || st.nulls.v[row] != 0 {
					keep[j] = 0
					continue
				}
				if words[j] = st.words.v[row]; other {
					id, ok := l.texts.find(left.texts.at(uint32(words[j])))
					if words[j] = uint64(id); !ok {
						keep[j] = 0
					}
				}
			}
		case p.subject:
			high, c := k.words[w], &b.cols[p.left]
			w++
			for j, i := range sel {
				words[j], high[j] = c.subject(i)
			}
		default:
			c := &b.cols[p.left]
			for j, i := range sel {
				if c.null(i) {
					keep[j] = 0
				} else if !p.text {
					words[j] = uint64(c.word(i))
				} else if id, ok := l.texts.get(c.text(i)); ok {
					words[j] = uint64(id)
				} else {
					keep[j] = 0
				}
			}
		}
	}
	l.find(k, n)
}

// find numbers the keys of n rows, given by their words, where keep is not 0.
func (l *lookup) find(k *keyWords, n int) {
	l.chain[0].find(k.words[0][:n], k.second(l)[:n], k.ids)
	for t, x := range l.chain[1:] {
		for j, id := range k.ids[:n] {
			k.wide[j] = uint64(id) // a miss is no id, so it stays a miss
		}
		x.find(k.wide[:n], k.words[t+2][:n], k.ids)
	}
	for j, ok := range k.keep[:n] {
		if ok == 0 {
			k.ids[j] = miss
		}
	}
}
