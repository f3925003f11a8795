package compile

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/query"
)

// maker makes one table: the question of whole groups and, for each source that a sum is split by, one of split groups.
type maker struct {
	*compiler
	name   string
	base   query.Spec // without dimensions of splits and without measures
	groups int        // node
	parts  map[source]*part
	whole  *part
	terms  []*term
	nodes  int // of formulas: a tree, where the graph shares
}

const maxFormulas = 2048

// part is a question of the table.
type part struct {
	measures []query.Measure
	names    map[string]string // of a measure, as asked
	weights  []map[string]*big.Rat
	at       int // index in the plan
	bands    []string
	class    map[string]int
}

// term is a value in a formula that is not placed yet: a measure, whole, or weighed by the labels of a source.
type term struct {
	src     source
	measure query.Measure
	weights map[string]*big.Rat // by label; others under ""
}

// table compiles a table that is revealed.
func (c *compiler) table(n algo.Node) {
	groups := c.g.Nodes[n.Args[0]]
	m := &maker{compiler: c, name: n.Name, base: c.rows(groups.Args[0]), groups: n.Args[0], parts: map[source]*part{}, whole: &part{names: map[string]string{}}}
	t := Table{Name: n.Name, Dimensions: []Dimension{}}
	for i, a := range groups.Args[1:] {
		if c.failed() {
			return
		}
		dim, shown := c.dimension(a, groups.Names[i])
		m.base.Dimensions = append(m.base.Dimensions, dim)
		if len(shown) == 0 {
			shown = nil
		}
		t.Dimensions = append(t.Dimensions, Dimension{groups.Names[i], shown})
	}
	for i, a := range n.Args[1:] {
		f := m.aggregate(a)
		if c.failed() {
			return
		}
		t.Columns = append(t.Columns, Column{Name: n.Names[i], Unit: c.t.Of[a].Unit, Value: f})
	}
	m.place(&t)
	c.plan.Tables = append(c.plan.Tables, t)
}

// model compiles a fitted model that is revealed.
func (c *compiler) model(n algo.Node) {
	fit := c.g.Nodes[n.Args[0]]
	s := c.rows(c.g.Nodes[fit.Args[0]].Args[0])
	fn := sandbox.Linear
	if fit.Op == algo.OpLogistic {
		fn = sandbox.Logistic
	}
	columns := c.columns(fit.Args[1:], fn)
	if c.failed() {
		return
	}
	s.Measures = []query.Measure{{Func: fn, Column: columns[0], With: columns[1:], As: n.Name}}
	c.plan.Questions = append(c.plan.Questions, Question{Table: n.Name, Class: sandbox.ClassD, Spec: s})
}

// columns gives the columns that nodes are.
func (c *compiler) columns(nodes []int, fn sandbox.MeasureFunc) (out []string) {
	for _, a := range nodes {
		f := c.plain(a)
		if c.failed() {
			return nil
		}
		col := f.base.column()
		if col == "" || len(f.parts) > 0 {
			c.refuse("program.measure", "", fmt.Sprintf("%s is of columns, not of what is computed of them", fn), "name the columns, or ask the sums that it is made of")
			return nil
		}
		if slices.Contains(out, col) {
			c.refuse("program.measure", c.at(col), fmt.Sprintf("the columns of %s are different ones", fn), "name each column once")
		}
		out = append(out, col)
	}
	return out
}

// aggregate gives the formula of a node that is an aggregate, or a constant beside one.
func (m *maker) aggregate(at int) Formula {
	n := m.g.Nodes[at]
	if m.failed() {
		return Formula{}
	}
	if m.nodes++; m.nodes > maxFormulas {
		m.refuse("program.size", "", fmt.Sprintf("the columns of a table are made of at most %d operators, each counted where it stands", maxFormulas), "reveal the parts and leave the arithmetic to whoever reads them")
		return Formula{}
	}
	switch n.Op {
	case algo.OpConst:
		return number(n.Consts[0].Rat())
	case algo.OpAdd, algo.OpSub, algo.OpMul, algo.OpDiv, algo.OpSigmoid:
		f := Formula{Op: string(n.Op)}
		for _, a := range n.Args {
			f.Args = append(f.Args, m.aggregate(a))
		}
		return f
	case algo.OpPoly:
		f := Formula{Op: string(n.Op), Args: []Formula{m.aggregate(n.Args[0])}}
		for _, d := range n.Consts {
			f.Consts = append(f.Consts, d.Rat().RatString())
		}
		return f
	case algo.OpCount:
		return m.value(query.Measure{Func: sandbox.Count})
	case algo.OpSubjects:
		return m.value(query.Measure{Func: sandbox.Subjects})
	case algo.OpSum:
		return m.sum(m.plain(n.Args[1]))
	case algo.OpDot:
		return m.sum(m.pointwiseOrScaled(n.Args[1], n.Args[2]))
	case algo.OpMean:
		return m.mean(n.Args[1])
	case algo.OpDistinct:
		l := m.label(n.Args[1])
		if l.src.score != "" {
			m.refuse("program.measure", "", "labels are counted of a column or a registered bin", "count the labels of the column itself")
		}
		return m.value(query.Measure{Func: sandbox.Distinct, Column: l.src.column, Bin: sandbox.BinID(l.src.bin)})
	}
	fn := sandbox.MeasureFunc(n.Op) // variance, stddev, quantile, covariance, correlation
	columns := m.columns(n.Args[1:], fn)
	if m.failed() {
		return Formula{}
	}
	return m.value(query.Measure{Func: fn, Column: columns[0], With: columns[1:], Q: n.Rank})
}

// pointwiseOrScaled multiplies two numbers.
func (m *maker) pointwiseOrScaled(a, b int) form {
	x, y := m.plain(a), m.plain(b)
	if m.failed() {
		return form{}
	}
	f := m.pointwise(func(p ...poly) poly { return p[0].mul(p[1]) }, x, y)
	if why := f.wide(); why != "" && !m.failed() {
		m.refuse("program.size", "", "a dot product becomes "+why, "multiply columns")
	}
	return f
}

// value is a measure of whole groups.
func (m *maker) value(x query.Measure) Formula {
	f := Formula{Op: opValue}
	m.terms = append(m.terms, &term{measure: x, weights: map[string]*big.Rat{"": one}})
	f.term = len(m.terms)
	return f
}

// nullable says whether a value of a column can be missing.
func (m *maker) nullable(ref string) bool {
	col, _ := m.column(ref)
	in, _, _ := strings.Cut(ref, ".")
	return col.Nullable || slices.ContainsFunc(m.base.Inputs, func(i query.Input) bool { return i.Alias == in && i.Join == query.LeftJoin })
}

// anyMissing says whether some column of a polynomial can be missing.
func (m *maker) anyMissing(p poly) bool {
	for mono := range p {
		if slices.ContainsFunc(strings.Fields(mono), m.nullable) {
			return true
		}
	}
	return false
}

// there refuses a polynomial of several terms with a column that can be missing: its terms would be over different rows.
func (m *maker) there(p poly) {
	if len(p) < 2 {
		return
	}
	for mono := range p {
		for _, ref := range strings.Fields(mono) {
			if m.nullable(ref) {
				m.refuse("program.missing", m.at(ref), "what is added up of several terms is of columns without missing values: each term would be over other rows", "sum each column apart")
			}
		}
	}
}

// sum gives a number's sum: of each monomial one measure, weighed; where it depends on a label, over groups that the label splits.
func (m *maker) sum(f form) Formula {
	if m.failed() {
		return Formula{}
	}
	base := f.base
	var split []source
	for _, s := range f.sources() {
		p := f.parts[s]
		if base = base.add(p.others, one); len(p.points) > 0 {
			split = append(split, s)
		}
	}
	for _, s := range split { // what stands beside others that cancel
		for _, p := range f.parts[s].points {
			m.there(base.add(f.parts[s].others, big.NewRat(-1, 1)).add(p, one))
		}
	}
	m.there(base)
	if len(split) == 1 {
		p, _ := f.at(split[0])
		return m.splitSum(split[0], p)
	}
	out := m.total(base)
	for _, s := range split {
		// The rest of each part, beside what the labels that are not named add already.
		rest := pieces{points: map[string]poly{}, others: poly{}}
		for l, p := range f.parts[s].points {
			rest.points[l] = p.add(f.parts[s].others, big.NewRat(-1, 1))
		}
		out = Formula{Op: string(algo.OpAdd), Args: []Formula{out, m.splitSum(s, rest)}}
	}
	return out
}

// total adds up the monomials of whole groups.
func (m *maker) total(p poly) Formula {
	return m.added(p, func(mono string, c *big.Rat) Formula {
		v := m.value(m.monomial(mono))
		if c.Cmp(one) == 0 {
			return v
		}
		return Formula{Op: string(algo.OpMul), Args: []Formula{number(c), v}}
	})
}

func (m *maker) added(p poly, of func(string, *big.Rat) Formula) Formula {
	var out *Formula
	for _, mono := range slices.Sorted(maps.Keys(p)) {
		f := of(mono, p[mono])
		if out == nil {
			out = &f
		} else {
			out = &Formula{Op: string(algo.OpAdd), Args: []Formula{*out, f}}
		}
	}
	if out == nil {
		return number(new(big.Rat))
	}
	return *out
}

func (m *maker) monomial(mono string) query.Measure {
	switch refs := strings.Fields(mono); {
	case len(refs) == 0:
		return query.Measure{Func: sandbox.Count}
	case len(refs) == 1:
		return query.Measure{Func: sandbox.Sum, Column: refs[0]}
	case refs[0] == refs[1]:
		return query.Measure{Func: sandbox.Dot, Column: refs[0]}
	default:
		return query.Measure{Func: sandbox.Dot, Column: refs[0], With: refs[1:]}
	}
}

// splitSum adds up pieces of one source.
func (m *maker) splitSum(s source, p pieces) Formula {
	all := poly{}
	for mono := range p.others {
		all[mono] = one
	}
	for _, q := range p.points {
		for mono := range q {
			all[mono] = one
		}
	}
	return m.added(all, func(mono string, _ *big.Rat) Formula {
		weights := map[string]*big.Rat{"": coefficient(p.others, mono)}
		for l, q := range p.points {
			weights[l] = coefficient(q, mono)
		}
		m.terms = append(m.terms, &term{src: s, measure: m.monomial(mono), weights: weights})
		return Formula{Op: opValue, term: len(m.terms)}
	})
}

func coefficient(p poly, mono string) *big.Rat {
	if c := p[mono]; c != nil {
		return c
	}
	return new(big.Rat)
}

// mean is a column's own, with its decimals, or a sum by the number of rows where no value can be missing.
func (m *maker) mean(at int) Formula {
	f := m.plain(at)
	if m.failed() {
		return Formula{}
	}
	if len(f.parts) == 0 && len(f.base) == 1 && (m.g.Nodes[at].Op == algo.OpColumn || m.anyMissing(f.base)) {
		for mono, c := range f.base {
			if refs := strings.Fields(mono); len(refs) == 1 {
				v := m.value(query.Measure{Func: sandbox.Mean, Column: refs[0]})
				if c.Cmp(one) == 0 {
					return v
				}
				return Formula{Op: string(algo.OpMul), Args: []Formula{number(c), v}}
			}
		}
	}
	every := []poly{f.base}
	for _, p := range f.parts {
		every = append(every, p.others)
		every = append(every, slices.Collect(maps.Values(p.points))...)
	}
	for _, p := range every {
		for mono := range p {
			for _, ref := range strings.Fields(mono) {
				if m.nullable(ref) {
					m.refuse("program.missing", m.at(ref), "the mean of what is computed is of columns without missing values", "divide its sum by the sum or count that is meant")
				}
			}
		}
	}
	return Formula{Op: string(algo.OpDiv), Args: []Formula{m.sum(f), m.value(query.Measure{Func: sandbox.Count})}}
}

// place gives every term its question and measure.
func (m *maker) place(t *Table) {
	for _, x := range m.terms {
		p := m.whole
		if x.src != (source{}) {
			if p = m.parts[x.src]; p == nil {
				p = &part{names: map[string]string{}}
				m.parts[x.src] = p
			}
			p.weights = append(p.weights, x.weights)
		}
		key := fmt.Sprint(x.measure)
		if _, ok := p.names[key]; !ok {
			measure := x.measure
			measure.As = m.fresh(p, text(measure.Func, measure.Q, append(slices.DeleteFunc([]string{measure.Column}, func(s string) bool { return s == "" }), measure.With...)...))
			p.names[key] = measure.As
			p.measures = append(p.measures, measure)
		}
	}
	if len(m.whole.measures) == 0 && len(m.parts) == 0 {
		m.refuse("program.measure", "", fmt.Sprintf("table %s holds a measure, not constants alone", m.name), "reveal a measure")
		return
	}
	if len(m.whole.measures) > 0 {
		m.ask(m.whole, m.base)
		t.Questions = append(t.Questions, m.whole.at)
	}
	for _, s := range slices.SortedFunc(maps.Keys(m.parts), compareSources) {
		p := m.parts[s]
		n := p.classes()
		dim, bands := m.split(s, p.class, n)
		if s.score != "" {
			bands = m.scores[s.score].Bands()
			p.class = map[string]int{}
			for i, b := range bands {
				p.class[b] = i
			}
		}
		if len(bands) > query.MaxBands {
			m.refuse("program.size", "", fmt.Sprintf("labels with points of their own are at most %d", query.MaxBands-1), "give fewer labels points of their own")
			return
		}
		spec := m.base
		dim.As = m.fresh(p, "split")
		spec.Dimensions = append(slices.Clone(spec.Dimensions), dim)
		p.bands = bands
		m.ask(p, spec)
		t.Questions = append(t.Questions, p.at)
	}
	for i := range t.Columns {
		t.Columns[i].Value.place(m)
	}
}

// fresh gives a name that no grouping and no other measure of a question has.
func (m *maker) fresh(p *part, name string) string {
	taken := func(s string) bool {
		for _, x := range p.measures {
			if x.As == s {
				return true
			}
		}
		return slices.ContainsFunc(m.base.Dimensions, func(d query.Dimension) bool { return d.As == s })
	}
	for n := 2; taken(name); n++ {
		name = fmt.Sprintf("%.120s %d", name, n)
	}
	return name
}

// ask adds a question to the plan.
func (m *maker) ask(p *part, s query.Spec) {
	s.Measures = p.measures
	p.at = len(m.plan.Questions)
	m.plan.Questions = append(m.plan.Questions, Question{Table: m.name, Class: sandbox.ClassA, Spec: s})
}

// classes puts labels that weigh the same in every term together; class 0 has those that are not named.
func (p *part) classes() int {
	named := map[string]bool{}
	for _, w := range p.weights {
		for l := range w {
			named[l] = named[l] || l != ""
		}
	}
	key := func(l string) string {
		var b strings.Builder
		for _, w := range p.weights {
			v, ok := w[l]
			if !ok {
				v = w[""]
			}
			b.WriteString(v.RatString() + ";")
		}
		return b.String()
	}
	p.class = map[string]int{}
	of := map[string]int{key(""): 0}
	delete(named, "")
	for _, l := range slices.Sorted(maps.Keys(named)) {
		k := key(l)
		if _, ok := of[k]; !ok {
			of[k] = len(of)
		}
		p.class[l] = of[k]
	}
	return len(of)
}

// place turns what refers to a term into what refers to a question's measure.
func (f *Formula) place(m *maker) {
	for i := range f.Args {
		f.Args[i].place(m)
	}
	if f.term == 0 {
		return
	}
	x := m.terms[f.term-1]
	f.term = 0
	p := m.whole
	if x.src != (source{}) {
		p = m.parts[x.src]
		f.Consts = make([]string, len(p.bands))
		for i := range p.bands {
			f.Consts[i] = x.weights[""].RatString()
		}
		for l, w := range x.weights {
			if l == "" {
				continue
			}
			if k, ok := p.class[l]; ok {
				f.Consts[k] = w.RatString()
			}
		}
		f.Bands = p.bands
	}
	f.Question, f.Measure = p.at, p.names[fmt.Sprint(x.measure)]
}
