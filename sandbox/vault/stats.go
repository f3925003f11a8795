package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// statsName stands in the place of a column.
const (
	statsName = "_statistics"
	statsFile = "statistics"
)

// statistics (列统计) of a version, sealed beside its columns. They say about the data what the data say, so they never leave
// this package but as the batches that a scan for one subject opens.
type statistics struct {
	Batches []batchStatistics `json:"batches"`
	Ends    [][]int64         `json:"ends"` // by column: where each batch ends in the column's plaintext
}

type batchStatistics struct {
	First    []byte             `json:"first"` // pseudonyms
	Last     []byte             `json:"last"`
	Subjects int                `json:"subjects"`
	Columns  []columnStatistics `json:"columns"`
}

type columnStatistics struct {
	Nulls int    `json:"nulls,omitempty"`
	Min   *int64 `json:"min,omitempty"` // of int64 and date32 values that are not null
	Max   *int64 `json:"max,omitempty"`
	Low   []byte `json:"low,omitempty"` // of text, its first 16 bytes
	High  []byte `json:"high,omitempty"`
	True  int    `json:"true,omitempty"`
	// Texts are all that stand in a text column, where they are few.
	Texts [][]byte `json:"texts,omitempty"`
}

const (
	maxText       = batch.ExtentBytes // kept of a text value
	maxValues     = 16                // texts of a batch that are kept
	maxValueBytes = 256
)

// add takes a batch, and what is said of its declared columns once they are written.
func (s *statistics) add(rec arrow.Record, columns []columnStatistics) {
	last := int(rec.NumCols()) - 1
	who := rec.Column(last).(*array.FixedSizeBinary)
	b := batchStatistics{First: bytes.Clone(who.Value(0)), Last: bytes.Clone(who.Value(who.Len() - 1)), Columns: columns}
	raw := who.Data().Buffers()[1].Bytes()[who.Data().Offset()*16:]
	b.Subjects = 1
	for i := 16; i < 16*who.Len(); i += 16 {
		if [16]byte(raw[i:]) != [16]byte(raw[i-16:]) {
			b.Subjects++
		}
	}
	s.Batches = append(s.Batches, b)
}

func describe(a arrow.Array) (c columnStatistics) {
	c.Nulls = a.NullN()
	if c.Nulls == a.Len() {
		return c
	}
	switch a := a.(type) {
	case *array.Int64:
		c.Min, c.Max = bounds(a, a.Int64Values())
	case *array.Date32:
		c.Min, c.Max = bounds(a, a.Date32Values())
	case *array.Boolean:
		for i := range a.Len() {
			if a.IsValid(i) && a.Value(i) {
				c.True++
			}
		}
	case *array.String:
		c.Low, c.High = textBounds(a)
	}
	return c
}

// bounds gives the least and the greatest value that is not null, of which there is one.
func bounds[T int64 | arrow.Date32](a arrow.Array, v []T) (*int64, *int64) {
	first := 0
	for a.IsNull(first) {
		first++
	}
	low, high := v[first], v[first]
	if a.NullN() == 0 {
		for _, x := range v {
			low, high = min(low, x), max(high, x)
		}
	} else {
		valid, offset := a.NullBitmapBytes(), a.Data().Offset()
		for i, x := range v {
			if bitutil.BitIsSet(valid, offset+i) {
				low, high = min(low, x), max(high, x)
			}
		}
	}
	l, h := int64(low), int64(high)
	return &l, &h
}

// textStart is the first bytes of a text as numbers that are in the order of the texts; maxText of them.
type textStart struct {
	hi, lo uint64
	n      int
}

// textStartAt reads the text from one place to another.
func textStartAt(b []byte, from, to int) (s textStart) {
	s.n = min(to-from, maxText)
	if from+maxText > len(b) {
		var end [maxText]byte
		copy(end[:], b[from:to])
		b, from = end[:], 0
	}
	s.hi, s.lo = binary.BigEndian.Uint64(b[from:]), binary.BigEndian.Uint64(b[from+8:])
	if s.n < maxText { // what follows is another text; a shift by 64 and more leaves nothing
		s.hi &= ^uint64(0) << (64 - 8*min(s.n, 8))
		s.lo &= ^uint64(0) << (128 - 8*s.n)
	}
	return s
}

func (s textStart) before(o textStart) bool {
	if s.hi != o.hi {
		return s.hi < o.hi
	}
	if s.lo != o.lo {
		return s.lo < o.lo
	}
	return s.n < o.n
}

func (s textStart) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.hi), s.lo)[:s.n]
}

// textBounds gives the starts of the least and the greatest text that is not null, of which there is one.
func textBounds(a *array.String) (least, greatest []byte) {
	var b []byte
	if values := a.Data().Buffers()[2]; values != nil {
		b = values.Bytes()
	}
	offsets, nulls := a.ValueOffsets(), a.NullN() > 0
	first := 0
	for a.IsNull(first) {
		first++
	}
	low := textStartAt(b, int(offsets[first]), int(offsets[first+1]))
	high := low
	for i := first + 1; i < a.Len(); i++ {
		if nulls && a.IsNull(i) {
			continue
		}
		from, to := int(offsets[i]), int(offsets[i+1])
		if to-from >= 8 { // most lie between the two by their first eight bytes
			if hi := binary.BigEndian.Uint64(b[from:]); hi > low.hi && hi < high.hi {
				continue
			}
		}
		x := textStartAt(b, from, to)
		if x.before(low) {
			low = x
		} else if high.before(x) {
			high = x
		}
	}
	return low.bytes(), high.bytes()
}

// keepStatistics seals the statistics of the version.
func (w *Writer) keepStatistics() error {
	b, err := json.Marshal(w.stats)
	if err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	w.m.Statistics, err = w.seal(filepath.Join(w.folder, statsFile), statsName, b)
	return err
}

// statistics opens those of a version.
func (v *Vault) statistics(s Snapshot) (statistics, error) {
	p := place{s.Dataset, s.Version, statsName, s.Key, s.key, nil}
	f, err := openSealed(v.fs, filepath.Join(v.versionPath(s.Dataset, s.Version), statsFile), p, s.stats)
	if err != nil {
		return statistics{}, err
	}
	defer f.Close()
	b, err := f.all()
	if err != nil {
		return statistics{}, err
	}
	var st statistics
	bad := strict(b, &st) != nil || len(st.Batches) != len(s.Batches) || len(st.Ends) != len(s.columns)
	for _, ends := range st.Ends {
		bad = bad || len(ends) != len(s.Batches) || !slices.IsSorted(ends)
	}
	for _, x := range st.Batches {
		bad = bad || len(x.Columns) != len(s.columns)-1 || len(x.First) != 16 || len(x.Last) != 16 || bytes.Compare(x.First, x.Last) > 0
	}
	if bad {
		return statistics{}, p.tampered("not the statistics of this version")
	}
	return st, nil
}

// of gives what is known of a column in a batch.
func (s *statistics) of(column, i int) (columnStatistics, bool) {
	if i >= len(s.Batches) || column >= len(s.Batches[i].Columns) {
		return columnStatistics{}, false // of pseudonyms nothing is
	}
	c := s.Batches[i].Columns[column]
	return c, c.Nulls != unknownNulls
}

// size is about what it takes in JSON.
func (c columnStatistics) size() int {
	n := 64 + 2*(len(c.Low)+len(c.High))
	for _, t := range c.Texts {
		n += 4 + 2*len(t)
	}
	return n
}

// extent is what a reader's caller is told of a column in a batch of so many rows.
func (c columnStatistics) extent(t arrow.DataType, rows int) batch.Extent {
	e := batch.Extent{Rows: rows, Nulls: c.Nulls, Least: c.Min, Most: c.Max, Low: c.Low, High: c.High, Texts: c.Texts}
	if t.ID() == arrow.BOOL && c.Nulls < rows {
		least, most := int64(0), int64(1)
		if c.True == 0 {
			most = 0
		} else if c.True == rows-c.Nulls {
			least = 1
		}
		e.Least, e.Most = &least, &most
	}
	return e
}

// holding gives the range of batches that may hold a subject's rows.
func (s statistics) holding(p sandbox.Pseudonym) (from, to int) {
	for from < len(s.Batches) && bytes.Compare(s.Batches[from].Last, p[:]) < 0 {
		from++
	}
	to = from
	for to < len(s.Batches) && bytes.Compare(s.Batches[to].First, p[:]) <= 0 {
		to++
	}
	return from, to
}

// Subjects gives the number of distinct subjects of a version, from its statistics.
func (v *Vault) Subjects(ctx context.Context, s Snapshot) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	st, err := v.statistics(s)
	if err != nil {
		return 0, err
	}
	n := int64(0)
	for i, b := range st.Batches {
		n += int64(b.Subjects)
		if i > 0 && bytes.Equal(b.First, st.Batches[i-1].Last) { // one subject over two batches
			n--
		}
	}
	return n, nil
}
