package mask

import "unicode/utf8"

// digits is a number that people write with separators: digits by their place, and which of them are shown.
type digits struct {
	card        bool
	first, last int
}

// Card (银行卡号) hides a card number but for its first 6 and last 4 digits. It fits with 16 to 19 digits, in groups by single
// spaces or hyphens, and a right Luhn digit (ISO/IEC 7812-1).
func Card(s Style) (*Text, error) { return newText("card", s, digits{true, 6, 4}) }

// Mobile (手机号码) hides a mobile number of the mainland but for its first 3 and last 4 digits. It fits with 11 digits, in
// groups by single spaces or hyphens, behind a country code +86, 0086 or 86, which stays.
func Mobile(s Style) (*Text, error) { return newText("mobile", s, digits{false, 3, 4}) }

// ResidentID (居民身份号码) hides a number of 18 characters but for the region and the last 4; it fits with a right check
// character (GB 11643). The old form of 15 digits leaves region and last 3.
func ResidentID(s Style) (*Text, error) { return newText("resident-id", s, residentID{}) }

// most is the longest run of digits that is looked at: 0086 and 19 digits.
const most = 24

func (n digits) mask(dst, v []byte, s Style) ([]byte, bool) {
	if !n.card && len(v) == 11 && v[0] == '1' && v[1] >= '3' && allDigits(v) { // as almost all are written
		return append(s.hide(append(dst, v[:n.first]...), 11-n.first-n.last), v[11-n.last:]...), true
	}
	var d [most]byte
	count, plus := 0, 0
	if len(v) > 2*most {
		return dst, false
	}
	if v[0] == '+' {
		plus = 1
	}
	for i := plus; i < len(v); i++ {
		switch c := v[i]; {
		case isDigit(rune(c)):
			if count == most {
				return dst, false
			}
			d[count] = c
			count++
		case (c == ' ' || c == '-') && i > plus && i+1 < len(v) && isDigit(rune(v[i-1])) && isDigit(rune(v[i+1])):
		default:
			return dst, false
		}
	}
	prefix, ok := 0, false // how many of the first digits are a country code that stays
	if n.card {
		ok = isCard(d[:count])
	} else {
		prefix, ok = isMobile(d[:count])
	}
	if !ok || plus > 0 && (prefix != 2 || d[0] != '8') {
		return dst, false
	}
	from, to, run := prefix+n.first, count-n.last, 0
	dst = append(dst, v[:plus]...)
	at := 0
	for _, c := range v[plus:] {
		hidden := isDigit(rune(c)) && at >= from && at < to
		if hidden {
			run++
		} else if !isDigit(rune(c)) && run > 0 && s.Width > 0 {
			continue // groups would tell the length
		} else {
			dst = s.hide(dst, run)
			run = 0
			dst = append(dst, c)
		}
		if isDigit(rune(c)) {
			at++
		}
	}
	return s.hide(dst, run), true
}

func allDigits(v []byte) bool {
	over := byte(0)
	for _, c := range v {
		over = max(over, c-'0')
	}
	return over <= 9
}

func isCard(d []byte) bool {
	if len(d) < 16 || len(d) > 19 {
		return false
	}
	sum := 0
	for i := range d {
		x := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			if x *= 2; x > 9 {
				x -= 9
			}
		}
		sum += x
	}
	return sum%10 == 0
}

func isMobile(d []byte) (prefix int, ok bool) {
	switch {
	case len(d) == 13 && string(d[:2]) == "86":
		prefix = 2
	case len(d) == 15 && string(d[:4]) == "0086":
		prefix = 4
	}
	d = d[prefix:]
	return prefix, len(d) == 11 && d[0] == '1' && d[1] >= '3'
}

type residentID struct{}

var weights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

func (residentID) mask(dst, v []byte, s Style) ([]byte, bool) {
	tail := 4
	switch len(v) {
	case 15:
		tail = 3
	case 18:
	default:
		return dst, false
	}
	sum := 0
	for i, c := range v {
		if i == 17 {
			break
		}
		if !isDigit(rune(c)) {
			return dst, false
		}
		sum += weights[min(i, 16)] * int(c-'0')
	}
	if len(v) == 18 {
		c := v[17]
		if c == 'x' {
			c = 'X'
		}
		if c >= utf8.RuneSelf || c != "10X98765432"[sum%11] {
			return dst, false
		}
	}
	dst = append(dst, v[:6]...)
	dst = s.hide(dst, len(v)-6-tail)
	return append(dst, v[len(v)-tail:]...), true
}
