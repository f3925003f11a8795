package token

import (
	"github.com/opdomain/opdomain/sandbox"
)

const (
	shortestCard = 12
	longestCard  = 19
)

type card struct{ prefix int }

// NewCard (银行卡号, ISO/IEC 7812) makes the operation on card numbers of 12 to 19 digits with a right Luhn digit; tokens have a right
// one too and keep the first prefix digits, 0 to 8: the issuer (发卡行标识). Numbers so short that prefix and check digit leave
// fewer than six digits do not fit. Issuer prefixes are not held against a number.
func NewCard(k Key, prefix int) (*Format, error) {
	if prefix < 0 || prefix > 8 {
		return nil, &sandbox.Error{Op: "token: card", Kind: sandbox.Invalid, Object: "prefix", Detail: "0 to 8 digits are kept"}
	}
	return newFormat(k, card{prefix})
}

func (l card) name() []string { return []string{"card", "prefix", text(l.prefix)} }

func (l card) integers() bool { return l.prefix > 0 }

func (l card) sizes() (sizes []uint64, tweak int) {
	for n := shortestCard; n <= longestCard; n++ {
		sizes = append(sizes, power(n-1-l.prefix))
	}
	return sizes, l.prefix
}

func (l card) read(v, tweak []byte) (int, uint64, bool) {
	if len(v) < shortestCard || len(v) > longestCard || l.prefix > 0 && v[0] == '0' {
		return 0, 0, false
	}
	if _, ok := digits(v); !ok || luhn(v[:len(v)-1]) != v[len(v)-1] {
		return 0, 0, false
	}
	copy(tweak, v[:l.prefix])
	x, _ := digits(v[l.prefix : len(v)-1])
	return len(v) - shortestCard, x, true
}

func (l card) write(out, v []byte, x uint64) {
	copy(out, v[:l.prefix])
	last := len(out) - 1
	putDigits(out[l.prefix:last], x)
	out[last] = luhn(out[:last])
}

// luhn gives the check digit that goes behind v.
func luhn(v []byte) byte {
	sum := 0
	for i := range v {
		d := int(v[len(v)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return '0' + byte((10-sum%10)%10)
}

type mobile struct{ prefix int }

// NewMobile (手机号码) makes the operation on mainland mobile numbers, 11 digits from 13 to 19 on, without country code. Tokens keep
// the first prefix digits: 3 (网号), 4 or 5. Denied for more: fewer than 1,000,000 numbers would be left.
func NewMobile(k Key, prefix int) (*Format, error) {
	if prefix < 3 || prefix > 11 {
		return nil, &sandbox.Error{Op: "token: mobile", Kind: sandbox.Invalid, Object: "prefix", Detail: "at least 3 of 11 digits are kept"}
	}
	return newFormat(k, mobile{prefix})
}

func (l mobile) name() []string { return []string{"mobile", "prefix", text(l.prefix)} }

func (l mobile) integers() bool { return true }

func (l mobile) sizes() ([]uint64, int) { return []uint64{power(11 - l.prefix)}, l.prefix }

func (l mobile) read(v, tweak []byte) (int, uint64, bool) {
	if len(v) != 11 || v[0] != '1' || v[1] < '3' {
		return 0, 0, false
	}
	if _, ok := digits(v); !ok {
		return 0, 0, false
	}
	copy(tweak, v[:l.prefix])
	x, _ := digits(v[l.prefix:])
	return 0, x, true
}

func (l mobile) write(out, v []byte, x uint64) {
	copy(out, v[:l.prefix])
	putDigits(out[l.prefix:], x)
}

type calendar struct {
	first, last int
	start, days uint64
}

// NewDate (日期) makes the operation on dates yyyymmdd and yyyy-mm-dd, each form kept, from the first of the first year to the end
// of the last. Tokens are real dates of those years. Denied for fewer than 1,000,000 days, which is 2,738 years: dates of
// a lifetime are shifted (package noise), not encrypted.
func NewDate(k Key, first, last int) (*Format, error) {
	if first < 1 || last > 9999 || first > last {
		return nil, &sandbox.Error{Op: "token: date", Kind: sandbox.Invalid, Object: "years", Detail: "first and last year are 1 to 9999, in order"}
	}
	start := dayNumber(first, 1, 1)
	return newFormat(k, calendar{first, last, start, dayNumber(last, 12, 31) - start + 1})
}

func (l calendar) name() []string { return []string{"date", "years", text(l.first), text(l.last)} }

func (l calendar) integers() bool { return false }

func (l calendar) sizes() ([]uint64, int) { return []uint64{l.days}, 0 }

func (l calendar) read(v, _ []byte) (int, uint64, bool) {
	var b [8]byte
	switch {
	case len(v) == 8:
		copy(b[:], v)
	case len(v) == 10 && v[4] == '-' && v[7] == '-':
		copy(b[:4], v[:4])
		copy(b[4:6], v[5:7])
		copy(b[6:], v[8:])
	default:
		return 0, 0, false
	}
	day, ok := readDay(b[:])
	if !ok || day < l.start || day-l.start >= l.days {
		return 0, 0, false
	}
	return 0, day - l.start, true
}

func (l calendar) write(out, v []byte, x uint64) {
	var b [8]byte
	writeDay(b[:], l.start+x)
	if len(v) == 8 {
		copy(out, b[:])
		return
	}
	copy(out, v)
	copy(out[:4], b[:4])
	copy(out[5:7], b[4:6])
	copy(out[8:], b[6:])
}
