package scan

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth   = 3
	maxInflate = 256 << 10 // bytes out of one compressed piece
	shortest   = 7         // characters of the shortest identifier that is looked for in what was decoded
	opaqueRun  = 40        // characters of an undeclared code: 30 bytes in base64
)

// classes of characters in encoded text.
const (
	inBase64 = 1 << iota
	inHex
)

var alphabet = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
			t[i] = inBase64 | inHex
		case c >= 'g' && c <= 'z', c >= 'G' && c <= 'Z', c == '+', c == '/', c == '-', c == '_':
			t[i] = inBase64
		}
	}
	return t
}()

// decoded looks at what a text may be in another code.
func (s *Scanner) decoded(text string, depth int) {
	n := len(text)
	if n < 9 {
		return
	}
	percents, escapes, entities := 0, 0, 0
	for i := 0; i < n; {
		c := text[i]
		if alphabet[c] == 0 {
			switch {
			case c == '%' && i+2 < n:
				percents++
			case c == '\\' && i+3 < n && (text[i+1] == 'u' || text[i+1] == 'x' || text[i+1] == 'U'):
				escapes++
			case c == '&' && i+3 < n && text[i+1] == '#':
				entities++
			}
			i++
			continue
		}
		start, all := i, uint8(inBase64|inHex)
		upper, lower, digit := false, false, false
		for i < n && alphabet[text[i]] != 0 {
			c := text[i]
			all &= alphabet[c]
			upper = upper || c >= 'A' && c <= 'Z'
			lower = lower || c >= 'a' && c <= 'z'
			digit = digit || c >= '0' && c <= '9'
			i++
		}
		piece := text[start:i]
		if all&inHex != 0 {
			s.hex(piece, depth)
		}
		if len(piece) >= 10 && (upper || lower) { // text is never digits alone
			readable := s.base64(piece, depth)
			if !readable && len(piece) >= opaqueRun && digit && (upper && lower || all&inHex != 0) && entropy(piece) >= 3 {
				s.opaque = true
			}
		}
	}
	if percents >= 3 {
		s.again(unescape(s.room(n), text, percent), Percent, depth)
	}
	if escapes >= 3 {
		s.again(unescape(s.room(n), text, backslash), Escaped, depth)
	}
	if entities >= 3 {
		s.again(unescape(s.room(n), text, entity), Escaped, depth)
	}
	if depth == 0 && n >= 3*shortest && strings.ContainsAny(text, " :-,;\\._") {
		s.separated(text)
	}
}

// separated looks at hexadecimal bytes that are written apart: 31:33:38, 31 33 38, \x31\x33.
func (s *Scanner) separated(text string) {
	out := s.room(len(text))
	flush := func() {
		if len(out) >= 2*shortest {
			s.hex(string(out), 0)
		}
		out = out[:0]
	}
	for i := 0; i < len(text); {
		if text[i] == '0' && i+1 < len(text) && (text[i+1] == 'x' || text[i+1] == 'X') {
			i += 2
			continue
		}
		if i+1 < len(text) && alphabet[text[i]]&inHex != 0 && alphabet[text[i+1]]&inHex != 0 && (i+2 == len(text) || alphabet[text[i+2]]&inHex == 0) {
			out = append(out, text[i], text[i+1])
			i += 2
			continue
		}
		switch text[i] {
		case ' ', ':', '-', ',', ';', '\\', 'x', 'X', '.', '_':
		default:
			flush()
		}
		if alphabet[text[i]]&inHex != 0 {
			flush()
		}
		i++
	}
	flush()
}

// rough is room whose bytes are looked at before the next piece of the same depth is decoded.
func (s *Scanner) rough(n, depth int) []byte {
	if s.budget -= n; s.budget < 0 {
		s.opaque = true
		return nil
	}
	if cap(s.scratch[depth]) < n {
		s.scratch[depth] = make([]byte, 0, n+n/2)
	}
	return s.scratch[depth][:0]
}

// room gives a buffer of its own for n bytes, charged against what decoding may yield.
func (s *Scanner) room(n int) []byte {
	if s.budget -= n; s.budget < 0 {
		s.opaque = true
		return nil
	}
	return make([]byte, 0, n)
}

// again looks at decoded bytes, one level deeper.
func (s *Scanner) again(b []byte, form Form, depth int) {
	if len(b) < shortest {
		return
	}
	if depth+1 > maxDepth {
		s.opaque = true // still readable: somebody meant it to be decoded further
		return
	}
	s.text(string(b), form, depth+1)
}

// hex looks at a run of hexadecimal digits as text, from both beginnings, and as one number.
func (s *Scanner) hex(run string, depth int) {
	if len(run) >= 9 && len(run) <= 16 && strings.ContainsAny(run, "abcdefABCDEF") {
		if v, err := strconv.ParseUint(run, 16, 64); err == nil && v > 1e14 { // shorter ones are any code
			s.digits(strconv.AppendUint(nil, v, 10), Hex)
		}
	}
	if len(run) < 2*shortest {
		return
	}
	for first := range 2 {
		b := s.rough(len(run)/2, depth)
		if b == nil {
			return
		}
		for i := first; i+1 < len(run); i += 2 {
			b = append(b, value(run[i])<<4|value(run[i+1]))
		}
		s.pieces(b, Hex, depth)
	}
}

func value(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

// base64 looks at a run from each of its four beginnings, and says whether one of them is text.
func (s *Scanner) base64(run string, depth int) bool {
	readable := false
	for first := range 4 {
		if len(run)-first < 10 {
			break
		}
		b := s.rough(len(run), depth)
		if b == nil {
			return true // opaque already
		}
		for i := first; i < len(run); i++ {
			switch c := run[i]; c {
			case '-':
				b = append(b, '+')
			case '_':
				b = append(b, '/')
			default:
				b = append(b, c)
			}
		}
		if len(b)%4 == 1 {
			b = b[:len(b)-1]
		}
		n, err := base64.RawStdEncoding.Decode(b, b) // in place: it writes behind where it reads
		if err != nil {
			continue
		}
		if s.pieces(b[:n], Base64, depth) {
			readable = true
		}
	}
	return readable
}

// pieces looks at the readable pieces of decoded bytes, and into what is compressed; it says whether most of it is readable.
func (s *Scanner) pieces(b []byte, form Form, depth int) bool {
	if out, ok := s.inflated(b); ok {
		s.again(out, Zipped, depth)
		return true
	}
	b = narrow(b)
	readable, start := 0, 0
	end := func(i int) {
		if i-start >= shortest {
			readable += i - start
			s.again(b[start:i], form, depth)
		}
	}
	for i := 0; i < len(b); {
		size := 1
		ok := b[i] >= ' ' && b[i] < 0x7f || b[i] == '\t' || b[i] == '\n' || b[i] == '\r'
		if b[i] >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(b[i:])
			size, ok = n, r != utf8.RuneError
		}
		if !ok {
			end(i)
			start = i + size
		}
		i += size
	}
	end(len(b))
	return 2*readable >= len(b)
}

// narrow gives UTF-16 of ASCII and Chinese characters as UTF-8, other bytes as they are.
func narrow(b []byte) []byte {
	ascii := 0
	for _, c := range b {
		if c >= ' ' && c < 0x7f {
			ascii++
		}
	}
	if len(b) < 2*shortest || 5*ascii >= 4*len(b) { // pairs of letters read as Chinese characters too
		return b
	}
	for high := range 2 { // little endian, big endian
		known, n := 0, len(b)/2
		for i := range n {
			if r := rune(b[2*i+high^1])<<8 | rune(b[2*i+high]); r >= ' ' && r < 0x7f || r >= 0x4e00 && r <= 0x9fff || r >= 0x3000 && r <= 0x303f || r >= 0xff00 && r <= 0xff5e {
				known++
			}
		}
		if 20*known < 19*n {
			continue
		}
		out := make([]byte, 0, len(b)*3/2)
		for i := range n {
			out = utf8.AppendRune(out, rune(b[2*i+high^1])<<8|rune(b[2*i+high]))
		}
		return out
	}
	return b
}

// inflated gives what compressed bytes hold, up to a bound.
func (s *Scanner) inflated(b []byte) ([]byte, bool) {
	if len(b) < 8 {
		return nil, false
	}
	var r io.ReadCloser
	var err error
	switch {
	case b[0] == 0x1f && b[1] == 0x8b && b[2] == 8:
		r, err = gzip.NewReader(bytes.NewReader(b))
	case b[0] == 0x78 && (int(b[0])<<8|int(b[1]))%31 == 0:
		r, err = zlib.NewReader(bytes.NewReader(b))
	default:
		return nil, false
	}
	if err != nil {
		return nil, false
	}
	defer r.Close()
	out, _ := io.ReadAll(io.LimitReader(r, maxInflate+1)) // what comes before a fault was held too
	if s.budget -= len(out); len(out) > maxInflate || s.budget < 0 {
		s.opaque = true
	}
	return out, len(out) > 0
}

// unescape replaces escapes by what they stand for.
func unescape(out []byte, text string, one func(string) (rune, int)) []byte {
	if out == nil {
		return nil
	}
	for i := 0; i < len(text); {
		if r, n := one(text[i:]); n > 0 {
			if n == 3 { // one byte of a percent escape
				out = append(out, byte(r))
			} else {
				out = utf8.AppendRune(out, r)
			}
			i += n
			continue
		}
		out = append(out, text[i])
		i++
	}
	return out
}

func percent(s string) (rune, int) {
	if len(s) > 2 && s[0] == '%' && alphabet[s[1]]&inHex != 0 && alphabet[s[2]]&inHex != 0 {
		return rune(value(s[1])<<4 | value(s[2])), 3
	}
	return 0, 0
}

func backslash(s string) (rune, int) {
	if len(s) < 4 || s[0] != '\\' {
		return 0, 0
	}
	n := map[byte]int{'x': 4, 'u': 6, 'U': 10}[s[1]]
	if n == 0 || len(s) < n {
		return 0, 0
	}
	v, err := strconv.ParseUint(s[2:n], 16, 32)
	if err != nil {
		return 0, 0
	}
	return rune(v), n
}

func entity(s string) (rune, int) {
	if len(s) < 4 || s[0] != '&' || s[1] != '#' {
		return 0, 0
	}
	i, base := 2, 10
	if s[i] == 'x' || s[i] == 'X' {
		i, base = 3, 16
	}
	end := i
	for end < len(s) && end-i < 7 && alphabet[s[end]]&inHex != 0 {
		end++
	}
	v, err := strconv.ParseUint(s[i:end], base, 32)
	if err != nil {
		return 0, 0
	}
	if end < len(s) && s[end] == ';' {
		end++
	}
	if end == 3 {
		return 0, 0 // not told from a percent escape by its length
	}
	return rune(v), end
}

// entropy gives the bits of a character of a text by its own frequencies.
func entropy(s string) float64 {
	var n [256]int
	for i := range len(s) {
		n[s[i]]++
	}
	h := 0.0
	for _, k := range n {
		if k > 0 {
			p := float64(k) / float64(len(s))
			h -= p * math.Log2(p)
		}
	}
	return h
}
