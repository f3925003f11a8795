// Package compile turns the recorded graph of a Program (程序计算图) into questions: of every table that it reveals, one query.Spec, and one
// more for each column by which a sum in it is split; of every model, one. What compiles is judged like any question: each Spec goes
// through the derivation, policy, engine, gate and review on its own. 依据: 龙华区实施方案 九(一)、九(二).
//
// What an author writes freely, and what becomes of it:
//
//	sum of a polynomial        its monomials: count, sums and dot products, each with evidence of its own; a monomial has at most two
//	                           columns. The coefficients are applied to what has passed the gate
//	sum over select or points  cells by the condition, or by what the labels are worth, each with evidence; added up afterwards
//	bands of points            a query.Score: a grouping by registered labels. Sigmoids move into its edges
//	comparison of a column     an edge of a bin that its owner registered; a missing value is not at least anything
//	and, or of conditions      one filter each; as a grouping a query.Score
//	arithmetic of aggregates   a Formula over what has passed the gate
//
// So no weight, constant or branch of the author's choice reaches a value that leaves otherwise than through registered labels and
// elementary measures: what SCQL's conditional sums, chosen weights and repeated comparisons give away is no question here.
//
// Refusals are sandbox.Reasons, from descriptions only. Nothing in this package sees data but Table.Fill, which sees what has left.
package compile

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Asked (调用) is who asks a Program for what: the scenario, its purpose, and which dataset each input is; an input that is not bound is the
// dataset of its name.
type Asked struct {
	Scenario sandbox.ScenarioID           `json:"scenario"`
	Purpose  string                       `json:"purpose"`
	Bind     map[string]sandbox.DatasetID `json:"bind,omitempty"`
}

// Plan (执行方案) is a compiled Program.
type Plan struct {
	Program   string     `json:"program"`
	Questions []Question `json:"questions"`
	Tables    []Table    `json:"tables"` // in the order of the Program's sinks; of a model, none
}

// Question (子查询) is one question of a Program.
type Question struct {
	Table string        `json:"table"` // or model
	Class sandbox.Class `json:"class"` // A, or D for a model
	Spec  query.Spec    `json:"spec"`
}

// MaxQuestions bounds what one Program asks.
const MaxQuestions = 16

const (
	articleProgram = "龙华区实施方案 九(一) 原始数据不出域、数据可用不可见"
	articleNeed    = "龙华区实施方案 九(二) 最小必要"
)

// Compile turns a checked graph into questions over described datasets. Reasons is empty exactly when there is a Plan.
//
// Codes: program.input, program.column, program.type, program.unit, program.label, program.edge, program.filter, program.score,
// program.weights, program.missing, program.measure, program.size.
func Compile(g *algo.Graph, t *algo.Types, asked Asked, in map[sandbox.DatasetID]catalog.Dataset) (*Plan, []sandbox.Reason) {
	c := &compiler{g: g, t: t, asked: asked, in: in, plan: &Plan{Program: g.Program}, inputs: map[string]*catalog.Dataset{}, forms: map[int]form{}, sigmoids: map[int]bool{}, flags: map[int]flag{}, labels: map[int]label{}, scores: map[string]*query.Score{}}
	c.bind()
	for _, sink := range t.Sinks {
		if len(c.reasons) > 0 {
			break
		}
		if n := g.Nodes[sink]; n.Op == algo.OpReveal {
			c.table(n)
		} else {
			c.model(n)
		}
	}
	if len(c.plan.Questions) > MaxQuestions {
		c.refuse("program.size", "", fmt.Sprintf("a Program asks at most %d questions: one for each table or model, and one more for each column that sums of a table are split by", MaxQuestions), "reveal fewer tables")
	}
	for i := range c.plan.Questions {
		q := &c.plan.Questions[i]
		if err := q.Spec.Validate(); err != nil && len(c.reasons) == 0 {
			c.refuse("program.size", "", fmt.Sprintf("table %s becomes a well-formed question: %s", q.Table, err), "write a smaller table")
		}
	}
	if len(c.reasons) > 0 {
		return nil, c.reasons
	}
	return c.plan, nil
}

type compiler struct {
	g        *algo.Graph
	t        *algo.Types
	asked    Asked
	in       map[sandbox.DatasetID]catalog.Dataset
	plan     *Plan
	reasons  []sandbox.Reason
	inputs   map[string]*catalog.Dataset // by input's name
	forms    map[int]form
	sigmoids map[int]bool // the form is what a sigmoid was taken of
	flags    map[int]flag
	labels   map[int]label
	scores   map[string]*query.Score
	work     int // terms of all forms, and nodes of all formulas
}

// maxWork bounds what compiling one Program costs: graphs share nodes, and what they become may not.
const maxWork = 1 << 18

func (c *compiler) refuse(code, column, rule, change string) {
	r := sandbox.Reason{Code: code, Column: column, Rule: rule, Article: articleProgram, Change: change}
	if !slices.Contains(c.reasons, r) {
		c.reasons = append(c.reasons, r)
	}
}

func (c *compiler) failed() bool { return len(c.reasons) > 0 }

// bind finds the datasets of the inputs and holds the declared columns to the catalogue.
func (c *compiler) bind() {
	for name := range c.asked.Bind {
		if !slices.ContainsFunc(c.t.Inputs, func(i int) bool { return c.g.Nodes[i].Name == name }) {
			c.refuse("program.input", "", "inputs that are bound are inputs of the Program", "bind "+c.inputNames())
		}
	}
	for _, i := range c.t.Inputs {
		n := &c.g.Nodes[i]
		id := c.dataset(n.Name)
		d, ok := c.in[id]
		if !ok { // whether it exists is for the derivation to say, to whom may know
			d = catalog.Dataset{ID: id}
			for _, col := range n.Columns {
				d.Columns = append(d.Columns, catalog.Column{Name: col.Name, Type: catalog.Type(col.Type), Scale: col.Scale, Unit: col.Unit})
			}
		}
		c.inputs[n.Name] = &d
		for _, col := range n.Columns {
			at := string(id) + "." + col.Name
			have, ok := d.Column(col.Name)
			if !ok {
				continue // refused by the derivation if it is used
			}
			if string(have.Type) != col.Type || have.Scale != col.Scale {
				c.refuse("program.type", at, fmt.Sprintf("the Program declares a %s of %d decimals, the catalogue has a %s of %d", col.Type, col.Scale, have.Type, have.Scale), "bind "+n.Name+" to another dataset, or have the Program declare the column as it is")
			}
			if cmp.Or(have.Unit, unitOf(have.Type)) != cmp.Or(col.Unit, unitOf(have.Type)) {
				c.refuse("program.unit", at, "the Program declares the unit that the catalogue has", "bind "+n.Name+" to another dataset, or have the Program declare the column as it is")
			}
		}
	}
}

func unitOf(t catalog.Type) string {
	if t == catalog.Money {
		return "元"
	}
	return ""
}

func (c *compiler) inputNames() string {
	var names []string
	for _, i := range c.t.Inputs {
		names = append(names, c.g.Nodes[i].Name)
	}
	return strings.Join(names, ", ")
}

func (c *compiler) dataset(input string) sandbox.DatasetID {
	if id, ok := c.asked.Bind[input]; ok {
		return id
	}
	return sandbox.DatasetID(input)
}

// column finds "input.column" in the catalogue.
func (c *compiler) column(ref string) (catalog.Column, *catalog.Dataset) {
	in, name, _ := strings.Cut(ref, ".")
	d := c.inputs[in]
	if col, ok := d.Column(name); ok {
		return *col, d
	}
	return catalog.Column{Name: name}, d
}

// at writes "input.column" as rules name it.
func (c *compiler) at(ref string) string {
	in, name, _ := strings.Cut(ref, ".")
	return string(c.dataset(in)) + "." + name
}

// rows gives the inputs and filters of a node of rows.
func (c *compiler) rows(at int) (s query.Spec) {
	n := c.g.Nodes[at]
	switch n.Op {
	case algo.OpInput:
		return query.Spec{Scenario: c.asked.Scenario, Purpose: c.asked.Purpose, Inputs: []query.Input{{Alias: n.Name, Dataset: c.dataset(n.Name)}}}
	case algo.OpJoin:
		s = c.rows(n.Args[0])
		right := c.g.Nodes[n.Args[1]]
		in := query.Input{Alias: right.Name, Dataset: c.dataset(right.Name), With: s.Inputs[0].Alias, Subject: n.Subject}
		if n.Left {
			in.Join = query.LeftJoin
		}
		for _, k := range n.Keys {
			with, column, _ := strings.Cut(k.Left, ".")
			in.With, in.On = with, append(in.On, query.Key{Left: column, Right: k.Right})
		}
		s.Inputs = append(s.Inputs, in)
	case algo.OpFilter:
		s = c.rows(n.Args[0])
		c.filter(&s, n.Args[1], map[int]bool{})
	}
	return s
}

// filter adds what a flag keeps: of a conjunction, each of its flags.
func (c *compiler) filter(s *query.Spec, at int, seen map[int]bool) {
	if seen[at] {
		return
	}
	seen[at] = true
	if n := c.g.Nodes[at]; n.Op == algo.OpAnd {
		for _, a := range n.Args {
			c.filter(s, a, seen)
		}
		return
	}
	f := c.flag(at)
	if c.failed() {
		return
	}
	if f.src.score != "" {
		c.refuse("program.filter", "", "rows are filtered by a column or bin at a time, each with a filter of its own", "filter by each column, or group by the flag and read the group that counts")
		return
	}
	x := query.Filter{Column: f.src.column, Bin: sandbox.BinID(f.src.bin), Not: f.others}
	for l, yes := range f.points {
		if yes != f.others {
			x.In = append(x.In, l)
		}
	}
	slices.Sort(x.In)
	switch {
	case len(x.In) == 0 && !f.others:
		c.refuse("program.filter", "", "a filter keeps some rows", "leave out a condition that is never met")
	case len(x.In) > 0 && !slices.ContainsFunc(s.Filters, func(o query.Filter) bool { return same(o, x) }):
		s.Filters = append(s.Filters, x)
	}
}

func same(a, b query.Filter) bool {
	return a.Column == b.Column && a.Bin == b.Bin && a.Not == b.Not && slices.Equal(a.In, b.In)
}

// number gives the normal form of a node that is a number of rows.
func (c *compiler) number(at int) form {
	if f, ok := c.forms[at]; ok || c.failed() {
		return f
	}
	f := c.newNumber(at)
	if c.work += f.size(); c.work > maxWork && !c.failed() {
		c.refuse("program.size", "", "a Program's expressions are of bounded size", "write smaller expressions, with fewer labels that have points of their own")
	}
	if why := f.wide(); why != "" && !c.failed() {
		c.refuse("program.size", "", fmt.Sprintf("node %d becomes %s", at, why), "write a smaller expression; of columns, sums are of at most two multiplied")
	}
	c.forms[at] = f
	return f
}

// plain is number where what a sigmoid was taken of would be taken for the sigmoid.
func (c *compiler) plain(at int) form {
	f := c.number(at)
	if c.sigmoids[at] {
		c.refuse("program.score", "", "a sigmoid over several columns is put into bands or compared, and nothing else", "take the sigmoid last")
	}
	return f
}

func (c *compiler) newNumber(at int) form {
	n := c.g.Nodes[at]
	switch n.Op {
	case algo.OpConst:
		return form{base: constant(n.Consts[0].Rat())}
	case algo.OpColumn:
		return form{base: poly{c.g.Nodes[n.Args[0]].Name + "." + n.Name: one}}
	case algo.OpPoints:
		l := c.label(n.Args[0])
		out := pieces{points: map[string]poly{}, others: constant(n.Consts[0].Rat())}
		for _, p := range n.Points {
			out.points[l.actual(c, p.Label)] = constant(p.Value.Rat())
		}
		if len(out.points) == 0 {
			return form{base: out.others}
		}
		return form{base: poly{}, parts: map[source]pieces{l.src: out}}
	case algo.OpSelect:
		return c.choose(at, n)
	}
	var args []form
	for _, a := range n.Args {
		args = append(args, c.plain(a))
	}
	if c.failed() {
		return form{}
	}
	switch n.Op {
	case algo.OpAdd:
		return linear(args[0], args[1], one)
	case algo.OpSub:
		return linear(args[0], args[1], big.NewRat(-1, 1))
	case algo.OpMul:
		for i, f := range args {
			if v, ok := f.base.number(); ok && len(f.parts) == 0 {
				return linear(form{base: poly{}}, args[1-i], v)
			}
		}
		return c.pointwise(func(x ...poly) poly { return x[0].mul(x[1]) }, args...)
	case algo.OpPoly:
		if len(n.Consts) <= 2 {
			out := form{base: constant(n.Consts[0].Rat())}
			if len(n.Consts) == 2 {
				out = linear(out, args[0], n.Consts[1].Rat())
			}
			return out
		}
		return c.pointwise(func(x ...poly) poly {
			out := poly{}
			for i := len(n.Consts) - 1; i >= 0; i-- { // Horner's method
				out = out.mul(x[0]).add(constant(n.Consts[i].Rat()), one)
			}
			return out
		}, args...)
	case algo.OpSigmoid:
		return c.sigmoid(at, args[0])
	}
	c.refuse("program.measure", "", fmt.Sprintf("node %d is a number of rows", at), "divide aggregates instead")
	return form{}
}

// pointwise applies f where all arguments follow from the label of one source.
func (c *compiler) pointwise(f func(...poly) poly, args ...form) form {
	s, ok := only(args...)
	if !ok {
		c.refuse("program.score", "", "points of several columns are added up; what multiplies them, or chooses between them, follows from one column or bin", "add points, or use conditions of one column")
		return form{}
	}
	var of []pieces
	for _, a := range args {
		p, _ := a.at(s)
		of = append(of, p)
	}
	return pointwise(s, f, of...)
}

// choose is a select.
func (c *compiler) choose(at int, n algo.Node) form {
	f, yes, no := c.flag(n.Args[0]), c.plain(n.Args[1]), c.plain(n.Args[2])
	if c.failed() {
		return form{}
	}
	on := pieces{points: map[string]poly{}, others: truth(f.others)}
	for l, v := range f.points {
		on.points[l] = truth(v)
	}
	condition := form{base: poly{}, parts: map[source]pieces{f.src: on}}
	if f.src == (source{}) {
		condition = form{base: truth(f.others)}
	}
	return c.pointwise(func(x ...poly) poly {
		if v, _ := x[0].number(); v.Sign() != 0 {
			return x[1]
		}
		return x[2]
	}, condition, yes, no)
}

func truth(v bool) poly {
	if v {
		return poly{"": one}
	}
	return poly{}
}

// sigmoid is taken at once where it follows from one label, and moves into edges where it is over several.
func (c *compiler) sigmoid(at int, f form) form {
	if !f.points() {
		c.refuse("program.weights", "", "a sigmoid is of points of labels: of a row's values, with weights of the author's choice, it is a comparison with any edge", "give points to registered bins, or fit a model")
		return form{}
	}
	if s, ok := only(f); ok {
		p, _ := f.at(s)
		return pointwise(s, func(x ...poly) poly { v, _ := x[0].number(); return constant(sigmoid(v)) }, p)
	}
	c.sigmoids[at] = true
	return f
}

// points says whether a form has constants only.
func (f form) points() bool {
	if _, ok := f.base.number(); !ok {
		return false
	}
	for _, p := range f.parts {
		if _, ok := p.others.number(); !ok {
			return false
		}
		for _, x := range p.points {
			if _, ok := x.number(); !ok {
				return false
			}
		}
	}
	return true
}
