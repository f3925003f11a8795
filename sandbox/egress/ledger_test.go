package egress

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

var ledger = newLedger("a ledger key of some length")

func newLedger(key string) *Ledger {
	l, err := NewLedger([]byte(key))
	if err != nil {
		panic(err)
	}
	return l
}

func (r *records) entry(q sandbox.QuestionID) Entry {
	r.t.Helper()
	c, err := Check(q, r.answer(), limits)
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := ledger.Entry(q, c)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// relabel gives rows under another group.
func relabel(rows []row, labels ...string) []row {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].labels = labels
	}
	return rows
}

// silent gives rows without an amount to add.
func silent(rows []row) []row {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].amount = yuan(0)
	}
	return rows
}

// Each story is a list of answers; the last one asked must be withheld, in whatever order they are asked, and none before.
func TestAttacksAreWithheldInAnyOrder(t *testing.T) {
	total := people(0, 60, "all")
	big := people(0, 60, "all")
	big[59].amount = yuan(9_000_000)
	for i := range 30 {
		big[i].amount = yuan(400_000)
	}
	groups := slices.Concat(relabel(total[:20], "a"), relabel(total[20:40], "b"), relabel(total[40:], "c"))
	odd, more := slices.Clone(groups), slices.Clone(groups)
	odd[5].amount = yuan(7)
	for i := 10; i < 22; i++ {
		more[i].amount = yuan(int64(500 + 23*i))
	}
	more = append(more, row{10, []string{"a"}, yuan(0)}, row{11, []string{"a"}, yuan(0)}, row{21, []string{"b"}, yuan(0)})
	for name, answers := range map[string][][]row{
		"everybody, and everybody but one":      {total, total[:59]},
		"everybody, and everybody but nine":     {total, total[:51]},
		"one person exchanged for another":      {total[:30], append(slices.Clone(total[1:30]), people(100, 1, "all")...)},
		"the same people, one amount differs":   {total, append(slices.Clone(total[:59]), row{59, []string{"all"}, yuan(7)})},
		"a margin and the groups inside it":     {total, slices.Concat(relabel(total[:20], "a"), relabel(total[20:40], "b"), relabel(total[40:55], "c"))},
		"the groups asked one by one":           {total, relabel(total[:20], "a"), relabel(total[20:40], "b"), relabel(total[40:55], "c")},
		"the groups add up but for one amount":  {total, odd},
		"twelve amounts differ, three rows":     {total, more},
		"twelve people, of whom three add":      {slices.Concat(total[:40], silent(total[40:49]), total[49:52]), total[:40]},
		"twelve people, one of whom adds most":  {big, big[:48]},
		"three who add something, twelve apart": {slices.Concat(total[:30], silent(total[30:42])), slices.Concat(total[3:30], people(200, 1, "all"), silent(people(201, 12, "all")))},
	} {
		for range 6 {
			order := rand.Perm(len(answers))
			var kept []Entry
			for i, at := range order {
				r := claims(t, answers[at])
				e := r.entry(sandbox.QuestionID(fmt.Sprint("q-", at)))
				if len(e.Cells) == 0 {
					t.Fatalf("%s: answer %d publishes nothing", name, at)
				}
				f, hit := Compare(e, kept, limits)
				last := i == len(order)-1
				if hit != last {
					t.Errorf("%s: in the order %v answer %d is withheld: %v (%+v)", name, order, i, hit, f)
					break
				}
				if hit && (f.Earlier == "" || f.Earlier == e.Question || f.People < 1 || f.Rule == "") {
					t.Errorf("%s: %+v does not say what was found", name, f)
				}
				kept = append(kept, e)
			}
		}
	}
}

// Honest twins of the attacks pass.
func TestHonestAnswersPass(t *testing.T) {
	total := people(0, 60, "all")
	for name, answers := range map[string][][]row{
		"the same answer again":                  {total, total},
		"everybody, and everybody but ten":       {total, total[:50]},
		"no person in common":                    {total[:30], total[30:]},
		"groups that overlap":                    {total[:40], total[20:]},
		"a margin and all the groups inside it":  {total, slices.Concat(relabel(total[:20], "a"), relabel(total[20:40], "b"), relabel(total[40:], "c"))},
		"a margin and groups, a small one among": {total, slices.Concat(relabel(total[:20], "a"), relabel(total[20:45], "b"), relabel(total[45:57], "c"), relabel(total[57:], "d"))},
		"the groups one by one, ten apart":       {total, relabel(total[:20], "a"), relabel(total[20:40], "b"), relabel(total[40:50], "c")},
		"twelve people, none of whom adds":       {slices.Concat(total[:40], silent(total[40:52])), total[:40]},
	} {
		var kept []Entry
		for i, rows := range answers {
			e := claims(t, rows).entry(sandbox.QuestionID(fmt.Sprint("q-", i)))
			if f, hit := Compare(e, kept, limits); hit {
				t.Errorf("%s: answer %d is withheld: %+v", name, i, f)
			}
			kept = append(kept, e)
		}
	}
}

// A larger cell across two parts does not hide that the parts and the whole differ on five people.
func TestALargerCellAcrossDoesNotHideAnAttack(t *testing.T) {
	total := people(0, 60, "all")
	across := claims(t, relabel(total[10:48], "c")).entry("q-3")
	answers := []Entry{claims(t, total).entry("q-0"), claims(t, relabel(total[:20], "a")).entry("q-1"), claims(t, relabel(total[20:55], "b")).entry("q-2")}
	for last := range answers {
		kept := slices.Delete(slices.Clone(answers), last, last+1)
		for _, earlier := range [][]Entry{append([]Entry{across}, kept...), append(kept, across)} {
			if f, hit := Compare(answers[last], earlier, limits); !hit || f.People != 5 {
				t.Errorf("answer %d asked last: %v %+v", last, hit, f)
			}
		}
	}
	for i := range answers {
		if f, hit := Compare(across, answers[i:i+1], limits); hit {
			t.Errorf("the larger cell alone is withheld: %+v", f)
		}
	}
}

func TestCompareFollowsLineage(t *testing.T) {
	a, b := claims(t, people(0, 60, "all")).entry("q-1"), claims(t, people(0, 59, "all")).entry("q-2")
	if _, hit := Compare(b, []Entry{a}, limits); !hit {
		t.Fatal("the attack passes")
	}
	other := b
	other.Datasets = []sandbox.DatasetID{"persons"}
	if _, hit := Compare(other, []Entry{a}, limits); hit {
		t.Error("answers over other datasets are compared")
	}
	other.Datasets = []sandbox.DatasetID{"claims", "persons"}
	if _, hit := Compare(other, []Entry{a}, limits); !hit {
		t.Error("one dataset in common is enough")
	}
	other = b
	other.Question = a.Question
	if _, hit := Compare(other, []Entry{a}, limits); hit {
		t.Error("an answer is compared with itself")
	}
}

func TestFindingNamesTheCells(t *testing.T) {
	total := people(0, 60, "all")
	groups := claims(t, slices.Concat(relabel(total[:20], "a"), relabel(total[20:40], "b"), relabel(total[40:55], "c"))).entry("q-1")
	whole := claims(t, total).entry("q-2")
	for _, c := range []struct {
		e, old Entry
		want   Finding
	}{
		{whole, groups, Finding{Earlier: "q-1", Cell: 0, Against: -1, People: 5}},
		{groups, whole, Finding{Earlier: "q-2", Cell: -1, Against: 0, People: 5}},
		{claims(t, relabel(total[20:39], "b")).entry("q-3"), groups, Finding{Earlier: "q-1", Cell: 0, Against: 1, People: 1}},
	} {
		c.want.Rule = "the answers differ on fewer than 10 people"
		if f, hit := Compare(c.e, []Entry{c.old}, limits); !hit || !reflect.DeepEqual(f, c.want) {
			t.Errorf("%+v, want %+v", f, c.want)
		}
	}
	a, b := claims(t, relabel(total[:30], "a")).entry("q-4"), claims(t, relabel(total[30:55], "b")).entry("q-5")
	want := Finding{Earlier: "q-4", With: []sandbox.QuestionID{"q-5"}, Cell: 0, Against: -1, People: 5, Rule: "the answers differ on fewer than 10 people"}
	if f, _ := Compare(whole, []Entry{a, b}, limits); !reflect.DeepEqual(f, want) {
		t.Errorf("%+v, want %+v", f, want)
	}
}

// Two cells of any two answers are found by the ledger exactly when the plain count of people on whom they differ says so,
// and whichever is asked first.
func TestCompareCountsLikeThePlainCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Built around few people and amounts, so that answers differ on few. One cell each: unions have their own tests.
		draw := func(name string) *records {
			var all []row
			drop := rapid.SliceOfN(rapid.IntRange(0, 39), 0, 14).Draw(t, name+" without")
			odd := rapid.SliceOfN(rapid.IntRange(0, 39), 0, 3).Draw(t, name+" odd")
			for p := range 40 {
				if slices.Contains(drop, p) {
					continue
				}
				amount := int64(100 + p)
				if slices.Contains(odd, p) {
					amount += 3
				}
				all = append(all, row{p, []string{"all"}, &amount})
			}
			return &records{t: nil, dims: 1, all: all}
		}
		one, two := draw("one"), draw("two")
		entry := func(r *records, q sandbox.QuestionID) Entry {
			c, err := Check(q, r.answer(), limits)
			if err != nil {
				t.Fatal(err)
			}
			e, err := ledger.Entry(q, c)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		a, b := entry(one, "q-1"), entry(two, "q-2")
		in := func(r *records) map[int]int64 {
			m := map[int]int64{}
			for _, x := range r.all {
				m[x.person] = *x.amount
			}
			return m
		}
		x, y := in(one), in(two)
		d := 0
		for p := range 40 {
			vx, okx := x[p]
			vy, oky := y[p]
			if okx != oky || vx != vy {
				d++
			}
		}
		_, hit := Compare(b, []Entry{a}, limits)
		if _, other := Compare(a, []Entry{b}, limits); hit != other {
			t.Fatal("the order of asking decides")
		}
		if want := d > 0 && d < limits.MinSubjects; want && !hit {
			t.Fatalf("they differ on %d people and pass", d)
		} else if d == 0 && hit {
			t.Fatal("equal answers are withheld")
		} else if d >= limits.MinSubjects && hit {
			// Then the few must be those with other amounts.
			odd := 0
			for p, v := range x {
				if w, ok := y[p]; ok && v != w {
					odd++
				}
			}
			if odd == 0 {
				t.Fatalf("they differ on %d people and are withheld", d)
			}
		}
	})
}

func TestEntryKeepsPublishedCellsOnly(t *testing.T) {
	rows := slices.Concat(people(0, 20, "a"), people(20, 20, "b"), people(40, 5, "c"), people(60, 6, "d"))
	e := claims(t, rows).entry("q-1")
	if len(e.Cells) != 2 || len(e.Cells[0].People) != 20 || !slices.Equal(e.Measures, []string{"count", "sum:claims.amount"}) || !slices.Equal(e.Datasets, []sandbox.DatasetID{"claims"}) {
		t.Errorf("%d cells, measures %v, datasets %v", len(e.Cells), e.Measures, e.Datasets)
	}
	for _, c := range e.Cells {
		if !slices.IsSorted(c.People) {
			t.Error("tokens are not sorted")
		}
	}
	for _, sources := range [][][]string{sources[1:], {nil, nil, nil}} {
		c := claims(t, rows).check("q-1")
		c.answer.Sources = sources
		if _, err := ledger.Entry("q-1", c); err == nil {
			t.Error("a measure without its column passes")
		}
	}
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("pseudonym")) {
		t.Error("pseudonyms stand in the entry")
	}
	if other := claims(t, rows); reflect.DeepEqual(tokensOf(t, other, newLedger("another key, as long")), tokensOf(t, other, ledger)) {
		t.Error("tokens do not depend on the key")
	}
}

func tokensOf(t *testing.T, r *records, l *Ledger) []uint64 {
	e, err := l.Entry("q-1", r.check("q-1"))
	if err != nil {
		t.Fatal(err)
	}
	return e.Cells[0].People
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := Check("q-1", table(t).answer(), limits)
		if err != nil {
			t.Fatal(err)
		}
		e, err := ledger.Entry("q-1", c)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) < 4096 || len(b)&(len(b)-1) != 0 {
			t.Fatalf("%d bytes are not padded", len(b))
		}
		got, err := DecodeEntry(b)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("comes back changed: %v", err)
		}
	})
}

func TestDecodeEntryRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":            nil,
		"a length alone":     {0, 0, 0, 9},
		"not JSON":           append([]byte{0, 0, 0, 3}, "{{{"...),
		"an unknown key":     append([]byte{0, 0, 0, 7}, `{"a":1}`...),
		"fewer than said":    append([]byte{0, 0, 0, 12}, `{"people":1}`...),
		"a negative number":  append([]byte{0, 0, 0, 13}, `{"people":-1}`...),
		"more than can be":   append([]byte{0, 0, 0, 30}, `{"people":9223372036854775807}`...),
		"a bitmap cut short": append([]byte{0, 0, 0, 59}, `{"people":0,"cells":[{"bitmap":99,"people":1,"widths":[]}]}`...),
		"a length too large": {255, 255, 255, 255, '{', '}'},
	} {
		if _, err := DecodeEntry(b); err == nil || !strings.Contains(err.Error(), "tampered") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	e := claims(f, people(0, 12, "a")).entry("q-1")
	b, err := e.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeEntry(again); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("an entry does not come back: %v", err)
		}
	})
}
