package quality

import (
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// placeholders is a set of short texts, asked about mostly for what is not in it: most values fail at their length or first byte.
type placeholders struct {
	set   map[string]struct{} // lower case, trimmed
	first [256]bool
	long  int
}

func newPlaceholders(lists ...[]string) placeholders {
	p := placeholders{set: map[string]struct{}{}}
	for _, l := range lists {
		for _, s := range l {
			b := lowered(make([]byte, 0, catalog.MaxPlaceholder), trim([]byte(s)))
			if len(b) == 0 {
				continue
			}
			p.set[string(b)] = struct{}{}
			p.first[b[0]] = true
			if b[0] >= 'a' && b[0] <= 'z' {
				p.first[b[0]-'a'+'A'] = true
			}
			p.long = max(p.long, len(b))
		}
	}
	return p
}

// holds says whether a trimmed text is a placeholder.
func (p *placeholders) holds(b []byte) bool {
	if len(b) > p.long || !p.first[b[0]] {
		return false
	}
	var buf [catalog.MaxPlaceholder]byte
	_, ok := p.set[string(lowered(buf[:0], b))] // the compiler looks it up without a copy
	return ok
}

func lowered(to, b []byte) []byte {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		to = append(to, c)
	}
	return to
}

// blankAt gives the length of the blank that b starts with, 0 for none.
func blankAt(b []byte) int {
	switch c := b[0]; {
	case c == ' ' || c >= '\t' && c <= '\r':
		return 1
	case c == 0xc2 && len(b) > 1 && b[1] == 0xa0:
		return 2
	case c == 0xe3 && len(b) > 2 && b[1] == 0x80 && b[2] == 0x80:
		return 3
	}
	return 0
}

// trim takes blanks from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 {
		n := blankAt(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	for len(b) > 0 {
		switch n := len(b); {
		case b[n-1] == ' ' || b[n-1] >= '\t' && b[n-1] <= '\r':
			b = b[:n-1]
		case n > 1 && b[n-2] == 0xc2 && b[n-1] == 0xa0:
			b = b[:n-2]
		case n > 2 && b[n-3] == 0xe3 && b[n-2] == 0x80 && b[n-1] == 0x80:
			b = b[:n-3]
		default:
			return b
		}
	}
	return b
}

// textOf gives the offsets, one more than rows, and the bytes they point into.
func textOf(a *array.String) ([]int32, []byte) {
	data := a.Data()
	buf := data.Buffers()
	if data.Len() == 0 || buf[1] == nil {
		return nil, nil
	}
	offs := arrow.Int32Traits.CastFromBytes(buf[1].Bytes())[data.Offset() : data.Offset()+data.Len()+1]
	if buf[2] == nil {
		return offs, nil
	}
	return offs, buf[2].Bytes()
}

func (c *column) text(a *array.String) {
	offs, bytes := textOf(a)
	if offs == nil {
		return
	}
	nulls := a.NullN() > 0
	for i := range len(offs) - 1 {
		if nulls && a.IsNull(i) {
			continue
		}
		v := bytes[offs[i]:offs[i+1]]
		if len(v) == 0 {
			c.Empty++
			continue
		}
		t := v
		if first, last := v[0], v[len(v)-1]; first <= ' ' || first == 0xc2 || first == 0xe3 || last <= ' ' || last == 0xa0 || last == 0x80 {
			t = trim(v)
		}
		switch {
		case len(t) == 0:
			c.Blank++
		case c.missing.holds(t):
			c.Placeholder++
		case c.check != nil:
			c.Checked++
			c.Fits += b2i(c.fits(v))
		}
	}
}

// fits says whether a text is in the declared range, as it is stored.
func (c *column) fits(v []byte) bool {
	switch c.check.Kind {
	case catalog.OneOf:
		_, ok := c.set[string(v)]
		return ok
	case catalog.AllDigits:
		for _, b := range v {
			if b < '0' || b > '9' {
				return false
			}
		}
		n := int64(len(v))
		return n >= c.check.Low && n <= c.check.High
	}
	n := int64(utf8.RuneCount(v))
	return n >= c.check.Low && n <= c.check.High
}
