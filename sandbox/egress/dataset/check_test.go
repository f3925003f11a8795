package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/mark"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

func terms() Terms {
	return Terms{Question: "q-1", Recipient: "id-operator", Grade: sandbox.Grade2, KAnon: true, K: 10, L: 2, Columns: []Column{
		{Name: "area", Role: scan.Label, Quasi: true}, {Name: "amount", Role: scan.Amount, Sensitive: true}, {Name: "who", Role: scan.Token}}}
}

// table has two classes of n people each, one row a person.
func table(n int) (rows [][]string, who []sandbox.Pseudonym) {
	for i := range 2 * n {
		rows = append(rows, []string{[]string{"4403", "4401"}[i%2], fmt.Sprintf("%d.00", 10*i), fmt.Sprintf("token%04d", i)})
		who = append(who, sandbox.Pseudonym{byte(i), byte(i >> 8), 1})
	}
	return rows, who
}

func item(t testing.TB, c *Checked, id string) egress.ItemResult {
	t.Helper()
	i := slices.IndexFunc(c.Made.Items, func(x egress.ItemResult) bool { return x.ID == id })
	if i < 0 {
		t.Fatalf("no item %s", id)
	}
	return c.Made.Items[i]
}

func check(t testing.TB, x Terms, rows [][]string, who []sandbox.Pseudonym) *Checked {
	t.Helper()
	c, err := Check(x, rows, who)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func failed(c *Checked) (out []string) {
	for _, x := range c.Made.Items {
		if !x.Pass {
			out = append(out, x.ID)
		}
	}
	return out
}

func TestCheckHoldsEachItem(t *testing.T) {
	rows, who := table(10)
	if c := check(t, terms(), rows, who); len(failed(c)) > 0 {
		t.Fatalf("honest rows fail %v", failed(c))
	}
	for name, x := range map[string]struct {
		change func(*Terms, [][]string, []sandbox.Pseudonym)
		want   []string
	}{
		"a class of nine people":  {func(_ *Terms, r [][]string, _ []sandbox.Pseudonym) { r[0][0] = "4401" }, []string{"k"}},
		"ten rows of nine people": {func(_ *Terms, _ [][]string, w []sandbox.Pseudonym) { w[0] = w[2] }, []string{"k"}},
		"one amount in a class": {func(_ *Terms, r [][]string, _ []sandbox.Pseudonym) {
			for i := 0; i < len(r); i += 2 {
				r[i][1] = "7.00"
			}
		}, []string{"k"}},
		"public data of few": {func(x *Terms, r [][]string, _ []sandbox.Pseudonym) {
			x.KAnon, x.Grade, r[0][0] = false, sandbox.Grade1, "4401"
		}, nil},
		"grade 4":                                 {func(x *Terms, _ [][]string, _ []sandbox.Pseudonym) { x.Grade = sandbox.Grade4 }, []string{"grade"}},
		"grade 3 without a mark":                  {func(x *Terms, _ [][]string, _ []sandbox.Pseudonym) { x.Grade, x.Marked = sandbox.Grade3, true }, []string{"mark"}},
		"more rows than the scenario's":           {func(x *Terms, _ [][]string, _ []sandbox.Pseudonym) { x.Rows = 19 }, []string{"caps"}},
		"more bytes than the scenario's":          {func(x *Terms, _ [][]string, _ []sandbox.Pseudonym) { x.Bytes = 300 }, []string{"caps"}},
		"a scenario's cap above the gate's own":   {func(x *Terms, _ [][]string, _ []sandbox.Pseudonym) { x.Rows = 1 << 30 }, nil},
		"labels that read the same are one class": {func(_ *Terms, r [][]string, _ []sandbox.Pseudonym) { r[0][0] = " 44\u200b03 " }, nil},
	} {
		rows, who := table(10)
		y := terms()
		x.change(&y, rows, who)
		if c := check(t, y, rows, who); !slices.Equal(failed(c), x.want) {
			t.Errorf("%s: %v fail, want %v", name, failed(c), x.want)
		}
	}
	none := check(t, terms(), nil, nil)
	if !slices.Equal(failed(none), []string{"k"}) {
		t.Errorf("no rows: %v", failed(none))
	}
	many, who := table(2501)
	if c := check(t, terms(), many, who); !slices.Contains(failed(c), "caps") || !strings.Contains(item(t, c, "caps").EN, "leave out 2 rows") {
		t.Errorf("5,002 rows: %v", item(t, c, "caps"))
	}
	for name, x := range map[string]func(*Terms, *[][]string){"narrow": func(_ *Terms, r *[][]string) { (*r)[0] = (*r)[0][:1] }, "one k": func(x *Terms, _ *[][]string) { x.K = 1 }, "no l": func(x *Terms, _ *[][]string) { x.L = 0 },
		"a formula": func(_ *Terms, r *[][]string) { (*r)[0][0] = "=1+1" }} {
		rows, who := table(10)
		y := terms()
		x(&y, &rows)
		if _, err := Check(y, rows, who); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What leaves follows from the rows and the recipient alone: not from their order, and tells no person of the source apart.
func TestCheckIsCanonical(t *testing.T) {
	rows, who := table(12)
	back, same := slices.Clone(rows), slices.Clone(who)
	for i := range back {
		back[i] = slices.Clone(back[i])
	}
	slices.Reverse(back)
	slices.Reverse(same)
	if a, b := check(t, terms(), rows, who), check(t, terms(), back, same); !bytes.Equal(a.Made.Result, b.Made.Result) {
		t.Error("the order of the source shows")
	}
}

func marking(t testing.TB) (*mark.Code, Terms) {
	t.Helper()
	x := terms()
	x.Grade, x.Marked = sandbox.Grade3, true
	x.Columns[1].Quasi, x.Columns[1].Sensitive = false, true
	code, err := mark.New(bytes.Repeat([]byte{3}, mark.KeySize), mark.Scheme{Dataset: "ds", Columns: []mark.Column{{Name: "area", Quasi: true}, {Name: "amount", Type: mark.Number, Step: "10"}}})
	if err != nil {
		t.Fatal(err)
	}
	x.Code = code
	return code, x
}

// The recipient's copy is marked and names them after half of its rows are gone; few rows carry too little, and do not leave.
func TestCheckMarks(t *testing.T) {
	code, x := marking(t)
	rows, who := table(20)
	if c := check(t, x, rows, who); !slices.Equal(failed(c), []string{"mark"}) || !strings.Contains(item(t, c, "mark").EN, "at least 1000") {
		t.Errorf("40 rows: %v", failed(c))
	}
	rows, who = table(1200)
	c := check(t, x, rows, who)
	if len(failed(c)) > 0 {
		t.Fatal(failed(c))
	}
	d, err := egress.DecodeDataset(c.Made.Result)
	if err != nil {
		t.Fatal(err)
	}
	header, out := d.Table()
	tr, err := code.Tracer(header)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(out); i += 2 {
		tr.Add(out[i])
	}
	got, err := tr.Trace([]sandbox.IdentityID{"id-operator", "id-partner", "id-other"})
	if err != nil || !slices.Equal(got.Accused(), []sandbox.IdentityID{"id-operator"}) {
		t.Errorf("%v %v", got.Accused(), err)
	}
	rows, who = table(1200)
	x.Recipient = "id-partner"
	if other := check(t, x, rows, who); bytes.Equal(other.Made.Result, c.Made.Result) {
		t.Error("two recipients have the same copy")
	}
	rows, _ = table(1200)
	rows[0][1] = "a lot"
	if _, err := Check(x, rows, who); !errors.Is(err, sandbox.Invalid) || strings.Contains(err.Error(), "a lot") {
		t.Errorf("a marked cell of another type: %v", err)
	}
}

// Sensitive values that stand together as in the source are refused; such as are coarsened are not.
func TestCheckFindsRunsOfTheSource(t *testing.T) {
	x := terms()
	x.Columns = append(x.Columns[:2:2], Column{Name: "day", Role: scan.Label, Sensitive: true}, Column{Name: "code", Role: scan.Label, Sensitive: true})
	x.Columns[1].Role = scan.Amount
	source, err := scan.NewShingles(bytes.Repeat([]byte{1}, 32), []string{"amount", "day", "code"}, 1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	x.Source = source
	make := func(coarse bool) (rows [][]string, who []sandbox.Pseudonym) {
		for i := range 40 {
			raw := []string{fmt.Sprint(i * 7), fmt.Sprintf("2025-01-%02d", 1+i%28), fmt.Sprintf("J%02d", i%9)}
			source.Add(raw)
			row := append([]string{[]string{"4403", "4401"}[i%2]}, raw...)
			if coarse {
				row[1] = fmt.Sprint(i / 10 * 10)
			}
			rows, who = append(rows, row), append(who, sandbox.Pseudonym{byte(i)})
		}
		return rows, who
	}
	rows, who := make(false)
	if c := check(t, x, rows, who); !slices.Contains(failed(c), "rows") {
		t.Errorf("rows of the source pass: %v", failed(c))
	}
	rows, who = make(true)
	if c := check(t, x, rows, who); slices.Contains(failed(c), "rows") {
		t.Errorf("coarsened rows fail: %s", item(t, c, "rows").EN)
	}
}

// A second copy without a few of the people isolates them in the ledger; the same people again do not, whoever's copy it is.
func TestCopiesInTheLedger(t *testing.T) {
	l, err := egress.NewLedger(bytes.Repeat([]byte{9}, 16))
	if err != nil {
		t.Fatal(err)
	}
	entry := func(q sandbox.QuestionID, rows [][]string, who []sandbox.Pseudonym) egress.Entry {
		a := check(t, terms(), rows, who).Answer(sandbox.InputVersion{Dataset: "ds", Version: 1})
		e, err := l.Left(q, a, make([]bool, len(a.Cells)))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	p := egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}
	rows, who := table(20)
	first := entry("q-1", rows, who)
	rows, who = table(20)
	if f, hit := egress.Compare(entry("q-2", rows, who), []egress.Entry{first}, p); hit {
		t.Errorf("the same people: %s", f.Rule)
	}
	rows, who = table(20)
	if f, hit := egress.Compare(entry("q-3", rows[6:], who[6:]), []egress.Entry{first}, p); !hit || f.People == 0 {
		t.Error("three people fewer in each class are isolated by nobody")
	}
	rows, who = table(20)
	if _, hit := egress.Compare(entry("q-4", rows[:20], who[:20]), []egress.Entry{first}, p); hit {
		t.Error("ten of twenty people in each class are refused")
	}
}

// No copy, whatever its form, shows rows where it is printed.
func TestNothingPrintsRows(t *testing.T) {
	rows, who := table(10)
	c := check(t, terms(), rows, who)
	for _, s := range []string{fmt.Sprintf("%v", c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c)} {
		if strings.Contains(s, "4403") || strings.Contains(s, "token0") {
			t.Error("rows are printed")
		}
	}
	for _, x := range c.Made.Items {
		if strings.Contains(x.ZH+x.EN, "4403") || strings.Contains(x.ZH+x.EN, "token0") {
			t.Errorf("item %s names a value", x.ID)
		}
	}
}
