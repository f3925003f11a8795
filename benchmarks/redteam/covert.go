package redteam

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// channel is a way to write bits into an answer beside what is declared: its measures, dimensions, labels as they are read, values that leave,
// and who adds what.
type channel struct {
	name  string
	write func(r *rand.Rand, a *sandbox.Answer)
}

// byQuarter groups people by names that can be written in several forms.
var byQuarter = dimension{"quarter", func(p person) string { return fmt.Sprintf("Quartier Aménagé %d", p.area/2) }}

// declared makes an answer whose side channels are all there: a table of which some cells are suppressed, values that are not there, and
// values that do not leave.
func declared(w *World) *sandbox.Answer {
	low, high := sandbox.Measure{Name: "least", Func: sandbox.Min, Scale: 2}, sandbox.Measure{Name: "most", Func: sandbox.Max, Scale: 2}
	a := w.answer(question{who: w.everybody(), by: []dimension{byQuarter, bySex}, measures: []sandbox.Measure{subjects, count, sum, mean, low, high}})
	for i := range a.Cells {
		c := &a.Cells[i]
		c.Labels = slices.Clone(c.Labels)
		c.None, c.Thin = make([]bool, len(a.Measures)), make([]int64, len(a.Measures))
		if i%4 == 1 {
			c.None[3], c.Values[3] = true, 0
		}
		for m := 4; m < 6; m++ {
			c.Thin[m] = 1
		}
	}
	for m := range a.Measures {
		if a.Measures[m].Func == sandbox.Min || a.Measures[m].Func == sandbox.Max {
			a.Sources[m] = []string{"claims.amount"}
		}
	}
	return a
}

var channels = []channel{
	{"row order", func(r *rand.Rand, a *sandbox.Answer) { // of contributors, and of the population: cells out of order are refused
		perm := r.Perm(len(a.Population))
		population := make([]sandbox.Pseudonym, len(perm))
		for from, to := range perm {
			population[to] = a.Population[from]
		}
		a.Population = population
		for i := range a.Cells {
			c := &a.Cells[i]
			order := r.Perm(len(c.Contributors))
			who := make([]uint32, len(order))
			for to, from := range order {
				who[to] = uint32(perm[c.Contributors[from]])
			}
			c.Contributors = who
			for m, x := range c.Contributions {
				moved := make([]int64, len(x))
				for to, from := range order {
					moved[to] = x[from]
				}
				c.Contributions[m] = moved
			}
		}
	}},
	{"labels", func(r *rand.Rand, a *sandbox.Answer) {
		for i := range a.Cells {
			for d, l := range a.Cells[i].Labels {
				switch r.IntN(5) {
				case 0:
					l = strings.ReplaceAll(l, "é", "e\u0301")
				case 1:
					l += []string{" ", "\u200b", "\u00a0", "\ufeff", "\ufe0f"}[r.IntN(5)]
				case 2:
					l = strings.ReplaceAll(l, " ", []string{"  ", "\u3000", "\u2009", "\u00a0"}[r.IntN(4)])
				case 3:
					l = "\u2060" + l
				}
				a.Cells[i].Labels[d] = l
			}
		}
		slices.SortFunc(a.Cells, func(x, y sandbox.Cell) int { return slices.Compare(x.Labels, y.Labels) }) // or it is refused
	}},
	{"NaN payloads", func(r *rand.Rand, a *sandbox.Answer) { // what stands where no value is; whole numbers have neither NaN nor -0
		for i := range a.Cells {
			for m, none := range a.Cells[i].None {
				if none {
					a.Cells[i].Values[m] = int64(r.Uint64())
				}
			}
		}
	}},
	{"null slots", func(r *rand.Rand, a *sandbox.Answer) { // values that do not leave, capacity behind lists, divisors of what is no ratio
		for i := range a.Cells {
			c := &a.Cells[i]
			for m, x := range a.Measures {
				if x.Func == sandbox.Min || x.Func == sandbox.Max {
					c.Values[m], c.Thin[m] = int64(r.Uint64()), 1+r.Int64N(1<<40)
				}
			}
			for range r.IntN(3) {
				c.Divisors = append(c.Divisors, []int64{int64(r.Uint64())})
			}
			c.Values = append(slices.Clone(c.Values), int64(r.Uint64()), int64(r.Uint64()))[:len(c.Values)]
		}
		for range r.IntN(20) { // people who are in no cell
			var p sandbox.Pseudonym
			p[0], p[15] = 0xff, byte(r.IntN(256))
			a.Population = append(a.Population, p)
		}
	}},
	{"flags and metadata", func(r *rand.Rand, a *sandbox.Answer) {
		if r.IntN(2) == 0 {
			a.LabelUnits = make([]string, len(a.Dimensions))
		}
		a.Inputs[0].Version = r.Uint64()
		for range r.IntN(3) {
			a.Inputs = append(a.Inputs, a.Inputs[0])
		}
		for i := range a.Cells {
			c := &a.Cells[i]
			c.Rows += r.Int64N(1 << 30)
			for m := range c.NonMissing {
				c.NonMissing[m] = r.Int64N(1 << 30)
			}
			if !slices.Contains(c.None, true) && r.IntN(2) == 0 {
				c.None = nil
			}
			if r.IntN(2) == 0 {
				c.Labels = append(slices.Clone(c.Labels), "rest")[:len(c.Labels)]
			}
		}
	}},
}

// copied is an answer that can be written into.
func copied(a *sandbox.Answer) *sandbox.Answer {
	out := *a
	out.Population, out.Inputs, out.Cells = slices.Clone(a.Population), slices.Clone(a.Inputs), slices.Clone(a.Cells)
	for i := range out.Cells {
		c := &out.Cells[i]
		c.Labels, c.Values, c.None, c.NonMissing, c.Thin = slices.Clone(c.Labels), slices.Clone(c.Values), slices.Clone(c.None), slices.Clone(c.NonMissing), slices.Clone(c.Thin)
		c.Contributors, c.Contributions = slices.Clone(c.Contributors), slices.Clone(c.Contributions)
	}
	return &out
}

// Leaves (出域写出) gives the bytes that leave of an answer: of a gate, or of what prints whatever it is given.
type Leaves func(a *sandbox.Answer) ([]byte, error)

// ThroughGate is the gate's own writing, as reviewers see it.
func ThroughGate(a *sandbox.Answer) ([]byte, error) {
	c, err := egress.Check("q-1", a, egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10})
	if k := sandbox.KindOf(err); k == sandbox.Withheld || k == sandbox.Invalid {
		return nil, nil // one code, whatever the cause: a status
	}
	if err != nil {
		return nil, err
	}
	return c.Result, nil
}

// asIs prints an answer whole.
func asIs(a *sandbox.Answer) ([]byte, error) { return fmt.Appendf(nil, "%v", *a), nil }

// covertPeople is the population of a covert sender's answers.
const covertPeople = 84

// Channels tries each channel alone: successes are answers that leave as other bytes.
func Channels(seed uint64, tries int, out Leaves) ([]Outcome, error) {
	var all []Outcome
	for k, x := range channels {
		o := Outcome{Attack: x.name}
		for n := range tries {
			r := rand.New(rand.NewPCG(seed, uint64(1000*k+n)))
			a := declared(NewWorld(seed+uint64(n), covertPeople))
			plain, err := out(a)
			if err != nil {
				return nil, err
			}
			o.Twins++
			if plain != nil {
				o.Released++
			}
			b := copied(a)
			x.write(r, b)
			got, err := out(b)
			if err != nil {
				return nil, err
			}
			o.Tries++
			if got == nil {
				o.Withheld++
			}
			if !bytes.Equal(got, plain) {
				o.Successes++
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// Covert sends messages of so many bits, one answer a bit, through all channels at once, with declared values fixed: of a 1 every channel is
// written, of a 0 none. The reader knows the declared values, has seen as many answers of each bit as it wants, and takes the bit whose
// answers left as such bytes; where that tells nothing it goes by a digest of the bytes. It gives how many bits were read wrong.
func Covert(seed uint64, messages, length int, out Leaves) (wrong int, err error) {
	for m := range messages {
		r := rand.New(rand.NewPCG(seed, uint64(m)))
		a := declared(NewWorld(seed+uint64(m), covertPeople))
		send := func(bit bool) ([]byte, error) {
			b := copied(a)
			if bit {
				for _, x := range channels {
					x.write(r, b)
				}
			}
			return out(b)
		}
		seen := map[[sm.Size]byte][2]int{} // what the reader learnt
		for n := range 40 {
			b, err := send(n%2 == 1)
			if err != nil {
				return 0, err
			}
			d := sm.Sum(b)
			c := seen[d]
			c[n%2]++
			seen[d] = c
		}
		for n := range length {
			bit := r.IntN(2) == 1
			b, err := send(bit)
			if err != nil {
				return 0, err
			}
			d := sm.Sum(b)
			c, known := seen[d]
			guess := c[1] > c[0]
			if !known { // bytes of a kind never seen: those of a 0 are always the same
				guess = true
			} else if c[0] == c[1] {
				at := sm.Sum(d[:], fmt.Appendf(nil, "%d", n))
				guess = at[0]&1 == 1
			}
			if guess != bit {
				wrong++
			}
		}
	}
	return wrong, nil
}
