package desensitize

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/desensitize/noise"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

const article = "龙华区实施方案 三(四), 十二10: 三级及以上与个人信息须脱敏"

// Options (编译选项) are what a plan is compiled with.
type Options struct {
	Keys        Keys        // nil: none
	Hierarchies Hierarchies // nil: the built-in ones
	// Seed is the key that draws follow from; nil: a plan that draws is refused. The draws of a run follow from it, the plan and
	// Stream.Table: who has not the key cannot guess them, and the run can be repeated.
	Seed       noise.Deriver
	Told       bool           // 目录外: no catalogue describes the table; what the plan's schema does not declare was told from the table itself
	Authorised *Authorisation // for a view of one subject's rows on route B

	own map[string]string // hierarchies in the plan itself
}

// Authorisation (个人授权范围) is what a subject allowed: these columns of their own rows may pass as they are. That the receipt is
// live and theirs is the caller's to know.
type Authorisation struct {
	Consent sandbox.ConsentID
	Columns []string
}

// column is a column of the view. One of apply, whose, draw, k and shuffle says how it is made; none: it passes.
type column struct {
	name    string
	op      string
	apply   Operation
	whose   SubjectOperation
	draw    Drawing
	k       int // of micro-aggregation over the whole column
	shuffle bool
	hide    string // what stands where the operation left a value of a sensitive column as it was; "": it may stay
	out     arrow.Field
}

// whole says whether a column is made from all of its rows.
func (c column) whole() bool { return c.k > 0 || c.shuffle }

// Pipeline (脱敏流水线) is a plan compiled against one dataset. It is immutable and safe for concurrent use.
type Pipeline struct {
	route   Route
	plan    string
	version int
	columns []column
	dropped []string
	sample  *Sampling
	seed    noise.Deriver
	schema  *arrow.Schema
	view    []catalog.Column
}

// compiler collects what is wrong.
type compiler struct {
	d       *catalog.Dataset
	o       Options
	reasons []sandbox.Reason
}

func (c *compiler) refuse(code, column, rule, change string) {
	c.reasons = append(c.reasons, sandbox.Reason{Code: code, Column: column, Rule: rule, Article: article, Change: change})
}

// Compile holds a plan to a dataset's description. A refused plan gives no Pipeline and a Decision with every reason.
func Compile(p *Plan, d catalog.Dataset, o Options) (*Pipeline, sandbox.Decision) {
	o.own = p.Hierarchies
	c := &compiler{d: &d, o: o}
	if p.Dataset != "" && p.Dataset != d.ID {
		c.refuse("plan.dataset", "", fmt.Sprintf("the plan is for dataset %s", p.Dataset), "apply it to that one, or write a plan for this one")
	}
	if p.Owner != "" && p.Owner != d.Unit {
		c.refuse("plan.owner", "", "a plan is its dataset's owner's", "have the dataset's unit write and sign it")
	}
	if len(p.Columns) == 0 {
		c.refuse("plan.columns", "", "a view has columns", "name them under columns")
	}
	steps := c.steps(p.Columns)
	digest := p.Digest()
	out := &Pipeline{plan: p.ID, version: p.Version, route: Route{Kind: Desensitised, Plan: digest[:]}, sample: p.Sample, seed: o.Seed}
	if p.Sample != nil && o.Seed == nil {
		c.refuse("plan.randomness", "", "a sample is drawn from a key", "give the key that draws follow from")
	}
	if o.Authorised != nil {
		out.route = Route{Kind: Authorised, Plan: digest[:], Consent: o.Authorised.Consent}
	}
	for _, col := range d.Columns {
		s, named := steps[col.Name]
		if !named {
			s = Step{Column: col.Name, Op: p.Rest}
			if s.Op == "" {
				s.Op = Drop
			}
			if c.sensitive(col) && p.Rest != Drop { // a plan that says drop means it
				c.refuse("plan.uncovered", c.name(col.Name), fmt.Sprintf("a %s is named in the plan, with an operation", sort(col)), "add a step for it, drop it by name, or say rest: drop")
				continue
			}
			if s.Op == Pass && (o.Told || d.ID == "") && !p.declares(col.Name) {
				c.refuse("plan.rest", c.name(col.Name), "outside a catalogue only columns of the plan's schema pass unnamed: where nothing was found, nothing was judged", "declare it under schema with its grade, or give it a step")
				continue
			}
		}
		if s.Op == Pass && c.sensitive(col) && !c.authorised(col.Name) {
			c.refuse("plan.passed", c.name(col.Name), fmt.Sprintf("a %s does not pass as it is", sort(col)), "give it an operation, or drop it")
			continue
		}
		c.add(out, s, col)
	}
	return c.finish(out)
}

func (c *compiler) finish(p *Pipeline) (*Pipeline, sandbox.Decision) {
	if len(c.reasons) == 0 && len(p.columns) == 0 {
		c.refuse("plan.empty", "", "a view has at least one column", "give a column an operation other than drop")
	}
	if len(c.reasons) > 0 {
		return nil, sandbox.Decision{Reasons: c.reasons}
	}
	fields := make([]arrow.Field, len(p.columns))
	described := batch.Schema(catalog.Dataset{Columns: p.view})
	for i := range p.columns {
		fields[i] = described.Field(i)
		p.columns[i].out = fields[i]
	}
	p.schema = arrow.NewSchema(fields, nil)
	return p, sandbox.Decision{Allow: true}
}

// declares says whether the plan's schema has a column.
func (p *Plan) declares(column string) bool {
	return slices.ContainsFunc(p.Schema, func(f Field) bool { return f.Name == column })
}

// steps finds the steps by column and refuses those of no column, of a column again, and of operations that are not known or
// not so.
func (c *compiler) steps(all []Step) map[string]Step {
	out := map[string]Step{}
	for _, s := range all {
		at := c.name(s.Column)
		if _, ok := c.d.Column(s.Column); !ok {
			c.refuse("plan.column-unknown", at, "a step names a column of the dataset", "correct the name, or take the step out")
			continue
		}
		if _, ok := out[s.Column]; ok {
			c.refuse("plan.column-twice", at, "a column has one step", "take one of them out")
			continue
		}
		out[s.Column] = s
		takes, ok := parameters(s.Op)
		if !ok {
			c.refuse("plan.operation", at, "an operation is one of those of this version", "go doc ./desensitize Step lists them")
			continue
		}
		if stray := s.stray(takes); len(stray) > 0 {
			c.refuse("plan.parameter", at, fmt.Sprintf("operation %s does not take %s", s.Op, strings.Join(stray, ", ")), "take it out")
		}
	}
	return out
}

// add makes a column of the view.
func (c *compiler) add(p *Pipeline, s Step, col catalog.Column) {
	if _, known := parameters(s.Op); !known {
		return // refused already
	}
	if s.Op == Drop {
		p.dropped = append(p.dropped, col.Name)
		return
	}
	to := column{name: col.Name, op: s.Op}
	view := catalog.Column{Name: col.Name, Title: col.Title, Type: col.Type, Scale: col.Scale, Unit: col.Unit, Nullable: col.Nullable, Grade: col.Effective(), Personal: col.Personal}
	if s.Op != Pass {
		if rule, change := c.unhidden(s, col); rule != "" {
			c.refuse("plan.identifier", c.name(col.Name), rule, change)
			return
		}
		if c.sensitive(col) {
			to.hide = s.hides()
		}
		var op Operation
		var err error
		switch s.Op {
		case "date-shift":
			to.whose, err = s.shift(c.o)
		case "noise", "pram":
			to.draw, err = s.drawing(col, c.o)
		case "micro":
			to.k = s.K
			_, err = noise.NewTally(s.K)
		case "shuffle":
			to.shuffle, err = true, s.seeded(c.o)
			if col.Name == c.d.Subject {
				err = refusal{"plan.shuffled", "the subject's column is not shuffled: every value stays a person's", "give it another operation, or drop it"}
			}
		default:
			op, err = s.operation(col, c.o)
		}
		var r refusal
		if errors.As(err, &r) {
			c.refuse(r.code, c.name(col.Name), r.rule, r.change)
			return
		}
		if err != nil {
			c.refuse("plan.parameter", c.name(col.Name), rule(err), "correct the parameters of "+s.Op)
			return
		}
		to.apply = op
		in := batch.ArrowType(col.Type)
		out, takes := in, in.ID() == arrow.DATE32
		if to.whose == nil {
			out, takes = s.result(op, in)
		}
		if !takes {
			c.refuse("plan.type", c.name(col.Name), fmt.Sprintf("operation %s does not take type %s", s.Op, col.Type), "choose one for its type, or redact")
			return
		}
		if !arrow.TypeEqual(in, out) {
			view.Type, view.Scale, view.Unit = logical(out), 0, ""
		}
		view.Nullable = view.Nullable || slices.Contains([]string{"redact", "date-shift", "noise", "limit", "micro"}, s.Op)
	}
	p.columns = append(p.columns, to)
	p.view = append(p.view, view)
}

// logical gives the type of the catalogue that a result has where it changed.
func logical(t arrow.DataType) catalog.Type {
	switch t.ID() {
	case arrow.STRING:
		return catalog.Text
	case arrow.DATE32:
		return catalog.Date
	case arrow.BOOL:
		return catalog.Bool
	}
	return catalog.Int
}

func (c *compiler) name(column string) string {
	if c.d.ID == "" {
		return column
	}
	return string(c.d.ID) + "." + column
}

// sensitive says whether a column must not pass as it is. The subject column is a person's whatever its grade.
func (c *compiler) sensitive(col catalog.Column) bool {
	return col.Effective() >= sandbox.Grade3 || col.Name == c.d.Subject
}

func (c *compiler) authorised(name string) bool {
	return c.o.Authorised != nil && c.o.Authorised.Consent != "" && slices.Contains(c.o.Authorised.Columns, name)
}

func sort(col catalog.Column) string {
	if col.Personal {
		return "personal column"
	}
	if col.Effective() < sandbox.Grade3 {
		return "subject's column"
	}
	return fmt.Sprintf("column of grade %d", col.Effective())
}

// Schema is the schema of every batch of the view.
func (p *Pipeline) Schema() *arrow.Schema { return p.schema }

// Columns describes the view's columns. Grades are those of the source: a lower one needs a recorded rule (就高从严).
func (p *Pipeline) Columns() []catalog.Column { return slices.Clone(p.view) }

// Reads lists the columns of the dataset that the pipeline needs: no other column has to be opened.
func (p *Pipeline) Reads() []string {
	var out []string
	for _, c := range p.columns {
		out = append(out, c.name)
	}
	return out
}

// Only gives the pipeline of some of its columns, so that no other has to be opened.
func (p *Pipeline) Only(names []string) *Pipeline {
	out := *p
	out.columns, out.view = nil, nil
	var fields []arrow.Field
	for i, c := range p.columns {
		if slices.Contains(names, c.name) {
			out.columns, out.view, fields = append(out.columns, c), append(out.view, p.view[i]), append(fields, c.out)
		}
	}
	out.schema = arrow.NewSchema(fields, nil)
	return &out
}

// Twice says whether a run opens the table twice; see Stream.Again.
func (p *Pipeline) Twice() bool {
	return p.sample != nil || slices.ContainsFunc(p.columns, column.whole)
}

// Subjects says whether the pipeline needs to know whose row each is.
func (p *Pipeline) Subjects() bool {
	return slices.ContainsFunc(p.columns, func(c column) bool { return c.whose != nil })
}

// whole hides a column whole: text becomes three marks, everything else null.
func whole(col catalog.Column) Operation {
	if col.Type == catalog.Text {
		if op, err := mask.Keep(0, 0, mask.Style{Width: 3}); err == nil {
			return op
		}
	}
	return mask.Redact()
}
