package egress

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Dataset (去标识数据集) is what a recipient gets of class E: the columns, and the rows as CSV in one form (RFC 4180, lines end with LF, a
// header line first, a cell quoted where it has to be). Rows are sorted and every text is in the form of a Label, so that neither order nor
// spelling tells anything.
type Dataset struct {
	Format   string             `json:"format"`
	Question sandbox.QuestionID `json:"question"`
	Columns  []DatasetColumn    `json:"columns"`
	Rows     int                `json:"rows"`
	CSV      string             `json:"csv"`
}

// DatasetColumn (数据集字段) is a column with what it holds, by which it is scanned. Token is what the plan made and nobody outside can read.
type DatasetColumn struct {
	Name string    `json:"name"`
	Role scan.Role `json:"role"`
}

// String keeps rows out of logs.
func (Dataset) String() string { return "dataset(redacted)" }

// GoString keeps rows out of %#v.
func (Dataset) GoString() string { return "dataset(redacted)" }

const formatDataset = "opdomain-dataset/1"

// MaxDatasetColumns bounds the columns of a data set.
const MaxDatasetColumns = 256

// EncodeDataset writes the outgoing bytes of class E. Rows are put into their one order; a cell that is not in the form of a Label, or that
// a spreadsheet would take for a formula, is Invalid.
func EncodeDataset(question sandbox.QuestionID, columns []DatasetColumn, rows [][]string) ([]byte, error) {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, slices.Compare)
	d := Dataset{Format: formatDataset, Question: question, Columns: columns, Rows: len(rows)}
	var names []string
	for _, c := range columns {
		names = append(names, c.Name)
	}
	var text strings.Builder
	writeRow(&text, names)
	for _, r := range rows {
		writeRow(&text, r)
	}
	d.CSV = text.String()
	if _, ok := d.cells(); !ok {
		return nil, &sandbox.Error{Op: "egress: dataset", Kind: sandbox.Invalid, Object: string(question), Detail: "columns with names and roles, rows as wide, texts in the form of labels that are no formula"}
	}
	b, err := json.Marshal(d)
	if err == nil && len(b) > MaxResult {
		return nil, &sandbox.Error{Op: "egress: dataset", Kind: sandbox.Withheld, Object: string(question), Detail: "more bytes than a result may have"}
	}
	return b, err
}

// DecodeDataset reads outgoing bytes of class E in their one encoding.
func DecodeDataset(b []byte) (Dataset, error) { return decode(b, formatDataset, Dataset.whole) }

func (d Dataset) whole() bool {
	_, ok := d.cells()
	return ok && d.Format == formatDataset
}

// Table gives header and rows.
func (d Dataset) Table() (header []string, rows [][]string) {
	all, ok := d.cells()
	if !ok {
		return nil, nil
	}
	return all[0], all[1:]
}

// cells reads the CSV back. ok is false unless it is exactly what writeRow writes for these columns and sorted rows.
func (d Dataset) cells() (all [][]string, ok bool) {
	if len(d.Columns) == 0 || len(d.Columns) > MaxDatasetColumns {
		return nil, false
	}
	for i, c := range d.Columns {
		if !c.Role.Valid() || c.Role == scan.Text || c.Name == "" || slices.ContainsFunc(d.Columns[:i], func(x DatasetColumn) bool { return x.Name == c.Name }) {
			return nil, false
		}
	}
	if all, ok = readRows(d.CSV, len(d.Columns)); !ok || len(all) != d.Rows+1 {
		return nil, false
	}
	for i, row := range all {
		for k, v := range row {
			if i == 0 && v != d.Columns[k].Name || Label(v) != v || !utf8.ValidString(v) || formula(v) {
				return nil, false
			}
		}
		if i > 1 && slices.Compare(all[i-1], row) > 0 {
			return nil, false
		}
	}
	return all, true
}

// formula says whether a spreadsheet would take a cell for a formula; a number may have its sign.
func formula(v string) bool {
	if v == "" || !strings.ContainsRune("=+-@", rune(v[0])) {
		return false
	}
	return v[0] != '-' || len(v) == 1 || strings.Trim(v[1:], "0123456789.") != ""
}

// writeRow writes one line of CSV.
func writeRow(to *strings.Builder, row []string) {
	for i, v := range row {
		if i > 0 {
			to.WriteByte(',')
		}
		if len(row) == 1 && v == "" || strings.ContainsAny(v, ",\"\n\r") {
			to.WriteByte('"')
			to.WriteString(strings.ReplaceAll(v, `"`, `""`))
			to.WriteByte('"')
		} else {
			to.WriteString(v)
		}
	}
	to.WriteByte('\n')
}

// readRows reads lines that writeRow wrote, each of n cells. ok is false for every other text.
func readRows(text string, n int) (all [][]string, ok bool) {
	var again strings.Builder
	for rest := text; rest != ""; {
		row := make([]string, 0, n)
		for end := false; !end; {
			var cell string
			if strings.HasPrefix(rest, `"`) {
				var b strings.Builder
				rest = rest[1:]
				for {
					i := strings.IndexByte(rest, '"')
					if i < 0 {
						return nil, false
					}
					b.WriteString(rest[:i])
					rest = rest[i+1:]
					if !strings.HasPrefix(rest, `"`) {
						break
					}
					b.WriteByte('"')
					rest = rest[1:]
				}
				cell = b.String()
			} else {
				i := strings.IndexAny(rest, ",\n")
				if i < 0 {
					return nil, false
				}
				cell, rest = rest[:i], rest[i:]
			}
			if rest == "" || len(row) == n {
				return nil, false
			}
			end = rest[0] == '\n'
			if !end && rest[0] != ',' {
				return nil, false
			}
			row, rest = append(row, cell), rest[1:]
		}
		if len(row) != n {
			return nil, false
		}
		all = append(all, row)
		writeRow(&again, row)
	}
	return all, len(all) > 0 && again.String() == text
}

// readDataset reads class E's form.
func readDataset(payload []byte) (sandbox.QuestionID, error) {
	d, err := DecodeDataset(payload)
	return d.Question, err
}

// scanDataset looks at every cell but those of tokens for identifiers.
func scanDataset(payload []byte) ([]scan.Hit, error) {
	d, err := DecodeDataset(payload)
	if err != nil {
		return nil, err
	}
	var fields []scan.Field
	for _, c := range d.Columns {
		fields = append(fields, scan.Field{Name: c.Name, Role: c.Role})
	}
	t, err := scan.NewTable(fields)
	if err != nil {
		return nil, err
	}
	_, rows := d.Table()
	for _, r := range rows {
		t.Row(r)
	}
	return t.Hits(), nil
}
