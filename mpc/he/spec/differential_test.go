package spec_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
)

// supported are the functions that ciphertexts do.
var supported = []sandbox.MeasureFunc{sandbox.Count, sandbox.Sum, sandbox.Mean, sandbox.Variance, sandbox.StdDev, sandbox.Histogram, sandbox.Covariance,
	sandbox.Correlation, sandbox.Ratio, sandbox.Dot}

// schema draws a dataset: columns of every type, nullable or not, each with a bin of every kind that it can have.
func schema(r *rand.Rand) catalog.Dataset {
	d := catalog.Dataset{ID: "visits", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}}}
	add := func(name string, t catalog.Type, bins ...catalog.Bin) {
		c := catalog.Column{Name: name, Type: t, Grade: 2, Nullable: r.IntN(2) == 0, Public: t == catalog.Bool || t == catalog.Text}
		if t == catalog.Number {
			c.Scale = r.IntN(4)
		}
		if t == catalog.Text && r.IntN(2) == 0 {
			c.Values = "{J10,J,A,other}"
		}
		d.Columns = append(d.Columns, c)
		for i, b := range bins {
			b.ID, b.Column = sandbox.BinID(fmt.Sprintf("%s-%d", name, i)), name
			d.Bins = append(d.Bins, b)
		}
	}
	edges := func(most int64) []int64 {
		e := []int64{r.Int64N(2*most) - most}
		for range r.IntN(3) {
			e = append(e, e[len(e)-1]+1+r.Int64N(most))
		}
		return e
	}
	add("icd", catalog.Text, catalog.Bin{Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "J", Codes: []string{"J"}}, {Label: "flu", Codes: []string{"J10", "J11"}}}},
		catalog.Bin{Kind: catalog.Codes, Groups: []catalog.Group{{Label: "a", Codes: []string{"J10", "A"}}, {Label: "b", Codes: []string{"missing"}}}})
	add("born", catalog.Date, catalog.Bin{Kind: catalog.Age, Edges: edges(50), At: "2024-02-29"}, catalog.Bin{Kind: catalog.Year})
	add("night", catalog.Bool)
	for _, name := range []string{"cost", "beds", "index"} {
		add(name, []catalog.Type{catalog.Money, catalog.Int, catalog.Number}[r.IntN(3)], catalog.Bin{Kind: catalog.Amount, Edges: edges(100)})
	}
	return d
}

func pseudonym(n int) sandbox.Pseudonym {
	return sandbox.Pseudonym{byte(n * 19), byte(n), 15: byte(n * 7)}
}

// table draws a unit's rows: nulls are common, values collide or are as large as they may be, subjects come again in other units.
func table(r *rand.Rand, d catalog.Dataset, rows int, size int64) *dryrun.Data {
	t := &dryrun.Data{Set: d}
	for range rows {
		row := make([]any, len(d.Columns))
		for i, c := range d.Columns[1:] {
			if c.Nullable && r.IntN(5) == 0 {
				continue
			}
			switch c.Type {
			case catalog.Text:
				row[i+1] = []string{"J10", "J", "A", "other"}[r.IntN(4)]
			case catalog.Date:
				row[i+1] = []int64{19782, 19417, 19416, 20148, -800000, 2000000, r.Int64N(60000) - 40000}[r.IntN(7)]
			case catalog.Bool:
				row[i+1] = r.IntN(2) == 0
			default:
				row[i+1] = []int64{0, 1, -size, size, r.Int64N(2*size) - size, r.Int64N(200) - 100}[r.IntN(6)]
			}
		}
		t.Rows, t.Subjects = append(t.Rows, row), append(t.Subjects, pseudonym(r.IntN(12)))
	}
	return t
}

// question draws a question with every supported function in turn.
func question(r *rand.Rand, d catalog.Dataset, must sandbox.MeasureFunc) query.Spec {
	s := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}}}
	pick := func() (string, sandbox.BinID, []string) { // a grouping and labels of it
		for {
			c := d.Columns[1+r.IntN(len(d.Columns)-1)]
			var bins []catalog.Bin
			for _, b := range d.Bins {
				if b.Column == c.Name && b.Kind != catalog.Year {
					bins = append(bins, b)
				}
			}
			if c.Type == catalog.Bool {
				return "v." + c.Name, "", []string{"true", catalog.Missing}
			}
			if c.Values != "" && r.IntN(2) == 0 {
				return "v." + c.Name, "", []string{"J", "A"}
			}
			if len(bins) > 0 {
				b := bins[r.IntN(len(bins))]
				l := b.Labels()
				for _, g := range b.Groups {
					l = append(l, g.Label)
				}
				return "v." + c.Name, b.ID, append(l, catalog.Missing)
			}
		}
	}
	for range r.IntN(3) {
		c, b, l := pick()
		s.Filters = append(s.Filters, query.Filter{Column: c, Bin: b, In: slices.Clone(l[:1+r.IntN(len(l))]), Not: r.IntN(2) == 0})
	}
	for i := range r.IntN(3) {
		c, b, _ := pick()
		s.Dimensions = append(s.Dimensions, query.Dimension{Column: c, Bin: b, As: fmt.Sprint("d", i)})
	}
	if r.IntN(3) == 0 {
		c, b, l := pick()
		s.Dimensions = append(s.Dimensions, query.Dimension{As: "band", Score: &query.Score{Base: 3, Edges: []int64{0, 5}, Parts: []query.Part{{Column: c, Bin: b, Points: []query.Points{{In: l[:1], Value: 4}}}}}})
	}
	for i, f := range append([]sandbox.MeasureFunc{must}, supported[r.IntN(len(supported))], supported[r.IntN(len(supported))]) {
		m := query.Measure{Func: f, As: fmt.Sprint("m", i)}
		cols := []string{"v.cost", "v.beds", "v.index"}
		r.Shuffle(3, func(a, b int) { cols[a], cols[b] = cols[b], cols[a] })
		switch f {
		case sandbox.Count:
		case sandbox.Histogram:
			b := d.Bins[0]
			for b = d.Bins[r.IntN(len(d.Bins))]; b.Kind == catalog.Year; {
				b = d.Bins[r.IntN(len(d.Bins))]
			}
			m.Column, m.Bin = "v."+b.Column, b.ID
		case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
			m.Column, m.With = cols[0], cols[1:2]
		case sandbox.Dot:
			m.Column, m.With = cols[0], cols[1:1+r.IntN(2)]
		default:
			m.Column = cols[0]
		}
		with := s
		if with.Measures = append(slices.Clone(s.Measures), m); with.Validate() == nil {
			s = with
		}
	}
	return s
}

func everything(sets map[sandbox.DatasetID]catalog.Dataset) (list []sandbox.ListItem) {
	for id, d := range sets {
		item := sandbox.ListItem{Dataset: id}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Compares: sandbox.MaxCompares, Funcs: sandbox.MeasureFuncs,
				Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
		}
		list = append(list, item)
	}
	return list
}

// plainly computes a question in the columnar engine.
func plainly(d query.Derivation, tables map[sandbox.DatasetID]*dryrun.Data) (*sandbox.Answer, error) {
	mem := memory.NewGoAllocator()
	p := columnar.Plan{Derivation: d}
	for _, in := range d.Inputs {
		p.Inputs = append(p.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
	}
	return columnar.Run(context.Background(), mem, p, func(_ context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
		return tables[id].Reader(mem, columns)
	}, columnar.Limits{})
}

// checks is how many random questions a test asks: its own number, or what HE_SPECS says.
func checks(t *testing.T, usual int) int {
	if s := os.Getenv("HE_SPECS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return usual
}

// TestDifferential holds ciphertexts to the columnar engine over all units' rows together: values to the bit, evidence exact by unit and within
// its bounds across them.
func TestDifferential(t *testing.T) {
	c, cells, none, wide := newParties(t, 3), 0, 0, 0
	for i := range checks(t, 2*len(supported)) {
		r := rand.New(rand.NewPCG(uint64(i), 9))
		set := schema(r)
		sets := map[sandbox.DatasetID]catalog.Dataset{"visits": set}
		var d query.Derivation
		for !d.Complete() { // a drawn question may group twice by one column
			d, _ = query.Derive(question(r, set, supported[i%len(supported)]), sets, everything(sets))
		}
		q, why := spec.Compile(d, nil)
		if len(why) > 0 {
			t.Fatalf("check %d: %v", i, why)
		}
		size := []int64{1000, 1 << 31, 1<<47 - 1}[r.IntN(3)]
		var parts []*he.Partial
		var each []*sandbox.Answer
		all := &dryrun.Data{Set: set}
		for range 3 {
			u := table(r, set, r.IntN(30)*r.IntN(2), size) // half of the units have no row
			all.Rows, all.Subjects = append(all.Rows, u.Rows...), append(all.Subjects, u.Subjects...)
			id, columns := q.Columns()
			reader, err := u.Reader(memory.NewGoAllocator(), columns)
			c.ok(err)
			if id != "visits" {
				t.Fatal("another dataset is asked for")
			}
			p, err := q.Partial(context.Background(), reader)
			c.ok(err)
			parts = append(parts, p)
			a, err := plainly(d, map[sandbox.DatasetID]*dryrun.Data{"visits": u})
			if err != nil && !errors.Is(err, sandbox.TooLarge) {
				t.Fatal(err)
			}
			each = append(each, a)
		}
		want, err := plainly(d, map[sandbox.DatasetID]*dryrun.Data{"visits": all})
		if errors.Is(err, sandbox.TooLarge) {
			want = nil // a value beyond 64 bits: ciphertexts have it, the engine does not
			wide++
		} else if err != nil {
			t.Fatal(err)
		}
		got, err := q.Answer(c.sum(c.plan(he.SumSet, q.Layout), parts))
		c.ok(err)
		if want == nil {
			continue
		}
		seen := 0
		for _, g := range got.Groups {
			at := slices.IndexFunc(want.Cells, func(c sandbox.Cell) bool { return slices.Equal(c.Labels, g.Labels) })
			if at < 0 {
				for _, o := range g.Values {
					if o.Rows != 0 || o.SubjectsAtMost != 0 {
						t.Fatalf("check %d: a group that the engine has no row in is not empty", i)
					}
				}
				continue
			}
			seen++
			cell := want.Cells[at]
			for m, o := range g.Values {
				if o.None != cell.Missing(m) || !o.None && o.Value.Cmp(big.NewInt(cell.Values[m])) != 0 || o.Func != sandbox.Histogram && o.Rows != cell.NonMissing[m] {
					t.Fatalf("check %d: %s of a group differs from the engine", i, got.Outputs[m].Func)
				}
				if cells++; o.None {
					none++
				}
				if int64(len(cell.Contributors)) < o.SubjectsAtLeast || top(cell, m).Cmp(o.TopAtMost) > 0 {
					t.Fatalf("check %d: a bound of %s does not hold across units", i, got.Outputs[m].Func)
				}
				for u, a := range each {
					if a == nil {
						continue
					}
					mine, people := new(big.Int), 0
					if k := slices.IndexFunc(a.Cells, func(c sandbox.Cell) bool { return slices.Equal(c.Labels, g.Labels) }); k >= 0 {
						mine, people = top(a.Cells[k], m), len(a.Cells[k].Contributors)
					}
					if o.Tops[u].Cmp(mine) != 0 || o.Subjects[u] > int64(people) || o.Func == sandbox.Count && o.Subjects[u] != int64(people) {
						t.Fatalf("check %d: evidence of a unit differs from the engine in %s", i, got.Outputs[m].Func)
					}
				}
			}
		}
		if seen != len(want.Cells) {
			t.Fatalf("check %d: %d of the engine's %d groups are there", i, seen, len(want.Cells))
		}
	}
	if cells == 0 || none == 0 {
		t.Errorf("%d values, %d of which none, compared", cells, none)
	}
	t.Logf("%d values compared, %d of them none; %d questions beyond the engine's 64 bits", cells, none, wide)
}

// top is the largest contribution to an output.
func top(c sandbox.Cell, m int) *big.Int {
	out := new(big.Int)
	for _, v := range c.Contributions[m] {
		if x := big.NewInt(v); x.CmpAbs(out) > 0 {
			out.Abs(x)
		}
	}
	return out
}
