package model

import (
	"fmt"
	"math"
	"slices"
)

// peopleBase is what counts of people in leaves are rounded down to. Source: rule 20 of the gate.
const peopleBase = 5

// structure holds the model to rules 9 and 26 and gives what would leave: the gate's own numbers where it can compute them.
func (j *judging) structure() *Model {
	j.r.Free = int(math.Ceil(j.m.Trainer.bits(j.m.Kind)))
	j.least(RuleDegrees, "", float64(j.train.Subjects()-j.r.Parameters), float64(j.p.MinDegrees), float64(j.p.MinDegrees))
	if j.m.Kind.trees() {
		return j.leaves()
	}
	j.limiting()
	j.support()
	switch j.m.Kind {
	case Scorecard:
		j.bins()
	case Logistic:
		j.levels()
	}
	own := *j.own
	if j.m.Kind == Scorecard {
		j.r.Free += int(math.Ceil(j.m.cuts()))
	}
	if j.fit.singular || !j.fit.converged {
		j.most(RuleSeparation, "", 1, 0, 0)
		j.r.Free = j.r.Bits
		return j.m
	}
	j.separation()
	most := j.fit.influences(j.train)
	j.most(RuleInfluence, j.columnName(most.column), most.change, 0.5, 1)
	j.most(RuleLeverage, "", most.leverage, 0.2, 0.5)
	// What the data do not give is no model of them: the submitted numbers are as likely as the gate's own, by the likelihood ratio.
	c := j.m.compile()
	ridge, dev := j.m.Trainer.Ridge.Float(), 0.0
	for r := range j.train.Rows() {
		dev += deviance(j.m.Kind, j.train.y[r], c.predict(j.train, r))
	}
	for _, b := range c.beta[1:] {
		dev += ridge * b * b
	}
	excess := (dev - j.fit.deviance) / j.fit.dispersion
	limit := chiSquare(j.r.Parameters, 0.999)
	j.most(RuleFit, "", max(excess, 0), limit, limit)
	apart, where := 0.0, ""
	compare := func(a, b Fixed, at string) {
		if x := math.Abs((a - b).Float()); x > apart {
			apart, where = x, at
		}
	}
	compare(*j.m.Intercept, *own.Intercept, "intercept")
	for i, x := range j.m.Coefficients {
		compare(x.Value, own.Coefficients[i].Value, j.columnName(i+1))
	}
	for i, x := range j.m.Characteristics {
		compare(x.Coefficient, own.Characteristics[i].Coefficient, x.Feature)
		for b := range x.WOE {
			compare(x.WOE[b], own.Characteristics[i].WOE[b], x.Feature)
		}
	}
	j.most(RuleReproduction, where, apart, 0.0021, math.Inf(1))
	if excess > limit {
		j.r.Free = j.r.Bits
		return j.m // it fails; what is attacked is what was submitted
	}
	return &own
}

// columnName names a column of the design.
func (j *judging) columnName(i int) string {
	switch {
	case i == 0:
		return "intercept"
	case j.m.Kind == Scorecard:
		return j.m.Characteristics[i-1].Feature
	}
	c := j.m.terms()[i-1]
	if c.Level != "" {
		return c.Feature + "=" + c.Level
	}
	return c.Feature
}

// limiting is the limiting sample size per parameter: of binary labels the people of the rarer outcome, of counts those who have any, else all.
// Sources: Peduzzi et al. 1996 (ten events); Vittinghoff and McCulloch 2007 (five).
func (j *judging) limiting() {
	n := float64(j.train.Subjects())
	if f := j.m.Label.Form; f != Amount {
		events, others := 0, 0
		for s := range j.train.Subjects() {
			from, to := j.train.rows(s)
			has, hasNot := false, false
			for r := from; r < to; r++ {
				has, hasNot = has || j.train.y[r] > 0.5, hasNot || j.train.y[r] <= 0.5
			}
			if has {
				events++
			}
			if hasNot {
				others++
			}
		}
		if n = float64(events); f == Binary {
			n = float64(min(events, others))
		}
	}
	j.least(RuleEvents, "", n/float64(max(j.r.Parameters-1, 1)), 10, 5)
}

// support: a coefficient rests on people on either side of its column: those of a level and the others, those whose own mean is above the
// mean and those whose is below.
func (j *judging) support() {
	d, l := j.train, newLayout(j.own)
	sum := make([]float64, l.columns)
	at, v := make([]int, l.columns+1), make([]float64, l.columns+1)
	own := make([]float64, l.columns)
	for r := range d.Rows() {
		for a := range l.fill(d, r, at, v) {
			sum[at[a]] += v[a]
		}
	}
	above, below := make([]int, l.columns), make([]int, l.columns)
	for s := range d.Subjects() {
		from, to := d.rows(s)
		clear(own)
		for r := from; r < to; r++ {
			for a := range l.fill(d, r, at, v) {
				own[at[a]] += v[a]
			}
		}
		for c := 1; c < l.columns; c++ {
			x, m := own[c]/float64(to-from), sum[c]/float64(d.Rows())
			if x > m+1e-12 {
				above[c]++
			} else if x < m-1e-12 {
				below[c]++
			}
		}
	}
	fewest, where := math.MaxInt, ""
	for c := 1; c < l.columns; c++ {
		if n := min(above[c], below[c]); n < fewest {
			fewest, where = n, j.columnName(c)
		}
	}
	j.least(RuleFrequency, where, float64(fewest), float64(j.p.MinSubjects), float64(j.p.MinSubjects))
}

// bins: a weight of evidence tells the events of its bin.
func (j *judging) bins() {
	fewest, where := math.MaxInt, ""
	for _, c := range j.m.Characteristics {
		f := j.m.feature(c.Feature)
		bin := make([]int, j.m.Features[f].steps())
		for b := range bin {
			bin[b] = c.group(j.m.Features[f], b)
		}
		if n, g := j.rarest(f, bin, len(c.WOE)); n < fewest {
			fewest, where = n, fmt.Sprintf("%s, bin %d", c.Feature, g+1)
		}
	}
	j.least(RuleClass, where, float64(fewest), float64(j.p.MinSubjects), float64(j.p.MinSubjects))
}

// levels: a coefficient of a level tells that everybody there, or nobody, has the outcome, and nearly so that few have it.
func (j *judging) levels() {
	fewest, where := math.MaxInt, ""
	for f, x := range j.m.Features {
		if !x.category() {
			continue
		}
		own := make([]int, len(x.Levels))
		for l := range own {
			own[l] = l
		}
		if n, l := j.rarest(f, own, len(own)); n < fewest {
			fewest, where = n, x.Name+"="+x.Levels[l]
		}
	}
	if where != "" {
		j.least(RuleClass, where, float64(fewest), float64(j.p.MinSubjects), 1)
	}
}

// rarest gives the fewest people of an outcome in any bin of a feature, and the bin. Bins are given by step or level.
func (j *judging) rarest(feature int, bin []int, bins int) (people, at int) {
	d := j.train
	var n [2][]int
	var last [2][]int32 // rows of a subject are together
	for k := range n {
		n[k], last[k] = make([]int, bins), make([]int32, bins)
	}
	for r := range d.Rows() {
		k, g := 0, bin[d.bins(r)[feature]]
		if d.y[r] > 0.5 {
			k = 1
		}
		if s := d.who[r] + 1; last[k][g] != s {
			last[k][g] = s
			n[k][g]++
		}
	}
	people = math.MaxInt
	for g := range bins {
		if m := min(n[0][g], n[1][g]); m < people {
			people, at = m, g
		}
	}
	return people, at
}

// separation: predictions of certainty. Source: Albert and Anderson 1984; a fit that has no end stands out by its predictions.
func (j *judging) separation() {
	if !j.m.Kind.probability(j.m.Label) {
		j.most(RuleSeparation, "", 0, 0, 0)
		return
	}
	fits := []*glm{j.fit}
	if len(j.fit.layout.feature) > 0 { // a ridge holds a fit back from the line that separates: nearly without one it finds it
		if free := fitGLM(j.m.Kind, j.fit.layout, j.train, j.train.everyone(), 1e-4); !free.singular {
			fits = append(fits, free)
		}
	}
	certain := 0
	for i, f := range fits {
		events, lowest, highest := 0, math.Inf(1), math.Inf(-1) // of events and of others: complete separation
		for r := range j.train.Rows() {
			eta := f.layout.dot(j.train, r, f.beta)
			if p := mean(j.m.Kind, eta); i == 0 && (p < 1e-7 || p > 1-1e-7) {
				certain++
			}
			if j.train.y[r] > 0.5 {
				events++
				lowest = min(lowest, eta)
			} else {
				highest = max(highest, eta)
			}
		}
		if lowest > highest || events == 0 || events == j.train.Rows() {
			certain = j.train.Rows()
		}
	}
	j.most(RuleSeparation, "", float64(certain), 0, 0)
}

// leaves holds trees to the rules of leaves and gives them the gate's own numbers: people, and of a single tree the values.
func (j *judging) leaves() *Model {
	d, binary := j.train, j.m.Label.Form == Binary
	out := *j.m
	out.Trees = make([][]Node, len(j.m.Trees))
	fewest, rare, share, apart := math.MaxInt, math.MaxInt, 0, 0.0
	var where, rareAt, shareAt, apartAt string
	rows := d.everyone()
	for i, t := range j.m.Trees {
		flats := make([]flat, len(t))
		for k, n := range t {
			flats[k] = flatten(j.m.Schema, n)
		}
		c := count(flats, d, rows, binary)
		sum, n := make([]float64, len(t)), make([]float64, len(t))
		per := make([]map[int32]float64, len(t)) // of amounts: what each person adds
		for _, r := range rows {
			l := leaf(flats, d.bins(int(r)))
			sum[l] += d.y[r]
			n[l]++
			if !binary {
				if per[l] == nil {
					per[l] = map[int32]float64{}
				}
				per[l][d.who[r]] += j.m.Label.magnitude(d.y[r])
			}
		}
		nodes := slices.Clone(t)
		for k := range nodes {
			if nodes[k].Value == nil {
				continue
			}
			at := fmt.Sprintf("tree %d, node %d", i+1, k)
			nodes[k].People = c.people[k] / peopleBase * peopleBase
			if c.people[k] < fewest {
				fewest, where = c.people[k], at
			}
			if binary {
				if m := min(c.events[k], c.others[k]); m < rare {
					rare, rareAt = m, at
				}
			} else if x, equal := largest(per[k], j.p.DominanceN); x > share || equal {
				share, shareAt = x, at
				if equal {
					share = 100
				}
			}
			if j.m.Kind == Tree && n[k] > 0 {
				v := clipped(sum[k]/n[k], one)
				if x := math.Abs((v - *nodes[k].Value).Float()); x > apart {
					apart, apartAt = x, at
				}
				nodes[k].Value = &v
			}
		}
		out.Trees[i] = nodes
	}
	out.sortTrees()
	t := float64(j.p.MinSubjects)
	j.least(RuleFrequency, where, float64(fewest), t, t)
	j.least(RuleMinLeaf, "", float64(j.m.Trainer.MinLeaf), float64(j.p.MinLeaf), float64(j.p.MinLeaf))
	if binary {
		j.least(RuleClass, rareAt, float64(rare), t, t)
	} else {
		j.most(RuleDominance, shareAt, float64(share), float64(j.p.DominanceK), float64(j.p.DominanceK))
	}
	if j.m.Kind == Tree {
		j.most(RuleFit, apartAt, apart, 0.05, 0.05)
	}
	same := slices.EqualFunc(j.m.Trees, j.own.Trees, func(a, b []Node) bool {
		return slices.EqualFunc(a, b, func(x, y Node) bool {
			value := func(v *Fixed) Fixed {
				if v == nil {
					return 0
				}
				return *v
			}
			close := value(x.Value)-value(y.Value) <= 2 && value(y.Value)-value(x.Value) <= 2
			return close && x.Feature == y.Feature && x.Left == y.Left && x.Right == y.Right && value(x.Below) == value(y.Below) && slices.Equal(x.In, y.In) && (x.Value == nil) == (y.Value == nil)
		})
	})
	differs := 0.0
	if !same {
		differs, j.r.Free = 1, j.r.Bits
		if j.m.Kind == Tree { // its values are the gate's
			j.r.Free = int(math.Ceil(j.m.splits() + j.m.Trainer.bits(Tree)))
		}
	}
	j.most(RuleReproduction, "", differs, 0, math.Inf(1))
	if same && j.m.Kind != Tree { // the gate's own digits, of its own trees
		return j.recount()
	}
	return &out
}

// recount gives the gate's own trees with their people.
func (j *judging) recount() *Model {
	out := *j.own
	out.Trees = make([][]Node, len(j.own.Trees))
	for i, t := range j.own.Trees {
		flats := make([]flat, len(t))
		for k, n := range t {
			flats[k] = flatten(j.m.Schema, n)
		}
		c := count(flats, j.train, j.train.everyone(), false)
		out.Trees[i] = slices.Clone(t)
		for k := range t {
			if t[k].Value != nil {
				out.Trees[i][k].People = c.people[k] / peopleBase * peopleBase
			}
		}
	}
	out.sortTrees()
	return &out
}

// magnitude is what a row adds to a sum of amounts, by size. Source: rule 7 of the gate.
func (l Label) magnitude(y float64) float64 {
	if l.Low > 0 {
		return y * l.High.Float()
	}
	return math.Abs(l.Low.Float() + y*(l.High-l.Low).Float())
}

// largest gives the share of the n largest contributors in percent, rounded up, and whether all add the same.
func largest(per map[int32]float64, n int) (share int, equal bool) {
	all := make([]float64, 0, len(per))
	sum := 0.0
	for _, v := range per {
		all = append(all, v)
	}
	slices.Sort(all)
	for _, v := range all {
		sum += v
	}
	equal = len(all) > 0 && all[0] == all[len(all)-1]
	top := 0.0
	for _, v := range all[max(len(all)-n, 0):] {
		top += v
	}
	if sum <= 0 {
		return 0, equal
	}
	return int(math.Ceil(100 * top / sum)), equal
}
