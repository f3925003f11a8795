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

var (
	provinceEnds = []string{"特别行政区", "自治区", "省"}
	cityEnds     = []string{"自治州", "地区", "盟", "市"}
	districtEnds = []string{"自治县", "自治旗", "区", "县", "旗", "市"}
	// notDistricts end with a district's ending and are none.
	notDistricts = []string{"小区", "社区", "园区", "片区", "校区", "厂区", "库区", "景区", "街区", "院区", "辖区", "工业区", "开发区", "住宅区", "生活区", "别墅区",
		"商业区", "保税区", "合作区", "示范区", "试验区", "度假区", "科技区", "特区", "超市", "城市", "门市", "菜市", "夜市"}
	// streets stand inside what is below a district, not at its first character.
	streets = []string{"街", "路", "巷", "弄", "号", "栋", "大道", "村委", "单元", "大厦", "花园"}
)

// district gives where the district ends.
func district(v []byte) (int, bool) {
	at := skip(v, 0)
	if end, ok := level(v, at, provinceEnds, 8); ok {
		at = skip(v, end)
	}
	near, found := level(v, at, districtEnds[:5], 10) // without 市, which ends a city first
	end, ok := level(v, at, cityEnds, 10)
	if !ok || found && near < end {
		return near, found && isDistrict(v[at:near])
	}
	at = skip(v, end)
	end, ok = level(v, at, districtEnds, 10)
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

// level finds the nearest ending behind two to most Chinese characters, itself included.
func level(v []byte, at int, ends []string, most int) (int, bool) {
	n := 0
	for i := at; i < len(v) && n < most; {
		if n > 0 {
			for _, e := range ends {
				if len(v)-i >= len(e) && string(v[i:i+len(e)]) == e {
					return i + len(e), true
				}
			}
		}
		r, size := utf8.DecodeRune(v[i:])
		if !isHan(r) {
			return 0, false
		}
		i += size
		n++
	}
	return 0, false
}

func isDistrict(name []byte) bool {
	for _, e := range notDistricts {
		if bytes.HasSuffix(name, []byte(e)) {
			return false
		}
	}
	_, first := utf8.DecodeRune(name)
	for _, s := range streets {
		if bytes.Contains(name[first:], []byte(s)) {
			return false
		}
	}
	return true
}
