package audit

import (
	"fmt"
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// Status (单元格状态) is what becomes of a cell.
type Status uint8

const (
	Published Status = iota // 公布: anybody reads its values
	Primary                 // 一次抑制: breaks a rule itself and must be protected
	Secondary               // 二次抑制: hidden to protect others
)

var statuses = [...]string{"published", "primary", "secondary"}

func (s Status) String() string {
	if int(s) < len(statuses) {
		return statuses[s]
	}
	return "unknown"
}

// Far is the unit's end of the world: a bound of ±Far is no bound, and every value is nearer to zero than it.
const Far = int64(1) << 60

// Cell (单元格) is one cell of a table, its totals included; its values stand in the table's layers.
type Cell struct {
	Key    string // cells of several tables with one key are one cell; empty: of this table alone
	Status Status
	Fixed  bool  // published before: it cannot be hidden any more
	Cost   int64 // of hiding it, at least 0: its value, its people, or 1
}

// Term (项) is a cell times a whole number, which is not zero.
type Term struct {
	Cell  int
	Times int64
}

// Equation (边际等式) is what everybody knows about cells: the terms come to a right-hand side, per layer. Without one (nil) they come
// to a total that is no cell of the table; it counts as known, published now or later, except when every cell of it is
// hidden and Safe says that it could not be published itself.
type Equation struct {
	Terms []Term
	Right []int64
}

// Need (保护要求) is how far the feasible interval of a hidden cell must reach: to its value + Up, to its value − Down, and
// Width from end to end wherever it lies. What bounds known beforehand leave no room for is not asked.
type Need struct{ Up, Down, Width int64 }

// Bound (已知上下界) is what everybody knows about a value before any release.
type Bound struct{ Lower, Upper int64 }

// Layer (数值层) is one number per cell, with one set of equations over all layers: rows, people, an amount. Values are whole
// numbers in the layer's scaled unit. Without bounds a value is at least 0 if the layer is not negative, else open to both sides.
type Layer struct {
	Name        string
	Values      []int64
	Needs       []Need // of the primary cells; others are zero
	NonNegative bool
	Bounds      []Bound // nil: as NonNegative says
}

func (l *Layer) bound(i int) Bound {
	switch {
	case l.Bounds != nil:
		return l.Bounds[i]
	case l.NonNegative:
		return Bound{0, Far}
	}
	return Bound{-Far, Far}
}

// Knowledge (自知信息) is a cell of which one contributor knows the own part.
type Knowledge struct {
	Cell int
	Sole bool    // nobody else is in it: its values are known
	Own  []int64 // per layer: the own part, to which others add in a layer that is not negative
}

// View (贡献者视角) is the table as one contributor sees it, who knows the own part of some cells.
type View []Knowledge

// Table (待审计表) is cells bound by equations. Linked tables and earlier releases are further cells and equations (see Join).
type Table struct {
	Cells     []Cell
	Equations []Equation
	Layers    []Layer
	Views     []View // beside the view of somebody who contributes nothing

	// Safe (合并判定) says whether cells taken together pass the primary rules; nil: not judged. The hidden cells of an equation, and
	// hidden cells whose sum follows, are known together and must.
	Safe func(cells []int) bool
}

func bad(object, rule string) error {
	return &sandbox.Error{Op: "audit", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// maxTimes bounds the multipliers of an equation.
const maxTimes = 1 << 16

// Validate refuses a table that is not one.
func (t *Table) Validate() error {
	if len(t.Layers) == 0 {
		return bad("table", "a table has a layer of values")
	}
	keys := map[string]bool{}
	for i, c := range t.Cells {
		at := fmt.Sprintf("cell %d", i)
		switch {
		case c.Key != "" && keys[c.Key]:
			return bad(at, "duplicate cell: keys are distinct")
		case c.Status > Secondary:
			return bad(at, "unknown status")
		case c.Cost < 0 || c.Cost > Far:
			return bad(at, "a cost is between 0 and 2^60")
		case c.Fixed && c.Status != Published:
			return bad(at, "a cell published before is not suppressed")
		}
		keys[c.Key] = true
	}
	for k := range t.Layers {
		if err := t.validateLayer(k); err != nil {
			return err
		}
	}
	for e := range t.Equations {
		if err := t.validateEquation(e); err != nil {
			return err
		}
	}
	for v, view := range t.Views {
		seen := map[int]bool{}
		for _, k := range view {
			at := fmt.Sprintf("view %d", v)
			if k.Cell < 0 || k.Cell >= len(t.Cells) || seen[k.Cell] {
				return bad(at, "a contributor knows cells of the table, each once")
			}
			if !k.Sole && len(k.Own) != len(t.Layers) {
				return bad(at, "a contributor's part is one value per layer")
			}
			for _, own := range k.Own {
				if own <= -Far || own >= Far {
					return bad(at, "values are within ±2^60")
				}
			}
			seen[k.Cell] = true
		}
	}
	return nil
}

func (t *Table) validateLayer(k int) error {
	l := &t.Layers[k]
	if len(l.Values) != len(t.Cells) || len(l.Needs) != len(t.Cells) || l.Bounds != nil && len(l.Bounds) != len(t.Cells) {
		return bad("layer "+l.Name, "a layer has a value, a need and bounds per cell")
	}
	for i, v := range l.Values {
		at := fmt.Sprintf("layer %s, cell %d", l.Name, i)
		b, n := l.bound(i), l.Needs[i]
		switch {
		case v <= -Far || v >= Far:
			return bad(at, "values are within ±2^60")
		case l.NonNegative && v < 0:
			return bad(at, "a negative value in a layer that has none")
		case b.Lower < -Far || b.Upper > Far || v < b.Lower || v > b.Upper:
			return bad(at, "a value lies within its bounds")
		case n.Up < 0 || n.Down < 0 || n.Width < 0 || n.Up > Far || n.Down > Far || n.Width > Far:
			return bad(at, "a need is between 0 and 2^60")
		}
	}
	return nil
}

func (t *Table) validateEquation(e int) error {
	at := fmt.Sprintf("equation %d", e)
	q := &t.Equations[e]
	if len(q.Terms) == 0 || q.Right != nil && len(q.Right) != len(t.Layers) {
		return bad(at, "an equation has terms, and a right-hand side per layer or none")
	}
	seen := map[int]bool{}
	for _, x := range q.Terms {
		if x.Cell < 0 || x.Cell >= len(t.Cells) || seen[x.Cell] || x.Times == 0 || x.Times > maxTimes || x.Times < -maxTimes {
			return bad(at, "terms are of cells of the table, each once, times a whole number up to 2^16")
		}
		seen[x.Cell] = true
	}
	if q.Right == nil {
		return nil
	}
	for k := range t.Layers {
		var s total
		for _, x := range q.Terms {
			s.add(t.Layers[k].Values[x.Cell], x.Times)
		}
		s.add(q.Right[k], -1)
		if !s.zero() {
			return bad(at, "inconsistent margins: the terms do not come to the right-hand side in layer "+t.Layers[k].Name)
		}
	}
	return nil
}

// total adds products exactly: 128 bits hold 2^60 · 2^16 · 2^40 terms.
type total struct {
	hi int64
	lo uint64
}

func (s *total) add(v, times int64) {
	a, neg := uint64(v), v < 0
	if neg {
		a = -a
	}
	b := uint64(times)
	if times < 0 {
		b, neg = -b, !neg
	}
	hi, lo := bits.Mul64(a, b)
	if neg {
		var borrow uint64
		s.lo, borrow = bits.Sub64(s.lo, lo, 0)
		s.hi -= int64(hi) + int64(borrow)
		return
	}
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi += int64(hi) + int64(carry)
}

func (s *total) zero() bool { return s.hi == 0 && s.lo == 0 }

// Join makes one table of linked ones (关联表): cells with one key are one cell, hidden as the strictest table hides it, and
// published beyond recall if any table has published it before. Layers are those of the first table, in its order and number. Views and
// Safe are the first table's.
func Join(first Table, others ...Table) (Table, error) {
	out := Table{Cells: append([]Cell(nil), first.Cells...), Equations: append([]Equation(nil), first.Equations...), Views: first.Views, Safe: first.Safe}
	for _, l := range first.Layers {
		l.Values, l.Needs = append([]int64(nil), l.Values...), append([]Need(nil), l.Needs...)
		if l.Bounds != nil {
			l.Bounds = append([]Bound(nil), l.Bounds...)
		}
		out.Layers = append(out.Layers, l)
	}
	by := map[string]int{}
	for i, c := range out.Cells {
		if c.Key != "" {
			by[c.Key] = i
		}
	}
	for n, t := range others {
		name := fmt.Sprintf("table %d", n+1)
		if err := t.Validate(); err != nil {
			return Table{}, err
		}
		if len(t.Layers) != len(out.Layers) {
			return Table{}, bad(name, "linked tables have the same layers")
		}
		at := make([]int, len(t.Cells))
		for i, c := range t.Cells {
			j, ok := by[c.Key]
			if c.Key == "" || !ok {
				j = len(out.Cells)
				out.Cells = append(out.Cells, c)
				for k := range out.Layers {
					l, from := &out.Layers[k], &t.Layers[k]
					l.Values, l.Needs = append(l.Values, from.Values[i]), append(l.Needs, from.Needs[i])
					if l.Bounds == nil && from.bound(i) != l.bound(i) {
						l.Bounds = make([]Bound, j)
						for x := range l.Bounds {
							l.Bounds[x] = (&Layer{NonNegative: l.NonNegative}).bound(x)
						}
					}
					if l.Bounds != nil {
						l.Bounds = append(l.Bounds, from.bound(i))
					}
				}
				if c.Key != "" {
					by[c.Key] = j
				}
			} else {
				for k := range out.Layers {
					l, from := &out.Layers[k], &t.Layers[k]
					if l.Values[j] != from.Values[i] {
						return Table{}, bad(name, fmt.Sprintf("inconsistent tables: cell %d has another value in layer %s", i, l.Name))
					}
					a, b := l.Needs[j], from.Needs[i]
					l.Needs[j] = Need{max(a.Up, b.Up), max(a.Down, b.Down), max(a.Width, b.Width)}
				}
				mine := &out.Cells[j]
				mine.Fixed = mine.Fixed || c.Fixed
				switch {
				case mine.Fixed:
					mine.Status = Published
				case mine.Status == Primary || c.Status == Primary:
					mine.Status = Primary
				default:
					mine.Status = max(mine.Status, c.Status)
				}
				mine.Cost = max(mine.Cost, c.Cost)
			}
			at[i] = j
		}
		for _, q := range t.Equations {
			moved := Equation{Right: q.Right}
			for _, x := range q.Terms {
				moved.Terms = append(moved.Terms, Term{at[x.Cell], x.Times})
			}
			out.Equations = append(out.Equations, moved)
		}
	}
	return out, out.Validate()
}
