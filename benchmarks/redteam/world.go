package redteam

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// World (模拟人群) is people with an area, a sex, an age, an amount and several rows each.
type World struct {
	rnd    *rand.Rand
	people []person
}

type person struct {
	area, sex, age int
	rows           int64
	amount         int64
}

const (
	areas = 5
	ages  = 60
)

// NewWorld draws so many people.
func NewWorld(seed uint64, people int) *World {
	w := &World{rnd: rand.New(rand.NewPCG(seed, 20260601))}
	for range people {
		w.people = append(w.people, person{area: w.rnd.IntN(areas), sex: w.rnd.IntN(2), age: w.rnd.IntN(ages), rows: 1 + w.rnd.Int64N(3), amount: 1000 + w.rnd.Int64N(9000)})
	}
	return w
}

// set is who a question is about.
type set []bool

func (w *World) where(f func(p person) bool) set {
	s := make(set, len(w.people))
	for i, p := range w.people {
		s[i] = f(p)
	}
	return s
}

func (w *World) everybody() set { return w.where(func(person) bool { return true }) }

func (s set) and(t set) set { return s.with(t, func(a, b bool) bool { return a && b }) }
func (s set) or(t set) set  { return s.with(t, func(a, b bool) bool { return a || b }) }
func (s set) but(t set) set { return s.with(t, func(a, b bool) bool { return a && !b }) }

func (s set) with(t set, f func(a, b bool) bool) set {
	out := make(set, len(s))
	for i := range s {
		out[i] = f(s[i], t[i])
	}
	return out
}

// few draws so many of a set, or all of it.
func (w *World) few(s set, n int) set {
	var who []int
	for i, in := range s {
		if in {
			who = append(who, i)
		}
	}
	w.rnd.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
	out := make(set, len(s))
	for _, i := range who[:min(n, len(who))] {
		out[i] = true
	}
	return out
}

// dimension groups people.
type dimension struct {
	name  string
	label func(p person) string
}

var (
	byArea = dimension{"area", func(p person) string { return fmt.Sprintf("area %d", p.area) }}
	bySex  = dimension{"sex", func(p person) string { return [...]string{"f", "m"}[p.sex] }}
)

// byAge bins ages from edges on.
func byAge(edges ...int) dimension {
	return dimension{"age", func(p person) string {
		n := 0
		for _, e := range edges {
			if p.age >= e {
				n++
			}
		}
		return fmt.Sprintf("bin %02d", n)
	}}
}

// measures of the questions; the last may be taken as a mean.
var (
	subjects = sandbox.Measure{Name: "people", Func: sandbox.Subjects}
	count    = sandbox.Measure{Name: "rows", Func: sandbox.Count}
	sum      = sandbox.Measure{Name: "amount", Func: sandbox.Sum, Scale: 2}
	mean     = sandbox.Measure{Name: "mean", Func: sandbox.Mean, Scale: 2}
	ratio    = sandbox.Measure{Name: "a row", Func: sandbox.Ratio, Scale: 2}
)

// question is what an attacker asks.
type question struct {
	who      set
	by       []dimension
	measures []sandbox.Measure
	shown    sandbox.Shown
}

// answer is what an engine gives: the plain computation, with its evidence.
func (w *World) answer(q question) *sandbox.Answer {
	a := &sandbox.Answer{Measures: q.measures, Shown: q.shown, Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 1}}}
	for _, m := range q.measures {
		var from []string
		switch m.Func {
		case sandbox.Sum, sandbox.Mean:
			from = []string{"claims.amount"}
		case sandbox.Ratio:
			from = []string{"claims.amount", "claims.rows"}
		}
		a.Sources = append(a.Sources, from)
	}
	for _, d := range q.by {
		a.Dimensions = append(a.Dimensions, d.name)
	}
	groups := map[string][]int{}
	var keys [][]string
	for i, p := range w.people {
		if !q.who[i] {
			continue
		}
		labels := []string{}
		for _, d := range q.by {
			labels = append(labels, d.label(p))
		}
		k := fmt.Sprint(labels)
		if groups[k] == nil {
			keys = append(keys, labels)
		}
		groups[k] = append(groups[k], i)
	}
	slices.SortFunc(keys, slices.Compare)
	place := map[int]uint32{}
	for _, labels := range keys {
		n := len(q.measures)
		c := sandbox.Cell{Labels: labels, Values: make([]int64, n), NonMissing: make([]int64, n), Contributions: make([][]int64, n)}
		for _, i := range groups[fmt.Sprint(labels)] {
			at, ok := place[i]
			if !ok {
				at = uint32(len(a.Population))
				place[i] = at
				var s sandbox.Pseudonym
				binary.BigEndian.PutUint64(s[:], uint64(i)+1)
				a.Population = append(a.Population, s)
			}
			c.Contributors = append(c.Contributors, at)
			c.Rows += w.people[i].rows
			for m, x := range q.measures {
				c.Contributions[m] = append(c.Contributions[m], w.adds(i, x.Func))
			}
		}
		for m, x := range q.measures {
			c.NonMissing[m] = c.Rows
			for _, v := range c.Contributions[m] {
				c.Values[m] += v
			}
			switch x.Func {
			case sandbox.Mean:
				c.Values[m] = (c.Values[m] + c.Rows/2) / c.Rows
			case sandbox.Ratio:
				if c.Divisors == nil {
					c.Divisors, c.Thin = make([][]int64, n), make([]int64, n)
				}
				rows := int64(0)
				for _, i := range groups[fmt.Sprint(labels)] {
					c.Divisors[m] = append(c.Divisors[m], w.people[i].rows)
					rows += w.people[i].rows
				}
				c.Thin[m] = int64(len(c.Contributors))
				c.Values[m] = (c.Values[m] + rows/2) / rows
			}
		}
		a.Cells = append(a.Cells, c)
	}
	return a
}

func (w *World) adds(i int, f sandbox.MeasureFunc) int64 {
	switch f {
	case sandbox.Subjects:
		return 1
	case sandbox.Count:
		return w.people[i].rows
	}
	return w.people[i].amount
}

// gate is the real one, with its ledger.
type gate struct {
	ledger *egress.Ledger
	book   *egress.Book
	params egress.Params
	asked  int
}

func newGate() (*gate, error) {
	l, err := egress.NewLedger([]byte("red team: not a secret"))
	return &gate{ledger: l, book: egress.NewBook(), params: egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}}, err
}

// pass gives the outgoing bytes of an answer; none where the gate withholds it, or leaves it to people.
func (g *gate) pass(a *sandbox.Answer) ([]byte, error) {
	g.asked++
	q := sandbox.QuestionID(fmt.Sprintf("q-%d", g.asked))
	c, err := egress.Check(q, a, g.params, g.book.Linked(g.ledger, a)...)
	if err != nil {
		if k := sandbox.KindOf(err); k == sandbox.Withheld || k == sandbox.Invalid {
			return nil, nil
		}
		return nil, err
	}
	e, err := g.ledger.Entry(q, c)
	if err != nil {
		return nil, err
	}
	if x := g.book.Compare(e, g.params); x.Finding != nil || x.Uncertified != "" {
		return nil, nil
	}
	g.book.Add(e)
	return c.Result, nil
}
