// Package child is the confined child process that parses files of untrusted formats (受限解析子进程): XLSX, Parquet, Arrow IPC. It is the
// only place of the project that links readers of those formats, and cmd/opdomain-jail the only program that links it.
//
// The process is started by sandbox/jail, as tier T1: it has the file as sealed read-only memory, one socket to its host, and nothing
// else. It answers Open and Next of package wire. What a file does to a reader (a crash, memory without end, a loop) ends this process
// and nothing else; what the host takes from it are bounded frames of text.
//
// Values, in the form that connectors/file reads them: numbers as plain decimals, dates 2006-01-02, times after them 15:04:05, true and
// false; a value that cannot be given exactly is given as the rule it breaks.
package child

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

// Enter returns at once unless this process was started by the jail as a parser; then it never returns.
func Enter() {
	if len(os.Args) > 0 && os.Args[0] == wire.Name {
		os.Exit(serve())
	}
}

func serve() int {
	debug.SetTraceback("none") // a trace is longer than what the jail takes as output, and nobody reads it
	s := &server{data: guest.Dataset}
	if err := guest.Serve(s.register); err != nil {
		return 1
	}
	return 0
}

// source is a table that is being parsed.
type source interface {
	header() []string
	// next writes the next row, or gives errEnd after the last. An end that only the library saw (io.EOF) is a fault: rows may be missing.
	next(w *wire.Writer) error
}

// errEnd says that the table was read to its end.
var errEnd = errors.New("parse: end of the table")

// parser opens tables of one format over the bytes of a file. Memory is what the process has, in bytes.
type parser func(data []byte, sheet string, memory int64) (source, error)

func parserOf(f wire.Format) parser {
	switch f {
	case wire.XLSX:
		return openXLSX
	case wire.Parquet:
		return openParquet
	case wire.Arrow:
		return openArrow
	}
	return nil
}

// server answers the host's calls, one at a time.
type server struct {
	data func() ([]byte, error)

	mu    sync.Mutex
	table *table
}

func (s *server) register(r *grpc.Server) {
	method := func(name string, f func([]byte) ([]byte, error)) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in wrapperspb.BytesValue
			if err := dec(&in); err != nil {
				return nil, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			out, err := f(in.Value)
			return wrapperspb.Bytes(out), err
		}}
	}
	r.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		method("Open", s.open), method("Next", func([]byte) ([]byte, error) {
			if s.table == nil {
				return nil, wire.ErrFrame
			}
			return s.table.next(), nil
		})}}, nil)
}

func (s *server) open(b []byte) ([]byte, error) {
	o, err := wire.DecodeOpen(b)
	if err != nil || s.table != nil || parserOf(o.Format) == nil || o.Memory > math.MaxInt64 {
		return nil, wire.ErrFrame
	}
	data, err := s.data()
	if err != nil {
		return nil, err
	}
	debug.SetMemoryLimit(int64(o.Memory) / 4 * 3)
	var header []byte
	s.table, header = open(data, o)
	return header, nil
}

// table makes frames of a source.
type table struct {
	src   source
	w     wire.Writer
	given int64 // bytes of rows
	most  int64 // that may be given
	fault *wire.Fault
	ended bool
}

// open gives the table and the first answer: its header, or a fault.
func open(data []byte, o wire.Open) (*table, []byte) {
	// What a file may say is bound to its size, so that a small one does not fill a domain.
	t := &table{most: 256<<20 + 256*int64(len(data))}
	var header []string
	if f := guard(func() error {
		var err error
		if t.src, err = parserOf(o.Format)(data, o.Sheet, int64(o.Memory)); err != nil {
			return err
		}
		header = t.src.header()
		size := 0
		for _, h := range header {
			size += len(h)
		}
		switch {
		case len(header) == 0:
			return &wire.Fault{Rule: wire.NoHeader}
		case len(header) > wire.MaxFields:
			return &wire.Fault{Rule: wire.Width}
		case size > wire.MaxRow:
			return &wire.Fault{Rule: wire.Long}
		}
		return nil
	}); f != nil {
		t.fault = f
		return t, wire.EncodeFault(f)
	}
	return t, wire.EncodeHeader(header)
}

// next gives the next answer. Rows that stand before a fault or the end go first.
func (t *table) next() []byte {
	if t.fault == nil && !t.ended {
		var whole wire.Mark // behind the last whole row
		err := guard(func() error {
			for !t.w.Full() {
				whole = t.w.Mark()
				if err := t.src.next(&t.w); err != nil {
					return err
				}
				if t.given += int64(t.w.Size()); t.given > t.most {
					return &wire.Fault{Rule: wire.Expands}
				}
			}
			return nil
		})
		if err != nil {
			t.w.Back(whole)
			if t.ended = err.Rule == 0; !t.ended {
				t.fault = err
			}
		}
	}
	switch {
	case t.w.Rows() > 0:
		return t.w.Frame()
	case t.fault != nil:
		return wire.EncodeFault(t.fault)
	}
	return wire.End()
}

// guard turns what a reader does into a fault: a panic over a broken file is one too. Rule 0 is errEnd.
func guard(f func() error) (fault *wire.Fault) {
	defer func() {
		switch recover().(type) {
		case nil:
		case overBudget:
			fault = &wire.Fault{Rule: wire.Memory}
		default:
			fault = &wire.Fault{Rule: wire.Malformed}
		}
	}()
	err := f()
	switch {
	case err == nil:
		return nil
	case err == errEnd:
		return &wire.Fault{}
	case errors.As(err, &fault):
		return fault
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &wire.Fault{Rule: wire.Truncated}
	}
	return &wire.Fault{Rule: wire.Malformed}
}

// overBudget is what the budget of Arrow's memory ends in.
type overBudget struct{}

// float writes a number of floating point, which is finite.
func float(w *wire.Writer, v float64, bits int) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		w.Unfit(wire.NotFinite)
	case v == 0: // and no -0
		w.Text("0")
	default:
		w.Text(decimal(v, bits))
	}
}

// decimal writes a float as the shortest decimal that reads back as it.
func decimal(v float64, bits int) string { return strconv.FormatFloat(v, 'f', -1, bits) }
