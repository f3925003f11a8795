package sandbox

import (
	"fmt"
	"math"
	"strings"
)

// Fen (分) is an amount of money in fen, 1/100 yuan. Money is never a float.
type Fen int64

// ParseYuan reads a yuan amount such as "12", "-3.5" or "1234.56". More than two decimals is an error unless the rest
// are zeros: rounding money silently would change a sum.
func ParseYuan(s string) (Fen, error) {
	n, err := ParseDecimal(s, 2)
	return Fen(n), err
}

// String prints yuan with two decimals.
func (f Fen) String() string {
	sign, n := "", uint64(f)
	if f < 0 {
		sign, n = "-", uint64(-f)
	}
	return fmt.Sprintf("%s%d.%02d", sign, n/100, n%100)
}

// ParseDecimal reads a plain decimal as an integer scaled by 10^scale, exactly: no exponent, no digits lost, overflow
// refused. The error names the rule and never the text.
func ParseDecimal(s string, scale int) (int64, error) {
	bad := func(rule string) (int64, error) {
		return 0, &Error{Op: "parse", Kind: Invalid, Object: "decimal", Detail: rule}
	}
	t, neg := s, false
	if strings.HasPrefix(t, "-") || strings.HasPrefix(t, "+") {
		neg, t = t[0] == '-', t[1:]
	}
	whole, frac, dotted := strings.Cut(t, ".")
	if whole == "" || dotted && frac == "" {
		return bad("a decimal number has digits before and after its point")
	}
	for len(frac) > scale {
		if frac[len(frac)-1] != '0' {
			return bad(fmt.Sprintf("at most %d decimals", scale))
		}
		frac = frac[:len(frac)-1]
	}
	frac += strings.Repeat("0", scale-len(frac))
	var n uint64
	for _, c := range []byte(whole + frac) {
		if c < '0' || c > '9' {
			return bad("digits with an optional sign and decimal point")
		}
		if n > (math.MaxInt64-uint64(c-'0'))/10 {
			return bad("within 64 bits")
		}
		n = n*10 + uint64(c-'0')
	}
	if neg {
		return -int64(n), nil
	}
	return int64(n), nil
}
