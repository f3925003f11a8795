// Package parse has files of untrusted formats parsed by a confined child process (受限解析): XLSX, Parquet and Arrow IPC. The child is
// started by sandbox/jail as tier T1, out of the static program opdomain-jail; this package links no reader of such a format.
//
//	p := parse.New(parse.Config{})
//	defer p.Close()
//	rows, err := p.Open(ctx, f, "claims.xlsx", parse.XLSX, "")
//
// The file goes in as sealed read-only memory, at most Config.MaxFile bytes. What comes back are rows of text in the frames of package wire, taken
// one frame at a time and checked as they are read. Memory of the child, the time of one answer and of the whole are bounded.
//
// What a file can do is say wrong rows, which its author could have written anyway. A file that crashes its parser, makes it hang or take
// memory without end is an error that names the file and the rule; the host goes on. Where the machine lacks a layer of the jail every
// file is refused with the layer's name: there is no parsing outside the jail.
//
// Errors are *sandbox.Error: Invalid for the content, TooLarge for a bound, Unavailable for the machine. No value is in them.
package parse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail"
)

const op = "file: parse"

// Format (文件格式) is what a file is.
type Format string

// The formats.
const (
	XLSX    Format = "XLSX"
	Parquet Format = "Parquet"
	Arrow   Format = "Arrow IPC"
)

// FormatOf tells the format by the ending of a file's name. Endings of forms that are not read at all are refused by name.
func FormatOf(name string) (f Format, ok bool, err error) {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".xlsx":
		return XLSX, true, nil
	case ".parquet":
		return Parquet, true, nil
	case ".arrow", ".arrows", ".feather":
		return Arrow, true, nil
	case ".xls", ".xlsm", ".xlsb", ".ods", ".et":
		return "", false, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: filepath.Base(name), Detail: "a workbook of the form " + ext + " is not read", Hint: "save it as .xlsx or as CSV"}
	}
	return "", false, nil
}

// Config (解析配置) bounds the children of a Parser. Zero fields take the default.
type Config struct {
	Program string        // opdomain-jail; default: beside this program
	Memory  int64         // bytes of one child: default 1 GiB, beside the file itself
	MaxFile int64         // bytes of one file: default 1 GiB
	Step    time.Duration // of one answer: default one minute
	Wall    time.Duration // of one file: default six hours, in which a slow receiver's time counts too
}

// Parser (解析器) starts parsers. Nothing is started before the first Open.
type Parser struct {
	cfg  Config
	jail func() (*jail.Launcher, error)

	mu     sync.Mutex
	opened *jail.Launcher
}

// New gives a Parser; Close it.
func New(cfg Config) *Parser {
	if cfg.Memory == 0 {
		cfg.Memory = 1 << 30
	}
	if cfg.MaxFile == 0 {
		cfg.MaxFile = 1 << 30
	}
	if cfg.Step == 0 {
		cfg.Step = time.Minute
	}
	if cfg.Wall == 0 {
		cfg.Wall = 6 * time.Hour
	}
	p := &Parser{cfg: cfg}
	p.jail = sync.OnceValues(p.start)
	return p
}

func (p *Parser) start() (*jail.Launcher, error) {
	path := p.cfg.Program
	if path == "" {
		own, err := os.Executable()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(filepath.Dir(own), jail.Helper)
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, errNoHelper
	}
	l, err := jail.New(jail.Config{Program: path})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.opened = l
	p.mu.Unlock()
	return l, nil
}

var errNoHelper = errors.New(jail.Helper + " does not stand beside this program")

// Close ends what runs.
func (p *Parser) Close() error {
	p.mu.Lock()
	l := p.opened
	p.opened = nil
	p.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Close()
}

// Open has a child parse the file in r up to its header. name stands in errors; sheet is of XLSX, "" the first one that is shown.
func (p *Parser) Open(ctx context.Context, r io.Reader, name string, f Format, sheet string) (*Rows, error) {
	code := map[Format]wire.Format{XLSX: wire.XLSX, Parquet: wire.Parquet, Arrow: wire.Arrow}[f]
	if code == 0 {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name, Detail: "no format that is parsed"}
	}
	if sheet != "" && f != XLSX {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name, Detail: "only a workbook has sheets"}
	}
	l, err := p.jail()
	if err == errNoHelper {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: name, Detail: fmt.Sprintf("%s is parsed in the jail only, and %v", f, err),
			Hint: "CGO_ENABLED=0 go build ./cmd/" + jail.Helper + ", and put it there; CSV needs none"}
	}
	if err != nil {
		return nil, err
	}
	refused := func(part string, detail string) error {
		return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: name, Detail: fmt.Sprintf("%s is parsed in the jail only, and this machine lacks a layer of it: %s: %s", f, part, detail),
			Hint: "push CSV, or on a machine that has it; opdomain doctor lists the layers"}
	}
	if lacks := l.Probe().MissingOwn(jail.T1); len(lacks) > 0 {
		return nil, refused(lacks[0].Name, lacks[0].Detail)
	}
	d, err := jail.NewDataset(func(w io.Writer) error {
		n, err := io.Copy(w, io.LimitReader(r, p.cfg.MaxFile+1))
		if err != nil {
			return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: name, Detail: "the file cannot be read", Err: withoutPath(err)}
		}
		if n > p.cfg.MaxFile {
			return &sandbox.Error{Op: op, Kind: sandbox.TooLarge, Object: name, Detail: fmt.Sprintf("a file of this form has at most %d bytes", p.cfg.MaxFile), Hint: "split it"}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer d.Close() // the child has a description of its own
	rows := &Rows{name: name, format: f, step: p.cfg.Step}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // each call is bound to its own context, and Close ends the child
	rows.end = end
	rows.process, err = l.Start(life, jail.Job{Tier: jail.T1, Entry: wire.Name, Serves: true, Dataset: d,
		Limits: jail.Limits{Memory: p.cfg.Memory, Wall: p.cfg.Wall, Message: wire.MaxFrame + 64}})
	if err != nil {
		end()
		if jail.ReasonOf(err) == jail.Layer {
			return nil, refused("start", err.Error())
		}
		return nil, rows.unstarted(err)
	}
	a, err := rows.call(ctx, "Open", wire.Open{Format: code, Memory: uint64(p.cfg.Memory), Sheet: sheet}.Encode())
	if err == nil && a.Header == nil {
		err = rows.broken(wire.ErrFrame)
	}
	if err != nil {
		_ = rows.Close()
		return nil, err
	}
	rows.header = a.Header
	rows.fields, rows.rules = make([]string, len(a.Header)), make([]wire.Rule, len(a.Header))
	return rows, nil
}

func withoutPath(err error) error {
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Rows (解析行流) are the rows of a file that a child parses. One goroutine uses it.
type Rows struct {
	name    string
	format  Format
	step    time.Duration
	process *jail.Process
	end     context.CancelFunc
	header  []string

	frame  *wire.Rows
	fields []string
	rules  []wire.Rule
	number int64
	err    error // of a call that was made: what it would have answered is lost
}

// Header gives the headers of the fields.
func (r *Rows) Header() []string { return r.header }

// Posture is how the child was confined.
func (r *Rows) Posture() jail.Posture { return r.process.Posture() }

// Next gives the fields of the next row, "" where a value is missing, until the call after it; io.EOF after the last one.
func (r *Rows) Next(ctx context.Context) ([]string, error) {
	for {
		if r.frame != nil {
			number, ok, err := r.frame.Next(r.fields, r.rules)
			if err != nil {
				return nil, r.broken(err)
			}
			if ok {
				r.number = number
				return r.fields, nil
			}
			r.frame = nil
		}
		a, err := r.call(ctx, "Next", nil)
		switch {
		case err != nil:
			return nil, err
		case a.End:
			return nil, io.EOF
		case a.Rows == nil:
			return nil, r.broken(wire.ErrFrame)
		}
		r.frame = a.Rows
	}
}

// Number is the number of the last row: in the sheet, or from 1.
func (r *Rows) Number() int64 { return r.number }

// Rule says which rule the field of the last row breaks, or "". Its text is empty then.
func (r *Rows) Rule(field int) string { return r.rules[field].Text() }

// Close ends the child.
func (r *Rows) Close() error {
	r.end()
	return r.process.Close()
}

func (r *Rows) call(ctx context.Context, method string, in []byte) (wire.Answer, error) {
	if r.err != nil {
		return wire.Answer{}, r.err
	}
	if err := ctx.Err(); err != nil {
		return wire.Answer{}, err
	}
	a, err := r.ask(ctx, method, in)
	r.err = err
	return a, err
}

func (r *Rows) ask(ctx context.Context, method string, in []byte) (wire.Answer, error) {
	step, cancel := context.WithTimeout(ctx, r.step)
	defer cancel()
	var out wrapperspb.BytesValue
	if err := r.process.Conn().Invoke(step, "/"+wire.Service+"/"+method, wrapperspb.Bytes(in), &out); err != nil {
		if ctx.Err() != nil {
			return wire.Answer{}, ctx.Err()
		}
		if step.Err() != nil {
			r.process.Kill(jail.Deadline)
		}
		return wire.Answer{}, r.broken(err)
	}
	a, err := wire.Decode(out.Value, len(r.header))
	if err != nil {
		return a, r.broken(err)
	}
	if a.Fault != nil {
		return a, r.fault(a.Fault)
	}
	return a, nil
}

// fault words what the child found in the file.
func (r *Rows) fault(f *wire.Fault) error {
	e := &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: r.name, Detail: f.Rule.Text()}
	if f.Row > 0 {
		e.Object += fmt.Sprintf(" row %d", f.Row)
	}
	if f.Field > 0 {
		e.Object += fmt.Sprintf(" field %d", f.Field)
	}
	switch f.Rule {
	case wire.Malformed, wire.Truncated:
		e.Detail = fmt.Sprintf("as %s: %s", r.format, e.Detail)
	case wire.Expands, wire.Parts, wire.Width, wire.Long, wire.Memory, wire.Strings:
		e.Kind = sandbox.TooLarge
	case wire.Macros:
		e.Hint = "save it as .xlsx, without macros"
	case wire.NoSheet:
		e.Hint = "name a sheet that holds cells, as it stands on its tab"
	case wire.Encrypted:
		e.Hint = "save it without a password, a workbook as .xlsx"
	}
	return e
}

// unstarted words why no parser began. It had not been asked of the file yet: an image that cannot be executed, or one that does not take
// the jail's first call, is the jail's fault.
func (r *Rows) unstarted(err error) error {
	switch reason := jail.ReasonOf(err); reason {
	case jail.BadImage, jail.Refused:
		return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: r.name, Detail: "the jail could not start a parser: " + string(reason),
			Hint: "let " + jail.Helper + " be of the same build as this program"}
	}
	return r.broken(err)
}

// broken words how a child ended that did not answer as it should.
func (r *Rows) broken(err error) error {
	if r.process != nil {
		r.process.Kill(jail.Protocol)
	}
	e := &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: r.name, Hint: "the file is damaged or made to break its reader; export it again, or as CSV"}
	switch reason := jail.ReasonOf(err); reason {
	case jail.Memory:
		e.Kind, e.Detail = sandbox.TooLarge, fmt.Sprintf("parsing it as %s takes more memory than a parser is given", r.format)
	case jail.Deadline:
		e.Kind, e.Detail = sandbox.TooLarge, fmt.Sprintf("parsing it as %s takes longer than a parser is given", r.format)
	case jail.Cancelled, jail.Closed, jail.Unfit:
		e.Kind, e.Detail, e.Hint = sandbox.Unavailable, "the parser was ended: "+string(reason), ""
	case jail.Crashed, jail.Forbidden, jail.Flooded, jail.Ended:
		e.Detail = fmt.Sprintf("its parser did not survive it as %s: %s", r.format, reason)
	default:
		e.Detail = fmt.Sprintf("its parser gave no answer of the agreed form as %s", r.format)
	}
	return e
}
