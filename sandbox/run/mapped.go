package run

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/algo/reduce"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Mapping (逐主体作业) is one run of a Map over one version of a dataset, or of a view.
type Mapping struct {
	reduce.Job
	Dataset catalog.Dataset
	Code    Code
}

// Code (逐主体代码) runs a Map's module, confined, on subjects in the form of package mapper, each as if it were the first. What it gives is what each
// yielded; nil where its module trapped. It ends with an error where the module as a whole may not go on: nothing is known then.
type Code interface {
	Map(ctx context.Context, subjects [][]byte) ([][]byte, error)
}

// Bounds of one call of Code: what goes in and what may come back are, with the largest subject, less than a message of the jail holds, 8 MiB.
const (
	mapSubjects = 1024
	mapBytes    = 4 << 20 // that go in
	mapYielded  = 2 << 20 // that come back, of subjects that yield all that is declared
	mapFrame    = 8       // around the yields of one subject
)

// subjectsOf is how many subjects one call maps at most.
func subjectsOf(d *mapper.Declaration) int {
	return max(1, min(mapSubjects, mapYielded/(mapFrame+d.YieldBytes())))
}

// Map reads the columns that a Map declares and nothing else, subject by subject in the order in which they are kept, has the code yield and
// reduces it. It gives the answer and how many subjects the code failed for. A subject larger than mapper.MaxBytes counts as failed.
func Map(ctx context.Context, mem memory.Allocator, v *vault.Vault, m Mapping) (_ *sandbox.Answer, faults int, err error) {
	columns, err := m.columns()
	if err != nil {
		return nil, 0, err
	}
	snap, err := v.Snapshot(m.Input.Dataset, m.Input.Version)
	if err != nil {
		return nil, 0, missing(m.Input, err)
	}
	r, err := v.Scan(ctx, mem, snap, append([]string{columnar.SubjectColumn}, columns...))
	if err != nil {
		return nil, 0, missing(m.Input, err)
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	to, err := reduce.New(m.Job)
	if err != nil {
		return nil, 0, err
	}
	f := &feeder{ctx: ctx, code: m.Code, to: to, w: mapper.NewWriter(len(columns)), most: subjectsOf(&m.Declaration)}
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		err = f.batch(b, len(columns))
		b.Release()
		if err != nil {
			return nil, 0, err
		}
	}
	if err := f.next(sandbox.Pseudonym{}, false); err != nil {
		return nil, 0, err
	}
	if err := f.flush(); err != nil {
		return nil, 0, err
	}
	a, err := to.Answer()
	if h := m.Dataset.Holding; err == nil && h != "" { // the gate judges what a holding adds as one contributor's
		g := newGroups(a.Population)
		if err = g.read(ctx, mem, v, m.Input, h); err == nil {
			a.Holdings = g.of(len(a.Population))
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return a, to.Faults(), nil
}

// columns compares what the Map declares with the catalogue.
func (m Mapping) columns() ([]string, error) {
	bad := func(at, rule string) error {
		return &sandbox.Error{Op: "run: map", Kind: sandbox.Invalid, Object: string(m.Dataset.ID) + "." + at, Detail: rule}
	}
	if m.Input.Dataset != m.Dataset.ID {
		return nil, bad("", "the version is one of this dataset")
	}
	if err := m.Declaration.Check(); err != nil {
		return nil, &sandbox.Error{Op: "run: map", Kind: sandbox.Invalid, Object: m.Algorithm, Detail: err.Error()}
	}
	var out []string
	for _, c := range m.Declaration.Columns {
		d, ok := m.Dataset.Column(c.Name)
		switch {
		case !ok:
			return nil, bad(c.Name, "no such column")
		case string(d.Type) != c.Type || d.Type == catalog.Number && d.Scale != c.Scale:
			return nil, bad(c.Name, "the catalogue has another type than the Map declares")
		case c.Name == m.Dataset.Subject:
			return nil, bad(c.Name, "who a subject is is not a Map's to see")
		}
		out = append(out, c.Name)
	}
	return out, nil
}

// feeder cuts rows into subjects and hands them to the code.
type feeder struct {
	ctx  context.Context
	code Code
	to   *reduce.Reducer
	w    *mapper.Writer
	most int // subjects of one call

	who  sandbox.Pseudonym
	some bool // a subject is being written
	over bool // and is too large

	waiting []sandbox.Pseudonym
	large   []bool
	bytes   [][]byte
	pool    []byte
	ends    []int
}

// next ends the subject being written, and begins another.
func (f *feeder) next(who sandbox.Pseudonym, more bool) error {
	if f.some {
		b := f.w.Bytes()
		f.waiting, f.large = append(f.waiting, f.who), append(f.large, b == nil || f.over)
		f.pool = append(f.pool, b...)
		f.ends = append(f.ends, len(f.pool))
		if len(f.waiting) == f.most || len(f.pool) >= mapBytes {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
	f.w.Reset()
	f.who, f.some, f.over = who, more, false
	return nil
}

// flush runs the code on the subjects that wait.
func (f *feeder) flush() error {
	f.bytes = f.bytes[:0]
	from := 0
	for i, end := range f.ends {
		if !f.large[i] {
			f.bytes = append(f.bytes, f.pool[from:end:end])
		}
		from = end
	}
	var yielded [][]byte
	if len(f.bytes) > 0 {
		var err error
		if yielded, err = f.code.Map(f.ctx, f.bytes); err != nil {
			return err
		}
		if len(yielded) != len(f.bytes) {
			return &sandbox.Error{Op: "run: map", Kind: sandbox.Withheld, Object: "code", Detail: "yields are one per subject"}
		}
	}
	for i, who := range f.waiting {
		var y []byte
		if !f.large[i] {
			y, yielded = yielded[0], yielded[1:]
		}
		if err := f.to.Add(who, y, y == nil); err != nil {
			return err
		}
	}
	f.waiting, f.large, f.ends, f.pool = f.waiting[:0], f.large[:0], f.ends[:0], f.pool[:0]
	return nil
}

// batch takes the rows of one batch: its first column says whose they are.
func (f *feeder) batch(b arrow.Record, columns int) error {
	subject, ok := b.Column(0).(*array.FixedSizeBinary)
	if !ok {
		return &sandbox.Error{Op: "run: map", Kind: sandbox.Internal, Object: "subject", Detail: "rows have subjects"}
	}
	put := make([]func(i int), columns)
	for k := range put {
		if put[k] = cellWriter(f.w, b.Column(k+1)); put[k] == nil {
			return &sandbox.Error{Op: "run: map", Kind: sandbox.Invalid, Object: b.ColumnName(k + 1), Detail: fmt.Sprintf("type %s is not one that a Map sees", b.Column(k+1).DataType())}
		}
	}
	for i := range int(b.NumRows()) {
		if who := sandbox.Pseudonym(subject.Value(i)); !f.some || who != f.who {
			if err := f.next(who, true); err != nil {
				return err
			}
		}
		if f.over = f.over || f.w.Full(); f.over {
			continue
		}
		f.w.Row()
		for _, p := range put {
			p(i)
		}
	}
	return nil
}

// cellWriter writes the cells of a column; nil where its type is none that a Map sees.
func cellWriter(w *mapper.Writer, a arrow.Array) func(i int) {
	var put func(i int)
	switch a := a.(type) {
	case *array.Int64:
		put = func(i int) { w.Int(a.Value(i)) }
	case *array.Date32:
		put = func(i int) { w.Int(int64(a.Value(i))) }
	case *array.Boolean:
		put = func(i int) {
			if a.Value(i) {
				w.Int(1)
			} else {
				w.Int(0)
			}
		}
	default:
		name := names(a)
		if name == nil {
			return nil
		}
		put = func(i int) { w.Text(name(i)) }
	}
	return func(i int) {
		if a.IsNull(i) {
			w.Missing()
			return
		}
		put(i)
	}
}

// InProcess (本进程代码) is Code that runs in this process: for an author's dry run on made data alone.
type InProcess struct {
	Func        mapper.Func
	Declaration mapper.Declaration
}

// Map runs the function.
func (p InProcess) Map(_ context.Context, subjects [][]byte) ([][]byte, error) {
	out := make([][]byte, len(subjects))
	for i, s := range subjects {
		y, err := mapper.Yielding(p.Func, slices.Clone(s), &p.Declaration)
		if err == nil {
			out[i] = y
		}
	}
	return out, nil
}
