package run

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/algo/reduce"
)

var fees = mapper.Declaration{Dataset: "claims", Columns: []mapper.Column{{Name: "site", Type: "text"}, {Name: "fee", Type: "money"}, {Name: "night", Type: "bool"}},
	Groups: []mapper.Group{{Name: "visits", Labels: []string{"one", "some", "many"}}}, Values: []mapper.Value{{Name: "paid", Of: mapper.Sum, Unit: "元", Scale: 2, Min: -2000, Max: 2000, Step: 100}}, Yields: 1}

// visits groups a subject by how many of its rows have a site, and yields what it paid.
func visits(s *mapper.Subject, y *mapper.Yields) {
	sites, paid := 0, int64(0)
	for r := range s.Rows() {
		if v, ok := s.Text(r, 0); ok && v != "" {
			sites++
		}
		if v, ok := s.Int(r, 1); ok {
			paid += v
		}
		if v, ok := s.Int(r, 0); ok {
			paid += 1e6 + v // a text is no number
		}
	}
	if sites == 3 {
		panic("traps")
	}
	y.Yield([]int{min(sites/2, 2)}, paid)
}

// code counts its calls, and gives nil for who traps.
type code struct{ calls, subjects int }

func (c *code) Map(ctx context.Context, subjects [][]byte) (out [][]byte, err error) {
	c.calls, c.subjects = c.calls+1, c.subjects+len(subjects)
	for i := range subjects {
		one := func() (y []byte) {
			defer func() {
				if recover() != nil {
					y = nil
				}
			}()
			all, err := InProcess{visits, fees}.Map(ctx, subjects[i:i+1])
			if err != nil {
				return nil
			}
			return all[0]
		}
		out = append(out, one())
	}
	return out, nil
}

// TestMap: over any cut into batches, a Map's answer is that of the same function over the rows in memory.
func TestMap(t *testing.T) {
	v, _ := openVault(t)
	tables := rapid.Custom(drawTables)
	cells, faults := 0, 0
	for seed := range 6 {
		x := tables.Example(seed)
		in := commit(t, v, x.c, x.size, fmt.Sprint("m-", seed))
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		c := &code{}
		got, bad, err := Map(context.Background(), mem, v, Mapping{Job: reduce.Job{Algorithm: "visits", Declaration: fees, Input: in}, Dataset: claims, Code: c})
		if err != nil {
			t.Fatal(err)
		}
		mem.AssertSize(t, 0)
		type sum struct {
			people int
			paid   int64
		}
		want, rows, trapped := map[string]sum{}, clustered(x.c), 0
		for i := 0; i < len(rows.rows); {
			sites, paid, who := 0, int64(0), rows.subjects[i]
			for ; i < len(rows.rows) && rows.subjects[i] == who; i++ {
				if rows.rows[i][2] != nil {
					sites++
				}
				if f, ok := rows.rows[i][3].(int); ok {
					paid += int64(f)
				}
			}
			if sites == 3 {
				trapped++
				continue
			}
			label := fees.Groups[0].Labels[min(sites/2, 2)]
			want[label] = sum{want[label].people + 1, want[label].paid + fees.Values[0].Quantise(paid)}
		}
		have := map[string]sum{}
		for _, cell := range got.Cells {
			have[cell.Labels[0]] = sum{int(cell.Values[0]), cell.Values[2]}
		}
		if !reflect.DeepEqual(have, want) || bad != trapped {
			t.Errorf("seed %d: %v with %d faults, want %v with %d", seed, have, bad, want, trapped)
		}
		if c.subjects != len(got.Population) {
			t.Errorf("seed %d: %d subjects in %d calls, %d in the answer", seed, c.subjects, c.calls, len(got.Population))
		}
		cells, faults = cells+len(got.Cells), faults+bad
	}
	if cells < 6 || faults < 1 {
		t.Errorf("%d cells, %d faults: too few to tell", cells, faults)
	}
}

// TestMapLargeSubject: who is larger than a subject may be yields nothing, and nobody else is touched.
func TestMapLargeSubject(t *testing.T) {
	v, _ := openVault(t)
	x := table{d: claims}
	long := strings.Repeat("x", 1<<20)
	for who, n := range []int{1, 20, 2} {
		for range n {
			x.rows = append(x.rows, []any{fmt.Sprint("p", who), nil, long, 100, nil, nil, true, nil})
			x.subjects = append(x.subjects, sandbox.Pseudonym{byte(who + 1)})
		}
	}
	in := commit(t, v, x, 4, "run-1")
	got, faults, err := Map(context.Background(), memory.DefaultAllocator, v, Mapping{Job: reduce.Job{Algorithm: "visits", Declaration: fees, Input: in}, Dataset: claims, Code: &code{}})
	if err != nil || faults != 1 || len(got.Population) != 3 || len(got.Cells) != 2 {
		t.Fatalf("%v, %d faults, %v", got, faults, err)
	}
}

type gone struct{ short bool }

var errGone = errors.New("gone")

func (g gone) Map(_ context.Context, subjects [][]byte) ([][]byte, error) {
	if g.short {
		return subjects[1:], nil
	}
	return nil, errGone
}

func TestMapFaults(t *testing.T) {
	v, _ := openVault(t)
	in := commit(t, v, sample, 3, "run-1")
	base := Mapping{Job: reduce.Job{Algorithm: "visits", Declaration: fees, Input: in}, Dataset: claims, Code: &code{}}
	for name, x := range map[string]struct {
		m  func(*Mapping)
		is error
	}{
		"a column that is not":    {func(m *Mapping) { m.Declaration.Columns[0].Name = "none" }, sandbox.Invalid},
		"another type":            {func(m *Mapping) { m.Declaration.Columns[1].Type = "date" }, sandbox.Invalid},
		"the subject":             {func(m *Mapping) { m.Declaration.Columns[0].Name = "person" }, sandbox.Invalid},
		"a bad declaration":       {func(m *Mapping) { m.Declaration.Yields = 99 }, sandbox.Invalid},
		"another dataset":         {func(m *Mapping) { m.Input.Dataset = "people" }, sandbox.Invalid},
		"a version that is not":   {func(m *Mapping) { m.Input.Version = 9 }, sandbox.Tampered},
		"code that ends":          {func(m *Mapping) { m.Code = gone{} }, errGone},
		"code that gives too few": {func(m *Mapping) { m.Code = gone{true} }, sandbox.Withheld},
	} {
		m := base
		m.Declaration.Columns = slices.Clone(fees.Columns)
		x.m(&m)
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		if _, _, err := Map(context.Background(), mem, v, m); !errors.Is(err, x.is) {
			t.Errorf("%s: %v", name, err)
		}
		mem.AssertSize(t, 0)
	}
}

// full yields all that a declaration allows, and notes the largest call.
type full struct {
	d    *mapper.Declaration
	most int
	n    int
}

func (f *full) Map(_ context.Context, subjects [][]byte) (out [][]byte, err error) {
	yields, size := make([]byte, f.d.YieldBytes()), 0
	for _, s := range subjects {
		size += len(s) + len(yields) + 9 // with their lengths, and whether it failed
		out = append(out, yields)
	}
	f.most, f.n = max(f.most, size), f.n+len(subjects)
	return out, nil
}

// TestMapFullYields: subjects that yield all of the largest declaration come back in messages that the jail passes on.
func TestMapFullYields(t *testing.T) {
	v, _ := openVault(t)
	in := commit(t, v, registered(1000, "x"), 100, "run-1")
	d := mapper.Declaration{Dataset: "firms", Columns: []mapper.Column{{Name: "employees", Type: "int"}}, Yields: mapper.MaxYields}
	for i := range mapper.MaxGroups {
		d.Groups = append(d.Groups, mapper.Group{Name: fmt.Sprint("g", i), Labels: []string{"one"}})
	}
	for i := range mapper.MaxValues {
		d.Values = append(d.Values, mapper.Value{Name: fmt.Sprint("v", i), Of: mapper.Sum, Max: 1, Step: 1})
	}
	code := &full{d: &d}
	got, faults, err := Map(context.Background(), memory.DefaultAllocator, v, Mapping{Job: reduce.Job{Algorithm: "full", Declaration: d, Input: in}, Dataset: firms, Code: code})
	if err != nil || faults != 0 || code.n != 1000 || len(got.Population) != 1000 {
		t.Fatalf("%d subjects, %d faults: %v", code.n, faults, err)
	}
	if code.most > 8<<20-1024 {
		t.Errorf("%d bytes in one call, more than a message has", code.most)
	}
	if subjectsOf(&fees) != mapSubjects {
		t.Error("a small declaration is cut into small calls")
	}
}
