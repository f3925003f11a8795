// Package columnar is the engine that answers a query.Derivation over Arrow record batches in the domain (域内列式计算): scan,
// filter, join, group, measure, and with every cell the evidence (distinct subjects and what each adds) that the gate
// decides on.
//
// Method: batches are taken in pieces of 1,024 rows; a selection vector of int32 carries the rows that still count (package vector, with
// what conditions on values it can answer without labels); bins
// become label codes (through tables for dates, a hash table for texts); codes become a dense cell number by mixed radix,
// or by open addressing when the space is wide; (cell, subject) pairs index accumulators by open addressing, or without any table
// while subjects come in order, as versions keep them. Go maps keyed by strings were four times slower per row. Public values stay
// words or bytes until the answer spells them. Tables keep hashes beside numbers, and read what 256 keys need before they search.
//
// Of a reader that is a batch.Selector the engine takes texts as codes of a dictionary, coded once an entry, and pseudonyms as codes of
// their runs; of the scanned input it leaves out batches whose bounds a filter refuses whole.
//
// Joins are by hash: joined inputs are read into memory first, of each row only what the question needs, and shared by all workers. A
// joined row is a row of the scanned input with one of each joined one, or with none where a left join finds none; the protected
// subject is the scanned row's. Keys of several rows give their rows a piece at a time. An input that does not fit in its share of
// MaxBuildBytes, an equal one of what those before it left, is dealt by key to 16 sealed files, as are the rows that look for partners
// in it, and file by file they meet in memory (Grace hash join); what is still too large is dealt again, one key with most of the rows
// is taken in blocks. Sorting both sides instead would cost passes over the larger one.
//
// Parts: the scanned input is cut by its data alone; a Kernel computes a Partial of each, an Executor says where, and Partials
// merge in the order of the parts. Parts in the order of their subjects are put side by side; others go through a table. Pairs beyond
// MaxPairBytes are dealt to sealed files by the first bits of pseudonyms and come back file by file, each pair once: subjects stay exact.
//
//	count, subjects, sum, mean     of pairs, in 64 bits each, over subjects in 128
//	histogram, distinct            of labels by code
//	min, max                       of pairs
//	quantile                       of counted (cell, value), exact
//	variance, stddev, covariance,  of n, Σx and Σxy in 64, 128 and 192 bits; the last step in fractions,
//	correlation, linear            least squares by Bareiss' elimination, exact
//	ratio                          of two sums over the rows that have both
//	logistic                       of counted (cell, row of values) in their order, Newton's method in float64
//
// On how few people a value rests: of a quantile those up to it and from it on, of an extreme those who hold it. Of variance, its kin and
// regressions, a pair keeps the sum of every column over the rows that have all of them; beside the cell's moments it tells, as
// whole products, whether a person's mean is above the cell's or below, and the fewest on a side of any column count.
//
// Units: values are int64 in the output's scaled unit, fen for money, rounded half away from zero. Full years of an age bin are
// reached on the birthday, those of 29 February on 1 March in common years. A cell says where an output has no value: too few rows, a
// divisor of zero, columns that do not determine a regression, an iteration that does not converge.
//
// Promises: evidence is exact; the answer's bits do not depend on how rows are cut into batches and parts nor on who computes
// them, and but for the order of Population not on the order of rows; nothing but logistic regressions is computed in floating point;
// a value over 64 bits, or one subject's sum in a cell, is an error whatever the order and never wraps; memory in proportion to data comes from
// the caller's allocator, is bounded by Limits, and is given back before Run returns. Steady state allocates nothing per batch
// beyond what the reader does. What is spilled changes no bit of an answer.
//
// Memory beside MaxBuildBytes and MaxPairBytes: first pages of pairs for each worker, 8,192 of each (about 0.1 MiB a word); for
// each spilled input 16 files that are written, with the 0.13 MiB that a sealed file takes; one bit for each row that a left join
// takes in blocks; labels, moments and counted values (MaxCells, MaxValues); and the answer itself, which has every contributor: 16 bytes
// a subject, 12 or more a pair.
//
// Errors are *sandbox.Error: TooLarge over a limit, Invalid for a plan that breaks a rule or an outcome that is not 0 or 1, Tampered for
// batches that are not what the catalogue describes. They name dataset, column and rule, never a value. Whether one occurs can
// depend on data, so the caller shows the asker none of them.
//
// It does not decide who may ask (policy), and its answers do not leave: cells of one person are in them (egress).
package columnar

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/columnar/vector"
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
	MaxCells      int // groups of the answer; default 65,536
	MaxSubjects   int // distinct subjects; default 16 Mi
	MaxPairs      int // (cell, subject) pairs, about 50 bytes each; default 32 Mi
	MaxBuildRows  int // rows of all looked-up inputs together; default 16 Mi
	MaxBuildBytes int // memory of all looked-up inputs together; what is more is spilled, or refused without a Spill; default 1 GiB
	MaxPairBytes  int // memory of pairs; what is more is spilled, or refused without a Spill; default 1 GiB, without a Spill 4 GiB
	MaxSpillBytes int // on disk at a time; default 64 GiB
	MaxJoined     int // rows that joins by keys of several rows give; default 4 Gi
	MaxValues     int // distinct (cell, value) of quantiles, labels and logistic regressions, about 100 bytes each; default 16 Mi
}

func (l Limits) withDefaults() (Limits, error) {
	for _, f := range []struct {
		v        *int
		def, max int
	}{{&l.MaxCells, 1 << 16, 1 << 24}, {&l.MaxSubjects, 16 << 20, 1 << 30}, {&l.MaxPairs, 32 << 20, 1 << 30}, {&l.MaxBuildRows, 16 << 20, 1 << 30},
		{&l.MaxBuildBytes, 1 << 30, 1 << 44}, {&l.MaxPairBytes, 4 << 30, 1 << 44}, {&l.MaxSpillBytes, 64 << 30, 1 << 44}, {&l.MaxJoined, 4 << 30, 1 << 44}, {&l.MaxValues, 16 << 20, 1 << 30}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < 0 || *f.v > f.max {
			return l, fail(sandbox.Invalid, "limits", "a limit is positive and at most 2^30, of cells 2^24, of bytes and joined rows 2^44")
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

// Run computes the answer to plan on one core; Execute does with an executor. Looked-up inputs are read first, in order. mem
// pays for tables that grow with data.
func Run(ctx context.Context, mem memory.Allocator, plan Plan, open Open, lim Limits) (*sandbox.Answer, error) {
	return Execute(ctx, mem, plan, Source{Open: open}, lim, Goroutines{Workers: 1})
}

// newRun checks a plan and lays out what it computes.
func newRun(mem memory.Allocator, plan Plan, lim Limits) (*run, error) {
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
	lim, err := lim.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &run{kernels: vector.Best(), mem: mem, buildMem: &metered{Allocator: mem}, d: d, lim: lim, lookups: make([]*lookup, len(d.Inputs))}
	r.texts = newTexts(r.buildMem)
	r.resolve()
	return r, nil
}

// run is what all parts of one Run share. It does not change once the lookups are built.
type run struct {
	kernels  vector.Kernels
	mem      memory.Allocator
	joined   atomic.Int64 // rows that joins gave or looked at
	buildMem *metered     // of the lookups
	d        query.Derivation
	lim      Limits
	texts    *texts        // texts of join keys, shared by all lookups: equal ids are equal texts
	labels   []labelColumn // dimensions first
	dims     int
	values   []valueColumn
	ops      []op // by word of a pair
	slots    []slot
	counted  []counted
	moments  []momentSet
	tallies  []tallySet
	outputs  []output
	everyone bool          // some output counts every row, so that every subject contributes
	lookups  []*lookup     // by input, lookups[0] is nil
	built    int           // rows in lookups so far
	readers  atomic.Uint64 // … that were read, so that each batch has a serial of its own
	spill    *spiller      // nil: nothing is written to disk
	graced   bool          // some lookup is spilled
	behind   [][]int       // by input: scanned columns that are needed behind its join; where some lookup is spilled
}

func (r *run) free() {
	r.texts.free()
	for _, l := range r.lookups {
		if l != nil {
			l.free()
		}
	}
	if r.spill != nil {
		r.spill.free()
	}
}

// metered counts the bytes that are allocated from it.
type metered struct {
	memory.Allocator
	used atomic.Int64
}

func (m *metered) Allocate(size int) []byte {
	m.used.Add(int64(size))
	return m.Allocator.Allocate(size)
}

func (m *metered) Reallocate(size int, b []byte) []byte {
	m.used.Add(int64(size - len(b)))
	return m.Allocator.Reallocate(size, b)
}

func (m *metered) Free(b []byte) {
	m.used.Add(int64(-len(b)))
	m.Allocator.Free(b)
}

// columns names what is opened of input i.
func (r *run) columns(i int) []string {
	in := r.d.Inputs[i]
	names := slices.Clone(in.Needed)
	if in.Subject {
		names = append(names, SubjectColumn)
	}
	return names
}

func (r *run) open(ctx context.Context, i int, open Open) (batch.Reader, error) {
	reader, err := open(ctx, r.d.Inputs[i].Dataset, r.columns(i))
	if err != nil {
		return nil, wrap(string(r.d.Inputs[i].Dataset), err)
	}
	return reader, nil
}

// each calls f with the columns of input i for every batch that has rows, and closes the reader. The columns are valid within f.
// useless, where it is given, says of which batches no row counts.
func (r *run) each(ctx context.Context, i int, reader batch.Reader, useless func(string, batch.Extent) bool, f func(in *inputBatch) error) (err error) {
	in := r.d.Inputs[i]
	object := string(in.Dataset)
	defer func() {
		if cerr := reader.Close(); err == nil && cerr != nil {
			err = wrap(object, cerr)
		}
	}()
	names := r.columns(i)
	b := &inputBatch{dataset: object, names: names, cols: make([]column, len(names))}
	at := make([]int, len(names))
	serial := r.readers.Add(1)
	for j, name := range names {
		found := reader.Schema().FieldIndices(name)
		if len(found) != 1 {
			return fail(sandbox.Tampered, object+"."+name, "the reader gives each asked column once")
		}
		at[j] = found[0]
		if c, ok := in.Described.Column(name); ok && name != SubjectColumn {
			b.cols[j].desc = c
		}
		b.cols[j].object, b.cols[j].serial = object+"."+name, serial<<32
	}
	if s, ok := reader.(batch.Selector); ok {
		if err := s.Select(batch.Selection{Coded: true, Useless: useless}); err != nil {
			return wrap(object, err)
		}
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
