package agg

import (
	"context"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
	"github.com/opdomain/opdomain/sandbox"
)

// three answers a question at three parties over memory and gives each one's groups.
func three(t testing.TB, q Question, tables [3][]Row) (out [3][]Group, errs [3]error) {
	t.Helper()
	return under(t, share.SemiHonest, nil, q, tables)
}

// under does it under either model; bend may put something between an engine and its links.
func under(t testing.TB, adversary share.Adversary, bend func(me int, l share.Link) share.Link, q Question, tables [3][]Row) (out [3][]Group, errs [3]error) {
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
			link := share.Link(m)
			if bend != nil {
				link = bend(i, m)
			}
			e, o, err := share.New(share.Config{Link: link, Adversary: adversary, Generator: share.AESGenerator, Previous: secrets[i], Next: secrets[(i+1)%3]})
			if err != nil {
				errs[i] = err
				return
			}
			cols, err := Run(e, q, i, tables[i])
			if err != nil {
				errs[i] = err
				return
			}
			opened := map[string][]uint64{}
			for _, name := range []string{OutShown, OutPeople, OutRows, OutSum} {
				if opened[name], errs[i] = o.Open(cols[name]); errs[i] != nil {
					return
				}
			}
			for _, s := range e.Trace() {
				if slices.ContainsFunc(share.Leaks(), func(l share.Leakage) bool { return l.Op == s.Op }) && s.Op != share.OpOpen && s.Op != share.OpVerify && !slices.Contains(Operators(), s.Op) {
					t.Errorf("%s ran and is not listed", s.Op)
				}
			}
			out[i], errs[i] = q.Read(opened)
		})
	}
	wg.Wait()
	return out, errs
}

func (q Question) mustEqual(t testing.TB, tables [3][]Row) {
	t.Helper()
	out, errs := three(t, q, tables)
	var plain [][]Row
	for _, o := range q.Owners {
		plain = append(plain, tables[o])
	}
	want := q.Plain(plain)
	for i := range 3 {
		if errs[i] != nil {
			t.Fatalf("party %d: %v", i, errs[i])
		}
		if !slices.Equal(out[i], want) {
			t.Fatalf("party %d has other groups than the plain twin", i)
		}
	}
}

// TestTwin: the protocol's groups are those of the plain question, people of both owners counted once.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q := Question{Groups: []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(r, "groups")], Owners: []int{0, 1}, Rows: []int{12, 9},
			Rules: Rules{MinSubjects: rapid.IntRange(3, 5).Draw(r, "k"), MaxShare: rapid.IntRange(40, 100).Draw(r, "share"), P: rapid.IntRange(0, 30).Draw(r, "p")}}
		row := rapid.Custom(func(r *rapid.T) Row {
			return Row{rapid.IntRange(0, len(q.Groups)-1).Draw(r, "group"), rapid.Uint64Range(0, 6).Draw(r, "subject") << 37, rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, MaxAmount/20)).Draw(r, "amount")}
		})
		q.mustEqual(t, [3][]Row{rapid.SliceOfN(row, 0, 12).Draw(r, "first"), rapid.SliceOfN(row, 0, 9).Draw(r, "second")})
	})
}

// TestLarger: as many rows as a demonstration has, of which some groups may not be shown.
func TestLarger(t *testing.T) {
	r := mrand.New(mrand.NewPCG(4, 2))
	q := Question{Groups: []string{"a", "b", "c", "d", "e"}, Owners: []int{2, 0}, Rows: []int{300, 200}, Rules: Rules{MinSubjects: 10, MaxShare: 40, P: 10}}
	var tables [3][]Row
	for _, o := range q.Owners {
		for range 180 {
			g := r.IntN(4)
			tables[o] = append(tables[o], Row{g, r.Uint64N(120) << 30, r.Int64N(100000)})
		}
	}
	tables[2] = append(tables[2], Row{3, 7, 1 << 30}, Row{4, 1, 5}, Row{4, 2, 5}) // one who dominates, and two people alone
	want := q.Plain([][]Row{tables[2], tables[0]})
	if !want[0].Shown || want[3].Shown || want[4].Shown {
		t.Fatal("the example has shown and hidden groups")
	}
	q.mustEqual(t, tables)
}

// TestTable: a table outside its declared range is refused by its owner before anything is shared, and all end.
func TestTable(t *testing.T) {
	q := Question{Groups: []string{"a"}, Owners: []int{0}, Rows: []int{2}, Rules: Rules{MinSubjects: 3, MaxShare: 100}}
	for name, rows := range map[string][]Row{
		"negative": {{0, 1, -1}}, "too much": {{0, 1, MaxAmount}, {0, 1, 1}}, "group": {{1, 1, 1}}, "pseudonym": {{0, 1 << SubjectBits, 1}},
		"too many": {{0, 1, 1}, {0, 2, 1}, {0, 3, 1}},
	} {
		if _, errs := three(t, q, [3][]Row{rows}); errs[0] == nil || errs[1] == nil || errs[2] == nil ||
			!errors.Is(errs[0], sandbox.Invalid) && !errors.Is(errs[0], sandbox.TooLarge) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

// TestQuestion: what no question may be, and its one encoding.
func TestQuestion(t *testing.T) {
	good := Question{Groups: []string{"a", "b"}, Owners: []int{0, 1}, Rows: []int{8, 8}, Rules: Rules{MinSubjects: 3, MaxShare: 80, P: 10}}
	if q, err := ParseQuestion(good.Encode()); err != nil || q.Digest() != good.Digest() {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Question){
		"no group": func(q *Question) { q.Groups = nil }, "twice": func(q *Question) { q.Groups = []string{"a", "a"} }, "k": func(q *Question) { q.Rules.MinSubjects = 2 },
		"owner": func(q *Question) { q.Owners = []int{0, 3} }, "same owner": func(q *Question) { q.Owners = []int{1, 1} }, "rows": func(q *Question) { q.Rows[0] = maxRows },
		"share": func(q *Question) { q.Rules.MaxShare = 0 }, "sizes": func(q *Question) { q.Rows = q.Rows[:1] },
	} {
		q, err := ParseQuestion(good.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if change(&q); !errors.Is(q.Check(), sandbox.Invalid) {
			t.Errorf("%s passes", name)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(Question{Groups: []string{"a"}, Owners: []int{0}, Rows: []int{8}, Rules: Rules{MinSubjects: 3, MaxShare: 80}}.Encode())
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := ParseQuestion(b); err == nil && string(q.Encode()) != string(b) {
			t.Error("a question has one encoding")
		}
	})
}
