package mask

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

func validUTF8(s string) bool { return utf8.ValidString(s) }

// Rounding (取整) makes numbers coarser in place: int64 stays int64.
type Rounding struct {
	unit int64
	down bool
}

// Round (四舍五入) gives the multiple of unit nearest to a number, a half away from zero; with down the next one towards minus
// infinity. Unit is in the column's stored unit: 100 000 rounds fen to 1000 yuan. A multiple outside int64 becomes the
// outermost one inside it.
func Round(unit int64, down bool) (*Rounding, error) {
	if unit < 2 || unit > math.MaxInt64/4 {
		return nil, invalid("round", "the unit is 2 to 2^61 of the column's stored unit")
	}
	return &Rounding{unit, down}, nil
}

// Type takes int64.
func (*Rounding) Type(in arrow.DataType) (arrow.DataType, bool) { return in, in.ID() == arrow.INT64 }

// Apply rounds a column.
func (r *Rounding) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	out, _, err := r.Run(mem, a)
	return out, err
}

// Run rounds a column; every value that is not null counts as masked.
func (r *Rounding) Run(mem memory.Allocator, a arrow.Array) (arrow.Array, Count, error) {
	in, ok := a.(*array.Int64)
	if !ok {
		return nil, Count{}, wrongType("rounding", a)
	}
	b := memory.NewResizableBuffer(mem)
	defer b.Release()
	b.Resize(8 * in.Len())
	out := arrow.Int64Traits.CastFromBytes(b.Bytes())
	unit := r.unit
	if r.down {
		least := math.MinInt64 / unit * unit
		for i, v := range in.Int64Values() {
			q := v / unit * unit
			if q > v {
				q -= unit
				if q > v { // past the end
					q = least
				}
			}
			out[i] = q
		}
	} else {
		most := math.MaxInt64 / unit * unit
		for i, v := range in.Int64Values() {
			q, rest := v/unit*unit, v%unit
			switch {
			case rest >= unit-rest && rest > 0 && q < most:
				q += unit
			case -rest >= unit+rest && rest < 0 && q > -most:
				q -= unit
			}
			out[i] = q
		}
	}
	return finish(mem, a, arrow.PrimitiveTypes.Int64, b, func(i int) { out[i] = 0 })
}

// finish makes the array of a fixed-width result; null slots are cleared.
func finish(mem memory.Allocator, a arrow.Array, t arrow.DataType, b *memory.Buffer, zero func(i int)) (arrow.Array, Count, error) {
	valid := validity(mem, a)
	if valid != nil {
		defer valid.Release()
		for i := range a.Len() {
			if a.IsNull(i) {
				zero(i)
			}
		}
	}
	data := array.NewData(t, a.Len(), []*memory.Buffer{valid, b}, nil, a.NullN(), 0)
	defer data.Release()
	return array.MakeFromData(data), Count{Masked: int64(a.Len() - a.NullN())}, nil
}

// DatePart (日期粒度) is what a date is cut to.
type DatePart string

const (
	Year    DatePart = "year"    // 1 January
	Quarter DatePart = "quarter" // first day of the quarter
	Month   DatePart = "month"   // first day of the month
	Week    DatePart = "week"    // Monday
)

// DateCut (日期截断) makes dates coarser in place.
type DateCut struct{ part DatePart }

// TruncateDate cuts dates to the first day of their year, quarter, month or week in the proleptic Gregorian calendar.
func TruncateDate(p DatePart) (*DateCut, error) {
	switch p {
	case Year, Quarter, Month, Week:
		return &DateCut{p}, nil
	}
	return nil, invalid("date", "a date is cut to year, quarter, month or week")
}

// Type takes date32.
func (*DateCut) Type(in arrow.DataType) (arrow.DataType, bool) { return in, in.ID() == arrow.DATE32 }

// Apply cuts a column.
func (c *DateCut) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	out, _, err := c.Run(mem, a)
	return out, err
}

// Run cuts a column; every value that is not null counts as masked.
func (c *DateCut) Run(mem memory.Allocator, a arrow.Array) (arrow.Array, Count, error) {
	in, ok := a.(*array.Date32)
	if !ok {
		return nil, Count{}, wrongType("a date cut", a)
	}
	b := memory.NewResizableBuffer(mem)
	defer b.Release()
	b.Resize(4 * in.Len())
	out := arrow.Date32Traits.CastFromBytes(b.Bytes())
	for i, v := range in.Date32Values() {
		out[i] = c.cut(v)
	}
	return finish(mem, a, arrow.FixedWidthTypes.Date32, b, func(i int) { out[i] = 0 })
}

// longest is as far from 1970 as the calendar below is exact; dates beyond are cut to it. 5.8 million years.
const longest = math.MaxInt32 - 1000

func (c *DateCut) cut(v arrow.Date32) arrow.Date32 {
	d := int64(min(max(v, -longest), longest))
	if c.part == Week { // 1970-01-01 was a Thursday
		return arrow.Date32(d - ((d+3)%7+7)%7)
	}
	// Civil date from days (H. Hinnant), years that begin in March.
	z := d + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dayOfMonth := doy - (153*mp+2)/5 // from 0
	switch c.part {
	case Month:
		return arrow.Date32(d - dayOfMonth)
	case Quarter:
		switch { // of a year that begins in March: April to June, and so on
		case mp >= 1 && mp <= 3:
			return arrow.Date32(d - doy + 31)
		case mp >= 4 && mp <= 6:
			return arrow.Date32(d - doy + 122)
		case mp >= 7 && mp <= 9:
			return arrow.Date32(d - doy + 214)
		} // January to March begin with the year
	}
	year := yoe + era*400
	if mp >= 10 {
		year++
	}
	return arrow.Date32(newYear(year))
}

// newYear gives the day of 1 January.
func newYear(year int64) int64 {
	y := year - 1 // years that begin in March: January is in the one before
	era := floorDiv(y, 400)
	yoe := y - era*400
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + 306 - 719468
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Bucketing (分箱) turns numbers or dates into the label of their bucket: the column becomes text.
type Bucketing struct {
	edges  []int64
	labels []string
	date   bool
}

// maxEdges bounds the buckets of a column.
const maxEdges = 4096

// Bucket makes buckets of numbers from ascending lower bounds in the column's stored unit, with labels in its written unit:
// "<e0", "e0-e1", …, "≥en". Scale is the number of decimals of the column.
func Bucket(edges []int64, scale int) (*Bucketing, error) {
	if scale < 0 || scale > 9 {
		return nil, invalid("bucket", "a scale is 0 to 9")
	}
	return bucketing(edges, false, func(e int64) string { return decimal(e, scale) })
}

// BucketDates makes buckets of dates from ascending first days.
func BucketDates(edges []arrow.Date32) (*Bucketing, error) {
	var days []int64
	for _, e := range edges {
		days = append(days, int64(e))
	}
	return bucketing(days, true, func(e int64) string { return time.Unix(e*86400, 0).UTC().Format("2006-01-02") })
}

func bucketing(edges []int64, date bool, text func(int64) string) (*Bucketing, error) {
	if len(edges) < 1 || len(edges) > maxEdges {
		return nil, invalid("bucket", "1 to 4096 edges")
	}
	b := &Bucketing{edges: slices.Clone(edges), date: date, labels: []string{"<" + text(edges[0])}}
	for i, e := range edges[:len(edges)-1] {
		if e >= edges[i+1] {
			return nil, invalid("bucket", "edges rise")
		}
		b.labels = append(b.labels, text(e)+"-"+text(edges[i+1]))
	}
	b.labels = append(b.labels, "≥"+text(edges[len(edges)-1]))
	return b, nil
}

// decimal writes a scaled integer without trailing zeros behind the point.
func decimal(v int64, scale int) string {
	s := strconv.FormatInt(v, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if len(s) <= scale {
		s = strings.Repeat("0", scale+1-len(s)) + s
	}
	whole, part := s[:len(s)-scale], strings.TrimRight(s[len(s)-scale:], "0")
	if part != "" {
		part = "." + part
	}
	return sign + whole + part
}

// Type takes int64 or date32 and gives text.
func (b *Bucketing) Type(in arrow.DataType) (arrow.DataType, bool) {
	return arrow.BinaryTypes.String, !b.date && in.ID() == arrow.INT64 || b.date && in.ID() == arrow.DATE32
}

// Apply puts a column into buckets.
func (b *Bucketing) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	out, _, err := b.Run(mem, a)
	return out, err
}

// Run puts a column into buckets; every value that is not null counts as masked.
func (b *Bucketing) Run(mem memory.Allocator, a arrow.Array) (arrow.Array, Count, error) {
	if _, ok := b.Type(a.DataType()); !ok {
		return nil, Count{}, wrongType("bucketing", a)
	}
	most := 0
	for _, l := range b.labels {
		most = max(most, len(l))
	}
	if most*a.Len() > math.MaxInt32 {
		return nil, Count{}, invalid("column", "the labels of one batch have at most 2 GiB")
	}
	var ints []int64
	var days []arrow.Date32
	switch a := a.(type) {
	case *array.Int64:
		ints = a.Int64Values()
	case *array.Date32:
		days = a.Date32Values()
	}
	out := newTextBuilder(mem, a.Len(), most*a.Len())
	defer out.release()
	nulls := a.NullN() > 0
	for i := range a.Len() {
		if !nulls || a.IsValid(i) {
			var v int64
			if b.date {
				v = int64(days[i])
			} else {
				v = ints[i]
			}
			out.data = append(out.data, b.labels[b.at(v)]...)
		}
		out.end(i)
	}
	return out.array(validity(mem, a), a.NullN()), Count{Masked: int64(a.Len() - a.NullN())}, nil
}

// at gives the number of edges up to v.
func (b *Bucketing) at(v int64) int {
	lo, hi := 0, len(b.edges)
	for lo < hi {
		if m := (lo + hi) / 2; b.edges[m] <= v {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}
