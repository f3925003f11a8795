package agg

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// SubjectColumn is the name under which readers give pseudonyms of 16 bytes: one for a person at all owners.
const SubjectColumn = "_subject"

// Rows (自有数据行) are an owner's own rows of one dataset, in its memory alone.
type Rows struct {
	n        int
	subjects []sandbox.Pseudonym
	columns  map[string]*cells
}

// cells is a column: words of numbers, days and truth values, or texts; and which are there.
type cells struct {
	words []int64
	texts []string
	there []bool
}

// String keeps rows out of what is printed.
func (*Rows) String() string { return "rows(redacted)" }

// GoString keeps rows out of %#v.
func (*Rows) GoString() string { return "rows(redacted)" }

// Len gives the number of rows.
func (r *Rows) Len() int { return r.n }

// Subjects gives whose each row is.
func (r *Rows) Subjects() []sandbox.Pseudonym { return r.subjects }

// ReadRows reads the named columns of a described dataset, and its pseudonyms, and closes the reader. TooLarge beyond max rows, Tampered
// where a column is not as described; errors name dataset, column and rule, never a value.
func ReadRows(ctx context.Context, r batch.Reader, set catalog.Dataset, columns []string, max int) (rows *Rows, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	out := &Rows{columns: map[string]*cells{}}
	for _, name := range columns {
		out.columns[name] = &cells{}
	}
	fault := func(name, rule string) error {
		return &sandbox.Error{Op: "mpc: table", Kind: sandbox.Tampered, Object: string(set.ID) + "." + name, Detail: rule}
	}
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, &sandbox.Error{Op: "mpc: table", Kind: sandbox.KindOf(err), Object: string(set.ID), Err: err}
		}
		if out.n += int(rec.NumRows()); out.n > max {
			rec.Release()
			return nil, tooLarge(string(set.ID), "a table fits its registered size")
		}
		for _, name := range append([]string{SubjectColumn}, columns...) {
			at := rec.Schema().FieldIndices(name)
			if len(at) != 1 {
				rec.Release()
				return nil, fault(name, "the reader gives each asked column once")
			}
			if !out.take(rec.Column(at[0]), name, &set) {
				rec.Release()
				return nil, fault(name, "a column has the type the catalogue describes, and nulls only where it may")
			}
		}
		rec.Release()
	}
}

func tooLarge(object, rule string) error {
	return &sandbox.Error{Op: "mpc: table", Kind: sandbox.TooLarge, Object: object, Detail: rule}
}

// take appends a batch's column; false where it is not what is described.
func (r *Rows) take(a arrow.Array, name string, set *catalog.Dataset) bool {
	if name == SubjectColumn {
		f, ok := a.(*array.FixedSizeBinary)
		if !ok || a.NullN() > 0 || f.DataType().(*arrow.FixedSizeBinaryType).ByteWidth != 16 {
			return false
		}
		for i := range a.Len() {
			r.subjects = append(r.subjects, sandbox.Pseudonym(f.Value(i)))
		}
		return true
	}
	c, known := set.Column(name)
	if !known || a.DataType().ID() != batch.ArrowType(c.Type).ID() || a.NullN() > 0 && !c.Nullable {
		return false
	}
	to := r.columns[name]
	for i := range a.Len() {
		there := a.IsValid(i)
		var word int64
		var text string
		switch v := a.(type) {
		case *array.Int64:
			word = v.Value(i)
		case *array.Date32:
			word = int64(v.Value(i))
		case *array.Boolean:
			if v.Value(i) {
				word = 1
			}
		case *array.String:
			if there {
				text = string([]byte(v.Value(i))) // the batch goes
			}
		default:
			return false
		}
		if !there {
			word = 0
		}
		if to.there = append(to.there, there); c.Type == catalog.Text {
			to.texts = append(to.texts, text)
		} else {
			to.words = append(to.words, word)
		}
	}
	return true
}

// owner works out features of an owner's rows.
type owner struct {
	l       *Line
	rows    []*Rows // by input; nil where others hold it
	words   []map[int64]int64
	texts   []map[string]int64
	filters [][]feature // by input
}

func (l *Line) owner(rows []*Rows) *owner {
	o := &owner{l: l, rows: rows, words: make([]map[int64]int64, len(l.features)), texts: make([]map[string]int64, len(l.features)), filters: make([][]feature, len(l.d.Inputs))}
	for _, f := range l.d.Spec.Filters {
		i, name := l.split(f.Column)
		c, _ := l.d.Inputs[i].Described.Column(name)
		b, _ := l.d.Inputs[i].Described.Bin(f.Bin)
		o.filters[i] = append(o.filters[i], filterFeature(i, name, c, b, f))
	}
	return o
}

// of gives feature k of a row of its input; row -1 is the row that is not there. Errors name the column and the rule.
func (o *owner) of(k, row int) (int64, error) {
	f := &o.l.features[k]
	if row < 0 {
		return f.missing, nil
	}
	r := o.rows[f.input]
	switch f.kind {
	case keyOf:
		return o.key(f, row), nil
	case passes:
		if o.pass(f.input, row) {
			return 1, nil
		}
		return 0, nil
	}
	c := r.columns[f.name]
	switch {
	case f.kind == thereOf && c.there[row]:
		return 1, nil
	case f.kind == thereOf || f.kind == valueOf && !c.there[row]:
		return 0, nil
	case f.kind == valueOf:
		v := rounded(c.words[row], f.shift)
		if v >= 1<<f.bits || v <= -1<<f.bits {
			return 0, &sandbox.Error{Op: "mpc: table", Kind: sandbox.TooLarge, Object: string(o.l.d.Inputs[f.input].Dataset) + "." + f.name,
				Detail: "magnitudes stay below the bound that the question and the registered sizes give", Hint: "state the column's bits in the setting, hold fewer rows, or measure it in a larger unit"}
		}
		return v, nil
	}
	if o.words[k] == nil {
		o.words[k], o.texts[k] = map[int64]int64{}, map[string]int64{}
	}
	return o.worth(f, c, row, o.words[k], o.texts[k])
}

// worth is what a row's label is worth; values seen before are remembered.
func (o *owner) worth(f *feature, c *cells, row int, words map[int64]int64, texts map[string]int64) (int64, error) {
	label, word, text := catalog.Missing, int64(0), ""
	if c.there[row] {
		if f.column.Type == catalog.Text {
			text = c.texts[row]
			if v, ok := texts[text]; ok {
				return v, nil
			}
		} else {
			word = c.words[row]
			if v, ok := words[word]; ok {
				return v, nil
			}
		}
		label = labelOf(f.column, f.bin, word, text)
	}
	v, listed := f.of[label]
	if !listed && !f.open {
		return 0, &sandbox.Error{Op: "mpc: table", Kind: sandbox.Invalid, Object: string(o.l.d.Inputs[f.input].Dataset) + "." + f.name, Detail: "labels are those that the setting lists",
			Hint: "list every label of the column's code list"}
	}
	if !listed {
		v = f.rest
	}
	if c.there[row] && len(texts)+len(words) < 1<<16 {
		if f.column.Type == catalog.Text {
			texts[text] = v
		} else {
			words[word] = v
		}
	}
	return v, nil
}

// pass says whether a row passes the filters on its input.
func (o *owner) pass(input, row int) bool {
	for i := range o.filters[input] {
		f := &o.filters[input][i]
		c := o.rows[input].columns[f.name]
		label := catalog.Missing
		if c.there[row] {
			word, text := int64(0), ""
			if f.column.Type == catalog.Text {
				text = c.texts[row]
			} else {
				word = c.words[row]
			}
			label = labelOf(f.column, f.bin, word, text)
		}
		if f.worth(label) == 0 {
			return false
		}
	}
	return true
}

// key numbers a join key; a missing part matches nothing.
func (o *owner) key(f *feature, row int) int64 {
	b, ok := o.keyBytes(f.input, f.subject, f.columns, row)
	if !ok {
		return deadKey
	}
	return number(b)
}

// keyBytes writes a join key: each part by its length.
func (o *owner) keyBytes(input int, subject bool, columns []string, row int) ([]byte, bool) {
	r := o.rows[input]
	var b []byte
	if subject {
		b = append(b, r.subjects[row][:]...)
	}
	for _, name := range columns {
		c := r.columns[name]
		if !c.there[row] {
			return nil, false
		}
		if c.texts != nil {
			b = binary.AppendUvarint(b, uint64(len(c.texts[row])))
			b = append(b, c.texts[row]...)
		} else {
			b = binary.LittleEndian.AppendUint64(b, uint64(c.words[row]))
		}
	}
	return b, true
}

// joined calls f with every joined row of an owner that has all inputs, as rows by input, -1 where a left join finds none.
func (o *owner) joined(f func(rows []int) error) error {
	inputs := o.l.d.Inputs
	with := make([]int, len(inputs))
	lefts, rights := make([][]string, len(inputs)), make([][]string, len(inputs))
	index := make([]map[string][]int, len(inputs))
	for i, in := range inputs[1:] {
		i++
		with[i] = slices.IndexFunc(inputs, func(x query.DerivedInput) bool { return x.Alias == in.With })
		for _, k := range in.On {
			lefts[i], rights[i] = append(lefts[i], k.Left), append(rights[i], k.Right)
		}
		index[i] = map[string][]int{}
		for row := range o.rows[i].n {
			if b, ok := o.keyBytes(i, in.BySubject(), rights[i], row); ok {
				index[i][string(b)] = append(index[i][string(b)], row)
			}
		}
	}
	at := make([]int, len(inputs))
	var walk func(i int) error
	walk = func(i int) error {
		if i == len(inputs) {
			return f(at)
		}
		var found []int
		if w := at[with[i]]; w >= 0 {
			if b, ok := o.keyBytes(with[i], inputs[i].BySubject(), lefts[i], w); ok {
				found = index[i][string(b)]
			}
		}
		for _, row := range found {
			if !o.pass(i, row) {
				continue
			}
			at[i] = row
			if err := walk(i + 1); err != nil {
				return err
			}
		}
		if len(found) == 0 && inputs[i].Join == query.LeftJoin {
			for k := range o.filters[i] {
				if o.filters[i][k].missing == 0 {
					return nil
				}
			}
			at[i] = -1
			return walk(i + 1)
		}
		return nil
	}
	for row := range o.rows[0].n {
		if !o.pass(0, row) {
			continue
		}
		at[0] = row
		if err := walk(1); err != nil {
			return err
		}
	}
	return nil
}
