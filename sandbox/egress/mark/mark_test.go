package mark

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
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

var secret = bytes.Repeat([]byte{7}, KeySize)

var scheme = Scheme{Dataset: "claims-2026", Columns: []Column{
	{Name: "area", Quasi: true}, {Name: "age", Type: Number, Step: "1", Quasi: true}, {Name: "sex", Quasi: true},
	{Name: "visited", Type: Date, Step: "1"}, {Name: "amount", Type: Number, Step: "0.10"}, {Name: "paid", Type: Number, Step: "0.10"},
	{Name: "days", Type: Number, Step: "1"}, {Name: "chapter"},
}}

// table draws a de-identified table of claims: eight columns, five of them marked.
func table(r *rand.Rand, n int) (header []string, rows [][]string) {
	for _, c := range scheme.Columns {
		header = append(header, c.Name)
	}
	for range n {
		amount := int(math.Exp(5+1.5*r.NormFloat64()) * 100)
		paid := amount * (40 + r.IntN(50)) / 100
		fen := func(v int) string { return fmt.Sprintf("%d.%02d", v/100, v%100) }
		rows = append(rows, []string{fmt.Sprintf("4403%02d", r.IntN(10)), strconv.Itoa(20 + r.IntN(60)), []string{"1", "2"}[r.IntN(2)],
			time.Date(2025, 1, 1+r.IntN(365), 0, 0, 0, 0, time.UTC).Format(time.DateOnly), fen(amount), fen(paid), strconv.Itoa(r.IntN(30)), string(rune('A' + r.IntN(20)))})
	}
	return header, rows
}

func code(t testing.TB) *Code {
	t.Helper()
	c, err := New(secret, scheme)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func recipients(n int) (out []sandbox.IdentityID) {
	for i := range n {
		out = append(out, sandbox.IdentityID(fmt.Sprintf("partner-%02d", i)))
	}
	return out
}

// marked gives one recipient's copy.
func marked(t testing.TB, c *Code, who sandbox.IdentityID, header []string, rows [][]string) ([][]string, *Marker) {
	t.Helper()
	m, err := c.Marker(who, header)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]string, len(rows))
	for i := range rows {
		out[i] = slices.Clone(rows[i])
		if err := m.Mark(out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out, m
}

// removed is a copy with half of its rows and half of its columns, both in another order, and a share of the values left rounded
// to two steps.
func removed(r *rand.Rand, header []string, rows [][]string, rerounded float64) ([]string, [][]string) {
	keep := r.Perm(len(header))[:len(header)/2]
	var head []string
	for _, k := range keep {
		head = append(head, header[k])
	}
	var out [][]string
	for _, i := range r.Perm(len(rows))[:len(rows)/2] {
		var row []string
		for _, k := range keep {
			v := rows[i][k]
			if c := scheme.Columns[k]; c.Step != "" && r.Float64() < rerounded {
				g, _ := newGrid(c.Type, c.Step)
				x, _, _ := g.read(v)
				v = g.write(floor(x+g.step, 2*g.step), false)
			}
			row = append(row, v)
		}
		out = append(out, row)
	}
	return head, out
}

func trace(t testing.TB, c *Code, header []string, rows [][]string, to []sandbox.IdentityID) Trace {
	t.Helper()
	x, err := c.Tracer(header)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		x.Add(row)
	}
	out, err := x.Trace(to)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTraceAfterRemoval: half of the rows and half of the columns are gone, rows and columns stand in another order, and a tenth of the
// values was rounded again. The recipient is named, and nobody else, in at least 99 of 100 copies.
func TestTraceAfterRemoval(t *testing.T) {
	r := rand.New(rand.NewPCG(20261129, 1))
	c, to := code(t), recipients(24)
	trials := 100
	if testing.Short() {
		trials = 40
	}
	right, fewest := 0, math.MaxInt
	for k := range trials {
		header, rows := table(r, 2000)
		who := to[k%len(to)]
		copied, _ := marked(t, c, who, header, rows)
		head, left := removed(r, header, copied, 0.10)
		x := trace(t, c, head, left, to)
		fewest = min(fewest, x.Positions)
		switch got := x.Accused(); {
		case slices.Equal(got, []sandbox.IdentityID{who}):
			right++
		case len(got) > 0:
			t.Errorf("copy %d: somebody else is accused", k)
		}
	}
	t.Logf("%d of %d named after half the rows and half the columns were removed; fewest positions left %d", right, trials, fewest)
	if float64(right) < 0.99*float64(trials) {
		t.Errorf("%d of %d are named", right, trials)
	}
}

// TestTwoRecipientsTogether: two copies are put together, then halved as above. At least one of the two is named, never anybody else.
func TestTwoRecipientsTogether(t *testing.T) {
	c, to := code(t), recipients(24)
	for name, choose := range map[string]func(r *rand.Rand, row int, a, b string) string{
		"cell by cell": func(r *rand.Rand, _ int, a, b string) string { return []string{a, b}[r.IntN(2)] },
		"row by row":   func(_ *rand.Rand, row int, a, b string) string { return []string{a, b}[row%2] },
		"the larger":   func(_ *rand.Rand, _ int, a, b string) string { return larger(a, b) },
	} {
		r := rand.New(rand.NewPCG(20261129, 2))
		one, both, trials := 0, 0, 40
		for k := range trials {
			header, rows := table(r, 2000)
			a, _ := marked(t, c, to[k%24], header, rows)
			b, _ := marked(t, c, to[(k+1)%24], header, rows)
			for i := range a {
				for j := range a[i] {
					a[i][j] = choose(r, i, a[i][j], b[i][j])
				}
			}
			head, left := removed(r, header, a, 0.10)
			got := trace(t, c, head, left, to).Accused()
			for _, x := range got {
				if x != to[k%24] && x != to[(k+1)%24] {
					t.Errorf("%s, copy %d: an innocent is accused", name, k)
				}
			}
			if len(got) > 0 {
				one++
			}
			if len(got) == 2 {
				both++
			}
		}
		t.Logf("%s: of %d mixed and halved copies %d name one of the two, %d both", name, trials, one, both)
		if float64(one) < 0.9*float64(trials) {
			t.Errorf("%s: %d of %d name one of the two", name, one, trials)
		}
	}
}

func larger(a, b string) string {
	if len(a) > len(b) || len(a) == len(b) && a > b {
		return a
	}
	return b
}

// TestInnocentsAreNotAccused holds the measured distribution of innocents' chances against the proven one: of a copy that somebody
// else had, of data that were never marked, and of data that were all rounded to even steps.
func TestInnocentsAreNotAccused(t *testing.T) {
	r := rand.New(rand.NewPCG(20261129, 3))
	c := code(t)
	header, rows := table(r, 1000)
	copied, _ := marked(t, c, "guilty", header, rows)
	var even [][]string
	for _, row := range rows {
		x := slices.Clone(row)
		for k, col := range scheme.Columns {
			if col.Step != "" {
				g, _ := newGrid(col.Type, col.Step)
				v, _, _ := g.read(x[k])
				x[k] = g.write(floor(v, 2*g.step), false)
			}
		}
		even = append(even, x)
	}
	n := 1500
	if testing.Short() {
		n = 500
	}
	innocents := make([]sandbox.IdentityID, n)
	for i := range innocents {
		innocents[i] = sandbox.IdentityID(fmt.Sprintf("innocent-%d", i))
	}
	for name, data := range map[string][][]string{"another's copy": copied, "never marked": rows, "all even": even} {
		x := trace(t, c, header, data, innocents)
		if got := x.Accused(); len(got) > 0 {
			t.Errorf("%s: %d innocents are accused", name, len(got))
		}
		// The probability is exact: shares lie at their levels within five standard deviations.
		for _, level := range []float64{0.1, 0.01, 0.001} {
			under := 0
			for _, s := range x.Suspects {
				if s.Probability <= level {
					under++
				}
			}
			if sd := math.Sqrt(level * (1 - level) * float64(n)); float64(under) > level*float64(n)+5*sd {
				t.Errorf("%s: %d of %d innocents have a probability of at most %g", name, under, n, level)
			}
		}
		t.Logf("%s: %d innocents over %d positions, least probability %.2g", name, n, x.Positions, x.Suspects[0].Probability)
	}
}

// TestTailIsExact holds the tail against summing over every outcome, and against its known total.
func TestTailIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, m := rapid.IntRange(0, 12).Draw(t, "n"), rapid.IntRange(0, 12).Draw(t, "m")
		x := newTail(n, m)
		a, b := rapid.IntRange(0, n).Draw(t, "a"), rapid.IntRange(0, m).Draw(t, "b")
		choose := func(n, k int) float64 {
			out := 1.0
			for i := range k {
				out = out * float64(n-i) / float64(i+1)
			}
			return out
		}
		want := 0.0
		for i := range n + 1 {
			for k := range m + 1 {
				if x.score(i, k) >= x.score(a, b)-1e-9 {
					want += choose(n, i) * math.Pow(x.q, float64(i)) * math.Pow(1-x.q, float64(n-i)) * choose(m, k) * math.Pow(1-x.q, float64(k)) * math.Pow(x.q, float64(m-k))
				}
			}
		}
		if got := x.atLeast(a, b); got < want*(1-1e-9) || got > want*(1+1e-5)+1e-12 {
			t.Fatalf("n %d m %d a %d b %d: %g, want %g", n, m, a, b, got, want)
		}
	})
	big := newTail(8000, 8000)
	if p := big.atLeast(0, 0); math.Abs(p-1) > 1e-6 {
		t.Errorf("all outcomes come to %g", p)
	}
}

// Marked values are equally valid: within one and a half steps, and right on average.
func TestMarkedValuesStayWithinTheirTolerance(t *testing.T) {
	r := rand.New(rand.NewPCG(20261129, 4))
	c := code(t)
	header, rows := table(r, 5000)
	copied, m := marked(t, c, "partner-01", header, rows)
	if m.Positions() < MinPositions {
		t.Errorf("%d positions", m.Positions())
	}
	for k, col := range scheme.Columns {
		if col.Step == "" {
			for i := range rows {
				if rows[i][k] != copied[i][k] {
					t.Fatalf("column %s is not marked and changes", col.Name)
				}
			}
			continue
		}
		g, _ := newGrid(col.Type, col.Step)
		sum, changed := 0.0, 0
		for i := range rows {
			was, _, _ := g.read(rows[i][k])
			is, exact, ok := g.read(copied[i][k])
			d := is - was
			if !ok || !exact || 2*d > 3*g.step || 2*d < -3*g.step {
				t.Fatalf("column %s moves by %d of step %d", col.Name, d, g.step)
			}
			sum += float64(d) / float64(g.step)
			if d != 0 {
				changed++
			}
		}
		if mean := sum / float64(len(rows)); math.Abs(mean) > 0.35 || changed == 0 { // few codewords decide for few values
			t.Errorf("column %s moves by %.3f steps on average, %d values changed", col.Name, mean, changed)
		}
	}
	again, _ := marked(t, c, "partner-01", header, copied)
	for i := range again {
		if !slices.Equal(again[i], copied[i]) {
			t.Fatal("a marked copy changes when it is marked again")
		}
	}
}

// Rows that agree in every quasi-identifier still do, so that k-anonymity stays.
func TestClassesDoNotSplit(t *testing.T) {
	c := code(t)
	header, rows := table(rand.New(rand.NewPCG(20261129, 5)), 3000)
	copied, _ := marked(t, c, "partner-03", header, rows)
	class := map[string]string{}
	for i := range rows {
		was, is := strings.Join(rows[i][:3], "|"), strings.Join(copied[i][:3], "|")
		if other, ok := class[was]; ok && other != is {
			t.Fatal("a class of equal quasi-identifiers splits")
		}
		class[was] = is
	}
	if len(class) < 100 {
		t.Fatalf("%d classes", len(class))
	}
}

func TestDecimals(t *testing.T) {
	g, ok := newGrid(Number, "0.10")
	if !ok || g.step != 10 || g.scale != 2 {
		t.Fatal(g, ok)
	}
	rapid.Check(t, func(t *rapid.T) {
		m, one := rapid.Int64Range(-1<<40, 1<<40).Draw(t, "m"), rapid.Bool().Draw(t, "one")
		s := g.write(m, one)
		v, exact, ok := g.read(s)
		got, on := g.bit(v)
		f, err := strconv.ParseFloat(s, 64)
		if !ok || !exact || !on || got != one || g.pair(v) != m || err != nil || math.Round(f*100) != float64(v) {
			t.Fatalf("%s: %d %v %v", s, v, got, on)
		}
	})
	for _, s := range []string{"", "-", ".5", "5.", "1e3", "1,000", "９", "99999999999999999999", "1.2x", "--1"} {
		if _, _, ok := g.read(s); ok {
			t.Errorf("%q is read as a number", s)
		}
	}
	for s, want := range map[string]int64{"-0.001": -1, "0.009": 0, "-12.345": -1235, "7": 700} {
		if v, _, ok := g.read(s); !ok || v != want {
			t.Errorf("%q is %d", s, v)
		}
	}
	d, _ := newGrid(Date, "7")
	if v, _, ok := d.read("1969-12-31"); !ok || v != -1 {
		t.Errorf("the day before the epoch is %d", v)
	}
}

func TestSchemesAndTablesThatDoNotFit(t *testing.T) {
	for name, s := range map[string]Scheme{
		"no data set":    {Columns: scheme.Columns},
		"no columns":     {Dataset: "d"},
		"nothing marked": {Dataset: "d", Columns: []Column{{Name: "a"}}},
		"a name twice":   {Dataset: "d", Columns: []Column{{Name: "a", Type: Number, Step: "1"}, {Name: "a"}}},
		"step of zero":   {Dataset: "d", Columns: []Column{{Name: "a", Type: Number, Step: "0"}}},
		"half a day":     {Dataset: "d", Columns: []Column{{Name: "a", Type: Date, Step: "0.5"}}},
		"another type":   {Dataset: "d", Columns: []Column{{Name: "a", Type: "text", Step: "1"}}},
		"type, no step":  {Dataset: "d", Columns: []Column{{Name: "a", Type: Number}, {Name: "b", Type: Number, Step: "1"}}},
	} {
		if _, err := New(secret, s); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(secret[:31], scheme); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a short key: %v", err)
	}
	c := code(t)
	header, rows := table(rand.New(rand.NewPCG(1, 1)), 1)
	if _, err := c.Marker("partner-01", header[1:]); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a column is missing: %v", err)
	}
	if _, err := c.Marker("partner-01", append(header, "age")); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a column twice: %v", err)
	}
	m, err := c.Marker("partner-01", header)
	if err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(rows[0])
	bad[4] = "131-secret"
	if err := m.Mark(bad); !errors.Is(err, sandbox.Invalid) || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "row 1, column amount") {
		t.Errorf("a cell of another type: %v", err)
	}
	if err := m.Mark(rows[0][1:]); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a short row: %v", err)
	}
	empty := make([]string, len(header))
	if err := m.Mark(empty); err != nil || strings.Join(empty, "") != "" {
		t.Errorf("empty cells: %v", err)
	}
	if _, err := c.Tracer([]string{"area", "other"}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no marked column: %v", err)
	}
	x, err := c.Tracer(header)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Trace(recipients(3)); err != nil || got.Positions != 0 || len(got.Accused()) != 0 || got.Suspects[0].Chance != 1 {
		t.Errorf("nothing read: %+v %v", got, err)
	}
	if _, err := x.Trace(nil); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("nobody to hold it against: %v", err)
	}
	if _, err := x.Trace([]sandbox.IdentityID{"a", "a"}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a recipient twice: %v", err)
	}
	if s := fmt.Sprintf("%v %#v", c, c); !strings.Contains(s, "redacted") || strings.Contains(s, "7, 7") {
		t.Error("a key is printed")
	}
}

// Another data set, or another key, has other codes: a mark of one says nothing in the other.
func TestCodesDifferByDatasetAndKey(t *testing.T) {
	header, rows := table(rand.New(rand.NewPCG(1, 2)), 1500)
	copied, _ := marked(t, code(t), "partner-01", header, rows)
	other := scheme
	other.Dataset = "claims-2027"
	for name, c := range map[string]func() (*Code, error){
		"data set": func() (*Code, error) { return New(secret, other) },
		"key":      func() (*Code, error) { return New(bytes.Repeat([]byte{8}, KeySize), scheme) },
	} {
		x, err := c()
		if err != nil {
			t.Fatal(err)
		}
		if got := trace(t, x, header, copied, recipients(24)).Accused(); len(got) > 0 {
			t.Errorf("another %s accuses %d", name, len(got))
		}
	}
}

// A table that says too little accuses nobody.
func TestTooLittleAccusesNobody(t *testing.T) {
	c := code(t)
	header, rows := table(rand.New(rand.NewPCG(1, 3)), 3)
	copied, m := marked(t, c, "partner-01", header, rows)
	if m.Positions() >= MinPositions || len(trace(t, c, header, copied, recipients(24)).Accused()) > 0 {
		t.Error("three rows name a recipient")
	}
}
