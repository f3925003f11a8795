package egress

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Result (出域结果) is what a recipient gets of class A: our own writing of an answer, in one encoding. Values are
// integers scaled by 10^scale of their measure, in its unit.
type Result struct {
	Format     string             `json:"format"`
	Question   sandbox.QuestionID `json:"question"`
	Dimensions []string           `json:"dimensions"`
	Measures   []sandbox.Measure  `json:"measures"`
	Rows       []ResultRow        `json:"rows"` // sorted by labels
}

// ResultRow (结果行) is one group. A suppressed group has its labels and no values.
type ResultRow struct {
	Labels     []string `json:"labels"`
	Values     []int64  `json:"values,omitempty"`
	Suppressed bool     `json:"suppressed,omitempty"`
}

// Record (单一主体结果) is what a recipient gets of class B: the consented fields of one record.
type Record struct {
	Format   string             `json:"format"`
	Question sandbox.QuestionID `json:"question"`
	Fields   []string           `json:"fields"`
	Values   []string           `json:"values"`
}

// String keeps a person's values out of logs.
func (Record) String() string { return "record(redacted)" }

// GoString keeps a person's values out of %#v.
func (Record) GoString() string { return "record(redacted)" }

const (
	formatResult = "opdomain-result/1"
	formatRecord = "opdomain-record/1"
)

// Bounds of one outgoing result. Source: OpenSAFELY's limits on released files.
const (
	MaxRows   = 5000
	MaxResult = 16 << 20
)

func encode(question sandbox.QuestionID, a *sandbox.Answer, hidden []bool) ([]byte, error) {
	r := Result{Format: formatResult, Question: question, Dimensions: slices.Clone(a.Dimensions), Measures: slices.Clone(a.Measures), Rows: []ResultRow{}}
	if r.Dimensions == nil {
		r.Dimensions = []string{}
	}
	for i := range a.Cells {
		row := ResultRow{Labels: append([]string{}, a.Cells[i].Labels...), Suppressed: hidden[i]}
		if !hidden[i] {
			row.Values = slices.Clone(a.Cells[i].Values)
		}
		r.Rows = append(r.Rows, row)
	}
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxResult {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more bytes than a result may have"}
	}
	return b, err
}

// EncodeRecord writes the outgoing bytes of class B.
func EncodeRecord(question sandbox.QuestionID, fields, values []string) ([]byte, error) {
	if len(fields) == 0 || len(fields) != len(values) {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: string(question), Detail: "one value per consented field"}
	}
	return json.Marshal(Record{formatRecord, question, fields, values})
}

// DecodeResult reads outgoing bytes of class A in their one encoding.
func DecodeResult(b []byte) (Result, error) {
	return decode(b, formatResult, Result.whole)
}

// DecodeRecord reads outgoing bytes of class B in their one encoding.
func DecodeRecord(b []byte) (Record, error) {
	return decode(b, formatRecord, Record.whole)
}

func decode[T any](b []byte, format string, whole func(T) bool) (T, error) {
	var out, none T
	bad := &sandbox.Error{Op: "result: decode", Kind: sandbox.Invalid, Object: format, Detail: "one JSON object of this format in its one encoding"}
	if len(b) > MaxResult {
		return none, bad
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil || !whole(out) {
		return none, bad
	}
	if again, err := json.Marshal(out); err != nil || !bytes.Equal(again, b) { // also finds what follows the object
		return none, bad
	}
	return out, nil
}

// whole says whether the rows are sorted and fit their head: values exactly where a row is not suppressed.
func (r Result) whole() bool {
	if r.Format != formatResult || len(r.Measures) == 0 || len(r.Rows) > MaxRows {
		return false
	}
	for i, row := range r.Rows {
		values := len(r.Measures)
		if row.Suppressed {
			values = 0
		}
		if len(row.Labels) != len(r.Dimensions) || len(row.Values) != values || i > 0 && slices.Compare(r.Rows[i-1].Labels, row.Labels) >= 0 {
			return false
		}
	}
	return true
}

func (r Record) whole() bool {
	return r.Format == formatRecord && len(r.Fields) > 0 && len(r.Fields) == len(r.Values)
}

// Digest is SM3 over outgoing bytes: what votes and approvals bind to.
func Digest(result []byte) []byte {
	d := sm.Sum(result)
	return d[:]
}

// scan looks for identifiers in the labels that would leave, also full-width or spaced, and says in which dimension.
// Source: rule 23 of the gate; a last line behind registered bins and public code lists.
func scan(a *sandbox.Answer) string {
	for i := range a.Cells {
		for d, l := range a.Cells[i].Labels {
			if identifier(l) {
				return "dimension " + a.Dimensions[d]
			}
		}
	}
	return ""
}

// identifier says whether a label contains a run that reads as a resident identity number, a mobile number or a unified
// social credit code once width and separators are normalised.
func identifier(label string) bool {
	var runs []string
	var run strings.Builder
	flush := func() {
		if run.Len() > 0 {
			runs = append(runs, run.String())
			run.Reset()
		}
	}
	for _, r := range label {
		if r >= '！' && r <= '～' { // full-width forms
			r -= 0xFEE0
		}
		switch {
		case r >= '0' && r <= '9' || r >= 'A' && r <= 'Z':
			run.WriteRune(r)
		case r >= 'a' && r <= 'z':
			run.WriteRune(unicode.ToUpper(r))
		case r == ' ' || r == '-' || r == '　' || r == '.' || r == '·':
		default:
			flush()
		}
	}
	flush()
	for _, s := range runs {
		for i := range s {
			if i+18 <= len(s) && (residentID(s[i:i+18]) || creditCode(s[i:i+18])) || i+11 <= len(s) && mobile(s, i) {
				return true
			}
		}
	}
	return false
}

// residentID checks GB 11643's check character and a date in the year range of living people.
func residentID(s string) bool {
	weights := [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, w := range weights {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		sum += w * int(s[i]-'0')
	}
	year, month, day := s[6:10], s[10:12], s[12:14]
	return "10X98765432"[sum%11] == s[17] && year >= "1880" && year <= "2099" && month >= "01" && month <= "12" && day >= "01" && day <= "31"
}

// creditCode checks GB 32100's check character.
func creditCode(s string) bool {
	const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	sum, weight, letters := 0, 1, 0
	for i := range 17 {
		v := strings.IndexByte(alphabet, s[i])
		if v < 0 {
			return false
		}
		if v > 9 {
			letters++
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return alphabet[(31-sum%31)%31] == s[17] && strings.IndexByte("159Y", s[0]) >= 0 && (letters > 0 || s[0] == '9')
}

// mobile wants a mainland number standing alone: eleven digits from 13 to 19 with no digit beside them.
func mobile(s string, i int) bool {
	if s[i] != '1' || s[i+1] < '3' {
		return false
	}
	for _, c := range []byte(s[i : i+11]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	digit := func(j int) bool { return j >= 0 && j < len(s) && s[j] >= '0' && s[j] <= '9' }
	return !digit(i-1) && !digit(i+11)
}
