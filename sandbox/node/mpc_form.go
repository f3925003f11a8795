package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
)

// sharedForm is a question as the protocol has it, with what is needed around it: a join of two tables (mpc/join), or an inquiry (mpc/agg).
type sharedForm struct {
	question join.Question
	own      run.Shared // of a join: the domain's table
	place    []int      // of a join, by output of the question's: -1 people, else the measure
	outer    bool       // of a join: the domain's table is the right one

	inquiry *agg.Inquiry // nil: a join
	line    *agg.Line    // of it
	people  int          // likewise: the output that counts people
}

// sharesForm makes the protocol's question of a derived one, or says why there is none. Both follow from descriptions. A question that fits a join
// is one: it costs less, and two joins need not be over the same cells.
func (n *Node) sharesForm(f policy.Facts, d query.Derivation) (*sharedForm, []sandbox.Reason) {
	if form, why := n.joinForm(f, d); len(why) == 0 {
		return form, nil
	}
	return n.lineForm(f, d)
}

// joinForm makes a join of a derived question.
func (n *Node) joinForm(f policy.Facts, d query.Derivation) (*sharedForm, []sandbox.Reason) {
	var why []sandbox.Reason
	no := func(code, column, rule, change string) {
		why = append(why, sandbox.Reason{Code: code, Column: column, Rule: rule, Article: articleShares, Change: change})
	}
	s := d.Spec
	if len(d.Inputs) != 2 || n.outside(d.Inputs[0].Dataset) == n.outside(d.Inputs[1].Dataset) {
		no(codeSharesForm, "", "a question over shares joins one dataset of the domain with one that a party holds outside", "name one of each")
		return nil, why
	}
	if in := d.Inputs[1]; len(in.On) > 0 || !in.BySubject() {
		no(codeSharesForm, "", "a join over shares is by the protected subject alone", "leave out the keys")
	}
	if len(s.Filters) > 0 || len(s.Having) > 0 || s.Top != nil || len(d.Holdings()) > 0 {
		no(codeSharesForm, "", "a question over shares has no filter and selects no cells, and its subjects have no holdings", "ask for all cells")
	}
	if k := d.Noise.Kind; k != "" && k != sandbox.NoiseExact {
		no(codeSharesForm, "", fmt.Sprintf("the strictest rule of the columns used is %s, and what opens of shares carries no noise", k), "ask without the column whose rule it is")
	}
	params := n.thresholds(d)
	if params.DominanceN > 2 || params.Prior != 0 && params.Prior != 100 {
		no(codeSharesForm, "", "over shares the rules are (n,k) with n of 1 or 2, and p%", "ask without the column whose owner asks for more")
	}
	here := func(id sandbox.DatasetID) bool { return !n.outside(id) }
	why = append(why, policy.Held(f, d, here)...)
	out := &sharedForm{outer: n.outside(d.Inputs[0].Dataset)}
	own := d.Inputs[0]
	if out.outer {
		own = d.Inputs[1]
	}
	why = append(why, joinable(f, s.Scenario, own)...)
	out.own = run.Shared{Dataset: own.Described}
	q := &out.question
	q.Version = 1
	if k := own.Described.SubjectKind; k != catalog.Opaque {
		q.SubjectKind = k
	}
	q.Rules = join.Rules{MinSubjects: params.MinSubjects, DominanceN: params.DominanceN, DominanceK: params.DominanceK, PPercent: params.PPercent}
	beyond := n.cfg.Shares.Outside[d.Inputs[0].Dataset]
	if !out.outer {
		beyond = n.cfg.Shares.Outside[d.Inputs[1].Dataset]
	}
	there := 1 + slices.IndexFunc(n.cfg.Shares.Zones[:], func(p mpc.Party) bool { return p.ID == beyond.Zone })
	rows, err := mpc.Bucket(int(min(own.Described.Rows, 1<<30)))
	if there == 0 { // its unit pushes it: an inquiry
		no(codeSharesForm, "", "the tables of a join are at two parties", "")
		return nil, why
	}
	if err != nil {
		no(codeSharesSize, string(own.Dataset), "the domain's table fits a registered size", "have the unit push a sample as a dataset")
		return nil, why
	}
	q.Left, q.Right = join.Table{Owner: 0, Rows: rows}, join.Table{Owner: there, Rows: beyond.Rows}
	if out.outer {
		q.Left, q.Right = join.Table{Owner: there, Rows: beyond.Rows}, join.Table{Owner: 0, Rows: rows}
	}
	for i, t := range []*join.Table{&q.Left, &q.Right} {
		in := d.Inputs[i]
		t.Dataset, t.Version = in.Dataset, f.Datasets[in.Dataset].Version
		if in.Version != 0 && in.Version != t.Version {
			if n.outside(in.Dataset) {
				no(codeSharesForm, string(in.Dataset), "a dataset outside has the one version that its owner keeps", "ask without its version")
			}
			t.Version = in.Version
		}
	}
	q.Scenario, q.Purpose, q.Asker = s.Scenario, s.Purpose, f.Asker.ID
	if d.Inputs[1].Join == query.LeftJoin {
		q.Unmatched = catalog.Missing
	}
	why = append(why, out.group(n, d)...)
	why = append(why, out.measure(n, d)...)
	if len(why) == 0 {
		if err := q.Check(); err != nil {
			no(codeSharesSize, "", err.Error(), "ask with fewer groups or measures")
		}
	}
	return out, why
}

// joinable refuses an input of the domain's whose owner does not let its identifiers be joined: the domain opens them to share them.
func joinable(f policy.Facts, id sandbox.ScenarioID, own query.DerivedInput) []sandbox.Reason {
	sc := f.Scenarios[id]
	if sc == nil {
		return nil
	}
	item, _ := sc.Item(own.Dataset)
	if r, ok := item.Rule(own.Described.Subject); ok && r.Allows(sandbox.UseJoin) {
		return nil
	}
	return []sandbox.Reason{{Code: codeSharesJoin, Column: string(own.Dataset) + "." + own.Described.Subject, Article: articleShares,
		Rule: "the domain opens the identifiers of its table to share them under the job's key, which their owner's list allows", Change: "have its unit list the column with the use \"join\""}}
}

// fixed is a derivation over the versions that a question is answered over: the domain's own table may have had a push since.
func (n *Node) fixed(d query.Derivation, q *questionRecord) query.Derivation {
	d.Inputs = slices.Clone(d.Inputs)
	for _, v := range n.inside(q.Inputs) {
		for i := range d.Inputs {
			if d.Inputs[i].Dataset == v.Dataset {
				d.Inputs[i].Version = v.Version
			}
		}
	}
	return d
}

// alias gives the input of "alias.column" and the column.
func alias(d query.Derivation, ref string) (int, *catalog.Column) {
	name, column, _ := strings.Cut(ref, ".")
	i := slices.IndexFunc(d.Inputs, func(in query.DerivedInput) bool { return in.Alias == name })
	if i < 0 {
		return -1, nil
	}
	c, ok := d.Inputs[i].Described.Column(column)
	if !ok {
		return -1, nil
	}
	return i, c
}

// group takes the two dimensions.
func (out *sharedForm) group(n *Node, d query.Derivation) (why []sandbox.Reason) {
	no := func(column, rule, change string) []sandbox.Reason {
		return append(why, sandbox.Reason{Code: codeSharesForm, Column: column, Rule: rule, Article: articleShares, Change: change})
	}
	seen := [2]bool{}
	for _, dim := range d.Spec.Dimensions {
		i, c := alias(d, dim.Column)
		if i < 0 || dim.Score != nil || seen[i] {
			return no("", "a question over shares groups by one column of each dataset", "group by one of each")
		}
		seen[i] = true
		set := d.Inputs[i].Described
		var b *catalog.Bin
		if dim.Bin != "" {
			b, _ = set.Bin(dim.Bin)
		}
		labels, ok := run.Labels(c, b)
		if !ok {
			return no(string(set.ID)+"."+c.Name, "over shares the labels of a grouping are known beforehand: a bin of codes or prefixes, or yes and no", "group by such a bin")
		}
		if i == 0 {
			out.question.Left.Groups = labels
		} else if out.question.Right.Groups = slices.DeleteFunc(labels, func(l string) bool { return l == catalog.Missing && out.question.Unmatched != "" }); len(labels) != len(out.question.Right.Groups) && c.Nullable {
			return no(string(set.ID)+"."+c.Name, "who is not in the dataset has the label that a missing value has", "group by a column that is never missing, or leave out the left join")
		}
		if !n.outside(set.ID) {
			out.own.Group, out.own.Bin, out.own.Groups = *c, b, labels
		}
	}
	if !seen[0] || !seen[1] {
		return no("", "a question over shares groups by one column of each dataset", "group by one of each")
	}
	return why
}

// measure takes the measures: people, rows of the first dataset, sums.
func (out *sharedForm) measure(n *Node, d query.Derivation) (why []sandbox.Reason) {
	no := func(column, rule, change string) {
		why = append(why, sandbox.Reason{Code: codeSharesForm, Column: column, Rule: rule, Article: articleShares, Change: change})
	}
	people := false
	for _, m := range d.Spec.Measures {
		switch m.Func {
		case sandbox.Subjects:
			people = true
			out.place = append(out.place, -1)
			continue
		case sandbox.Count:
			out.place = append(out.place, len(out.question.Measures))
			out.question.Measures = append(out.question.Measures, join.Measure{Name: "rows", Kind: join.Count, Side: join.Left})
			continue
		}
		i, c := alias(d, m.Column)
		if m.Func != sandbox.Sum || i < 0 || c.Type != catalog.Money && c.Type != catalog.Int && c.Type != catalog.Number {
			no("", "over shares there are subjects, count and sum; a mean is a sum by a count", "ask for these")
			continue
		}
		side := join.Left
		if i == 1 {
			side = join.Right
		}
		out.place = append(out.place, len(out.question.Measures))
		out.question.Measures = append(out.question.Measures, join.Measure{Name: c.Name, Kind: join.Amount, Side: side})
		if !n.outside(d.Inputs[i].Dataset) {
			out.own.Amounts = append(out.own.Amounts, *c)
		}
	}
	if !people {
		no("", "the gate counts the people of what opens of shares, so the question asks for them", "ask for subjects as well")
	}
	return why
}

// answer gives what opened the gate's form.
func (form *sharedForm) answer(d query.Derivation, q *questionRecord, p mpc.Plan, cells sharedCells) egress.SharedAnswer {
	if form.line != nil {
		return form.lineAnswer(d, q, p, cells.line)
	}
	return form.joinAnswer(d, q, p, cells.join)
}

func (form *sharedForm) joinAnswer(d query.Derivation, q *questionRecord, p mpc.Plan, cells []join.Cell) egress.SharedAnswer {
	a := egress.SharedAnswer{Inputs: q.Inputs, Rules: egress.Params{MinSubjects: form.question.Rules.MinSubjects, DominanceN: form.question.Rules.DominanceN,
		DominanceK: form.question.Rules.DominanceK, PPercent: form.question.Rules.PPercent},
		Evidence: form.evidence(q, p)}
	bounds := form.question.Bounds()
	for i, o := range d.Outputs() {
		a.Measures = append(a.Measures, sandbox.Measure{Name: o.Name, Func: o.Func, Unit: o.Unit, Scale: o.Scale})
		a.Bounds = append(a.Bounds, bounds[form.place[i]+1])
		if form.place[i] < 0 {
			a.People = i
		}
	}
	first := 0 // the dimension of the left table
	for i, dim := range d.Spec.Dimensions {
		a.Dimensions = append(a.Dimensions, dim.As)
		if in, _ := alias(d, dim.Column); in == 0 {
			first = i
		}
	}
	for c, x := range cells {
		cell := egress.SharedCell{Labels: []string{x.Left, x.Right}, Shown: x.Shown}
		if first == 1 {
			slices.Reverse(cell.Labels)
		}
		if x.Shown {
			none := form.question.None(c)
			for _, at := range form.place {
				if at < 0 {
					cell.Values, cell.None = append(cell.Values, x.People), append(cell.None, false)
					continue
				}
				cell.Values, cell.None = append(cell.Values, x.Values[at]), append(cell.None, none[at])
			}
			if !slices.Contains(cell.None, true) {
				cell.None = nil
			}
		}
		a.Cells = append(a.Cells, cell)
	}
	slices.SortFunc(a.Cells, func(x, y egress.SharedCell) int { return slices.Compare(x.Labels, y.Labels) })
	return a
}
