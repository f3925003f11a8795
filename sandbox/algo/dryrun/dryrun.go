// Package dryrun runs a compiled Program on made rows (本地试运行): an author sees what would be allowed and what a table looks like, with no
// data of anybody. Rows follow from the declared columns and a seed; the engine, the derivation and the rules of the gate are the domain's
// own, so that the same seed and rows give the same bits. Catalogue entries that an author does not have are made too: every label that
// the Program names is registered, every use is allowed. What a real owner's rules allow is for the domain to say (explain).
//
// It holds no keys and reads nothing.
package dryrun

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Data (试运行数据) is one dataset's rows: by row, in the order of its columns, nil, string, int64 (days since 1970 for dates) or bool; the
// column of the protected subject is left empty.
type Data struct {
	Set      catalog.Dataset
	Rows     [][]any
	Subjects []sandbox.Pseudonym
}

// reader gives the named columns as one batch.
type reader struct {
	rec  arrow.Record
	done bool
}

func (r *reader) Schema() *arrow.Schema { return r.rec.Schema() }

func (r *reader) Next(context.Context) (arrow.Record, error) {
	if r.done {
		return nil, io.EOF
	}
	r.done = true
	r.rec.Retain()
	return r.rec, nil
}

func (r *reader) Close() error { r.rec.Release(); return nil }

// Reader gives the named columns, columnar.SubjectColumn among them.
func (d *Data) Reader(mem memory.Allocator, columns []string) (batch.Reader, error) {
	var fields []arrow.Field
	at := make([]int, len(columns))
	for i, name := range columns {
		if at[i] = slices.IndexFunc(d.Set.Columns, func(c catalog.Column) bool { return c.Name == name }); at[i] >= 0 {
			c := d.Set.Columns[at[i]]
			fields = append(fields, arrow.Field{Name: name, Type: batch.ArrowType(c.Type), Nullable: c.Nullable})
			continue
		}
		if name != columnar.SubjectColumn {
			return nil, &sandbox.Error{Op: "dryrun", Kind: sandbox.NotFound, Object: string(d.Set.ID) + "." + name}
		}
		fields = append(fields, arrow.Field{Name: name, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for n, row := range d.Rows {
		for i, c := range at {
			if c < 0 {
				b.Field(i).(*array.FixedSizeBinaryBuilder).Append(d.Subjects[n][:])
				continue
			}
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				if v, ok := row[c].(string); ok {
					f.Append(v)
					continue
				}
			case *array.Int64Builder:
				if v, ok := row[c].(int64); ok {
					f.Append(v)
					continue
				}
			case *array.Date32Builder:
				if v, ok := row[c].(int64); ok {
					f.Append(arrow.Date32(v))
					continue
				}
			case *array.BooleanBuilder:
				if v, ok := row[c].(bool); ok {
					f.Append(v)
					continue
				}
			}
			b.Field(i).AppendNull()
		}
	}
	return &reader{rec: b.NewRecord()}, nil
}

// Run (试运行) computes the questions of a plan.
type Run struct {
	Data   map[sandbox.DatasetID]*Data
	List   []sandbox.ListItem
	Params egress.Params // of the gate
	Asker  sandbox.Party
	Open   bool // without the gate: for tests against a reference, never for what is shown
}

// Outcome (试运行结果) is what became of a Program.
type Outcome struct {
	Answers []Answer
	Tables  []compile.Filled
}

// Answer (试运行答复) is what became of one question: refused before data with reasons, withheld by the gate with a cause, or a result.
type Answer struct {
	Reasons    []sandbox.Reason
	Withheld   string
	Result     []byte
	Suppressed int
	Cells      int
	released   *compile.Released
}

// Do answers the questions in their order, each compared with those before, and fills the tables whose questions were all answered.
func (r *Run) Do(ctx context.Context, plan *compile.Plan) (Outcome, error) {
	sets := map[sandbox.DatasetID]catalog.Dataset{}
	for id, d := range r.Data {
		sets[id] = d.Set
	}
	ledger, err := egress.NewLedger(make([]byte, 16)) // of made people: its key hides nothing
	if err != nil {
		return Outcome{}, err
	}
	book := egress.NewBook()
	var out Outcome
	results := map[int]compile.Released{}
	for i, q := range plan.Questions {
		d, reasons := query.DeriveFor(r.Asker, q.Spec, sets, r.List)
		if len(reasons) > 0 {
			out.Answers = append(out.Answers, Answer{Reasons: reasons})
			continue
		}
		answer, err := r.compute(ctx, d)
		if err != nil {
			return out, err
		}
		a, err := r.gate(sandbox.QuestionID(fmt.Sprintf("q-dry-%d", i+1)), d, answer, ledger, book)
		if err != nil {
			return out, err
		}
		if a.released != nil {
			results[i] = *a.released
		}
		out.Answers = append(out.Answers, a)
	}
	for i := range plan.Tables {
		t := &plan.Tables[i]
		if slices.ContainsFunc(t.Questions, func(q int) bool { _, ok := results[q]; return !ok }) {
			continue
		}
		f, err := t.Fill(results)
		if err != nil {
			return out, err
		}
		out.Tables = append(out.Tables, f)
	}
	return out, nil
}

func (r *Run) compute(ctx context.Context, d query.Derivation) (*sandbox.Answer, error) {
	mem := memory.NewGoAllocator()
	p := columnar.Plan{Derivation: d}
	for _, in := range d.Inputs {
		p.Inputs = append(p.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
	}
	return columnar.Run(ctx, mem, p, func(_ context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
		return r.Data[id].Reader(mem, columns)
	}, columnar.Limits{})
}

func (r *Run) gate(id sandbox.QuestionID, d query.Derivation, a *sandbox.Answer, ledger *egress.Ledger, book *egress.Book) (Answer, error) {
	if r.Open {
		out := compile.Released{Measures: a.Measures}
		for i := range a.Cells {
			c := &a.Cells[i]
			row := compile.ReleasedRow{Labels: c.Labels}
			for m, v := range c.Values {
				if c.Missing(m) {
					row.Values = append(row.Values, nil)
				} else {
					row.Values = append(row.Values, &v)
				}
			}
			out.Rows = append(out.Rows, row)
		}
		return Answer{Cells: len(a.Cells), released: &out}, nil
	}
	p := r.Params.Stricter(egress.Params{MinSubjects: d.MinSubjects, DominanceK: d.MaxShare, PPercent: d.PPercent, Prior: d.Prior, MaxBits: d.MaxBits})
	c, err := egress.Check(id, a, p, book.Linked(ledger, a)...)
	if err != nil {
		return Answer{Withheld: err.Error()}, nil
	}
	entry, err := ledger.Entry(id, c)
	if err != nil {
		return Answer{}, err
	}
	if compared := book.Compare(entry, p); compared.Finding != nil {
		return Answer{Withheld: "it isolates too few people against earlier questions"}, nil
	}
	book.Add(entry)
	released, _, err := Released(c.Result)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Result: c.Result, Suppressed: c.Suppressed, Cells: c.Suppressed + c.Published, released: &released}, nil
}

// Released reads a result of class A, and of which question it is.
func Released(b []byte) (compile.Released, sandbox.QuestionID, error) {
	res, err := egress.DecodeResult(b)
	if err != nil {
		return compile.Released{}, "", err
	}
	out := compile.Released{Measures: res.Measures}
	for _, row := range res.Rows {
		out.Rows = append(out.Rows, compile.ReleasedRow{Labels: row.Labels, Values: row.Values, Suppressed: row.Suppressed})
	}
	return out, res.Question, nil
}
