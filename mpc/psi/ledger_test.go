package psi

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

var monday = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func open(t testing.TB, dir string, l Limits) *Ledger {
	t.Helper()
	out, err := OpenLedger(nil, dir, listKey, l)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func codes(d sandbox.Decision) (out []string) {
	for _, r := range d.Reasons {
		out = append(out, r.Code)
	}
	return out
}

// TestLedgerSame: where exactly an earlier set passes, one that differs by one element does not, though it has the same size and sketch; another kind
// is compared with its kind.
func TestLedgerSame(t *testing.T) {
	l := open(t, t.TempDir(), Limits{Set: 4000, Jobs: 9, Elements: 90000, Window: time.Hour, Similarity: 0.9, Same: true})
	sketch := func(from, to int) *Sketch {
		t.Helper()
		k, err := l.Sketch(numbers(from, to))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	from := 0
	for ; !slices.Equal(sketch(from, from+3000).lowest, sketch(from+1, from+3001).lowest); from++ {
		if from == 50 { // four in nine are so
			t.Fatal("no two sets of one sketch")
		}
	}
	for i, c := range []struct {
		subject  Subject
		from, to int
		want     string
	}{
		{OfSet, from, from + 3000, ""},
		{OfSet, from, from + 3000, ""},
		{OfSet, from + 1, from + 3001, "psi.near-repeat"},
		{OfSet, from, from + 2999, "psi.near-repeat"},
		{OfRows, from, from + 2999, ""},
		{OfRows, from, from + 3000, "psi.near-repeat"},
	} {
		d, err := l.Admit("bank", c.subject, sketch(c.from, c.to), monday)
		if got := strings.Join(codes(d), " "); err != nil || got != c.want {
			t.Errorf("case %d: %q, not %q: %v", i, got, c.want, err)
		}
	}
}

func TestLedger(t *testing.T) {
	dir := t.TempDir()
	limits := Limits{Set: 50, Jobs: 2, Elements: 70, Window: 24 * time.Hour, Similarity: 0.9}
	l := open(t, dir, limits)
	ask := func(partner sandbox.PartyID, s Set, at time.Time) string {
		t.Helper()
		k, err := l.Sketch(s)
		if err != nil {
			t.Fatal(err)
		}
		would := l.Would(partner, OfSet, k, at)
		d, err := l.Admit(partner, OfSet, k, at)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(codes(would), " ") != strings.Join(codes(d), " ") || would.Allow != d.Allow {
			t.Error("what would be decided is decided")
		}
		if d.Allow == (len(d.Reasons) > 0) {
			t.Fatal("a decision allows or has reasons")
		}
		for _, r := range d.Reasons {
			if r.Change == "" || r.Rule == "" {
				t.Error("a refusal names its rule and the smallest change")
			}
		}
		return strings.Join(codes(d), " ")
	}
	later := monday
	for i, c := range []struct {
		partner sandbox.PartyID
		set     Set
		wait    time.Duration
		want    string
	}{
		{"bank", numbers(0, 40), 0, ""},
		{"bank", numbers(0, 40), 0, "psi.elements-quota psi.near-repeat"},
		{"insurer", numbers(0, 40), 0, "psi.near-repeat"}, // whoever asks
		{"insurer", numbers(0, 39), 0, "psi.near-repeat"}, // one person less
		{"insurer", numbers(0, 42), 0, "psi.near-repeat"}, // two more
		{"insurer", numbers(20, 60), 0, ""},
		{"bank", numbers(100, 151), 0, "psi.set-too-large psi.elements-quota"},
		{"bank", numbers(100, 130), 0, ""},
		{"bank", set("x"), 0, "psi.jobs-quota psi.elements-quota"},
		{"bank", set("x"), 24 * time.Hour, ""},
		{"bank", Set{}, 0, ""},
		{"insurer", Set{}, 0, "psi.near-repeat"},
	} {
		later = later.Add(c.wait)
		if got := ask(c.partner, c.set, later); got != c.want {
			t.Errorf("case %d: %q, not %q", i, got, c.want)
		}
	}
	head := l.Head()
	l = open(t, dir, limits) // after a restart
	if l.Head() != head {
		t.Error("the folder gives another head")
	}
	if got := ask("insurer", numbers(101, 130), later); got != "psi.near-repeat" {
		t.Errorf("after a restart: %q", got)
	}
	k, _ := l.Sketch(set("y"))
	if _, err := l.Admit("bank", OfSet, k, monday); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a clock that fell back: %v", err)
	}
	if _, err := l.Admit("bank", "people", k, later); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a subject that is none: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 6 {
		t.Fatalf("five entries and the check of the key, not %d: %v", len(files), err)
	}
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), "id-") {
			t.Error("an element stands in the ledger")
		}
	}
	// A file that is gone, and one that was changed.
	b, _ := os.ReadFile(files[1])
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLedger(nil, dir, listKey, limits); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a gap: %v", err)
	}
	for _, bad := range []string{"", "{", string(b[:len(b)-1]), `{"lowest":[2,1]}`, `{"size":-1}`} {
		if err := os.WriteFile(files[1], []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLedger(nil, dir, listKey, limits); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("a changed entry: %v", err)
		}
	}
	for _, bad := range []Limits{{}, {Similarity: 1.1}, {Similarity: 1, Window: -1}} {
		if _, err := OpenLedger(nil, t.TempDir(), listKey, bad); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("limits that are none: %v", err)
		}
	}
	if _, err := OpenLedger(nil, t.TempDir(), nil, limits); err == nil {
		t.Error("no key")
	}
}

// TestSimilarity: exact for small sets, within six standard errors of the plain index for large ones.
func TestSimilarity(t *testing.T) {
	l := open(t, t.TempDir(), Limits{Similarity: 1})
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.SampledFrom([]int{1, 10, 1000, 1024, 1025, 5000}).Draw(r, "n")
		m := rapid.IntRange(0, n).Draw(r, "shared")
		x, y := numbers(0, n), numbers(n-m, 2*n-m)
		a, _ := l.Sketch(x)
		b, _ := l.Sketch(y)
		want := float64(m) / float64(2*n-m)
		tolerance := 1e-9
		if n > sketchSize {
			tolerance = 6 * 0.5 / math.Sqrt(sketchSize)
		}
		if got := a.Similarity(b); math.Abs(got-want) > tolerance || got != b.Similarity(a) || a.Similarity(a) != 1 {
			r.Fatalf("%v, not %v", got, want)
		}
	})
}

// TestNearRepeatedIntersectionIsWithheld: the judging side sees that a second job would tell one person apart.
func TestNearRepeatedIntersectionIsWithheld(t *testing.T) {
	l := open(t, t.TempDir(), Limits{Set: 1000, Similarity: 0.9})
	y := numbers(0, 40)
	clock := func() time.Time { return monday }
	for i, c := range []struct {
		x        Set
		withheld bool
	}{{numbers(0, 30), false}, {numbers(0, 29), true}, {numbers(0, 31), true}, {numbers(10, 40), false}} {
		p := planFor(IntersectionBoth, c.x, y)
		p.Threshold = 5
		r := join(t, p, c.x, y, func(cs *[2]Config) { cs[1].Judge = l.Judge("bank", y, clock) })
		for side := range r {
			if r[side].Withheld != c.withheld || (r[side].Members == nil) != c.withheld {
				t.Errorf("job %d, %v: withheld %v", i, Side(side), r[side].Withheld)
			}
		}
	}
	if _, err := l.Judge("bank", y, clock)(Finding{Cardinality: 3}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a judge that sees no members: %v", err)
	}
	if text := fmt.Sprintf("%v %+v", l, l); text != "psi ledger(redacted) psi ledger(redacted)" {
		t.Error("a ledger prints itself")
	}
}

// TestDiffer: sets that differ in at most as many elements as the limit on either side are near, whatever their size.
func TestDiffer(t *testing.T) {
	l := open(t, t.TempDir(), Limits{Set: 10_000, Jobs: 100, Elements: 1 << 40, Window: time.Hour, Similarity: 1, Differ: 10})
	at := monday
	for _, c := range []struct {
		from, to int
		ok       bool
	}{
		{0, 30, true}, {9, 39, false}, {10, 40, false}, {11, 41, true}, {100, 1100, true}, {109, 1109, false}, {121, 1121, true}, {2000, 7000, true}, {2050, 7050, false}, {3000, 8000, true},
	} {
		at = at.Add(time.Second)
		s, err := l.Sketch(numbers(c.from, c.to))
		if err != nil {
			t.Fatal(err)
		}
		d, err := l.Admit("bank", OfSet, s, at)
		if err != nil || d.Allow != c.ok {
			t.Errorf("%d to %d: %v %v", c.from, c.to, codes(d), err)
		}
	}
}

// TestLedgerKey: under another key than its own a ledger does not open; one that is older than the check takes a key with its next entry.
func TestLedgerKey(t *testing.T) {
	limits := Limits{Set: 4000, Jobs: 9, Elements: 90000, Window: time.Hour, Similarity: 0.9}
	other := append([]byte{listKey[0] ^ 1}, listKey[1:]...)
	dir := t.TempDir()
	under := func(key []byte, want error) *Ledger {
		t.Helper()
		l, err := OpenLedger(nil, dir, key, limits)
		if !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), "key") {
			t.Fatal(err)
		}
		return l
	}
	admit := func(l *Ledger, from int) {
		t.Helper()
		s, err := l.Sketch(numbers(from, from+100))
		if err != nil {
			t.Fatal(err)
		}
		if d, err := l.Admit("bank", OfSet, s, monday); err != nil || !d.Allow {
			t.Fatal(err)
		}
	}
	under(other, nil) // which is no entry: the key is not the ledger's yet
	admit(under(listKey, nil), 0)
	under(other, sandbox.Denied)
	if n, at, keyed := under(listKey, nil).Extent(); n != 1 || !at.Equal(monday) || !keyed {
		t.Errorf("%d entries, the newest of %s, %t", n, at, keyed)
	}
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	if _, _, keyed := under(other, nil).Extent(); keyed {
		t.Error("known without a check")
	}
	admit(under(listKey, nil), 500)
	under(other, sandbox.Denied)
	b, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil || strings.Contains(string(b), string(listKey)) {
		t.Error("the check holds the key", err)
	}
}
