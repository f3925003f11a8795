package mapper

import (
	"encoding/binary"
	"unsafe"
)

// Subject (主体数据) is the rows of one subject.
type Subject struct {
	b    []byte
	rows int
	cols int
	at   []uint32 // of every cell, its place in b; 0 is missing
}

// Rows is how many rows the subject has.
func (s *Subject) Rows() int { return s.rows }

// Int reads a whole number, money and numbers in units of their scale, a date as days since 1970, a bool as 0 or 1. ok is false where it is missing, and
// for a text.
func (s *Subject) Int(row, column int) (v int64, ok bool) {
	p := s.place(row, column)
	if p == 0 || s.b[p-1] != kindNumber {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(s.b[p:])), true
}

// Text reads a text; ok is false where it is missing, and for a number.
func (s *Subject) Text(row, column int) (v string, ok bool) {
	p := s.place(row, column)
	if p == 0 || s.b[p-1] != kindText {
		return "", false
	}
	n := binary.LittleEndian.Uint32(s.b[p:])
	return unsafe.String(unsafe.SliceData(s.b[p+4:]), n), true // the subject outlives the call in which it is read
}

func (s *Subject) place(row, column int) uint32 {
	if row < 0 || row >= s.rows || column < 0 || column >= s.cols {
		return 0
	}
	return s.at[row*s.cols+column]
}

// Kinds of a cell.
const (
	kindMissing = iota
	kindNumber
	kindText
)

// Bounds of one subject's bytes.
const (
	MaxRows  = 1 << 20
	MaxBytes = 3 << 20 // several fit into one message of the jail
)

// Writer (主体编码) writes a subject: rows one after the other, in each every column. The host uses it; Reset begins the next subject.
type Writer struct {
	columns int
	rows    int
	b       []byte
}

// NewWriter writes subjects of so many columns.
func NewWriter(columns int) *Writer {
	w := &Writer{columns: columns}
	w.Reset()
	return w
}

// Reset begins the next subject.
func (w *Writer) Reset() { w.rows, w.b = 0, append(w.b[:0], 0, 0, 0, 0) }

// Row begins a row.
func (w *Writer) Row() { w.rows++ }

// Missing writes a missing value.
func (w *Writer) Missing() { w.b = append(w.b, kindMissing) }

// Int writes a number.
func (w *Writer) Int(v int64) {
	w.b = binary.LittleEndian.AppendUint64(append(w.b, kindNumber), uint64(v))
}

// Text writes a text.
func (w *Writer) Text(v string) {
	w.b = append(binary.LittleEndian.AppendUint32(append(w.b, kindText), uint32(len(v))), v...)
}

// Full says whether the subject is as large as one may be: what follows of it is not written.
func (w *Writer) Full() bool { return w.rows >= MaxRows || len(w.b) > MaxBytes }

// Bytes gives the subject, good until Reset; nil where it is larger than a subject may be.
func (w *Writer) Bytes() []byte {
	if w.rows > MaxRows || len(w.b) > MaxBytes {
		return nil
	}
	binary.LittleEndian.PutUint32(w.b, uint32(w.rows))
	return w.b
}

// ReadSubject reads a subject of so many columns.
func ReadSubject(b []byte, columns int) (*Subject, error) {
	bad := &Error{"subject", "rows of declared columns, whole"}
	if len(b) < 4 || len(b) > MaxBytes || columns < 1 || columns > MaxColumns {
		return nil, bad
	}
	rows := binary.LittleEndian.Uint32(b)
	if rows > MaxRows || uint64(rows)*uint64(columns) > uint64(len(b)-4) {
		return nil, bad
	}
	s := &Subject{b: b, rows: int(rows), cols: columns, at: make([]uint32, int(rows)*columns)}
	p := uint64(4)
	for i := range s.at {
		if p >= uint64(len(b)) {
			return nil, bad
		}
		kind := b[p]
		p++
		n := uint64(0)
		switch kind {
		case kindMissing:
			continue
		case kindNumber:
			n = 8
		case kindText:
			if p+4 > uint64(len(b)) {
				return nil, bad
			}
			n = 4 + uint64(binary.LittleEndian.Uint32(b[p:]))
		default:
			return nil, bad
		}
		if p+n > uint64(len(b)) {
			return nil, bad
		}
		s.at[i], p = uint32(p), p+n
	}
	if p != uint64(len(b)) {
		return nil, bad
	}
	return s, nil
}

// Yields (产出) is what one subject yields.
type Yields struct {
	groups, values int
	b              []byte
}

// Yield yields values for a group, named by the number of its label in each grouping. One with another number of labels or values is what was not
// declared: the subject then yields nothing.
func (y *Yields) Yield(labels []int, values ...int64) {
	if len(labels) != y.groups || len(values) != y.values {
		y.b = append(y.b, 0) // no whole yield
		return
	}
	for _, l := range labels {
		y.b = binary.LittleEndian.AppendUint16(y.b, uint16(min(max(l, -1), MaxLabels)))
	}
	for _, v := range values {
		y.b = binary.LittleEndian.AppendUint64(y.b, uint64(v))
	}
	if len(labels)+len(values) == 0 {
		y.b = append(y.b, 0)
	}
}

// Yielded (一项产出) is one yield as the host reads it.
type Yielded struct {
	Labels []int   // numbers of labels, within the declaration
	Values []int64 // in range and on a step
}

// YieldBytes is how much one subject yields at most, encoded.
func (d *Declaration) YieldBytes() int { return d.Yields * d.yieldBytes() }

func (d *Declaration) yieldBytes() int { return 2*len(d.Groups) + 8*len(d.Values) }

// ReadYields reads what a subject yielded into out, clipped and quantised. It refuses more yields than declared, labels that are not, and bytes left over.
func ReadYields(b []byte, d *Declaration, out []Yielded) ([]Yielded, error) {
	out = out[:0]
	size := d.yieldBytes()
	if size == 0 || len(b)%size != 0 || len(b)/size > d.Yields {
		return out, &Error{"yields", "whole yields, as many as declared at most"}
	}
	for ; len(b) > 0; b = b[size:] {
		if len(out) < cap(out) {
			out = out[:len(out)+1]
		} else {
			out = append(out, Yielded{})
		}
		y := &out[len(out)-1]
		y.Labels, y.Values = y.Labels[:0], y.Values[:0]
		for i := range d.Groups {
			l := int(binary.LittleEndian.Uint16(b[2*i:]))
			if l >= len(d.Groups[i].Labels) {
				return out[:0], &Error{"yields", "a declared label"}
			}
			y.Labels = append(y.Labels, l)
		}
		for i, v := range d.Values {
			y.Values = append(y.Values, v.Quantise(int64(binary.LittleEndian.Uint64(b[2*len(d.Groups)+8*i:]))))
		}
	}
	return out, nil
}
