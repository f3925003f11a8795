package desensitize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
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
	Rows    int64          `json:"rows"`
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
		if c.whose != nil {
			op = c.whose
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
// if the pipeline does not need them. The caller releases the record.
func (p *Pipeline) Apply(mem memory.Allocator, rec arrow.Record, who []sandbox.Pseudonym) (arrow.Record, []mask.Count, error) {
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
		default:
			a = in
			a.Retain()
		}
		if err != nil {
			return nil, nil, c.caused(err)
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

// Stream (流式脱敏参数) is how a table runs through a pipeline.
type Stream struct {
	Mem     memory.Allocator // nil: Go's; safe for concurrent use
	Workers int              // batches at once; 0: as many as processors
	// Subjects gives whose row each of a batch is; nil where the pipeline does not need it.
	Subjects func(arrow.Record) ([]sandbox.Pseudonym, error)
	// Sink takes the batches of the view in their order, one at a time, beside the batch each came from; both are released when
	// it returns.
	Sink func(in, out arrow.Record) error
}

// Run sends every batch of src through the pipeline, several at a time, and to the sink in order. No more than Workers+1 batches
// are in memory on either side. The first error ends it. Operations of other packages than mask count failures over their life: of
// two runs of one Pipeline at a time each counts the other's.
func (p *Pipeline) Run(ctx context.Context, src batch.Reader, s Stream) (Report, error) {
	report := p.Report()
	if p.Subjects() && s.Subjects == nil {
		return report, &sandbox.Error{Op: "desensitize", Kind: sandbox.Invalid, Object: p.plan, Detail: "the plan has an operation by subject, and the rows have none"}
	}
	if s.Mem == nil {
		s.Mem = memory.NewGoAllocator()
	}
	if s.Workers <= 0 {
		s.Workers = runtime.GOMAXPROCS(0)
	}
	before := p.failures()
	ctx, stop := context.WithCancel(ctx)
	type result struct {
		in, out arrow.Record
		counts  []mask.Count
		err     error
	}
	queue := make(chan chan result, s.Workers) // in the order of the source
	var all sync.WaitGroup
	all.Go(func() {
		defer close(queue)
		for {
			rec, err := src.Next(ctx)
			if err == io.EOF {
				return
			}
			done := make(chan result, 1)
			select {
			case queue <- done:
			case <-ctx.Done():
				if rec != nil {
					rec.Release()
				}
				return
			}
			if err != nil {
				done <- result{err: err}
				return
			}
			all.Go(func() {
				r := result{in: rec}
				var who []sandbox.Pseudonym
				if s.Subjects != nil {
					who, r.err = s.Subjects(rec)
				}
				if r.err == nil {
					r.out, r.counts, r.err = p.Apply(s.Mem, rec, who)
				}
				done <- r
			})
		}
	})
	var err error
	for done := range queue {
		r := <-done
		if err == nil {
			err = r.err
		}
		if err == nil {
			report.add(r.in.NumRows(), r.counts)
			err = s.Sink(r.in, r.out)
		}
		if err != nil {
			stop()
		}
		for _, rec := range []arrow.Record{r.in, r.out} {
			if rec != nil {
				rec.Release()
			}
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	stop()
	all.Wait()
	for i, n := range p.failures() {
		report.Columns[i].Failed += n - before[i]
		report.Columns[i].Masked -= n - before[i]
	}
	return report, err
}
