package generalize

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// The oracle: every definition computed once more from rows of text, with maps, sharing no code with the search.

type plainTable struct {
	quasi      []string
	hier       []*Hierarchy
	sensitive  string     // one sensitive column or ""
	rows       [][]string // quasi-identifiers, then sensitive
	population [][]string // nil for none
}

// level generalises one value by the hierarchy; missing stays missing below the top.
func plainLabel(h *Hierarchy, v string, level int) string {
	if v == "" {
		if level == h.Levels()-1 {
			return "*"
		}
		return ""
	}
	out, _ := h.Append(nil, v, level)
	return string(out)
}

func (p *plainTable) group(rows [][]string, levels []int) map[string][]int {
	out := map[string][]int{}
	label := make([]map[string]string, len(p.hier)) // of each value, once
	for d := range label {
		label[d] = map[string]string{}
	}
	for i, row := range rows {
		joined := ""
		for d, h := range p.hier {
			l, ok := label[d][row[d]]
			if !ok {
				l = strconv.Quote(plainLabel(h, row[d], levels[d])) + ","
				label[d][row[d]] = l
			}
			joined += l
		}
		joined = strings.TrimSuffix(joined, ",")
		out[joined] = append(out[joined], i)
	}
	return out
}

func valueCounts(rows [][]string, of []int, col int) map[string]int {
	out := map[string]int{}
	for _, i := range of {
		out[rows[i][col]]++
	}
	return out
}

// plainHolds judges one class by the definitions: values are the sensitive values' counts in it, all those of the table.
func plainHolds(g Goal, size, people int, values, all map[string]int) error {
	if size < g.K {
		return fmt.Errorf("a class of %d under k %d", size, g.K)
	}
	if g.KMap > 0 && people < g.KMap {
		return fmt.Errorf("a class of %d people under k-map %d", people, g.KMap)
	}
	if p := g.Presence; p != nil {
		d := float64(size) / float64(people)
		if d < p.Min-1e-9 || d > p.Max+1e-9 {
			return fmt.Errorf("presence out of bounds")
		}
	}
	n := 0
	var counts []int
	for _, c := range values {
		n += c
		counts = append(counts, c)
	}
	sort.Sort(sort.Reverse(sort.IntSlice(counts)))
	for _, d := range g.Diversity {
		switch d.Kind {
		case Distinct:
			if float64(len(values)) < d.L {
				return fmt.Errorf("distinct diversity")
			}
		case Entropy:
			e := 0.0
			for _, c := range counts {
				p := float64(c) / float64(n)
				e -= p * math.Log(p)
			}
			if e < math.Log(d.L)-1e-9 {
				return fmt.Errorf("entropy diversity")
			}
		case Recursive:
			tail := 0
			for i := int(d.L) - 1; i < len(counts); i++ {
				tail += counts[i]
			}
			if !(float64(counts[0]) < d.C*float64(tail)) {
				return fmt.Errorf("recursive diversity")
			}
		}
	}
	total := 0
	for _, c := range all {
		total += c
	}
	for _, c := range g.Closeness {
		var order []string
		for v := range all {
			order = append(order, v)
		}
		sort.Slice(order, func(i, j int) bool {
			a, _ := strconv.ParseFloat(order[i], 64)
			b, _ := strconv.ParseFloat(order[j], 64)
			return a < b
		})
		half, emd, carry := 0.0, 0.0, 0.0
		for _, v := range order {
			diff := float64(values[v])/float64(n) - float64(all[v])/float64(total)
			half += math.Abs(diff) / 2
			carry += diff
			emd += math.Abs(carry)
		}
		d := half
		if c.Distance == Ordered {
			d = emd / math.Max(1, float64(len(order)-1))
		}
		if d > c.T+1e-9 {
			return fmt.Errorf("closeness")
		}
	}
	return nil
}

// evaluate gives a node's loss by each metric, or false if it does not satisfy the goal.
func (p *plainTable) evaluate(g Goal, levels []int) (map[Metric]float64, int, bool) {
	groups := p.group(p.rows, levels)
	people := map[string]int{}
	for k, v := range p.group(p.population, levels) {
		people[k] = len(v)
	}
	if g.Presence != nil && g.Presence.Min > 0 {
		for k := range people {
			if len(groups[k]) == 0 {
				return nil, 0, false
			}
		}
	}
	n := len(p.rows)
	everyone := make([]int, n)
	for i := range everyone {
		everyone[i] = i
	}
	all := valueCounts(p.rows, everyone, len(p.quasi))
	suppressed, classes, squares := 0, 0, 0
	bad := map[int]bool{}
	for k, rows := range groups {
		if plainHolds(g, len(rows), people[k], valueCounts(p.rows, rows, len(p.quasi)), all) != nil {
			suppressed += len(rows)
			for _, r := range rows {
				bad[r] = true
			}
			continue
		}
		classes++
		squares += len(rows) * len(rows)
	}
	if float64(suppressed) > g.Suppression*float64(n)+1e-9 {
		return nil, 0, false
	}
	loss := map[Metric]float64{Discernibility: float64(squares + suppressed*n)}
	if suppressed > 0 {
		classes++
	}
	loss[AverageClass] = float64(n) / float64(classes)
	for d, h := range p.hier {
		loss[Height] += float64(levels[d])
		same, wide, label := map[string]int{}, map[string]int{}, map[string]string{}
		for _, row := range p.rows {
			if _, ok := label[row[d]]; !ok {
				label[row[d]] = plainLabel(h, row[d], levels[d])
			}
			same[row[d]]++
			wide[label[row[d]]]++
		}
		for i, row := range p.rows {
			w := wide[label[row[d]]]
			if bad[i] {
				w = n
			}
			loss[EntropyLoss] += math.Log2(float64(w) / float64(same[row[d]]))
		}
	}
	return loss, suppressed, true
}

// optimum tries every node.
func (p *plainTable) optimum(g Goal) (best float64, found bool) {
	levels := make([]int, len(p.hier))
	for {
		if loss, _, ok := p.evaluate(g, levels); ok && (!found || loss[g.Metric] < best) {
			best, found = loss[g.Metric], true
		}
		d := 0
		for ; d < len(levels); d++ {
			if levels[d]++; levels[d] < p.hier[d].Levels() {
				break
			}
			levels[d] = 0
		}
		if d == len(levels) {
			return best, found
		}
	}
}

// texts reads a record back as rows of text.
func texts(rec arrow.Record) [][]string {
	out := make([][]string, rec.NumRows())
	for c := range int(rec.NumCols()) {
		col := rec.Column(c).(*array.String)
		for r := range out {
			v := ""
			if col.IsValid(r) {
				v = col.Value(r)
			}
			out[r] = append(out[r], v)
		}
	}
	return out
}

// holds checks published rows from the definitions: their quasi-identifiers as they stand, the sensitive distribution
// of the whole table, and the population generalised to the same levels.
func (p *plainTable) holds(g Goal, levels []int, out [][]string) error {
	all := map[string]int{}
	for _, r := range p.rows {
		all[r[len(r)-1]]++
	}
	if p.sensitive == "" {
		all = map[string]int{}
	}
	classes, people := map[string][]int{}, map[string]int{}
	key := func(fields []string) string {
		var quoted []string
		for _, f := range fields {
			quoted = append(quoted, strconv.Quote(f))
		}
		return strings.Join(quoted, ",")
	}
	for i, row := range out {
		k := key(row[:len(p.quasi)])
		classes[k] = append(classes[k], i)
	}
	for k, rows := range p.group(p.population, levels) {
		people[k] = len(rows)
	}
	for k, rows := range classes {
		values := map[string]int{}
		if p.sensitive != "" {
			values = valueCounts(out, rows, len(p.quasi))
		}
		if err := plainHolds(g, len(rows), people[k], values, all); err != nil {
			return err
		}
	}
	if missing := len(p.rows) - len(out); float64(missing) > g.Suppression*float64(len(p.rows))+1e-9 {
		return fmt.Errorf("%d rows are not in the output", missing)
	}
	return nil
}
