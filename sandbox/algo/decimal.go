package algo

import (
	"math/big"
	"strconv"
	"strings"
)

// Decimal (十进制常数) is a constant in its one spelling: no exponent, no plus, no needless zero, at most 15 digits before the point and 9
// behind it.
type Decimal string

// MaxScale bounds the digits behind the point.
const MaxScale = 9

// NewDecimal spells a float in the shortest way that reads back as it. False for what is no Decimal: NaN, infinities, too many digits.
func NewDecimal(v float64) (Decimal, bool) {
	if v == 0 {
		return "0", true
	}
	d := Decimal(strconv.FormatFloat(v, 'f', -1, 64))
	return d, d.Valid()
}

// Valid says whether d is spelled as a Decimal is.
func (d Decimal) Valid() bool {
	s := strings.TrimPrefix(string(d), "-")
	whole, frac, point := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	if !digits(whole) || len(whole) > 15 || len(whole) > 1 && whole[0] == '0' || d == "-0" {
		return false
	}
	return !point || digits(frac) && len(frac) <= MaxScale && frac[len(frac)-1] != '0'
}

// Rat gives its value; of what is not Valid, zero.
func (d Decimal) Rat() *big.Rat {
	r, ok := new(big.Rat).SetString(string(d))
	if !ok || !d.Valid() {
		return new(big.Rat)
	}
	return r
}
