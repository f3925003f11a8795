package file

import (
	"context"
	"fmt"
	"io"

	"github.com/opdomain/opdomain/connectors/file/parse"
	"github.com/opdomain/opdomain/sandbox"
)

// parsed is a file of an untrusted format as a table: rows of text that a confined child gives.
type parsed struct {
	name  string
	rows  *parse.Rows
	sheet bool
	most  int // bytes of a row
}

// openParsed has the file parsed up to its header.
func (r *Reader) openParsed(ctx context.Context, in io.Reader, f parse.Format) ([]string, error) {
	if r.opts.Encoding != "" {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: r.name, Detail: fmt.Sprintf("%s has one encoding of its own: none is declared", f)}
	}
	if r.opts.Parser == nil {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: r.name, Detail: fmt.Sprintf("%s is parsed by a confined child process only, and none is given here", f), Hint: "export it as CSV"}
	}
	rows, err := r.opts.Parser.Open(ctx, in, r.name, f, r.opts.Sheet)
	if err != nil {
		return nil, err
	}
	r.in = &parsed{name: r.name, rows: rows, sheet: f == parse.XLSX, most: r.opts.MaxRecord}
	header := rows.Header()
	for i, h := range header {
		if rule := unfit(h); rule != "" {
			return nil, r.invalid(r.in.place(0), fmt.Sprintf("number %d", i+1), rule)
		}
	}
	return header, nil
}

func (p *parsed) record(ctx context.Context) ([]string, error) {
	record, err := p.rows.Next(ctx)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, f := range record {
		size += len(f)
	}
	if size > p.most {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.TooLarge, Object: place(p.name, p.place(0), ""), Detail: fmt.Sprintf("a row has at most %d bytes", p.most)}
	}
	return record, nil
}

func (p *parsed) rule(field int) string { return p.rows.Rule(field) }

// place is the number of the row: in the sheet, or behind the headers, which other forms have apart.
func (p *parsed) place(int) string {
	switch n := p.rows.Number(); {
	case n > 0:
		return fmt.Sprintf("row %d", n)
	case p.sheet:
		return "header row"
	}
	return "schema"
}

func (p *parsed) close() error { return p.rows.Close() }
