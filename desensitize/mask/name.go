package mask

import (
	"unicode"
	"unicode/utf8"
)

// NamePart (姓名保留部分) says what of a name stays.
type NamePart string

const (
	Surname NamePart = "surname" // 保留姓氏
	Last    NamePart = "last"    // 保留末字
)

type name struct{ keep NamePart }

// Name (姓名) hides a personal name but for its surname, compound surnames as a whole, or but for its last character. It fits
// with 2 to 4 Chinese characters, 6 behind a compound surname, that start with a known surname; and with parts of
// Chinese characters joined by middle dots, of which the first character (or the last one) stays, and the dots. A
// name with a surname that is not listed is hidden whole: a rare one points at a person. Of a name in Latin script, one to four
// words, the first letter of each stays under surname; under last it is hidden whole, for which of its words comes last is not known.
func Name(keep NamePart, s Style) (*Text, error) {
	if keep != Surname && keep != Last {
		return nil, invalid("name", "what stays is surname or last")
	}
	return newText("name", s, name{keep})
}

func (n name) mask(dst, v []byte, s Style) ([]byte, bool) {
	if len(v) > 96 {
		return dst, false
	}
	runes, han, dots, part := 0, true, 0, 0
	for i := 0; i < len(v); {
		if c := v[i]; c >= 0xe4 && c <= 0xe9 { // U+4000 to U+9FFF
			if runes++; isHan(hanAt(v, i)) {
				part++
			} else {
				han = false
			}
			i += 3
			continue
		}
		r, size := utf8.DecodeRune(v[i:])
		switch {
		case middleDot(r):
			if part == 0 {
				return dst, false
			}
			dots++
			part = 0
		case isHan(r):
			part++
		default:
			han = false
		}
		runes++
		i += size
	}
	if !han && n.keep == Surname && isLatin(v) {
		return initials(dst, v, s), true
	}
	if !han || part == 0 {
		return dst, false
	}
	if dots > 0 {
		return n.dotted(dst, v, s, runes)
	}
	_, one := utf8.DecodeRune(v)
	_, two := utf8.DecodeRune(v[one:])
	two += one
	head := one
	compound := runes > 2 && isCompound(v[:two])
	switch {
	case compound && runes <= 6:
		head = two
	case runes < 2 || runes > 4 || !isSurname(v):
		return dst, false
	}
	if n.keep == Last {
		at := behind(v, 1)
		return append(s.hide(dst, runes-1), v[at:]...), true
	}
	dst = append(dst, v[:head]...)
	return s.hide(dst, s.count(v[head:])), true
}

// isLatin accepts one to four words of Latin letters with one space between them, an apostrophe, a hyphen or a point inside or
// behind, and up to four digits at the end; a word has two letters somewhere, or what stays would be the name.
func isLatin(v []byte) bool {
	words, letters, digits, most := 0, 0, 0, 0
	for i := 0; i < len(v); {
		r, size := utf8.DecodeRune(v[i:])
		i += size
		switch {
		case r == ' ':
			if letters == 0 {
				return false
			}
			letters, digits = 0, 0
		case r == '\'' || r == '’' || r == '-' || r == '.':
			if letters == 0 || digits > 0 {
				return false
			}
		case r >= '0' && r <= '9':
			if digits++; letters < 2 || digits > 4 {
				return false
			}
		case r < 0x250 && unicode.IsLetter(r):
			if letters == 0 {
				words++
			}
			if letters++; digits > 0 || words > 4 {
				return false
			}
			most = max(most, letters)
		default:
			return false
		}
	}
	return letters > 0 && most > 1
}

// initials hides all but the first letter of each word, and the spaces.
func initials(dst, v []byte, s Style) []byte {
	for i := 0; i < len(v); {
		_, size := utf8.DecodeRune(v[i:])
		dst = append(dst, v[i:i+size]...)
		i += size
		run := 0
		for i < len(v) && v[i] != ' ' {
			_, size := utf8.DecodeRune(v[i:])
			i += size
			run++
		}
		if dst = s.hide(dst, run); i < len(v) {
			dst = append(dst, ' ')
			i++
		}
	}
	return dst
}

// dotted hides all but one character and the dots.
func (n name) dotted(dst, v []byte, s Style, runes int) ([]byte, bool) {
	shown, run, at := 0, 0, 0
	if n.keep == Last {
		shown = runes - 1
	}
	for i := 0; i < len(v); at++ {
		r, size := utf8.DecodeRune(v[i:])
		if at == shown || middleDot(r) {
			dst = s.hide(dst, run)
			run = 0
			dst = append(dst, v[i:i+size]...)
		} else {
			run++
		}
		i += size
	}
	return s.hide(dst, run), true
}

func middleDot(r rune) bool {
	return r == '·' || r == '•' || r == '‧' || r == '・' || r == '･'
}

func isHan(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= utf8.RuneSelf && unicode.Is(unicode.Han, r)
}

// isCompound says whether two characters are a listed compound surname.
func isCompound(two []byte) bool {
	r, _ := utf8.DecodeRune(two)
	return r < 1<<16 && compoundFirst[r/64]&(1<<(r%64)) != 0 && compoundSet[string(two)]
}

// compoundSet has the listed compound surnames, compoundFirst a bit for each first character of one.
var compoundSet, compoundFirst = func() (map[string]bool, [1 << 10]uint64) {
	var first [1 << 10]uint64
	set := map[string]bool{}
	for i := 0; i+6 <= len(compounds); i += 6 {
		set[compounds[i:i+6]] = true
		r, _ := utf8.DecodeRuneInString(compounds[i:])
		first[r/64] |= 1 << (r % 64)
	}
	return set, first
}()

// isSurname says whether v begins with a listed surname of one character.
func isSurname(v []byte) bool {
	r, _ := utf8.DecodeRune(v)
	return r < 1<<16 && surnameSet[r/64]&(1<<(r%64)) != 0
}

// surnameSet has a bit for each listed surname.
var surnameSet = func() (set [1 << 10]uint64) {
	for _, r := range surnames {
		set[r/64] |= 1 << (r % 64)
	}
	return set
}()

// surnames are the common ones of one character, then traditional forms.
const surnames = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈匡鞠惠荆乐冀郁胥南班储原栗燕楚鄢劳谌奚皮粟冼蔺楼盘满闻位厉伊仝区郜海阚花权强帅屠豆朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬来扈晁芮都普阙浦戈伏鹿薄邸雍辜羊阿乌肇逄郗" +
	"張劉陳楊黃趙吳孫馬許韓馮鄧蔣葉蘇呂盧鐘鍾譚陸範賈韋鄒龍賀顧龔萬錢嚴湯齊喬龐顏莊聶魯歐關蘭寧紀畢單駱藍饒"

// compounds are surnames of two characters, 6 bytes each.
const compounds = "欧阳上官司马诸葛东方皇甫尉迟公孙令狐慕容司徒夏侯端木独孤南宫长孙宇文轩辕百里东郭呼延闻人澹台公冶申屠太史万俟赫连钟离鲜于宗政濮阳淳于单于太叔仲孙亓官司寇巫马公西颛孙壤驷公良漆雕乐正宰父谷梁拓跋夹谷段干南门西门第五左丘梁丘" +
	"歐陽司馬諸葛東方尉遲公孫長孫軒轅東郭聞人澹臺鍾離鮮于單于獨孤南宮"
