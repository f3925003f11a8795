package file

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// text is a CSV file as a table.
type text struct {
	name  string
	csv   *csv.Reader
	bound *bounded
	most  int // bytes of a row
	line  int // where the next row starts, blank lines aside
}

// openText reads the header line of a CSV file.
func (r *Reader) openText(ctx context.Context, in io.Reader) ([]string, error) {
	decoded, err := decoded(in, r.name, r.opts.Encoding)
	if err != nil {
		return nil, err
	}
	t := &text{name: r.name, bound: &bounded{in: decoded}, most: r.opts.MaxRecord, line: 1}
	t.csv = csv.NewReader(t.bound)
	t.csv.Comma = r.opts.Comma
	t.csv.FieldsPerRecord = -1 // counted in Reader, for a better message
	t.csv.ReuseRecord = true
	r.in = t
	header, err := r.record(ctx)
	if err == io.EOF {
		return nil, r.invalid("line 1", "", "the file is empty; its first line holds the headers")
	}
	return header, err
}

// record reads one row of any width and checks its size.
func (t *text) record(context.Context) ([]string, error) {
	start := t.csv.InputOffset()
	t.bound.limit = start + int64(t.most) + readAhead
	record, err := t.csv.Read()
	if err == nil && t.csv.InputOffset()-start > int64(t.most) {
		t.line, _ = t.csv.FieldPos(0)
		err = errLong
	}
	switch {
	case err == io.EOF:
		return nil, io.EOF
	case err == errLong:
		return nil, &sandbox.Error{Op: op, Kind: sandbox.TooLarge, Object: place(t.name, lineText(t.line), ""),
			Detail: fmt.Sprintf("a row has at most %d bytes", t.most), Hint: "look for a quote that is never closed"}
	case err != nil:
		return nil, t.malformed(err)
	}
	last := len(record) - 1
	t.line, _ = t.csv.FieldPos(last)
	t.line += 1 + strings.Count(record[last], "\n")
	return record, nil
}

func (t *text) rule(int) string { return "" }

func (t *text) place(field int) string {
	line, _ := t.csv.FieldPos(field)
	return lineText(line)
}

func (t *text) close() error { return nil }

func lineText(line int) string { return fmt.Sprintf("line %d", line) }

// malformed words the csv reader's errors; those give places and rules but its texts vary.
func (t *text) malformed(err error) error {
	var p *csv.ParseError
	if !errors.As(err, &p) {
		var own *sandbox.Error
		if errors.As(err, &own) {
			return own
		}
		return unreadable(t.name, err)
	}
	e := invalid(t.name, lineText(p.Line), "", "")
	switch {
	case errors.Is(err, csv.ErrBareQuote):
		e.Detail = "a quote inside a field that is not quoted"
	case errors.Is(err, csv.ErrQuote) && p.StartLine != p.Line:
		e.Detail = fmt.Sprintf("a quoted field, opened in the row of line %d, is not closed or has text after its closing quote", p.StartLine)
	case errors.Is(err, csv.ErrQuote):
		e.Detail = "a quoted field is not closed or has text after its closing quote"
	default:
		e.Detail = "the row is not well-formed CSV (RFC 4180)"
	}
	e.Hint = "quote the field and double the quotes in it"
	return e
}
