package mask

import (
	"bytes"
	"unicode/utf8"
)

// email leaves the first characters of the local part and, unless it is hidden too, the domain.
type email struct {
	first  int
	domain bool
}

// Email (电子邮箱) hides the local part of an address but for its first characters, which must leave one to hide. The domain
// stays, or is hidden but for its last label. Addresses are those in use, not every form of RFC 5322: no quotes, one @, a
// dotted domain.
func Email(first int, hideDomain bool, s Style) (*Text, error) {
	if first < 0 || first > 8 {
		return nil, invalid("email", "0 to 8 characters of the local part stay")
	}
	return newText("email", s, email{first, hideDomain})
}

func (e email) mask(dst, v []byte, s Style) ([]byte, bool) {
	at := bytes.IndexByte(v, '@')
	if at < 1 || at > 64 || len(v)-at-1 > 253 {
		return dst, false
	}
	local, domain := v[:at], v[at+1:]
	if local[0] == '.' || local[at-1] == '.' || at <= e.first {
		return dst, false
	}
	for _, c := range local {
		if !mailByte(c) && c != '.' && c != '+' && c != '%' {
			return dst, false
		}
	}
	last := bytes.LastIndexByte(domain, '.')
	if last < 1 || len(domain)-last-1 < 2 {
		return dst, false
	}
	label := 0
	for i, c := range domain {
		switch {
		case c == '.':
			if label == 0 || domain[i-1] == '-' {
				return dst, false
			}
			label = 0
			continue
		case c >= utf8.RuneSelf || !mailByte(c) || c == '_' || c == '-' && label == 0 || i > last && !isLetter(rune(c)):
			return dst, false
		}
		label++
	}
	dst = append(dst, local[:e.first]...)
	dst = s.hide(dst, len(local)-e.first)
	dst = append(dst, '@')
	if e.domain {
		dst = s.hide(dst, last)
		domain = domain[last:]
	}
	return append(dst, domain...), true
}

func mailByte(c byte) bool { return isDigit(rune(c)) || isLetter(rune(c)) || c == '_' || c == '-' }
