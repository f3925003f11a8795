package columnar

import (
	"encoding/binary"
	"slices"
)

// partialMagic starts an encoded Partial.
const partialMagic = "ODP3"

// Encode writes a Partial, for another process that runs the same question: magic, then numbers of 8 bytes, little endian:
//
//	labels    by label column of the scanned input: how many beside Missing where it is public, each a word, or its length and bytes
//	          padded to 8 where it is a name or text
//	cells     how many, then the codes of their dimensions
//	subjects  how many, then two words each
//	pairs     how many, then cell<<32|subject each, then the words of each
//	carries   how many sums of pairs are over 64 bits, then pair<<32|word and how many times 2^64, signed, of each
//	moments   by set: how many words, then them
//	tallies   by set: how many combinations, then the words of each and its count
//
// It is grade-4 data in the clear: the caller seals it.
func (k *Kernel) Encode(p *Partial) []byte { return k.AppendEncode(nil, p) }

// AppendEncode is Encode to the end of b, which grows at most once.
func (k *Kernel) AppendEncode(b []byte, p *Partial) []byte {
	b = append(slices.Grow(b, k.encodedSize(p)), partialMagic...)
	word := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
	words := func(v []uint64) {
		for _, w := range v {
			word(w)
		}
	}
	text := func(s []byte) {
		word(uint64(len(s)))
		b = append(b, s...)
		for range -len(s) & 7 {
			b = append(b, 0)
		}
	}
	for _, l := range p.labels {
		switch {
		case l == nil:
			word(0)
		case l.words != nil:
			word(uint64(l.words.n))
			for i := range l.words.n {
				words(l.words.keys.at(i))
			}
		case l.spelt != nil:
			word(uint64(l.spelt.n - 1))
			for i := range l.spelt.n - 1 {
				text(l.spelt.at(uint32(i + 1)))
			}
		default:
			word(uint64(len(l.names)))
			for _, n := range l.names {
				text([]byte(n))
			}
		}
	}
	word(uint64(p.cells))
	for _, c := range p.codes {
		word(uint64(c))
	}
	word(uint64(p.ev.known))
	for i := range p.ev.known {
		words(p.ev.people.at(i))
	}
	word(uint64(p.ev.n))
	for i := range p.ev.n {
		words(p.ev.keys.at(i))
	}
	for i := range p.ev.n {
		words(p.ev.acc.at(i))
	}
	word(uint64(p.ev.carries.count()))
	p.ev.carries.each(func(pair, w int, n int64) {
		word(uint64(pair)<<32 | uint64(w))
		word(uint64(n))
	})
	for _, m := range p.moments {
		n := min(p.cells*m.stride, len(m.v.v)) // what is behind is empty
		word(uint64(n))
		words(m.v.v[:n])
	}
	for _, t := range p.tallies {
		word(uint64(t.n))
		for i := range t.n {
			words(t.words.at(i))
			word(t.counts.v[i])
		}
	}
	return b
}

// encodedSize gives the bytes of an encoded Partial.
func (k *Kernel) encodedSize(p *Partial) int {
	words := len(p.labels) + 1 + len(p.codes) + 3 + 2*p.ev.known + p.ev.n*(1+len(p.ev.ops)) + 2*p.ev.carries.count()
	for _, l := range p.labels {
		switch {
		case l == nil:
		case l.words != nil:
			words += l.words.n
		case l.spelt != nil:
			for i := range l.spelt.n - 1 {
				words += 1 + (len(l.spelt.at(uint32(i+1)))+7)/8
			}
		default:
			for _, n := range l.names {
				words += 1 + (len(n)+7)/8
			}
		}
	}
	for _, m := range p.moments {
		words += 1 + min(p.cells*m.stride, len(m.v.v))
	}
	for _, t := range p.tallies {
		words += 1 + t.n*(t.width+1)
	}
	return len(partialMagic) + 8*words
}

// Decode reads what Encode wrote of a part of the same question. Every number is checked before it is used; bytes that are not a Partial
// of this question are Tampered, more than the limits allow TooLarge. The caller has authenticated them.
func (k *Kernel) Decode(b []byte) (p *Partial, err error) {
	d := &cursor{b: b, ok: len(b) >= 4 && string(b[:4]) == partialMagic}
	if d.ok {
		d.b = b[4:]
	}
	r := k.r
	p = r.newPartial()
	p.read = true
	defer func() {
		if err == nil && (!d.ok || len(d.b) > 0) {
			err = notThis()
		}
		if err != nil {
			p.Free()
			p = nil
		}
	}()
	sizes := make([]uint64, len(r.labels)) // codes of each label column
	for l, x := range r.labels {
		p.labels = append(p.labels, nil)
		if n := d.count(8); x.input == 0 {
			p.labels[l] = r.newLabels(l)
			d.labels(p.labels[l], n)
			sizes[l] = uint64(p.labels[l].size())
		} else if d.ok = d.ok && n == 0; d.ok {
			sizes[l] = uint64(r.lookups[x.input].coders[l].size())
		}
	}
	if p.cells = d.count(8 * r.dims); p.cells > r.lim.MaxCells {
		return p, tooLarge("answer", "cells", r.lim.MaxCells)
	}
	for i := range p.cells * r.dims {
		c := d.word()
		d.ok = d.ok && c < sizes[i%r.dims]
		p.codes = append(p.codes, uint32(c))
	}
	if err := d.evidence(p, r.lim); err != nil {
		return p, err
	}
	for _, m := range p.moments {
		n := d.count(8)
		if d.ok = d.ok && n%m.stride == 0 && n <= p.cells*m.stride; d.ok && n > 0 {
			m.v.grow(n)
			d.words(m.v.v[:n])
		}
	}
	columns := make([][]uint64, 0, 16)
	for i, t := range p.tallies {
		for len(columns) < t.width {
			columns = append(columns, make([]uint64, piece))
		}
		times := make([]uint64, piece)
		n := d.count(8 * (t.width + 1))
		if n > r.lim.MaxValues {
			return p, tooLarge("answer", "distinct values in its cells", r.lim.MaxValues)
		}
		at := 0
		for j := range n {
			for w := range t.width {
				columns[w][at] = d.word()
			}
			times[at] = d.word()
			d.ok = d.ok && columns[0][at] < uint64(p.cells) && times[at] > 0
			if l := r.tallies[i].label; l >= 0 {
				d.ok = d.ok && columns[1][at] < sizes[l]
			}
			if !d.ok {
				return p, nil
			}
			if at++; at == piece || j == n-1 {
				t.add(columns, at, times)
				at = 0
			}
		}
		d.ok = d.ok && t.n == n // each stands once
	}
	return p, nil
}

// cursor reads words; once something is not there, all that follows is zero.
type cursor struct {
	b  []byte
	ok bool
}

func (d *cursor) word() uint64 {
	if d.ok = d.ok && len(d.b) >= 8; !d.ok {
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *cursor) words(out []uint64) {
	for i := range out {
		out[i] = d.word()
	}
}

// count reads how many entries of at least so many bytes follow; no more than there are bytes for.
func (d *cursor) count(size int) int {
	n := d.word()
	if d.ok = d.ok && n <= 1<<30 && n*uint64(size) <= uint64(len(d.b)); !d.ok {
		return 0
	}
	return int(n)
}

// labels reads so many, each of which stands once.
func (d *cursor) labels(l *labels, n int) {
	size := l.size() + n
	var word [1]uint64
	var id [1]uint32
	for i := 0; i < n && d.ok; i++ {
		switch {
		case l.words != nil:
			word[0] = d.word()
			l.words.ids(word[:], id[:])
		case l.spelt != nil:
			s := d.text()
			l.spelt.put(s, 0, int32(len(s)))
		default:
			l.code(string(d.text()))
		}
	}
	d.ok = d.ok && l.size() == size
}

// text gives bytes of the encoding itself.
func (d *cursor) text() []byte {
	n := d.count(1)
	if d.ok = d.ok && (n+7)&^7 <= len(d.b); !d.ok {
		return nil
	}
	s := d.b[:n:n]
	for _, z := range d.b[n : (n+7)&^7] {
		d.ok = d.ok && z == 0
	}
	d.b = d.b[(n+7)&^7:]
	return s
}

// evidence reads subjects and pairs, and builds the tables that those out of order need.
func (d *cursor) evidence(p *Partial, lim Limits) error {
	e := p.ev
	known := d.count(16)
	if known > lim.MaxSubjects {
		return tooLarge("answer", "subjects", lim.MaxSubjects)
	}
	a, b := make([]uint64, 0, piece), make([]uint64, 0, piece)
	for i := range known {
		a, b = append(a, d.word()), append(b, d.word())
		if len(a) == piece || i == known-1 {
			if err := e.number(a, b); err != nil {
				return err
			}
			a, b = a[:0], b[:0]
		}
	}
	d.ok = d.ok && e.known == known // each stands once
	n := d.count(8 * (1 + len(e.ops)))
	if n > lim.MaxPairs {
		return tooLarge("answer", "pairs of cell and subject", lim.MaxPairs)
	}
	e.keys.reserve(n)
	e.acc.reserve(n)
	inOrder, last := e.subjects == nil, uint32(0)
	for i := range n {
		key := d.word()
		d.ok = d.ok && key>>32 < uint64(p.cells) && key&0xffffffff < uint64(known)
		inOrder = inOrder && uint32(key) >= last
		last = uint32(key)
		e.keys.at(i)[0] = key
	}
	for i := range n {
		d.words(e.acc.at(i))
	}
	for at, carries := 0, d.count(16); at < carries && d.ok; at++ {
		key, times := d.word(), int64(d.word())
		pair, word := key>>32, key&0xffffffff
		// As many as parts can add up without going over themselves.
		d.ok = d.ok && pair < uint64(n) && word < uint64(len(e.ops)) && e.ops[word] == opSum && times != 0 && times < 1<<40 && times > -1<<40
		if d.ok {
			e.carries.add(e.acc.mem, int(pair), int(word), times)
			d.ok = e.carries.at.n == at+1 // each stands once
		}
	}
	if e.n = n; !d.ok {
		return nil
	}
	if inOrder { // the next rows may go on with the last subject
		e.current = known - 1
		e.last.grow(p.cells)
		for i := n - 1; i >= 0 && int(uint32(e.keys.at(i)[0])) == e.current; i-- {
			c := e.keys.at(i)[0] >> 32
			d.ok = d.ok && e.last.v[c] == 0
			e.last.v[c] = uint64(e.current)<<32 | uint64(i+1)
		}
		return nil
	}
	if e.subjects == nil {
		e.subjects = indexOf(&e.people, e.known)
	}
	e.tabled(nil, 0, fewCells+1)
	d.ok = d.ok && e.pairs.hashed.n == n // each stands once
	return nil
}
