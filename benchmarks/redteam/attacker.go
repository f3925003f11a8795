package redteam

import (
	"fmt"
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// Attacker (攻击者) asks the gate and solves what it is given.
type Attacker struct {
	w        *World
	g        *gate
	known    map[sandbox.MeasureFunc]*equations // sums over people, by what they are of
	goals    []set                              // groups too small to leave, whose sum is worth as much as a person's
	open     bool                               // no gate: what an attack is worth by itself
	released int
	asked    int
}

func newAttacker(w *World) (*Attacker, error) {
	g, err := newGate()
	return &Attacker{w: w, g: g, known: map[sandbox.MeasureFunc]*equations{}}, err
}

// ask puts a question to the gate and keeps every number that left. It gives the result, nil where nothing left.
func (a *Attacker) ask(q question) (*egress.Result, error) {
	a.asked++
	answer := a.w.answer(q)
	groups := a.groups(q)
	if a.open {
		for _, c := range answer.Cells {
			for m, x := range q.measures {
				a.learn(groups[fmt.Sprint(c.Labels)], x.Func, c.Values[m])
			}
		}
		return nil, nil
	}
	b, err := a.g.pass(answer)
	if b == nil || err != nil {
		return nil, err
	}
	r, err := egress.DecodeResult(b)
	if err != nil {
		return nil, err
	}
	a.released++
	for _, row := range r.Rows {
		if row.Suppressed {
			continue
		}
		who := groups[fmt.Sprint(row.Labels)]
		for m, x := range q.measures {
			if v := row.Values[m]; v != nil {
				a.learn(who, x.Func, *v)
			}
		}
	}
	return &r, nil
}

// groups says who is in each cell of a question.
func (a *Attacker) groups(q question) map[string]set {
	groups := map[string]set{}
	for i, p := range a.w.people {
		if !q.who[i] {
			continue
		}
		labels := []string{}
		for _, d := range q.by {
			labels = append(labels, d.label(p))
		}
		k := fmt.Sprint(labels)
		if groups[k] == nil {
			groups[k] = make(set, len(a.w.people))
		}
		groups[k][i] = true
	}
	return groups
}

// learn keeps one number. Who is in a group is known, so that counts of people say nothing; a mean, and a ratio, times the rows it
// is over is the sum but for its rounding, which the attacker is given for nothing.
func (a *Attacker) learn(who set, f sandbox.MeasureFunc, v int64) {
	switch f {
	case sandbox.Subjects:
		return
	case sandbox.Mean, sandbox.Ratio:
		v = 0
		for i, in := range who {
			if in {
				v += a.w.people[i].amount
			}
		}
		f = sandbox.Sum
	}
	if a.known[f] == nil {
		a.known[f] = &equations{n: len(a.w.people)}
	}
	a.known[f].add(who, v)
}

// won says whether somebody's own number follows from what was learnt, and is the true one.
func (a *Attacker) won() bool {
	for f, e := range a.known {
		for i := range a.w.people {
			if v, ok := e.solve(i); ok && v == a.w.adds(i, f) {
				return true
			}
		}
		for _, goal := range a.goals {
			want := int64(0)
			for i, in := range goal {
				if in {
					want += a.w.adds(i, f)
				}
			}
			if v, ok := e.sum(goal); ok && v == want && want != 0 {
				return true
			}
		}
	}
	return false
}

// equations is what is known of n numbers, reduced, modulo the prime 2^61 - 1: what follows in fractions follows here.
type equations struct {
	n    int
	rows []equation
}

type equation struct {
	lead  int
	terms []uint64 // the last is the right-hand side
}

const prime = 1<<61 - 1

func mul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	s := lo&prime + (lo>>61 | hi<<3)
	if s = s&prime + s>>61; s >= prime {
		s -= prime
	}
	return s
}

func sub(a, b uint64) uint64 {
	if a < b {
		a += prime
	}
	return a - b
}

func inverse(a uint64) uint64 {
	out := uint64(1)
	for e := uint64(prime - 2); e > 0; e >>= 1 {
		if e&1 == 1 {
			out = mul(out, a)
		}
		a = mul(a, a)
	}
	return out
}

func (e *equations) add(who set, v int64) {
	x := make([]uint64, e.n+1)
	for i, in := range who {
		if in {
			x[i] = 1
		}
	}
	x[e.n] = uint64(v)
	e.reduce(x)
	for i := range e.n {
		if x[i] == 0 {
			continue
		}
		k := inverse(x[i])
		for j := range x {
			x[j] = mul(x[j], k)
		}
		for r := range e.rows { // the form stays reduced
			if c := e.rows[r].terms[i]; c != 0 {
				for j := range x {
					e.rows[r].terms[j] = sub(e.rows[r].terms[j], mul(c, x[j]))
				}
			}
		}
		e.rows = append(e.rows, equation{i, x})
		return
	}
}

func (e *equations) reduce(x []uint64) {
	for _, r := range e.rows {
		if c := x[r.lead]; c != 0 {
			for j := range x {
				x[j] = sub(x[j], mul(c, r.terms[j]))
			}
		}
	}
}

// solve gives one number where it follows: in reduced form it then stands alone.
func (e *equations) solve(i int) (int64, bool) {
	for _, r := range e.rows {
		if r.lead != i {
			continue
		}
		for j, c := range r.terms[:e.n] {
			if j != i && c != 0 {
				return 0, false
			}
		}
		return int64(r.terms[e.n]), true
	}
	return 0, false
}

// sum gives the sum over a group where it follows.
func (e *equations) sum(who set) (int64, bool) {
	x := make([]uint64, e.n+1)
	for i, in := range who {
		if in {
			x[i] = 1
		}
	}
	e.reduce(x)
	for _, c := range x[:e.n] {
		if c != 0 {
			return 0, false
		}
	}
	return int64(sub(0, x[e.n])), true
}
