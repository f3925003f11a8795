package run

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Opaquing (不透明作业) is one run of an Opaque algorithm over a version of a dataset, or over a view that was sealed of it.
type Opaquing struct {
	Declaration opaque.Declaration
	Input       sandbox.InputVersion         // the dataset's version, of a view its source
	View        sandbox.DatasetID            // "" for the dataset itself
	Columns     []catalog.Column             // of the dataset or of the view
	Subject     string                       // the dataset's column that says whose rows they are
	Quasi       []string                     // of a k-anonymous view, with K
	K           int                          // people of each of its classes at least; 0: the view is of another kind
	Seed        uint64                       // that the code is told
	Order       [32]byte                     // the code is not: of the rows of a k-anonymous view
	Rows        int                          // read at most
	Keep        func(sandbox.Pseudonym) bool // whose rows the code sees; nil: everybody's
	Code        Confined
}

// Confined (隔离代码) runs an approved image, confined, on a view that fill writes, and gives its bytes. Every call is a process of its own.
type Confined interface {
	Answer(ctx context.Context, fill func(io.Writer) error) ([]byte, error)
}

// Opaqued (不透明作业结果) is what came of it: rows of the declared chart, clipped, quantised and in order, or the bytes of a model; and what the domain itself
// knows of what the code saw.
type Opaqued struct {
	Rows  []opaque.Row
	Model []byte

	People   People
	Seen     int // rows
	Smallest int // people of the smallest class, of a k-anonymous view
}

// String keeps values out of logs.
func (Opaqued) String() string { return "output(redacted)" }

// GoString keeps values out of %#v.
func (Opaqued) GoString() string { return "output(redacted)" }

// Reasons of an OpaqueFault.
const (
	FaultOutput    = "output"       // 输出与声明不符
	FaultRepeat    = "unrepeatable" // 不可复现
	FaultAnonymity = "k-anonymity"  // 视图未达到 K-匿名
	FaultRows      = "rows"         // 行数超限
)

// OpaqueFault (不透明作业故障) is why a run gave nothing, beside the faults of the jail: a reason and a rule, never a value or the code's words. Its Kind is
// Withheld, and TooLarge of rows.
type OpaqueFault struct{ Reason, Rule string }

func (f *OpaqueFault) Error() string { return "run: opaque: " + f.Reason + ": " + f.Rule }

// Unwrap gives the nouns' error.
func (f *OpaqueFault) Unwrap() error {
	k := sandbox.Withheld
	if f.Reason == FaultRows {
		k = sandbox.TooLarge
	}
	return &sandbox.Error{Op: "run: opaque", Kind: k, Object: f.Reason, Detail: f.Rule}
}

// Opaque reads the columns that the algorithm declares and nothing else, gives them to the code as a sealed view, twice, each time in a process of its own, and
// reads what it gives by its declaration. A k-anonymous view is counted before the code sees it, and does not say which rows are one person's: their order is
// not the vault's, in which they stand together, but one that Order alone gives.
func Opaque(ctx context.Context, mem memory.Allocator, v *vault.Vault, o Opaquing) (out Opaqued, err error) {
	columns, err := o.columns()
	if err != nil {
		return out, err
	}
	w := opaque.NewWriter(&o.Declaration, o.K == 0)
	if err := o.read(ctx, mem, v, columns, w, &out); err != nil {
		return out, err
	}
	if o.K > 0 {
		if o.Order == [32]byte{} { // everybody knows it
			return out, &sandbox.Error{Op: "run: opaque", Kind: sandbox.Invalid, Object: "order", Detail: "a k-anonymous view has rows in an order that is secret"}
		}
		w.Shuffle((&draws{key: o.Order}).below)
	}
	var given [2][]byte
	for i := range given {
		if given[i], err = o.Code.Answer(ctx, func(to io.Writer) error { return w.Write(to, o.Seed) }); err != nil {
			return out, err
		}
	}
	if !bytes.Equal(given[0], given[1]) {
		return out, &OpaqueFault{FaultRepeat, "the same seed and input give the same bytes"}
	}
	if o.Declaration.Model != nil {
		out.Model, err = opaque.ReadModel(given[0], &o.Declaration)
	} else {
		out.Rows, err = opaque.ReadChart(given[0], &o.Declaration)
	}
	if err != nil {
		return out, &OpaqueFault{FaultOutput, err.Error()}
	}
	return out, nil
}

// columns compares what the algorithm declares with what there is.
func (o *Opaquing) columns() ([]catalog.Column, error) {
	bad := func(at, rule string) error {
		return &sandbox.Error{Op: "run: opaque", Kind: sandbox.Invalid, Object: string(o.Input.Dataset) + "." + at, Detail: rule}
	}
	if err := o.Declaration.Check(); err != nil {
		return nil, bad("", err.Error())
	}
	var out []catalog.Column
	for _, c := range o.Declaration.Columns {
		i := slices.IndexFunc(o.Columns, func(x catalog.Column) bool { return x.Name == c.Name })
		switch {
		case i < 0:
			return nil, bad(c.Name, "no such column")
		case string(o.Columns[i].Type) != c.Type || o.Columns[i].Type == catalog.Number && o.Columns[i].Scale != c.Scale:
			return nil, bad(c.Name, "a column of another type than the algorithm declares")
		case o.View == "" && c.Name == o.Subject:
			return nil, bad(c.Name, "who a subject is is not an algorithm's to see")
		}
		out = append(out, o.Columns[i])
	}
	if o.K > 0 && len(o.Quasi) == 0 {
		return nil, bad("", "a k-anonymous view names its quasi-identifiers")
	}
	return out, nil
}

// snapshotOf finds a version, or the view that was sealed of it.
func snapshotOf(v *vault.Vault, in sandbox.InputVersion, view sandbox.DatasetID) (vault.Snapshot, error) {
	if view != "" {
		return v.Head(view)
	}
	s, err := v.Snapshot(in.Dataset, in.Version)
	if err != nil {
		return s, missing(in, err)
	}
	return s, nil
}

// read fills the view.
func (o *Opaquing) read(ctx context.Context, mem memory.Allocator, v *vault.Vault, columns []catalog.Column, w *opaque.Writer, out *Opaqued) (err error) {
	snap, err := snapshotOf(v, o.Input, o.View)
	if err != nil {
		return err
	}
	if o.Rows > 0 && snap.Rows > int64(o.Rows) || snap.Rows > opaque.MaxViewRows {
		return &OpaqueFault{FaultRows, "more rows than an algorithm may see here"}
	}
	names := []string{columnar.SubjectColumn}
	for _, c := range columns {
		names = append(names, c.Name)
	}
	for _, q := range o.Quasi {
		if o.K > 0 && !slices.Contains(names, q) {
			names = append(names, q)
		}
	}
	r, err := v.Scan(ctx, mem, snap, names)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	classes := classes{k: o.K, at: map[string]*class{}}
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		err = o.batch(rec, columns, w, out, &classes)
		rec.Release()
		if err != nil {
			return err
		}
	}
	if o.K > 0 {
		if out.Smallest = classes.smallest(); out.Smallest < o.K {
			return &OpaqueFault{FaultAnonymity, fmt.Sprintf("every class of equal quasi-identifiers has at least %d people", o.K)}
		}
	}
	return nil
}

func (o *Opaquing) batch(rec arrow.Record, columns []catalog.Column, w *opaque.Writer, out *Opaqued, cl *classes) error {
	who, err := pseudonyms(rec)
	if err != nil {
		return err
	}
	put := make([]func(i int) bool, len(columns))
	for k, c := range columns {
		at := rec.Schema().FieldIndices(c.Name)
		if len(at) == 1 {
			put[k] = viewWriter(w, k, rec.Column(at[0]))
		}
		if put[k] == nil {
			return &sandbox.Error{Op: "run: opaque", Kind: sandbox.Invalid, Object: c.Name, Detail: "a type that no algorithm sees"}
		}
	}
	var quasi []func(dst []byte, i int) []byte
	if o.K > 0 {
		for _, q := range o.Quasi {
			at := rec.Schema().FieldIndices(q)
			if len(at) != 1 {
				return &sandbox.Error{Op: "run: opaque", Kind: sandbox.Invalid, Object: q, Detail: "no such column"}
			}
			quasi = append(quasi, keyOf(rec.Column(at[0])))
		}
	}
	large := &OpaqueFault{FaultRows, "more than a view may hold"}
	for i := range who {
		if o.Keep != nil && !o.Keep(who[i]) {
			continue
		}
		n := len(out.People.Who)
		next := n == 0 || out.People.Who[n-1] != who[i] // rows of one subject stand together
		if next {
			out.People.Who, out.People.Rows = append(out.People.Who, who[i]), append(out.People.Rows, 0)
			n++
		}
		out.People.Rows[n-1]++
		out.Seen++
		if !w.Row(next) {
			return large
		}
		for _, p := range put {
			if !p(i) {
				return large
			}
		}
		if o.K > 0 {
			cl.add(quasi, i, n)
		}
	}
	return nil
}

// viewWriter writes the cells of a column; nil where its type is none that an algorithm sees.
func viewWriter(w *opaque.Writer, column int, a arrow.Array) func(i int) bool {
	var put func(i int) bool
	switch a := a.(type) {
	case *array.Int64:
		put = func(i int) bool { w.Int(column, a.Value(i)); return true }
	case *array.Date32:
		put = func(i int) bool { w.Int(column, int64(a.Value(i))); return true }
	case *array.Boolean:
		put = func(i int) bool {
			if a.Value(i) {
				w.Int(column, 1)
			} else {
				w.Int(column, 0)
			}
			return true
		}
	default:
		name := names(a)
		if name == nil {
			return nil
		}
		put = func(i int) bool { return w.Text(column, name(i)) }
	}
	return func(i int) bool {
		if a.IsNull(i) {
			w.Missing(column)
			return true
		}
		return put(i)
	}
}

// classes counts the people of each class of equal quasi-identifiers.
type classes struct {
	k   int
	at  map[string]*class
	key []byte
}

type class struct{ people, last int }

func (c *classes) add(quasi []func(dst []byte, i int) []byte, row, who int) {
	c.key = c.key[:0]
	for _, q := range quasi {
		c.key = q(c.key, row)
	}
	x := c.at[string(c.key)]
	if x == nil {
		x = new(class)
		c.at[string(c.key)] = x
	}
	if x.last != who {
		x.last = who
		x.people++
	}
}

func (c *classes) smallest() (least int) {
	for _, x := range c.at {
		if least == 0 || x.people < least {
			least = x.people
		}
	}
	return least
}

// keyOf writes what a cell says, with its length.
func keyOf(a arrow.Array) func(dst []byte, i int) []byte {
	name := names(a)
	return func(dst []byte, i int) []byte {
		if a.IsNull(i) {
			return append(dst, 0)
		}
		s := ""
		if name != nil {
			s = name(i)
		} else {
			s = a.ValueStr(i)
		}
		return append(fmt.Appendf(dst, "\x01%d:", len(s)), s...)
	}
}

// Each reads what the code saw row by row, as people write it; next says that a row is another person's than the one before.
func (o *Opaquing) Each(ctx context.Context, mem memory.Allocator, v *vault.Vault, each func(row []string, next bool)) error {
	columns, err := o.columns()
	if err != nil {
		return err
	}
	snap, err := snapshotOf(v, o.Input, o.View)
	if err != nil {
		return err
	}
	var last sandbox.Pseudonym
	some := false
	return EachRow(ctx, mem, v, snap, columns, func(row []string, who sandbox.Pseudonym) error {
		if o.Keep == nil || o.Keep(who) {
			each(row, !some || who != last)
			last, some = who, true
		}
		return nil
	})
}

// draws are numbers that follow from a key: HMAC-SM3 of a counter.
type draws struct {
	key   [32]byte
	count uint64
	left  []byte
}

func (d *draws) next() uint64 {
	if len(d.left) == 0 {
		block := sm.HMAC(d.key[:], binary.BigEndian.AppendUint64(nil, d.count))
		d.count++
		d.left = block[:]
	}
	v := binary.BigEndian.Uint64(d.left)
	d.left = d.left[8:]
	return v
}

// below draws evenly: what is over the largest multiple of n is drawn again.
func (d *draws) below(n uint64) uint64 {
	for most := math.MaxUint64 - math.MaxUint64%n; ; {
		if v := d.next(); v < most {
			return v % n
		}
	}
}
