package classify

import (
	"strings"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

const (
	idNames  = "idcard idno identity residentid citizenid sfz sfzh zjhm idnumber personid certno"
	idTitles = "身份证 身份号码 证件号"

	// ownNames say that the name is a person's, as unit_name does not.
	ownNames = "patientname ownername contactname maidenname guardianname customername"
)

// bare are words that tell by themselves only: name does, unit_name does not; last does, last_update does not.
var bare = map[string]bool{"name": true, "first": true, "last": true, "zip": true, "lat": true, "lon": true, "race": true, "permit": true, "mz": true, "dz": true, "zz": true}

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
	PersonName:       {"name fullname xm xingming " + ownNames, "姓名 名字 联系人 户主"},
	LatinName:        {"name first last maiden fullname firstname lastname surname givenname familyname middlename " + ownNames, "英文名 外文名 拼音"},
	Address:          {"address addr residence dz zz zip zipcode postcode lat lon latitude longitude birthplace", "地址 住址 居住地 籍贯 出生地 邮政编码 邮编"},
	ICD10:            {"icd icd10 diagnosis disease zdbm", "诊断 疾病"},
	Disease:          {"diagnosis disease zdmc jbmc", "诊断 疾病 病名"},
	Enterprise:       {"company enterprise corpname qymc dwmc employer", "企业名称 单位名称 公司 商户 工作单位"},
	BirthDate:        {"birth birthday birthdate dob csrq", "出生 生日"},
	OtherID:          {"ssn drivers driverlicense driverslicense nationalid", "驾驶证 驾照 社保卡 社会保障卡 医保卡 军官证"},
	Ethnicity:        {"race ethnicity ethnic mz", "民族 种族"},
	Biometric:        {"fingerprint faceid facefeature iris voiceprint genome", "指纹 人脸 虹膜 声纹 基因 掌纹 耳廓"},
	Religion:         {"religion zjxy", "宗教"},
	SpecialIdentity:  {"disability cjr idcardphoto", "残疾 身份证照片 身份证影像 特定身份"},
	Health:           {"chiefcomplaint medicalhistory allergy labresult", "病史 主诉 过敏史 检验结果 检查结果 用药 病历 医嘱 体检"},
	FinancialRecord:  {"accountbalance creditreport", "存款 征信 账户余额 交易流水"},
	Whereabouts:      {"trajectory gpstrack whereabouts", "轨迹 行踪 定位 经纬度 住宿记录 出行"},
	EnterpriseData:   {"turnover netprofit taxpaid yysr", "营业收入 纳税额 净利润 资产总额 负债总额"},
}

// hinted says whether a column's name or title speaks of a kind, so that fewer of its values need to.
func hinted(k Kind, c *catalog.Column) bool {
	h := hints[k]
	for _, t := range strings.Fields(h.titles) {
		if strings.Contains(c.Title, t) {
			return true
		}
	}
	parts := nameParts(c.Name)
	whole := strings.Join(parts, "")
	for _, n := range strings.Fields(h.names) {
		if whole == n || len(n) >= 5 && !bare[n] && strings.Contains(whole, n) {
			return true
		}
		for _, p := range parts {
			if p == n && (n == "name" && k == PersonName || !bare[n] || n == "dz" || n == "zz" || n == "permit") {
				return true
			}
		}
	}
	return false
}

// told says whether a column's name or title tells its kind whatever its values are: the word stands alone or ends the name.
func told(k Kind, c *catalog.Column) bool {
	h := hints[k]
	for _, t := range strings.Fields(h.titles) {
		if strings.Contains(c.Title, t) {
			return true
		}
	}
	parts := nameParts(c.Name)
	whole := strings.Join(parts, "")
	for _, n := range strings.Fields(h.names) {
		if whole == n || !bare[n] && (parts[len(parts)-1] == n || len(n) >= 5 && strings.HasSuffix(whole, n)) {
			return true
		}
	}
	return false
}

// nameParts are the words of a name, in small letters; at least one.
func nameParts(name string) []string {
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '-' || r == '.' || r == ' ' })
	if len(parts) == 0 {
		return []string{""}
	}
	return parts
}
