package classify

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// isEmail accepts the addresses in use, not every form of RFC 5322: no quotes, no comments, a dotted domain.
func isEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(local) > 64 || len(domain) > 253 || local[0] == '.' || local[len(local)-1] == '.' {
		return false
	}
	for i := range len(local) {
		if !mailByte(local[i]) {
			return false
		}
	}
	labels := strings.Split(domain, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := range len(l) {
			if !word(l[i]) && l[i] != '-' || l[i] == '_' {
				return false
			}
		}
	}
	top := labels[len(labels)-1]
	return len(top) >= 2 && !strings.ContainsAny(top, "0123456789")
}

// isICD10 accepts a letter, two digits, and subdivisions as hospitals write them: E11.9, I10.X00, E11.900X001.
func isICD10(c string) bool {
	if len(c) < 3 || c[0] < 'A' || c[0] > 'Z' || !isDigits(c[1:3]) {
		return false
	}
	rest := strings.TrimRight(c[3:], "+*")
	if rest == "" {
		return true
	}
	if rest[0] != '.' || len(rest) < 2 || len(rest) > 9 {
		return false
	}
	for i, r := range rest[1:] {
		if (r < '0' || r > '9') && (r != 'X' || i == 8) {
			return false
		}
	}
	return true
}

// surnames: the common single-character ones, then traditional forms; compounds are separate.
const surnames = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳欧管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈匡鞠惠荆乐冀郁胥南班储原栗燕楚鄢劳谌奚皮粟冼蔺楼盘满闻位厉伊仝区郜海阚花权强帅屠豆朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬来扈晁芮都普阙浦戈伏鹿薄邸雍辜羊阿乌" +
	"張劉陳楊黃趙吳孫馬許韓馮鄧蔣葉蘇呂盧鐘譚陸範賈韋鄒龍賀顧龔邵萬錢嚴湯齊喬龐顏莊聶魯歐關蘭寧紀畢單駱藍饒盧"

const compounds = " 欧阳 上官 司马 诸葛 东方 皇甫 尉迟 公孙 令狐 慕容 司徒 夏侯 端木 独孤 南宫 长孙 宇文 轩辕 百里 东郭 呼延 闻人 澹台 公冶 申屠 太史 歐陽 司馬 諸葛 東方 尉遲 公孫 "

// lastNever end things, places and illnesses that begin with a surname, and no given name.
const lastNever = "病症炎癌瘤痛疸障疹路街道巷村镇乡区市县省州局院厂店校所科部处费额率号码款税片丸剂膏液囊汤粉证件表单位局站场库馆厅堂楼桥费险期限型类级式法度量数"

// notNames are words of everyday tables that look like names otherwise.
const notNames = " 高血压 安全 平安 方法 时间 和平 于是 白酒 计划 任务 常见 左侧 右侧 全部 程序 成功 水平 项目 方向 解决 应用 应该 管理 管道 石油 毛巾 花生 宁静 宣传 文化 文件 曲线 沙发 祖国 通知 通过 雷达 施工 国家 全国 全年 全体 成年 成人 明确 明细 支付 支出 支持 连续 和谐 相关 来源 包含 关闭 关系 容易 平均 边界 农民 农业 高中 高级 初中 初级 大学 时代 安装 房屋 国有 江苏 云南 海南 广东 黎明 温和 应急 石膏 甘草 黄芪 白术 金银花 马上 马铃薯 明天 万元 万一 单身 单独 成员 "

// isPersonName accepts two to four Chinese characters that start with a surname, and transliterated names with a middle
// dot. On its own this is weak evidence; columns need more.
func isPersonName(s string) bool {
	n := utf8.RuneCountInString(s)
	if n < 2 || n > 20 {
		return false
	}
	if strings.ContainsAny(s, "·•") {
		parts := strings.FieldsFunc(s, func(r rune) bool { return r == '·' || r == '•' })
		if len(parts) < 2 {
			return false
		}
		for _, p := range parts {
			if utf8.RuneCountInString(p) < 2 || !allHan(p) {
				return false
			}
		}
		return true
	}
	if n > 4 || !allHan(s) || strings.Contains(notNames, " "+s+" ") {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(s)
	if strings.ContainsRune(lastNever, last) {
		return false
	}
	runes := []rune(s)
	if n >= 3 && strings.Contains(compounds, " "+string(runes[:2])+" ") {
		return true
	}
	return n <= 3 && strings.ContainsRune(surnames, runes[0])
}

func allHan(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.Is(unicode.Han, r) })
}

// isAddress wants a house, building or room with its number, and two of province, city, district, township or village,
// and road: a region alone, or a street alone, is not a person's address.
func isAddress(s string) bool {
	if utf8.RuneCountInString(s) < 8 {
		return false
	}
	detail := false
	var before rune
	for _, r := range s {
		digit := before >= '0' && before <= '9' || before >= 'A' && before <= 'Z' || strings.ContainsRune("一二三四五六七八九十", before)
		if digit && strings.ContainsRune("号栋幢座室楼层单", r) {
			detail = true
		}
		before = r
	}
	levels := 0
	for _, words := range [][]string{{"省", "自治区"}, {"市", "自治州"}, {"区", "县", "旗"}, {"街道", "镇", "乡"}, {"路", "街", "大道", "巷", "弄"}, {"村", "小区", "花园", "社区", "苑", "里"}} {
		for _, w := range words {
			if i := strings.Index(s, w); i >= 3 { // after at least one character of its name
				levels++
				break
			}
		}
	}
	return detail && levels >= 2
}
