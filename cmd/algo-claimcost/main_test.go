package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// claim is a row of the plain reference.
type claim struct {
	who    sandbox.Pseudonym
	group  string
	amount int64
}

var limits = egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}

func recorded(t *testing.T) (*algo.Graph, *algo.Types) {
	t.Helper()
	b, err := algo.Record("claimcost", program)
	if err != nil {
		t.Fatal(err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return g, types
}

// answered runs the Program over data: through the gate's rules, or open, for the reference.
func answered(t *testing.T, g *algo.Graph, types *algo.Types, m dryrun.Made, data map[sandbox.DatasetID]*dryrun.Data, open bool) dryrun.Outcome {
	t.Helper()
	plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, m.Sets)
	if plan == nil || len(plan.Questions) != 3 {
		t.Fatal(reasons)
	}
	run := dryrun.Run{Data: data, List: m.List, Params: limits, Open: open}
	out, err := run.Do(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reference computes both tables with loops and fractions.
func reference(claims []claim, ages map[sandbox.Pseudonym][]string) (byDisease, byAge map[string][]string) {
	type group struct {
		people         map[sandbox.Pseudonym]bool
		rows           int64
		total, chronic int64
	}
	add := func(in map[string]*group, label string, c claim) {
		x := in[label]
		if x == nil {
			x = &group{people: map[sandbox.Pseudonym]bool{}}
			in[label] = x
		}
		x.people[c.who] = true
		x.rows++
		x.total += c.amount
		if slices.Contains(chronic, c.group) {
			x.chronic += c.amount
		}
	}
	diseases, years := map[string]*group{}, map[string]*group{}
	for _, c := range claims {
		add(diseases, c.group, c)
		for _, age := range ages[c.who] { // once for each row that the person has
			add(years, age, c)
		}
	}
	text := func(v *big.Rat) string {
		return strings.TrimRight(strings.TrimRight(v.FloatString(6), "0"), ".")
	}
	mean := func(x *group) string {
		m, _ := new(big.Rat).SetString(big.NewRat(x.total, x.rows*100).FloatString(2))
		return text(m)
	}
	byDisease, byAge = map[string][]string{}, map[string][]string{}
	for l, x := range diseases {
		n := int64(len(x.people))
		byDisease[l] = []string{fmt.Sprint(n), fmt.Sprint(x.rows), text(big.NewRat(x.total, 100)), mean(x), text(big.NewRat(x.rows, n)), text(big.NewRat(x.total, 100*n))}
	}
	for l, x := range years {
		byAge[l] = []string{fmt.Sprint(len(x.people)), text(big.NewRat(x.total, 100)), mean(x), text(big.NewRat(x.chronic, x.total))}
	}
	return byDisease, byAge
}

func compare(t *testing.T, got compile.Filled, want map[string][]string) {
	t.Helper()
	if len(got.Rows) != len(want) {
		t.Errorf("%s: %d groups, not %d", got.Name, len(got.Rows), len(want))
	}
	for _, row := range got.Rows {
		if !slices.Equal(row[1:], want[row[0]]) {
			t.Errorf("%s, %s: %v, not %v", got.Name, row[0], row[1:], want[row[0]])
		}
	}
}

func at(d *dryrun.Data, column string) int {
	return slices.IndexFunc(d.Set.Columns, func(c catalog.Column) bool { return c.Name == column })
}

// band gives the label of an age bin, by the calendar.
func band(b *catalog.Bin, day int64) string {
	ref, _ := time.Parse(time.DateOnly, b.At)
	born := time.Unix(day*86400, 0).UTC()
	years := int64(ref.Year() - born.Year())
	if born.AddDate(int(years), 0, 0).After(ref) {
		years--
	}
	n := 0
	for _, e := range b.Edges {
		if years >= e {
			n++
		}
	}
	return b.Labels()[n]
}

// plain reads the reference's rows from data.
func plain(data map[sandbox.DatasetID]*dryrun.Data) (claims []claim, ages map[sandbox.Pseudonym][]string) {
	c, p := data["ds-claims"], data["ds-persons"]
	groups, _ := c.Set.Bin("disease-group")
	for i, row := range c.Rows {
		x := claim{c.Subjects[i], catalog.Other, row[at(c, "amount")].(int64)}
		for _, g := range groups.Groups {
			if slices.Contains(g.Codes, row[at(c, "icd10")].(string)) {
				x.group = g.Label
			}
		}
		claims = append(claims, x)
	}
	ages = map[sandbox.Pseudonym][]string{}
	b, _ := p.Set.Bin("age-band")
	for i, row := range p.Rows {
		ages[p.Subjects[i]] = append(ages[p.Subjects[i]], band(b, row[at(p, "birth_date")].(int64)))
	}
	return claims, ages
}

// aged gives the made catalogue the age bin of a real one.
func aged(m dryrun.Made) dryrun.Made {
	set := m.Sets["ds-persons"]
	for i := range set.Bins {
		set.Bins[i].Kind, set.Bins[i].At, set.Bins[i].Edges = catalog.Age, "2026-01-01", []int64{18, 35, 50, 65, 80}
	}
	m.Sets["ds-persons"] = set
	return m
}

func TestEqualsReference(t *testing.T) {
	g, types := recorded(t)
	for seed := range uint64(20) {
		m := aged(dryrun.Catalogue(g, types, nil))
		data := m.Generate(seed, 40+int(seed)*50)
		out := answered(t, g, types, m, data, true)
		byDisease, byAge := reference(plain(data))
		compare(t, out.Tables[0], byDisease)
		compare(t, out.Tables[1], byAge)
	}
}

// TestOnSynthea asks it about encounters and patients that Synthea made, by reasons grouped as the demo's map groups diagnoses.
func TestOnSynthea(t *testing.T) {
	dir := sandboxtest.Data(t, "synthea", "no real table was computed")
	g, types := recorded(t)
	m := aged(dryrun.Catalogue(g, types, nil))
	set := m.Sets["ds-claims"]
	for i := range set.Bins {
		set.Bins[i].Groups = []catalog.Group{{Label: "循环 I", Codes: []string{"59621000", "53741008", "88805009", "22298006", "49436004"}}, {Label: "内分泌 E", Codes: []string{"44054006", "55822004", "302870006", "162864005"}},
			{Label: "呼吸 J", Codes: []string{"195662009", "10509002", "444814009", "43878008", "36971009", "195967001"}}, {Label: "妊娠 O", Codes: []string{"72892002"}}}
	}
	m.Sets["ds-claims"] = set
	claims, persons := &dryrun.Data{Set: m.Sets["ds-claims"]}, &dryrun.Data{Set: m.Sets["ds-persons"]}
	fill := func(d *dryrun.Data, file, who string, of map[string]func(string) any, columns map[string]string) {
		f, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := csv.NewReader(f)
		head, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		for {
			rec, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			row := make([]any, len(d.Set.Columns))
			for name, from := range columns {
				row[at(d, name)] = of[name](rec[slices.Index(head, from)])
			}
			var p sandbox.Pseudonym
			copy(p[:], strings.ReplaceAll(rec[slices.Index(head, who)], "-", ""))
			d.Rows, d.Subjects = append(d.Rows, row), append(d.Subjects, p)
		}
	}
	money := func(s string) any {
		v, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatal("an amount is a decimal")
		}
		n, _ := new(big.Int).SetString(v.Mul(v, big.NewRat(100, 1)).FloatString(0), 10)
		return n.Int64()
	}
	day := func(s string) any {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d.Unix() / 86400
	}
	fill(claims, "encounters.csv", "PATIENT", map[string]func(string) any{"icd10": func(s string) any { return s }, "amount": money}, map[string]string{"icd10": "REASONCODE", "amount": "TOTAL_CLAIM_COST"})
	fill(persons, "patients.csv", "Id", map[string]func(string) any{"birth_date": day}, map[string]string{"birth_date": "BIRTHDATE"})
	data := map[sandbox.DatasetID]*dryrun.Data{"ds-claims": claims, "ds-persons": persons}
	t.Logf("%d encounters of %d patients", len(claims.Rows), len(persons.Rows))
	out := answered(t, g, types, m, data, true)
	byDisease, byAge := reference(plain(data))
	compare(t, out.Tables[0], byDisease)
	compare(t, out.Tables[1], byAge)
	gated := answered(t, g, types, m, data, false)
	for i, a := range gated.Answers {
		t.Logf("question %d: %d groups, %d suppressed, withheld %q", i+1, a.Cells, a.Suppressed, a.Withheld)
	}
	for _, table := range gated.Tables { // what leaves is what the reference says, or nothing
		want := byDisease
		if table.Name == "by-age" {
			want = byAge
		}
		for _, row := range table.Rows {
			for k, v := range row[1:] {
				if v != "" && v != want[row[0]][k] {
					t.Errorf("%s, %s: %s, not %s", table.Name, row[0], v, want[row[0]][k])
				}
			}
		}
	}
}
