package opaque

import (
	"encoding/binary"
	"io"
	"math"
	"unsafe"
)

// Bounds of a view.
const (
	MaxViewRows  = 4 << 20
	MaxViewBytes = 512 << 20
	maxTexts     = 64 << 20 // bytes of the texts of one column, each once

	magic  = "opdview2"
	header = 32
)

// View (密封视图) is what the code sees: rows of the declared columns. Its bytes are mapped read-only.
type View struct {
	rows     int
	seed     uint64
	columns  []column
	subjects []byte
	people   int
}

type column struct {
	missing []byte // bitmap, of numbers
	values  []byte // int64 of numbers, uint32 of texts
	ends    []byte // of texts
	texts   []byte
}

// Rows is how many rows there are.
func (v *View) Rows() int { return v.rows }

// Seed is the one source of randomness: the same for the same question over the same data.
func (v *View) Seed() uint64 { return v.seed }

// Int reads a number; ok is false where it is missing, and for a text.
func (v *View) Int(row, column int) (x int64, ok bool) {
	if column < 0 || column >= len(v.columns) || row < 0 || row >= v.rows {
		return 0, false
	}
	c := &v.columns[column]
	if c.missing == nil || c.missing[row>>3]>>(row&7)&1 == 1 {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(c.values[8*row:])), true
}

// Text reads a text; ok is false where it is missing, and for a number.
func (v *View) Text(row, column int) (s string, ok bool) {
	if column < 0 || column >= len(v.columns) || row < 0 || row >= v.rows {
		return "", false
	}
	c := &v.columns[column]
	if c.missing != nil {
		return "", false
	}
	n := binary.LittleEndian.Uint32(c.values[4*row:])
	if n == 0 {
		return "", false
	}
	from, to := uint32(0), binary.LittleEndian.Uint32(c.ends[4*(n-1):])
	if n > 1 {
		from = binary.LittleEndian.Uint32(c.ends[4*(n-2):])
	}
	if from == to {
		return "", true
	}
	return unsafe.String(&c.texts[from], int(to-from)), true // mapped for as long as the process lives
}

// Subjects counts whose rows they are; 0 where the view does not say.
func (v *View) Subjects() int { return v.people }

// Subject numbers whose row it is, from 0, in the order of the rows; -1 where the view does not say.
func (v *View) Subject(row int) int {
	if v.subjects == nil || row < 0 || row >= v.rows {
		return -1
	}
	return int(binary.LittleEndian.Uint32(v.subjects[4*row:]))
}

func padded(n int) int { return (n + 7) &^ 7 }

// ReadView reads a view of the declared columns. It looks at every number that places are computed from.
func ReadView(b []byte, d *Declaration) (*View, error) {
	bad := &Error{"view", "rows of the declared columns, whole"}
	if len(b) < header || len(b) > MaxViewBytes || string(b[:8]) != magic || len(d.Columns) > MaxColumns {
		return nil, bad
	}
	rows, columns, linked := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
	if rows > MaxViewRows || columns != uint32(len(d.Columns)) || linked > 1 {
		return nil, bad
	}
	v := &View{rows: int(rows), seed: binary.LittleEndian.Uint64(b[24:]), columns: make([]column, columns)}
	rest, n := b[header:], v.rows
	take := func(size int) []byte {
		if size < 0 || padded(size) > len(rest) {
			return nil
		}
		out := rest[:size:size]
		rest = rest[padded(size):]
		return out
	}
	for i := range v.columns {
		c := &v.columns[i]
		if d.Columns[i].Number() {
			c.missing, c.values = take((n+7)/8), take(8*n)
			if c.missing == nil || c.values == nil {
				return nil, bad
			}
			continue
		}
		head := take(8)
		if head == nil {
			return nil, bad
		}
		texts, size := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
		if texts > MaxViewRows || size > maxTexts {
			return nil, bad
		}
		c.ends, c.texts, c.values = take(4*int(texts)), take(int(size)), take(4*n)
		if c.ends == nil || c.texts == nil || c.values == nil {
			return nil, bad
		}
		last := uint32(0)
		for k := 0; k < len(c.ends); k += 4 {
			end := binary.LittleEndian.Uint32(c.ends[k:])
			if end < last || end > size {
				return nil, bad
			}
			last = end
		}
		for k := 0; k < len(c.values); k += 4 {
			if binary.LittleEndian.Uint32(c.values[k:]) > texts {
				return nil, bad
			}
		}
	}
	if linked == 1 {
		if v.subjects = take(4 * n); v.subjects == nil {
			return nil, bad
		}
		for k := 0; k < len(v.subjects); k += 4 {
			switch s := int(binary.LittleEndian.Uint32(v.subjects[k:])); s {
			case v.people:
				v.people++
			case v.people - 1:
			default:
				return nil, bad
			}
		}
	}
	if len(rest) != 0 {
		return nil, bad
	}
	return v, nil
}

// Writer (视图编码) collects rows and writes a view. The host uses it. It prints nothing of them.
type Writer struct {
	columns []columnWriter
	linked  bool
	rows    int
	size    int
	who     []uint32
	people  int
}

type columnWriter struct {
	number  bool
	missing []byte
	values  []int64
	codes   []uint32
	known   map[string]uint32
	ends    []uint32
	texts   []byte
}

// NewWriter writes views of the declared columns; linked ones say which rows are one subject's.
func NewWriter(d *Declaration, linked bool) *Writer {
	w := &Writer{linked: linked, size: header}
	for _, c := range d.Columns {
		w.columns = append(w.columns, columnWriter{number: c.Number(), known: map[string]uint32{}})
	}
	return w
}

// String keeps rows out of logs.
func (*Writer) String() string { return "view(redacted)" }

// GoString keeps rows out of %#v.
func (*Writer) GoString() string { return "view(redacted)" }

// Row begins a row, of the next subject or of the one before. It is false where the view is as large as one may be.
func (w *Writer) Row(next bool) bool {
	if w.rows == MaxViewRows || w.size > MaxViewBytes-(64<<10) {
		return false
	}
	if next || w.rows == 0 {
		w.people++
	}
	w.who = append(w.who, uint32(w.people-1))
	w.rows++
	w.size += 4
	return true
}

// Missing writes a missing value.
func (w *Writer) Missing(column int) {
	c := &w.columns[column]
	if !c.number {
		c.codes = append(c.codes, 0)
		w.size += 4
		return
	}
	w.Int(column, 0)
	c.missing[(w.rows-1)>>3] |= 1 << ((w.rows - 1) & 7)
}

// Int writes a number of the row begun last.
func (w *Writer) Int(column int, x int64) {
	c := &w.columns[column]
	if (w.rows-1)>>3 == len(c.missing) {
		c.missing = append(c.missing, 0)
		w.size++
	}
	c.values = append(c.values, x)
	w.size += 8
}

// Text writes a text of the row begun last. It is false where the texts of the column are more than a view may have.
func (w *Writer) Text(column int, s string) bool {
	c := &w.columns[column]
	n, ok := c.known[s]
	if !ok {
		if len(c.texts)+len(s) > maxTexts || len(c.ends) == MaxViewRows || w.size+len(s)+4 > MaxViewBytes {
			return false
		}
		n = uint32(len(c.ends) + 1)
		c.texts = append(c.texts, s...)
		c.ends = append(c.ends, uint32(len(c.texts)))
		c.known[string(c.texts[len(c.texts)-len(s):])] = n
		w.size += len(s) + 4
	}
	c.codes = append(c.codes, n)
	w.size += 4
	return true
}

// Subjects counts whose rows were written.
func (w *Writer) Subjects() int { return w.people }

// Rows counts them.
func (w *Writer) Rows() int { return w.rows }

// Shuffle brings the rows, in place, into an order that below alone gives, which draws evenly from 0 up to n without it, and numbers texts anew as they come:
// neither tells in which order rows were written. The host keeps what it draws from to itself: whoever has it turns the order back. It is for a view
// that is not linked, once, when all rows are there.
func (w *Writer) Shuffle(below func(n uint64) uint64) {
	for i := w.rows - 1; i > 0; i-- {
		k := int(below(uint64(i) + 1))
		for c := range w.columns {
			w.columns[c].swap(i, k)
		}
		w.who[i], w.who[k] = w.who[k], w.who[i]
	}
	for c := range w.columns {
		w.columns[c].renumber()
	}
}

func (c *columnWriter) swap(i, k int) {
	if !c.number {
		c.codes[i], c.codes[k] = c.codes[k], c.codes[i]
		return
	}
	c.values[i], c.values[k] = c.values[k], c.values[i]
	if a, b := c.missing[i>>3]>>(i&7)&1, c.missing[k>>3]>>(k&7)&1; a != b {
		c.missing[i>>3] ^= 1 << (i & 7)
		c.missing[k>>3] ^= 1 << (k & 7)
	}
}

// renumber puts the texts in the order in which rows have them.
func (c *columnWriter) renumber() {
	if c.number {
		return
	}
	anew, ends, texts := make([]uint32, len(c.ends)+1), make([]uint32, 0, len(c.ends)), make([]byte, 0, len(c.texts))
	for i, old := range c.codes {
		if old == 0 {
			continue
		}
		if anew[old] == 0 {
			from := uint32(0)
			if old > 1 {
				from = c.ends[old-2]
			}
			texts = append(texts, c.texts[from:c.ends[old-1]]...)
			ends = append(ends, uint32(len(texts)))
			anew[old] = uint32(len(ends))
		}
		c.codes[i] = anew[old]
	}
	c.ends, c.texts, c.known = ends, texts, nil
}

// Write writes the view.
func (w *Writer) Write(to io.Writer, seed uint64) error {
	if uint64(w.rows) > math.MaxUint32 || w.size > MaxViewBytes {
		return &Error{"view", "more than a view may have"}
	}
	out := &aligned{to: to}
	head := append([]byte(magic), make([]byte, header-8)...)
	binary.LittleEndian.PutUint32(head[8:], uint32(w.rows))
	binary.LittleEndian.PutUint32(head[12:], uint32(len(w.columns)))
	if w.linked {
		head[16] = 1
	}
	binary.LittleEndian.PutUint64(head[24:], seed)
	out.part(head)
	for i := range w.columns {
		c := &w.columns[i]
		if c.number {
			out.part(c.missing)
			out.words(len(c.values), 8, func(b []byte, i int) { binary.LittleEndian.PutUint64(b, uint64(c.values[i])) })
			continue
		}
		out.part(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(len(c.ends))), uint32(len(c.texts))))
		out.words(len(c.ends), 4, func(b []byte, i int) { binary.LittleEndian.PutUint32(b, c.ends[i]) })
		out.part(c.texts)
		out.words(len(c.codes), 4, func(b []byte, i int) { binary.LittleEndian.PutUint32(b, c.codes[i]) })
	}
	if w.linked {
		out.words(len(w.who), 4, func(b []byte, i int) { binary.LittleEndian.PutUint32(b, w.who[i]) })
	}
	return out.err
}

// aligned writes parts at multiples of eight bytes.
type aligned struct {
	to  io.Writer
	buf []byte
	err error
}

func (a *aligned) write(b []byte) {
	if a.err == nil && len(b) > 0 {
		_, a.err = a.to.Write(b)
	}
}

func (a *aligned) part(b []byte) {
	a.write(b)
	a.write(make([]byte, padded(len(b))-len(b)))
}

func (a *aligned) words(n, size int, put func(b []byte, i int)) {
	if a.buf == nil {
		a.buf = make([]byte, 64<<10)
	}
	per := len(a.buf) / size
	for i := 0; i < n; i += per {
		k := min(per, n-i)
		for j := range k {
			put(a.buf[size*j:], i+j)
		}
		a.write(a.buf[:size*k])
	}
	a.write(make([]byte, padded(size*n)-size*n))
}
