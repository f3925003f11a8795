// Package file reads tables in files (文件接入) as a connectors.Source, into record batches of the catalogue's schema: CSV after RFC 4180, in
// UTF-8 or GB 18030, and by the ending of the name XLSX, Parquet and Arrow IPC.
//
// The latter are parsed by a confined child process (package parse) and by nothing else; without Options.Parser, or where the machine lacks
// a layer of the jail, they are refused. Their rows come as the text that CSV would have: numbers as plain decimals, dates and times as below,
// true and false. A workbook's headers stand in the first row with a cell; a number is what its program shows, with 15 digits, a formula
// its stored value. Refused as values are errors, formulas without a value, instants of universal time, bytes, lists and structures.
//
// Form of CSV: the first line holds the headers. A field with a comma, quote or line break is quoted, a quote in it doubled. A
// line ends with LF or CRLF; inside a quoted field CRLF becomes LF. Blank lines are skipped. Every row has as many fields
// as the header. An empty field is missing. Filters of the mapping compare the field exactly as written.
//
// Values, by catalogue type: money in yuan and numbers as plain decimals, exact, more decimals than the column has only if
// the mapping says "round"; int without a fraction; dates 2006-01-02, 2006/1/2 or 20060102, a time of day cut off without
// moving the date between time zones; bool true/false, 1/0, Y/N, 是/否; text as it is, never trimmed.
//
// Encoding: declared, or told from the byte order mark or the first 64 KiB from the first non-ASCII character on. A few
// characters that read both ways are refused until declared. A wrong byte is an error at its line; none is ever replaced.
//
// Memory: one batch (BatchRows, BatchBytes), one record (MaxRecord) and a 64 KiB window, whatever the size of the file.
//
// Errors name file, line, column and rule, never a value. Kinds: Invalid for the content, TooLarge for a record over its
// bound, NotFound and Unavailable for the file itself. The first fault ends the stream.
//
// It reads no compressed files, and it guesses no delimiter and no schema.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file/parse"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

const op = "file: read"

// Options (读取选项) bound and describe one file. The zero value detects the encoding, splits at commas and takes the
// defaults.
type Options struct {
	Encoding   Encoding
	Comma      rune // 0: ','
	BatchRows  int  // rows of one batch, 0: DefaultBatchRows
	BatchBytes int  // bytes of one batch in memory, 0: DefaultBatchBytes; at least MaxRecord
	MaxRecord  int  // bytes of one row as UTF-8, 0: DefaultMaxRecord
	// Unfit is told the column, by its place, of each field that does not fit one that may be null, and the field is null; nil: the
	// file is refused there.
	Unfit func(column int)
	// Parser parses XLSX, Parquet and Arrow IPC; nil: they are refused.
	Parser *parse.Parser
	Sheet  string // of XLSX; "": the first one that is shown
}

// Defaults of Options. A default batch fits one push frame of 1 MiB.
const (
	DefaultBatchRows  = 16 << 10
	DefaultBatchBytes = 768 << 10
	DefaultMaxRecord  = 64 << 10
)

func (o Options) filled() (Options, error) {
	for _, f := range []struct {
		v   *int
		def int
	}{{&o.BatchRows, DefaultBatchRows}, {&o.BatchBytes, DefaultBatchBytes}, {&o.MaxRecord, DefaultMaxRecord}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < 0 {
			return o, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: "options", Detail: "bounds are not negative"}
		}
	}
	if o.Comma == 0 {
		o.Comma = ','
	}
	if slices.Contains([]rune{'"', '\r', '\n', utf8.RuneError}, o.Comma) || !utf8.ValidRune(o.Comma) {
		return o, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: "options", Detail: "the delimiter is one character other than a quote or line break"}
	}
	if o.BatchBytes < o.MaxRecord {
		return o, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: "options", Detail: "a batch holds at least one record: batch bytes ≥ record bytes"}
	}
	return o, nil
}

// Reader (文件读取器) streams one file. It is a connectors.Source; one goroutine uses it.
type Reader struct {
	name   string
	schema *arrow.Schema
	opts   Options
	in     table
	closer io.Closer

	width   int // fields of the header
	columns []column
	where   []condition
	spare   []Header
	build   *array.RecordBuilder

	read, kept int64
	held       []string // a row that was read but belongs to the next batch
	err        error    // why the stream ended
}

var _ connectors.Source = (*Reader)(nil)

// table (表格来源) gives the rows of a file, whatever its form.
type table interface {
	// record gives the next row as fields, until the call after it; io.EOF after the last. Its errors are worded.
	record(ctx context.Context) ([]string, error)
	// rule is what a field of the last row breaks before its value is looked at, or "".
	rule(field int) string
	// place is where a field of the last row stands: "line 7", "row 7".
	place(field int) string
	close() error
}

type column struct {
	at     int // field number
	name   string
	append appender
}

type condition struct {
	at int
	in connectors.Values
}

// Open reads the file at path; errors show its base name only.
func Open(ctx context.Context, mem memory.Allocator, path string, d catalog.Dataset, m connectors.Mapping, o Options) (*Reader, error) {
	return opened(path, func(f io.Reader, name string) (*Reader, error) { return NewReader(ctx, mem, f, name, d, m, o) })
}

// opened opens a file for a reader, which closes it.
func opened(path string, read func(f io.Reader, name string) (*Reader, error)) (*Reader, error) {
	name := filepath.Base(path)
	f, err := os.Open(path)
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			f.Close()
			return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name, Detail: "it is a folder"}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.NotFound, Object: name, Detail: "no such file", Hint: "check the folder and the file's name"}
	}
	if err != nil {
		return nil, unreadable(name, err)
	}
	r, err := read(f, name)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.closer = f
	return r, nil
}

// NewReader reads from r, which stays the caller's to close; name stands in errors, and its ending says the form. It reads the header at once,
// so that a wrong mapping is known before any row.
func NewReader(ctx context.Context, mem memory.Allocator, r io.Reader, name string, d catalog.Dataset, m connectors.Mapping, o Options) (*Reader, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if err := m.Check(&d); err != nil {
		return nil, err
	}
	return newReader(ctx, mem, r, name, o, func(*Reader, []string) (catalog.Dataset, connectors.Mapping, error) { return d, m, nil })
}

// newReader reads the header line and has describe say which columns there are.
func newReader(ctx context.Context, mem memory.Allocator, r io.Reader, name string, o Options, describe func(*Reader, []string) (catalog.Dataset, connectors.Mapping, error)) (*Reader, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fr := &Reader{name: name, opts: o}
	header, err := fr.open(ctx, r)
	if err == nil {
		err = fr.bindTo(mem, header, describe)
	}
	if err != nil {
		if fr.in != nil {
			_ = fr.in.close()
		}
		return nil, err
	}
	return fr, nil
}

// open reads up to the header.
func (r *Reader) open(ctx context.Context, in io.Reader) ([]string, error) {
	format, parsed, err := parse.FormatOf(r.name)
	if err != nil {
		return nil, err
	}
	if !parsed {
		if r.opts.Sheet != "" {
			return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: r.name, Detail: "only a workbook has sheets"}
		}
		return r.openText(ctx, in)
	}
	return r.openParsed(ctx, in, format)
}

// bindTo has describe say which columns there are, and ties them to the header's fields.
func (r *Reader) bindTo(mem memory.Allocator, header []string, describe func(*Reader, []string) (catalog.Dataset, connectors.Mapping, error)) error {
	fields, err := r.header(header)
	if err != nil {
		return err
	}
	d, m, err := describe(r, header)
	if err != nil {
		return err
	}
	r.schema = batch.Schema(d)
	r.build = array.NewRecordBuilder(mem, r.schema)
	if err := r.bind(d, m, fields); err != nil {
		r.build.Release()
		return err
	}
	return nil
}

// header gives the field number of each header. Its errors give field numbers, not texts: a file without a header line
// has values there.
func (r *Reader) header(record []string) (map[string]int, error) {
	r.width = len(record)
	fields := make(map[string]int, len(record))
	for i, h := range record {
		if first, ok := fields[h]; ok {
			return nil, r.invalid(r.in.place(0), "", fmt.Sprintf("field %d repeats the header of field %d", i+1, first+1))
		}
		fields[h] = i
	}
	return fields, nil
}

// bind ties the catalogue's columns and the filters to field numbers.
func (r *Reader) bind(d catalog.Dataset, m connectors.Mapping, fields map[string]int) error {
	for i, c := range d.Columns {
		f := m.Field(c.Name)
		at, ok := fields[f.From]
		if !ok {
			e := r.invalid(r.in.place(0), c.Name, fmt.Sprintf("no header %q", f.From))
			e.Hint = "name the right header in the mapping's \"from\", or check delimiter and encoding"
			return e
		}
		put, err := appenderOf(c, f.Round, r.build.Field(i))
		if err != nil {
			return err
		}
		r.columns = append(r.columns, column{at: at, name: c.Name, append: put})
	}
	for _, h := range slices.Sorted(maps.Keys(m.Where)) {
		at, ok := fields[h]
		if !ok {
			return r.invalid(r.in.place(0), "", fmt.Sprintf("no header %q, which the row filter names", h))
		}
		r.where = append(r.where, condition{at: at, in: m.Where[h]})
	}
	for h, at := range fields {
		if !slices.ContainsFunc(r.columns, func(c column) bool { return c.at == at }) && !slices.ContainsFunc(r.where, func(c condition) bool { return c.at == at }) {
			r.spare = append(r.spare, Header{Field: at + 1, Text: h})
		}
	}
	slices.SortFunc(r.spare, func(a, b Header) int { return a.Field - b.Field })
	return nil
}

// Header (表头字段) is one field of the header line: its number from 1 and its text, which in a file without headers is a value.
type Header struct {
	Field int
	Text  string
}

// String shows the number only.
func (h Header) String() string { return fmt.Sprintf("field %d", h.Field) }

// GoString is String.
func (h Header) GoString() string { return h.String() }

// Spare gives the headers that no column reads and no filter names, in the order of the file.
func (r *Reader) Spare() []Header { return slices.Clone(r.spare) }

// Schema is the schema of every record.
func (r *Reader) Schema() *arrow.Schema { return r.schema }

// Counts gives rows read and rows kept so far.
func (r *Reader) Counts() (read, kept int64) { return r.read, r.kept }

// Next gives the next batch, which the caller releases, or io.EOF after the last.
func (r *Reader) Next(ctx context.Context) (arrow.Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	rows, err := r.fill(ctx)
	if err != nil && (err != io.EOF || rows == 0) {
		r.err = err
		return nil, err
	}
	return r.build.NewRecord(), nil
}

// fill appends rows to the builders until a bound or the end. Reading past the end again gives io.EOF again.
func (r *Reader) fill(ctx context.Context) (rows int, err error) {
	size := 0
	for rows < r.opts.BatchRows {
		if (rows & 255) == 0 {
			if err := ctx.Err(); err != nil {
				return rows, err
			}
		}
		record := r.held
		if record == nil {
			if record, err = r.row(ctx); err != nil {
				return rows, err
			}
		}
		need := r.rowBytes(record)
		if rows > 0 && size+need > r.opts.BatchBytes {
			r.held = record // good until the next one is read
			return rows, nil
		}
		r.held = nil
		for i, c := range r.columns {
			rule := r.in.rule(c.at)
			if rule == "" {
				rule = c.append(record[c.at])
			}
			if rule != "" {
				if r.opts.Unfit != nil && rule != ruleEmpty && r.schema.Field(i).Nullable {
					r.build.Field(i).AppendNull()
					r.opts.Unfit(i)
					continue
				}
				return rows, r.invalid(r.in.place(c.at), c.name, rule)
			}
		}
		size += need
		rows++
	}
	return rows, nil
}

// row reads up to the next row the filter keeps.
func (r *Reader) row(ctx context.Context) ([]string, error) {
	for {
		record, err := r.record(ctx)
		if err != nil {
			return nil, err
		}
		r.read++
		if len(record) != r.width {
			return nil, r.invalid(r.in.place(0), "", fmt.Sprintf("the row has %d fields, the header %d", len(record), r.width))
		}
		for _, c := range r.where {
			if rule := r.in.rule(c.at); rule != "" {
				return nil, r.invalid(r.in.place(c.at), r.columnAt(c.at), rule)
			}
		}
		if r.keeps(record) {
			r.kept++
			return record, nil
		}
		if (r.read & 255) == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
}

func (r *Reader) keeps(record []string) bool {
	for _, c := range r.where {
		if !slices.Contains(c.in, record[c.at]) {
			return false
		}
	}
	return true
}

// rowBytes bounds what a row takes in a batch from above: its text, 8 bytes a column for a value or offset, and one for
// validity.
func (r *Reader) rowBytes(record []string) int {
	n := 9 * len(r.columns)
	for _, c := range r.columns {
		n += len(record[c.at])
	}
	return n
}

// record reads one row of any width and checks its characters.
func (r *Reader) record(ctx context.Context) ([]string, error) {
	record, err := r.in.record(ctx)
	if err != nil {
		return nil, err
	}
	for i, f := range record {
		if rule := unfit(f); rule != "" {
			return nil, r.invalid(r.in.place(i), r.columnAt(i), rule)
		}
	}
	return record, nil
}

// columnAt names the column a field feeds, or the field by its number.
func (r *Reader) columnAt(field int) string {
	for _, c := range r.columns {
		if c.at == field {
			return c.name
		}
	}
	return fmt.Sprintf("number %d", field+1)
}

// Close releases everything; a later Next fails.
func (r *Reader) Close() error {
	if r.build == nil {
		return nil
	}
	r.build.Release()
	r.build = nil
	r.err = &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: r.name, Detail: "the source is closed"}
	err := r.in.close()
	if r.closer == nil {
		return err
	}
	if err := r.closer.Close(); err != nil {
		return unreadable(r.name, err)
	}
	return err
}

func place(name, at, column string) string {
	if at != "" {
		name += " " + at
	}
	if column != "" {
		name += " column " + column
	}
	return name
}

func (r *Reader) invalid(at, column, rule string) *sandbox.Error {
	return invalid(r.name, at, column, rule)
}

func invalid(name, at, column, rule string) *sandbox.Error {
	return &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: place(name, at, column), Detail: rule}
}

// unreadable keeps the cause but not the path, which the operating system's error repeats.
func unreadable(name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: name, Detail: "the file cannot be read", Err: err}
}
