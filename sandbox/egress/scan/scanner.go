package scan

import (
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// Scanner (内容扫描器) looks at texts in working memory of its own. One goroutine uses it. It keeps parts of the last text, so it
// prints redacted.
type Scanner struct {
	places *classify.Scanner
	spans  []classify.Span

	run, back, chinese []byte
	part               []bool

	scratch [maxDepth + 1][]byte // per depth

	free   bool // names and the like too
	sight  []seen
	opaque bool
	budget int // bytes that decoding may still yield
	work   int // bytes looked at for the last text
}

// NewScanner gives a scanner.
func NewScanner() *Scanner { return &Scanner{places: classify.NewScanner()} }

// String keeps the last text out of logs.
func (*Scanner) String() string { return "scanner(redacted)" }

// GoString keeps the last text out of %#v.
func (*Scanner) GoString() string { return "scanner(redacted)" }

// Text looks at one text by itself, of free text also for names. Chance is left no room: every number of a shape that holds is a hit.
func (s *Scanner) Text(text string, free bool) []Hit {
	s.free = free
	s.look(text)
	var out []Hit
	for _, x := range s.sight {
		if !x.held {
			continue
		}
		h := Hit{Rule: RuleIdentifier, Kind: x.kind, Form: x.form, Count: 1}
		dup := false
		for i := range out {
			if out[i].Kind == h.Kind && out[i].Form == h.Form {
				out[i].Count++
				dup = true
			}
		}
		if !dup {
			out = append(out, h)
		}
	}
	if s.opaque {
		out = append(out, Hit{Rule: RuleOpaque, Count: 1})
	}
	return out
}

// look fills sight and opaque from one text.
func (s *Scanner) look(text string) {
	s.sight, s.opaque, s.budget, s.work = s.sight[:0], false, 16*len(text)+maxInflate, 0
	s.text(text, Plain, 0)
}

func (s *Scanner) found(x seen) { s.sight = append(s.sight, x) }

// text looks at a text that was written, or decoded to, in a form.
func (s *Scanner) text(text string, form Form, depth int) {
	if len(text) < shortest {
		return
	}
	s.work += len(text)
	digits, high, wide, at := 0, false, false, false
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= utf8.RuneSelf:
			high = true
			wide = wide || c == 0xef // full-width forms begin so
		case c == '@':
			at = true
		}
	}
	if digits >= 6 || high {
		s.runs(text, form)
	}
	if at || high && (digits > 0 || wide) || s.free {
		for start := 0; ; {
			end := edge(text, start+window)
			s.place(text[start:end], form)
			if end == len(text) {
				break
			}
			start = edge(text, end-overlap)
		}
	}
	if (digits >= 8 || wide) && coordinates(s.half(text, wide)) {
		s.found(seen{kind: Coordinate, form: form, held: true})
	}
	s.decoded(text, depth)
}

// Places are looked for in windows, since finding the ends of some takes time with the square of a text's length. The overlap is longer
// than an address.
const (
	window  = 1024
	overlap = 256
)

// edge gives the next beginning of a character at or after i.
func edge(text string, i int) int {
	for i < len(text) && !utf8.RuneStart(text[i]) {
		i++
	}
	return min(i, len(text))
}

// place looks for what has no number's form.
func (s *Scanner) place(text string, form Form) {
	s.spans = s.places.Spans(s.spans[:0], text)
	for _, x := range s.spans {
		switch x.Kind {
		case classify.Email, classify.Plate, classify.Address:
		case classify.Landline, classify.VIN, classify.TravelPermit:
			if !s.free {
				continue
			}
		case classify.PersonName:
			if !s.free || x.Confidence < 50 {
				continue
			}
		default:
			continue // numbers: found by runs
		}
		s.found(seen{kind: x.Kind, form: form, held: true})
	}
}

// half gives a text with half-width forms.
func (s *Scanner) half(text string, wide bool) string {
	if !wide {
		return text
	}
	out := make([]byte, 0, len(text))
	for _, r := range text {
		if r = classify.Folded(r); r >= 0 {
			out = utf8.AppendRune(out, r)
		}
	}
	return string(out)
}

// digits looks at one number.
func (s *Scanner) digits(b []byte, form Form) {
	n := number{run: b}
	n.look(s, form)
}

// coordinates says whether two decimals with four or more places behind the point that may be longitude and latitude inside the
// country stand one behind the other.
func coordinates(text string) bool {
	last := 0 // 1: longitude, 2: latitude
	for i := 0; i < len(text); {
		if text[i] < '0' || text[i] > '9' {
			i++ // words may stand between: 经度114.0579纬度22.5431
			continue
		}
		start := i
		whole, part, places := 0, false, 0
		for i < len(text) && (text[i] >= '0' && text[i] <= '9' || text[i] == '.' && !part) {
			switch {
			case text[i] == '.':
				part = true
			case part:
				places++
			case whole < 1000:
				whole = whole*10 + int(text[i]-'0')
			}
			i++
		}
		kind := axis(whole, places)
		if start > 0 && text[start-1] == '-' {
			kind = 0
		}
		if kind != 0 && last != 0 && kind != last {
			return true
		}
		last = kind
	}
	return false
}

// axis says what a decimal may be: 1 a longitude, 2 a latitude of the country, 0 neither.
func axis(whole, places int) int {
	switch {
	case places < 4:
		return 0
	case whole >= 73 && whole <= 135:
		return 1
	case whole >= 3 && whole <= 53:
		return 2
	}
	return 0
}
