package quality

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

var table = catalog.Dataset{ID: "ds", Unit: "u", Subject: "s", SubjectKind: catalog.Opaque, Frequency: catalog.Daily,
	Columns: []catalog.Column{
		{Name: "s", Title: "号", Type: catalog.Text, Grade: 2, Range: "任意"},
		{Name: "sex", Title: "性别", Type: catalog.Text, Grade: 1, Nullable: true, Values: "{男,女,f}"},
		{Name: "code", Title: "码", Type: catalog.Text, Grade: 1, Nullable: true, Values: "digits[2,3]"},
		{Name: "name", Title: "名", Type: catalog.Text, Grade: 3, Nullable: true, Values: "len[2,4]"},
		{Name: "n", Title: "数", Type: catalog.Int, Grade: 1, Nullable: true, Values: "[0,5)", Unit: "个"},
		{Name: "fee", Title: "费", Type: catalog.Money, Grade: 1, Values: "[0,]", Unit: "元"},
		{Name: "fee2", Title: "费二", Type: catalog.Money, Grade: 1, Nullable: true},
		{Name: "from", Title: "起", Type: catalog.Date, Grade: 1, Nullable: true, Values: "[1970-01-01,1970-01-05]"},
		{Name: "to", Title: "止", Type: catalog.Date, Grade: 1, Nullable: true},
		{Name: "ok", Title: "是否", Type: catalog.Bool, Grade: 1, Nullable: true},
	},
	Card: catalog.Card{Missing: []string{"未登记", "-1", "1970-01-04"}, Orders: []catalog.Order{{Low: "from", High: "to"}, {Low: "fee", High: "fee2"}}}}

func schema(d catalog.Dataset) *arrow.Schema {
	var f []arrow.Field
	for _, c := range d.Columns {
		var t arrow.DataType = arrow.PrimitiveTypes.Int64
		switch c.Type {
		case catalog.Text:
			t = arrow.BinaryTypes.String
		case catalog.Date:
			t = arrow.FixedWidthTypes.Date32
		case catalog.Bool:
			t = arrow.FixedWidthTypes.Boolean
		}
		f = append(f, arrow.Field{Name: c.Name, Type: t, Nullable: true})
	}
	return arrow.NewSchema(f, nil)
}

// cell is a text, or a whole number; nil for null.
type cell any

func drawCell(t *rapid.T, c catalog.Column) cell {
	if c.Nullable && rapid.IntRange(0, 3).Draw(t, "null") == 0 {
		return nil
	}
	switch c.Type {
	case catalog.Text:
		return rapid.SampledFrom([]string{"", " ", "\u3000\u00a0\t", "男", "女 ", "f", "F", "N/A", " na ", "未登记", "无", "12", "123", "1234", "1２", "张三", "张三李四王", "-", "\u00a0?", "x\u0080",
			"\xe3\x80", "未登记的", "Unknown", "nullx", "\x00"}).Draw(t, "text")
	case catalog.Bool:
		return rapid.Int64Range(0, 1).Draw(t, "bool")
	}
	return rapid.Int64Range(-101, 6).Draw(t, "number")
}

func build(t testing.TB, d catalog.Dataset, rows [][]cell) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema(d))
	defer b.Release()
	for _, r := range rows {
		for i, v := range r {
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				if v == nil {
					f.AppendNull()
				} else {
					f.Append(v.(string))
				}
			case *array.Int64Builder:
				if v == nil {
					f.AppendNull()
				} else {
					f.Append(v.(int64))
				}
			case *array.Date32Builder:
				if v == nil {
					f.AppendNull()
				} else {
					f.Append(arrow.Date32(v.(int64)))
				}
			case *array.BooleanBuilder:
				if v == nil {
					f.AppendNull()
				} else {
					f.Append(v.(int64) == 1)
				}
			default:
				t.Fatal("another builder")
			}
		}
	}
	return b.NewRecord()
}

func blank(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' || r == 0xa0 || r == 0x3000 }

// missing is the rule as it is stated, for one cell.
func missing(d catalog.Dataset, c catalog.Column, v cell) string {
	if v == nil {
		return "null"
	}
	s, text := v.(string)
	if !text {
		for _, m := range d.Card.Missing {
			if n, ok := c.ParseValue(m); ok && n == v.(int64) {
				return "placeholder"
			}
		}
		return ""
	}
	trimmed := strings.TrimFunc(s, blank)
	switch {
	case s == "":
		return "empty"
	case trimmed == "":
		return "blank"
	}
	for _, m := range slices.Concat(Usual(), d.Card.Missing) {
		if strings.EqualFold(m, trimmed) {
			return "placeholder"
		}
	}
	return ""
}

func fits(c catalog.Column, v cell) bool {
	switch c.Name {
	case "sex":
		return v == "男" || v == "女" || v == "f"
	case "code":
		_, err := strconv.ParseUint(v.(string), 10, 64)
		return err == nil && len(v.(string)) >= 2 && len(v.(string)) <= 3
	case "name":
		n := utf8.RuneCountInString(v.(string))
		return n >= 2 && n <= 4
	case "n":
		return v.(int64) >= 0 && v.(int64) < 5
	case "fee":
		return v.(int64) >= 0
	case "from":
		return v.(int64) >= 0 && v.(int64) <= 4
	}
	panic("not declared")
}

// oracle counts row by row.
func oracle(d catalog.Dataset, rows [][]cell) catalog.Quality {
	q := catalog.Quality{Dataset: d.ID, Rows: int64(len(rows)), Grade: 3, Key: d.RecordKey}
	for _, c := range d.Columns {
		q.Columns = append(q.Columns, catalog.ColumnQuality{Column: c.Name, Rows: int64(len(rows)), Declared: c.Values != ""})
	}
	for _, o := range d.Card.Orders {
		q.Orders = append(q.Orders, catalog.OrderQuality{Low: o.Low, High: o.High})
	}
	keys := map[string]bool{}
	for _, r := range rows {
		key := ""
		there := map[string]int64{}
		for i, c := range d.Columns {
			if d.RecordKey == "" || d.RecordKey == c.Name {
				key += fmt.Sprintf("%T %q|", r[i], fmt.Sprint(r[i]))
			}
			at := &q.Columns[i]
			switch missing(d, c, r[i]) {
			case "null":
				at.Nulls++
			case "empty":
				at.Empty++
			case "blank":
				at.Blank++
			case "placeholder":
				at.Placeholder++
			default:
				if n, ok := r[i].(int64); ok {
					there[c.Name] = n
				}
				if c.Values != "" {
					at.Checked++
					if fits(c, r[i]) {
						at.Fits++
					}
				}
			}
		}
		keys[key] = true
		for i, o := range d.Card.Orders {
			a, ok1 := there[o.Low]
			b, ok2 := there[o.High]
			if ok1 && ok2 {
				q.Orders[i].Rows++
				if a <= b {
					q.Orders[i].Holds++
				}
			}
		}
	}
	q.Unique = catalog.Fraction{Good: int64(len(keys)), Of: q.Rows}
	return q
}

// TestPassIsTheOracle: however rows are cut into batches, and batches sliced, the counts are those of the plain rule.
func TestPassIsTheOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := table
		d.RecordKey = rapid.SampledFrom([]string{"", "code"}).Draw(rt, "key")
		if rapid.Bool().Draw(rt, "without placeholders") {
			d.Card.Missing = nil
		}
		if rapid.Bool().Draw(rt, "without nulls") {
			d.Columns = slices.Clone(d.Columns)
			for i := range d.Columns {
				d.Columns[i].Nullable = false
			}
		}
		p, err := New(d)
		if err != nil {
			rt.Fatal(err)
		}
		var all [][]cell
		for range rapid.IntRange(0, 4).Draw(rt, "batches") {
			var rows [][]cell
			for range rapid.IntRange(0, 12).Draw(rt, "rows") {
				var r []cell
				for _, c := range d.Columns {
					r = append(r, drawCell(rt, c))
				}
				rows = append(rows, r)
			}
			if len(all) > 0 && rapid.Bool().Draw(rt, "again") {
				rows = append(rows, all[0])
			}
			rec := build(t, d, rows)
			low := rapid.IntRange(0, len(rows)).Draw(rt, "from")
			high := rapid.IntRange(low, len(rows)).Draw(rt, "to")
			cut := rec.NewSlice(int64(low), int64(high))
			if err := p.Observe(cut); err != nil {
				rt.Fatal(err)
			}
			cut.Release()
			rec.Release()
			all = append(all, rows[low:high]...)
		}
		if got, want := p.Report(), oracle(d, all); !reflect.DeepEqual(got, want) {
			rt.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

// TestAnotherBatch is refused by name of the column.
func TestAnotherBatch(t *testing.T) {
	p, err := New(table)
	if err != nil {
		t.Fatal(err)
	}
	less := table
	less.Columns = less.Columns[:3]
	other := table
	other.Columns = slices.Clone(other.Columns)
	other.Columns[4].Type = catalog.Text
	for name, d := range map[string]catalog.Dataset{"ds.name": less, "ds.n": other} {
		rec := build(t, d, nil)
		if err := p.Observe(rec); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := table
	bad.Columns = slices.Clone(bad.Columns)
	bad.Columns[4].Values = "{a}"
	if _, err := New(bad); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
}

// TestManyKeys: beyond the bound the fraction is that of a part of the keys, whole keys with all their rows.
func TestManyKeys(t *testing.T) {
	for _, times := range []int{1, 3} {
		d := newDistinct(1000)
		h := make([]uint64, 0, 60_000)
		for range times {
			for i := range uint64(20_000) {
				h = append(h, mix(i, 7))
			}
		}
		d.add(h[:len(h)/2])
		d.add(h[len(h)/2:])
		f := d.fraction()
		if d.shift == 0 || f.Good > 1000 || f.Good < 250 || f.Of != f.Good*int64(times) || len(d.table) > 4096 {
			t.Errorf("%d times: %+v of a part 1/2^%d", times, f, d.shift)
		}
	}
}

// TestNothingPerRow: a pass allocates per batch, not per row.
func TestNothingPerRow(t *testing.T) {
	rows := make([][]cell, 4096)
	for i := range rows {
		rows[i] = []cell{fmt.Sprint("s", i%50), "男", "123", " N/A", int64(3), int64(4), nil, int64(2), int64(9), int64(1)}
	}
	rec := build(t, table, rows)
	defer rec.Release()
	p, err := New(table)
	if err != nil {
		t.Fatal(err)
	}
	per := testing.AllocsPerRun(10, func() {
		if err := p.Observe(rec); err != nil {
			t.Fatal(err)
		}
	})
	if per > 64 {
		t.Errorf("%.0f allocations for a batch of %d rows", per, len(rows))
	}
}
