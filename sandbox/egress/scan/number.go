package scan

import (
	"unicode"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// Probabilities that an honest value of a shape holds.
const (
	chanceCard   = 0.1       // the Luhn digit, whatever the prefix
	chanceCheck  = 1.0 / 11  // a check character modulo 11
	chanceUSCC   = 1.0 / 341 // two check characters, modulo 31 and 11
	chanceLetter = 0.3       // a letter of passports before eight digits
	chanceMobile = 0.2       // eleven digits that begin as mobiles do; small digits come first more often in amounts
)

// digit gives the value of a decimal digit of any script as ASCII, or r.
func digit(r rune) rune {
	switch {
	case r < utf8.RuneSelf:
		return r
	case r >= 0x1d7ce && r <= 0x1d7ff: // mathematical: five alphabets without a gap
		return '0' + (r-0x1d7ce)%10
	case r >= '①' && r <= '⑨':
		return '1' + r - '①'
	case r == '⓪':
		return '0'
	case unicode.Is(unicode.Nd, r):
		n := rune(0)
		for n < 9 && unicode.Is(unicode.Nd, r-n-1) {
			n++
		}
		return '0' + n
	}
	return r
}

// numeral gives the value of a Chinese numeral, or -1.
func numeral(r rune) rune {
	switch r {
	case '〇', '零', '○':
		return '0'
	case '一', '壹', '幺':
		return '1'
	case '二', '贰', '两':
		return '2'
	case '三', '叁':
		return '3'
	case '四', '肆':
		return '4'
	case '五', '伍':
		return '5'
	case '六', '陆':
		return '6'
	case '七', '柒':
		return '7'
	case '八', '捌':
		return '8'
	case '九', '玖':
		return '9'
	}
	return -1
}

// separator says whether a character may stand inside a number that people write.
func separator(r rune) bool {
	switch r {
	case ' ', '-', '.', '_', '/', '·', '(', ')', '[', ']', '+', '*', '~', '#', '\t', '\n', '\r', '’', '\'', '\\':
		return true
	}
	return r >= utf8.RuneSelf && (r == -1 || unicode.IsSpace(r) || unicode.In(r, unicode.Pd, unicode.Cf, unicode.Mn))
}

// runs looks at every run of letters and digits of a text, with the separators between them taken out.
func (s *Scanner) runs(text string, form Form) {
	s.run, s.part = s.run[:0], s.part[:0]
	s.chinese = s.chinese[:0]
	parted := false
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
			if n := numeral(r); n >= 0 {
				s.chinese = append(s.chinese, byte(n))
			} else if len(s.chinese) > 0 && !separator(r) {
				s.numerals()
			}
			if r = classify.Folded(r); r >= utf8.RuneSelf {
				r = digit(r)
			}
		} else if len(s.chinese) > 0 && !separator(r) {
			s.numerals()
		}
		i += size
		switch {
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
			fallthrough
		case r >= '0' && r <= '9' || r >= 'A' && r <= 'Z':
			s.run, s.part, parted = append(s.run, byte(r)), append(s.part, parted), false
		case r < 0 || separator(r):
			parted = true
		default:
			s.flush(form)
			parted = false
		}
	}
	s.flush(form)
	s.numerals()
}

// numerals looks at a run of Chinese numerals.
func (s *Scanner) numerals() {
	if len(s.chinese) >= 11 {
		n := number{run: s.chinese}
		n.look(s, Numerals)
	}
	s.chinese = s.chinese[:0]
}

func (s *Scanner) flush(form Form) {
	if len(s.run) >= 8 {
		n := number{run: s.run, part: s.part}
		n.look(s, form)
		if form == Plain && len(s.run) >= 11 {
			s.back = append(s.back[:0], s.run...)
			for i, j := 0, len(s.back)-1; i < j; i, j = i+1, j-1 {
				s.back[i], s.back[j] = s.back[j], s.back[i]
			}
			n = number{run: s.back}
			n.look(s, Reversed)
		}
	}
	s.run, s.part = s.run[:0], s.part[:0]
}

// number is one run of letters and digits.
type number struct {
	run  []byte
	part []bool // a separator stood before it; nil: none anywhere
}

func (n *number) digit(i int) bool {
	return i >= 0 && i < len(n.run) && n.run[i] >= '0' && n.run[i] <= '9'
}

func (n *number) parted(i int) bool { return n.part != nil && i < len(n.part) && n.part[i] }

// alone says whether no digit touches i to j.
func (n *number) alone(i, j int) bool {
	return (!n.digit(i-1) || n.parted(i)) && (!n.digit(j) || n.parted(j))
}

// look finds numbers in a run: those whose standard leaves chance no room anywhere in it, others where they stand alone.
func (n *number) look(s *Scanner, form Form) {
	x := n.run
	for i := 0; i < len(x); i++ {
		if i+18 <= len(x) {
			c := x[i : i+18]
			switch {
			case n.digit(i+6) && (c[6] == '1' || c[6] == '2') && (classify.Valid(classify.ResidentID, c) || classify.Valid(classify.ResidencePermit, c)):
				s.found(seen{kind: classify.ResidentID, form: form, held: true})
				i += 17
				continue
			case n.digit(i+2) && n.digit(i+7) && classify.Valid(classify.USCC, c) && (!digits(c) || n.alone(i, i+18)):
				s.found(seen{kind: classify.USCC, form: form, held: true})
				i += 17
				continue
			}
		}
		if n.digit(i) && (!n.digit(i-1) || n.parted(i) || n.country(i)) {
			n.whole(s, form, i)
		}
		if !n.digit(i) && (i == 0 || n.parted(i)) && i+8 <= len(x) {
			n.lettered(s, form, i)
		}
	}
}

// country says whether the digits before i are the country's code and nothing else.
func (n *number) country(i int) bool {
	first := i
	for n.digit(first-1) && !n.parted(first) && i-first < 5 {
		first--
	}
	code := string(n.run[first:i])
	return code == "86" || code == "0086"
}

// whole looks at numbers of digits alone that begin at i and stand alone.
func (n *number) whole(s *Scanner, form Form, i int) {
	weak := form == Reversed
	end := i
	for n.digit(end) && end-i < 20 {
		end++
	}
	for j := i + 11; j <= end && j <= i+19; j++ {
		if n.digit(j) && !n.parted(j) {
			continue
		}
		c := n.run[i:j]
		switch len(c) {
		case 11:
			if !n.joined(i) {
				continue
			}
			x := seen{kind: classify.Mobile, form: form, held: classify.Valid(classify.Mobile, c)}
			if weak {
				x.weak = chanceMobile
			}
			if x.held || weak {
				s.found(x)
			}
		case 15:
			if classify.Valid(classify.ResidentID15, c) && !weak {
				s.found(seen{kind: classify.ResidentID15, form: form, held: true})
				continue
			}
			fallthrough
		case 16, 17, 18, 19:
			if issuer(c) {
				s.found(seen{kind: classify.BankCard, form: form, weak: chanceCard, held: classify.Valid(classify.BankCard, c)})
			}
		}
	}
}

// joined says whether the separators inside eleven digits are not those of a range: one alone stands after three or seven.
func (n *number) joined(i int) bool {
	breaks, last := 0, 0
	for j := 1; j < 11; j++ {
		if n.parted(i + j) {
			breaks, last = breaks+1, j
		}
	}
	return breaks != 1 || last == 3 || last == 7
}

// issuer says whether digits have the length and prefix of a card, whatever their check digit: with the right one they are valid.
func issuer(c []byte) bool {
	if c[0] < '2' || c[0] > '6' && (c[0] != '9' || c[1] != '5') || c[0] == '6' && c[1] != '2' {
		return false
	}
	d := [19]byte{}
	n := copy(d[:], c)
	sum := 0
	for i := range n - 1 {
		x := int(d[n-2-i] - '0')
		if i%2 == 0 {
			if x *= 2; x > 9 {
				x -= 9
			}
		}
		sum += x
	}
	d[n-1] = '0' + byte((10-sum%10)%10)
	return classify.Valid(classify.BankCard, d[:n])
}

// lettered looks at numbers that begin with letters.
func (n *number) lettered(s *Scanner, form Form, i int) {
	x := n.run
	ends := func(j int) bool { return j == len(x) || n.parted(j) }
	for _, l := range [2]int{8, 9} {
		if i+l > len(x) || !ends(i+l) {
			continue
		}
		c := x[i : i+l]
		if letters := l - 7; !n.digit(i+letters-1) && digits(c[letters:l-1]) && (c[l-1] == 'A' || n.digit(i+l-1)) {
			s.found(seen{kind: classify.HKID, form: form, weak: chanceCheck, held: classify.Valid(classify.HKID, c)})
		}
		if l == 9 && classify.Valid(classify.Passport, c) {
			s.found(seen{kind: classify.Passport, form: form, held: true})
		}
	}
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
