package mask

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cell is one character of a pattern.
type cell struct {
	class rune // 'd', 'l', 'a', 'h' or 'x'; 0: the literal
	show  bool
	lit   rune
}

const maxCells = 256

type patterns [][]cell

// Pattern (模式遮盖) hides characters by their place in a value of known shape. The first pattern that a value fits is used.
//
// A pattern has one sign for each character: d a digit 0-9, l a letter A-Z or a-z, a either of them, h a Chinese character,
// x any character; a small sign hides its character, the capital one shows it. {n} repeats the sign before it. Any other
// character stands for itself and stays; after a backslash any character does. A mobile number is D{3}d{4}D{4}.
//
// A pattern that hides nothing is refused.
func Pattern(list []string, s Style) (*Text, error) {
	if len(list) == 0 || len(list) > 64 {
		return nil, invalid("pattern", "1 to 64 patterns")
	}
	var p patterns
	for i, text := range list {
		cells, rule := parsePattern(text)
		if rule != "" {
			return nil, invalid("pattern "+strconv.Itoa(i+1), rule)
		}
		p = append(p, cells)
	}
	return newText("pattern", s, p)
}

func parsePattern(text string) (out []cell, rule string) {
	if !utf8.ValidString(text) {
		return nil, "a pattern is UTF-8"
	}
	hides := false
	for r := []rune(text); len(r) > 0; {
		c := cell{show: true, lit: r[0]}
		switch r[0] {
		case 'd', 'l', 'a', 'h', 'x':
			c = cell{class: r[0]}
			hides = true
		case 'D', 'L', 'A', 'H', 'X':
			c = cell{class: unicode.ToLower(r[0]), show: true}
		case '\\':
			if len(r) < 2 {
				return nil, "a character follows a backslash"
			}
			r = r[1:]
			c.lit = r[0]
		case '{', '}':
			return nil, "a repetition {n} follows a sign"
		}
		r = r[1:]
		times := 1
		if len(r) > 0 && r[0] == '{' {
			number, rest, ok := strings.Cut(string(r[1:]), "}")
			n, err := strconv.Atoi(number)
			if !ok || err != nil || n < 1 || n > maxCells {
				return nil, "a repetition is {1} to {256}"
			}
			times, r = n, []rune(rest)
		}
		if len(out)+times > maxCells {
			return nil, "a pattern has at most 256 characters"
		}
		for range times {
			out = append(out, c)
		}
	}
	if !hides {
		return nil, "a pattern hides at least one character"
	}
	return out, ""
}

func (p patterns) mask(dst, v []byte, s Style) ([]byte, bool) {
	for _, cells := range p {
		if d, ok := maskCells(dst, v, cells, s); ok {
			return d, true
		}
	}
	return dst, false
}

func maskCells(dst, v []byte, cells []cell, s Style) ([]byte, bool) {
	run := 0
	for _, c := range cells {
		if len(v) == 0 {
			return dst, false
		}
		r, size := rune(v[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(v)
		}
		if !c.takes(r) {
			return dst, false
		}
		if c.show {
			dst = s.hide(dst, run)
			run = 0
			dst = append(dst, v[:size]...)
		} else {
			run++
		}
		v = v[size:]
	}
	return s.hide(dst, run), len(v) == 0
}

func (c cell) takes(r rune) bool {
	switch c.class {
	case 0:
		return r == c.lit
	case 'd':
		return isDigit(r)
	case 'l':
		return isLetter(r)
	case 'a':
		return isDigit(r) || isLetter(r)
	case 'h':
		return unicode.Is(unicode.Han, r)
	}
	return true
}

func isDigit(r rune) bool  { return r >= '0' && r <= '9' }
func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// Extent (模式长度) is how many characters a pattern has and how many of them stay.
type Extent struct{ Length, Shown int }

// Shown gives the extents of patterns; of one that is none, all stay.
func Shown(list []string) []Extent {
	var out []Extent
	for _, text := range list {
		cells, rule := parsePattern(text)
		e := Extent{Length: len(cells)}
		for _, c := range cells {
			if c.show || rule != "" {
				e.Shown++
			}
		}
		out = append(out, e)
	}
	return out
}
