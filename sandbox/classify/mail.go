package classify

import "bytes"

// isEmail accepts the addresses in use, not every form of RFC 5322: no quotes, no comments, a dotted domain.
func isEmail(s []byte) bool {
	at := bytes.IndexByte(s, '@')
	if at < 1 || at > 64 || len(s)-at-1 > 253 || s[0] == '.' || s[at-1] == '.' {
		return false
	}
	for _, c := range s[:at] {
		if !mailByte(c) {
			return false
		}
	}
	domain, labels := s[at+1:], 0
	for {
		n := bytes.IndexByte(domain, '.')
		l := domain
		if n >= 0 {
			l = domain[:n]
		}
		if len(l) == 0 || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		labels++
		letters := true
		for _, c := range l {
			k := classOf[c]
			if k&(cDigit|cUpper|cLower) == 0 && c != '-' {
				return false
			}
			letters = letters && k != cDigit
		}
		if n < 0 {
			return labels >= 2 && len(l) >= 2 && letters
		}
		domain = domain[n+1:]
	}
}

// mailAround gives the ends of the address around the at sign at i, or an empty range.
func mailAround(text []byte, at int) (a, b int) {
	a, b = at, at+1
	for a > 0 && mailByte(text[a-1]) {
		a--
	}
	for b < len(text) && (mailByte(text[b])) {
		b++
	}
	for b > at && !(classOf[text[b-1]]&(cDigit|cUpper|cLower) != 0) {
		b--
	}
	for a < at && text[a] == '.' {
		a++
	}
	if !isEmail(text[a:b]) {
		return 0, 0
	}
	return a, b
}
