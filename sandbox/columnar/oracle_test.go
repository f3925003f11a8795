package columnar

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// table is a dataset as rows of plain values: nil, string, int64 (numbers, days since 1970) or bool by column name.
type table struct {
	ds       catalog.Dataset
	rows     []map[string]any
	subjects []sandbox.Pseudonym
}

// hit is a row of one input in a joined row; its row is nil where a left join found nothing.
type hit struct {
	row     map[string]any
	subject sandbox.Pseudonym
}

// joined is one joined row, by input.
type joined []hit

// oracle answers a question one row at a time, the plain way.
func oracle(s query.Spec, tables map[sandbox.DatasetID]*table) *sandbox.Answer {
	input := func(alias string) int {
		return slices.IndexFunc(s.Inputs, func(in query.Input) bool { return in.Alias == alias })
	}
	get := func(hits joined, ref string) (any, *catalog.Dataset, *catalog.Column) {
		alias, name, _ := strings.Cut(ref, ".")
		i := input(alias)
		t := tables[s.Inputs[i].Dataset]
		c, _ := t.ds.Column(name)
		return hits[i].row[name], &t.ds, c
	}
	label := func(hits joined, ref string, bin sandbox.BinID) string {
		v, ds, c := get(hits, ref)
		if v == nil {
			return catalog.Missing
		}
		if bin == "" {
			return plainLabel(c, v)
		}
		b, _ := ds.Bin(bin)
		return binLabel(b, v)
	}
	var join func(hits joined) []joined
	join = func(hits joined) (out []joined) {
		if len(hits) == len(s.Inputs) {
			return []joined{hits}
		}
		in := s.Inputs[len(hits)]
		left := hits[input(in.With)]
		found := false
		for m, r := range tables[in.Dataset].rows {
			same := left.row != nil
			if len(in.On) == 0 || in.Subject {
				same = same && tables[in.Dataset].subjects[m] == left.subject
			}
			for _, k := range in.On {
				same = same && left.row[k.Left] != nil && left.row[k.Left] == r[k.Right]
			}
			if same {
				found = true
				out = append(out, join(append(hits[:len(hits):len(hits)], hit{r, tables[in.Dataset].subjects[m]}))...)
			}
		}
		if !found && in.Join == query.LeftJoin {
			out = join(append(hits[:len(hits):len(hits)], hit{}))
		}
		return out
	}
	type group struct {
		labels []string
		rows   []joined
	}
	a := &sandbox.Answer{Population: []sandbox.Pseudonym{}}
	groups := map[string]*group{}
	seen := map[sandbox.Pseudonym]uint32{}
	scan := tables[s.Inputs[0].Dataset]
	for n, row := range scan.rows {
	rows:
		for _, hits := range join(joined{{row, scan.subjects[n]}}) {
			for _, f := range s.Filters {
				if slices.Contains(f.In, label(hits, f.Column, f.Bin)) == f.Not {
					continue rows
				}
			}
			labels := []string{}
			for _, d := range s.Dimensions {
				if d.Score == nil {
					labels = append(labels, label(hits, d.Column, d.Bin))
					continue
				}
				sum := d.Score.Base
				for _, p := range d.Score.Parts {
					for _, y := range p.Points {
						for _, l := range y.In {
							if l == label(hits, p.Column, p.Bin) {
								sum += y.Value
							}
						}
					}
				}
				labels = append(labels, band(d.Score, sum))
			}
			key := fmt.Sprintf("%q", labels)
			if groups[key] == nil {
				groups[key] = &group{labels: labels}
			}
			groups[key].rows = append(groups[key].rows, hits)
			if p := hits[0].subject; len(seen) == len(a.Population) {
				if _, ok := seen[p]; !ok {
					seen[p] = uint32(len(a.Population))
					a.Population = append(a.Population, p)
				}
			}
		}
	}
	for _, d := range s.Dimensions {
		a.Dimensions = append(a.Dimensions, d.As)
		unit := ""
		if d.Score != nil {
			unit = query.ScoreUnit
		}
		alias, name, _ := strings.Cut(d.Column, ".")
		for _, in := range s.Inputs {
			if in.Alias == alias && d.Bin != "" {
				set := &tables[in.Dataset].ds
				if b, _ := set.Bin(d.Bin); b.Kind == catalog.Amount {
					if c, _ := set.Column(name); c.Type == catalog.Money {
						unit = "分"
					} else if unit = c.Unit; c.Scale > 0 {
						unit = strings.TrimSpace(fmt.Sprintf("10^-%d %s", c.Scale, c.Unit))
					}
				}
			}
		}
		a.LabelUnits = append(a.LabelUnits, unit)
	}
	for _, g := range groups {
		c := sandbox.Cell{Labels: g.labels, Rows: int64(len(g.rows))}
		var outs []plainOutput
		for _, m := range s.Measures {
			refs := append([]string{m.Column}, m.With...)
			var rows []plainRow
			for _, hits := range g.rows {
				r := plainRow{who: seen[hits[0].subject], there: true}
				switch m.Func {
				case sandbox.Count, sandbox.Subjects:
				case sandbox.Distinct, sandbox.Histogram:
					r.label = label(hits, m.Column, m.Bin)
					r.there = r.label != catalog.Missing
				default:
					for _, ref := range refs {
						v, _, _ := get(hits, ref)
						if b, ok := v.(bool); ok {
							v = int64(0)
							if b {
								v = int64(1)
							}
						}
						if r.there = r.there && v != nil; r.there {
							r.values = append(r.values, v.(int64))
						}
					}
				}
				rows = append(rows, r)
			}
			var scales []int
			var labels []string
			if m.Column != "" {
				for _, ref := range refs {
					_, _, col := get(joinedOf(s, tables), ref)
					scales = append(scales, map[catalog.Type]int{catalog.Money: 2, catalog.Number: col.Scale}[col.Type])
				}
				_, ds, _ := get(joinedOf(s, tables), m.Column)
				if b, ok := ds.Bin(m.Bin); ok && m.Func == sandbox.Histogram {
					labels = b.Labels()
					if labels == nil {
						for _, gr := range b.Groups {
							labels = append(labels, gr.Label)
						}
						labels = append(labels, catalog.Other)
					}
				}
			}
			outs = append(outs, measured(m, rows, scales, labels)...)
		}
		var who []uint32
		for _, o := range outs {
			for p := range o.adds {
				if !slices.Contains(who, p) {
					who = append(who, p)
				}
			}
		}
		slices.Sort(who)
		c.Contributors = append([]uint32{}, who...)
		c.None, c.Thin, c.Divisors = make([]bool, len(outs)), make([]int64, len(outs)), make([][]int64, len(outs))
		for m, o := range outs {
			contribution := []int64{}
			for _, p := range who {
				contribution = append(contribution, o.adds[p])
				if o.divisor != nil {
					c.Divisors[m] = append(c.Divisors[m], o.divisor[p])
				}
			}
			c.Values, c.None[m], c.Thin[m] = append(c.Values, o.value), o.none, o.thin
			c.NonMissing, c.Contributions = append(c.NonMissing, o.rows), append(c.Contributions, contribution)
		}
		a.Cells = append(a.Cells, c)
	}
	slices.SortFunc(a.Cells, func(x, y sandbox.Cell) int { return slices.Compare(x.Labels, y.Labels) })
	return a
}

// band spells the band of a sum.
func band(x *query.Score, sum int64) string {
	edge := func(v int64) string { return new(big.Rat).SetFrac(big.NewInt(v), power(x.Scale)).FloatString(x.Scale) }
	low, high := "", ""
	for _, e := range x.Edges {
		if sum >= e {
			low = edge(e)
		} else if high == "" {
			high = edge(e)
		}
	}
	switch {
	case low == "":
		return "<" + high
	case high == "":
		return "≥" + low
	}
	return low + "-" + high
}

// joinedOf is a joined row of nothing, to describe columns by.
func joinedOf(s query.Spec, _ map[sandbox.DatasetID]*table) joined {
	return make(joined, len(s.Inputs))
}

func dayOf(v any) time.Time { return time.Unix(v.(int64)*86400, 0).UTC() }

func plainLabel(c *catalog.Column, v any) string {
	switch c.Type {
	case catalog.Text:
		return v.(string)
	case catalog.Bool:
		return fmt.Sprint(v)
	case catalog.Date:
		return dayOf(v).Format("2006-01-02")
	case catalog.Int:
		return fmt.Sprint(v)
	}
	scale := c.Scale
	if c.Type == catalog.Money {
		scale = 2
	}
	pow := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return new(big.Rat).SetFrac(big.NewInt(v.(int64)), pow).FloatString(scale)
}

func binLabel(b *catalog.Bin, v any) string {
	edge := func(n int64) string {
		label := b.Labels()[0]
		for i, e := range b.Edges {
			if n >= e {
				label = b.Labels()[i+1]
			}
		}
		return label
	}
	switch b.Kind {
	case catalog.Amount:
		return edge(v.(int64))
	case catalog.Year:
		if y := dayOf(v).Year(); y >= 1 && y <= 9999 {
			return fmt.Sprint(y)
		}
	case catalog.Age:
		at, _ := time.Parse(time.DateOnly, b.At)
		y, m, d := dayOf(v).Date()
		age := at.Year() - y
		if at.Month() < m || at.Month() == m && at.Day() < d {
			age--
		}
		return edge(int64(age))
	case catalog.Codes:
		for _, g := range b.Groups {
			if slices.Contains(g.Codes, v.(string)) {
				return g.Label
			}
		}
	case catalog.Prefix:
		best, label := 0, catalog.Other
		for _, g := range b.Groups {
			for _, code := range g.Codes {
				if strings.HasPrefix(v.(string), code) && len(code) > best {
					best, label = len(code), g.Label
				}
			}
		}
		return label
	}
	return catalog.Other
}

// record builds the whole table as one record with the pseudonyms.
func (t *table) record(mem memory.Allocator) arrow.Record {
	var fields []arrow.Field
	for _, c := range t.ds.Columns {
		typ := map[catalog.Type]arrow.DataType{catalog.Text: arrow.BinaryTypes.String, catalog.Int: arrow.PrimitiveTypes.Int64,
			catalog.Money: arrow.PrimitiveTypes.Int64, catalog.Number: arrow.PrimitiveTypes.Int64,
			catalog.Date: arrow.FixedWidthTypes.Date32, catalog.Bool: arrow.FixedWidthTypes.Boolean}[c.Type]
		fields = append(fields, arrow.Field{Name: c.Name, Type: typ, Nullable: c.Nullable})
	}
	fields = append(fields, arrow.Field{Name: SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for n, row := range t.rows {
		for i, c := range t.ds.Columns {
			v := row[c.Name]
			if v == nil {
				b.Field(i).AppendNull()
				continue
			}
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				f.Append(v.(string))
			case *array.Int64Builder:
				f.Append(v.(int64))
			case *array.Date32Builder:
				f.Append(arrow.Date32(v.(int64)))
			case *array.BooleanBuilder:
				f.Append(v.(bool))
			}
		}
		b.Field(len(t.ds.Columns)).(*array.FixedSizeBinaryBuilder).Append(t.subjects[n][:])
	}
	return b.NewRecord()
}

// slicedReader gives a record in pieces of the given sizes, the last size repeating; 0 gives an empty batch.
type slicedReader struct {
	rec    arrow.Record
	at     int64
	sizes  []int
	closed *int
}

func (r *slicedReader) Schema() *arrow.Schema { return r.rec.Schema() }

func (r *slicedReader) Next(context.Context) (arrow.Record, error) {
	if r.at == r.rec.NumRows() {
		return nil, io.EOF
	}
	n := int64(max(1, r.sizes[0]))
	if r.sizes[0] == 0 && len(r.sizes) > 1 {
		n = 0
	}
	if len(r.sizes) > 1 {
		r.sizes = r.sizes[1:]
	}
	n = min(n, r.rec.NumRows()-r.at)
	out := r.rec.NewSlice(r.at, r.at+n)
	r.at += n
	return out, nil
}

func (r *slicedReader) Close() error { r.rec.Release(); *r.closed--; return nil }

// opener serves tables in pieces and counts readers left open.
func opener(mem memory.Allocator, tables map[sandbox.DatasetID]*table, sizes []int, open *int) Open {
	return func(_ context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
		*open++
		return &slicedReader{rec: tables[ds].record(mem), sizes: slices.Clone(sizes), closed: open}, nil
	}
}

// render prints an answer so that two can be compared and a difference read; test data are made up.
func render(a *sandbox.Answer) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v %q %d\n", a.Dimensions, a.LabelUnits, len(a.Population))
	for _, p := range a.Population {
		fmt.Fprintf(&b, "%x ", [16]byte(p))
	}
	for _, c := range a.Cells {
		none, thin, by := c.None, c.Thin, c.Divisors
		if none == nil {
			none = make([]bool, len(c.Values))
		}
		if thin == nil {
			thin = make([]int64, len(c.Values))
		}
		if by == nil {
			by = make([][]int64, len(c.Values))
		}
		fmt.Fprintf(&b, "\n%q rows %d nonmissing %d who %d", c.Labels, c.Rows, c.NonMissing, c.Contributors)
		for m := range c.Values {
			fmt.Fprintf(&b, "\n  %d: %d %v thin %d what %d by %d", m, c.Values[m], none[m], thin[m], c.Contributions[m], by[m])
		}
	}
	return b.String()
}
