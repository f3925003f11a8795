package spec

import (
	"context"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/columnar"
)

// Columns names what of the dataset a unit's reader gives: the question's columns and the pseudonyms.
func (q *Question) Columns() (sandbox.DatasetID, []string) {
	in := q.Derivation.Inputs[0]
	return in.Dataset, append(append([]string{}, in.Needed...), columnar.SubjectColumn)
}

// Partial adds a unit's rows up, and closes the reader. A row of no group of the layout counts nowhere. TooLarge for a value of 2^47 or more,
// Tampered for batches that are not what the catalogue describes; after an error there is nothing to contribute.
func (q *Question) Partial(ctx context.Context, r batch.Reader) (*he.Partial, error) {
	p, err := he.NewPartial(&q.Layout)
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	people := map[sandbox.Pseudonym]uint64{}
	err = q.side.rows(ctx, r, func(cell int, who sandbox.Pseudonym, values []int64, missing uint64) error {
		n, ok := people[who]
		if !ok {
			n = uint64(len(people))
			people[who] = n
		}
		return p.Add(cell, n, values, missing)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func fail(kind sandbox.Kind, object, rule string) error {
	return &sandbox.Error{Op: "he: rows", Kind: kind, Object: object, Detail: rule}
}

// view is one column of a batch.
type view struct {
	ints  []int64
	days  []arrow.Date32
	texts *array.String
	truth *array.Boolean
	who   *array.FixedSizeBinary
	nulls arrow.Array // nil: none
}

func (v *view) null(i int) bool { return v.nulls != nil && v.nulls.IsNull(i) }

func (v *view) word(i int) int64 {
	switch {
	case v.ints != nil:
		return v.ints[i]
	case v.days != nil:
		return int64(v.days[i])
	case v.truth != nil && v.truth.Value(i):
		return 1
	}
	return 0
}

// row numbers a row's label.
func (l *labeler) row(v *view, i int) int32 {
	switch {
	case v.null(i):
		return l.null
	case v.texts != nil:
		return l.text(v.texts.Value(i))
	}
	return l.word(v.word(i))
}

// rows calls f for each row that the filters keep: its group, whom it is about, and its values.
func (s *side) rows(ctx context.Context, r batch.Reader, f func(cell int, who sandbox.Pseudonym, values []int64, missing uint64) error) (err error) {
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			err = &sandbox.Error{Op: "he: rows", Kind: sandbox.KindOf(cerr), Object: string(s.dataset), Err: cerr}
		}
	}()
	values := make([]int64, len(s.columns))
	for {
		if ctx.Err() != nil {
			return &sandbox.Error{Op: "he: rows", Kind: sandbox.Unavailable, Object: string(s.dataset), Err: ctx.Err()}
		}
		rec, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &sandbox.Error{Op: "he: rows", Kind: sandbox.KindOf(err), Object: string(s.dataset), Err: err}
		}
		err = s.batch(rec, values, f)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

func (s *side) batch(rec arrow.Record, values []int64, f func(int, sandbox.Pseudonym, []int64, uint64) error) error {
	views := map[string]*view{}
	open := func(name string) (*view, error) {
		if v := views[name]; v != nil {
			return v, nil
		}
		v, err := s.view(rec, name)
		views[name] = v
		return v, err
	}
	who, err := open(columnar.SubjectColumn)
	if err != nil {
		return err
	}
	if who.who == nil || who.nulls != nil {
		return fail(sandbox.Tampered, string(s.dataset), "every row has a pseudonym of 16 bytes")
	}
	of := func(l *labeler, into *[]*view) error {
		v, err := open(l.column)
		*into = append(*into, v)
		return err
	}
	var filters, dims, parts, columns []*view
	for _, f := range s.filters {
		if err := of(f.labels, &filters); err != nil {
			return err
		}
	}
	for _, d := range s.dims {
		if d.by != nil {
			if err := of(d.by, &dims); err != nil {
				return err
			}
			continue
		}
		dims = append(dims, nil)
		for _, l := range d.points.parts {
			if err := of(l, &parts); err != nil {
				return err
			}
		}
	}
	for _, c := range s.columns {
		v, err := open(c.name)
		if err != nil {
			return err
		}
		if columns = append(columns, v); c.labels == nil && v.ints == nil && rec.NumRows() > 0 {
			return fail(sandbox.Tampered, string(s.dataset)+"."+c.name, "a measured column is of numbers")
		}
	}
rows:
	for i := range int(rec.NumRows()) {
		for k, f := range s.filters {
			if (f.labels.row(filters[k], i) >= 0) == f.not {
				continue rows
			}
		}
		cell, part := 0, 0
		for k, d := range s.dims {
			code := int32(-1)
			if d.by != nil {
				code = d.by.row(dims[k], i)
			} else {
				sum := int64(0)
				for j, l := range d.points.parts {
					if c := l.row(parts[part], i); c >= 0 {
						sum += d.points.worth[j][c]
					}
					part++
				}
				code = int32(d.points.score.Band(sum))
			}
			if code < 0 { // that there is one must not show: it counts nowhere, as under a filter for the labels
				continue rows
			}
			cell = cell*len(d.labels) + int(code)
		}
		missing := uint64(0)
		for k, c := range s.columns {
			switch v := columns[k]; {
			case v.null(i):
				values[k] = 0
				missing |= 1 << k
			case c.labels != nil:
				values[k] = int64(c.labels.row(v, i))
				if values[k] < 0 {
					return fail(sandbox.Invalid, string(s.dataset)+"."+c.name, "a label is one of its bin")
				}
			default:
				values[k] = v.ints[i]
			}
		}
		if err := f(cell, sandbox.Pseudonym(who.who.Value(i)), values, missing); err != nil {
			return err
		}
	}
	return nil
}

// view opens a column of a batch.
func (s *side) view(rec arrow.Record, name string) (*view, error) {
	at := rec.Schema().FieldIndices(name)
	if len(at) != 1 {
		return nil, fail(sandbox.Tampered, string(s.dataset)+"."+name, "the reader gives each asked column once")
	}
	v := &view{}
	a := rec.Column(at[0])
	col, known := s.described.Column(name)
	if known && !arrow.TypeEqual(a.DataType(), batch.ArrowType(col.Type)) {
		return nil, fail(sandbox.Tampered, string(s.dataset)+"."+name, "a column has the type the catalogue describes")
	}
	if a.NullN() > 0 {
		if v.nulls = a; known && !col.Nullable {
			return nil, fail(sandbox.Tampered, string(s.dataset)+"."+name, "a column that is not nullable has no nulls")
		}
	}
	switch a := a.(type) {
	case *array.Int64:
		v.ints = a.Int64Values()
	case *array.Date32:
		v.days = a.Date32Values()
	case *array.String:
		v.texts = a
	case *array.Boolean:
		v.truth = a
	case *array.FixedSizeBinary:
		if v.who = a; a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth != len(sandbox.Pseudonym{}) {
			return nil, fail(sandbox.Tampered, string(s.dataset)+"."+name, "every row has a pseudonym of 16 bytes")
		}
	default:
		return nil, fail(sandbox.Tampered, string(s.dataset)+"."+name, "a column has the type the catalogue describes")
	}
	if a.Len() != int(rec.NumRows()) {
		return nil, fail(sandbox.Tampered, string(s.dataset), "columns of a batch have equal length")
	}
	return v, nil
}
