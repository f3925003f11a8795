package agent

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opdomain/opdomain/sandbox"
)

func openTable(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "party: table", Kind: sandbox.NotFound, Object: path, Detail: "the file cannot be read"}
	}
	return f, nil
}

// csvTable reads a party's own table: a header, then a row a line. Its errors name file, line and rule, never a field.
type csvTable struct {
	name    string
	most    int64
	form    string // the rule of a row that does not parse
	limited *io.LimitedReader
	in      *csv.Reader
	line    int
}

// newTable reads at most so many bytes of r.
func newTable(r io.Reader, name string, most int64, form string) *csvTable {
	t := &csvTable{name: name, most: most, form: form, limited: &io.LimitedReader{R: r, N: most + 1}}
	t.in = csv.NewReader(t.limited)
	t.in.ReuseRecord = true
	return t
}

func (t *csvTable) bad(rule string) error {
	return &sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: fmt.Sprintf("%s line %d", t.name, t.line), Detail: rule}
}

// head reads the header; rule is what ok holds it to.
func (t *csvTable) head(rule string, ok func(names []string) bool) error {
	t.line = 1
	names, err := t.in.Read()
	if err != nil || !ok(names) {
		return t.bad(rule)
	}
	return nil
}

// next gives the next row, which is the caller's until the one after it; io.EOF behind the last.
func (t *csvTable) next() ([]string, error) {
	rec, err := t.in.Read()
	switch {
	case t.limited.N == 0:
		return nil, &sandbox.Error{Op: "party: table", Kind: sandbox.TooLarge, Object: t.name, Detail: fmt.Sprintf("at most %d MiB", t.most>>20)}
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		t.line = 0
		if p := (*csv.ParseError)(nil); errors.As(err, &p) {
			t.line = p.Line
		}
		return nil, t.bad(t.form)
	}
	t.line, _ = t.in.FieldPos(0)
	return rec, nil
}
