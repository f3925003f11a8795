package columnar

import (
	"encoding/binary"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// loadCodes takes a column of texts or pseudonyms that comes as a dictionary: offs and data are the dictionary's then, codes the rows'.
// False where it is not one that this engine reads. A code beyond the dictionary would be other bytes, so all are looked at.
func (c *column) loadCodes(a *array.Dictionary, rows int) bool {
	indices, narrow := a.Indices().(*array.Uint16)
	if !narrow || a.Dictionary().NullN() > 0 {
		return false
	}
	switch words := a.Dictionary().(type) {
	case *array.String:
		if c.desc == nil || c.desc.Type != catalog.Text {
			return false
		}
		if c.offs = words.ValueOffsets(); words.Len() == 0 { // Arrow keeps no offsets then
			c.offs = []int32{0}
		}
		if b := words.Data().Buffers()[2]; b != nil {
			c.data = b.Bytes()
		}
	case *array.FixedSizeBinary:
		b := words.Data().Buffers()[1]
		if c.desc != nil || words.DataType().(*arrow.FixedSizeBinaryType).ByteWidth != 16 || b == nil || a.NullN() > 0 {
			return false
		}
		c.data = b.Bytes()[16*words.Data().Offset():][:16*words.Len()]
	default:
		return false
	}
	c.codes, c.words = indices.Uint16Values()[:rows], a.Dictionary().Len()
	highest := uint16(0)
	for _, k := range c.codes {
		highest = max(highest, k)
	}
	return int(highest) < c.words || highest == 0 && a.NullN() == rows
}

// text gives where the text of a row that is not null lies.
func (c *column) text(i int32) (data []byte, from, to int32) {
	if c.codes != nil {
		i = int32(c.codes[i])
	}
	return c.data, c.offs[i], c.offs[i+1]
}

// spelled gives the text of a row that is not null.
func (c *column) spelled(i int32) []byte {
	data, from, to := c.text(i)
	return data[from:to]
}

// spelledBytes gives how many bytes the texts of a piece of rows have together, and no fewer.
func (c *column) spelledBytes(sel []int32) (n int) {
	if c.codes == nil {
		return int(c.offs[sel[len(sel)-1]+1] - c.offs[sel[0]])
	}
	for _, i := range sel {
		if !c.null(i) {
			n += len(c.spelled(i))
		}
	}
	return n
}

// translation is what a coder or a filter knows of the entries of one batch's dictionary. An entry is looked at when the first row
// has it: entries of rows that a filter left out name nothing.
type translation struct {
	serial uint64   // of the batch
	codes  []uint32 // by entry, noCode where not looked at
	pass   []uint8  // by entry, 1 passes, passUnknown where not looked at
}

const passUnknown = 2

// of gives the table of codes for a column's batch.
func (t *translation) of(c *column) []uint32 {
	if t.serial != c.serial {
		t.start(c)
	}
	return t.codes
}

func (t *translation) start(c *column) {
	n := max(1, c.words)
	t.serial, t.codes, t.pass = c.serial, resized(t.codes, n), resized(t.pass, n)
	for i := range n {
		t.codes[i], t.pass[i] = noCode, passUnknown
	}
}

// resized gives n places, of the same memory where there are as many.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// encodeCodes codes texts by their entries in the batch's dictionary.
func (k *coder) encodeCodes(c *column, sel []int32, out []uint32) {
	codes, known := c.codes, k.translated.of(c)
	for j, i := range sel {
		entry := codes[i]
		x := known[entry]
		if x == noCode {
			if c.null(i) {
				continue
			}
			x = k.encodeText(c.data, c.offs[entry], c.offs[entry+1])
			known[entry] = x
		}
		out[j] = x
	}
}

// byEntry keeps rows by the entries of the batch's dictionary; there are no nulls.
func (f *filter) byEntry(c *column, sel []int32) []int32 {
	k := f.coder
	known := k.translated.of(c)
	codes, pass, seen := c.codes, k.translated.pass, uint8(0)
	for _, i := range sel {
		seen |= pass[codes[i]]
	}
	if seen&passUnknown != 0 {
		for _, i := range sel {
			if entry := codes[i]; pass[entry] == passUnknown {
				known[entry] = k.encodeText(c.data, c.offs[entry], c.offs[entry+1])
				pass[entry] = f.allows(known[entry])
			}
		}
	}
	n := 0
	for _, i := range sel {
		sel[n] = i
		n += int(pass[codes[i]])
	}
	return sel[:n]
}

// numberRuns is numberColumn for pseudonyms that come as codes, as far as they are in order: most rows have the code of the row before.
func (e *evidence) numberRuns(c *column, sel []int32) (done int) {
	data, codes, ids, known := c.data, c.codes, e.ids[:len(sel)], e.known
	var p0, p1 uint64
	if known > 0 {
		p := e.people.at(known - 1)
		p0, p1 = p[0], p[1]
	}
	last := -1
	for ; done < len(sel); done++ {
		if k := int(codes[sel[done]]); k != last {
			p := data[16*k:][:16]
			if a, b := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]); a != p0 || b != p1 || known == 0 {
				if known > 0 && !follows(a, b, p0, p1) {
					break
				}
				p := e.people.at(known)
				p[0], p[1] = a, b
				p0, p1 = a, b
				known++
			}
			last = k
		}
		ids[done] = uint32(known - 1)
	}
	e.known = known
	return done
}
