package egress

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// drawEntry gives an answer of a few cells, each of people one after the other but for a few, who have up to two rows.
func drawEntry(t *rapid.T, q sandbox.QuestionID, persons int) Entry {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	e := Entry{Question: q, Datasets: []sandbox.DatasetID{"claims"}, Measures: []string{countMeasure, "sum:claims.amount"}, Heads: random.IntN(2) == 0}
	for range 1 + random.IntN(3) {
		var c EntryCell
		c.Adds = make([][]int64, 2)
		first := random.IntN(persons / 4)
		last := persons - random.IntN(persons*3/4)
		for p := first; p < last; p++ {
			if random.IntN(12) == 0 {
				continue
			}
			rows, amount := int64(1), int64(100+p)
			if random.IntN(8) == 0 {
				rows, amount = 2, int64(random.IntN(4)-1)*amount
			}
			c.People = append(c.People, uint64(p+1)*0x9e3779b97f4a7c15)
			c.Adds[0], c.Adds[1] = append(c.Adds[0], rows), append(c.Adds[1], amount)
		}
		if len(c.People) < 3 || adding(c.Adds[1]) < 3 {
			continue // the gate publishes no such cell
		}
		order := make([]int, len(c.People))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			if c.People[a] < c.People[b] {
				return -1
			}
			return 1
		})
		sorted := EntryCell{Adds: make([][]int64, 2)}
		for _, i := range order {
			sorted.People = append(sorted.People, c.People[i])
			for m := range c.Adds {
				sorted.Adds[m] = append(sorted.Adds[m], c.Adds[m][i])
			}
		}
		e.Cells = append(e.Cells, sorted)
	}
	return e
}

func adding(adds []int64) (n int) {
	for _, v := range adds {
		if v != 0 {
			n++
		}
	}
	return n
}

// What the comparison of single cells finds, a Book finds, whatever was added to it in which order; what a Book finds beyond it is a
// combination.
func TestBookFindsWhatThePlainComparisonFinds(t *testing.T) {
	p := Params{MinSubjects: 3, DominanceN: 2, DominanceK: 90, PPercent: 10}
	found := 0
	sandboxtest.Until(t, func() bool { return found > 0 }, func(t *rapid.T) {
		var earlier []Entry
		for i := range rapid.IntRange(1, 4).Draw(t, "earlier") {
			earlier = append(earlier, drawEntry(t, sandbox.QuestionID(fmt.Sprint("q-", i)), 24))
		}
		e := drawEntry(t, "q-new", 24)
		plain, hit := plainCompare(e, earlier, p)
		b, back := NewBook(), NewBook()
		for i := range earlier {
			b.Add(earlier[i])
			back.Add(earlier[len(earlier)-1-i])
		}
		got, other := b.Compare(e, p), back.Compare(e, p)
		if (got.Finding == nil) != (other.Finding == nil) || got.Finding != nil && fmt.Sprint(*got.Finding) != fmt.Sprint(*other.Finding) {
			t.Fatalf("the order decides: %+v, %+v", got.Finding, other.Finding)
		}
		if hit && got.Finding == nil {
			t.Fatalf("%+v is overlooked", plain)
		}
		if hit {
			found++
			if plain.People < p.MinSubjects && got.Finding.People >= p.MinSubjects {
				t.Fatalf("%+v became %+v", plain, *got.Finding)
			}
		}
	})
}

// isolates says whether a combination of rows, a new one among them, vanishes on all but fewer than few people and not on all.
func isolates(rows [][]int64, mine int, few int) bool {
	people := len(rows[0])
	for set := 1; set < 1<<people; set++ {
		n := 0
		for p := range people {
			n += set >> p & 1
		}
		if n >= few {
			continue
		}
		// Combinations that vanish outside the set: the left null space there. Is some one of them not nothing inside, with a new row?
		if reaches(rows, set, mine) {
			return true
		}
	}
	return false
}

func reaches(rows [][]int64, set, mine int) bool {
	n, people := len(rows), len(rows[0])
	m := make([][]*big.Rat, n) // [outside | inside | identity]
	var outside, inside []int
	for p := range people {
		if set>>p&1 == 1 {
			inside = append(inside, p)
		} else {
			outside = append(outside, p)
		}
	}
	for r := range m {
		for _, p := range slices.Concat(outside, inside) {
			m[r] = append(m[r], big.NewRat(rows[r][p], 1))
		}
		for k := range n {
			one := int64(0)
			if k == r {
				one = 1
			}
			m[r] = append(m[r], big.NewRat(one, 1))
		}
	}
	rank := 0
	for j := range outside {
		p := rank
		for p < n && m[p][j].Sign() == 0 {
			p++
		}
		if p == n {
			continue
		}
		m[rank], m[p] = m[p], m[rank]
		for r := rank + 1; r < n; r++ {
			if m[r][j].Sign() != 0 {
				f := new(big.Rat).Quo(m[r][j], m[rank][j])
				for k := range m[r] {
					m[r][k] = new(big.Rat).Sub(m[r][k], new(big.Rat).Mul(f, m[rank][k]))
				}
			}
		}
		rank++
	}
	// Any vector of the span that is not nothing inside; one with a new row exists if a spanning one has one, or can be added.
	some, withNew := false, false
	for _, row := range m[rank:] {
		in := slices.ContainsFunc(row[len(outside):people], func(x *big.Rat) bool { return x.Sign() != 0 })
		has := slices.ContainsFunc(row[people:people+mine], func(x *big.Rat) bool { return x.Sign() != 0 })
		some, withNew = some || in, withNew || has
		if in && has {
			return true
		}
	}
	return some && withNew
}

// A combination is found only where exact arithmetic over all sets of few people says there is one; where it says so, none passes as
// searched.
func TestCombinationsAgainstAllSetsOfPeople(t *testing.T) {
	p := Params{MinSubjects: 3, DominanceN: 2, DominanceK: 90, PPercent: 10}
	var hits, clean, open int
	sandboxtest.Until(t, func() bool { return hits > 0 && clean > 0 }, func(t *rapid.T) {
		const persons = 8
		b := NewBook()
		var all []Entry
		for i := range rapid.IntRange(1, 3).Draw(t, "earlier") {
			all = append(all, drawEntry(t, sandbox.QuestionID(fmt.Sprint("q-", i)), persons))
			b.Add(all[i])
		}
		e := drawEntry(t, "q-new", persons)
		if len(e.Cells) == 0 {
			return
		}
		c := comparison{b: b, p: p, all: []*bookEntry{b.compile(e)}, inside: map[int][]place{}}
		c.all = append(c.all, b.entries...)
		c.index()
		c.meet()
		if !c.near() {
			t.Fatal("too many cells")
		}
		got := c.combine()
		all = append([]Entry{e}, all...)
		exact, old := false, false
		for m := -1; m < len(e.Measures); m++ {
			var rows [][]int64
			mine := 0
			for a, x := range all {
				for _, cell := range x.Cells {
					if m < 0 && (!x.Heads || !e.Heads) {
						continue
					}
					row := make([]int64, persons)
					for k, t := range cell.People {
						at := 0
						for uint64(at+1)*0x9e3779b97f4a7c15 != t {
							at++
						}
						if row[at] = 1; m >= 0 {
							row[at] = cell.Adds[m][k]
						}
					}
					rows = append(rows, row)
					if a == 0 {
						mine++
					}
				}
			}
			if mine > 0 && len(rows) > 1 && isolates(rows, mine, p.MinSubjects) {
				exact = true
				// What earlier answers give away alone was theirs to be withheld for; a new one that repeats one of them adds nothing to it.
				old = old || len(rows) > mine && isolates(rows[mine:], len(rows)-mine, p.MinSubjects)
			}
		}
		switch {
		case got.Finding != nil:
			hits++
			if !exact {
				t.Fatalf("%+v is not there", *got.Finding)
			}
			if got.Finding.People >= p.MinSubjects || got.Finding.People < 1 {
				t.Fatalf("%+v", *got.Finding)
			}
		case got.Uncertified != "":
			open++
		default:
			clean++
			if exact && !old {
				t.Fatal("a combination passes as searched")
			}
		}
	})
	t.Logf("%d found, %d clean, %d open", hits, clean, open)
}

// Six answers of 40 people each, none of which differs from another on few people, and no cell of which lies inside another; the first
// two together less the next two differ on one person.
func TestACombinationWithSigns(t *testing.T) {
	crowd := func(rows ...[2]int) (out []row) {
		for _, r := range rows {
			out = append(out, people(r[0], r[1]-r[0], "all")...)
		}
		return out
	}
	a, b := crowd([2]int{0, 40}), crowd([2]int{40, 80})
	c, d := crowd([2]int{0, 20}, [2]int{40, 60}), crowd([2]int{20, 40}, [2]int{60, 79})
	var kept []Entry
	for i, rows := range [][]row{a, b, c} {
		e := claims(t, rows).entry(sandbox.QuestionID(fmt.Sprint("q-", i)))
		if f, hit := Compare(e, kept, limits); hit {
			t.Fatalf("answer %d alone: %+v", i, f)
		}
		kept = append(kept, e)
	}
	last := claims(t, d).entry("q-3")
	if _, hit := plainCompare(last, kept, limits); hit {
		t.Fatal("pairs find it already: the test shows nothing")
	}
	f, hit := Compare(last, kept, limits)
	if !hit || f.People != 1 || f.Earlier != "q-0" || !slices.Equal(f.With, []sandbox.QuestionID{"q-1", "q-2"}) {
		t.Errorf("%v %+v", hit, f)
	}
	honest := claims(t, crowd([2]int{20, 40}, [2]int{60, 80})).entry("q-3")
	if f, hit := Compare(honest, kept, limits); hit {
		t.Errorf("everybody: %+v", f)
	}
}

// Over the bound of cells the answer is not called searched.
func TestTooManyCellsAreUncertified(t *testing.T) {
	b := NewBook()
	first := func(q string, n int) Entry {
		c := EntryCell{Adds: [][]int64{nil}}
		for p := range n {
			c.People, c.Adds[0] = append(c.People, uint64(p)), append(c.Adds[0], 1)
		}
		return Entry{Question: sandbox.QuestionID(q), Datasets: []sandbox.DatasetID{"claims"}, Measures: []string{countMeasure}, Cells: []EntryCell{c}}
	}
	for i := range MaxCombined {
		b.Add(first(fmt.Sprint("q-", i), 12*(i+1)))
	}
	c := b.Compare(first("q-new", 12*(MaxCombined+1)), limits)
	if c.Finding != nil || c.Uncertified == "" {
		t.Errorf("%+v", c)
	}
	if c := b.Compare(first("q-new", 12*(MaxCombined+1)-5), limits); c.Finding == nil {
		t.Error("nor are pairs looked at")
	}
}

// TestManyCellsOfOneTableAreCertified: cells that share nobody, with nobody before them, give nothing away together, however many they are.
func TestManyCellsOfOneTableAreCertified(t *testing.T) {
	table := func(q string, from, cells int) Entry {
		e := Entry{Question: sandbox.QuestionID(q), Datasets: []sandbox.DatasetID{"claims"}, Measures: []string{countMeasure}}
		for i := range cells {
			c := EntryCell{Adds: [][]int64{nil}}
			for p := range 12 {
				c.People, c.Adds[0] = append(c.People, uint64(from+12*i+p)), append(c.Adds[0], 1)
			}
			e.Cells = append(e.Cells, c)
		}
		return e
	}
	b := NewBook()
	if c := b.Compare(table("q-1", 0, MaxCombined+100), limits); c.Finding != nil || c.Uncertified != "" {
		t.Errorf("the first table: %+v", c)
	}
	b.Add(table("q-1", 0, MaxCombined+100))
	if c := b.Compare(table("q-2", 1e6, MaxCombined+100), limits); c.Finding != nil || c.Uncertified != "" {
		t.Errorf("a table of others: %+v", c)
	}
	if c := b.Compare(table("q-3", 6, MaxCombined+100), limits); c.Finding == nil && c.Uncertified == "" {
		t.Error("a table whose cells cross those before is certified")
	}
}

func bookOf(entries ...Entry) *Book {
	b := NewBook()
	for _, e := range entries {
		b.Add(e)
	}
	return b
}
