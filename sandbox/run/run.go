// Package run is one job (作业) over sealed columns: a statistical question answered by the columnar engine, one consenting
// person's record read from the vault, or the rows that a model is trained on. Each is one short function that opens the granted columns of fixed
// versions and nothing else (最小必要).
//
// What it returns never leaves as it is: an Answer goes to the gate, a Record to the class-B checks. It decides nothing:
// the caller holds an allowing Decision. Errors depend on data, so no asker sees them.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/fleet"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Answer computes an accepted question over the given versions of its inputs, one version of each dataset.
//
// The scanned input is computed in parts on all cores; neither their number nor that of the cores shows in the answer. What passes the
// limits of memory is spilled sealed into the vault's folder and erased with the run.
func Answer(ctx context.Context, mem memory.Allocator, v *vault.Vault, d query.Derivation, inputs []sandbox.InputVersion, lim columnar.Limits) (*sandbox.Answer, error) {
	return answer(ctx, mem, v, d, inputs, lim, partRows, columnar.Goroutines{Workers: runtime.GOMAXPROCS(0)})
}

// AnswerBy is Answer with the parts computed by worker processes, which hold the keys of the columns that the question needs and no
// others. The answer is the same bits.
func AnswerBy(ctx context.Context, mem memory.Allocator, v *vault.Vault, d query.Derivation, inputs []sandbox.InputVersion, lim columnar.Limits, by fleet.Processes) (*sandbox.Answer, error) {
	return answer(ctx, mem, v, d, inputs, lim, partRows, by)
}

func answer(ctx context.Context, mem memory.Allocator, v *vault.Vault, d query.Derivation, inputs []sandbox.InputVersion, lim columnar.Limits, rows int64, by columnar.Executor) (out *sandbox.Answer, err error) {
	for i, in := range inputs {
		if slices.ContainsFunc(inputs[:i], func(e sandbox.InputVersion) bool { return e.Dataset == in.Dataset && e.Version != in.Version }) {
			return nil, &sandbox.Error{Op: "run", Kind: sandbox.Invalid, Object: string(in.Dataset), Detail: "a question sees one version of a dataset"}
		}
	}
	version := func(ds sandbox.DatasetID) (in sandbox.InputVersion) {
		if i := slices.IndexFunc(inputs, func(in sandbox.InputVersion) bool { return in.Dataset == ds }); i >= 0 {
			in = inputs[i]
		}
		return in
	}
	snapshot := func(ds sandbox.DatasetID) (vault.Snapshot, error) {
		in := version(ds)
		if in.Dataset == "" {
			return vault.Snapshot{}, &sandbox.Error{Op: "run", Kind: sandbox.Internal, Object: string(ds), Detail: "an input without a version"}
		}
		snap, err := v.Snapshot(ds, in.Version)
		if err != nil {
			return vault.Snapshot{}, missing(in, err)
		}
		return snap, nil
	}
	if !d.Complete() {
		return nil, &sandbox.Error{Op: "run", Kind: sandbox.Invalid, Object: "plan", Detail: "an accepted question only"}
	}
	scanned, err := snapshot(d.Inputs[0].Dataset)
	if err != nil {
		return nil, err
	}
	parts, err := v.Parts(scanned, rows)
	if err != nil {
		return nil, err
	}
	opened := func(ds sandbox.DatasetID, r *vault.Scanner, err error) (batch.Reader, error) {
		if err != nil {
			return nil, missing(version(ds), err) // not a Reader that holds a nil Scanner
		}
		return r, nil
	}
	scans := batch.NewRecycler(mem)
	defer scans.Close()
	spill, err := v.Spill()
	if err != nil {
		return nil, err
	}
	defer func() { // also what an error has left
		if cerr := spill.Close(); err == nil && cerr != nil {
			out, err = nil, cerr
		}
	}()
	src := columnar.Source{Parts: parts.Len(),
		Spill: func() (columnar.SpillFile, error) { return spill.Create() },
		Open: func(ctx context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
			snap, err := snapshot(ds)
			if err != nil {
				return nil, err
			}
			r, err := v.Scan(ctx, scans, snap, columns)
			return opened(ds, r, err)
		},
		OpenPart: func(ctx context.Context, ds sandbox.DatasetID, columns []string, part int) (batch.Reader, error) {
			r, err := parts.Scan(ctx, scans, columns, part)
			return opened(ds, r, err)
		}}
	plan := columnar.Plan{Derivation: d, Inputs: inputs}
	if p, ok := by.(fleet.Processes); ok {
		job := fleet.Job{Plan: plan, Limits: lim, Vault: v, Rows: rows}
		for _, in := range inputs {
			snap, err := snapshot(in.Dataset)
			if err != nil {
				return nil, err
			}
			job.Snapshots = append(job.Snapshots, snap)
		}
		by = p.For(job)
	}
	out, err = columnar.Execute(ctx, mem, plan, src, lim, by)
	if named := d.Holdings(); err == nil && len(named) > 0 {
		g := newGroups(out.Population)
		for _, h := range named {
			if err == nil {
				err = g.read(ctx, scans, v, version(h.Dataset), h.Column)
			}
		}
		out.Holdings = g.of(len(out.Population))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// partRows is how many rows of the scanned input are computed as one part: enough that what is made for each part costs little, and
// few enough that two cores end together on a million rows.
const partRows = 1 << 18

// Claim (单笔查询) names one record: the person's pseudonym and the claim number in the dataset's number column.
type Claim struct {
	Dataset catalog.Dataset
	Version sandbox.InputVersion
	Subject sandbox.Pseudonym
	Column  string // the column that holds claim numbers
	Number  string
	Fields  []string
	Shown   *desensitize.Pipeline // what the asker's role sees of the fields; nil: as they are. A field it drops is empty
}

// String keeps the claim number out of logs.
func (Claim) String() string { return "claim(redacted)" }

// GoString keeps the claim number out of %#v.
func (Claim) GoString() string { return "claim(redacted)" }

// Record (单一主体记录) is one row's fields as labels, in the order asked; a null is the empty string.
type Record struct {
	Fields []string
	Values []string
}

// String keeps values out of logs.
func (Record) String() string { return "record(redacted)" }

// GoString keeps values out of %#v.
func (Record) GoString() string { return "record(redacted)" }

// Find reads the record of a claim: NotFound when there is none of this person, Conflict when there is more than one, and
// neither for any other cause. What is read is the batch in which the person's rows would stand, whole, whether or not they
// do: time does not tell.
func Find(ctx context.Context, mem memory.Allocator, v *vault.Vault, c Claim) (rec Record, err error) {
	if err := c.check(); err != nil {
		return Record{}, err
	}
	snap, err := v.Snapshot(c.Version.Dataset, c.Version.Version)
	if err != nil {
		return Record{}, missing(c.Version, err)
	}
	columns := append([]string{columnar.SubjectColumn, c.Column}, c.Fields...)
	slices.Sort(columns)
	columns = slices.Compact(columns)
	r, err := v.ScanSubject(ctx, mem, snap, columns, c.Subject)
	if err != nil {
		return Record{}, missing(c.Version, err)
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	found := 0
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return Record{}, err
		}
		n, values, err := match(b, c)
		b.Release()
		if err != nil {
			return Record{}, err
		}
		if n > 0 {
			found, rec = found+n, Record{Fields: c.Fields, Values: values}
		}
	}
	switch found {
	case 0:
		return Record{}, &sandbox.Error{Op: "run: find", Kind: sandbox.NotFound, Object: string(c.Dataset.ID), Detail: "no such record of this person"}
	case 1:
		return rec, nil
	}
	return Record{}, &sandbox.Error{Op: "run: find", Kind: sandbox.Conflict, Object: string(c.Dataset.ID), Detail: "more than one record under this number"}
}

// check holds a claim to its dataset's description, whether or not a row will match.
func (c Claim) check() error {
	bad := func(column, rule string) error {
		return &sandbox.Error{Op: "run: find", Kind: sandbox.Invalid, Object: string(c.Dataset.ID) + "." + column, Detail: rule}
	}
	if c.Version.Dataset != c.Dataset.ID {
		return bad(c.Column, "the version is one of this dataset")
	}
	if d, ok := c.Dataset.Column(c.Column); !ok || d.Type != catalog.Text {
		return bad(c.Column, "a claim number column is text")
	}
	for _, f := range c.Fields {
		if _, ok := c.Dataset.Column(f); !ok {
			return bad(f, "no such column")
		}
	}
	return nil
}

// missing keeps what the vault does not have apart from a record that does not exist.
func missing(v sandbox.InputVersion, err error) error {
	if errors.Is(err, sandbox.NotFound) {
		return &sandbox.Error{Op: "run", Kind: sandbox.Tampered, Object: fmt.Sprintf("%s v%d", v.Dataset, v.Version), Detail: "the vault does not hold the version or a column that the catalogue names"}
	}
	return err
}

// match counts the rows of one batch that are the claim and gives the fields of the last of them.
func match(b arrow.Record, c Claim) (n int, values []string, err error) {
	column := func(name string) arrow.Array {
		if i := b.Schema().FieldIndices(name); len(i) == 1 {
			return b.Column(i[0])
		}
		return nil
	}
	subject, ok1 := column(columnar.SubjectColumn).(*array.FixedSizeBinary)
	number, ok2 := column(c.Column).(*array.String)
	if !ok1 || !ok2 {
		return 0, nil, &sandbox.Error{Op: "run: find", Kind: sandbox.Invalid, Object: string(c.Dataset.ID) + "." + c.Column, Detail: "a claim number column is text"}
	}
	fields := make([]arrow.Array, len(c.Fields))
	for i, f := range c.Fields {
		if fields[i] = column(f); fields[i] == nil {
			return 0, nil, &sandbox.Error{Op: "run: find", Kind: sandbox.Internal, Object: string(c.Dataset.ID) + "." + f, Detail: "the scan left out a column"}
		}
	}
	for i := range int(b.NumRows()) {
		if [16]byte(subject.Value(i)) != c.Subject || number.IsNull(i) || number.Value(i) != c.Number {
			continue
		}
		n++
		if c.Shown != nil {
			if values, err = c.shown(b, i); err != nil {
				return 0, nil, err
			}
			continue
		}
		values = values[:0]
		for k, f := range c.Fields {
			d, _ := c.Dataset.Column(f)
			s, err := label(d, fields[k], i)
			if err != nil {
				return 0, nil, err
			}
			values = append(values, s)
		}
	}
	return n, values, nil
}

// shown gives a row's fields as the asker's role sees them.
func (c Claim) shown(b arrow.Record, i int) ([]string, error) {
	row := b.NewSlice(int64(i), int64(i)+1)
	defer row.Release()
	out, _, err := c.Shown.Apply(memory.DefaultAllocator, row, []sandbox.Pseudonym{c.Subject})
	if err != nil {
		return nil, err
	}
	defer out.Release()
	view := c.Shown.Columns()
	values := make([]string, len(c.Fields))
	for k, f := range c.Fields {
		at := slices.IndexFunc(view, func(v catalog.Column) bool { return v.Name == f })
		if at < 0 {
			continue
		}
		if values[k], err = label(&view[at], out.Column(at), 0); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func label(c *catalog.Column, a arrow.Array, i int) (string, error) {
	if a.IsNull(i) {
		return "", nil
	}
	switch a := a.(type) {
	case *array.String:
		return strings.Clone(a.Value(i)), nil // the batch's bytes go back with it
	case *array.Int64:
		return query.Label(c, a.Value(i)), nil
	case *array.Date32:
		return query.Label(c, int64(a.Value(i))), nil
	case *array.Boolean:
		if a.Value(i) {
			return "true", nil
		}
		return "false", nil
	}
	return "", &sandbox.Error{Op: "run: find", Kind: sandbox.Invalid, Object: c.Name, Detail: fmt.Sprintf("type %s has no label", a.DataType())}
}
