package catalog

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Values (值域) is a column's range as a machine checks it, parsed from Column.Values:
//
//	[0,150]  (0,1]  [0,)        numbers and money, as they are written in the data, and dates: [2000-01-01,2030-12-31]
//	{F,M,U}                     text: one of these; commas part them, spaces around them do not count
//	len[1,18]                   text: so many characters
//	digits[6,6]                 text: so many characters, all of 0-9
//
// A square bracket takes its bound in, a round one leaves it out; a bound that is left away is none. Money and numbers are
// kept in the scaled unit of the column.
type Values struct {
	Kind ValuesKind
	// Low and High are inclusive: scaled numbers, days since 1970-01-01, or characters.
	Low, High int64
	Set       []string // of OneOf, sorted
}

// ValuesKind (值域类型) says which form a range has.
type ValuesKind int

const (
	Between   ValuesKind = 1 + iota // 数值或日期区间
	OneOf                           // 枚举
	Length                          // 长度
	AllDigits                       // 数字串
)

// MaxValues bounds the words of an enumeration.
const MaxValues = 1024

// ParseValues reads the declared range of a column; nil when none is declared. The error names the column.
func ParseValues(at string, c *Column) (*Values, error) {
	s := strings.TrimSpace(c.Values)
	if s == "" {
		return nil, nil
	}
	switch c.Type {
	case Text:
		switch {
		case strings.HasPrefix(s, "{"):
			return parseSet(at, s)
		case strings.HasPrefix(s, "len"):
			return parseLength(at, Length, s[len("len"):])
		case strings.HasPrefix(s, "digits"):
			return parseLength(at, AllDigits, s[len("digits"):])
		}
		return nil, bad(at, "the values of a text are {a,b}, len[1,18] or digits[6,6]")
	case Int, Money, Number, Date:
		return parseBetween(at, Between, s, func(b string) (int64, bool) { return c.ParseValue(b) })
	}
	return nil, bad(at, "the values of a bool are its type")
}

func parseSet(at, s string) (*Values, error) {
	inner, ok := strings.CutSuffix(s[1:], "}")
	if !ok {
		return nil, bad(at, "an enumeration ends with }")
	}
	v := &Values{Kind: OneOf}
	for w := range strings.SplitSeq(inner, ",") {
		w = strings.TrimSpace(w)
		if w == "" || !utf8.ValidString(w) || strings.ContainsAny(w, "{}") {
			return nil, bad(at, "the words of an enumeration are not empty and have no braces")
		}
		v.Set = append(v.Set, w)
	}
	slices.Sort(v.Set)
	if len(v.Set) > MaxValues || len(slices.Compact(slices.Clone(v.Set))) != len(v.Set) {
		return nil, bad(at, fmt.Sprintf("at most %d words, each once", MaxValues))
	}
	return v, nil
}

func parseLength(at string, kind ValuesKind, s string) (*Values, error) {
	v, err := parseBetween(at, kind, s, func(b string) (int64, bool) {
		n, err := strconv.ParseInt(b, 10, 32)
		return n, err == nil && n >= 0
	})
	if err == nil {
		v.Low = max(v.Low, 0)
	}
	return v, err
}

func parseBetween(at string, kind ValuesKind, s string, bound func(string) (int64, bool)) (*Values, error) {
	if len(s) < 3 || s[0] != '[' && s[0] != '(' || s[len(s)-1] != ']' && s[len(s)-1] != ')' {
		return nil, bad(at, "a range is written [low,high], with ( or ) where the bound is left out")
	}
	low, high, ok := strings.Cut(s[1:len(s)-1], ",")
	if low, high = strings.TrimSpace(low), strings.TrimSpace(high); !ok || low == "" && high == "" {
		return nil, bad(at, "a range has at least one bound, parted by a comma")
	}
	v := &Values{Kind: kind, Low: math.MinInt64, High: math.MaxInt64}
	if low != "" {
		n, ok := bound(low)
		if !ok {
			return nil, bad(at, "the lower bound is a value of the column's type")
		}
		if v.Low = n; s[0] == '(' {
			if n == math.MaxInt64 {
				return nil, bad(at, "the range holds a value")
			}
			v.Low++
		}
	}
	if high != "" {
		n, ok := bound(high)
		if !ok {
			return nil, bad(at, "the upper bound is a value of the column's type")
		}
		if v.High = n; s[len(s)-1] == ')' {
			if n == math.MinInt64 {
				return nil, bad(at, "the range holds a value")
			}
			v.High--
		}
	}
	if v.Low > v.High {
		return nil, bad(at, "the range holds a value")
	}
	return v, nil
}

// ParseValue reads one written number, amount or date of the column as the domain keeps it; ok is false for what is none, or is
// finer than the column's scale.
func (c *Column) ParseValue(s string) (v int64, ok bool) {
	switch c.Type {
	case Int:
		v, err := strconv.ParseInt(s, 10, 64)
		return v, err == nil
	case Money:
		return parseScaled(s, 2)
	case Number:
		return parseScaled(s, c.Scale)
	case Date:
		t, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return 0, false
		}
		return t.Unix() / 86400, true // whole days, exact before 1970 too
	}
	return 0, false
}

// parseScaled reads a plain decimal times 10^scale.
func parseScaled(s string, scale int) (int64, bool) {
	whole, frac, dot := strings.Cut(s, ".")
	if dot && (frac == "" || !digits(frac)) || len(frac) > scale || !strings.ContainsAny(whole, "0123456789") {
		return 0, false
	}
	v, err := strconv.ParseInt(whole+frac+strings.Repeat("0", scale-len(frac)), 10, 64)
	return v, err == nil
}
