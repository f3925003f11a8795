package mask

import (
	"strings"
	"unicode/utf8"
)

type plate struct{}

const (
	plateRegions = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
	plateEnds    = "学警港澳挂领"
)

// Plate (机动车号牌) hides a licence plate but for region, authority and the last two characters. It fits with 7 characters, or
// 8 for new-energy vehicles, and at most one of · • space hyphen behind the authority. The series rules of GA 36-2018 were not
// read: any letters but I and O count.
func Plate(s Style) (*Text, error) { return newText("plate", s, plate{}) }

func (plate) mask(dst, v []byte, s Style) ([]byte, bool) {
	r, size := utf8.DecodeRune(v)
	if !plateRegion(r) || len(v) < size+6 || !plateLetter(v[size]) {
		return dst, false
	}
	head := size + 1
	if r, n := utf8.DecodeRune(v[head:]); r == '·' || r == '•' || r == ' ' || r == '-' {
		head += n
	}
	rest := v[head:]
	n, shown := len(rest), len(rest)-2 // characters, and where the last two begin
	for i, c := range rest {
		if c-'0' <= 9 || plateLetter(c) {
			continue
		}
		r, size := utf8.DecodeRune(rest[i:])
		if n = i + 1; i+size < len(rest) || n != 5 || !strings.ContainsRune(plateEnds, r) {
			return dst, false
		}
		shown = i - 1
		break
	}
	if n != 5 && n != 6 {
		return dst, false
	}
	dst = append(dst, v[:head]...)
	dst = s.hide(dst, n-2)
	return append(dst, rest[shown:]...), true
}

// plateRegion says whether a character is a region's.
func plateRegion(r rune) bool {
	return r < 1<<16 && plateSet[r/64]&(1<<(r%64)) != 0
}

var plateSet = func() (set [1 << 10]uint64) {
	for _, r := range plateRegions {
		set[r/64] |= 1 << (r % 64)
	}
	return set
}()

func plateLetter(c byte) bool { return c >= 'A' && c <= 'Z' && c != 'I' && c != 'O' }
