package desensitize

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/sandbox"
)

// RouteKind (合规路径) is what a use of personal data rests on. 依据: 光明区管理办法 第二十条.
type RouteKind string

const (
	Desensitised RouteKind = "desensitised" // 路径A: the plan is the proof
	Authorised   RouteKind = "authorised"   // 路径B: the subject's receipt is the proof
)

// Route (合规路径及证明) names the route of one run and its proof.
type Route struct {
	Kind    RouteKind         `json:"kind"`
	Plan    []byte            `json:"plan"`              // SM3 of the plan's canonical bytes
	Consent sandbox.ConsentID `json:"consent,omitempty"` // on route B
}

// ColumnReport (字段脱敏计数) is what happened to one column.
type ColumnReport struct {
	Column string `json:"column"`
	Op     string `json:"op"`
	mask.Count
}

// Report (脱敏报告) counts what a run did. It holds no value.
type Report struct {
	Plan    string         `json:"plan"`
	Version int            `json:"version"`
	Route   Route          `json:"route"`
	Rows    int64          `json:"rows"`             // of the view
	Source  int64          `json:"source,omitempty"` // rows the view was sampled from, where it was
	Columns []ColumnReport `json:"columns"`
	Dropped []string       `json:"dropped,omitempty"`
}

// Report gives an empty report of the pipeline, for Add.
func (p *Pipeline) Report() Report {
	r := Report{Plan: p.plan, Version: p.version, Route: p.route, Dropped: p.dropped, Columns: make([]ColumnReport, len(p.columns))}
	for i, c := range p.columns {
		r.Columns[i] = ColumnReport{Column: c.name, Op: c.op}
	}
	return r
}

// add counts one batch.
func (r *Report) add(rows int64, counts []mask.Count) {
	r.Rows += rows
	for i, c := range counts {
		r.Columns[i].Count = r.Columns[i].Count.Add(c)
	}
}

// failures gives what operations that count by themselves have counted so far, by column.
func (p *Pipeline) failures() []int64 {
	out := make([]int64, len(p.columns))
	for i, c := range p.columns {
		var op any = c.apply
		switch {
		case c.whose != nil:
			op = c.whose
		case c.draw != nil:
			op = c.draw
		}
		if f, ok := op.(Failing); ok {
			out[i] = f.Masked()
		}
	}
	return out
}

// Failed gives the number of values that did not fit and were hidden whole.
func (r *Report) Failed() (n int64) {
	for _, c := range r.Columns {
		n += c.Failed
	}
	return n
}

// Apply desensitises one batch, whose columns are found by name, and gives what it counted. who names the subject of each row; nil
// if the pipeline does not need them. The caller releases the record. Invalid for a plan that draws, samples or needs a column
// whole: that one takes Run.
func (p *Pipeline) Apply(mem memory.Allocator, rec arrow.Record, who []sandbox.Pseudonym) (arrow.Record, []mask.Count, error) {
	if !p.Rowwise() {
		return nil, nil, &sandbox.Error{Op: "desensitize", Kind: sandbox.Invalid, Object: p.plan, Detail: "a plan that draws, samples or needs a column whole is run over a whole table"}
	}
	return p.apply(mem, rec, who, part{})
}

// Rowwise says whether each row of the view follows from its row alone, as reading by role wants.
func (p *Pipeline) Rowwise() bool {
	return !p.Draws() && !slices.ContainsFunc(p.columns, column.whole)
}

func (p *Pipeline) apply(mem memory.Allocator, rec arrow.Record, who []sandbox.Pseudonym, here part) (arrow.Record, []mask.Count, error) {
	out := make([]arrow.Array, 0, len(p.columns))
	defer func() {
		for _, a := range out {
			a.Release()
		}
	}()
	counts := make([]mask.Count, len(p.columns))
	for i, c := range p.columns {
		at := rec.Schema().FieldIndices(c.name)
		if len(at) != 1 {
			return nil, nil, c.fault("the batch has the column, once")
		}
		in := rec.Column(at[0])
		var a arrow.Array
		var err error
		switch {
		case c.whose != nil && len(who) != in.Len():
			return nil, nil, c.fault("a subject for each row")
		case c.whose != nil:
			a, err = c.whose.Apply(mem, in, who)
			counts[i].Masked = int64(in.Len() - in.NullN())
		case c.apply != nil:
			a, counts[i], err = counted(c.apply, mem, in)
		case c.draw != nil:
			var r io.Reader
			if r, err = here.run.draws.reader("column", c.name, here.batch); err == nil {
				a, err = c.draw.Draw(mem, in, r)
			}
			counts[i].Masked = int64(in.Len() - in.NullN())
		case c.k > 0:
			a, err = here.run.groups[i].Apply(mem, in)
			counts[i].Masked = int64(in.Len() - in.NullN())
		case c.shuffle:
			a, err = here.shuffled(mem, i)
			counts[i].Masked = int64(in.Len() - in.NullN())
		default:
			a = in
			a.Retain()
		}
		if err != nil {
			return nil, nil, c.caused(err)
		}
		if a.Len() == in.Len() && (c.op != Pass && c.op != "") {
			if a, counts[i], err = c.settle(mem, in, a, counts[i]); err != nil {
				return nil, nil, c.caused(err)
			}
		}
		out = append(out, a)
		if a.Len() != in.Len() || !arrow.TypeEqual(a.DataType(), c.out.Type) {
			return nil, nil, c.fault("an operation keeps rows and gives the type it promised")
		}
		if a.NullN() > 0 && !c.out.Nullable {
			return nil, nil, c.fault("nulls only where the view's schema allows them")
		}
	}
	return array.NewRecord(p.schema, out, rec.NumRows()), counts, nil
}

func (c column) fault(rule string) error {
	return &sandbox.Error{Op: "desensitize", Kind: sandbox.Invalid, Object: c.name, Detail: rule}
}

// caused names the column in an operation's error.
func (c column) caused(err error) error {
	var e *sandbox.Error
	if errors.As(err, &e) {
		return &sandbox.Error{Op: "desensitize", Kind: e.Kind, Object: c.name, Detail: e.Detail}
	}
	return &sandbox.Error{Op: "desensitize", Kind: sandbox.Internal, Object: c.name, Detail: fmt.Sprintf("operation %s failed", c.op)}
}
