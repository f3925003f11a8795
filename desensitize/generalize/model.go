package generalize

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// slack is what sums of floating-point terms may miss a threshold by: a class whose entropy is log l exactly must not fail
// by the last bit.
const slack = 1e-9

// DiversityKind (l-多样性类型) is one of Machanavajjhala's definitions.
type DiversityKind string

const (
	Distinct  DiversityKind = "distinct"  // at least l values
	Entropy   DiversityKind = "entropy"   // entropy of the class ≥ log l
	Recursive DiversityKind = "recursive" // r1 < c·(rl + … + rm), counts in falling order
)

// Diversity (l-多样性) is wanted of one sensitive column.
type Diversity struct {
	Column string
	Kind   DiversityKind
	L      float64 // whole for distinct and recursive, at least 1
	C      float64 // of recursive, above 0
}

// Distance (t-相近距离) is a ground distance of t-closeness.
type Distance string

const (
	Equal   Distance = "equal"   // between any two values 1: half the sum of differences
	Ordered Distance = "ordered" // |i−j|/(m−1) between ranks: the earth mover's distance of the cumulated differences
)

// Closeness (t-相近) is wanted of one sensitive column.
type Closeness struct {
	Column   string
	T        float64 // 0 to 1
	Distance Distance
	Order    []string // of ordered: every value, lowest first; empty if all values are numbers
}

// Presence (δ-存在) bounds, for each class, its rows divided by its people.
type Presence struct{ Min, Max float64 }

// check is what a goal asks of a class, on codes.
type check struct {
	k, kmap   uint32
	presence  *Presence
	diversity []codedDiversity
	closeness []codedCloseness
	sort      []uint32
	dense     []uint32
}

type codedDiversity struct {
	Diversity
	at   int // sensitive column
	need float64
}

type codedCloseness struct {
	Closeness
	at   int
	q    []float64 // the table's distribution, by code
	rank []uint32  // of ordered: codes in order
}

// String prints the condition as in a paper.
func (d Diversity) String() string {
	if d.Kind == Recursive {
		return fmt.Sprintf("recursive (%g,%g)-diversity of %s", d.C, d.L, d.Column)
	}
	return fmt.Sprintf("%s %g-diversity of %s", d.Kind, d.L, d.Column)
}

func (c Closeness) String() string {
	return fmt.Sprintf("%g-closeness of %s, %s distance", c.T, c.Column, c.Distance)
}

func (t *Table) sensitiveAt(name string) (int, error) {
	for i := range t.sensitive {
		if t.sensitive[i].name == name {
			return i, nil
		}
	}
	return 0, bad("column "+name, "it is not among the sensitive columns", "name it as sensitive when the table is made")
}

// Check (目标核对) holds a goal against the configuration, so that a wrong one is refused before the first row. What depends on
// the values, an order of theirs, is held when the search starts.
func (t *Table) Check(g Goal) error {
	if t.frozen != nil {
		_, err := t.checkOf(&g)
		return err
	}
	// The configuration alone: a table without rows has no distribution and no order yet.
	empty := &Table{cfg: t.cfg, sensitive: t.sensitive}
	_, err := empty.checkOf(&g)
	return err
}

// checkOf holds a goal against the table.
func (t *Table) checkOf(g *Goal) (*check, error) {
	c := &check{k: uint32(max(g.K, 1)), kmap: uint32(g.KMap), presence: g.Presence}
	if g.K < 0 || g.K > MaxRows || g.KMap < 0 || g.KMap > MaxRows {
		return nil, bad("goal", "k is 1 or more", "")
	}
	switch g.Metric {
	case "":
		g.Metric = Discernibility
	case Discernibility, AverageClass, Height, EntropyLoss:
	default:
		return nil, bad("goal", "no such metric", "dm, aecs, height or entropy")
	}
	if g.MaxNodes < 0 || g.CacheBytes < 0 {
		return nil, bad("goal", "bounds are not negative", "")
	}
	if g.K < 2 && g.KMap < 2 && g.Presence == nil && len(g.Diversity)+len(g.Closeness) == 0 {
		return nil, bad("goal", "no model asks for anything", "k of 2 or more, or another model")
	}
	if !(g.Suppression >= 0 && g.Suppression <= 1) {
		return nil, bad("goal", "the suppression limit is a share from 0 to 1", "0.04 for 4 %")
	}
	if err := t.checkEarlier(g.Earlier); err != nil {
		return nil, err
	}
	if (g.KMap > 0 || g.Presence != nil) && !t.cfg.Population {
		return nil, bad("goal", "k-map and δ-presence compare with a population", "give the population the table was drawn from")
	}
	if p := g.Presence; p != nil {
		if !(p.Min >= 0 && p.Min <= p.Max && p.Max <= 1) {
			return nil, bad("goal", "δ-presence has 0 ≤ min ≤ max ≤ 1", "")
		}
		if p.Min > 0 && g.Suppression > 0 {
			return nil, bad("goal", "a lower bound of δ-presence goes without suppression: suppressed people would be known as absent", "suppression 0, or a lower bound of 0")
		}
	}
	for _, d := range g.Diversity {
		at, err := t.sensitiveAt(d.Column)
		if err != nil {
			return nil, err
		}
		cd := codedDiversity{d, at, d.L}
		switch {
		case !(d.L >= 1 && d.L <= MaxRows):
			return nil, bad("goal", "l is 1 or more", "")
		case d.Kind == Entropy:
			cd.need = math.Log(d.L)
		case d.Kind != Distinct && d.Kind != Recursive:
			return nil, bad("goal", "a diversity is distinct, entropy or recursive", "")
		case d.L != math.Trunc(d.L):
			return nil, bad("goal", "l of distinct and recursive diversity is whole", "")
		case d.Kind == Recursive && !(d.C > 0 && d.C <= MaxRows):
			return nil, bad("goal", "c of recursive diversity is above 0", "")
		}
		c.diversity = append(c.diversity, cd)
	}
	for _, cl := range g.Closeness {
		at, err := t.sensitiveAt(cl.Column)
		if err != nil {
			return nil, err
		}
		if !(cl.T >= 0 && cl.T <= 1) {
			return nil, bad("goal", "t is from 0 to 1", "")
		}
		cc := codedCloseness{Closeness: cl, at: at}
		if cl.Distance != Equal && cl.Distance != Ordered {
			return nil, bad("goal", "a distance is equal or ordered", "")
		}
		if t.frozen != nil {
			for _, n := range t.frozen.hists[at].total {
				cc.q = append(cc.q, float64(n)/float64(t.n))
			}
			if cl.Distance == Ordered {
				if cc.rank, err = t.sensitive[at].order(cl.Order); err != nil {
					return nil, err
				}
			}
		}
		c.closeness = append(c.closeness, cc)
	}
	return c, nil
}

// order ranks a sensitive column's codes: as listed, or as numbers. Missing values have no rank.
func (dict *dictionary) order(list []string) ([]uint32, error) {
	at := "column " + dict.name
	if dict.missing >= 0 {
		return nil, bad(at, "missing values have no place in an order", "drop these rows, write a value for missing, or use the equal distance")
	}
	rank := make([]uint32, 0, len(dict.values))
	if len(list) > 0 {
		for _, v := range list {
			if c, ok := dict.code[v]; ok {
				if slices.Contains(rank, c) {
					return nil, bad(at, "the order lists a value twice", "")
				}
				rank = append(rank, c)
			}
		}
		if len(rank) != len(dict.values) {
			return nil, bad(at, "the order does not list every value", "list all values, lowest first")
		}
		return rank, nil
	}
	numbers := make([]float64, len(dict.values))
	for c, v := range dict.values {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return nil, bad(at, "the ordered distance needs numbers or a listed order", "list all values, lowest first")
		}
		numbers[c], rank = n, append(rank, uint32(c))
	}
	slices.SortFunc(rank, func(a, b uint32) int {
		switch {
		case numbers[a] < numbers[b]:
			return -1
		case numbers[a] > numbers[b]:
			return 1
		}
		return int(a) - int(b)
	})
	return rank, nil
}

// grows says whether class i meets the models that hold for a union as soon as they hold for one part: size, k-map and
// distinct diversity.
func (c *check) grows(cl *classes, i int) bool {
	if cl.count[i] < c.k || c.kmap > 0 && cl.pop[i] < c.kmap {
		return false
	}
	for d := range c.diversity {
		if div := &c.diversity[d]; div.Kind == Distinct {
			h := &cl.hist[div.at]
			if float64(h.from[i+1]-h.from[i]) < div.L {
				return false
			}
		}
	}
	return true
}

// rest says whether class i meets the other models, which hold for a union only if they hold for every part.
func (c *check) rest(cl *classes, i int) bool {
	if p := c.presence; p != nil {
		share := float64(cl.count[i]) / float64(cl.pop[i])
		if share < p.Min-slack || share > p.Max+slack {
			return false
		}
	}
	n := float64(cl.count[i])
	for d := range c.diversity {
		div := &c.diversity[d]
		if div.Kind == Distinct {
			continue
		}
		h := &cl.hist[div.at]
		counts := h.count[h.from[i]:h.from[i+1]]
		if div.Kind == Entropy {
			sum := 0.0
			for _, x := range counts {
				sum += float64(x) * math.Log(float64(x))
			}
			if math.Log(n)-sum/n < div.need-slack {
				return false
			}
			continue
		}
		c.sort = append(c.sort[:0], counts...)
		slices.Sort(c.sort)
		tail := 0.0
		for _, x := range c.sort[:max(0, len(c.sort)-int(div.L)+1)] {
			tail += float64(x)
		}
		if !(float64(c.sort[len(c.sort)-1]) < div.C*tail) {
			return false
		}
	}
	for k := range c.closeness {
		if c.distance(cl, i, &c.closeness[k]) > c.closeness[k].T+slack {
			return false
		}
	}
	return true
}

// distance is that of class i from the whole table.
func (c *check) distance(cl *classes, i int, m *codedCloseness) float64 {
	h := &cl.hist[m.at]
	values, counts := h.value[h.from[i]:h.from[i+1]], h.count[h.from[i]:h.from[i+1]]
	n := float64(cl.count[i])
	if m.Distance == Equal {
		sum := 0.0
		for e, v := range values {
			sum += max(0, float64(counts[e])/n-m.q[v]) // what exceeds on one side is what lacks on the other
		}
		return sum
	}
	if len(m.rank) < 2 {
		return 0
	}
	c.dense = fit(c.dense, len(m.q))
	clear(c.dense)
	for e, v := range values {
		c.dense[v] = counts[e]
	}
	sum, carried := 0.0, 0.0
	for _, v := range m.rank {
		carried += float64(c.dense[v])/n - m.q[v]
		sum += math.Abs(carried)
	}
	return sum / float64(len(m.rank)-1)
}
