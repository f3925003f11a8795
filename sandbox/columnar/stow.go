package columnar

import (
	"io"
	"slices"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// A row of a joined input on disk:
//
//	key       as text: of each part the subject's two words, a word, or a text
//	drop      one byte, where the input has filters
//	columns   codes of its labels (4 bytes), its values and the keys of later joins (a byte for null, then a word or a text), its
//	          subject (two words): each only where the question needs it
//
// A row of the scanned input that waits for its partners in input i:
//
//	key       as text, as above
//	ordinal   of the scanned row, a word
//	subject   two words
//	columns   those that are needed behind the join: a byte for null, then 8 bytes, 4 of a date, 1 of a bool, or a text
//	found     of each input joined before: its row in memory (4 bytes), or a byte for found and the columns of a spilled one
//
// Numbers are little endian, texts have 4 bytes of length.

// more gives the bytes that a piece of further rows allocates at most while what is replaced is still there.
func (l *lookup) more(b *inputBatch, sel []int32) int64 {
	size := 0
	texts := func(col int) {
		size += b.cols[col].spelledBytes(sel)
	}
	for _, p := range l.parts {
		if p.text {
			texts(p.right)
		}
	}
	for _, s := range l.keys {
		if s.text {
			texts(s.col)
		}
	}
	return l.moreRows(len(sel), size)
}

// moreRows does the same for n rows with so many bytes of text.
func (l *lookup) moreRows(n, size int) int64 {
	rows, texts := l.rows+n, 0
	all := l.drop.more(rows) + l.keyOf.more(rows) + l.subjects.more(2*rows) + int64(8*rows)
	for _, p := range l.parts {
		if p.text {
			texts += n
		}
	}
	for _, x := range l.chain {
		all += x.more(n)
	}
	for _, c := range l.codes {
		all += c.more(rows)
	}
	for _, s := range l.values {
		all += s.words.more(rows) + s.nulls.more(rows)
	}
	for _, s := range l.keys {
		all += s.words.more(rows) + s.nulls.more(rows)
		if s.text {
			texts += n
		}
	}
	if texts > 0 {
		all += l.texts.more(texts, size)
	}
	return all
}

// stowOrder fixes in which order a lookup's columns stand in a row.
func (l *lookup) stowOrder() {
	for d := range l.coders {
		l.labels = append(l.labels, d)
	}
	for v := range l.values {
		l.slots = append(l.slots, v)
	}
	for name := range l.keys {
		l.names = append(l.names, name)
	}
	slices.Sort(l.labels)
	slices.Sort(l.slots)
	slices.Sort(l.names)
}

// like makes a lookup without rows that has the columns of t, whose coders it borrows; with tables of keys, or without.
func (t *lookup) like(mem allocator, keyed bool) *lookup {
	l := &lookup{parts: t.parts, from: t.from, left: t.left, keepsMisses: t.keepsMisses, coders: t.coders, borrowed: true,
		codes: map[int]*block[uint32]{}, values: map[int]*stored{}, keys: map[string]*stored{}, texts: newTexts(mem), ownTexts: true,
		labels: t.labels, slots: t.slots, names: t.names}
	if keyed {
		for range t.chain {
			l.chain = append(l.chain, newIndex(mem))
		}
		if t.drop != nil {
			l.drop = &block[uint8]{mem: mem}
		}
	}
	for d := range t.codes {
		l.codes[d] = &block[uint32]{mem: mem}
	}
	for v, s := range t.values {
		l.values[v] = newStored(mem, s.col)
	}
	for name, s := range t.keys {
		l.keys[name] = newStored(mem, s.col)
		l.keys[name].text = s.text
	}
	if t.subjects != nil {
		l.subjects = &block[uint64]{mem: mem}
	}
	return l
}

// clear forgets the rows of a lookup without keys.
func (l *lookup) clear() {
	l.rows = 0
	l.texts.clear()
}

// appendBatch writes the columns of row i of a batch, the j-th whose labels were coded.
func (l *lookup) appendBatch(out []byte, b *inputBatch, i int32, j int, codes map[int][]uint32, subject int) []byte {
	for _, d := range l.labels {
		out = appendWord32(out, codes[d][j])
	}
	cell := func(s *stored) {
		c := &b.cols[s.col]
		switch {
		case c.null(i):
			out = append(out, 1)
		case c.desc.Type == catalog.Text:
			out = appendText(append(out, 0), c.spelled(i))
		default:
			out = appendWords(append(out, 0), uint64(c.word(i)))
		}
	}
	for _, v := range l.slots {
		cell(l.values[v])
	}
	for _, name := range l.names {
		cell(l.keys[name])
	}
	if l.subjects != nil {
		a, b := b.cols[subject].subject(i)
		out = appendWords(out, a, b)
	}
	return out
}

// appendRow writes the columns of a row that l holds.
func (l *lookup) appendRow(out []byte, row uint32) []byte {
	for _, d := range l.labels {
		out = appendWord32(out, l.codes[d].v[row])
	}
	cell := func(s *stored) {
		switch {
		case s.nulls.v[row] != 0:
			out = append(out, 1)
		case s.text:
			out = appendText(append(out, 0), l.texts.at(uint32(s.words.v[row])))
		default:
			out = appendWords(append(out, 0), s.words.v[row])
		}
	}
	for _, v := range l.slots {
		cell(l.values[v])
	}
	for _, name := range l.names {
		cell(l.keys[name])
	}
	if l.subjects != nil {
		out = appendWords(out, l.subjects.v[2*int(row)], l.subjects.v[2*int(row)+1])
	}
	return out
}

// takeRow reads columns as row at, which is the last so far.
func (l *lookup) takeRow(c *rowCursor, at int) {
	for _, d := range l.labels {
		l.codes[d].grow(at + 1)
		l.codes[d].v[at] = c.u32()
	}
	cell := func(s *stored) {
		s.words.grow(at + 1)
		s.nulls.grow(at + 1)
		s.words.v[at] = 0
		if s.nulls.v[at] = c.u8(); s.nulls.v[at] != 0 {
			return
		}
		if !s.text {
			s.words.v[at] = c.u64()
			return
		}
		b := c.text()
		s.words.v[at] = uint64(l.texts.put(b, 0, int32(len(b))))
	}
	for _, v := range l.slots {
		cell(l.values[v])
	}
	for _, name := range l.names {
		cell(l.keys[name])
	}
	if l.subjects != nil {
		l.subjects.grow(2 * (at + 1))
		l.subjects.v[2*at], l.subjects.v[2*at+1] = c.u64(), c.u64()
	}
}

// rightKey writes the key of row i of l's own input; false when a part of it is null.
func (l *lookup) rightKey(out []byte, b *inputBatch, i int32) ([]byte, bool) {
	for _, p := range l.parts {
		c := &b.cols[p.right]
		switch {
		case p.subject:
			s0, s1 := c.subject(i)
			out = appendWords(out, s0, s1)
		case c.null(i):
			return out, false
		case p.text:
			out = appendText(out, c.spelled(i))
		default:
			out = appendWords(out, uint64(c.word(i)))
		}
	}
	return out, true
}

// leftKey writes the key that row j of a frame looks for in l; false when a part of it is null or missing.
func (l *lookup) leftKey(out []byte, lookups []*lookup, b *inputBatch, f *frame, j int) ([]byte, bool) {
	for _, p := range l.parts {
		if p.from == 0 {
			c, i := &b.cols[p.left], f.sel[j]
			switch {
			case p.subject:
				s0, s1 := c.subject(i)
				out = appendWords(out, s0, s1)
			case c.null(i):
				return out, false
			case p.text:
				out = appendText(out, c.spelled(i))
			default:
				out = appendWords(out, uint64(c.word(i)))
			}
			continue
		}
		left, row := lookups[p.from], f.found[p.from][j]
		if row == miss {
			return out, false
		}
		if p.subject {
			out = appendWords(out, left.subjects.v[2*int(row)], left.subjects.v[2*int(row)+1])
			continue
		}
		s := left.keys[p.key]
		if s.nulls.v[row] != 0 {
			return out, false
		}
		if p.text {
			out = appendText(out, left.texts.at(uint32(s.words.v[row])))
		} else {
			out = appendWords(out, s.words.v[row])
		}
	}
	return out, true
}

// keyWords writes the n-th key's words, its texts numbered by l's: new ones too when they are to be put, else keep says whether all
// are known.
func (l *lookup) keyWords(key []byte, k *keyWords, n int, put bool) (ok bool) {
	c := rowCursor{b: key}
	w := 0
	k.keep[n] = 1
	for _, p := range l.parts {
		switch {
		case p.subject:
			k.words[w][n], k.words[w+1][n] = c.u64(), c.u64()
			w++
		case p.text && put:
			b := c.text()
			k.words[w][n] = uint64(l.texts.put(b, 0, int32(len(b))))
		case p.text:
			id, known := l.texts.find(c.text())
			if k.words[w][n] = uint64(id); !known {
				k.keep[n] = 0
			}
		default:
			k.words[w][n] = c.u64()
		}
		w++
	}
	return !c.bad
}

// loader reads rows of a spilled input into lookups, each as large as its budget allows.
type loader struct {
	rows *rowReader
	row  []byte // read and not taken yet
	done bool
}

// fill adds rows to l until they are all there or the next one would pass the budget of what mem has given. There is at least one.
func (d *loader) fill(l *lookup, k *keyWords, mem *metered, budget int64, max int) error {
	n := 0
	flush := func() {
		l.insert(k, n)
		l.rows += n
		n = 0
	}
	for {
		if d.row == nil {
			row, err := d.rows.next()
			if err == io.EOF {
				d.done = true
				break
			}
			if err != nil {
				return err
			}
			d.row = row
		}
		if l.rows+n > 0 && (l.rows+n >= max || mem.used.Load()+l.moreRows(n+1, len(d.row)) > budget) {
			break
		}
		c := rowCursor{b: d.row}
		ok := l.keyWords(c.text(), k, n, true)
		if l.drop != nil {
			l.drop.grow(l.rows + n + 1)
			l.drop.v[l.rows+n] = c.u8()
		}
		l.takeRow(&c, l.rows+n)
		if !ok || c.bad || len(c.b) > 0 {
			return notSpilled()
		}
		d.row = nil
		if n++; n == piece {
			flush()
		}
	}
	if n > 0 {
		flush()
	}
	if l.keyOf != nil {
		l.sort(mem)
	}
	return nil
}
