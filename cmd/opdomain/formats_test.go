package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/connectors/file/parse"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/jail"
)

// TestPushWorkbook pushes a workbook that a confined child parses, and the same table as CSV: the domain cannot tell them apart.
func TestPushWorkbook(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "formats-")
	w.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	w.must(os.Chmod(dir, 0o755)) // the jail starts its program as somebody else
	program := filepath.Join(dir, jail.Helper)
	cmd := exec.Command("go", "build", "-o", program, "github.com/opdomain/opdomain/cmd/opdomain-jail")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := jail.New(jail.Config{Program: program})
	w.must(err)
	lacks := l.Probe().Missing(jail.T1)
	l.Close()
	if len(lacks) > 0 {
		t.Skipf("SKIPPED ALOUD: T1 lacks %v", lacks)
	}
	p := parse.New(parse.Config{Program: program})
	defer p.Close()

	book := excelize.NewFile()
	defer book.Close()
	set := func(cell string, v any) { w.must(book.SetCellValue("Sheet1", cell, v)) }
	style, err := book.NewStyle(&excelize.Style{NumFmt: 14})
	w.must(err)
	csv := "who,fee,day\n"
	set("A1", "who")
	set("B1", "fee")
	set("C1", "day")
	for i := range 40 {
		row := i + 2
		set(fmt.Sprintf("A%d", row), fmt.Sprintf("p-%02d", i%9))
		set(fmt.Sprintf("B%d", row), float64(i)+0.25)
		set(fmt.Sprintf("C%d", row), 45292+i)
		w.must(book.SetCellStyle("Sheet1", fmt.Sprintf("C%d", row), fmt.Sprintf("C%d", row), style))
		csv += fmt.Sprintf("p-%02d,%d.25,2024-%02d-%02d\n", i%9, i, 1+i/31, 1+i%31)
	}
	xlsx, plain := filepath.Join(dir, "t.xlsx"), filepath.Join(dir, "t.csv")
	w.must(book.SaveAs(xlsx))
	w.must(os.WriteFile(plain, []byte(csv), 0o600))

	d := catalog.Dataset{ID: "ds-book", Unit: "unit-population", Title: "t", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 3, Personal: true}, {Name: "fee", Type: catalog.Money, Grade: 2}, {Name: "day", Type: catalog.Date, Grade: 2}}}
	s := w.as("unit-population")
	if _, err := result[catalog.Dataset](s.api.RegisterDataset(ctx, d)); err != nil {
		t.Fatal(err)
	}
	rep, err := s.push(ctx, w.info, d, "run-book", csvSource(xlsx, d, connectors.Mapping{}, file.Options{Parser: p}), nil)
	if err != nil || rep.Rows != 40 {
		t.Fatalf("%+v %v", rep, err)
	}
	// The same run with other content is a conflict; with the same content it is the run that was.
	again, err := s.push(ctx, w.info, d, "run-book", csvSource(plain, d, connectors.Mapping{}, file.Options{}), nil)
	if err != nil || again.Rows != 40 || again.Version != rep.Version {
		t.Errorf("the same rows as CSV: %+v %v", again, err)
	}

	// Cut short it is refused, and the dataset is as it was.
	b, err := os.ReadFile(xlsx)
	w.must(err)
	w.must(os.WriteFile(filepath.Join(dir, "cut.xlsx"), b[:len(b)*2/3], 0o600))
	_, err = s.push(ctx, w.info, d, "run-cut", csvSource(filepath.Join(dir, "cut.xlsx"), d, connectors.Mapping{}, file.Options{Parser: p}), nil)
	if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "cut.xlsx") {
		t.Errorf("a workbook cut short: %v", err)
	}
	got, err := result[catalog.Dataset](s.api.GetDataset(ctx, d.ID))
	if err != nil || got.Version != rep.Version {
		t.Errorf("version %d after a refused file, was %d: %v", got.Version, rep.Version, err)
	}

	// The other verbs that take tables take workbooks too.
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, files: p}
	root := a.root()
	root.SetArgs([]string{"classify", "--in", xlsx})
	if err := root.ExecuteContext(ctx); err != nil || !strings.Contains(out.String(), "t.xlsx: 40 rows") {
		t.Errorf("classify: %v\n%s", err, out.String())
	}
}
