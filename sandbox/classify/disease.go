package classify

// diseases are names whose ends do not tell them; diseaseEnds end the others. From general medical language, not from a
// code table: ICD-10 has tens of thousands of names.
const diseases = `高血压 低血压 糖尿病 冠心病 感冒 流感 中风 脑卒中 白内障 青光眼 肝硬化 肝囊肿 脂肪肝 哮喘 肺气肿 贫血 痛风 癫痫 偏头痛 眩晕 失眠 抑郁 焦虑 甲亢 甲减 房颤 早搏 心绞痛 静脉曲张 痔疮 疝气 阑尾炎 便秘 腹泻 荨麻疹 湿疹
 带状疱疹 疱疹 麻疹 风疹 水痘 痤疮 牛皮癣 白癜风 骨质疏松 椎间盘突出 腰椎间盘突出 颈椎病 肩周炎 龋齿 近视 弱视 斜视 中耳炎 耳鸣 耳聋 鼻息肉 声带息肉 胃息肉 肠息肉 息肉 子宫肌瘤 卵巢囊肿 流产 早产 黄疸 新生儿黄疸 疟疾 霍乱 鼠疫 伤寒 痢疾 肺结核 结核
 梅毒 淋病 尖锐湿疣 艾滋病 狂犬病 破伤风 百日咳 白喉 猩红热 登革热 手足口病 甲型肝炎 乙型肝炎 丙型肝炎 乙肝 丙肝 尿毒症 肾结石 胆结石 输尿管结石 结石 前列腺增生 增生 腱鞘炎 腱鞘囊肿 骨折 扭伤 烧伤 烫伤 冻伤 中暑 休克 昏迷 水肿 肥胖 营养不良 佝偻病 自闭症 唐氏综合征 脑瘫 帕金森 阿尔茨海默 阿尔茨海默病 痴呆 精神分裂 躁狂`

const diseaseEnds = `病 症 炎 癌 瘤 综合征 综合症 中毒 骨折 结核 梗死 梗塞 出血 衰竭 功能不全 关闭不全 感染 硬化 狭窄 畸形 缺损 脱垂 脱位 溃疡 息肉 囊肿 结石 积液 积水 增生 肥大 萎缩 麻痹 瘫痪 痉挛 损伤 挫伤 撕裂 穿孔 梗阻 栓塞 血栓 白血病 贫血 紫癜 过敏 肿物 肿块 脓肿 坏死 变性 突出 增高 减低 减退 亢进 不良 障碍 缺乏 高血压 糖尿病 早搏 颤动 传导阻滞 心动过速 心动过缓 疱疹 皮疹 湿疹 癣 疣 痔 瘘 疝 痛风 哮喘 结节 发作 失代偿期 代偿期 急性期 恢复期 缺血 心绞痛 流产 早产 畸胎 腹泻 便秘 眩晕 头晕 头痛 腹痛 胸痛 咳嗽 发热 恶性肿瘤 良性肿瘤 肿瘤 转移 术后 状态`

const notDiseases = `发病 看病 生病 疾病 疾病诊断 毛病 发热 咳嗽 头痛 头晕 腹痛 胸痛 发作 缺血 有病 无病 大病 小病 重病 慢病 患病 得病 治病 防病 传染病 职业病 病 症 炎 炎症 病症 对症 急症 重症 适应症 禁忌症 并发症 后遗症 症状 心病 通病 弊病 抱病 因病 语病 贫病 交通状态 工作状态 状态 转移 过敏 感染 损伤 出血 中毒 肿瘤 术后 障碍 不良 缺乏 增高 减退 突出 变性 信用不良 管道堵塞 设备损伤 账户状态 订单状态 在线状态 婚姻状态 审核状态 支付状态 办理状态`

// isDisease accepts the Chinese name of one illness.
func (sc *Scanner) isDisease(a, b int) bool {
	n := b - a
	if n < 2 || n > 30 {
		return false
	}
	han := 0
	for _, r := range sc.r[a:b] {
		switch {
		case isHan(r):
			han++
		case isWord(r) || r == '(' || r == ')' || r == '-' || r == ' ' || r == '/' || r == '[' || r == ']' || r == '.':
		default:
			return false
		}
	}
	text := sc.text(a, b)
	switch {
	case han < 2 || sc.t.notDiseases.has(text):
		return false
	case sc.t.diseases.has(text):
		return true
	}
	for b > a && (sc.r[b-1] == ')' || sc.r[b-1] == ']') { // 慢性胃炎(轻度), 肺癌[中央型]
		k := b - 1
		for k > a && sc.r[k] != '(' && sc.r[k] != '[' {
			k--
		}
		b = k
	}
	if b-a < 2 {
		return false
	}
	return sc.ends(sc.t.diseaseEnds, a, b) > 0 && b-a >= 2 || sc.ends(sc.t.diseases, a, b) > 0
}

// companyEnds end the registered names of enterprises (企业名称). Hospitals, schools and offices are not enterprises.
const companyEnds = `有限公司 有限责任公司 股份有限公司 集团公司 总公司 分公司 子公司 集团 股份公司 合伙企业 个人独资企业 普通合伙 有限合伙 特殊普通合伙 专业合作社 合作社 联合社 商行 商店 商贸行 经营部 经销部 服务部 门市部 营业部 工作室 事务所 加工厂 制造厂 工厂 化工厂 机械厂 食品厂 服装厂 印刷厂 家具厂 超市 便利店 百货店 药店 大药房 酒店 宾馆 饭店 餐厅 餐馆 酒楼 小吃店 美容院 理发店 养殖场 农场 公司 有限公司分公司 有限公司深圳分公司 中心(有限合伙) 個人獨資企業 有限責任公司 股份有限公司 集團`

// isCompany accepts the name of an enterprise.
func (sc *Scanner) isCompany(a, b int) bool {
	if b-a < 5 || b-a > 60 {
		return false
	}
	for b > a && sc.r[b-1] == ')' { // 某某企业(有限合伙), 某某公司(分部)
		k := b - 1
		for k > a && sc.r[k] != '(' {
			k--
		}
		if k-a < 4 || k == a {
			return false
		}
		b = k
		if sc.ends(sc.t.companies, a, b) == 0 && sc.r[b-1] != '业' && sc.r[b-1] != '心' {
			return false
		}
		if sc.r[b-1] == '业' || sc.r[b-1] == '心' {
			return true
		}
	}
	for _, r := range sc.r[a:b] {
		if !isHan(r) && !isWord(r) && r != '(' && r != ')' && r != '·' && r != '-' && r != '&' && r != '.' && r != ' ' {
			return false
		}
	}
	n := sc.ends(sc.t.companies, a, b)
	return n > 0 && b-a-n >= 2
}
