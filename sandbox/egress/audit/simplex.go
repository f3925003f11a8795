package audit

import (
	"errors"
	"math/big"
	"math/bits"
)

// errWork (工作量上限) ends a search that would take longer than a stated bound allows; whoever gets it fails closed.
var errWork = errors.New("more work than an audit takes")

// tableau (单纯形表) is a system solved for some unknowns by the others, in whole numbers over one denominator (Bareiss): for each row,
// den·basic + Σ row[j]·j = 0. Margins have small minors, so that entries stay small; one that does not fit ends the search.
// Floating point was tried and lost: a library's simplex called the margins of whole tables singular, and each of its widths
// would have needed an exact proof afterwards. Source: Edmonds (1967); Bland's rule (1977).
type tableau struct {
	rows  [][]int64
	basic []int // per row: the unknown it is solved for
	row   []int // per unknown: its row, or −1
	den   int64
}

// maxEntry bounds entries, so that sums of two products fit.
const maxEntry = 1 << 30

func newTableau(s *system, work *int64, limit int64) (*tableau, error) {
	n := len(s.cells)
	t := &tableau{row: make([]int, n), den: 1}
	for u := range t.row {
		t.row[u] = -1
	}
	for _, row := range s.rows {
		dense := make([]int64, n)
		for _, e := range row {
			dense[e.at] = e.times
		}
		t.rows = append(t.rows, dense)
		t.basic = append(t.basic, -1)
	}
	for r := 0; r < len(t.rows); {
		at := -1
		for u, v := range t.rows[r] {
			if v == t.den || v == -t.den {
				at = u
				break
			}
			if v != 0 && at < 0 {
				at = u
			}
		}
		if at < 0 { // follows from the others
			last := len(t.rows) - 1
			t.rows[r], t.rows = t.rows[last], t.rows[:last]
			t.basic = t.basic[:last]
			continue
		}
		if err := t.pivot(r, at, work, limit); err != nil {
			return nil, err
		}
		r++
	}
	return t, nil
}

// pivot solves row r for unknown q.
func (t *tableau) pivot(r, q int, work *int64, limit int64) error {
	pr := t.rows[r]
	var filled []int
	for j, v := range pr {
		if v != 0 {
			filled = append(filled, j)
		}
	}
	if pr[q] < 0 {
		for _, j := range filled {
			pr[j] = -pr[j]
		}
	}
	p := pr[q]
	*work += int64(len(pr) + len(t.rows))
	for i, row := range t.rows {
		f := row[q]
		if i == r || f == 0 && p == t.den {
			continue
		}
		if p == t.den { // the usual case: only where the pivot's row has something
			*work += int64(len(filled))
			for _, j := range filled {
				w := row[j]*p - f*pr[j]
				if p != 1 {
					w /= p
				}
				if w > maxEntry || w < -maxEntry {
					return errWork
				}
				row[j] = w
			}
			continue
		}
		*work += 2 * int64(len(row))
		for j, v := range row {
			w := (v*p - f*pr[j]) / t.den
			if w > maxEntry || w < -maxEntry {
				return errWork
			}
			row[j] = w
		}
	}
	if *work > limit {
		return errWork
	}
	t.den = p
	if b := t.basic[r]; b >= 0 {
		t.row[b] = -1
	}
	t.basic[r], t.row[q] = q, r
	return nil
}

// point is where a search stands: what each unknown differs by from the truth.
type point []*big.Rat

// farthest moves an unknown as far as want in a direction by the primal simplex method with bounds, from the truth. It gives a move in whole
// numbers, which may be shorter than the one in fractions: top is that one's length, rounded down; the move's is got.
func (t *tableau) farthest(u int, dir int64, want int64, r room, work *int64, limit int64) (m move, got, top int64, err error) {
	at, err := t.climb(u, dir, want, r, nil, work, limit)
	if err != nil {
		return nil, 0, 0, err
	}
	length := func(x *big.Rat) int64 {
		if x == nil {
			return 0
		}
		y := new(big.Rat).Abs(x)
		q := new(big.Int).Quo(y.Num(), y.Denom())
		if !q.IsInt64() || q.Int64() > want {
			return want
		}
		return q.Int64()
	}
	top = length(at[u])
	// Fractions: bounds are drawn in around them, towards the truth, until a whole solution stands.
	for range 12 {
		whole := true
		for v, x := range at {
			if x == nil || x.IsInt() {
				continue
			}
			if whole {
				r = room{append([]int64(nil), r.up...), append([]int64(nil), r.down...)}
				whole = false
			}
			if n := length(x); x.Sign() > 0 {
				r.up[v] = n
			} else {
				r.down[v] = n
			}
		}
		if whole {
			break
		}
		if at, err = t.climb(u, dir, want, r, nil, work, limit); err != nil {
			return nil, 0, 0, err
		}
	}
	for v, x := range at {
		if x == nil || x.Sign() == 0 {
			continue
		}
		if !x.IsInt() || !x.Num().IsInt64() {
			return nil, 0, top, nil
		}
		m = append(m, entry{v, x.Num().Int64()})
	}
	return m, length(at[u]), top, nil
}

// climb is the search itself. With costs, the cheapest unknown that helps moves next, not the one that helps most.
func (t *tableau) climb(u int, dir int64, want int64, r room, cost []int64, work *int64, limit int64) (point, error) {
	at := make(point, len(t.row))
	zero := new(big.Rat)
	value := func(v int) *big.Rat {
		if at[v] == nil {
			return zero
		}
		return at[v]
	}
	// space is how far an unknown can still go up (sign 1) or down (sign −1); nil without bound.
	space := func(v int, sign int64) *big.Rat {
		b := r.up[v]
		if sign < 0 {
			b = r.down[v]
		}
		if b >= endless {
			return nil
		}
		x := new(big.Rat).SetInt64(b)
		if sign > 0 {
			return x.Sub(x, value(v))
		}
		return x.Add(x, value(v))
	}
	add := func(v int, d *big.Rat) {
		if at[v] == nil {
			at[v] = new(big.Rat)
		}
		at[v].Add(at[v], d)
	}
	goal := new(big.Rat).SetInt64(dir * want)
	stalled := 0
	for {
		missing := new(big.Rat).Sub(goal, value(u))
		if missing.Sign()*int(dir) <= 0 {
			return at, nil
		}
		// The entering unknown, and which way it goes.
		enter, sign, gain := -1, int64(0), int64(0)
		row := t.row[u]
		if row < 0 {
			if x := space(u, dir); x == nil || x.Sign() > 0 {
				enter, sign, gain = u, dir, t.den
			}
		} else {
			*work += int64(len(t.row))
			for j, v := range t.rows[row] {
				if v == 0 || j == u {
					continue
				}
				g, s := -v*dir, int64(1)
				if g < 0 {
					g, s = -g, -1
				}
				if cost == nil && g <= gain || cost != nil && enter >= 0 && cost[j] >= cost[enter] {
					continue
				}
				if x := space(j, s); x == nil || x.Sign() > 0 {
					enter, sign, gain = j, s, g
					if stalled > 20 {
						break // Bland: the first
					}
				}
			}
		}
		if enter < 0 {
			return at, nil
		}
		// How far: until it, or a basic unknown, is at its bound, or the goal is reached.
		step, leave := space(enter, sign), -1
		for i, rw := range t.rows {
			a := rw[enter]
			if a == 0 || t.basic[i] == enter {
				continue
			}
			way := -sign
			if a < 0 {
				way = sign
				a = -a
			}
			x := space(t.basic[i], way)
			if x == nil {
				continue
			}
			x.Mul(x, new(big.Rat).SetFrac64(t.den, a))
			c := -1
			if step != nil {
				c = x.Cmp(step)
			}
			if c < 0 || c == 0 && leave >= 0 && t.basic[i] < t.basic[leave] {
				step, leave = x, i
			}
		}
		*work += 16 * int64(len(t.rows))
		if *work > limit {
			return nil, errWork
		}
		enough := missing.Abs(missing)
		enough.Mul(enough, new(big.Rat).SetFrac64(t.den, gain))
		last := step == nil || enough.Cmp(step) <= 0
		if last {
			// A step that keeps everything whole is as good, if there is room for it.
			whole := new(big.Int).Quo(new(big.Int).Add(enough.Num(), new(big.Int).Sub(enough.Denom(), big.NewInt(1))), enough.Denom())
			if d := big.NewInt(t.unit(enter)); t.den != 1 {
				whole.Mul(whole.Quo(whole.Add(whole, new(big.Int).Sub(d, big.NewInt(1))), d), d)
			}
			if x := new(big.Rat).SetInt(whole); step == nil || x.Cmp(step) <= 0 {
				enough = x
			}
			step, leave = enough, -1
		}
		if step.Sign() == 0 {
			stalled++
		} else {
			stalled = 0
			d := new(big.Rat).Set(step)
			if sign < 0 {
				d.Neg(d)
			}
			for i, rw := range t.rows {
				if a := rw[enter]; a != 0 && t.basic[i] != enter {
					x := new(big.Rat).SetFrac64(-a, t.den)
					add(t.basic[i], x.Mul(x, d))
				}
			}
			add(enter, d)
		}
		if last {
			return at, nil
		}
		if leave >= 0 {
			if err := t.pivot(leave, enter, work, limit); err != nil {
				return nil, err
			}
		}
	}
}

// unit is the least whole step of an unknown that moves every basic one by a whole number.
func (t *tableau) unit(u int) int64 {
	g := t.den
	for _, row := range t.rows {
		for b := max(row[u], -row[u]); b != 0; {
			g, b = b, g%b
		}
	}
	return t.den / g
}

// draw gives one solution of the equations in the field of 2^61−1 elements, the same every time and as good as random.
func (t *tableau) draw() []uint64 {
	d := make([]uint64, len(t.row))
	x := uint64(0x9E3779B97F4A7C15)
	for u := range d {
		if t.row[u] >= 0 {
			continue
		}
		x += 0x9E3779B97F4A7C15 // splitmix64
		z := (x ^ x>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		d[u] = (z ^ z>>31) % prime
	}
	inv := inverse(uint64(t.den))
	for r, row := range t.rows {
		var s uint64
		for u, v := range row {
			if v == 0 || t.row[u] >= 0 {
				continue
			}
			s = plus(s, times(d[u], residue(-v)))
		}
		d[t.basic[r]] = times(s, inv)
	}
	return d
}

// residue gives a whole number in the field.
func residue(v int64) uint64 {
	if v %= prime; v < 0 {
		v += prime
	}
	return uint64(v)
}

func plus(a, b uint64) uint64 {
	if a += b; a >= prime {
		a -= prime
	}
	return a
}

func times(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	s := lo&prime + (hi<<3 | lo>>61)
	if s >= prime {
		s -= prime
	}
	return s
}

// inverse is a^(p−2).
func inverse(a uint64) uint64 {
	out := uint64(1)
	for e := uint64(prime - 2); e > 0; e >>= 1 {
		if e&1 == 1 {
			out = times(out, a)
		}
		a = times(a, a)
	}
	return out
}
