package join

import (
	"context"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// seen is what a run looks like from outside the shares.
type seen struct {
	trace  [sm.Size]byte
	sent   int64
	rounds int
}

// three answers a question at three parties over memory and gives each one's cells.
func three(t testing.TB, q Question, tables [3][]Row) (out [3][]Cell, views [3]seen, errs [3]error) {
	t.Helper()
	g := wiretest.NewGroup(t, 3)
	var ts []wire.Transport
	for _, m := range wire.NewMemory(3) {
		ts = append(ts, m)
	}
	var secrets [3][]byte
	for i := range secrets {
		d := sm.Sum([]byte{byte(i)})
		secrets[i] = d[:]
	}
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			m, err := wire.Open(context.Background(), ts[i], wire.Config{Self: i, Peers: g.Peers, Key: g.Keys[i], Job: g.Job, Rand: rand.Reader, Deadline: time.Now().Add(5 * time.Minute)})
			if err != nil {
				errs[i] = err
				return
			}
			defer m.Close()
			e, o, err := share.New(share.Config{Link: m, Adversary: share.SemiHonest, Generator: share.AESGenerator, Previous: secrets[i], Next: secrets[(i+1)%3]})
			if err != nil {
				errs[i] = err
				return
			}
			cols, err := Run(e, q, i, tables[i])
			if err != nil {
				errs[i] = err
				return
			}
			views[i] = seen{e.TraceDigest(), e.Sent(), e.Rounds()}
			for _, s := range e.Trace() {
				if slices.ContainsFunc(share.Leaks(), func(l share.Leakage) bool { return l.Op == s.Op }) && !slices.Contains(Operators(), s.Op) {
					t.Errorf("%s ran and is not listed", s.Op)
				}
			}
			opened := map[string][]uint64{}
			for _, name := range []string{OutShown, OutPeople, OutValues} {
				if v, ok := cols[name]; ok {
					if opened[name], errs[i] = o.Open(v); errs[i] != nil {
						return
					}
				}
			}
			out[i], errs[i] = q.Read(opened)
		})
	}
	wg.Wait()
	return out, views, errs
}

// mustEqual holds the protocol to the plain twin.
func mustEqual(t testing.TB, q Question, tables [3][]Row) ([]Cell, [3]seen) {
	t.Helper()
	out, views, errs := three(t, q, tables)
	want, err := q.Plain(tables[q.Left.Owner], tables[q.Right.Owner])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if errs[i] != nil {
			t.Fatalf("party %d: %v", i, errs[i])
		}
		if !reflect.DeepEqual(out[i], want) {
			t.Fatalf("party %d has other cells than the plain twin", i)
		}
	}
	return want, views
}

var rules = Rules{MinSubjects: 3, DominanceN: 2, DominanceK: 90, PPercent: 10}

// TestTwin: the protocol's cells are those of the plain join: people once in a cell, values of either table, cells by every rule.
func TestTwin(t *testing.T) {
	shown, hidden := 0, 0
	sandboxtest.Until(t, func() bool { return shown > 0 && hidden > 0 }, func(r *rapid.T) {
		q := Question{Version: 1, Left: Table{Owner: 0, Rows: 60, Groups: []string{"a", "b"}[:rapid.IntRange(1, 2).Draw(r, "groups")]}, Right: Table{Owner: 2, Rows: 24, Groups: []string{"x", "y"}[:rapid.IntRange(1, 2).Draw(r, "kinds")]},
			Rules: Rules{MinSubjects: 3, DominanceN: rapid.IntRange(1, 2).Draw(r, "n"), DominanceK: rapid.IntRange(50, 99).Draw(r, "k"), PPercent: rapid.IntRange(1, 40).Draw(r, "p")}}
		if rapid.Bool().Draw(r, "keep") {
			q.Unmatched = "none"
		}
		all := []Measure{{"loans", Count, Left}, {"repaid", Amount, Left}, {"defaulted", Flag, Left}, {"support", Amount, Right}, {"urgent", Flag, Right}}
		for _, m := range all {
			if rapid.IntRange(0, 2).Draw(r, m.Name) == 0 {
				q.Measures = append(q.Measures, m)
			}
		}
		value := func(k Kind) int64 {
			if k == Flag {
				return rapid.Int64Range(0, 1).Draw(r, "flag")
			}
			return rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, MaxAmount/30)).Draw(r, "amount")
		}
		row := func(side Side, groups int, subject uint64) Row {
			x := Row{Group: rapid.IntRange(0, groups-1).Draw(r, "group"), Subject: subject << 40 >> 3}
			for _, m := range q.Measures {
				if m.Side == side && m.Kind != Count {
					x.Values = append(x.Values, value(m.Kind))
				}
			}
			return x
		}
		var tables [3][]Row
		for range rapid.IntRange(0, 60).Draw(r, "left") {
			tables[0] = append(tables[0], row(Left, len(q.Left.Groups), rapid.Uint64Range(0, 39).Draw(r, "subject")))
		}
		step := rapid.Uint64Range(1, 3).Draw(r, "step") // of who else is in it
		for p := range uint64(rapid.IntRange(0, 24).Draw(r, "right")) {
			tables[2] = append(tables[2], row(Right, len(q.Right.Groups), p*step))
		}
		got, _ := mustEqual(t, q, tables)
		for _, c := range got {
			if c.Shown {
				shown++
			} else {
				hidden++
			}
		}
	})
}

// made makes tables of which the first both people are in both.
func made(both, left, right int, seed uint64) (tables [3][]Row) {
	r := mrand.New(mrand.NewPCG(seed, 7))
	person := func(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 >> (64 - SubjectBits) }
	for i := range both + left {
		for range 1 + r.IntN(2) {
			tables[1] = append(tables[1], Row{r.IntN(2), person(i), []int64{1000 + r.Int64N(9000), r.Int64N(2)}})
		}
	}
	for i := range both {
		tables[0] = append(tables[0], Row{0, person(i), []int64{500 + r.Int64N(500)}})
	}
	for i := range right {
		tables[0] = append(tables[0], Row{0, person(both + left + i), []int64{500 + r.Int64N(500)}})
	}
	return tables
}

var uplift = Question{Version: 1, Left: Table{Owner: 1, Rows: 300, Groups: []string{"farming", "retail"}}, Right: Table{Owner: 0, Rows: 200, Groups: []string{"subsidised"}}, Unmatched: "unsubsidised",
	Measures: []Measure{{"repaid", Amount, Left}, {"defaulted", Flag, Left}, {"support", Amount, Right}}, Rules: Rules{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}}

// TestNothingOfTheIntersection: two runs, one where nobody is in both tables and one where nearly all are, have the same operators, sizes,
// bytes and rounds at every party.
func TestNothingOfTheIntersection(t *testing.T) {
	q := uplift
	q.Left.Rows, q.Right.Rows = 120, 60
	_, none, errs := three(t, q, made(0, 50, 40, 3))
	_, most, errs2 := three(t, q, made(40, 10, 0, 4))
	if err := errors.Join(append(errs[:], errs2[:]...)...); err != nil {
		t.Fatal(err)
	}
	if none != most {
		t.Error("what a party sees of a run depends on who is in both tables")
	}
	q.Unmatched = ""
	if _, other, _ := three(t, q, made(40, 10, 0, 4)); other == most {
		t.Error("another question looks the same: the comparison compares nothing")
	}
}

// TestUplift: a bank's loans by subsidy; a cell that the rules hide has no number in it, in any output.
func TestUplift(t *testing.T) {
	tables := made(60, 80, 20, 5)
	got, _ := mustEqual(t, uplift, tables)
	for _, c := range got[:2] {
		if !c.Shown || c.People < 10 {
			t.Errorf("%s %s is not shown", c.Left, c.Right)
		}
	}
	if got[0].Values[2] != 0 {
		t.Error("who has no subsidy has no support")
	}
}

// TestLearns: what is declared differs by place.
func TestLearns(t *testing.T) {
	l := uplift.Learns(-1)
	if len(l) != 3 || l[1].What == l[2].What || l[0].What == l[1].What {
		t.Error("each party learns what its place lets it")
	}
}

// TestTable: a table outside its declared range is refused by its owner before anything is shared, and all end.
func TestTable(t *testing.T) {
	q := Question{Version: 1, Left: Table{Owner: 0, Rows: 2, Groups: []string{"a"}}, Right: Table{Owner: 1, Rows: 2, Groups: []string{"x", "y"}}, Measures: []Measure{{"v", Amount, Left}, {"f", Flag, Right}}, Rules: rules}
	ok := Row{0, 1, []int64{1}}
	for name, tables := range map[string][3][]Row{
		"negative": {{{0, 1, []int64{-1}}}}, "too much": {{{0, 1, []int64{MaxAmount}}, ok}}, "group": {{{1, 1, []int64{1}}}}, "pseudonym": {{{0, 1 << SubjectBits, []int64{1}}}},
		"no value": {{{0, 1, nil}}}, "too many": {{ok, {0, 2, []int64{1}}, {0, 3, []int64{1}}}},
		"flag": {nil, {{0, 1, []int64{2}}}}, "two kinds": {nil, {ok, {1, 1, []int64{1}}}}, "kind": {nil, {{2, 1, []int64{1}}}},
	} {
		at := 0
		if tables[0] == nil {
			at = 1
		}
		_, _, errs := three(t, q, tables)
		if errs[0] == nil || errs[1] == nil || errs[2] == nil || !errors.Is(errs[at], sandbox.Invalid) && !errors.Is(errs[at], sandbox.TooLarge) {
			t.Errorf("%s: %v", name, errs)
		}
		if err := q.Fits(at, tables[at]); err == nil {
			t.Errorf("%s fits", name)
		}
	}
	if err := errors.Join(q.Fits(0, []Row{ok}), q.Fits(1, []Row{ok, ok})); err != nil {
		t.Error(err)
	}
	if q.Fits(2, nil) == nil {
		t.Error("a table of who owns none")
	}
}

func named(q *Question) {
	q.Left.Dataset, q.Left.Version, q.Right.Dataset, q.Right.Version = "ds-l", 1, "ds-s", 7
	q.Scenario, q.Purpose, q.Asker = "sc", "planning", "operator"
}

// TestNamed: a question that names its datasets is read, and another version is another question; one that names none is encoded as before.
func TestNamed(t *testing.T) {
	q := uplift
	named(&q)
	again, err := ParseQuestion(q.Encode())
	if err != nil || !again.Named() || uplift.Named() {
		t.Fatal(err)
	}
	if again.Left.Version++; again.Digest() == q.Digest() {
		t.Error("another version is the same question")
	}
	if text := string(uplift.Encode()); strings.Contains(text, "dataset") || strings.Contains(text, "asker") || strings.Contains(text, "subject_kind") {
		t.Error(text)
	}
}

// TestQuestion: what no question may be, and its one encoding.
func TestQuestion(t *testing.T) {
	if q, err := ParseQuestion(uplift.Encode()); err != nil || q.Digest() != uplift.Digest() || !Is(uplift.Encode()) || Is([]byte(`{"groups":[]}`)) {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Question){
		"version": func(q *Question) { q.Version = 2 }, "no group": func(q *Question) { q.Left.Groups = nil }, "twice": func(q *Question) { q.Right.Groups = []string{"a", "a"} },
		"k": func(q *Question) { q.Rules.MinSubjects = 2 }, "n": func(q *Question) { q.Rules.DominanceN = 3 }, "share": func(q *Question) { q.Rules.DominanceK = 100 },
		"p": func(q *Question) { q.Rules.PPercent = 0 }, "owner": func(q *Question) { q.Left.Owner = 3 }, "one owner": func(q *Question) { q.Right.Owner = q.Left.Owner },
		"rows": func(q *Question) { q.Left.Rows = maxRows }, "label": func(q *Question) { q.Unmatched = q.Right.Groups[0] }, "count": func(q *Question) { q.Measures = []Measure{{"n", Count, Right}} },
		"kind": func(q *Question) { q.Measures = []Measure{{"n", "mean", Left}} }, "name": func(q *Question) { q.Measures = []Measure{{"subject", Amount, Left}} },
		"same name":    func(q *Question) { q.Measures = []Measure{{"n", Amount, Left}, {"n", Flag, Left}} },
		"subject kind": func(q *Question) { q.SubjectKind = "opaque" }, "one dataset": func(q *Question) { named(q); q.Right.Dataset, q.Right.Version = "", 0 },
		"no version": func(q *Question) { named(q); q.Right.Version = 0 }, "version alone": func(q *Question) { q.Left.Version = 1 }, "the same dataset": func(q *Question) { named(q); q.Right.Dataset = q.Left.Dataset },
		"dataset": func(q *Question) { named(q); q.Left.Dataset = "two\nlines" }, "no scenario": func(q *Question) { named(q); q.Scenario = "" }, "no purpose": func(q *Question) { named(q); q.Purpose = "" },
		"no asker": func(q *Question) { named(q); q.Asker = "" }, "asker alone": func(q *Question) { q.Asker = "operator" },
	} {
		q, err := ParseQuestion(uplift.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if change(&q); !errors.Is(q.Check(), sandbox.Invalid) {
			t.Errorf("%s passes", name)
		}
	}
}

// TestRead: opened outputs that no run can give are no result.
func TestRead(t *testing.T) {
	good := func() map[string][]uint64 {
		return map[string][]uint64{OutShown: {1, 0, 0, 0}, OutPeople: {12, 0, 0, 0}, OutValues: make([]uint64, 12)}
	}
	if _, err := uplift.Read(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string][]uint64){
		"a bit": func(m map[string][]uint64) { m[OutShown][1] = 2 }, "nobody": func(m map[string][]uint64) { m[OutPeople][0] = 0 }, "hidden people": func(m map[string][]uint64) { m[OutPeople][1] = 9 },
		"a hidden value": func(m map[string][]uint64) { m[OutValues][3] = 9 }, "a large value": func(m map[string][]uint64) { m[OutValues][0] = 1 << 63 },
		"too few": func(m map[string][]uint64) { m[OutPeople] = m[OutPeople][:2] },
	} {
		m := good()
		if change(m); func() bool { _, err := uplift.Read(m); return err == nil }() {
			t.Errorf("%s is read", name)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(uplift.Encode())
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := ParseQuestion(b); err == nil && string(q.Encode()) != string(b) {
			t.Error("a question has one encoding")
		}
	})
}

// TestRules: each rule hides the group on its own, and next to it the group is shown; in the cell, among those found nowhere, and among the
// right table's people whom the left one does not have.
func TestRules(t *testing.T) {
	fine := map[Kind][]int64{Amount: {3, 4, 5}, Flag: {1, 1, 1, 0, 0, 0}}
	for name, c := range map[string]struct {
		kind   Kind
		values []int64
		change func(*Rules)
		shown  bool
	}{
		"few":              {Amount, []int64{3, 4}, nil, false},
		"nobody":           {Amount, nil, nil, false},
		"enough":           {Amount, []int64{3, 4, 5}, nil, true},
		"few with a value": {Amount, []int64{3, 4, 0}, nil, false},
		"alike":            {Amount, []int64{4, 4, 4}, nil, false},
		"nearly alike":     {Amount, []int64{4, 4, 5}, nil, true},
		"two dominate":     {Amount, []int64{50, 45, 5}, nil, false},
		"two nearly":       {Amount, []int64{50, 40, 10}, nil, true},
		"one dominates":    {Amount, []int64{65, 20, 15}, func(r *Rules) { r.DominanceN, r.DominanceK = 1, 64 }, false},
		"one nearly":       {Amount, []int64{64, 20, 16}, func(r *Rules) { r.DominanceN, r.DominanceK = 1, 64 }, true},
		"derivable":        {Amount, []int64{51, 44, 5}, func(r *Rules) { r.DominanceK = 99 }, false},
		"barely not":       {Amount, []int64{50, 44, 5}, func(r *Rules) { r.DominanceK = 99 }, true},
		"few yes":          {Flag, []int64{1, 1, 0, 0, 0}, nil, false},
		"few no":           {Flag, []int64{1, 1, 1, 0, 0}, nil, false},
		"both":             {Flag, []int64{1, 1, 1, 0, 0, 0}, nil, true},
	} {
		for at, place := range []string{"found", "found nowhere", "left over"} {
			for _, unmatched := range []string{"", "none"} {
				q := Question{Version: 1, Left: Table{Owner: 0, Rows: 16, Groups: []string{"a"}}, Right: Table{Owner: 1, Rows: 16, Groups: []string{"x"}}, Unmatched: unmatched, Measures: []Measure{{"v", c.kind, Left}}, Rules: rules}
				if place == "left over" {
					q.Measures[0].Side = Right
				}
				if c.change != nil {
					c.change(&q.Rules)
				}
				var tables [3][]Row
				person := uint64(0)
				for part := range 3 {
					values := fine[c.kind]
					if part == at {
						values = c.values
					}
					for _, v := range values {
						person++
						l, r := Row{0, person, []int64{v}}, Row{0, person, nil}
						if place == "left over" {
							l, r = Row{0, person, nil}, Row{0, person, []int64{v}}
						}
						if part < 2 {
							tables[0] = append(tables[0], l)
						}
						if part != 1 {
							tables[1] = append(tables[1], r)
						}
					}
				}
				if got, _ := mustEqual(t, q, tables); got[0].Shown != c.shown {
					t.Errorf("%s, %s: shown is %t", name, place, got[0].Shown)
				}
			}
		}
	}
}

// TestNobody: a kind that nobody of a group has leaves the group's other cells shown, and so does one that the right table does not have; a
// group that is all of one kind is not shown.
func TestNobody(t *testing.T) {
	q := Question{Version: 1, Left: Table{Owner: 0, Rows: 16, Groups: []string{"a", "b"}}, Right: Table{Owner: 1, Rows: 32, Groups: []string{"x", "y", "z"}}, Unmatched: "none", Rules: rules}
	var tables [3][]Row
	person := uint64(0)
	add := func(times, group, kind int) {
		for range times {
			person++
			if group >= 0 {
				tables[0] = append(tables[0], Row{group, person, nil})
			}
			if kind >= 0 {
				tables[1] = append(tables[1], Row{kind, person, nil})
			}
		}
	}
	add(3, 0, 0)
	add(4, 0, -1)
	add(5, 1, -1) // b has nothing but none
	add(3, -1, 0)
	add(3, -1, 1) // y is in no group
	got, _ := mustEqual(t, q, tables)
	want := []bool{true, true, false, false, false, false, false, false}
	for c, x := range got {
		if x.Shown != want[c] {
			t.Errorf("%s %s: shown is %t", x.Left, x.Right, x.Shown)
		}
	}
	add(3, 1, 1)
	got, _ = mustEqual(t, q, tables)
	if !got[4].Shown || !got[6].Shown || got[5].Shown || !got[0].Shown {
		t.Error("a group of two parts is shown")
	}
}
