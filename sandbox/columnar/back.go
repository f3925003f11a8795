package columnar

import (
	"io"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

func appendCell(out []byte, c *column, i int32) []byte {
	if c.null(i) {
		return append(out, 1)
	}
	out = append(out, 0)
	switch c.desc.Type {
	case catalog.Text:
		return appendText(out, c.spelled(i))
	case catalog.Date:
		return appendWord32(out, uint32(c.days[i]))
	case catalog.Bool:
		return append(out, byte(c.word(i)))
	}
	return appendWords(out, uint64(c.ints[i]))
}

// back is a piece of rows that come back from disk: a batch of the scanned input's columns, and lookups of a row each for what was
// found in spilled inputs.
type back struct {
	b     inputBatch
	f     *frame
	found []*lookup // by input; of spilled ones only

	bitmaps [][]byte // by column
}

func (s *scanner) newBack(i int) *back {
	r := s.r
	in, names := r.d.Inputs[0], r.columns(0)
	x := &back{f: newFrame(len(r.lookups)), found: make([]*lookup, i),
		b: inputBatch{dataset: string(in.Dataset), names: names, cols: make([]column, len(names)), ordinals: make([]uint64, piece)}}
	for _, c := range r.behind[i] {
		col := &x.b.cols[c]
		col.desc, _ = in.Described.Column(names[c])
		col.object = x.b.dataset + "." + names[c]
		switch col.desc.Type {
		case catalog.Text:
			col.offs = make([]int32, piece+1)
		case catalog.Date:
			col.days = make([]int32, piece)
		case catalog.Bool:
			col.truth = make([]byte, piece/8)
		default:
			col.ints = make([]int64, piece)
		}
	}
	x.b.cols[s.subject].data = make([]byte, 16*piece)
	for k := 1; k < i; k++ {
		if t := r.lookups[k]; t.spilled != nil {
			x.found[k] = t.like(r.mem, false)
		}
	}
	return x
}

func (x *back) free() {
	for _, l := range x.found {
		if l != nil {
			l.free()
		}
	}
}

// fill reads up to a piece of rows that look for partners in l, and the words of their keys.
func (x *back) fill(rows *rowReader, s *scanner, i int, l *lookup) (n int, err error) {
	x.b.rows, x.f.sel = 0, x.f.buf
	subjects := &x.b.cols[s.subject]
	nulls := make([]bool, len(x.b.cols))
	for _, c := range s.r.behind[i] {
		col := &x.b.cols[c]
		col.valid, col.data = nil, col.data[:0]
		clear(col.truth)
		clear(x.valid(c))
	}
	for _, l := range x.found {
		if l != nil {
			l.clear()
		}
	}
	for ; n < piece; n++ {
		row, err := rows.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		c := rowCursor{b: row}
		ok := l.keyWords(c.text(), s.keys, n, false)
		x.b.ordinals[n] = c.u64()
		copy(subjects.data[16*n:], c.take(16))
		for _, at := range s.r.behind[i] {
			if takeCell(&c, &x.b.cols[at], n) {
				nulls[at] = true
			} else {
				x.valid(at)[n/8] |= 1 << (n % 8)
			}
		}
		for k := 1; k < i; k++ {
			switch p := x.found[k]; {
			case p == nil:
				x.f.found[k][n] = c.u32()
			case c.u8() == 0:
				x.f.found[k][n] = miss
			default:
				x.f.found[k][n] = uint32(p.rows)
				p.takeRow(&c, p.rows)
				p.rows++
			}
		}
		if !ok || c.bad || len(c.b) > 0 {
			return 0, notSpilled()
		}
		x.f.sel[n] = int32(n)
	}
	for c, some := range nulls {
		if some {
			x.b.cols[c].valid = x.valid(c)
		}
	}
	x.b.rows, x.f.sel = n, x.f.sel[:n]
	return n, nil
}

// valid gives the bitmap of a column, which it shows only where something is null.
func (x *back) valid(c int) []byte {
	if x.bitmaps == nil {
		x.bitmaps = make([][]byte, len(x.b.cols))
	}
	if x.bitmaps[c] == nil {
		x.bitmaps[c] = make([]byte, piece/8)
	}
	return x.bitmaps[c]
}

// takeCell reads what appendCell wrote as row n; true for a null.
func takeCell(c *rowCursor, col *column, n int) (null bool) {
	null = c.u8() != 0
	switch col.desc.Type {
	case catalog.Text:
		if !null {
			col.data = append(col.data, c.text()...)
		}
		col.offs[n+1] = int32(len(col.data))
	case catalog.Date:
		if col.days[n] = 0; !null {
			col.days[n] = int32(c.u32())
		}
	case catalog.Bool:
		if !null && c.u8() != 0 {
			col.truth[n/8] |= 1 << (n % 8)
		}
	default:
		if col.ints[n] = 0; !null {
			col.ints[n] = int64(c.u64())
		}
	}
	return null
}
