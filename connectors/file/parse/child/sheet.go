package child

import (
	"encoding/xml"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
)

// sheetReader gives the rows of a sheet. Rows without a cell are skipped, cells that are not there are missing.
type sheetReader struct {
	book *workbook
	x    *part

	head   []string
	row    int64 // number of the last row
	fields []cell
	cells  map[int]bool // the columns of the row
	ended  bool
}

type cell struct {
	text string
	rule wire.Rule
}

func (s *sheetReader) header() []string { return s.head }

// begin reads up to the header.
func (s *sheetReader) begin() error {
	for {
		t, err := s.x.token()
		if err == io.EOF {
			return &wire.Fault{Rule: wire.NoSheet}
		}
		if err != nil {
			return err
		}
		if e, ok := t.(xml.StartElement); ok && e.Name.Local == "sheetData" {
			break
		}
	}
	err := s.readRow()
	if err == errEnd {
		return &wire.Fault{Rule: wire.NoHeader}
	}
	if err != nil {
		return err
	}
	for i, c := range s.fields {
		if c.rule != 0 {
			return &wire.Fault{Rule: c.rule, Row: s.row, Field: i + 1}
		}
		s.head = append(s.head, c.text)
	}
	return nil
}

// next gives a row of the header's width; cells beyond it make a row of more fields, which the host refuses as in a text file.
func (s *sheetReader) next(w *wire.Writer) error {
	if err := s.readRow(); err != nil {
		return err
	}
	if len(s.fields) > len(s.head) {
		return &wire.Fault{Rule: wire.Beyond, Row: s.row, Field: len(s.fields)}
	}
	w.Row(s.row)
	for i := range s.head {
		switch {
		case i >= len(s.fields):
			w.Missing()
		case s.fields[i].rule != 0:
			w.Unfit(s.fields[i].rule)
		default:
			w.Text(s.fields[i].text)
		}
		if w.Size() > wire.MaxRow {
			return &wire.Fault{Rule: wire.Long, Row: s.row}
		}
	}
	return nil
}

// readRow reads the next row that has a cell with a value. At the end of the rows the rest of the part is read too: what is broken there is
// broken.
func (s *sheetReader) readRow() error {
	for !s.ended {
		t, err := s.x.token()
		if err != nil {
			return unexpected(err)
		}
		switch e := t.(type) {
		case xml.StartElement:
			if e.Name.Local != "row" {
				if err := s.skip(); err != nil {
					return err
				}
				continue
			}
			if err := s.cellsOf(e); err != nil {
				return err
			}
			if len(s.fields) > 0 {
				return nil
			}
		case xml.EndElement:
			if e.Name.Local == "sheetData" {
				s.ended = true
			}
		}
	}
	for {
		switch _, err := s.x.token(); err {
		case nil:
		case io.EOF:
			return errEnd
		default:
			return err
		}
	}
}

func (s *sheetReader) skip() error {
	for end := s.x.depth; s.x.depth >= end; {
		if _, err := s.x.token(); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// cellsOf reads the cells of a row up to its last one with a value.
func (s *sheetReader) cellsOf(row xml.StartElement) error {
	bad := func(field int) error { return &wire.Fault{Rule: wire.Malformed, Row: s.row, Field: field} }
	number := s.row + 1
	if r := attr(row, "r"); r != "" {
		n, err := strconv.ParseInt(r, 10, 32)
		if err != nil || n < number { // rows go on, or two of one number would be one
			return bad(0)
		}
		number = n
	}
	s.row = number
	s.fields = s.fields[:0]
	clear(s.cells)
	size, column := 0, 0
	for {
		t, err := s.x.token()
		if err != nil {
			return unexpected(err)
		}
		switch e := t.(type) {
		case xml.EndElement:
			return nil // of the row
		case xml.StartElement:
			if e.Name.Local != "c" {
				if err := s.skip(); err != nil {
					return err
				}
				continue
			}
			column++
			if r := attr(e, "r"); r != "" {
				var ok bool
				if column, ok = columnOf(r, number); !ok {
					return bad(0)
				}
			}
			if column > maxColumn {
				return bad(0)
			}
			c, err := s.cell(e)
			if err != nil {
				return err
			}
			if s.cells[column] {
				c = cell{rule: wire.Repeated}
			}
			s.cells[column] = true
			if c == (cell{}) {
				continue
			}
			if column > wire.MaxFields {
				return &wire.Fault{Rule: wire.Width, Row: s.row, Field: wire.MaxFields}
			}
			if size += len(c.text); size > wire.MaxRow {
				return &wire.Fault{Rule: wire.Long, Row: s.row}
			}
			for len(s.fields) < column {
				s.fields = append(s.fields, cell{})
			}
			s.fields[column-1] = c
		}
	}
}

// columnOf gives the column of a reference such as AB12 that stands in the given row.
func columnOf(ref string, row int64) (int, bool) {
	n, i := 0, 0
	for ; i < len(ref) && i < 4 && ref[i] >= 'A' && ref[i] <= 'Z'; i++ {
		n = 26*n + int(ref[i]-'A') + 1
	}
	return n, i > 0 && ref[i:] == strconv.FormatInt(row, 10)
}

// cell reads a cell that has begun.
func (s *sheetReader) cell(c xml.StartElement) (cell, error) {
	var value, inline string
	var stored, formula bool
	for end := s.x.depth; s.x.depth >= end; {
		t, err := s.x.token()
		if err != nil {
			return cell{}, unexpected(err)
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "v":
			if value, err = s.plain(); err != nil {
				return cell{}, err
			}
			stored = true
		case "is":
			if inline, err = s.x.text(); err != nil {
				return cell{}, err
			}
		case "f":
			formula = true
			err = s.skip()
		default:
			err = s.skip()
		}
		if err != nil {
			return cell{}, err
		}
	}
	kind := attr(c, "t")
	if formula && !stored {
		return cell{rule: wire.Formula}, nil
	}
	if kind == "inlineStr" {
		return cell{text: inline}, nil
	}
	if !stored || value == "" {
		return cell{}, nil
	}
	switch kind {
	case "s":
		i, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
		if err != nil || i >= uint64(len(s.book.strings)) {
			return cell{rule: wire.BadCell}, nil
		}
		return cell{text: s.book.strings[i]}, nil
	case "str":
		return cell{text: unescape(value)}, nil
	case "b":
		switch strings.TrimSpace(value) {
		case "1", "true":
			return cell{text: "true"}, nil
		case "0", "false":
			return cell{text: "false"}, nil
		}
		return cell{rule: wire.BadCell}, nil
	case "d":
		return cell{text: strings.TrimSpace(value)}, nil
	case "e":
		return cell{rule: wire.CellError}, nil
	case "", "n":
		return s.number(strings.TrimSpace(value), attr(c, "s")), nil
	}
	return cell{rule: wire.Kind}, nil
}

// number gives a number as the program shows it, with 15 digits, or as the date that its style makes of it.
func (s *sheetReader) number(value, style string) cell {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || strings.ContainsAny(value, "xXpP_") {
		return cell{rule: wire.BadCell}
	}
	if i, err := strconv.Atoi(style); style != "" && (err != nil || i < 0 || len(s.book.styles) > 0 && i >= len(s.book.styles)) {
		return cell{rule: wire.BadCell}
	} else if style != "" && len(s.book.styles) > 0 && s.book.styles[i] != plain {
		text, rule := s.book.moment(v, s.book.styles[i])
		return cell{text, rule}
	}
	if math.Abs(v) >= 1e15 {
		return cell{rule: wire.Digits}
	}
	v, err = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 15, 64), 64)
	if err != nil {
		return cell{rule: wire.BadCell}
	}
	if v == 0 {
		return cell{text: "0"} // and no -0
	}
	return cell{text: decimal(v, 64)}
}

// plain reads the text of an element that has begun.
func (s *sheetReader) plain() (string, error) {
	var b []byte
	for end := s.x.depth; s.x.depth >= end; {
		t, err := s.x.token()
		if err != nil {
			return "", unexpected(err)
		}
		if e, ok := t.(xml.CharData); ok {
			b = append(b, e...)
		}
	}
	return string(b), nil
}
