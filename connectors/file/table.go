package file

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// OpenTable reads a file that no catalogue describes: the given columns, each from the header of its name, or without any
// every header as a text column in which an empty field is missing. Names may be of any script. Errors give the number of a
// field, not its header, where the file alone says what is in it.
func OpenTable(ctx context.Context, mem memory.Allocator, path string, columns []catalog.Column, o Options) (*Reader, error) {
	return opened(path, func(f io.Reader, name string) (*Reader, error) { return NewTable(ctx, mem, f, name, columns, o) })
}

// NewTable is OpenTable over r, which stays the caller's to close; name stands in errors.
func NewTable(ctx context.Context, mem memory.Allocator, r io.Reader, name string, columns []catalog.Column, o Options) (*Reader, error) {
	seen := map[string]bool{}
	for _, c := range columns {
		if c.Name == "" || seen[c.Name] || c.Scale < 0 || c.Scale > 9 || c.Scale > 0 && c.Type != catalog.Number {
			return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name, Detail: "a column has a name of its own, and a scale of 0 to 9 only with type number"}
		}
		switch c.Type {
		case catalog.Text, catalog.Int, catalog.Money, catalog.Number, catalog.Date, catalog.Bool:
		default:
			return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name + " column " + c.Name, Detail: "type is one of text, int, money, number, date, bool"}
		}
		seen[c.Name] = true
	}
	fr, err := newReader(ctx, mem, r, name, o, func(fr *Reader, header []string) (catalog.Dataset, connectors.Mapping, error) {
		d := catalog.Dataset{Columns: columns}
		if len(columns) > 0 {
			return d, connectors.Mapping{}, nil
		}
		if len(header) > catalog.MaxColumns {
			return d, connectors.Mapping{}, fr.invalid(fr.in.place(0), "", fmt.Sprintf("at most %d columns", catalog.MaxColumns))
		}
		for i, h := range header {
			if h == "" {
				return d, connectors.Mapping{}, fr.invalid(fr.in.place(0), "", fmt.Sprintf("field %d has no header", i+1))
			}
			d.Columns = append(d.Columns, catalog.Column{Name: h, Type: catalog.Text, Nullable: true})
		}
		return d, connectors.Mapping{}, nil
	})
	if err == nil && len(columns) == 0 {
		for i := range fr.columns {
			fr.columns[i].name = fmt.Sprintf("number %d", i+1)
		}
	}
	return fr, err
}
