// Package catalog describes datasets (数据资源目录): schema, update frequency, owner, protected subject, grade, and the
// bins a question may group by. Fields follow 福田区实施方案 五(七)1 (名称、格式、来源、更新频率、数据量) and the field
// dictionary of 龙华区实施方案 五(三)4 (name, type, range, unit). It holds descriptions only, never values.
package catalog

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox"
)

// Type (字段类型) is the logical type of a column.
type Type string

const (
	Text   Type = "text"   // utf8, arrow string
	Int    Type = "int"    // int64
	Money  Type = "money"  // fen, arrow int64; written in yuan
	Number Type = "number" // decimal with Scale digits, arrow int64 scaled by 10^Scale
	Date   Type = "date"   // arrow date32, written 2006-01-02; a timestamp is cut to its date
	Bool   Type = "bool"   // arrow bool
)

// Frequency (更新频率) is how often a dataset is updated. 依据: 福田区实施方案 四(三).
type Frequency string

const (
	Once      Frequency = "once"      // 一次性导入
	Daily     Frequency = "daily"     // 按天
	Weekly    Frequency = "weekly"    // 按周
	Monthly   Frequency = "monthly"   // 按月
	Quarterly Frequency = "quarterly" // 按季度
	HalfYear  Frequency = "half-year" // 按半年
	Yearly    Frequency = "yearly"    // 按年
	Irregular Frequency = "irregular" // 不定期
)

// SubjectKind (主体标识类型) says how the subject column identifies a protected subject.
type SubjectKind string

const (
	ResidentID SubjectKind = "resident-id" // 居民身份号码, GB 11643, checked by its check character
	Opaque     SubjectKind = "opaque"      // 其他标识: any text
)

// Column (字段) is one column of a Dataset.
type Column struct {
	Name     string        `json:"name"`
	Title    string        `json:"title,omitempty"` // 中文名称
	Type     Type          `json:"type"`
	Scale    int           `json:"scale,omitempty"`  // decimals of a Number, 0 to 9
	Unit     string        `json:"unit,omitempty"`   // 计量单位
	Range    string        `json:"range,omitempty"`  // 值域, in words
	Values   string        `json:"values,omitempty"` // 值域 as a machine checks it, see Values
	Nullable bool          `json:"nullable,omitempty"`
	Grade    sandbox.Grade `json:"grade"`              // declared by the owner
	Detected sandbox.Grade `json:"detected,omitempty"` // proposed by the detectors at the last push
	Finding  string        `json:"finding,omitempty"`  // what the detectors found: "resident-id", "mobile", …
	Category string        `json:"category,omitempty"` // 数据类别: personal, organisation or general, as proposed or as a person confirmed it
	Personal bool          `json:"personal,omitempty"` // 个人信息
	JoinKey  bool          `json:"join_key,omitempty"` // 关联键: may equal-join inside the domain
	Public   bool          `json:"public,omitempty"`   // 公开码表: values are a published code list, equality filters allowed
}

// Effective gives the grade policy uses: the stricter of declared and detected (就高从严), at least 3 if personal.
func (c Column) Effective() sandbox.Grade {
	g := max(c.Grade, c.Detected)
	if c.Personal {
		g = max(g, sandbox.Grade3)
	}
	return g
}

// BinKind (分组方式) says how a Bin maps a value to a label.
type BinKind string

const (
	Age    BinKind = "age"    // full years from a date column at Bin.At; Edges are lower bounds in years
	Amount BinKind = "amount" // numeric column; Edges are lower bounds in the column's scaled unit
	Year   BinKind = "year"   // calendar year of a date column
	Prefix BinKind = "prefix" // text column; longest code of Groups that is a prefix wins, e.g. ICD-10 chapters
	Codes  BinKind = "codes"  // text column; exact code lists
)

// Group (码表分组) is one label of a Prefix or Codes bin.
type Group struct {
	Label string   `json:"label"`
	Codes []string `json:"codes"`
}

// Bin (登记分组) is a grouping the owner registered for one column; a question may only group by these or by a public
// column. Values that fall nowhere get the label Other.
type Bin struct {
	ID     sandbox.BinID `json:"id"`
	Title  string        `json:"title,omitempty"`
	Column string        `json:"column"`
	Kind   BinKind       `json:"kind"`
	Edges  []int64       `json:"edges,omitempty"`  // ascending; labels "<e0", "e0-e1", …, "≥en"
	At     string        `json:"at,omitempty"`     // reference date of Age, 2006-01-02
	Groups []Group       `json:"groups,omitempty"` // Prefix, Codes
}

// Other (其他) is the label of values no group of a Bin covers; Missing (缺失) that of nulls.
const (
	Other   = "other"
	Missing = "missing"
)

// Dataset (数据资源) is one registered table.
type Dataset struct {
	ID          sandbox.DatasetID `json:"id"`
	Unit        sandbox.PartyID   `json:"unit"` // 来源: the owning source unit
	Title       string            `json:"title"`
	Format      string            `json:"format,omitempty"` // 格式 at the source, e.g. "csv"
	Frequency   Frequency         `json:"frequency"`
	Subject     string            `json:"subject"` // column that identifies the protected subject
	SubjectKind SubjectKind       `json:"subject_kind"`
	RecordKey   string            `json:"record_key,omitempty"` // 业务单号: text column that numbers a record, for answers about one record
	Holding     string            `json:"holding,omitempty"`    // 控股集团或户: text column that names who controls the subject; what one holding adds is judged as one contributor's
	Columns     []Column          `json:"columns"`
	Bins        []Bin             `json:"bins,omitempty"`
	Version     uint64            `json:"version,omitempty"`  // committed data version, 0 before the first push
	Rows        int64             `json:"rows,omitempty"`     // 数据量
	Card        Card              `json:"card,omitzero"`      // 目录卡片
	Revision    uint64            `json:"revision,omitempty"` // 目录版本: of the description, from 1; 0 was kept before there were any
}

// Column finds a column by name.
func (d *Dataset) Column(name string) (*Column, bool) {
	for i := range d.Columns {
		if d.Columns[i].Name == name {
			return &d.Columns[i], true
		}
	}
	return nil, false
}

// Bin finds a bin by id.
func (d *Dataset) Bin(id sandbox.BinID) (*Bin, bool) {
	for i := range d.Bins {
		if d.Bins[i].ID == id {
			return &d.Bins[i], true
		}
	}
	return nil, false
}

// Limits of one dataset description.
const (
	MaxColumns = 512
	MaxBins    = 64
	MaxCodes   = 4096 // codes in one bin
)

func bad(object, rule string) error {
	return &sandbox.Error{Op: "catalog: validate", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// Validate checks a description before it is registered. The error names the column or bin and the rule.
func (d *Dataset) Validate() error {
	if err := sandbox.CheckID("dataset", string(d.ID)); err != nil {
		return err
	}
	if err := sandbox.CheckID("unit", string(d.Unit)); err != nil {
		return err
	}
	if !d.Frequency.valid() {
		return bad(string(d.ID), "frequency is one of once, daily, weekly, monthly, quarterly, half-year, yearly, irregular")
	}
	if len(d.Columns) == 0 || len(d.Columns) > MaxColumns {
		return bad(string(d.ID), fmt.Sprintf("1 to %d columns", MaxColumns))
	}
	seen := map[string]bool{}
	for _, c := range d.Columns {
		at := string(d.ID) + "." + c.Name
		if err := sandbox.CheckID("column of "+string(d.ID), c.Name); err != nil {
			return err
		}
		if seen[c.Name] {
			return bad(at, "column names are unique")
		}
		seen[c.Name] = true
		switch c.Type {
		case Text, Int, Money, Number, Date, Bool:
		default:
			return bad(at, "type is one of text, int, money, number, date, bool")
		}
		if c.Scale < 0 || c.Scale > 9 || c.Scale != 0 && c.Type != Number {
			return bad(at, "scale is 0 to 9 and only for type number")
		}
		if !c.Grade.Valid() {
			return bad(at, "a declared grade is 1 to 4")
		}
		if err := c.validateWords(at); err != nil {
			return err
		}
	}
	s, ok := d.Column(d.Subject)
	if !ok || s.Type != Text || s.Nullable {
		return bad(string(d.ID), "the protected subject is a text column that is not nullable")
	}
	switch d.SubjectKind {
	case ResidentID, Opaque:
	default:
		return bad(string(d.ID), "subject kind is resident-id or opaque")
	}
	if d.RecordKey != "" {
		if c, ok := d.Column(d.RecordKey); !ok || c.Type != Text || d.RecordKey == d.Subject {
			return bad(string(d.ID), "the record key is a text column other than the subject")
		}
	}
	if d.Holding != "" {
		if c, ok := d.Column(d.Holding); !ok || c.Type != Text || d.Holding == d.Subject {
			return bad(string(d.ID), "the holding is a text column other than the subject")
		}
	}
	if err := d.validateCard(); err != nil {
		return err
	}
	return d.validateBins()
}

// validateWords checks what a column's dictionary entry says.
func (c *Column) validateWords(at string) error {
	for _, w := range []struct{ what, s string }{{"the title", c.Title}, {"the unit", c.Unit}, {"the range", c.Range}} {
		if err := text(at, w.what, w.s, MaxTitle); err != nil {
			return err
		}
	}
	_, err := ParseValues(at, c)
	return err
}

func (d *Dataset) validateBins() error {
	if len(d.Bins) > MaxBins {
		return bad(string(d.ID), fmt.Sprintf("at most %d bins", MaxBins))
	}
	seen := map[sandbox.BinID]bool{}
	for i := range d.Bins {
		b := &d.Bins[i]
		at := string(d.ID) + " bin " + string(b.ID)
		if err := sandbox.CheckID("bin of "+string(d.ID), string(b.ID)); err != nil {
			return err
		}
		if seen[b.ID] {
			return bad(at, "bin ids are unique")
		}
		seen[b.ID] = true
		c, ok := d.Column(b.Column)
		if !ok {
			return bad(at, "its column is not in the dataset")
		}
		if err := b.validate(at, c); err != nil {
			return err
		}
	}
	return nil
}
