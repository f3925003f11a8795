package egress

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// row is one record: whose it is, its group and its amount; a nil amount is missing.
type row struct {
	person int
	labels []string
	amount *int64
}

// records answers "rows, people and sum of amount by group" the plain way.
type records struct {
	t    testing.TB
	dims int
	all  []row
}

func claims(t testing.TB, all []row) *records {
	r := &records{t: t, all: all}
	if len(all) > 0 {
		r.dims = len(all[0].labels)
	}
	return r
}

func yuan(n int64) *int64 { return &n }

// people gives n people from first on one row each in a group, with amounts of 1000 upwards.
func people(first, n int, labels ...string) []row {
	var out []row
	for i := range n {
		out = append(out, row{first + i, labels, yuan(int64(1000 + 10*i))})
	}
	return out
}

func pseudonym(person int) (p sandbox.Pseudonym) {
	copy(p[:], fmt.Sprintf("pseudonym%07d", person))
	return p
}

var measures = []sandbox.Measure{{Name: "件数", Func: sandbox.Count}, {Name: "人数", Func: sandbox.Subjects}, {Name: "金额", Func: sandbox.Sum, Unit: "元", Scale: 2}}

// sources of the measures, as the ledger wants them.
var sources = [][]string{nil, nil, {"claims.amount"}}

// numbers gives the values of a row that has all of them.
func numbers(r ResultRow) []int64 {
	out := make([]int64, len(r.Values))
	for i, v := range r.Values {
		out[i] = *v
	}
	return out
}

func (r *records) answer() *sandbox.Answer {
	a := &sandbox.Answer{Measures: measures, Sources: sources, Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 1}}}
	for d := range r.dims {
		a.Dimensions = append(a.Dimensions, fmt.Sprint("d", d))
	}
	index := map[int]uint32{}
	cells := map[string][]row{}
	var keys [][]string
	for _, x := range r.all {
		if _, ok := index[x.person]; !ok {
			index[x.person] = uint32(len(a.Population))
			a.Population = append(a.Population, pseudonym(x.person))
		}
		k := strings.Join(x.labels, "|")
		if cells[k] == nil {
			keys = append(keys, x.labels)
		}
		cells[k] = append(cells[k], x)
	}
	slices.SortFunc(keys, slices.Compare)
	for _, labels := range keys {
		c := sandbox.Cell{Labels: labels, Values: make([]int64, 3), NonMissing: make([]int64, 3), Contributions: make([][]int64, 3)}
		at := map[int]int{}
		for _, x := range cells[strings.Join(labels, "|")] {
			i, ok := at[x.person]
			if !ok {
				i = len(c.Contributors)
				at[x.person] = i
				c.Contributors = append(c.Contributors, index[x.person])
				for m := range c.Contributions {
					c.Contributions[m] = append(c.Contributions[m], 0)
				}
			}
			c.Rows++
			c.Contributions[0][i]++
			c.Contributions[1][i] = 1
			c.NonMissing[0], c.NonMissing[1] = c.NonMissing[0]+1, c.NonMissing[1]+1
			if x.amount != nil {
				c.Contributions[2][i] += *x.amount
				c.NonMissing[2]++
			}
		}
		for m := range c.Values {
			for _, v := range c.Contributions[m] {
				c.Values[m] += v
			}
		}
		a.Cells = append(a.Cells, c)
	}
	return a
}

func (r *records) check(q sandbox.QuestionID) *Checked {
	r.t.Helper()
	c, err := Check(q, r.answer(), limits)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// hidden gives the rules by group, of the suppressed groups.
func hidden(c *Checked) map[string]string {
	out := map[string]string{}
	for _, e := range c.Cells {
		if e.Suppressed {
			out[strings.Join(e.Labels, "|")] = strings.Join(e.Rules, ",")
		}
	}
	return out
}

func TestCheckSuppresses(t *testing.T) {
	huge := people(40, 12, "c")
	huge[3].amount = yuan(90_000_000)
	missing := people(70, 12, "d")
	for i := range missing {
		missing[i].amount = nil
	}
	for _, c := range []struct {
		name string
		rows []row
		want map[string]string
	}{
		{"nothing to hide", slices.Concat(people(0, 12, "a"), people(20, 10, "b")), map[string]string{}},
		{"a small group and, for it, the next smallest", slices.Concat(people(0, 30, "a"), people(40, 3, "b"), people(60, 12, "c")),
			map[string]string{"b": "frequency", "c": "secondary"}},
		{"two small groups hide each other", slices.Concat(people(0, 30, "a"), people(40, 6, "b"), people(60, 7, "c")),
			map[string]string{"b": "frequency", "c": "frequency"}},
		{"a dominated group", slices.Concat(people(0, 30, "a"), huge, people(60, 12, "d")),
			map[string]string{"c": "dominance,p-percent", "d": "secondary", "a": "secondary"}},
		{"nobody has a value", slices.Concat(people(0, 30, "a"), missing), map[string]string{"d": "all-equal", "a": "secondary"}},
		{"one small group alone", people(0, 3, "a"), map[string]string{"a": "frequency"}},
		{"a two-way table: each row and column with a hidden cell has another",
			slices.Concat(people(0, 12, "a", "x"), people(20, 3, "a", "y"), people(40, 13, "b", "x"), people(60, 14, "b", "y"), people(80, 15, "c", "x"), people(100, 16, "c", "y")),
			map[string]string{"a|y": "frequency", "a|x": "secondary", "b|y": "secondary", "b|x": "secondary"}},
	} {
		got := claims(t, c.rows).check("q-1")
		if h := hidden(got); fmt.Sprint(h) != fmt.Sprint(c.want) {
			t.Errorf("%s: hides %v, want %v", c.name, h, c.want)
		}
		if got.Suppressed != len(c.want) || got.Suppressed+got.Published != len(got.Cells) {
			t.Errorf("%s: counts %d suppressed, %d published of %d", c.name, got.Suppressed, got.Published, len(got.Cells))
		}
	}
}

// A group whose every value is missing can have rows and no contributors: it is suppressed, not an error the asker sees.
func TestCheckSuppressesAGroupWithoutContributors(t *testing.T) {
	a := claims(t, slices.Concat(people(0, 30, "a"), people(40, 12, "b"), people(60, 12, "c"))).answer()
	a.Measures = a.Measures[2:]
	for i := range a.Cells {
		c := &a.Cells[i]
		c.Values, c.NonMissing, c.Contributions = c.Values[2:], c.NonMissing[2:], c.Contributions[2:]
	}
	a.Cells[1].Contributors, a.Cells[1].Contributions, a.Cells[1].Values = nil, [][]int64{{}}, []int64{0}
	c, err := Check("q-1", a, limits)
	if err != nil {
		t.Fatal(err)
	}
	if h := hidden(c); fmt.Sprint(h) != "map[b:frequency,all-equal c:secondary]" {
		t.Error(h)
	}
}

func table(t *rapid.T) *records {
	dims := rapid.IntRange(0, 3).Draw(t, "dimensions")
	var all []row
	for range rapid.IntRange(1, 12).Draw(t, "groups") {
		var labels []string
		for range dims {
			labels = append(labels, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "label"))
		}
		for range rapid.SampledFrom([]int{1, 4, 9, 10, 11, 25}).Draw(t, "size") {
			x := row{person: rapid.IntRange(0, 80).Draw(t, "person"), labels: labels}
			if rapid.IntRange(0, 9).Draw(t, "missing") > 0 {
				x.amount = yuan(rapid.SampledFrom([]int64{0, 5, 5, 5, -7, 100, 10_000}).Draw(t, "amount"))
			}
			all = append(all, x)
		}
	}
	return &records{dims: dims, all: all}
}

// For any table: what is published passes the rules, what is suppressed carries no number, and in every margin what is
// suppressed passes the rules too or nothing of the margin is published.
func TestCheckHoldsForAnyTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := table(t).answer()
		c, err := Check("q-1", a, limits)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DecodeResult(c.Result)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Rows) != len(a.Cells) {
			t.Fatalf("%d rows of %d cells", len(r.Rows), len(a.Cells))
		}
		for i, row := range r.Rows {
			if !slices.Equal(row.Labels, a.Cells[i].Labels) || row.Suppressed != c.Cells[i].Suppressed || row.Suppressed == (row.Values != nil) || row.Suppressed != (len(c.Cells[i].Rules) > 0) {
				t.Fatalf("row %d is not its cell", i)
			}
			if !row.Suppressed && (!slices.Equal(numbers(row), a.Cells[i].Values) || len(judge(of(a, []int{i}), a.Measures, limits)) > 0) {
				t.Fatalf("row %d should not be published", i)
			}
		}
		// Every way to fix some dimensions, written without lines().
		for mask := range 1 << len(a.Dimensions) {
			for i := range a.Cells {
				var hide, show []int
				for j := range a.Cells {
					same := true
					for d := range a.Dimensions {
						same = same && (mask>>d&1 == 0 || a.Cells[i].Labels[d] == a.Cells[j].Labels[d])
					}
					if same && c.Cells[j].Suppressed {
						hide = append(hide, j)
					} else if same {
						show = append(show, j)
					}
				}
				if len(hide) > 0 && len(show) > 0 && len(judge(of(a, hide), a.Measures, limits)) > 0 {
					t.Fatalf("margin %b of cell %d gives its suppressed cells away", mask, i)
				}
			}
		}
		again, err := Check("q-1", a, limits)
		if err != nil || !bytes.Equal(again.Result, c.Result) {
			t.Fatal("the same answer gives other bytes")
		}
	})
}

// Merging cells counts a person once and adds what it adds.
func TestMergedCellsCountPeopleOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := table(t)
		a := r.answer()
		cells := make([]int, len(a.Cells))
		for i := range cells {
			cells[i] = i
		}
		sums, rows := map[int]int64{}, map[int]int64{}
		for _, x := range r.all {
			rows[x.person]++
			if x.amount != nil {
				sums[x.person] += *x.amount
			}
		}
		g := of(a, cells)
		want := 0
		for _, v := range sums {
			if v != 0 {
				want++
			}
		}
		if g.people != len(rows) || len(g.parts[0]) != len(rows) || len(g.parts[2]) != want {
			t.Fatalf("%d people, %d with rows, %d with amounts; want %d, %d, %d", g.people, len(g.parts[0]), len(g.parts[2]), len(rows), len(rows), want)
		}
	})
}

func TestCheckRefusesIncompleteEvidence(t *testing.T) {
	for name, change := range map[string]func(*sandbox.Answer){
		"no measures":            func(a *sandbox.Answer) { a.Measures = nil },
		"no input versions":      func(a *sandbox.Answer) { a.Inputs = nil },
		"too many dimensions":    func(a *sandbox.Answer) { a.Dimensions, a.Cells = make([]string, 9), nil },
		"labels":                 func(a *sandbox.Answer) { a.Cells[0].Labels = nil },
		"values":                 func(a *sandbox.Answer) { a.Cells[0].Values = nil },
		"non-missing":            func(a *sandbox.Answer) { a.Cells[0].NonMissing = nil },
		"contributions":          func(a *sandbox.Answer) { a.Cells[0].Contributions = a.Cells[0].Contributions[:2] },
		"contribution short":     func(a *sandbox.Answer) { a.Cells[0].Contributions[2] = a.Cells[0].Contributions[2][:1] },
		"no rows":                func(a *sandbox.Answer) { a.Cells[0].Rows = 0 },
		"not sorted":             func(a *sandbox.Answer) { a.Cells[0], a.Cells[1] = a.Cells[1], a.Cells[0] },
		"cell twice":             func(a *sandbox.Answer) { a.Cells[1].Labels = a.Cells[0].Labels },
		"outside the population": func(a *sandbox.Answer) { a.Cells[0].Contributors[0] = uint32(len(a.Population)) },
		"person twice":           func(a *sandbox.Answer) { a.Cells[1].Contributors[0] = a.Cells[1].Contributors[1] },
	} {
		a := claims(t, slices.Concat(people(0, 12, "a"), people(20, 12, "b"))).answer()
		change(a)
		if _, err := Check("q-1", a, limits); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Check("q-1", nil, limits); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no answer: %v", err)
	}
}

func TestCheckWithholds(t *testing.T) {
	many := func() *sandbox.Answer {
		var all []row
		for i := range MaxRows + 1 {
			all = append(all, row{i, []string{fmt.Sprintf("%05d", i)}, yuan(1)})
		}
		return claims(t, all).answer()
	}
	raw := claims(t, people(0, 12, "a")).answer()
	raw.Measures = slices.Clone(raw.Measures)
	raw.Measures[2].Func = sandbox.Plain
	for name, a := range map[string]*sandbox.Answer{
		"a raw column":         raw,
		"too many rows":        many(),
		"too many bytes":       claims(t, people(0, 12, strings.Repeat("x", MaxResult))).answer(),
		"an identity number":   claims(t, people(0, 12, "11010519491231002X")).answer(),
		"in a suppressed cell": claims(t, slices.Concat(people(0, 12, "a"), people(20, 3, "１３８００１３８０００"))).answer(),
	} {
		_, err := Check("q-1", a, limits)
		if !errors.Is(err, sandbox.Withheld) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "1949") || strings.Contains(err.Error(), "１３８") {
			t.Errorf("%s: the error repeats the label", name)
		}
	}
}

func TestEvidenceIsRight(t *testing.T) {
	rows := people(0, 10, "a")
	for i := range rows {
		rows[i].amount = yuan(100)
	}
	rows[0].amount, rows[1].amount = yuan(-300), yuan(200)
	rows = append(rows, row{0, []string{"a"}, nil})
	e := claims(t, rows).check("q-1").Cells[0]
	// By amount: 300 and 500 of 1300; by rows: 2 and 3 of 11.
	if e.People != 10 || e.Rows != 11 || e.Top1 != 230 || e.Top2 != 384 || e.Suppressed {
		t.Errorf("%+v", e)
	}
}

func TestEvidencePrintsRedacted(t *testing.T) {
	c := claims(t, people(0, 12, "secret-label")).check("q-1")
	l := newLedger("ledger key of 16")
	e, err := l.Entry("q-1", c)
	if err != nil {
		t.Fatal(err)
	}
	rec := Record{Format: formatRecord, Question: "q-1", Fields: []string{"f"}, Values: []string{"secret-label"}}
	r := Submit(Submission{Question: "q-1"}, c)
	for _, v := range []any{c, l, e, &e, rec, &rec, r, &r} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "secret-label") || !strings.Contains(s, "redacted") {
				t.Errorf("%T prints with %s what it holds", v, verb)
			}
		}
	}
}

// TestNobodyReadsLikeFew: over everything, an answer of nobody and one of a few leave as the same bytes.
func TestNobodyReadsLikeFew(t *testing.T) {
	measures, inputs := []sandbox.Measure{{Name: "n", Func: sandbox.Count}, {Name: "m", Func: sandbox.Mean, Scale: 2}}, []sandbox.InputVersion{{Dataset: "d", Version: 1}}
	few := &sandbox.Answer{Measures: measures, Inputs: inputs, Sources: make([][]string, 2), Population: make([]sandbox.Pseudonym, 2), Cells: []sandbox.Cell{{Labels: []string{}, Values: []int64{2, 5},
		Rows: 2, NonMissing: []int64{2, 2}, Contributors: []uint32{0, 1}, Contributions: [][]int64{{1, 1}, {4, 6}}}}}
	nobody := &sandbox.Answer{Measures: measures, Inputs: inputs, Sources: make([][]string, 2)}
	p := Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}
	a, err := Check("q", few, p)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Check("q", nobody, p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Result, b.Result) || b.Suppressed != 1 || b.Published != 0 {
		t.Errorf("few: %s\nnobody: %s", a.Result, b.Result)
	}
}
