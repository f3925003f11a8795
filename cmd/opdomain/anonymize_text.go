package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/opdomain/opdomain/desensitize/generalize"
	"github.com/opdomain/opdomain/sandbox"
)

const textBatch = 16 << 10 // rows

// textTable streams named columns of a delimited text file as text, without a catalogue's schema. An empty field is missing.
type textTable struct {
	name   string
	file   *os.File
	comma  rune
	csv    *csv.Reader
	width  int
	at     []int
	schema *arrow.Schema
}

// openText reads the header and finds the columns. Errors name wanted columns, lines and rules; other headers may be values.
func openText(path, delimiter, encoding string, columns []string) (*textTable, error) {
	t := &textTable{name: filepath.Base(path)}
	var err error
	if t.file, err = os.Open(path); err != nil {
		return nil, &sandbox.Error{Op: "read", Kind: sandbox.NotFound, Object: t.name, Detail: "the file cannot be opened", Hint: "name a text file with a header line"}
	}
	if err := t.header(delimiter, encoding, columns); err != nil {
		t.file.Close()
		return nil, err
	}
	return t, nil
}

func (t *textTable) header(delimiter, encoding string, columns []string) error {
	var r io.Reader = t.file
	switch encoding {
	case "utf-8":
	case "gb18030":
		r = simplifiedchinese.GB18030.NewDecoder().Reader(r)
	default:
		return invalid("--encoding", "utf-8 or gb18030", "")
	}
	in := bufio.NewReaderSize(r, 64<<10)
	if mark, _ := in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = in.Discard(3)
	}
	line, err := in.Peek(64 << 10)
	if err != nil && err != io.EOF {
		return &sandbox.Error{Op: "read", Kind: sandbox.Invalid, Object: t.name, Detail: "the file cannot be read"}
	}
	head, _, _ := strings.Cut(string(line), "\n")
	commas := []rune{',', ';', '\t'}
	if delimiter != "" {
		c, size := utf8.DecodeRuneInString(delimiter)
		if size != len(delimiter) || slices.Contains([]rune{'"', '\r', '\n', utf8.RuneError}, c) {
			return invalid("--delimiter", "one character other than a quote or line break", "")
		}
		commas = []rune{c}
	}
	absent := columns[0]
	for _, c := range commas {
		r := csv.NewReader(strings.NewReader(head))
		r.Comma = c
		names, err := r.Read()
		if err != nil {
			continue
		}
		t.at, t.comma, t.width = t.at[:0], c, len(names)
		for _, want := range columns {
			at := slices.Index(names, want)
			if at < 0 || slices.Contains(names[at+1:], want) {
				if len(t.at) > 0 {
					absent = want
				}
				break
			}
			t.at = append(t.at, at)
		}
		if len(t.at) == len(columns) {
			break
		}
	}
	if len(t.at) != len(columns) || t.width == 0 {
		return &sandbox.Error{Op: "read", Kind: sandbox.NotFound, Object: t.name + " line 1", Detail: fmt.Sprintf("no header %q, or several", absent),
			Hint: "check the name, --delimiter and --encoding"}
	}
	var fields []arrow.Field
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	t.schema = arrow.NewSchema(fields, nil)
	t.csv = csv.NewReader(in)
	t.csv.Comma, t.csv.FieldsPerRecord, t.csv.ReuseRecord = t.comma, -1, true
	_, err = t.csv.Read()
	return err
}

// each gives the rows in records of at most textBatch rows, released after f.
func (t *textTable) each(ctx context.Context, f func(arrow.Record) error) error {
	b := array.NewRecordBuilder(allocator(), t.schema)
	defer b.Release()
	flush := func() error {
		rec := b.NewRecord()
		defer rec.Release()
		return f(rec)
	}
	for n := 0; ; {
		row, err := t.csv.Read()
		if err == io.EOF {
			if n == 0 {
				return nil
			}
			return flush()
		}
		line := 0
		if err == nil {
			line, _ = t.csv.FieldPos(0)
		}
		bad := func(line int, rule, hint string) error {
			return &sandbox.Error{Op: "read", Kind: sandbox.Invalid, Object: fmt.Sprintf("%s line %d", t.name, line), Detail: rule, Hint: hint}
		}
		var p *csv.ParseError
		switch {
		case errors.As(err, &p):
			return bad(p.Line, "a quoted field is not closed, or a quote stands inside an unquoted one", "")
		case err != nil:
			return &sandbox.Error{Op: "read", Kind: sandbox.Unavailable, Object: t.name, Detail: "the file cannot be read"}
		case len(row) != t.width:
			return bad(line, fmt.Sprintf("%d fields where the header has %d", len(row), t.width), "check --delimiter")
		}
		for i, at := range t.at {
			v := row[at]
			if !utf8.ValidString(v) || strings.ContainsRune(v, utf8.RuneError) {
				return bad(line, "column "+t.schema.Field(i).Name+": bytes that are no text in this encoding", "--encoding gb18030, or save the file as UTF-8")
			}
			if v == "" {
				b.Field(i).AppendNull()
			} else {
				b.Field(i).(*array.StringBuilder).Append(v)
			}
		}
		if n++; n == textBatch {
			n = 0
			if err := errors.Join(ctx.Err(), flush()); err != nil {
				return err
			}
		}
	}
}

// publish writes what a release lets through, with a header line.
func (t *textTable) publish(ctx context.Context, w io.Writer, r *generalize.Release) error {
	out := csv.NewWriter(w)
	out.Comma = t.comma
	names := make([]string, t.schema.NumFields())
	for i := range names {
		names[i] = t.schema.Field(i).Name
	}
	if err := out.Write(names); err != nil {
		return err
	}
	row := make([]string, len(names))
	err := t.each(ctx, func(rec arrow.Record) error {
		passed, err := r.Apply(allocator(), rec)
		if err != nil {
			return err
		}
		defer passed.Release()
		for i := range int(passed.NumRows()) {
			for c := range row {
				row[c] = ""
				if col := passed.Column(c).(*array.String); col.IsValid(i) {
					row[c] = col.Value(i)
				}
			}
			if err := out.Write(row); err != nil {
				return err
			}
		}
		return nil
	})
	out.Flush()
	return errors.Join(err, out.Error())
}

func (t *textTable) Close() error { return t.file.Close() }
