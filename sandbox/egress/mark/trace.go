package mark

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// FalseAccusation bounds the probability that a trace accuses anybody who did not have the copy.
const FalseAccusation = 1e-6

// Tracer (水印溯源器) reads a copy that turned up. One goroutine uses it.
type Tracer struct {
	code  *Code
	at    []int
	votes [][2]int32 // per position: cells that say zero and one
	cells int64
}

// Tracer starts to read a copy with these headers; at least one marked column is among them.
func (c *Code) Tracer(header []string) (*Tracer, error) {
	t := &Tracer{code: c, at: c.layout(header), votes: make([][2]int32, length)}
	for i, x := range t.at {
		if x >= 0 && c.columns[i].step > 0 {
			return t, nil
		}
	}
	return nil, &sandbox.Error{Op: "mark: trace", Kind: sandbox.Invalid, Object: "header", Detail: "no marked column is in the table", Hint: "give its columns their names of the scheme"}
}

// Add reads a row. Cells that carry no mark, or none any more, are passed over.
func (t *Tracer) Add(row []string) {
	for i := range t.code.columns {
		col := &t.code.columns[i]
		if col.step == 0 || t.at[i] < 0 || t.at[i] >= len(row) {
			continue
		}
		v, exact, ok := col.read(row[t.at[i]])
		if !ok || !exact {
			continue
		}
		one, ok := col.bit(v)
		if !ok {
			continue
		}
		j, ok := t.code.position(i, col.pair(v), t.at, row)
		if !ok {
			continue
		}
		t.cells++
		if one {
			t.votes[j][1]++
		} else {
			t.votes[j][0]++
		}
	}
}

// Suspect (溯源对象) is how well one recipient's code agrees with a copy.
type Suspect struct {
	Recipient   sandbox.IdentityID `json:"recipient"`
	Agree       int                `json:"agree"`       // positions
	Score       float64            `json:"score"`       // symmetric Tardos score; of an innocent 0 on average, √positions its spread
	Probability float64            `json:"probability"` // that this recipient, being innocent, scores as much
	Chance      float64            `json:"chance"`      // that any of the recipients, being innocent, does
	Accused     bool               `json:"accused"`
}

// Trace (溯源结果) is what a copy says about its recipient. A Suspect
// whose Chance is at most Bound is accused. Nobody accused is no proof of anything.
type Trace struct {
	Cells     int64     `json:"cells"` // that were read
	Positions int       `json:"positions"`
	Bound     float64   `json:"bound"`
	Suspects  []Suspect `json:"suspects"` // the likeliest first
}

// Accused lists who is accused.
func (t Trace) Accused() (out []sandbox.IdentityID) {
	for _, s := range t.Suspects {
		if s.Accused {
			out = append(out, s.Recipient)
		}
	}
	return out
}

// Trace holds the copy against every recipient of the data set: all who were sent one, since the bound counts them.
func (t *Tracer) Trace(recipients []sandbox.IdentityID) (Trace, error) {
	out := Trace{Cells: t.cells, Bound: FalseAccusation, Suspects: []Suspect{}}
	if len(recipients) == 0 {
		return out, &sandbox.Error{Op: "mark: trace", Kind: sandbox.Invalid, Object: "recipients", Detail: "at least one recipient"}
	}
	type shown struct {
		j      int
		one    bool
		likely bool // most codes say so too
	}
	var ys []shown
	n := [2]int{} // positions where the copy says what most codes say, and the others
	for j, v := range t.votes {
		if v[0] == v[1] {
			continue
		}
		y := shown{j: j, one: v[1] > v[0]}
		if y.likely = y.one == t.code.biased[j]; y.likely {
			n[0]++
		} else {
			n[1]++
		}
		ys = append(ys, y)
	}
	out.Positions = len(ys)
	tail := newTail(n[0], n[1])
	for i, r := range recipients {
		if err := sandbox.CheckID("recipient", string(r)); err != nil {
			return out, err
		}
		if slices.Contains(recipients[:i], r) {
			return out, &sandbox.Error{Op: "mark: trace", Kind: sandbox.Conflict, Object: fmt.Sprintf("recipient %d", i+1), Detail: "each recipient once"}
		}
		word, err := t.code.codeword(r)
		if err != nil {
			return out, err
		}
		agree := [2]int{}
		for _, y := range ys {
			if word[y.j] == y.one {
				if y.likely {
					agree[0]++
				} else {
					agree[1]++
				}
			}
		}
		s := Suspect{Recipient: r, Agree: agree[0] + agree[1], Score: tail.score(agree[0], agree[1])}
		s.Probability = tail.atLeast(agree[0], agree[1])
		s.Chance = min(1, float64(len(recipients))*s.Probability)
		s.Accused = s.Chance <= FalseAccusation
		out.Suspects = append(out.Suspects, s)
	}
	slices.SortStableFunc(out.Suspects, func(a, b Suspect) int { return cmp.Compare(b.Score, a.Score) })
	return out, nil
}

// tail is the distribution of an innocent's score over a copy that says what most codes say at n positions and what few
// codes say at m: agreements there are binomial with q and 1-q, independently.
type tail struct {
	n, m     int
	q        float64
	win, pay float64   // score of an agreement at a likely position, and cost of a disagreement; the other way round at the others
	few      []float64 // few[b]: probability of b agreements of m
	many     []float64 // many[a]: probability of at least a agreements of n
}

func newTail(n, m int) *tail {
	q := float64(high) / unit
	t := &tail{n: n, m: m, q: q, win: math.Sqrt((1 - q) / q), pay: math.Sqrt(q / (1 - q)), few: binomial(m, 1-q), many: binomial(n, q)}
	sum := 0.0
	for a := n; a >= 0; a-- {
		sum += t.many[a]
		t.many[a] = sum
	}
	return t
}

// binomial gives the probabilities of 0 to n successes.
func binomial(n int, p float64) []float64 {
	out := make([]float64, n+1)
	all, _ := math.Lgamma(float64(n + 1))
	for k := range out {
		a, _ := math.Lgamma(float64(k + 1))
		b, _ := math.Lgamma(float64(n - k + 1))
		out[k] = math.Exp(all - a - b + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	return out
}

func (t *tail) score(a, b int) float64 {
	return float64(a)*t.win - float64(t.n-a)*t.pay + float64(b)*t.pay - float64(t.m-b)*t.win
}

// atLeast gives the probability of a score of at least that of a and b agreements. Rounding goes against accusing: the
// score is lowered a little and the sum, whose relative error stays under a millionth, is raised.
func (t *tail) atLeast(a, b int) float64 {
	least, sum := t.score(a, b)-1e-6, 0.0
	for k, p := range t.few {
		// score(x, k) ≥ least
		x := int(math.Ceil((least - t.score(0, k)) / (t.win + t.pay)))
		switch {
		case x <= 0:
			sum += p
		case x <= t.n:
			sum += p * t.many[x]
		}
	}
	return min(1, sum*(1+1e-6))
}
