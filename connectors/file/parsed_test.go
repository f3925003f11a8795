package file

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/xuri/excelize/v2"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/connectortest"
	"github.com/opdomain/opdomain/connectors/file/parse"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/jail"
)

var shared struct {
	once   sync.Once
	dir    string
	parser *parse.Parser
	lacks  []jail.Part
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.parser != nil {
		shared.parser.Close()
	}
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// confined gives a parser over the real confined program, or skips aloud where the kernel has no jail.
func confined(t *testing.T) *parse.Parser {
	t.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "file-test-")
		if err == nil {
			err = os.Chmod(dir, 0o755) // the jail starts its program as somebody else
		}
		if shared.err = err; err != nil {
			return
		}
		shared.dir = dir
		program := filepath.Join(dir, jail.Helper)
		cmd := exec.Command("go", "build", "-o", program, "github.com/opdomain/opdomain/cmd/opdomain-jail")
		cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if shared.err = cmd.Run(); shared.err != nil {
			return
		}
		l, err := jail.New(jail.Config{Program: program})
		if shared.err = err; err != nil {
			return
		}
		shared.lacks = l.Probe().Missing(jail.T1)
		l.Close()
		shared.parser = parse.New(parse.Config{Program: program, Memory: 256 << 20, Step: 20 * time.Second})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if len(shared.lacks) > 0 {
		t.Skipf("SKIPPED ALOUD: T1 lacks %v", shared.lacks)
	}
	return shared.parser
}

var (
	plainNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	plainMoney  = regexp.MustCompile(`^(-?(0|[1-9][0-9]*)\.[0-9]{2})$`)
	plainDay    = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	plainBool   = regexp.MustCompile(`^(true|false)$`)
)

// fits says whether every value of a column that is there has a form, so that the column can be written typed.
func fits(tab connectortest.Table, column int, form *regexp.Regexp) bool {
	for _, r := range tab.Rows {
		if r[column] != "" && !form.MatchString(r[column]) {
			return false
		}
	}
	return true
}

func day(s string) (time.Time, bool) {
	t, err := time.Parse("2006-01-02", s)
	return t, err == nil
}

// recordOf writes a table typed where all its values allow it, and as text elsewhere.
func recordOf(t testing.TB, tab connectortest.Table) arrow.Record {
	var fields []arrow.Field
	kinds := make([]arrow.DataType, len(tab.Header))
	for i, h := range tab.Header {
		kind := arrow.DataType(arrow.BinaryTypes.String)
		switch {
		case h == "visits" && fits(tab, i, plainNumber):
			kind = arrow.PrimitiveTypes.Int64
		case h == "AMOUNT" && fits(tab, i, plainMoney):
			kind = &arrow.Decimal128Type{Precision: 30, Scale: 2}
		case h == "DAY" && fits(tab, i, plainDay):
			kind = arrow.FixedWidthTypes.Date32
			for _, r := range tab.Rows {
				if _, ok := day(r[i]); r[i] != "" && !ok {
					kind = arrow.BinaryTypes.String
				}
			}
		case h == "open" && fits(tab, i, plainBool):
			kind = arrow.FixedWidthTypes.Boolean
		}
		kinds[i] = kind
		fields = append(fields, arrow.Field{Name: h, Type: kind, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, r := range tab.Rows {
		for i, v := range r {
			if v == "" {
				b.Field(i).AppendNull()
				continue
			}
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				f.Append(v)
			case *array.Int64Builder:
				n, err := strconv.ParseInt(v, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				f.Append(n)
			case *array.Decimal128Builder:
				n, ok := new(big.Int).SetString(strings.Replace(v, ".", "", 1), 10)
				if !ok {
					t.Fatal("no decimal")
				}
				f.Append(decimal128.FromBigInt(n))
			case *array.Date32Builder:
				d, _ := day(v)
				f.Append(arrow.Date32FromTime(d))
			case *array.BooleanBuilder:
				f.Append(v == "true")
			}
		}
	}
	return b.NewRecord()
}

func asParquet(t testing.TB, rec arrow.Record) []byte {
	var b bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &b, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy)), pqarrow.NewArrowWriterProperties())
	if err == nil {
		err = w.WriteBuffered(rec)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asArrow(t testing.TB, rec arrow.Record) []byte {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(rec.Schema()))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// asXLSX writes numbers, days and truth as cells of their kind where a cell holds them, and texts elsewhere.
func asXLSX(t testing.TB, tab connectortest.Table) []byte {
	f := excelize.NewFile()
	defer f.Close()
	style, err := f.NewStyle(&excelize.Style{NumFmt: 14})
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.NewStreamWriter("Sheet1")
	if err != nil {
		t.Fatal(err)
	}
	row := func(n int, cells []any) {
		if err := w.SetRow(fmt.Sprintf("A%d", n), cells); err != nil {
			t.Fatal(err)
		}
	}
	cells := make([]any, len(tab.Header))
	for i, h := range tab.Header {
		cells[i] = h
	}
	row(1, cells)
	for n, r := range tab.Rows {
		for i, v := range r {
			cells[i] = v
			number := (plainNumber.MatchString(v) || plainMoney.MatchString(v)) && len(strings.Trim(v, "-")) <= 15
			switch h := tab.Header[i]; {
			case v == "":
				cells[i] = nil
			case (h == "visits" || h == "AMOUNT" || h == "ratio") && number:
				x, err := strconv.ParseFloat(v, 64)
				if err != nil {
					t.Fatal(err)
				}
				cells[i] = x
			case h == "open" && plainBool.MatchString(v):
				cells[i] = v == "true"
			case h == "DAY":
				if d, ok := day(v); ok && d.Year() >= 1901 {
					cells[i] = excelize.Cell{StyleID: style, Value: int(d.Unix()/86400) + 25569}
				}
			}
		}
		row(n+2, cells)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	b, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestParsedContract holds the contract of a source on every form, each parsed in the jail.
func TestParsedContract(t *testing.T) {
	p := confined(t)
	// Each drawn table is a process of its own.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("20"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checks.Value.Set(checks.DefValue) }()
	}
	for name, render := range map[string]func(t testing.TB, tab connectortest.Table) []byte{
		"t.xlsx":    asXLSX,
		"t.parquet": func(t testing.TB, tab connectortest.Table) []byte { return asParquet(t, recordOf(t, tab)) },
		"t.arrow":   func(t testing.TB, tab connectortest.Table) []byte { return asArrow(t, recordOf(t, tab)) },
	} {
		t.Run(name, func(t *testing.T) {
			connectortest.Run(t, func(ctx context.Context, mem memory.Allocator, tab connectortest.Table, rows int) (connectors.Source, error) {
				r, err := NewReader(ctx, mem, bytes.NewReader(render(t, tab)), name, tab.Dataset, tab.Mapping, Options{BatchRows: rows, Parser: p})
				if err != nil {
					return nil, err
				}
				return r, nil
			})
		})
	}
}

func claims() catalog.Dataset {
	return catalog.Dataset{ID: "ds-claims", Unit: "u", Frequency: catalog.Once, Subject: "id", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "id", Type: catalog.Text, Grade: 2}, {Name: "fee", Type: catalog.Money, Grade: 2, Nullable: true}, {Name: "day", Type: catalog.Date, Grade: 1, Nullable: true}}}
}

// TestParsedPlaces: errors name the file, the row as its program counts it, the column and the rule; a bad value of a column that nobody
// reads, or that may be unfit, stops nothing.
func TestParsedPlaces(t *testing.T) {
	p := confined(t)
	f := excelize.NewFile()
	defer f.Close()
	for cell, v := range map[string]any{"A1": "id", "B1": "fee", "C1": "day", "D1": "spare", "A2": "a", "B2": 1.5, "A3": "b", "A5": "c", "B5": 2} {
		if err := f.SetCellValue("Sheet1", cell, v); err != nil {
			t.Fatal(err)
		}
	}
	for _, cell := range []string{"B3", "D2"} {
		if err := f.SetCellFormula("Sheet1", cell, "1/0"); err != nil { // without a stored value
			t.Fatal(err)
		}
	}
	b, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "claims.xlsx")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(o Options) (int64, error) {
		r, err := Open(context.Background(), memory.NewGoAllocator(), path, claims(), connectors.Mapping{}, o)
		if err != nil {
			return 0, err
		}
		defer r.Close()
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				_, kept := r.Counts()
				return kept, nil
			}
			if err != nil {
				return 0, err
			}
			rec.Release()
		}
	}
	if _, err := read(Options{Parser: p}); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "claims.xlsx row 3 column fee") || !strings.Contains(err.Error(), "formula") {
		t.Errorf("a formula without a value: %v", err)
	}
	unfit := 0
	if n, err := read(Options{Parser: p, Unfit: func(int) { unfit++ }}); n != 3 || err != nil || unfit != 1 {
		t.Errorf("%d rows, %d unfit, %v", n, unfit, err)
	}
	for name, c := range map[string]struct {
		o    Options
		kind sandbox.Kind
		rule string
	}{
		"no parser": {Options{}, sandbox.Unavailable, "confined child process"},
		"encoding":  {Options{Parser: p, Encoding: UTF8}, sandbox.Invalid, "encoding"},
		"sheet":     {Options{Parser: p, Sheet: "另一"}, sandbox.Invalid, "no such sheet"},
	} {
		if _, err := read(c.o); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), "claims.xlsx") || !strings.Contains(err.Error(), c.rule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tab, err := OpenTable(context.Background(), memory.NewGoAllocator(), path, nil, Options{Parser: p})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	if n := len(tab.Schema().Fields()); n != 4 {
		t.Errorf("a table of %d columns", n)
	}
}

// TestDamaged changes bytes of files at drawn places: whatever becomes of them in the jail, the host has rows or an error that names the
// file, and the next file is read.
func TestDamaged(t *testing.T) {
	p := confined(t)
	tab := connectortest.Table{Header: []string{"id", "fee", "day"}}
	for i := range 200 {
		tab.Rows = append(tab.Rows, []string{fmt.Sprint("p", i), fmt.Sprintf("%d.50", i), "2024-02-29"})
	}
	rec := recordOf(t, tab)
	defer rec.Release()
	rng := rand.New(rand.NewPCG(7, 7))
	n := 30
	if testing.Short() {
		n = 10
	}
	for name, whole := range map[string][]byte{"t.xlsx": asXLSX(t, tab), "t.parquet": asParquet(t, rec), "t.arrow": asArrow(t, rec)} {
		refused := 0
		for range n {
			b := bytes.Clone(whole)
			for range 1 + rng.IntN(4) {
				b[rng.IntN(len(b))] = byte(rng.IntN(256))
			}
			if rng.IntN(4) == 0 {
				b = b[:rng.IntN(len(b))]
			}
			r, err := NewTable(context.Background(), memory.NewGoAllocator(), bytes.NewReader(b), name, nil, Options{Parser: p})
			for err == nil {
				var rec arrow.Record
				if rec, err = r.Next(context.Background()); err == nil {
					rec.Release()
				}
			}
			if r != nil {
				r.Close()
			}
			if err == io.EOF {
				continue
			}
			refused++
			if !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "2024-02-29") {
				t.Fatalf("%s: %v", name, err)
			}
		}
		t.Logf("%s: %d of %d damaged files refused", name, refused, n)
		if refused < n/4 {
			t.Errorf("%s: only %d of %d damaged files are refused", name, refused, n)
		}
		r, err := NewTable(context.Background(), memory.NewGoAllocator(), bytes.NewReader(whole), name, nil, Options{Parser: p})
		if err != nil {
			t.Fatalf("%s after the damaged ones: %v", name, err)
		}
		r.Close()
	}
}
