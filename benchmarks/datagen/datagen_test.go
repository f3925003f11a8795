package datagen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

func generate(t *testing.T, o Options) (string, Summary) {
	t.Helper()
	dir := t.TempDir()
	sum, err := Generate(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, sum
}

// column reads one text column of a generated file through the file connector, or all of them if name is empty.
type rows struct {
	text   map[string][]string
	amount []int64
	found  map[string]classify.ColumnFinding
	n      int64
}

func load(t *testing.T, dir, name string, d catalog.Dataset) rows {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	src, err := file.Open(context.Background(), mem, filepath.Join(dir, name), d, connectors.Mapping{}, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	s := classify.NewSampler(d)
	out := rows{text: map[string][]string{}, found: map[string]classify.ColumnFinding{}}
	for {
		rec, err := src.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Observe(rec)
		for i, c := range d.Columns {
			switch col := rec.Column(i).(type) {
			case *array.String:
				for j := range col.Len() {
					out.text[c.Name] = append(out.text[c.Name], strings.Clone(col.Value(j)))
				}
			case *array.Int64:
				out.amount = append(out.amount, col.Int64Values()...)
			}
		}
		out.n += rec.NumRows()
		rec.Release()
	}
	for _, f := range s.Grade() {
		out.found[f.Column] = f
	}
	return out
}

func TestGenerate(t *testing.T) {
	for _, o := range []Options{{}, {Persons: MinPersons, Seed: 7}, {Persons: 3001, Seed: 1 << 63}} {
		t.Run(fmt.Sprint(o.Persons), func(t *testing.T) { testGenerate(t, o) })
	}
}

func testGenerate(t *testing.T, o Options) {
	dir, sum := generate(t, o)
	ds := Catalogue("unit-civil", "unit-med")
	for i := range ds {
		if err := ds[i].Validate(); err != nil {
			t.Fatal(err)
		}
	}
	persons, claims, subsidies := load(t, dir, PersonsFile, ds[0]), load(t, dir, ClaimsFile, ds[1]), load(t, dir, SubsidiesFile, ds[2])
	want := int64(o.Persons)
	if want == 0 {
		want = 20_000
	}
	if persons.n != want || sum.Persons != want || claims.n != sum.Claims || subsidies.n != sum.Subsidies {
		t.Errorf("rows %d %d %d, summary %+v", persons.n, claims.n, subsidies.n, sum)
	}
	if claims.n < want*5/2 || claims.n > want*7/2 {
		t.Errorf("%d claims of %d persons", claims.n, want)
	}

	seen, sex := map[string]bool{}, persons.text["sex"]
	inhabitants := map[string]int{}
	var loner string
	for i, id := range persons.text["resident_id"] {
		if n, ok := classify.NormalizeResidentID(id); !ok || n != id || seen[id] {
			t.Fatalf("person %d has no identity number of their own", i)
		}
		if odd := (id[16]-'0')%2 == 1; odd != (sex[i] == "1") {
			t.Fatalf("person %d: sex and sequence number differ", i)
		}
		seen[id] = true
		inhabitants[persons.text["street_code"][i]]++
		if persons.text["street_code"][i] == sum.LoneStreet {
			loner = id
		}
	}
	if inhabitants[sum.LoneStreet] != 1 || len(inhabitants) != len(streets)+1 {
		t.Errorf("streets have %v inhabitants", inhabitants)
	}

	people, cost, top := map[string]map[string]bool{}, map[string]int64{}, map[string]int64{}
	numbers, patient := map[string]bool{}, false
	for i, code := range claims.text["icd10"] {
		letter, id := code[:1], claims.text["resident_id"][i]
		if people[letter] == nil {
			people[letter] = map[string]bool{}
		}
		people[letter][id] = true
		cost[letter] += claims.amount[i]
		top[letter] = max(top[letter], claims.amount[i])
		no := claims.text["claim_no"][i]
		if len(no) < 12 || numbers[no] {
			t.Fatalf("claim %d has no number of its own", i)
		}
		numbers[no] = true
		if !seen[id] || claims.amount[i] <= 0 {
			t.Fatalf("claim %d belongs to nobody or costs nothing", i)
		}
		if id == loner && letter != sum.CommonChapter {
			t.Error("the lone inhabitant has another illness")
		}
		patient = patient || id == sum.Patient.ResidentID && no == sum.Patient.ClaimNo
	}
	if n := len(people[sum.RareChapter]); n != sum.RarePeople || n >= 10 {
		t.Errorf("%d people in the rare chapter", n)
	}
	if d := sum.DominatedChapter; top[d]*100 < cost[d]*98 || len(people[d]) < 50 {
		t.Errorf("the dominated chapter: top claim %d of %d, %d people", top[d], cost[d], len(people[d]))
	}
	if !people[sum.CommonChapter][loner] || len(people[sum.CommonChapter]) < 100 {
		t.Error("the lone inhabitant is not in a large chapter")
	}
	if !patient {
		t.Error("the patient has no such claim")
	}
	for letter, p := range people {
		if letter != sum.RareChapter && len(p) < 50 {
			t.Errorf("chapter %s is small by accident: %d people", letter, len(p))
		}
	}

	for got, want := range map[classify.ColumnFinding]classify.Kind{
		persons.found["resident_id"]: classify.ResidentID, persons.found["name"]: classify.PersonName, persons.found["mobile"]: classify.Mobile,
		persons.found["birth_date"]: classify.BirthDate, persons.found["address"]: classify.Address, persons.found["street_code"]: classify.None,
		persons.found["sex"]: classify.None, claims.found["hospital"]: classify.USCC, claims.found["icd10"]: classify.ICD10,
		claims.found["claim_no"]: classify.None, claims.found["service_date"]: classify.None, claims.found["amount"]: classify.None,
		subsidies.found["subsidy_no"]: classify.None, subsidies.found["kind"]: classify.None, subsidies.found["resident_id"]: classify.ResidentID,
	} {
		if got.Finding != want || want != classify.None && want != classify.BirthDate && got.Share < 0.95 {
			t.Errorf("column %s: found %q in %.2f, want %q", got.Column, got.Finding, got.Share, want)
		}
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	a, sa := generate(t, Options{Persons: 2000, Seed: 3})
	b, sb := generate(t, Options{Persons: 2000, Seed: 3})
	c, _ := generate(t, Options{Persons: 2000, Seed: 4})
	if sa != sb {
		t.Error("the summaries differ")
	}
	for _, name := range []string{PersonsFile, ClaimsFile, SubsidiesFile} {
		fa, fb, fc := content(t, a, name), content(t, b, name), content(t, c, name)
		if fa != fb {
			t.Errorf("%s differs between two runs of one seed", name)
		}
		if fa == fc {
			t.Errorf("%s is the same for two seeds", name)
		}
	}
}

func content(t *testing.T, dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNothingIsReplacedOrLeftBehind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ClaimsFile), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(dir, Options{Persons: MinPersons}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || content(t, dir, ClaimsFile) != "mine" {
		t.Errorf("%d files are there", len(left))
	}
	for _, n := range []int{-1, MinPersons - 1, MaxPersons + 1} {
		if _, err := Generate(t.TempDir(), Options{Persons: n}); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%d persons: %v", n, err)
		}
	}
}

func TestPatientPrintsRedacted(t *testing.T) {
	_, sum := generate(t, Options{Persons: MinPersons})
	for _, s := range []string{fmt.Sprint(sum.Patient), fmt.Sprintf("%+v", sum), fmt.Sprintf("%#v", sum)} {
		if strings.Contains(s, sum.Patient.ResidentID) || strings.Contains(s, sum.Patient.ClaimNo) {
			t.Error("a printed summary shows the patient")
		}
	}
}
