package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/benchmarks/trapset"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// classified is what the verb prints as JSON: kinds, counts and headers, never a value.
type classified struct {
	File     string                   `json:"file"`
	Rules    string                   `json:"rules"` // 规则版本
	Rows     int64                    `json:"rows"`
	Standing *classify.Standing       `json:"standing,omitempty"` // 就高从严: of what was found; none of a table without rows or findings
	Unjudged int                      `json:"unjudged"`           // 未判定: columns without a finding, which says nothing about their grade
	Columns  []classify.ColumnFinding `json:"columns"`
}

func (a *app) classifyCommand() *cobra.Command {
	var in, encoding, delimiter, sheet string
	var selftest bool
	var seed uint64
	c := verb("classify", "Find what the columns of a table hold and propose grades, without a domain (数据分类分级)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		switch {
		case selftest && in != "" || !selftest && in == "":
			return usageError{invalid("--in", "one of --in FILE and --selftest", "opdomain classify --in table.csv")}
		case selftest:
			return a.selftest(seed)
		}
		comma := []rune(delimiter)
		if len(comma) != 1 {
			return usageError{invalid("--delimiter", "one character", `opdomain classify --in table.csv --delimiter ";"`)}
		}
		return a.classify(c.Context(), in, file.Options{Encoding: file.Encoding(encoding), Comma: comma[0], Parser: a.files, Sheet: sheet})
	})
	c.Long = `Find what the columns of a table hold and propose grades, without a domain (数据分类分级).

The first line holds the headers, which count as hints. Of each column up to 10,000 values are looked at, evenly over the whole file,
however long it is. Printed are kinds, shares and grades, never a value; a header that looks like a value itself is shown as its field
number, and a file whose first line is of values is refused. A column of text with a kind in it contains-KIND, at that kind's grade; a
telling header proposes its kind at a share of 0. The grades are proposals: a person confirms them, and until then the stricter of declared
and proposed applies. A column without a finding is not judged: nothing found is not the same as public.

--selftest draws labelled tables and clinical notes with traps and prints precision and recall of each type at several thresholds.`
	f := c.Flags()
	f.StringVar(&in, "in", "", "file to read: CSV, or .xlsx, .parquet, .arrow, parsed in the jail")
	f.StringVar(&sheet, "sheet", "", "of a workbook; default: the first one that is shown")
	f.StringVar(&encoding, "encoding", "", "of the table: utf-8 or gb18030; default: detected")
	f.StringVar(&delimiter, "delimiter", ",", "between the fields")
	f.BoolVar(&selftest, "selftest", false, "measure the detectors on a drawn set")
	f.Uint64Var(&seed, "seed", 1, "of the drawn set")
	return c
}

func (a *app) classify(ctx context.Context, in string, o file.Options) error {
	src, err := file.OpenTable(ctx, memory.DefaultAllocator, in, nil, o)
	if err != nil {
		return err
	}
	defer src.Close()
	var d catalog.Dataset
	for _, f := range src.Schema().Fields() {
		d.Columns = append(d.Columns, catalog.Column{Name: f.Name, Title: f.Name, Type: catalog.Text, Nullable: true, Grade: sandbox.Grade1})
	}
	s := classify.NewSampler(d)
	out := classified{File: filepath.Base(in), Rules: classify.Version}
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		s.Observe(rec)
		out.Rows += rec.NumRows()
		rec.Release()
	}
	out.Columns = s.Grade()
	if err := hideHeaders(out.File, out.Columns); err != nil {
		return err
	}
	var parts []classify.Standing
	for _, f := range out.Columns {
		if f.Finding == classify.None {
			out.Unjudged++
			continue
		}
		parts = append(parts, classify.Standing{Grade: f.Grade, National: f.National, Personal: f.Personal, Category: f.Category})
	}
	if len(parts) > 0 && out.Rows > 0 {
		whole := classify.Strictest(parts...)
		out.Standing = &whole
	}
	return a.show(out, func(w io.Writer) { printClassified(w, out) })
}

// hideHeaders puts the number of the field where a header looks like a value, and refuses a file whose first line is of data.
func hideHeaders(name string, columns []classify.ColumnFinding) error {
	sc, data := classify.NewScanner(), 0
	for i := range columns {
		hide, own := sc.Header(columns[i].Column, columns[i].Finding)
		if hide {
			columns[i].Column = fmt.Sprintf("field %d", i+1)
		}
		if own {
			data++
		}
	}
	if data >= 2 {
		return &sandbox.Error{Op: "classify", Kind: sandbox.Invalid, Object: name + " line 1", Detail: fmt.Sprintf("line 1 looks like data: %d of its cells have the kind of their own column", data),
			Hint: "put a line with the names of the columns before it"}
	}
	return nil
}

func printClassified(w io.Writer, c classified) {
	table := [][]string{{"column 字段", "finding 识别", "share 占比", "sure 置信度", "sample 抽样", "grade 级别", "category 类别", "personal 个人", "sensitive 敏感类型"}}
	for _, f := range c.Columns {
		line := []string{f.Column, string(f.Finding) + " " + f.Finding.Term(), fmt.Sprintf("%.1f%%", 100*f.Share), fmt.Sprintf("%d%%", f.Confidence), fmt.Sprint(f.Sampled), f.Grade.String(), string(f.Category), "", f.Sensitive.Term()}
		if f.Finding == classify.None {
			line[1], line[2], line[3], line[5], line[6] = "–", "–", "–", "–", "–"
		}
		if f.Personal {
			line[7] = "yes 是"
		}
		table = append(table, line)
	}
	width := make([]int, len(table[0]))
	for _, line := range table {
		for i, s := range line {
			width[i] = max(width[i], columns(s))
		}
	}
	for _, line := range table {
		var b strings.Builder
		for i, s := range line {
			b.WriteString(s + strings.Repeat(" ", width[i]-columns(s)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	grade := "not judged 未判定"
	switch {
	case c.Rows == 0:
		grade += ": no rows"
	case c.Standing == nil:
	default:
		grade = fmt.Sprintf("grade %s (就高从严), national 国家级别 %s", c.Standing.Grade, c.Standing.National)
		if c.Standing.Personal {
			grade += ", personal data 含个人信息"
		}
	}
	if c.Unjudged > 0 {
		grade += fmt.Sprintf("; not judged 未判定: %d of %d columns without a finding", c.Unjudged, len(c.Columns))
	}
	fmt.Fprintf(w, "%s: %d rows; table 整表 %s; rules 规则版本 %s; proposals, a person confirms 须人工确认\n", c.File, c.Rows, grade, c.Rules)
}

// selftest measures the detectors on 3,500 columns and 5,000 notes.
func (a *app) selftest(seed uint64) error {
	g := trapset.New(seed)
	var drawn []trapset.Column
	for range 9 {
		drawn = append(drawn, g.Columns(200)...)
	}
	r := trapset.Measure(drawn, g.Notes(5000))
	return a.show(r, func(w io.Writer) { r.Print(w) })
}
