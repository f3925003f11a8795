package scan

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Source (源数据指纹) is what the caller, who may see the source, tells of it: fingerprints of its rows, never a value.
type Source interface {
	// Has says whether neighbouring values as they stand in these columns of an outgoing row stand together in a row of the source. A false
	// yes is rare, a false no never.
	Has(columns []string, values []string) bool
	// Rank gives where the row stood in the source that an outgoing row came from, if it came from one row.
	Rank(row int) (rank int64, ok bool)
}

// Limits (行级判定参数) bound how much an outgoing table may look like its source's rows. Source: rule 24 of the gate; shares are ours.
type Limits struct {
	K       int     // rows of the smallest class of equal quasi-identifiers, and people behind a row where that is known
	Rows    float64 // share of the source's people that the rows may come to
	Order   float64 // Spearman's ρ with the order of the source, either way
	Shingle float64 // share of rows with a shingle of the source
	Width   int     // values of a shingle
}

// Strict gives the limits of an output that claims to be aggregated. A de-identified data set has its rows by intention: it is held
// to K, Order and Shingle.
func Strict() Limits { return Limits{K: 10, Rows: 0.5, Order: 0.9, Shingle: 0.1, Width: 3} }

// Outgoing (待出域表形态) is a table with what the gate knows about it.
type Outgoing struct {
	Fields   []Field
	Rows     [][]string
	Quasi    []int  // columns that identify together
	People   []int  // people behind each row; nil: not known
	Entities int    // people in the source; 0: not known
	Source   Source // nil: nothing is known of it
	Dataset  bool   // class E: rows are intended
}

// uniqueRows is from how many rows on a column without an equal pair is a key.
const uniqueRows = 20

// Shape gives what makes a table look like rows of people.
func Shape(o Outgoing, l Limits) (out []Hit) {
	n := len(o.Rows)
	hit := func(column string, row, count int, detail string) {
		out = append(out, Hit{Rule: RuleRowLevel, Column: column, Row: row, Count: count, Detail: detail})
	}
	if !o.Dataset && o.Entities > 0 && n >= l.K && float64(n) > l.Rows*float64(o.Entities) {
		hit("", 0, n, fmt.Sprintf("%d rows of %d people", n, o.Entities))
	}
	for i, f := range o.Fields {
		if f.Role == Amount || f.Role == Count || n < uniqueRows {
			continue // sums differ by themselves
		}
		if f.Role == Token && !slices.Contains(o.Quasi, i) {
			continue // a token of its own per row is what a plan makes
		}
		if !o.Dataset && (o.People != nil || dimensions(o.Fields) == 1) {
			continue // the label of a group is its key
		}
		if distinct(o.Rows, []int{i}) == n {
			hit(f.Name, 0, n, "a different value in every row: a key")
		}
	}
	few, first := 0, 0
	for i, p := range o.People {
		if p < l.K {
			if few++; few == 1 {
				first = i + 1
			}
		}
	}
	if few > 0 {
		hit("", first, few, fmt.Sprintf("fewer than %d people behind a row", l.K))
	}
	if len(o.Quasi) > 0 && n > 0 {
		if least, row, count := smallest(o.Rows, o.Quasi, l.K); least < l.K {
			hit("", row, count, fmt.Sprintf("%d rows agree in the quasi-identifiers, at least %d should", least, l.K))
		}
	}
	if o.Source == nil {
		return out
	}
	var x, y []int64
	for i := range o.Rows {
		if r, ok := o.Source.Rank(i); ok {
			x, y = append(x, int64(i)), append(y, r)
		}
	}
	if len(x) >= uniqueRows {
		if rho := spearman(x, y); math.Abs(rho) >= l.Order {
			hit("", 0, len(x), fmt.Sprintf("rows stand in the order of the source (ρ %.2f)", rho))
		}
	}
	raw, at := 0, 0
	var names []string
	for _, f := range o.Fields {
		names = append(names, f.Name)
	}
	for i, row := range o.Rows {
		for k := 0; l.Width > 1 && k+l.Width <= min(len(row), len(names)); k++ {
			if o.Source.Has(names[k:k+l.Width], row[k:k+l.Width]) {
				if raw++; raw == 1 {
					at = i + 1
				}
				break
			}
		}
	}
	if raw > 0 && float64(raw) > l.Shingle*float64(n) {
		hit("", at, raw, fmt.Sprintf("%d neighbouring values as in a row of the source", l.Width))
	}
	return out
}

// dimensions counts the columns that are no numbers.
func dimensions(fields []Field) (n int) {
	for _, f := range fields {
		if f.Role != Amount && f.Role != Count {
			n++
		}
	}
	return n
}

// classOf writes what a row says in some columns, each with its length.
func classOf(dst []byte, row []string, columns []int) []byte {
	for _, c := range columns {
		v := ""
		if c < len(row) {
			v = row[c]
		}
		dst = binary.AppendUvarint(dst, uint64(len(v)))
		dst = append(dst, v...)
	}
	return dst
}

func distinct(rows [][]string, columns []int) int {
	seen := map[string]struct{}{}
	var b []byte
	for _, r := range rows {
		b = classOf(b[:0], r, columns)
		seen[string(b)] = struct{}{}
	}
	return len(seen)
}

// smallest gives the size of the smallest class, the first row of one under k, and how many rows are in such.
func smallest(rows [][]string, columns []int, k int) (least, first, count int) {
	sizes := map[string]int{}
	var b []byte
	for _, r := range rows {
		b = classOf(b[:0], r, columns)
		sizes[string(b)]++
	}
	least = len(rows)
	for i, r := range rows {
		b = classOf(b[:0], r, columns)
		n := sizes[string(b)]
		least = min(least, n)
		if n < k {
			if count++; count == 1 {
				first = i + 1
			}
		}
	}
	return least, first, count
}

// spearman gives the rank correlation of two sequences; ties have their mean rank.
func spearman(x, y []int64) float64 {
	a, b := ranks(x), ranks(y)
	mean := float64(len(a)-1) / 2
	var xy, xx, yy float64
	for i := range a {
		xy += (a[i] - mean) * (b[i] - mean)
		xx += (a[i] - mean) * (a[i] - mean)
		yy += (b[i] - mean) * (b[i] - mean)
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

func ranks(v []int64) []float64 {
	at := make([]int, len(v))
	for i := range at {
		at[i] = i
	}
	sort.Slice(at, func(i, j int) bool { return v[at[i]] < v[at[j]] })
	out := make([]float64, len(v))
	for i := 0; i < len(at); {
		j := i
		for j < len(at) && v[at[j]] == v[at[i]] {
			j++
		}
		for k := i; k < j; k++ {
			out[at[k]] = float64(i+j-1) / 2
		}
		i = j
	}
	return out
}

// Shingles (源数据值片段) is a Source by a Bloom filter of keyed hashes of neighbouring values: built where the source is read, it tells
// nobody without the key what the source says. One goroutine uses it. It prints redacted.
type Shingles struct {
	key   []byte
	bits  []uint64
	names []string
	width int
	seen  int64
	order func(row int) (int64, bool)
}

// hashes is how many bits a shingle sets.
const hashes = 7

// NewShingles makes room for the shingles of so many rows of these columns: ten bits each, a false yes in about a hundred.
func NewShingles(key []byte, columns []string, rows, width int) (*Shingles, error) {
	if len(key) < sm.KeySize || width < 2 || width > len(columns) || rows < 1 || rows > 1<<27 {
		return nil, &sandbox.Error{Op: "scan: shingles", Kind: sandbox.Invalid, Object: "source", Detail: "a key of 16 bytes, two or more of the columns, 1 to 2^27 rows"}
	}
	n := uint64(rows) * uint64(len(columns)-width+1) * 10
	return &Shingles{key: slices.Clone(key), bits: make([]uint64, n/64+1), names: slices.Clone(columns), width: width}, nil
}

// String keeps the key out of logs.
func (*Shingles) String() string { return "shingles(redacted)" }

// GoString keeps the key out of %#v.
func (*Shingles) GoString() string { return "shingles(redacted)" }

// Add takes a row of the source.
func (s *Shingles) Add(row []string) {
	s.seen++
	for k := 0; k+s.width <= min(len(row), len(s.names)); k++ {
		s.places(s.names[k:k+s.width], row[k:k+s.width], func(w *uint64, bit uint64) bool { *w |= bit; return true })
	}
}

// Ordered says where outgoing rows stood in the source.
func (s *Shingles) Ordered(rank func(row int) (int64, bool)) { s.order = rank }

// Has is Source's. Values of columns that do not stand together in the source are not known.
func (s *Shingles) Has(columns, values []string) bool {
	if len(columns) != s.width {
		return false
	}
	return s.places(columns, values, func(w *uint64, bit uint64) bool { return *w&bit != 0 })
}

// Rank is Source's.
func (s *Shingles) Rank(row int) (int64, bool) {
	if s.order == nil {
		return 0, false
	}
	return s.order(row)
}

// places visits the bits of a shingle while visit says yes.
func (s *Shingles) places(columns, values []string, visit func(w *uint64, bit uint64) bool) bool {
	var parts [][]byte
	for i := range values {
		parts = append(parts, []byte(columns[i]), []byte(values[i]))
	}
	h := sm.HMAC(s.key, sm.Frame(parts...))
	a, b := binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:16])|1
	for i := range uint64(hashes) {
		at := (a + i*b) % uint64(64*len(s.bits))
		if !visit(&s.bits[at/64], 1<<(at%64)) {
			return false
		}
	}
	return true
}
