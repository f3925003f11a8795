package agg

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Normal (标识规范化) gives the one form of an identifier of a kind that all owners make pseudonyms of; false where it is none of its kind. Two forms
// of one person would not find each other, and nobody would see it.
type Normal func(catalog.SubjectKind, string) (string, bool)

// renamed gives the batches of a reader with pseudonyms in place of the column that identifies people.
type renamed struct {
	batch.Reader
	set    catalog.Dataset
	id     int
	at     []int
	schema *arrow.Schema
	mac    *sm.MAC
	normal Normal
	row    int

	ends  []int32 // of one batch's identifiers
	bytes []byte
}

// Pseudonymous (假名化读取) reads the columns asked for, and in place of the one that identifies people pseudonyms of 16 bytes under key: HMAC-SM3
// of the identifier in its normal form, of the identifier as it stands where normal is nil. It owns r, and closes it where it fails. Invalid
// names dataset, column, row and rule, never a field.
func Pseudonymous(r batch.Reader, set catalog.Dataset, columns []string, key []byte, normal Normal) (batch.Reader, error) {
	bad := func(column, rule string) (batch.Reader, error) {
		return nil, errors.Join(&sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: string(set.ID) + "." + column, Detail: rule}, r.Close())
	}
	mac, err := sm.NewMAC(key)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	x := &renamed{Reader: r, set: set, mac: mac, normal: normal}
	fields := []arrow.Field{{Name: SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}}}
	at := r.Schema().FieldIndices(set.Subject)
	if len(at) != 1 || r.Schema().Field(at[0]).Type.ID() != arrow.STRING {
		return bad(set.Subject, "the column that identifies people is a text, there once")
	}
	x.id = at[0]
	for _, name := range columns {
		at := r.Schema().FieldIndices(name)
		if len(at) != 1 {
			return bad(name, "the table has each column that the question needs once")
		}
		x.at = append(x.at, at[0])
		fields = append(fields, r.Schema().Field(at[0]))
	}
	x.schema = arrow.NewSchema(fields, nil)
	return x, nil
}

// Schema gives pseudonyms, then the columns asked for.
func (x *renamed) Schema() *arrow.Schema { return x.schema }

// Next gives the next batch. Invalid, by its row, for a row that is about nobody.
func (x *renamed) Next(ctx context.Context) (arrow.Record, error) {
	rec, err := x.Reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	ids, ok := rec.Column(x.id).(*array.String)
	n := int(rec.NumRows())
	bad := func(i int, rule string) error {
		return &sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: fmt.Sprintf("%s row %d", x.set.ID, x.row+i+1), Detail: rule}
	}
	x.ends, x.bytes = append(x.ends[:0], 0), x.bytes[:0]
	for i := range n {
		if !ok || ids.IsNull(i) || ids.ValueLen(i) == 0 {
			return nil, bad(i, "every row has a subject")
		}
		id := ids.Value(i)
		if x.normal != nil {
			if id, ok = x.normal(x.set.SubjectKind, id); !ok {
				return nil, bad(i, "every row has a subject, in the form of its dataset's kind of identifiers")
			}
		}
		x.bytes = append(x.bytes, id...)
		x.ends = append(x.ends, int32(len(x.bytes)))
	}
	x.row += n
	names := make([]byte, 16*n)
	if n > 0 {
		x.mac.Rows(names, 16, x.ends, x.bytes)
	}
	b := array.NewFixedSizeBinaryBuilder(memory.NewGoAllocator(), &arrow.FixedSizeBinaryType{ByteWidth: 16})
	defer b.Release()
	for i := range n {
		b.Append(names[16*i : 16*i+16])
	}
	who := b.NewArray()
	defer who.Release()
	cols := []arrow.Array{who}
	for _, at := range x.at {
		cols = append(cols, rec.Column(at))
	}
	return array.NewRecord(x.schema, cols, int64(n)), nil
}
