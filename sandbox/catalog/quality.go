package catalog

import (
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// Fraction (比例) is so many good ones of so many looked at. Of 0: nothing was looked at.
type Fraction struct {
	Good int64 `json:"good"`
	Of   int64 `json:"of"`
}

func (f Fraction) plus(o Fraction) Fraction { return Fraction{f.Good + o.Good, f.Of + o.Of} }

// ColumnQuality (字段质量) counts one column of one version. A cell is missing for one reason.
type ColumnQuality struct {
	Column      string `json:"column"`
	Rows        int64  `json:"rows"`
	Nulls       int64  `json:"nulls,omitempty"`       // 空值
	Empty       int64  `json:"empty,omitempty"`       // 空串
	Blank       int64  `json:"blank,omitempty"`       // 空白
	Placeholder int64  `json:"placeholder,omitempty"` // 占位值
	Declared    bool   `json:"declared,omitempty"`    // a range is declared that a machine checks
	Checked     int64  `json:"checked,omitempty"`     // cells held to it: those not missing
	Fits        int64  `json:"fits,omitempty"`        // of them inside
}

// Present gives the cells that are not missing.
func (c ColumnQuality) Present() Fraction {
	return Fraction{c.Rows - c.Nulls - c.Empty - c.Blank - c.Placeholder, c.Rows}
}

// Conforms gives the cells inside the declared range, of those that are there.
func (c ColumnQuality) Conforms() Fraction { return Fraction{c.Fits, c.Checked} }

// OrderQuality (先后一致性) counts the rows in which an Order holds, of those that have both values.
type OrderQuality struct {
	Low   string `json:"low"`
	High  string `json:"high"`
	Rows  int64  `json:"rows"`
	Holds int64  `json:"holds"`
}

// Quality (数据质量) is what one pass over a version counted. It says as much about the data as its counts do: it is handled by
// Grade, the strictest of the table's columns, and is for the owner and those who supervise it.
type Quality struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Rows    int64             `json:"rows"`
	Grade   sandbox.Grade     `json:"grade"`
	Columns []ColumnQuality   `json:"columns"`
	Key     string            `json:"key,omitempty"`  // record key that Unique counts; empty: whole rows
	Unique  Fraction          `json:"unique"`         // different keys of rows
	Part    int               `json:"part,omitempty"` // Unique is counted over the keys in 1/2^Part of all hashes
	Orders  []OrderQuality    `json:"orders,omitempty"`
}

// HeadingName (质量指标) is a heading of GB/T 36344-2018, 唯一性, or the part of 规范性 that is counted in fields.
type HeadingName string

const (
	Conformity    HeadingName = "规范性"  // texts inside their declared enumerations, lengths and digits
	Dictionary    HeadingName = "字段字典" // fields whose dictionary entry is whole: of 规范性, but of fields, not of cells
	Completeness  HeadingName = "完整性"  // cells that are not missing
	Accuracy      HeadingName = "准确性"  // numbers, amounts and dates inside their declared ranges
	Consistency   HeadingName = "一致性"  // rows in which the declared orders hold
	Timeliness    HeadingName = "时效性"  // 1 when the last load is not overdue by the declared frequency
	Accessibility HeadingName = "可访问性" // 1 when there is a version that can be opened
	Uniqueness    HeadingName = "唯一性"  // different keys of rows
)

// Heading (质量指标得分) is one heading's fraction over a table. Without anything to count, Of is 0 and Note says what is missing.
type Heading struct {
	Name  HeadingName `json:"name"`
	Score Fraction    `json:"score"`
	Note  string      `json:"note,omitempty"`
}

// Scorecard (质量报告) is the quality of the current version of a dataset, by heading and column.
type Scorecard struct {
	Quality  Quality   `json:"quality"`
	Headings []Heading `json:"headings"`
	Loaded   time.Time `json:"loaded,omitzero"` // last commit
	Due      time.Time `json:"due,omitzero"`    // next load; none for tables that are never late
}

// Score draws the scorecard of a dataset from the counts of its version, the time of its last load, and whether the version can
// be opened. Heading names, order and what is counted are those of HeadingName.
func Score(d Dataset, q Quality, loaded, due time.Time, late, opens bool) Scorecard {
	var conforms, present, accurate, holds Fraction
	for _, c := range q.Columns {
		present = present.plus(c.Present())
		col, ok := d.Column(c.Column)
		if !ok || !c.Declared {
			continue
		}
		if col.Type == Text {
			conforms = conforms.plus(c.Conforms())
		} else {
			accurate = accurate.plus(c.Conforms())
		}
	}
	for _, o := range q.Orders {
		holds = holds.plus(Fraction{o.Holds, o.Rows})
	}
	whole := Fraction{int64(len(d.Columns) - len(d.Undefined())), int64(len(d.Columns))}
	yes := func(ok bool) Fraction {
		if ok {
			return Fraction{1, 1}
		}
		return Fraction{0, 1}
	}
	unless := func(f Fraction, note string) string {
		if f.Of == 0 {
			return note
		}
		return ""
	}
	s := Scorecard{Quality: q, Loaded: loaded, Due: due, Headings: []Heading{
		{Name: Conformity, Score: conforms, Note: unless(conforms, "no values, length or digits of a text are declared")},
		{Name: Dictionary, Score: whole},
		{Name: Completeness, Score: present, Note: unless(present, "no rows")},
		{Name: Accuracy, Score: accurate, Note: unless(accurate, "no range of a number or date is declared")},
		{Name: Consistency, Score: holds, Note: unless(holds, "no order of two columns is declared")},
		{Name: Timeliness, Score: yes(!late)},
		{Name: Accessibility, Score: yes(opens)},
		{Name: Uniqueness, Score: q.Unique, Note: unless(q.Unique, "no rows")},
	}}
	if due.IsZero() {
		s.Headings[5].Note = "never late: imported once, or irregular"
	}
	return s
}
