package model

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Data (训练与测试数据) is rows of a schema, by subject: what the gate computes its evidence from. It is grade 4 and prints redacted.
type Data struct {
	schema  *Schema
	x       []float64 // rows × features: share of the range, or level
	bin     []uint16  // rows × features: step, or level
	y       []float64
	first   []int32 // per subject its first row; one more
	who     []int32 // per row its subject
	keys    []string
	missing int
}

// String keeps rows out of logs.
func (*Data) String() string { return "rows(redacted)" }

// GoString keeps rows out of %#v.
func (*Data) GoString() string { return "rows(redacted)" }

// Subjects is how many distinct people there are.
func (d *Data) Subjects() int { return len(d.first) - 1 }

// Rows is how many rows there are.
func (d *Data) Rows() int { return len(d.y) }

// Missing is how many rows were left out because a value of theirs is missing.
func (d *Data) Missing() int { return d.missing }

func (d *Data) bins(row int) []uint16 {
	n := len(d.schema.Features)
	return d.bin[row*n : row*n+n]
}

func (d *Data) values(row int) []float64 {
	n := len(d.schema.Features)
	return d.x[row*n : row*n+n]
}

// rows lists the rows of a subject.
func (d *Data) rows(s int) (from, to int) { return int(d.first[s]), int(d.first[s+1]) }

// Builder (数据装载) collects rows.
type Builder struct {
	schema *Schema
	levels []map[string]int
	x      []float64
	bin    []uint16
	y      []float64
	key    []string
	miss   int
}

// MaxRows bounds what is trained on for one check.
const MaxRows = 2 << 20

// NewBuilder takes a valid schema.
func NewBuilder(s Schema) (*Builder, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	b := &Builder{schema: &s}
	for _, f := range s.Features {
		m := map[string]int{}
		for i, l := range f.Levels {
			m[l] = i
		}
		b.levels = append(b.levels, m)
	}
	return b, nil
}

// Add takes a row: its subject's key, the features' values in the schema's order, the label. A row with an empty value or "?" is left out and
// counted. What is no number, or a level that is not registered, is Invalid and names the column.
func (b *Builder) Add(subject string, values []string, label string) error {
	if len(values) != len(b.schema.Features) {
		return invalid("row", "a value for every feature")
	}
	if subject == "" {
		return invalid("subject", "every row has its subject")
	}
	if len(b.y) >= MaxRows {
		return invalid("rows", "at most 2^21 rows")
	}
	absent := func(s string) bool { return s == "" || s == "?" }
	if absent(label) || slices.ContainsFunc(values, absent) {
		b.miss++
		return nil
	}
	y, ok := b.label(label)
	if !ok {
		return invalid(b.schema.Label.Name, "a label of the registered form")
	}
	n := len(b.x)
	for i, f := range b.schema.Features {
		if f.category() {
			l, ok := b.levels[i][values[i]]
			if !ok {
				b.x, b.bin = b.x[:n], b.bin[:n]
				return invalid(f.Name, "a level that is registered")
			}
			b.x, b.bin = append(b.x, float64(l)), append(b.bin, uint16(l))
			continue
		}
		v, ok := number(values[i])
		if !ok {
			b.x, b.bin = b.x[:n], b.bin[:n]
			return invalid(f.Name, "a number")
		}
		low, high := f.Low.Float(), f.High.Float()
		v = max(min(v, high), low)
		b.x = append(b.x, (v-low)/(high-low))
		b.bin = append(b.bin, uint16(min(int((v-low)/f.Step.Float()+1e-9), f.steps()-1)))
	}
	b.y, b.key = append(b.y, y), append(b.key, subject)
	return nil
}

func number(s string) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}

func (b *Builder) label(s string) (float64, bool) {
	l := b.schema.Label
	if l.Form == Binary {
		i := slices.Index(l.Levels, s)
		return float64(i), i >= 0
	}
	v, ok := number(s)
	switch {
	case !ok:
		return 0, false
	case l.Form == Count:
		return min(v, l.High.Float()), v >= 0 && v == math.Trunc(v)
	case l.Low > 0: // positive amounts, which gamma takes too
		return max(min(v, l.High.Float()), l.Low.Float()) / l.High.Float(), true
	}
	return (max(min(v, l.High.Float()), l.Low.Float()) - l.Low.Float()) / (l.High - l.Low).Float(), true
}

// Build gives the rows, those of a subject together, in an order of their own: subjects as they first came.
func (b *Builder) Build() *Data {
	n := len(b.schema.Features)
	d := &Data{schema: b.schema, missing: b.miss}
	index := map[string]int{}
	var of [][]int
	for r, k := range b.key {
		i, ok := index[k]
		if !ok {
			i = len(of)
			index[k], of, d.keys = i, append(of, nil), append(d.keys, k)
		}
		of[i] = append(of[i], r)
	}
	for s, rows := range of {
		d.first = append(d.first, int32(len(d.y)))
		for _, r := range rows {
			d.x, d.bin, d.y = append(d.x, b.x[r*n:r*n+n]...), append(d.bin, b.bin[r*n:r*n+n]...), append(d.y, b.y[r])
			d.who = append(d.who, int32(s))
		}
	}
	d.first = append(d.first, int32(len(d.y)))
	return d
}

// pool joins members, others and so many single rows for canaries, which are blank.
func pool(a, b *Data, canaries int) *Data {
	n := len(a.schema.Features)
	d := &Data{schema: a.schema}
	d.x = append(append(append(d.x, a.x...), b.x...), make([]float64, canaries*n)...)
	d.bin = append(append(append(d.bin, a.bin...), b.bin...), make([]uint16, canaries*n)...)
	d.y = append(append(append(d.y, a.y...), b.y...), make([]float64, canaries)...)
	d.first = append(d.first, a.first[:a.Subjects()]...)
	for _, f := range b.first[:b.Subjects()] {
		d.first = append(d.first, f+int32(a.Rows()))
	}
	for c := range canaries + 1 {
		d.first = append(d.first, int32(a.Rows()+b.Rows()+c))
	}
	for s := range d.Subjects() {
		for range d.first[s+1] - d.first[s] {
			d.who = append(d.who, int32(s))
		}
	}
	return d
}

// everyone lists all rows.
func (d *Data) everyone() []int32 {
	out := make([]int32, d.Rows())
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// of lists the rows of the subjects marked.
func (d *Data) of(in []bool) []int32 {
	var out []int32
	for s, yes := range in {
		if yes {
			for r := d.first[s]; r < d.first[s+1]; r++ {
				out = append(out, r)
			}
		}
	}
	return out
}
