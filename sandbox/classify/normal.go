package classify

import (
	"strings"
	"unicode/utf8"
)

// fold trims a value and turns full-width forms into ASCII, so that １３８ is 138.
func fold(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r >= '！' && r <= '～':
			return r - '！' + '!'
		case r == '\u3000' || r == '\u00a0':
			return ' '
		case r == '\u200b' || r == '\ufeff':
			return -1
		}
		return r
	}, s))
}

// compact drops the spaces and hyphens people write numbers with, and raises letters. Only short ASCII values are
// numbers; others give "".
func compact(s string) string {
	if len(s) > 48 {
		return ""
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == ' ' || r == '-' || r == '\u2010' || r == '\u2011' || r == '\u2013' || r == '\u2014':
		case r >= 'a' && r <= 'z':
			b.WriteByte(byte(r - 'a' + 'A'))
		case r < utf8.RuneSelf:
			b.WriteByte(byte(r))
		default:
			return ""
		}
	}
	return b.String()
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func number(s string) (n int) {
	for i := 0; i < len(s); i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// within looks for numbers and mail addresses inside longer text. A number counts only as a whole run: the same digits
// inside a longer number, a decimal or a word are something else.
func within(text string, m *match) {
	for i := 0; i < len(text); {
		if !word(text[i]) {
			i++
			continue
		}
		j := i
		for j < len(text) && word(text[j]) {
			j++
		}
		run := strings.ToUpper(text[i:j])
		decimal := j+1 < len(text) && text[j] == '.' && isDigits(text[j+1:j+2]) ||
			i > 1 && text[i-1] == '.' && isDigits(text[i-2:i-1])
		switch {
		case decimal:
		case isResidentID(run):
			m.kinds.add(ResidentID)
		case isUSCC(run):
			m.kinds.add(USCC)
		default:
			if n, ok := mobileOf(run); ok {
				m.kinds.add(Mobile)
				m.trait = hash(n[:3])
			}
		}
		i = j
	}
	for rest := text; ; {
		at := strings.IndexByte(rest, '@')
		if at < 0 {
			return
		}
		i, j := at, at+1
		for i > 0 && mailByte(rest[i-1]) {
			i--
		}
		for j < len(rest) && mailByte(rest[j]) {
			j++
		}
		if isEmail(strings.TrimRight(rest[i:j], ".")) {
			m.kinds.add(Email)
		}
		rest = rest[at+1:]
	}
}

func word(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

func mailByte(c byte) bool { return word(c) || c == '.' || c == '-' || c == '+' || c == '%' }
