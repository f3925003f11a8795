package scan

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// source draws rows of people, and their shingles.
func source(t testing.TB, n int) ([]string, [][]string, *Shingles) {
	t.Helper()
	r := rand.New(rand.NewPCG(20261129, 9))
	names := []string{"area", "birth", "sex", "icd10", "amount"}
	s, err := NewShingles(bytes.Repeat([]byte{3}, 16), names, n, 3)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for range n {
		row := []string{fmt.Sprintf("4403%05d", r.IntN(80)), fmt.Sprintf("19%02d-%02d-%02d", r.IntN(100), 1+r.IntN(12), 1+r.IntN(28)), strconv.Itoa(1 + r.IntN(2)),
			fmt.Sprintf("%c%02d", 'A'+r.IntN(20), r.IntN(100)), strconv.Itoa(r.IntN(1_000_000))}
		rows = append(rows, row)
		s.Add(row)
	}
	return names, rows, s
}

func details(hits []Hit) string {
	var out []string
	for _, h := range hits {
		out = append(out, h.Column+": "+h.Detail)
	}
	return strings.Join(out, "; ")
}

func wants(t *testing.T, name string, hits []Hit, parts ...string) {
	t.Helper()
	if len(hits) != len(parts) {
		t.Errorf("%s: %s", name, details(hits))
		return
	}
	for i, p := range parts {
		if hits[i].Rule != RuleRowLevel || !strings.Contains(details(hits[i:i+1]), p) {
			t.Errorf("%s: %s", name, details(hits))
		}
	}
}

func TestRowsOfPeople(t *testing.T) {
	names, rows, s := source(t, 1000)
	fields := []Field{{names[0], Label}, {names[1], Label}, {names[2], Label}, {names[3], Label}, {names[4], Amount}}
	s.Ordered(func(row int) (int64, bool) { return int64(row), true })
	wants(t, "the source itself", Shape(Outgoing{Fields: fields, Rows: rows, Quasi: []int{0, 1, 2}, Entities: 1000, Source: s}, Strict()),
		"1000 rows of 1000 people", "rows agree in the quasi-identifiers", "order of the source", "3 neighbouring values")
	// As a data set: coarse, in another order, without a key.
	var coarse [][]string
	for i, r := range rows {
		coarse = append(coarse, []string{r[0][:4], r[1][:3] + "0s", r[2], strconv.Itoa(i)})
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(coarse), func(i, j int) { coarse[i], coarse[j] = coarse[j], coarse[i] })
	s.Ordered(func(row int) (int64, bool) { v, err := strconv.ParseInt(coarse[row][3], 10, 64); return v, err == nil })
	four := []Field{{"area", Label}, {"decade", Label}, {"sex", Label}, {"no", Label}}
	wants(t, "with a key", Shape(Outgoing{Fields: four, Rows: coarse, Quasi: []int{0, 1, 2}, Entities: 1000, Source: s, Dataset: true}, Strict()), "no: a different value in every row")
	four[3].Role = Token
	wants(t, "with a token", Shape(Outgoing{Fields: four, Rows: coarse, Quasi: []int{0, 1, 2}, Entities: 1000, Source: s, Dataset: true}, Strict()))
	slices.SortFunc(coarse, func(a, b []string) int { x, _ := strconv.Atoi(a[3]); y, _ := strconv.Atoi(b[3]); return y - x })
	wants(t, "backwards", Shape(Outgoing{Fields: four, Rows: coarse, Source: s, Dataset: true}, Strict()), "order of the source (ρ -1.00)")
}

func TestAggregatesAreNoRows(t *testing.T) {
	_, _, s := source(t, 1000)
	var rows [][]string
	var people []int
	for i := range 80 {
		rows, people = append(rows, []string{fmt.Sprintf("4403%05d", i), fmt.Sprintf("44030%d", i%10), strconv.Itoa(12 + i)}), append(people, 12+i)
	}
	fields := []Field{{"area", Label}, {"county", Label}, {"people", Count}}
	wants(t, "aggregates", Shape(Outgoing{Fields: fields, Rows: rows, People: people, Entities: 1000, Source: s}, Strict()))
	wants(t, "aggregates, people not known", Shape(Outgoing{Fields: fields, Rows: rows, Entities: 1000, Source: s}, Strict()), "area: a different value")
	people[7] = 9
	hits := Shape(Outgoing{Fields: fields, Rows: rows, People: people, Entities: 1000, Source: s}, Strict())
	wants(t, "few people", hits, "fewer than 10 people behind a row")
	if hits[0].Row != 8 || hits[0].Count != 1 {
		t.Errorf("%+v", hits[0])
	}
	wants(t, "nothing", Shape(Outgoing{Fields: fields, Quasi: []int{0}}, Strict()))
}

func TestShingles(t *testing.T) {
	names, rows, s := source(t, 2000)
	wrong := 0
	for _, r := range rows {
		if !s.Has(names[1:4], r[1:4]) {
			t.Fatal("a row of the source is not known")
		}
		if s.Has(names[:3], []string{r[0], r[1], "9"}) || s.Has(names[:3], []string{r[1], r[0], r[2]}) {
			wrong++
		}
	}
	if wrong > 100 {
		t.Errorf("%d of 2000 rows that are not there are known", wrong)
	}
	if s.Has(names[:2], rows[0][:2]) {
		t.Error("another width is known")
	}
	if out := fmt.Sprintf("%v %+v %#v", s, s, s); !strings.Contains(out, "redacted") || strings.Contains(out, "3, 3") {
		t.Error("the key is printed")
	}
	for _, c := range []struct{ key, rows, width int }{{15, 10, 3}, {16, 0, 3}, {16, 10, 1}, {16, 10, 6}} {
		if _, err := NewShingles(make([]byte, c.key), names, c.rows, c.width); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestSpearman(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "n")
		x, y := make([]int64, n), rapid.SliceOfN(rapid.Int64Range(0, 20), n, n).Draw(t, "y")
		for i := range x {
			x[i] = int64(i)
		}
		rho := spearman(x, y)
		up, down := spearman(y, y), spearman(x, x)
		if math.Abs(rho) > 1+1e-9 || math.Abs(up-1) > 1e-9 && up != 0 || math.Abs(down-1) > 1e-9 {
			t.Fatal(rho, up, down)
		}
		z := slices.Clone(y)
		for i := range z {
			z[i] = -3 * z[i]
		}
		if math.Abs(spearman(x, z)+rho) > 1e-9 {
			t.Fatal("not antisymmetric")
		}
	})
}

func TestMilliBits(t *testing.T) {
	for levels, want := range map[uint64]MilliBits{0: 0, 1: 0, 2: 1000, 3: 1585, 4: 2000, 10: 3322, 1000: 9966, 1 << 63: 63000, math.MaxUint64: 64000} {
		if got := Log2(levels); got != want {
			t.Errorf("%d levels: %d", levels, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(2, math.MaxUint64).Draw(t, "n")
		if got, want := float64(Log2(n)), 1000*math.Log2(float64(n)); got < want-0.01 || got > want+1.01 {
			t.Fatalf("%d levels: %f, %f", n, got, want)
		}
	})
	if b, ok := (Declared{Levels: []uint64{2, 10}, Times: 3, Statuses: 2}).Bits(); !ok || b != 3*(1000+3322)+1000 {
		t.Error(b, ok)
	}
	if _, ok := (Declared{Levels: []uint64{math.MaxUint64}, Times: math.MaxUint64}).Bits(); ok {
		t.Error("it fits")
	}
}

func TestCaps(t *testing.T) {
	c := Standard()
	c.Bits = 10_000
	ok := &Declared{Levels: []uint64{2}, Times: 9, Statuses: 2}
	for name, x := range map[string]struct {
		files    []File
		declared *Declared
		want     []string
	}{
		"all well":    {[]File{{"a.csv", 16 << 20, 5000}}, ok, nil},
		"two files":   {[]File{{"a.csv", 1, 1}, {"b.json", 1, 1}}, ok, []string{"size.files"}},
		"none":        {nil, ok, []string{"size.files"}},
		"a type":      {[]File{{"a.csv.exe", 1, 1}}, ok, []string{"size.type"}},
		"no type":     {[]File{{"csv", 1, 1}}, ok, []string{"size.type"}},
		"rows, bytes": {[]File{{"a.CSV", 16<<20 + 1, 5001}}, ok, []string{"size.rows", "size.bytes"}},
		"undeclared":  {[]File{{"a.csv", 1, 1}}, nil, []string{"size.bits"}},
		"bits":        {[]File{{"a.csv", 1, 1}}, &Declared{Levels: []uint64{2}, Times: 10, Statuses: 2}, []string{"size.bits"}},
	} {
		var got []string
		for _, r := range c.Check(x.files, x.declared) {
			got = append(got, r.Code)
			if r.Rule == "" || r.Change == "" {
				t.Errorf("%s: a refusal without its smallest change", name)
			}
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
