package query

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Label prints a value of an int, money, number, date or bool column as labels show it: integers plain, money and numbers
// with all their decimals, dates from days since 1970-01-01, booleans from 0 and 1. The label of a text is itself.
func Label(c *catalog.Column, v int64) string { return string(AppendLabel(nil, c, v)) }

// AppendLabel is Label to the end of b.
func AppendLabel(b []byte, c *catalog.Column, v int64) []byte {
	switch c.Type {
	case catalog.Money:
		return appendDecimal(b, v, 2)
	case catalog.Number:
		return appendDecimal(b, v, c.Scale)
	case catalog.Date:
		return time.Unix(0, 0).UTC().AddDate(0, 0, int(v)).AppendFormat(b, time.DateOnly)
	case catalog.Bool:
		return strconv.AppendBool(b, v != 0)
	default:
		return strconv.AppendInt(b, v, 10)
	}
}

func appendDecimal(b []byte, v int64, scale int) []byte {
	if scale == 0 {
		return strconv.AppendInt(b, v, 10)
	}
	var digits [20]byte
	s := strconv.AppendInt(digits[:0], v, 10)
	if v < 0 {
		b, s = append(b, '-'), s[1:]
	}
	if len(s) <= scale {
		b = append(b, '0', '.')
		for range scale - len(s) {
			b = append(b, '0')
		}
		return append(b, s...)
	}
	b = append(b, s[:len(s)-scale]...)
	b = append(b, '.')
	return append(b, s[len(s)-scale:]...)
}

// ScoreUnit is the unit that bands of a score count in.
const ScoreUnit = "points"

// EdgeUnit is the unit that labels of an amount bin over a column count in, the column's smallest: 分 for money. Empty where labels
// are plain numbers, or no amounts.
func EdgeUnit(c *catalog.Column, b *catalog.Bin) string {
	switch {
	case b == nil || b.Kind != catalog.Amount:
		return ""
	case c.Type == catalog.Money && (c.Unit == "" || c.Unit == "元"):
		return "分"
	case c.Type == catalog.Money:
		return "10^-2 " + c.Unit
	case c.Type == catalog.Number && c.Scale > 0:
		return strings.TrimSpace("10^-" + strconv.Itoa(c.Scale) + " " + c.Unit)
	}
	return c.Unit
}

// labelOf says whether l is a label that the bin, or the public column itself when b is nil, can give.
func labelOf(c *catalog.Column, b *catalog.Bin, l string) bool {
	if l == catalog.Missing {
		return true
	}
	if b == nil {
		return publicLabel(c, l)
	}
	switch b.Kind {
	case catalog.Age, catalog.Amount:
		return slices.Contains(b.Labels(), l)
	case catalog.Year:
		n, err := strconv.ParseUint(l, 10, 16)
		return l == catalog.Other || err == nil && n >= 1 && n <= 9999 && strconv.FormatUint(n, 10) == l
	default:
		return l == catalog.Other || slices.ContainsFunc(b.Groups, func(g catalog.Group) bool { return g.Label == l })
	}
}

// publicLabel wants the one spelling Label gives: a filter on "007" would silently match no 7.
func publicLabel(c *catalog.Column, l string) bool {
	if c.Type == catalog.Text {
		return true
	}
	_, ok := Value(c, l)
	return ok
}

// Value is the inverse of Label for columns that are not text; false when l is not exactly what Label prints.
func Value(c *catalog.Column, l string) (int64, bool) {
	var v int64
	switch c.Type {
	case catalog.Text:
		return 0, false
	case catalog.Bool:
		if l == "true" {
			v = 1
		}
	case catalog.Date:
		t, err := time.Parse(time.DateOnly, l)
		if err != nil {
			return 0, false
		}
		v = t.Unix() / (24 * 60 * 60) // a midnight: exact on both sides of 1970
	default:
		scale := c.Scale
		if c.Type == catalog.Money {
			scale = 2
		}
		var err error
		if v, err = sandbox.ParseDecimal(l, scale); err != nil {
			return 0, false
		}
	}
	return v, Label(c, v) == l
}
