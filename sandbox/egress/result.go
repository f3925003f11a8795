package egress

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Result (出域结果) is what a recipient gets of class A: our own writing of an answer, in one encoding. Values are
// integers scaled by 10^scale of their measure, in its unit.
type Result struct {
	Format     string             `json:"format"`
	Question   sandbox.QuestionID `json:"question"`
	Dimensions []string           `json:"dimensions"`
	LabelUnits []string           `json:"labelUnits,omitempty"` // per dimension, where one has labels that are amounts in a unit
	Measures   []sandbox.Measure  `json:"measures"`
	Shown      *sandbox.Shown     `json:"shown,omitempty"` // which of the groups that may leave are here
	Rows       []ResultRow        `json:"rows"`            // sorted by labels, or as Shown says, suppressed ones last
}

// ResultRow (结果行) is one group. A suppressed group has its labels and no values. A value that is not there is null, and None says
// in its place why; None is left out where every value is there.
type ResultRow struct {
	Labels     []string `json:"labels"`
	Values     []*int64 `json:"values,omitempty"`
	None       []string `json:"none,omitempty"`
	Suppressed bool     `json:"suppressed,omitempty"`
}

// Why a value is not there.
const (
	NoneUndefined = "undefined" // 无定义: too few rows, a divisor of zero, a regression that its rows do not determine
	NoneRedacted  = "redacted"  // 不出域: the function's value is one person's own, and its owner has not called it structural
)

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

// encode writes the outgoing bytes.
func (c *Checked) encode(question sandbox.QuestionID) ([]byte, error) {
	a := c.answer
	r := Result{Format: formatResult, Question: question, Dimensions: slices.Clone(a.Dimensions), Measures: slices.Clone(a.Measures), Rows: []ResultRow{}}
	if r.Dimensions == nil {
		r.Dimensions = []string{}
	}
	if slices.ContainsFunc(a.LabelUnits, func(u string) bool { return u != "" }) {
		r.LabelUnits = a.LabelUnits
	}
	if len(a.Shown.AtLeast) > 0 || a.Shown.Top != nil {
		r.Shown = &a.Shown
	}
	for _, i := range c.shown {
		row := ResultRow{Labels: append([]string{}, a.Cells[i].Labels...), Suppressed: c.hidden[i]}
		if !c.hidden[i] {
			row.values(a, &a.Cells[i])
		}
		r.Rows = append(r.Rows, row)
	}
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxResult {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more bytes than a result may have"}
	}
	return b, err
}

// values gives a row the values of a cell that may leave.
func (r *ResultRow) values(a *sandbox.Answer, c *sandbox.Cell) {
	for m := range a.Measures {
		why := ""
		switch {
		case redacted(a.Measures[m]):
			why = NoneRedacted
		case c.Missing(m):
			why = NoneUndefined
		}
		if why == "" {
			v := c.Values[m]
			r.Values = append(r.Values, &v)
			continue
		}
		if r.None == nil {
			r.None = make([]string, len(a.Measures))
		}
		r.Values, r.None[m] = append(r.Values, nil), why
	}
}

// EncodeRecord writes the outgoing bytes of class B.
func EncodeRecord(question sandbox.QuestionID, fields, values []string) ([]byte, error) {
	if len(fields) == 0 || len(fields) != len(values) || !text(fields) || !text(values) {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Invalid, Object: string(question), Detail: "one value per consented field, in UTF-8"}
	}
	b, err := json.Marshal(Record{formatRecord, question, fields, values})
	if err == nil && len(b) > MaxResult {
		return nil, &sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: string(question), Detail: "more bytes than a result may have"}
	}
	return b, err
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

// whole says whether the rows are in order and fit their head: values exactly where a row is not suppressed, each of them or why it
// is not there.
func (r Result) whole() bool {
	if r.Format != formatResult || len(r.Measures) == 0 || len(r.Rows) > MaxRows || r.Dimensions == nil || r.Rows == nil {
		return false // null is another encoding of an empty list
	}
	if r.LabelUnits != nil && (len(r.LabelUnits) != len(r.Dimensions) || !slices.ContainsFunc(r.LabelUnits, func(u string) bool { return u != "" })) {
		return false
	}
	for _, row := range r.Rows {
		values := len(r.Measures)
		if row.Suppressed {
			values = 0
		}
		if row.Labels == nil || len(row.Labels) != len(r.Dimensions) || len(row.Values) != values || row.None != nil && len(row.None) != values {
			return false
		}
		some := false
		for m, v := range row.Values {
			why := ""
			if row.None != nil {
				why = row.None[m]
			}
			if why != "" && why != NoneUndefined && why != NoneRedacted || (why == "") != (v != nil) {
				return false
			}
			some = some || why != ""
		}
		if row.None != nil && !some {
			return false
		}
	}
	return r.ordered()
}

func (r Record) whole() bool {
	return r.Format == formatRecord && len(r.Fields) > 0 && len(r.Fields) == len(r.Values)
}

// text says whether all of it is UTF-8: other bytes would leave as replacement characters, which no recipient reads back.
func text(s []string) bool {
	return !slices.ContainsFunc(s, func(x string) bool { return !utf8.ValidString(x) })
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
	var runs []run
	var now run
	parted := false
	flush := func() {
		if len(now.s) > 0 {
			runs = append(runs, now)
		}
		now, parted = run{}, false
	}
	for _, r := range label {
		if r >= '！' && r <= '～' { // full-width forms
			r -= 0xFEE0
		}
		switch {
		case r >= 'a' && r <= 'z':
			r = unicode.ToUpper(r)
			fallthrough
		case r >= '0' && r <= '9' || r >= 'A' && r <= 'Z':
			now.s, now.parted, parted = now.s+string(r), append(now.parted, parted), false
		case unicode.IsSpace(r) || unicode.In(r, unicode.Pd, unicode.Cf) || strings.ContainsRune("._/·", r):
			parted = true
		default:
			flush()
		}
	}
	flush()
	for _, x := range runs {
		for i := range x.s {
			if i+18 <= len(x.s) && (residentID(x.s[i:i+18]) || creditCode(x.s[i:i+18])) || i+11 <= len(x.s) && x.mobile(i) {
				return true
			}
		}
	}
	return false
}

// run is letters and digits of a label with the separators between them taken out.
type run struct {
	s      string
	parted []bool // a separator stood before it
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

// creditCode checks GB 32100's department, region and check characters.
func creditCode(s string) bool {
	const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	sum, weight, letters := 0, 1, 0
	for i := range 17 {
		v := strings.IndexByte(alphabet, s[i])
		if v < 0 || v > 9 && i >= 2 && i < 8 {
			return false
		}
		if v > 9 {
			letters++
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return alphabet[(31-sum%31)%31] == s[17] && strings.IndexByte("123456789ANY", s[0]) >= 0 && (letters > 0 || s[0] == '9')
}

// mobile wants a mainland number standing alone: eleven digits from 13 to 19, after the country code or with no digit
// right beside them. Two numbers joined by one separator, as the ends of a range are, are not one.
func (r run) mobile(i int) bool {
	digit := func(j int) bool { return j >= 0 && j < len(r.s) && r.s[j] >= '0' && r.s[j] <= '9' }
	if r.s[i] != '1' || r.s[i+1] < '3' {
		return false
	}
	breaks, last := 0, 0
	for j := range 11 {
		if !digit(i + j) {
			return false
		}
		if j > 0 && r.parted[i+j] {
			breaks, last = breaks+1, j
		}
	}
	if breaks == 1 && last != 3 && last != 7 {
		return false
	}
	first := i
	for digit(first-1) && !r.parted[first] {
		first--
	}
	code := r.s[first:i]
	return (code == "" || code == "86" || code == "0086") && (!digit(i+11) || r.parted[i+11])
}
