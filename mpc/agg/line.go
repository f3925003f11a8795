package agg

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Held (持有方) says where the rows of a dataset are: at a party, at most so many, or, Pushed, as shares that its unit gave to all three
// parties, so that no party ever has a row. A dataset that several parties hold parts of has an entry for each.
type Held struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Party   int               `json:"party"`
	Rows    int               `json:"rows"`
	Pushed  bool              `json:"pushed,omitempty"`
	Unit    []byte            `json:"unit,omitempty"` // of pushed rows: the SM2 point that the unit's push verifies under
}

// Thresholds (出域门限) are what the gate's primary rules ask of a cell, as egress.Params has them.
type Thresholds struct {
	MinSubjects int `json:"min_subjects"`
	DominanceN  int `json:"dominance_n"` // 1 or 2: the two largest contributions are found
	DominanceK  int `json:"dominance_k"`
	PPercent    int `json:"p_percent"`
	Prior       int `json:"prior,omitempty"`
}

// Setting (计算设定) is what the parties agree on beside the question: where rows are, and what must be public beforehand.
type Setting struct {
	Held       []Held              `json:"held"`
	Labels     map[string][]string `json:"labels,omitempty"` // "dataset.column", or "dataset.column bin" of years: the labels that can occur
	Bits       map[string]int      `json:"bits,omitempty"`   // "dataset.column": magnitudes are below 2^bits; moments of wider values are rounded
	Thresholds Thresholds          `json:"thresholds"`
	Adversary  share.Adversary     `json:"adversary"`

	// Whole shows a group of a line that joins over shares whole or not at all, as a join of two tables does (整组公开): its cells that anybody is in
	// pass, and so do those of its people whom the joins and the filters on what is joined leave out, and those joined whom nobody looked up. An
	// owner takes its own rows off what is shown. Where owners have whole rows it asks nothing.
	Whole bool `json:"whole,omitempty"`
}

// Bounds of one line.
const (
	maxCells     = 1 << 12
	maxShared    = 1 << 20 // rows of all inputs together
	maxProven    = 1 << 18 // likewise where shuffles are proved
	maxTops      = 256     // cells that are put in order
	quantileBits = 40
	sumBits      = 55 // of a sum's magnitude: percentages of it stay in 64 bits
	momentBits   = 61 // of n·Σxy
	maxValues    = 1 << 16
)

// Line (直线程序) is a question of the columnar engine as the straight line of operators that three parties run over shares: which work each
// owner does below the share boundary, which columns it shares, and what is done with them. It depends on descriptions and public sizes
// alone, so that each party makes the same.
type Line struct {
	d         query.Derivation
	s         Setting
	below     bool // every owner has whole rows: filters, labels and joins are worked out before anything is shared
	shared    int  // most rows of the scanned input
	features  []feature
	terms     []term
	dims      []dimension
	cells     int
	left      []leftOver // behind the cells
	joins     []join
	quantiles []quantile
	outputs   []output
}

// term is a column that adds up over rows: the product of features, of none 1 for every row. A term of a quantile is made in its stage.
type term struct {
	factors []int
	made    bool
}

// dimension is a grouping with its labels by code; the place value of its codes in a cell's number; and how the code is found.
type dimension struct {
	labels []string
	stride int
	of     int   // feature; -1: of a score
	parts  []int // features of a score's parts
	score  *query.Score
}

// join attaches an input: by features of the input before and of its own.
type join struct {
	input, with int
	left        bool
	leftKey     int // feature of with
	rightKey    int
	pass        int  // feature: the row passes the filters on the input
	keepsMisses bool // a row that finds nothing passes them
}

// quantile is one measure over a value: the terms that its stage makes.
type quantile struct {
	value, there     int // features; there is -1 where a value always is
	q                int
	at, below, above int // terms: the value itself, people up to it, people from it on
	bits             int
}

// output is how one output of a cell is computed.
type output struct {
	query.Output
	first     bool
	part      int // term of what each person adds; -1: one each
	divisor   int // term; -1
	rows      int // term of the rows that count
	unlabeled bool
	labels    []int // terms, of distinct
	moments   *moments
	quantile  int // -1
}

// moments are the sums over the rows in which all columns of a measure are there.
type moments struct {
	sums     []int   // terms
	products [][]int // terms
	shifts   []int   // places that values are rounded to
	scale    [2]int  // decimals of the columns, for correlation none
}

const articleMPC = "安全规则: 多方计算的算子、规模和开启内容在数据之前公布"

// Compile makes the line of a derived question, or says why there is none: each Reason names the operator and the smallest change that would
// pass. It sees no data. Codes: mpc.derivation, mpc.adversary, mpc.operator, mpc.held, mpc.join, mpc.labels, mpc.cells, mpc.values, mpc.bits,
// mpc.rules, mpc.holdings, mpc.noise, mpc.top.
func Compile(d query.Derivation, s Setting) (*Line, []sandbox.Reason) {
	l := &Line{d: d, s: s}
	c := &compiling{Line: l}
	if !d.Complete() {
		c.refuse("mpc.derivation", "", "an engine runs accepted questions only", "derive the question first")
		return nil, c.reasons
	}
	for _, step := range []func(){c.rules, c.held, c.join, c.grouping, c.leftOvers, c.measures, c.selection, c.sizes} {
		if step(); len(c.reasons) > 0 {
			return nil, c.reasons
		}
	}
	return l, nil
}

type compiling struct {
	*Line
	reasons []sandbox.Reason
}

func (c *compiling) refuse(code, column, rule, change string) {
	r := sandbox.Reason{Code: code, Column: column, Rule: rule, Article: articleMPC, Change: change}
	if !slices.Contains(c.reasons, r) {
		c.reasons = append(c.reasons, r)
	}
}

// rules holds the setting to what can be decided over shares.
func (c *compiling) rules() {
	t := &c.s.Thresholds
	d := c.d
	t.MinSubjects, t.PPercent = max(t.MinSubjects, d.MinSubjects), max(t.PPercent, d.PPercent)
	least := func(into *int, v int) {
		if v > 0 && (*into == 0 || v < *into) {
			*into = v
		}
	}
	least(&t.DominanceK, d.MaxShare)
	least(&t.Prior, d.Prior)
	switch {
	case c.s.Adversary != share.SemiHonest && c.s.Adversary != share.MaliciousAbort:
		c.refuse("mpc.adversary", "", "a line names its adversary model", "name semi-honest or malicious with abort")
	case t.MinSubjects < 3 || t.MinSubjects > 1<<20 || t.DominanceK < 1 || t.DominanceK > 99 || t.PPercent < 1 || t.PPercent > 100 || t.Prior < 0 || t.Prior > 100:
		c.refuse("mpc.rules", "", "thresholds are the gate's: at least 3 subjects, percentages of 1 to 99 and 1 to 100", "take over the gate's thresholds")
	case t.DominanceN < 1 || t.DominanceN > 2:
		c.refuse("mpc.rules", "", fmt.Sprintf("dominance over shares is of the one or two largest contributors, not of %d", t.DominanceN), "ask for dominance of two, or compute in the domain")
	case d.Noise.Kind.Rank() > 0:
		c.refuse("mpc.noise", "", "noise is drawn by the domain's gate; a line opens exact values", "have the columns' units agree on exact, or compute in the domain")
	case len(d.Holdings()) > 0:
		h := d.Holdings()[0]
		c.refuse("mpc.holdings", string(h.Dataset)+"."+h.Column, "what a holding adds together is not found over shares", "have its unit describe the dataset without a holding, or compute in the domain")
	}
}

// held finds the rows of every input, and whether owners have whole rows.
func (c *compiling) held() {
	for i, h := range c.s.Held {
		if h.Party < 0 || h.Party > 2 || h.Rows < 1 || h.Rows > maxShared || slices.ContainsFunc(c.s.Held[:i], func(o Held) bool { return o.Dataset == h.Dataset && (o.Party == h.Party || o.Pushed || h.Pushed) }) {
			c.refuse("mpc.held", string(h.Dataset), "rows are at one of three parties, once, 1 to 2^20 of them; pushed ones stand alone", "name party 0, 1 or 2 and a registered size")
			return
		}
	}
	owners := map[int]bool{}
	pushed := false
	for i, in := range c.d.Inputs {
		parts := c.parts(i)
		if len(parts) == 0 {
			c.refuse("mpc.held", string(in.Dataset), "some party holds the rows of every input", "name who holds "+string(in.Dataset))
			return
		}
		for _, h := range parts {
			owners[h.Party], pushed = true, pushed || h.Pushed
			if i == 0 {
				c.shared += h.Rows
			}
		}
	}
	c.below = !pushed && (len(c.d.Inputs) == 1 || len(owners) == 1)
	if c.below {
		return
	}
	for i, in := range c.d.Inputs[1:] {
		if parts := c.parts(i + 1); len(parts) > 1 || parts[0].Pushed {
			c.refuse("mpc.join", string(in.Dataset), "rows that are looked up over shares are at one party, which knows that each key has one row: how many rows a join gives would follow from data",
				"have one party hold "+string(in.Dataset)+", or name it first where its unit pushes it")
		}
	}
}

// parts lists who holds input i.
func (l *Line) parts(i int) (out []Held) {
	for _, h := range l.s.Held {
		if h.Dataset == l.d.Inputs[i].Dataset {
			out = append(out, h)
		}
	}
	return out
}

// join lays out the joins of a line over shares.
func (c *compiling) join() {
	if c.below {
		return
	}
	pushed := c.parts(0)[0].Pushed
	for i, in := range c.d.Inputs[1:] {
		with := slices.IndexFunc(c.d.Inputs, func(x query.DerivedInput) bool { return x.Alias == in.With })
		j := join{input: i + 1, with: with, left: in.Join == query.LeftJoin, keepsMisses: in.Join == query.LeftJoin}
		var lefts, rights []string
		for _, k := range in.On {
			lefts, rights = append(lefts, k.Left), append(rights, k.Right)
		}
		if pushed && with == 0 && len(lefts) > 0 {
			c.refuse("mpc.join", string(in.Dataset), "pushed rows are joined by their subject only: other keys become numbers at who holds them", "join "+string(in.Dataset)+" by the protected subject")
			return
		}
		j.leftKey = c.feature(feature{input: with, kind: keyOf, subject: in.BySubject(), columns: lefts, missing: deadKey})
		j.rightKey = c.feature(feature{input: i + 1, kind: keyOf, subject: in.BySubject(), columns: rights, missing: deadKey})
		j.pass = c.feature(feature{input: i + 1, kind: passes})
		for _, f := range c.d.Spec.Filters {
			if at, _ := c.split(f.Column); at == i+1 {
				j.keepsMisses = j.keepsMisses && slices.Contains(f.In, catalog.Missing) != f.Not
			}
		}
		c.joins = append(c.joins, j)
	}
}

// split resolves "alias.column".
func (l *Line) split(ref string) (int, string) {
	alias, name, _ := strings.Cut(ref, ".")
	return slices.IndexFunc(l.d.Inputs, func(in query.DerivedInput) bool { return in.Alias == alias }), name
}

// at writes a column as rules name it.
func (l *Line) at(ref string) string {
	i, name := l.split(ref)
	return string(l.d.Inputs[i].Dataset) + "." + name
}

// feature numbers a feature, equal ones alike.
func (c *compiling) feature(f feature) int {
	at := slices.IndexFunc(c.features, func(o feature) bool { return o.mark() == f.mark() })
	if at < 0 {
		at = len(c.features)
		f.bits = 62
		c.features = append(c.features, f)
	}
	return at
}

// term numbers a product of features, equal ones alike.
func (c *compiling) term(factors ...int) int {
	slices.Sort(factors)
	at := slices.IndexFunc(c.terms, func(o term) bool { return !o.made && slices.Equal(o.factors, factors) })
	if at < 0 {
		at = len(c.terms)
		c.terms = append(c.terms, term{factors: factors})
	}
	return at
}

// labels gives the labels that a bin, or public column, can have in a joined row, Missing first where it can be; nil and a refusal where
// they are not public.
func (c *compiling) labels(ref string, bin sandbox.BinID, operator string) []string {
	i, name := c.split(ref)
	in := &c.d.Inputs[i]
	col, _ := in.Described.Column(name)
	b, _ := in.Described.Bin(bin)
	key := string(in.Dataset) + "." + name
	if bin != "" {
		key += " " + string(bin)
	}
	var out []string
	if col.Nullable || in.Join == query.LeftJoin || slices.Contains(c.s.Labels[key], catalog.Missing) {
		out = append(out, catalog.Missing)
	}
	var names []string
	switch {
	case b != nil && (b.Kind == catalog.Age || b.Kind == catalog.Amount):
		names = b.Labels()
	case b != nil && b.Kind != catalog.Year:
		for _, g := range b.Groups {
			names = append(names, g.Label)
		}
		names = append(names, catalog.Other)
	case b == nil && col.Type == catalog.Bool:
		names = []string{"false", "true"}
	default:
		if names = c.s.Labels[key]; len(names) == 0 && b == nil { // a column may list its values itself
			if v, err := catalog.ParseValues(name, col); err == nil && v != nil && v.Kind == catalog.OneOf {
				names = v.Set
			}
		}
		if len(names) == 0 {
			c.refuse("mpc.labels", string(in.Dataset)+"."+name, operator+" over shares has a cell for every label there can be, so they are public beforehand",
				"list the labels of "+key+" in the setting, or group by a bin that lists them")
			return nil
		}
		if c.parts(i)[0].Pushed {
			c.refuse("mpc.labels", string(in.Dataset)+"."+name, "a pushed value outside the listed labels would be lost unseen", "group by a registered bin, which has a label for the rest")
			return nil
		}
		for _, n := range names {
			if _, ok := query.Value(col, n); b == nil && col.Type != catalog.Text && n != catalog.Missing && !ok {
				c.refuse("mpc.labels", string(in.Dataset)+"."+name, "labels are written as values print", "correct the labels of "+key)
				return nil
			}
		}
	}
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// mapped makes a feature of what a label is worth. Of a label that is not listed no feature can be made: its owner stops.
func (c *compiling) mapped(ref string, bin sandbox.BinID, use string, of map[string]int64, rest int64, open bool) int {
	i, name := c.split(ref)
	in := &c.d.Inputs[i]
	f := feature{input: i, kind: mapped, name: name, use: use, of: of, rest: rest, open: open}
	f.bin, _ = in.Described.Bin(bin)
	f.column, _ = in.Described.Column(name)
	f.missing = f.worth(catalog.Missing)
	if c.parts(i)[0].Pushed && f.bin != nil && f.bin.Kind == catalog.Prefix {
		c.refuse("mpc.operator", string(in.Dataset)+"."+name, fmt.Sprintf("a bin of kind %s is found at who holds the rows, and these were pushed as shares", f.bin.Kind), "use a bin of codes, amounts or ages")
	}
	if n := f.comparisons(); c.parts(i)[0].Pushed && n > maxComparisons {
		c.refuse("mpc.operator", string(in.Dataset)+"."+name, fmt.Sprintf("over pushed rows each code is a comparison, and these are %d, more than %d", n, maxComparisons), "use a bin of fewer codes")
	}
	return c.feature(f)
}

func codesOf(labels []string) map[string]int64 {
	of := map[string]int64{}
	for i, l := range labels {
		of[l] = int64(i)
	}
	return of
}

// grouping lays out the cells.
func (c *compiling) grouping() {
	for _, f := range c.d.Spec.Filters {
		if i, name := c.split(f.Column); c.parts(i)[0].Pushed {
			in := &c.d.Inputs[i]
			b, _ := in.Described.Bin(f.Bin)
			col, _ := in.Described.Column(name)
			if b != nil && b.Kind == catalog.Prefix {
				c.refuse("mpc.operator", c.at(f.Column), "a filter by a bin of prefixes is worked out at who holds the rows, and these were pushed as shares", "filter by a bin of codes")
			} else if x := filterFeature(i, name, col, b, f); x.comparisons() > maxComparisons {
				c.refuse("mpc.operator", c.at(f.Column), fmt.Sprintf("over pushed rows each label of a filter is a comparison, at most %d", maxComparisons), "filter by fewer labels")
			}
		}
	}
	c.cells = 1
	for _, dim := range c.d.Spec.Dimensions {
		d := dimension{of: -1, stride: c.cells, score: dim.Score}
		if dim.Score != nil {
			d.labels = dim.Score.Bands()
			for k, p := range dim.Score.Parts {
				of := map[string]int64{}
				for _, y := range p.Points {
					for _, l := range y.In {
						of[l] = y.Value
					}
				}
				d.parts = append(d.parts, c.mapped(p.Column, p.Bin, fmt.Sprintf("points %s %d", dim.As, k), of, 0, true))
			}
		} else {
			if d.labels = c.labels(dim.Column, dim.Bin, "grouping"); d.labels == nil {
				continue
			}
			d.of = c.mapped(dim.Column, dim.Bin, "code", codesOf(d.labels), 0, false)
		}
		c.dims = append(c.dims, d)
		if c.cells *= len(d.labels); c.cells > maxCells {
			c.refuse("mpc.cells", "", fmt.Sprintf("a line has at most %d cells, those that nobody is in included", maxCells), "group by fewer or coarser labels")
			return
		}
	}
}

func log2(n int) int { return bits.Len(uint(max(n, 1) - 1)) }
