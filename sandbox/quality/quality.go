// Package quality counts the faults of a table (数据质量) in one streaming pass over its Arrow batches, under the headings that
// GB/T 36344-2018 is known for and 龙华区实施方案 五(三) asks for: 规范性, 完整性, 准确性, 一致性, 时效性, 可访问性, and 唯一性. The standard's
// own formulas were not at hand; each count says what it is of. Reports hold counts and fractions only, never a value.
//
// What counts as missing: a null, an empty text, a text of blanks only (space, tab to carriage return, U+00A0, U+3000), and a
// placeholder: one of Usual or of the card's own list, compared without surrounding blanks and, for A to Z, without regard to
// case; for numbers, money and dates those of the card's list that are written as such a value.
//
// Uniqueness is counted over the record key, or where none is registered over whole rows. It is exact up to MaxKeys different
// keys; beyond that, over those whose 64-bit hash falls into a part of 1/2^k, and the report says k. Two keys with one
// hash count as one: for so many keys the chance is below 10^-7.
//
// A missing key is a key like another.
//
// Memory is bounded: 16 MiB for the keys, half as much more while their table grows. Many pushes count at once, beside what they
// sort. No batch is kept, and nothing is allocated per row. Batches may be sliced.
package quality

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Usual (常用占位值) lists the placeholders every text column is held to. A district or unit adds its own in the card.
func Usual() []string {
	return []string{"无", "空", "未知", "不详", "不明", "暂无", "未填", "未填写", "待定", "待补充", "其他未知", "/", "//", "-", "--", "---", ".", "*", "?", "？", "—", "——",
		"n/a", "na", "nan", "nil", "none", "null", "unknown", "undefined", "(null)", "\\n"}
}

// Pass (质量统计) is one pass over the rows of one table. Not safe for concurrent use.
type Pass struct {
	dataset catalog.Dataset
	rows    int64
	columns []column
	orders  []order
	keys    distinct
	keyed   []int // columns of the key
	hashes  []uint64
}

// column counts one column.
type column struct {
	check   *catalog.Values
	missing placeholders
	numbers []int64 // placeholders of a number or date
	set     map[string]struct{}
	catalog.ColumnQuality
}

type order struct {
	low, high int
	catalog.OrderQuality
}

// New starts a pass over a table as d describes it. A declared range that cannot be read is an error; a valid description
// has none.
func New(d catalog.Dataset) (*Pass, error) {
	p := &Pass{dataset: d, columns: make([]column, len(d.Columns)), keys: newDistinct(MaxKeys)}
	for i := range d.Columns {
		c, col := &d.Columns[i], &p.columns[i]
		col.Column = c.Name
		v, err := catalog.ParseValues(string(d.ID)+"."+c.Name, c)
		if err != nil {
			return nil, err
		}
		if col.check = v; v != nil && v.Kind == catalog.OneOf {
			col.set = make(map[string]struct{}, len(v.Set))
			for _, w := range v.Set {
				col.set[w] = struct{}{}
			}
		}
		if c.Type == catalog.Text {
			col.missing = newPlaceholders(Usual(), d.Card.Missing)
			continue
		}
		for _, m := range d.Card.Missing {
			if n, ok := c.ParseValue(m); ok {
				col.numbers = append(col.numbers, n)
			}
		}
	}
	at := func(name string) int {
		for i := range d.Columns {
			if d.Columns[i].Name == name {
				return i
			}
		}
		return -1
	}
	for _, o := range d.Card.Orders {
		p.orders = append(p.orders, order{at(o.Low), at(o.High), catalog.OrderQuality{Low: o.Low, High: o.High}})
	}
	if k := at(d.RecordKey); d.RecordKey != "" && k >= 0 {
		p.keyed = []int{k}
	} else {
		for i := range d.Columns {
			p.keyed = append(p.keyed, i)
		}
	}
	return p, nil
}

// Observe counts one batch in the dataset's schema; columns are found by name. It keeps nothing of the batch.
func (p *Pass) Observe(rec arrow.Record) error {
	n := int(rec.NumRows())
	cols := make([]arrow.Array, len(p.columns))
	for i := range p.columns {
		at := rec.Schema().FieldIndices(p.columns[i].Column)
		if len(at) != 1 {
			return p.wrong(i, "the batch has the dataset's columns, each once")
		}
		cols[i] = rec.Column(at[0])
		if cols[i].Len() != n || !typed(cols[i], p.dataset.Columns[i].Type) {
			return p.wrong(i, "the batch has the dataset's types")
		}
		p.columns[i].count(cols[i])
	}
	p.rows += int64(n)
	for i := range p.orders {
		p.orders[i].count(cols, &p.columns[p.orders[i].low], &p.columns[p.orders[i].high])
	}
	if cap(p.hashes) < n {
		p.hashes = make([]uint64, n)
	}
	h := p.hashes[:n]
	clear(h)
	for _, i := range p.keyed {
		hashColumn(h, cols[i])
	}
	p.keys.add(h)
	return nil
}

func (p *Pass) wrong(i int, rule string) error {
	return &sandbox.Error{Op: "quality", Kind: sandbox.Invalid, Object: fmt.Sprintf("%s.%s", p.dataset.ID, p.columns[i].Column), Detail: rule}
}

// Report gives the counts so far.
func (p *Pass) Report() catalog.Quality {
	q := catalog.Quality{Dataset: p.dataset.ID, Rows: p.rows, Unique: p.keys.fraction(), Part: p.keys.shift}
	if len(p.keyed) == 1 && p.dataset.RecordKey != "" {
		q.Key = p.dataset.RecordKey
	}
	for i := range p.columns {
		c := p.columns[i].ColumnQuality
		c.Declared = p.columns[i].check != nil
		q.Columns = append(q.Columns, c)
		q.Grade = max(q.Grade, p.dataset.Columns[i].Effective())
	}
	for i := range p.orders {
		q.Orders = append(q.Orders, p.orders[i].OrderQuality)
	}
	return q
}

// typed says whether an array is what a column of the type is kept as.
func typed(a arrow.Array, t catalog.Type) (ok bool) {
	switch t {
	case catalog.Text:
		_, ok = a.(*array.String)
	case catalog.Date:
		_, ok = a.(*array.Date32)
	case catalog.Bool:
		_, ok = a.(*array.Boolean)
	default:
		_, ok = a.(*array.Int64)
	}
	return ok
}

// count counts one column of a batch.
func (c *column) count(a arrow.Array) {
	c.Rows += int64(a.Len())
	c.Nulls += int64(a.NullN())
	switch a := a.(type) {
	case *array.String:
		c.text(a)
	case *array.Int64:
		integers(c, a.Int64Values(), a)
	case *array.Date32:
		integers(c, a.Date32Values(), a)
	}
}

// integers counts placeholders and what is outside the range among the values that are there.
func integers[T ~int64 | ~int32](c *column, v []T, a arrow.Array) {
	low, high, ranged := int64(0), int64(0), c.check != nil
	if ranged {
		low, high = c.check.Low, c.check.High
	}
	if len(c.numbers) == 0 && !ranged {
		return
	}
	// Without nulls and placeholders, two comparisons a value and no branch.
	if a.NullN() == 0 && len(c.numbers) == 0 {
		var fits int64
		for _, x := range v {
			n := int64(x)
			fits += b2i(n >= low) & b2i(n <= high)
		}
		c.Checked += int64(len(v))
		c.Fits += fits
		return
	}
	for i, x := range v {
		if a.IsNull(i) {
			continue
		}
		n := int64(x)
		if c.stands(n) {
			c.Placeholder++
			continue
		}
		if ranged {
			c.Checked++
			c.Fits += b2i(n >= low) & b2i(n <= high)
		}
	}
}

func (c *column) stands(n int64) bool {
	for _, m := range c.numbers {
		if m == n {
			return true
		}
	}
	return false
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// count counts one order over a batch.
func (o *order) count(cols []arrow.Array, low, high *column) {
	switch a := cols[o.low].(type) {
	case *array.Int64:
		if b, ok := cols[o.high].(*array.Int64); ok {
			compare(o, a.Int64Values(), b.Int64Values(), a, b, low, high)
		}
	case *array.Date32:
		if b, ok := cols[o.high].(*array.Date32); ok {
			compare(o, a.Date32Values(), b.Date32Values(), a, b, low, high)
		}
	}
}

func compare[T ~int64 | ~int32](o *order, x, y []T, a, b arrow.Array, low, high *column) {
	for i := range x {
		if a.IsNull(i) || b.IsNull(i) || low.stands(int64(x[i])) || high.stands(int64(y[i])) {
			continue
		}
		o.Rows++
		o.Holds += b2i(x[i] <= y[i])
	}
}
