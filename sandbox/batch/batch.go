// Package batch carries tables through the domain as streams of Arrow record batches (列式数据批): the Arrow schema of a
// catalogue description, its canonical bytes, and a bounded codec of our own for one record batch. Bytes from outside are
// decoded by nothing else: no Arrow IPC, no Parquet.
//
// # Layout of an encoded batch
//
// All integers little endian.
//
//	offset  size  field
//	0       4     magic "ODB1"
//	4       4     columns, uint32, as in the schema
//	8       8     rows, uint64
//	16      8     total length of the encoding, uint64
//	24      16×n  per column: null count uint64, length of its data uint64 (text bytes; 0 for fixed-width columns)
//	…             per column, each buffer padded with zeros to 8 bytes:
//	                validity bitmap, ceil(rows/8) bytes, only if the null count is not 0 (unused bits zero)
//	                text: rows+1 int32 offsets from 0, then the data; int64: 8×rows; date: 4×rows;
//	                bool: bitmap of ceil(rows/8) bytes (unused bits zero); fixed binary: width×rows
//
// The padding is checked to be zero and null slots hold zero values, so a batch has one encoding and no room for other bytes.
//
// Decode checks every length before it uses it and validates offsets, UTF-8, bitmaps and totals before an array exists. It
// allocates the arrays' headers only: buffers alias the input, which must stay unchanged until the record is released,
// unless the input is not aligned to 8 bytes, in which case it is copied once.
//
// Errors are Invalid naming the column and the rule, TooLarge over a limit; no value is in them. Not here: dictionaries,
// floating point, nested types, compression, big-endian machines.
package batch

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Reader (批次读取) yields record batches of one schema. Next gives io.EOF after the last; the caller releases each record.
type Reader interface {
	Schema() *arrow.Schema
	Next(ctx context.Context) (arrow.Record, error)
	Close() error
}

// metaType is the field metadata key that carries the catalogue's logical type.
const metaType = "opdomain.type"

// Schema gives the Arrow schema of a described dataset: text is utf8, int, money and number are int64, date is date32.
func Schema(d catalog.Dataset) *arrow.Schema {
	fields := make([]arrow.Field, 0, len(d.Columns))
	for _, c := range d.Columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: ArrowType(c.Type), Nullable: c.Nullable,
			Metadata: arrow.NewMetadata([]string{metaType}, []string{string(c.Type)})})
	}
	return arrow.NewSchema(fields, nil)
}

// ArrowType gives the Arrow type that carries a logical type; nil for an unknown one.
func ArrowType(t catalog.Type) arrow.DataType {
	switch t {
	case catalog.Text:
		return arrow.BinaryTypes.String
	case catalog.Int, catalog.Money, catalog.Number:
		return arrow.PrimitiveTypes.Int64
	case catalog.Date:
		return arrow.FixedWidthTypes.Date32
	case catalog.Bool:
		return arrow.FixedWidthTypes.Boolean
	}
	return nil
}

// SchemaBytes gives the canonical bytes of what a push must agree on: the dataset, names, types, scales,
// nullability and subject; titles, grades and bins do not count. Callers hash them.
func SchemaBytes(d catalog.Dataset) []byte {
	type column struct {
		Name     string       `json:"name"`
		Type     catalog.Type `json:"type"`
		Scale    int          `json:"scale"`
		Nullable bool         `json:"nullable"`
	}
	cols := make([]column, 0, len(d.Columns))
	for _, c := range d.Columns {
		cols = append(cols, column{c.Name, c.Type, c.Scale, c.Nullable})
	}
	b, err := json.Marshal(struct {
		Dataset sandbox.DatasetID   `json:"dataset"`
		Subject string              `json:"subject"`
		Kind    catalog.SubjectKind `json:"kind"`
		Columns []column            `json:"columns"`
	}{d.ID, d.Subject, d.SubjectKind, cols})
	if err != nil { // strings and numbers only
		panic(fmt.Sprintf("batch: schema of %s: %v", d.ID, err))
	}
	return b
}
