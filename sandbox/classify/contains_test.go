package classify

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

func gradeText(name string, values []string) ColumnFinding {
	s := NewSampler(catalog.Dataset{Columns: []catalog.Column{{Name: name, Title: name, Type: catalog.Text, Nullable: true, Grade: 1}}})
	for _, v := range values {
		s.ObserveText(0, v)
	}
	return s.Grade()[0]
}

func repeated(n int, m func(r *rand.Rand, i int) string) []string {
	r := rand.New(rand.NewPCG(3, uint64(n)))
	out := make([]string, n)
	for i := range out {
		out[i] = m(r, i)
	}
	return out
}

// TestTextContains: what free-text redaction finds in a column of running text, the grade of the column knows of.
func TestTextContains(t *testing.T) {
	padding := strings.Repeat("无特殊，", 1000)
	old := func(r *rand.Rand) string {
		return fmt.Sprintf("44030%d%02d%02d%02d%03d", 1+r.IntN(9), 30+r.IntN(60), 1+r.IntN(12), 1+r.IntN(28), r.IntN(999))
	}
	for _, c := range []struct {
		name  string
		want  Kind
		value func(r *rand.Rand, i int) string
	}{
		{"card", Contains(BankCard), func(r *rand.Rand, _ int) string { return "退费至卡" + again(r, makeCard) + "，已办" }},
		{"name", Contains(PersonName), func(r *rand.Rand, _ int) string { return "患者" + makeName(r) + "，今日出院。" }},
		{"old", Contains(ResidentID15), func(r *rand.Rand, _ int) string { return "旧证" + old(r) + "，补录。" }},
		{"passport", Contains(Passport), func(r *rand.Rand, _ int) string { return fmt.Sprintf("持护照E%08d入境。", r.IntN(1e8)) }},
		{"hkid", Contains(HKID), func(r *rand.Rand, _ int) string {
			return "香港身份证" + again(r, func(r *rand.Rand) string {
				return withCheck(fmt.Sprintf("A%06d", r.IntN(1e6)), "0123456789A", isHKID)
			}) + "，复诊。"
		}},
		{"spaced", Contains(ResidentID), func(r *rand.Rand, _ int) string {
			s := again(r, makeID)
			return "证件 " + s[:6] + " " + s[6:14] + " " + s[14:] + "，本人办理"
		}},
		{"one of many", Contains(ResidentID), func(r *rand.Rand, i int) string {
			if i == 777 {
				return "本人证件" + again(r, makeID) + "，请查收"
			}
			return "同意，请于三日内回复。"
		}},
		{"behind", Contains(ResidentID), func(r *rand.Rand, i int) string {
			if i < 10 {
				return padding + "身份证" + again(r, makeID)
			}
			return "无特殊，同前。"
		}},
		{"mobiles of some", Contains(Mobile), func(r *rand.Rand, i int) string {
			if i%20 == 0 {
				return "回电" + makeMobile(r) + "，谢谢"
			}
			return "已办结，请归档。"
		}},
		{"embedded", Contains(ResidentID), func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("%06d", r.IntN(1e6)) + again(r, makeID) + "000001"
		}},
		{"behind it", Contains(ResidentID), func(r *rand.Rand, i int) string { return fmt.Sprintf("%s%03d", again(r, makeID), i%1000) }},
		{"code", Contains(ResidentID), func(r *rand.Rand, i int) string { return fmt.Sprintf("ZJ-%s-%02d", again(r, makeID), i%100) }},
		{"c1", None, func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("%015d%015d", r.Int64N(1e15), r.Int64N(1e15))
		}},
		{"c2", None, func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<16), r.IntN(1<<16), r.Int64N(1<<48))
		}},
		{"c3", None, func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("2026-%02d-%02dT%02d:%02d:%02dZ", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
		}},
		{"c4", None, func(r *rand.Rand, _ int) string {
			return fieldOf(r, "同意 不同意 待审核 已办结") + "，" + fieldOf(r, "请补充材料 应于三日内回复 项目水平 金额计划") + "。"
		}},
		{"c6", None, func(*rand.Rand, int) string { return "全家平安健康出行，高温补贴发放。" }},
		{"c7", None, func(*rand.Rand, int) string { return "请尽快安排维修，感谢工作人员的帮助。" }},
		{"names", Contains(PersonName), func(r *rand.Rand, _ int) string { return "反映人" + makeName(r) + "称楼上噪声扰民。" }},
		{"c5", None, func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("No. %d of %d (%d.%02d)", r.IntN(1e6), r.IntN(1e4), r.IntN(1e5), r.IntN(100))
		}},
	} {
		got := gradeText("c", repeated(2000, c.value))
		if got.Finding != c.want {
			t.Errorf("%s: %q at %.3f, want %q", c.name, got.Finding, got.Share, c.want)
		}
		if g, personal, _ := GradeOf(c.want.Of()); got.Grade != g || got.Personal != personal {
			t.Errorf("%s: grade %d, personal %v", c.name, got.Grade, got.Personal)
		}
	}
}

// TestToldByHeader: a telling header proposes its kind where no value has it, at low confidence.
func TestToldByHeader(t *testing.T) {
	values := repeated(100, func(r *rand.Rand, _ int) string { return fmt.Sprintf("x-%d", r.IntN(100)) })
	for name, want := range map[string]Kind{"SSN": OtherID, "DRIVERS": OtherID, "PASSPORT": Passport, "FIRST": LatinName, "LAST": LatinName, "MAIDEN": LatinName, "ZIP": Address,
		"LAT": Address, "LON": Address, "BIRTHPLACE": Address, "RACE": Ethnicity, "ETHNICITY": Ethnicity, "ADDRESS": Address, "NAME": PersonName, "姓名": PersonName, "联系电话": Mobile,
		"patient_phone": Mobile, "OWNERNAME": PersonName, "籍贯": Address,
		"unit_name": None, "last_update": None, "phone_count": None, "c1": None, "DESCRIPTION": None, "LATE": None} {
		got := gradeText(name, values)
		if got.Finding != want || want != None && (got.Grade != 3 || !got.Personal || got.Confidence != toldConfidence || got.Share != 0) {
			t.Errorf("%s: %+v, want %q", name, got, want)
		}
	}
	if got := gradeText("姓名", nil); got.Finding != PersonName {
		t.Errorf("without values: %+v", got)
	}
}

func TestLatinNames(t *testing.T) {
	made := func(r *rand.Rand, _ int) string { // as test data have them
		return fmt.Sprintf("%s%d %s%d", fieldOf(r, "Maynard Víctor Ludivina Curt Zenobia"), r.IntN(999), fieldOf(r, "Mosciski O'Connell Noriega Steuber-Kling"), r.IntN(999))
	}
	plain := func(r *rand.Rand, _ int) string {
		return fieldOf(r, "John Mary Carlos Linda Patricia WILLIAM Susan Kevin Diana Wang") + " " + fieldOf(r, "Smith Baker Stone Brook Hill")
	}
	title := func(r *rand.Rand, _ int) string {
		return fieldOf(r, "Acute Chronic General Green Central Public") + " " + fieldOf(r, "Practice Hospital Clinic Service")
	}
	for _, c := range []struct {
		name string
		make func(*rand.Rand, int) string
		want Kind
		told bool
	}{{"NAME", made, LatinName, false}, {"OWNERNAME", made, LatinName, false}, {"c1", made, None, false}, {"c1", plain, LatinName, false}, {"c1", title, None, false},
		{"FIRST", title, LatinName, true}} { // few different ones: the header alone
		got := gradeText(c.name, repeated(300, c.make))
		if got.Finding != c.want || (got.Finding != None && (got.Confidence == toldConfidence) != c.told) {
			t.Errorf("%s: %+v, want %q", c.name, got, c.want)
		}
	}
	for s, want := range map[string]bool{"Maynard46": true, "Mary-Jane O'Neil": true, "J. R. Tolkien": true, "lower Case": false, "A": false, "One Two Three Four Five": false, "X12345": false, "M4rk": false, "": false, "Bad  Gap": false, "王 Wang": false} {
		if ok, _ := isLatinName(s); ok != want {
			t.Errorf("%q: %v", s, ok)
		}
	}
}

// TestRandomStrings: of random strings of 18 characters at most one in 10,000 is taken for an identity number, and no column
// of them for one that contains any.
func TestRandomStrings(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	sc, taken := NewScanner(), 0
	const n = 2_000_000
	b := make([]byte, 18)
	for range n {
		for i := range b {
			b[i] = byte('0' + r.IntN(10))
		}
		if b[17] == '0' {
			b[17] = 'X'
		}
		if m := sc.detectASCII(string(b), cDigit); m.kinds.has(kResidentID) || m.kinds.has(kResidencePermit) {
			taken++
		}
	}
	if taken*10_000 > n {
		t.Errorf("%d of %d", taken, n)
	}
	values := repeated(SampleSize, func(r *rand.Rand, _ int) string { return fmt.Sprintf("%09d%09d", r.IntN(1e9), r.IntN(1e9)) })
	if got := gradeText("c1", values); got.Finding != None {
		t.Errorf("%+v", got)
	}
}
