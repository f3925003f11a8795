// Package wire is what a confined parser and its host say to each other (解析帧): a table as rows of text, in frames that the host reads
// without trust. Never Arrow IPC: its reader allocates what a header claims.
//
// A call has a request and an answer, each one message of at most MaxFrame bytes. The first request opens, every other one is empty.
//
//	open    'O', format, memory uvarint, then the name of a sheet up to the end of the message
//	header  'H', width uint32, then the header of each field
//	rows    'R', count uint32, then of each row its number in the file as uvarint, and width fields
//	end     'E'
//	fault   'F', rule uvarint, row uvarint, field uvarint; 0: none
//
// A field is a uvarint k and what follows: of an even k, k/2 bytes of text, none where the value is missing; of an odd one nothing: k/2 is the
// rule that the value breaks, so that a bad value in a column nobody reads stops nothing. Integers are little endian.
//
// Frames are checked as they are read: a length past the end, bytes left over, a rule that is none are ErrFrame.
package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// Name is argument 0 of a parser's process, Service its gRPC service with methods Open and Next.
const (
	Name    = "opdomain-parse"
	Service = "parse"
)

// Bounds of both sides.
const (
	MaxFrame  = 6 << 20 // bytes of one message
	MaxRow    = 4 << 20 // bytes of one row
	MaxFields = 4096    // of one row
	full      = 256 << 10
)

// Format (文件格式) is what a file is.
type Format byte

// The formats.
const (
	XLSX    Format = 'x'
	Parquet Format = 'p'
	Arrow   Format = 'a' // IPC, as a file or as a stream
)

// Rule (解析规则) is what a file or a value breaks. Its text is the host's.
type Rule uint64

// The rules; those of files first.
const (
	Malformed Rule = iota + 1
	Truncated
	Expands
	Parts
	Width
	Long
	Nesting
	Memory
	Encrypted
	Macros
	NoSheet
	NoHeader
	Strings
	Beyond
	firstOfValue
	Composite
	Binary
	Instant
	NotFinite
	Digits
	CellError
	Formula
	NoDay
	Span
	Kind
	Repeated
	BadCell
	ruleEnd
)

var texts = [ruleEnd]string{
	Malformed: "it is not well-formed, or made to break its reader",
	Truncated: "it ends before its end: a part is missing",
	Expands:   "it expands to more than 100 times its size, or a part of it to more than 4 GiB",
	Parts:     "a workbook has at most 10000 parts",
	Width:     "a table has at most 4096 columns",
	Long:      "a row has at most 4 MiB",
	Nesting:   "its elements are nested more than 64 deep",
	Memory:    "reading it takes more memory than a parser is given",
	Encrypted: "it is encrypted, or a workbook of the old .xls form",
	Macros:    "it holds macros",
	NoSheet:   "it has no such sheet of cells",
	NoHeader:  "it has no row of headers",
	Strings:   "its shared strings take more memory than a parser is given",
	Beyond:    "the row has cells beyond the header",
	Composite: "lists, structures, maps and unions are not read",
	Binary:    "bytes that are not marked as text are not read",
	Instant:   "an instant of universal time has no day of its own; write a date, or a local time without a zone",
	NotFinite: "the number is not finite",
	Digits:    "a number cell keeps 15 digits and this one needs more; write it as text",
	CellError: "the cell holds an error value",
	Formula:   "a formula without a stored value; open the workbook in its program and save it",
	NoDay:     "no day of the calendar has this number",
	Span:      "a time is within one day",
	Kind:      "values of this type are not read",
	Repeated:  "the cell stands twice in its row",
	BadCell:   "the value of the cell is not of the cell's type",
}

// Text words the rule; "" for what is no rule.
func (r Rule) Text() string {
	if r >= ruleEnd {
		return ""
	}
	return texts[r]
}

// Fault (解析故障) is a rule as an error, at a row and a field from 1; 0 where there is none.
type Fault struct {
	Rule  Rule
	Row   int64
	Field int
}

func (f *Fault) Error() string { return "parse: " + f.Rule.Text() }

// ErrFrame says that a message is not of this package's form.
var ErrFrame = errors.New("parse: not a frame")

// Open (打开请求) is the first request.
type Open struct {
	Format Format
	Memory uint64 // bytes
	Sheet  string // of XLSX; "": the first one that is shown
}

// Encode gives the message.
func (o Open) Encode() []byte {
	b := binary.AppendUvarint([]byte{'O', byte(o.Format)}, o.Memory)
	return append(b, o.Sheet...)
}

// DecodeOpen reads the first request.
func DecodeOpen(b []byte) (Open, error) {
	if len(b) < 3 || b[0] != 'O' {
		return Open{}, ErrFrame
	}
	memory, n := binary.Uvarint(b[2:])
	if n <= 0 {
		return Open{}, ErrFrame
	}
	return Open{Format: Format(b[1]), Memory: memory, Sheet: string(b[2+n:])}, nil
}

// EncodeHeader gives the header as a frame.
func EncodeHeader(header []string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{'H'}, uint32(len(header)))
	for _, h := range header {
		b = append(binary.AppendUvarint(b, uint64(len(h))<<1), h...)
	}
	return b
}

// EncodeFault gives a fault as a frame.
func EncodeFault(f *Fault) []byte {
	b := binary.AppendUvarint([]byte{'F'}, uint64(f.Rule))
	b = binary.AppendUvarint(b, uint64(max(0, f.Row)))
	return binary.AppendUvarint(b, uint64(max(0, f.Field)))
}

// End is the frame of the end.
func End() []byte { return []byte{'E'} }

// Writer (帧写入) collects rows for one frame.
type Writer struct {
	b    []byte
	rows uint32
	row  int // where the current one starts
}

// Row begins a row by its number in the file. The fields follow in order, each once.
func (w *Writer) Row(number int64) {
	if len(w.b) == 0 {
		w.b = append(w.b, 'R', 0, 0, 0, 0)
	}
	w.row = len(w.b)
	w.b = binary.AppendUvarint(w.b, uint64(number))
	w.rows++
}

// Mark (写入位置) is a place between two rows.
type Mark struct {
	at   int
	rows uint32
}

// Mark gives the place behind the rows so far.
func (w *Writer) Mark() Mark { return Mark{len(w.b), w.rows} }

// Back takes back what was written since.
func (w *Writer) Back(m Mark) { w.b, w.rows = w.b[:m.at], m.rows }

// Text adds a field; "" is missing.
func (w *Writer) Text(s string) {
	w.b = append(binary.AppendUvarint(w.b, uint64(len(s))<<1), s...)
}

// Bytes is Text.
func (w *Writer) Bytes(s []byte) {
	w.b = append(binary.AppendUvarint(w.b, uint64(len(s))<<1), s...)
}

// Missing adds a field without a value.
func (w *Writer) Missing() { w.b = append(w.b, 0) }

// Unfit adds a field whose value breaks a rule.
func (w *Writer) Unfit(r Rule) { w.b = binary.AppendUvarint(w.b, uint64(r)<<1|1) }

// Size is the size of the current row so far.
func (w *Writer) Size() int { return len(w.b) - w.row }

// Rows is the number of rows.
func (w *Writer) Rows() int { return int(w.rows) }

// Full says that the frame is to be sent.
func (w *Writer) Full() bool { return len(w.b) >= full }

// Frame gives the frame and begins the next one.
func (w *Writer) Frame() []byte {
	b := w.b
	binary.LittleEndian.PutUint32(b[1:], w.rows)
	w.b, w.rows, w.row = nil, 0, 0
	return b
}

// Answer (应答) is a decoded answer: a header, rows, the end or a fault.
type Answer struct {
	Header []string
	Rows   *Rows
	End    bool
	Fault  *Fault
}

// Decode reads an answer of a table of width fields; of a header width is 0. What it gives holds no reference to b.
func Decode(b []byte, width int) (Answer, error) {
	if len(b) == 0 || len(b) > MaxFrame {
		return Answer{}, ErrFrame
	}
	c := cursor{s: string(b[1:])}
	switch b[0] {
	case 'H':
		n := c.uint32()
		if width != 0 || n == 0 || n > MaxFields {
			return Answer{}, ErrFrame
		}
		header := make([]string, n)
		for i := range header {
			var rule Rule
			if header[i], rule = c.field(); rule != 0 {
				return Answer{}, ErrFrame
			}
		}
		if c.bad || c.s != "" {
			return Answer{}, ErrFrame
		}
		return Answer{Header: header}, nil
	case 'R':
		n := c.uint32()
		if c.bad || width == 0 || n == 0 || uint64(n)*uint64(width+1) > uint64(len(c.s)) {
			return Answer{}, ErrFrame
		}
		return Answer{Rows: &Rows{c: c, left: n, width: width}}, nil
	case 'E':
		if width == 0 || len(b) != 1 {
			return Answer{}, ErrFrame
		}
		return Answer{End: true}, nil
	case 'F':
		f := &Fault{Rule: Rule(c.uvarint()), Row: c.number()}
		field := c.number()
		if c.bad || c.s != "" || f.Rule.Text() == "" || field > MaxFields {
			return Answer{}, ErrFrame
		}
		f.Field = int(field)
		return Answer{Fault: f}, nil
	}
	return Answer{}, ErrFrame
}

// Rows (行帧) gives the rows of one frame.
type Rows struct {
	c     cursor
	left  uint32
	width int
}

// Next puts the fields of the next row into fields, and the rule that each breaks, or 0, into rules, both of the table's width; false after the last.
func (r *Rows) Next(fields []string, rules []Rule) (number int64, ok bool, err error) {
	if r.left == 0 {
		if r.c.s != "" {
			return 0, false, ErrFrame
		}
		return 0, false, nil
	}
	r.left--
	number = r.c.number()
	before := len(r.c.s)
	for i := range r.width {
		fields[i], rules[i] = r.c.field()
	}
	if r.c.bad || before-len(r.c.s) > MaxRow {
		return 0, false, ErrFrame
	}
	return number, true, nil
}

// cursor reads a string from the front; what it gives are parts of it.
type cursor struct {
	s   string
	bad bool
}

func (c *cursor) uint32() uint32 {
	if len(c.s) < 4 {
		c.bad = true
		return 0
	}
	v := uint32(c.s[0]) | uint32(c.s[1])<<8 | uint32(c.s[2])<<16 | uint32(c.s[3])<<24
	c.s = c.s[4:]
	return v
}

func (c *cursor) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(c.s) && i < binary.MaxVarintLen64; i++ {
		x := c.s[i]
		if i == binary.MaxVarintLen64-1 && x > 1 {
			break
		}
		v |= uint64(x&0x7f) << (7 * i)
		if x < 0x80 {
			c.s = c.s[i+1:]
			return v
		}
	}
	c.bad = true
	c.s = ""
	return 0
}

func (c *cursor) number() int64 {
	v := c.uvarint()
	if v > math.MaxInt64 {
		c.bad = true
		return 0
	}
	return int64(v)
}

func (c *cursor) field() (string, Rule) {
	k := c.uvarint()
	if k&1 == 1 {
		r := Rule(k >> 1)
		if r <= firstOfValue || r >= ruleEnd {
			c.bad = true
		}
		return "", r
	}
	n := k >> 1
	if n > uint64(len(c.s)) {
		c.bad = true
		return "", 0
	}
	s := c.s[:n]
	c.s = c.s[n:]
	return s, 0
}
