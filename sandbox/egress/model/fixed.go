package model

import (
	"bytes"
	"math"
	"strconv"
)

// Fixed (定点数) is a number as it leaves: whole thousandths, so that there are no low bits, no negative zero and nothing that is not a
// number. It is read from any JSON number, rounded half away from zero.
type Fixed int64

// places is how many decimals leave, one their unit's inverse.
const (
	places = 3
	one    = 1000
)

// maxFixed bounds any number in a file.
const maxFixed = Fixed(1e12) * one

// fix rounds; ok is false of what is no number or out of bounds.
func fix(v float64) (_ Fixed, ok bool) {
	r := math.Round(v * one)
	if math.IsNaN(r) || math.Abs(r) > float64(maxFixed) {
		return 0, false
	}
	return Fixed(r), true
}

// clipped rounds into ±bound, what is no number to zero.
func clipped(v float64, bound Fixed) Fixed {
	if math.IsNaN(v) {
		return 0
	}
	return Fixed(math.Round(max(min(v*one, float64(bound)), -float64(bound))))
}

// Float gives the number.
func (f Fixed) Float() float64 { return float64(f) / one }

// MarshalJSON writes the one decimal form.
func (f Fixed) MarshalJSON() ([]byte, error) {
	b := []byte{}
	if f < 0 {
		b, f = append(b, '-'), -f
	}
	b = strconv.AppendInt(b, int64(f/one), 10)
	if rest := f % one; rest != 0 {
		b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
		b = bytes.TrimRight(b, "0")
	}
	return b, nil
}

// UnmarshalJSON reads a JSON number.
func (f *Fixed) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '-' && (b[0] < '0' || b[0] > '9') || len(b) > 64 {
		return invalid("number", "not a number: NaN and Infinity are none")
	}
	v, err := strconv.ParseFloat(string(b), 64)
	x, ok := fix(v)
	if err != nil || !ok {
		return invalid("number", "numbers are within ±10^12")
	}
	*f = x
	return nil
}
