package child

import (
	"archive/zip"
	"bytes"
	"fmt"
	"math"
	"strings"
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
	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
)

// parsed is what a host would have of a file: a rule stands as "!" and its text.
type parsed struct {
	header []string
	rows   []string // fields joined by "|"
	number []int64
	fault  *wire.Fault
}

func (p parsed) String() string {
	s := strings.Join(append([]string{strings.Join(p.header, "|")}, p.rows...), "\n")
	if p.fault != nil {
		s += fmt.Sprintf("\nfault %q row %d field %d", p.fault.Rule.Text(), p.fault.Row, p.fault.Field)
	}
	return s
}

// failer is a test or a property.
type failer interface {
	Helper()
	Fatal(...any)
}

// parse plays the host without a jail: these tests make their own files.
func parse(t failer, f wire.Format, data []byte, sheet string) (p parsed) {
	t.Helper()
	table, first := open(data, wire.Open{Format: f, Memory: 256 << 20, Sheet: sheet})
	a, err := wire.Decode(first, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p.fault = a.Fault; p.fault != nil {
		return p
	}
	p.header = a.Header
	fields, rules := make([]string, len(a.Header)), make([]wire.Rule, len(a.Header))
	for {
		if a, err = wire.Decode(table.next(), len(p.header)); err != nil {
			t.Fatal(err)
		}
		if a.End || a.Fault != nil {
			p.fault = a.Fault
			return p
		}
		for {
			number, ok, err := a.Rows.Next(fields, rules)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			line := make([]string, len(fields))
			for i := range fields {
				if line[i] = fields[i]; rules[i] != 0 {
					line[i] = "!" + rules[i].Text()
				}
			}
			p.rows, p.number = append(p.rows, strings.Join(line, "|")), append(p.number, number)
		}
	}
}

func (p parsed) want(t *testing.T, want string) {
	t.Helper()
	if got := p.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func faulty(t *testing.T, f wire.Format, data []byte, rule wire.Rule) {
	t.Helper()
	p := parse(t, f, data, "")
	if p.fault == nil || p.fault.Rule != rule {
		t.Errorf("got %v, wanted the fault %q", p, rule.Text())
	}
}

// workbook writes one with excelize.
func bookOf(t testing.TB, fill func(f *excelize.File)) []byte {
	t.Helper()
	f := excelize.NewFile()
	defer f.Close()
	fill(f)
	b, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCells reads every kind of cell that the second opinion writes.
func TestCells(t *testing.T) {
	b := bookOf(t, func(f *excelize.File) {
		set := func(cell string, v any) { ok(t, f.SetCellValue("Sheet1", cell, v)) }
		for i, h := range []string{"文本", "number", "bool", "day", "moment", "clock", "formula", "rich"} {
			set(fmt.Sprintf("%c2", 'A'+i), h) // row 1 has no cell
		}
		style := func(id int, custom string) int {
			s := &excelize.Style{NumFmt: id}
			if custom != "" {
				s = &excelize.Style{CustomNumFmt: &custom}
			}
			n, err := f.NewStyle(s)
			ok(t, err)
			return n
		}
		set("A3", "=1+1 &<") // a text, not a formula
		set("B3", 49112.870000000003)
		set("C3", true)
		set("D3", 45351)
		ok(t, f.SetCellStyle("Sheet1", "D3", "D3", style(14, "")))
		set("E3", 45351.75)
		ok(t, f.SetCellStyle("Sheet1", "E3", "E3", style(0, `yyyy"年"m"月"d"日" hh:mm`)))
		set("F3", 0.5)
		ok(t, f.SetCellStyle("Sheet1", "F3", "F3", style(20, "")))
		ok(t, f.SetCellFormula("Sheet1", "G3", "1/0"))
		ok(t, f.SetCellRichText("Sheet1", "H3", []excelize.RichTextRun{{Text: "一"}, {Text: "二 "}}))
		// a sparse row far below
		set("B9", 0.1+0.2)
		set("A9", 440304199001011234.0)
		set("D9", 60)
		ok(t, f.SetCellStyle("Sheet1", "D9", "D9", style(14, "")))
		set("F9", 30.5)
		ok(t, f.SetCellStyle("Sheet1", "F9", "F9", style(0, "[h]:mm")))
		set("E9", -1)
		ok(t, f.SetCellStyle("Sheet1", "E9", "E9", style(22, "")))
		set("B10", math.Copysign(0, -1))
		set("B11", 1e-7)
	})
	p := parse(t, wire.XLSX, b, "")
	p.want(t, strings.Join([]string{"文本|number|bool|day|moment|clock|formula|rich",
		"=1+1 &<|49112.87|true|2024-02-29|2024-02-29 18:00:00|12:00:00|!" + wire.Formula.Text() + "|一二 ",
		"!" + wire.Digits.Text() + "|0.3||!" + wire.NoDay.Text() + "|!" + wire.NoDay.Text() + "|!" + wire.Span.Text() + "||",
		"|0||||||", "|0.0000001||||||"}, "\n"))
	if fmt.Sprint(p.number) != "[3 9 10 11]" {
		t.Errorf("rows %v", p.number)
	}
}

// TestDateSystems: the same day has another number in each system, and the library writes both.
func TestDateSystems(t *testing.T) {
	for _, from04 := range []bool{false, true} {
		for _, day := range []string{"1900-01-01", "1900-02-28", "1900-03-01", "1904-01-01", "1904-01-02", "1970-01-01", "2024-02-29", "9999-12-31"} {
			at, err := time.Parse("2006-01-02", day)
			ok(t, err)
			if from04 && at.Year() < 1904 {
				continue
			}
			// From the definition: 1900-01-01 is 1, and a day that never was stands before 1900-03-01; 1904-01-01 is 0.
			n := int((at.Unix() - time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC).Unix()) / 86400)
			if n >= 60 {
				n++
			}
			if from04 {
				n = int((at.Unix() - time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) / 86400)
			}
			b := bookOf(t, func(f *excelize.File) {
				ok(t, f.SetWorkbookProps(&excelize.WorkbookPropsOptions{Date1904: &from04}))
				ok(t, f.SetCellValue("Sheet1", "A1", "day"))
				ok(t, f.SetCellValue("Sheet1", "A2", n))
				s, err := f.NewStyle(&excelize.Style{NumFmt: 14})
				ok(t, err)
				ok(t, f.SetCellStyle("Sheet1", "A2", "A2", s))
			})
			parse(t, wire.XLSX, b, "").want(t, "day\n"+day)
		}
	}
}

// TestWorkbooksAgainstExcelize draws tables, and compares with what the other reader makes of the same workbook.
func TestWorkbooksAgainstExcelize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 6).Draw(t, "width")
		f := excelize.NewFile()
		defer f.Close()
		sheet := rapid.SampledFrom([]string{"Sheet1", "理赔 2024", "a&b"}).Draw(t, "sheet")
		if sheet != "Sheet1" {
			if _, err := f.NewSheet(sheet); err != nil {
				t.Fatal(err)
			}
		}
		stream, err := f.NewStreamWriter(sheet)
		if err != nil {
			t.Fatal(err)
		}
		text := rapid.StringMatching(`[ -~一-龥]{1,12}`)
		want := ""
		for r := range rapid.IntRange(1, 8).Draw(t, "rows") {
			cells, line := make([]any, width), make([]string, width)
			for i := range cells {
				if r == 0 {
					cells[i], line[i] = fmt.Sprintf("h%d", i), fmt.Sprintf("h%d", i)
					continue
				}
				switch rapid.IntRange(0, 3).Draw(t, "kind") {
				case 0:
					v := text.Draw(t, "text")
					cells[i], line[i] = v, v
				case 1:
					v := rapid.Int64Range(-1e12, 1e12).Draw(t, "int")
					cells[i], line[i] = v, fmt.Sprint(v)
				case 2:
					v := rapid.Bool().Draw(t, "bool")
					cells[i], line[i] = v, fmt.Sprint(v)
				}
			}
			if err := stream.SetRow(fmt.Sprintf("A%d", r+1), cells); err != nil {
				t.Fatal(err)
			}
			if joined := strings.Join(line, "|"); strings.Trim(joined, "|") != "" {
				want += "\n" + joined
			}
		}
		if err := stream.Flush(); err != nil {
			t.Fatal(err)
		}
		b, err := f.WriteToBuffer()
		if err != nil {
			t.Fatal(err)
		}
		got := parse(t, wire.XLSX, b.Bytes(), sheet).String()
		if "\n"+got != want {
			t.Fatalf("got\n%s\nwant%s", got, want)
		}
		// The other reader's raw values: 1 and 0 for truth, blank rows and cells cut at the end.
		other, err := excelize.OpenReader(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		raw, err := other.GetRows(sheet, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		second := ""
		for _, r := range raw {
			if len(r) > 0 {
				second += "\n" + strings.Join(r, "|") + strings.Repeat("|", width-len(r))
			}
		}
		if strings.NewReplacer("true", "1", "false", "0").Replace(want) != strings.NewReplacer("TRUE", "1", "FALSE", "0", "true", "1", "false", "0").Replace(second) {
			t.Fatalf("the other reader has\n%s\nwant%s", second, want)
		}
	})
}

// archive makes a workbook part by part; an empty part is left out.
func archive(t testing.TB, parts map[string]string) []byte {
	t.Helper()
	all := map[string]string{
		"_rels/.rels":                `<Relationships xmlns="r"><Relationship Id="r1" Type="x/officeDocument" Target="xl/workbook.xml"/></Relationships>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="r1" Type="x/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`,
		"xl/workbook.xml":            `<workbook xmlns:r="r"><sheets><sheet name="one" sheetId="1" r:id="r1"/></sheets></workbook>`,
		"xl/worksheets/sheet1.xml":   sheetXML(`<row r="1"><c r="A1" t="str"><v>h</v></c></row><row r="2"><c r="A2"><v>1</v></c></row>`),
	}
	for name, text := range parts {
		all[name] = text
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range all {
		if text == "" {
			continue
		}
		w, err := z.Create(name)
		ok(t, err)
		_, err = w.Write([]byte(text))
		ok(t, err)
	}
	ok(t, z.Close())
	return b.Bytes()
}

func sheetXML(rows string) string {
	return `<worksheet><sheetData>` + rows + `</sheetData></worksheet>`
}

func sheetOf(t testing.TB, rows string) []byte {
	return archive(t, map[string]string{"xl/worksheets/sheet1.xml": sheetXML(rows)})
}

// TestHostileWorkbooks: each is refused by its rule, and a bad value is one field's.
func TestHostileWorkbooks(t *testing.T) {
	const head = `<row r="1"><c r="A1" t="str"><v>h</v></c><c r="B1" t="str"><v>i</v></c></row>`
	whole := archive(t, nil)
	parse(t, wire.XLSX, whole, "").want(t, "h\n1")
	parse(t, wire.XLSX, whole, "one").want(t, "h\n1")
	if p := parse(t, wire.XLSX, whole, "two"); p.fault == nil || p.fault.Rule != wire.NoSheet {
		t.Errorf("another sheet: %v", p)
	}
	parts := func(name, text string) []byte { return archive(t, map[string]string{name: text}) }
	many := map[string]string{}
	for i := range maxParts {
		many[fmt.Sprint("x/", i)] = "x"
	}
	var twice bytes.Buffer
	z := zip.NewWriter(&twice)
	for range 2 {
		_, err := z.Create("xl/workbook.xml")
		ok(t, err)
	}
	ok(t, z.Close())
	for name, c := range map[string]struct {
		data []byte
		rule wire.Rule
	}{
		"empty file":         {nil, wire.Truncated},
		"no archive":         {[]byte("a,b\n1,2\n"), wire.Truncated},
		"old workbook":       {[]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), wire.Encrypted},
		"macros":             {parts("xl/vbaProject.bin", "x"), wire.Macros},
		"parts":              {archive(t, many), wire.Parts},
		"the same part":      {twice.Bytes(), wire.Malformed},
		"no workbook":        {parts("xl/workbook.xml", ""), wire.Truncated},
		"no sheet":           {parts("xl/worksheets/sheet1.xml", ""), wire.Truncated},
		"external sheet":     {parts("xl/_rels/workbook.xml.rels", `<Relationships><Relationship Id="r1" Type="x/worksheet" TargetMode="External" Target="file:///etc/passwd"/></Relationships>`), wire.NoSheet},
		"path upwards":       {parts("xl/_rels/workbook.xml.rels", `<Relationships><Relationship Id="r1" Type="x/worksheet" Target="../../../etc/passwd"/></Relationships>`), wire.Truncated},
		"hidden sheet":       {parts("xl/workbook.xml", `<workbook xmlns:r="r"><sheets><sheet name="one" state="veryHidden" r:id="r1"/></sheets></workbook>`), wire.NoSheet},
		"bomb of spaces":     {parts("xl/worksheets/sheet1.xml", sheetXML(`<row r="1"><c r="A1" t="str"><v>`+strings.Repeat(" ", 32<<20)+`</v></c></row>`)), wire.Expands},
		"bomb of strings":    {parts("xl/workbook.xml", `<workbook>`+strings.Repeat(`<a b="`+strings.Repeat("x", 1<<20)+`"/>`, 20)+`</workbook>`), wire.Expands},
		"deep":               {parts("xl/worksheets/sheet1.xml", strings.Repeat("<a>", 100_000)+strings.Repeat("</a>", 100_000)), wire.Nesting},
		"document type":      {parts("xl/worksheets/sheet1.xml", `<!DOCTYPE a [<!ENTITY b "c">]>`+sheetXML(head)), wire.Malformed},
		"unknown entity":     {sheetOf(t, `<row r="1"><c r="A1" t="str"><v>&b;</v></c></row>`), wire.Malformed},
		"broken sheet":       {parts("xl/worksheets/sheet1.xml", `<worksheet><sheetData>`+head+`<row r="2"><c r="A2"><v>1</v></c></row>`), wire.Truncated},
		"broken behind":      {parts("xl/worksheets/sheet1.xml", `<worksheet><sheetData>`+head+`</sheetData>`), wire.Truncated},
		"tags crossed":       {parts("xl/worksheets/sheet1.xml", `<worksheet><sheetData>`+head+`</worksheet></sheetData>`), wire.Malformed},
		"no rows":            {sheetOf(t, ""), wire.NoHeader},
		"no cells":           {sheetOf(t, `<row r="1"><c r="A1"/></row>`), wire.NoHeader},
		"rows back":          {sheetOf(t, head+`<row r="5"><c r="A5"><v>1</v></c></row><row r="4"><c r="A4"><v>1</v></c></row>`), wire.Malformed},
		"cell of a row":      {sheetOf(t, head+`<row r="2"><c r="A3"><v>1</v></c></row>`), wire.Malformed},
		"column off":         {sheetOf(t, head+`<row r="2"><c r="ZZZ2"><v>1</v></c></row>`), wire.Malformed},
		"column far":         {sheetOf(t, head+`<row r="2"><c r="XFD2"><v>1</v></c></row>`), wire.Width},
		"beyond the header":  {sheetOf(t, head+`<row r="2"><c r="C2"><v>1</v></c></row>`), wire.Beyond},
		"header of an error": {sheetOf(t, `<row r="1"><c r="A1" t="e"><v>#REF!</v></c></row>`), wire.CellError},
	} {
		t.Run(name, func(t *testing.T) { faulty(t, wire.XLSX, c.data, c.rule) })
	}
	for cell, want := range map[string]string{
		`<c r="A2" t="e"><v>#DIV/0!</v></c>`:                   "!" + wire.CellError.Text(),
		`<c r="A2"><f>B1</f></c>`:                              "!" + wire.Formula.Text(),
		`<c r="A2"><f>B1</f><v>7</v></c>`:                      "7",
		`<c r="A2" t="str"><f>B1</f><v>text</v></c>`:           "text",
		`<c r="A2" t="s"><v>0</v></c>`:                         "!" + wire.BadCell.Text(),
		`<c r="A2" t="s"><v>-1</v></c>`:                        "!" + wire.BadCell.Text(),
		`<c r="A2" t="b"><v>2</v></c>`:                         "!" + wire.BadCell.Text(),
		`<c r="A2" t="q"><v>2</v></c>`:                         "!" + wire.Kind.Text(),
		`<c r="A2"><v>NaN</v></c>`:                             "!" + wire.BadCell.Text(),
		`<c r="A2"><v>1e999</v></c>`:                           "!" + wire.BadCell.Text(),
		`<c r="A2"><v>0x10</v></c>`:                            "!" + wire.BadCell.Text(),
		`<c r="A2"><v>1E2</v></c>`:                             "100",
		`<c r="A2" s="x"><v>1</v></c>`:                         "!" + wire.BadCell.Text(),
		`<c r="A2" t="d"><v>2024-02-29T00:00:00</v></c>`:       "2024-02-29T00:00:00",
		`<c r="A2"><v>1</v></c><c r="A2"><v>2</v></c>`:         "!" + wire.Repeated.Text(),
		`<c r="A2" t="inlineStr"><is><t>a_x4E00_</t></is></c>`: "a一",
		`<c r="A2" t="inlineStr"><is><r><t>a</t></r><rPh><t>b</t></rPh><r><t>c</t></r></is></c>`: "ac",
	} {
		parse(t, wire.XLSX, sheetOf(t, head+`<row r="2">`+cell+`</row>`), "").want(t, "h|i\n"+want+"|")
	}
}

// TestFormats: which codes of numbers show a date.
func TestFormats(t *testing.T) {
	for code, want := range map[string]timeKind{
		"General": plain, "0.00": plain, `#,##0;[Red]-#,##0`: plain, `"year "0`: plain, `\d0`: plain, "yyyy-mm-dd": day, "m/d/yy h:mm": day, "mmm": day,
		`[$-804]yyyy"年"m"月"`: day, "h:mm AM/PM": clock, "mm:ss.0": clock, "[h]:mm:ss": elapsed, "[mm]:ss": elapsed, `0;"d"`: plain, `"`: plain, "[": plain,
	} {
		if got := kindOf(code); got != want {
			t.Errorf("%s: %d, wanted %d", code, got, want)
		}
	}
}

// columnsOf makes a record of every type that is read, and of some that are not.
func columnsOf(mem memory.Allocator) arrow.Record {
	ts := func(u arrow.TimeUnit, zone string) arrow.DataType {
		return &arrow.TimestampType{Unit: u, TimeZone: zone}
	}
	s := arrow.NewSchema([]arrow.Field{
		{Name: "文本", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "i8", Type: arrow.PrimitiveTypes.Int8, Nullable: true},
		{Name: "u32", Type: arrow.PrimitiveTypes.Uint32, Nullable: true},
		{Name: "u64", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
		{Name: "i64", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "f32", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "f64", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "money", Type: &arrow.Decimal128Type{Precision: 20, Scale: 2}, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "moment", Type: ts(arrow.Microsecond, ""), Nullable: true},
		{Name: "clock", Type: arrow.FixedWidthTypes.Time32ms, Nullable: true},
		{Name: "open", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "instant", Type: ts(arrow.Millisecond, "UTC"), Nullable: true},
		{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "last", Type: arrow.BinaryTypes.String, Nullable: false},
	}, nil)
	b := array.NewRecordBuilder(mem, s)
	defer b.Release()
	at := func(v string) time.Time { x, _ := time.Parse("2006-01-02 15:04:05.999999", v); return x }
	add := func(i int, null bool) {
		if null {
			for _, f := range b.Fields()[:s.NumFields()-1] {
				f.AppendNull()
			}
			b.Field(s.NumFields() - 1).(*array.StringBuilder).Append("z")
			return
		}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("行%d", i))
		b.Field(1).(*array.Int8Builder).Append(-128)
		b.Field(2).(*array.Uint32Builder).Append(math.MaxUint32)
		b.Field(3).(*array.Uint64Builder).Append(math.MaxUint64)
		b.Field(4).(*array.Int64Builder).Append(math.MinInt64)
		b.Field(5).(*array.Float32Builder).Append(0.1)
		b.Field(6).(*array.Float64Builder).Append([]float64{1e21, math.NaN(), math.Inf(-1), math.Copysign(0, -1)}[i%4])
		b.Field(7).(*array.Decimal128Builder).Append(decimal128.FromI64(-1205))
		b.Field(8).(*array.Date32Builder).Append(arrow.Date32FromTime(at("1969-12-31 00:00:00")))
		b.Field(9).(*array.TimestampBuilder).Append(arrow.Timestamp(at("1969-12-31 23:59:59.5").UnixMicro()))
		b.Field(10).(*array.Time32Builder).Append(3661500)
		b.Field(11).(*array.BooleanBuilder).Append(true)
		b.Field(12).(*array.TimestampBuilder).Append(1)
		b.Field(13).(*array.BinaryBuilder).Append([]byte{1})
		l := b.Field(14).(*array.ListBuilder)
		l.Append(true)
		for range i % 3 {
			l.ValueBuilder().(*array.Int64Builder).Append(1)
		}
		b.Field(15).(*array.StringBuilder).Append("z")
	}
	for i := range 3 {
		add(i, false)
		add(i, true)
	}
	return b.NewRecord()
}

func wantColumns() string {
	out := "文本|i8|u32|u64|i64|f32|f64|money|day|moment|clock|open|instant|bytes|list|last"
	refused := "|!" + wire.Instant.Text() + "|!" + wire.Binary.Text() + "|!" + wire.Composite.Text() + "|z"
	for i, f := range []string{"1000000000000000000000", "!" + wire.NotFinite.Text(), "!" + wire.NotFinite.Text()} {
		out += fmt.Sprintf("\n行%d|-128|4294967295|18446744073709551615|-9223372036854775808|0.1|%s|-12.05|1969-12-31|1969-12-31 23:59:59.5|%s|true", i, f, "01:01:01.5") + refused
		out += "\n|||||||||||" + refused
	}
	return out
}

func parquetOf(t testing.TB, rec arrow.Record, props *parquet.WriterProperties) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &b, props, pqarrow.NewArrowWriterProperties())
	ok(t, err)
	for i := int64(0); i < rec.NumRows(); i += 2 { // row groups of two
		part := rec.NewSlice(i, min(i+2, rec.NumRows()))
		ok(t, w.Write(part))
		part.Release()
	}
	ok(t, w.Close())
	return b.Bytes()
}

// TestColumns reads every type as Parquet, in every encoding the writer has, and as Arrow IPC.
func TestColumns(t *testing.T) {
	rec := columnsOf(memory.NewGoAllocator())
	defer rec.Release()
	for name, p := range map[string]*parquet.WriterProperties{
		"plain":        parquet.NewWriterProperties(parquet.WithDictionaryDefault(false)),
		"dictionary":   parquet.NewWriterProperties(parquet.WithDictionaryDefault(true)),
		"snappy":       parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy)),
		"zstd":         parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd)),
		"gzip":         parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Gzip)),
		"pages of two": parquet.NewWriterProperties(parquet.WithDataPageVersion(parquet.DataPageV2)),
	} {
		t.Run(name, func(t *testing.T) { parse(t, wire.Parquet, parquetOf(t, rec, p), "").want(t, wantColumns()) })
	}
	for name, b := range map[string][]byte{"stream": ipcStream(t, rec), "file": ipcFile(t, rec), "compressed": ipcStream(t, rec, ipc.WithLZ4())} {
		t.Run("ipc "+name, func(t *testing.T) { parse(t, wire.Arrow, b, "").want(t, wantColumns()) })
	}
}

// TestManyPages: rows of columns whose pages end at different places stay together.
func TestManyPages(t *testing.T) {
	s := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), s)
	defer b.Release()
	var want strings.Builder
	want.WriteString("n|s")
	for i := range 20_000 {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		text := strings.Repeat("x", i%97)
		if i%5 == 0 {
			b.Field(1).AppendNull()
			text = ""
		} else {
			b.Field(1).(*array.StringBuilder).Append(text)
		}
		fmt.Fprintf(&want, "\n%d|%s", i, text)
	}
	rec := b.NewRecord()
	defer rec.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(s, &out, parquet.NewWriterProperties(parquet.WithDataPageSize(3000), parquet.WithMaxRowGroupLength(7001)), pqarrow.NewArrowWriterProperties())
	ok(t, err)
	ok(t, w.WriteBuffered(rec))
	ok(t, w.Close())
	if got := parse(t, wire.Parquet, out.Bytes(), "").String(); got != want.String() {
		t.Error("rows differ")
	}
}

func ipcStream(t testing.TB, rec arrow.Record, o ...ipc.Option) []byte {
	t.Helper()
	var b bytes.Buffer
	w := ipc.NewWriter(&b, append(o, ipc.WithSchema(rec.Schema()))...)
	ok(t, w.Write(rec))
	ok(t, w.Close())
	return b.Bytes()
}

// seekable lets a file be written to memory.
type seekable struct{ bytes.Buffer }

func (s *seekable) Seek(int64, int) (int64, error) { return int64(s.Len()), nil }

func ipcFile(t testing.TB, rec arrow.Record) []byte {
	t.Helper()
	var b seekable
	w, err := ipc.NewFileWriter(&b, ipc.WithSchema(rec.Schema()))
	ok(t, err)
	ok(t, w.Write(rec))
	ok(t, w.Close())
	return b.Bytes()
}

// TestDictionaries: codes of text are the text.
func TestDictionaries(t *testing.T) {
	b := array.NewDictionaryBuilder(memory.NewGoAllocator(), &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	for _, s := range []string{"男", "女", "男"} {
		ok(t, b.AppendString(s))
	}
	b.AppendNull()
	a := b.NewArray()
	defer a.Release()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "sex", Type: a.DataType(), Nullable: true}}, nil), []arrow.Array{a}, 4)
	defer rec.Release()
	for _, data := range [][]byte{ipcStream(t, rec), ipcFile(t, rec)} {
		parse(t, wire.Arrow, data, "").want(t, "sex\n男\n女\n男\n")
	}
}

// TestCut: a file that is cut anywhere is refused, and never taken for a shorter one.
func TestCut(t *testing.T) {
	rec := columnsOf(memory.NewGoAllocator())
	defer rec.Release()
	book := bookOf(t, func(f *excelize.File) {
		ok(t, f.SetCellValue("Sheet1", "A1", "h"))
		for i := range 50 {
			ok(t, f.SetCellValue("Sheet1", fmt.Sprintf("A%d", i+2), fmt.Sprint("text ", i)))
		}
	})
	for name, c := range map[string]struct {
		format wire.Format
		data   []byte
	}{"xlsx": {wire.XLSX, book}, "parquet": {wire.Parquet, parquetOf(t, rec, nil)}, "stream": {wire.Arrow, ipcStream(t, rec)}, "file": {wire.Arrow, ipcFile(t, rec)}} {
		t.Run(name, func(t *testing.T) {
			if p := parse(t, c.format, c.data, ""); p.fault != nil {
				t.Fatal(p.fault)
			}
			for n := 0; n < len(c.data); n += 1 + len(c.data)/400 {
				if p := parse(t, c.format, c.data[:n], ""); p.fault == nil {
					t.Fatalf("the first %d of %d bytes are taken for a file", n, len(c.data))
				}
			}
		})
	}
}

// TestLengths: a header that claims more than there is ends in a fault, before anything of that size is made.
func TestLengths(t *testing.T) {
	rec := columnsOf(memory.NewGoAllocator())
	defer rec.Release()
	b := ipcStream(t, rec)
	// The body's length of the record batch stands in its metadata; no other number of the file equals it.
	body := bodyLength(t, b)
	for _, claim := range []uint64{1 << 37, 1 << 62, math.MaxUint64, uint64(body) + 8} {
		c := bytes.Clone(b)
		at := bytes.LastIndex(c, le(uint64(body)))
		copy(c[at:], le(claim))
		faulty(t, wire.Arrow, c, wire.Truncated)
	}
	faulty(t, wire.Arrow, append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, b...), wire.Truncated)
	faulty(t, wire.Arrow, b[:len(b)-8], wire.Truncated) // without its mark of the end
	faulty(t, wire.XLSX, openedPastItsEnd(t), wire.Truncated)
	faulty(t, wire.Parquet, []byte("PAR1PAR1PAR1"), wire.Malformed)
	faulty(t, wire.Parquet, []byte("PAR1\x00\x00\x00\x00\xff\xff\xff\x7fPAR1"), wire.Malformed)
	faulty(t, wire.Parquet, []byte("PAR1aaaaaaaaPARE"), wire.Encrypted)
}

// openedPastItsEnd gives a workbook whose directory says that the sheet begins where the archive has ended: opening the part meets the end,
// which is not the end of a table.
func openedPastItsEnd(t *testing.T) []byte {
	b := archive(t, nil)
	name := []byte("xl/worksheets/sheet1.xml")
	at := bytes.LastIndex(b, name) - 4 // the place of the part stands before its name in the directory
	copy(b[at:], le(uint64(len(b) - 10))[:4])
	return b
}

// TestClaims: what a header of Arrow claims is looked at before the library makes room for it.
func TestClaims(t *testing.T) {
	const room = 32 << 20
	type offset = flatbuffers.UOffsetT
	vector := func(b *flatbuffers.Builder, of ...offset) offset {
		b.StartVector(4, len(of), 4)
		for _, o := range of {
			b.PrependUOffsetT(o)
		}
		return b.EndVector(len(of))
	}
	field := func(b *flatbuffers.Builder, name, children, texts offset) offset {
		b.StartObject(7)
		b.PrependUOffsetTSlot(0, name, 0)
		b.PrependUOffsetTSlot(5, children, 0)
		b.PrependUOffsetTSlot(6, texts, 0)
		return b.EndObject()
	}
	message := func(kind byte, header func(b *flatbuffers.Builder) offset) []byte {
		b := flatbuffers.NewBuilder(0)
		h := header(b)
		b.StartObject(5)
		b.PrependByteSlot(1, kind, 0)
		b.PrependUOffsetTSlot(2, h, 0)
		b.Finish(b.EndObject())
		return b.FinishedBytes()
	}
	schema := func(fields func(b *flatbuffers.Builder) []offset) []byte {
		return message(kindSchema, func(b *flatbuffers.Builder) offset {
			v := vector(b, fields(b)...)
			b.StartObject(4)
			b.PrependUOffsetTSlot(1, v, 0)
			return b.EndObject()
		})
	}
	batch := func(views ...int64) func(b *flatbuffers.Builder) offset {
		return func(b *flatbuffers.Builder) offset {
			b.StartVector(8, len(views), 8)
			for _, v := range views {
				b.PrependInt64(v)
			}
			v := b.EndVector(len(views))
			b.StartVector(16, 3, 8)
			for range 6 {
				b.PrependInt64(0)
			}
			buffers := b.EndVector(3)
			b.StartObject(5)
			b.PrependUOffsetTSlot(2, buffers, 0)
			b.PrependUOffsetTSlot(4, v, 0)
			return b.EndObject()
		}
	}
	texts := func(b *flatbuffers.Builder, n int, text string) offset {
		shared := b.CreateString(text)
		b.StartObject(2)
		b.PrependUOffsetTSlot(0, shared, 0)
		b.PrependUOffsetTSlot(1, shared, 0)
		one := b.EndObject()
		all := make([]offset, n)
		for i := range all {
			all[i] = one
		}
		return vector(b, all...)
	}
	nested := func(levels, children int) []byte {
		return schema(func(b *flatbuffers.Builder) []offset {
			at := field(b, b.CreateString("x"), 0, 0)
			for range levels {
				all := make([]offset, children)
				for i := range all {
					all[i] = at
				}
				at = field(b, 0, vector(b, all...), 0)
			}
			return []offset{at}
		})
	}
	for name, c := range map[string]struct {
		header []byte
		rule   wire.Rule // 0: it passes
		views  int       // columns of views in the schema
	}{
		"two fields": {schema(func(b *flatbuffers.Builder) []offset {
			return []offset{field(b, b.CreateString("a"), 0, texts(b, 2, "word")), field(b, b.CreateString("b"), 0, 0)}
		}), 0, 0},
		"as deep as read":          {nested(maxFieldDepth, 1), 0, 0},
		"too deep":                 {nested(maxFieldDepth+1, 1), wire.Nesting, 0},
		"one field in 2^40 places": {nested(40, 2), wire.Memory, 0},
		"a text in thousands of places": {schema(func(b *flatbuffers.Builder) []offset {
			return []offset{field(b, 0, 0, texts(b, 1000, strings.Repeat("x", 1<<15)))}
		}), wire.Memory, 0},
		"views":                 {message(kindRecord, batch(1, 2)), 0, 2},
		"2^40 buffers of views": {message(kindRecord, batch(1, 1<<40)), wire.Truncated, 0},
		"less than no buffers":  {message(kindRecord, batch(-2)), wire.Truncated, 0},
		"2^40 buffers of a dictionary": {message(kindDictionary, func(b *flatbuffers.Builder) offset {
			data := batch(1 << 40)(b)
			b.StartObject(3)
			b.PrependUOffsetTSlot(1, data, 0)
			return b.EndObject()
		}), wire.Truncated, 0},
		"fewer than there are columns": {message(kindRecord, batch(1)), wire.Truncated, 2},
		"none where there is a column": {message(kindRecord, batch()), wire.Truncated, 1},
		"nothing":                      {nil, wire.Malformed, 0},
		"a place outside it":           {[]byte{255, 255, 0, 0}, wire.Malformed, 0},
		"no header in a message":       {message(kindSchema, func(*flatbuffers.Builder) offset { return 0 }), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			switch fault := claims(c.header, room, &views{dictionaries: map[int64]*int{0: &c.views}, columns: c.views}); {
			case fault == nil && c.rule != 0:
				t.Errorf("passed, wanted %q", c.rule.Text())
			case fault != nil && fault.Rule != c.rule:
				t.Errorf("%q, wanted %q", fault.Rule.Text(), c.rule.Text())
			}
		})
	}

	// Whatever number is put for any vector's length of a real header, the library takes no more than was allowed, or is not asked.
	rec := columnsOf(memory.NewGoAllocator())
	defer rec.Release()
	b := ipcStream(t, rec)
	refused := 0
	for at := 8; at+4 <= 2048; at += 4 {
		c := bytes.Clone(b)
		copy(c[at:], []byte{0, 0, 0, 0x70})
		if p := parse(t, wire.Arrow, c, ""); p.fault != nil {
			refused++
		}
	}
	if refused < 100 {
		t.Errorf("%d of the numbers mattered", refused)
	}
}

// viewed is a record of two columns of views.
func viewed(t testing.TB) arrow.Record {
	t.Helper()
	view := array.NewStringViewBuilder(memory.NewGoAllocator())
	defer view.Release()
	view.Append("a text too long to stand in its view")
	col := view.NewArray()
	defer col.Release()
	f := arrow.Field{Name: "v", Type: arrow.BinaryTypes.StringView}
	return array.NewRecord(arrow.NewSchema([]arrow.Field{f, {Name: "w", Type: f.Type}}, nil), []arrow.Array{col, col}, 1)
}

// TestViewCounts: a batch that has fewer numbers of buffers than columns of views is refused: the library would read on behind their vector.
func TestViewCounts(t *testing.T) {
	rec := viewed(t)
	defer rec.Release()
	b := ipcStream(t, rec)
	parse(t, wire.Arrow, b, "").want(t, "v|w\na text too long to stand in its view|a text too long to stand in its view")
	counts := append(append([]byte{2, 0, 0, 0}, le(1)...), le(1)...)
	at := bytes.Index(b, counts)
	if at < 0 || bytes.Count(b, counts) != 1 {
		t.Fatal("the numbers are not found")
	}
	b[at] = 1
	copy(b[at+12:], le(1<<40))
	faulty(t, wire.Arrow, b, wire.Truncated)
}

func le(v uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	return b
}

func bodyLength(t *testing.T, b []byte) int64 {
	m := &messages{rest: b, room: 1 << 20}
	var last int64
	for {
		msg, err := m.Message()
		if err != nil {
			break
		}
		if n := msg.BodyLen(); n > 0 {
			last = n
		}
	}
	if last == 0 {
		t.Fatal("no body")
	}
	return last
}

// TestExpansion: a file may say 256 times its size and 256 MiB.
func TestExpansion(t *testing.T) {
	s := arrow.NewSchema([]arrow.Field{{Name: "s", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), s)
	defer b.Release()
	long := strings.Repeat("x", 1<<20)
	for range 300 {
		b.Field(0).(*array.StringBuilder).Append(long)
	}
	rec := b.NewRecord()
	defer rec.Release()
	data := parquetOf(t, rec, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd)))
	table, _ := open(data, wire.Open{Format: wire.Parquet, Memory: 1 << 30})
	rows := 0
	for {
		a, err := wire.Decode(table.next(), 1)
		ok(t, err)
		if a.Fault != nil {
			if a.Fault.Rule != wire.Expands || rows < 200 {
				t.Errorf("%v after %d rows", a.Fault, rows)
			}
			return
		}
		if a.End {
			t.Fatal("a bomb passed")
		}
		rows++
	}
}

// TestBudget: what Arrow is given is bounded, and past it the fault says so.
func TestBudget(t *testing.T) {
	s := arrow.NewSchema([]arrow.Field{{Name: "s", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), s)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(strings.Repeat("x", 64<<20))
	rec := b.NewRecord()
	defer rec.Release()
	data := parquetOf(t, rec, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithDictionaryDefault(false)))
	table, _ := open(data, wire.Open{Format: wire.Parquet, Memory: 64 << 20})
	a, err := wire.Decode(table.next(), 1)
	if err != nil || a.Fault == nil || a.Fault.Rule != wire.Memory {
		t.Errorf("%+v %v", a, err)
	}
}

// fuzz searches one format: no file panics, and what is said of it are frames. The library's readers run here without a jail, on small
// memory.
func fuzz(f *testing.F, format wire.Format, seeds ...[]byte) {
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		table, first := open(data, wire.Open{Format: format, Memory: 32 << 20})
		a, err := wire.Decode(first, 0)
		if err != nil {
			t.Fatal(err)
		}
		width := len(a.Header)
		for range 64 {
			if a.Fault != nil || a.End {
				return
			}
			if a, err = wire.Decode(table.next(), width); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzXLSX(f *testing.F) {
	fuzz(f, wire.XLSX, archive(f, nil), bookOf(f, func(x *excelize.File) { ok(f, x.SetCellValue("Sheet1", "A1", "h")) }))
}

func FuzzParquet(f *testing.F) {
	rec := columnsOf(memory.NewGoAllocator())
	defer rec.Release()
	fuzz(f, wire.Parquet, parquetOf(f, rec, nil), parquetOf(f, rec, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithDictionaryDefault(false))))
}

func FuzzArrow(f *testing.F) {
	rec := columnsOf(memory.NewGoAllocator())
	defer rec.Release()
	fuzz(f, wire.Arrow, ipcStream(f, rec), ipcFile(f, rec), ipcStream(f, rec, ipc.WithLZ4()), ipcStream(f, viewed(f)))
}
