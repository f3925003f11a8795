package mask

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The oracle masks one value at a time with strings, runes and regular expressions. It shares no code with the kernels.

// stars hides n characters.
func (s Style) stars(n int) string {
	if n > 0 && s.Width > 0 {
		n = s.Width
	}
	return strings.Repeat(string(s.Mark), n)
}

// plain is the oracle of a whole operation: nothing for empty values, all marks for what does not fit.
func plain(s Style, one func(v string) (string, bool)) func(v string) (string, byte) {
	if s.Mark == 0 {
		s.Mark = '*'
	}
	return func(v string) (string, byte) {
		if v == "" {
			return "", untouched
		}
		if utf8.ValidString(v) {
			v = norm.NFC.String(v)
			if out, ok := one(v); ok {
				if out == v {
					return out, untouched
				}
				return out, masked
			}
		}
		return s.stars(len([]rune(v))), failed
	}
}

func oracleKeep(first, last int, s Style) func(string) (string, bool) {
	return func(v string) (string, bool) {
		r := []rune(v)
		if len(r) <= first+last {
			return "", false
		}
		return string(r[:first]) + s.stars(len(r)-first-last) + string(r[len(r)-last:]), true
	}
}

// groups masks by a regular expression of groups: odd ones are shown, even ones hidden.
func groups(expr string, s Style) func(string) (string, bool) {
	re := regexp.MustCompile(`^(?s:` + expr + `)$`)
	return func(v string) (string, bool) {
		m := re.FindStringSubmatch(v)
		if m == nil {
			return "", false
		}
		out := ""
		for i, g := range m[1:] {
			if i%2 == 0 {
				out += g
			} else {
				out += s.stars(len([]rune(g)))
			}
		}
		return out, true
	}
}

func luhn(d string) bool {
	sum := 0
	for i := range d {
		x := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			x = x*2/10 + x*2%10
		}
		sum += x
	}
	return sum%10 == 0
}

func onlyDigits(v string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, v)
}

var numberForm = regexp.MustCompile(`^\+?[0-9]+([ -][0-9]+)*$`)

// oracleDigits hides all but the first and last digits behind a prefix.
func oracleDigits(s Style, first, last int, prefix func(v, d string) (int, bool)) func(string) (string, bool) {
	return func(v string) (string, bool) {
		d := onlyDigits(v)
		if !numberForm.MatchString(v) {
			return "", false
		}
		p, ok := prefix(v, d)
		if !ok {
			return "", false
		}
		var out strings.Builder
		at := 0
		for _, r := range v {
			if r < '0' || r > '9' {
				out.WriteRune(r)
				continue
			}
			if at >= p+first && at < len(d)-last {
				out.WriteRune(s.Mark)
			} else {
				out.WriteRune(r)
			}
			at++
		}
		return out.String(), true
	}
}

func cardPrefix(v, d string) (int, bool) {
	return 0, v[0] != '+' && len(d) >= 16 && len(d) <= 19 && luhn(d)
}

var mobileForm = regexp.MustCompile(`^(\+86|0086|86)?1[3-9][0-9]{9}$`)

func mobilePrefix(v, d string) (int, bool) {
	m := mobileForm.FindStringSubmatch(strings.NewReplacer(" ", "", "-", "").Replace(v))
	if m == nil {
		return 0, false
	}
	return len(strings.TrimPrefix(m[1], "+")), true
}

func oracleResident(s Style) func(string) (string, bool) {
	return func(v string) (string, bool) {
		if regexp.MustCompile(`^[0-9]{15}$`).MatchString(v) {
			return v[:6] + s.stars(6) + v[12:], true
		}
		if !regexp.MustCompile(`^[0-9]{17}[0-9Xx]$`).MatchString(v) {
			return "", false
		}
		sum := 0
		for i := range 18 { // ISO 7064: the whole weighs 1 modulo 11
			d := int(v[i] - '0')
			if i == 17 && strings.ToUpper(v[17:]) == "X" {
				d = 10
			}
			w := 1
			for range 17 - i {
				w = w * 2 % 11
			}
			sum += d * w
		}
		if sum%11 != 1 {
			return "", false
		}
		return v[:6] + s.stars(8) + v[14:], true
	}
}
