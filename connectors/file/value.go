package file

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// appender puts one field into its column's builder and gives the broken rule, or "".
type appender func(field string) (rule string)

const ruleEmpty = "a value that may not be missing is empty"

// appenderOf binds a column to its builder. batch.Schema decides the builder's type.
func appenderOf(c catalog.Column, round bool, b array.Builder) (appender, error) {
	var put appender
	switch b := b.(type) {
	case *array.StringBuilder:
		put = func(s string) string { b.Append(s); return "" }
	case *array.Int64Builder:
		scale := c.Scale
		if c.Type == catalog.Money {
			scale = 2
		}
		put = func(s string) string {
			n, rule := parseDecimal(s, scale, round)
			if rule == "" {
				b.Append(n)
			}
			return rule
		}
	case *array.Date32Builder:
		put = func(s string) string {
			d, ok := parseDate(s)
			if !ok {
				return "a date is written 2006-01-02, 2006/1/2 or 20060102, and a time of day after it 15:04:05"
			}
			b.Append(d)
			return ""
		}
	case *array.BooleanBuilder:
		put = func(s string) string {
			v, ok := parseBool(s)
			if !ok {
				return "a truth value is true or false, 1 or 0, Y or N, 是 or 否"
			}
			b.Append(v)
			return ""
		}
	default:
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Internal, Object: "column " + c.Name, Detail: "the schema has a type no file value is read into"}
	}
	return func(s string) string {
		if s != "" {
			return put(s)
		}
		if !c.Nullable {
			return ruleEmpty
		}
		b.AppendNull()
		return ""
	}, nil
}

// parseDecimal reads a decimal exactly. With round, digits beyond scale round half away from zero, on the digits as they
// are written: 2.675 at two decimals is 2.68, which binary floating point would miss.
func parseDecimal(s string, scale int, round bool) (int64, string) {
	n, err := sandbox.ParseDecimal(s, scale)
	if err == nil {
		return n, ""
	}
	whole, frac, _ := strings.Cut(s, ".")
	if !digits(frac) || len(frac) <= scale {
		return 0, err.(*sandbox.Error).Detail
	}
	if !round {
		return 0, err.(*sandbox.Error).Detail + "; set \"round\" in the mapping to accept more"
	}
	kept := whole
	if scale > 0 {
		kept += "." + frac[:scale]
	}
	if n, err = sandbox.ParseDecimal(kept, scale); err != nil {
		return 0, err.(*sandbox.Error).Detail
	}
	if frac[scale] < '5' {
		return n, ""
	}
	if n == math.MaxInt64 || n == math.MinInt64 {
		return 0, "within 64 bits"
	}
	if strings.HasPrefix(s, "-") {
		return n - 1, ""
	}
	return n + 1, ""
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// parseDate reads the year-first forms, which no two countries read differently, and cuts a time of day off. The date is
// the one written; no time zone moves it.
func parseDate(s string) (arrow.Date32, bool) {
	day, clock, timed := s, "", false
	if i := strings.IndexAny(s, "T "); i >= 0 {
		day, clock, timed = s[:i], s[i+1:], true
	}
	if timed && !validClock(clock) {
		return 0, false
	}
	var y, m, d string
	switch {
	case len(day) == 8 && digits(day):
		y, m, d = day[:4], day[4:6], day[6:]
	case len(day) == 10 && day[4] == '-' && day[7] == '-':
		y, m, d = day[:4], day[5:7], day[8:]
	case len(day) >= 8 && day[4] == '/':
		var ok bool
		y = day[:4]
		if m, d, ok = strings.Cut(day[5:], "/"); !ok || m == "" || len(m) > 2 || d == "" || len(d) > 2 {
			return 0, false
		}
	default:
		return 0, false
	}
	if !digits(y) || !digits(m) || !digits(d) {
		return 0, false
	}
	t := time.Date(number(y), time.Month(number(m)), number(d), 0, 0, 0, 0, time.UTC)
	if t.Year() != number(y) || int(t.Month()) != number(m) || t.Year() == 0 { // a day out of range moves the month
		return 0, false
	}
	return arrow.Date32FromTime(t), true
}

func number(s string) (n int) {
	for i := 0; i < len(s); i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// validClock accepts 15:04, 15:04:05 and 15:04:05.999, with nothing, Z or +08:00 after them.
func validClock(s string) bool {
	s = strings.TrimSuffix(s, "Z")
	if i := strings.LastIndexAny(s, "+-"); i >= 0 {
		zone := s[i+1:]
		if len(zone) != 5 || zone[2] != ':' || !digits(zone[:2]) || !digits(zone[3:]) || number(zone[:2]) > 14 || number(zone[3:]) > 59 {
			return false
		}
		s = s[:i]
	}
	if len(s) < 5 || s[2] != ':' || !digits(s[:2]) || !digits(s[3:5]) || number(s[:2]) > 23 || number(s[3:5]) > 59 {
		return false
	}
	s = s[5:]
	if s == "" {
		return true
	}
	if len(s) < 3 || s[0] != ':' || !digits(s[1:3]) || number(s[1:3]) > 60 { // 60 is a leap second
		return false
	}
	frac := s[3:]
	return frac == "" || len(frac) > 1 && frac[0] == '.' && digits(frac[1:])
}

func parseBool(s string) (v, ok bool) {
	switch s {
	case "true", "TRUE", "True", "1", "Y", "y", "是":
		return true, true
	case "false", "FALSE", "False", "0", "N", "n", "否":
		return false, true
	}
	return false, false
}

// unfit gives the rule a field's characters break, or "". U+FFFD is refused in every encoding: it stands where an earlier
// conversion lost text.
func unfit(s string) string {
	ascii := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case c == 0:
			return "a NUL byte is not text"
		case c == '\r':
			return "a carriage return stands only before a line feed"
		case c < ' ' && c != '\t' && c != '\n', c == 0x7f:
			return fmt.Sprintf("control character U+%04X is not text", c)
		}
	}
	if ascii {
		return ""
	}
	if strings.ContainsRune(s, utf8.RuneError) { // which also finds invalid UTF-8
		return ruleEncoding
	}
	return ""
}

const ruleEncoding = "the bytes are not text in the file's encoding, or an earlier conversion lost a character"
