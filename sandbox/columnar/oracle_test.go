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

// oracle answers a question one row at a time, the plain way.
func oracle(s query.Spec, tables map[sandbox.DatasetID]*table) *sandbox.Answer {
	type hit struct {
		row     map[string]any
		subject sandbox.Pseudonym
	}
	type group struct {
		labels   []string
		rows     int64
		subjects []sandbox.Pseudonym
		by       map[sandbox.Pseudonym]*[][2]*big.Int // per measure: sum and count of non-missing
		counts   map[sandbox.Pseudonym]int64
	}
	input := func(alias string) int {
		return slices.IndexFunc(s.Inputs, func(in query.Input) bool { return in.Alias == alias })
	}
	get := func(hits []hit, ref string) (any, *catalog.Dataset, *catalog.Column) {
		alias, name, _ := strings.Cut(ref, ".")
		i := input(alias)
		t := tables[s.Inputs[i].Dataset]
		c, _ := t.ds.Column(name)
		return hits[i].row[name], &t.ds, c
	}
	label := func(hits []hit, ref string, bin sandbox.BinID) string {
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
	a := &sandbox.Answer{Population: []sandbox.Pseudonym{}}
	groups := map[string]*group{}
	seen := map[sandbox.Pseudonym]uint32{}
	scan := tables[s.Inputs[0].Dataset]
rows:
	for n, row := range scan.rows {
		hits := []hit{{row, scan.subjects[n]}}
		for _, in := range s.Inputs[1:] {
			left := hits[input(in.With)]
			found := false
			for m, r := range tables[in.Dataset].rows {
				same := true
				if len(in.On) == 0 || in.Subject {
					same = tables[in.Dataset].subjects[m] == left.subject
				}
				for _, k := range in.On {
					same = same && left.row[k.Left] != nil && left.row[k.Left] == r[k.Right]
				}
				if same {
					hits, found = append(hits, hit{r, tables[in.Dataset].subjects[m]}), true
					break
				}
			}
			if !found {
				continue rows
			}
		}
		for _, f := range s.Filters {
			if slices.Contains(f.In, label(hits, f.Column, f.Bin)) == f.Not {
				continue rows
			}
		}
		labels := []string{}
		for _, d := range s.Dimensions {
			labels = append(labels, label(hits, d.Column, d.Bin))
		}
		key := fmt.Sprintf("%q", labels)
		g := groups[key]
		if g == nil {
			g = &group{labels: labels, by: map[sandbox.Pseudonym]*[][2]*big.Int{}, counts: map[sandbox.Pseudonym]int64{}}
			groups[key] = g
		}
		p := scan.subjects[n]
		if _, ok := seen[p]; !ok {
			seen[p] = uint32(len(a.Population))
			a.Population = append(a.Population, p)
		}
		if g.by[p] == nil {
			sums := make([][2]*big.Int, len(s.Measures))
			for m := range sums {
				sums[m] = [2]*big.Int{new(big.Int), new(big.Int)}
			}
			g.by[p] = &sums
			g.subjects = append(g.subjects, p)
		}
		g.rows++
		g.counts[p]++
		for m, f := range s.Measures {
			if f.Column == "" {
				continue
			}
			if v, _, _ := get(hits, f.Column); v != nil {
				x := (*g.by[p])[m]
				x[0].Add(x[0], big.NewInt(v.(int64)))
				x[1].Add(x[1], big.NewInt(1))
			}
		}
	}
	for _, d := range s.Dimensions {
		a.Dimensions = append(a.Dimensions, d.As)
	}
	for _, g := range groups {
		c := sandbox.Cell{Labels: g.labels, Rows: g.rows, Contributors: []uint32{}}
		slices.SortFunc(g.subjects, func(x, y sandbox.Pseudonym) int { return int(seen[x]) - int(seen[y]) })
		everyone := slices.ContainsFunc(s.Measures, func(m query.Measure) bool { return m.Column == "" })
		var who []sandbox.Pseudonym
		for _, p := range g.subjects {
			any := everyone
			for _, x := range *g.by[p] {
				any = any || x[1].Sign() > 0
			}
			if any {
				who = append(who, p)
				c.Contributors = append(c.Contributors, seen[p])
			}
		}
		for m, f := range s.Measures {
			contribution := []int64{}
			sum, n := new(big.Int), new(big.Int)
			for _, p := range who {
				x := (*g.by[p])[m]
				v := x[0].Int64()
				switch f.Func {
				case sandbox.Count:
					v = g.counts[p]
				case sandbox.Subjects:
					v = 1
				}
				contribution = append(contribution, v)
				sum.Add(sum, big.NewInt(v))
				n.Add(n, x[1])
			}
			nonMissing := g.rows
			if f.Column != "" {
				nonMissing = n.Int64()
			}
			value := sum.Int64()
			if f.Func == sandbox.Mean {
				value = roundedMean(sum, n)
			}
			c.Values = append(c.Values, value)
			c.NonMissing = append(c.NonMissing, nonMissing)
			c.Contributions = append(c.Contributions, contribution)
		}
		a.Cells = append(a.Cells, c)
	}
	slices.SortFunc(a.Cells, func(x, y sandbox.Cell) int { return slices.Compare(x.Labels, y.Labels) })
	return a
}

// roundedMean is floor(|sum|/n + 1/2) with the sign of sum.
func roundedMean(sum, n *big.Int) int64 {
	if n.Sign() == 0 {
		return 0
	}
	twice := new(big.Int).Abs(sum)
	twice.Mul(twice, big.NewInt(2)).Add(twice, n)
	q := twice.Div(twice, new(big.Int).Mul(n, big.NewInt(2)))
	return q.Int64() * int64(sum.Sign())
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
	fmt.Fprintln(&b, a.Dimensions, len(a.Population))
	for _, p := range a.Population {
		fmt.Fprintf(&b, "%x ", [16]byte(p))
	}
	for _, c := range a.Cells {
		fmt.Fprintf(&b, "\n%q rows %d values %d nonmissing %d who %d what %d", c.Labels, c.Rows, c.Values, c.NonMissing, c.Contributors, c.Contributions)
	}
	return b.String()
}
