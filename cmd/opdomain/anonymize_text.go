package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/connectors/file/parse"
	"github.com/opdomain/opdomain/desensitize/generalize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// textTable names columns of a file that are read as text, as often as wanted.
type textTable struct {
	path    string
	options file.Options
	columns []catalog.Column
}

// newText names the columns, and settles the delimiter.
func (a *app) newText(ctx context.Context, path, delimiter, encoding string, columns []string) (*textTable, error) {
	t := &textTable{path: path, options: file.Options{Encoding: file.Encoding(encoding), Parser: a.files}}
	for _, c := range columns {
		t.columns = append(t.columns, catalog.Column{Name: c, Type: catalog.Text, Nullable: true})
	}
	var err error
	t.options.Comma, err = delimiterOf(ctx, path, delimiter, t.options, columns)
	return t, err
}

const delimiterHelp = "character between fields; empty: the one of , ; tab whose header line has most of the named columns"

// delimiterOf settles the delimiter: the given one, or of comma, semicolon and tab the one whose header line has most of the columns.
func delimiterOf(ctx context.Context, path, delimiter string, o file.Options, columns []string) (rune, error) {
	if _, parsed, err := parse.FormatOf(path); err != nil || parsed { // it has none
		return ',', err
	}
	if delimiter != "" {
		c, size := utf8.DecodeRuneInString(delimiter)
		if size != len(delimiter) {
			return 0, invalid("--delimiter", "one character", `--delimiter ";"`)
		}
		return c, nil
	}
	most, best := -1, ','
	for _, c := range []rune{',', ';', '\t'} {
		o.Comma = c
		r, err := file.OpenTable(ctx, allocator(), path, nil, o)
		if errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Unavailable) {
			return 0, err
		}
		found := 0
		if err == nil { // a fault of the header under another delimiter than its own is no fault
			for _, want := range columns {
				found += len(r.Schema().FieldIndices(want))
			}
			if err := r.Close(); err != nil {
				return 0, err
			}
		}
		if found > most {
			most, best = found, c
		}
	}
	return best, nil
}

// each gives the rows in records, released after f.
func (t *textTable) each(ctx context.Context, f func(arrow.Record) error) error {
	r, err := file.OpenTable(ctx, allocator(), t.path, t.columns, t.options)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		err = f(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

// publish writes what a release lets through, with a header line, class by class: see ordered.
func (t *textTable) publish(ctx context.Context, w io.Writer, r *generalize.Release) (err error) {
	var line bytes.Buffer
	out := csv.NewWriter(&line)
	out.Comma = t.options.Comma
	row := make([]string, len(t.columns))
	for i, c := range t.columns {
		row[i] = c.Name
	}
	write := func(to func([]byte) error) error {
		line.Reset()
		if err := out.Write(row); err != nil {
			return err
		}
		out.Flush()
		return errors.Join(out.Error(), to(line.Bytes()))
	}
	if err := write(func(b []byte) error { _, err := w.Write(b); return err }); err != nil {
		return err
	}
	rows := &ordered{limit: sortedBytes}
	defer func() { err = errors.Join(err, rows.Close()) }()
	err = t.each(ctx, func(rec arrow.Record) error {
		passed, err := r.Apply(allocator(), rec)
		if err != nil {
			return err
		}
		defer passed.Release()
		columns := make([]*array.String, len(row))
		for c := range columns {
			text, ok := passed.Column(c).(*array.String)
			if !ok {
				return &sandbox.Error{Op: "anonymize", Kind: sandbox.Internal, Object: "column " + t.columns[c].Name, Detail: "it is not text"}
			}
			columns[c] = text
		}
		for i := range int(passed.NumRows()) {
			for c, text := range columns {
				row[c] = ""
				if text.IsValid(i) {
					row[c] = text.Value(i)
				}
			}
			if err := write(rows.add); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return rows.flush(w)
}

// names lists the columns.
func (t *textTable) names() []string {
	var out []string
	for _, c := range t.columns {
		out = append(out, c.Name)
	}
	return slices.Clip(out)
}
