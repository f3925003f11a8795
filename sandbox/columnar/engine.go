// Package columnar is the engine that answers a query.Derivation over Arrow record batches in the domain (域内列式计算): scan,
// filter, look up, group, measure, and with every cell the evidence (distinct subjects and what each adds) that the gate
// decides on.
//
// Method: batches are taken in pieces of 1,024 rows; a selection vector of int32 carries the rows that still count; bins
// become label codes (through tables for dates, a hash table for texts); codes become a dense cell number by mixed radix,
// or by open addressing when the space is wide; (cell, subject) pairs index accumulators by open addressing. Go maps keyed
// by strings were four times slower per row. One run uses one core; the reader may decrypt ahead on others.
//
// Units: sums are int64 in the column's scaled unit, fen for money. A mean is sum ÷ non-missing rows, rounded half away
// from zero. Full years of an age bin are reached on the birthday, those of 29 February on 1 March in common years.
//
// Promises: evidence is exact; the answer does not depend on how rows are cut into batches; nothing is computed in
// floating point; a sum over 64 bits is an error and never wraps; memory in proportion to data comes from the caller's
// allocator, is bounded by Limits, and is given back before Run returns. Steady state allocates nothing per batch beyond
// what the reader does.
//
// Errors are *sandbox.Error: TooLarge over a limit, Invalid for a plan or lookup that breaks a rule, Tampered for batches
// that are not what the catalogue describes. They name dataset, column and rule, never a value. Whether one occurs can
// depend on data, so the caller shows the asker none of them.
//
// It does not decide who may ask (policy), and its answers do not leave: cells of one person are in them (egress).
package columnar

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/query"
)

// SubjectColumn is the name under which readers give the pseudonyms, a FixedSizeBinary(16) without nulls.
const SubjectColumn = "_subject"

// Plan (执行计划) is a derived question and the versions its inputs are opened at, one per dataset it names.
type Plan struct {
	Derivation query.Derivation
	Inputs     []sandbox.InputVersion
}

// Open (打开输入) opens the named columns of a dataset, SubjectColumn among them where it is needed. Columns of the reader
// beyond these are ignored.
type Open func(ctx context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error)

// Limits (资源上限) bound what one run may hold. Zero means the default.
type Limits struct {
	MaxCells     int // groups of the answer; default 65,536
	MaxSubjects  int // distinct subjects; default 16 Mi
	MaxPairs     int // (cell, subject) pairs, about 50 bytes each; default 32 Mi
	MaxBuildRows int // rows of all looked-up inputs together; default 16 Mi
}

func (l Limits) withDefaults() (Limits, error) {
	for _, f := range []struct {
		v        *int
		def, max int
	}{{&l.MaxCells, 1 << 16, 1 << 24}, {&l.MaxSubjects, 16 << 20, 1 << 30}, {&l.MaxPairs, 32 << 20, 1 << 30}, {&l.MaxBuildRows, 16 << 20, 1 << 30}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < 0 || *f.v > f.max {
			return l, fail(sandbox.Invalid, "limits", "a limit is positive and at most 2^30, of cells 2^24")
		}
	}
	return l, nil
}

func fail(kind sandbox.Kind, object, rule string) error {
	return &sandbox.Error{Op: "columnar", Kind: kind, Object: object, Detail: rule}
}

func wrap(object string, err error) error {
	return &sandbox.Error{Op: "columnar", Kind: sandbox.KindOf(err), Object: object, Err: err}
}

// Run computes the answer to plan. Looked-up inputs are read first, in order, then the first input is scanned. mem pays
// for tables that grow with data.
func Run(ctx context.Context, mem memory.Allocator, plan Plan, open Open, lim Limits) (*sandbox.Answer, error) {
	d := plan.Derivation
	if !d.Complete() {
		return nil, fail(sandbox.Invalid, "plan", "an engine runs accepted questions only")
	}
	for _, in := range d.Inputs {
		i := slices.IndexFunc(plan.Inputs, func(v sandbox.InputVersion) bool { return v.Dataset == in.Dataset })
		if i < 0 || in.Version != 0 && plan.Inputs[i].Version != in.Version {
			return nil, fail(sandbox.Invalid, "plan", "names the version of every input, and the one the question asks for")
		}
	}
	for _, m := range d.Spec.Measures {
		switch m.Func {
		case sandbox.Count, sandbox.Subjects, sandbox.Sum, sandbox.Mean:
		default:
			return nil, fail(sandbox.Invalid, "measure "+m.As, "this engine does not compute "+string(m.Func))
		}
	}
	for _, in := range d.Inputs {
		if in.Join != "" {
			return nil, fail(sandbox.Invalid, string(in.Dataset), "this engine does inner joins only")
		}
	}
	if len(d.Spec.Having) > 0 || d.Spec.Top != nil {
		return nil, fail(sandbox.Invalid, "plan", "this engine shows every cell")
	}
	lim, err := lim.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &run{mem: mem, d: d, lim: lim, texts: newTexts(mem), lookups: make([]*lookup, len(d.Inputs))}
	defer r.free()
	r.resolve()
	for i := 1; i < len(d.Inputs); i++ {
		if err := r.build(ctx, i, open); err != nil {
			return nil, err
		}
	}
	if err := r.scan(ctx, open); err != nil {
		return nil, err
	}
	a, err := r.answer()
	if err != nil {
		return nil, err
	}
	a.Inputs = slices.Clone(plan.Inputs)
	return a, nil
}

// run is the state of one Run.
type run struct {
	mem     memory.Allocator
	d       query.Derivation
	lim     Limits
	texts   *texts    // texts of join keys, shared by all lookups: equal ids are equal texts
	dims    []place   // by dimension
	slots   []slot    // value columns
	slotOf  []int     // by measure: its slot, -1 for count and subjects
	lookups []*lookup // by input, lookups[0] is nil
	built   int       // rows in lookups so far
	scanner *scanner
	ev      *evidence
}

// resolve finds the columns of dimensions and measures.
func (r *run) resolve() {
	for _, dim := range r.d.Spec.Dimensions {
		i, name := r.column(dim.Column)
		r.dims = append(r.dims, place{i, name, r.find(i, name)})
	}
	for _, m := range r.d.Spec.Measures {
		if m.Column == "" {
			r.slotOf = append(r.slotOf, -1)
			continue
		}
		i, name := r.column(m.Column)
		at := slices.IndexFunc(r.slots, func(s slot) bool { return s.input == i && s.name == name })
		if at < 0 {
			c, _ := r.d.Inputs[i].Described.Column(name)
			at = len(r.slots)
			r.slots = append(r.slots, slot{place{i, name, r.find(i, name)}, c.Nullable})
		}
		r.slotOf = append(r.slotOf, at)
	}
}

func (r *run) free() {
	r.texts.free()
	for _, l := range r.lookups {
		if l != nil {
			l.free()
		}
	}
	if r.scanner != nil {
		r.scanner.free()
	}
	if r.ev != nil {
		r.ev.free()
	}
}

// each opens input i and calls f with its columns for every batch that has rows. The columns are valid within f.
func (r *run) each(ctx context.Context, i int, open Open, f func(in *inputBatch) error) (err error) {
	in := r.d.Inputs[i]
	object := string(in.Dataset)
	names := slices.Clone(in.Needed)
	if in.Subject {
		names = append(names, SubjectColumn)
	}
	reader, err := open(ctx, in.Dataset, names)
	if err != nil {
		return wrap(object, err)
	}
	defer func() {
		if cerr := reader.Close(); err == nil && cerr != nil {
			err = wrap(object, cerr)
		}
	}()
	b := &inputBatch{dataset: object, names: names, cols: make([]column, len(names))}
	at := make([]int, len(names))
	for j, name := range names {
		found := reader.Schema().FieldIndices(name)
		if len(found) != 1 {
			return fail(sandbox.Tampered, object+"."+name, "the reader gives each asked column once")
		}
		at[j] = found[0]
		if c, ok := in.Described.Column(name); ok && name != SubjectColumn {
			b.cols[j].desc = c
		}
		b.cols[j].object = object + "." + name
	}
	for {
		if err := ctx.Err(); err != nil {
			return &sandbox.Error{Op: "columnar", Kind: sandbox.Unavailable, Object: object, Err: err}
		}
		rec, err := reader.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return wrap(object, err)
		}
		err = r.one(rec, b, at, f)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

func (r *run) one(rec arrow.Record, b *inputBatch, at []int, f func(*inputBatch) error) error {
	b.rows = int(rec.NumRows())
	if b.rows == 0 {
		return nil
	}
	if b.rows > 1<<30 {
		return fail(sandbox.TooLarge, b.dataset, "a batch has at most 2^30 rows")
	}
	for j := range b.cols {
		if at[j] >= int(rec.NumCols()) {
			return fail(sandbox.Tampered, b.dataset, "batches follow the reader's schema")
		}
		if err := b.cols[j].load(rec.Column(at[j]), b.rows); err != nil {
			return err
		}
	}
	return f(b)
}

// find gives the position of a needed column of input i, or of SubjectColumn after them.
func (r *run) find(i int, name string) int {
	if name == SubjectColumn {
		return len(r.d.Inputs[i].Needed)
	}
	return slices.Index(r.d.Inputs[i].Needed, name)
}

// alias finds an input by alias; a complete Derivation names only known ones.
func (r *run) alias(name string) int {
	return slices.IndexFunc(r.d.Inputs, func(in query.DerivedInput) bool { return in.Alias == name })
}

func tooLarge(object, what string, max int) error {
	return fail(sandbox.TooLarge, object, fmt.Sprintf("at most %d %s", max, what))
}
