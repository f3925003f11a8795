package mark

import (
	"math"
	"strings"
	"time"
)

// grid is the multiples of a column's step. Values are integers in units of 10^-scale, or days since 1970-01-01.
type grid struct {
	kind  Type
	step  int64
	scale int
}

const (
	maxScale = 9
	maxValue = math.MaxInt64 / 8 // leaves room for a step either way
)

func newGrid(kind Type, step string) (grid, bool) {
	g := grid{kind: kind}
	switch kind {
	case Number:
		if i := strings.IndexByte(step, '.'); i >= 0 {
			g.scale = len(step) - i - 1
		}
		if g.scale > maxScale {
			return g, false
		}
	case Date:
	default:
		return g, false
	}
	v, exact, ok := decimal(step, g.scale)
	g.step = v
	return g, ok && exact && v > 0 && v < maxValue
}

// read gives a cell's value, cut to the grid's scale, and whether nothing was cut.
func (g *grid) read(s string) (v int64, exact, ok bool) {
	if g.kind == Number {
		return decimal(s, g.scale)
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, false, false
	}
	return t.Unix() / 86400, true, true // midnights of UTC divide without a rest
}

// decimal reads [-]digits[.digits] as an integer in units of 10^-scale, rounded down.
func decimal(s string, scale int) (v int64, exact, ok bool) {
	negative := strings.HasPrefix(s, "-")
	if negative {
		s = s[1:]
	}
	whole, part, dotted := strings.Cut(s, ".")
	if whole == "" || dotted && part == "" {
		return 0, false, false
	}
	exact = true
	add := func(c byte) bool {
		if c < '0' || c > '9' || v > maxValue/10-1 {
			return false
		}
		v = v*10 + int64(c-'0')
		return true
	}
	for i := range len(whole) {
		if !add(whole[i]) {
			return 0, false, false
		}
	}
	for i := range max(scale, len(part)) {
		c := byte('0')
		if i < len(part) {
			c = part[i]
		}
		switch {
		case i < scale:
			if !add(c) {
				return 0, false, false
			}
		case c < '0' || c > '9':
			return 0, false, false
		case c != '0':
			exact = false
		}
	}
	if negative {
		if v = -v; !exact {
			v--
		}
	}
	return v, exact, true
}

// pair gives which two neighbouring multiples a value is between: 2m and 2m+1 steps, and half a step to either side.
func (g *grid) pair(v int64) int64 { return floor(v+g.step/2, 2*g.step) }

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// write gives one of a pair's two values.
func (g *grid) write(m int64, bit bool) string {
	v := 2 * m * g.step
	if bit {
		v += g.step
	}
	if g.kind == Date {
		return time.Unix(v*86400, 0).UTC().Format(time.DateOnly)
	}
	negative := v < 0
	if negative {
		v = -v
	}
	b := make([]byte, 0, 24)
	for i := 0; v > 0 || i <= g.scale; i++ {
		if i == g.scale && i > 0 {
			b = append(b, '.')
		}
		b = append(b, byte('0'+v%10))
		v /= 10
	}
	if negative {
		b = append(b, '-')
	}
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// bit gives which of its pair's two values a value is; ok is false off the grid.
func (g *grid) bit(v int64) (one, ok bool) {
	if v%g.step != 0 {
		return false, false
	}
	return v/g.step%2 != 0, true
}
