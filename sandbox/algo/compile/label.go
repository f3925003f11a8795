package compile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// label is a node that is a label: where it comes from and, where the author's labels are other ones, how they are called there.
type label struct {
	src   source
	named map[string]string // author's → actual; nil: the same
}

// actual gives the label that the author means.
func (l label) actual(c *compiler, name string) string {
	if l.named == nil {
		return name
	}
	a, ok := l.named[name]
	if !ok {
		c.refuse("program.label", "", "a label of bands is one of them", "write one of "+strings.Join(slices.Sorted(maps.Keys(l.named)), ", "))
	}
	return a
}

// flag is a node that is a flag: yes or no for each label of a source.
type flag struct {
	src    source
	points map[string]bool
	others bool
}

func (f flag) of(l string) bool {
	if v, ok := f.points[l]; ok {
		return v
	}
	return f.others
}

func (c *compiler) label(at int) label {
	if l, ok := c.labels[at]; ok || c.failed() {
		return l
	}
	n := c.g.Nodes[at]
	var l label
	if n.Op == algo.OpLabel {
		l = label{src: source{column: c.g.Nodes[n.Args[0]].Name + "." + n.Name, bin: n.Bin}}
	} else {
		l = c.bands(n)
	}
	c.labels[at] = l
	return l
}

// bands is the label of a number's band.
func (c *compiler) bands(n algo.Node) label {
	f := c.number(n.Args[0])
	if c.failed() {
		return label{}
	}
	edges := make([]*big.Rat, len(n.Consts))
	for i, d := range n.Consts {
		edges[i] = d.Rat()
	}
	names := bandNames(n.Consts)
	if col := f.base.column(); col != "" && len(f.parts) == 0 {
		return c.columnBands(col, edges, names)
	}
	if !f.points() {
		c.refuse("program.weights", "", "bands are of points of labels, or of one column: of a row's values, with weights of the author's choice, they compare with any edge", "give points to registered bins and add them up")
		return label{}
	}
	src, ok := c.score(f, edges, c.sigmoids[n.Args[0]])
	if !ok {
		return label{}
	}
	return label{src, zip(names, c.scores[src.score].Bands())}
}

func bandNames(edges []algo.Decimal) []string {
	out := []string{"<" + string(edges[0])}
	for i := 1; i < len(edges); i++ {
		out = append(out, string(edges[i-1])+"-"+string(edges[i]))
	}
	return append(out, "≥"+string(edges[len(edges)-1]))
}

func zip(names, actual []string) map[string]string {
	out := map[string]string{}
	for i, n := range names {
		out[n] = actual[i]
	}
	return out
}

// score makes points of columns into a score with edges.
func (c *compiler) score(f form, edges []*big.Rat, sigmoid bool) (source, bool) {
	if sigmoid {
		moved := make([]*big.Rat, len(edges))
		for i, e := range edges {
			if e.Sign() <= 0 || e.Cmp(one) >= 0 {
				c.refuse("program.score", "", "edges of a sigmoid lie between 0 and 1", "move the edge")
				return source{}, false
			}
			moved[i] = logit(e)
		}
		edges = moved
	}
	base, _ := f.base.number()
	base = new(big.Rat).Set(base)
	all := slices.Clone(edges)
	if sigmoid {
		all = []*big.Rat{big.NewRat(1, 1000)} // logits have no end of digits: they move up to the next sum there can be
	}
	type part struct {
		src    source
		points map[string]*big.Rat
	}
	var parts []part
	for _, s := range f.sources() {
		if s.score != "" {
			c.refuse("program.score", "", "a score is over labels of columns, not over conditions of several columns or other bands", "give points to the columns themselves")
			return source{}, false
		}
		p := part{s, map[string]*big.Rat{}}
		others, _ := f.parts[s].others.number()
		base.Add(base, others)
		for l, v := range f.parts[s].points {
			x, _ := v.number()
			if d := new(big.Rat).Sub(x, others); d.Sign() != 0 {
				p.points[l] = d
				all = append(all, d)
			}
		}
		if len(p.points) > 0 {
			parts = append(parts, p)
		}
	}
	x := query.Score{Scale: decimals(append(all, base))}
	fits := true
	whole := func(v *big.Rat) int64 {
		n, ok := scaled(v, x.Scale)
		fits = fits && ok
		return n
	}
	x.Base = whole(base)
	for _, e := range edges {
		if sigmoid {
			e = ceil(e, x.Scale)
		}
		x.Edges = append(x.Edges, whole(e))
	}
	for _, p := range parts {
		q := query.Part{Column: p.src.column, Bin: sandbox.BinID(p.src.bin)}
		by := map[int64][]string{}
		for l, v := range p.points {
			by[whole(v)] = append(by[whole(v)], l)
		}
		for _, v := range slices.Sorted(maps.Keys(by)) {
			q.Points = append(q.Points, query.Points{In: slices.Sorted(slices.Values(by[v])), Value: v})
		}
		x.Parts = append(x.Parts, q)
	}
	for i := range x.Edges {
		fits = fits && (i == 0 || x.Edges[i] > x.Edges[i-1])
	}
	if len(parts) == 0 {
		c.refuse("program.score", "", "bands are of points that differ by label", "give labels points")
		return source{}, false
	}
	if !fits {
		c.refuse("program.size", "", "points and edges are at most 2^50 with all their decimals, and edges differ in the ninth, of a sigmoid by a sum of points", "write fewer digits")
		return source{}, false
	}
	return c.known(x), true
}

// known gives the source that a score is.
func (c *compiler) known(x query.Score) source {
	b, err := json.Marshal(x)
	if err != nil { // strings and numbers
		panic("compile: a score that does not encode")
	}
	c.scores[string(b)] = &x
	return source{score: string(b)}
}

// ceil is the least multiple of 10^-scale that is not below v.
func ceil(v *big.Rat, scale int) *big.Rat {
	ten := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	x := new(big.Rat).Mul(v, ten)
	n, rest := new(big.Int).DivMod(x.Num(), x.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		n.Add(n, big.NewInt(1))
	}
	return new(big.Rat).Quo(new(big.Rat).SetInt(n), ten)
}

// unscaled gives an edge in a column's smallest unit.
func unscaled(col catalog.Column, v *big.Rat) (int64, bool) {
	scale := col.Scale
	if col.Type == catalog.Money {
		scale = 2
	}
	x := new(big.Rat).Mul(v, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
	return x.Num().Int64(), x.IsInt() && x.Num().IsInt64()
}

// edged finds a bin of a column that has all the edges; one of no others where there is one.
func (c *compiler) edged(ref string, edges []*big.Rat) (bin *catalog.Bin, at []int) {
	col, d := c.column(ref)
	for i := range d.Bins {
		b := &d.Bins[i]
		if b.Column != col.Name || b.Kind != catalog.Amount {
			continue
		}
		var found []int
		for _, e := range edges {
			v, whole := unscaled(col, e)
			if n, ok := slices.BinarySearch(b.Edges, v); ok && whole {
				found = append(found, n)
			}
		}
		if len(found) == len(edges) && (bin == nil || len(b.Edges) < len(bin.Edges)) {
			bin, at = b, found
		}
	}
	if bin == nil {
		var have []string
		for _, b := range d.Bins {
			if b.Column == col.Name && b.Kind == catalog.Amount {
				var words []string
				for _, e := range b.Edges {
					words = append(words, query.Label(&col, e))
				}
				have = append(have, string(b.ID)+" ("+strings.Join(words, ", ")+")")
			}
		}
		change := "have the unit register a bin of the column with these edges"
		if len(have) > 0 {
			change = "use edges of one registered bin: " + strings.Join(have, "; ")
		}
		c.refuse("program.edge", c.at(ref), "a column's values are compared with edges that its owner registered, never with any constant", change)
	}
	return bin, at
}

// columnBands groups a column by a registered bin, or by a coarser one made of its labels.
func (c *compiler) columnBands(ref string, edges []*big.Rat, names []string) label {
	bin, at := c.edged(ref, edges)
	if bin == nil {
		return label{}
	}
	labels := bin.Labels()
	if len(bin.Edges) == len(edges) {
		named := zip(names, labels)
		named[catalog.Missing] = catalog.Missing
		return label{source{column: ref, bin: string(bin.ID)}, named}
	}
	x := query.Score{Parts: []query.Part{{Column: ref, Bin: bin.ID, Points: []query.Points{{In: []string{catalog.Missing}, Value: -1}}}}, Edges: []int64{0}}
	for k := range edges {
		x.Edges = append(x.Edges, int64(k+1))
		p := query.Points{Value: int64(k + 1)}
		for i := at[k] + 1; i < len(labels) && (k+1 == len(at) || i <= at[k+1]); i++ {
			p.In = append(p.In, labels[i])
		}
		x.Parts[0].Points = append(x.Parts[0].Points, p)
	}
	return label{c.known(x), zip(append([]string{catalog.Missing}, names...), x.Bands())}
}

func (c *compiler) flag(at int) flag {
	if f, ok := c.flags[at]; ok || c.failed() {
		return f
	}
	n := c.g.Nodes[at]
	var f flag
	switch n.Op {
	case algo.OpIn:
		l := c.label(n.Args[0])
		f = flag{src: l.src, points: map[string]bool{}}
		for _, name := range n.Labels {
			f.points[l.actual(c, name)] = true
		}
	case algo.OpNot:
		x := c.flag(n.Args[0])
		f = flag{src: x.src, points: map[string]bool{}, others: !x.others}
		for l, v := range x.points {
			f.points[l] = !v
		}
	case algo.OpAtLeast:
		f = c.atLeast(n)
	default:
		f = c.combined(n)
	}
	c.flags[at] = f
	return f
}

func (c *compiler) atLeast(n algo.Node) flag {
	f, edge := c.number(n.Args[0]), n.Consts[0].Rat()
	if c.failed() {
		return flag{}
	}
	if col := f.base.column(); col != "" && len(f.parts) == 0 {
		bin, at := c.edged(col, []*big.Rat{edge})
		if bin == nil {
			return flag{}
		}
		out := flag{src: source{column: col, bin: string(bin.ID)}, points: map[string]bool{}}
		for _, l := range bin.Labels()[at[0]+1:] {
			out.points[l] = true
		}
		return out
	}
	if !f.points() {
		c.refuse("program.weights", "", "what is compared is points of labels, or one column: of a row's values, with weights of the author's choice, a comparison has any edge", "give points to registered bins and add them up")
		return flag{}
	}
	if s, ok := only(f); ok {
		p, _ := f.at(s)
		above := func(x poly) bool { v, _ := x.number(); return v.Cmp(edge) >= 0 }
		out := flag{src: s, points: map[string]bool{}, others: above(p.others)}
		for l, x := range p.points {
			out.points[l] = above(x)
		}
		return out
	}
	src, ok := c.score(f, []*big.Rat{edge}, c.sigmoids[n.Args[0]])
	if !ok {
		return flag{}
	}
	return flag{src: src, points: map[string]bool{c.scores[src.score].Bands()[1]: true}}
}

// combined is and, or: over one source label by label, over several as a score of how many are yes.
func (c *compiler) combined(n algo.Node) flag {
	var all []flag
	for _, a := range n.Args {
		all = append(all, c.flag(a))
	}
	if c.failed() {
		return flag{}
	}
	need := 1
	if n.Op == algo.OpAnd {
		need = len(all)
	}
	by := map[source][]flag{}
	for _, f := range all {
		by[f.src] = append(by[f.src], f)
	}
	if len(by) == 1 {
		out := flag{src: all[0].src, points: map[string]bool{}}
		join := func(get func(flag) bool) bool {
			yes := 0
			for _, f := range all {
				if get(f) {
					yes++
				}
			}
			return yes >= need
		}
		out.others = join(func(f flag) bool { return f.others })
		for _, f := range all {
			for l := range f.points {
				out.points[l] = join(func(f flag) bool { return f.of(l) })
			}
		}
		return out
	}
	f := form{base: poly{}}
	for _, x := range all {
		p := pieces{points: map[string]poly{}, others: truth(x.others)}
		for l, v := range x.points {
			p.points[l] = truth(v)
		}
		f = linear(f, form{base: poly{}, parts: map[source]pieces{x.src: p}}, one)
	}
	src, ok := c.score(f, []*big.Rat{big.NewRat(int64(need), 1)}, false)
	if !ok {
		return flag{}
	}
	return flag{src: src, points: map[string]bool{c.scores[src.score].Bands()[1]: true}}
}

// split groups the labels of a source into classes: the dimension, and its labels by class. Class 0 has the labels that are not named.
func (c *compiler) split(s source, classes map[string]int, n int) (query.Dimension, []string) {
	if s.score != "" {
		return query.Dimension{Score: c.scores[s.score]}, nil
	}
	x := query.Score{Parts: []query.Part{{Column: s.column, Bin: sandbox.BinID(s.bin)}}}
	for k := 1; k < n; k++ {
		p := query.Points{Value: int64(k)}
		for _, l := range slices.Sorted(maps.Keys(classes)) {
			if classes[l] == k {
				p.In = append(p.In, l)
			}
		}
		x.Parts[0].Points, x.Edges = append(x.Parts[0].Points, p), append(x.Edges, int64(k))
	}
	return query.Dimension{Score: &x}, x.Bands()
}

// dimension groups by a label or flag, and says how the author calls the labels.
func (c *compiler) dimension(at int, name string) (query.Dimension, map[string]string) {
	dim := func(s source) query.Dimension {
		if s.score != "" {
			return query.Dimension{Score: c.scores[s.score], As: name}
		}
		return query.Dimension{Column: s.column, Bin: sandbox.BinID(s.bin), As: name}
	}
	shown := map[string]string{}
	if c.t.Of[at].Kind == algo.KindLabel {
		l := c.label(at)
		if c.failed() {
			return query.Dimension{}, nil
		}
		for author, actual := range l.named {
			shown[actual] = author
		}
		return dim(l.src), shown
	}
	f := c.flag(at)
	if c.failed() {
		return query.Dimension{}, nil
	}
	if f.src == (source{}) {
		c.refuse("program.label", "", "a grouping is by labels of columns", "leave out the constant condition")
		return query.Dimension{}, nil
	}
	if f.src.score != "" {
		for _, l := range c.scores[f.src.score].Bands() {
			shown[l] = yesNo(f.of(l))
		}
		if len(shown) == 2 {
			return dim(f.src), shown
		}
	}
	p := pieces{points: map[string]poly{}, others: truth(f.others)}
	for l, v := range f.points {
		p.points[l] = truth(v)
	}
	src, ok := c.score(form{base: poly{}, parts: map[source]pieces{f.src: p}}, []*big.Rat{one}, false)
	if !ok {
		return query.Dimension{}, nil
	}
	for i, l := range c.scores[src.score].Bands() {
		shown[l] = yesNo(i == 1)
	}
	return dim(src), shown
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// text names a measure.
func text(f sandbox.MeasureFunc, rank int, columns ...string) string {
	s := string(f)
	if rank > 0 {
		s += " " + strconv.Itoa(rank)
	}
	if len(columns) > 0 {
		s += " " + strings.Join(columns, " ")
	}
	return fmt.Sprintf("%.128s", s)
}
