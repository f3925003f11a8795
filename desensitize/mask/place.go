package mask

import (
	"bytes"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox/classify"
)

type address struct{}

// Address (地址) keeps an address to its district (区、县、旗、县级市) and hides what follows. It fits when the levels stand in their
// order (province, city, district; the first two may be missing) with their own endings; "深圳龙华" does not. A district's
// name has at most 9 Chinese characters before its ending and is no street, housing estate, park or zone (小区, 工业区 …), so
// that nothing below the district passes for one. Each name that stays is a region's in full (classify.IsRegion): what else stands
// before a district may be a person's name. An address that ends with its district has nothing to hide.
func Address(s Style) (*Text, error) { return newText("address", s, address{}) }

func (address) mask(dst, v []byte, s Style) ([]byte, bool) {
	end, ok := district(v)
	if !ok {
		return dst, false
	}
	dst = append(dst, v[:end]...)
	return s.hide(dst, s.count(v[end:])), true
}

// district gives where the district ends.
func district(v []byte) (int, bool) {
	at := skip(v, 0)
	if end, ok := level(v, at, 8, endsProvince); ok {
		if !classify.IsRegion(v[at:end]) {
			return 0, false
		}
		at = skip(v, end)
	}
	end, ok := level(v, at, 10, endsCityOrCounty)
	if ok && endsCity(v[at:end], hanAt(v, end-han)) {
		if !classify.IsRegion(v[at:end]) {
			return 0, false
		}
		at = skip(v, end)
		end, ok = level(v, at, 10, endsDistrict)
	}
	return end, ok && isDistrict(v[at:end]) && classify.IsRegion(v[at:end])
}

func skip(v []byte, at int) int {
	for at < len(v) && (v[at] == ' ' || v[at] == ',' || bytes.HasPrefix(v[at:], []byte("，")) || bytes.HasPrefix(v[at:], []byte("\u3000"))) {
		if v[at] < utf8.RuneSelf {
			at++
		} else {
			at += 3
		}
	}
	return at
}

// han is the length of a common Chinese character (U+4000 to U+9FFF).
const han = 3

// hanAt gives the common Chinese character that begins at a place of valid text.
func hanAt(v []byte, i int) rune {
	return rune(v[i]&0x0f)<<12 | rune(v[i+1]&0x3f)<<6 | rune(v[i+2]&0x3f)
}

// level finds the nearest ending of a level behind one to most-1 Chinese characters. ends looks at a name and its last
// character.
func level(v []byte, at, most int, ends func(name []byte, last rune) bool) (int, bool) {
	for i, n := at, 0; n < most+4 && i+han <= len(v); n++ {
		if v[i] < 0xe4 || v[i] > 0xe9 {
			return 0, false // no Chinese character, or a rare one
		}
		i += han
		if n > 0 && ends(v[at:i], hanAt(v, i-han)) {
			return i, true
		}
	}
	return 0, false
}

// endsIn says whether a longer name ends in a word.
func endsIn(name []byte, word string) bool {
	return len(name) > len(word) && string(name[len(name)-len(word):]) == word
}

func endsProvince(name []byte, last rune) bool {
	return last == '省' || last == '区' && (endsIn(name, "自治区") || endsIn(name, "特别行政区"))
}

func endsCity(name []byte, last rune) bool {
	switch last {
	case '市', '盟':
		return true
	case '州':
		return endsIn(name, "自治州")
	case '区':
		return endsIn(name, "地区")
	}
	return false
}

func endsCounty(_ []byte, last rune) bool { return last == '区' || last == '县' || last == '旗' }

func endsCityOrCounty(name []byte, last rune) bool {
	return endsCounty(name, last) || endsCity(name, last)
}

func endsDistrict(name []byte, last rune) bool { return last == '市' || endsCounty(name, last) }

// isDistrict refuses names that end like a district's and are none, alone or behind another name, and names that have a
// street's or building's word behind their first character.
func isDistrict(name []byte) bool {
	before := rune(0)
	last := len(name) - han
	if last >= han {
		before = hanAt(name, last-han)
	}
	switch hanAt(name, last) {
	case '区':
		switch before {
		case '小', '社', '园', '片', '校', '厂', '库', '景', '街', '院', '辖', '特':
			return false
		case '业', '发', '宅', '活', '墅', '税', '作', '范', '验', '假', '技':
			if len(name) > 2*han {
				return false
			}
		}
	case '市':
		switch before {
		case '超', '城', '门', '菜', '夜':
			return false
		}
	}
	one := hanAt(name, 0)
	for i := han; i < len(name); i += han {
		two := hanAt(name, i)
		switch two {
		case '街', '路', '巷', '弄', '号', '栋':
			return false
		case '道':
			if one == '大' {
				return false
			}
		case '委':
			if one == '村' {
				return false
			}
		case '元':
			if one == '单' {
				return false
			}
		case '厦':
			if one == '大' {
				return false
			}
		case '园':
			if one == '花' {
				return false
			}
		}
		one = two
	}
	return true
}
