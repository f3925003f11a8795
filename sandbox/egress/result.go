package egress

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Result (出域结果) is what a recipient gets of class A: our own writing of an answer, in one encoding. Values are
// integers scaled by 10^scale of their measure, in its unit.
type Result struct {
	Format     string             `json:"format"`
	Question   sandbox.QuestionID `json:"question"`
	Of         sandbox.QuestionID `json:"of,omitempty"` // of scores: the result that they are made of
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
	r := Result{Format: formatResult, Question: question, Of: c.of, Dimensions: slices.Clone(a.Dimensions), Measures: slices.Clone(a.Measures), Rows: []ResultRow{}}
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

// coarse rounds a value to two digits, half away from zero. A quantile is a value that somebody has: several ranks would read out a cell
// row by row. Source: rule 12 of the gate; two digits leave at least half a percent, at most five, on either side.
func coarse(v int64) int64 {
	m, unit := magnitude(v), uint64(1)
	for m/unit >= 100 {
		unit *= 10
	}
	m = (m + unit/2) / unit * unit
	if m > math.MaxInt64 {
		m -= unit
	}
	if v < 0 {
		return -int64(m)
	}
	return int64(m)
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
			if a.Measures[m].Func == sandbox.Quantile {
				v = coarse(v)
			}
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
