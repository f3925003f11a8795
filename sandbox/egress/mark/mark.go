// Package mark puts a recipient's mark into a de-identified data set (接收方水印) and names the recipient from a copy that turns up
// elsewhere. Class E only: never in the rounding or noise of class A, where two copies would narrow an interval.
//
// Source: rule 28 of the gate. Code: G. Tardos, Optimal probabilistic fingerprint codes (2003, JACM 2008); symmetric score of B. Škorić,
// S. Katzenbeisser, M. Celik (2008); the two biases (1 ± 1/√3)/2 of K. Nuida et al. (2009), which are for up to four recipients
// who put their copies together. Values that carry the mark are chosen as in keyed database watermarking (R. Agrawal, J. Kiernan 2002), without
// a key column: of the keyed hash of what the cell and one other cell of its row say above the tolerance.
//
// A marked column is declared with a step: a decimal, or days. Each value becomes one of the two neighbouring multiples of the step that its place
// on the grid of twice the step has, whatever the recipient: equally valid, at most one and a half steps away, and right on average over
// a spread of values. Which of the two is a bit of the recipient's code. Quasi-identifiers take their bit from quasi-identifiers alone, so
// rows that agree in all of them still do: classes of k-anonymity may grow and never split. Empty cells stay empty.
//
// Tracing is blind: it needs the key, the scheme and the list of recipients, not the data. It needs no order of rows, and
// no column but one marked one; columns are known by their headers. Cells that are off the grid are no evidence.
//
// False accusation is bounded by proof, not by experiment. Under the key, what an innocent recipient's code says at the positions that a
// copy shows is independent of the copy: each bit agrees with it by itself with the known probability of its bias. The probability
// that an innocent agrees with the copy as well as this one does is computed exactly, as the tail of two binomials; with n
// recipients it is taken n times (union bound), and a recipient is accused when that is at most FalseAccusation. It rests on
// HMAC-SM3 and SM4 in counter mode being pseudo-random, and holds for any copy, altered in any way, and for data that were never marked.
//
// What it does not withstand: values moved off the grid in every row, all marked columns left out, columns renamed (name
// them back), noise above the step; copies of more than four recipients put together; a holder of the key who frames
// somebody. A table with few different values has few positions: Marker counts them.
//
// Errors are Invalid with row and column, never with a value.
package mark

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Type (标记字段类型) is how the values of a marked column are written.
type Type string

const (
	Number Type = "number" // 数值: a decimal, such as -12.50
	Date   Type = "date"   // 日期: 2006-01-02
)

// Column (水印字段) is a column of the data set that carries the mark, or, without a step, stays as it is and only helps to place it.
type Column struct {
	Name  string `json:"name"`
	Type  Type   `json:"type,omitempty"`
	Step  string `json:"step,omitempty"`  // of a number a decimal, of a date whole days; empty: not marked
	Quasi bool   `json:"quasi,omitempty"` // 准标识符
}

// Scheme (水印方案) says which columns of a data set carry the mark. It is kept with the key: tracing needs both.
type Scheme struct {
	Dataset string   `json:"dataset"` // what was released: other data sets have other codes
	Columns []Column `json:"columns"`
}

// Bounds of a Scheme.
const (
	MaxColumns = 256
	KeySize    = 32 // bytes
)

// MinPositions is how many positions of the code a whole copy should show, so that a quarter of its cells still names its
// recipient, and two recipients' copies mixed still name one.
const MinPositions = 1000

// length is how many positions a code has.
const length = 1 << 14

// column is a Column ready for use.
type column struct {
	Column
	grid
	near []int // columns of the scheme that may place its bit
}

// Code (水印码) is the codes of all recipients of one data set under one key. Safe for concurrent use. It prints redacted.
type Code struct {
	columns    []column
	place, bit []byte // keys
	biased     []bool // whether the bits of a position are mostly one
}

// String keeps the key out of logs.
func (*Code) String() string { return "code(redacted)" }

// GoString keeps the key out of %#v.
func (*Code) GoString() string { return "code(redacted)" }

// New checks a scheme and derives its codes from a key of KeySize bytes.
func New(key []byte, s Scheme) (*Code, error) {
	bad := func(object, rule string) (*Code, error) {
		return nil, &sandbox.Error{Op: "mark: scheme", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if len(key) != KeySize {
		return bad("key", fmt.Sprintf("a key has %d bytes", KeySize))
	}
	if s.Dataset == "" || len(s.Columns) == 0 || len(s.Columns) > MaxColumns {
		return bad("scheme", fmt.Sprintf("a scheme names its data set and 1 to %d columns", MaxColumns))
	}
	c := &Code{}
	marked := 0
	for i, x := range s.Columns {
		if x.Name == "" || slices.ContainsFunc(s.Columns[:i], func(y Column) bool { return y.Name == x.Name }) {
			return bad("columns", fmt.Sprintf("column %d has a name of its own", i+1))
		}
		col := column{Column: x}
		if x.Step != "" {
			marked++
			var ok bool
			if col.grid, ok = newGrid(x.Type, x.Step); !ok {
				return bad(x.Name, "a step is a decimal above zero for type number, whole days for type date")
			}
		} else if x.Type != "" {
			return bad(x.Name, "a column that is not marked has no type")
		}
		for j, y := range s.Columns {
			if j != i && (!x.Quasi || y.Quasi) {
				col.near = append(col.near, j)
			}
		}
		c.columns = append(c.columns, col)
	}
	if marked == 0 {
		return bad("columns", "at least one column is marked")
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var bias []byte
	for _, k := range []struct {
		out *[]byte
		use string
	}{{&c.place, "place"}, {&bias, "bias"}, {&c.bit, "bit"}} {
		if *k.out, err = sm.HKDF(key, nil, sm.Frame([]byte("opdomain/mark/v1"), []byte(k.use), text), KeySize); err != nil {
			return nil, err
		}
	}
	c.biased = make([]bool, length)
	for j := 0; j < length; j += 8 * sm.Size {
		h := sm.HMAC(bias, binary.BigEndian.AppendUint32(nil, uint32(j)))
		for k := range 8 * sm.Size {
			c.biased[j+k] = h[k/8]>>(k%8)&1 == 1
		}
	}
	return c, nil
}

// layout says where the scheme's columns stand in a table; -1: not there.
func (c *Code) layout(header []string) []int {
	at := make([]int, len(c.columns))
	for i := range c.columns {
		at[i] = slices.Index(header, c.columns[i].Name)
	}
	return at
}

// position gives the place in the code of column i of a row, whose value lies in pair m of its grid. ok is false where what
// places it is not in the table or cannot be read.
func (c *Code) position(i int, m int64, at []int, row []string) (int, bool) {
	col := &c.columns[i]
	own := sm.Frame([]byte(col.Name), binary.BigEndian.AppendUint64(nil, uint64(m)))
	h := sm.HMAC(c.place, own)
	k := int(binary.BigEndian.Uint32(h[8:]) % uint32(len(col.near)+1))
	if k == len(col.near) {
		return int(binary.BigEndian.Uint64(h[:8]) % length), true
	}
	other := &c.columns[col.near[k]]
	x := at[col.near[k]]
	if x < 0 || x >= len(row) {
		return 0, false
	}
	said := []byte(row[x])
	if other.step > 0 { // what its own mark does not change
		said = nil
		if row[x] != "" {
			v, _, ok := other.read(row[x])
			if !ok {
				return 0, false
			}
			said = binary.BigEndian.AppendUint64(nil, uint64(other.pair(v)))
		}
	}
	h = sm.HMAC(c.place, own, sm.Frame([]byte(other.Name), said))
	return int(binary.BigEndian.Uint64(h[:8]) % length), true
}

// The two biases, in 65,536ths: the probability that a code's bit is one.
const (
	unit = 1 << 16
	low  = 13849 // (1 − 1/√3)/2
	high = unit - low
)

// codeword gives the bits of one recipient at all positions, drawn from a keystream of its own.
func (c *Code) codeword(recipient sandbox.IdentityID) ([]bool, error) {
	key := sm.HMAC(c.bit, []byte(recipient))
	stream, err := sm.NewKeystream(key[:sm.KeySize])
	if err != nil {
		return nil, err
	}
	draws := make([]byte, 2*length)
	if _, err := stream.Read(draws); err != nil {
		return nil, err
	}
	out := make([]bool, length)
	for j := range out {
		p := uint16(low)
		if c.biased[j] {
			p = high
		}
		out[j] = binary.BigEndian.Uint16(draws[2*j:]) < p
	}
	return out, nil
}

// Marker (水印嵌入器) marks the rows of one recipient's copy. One goroutine uses it.
type Marker struct {
	code *Code
	at   []int
	bits []bool
	row  int
	wide int
	seen []bool
	new  []string
	n    int
}

// Marker starts a recipient's copy of a table. Every column of the scheme is in it.
func (c *Code) Marker(recipient sandbox.IdentityID, header []string) (*Marker, error) {
	if err := sandbox.CheckID("recipient", string(recipient)); err != nil {
		return nil, err
	}
	bits, err := c.codeword(recipient)
	if err != nil {
		return nil, err
	}
	m := &Marker{code: c, at: c.layout(header), bits: bits, wide: len(header), seen: make([]bool, length), new: make([]string, len(c.columns))}
	for i, x := range m.at {
		if x < 0 {
			return nil, &sandbox.Error{Op: "mark", Kind: sandbox.Invalid, Object: c.columns[i].Name, Detail: "a column of the scheme is in the table"}
		}
		if slices.Index(header[x+1:], header[x]) >= 0 {
			return nil, &sandbox.Error{Op: "mark", Kind: sandbox.Invalid, Object: c.columns[i].Name, Detail: "a column of the scheme is in the table once"}
		}
	}
	return m, nil
}

// Mark marks a row in place.
func (m *Marker) Mark(row []string) error {
	m.row++
	if len(row) != m.wide {
		return &sandbox.Error{Op: "mark", Kind: sandbox.Invalid, Object: fmt.Sprintf("row %d", m.row), Detail: "as many cells as the header"}
	}
	for i := range m.code.columns {
		col := &m.code.columns[i]
		m.new[i] = row[m.at[i]]
		if col.step == 0 || row[m.at[i]] == "" {
			continue
		}
		v, _, ok := col.read(row[m.at[i]])
		if !ok {
			return &sandbox.Error{Op: "mark", Kind: sandbox.Invalid, Object: fmt.Sprintf("row %d, column %s", m.row, col.Name), Detail: "a marked cell is empty or of its type, within the range of its step"}
		}
		p := col.pair(v)
		j, ok := m.code.position(i, p, m.at, row)
		if !ok {
			return &sandbox.Error{Op: "mark", Kind: sandbox.Invalid, Object: fmt.Sprintf("row %d", m.row), Detail: "marked cells are empty or of their type, within the range of their step"}
		}
		if !m.seen[j] {
			m.seen[j], m.n = true, m.n+1
		}
		m.new[i] = col.write(p, m.bits[j])
	}
	for i, x := range m.at { // after all positions were read
		row[x] = m.new[i]
	}
	return nil
}

// Positions gives how many positions of the code the rows so far carry: see MinPositions.
func (m *Marker) Positions() int { return m.n }
