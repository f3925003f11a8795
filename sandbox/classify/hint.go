package classify

import (
	"strings"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

const (
	idNames  = "idcard idno identity residentid citizenid sfz sfzh zjhm idnumber personid certno"
	idTitles = "身份证 身份号码 证件号"
)

// hints are words of column names (whole parts between separators, or anywhere if five letters or more) and of titles. A
// file without a catalogue has its headers for both.
var hints = map[Kind]struct{ names, titles string }{
	ResidentID:       {idNames, idTitles},
	ResidencePermit:  {idNames + " jzz residencepermit", idTitles + " 居住证 永久居留"},
	ResidentID15:     {idNames, idTitles},
	USCC:             {"uscc usci creditcode tyshxydm", "统一社会信用 信用代码"},
	OrganisationCode: {"orgcode zzjgdm organisationcode organizationcode", "组织机构代码 机构代码"},
	BankCard:         {"bankcard cardno bankaccount accountno yhkh", "银行卡 卡号 账号 账户"},
	Mobile:           {"mobile phone tel cellphone sjh sjhm lxdh", "手机 电话 联系方式"},
	Landline:         {"phone tel landline telephone gddh zjdh lxdh fax", "座机 固定电话 固话 电话 传真 联系方式"},
	HKID:             {"hkid " + idNames, "香港身份证 " + idTitles},
	VIN:              {"vin cjh clsbdh", "车架号 车辆识别"},
	Plate:            {"plate plateno cph hphm carno licenseplate", "车牌 号牌"},
	Passport:         {"passport passportno hzhm certno zjhm", "护照 证件号"},
	TravelPermit:     {"permit travelpermit txz certno zjhm", "通行证 回乡证 台胞证 证件号"},
	Email:            {"email mail", "邮箱 邮件"},
	PersonName:       {"name fullname xm xingming", "姓名 名字 联系人 户主"},
	Address:          {"address addr residence dz zz", "地址 住址 居住地"},
	ICD10:            {"icd icd10 diagnosis disease zdbm", "诊断 疾病"},
	Disease:          {"diagnosis disease zdmc jbmc", "诊断 疾病 病名"},
	Enterprise:       {"company enterprise corpname qymc dwmc employer", "企业名称 单位名称 公司 商户 工作单位"},
	BirthDate:        {"birth birthday birthdate dob csrq", "出生 生日"},
	Biometric:        {"fingerprint faceid facefeature iris voiceprint genome", "指纹 人脸 虹膜 声纹 基因 掌纹 耳廓"},
	Religion:         {"religion zjxy", "宗教"},
	SpecialIdentity:  {"disability cjr idcardphoto", "残疾 身份证照片 身份证影像 特定身份"},
	Health:           {"chiefcomplaint medicalhistory allergy labresult", "病史 主诉 过敏史 检验结果 检查结果 用药 病历 医嘱 体检"},
	FinancialRecord:  {"accountbalance creditreport", "存款 征信 账户余额 交易流水"},
	Whereabouts:      {"trajectory gpstrack whereabouts", "轨迹 行踪 定位 经纬度 住宿记录 出行"},
	EnterpriseData:   {"turnover netprofit taxpaid yysr", "营业收入 纳税额 净利润 资产总额 负债总额"},
}

func hinted(k Kind, c *catalog.Column) bool {
	h := hints[k]
	for _, t := range strings.Fields(h.titles) {
		if strings.Contains(c.Title, t) {
			return true
		}
	}
	parts := strings.FieldsFunc(strings.ToLower(c.Name), func(r rune) bool { return r == '_' || r == '-' || r == '.' })
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
