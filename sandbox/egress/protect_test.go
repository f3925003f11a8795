package egress

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/noise"
)

// countsOf keeps the counts of an answer.
func countsOf(a *sandbox.Answer) *sandbox.Answer {
	a.Measures, a.Sources = a.Measures[:2], a.Sources[:2]
	for i := range a.Cells {
		c := &a.Cells[i]
		c.Values, c.NonMissing, c.Contributions = c.Values[:2], c.NonMissing[:2], c.Contributions[:2]
	}
	return a
}

func cellKeys(t testing.TB) *noise.CellKeys {
	t.Helper()
	table, err := noise.NewTable(4, 6)
	if err != nil {
		t.Fatal(err)
	}
	k, err := noise.NewCellKeys([]byte("key of the cells"), table)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// streets has a group too small, and one whose people have two rows each.
func streets() []row {
	return slices.Concat(people(0, 23, "甲", "f"), people(100, 38, "甲", "m"), people(200, 4, "乙", "f"), people(300, 41, "乙", "m"), people(300, 41, "乙", "m"), people(400, 52, "丙", "m"))
}

func TestRound(t *testing.T) {
	all := slices.DeleteFunc(streets(), func(x row) bool { return x.person >= 200 && x.person < 300 })
	a := countsOf(claims(t, all).answer())
	a.Shown = sandbox.Shown{AtLeast: []sandbox.Least{{Measure: "人数", Value: 25}}}
	c, err := Check("q-1", a, limits)
	if err != nil {
		t.Fatal(err)
	}
	exact, suppressed := bytes.Clone(c.Result), c.Suppressed
	if err := c.Round("q-1", 5); err != nil {
		t.Fatal(err)
	}
	r, err := DecodeResult(c.Result)
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, row := range r.Rows {
		if row.Suppressed {
			continue
		}
		shown++
		for _, v := range numbers(row) {
			if v%5 != 0 {
				t.Errorf("%v leaves %d", row.Labels, v)
			}
		}
	}
	// 23 people are 25 rounded: what is shown follows from what leaves.
	if n := r.Measures[1].Noise; n.Kind != sandbox.NoiseRounded || n.Base != 5 || n.Deviation != 1415 || suppressed != c.Suppressed || shown != 4 {
		t.Errorf("%+v, %d suppressed, %d shown", n, c.Suppressed, shown)
	}
	if bytes.Equal(exact, c.Result) || !bytes.Equal(Digest(c.Result), c.digest) || Submit(Submission{Question: "q-1"}, c).State != InReview {
		t.Error("the result is not the one that goes to review")
	}
	whole := claims(t, streets()).check("q-2")
	if err := whole.Round("q-2", 5); !errors.Is(err, sandbox.Withheld) {
		t.Errorf("a sum beside rounded counts: %v", err)
	}
	if err := c.Round("q-1", 1); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
}

// TestPerturbAverages is the averaging attack: a thousand forms of one question give one noise, and their mean is no better than one.
func TestPerturbAverages(t *testing.T) {
	k := cellKeys(t)
	rows := streets()
	draw := rand.New(rand.NewSource(6))
	var first []string
	off := 0
	for form := range 1000 {
		draw.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		a := countsOf(claims(t, rows).answer())
		q := sandbox.QuestionID(fmt.Sprintf("q-%d", form)) // another asker, another name
		c, err := Check(q, a, limits)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Perturb(q, k); err != nil {
			t.Fatal(err)
		}
		r, err := DecodeResult(c.Result)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, row := range r.Rows {
			got = append(got, fmt.Sprint(row.Labels, row.Suppressed))
			if !row.Suppressed {
				n := numbers(row)
				got = append(got, fmt.Sprint(n))
				if n[0] != a.Cells[i].Values[0] {
					off++
				}
			}
		}
		if first == nil {
			first = got
		} else if !slices.Equal(first, got) {
			t.Fatalf("form %d gives other noise", form)
		}
	}
	if off == 0 {
		t.Error("no count was moved")
	}
	// The same cell in a question with another grouping: everything of one street.
	part := slices.DeleteFunc(slices.Clone(rows), func(x row) bool { return x.labels[0] != "丙" })
	for i := range part {
		part[i].labels = []string{}
	}
	c, err := Check("q-x", countsOf(claims(t, part).answer()), limits)
	if err == nil {
		err = c.Perturb("q-x", k)
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := DecodeResult(c.Result)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(numbers(r.Rows[0])); !slices.Contains(first, got) {
		t.Errorf("alone the street has %s", got)
	}
}

var spending = sandbox.Privacy{Epsilon: 1_000_000, Delta: 1_000_000}

func private() (Private, *Drawn) {
	return Private{Release: spending, Cells: 1, Bounds: []int64{2, 1, 2000}, Of: []Output{{0, 0}, {1, 0}, {2, 0}}, Order: []int{0, 1}, Key: []byte("key of the bounds")}, &Drawn{Values: make([][][]int64, 3)}
}

func TestCheckPrivate(t *testing.T) {
	r, drawn := private()
	rows := slices.Concat(people(0, 400, "甲", "f"), people(1000, 300, "乙", "m"), people(2000, 9, "丙", "m"), people(3000, 1, "丁", "m"))
	c, err := CheckPrivate("q-1", claims(t, rows).answer(), limits, r, drawn)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeResult(c.Result)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 2 || strings.Contains(string(c.Result), "丁") || c.Suppressed != 2 || c.Published != 2 || !slices.Equal(c.Rules, []string{RuleSelection}) {
		t.Fatalf("%d rows, %d suppressed, %v", len(got.Rows), c.Suppressed, c.Rules)
	}
	for m, bound := range []int64{2, 1, 2000} {
		n := got.Measures[m].Noise
		if n.Kind != sandbox.NoiseDP || n.Release != spending || n.Bound != bound || n.Deviation < 1000*bound {
			t.Errorf("%+v", n)
		}
		exact := []int64{300, 300, 300 * 2000}[m] // 乙 sorts first; amounts above the bound are clipped to it
		if m == 2 {
			exact = 0
			for i := range 300 {
				exact += min(1000+10*int64(i), 2000)
			}
		}
		if off := numbers(got.Rows[0])[m] - exact; got.Rows[0].Labels[0] != "乙" || off > 8*n.Deviation/1000 || -off > 8*n.Deviation/1000 {
			t.Errorf("measure %d is off by %d at a deviation of %d", m, off, n.Deviation/1000)
		}
	}
	// The same in another form: labels the other way round, measures in another order, other names. Nothing is drawn again.
	swapped := slices.Clone(rows)
	for i := range swapped {
		swapped[i].labels = []string{rows[i].labels[1], rows[i].labels[0]}
	}
	a := claims(t, swapped).answer()
	a.Measures = slices.Clone(a.Measures)
	a.Measures[0], a.Measures[1] = a.Measures[1], a.Measures[0]
	for i := range a.Cells {
		x := &a.Cells[i]
		x.Values[0], x.Values[1] = x.Values[1], x.Values[0]
		x.Contributions[0], x.Contributions[1] = x.Contributions[1], x.Contributions[0]
	}
	r2, _ := private()
	r2.Order, r2.Of, r2.Bounds = []int{1, 0}, []Output{{1, 0}, {0, 0}, {2, 0}}, []int64{1, 2, 2000}
	again, err := CheckPrivate("q-2", a, limits, r2, drawn)
	if err != nil {
		t.Fatal(err)
	}
	other, err := DecodeResult(again.Result)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range got.Rows {
		x, y := numbers(row), numbers(other.Rows[slices.IndexFunc(other.Rows, func(o ResultRow) bool { return o.Labels[1] == row.Labels[0] })])
		if x[0] != y[1] || x[1] != y[0] || x[2] != y[2] {
			t.Errorf("row %d: %v and %v", i, x, y)
		}
	}
	// The ledger records the groups that left, with whom they are of.
	l, err := NewLedger([]byte("key of the ledger, of 32 bytes.."))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := l.Entry("q-1", c); err != nil || len(e.Cells) != 2 {
		t.Error(err, len(e.Cells))
	}
	if Submit(Submission{Question: "q-1"}, c).State != InReview {
		t.Error("not submitted")
	}
	for name, f := range map[string]func(r *Private, d *Drawn){
		"no bound":       func(r *Private, _ *Drawn) { r.Bounds = r.Bounds[:2] },
		"bound of zero":  func(r *Private, _ *Drawn) { r.Bounds = []int64{1, 1, 0} },
		"no order":       func(r *Private, _ *Drawn) { r.Order = []int{0, 0} },
		"no cells":       func(r *Private, _ *Drawn) { r.Cells = 0 },
		"no release":     func(r *Private, _ *Drawn) { r.Of = []Output{{0, 0}, {1, 0}, {3, 0}} },
		"no ε":           func(r *Private, _ *Drawn) { r.Release.Epsilon = 0 },
		"without output": func(_ *Private, d *Drawn) { d.Values = make([][][]int64, 4) },
	} {
		r, d := private()
		f(&r, d)
		if _, err := CheckPrivate("q-1", claims(t, rows).answer(), limits, r, d); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	drawn.Groups = append(drawn.Groups, []string{"戊", "f"})
	if _, err := CheckPrivate("q-1", claims(t, rows).answer(), limits, r, drawn); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a group that is not there: %v", err)
	}
}

// TestGateCanary measures ε of the whole gate on two answers that differ by one person of the largest amounts: by the one value, and by
// whether a group leaves that this person makes one of 18 instead of 17.
func TestGateCanary(t *testing.T) {
	const n = 3000
	without := slices.Concat(people(0, 60, "甲", "f"), people(1000, 21, "乙", "m"))
	with := slices.Concat(without, []row{{5000, []string{"乙", "m"}, yuan(2000)}})
	r, _ := private()
	seen := func(rows []row) (left int) {
		a := claims(t, rows).answer()
		for range n {
			_, drawn := private()
			c, err := CheckPrivate("q-1", a, limits, r, drawn)
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range drawn.Groups {
				if l[0] == "乙" && drawn.Values[1][i][0] > 21 {
					left++
				}
			}
			if c.Published != len(drawn.Groups) {
				t.Fatal("what is published was not drawn")
			}
		}
		return left
	}
	a, b := seen(without), seen(with)
	// A normal approximation suffices for the lower bound of two binomials of this size; its miss is 2.5 % a side.
	side := func(k int, z float64) float64 {
		p := float64(k) / n
		return p + z*math.Sqrt(p*(1-p)/n)
	}
	low := math.Log(side(b, -1.96) / side(a, 1.96))
	t.Logf("the event is seen %d and %d times of %d: ε is at least %.3f with 95 %% confidence; declared for the two releases it follows from: 2", a, b, n, low)
	if low > 2 || a == 0 || b <= a {
		t.Errorf("ε at least %.3f", low)
	}
}
