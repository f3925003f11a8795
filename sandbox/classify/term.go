package classify

// terms are the Chinese names of the kinds, as tables show them.
var terms = map[Kind]string{
	None: "未识别", Unknown: "未检测", ResidentID: "居民身份号码", ResidencePermit: "居住证号码", ResidentID15: "旧身份证号", USCC: "统一社会信用代码",
	OrganisationCode: "组织机构代码", BankCard: "银行卡号", Mobile: "手机号码", Landline: "固定电话", HKID: "香港身份证", VIN: "车辆识别代号",
	Plate: "机动车号牌", Passport: "护照号码", TravelPermit: "通行证号码", Email: "电子邮箱", PersonName: "姓名", Address: "地址",
	ICD10: "疾病编码", Disease: "疾病名称", Enterprise: "企业名称", BirthDate: "出生日期", Biometric: "生物识别", Religion: "宗教信仰",
	LatinName: "拉丁字母姓名", OtherID: "其他证件号码", Ethnicity: "民族种族", SpecialIdentity: "特定身份", Health: "医疗健康", FinancialRecord: "金融账户", Whereabouts: "行踪轨迹", EnterpriseData: "企业经营数据",
}

// Term gives the Chinese name of a kind.
func (k Kind) Term() string {
	if of := k.Of(); of != k {
		return "含" + terms[of]
	}
	return terms[k]
}

var sensitiveTerms = map[Sensitive]string{
	NotSensitive: "", BiometricData: "生物识别信息", ReligiousBelief: "宗教信仰信息", SpecificIdentity: "特定身份信息", MedicalHealth: "医疗健康信息",
	FinancialAccount: "金融账户信息", Trajectory: "行踪轨迹信息", Under14: "不满十四周岁未成年人信息",
}

// Term gives the standard's name of a type of sensitive personal information.
func (s Sensitive) Term() string { return sensitiveTerms[s] }
