// Package trapset draws labelled tables and clinical notes with traps and measures the detectors on them (带陷阱的标注测试集):
// precision and recall per type at several thresholds, never one figure for all. Nobody in them exists.
//
// Standards: check characters after GB 11643, GB 32100, GB 11714, ISO/IEC 7812 and GB 16735, computed by another form of each
// rule than the detectors have. Places, surnames, prefixes, issuers and illnesses are tables of this package; none is shared
// with sandbox/classify. Where a test could go round in a circle all the same: both sides were written from the same general
// knowledge, so what both forgot does not show; the names of types are the detectors' own.
//
// Traps: order numbers whose check digits are right, timestamps, hospital numbers that look like mobiles, serials, decimals,
// places and everyday words that begin with surnames, identity numbers of no province, identifiers without spaces around them.
//
// Tables as they would leave, honest and with identifiers put into them in many ways, are drawn for sandbox/egress/scan (出域表).
//
// The same seed gives the same everything. Shares are between 0 and 1. It is no model of a population.
package trapset

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// Column (带标注的字段) is one drawn column with its truth.
type Column struct {
	Name, Title string
	Kind        classify.Kind // None for a trap
	Sort        string        // of trap, or of kind
	Noise       float64
	Values      []string
	True        []bool // whether value i is of Kind; noise is not
}

// String keeps the values out of logs.
func (c Column) String() string { return "column " + c.Sort + " (redacted)" }

// population is a sort of column.
type population struct {
	kind  classify.Kind
	names []string // headers; "c1" says nothing
	draw  func(g *Generator) string
}

func populations() []population {
	dress := func(f func(g *Generator) string) func(g *Generator) string {
		return func(g *Generator) string { return g.dressed(f(g)) }
	}
	return []population{
		{classify.ResidentID, []string{"身份证号", "sfzh", "c1"}, func(g *Generator) string { return g.dressed(g.parted(g.residentID(), 6, 8, 4)) }},
		{classify.ResidencePermit, []string{"居住证号", "zjhm", "c1"}, dress((*Generator).permit)},
		{classify.ResidentID15, []string{"身份证号", "id_card", "c1"}, dress((*Generator).oldID)},
		{classify.USCC, []string{"统一社会信用代码", "uscc", "c1"}, dress((*Generator).uscc)},
		{classify.OrganisationCode, []string{"组织机构代码", "org_code", "c1"}, func(g *Generator) string {
			s := g.organisation()
			if g.one(2) {
				s = s[:8] + "-" + s[8:]
			}
			return g.dressed(s)
		}},
		{classify.BankCard, []string{"银行卡号", "card_no", "c1"}, func(g *Generator) string { return g.dressed(g.parted(g.card(), 4, 4, 4, 4, 4)) }},
		{classify.Mobile, []string{"手机号码", "mobile", "c1"}, func(g *Generator) string {
			return g.dressed(pick(g, []string{"", "", "", "", "+86", "86", "0086 ", "(+86)"}) + g.parted(g.mobile(), 3, 4, 4))
		}},
		{classify.Landline, []string{"固定电话", "tel", "c1"}, dress((*Generator).landline)},
		{classify.HKID, []string{"香港身份证", "hkid", "c1"}, dress((*Generator).hkid)},
		{classify.VIN, []string{"车架号", "vin", "c1"}, dress((*Generator).vin)},
		{classify.Plate, []string{"车牌号", "hphm", "c1"}, dress((*Generator).plate)},
		{classify.Passport, []string{"护照号", "passport", "c1"}, dress((*Generator).passport)},
		{classify.TravelPermit, []string{"通行证号", "travel_permit", "c1"}, dress((*Generator).travel)},
		{classify.Email, []string{"电子邮箱", "email", "c1"}, func(g *Generator) string { return g.email() }},
		{classify.PersonName, []string{"姓名", "xm", "c1"}, (*Generator).name},
		{classify.Address, []string{"住址", "address", "c1"}, (*Generator).address},
		{classify.ICD10, []string{"诊断编码", "icd10", "c1"}, (*Generator).icd},
		{classify.Disease, []string{"诊断名称", "zdmc", "c1"}, (*Generator).illness},
		{classify.Enterprise, []string{"企业名称", "qymc", "c1"}, (*Generator).company},

		{classify.None, []string{"order_no"}, func(g *Generator) string {
			return luhn(fmt.Sprintf("2026%02d%02d", 1+g.r.IntN(12), 1+g.r.IntN(28)) + g.digits(9))
		}},
		{classify.None, []string{"ticket"}, func(g *Generator) string { return luhn("6299000" + g.digits(11)) }}, // one series, card-like
		{classify.None, []string{"batch"}, func(g *Generator) string { return check("99" + g.digits(15)) }},
		{classify.None, []string{"created"}, func(g *Generator) string {
			return fmt.Sprintf("20%02d%02d%02d%02d%02d%02d", 20+g.r.IntN(7), 1+g.r.IntN(12), 1+g.r.IntN(28), g.r.IntN(24), g.r.IntN(60), g.r.IntN(60)) + g.digits(pick(g, []int{0, 1, 3, 4}))
		}},
		{classify.None, []string{"epoch"}, func(g *Generator) string { return "17" + g.digits(11) }},
		{classify.None, []string{"住院号"}, func(g *Generator) string { return "1380013" + g.digits(4) }}, // of one hospital
		{classify.None, []string{"seq"}, func(g *Generator) string { return g.digits(9) }},
		{classify.None, []string{"txn"}, func(g *Generator) string { return g.digits(18) }},
		{classify.None, []string{"trace"}, func(g *Generator) string { return g.digits(16) }},
		{classify.None, []string{"waybill"}, func(g *Generator) string { return "SF" + g.digits(13) }},
		{classify.None, []string{"doc_no"}, func(g *Generator) string { return "E2026" + g.digits(4) }},
		{classify.None, []string{"seat"}, func(g *Generator) string { return "A" + g.digits(2) }},
		{classify.None, []string{"word"}, func(g *Generator) string { return pick(g, dictionary) }},
		{classify.None, []string{"place"}, func(g *Generator) string { return pick(g, surnamePlaces) }},
		{classify.None, []string{"region"}, func(g *Generator) string { p := pick(g, places); return p[0] + p[1] + p[2] }},
		{classify.None, []string{"town"}, func(g *Generator) string { return pick(g, towns) }},
		{classify.None, []string{"remark"}, func(g *Generator) string {
			return pick(g, dictionary) + pick(g, dictionary) + "，" + pick(g, dictionary)
		}},
		{classify.None, []string{"amount"}, func(g *Generator) string { return fmt.Sprintf("%d.%s", g.r.Int64N(2e11), g.digits(2)) }},
		{classify.None, []string{"serial"}, func(g *Generator) string { return fmt.Sprintf("18900%06d", g.r.IntN(1e6)) }},
		{classify.None, []string{"version"}, func(g *Generator) string { return fmt.Sprintf("v%d.%d.%d", g.r.IntN(9), g.r.IntN(20), g.r.IntN(99)) }},
		{classify.None, []string{"ip"}, func(g *Generator) string {
			return fmt.Sprintf("10.%d.%d.%d", g.r.IntN(256), g.r.IntN(256), g.r.IntN(256))
		}},
		{classify.None, []string{"phrase"}, func(g *Generator) string {
			return pick(g, []string{"同意", "不同意", "待审核", "已办结", "请补充材料", "应于三日内回复"})
		}},
		{classify.None, []string{"uuid"}, func(g *Generator) string {
			const hex = "0123456789abcdef"
			return g.letters(8, hex) + "-" + g.letters(4, hex) + "-" + g.letters(4, hex) + "-" + g.letters(4, hex) + "-" + g.letters(12, hex)
		}},
		{classify.None, []string{"run"}, func(g *Generator) string { return g.digits(30) }},

		{classify.Contains(classify.ResidentID), []string{"诉求内容", "c1"}, func(g *Generator) string {
			return g.sentence("本人证件" + g.parted(g.residentID(), 6, 8, 4))
		}},
		{classify.Contains(classify.ResidentID), []string{"回执", "c1"}, func(g *Generator) string { return g.digits(6) + g.residentID() + g.digits(6) }},
		{classify.Contains(classify.ResidentID15), []string{"诉求内容", "c1"}, func(g *Generator) string { return g.sentence("旧证" + g.oldID()) }},
		{classify.Contains(classify.BankCard), []string{"诉求内容", "c1"}, func(g *Generator) string { return g.sentence("退费至卡" + g.parted(g.card(), 4, 4, 4, 4, 4)) }},
		{classify.Contains(classify.Passport), []string{"诉求内容", "c1"}, func(g *Generator) string { return g.sentence("持护照" + g.passport()) }},
		{classify.Contains(classify.HKID), []string{"诉求内容", "c1"}, func(g *Generator) string { return g.sentence("香港身份证" + g.hkid()) }},
		{classify.Contains(classify.PersonName), []string{"诉求内容", "c1"}, func(g *Generator) string { return g.sentence("联系人" + g.name()) }},
		{classify.Contains(classify.Plate), []string{"诉求内容", "c1"}, func(g *Generator) string { return g.sentence("车牌" + g.plate() + "停在路口") }},
	}
}

// sentence writes a part of a text between others.
func (g *Generator) sentence(part string) string {
	return pick(g, []string{"", "您好，", "尊敬的工作人员：", "反映如下，"}) + part + pick(g, []string{"。", "，请尽快处理。", "，谢谢", "；已提交材料。"})
}

var blanks = []string{"", "无", "不详", "****", "0", "-", "未提供", "N/A"}

// Noise (噪声比例) are the shares of noise that columns are drawn with.
var Noise = []float64{0, 0.1, 0.2, 0.3}

// Columns draws every sort of column under every one of its headers, at each share of Noise, with that many rows. Noise is
// placeholders, and values whose end is cut off.
func (g *Generator) Columns(rows int) []Column {
	var out []Column
	for _, p := range populations() {
		for _, name := range p.names {
			for _, share := range Noise {
				c := Column{Name: name, Title: name, Kind: p.kind, Sort: string(p.kind), Noise: share}
				if p.kind == classify.None {
					c.Sort = name
				}
				for range rows {
					v, ok := p.draw(g), p.kind != classify.None
					if g.r.Float64() < share {
						ok = false
						if r := []rune(v); g.one(3) && len(r) > 2 {
							v = string(r[:len(r)-1-g.r.IntN(2)])
						} else {
							v = pick(g, blanks)
						}
					}
					c.Values, c.True = append(c.Values, v), append(c.True, ok)
				}
				out = append(out, c)
			}
		}
	}
	return out
}
