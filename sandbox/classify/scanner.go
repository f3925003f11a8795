package classify

import (
	"unicode"
	"unicode/utf8"
)

// Scanner (识别器) looks at values and texts one after the other, in working memory of its own: nothing is allocated per
// value once it has grown to the longest one. One goroutine uses it. It keeps the last text until the next, so it prints
// redacted.
type Scanner struct {
	t *tables

	norm []byte  // the text folded: full-width forms as ASCII, one space for each kind of space
	r    []rune  // its characters
	at   []int32 // where each character begins in the caller's text
	to   []int32 // and where it ends; characters without width may lie between
	np   []int32 // where each character begins in norm; one more for the end
	used []bool  // characters that a span has
	c    [48]byte

	spans []Span // of the last text, for a Sampler
}

// NewScanner gives a scanner.
func NewScanner() *Scanner { return &Scanner{t: loaded()} }

// String keeps the last text out of logs.
func (*Scanner) String() string { return "scanner(redacted)" }

// GoString keeps the last text out of %#v.
func (*Scanner) GoString() string { return "scanner(redacted)" }

// Classes of bytes.
const (
	cDigit = 1 << iota
	cUpper
	cLower
	cAt
	cGap   // space, hyphen and brackets, which people write numbers with
	cOther // other ASCII
	cHigh
)

var classOf = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c >= '0' && c <= '9':
			t[i] = cDigit
		case c >= 'A' && c <= 'Z':
			t[i] = cUpper
		case c >= 'a' && c <= 'z':
			t[i] = cLower
		case c == '@':
			t[i] = cAt
		case c == ' ' || c == '-' || c == '(' || c == ')':
			t[i] = cGap
		case c < utf8.RuneSelf:
			t[i] = cOther
		default:
			t[i] = cHigh
		}
	}
	return t
}()

// folded gives the character a rune counts as; -1 for characters without width.
func folded(r rune) rune {
	switch {
	case r < 0x80:
		if r == '\t' {
			return ' '
		}
		return r
	case r >= '！' && r <= '～':
		return r - '！' + '!'
	case r == '\u3000' || r == '\u00a0' || r >= '\u2000' && r <= '\u200a' || r == '\u202f':
		return ' '
	case r >= '\u200b' && r <= '\u200d' || r == '\ufeff' || r == '\u2060':
		return -1
	case r >= '\u2010' && r <= '\u2015' || r == '\u2212':
		return '-'
	}
	return r
}

// load folds s into the working memory.
func (sc *Scanner) load(s string) {
	sc.norm, sc.r, sc.at, sc.to, sc.np = sc.norm[:0], sc.r[:0], sc.at[:0], sc.to[:0], sc.np[:0]
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if f := folded(r); f >= 0 {
			sc.r = append(sc.r, f)
			sc.at = append(sc.at, int32(i))
			sc.to = append(sc.to, int32(i+size))
			sc.np = append(sc.np, int32(len(sc.norm)))
			sc.norm = utf8.AppendRune(sc.norm, f)
		}
		i += size
	}
	sc.np = append(sc.np, int32(len(sc.norm)))
}

// text gives the folded bytes of characters a to b.
func (sc *Scanner) text(a, b int) []byte { return sc.norm[sc.np[a]:sc.np[b]] }

// longest gives the number of characters of the longest word of l that begins at character i and ends before n.
func (sc *Scanner) longest(l *lexicon, i, n int) int {
	if !l.first.has(sc.r[i]) {
		return 0
	}
	if i+1 < n {
		if at, bit := pair(sc.r[i], sc.r[i+1]); l.head[at]>>bit&1 == 1 {
			for k := min(l.most, n-i); k > 1; k-- {
				if l.has(sc.text(i, i+k)) {
					return k
				}
			}
		}
	}
	if i < n && l.alone.has(sc.r[i]) {
		return 1
	}
	return 0
}

// ends gives the number of characters of the longest word of l that ends at character i (exclusive) and begins at lo or later.
func (sc *Scanner) ends(l *lexicon, lo, i int) int {
	if i == lo || !l.last.has(sc.r[i-1]) {
		return 0
	}
	if i-lo > 1 {
		if at, bit := pair(sc.r[i-2], sc.r[i-1]); l.tail[at]>>bit&1 == 1 {
			for k := min(l.most, i-lo); k > 1; k-- {
				if l.has(sc.text(i-k, i)) {
					return k
				}
			}
		}
	}
	if l.alone.has(sc.r[i-1]) {
		return 1
	}
	return 0
}

// trimmed gives the characters without what stands around values: spaces, line ends, quotes.
func (sc *Scanner) trimmed() (a, b int) {
	a, b = 0, len(sc.r)
	for a < b && around(sc.r[a]) {
		a++
	}
	for b > a && around(sc.r[b-1]) {
		b--
	}
	return a, b
}

func around(r rune) bool { return r <= ' ' || r == '\'' || r == '"' || r == '`' }

// compact drops what people write numbers with and raises letters. Only short ASCII values are numbers; others give nil.
func (sc *Scanner) compact(b []byte) []byte {
	if len(b) > len(sc.c) {
		return nil
	}
	n := 0
	for _, x := range b {
		switch k := classOf[x]; {
		case k == cGap:
		case k == cHigh:
			return nil
		case k == cLower:
			sc.c[n] = x - 'a' + 'A'
			n++
		default:
			sc.c[n] = x
			n++
		}
	}
	return sc.c[:n]
}

func isDigits(s []byte) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) > 0
}

func number(s []byte) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

func isWord(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func mailByte(c byte) bool {
	return classOf[c]&(cDigit|cUpper|cLower) != 0 || c == '_' || c == '.' || c == '-' || c == '+' || c == '%'
}

func isHan(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r == '〇' || r >= 0x20000 && unicode.Is(unicode.Han, r)
}
