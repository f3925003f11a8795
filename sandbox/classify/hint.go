package classify

import (
	"strings"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// hints are words of column names (whole parts between separators, or anywhere if five letters or more) and of titles.
var hints = map[Kind]struct{ names, titles string }{
	ResidentID:   {"idcard idno identity residentid citizenid sfz sfzh zjhm idnumber personid certno", "身份证 身份号码 证件号"},
	ResidentID15: {"idcard idno identity residentid citizenid sfz sfzh zjhm idnumber personid certno", "身份证 身份号码 证件号"},
	USCC:         {"uscc usci creditcode tyshxydm", "统一社会信用 信用代码"},
	BankCard:     {"bankcard cardno bankaccount accountno yhkh", "银行卡 卡号 账号 账户"},
	Mobile:       {"mobile phone tel cellphone sjh sjhm lxdh", "手机 电话 联系方式"},
	Email:        {"email mail", "邮箱 邮件"},
	PersonName:   {"name fullname xm xingming", "姓名 名字 联系人 户主"},
	Address:      {"address addr residence dz zz", "地址 住址 居住地"},
	ICD10:        {"icd icd10 diagnosis disease zdbm", "诊断 疾病"},
	BirthDate:    {"birth birthday birthdate dob csrq", "出生 生日"},
}

func hinted(k Kind, c *catalog.Column) bool {
	h := hints[k]
	for _, t := range strings.Fields(h.titles) {
		if strings.Contains(c.Title, t) {
			return true
		}
	}
	parts := strings.FieldsFunc(c.Name, func(r rune) bool { return r == '_' || r == '-' || r == '.' })
	whole := strings.Join(parts, "")
	for _, n := range strings.Fields(h.names) {
		if whole == n || len(n) >= 5 && strings.Contains(whole, n) {
			return true
		}
		for _, p := range parts {
			if p == n {
				return true
			}
		}
	}
	return false
}
