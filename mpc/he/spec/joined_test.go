package spec_test

import (
	"context"
	"errors"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// two are a hospital's visits and a tax office's people: nullable values, one of the widest range, a bin on either side.
func two() map[sandbox.DatasetID]catalog.Dataset {
	visits := catalog.Dataset{ID: "visits", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "fee", Type: catalog.Money, Grade: 2, Nullable: true, Values: "[-100,9999.99]"},
		{Name: "night", Type: catalog.Bool, Grade: 2, Public: true, Nullable: true}, {Name: "days", Type: catalog.Int, Grade: 2}},
		Bins: []catalog.Bin{{ID: "size", Column: "fee", Kind: catalog.Amount, Edges: []int64{500}}}}
	taxes := catalog.Dataset{ID: "taxes", Unit: "v", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "income", Type: catalog.Number, Scale: 1, Grade: 2, Nullable: true, Values: "[0,99999]"},
		{Name: "born", Type: catalog.Date, Grade: 2}},
		Bins: []catalog.Bin{{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{40}, At: "2026-01-01"}, {ID: "band", Column: "income", Kind: catalog.Amount, Edges: []int64{1000, 90000}}}}
	return map[sandbox.DatasetID]catalog.Dataset{"visits": visits, "taxes": taxes}
}

// held draws rows of up to three a person; some people have none.
func held(r *rand.Rand, d catalog.Dataset, people int) *dryrun.Data {
	t := &dryrun.Data{Set: d}
	for who := range people {
		for range r.IntN(4) {
			row := make([]any, len(d.Columns))
			for i, c := range d.Columns[1:] {
				if c.Nullable && r.IntN(4) == 0 {
					continue
				}
				switch c.Name {
				case "fee":
					row[i+1] = []int64{-10000, 999999, r.Int64N(1000)}[r.IntN(3)]
				case "income":
					row[i+1] = []int64{0, 999990, r.Int64N(2000)}[r.IntN(3)]
				case "days":
					row[i+1] = []int64{1<<47 - 1, 1 - 1<<47, 3}[r.IntN(3)]
				case "night":
					row[i+1] = r.IntN(2) == 0
				case "born":
					row[i+1] = r.Int64N(20000)
				}
			}
			t.Rows, t.Subjects = append(t.Rows, row), append(t.Subjects, pseudonym(who))
		}
	}
	return t
}

func without(l spec.List, who sandbox.Pseudonym) spec.List {
	l = maps.Clone(l)
	delete(l, who)
	return l
}

func moved(l spec.List, who sandbox.Pseudonym, to int) spec.List {
	l = maps.Clone(l)
	l[who] = to
	return l
}

func columnsOf(j *spec.Joined) []string {
	_, columns := j.Columns(0)
	return columns
}

// TestJoined holds products of two units' columns to the columnar engine over both units' rows, joined by the person.
func TestJoined(t *testing.T) {
	sets := two()
	inputs := []query.Input{{Alias: "v", Dataset: "visits"}, {Alias: "t", Dataset: "taxes", With: "v"}}
	questions := []query.Spec{
		{Measures: []query.Measure{{Func: sandbox.Correlation, Column: "v.fee", With: []string{"t.income"}, As: "r"}}},
		{Dimensions: []query.Dimension{{Column: "t.born", Bin: "age", As: "age"}},
			Filters:  []query.Filter{{Column: "v.fee", Bin: "size", In: []string{"<500", "missing"}, Not: true}, {Column: "t.income", Bin: "band", In: []string{"<1000"}, Not: true}},
			Measures: []query.Measure{{Func: sandbox.Mean, Column: "t.income", As: "m"}}},
		{Dimensions: []query.Dimension{{As: "band", Score: &query.Score{Edges: []int64{5}, Parts: []query.Part{{Column: "v.fee", Bin: "size", Points: []query.Points{{In: []string{"≥500"}, Value: 9}}}}}}},
			Measures: []query.Measure{{Func: sandbox.Ratio, Column: "v.fee", With: []string{"t.income"}, As: "q"}}},
		{Measures: []query.Measure{{Func: sandbox.Histogram, Column: "t.income", Bin: "band", As: "h"}, {Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: "v.days", As: "s"}, {Func: sandbox.Dot, Column: "v.fee", As: "d"}}},
	}
	if most := checks(t, 2); most < len(questions) { // HE_SPECS=4 asks all: each takes some seconds
		questions = questions[:most]
	}
	c, compared := newParties(t, 3), 0
	for i, s := range questions {
		s.Scenario, s.Purpose, s.Inputs = "s", "p", inputs
		d, why := query.Derive(s, sets, everything(sets))
		if len(why) > 0 {
			t.Fatal(why)
		}
		if _, why := spec.Compile(d, nil); len(why) != 1 || why[0].Code != "he.join" {
			t.Errorf("question %d as a sum: %v", i, why)
		}
		const people = 12
		list := spec.List{}
		for k := range people {
			list[pseudonym(k)] = (5*k + 3) % (people + 5)
		}
		named, err := list.Digest()
		c.ok(err)
		j, why := spec.CompileJoined(d, nil, spec.Placement{Holders: [2]int{2, 0}, Subjects: people + 5, Rows: 7, List: named})
		if len(why) > 0 {
			t.Fatal(why)
		}
		r := rand.New(rand.NewPCG(uint64(i), 5))
		tables := map[sandbox.DatasetID]*dryrun.Data{"visits": held(r, sets["visits"], people), "taxes": held(r, sets["taxes"], people)}
		want, err := plainly(d, tables)
		c.ok(err)
		tables["visits"].Rows = append(tables["visits"].Rows, tables["visits"].Rows[0]) // of somebody who is on no list
		tables["visits"].Subjects = append(tables["visits"].Subjects, pseudonym(99))
		side := func(which int) *he.Partial {
			id, columns := j.Columns(which)
			reader, err := tables[id].Reader(memory.NewGoAllocator(), columns)
			c.ok(err)
			p, err := j.Partial(context.Background(), which, list, reader)
			c.ok(err)
			return p
		}
		for name, other := range map[string]spec.List{"one missing": without(list, pseudonym(0)), "another place": moved(list, pseudonym(1), people+4), "two at a place": moved(list, pseudonym(1), list[pseudonym(0)])} {
			reader, err := tables["visits"].Reader(memory.NewGoAllocator(), columnsOf(j))
			c.ok(err)
			if _, err := j.Partial(context.Background(), 0, other, reader); !errors.Is(err, sandbox.Conflict) && !errors.Is(err, sandbox.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		by, err := j.Bystander()
		c.ok(err)
		plan := c.plan(he.ProductSet, j.Layout)
		b, why := plan.Check()
		if len(why) > 0 {
			t.Fatal(why)
		}
		t.Logf("question %d: %d terms, %d products, %d MB of a unit; noise below 2^%d, flooded with 2^%d, %d bits", i, len(j.Layout.Products.Terms), b.Products, b.Bytes/1_000_000, b.NoiseBits, b.Flooding, b.Security)
		got, err := j.Answer(c.sum(plan, []*he.Partial{side(1), by, side(0)}))
		c.ok(err)
		seen := 0
		for _, g := range got.Groups {
			at := slices.IndexFunc(want.Cells, func(c sandbox.Cell) bool { return slices.Equal(c.Labels, g.Labels) })
			if at < 0 {
				if g.Rows() != 0 {
					t.Errorf("question %d: a group that the engine has no row in is not empty", i)
				}
				continue
			}
			seen++
			cell := want.Cells[at]
			for m, o := range g.Values {
				if compared++; o.None != cell.Missing(m) || !o.None && o.Value.Cmp(big.NewInt(cell.Values[m])) != 0 || o.Func != sandbox.Histogram && o.Rows != cell.NonMissing[m] {
					t.Errorf("question %d: %s of a group differs from the engine", i, o.Func)
				}
				if o.Func == sandbox.Count && o.SubjectsAtLeast != int64(len(cell.Contributors)) || o.SubjectsAtMost > int64(len(cell.Contributors)) || top(cell, m).Cmp(o.TopAtMost) > 0 {
					t.Errorf("question %d: evidence of %s does not hold", i, o.Func)
				}
				nonzero, alike := int64(0), true
				var first int64
				for _, v := range cell.Contributions[m] {
					if v != 0 {
						if nonzero++; nonzero == 1 {
							first = v
						}
						alike = alike && v == first
					}
				}
				if len(o.Subjects) != 1 || len(o.Tops) != 1 || o.Subjects[0] > nonzero || alike && o.Differ || o.Func == sandbox.Correlation && (len(o.Sides) != 2 || len(o.Sides[1].Tops) != 1) {
					t.Errorf("question %d: evidence of %s for the gate does not hold", i, o.Func)
				}
			}
		}
		if seen != len(want.Cells) {
			t.Errorf("question %d: %d of the engine's %d groups are there", i, seen, len(want.Cells))
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
