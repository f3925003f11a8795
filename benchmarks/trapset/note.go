package trapset

import (
	"fmt"
	"strings"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// Note (带标注的病历文本) is one drawn clinical note with the places of what identifies somebody in it.
type Note struct {
	Text  string
	Spans []classify.Span
}

// String keeps the text out of logs.
func (Note) String() string { return "note(redacted)" }

// templates of sentences; {kind} is drawn and labelled, {!trap} drawn and not labelled.
var templates = []string{
	"患者{name}，{sex}，{!age}岁，因{!illness}于{!date}入院。",
	"患者姓名：{name} 性别：{sex} 身份证号：{id} 联系电话：{mobile}",
	"姓名{name}身份证{id}电话{mobile}住址{address}，",
	"家住{address}，联系人{name}，电话{mobile}。",
	"其母亲{name}陪同就诊，电话{mobile}；",
	"既往有{!illness}病史{!age}年，血压{!pressure}，予12号方案治疗。",
	"住院号{!hospital}，病案号：{!hospital}，门诊号{!seq}。",
	"订单号{!order}，流水号{!order}，于{!stamp}缴费{!amount}元。",
	"主治医师{name}查房后，嘱{!date}复查{!lab}。",
	"户口地址：{address}；现住址：{address}。",
	"患者驾驶{plate}小型汽车追尾，车架号{vin}。",
	"退费至银行卡{card}，户名{name}。",
	"港澳台及外籍：通行证{travel}，护照{passport}，香港身份证{hkid}。",
	"单位统一社会信用代码{uscc}，座机{landline}。",
	"检查报告请发至{email}，或致电{landline}。",
	"代理人{name}（身份证{id}，手机{mobile}）签字。",
	"持居住证{permit}就医，由{name}先生代办。",
	"ID{id}TEL{mobile}，ref{!order}。",
	"证件号码{id}{mobile}",
	"诊断：{!illness}（{!icd}），{!illness}待排。",
	"由{name}和{name}陪同，{name}主任会诊。",
	"给予安全宣教，平时应用常规方案，全身情况平稳，水平方向活动受限。",
	"温州、黄山等地旅居史，江苏返深，海南度假。",
	"旧证{old}，社保卡同号。",
	"平素体健，律齐，一般情况尚可，会议就数据归集工作进行部署，全区地区生产总值同比增长，游客量上升，社会消费品零售平稳。",
	"学生{name}就读于第三小学，家长{name}的电话是{mobile}，想咨询明年秋季入学，社保缴纳满一年。",
	"随访电话：{mobile}/{landline}，备用{mobile}",
	"患者于{!date}至{!date}在{!ward}住院，{!pressure}，体温36.5℃。",
}

// Notes draws n notes of four to nine sentences.
func (g *Generator) Notes(n int) []Note {
	out := make([]Note, n)
	for i := range out {
		out[i] = g.note(4 + g.r.IntN(6))
	}
	return out
}

func (g *Generator) note(sentences int) Note {
	var b strings.Builder
	var n Note
	for range sentences {
		t := pick(g, templates)
		for t != "" {
			at := strings.IndexByte(t, '{')
			if at < 0 {
				b.WriteString(t)
				break
			}
			b.WriteString(t[:at])
			end := strings.IndexByte(t, '}')
			slot := t[at+1 : end]
			t = t[end+1:]
			text, kind := g.slot(slot)
			start := b.Len()
			b.WriteString(text)
			if kind != classify.None {
				n.Spans = append(n.Spans, classify.Span{Start: start, End: b.Len(), Kind: kind})
			}
		}
		b.WriteString(pick(g, []string{"", "", " ", "\n"}))
	}
	n.Text = b.String()
	return n
}

// plain is dressed without what stands around a value.
func (g *Generator) plain(s string) string {
	switch g.r.IntN(16) {
	case 0:
		return wide(s)
	case 1:
		return strings.ToLower(s)
	}
	return s
}

func (g *Generator) slot(name string) (string, classify.Kind) {
	switch name {
	case "name":
		return g.name(), classify.PersonName
	case "id":
		return g.plain(g.parted(g.residentID(), 6, 8, 4)), classify.ResidentID
	case "permit":
		return g.plain(g.permit()), classify.ResidencePermit
	case "old":
		return g.oldID(), classify.ResidentID15
	case "mobile":
		return g.plain(g.parted(g.mobile(), 3, 4, 4)), classify.Mobile
	case "landline":
		return g.landline(), classify.Landline
	case "address":
		return g.address(), classify.Address
	case "plate":
		return g.plate(), classify.Plate
	case "vin":
		return g.vin(), classify.VIN
	case "card":
		return g.parted(g.card(), 4, 4, 4, 4, 4), classify.BankCard
	case "travel":
		return g.travel(), classify.TravelPermit
	case "passport":
		return g.passport(), classify.Passport
	case "hkid":
		return g.hkid(), classify.HKID
	case "uscc":
		return g.uscc(), classify.USCC
	case "email":
		return g.email(), classify.Email
	case "sex":
		return pick(g, []string{"男", "女"}), classify.None
	case "!age":
		return fmt.Sprint(1 + g.r.IntN(90)), classify.None
	case "!illness":
		return g.illness(), classify.None
	case "!icd":
		return g.icd(), classify.None
	case "!date":
		return fmt.Sprintf("20%02d%s%02d%s%02d", 20+g.r.IntN(6), "-", 1+g.r.IntN(12), "-", 1+g.r.IntN(28)), classify.None
	case "!stamp":
		return fmt.Sprintf("2025%02d%02d%02d%02d%02d", 1+g.r.IntN(12), 1+g.r.IntN(28), g.r.IntN(24), g.r.IntN(60), g.r.IntN(60)), classify.None
	case "!pressure":
		return fmt.Sprintf("%d/%dmmHg", 90+g.r.IntN(90), 50+g.r.IntN(60)), classify.None
	case "!hospital":
		return pick(g, []string{"1380013", "00", "ZY2025"}) + g.digits(4), classify.None
	case "!seq":
		return g.digits(8), classify.None
	case "!order":
		return luhn("20250" + g.digits(12)), classify.None
	case "!amount":
		return fmt.Sprintf("%d.%s", g.r.IntN(100000), g.digits(2)), classify.None
	case "!lab":
		return pick(g, []string{"血常规", "肝功能", "胸部CT", "心电图"}), classify.None
	case "!ward":
		return pick(g, []string{"心内科二病区", "呼吸科3楼", "外科"}), classify.None
	}
	panic("trapset: a template names no slot") // the templates are constants
}
