package redteam

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Outcome (攻击结果) is what an attack and its honest twin came to.
type Outcome struct {
	Attack    string // 攻击: as in the notes
	Tries     int    // by an attacker with a gate of its own each
	Successes int    // somebody's number came out, or a bit got through
	Withheld  int    // answers the gate kept back, of the attacks
	Twins     int    // honest questions
	Released  int    // of those
}

// attack is one way of asking; with twin the groups differ on enough people.
type attack struct {
	name string
	ask  func(a *Attacker, twin bool) error
}

// people of a world: enough for groups, few enough to solve for everybody.
const people = 240

// Linear gives the attacks that combine numbers, each so many times; with open against no gate at all, where they win.
func Linear(seed uint64, tries int, open bool) ([]Outcome, error) {
	var out []Outcome
	for k, x := range linear {
		o := Outcome{Attack: x.name}
		for n := range tries {
			for _, twin := range []bool{false, true} {
				a, err := newAttacker(NewWorld(seed+uint64(1000*k+n), people))
				if err != nil {
					return nil, err
				}
				a.open = open
				if err := x.ask(a, twin); err != nil {
					return nil, err
				}
				if twin {
					o.Twins, o.Released = o.Twins+a.asked, o.Released+a.released
					continue
				}
				o.Tries, o.Withheld = o.Tries+1, o.Withheld+a.asked-a.released
				if a.won() {
					o.Successes++
				}
			}
		}
		out = append(out, o)
	}
	return out, nil
}

var all = []sandbox.Measure{subjects, count, sum}

// sets asks about sets of people in a drawn order, over everything.
func (a *Attacker) sets(measures []sandbox.Measure, sets ...set) error {
	a.w.rnd.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
	for _, s := range sets {
		if _, err := a.ask(question{who: s, measures: measures}); err != nil {
			return err
		}
	}
	return nil
}

// target is one person, or of the honest twin a group.
func (a *Attacker) target(twin bool) set {
	if twin {
		return a.w.few(a.w.everybody(), 30)
	}
	return a.w.few(a.w.everybody(), 1)
}

var linear = []attack{
	{"difference", func(a *Attacker, twin bool) error {
		t := a.target(twin)
		s := a.w.few(a.w.everybody(), 90).or(t)
		return a.sets(all, s, s.but(t))
	}},
	{"tracker", func(a *Attacker, twin bool) error { // q(C) = q(C or T) + q(C or not T) - q(all)
		c, every := a.target(twin), a.w.everybody()
		t := a.w.few(every, 110)
		return a.sets(all, c.or(t), c.or(every.but(t)), every)
	}},
	{"padded tracker", func(a *Attacker, twin bool) error { // differences of two questions each hold many; of four, one
		t := a.target(twin)
		s := a.w.few(a.w.everybody().but(t), 60)
		p := a.w.few(a.w.everybody().but(t).but(s), 25)
		q := a.w.few(a.w.everybody().but(t).but(s).but(p), 25)
		return a.sets(all, s.or(p), s.or(t).or(q), p, q)
	}},
	{"averaging", func(a *Attacker, twin bool) error { // rewrites of one question, and its total
		s := a.small(twin)
		for n := range 12 {
			q := question{who: s, by: []dimension{byArea, bySex}, measures: all}
			if n%2 == 1 {
				q.by = []dimension{bySex, byArea}
			}
			switch n % 6 { // other measures need other cells hidden
			case 1:
				q.measures = []sandbox.Measure{sum, subjects, count}
			case 2:
				q.measures = []sandbox.Measure{sum}
			case 3:
				q.measures = []sandbox.Measure{subjects}
			case 4:
				q.measures = []sandbox.Measure{mean, count}
			}
			if _, err := a.ask(q); err != nil {
				return err
			}
		}
		return a.sets(all, s)
	}},
	{"marginals", func(a *Attacker, twin bool) error {
		s := a.small(twin)
		for _, by := range [][]dimension{{byArea, bySex}, {byArea}, {bySex}, {}} {
			if _, err := a.ask(question{who: s, by: by, measures: all}); err != nil {
				return err
			}
		}
		return nil
	}},
	{"marginals first", func(a *Attacker, twin bool) error {
		s := a.small(twin)
		for _, by := range [][]dimension{{}, {bySex}, {byArea}, {bySex, byArea}} {
			if _, err := a.ask(question{who: s, by: by, measures: all}); err != nil {
				return err
			}
		}
		return nil
	}},
	{"tiny bins", func(a *Attacker, twin bool) error { // edges moved by one: two tables differ on those of one age
		step := 1
		if twin {
			step = 10
		}
		for _, age := range []int{20, 21, 48, 49} {
			a.goals = append(a.goals, a.w.where(func(p person) bool { return p.age == age && !twin }))
		}
		for n := range 3 {
			if _, err := a.ask(question{who: a.w.everybody(), by: []dimension{byAge(20+n*step, 20+n*step+30-2*n*step)}, measures: all}); err != nil {
				return err
			}
		}
		return nil
	}},
	{"low digits of means", func(a *Attacker, twin bool) error {
		t := a.target(twin)
		s := a.w.few(a.w.everybody(), 90).or(t)
		return a.sets([]sandbox.Measure{mean}, s, s.but(t))
	}},
	{"ratios", func(a *Attacker, twin bool) error {
		t := a.target(twin)
		s := a.w.few(a.w.everybody(), 90).or(t)
		if err := a.sets([]sandbox.Measure{ratio}, s); err != nil {
			return err
		}
		return a.sets(all, s.but(t))
	}},
	{"two recipients", func(a *Attacker, twin bool) error { // a chain of sets, each but a few of the one before, no two of which differ on one
		s := a.w.few(a.w.everybody(), 200)
		t := a.target(twin)
		h := a.w.few(s.but(t), 80)
		return a.sets(all, s.or(t), s.but(t).but(h), h)
	}},
	{"tables at random", func(a *Attacker, twin bool) error { // coarser, finer, of parts: suppressed here, shown there
		s := a.small(twin)
		bins := []dimension{byAge(30), byAge(20, 40), byAge(15, 30, 45)}
		for n := range 10 {
			q := question{who: s, measures: all[a.w.rnd.IntN(3):]}
			for _, d := range []dimension{byArea, bySex, bins[a.w.rnd.IntN(3)]} {
				if a.w.rnd.IntN(2) == 0 || n == 3 && d.name != "age" {
					q.by = append(q.by, d)
				}
			}
			if a.open && n == 3 {
				q.by = []dimension{byArea, bySex}
			}
			if area := a.w.rnd.IntN(2 * areas); n != 3 && area < areas {
				q.who = q.who.and(a.w.where(func(p person) bool { return p.area != area }))
			}
			if _, err := a.ask(q); err != nil {
				return err
			}
		}
		return nil
	}},
	{"sets at random", func(a *Attacker, twin bool) error { // whatever comes out of many sets, mostly of groups that overlap
		if twin {
			return nil
		}
		base := a.w.few(a.w.everybody(), 14)
		for range 18 {
			s := a.w.few(base, 4+a.w.rnd.IntN(11))
			if a.w.rnd.IntN(2) == 0 {
				s = s.or(a.w.where(func(p person) bool { return p.area == 1 }))
			}
			if err := a.sets([]sandbox.Measure{sum}, s); err != nil {
				return err
			}
		}
		return nil
	}},
}

// small leaves two people in one cell of area and sex; the twin has many in all.
func (a *Attacker) small(twin bool) set {
	in := a.w.where(func(p person) bool { return p.area == 2 && p.sex == 1 })
	if twin {
		return a.w.everybody()
	}
	two := a.w.few(in, 2)
	a.goals = append(a.goals, two)
	return a.w.everybody().but(in).or(two)
}

// plainNumbers says whether every number of outgoing bytes is a whole number in its one form.
func plainNumbers(b []byte) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	for {
		t, err := d.Token()
		if err != nil {
			return true
		}
		if n, ok := t.(json.Number); ok {
			s := strings.TrimPrefix(string(n), "-")
			if strings.ContainsAny(s, ".eE+") || len(s) > 1 && s[0] == '0' || n == "-0" {
				return false
			}
		}
	}
}
