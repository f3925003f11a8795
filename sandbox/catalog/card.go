package catalog

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// Origin (数据来源类别) is one of the four classes of data that may be authorised.
// 依据: 龙华区实施方案 五(一); 福田区实施方案(征求意见稿) 四(一).
type Origin string

const (
	OpenCatalogue Origin = "open-catalogue" // 开放目录数据: listed on the city's open data platform
	DistrictUnit  Origin = "district-unit"  // 区直属单位数据
	CityUnit      Origin = "city-unit"      // 市属单位下发数据
	CoDeveloped   Origin = "co-developed"   // 合作开发加工数据: with enterprises or institutes, title-cleared
)

// Openness (开放属性) is how far a dataset is open to the public. 依据: 福田区公共数据授权运营暂行管理办法 第二条.
type Openness string

const (
	Unconditional Openness = "unconditional" // 无条件开放
	Conditional   Openness = "conditional"   // 有条件开放
	NotOpen       Openness = "not-open"      // 不予开放
)

// NationalGrade (国家数据级别) is the level of GB/T 43697-2024, which stands beside the district's grade 1 to 4 of general data.
type NationalGrade string

const (
	General   NationalGrade = "general"   // 一般数据
	Important NationalGrade = "important" // 重要数据
	Core      NationalGrade = "core"      // 核心数据
)

// Stage (加工阶段) says whether a table is first produced and unprocessed. 依据: 龙华区实施方案 十二2.
type Stage string

const (
	Raw     Stage = "raw"     // 原始数据
	Derived Stage = "derived" // 加工数据: its parents are in the lineage
)

// Rights (确权证明) is the proof that the title to co-developed data was cleared.
type Rights struct {
	Title  string `json:"title"`            // what the document is
	Number string `json:"number"`           // its number with who keeps it
	Digest []byte `json:"digest,omitempty"` // SM3 of the document
}

// Parent (血缘上游) is one table that a derived table was made from.
type Parent struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	How     string            `json:"how"` // 加工方式, in words
}

// Order (先后规则) says that in every row one column is not above another: a begin not after its end. Rows where either is
// missing are not looked at.
type Order struct {
	Low  string `json:"low"`
	High string `json:"high"`
}

// Card (目录卡片) is what the catalogue says about a dataset beside its columns. 依据: 福田区实施方案(征求意见稿) 五(七)1 names name, format,
// source, update frequency and volume; the first, the format, the frequency and the rows stand in the Dataset.
type Card struct {
	Code        string        `json:"code,omitempty"` // 目录编码, see CheckCode
	Description string        `json:"description,omitempty"`
	Source      string        `json:"source,omitempty"` // 来源: the system at the owning unit
	Volume      int64         `json:"volume,omitempty"` // 数据量: rows of a version as the owner declares them, for estimates; Dataset.Rows are counted
	Sync        Frequency     `json:"sync,omitempty"`   // 同步频率, where it is not the source's own; see Dataset.Period
	Origin      Origin        `json:"origin,omitempty"`
	Rights      *Rights       `json:"rights,omitempty"`
	Openness    Openness      `json:"openness,omitempty"`
	LegalBasis  string        `json:"legal_basis,omitempty"` // 法律依据 on which data that are not open are authorised all the same
	National    NationalGrade `json:"national,omitempty"`
	Stage       Stage         `json:"stage,omitempty"`
	Lineage     []Parent      `json:"lineage,omitempty"`
	Tags        []string      `json:"tags,omitempty"`
	Missing     []string      `json:"missing,omitempty"` // 占位值: what stands for "nothing" beside the usual ones, see package quality
	Orders      []Order       `json:"orders,omitempty"`
}

// Limits of one card.
const (
	MaxTitle       = 200 // characters
	MaxDescription = 4000
	MaxTags        = 32
	MaxParents     = 64
	MaxMissing     = 64
	MaxOrders      = 64
	MaxVolume      = 1e12 // rows
)

// Excluded says whether data are outside authorised operation because they are not open and no legal basis is recorded. Which
// districts apply the rule, their profiles say. 依据: 福田区公共数据授权运营暂行管理办法 第二条.
func (c *Card) Excluded() bool { return c.Openness == NotOpen && c.LegalBasis == "" }

// Period gives the update frequency that is expected of a table in the domain: the slower of its source's and its
// synchronisation's. A source that is irregular, or imported once, leaves only the other; without a synchronisation of its
// own a table follows its source. 依据: 福田区实施方案(征求意见稿) 四(三), which names both factors and no rule of combination.
func (d *Dataset) Period() Frequency {
	pace := []Frequency{Daily, Weekly, Monthly, Quarterly, HalfYear, Yearly}
	a, b := slices.Index(pace, d.Frequency), slices.Index(pace, d.Card.Sync)
	switch {
	case d.Card.Sync == "" || b < 0 && d.Card.Sync != Once:
		return d.Frequency
	case d.Card.Sync == Once:
		return Once
	case a < 0:
		return d.Card.Sync
	}
	return pace[max(a, b)]
}

func (f Frequency) valid() bool {
	switch f {
	case Once, Daily, Weekly, Monthly, Quarterly, HalfYear, Yearly, Irregular:
		return true
	}
	return false
}

// text checks words of a card: bounded, and nothing in them that a terminal or a page would act on.
func text(at, what, s string, most int) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most {
		return bad(at, fmt.Sprintf("%s has at most %d characters", what, most))
	}
	for _, r := range s {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return bad(at, what+" has no control characters")
		}
	}
	return nil
}

// validateCard checks the card against its dataset. An empty card is valid: what is missing of it keeps a table from being
// authorised, not from being registered.
func (d *Dataset) validateCard() error {
	c, at := &d.Card, string(d.ID)+" card"
	if c.Code != "" {
		if err := CheckCode(c.Code); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		what, s string
		most    int
	}{{"the title", d.Title, MaxTitle}, {"the format", d.Format, MaxTitle}, {"the description", c.Description, MaxDescription}, {"the source", c.Source, MaxTitle}, {"the legal basis", c.LegalBasis, MaxDescription}} {
		if err := text(at, t.what, t.s, t.most); err != nil {
			return err
		}
	}
	if c.Sync != "" && !c.Sync.valid() {
		return bad(at, "sync is one of once, daily, weekly, monthly, quarterly, half-year, yearly, irregular")
	}
	if c.Volume < 0 || c.Volume > MaxVolume {
		return bad(at, "the volume is a number of rows, at most 10^12")
	}
	switch c.Origin {
	case "", OpenCatalogue, DistrictUnit, CityUnit, CoDeveloped:
	default:
		return bad(at, "origin is one of open-catalogue, district-unit, city-unit, co-developed")
	}
	if c.Origin == CoDeveloped && c.Rights == nil {
		return bad(at, "co-developed data have a proof of rights")
	}
	if r := c.Rights; r != nil {
		if c.Origin != CoDeveloped {
			return bad(at, "a proof of rights belongs to co-developed data")
		}
		if r.Title == "" || r.Number == "" || len(r.Digest) != 0 && len(r.Digest) != 32 {
			return bad(at, "a proof of rights has a title, a number and, if any, an SM3 digest of 32 bytes")
		}
		if err := text(at, "the proof's title", r.Title, MaxTitle); err != nil {
			return err
		}
		if err := text(at, "the proof's number", r.Number, MaxTitle); err != nil {
			return err
		}
	}
	switch c.Openness {
	case "", Unconditional, Conditional, NotOpen:
	default:
		return bad(at, "openness is one of unconditional, conditional, not-open")
	}
	if c.LegalBasis != "" && c.Openness != NotOpen {
		return bad(at, "a legal basis is recorded for data that are not open")
	}
	switch c.National {
	case "", General, Important, Core:
	default:
		return bad(at, "the national grade is one of general, important, core")
	}
	if err := d.validateLineage(at); err != nil {
		return err
	}
	if len(c.Tags) > MaxTags {
		return bad(at, fmt.Sprintf("at most %d tags", MaxTags))
	}
	for i, t := range c.Tags {
		if t == "" || utf8.RuneCountInString(t) > 32 || slices.Contains(c.Tags[:i], t) {
			return bad(at, "a tag has 1 to 32 characters and stands once")
		}
		if err := text(at, "a tag", t, 32); err != nil {
			return err
		}
	}
	if len(c.Missing) > MaxMissing {
		return bad(at, fmt.Sprintf("at most %d placeholders", MaxMissing))
	}
	for _, m := range c.Missing {
		if m == "" || len(m) > MaxPlaceholder || !utf8.ValidString(m) {
			return bad(at, fmt.Sprintf("a placeholder has 1 to %d bytes", MaxPlaceholder))
		}
	}
	return d.validateOrders(at)
}

// MaxPlaceholder bounds one placeholder in bytes.
const MaxPlaceholder = 32

func (d *Dataset) validateLineage(at string) error {
	c := &d.Card
	switch c.Stage {
	case "", Raw:
		if len(c.Lineage) > 0 {
			return bad(at, "raw data have no parents")
		}
	case Derived:
		if len(c.Lineage) == 0 || len(c.Lineage) > MaxParents {
			return bad(at, fmt.Sprintf("derived data name 1 to %d parents", MaxParents))
		}
	default:
		return bad(at, "stage is raw or derived")
	}
	for i, p := range c.Lineage {
		if err := sandbox.CheckID("parent of "+string(d.ID), string(p.Dataset)); err != nil {
			return err
		}
		if p.Dataset == d.ID || slices.ContainsFunc(c.Lineage[:i], func(q Parent) bool { return q.Dataset == p.Dataset }) {
			return bad(at, "a parent is another table and stands once")
		}
		if p.How == "" {
			return bad(at, "a parent says how the table was made from it")
		}
		if err := text(at, "how a table was made", p.How, MaxTitle); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dataset) validateOrders(at string) error {
	if len(d.Card.Orders) > MaxOrders {
		return bad(at, fmt.Sprintf("at most %d orders", MaxOrders))
	}
	for _, o := range d.Card.Orders {
		low, ok1 := d.Column(o.Low)
		high, ok2 := d.Column(o.High)
		if !ok1 || !ok2 || o.Low == o.High || low.Type != high.Type || low.Scale != high.Scale {
			return bad(at, "an order names two columns of one type")
		}
		switch low.Type {
		case Int, Money, Number, Date:
		default:
			return bad(at, "an order is of numbers, money or dates")
		}
	}
	return nil
}

// Undefined lists the columns whose dictionary entry (字段字典) is not whole: name and type always are; a title, a range, in
// words or declared, and for a number its unit must be there. The values of a bool are its type, those of a published code list
// its range. 依据: 龙华区实施方案 五(三)4.
func (d *Dataset) Undefined() []string {
	var out []string
	for i := range d.Columns {
		if !d.Columns[i].Defined() {
			out = append(out, d.Columns[i].Name)
		}
	}
	return out
}

// Defined says whether a column's dictionary entry is whole, as Undefined has it.
func (c *Column) Defined() bool {
	switch {
	case c.Title == "":
		return false
	case c.Range == "" && c.Values == "" && c.Type != Bool && !c.Public:
		return false
	case c.Unit == "" && (c.Type == Int || c.Type == Number || c.Type == Money):
		return false
	}
	return true
}
