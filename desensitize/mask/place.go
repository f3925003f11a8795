package mask

import (
	"bytes"
	"unicode/utf8"
)

type address struct{}

// Address (地址) keeps an address to its district (区、县、旗、县级市) and hides what follows. It fits when the levels stand in their
// order (province, city, district; the first two may be missing) with their own endings; "深圳龙华" does not. A district's
// name has at most 9 Chinese characters before its ending and is no street, housing estate, park or zone (小区, 工业区 …), so
// that nothing below the district passes for one. An address that ends with its district has nothing to hide.
func Address(s Style) (*Text, error) { return newText("address", s, address{}) }

func (address) mask(dst, v []byte, s Style) ([]byte, bool) {
	end, ok := district(v)
	if !ok {
		return dst, false
	}
	dst = append(dst, v[:end]...)
	return s.hide(dst, utf8.RuneCount(v[end:])), true
}

// district gives where the district ends.
func district(v []byte) (int, bool) {
	at := skip(v, 0)
	if end, ok := level(v, at, 8, endsProvince); ok {
		at = skip(v, end)
	}
	near, found := level(v, at, 10, endsCounty)
	end, ok := level(v, at, 10, endsCity)
	if !ok || found && near < end {
		return near, found && isDistrict(v[at:near])
	}
	at = skip(v, end)
	end, ok = level(v, at, 10, endsDistrict)
	return end, ok && isDistrict(v[at:end])
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

// level finds the nearest ending of a level behind one to most-1 Chinese characters.
func level(v []byte, at, most int, ends func(name []byte) bool) (int, bool) {
	for i, n := at, 0; n < most+4 && i+han <= len(v); n++ {
		if v[i] < 0xe4 || v[i] > 0xe9 {
			return 0, false // no Chinese character, or a rare one
		}
		i += han
		if n > 0 && ends(v[at:i]) {
			return i, true
		}
	}
	return 0, false
}

// tail gives the last n characters of a name of Chinese characters, or nothing.
func tail(name []byte, n int) string {
	if len(name) <= n*han {
		return ""
	}
	return string(name[len(name)-n*han:])
}

func endsProvince(name []byte) bool {
	switch tail(name, 1) {
	case "省":
		return true
	case "区":
		return tail(name, 3) == "自治区" || tail(name, 5) == "特别行政区"
	}
	return false
}

func endsCity(name []byte) bool {
	switch tail(name, 1) {
	case "市", "盟":
		return true
	case "州":
		return tail(name, 3) == "自治州"
	case "区":
		return tail(name, 2) == "地区"
	}
	return false
}

func endsCounty(name []byte) bool {
	switch tail(name, 1) {
	case "区", "县", "旗":
		return true
	}
	return false
}

func endsDistrict(name []byte) bool { return tail(name, 1) == "市" || endsCounty(name) }

// isDistrict refuses names that end like a district's and are none, and names that have a street's or building's word behind
// their first character.
func isDistrict(name []byte) bool {
	switch tail(name, 2) {
	case "小区", "社区", "园区", "片区", "校区", "厂区", "库区", "景区", "街区", "院区", "辖区", "特区", "业区", "发区", "宅区", "活区", "墅区", "税区", "作区", "范区", "验区", "假区", "技区",
		"超市", "城市", "门市", "菜市", "夜市":
		return false
	}
	switch string(name) { // without a name before it
	case "小区", "社区", "园区", "片区", "校区", "厂区", "库区", "景区", "街区", "院区", "辖区", "特区", "城市", "超市", "菜市", "夜市", "门市":
		return false
	}
	for i := han; i < len(name); i += han {
		switch string(name[i : i+han]) {
		case "街", "路", "巷", "弄", "号", "栋":
			return false
		}
		switch string(name[i-han : i+han]) {
		case "大道", "村委", "单元", "大厦", "花园":
			return false
		}
	}
	return true
}
