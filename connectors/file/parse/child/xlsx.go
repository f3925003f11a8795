package child

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
)

// The reader of workbooks is the project's own, over archive/zip and encoding/xml, row by row: excelize v2.11.0 and xlsxreader v1.2.8 take the
// place where the XML of a sheet breaks for its end, and give no cell's type beside its value without holding the whole sheet. Tests
// compare it with excelize, which writes their workbooks.
const (
	maxParts  = 10_000
	maxPart   = 4 << 30
	maxRatio  = 100
	maxNested = 64
	maxColumn = 16_384 // of a sheet, as the form has it
)

type workbook struct {
	parts   map[string]*zip.File
	strings []string
	styles  []timeKind
	from04  bool // days are counted from 1904
}

// openXLSX opens the named sheet, or the first one that is shown, and reads its first row with a cell as the header.
func openXLSX(data []byte, sheet string, memory int64) (source, error) {
	if bytes.HasPrefix(data, []byte("\xd0\xcf\x11\xe0")) { // a compound file
		return nil, &wire.Fault{Rule: wire.Encrypted}
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, truncated(err)
	}
	if len(z.File) > maxParts {
		return nil, &wire.Fault{Rule: wire.Parts}
	}
	wb := &workbook{parts: map[string]*zip.File{}}
	for _, f := range z.File {
		name := strings.ToLower(strings.TrimPrefix(f.Name, "/"))
		if wb.parts[name] != nil {
			return nil, &wire.Fault{Rule: wire.Malformed} // two programs would read two different ones
		}
		if strings.HasSuffix(name, "vbaproject.bin") || strings.HasPrefix(name, "xl/macrosheets/") {
			return nil, &wire.Fault{Rule: wire.Macros}
		}
		wb.parts[name] = f
	}
	at, err := wb.sheet(sheet, memory)
	if err != nil {
		return nil, err
	}
	p, err := wb.open(at)
	if err != nil {
		return nil, err
	}
	s := &sheetReader{book: wb, x: p, cells: map[int]bool{}}
	return s, s.begin()
}

// truncated names the one fault of an archive that people can mend: it is not whole.
func truncated(err error) error {
	if errors.Is(err, zip.ErrFormat) {
		return &wire.Fault{Rule: wire.Truncated}
	}
	return err
}

// part reads the XML of one part and holds it to its bounds.
type part struct {
	*xml.Decoder
	depth int
}

type bounded struct {
	in        io.Reader
	read, max int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if b.read += int64(n); b.read > b.max {
		return n, &wire.Fault{Rule: wire.Expands}
	}
	return n, err
}

func (wb *workbook) open(name string) (*part, error) {
	f := wb.parts[strings.ToLower(name)]
	if f == nil {
		return nil, &wire.Fault{Rule: wire.Truncated}
	}
	if f.Flags&1 != 0 {
		return nil, &wire.Fault{Rule: wire.Encrypted}
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	bound := min(uint64(maxPart), 16<<20+maxRatio*f.CompressedSize64)
	d := xml.NewDecoder(&bounded{in: r, max: int64(bound)})
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, &wire.Fault{Rule: wire.Malformed} } // the form is UTF-8
	return &part{Decoder: d}, nil
}

// token gives the next start or end of an element, or text. The end of the part before its elements are closed is a fault.
func (p *part) token() (xml.Token, error) {
	for {
		t, err := p.Token()
		if err == io.EOF && p.depth > 0 {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			var s *xml.SyntaxError
			if errors.As(err, &s) && s.Msg == "unexpected EOF" {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
		switch t.(type) {
		case xml.StartElement:
			if p.depth++; p.depth > maxNested {
				return nil, &wire.Fault{Rule: wire.Nesting}
			}
			return t, nil
		case xml.EndElement:
			p.depth--
			return t, nil
		case xml.CharData:
			return t, nil
		case xml.Directive: // a document type: entities
			return nil, &wire.Fault{Rule: wire.Malformed}
		}
	}
}

// each calls f for every element of the part, up to its end, so that a broken end is seen.
func (p *part) each(f func(path []string, e xml.StartElement) error) error {
	var at []string
	for {
		t, err := p.token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch e := t.(type) {
		case xml.StartElement:
			at = append(at, e.Name.Local)
			if err := f(at, e); err != nil {
				return err
			}
		case xml.EndElement:
			at = at[:len(at)-1]
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

type relation struct{ kind, target string }

// relations of a part, by id.
func (wb *workbook) relations(of string) (map[string]relation, error) {
	at := "_rels/.rels"
	if of != "" {
		at = path.Join(path.Dir(of), "_rels", path.Base(of)+".rels")
	}
	p, err := wb.open(at)
	if err != nil {
		return nil, err
	}
	out := map[string]relation{}
	err = p.each(func(_ []string, e xml.StartElement) error {
		if e.Name.Local != "Relationship" || attr(e, "TargetMode") == "External" {
			return nil
		}
		target := attr(e, "Target")
		if !strings.HasPrefix(target, "/") {
			target = path.Join(path.Dir(of), target)
		}
		out[attr(e, "Id")] = relation{path.Base(attr(e, "Type")), strings.TrimPrefix(path.Clean(target), "/")}
		return nil
	})
	return out, err
}

// sheet finds the part of a sheet and reads what its cells refer to.
func (wb *workbook) sheet(name string, memory int64) (string, error) {
	top, err := wb.relations("")
	if err != nil {
		return "", err
	}
	book := ""
	for _, r := range top {
		if r.kind == "officeDocument" {
			book = r.target
		}
	}
	rels, err := wb.relations(book)
	if err != nil {
		return "", err
	}
	p, err := wb.open(book)
	if err != nil {
		return "", err
	}
	at := ""
	err = p.each(func(_ []string, e xml.StartElement) error {
		switch e.Name.Local {
		case "workbookPr":
			v := attr(e, "date1904")
			wb.from04 = v == "1" || v == "true"
		case "sheet":
			r := rels[attr(e, "id")]
			fits := name == "" && attr(e, "state") == "" || name == "" && attr(e, "state") == "visible" || name != "" && attr(e, "name") == name
			if at == "" && fits && r.kind == "worksheet" {
				at = r.target
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if at == "" {
		return "", &wire.Fault{Rule: wire.NoSheet}
	}
	for _, r := range rels {
		switch r.kind {
		case "styles":
			err = wb.readStyles(r.target)
		case "sharedStrings":
			err = wb.readStrings(r.target, memory/4)
		}
		if err != nil {
			return "", err
		}
	}
	return at, nil
}

// readStyles finds the styles that show a number as a date or a time.
func (wb *workbook) readStyles(name string) error {
	p, err := wb.open(name)
	if err != nil {
		return err
	}
	formats := map[string]string{}
	var ids []string
	err = p.each(func(at []string, e xml.StartElement) error {
		in := ""
		if len(at) > 1 {
			in = at[len(at)-2]
		}
		switch {
		case e.Name.Local == "numFmt" && in == "numFmts":
			formats[attr(e, "numFmtId")] = attr(e, "formatCode")
		case e.Name.Local == "xf" && in == "cellXfs":
			ids = append(ids, attr(e, "numFmtId"))
		}
		return nil
	})
	for _, id := range ids {
		k := kindOf(formats[id])
		if n, err := strconv.Atoi(id); err == nil && formats[id] == "" {
			k = builtIn(n)
		}
		wb.styles = append(wb.styles, k)
	}
	return err
}

// readStrings reads the shared strings, up to bytes of them.
func (wb *workbook) readStrings(name string, most int64) error {
	p, err := wb.open(name)
	if err != nil {
		return err
	}
	size := int64(0)
	for {
		t, err := p.token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if e, ok := t.(xml.StartElement); ok && e.Name.Local == "si" {
			s, err := p.text()
			if err != nil {
				return err
			}
			if size += int64(len(s)) + 16; size > most {
				return &wire.Fault{Rule: wire.Strings}
			}
			wb.strings = append(wb.strings, s)
		}
	}
}

// text reads the text of an element that has begun: its own or that of its runs, without reading aids (phonetic runs).
func (p *part) text() (string, error) {
	var b []byte
	end, skip, in := p.depth, 0, false
	for {
		t, err := p.token()
		if err != nil {
			return "", unexpected(err)
		}
		switch e := t.(type) {
		case xml.StartElement:
			if e.Name.Local == "rPh" && skip == 0 {
				skip = p.depth
			}
			in = e.Name.Local == "t" && skip == 0
		case xml.EndElement:
			in = false
			if p.depth < skip {
				skip = 0
			}
			if p.depth < end {
				return unescape(string(b)), nil
			}
		case xml.CharData:
			if in {
				b = append(b, e...)
			}
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unescape undoes _xHHHH_, in which characters are written that XML does not have.
func unescape(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if len(s)-i >= 7 && s[i] == '_' && s[i+1] == 'x' && s[i+6] == '_' {
			if v, err := strconv.ParseUint(s[i+2:i+6], 16, 16); err == nil && (v < 0xd800 || v > 0xdfff) {
				b.WriteRune(rune(v))
				i += 7
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// timeKind is how a style shows a number.
type timeKind byte

const (
	plain timeKind = iota
	day            // with or without a time
	clock
	elapsed
)

// builtIn are the numbers of formats that stand in no file, those of Chinese versions among them.
func builtIn(id int) timeKind {
	switch {
	case id >= 14 && id <= 17, id == 22, id >= 27 && id <= 31, id == 36, id >= 50 && id <= 54, id == 57, id == 58:
		return day
	case id >= 18 && id <= 21, id >= 32 && id <= 35, id == 45, id == 47, id == 55, id == 56:
		return clock
	case id == 46:
		return elapsed
	}
	return plain
}

// kindOf reads a format's code: letters outside quotes, escapes and brackets, in its first section.
func kindOf(code string) timeKind {
	var letters strings.Builder
	for i := 0; i < len(code); i++ {
		switch code[i] {
		case '"':
			end := strings.IndexByte(code[i+1:], '"')
			if end < 0 {
				return plain
			}
			i += end + 1
		case '\\', '_', '*':
			i++
		case '[':
			end := strings.IndexByte(code[i:], ']')
			if end < 0 {
				return plain
			}
			if in := strings.ToLower(code[i+1 : i+end]); in != "" && (strings.Trim(in, "h") == "" || strings.Trim(in, "m") == "" || strings.Trim(in, "s") == "") {
				return elapsed
			}
			i += end
		case ';':
			i = len(code)
		default:
			letters.WriteByte(code[i] | 0x20)
		}
	}
	l := letters.String()
	if strings.Contains(l, "general") {
		return plain
	}
	l = strings.NewReplacer("am/pm", "h", "a/p", "h").Replace(l)
	switch {
	case strings.ContainsAny(l, "yd"):
		return day
	case strings.ContainsAny(l, "hs"):
		return clock
	case strings.Contains(l, "m"):
		return day
	}
	return plain
}

// moment writes a number of days as a date, a time, or both.
func (wb *workbook) moment(v float64, k timeKind) (string, wire.Rule) {
	if k == elapsed {
		return "", wire.Span
	}
	if v < 0 || v >= 2958466 { // 9999-12-31
		return "", wire.NoDay
	}
	whole := math.Floor(v)
	seconds := int(math.Round((v - whole) * 86400))
	if k == clock {
		if whole > 0 || seconds >= 86400 {
			return "", wire.Span
		}
		return time.Date(2000, 1, 1, 0, 0, seconds, 0, time.UTC).Format("15:04:05"), 0
	}
	days := int(whole)
	from := time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	if !wb.from04 {
		// Day 1 is 1900-01-01; day 60, 1900-02-29, never was, and days behind it count one too many.
		from = time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC)
		switch {
		case days == 0 || days == 60:
			return "", wire.NoDay
		case days > 60:
			days--
		}
	}
	t := from.AddDate(0, 0, days).Add(time.Duration(seconds) * time.Second)
	if seconds == 0 {
		return t.Format("2006-01-02"), 0
	}
	return t.Format("2006-01-02 15:04:05"), 0
}
