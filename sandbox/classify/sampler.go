package classify

import (
	"math"
	"strconv"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// SampleSize (抽样数) is the largest number of values of one column that a finding rests on.
const SampleSize = 10_000

// ColumnFinding (字段识别结果) is the proposal for one column. It carries no value.
type ColumnFinding struct {
	Column     string        `json:"column"`
	Finding    Kind          `json:"finding,omitempty"`
	Share      float64       `json:"share"`           // of the sampled values that are not missing
	Confidence int           `json:"confidence"`      // percent
	Sampled    int           `json:"sampled"`         // values the proposal rests on
	Grade      sandbox.Grade `json:"grade,omitempty"` // 0 without a finding
	Personal   bool          `json:"personal,omitempty"`
	Category   Category      `json:"category"`            // 数据类别
	National   National      `json:"national"`            // 国家级别: general; only people find data important or core
	Sensitive  Sensitive     `json:"sensitive,omitempty"` // 敏感个人信息类型
	Weaker     float64       `json:"weaker,omitempty"`    // share of the finding's values whose county code is not in the table
}

// Sampler (抽样识别器) watches the batches of one push. It samples evenly over the whole push, whatever its length: every
// value at first, then every second, fourth, eighth, dropping half of what it has each time it is full. The sample
// depends on the order of rows only, not on chance or on how batches are cut, so a re-run gives the same findings.
type Sampler struct {
	dataset catalog.Dataset
	columns []sample
	scan    *Scanner
	digits  []byte
	limit   int // values kept of one column
}

type sample struct {
	latin   bool  // the column's name speaks of names in Latin script
	seen    int64 // values so far, missing ones not counted
	stride  int64
	matches []match
}

// NewSampler starts a sample of one push of d.
func NewSampler(d catalog.Dataset) *Sampler { return NewSamplerOf(d, SampleSize) }

// NewSamplerOf is NewSampler with a smaller sample, for very wide tables: two to SampleSize values of each column.
func NewSamplerOf(d catalog.Dataset, size int) *Sampler {
	s := &Sampler{dataset: d, columns: make([]sample, len(d.Columns)), scan: NewScanner(), limit: min(max(size, 2), SampleSize) &^ 1}
	for i := range s.columns {
		s.columns[i].stride, s.columns[i].latin = 1, hinted(LatinName, &d.Columns[i])
	}
	return s
}

// Observe samples one batch in the dataset's schema; columns are found by name. Text is looked at as it is, integers by
// their digits, dates are counted; other types are not looked at.
func (s *Sampler) Observe(rec arrow.Record) {
	for i := range s.dataset.Columns {
		at := rec.Schema().FieldIndices(s.dataset.Columns[i].Name)
		if len(at) != 1 {
			continue
		}
		switch col := rec.Column(at[0]).(type) {
		case *array.String:
			s.observe(i, col, func(row int) match { return s.look(i, col.Value(row)) })
		case *array.Int64:
			if s.dataset.Columns[i].Type == catalog.Int {
				s.observe(i, col, func(row int) match {
					s.digits = strconv.AppendInt(s.digits[:0], col.Value(row), 10)
					return s.scan.detectASCII(unsafe.String(unsafe.SliceData(s.digits), len(s.digits)), cDigit)
				})
			}
		case *array.Date32:
			s.observe(i, col, func(int) match { return match{} })
		}
	}
}

// ObserveText samples one value of column i, for readers without record batches. An empty value counts as missing.
func (s *Sampler) ObserveText(i int, value string) {
	if value == "" {
		return
	}
	c := &s.columns[i]
	if c.wants(s.limit) {
		c.matches = append(c.matches, s.look(i, value))
	}
	c.seen++
}

// look finds what one value of column i is, or what stands in it if it is text.
func (s *Sampler) look(i int, v string) match {
	m := s.scan.detect(v)
	if m.kinds == 0 || m.within {
		switch text, coded := prose(v); {
		case text && coded && len(v) <= textWindow:
			s.scan.codes(&m, v)
		case text:
			s.scan.places(&m, v)
		case m.kinds == 0:
			m.offset = s.scan.embedded(v)
		}
	}
	if m.kinds == 0 && (s.columns[i].latin || len(v) > 0 && v[0] >= 'A' && v[0] <= 'Z') {
		if m.latin, m.given = isLatinName(v); m.latin {
			m.trait = hashText(v)
		}
	}
	return m
}

func (s *Sampler) observe(i int, col arrow.Array, look func(row int) match) {
	c := &s.columns[i]
	for row := range col.Len() {
		if col.IsNull(row) {
			continue
		}
		if c.wants(s.limit) {
			c.matches = append(c.matches, look(row))
		}
		c.seen++
	}
}

// wants says whether the next value belongs to the sample, which it thins out when it is full.
func (c *sample) wants(limit int) bool {
	if c.seen%c.stride != 0 {
		return false
	}
	if len(c.matches) == limit {
		for i := range limit / 2 {
			c.matches[i] = c.matches[2*i]
		}
		c.matches = c.matches[:limit/2]
		c.stride *= 2
	}
	return c.seen%c.stride == 0
}

// Grade gives one proposal per column, in the catalogue's order; columns without a finding have None and grade 0.
func (s *Sampler) Grade() []ColumnFinding {
	out := make([]ColumnFinding, len(s.columns))
	for i := range s.columns {
		out[i] = s.columns[i].grade(&s.dataset.Columns[i])
	}
	return out
}

// grade takes the kind with the strictest grade that its rule accepts, then the surest.
func (c *sample) grade(col *catalog.Column) ColumnFinding {
	best := ColumnFinding{Column: col.Name, Sampled: len(c.matches), Category: General, National: NationalGeneral}
	consider := func(k Kind, share float64, telling bool) {
		r := rules[k.Of()]
		sure := int(math.Round(float64(r.base) * (0.5 + 0.5*share)))
		if telling {
			sure = min(sure+20, 99)
		}
		if r.grade > best.Grade || r.grade == best.Grade && sure > best.Confidence {
			best.put(k, share, sure)
		}
	}
	if col.Type == catalog.Date {
		if len(c.matches) > 0 && hinted(BirthDate, col) {
			consider(BirthDate, 1, true)
		}
		return best
	}
	for i, k := range kinds {
		count, weaker, likely, within, traits := 0, 0, 0, 0, map[uint32]struct{}{}
		for _, m := range c.matches {
			if m.kinds.has(i) {
				count++
				traits[m.trait] = struct{}{}
				if m.weaker {
					weaker++
				}
				if m.likely {
					likely++
				}
				if m.within {
					within++
				}
			}
		}
		if count == 0 {
			continue
		}
		share, telling := float64(count)/float64(len(c.matches)), hinted(k, col)
		r := rules[k]
		if !telling && float64(likely) < r.likely*float64(count) {
			continue
		}
		if r.accepts(share, telling, len(c.matches), len(traits)) {
			if 2*within > count { // most stand inside longer text
				k = Contains(k)
			}
			consider(k, share, telling)
			if best.Finding == k {
				best.Weaker = float64(weaker) / float64(count)
			}
		}
	}
	if of := best.Finding.Of(); of != ResidentID && of != ResidentID15 {
		best.Weaker = 0
	}
	if best.Grade < sandbox.Grade3 {
		if dates := c.dates(); dates >= rules[BirthDate].hinted && dates > 0 && hinted(BirthDate, col) {
			consider(BirthDate, dates, true)
		}
		for _, k := range named {
			if hinted(k, col) {
				consider(k, 0, true)
			}
		}
		if share, telling, ok := c.latinNames(); ok {
			consider(LatinName, share, telling)
		}
	}
	if best.Grade < sandbox.Grade3 {
		if k, share, sure := c.contained(); rules[k.Of()].grade > best.Grade {
			best.put(k, share, sure)
		}
	}
	if best.Grade < sandbox.Grade3 {
		for _, k := range tellers {
			if rules[k].grade > best.Grade && told(k, col) && tellable(k, col.Type) {
				best.put(k, 0, toldConfidence)
			}
		}
	}
	return best
}

// toldConfidence is of a kind that the column's name tells and no value shows, in percent.
const toldConfidence = 30

// tellers are the kinds that a column's name proposes although its values do not, in order of precedence.
var tellers = append(append([]Kind{}, kinds[:]...), LatinName, OtherID, Ethnicity, BirthDate)

// tellable says whether values of a type may be of a kind: a count of telephones is none, a coordinate is a number.
func tellable(k Kind, t catalog.Type) bool {
	switch t {
	case catalog.Text:
		return true
	case catalog.Int:
		return k != PersonName && k != LatinName && k != Disease && k != Enterprise
	case catalog.Number:
		return k == Address
	}
	return false
}

// put makes k the finding.
func (f *ColumnFinding) put(k Kind, share float64, sure int) {
	r := rules[k.Of()]
	f.Finding, f.Share, f.Confidence, f.Grade, f.Personal, f.Weaker = k, share, sure, r.grade, r.personal, 0
	f.Category, f.Sensitive = CategoryOf(k), r.sensitive
}

// latinNames says whether the values are names in Latin script: by their form where the column's name says so and they vary,
// and by common given names elsewhere.
func (c *sample) latinNames() (share float64, telling, ok bool) {
	latin, given, traits := 0, 0, map[uint32]struct{}{}
	for i := range c.matches {
		if m := &c.matches[i]; m.latin {
			latin++
			traits[m.trait] = struct{}{}
			if m.given {
				given++
			}
		}
	}
	r, n := rules[LatinName], float64(len(c.matches))
	if latin == 0 {
		return 0, false, false
	}
	if c.latin && float64(latin) >= r.hinted*n && float64(len(traits)) >= r.distinct*float64(latin) {
		return float64(latin) / n, true, true
	}
	ok = len(c.matches) >= minSamples && len(traits) >= r.variety && float64(given) >= r.alone*n
	return float64(given) / n, false, ok
}

// dates gives the share of values written like dates.
func (c *sample) dates() float64 {
	n := 0
	for _, m := range c.matches {
		if m.date {
			n++
		}
	}
	return float64(n) / float64(max(len(c.matches), 1))
}

func (r rule) accepts(share float64, telling bool, samples, traits int) bool {
	if telling {
		return share >= r.hinted
	}
	if r.weak && (samples < minSamples || traits < r.variety || float64(traits) < r.distinct*float64(samples)) {
		return false
	}
	return share >= r.alone
}
