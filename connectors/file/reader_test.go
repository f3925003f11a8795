package file

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/text/encoding/simplifiedchinese"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/connectortest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// render writes a table as a unit would, quoting only where needed.
func render(tab connectortest.Table, crlf bool) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = crlf
	w.Write(tab.Header)
	w.WriteAll(tab.Rows)
	return b.Bytes()
}

func TestContract(t *testing.T) {
	gb := func(b []byte) []byte {
		out, err := simplifiedchinese.GB18030.NewEncoder().Bytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, form := range map[string]struct {
		opts Options
		make func(connectortest.Table) []byte
	}{
		"utf-8":      {Options{Encoding: UTF8}, func(tab connectortest.Table) []byte { return render(tab, false) }},
		"utf-8 mark": {Options{}, func(tab connectortest.Table) []byte { return append(bytes.Clone(markUTF8), render(tab, false)...) }},
		"gb18030":    {Options{Encoding: GB18030}, func(tab connectortest.Table) []byte { return gb(render(tab, false)) }},
		"gb18030 mark, crlf": {Options{}, func(tab connectortest.Table) []byte {
			return append(bytes.Clone(markGB18030), gb(render(tab, true))...)
		}},
		"one byte at a time": {Options{Encoding: UTF8, BatchBytes: 4096, MaxRecord: 4096}, func(tab connectortest.Table) []byte { return render(tab, true) }},
	} {
		t.Run(name, func(t *testing.T) {
			connectortest.Run(t, func(ctx context.Context, mem memory.Allocator, tab connectortest.Table, rows int) (connectors.Source, error) {
				o := form.opts
				o.BatchRows = rows
				var in io.Reader = bytes.NewReader(form.make(tab))
				if o.MaxRecord != 0 {
					in = iotest.OneByteReader(in)
				}
				r, err := NewReader(ctx, mem, in, "table.csv", tab.Dataset, tab.Mapping, o)
				if err != nil {
					return nil, err
				}
				return r, nil
			})
		})
	}
}

func small() catalog.Dataset {
	return catalog.Dataset{ID: "ds-small", Unit: "u", Frequency: catalog.Once, Subject: "id", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "id", Type: catalog.Text, Grade: 3},
			{Name: "note", Type: catalog.Text, Grade: 1, Nullable: true},
			{Name: "fee", Type: catalog.Money, Grade: 1, Nullable: true},
		}}
}

func checked(t testing.TB) *memory.CheckedAllocator {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() {
		if n := mem.CurrentAlloc(); n != 0 {
			t.Errorf("%d bytes are held", n)
		}
	})
	return mem
}

// read gives the rows of a whole file, fields joined by "|", nulls as "∅".
func read(t testing.TB, d catalog.Dataset, m connectors.Mapping, o Options, in []byte) ([]string, error) {
	t.Helper()
	return readFrom(checked(t), bytes.NewReader(in), d, m, o)
}

func readFrom(mem memory.Allocator, in io.Reader, d catalog.Dataset, m connectors.Mapping, o Options) ([]string, error) {
	r, err := NewReader(context.Background(), mem, in, "t.csv", d, m, o)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return drain(r)
}

func drain(r connectors.Source) (rows []string, err error) {
	for {
		rec, err := r.Next(context.Background())
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		for i := range int(rec.NumRows()) {
			var fields []string
			for _, c := range rec.Columns() {
				s := "∅"
				switch c := c.(type) {
				case *array.String:
					if c.IsValid(i) {
						s = c.Value(i)
					}
				default:
					if c.IsValid(i) {
						s = c.ValueStr(i)
					}
				}
				fields = append(fields, s)
			}
			rows = append(rows, strings.Join(fields, "|"))
		}
		rec.Release()
	}
}

func TestForms(t *testing.T) {
	gb, _ := simplifiedchinese.GB18030.NewEncoder().String("id,note,fee\n甲,深圳市,1.5\n")
	for name, c := range map[string]struct {
		in   string
		m    connectors.Mapping
		o    Options
		want []string
	}{
		"quotes":         {in: "id,note,fee\n\"a,1\",\"say \"\"hi\"\"\",\"12.30\"\n", want: []string{`a,1|say "hi"|1230`}},
		"crlf":           {in: "id,note,fee\r\na,b,1\r\nc,,\r\n", want: []string{"a|b|100", "c|∅|∅"}},
		"line in field":  {in: "id,note,fee\na,\"x\r\ny\",1", want: []string{"a|x\ny|100"}},
		"no last break":  {in: "id,note,fee\na,b,1", want: []string{"a|b|100"}},
		"blank lines":    {in: "id,note,fee\n\na,b,1\n\n\n", want: []string{"a|b|100"}},
		"other order":    {in: "fee,x,note,id\n1,2,3,4\n", want: []string{"4|3|100"}},
		"tab":            {in: "id\tnote\tfee\na\tb,c\t1\n", o: Options{Comma: '\t'}, want: []string{"a|b,c|100"}},
		"quoted empty":   {in: "id,note,fee\na,\"\",\"\"\n", want: []string{"a|∅|∅"}},
		"detect accents": {in: "id,note,fee\na,V\xc3\xadctor493 Ram\xc3\xb3n Jos\xc3\xa9,1\n", want: []string{"a|Víctor493 Ramón José|100"}},
		"detect gb18030": {in: gb, want: []string{"甲|深圳市|150"}},
		"detect utf-8":   {in: "id,note,fee\n甲,深圳市,1.5\n", want: []string{"甲|深圳市|150"}},
		"round": {in: "id,note,fee\na,,49112.87100000001\nb,,-0.005\nc,,1.994999\nd,,12\ne,,-0.004\n",
			m:    connectors.Mapping{Columns: map[string]connectors.Field{"fee": {From: "fee", Round: true}}},
			want: []string{"a|∅|4911287", "b|∅|-1", "c|∅|199", "d|∅|1200", "e|∅|0"}},
	} {
		got, err := read(t, small(), c.m, c.o, []byte(c.in))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestFaultsNameThePlace: every kind of broken file, with the line, the column where there is one, and the rule.
func TestFaultsNameThePlace(t *testing.T) {
	const canary = "canary7719"
	for name, c := range map[string]struct {
		in          string
		o           Options
		kind        sandbox.Kind
		place, rule string
	}{
		"empty file":         {"", Options{}, sandbox.Invalid, "t.csv line 1", "the file is empty"},
		"only a mark":        {"\xef\xbb\xbf", Options{}, sandbox.Invalid, "t.csv line 1", "the file is empty"},
		"bare quote":         {"id,note,fee\na,b,1\nx,canary7719\"y,2\n", Options{}, sandbox.Invalid, "t.csv line 3", "quote inside a field"},
		"text after quote":   {"id,note,fee\na,\"canary7719\"x,1\n", Options{}, sandbox.Invalid, "t.csv line 2", "text after its closing quote"},
		"open quote":         {"id,note,fee\na,b,1\nc,\"canary7719,2\nd,e,3\n", Options{}, sandbox.Invalid, "t.csv line", "line 3, is not closed"},
		"short row":          {"id,note,fee\na,b,1\ncanary7719,b\n", Options{}, sandbox.Invalid, "t.csv line 3", "2 fields, the header 3"},
		"long row":           {"id,note,fee\na,b,1,canary7719\n", Options{}, sandbox.Invalid, "t.csv line 2", "4 fields, the header 3"},
		"NUL":                {"id,note,fee\na,canary7719\x00,1\n", Options{}, sandbox.Invalid, "t.csv line 2 column note", "NUL"},
		"control":            {"id,note,fee\na,canary7719\x1b,1\n", Options{}, sandbox.Invalid, "t.csv line 2 column note", "control character U+001B"},
		"carriage return":    {"id,note,fee\na,canary7719\rb,1\n", Options{}, sandbox.Invalid, "t.csv line 2 column note", "carriage return"},
		"old line ends":      {"id,note,fee\ra,canary7719,1\r", Options{}, sandbox.Invalid, "t.csv line 1", "carriage return"},
		"duplicate header":   {"id,note,fee,note\n", Options{}, sandbox.Invalid, "t.csv line 1", "field 4 repeats the header of field 2"},
		"no header line":     {"canary7719,canary7719,3\n", Options{}, sandbox.Invalid, "t.csv line 1", "field 2 repeats"},
		"missing header":     {"id,note\na,b\n", Options{}, sandbox.Invalid, "t.csv line 1 column fee", `no header "fee"`},
		"missing value":      {"id,note,fee\na,b,1\n,canary7719,2\n", Options{}, sandbox.Invalid, "t.csv line 3 column id", "missing"},
		"float noise":        {"id,note,fee\na,b,7719.87100000001\n", Options{}, sandbox.Invalid, "t.csv line 2 column fee", "at most 2 decimals; set \"round\""},
		"not a number":       {"id,note,fee\na,\"x\ny\",1\nb,\"x\ny\",canary7719\n", Options{}, sandbox.Invalid, "t.csv line 5 column fee", "digits"},
		"thousands":          {"id,note,fee\na,b,\"7,719.00\"\n", Options{}, sandbox.Invalid, "t.csv line 2 column fee", "digits"},
		"row too long":       {"id,note,fee\na,b,1\nc," + strings.Repeat("canary7719", 30) + ",2\n", Options{MaxRecord: 200}, sandbox.TooLarge, "t.csv line 3", "at most 200 bytes"},
		"quote never closed": {"id,note,fee\na,b,1\nc,\"" + strings.Repeat("canary7719\n", 2000), Options{MaxRecord: 200}, sandbox.TooLarge, "t.csv line 3", "at most 200 bytes"},
		"wrong utf-8":        {"id,note,fee\n甲乙丙,b,1\nc,canary7719\xff,2\n", Options{}, sandbox.Invalid, "t.csv line 3 column note", "not text in the file's encoding"},
		"gb read as utf-8":   {"id,note,fee\na,\xc9\xee\xdb\xda,1\n", Options{Encoding: UTF8}, sandbox.Invalid, "t.csv line 2 column note", "not text in the file's encoding"},
		"utf-8 read as gb":   {"id,note,fee\na,b,1\nc,中国银行,2\nd,深,3\n", Options{Encoding: GB18030}, sandbox.Invalid, "t.csv line 3 column note", "not text in the file's encoding"},
		"gb cut off":         {"id,note,fee\na,b,1\nc,d,\xc9", Options{Encoding: GB18030}, sandbox.Invalid, "t.csv line 3 column fee", "not text in the file's encoding"},
		"wrong gb":           {"id,note,fee\n\xc9\xee\xdb\xda,b,1\nc,canary7719\xff,2\n", Options{}, sandbox.Invalid, "t.csv line 3 column note", "not text in the file's encoding"},
		"lost character":     {"id,note,fee\na,\ufffd,1\n", Options{}, sandbox.Invalid, "t.csv line 2 column note", "lost a character"},
		"utf-16":             {"\xff\xfei\x00d\x00", Options{}, sandbox.Invalid, "t.csv line 1", "UTF-16"},
		"ambiguous":          {"id,note,fee\na,V\xc3\xadctor,1\n", Options{}, sandbox.Invalid, "t.csv line 2", "both as UTF-8 and as GB 18030"},
		"both everyday":      {"id,note,fee\na,主度,1\n", Options{}, sandbox.Invalid, "t.csv line 2", "both as UTF-8 and as GB 18030"},
		"unused column":      {"id,note,fee,more\na,b,1,canary7719\x00\n", Options{}, sandbox.Invalid, "t.csv line 2 column number 4", "NUL"},
		"encoding name":      {"id,note,fee\n", Options{Encoding: "latin-1"}, sandbox.Invalid, "t.csv", "utf-8, gb18030"},
		"delimiter":          {"id,note,fee\n", Options{Comma: '"'}, sandbox.Invalid, "options", "delimiter"},
		"bounds":             {"id,note,fee\n", Options{BatchBytes: 10}, sandbox.Invalid, "options", "at least one record"},
		"negative":           {"id,note,fee\n", Options{BatchRows: -1}, sandbox.Invalid, "options", "not negative"},
	} {
		_, err := read(t, small(), connectors.Mapping{}, c.o, []byte(c.in))
		var own *sandbox.Error
		if !errors.As(err, &own) || own.Kind != c.kind || !strings.HasPrefix(own.Object, c.place) || !strings.Contains(own.Detail, c.rule) {
			t.Errorf("%s: %v is not %s at %q with rule %q", name, err, c.kind, c.place, c.rule)
			continue
		}
		if strings.Contains(err.Error()+own.Hint, canary) || strings.Contains(err.Error(), "7719") {
			t.Errorf("%s: the error repeats a value", name)
		}
	}
}

func TestValues(t *testing.T) {
	for s, want := range map[string]string{
		"2023-01-27": "2023-01-27", "2023/1/7": "2023-01-07", "2023/01/27": "2023-01-27", "20230127": "2023-01-27",
		"2023-01-27T16:17:47Z": "2023-01-27", "2023-01-27T23:59:59+08:00": "2023-01-27", "2023-01-27 00:00:00.123": "2023-01-27", "2023/1/7 8:05": "",
		"2024-02-29": "2024-02-29", "2023-02-29": "", "2023-13-01": "", "2023-00-10": "", "2023-1-7": "", "27-01-2023": "", "01/27/2023": "",
		"2023-01-27T": "", "2023-01-27T25:00": "", "2023-01-27T10:60": "", "2023-01-27T10:00:61": "", "2023-01-27x": "", "2023-01-27T10:00:00.": "",
		"2023-01-27T10:00+8": "", "２０２３-01-27": "", "": "", "0000-01-01": "", "1969-12-31": "1969-12-31", "2023/123/4": "", "2023/1/": "",
	} {
		got, ok := parseDate(s)
		if ok != (want != "") || ok && got.FormattedString() != want {
			t.Errorf("date %q: %v %v, want %q", s, got.FormattedString(), ok, want)
		}
	}
	for _, c := range []struct {
		in    string
		scale int
		round bool
		want  int64
		ok    bool
	}{
		{"2.675", 2, true, 268, true}, {"2.675", 2, false, 0, false}, {"-2.675", 2, true, -268, true}, {"2.6749999", 2, true, 267, true},
		{"16774.548999999995", 2, true, 1677455, true}, {"0.5", 0, true, 1, true}, {"-0.4", 0, true, 0, true}, {"1.5x", 0, true, 0, false},
		{".555", 2, true, 0, false}, {"1..555", 2, true, 0, false}, {"92233720368547758.075", 2, true, 0, false}, {"92233720368547758.074", 2, true, 9223372036854775807, true},
		{"1e5", 2, true, 0, false}, {"NaN", 2, true, 0, false}, {"", 2, true, 0, false},
	} {
		got, rule := parseDecimal(c.in, c.scale, c.round)
		if got != c.want || (rule == "") != c.ok {
			t.Errorf("decimal %q: %d %q", c.in, got, rule)
		}
	}
}

// TestEncodingIsTold: text of either encoding is told from the other or, if short, refused; it is never mistaken. The text
// is drawn from the 6,763 characters of GB 2312, rare ones as often as common ones.
func TestEncodingIsTold(t *testing.T) {
	enc, dec := simplifiedchinese.GB18030.NewEncoder(), simplifiedchinese.GB18030.NewDecoder()
	han := rapid.Custom(func(t *rapid.T) string {
		c := []byte{byte(rapid.IntRange(0xb0, 0xf7).Draw(t, "row")), byte(rapid.IntRange(0xa1, 0xfe).Draw(t, "cell"))}
		if c[0] == 0xd7 {
			c[1] = min(c[1], 0xf9) // the row is not full
		}
		s, err := dec.Bytes(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	})
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z,]{0,40}`).Draw(t, "head") + strings.Join(rapid.SliceOfN(han, 1, 30).Draw(t, "han"), "") +
			rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "tail")
		in := []byte("id,note,fee\nx,\"" + text + "\",1\n")
		want := UTF8
		if rapid.Bool().Draw(t, "gb") {
			b, err := enc.Bytes(in)
			if err != nil {
				t.Fatal(err)
			}
			in, want = b, GB18030
		}
		got, err := readFrom(memory.DefaultAllocator, bytes.NewReader(in), small(), connectors.Mapping{}, Options{})
		if err != nil {
			if long := utf8.RuneCountInString(text)-asciiOf(text) >= 8; long || !strings.Contains(err.Error(), "both") {
				t.Fatalf("%s: %v", want, err)
			}
			return
		}
		if len(got) != 1 || got[0] != "x|"+text+"|100" {
			t.Fatalf("text of %s was mistaken", want)
		}
	})
}

func asciiOf(s string) (n int) {
	for i := range len(s) {
		if s[i] < utf8.RuneSelf {
			n++
		}
	}
	return n
}

// TestLateEncoding: the first Chinese character stands far behind the detection window.
func TestLateEncoding(t *testing.T) {
	var b strings.Builder
	b.WriteString("id,note,fee\n")
	for i := range 30_000 {
		fmt.Fprintf(&b, "p%05d,plain,1\n", i)
	}
	tail, _ := simplifiedchinese.GB18030.NewEncoder().String("甲乙,深圳市龙岗,1\n")
	rows, err := read(t, small(), connectors.Mapping{}, Options{}, []byte(b.String()+tail))
	if err != nil || len(rows) != 30_001 || rows[30_000] != "甲乙|深圳市龙岗|100" {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
}

func TestBatchBytesBoundBatches(t *testing.T) {
	var b strings.Builder
	b.WriteString("id,note,fee\n")
	for i := range 500 {
		fmt.Fprintf(&b, "p%03d,%s,1\n", i, strings.Repeat("x", i))
	}
	r, err := NewReader(context.Background(), checked(t), strings.NewReader(b.String()), "t.csv", small(), connectors.Mapping{}, Options{BatchBytes: 2048, MaxRecord: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := int64(0)
	for {
		rec, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text := rec.Column(1).(*array.String)
		if n := len(text.ValueBytes()); n > 2048 {
			t.Fatalf("a batch holds %d bytes of one column", n)
		}
		rows += rec.NumRows()
		rec.Release()
	}
	if rows != 500 {
		t.Errorf("%d rows", rows)
	}
}

// TestMemoryDoesNotGrow reads 24 MiB that never exist in one place.
func TestMemoryDoesNotGrow(t *testing.T) {
	row := "p" + strings.Repeat("0", 60) + ",a note of some length to be carried along,12.34\n"
	n := (24 << 20) / len(row)
	in := io.MultiReader(strings.NewReader("id,note,fee\n"), &repeated{row: row, left: n})
	mem := checked(t)
	r, err := NewReader(context.Background(), mem, in, "t.csv", small(), connectors.Mapping{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most, rows := 0, int64(0)
	for {
		rec, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rows += rec.NumRows()
		most = max(most, mem.CurrentAlloc())
		rec.Release()
	}
	if rows != int64(n) {
		t.Fatalf("%d rows of %d", rows, n)
	}
	if most > 4<<20 {
		t.Errorf("batches hold %d bytes", most)
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

type repeated struct {
	row  string
	left int
	at   int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) && r.left > 0 {
		c := copy(p[n:], r.row[r.at:])
		n += c
		if r.at += c; r.at == len(r.row) {
			r.at, r.left = 0, r.left-1
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in.csv")
	if err := os.WriteFile(path, []byte("id,note,fee\na,b,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(context.Background(), checked(t), path, small(), connectors.Mapping{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := drain(r); err != nil || len(rows) != 1 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for p, want := range map[string]sandbox.Kind{filepath.Join(dir, "none.csv"): sandbox.NotFound, dir: sandbox.Invalid} {
		_, err := Open(context.Background(), checked(t), p, small(), connectors.Mapping{}, Options{})
		if !errors.Is(err, want) || strings.Contains(err.Error(), dir) {
			t.Errorf("%v is not %s, or shows the folder", err, want)
		}
	}
	broken := iotest.ErrReader(&os.PathError{Op: "read", Path: "/secret/place", Err: errors.New("disk gone")})
	for _, before := range []string{"id,note,fee\na,b,1\n", "id,note,fee\na,\"x\ny"} {
		_, err = readFrom(checked(t), io.MultiReader(strings.NewReader(before), broken), small(), connectors.Mapping{}, Options{Encoding: UTF8})
		if !errors.Is(err, sandbox.Unavailable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("a failing disk gives %v", err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"id,note,fee\na,b,1\n", "id,note,fee\r\n\"a\"\"\",\"x\ny\",-1.5\r\n", "\xef\xbb\xbfid,note,fee\n", "id,note,fee\n\xc9\xee\xdb\xda,\xd6\xd0,1\n",
		"\x84\x31\x95\x33id,note,fee\n", "id,note,fee\na,b\n", "id,note,fee\n\"", "id,note,fee\na,\x00,1", "\xff\xfe", "id,note,fee\na,V\xc3\xadc,1\n"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, rows uint8) {
		o := Options{BatchRows: int(rows%16) + 1, BatchBytes: 512, MaxRecord: 256}
		r, err := NewReader(context.Background(), checked(t), bytes.NewReader(b), "t.csv", small(), connectors.Mapping{}, o)
		if err != nil {
			own(t, err)
			return
		}
		defer r.Close()
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				return
			}
			if err != nil {
				own(t, err)
				return
			}
			if rec.NumRows() < 1 || rec.NumRows() > int64(o.BatchRows) || rec.Column(0).NullN() != 0 {
				t.Fatal("a record breaks its promises")
			}
			valid(t, rec)
			rec.Release()
		}
	})
}

func own(t *testing.T, err error) {
	var e *sandbox.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Object, "t.csv") || e.Detail == "" {
		t.Fatalf("an error without place or rule: %v", err)
	}
}

func valid(t *testing.T, rec arrow.Record) {
	for i := range 2 {
		c := rec.Column(i).(*array.String)
		for j := range c.Len() {
			if s := c.Value(j); unfit(s) != "" {
				t.Fatal("text that is not text came through")
			}
		}
	}
}

func BenchmarkReader(b *testing.B) {
	row := "p000000000001,a note of some length to be carried along,12.34\n"
	const rows = 100_000
	b.SetBytes(int64(len(row)) * rows)
	b.ReportAllocs()
	for b.Loop() {
		in := io.MultiReader(strings.NewReader("id,note,fee\n"), &repeated{row: row, left: rows})
		r, err := NewReader(context.Background(), memory.DefaultAllocator, in, "t.csv", small(), connectors.Mapping{}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			rec.Release()
		}
		r.Close()
	}
}
